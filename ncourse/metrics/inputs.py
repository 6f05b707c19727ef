"""What comes in, as tensors that can be computed with: converted or refused before it is looked at.

Torch has dtypes and layouts for which most of its functions are missing (uint16, float8, sparse,
nested); NumPy has big-endian numbers, masks and strings. Everything public in `ncourse.metrics`
passes its arguments through here first, so that what follows meets four floating-point dtypes,
int64 labels and the strided layout alone.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["ArrayLike", "Labels", "as_labels", "as_numbers"]

ArrayLike = Any
"""A tensor, a NumPy array, what NumPy can make one of, or nested lists of numbers."""

_COMPUTED_WITH = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class Labels:
    """Labels as class indices, with the names that they were given by, if they were."""

    indices: Tensor  # int64
    names: tuple[str, ...] | None = None


def as_numbers(values: ArrayLike, name: str) -> Tensor:
    """Floating-point or integer numbers as a strided tensor, detached.

    Dtypes smaller than half precision become float32, quantised ones what they stand for.

    Raises:
        TypeError: for what has no numbers, or is complex or bool.
        ValueError: for rows of unequal length, or masked values.
    """
    tensor = values.detach() if isinstance(values, Tensor) else _from_numpy(values, name)
    tensor = _dense(tensor, name)
    if tensor.is_quantized:
        tensor = _converted(tensor, torch.float32, name)
    if tensor.is_complex() or tensor.dtype == torch.bool:
        raise TypeError(f"{name} is {_dtype(tensor)}; expected real numbers")
    if tensor.dtype in _COMPUTED_WITH:
        return tensor
    return _converted(tensor, torch.float32 if tensor.is_floating_point() else torch.long, name)


def as_labels(values: ArrayLike) -> Labels:
    """Class indices, from integers of any kind or from names, which are numbered in sorted order.

    Raises:
        TypeError: for floating point, bool, or a mixture.
        ValueError: for rows of unequal length, masked values, or a number that int64 has not.
    """
    if isinstance(values, Tensor):
        given = _dtype(values)
    else:
        array = _as_array(values, "labels")
        given = array.dtype.name
        if array.dtype.kind == "S":
            array = np.char.decode(array, "utf-8")
        if array.dtype.kind in "UT" or (
            array.dtype.kind == "O" and array.size and all(isinstance(x, str) for x in array.flat)
        ):
            names, numbers = np.unique(array.astype(str), return_inverse=True)
            shaped = torch.from_numpy(numbers.reshape(array.shape).astype(np.int64))
            return Labels(shaped, tuple(map(str, names)))
        values = _from_numpy(array, "labels")
    labels = _dense(values.detach(), "labels")
    if (
        labels.is_floating_point()
        or labels.is_complex()
        or labels.is_quantized
        or labels.dtype == torch.bool
    ):
        raise TypeError(f"labels is {given}; expected integer class indices — labels.long()?")
    indices = _converted(labels, torch.long, "labels")
    if labels.dtype == torch.uint64 and bool((indices < 0).any()):
        raise ValueError(
            f"labels contains {int(indices.min()) + 2**64}; expected class indices from 0"
        )
    return Labels(indices)


def _dense(tensor: Tensor, name: str) -> Tensor:
    """The tensor in the strided layout, with storage."""
    if tensor.is_nested:
        raise TypeError(
            f"{name} is a nested tensor; expected one of a single shape — "
            "torch.cat(tensor.unbind()), or padded"
        )
    if tensor.is_meta:
        raise TypeError(f"{name} is on the meta device, which has shapes and no numbers")
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    return tensor.resolve_conj().resolve_neg()


def _converted(tensor: Tensor, dtype: torch.dtype, name: str) -> Tensor:
    try:
        return tensor.dequantize() if tensor.is_quantized else tensor.to(dtype)
    except (RuntimeError, NotImplementedError) as error:  # torch.bits8, float4: no kernel at all
        raise TypeError(
            f"{name} is {_dtype(tensor)}, which torch cannot convert; pass {_dtype(dtype)}"
        ) from error


def _as_array(values: ArrayLike, name: str) -> np.ndarray:
    if isinstance(values, Sequence) and any(isinstance(value, Tensor) for value in values):
        values = [v.detach().cpu().numpy() if isinstance(v, Tensor) else v for v in values]
    if np.ma.is_masked(values):
        raise ValueError(f"{name} has masked values; leave those samples out first")
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} has rows of unequal length ({error})") from error


def _from_numpy(values: ArrayLike, name: str) -> Tensor:
    """A tensor of the same numbers; those that torch lacks (big-endian, 80 bits) are converted."""
    array = _as_array(values, name)
    kind = array.dtype.kind
    # Dtypes that a library adds to NumPy, those of JAX: bfloat16, float8, int4. NumPy files them
    # under any kind; only the name tells.
    added = re.match("b?float|u?int", array.dtype.name) if array.dtype.isbuiltin == 2 else None
    if added:
        array = array.astype(np.float32 if added[0].endswith("float") else np.int64)
    elif kind not in "fiucb":
        raise TypeError(f"{name} is {_described(values, array)}; expected numbers")
    elif kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(array.shape)
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _described(values: ArrayLike, array: np.ndarray) -> str:
    if values is None or isinstance(values, str | bytes | dict | set):
        return f"a {type(values).__name__}"
    return f"an array of {array.dtype.name}"


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def _dtype(tensor: Tensor | torch.dtype) -> str:
    dtype = tensor if isinstance(tensor, torch.dtype) else tensor.dtype
    return str(dtype).removeprefix("torch.")
