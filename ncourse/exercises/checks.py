"""What an exercise is, and how an answer to it is checked."""

import copy
import dis
import html
import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator

from ncourse.exercises.agreement import (
    Agreement,
    Stopped,
    Unfit,
    alike,
    close,
    received,
    shown,
)

__all__ = ["Answer", "Exercise", "Feedback", "Mistake", "check", "find"]

Answer = Callable[..., Any]
EQUAL = close()
Cases = Callable[[Generator], Iterable[tuple]]
"""Draws the arguments with which an answer is tried, two or more times."""


def call(answer: Answer, arguments: tuple) -> Any:
    """What most exercises compare: the value that the function returns."""
    return answer(*arguments)


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that students give, and what it is told."""

    answer: Answer
    says: str


@dataclass(frozen=True)
class Exercise:
    """What a student is asked, how it is checked, and what helps.

    Attributes:
        name: chapter and number, e.g. "1.2".
        objective: number of the chapter's objective that it serves, from 1.
        reference: a right answer; its signature is the stub's.
        cases: draws the arguments from a generator: two sizes of everything, labels in any order
            and number, values on and beside each boundary.
        mistakes: two or more known wrong answers. One is named only if an answer does the same as
            it in every case.
        hints: three, from a nudge to nearly the answer.
        why: shown when it is solved: why the answer works.
        agreement: whether a value is right, by default close to the reference's.
        use: what is compared, by default what the function returns: (function, arguments) -> value.
        same: whether two values come from the same mistake, by default if they are equal.
    """

    name: str
    objective: int
    reference: Answer
    cases: Cases
    mistakes: tuple[Mistake, ...]
    hints: tuple[str, str, str]
    why: str
    agreement: Agreement = EQUAL
    use: Callable[[Answer, tuple], Any] = call
    same: Callable[[Any, Any, tuple], bool] = alike

    def drawn(self, seed: int) -> list[tuple]:
        """The arguments of all cases; another seed gives others."""
        digits = "".join(filter(str.isdecimal, self.name.partition("v")[0]))
        mixed = int(digits) + 1_000_003 * (seed + 1)
        return [tuple(case) for case in self.cases(Generator().manual_seed(mixed))]


@dataclass(frozen=True)
class Feedback:
    """What a check found.

    Attributes:
        exercise: its name.
        state: "not attempted", "not yet" or "solved".
        message: what the student reads.
        mistake: what the known mistake is told, if it was one; else empty.
        passed: in how many cases the answer was right.
        steps: how many cases there are.
    """

    exercise: str
    state: str
    message: str
    mistake: str = ""
    passed: int = 0
    steps: int = 0

    def __str__(self) -> str:
        return f"Exercise {self.exercise}: {self.state}. {self.message}"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        sign, colour = {
            "not attempted": ("○", "#7f7f7f"),
            "not yet": ("✗", "#c77700"),
            "solved": ("✓", "#2e7d32"),
        }[self.state]
        return {
            "text/plain": str(self),
            "text/html": f'<div class="nc-exercise" style="border-left:4px solid {colour};'
            f'padding:.3em .8em;margin:.4em 0"><b>{sign} Exercise {self.exercise}: {self.state}.'
            f"</b> {_code(html.escape(self.message))}</div>",
        }


@dataclass(frozen=True)
class _Tried:
    """One case: what it asks, what the answer gave, and whether that is right."""

    arguments: tuple
    wanted: Any
    value: Any
    right: bool
    says: str


class _Defect(Exception):
    """A check that failed by itself."""


def check(asked: Exercise, answer: Answer, *, seed: int = 0) -> Feedback:
    """Try the answer in all cases drawn with this seed; the first that it fails gives the message.

    A known mistake is named instead if the answer does the same as it in every case. Arguments are
    handed out as copies, so an answer may work in place. Never raises.

    Args:
        asked: the exercise.
        answer: the student's function.
        seed: of the cases.
    """
    if is_stub(answer):
        return Feedback(asked.name, "not attempted", "Replace the `...` by your answer.")
    expected = list(inspect.signature(asked.reference).parameters)
    try:
        given = list(inspect.signature(answer).parameters)
    except (TypeError, ValueError):  # no Python function
        given = []
    if given != expected:
        message = f"Keep the arguments as they were: ({', '.join(expected)})."
        return Feedback(asked.name, "not yet", message)
    try:
        tried = [_try(asked, answer, case) for case in _drawn(asked, seed)]
        passed = sum(one.right for one in tried)
        if passed == len(tried):
            return Feedback(asked.name, "solved", asked.why, "", passed, passed)
        mistake = _known(asked, tried)
    except _Defect as defect:
        message = (
            f"The check of this exercise failed by itself ({defect.__cause__!r}). That is a defect "
            "of the course and says nothing about your answer: please report it."
        )
        return Feedback(asked.name, "not yet", message)
    first = next(one for one in tried if not one.right)
    # None in some cases only is an answer, and no missing `return`.
    answers = first.value is None and any(one.value is not None or one.right for one in tried)
    says = "" if answers else first.says
    message = mistake or says or _difference(expected, first)
    return Feedback(asked.name, "not yet", message, mistake, passed, len(tried))


def _drawn(asked: Exercise, seed: int) -> list[tuple]:
    try:
        return asked.drawn(seed)
    except Exception as error:
        raise _Defect from error


def _try(asked: Exercise, answer: Answer, arguments: tuple) -> _Tried:
    try:
        wanted = asked.use(asked.reference, copy.deepcopy(arguments))
    except Exception as error:
        raise _Defect from error
    value = _outcome(asked, answer, arguments)
    if isinstance(value, Stopped | Unfit):
        return _Tried(arguments, wanted, value, False, "")
    try:
        fit = received(value, wanted)
    except Unfit as unfit:
        return _Tried(arguments, wanted, value, False, str(unfit))
    try:
        verdict = asked.agreement(fit, wanted, arguments)
    except Unfit as unfit:
        return _Tried(arguments, wanted, value, False, str(unfit))
    except Exception as error:
        raise _Defect from error
    says = verdict if isinstance(verdict, str) else ""
    return _Tried(arguments, wanted, value, verdict is True, says)


def _outcome(asked: Exercise, answer: Answer, arguments: tuple) -> Any:
    """What the function gives for copies of these arguments: a value, or what stopped it."""

    def guarded(*values: Any) -> Any:
        try:
            return answer(*values)
        except (Exception, SystemExit) as error:  # whatever a student's function does is feedback
            raise _Raised(error) from error

    try:
        return asked.use(guarded, copy.deepcopy(arguments))
    except _Raised as raised:
        return Stopped(raised.error)
    except Unfit as unfit:
        return unfit
    except Exception as error:
        raise _Defect from error


class _Raised(Exception):
    """An error of the student's function on its way through our code."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


