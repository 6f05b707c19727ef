"""Comparisons: which side holds, how far from failing, and how a sentence says a threshold."""

import math

import pytest

from ncourse.comparisons import (
    Said,
    above,
    at_least,
    at_most,
    below,
    between,
    equal,
    every,
    proved,
)


@pytest.mark.parametrize(
    ("make", "true", "false"),
    [
        (lambda value: at_least(2, value), (2, 3), (1.9, math.nan)),
        (lambda value: at_most(2, value), (2, 1), (2.1, math.nan)),
        (lambda value: above(2, value), (2.1,), (2, math.nan)),
        (lambda value: below(2, value), (1.9,), (2, math.nan)),
        (lambda value: at_least(0.5, value, of=4), (2, 3), (1.9, math.nan)),
        (lambda value: at_most(2, value, of=-1.0), (-2, -3), (0, math.nan)),
        (lambda value: equal(2, value), (2, 2.0), (2.1, math.nan)),
        (lambda value: between(1, 2, value), (1, 1.5, 2), (0.9, 2.1, math.nan)),
        (lambda value: every([at_least(2, value), below(9, value)]), (2, 3), (1, 9, math.nan)),
    ],
)
def test_which_side_holds(make, true, false):
    assert all(make(value).holds is True for value in true)
    assert not any(make(value).holds for value in false)


@pytest.mark.parametrize(
    ("comparison", "margin"),
    [
        (at_least(20.0, 30.0), 0.5),
        (at_least(20.0, 10.0), -0.5),
        (at_most(-0.4, -0.5), 0.25),
        (at_most(0.1, 0.01), 0.9),
        (at_most(1.2, 1.06), 0.7),  # of the 20 % that are allowed, 6 are used
        (at_most(1.0, 0.6), 0.4),  # against a bound
        (equal(0.5, 0.5), None),
        (at_least(20, 30), None),  # counts
        (below(0.0, -0.1), None),
        (above(20.0, 25.0, measured=True), 0.2),
        (above(0.9, 0.96, measured=True), 0.0625),
        (at_least(2, 25.0, of=10.0), 0.2),
        (above(0.9, 0.96, measured=True, natural="rate"), 0.6),
        (above(0.8, 0.9, natural="rate"), 0.5),
        (at_most(0.4, 0.3, natural="rate"), 0.25),
        (below(1.0, 0.9, natural="rate"), None),
        (below(1.5, 1.4, measured=True, natural="condition"), 0.2),
        (at_least(20.0, math.nan), -math.inf),
        (between(1.0, 21.0, 16.0), 0.5),
        (every([at_least(20.0, 30.0), at_least(20.0, 25.0), equal(1, 1)]), 0.25),
        (every([equal(1, 1)]), None),
    ],
)
def test_margins_by_hand(comparison, margin):
    assert comparison.margin == (None if margin is None else pytest.approx(margin))


def test_every_speaks_of_the_one_that_is_nearest_to_failing():
    assert every([at_least(20.0, 30.0), at_least(20.0, 25.0)]).value == 25.0
    assert every([at_least(20.0, 30.0), at_least(20.0, 5.0), at_least(1.0, 1.1)]).value == 5.0


def test_what_claims_nothing_is_refused():
    with pytest.raises(ValueError, match="every of no comparisons claims nothing"):
        every([])
    with pytest.raises(ValueError, match="between 2 and 1: expected the lower end first"):
        between(2, 1, 1.5)


def test_proved_changes_nothing_else():
    one = at_most(2.0, 1.0, measured=True)
    assert proved(one).proved
    assert (proved(one).holds, proved(one).margin) == (one.holds, one.margin)


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("{0}", "0.25"),
        ("{0:%}", "25 %"),
        ("{0:.}", ".25"),
        ("{0:words}", "a quarter"),
        ("{1:+%}", "20 %"),
        ("{2:e}", "1e-3"),
        ("{2}", "0.001"),
        ("{3:,}", "1,000"),
        ("{4.low:.} to {4.high:%}", ".5 to 75 %"),
        ("{5:.}", "-.8"),
        ("{6:%}", "30 %"),
    ],
)
def test_how_a_sentence_says_a_threshold(form, said):
    thresholds = (0.25, 1.2, 1e-3, 1000, (0.5, 0.75), -0.8, 0.3)
    assert form.format(*map(Said, thresholds)) == said


def test_a_threshold_without_a_word_is_refused():
    with pytest.raises(ValueError, match=r"there is no word for 0\.123"):
        f"{Said(0.123):words}"
