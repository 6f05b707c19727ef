"""Exercises of chapter 4, why collapse."""

import math

import torch

from ncourse.exercises.checks import Exercise, Mistake
from ncourse.exercises.draws import integer, labels, log_uniform, normal, uniform

IMPORTS = """
import math
from dataclasses import replace
import numpy as np
import torch
from ncourse.data import digits
from ncourse.papers import fang2021, han2022, zhu2021
from ncourse.simplex import cosine_matrix, off_diagonal
from ncourse.ufm import UFM, Point, critical_point, curvature, minority_cosine, nonnegative_margins
from ncourse.ufm import objective, optimum, plane, random_point, solve, solve_layer_peeled
"""


# 4.1 ----------------------------------------------------------------------------------------------
def vanishing_penalty(num_classes, samples_per_class):
    """K c = 1 with c = sqrt(n) lambda: from this lambda on everything is zero."""
    return 1 / (num_classes * math.sqrt(samples_per_class))


def _no_root(num_classes, samples_per_class):
    return 1 / (num_classes * samples_per_class)


def _no_samples(num_classes, samples_per_class):
    return 1 / num_classes


def _no_classes(num_classes, samples_per_class):
    return 1 / math.sqrt(samples_per_class)


def _sizes(generator):
    for samples in (9, 1, integer(generator, 2, 50), integer(generator, 100, 900)):
        yield integer(generator, 2, 20), samples


# 4.2 ----------------------------------------------------------------------------------------------
def margin(num_classes, samples_per_class, lambda_w, lambda_h):
    """Zero of 1/(e^a + K - 1) = c, with a = 0 where no positive a solves it."""
    c = math.sqrt(samples_per_class * lambda_w * lambda_h)
    if num_classes * c >= 1:
        return 0.0
    return math.log(1 / c - num_classes + 1)


def _margin_without_n(num_classes, samples_per_class, lambda_w, lambda_h):
    return margin(num_classes, 1, lambda_w, lambda_h)


def _margin_missing_one(num_classes, samples_per_class, lambda_w, lambda_h):
    c = math.sqrt(samples_per_class * lambda_w * lambda_h)
    return math.log(1 / c - num_classes) if (1 + num_classes) * c < 1 else 0.0


def _margin_unclipped(num_classes, samples_per_class, lambda_w, lambda_h):
    c = math.sqrt(samples_per_class * lambda_w * lambda_h)
    return math.log(1 / c - num_classes + 1)


def _margin_base_ten(num_classes, samples_per_class, lambda_w, lambda_h):
    return margin(num_classes, samples_per_class, lambda_w, lambda_h) / math.log(10)


def _slope(features, labels, weight):
    targets = torch.nn.functional.one_hot(labels, len(weight))
    return (torch.softmax(features @ weight.T, dim=1) - targets) / len(labels)


def _penalties(generator):
    for count, samples in ((4, 10), (integer(generator, 2, 9), 1), (3, integer(generator, 20, 50))):
        # c is so many times 1/K: a positive margin, one near zero, none, and none by far.
        for part in (uniform(generator, 0.01, 0.5), 0.99, 1.02, 9.0):
            first = log_uniform(generator, 1e-2, 1)
            yield count, samples, first, (part / count) ** 2 / (samples * first)
    yield 4, 4, 0.125, 0.125  # K c is exactly 1


# 4.3 ----------------------------------------------------------------------------------------------
def best_classifier(features, targets, penalty):
    """Ridge regression with a constant feature 1, so that the bias is penalised like W."""
    extended = torch.cat([features, torch.ones(len(features), 1, dtype=features.dtype)], dim=1)
    moment = extended.T @ extended / len(features)
    moment = moment + penalty * torch.eye(len(moment), dtype=features.dtype)
    best = torch.linalg.solve(moment, extended.T @ targets / len(features)).T
    return best[:, :-1], best[:, -1]


def _solved(features, targets, penalty, *, bias_penalty, samples):
    extended = torch.cat([features, torch.ones(len(features), 1, dtype=features.dtype)], dim=1)
    diagonal = penalty * torch.ones(extended.shape[1], dtype=features.dtype)
    diagonal[-1] = bias_penalty
    moment = extended.T @ extended / samples + torch.diag(diagonal)
    best = torch.linalg.solve(moment, extended.T @ targets / samples).T
    return best[:, :-1], best[:, -1]


def _free_bias(features, targets, penalty):
    return _solved(features, targets, penalty, bias_penalty=0.0, samples=len(features))


def _sum_of_squares(features, targets, penalty):
    return _solved(features, targets, penalty, bias_penalty=penalty, samples=1)


def _without_bias(features, targets, penalty):
    moment = features.T @ features / len(features)
    moment = moment + penalty * torch.eye(len(moment), dtype=features.dtype)
    weight = torch.linalg.solve(moment, features.T @ targets / len(features)).T
    return weight, torch.zeros(targets.shape[1], dtype=features.dtype)


