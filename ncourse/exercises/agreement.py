"""Whether two values agree: an answer's with the reference's, or with that of a known mistake.

Values come as students return them: tensors, NumPy arrays, numbers, lists in place of tuples.
`received` brings them to the form of the reference's value or says what is wrong with them.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Agreement", "Stopped", "Unfit", "alike", "close", "received", "shown"]

Agreement = Callable[[Any, Any, tuple], "bool | str"]
"""(value, wanted, arguments) -> True, or False, or a sentence that says what differs.

The value has been brought to the form of `wanted`; a sentence is better than False where the
reference's value is only one of several right ones.
"""

NUMBERS = (bool, int, float, np.bool_, np.integer, np.floating)


class Unfit(Exception):
    """A value of the wrong kind; the message says what is needed."""


class Stopped:
    """What came of a function that raised: the error in place of a value."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __str__(self) -> str:
        text = f"{type(self.error).__name__}: {self.error}"
        return text if len(text) <= 300 else text[:297] + "..."


def received(value: Any, wanted: Any) -> Any:
    """The value in the form of `wanted`: a float64 tensor, a float, a truth value, a tuple, a text.

    Raises:
        Unfit: if it cannot be; e.g. a shape is wrong or there is a NaN.
    """
    if wanted is None or value is None:
        if value is None and wanted is not None:
            raise Unfit("Your function returns None. Is the `return` missing?")
        return value
    if isinstance(wanted, Tensor):
        return _tensor(value, wanted)
    if isinstance(wanted, bool):
        return _truth(value)
    if isinstance(wanted, NUMBERS):
        return _number(value)
    if isinstance(wanted, str):
        if not isinstance(value, str):
            raise Unfit(f"Your function returns {_kind(value)}; a text is needed.")
        return value
    if isinstance(wanted, tuple):
        if not isinstance(value, tuple | list):
            raise Unfit(f"Your function returns {_kind(value)}; {len(wanted)} things are needed.")
        if len(value) != len(wanted):
            raise Unfit(f"Your function returns {len(value)} things; {len(wanted)} are needed.")
        return tuple(received(part, like) for part, like in zip(value, wanted, strict=True))
    return value


def _tensor(value: Any, wanted: Tensor) -> Tensor:
    found = _as_tensor(value)
    if found is None:
        raise Unfit(f"Your function returns {_kind(value)}; a tensor is needed.")
    if found.shape != wanted.shape:
        turned = wanted.ndim == 2 and tuple(found.shape) == tuple(wanted.shape)[::-1]
        raise Unfit(
            f"Your result is {tuple(found.shape)}; expected {tuple(wanted.shape)}."
            + (" Rows are vectors: transpose it." if turned else "")
        )
    if not torch.isfinite(found).all() and torch.isfinite(wanted).all():
        raise Unfit("Your result contains NaN or infinity.")
    return found


def _as_tensor(value: Any) -> Tensor | None:
    """Numbers of any container as a float64 tensor; None if they are none."""
    if isinstance(value, Tensor):
        found = value.detach()
    else:
        try:
            array = np.asarray(value)
        except (TypeError, ValueError):  # e.g. rows of different lengths
            return None
        if array.dtype.kind not in "biuf":
            return None
        found = torch.from_numpy(array.astype(np.float64))
    if found.is_complex() or found.layout != torch.strided:
        return None
    return found.double()


def _number(value: Any) -> float:
    found = _as_tensor(value)
    if found is None:
        raise Unfit(f"Your function returns {_kind(value)}; a number is needed.")
    if found.numel() != 1:
        raise Unfit(f"Your function returns {tuple(found.shape)} numbers; one is needed.")
    number = float(found)
    if math.isnan(number):
        raise Unfit("Your result is NaN.")
    return number


def _truth(value: Any) -> bool:
    found = _as_tensor(value)
    if found is None or found.numel() != 1 or float(found) not in (0.0, 1.0):
        raise Unfit(f"Your function returns {_kind(value)}; True or False is needed.")
    return bool(found)


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[:1] in 'aeiouAEIOU' else 'a'} {name}"


def close(rtol: float = 1e-5, atol: float = 1e-9) -> Agreement:
    """Numbers within rtol of the wanted ones (of the largest, in a tensor), NaN never."""

    def agree(value: Any, wanted: Any, arguments: tuple) -> bool:
        if value is None or wanted is None:
            return value is wanted
        if isinstance(wanted, tuple):
            return all(
                agree(part, like, arguments) for part, like in zip(value, wanted, strict=True)
            )
        if isinstance(wanted, str | bool):
            return bool(value == wanted)
        if isinstance(wanted, Tensor):
            if not wanted.numel():
                return True
            scale = float(wanted.double().abs().max())
            return bool((value - wanted.double()).abs().max() <= atol + rtol * scale)
        if math.isinf(wanted):
            return bool(value == wanted)
        return abs(value - wanted) <= atol + rtol * abs(wanted)

    return agree


def alike(value: Any, other: Any, arguments: tuple = ()) -> bool:
    """Whether an answer did the same as a known mistake: same value, same shape, or same error."""
    if isinstance(value, Stopped) or isinstance(other, Stopped):
        return (
            isinstance(value, Stopped)
            and isinstance(other, Stopped)
            and type(value.error) is type(other.error)
        )
    if value is None or other is None:
        return value is other
    if isinstance(value, str) or isinstance(other, str):
        return isinstance(value, str) and value == other
    if isinstance(value, tuple | list) and isinstance(other, tuple | list):
        return len(value) == len(other) and all(map(alike, value, other))
    mine, theirs = _as_tensor(value), _as_tensor(other)
    if mine is None or theirs is None or mine.numel() != theirs.numel():
        return False
    if mine.numel() > 1 and mine.shape != theirs.shape:
        return False
    return torch.allclose(mine.flatten(), theirs.flatten(), rtol=1e-5, atol=1e-9, equal_nan=True)


def shown(value: Any) -> str:
    """A value in a sentence: numbers with four digits, large tensors by their shape."""
    if isinstance(value, bool | str) or value is None:
        return repr(value)
    if isinstance(value, NUMBERS):
        return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)
    if isinstance(value, Tensor | np.ndarray):
        if value.ndim == 0:
            return shown(value.item())
        if math.prod(value.shape) > 8:
            return f"{tuple(value.shape)}"
        return shown(value.tolist())
    if isinstance(value, Sequence):
        inner = ", ".join(shown(part) for part in value)
        return f"[{inner}]" if isinstance(value, list) else f"({inner})"
    return getattr(value, "__name__", type(value).__name__)
