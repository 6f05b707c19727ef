"""References with one step changed are refused, by every exercise."""

import copy
import importlib
import pkgutil
import re
from dataclasses import replace

import pytest
from reference_mutants import mutants, unchanged

import ncourse.exercises as exercises
from ncourse.exercises.agreement import alike
from ncourse.exercises.checks import Exercise, check

pytestmark = pytest.mark.filterwarnings("ignore")  # mutants do what nobody would

ALL = [
    asked
    for module in pkgutil.iter_modules(exercises.__path__)
    if module.name.startswith("chapter")
    for asked in importlib.import_module(f"ncourse.exercises.{module.name}").EXERCISES
]

NUMBER_OR_TENSOR = "a number may come as a tensor of one number, and the other way round"
DTYPE = "only the dtype comes from that argument"
SCALE = "the factor cancels in the ratio"
NEVER_BELOW = "the left side is never smaller there"
STRICT = "both lists have the same length on all legal inputs"
SLOPE = "the slope needs one of two factors centred, whichever"

THE_SAME: dict[str, dict[str, str]] = {
    "*": {
        r"\.item\(\): not called$": NUMBER_OR_TENSOR,
        r"int\(.*labels\.max\(\)\): its argument 0$": NUMBER_OR_TENSOR,
        r"float\(buffers.*: its argument 0$": NUMBER_OR_TENSOR,
        r"\.sum\(\)\): its argument 0$": NUMBER_OR_TENSOR,
        r"return None: nothing$": "nothing is None",
        r"zip\(.*: without strict$": STRICT,
        r"True: not$": STRICT,
    },
    "0.2": {r"bool\(.*: its argument 0$": "a comparison of numbers is a bool already"},
    "1.2": {
        r"without keepdim$": "the matrix is symmetric, and all rows are equally long",
        r"1: -1$": "the matrix is symmetric: a norm along 0 is one along 1",
        r"True: not$": "the matrix is symmetric, and all rows are equally long",
        r"value: rows in another order$": "any simplex is right",
        r"value: negative$": "any simplex is right",
        r"value: turned$": "any simplex is right",
    },
    "1.5": {
        r"torch\.stack.*: without dim$": "all e_i first, then all −e_i: right too",
        r"1: -1$": "all e_i first, then all −e_i: right too",
        r"value: negative$": "any such vectors are right",
        r"value: rows in another order$": "any such vectors are right",
    },
    "2.3": {
        r"class_means\.mean\(0\)": "W Mᵀ is the centring for the means as they are, too",
        r"value: (1 % more|0\.1 % less)$": "any positive multiple is right",
    },
    "3.2": {r"error == 0: LtE$": NEVER_BELOW},
    "3.4": {r"error == 0: LtE$": NEVER_BELOW},
    "3.6": {r"torch\.stack\(measured\): its argument 0$": "a list of numbers is as good"},
    "4.2": {r">= 1: Gt$": "the formula gives 0 there"},
    "4.3": {
        r"features: targets$": "as many rows, and the same dtype",
        r"without dtype$": "float32 ones and zeros are exact",
    },
    "4.5": {
        r"labels: features$": "as many rows",
    },
    "5.1": {r">= 1: Gt$": "the formula gives 1/2 there"},
    "5.2": {r"solved\.status == 0: [LG]tE$": "other codes mean that it found nothing: .x is None"},
    "5.3": {
        r"low: whole number$": "a wider bracket costs a question at most",
        r"> tolerance: GtE$": "half of the tolerance is left either way",
        r"line 9: (low: high|high: low)$": "either end is within the tolerance",
    },
    "5.4": {r"data: first$": DTYPE},
    "5.5": {r"solved\.status == 0: LtE$": "there is no negative code"},
    "6.3": {r"weight_decay == 0: LtE$": NEVER_BELOW},
    "7.3": {
        r"without dtype$": "float32 ones and zeros are exact",
        r"line 6: activations: (targets|weight)$": DTYPE,
    },
    "7.5": {r"line 3: inner: outer$": "as many rows"},
    "7.6": {
        r"outer\.T @ outer / len\(outer\): (Mult|left alone)$": SCALE,
        r"len\(outer\): hard-coded$": SCALE,
        r"line 3: outer: weight$": SCALE,
    },
    "8.1": {r"layers_per_block == 1: LtE$": NEVER_BELOW},
    "8.2": {
        r"line 4: 100: ": "bisection is at the last digit by then",
        r"line 3: ": "a wider bracket is a bracket, too",
        r"< right: LtE$": "the same number after a hundred halvings",
    },
    "8.4": {
        r"as_tensor\(.*: without dtype$": "float32 logarithms are close enough",
        r"line 5: [xy](\.mean\(\)| - [xy]\.mean\(\)): ": SLOPE,
    },
    "9.1": {r"cosine_similarity\(.*: without dim$": "1 is its default"},
    "9.4": {
        r"range\(1, .*: without argument 0$": "the step from the last to the first is never taken",
        r"line 5: 1: -1$": "the step from the last to the first is never taken",
        r"low < target <= high: LtE$": "a level that is met exactly was crossed one step before",
        r"line 5: buffers: accuracies$": STRICT,
        r"buffers: sorted$": "they are increasing",
    },
    "9.5": {r"accuracy\[j:\]: whole$": "above the diagonal there are zeros"},
    "10.3": {r"\.double\(\): not called$": "torch adds truth values to floats as 0 and 1"},
    "10.4": {r"penalty == '\w+': [LG]tE$": "the three words in alphabetical order"},
    "11.5": {
        r"line 3: (len\(weight\): hard-coded|weight: \w+)$": "longer: zeros that nobody reads",
    },
    "12.1": {
        r"\.to\(features\)": DTYPE,
        r"features: labels$": DTYPE,
        r"labels: features$": "as many rows",
    },
    "12.2": {
        r"1: \+1$": "a class without samples has a mean that nobody uses",
        r"labels: features$": "features are larger than labels: means that nobody uses",
    },
}


