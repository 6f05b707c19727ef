"""Exercises that check themselves, name the mistake, and never block the next cell.

```python
@exercise("1.1")
def equidistant(num_classes): ...
```

shows *not attempted*, *not yet* with the message for that mistake, or *solved* with why it works.
The decorated name is then the student's function if it passed, and the reference if it did not, so
every later cell works.
"""

from __future__ import annotations

import importlib
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ncourse.exercises.answers import find_answers, judge

if TYPE_CHECKING:
    from ncourse.exercises.checks import Answer, Exercise, Feedback, Mistake, check, find

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
]


def __getattr__(name: str) -> Any:
    """What needs PyTorch is loaded when it is asked for."""
    if name in __all__:
        return getattr(importlib.import_module("ncourse.exercises.checks"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


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

    In a notebook the answer is read from its cell and run as `ncourse grade` will run it, without
    what other cells define.

    Args:
        name: chapter and number, e.g. "1.2".

    Raises:
        KeyError: if there is no such exercise; never because of the student's answer.
    """
    from ncourse.exercises.checks import find

    asked = find(name)

    def decorate(answer: Answer) -> Answer:
        feedback = _judged(asked, answer)
        if feedback.state == "not attempted" and not _graded:
            helps = f' hint("{name}") helps; the cells below work without it.'
            feedback = replace(feedback, message=feedback.message + helps)
        _display(feedback)
        return answer if feedback.state == "solved" or _graded else asked.reference

    return decorate


def _judged(asked: Exercise, answer: Answer) -> Feedback:
    """Judge the answer in the cell that is being run; outside a notebook the function itself."""
    from ncourse.exercises.checks import Feedback, check

    cell = _running_cell()
    if cell is None:
        return check(asked, answer)
    found = find_answers([cell], {asked.name: asked.reference.__name__}).get(asked.name)
    if found is None:  # the decorator was called from somewhere else
        return check(asked, answer)
    if found.problem:
        return Feedback(asked.name, "not yet", found.problem)
    return judge(asked.name, found.source)


def _running_cell() -> str | None:
    """The source of the notebook cell that is being run; None outside a notebook."""
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    history = getattr(shell, "history_manager", None)
    return history.input_hist_raw[-1] if history and history.input_hist_raw[-1] else None


def hint(name: str) -> None:
    """Print the next of the exercise's three hints; after the third they start again.

    After `graded()` it only says that hints are off.
    """
    from ncourse.exercises.checks import find

    asked = find(name)
    if _graded:
        print("Hints are off in this assignment.")
        return
    shown = _hints_shown.get(name, 0) % 3
    _hints_shown[name] = shown + 1
    print(f"Hint {shown + 1} of 3: {asked.hints[shown]}")


def solution(name: str) -> None:
    """Print the reference answer and why it works; after `graded()` only that it is off."""
    from ncourse.exercises.checks import find

    asked = find(name)
    if _graded or "v" in name:
        print("Solutions are off in this assignment.")
        return
    source = textwrap.dedent(inspect.getsource(asked.reference))
    print(f"{source}\n# {asked.why}")


def _display(feedback: Feedback) -> None:
    from IPython.core.getipython import get_ipython
    from IPython.display import display

    if get_ipython() is None:
        print(feedback)
    else:
        display(feedback)
