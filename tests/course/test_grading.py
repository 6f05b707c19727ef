"""Assignments, and a class of sixty that hands them in: right, wrong, and worse."""

import csv
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from ncourse.course import assignments, grading
from ncourse.course.assignments import AssignmentError
from ncourse.course.grading import Limits
from ncourse.course.manifest import load
from ncourse.exercises import chapter03, check, exercise, find, graded, hint, solution

BOOK = load(Path(__file__).parents[2] / "book.toml")
THREE = BOOK.chapter(3)
LIMITS = Limits(seconds=4, megabytes=1500)

RIGHT = {
    "3.1": """
def within_over_between(features, labels):
    means = torch.stack([features[labels == k].mean(0) for k in range(int(labels.max()) + 1)])
    within = (features - means[labels]).square().sum(1).mean()
    return (within / (means - means.mean(0)).square().sum(1).mean()).item()
""",
    "3.2": """
def terminal_epoch(train_error):
    for epoch, error in enumerate(train_error, start=1):
        if error == 0:
            return epoch
    return None
""",
}
TASKS = [task for task in assignments.tasks(BOOK, THREE) if task.exercise in RIGHT]


def body(*lines: str) -> str:
    """An answer to exercise 3.1 with this body."""
    inside = "\n    ".join(lines)
    return f"def within_over_between(features, labels):\n    {inside}\n"


def hand_in(path: Path, *cells: str) -> Path:
    """Write a notebook with these code cells."""
    path.parent.mkdir(parents=True, exist_ok=True)
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    path.write_text(nbformat.writes(notebook), encoding="utf-8")
    return path


def states(*cells: str, tmp_path: Path, **arguments: object) -> dict[str, grading.Result]:
    """What comes of a notebook with these cells."""
    one = grading.read(hand_in(tmp_path / "a.ipynb", *cells), TASKS)
    grading.grade([one], TASKS, limits=LIMITS, **arguments)  # type: ignore[arg-type]
    return one.results


# --- assignments --------------------------------------------------------------------------------


def test_an_assignment_has_texts_points_and_stubs() -> None:
    notebook = assignments.assignment(BOOK, THREE, ["3.2", "3.4"], due="1 May")
    nbformat.validate(notebook)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert "| Due | 1 May |" in text
    assert "2, 15 points, about 15 minutes" in text
    assert "## Exercise 3.2 · 5 points · ●○○\n\nWhere does the terminal phase begin?" in text
    assert "Objective" not in text
    assert "3.1" not in text
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert "from ncourse.exercises import exercise, hint, solution" in code[0]
    assert "import torch" in code[0]
    assert "papyan2020" not in code[0]  # what no answer needs is not imported
    assert '@exercise("3.4")' in code[3]
    assert code[4] == 'hint("3.4")'
    assert assignments.set_by(notebook) == ["3.2", "3.4"]


def test_an_assignment_is_made_for_every_chapter_and_its_cells_run() -> None:
    for chapter in BOOK.with_drafts:
        notebook = assignments.assignment(BOOK, chapter, solutions=False)
        namespace: dict[str, object] = {}
        try:
            for cell in notebook.cells:
                if cell.cell_type == "code":
                    exec(cell.source, namespace)
        finally:
            graded(False)
        assert len(assignments.set_by(notebook)) >= 3
        assert "hint" not in "\n".join(c.source for c in notebook.cells if c.cell_type == "code")


def test_an_unknown_exercise_is_named() -> None:
    with pytest.raises(AssignmentError, match=r"no exercise 3\.9; it has 3\.1, 3\.2"):
        assignments.assignment(BOOK, THREE, ["3.9"])


def test_with_solutions_off_nothing_is_given_away(capsys: pytest.CaptureFixture[str]) -> None:
    def terminal_epoch(train_error):
        return 7

    graded()
    try:
        assert exercise("3.2")(terminal_epoch) is terminal_epoch
        hint("3.2")
        solution("3.2")
    finally:
        graded(False)
    said = capsys.readouterr().out
    assert "Hints are off" in said
    assert "Solutions are off" in said
    assert not any(text in said for text in find("3.2").hints)
    assert "enumerate" not in said
    assert exercise("3.2")(terminal_epoch) is find("3.2").reference


