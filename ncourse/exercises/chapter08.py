"""Exercises of chapter 8, deeper is more collapsed."""

import math

import torch
from torch.nn.functional import cross_entropy

from ncourse.exercises.checks import Exercise, Mistake
from ncourse.exercises.draws import integer, labels, log_uniform, normal, uniform
from ncourse.papers.sukenik2025 import optimum

IMPORTS = """
import math
import numpy as np
import torch
from ncourse.papers import sukenik2025 as deep
"""


# 8.1 ----------------------------------------------------------------------------------------------
def splitting_cost(distance, depth, layers_per_block):
    """L steps of c/L: squared weights c^2/L^2 each, or 2c/L each where a step is a product."""
    step = distance / depth
    return depth * (step**2 if layers_per_block == 1 else 2 * step)


def _not_split(distance, depth, layers_per_block):
    return depth * (distance**2 if layers_per_block == 1 else 2 * distance)


def _same_for_both(distance, depth, layers_per_block):
    return distance**2 / depth


def _equal_halves(distance, depth, layers_per_block):
    return splitting_cost(distance, depth, 1) * layers_per_block


def _not_squared(distance, depth, layers_per_block):
    return distance if layers_per_block == 1 else 2 * depth * math.sqrt(distance / depth)


def _distances(generator):
    for depth in (4, integer(generator, 5, 40), 1):
        for layers in (1, 2):
            yield uniform(generator, 0.3, 5), depth, layers


# 8.2 ----------------------------------------------------------------------------------------------
def scale(num_classes, weight_decay):
    """Bisection: weight_decay * s grows in s, 1/(e^{sK/(K-1)} + K - 1) falls."""
    low, high = 0.0, 1 / (weight_decay * num_classes)
    for _ in range(100):
        middle = (low + high) / 2
        exponent = middle * num_classes / (num_classes - 1)
        right = math.exp(-exponent) / (1 + (num_classes - 1) * math.exp(-exponent))
        low, high = (middle, high) if weight_decay * middle < right else (low, middle)
    return low


def _no_ratio(num_classes, weight_decay):
    low, high = 0.0, 1 / weight_decay
    for _ in range(100):
        middle = (low + high) / 2
        right = math.exp(-middle) / (1 + (num_classes - 1) * math.exp(-middle))
        low, high = (middle, high) if weight_decay * middle < right else (low, middle)
    return low


def _decay_times_classes(num_classes, weight_decay):
    return scale(num_classes, weight_decay * num_classes)


def _no_others(num_classes, weight_decay):
    low, high = 0.0, 1 / weight_decay
    for _ in range(100):
        middle = (low + high) / 2
        right = math.exp(-middle * num_classes / (num_classes - 1))
        low, high = (middle, high) if weight_decay * middle < right else (low, middle)
    return low


def _overflows(num_classes, weight_decay):
    low, high = 0.0, 1 / weight_decay
    for _ in range(100):
        middle = (low + high) / 2
        right = 1 / (math.exp(middle * num_classes / (num_classes - 1)) + num_classes - 1)
        low, high = (middle, high) if weight_decay * middle < right else (low, middle)
    return low


def _margin_itself(num_classes, weight_decay):
    return scale(num_classes, weight_decay) * num_classes / (num_classes - 1)


def _decays(generator):
    yield from ((4, 5e-3), (2, 0.3), (3, 1e-6), (10, 1e-12), (3, 500.0))
    for count in (integer(generator, 5, 60), 2, 10):
        yield count, log_uniform(generator, 1e-6, 0.5)


# 8.3 ----------------------------------------------------------------------------------------------
def certificate(features, labels, weight, hidden_squares, weight_decay):
    """Loss of the network minus the closed-form lower bound."""
    data_loss = cross_entropy(features @ weight.T, labels)
    decay = weight_decay / 2 * (hidden_squares + weight.square().sum())
    return (data_loss + decay).item() - optimum(len(weight), weight_decay).loss


def _without_hidden(features, labels, weight, hidden_squares, weight_decay):
    return certificate(features, labels, weight, 0.0, weight_decay)


def _whole_decay(features, labels, weight, hidden_squares, weight_decay):
    extra = weight_decay / 2 * (hidden_squares + weight.square().sum()).item()
    return certificate(features, labels, weight, hidden_squares, weight_decay) + extra


def _without_classifier(features, labels, weight, hidden_squares, weight_decay):
    extra = weight_decay / 2 * weight.square().sum().item()
    return certificate(features, labels, weight, hidden_squares, weight_decay) - extra


def _loss_alone(features, labels, weight, hidden_squares, weight_decay):
    bound = optimum(len(weight), weight_decay).loss
    return certificate(features, labels, weight, hidden_squares, weight_decay) + bound


def _relative(features, labels, weight, hidden_squares, weight_decay):
    bound = optimum(len(weight), weight_decay).loss
    return certificate(features, labels, weight, hidden_squares, weight_decay) / bound


