"""Exercises of chapter 10, what collapse buys."""

import math

import torch

from ncourse.exercises.agreement import Unfit
from ncourse.exercises.checks import Exercise, Mistake
from ncourse.exercises.draws import clouds, integer, normal, one_of, shuffled, uniform

IMPORTS = """
import math
import torch
from sklearn.datasets import load_wine
from ncourse.data import Dataset, digits
from ncourse.metrics import measure
from ncourse.models import hidden_layers
from ncourse.papers import ammar2024, galanti2021, hui2022, jacot2024
"""


# 10.1 ---------------------------------------------------------------------------------------------
def first_gap(train, test, factor):
    """Index of the first layer whose test spread is `factor` times its training spread; or None."""
    for layer, (on_train, on_test) in enumerate(zip(train, test, strict=True)):
        if on_test >= factor * on_train:
            return layer
    return None


def _from_one(train, test, factor):
    layer = first_gap(train, test, factor)
    return None if layer is None else layer + 1


def _last_layer(train, test, factor):
    layers = [i for i, (a, b) in enumerate(zip(train, test, strict=True)) if b >= factor * a]
    return layers[-1] if layers else None


def _more_than(train, test, factor):
    return next(
        (i for i, (a, b) in enumerate(zip(train, test, strict=True)) if b > factor * a), None
    )


def _difference(train, test, factor):
    layers = [i for i, (a, b) in enumerate(zip(train, test, strict=True)) if b - a >= factor]
    return layers[0] if layers else None


def _spreads(generator):
    for layers in (4, 6):
        train = [2.0 ** -integer(generator, 0, 9) for _ in range(layers)]
        factor = integer(generator, 2, 5) + 0.5
        where = integer(generator, 1, layers - 2)
        below = [uniform(generator, 0.3, 0.99) * factor * on for on in train]
        from_there = [*below[:where], *(1.7 * factor * on for on in train[where:])]
        yield train, from_there, factor
        exactly = [*below[:where], factor * train[where], *below[where + 1 :]]
        yield train, exactly, factor
        yield train, below, factor
        yield train, [1.01 * factor * train[0], *below[1:]], factor
        yield train, [*below[:-1], 30 * factor * train[-1]], factor
    yield [0.25, 0.5], [0.25, 0.4], 1.0
    yield [1.0, 0.5, 0.25], [1.2, 1.5, uniform(generator, 2, 3)], 2.5  # the largest ratio is later
    yield [1.0, 0.5, 0.0], [1.2, 0.6, 0.1], 2.5  # a layer that has collapsed
    yield [1.0, 0.5, 0.0], [1.2, 0.6, 0.0], 2.5  # on both sets: 0 >= 2.5 * 0


# 10.2 ---------------------------------------------------------------------------------------------
def few_shot(support, support_labels, queries):
    """Label of the nearest mean of the support samples."""
    count = int(support_labels.max()) + 1
    means = torch.stack([support[support_labels == k].mean(0) for k in range(count)])
    return torch.cdist(queries, means).argmin(1)


def _nearest_sample(support, support_labels, queries):
    return support_labels[torch.cdist(queries, support).argmin(1)]


def _largest_product(support, support_labels, queries):
    count = int(support_labels.max()) + 1
    means = torch.stack([support[support_labels == k].mean(0) for k in range(count)])
    return (queries @ means.T).argmax(1)


def _farthest(support, support_labels, queries):
    count = int(support_labels.max()) + 1
    means = torch.stack([support[support_labels == k].mean(0) for k in range(count)])
    return torch.cdist(queries, means).argmax(1)


def _episodes(generator):
    for counts, dim in (((5, 5, 5, 5), 3), ((3, 9), 2), ((4, 1, 7), 6)):
        support, of_class = clouds(generator, counts, dim, spread=1.5, offset=2.0)
        near = support[torch.randint(len(of_class), (300,), generator=generator)]
        yield support, of_class, near + 2 * normal(generator, 300, dim)


# 10.3 ---------------------------------------------------------------------------------------------
def auroc(known, unknown):
    """The chance that a known sample scores above an unknown one; ties count one half."""
    above = (known[:, None] > unknown).double() + 0.5 * (known[:, None] == unknown).double()
    return above.mean().item()


def _ties_lost(known, unknown):
    return (known[:, None] > unknown).double().mean().item()


def _upside_down(known, unknown):
    return 1 - auroc(known, unknown)


