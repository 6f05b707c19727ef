"""Pages that are made: claims, references, the interface; and those written beside them."""

import doctest
import importlib
import re
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from ncourse.claims import Claim, DataCard, Outcome, Recording
from ncourse.course import assignments, pages, sphinx_extension
from ncourse.course.manifest import Book, load
from ncourse.course.notebooks import read, write
from ncourse.course.pages import ClaimsError
from ncourse.course.sync import sync
from ncourse.tables import Table

REPOSITORY = Path(__file__).parents[2]
NOTEBOOKS = REPOSITORY / "notebooks"


@pytest.fixture
def book(course: Path) -> Book:
    return load(course / "book.toml")


def notebook(*claims: Claim) -> nbformat.NotebookNode:
    outputs = [new_output("display_data", claim._repr_mimebundle_()) for claim in claims]
    return new_notebook(cells=[new_code_cell("require(claims)", outputs=outputs)])


def made(source: str = "First 2020, Theorem 1", **changes: object) -> Claim:
    arguments = {"measured": {"x": 0.125}, "control": {"y": 7.0}, "data": "digits", **changes}
    return Claim("x < 1 & <b>", True, source=source, **arguments)  # type: ignore[arg-type]


def test_every_claim_is_on_the_page_with_a_link_to_its_cell(book: Book) -> None:
    runs = [notebook(made("This course")), notebook(made(), made(), made(binding=False))]
    for chapter, run in zip(book.chapters, runs, strict=True):
        pages.with_anchors(chapter, run)
    page = pages.claims_page(book, runs)
    assert "3 claims in 2 chapters" in page
    assert re.findall(r'href="(\S+)">(Claim \S+)</a>', page) == [
        ("01-one.html#claim-1-1", "Claim 1.1"),
        ("02-two.html#claim-2-1", "Claim 2.1"),
        ("02-two.html#claim-2-2", "Claim 2.2"),
    ]
    for part in ("x: 0.125", "y: 7", "First 2020, Theorem 1", "digits", "x &lt; 1 &amp; &lt;b&gt;"):
        assert page.count(part) >= 2, part
    assert 'id="' not in page  # an address belongs to one place
    html = [output.data["text/html"] for output in runs[1].cells[0].outputs]
    assert 'id="claim-2-1"' in html[0]
    assert 'id="claim-2-2"' in html[1]
    assert "id=" not in html[2]


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ([], "02-two.ipynb has no claim about First 2020"),
        ([made("This course")], "02-two.ipynb has no claim about First 2020"),
        ([made(binding=False)], "02-two.ipynb has no claim about First 2020"),
        ([made(data="")], "02-two.ipynb: no data for the claim: x < 1"),
    ],
)
def test_a_chapter_that_owes_a_claim_is_refused(
    book: Book, claims: list[Claim], message: str
) -> None:
    with pytest.raises(ClaimsError, match=re.escape(message)):
        pages.claims_page(book, [notebook(), notebook(*claims)])


def test_a_claim_without_a_control_is_refused(book: Book) -> None:
    run = notebook(made())
    run.cells[0].outputs[0].data[pages.CLAIM_MIME]["control"] = {}
    with pytest.raises(ClaimsError, match="no control for the claim"):
        pages.claims_page(book, [notebook(), run])


def test_chapters_of_the_course_owe_nothing() -> None:
    book = load(REPOSITORY / "book.toml")
    owed = [
        line
        for chapter in book.chapters
        for line in pages.missing_claims(chapter, nbformat.read(book.path(chapter), as_version=4))
    ]
    assert owed == []


def recording(name: str, holds: bool, seeds: int) -> Recording:
    columns = {key: [2.0, 1.0] for key in NC}
    table = Table({"epoch": [1, 2], **columns, "train_error": [0.5, 0.0]})
    outcome = Outcome(
        "first2020",
        "laptop",
        0,
        DataCard(name, 7, 0, 2, ""),
        (Claim("x < 1 & <b>", holds, {"x": 0.5, "z": 0.123456}, "First", {"y": 2.5}),),
        {"run": table, "run, no weight decay": table},
    )
    return Recording((outcome,) * seeds, "ncourse record first2020", "0.1.0", "2026-01-01")


