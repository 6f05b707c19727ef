"""Several processes that train as one: which this is, and what they do together."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["Hardware", "Place", "device", "hardware", "place"]


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


@dataclass(frozen=True)
class Hardware:
    """On what `fit` trains where it is not told.

    Attributes:
        accelerator: Lightning Fabric's: "cpu", "cuda", "mps" or "auto".
        precision: Lightning Fabric's: "32-true", "bf16-mixed", ...
        compiled: whether training steps go through `torch.compile`.
    """

    accelerator: str = "cpu"
    precision: str = "32-true"
    compiled: bool = False


_HARDWARE: ContextVar[Hardware] = ContextVar("hardware", default=Hardware())  # noqa: B039


@contextmanager
def hardware(chosen: Hardware) -> Iterator[None]:
    """Inside, every call of `fit` that does not say otherwise trains on this.

    >>> with hardware(Hardware(precision="bf16-mixed")):
    ...     _HARDWARE.get().precision
    'bf16-mixed'
    """
    token = _HARDWARE.set(chosen)
    try:
        yield
    finally:
        _HARDWARE.reset(token)


def device() -> torch.device:
    """The device of the `hardware` chosen, for networks that are not trained through `fit`.

    >>> device()
    device(type='cpu')

    Raises:
        ValueError: for a device that this machine does not have.
    """
    chosen = _HARDWARE.get().accelerator
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if chosen == "auto":
        return torch.device(next((name for name, is_there in there.items() if is_there), "cpu"))
    if chosen != "cpu" and not there.get(chosen, False):
        raise ValueError(f"accelerator is {chosen!r}, and this machine has none — use 'auto'")
    return torch.device(chosen)


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


def _start_fabric(here: Place, accelerator: str, precision: Any) -> Any:
    from lightning_fabric import Fabric  # it loads torchmetrics, and that torchvision

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


def _batch_loss(
    loss: Callable[[Tensor, Tensor], Tensor],
    logits: Tensor,
    labels: Tensor,
    batch_size: int,
    here: Place,
) -> Tensor:
    """What each process differentiates, so that together it is the mean loss of the batch.

    `DistributedDataParallel` averages gradients over the processes, so each takes its samples'
    share of the batch's mean, times the number of processes. Without samples the share is 0, with
    a graph, as every process has to take part.

    Args:
        loss: mean over samples.
        logits: of this process's n samples, `(n, K)`.
        labels: `(n,)`.
        batch_size: of the whole batch.
        here: this process.
    """
    if here.processes == 1:
        return loss(logits, labels)
    factor = here.processes / batch_size
    return loss(logits, labels) * (len(labels) * factor) if len(labels) else logits.sum()


@contextmanager
def _synchronised_batch_norms(model: nn.Module, here: Place) -> Iterator[None]:
    """Inside, the batch norms of several processes take mean and variance over the whole batch."""
    classes = {norm: type(norm) for norm in model.modules() if isinstance(norm, _BatchNorm)}
    try:
        for norm in classes if here.processes > 1 else ():
            norm.__class__ = _SynchronisedBatchNorm
        yield
    finally:
        for norm, kind in classes.items():
            norm.__class__ = kind


class _SynchronisedBatchNorm(_BatchNorm):
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
        count = _all_reduce(values.new_tensor(inputs.numel() // inputs.shape[1]))
        mean = _all_reduce(values.sum(axes)) / count
        centred = values - mean.view(shape)
        variance = _all_reduce(centred.square().sum(axes)) / count
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


class _AllReduce(torch.autograd.Function):
    """The sum over the processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return _AllReduce.forward(ctx, gradient)


def _all_reduce(values: Tensor) -> Tensor:
    return _AllReduce.apply(values)  # type: ignore[no-any-return, no-untyped-call]


def _check_processes_agree(here: Place, facts: Mapping[str, Any]) -> None:
    """Raise unless all processes are about to do the same: they would wait for each other."""
    if here.processes == 1:
        return
    found = _all_gather(dict(facts), here)
    for rank, other in enumerate(found):
        for name, value in found[0].items():
            if other[name] != value:
                raise ValueError(
                    f"process {rank} has {name} {other[name]} and process 0 has {value}: all need "
                    "the same data, settings, and a checkpoint on a disk that they share"
                )


def _all_gather(value: Any, here: Place) -> list[Any]:
    """What every process has, in order of the processes."""
    values: list[Any] = [value] * here.processes
    if here.processes > 1:
        torch.distributed.all_gather_object(values, value)
    return values
