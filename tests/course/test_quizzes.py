"""The order of options: made by a hash, stable, and giving nothing away over the course."""

import re
from collections import Counter
from pathlib import Path

from ncourse.course.manifest import load
from ncourse.course.notebooks import cells
from ncourse.course.quizzes import Question, in_order, questions

BOOK = load(Path(__file__).parents[2] / "book.toml")
# *Predict first* does not say which guess is right; the rest of its chapter does.
GUESSES = {
    "Three dots.",
    "−1/9, all pairs the same.",
    "Nothing, whichever three they were.",
    "Nobody, and from one number you cannot get all others without the features.",
    "The images of one digit keep moving closer together.",
    "At four points whose lengths and angles you can compute on paper before the start.",
    "The two with 30 dimensions.",
    "All of them.",
    "It depends on something that is not in the predictions at all.",
    "It gets better.",
    "Several more stored images a class.",
    "The one that has not collapsed.",
    "Grouped by shared attributes first, and equally far apart later.",
}
MOST = 0.45  # of the questions may have the right option at one place

PROOF = "<details><summary>Proof</summary>\n\nBy $x$.\n\n</details>"


def option(said: str, feedback: str) -> str:
    return f"<details><summary>{said}</summary>\n\n{feedback}\n\n</details>"


def asked() -> list[tuple[int, Question, int]]:
    """Chapter, question and the place of its right option, over the course."""
    found = []
    for chapter in BOOK.chapters:
        for cell in cells(BOOK.path(chapter)):
            for question in questions(cell.source) if cell.cell_type == "markdown" else ():
                place = question.right
                if place is None:
                    (place,) = (k for k, said in enumerate(question.options) if said in GUESSES)
                found.append((chapter.number, question, place))
    return found


def test_options_are_put_in_order_and_nothing_else_is_touched() -> None:
    options = [option("a", "No."), option("b", "Correct. Yes."), option("c", "No.\n\nReally.")]
    text = "Above.\n\n{}\n\n**1. What?** (objective 1)\n\n{}\n\nBelow.\n\n**2. Why?**\n\n{}\n"
    made = in_order(text.format(PROOF, "\n".join(options), "\n".join(options)))
    assert in_order(made) == made
    assert sorted(made) == sorted(text.format(PROOF, "\n".join(options), "\n".join(options)))
    assert made.startswith(f"Above.\n\n{PROOF}\n\n**1. What?** (objective 1)\n\n<details>")
    # Whatever the order and the number before, the order after is the same.
    again = text.replace("**1.", "**7.").format(PROOF, "\n".join(options[::-1]), options[1])
    first, second = (next(questions(in_order(t))) for t in (made, again))
    assert (first.options, first.right) == (second.options, second.right)
    assert set(first.options) == {"a", "b", "c"}
    guess = (
        "## Predict first\n\nWhich?\n\n- One.\n- Two.\n- Three.\n\nWrite it down.\n\n- not this\n"
    )
    (question,) = questions(in_order(guess))
    assert sorted(question.options) == ["One.", "Three.", "Two."]
    assert question.right is None


def test_the_notebooks_are_in_order() -> None:
    for chapter in BOOK.with_drafts:
        for cell in cells(BOOK.path(chapter)):
            if cell.cell_type == "markdown":
                assert in_order(cell.source) == cell.source, f"{chapter.file}: run `ncourse sync`"


def test_every_question_has_three_options_and_one_is_right() -> None:
    found = asked()
    assert len(found) >= 110
    for number, question, _ in found:
        assert len(set(question.options)) == len(question.options) >= 3, (number, question.text)


def test_no_place_has_the_right_option_too_often() -> None:
    found = asked()
    groups = {f"{n} options": [p for _, q, p in found if len(q.options) == n] for n in (3, 4)}
    groups["Predict first"] = [place for _, question, place in found if question.right is None]
    assert sum(len(places) for places in groups.values()) == len(found) + len(BOOK.chapters)
    for name, places in groups.items():
        counts = Counter(places)
        assert max(counts.values()) <= MOST * len(places), (name, counts)


NUMBER = re.compile(r"\d|\b(half|halves|twice|doubles?|zero|times)\b", re.IGNORECASE)
NO_NUMBERS = re.compile(r"NC\d|L\d|L2|float\d+|[Cc]hapters? \d+|class \d+|Theorem \d+|\d-class")
FIGURE = re.compile(r"\b(figure|table|map|panel|curve|slider)\b")


def test_one_question_in_three_asks_for_a_number_or_for_reading_a_figure() -> None:
    """Two options are numbers, or the question is about a figure."""
    found = [question for _, question, _ in asked() if question.right is not None]
    numbers = [
        question
        for question in found
        if sum(bool(NUMBER.search(NO_NUMBERS.sub("", said))) for said in question.options) >= 2
        or FIGURE.search(question.text)
    ]
    assert len(numbers) >= len(found) / 3, f"{len(numbers)} of {len(found)}"
