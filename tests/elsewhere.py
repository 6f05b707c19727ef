"""A pretended second device, for machines that have none.

Inside `Elsewhere` a tensor is here (on the CPU) or elsewhere (`DEVICE`, which it says when asked);
its numbers stay on the CPU. What CUDA refuses is refused: an operation on tensors of both places,
an index from elsewhere into what is here, `numpy()` of what is elsewhere. What it allows is
allowed: numbers (0-dimensional tensors) from here, an index from here.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map_only

DEVICE = torch.device("cuda", 0)
HERE = torch.device("cpu")
_SAYS = {"device": DEVICE, "is_cuda": True, "is_cpu": False}


def is_elsewhere(tensor: Tensor) -> bool:
    return getattr(tensor, "_is_elsewhere", False)


def put(tensor: Tensor) -> Tensor:
    """The same tensor object, from now on elsewhere."""
    tensor._is_elsewhere = True  # type: ignore[attr-defined]
    return tensor


def sent(tensor: Tensor) -> Tensor:
    """A copy that is elsewhere."""
    return put(tensor.detach().clone())


def sent_module(module: nn.Module) -> nn.Module:
    for tensor in (*module.parameters(), *module.buffers()):
        put(tensor)
    return module


class Elsewhere(TorchFunctionMode):
    """Tensors inside are in one of two places."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name == "_parse_to":  # what `nn.Module.to` was asked for
            return func(*args, **kwargs)
        if name == "__get__":
            attribute = getattr(func.__self__, "__name__", "")
            if attribute in _SAYS and is_elsewhere(args[0]):
                return _SAYS[attribute]
            return _placed(func(*args, **kwargs), is_elsewhere(args[0]), [])
        tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
        where = self._asked(name, args, kwargs)
        if where is None:
            self._check(name, args, tensors)
            where = any(map(is_elsewhere, tensors))
        args, kwargs = tree_map_only(torch.device, lambda _: HERE, (args, kwargs))
        return _placed(func(*args, **kwargs), where, tensors)

    def _asked(self, name: str, args: Any, kwargs: Any) -> bool | None:
        """The place that a call asks for, if it does."""
        if name in ("cpu", "cuda"):
            return name == "cuda"
        asked: Iterable[Any] = (kwargs.get("device"),)
        if name == "to":
            asked = (*asked, *args[1:], kwargs.get("other"))
        for one in asked:
            if isinstance(one, Tensor):
                return is_elsewhere(one)
            if isinstance(one, torch.device):
                return one == DEVICE
        if not any(isinstance(x, Tensor) for x in tree_flatten((args, kwargs))[0]):
            return False
        return None

    def _check(self, name: str, args: Any, tensors: list[Tensor]) -> None:
        """Raise as CUDA would."""
        if name in ("numpy", "__array__") and is_elsewhere(args[0]):
            raise TypeError(f"can't convert {DEVICE} device type tensor to numpy")
        if name in ("__getitem__", "__setitem__"):
            held = args[0]
            index = [x for x in tree_flatten(args[1])[0] if isinstance(x, Tensor)]
            if not is_elsewhere(held) and any(map(is_elsewhere, index)):
                raise RuntimeError("indices should be either on cpu or on the same device")
            tensors = [held, *(x for x in args[2:] if isinstance(x, Tensor))]
        places = {is_elsewhere(x) for x in tensors if x.dim() > 0}
        numbers = {is_elsewhere(x) for x in tensors if x.dim() == 0}
        if len(places) > 1 or (places == {False} and numbers == {True}):
            raise RuntimeError(f"expected all tensors to be on the same device ({name})")


def _placed(result: Any, elsewhere: bool, given: list[Tensor]) -> Any:
    """The result, marked; what would move in place is copied, as `to` does between devices."""

    def place(tensor: Tensor) -> Tensor:
        if is_elsewhere(tensor) != elsewhere:
            if any(tensor is one for one in given):
                tensor = tensor.clone()
            tensor._is_elsewhere = elsewhere  # type: ignore[attr-defined]
        return tensor

    return tree_map_only(Tensor, place, result)