NC = ("nc1", "nc2_equiangular", "nc3", "nc4")


def test_recordings_stand_where_a_page_asks_for_them(tmp_path: Path) -> None:
    recording("shirts", holds=False, seeds=1).save(tmp_path / "other.json")
    recording("numbers", holds=True, seeds=3).save(tmp_path / "laptop.json")
    (tmp_path / "cost.json").write_text('{"d": [512], "ms": [0.0123], "on": ["<a|b>"]}')
    text = "\n".join(
        [
            "# T",
            "<!-- beside other laptop -->",
            "<!-- table cost -->",
            "<!-- curves other | run | A -->",
        ]
    )
    page = pages.with_recordings(tmp_path, text)
    assert "<!--" not in page
    assert "✗" in page
    assert "x: 0.5; z: 0.123; control: y: 2.5" in page, "numbers as the claims themselves show them"
    assert "<b>Laptop</b> holds for 3 of 3 seeds on numbers: 7 training samples" in page
    assert page.count("<details") == page.count("</details>") == 1
    assert "| 512 | 0.012 | &lt;a&#124;b&gt; |" in page
    assert 'alt="A"' in page
    assert "`ncourse record first2020`" in page


def test_a_recording_that_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.json"):
        pages.with_recordings(tmp_path, "<!-- beside nowhere nowhere -->")
    for content in ("[1]", "{", '{"a": [1], "b": []}'):
        (tmp_path / "t.json").write_text(content)
        with pytest.raises(ValueError, match=r"t\.json is not a table"):
            pages.with_recordings(tmp_path, "<!-- table t -->")


def test_every_recording_of_the_pages_is_there() -> None:
    for path in NOTEBOOKS.glob("*.md"):
        text = path.read_text(encoding="utf-8")
        marks = re.findall(r"<!-- (?:beside|curves|table) ", text)
        left = re.findall(
            r"<!-- (?:beside|curves|table) ", pages.with_recordings(NOTEBOOKS / "recorded", text)
        )
        assert left == [], (path, marks)


def test_references_name_the_chapters_that_cite_them(book: Book) -> None:
    page = pages.references_page(book)
    (line,) = [line for line in page.splitlines() if line.startswith("- ")]
    assert line.startswith("- A. B. First, *On tests*, Tests 1, 2020. [doi:10.1/1]")
    assert line.endswith(" Chapter [2](02-two.ipynb).")


def test_interface_has_every_module_that_a_reader_imports() -> None:
    made = pages.api_pages()
    text = "\n".join(made.values())
    papers = [path.stem for path in (REPOSITORY / "ncourse" / "papers").glob("[a-z]*.py")]
    notebooks = "\n".join(path.read_text(encoding="utf-8") for path in NOTEBOOKS.glob("*.ipynb"))
    imported = set(re.findall(r"from ncourse\.([\w.]+) import", notebooks))
    modules = imported - {"papers", "figures"}  # of these packages, modules are imported
    for module in modules | {f"papers.{paper}" for paper in papers}:
        assert f".. automodule:: ncourse.{module}\n" in text, module
        assert f"- [`ncourse.{module}`](api-" in made["api"]


def test_everything_public_has_a_docstring_and_is_documented_where_it_is_defined() -> None:
    for page in pages.api_pages().values():
        for name in re.findall(r"automodule:: (\S+)", page):
            module = importlib.import_module(name)
            for public in getattr(module, "__all__", []):
                thing = getattr(module, public)
                if callable(thing):
                    assert thing.__doc__, f"{name}.{public}"
                    # Where that is a folder: in a file of it.
                    assert f"{thing.__module__}.".startswith(f"{name}."), f"{name}.{public}"


def test_docstrings_become_restructured_text() -> None:
    lines = [
        "One *word* and |W|^2, `|code|`, x_ .",
        "",
        "| field | formula |",
        "|---|---|",
        "| nc3 | |W/|W| - M||^2 |",
        "",
        ">>> a | b_",
        "```python",
        "a = b | c",
        "```",
    ]
    sphinx_extension.docstring_to_rst(None, "function", "f", None, None, lines)
    text = "\n".join(lines)
    assert text.startswith("One *word* and \\|W\\|^2, `|code|`, x\\_ .\n")
    assert "   * - nc3\n     - \\|W/\\|W\\| - M\\|\\|^2\n" in text
    assert "list-table" in text
    assert "---" not in text
    assert ">>> a | b_" in text
    assert ".. code-block:: python\n\n   a = b | c" in text


