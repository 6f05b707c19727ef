"""Han, Papyan, Donoho 2022: MSE training soon follows the central path.

"Neural collapse under MSE loss: proximity to and dynamics on the central path", ICLR 2022 (arXiv
2106.02073). The MSE loss splits into three parts: what within-class variation costs the best
classifier of the current features (NC1), what the class means cost it (NC2/3), and what the actual
classifier costs more than that best one (L_perp). On the central path L_perp is zero.

The experiment measures the three parts while a network trains on digits: without batch norm and
with a linear last hidden layer, and, as the control, with batch norm and a ReLU there. Thresholds
are this course's, for digits. `central_path` then follows the paper's renormalised flow of free
features beside its solution; that the paper's solution is a sum of a logarithm, a square and a
fourth power we recall, the constants are derived here (chapter 4).
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ncourse.claims import Claim
from ncourse.comparisons import above, at_least, at_most, below, between, proved
from ncourse.data import Dataset, digits
from ncourse.models import MLP, Classifier, seeded
from ncourse.papers import Asked, declared
from ncourse.tables import Table
from ncourse.training import Features, fit, log_schedule
from ncourse.ufm import decompose_mse

__all__ = ["central_path", "claims", "experiment", "signal_on_path", "train"]

WEIGHT_DECAY = 5e-3
EPOCHS = 300
LATE, END = 0.1, 0.02  # of the loss may L_perp be, from epoch 30 on and at the end

HAN = "Han, Papyan, Donoho 2022 (thresholds are the course's, for digits)"


@declared(
    scales={"laptop": "about 20 seconds on one core for digits"},
    refused={
        "paper": "the formulas of the paper's public notebook are known, the schedules of its "
        "networks are unknown here"
    },
    data=lambda scale, seed: digits(),
    needs={"classes": 2, "training samples": 2},
    resumable=True,
)
def experiment(dataset: Dataset, asked: Asked) -> dict[str, Table]:
    """Split the MSE loss of two networks into its parts while they train: one seed.

    The schedule counts epochs. A small data set has few steps in one (133 samples: two), and what
    holds from epoch 30 on for digits comes later there, or not at all.

    Returns:
        An `Outcome` with the tables "linear" (no batch norm, linear last hidden layer), "batch
        norm" (the control) and "path" (free features).
    """
    return {
        "linear": train(dataset, seed=asked.seed),
        "batch norm": train(dataset, seed=asked.seed, batch_norm=True),
        "path": central_path(seed=asked.seed),
    }


def signal_on_path(
    start: float, time: float, *, num_classes: int, num_samples: int, renormalised: bool = True
) -> float:
    """A singular value of the class means over the noise, at a time on the central path.

    For free features with W = W_LS, no penalty, equal classes and mean 0: C^2 log w + C w^2 +
    w^4/4 grows as C t/N, if the flow is kept at within-class covariance I; C log w + w^2/2 grows
    as t/N, if the noise may shrink under the flow too (derived here, chapter 4).

    Args:
        start: w > 0 at time 0.
        time: t >= 0 of the gradient flow.
        num_classes: C.
        num_samples: N.
        renormalised: which of the two.
    """
    classes = num_classes

    def clock(log: float) -> float:
        square = math.exp(2 * log)
        if renormalised:
            return classes**2 * log + classes * square + square**2 / 4
        return classes * log + square / 2

    low = math.log(start)
    goal = clock(low) + (classes if renormalised else 1) * time / num_samples
    high = low + 1.0
    while clock(high) < goal:
        high += 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if clock(middle) < goal else (low, middle)
    return math.exp(low)


def central_path(*, seed: int, classes: int = 4, samples: int = 10, dim: int = 8) -> Table:
    """The renormalised gradient flow of free features on the central path, beside its solution.

    At each step the classifier is the least-squares one; the gradient of squared error in the
    features loses its part along which the within-class covariance would change, and after the step
    that covariance is made I again.

    Args:
        seed: of the features at the start.
        classes: C.
        samples: n of each class.
        dim: d >= C - 1.

    Returns:
        Columns time, largest and least (non-zero singular values of the class means; the within-
        class covariance is I), predicted_largest and predicted_least (`signal_on_path`),
        plain_largest (without renormalising), nc1 (tr of within- over between-class covariance).
    """
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat_interleave(samples)
    targets = one_hot(labels, classes).double()
    signal = torch.randn(classes, dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(len(labels), dim, generator=generator, dtype=torch.float64)
    features = 0.3 * signal[labels] + noise
    features = _whitened(features - features.mean(0), targets)
    growth, time, rows = 0.01, 0.0, []
    start = None
    for step in range(301):
        means = targets.T @ features / samples
        values = torch.linalg.svdvals(means)[: classes - 1]
        start = values if start is None else start
        if step % 10 == 0:
            ahead = partial(signal_on_path, time=time, num_classes=classes, num_samples=len(labels))
            most, least = start[0].item(), start[-1].item()
            rows.append(
                {
                    "time": time,
                    "largest": values[0].item(),
                    "least": values[-1].item(),
                    "predicted_largest": ahead(most),
                    "predicted_least": ahead(least),
                    "plain_largest": ahead(most, renormalised=False),
                    "nc1": classes * (1 / values.square()).sum().item(),
                }
            )
        extended = torch.cat([features, torch.ones_like(features[:, :1])], dim=1)
        best = torch.linalg.lstsq(extended, targets).solution
        slope = (extended @ best - targets) @ best[:-1].T / len(labels)
        within = features - means[labels]
        bend = within.T @ (slope - (targets.T @ slope / samples)[labels]) / len(labels)
        slope = slope - within @ (bend + bend.T) / 2
        # No singular value grows by more than one percent in a step.
        size = growth * len(labels) * (classes + values[-1].item() ** 2) ** 2 / classes
        features = _whitened(features - size * slope, targets)
        time += size
    return Table.of(rows)


def _whitened(features: Tensor, targets: Tensor) -> Tensor:
    """Features turned and stretched so that their within-class covariance is I."""
    means = targets.T @ features / targets.sum(0)[:, None]
    within = features - targets @ means
    values, vectors = torch.linalg.eigh(within.T @ within / len(features))
    return features @ (vectors * values.rsqrt()) @ vectors.T


def train(dataset: Dataset, *, seed: int, batch_norm: bool = False, epochs: int = EPOCHS) -> Table:
    """Train with MSE on equally many images of each class and split the loss on the way.

    Three hidden layers of 256; SGD with momentum 0.9, learning rate 0.01 (x 0.1 at one and two
    thirds), batches of 128, weight decay 5e-3 on everything. The loss that this minimises is twice
    that of `decompose_mse` with a penalty of half the weight decay.

    Args:
        dataset: to train on.
        seed: of weights, sample order and the choice of images.
        batch_norm: the control: batch norm and a ReLU also in the last hidden layer.
        epochs: of training.

    Returns:
        Columns epoch, nc1, nc23, perpendicular and loss (the whole, computed directly).
    """
    equal = dataset.take(int(dataset.labels.bincount().min()), seed=seed)
    # Nothing here is asked of test samples; without them the measuring takes half as long.
    equal = replace(equal, test_inputs=equal.inputs[:0], test_labels=equal.labels[:0])
    shape, classes = dataset.input_shape, dataset.num_classes
    model = (
        MLP(shape, (256, 256, 256), classes, seed=seed)
        if batch_norm
        else _linear_last(torch.Size(shape).numel(), classes, seed=seed)
    )
    wanted = {*log_schedule(epochs), *range(30, epochs + 1, 10)}
    rows: list[dict[str, float]] = []

    def observe(epoch: int, passed: Features, _: Features) -> None:
        if epoch not in wanted:
            return
        parts = decompose_mse(
            features=passed.features,
            labels=passed.labels,
            weight=model.classifier.weight,
            bias=model.classifier.bias,
            penalty=WEIGHT_DECAY / 2,
        )
        named = ("nc1", "nc23", "perpendicular", "loss")
        rows.append({"epoch": epoch} | {name: getattr(parts, name) for name in named})

    fit(
        model=model,
        dataset=equal,
        epochs=epochs,
        learning_rate=0.01,
        weight_decay=WEIGHT_DECAY,
        loss=squared_error,
        seed=seed,
        measure_at=sorted(wanted),
        observe=observe,
    )
    return Table.of(rows)


def squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over samples of ||logits - onehot||^2, for `fit`."""
    targets = one_hot(labels, logits.shape[1]).to(logits.dtype)
    return (logits - targets).square().sum(1).mean()


