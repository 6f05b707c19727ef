"""Exercises of chapter 12, measuring your own."""

import torch
from torch import nn

from ncourse.exercises.agreement import close
from ncourse.exercises.checks import Exercise, Mistake
from ncourse.exercises.draws import clouds, integer, normal, uniform

IMPORTS = """
import warnings
import numpy as np
import torch
from torch import nn
from ncourse.data import digits
from ncourse.metrics import CONVENTIONS, CollapseMetric, capture, hyperspherical_uniformity, measure
from ncourse.metrics import one_vs_rest_margin
from ncourse.models import resnet18
from ncourse.papers import tirer2023
from ncourse.simplex import simplex_etf
"""


def _means(features, labels):
    return torch.stack([features[labels == k].mean(0) for k in range(int(labels.max()) + 1)])


# 12.1 ---------------------------------------------------------------------------------------------
def weighted_between(features, labels):
    """Class means around the mean of all samples, each weighted with its share n_k/N."""
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


# 12.2 ---------------------------------------------------------------------------------------------
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


# 12.3 ---------------------------------------------------------------------------------------------
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


# 12.4 ---------------------------------------------------------------------------------------------
def last_inputs(model, inputs):
    """Evaluate all modules but the last without gradients; give the model its mode back."""
    training = model.training
    model.eval()
    with torch.no_grad():
        features = model[:-1](inputs)
    model.train(training)
    return features


def _in_its_mode(model, inputs):
    with torch.no_grad():
        return model[:-1](inputs)


def _outputs(model, inputs):
    training = model.training
    model.eval()
    with torch.no_grad():
        logits = model(inputs)
    model.train(training)
    return logits


def _left_in_evaluation(model, inputs):
    model.eval()
    with torch.no_grad():
        return model[:-1](inputs)


def _left_in_training(model, inputs):
    features = last_inputs(model, inputs)
    model.train()
    return features


def _with_a_graph(model, inputs):
    training = model.training
    model.eval()
    features = model[:-1](inputs)
    model.train(training)
    return features


def _networks(generator):
    for width, dim, count, training in ((6, 4, 9, True), (5, 3, 12, False), (7, 2, 8, True)):
        layers = nn.Linear(3, width), nn.ReLU(), nn.Dropout(0.5), nn.Linear(width, dim), nn.Tanh()
        model = nn.Sequential(*layers, nn.Linear(dim, 5)).double()
        for parameter in model.parameters():
            parameter.data = normal(generator, *parameter.shape)
        yield model.train(training), normal(generator, count, 3)


def _as_left(answer, arguments):
    """What it returned, whether every module is in its mode again, and whether there is a graph."""
    model, _ = arguments
    before = [module.training for module in model.modules()]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # so that the same mistake gives the same numbers
        value = answer(*arguments)
    left = [module.training for module in model.modules()] == before
    graph = isinstance(value, torch.Tensor) and value.requires_grad
    return (value.detach() if graph else value), left, graph


def _leaves_no_trace(value, wanted, arguments):
    if not close()(value[0], wanted[0], arguments):
        return False
    if not value[1]:
        return "The features are right, but the model is left in another mode than it came in."
    if value[2]:
        return "The features are right, but they carry a graph for gradients: use torch.no_grad()."
    return True


EXERCISES = (
    Exercise(
        "12.1",
        1,
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
                "You weight with the counts n_k. The shares n_k/N sum to one.",
            ),
            Mistake(
                _uniform_weights,
                "The centre is right, the weights are not: a class counts as much as it has "
                "samples, n_k/N, not 1/K.",
            ),
        ),
        (
            "Two choices differ from Papyan's: the centre, and how much a class counts.",
            "features.mean(0) is the centre; labels.bincount() / len(labels) are the weights.",
            "(shares[:, None] * centred).T @ centred",
        ),
        "Split each h_i − μ_G into (h_i − μ_k) + (μ_k − μ_G). Over a class the first part adds up "
        "to zero, so the cross terms do, and what is left is Σ_T = Σ_W + Σ_B. That is what lets "
        "tr Σ_W / tr Σ_T be a share between 0 and 1. Another centre or other weights break it.",
    ),
    Exercise(
        "12.2",
        2,
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
        "12.3",
        3,
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
    Exercise(
        "12.4",
        4,
        last_inputs,
        _networks,
        (
            Mistake(
                _in_its_mode,
                "You take the model in the mode in which it came. In training mode dropout sets "
                "features to zero, and two passes differ. Call model.eval() first.",
            ),
            Mistake(
                _outputs,
                "These are the logits, what comes out of the last layer. Wanted is what goes in.",
            ),
            Mistake(
                _left_in_evaluation,
                "The features are right, but the model is left in evaluation mode. Whoever goes on "
                "training it would do so without dropout.",
            ),
            Mistake(
                _left_in_training,
                "The features are right, but the model is left in training mode, also if it came "
                "in evaluation mode. Keep `model.training` before you change it.",
            ),
            Mistake(
                _with_a_graph,
                "The features are right, but they carry a graph for gradients, which keeps all "
                "layers' values in memory: use torch.no_grad().",
            ),
        ),
        (
            "An nn.Sequential can be sliced: model[:-1] is all of it but the last module.",
            "`training = model.training`, then model.eval(), and model.train(training) at the end.",
            "with torch.no_grad(): features = model[:-1](inputs)",
        ),
        "`capture` does the same with a hook, so that the model need not be an nn.Sequential, and "
        "puts the mode back even if the model raises.",
        agreement=_leaves_no_trace,
        use=_as_left,
    ),
)
