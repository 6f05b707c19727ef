"""Plans of a class: which sections of a chapter it goes through, for how long, and what it leaves.

Minutes come from the notebook and the exercises; which sections a class may leave for reading, and
what they teach, stands in the manifest.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nbformat import NotebookNode

from ncourse.course.assignments import Task, tasks
from ncourse.course.manifest import Book, Chapter
from ncourse.course.notebooks import Cell, cells, read
from ncourse.figures.live import is_figure

__all__ = ["Plan", "Slot", "place_of", "plan", "run_in_class"]

LENGTHS = (50, 90)
"""Minutes of the classes that each chapter has a plan for."""

PREDICT, QUIZ, SUMMARY = "Predict first", "Quiz", "Summary"
NOT_TALKED_ABOUT = {PREDICT, "Exercises", "Claims", QUIZ, SUMMARY, "References"}
LAST = ("The main result, on data", "What can go wrong")
SHORTEST = 5  # minutes; where sections would get less, the last optional one is read afterwards
FIRST = ""  # the place of what stands above the first section

_QUESTION = re.compile(r"^\*\*(\d+)\. .*\*\* \(objective (\d)\)$", re.MULTILINE)
_HEADING = re.compile(r"^(?:## (?P<section>.+)|### (?P<exercise>Exercise \d+\.\d+)\b.*)$", re.M)


@dataclass(frozen=True)
class Slot:
    """A stretch of a class.

    Attributes:
        minutes: how long.
        what: what happens in it, in Markdown.
        places: where in the notebook that is, as `place_of` names it; those first that matter most.
        pages: how many slides are shown in it at most; never more than its minutes.
    """

    minutes: int
    what: str
    places: tuple[str, ...]
    pages: int = 100


@dataclass(frozen=True)
class Plan:
    """A class on a chapter.

    Attributes:
        slots: in order; their minutes add up to the length of the class.
        after: titles of the sections that it leaves for reading.
        in_class: exercises that are done in it.
        at_home: the other ones.
    """

    slots: tuple[Slot, ...]
    after: tuple[str, ...]
    in_class: tuple[Task, ...]
    at_home: tuple[Task, ...]


def plan(book: Book, chapter: Chapter, minutes: int) -> Plan:
    """A class of this length: a vote, the sections, some exercises, the main result, an exit.

    Exercises get at most three tenths of the time, the easy ones first. Sections share what is left
    by their words, figures and questions; while that is less than five minutes each, the
    last optional one is left for reading, and with it the exercises and quiz questions of the
    objectives that it serves.
    """
    every = tasks(book, chapter)
    notebook = read(book.path(chapter))
    vote, leave = min(5, minutes // 5), min(10, minutes // 10)
    without: set[int] = set()
    while True:
        chosen = _chosen(every, 0.3 * minutes, without)
        weights = _sections(notebook)
        talk = minutes - vote - leave - sum(task.minutes for task in chosen)
        after = _left(chapter, weights, talk, min(SHORTEST, minutes // 10))
        missing = {number for title in after for number in chapter.optional_sections[title]}
        if missing <= without:
            break
        without |= missing
    for title in after:
        del weights[title]
    work = [
        Slot(
            sum(task.minutes for task in chosen),
            f"**Work in pairs:** {timed(chosen)}.",
            tuple(f"Exercise {task.exercise}" for task in chosen),
        )
    ][: len(chosen)]
    shares = _shares(list(weights.values()), talk)
    talks = [Slot(share, title, (title,)) for title, share in zip(weights, shares, strict=True)]
    before = next((k for k, slot in enumerate(talks) if slot.what in LAST), len(talks))
    quiz = _quiz(notebook)
    asked = [number for number, objective in quiz if objective not in missing]
    question = "one question of the quiz" if len(asked) == len(quiz) else f"quiz {_or(asked)}"
    slots = [
        Slot(
            vote,
            "**Predict first.** Everybody votes; write the counts where they stay.",
            (FIRST, PREDICT),
        ),
        *talks[:before],
        *work,
        *talks[before:],
        Slot(
            leave,
            f"**Exit.** The vote again; {question}; one to discuss below.",
            (SUMMARY, *(f"{QUIZ} {number}" for number in asked)),
            pages=2,
        ),
    ]
    home = tuple(task for task in every if task not in chosen)
    return Plan(tuple(slots), tuple(after), tuple(chosen), home)


def _chosen(every: Sequence[Task], most: float, without: set[int]) -> list[Task]:
    """The easy exercises first, as many as there is time for; none that serves these objectives."""
    chosen: list[Task] = []
    for task in sorted(every, key=lambda task: task.level.count("●")):
        if task.objective in without:
            continue
        if sum(one.minutes for one in [*chosen, task]) <= most:
            chosen.append(task)
    return sorted(chosen, key=every.index)


def _left(chapter: Chapter, titles: Sequence[str] | dict, talk: int, shortest: int) -> list[str]:
    """The optional sections to leave, so that the others get this many minutes each."""
    left: list[str] = []
    for title in reversed([t for t in titles if t in chapter.optional_sections]):
        if talk >= shortest * (len(titles) - len(left)):
            break
        left.insert(0, title)
    return left


def timed(some: Sequence[Task]) -> str:
    """Exercises with their minutes, in Markdown."""
    word = "exercise" if len(some) == 1 else "exercises"
    return f"{word} " + ", ".join(f"{task.exercise} ({task.minutes}&nbsp;min)" for task in some)


def _or(numbers: Sequence[int]) -> str:
    *first, last = map(str, numbers)
    return f"{', '.join(first)} or {last}" if first else last


def _quiz(notebook: NotebookNode) -> list[tuple[int, int]]:
    """The numbers of the quiz's questions, each with that of its objective."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return [(int(number), int(objective)) for number, objective in _QUESTION.findall(text)]