def _networks(generator):
    for counts, dim in (((4, 4, 4), 6), ((3, 8), 2), ((1, 5, 2, 6), 9)):
        of_class = labels(generator, counts)
        features = normal(generator, len(of_class), dim)
        yield (
            math.sqrt(dim) * features / features.norm(dim=1, keepdim=True),
            of_class,
            normal(generator, len(counts), dim),
            uniform(generator, 2, 30),
            log_uniform(generator, 5e-3, 0.05),
        )
    weight = normal(generator, len(counts), dim)
    yield features, of_class.clamp(max=len(counts) - 2), weight, 3.0, 0.02  # without the last class
    yield features, of_class, 400 * weight, 3.0, 1e-5  # e^z overflows


# 8.4 ----------------------------------------------------------------------------------------------
def extrapolate(depths, gaps, depth):
    """A straight line through log gap over log depth, read off at the new depth."""
    x = torch.log(torch.as_tensor(depths, dtype=torch.float64))
    y = torch.log(torch.as_tensor(gaps, dtype=torch.float64))
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    return math.exp(y.mean() + slope * (math.log(depth) - x.mean()))


def _straight(depths, gaps, depth):
    x = torch.as_tensor(depths, dtype=torch.float64)
    y = torch.as_tensor(gaps, dtype=torch.float64)
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    return (y.mean() + slope * (depth - x.mean())).item()


def _still_logarithm(depths, gaps, depth):
    return math.log(extrapolate(depths, gaps, depth))


def _two_points(depths, gaps, depth):
    return extrapolate([depths[0], depths[-1]], [gaps[0], gaps[-1]], depth)


def _half_logarithm(depths, gaps, depth):
    x = torch.as_tensor(depths, dtype=torch.float64)
    y = torch.log(torch.as_tensor(gaps, dtype=torch.float64))
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    return math.exp(y.mean() + slope * (depth - x.mean()))


def _assumed_rate(depths, gaps, depth):
    return gaps[-1] * math.sqrt(depths[-1] / depth)


def _series(generator):
    for count in (4, 3, 6):
        depths = [1 + integer(generator, 0, 1)]
        for _ in range(count - 1):
            depths.append(depths[-1] * 2 + integer(generator, 0, 3))
        slope = uniform(generator, 0.4, 1.5)
        gaps = [depth**-slope * log_uniform(generator, 0.6, 1.5) for depth in depths]
        yield depths, gaps, depths[-1] * integer(generator, 2, 6)
    yield depths, gaps, depths[1]
    yield [1, 2, 4], [1.0, 0.2, uniform(generator, 0.4, 0.6)], 8  # the gaps are not in order
    order = torch.randperm(len(depths), generator=generator).tolist()
    yield [depths[i] for i in order], [gaps[i] for i in order], 2 * max(depths)


# 8.5 ----------------------------------------------------------------------------------------------
def conflicting_pairs(inputs, labels):
    """Pairs of equal inputs with different labels."""
    same = (inputs[:, None] == inputs).all(2)
    return int((same & (labels[:, None] != labels)).sum()) // 2


def _both_ways(inputs, labels):
    return 2 * conflicting_pairs(inputs, labels)


def _all_copies(inputs, labels):
    same = (inputs[:, None] == inputs).all(2)
    return (int(same.sum()) - len(inputs)) // 2


def _in_some_coordinate(inputs, labels):
    same = (inputs[:, None] == inputs).any(2)
    return int((same & (labels[:, None] != labels)).sum()) // 2


def _copies(generator):
    for samples, dim, values, count in ((14, 2, 2, 2), (9, 1, 3, 3), (25, 3, 1, 4), (6, 4, 9, 2)):
        inputs = torch.randint(values + 1, (samples, dim), generator=generator).double()
        yield inputs, torch.randint(count, (samples,), generator=generator)
    yield inputs[:2] + torch.tensor([[0.0], [20.0]]), torch.tensor([0, 1])
    nearly = inputs[:1] + torch.tensor([[0.0], [1e-9]], dtype=torch.float64)
    yield nearly, torch.tensor([0, 1])


