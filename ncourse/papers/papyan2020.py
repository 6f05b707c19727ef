"""Papyan, Han, Donoho 2020: training past zero error, four things happen together.

"Prevalence of neural collapse during the terminal phase of deep learning training", PNAS 117(40).
The paper observes, on seven data sets and three architectures, that after the training error has
reached zero the features collapse onto their class means (NC1), the means onto a simplex ETF (NC2),
the classifier onto the means (NC3), and the decision onto the nearest class mean (NC4).

Its networks train for 350 epochs on GPUs. Here the same is measured on small images within seconds,
beside a control that the paper does not have: the same training without weight decay, which reaches
zero error just as fast and hardly collapses. Thresholds are this course's, for digits.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ncourse.claims import Claim, DataCard
from ncourse.comparisons import above, at_least, at_most, below, equal, over
from ncourse.data import Dataset, digits, fashion_mnist
from ncourse.models import CNN, MLP
from ncourse.papers import Asked, declared
from ncourse.simplex import nearest_etf
from ncourse.tables import Table
from ncourse.training import Features, fit, log_schedule

__all__ = [
    "WEIGHT_DECAYS",
    "WORKSTATION",
    "claims",
    "claims_on_images",
    "experiment",
    "plane",
    "train",
]

WEIGHT_DECAYS = {"weight decay 5e-3": 5e-3, "weight decay 5e-4": 5e-4, "no weight decay": 0.0}
"""The three runs that differ in nothing else; the last is the control."""

PLANE_CLASSES = (0, 1, 2)
FRAMES = (1, 2, 4, 7, 12, 20, 35, 60, 100, 101, 130, 170, 201, 240, 300)

SOURCE = "Papyan, Han, Donoho 2020, the observation (thresholds are the course's, for digits)"
COURSE = "This course, beside Papyan, Han, Donoho 2020"
HUI = (
    "Hui, Belkin, Nakkiran 2022 (train collapse occurs, test collapse does not); "
    "thresholds: this course, for digits"
)


@dataclass(frozen=True)
class Scale:
    """Sizes of one `scale`."""

    epochs: int
    widths: tuple[int, ...]
    cnn_epochs: int
    cnn_widths: tuple[int, ...]


SCALES = {"laptop": Scale(300, (256, 256, 256), 100, (16, 32, 64))}


@dataclass(frozen=True)
class Long:
    """One run of the scale "workstation": a network on tens of thousands of images."""

    widths: tuple[int, ...]
    cnn: bool
    per_class: int | None
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    milestones: tuple[float, float] = (0.3, 0.65)


_MLP = Long((512, 512, 512), False, None, 150, 256, 0.04, 2e-3)
_CNN = Long((32, 64, 128), True, 300, 80, 128, 0.05, 1e-3)
WORKSTATION = {
    "mlp": _MLP,
    "mlp, no weight decay": replace(_MLP, weight_decay=0.0),
    "cnn": _CNN,
    "cnn, no weight decay": replace(_CNN, weight_decay=0.0),
}
"""Smaller steps than on the laptop: with weight decay 5e-3 and steps of 0.05 the noise of the
batches keeps the training error of 60,000 images of Fashion-MNIST near .1."""


Path = list[tuple[int, Features, Features]]
"""Epoch, training pass, test pass; one for each frame."""


def _judge(tables: Mapping[str, Table], scale: str, card: DataCard) -> tuple[Claim, ...]:
    if scale == "workstation":  # on other data than digits, whoever chose them
        return tuple(made.elsewhere() for made in claims_on_images(tables))
    return claims(tables)


@declared(
    scales={
        "laptop": "about a minute on one core for digits",
        "workstation": "an MLP on all images, a CNN on 300 a class; an hour on one core for "
        "Fashion-MNIST",
    },
    refused={
        "paper": "of the paper's settings, those of the public notebook are known (ResNet-18 on "
        "MNIST, 350 epochs, batch 128, weight decay 5e-4, learning rate 0.0679 for cross-entropy) "
        "and need a GPU"
    },
    data=lambda scale, seed: digits() if scale == "laptop" else fashion_mnist(),
    needs={"classes": 2, "training samples": 1, "test samples": 1},
    resumable=True,
    judge=_judge,
)
def experiment(dataset: Dataset, asked: Asked) -> dict[str, Table]:
    """Train past zero error and watch NC1 to NC4, with controls: one seed on one data set.

    Returns:
        An `Outcome` whose tables are one history per run ("weight decay 5e-3", "weight decay 5e-4",
        "no weight decay", "random labels", "random labels, no weight decay", "cnn", "cnn, no
        weight decay"; the names in `WORKSTATION` at that scale).
    """
    if asked.scale == "workstation":
        return _workstation(dataset, asked.seed)
    sizes, seed = SCALES[asked.scale], asked.seed
    tables: dict[str, Table] = {}
    for name, weight_decay in WEIGHT_DECAYS.items():
        tables[name] = train(dataset, sizes, weight_decay=weight_decay, seed=seed)
    shuffled = dataset.with_random_labels(seed=seed)
    for name, weight_decay in (("random labels", 5e-3), ("random labels, no weight decay", 0.0)):
        tables[name] = train(shuffled, sizes, weight_decay=weight_decay, seed=seed)
    for name, weight_decay in (("cnn", 5e-3), ("cnn, no weight decay", 0.0)):
        tables[name] = train(dataset, sizes, weight_decay=weight_decay, seed=seed, cnn=True)
    return tables


def train(
    dataset: Dataset,
    sizes: Scale = SCALES["laptop"],
    *,
    weight_decay: float,
    seed: int,
    cnn: bool = False,
    keep: Path | None = None,
) -> Table:
    """One run of the experiment: its history as a plain table.

    Args:
        dataset: to train on.
        sizes: of networks and training.
        weight_decay: coefficient of ||theta||^2 / 2.
        seed: of weights and sample order.
        cnn: a small convolutional network instead of the MLP.
        keep: a list that receives (epoch, training pass, test pass) at `FRAMES`.
    """
    shape, classes = dataset.input_shape, dataset.num_classes
    epochs = sizes.cnn_epochs if cnn else sizes.epochs
    frames = {max(1, epoch * epochs // 300) for epoch in FRAMES}

    def observe(epoch: int, train: Features, test: Features) -> None:
        if keep is not None and epoch in frames:
            keep.append((epoch, train, test))

    _, history = fit(
        model=(
            CNN(shape, sizes.cnn_widths, classes, seed=seed)
            if cnn
            else MLP(shape, sizes.widths, classes, seed=seed)
        ),
        dataset=dataset,
        epochs=epochs,
        weight_decay=weight_decay,
        seed=seed,
        measure_at=sorted(frames.union(log_schedule(epochs))),
        observe=observe,
    )
    return Table(history.columns)


def _workstation(dataset: Dataset, seed: int) -> dict[str, Table]:
    tables: dict[str, Table] = {}
    for name, run in WORKSTATION.items():
        least = int(dataset.labels.bincount(minlength=dataset.num_classes).min())
        some = dataset if run.per_class is None else dataset.take(min(run.per_class, least))
        make = CNN if run.cnn else MLP
        _, history = fit(
            model=make(some.input_shape, run.widths, some.num_classes, seed=seed),
            dataset=some,
            epochs=run.epochs,
            batch_size=run.batch_size,
            learning_rate=run.learning_rate,
            weight_decay=run.weight_decay,
            milestones=run.milestones,
            seed=seed,
            measure_at=sorted({*log_schedule(run.epochs), *range(5, run.epochs, 5)}),
            watch_error=False,
        )
        tables[name] = Table(history.columns)
    return tables


def plane(path: Path, *, per_class: int = 60) -> Table:
    """Features of three classes in the plane of their training class means, epoch by epoch.

    At each epoch the plane goes through the three means. Its unit is their mean distance from their
    centre, and it is turned so that they come as near as they can to three fixed corners: up, lower
    left, lower right.

    Args:
        path: (epoch, training pass, test pass) in order.
        per_class: samples of each class and split to keep.

    Returns:
        A table with columns epoch, split ("train" or "test"), label, x, y.
    """
    rows: list[dict[str, float | str]] = []
    upright = nearest_etf(torch.tensor([[0.0, 2.0], [-1.7, -1.0], [1.7, -1.0]]).double())
    for epoch, train, test in path:
        means = torch.stack([_of_class(train, k).mean(0) for k in PLANE_CLASSES])
        centred = means - means.mean(0)
        basis = torch.linalg.svd(centred, full_matrices=False).Vh[:2]
        corners = centred @ basis.T
        u, _, vh = torch.linalg.svd(corners.T @ upright)
        to_plane = basis.T @ (u @ vh) / corners.norm(dim=1).mean()
        for split, passed in (("train", train), ("test", test)):
            for k in PLANE_CLASSES:
                shown = (_of_class(passed, k)[:per_class] - means.mean(0)) @ to_plane
                rows += [
                    {"epoch": epoch, "split": split, "label": k, "x": x, "y": y}
                    for x, y in shown.tolist()
                ]
    return Table.of(rows)


def _of_class(passed: Features, k: int) -> Tensor:
    return passed.features[passed.labels == k].double()


def claims(tables: Mapping[str, Table]) -> tuple[Claim, ...]:
    """What the tables of `experiment` assert; a pure function, so that false runs can be tried."""
    main, none = tables["weight decay 5e-3"], tables["no weight decay"]
    noise, loose = tables["random labels"], tables["random labels, no weight decay"]
    fall = {name: _falls(table) for name, table in tables.items()}
    with_decay, without = fall["weight decay 5e-3"], fall["no weight decay"]
    small = fall["weight decay 5e-4"]["nc1"]
    return (
        Claim.of(
            "NC1 falls at least {0}-fold from the first epoch at zero training error to the end; "
            "without weight decay less than {1}-fold",
            {"NC1 falls by the factor": at_least(20, with_decay["nc1"])},
            SOURCE,
            {"without weight decay": below(2.5, without["nc1"])},
        ),
        Claim.of(
            "NC2 (mean |cosine + 1/(K−1)|) falls at least {0}-fold in the same time, without "
            "weight decay less than {1}-fold",
            {"NC2 falls by the factor": at_least(3, with_decay["nc2_equiangular"])},
            SOURCE,
            {"without weight decay": below(2, without["nc2_equiangular"])},
        ),
        Claim.of(
            "NC3 falls at least {0}-fold in the same time, without weight decay less than {1}-fold",
            {"NC3 falls by the factor": at_least(10, with_decay["nc3"])},
            SOURCE,
            {"without weight decay": below(2, without["nc3"])},
        ),
        Claim.of(
            "At the end the network and the nearest-class-mean rule agree on every training image "
            "(NC4 mismatch {0}); after the first epoch they do not",
            {"mismatch at the end": equal(0, main["nc4"][-1])},
            SOURCE,
            {"mismatch after epoch 1": above(0, main["nc4"][0])},
        ),
        Claim.of(
            "A tenth of the weight decay lies between: NC1 falls further than without, and less "
            "than with all of it",
            {"weight decay 5e-4, NC1 falls by": above(without["nc1"], small, measured=True)},
            COURSE,
            {"none": without["nc1"], "5e-3": above(small, with_decay["nc1"], measured=True)},
        ),
        Claim.of(
            "Test error does not rise from the first epoch at zero training error to the end. With "
            "random labels it stays above {1}",
            {
                "test error at zero training error": at_least(
                    main["test_error"][-1],
                    _at_terminal(main, "test_error"),
                    measured=True,
                    natural="rate",
                ),
                "test error at the end": main["test_error"][-1],
                "without weight decay": none["test_error"][-1],
            },
            COURSE,
            {
                "random labels, test error at the end": above(
                    0.8, noise["test_error"][-1], natural="rate"
                )
            },
        ),
        Claim.of(
            "Labels need not mean anything: with random labels training error still reaches zero, "
            "and NC1 ends at {0:words} or less of where it ends without weight decay; on test "
            "images it does not fall",
            {
                "NC1 on training images at the end": at_most(
                    1 / 4, noise["nc1"][-1], of=loose["nc1"][-1]
                ),
                "falls by": fall["random labels"]["nc1"],
            },
            COURSE,
            {
                "NC1 without weight decay": loose["nc1"][-1],
                "falls by": fall["random labels, no weight decay"]["nc1"],
                "NC1 on test images falls by": below(1, fall["random labels"]["test_nc1"]),
            },
            also={"training error": equal(0, noise["train_error"][-1])},
        ),
        Claim.of(
            "A convolutional network goes the same way more slowly: NC1 falls at least {0}-fold in "
            "100 epochs; without weight decay less than {1}-fold",
            {"CNN, NC1 falls by": at_least(2.5, fall["cnn"]["nc1"])},
            SOURCE,
            {"CNN without weight decay": below(2, fall["cnn, no weight decay"]["nc1"])},
        ),
        Claim.of(
            "Test features do not follow: at the end NC1 on test images is at least {0} times NC1 "
            "on training images; at the first epoch at zero error less than {1} times",
            {
                "test over train at the end": at_least(
                    10, over(main["test_nc1"][-1], main["nc1"][-1])
                )
            },
            HUI,
            {
                "at zero error": below(
                    3, over(_at_terminal(main, "test_nc1"), _at_terminal(main, "nc1"))
                )
            },
        ),
    )


def claims_on_images(tables: Mapping[str, Table]) -> tuple[Claim, ...]:
    """What the tables of the scale "workstation" assert; thresholds are those of digits.

    A pure function, as `claims`.
    """
    main, none = tables["mlp"], tables["mlp, no weight decay"]
    cnn, cnn_none = tables["cnn"], tables["cnn, no weight decay"]

    def whole(table: Table, column: str) -> float:
        """The factor by which a column falls from the first epoch to the end."""
        return table[column][0] / table[column][-1] if table[column][-1] else math.inf

    def after(table: Table, column: str) -> float:
        return _falls(table)[column]

    return (
        Claim.of(
            "From the first epoch to the end NC1 of the MLP falls at least {0}-fold, without "
            "weight decay less than {1:words} as far",
            {
                "NC1 falls by the factor": at_least(20, whole(main, "nc1")),
                "NC1 at the end": main["nc1"][-1],
            },
            SOURCE,
            {"without weight decay": below(1 / 2, whole(none, "nc1"), of=whole(main, "nc1"))},
        ),
        Claim.of(
            "As on digits, NC1 of the MLP falls at least {0}-fold from the first epoch at zero "
            "training error to the end; without weight decay less than {1}-fold",
            {
                "NC1 falls by the factor": at_least(20, after(main, "nc1")),
                "training error at the end": main["train_error"][-1],
            },
            SOURCE,
            {
                "without weight decay": below(2.5, after(none, "nc1")),
                "its training error at the end": none["train_error"][-1],
            },
        ),
        Claim.of(
            "From the first epoch to the end NC2 and NC3 of the MLP fall at least {0}-fold and "
            "{1}-fold, without weight decay less than {2:words} as far",
            {
                "NC2 falls by the factor": at_least(3, whole(main, "nc2_equiangular")),
                "NC3": at_least(10, whole(main, "nc3")),
            },
            SOURCE,
            {
                f"{name} without weight decay": below(
                    1 / 2, whole(none, column), of=whole(main, column)
                )
                for name, column in (("NC2", "nc2_equiangular"), ("NC3", "nc3"))
            },
        ),
        Claim.of(
            "At the end the MLP and the nearest-class-mean rule agree on every training image; "
            "after the first epoch they do not",
            {"mismatch at the end": equal(0, main["nc4"][-1])},
            SOURCE,
            {"mismatch after epoch 1": above(0, main["nc4"][0])},
        ),
        Claim.of(
            "As on digits, NC1 of a CNN falls at least {0}-fold from the first epoch at zero "
            "training error to the end; without weight decay less than {1}-fold",
            {
                "CNN, NC1 falls by": at_least(2.5, after(cnn, "nc1")),
                "from the first epoch": whole(cnn, "nc1"),
                "training error at the end": cnn["train_error"][-1],
            },
            SOURCE,
            {
                "without weight decay": below(2, after(cnn_none, "nc1")),
                "from its first epoch": whole(cnn_none, "nc1"),
            },
        ),
        Claim.of(
            "Test features do not follow: at the end the MLP's NC1 on test images is at least {0} "
            "times that on training images; after the first epoch less than {1} times",
            {
                "test over train at the end": at_least(
                    10, over(main["test_nc1"][-1], main["nc1"][-1])
                )
            },
            HUI,
            {"after the first epoch": below(3, over(main["test_nc1"][0], main["nc1"][0]))},
        ),
    )


def _at_terminal(table: Table, column: str) -> float:
    """A column's value at the first epoch at zero training error; nan, which fails every claim,
    if training error never reached zero.
    """
    if 0 not in table["train_error"]:
        return math.nan
    return table[column][table["train_error"].index(0)]


def _falls(table: Table) -> dict[str, float]:
    """For each column, the factor by which it falls from zero training error to the end."""
    return {
        column: _at_terminal(table, column) / values[-1] if values[-1] else math.inf
        for column, values in table.items()
        if column != "epoch"
    }
