"""Exercises of chapter 0, start here: three small ones, to learn how exercises work."""

from ncourse.exercises.checks import Exercise, Mistake
from ncourse.exercises.draws import integer, labels, normal, uniform

IMPORTS = """
from dataclasses import replace
from importlib.metadata import version
import numpy as np
import torch
from torch import nn
from ncourse.data import digits
from ncourse.models import Classifier, seeded
from ncourse.training import fit, log_schedule
"""


# 0.1 ----------------------------------------------------------------------------------------------
def error(logits, labels):
    """The share of samples whose largest logit is not at their label."""
    return (logits.argmax(1) != labels).double().mean().item()


def _accuracy(logits, labels):
    return (logits.argmax(1) == labels).double().mean().item()


def _count(logits, labels):
    return (logits.argmax(1) != labels).sum().item()


def _over_samples(logits, labels):
    return (logits.argmax(0) != labels[: logits.shape[1]]).double().mean().item()


def _votes(generator):
    for counts in ((3, 2, 4), (11, 6), (1, 3, 2, 7, 4)):
        # Far below zero in one case: what counts is which logit is largest.
        shift = 4.0 if len(counts) == 2 else -1.0
        of_class = labels(generator, counts)
        yield normal(generator, len(of_class), len(counts)) - shift, of_class
    logits = normal(generator, 9, 3)
    yield logits, logits.argmax(1)
    yield logits, logits.argmin(1)


# 0.2 ----------------------------------------------------------------------------------------------
def holds(measured, control, least):
    """Whether the measurement reaches `least` and the control does not."""
    return bool(measured >= least > control)


def _measured_alone(measured, control, least):
    return bool(measured >= least)


def _both(measured, control, least):
    return bool(measured >= least and control >= least)


def _larger(measured, control, least):
    return bool(measured > control)


def _outcomes(generator):
    for _ in range(2):
        least, step = uniform(generator, 5, 30), uniform(generator, 0.05, 0.5)
        above, below = least + step, least - step
        yield above, below, least
        yield least, below, least
        yield above, least, least
        yield least, least, least
        yield above + 3 * step, above, least
        yield above, above + step, least
        yield below, below - step, least
        yield below, above, least
        yield below - step, below, least
        yield above + 20 * step, least + 2 * step, least
        yield -above, below, least
        yield least - 1e-9, below, least


# 0.3 ----------------------------------------------------------------------------------------------
def spread(points):
    """Mean squared distance of the points to their mean."""
    return (points - points.mean(0)).square().sum(1).mean().item()


def _per_coordinate(points):
    return (points - points.mean(0)).square().mean().item()


def _about_zero(points):
    return points.square().sum(1).mean().item()


def _distance(points):
    return (points - points.mean(0)).norm(dim=1).mean().item()


def _points(generator):
    for count, dim in ((4, 2), (integer(generator, 6, 20), 3), (9, 2)):
        yield (uniform(generator, 0.2, 3) * normal(generator, count, dim) + 2,)
    yield (normal(generator, 1, 2),)


EXERCISES = (
    Exercise(
        "0.1",
        2,
        error,
        _votes,
        (
            Mistake(
                _accuracy,
                "That is the accuracy. The error counts the samples that are *not* right.",
            ),
            Mistake(
                _count,
                "That is a number of samples. Divide by N, so that it lies between 0 and 1.",
            ),
            Mistake(
                _over_samples,
                "Your `argmax` runs over samples. The logits are (N, K): take it along axis 1, "
                "over classes.",
            ),
        ),
        (
            "Which class does the network say for a row of logits? The one with the largest.",
            "`logits.argmax(1)` is (N,). Compare it with the labels.",
            "`(logits.argmax(1) != labels)` is True where it is wrong; take the mean as floats.",
        ),
        "The error is the share of wrong samples. It is 0 early in training, and then training "
        "goes on.",
    ),
    Exercise(
        "0.2",
        3,
        holds,
        _outcomes,
        (
            Mistake(
                _measured_alone,
                "You let the claim hold although the control gets there too. Then whatever was "
                "switched off in it is not the reason.",
            ),
            Mistake(
                _both,
                "You ask the control to reach the number as well. It is the run that has to fail.",
            ),
            Mistake(
                _larger,
                "You let the claim hold where the measurement is above the control and below what "
                "the claim says. It has to reach the number that it names.",
            ),
        ),
        (
            "Two things have to be true at once.",
            "One is about `measured` and `least`. What must be true of `control` and `least`?",
            "The measurement reaches `least`, the control stays below it.",
        ),
        "A number that the control reaches too says nothing about the cause.",
    ),
    Exercise(
        "0.3",
        1,
        spread,
        _points,
        (
            Mistake(
                _per_coordinate,
                "You average over coordinates too. Add up the squares of one point's coordinates "
                "(that is its squared distance), then average over points.",
            ),
            Mistake(
                _about_zero,
                "You measure from the origin. Subtract the mean of the points first.",
            ),
            Mistake(
                _distance,
                "You average distances. Square them first: it is the *squared* distance.",
            ),
        ),
        (
            "What is the point that they are spread around?",
            "Subtract `points.mean(0)`; the squared distance of one point is a sum of two squares.",
            "`(points - points.mean(0)).square().sum(1)` is (n,); take its mean.",
        ),
        "NC1, which you will meet in chapter 2, is this number within classes, in units of the "
        "spread between them.",
    ),
)
