"""The notebooks as texts: the template, exercises, quizzes, stored outputs."""

import ast
import base64
import importlib
import inspect
import io
import json
import re
from pathlib import Path

import nbformat
import pytest
from PIL import Image

from ncourse.course import manifest
from ncourse.course.pages import claims_of, missing_claims
from ncourse.figures.live import LIVE

COURSE = manifest.load(Path(__file__).parent.parent / "book.toml")
FOLDER = COURSE.root / COURSE.src
ENDING = [
    "Exercises",
    "The main result, on data",
    "What can go wrong",
    "Claims",
    "Quiz",
    "Summary",
    "References",
]
SHORT_ENDING = ["Quiz", "Summary", "References"]  # of chapter 0, a tour without a result
OPTION = re.compile(r"<details><summary>(.+?)</summary>\n\n(.+?)\n\n</details>", re.DOTALL)
EXERCISE = re.compile(r"^### Exercise (\d+\.\d+) · \d+ min · (?:●○○|●●○|●●●)$", re.MULTILINE)

pytestmark = pytest.mark.parametrize("chapter", COURSE.with_drafts, ids=lambda c: c.stem)


@pytest.fixture
def notebook(chapter):
    return nbformat.read(FOLDER / chapter.file, as_version=4)


def markdown(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def sections(notebook):
    """H2 title -> the Markdown below it."""
    text = "\n\n".join(markdown(notebook))
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def outputs(chapter, notebook):
    found = [output for cell in code(notebook) for output in cell.outputs]
    if chapter.draft and not found:
        pytest.skip(f"{chapter.file} is a draft that `ncourse outputs` has not run yet")
    return found


def test_first_cell_is_made_from_the_manifest(chapter, notebook):
    assert notebook.cells[0].source == manifest.header(COURSE, chapter)
    text = "\n".join(markdown(notebook))
    assert len(re.findall(r"^# ", text, flags=re.MULTILINE)) == 1


def test_sections_come_in_the_order_of_the_template(chapter, notebook):
    titles = list(sections(notebook))
    assert titles[0] == "Predict first"
    if chapter.number == 0:
        assert titles[-len(SHORT_ENDING) :] == SHORT_ENDING
        assert titles.index("Exercises") < titles.index("Claims")
        return
    assert titles[-len(ENDING) :] == ENDING
    blocks = titles[1 : -len(ENDING)]
    assert 2 <= len(blocks) <= 5
    for block in blocks:
        assert len(re.findall(r"^### Check$", sections(notebook)[block], re.MULTILINE)) == 1, block


def test_imports_are_in_one_cell(chapter, notebook):
    first, *others = (cell.source for cell in code(notebook))
    assert "from ncourse.exercises import exercise, hint, solution" in first
    for source in others:
        assert not re.search(r"^\s*(import|from) ", source, re.MULTILINE), source


def test_portable_markdown_only(chapter, notebook):
    for source in markdown(notebook):
        assert not re.search(r"^(```\{|:::|\{\w+\}`)", source, re.MULTILINE), source


def test_each_exercise_has_heading_objective_and_the_stub_of_its_reference(chapter, notebook):
    module = importlib.import_module(f"ncourse.exercises.chapter{chapter.number:02d}")
    asked = {entry.name: entry for entry in module.EXERCISES}
    text = "\n\n".join(markdown(notebook))
    assert EXERCISE.findall(text) == list(asked)
    assert len(asked) >= 3
    stars = re.findall(r"^### Exercise .+ · (●.*)$", text, re.MULTILINE)
    assert ({"●○○", "●●○"} if chapter.number == 0 else {"●○○", "●●○", "●●●"}) == set(stars)
    for name, entry in asked.items():
        after = text.split(f"### Exercise {name} ·")[1]
        assert re.match(rf".*\n\n\*Objective {entry.objective}\.\* ", after), name
        assert 1 <= entry.objective <= len(chapter.objectives)
        (cell,) = (c for c in code(notebook) if f'@exercise("{name}")' in c.source)
        (stub,) = ast.parse(cell.source).body
        assert isinstance(stub, ast.FunctionDef)
        assert stub.name == entry.reference.__name__
        arguments = [argument.arg for argument in stub.args.args]
        assert arguments == list(inspect.signature(entry.reference).parameters)
        docstring, body = stub.body
        assert "->" in ast.literal_eval(docstring.value)
        assert ast.unparse(body) == "..."


def test_quiz_questions_have_one_right_option_and_feedback_for_each(chapter, notebook):
    quiz = sections(notebook)["Quiz"]
    questions = re.split(r"^\*\*\d+\. ", quiz, flags=re.MULTILINE)[1:]
    assert len(questions) >= (3 if chapter.number == 0 else 5)
    for question in questions:
        assert re.match(r".+\*\* \(objective \d\)\n", question), question[:80]
    checks = [
        text.split("### Check", 1)[1] for text in sections(notebook).values() if "### Check" in text
    ]
    for question in [*questions, *checks]:
        found = OPTION.findall(question)
        assert len(found) == question.count("<details>") >= 3, question[:80]
        assert sum(feedback.startswith("Correct") for _, feedback in found) == 1, question[:80]
        for option, _ in found:
            assert "$" not in option, f"math is not rendered in a summary: {option}"


def test_each_objective_is_served_by_an_exercise_and_a_quiz_question(chapter, notebook):
    objectives = set(range(1, len(chapter.objectives) + 1))
    module = importlib.import_module(f"ncourse.exercises.chapter{chapter.number:02d}")
    assert {entry.objective for entry in module.EXERCISES} == objectives
    quiz = sections(notebook)["Quiz"]
    assert {int(number) for number in re.findall(r"\(objective (\d)\)", quiz)} == objectives


def test_objectives_start_with_a_verb(chapter):
    for objective in chapter.objectives:
        assert re.match(r"[A-Z][a-z]+ ", objective), objective
        assert not re.match(r"(Understand|Know|Learn|Appreciate) ", objective), objective


def minutes_needed(notebook):
    """What a chapter takes by the course's rule.

    120 words a minute of prose outside folds and tables, a formula a word; 20 lines a minute of the
    code that is not hidden; a minute a question; exercises as their headings state.
    """
    text = "\n\n".join(markdown(notebook))
    doing = sum(int(minutes) for minutes in re.findall(r"^### Exercise .* · (\d+) min", text, re.M))
    questions = len(re.findall(r"^### Check$", text, re.M))
    questions += len(re.findall(r"^\*\*\d+\. ", sections(notebook)["Quiz"], re.M))
    shown = [c for c in code(notebook) if "hide-input" not in c.metadata.get("tags", [])]
    lines = sum(bool(line.strip()) for cell in shown for line in cell.source.splitlines())
    prose = re.sub(r"<details>.*?</details>|<!--.*?-->", " ", text, flags=re.DOTALL)
    prose = re.sub(r"\$\$.*?\$\$|\$.*?\$", " formula ", prose, flags=re.DOTALL)
    prose = re.sub(r"^\|.*$|\]\([^)]*\)|</?\w[^>]*>", " ", prose, flags=re.M)
    words = re.sub(r"[#*`>\[\]_-]", " ", prose).split()
    return len(words) / 120 + lines / 20 + questions + doing


def test_the_stated_time_is_what_reading_and_doing_take(chapter, notebook):
    if chapter.draft:
        pytest.skip("a draft states its time when it is written")
    needed = minutes_needed(notebook)
    assert chapter.minutes % 5 == 0
    assert chapter.minutes <= 120, "more than two class hours and a break"
    off = abs(chapter.minutes - needed)
    assert off <= min(10, max(5, 0.15 * needed)), f"{needed:.0f} minutes, stated {chapter.minutes}"


def test_no_code_is_left_over(chapter, notebook):
    """A name that a cell defines is used in a later line, or shown: by that cell or another."""
    sources = [
        manifest.without_install_lines(cell.source)
        for cell in code(notebook)
        if "@exercise" not in cell.source
    ]
    text = "\n".join(sources)
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                assert len(re.findall(rf"\b{node.name}\b", text)) > 1, f"{node.name} is not used"
    # What answers to exercises need is imported for them.
    module = importlib.import_module(f"ncourse.exercises.chapter{chapter.number:02d}")
    used = "\n".join(sources[1:]) + sources[0].split("import")[-1] + inspect.getsource(module)
    for node in ast.parse(sources[0]).body:
        for alias in getattr(node, "names", []):
            name = (alias.asname or alias.name).split(".")[0]
            if name not in ("exercise", "hint", "solution"):  # the reader's
                assert re.search(rf"\b{name}\b", used), f"{name} is imported and not used"


def test_nothing_asks_the_network(chapter, notebook):
    # Where the course is published, the first lines install it if it is not there.
    text = "\n".join(manifest.without_install_lines(cell.source) for cell in code(notebook))
    assert not re.search(r"https?://|urllib|requests|download=True|!pip|%pip|wget|curl", text)


def test_links_lead_somewhere(chapter, notebook):
    for target in re.findall(r"\]\(([^)\s]+)\)", "\n".join(markdown(notebook))):
        if not target.startswith("http"):
            assert (FOLDER / target.split("#")[0]).is_file(), target


def test_stored_outputs_are_clean(chapter, notebook):
    assert (FOLDER / chapter.file).stat().st_size <= 1_000_000
    assert outputs(chapter, notebook), "no stored outputs: run `make outputs`"
    for output in outputs(chapter, notebook):
        assert output.output_type != "error"
        assert output.get("name") != "stderr", output
        text = str(output)
        assert not re.search(r"(?<![\w.])/(tmp|root|work|home|Users)/", text)
        assert "Warning" not in text
        assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {})


