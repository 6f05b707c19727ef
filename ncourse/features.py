"""Features in a file: what a network of yours saw, to be measured here or elsewhere.

Named arrays `features` (N, d) and `labels` (N,), and, where there is a linear classifier, its
`weight` (K, d) and `bias` (K,), and perhaps the model's own `logits` (N, K): in an `.npz` file of
NumPy, a dictionary of PyTorch (`.pt`), or a `.safetensors` file. A table (`.csv`) has one row a
sample and a column of labels; an `.npy` file has the features alone, and others the rest.
"""

import csv
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ncourse.files import check_zip, replaced
from ncourse.metrics import CollapseReport, measure
from ncourse.metrics.inputs import ArrayLike

__all__ = ["Saved", "load", "save"]

NAMES = ("features", "labels", "weight", "bias", "logits")
KINDS = (".npz", ".npy", ".csv", ".pt", ".pth", ".safetensors")
LABELS = ("labels", "label", "targets", "target", "class", "y")
"""What the column of labels in a table may be called."""


@dataclass(frozen=True)
class Saved:
    """What a file holds: tensors, but for labels that are names.

    Attributes:
        features: `(N, d)`.
        labels: `(N,)`, integers or names.
        weight: `(K, d)`, None without a classifier.
        bias: `(K,)` or None.
        logits: `(N, K)`, the model's own, or None.
    """

    features: ArrayLike
    labels: ArrayLike
    weight: ArrayLike | None = None
    bias: ArrayLike | None = None
    logits: ArrayLike | None = None

    def measure(
        self,
        *,
        convention: str = "papyan",
        classes: Sequence[int] | None = None,
        min_samples: int | None = None,
        ignore_index: int | None = None,
    ) -> CollapseReport:
        """The report; without a classifier there are as many classes as the largest label says.

        Raises:
            TypeError, ValueError: as `ncourse.metrics.measure`, which has the same arguments.
        """
        return measure(
            self.features,
            self.labels,
            self.weight,
            self.bias,
            logits=self.logits,
            convention=convention,
            classes=classes,
            min_samples=min_samples,
            ignore_index=ignore_index,
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


def load(
    path: str | Path,
    *,
    labels: str | Path | None = None,
    weight: str | Path | None = None,
    bias: str | Path | None = None,
) -> Saved:
    """Read what `save` wrote, or another file of these kinds.

    Nothing in a file is executed: neither NumPy nor PyTorch may unpickle objects here.

    Args:
        path: a file whose name ends in one of `KINDS`.
        labels: an `.npy` file, in place of what `path` has; so are weight and bias.
        weight: `(K, d)`.
        bias: `(K,)`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming the file, if it is of another kind, damaged, or lacks features or labels;
            or if what reads it is not installed.
    """
    path = Path(path)
    if path.suffix not in KINDS:
        raise ValueError(f"{path}: expected a file whose name ends in {', '.join(KINDS)}")
    found = _read(path)
    for name, other in (("labels", labels), ("weight", weight), ("bias", bias)):
        if other is not None:
            if Path(other).suffix != ".npy":
                raise ValueError(f"{other}: expected {name} in a file whose name ends in .npy")
            found[name] = _read(Path(other))["features"]
    for name in ("features", "labels"):
        if name not in found:
            hint = " — name a file of them with --labels" if path.suffix == ".npy" else ""
            there = ", ".join(map(str, found)) or "nothing"
            raise ValueError(f"{path} has no array {name!r}; it has {there}{hint}")
    return Saved(**{name: found[name] for name in NAMES if name in found})


def _read(path: Path) -> dict[str, Any]:
    """The arrays of a file, by name."""
    if not path.is_file():
        raise FileNotFoundError(f"No such file: {path}")
    try:
        if path.suffix == ".csv":
            return _read_table(path)
        if path.suffix in (".npz", ".npy"):
            # Opened here, as NumPy leaves the file open if it cannot read it.
            with path.open("rb") as opened, np.errstate(all="ignore"):
                file = np.load(opened, allow_pickle=False)
                if isinstance(file, np.ndarray):
                    return {"features": _as_tensor(file)}
                return {name: _as_tensor(file[name]) for name in file.files}
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch warns of, it refuses next
            if zipfile.is_zipfile(path):
                check_zip(path)
            held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever NumPy or PyTorch meets in a damaged file
        what = str(error)
        if "weights_only" in what:  # its advice is to run what is in the file
            what = "it holds objects; expected a dictionary of tensors, and nothing else"
        raise ValueError(f"{path} cannot be read: {what}") from error
    if not isinstance(held, Mapping):
        raise ValueError(f"{path} holds a {type(held).__name__}; expected named tensors")
    return {str(name): value for name, value in held.items() if isinstance(value, Tensor | list)}


def _as_tensor(array: np.ndarray) -> ArrayLike:
    """A tensor of the same dtype where torch has it; the array where it has not (names)."""
    try:
        return torch.from_numpy(array)
    except (TypeError, ValueError):
        return array


def _read_table(path: Path) -> dict[str, Any]:
    """Features from all columns of a table but the one of labels."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        header, *rows = [row for row in csv.reader(file) if row] or [[]]
    columns = [name for name in header if name.strip().lower() in LABELS]
    if len(columns) != 1:
        raise ValueError(
            f"its columns are {', '.join(header[:8])}; expected one called {', '.join(LABELS)}"
        )
    if any(len(row) != len(header) for row in rows):
        raise ValueError(f"a row has another number of columns than the first, {len(header)}")
    at = header.index(columns[0])
    labels: list[Any] = [row[at] for row in rows]
    if all(label.strip().lstrip("+-").isdecimal() for label in labels):
        labels = [int(label) for label in labels]
    features = [[float(x) for x in row[:at] + row[at + 1 :]] for row in rows]
    return {"features": np.array(features, np.float64).reshape(len(rows), -1), "labels": labels}


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        from safetensors.torch import load_file
    except ModuleNotFoundError as error:
        raise ValueError("it needs: pip install safetensors") from error
    return dict(load_file(path))
