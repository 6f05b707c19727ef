"""Comparisons: a measured value beside its threshold, written once, of which claims are made."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

__all__ = [
    "Comparison",
    "Said",
    "above",
    "at_least",
    "at_most",
    "below",
    "between",
    "equal",
    "every",
    "over",
    "proved",
]

SIGNS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    ">=": ("at least", lambda value, threshold: value >= threshold),
    "<=": ("at most", lambda value, threshold: value <= threshold),
    ">": ("above", lambda value, threshold: value > threshold),
    "<": ("below", lambda value, threshold: value < threshold),
    "==": ("exactly", lambda value, threshold: value == threshold),
}

WORDS = {
    1 / 1000: "a thousandth",
    1 / 30: "a thirtieth",
    1 / 10: "a tenth",
    1 / 5: "a fifth",
    1 / 4: "a quarter",
    1 / 3: "a third",
    1 / 2: "half",
    2: "twice",
}
"""Thresholds that sentences have a word for: the format "words"."""


@dataclass(frozen=True)
class Comparison:
    """A value beside its threshold, made by `at_least`, `at_most`, `above`, `below`, `equal`, ...

    Attributes:
        value: what was measured. A whole number is a count, which has no margin.
        sign: ">=", "<=", ">", "<", "==", "between", or "every".
        threshold: what it is compared with; the two ends for "between".
        of: what the threshold is a multiple of, a measured number; None if of nothing.
        measured: whether the threshold itself was measured, as in "further than without".
        natural: "rate" for what cannot exceed 1 (an accuracy, a cosine, what is left of
            something), "condition" for what cannot be below 1 (a condition number).
        proved: whether it holds on any data; else its threshold is tuned to some.
        parts: of "every".
        name: in its claim.
    """

    value: float
    sign: str
    threshold: Any
    of: float | None = None
    measured: bool = False
    natural: str = ""
    proved: bool = False
    parts: "tuple[Comparison, ...]" = ()
    name: str = ""

    @property
    def holds(self) -> bool:
        """Whether the value is on the right side; of "every", whether all its parts are."""
        if self.parts:
            return all(part.holds for part in self.parts)
        if self.sign == "between":
            low, high = self.threshold
            return bool(low <= self.value <= high)
        return bool(SIGNS[self.sign][1](self.value, self._limit))

    @property
    def _limit(self) -> Any:
        return self.threshold if self.of is None else self.threshold * self.of

    @property
    def margin(self) -> float | None:
        """How far it is from failing, as a fraction; negative if it fails.

        A number against a threshold t: their distance over |t|. Two measured numbers: their
        distance over the greater. Both are first replaced by their distances from 1 where 1 is the
        natural zero: for 0.9 <= t <= 1.5, as in "within 10 %"; for rates that have to be above one
        half or more; for two condition numbers. "between": of half the interval. "every": the least
        of its parts.

        Returns:
            None for "==", for counts and for a threshold of 0: there is no scale to measure by.

        >>> at_least(20, 30.0).margin
        0.5
        >>> round(at_least(0.98, 0.99).margin, 3)  # 0.01 from 1, where 0.02 are allowed
        0.5
        >>> above(20.0, 25.0, measured=True).margin
        0.2
        """
        if self.parts:
            return min((m for part in self.parts if (m := part.margin) is not None), default=None)
        if self.sign == "==" or isinstance(self.value, int):
            return None
        if self.sign == "between":
            low, high = self.threshold
            return 2 * min(self.value - low, high - self.value) / (high - low)
        return _margin(self)

    def __str__(self) -> str:
        if self.parts:
            return "every one " + str(self.parts[0])
        if self.sign == "between":
            return "between {:g} and {:g}".format(*self.threshold)
        times = "" if self.of is None else f" times {self.of:.3g}"
        return f"{SIGNS[self.sign][0]} {self.threshold:g}{times}"


def at_least(
    threshold: float,
    value: float,
    *,
    of: float | None = None,
    measured: bool = False,
    natural: str = "",
) -> Comparison:
    """`value` is `threshold` or more; the options are those of `Comparison`."""
    return Comparison(value, ">=", threshold, of, measured, natural)


def at_most(
    threshold: float,
    value: float,
    *,
    of: float | None = None,
    measured: bool = False,
    natural: str = "",
) -> Comparison:
    """`value` is `threshold` or less; the options are those of `Comparison`."""
    return Comparison(value, "<=", threshold, of, measured, natural)


def above(
    threshold: float,
    value: float,
    *,
    of: float | None = None,
    measured: bool = False,
    natural: str = "",
) -> Comparison:
    """`value` is more than `threshold`; the options are those of `Comparison`."""
    return Comparison(value, ">", threshold, of, measured, natural)


def below(
    threshold: float,
    value: float,
    *,
    of: float | None = None,
    measured: bool = False,
    natural: str = "",
) -> Comparison:
    """`value` is less than `threshold`; the options are those of `Comparison`."""
    return Comparison(value, "<", threshold, of, measured, natural)


def equal(threshold: float, value: float) -> Comparison:
    """`value` is exactly `threshold`: a count, a truth value, an accuracy of 1."""
    return Comparison(value, "==", threshold)


def between(low: float, high: float, value: float) -> Comparison:
    """`value` is `low` or more and `high` or less."""
    if not low < high:
        raise ValueError(f"between {low} and {high}: expected the lower end first")
    return Comparison(value, "between", (low, high))


def every(comparisons: Iterable[Comparison]) -> Comparison:
    """All of these hold; value and threshold are those of the one that is nearest to failing.

    Raises:
        ValueError: if there are none: nothing would be claimed.
    """
    parts = tuple(comparisons)
    if not parts:
        raise ValueError("every of no comparisons claims nothing; expected at least one")
    nearest = min(
        parts, key=lambda part: (part.holds, math.inf if part.margin is None else part.margin)
    )
    return Comparison(nearest.value, "every", nearest.threshold, parts=parts)


def proved(comparison: Comparison) -> Comparison:
    """The same comparison, said to hold on any data: a bound, an identity, a closed form."""
    return replace(comparison, proved=True)


def over(value: float, base: float) -> float:
    """How many times `base` goes into `value`: inf over nothing, nan for nothing over nothing.

    >>> over(3.0, 2.0), over(3.0, 0.0), over(0.0, 0.0)
    (1.5, inf, nan)
    """
    if base == 0:
        return math.copysign(math.inf, value) if value else math.nan
    return value / base


def _margin(one: Comparison) -> float | None:
    value, threshold = float(one.value), float(one._limit)
    fixed = not one.measured and one.of is None
    if (fixed and threshold == 0) or (one.natural == "rate" and threshold == 1):
        return None
    rises = one.sign in (">", ">=")
    distance = value - threshold if rises else threshold - value
    if math.isnan(distance):
        return -math.inf
    least = threshold if rises or fixed else value
    from_one = not (fixed and threshold == 1) and (
        (one.natural == "condition" and not fixed)
        or (one.natural == "rate" and (rises or not fixed) and least >= 0.5)
        or (fixed and 0.9 <= threshold <= 1.5)
    )
    sides = [threshold] if fixed else [value, threshold]
    scale = max(abs(side - from_one) for side in sides)
    return distance / scale if scale else 0.0


class Said:
    """A threshold as a sentence says it; its formats are listed in `Claim.of`.

    >>> f"{Said(0.2):%}, {Said(1.25):+%}, {Said(0.2):words}, {Said(1e-3):e}, {Said(0.35):.}"
    '20 %, 25 %, a fifth, 1e-3, .35'
    """

    def __init__(self, threshold: Any) -> None:
        self.threshold = threshold

    @property
    def low(self) -> "Said":
        """The lower end of "between"."""
        return Said(self.threshold[0])

    @property
    def high(self) -> "Said":
        """The upper end of "between"."""
        return Said(self.threshold[1])

    def __format__(self, form: str) -> str:
        number = self.threshold
        match form:
            case "%":
                return f"{100 * number:.6g} %"
            case "+%" | "-%":  # 1.25 is "25 %" more, 0.8 "20 %" less
                return f"{100 * abs(number - 1):.6g} %"
            case "words":
                if number not in WORDS:
                    raise ValueError(f"there is no word for {number}; there are {WORDS}")
                return WORDS[number]
            case "e":  # 1e-3
                mantissa, exponent = f"{number:e}".split("e")
                return f"{float(mantissa):g}e{int(exponent)}"
            case ".":  # .35
                return f"{number:g}".replace("0.", ".", 1)
            case "":
                return f"{number:g}"
        return format(number, form)
