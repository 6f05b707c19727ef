"""Fang, He, Long, Su 2021: with unequal classes the small ones merge.

"Exploring deep neural networks via layer-peeled model: minority collapse in imbalanced training",
PNAS 118(43). Free features and classifier under bounds on their mean squared norms. With equal
classes the optimum is a simplex; as the ratio R of majority to minority samples grows, the
classifiers of the minority classes turn into one and the same vector.

With penalties in place of the bounds, Hong and Ling 2023 (arXiv 2309.09725) find a sharp threshold
of the merging; the formula for it in `merging_penalty`, with its proof in chapter 4, is this
course's way to say it.

The experiment solves the model for ten classes, five of them small, and trains two kinds of network
on images with the same imbalance: one with its norms constrained as in the model, and an ordinary
one with weight decay. Thresholds are this course's, for digits.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from ncourse.claims import Claim
from ncourse.comparisons import Comparison, above, at_least, at_most, below, between, every
from ncourse.data import Dataset, digits
from ncourse.models import MLP, Classifier, seeded
from ncourse.papers import Asked, declared
from ncourse.tables import Table
from ncourse.training import extract, fit
from ncourse.ufm import UFM, minority_cosine, random_point, solve, solve_layer_peeled

__all__ = [
    "RATIOS",
    "claims",
    "experiment",
    "merging_penalty",
    "networks",
    "peeled",
    "threshold",
    "train",
]

FEATURE_ENERGY, WEIGHT_ENERGY = 5.0, 1.0
NUM_CLASSES, MAJORITY = 10, 5
PEELED_RATIOS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 20, 30, 100, 1000, 10000)
RATIOS = (1, 3, 10, 30)
THRESHOLD_RATIOS = (2, 5, 20)
KINDS = ("constrained", "ordinary")
EPOCHS = 120
MERGED = 0.9999  # a cosine from which on rows are one and the same

FANG = "Fang et al. 2021 (thresholds are the course's)"
HONG = "Hong and Ling 2023 (a sharp threshold); the formula and its proof: this course, chapter 4"
COURSE = "This course, beside Fang et al. 2021 (thresholds for digits)"
FREE = "free features; no data set"


@declared(
    scales={"laptop": "about half a minute on one core for digits"},
    refused={
        "paper": "of the paper's networks VGG and ResNet-18, 350 epochs, learning rate 0.1 and "
        "weight decay 5e-4 are known and need a GPU; how their step size and class sizes were "
        "chosen is unknown here"
    },
    data=lambda scale, seed: digits(),
    needs={"classes": 4, "training samples": 1, "test samples": 1},
    resumable=True,
)
def experiment(dataset: Dataset, asked: Asked) -> dict[str, Table]:
    """Minority collapse in the layer-peeled model and in trained networks: one seed.

    The first half of the classes becomes the majority.

    Returns:
        An `Outcome` with the tables "peeled", "threshold" and "networks".
    """
    return {
        "peeled": peeled(seed=asked.seed),
        "threshold": threshold(seed=asked.seed),
        "networks": networks(dataset, seed=asked.seed),
    }


def merging_penalty(samples_per_class: Sequence[int]) -> float:
    """sqrt(lambda_w lambda_h) from which on the smallest classes share one row, with penalties.

    sqrt(n)/N, n the size of the smallest classes and N that of all: for free features,
    cross-entropy, lambda_w/2 ||W||^2 + lambda_h/2 ||H||^2 and no bias (derived here, chapter 4).

    >>> merging_penalty([4] * 10)  # where all are equal, from here on everything is zero
    0.05
    """
    return math.sqrt(min(samples_per_class)) / sum(samples_per_class)


def threshold(*, seed: int, samples: int = 3) -> Table:
    """The penalty at which three small classes beside three large ones merge, found by bisection.

    Args:
        seed: of the solver's starts.
        samples: of a small class; the large ones have `ratio` times as many.

    Returns:
        Columns ratio, measured (the least penalty at which the small classes' rows have cosine
        0.9999 or more), predicted (`merging_penalty`), balanced (the same formula for six classes
        of the mean size), majority (mean cosine of the large classes there), before and after (the
        small classes' cosine 5 % below and above the prediction).
    """
    rows = []
    for ratio in THRESHOLD_RATIOS:
        counts = tuple([ratio * samples] * 3 + [samples] * 3)
        predicted = merging_penalty(counts)

        def cosines(penalty: float, counts: tuple[int, ...] = counts) -> tuple[float, float]:
            model = UFM(
                num_classes=6,
                samples_per_class=counts,
                dim=8,
                lambda_w=penalty,
                lambda_h=penalty,
            )
            return _cosines(solve(model, start=random_point(model, seed=seed)).point.weight, 3)

        low, high = predicted / 2, 1.15 * predicted
        for _ in range(10):
            middle = math.sqrt(low * high)
            merged = cosines(middle)[0] >= MERGED
            low, high = (low, middle) if merged else (middle, high)
        rows.append(
            {
                "ratio": ratio,
                "measured": high,
                "predicted": predicted,
                "balanced": math.sqrt(sum(counts) / 6) / sum(counts),
                "majority": cosines(high)[1],
                "before": cosines(0.95 * predicted)[0],
                "after": cosines(1.05 * predicted)[0],
            }
        )
    return Table.of(rows)


def peeled(*, seed: int) -> Table:
    """The layer-peeled model with 5 + 5 classes, over the ratio R of their sizes.

    Returns:
        Columns ratio, minority and majority (mean cosine between the classifier rows of either
        half), minority_norm and majority_norm (mean norm of a row), gap (bound on the distance to
        the global minimum).
    """
    rows = []
    for ratio in PEELED_RATIOS:
        counts = [ratio] * MAJORITY + [1] * (NUM_CLASSES - MAJORITY)
        found = solve_layer_peeled(
            samples_per_class=counts,
            dim=12,
            weight_energy=WEIGHT_ENERGY,
            feature_energy=FEATURE_ENERGY,
            seed=seed,
        )
        norms = found.weight.norm(dim=1)
        minority, majority = _cosines(found.weight, MAJORITY)
        rows.append(
            {
                "ratio": ratio,
                "minority": minority,
                "majority": majority,
                "minority_norm": norms[MAJORITY:].mean().item(),
                "majority_norm": norms[:MAJORITY].mean().item(),
                "gap": found.gap,
            }
        )
    return Table.of(rows)


def networks(dataset: Dataset, *, seed: int) -> Table:
    """Both kinds of network, trained at each imbalance of `RATIOS`: one row per network.

    Returns:
        The columns of `train`.
    """
    return Table.of(
        train(dataset, ratio, seed=seed, constrained=kind == "constrained")
        for kind in KINDS
        for ratio in RATIOS
    )


def train(
    dataset: Dataset, ratio: int, *, seed: int, constrained: bool, epochs: int = EPOCHS
) -> dict[str, str | float]:
    """Train one network on imbalanced images.

    Both kinds have hidden layers of 256 with batch norm and ReLU and train with cross-entropy, SGD
    with momentum 0.9, learning rate 0.05 (x 0.1 at one and two thirds), batches of 128.
    Constrained: a linear layer to 64 features, scaled to norm sqrt(5) each, a classifier without
    bias scaled to mean squared row norm 1, no weight decay. Ordinary: three hidden layers, a bias,
    weight decay 5e-3.

    Args:
        dataset: balanced or nearly so, at least 4 classes.
        ratio: R, samples of a majority class over those of a minority class.
        seed: of weights, sample order and the choice of images.
        constrained: which kind.
        epochs: of training.

    Returns:
        kind, ratio, minority and majority (mean cosine of classifier rows), minority_accuracy and
        majority_accuracy (test), train_accuracy.
    """
    uneven = dataset.imbalanced(ratio, seed=seed)
    count, half = dataset.num_classes, dataset.num_classes // 2
    model: Classifier = (
        _Constrained(torch.Size(dataset.input_shape).numel(), count, seed=seed)
        if constrained
        else MLP(dataset.input_shape, (256, 256, 256), count, seed=seed)
    )
    _, history = fit(
        model=model,
        dataset=uneven,
        epochs=epochs,
        weight_decay=0.0 if constrained else 5e-3,
        seed=seed,
        measure_at=[epochs],
    )
    passed = extract(model, dataset.test_inputs, dataset.test_labels)
    right = (passed.logits.argmax(1) == passed.labels).double()
    minority, majority = _cosines(model.classifier.weight.detach().double(), half)
    return {
        "kind": KINDS[0] if constrained else KINDS[1],
        "ratio": ratio,
        "minority": minority,
        "majority": majority,
        "minority_accuracy": right[passed.labels >= half].mean().item(),
        "majority_accuracy": right[passed.labels < half].mean().item(),
        "train_accuracy": 1 - history.at(epochs)["train_error"],
    }


def _cosines(weight: Tensor, half: int) -> tuple[float, float]:
    """Mean cosine of the rows of the second half of the classes, and of the first half."""
    # Stand-in counts: they only say which classes are meant, also where all are equally large.
    first, second = [1] * half, [1] * (len(weight) - half)
    return (
        minority_cosine(weight, [2] * len(first) + second),
        minority_cosine(weight, first + [2] * len(second)),
    )


class _BoundedLinear(nn.Linear):
    """A linear layer without bias whose rows are scaled to a mean squared norm of 1."""

    def forward(self, features: Tensor) -> Tensor:
        scale = math.sqrt(len(self.weight) * WEIGHT_ENERGY) / self.weight.norm()
        return linear(features, scale * self.weight)


class _Constrained(Classifier):
    """Norms as in the layer-peeled model, only stricter: each feature has the full norm."""

    def __init__(self, inputs: int, num_classes: int, *, seed: int) -> None:
        with seeded(seed):
            body = nn.Sequential(
                nn.Flatten(),
                nn.Linear(inputs, 256),
                nn.BatchNorm1d(256),
                nn.ReLU(),
                nn.Linear(256, 256),
                nn.BatchNorm1d(256),
                nn.ReLU(),
                nn.Linear(256, 64),
            )
            super().__init__(body, _BoundedLinear(64, num_classes, bias=False))

    def features(self, inputs: Tensor) -> Tensor:
        return math.sqrt(FEATURE_ENERGY) * normalize(self.body(inputs), dim=1)


def claims(tables: Mapping[str, Table]) -> tuple[Claim, ...]:
    """What the tables of `experiment` assert; a pure function, so that false runs can be tried."""
    model = {row["ratio"]: row for row in Table(tables["peeled"]).rows()}
    nets = Table(tables["networks"])  # the notebook builds it network by network
    bound, free = ([nets.where(kind=kind, ratio=ratio).last for ratio in RATIOS] for kind in KINDS)
    minority = [model[ratio]["minority"] for ratio in sorted(model)]
    return (
        Claim.of(
            "Layer-peeled model, 5 + 5 classes: the minority's cosine is −1/9 at R = 1 (within "
            "{2}), rises with R, and is at least {0} at R = 30, where the majority's is not "
            "above 0; each solution is within {4:e} of the global minimum, by proof",
            {
                "R = 10": model[10]["minority"],
                "R = 30": at_least(0.99, model[30]["minority"], natural="rate"),
            },
            FANG,
            {
                "R = 1": model[1]["minority"],
                "majority at R = 30": at_most(0, model[30]["majority"], natural="rate"),
            },
            also={
                "off −1/9 at R = 1": at_most(1e-3, abs(model[1]["minority"] + 1 / 9)),
                # Merged rows have cosine 1 up to rounding, so the rise is strict only until then.
                "rise with R": every(
                    above(less, more, measured=True, natural="rate")
                    for less, more in pairwise(minority)
                    if less < MERGED
                ),
                "largest gap": at_most(1e-5, max(row["gap"] for row in model.values())),
            },
            data=FREE,
            fixed_data=True,
        ),
        Claim.of(
            "They merge at a finite imbalance: at R = 13 the cosine is at least {0}, at R = 12 "
            "below {1}",
            {"R = 13": at_least(MERGED, model[13]["minority"], natural="rate")},
            FANG,
            {"R = 12": below(0.99, model[12]["minority"], natural="rate")},
            data=FREE,
            fixed_data=True,
        ),
        Claim.of(
            "A network with constrained norms does the same: within {1} of −1/9 at R = 1, rising "
            "up to R = 30, between {3.low} and {3.high} at R = 10 and at least {4} at R = 30; the "
            "majority's stays below 0",
            {f"R = {row['ratio']}": row["minority"] for row in bound},
            FANG,
            {"majority at R = 30": below(0, bound[3]["majority"], natural="rate")},
            also={
                "off −1/9 at R = 1": at_most(0.02, abs(bound[0]["minority"] + 1 / 9)),
                "rise with R": _rising(bound),
                "minority at R = 10": between(0.15, 0.4, bound[2]["minority"]),
                "minority at R = 30": at_least(0.8, bound[3]["minority"], natural="rate"),
            },
        ),
        Claim.of(
            "An ordinary network only begins to: the minority's cosine rises with R, by {2} or "
            "more up to R = 30, and stays below {3}, where the constrained network is at {0} or "
            "more",
            {f"R = {row['ratio']}": row["minority"] for row in free},
            COURSE,
            {"constrained, R = 30": at_least(0.8, bound[3]["minority"], natural="rate")},
            also={
                "rise with R": _rising(free),
                "rise from R = 1 to 30": at_least(0.1, free[3]["minority"] - free[0]["minority"]),
                "minority at R = 30": below(0.5, free[3]["minority"], natural="rate"),
            },
        ),
        Claim.of(
            "Merged classes cannot be told apart: the constrained network's test accuracy on the "
            "minority is at least {1} at R = 1 and at most {0} at R = 30; on the majority it stays "
            "above {2}",
            {"minority, R = 30": at_most(0.5, bound[3]["minority_accuracy"], natural="rate")},
            COURSE,
            {
                "minority, R = 1": at_least(0.9, bound[0]["minority_accuracy"], natural="rate"),
                "majority, R = 30": above(0.9, bound[3]["majority_accuracy"], natural="rate"),
            },
        ),
        _claim_of_threshold(tables["threshold"]),
    )


def _claim_of_threshold(table: Table) -> Claim:
    """Where small classes merge under penalties, and that only they do."""
    rows = table.rows()
    off = max(abs(row["measured"] / row["predicted"] - 1) for row in rows)
    ratios = ", ".join(str(row["ratio"]) for row in rows)
    return Claim.of(
        f"With penalties, R = {ratios}: the small classes merge at √(λ_W λ_H) = √n/N within {{0:%}}"
        ", n their size; 5 % below it their cosine is at most {1}, 5 % above at least {2}; there "
        "the large classes' stays below 0, and the threshold of equal classes of the mean size is "
        "off by {4:%} or more",
        {
            "largest error": at_most(0.01, off),
            "cosine 5 % below": at_most(0.9, max(row["before"] for row in rows), natural="rate"),
            "cosine 5 % above": at_least(MERGED, min(row["after"] for row in rows), natural="rate"),
        },
        HONG,
        {
            "large classes": below(0, max(row["majority"] for row in rows), natural="rate"),
            "mean size, error": at_least(
                0.15, min(abs(row["balanced"] / row["measured"] - 1) for row in rows)
            ),
        },
        data=FREE,
        fixed_data=True,
    )


def _rising(nets: Sequence[Mapping[str, Any]]) -> Comparison:
    """The minority's cosine rises from one imbalance to the next."""
    return every(
        above(less["minority"], more["minority"], measured=True, natural="rate")
        for less, more in pairwise(nets)
    )
