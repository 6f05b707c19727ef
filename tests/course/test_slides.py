"""Slides: what of a notebook is on them, and how it is cut into pages."""

import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from ncourse.course import plans, slides
from ncourse.course.manifest import Book, Chapter, load

REPOSITORY = Path(__file__).parents[2]
BOOK = load(REPOSITORY / "book.toml")


@pytest.fixture
def book(course: Path) -> Book:
    return load(course / "book.toml")


def pages(book: Book, *cells: nbformat.NotebookNode) -> list[slides.Slide]:
    return slides.slides(book, book.chapter(1), new_notebook(cells=list(cells)))


def text(source: str, *tags: str) -> nbformat.NotebookNode:
    return new_markdown_cell(source, metadata={"tags": list(tags)})


def code(source: str, *tags: str, html: str = "", printed: str = "") -> nbformat.NotebookNode:
    outputs = [new_output("stream", text=printed)] if printed else []
    outputs += [new_output("display_data", {"text/html": html})] if html else []
    return new_code_cell(source, outputs=outputs, metadata={"tags": list(tags)})


PARAGRAPH = "First one. A **term** is here. More, of $a. B$ and (e.g. This). Last."


def test_only_tagged_cells_are_shown_under_the_heading_that_they_stand_below(book: Book) -> None:
    found = pages(
        book,
        text("## Hidden heading\n\nNot shown."),
        text(
            "Shown, and it is the only one: three lines would be too many.\n\n- a\n- b\n- c",
            "slide",
        ),
        code("x = 1"),
    )
    (only,) = found
    assert only.title == "Hidden heading"
    assert "Shown, and" in only.blocks[0]
    assert "Not shown" not in "".join(only.blocks)


@pytest.mark.parametrize(
    ("paragraph", "shown"),
    [
        ("*Proof.* One step. Another one. ∎", "*Proof.* One step. Another one. ∎"),
        ("First. Cut. When is it so? If it is. Cut.", "First."),
        ("When is it so? If it is. Cut.", "When is it so? If it is."),
        (
            "First. Cut. A set. Such a **set** has a name.",
            "First. A set. Such a **set** has a name.",
        ),
        ("First. **It** has a name. Cut.", "First. **It** has a name."),
        ("A. B. So C. It is **D**.", "A. B. So C. It is **D**."),
    ],
)
def test_what_a_shown_sentence_needs_is_shown(book: Book, paragraph: str, shown: str) -> None:
    (page,) = pages(book, text(f"## T\n\n{paragraph}", "slide-lead"))
    (only,) = pages(book, text(f"## T\n\n{shown}", "slide"))
    assert page.blocks == only.blocks


def test_what_the_next_paragraph_is_about_is_shown(book: Book) -> None:
    (page,) = pages(book, text("## T\n\nOne. Two.\n\nThis is so. Cut.", "slide-lead"))
    assert "Two." in "".join(page.blocks)
    assert "Cut." not in "".join(page.blocks)


def test_the_lead_has_first_sentences_and_terms_and_the_notes_have_all(book: Book) -> None:
    (page,) = pages(book, text(f"## A\n\n{PARAGRAPH}\n\n- a list stays", "slide-lead"))
    shown = "".join(page.blocks)
    assert "First one." in shown
    assert "<strong>term</strong>" in shown
    assert "Last." not in shown
    assert "More, of" not in shown
    assert "a list stays" in shown
    assert "Last." in "".join(page.notes)
    (whole,) = pages(book, text(f"## A\n\n{PARAGRAPH}\n\n- a list stays", "slide"))
    assert "Last." in "".join(whole.blocks)
    assert not whole.notes


@pytest.mark.parametrize(
    ("paragraph", "lead"),
    [
        ("One. Two.", "One."),
        ("**Label.** It says so. More.", "**Label.** It says so."),
        ("**Label** (a source). It says so. More.", "**Label** (a source). It says so."),
        ("*All of this. Is one statement.*", "*All of this. Is one statement.*"),
        ("See $a. B$ here. More.", "See $a. B$ here."),
        ("Some (in brackets. Like this) end. More.", "Some (in brackets. Like this) end."),
        ("As Hui et al. Say, so. More.", "As Hui et al. Say, so."),
        ("It follows: Many things. More.", "It follows: Many things."),
    ],
)
def test_where_a_lead_ends(paragraph: str, lead: str) -> None:
    assert slides._lead(paragraph) == lead


QUESTION = """### Check

Why? Because of *this*.

<details><summary>It is $x$.</summary>

No.

</details>
<details><summary>It is right.</summary>

Correct. It is.

</details>
"""


