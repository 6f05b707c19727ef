"""Pages for teachers: plans of a class, wrong answers and what to say, a syllabus for each path.

Minutes, objectives and exercises come from the manifest, the notebook and the exercise registry.
What only a teacher can write, what to draw and what to discuss, stands in `teaching/NN.md` beside
the notebooks and is taken over as it is.
"""

import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nbformat import NotebookNode

from ncourse.course.assignments import Task, tasks
from ncourse.course.manifest import Book, Chapter, CoursePath
from ncourse.course.notebooks import read
from ncourse.exercises import Mistake, find

__all__ = ["Plan", "Slot", "chapter_page", "overview", "pages", "plan", "written"]

LENGTHS = (50, 90)
"""Minutes of the classes that each chapter has a plan for."""

PREDICT = "Predict first"
NOT_TALKED_ABOUT = {PREDICT, "Exercises", "Claims", "Quiz", "Summary", "References"}
LAST = ("The main result, on data", "What can go wrong")
SHORTEST = 5  # minutes; where sections would get less, the last of them is read afterwards


@dataclass(frozen=True)
class Slot:
    """A stretch of a class: how long, and what happens in it, in Markdown."""

    minutes: int
    what: str


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
    last of them before the main result is left for reading.
    """
    every = tasks(book, chapter)
    chosen: list[Task] = []
    for task in sorted(every, key=lambda task: task.level.count("●")):
        if sum(one.minutes for one in [*chosen, task]) <= 0.3 * minutes:
            chosen.append(task)
    chosen.sort(key=every.index)
    vote, leave = min(5, minutes // 5), min(10, minutes // 10)
    talk = minutes - vote - leave - sum(task.minutes for task in chosen)
    notebook = read(book.path(chapter))
    weights = _sections(notebook)
    after: list[str] = []
    shortest = min(SHORTEST, minutes // 10)
    while (
        weights
        and talk / len(weights) < shortest
        and (left := [t for t in weights if t not in LAST])
    ):
        after.insert(0, left[-1])
        del weights[left[-1]]
    given = _shares(list(weights.values()), talk)
    slots = [Slot(vote, "**Predict first.** Everybody votes; write the counts where they stay.")]
    worked = False
    for title, share in zip(weights, given, strict=True):
        if title in LAST and not worked:
            slots += _work(chosen)
            worked = True
        slots.append(Slot(share, title))
    if not worked:
        slots += _work(chosen)
    slots.append(
        Slot(leave, "**Exit.** The vote again; one question of the quiz; one to discuss below.")
    )
    return Plan(
        tuple(slots), tuple(after), tuple(chosen), tuple(t for t in every if t not in chosen)
    )


def _work(chosen: Sequence[Task]) -> list[Slot]:
    if not chosen:
        return []
    return [Slot(sum(task.minutes for task in chosen), f"**Work in pairs:** {_timed(chosen)}.")]


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
            shown = [output.get("data", {}).get("text/html", "") for output in cell.outputs]
            weights[title] += 2 * sum("<img" in text for text in shown)
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


# --- a chapter's page ---------------------------------------------------------------------------


def chapter_page(book: Book, chapter: Chapter) -> str:
    """What a teacher needs for a chapter, as Markdown."""
    mine = written(book, chapter)
    lines = [
        f"# Teaching chapter {chapter.number}",
        "",
        f"**[{chapter.title}]({chapter.file})** · {chapter.minutes} minutes for a reader on their "
        f'own · <a href="slides/{chapter.stem}.html">Slides</a>',
    ]
    generated = [
        ("In one sentence", _plans(book, chapter)),
        ("On the board", _work_to_set(book, chapter)),
    ]
    for title, text in mine.items():
        lines += ["", f"## {title}", "", text]
        for after, made in generated:
            if title == after:
                lines += ["", *made]
    for after, made in generated:
        if after not in mine:
            lines += ["", *made]
    return "\n".join(lines) + "\n"


def written(book: Book, chapter: Chapter) -> dict[str, str]:
    """Title -> text of the sections that are written by hand; none if there is no such file."""
    path = book.folder / "teaching" / f"{chapter.number:02d}.md"
    if not path.is_file():
        return {}
    parts = re.split(r"^## (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {
        title.strip(): text.strip() for title, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def _plans(book: Book, chapter: Chapter) -> Iterator[str]:
    """The plans, or for a short chapter one of its own length."""
    lengths = LENGTHS if chapter.minutes >= min(LENGTHS) else (chapter.minutes,)
    for length in lengths:
        made = plan(book, chapter, length)
        yield f"## A class of {length} minutes"
        yield ""
        yield "| Minute | for | |"
        yield "|---:|---:|---|"
        start = 0
        for slot in made.slots:
            yield f"| {start} | {slot.minutes}&nbsp;min | {slot.what} |"
            start += slot.minutes
        yield ""
        if made.after:
            yield f"To read afterwards: {_listed(made.after)}."
            yield ""
        if made.at_home:
            yield f"At home: {_timed(made.at_home)}."
            yield ""


def _timed(some: Sequence[Task]) -> str:
    """Exercises with their minutes."""
    word = "exercise" if len(some) == 1 else "exercises"
    return f"{word} " + ", ".join(f"{task.exercise} ({task.minutes}&nbsp;min)" for task in some)


def _listed(titles: Sequence[str]) -> str:
    quoted = [f"*{title}*" for title in titles]
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


def _work_to_set(book: Book, chapter: Chapter) -> Iterator[str]:
    """The exercises with their times, and the wrong answers that each check knows by name."""
    set_here = tasks(book, chapter)
    yield "## Exercises, and what goes wrong in them"
    yield ""
    yield (
        "Each exercise tells these mistakes apart and says what stands in italics. Open a line to "
        "see the answer to which it is said."
    )
    for task in set_here:
        asked = find(task.exercise)
        objective = chapter.objectives[asked.objective - 1]
        yield ""
        yield f"### Exercise {task.exercise} · {task.minutes} min · {task.level}"
        yield ""
        yield f"*{objective}.* {_without_objective(task.text)}"
        yield ""
        for mistake in asked.mistakes:
            yield from _mistake(mistake)
        yield f"When it is solved: {asked.why}"


def _without_objective(text: str) -> str:
    return re.sub(r"^\*Objective \d\.\*\s*", "", text)


def _mistake(mistake: Mistake) -> Iterator[str]:
    """A known wrong answer: its name, what the check says to it, and its code.

    One that is made by another function or in passing has no name and no code worth reading.
    """
    said = _html(mistake.says)
    if "<" in mistake.answer.__qualname__:
        yield f"<p><i>{said}</i></p>"
        yield ""
        return
    words = mistake.answer.__name__.strip("_").replace("_", " ").capitalize()
    yield f"<details><summary><b>{words}.</b> <i>{said}</i></summary>"
    yield ""
    yield "```python"
    yield inspect.getsource(mistake.answer).strip()
    yield "```"
    yield ""
    yield "</details>"
    yield ""


def _html(text: str) -> str:
    """A message inside a line of HTML: words between backticks as code, stars as they are."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped).replace("*", "&#42;")


