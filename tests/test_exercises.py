"""Exercises: machinery, and every reference, stub and known mistake of every chapter."""

import ast
import importlib
import inspect
import pkgutil
import re
from dataclasses import replace
from pathlib import Path

import pytest

import ncourse.exercises as exercises
from ncourse.exercises import Exercise, check, exercise, find, hint, solution

CHAPTERS = [
    importlib.import_module(f"ncourse.exercises.{module.name}")
    for module in pkgutil.iter_modules(exercises.__path__)
    if module.name.startswith("chapter")
]
ALL = [asked for chapter in CHAPTERS for asked in chapter.EXERCISES]
MISTAKES = [(asked, mistake) for asked in ALL for mistake in asked.mistakes]


def stub_of(asked: Exercise):
    arguments = ", ".join(inspect.signature(asked.reference).parameters)
    scope: dict = {}
    exec(f"def stub({arguments}):\n    'What to write.'\n    ...", scope)
    return scope["stub"]


@pytest.mark.parametrize("asked", ALL, ids=lambda e: e.name)
def test_reference_solves_it(asked):
    for seed in range(5):
        feedback = check(asked, asked.reference, seed=seed)
        assert feedback.state == "solved", feedback.message
        assert feedback.passed == feedback.steps >= 2


@pytest.mark.parametrize("asked", ALL, ids=lambda e: e.name)
def test_another_seed_gives_other_arguments(asked):
    first, again, other = (str(asked.drawn(seed)) for seed in (0, 0, 1))
    # Functions print with an address that changes from draw to draw.
    first, again, other = (re.sub(r" at 0x\w+", "", each) for each in (first, again, other))
    assert first == again
    assert first != other or asked.name in SEEN_BY_CALLS


SEEN_BY_CALLS = {"1.6", "5.3"}
"""Exercises some of whose arguments are functions: their numbers do not print."""


def test_functions_among_the_arguments_change_with_the_seed():
    pushes = [[case[1](2.0) for case in find("1.6").drawn(seed)] for seed in (0, 1)]
    edges = [[case[0].edge for case in find("5.3").drawn(seed)] for seed in (0, 1)]
    assert pushes[0] != pushes[1]
    assert edges[0] != edges[1]


@pytest.mark.parametrize("asked", ALL, ids=lambda e: e.name)
def test_stub_is_not_attempted(asked):
    assert check(asked, stub_of(asked)).state == "not attempted"


@pytest.mark.parametrize(
    ("asked", "mistake"), MISTAKES, ids=[f"{e.name}-{i}" for i, (e, _) in enumerate(MISTAKES)]
)
def test_known_mistake_gets_its_own_message(asked, mistake):
    for seed in range(3):
        feedback = check(asked, mistake.answer, seed=seed)
        assert feedback.state == "not yet"
        assert feedback.message == feedback.mistake == mistake.says


@pytest.mark.parametrize("asked", ALL, ids=lambda e: e.name)
def test_messages_of_mistakes_differ_and_texts_are_there(asked):
    messages = [mistake.says for mistake in asked.mistakes]
    assert len(messages) >= 2
    assert len(set(messages)) == len(messages)
    assert all(text.strip() for text in (*asked.hints, asked.why))


@pytest.mark.parametrize("asked", ALL, ids=lambda e: e.name)
def test_an_answer_that_returns_nothing_or_crashes_is_feedback(asked):
    arguments = ", ".join(inspect.signature(asked.reference).parameters)
    scope: dict = {}
    exec(f"def nothing({arguments}):\n    x = 1", scope)
    exec(f"def crash({arguments}):\n    raise ZeroDivisionError('by hand')", scope)
    assert check(asked, scope["nothing"]).state == "not yet"
    assert "ZeroDivisionError: by hand" in check(asked, scope["crash"]).message


def test_decorator_returns_reference_until_solved(capsys):
    def simplex_cosine(num_classes):
        return 1 / (num_classes - 1)

    asked = find("1.1")
    assert exercise("1.1")(simplex_cosine) is asked.reference
    assert "not yet" in capsys.readouterr().out

    def right(num_classes):
        return -1.0 / (num_classes - 1)

    assert exercise("1.1")(right) is right
    assert "solved" in capsys.readouterr().out


def test_changed_arguments_are_named():
    assert "(num_classes)" in check(find("1.1"), lambda k: -1 / (k - 1)).message


@pytest.mark.parametrize("name", ["1.99", "98.1", "x", "1", "../1.1"])
def test_unknown_exercise(name):
    with pytest.raises(KeyError):
        find(name)


def test_hints_come_one_by_one_and_start_again(capsys):
    asked = find("1.2")
    for text in (*asked.hints, asked.hints[0]):
        hint("1.2")
        assert text in capsys.readouterr().out


def test_solution_shows_the_reference(capsys):
    solution("1.2")
    shown = capsys.readouterr().out
    assert "torch.eye(num_classes) - 1 / num_classes" in shown
    assert find("1.2").why in shown


def test_feedback_is_escaped_in_html():
    feedback = exercises.Feedback("1.1", "not yet", "<b>x</b> and `a < b`")
    shown = feedback._repr_mimebundle_()["text/html"]
    assert "<b>x</b>" not in shown
    assert "<code>a &lt; b</code>" in shown


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda module: module.__name__[-2:])
def test_every_private_function_of_a_chapter_is_used_in_it(chapter):
    """A wrong answer that no mistake and no message names is left over from another exercise."""
    tree = ast.parse(Path(chapter.__file__).read_text(encoding="utf-8"))
    for function in tree.body:
        if isinstance(function, ast.FunctionDef) and function.name.startswith("_"):
            elsewhere = [ast.walk(node) for node in tree.body if node is not function]
            used = {node.id for nodes in elsewhere for node in nodes if isinstance(node, ast.Name)}
            assert function.name in used


def test_none_in_some_cases_is_an_answer_and_no_missing_return():
    def sometimes(source, weight_decay, step_size):
        return None if weight_decay == 0 else find("6.3").reference(source, weight_decay, step_size)

    said = check(find("6.3"), sometimes).message
    assert "Is the `return` missing?" not in said
    assert "you get None; it is inf" in said
    never = check(find("6.3"), lambda source, weight_decay, step_size: print())
    assert "Is the `return` missing?" in never.message


def test_a_check_that_fails_says_that_it_is_ours():
    """Whatever breaks on our side, the student is not blamed and nothing is raised."""

    def broken(*_):
        raise ZeroDivisionError("ours")

    asked = find("1.1")
    ours = [replace(asked, **{part: broken}) for part in ("use", "cases")]
    ours.append(replace(asked, reference=lambda num_classes: 1 / 0))
    tried = [(one, answer) for one in ours for answer in (lambda num_classes: 0.5, nothing)]
    # What returns nothing never comes to be compared.
    tried.append((replace(asked, agreement=broken), lambda num_classes: 0.5))
    for one, answer in tried:
        feedback = check(one, answer)
        assert feedback.state == "not yet"
        assert "defect of the course" in feedback.message


def nothing(num_classes):
    print(num_classes)


def test_numbers_that_print_alike_are_shown_in_full():
    said = check(find("1.1"), lambda num_classes: -1.0001 / (num_classes - 1)).message
    mine, right = re.search(r"you get (\S+); it is (\S+)\.$", said).groups()
    assert mine != right
