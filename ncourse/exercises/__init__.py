"""Exercises that check themselves, name the mistake, and never block the next cell.

```python
@exercise("1.1")
def equidistant(num_classes): ...
```

shows *not attempted*, *not yet* with the message for that mistake, or *solved* with why it works.
The decorated name is then the student's function if it passed, and the reference if it did not, so
every later cell works.
"""

import dis
import html
import importlib
import inspect
import math
import re
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "Exercise",
    "Feedback",
    "Mistake",
    "check",
    "exercise",
    "find",
    "graded",
    "hint",
    "solution",
    "wrong_kind",
    "wrong_number",
]

Answer = Callable[..., Any]
Rung = Callable[[Answer], str | None]
"""One step of a check: returns None when the answer passes, else what to tell the student."""


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that students give, and a part of the message that it must receive."""

    answer: Answer
    says: str


@dataclass(frozen=True)
class Exercise:
    """What a student is asked, how it is checked, and what helps.

    Attributes:
        name: chapter and number, e.g. "1.2".
        objective: number of the chapter's objective that it serves, from 1.
        reference: a right answer; its signature is the stub's.
        rungs: checks in the order in which they are tried, easiest first.
        hints: three, from a nudge to nearly the answer.
        why: shown when it is solved: why the answer works.
        mistakes: two or more known wrong answers.
    """

    name: str
    objective: int
    reference: Answer
    rungs: tuple[Rung, ...]
    hints: tuple[str, str, str]
    why: str
    mistakes: tuple[Mistake, ...]


@dataclass(frozen=True)
class Feedback:
    """What a check found: state "not attempted", "not yet" or "solved", and the message."""

    exercise: str
    state: str
    message: str

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


_hints_shown: dict[str, int] = {}
_graded = False


def graded(on: bool = True) -> None:
    """From here on: no hints, no solutions, and a wrong answer stays what it is.

    For assignments. It keeps solutions from being shown by accident; whoever looks into the files
    of the package finds them.
    """
    global _graded
    _graded = on


def exercise(name: str) -> Callable[[Answer], Answer]:
    """Check the decorated function, show the result, and return a function that works.

    Args:
        name: chapter and number, e.g. "1.2".

    Raises:
        KeyError: if there is no such exercise; never because of the student's answer.
    """
    asked = find(name)

    def decorate(answer: Answer) -> Answer:
        feedback = check(asked, answer)
        _display(feedback)
        return answer if feedback.state == "solved" or _graded else asked.reference

    return decorate


def check(asked: Exercise, answer: Answer) -> Feedback:
    """Try the rungs in order; the first that fails gives the message."""
    if _is_stub(answer):
        helps = f' hint("{asked.name}") helps; the cells below work without it.'
        message = "Replace the `...` by your answer." + ("" if _graded else helps)
        return Feedback(asked.name, "not attempted", message)
    expected = list(inspect.signature(asked.reference).parameters)
    given = list(inspect.signature(answer).parameters)
    if given != expected:
        message = f"Keep the arguments as they were: ({', '.join(expected)})."
        return Feedback(asked.name, "not yet", message)
    for rung in asked.rungs:
        try:
            message = rung(answer) or ""
        except Exception as error:  # whatever a student's function does is feedback, not a crash
            message = f"Your function stopped with {type(error).__name__}: {error}."
        if message:
            return Feedback(asked.name, "not yet", message)
    return Feedback(asked.name, "solved", asked.why)


def hint(name: str) -> None:
    """Print the next of the exercise's three hints; after the third they start again.

    After `graded()` it only says that hints are off.
    """
    asked = find(name)
    if _graded:
        print("Hints are off in this assignment.")
        return
    shown = _hints_shown.get(name, 0) % 3
    _hints_shown[name] = shown + 1
    print(f"Hint {shown + 1} of 3: {asked.hints[shown]}")


def solution(name: str) -> None:
    """Print the reference answer and why it works; after `graded()` only that it is off."""
    asked = find(name)
    if _graded:
        print("Solutions are off in this assignment.")
        return
    source = textwrap.dedent(inspect.getsource(asked.reference))
    print(f"{source}\n# {asked.why}")


def find(name: str) -> Exercise:
    """The exercise of that name.

    Raises:
        KeyError: if there is none, with the names that exist in its chapter.
    """
    chapter, _, number = name.partition(".")
    if not (chapter.isdecimal() and number.isdecimal()):
        raise KeyError(f"{name!r} is no exercise; expected chapter and number, e.g. '1.2'")
    module = f"ncourse.exercises.chapter{int(chapter):02d}"
    try:
        exercises: Iterable[Exercise] = importlib.import_module(module).EXERCISES
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise KeyError(f"chapter {chapter} has no exercises") from error
    by_name = {entry.name: entry for entry in exercises}
    if name not in by_name:
        raise KeyError(f"there is no exercise {name}; chapter {chapter} has {', '.join(by_name)}")
    return by_name[name]


def wrong_kind(value: Any, shape: tuple[int, ...]) -> str | None:
    """What is wrong with a value that should be a tensor of this shape; None if nothing is.

    Rungs begin with it, so that a wrong type or shape is named before anything is computed.
    """
    if value is None:
        return "Your function returns None. Is the `return` missing?"
    if not isinstance(value, Tensor):
        return f"Your function returns a {type(value).__name__}; a torch tensor is needed."
    if value.shape != shape:
        return f"Your result is {tuple(value.shape)}; expected {shape}."
    if not torch.isfinite(value).all():
        return "Your result contains NaN or infinity."
    return None


def wrong_number(value: Any) -> str | None:
    """What is wrong with a value that should be a single number; None if nothing is."""
    if value is None:
        return "Your function returns None. Is the `return` missing?"
    if isinstance(value, Tensor) and value.numel() != 1:
        return f"Your function returns {tuple(value.shape)} numbers; one is needed."
    try:
        number = float(value)
    except (TypeError, ValueError):
        return f"Your function returns a {type(value).__name__}; a number is needed."
    return None if math.isfinite(number) else f"Your result is {number}."


def _code(text: str) -> str:
    """Words between backticks as HTML code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", text)


def _is_stub(answer: Answer) -> bool:
    """Whether the body does nothing: `...`, `pass`, or a docstring alone."""
    code = getattr(answer, "__code__", None)
    if code is None:
        return False
    does = [step.opname for step in dis.get_instructions(code)]
    idle = {"RESUME", "NOP", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST"}
    return set(does) <= idle and _returns_none(code)


def _returns_none(code: Any) -> bool:
    last = [step for step in dis.get_instructions(code) if step.opname != "NOP"]
    constants = [s.argval for s in last if s.opname in ("LOAD_CONST", "RETURN_CONST")]
    return constants == [None]


def _display(feedback: Feedback) -> None:
    from IPython.core.getipython import get_ipython
    from IPython.display import display

    if get_ipython() is None:
        print(feedback)
    else:
        display(feedback)
