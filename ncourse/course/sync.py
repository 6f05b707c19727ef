"""What is made from the manifest and stays in line with it, and the reader's own copy of it all."""

import json
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from ncourse.course.manifest import (
    Book,
    Chapter,
    header,
    map_svg,
    with_colab_lines,
    with_generated,
)
from ncourse.course.notebooks import code_cells, read, write
from ncourse.course.quizzes import in_order
from ncourse.course.references import with_references
from ncourse.files import copy_whole, write_whole


def sync(book: Book) -> list[Path]:
    """Bring everything that is made from the manifest and the bibliography in line with them.

    That is the notebooks' headers, Colab lines, references, tables and the order of their quizzes'
    options (of drafts too, if they are there), the README's tables, and the picture of the map.
    Returns the files that had to change.

    Raises:
        ManifestError, CitationError: if a text has a mark without its end, or cites something that
            the bibliography does not have.
    """
    changed = []
    for chapter in book.with_drafts:
        if chapter.draft and not book.path(chapter).is_file():
            continue
        notebook = read(book.path(chapter))
        before = json.dumps(notebook)
        bring_in_line(book, chapter, notebook)
        if json.dumps(notebook) != before:
            write(notebook, book.path(chapter))
            changed.append(book.path(chapter))
    readme = book.root / "README.md"
    texts = {book.folder / "assets" / "map.svg": map_svg(book)}
    if readme.is_file():
        text = readme.read_text(encoding="utf-8")
        texts[readme] = with_generated(book, text, f"{book.src}/")
    for path, text in texts.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(exist_ok=True)
            write_whole(path, text)
            changed.append(path)
    return changed


def bring_in_line(book: Book, chapter: Chapter, notebook: NotebookNode) -> None:
    """Write what is made from the manifest and the bibliography into a notebook (in place)."""
    if not notebook.cells or notebook.cells[0].cell_type != "markdown":
        notebook.cells.insert(0, nbformat.v4.new_markdown_cell(id="at-a-glance"))
    notebook.cells[0].source = header(book, chapter)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            text = with_generated(book, cell.source)
            cell.source = in_order(with_references(text, book.references, chapter.file))
    for cell in code_cells(notebook)[:1]:
        cell.source = with_colab_lines(book, cell.source)


def working_copy(book: Book, fresh: Chapter | None = None, folder: Path | None = None) -> Path:
    """The reader's own copy of the notebooks, in `my-course/`; a notebook in it is never replaced.

    What they read and link to (recordings, pictures, pages) is brought up to date. Drafts are left
    out. The copy is in `folder`, or beside the course if that is None. `fresh` lays today's
    notebook of one chapter beside the reader's, as `NN-slug.fresh.ipynb`.
    """
    folder = folder or book.root / "my-course"
    folder.mkdir(exist_ok=True)
    for name in ("recorded", "assets"):
        for path in (book.folder / name).rglob("*"):
            if path.is_file() and path.suffix != ".py":
                target = folder / path.relative_to(book.folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                copy_whole(path, target)
    for page in book.folder.glob("*.md"):
        copy_whole(page, folder / page.name)
    for chapter in book.chapters:
        if not (folder / chapter.file).exists():
            copy_whole(book.path(chapter), folder / chapter.file)
    if fresh is not None:
        target = folder / f"{fresh.stem}.fresh.ipynb"
        count = 2
        while target.exists():
            target = folder / f"{fresh.stem}.fresh-{count}.ipynb"
            count += 1
        copy_whole(book.path(fresh), target)
    return folder