def test_a_question_is_whole_and_its_answer_waits_for_a_press(book: Book) -> None:
    (page,) = pages(book, text(QUESTION, "slide-lead"))
    shown = "".join(page.blocks)
    assert "Because of" in shown
    assert shown.count("<li>") == 2
    assert shown.index('class="answer fragment"') > shown.rindex("<li>")
    assert "Correct. It is." in shown.partition("answer fragment")[2]
    assert "No." not in shown
    assert "No." in "".join(page.notes)


def test_each_question_of_a_quiz_has_a_page(book: Book) -> None:
    one = QUESTION.replace("### Check\n\nWhy?", "**1. Why?**")
    two = QUESTION.replace("### Check\n\nWhy?", "**2. Why not?**")
    found = pages(book, text(f"## Quiz\n\n{one}\n\n{two}", "slide"))
    assert [page.title for page in found] == ["Quiz", "Quiz"]
    assert ["2. Why not?" in "".join(page.blocks) for page in found] == [False, True]


def test_a_fold_that_is_no_question_is_for_the_speaker(book: Book) -> None:
    proof = "- a\n- b\n- c\n\n<details><summary>Proof</summary>\n\nTrivial.\n\n</details>"
    (page,) = pages(book, text(f"## A\n\n{proof}", "slide"))
    assert "Trivial" not in "".join(page.blocks)
    assert "Trivial" in "".join(page.notes)


def test_a_figure_comes_without_its_source_and_a_short_program_with_it(book: Book) -> None:
    picture = '<img src="data:image/png;base64,AAAA" alt="a">'
    (figure,) = pages(book, text("## A"), code("draw()", "slide", html=picture))
    assert "draw" not in "".join(figure.blocks)
    assert picture in "".join(figure.blocks)
    (program,) = pages(book, text("## A"), code("print(1)", "slide", printed="1 < 2\n"))
    assert "print" in "".join(program.blocks)
    assert "1 &lt; 2" in "".join(program.blocks)
    (hidden,) = pages(book, text("## A"), code("x", "slide", "hide-input", printed="1\n2\n3\n4"))
    assert "highlight" not in "".join(hidden.blocks)


def test_what_does_not_fit_goes_on_under_the_same_title(book: Book) -> None:
    many = "\n".join(f"- item {number}" for number in range(40))
    found = pages(book, text(f"## Long\n\n{many}", "slide"))
    assert len(found) > 2
    assert {page.title for page in found} == {"Long"}
    assert all(page.lines <= slides.LINES for page in found)
    assert "".join("".join(page.blocks) for page in found).count("<li>") == 40


def test_a_long_table_is_cut_and_keeps_its_head(book: Book) -> None:
    rows = "\n".join(f"| {number} | b |" for number in range(25))
    found = pages(book, text(f"## T\n\n| head | two |\n|---|---|\n{rows}", "slide"))
    assert len(found) == 3
    assert all("<th>head</th>" in "".join(page.blocks) for page in found)


@pytest.mark.parametrize("words", ["Now these:", "They satisfy", "With $a = b$,", "It is **bold**"])
def test_a_sentence_that_goes_on_stays_with_what_follows(book: Book, words: str) -> None:
    first = "\n\n".join(["A sentence that fills its line."] * 8)
    many = "\n".join(f"- item {number}" for number in range(5))
    found = pages(book, text(f"## A\n\n{first}\n\n{words}\n\n{many}", "slide"))
    (shown,) = [page for page in found if slides._html(book, words).strip() in "".join(page.blocks)]
    assert "item 0" in "".join(shown.blocks)
    assert len(found) == 2


def test_a_line_alone_on_a_page_is_a_note_of_the_page_before(book: Book) -> None:
    picture = '<img src="data:image/png;base64,AAAA" alt="a">'
    one, two = (code(name, "slide", html=picture) for name in "ab")
    found = pages(book, one, text("Seen? Go on.", "slide-lead"), two)
    assert len(found) == 2
    assert "Seen?" in "".join(found[0].blocks + found[0].notes)
    lonely = pages(book, text("- a\n- b\n- c", "slide"), text("## B\n\nJust this.", "slide"))
    assert len(lonely) == 1
    assert "Just this" in "".join(lonely[0].notes)


def test_pictures_are_inside_and_links_to_other_chapters_are_words(book: Book) -> None:
    (book.folder / "assets" / "a.png").parent.mkdir(exist_ok=True)
    (book.folder / "assets" / "a.png").write_bytes(b"12")
    source = "- see [two](02-two.ipynb)\n- and [web](https://example.org)\n\n![a](assets/a.png)"
    shown = "".join(block for page in pages(book, text(source, "slide")) for block in page.blocks)
    assert "data:image/png;base64,MTI=" in shown
    assert "02-two" not in shown
    assert 'href="https://example.org"' in shown


