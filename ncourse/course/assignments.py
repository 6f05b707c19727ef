"""Assignments: some exercises of a chapter as a notebook of their own, made when asked for.

What loads slowly (nbformat, and PyTorch with the registry of exercises) is imported where it is
used: which exercises a chapter has stands in its notebook.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ncourse.course.manifest import Book, Chapter, install_lines, without_install_lines
from ncourse.course.notebooks import cells

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["AssignmentError", "Task", "assignment", "several_chapters", "tasks"]

HEADING = re.compile(r"^### Exercise (\d+\.\d+) · (\d+) min · (●○○|●●○|●●●)$", re.MULTILINE)
LEVELS = {mark: f"difficulty {mark.count('●')} of 3" for mark in ("●○○", "●●○", "●●●")}
"""The marks of difficulty, in words."""

METADATA = "ncourse_assignment"
_OBJECTIVE = re.compile(r"\*Objective (\d)\.\*\s*")


class AssignmentError(ValueError):
    """What was asked for cannot be made; the message says what there is."""


@dataclass(frozen=True)
class Task:
    """One exercise as its chapter sets it.

    Attributes:
        exercise: its name, e.g. "5.1".
        minutes: that it takes.
        level: "●○○", "●●○" or "●●●".
        text: what is asked, in Markdown, without the heading.
        stub: the cell to fill in.
        imports: what the chapter imports, and an answer may use.
        function: the name of the function to write.
    """

    exercise: str
    minutes: int
    level: str
    text: str
    stub: str
    imports: str
    function: str

    @property
    def objective(self) -> int | None:
        """The number of the chapter's objective that it serves; None for one for marks."""
        found = _OBJECTIVE.match(self.text)
        return int(found[1]) if found else None

    @property
    def points(self) -> int:
        """What it is worth: a point a minute."""
        return self.minutes


def levels_in_words(page: str) -> str:
    """HTML in which a screen reader says how difficult an exercise is, and not "black circle".

    What it has been made of once stays as it is.
    """
    for mark, words in LEVELS.items():
        opened = f'<span role="img" aria-label="{words}">'
        found = rf"(>[^<>]*)(?<!{opened}){mark}(?=[^<>]*<)"
        page = re.sub(found, rf"\1{opened}{mark}</span>", page)
    return page


def tasks(book: Book, chapter: Chapter, exercises: Sequence[str] = ()) -> list[Task]:
    """The chapter's exercises in order; only those named, if any are.

    Raises:
        AssignmentError: for a name that the chapter does not have; if an exercise has not one cell
            to fill in, or the chapter's first cell is no Python.
        UnreadableNotebook: if the chapter's file is none.
    """
    whole = cells(book.path(chapter))
    code = [cell.source for cell in whole if cell.cell_type == "code"]
    found: dict[str, Task] = {}
    for cell in whole:
        if cell.cell_type != "markdown":
            continue
        parts = HEADING.split(cell.source)
        for name, minutes, level, text in zip(*(parts[i::4] for i in (1, 2, 3, 4)), strict=True):
            stub_of = re.compile(rf'^@exercise\("{re.escape(name)}"\)\ndef (\w+)', re.MULTILINE)
            stubs = [(source, start[1]) for source in code if (start := stub_of.search(source))]
            if len(stubs) != 1:
                raise AssignmentError(
                    f"{chapter.file} has {len(stubs)} cells for exercise {name}; expected one"
                )
            ((stub, function),) = stubs
            text = re.split(r"^#", text, maxsplit=1, flags=re.MULTILINE)[0].strip()
            try:
                imports = _imports(code[0])
            except SyntaxError as error:
                raise AssignmentError(f"{chapter.file}: the first cell: {error}") from error
            found[name] = Task(name, int(minutes), level, text, stub, imports, function)
    for name in exercises:
        if "v" in name:
            found[name] = _for_marks(name, _imports(code[0]))
    unknown = [name for name in exercises if name not in found]
    if unknown:
        raise AssignmentError(
            f"chapter {chapter.number} has no exercise {', '.join(unknown)}; it has "
            f"{', '.join(found)}"
        )
    return [task for name, task in found.items() if not exercises or name in exercises]


def _for_marks(name: str, imports: str) -> Task:
    """An exercise for marks, which no chapter asks, as a task."""
    from ncourse.exercises.marked import marked

    try:
        entry, variant = marked(name)
    except KeyError as error:
        raise AssignmentError(error.args[0]) from None
    stub = f'@exercise("{name}")\n{entry.stub}\n    ...'
    return Task(
        name, entry.minutes, entry.level, entry.asked(variant), stub, imports, entry.function
    )


def variants(chapter: Chapter, secret: str) -> list[str]:
    """The chapter's exercises for marks, each in the variant that a teacher's secret draws.

    Raises:
        AssignmentError: if the chapter has none, or the secret is empty.
    """
    from ncourse.exercises.marked import MARKED

    if not secret:
        raise AssignmentError("the secret that draws variants is empty; name a word of your own")
    found = []
    for entry in MARKED:
        if entry.name.partition(".")[0] == str(chapter.number):
            digest = hashlib.sha256(f"{secret}/{entry.name}".encode()).digest()
            found.append(f"{entry.name}v{int.from_bytes(digest) % len(entry.variants)}")
    if not found:
        raise AssignmentError(f"chapter {chapter.number} has no exercises for marks")
    return found


