"""Features in a file: what a network of yours saw, to be measured here or elsewhere.

An `.npz` file of NumPy with the arrays `features` (N, d) and `labels` (N,), and, where there is a
linear classifier, its `weight` (K, d) and `bias` (K,).
"""

import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ncourse.files import check_zip, replaced
from ncourse.metrics import CollapseReport, measure

__all__ = ["Saved", "load", "save"]


@dataclass(frozen=True)
class Saved:
    """What a file holds.

    Attributes:
        features: `(N, d)`.
        labels: `(N,)`.
        weight: `(K, d)`, None without a classifier.
        bias: `(K,)` or None.
    """

    features: Tensor
    labels: Tensor
    weight: Tensor | None = None
    bias: Tensor | None = None

    def measure(self, *, convention: str = "papyan") -> CollapseReport:
        """The report; without a classifier there are as many classes as the largest label says.

        Raises:
            TypeError, ValueError: as `ncourse.metrics.measure`.
        """
        classes = None
        if self.weight is None:
            classes = max(2, int(self.labels.max()) + 1) if self.labels.numel() else 2
        return measure(
            self.features,
            self.labels,
            self.weight,
            self.bias,
            convention=convention,
            num_classes=classes,
        )


def save(
    path: str | Path,
    features: Tensor,
    labels: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
) -> Path:
    """Write an `.npz` file, which is whole or not there; returns the path.

    Args:
        path: its name ends in `.npz`.
        features: `(N, d)`.
        labels: `(N,)`.
        weight: `(K, d)`, if there is a classifier.
        bias: `(K,)`.

    Raises:
        ValueError: for another name.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"path is {path}; expected a name that ends in .npz")
    given = {"features": features, "labels": labels, "weight": weight, "bias": bias}
    arrays: dict[str, Any] = {
        name: tensor.detach().cpu().numpy() for name, tensor in given.items() if tensor is not None
    }
    with replaced(path) as beside, beside.open("wb") as file:
        np.savez(file, **arrays)
    return path


def load(path: str | Path) -> Saved:
    """Read what `save` wrote, or such a dict of tensors written by `torch.save` (`.pt`).

    Nothing in a file is executed: neither NumPy nor PyTorch may unpickle objects here.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming the file, if it is of another kind, damaged, or lacks features or labels.
    """
    path = Path(path)
    if path.suffix not in (".npz", ".pt", ".pth"):
        raise ValueError(f"{path}: expected a file whose name ends in .npz or .pt")
    try:
        found: Any
        if path.suffix == ".npz":
            # Opened here, as NumPy leaves the file open if it cannot read it.
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                found = {name: torch.from_numpy(file[name]) for name in file.files}
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what torch warns of, it refuses next
                if zipfile.is_zipfile(path):
                    check_zip(path)
                found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # whatever NumPy or PyTorch meets in a damaged file
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, Mapping):
        raise ValueError(f"{path} holds a {type(found).__name__}; expected named tensors")
    tensors = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    for name in ("features", "labels"):
        if name not in tensors:
            there = ", ".join(map(str, found)) or "nothing"
            raise ValueError(f"{path} has no array {name!r}; it has {there}")
    return Saved(tensors["features"], tensors["labels"], tensors.get("weight"), tensors.get("bias"))
