"""What is made from the manifest, and stays in line with it."""

import json
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from ncourse.course.manifest import (
    Book,
    Chapter,
    header,
    map_svg,
    with_generated,
    with_install_lines,
)
from ncourse.course.notebooks import code_cells, read, write
from ncourse.course.pages import with_chosen_results
from ncourse.course.quizzes import in_order
from ncourse.course.references import with_references
from ncourse.files import replaced


def sync(book: Book) -> list[Path]:
    """Bring everything that is made from the manifest and the bibliography in line with them.

    That is the notebooks' headers, lines that install the course, references, tables and the order
    of their quizzes' options (of drafts too, if they are there), the README's tables, and the
    pictures that it shows. Returns the files that had to change.

    Raises:
        ManifestError, CitationError: if a text has a mark without its end, or cites something that
            the bibliography does not have.
        ClaimsError: as `with_chosen_results`.
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
    made = {book.folder / "assets" / "map.svg": map_svg(book).encode()}
    if readme.is_file():
        text = with_generated(book, readme.read_text(encoding="utf-8"), f"{book.src}/")
        text, pictures = with_chosen_results(book, text)
        made |= {readme: text.encode(), **pictures}
    for path, content in made.items():
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(exist_ok=True)
            with replaced(path) as beside:
                beside.write_bytes(content)
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
        cell.source = with_install_lines(book, cell.source)
