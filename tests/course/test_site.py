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
    assert "MathJax" in (page.parent / "licences.txt").read_text(encoding="utf-8")
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
    assert "og:image" not in page.read_text()
    (book.folder / "assets").mkdir(exist_ok=True)
    (book.folder / "assets" / "preview.png").write_bytes(b"a picture")
    places = 'repository = "me/it"\naddress = "https://x.org/c/"'
    manifest.write_text(head.replace('repository = ""', places))
    book = load(manifest)
    sync(book)
    site.build(book, console)
    shown = page.read_text()
    assert 'property="og:image" content="https://x.org/c/_static/preview.png"' in shown
    assert (page.parent / "_static" / "preview.png").read_bytes() == b"a picture"
    assert f'<link rel="canonical" href="https://x.org/c/{page.name}"' in shown
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


def _site(book: Book) -> dict[str, bytes]:
    folder = book.root / "_build" / "html"
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def _written(book: Book) -> dict[str, int]:
    """When each page was written."""
    pages = (book.root / "_build" / "html").glob("*.html")
    return {path.stem: path.stat().st_mtime_ns for path in pages}


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.fixture
def linked(book: Book, monkeypatch: pytest.MonkeyPatch) -> Book:
    """A course of which one page links to a label in another; not in CI."""
    monkeypatch.delenv("CI", raising=False)
    words = "```{index} letters\n```\n\nA letter is small.\n"
    (book.folder / "notation.md").write_text(f"# Notation\n\n(there)=\n## Letters\n\n{words}")
    (book.folder / "glossary.md").write_text("# Glossary\n\nSee [letters](#there).\n")
    _replace(book.folder / "index.md", "# Small\n", "# Small\n\nOr not.\n")
    return book


def test_where_words_have_changed_the_other_pages_stay(linked: Book, console: Console) -> None:
    site.build(linked, console)
    before = _written(linked)
    _replace(linked.folder / "01-one.ipynb", "Where $a", "Here $a")
    _replace(linked.folder / "index.md", "Or not", "Or both")
    site.build(linked, console)
    after, made = _written(linked), _site(linked)
    same = {page for page in before if after[page] == before[page]}
    assert {"02-two", "claims", "glossary", "notation", "references"} <= same
    assert b"Here" in made["01-one.html"]
    assert b"Or both" in made["index.html"]
    # The same site, byte for byte, as one from nothing, which no whole site leads to.
    (linked.root / "_build" / "site.json").unlink()
    site.build(linked, console)
    assert _written(linked)["claims"] != after["claims"]
    assert _site(linked) == made
    # Slides have a style that no page has.
    (linked.folder / "assets" / "slides.css").write_text("/* blue */")
    site.build(linked, console)
    assert b"/* blue */" in _site(linked)["slides/01-one.html"]


@pytest.mark.slow
def test_what_reaches_beyond_a_page_is_built_from_nothing(
    linked: Book, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.build(linked, console)
    whole = _site(linked)
    page = linked.folder / "notation.md"
    _replace(page, "(there)=", "(here)=")  # the page that this breaks has not changed
    with pytest.raises(site.SiteError, match=r"glossary\.md:.*there"):
        site.build(linked, console)
    _replace(page, "(here)=", "(there)=")
    _replace(page, "A letter is small", "[A letter](nowhere.md) is small")
    for _ in range(2):
        with pytest.raises(site.SiteError, match=r"notation\.md:.*nowhere"):
            site.build(linked, console)
    assert _site(linked) == whole
    _replace(page, "[A letter](nowhere.md)", "One letter")
    before = _written(linked)
    monkeypatch.setenv("CI", "true")
    site.build(linked, console)
    after = _written(linked)
    assert not {name for name in before if before[name] == after[name]}, "in CI from nothing"


@pytest.mark.parametrize(
    ("text", "structure"),
    [
        ("Words.\n\n* more\n1. of $x$ them\n> and [a](b) these | too\n`c` **d** (e)", []),
        ("a\n## b\n\n$$x$$ (y)\n(z)=\n<a>\n\\c", ["## b", "$$x$$ (y)", "(z)=", "<a>", "\\c"]),
        ("a\n```{glossary}\nb\n```\nc", ["```{glossary}", "b", "```"]),
        ("a\n:::{note}\nb\n:::\nc", [":::{note}", "b", ":::"]),
        ("````\n```\na\n````\nb", ["````", "```", "a", "````"]),
        ("a\n\nb\nc\n---\nd", ["a\n\nb\nc\n---\nd"]),
        ("a\n\n---\nd", ["---"]),
    ],
)  # fmt: skip
def test_what_is_more_than_words(text: str, structure: list[str]) -> None:
    assert list(site._structure(text)) == structure


def test_a_claim_that_is_missing_fails_the_build(book: Book, console: Console, save: Save) -> None:
    save(book.folder / "02-two.ipynb", ["# h", "import os"])
    sync(book)
    with pytest.raises(ClaimsError, match=r"02-two\.ipynb has no claim about First 2020"):
        site.build(book, console)


def test_licences_of_others_are_named_with_their_texts() -> None:
    text = site.licences()
    for name in ("MathJax", "sphinx-book-theme", "bootstrap.js", "fontawesome", "reveal", "C50P49"):
        assert name in text
    assert "Permission is hereby granted, free of charge" in text  # MIT
    assert "Redistribution and use in source and binary forms" in text  # BSD


def test_the_configuration_is_json_that_jupyter_book_accepts(book: Book) -> None:
    from jupyter_book.config import validate_yaml

    settings = json.loads(json.dumps(site.configuration(book)))
    validate_yaml(settings, raise_on_errors=True)
    assert settings["execute"]["execute_notebooks"] == "off"