def reason(asked: Exercise, what: str) -> str | None:
    """Why this mutant does the same as the reference wherever the exercise may be called."""
    for where in (asked.name, "*"):
        for pattern, why in THE_SAME.get(where, {}).items():
            if re.search(pattern, what):
                return why
    return None


def changes_nothing(asked: Exercise, make) -> bool:
    """Whether a changed value is the reference's on six draws: `max(x, 0)` of what is positive."""
    mutant = make()
    return all(
        alike(asked.reference(*copy.deepcopy(case)), mutant(*case))
        for seed in range(6)
        for case in asked.drawn(seed)
    )


@pytest.mark.parametrize("asked", ALL, ids=lambda asked: asked.name)
def test_mutants_of_the_reference_are_refused(asked: Exercise) -> None:
    # Which mistake it is does not matter here, and costs time.
    plain = replace(asked, mistakes=())
    assert check(plain, unchanged(asked)).state == "solved"
    made = list(mutants(asked))
    solved = [(what, make) for what, make in made if check(plain, make()).state == "solved"]
    assert len(made) >= 30
    for what, make in solved:
        if what.startswith("value: ") and not reason(asked, what):
            assert changes_nothing(asked, make), what
        else:
            assert reason(asked, what), what


def test_every_reason_is_needed() -> None:
    """A pattern that no surviving mutant matches is left over."""
    left = {(where, pattern) for where, patterns in THE_SAME.items() for pattern in patterns}
    for asked in ALL:
        plain = replace(asked, mistakes=())
        for what, make in mutants(asked):
            mine = {(w, p) for w, p in left if w in ("*", asked.name) and re.search(p, what)}
            if mine and check(plain, make()).state == "solved":
                left -= mine
    assert not left
