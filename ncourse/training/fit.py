"""The training loop: epochs, batches, steps, and collapse measured on a schedule."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ncourse.data import Dataset, in_memory
from ncourse.metrics.checks import check_classifier
from ncourse.metrics.linear import linear_parts
from ncourse.models import Classifier, found_classifier, seeded
from ncourse.progress import progress_bar
from ncourse.training import processes
from ncourse.training.checkpoints import _Checkpoint
from ncourse.training.history import History
from ncourse.training.measuring import (
    Features,
    _extract_splits,
    _gather_features,
    _history_row,
    log_schedule,
)
from ncourse.training.processes import (
    _batch_loss,
    _check_processes_agree,
    _start_fabric,
    _synchronised_batch_norms,
)

__all__ = ["fit"]


def fit(
    *,
    model: nn.Module,
    dataset: Dataset | Iterable[Any],
    epochs: int,
    learning_rate: float = 0.05,
    weight_decay: float = 5e-4,
    momentum: float = 0.9,
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] | None = None,
    batch_size: int = 128,
    milestones: Sequence[float] = (1 / 3, 2 / 3),
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    seed: int = 0,
    measure_at: Sequence[int] | None = None,
    watch_error: bool = True,
    observe: Callable[[int, Features, Features], None] | None = None,
    accelerator: str | None = None,
    precision: Any = None,
    compiled: bool | None = None,
    progress: bool = True,
    checkpoint: str | Path | None = None,
) -> tuple[Any, History]:
    """Train, and measure collapse on a schedule, each time from one forward pass.

    Started by `torchrun`, `fabric run` or `srun` on several processes (`place`), each holds the
    data set and takes its own part of every batch; the gradient is that of the whole batch, batch
    norms see the whole batch, and metrics are reduced by `CollapseMetric` without gathering
    features. The numbers are those of one process up to rounding, if `loss` is a mean over samples
    and nothing in the model is random (dropout draws in each process). Every process returns the
    same; process 0 alone writes the checkpoint, on a disk that all of them read.

    Args:
        model: trained in place and returned. Where it is no `Classifier`, its last linear layer is
            found as `capture` finds it, and must be all that follows the features.
        dataset: its training split is trained on, its test split only measured; or batches of
            (inputs, labels), such as a `DataLoader`, which are read once and kept in memory.
        epochs: passes over the training split.
        learning_rate: of SGD at the start; multiplied by 0.1 at each milestone.
        weight_decay: coefficient of ||theta||^2 / 2, on every parameter.
        momentum: of SGD.
        optimizer: makes another one than SGD from the parameters, with settings of its own, as
            `lambda parameters: torch.optim.AdamW(parameters, lr=1e-3)`; milestones multiply the
            learning rates of its groups.
        batch_size: samples per step; a last batch of one sample is left out (batch norm needs two).
        milestones: fractions of `epochs`.
        loss: maps logits `(n, K)` and labels `(n,)` to a scalar, a mean over the n samples.
        seed: of the order of the samples, and of randomness inside the model.
        measure_at: epochs (1 = after the first pass) to measure; `log_schedule(epochs)` if None.
        watch_error: whether to measure, as well, every epoch up to the first at zero training
            error, so that the terminal phase begins where it does: a forward pass an epoch.
        observe: called as `observe(epoch, train, test)` with both passes at each measured epoch; in
            several processes, each of them gathers the passes for it.
        accelerator: Lightning Fabric's: "cpu", "cuda", "mps" or "auto"; that of `hardware`, which
            is "cpu" unless it was set, if None.
        precision: Lightning Fabric's: "32-true", "bf16-mixed", ...; that of `hardware` if None.
        compiled: whether steps go through `torch.compile`; as `hardware` says if None.
        progress: whether to show a progress bar, with the training error and NC1 measured last.
        checkpoint: file that keeps the state after each epoch. If it exists, training goes on from
            there; on the CPU a run that was killed then ends bit-identical to one that was not.
            `observe` is not called again for the epochs before: under `checkpoints_in` it is.

    Returns:
        The model and its `History`: "epoch", "loss", "train_error", the columns `MEASURED` on the
        training split, and, where there are test samples, "test_error" and the same columns with
        "test_" in front. Conventions are Papyan's.

    Raises:
        ValueError: if a number is out of range, a setting of SGD is given beside `optimizer`, the
            loss becomes NaN (saying at which epoch), or the checkpoint is damaged or of a run with
            other settings (saying which), or the processes do not hold the same data and
            checkpoint.
        OSError: what the system says, if the checkpoint cannot be written.
    """
    given, network = model, cast(Any, model)
    if not isinstance(dataset, Dataset):
        dataset = in_memory(dataset)
    # The names are not enough: `features` of torchvision's DenseNet are not pooled yet.
    if not isinstance(model, Classifier):
        network = model = found_classifier(model, dataset.inputs[:2])
    usual = processes._HARDWARE.get()
    accelerator = usual.accelerator if accelerator is None else accelerator
    precision = usual.precision if precision is None else precision
    compiled = usual.compiled if compiled is None else compiled
    _check_fit(dataset, epochs, learning_rate, weight_decay, batch_size, milestones)
    _check_classes(dataset, network.classifier)
    sgd = {"learning_rate": learning_rate, "weight_decay": weight_decay, "momentum": momentum}
    if optimizer is None:
        optim: Any = torch.optim.SGD(
            model.parameters(), lr=learning_rate, momentum=momentum, weight_decay=weight_decay,
            foreach=True,  # fewer calls a step, and bit for bit the same (fused steps are not)
        )  # fmt: skip
    else:
        _check_sgd_is_default(**sgd)
        optim = optimizer(model.parameters())
    wanted = set(log_schedule(epochs) if measure_at is None else measure_at) | {epochs}
    settings = {
        "data": dataset.checksum,
        "epochs": epochs,
        **sgd,
        "optimizer": None if optimizer is None else _optimizer_settings(optim),
        "batch_size": batch_size,
        "milestones": list(milestones),
        "seed": seed,
        "measure_at": sorted(wanted),
        "watch_error": watch_error,
        "precision": str(precision),
    }
    here = processes.place()
    fabric = _start_fabric(here, accelerator, precision)
    trained, optim = fabric.setup(torch.compile(model) if compiled else model, optim)
    dtype = next(model.parameters()).dtype
    inputs, labels = fabric.to_device((dataset.inputs.to(dtype), dataset.labels))
    # Fabric rounds the logits of precision "64-true" to float32, unless told in which to compute.
    in_double = fabric.autocast if dtype == torch.double else nullcontext
    drops = {max(1, int(fraction * epochs)) for fraction in milestones}
    generator = torch.Generator().manual_seed(seed)
    state = _Checkpoint(
        checkpoint, settings=settings, model=model, optimizer=optim, generator=generator,
        observed=observe is not None, writes=here.rank == 0,
    )  # fmt: skip

    def observed(epoch: int, train: Features, test: Features) -> None:
        if observe is not None:
            observe(epoch, _gather_features(train, here), _gather_features(test, here))

    with seeded(seed), _synchronised_batch_norms(model, here):
        first, rows = state.resume()
        _check_processes_agree(here, {"first epoch": first, **settings})
        state.observe_again(
            rows, lambda epoch: observed(epoch, *_extract_splits(model, dataset, here))
        )
        terminal = not watch_error or any(row["train_error"] == 0 for row in rows)
        bar = progress_bar(
            range(first, epochs + 1), initial=first - 1, total=epochs, unit="epoch",
            disable=not progress or state.folder is not None or here.rank > 0,
        )  # fmt: skip
        for epoch in bar:
            trained.train()
            order = torch.randperm(len(labels), generator=generator).to(labels.device)
            for batch in order.split(batch_size):
                if len(batch) < 2:
                    continue
                mine = here.part(batch)  # in one process: the whole batch
                with in_double():
                    logits = trained(inputs[mine])
                value = _batch_loss(loss, logits, labels[mine], len(batch), here)
                optim.zero_grad()
                fabric.backward(value)
                optim.step()
            if epoch in drops:
                for group in optim.param_groups:
                    group["lr"] *= 0.1
            if epoch in wanted or not terminal:
                train, test = _extract_splits(model, dataset, here)
                rows.append(_history_row(epoch, network.classifier, train, test, loss, here))
                terminal = terminal or rows[-1]["train_error"] == 0
                shown = f"error {rows[-1]['train_error']:.1%}, NC1 {rows[-1]['nc1']:.2g}"
                bar.set_postfix_str(shown, refresh=False)
                state.save_snapshot(epoch)
                observed(epoch, train, test)
                state.report_row(rows[-1])
            state.save(epoch, rows)
    model.eval()
    return given, History.of(rows)


def _optimizer_settings(optimizer: torch.optim.Optimizer) -> str:
    """Its name and the settings of its groups, for a checkpoint to compare."""
    groups = [
        ", ".join(f"{name}={value!r}" for name, value in group.items() if name != "params")
        for group in optimizer.param_groups
    ]
    return f"{type(optimizer).__name__}({'; '.join(groups)})"


def _check_sgd_is_default(**sgd: float) -> None:
    """Raise if a setting of SGD has been changed where another optimizer would not hear of it."""
    defaults = inspect.signature(fit).parameters
    unused = [name for name, value in sgd.items() if value != defaults[name].default]
    if unused:
        raise ValueError(
            f"{', '.join(unused)} would not be used: optimizer is given, and has its own settings"
        )


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


def _check_classes(dataset: Dataset, classifier: nn.Linear) -> None:
    """Raise, before anything is trained, for what could not be measured afterwards."""
    weight, bias = linear_parts(classifier)
    count = check_classifier(weight, bias, len(weight), "papyan")
    for split, labels in (("training", dataset.labels), ("test", dataset.test_labels)):
        if len(labels) and int(labels.max()) >= count:
            raise ValueError(
                f"{dataset.name} has {split} samples of class {int(labels.max())}; the classifier "
                f"has {count} rows, one a class from 0"
            )
        missing = (labels.bincount(minlength=count) == 0).nonzero().flatten().tolist()
        if len(labels) and missing:
            listed = ", ".join(map(str, missing[:10])) + (", …" if len(missing) > 10 else "")
            raise ValueError(
                f"{dataset.name} has no {split} sample of class {listed}; the classifier has "
                f"{count} rows, and collapse is about all of them"
            )
