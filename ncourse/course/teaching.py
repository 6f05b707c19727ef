"""Pages for teachers: plans of a class, wrong answers and what to say, a syllabus for each path.

Minutes, slides, objectives and exercises come from the manifest, the notebook and the registry of
exercises. What only a teacher can write, what to draw and what to discuss, stands in
`teaching/NN.md` beside the notebooks and is taken over as it is.
"""

import inspect
import math
import re
from collections.abc import Iterator, Sequence

from nbformat import NotebookNode

from ncourse.course.assignments import Task, tasks
from ncourse.course.manifest import Book, Chapter, CoursePath
from ncourse.course.notebooks import read
from ncourse.course.plans import LENGTHS, plan, timed
from ncourse.course.slides import Slide, numbers, slides
from ncourse.exercises import Mistake, find

__all__ = ["chapter_page", "overview", "pages", "written"]

BOARD = "On the board"
INSTALL_FIRST = (
    '**Install before class**, in one of <a href="teaching.html#before-the-first-class">three '
    "ways</a>. Whoever sees the chapters with `ncourse list` is ready."
)

# --- a chapter's page ---------------------------------------------------------------------------


def chapter_page(book: Book, chapter: Chapter, notebook: NotebookNode | None = None) -> str:
    """What a teacher needs for a chapter, as Markdown.

    Args:
        book: the course.
        chapter: what is taught.
        notebook: the one from which the slides are cut; that of the course if None.
    """
    mine = written(book, chapter)
    shown = slides(book, chapter, notebook or read(book.path(chapter)))
    lines = [
        f"# Teaching chapter {chapter.number}",
        "",
        f"**[{chapter.title}]({chapter.file})** · {chapter.minutes} minutes for a reader on their "
        f'own · <a href="slides/{chapter.stem}.html">Slides</a>',
    ]
    generated = [
        ("In one sentence", _plans(book, chapter, shown)),
        (BOARD, _work_to_set(book, chapter)),
    ]
    for title, text in mine.items():
        lines += ["", f"## {title}", "", with_minutes(text) if title == BOARD else text]
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


def with_minutes(board: str) -> str:
    """What is drawn on the board, each item with the minutes that it takes.

    That is a minute for 100 words, one for two lines of formulas and one for each question, rounded
    up.
    """
    items = re.split(r"^(?=\d+\. )", board, flags=re.MULTILINE)
    return "".join(
        re.sub(r"^(\d+\.) ", rf"\1 *{_on_board(item)}&nbsp;min.* ", item) for item in items
    )


def _on_board(item: str) -> int:
    """The minutes that an item takes on the board."""
    displayed = re.findall(r"\$\$(.+?)\$\$", item, re.DOTALL)
    lines = sum(1 + formula.count(r"\\") for formula in displayed)
    words = len(re.sub(r"\$\$.+?\$\$", "", item, flags=re.DOTALL).split())
    return math.ceil(words / 100 + lines / 2 + len(re.findall(r"\*Ask\b", item)))


def _plans(book: Book, chapter: Chapter, shown: Sequence[Slide]) -> Iterator[str]:
    """The plans, or for a short chapter one of its own length."""
    if chapter in book.chapters[:2]:
        yield INSTALL_FIRST
        yield ""
    lengths = LENGTHS if chapter.minutes >= min(LENGTHS) else (chapter.minutes,)
    for length in lengths:
        made = plan(book, chapter, length)
        yield f"## A class of {length} minutes"
        yield ""
        yield "| Minute | for | | Slides |"
        yield "|---:|---:|---|---|"
        start = 0
        for slot in made.slots:
            pages = _ranges(numbers(shown, slot.places))
            yield f"| {start} | {slot.minutes}&nbsp;min | {slot.what} | {pages} |"
            start += slot.minutes
        yield ""
        if made.after:
            yield f"To read afterwards: {_listed(made.after)}."
            yield ""
        if made.at_home:
            yield f"At home: {timed(made.at_home)}."
            yield ""


def _ranges(pages: Sequence[int]) -> str:
    """Numbers in order as ranges: `3–6, 9`."""
    runs: list[list[int]] = []
    for page in pages:
        if runs and page == runs[-1][-1] + 1:
            runs[-1].append(page)
        else:
            runs.append([page])
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


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
    yield (
        f"{path.about} {len(path.chapters)} classes of {path.session} minutes or less. Before the "
        'first one everybody <a href="#before-the-first-class">installs</a>.'
    )
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


def pages(book: Book, notebooks: Sequence[NotebookNode] = ()) -> dict[str, str]:
    """Name -> Markdown of the overview and of each chapter's page.

    Args:
        book: the course.
        notebooks: from which its slides are cut, one for each chapter; those of the course if none.
    """
    from_these: Sequence[NotebookNode | None] = notebooks or [None] * len(book.chapters)
    made = {"teaching": overview(book)}
    for chapter, notebook in zip(book.chapters, from_these, strict=True):
        made[page_name(chapter)] = chapter_page(book, chapter, notebook)
    return made