def test_examples_of_the_refresher_run() -> None:
    failures, tried = doctest.testfile(str(NOTEBOOKS / "refresher.md"), module_relative=False)
    assert tried >= 10
    assert failures == 0


def test_notation_gives_a_symbol_one_meaning() -> None:
    text = (NOTEBOOKS / "notation.md").read_text(encoding="utf-8")
    common, _, _ = text.partition("## The four numbers")
    rows = re.findall(r"^\| (\$.+?) \|", common, re.MULTILINE)
    symbols = [symbol for row in rows for symbol in re.findall(r"\$([^$]+)\$", row)]
    assert len(symbols) == len(set(symbols)) > 25
    own = re.findall(r"^\| \$(\w)\$ \|", text.partition("## Letters")[2], re.MULTILINE)
    assert own
    assert not set(own) & set(symbols)


def test_glossary_is_in_order_and_names_chapters_that_exist() -> None:
    text = (NOTEBOOKS / "glossary.md").read_text(encoding="utf-8")
    entries = re.findall(r"^\*\*(.+?)\*\* \((\d[^)]*)\)\.|^\*\*(.+?)\*\* \((.+?)\)", text, re.M)
    words = [first or other for first, _, other, _ in entries]
    assert len(words) > 30
    assert words == sorted(words, key=str.casefold)
    chapters = {chapter.number for chapter in load(REPOSITORY / "book.toml").chapters}
    for _, numbers, _, others in entries:
        for number in re.findall(r"\b\d+\b", numbers or others):
            assert int(number) in chapters


def test_links_of_the_written_pages_lead_somewhere() -> None:
    made = {"claims.md", "references.md", "changelog.md", *(f"{p}.md" for p in pages.api_pages())}
    for path in NOTEBOOKS.glob("*.md"):
        text = path.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if not target.startswith("http"):
                place = target.split("#")[0]
                assert place in made or (NOTEBOOKS / place).is_file(), f"{path.name}: {target}"


RESULTS = """# Front

<!-- results -->
- [Two](02-two.ipynb#{}): It is < 2.
<!-- /results -->

End."""


def test_the_landing_page_shows_as_many_results_as_it_says() -> None:
    page = (REPOSITORY / "notebooks" / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^- \[.*\]\((\d\d)-[^)]*\): ", page, flags=re.MULTILINE)
    chapters = [chapter.number for chapter in load(REPOSITORY / "book.toml").chapters]
    assert listed == [f"{number:02}" for number in chapters if number]
    word = {10: "Ten", 11: "Eleven", 12: "Twelve", 13: "Thirteen"}[len(listed)]
    assert f"## {word} results\n" in page


def test_results_become_cards_with_the_picture_of_their_cell(book: Book) -> None:
    one, two = notebook(), notebook()
    cell = new_code_cell("plots.show(figure, 'a dot')", id="two-07")
    figure = {"image/png": {"alt": "a dot", "width": 1}}
    cell.outputs = [new_output("display_data", {"image/png": "c29tZSBwaXhlbHM="}, metadata=figure)]
    two.cells.append(cell)
    made = pages.with_results(book, [one, two], RESULTS.format("two-07"))
    assert '<a class="nc-result" href="02-two.html">' in made
    assert 'alt="a dot"' in made
    assert "It is &lt; 2." in made
    assert made.endswith("\n\nEnd.")
    with pytest.raises(ClaimsError, match="cell two-08 of 02"):
        pages.with_results(book, [one, two], RESULTS.format("two-08"))
    with pytest.raises(ClaimsError, match="no chapter 03-three"):
        pages.with_results(book, [one, two], RESULTS.replace("02-two", "03-three").format("x"))
    with pytest.raises(ClaimsError, match="is no result; write - "):
        pages.with_results(book, [one, two], RESULTS.replace("]: ", "] ").replace("#{}", ""))


