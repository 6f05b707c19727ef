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

from ncourse.claims import Claim, Outcome, Table
from ncourse.data import Dataset, digits
from ncourse.models import MLP, Classifier, seeded
from ncourse.training import Features, fit, log_schedule
from ncourse.ufm import decompose_mse

__all__ = ["claims", "experiment", "train"]

WEIGHT_DECAY = 5e-3
EPOCHS = 300

HAN = "Han, Papyan, Donoho 2022 (thresholds are the course's, for digits)"


def experiment(scale: str = "laptop", *, seed: int = 0, data: Dataset | None = None) -> Outcome:
    """Split the MSE loss of two networks into its parts while they train: one seed.

    Args:
        scale: only "laptop" (about 20 seconds on one core for digits).
        seed: of weights, sample order and the choice of equally many images of each class.
        data: the caller's own images; digits if None. On other data the claims are reported and do
            not raise.

    Returns:
        An `Outcome` with the tables "linear" (no batch norm, linear last hidden layer) and "batch
        norm" (the control).

    Raises:
        ValueError: for an unknown scale; "paper" is refused with what is unknown.
    """
    if scale == "paper":
        raise ValueError(
            "scale 'paper' is not built: the formulas of the paper's public notebook are known, "
            "the schedules of its networks are unknown here — use 'laptop'"
        )
    if scale != "laptop":
        raise ValueError(f"scale is {scale!r}; this experiment has only 'laptop'")
    dataset = digits() if data is None else data
    tables = {
        "linear": train(dataset, seed=seed),
        "batch norm": train(dataset, seed=seed, batch_norm=True),
    }
    outcome = Outcome("han2022", scale, seed, dataset.card, claims(tables), tables)
    return outcome if data is None else outcome.reported()


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
    columns = ("epoch", "nc1", "nc23", "perpendicular", "loss")
    table: Table = {name: [] for name in columns}

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
        row = (epoch, parts.nc1, parts.nc23, parts.perpendicular, parts.loss)
        for column, value in zip(table.values(), row, strict=True):
            column.append(value)

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
    return table


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
    first, last = min(share), max(share)
    falls = {name: main[name][-1] / main[name][0] for name in ("nc1", "nc23")}
    further = control["nc1"][-1] / control["nc1"][0]
    return (
        Claim(
            "The three parts sum to the loss, relative error at most 1e-12 at every epoch and for "
            "both networks; without L⊥ up to 20 % or more is missing",
            identity <= 1e-12 and without >= 0.2,
            {"largest relative error": identity},
            "Han, Papyan, Donoho 2022 (identity)",
            {"without L⊥": without},
        ),
        Claim(
            "L⊥ is large at first (20 % of the loss or more after one epoch), at most 10 % from "
            "epoch 30 on and at most 2 % at the end; with batch norm and a ReLU it breaks both "
            "bounds",
            share[first] >= 0.2
            and late <= 0.1
            and share[last] <= 0.02
            and late_control > 0.1
            and share_control[max(share_control)] > 0.02,
            {"after epoch 1": share[first], "most from epoch 30": late, "end": share[last]},
            HAN,
            {
                "batch norm, most from epoch 30": late_control,
                "batch norm, end": share_control[max(share_control)],
            },
        ),
        Claim(
            "The part of the class means falls to 6 % or less of its first value and the NC1 part "
            "to between 10 % and 50 %; off the central path, with batch norm and a ReLU, the NC1 "
            "part falls below 10 %",
            falls["nc23"] <= 0.06 and 0.1 <= falls["nc1"] <= 0.5 and further < 0.1,
            {"NC2/3, end over start": falls["nc23"], "NC1": falls["nc1"]},
            HAN,
            {"batch norm, NC1": further},
        ),
    )


def _share(table: Table) -> dict[int, float]:
    """L_perp over the whole loss, by epoch."""
    triples = zip(table["epoch"], table["perpendicular"], table["loss"], strict=True)
    return {epoch: part / whole for epoch, part, whole in triples}


def _missing(table: Table, *, whole: bool) -> float:
    """Largest relative difference between the loss and the sum of its parts (without L_perp)."""
    rows = zip(table["nc1"], table["nc23"], table["perpendicular"], table["loss"], strict=True)
    return max(
        abs(nc1 + nc23 + (perpendicular if whole else 0) - loss) / loss
        for nc1, nc23, perpendicular, loss in rows
    )