def _without_penalty(features, targets, penalty):
    return _solved(features, targets, 0.0, bias_penalty=0.0, samples=len(features))


def _regressions(generator):
    for counts, dim in (((4, 4, 4), 5), ((2, 9), 3), ((1, 5, 3, 8), 4)):
        of_class = labels(generator, counts)
        features = normal(generator, len(of_class), dim) + 1
        yield (
            features,
            torch.eye(len(counts), dtype=torch.float64)[of_class],
            uniform(generator, 0.05, 1),
        )


# 4.4 ----------------------------------------------------------------------------------------------
def margin_bound(weight, k, shares):
    """A mean over the other classes is no less than their minimum; then the best h in [0, 1]^d."""
    return (weight[k] - shares @ weight).clamp(min=0).sum().item()


def _all_entries(weight, k, shares):
    return (weight[k] - shares @ weight).sum().item()


def _absolute_entries(weight, k, shares):
    return (weight[k] - shares @ weight).abs().sum().item()


def _evenly_shared(weight, k, shares):
    return margin_bound(weight, k, torch.full_like(shares, 1 / len(shares)))


def _turned_round(weight, k, shares):
    return (shares @ weight - weight[k]).clamp(min=0).sum().item()


def _cut_too_early(weight, k, shares):
    return (weight[k].clamp(min=0) - shares @ weight.clamp(min=0)).clamp(min=0).sum().item()


def _as_a_length(weight, k, shares):
    return (weight[k] - shares @ weight).clamp(min=0).norm().item()


def _shared(generator):
    for count, dim in ((4, 6), (3, 2), (6, 10)):
        for _ in range(2):
            k = integer(generator, 0, count - 1)
            shares = torch.rand(count, generator=generator, dtype=torch.float64)
            shares[k] = 0
            if count > 4:
                shares[(k + 1) % count] = 0
            yield normal(generator, count, dim), k, shares / shares.sum()
    weight = normal(generator, 3, 4)
    weight[0] = 0.3 * weight[1] + 0.7 * weight[2] - 0.1  # out of reach
    yield weight, 0, torch.tensor([0.0, 0.3, 0.7], dtype=torch.float64)


# 4.5 ----------------------------------------------------------------------------------------------
def least_curvature(features, labels, weight, penalty):
    """The least eigenvalue, lambda - ||G||_2, into a spare dimension, lambda_w = lambda_h."""
    targets = torch.nn.functional.one_hot(labels, len(weight))
    slope = (torch.softmax(features @ weight.T, dim=1) - targets) / len(labels)
    return penalty - torch.linalg.matrix_norm(slope, 2).item()


def _by_frobenius(features, labels, weight, penalty):
    return penalty - _slope(features, labels, weight).norm().item()


def _not_divided(features, labels, weight, penalty):
    slope = _slope(features, labels, weight) * len(labels)
    return penalty - torch.linalg.matrix_norm(slope, 2).item()


def _by_smallest(features, labels, weight, penalty):
    return penalty - torch.linalg.svdvals(_slope(features, labels, weight)).min().item()


def _only_norm(features, labels, weight, penalty):
    return torch.linalg.matrix_norm(_slope(features, labels, weight), 2).item()


def _places(generator):
    for counts, dim in (((4, 4, 4), 5), ((3, 7), 4), ((2, 1, 6, 4), 8)):
        of_class = labels(generator, counts)
        features = uniform(generator, 0.5, 2) * normal(generator, len(of_class), dim)
        yield features, of_class, normal(generator, len(counts), dim), uniform(generator, 0.01, 0.5)
    weight = normal(generator, len(counts), dim)
    yield 900 * features, of_class, weight, 0.1  # e^z overflows
    yield features, of_class.clamp(max=len(counts) - 2), weight, 0.1  # without the last class