def test_the_readme_shows_results_of_the_first_page(book: Book) -> None:
    two = book.path(book.chapters[1])
    notebook = read(two)
    cell = new_code_cell("draw()", id="two-07")
    figure = {"image/png": {"alt": "a dot", "width": 1}}
    cell.outputs = [new_output("display_data", {"image/png": "c29tZSBwaXhlbHM="}, metadata=figure)]
    notebook.cells.append(cell)
    write(notebook, two)
    (book.folder / "index.md").write_text(RESULTS.format("two-07"))
    marked = "# A\n\n<!-- results of chapters 2 -->\nold\n<!-- /results -->\n\nEnd.\n"
    made, pictures = pages.with_chosen_results(book, marked)
    picture = book.folder / "assets" / "result-02.png"
    assert pictures == {picture: b"some pixels"}
    assert '<a href="notebooks/02-two.ipynb"><img src="notebooks/assets/result-02.png"' in made
    assert "It is &lt; 2." in made
    assert "old" not in made
    assert made.endswith("<!-- /results -->\n\nEnd.\n")
    readme = book.root / "README.md"
    readme.write_text(marked)
    sync(book)
    assert (readme.read_text(), picture.read_bytes()) == (made, b"some pixels")
    with pytest.raises(ClaimsError, match="no result of chapter 1"):
        pages.with_chosen_results(book, marked.replace("chapters 2", "chapters 1, 2"))
    assert pages.with_chosen_results(book, "# A\n") == ("# A\n", {})


def test_the_playground_stands_in_place_of_its_mark() -> None:
    page = pages.with_playground(
        "# A\n\n<!-- playground hero -->\n\nWords of `<!-- playground -->`."
    )
    assert page.startswith("# A\n\n`````{raw} html\n<link rel=")
    assert page.endswith("</script>\n\n`````\n\nWords of `<!-- playground -->`.")
    assert page.count("mountPlayground(document") == 1
    assert '{"hero": true' in page
    assert "``````" not in page
    elsewhere = "<!-- playground -->\nNot here.\n<!-- /playground -->\n\nMore."
    page = pages.with_playground(elsewhere)
    assert '{"hero": false' in page
    assert "Not here" not in page
    assert page.endswith("`````\n\nMore.")


def test_the_playground_closes_no_script_by_what_it_is_given() -> None:
    from ncourse.figures.playground import fragment

    assert fragment(settings={"data": "</script>"}).count("</script>") == fragment().count(
        "</script>"
    )


def test_how_difficult_an_exercise_is_can_be_heard() -> None:
    page = '<title>x</title><h3 data-x="●○○">Exercise 1.1 · ●○○<a>#</a></h3><a>2 · ●●●</a> ●●○ <b>'
    made = assignments.levels_in_words(page)
    for mark, words in (("●○○", "1"), ("●●○", "2"), ("●●●", "3")):
        assert f'<span role="img" aria-label="difficulty {words} of 3">{mark}</span>' in made
    assert 'data-x="●○○"' in made
    assert re.sub("</?span[^>]*>", "", made) == page


def test_pages_that_are_not_written_again_are_tidied_once(tmp_path: Path) -> None:
    """Sphinx leaves what has not changed; a second build goes over it all the same."""
    page = tmp_path / "page.html"
    page.write_text(
        '<script defer src="_static/scripts/fontawesome.js?digest=1"></script>\n'
        '<summary class="a" aria-label="Toggle hidden content">Show</summary>'
        '<button class="search-button-field" aria-label="Search">Search</button>'
        '<button class="theme-switch-button" aria-label="Color mode">Mode</button>'
        '<summary><span class="toctree-toggle" role="presentation"><i></i></span></summary>'
        '<th class="head"><p></p></th><div id="pst-primary-sidebar" class="b"></div>'
        "<h3>Exercise 1.1 · ●○○</h3><h3>Exercise 1.2 · ●●●</h3>",
        encoding="utf-8",
    )
    made = [page.read_text(encoding="utf-8")]
    for _ in range(3):
        sphinx_extension.tidy(SimpleNamespace(outdir=str(tmp_path)), None)
        made.append(page.read_text(encoding="utf-8"))
    assert made[0] != made[1] == made[2] == made[3]
    assert made[1].count("difficulty 1 of 3") == 1
