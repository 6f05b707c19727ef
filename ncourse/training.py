"""Training past zero error, with collapse measured on the way."""

import csv
import io
import math
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm

from ncourse.data import Dataset
from ncourse.files import replaced, write_whole
from ncourse.metrics import measure
from ncourse.models import Classifier, seeded

MEASURED = ("nc1", "nc2_equinorm", "nc2_equiangular", "nc3", "nc4", "trace_ratio", "cdnv")
"""The fields of `CollapseReport` that a history keeps, with "test_" in front for the test split."""

__all__ = ["MEASURED", "Features", "History", "extract", "fit", "log_schedule"]


@dataclass(frozen=True)
class Features:
    """What one forward pass over a split yields, on the CPU.

    Attributes:
        features: the last layer's inputs, `(N, d)`.
        logits: `(N, K)`.
        labels: `(N,)`.
    """

    features: Float[Tensor, "samples features"]
    logits: Float[Tensor, "samples classes"]
    labels: Int[Tensor, " samples"]

    @property
    def error(self) -> float:
        """Fraction of samples whose largest logit is not their label's."""
        return (self.logits.argmax(1) != self.labels).double().mean().item()


@dataclass(frozen=True)
class History:
    """A tidy table of a training run: one row for each epoch at which it was measured.

    Attributes:
        columns: column name -> one value per row. "epoch" counts finished epochs; the other
            columns are described in `fit`.
    """

    columns: dict[str, list[float | int]]

    def __getitem__(self, name: str) -> np.ndarray:
        """A column as an array."""
        if name not in self.columns:
            raise KeyError(f"no column {name!r}; there are {', '.join(self.columns)}")
        return np.array(self.columns[name])

    def __len__(self) -> int:
        return len(self.columns["epoch"])

    def at(self, epoch: int) -> dict[str, float | int]:
        """The row of one epoch.

        Raises:
            KeyError: if that epoch was not measured.
        """
        if epoch not in self.columns["epoch"]:
            raise KeyError(f"epoch {epoch} was not measured; {self.columns['epoch']} were")
        row = self.columns["epoch"].index(epoch)
        return {name: values[row] for name, values in self.columns.items()}

    @property
    def terminal_epoch(self) -> int | None:
        """The first measured epoch at zero training error, None if there is none.

        `fit` measures every epoch until then, so it is the first one of all (unless it is told not
        to: `watch_error`).
        """
        for epoch, error in zip(self.columns["epoch"], self.columns["train_error"], strict=True):
            if error == 0:
                return int(epoch)
        return None

    def save(self, path: str | Path) -> Path:
        """Write as CSV; returns the path. `History.load` reads it back exactly."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(zip(*self.columns.values(), strict=True))
        return write_whole(path, text.getvalue())

    @classmethod
    def load(cls, path: str | Path) -> "History":
        """Read what `save` wrote.

        Raises:
            ValueError: if the file is no such table, naming it.
        """
        with Path(path).open(newline="", encoding="utf-8") as file:
            header, *rows = list(csv.reader(file)) or [[]]
        if "epoch" not in header or any(len(row) != len(header) for row in rows):
            raise ValueError(f"{path} is not a history: expected a CSV table with a column 'epoch'")
        columns: dict[str, list[float | int]] = {
            name: [float(row[index]) for row in rows] for index, name in enumerate(header)
        }
        columns["epoch"] = [int(epoch) for epoch in columns["epoch"]]
        return cls(columns)

    def plot(self) -> Any:
        """The course's figure of a run, as a matplotlib figure (needs `ncourse[course]`)."""
        # The one import upwards: a method on the table is where its users look for the figure.
        from ncourse.plots import collapse_curves

        return collapse_curves({"": self})

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in self.columns)
        rows = zip(*self.columns.values(), strict=True)
        body = "".join(
            f"<tr>{''.join(f'<td>{value:.4g}</td>' for value in row)}</tr>" for row in rows
        )
        return f"<table><tr>{head}</tr>{body}</table>"


def log_schedule(epochs: int, *, count: int = 25) -> tuple[int, ...]:
    """About `count` epochs from 1 to `epochs`, evenly spaced on a logarithmic axis.

    >>> log_schedule(300, count=6)
    (1, 3, 10, 31, 96, 300)
    """
    if epochs < 1 or count < 2:
        raise ValueError(f"got epochs={epochs}, count={count}; need at least 1 and 2")
    return tuple(sorted({round(epochs ** (i / (count - 1))) for i in range(count)}))


