"""Assignments, and a class of sixty that hands them in: right, wrong, and worse."""

import importlib
import inspect
import os
import pkgutil
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from assignment_cells import run_cells
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from ncourse.course import assignments, feedback, gradebook, grading
from ncourse.course.assignments import AssignmentError
from ncourse.course.grading import Limits
from ncourse.course.manifest import load
from ncourse.exercises import chapter03, check, exercise, find, graded, hint, solution

# Wherever the course is published: texts then link to it.
BOOK = replace(load(Path(__file__).parents[2] / "book.toml"), repository="")
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
    one = grading.read(hand_in(tmp_path / "a.ipynb", *cells))
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
    assert text.count("In the course: [3. Watching collapse](03-watching-collapse.ipynb).") == 2
    there = assignments.assignment(BOOK, THREE, ["3.2"], site="https://x.example/nc/")
    address = "(https://x.example/nc/03-watching-collapse.html#exercise-3-2-5-min)"
    assert address in there.cells[2].source
    assert "3.1" not in text
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert "from ncourse.exercises import exercise, hint, solution" in code[0]
    assert "import torch" in code[0]
    assert '@exercise("3.4")' in code[3]
    assert code[4] == 'hint("3.4")'
    assert assignments.set_by(notebook.metadata) == ["3.2", "3.4"]


def test_an_assignment_is_made_for_every_chapter_and_its_cells_run() -> None:
    for chapter in BOOK.with_drafts:
        notebook = assignments.assignment(BOOK, chapter, solutions=False)
        run_cells(notebook)
        assert len(assignments.set_by(notebook.metadata)) >= 3
        assert "hint" not in "\n".join(c.source for c in notebook.cells if c.cell_type == "code")


def names_of_the_package() -> set[str]:
    """Modules of the library, and what they offer."""
    import ncourse

    found: set[str] = set()
    for module in pkgutil.walk_packages(ncourse.__path__, "ncourse."):
        if not module.name.startswith(("ncourse.course", "ncourse.exercises")):
            found.add(module.name.rpartition(".")[2])
            found |= set(getattr(importlib.import_module(module.name), "__all__", ()))
    return found


