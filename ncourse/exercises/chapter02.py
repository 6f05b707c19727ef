"""Exercises of chapter 2, four definitions."""

import math

import torch

from ncourse.exercises.checks import Exercise, Mistake
from ncourse.exercises.draws import integer, normal, uniform
from ncourse.simplex import simplex_etf

IMPORTS = """
import numpy as np
import torch
from ncourse.data import digits
from ncourse.metrics import CONVENTIONS, measure, principal_angles
from ncourse.papers import tirer2023
from ncourse.simplex import simplex_etf
"""


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
def uneven_lengths(class_means):
    """Centre the means; the standard deviation of their lengths (K - 1) over the mean length."""
    lengths = (class_means - class_means.mean(0)).norm(dim=1)
    return (lengths.std() / lengths.mean()).item()


def _as_they_are(class_means):
    lengths = class_means.norm(dim=1)
    return (lengths.std() / lengths.mean()).item()


def _over_k(class_means):
    lengths = (class_means - class_means.mean(0)).norm(dim=1)
    return (lengths.std(correction=0) / lengths.mean()).item()


def _variance(class_means):
    lengths = (class_means - class_means.mean(0)).norm(dim=1)
    return (lengths.var() / lengths.mean()).item()


def _at_their_size(class_means):
    return (class_means - class_means.mean(0)).norm(dim=1).std().item()


def _of_coordinates(class_means):
    centred = class_means - class_means.mean(0)
    return (centred.std() / centred.norm(dim=1).mean()).item()


def _lengths(generator):
    for count, dim in ((3, 5), (integer(generator, 4, 7), 2), (8, 3), (5, 1)):
        yield (uniform(generator, 0.1, 6) * normal(generator, count, dim) + 3,)
    yield (simplex_etf(4, 6, generator=generator, dtype=torch.float64) - 1,)


# 2.3 ----------------------------------------------------------------------------------------------
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


# 2.4 ----------------------------------------------------------------------------------------------
def four_names(within, between, num_classes):
    """Through the pseudo-inverse, the same over K, and two ratios of traces."""
    inverse = (within @ torch.linalg.pinv(between)).trace().item()
    spread, apart = within.trace().item(), between.trace().item()
    return inverse, inverse / num_classes, spread / apart, spread / (spread + apart)


def _traces_alone(within, between, num_classes):
    first = (within.trace() / between.trace()).item()
    return first, first / num_classes, first, first / (1 + first)


def _over_the_dimension(within, between, num_classes):
    first, _, third, fourth = four_names(within, between, num_classes)
    return first, first / len(within), third, fourth


def _total_is_between(within, between, num_classes):
    first, second, third, _ = four_names(within, between, num_classes)
    return first, second, third, third


def _share_between(within, between, num_classes):
    first, second, third, fourth = four_names(within, between, num_classes)
    return first, second, third, 1 - fourth


def _upside_down(within, between, num_classes):
    first = (between @ torch.linalg.pinv(within, hermitian=True)).trace().item()
    third = (between.trace() / within.trace()).item()
    return first, first / num_classes, third, third / (1 + third)


def _covariances(generator):
    for count, dim in ((3, 2), (integer(generator, 4, 7), 8), (2, 3)):
        means = normal(generator, count, dim)
        centred = means - means.mean(0)
        noise = uniform(generator, 0.2, 3) * normal(generator, 5 * count, dim)
        yield noise.T @ noise / len(noise), centred.T @ centred / count, count


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
            "M has rows μ_k − μ_G, and μ_G is the mean of the class means.",
            "tensor.norm() of a matrix is its Frobenius norm, one number.",
            "(weight / weight.norm() - centred / centred.norm()).square().sum().item()",
        ),
        "Both matrices are points on one sphere, and NC3 is the squared distance of these two "
        "points: 0 if W is a positive multiple of M, 2 at a right angle, 4 if they are opposite.",
    ),
    Exercise(
        "2.2",
        1,
        uneven_lengths,
        _lengths,
        (
            Mistake(
                _as_they_are,
                "You take the lengths of the class means as they are. Move all features by one "
                "vector and your number changes; subtract the global mean first.",
            ),
            Mistake(
                _over_k,
                "Your standard deviation divides by K. torch's own .std() divides by K − 1, and so "
                "does the number that the exercise asks for.",
            ),
            Mistake(
                _variance,
                "You divide the variance by the mean. That has a unit: double all features and it "
                "doubles. Take the standard deviation, .std().",
            ),
            Mistake(
                _at_their_size,
                "Double all features and your number doubles, although the means are as even as "
                "before. Divide by the mean length.",
            ),
            Mistake(
                _of_coordinates,
                "You take the standard deviation of all coordinates. First one length for each "
                "class, .norm(dim=1); then the standard deviation of these K numbers.",
            ),
        ),
        (
            "Subtract the mean of the class means; then one length for each row.",
            "centred.norm(dim=1) are the K lengths.",
            "(lengths.std() / lengths.mean()).item()",
        ),
        "It has no unit, so it can be compared between networks: 0 if all means are equally far "
        "from their centre, whatever their angles are. That is nc2_equinorm of a report.",
    ),
    Exercise(
        "2.3",
        2,
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
        "2.4",
        3,
        four_names,
        _covariances,
        (
            Mistake(
                _traces_alone,
                "You divide traces in the first two as well. The trace of a product with a "
                "pseudo-inverse is another number: (within @ torch.linalg.pinv(between)).trace().",
            ),
            Mistake(
                _over_the_dimension,
                "You divide the second by the number of features. Zhu et al. divide by K, the "
                "number of classes.",
            ),
            Mistake(
                _total_is_between,
                "The last one divides by the trace of Σ_T, which is that of Σ_W + Σ_B; you divide "
                "by that of Σ_B.",
            ),
            Mistake(
                _share_between,
                "The last of yours is the share *between* classes. NC1 asks for what is within.",
            ),
            Mistake(
                _upside_down,
                "You have within and between the wrong way round: yours grow as classes collapse.",
            ),
        ),
        (
            "The first: torch.linalg.pinv, a product, a trace.",
            "The last: both traces are at hand, and that of Σ_T is their sum.",
            "spread / (spread + apart), with the two traces.",
        ),
        "Two families: the second follows from the first, the fourth from the third, by arithmetic "
        "alone. From one family to the other there is no such way.",
    ),
)