def test_a_returned_notebook_may_claim_anything() -> None:
    for entry in ("no", {"exercises": 3}, {"exercises": ["9.99", "../x", 3.1, None]}, None):
        notebook = new_notebook(metadata={assignments.METADATA: entry})
        assert assignments.set_by(notebook) in ([], ["3.1"])


# --- the class ----------------------------------------------------------------------------------

BOMB = "open({!r}, 'w').write('this cell was run')\nraise SystemExit\n"
KINDS: dict[str, tuple[list[str], str, str]] = {
    # kind: cells, state of exercise 3.1, part of its message
    "right": ([RIGHT["3.1"]], "solved", "why"),
    "decorated": (['@exercise("3.1")' + RIGHT["3.1"]], "solved", "why"),
    "reordered": (["print(undefined)", RIGHT["3.2"], "x = 1", RIGHT["3.1"]], "solved", "why"),
    "copied": ([RIGHT["3.1"], RIGHT["3.1"], body("...")], "solved", "why"),
    "beside a magic": (["%timeit 1\n!ls\n" + RIGHT["3.1"], "%%bash\nls"], "solved", "why"),
    "beside what does not parse": (["x = = 1\n" + RIGHT["3.1"]], "solved", "why"),
    "own import": ([body("import torch as t", "return float(t.zeros(1))")], "not yet", ""),
    "stub": ([body('"""a docstring"""', "...")], "not attempted", "Replace"),
    "missing": (["y = 2"], "missing", "no function `within_over_between`"),
    "no return": ([body("x = 1")], "not yet", "return"),
    "wrong signature": (["def within_over_between(x):\n    return 1\n"], "not yet", "arguments"),
    "crash": ([body("return 1 / 0")], "not yet", "ZeroDivisionError"),
    "recursion": ([body("return within_over_between(features, labels)")], "not yet", "Recursion"),
    "helper elsewhere": (
        ["def h(x): return x", body("return h(1)")],
        "not yet",
        "put what it needs",
    ),
    "endless": ([body("while True: pass")], "fault", "more than 4 seconds"),
    "asleep": ([body("import time", "time.sleep(600)")], "fault", "more than 4 seconds"),
    "10 GB": ([body("return torch.zeros(10_000_000_000, dtype=torch.uint8)")], "fault", "memory"),
    "10 GB of bytes": ([body("return len(bytearray(10_000_000_000))")], "fault", "memory"),
    "100 MB print": ([body("print('x' * 100_000_000)", "return 1")], "fault", "prints"),
    "many prints": ([body("while True: print('x' * 1000)")], "fault", "prints"),
    "big file": ([body("open('f', 'w').write('x' * 9_000_000)")], "fault", "writes too much"),
    "exit": ([body("import sys", "sys.exit(0)")], "fault", "SystemExit"),
    "hard exit": ([body("import os", "os._exit(3)")], "fault", "exit code 3"),
    "killed": ([body("import os", "os.kill(os.getpid(), 9)")], "fault", "SIGKILL"),
    "two answers": ([RIGHT["3.1"], body("return 1.0")], "fault", "2 different answers"),
    "syntax": (
        ["def within_over_between(features, labels):\n    return (\n"],
        "missing",
        "no function",
    ),
}
FILES = {
    "empty file": b"",
    "half a file": b'{"cells": [{"cell_type": "code", "sou',
    "not a notebook": b"\x89PNG\r\n\x1a\n",
    "no cells": b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}}',
}


