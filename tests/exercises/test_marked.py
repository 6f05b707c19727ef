"""Exercises for marks: every variant is another question, and each has its own answer."""

import inspect
from collections import Counter

import pytest

from ncourse.course import assignments, manifest
from ncourse.exercises import check, find, hint, judge, solution
from ncourse.exercises.marked import MARKED, Marked, marked

VARIANTS = [(entry, number) for entry in MARKED for number in range(len(entry.variants))]
NAMES = [f"{entry.name}v{number}" for entry, number in VARIANTS]


@pytest.mark.parametrize(("entry", "number"), VARIANTS, ids=NAMES)
def test_a_variant_takes_its_own_answer_alone(entry: Marked, number: int) -> None:
    asked = entry.exercise(number)
    for seed in range(4):
        feedback = check(asked, asked.reference, seed=seed)
        assert feedback.state == "solved", feedback
    for other in range(len(entry.variants)):
        if other != number:
            answer = entry.exercise(other).reference
            assert check(asked, answer).state == "not yet", entry.variants[other]


@pytest.mark.parametrize("entry", MARKED, ids=lambda entry: entry.name)
def test_texts_and_stubs(entry: Marked) -> None:
    texts = [entry.asked(number) for number in range(len(entry.variants))]
    assert len(set(texts)) == len(texts) >= 4
    asked = find(f"{entry.name}v0")
    scope: dict = {}
    exec(f"{entry.stub}\n    ...", scope)
    stub = scope[entry.function]
    assert list(inspect.signature(stub).parameters) == list(
        inspect.signature(asked.reference).parameters
    )
    assert check(asked, stub).state == "not attempted"
    assert judge(asked.name, f"{entry.stub}\n    ...").state == "not attempted"
    assert str(asked.drawn(0)) != str(asked.drawn(1))


def test_there_are_twenty_and_one_at_least_for_each_chapter() -> None:
    count = Counter(int(entry.name.partition(".")[0]) for entry in MARKED)
    assert sum(count.values()) >= 20
    assert set(count) == {chapter.number for chapter in manifest.load().chapters} - {0}
    assert len({entry.function for entry in MARKED}) == len(MARKED)


def test_no_chapter_asks_them(  # their numbers go on where the chapter's end
) -> None:
    for entry in MARKED:
        with pytest.raises(KeyError):
            find(entry.name)


def test_neither_hints_nor_solutions(capsys: pytest.CaptureFixture) -> None:
    solution("3.7v0")
    hint("3.7v0")
    assert capsys.readouterr().out == (
        "Solutions are off in this assignment.\n"
        "Hint 1 of 3: There are no hints to exercises for marks.\n"
    )


@pytest.mark.parametrize("name", ["3.7v", "3.7v999", "3.7vv1", "3.1v0", "v", "3.7v-1"])
def test_what_is_no_variant(name: str) -> None:
    with pytest.raises(KeyError):
        marked(name)
    with pytest.raises(KeyError):
        find(name)


BOOK = manifest.load("book.toml")


@pytest.mark.parametrize("chapter", BOOK.chapters[1:], ids=lambda chapter: str(chapter.number))
def test_a_secret_word_draws_the_variants_of_an_assignment(chapter: manifest.Chapter) -> None:
    names = assignments.variants(chapter, "tulip")
    assert names == assignments.variants(chapter, "tulip")
    drawn = {tuple(assignments.variants(chapter, f"word {i}")) for i in range(12)}
    assert len(drawn) > 3
    made = assignments.assignment(BOOK, chapter, names, solutions=False)
    sources = "\n".join(cell.source for cell in made.cells)
    assert "tulip" not in str(made)
    assert "graded()" in sources
    for name in names:
        entry, variant = marked(name)
        assert entry.asked(variant) in sources
        assert f'@exercise("{name}")\n{entry.stub}' in sources
    assert assignments.set_by(made.metadata) == names


def test_without_exercises_for_marks_or_without_a_word() -> None:
    with pytest.raises(assignments.AssignmentError, match="chapter 0 has no exercises for marks"):
        assignments.variants(BOOK.chapters[0], "tulip")
    with pytest.raises(assignments.AssignmentError, match="name a word of your own"):
        assignments.variants(BOOK.chapters[3], "")
    with pytest.raises(assignments.AssignmentError, match="no variant"):
        assignments.tasks(BOOK, BOOK.chapters[3], ["3.7v99"])