def _sections(notebook: NotebookNode) -> dict[str, float]:
    """How much there is to say in each section: words read aloud, figures, questions."""
    weights: dict[str, float] = {}
    title = ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            text = re.sub(r"<details>.*?</details>", "", cell.source, flags=re.DOTALL)
            for part in re.split(r"^(?=## )", text, flags=re.MULTILINE):
                if part.startswith("## "):
                    title = part.splitlines()[0][3:].strip()
                if title and title not in NOT_TALKED_ABOUT:
                    weights.setdefault(title, 0.0)
                    weights[title] += len(part.split()) / 130 + 2 * part.count("### Check")
        elif title in weights:
            weights[title] += 2 * sum(map(is_figure, cell.outputs))
    return weights


def _shares(weights: Sequence[float], total: int) -> list[int]:
    """Whole minutes in proportion to the weights, at least one each, that add up to the total."""
    if not weights:
        return []
    spare = total - len(weights)
    exact = [spare * weight / sum(weights) for weight in weights]
    shares = [int(value) for value in exact]
    largest = sorted(range(len(exact)), key=lambda i: shares[i] - exact[i])
    for index in largest[: spare - sum(shares)]:
        shares[index] += 1
    return [share + 1 for share in shares]


# --- what of a notebook a plan goes through -----------------------------------------------------


def place_of(heading: str, before: str) -> str:
    """Where in a notebook one is below this line of Markdown.

    A place is a section's title, "Exercise 5.1", or what it was before.
    """
    found = _HEADING.match(heading)
    return (found["section"] or found["exercise"]).strip() if found else before


def run_in_class(book: Book, chapter: Chapter, made: Plan) -> Iterator[Cell]:
    """The code cells that a class runs: the imports, then those of the plan's places, in order."""
    places = {place for slot in made.slots for place in slot.places}
    place = FIRST
    for cell in cells(book.path(chapter)):
        if cell.cell_type == "markdown":
            for line in cell.source.splitlines():
                place = place_of(line, place)
        elif cell.cell_type == "code" and place in places:
            yield cell