# --- the overview -------------------------------------------------------------------------------


def overview(book: Book) -> str:
    """How to teach from the course: pages and slides of each chapter, a syllabus for each path."""
    intro = book.folder / "teaching" / "index.md"
    text = intro.read_text(encoding="utf-8").strip() if intro.is_file() else "# Teaching"
    lines = [text, "", "## Chapter by chapter", "", "| | | | Exercises |", "|---|---|---|---:|"]
    for chapter in book.chapters:
        minutes = sum(task.minutes for task in tasks(book, chapter))
        lines.append(
            f"| {chapter.number} | [{chapter.title}]({page_name(chapter)}.md) | "
            f'<a href="slides/{chapter.stem}.html">slides</a> | {minutes} min |'
        )
    for path in book.paths:
        lines += ["", *_syllabus(book, path)]
    return "\n".join(lines) + "\n"


def page_name(chapter: Chapter) -> str:
    """The name of a chapter's page, without its ending."""
    return f"teaching-{chapter.number:02d}"


def _syllabus(book: Book, path: CoursePath) -> Iterator[str]:
    """What to read, do and hand in on a path, class by class."""
    yield f"## Syllabus: {path.title.lower()}"
    yield ""
    yield f"{path.about} {len(path.chapters)} classes of {path.session} minutes or less."
    yield ""
    yield "| Class | Chapter | To read | In class | At home |"
    yield "|---:|---|---|---|---|"
    for number, chapter in enumerate(path.chapters, start=1):
        made = plan(book, chapter, min(path.session, max(chapter.minutes, 10)))
        papers = "; ".join(f"[{paper.label}]({paper.url})" for paper in chapter.papers)
        link = f"[{chapter.heading}]({chapter.file})"
        work = f"{_names(made.in_class)} | {_names(made.at_home)}"
        yield f"| {number} | {link} | {papers} | {work} |"
    yield ""
    yield f"**Assessment.** {path.assessment}"


def _names(some: Sequence[Task]) -> str:
    return ", ".join(task.exercise for task in some) or "none"


def pages(book: Book) -> dict[str, str]:
    """Name -> Markdown of the overview and of each chapter's page."""
    return {
        "teaching": overview(book),
        **{page_name(chapter): chapter_page(book, chapter) for chapter in book.chapters},
    }
