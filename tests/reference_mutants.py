"""Wrong answers made from right ones: references with one step of their syntax tree changed.

Each is a function that a check must refuse, unless it does the same as the reference on all that
the exercise allows. Names say what was changed, so that a list of exceptions can be read.
"""

import ast
import copy
import inspect
import math
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import torch

from ncourse.exercises.checks import Exercise

Mutant = tuple[str, Callable[[], Callable[..., Any]]]
"""What was changed, and a maker of the function: some remember their first case, so each check
needs a new one."""

COMPARISONS = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq, ast.LtE, ast.GtE),
    ast.NotEq: (ast.Eq, ast.Lt, ast.Gt),
}
OPERATIONS = {
    ast.Add: (ast.Sub, ast.Mult),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div, ast.Add),
    ast.Div: (ast.Mult,),
    ast.Pow: (ast.Mult,),
}
RENAMED = {
    "sum": ("mean", "amax"),
    "mean": ("sum", "amax"),
    "min": ("max",),
    "max": ("min",),
    "argmin": ("argmax",),
    "argmax": ("argmin",),
    "any": ("all",),
    "all": ("any",),
    "log": ("log10", "log2"),
    "sqrt": ("exp",),
    "tanh": ("sigmoid",),
    "relu": ("abs",),
    "square": ("abs",),
    "exp": ("expm1",),
}


def unchanged(asked: Exercise) -> Callable[..., Any]:
    """The reference, made from its source as the mutants are: the control."""
    source = textwrap.dedent(inspect.getsource(asked.reference))
    return _made(asked, compile(source, "<unchanged>", "exec"))


def mutants(asked: Exercise) -> Iterator[Mutant]:
    """All mutants of an exercise's reference."""
    yield from _changed(asked)
    yield from _forgetful(asked)
    yield from _wrapped(asked)


# --- one step of the syntax tree ----------------------------------------------------------------


def _changed(asked: Exercise) -> Iterator[Mutant]:
    source = textwrap.dedent(inspect.getsource(asked.reference))
    tree = ast.parse(source)
    arguments = list(inspect.signature(asked.reference).parameters)
    seen = {ast.unparse(tree)}
    for place, node in enumerate(ast.walk(tree)):
        for what, change in _steps(node, arguments):
            # Parsed anew: a copy would drag along what others have hung on shared nodes.
            changed = ast.parse(source)
            target = next(n for i, n in enumerate(ast.walk(changed)) if i == place)
            new = change(target)
            if new is not target:
                changed = _Replace(target, new).visit(changed)
            ast.fix_missing_locations(changed)
            try:
                text = ast.unparse(changed)
                code = compile(text, "<mutant>", "exec")
            except (SyntaxError, ValueError):
                continue
            if text in seen:
                continue
            seen.add(text)
            name = f"line {getattr(node, 'lineno', 0)}: {what}"
            yield name, lambda code=code: _made(asked, code)


def _made(asked: Exercise, code: Any) -> Callable[..., Any]:
    memory: dict[str, Any] = {}
    namespace = dict(vars(sys.modules[asked.reference.__module__]))
    namespace["first"] = lambda key, value: memory.setdefault(key, copy.deepcopy(value))
    exec(code, namespace)
    return namespace[asked.reference.__name__]


