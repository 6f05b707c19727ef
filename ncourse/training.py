"""Training past zero error, with collapse measured on the way."""

import copy
import csv
import html
import io
import math
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm.auto import tqdm

from ncourse.data import Dataset
from ncourse.files import replaced, write_whole
from ncourse.metrics import CollapseMetric, measure, nearest_class_mean
from ncourse.models import Classifier, seeded

MEASURED = ("nc1", "nc2_equinorm", "nc2_equiangular", "nc3", "nc4", "trace_ratio", "cdnv")
"""The fields of `CollapseReport` that a history keeps, with "test_" in front for the test split."""

__all__ = [
    "MEASURED",
    "Features",
    "History",
    "Place",
    "checkpoints_in",
    "extract",
    "fit",
    "log_schedule",
    "place",
]


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
        content = Path(path).read_bytes()
        try:
            text = content.decode()
            header, *rows = list(csv.reader(io.StringIO(text, newline=""))) or [[]]
            columns: dict[str, list[float | int]] = {
                name: [float(row[index]) for row in rows] for index, name in enumerate(header)
            }
            columns["epoch"] = [int(row[header.index("epoch")]) for row in rows]
        except (ValueError, IndexError, csv.Error) as error:
            raise ValueError(
                f"{path} is not a history: expected a CSV table with a column 'epoch' ({error})"
            ) from error
        # A whole table ends with a line; one cut inside its last number does not.
        if len(columns) != len(header) or {len(row) for row in rows} - {len(header)}:
            raise ValueError(f"{path} is not a history: its rows or columns do not match")
        if not text.endswith("\n"):
            raise ValueError(f"{path} is not a whole history: its last line has no end")
        return cls(columns)

    def plot(self) -> Any:
        """The course's figure of a run, as a matplotlib figure (needs `ncourse[course]`)."""
        # The one import upwards: a method on the table is where its users look for the figure.
        from ncourse.figures.plots import collapse_curves

        return collapse_curves({"": self})

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self.columns)
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
    like = next(model.parameters())  # its device and, in precision "64-true", its dtype
    model.eval()
    try:
        pieces = [model.features(piece.to(like)) for piece in inputs.split(chunk)]
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

    Started by `torchrun`, `fabric run` or `srun` on several processes (`place`), each holds the
    data set and takes its own part of every batch; the gradient is that of the whole batch, batch
    norms see the whole batch, and metrics are reduced by `CollapseMetric` without gathering
    features. The numbers are those of one process up to rounding, if `loss` is a mean over samples
    and nothing in the model is random (dropout draws in each process). Every process returns the
    same; process 0 alone writes the checkpoint, on a disk that all of them read.

    Args:
        model: trained in place and returned.
        dataset: its training split is trained on, its test split only measured.
        epochs: passes over the training split.
        learning_rate: at the start; multiplied by 0.1 at each milestone.
        weight_decay: coefficient of ||theta||^2 / 2, on every parameter.
        momentum: of SGD.
        batch_size: samples per step; a last batch of one sample is left out (batch norm needs two).
        milestones: fractions of `epochs`.
        loss: maps logits `(n, K)` and labels `(n,)` to a scalar, a mean over the n samples.
        seed: of the order of the samples, and of randomness inside the model.
        measure_at: epochs (1 = after the first pass) to measure; `log_schedule(epochs)` if None.
        watch_error: whether to measure, as well, every epoch up to the first at zero training
            error, so that the terminal phase begins where it does: a forward pass an epoch.
        observe: called as `observe(epoch, train, test)` with both passes at each measured epoch; in
            several processes, each of them gathers the passes for it.
        accelerator: Lightning Fabric's: "cpu", "cuda", "mps" or "auto".
        precision: Lightning Fabric's: "32-true", "bf16-mixed", ...
        progress: whether to show a progress bar.
        checkpoint: file that keeps the state after each epoch. If it exists, training goes on from
            there; on the CPU a run that was killed then ends bit-identical to one that was not.
            `observe` is not called again for the epochs before: under `checkpoints_in` it is.

    Returns:
        The model and its `History`: "epoch", "loss", "train_error", the columns `MEASURED` on the
        training split, and, where there are test samples, "test_error" and the same columns with
        "test_" in front. Conventions are Papyan's.

    Raises:
        ValueError: if a number is out of range, the loss becomes NaN (saying at which epoch), or
            the checkpoint is damaged or of a run with other settings (saying which), or the
            processes do not hold the same data and checkpoint.
        OSError: what the system says, if the checkpoint cannot be written.
    """
    _check_fit(dataset, epochs, learning_rate, weight_decay, batch_size, milestones)
    here, keeper = place(), _KEEPER.get()
    snapshots = None
    if keeper is not None:
        keeper.calls += 1
        call = keeper.calls
        if checkpoint is None:
            checkpoint = keeper.folder / f"fit-{call:04d}.pt"
            snapshots = keeper.folder / f"fit-{call:04d}" if observe is not None else None
    fabric = _fabric(here, accelerator, precision)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=learning_rate, momentum=momentum, weight_decay=weight_decay,
        foreach=True,  # fewer calls a step, and bit for bit the same (fused steps are not)
    )  # fmt: skip
    trained, optimizer = fabric.setup(model, optimizer)
    inputs, labels = fabric.to_device((dataset.inputs, dataset.labels))
    # Fabric rounds the logits of precision "64-true" to float32, unless told in which to compute.
    in_double = fabric.autocast if next(model.parameters()).dtype == torch.double else nullcontext
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

    def passes() -> tuple[Features, Features]:
        """Both splits once through the network; of several processes, each its own part."""
        return (
            extract(model, here.part(dataset.inputs), here.part(dataset.labels)),
            extract(model, here.part(dataset.test_inputs), here.part(dataset.test_labels)),
        )

    def observed(epoch: int, train: Features, test: Features) -> None:
        if observe is not None:
            observe(epoch, _whole(train, here), _whole(test, here))

    with seeded(seed), _one_batch_norm(model, here):
        first = 1
        if checkpoint is not None and Path(checkpoint).exists():
            first, rows = _resume(checkpoint, settings, model, optimizer, generator)
        _agree(here, {"first epoch": first, **settings})
        if snapshots is not None:
            _observe_again(snapshots, rows, model, lambda epoch: observed(epoch, *passes()))
        terminal = not watch_error or any(row["train_error"] == 0 for row in rows)
        for epoch in tqdm(
            range(first, epochs + 1),
            initial=first - 1,
            total=epochs,
            unit="epoch",
            leave=False,
            disable=not progress or keeper is not None or here.rank > 0,
        ):
            trained.train()
            order = torch.randperm(len(labels), generator=generator).to(labels.device)
            for batch in order.split(batch_size):
                if len(batch) < 2:
                    continue
                mine = here.part(batch)  # in one process: the whole batch
                with in_double():
                    logits = trained(inputs[mine])
                if len(mine) == len(batch):
                    value = loss(logits, labels[mine])
                else:
                    value = _share(loss, logits, labels[mine], here.processes / len(batch))
                optimizer.zero_grad()
                fabric.backward(value)
                optimizer.step()
            if epoch in drops:
                for group in optimizer.param_groups:
                    group["lr"] *= 0.1
            if epoch in wanted or not terminal:
                train, test = passes()
                rows.append(_row(epoch, model.classifier, train, test, loss, here))
                terminal = terminal or rows[-1]["train_error"] == 0
                if snapshots is not None and here.rank == 0:
                    _snapshot(snapshots, epoch, model)
                observed(epoch, train, test)
                if keeper is not None and keeper.tell is not None:
                    keeper.tell(call, epochs, rows[-1])
            if checkpoint is not None and here.rank == 0:
                _keep(checkpoint, settings, epoch, rows, model, optimizer, generator)
    model.eval()
    return model, History({name: [row[name] for row in rows] for name in rows[0]})


# Several processes --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Which of how many processes this is, and on how many machines they are spread.

    Attributes:
        rank: 0 for the one that writes and prints.
        processes: how many there are.
        machines: on how many machines, equally many on each.
    """

    rank: int = 0
    processes: int = 1
    machines: int = 1

    def part(self, samples: Tensor) -> Tensor:
        """The rows of this process, in order; sizes differ by at most one and may be zero."""
        return samples.tensor_split(self.processes)[self.rank]