def _imports(source: str) -> str:
    """The import statements of a chapter's first cell, without those that install the course."""
    body = ast.parse(without_install_lines(source)).body
    nodes = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    return "\n".join(
        ast.unparse(node)
        for node in nodes
        if not (isinstance(node, ast.ImportFrom) and node.module == "ncourse.exercises")
    )


def assignment(
    book: Book,
    chapter: Chapter,
    exercises: Sequence[str] = (),
    *,
    due: str = "",
    solutions: bool = True,
    site: str = "",
) -> NotebookNode:
    """A notebook with these exercises of a chapter: texts, points and stubs.

    Args:
        book: the course.
        chapter: whose exercises to set.
        exercises: their names; all if empty.
        due: the date to print; a line to fill in if empty.
        solutions: whether `hint` and `solution` work in it. Without them an answer that fails is
            not replaced by the course's either.
        site: address of the course's site, to which the texts then link; else they link to the
            chapter's notebook, on GitHub if the course is there, or name the repository's page.

    Raises:
        AssignmentError: for an exercise that the chapter does not have.
    """
    chosen = [(chapter, task) for task in tasks(book, chapter, exercises)]
    title = f"Assignment: {chapter.title}"
    return several_chapters(book, title, chosen, due=due, solutions=solutions, site=site)


def several_chapters(
    book: Book,
    title: str,
    chosen: Sequence[tuple[Chapter, Task]],
    *,
    due: str = "",
    solutions: bool = True,
    site: str = "",
) -> NotebookNode:
    """A notebook with exercises of one chapter or several.

    Args:
        book: the course.
        title: of the notebook.
        chosen: the exercises, each with its chapter.
        due: the date to print; a line to fill in if empty.
        solutions: as for `assignment`.
        site: as for `assignment`.
    """
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

    total = sum(task.points for _, task in chosen)
    minutes = sum(task.minutes for _, task in chosen)
    text = f"""# {title}

| | |
|---|---|
| Name | |
| Due | {due or "…"} |
| Exercises | {len(chosen)}, {total} points, about {minutes} minutes |

Replace the `...` in each cell by your answer and run the cell: it says *solved*, or what is not yet
right. Keep the names and arguments of the functions, and put everything that an answer needs into
its cell, imports too. Other cells are yours. Hand in this file."""
    if not solutions:
        text += "\n\nIn this assignment `hint` and `solution` are off."
    names = "exercise, graded" if not solutions else "exercise, hint, solution"
    # Of several chapters each line once: what is imported is the same wherever it has that name.
    lines = dict.fromkeys(line for _, task in chosen for line in task.imports.splitlines())
    imports = "\n".join(lines)
    first = f"{imports}\nfrom ncourse.exercises import {names}"
    first += "\n\ngraded()" if not solutions else ""
    install = install_lines(book, recordings=False)
    made = [
        new_markdown_cell(text, id="title"),
        new_code_cell(f"{install}\n\n{first}" if install else first, id="imports"),
    ]
    for chapter, task in chosen:
        key = task.exercise.replace(".", "-")
        heading = f"## Exercise {task.exercise} · {task.points} points · {task.level}"
        text = _OBJECTIVE.sub("", task.text, count=1)
        place = f"In the course: [{chapter.heading}]({_address(book, chapter, task, site)})."
        made.append(new_markdown_cell(f"{heading}\n\n{text}\n\n{place}", id=f"text-{key}"))
        made.append(new_code_cell(task.stub, id=f"answer-{key}"))
        if solutions:
            made.append(new_code_cell(f'hint("{task.exercise}")', id=f"hint-{key}"))
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        METADATA: {"exercises": [task.exercise for _, task in chosen]},
    }
    return new_notebook(cells=made, metadata=metadata)


def _address(book: Book, chapter: Chapter, task: Task, site: str) -> str:
    """Where the chapter sets an exercise, among what explains it."""
    if site:
        number = task.exercise.replace(".", "-")
        anchor = "" if "v" in number else f"#exercise-{number}-{task.minutes}-min"
        return f"{site.rstrip('/')}/{chapter.stem}.html{anchor}"
    if book.on_github:
        return f"{book.web_address}/blob/main/{book.src}/{chapter.file}"
    return book.web_address or chapter.file


def set_by(metadata: Mapping[str, Any]) -> list[str]:
    """The exercises that an assignment sets, by its metadata; empty for any other notebook.

    Names that are no exercises are left out: a notebook comes back from a student.
    """
    from ncourse.exercises import find

    entry = metadata.get(METADATA)
    names = entry.get("exercises") if isinstance(entry, dict) else None
    known = []
    for name in names if isinstance(names, list) else []:
        if isinstance(name, str):
            with contextlib.suppress(KeyError):
                known.append(find(name).name)
    return known
