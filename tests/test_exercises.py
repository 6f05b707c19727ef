"""Exercises: machinery, and every reference, stub and known mistake of every chapter."""

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import ncourse.exercises as exercises
from ncourse.exercises import Exercise, check, exercise, find, hint, solution

CHAPTERS = [
    importlib.import_module(f"ncourse.exercises.{module.name}")
    for module in pkgutil.iter_modules(exercises.__path__)
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
    feedback = check(asked, asked.reference)
    assert feedback.state == "solved", feedback.message


@pytest.mark.parametrize("asked", ALL, ids=lambda e: e.name)
def test_stub_is_not_attempted(asked):
    assert check(asked, stub_of(asked)).state == "not attempted"


@pytest.mark.parametrize(
    ("asked", "mistake"), MISTAKES, ids=[f"{e.name}-{i}" for i, (e, _) in enumerate(MISTAKES)]
)
def test_known_mistake_gets_its_own_message(asked, mistake):
    feedback = check(asked, mistake.answer)
    assert feedback.state == "not yet"
    assert mistake.says in feedback.message


@pytest.mark.parametrize("asked", ALL, ids=lambda e: e.name)
def test_messages_of_mistakes_differ_and_texts_are_there(asked):
    messages = [check(asked, mistake.answer).message for mistake in asked.mistakes]
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