def place() -> Place:
    """Where `torchrun` (or `fabric run`, which calls it) or `srun` has started this process.

    Read from the variables that they set; a process that neither has started is the only one.

    Raises:
        ValueError: if the machines do not run equally many processes.
    """
    env = os.environ
    if torch.distributed.is_available() and torch.distributed.is_torchelastic_launched():
        rank, processes = int(env["RANK"]), int(env["WORLD_SIZE"])
        machines, left = divmod(processes, int(env["LOCAL_WORLD_SIZE"]))
    elif "SLURM_STEP_NUM_TASKS" in env:  # set by srun alone, not by sbatch and salloc
        rank, processes = int(env["SLURM_PROCID"]), int(env["SLURM_STEP_NUM_TASKS"])
        machines = int(env.get("SLURM_STEP_NUM_NODES", "1"))
        left = processes % machines
    else:
        return Place()
    if left:
        raise ValueError(f"{processes} processes are not equally many on each machine")
    return Place(rank, processes, machines)


def _fabric(here: Place, accelerator: str, precision: Any) -> Fabric:
    if here.processes == 1:
        return Fabric(accelerator=accelerator, devices=1, precision=precision)
    fabric = Fabric(
        accelerator=accelerator,
        devices=here.processes // here.machines,
        num_nodes=here.machines,
        strategy="ddp",
        precision=precision,
    )
    if "LT_CLI_USED" not in os.environ:  # `fabric run` has launched already
        fabric.launch()
    return fabric


