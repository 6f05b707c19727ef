"""A draft: `ncourse list` shows it, and nothing that readers see does."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ncourse.course import cli, manifest, pages, site, teaching
from ncourse.course.manifest import Book, load
from ncourse.course.notebooks import read
from ncourse.course.sync import sync
from ncourse.course.working_copy import working_copy

DRAFT = """
[[parts]]
title = "More"

[[parts.chapters]]
draft = true
number = 3
file = "03-three.ipynb"
title = "Three"
papers = ["first2020", "third2022"]
minutes = 40
prerequisites = [2]
objectives = ["Do g", "Do h", "Do i"]
"""
THIRD = """
@article{third2022,
  label = {Third 2022},
  author = {Third, C.},
  title = {On drafts},
  journal = {Tests 3},
  year = {2022},
  doi = {10.1/3}
}
"""


@pytest.fixture
def draft(course: Path) -> Path:
    """Enters a draft of chapter 3; the place of its notebook, which is not there yet."""
    for path, text in (
        (course / "book.toml", DRAFT),
        (course / "notebooks" / "references.bib", THIRD),
    ):
        path.write_text(path.read_text() + text)
    return course / "notebooks" / "03-three.ipynb"


def made_of(book: Book) -> dict[str, object]:
    """What readers see of a book, but for claims: those come from the notebooks of `chapters`."""
    return {
        "chapters": book.chapters,
        "map": manifest.contents(book),
        "picture": manifest.map_svg(book) + manifest.map_picture(book),
        "paths": manifest.paths_table(book),
        "references": pages.references_page(book),
        "teaching": teaching.pages(book),
        "navigation": site.navigation(book, pages.BACK_MATTER),
    }


def test_nothing_that_readers_see_has_a_draft(book: Book, draft: Path, save) -> None:
    before = made_of(book)
    save(draft, ["# h", "import os"])
    assert made_of(load(book.root / "book.toml")) == before


def test_without_the_word_it_is_a_chapter_like_others(book: Book, draft: Path, save) -> None:
    before = made_of(book)
    save(draft, ["# h", "import os"])
    path = book.root / "book.toml"
    path.write_text(path.read_text().replace("draft = true\n", ""))
    after = made_of(load(path))
    assert {name for name in before if before[name] == after[name]} == {"paths"}
    path.write_text(path.read_text().replace("chapters = [1, 2]", 'chapters = "all"'))
    assert "(03-three.ipynb)" in manifest.paths_table(load(path))


def test_a_work_that_a_chapter_cites_stays_among_the_references(draft: Path, save) -> None:
    root = draft.parents[1]
    page = pages.references_page(load(root / "book.toml"))
    assert "On tests" in page
    assert "On drafts" not in page
    one = root / "notebooks" / "01-one.ipynb"
    save(one, ["# h", "# [Third](https://doi.org/10.1/3)"])
    assert "On drafts" in pages.references_page(load(root / "book.toml"))


def test_the_interface_has_no_paper_of_a_draft(draft: Path) -> None:
    assert load(draft.parents[1] / "book.toml").papers_of_drafts == {"third2022"}
    made = pages.api_pages(["rankin1955"])
    assert "rankin1955" not in "".join(made.values())
    assert "papyan2020" in made["api"]
    assert "papyan2020" in made["api-papers"]


def test_the_site_is_laid_out_without_the_paper_of_a_draft(
    draft: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    book, asked = load(draft.parents[1] / "book.toml"), []
    monkeypatch.setattr(site, "PACKAGE", book.root / "ncourse")
    monkeypatch.setattr(site, "api_pages", lambda without: asked.append(without) or {})
    monkeypatch.setattr(site, "claims_page", lambda *_: "")
    notebooks = [read(book.path(chapter)) for chapter in book.chapters]
    site._write_source(book, notebooks, tmp_path / "source", solutions=True)
    assert asked == [{"third2022"}]


def test_list_shows_a_draft_and_that_it_has_no_notebook(
    draft: Path, save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(draft.parent)
    assert "Three (draft, no notebook yet)" in CliRunner().invoke(cli.app, ["list"]).stdout
    save(draft, ["# h"])
    assert "Three (draft)" in CliRunner().invoke(cli.app, ["list"]).stdout


def test_sync_keeps_a_draft_in_line_and_nothing_else(draft: Path, save) -> None:
    book = load(draft.parents[1] / "book.toml")
    assert sync(book) == []
    save(draft, ["# h", "import os", "# T\n\n## References\n\n- [x](https://doi.org/10.1/3)"])
    assert sync(book) == [draft]
    assert sync(book) == []
    header, _, works = read(draft).cells
    assert header.source.startswith("# 3. Three")
    assert "*On drafts*, Tests 3, 2022" in works.source


def test_a_readers_copy_has_no_draft_unless_it_is_asked_for(draft: Path, save) -> None:
    save(draft, ["# h"])
    book = load(draft.parents[1] / "book.toml")
    assert not (working_copy(book).folder / draft.name).exists()
    assert working_copy(book, fresh=book.chapter(3)).laid == "03-three.fresh.ipynb"