EXERCISES = (
    Exercise(
        "8.1",
        3,
        splitting_cost,
        _distances,
        (
            Mistake(
                _not_split,
                "Every one of your blocks moves the whole distance. Each has to move c/L.",
            ),
            Mistake(
                _equal_halves,
                "For two layers you count each as if it moved the step alone. The step is a "
                "*product* a·b = c/L; minimise a² + b².",
            ),
            Mistake(
                _same_for_both,
                "With two layers a block the step is a product a·b = c/L. What is the least a² "
                "+ b²?",
            ),
            Mistake(
                _not_squared,
                "Weight decay counts *squared* weights.",
            ),
        ),
        (
            "Each of the L blocks moves c/L. What does one block cost?",
            "One layer: the weight is c/L, its square (c/L)². Two layers: a·b = c/L.",
            "a² + b² ≥ 2ab, so two layers cost 2c/L a block: depth * 2 * distance / depth.",
        ),
        "c²/L vanishes with depth, 2c does not. That is the theorem's mechanism, and why two "
        "layers a block need a weight decay that goes to zero.",
    ),
    Exercise(
        "8.2",
        1,
        scale,
        _decays,
        (
            Mistake(
                _no_ratio,
                "You use e^s. The margin between two classes is s·K/(K−1): a simplex's vertices "
                "are further apart than s.",
            ),
            Mistake(
                _decay_times_classes,
                "Your λ is K times too large: the derivative of (λ/2)·K·s² is λKs, and the K "
                "cancels against that of the loss.",
            ),
            Mistake(
                _no_others,
                "You leave out the K − 1 in the denominator: the softmax sums over the other "
                "classes too.",
            ),
            Mistake(
                _margin_itself,
                "That is the margin s·K/(K−1); the question is for s.",
            ),
            Mistake(
                _overflows,
                "Your exponential overflows for small λ. Multiply numerator and denominator by "
                "e^{-sK/(K-1)}, or start the bracket lower.",
            ),
        ),
        (
            "λs grows with s and the right side falls, so there is exactly one crossing: bisect.",
            "The right side is below 1/K, so s is below 1/(λK).",
            "scipy.optimize.brentq(lambda s: λ*s - 1/(math.exp(s*K/(K-1)) + K - 1), 0, 1/(λ*K)), "
            "but write it with e^{-sK/(K-1)} so that nothing overflows.",
        ),
        "At s the pull of the loss on the classifier equals that of the weight decay: it is "
        "chapter 4's margin equation, with features that cannot grow.",
    ),
    Exercise(
        "8.3",
        2,
        certificate,
        _networks,
        (
            Mistake(
                _without_hidden,
                "The weights of the blocks are paid for too: add λ/2 · hidden_squares.",
            ),
            Mistake(
                _whole_decay,
                "Your weight decay is twice too large: it is λ/2 times squared weights.",
            ),
            Mistake(
                _without_classifier,
                "The classifier's own weights are part of the loss.",
            ),
            Mistake(
                _loss_alone,
                "That is the loss. Subtract the bound, `deep.optimum(K, weight_decay).loss`.",
            ),
            Mistake(
                _relative,
                "You divide by the bound; the gap is the difference.",
            ),
        ),
        (
            "The gap is the whole loss minus `optimum(K, λ).loss`.",
            "The whole loss: mean cross-entropy, plus λ/2 times all squared weights, blocks and "
            "classifier.",
            "cross_entropy(features @ weight.T, labels) + weight_decay/2 * (hidden_squares + "
            "weight.square().sum()) - optimum(len(weight), weight_decay).loss",
        ),
        "Nothing about the training enters. Whoever hands you features and weights, you can tell "
        "how much any further training could gain at most.",
    ),
    Exercise(
        "8.4",
        4,
        extrapolate,
        _series,
        (
            Mistake(
                _straight,
                "You fit a straight line to the gaps themselves: far out it predicts a negative "
                "gap, which is impossible. Fit the logarithms.",
            ),
            Mistake(
                _still_logarithm,
                "That is the logarithm of the gap: take the exponential at the end.",
            ),
            Mistake(
                _two_points,
                "You use the first and the last point only; a least-squares line uses all.",
            ),
            Mistake(
                _half_logarithm,
                "You take the logarithm of the gaps but not of the depths: that is an "
                "exponential law, and predicts far too little.",
            ),
            Mistake(
                _assumed_rate,
                "You assume a slope of −1/2. Measure it: fit the line.",
            ),
        ),
        (
            "A power law is a straight line in logarithms of both.",
            "Fit log gap = intercept + slope · log depth by least squares (np.polyfit, degree 1).",
            "math.exp(np.polyval(np.polyfit(np.log(depths), np.log(gaps), 1), math.log(depth)))",
        ),
        "A prediction made before the run can be wrong. That is what makes it worth something.",
    ),
    Exercise(
        "8.5",
        5,
        conflicting_pairs,
        _copies,
        (
            Mistake(
                _both_ways,
                "You count every pair twice, as (i, j) and as (j, i).",
            ),
            Mistake(
                _all_copies,
                "You count copies that agree about their label as well. They do no harm.",
            ),
            Mistake(
                _in_some_coordinate,
                "Your inputs are equal in *some* coordinate. A network can tell them apart: "
                "they must be equal in all.",
            ),
        ),
        (
            "Which inputs does a network have to treat alike? Those that are equal everywhere.",
            "`(inputs[:, None] == inputs).all(2)` is (N, N); compare the labels the same way.",
            "Count the entries where inputs agree and labels do not, and halve the number.",
        ),
        "With 0 the limiting optimum is collapsed. Otherwise equal inputs still share a feature at "
        "every depth, and a deep network goes to an optimum whose NC1 is not 0.",
    ),
)
