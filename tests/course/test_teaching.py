"""Pages for teachers: plans that add up, wrong answers with what to say, syllabi."""

import inspect
import re
from pathlib import Path

import pytest

from ncourse.course import teaching
from ncourse.course.assignments import tasks
from ncourse.course.manifest import Chapter, ManifestError, load
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
@pytest.mark.parametrize("length", teaching.LENGTHS)
def test_a_plan_fills_the_class_and_loses_nothing(chapter: Chapter, length: int) -> None:
    if chapter.minutes < length and chapter.number == 0:
        length = chapter.minutes
    made = teaching.plan(BOOK, chapter, length)
    assert sum(slot.minutes for slot in made.slots) == length
    assert min(slot.minutes for slot in made.slots) >= 1
    assert sorted(t.exercise for t in (*made.in_class, *made.at_home)) == sorted(
        task.exercise for task in tasks(BOOK, chapter)
    )
    assert made.in_class
    assert sum(task.minutes for task in made.in_class) <= 0.3 * length
    text = BOOK.path(chapter).read_text(encoding="utf-8")
    titles = set(re.findall(r'"## ([^"]+?)(?:\\n)?"', text)) - teaching.NOT_TALKED_ABOUT
    told = {slot.what for slot in made.slots} | set(made.after)
    assert titles <= told, titles - told
    assert not set(made.after) & set(teaching.LAST)


def test_sections_share_the_time_by_what_there_is_to_say() -> None:
    assert teaching._shares([3.0, 1.0], 10) == [7, 3]
    assert teaching._shares([1.0, 1.0, 1.0], 10) == [4, 3, 3]
    assert teaching._shares([], 10) == []


def test_where_time_is_short_the_last_section_before_the_main_result_is_left_for_reading() -> None:
    short, long = (teaching.plan(BOOK, BOOK.chapter(5), length) for length in (50, 90))
    assert short.after == ("A wide layer in front", "Collapse is no promise")
    assert long.after == ()


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
