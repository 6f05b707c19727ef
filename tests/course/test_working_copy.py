"""The reader's own copy: nothing of theirs is replaced, and what is new is said."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat

from ncourse.course.manifest import Book
from ncourse.course.working_copy import SETTINGS, working_copy

Save = Callable[[Path, list[str]], None]


def sources(notebook: Path) -> list[str]:
    return [cell["source"] for cell in json.loads(notebook.read_text())["cells"]]


def test_a_working_copy_is_never_overwritten(book: Book) -> None:
    (book.folder / "notation.md").write_text("# Notation")
    (book.folder / "assets" / "make.py").write_text("")
    recorded = book.folder / "recorded" / "01-seeds.json"
    recorded.write_text("[1]")
    folder = working_copy(book).folder
    assert (folder / "notation.md").is_file()
    assert (folder / "assets" / "map.svg").is_file()
    assert not (folder / "assets" / "make.py").exists()
    mine = folder / "01-one.ipynb"
    assert sources(mine) == sources(book.path(book.chapters[0]))
    mine.write_text("my answers")
    recorded.write_text("[2]")
    for expected in ("01-one.fresh.ipynb", "01-one.fresh-2.ipynb", "01-one.fresh-3.ipynb"):
        working_copy(book, fresh=book.chapters[0])
        assert sources(folder / expected) == sources(book.path(book.chapters[0]))
        (folder / expected).write_text(expected)
    assert mine.read_text() == "my answers"
    assert (folder / "01-one.fresh.ipynb").read_text() == "01-one.fresh.ipynb"
    assert (folder / "recorded" / "01-seeds.json").read_text() == "[2]"
    (folder / "02-two.ipynb").unlink()
    working_copy(book)
    assert (folder / "02-two.ipynb").exists()


def test_a_page_follows_the_course_until_it_is_edited(book: Book) -> None:
    page, mine = book.folder / "notation.md", book.root / "my-course" / "notation.md"
    page.write_text("first")
    assert working_copy(book).notes == ()
    page.write_text("second")
    assert working_copy(book).notes == ()
    assert mine.read_text() == "second"
    mine.write_text("second, and a note of mine")
    assert working_copy(book).notes == ()  # the course's is still what it was
    page.write_text("third")
    (note,) = working_copy(book).notes
    assert note.startswith("notation.md was edited and is kept")
    assert mine.read_text() == "second, and a note of mine"
    mine.unlink()
    assert working_copy(book).notes == ()
    assert mine.read_text() == "third"


def test_pages_of_a_copy_without_a_record_are_kept(book: Book) -> None:
    (book.folder / "notation.md").write_text("today")
    mine = book.root / "my-course" / "notation.md"
    mine.parent.mkdir()
    mine.write_text("who knows whose")
    (mine.parent / ".copied.json").write_text("[[broken")
    assert len(working_copy(book).notes) == 1
    assert mine.read_text() == "who knows whose"


def test_a_chapter_that_has_changed_is_announced_but_not_for_its_outputs(
    book: Book, save: Save
) -> None:
    working_copy(book)
    path = book.path(book.chapters[1])
    notebook = json.loads(path.read_text())
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "new"}]
    path.write_text(json.dumps(notebook))
    assert working_copy(book).notes == ()
    save(path, ["another = 1"])
    (note,) = working_copy(book).notes
    assert note.startswith("chapter 2 has changed since you began it; ncourse lab --fresh 2 ")
    laid = working_copy(book, book.chapters[1])
    assert (laid.laid, laid.notes) == ("02-two.fresh.ipynb", ())
    assert working_copy(book).notes == ()  # it is there now, beside the reader's


def test_figures_come_with_html_and_its_alt_text(book: Book) -> None:
    path = book.path(book.chapters[0])
    notebook = json.loads(path.read_text())
    output = {
        "output_type": "display_data",
        "data": {"image/png": "AAAA", "text/plain": "Three dots."},
        "metadata": {"image/png": {"alt": "Three dots.", "width": 300}},
    }
    other = {"output_type": "display_data", "data": {"image/png": "AAAA"}, "metadata": {}}
    notebook["cells"][-1]["outputs"] = [output, other]
    path.write_text(json.dumps(notebook))
    copied = json.loads((working_copy(book).folder / path.name).read_text())
    figure, unknown = copied["cells"][-1]["outputs"]
    assert unknown == other
    html = figure["data"].pop("text/html")
    assert 'alt="Three dots."' in html
    assert "script" not in html  # it is a still one
    assert figure == output


def test_the_playground_is_a_notebook_that_is_laid_once(book: Book) -> None:
    path = working_copy(book).folder / "playground.ipynb"
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    (cell,) = notebook.cells
    space: dict[str, Any] = {}
    exec(cell.source.replace("\nplayground()", "\nshown = playground()"), space)
    assert "iframe" in space["shown"]._repr_mimebundle_()["text/html"]
    path.write_text("mine")
    working_copy(book)
    assert path.read_text() == "mine"


def test_code_that_only_draws_is_folded_in_jupyterlab(book: Book) -> None:
    path = book.path(book.chapters[0])
    notebook = json.loads(path.read_text())
    notebook["cells"][-1]["metadata"]["tags"] = ["hide-input"]
    path.write_text(json.dumps(notebook))
    copied = json.loads((working_copy(book).folder / path.name).read_text())
    hidden = [cell["metadata"].get("jupyter") for cell in copied["cells"]]
    assert hidden == [None] * (len(hidden) - 1) + [{"source_hidden": True}]


def test_jupyterlab_is_told_what_the_course_wants(book: Book) -> None:
    folder = working_copy(book).folder / SETTINGS
    wanted = json.loads((folder / "overrides.json").read_text())
    assert wanted["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"
