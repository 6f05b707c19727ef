"""Exercises of chapter 2, four definitions."""

import math

import torch

from ncourse.exercises.checks import Exercise, Mistake
from ncourse.exercises.draws import clouds, integer, normal, uniform
from ncourse.simplex import simplex_etf

IMPORTS = """
import numpy as np
import torch
from ncourse.data import digits
from ncourse.metrics import CONVENTIONS, CollapseMetric, capture, hyperspherical_uniformity, measure
from ncourse.metrics import one_vs_rest_margin, principal_angles
from ncourse.models import resnet18
from ncourse.papers import tirer2022
from ncourse.simplex import simplex_etf
"""


def _means(features, labels):
    return torch.stack([features[labels == k].mean(0) for k in range(int(labels.max()) + 1)])


# 2.1 ----------------------------------------------------------------------------------------------
def self_duality(weight, class_means):
    """Centre the means, bring both matrices to Frobenius norm 1, square their distance."""
    centred = class_means - class_means.mean(0)
    return (weight / weight.norm() - centred / centred.norm()).square().sum().item()


def _not_centred(weight, class_means):
    return (weight / weight.norm() - class_means / class_means.norm()).square().sum().item()


def _not_scaled(weight, class_means):
    return (weight - (class_means - class_means.mean(0))).square().sum().item()


def _not_squared(weight, class_means):
    return math.sqrt(self_duality(weight, class_means))


def _row_by_row(weight, class_means):
    centred = class_means - class_means.mean(0)
    rows = weight / weight.norm(dim=1, keepdim=True)
    return (rows - centred / centred.norm(dim=1, keepdim=True)).square().sum().item()


def _classifiers(generator):
    for count, dim in ((3, 5), (integer(generator, 4, 7), 4), (2, 3)):
        means = uniform(generator, 0.5, 4) * normal(generator, count, dim) + 3
        yield uniform(generator, 0.2, 5) * normal(generator, count, dim), means
    centred = means - means.mean(0)
    yield 7 * centred, means
    yield -centred, means
    yield centred + 0.1 * normal(generator, count, dim), means


# 2.2 ----------------------------------------------------------------------------------------------
def weighted_between(features, labels):
    """Class means around the mean of all samples, each weighted with its share n_c/N."""
    shares = labels.bincount().to(features) / len(labels)
    means = torch.stack([features[labels == k].mean(0) for k in range(len(shares))])
    centred = means - features.mean(0)
    return (shares[:, None] * centred).T @ centred


def _uniform(features, labels):
    means = _means(features, labels)
    centred = means - means.mean(0)
    return centred.T @ centred / len(means)


def _mean_of_means(features, labels):
    means = _means(features, labels)
    centred = means - means.mean(0)
    return (labels.bincount()[:, None] / len(labels) * centred).T @ centred


def _counts_not_shares(features, labels):
    return weighted_between(features, labels) * len(labels)


def _uniform_weights(features, labels):
    centred = _means(features, labels) - features.mean(0)
    return centred.T @ centred / len(centred)


def _uneven_clouds(generator):
    for counts, dim in (((12, 20, 28), 5), ((3, 9), 2), ((7, 2, 5, 11), 3)):
        yield clouds(generator, counts, dim, spread=uniform(generator, 0.3, 2))


# 2.3 ----------------------------------------------------------------------------------------------
def careful_variance(features, labels):
    """Subtract each sample's class mean, then square: tr S_W without cancellation."""
    means = torch.stack([features[labels == k].mean(0) for k in range(int(labels.max()) + 1)])
    return (features - means[labels]).square().sum(1).mean().item()


def _one_pass(features, labels):
    means = _means(features, labels)
    return (features.square().sum(1).mean() - means[labels].square().sum(1).mean()).item()


def _one_pass_in_double(features, labels):
    return _one_pass(features.double(), labels)


def _one_mean_for_all(features, labels):
    return (features - features.mean(0)).square().sum(1).mean().item()


def _per_coordinate(features, labels):
    return (features - _means(features, labels)[labels]).square().mean().item()


def _clouds_and_tight_ones(generator):
    yield from _uneven_clouds(generator)
    for dtype, spread in ((torch.float32, 1e-4), (torch.float64, 1e-9)):
        counts = (integer(generator, 8, 15), 20, 6)
        features, labels = clouds(generator, counts, 4, spread=spread)
        yield features.to(dtype), labels


def _digits_left(value, wanted, arguments):
    """To 5 % where the cloud is so tight that the dtype leaves no more."""
    features, labels = arguments
    truth = careful_variance(features.double(), labels)
    tight = truth < 1e-6
    if abs(value - truth) <= (0.05 if tight else 1e-5) * truth:
        return True
    if not tight:
        return False
    return (
        f"Right where the spread is wide. For a tight cloud far from zero you get {value:.3g} "
        f"instead of {truth:.3g}. Subtract before you square, not after."
    )