def _linear_last(inputs: int, classes: int, *, seed: int) -> Classifier:
    """No batch norm, and no ReLU after the last hidden layer: features may be negative."""
    with seeded(seed):
        body = nn.Sequential(
            nn.Flatten(),
            nn.Linear(inputs, 256),
            nn.ReLU(),
            nn.Linear(256, 256),
            nn.ReLU(),
            nn.Linear(256, 256),
        )
        return Classifier(body, nn.Linear(256, classes))


def claims(tables: Mapping[str, Table]) -> tuple[Claim, ...]:
    """What the tables of `experiment` assert; a pure function, so that false runs can be tried."""
    main, control = tables["linear"], tables["batch norm"]
    identity = max(_missing(table, whole=True) for table in (main, control))
    without = _missing(main, whole=False)
    share, share_control = _share(main), _share(control)
    late = max(value for epoch, value in share.items() if epoch >= 30)
    late_control = max(value for epoch, value in share_control.items() if epoch >= 30)
    first, end, end_control = (
        share[min(share)],
        share[max(share)],
        share_control[max(share_control)],
    )
    falls = {name: main[name][-1] / main[name][0] for name in ("nc1", "nc23")}
    further = control["nc1"][-1] / control["nc1"][0]
    return (
        Claim.of(
            "The three parts sum to the loss, relative error at most {0:e} at every epoch and for "
            "both networks; without L⊥ up to {1:%} or more is missing",
            {"largest relative error": proved(at_most(1e-12, identity))},
            "Han, Papyan, Donoho 2022 (identity)",
            {"without L⊥": at_least(0.2, without)},
        ),
        Claim.of(
            "L⊥ is large at first ({0:%} of the loss or more after one epoch), at most {1:%} from "
            "epoch 30 on and at most {2:%} at the end; with batch norm and a ReLU it breaks both "
            "bounds",
            {
                "after epoch 1": at_least(0.2, first),
                "most from epoch 30": at_most(LATE, late),
                "end": at_most(END, end),
            },
            HAN,
            {
                "batch norm, most from epoch 30": above(LATE, late_control),
                "batch norm, end": above(END, end_control),
            },
        ),
        Claim.of(
            "The part of the class means falls to {0:%} or less of its first value and the NC1 "
            "part to between {1.low:%} and {1.high:%}; off the central path, with batch norm and a "
            "ReLU, the NC1 part falls below {2:%}",
            {
                "NC2/3, end over start": at_most(0.06, falls["nc23"]),
                "NC1": between(0.1, 0.5, falls["nc1"]),
            },
            HAN,
            {"batch norm, NC1": below(0.1, further)},
        ),
        _claim_of_path(tables["path"]),
    )


