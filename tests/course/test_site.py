"""Building the site, of small courses, for real."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from ncourse.course import site
from ncourse.course.manifest import Book, load
from ncourse.course.pages import ClaimsError
from ncourse.course.sync import sync

Save = Callable[[Path, list[str]], None]


def test_build_then_nothing_to_do_then_one_page_less(
    course: Path, console: Console, runs: list[str]
) -> None:
    tree = {path: path.read_bytes() for path in course.rglob("*") if path.is_file()}
    book = load(course / "book.toml")
    page = site.build(book, console)
    assert page == course / "_build" / "html" / "index.html"
    assert "42" in (page.parent / "01-one.html").read_text()
    index = page.read_text()
    assert 'href="02-two.html"' in index
    assert "First 2020" in index
    claims = (page.parent / "claims.html").read_text()
    assert 'href="02-two.html#claim-2-1"' in claims
    assert 'id="claim-2-1"' in (page.parent / "02-two.html").read_text()
    assert "On tests" in (page.parent / "references.html").read_text()
    assert (page.parent / "_sources" / "01-one.ipynb").is_file()
    for html in page.parent.glob("*.html"):
        text = html.read_text()
        assert "unpkg.com" not in text
        assert "colab" not in text.lower()
        assert "mybinder" not in text
    outside = {
        path: path.read_bytes()
        for path in course.rglob("*")
        if path.is_file() and "_build" not in path.parts
    }
    assert outside == tree, "the build wrote outside _build"

    built = page.stat().st_mtime_ns
    runs.clear()
    start = time.perf_counter()
    site.build(book, console)
    assert time.perf_counter() - start < 2
    assert runs == []
    assert page.stat().st_mtime_ns == built

    manifest = course / "book.toml"
    head, _, _ = manifest.read_text().rpartition("[[parts.chapters]]")
    head = head.replace("chapters = [1, 2]", "chapters = [1]")
    manifest.write_text(head.replace('repository = ""', 'repository = "me/it"'))
    book = load(manifest)
    sync(book)
    site.build(book, console)
    assert not (page.parent / "02-two.html").exists()
    links = (page.parent / "01-one.html").read_text()
    assert "colab.research.google.com/github/me/it/blob/main/notebooks/01-one.ipynb" in links
    assert "mybinder.org/v2/gh/me/it/main?urlpath=lab/tree/notebooks/01-one.ipynb" in links


def test_a_warning_fails_the_build_each_time(book: Book, console: Console, save: Save) -> None:
    save(book.folder / "01-one.ipynb", ["# h", "import os", "# ## A\n\n[gone](nowhere.md#there)"])
    sync(book)
    for _ in range(2):
        with pytest.raises(site.SiteError, match=r"01-one\.ipynb:.*nowhere"):
            site.build(book, console)


def test_a_claim_that_is_missing_fails_the_build(book: Book, console: Console, save: Save) -> None:
    save(book.folder / "02-two.ipynb", ["# h", "import os"])
    sync(book)
    with pytest.raises(ClaimsError, match=r"02-two\.ipynb has no claim about First 2020"):
        site.build(book, console)


def test_the_configuration_is_json_that_jupyter_book_accepts(book: Book) -> None:
    from jupyter_book.config import validate_yaml

    settings = json.loads(json.dumps(site.configuration(book)))
    validate_yaml(settings, raise_on_errors=True)
    assert settings["execute"]["execute_notebooks"] == "off"
