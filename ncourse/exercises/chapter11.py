"""Exercises of chapter 11, Words: stubs, one for each objective."""

from ncourse.exercises.checks import Exercise, Mistake
from ncourse.exercises.draws import clouds, integer

IMPORTS = """
import math
import torch
from ncourse.papers import wu2024
"""


def _classes(generator):
    """Draw what an answer is tried with: sizes, numbers of samples, values on each boundary."""
    for counts, dim in (((5, 3), 2), ((integer(generator, 4, 9), 2, 7), 3)):
        yield clouds(generator, counts, dim)


def _points(generator):
    for points, _ in _classes(generator):
        yield (points,)


# 11.1 ---------------------------------------------------------------------------------------------
def total(points):
    """The sum of squared distances of the points to their mean."""
    return (points - points.mean(0)).square().sum().item()


def _about_zero(points):
    return points.square().sum().item()


def _average(points):
    return total(points) / len(points)


# 11.2 ---------------------------------------------------------------------------------------------
def within(points, labels):
    """The sum of squared distances of the points to the mean of their class."""
    return sum(total(points[labels == k]) for k in labels.unique())


def _of_all(points, labels):
    return total(points)


def _of_one(points, labels):
    return total(points[labels == 0])


# 11.3 ---------------------------------------------------------------------------------------------
def explained(points, labels):
    """The share of `total` that is not `within`."""
    return 1 - within(points, labels) / total(points)


def _the_rest(points, labels):
    return within(points, labels) / total(points)


def _ratio(points, labels):
    return total(points) / within(points, labels) - 1


EXERCISES = (
    Exercise(
        "11.1",
        1,
        total,
        _points,
        (
            Mistake(
                _about_zero,
                "You measure from the origin. Subtract the mean of the points first.",
            ),
            Mistake(_average, "You divide by the number of points. Only add up."),
        ),
        (
            "A nudge: what is it that the points are spread around?",
            "More: subtract `points.mean(0)` and square.",
            "Nearly the answer: `(points - points.mean(0)).square().sum()`.",
        ),
        "Why the answer works, in a sentence.",
    ),
    Exercise(
        "11.2",
        2,
        within,
        _classes,
        (
            Mistake(
                _of_all,
                "You measure from the mean of all points. Each class has a mean of its own.",
            ),
            Mistake(_of_one, "You have the class of label 0 alone. Add up all classes."),
        ),
        (
            "A nudge: you have solved this for one class.",
            "More: the points of class k are `points[labels == k]`.",
            "Nearly the answer: add up the total of each class.",
        ),
        "Why the answer works, in a sentence.",
    ),
    Exercise(
        "11.3",
        3,
        explained,
        _classes,
        (
            Mistake(_the_rest, "That is the share within classes. What is left of the whole?"),
            Mistake(_ratio, "You divide by what is within classes. Divide by the total."),
        ),
        (
            "A nudge: what is not within classes is between them.",
            "More: divide what is within by the total.",
            "Nearly the answer: 1 minus that.",
        ),
        "Why the answer works, in a sentence.",
    ),
)