class _Replace(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> Any:
        return self.new if node is self.old else self.generic_visit(node)


def _steps(node: ast.AST, arguments: list[str]) -> Iterator[tuple[str, Callable]]:
    """What can be changed at a node: a name for it, and the node that takes its place."""

    def field(**values: Any) -> Callable:
        def change(target: Any) -> Any:
            for name, value in values.items():
                setattr(target, name, value)
            return target

        return change

    text = ast.unparse(node) if isinstance(node, ast.expr | ast.stmt) else ""
    text = text.splitlines()[0] if text else ""
    match node:
        case ast.Compare():
            for i, op in enumerate(node.ops):
                for other in COMPARISONS.get(type(op), ()):
                    ops = [other() if j == i else old for j, old in enumerate(node.ops)]
                    yield f"{text}: {other.__name__}", field(ops=ops)
        case ast.BinOp():
            for other in OPERATIONS.get(type(node.op), ()):
                yield f"{text}: {other.__name__}", field(op=other())
            yield f"{text}: left alone", lambda target: target.left
            yield f"{text}: right alone", lambda target: target.right
        case ast.UnaryOp():
            yield f"{text}: without its sign", lambda target: target.operand
        case ast.BoolOp():
            other = ast.Or if isinstance(node.op, ast.And) else ast.And
            yield f"{text}: {other.__name__}", field(op=other())
        case ast.Constant(value=bool()):
            yield f"{text}: not", field(value=not node.value)
        case ast.Constant(value=int()):
            yield f"{text}: +1", field(value=node.value + 1)
            yield f"{text}: -1", field(value=node.value - 1)
        case ast.Constant(value=float()):
            yield f"{text}: x2", field(value=node.value * 2 or 1.0)
        case ast.Constant(value=str()) if "\n" not in node.value and not node.value.endswith("."):
            yield f"{text}: other text", field(value=node.value + "x")
        case ast.Call():
            for keyword in node.keywords:
                rest = [k for k in node.keywords if k is not keyword]
                yield f"{text}: without {keyword.arg}", field(keywords=rest)
            for i in range(len(node.args)):
                rest = [a for j, a in enumerate(node.args) if j != i]
                yield f"{text}: without argument {i}", field(args=rest)
                yield (
                    f"{text}: its argument {i}",
                    lambda target, i=i: target.args[i],
                )
            if isinstance(node.func, ast.Attribute):
                yield f"{text}: not called", lambda target: target.func.value
                for other in RENAMED.get(node.func.attr, ()):
                    yield (
                        f"{text}: {other}",
                        lambda target, other=other: _renamed(target, other),
                    )
            elif isinstance(node.func, ast.Name):
                for other in RENAMED.get(node.func.id, ()):
                    yield f"{text}: {other}", lambda t, other=other: _renamed(t, other)
            if isinstance(node.func, ast.Name) and node.func.id == "len":
                yield f"{text}: hard-coded", _remembered(text)
        case ast.Attribute(attr="T"):
            yield f"{text}: not transposed", lambda target: target.value
        case ast.Subscript(ctx=ast.Load()):
            yield f"{text}: whole", lambda target: target.value
            if ".shape" in text:
                yield f"{text}: hard-coded", _remembered(text)
        case ast.Name(ctx=ast.Load()) if node.id in arguments:
            for other in arguments:
                if other != node.id:
                    yield f"{node.id}: {other}", field(id=other)
        case ast.If() | ast.While():
            yield f"{text}: never", field(test=ast.Constant(value=False))
            if isinstance(node, ast.If):
                yield f"{text}: always", field(test=ast.Constant(value=True))
        case ast.Assign(targets=[ast.Name()]):
            yield f"{text}: left out", lambda target: ast.Pass()
        case ast.Return():
            yield f"{text}: nothing", field(value=None)


def _renamed(target: Any, name: str) -> Any:
    if isinstance(target.func, ast.Attribute):
        target.func.attr = name
    else:
        target.func.id = name
    return target


def _remembered(key: str) -> Callable:
    def change(target: Any) -> Any:
        return ast.Call(
            func=ast.Name(id="first", ctx=ast.Load()),
            args=[ast.Constant(value=key), target],
            keywords=[],
        )

    return change


# --- arguments ignored or taken for something else ----------------------------------------------


def _forgetful(asked: Exercise) -> Iterator[Mutant]:
    names = list(inspect.signature(asked.reference).parameters)
    sample = asked.drawn(0)[0]

    def with_argument(i: int, change: Callable[[Any], Any]) -> Callable[[], Callable]:
        def make() -> Callable[..., Any]:
            memory: dict[int, Any] = {}

            def answer(*values: Any) -> Any:
                values = list(values)
                values[i] = change(memory.setdefault(0, copy.deepcopy(values[i])), values[i])
                return asked.reference(*values)

            return _signed(asked, answer)

        return make

    for i, name in enumerate(names):
        if not callable(sample[i]):
            yield f"{name}: that of the first case", with_argument(i, lambda first, now: first)
        if "labels" in name:
            yield f"{name}: sorted", with_argument(i, lambda first, now: _sorted(now))
            yield f"{name}: by turns", with_argument(i, lambda first, now: _by_turns(now))
        if isinstance(sample[i], list):
            yield f"{name}: sorted", with_argument(i, lambda first, now: sorted(now))
            yield f"{name}: without its last", with_argument(i, lambda first, now: now[:-1])
        if isinstance(sample[i], float):
            yield f"{name}: whole number", with_argument(i, lambda first, now: float(int(now)))


def _sorted(labels: Any) -> Any:
    return labels.sort().values if isinstance(labels, torch.Tensor) else sorted_array(labels)


def sorted_array(labels: Any) -> Any:
    """A NumPy array in order."""
    labels = labels.copy()
    labels.sort()
    return labels


def _by_turns(labels: Any) -> Any:
    """As if labels were 0, 1, 2, 0, 1, 2, and so on."""
    count = int(labels.max()) + 1
    turns = torch.arange(len(labels)) % count
    return turns if isinstance(labels, torch.Tensor) else turns.numpy()


def _signed(asked: Exercise, answer: Callable[..., Any]) -> Callable[..., Any]:
    """The function with the reference's signature."""
    names = ", ".join(inspect.signature(asked.reference).parameters)
    scope: dict[str, Any] = {"answer": answer}
    exec(f"def wrapped({names}):\n    return answer({names})", scope)
    return scope["wrapped"]


# --- values changed -----------------------------------------------------------------------------


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    """Change the numbers in a value."""
    if isinstance(value, tuple):
        return tuple(_each(part, change) for part in value)
    if isinstance(value, torch.Tensor | float | int) and not isinstance(value, bool):
        return change(value)
    return value


VALUES: dict[str, Callable[[Any], Any]] = {
    "zero": lambda value: 0 * value if not _infinite(value) else 0.0,
    "NaN": lambda value: value * float("nan"),
    "one": lambda value: 0 * value + 1 if not _infinite(value) else 1.0,
    "1 % more": lambda value: 1.01 * value,
    "0.1 % less": lambda value: 0.999 * value,
    "a hundredth more": lambda value: value + 0.01,
    "negative": lambda value: -value,
    "max(x, 0)": lambda value: value.clamp(min=0) if _is_tensor(value) else max(value, 0),
    "min(x, 1)": lambda value: value.clamp(max=1) if _is_tensor(value) else min(value, 1),
    "squared": lambda value: value**2,
    "rounded": lambda value: (
        torch.round(value, decimals=2) if _is_tensor(value) else _rounded(value)
    ),
}


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def _infinite(value: Any) -> bool:
    return isinstance(value, float) and math.isinf(value)


def _rounded(value: float) -> float:
    return value if _infinite(value) else round(value, 2)


def _wrapped(asked: Exercise) -> Iterator[Mutant]:
    names = list(inspect.signature(asked.reference).parameters)

    def of_value(change: Callable[[Any], Any]) -> Callable[[], Callable]:
        def answer(*values: Any) -> Any:
            return change(asked.reference(*values))

        return lambda: _signed(asked, answer)

    for what, change in VALUES.items():
        yield f"value: {what}", of_value(lambda value, change=change: _each(value, change))
    yield (
        "value: turned",
        of_value(lambda value: value.T if _is_tensor(value) and value.ndim == 2 else value),
    )
    yield (
        "value: rows in another order",
        of_value(lambda value: value.flip(0) if _is_tensor(value) and value.ndim else value),
    )
    yield "value: nothing", of_value(lambda value: None)
    yield "value: not", of_value(lambda value: not value if isinstance(value, bool) else value)

    def of_first() -> Callable[..., Any]:
        memory: dict[int, Any] = {}

        def answer(*values: Any) -> Any:
            return memory.setdefault(0, asked.reference(*values))

        return _signed(asked, answer)

    yield "value: that of the first case", of_first
    for i, name in enumerate(names):

        def given(*values: Any, i: int = i) -> Any:
            return values[i]

        yield f"value: {name}", lambda given=given: _signed(asked, given)