def test_what_a_text_names_is_there_in_an_untouched_assignment() -> None:
    public, looked_up = names_of_the_package(), 0
    for chapter in BOOK.with_drafts:
        namespace: dict[str, object] = {}
        notebook = assignments.assignment(BOOK, chapter)
        exec(next(cell.source for cell in notebook.cells if cell.cell_type == "code"), namespace)
        for task in assignments.tasks(BOOK, chapter):
            arguments = set(inspect.signature(find(task.exercise).reference).parameters)
            for quoted in re.findall(r"`([^`\n]+)`", f"{task.text}\n{task.stub}"):
                name = re.match(r"[A-Za-z_][\w.]*\w|", quoted)[0]  # type: ignore[index]
                first = name.partition(".")[0]
                if first in arguments or not (first in public or "." in name):
                    continue
                looked_up += 1
                if first not in namespace:  # then it is given in full, to be imported
                    first, name = "named", f"named.{name.rpartition('.')[2]}"
                    module = re.match(r"[\w.]+(?=\.)", quoted)
                    assert module, f"{task.exercise}: `{quoted}` is not imported"
                    namespace["named"] = importlib.import_module(module[0])
                value = namespace[first]
                for part in name.split(".")[1:]:
                    value = getattr(value, part)
    assert looked_up >= 5


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
        assert assignments.set_by(notebook.metadata) in ([], ["3.1"])


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
        "Put it into the function",
    ),
    "endless": ([body("while True: pass")], "fault", "more than 4 seconds"),
    "asleep": ([body("import time", "time.sleep(600)")], "fault", "more than 4 seconds"),
    "10 GB": ([body("return torch.zeros(10_000_000_000, dtype=torch.uint8)")], "fault", "memory"),
    "10 GB of bytes": ([body("return len(bytearray(10_000_000_000))")], "fault", "memory"),
    "100 MB print": ([body("print('x' * 100_000_000)", "return 1")], "fault", "prints"),
    "many prints": ([body("while True: print('x' * 1000)")], "fault", "prints"),
    "big file": ([body("open('f', 'w').write('x' * 9_000_000)")], "fault", "writes too much"),
    "exit": ([body("import sys", "sys.exit(0)")], "not yet", "SystemExit"),
    "hard exit": ([body("import os", "os._exit(3)")], "fault", "exit code 3"),
    "killed": ([body("import os", "os.kill(os.getpid(), 9)")], "fault", "SIGKILL"),
    "two answers": ([RIGHT["3.1"], body("return 1.0")], "not yet", ""),
    "syntax": (
        ["def within_over_between(features, labels):\n    return (\n"],
        "fault",
        "syntax error in line",
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

    handed = grading.collect([folder])
    assert len(handed) == 60
    read = [one for one, _ in gradebook.hand_ins(handed, None)]
    finished: list[str] = []
    grading.grade(
        read, TASKS, limits=LIMITS, at_once=2, done=lambda one: finished.append(one.student)
    )
    assert sorted(finished) == sorted(one.student for one in read)

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

    book = gradebook.Gradebook(tmp_path / "grades.csv", TASKS)
    for one in read:
        book.add(one)
    book.write()
    _, rows = gradebook.table(tmp_path / "grades.csv")
    assert len(rows) == 60
    table = {row["student"]: row for row in rows}
    assert table["00 right"]["points"] == table["00 right"]["of"] == "15"
    assert table["07 stub"]["points"] == "5"
    assert table["14 endless"]["3.1 state"] == "fault"
    assert "more than 4 seconds" in table["14 endless"]["remark"]
    assert table["half a file"]["points"] == "0"
    assert "readable" in table["half a file"]["remark"]

    page = feedback.page(by_student["11 crash"], TASKS)
    assert "<h1>11 crash</h1><p><b>5 of 15 points.</b></p>" in page
    assert "<h2>Exercise 3.1: 0 of 10 points</h2>" in page
    assert "return 1 / 0" in page
    assert "Your function stopped with Zero" in page


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


def test_a_known_mistake_is_told_and_how_many_cases_are_right(tmp_path: Path) -> None:
    last = RIGHT["3.2"].replace("return epoch", "return epoch - 1")
    results = states(RIGHT["3.1"], last, tmp_path=tmp_path)
    right, wrong = results["3.1"], results["3.2"]
    assert (right.mistake, right.passed) == ("", right.steps)
    assert wrong.mistake
    assert wrong.mistake in wrong.message
    assert 0 <= wrong.passed < wrong.steps


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
    for junk in ("a/.ipynb_checkpoints/hw", "__MACOSX/a/hw", "a/._hw"):
        hand_in(tmp_path / f"{junk}.ipynb", "x = 1")
    only = hand_in(tmp_path / "c.ipynb", "x = 1")
    handed = grading.collect([tmp_path, only])
    assert grading.names(handed) == ["a/hw", "b/hw", "c"]
    with pytest.raises(FileNotFoundError, match="does not exist"):
        grading.collect([tmp_path / "nowhere"])


@pytest.mark.skipif(sys.platform != "linux", reason="names that are not UTF-8")
def test_names_are_legible_and_all_different(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path)
    for name in (b"s\xe9", b"s\xe8", b"s\xef\xbf\xbd (2)", b"a/x/hw", b"b/x/hw", b"x-hw"):
        path = os.path.join(folder, name + b".ipynb")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(os.fsdecode(path)).write_text(nbformat.writes(new_notebook()))
    handed = grading.collect([tmp_path])
    made = grading.names(handed)
    assert len(set(made)) == 6
    assert {"a/x/hw", "b/x/hw", "x-hw", "s\ufffd", "s\ufffd (2)"} < set(made)
    book = gradebook.Gradebook(tmp_path / "g.csv", TASKS)
    for one, _ in gradebook.hand_ins(handed, None):
        book.add(one, feedback=book.feedback_name(one, None))
    files = {row["feedback"] for row in book.rows.values()}
    assert len(book.rows) == len(files) == 6
    book.write()


def test_what_is_written_into_a_notebook_beside_its_code_does_not_matter(tmp_path: Path) -> None:
    """A byte-order mark, another encoding, a mountain of output; but not a mountain of code."""
    notebook = new_notebook(cells=[new_code_cell(RIGHT["3.2"])])
    notebook.cells[0].outputs = [new_output("stream", text="x" * 60_000_000)]
    path = tmp_path / "a.ipynb"
    path.write_text(nbformat.writes(notebook), encoding="utf-8-sig")
    one = grading.read(path)
    assert (one.problem, one.cells) == ("", [RIGHT["3.2"]])
    notebook.cells[0].outputs = []
    path.write_text(nbformat.writes(notebook), encoding="utf-16")
    assert grading.read(path).cells == [RIGHT["3.2"]]
    notebook.cells[0].source = "#" * 1_000_001
    path.write_text(nbformat.writes(notebook))
    assert "1,000,001 characters of code" in grading.read(path).problem
    link = tmp_path / "link.ipynb"
    link.symlink_to(path)
    assert "a link" in grading.read(link).problem


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux")
def test_a_file_that_needs_too_much_memory_is_its_students_problem(tmp_path: Path) -> None:
    start, end = b'{"nbformat": 4, "x": [', b'[]], "cells": []}'
    (tmp_path / "a.ipynb").write_bytes(start + b"[]," * 12_000_000 + end)
    hand_in(tmp_path / "b.ipynb", *RIGHT.values())
    big, honest = (one for one, _ in gradebook.hand_ins(grading.collect([tmp_path]), None))
    grading.grade([big, honest], TASKS, limits=Limits(megabytes=300), hidden_seeds=0)
    assert "MemoryError" in big.problem
    assert {result.state for result in honest.results.values()} == {"solved"}


def test_messages_are_short_legible_and_without_places() -> None:
    said = "No such file: '/home/teacher/marks/x.csv' and C:\\Users\\me\\y.txt: \udce9\x00\u202e"
    assert grading.legible(said) == "No such file: '…/x.csv' and …/y.txt: ?  "
    assert len(grading.legible("x" * 30_000_000)) == grading.MOST_TEXT
    for chapter in BOOK.with_drafts:
        for task in assignments.tasks(BOOK, chapter):
            asked = find(task.exercise)
            for text in (asked.why, *(mistake.says for mistake in asked.mistakes)):
                assert grading.legible(text) == text


@pytest.mark.parametrize(
    "reply",
    [
        *({}, {"state": "solved"}, {"answers": {}}),
        {"state": "perfect", "message": "", "mistake": "", "passed": 1, "steps": 1},
        {"state": "solved", "message": 1, "mistake": "", "passed": 1, "steps": 1},
        {"state": "solved", "message": "", "mistake": "", "passed": 2, "steps": 1},
        {"state": "solved", "message": "", "mistake": "", "passed": -1, "steps": 1},
        {"state": "solved", "message": "", "mistake": "", "passed": "1", "steps": 1},
    ],
)
def test_a_reply_that_is_none_is_a_fault(reply: dict[str, object]) -> None:
    assert grading._validated(reply) == grading.Result("fault", grading.TAMPERED)


def test_exercises_are_those_that_the_teachers_file_names(tmp_path: Path) -> None:
    notebook = assignments.assignment(BOOK, THREE, ["3.2", "3.4"])
    notebook.cells.append(new_markdown_cell("mine"))
    path = tmp_path / "s.ipynb"
    path.write_text(nbformat.writes(notebook))
    assert grading.asked_for(path) == ["3.2", "3.4"]
    with pytest.raises(ValueError, match="--exercises"):
        grading.asked_for(hand_in(tmp_path / "t.ipynb", "x = 1"))


def test_a_stray_submission_is_named_in_its_row_and_changes_nothing_else(tmp_path: Path) -> None:
    notebook = assignments.assignment(BOOK, THREE, ["3.3", "3.4"])
    (tmp_path / "stray.ipynb").write_text(nbformat.writes(notebook))
    hand_in(tmp_path / "good.ipynb", RIGHT["3.1"], RIGHT["3.2"])
    read = [one for one, _ in gradebook.hand_ins(grading.collect([tmp_path]), None)]
    grading.grade(read, TASKS, limits=LIMITS, hidden_seeds=0)
    good, stray = read
    assert good.remarks == []
    assert stray.remarks == ["Another assignment? It says that it sets 3.3, 3.4."]
    assert {result.state for result in good.results.values()} == {"solved"}
    assert {result.state for result in stray.results.values()} == {"missing"}


def test_an_answer_that_looks_around_is_remarked(tmp_path: Path) -> None:
    cells = [
        body(
            "from ncourse.exercises import find", "return find('3.1').reference(features, labels)"
        ),
        "def terminal_epoch(train_error):\n    import gc\n    return gc.get_objects().__class__\n",
    ]
    one = grading.read(hand_in(tmp_path / "a.ipynb", *cells))
    grading.grade([one], TASKS, limits=LIMITS, hidden_seeds=0)
    assert one.remarks == [
        "3.1 looks into ncourse.exercises.",
        "3.2 looks into __class__, gc.",
    ]
    honest = grading.read(hand_in(tmp_path / "b.ipynb", *RIGHT.values()))
    grading.grade([honest], TASKS, limits=LIMITS, hidden_seeds=0)
    assert honest.remarks == []


def test_names_that_are_no_exercises_are_left_out(tmp_path: Path) -> None:
    for name in (3.2, "3.9", "x", None):
        metadata = {assignments.METADATA: {"exercises": [name, "3.4"]}}
        assert assignments.set_by(metadata) == ["3.4"]


def test_cells_that_were_left_as_they_are_start_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = assignments.tasks(BOOK, THREE)
    one = grading.read(hand_in(tmp_path / "a.ipynb", *(task.stub for task in tasks)))
    grading.find_answers(one, tasks)
    assert one.answers == {}
    monkeypatch.setattr(grading, "_Worker", None)
    grading.grade([one], tasks)
    assert {result.state for result in one.results.values()} == {"missing"}


def test_one_sees_what_one_has_solved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from ncourse.course.cli import app

    monkeypatch.chdir(BOOK.root)
    hand_in(tmp_path / "mine" / THREE.file, RIGHT["3.1"])
    shown = CliRunner().invoke(app, ["progress", str(tmp_path / "mine")]).output
    assert "3.1 ✓" in shown
    assert "3.2 ○" in shown
    assert "1 of 6" in shown
    empty = CliRunner().invoke(app, ["progress", str(tmp_path)])
    assert "no notebook of the course" in " ".join((empty.output + empty.stderr).split())


@pytest.fixture(autouse=True)
def _no_flag_is_left() -> Callable[[], None]:
    graded(False)
    return lambda: None