@torch.no_grad()
def extract(
    model: Classifier,
    inputs: Float[Tensor, "samples ..."],
    labels: Int[Tensor, " samples"],
    *,
    chunk: int = 2048,
) -> Features:
    """One forward pass in evaluation mode; the mode is put back.

    Args:
        model: has `features` and `classifier`.
        inputs: `(N, ...)`.
        labels: `(N,)`.
        chunk: samples per forward pass.
    """
    was_training = model.training
    device = next(model.parameters()).device
    model.eval()
    try:
        pieces = [model.features(piece.to(device)) for piece in inputs.split(chunk)]
        features = torch.cat(pieces)
        logits = model.classifier(features)
    finally:
        model.train(was_training)
    return Features(features.cpu(), logits.cpu(), labels)


def fit(
    *,
    model: Classifier,
    dataset: Dataset,
    epochs: int,
    learning_rate: float = 0.05,
    weight_decay: float = 5e-4,
    momentum: float = 0.9,
    batch_size: int = 128,
    milestones: Sequence[float] = (1 / 3, 2 / 3),
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    seed: int = 0,
    measure_at: Sequence[int] | None = None,
    watch_error: bool = True,
    observe: Callable[[int, Features, Features], None] | None = None,
    accelerator: str = "cpu",
    precision: Any = "32-true",
    progress: bool = True,
    checkpoint: str | Path | None = None,
) -> tuple[Classifier, History]:
    """Train with SGD and measure collapse on a schedule, each time from one forward pass.

    Args:
        model: trained in place and returned.
        dataset: its training split is trained on, its test split only measured.
        epochs: passes over the training split.
        learning_rate: at the start; multiplied by 0.1 at each milestone.
        weight_decay: coefficient of ||theta||^2 / 2, on every parameter.
        momentum: of SGD.
        batch_size: samples per step; a last batch of one sample is left out (batch norm needs two).
        milestones: fractions of `epochs`.
        loss: maps logits `(n, K)` and labels `(n,)` to a scalar.
        seed: of the order of the samples, and of randomness inside the model.
        measure_at: epochs (1 = after the first pass) to measure; `log_schedule(epochs)` if None.
        watch_error: whether to measure, as well, every epoch up to the first at zero training
            error, so that the terminal phase begins where it does: a forward pass an epoch.
        observe: called as `observe(epoch, train, test)` with both passes at each measured epoch.
        accelerator: Lightning Fabric's: "cpu", "cuda", "mps" or "auto".
        precision: Lightning Fabric's: "32-true", "bf16-mixed", ...
        progress: whether to show a progress bar.
        checkpoint: file that keeps the state after each epoch. If it exists, training goes on from
            there; on the CPU a run that was killed then ends bit-identical to one that was not.

    Returns:
        The model and its `History`: "epoch", "loss", "train_error", the columns `MEASURED` on the
        training split, and, where there are test samples, "test_error" and the same columns with
        "test_" in front. Conventions are Papyan's.

    Raises:
        ValueError: if a number is out of range, the loss becomes NaN (saying at which epoch), or
            the checkpoint is damaged or of a run with other settings (saying which).
    """
    _check_fit(dataset, epochs, learning_rate, weight_decay, batch_size, milestones)
    fabric = Fabric(accelerator=accelerator, devices=1, precision=precision)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=learning_rate, momentum=momentum, weight_decay=weight_decay
    )
    trained, optimizer = fabric.setup(model, optimizer)
    inputs, labels = fabric.to_device((dataset.inputs, dataset.labels))
    drops = {max(1, int(fraction * epochs)) for fraction in milestones}
    wanted = set(log_schedule(epochs) if measure_at is None else measure_at) | {epochs}
    generator = torch.Generator().manual_seed(seed)
    rows: list[dict[str, float | int]] = []
    settings = {
        "data": dataset.checksum,
        "epochs": epochs,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "momentum": momentum,
        "batch_size": batch_size,
        "milestones": list(milestones),
        "seed": seed,
        "measure_at": sorted(wanted),
        "watch_error": watch_error,
        "precision": str(precision),
    }
    with seeded(seed):
        first = 1
        if checkpoint is not None and Path(checkpoint).exists():
            first, rows = _resume(checkpoint, settings, model, optimizer, generator)
        terminal = not watch_error or any(row["train_error"] == 0 for row in rows)
        for epoch in tqdm(
            range(first, epochs + 1),
            initial=first - 1,
            total=epochs,
            unit="epoch",
            leave=False,
            disable=not progress,
        ):
            trained.train()
            order = torch.randperm(len(labels), generator=generator).to(labels.device)
            for batch in order.split(batch_size):
                if len(batch) < 2:
                    continue
                value = loss(trained(inputs[batch]), labels[batch])
                optimizer.zero_grad()
                fabric.backward(value)
                optimizer.step()
            if epoch in drops:
                for group in optimizer.param_groups:
                    group["lr"] *= 0.1
            if epoch in wanted or not terminal:
                train = extract(model, dataset.inputs, dataset.labels)
                test = extract(model, dataset.test_inputs, dataset.test_labels)
                rows.append(_row(epoch, model.classifier, train, test, loss))
                terminal = terminal or train.error == 0
                if observe is not None:
                    observe(epoch, train, test)
            if checkpoint is not None:
                _keep(checkpoint, settings, epoch, rows, model, optimizer, generator)
    model.eval()
    return model, History({name: [row[name] for row in rows] for name in rows[0]})


