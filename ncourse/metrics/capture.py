"""Features and classifier out of any `nn.Module`."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ncourse.metrics.inputs import _shape

__all__ = ["Captured", "capture"]


@dataclass(frozen=True)
class Captured:
    """What a model's last linear layer saw and did, on the CPU."""

    features: Tensor  # (N, d), the layer's input
    labels: Tensor  # (N,)
    logits: Tensor  # (N, K), the layer's output
    weight: Tensor  # (K, d)
    bias: Tensor | None  # (K,)


@torch.no_grad()
def capture(
    model: nn.Module,
    loader: Iterable[tuple[Tensor, Tensor]],
    *,
    classifier: nn.Module | str | None = None,
) -> Captured:
    """Run a model once over (inputs, labels) batches and record what its last linear layer sees.

    The classifier is found while the first batch runs: of all `nn.Linear` layers, the one whose
    output is the model's output, or else (a softmax may follow) the only one whose output has its
    shape. The model runs in evaluation mode and without gradients; every submodule's mode is
    restored and every hook removed afterwards, also after an error.

    Args:
        model: takes a batch of inputs; inputs are moved to the device of its first parameter.
        loader: any iterable of (inputs, labels).
        classifier: the layer itself or its dotted name, where it cannot be found or is not
            `nn.Linear`; it needs a two-dimensional `weight`.

    Raises:
        ValueError: no linear layer, more than one candidate (they are listed), a classifier that is
            not part of the model, does not run, runs twice a batch, or sees inputs that are not
            `(samples, features)`; not one label a sample; an empty loader. What the model itself
            raises is passed on.

    >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4), nn.Softmax(1))
    >>> batches = [(torch.randn(5, 3), torch.arange(5) % 4), (torch.randn(2, 3), torch.arange(2))]
    >>> captured = capture(model, batches)
    >>> captured.features.shape, captured.logits.shape, captured.weight is model[2].weight
    (torch.Size([7, 8]), torch.Size([7, 4]), False)
    """
    names = {module: name for name, module in model.named_modules()}
    if classifier is None:
        watched: list[nn.Module] = [m for m in names if isinstance(m, nn.Linear)]
    else:
        watched = [_named_classifier(names, classifier)]
    calls: list[tuple[nn.Module, Tensor, Tensor]] = []

    def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        # Outputs are kept as they are to be recognised; inputs are copied, as what follows may
        # change them in place.
        calls.append((module, inputs[0].detach().clone(), output))

    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    modes = {module: module.training for module in names}
    hooks = {module: module.register_forward_hook(record) for module in watched}
    collected: list[tuple[Tensor, Tensor, Tensor]] = []
    try:
        model.eval()
        for inputs, labels in loader:
            calls.clear()
            result = model(inputs.to(device))
            if not collected and classifier is None:
                chosen = _choose_classifier(calls, result, names)
                for module in watched:
                    if module is not chosen:
                        hooks.pop(module).remove()
                watched = [chosen]
            features, logits = _only_call(calls, watched[0], names)
            if labels.shape != features.shape[:1]:
                raise ValueError(
                    f"a batch has labels {_shape(labels)} and features {_shape(features)}; "
                    "expected one label a sample"
                )
            collected.append((features.cpu(), labels.cpu(), logits.clone().cpu()))
    finally:
        for hook in hooks.values():
            hook.remove()
        for module, training in modes.items():
            module.training = training
    if not collected:
        raise ValueError("the loader has no batches")
    features, labels, logits = (torch.cat(parts) for parts in zip(*collected, strict=True))
    weight, bias = _linear_parts(watched[0])
    return Captured(
        features,
        labels,
        logits,
        weight=weight.clone().cpu(),
        bias=None if bias is None else bias.clone().cpu(),
    )


def _linear_parts(classifier: nn.Module) -> tuple[Tensor, Tensor | None]:
    """Weight `(K, d)` and bias of a linear layer."""
    weight, bias = getattr(classifier, "weight", None), getattr(classifier, "bias", None)
    if not isinstance(weight, Tensor) or weight.ndim != 2:
        raise ValueError(
            f"the classifier is a {type(classifier).__name__}; expected a layer with a "
            "(classes, features) weight, such as nn.Linear"
        )
    return weight, bias


def _named_classifier(names: dict[nn.Module, str], classifier: nn.Module | str) -> nn.Module:
    """The layer meant by a module or a dotted name, once it is known to be in the model."""
    for module, name in names.items():
        if module is classifier or name == classifier:
            _linear_parts(module)
            return module
    given = f"{classifier!r}" if isinstance(classifier, str) else "the given module"
    raise ValueError(f"{given} is not in the model; its linear layers are {_linear_names(names)}")


def _choose_classifier(
    calls: list[tuple[nn.Module, Tensor, Tensor]], result: Any, names: dict[nn.Module, str]
) -> nn.Module:
    """The one linear layer whose output is, or at least has the shape of, the model's output."""
    if isinstance(result, Tensor):
        same = {module for module, _, output in calls if _is_same(output, result)}
        alike = {module for module, _, output in calls if output.shape == result.shape}
        candidates = same or alike
        if len(candidates) == 1:
            return candidates.pop()
    ran = ", ".join(dict.fromkeys(repr(names[module]) for module, _, _ in calls))
    if not ran:
        raise ValueError(f"no nn.Linear ran; the model's linear layers are {_linear_names(names)}")
    raise ValueError(
        f"cannot tell which linear layer is the classifier; pass classifier=, one of {ran}"
    )


def _is_same(output: Tensor, result: Tensor) -> bool:
    return output.shape == result.shape and output.data_ptr() == result.data_ptr()


def _only_call(
    calls: list[tuple[nn.Module, Tensor, Tensor]], chosen: nn.Module, names: dict[nn.Module, str]
) -> tuple[Tensor, Tensor]:
    """Input and output of the classifier in the batch that just ran."""
    mine = [(features, logits) for module, features, logits in calls if module is chosen]
    if len(mine) != 1:
        raise ValueError(
            f"the classifier {names[chosen]!r} ran {len(mine)} times in one batch; expected once"
        )
    features, logits = mine[0]
    if features.ndim != 2:
        raise ValueError(
            f"the classifier {names[chosen]!r} sees {_shape(features)}; expected (samples, "
            "features) — flatten tokens or pixels into samples, with a label each"
        )
    return features, logits


def _linear_names(names: dict[nn.Module, str]) -> str:
    found = [repr(name) for module, name in names.items() if isinstance(module, nn.Linear)]
    return ", ".join(found) or "none"
