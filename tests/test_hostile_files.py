"""Files that are truncated, of another version, or made to do harm: refused by name, or harmless.

Each test takes a file that the package wrote, changes it, and reads it. Either what is read is
whole (it can be used, shown and written again), or the error is the documented one and names the
file; nothing in a file is ever executed.
"""

import copy
import io
import json
import math
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from ncourse import features
from ncourse.claims import Claim, DataCard, Outcome, Recording
from ncourse.course import (
    assignments,
    cli,
    execution,
    feedback,
    gradebook,
    grading,
    manifest,
    notebooks,
    pages,
    sync,
)
from ncourse.course.manifest import ManifestError
from ncourse.data import gaussian_mixture
from ncourse.models import MLP
from ncourse.papers import papyan2020
from ncourse.tables import Table
from ncourse.training import History, fit
from ncourse.training.checkpoints import _Checkpoint

SCRIPT = "<script>alert(1)</script>"
VALUES = [
    *(None, True, 0, -1, 1.5, math.nan, math.inf, 10**400, "", "x", "../../etc/passwd", "/etc"),
    *(SCRIPT, "\x00", "a\nb", "é" * 9, [], {}, [[]], {"a": {}}, ["x"], [1, 2], {"x": [1]}),
]
# The folder of a test serves all its examples, each of which writes its file anew.
same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file cut anywhere, with a few other bytes, with a part twice or gone, or in UTF-16."""
    first, last = sorted(draw(st.integers(0, len(whole))) for _ in range(2))
    match draw(st.sampled_from(["cut", "cut", "flip", "flip", "twice", "gone", "put", "other"])):
        case "cut":
            return whole[:first]
        case "flip":
            flipped = bytearray(whole)
            for place in draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=3)):
                flipped[place] ^= 1 << draw(st.integers(0, 7))
            return bytes(flipped)
        case "twice":
            return whole[:last] + whole[first:]
        case "gone":
            return whole[:first] + whole[last:]
        case "put":
            return whole[:first] + draw(st.binary(min_size=1, max_size=9)) + whole[first:]
    others = [b"", b"\xef\xbb\xbf" + whole, b"[" * 99_999, whole.decode("latin-1").encode("utf-16")]
    return draw(st.sampled_from(others))


def places(content: Any, way: tuple = ()) -> Iterator[tuple]:
    """Where there is a value: the keys that lead to it."""
    if way:
        yield way
    entries = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in entries:
        if isinstance(value, dict | list):
            yield from places(value, (*way, key))
        else:
            yield (*way, key)


@st.composite
def changed(draw: st.DrawFn, content: Any) -> Any:
    """Plain data with one value replaced, taken away, or put in beside."""
    content = copy.deepcopy(content)
    *way, last = draw(st.sampled_from(list(places(content))))
    around = content
    for key in way:
        around = around[key]
    value = draw(st.sampled_from(VALUES))
    match draw(st.sampled_from(["replace", "replace", "remove", "add"])):
        case "replace":
            around[last] = value
        case "remove":
            del around[last]
        case "add" if isinstance(around, dict):
            around["../<b>"] = value
        case _:
            around.insert(last, value)
    return content


@st.composite
def hostile_json(draw: st.DrawFn, whole: bytes) -> bytes:
    if draw(st.booleans()):
        return draw(damaged(whole))
    return json.dumps(draw(changed(json.loads(whole)))).encode()


def read_or_refused(read: Callable[[], Any], path: Path, kind: type = ValueError) -> Any:
    """What was read, or None after an error of this kind that names the file."""
    try:
        return read()
    except kind as error:
        said = str(error)
    assert path.name in said, said
    return None


def original(path: Path) -> bytes:
    """What a file held before the first example of a test changed it."""
    kept = path.with_suffix(".original")
    if not kept.exists():
        kept.write_bytes(path.read_bytes())
    return kept.read_bytes()


class Trap:
    """Unpickling this writes a file, as it could do anything else."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.path}",)


@pytest.fixture
def sprung(tmp_path: Path) -> Iterator[Path]:
    """The file that a trap writes; it must not be there in the end."""
    yield tmp_path / "sprung"
    assert not (tmp_path / "sprung").exists(), "a pickle was executed"


# --- tables and outcomes ------------------------------------------------------------------------

CLAIM = Claim("1 < 2", True, {"one": 1.0}, "This course", {"two": 2.0}, data="d")
CARD = DataCard("clouds", 12, 6, 3, "abc")
RUN = Table({"epoch": [1, 2], "nc1": [1.5, 0.1]})
OUTCOME = Outcome("p", "laptop", 0, CARD, (CLAIM,), {"run": RUN})