def _at_one_threshold(known, unknown):
    return (known > unknown.mean()).double().mean().item()


def _scores(generator):
    for known, unknown in ((5, 4), (3, 11), (1, 2)):
        # Tenths, so that there are ties.
        yield tuple(
            torch.randint(0, 11, (count,), generator=generator).double() / 10 + shift
            for count, shift in ((known, 0.0), (unknown, 0.0))
        )
    score = uniform(generator, 0.2, 0.8)
    near = score + torch.tensor([0.0, 1e-9, -1e-9], dtype=torch.float64)
    yield near[:2], near[2:]
    tied = torch.full((3,), uniform(generator, 0, 1), dtype=torch.float64)
    yield tied, tied[:2]
    yield normal(generator, 6) + 1, normal(generator, 3)


# 10.4 ---------------------------------------------------------------------------------------------
def whose_theorem(penalty, linear_layers, residual, mean_field):
    """Names of the papers whose setting this is, in alphabetical order."""
    names = []
    if penalty == "features":
        names.append("Hong and Ling")
    if penalty == "weights" and linear_layers >= 2:
        names.append("Jacot et al.")
    if penalty == "weights" and residual:
        names.append("Súkeník et al.")
    if penalty == "weights" and mean_field:
        names.append("Wu and Mondelli")
    return names


def _one_linear_layer(penalty, linear_layers, residual, mean_field):
    return whose_theorem(penalty, linear_layers + 1, residual, mean_field)


def _whatever_the_penalty(penalty, linear_layers, residual, mean_field):
    names = whose_theorem("weights", linear_layers, residual, mean_field)
    return ["Hong and Ling", *names] if penalty == "features" else names


def _only_the_first(penalty, linear_layers, residual, mean_field):
    return whose_theorem(penalty, linear_layers, residual, mean_field)[:1]


def _settings(generator):
    settings = [
        (penalty, layers, residual, mean_field)
        for penalty in ("features", "weights", "none")
        for layers in (1, 2, integer(generator, 3, 9))
        for residual in (False, True)
        for mean_field in (False, True)
    ]
    yield from shuffled(generator, settings)


def _names(answer, arguments):
    """The names that the function returns, in alphabetical order."""
    value = answer(*arguments)
    if value is None:
        raise Unfit("Your function returns None. Is the `return` missing?")
    if not isinstance(value, list | tuple | set | frozenset):
        raise Unfit(f"Your function returns a {type(value).__name__}; return a list of names.")
    return sorted(map(str, value))


def _are_all(value, wanted, arguments):
    return value == wanted


# 10.5 ---------------------------------------------------------------------------------------------
def bound_on_nc1(error, imbalance, largest, least, below, num_samples, num_classes):
    """The bound of chapter 6 from its ingredients; infinite where it says nothing."""
    room = math.sqrt(num_samples * (num_classes - 1) / num_classes) - error
    if room <= 0:
        return math.inf
    return largest**2 * ((error / least) ** 2 + imbalance * below**2) / room**2


def _without_imbalance(error, imbalance, largest, least, below, num_samples, num_classes):
    return bound_on_nc1(error, 0.0, largest, least, below, num_samples, num_classes)


def _always_finite(error, imbalance, largest, least, below, num_samples, num_classes):
    room = math.sqrt(num_samples * (num_classes - 1) / num_classes) - error
    return largest**2 * ((error / least) ** 2 + imbalance * below**2) / room**2


def _imbalance_squared(error, imbalance, largest, least, below, num_samples, num_classes):
    return bound_on_nc1(error, imbalance**2, largest, least, below, num_samples, num_classes)


def _infinite_beyond_the_room(error, imbalance, largest, least, below, num_samples, num_classes):
    room = math.sqrt(num_samples * (num_classes - 1) / num_classes) - error
    if room < 0:
        return math.inf
    return largest**2 * ((error / least) ** 2 + imbalance * below**2) / room**2


def _not_centred(error, imbalance, largest, least, below, num_samples, num_classes):
    room = math.sqrt(num_samples) - error
    if room <= 0:
        return math.inf
    return largest**2 * ((error / least) ** 2 + imbalance * below**2) / room**2