@pytest.mark.skipif(sys.platform != "linux", reason="memory and output are limited on Linux")
def test_a_class_of_sixty(tmp_path: Path) -> None:
    """Every verdict is right, and whoever does harm costs nobody else anything."""
    bomb = tmp_path / "bomb"
    folder = tmp_path / "class"
    expected: dict[str, tuple[str, str]] = {}
    kinds = list(KINDS)
    for number in range(60 - len(FILES)):
        kind = kinds[number % len(kinds)]
        cells, state, says = KINDS[kind]
        student = f"{number:02d} {kind}"
        hand_in(folder / f"{student}.ipynb", BOMB.format(str(bomb)), *cells, RIGHT["3.2"])
        expected[student] = (state, says)
    for name, content in FILES.items():
        (folder / f"{name}.ipynb").write_bytes(content)

    paths = grading.collect([folder])
    assert len(paths) == 60
    read = [grading.read(path, TASKS, student=name) for path, name in grading.students(paths)]
    grading.grade(read, TASKS, limits=LIMITS, at_once=2)

    assert not bomb.exists(), "something other than the answers was run"
    by_student = {one.student: one for one in read}
    for student, (state, says) in expected.items():
        result = by_student[student].results["3.1"]
        assert result.state == state, (student, result)
        if says != "why":
            assert says in result.message, (student, result)
        assert by_student[student].results["3.2"].state == "solved", student
    for name in FILES:
        assert by_student[name].results == {}
        assert "not a readable notebook" in by_student[name].problem

    grading.write_csv(tmp_path / "grades.csv", read, TASKS)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "grades.csv").read_text())))
    assert len(rows) == 60
    table = {row["student"]: row for row in rows}
    assert table["00 right"]["points"] == table["00 right"]["of"] == "15"
    assert table["07 stub"]["points"] == "5"
    assert table["14 endless"]["3.1 state"] == "fault"
    assert "more than 4 seconds" in table["14 endless"]["remark"]
    assert table["half a file"]["points"] == "0"
    assert "readable" in table["half a file"]["remark"]

    grading.write_feedback(tmp_path / "feedback", read, TASKS)
    text = (tmp_path / "feedback" / "11 crash.md").read_text()
    assert text.startswith("# 11 crash\n\n5 of 15 points.\n")
    assert "## Exercise 3.1: not yet, 0 of 10\n\nYour function stopped with Zero" in text
    assert len(list((tmp_path / "feedback").iterdir())) == 60


# --- single questions ---------------------------------------------------------------------------


def test_what_is_right_only_on_the_notebooks_data_is_found(tmp_path: Path) -> None:
    values = []
    asked = find("3.1")

    def spy(features, labels):
        values.append(chapter03.within_over_between(features, labels))
        return values[-1]

    assert check(asked, spy).state == "solved"
    hard_coded = body(
        f"known = {values!r}",
        "global turn",
        "turn = globals().get('turn', -1) + 1",
        "return known[turn % len(known)]",
    )
    results = states(hard_coded, tmp_path=tmp_path)
    assert results["3.1"].state == "not yet"
    assert "Right on the notebook's data, and not on other data" in results["3.1"].message
    assert states(hard_coded, tmp_path=tmp_path, hidden_seeds=0)["3.1"].state == "solved"


@pytest.mark.parametrize("offset", [1, 2, 3, 8, 11, 12345])
def test_right_answers_pass_whatever_the_hidden_seed(offset: int) -> None:
    with grading._other_random_numbers(offset):
        for chapter in BOOK.with_drafts:
            for task in assignments.tasks(BOOK, chapter):
                asked = find(task.exercise)
                assert check(asked, asked.reference).state == "solved", task.exercise
    assert torch.Generator is torch._C.Generator


def test_a_student_who_ends_the_process_gets_a_new_one(tmp_path: Path) -> None:
    results = states(body("import os", "os._exit(1)"), RIGHT["3.2"], tmp_path=tmp_path)
    assert [results[name].state for name in ("3.1", "3.2")] == ["fault", "solved"]


@pytest.mark.skipif(os.name == "nt", reason="process groups")
def test_what_an_answer_starts_ends_with_it(tmp_path: Path) -> None:
    marker = tmp_path / "alive"
    child = f"import time; time.sleep(7); open({str(marker)!r}, 'w')"
    lines = ["import subprocess, sys, time", f"subprocess.Popen([sys.executable, '-c', {child!r}])"]
    results = states(body(*lines, "time.sleep(60)"), tmp_path=tmp_path)
    assert results["3.1"].state == "fault"
    __import__("time").sleep(4.5)
    assert not marker.exists()


