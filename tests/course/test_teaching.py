"""Pages for teachers: plans that add up, wrong answers with what to say, syllabi."""

import inspect
import re
from pathlib import Path

import pytest

from ncourse.course import plans, slides, teaching
from ncourse.course.assignments import tasks
from ncourse.course.manifest import Chapter, ManifestError, load
from ncourse.course.notebooks import read
from ncourse.exercises import find

REPOSITORY = Path(__file__).parents[2]
BOOK = load(REPOSITORY / "book.toml")
CHAPTERS = pytest.mark.parametrize("chapter", BOOK.with_drafts, ids=lambda chapter: chapter.stem)
WRITTEN = [
    "In one sentence",
    "Where they get stuck",
    "On the board",
    "To discuss",
    "If you have only ten minutes more",
]


@CHAPTERS
def test_a_page_has_every_exercise_its_time_and_what_to_say(chapter: Chapter) -> None:
    page = teaching.chapter_page(BOOK, chapter)
    for task in tasks(BOOK, chapter):
        assert f"### Exercise {task.exercise} · {task.minutes} min · {task.level}" in page
        asked = find(task.exercise)
        for mistake in asked.mistakes:
            made_elsewhere = "<" in mistake.answer.__qualname__
            assert made_elsewhere or inspect.getsource(mistake.answer).strip() in page
            assert teaching._html(mistake.says) in page, mistake.says
        assert asked.why in page
    assert f'href="slides/{chapter.stem}.html"' in page
    lengths = [int(n) for n in re.findall(r"^## A class of (\d+) minutes", page, re.MULTILINE)]
    assert lengths == ([50, 90] if chapter.number else [chapter.minutes])


@CHAPTERS
def test_what_a_teacher_writes_is_there(chapter: Chapter) -> None:
    """The board, and questions with a model answer each."""
    mine = teaching.written(BOOK, chapter)
    assert list(mine) == WRITTEN
    discuss = mine["To discuss"]
    questions = re.findall(r"^\*\*(\d)\. .+[.?]\*\*$", discuss, re.MULTILINE)
    assert questions == [str(number) for number in range(1, len(questions) + 1)]
    assert 4 <= len(questions) <= 6
    assert discuss.count("<details><summary>A model answer</summary>") == len(questions)
    assert len(mine["In one sentence"].split()) < 60
    assert len(re.findall(r"^\d\. ", mine["On the board"], re.MULTILINE)) >= 3
    page = teaching.chapter_page(BOOK, chapter)
    order = [page.index(f"\n## {title}") for title in WRITTEN]
    assert order == sorted(order)
    assert order[0] < page.index("\n## A class of") < order[1]
    assert order[2] < page.index("\n## Exercises, and") < order[3]


def test_a_chapter_without_a_written_part_still_has_its_page(course: Path) -> None:
    book = load(course / "book.toml")
    page = teaching.chapter_page(book, book.chapter(1))
    assert page.startswith("# Teaching chapter 1")
    assert "## A class of 20 minutes" in page


def test_marks_in_a_message_are_shown_and_not_read() -> None:
    assert teaching._html("a < `b` * c") == "a &lt; <code>b</code> &#42; c"


def test_each_path_has_a_syllabus() -> None:
    page = teaching.overview(BOOK)
    for path in BOOK.paths:
        part = page.partition(f"## Syllabus: {path.title.lower()}\n")[2].partition("\n## ")[0]
        assert path.assessment in part
        rows = re.findall(r"^\| (\d+) \| \[(\d+)\. ", part, re.MULTILINE)
        assert [int(number) for _, number in rows] == [chapter.number for chapter in path.chapters]
        for chapter in path.chapters:
            for task in tasks(BOOK, chapter):
                assert re.search(rf"\b{re.escape(task.exercise)}\b", part)
            for paper in chapter.papers:
                assert paper.url in part


def test_a_class_must_have_a_length(course: Path) -> None:
    path = course / "book.toml"
    path.write_text(path.read_text().replace("session = 50", "session = 0"))
    with pytest.raises(ManifestError, match="session is 0"):
        load(path)


def test_pages_are_named_and_listed(course: Path) -> None:
    made = teaching.pages(load(course / "book.toml"))
    assert list(made) == ["teaching", "teaching-01", "teaching-02"]
    assert all(f"({name}.md)" in made["teaching"] for name in list(made)[1:])


@CHAPTERS
def test_a_plan_names_the_slides_of_its_parts(chapter: Chapter) -> None:
    page = teaching.chapter_page(BOOK, chapter)
    shown = slides.slides(BOOK, chapter, read(BOOK.path(chapter)))
    rows = re.findall(r"^\| \d+ \| \d+&nbsp;min \| (.+) \| ([\d–, ]+) \|$", page, re.MULTILINE)
    for what, pages in rows:
        first = int(re.match(r"\d+", pages)[0])
        if what in {slide.place for slide in shown}:
            assert shown[first - 2].place == what
            assert first == 2 or shown[first - 3].place != what
        if "Work in pairs" in what:
            assert re.match(r"(.+?exercises? )([\d.]+)", what)[2] in shown[first - 2].title
    assert rows[0][1].startswith("1–")
    assert len(rows) == sum(
        len(plans.plan(BOOK, chapter, length).slots)
        for length in (plans.LENGTHS if chapter.number else (chapter.minutes,))
    )


@CHAPTERS
def test_each_item_on_the_board_has_its_minutes(chapter: Chapter) -> None:
    mine = teaching.written(BOOK, chapter)["On the board"]
    made = teaching.with_minutes(mine)
    minutes = [int(n) for n in re.findall(r"^\d+\. \*(\d+)&nbsp;min\.\* ", made, re.MULTILINE)]
    assert len(minutes) == len(re.findall(r"^\d+\. ", mine, re.MULTILINE))
    assert min(minutes) >= 1
    assert sum(minutes) <= 30
    assert re.sub(r"\*\d+&nbsp;min\.\* ", "", made) == mine


def test_minutes_on_the_board_come_from_words_formulas_and_questions() -> None:
    item = "1. " + "word " * 99 + "\n\n   $$a \\\\ b$$\n\n   *Ask: why?*\n\n2. Draw."
    made = teaching.with_minutes(item)
    assert made.startswith("1. *4&nbsp;min.* word")
    assert made.endswith("2. *1&nbsp;min.* Draw.")


def test_runs_of_pages_are_ranges() -> None:
    assert teaching._ranges([1, 2, 3, 7, 9, 10]) == "1–3, 7, 9–10"
    assert teaching._ranges([]) == ""


def test_everybody_is_told_to_install_before_the_first_class() -> None:
    told = [
        n for n in (0, 1, 2) if "Install before" in teaching.chapter_page(BOOK, BOOK.chapter(n))
    ]
    assert told == [0, 1]
    page = teaching.overview(BOOK)
    assert page.count('href="#before-the-first-class"') == len(BOOK.paths)
    ways = page.partition("## Before the first class")[2].partition("\n## ")[0]
    assert len(re.findall(r"^- \*\*On ", ways, re.MULTILINE)) == 3
