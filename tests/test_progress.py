"""The progress bar: text in an output while the loop runs, and nothing afterwards."""

import functools
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from ncourse import progress
from ncourse.data import digits
from ncourse.models import MLP
from ncourse.progress import progress_bar
from ncourse.training import fit

Outputs = list[list[Any]]


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> Outputs:
    """What each output of a notebook has shown, in order."""
    made: Outputs = []

    def display(data: Any, *, raw: bool, display_id: bool) -> Any:
        assert raw
        assert display_id
        made.append([data])
        return SimpleNamespace(update=lambda data, raw: made[-1].append(data))

    kernel = SimpleNamespace(kernel=None)
    here = {"IPython": SimpleNamespace(get_ipython=lambda: kernel)}
    here["IPython.display"] = SimpleNamespace(display=display)
    for name, module in here.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(progress, "DELAY", 0)
    return made


def test_in_a_notebook_the_bar_is_text_and_then_nothing(outputs, capsys):
    assert list(progress_bar(range(3), desc="three", mininterval=0)) == [0, 1, 2]
    (shown,) = outputs
    assert [set(data) for data in shown[:-1]] == [{"text/plain"}] * (len(shown) - 1)
    words = [data["text/plain"] for data in shown[:-1]]
    assert words[0].startswith("three:   0%|")
    assert "█" in words[-1]
    assert "3/3" in words[-1]
    assert shown[-1] == {}
    assert capsys.readouterr() == ("", "")


def test_it_says_error_and_nc1_while_a_network_trains(outputs, monkeypatch):
    loop = sys.modules["ncourse.training.fit"]
    monkeypatch.setattr(loop, "progress_bar", functools.partial(progress_bar, mininterval=0))
    data = digits().take(10, seed=0)
    model = MLP(data.input_shape, (8,), data.num_classes, seed=0)
    _, history = fit(model=model, dataset=data, epochs=3, batch_size=25, progress=True)
    (shown,) = outputs
    last = f"error {history['train_error'][0]:.1%}, NC1 {history['nc1'][0]:.2g}]"
    assert any(data.get("text/plain", "").endswith(last) for data in shown)
    assert shown[-1] == {}
    fit(model=model, dataset=data, epochs=2, batch_size=25, progress=False)
    assert len(outputs) == 1


def test_a_loop_that_is_short_shows_nothing(outputs, monkeypatch):
    monkeypatch.setattr(progress, "DELAY", 60)
    assert list(progress_bar(range(3))) == [0, 1, 2]
    assert outputs == []


def test_elsewhere_it_is_a_line_that_is_wiped(capsys, monkeypatch):
    monkeypatch.setattr(progress, "DELAY", 0)
    assert list(progress_bar(range(3), mininterval=0)) == [0, 1, 2]
    out, err = capsys.readouterr()
    assert out == ""
    assert "3/3" in err
    assert err.endswith("\r")
    assert err.split("\r")[-2].strip() == ""
