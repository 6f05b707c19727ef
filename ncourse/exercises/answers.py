"""Answers as they stand in a notebook: found, run and judged in one way for all who ask.

The decorator in a cell, `ncourse progress` and `ncourse grade` take this one road, so that they
agree. What is run is the answer's own cell: its imports and functions, after the chapter's imports
and the chapter's earlier exercises. Nothing from another cell is there.

Finding needs no PyTorch: `ncourse progress` is quick where nothing has been attempted.
"""

from __future__ import annotations
import __future__ as future

import ast
import contextlib
import importlib
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ncourse.exercises.checks import Answer, Feedback

__all__ = ["Found", "find_answers", "function_of", "judge"]

RUN_AS_PYTHON = {"time", "timeit", "capture", "prun", "memray_flamegraph", "mprun", "lprun"}
"""Cell magics that run the rest of their cell as Python."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Found:
    """An answer in a notebook.

    Attributes:
        source: what to run: the cell's imports and other functions, then the answer without its
            exercise decorator; empty if there is a problem.
        problem: why there is nothing to run, in a sentence; empty if there is.
    """

    source: str
    problem: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether the answer's body is `...`, `pass` or a docstring."""
        if self.problem:
            return False
        body = ast.parse(self.source).body[-1].body  # type: ignore[attr-defined]
        return all(
            isinstance(node, ast.Pass)
            or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
            for node in body
        )


def find_answers(cells: Iterable[str], names: Mapping[str, str]) -> dict[str, Found]:
    """The answers among the code cells of a notebook; nothing is run.

    An answer is a function under its decorator, however that is spelt, or with the exercise's
    function name, at the top of a cell or under an `if`, a `with` or a `try`. The last one counts;
    an empty stub only if nothing else is there, and a cell that does not parse likewise.

    Args:
        cells: source of each cell, in order; magics are understood.
        names: exercise -> name of the function that it asks for.
    """
    by_function = {function: exercise for exercise, function in names.items()}
    spelt = {"exercise"}
    whole: dict[str, Found] = {}
    broken: dict[str, Found] = {}
    for cell in cells:
        source = _python(cell)
        if source is None:
            continue
        tree, problem = _parsed(source)
        if tree is None:
            for exercise in _mentioned(source, names):
                broken[exercise] = Found("", problem)
            # A cell that does not parse: its functions may still, one by one.
            parts = [part for part in _chunks(source) if part != source]
        else:
            parts = [source]
        for part in parts:
            tree, _ = _parsed(part)
            if tree is None:
                continue
            spelt |= _aliases(tree)
            for exercise, found in _in(part, tree, by_function, spelt):
                if exercise in names and not (found.is_empty and exercise in whole):
                    whole[exercise] = found
                    broken.pop(exercise, None)
    empty = {name: found for name, found in whole.items() if found.is_empty}
    return broken | whole | {name: found for name, found in broken.items() if name in empty}


def judge(exercise: str, source: str, *, seeds: Sequence[int] = (0,)) -> Feedback:
    """Run an answer's source by itself and check it with each seed in turn.

    Args:
        exercise: its name.
        source: as `Found.source`; the answer is its last function.
        seeds: of the cases. After the first, the message says that the answer was right before.

    Raises:
        KeyError: if there is no such exercise; never because of the student's answer.
    """
    from ncourse.exercises.checks import Feedback, check, find

    asked = find(exercise)
    try:
        answer = function_of(exercise, source)
    except (Exception, SystemExit) as error:  # a default or a decorator may fail
        message = f"Your answer stopped before it was called: {type(error).__name__}: {error}."
        return Feedback(exercise, "not yet", message + _alone(message))
    for seed in seeds:
        feedback = check(asked, answer, seed=seed)
        if feedback.state != "solved":
            break
    message = feedback.message + (_alone(feedback.message) if feedback.state == "not yet" else "")
    if feedback.state == "not yet" and seed != seeds[0]:
        message = f"Right on the notebook's data, and not on other data: {message}"
    return Feedback(
        exercise,
        feedback.state,
        message,
        feedback.mistake,
        feedback.passed,
        feedback.steps,
    )


def _alone(message: str) -> str:
    if "NameError" not in message:
        return ""
    return (
        " Only the answer's own cell is run, after the chapter's imports: what other cells define "
        "or import is not there. Put it into the function or its cell."
    )


def function_of(exercise: str, source: str) -> Answer:
    """The function that an answer's source defines, with the chapter's imports at hand.

    The chapter's earlier exercises are at hand too, under the names of their functions.
    """
    from ncourse.exercises.checks import chapter_of

    chapter = chapter_of(exercise)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(chapter.IMPORTS, namespace)  # ours
    for other in chapter.EXERCISES:
        if other.name == exercise:
            break
        namespace[other.reference.__name__] = other.reference
    # Annotations name what need not be imported; they are not evaluated.
    flags = future.annotations.compiler_flag
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # e.g. about an escape in a student's string
        exec(compile(source, f"<exercise {exercise}>", "exec", flags), namespace)
        return namespace[ast.parse(source).body[-1].name]  # type: ignore[attr-defined]


def _python(cell: str) -> str | None:
    """The Python of a cell without its cell magic; None if it is in another language."""
    source = cell.removeprefix("\ufeff")
    while magic := re.match(r"\s*%%(\w+)[^\n]*(?:\n|$)", source):
        if magic[1] not in RUN_AS_PYTHON:
            return None
        source = source[magic.end() :]
    return source