def _keep(
    path: str | Path,
    settings: dict[str, Any],
    epoch: int,
    rows: list[dict[str, float | int]],
    model: nn.Module,
    optimizer: Any,
    generator: torch.Generator,
) -> None:
    """Write the state after an epoch; a kill half-way leaves the previous state."""
    state = {
        "settings": settings,
        "epoch": epoch,
        "rows": rows,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "order": generator.get_state(),
        "random": torch.random.get_rng_state(),
    }
    with replaced(path) as beside:
        torch.save(state, beside)


def _resume(
    path: str | Path,
    settings: dict[str, Any],
    model: nn.Module,
    optimizer: Any,
    generator: torch.Generator,
) -> tuple[int, list[dict[str, float | int]]]:
    """Put back what `_keep` wrote; returns the next epoch and the rows so far."""
    try:
        state = torch.load(path, weights_only=True)  # tensors and plain values, never code
        kept = state["settings"]
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"{path} is no checkpoint of `fit` ({error}); delete it to start anew"
        ) from error
    other = [name for name in settings if kept.get(name) != settings[name]]
    if other:
        raise ValueError(
            f"{path} belongs to a run with another {', '.join(other)}; delete it to start anew, or "
            "call fit with the settings it was made with"
        )
    try:
        model.load_state_dict(state["model"])
    except RuntimeError as error:
        raise ValueError(f"{path} belongs to another model: {error}") from error
    optimizer.load_state_dict(state["optimizer"])
    generator.set_state(state["order"])
    torch.random.set_rng_state(state["random"])
    return state["epoch"] + 1, state["rows"]


def _row(
    epoch: int,
    classifier: nn.Linear,
    train: Features,
    test: Features,
    loss: Callable[[Tensor, Tensor], Tensor],
) -> dict[str, float | int]:
    """One row of the history."""
    value = loss(train.logits, train.labels).item()
    if not math.isfinite(value):
        raise ValueError(f"the loss is {value} after epoch {epoch}: lower the learning rate")
    row: dict[str, float | int] = {"epoch": epoch, "loss": value, "train_error": train.error}
    row |= _measured(train, classifier)
    if len(test.labels):
        row["test_error"] = test.error
        row |= {f"test_{name}": number for name, number in _measured(test, classifier).items()}
    return row


def _measured(passed: Features, classifier: nn.Linear) -> dict[str, float]:
    weight = classifier.weight.detach().cpu()
    bias = None if classifier.bias is None else classifier.bias.detach().cpu()
    report = measure(passed.features, passed.labels, weight, bias)
    return {name: float(getattr(report, name)) for name in MEASURED}


def _check_fit(
    dataset: Dataset,
    epochs: int,
    learning_rate: float,
    weight_decay: float,
    batch_size: int,
    milestones: Sequence[float],
) -> None:
    if epochs < 1 or batch_size < 2:
        raise ValueError(f"got epochs={epochs}, batch_size={batch_size}; need at least 1 and 2")
    if len(dataset.labels) < 2:
        raise ValueError(f"{dataset.name} has {len(dataset.labels)} training samples; need 2")
    if not learning_rate > 0 or not weight_decay >= 0:
        raise ValueError(
            f"got learning_rate={learning_rate}, weight_decay={weight_decay}; "
            "need a positive and a non-negative number"
        )
    if not all(0 < fraction <= 1 for fraction in milestones):
        raise ValueError(f"milestones is {milestones}; expected fractions of the epochs in (0, 1]")