# 2.4 ----------------------------------------------------------------------------------------------
def deceptive_classifier(class_means):
    """The pseudo-inverse of the centred means, transposed: W M^T is the centring I - J/K."""
    return torch.linalg.pinv(class_means - class_means.mean(0)).T


def _parallel(class_means):
    return class_means - class_means.mean(0)


def _a_simplex(class_means):
    generator = torch.Generator().manual_seed(0)
    return simplex_etf(*class_means.shape, generator=generator, dtype=class_means.dtype)


def _not_transposed(class_means):
    return torch.linalg.pinv(class_means - class_means.mean(0))


def _zeros(class_means):
    return torch.zeros_like(class_means)


def _deceives(weight, wanted, arguments):
    """Any W with W M^T along I - J/K that is not parallel to M."""
    (means,) = arguments
    count, centred = len(means), means - means.mean(0)
    product = weight @ centred.T
    target = torch.eye(count, dtype=torch.float64) - 1 / count
    error = (product / product.norm() - target / math.sqrt(count - 1)).norm().item()
    if not error <= 1e-5:
        return (
            f"The structure error of your W is {error:.2g}. W Mᵀ must be a positive multiple of "
            "I − J/K for *these* means; which matrix undoes Mᵀ?"
        )
    if not self_duality(weight, means) >= 1e-6:
        return "The structure error is 0, but your W is parallel to M: nobody is deceived."
    return True


def _uneven_means(generator):
    for count, dim in ((4, 7), (3, 5), (5, 5)):
        means = 3 + normal(generator, count, dim)
        means[0] *= 2
        yield (means,)
    yield (0.05 * means,)
    # Dependent as they are: only the centred means have rank K - 1.
    yield (torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 1, 0]], dtype=torch.float64),)


# 2.5 ----------------------------------------------------------------------------------------------
def merge(count_a, mean_a, squares_a, count_b, mean_b, squares_b):
    """Counts add, means average by count, and squares gain what the two means differ by."""
    count = count_a + count_b
    mean = (count_a * mean_a + count_b * mean_b) / count
    apart = (mean_a - mean_b).square().sum()
    return count, mean, squares_a + squares_b + count_a * count_b / count * apart


def _squares_only_add(count_a, mean_a, squares_a, count_b, mean_b, squares_b):
    count, mean, _ = merge(count_a, mean_a, squares_a, count_b, mean_b, squares_b)
    return count, mean, squares_a + squares_b


def _mean_of_two(count_a, mean_a, squares_a, count_b, mean_b, squares_b):
    count, _, squares = merge(count_a, mean_a, squares_a, count_b, mean_b, squares_b)
    return count, (mean_a + mean_b) / 2, squares


def _count_too_often(count_a, mean_a, squares_a, count_b, mean_b, squares_b):
    count, mean, _ = merge(count_a, mean_a, squares_a, count_b, mean_b, squares_b)
    return count, mean, squares_a + squares_b + count * (mean_a - mean_b).square().sum()


def _batches(generator):
    for count_a, count_b, dim in ((10, 50, 5), (59, 1, 5), (1, 1, 2), (7, 12, 1)):
        statistics = []
        for count in (count_a + integer(generator, 0, 3), count_b):
            squares = 0.0 if count == 1 else uniform(generator, 1, 9)
            mean = 3 * normal(generator, dim)
            statistics += [count, mean, torch.tensor(squares, dtype=torch.float64)]
        yield tuple(statistics)
        # Far from zero: squares of all coordinates would have no digits left.
        yield count_a, mean + 1e7, statistics[2], count_b, mean + 1e7 + 1, statistics[5]


