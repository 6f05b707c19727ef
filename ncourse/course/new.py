"""A new chapter: stubs of all that one needs, laid as a draft that no reader sees.

Their texts are in `stubs/`, with what differs between chapters in marks: «number», «key», «label».
"""

import re
from collections.abc import Mapping
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from ncourse.course.manifest import REFERENCES, Book, Chapter, load
from ncourse.course.notebooks import clean, write
from ncourse.course.sync import bring_in_line
from ncourse.files import write_whole

__all__ = ["NewChapterError", "lay", "next_steps"]

STUBS = Path(__file__).parent / "stubs"
OPTIONS = """<details><summary>A wrong answer that is tempting.</summary>

Why it is tempting, and what is wrong with it.

</details>
<details><summary>The right answer.</summary>

Correct. And why.

</details>
<details><summary>Another wrong answer, or a number that a slip would give.</summary>

Which slip that is.

</details>"""


class NewChapterError(ValueError):
    """A chapter that cannot be laid; the message says why, and nothing has been written."""


def lay(book: Book, number: int, slug: str, key: str) -> list[Path]:
    """Write the stubs of a chapter and enter it as a draft; either all of it or nothing.

    A paper that has an entry in the references, or a module, keeps it.

    Args:
        book: the course, in a checkout.
        number: of the chapter.
        slug: of its file, e.g. "watching-collapse".
        key: of its paper, e.g. "papyan2020".

    Returns:
        What was written or changed.

    Raises:
        NewChapterError: if the name of something is taken or cannot be one, or this is no checkout.
        ManifestError, OSError: if it could not be entered or written.
    """
    _check_names(book, number, slug, key)
    root, stem = book.root, f"{number:02d}-{slug}"
    known = book.references.get(key)
    values = {
        "number": str(number),
        "stem": stem,
        "title": slug.replace("-", " ").capitalize(),
        "first": str(book.chapters[0].number),
        "key": key,
        "label": known.label if known else re.sub(r"(\d)", r" \1", key, count=1).capitalize(),
        "url": known.url if known else f"https://example.org/{key}",
        "year": re.sub(r"\D", "", key),
        "options": OPTIONS,
    }
    made = {
        root / "ncourse" / "exercises" / f"chapter{number:02d}.py": "exercises.txt",
        book.folder / "teaching" / f"{number:02d}.md": "teaching.md",
    }
    if not (root / "ncourse" / "papers" / f"{key}.py").exists():
        made[root / "ncourse" / "papers" / f"{key}.py"] = "paper.txt"
        made[root / "tests" / f"test_{key}.py"] = "paper_tests.txt"
    notebook = book.folder / f"{stem}.ipynb"
    for path in (*made, notebook):
        if path.exists():
            raise NewChapterError(f"{path.relative_to(root)} is there already; move it away first")
    bibliography, manifest = book.folder / REFERENCES, root / "book.toml"
    grown = {} if known else {bibliography: "reference.bib"}
    grown[manifest] = "chapter.toml"
    before = {path: path.read_bytes() for path in grown}
    try:
        for path, stub in made.items():
            write_whole(path, _filled_in(stub, values))
        for path, stub in grown.items():
            write_whole(path, f"{before[path].decode().rstrip()}\n\n{_filled_in(stub, values)}")
        entered = load(manifest)
        whole = _notebook(number, _filled_in("notebook.txt", values))
        bring_in_line(entered, entered.chapter(number), whole)
        write(whole, notebook)
    except BaseException:
        for path in (*made, notebook):
            path.unlink(missing_ok=True)
        for path, content in before.items():
            write_whole(path, content.decode())
        raise
    return [*made, *grown, notebook]


def _check_names(book: Book, number: int, slug: str, key: str) -> None:
    taken = {chapter.number: chapter.file for chapter in book.with_drafts}
    if not 0 <= number <= 99:
        raise NewChapterError(f"the number is {number}; chapters have 0 to 99")
    if number in taken:
        raise NewChapterError(
            f"the number {number} is taken by {taken[number]}; the next one is {max(taken) + 1}"
        )
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug):
        raise NewChapterError(
            f'"{slug}" is no name for its file; write small letters, digits and hyphens, as in '
            '"watching-collapse"'
        )
    for file in taken.values():
        if file.partition("-")[2] == f"{slug}.ipynb":
            raise NewChapterError(f'"{slug}" is taken by {file}; find another name')
    if not re.fullmatch(r"[a-z]+\d{4}[a-z]?", key):
        raise NewChapterError(
            f'"{key}" is no name for the module of a paper; write its first author and the year, '
            'as in "papyan2020"'
        )
    for folder in ("ncourse/papers", "ncourse/exercises", "tests", f"{book.src}/teaching"):
        if not (book.root / folder).is_dir():
            raise NewChapterError(
                f"{book.root} is no checkout of the course with its package: it has no {folder}"
            )


def _filled_in(stub: str, values: Mapping[str, str]) -> str:
    text = (STUBS / stub).read_text(encoding="utf-8")
    return re.sub(r"«(\w+)»", lambda mark: values[mark[1]], text)


def _notebook(number: int, text: str) -> NotebookNode:
    """A notebook from lines `=== KIND TAGS`, each with the source of a cell below it."""
    _, *parts = re.split(r"^=== (\w+)(.*)\n", text, flags=re.MULTILINE)
    cells = []
    columns = zip(*(parts[i::3] for i in range(3)), strict=True)
    for index, (kind, tags, source) in enumerate(columns):
        new_cell = new_code_cell if kind == "code" else new_markdown_cell
        cell = new_cell(source.strip(), id=f"c{number:02d}-{index:02d}" if index else "header")
        if tags:
            cell.metadata["tags"] = tags.split()
        cells.append(cell)
    return clean(new_notebook(cells=cells))


def next_steps(chapter: Chapter) -> list[str]:
    """What to do with the stubs of a chapter, in order."""
    number, (paper,) = chapter.number, chapter.papers
    its_tests = f"{paper.key} or {chapter.stem} or {number}."
    return [
        f"`ncourse outputs {number}` runs the notebook and stores its outputs.",
        f'`pytest -k "{its_tests}"` asks of it what is asked of every chapter; the stubs pass.',
        f"Fill in {paper.key} in {REFERENCES}, and title, minutes, prerequisites and objectives in "
        "book.toml; `ncourse sync` writes them into the notebook.",
        "Write the paper, its tests, the exercises, the notebook and the teaching page, as "
        "CONTRIBUTING.md says; after each of them, the first two commands again.",
        "Take the line with `draft` out of book.toml; `ncourse sync` and `ncourse build` make it a "
        "chapter like the others.",
        "`make test`, then commit.",
    ]
