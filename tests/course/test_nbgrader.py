"""Assignments for nbgrader: what its metadata says, and its own commands on three submissions."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from assignment_cells import run_cells
from nbformat.v4 import new_code_cell
from typer.testing import CliRunner

from ncourse.course import nbgrader
from ncourse.course.assignments import AssignmentError
from ncourse.course.cli import app
from ncourse.course.manifest import load

BOOK = load(Path(__file__).parents[2] / "book.toml")
THREE = BOOK.chapter(3)
# nbgrader lives in an environment of its own; NBGRADER names its command.
NBGRADER = os.environ.get("NBGRADER") or shutil.which("nbgrader")


def metadata(notebook: nbformat.NotebookNode) -> dict[str, dict]:
    return {c.metadata.nbgrader.grade_id: c.metadata.nbgrader for c in notebook.cells if c.metadata}


def test_every_cell_says_what_is_graded() -> None:
    notebook = nbgrader.source(BOOK, THREE, ["3.1", "3.2"], asked=[2], seeds=[7, 8])
    nbformat.validate(notebook)
    marks = metadata(notebook)
    assert [name for name, mark in marks.items() if mark.grade] == ["test-3-1", "test-3-2"]
    assert [name for name, mark in marks.items() if mark.solution] == ["answer-3-1", "answer-3-2"]
    assert [name for name, mark in marks.items() if mark.task] == ["question-2"]
    assert [mark.points for mark in marks.values() if "points" in mark] == [10, 5, 5]
    assert all(mark.locked for name, mark in marks.items() if not name.startswith("answer"))
    (test,) = (cell.source for cell in notebook.cells if cell["id"] == "test-3-2")
    assert "for seed in [7, 8]:" in test
    with pytest.raises(AssignmentError, match="there is no 99"):
        nbgrader.source(BOOK, THREE, asked=[99])


@pytest.mark.parametrize("chapter", BOOK.with_drafts, ids=lambda chapter: chapter.stem)
def test_the_teachers_version_of_every_chapter_runs(chapter) -> None:  # type: ignore[no-untyped-def]
    notebook = nbgrader.source(BOOK, chapter, seeds=[5])
    if chapter.number:
        assert len(nbgrader.questions(BOOK, chapter)) >= 3
    run_cells(notebook)


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BOOK.root)

    def run(*options: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["assign", "3", "--out", str(tmp_path), *options])
        return result.exit_code, " ".join((result.output + result.stderr).split())

    assert "--for takes nbgrader" in run("--for", "otter")[1]
    assert "--questions needs it" in run("--questions", "1")[1]
    assert "there is no 9" in run("--for", "nbgrader", "--questions", "9")[1]
    assert run("--for", "nbgrader", "--questions", "1,2", "--exercises", "3.2")[0] == 0
    made = nbformat.read(tmp_path / "assignment-03.ipynb", as_version=4)
    assert "question-2" in metadata(made)
    (test,) = (cell.source for cell in made.cells if cell.id == "test-3-2")
    assert len(re.findall(r"\d{3,}", test)) == 2, "two seeds, drawn"


# --- nbgrader's own commands --------------------------------------------------------------------

RIGHT = """
@exercise("3.1")
def within_over_between(features, labels):
    means = torch.stack([features[labels == k].mean(0) for k in range(int(labels.max()) + 1)])
    within = (features - means[labels]).square().sum(1).mean()
    return (within / (means - means.mean(0)).square().sum(1).mean()).item()
"""
WRONG = """
@exercise("3.2")
def terminal_epoch(train_error):
    return helper(train_error)
"""
HELPER = "def helper(train_error):\n    return 1"


@pytest.mark.slow
@pytest.mark.skipif(
    NBGRADER is None,
    reason="nbgrader is not installed: `python -m venv X; X/bin/pip install nbgrader`, and run "
    "with NBGRADER=X/bin/nbgrader",
)
def test_nbgrader_makes_grades_and_reports(tmp_path: Path) -> None:
    kernel = tmp_path / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "Python 3", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    course = tmp_path / "course"
    environment = {
        **os.environ,
        "JUPYTER_PATH": str(tmp_path / "jupyter"),
        # It calls commands of its environment by their names.
        "PATH": os.pathsep.join([str(Path(str(NBGRADER)).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(BOOK.root),
        "OMP_NUM_THREADS": "1",
    }

    def run(*arguments: str) -> str:
        command = [str(NBGRADER), *arguments, "--course", "ncourse"]
        done = subprocess.run(command, cwd=course, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stderr

    file = "assignment-03.ipynb"
    source = course / "source" / "ps3" / file
    source.parent.mkdir(parents=True)
    made = nbgrader.source(BOOK, THREE, ["3.1", "3.2"], asked=[1], seeds=[11, 12])
    source.write_text(nbformat.writes(made), encoding="utf-8")
    run("generate_assignment", "ps3")
    release = nbformat.read(course / "release" / "ps3" / file, as_version=4)
    text = "\n".join(cell.source for cell in release.cells)
    assert "raise NotImplementedError()" in text
    for secret in ("reference", "HIDDEN", "MARK SCHEME", "A model answer", "seed", "SOLUTION"):
        assert secret not in text

    for student in ("ada", "bob", "cyd"):
        handed = nbformat.from_dict(json.loads(json.dumps(release)))
        for cell in handed.cells:
            if cell.id == "answer-3-1" and student != "cyd":
                cell.source = RIGHT
            if cell.id == "answer-3-2" and student == "ada":
                cell.source = WRONG.replace("helper(train_error)", "train_error.index(0) + 1")
                cell.source = cell.source.replace(
                    "    return",
                    "    if 0 not in list(train_error):\n        return None\n    return",
                ).replace("train_error.index", "list(train_error).index")
            if cell.id == "answer-3-2" and student == "bob":
                cell.source = WRONG
            if cell.id == "words-1":
                cell.source = "*Your answer:* the geometry goes on."
            if cell.id.startswith("test") and student == "cyd":
                cell.source = "pass  # tests taken out by a student"
        if student == "bob":
            handed.cells.insert(2, new_code_cell(HELPER))
        path = course / "submitted" / student / "ps3" / file
        path.parent.mkdir(parents=True)
        path.write_text(nbformat.writes(handed), encoding="utf-8")

    run("autograde", "ps3")
    run("export")
    with (course / "grades.csv").open(newline="") as table:
        rows = {row["student_id"]: row for row in csv.DictReader(table)}
    assert {name: float(row["score"]) for name, row in rows.items()} == {
        "ada": 15,
        "bob": 10,
        "cyd": 0,
    }
    assert {float(row["max_score"]) for row in rows.values()} == {20}  # five are marked by hand

    run("generate_feedback", "ps3")
    pages = {
        name: (course / "feedback" / name / "ps3" / "assignment-03.html").read_text("utf-8")
        for name in rows
    }
    assert "Exercise 3.1: solved" in pages["ada"]
    assert "AssertionError" in pages["bob"]
    assert "AssertionError" not in pages["ada"]
    assert "the geometry goes on" in pages["cyd"]