EXERCISES = (
    Exercise(
        "2.1",
        1,
        self_duality,
        _classifiers,
        (
            Mistake(
                _not_centred,
                "You compare W with the class means as they are. Move all features by one vector "
                "and your number changes; M has the global mean subtracted.",
            ),
            Mistake(
                _not_scaled,
                "You compare the matrices at their own sizes. Double W and your number changes, "
                "although no decision does. Divide each by its Frobenius norm.",
            ),
            Mistake(
                _not_squared,
                "That is the distance. Papyan, Han and Donoho square it.",
            ),
            Mistake(
                _row_by_row,
                "You normalise each row by itself, which hides uneven lengths. Divide the whole "
                "matrix by one number, its Frobenius norm.",
            ),
        ),
        (
            "M has rows μ_k − μ_G. With equal classes μ_G is the mean of the class means.",
            "tensor.norm() of a matrix is its Frobenius norm, one number.",
            "(weight / weight.norm() - centred / centred.norm()).square().sum().item()",
        ),
        "Both matrices are points on one sphere, and NC3 is the squared distance of these two "
        "points: 0 if W is a positive multiple of M, 2 at a right angle, 4 if they are opposite.",
    ),
    Exercise(
        "2.2",
        2,
        weighted_between,
        _uneven_clouds,
        (
            Mistake(
                _uniform,
                "That is Papyan's Σ_B: the mean of class means as centre, every class with weight "
                "1/K. Here classes have different numbers of samples.",
            ),
            Mistake(
                _mean_of_means,
                "The weights are right, the centre is not: it is the mean of all samples, "
                "features.mean(0), not the mean of the class means.",
            ),
            Mistake(
                _counts_not_shares,
                "You weight with the counts n_c. The shares n_c/N sum to one.",
            ),
            Mistake(
                _uniform_weights,
                "The centre is right, the weights are not: a class counts as much as it has "
                "samples, n_c/N, not 1/K.",
            ),
        ),
        (
            "Two choices differ from Papyan's: the centre, and how much a class counts.",
            "features.mean(0) is the centre; labels.bincount() / len(labels) are the weights.",
            "(shares[:, None] * centred).T @ centred",
        ),
        "With these two choices, and only with both, Σ_T = Σ_W + Σ_B: that is what lets "
        "tr Σ_W / tr Σ_T be a share between 0 and 1.",
    ),
    Exercise(
        "2.3",
        3,
        careful_variance,
        _clouds_and_tight_ones,
        (
            Mistake(
                _one_pass,
                "Right where the spread is wide. A tight cloud far from zero has no digits left "
                "after its large squares are subtracted. Subtract before you square, not after.",
            ),
            Mistake(
                _one_pass_in_double,
                "Right where the spread is wide, and in double precision for tighter clouds than "
                "before. More digits only move the cliff. Subtract before you square, not after.",
            ),
            Mistake(
                _one_mean_for_all,
                "You measure around the mean of all samples: that is tr Σ_T. Each sample's own "
                "class mean is what to subtract.",
            ),
            Mistake(
                _per_coordinate,
                "You average over coordinates too. A trace is a sum over them: "
                ".square().sum(1).mean().",
            ),
        ),
        (
            "E‖h‖² − ‖μ‖² subtracts two large numbers to get a small one. Avoid that subtraction.",
            "means[labels] is (N, d): each sample's own class mean.",
            "(features - means[labels]).square().sum(1).mean().item()",
        ),
        "Subtracting two nearby numbers is exact or nearly so; what was lost was lost in squaring "
        "large ones first. So centre first, and square what is left.",
        agreement=_digits_left,
    ),
    Exercise(
        "2.4",
        4,
        deceptive_classifier,
        _uneven_means,
        (
            Mistake(
                _parallel,
                "Your W is parallel to M: that is self-duality, NC3 = 0, and uneven means make its "
                "structure error positive. Wanted is the opposite.",
            ),
            Mistake(
                _a_simplex,
                "Your W is a simplex, whatever the means are. W Mᵀ must be a multiple of I − J/K "
                "for *these* means; which matrix undoes Mᵀ?",
            ),
            Mistake(
                _not_transposed,
                "A pseudo-inverse has the shape of the transpose, (d, K). Turn it over.",
            ),
            Mistake(
                _zeros,
                "Zero has no direction, so its structure error is 0/0. W Mᵀ must be a positive "
                "multiple of I − J/K.",
            ),
        ),
        (
            "The structure error looks only at W Mᵀ. Which W turns Mᵀ into a multiple of I − J/K?",
            "For M of rank K − 1 whose rows sum to zero, M M⁺ is I − J/K.",
            "torch.linalg.pinv(class_means - class_means.mean(0)).T",
        ),
        "M M⁺ projects onto the column space of M, and that is everything orthogonal to the "
        "all-ones vector: I − J/K, for any means of rank K − 1. So W = (M⁺)ᵀ passes, parallel to "
        "M or not.",
        agreement=_deceives,
    ),
    Exercise(
        "2.5",
        5,
        merge,
        _batches,
        (
            Mistake(
                _squares_only_add,
                "Your squares are still measured around each batch's own mean. Around the common "
                "mean they are larger, the more the further the two means are apart.",
            ),
            Mistake(
                _mean_of_two,
                "Your mean is off for batches of different sizes. A sample weighs the same in "
                "whichever batch it came.",
            ),
            Mistake(
                _count_too_often,
                "What must be added to the squares is n_a n_b / (n_a + n_b) times the squared "
                "distance of the means; you add n_a + n_b times.",
            ),
        ),
        (
            "Around the common mean, batch a's squares grow by n_a ‖μ_a − μ‖², and b's likewise.",
            "μ_a − μ = n_b / (n_a + n_b) · (μ_a − μ_b). Insert it in both and add.",
            "squares_a + squares_b + count_a * count_b / (count_a + count_b) * apart, with apart "
            "the squared distance of the two means.",
        ),
        "No sample is needed twice and nothing large is squared: this formula of Chan, Golub and "
        "LeVeque is how streams and processes are merged.",
    ),
)
