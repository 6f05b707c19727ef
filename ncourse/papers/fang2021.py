"""Fang, He, Long, Su 2021: with unequal classes the small ones merge.

"Exploring deep neural networks via layer-peeled model: minority collapse in imbalanced training",
PNAS 118(43). Free features and classifier under bounds on their mean squared norms. With equal
classes the optimum is a simplex; as the ratio R of majority to minority samples grows, the
classifiers of the minority classes turn into one and the same vector.

The experiment solves the model for ten classes, five of them small, and trains two kinds of network
on images with the same imbalance: one with its norms constrained as in the model, and an ordinary
one with weight decay. Thresholds are this course's, for digits.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from ncourse.claims import Claim, Outcome, Table
from ncourse.data import Dataset, digits
from ncourse.models import MLP, Classifier, seeded
from ncourse.training import extract, fit
from ncourse.ufm import minority_cosine, solve_layer_peeled

__all__ = [
    "RATIOS",
    "claims",
    "experiment",
    "imbalanced",
    "networks",
    "peeled",
    "train",
]

FEATURE_ENERGY, WEIGHT_ENERGY = 5.0, 1.0
NUM_CLASSES, MAJORITY = 10, 5
PEELED_RATIOS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 20, 30, 100, 1000, 10000)
RATIOS = (1, 3, 10, 30)
KINDS = ("constrained", "ordinary")
EPOCHS = 120

FANG = "Fang et al. 2021 (thresholds are the course's)"
COURSE = "This course, beside Fang et al. 2021 (thresholds for digits)"
FREE = "free features; no data set"


def experiment(scale: str = "laptop", *, seed: int = 0, data: Dataset | None = None) -> Outcome:
    """Minority collapse in the layer-peeled model and in trained networks: one seed.

    Args:
        scale: only "laptop" (about half a minute on one core for digits).
        seed: of the solver's starts, weights, sample order and the choice of images.
        data: the caller's own images, at least 4 classes; the first half of them become the
            majority. Digits if None. On other data the claims are reported and do not raise.

    Returns:
        An `Outcome` with the tables "peeled" and "networks".

    Raises:
        ValueError: for an unknown scale; "paper" is refused with what is known and unknown.
    """
    if scale == "paper":
        raise ValueError(
            "scale 'paper' is not built: of the paper's networks VGG and ResNet-18, 350 epochs, "
            "learning rate 0.1 and weight decay 5e-4 are known and need a GPU; how their step "
            "size and class sizes were chosen is unknown here — use 'laptop'"
        )
    if scale != "laptop":
        raise ValueError(f"scale is {scale!r}; this experiment has only 'laptop'")
    dataset = digits() if data is None else data
    tables = {"peeled": peeled(seed=seed), "networks": networks(dataset, seed=seed)}
    outcome = Outcome("fang2021", scale, seed, dataset.card, claims(tables), tables)
    return outcome if data is None else outcome.reported()


def peeled(*, seed: int) -> Table:
    """The layer-peeled model with 5 + 5 classes, over the ratio R of their sizes.

    Returns:
        Columns ratio, minority and majority (mean cosine between the classifier rows of either
        half), minority_norm and majority_norm (mean norm of a row), gap (bound on the distance to
        the global minimum).
    """
    columns = ("ratio", "minority", "majority", "minority_norm", "majority_norm", "gap")
    table: Table = {name: [] for name in columns}
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
        row = (
            ratio,
            *_cosines(found.weight, MAJORITY),
            norms[MAJORITY:].mean().item(),
            norms[:MAJORITY].mean().item(),
            found.gap,
        )
        for column, value in zip(table.values(), row, strict=True):
            column.append(value)
    return table


def networks(dataset: Dataset, *, seed: int) -> Table:
    """Both kinds of network, trained at each imbalance of `RATIOS`: one row per network.

    Returns:
        The columns of `train`.
    """
    rows = [
        train(dataset, ratio, seed=seed, constrained=kind == "constrained")
        for kind in KINDS
        for ratio in RATIOS
    ]
    return {name: [row[name] for row in rows] for name in rows[0]}


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
    uneven = imbalanced(dataset, ratio, seed=seed)
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


def imbalanced(dataset: Dataset, ratio: int, *, seed: int) -> Dataset:
    """The first half of the classes whole, the others cut to 1/ratio of it (at least one sample).

    Every majority class gets as many samples as the smallest class of `dataset` has.

    Raises:
        ValueError: if there are fewer than 4 classes (a cosine needs two on either side), or ratio
            is below 1.
    """
    if dataset.num_classes < 4 or ratio < 1:
        raise ValueError(
            f"got {dataset.num_classes} classes and ratio {ratio}; expected at least 4 and 1"
        )
    largest = int(dataset.labels.bincount().min())
    equal = dataset.take(largest, seed=seed)
    kept = [
        (equal.labels == k).nonzero().squeeze(1)[: largest if k < half else _cut(largest, ratio)]
        for half in [dataset.num_classes // 2]
        for k in range(dataset.num_classes)
    ]
    rows = torch.cat(kept)
    name = f"{dataset.name}, imbalance {ratio}"
    return replace(equal, name=name, inputs=equal.inputs[rows], labels=equal.labels[rows])


def _cut(largest: int, ratio: int) -> int:
    return max(1, round(largest / ratio))


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
    model = {row["ratio"]: row for row in _rows(tables["peeled"])}
    ratios = sorted(model)
    nets = {(row["kind"], row["ratio"]): row for row in _rows(tables["networks"])}
    bound = [nets["constrained", ratio] for ratio in RATIOS]
    free = [nets["ordinary", ratio] for ratio in RATIOS]
    return (
        Claim(
            "Layer-peeled model, 5 + 5 classes: the minority's cosine is −1/9 at R = 1 (within "
            "0.001), rises with R, and is at least 0.99 at R = 30, where the majority's is not "
            "above 0; each solution is within 1e-5 of the global minimum, by proof",
            abs(model[1]["minority"] + 1 / 9) <= 1e-3
            # Merged rows have cosine 1 up to rounding, so the rise is strict only until then.
            and all(
                model[b]["minority"] > model[a]["minority"] or model[a]["minority"] >= 0.9999
                for a, b in pairwise(ratios)
            )
            and model[30]["minority"] >= 0.99
            and model[30]["majority"] <= 0
            and max(row["gap"] for row in model.values()) <= 1e-5,
            {"R = 10": model[10]["minority"], "R = 30": model[30]["minority"]},
            FANG,
            {"R = 1": model[1]["minority"], "majority at R = 30": model[30]["majority"]},
            data=FREE,
        ),
        Claim(
            "They merge at a finite imbalance: at R = 13 the cosine is at least 0.9999, at R = 12 "
            "below 0.99",
            model[13]["minority"] >= 0.9999 and model[12]["minority"] < 0.99,
            {"R = 13": model[13]["minority"]},
            FANG,
            {"R = 12": model[12]["minority"]},
            data=FREE,
        ),
        Claim(
            "A network with constrained norms does the same: within 0.02 of −1/9 at R = 1, rising "
            "up to R = 30, between 0.15 and 0.4 at R = 10 and at least 0.8 at R = 30; the "
            "majority's stays below 0",
            abs(bound[0]["minority"] + 1 / 9) <= 0.02
            and all(less["minority"] < more["minority"] for less, more in pairwise(bound))
            and 0.15 <= bound[2]["minority"] <= 0.4
            and bound[3]["minority"] >= 0.8
            and bound[3]["majority"] < 0,
            {f"R = {row['ratio']}": row["minority"] for row in bound},
            FANG,
            {"majority at R = 30": bound[3]["majority"]},
        ),
        Claim(
            "An ordinary network only begins to: the minority's cosine rises with R, by 0.1 or "
            "more up to R = 30, and stays below 0.5, where the constrained network is at 0.8 or "
            "more",
            all(less["minority"] < more["minority"] for less, more in pairwise(free))
            and free[3]["minority"] - free[0]["minority"] >= 0.1
            and free[3]["minority"] < 0.5
            and bound[3]["minority"] >= 0.8,
            {f"R = {row['ratio']}": row["minority"] for row in free},
            COURSE,
            {"constrained, R = 30": bound[3]["minority"]},
        ),
        Claim(
            "Merged classes cannot be told apart: the constrained network's test accuracy on the "
            "minority is at least 0.9 at R = 1 and at most 0.5 at R = 30; on the majority it stays "
            "above 0.9",
            bound[0]["minority_accuracy"] >= 0.9
            and bound[3]["minority_accuracy"] <= 0.5
            and bound[3]["majority_accuracy"] > 0.9,
            {"minority, R = 30": bound[3]["minority_accuracy"]},
            COURSE,
            {
                "minority, R = 1": bound[0]["minority_accuracy"],
                "majority, R = 30": bound[3]["majority_accuracy"],
            },
        ),
    )


def _rows(table: Table) -> list[dict]:
    return [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
