"""Full precision, and gradients, inside a function, whatever its caller has switched on or off."""

import functools
from collections.abc import Callable
from contextlib import ExitStack
from typing import ParamSpec, TypeVar

import torch

__all__ = ["in_full_precision", "with_gradients"]

P = ParamSpec("P")
R = TypeVar("R")


def in_full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """The function with autocast and reduced matmul precision (TF32, bfloat16) off while it runs.

    A validation loop often runs under autocast; products in half precision would then change, or
    lose altogether, what is measured. What the caller had is restored, also after an error.

    >>> product = in_full_precision(torch.matmul)
    >>> with torch.autocast("cpu", dtype=torch.bfloat16):
    ...     product(torch.ones(2, 2), torch.ones(2, 2)).dtype
    torch.float32
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with ExitStack() as stack:
            for device in ("cpu", "cuda", "mps", "xpu"):
                if torch.is_autocast_enabled(device):
                    stack.enter_context(torch.autocast(device, enabled=False))
            precision = torch.get_float32_matmul_precision()
            if precision != "highest":
                stack.callback(torch.set_float32_matmul_precision, precision)
                torch.set_float32_matmul_precision("highest")
            return function(*args, **kwargs)

    return wrapped


def with_gradients(function: Callable[P, R]) -> Callable[P, R]:
    """The function with autograd on while it runs, for one that differentiates for itself.

    >>> @with_gradients
    ... def slope(x: float) -> float:
    ...     at = torch.tensor(x, requires_grad=True)
    ...     return float(torch.autograd.grad(at**2, at)[0])
    >>> with torch.inference_mode():
    ...     slope(3.0)
    6.0
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.inference_mode(False), torch.enable_grad():
            return function(*args, **kwargs)

    return wrapped