def _known(asked: Exercise, tried: Sequence[_Tried]) -> str:
    """What the first known mistake is told that does the same in every case; empty if none does."""
    for mistake in asked.mistakes:
        if all(_same(asked, mistake, one) for one in tried):
            return mistake.says
    return ""


def _same(asked: Exercise, mistake: Mistake, one: _Tried) -> bool:
    theirs = _outcome(asked, mistake.answer, one.arguments)
    if isinstance(theirs, Unfit) or isinstance(one.value, Unfit):
        return str(theirs) == str(one.value)
    try:
        return asked.same(one.value, theirs, one.arguments)
    except Exception as error:
        raise _Defect from error


def _difference(names: Sequence[str], one: _Tried) -> str:
    """What differs in a case, in general words."""
    case = ", ".join(f"{name} = {shown(v)}" for name, v in zip(names, one.arguments, strict=True))
    value, wanted = one.value, one.wanted
    if isinstance(value, Unfit):
        return str(value)
    if isinstance(value, Stopped):
        return f"Your function stopped with {value}. That was for {case}." + (
            f" It should return {shown(wanted)} there." if _exceptional(wanted) else ""
        )
    value = received(value, wanted) if value is not None else None
    if isinstance(wanted, torch.Tensor) and isinstance(value, torch.Tensor) and wanted.numel() > 8:
        if not wanted.is_floating_point():
            wrong = int((value != wanted).sum())
            return f"For {case} {wrong} of your {wanted.numel()} values are wrong."
        off = (value - wanted.double()).abs().max().item()
        return f"For {case} your result is off by up to {off:.3g}."
    mine, right = shown(value), shown(wanted)
    if mine == right:  # they differ behind the digits that are shown
        mine, right = repr(value), repr(wanted)
    return f"For {case} you get {mine}; it is {right}."


def _exceptional(wanted: Any) -> bool:
    return wanted is None or (isinstance(wanted, float) and wanted in (0.0, float("inf")))


def find(name: str) -> Exercise:
    """The exercise of that name; one for marks by its variant, e.g. "3.7v4".

    Raises:
        KeyError: if there is none, with the names that exist in its chapter.
    """
    if "v" in name:
        from ncourse.exercises.marked import marked

        entry, variant = marked(name)
        return entry.exercise(variant)
    by_name = {entry.name: entry for entry in chapter_of(name).EXERCISES}
    if name not in by_name:
        raise KeyError(
            f"there is no exercise {name}; chapter {name.partition('.')[0]} has "
            f"{', '.join(by_name)}"
        )
    return by_name[name]


def chapter_of(name: str) -> Any:
    """The module that holds the exercises of a chapter, by the name of one of them.

    Raises:
        KeyError: if the name is none of an exercise, or its chapter has no exercises.
    """
    chapter, _, number = name.partition("v")[0].partition(".")
    if not (chapter.isdecimal() and number.isdecimal()):
        raise KeyError(f"{name!r} is no exercise; expected chapter and number, e.g. '1.2'")
    module = f"ncourse.exercises.chapter{int(chapter):02d}"
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise KeyError(f"chapter {chapter} has no exercises") from error


def is_stub(answer: Answer) -> bool:
    """Whether the body does nothing: `...`, `pass`, or a docstring alone."""
    code = getattr(answer, "__code__", None)
    if code is None:
        return False
    steps = [step for step in dis.get_instructions(code) if step.opname != "NOP"]
    idle = {"RESUME", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST"}
    constants = [s.argval for s in steps if s.opname in ("LOAD_CONST", "RETURN_CONST")]
    return {step.opname for step in steps} <= idle and constants == [None]


def _code(text: str) -> str:
    """Words between backticks as HTML code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