EXERCISES = (
    Exercise(
        "4.1",
        2,
        vanishing_penalty,
        _sizes,
        (
            Mistake(
                _no_root,
                "1/(Kn) is what you get when n stands outside the root. In K c = 1 the n is "
                "inside: c = √(n λ_W λ_H).",
            ),
            Mistake(
                _no_samples,
                "Your answer does not depend on n. With more samples a class has more features "
                "to pay for, so it gives up at a smaller λ.",
            ),
            Mistake(
                _no_classes,
                "The condition is K c = 1, not c = 1. Where is your K?",
            ),
        ),
        (
            "Everything is zero from K c = 1 on, and c = √(n λ_W λ_H).",
            "With λ_W = λ_H = λ, c = λ √n.",
            "Solve K λ √n = 1 for λ.",
        ),
        "At the origin the fit pulls with strength 1/(K√n), the largest singular value of its "
        "gradient in the logits. A penalty that pulls harder wins.",
    ),
    Exercise(
        "4.2",
        1,
        margin,
        _penalties,
        (
            Mistake(
                _margin_without_n,
                "You drop n: the penalty on H counts every sample's feature, and c = √(n λ_W λ_H).",
            ),
            Mistake(
                _margin_missing_one,
                "You get log(1/c − K). There are K − 1 *other* classes in the denominator of "
                "the softmax, so it is e^a + K − 1 = 1/c.",
            ),
            Mistake(
                _margin_unclipped,
                "With large penalties your logarithm is negative or does not exist: a negative "
                "margin would put the wrong class first. Once K c ≥ 1 the minimum is at 0.",
            ),
            Mistake(
                _margin_base_ten,
                "That is a logarithm to base 10. The softmax has e in it: math.log.",
            ),
        ),
        (
            "Set the derivative of log(1 + (K−1)e^{−a}) + (K−1) c a to zero.",
            "(K−1)e^{−a} / (1 + (K−1)e^{−a}) = (K−1) c; multiply above and below by e^a.",
            "e^a + K − 1 = 1/c. For K c ≥ 1 it has no positive solution: return 0.",
        ),
        "One unknown is left because the loss is convex in the logits and symmetric in the "
        "classes; its slope at zero decides whether it leaves zero at all.",
    ),
    Exercise(
        "4.3",
        4,
        best_classifier,
        _regressions,
        (
            Mistake(
                _free_bias,
                "Your bias is not penalised. In this loss it is: λ stands before ‖W‖² + ‖b‖².",
            ),
            Mistake(
                _sum_of_squares,
                "You sum over samples. The loss is a mean, so divide HᵀH and HᵀY by N; "
                "otherwise λ is N times too weak.",
            ),
            Mistake(
                _without_bias,
                "Your bias is 0. Append a constant 1 to every feature and solve for both.",
            ),
            Mistake(
                _without_penalty,
                "That is plain least squares. Add λ to the diagonal.",
            ),
        ),
        (
            "Append a constant 1 to every feature: the bias becomes one more column of W.",
            "With E the extended features, (N, d+1): solve (EᵀE/N + λI) X = EᵀY/N.",
            "X is (d+1, K): return X.T[:, :-1], X.T[:, -1].",
        ),
        "L⊥ is the squared distance to this classifier, weighted by the same matrix: what is left "
        "to gain without touching the features.",
    ),
    Exercise(
        "4.4",
        5,
        margin_bound,
        _shared,
        (
            Mistake(
                _all_entries,
                "You add up all entries of the difference. The feature chooses its entries in "
                "[0, 1]: where the difference is negative it takes 0.",
            ),
            Mistake(
                _absolute_entries,
                "You add up absolute values. That is the best of features with entries in [−1, "
                "1]; after a ReLU a negative difference is worth 0, not its size.",
            ),
            Mistake(
                _evenly_shared,
                "You average over the classes evenly. The shares say how much of each class "
                "goes into the mean: shares @ weight.",
            ),
            Mistake(
                _turned_round,
                "You measure how far the others can be preferred to class k. The other way "
                "round: w_k minus the mean of the others.",
            ),
            Mistake(
                _cut_too_early,
                "You drop negative entries of W before you subtract. A feature sees the "
                "*difference*: subtract first.",
            ),
            Mistake(
                _as_a_length,
                "You take a norm. That bounds features of length 1; here each entry may go up "
                "to 1 by itself, so the positive entries add up.",
            ),
        ),
        (
            "The least of <w_k − w_l, h> over l is at most any weighted mean of them: at most "
            "<w_k − Σ p_l w_l, h>.",
            "With v = w_k − Σ p_l w_l, which entries of h should be 1 and which 0?",
            "(weight[k] - shares @ weight).clamp(min=0).sum().item()",
        ),
        "If it is 0, class k is out of reach for every feature after a ReLU, and no training "
        "helps. With the best shares it equals `nonnegative_margins`: duality of linear "
        "programmes.",
    ),
    Exercise(
        "4.5",
        3,
        least_curvature,
        _places,
        (
            Mistake(
                _by_frobenius,
                "You use the Frobenius norm. Best is to put all of the new coordinate into "
                "*one* pair of singular vectors: the largest singular value counts.",
            ),
            Mistake(
                _not_divided,
                "The loss is a mean: G = (softmax − onehot)/N.",
            ),
            Mistake(
                _by_smallest,
                "You use the smallest singular value. The steepest way down belongs to the "
                "largest.",
            ),
            Mistake(
                _only_norm,
                "That is ‖G‖₂. The penalty works against it: λ − ‖G‖₂.",
            ),
        ),
        (
            "G = (softmax − onehot)/N, (N, K), is the gradient in the logits.",
            "Moving by u in W and v in H along a spare dimension changes the loss by "
            "vᵀG u + λ/2(‖u‖² + ‖v‖²). Which u and v of a given length make it smallest?",
            "The top pair of singular vectors, with opposite signs: "
            "penalty - torch.linalg.matrix_norm(G, 2).item().",
        ),
        "The same number decides optimality: if ‖G‖₂ ≤ λ there is no way down into a spare "
        "dimension, and the convex problem in the logits is solved.",
    ),
)