def _share(
    loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, labels: Tensor, factor: float
) -> Tensor:
    """A process's share of the batch's mean loss, times the number of processes.

    Averaged over the processes, as `DistributedDataParallel` does with gradients, these are the
    batch's mean. Without samples the share is 0, with a graph, as every process has to take part.

    Args:
        loss: mean over samples.
        logits: of this process's n samples, `(n, K)`.
        labels: `(n,)`.
        factor: number of processes over the size of the whole batch.
    """
    return loss(logits, labels) * (len(labels) * factor) if len(labels) else logits.sum()


@contextmanager
def _one_batch_norm(model: nn.Module, here: Place) -> Iterator[None]:
    """Inside, the batch norms of several processes take mean and variance over the whole batch."""
    classes = {norm: type(norm) for norm in model.modules() if isinstance(norm, _BatchNorm)}
    try:
        for norm in classes if here.processes > 1 else ():
            norm.__class__ = _SharedBatchNorm
        yield
    finally:
        for norm, kind in classes.items():
            norm.__class__ = kind


class _SharedBatchNorm(_BatchNorm):
    """Batch norm over the parts of all processes; torch's `SyncBatchNorm` has no CPU version."""

    def _check_input_dim(self, inputs: Tensor) -> None:
        pass

    def forward(self, inputs: Tensor) -> Tensor:
        """As `_BatchNorm.forward`, with two sums over the processes: of values, of squares."""
        if not self.training:
            return super().forward(inputs)
        axes = [0, *range(2, inputs.ndim)]
        shape = [1, -1] + [1] * (inputs.ndim - 2)
        values = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
        count = _sum(values.new_tensor(inputs.numel() // inputs.shape[1]))
        mean = _sum(values.sum(axes)) / count
        centred = values - mean.view(shape)
        variance = _sum(centred.square().sum(axes)) / count
        if self.running_mean is not None and self.running_var is not None:
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
            rate = self.momentum if self.momentum is not None else 1 / self.num_batches_tracked
            with torch.no_grad():
                unbiased = variance * (count / (count - 1))
                self.running_mean.lerp_(mean.to(self.running_mean), float(rate))
                self.running_var.lerp_(unbiased.to(self.running_var), float(rate))
        scaled = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            scaled = scaled * self.weight.view(shape) + self.bias.view(shape)
        return scaled.to(inputs.dtype)


class _Sum(torch.autograd.Function):
    """The sum over the processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return _Sum.forward(ctx, gradient)


def _sum(values: Tensor) -> Tensor:
    return _Sum.apply(values)  # type: ignore[no-any-return, no-untyped-call]


def _agree(here: Place, facts: Mapping[str, Any]) -> None:
    """Raise unless all processes are about to do the same."""
    if here.processes == 1:
        return
    found = _gathered(dict(facts), here)
    for rank, other in enumerate(found):
        for name, value in found[0].items():
            if other[name] != value:
                raise ValueError(
                    f"process {rank} has {name} {other[name]} and process 0 has {value}: all need "
                    "the same data, settings, and a checkpoint on a disk that they share"
                )


def _gathered(value: Any, here: Place) -> list[Any]:
    """What every process has, in order of the processes."""
    values: list[Any] = [value] * here.processes
    if here.processes > 1:
        torch.distributed.all_gather_object(values, value)
    return values


def _whole(part: Features, here: Place) -> Features:
    """The passes of all processes, in the data set's order."""
    if here.processes == 1:
        return part
    parts = _gathered(part, here)
    return Features(
        torch.cat([p.features for p in parts]),
        torch.cat([p.logits for p in parts]),
        torch.cat([p.labels for p in parts]),
    )


# Checkpoints --------------------------------------------------------------------------------------


@dataclass
class _Keeper:
    """What `checkpoints_in` asks of the calls of `fit` inside it."""

    folder: Path
    tell: Callable[[int, int, Mapping[str, float | int]], None] | None
    calls: int = 0


_KEEPER: ContextVar[_Keeper | None] = ContextVar("keeper", default=None)


@contextmanager
def checkpoints_in(
    folder: str | Path,
    *,
    tell: Callable[[int, int, Mapping[str, float | int]], None] | None = None,
) -> Iterator[None]:
    """Inside, every call of `fit` without a checkpoint of its own keeps one in `folder`.

    The files are `fit-0001.pt`, `fit-0002.pt`, ... in order of the calls. Entered again with the
    same folder after a kill, the same calls in the same order take up what is there: finished ones
    return at once, the one that was killed goes on, and what comes out is bit-identical to an
    undisturbed run on the CPU. A call with other settings or data than its file is refused; a
    changed loss or initial network is not noticed, so do not edit code in between.

    Where a call has `observe`, the epochs that were done are *observed again*, so that nothing is
    missing in what the caller builds from them: the weights at each measured epoch are kept in
    `fit-0001/`, put back, and both splits passed through. That takes the space of one network a
    measured epoch; the folders may be removed once all is done.

    Args:
        folder: made if it is missing.
        tell: called as `tell(call, epochs, row)` with each new row of a history: the number of the
            call, its epochs in all, the row. `fit` shows no progress bars inside.
    """
    if place().rank == 0:
        Path(folder).mkdir(parents=True, exist_ok=True)
    token = _KEEPER.set(_Keeper(Path(folder), tell))
    try:
        yield
    finally:
        _KEEPER.reset(token)


def _snapshot(folder: Path, epoch: int, model: nn.Module) -> None:
    """Keep what `_observe_again` needs of a measured epoch."""
    folder.mkdir(exist_ok=True)
    state = {"model": model.state_dict(), "random": torch.random.get_rng_state()}
    _save(folder / f"epoch-{epoch:06d}.pt", state)


def _observe_again(
    folder: Path,
    rows: Sequence[Mapping[str, float | int]],
    model: Classifier,
    observe: Callable[[int], None],
) -> None:
    """Call `observe` for the epochs of a resumed run that were measured before it was killed."""
    if not rows:
        return
    now = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.random.get_rng_state()
    for row in rows:
        epoch = int(row["epoch"])
        state = _load(folder / f"epoch-{epoch:06d}.pt")
        model.load_state_dict(state["model"])
        torch.random.set_rng_state(state["random"])
        observe(epoch)
    model.load_state_dict(now)
    torch.random.set_rng_state(random)


def _load(path: str | Path) -> dict[str, Any]:
    """Tensors and plain values from a file, never code."""
    try:
        with zipfile.ZipFile(path) as archive:  # torch itself would not notice an altered number
            altered = archive.testzip()
        if altered is not None:
            raise ValueError(f"{altered} is not what was written")
        state = torch.load(path, map_location="cpu", weights_only=True)
        return dict(state) | {"model": dict(state["model"])}
    except Exception as error:  # whatever zipfile or torch meets in a damaged file
        raise ValueError(
            f"{path} is no checkpoint of `fit` ({error}); delete it to start anew"
        ) from error


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
    _save(path, state)


def _save(path: str | Path, state: dict[str, Any]) -> None:
    """Write in one step, by way of memory: on a full disk torch would say "unexpected pos 64"."""
    content = io.BytesIO()
    torch.save(state, content)
    with replaced(path) as beside:
        beside.write_bytes(content.getbuffer())


def _resume(
    path: str | Path,
    settings: dict[str, Any],
    model: nn.Module,
    optimizer: Any,
    generator: torch.Generator,
) -> tuple[int, list[dict[str, float | int]]]:
    """Put back what `_keep` wrote; returns the next epoch and the rows so far."""
    state = _load(path)
    kept = state.get("settings")
    kept = kept if isinstance(kept, dict) else {}
    other = [name for name in settings if kept.get(name) != settings[name]]
    if other:
        raise ValueError(
            f"{path} belongs to a run with another {', '.join(other)}; delete it to start anew, or "
            "call fit with the settings it was made with"
        )
    try:
        model.load_state_dict(state["model"])
    except Exception as error:  # torch raises several kinds
        raise ValueError(f"{path} belongs to another model: {error}") from error
    try:
        optimizer.load_state_dict(state["optimizer"])
        generator.set_state(state["order"])
        torch.random.set_rng_state(state["random"])
        return _epoch_and_rows(state, settings)
    except Exception as error:
        raise ValueError(
            f"{path} is no checkpoint of `fit` ({error}); delete it to start anew"
        ) from error


def _epoch_and_rows(
    state: Mapping[str, Any], settings: Mapping[str, Any]
) -> tuple[int, list[dict[str, float | int]]]:
    """The next epoch and the rows so far, if they can be those of a run with these settings."""
    epoch, rows = state["epoch"], state["rows"]
    if type(epoch) is not int or not 1 <= epoch <= settings["epochs"]:
        raise ValueError(f"its epoch is {epoch!r}")
    due = {wanted for wanted in settings["measure_at"] if 1 <= wanted <= epoch}
    epochs = [row["epoch"] for row in rows]
    if epochs != sorted({*epochs}) or not due <= {*epochs} <= {*range(1, epoch + 1)}:
        raise ValueError(f"its rows are of the epochs {epochs}")
    for row in rows:
        if list(row) != list(rows[0]) or not all(type(x) in (int, float) for x in row.values()):
            raise ValueError(f"a row is {row!r}")
    return epoch + 1, rows


# Measuring ----------------------------------------------------------------------------------------


def _row(
    epoch: int,
    classifier: nn.Linear,
    train: Features,
    test: Features,
    loss: Callable[[Tensor, Tensor], Tensor],
    here: Place,
) -> dict[str, float | int]:
    """One row of the history; of several processes, each gives its parts of the splits."""
    value = _mean(loss(train.logits, train.labels).item(), train, here)
    if not math.isfinite(value):
        raise ValueError(f"the loss is {value} after epoch {epoch}: lower the learning rate")
    row: dict[str, float | int] = {"epoch": epoch, "loss": value}
    row["train_error"] = _mean(train.error, train, here)
    row |= _measured(train, classifier, here)
    if sum(_gathered(len(test.labels), here)):
        row["test_error"] = _mean(test.error, test, here)
        row |= {f"test_{name}": value for name, value in _measured(test, classifier, here).items()}
    return row


def _mean(value: float, part: Features, here: Place) -> float:
    """The mean over all samples from the means over each process's part of them."""
    if here.processes == 1:
        return value
    size = len(part.labels)
    shares = _gathered((value * size if size else 0.0, size), here)
    return sum(share for share, _ in shares) / sum(size for _, size in shares)


def _measured(passed: Features, classifier: nn.Linear, here: Place) -> dict[str, float]:
    weight = classifier.weight.detach().cpu()
    bias = None if classifier.bias is None else classifier.bias.detach().cpu()
    if here.processes == 1:
        report = measure(passed.features, passed.labels, weight, bias)
        return {name: float(getattr(report, name)) for name in MEASURED}
    last = copy.deepcopy(classifier).cpu()
    metric = CollapseMetric(len(weight), classifier=last)
    metric.update(passed.features, passed.labels)
    report = metric.compute()
    with metric.sync_context(dist_sync_fn=metric.dist_sync_fn):
        means = metric.class_means()  # of all processes' samples, which NC4 has to know
    differ = last(passed.features).argmax(1) != nearest_class_mean(passed.features, means)
    nc4 = _mean(differ.double().mean().item(), passed, here)
    return {name: nc4 if name == "nc4" else float(getattr(report, name)) for name in MEASURED}


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