def test_every_picture_has_alt_text_and_no_request_leaves(chapter, notebook):
    pictures = 0
    for output in outputs(chapter, notebook):
        data = output.get("data", {})
        html = "".join(data.get("text/html", ""))
        assert "<img" not in html, "show figures with plots.show(figure, alt)"
        assert not re.search(r'(src|href)="https?:', html)
        if not {mime for mime in data if mime.startswith("image/")}:
            continue
        assert set(data) in ({"image/png", "text/plain"}, {LIVE, "image/png", "text/plain"})
        details = output["metadata"]["image/png"]
        picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
        assert picture.width >= 2 * details["width"] - 1
        assert len(details["alt"]) >= 20
        pictures += len(json.loads(data[LIVE]["data"]).get("values", [None])) if LIVE in data else 1
    assert pictures >= 4


def test_words_in_figures_can_be_read_on_a_telephone(chapter, notebook):
    """A figure of the column's width is shown at half its size there, and ten points at nine px."""
    for cell in code(notebook):
        assert not re.search(r"(fontsize|labelsize)=[1-9]\b", cell.source), cell.id


def test_there_is_a_player_and_it_needs_no_script(chapter, notebook):
    found = [output for output in outputs(chapter, notebook) if LIVE in output.get("data", {})]
    players = [output.data for output in found if output.data[LIVE]["module"] == "player"]
    assert players
    for output in found:
        assert "Run the cell, or see the site" in output.data["text/plain"]
    for data in players:
        read = json.loads(data[LIVE]["data"])
        assert 2 <= len(read["values"]) == len(read["says"])


def test_no_stored_output_needs_a_script(chapter, notebook):
    for output in outputs(chapter, notebook):
        for mime, data in output.get("data", {}).items():
            assert mime == LIVE or "<script" not in str(data)


def test_stored_claims_all_hold_and_each_has_a_control(chapter, notebook):
    assert outputs(chapter, notebook)
    claims = claims_of(notebook)
    assert len(claims) >= (1 if chapter.number == 0 or chapter.draft else 3)
    assert all(claim["holds"] for claim in claims)
    assert missing_claims(chapter, notebook) == []
