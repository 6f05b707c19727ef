"""Assignments as nbgrader takes them: our checks as hidden tests, written answers with a rubric.

What is made here is a *source* notebook, for `source/NAME/` of an nbgrader course; its commands
make the students' version, grade what comes back, and write feedback. nbgrader is not imported.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ncourse.course.assignments import AssignmentError, Task, assignment, tasks
from ncourse.course.manifest import Book, Chapter
from ncourse.course.teaching import written

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["questions", "source"]

SCHEMA = 3  # of nbgrader's metadata
WORTH = 5  # points of a written answer
RUBRIC = f"""\
| points | for an answer that |
|---:|---|
| {WORTH} | says the claim, the reason for it, and what in the chapter shows it |
| 3 | says the claim and the reason, and names nothing that shows it |
| 1 | says the claim alone |
| 0 | contradicts what the chapter has shown |"""


def questions(book: Book, chapter: Chapter) -> list[tuple[str, str]]:
    """The questions to discuss of a chapter's teaching page, each with its model answer."""
    text = written(book, chapter).get("To discuss", "")
    found = re.findall(
        r"^\*\*\d+\. (.+?)\*\*\n\n<details><summary>.*?</summary>\n\n(.+?)\n\n</details>",
        text,
        flags=re.DOTALL | re.MULTILINE,
    )
    return [(question.strip(), answer.strip()) for question, answer in found]


def source(
    book: Book,
    chapter: Chapter,
    exercises: Sequence[str] = (),
    *,
    due: str = "",
    site: str = "",
    asked: Sequence[int] = (),
    seeds: Sequence[int] = (),
) -> NotebookNode:
    """A source notebook for nbgrader: exercises with hidden tests, questions with a rubric.

    Args:
        book: the course.
        chapter: whose exercises to set.
        exercises: their names; all if empty.
        due: the date to print.
        site: as for `assignment`.
        asked: numbers of the questions to set, from 1, as on the chapter's teaching page.
        seeds: of the data of the hidden tests.

    Raises:
        AssignmentError: for an exercise or a question that the chapter does not have.
    """
    from nbformat.v4 import new_code_cell, new_markdown_cell

    notebook = assignment(book, chapter, exercises, due=due, solutions=False, site=site)
    by_key = {task.exercise.replace(".", "-"): task for task in tasks(book, chapter, exercises)}
    cells = []
    for cell in notebook.cells:
        kind, _, key = cell["id"].partition("-")
        if kind == "answer":
            task = by_key[key]
            cell.source = _solved(task)
            _mark(cell, solution=True)
            cells.append(cell)
            test = new_code_cell(_test(task, seeds), id=f"test-{key}")
            cells.append(_mark(test, grade=True, locked=True, points=task.points))
        else:
            cell.source = cell.source.replace(
                "Replace the `...` in each cell by your answer",
                "Replace `raise NotImplementedError()` in each cell by your answer",
            )
            cells.append(_mark(cell, locked=True))
    there = questions(book, chapter)
    for number in asked:
        if not 1 <= number <= len(there):
            raise AssignmentError(
                f"chapter {chapter.number} has {len(there)} questions; there is no {number}"
            )
        question, answer = there[number - 1]
        text = (
            f"## In words · {WORTH} points\n\n{question}\n\n=== BEGIN MARK SCHEME ===\n\n{RUBRIC}"
            f"\n\nA model answer: {answer}\n\n=== END MARK SCHEME ==="
        )
        task_cell = new_markdown_cell(text, id=f"question-{number}")
        cells.append(_mark(task_cell, task=True, locked=True, points=WORTH))
        cells.append(new_markdown_cell("*Your answer:*", id=f"words-{number}"))
    notebook.cells = cells
    return notebook


def _solved(task: Task) -> str:
    """The stub with the course's answer where nbgrader takes solutions out."""
    lines = task.stub.rstrip().splitlines()
    if lines[-1].strip() != "...":
        raise AssignmentError(f"the cell of exercise {task.exercise} does not end with `...`")
    indent = " " * (len(lines[-1]) - len(lines[-1].lstrip()))
    arguments = re.search(r"^def \w+\((.*?)\):", task.stub, flags=re.MULTILINE | re.DOTALL)
    assert arguments is not None
    names = ", ".join(part.split(":")[0].split("=")[0].strip() for part in arguments[1].split(","))
    body = [
        "### BEGIN SOLUTION",
        "from ncourse.exercises import find",
        "",
        f'return find("{task.exercise}").reference({names})',
        "### END SOLUTION",
    ]
    return "\n".join([*lines[:-1], *(f"{indent}{line}".rstrip() for line in body)])


def _test(task: Task, seeds: Sequence[int]) -> str:
    return "\n".join(
        [
            f"# Exercise {task.exercise} is graded here, on other data.",
            "### BEGIN HIDDEN TESTS",
            "from ncourse.exercises import check, find",
            "",
            f"for seed in {list(seeds) or [0]}:",
            f'    said = check(find("{task.exercise}"), {task.function}, seed=seed)',
            '    assert said.state == "solved", said.message',
            "### END HIDDEN TESTS",
        ]
    )


def _mark(
    cell: NotebookNode,
    *,
    grade: bool = False,
    solution: bool = False,
    locked: bool = False,
    task: bool = False,
    points: int | None = None,
) -> NotebookNode:
    """Say in the cell's metadata what nbgrader is to do with it."""
    entry: dict[str, Any] = {
        "schema_version": SCHEMA,
        "grade_id": cell["id"],
        "grade": grade,
        "solution": solution,
        "locked": locked,
        "task": task,
    }
    if points is not None:
        entry["points"] = points
    cell.metadata["nbgrader"] = entry
    return cell