@same_folder
@given(st.data())
def test_an_outcome(tmp_path: Path, source: st.DataObject) -> None:
    whole = OUTCOME.save(tmp_path / "whole.json").read_bytes()
    path = tmp_path / "outcome.json"
    path.write_bytes(source.draw(hostile_json(whole)))
    found = read_or_refused(lambda: Outcome.load(path), path)
    if found is not None:
        assert repr(Outcome.load(found.save(tmp_path / "again.json"))) == repr(found)
        assert SCRIPT not in found._repr_mimebundle_()["text/html"]
        assert str(found.elsewhere())


@same_folder
@given(st.data())
def test_a_recording(tmp_path: Path, source: st.DataObject) -> None:
    recording = Recording((OUTCOME, OUTCOME), "ncourse record", "0.1", "2026-01-01")
    whole = recording.save(tmp_path / "whole.json").read_bytes()
    path = tmp_path / "recording.json"
    path.write_bytes(source.draw(hostile_json(whole)))
    found = read_or_refused(lambda: Recording.load(path), path)
    if found is not None:
        again = Recording.load(found.save(tmp_path / "again.json"))
        assert str(again) == str(found)
    shown = read_or_refused(
        lambda: pages.with_recordings(tmp_path, "<!-- beside recording whole -->"), path
    )
    assert shown is None or SCRIPT not in shown
    read_or_refused(lambda: pages.with_recordings(tmp_path, "<!-- table recording -->"), path)


HISTORY = History({"epoch": [1, 2, 10], "train_error": [0.5, 0.25, 0.0], "nc1": [3.25, 1.5, 0.125]})


@same_folder
@given(st.data())
def test_a_history(tmp_path: Path, source: st.DataObject) -> None:
    whole = HISTORY.save(tmp_path / "whole.csv").read_bytes()
    path = tmp_path / "history.csv"
    content = source.draw(damaged(whole))
    if source.draw(st.booleans()):
        word = source.draw(st.sampled_from([b"epoch", b"nc1", b"0.25", b"10", b"\n"]))
        value = source.draw(st.sampled_from(VALUES))
        content = whole.replace(word, str(value).encode(), 1)
    path.write_bytes(content)
    found = read_or_refused(lambda: History.load(path), path)
    if found is not None:
        assert len({len(column) for column in found.columns.values()}) == 1
        assert repr(History.load(found.save(tmp_path / "again.csv"))) == repr(found)
        assert SCRIPT not in found._repr_html_()
        assert (
            content[: len(whole)] == whole
            or not whole.startswith(content)
            or (content.endswith(b"\n"))
        ), "a row cut in the middle was taken for whole"


@same_folder
@given(st.data())
def test_features_in_a_file(tmp_path: Path, sprung: Path, source: st.DataObject) -> None:
    given_ = {"features": torch.arange(12.0).reshape(4, 3), "labels": torch.arange(4) % 2}
    name = source.draw(st.sampled_from(["f.npz", "f.pt"]))
    path = tmp_path / name
    features.save(tmp_path / "f.npz", **given_)
    torch.save(given_, tmp_path / "f.pt")
    if source.draw(st.integers(0, 3)):
        path.write_bytes(source.draw(damaged(path.read_bytes())))
    elif name == "f.pt":
        content = given_ | {source.draw(st.sampled_from([*given_, "x"])): Trap(sprung)}
        saved = source.draw(st.booleans())
        torch.save(content, path) if saved else path.write_bytes(pickle.dumps(content))
    else:
        np.savez(path, features=np.array([Trap(sprung)]), labels=np.zeros(1))
    found = read_or_refused(lambda: features.load(path), path)
    if found is not None:
        assert torch.equal(found.labels, given_["labels"])
        assert torch.equal(found.features, given_["features"])


# --- manifest and bibliography ------------------------------------------------------------------

TOML = [
    *("1", "-1", "0", "1.5", "true", '""', '"x"', "[]", "[1]", '["x"]', "{}", "nan", "1979-05-27"),
    *('"../x"', '"/etc/passwd"', '"01-one.ipynb"', '"01-../x.ipynb"', '"a\\nb"', '"\\u0000"'),
    *(f'"{SCRIPT}"', "9" * 5000, "9" * 500, "[" * 5000, '"""', '"../notebooks"', '"a/../../b"'),
]


