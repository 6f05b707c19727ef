"""One place says on what `fit` trains; it trains any network on any batches."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from typer.testing import CliRunner

from ncourse import data, training
from ncourse.course.cli import app
from ncourse.models import MLP
from ncourse.training import Hardware, fit, hardware

DIGITS = data.digits().take(8)


def _loss(model: nn.Module, dataset=DIGITS, **options) -> float:
    history = fit(model=model, dataset=dataset, epochs=5, progress=False, **options)[1]
    return history.rows()[-1]["loss"]


def _mlp() -> MLP:
    return MLP(DIGITS.input_shape, [16], 10)


def test_precision_is_that_of_the_place_around_unless_it_is_said():
    single, half = _loss(_mlp()), _loss(_mlp(), precision="bf16-mixed")
    assert half != single
    with hardware(Hardware(precision="bf16-mixed")):
        assert _loss(_mlp()) == half
        assert _loss(_mlp(), precision="32-true") == single
    assert _loss(_mlp()) == single


def test_a_compiled_training_is_the_same(monkeypatch):
    used = []
    monkeypatch.setattr(torch, "compile", lambda model: used.append(model) or model)
    with hardware(Hardware(compiled=True)):
        found = _loss(_mlp())
    assert len(used) == 1
    assert found == _loss(_mlp())


def test_any_network_on_any_batches():
    """The same layers without `features` and `classifier`: found as `capture` finds them."""
    mine = _mlp()
    plain = nn.Sequential(*_mlp().body, _mlp().classifier)
    train, history = fit(model=plain, dataset=DIGITS, epochs=5, progress=False)
    assert train is plain
    _, expected = fit(model=mine, dataset=DIGITS, epochs=5, progress=False)
    assert history.rows() == expected.rows()
    pairs = TensorDataset(DIGITS.inputs, DIGITS.labels)
    loader = DataLoader(pairs, batch_size=32)
    read = data.in_memory(loader)
    assert torch.equal(read.inputs, DIGITS.inputs)
    assert _loss(_mlp(), dataset=loader) == expected.rows()[-1]["loss"]
    with pytest.raises(ValueError, match="the loader has no batches"):
        data.in_memory([])
    with pytest.raises(ValueError, match=r"no nn.Linear ran; the model's linear layers are none"):
        _loss(nn.Flatten())
    with pytest.raises(ValueError, match="cannot tell which linear layer"):
        _loss(nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Linear(10, 10), nn.Softmax(1)))


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.LogSoftmax(1)),
         "^the network's output is not that of its last linear layer; .* such as a softmax$"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Dropout(), nn.Softmax(1)),
         "^the network's output is not that of its last linear layer"),
        (nn.Sequential(nn.Flatten(2), nn.Linear(64, 10)),
         r"^the classifier sees \(2, 1, 64\); training needs \(samples, features\)$"),
        (nn.Sequential(nn.Unflatten(2, (8, 1)), nn.AdaptiveAvgPool3d(1), nn.Flatten(2),
                       nn.Conv1d(1, 10, 1), nn.Flatten()),
         r"^the classifier is a Conv1d; training needs an nn\.Linear at the end$"),
    ],
)  # fmt: skip
def test_networks_that_end_otherwise_are_refused_before_they_are_trained(network, told):
    with pytest.raises(ValueError, match=told):
        _loss(network)


def test_dropout_after_the_classifier_is_off_where_the_output_is_compared():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Dropout()).train()
    assert _loss(network) > 0
    assert not network.training  # as `fit` leaves it


class _NamesOfItsOwn(nn.Module):
    """As torchvision's DenseNet: its `features` are not yet what its `classifier` sees."""

    def __init__(self, body, classifier):
        super().__init__()
        self.features, self.classifier = body[:-1], classifier

    def forward(self, inputs):
        return self.classifier(self.features(inputs).relu())


def _compiled_head(body, classifier):
    return nn.Sequential(*body, torch.compile(classifier, backend="eager"))


OTHERS = {
    "names of its own": _NamesOfItsOwn,
    "compiled": lambda body, head: torch.compile(nn.Sequential(*body, head), backend="eager"),
    "compiled, its names": lambda *parts: torch.compile(_NamesOfItsOwn(*parts), backend="eager"),
    "a compiled head": _compiled_head,
    "data parallel": lambda body, head: nn.DataParallel(nn.Sequential(*body, head)),
}


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("run_before", [False, True])
@pytest.mark.parametrize("kind", OTHERS)
def test_networks_of_others_are_trained_as_the_same_layers_are(kind, run_before):
    _, expected = fit(model=_mlp(), dataset=DIGITS, epochs=5, progress=False)
    mine = _mlp()
    other = OTHERS[kind](mine.body, mine.classifier)
    if run_before:  # a compiled module runs what it compiled, without hooks
        other.eval()
        with torch.no_grad():
            other(DIGITS.inputs[:2])
        other.train()
    trained, history = fit(model=other, dataset=DIGITS, epochs=5, progress=False)
    assert trained is other
    assert history.rows() == expected.rows()


def test_the_command_passes_hardware_on_to_every_paper(monkeypatch, tmp_path):
    from ncourse import runs

    seen = []

    def experiment(scale, *, seed, data):
        seen.append(training.processes._HARDWARE.get())
        raise ValueError("enough")

    real = runs.papers.find("papyan2020")
    experiment.paper = real.paper
    monkeypatch.setattr(runs.papers, "find", lambda name: experiment)
    words = ["run", "papyan2020", "--out", str(tmp_path / "a"), "--precision", "bf16-mixed"]
    CliRunner().invoke(app, [*words, "--accelerator", "auto", "--compile"])
    assert seen == [Hardware("auto", "bf16-mixed", True)]
    kept = json.loads((tmp_path / "a" / "run.json").read_text())
    assert kept["hardware"] == vars(seen[0])
    assert kept["command"].endswith(
        "--accelerator auto --precision bf16-mixed --compile --out " + (tmp_path / "a").as_posix()
    )


def test_what_does_not_train_through_fit_refuses_an_accelerator(tmp_path):
    words = ["run", "jacot2024", "--out", str(tmp_path / "a"), "--accelerator", "cuda"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1
    assert "does not train through `fit`: it cannot be told" in result.stderr


def test_what_trains_by_itself_asks_for_the_device_and_is_told_no_more(monkeypatch, tmp_path):
    assert training.device() == torch.device("cpu")
    for there, expected in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        with training.hardware(Hardware("auto")):
            assert training.device() == torch.device(expected)
    with (
        training.hardware(Hardware("cuda")),
        pytest.raises(ValueError, match="accelerator is 'cuda', and this machine has none"),
    ):
        training.device()
    words = ["run", "wang2025", "--out", str(tmp_path / "a"), "--precision", "bf16-mixed"]
    result = CliRunner().invoke(app, words)
    assert "`fit`: it cannot be told precision or compile" in result.stderr
    words = ["run", "wang2025", "--scale", "paper", "--data", "digits", "--accelerator", "auto"]
    result = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "b")])
    assert "gives settings for 100" in " ".join(result.stderr.split())  # it was let through


def test_the_checks_of_a_gpu_run_on_the_cpu():
    script = Path(__file__).parent / "gpu" / "check.sh"
    if os.name == "nt":
        pytest.skip("a shell script")
    env = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(script.parents[2])}
    done = subprocess.run([script], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["float64"] == found["float32"] == 0
    assert found["resumed"]
    assert set(found["fashion"]) == {"weight decay", "none"}