def test_a_deck_is_one_file(book: Book) -> None:
    cells = [text("## A & B\n\n- $a < b$\n- x\n- y", "slide")]
    made = slides.deck(book, book.chapter(1), new_notebook(cells=cells))
    assert made.count('<section><div class="page') == 2  # the title's, and the one
    assert r"\(a &lt; b\)" in made
    assert "<h2>A &amp; B</h2>" in made
    assert "RevealNotes" in made
    assert len(re.findall(r"<script>.*?</script>", made, flags=re.DOTALL)) == 6
    page = re.sub(r"<script>.*?</script>", "", made, flags=re.DOTALL)
    assert not re.search(r"<(?:script|link)|src=|url\((?!data:)|@import", page)


@pytest.mark.parametrize("chapter", BOOK.with_drafts, ids=lambda chapter: chapter.stem)
def test_every_chapter_has_its_vote_figures_questions_and_claims_on_slides(
    chapter: Chapter,
) -> None:
    notebook = nbformat.read(BOOK.path(chapter), as_version=4)
    if chapter.draft and not any(cell.get("outputs") for cell in notebook.cells):
        pytest.skip(f"{chapter.file} is a draft that `ncourse outputs` has not run yet")
    found = slides.slides(BOOK, chapter, notebook)
    titles = [page.title for page in found]
    shown = "".join("".join(page.blocks) for page in found)
    assert titles[0] == chapter.heading
    assert "Predict first" in titles
    source = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert titles.count("Check") >= source.count("### Check")
    assert shown.count('class="answer fragment"') >= source.count("Correct")
    stubs = [at for at, cell in enumerate(notebook.cells) if "@exercise" in cell.source]
    others = (
        notebook.cells[: stubs[0]] + notebook.cells[stubs[-1] + 4 :]
    )  # not to give answers away
    outputs = [output for cell in others for output in cell.get("outputs", [])]
    figures = sum("image/png" in output.get("data", {}) for output in outputs)
    assert shown.count('class="figure"') >= figures > 0
    claims = str([cell.get("outputs", "") for cell in notebook.cells]).count('class="nc-claim"')
    assert shown.count('class="nc-claim"') == claims
    for exercise in re.findall(r"### (Exercise \d+\.\d+)", source):
        assert any(title.startswith(exercise) for title in titles), exercise


@pytest.mark.parametrize("chapter", BOOK.with_drafts, ids=lambda chapter: chapter.stem)
def test_a_class_has_a_minute_for_each_slide(chapter: Chapter) -> None:
    notebook = nbformat.read(BOOK.path(chapter), as_version=4)
    if chapter.draft and not any(cell.get("outputs") for cell in notebook.cells):
        pytest.skip(f"{chapter.file} is a draft that `ncourse outputs` has not run yet")
    found = slides.slides(BOOK, chapter, notebook)
    made = plans.plan(BOOK, chapter, min(50, chapter.minutes))
    main = slides.main_line(found, made)
    assert sum(main) + 1 <= min(50, chapter.minutes)
    shown = [slide for slide, on in zip(found, main, strict=True) if on]
    for slot in made.slots:
        here = [slide for slide in shown if slide.place in slot.places]
        assert 1 <= len(here) + ("" in slot.places) <= slot.minutes
    planned = {place for slot in made.slots for place in slot.places}
    assert {slide.place for slide in shown} <= planned
    assert {slot.what for slot in made.slots} & {slide.place for slide in found} <= {
        slide.place for slide in shown
    }


def test_what_only_goes_on_is_an_aside_and_questions_stay() -> None:
    def slide(place: str, block: str) -> slides.Slide:
        return slides.Slide(place, place, [block])

    found = [
        slide("A", "<p>first</p>"),
        slide("A", "<p>on</p>"),
        slide("A", '<div class="figure">'),
        slide("A", '<ol class="options">'),
        slide("B", "<p>not planned</p>"),
    ]
    for minutes, main in ((4, "1111"), (3, "1011"), (2, "1001")):
        made = plans.Plan((plans.Slot(minutes, "A", ("A",)),), (), (), ())
        shown = slides.main_line(found, made)
        assert "".join(str(int(on)) for on in shown) == main + "0"
    assert slides.numbers(found, ("A",)) == [2, 3, 4, 5]
    assert slides.numbers(found, ("", "B")) == [1, 6]


def test_asides_hang_below_the_slide_before_them(book: Book) -> None:
    cells = [text(f"## {title}\n\n- a\n- b\n- c", "slide") for title in ("Predict first", "Claims")]
    made = slides.deck(book, book.chapter(1), new_notebook(cells=cells))
    assert re.search(
        r"<section><section>.*<h2>Predict.*</section>\n<section>.*<h2>Claims", made, re.DOTALL
    )
