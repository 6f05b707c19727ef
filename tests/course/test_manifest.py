"""The manifest, and what is made from it."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest

from ncourse.course import manifest as manifests
from ncourse.course import references
from ncourse.course.manifest import ManifestError, load
from ncourse.course.pages import with_chosen_results

REPOSITORY = Path(__file__).parents[2]


def test_load_reads_everything(course: Path) -> None:
    book = load(course / "book.toml")
    assert (book.title, book.authors, book.language) == ("A small course", ("A", "B"), "en")
    assert [part.title for part in book.parts] == ["Start"]
    one, two = book.chapters
    assert (two.number, two.title, two.minutes) == (2, "Two", 30)
    assert [paper.arxiv for paper in two.papers] == ["2001.00001"]
    assert two.prerequisites == (1,)
    assert one.objectives == ("Do a", "Do b", "Do c")
    assert book.path(one) == course / "notebooks" / "01-one.ipynb"
    with pytest.raises(ValueError, match=r"no chapter 7; the course has 1, 2"):
        book.chapter(7)


WRONG = {
    "unknown key": ("minutes = 30", "minuts = 30", ["`minuts`", "02-two", "mean `minutes`"]),
    "unknown table": ("[course]", "[curse]", ["`curse`", "top level", "mean `course`"]),
    "missing key": ("minutes = 30\n", "", ["`minutes` is missing", "02-two", "whole number"]),
    "missing in book": ('language = "en"', "", ["`language` is missing", "[book]", "text"]),
    "wrong type": ("minutes = 30", 'minutes = "30"', ["minutes is '30'", "a whole number"]),
    "true is no number": ("minutes = 30", "minutes = true", ["minutes is True"]),
    "wrong type in list": ("prerequisites = [1]", 'prerequisites = ["1"]', ["whole numbers"]),
    "text for list": ('["Do d", "Do e", "Do f"]', '"Do d"', ["objectives", "a list of texts"]),
    "missing file": ("02-two.ipynb", "02-too.ipynb", ["02-too.ipynb", "does not exist", "create"]),
    "file of another number": ("02-two.ipynb", "01-one.ipynb", ['"02-….ipynb"']),
    "duplicate number": ("number = 2", "number = 1", ["number 1", "taken", "01-one.ipynb"]),
    "itself needed": ("prerequisites = [1]", "prerequisites = [2]", ["has 2", "not an earlier"]),
    "later needed": ("prerequisites = []", "prerequisites = [2]", ["01-one", "has 2", "move"]),
    "unknown paper": ('["first2020"]', '["first2002"]', ['"first2002"', "`first2020`", ".bib"]),
    "unknown on a path": ("[1, 2]", "[1, 7]", ['path "All"', "has 7", "no such chapter"]),
    "a path with a draft": ("number = 2", "draft = true\nnumber = 2", ['"All"', "2, which is a"]),
    "draft or not": ("number = 2", "draft = 2\nnumber = 2", ["draft is 2", "true or false"]),
    "a draft needed": ("number = 1", "draft = true\nnumber = 1", ["02-two", "1, which is a draft"]),
    "path without what it needs": ("[1, 2]", "[2]", ['path "All"', "needs chapter 1 before"]),
    "two objectives": ('["Do d", "Do e", "Do f"]', '["Do d", "Do e"]', ["2 entries", "3 to 5"]),
    "six objectives": ('["Do d", ', '["1", "2", "3", "4", ', ["6 entries", "3 to 5"]),
    "no time": ("minutes = 30", "minutes = 0", ["minutes is 0"]),
    "repository": ('repository = ""', 'repository = "a b/c"', ['"owner/name"', "git clones"]),
    "a program": ('repository = ""', "repository = 'https://x/\"+f()'", ['"owner/name"']),
    "an address": (
        'repository = ""',
        'repository = ""\naddress = "x.org"',
        ['address is "x.org"', "https://"],
    ),
    "a file elsewhere": ("02-two.ipynb", "02-/../../two.ipynb", ["without a folder"]),
    "notebooks elsewhere": ('src = "notebooks"', 'src = "../x"', ['src is "../x"', "beside"]),
    "HTML in a title": ('title = "Two"', 'title = "<img src=x>"', ["title", "02-two", "HTML"]),
    "HTML in an objective": ('"Do d"', '"Do <b>"', ["objectives", "02-two", "HTML"]),
    "not TOML": ("number = 1", "number = ", ["not valid TOML", "line"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_manifest_names_the_key_and_the_fix(course: Path, name: str) -> None:
    old, new, fragments = WRONG[name]
    manifest = course / "book.toml"
    text = manifest.read_text()
    assert old in text
    manifest.write_text(text.replace(old, new, 1))
    with pytest.raises(ManifestError) as caught:
        load(manifest)
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_no_chapters_and_no_manifest(course: Path) -> None:
    manifest = course / "book.toml"
    whole = manifest.read_text()
    head, _, _ = whole.partition("[[parts]]")
    drafts = whole.replace("\nnumber", "\ndraft = true\nnumber")
    for text in ("parts = []\n" + head, drafts):
        manifest.write_text(text)
        with pytest.raises(ManifestError, match=r"no chapters; add \[\[parts\]\]"):
            load(manifest)
    with pytest.raises(ManifestError, match="does not exist"):
        load(course / "nowhere.toml")


def test_header_of_a_chapter(course: Path) -> None:
    book = load(course / "book.toml")
    one, two = (manifests.header(book, chapter) for chapter in book.chapters)
    assert two.splitlines() == [
        "# 2. Two",
        "",
        "| At a glance | |",
        "|---|---|",
        "| Time | 30 minutes |",
        "| Read first | [1. One](01-one.ipynb) |",
        "| Paper | [First 2020](https://doi.org/10.1/1), *On tests* "
        "([arXiv:2001.00001](https://arxiv.org/abs/2001.00001)) |",
        "",
        "At the end of this chapter you can:",
        "",
        "1. Do d.",
        "2. Do e.",
        "3. Do f.",
    ]
    assert "| Read first | nothing |" in one
    assert "Paper" not in one


def test_a_paper_may_be_absent_from_arxiv(course: Path) -> None:
    bibliography = course / "notebooks" / "references.bib"
    text = bibliography.read_text()
    bibliography.write_text(text.replace(",\n  eprint = {2001.00001}", ""))
    book = load(course / "book.toml")
    row = "| Paper | [First 2020](https://doi.org/10.1/1), *On tests* |"
    assert row in manifests.header(book, book.chapters[1]).splitlines()


def test_tables_between_marks(course: Path) -> None:
    book = load(course / "book.toml")
    row = "| 2 | [Two](notebooks/02-two.ipynb) | [First 2020](https://doi.org/10.1/1) | 30 |"
    path = "| **All.** Both. | [1](01-one.ipynb), [2](02-two.ipynb) | 50 min |"
    assert row in manifests.contents(book, "notebooks/").splitlines()
    assert row.replace("notebooks/", "") in manifests.contents(book).splitlines()
    readme = "before\n<!-- map -->\nstale\n<!-- /map -->\nafter <!-- paths --> <!-- /paths -->\n"
    once = manifests.with_generated(book, readme)
    assert "stale" not in once
    assert once.startswith("before\n")
    assert path in once.splitlines()
    assert once.endswith("<!-- /paths -->\n")
    assert manifests.with_generated(book, once) == once
    assert manifests.with_generated(book, "no marks") == "no marks"
    with pytest.raises(ManifestError, match="no <!-- /map -->"):
        manifests.with_generated(book, "<!-- map -->")


def test_a_path_of_all_chapters_lacks_none(course: Path) -> None:
    manifest = course / "book.toml"
    before = load(manifest)
    manifest.write_text(manifest.read_text().replace("chapters = [1, 2]", 'chapters = "all"'))
    assert load(manifest).paths == before.paths
    whole = load(REPOSITORY / "book.toml")
    assert whole.paths[-1].chapters == whole.chapters, "the path that says everything has not all"


def test_time_of_a_path_is_that_of_its_chapters(course: Path) -> None:
    manifest = course / "book.toml"
    (path,) = load(manifest).paths
    assert path.minutes == 20 + 30
    manifest.write_text(manifest.read_text().replace("minutes = 30", "minutes = 105"))
    book = load(manifest)
    assert "| 2 h 05 min |" in manifests.paths_table(book)
    manifest.write_text(manifest.read_text().replace("minutes = 105", "minutes = 100"))
    assert "| 2 h |" in manifests.paths_table(load(manifest))


def test_picture_of_the_map_shows_what_needs_what(course: Path) -> None:
    book = load(course / "book.toml")
    picture = ElementTree.fromstring(manifests.map_svg(book))
    words = [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert words == ["1", "One", "Start · 20 min", "2", "Two", "First 2020 · 30 min"]
    assert manifests.map_alt(book) == "Map of the course. 2 needs 1."
    arrows = [line for line in manifests.map_svg(book).splitlines() if " C " in line]
    assert len(arrows) == 1
    whole = load(REPOSITORY / "book.toml")
    assert whole.chapter(4).prerequisites == (1, 3)
    assert "4 needs 3," in manifests.map_alt(whole)  # 1 follows from 3


def test_costs_are_those_recorded_for_each_chapter(course: Path) -> None:
    book = load(course / "book.toml")
    path = book.folder / "recorded" / "chapters.json"
    path.parent.mkdir(exist_ok=True)
    recorded = {"machine": "M", "date": "2026-01-02", "seconds": {"1": 9.6, "2": 80}}
    path.write_text(json.dumps(recorded))
    made = manifests.costs(book)
    assert "| chapter | 1 | 2 | all |" in made
    assert "| seconds | 10 | 80 | 90 |" in made
    assert made.endswith("On one core: M; 2026-01-02, by `make bench`.")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "make bench"),
        ("{", "chapters.json"),
        ("[]", "chapters.json"),
        ('{"machine": "M", "date": "", "seconds": {"1": 9.6}}', "no chapter '2'"),
        ('{"machine": "M", "date": "", "seconds": {"1": 9.6, "2": "long"}}', "long"),
    ],
)
def test_costs_that_are_missing_or_damaged_name_their_file(
    course: Path, text: str | None, told: str
) -> None:
    book = load(course / "book.toml")
    path = book.folder / "recorded" / "chapters.json"
    path.parent.mkdir(exist_ok=True)
    if text is not None:
        path.write_text(text)
    with pytest.raises(ManifestError, match=told):
        manifests.costs(book)


HUB = "https://github.com/me/it"


@pytest.mark.parametrize(
    ("named", "git", "web", "on_github"),
    [
        ("me/it", HUB, HUB, "me/it"),
        (f"{HUB}.git", HUB, HUB, "me/it"),
        ("git@github.com:me/it.git", HUB, HUB, "me/it"),
        ("https://x.edu/a/b/it.git", "https://x.edu/a/b/it.git", "https://x.edu/a/b/it", ""),
        ("git@git.x.edu:a/it.git", "git@git.x.edu:a/it.git", "", ""),
        ("file:///srv/it.git", "file:///srv/it.git", "", ""),
        ("", "", "", ""),
    ],
)
def test_a_repository_is_any_that_git_clones(
    course: Path, named: str, git: str, web: str, on_github: str
) -> None:
    assert manifests.name_repository(course / "book.toml", named) == (named != "")
    book = load(course / "book.toml")
    assert (book.repository, book.git_address) == (named, git)
    assert (book.web_address, book.on_github) == (web, on_github)
    assert not manifests.name_repository(course / "book.toml", named)


@pytest.mark.parametrize(
    "named", ["a", "a b/c", '"', "https://x/$(y)", "ssh://x/'", "--x", "a/b\n"]
)
def test_what_git_does_not_clone_is_refused_and_nothing_written(course: Path, named: str) -> None:
    before = (course / "book.toml").read_text()
    with pytest.raises(ManifestError, match="owner/name"):
        manifests.name_repository(course / "book.toml", named)
    assert (course / "book.toml").read_text() == before


def test_a_manifest_needs_one_line_for_its_repository(course: Path) -> None:
    path = course / "book.toml"
    path.write_text(path.read_text().replace('repository = ""', ""))
    with pytest.raises(ManifestError, match="0 lines"):
        manifests.name_repository(path, "me/it")


def test_lines_that_install_the_course_come_and_go_with_the_repository(course: Path) -> None:
    manifest = course / "book.toml"
    without = load(manifest)
    manifests.name_repository(manifest, "me/it")
    with_it = load(manifest)
    source = "import torch\n\nprint(1)"
    assert manifests.install_lines(without) == ""
    assert manifests.with_install_lines(without, source) == source
    made = manifests.with_install_lines(with_it, source)
    assert "https://github.com/me/it" in made
    assert "constraints.txt" in made
    assert "chdir" not in made
    assert "recorded" in made
    assert "recorded" not in manifests.install_lines(with_it, recordings=False)
    exec(made.removesuffix(source), {})  # where the course is installed this does nothing
    assert made.endswith("\n\n" + source)
    assert manifests.with_install_lines(with_it, made) == made
    assert manifests.with_install_lines(without, made) == source


def test_the_course_agrees_with_its_manifest() -> None:
    book = load(REPOSITORY / "book.toml")
    for chapter in book.with_drafts:
        notebook = nbformat.read(book.path(chapter), as_version=4)
        hint = f"{chapter.file} differs from book.toml; run `ncourse sync`"
        assert notebook.cells[0].source == manifests.header(book, chapter), hint
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                assert manifests.with_generated(book, cell.source) == cell.source, hint
                made = references.with_references(cell.source, book.references, chapter.file)
                assert made == cell.source, hint
        imports = next(cell for cell in notebook.cells if cell.cell_type == "code").source
        assert manifests.with_install_lines(book, imports) == imports, hint
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert manifests.with_generated(book, readme, "notebooks/") == readme, "run `ncourse sync`"
    made, pictures = with_chosen_results(book, readme)
    assert made == readme, "run `ncourse sync`"
    assert len(pictures) == 4
    for path, content in pictures.items():
        assert path.read_bytes() == content, "run `ncourse sync`"
    recorded = json.loads((book.folder / "recorded" / "chapters.json").read_text(encoding="utf-8"))
    assert max(recorded["seconds"].values()) <= 90, "README and the page on cost say 90 seconds"
    for name in ("picture", "map", "costs"):
        assert f"<!-- {name} -->" in readme
    assert "<!-- paths -->" in (book.folder / "00-start-here.ipynb").read_text(encoding="utf-8")
    marks_addresses_alt_texts = r"<[^>]*>|\]\([^)]*\)|!\[[^\]]*\]"
    visible = re.sub(marks_addresses_alt_texts, " ", readme)
    words = re.findall(r"\S*\w\S*", visible)
    assert len(words) < 900, "a README is read to its end if it is short"
    picture = (book.folder / "assets" / "map.svg").read_text(encoding="utf-8")
    assert manifests.map_svg(book) == picture, "run `ncourse sync`"
    on_disk = {path.name for path in book.folder.glob("*.ipynb")}
    assert on_disk == {chapter.file for chapter in book.with_drafts}, "a notebook outside book.toml"
