"""What is made from the manifest."""

from collections.abc import Callable
from pathlib import Path

from ncourse.course.manifest import load
from ncourse.course.notebooks import read
from ncourse.course.sync import sync

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


def test_sync_adds_a_missing_header_and_lines_that_install_the_course(
    course: Path, save: Save
) -> None:
    save(course / "notebooks" / "01-one.ipynb", ["import os"])
    manifest = course / "book.toml"
    manifest.write_text(manifest.read_text().replace('repository = ""', 'repository = "me/it"'))
    book = load(manifest)
    sync(book)
    header, imports = read(book.path(book.chapters[0])).cells
    assert header.source.startswith("# 1. One")
    assert imports.source.startswith("# Where the course is not installed")
    assert imports.source.endswith("\n\nimport os")
    assert sync(book) == []