def _claim_of_path(path: Table) -> Claim:
    """Free features under the renormalised flow."""
    rows = path.rows()
    off = max(
        abs(row[name] / row[f"predicted_{name}"] - 1)
        for row in rows
        for name in ("largest", "least")
    )
    first, last = rows[0], rows[-1]
    return Claim.of(
        "Free features, renormalised flow on the central path: the largest and the least singular "
        "value of the class means over the noise follow their solution within {0:%} while NC1 "
        "falls {1}-fold or more and the two become equal (quotient at most {2}); the solution "
        "without renormalising is off by {3:%} or more",
        {
            "solution off by": at_most(0.02, off),
            "NC1 falls by": at_least(20, first["nc1"] / last["nc1"]),
        },
        "Han, Papyan, Donoho 2022 (the flow); constants of the solution: this course, chapter 4",
        {"largest / least at the start": first["largest"] / first["least"]},
        also={
            "largest / least at the end": at_most(1.05, last["largest"] / last["least"]),
            "plain solution off by": at_least(
                0.5, abs(last["plain_largest"] / last["largest"] - 1)
            ),
        },
        data="free features; no data set",
        fixed_data=True,
    )


def _share(table: Table) -> dict[int, float]:
    """L_perp over the whole loss, by epoch."""
    return {row["epoch"]: row["perpendicular"] / row["loss"] for row in table.rows()}


def _missing(table: Table, *, whole: bool) -> float:
    """Largest relative difference between the loss and the sum of its parts (without L_perp)."""
    return max(
        abs(row["nc1"] + row["nc23"] + (row["perpendicular"] if whole else 0) - row["loss"])
        / row["loss"]
        for row in table.rows()
    )
