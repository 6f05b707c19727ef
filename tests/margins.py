"""How far a claim is from failing: every comparison in it, with its numbers.

A claim is a conjunction of comparisons, written out in its second argument. `apart` reads the
functions of a paper's module, makes copies of them whose comparisons remember their two sides, and
so says of any run which comparison was how near to its threshold. Nothing about margins is typed
anywhere; the claims themselves are not touched.
"""

import ast
import inspect
import math
import re
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from types import ModuleType
from typing import Any

__all__ = ["Comparison", "apart", "margin"]

OPERATORS: dict[type[ast.cmpop], tuple[str, Callable[[Any, Any], bool]]] = {
    ast.Lt: ("<", lambda a, b: a < b),
    ast.LtE: ("<=", lambda a, b: a <= b),
    ast.Gt: (">", lambda a, b: a > b),
    ast.GtE: (">=", lambda a, b: a >= b),
    ast.Eq: ("==", lambda a, b: a == b),
}
SIGNS = dict(OPERATORS.values())

RATES = re.compile(r"accuracy|error'|cosine|anytime|'minority'|ratio\(two")
"""In what is compared: a rate, a cosine or what is left of something, at most 1."""

CONDITIONS = re.compile(r"\bnc2\b|\['head_conditioning'\]")
"""In what is compared: a condition number, at least 1."""

FIXED_NAMES = {"margin", "most", "math"}
"""Names in a claim, besides constants in capitals, that hold thresholds and nothing measured."""


@dataclass(frozen=True)
class Comparison:
    """One comparison of a claim, on one run.

    Attributes:
        claim: text of the claim.
        index: of the conjunct within the claim.
        part: of the comparison within a chain such as a <= b < c.
        source: the conjunct as it is written.
        sign: "<", "<=", ">", ">=", "==", "between", or "true" for a plain truth value.
        value: the number compared; for "between" too.
        threshold: what it is compared with: a number of the claim, or another measured one.
        fixed: whether the threshold is written in the claim.
        holds: whether the comparison does.
        margin: how far it is from failing, see `margin`; None where it is exact or about a sign.
    """

    claim: str
    index: int
    part: int
    source: str
    sign: str
    value: float
    threshold: float
    fixed: bool
    holds: bool
    margin: float | None


def margin(
    value: float, sign: str, threshold: float, *, fixed: bool = True, natural: str = ""
) -> float | None:
    """How far a comparison is from failing, as a fraction; negative if it fails.

    A number against a threshold t: their distance over |t|. Two measured numbers: their distance
    over the greater. Both are first replaced by their distances from 1 where 1 is the natural zero:
    for 0.9 <= t <= 1.5, as in "within 10 %"; for rates and cosines, which cannot exceed 1, if they
    have to be above one half or more; for two condition numbers, which cannot be below 1.

    Args:
        value: the number compared.
        sign: "<", "<=", ">", ">=", "==".
        threshold: what it is compared with.
        fixed: whether the threshold is written in the claim; else it is measured too.
        natural: "", "rate" or "condition".

    Returns:
        None for "==" and for a threshold of 0: there is no scale to measure by.

    >>> margin(30.0, ">=", 20.0)
    0.5
    >>> round(margin(0.99, ">=", 0.98), 3)  # 0.01 from 1, where 0.02 are allowed
    0.5
    >>> margin(25.0, ">", 20.0, fixed=False)
    0.2
    """
    if sign == "==" or (fixed and threshold == 0) or (natural == "rate" and threshold == 1):
        return None
    distance = value - threshold if sign in (">", ">=") else threshold - value
    if math.isnan(distance):
        return -math.inf
    least = value if sign in ("<", "<=") and not fixed else threshold
    upper = sign in (">", ">=") or not fixed
    from_one = not (fixed and threshold == 1) and (
        (natural == "condition" and not fixed)
        or (natural == "rate" and upper and least >= 0.5)
        or (fixed and 0.9 <= threshold <= 1.5)
    )
    sides = [threshold] if fixed else [value, threshold]
    scale = max(abs(side - from_one) for side in sides)
    return distance / scale if scale else 0.0


@contextmanager
def apart(module: ModuleType) -> Iterator[list[list[Comparison]]]:
    """While it is open, the module's claims remember their comparisons.

    Args:
        module: of a paper. Its functions are replaced by copies, and come back at the end.

    Yields:
        A list that grows by one list of comparisons for each claim that is made.

    Raises:
        TypeError: for a claim whose verdict is not a conjunction of comparisons.
    """
    seen: list[list[Comparison]] = []
    before = dict(vars(module))
    tree = ast.parse(textwrap.dedent(inspect.getsource(module)))
    made = [node for node in tree.body if isinstance(node, ast.FunctionDef) and _claims(node)]
    for function in made:
        # An inner or a decorated function would be compiled with the rest; there are none.
        _Apart().visit(function)
    copies = ast.fix_missing_locations(ast.Module(made, []))  # type: ignore[arg-type]
    try:
        vars(module)["_judged"] = _judge(seen)
        exec(compile(copies, module.__file__ or "", "exec"), vars(module))
        yield seen
    finally:
        vars(module).clear()
        vars(module).update(before)


def _claims(function: ast.FunctionDef) -> bool:
    return any(_is_claim(node) for node in ast.walk(function))