def _parsed(source: str) -> tuple[ast.Module | None, str]:
    """The syntax tree of a cell, which may have lines that only a notebook understands."""
    problem = ""
    for text in (source, None):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return ast.parse(_transformed(source) if text is None else text), ""
        except SyntaxError as error:
            problem = f"The cell has a syntax error in line {error.lineno}: {error.msg}."
        except (ValueError, RecursionError, MemoryError) as error:
            problem = f"The cell cannot be read as Python: {error}."
    return None, problem


def _transformed(source: str) -> str:
    """The cell with its line magics as calls; lines keep their numbers."""
    inputs = importlib.import_module("IPython.core.inputtransformer2")
    return inputs.TransformerManager().transform_cell(source)


def _chunks(source: str) -> list[str]:
    """A cell cut before each line that starts a decorated or plain function."""
    parts: list[list[str]] = [[]]
    for line in source.splitlines():
        new = line.startswith(("@", "def ")) and not (parts[-1] and parts[-1][-1].startswith("@"))
        if new:
            parts.append([])
        parts[-1].append(line)
    return ["\n".join(part) for part in parts if part]


def _mentioned(source: str, names: Mapping[str, str]) -> Iterator[str]:
    """The exercises that a cell seems to answer, as text."""
    for exercise, function in names.items():
        asked = rf"exercise\s*\(\s*['\"]{re.escape(exercise)}['\"]"
        if re.search(asked, source) or re.search(rf"\bdef\s+{function}\b", source):
            yield exercise


def _aliases(tree: ast.Module) -> set[str]:
    """Other names that a cell gives to the decorator."""
    return {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "ncourse.exercises"
        for alias in node.names
        if alias.name == "exercise" and alias.asname
    }


def _in(
    source: str, tree: ast.Module, by_function: Mapping[str, str], spelt: set[str]
) -> Iterator[tuple[str, Found]]:
    """The answers in a cell, and the exercises that it answers in a way that cannot be found."""
    lines = _transformed(source) if _needs_transforming(source) else source
    functions = list(_functions(tree.body))
    used: set[int] = set()
    for function in functions:
        # A decorator with an exercise's name is ours, whatever it is called in another cell.
        decorators = [(node, _asked(node)) for node in function.decorator_list]
        used |= {id(node) for node, exercise in decorators if exercise}
        decorated = next((exercise for _, exercise in decorators if exercise), None)
        exercise = decorated or by_function.get(function.name)
        if exercise is None:
            continue
        if isinstance(function, ast.AsyncFunctionDef):
            yield exercise, Found("", "The answer is an `async` function: write `def`.")
            continue
        keep = [node for node, name in decorators if not name]
        own = [_text(lines, node) for node in tree.body if _helps(node, function)]
        parts = [*own, *(f"@{ast.unparse(node)}" for node in keep), _text(lines, function)]
        yield exercise, Found("\n".join(parts))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and id(node) not in used:
            exercise = _asked(node)
            if exercise and _name(node) in spelt:
                yield (
                    exercise,
                    Found("", f'Write the answer as a function under `@exercise("{exercise}")`.'),
                )


def _needs_transforming(source: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(source)
    except SyntaxError:
        return True
    return False


def _functions(body: Sequence[ast.stmt]) -> Iterator[Function]:
    """The functions of a cell that are defined when it runs, under an `if` or a `with` too."""
    for node in body:
        if isinstance(node, Function):
            yield node
        elif isinstance(node, ast.If | ast.With | ast.Try | ast.For | ast.While):
            for part in ("body", "orelse", "finalbody"):
                yield from _functions(getattr(node, part, []))


def _helps(node: ast.stmt, answer: ast.stmt) -> bool:
    """Whether a statement of the answer's cell belongs to it: imports and other plain functions."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return getattr(node, "module", None) != "ncourse.exercises"
    return isinstance(node, ast.FunctionDef) and node is not answer and not node.decorator_list


def _name(call: ast.Call) -> str | None:
    """The last part of what is called: "exercise" for `ex.exercise(...)`."""
    return getattr(call.func, "id", None) or getattr(call.func, "attr", None)


def _asked(node: ast.AST) -> str | None:
    """The exercise that a call names: "5.1" for `exercise("5.1")`."""
    if not isinstance(node, ast.Call):
        return None
    given = [*node.args, *(word.value for word in node.keywords if word.arg == "name")]
    if len(given) != 1 or not isinstance(given[0], ast.Constant):
        return None
    value = given[0].value
    return value if isinstance(value, str) and re.fullmatch(r"\d+\.\d+(v\d+)?", value) else None


def _text(source: str, node: ast.stmt) -> str:
    """A statement as it was written, moved to the left edge; without a function's decorators."""
    text = ast.get_source_segment(source, node) or ast.unparse(node)
    first, _, rest = text.partition("\n")
    dedented = f"{first}\n{_indented(rest, node)}" if rest else first
    with contextlib.suppress(SyntaxError):
        ast.parse(dedented)
        return dedented
    bare = ast.parse(ast.unparse(node)).body[0]
    if isinstance(bare, Function):
        bare.decorator_list = []
    return ast.unparse(bare)


def _indented(rest: str, node: ast.stmt) -> str:
    """The lines after the first, as far to the left as the statement itself stood."""
    margin = " " * node.col_offset
    return "\n".join(line.removeprefix(margin) for line in rest.splitlines())