def test_names_of_students_and_files_to_look_at(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        hand_in(tmp_path / folder / "hw.ipynb", "x = 1")
    hand_in(tmp_path / "a" / ".ipynb_checkpoints" / "hw.ipynb", "x = 1")
    only = hand_in(tmp_path / "c.ipynb", "x = 1")
    paths = grading.collect([tmp_path, only])
    assert [name for _, name in grading.students(paths)] == ["a/hw", "b/hw", "c"]
    with pytest.raises(FileNotFoundError, match="does not exist"):
        grading.collect([tmp_path / "nowhere"])


def test_no_cell_of_the_csv_is_a_formula(tmp_path: Path) -> None:
    one = grading.Submission('=HYPERLINK("x")', tmp_path / "@a.ipynb", problem="-1\nline")
    grading.write_csv(tmp_path / "g.csv", [one], TASKS)
    (row,) = csv.DictReader(io.StringIO((tmp_path / "g.csv").read_text()))
    assert row["student"].startswith("'=")
    assert row["file"] == "'@a.ipynb"
    assert row["remark"] == "'-1 line"


def test_exercises_are_those_that_the_assignments_name(tmp_path: Path) -> None:
    notebook = assignments.assignment(BOOK, THREE, ["3.2", "3.4"])
    notebook.cells.append(new_markdown_cell("mine"))
    path = tmp_path / "s.ipynb"
    path.write_text(nbformat.writes(notebook))
    broken = tmp_path / "t.ipynb"
    broken.write_text("{")
    assert grading.asked_for([broken, path]) == ["3.2", "3.4"]
    with pytest.raises(ValueError, match="--exercises"):
        grading.asked_for([broken])


def test_names_that_are_no_exercises_are_left_out(tmp_path: Path) -> None:
    for name in (3.2, "3.9", "x", None):
        metadata = {assignments.METADATA: {"exercises": [name, "3.4"]}}
        assert assignments.set_by(nbformat.v4.new_notebook(metadata=metadata)) == ["3.4"]


def test_cells_that_were_left_as_they_are_start_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = assignments.tasks(BOOK, THREE)
    one = grading.read(hand_in(tmp_path / "a.ipynb", *(task.stub for task in tasks)), tasks)
    assert set(one.answers) == {task.exercise for task in tasks}
    grading.without_stubs(one)
    monkeypatch.setattr(grading, "_Worker", None)
    grading.grade([one], tasks)
    assert {result.state for result in one.results.values()} == {"missing"}


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from ncourse.course.cli import app

    monkeypatch.chdir(BOOK.root)

    def run(*arguments: object) -> str:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        text = " ".join((result.output + getattr(result, "stderr", "")).split())
        return f"{result.exit_code} {text}"

    assert run("assign", 3, "--out", tmp_path, "--exercises", "3.1, 3.2").startswith("0 wrote")
    assert "there already" in run("assign", 3, "--out", tmp_path)
    assert "no exercise 3.8" in run("assign", 3, "--out", tmp_path / "x", "--exercises", "3.8")
    notebook = nbformat.read(tmp_path / "assignment-03.ipynb", as_version=4)
    for cell in notebook.cells:
        if '"3.1"' in cell.source and "def " in cell.source:
            cell.source = '@exercise("3.1")' + RIGHT["3.1"]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "ada.ipynb").write_text(nbformat.writes(notebook))
    csv_file, said = tmp_path / "grades.csv", tmp_path / "said"
    graded_now = run("grade", tmp_path / "in", "--out", csv_file, "--feedback", said)
    assert graded_now.startswith("0 ")
    assert "1 of 1" in graded_now
    assert csv_file.read_text().splitlines()[1].startswith("ada,10,15,10,solved,0,not attempted,")
    assert "not attempted" in (said / "ada.md").read_text()
    assert "does not exist" in run("grade", tmp_path / "none", "--out", csv_file)
    mine = tmp_path / "mine"
    answers = {THREE.file: RIGHT["3.1"]}
    for file, answer in answers.items():
        hand_in(mine / file, answer)
    shown = run("progress", mine)
    assert "3.1 ✓" in shown
    assert "3.2 ○" in shown
    assert "1 of 5" in shown
    assert "no notebook of the course" in run("progress", tmp_path / "said")


@pytest.fixture(autouse=True)
def _no_flag_is_left() -> Callable[[], None]:
    graded(False)
    return lambda: None