def _numbers(generator):
    for _ in range(3):
        samples, classes = integer(generator, 20, 90), integer(generator, 2, 9)
        room = math.sqrt(samples * (classes - 1) / classes)
        nearly = 1 - uniform(generator, 0.1, 0.8) / room  # less than 1 below the room
        for part in (uniform(generator, 0.05, 0.8), nearly, uniform(generator, 1.1, 3)):
            largest = uniform(generator, 1, 4)
            yield (
                part * room,
                uniform(generator, 0.01, 0.5),
                largest,
                uniform(generator, 0.2, 0.9) * largest,
                uniform(generator, 1, 8),
                samples,
                classes,
            )
    yield 3.0, 0.1, 2.0, one_of(generator, (0.5, 0.8)), 3.0, 12, 4  # the room is exactly 0


# 10.6 ---------------------------------------------------------------------------------------------
def fpr95(known, unknown):
    """Share of unknown samples let in by the highest threshold that lets in 95 % of the known."""
    let_in = -(-95 * len(known) // 100)  # in whole numbers, rounded up
    threshold = known.sort(descending=True).values[let_in - 1]
    return (unknown >= threshold).double().mean().item()


def _of_the_unknown(known, unknown):
    return fpr95(unknown, known)


def _kept_out(known, unknown):
    return 1 - fpr95(known, unknown)


def _rounded_down(known, unknown):
    let_in = max(1, 95 * len(known) // 100)
    threshold = known.sort(descending=True).values[let_in - 1]
    return (unknown >= threshold).double().mean().item()


def _strictly_above(known, unknown):
    let_in = -(-95 * len(known) // 100)
    threshold = known.sort(descending=True).values[let_in - 1]
    return (unknown > threshold).double().mean().item()


def _between_samples(known, unknown):
    return (unknown >= torch.quantile(known, 0.05)).double().mean().item()


def _five_percent_in(known, unknown):
    let_in = -(-5 * len(known) // 100)
    threshold = known.sort(descending=True).values[let_in - 1]
    return (unknown >= threshold).double().mean().item()


def _accepted(generator):
    for count in (20, 40, 17, 33, 100):
        known = normal(generator, count) + 1
        ranked = known.sort().values
        allowed = count - -(-95 * count // 100)  # known samples that may be kept out
        at = ranked[allowed].item()
        below = ranked[allowed - 1].item() if allowed else at - 1
        above = ranked[allowed + 1].item()
        near_above = 0.1 * at + 0.9 * above
        beside = torch.tensor([at, (at + below) / 2, near_above, below], dtype=known.dtype)
        yield known, torch.cat([beside, normal(generator, 7)])
        yield known, beside[:1]
        yield known, beside[1:2]
    tied = torch.full((6,), uniform(generator, 0, 1), dtype=torch.float64)
    yield tied, torch.cat([tied[:3], tied[:2] - 1])
    yield normal(generator, 1), normal(generator, 5)


EXERCISES = (
    Exercise(
        "10.1",
        1,
        first_gap,
        _spreads,
        (
            Mistake(
                _from_one,
                "Count layers from 0, as Python does: the input is layer 0.",
            ),
            Mistake(
                _last_layer,
                "You return the last such layer. Where does the gap *begin*?",
            ),
            Mistake(
                _difference,
                "You compare differences. Spreads fall by orders of magnitude: take the ratio.",
            ),
            Mistake(
                _more_than,
                "A layer with exactly `factor` times the training spread counts: test ≥ factor "
                "· train.",
            ),
        ),
        (
            "Go through the layers from the input on and stop at the first that qualifies.",
            "The condition is test ≥ factor · train.",
            "`enumerate(zip(train, test))`; return the index, and None after the loop.",
        ),
        "Up to there the network treats new images as it treats those that it has seen.",
    ),
    Exercise(
        "10.2",
        2,
        few_shot,
        _episodes,
        (
            Mistake(
                _nearest_sample,
                "That is the nearest *sample*. Average the samples of each class first.",
            ),
            Mistake(
                _largest_product,
                "You take the largest inner product. Means of new classes have different "
                "lengths; take the smallest distance.",
            ),
            Mistake(
                _farthest,
                "You take the farthest mean.",
            ),
        ),
        (
            "What stands for a class of which you have five samples?",
            "Their mean. A new sample belongs to the class whose mean is nearest.",
            "`torch.cdist(queries, means).argmin(1)`.",
        ),
        "There is nothing to train: all that decides is how the features lie. So it measures them.",
    ),
    Exercise(
        "10.3",
        3,
        auroc,
        _scores,
        (
            Mistake(
                _ties_lost,
                "Equal scores count one half: a guess between them is right half of the time.",
            ),
            Mistake(
                _upside_down,
                "That is the chance that the *unknown* one scores higher.",
            ),
            Mistake(
                _at_one_threshold,
                "You use one threshold. The AUROC compares every pair.",
            ),
        ),
        (
            "Compare every known score with every unknown one.",
            "`known[:, None] > unknown` is (N, M).",
            "Its mean, plus half the mean of `known[:, None] == unknown`.",
        ),
        "It needs no threshold, and so says nothing about which one to choose.",
    ),
    Exercise(
        "10.4",
        4,
        whose_theorem,
        _settings,
        (
            Mistake(
                _one_linear_layer,
                "One linear layer, the classifier, is what every network has. Jacot et al. need "
                "at least two at the end.",
            ),
            Mistake(
                _whatever_the_penalty,
                "Without weight decay on the weights three of the four theorems are void, "
                "whatever the architecture.",
            ),
            Mistake(
                _only_the_first,
                "More than one setting can apply: return all of them.",
            ),
        ),
        (
            "Read the column *setting* of the first table: what must be penalised?",
            "One of the four penalises features, three penalise weights.",
            "Features: Hong and Ling. Weights: Jacot et al. from two linear layers on, Súkeník et "
            "al. if residual, Wu and Mondelli if mean-field.",
        ),
        "An ordinary network with one linear layer and weight decay is in none of them. That is "
        "the open case, and the one that chapter 3 watched.",
        agreement=_are_all,
        use=_names,
    ),
    Exercise(
        "10.5",
        5,
        bound_on_nc1,
        _numbers,
        (
            Mistake(
                _without_imbalance,
                "The imbalance is missing. Without it the bound is wrong: chapter 6 shows it "
                "broken.",
            ),
            Mistake(
                _always_finite,
                "With an interpolation error as large as √(N(K−1)/K) the bound says nothing: "
                "return `math.inf`. The square hides the sign.",
            ),
            Mistake(
                _imbalance_squared,
                "ε₂ stands in Δ² as it is, not squared: it is already a norm of products of two "
                "weights.",
            ),
            Mistake(
                _not_centred,
                "Targets are centred too: the root is of N(K−1)/K, not of N.",
            ),
            Mistake(
                _infinite_beyond_the_room,
                "With an interpolation error of exactly √(N(K−1)/K) you divide by zero: return "
                "`math.inf` there too.",
            ),
        ),
        (
            "Chapter 6: s₁² Δ² / (√(N(K−1)/K) − ε₁)², with Δ² = (ε₁/s_K)² + ε₂ ‖Z_(L−2)‖².",
            "If ε₁ is √(N(K−1)/K) or more, the proof breaks off: return `math.inf`.",
            "room = sqrt(N (K − 1) / K) − error; then largest² · ((error/least)² + imbalance · "
            "below²) / room².",
        ),
        "Two terms, two clocks: the fit takes the first away, weight decay the second.",
    ),
    Exercise(
        "10.6",
        3,
        fpr95,
        _accepted,
        (
            Mistake(
                _of_the_unknown,
                "Your threshold lets in 95 % of the *unknown* samples. Take it from the known "
                "ones.",
            ),
            Mistake(
                _kept_out,
                "That is the share of unknown samples that are kept *out*.",
            ),
            Mistake(
                _five_percent_in,
                "You let in the top 5 % of the known samples. 95 % of them must get in.",
            ),
            Mistake(
                _strictly_above,
                "A sample exactly at the threshold is let in: score ≥ threshold.",
            ),
            Mistake(
                _between_samples,
                "A quantile lies between two samples. The threshold is the highest that lets in "
                "95 % of the known samples, and that is the score of one of them.",
            ),
            Mistake(
                _rounded_down,
                "95 % of the known samples, or more, must get in: round their number up.",
            ),
        ),
        (
            "Sort the known scores from the top. How many of them have to be let in?",
            "0.95 N of them, rounded up; the threshold is the score of the last of these.",
            "`known.sort(descending=True).values[math.ceil(0.95 * N) - 1]`; then the mean of "
            "`unknown >= threshold`.",
        ),
        "One threshold, as in use; the AUROC averages over all. A score may win by the one and "
        "lose by the other.",
    ),
)
