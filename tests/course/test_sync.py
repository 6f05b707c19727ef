"""What is made from the manifest, and the reader's own copy."""

from collections.abc import Callable
from pathlib import Path

from ncourse.course.manifest import Book, load
from ncourse.course.notebooks import read
from ncourse.course.sync import sync, working_copy

Save = Callable[[Path, list[str]], None]


def test_sync_is_needed_once(course: Path) -> None:
    manifest = course / "book.toml"
    assert sync(load(manifest)) == []
    manifest.write_text(manifest.read_text().replace('title = "Two"', 'title = "Second"'))
    book = load(manifest)
    two = book.path(book.chapters[1])
    cells_before = read(two).cells
    picture = book.folder / "assets" / "map.svg"
    assert sync(book) == [two, picture, course / "README.md"]
    assert sync(book) == []
    cells = read(two).cells
    assert cells[0].source.startswith("# 2. Second\n")
    assert cells[1:] == cells_before[1:]
    assert "[Second](notebooks/02-two.ipynb)" in (course / "README.md").read_text()


def test_sync_adds_a_missing_header_and_colab_lines(course: Path, save: Save) -> None:
    save(course / "notebooks" / "01-one.ipynb", ["import os"])
    manifest = course / "book.toml"
    manifest.write_text(manifest.read_text().replace('repository = ""', 'repository = "me/it"'))
    book = load(manifest)
    sync(book)
    header, imports = read(book.path(book.chapters[0])).cells
    assert header.source.startswith("# 1. One")
    assert imports.source.startswith("# On Colab only")
    assert imports.source.endswith("\n\nimport os")
    assert sync(book) == []


def test_a_working_copy_is_never_overwritten(book: Book) -> None:
    (book.folder / "notation.md").write_text("# Notation")
    (book.folder / "assets" / "make.py").write_text("")
    recorded = book.folder / "recorded" / "01-seeds.json"
    recorded.write_text("[1]")
    folder = working_copy(book)
    assert (folder / "notation.md").is_file()
    assert (folder / "assets" / "map.svg").is_file()
    assert not (folder / "assets" / "make.py").exists()
    mine = folder / "01-one.ipynb"
    assert mine.read_bytes() == book.path(book.chapters[0]).read_bytes()
    mine.write_text("my answers")
    recorded.write_text("[2]")
    for expected in ("01-one.fresh.ipynb", "01-one.fresh-2.ipynb", "01-one.fresh-3.ipynb"):
        working_copy(book, fresh=book.chapters[0])
        assert (folder / expected).read_bytes() == book.path(book.chapters[0]).read_bytes()
        (folder / expected).write_text(expected)
    assert mine.read_text() == "my answers"
    assert (folder / "01-one.fresh.ipynb").read_text() == "01-one.fresh.ipynb"
    assert (folder / "recorded" / "01-seeds.json").read_text() == "[2]"
    (folder / "02-two.ipynb").unlink()
    working_copy(book)
    assert (folder / "02-two.ipynb").exists()
