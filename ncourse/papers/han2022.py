"""Han, Papyan, Donoho 2022: MSE training soon follows the central path.

"Neural collapse under MSE loss: proximity to and dynamics on the central path", ICLR 2022 (arXiv
2106.02073). The MSE loss splits into three parts: what within-class variation costs the best
classifier of the current features (NC1), what the class means cost it (NC2/3), and what the actual
classifier costs more than that best one (L_perp). On the central path L_perp is zero.

The experiment measures the three parts while a network trains on digits: without batch norm and
with a linear last hidden layer, and, as the control, with batch norm and a ReLU there. Thresholds
are this course's, for digits.
"""

from collections.abc import Mapping
from dataclasses import replace

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

__all__ = ["claims", "experiment", "train"]

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

    Returns:
        An `Outcome` with the tables "linear" (no batch norm, linear last hidden layer) and "batch
        norm" (the control).
    """
    return {
        "linear": train(dataset, seed=asked.seed),
        "batch norm": train(dataset, seed=asked.seed, batch_norm=True),
    }


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
