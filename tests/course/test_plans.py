"""Plans of a class: they add up, lose nothing, and run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from ncourse.course import plans
from ncourse.course.assignments import tasks
from ncourse.course.manifest import Chapter, ManifestError, load
from ncourse.course.notebooks import cells

REPOSITORY = Path(__file__).parents[2]
BOOK = load(REPOSITORY / "book.toml")
CHAPTERS = pytest.mark.parametrize("chapter", BOOK.with_drafts, ids=lambda chapter: chapter.stem)
LENGTHS = pytest.mark.parametrize("length", plans.LENGTHS)


def plan(chapter: Chapter, length: int) -> plans.Plan:
    """The plan of this length, or of a short chapter's own."""
    return plans.plan(BOOK, chapter, min(length, chapter.minutes) if not chapter.number else length)


@CHAPTERS
@LENGTHS
def test_a_plan_fills_the_class_and_loses_nothing(chapter: Chapter, length: int) -> None:
    made = plan(chapter, length)
    if not chapter.number:
        length = chapter.minutes
    assert sum(slot.minutes for slot in made.slots) == length
    assert min(slot.minutes for slot in made.slots) >= 1
    assert sorted(t.exercise for t in (*made.in_class, *made.at_home)) == sorted(
        task.exercise for task in tasks(BOOK, chapter)
    )
    assert made.in_class
    assert sum(task.minutes for task in made.in_class) <= 0.3 * length
    text = BOOK.path(chapter).read_text(encoding="utf-8")
    titles = set(re.findall(r'"## ([^"]+?)(?:\\n)?"', text)) - plans.NOT_TALKED_ABOUT
    told = {slot.what for slot in made.slots} | set(made.after)
    assert titles <= told, titles - told
    assert set(made.after) <= set(chapter.optional_sections) <= titles - set(plans.LAST)


@CHAPTERS
@LENGTHS
def test_what_serves_only_a_section_left_for_reading_is_not_asked(
    chapter: Chapter, length: int
) -> None:
    made = plan(chapter, length)
    left = {number for title in made.after for number in chapter.optional_sections[title]}
    assert not left & {task.objective for task in made.in_class}
    text = "\n".join(cell.source for cell in cells(BOOK.path(chapter)))
    quiz = dict(re.findall(r"^\*\*(\d)\. .*\(objective (\d)\)$", text, re.MULTILINE))
    asked = {place[-1] for slot in made.slots for place in slot.places if "Quiz" in place}
    assert asked == {number for number, objective in quiz.items() if int(objective) not in left}
    assert len(asked) >= 2
    exit_says = made.slots[-1].what
    assert ("one question of the quiz" in exit_says) == (asked == set(quiz))
    if asked != set(quiz):
        assert set(re.findall(r"\d", exit_says)) == asked


def test_where_time_is_short_the_last_optional_section_is_left_for_reading() -> None:
    short, long = (plans.plan(BOOK, BOOK.chapter(5), length) for length in (50, 90))
    assert short.after == ("A wide layer in front", "Collapse is no promise")
    assert "quiz 1, 2, 3, 4 or 5;" in short.slots[-1].what
    assert long.after == ()


def test_sections_share_the_time_by_what_there_is_to_say() -> None:
    assert plans._shares([3.0, 1.0], 10) == [7, 3]
    assert plans._shares([1.0, 1.0, 1.0], 10) == [4, 3, 3]
    assert plans._shares([], 10) == []


def undefined(folder: Path) -> list[str]:
    """The names that programs in this folder use and that nothing in them defines."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache"]
    command += ["--select", "F821", "--config", 'builtins = ["display"]']
    found = subprocess.run(
        [*command, "--output-format", "concise", str(folder)], capture_output=True, text=True
    )
    assert found.returncode in (0, 1), found.stderr
    return [line for line in found.stdout.splitlines() if "F821" in line]


def test_each_name_that_a_class_uses_comes_from_a_cell_that_it_has_run(tmp_path: Path) -> None:
    for chapter in BOOK.with_drafts:
        for length in plans.LENGTHS:
            program = "\n\n".join(
                cell.source for cell in plans.run_in_class(BOOK, chapter, plan(chapter, length))
            )
            assert program.count("\n\n") > 3
            (tmp_path / f"{chapter.number:02d}_{length}.py").write_text(program, encoding="utf-8")
    assert undefined(tmp_path) == []


def test_a_name_from_a_section_that_is_left_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "plan.py").write_text("x = 1\nprint(x + means)\n")
    (said,) = undefined(tmp_path)
    assert "`means`" in said


@pytest.mark.slow
@CHAPTERS
@LENGTHS
def test_a_class_that_runs_only_what_is_planned_meets_no_error(
    chapter: Chapter, length: int
) -> None:
    run = plans.run_in_class(BOOK, chapter, plan(chapter, length))
    notebook = new_notebook(cells=[new_code_cell(cell.source) for cell in run])
    NotebookClient(notebook, kernel_name="python3", timeout=600).execute(cwd=str(BOOK.folder))


@pytest.mark.parametrize("wrong", ['{ "A" = [4] }', '{ "A" = [] }', '{ "A" = "1" }', "3"])
def test_an_optional_section_serves_objectives_that_there_are(course: Path, wrong: str) -> None:
    path = course / "book.toml"
    text = path.read_text().replace("objectives = [", f"optional = {wrong}\nobjectives = [", 1)
    path.write_text(text)
    with pytest.raises(ManifestError, match="optional"):
        load(path)
