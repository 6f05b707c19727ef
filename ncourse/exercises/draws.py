"""What the cases of exercises are drawn from: numbers, frames, labels and clouds.

Everything is float64 and comes from the generator that is passed in. Frames are made by
reflections and not by a decomposition: an answer that decomposes shall not meet its own output.
"""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Generator, Tensor

__all__ = [
    "clouds",
    "integer",
    "labels",
    "log_uniform",
    "normal",
    "one_of",
    "orthonormal",
    "shuffled",
    "uniform",
]

T = TypeVar("T")


def integer(generator: Generator, low: int, high: int) -> int:
    """A whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def uniform(generator: Generator, low: float, high: float) -> float:
    """A number between low and high."""
    share = torch.rand((), generator=generator, dtype=torch.float64).item()
    return low + (high - low) * share


def log_uniform(generator: Generator, low: float, high: float) -> float:
    """A number between low and high, both positive, each power of ten as likely as any other."""
    return low * (high / low) ** uniform(generator, 0, 1)


def one_of(generator: Generator, options: Sequence[T]) -> T:
    """One of these."""
    return options[integer(generator, 0, len(options) - 1)]


def shuffled(generator: Generator, items: Sequence[T]) -> list[T]:
    """The same items in another order."""
    return [items[i] for i in torch.randperm(len(items), generator=generator).tolist()]


def normal(generator: Generator, *shape: int) -> Tensor:
    """Independent standard normal numbers, (*shape)."""
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def orthonormal(generator: Generator, count: int, dim: int) -> Tensor:
    """Orthonormal rows, (count, dim): axes with random signs, turned by `dim` reflections."""
    axes = torch.randperm(dim, generator=generator)[:count]
    signs = 2.0 * torch.randint(2, (count, 1), generator=generator) - 1
    rows = signs * torch.eye(dim, dtype=torch.float64)[axes]
    for _ in range(dim):
        mirror = normal(generator, dim)
        rows = rows - 2 * (rows @ mirror)[:, None] * mirror / mirror.square().sum()
    return rows


def labels(generator: Generator, counts: Sequence[int]) -> Tensor:
    """Shuffled labels with so many of class 0, 1, 2 and so on, (sum of counts,)."""
    ordered = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return ordered[torch.randperm(len(ordered), generator=generator)]


def clouds(
    generator: Generator,
    counts: Sequence[int],
    dim: int,
    *,
    spread: float = 0.5,
    offset: float = 3.0,
) -> tuple[Tensor, Tensor]:
    """Features (N, dim) around random class means away from the origin, and their labels (N,)."""
    of_class = labels(generator, counts)
    means = 2 * normal(generator, len(counts), dim) + offset
    return means[of_class] + spread * normal(generator, len(of_class), dim), of_class