def _is_claim(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Claim"


class _Apart(ast.NodeTransformer):
    """`Claim(text, a < b and c, ...)` becomes `Claim(text, _judged(text, [...]), ...)`."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if not _is_claim(node):
            return node
        text, verdict, *_ = node.args
        parts = verdict.values if _joined(verdict, ast.And) else [verdict]  # type: ignore[attr-defined]
        conjuncts: list[ast.expr] = []
        for part in parts:
            named = [ast.Constant(ast.unparse(part)), ast.Constant(_length(part))]
            conjuncts.append(ast.Tuple([*named, _later(_sides(part))], _LOAD))
        node.args[1] = ast.Call(ast.Name("_judged", _LOAD), [text, ast.List(conjuncts, _LOAD)], [])
        return node


_LOAD = ast.Load()


def _joined(node: ast.expr, kind: type[ast.boolop]) -> bool:
    return isinstance(node, ast.BoolOp) and isinstance(node.op, kind)


def _later(node: ast.expr) -> ast.Lambda:
    nothing = ast.arguments([], [], None, [], [], None, [])
    return ast.Lambda(nothing, node)


def _sides(node: ast.expr) -> ast.expr:
    """An expression for the list of a conjunct's comparisons: lists of ways in which each holds."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "all":
        (each,) = node.args
        if isinstance(each, ast.GeneratorExp):
            inner = ast.ListComp(_sides(each.elt), each.generators)
            return ast.Call(ast.Name("sum", _LOAD), [inner, ast.List([], _LOAD)], [])
    if _joined(node, ast.Or):
        ways = [_sides(value) for value in node.values]  # type: ignore[attr-defined]
        flat = ast.List([ast.Starred(_first(way), _LOAD) for way in ways], _LOAD)
        return ast.List([flat], _LOAD)
    if isinstance(node, ast.Compare):
        return ast.List([ast.List([pair], _LOAD) for pair in _pairs(node)], _LOAD)
    if isinstance(node, ast.Subscript):  # a truth value out of a table
        sides = [node, ast.Constant("true"), ast.Constant(True), ast.Constant(True)]
        return ast.List([ast.List([ast.Tuple(sides, _LOAD)], _LOAD)], _LOAD)
    raise TypeError(
        f"{ast.unparse(node)} is no comparison: write a claim's verdict out, so that its margin "
        "can be measured"
    )


def _first(ways: ast.expr) -> ast.expr:
    return ast.Subscript(ways, ast.Constant(0), _LOAD)


def _pairs(node: ast.Compare) -> list[ast.expr]:
    """`(value, sign, threshold, fixed)` of each comparison in a chain."""
    sides = [node.left, *node.comparators]
    signs = [OPERATORS[type(op)][0] for op in node.ops]
    if len(sides) == 3 and signs[0] == signs[1] and _fixed(sides[0]) and _fixed(sides[2]):
        window = ast.Tuple([sides[0], sides[2]], _LOAD)
        parts = [sides[1], ast.Constant("between"), window, ast.Constant(True)]
        return [ast.Tuple(parts, _LOAD)]
    made: list[ast.expr] = []
    for (left, right), sign in zip(pairwise(sides), signs, strict=True):
        if _fixed(left) and not _fixed(right):
            turned = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(sign, sign)
            parts = [right, ast.Constant(turned), left, ast.Constant(True)]
        else:
            parts = [left, ast.Constant(sign), right, ast.Constant(_fixed(right))]
        made.append(ast.Tuple(parts, _LOAD))
    return made


def _fixed(node: ast.expr) -> bool:
    """Whether an expression is made of numbers, constants in capitals and margins alone."""
    names = [part.id for part in ast.walk(node) if isinstance(part, ast.Name)]
    return all(name.isupper() or name in FIXED_NAMES for name in names)


def _length(node: ast.expr) -> int:
    """How many comparisons a chain has, here or within `all`."""
    each = [part for part in ast.walk(node) if isinstance(part, ast.GeneratorExp)]
    of = each[0].elt if each and getattr(getattr(node, "func", None), "id", "") == "all" else node
    return len(_pairs(of)) if isinstance(of, ast.Compare) else 1


Side = tuple[Any, str, Any, bool]
Conjunct = tuple[str, int, Callable[[], list[list[Side]]]]


def _judge(seen: list[list[Comparison]]) -> Callable[[str, list[Conjunct]], bool]:
    def judged(text: str, conjuncts: list[Conjunct]) -> bool:
        made: list[Comparison] = []
        for index, (source, length, sides) in enumerate(conjuncts):
            try:
                found = sides()
            except (ArithmeticError, LookupError):
                # `and` would not have come so far.
                if all(one.holds for one in made):
                    raise
                continue
            for position, ways in enumerate(found):
                where = Comparison(
                    text, index, position % length, source, "", 0, 0, False, False, None
                )
                tried = [_comparison(where, *side) for side in ways]
                made.append(max(tried, key=lambda one: (one.holds, one.margin or 0.0)))
        seen.append(made)
        return all(one.holds for one in made)

    return judged


def _comparison(
    where: Comparison, value: Any, sign: str, threshold: Any, fixed: bool
) -> Comparison:
    if sign == "between":
        low, high = threshold
        least = min(value - low, high - value)
        near = low if value - low < high - value else high
        numbers = {"value": float(value), "threshold": float(near), "holds": least >= 0}
        return replace(where, sign=sign, fixed=True, margin=2 * least / (high - low), **numbers)
    if sign == "true" or isinstance(value, tuple):
        holds = value == threshold
        return replace(where, sign=sign, value=math.nan, threshold=math.nan, holds=holds)
    found = replace(
        where,
        sign=sign,
        value=float(value),
        threshold=float(threshold),
        fixed=fixed,
        holds=bool(SIGNS[sign](value, threshold)),
    )
    if isinstance(value, int):  # a count
        return found
    rate, condition = RATES.search(where.source), CONDITIONS.search(where.source)
    natural = "rate" if rate else "condition" if condition else ""
    far = margin(found.value, sign, found.threshold, fixed=fixed, natural=natural)
    return replace(found, margin=far)