@same_folder
@given(st.data())
def test_a_manifest(course: Path, source: st.DataObject) -> None:
    path = course / "book.toml"
    text = original(path).decode()
    if source.draw(st.booleans()):
        lines = text.splitlines()
        row = source.draw(st.sampled_from([i for i, line in enumerate(lines) if " = " in line]))
        key = lines[row].partition(" = ")[0]
        lines[row] = f"{key} = {source.draw(st.sampled_from(TOML))}"
        if source.draw(st.integers(0, 4)) == 0:
            lines.insert(row, lines[row])  # a key twice
        path.write_text("\n".join(lines))
    else:
        path.write_bytes(source.draw(damaged(text.encode())))
    # The command puts the file's name before the message, which names the key.
    found = read_or_refused(lambda: manifest.load(path), SimpleNamespace(name=""), ManifestError)
    for chapter in found.chapters if found is not None else ():
        assert found.path(chapter).resolve().parent == course / found.src
        text = manifest.header(found, chapter)
        assert text.splitlines()[0] == f"# {chapter.heading}"
        assert "<" not in text
    if found is None:
        return
    drawing = manifest.map_svg(found) + manifest.contents(found) + manifest.paths_table(found)
    assert "<script" not in drawing


@same_folder
@given(st.data())
def test_a_bibliography(course: Path, source: st.DataObject) -> None:
    path = course / "notebooks" / "references.bib"
    path.write_bytes(source.draw(damaged(original(path))))
    found = read_or_refused(
        lambda: manifest.load(course / "book.toml"),
        SimpleNamespace(name=""),
        ManifestError,
    )
    assert found is None or all(work.line for work in found.references.values())


# --- notebooks ----------------------------------------------------------------------------------


@same_folder
@given(st.data())
def test_a_chapter(course: Path, source: st.DataObject) -> None:
    """Read by all that read chapters; what nbformat lets pass is a notebook to them too."""
    whole = (course / "notebooks" / "02-two.ipynb").read_bytes()
    path = course / "notebooks" / "01-one.ipynb"
    path.write_bytes(source.draw(hostile_json(whole)))
    notebook = read_or_refused(lambda: notebooks.read(path), path)
    found = manifest.load(course / "book.toml")
    first = found.chapter(1)
    assert grading.read(path).results == {}
    if notebook is None:
        assert read_or_refused(lambda: sync.sync(found), path) is None
        # Whoever asks for exercises alone passes over what is wrong with outputs or metadata.
        assert read_or_refused(lambda: assignments.tasks(found, first), path) in (None, [])
    else:
        nbformat.validate(notebooks.clean(notebook))
        assert execution.execution_key(found, first, notebook)
        assert assignments.tasks(found, first) == []


ANSWER = '@exercise("1.1")\ndef simplex_cosine(num_classes):\n    return -1 / (num_classes - 1)'


@same_folder
@given(st.data())
def test_a_submission(tmp_path: Path, source: st.DataObject) -> None:
    """A student's file gets its row, whatever is in it."""
    metadata = {assignments.METADATA: {"exercises": ["1.1"]}}
    cells = [nbformat.v4.new_code_cell(ANSWER, id="a")]
    whole = nbformat.writes(nbformat.v4.new_notebook(cells=cells, metadata=metadata)).encode()
    path = tmp_path / f"=HYPERLINK {SCRIPT[:8]}.ipynb"
    path.write_bytes(source.draw(hostile_json(whole)))
    task = assignments.Task("1.1", 5, "●○○", "", "", "", "simplex_cosine")
    read = grading.read(path)
    if not read.problem:
        grading.find_answers(read, [task])
    assert read.problem or read.answers or not read.results
    names = read_or_refused(lambda: grading.asked_for(path), path)
    assert names in (None, ["1.1"])
    out = tmp_path / "grades.csv"
    out.unlink(missing_ok=True)
    table = gradebook.Gradebook(out, [task])
    table.add(read)
    table.write()
    _, rows = gradebook.table(out)
    assert [row["student"].startswith("'=HYPERLINK") for row in rows] == [True]
    feedback.write(tmp_path / "feedback.html", read, [task])
    assert "<script>" not in (tmp_path / "feedback.html").read_text(encoding="utf-8")


@same_folder
@given(st.data())
def test_a_kept_run(course: Path, source: st.DataObject) -> None:
    """A run in `_build` that is not whole is made again; one that is, is what the chapter says."""
    found = manifest.load(course / "book.toml")
    (chapter,) = found.chapters[1:]

    async def run(notebook: Any, file: str, folder: Path, on_cell: Any) -> None:
        for cell in notebooks.code_cells(notebook):
            cell.outputs = [nbformat.v4.new_output("stream", text="ran\n")]
        data = {"text/html": "<div class='c'>", pages.CLAIM_MIME: vars(CLAIM) | {"data": "d"}}
        cell.outputs.append(nbformat.v4.new_output("display_data", data))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "_run", run)
        (expected,) = execution.execute(found, [chapter], Console(quiet=True))
        path = execution._kept_run_path(found, chapter)
        path.write_bytes(source.draw(hostile_json(path.read_bytes())))
        (notebook,) = execution.execute(found, [chapter], Console(quiet=True))
        path.unlink()
    assert [cell.source for cell in notebook.cells] == [cell.source for cell in expected.cells]
    nbformat.validate(notebook)
    small = replace(found, parts=(manifest.Part("one", (chapter,)),))
    page = read_or_refused(
        lambda: pages.claims_page(small, [notebook]), SimpleNamespace(name=""), pages.ClaimsError
    )
    assert page is None or page.startswith("# Everything")


# --- checkpoints and run folders ----------------------------------------------------------------

CLOUDS = gaussian_mixture(2, 3, train_per_class=4, test_per_class=2, seed=0)


def train(checkpoint: Path | None = None, epochs: int = 3) -> History:
    settings = {"milestones": (), "batch_size": 4, "progress": False, "measure_at": [1]}
    model = MLP((3,), (2,), 2)
    return fit(model=model, dataset=CLOUDS, epochs=epochs, checkpoint=checkpoint, **settings)[1]


def half_a_training(folder: Path) -> bytes:
    """The checkpoint after the first of three epochs."""
    path, save = folder / "half.pt", _Checkpoint.save
    path.unlink(missing_ok=True)

    def save_and_stop(*given_: Any) -> None:
        save(*given_)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Checkpoint, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            train(path)
    return path.read_bytes()


@same_folder
@given(st.data())
def test_a_checkpoint_that_is_damaged(tmp_path: Path, source: st.DataObject) -> None:
    """The training ends as it would have ended, or the file is refused."""
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(source.draw(damaged(half_a_training(tmp_path))))
    found = read_or_refused(lambda: train(path), path)
    assert found is None or found == train()


@same_folder
@given(st.data())
def test_a_checkpoint_that_says_something_else(
    tmp_path: Path, sprung: Path, source: st.DataObject
) -> None:
    half_a_training(tmp_path)
    state = torch.load(tmp_path / "half.pt", weights_only=True)
    for _ in range(source.draw(st.integers(1, 2))):
        key = source.draw(st.sampled_from([*state, "model", "optimizer"]))
        inside = isinstance(state[key], dict) and state[key] and source.draw(st.booleans())
        around = state[key] if inside else state
        key = source.draw(st.sampled_from([*around])) if inside else key
        value = source.draw(st.sampled_from([*VALUES, Trap(sprung), torch.zeros(1), {}]))
        around[key] = value
    path = tmp_path / "checkpoint.pt"
    torch.save(state, path)
    found = read_or_refused(lambda: train(path), path)
    assert found is None or found["epoch"].tolist() == train()["epoch"].tolist()


def experiment(scale: str, *, seed: int, data: Any) -> Outcome:
    return Outcome("papyan2020", scale, seed, CARD, (CLAIM,), {"h": train()})


experiment.paper = papyan2020.experiment.paper  # type: ignore[attr-defined]


def command(*words: str) -> tuple[int, str]:
    """Exit code and standard error of `ncourse`, in this process."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["ncourse", *words])
        patch.setattr(cli, "errors", Console(file=said))
        with pytest.raises(SystemExit) as end:
            cli.main()
    return int(end.value.code or 0), said.getvalue()


@same_folder
@given(st.data())
def test_a_run_folder(tmp_path: Path, source: st.DataObject) -> None:
    folder = tmp_path / "run"
    words = ["run", "papyan2020", "--out", str(folder), "--resume"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(papyan2020, "experiment", experiment)
        if not (tmp_path / "whole").exists():
            assert command("run", "papyan2020", "--out", str(tmp_path / "whole")) == (0, "")
        for name in ("run.json", "outcome.json", "checkpoints/fit-0001.pt"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((tmp_path / "whole" / name).read_bytes())
        if source.draw(st.booleans()):  # one that was killed
            state = json.loads((folder / "run.json").read_text())
            (folder / "run.json").write_text(json.dumps(state | {"state": "running"}))
        name = source.draw(st.sampled_from(["run.json", "outcome.json", "checkpoints/fit-0001.pt"]))
        path = folder / name
        kind = damaged if path.suffix == ".pt" else hostile_json
        path.write_bytes(source.draw(kind(path.read_bytes())))
        code, said = command(*words)
        assert (code, said.count("\n")) in ((0, 0), (1, 1)), said
        assert "Traceback" not in said
        if code:
            assert path.name in said or "another run" in said, said
        else:
            assert Outcome.load(folder / "outcome.json").experiment
