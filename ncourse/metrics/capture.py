"""Features and classifier out of any `nn.Module`."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import torch
from torch import Tensor, nn

from ncourse.metrics.checks import as_indices
from ncourse.metrics.inputs import _shape
from ncourse.metrics.linear import is_convolution, linear_parts, weight_of
from ncourse.metrics.measure import measure
from ncourse.metrics.report import CollapseReport
from ncourse.precision import in_full_precision

if TYPE_CHECKING:
    from ncourse.metrics.stream import CollapseMetric

__all__ = [
    "Captured",
    "capture",
    "eager",
    "evaluating",
    "find_classifier",
    "main_output",
    "split_batch",
    "unwrapped",
]

LABELS = ("labels", "label", "targets", "target", "y")
"""What labels are called in a batch that is a dictionary."""

LOGITS = ("logits", "out", "scores", "prediction_logits")
"""What logits are called in an output that is a dictionary, the likelier first."""


@dataclass(frozen=True)
class Captured:
    """What a model's last linear layer saw and did, on the CPU."""

    features: Tensor  # (N, d), the layer's input
    labels: Tensor  # (N,)
    logits: Tensor | None  # (N, K), the layer's output; None if they were not to be kept
    weight: Tensor  # (K, d)
    bias: Tensor | None  # (K,)
    predictions: Tensor | None = None  # (N,), the class that the model decides for
    is_linear: bool = True  # whether the logits are W h + b

    def measure(
        self,
        *,
        convention: str = "papyan",
        classes: Sequence[int] | None = None,
        min_samples: int | None = None,
        ignore_index: int | None = None,
    ) -> CollapseReport:
        """The report, with `nc4` from the model's own decisions; arguments as in `measure`.

        Where the head is not W h + b, `nc4_without_bias` is nan, as there is no such classifier.
        """
        chosen = classes is not None or min_samples is not None
        logits = self.logits
        if not chosen and self.predictions is not None:
            logits = nn.functional.one_hot(self.predictions, len(self.weight))
        report = measure(
            self.features, self.labels, self.weight, self.bias, logits=logits,
            convention=convention, classes=classes, min_samples=min_samples,
            ignore_index=ignore_index,
        )  # fmt: skip
        if self.is_linear:
            return report
        return replace(
            report,
            nc4=float("nan") if logits is None else report.nc4,
            nc4_without_bias=float("nan"),
        )


@overload
def capture(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    classifier: nn.Module | str | None = None,
    into: None = None,
    max_batches: int | None = None,
    ignore_index: int | None = None,
    next_token: bool = False,
    keep_logits: bool = True,
) -> Captured: ...
@overload
def capture(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    classifier: nn.Module | str | None = None,
    into: "CollapseMetric",
    max_batches: int | None = None,
    ignore_index: int | None = None,
    next_token: bool = False,
    keep_logits: bool = True,
) -> "CollapseMetric": ...
@torch.no_grad()
def capture(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    classifier: nn.Module | str | None = None,
    into: Any = None,
    max_batches: int | None = None,
    ignore_index: int | None = None,
    next_token: bool = False,
    keep_logits: bool = True,
) -> Any:
    """Run a model once over batches with labels and record what its last linear layer sees.

    A batch is (inputs, labels), more things after them, or a dictionary with labels in it, as
    collators of Hugging Face make them; what the model's `forward` takes is passed by name. A model
    may return a tensor, a tuple, or a dictionary or object with logits.

    The classifier is found while the first batch runs: of all layers with a (classes, features)
    weight, the one whose output is the model's output, or else (a softmax may follow) the only one
    whose output has its shape. If several do and the output is their mean (distilled vision
    Transformers), their inputs side by side are the features of one classifier. A 1x1 convolution
    is a linear layer too; if a pooling follows, its features are pooled. Of a model for tokens or
    pixels with a label each, each is a sample.

    The model runs in evaluation mode and without gradients; every submodule's mode is restored and
    every hook removed afterwards, also after an error. `torch.compile` and data-parallel wrappers,
    which pass hooks by, are taken off for the pass.

    Args:
        model: takes a batch of inputs; inputs are moved to the device of its first parameter.
        loader: any iterable of batches.
        classifier: the layer itself or its dotted name, where it cannot be found; it needs a
            `weight` of shape (classes, features).
        into: a `CollapseMetric` that takes batch after batch, on the model's device; nothing else
            is kept. The classifier becomes the metric's, unless it has one. Returned.
        max_batches: as many batches are read at most.
        ignore_index: a label whose samples are left out, such as -100.
        next_token: whether labels are the inputs, (B, T), as for causal language models of Hugging
            Face: the features at a token then go with the label of the next one.
        keep_logits: whether to keep N x K logits; the model's decisions are kept in any case.

    Warns:
        UserWarning: if the classifier's output is not W h + b (a cosine head, a quantised one).
            `Captured.measure` takes NC4 from the model's own logits.

    Raises:
        ValueError: no linear layer, more than one candidate (they are listed), a classifier that is
            not part of the model, does not run, runs twice a batch, or sees inputs that are not
            `(samples, features)`; not one label a sample; a loader without samples; a scripted or
            sharded model. What the model itself raises is passed on.

    >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4), nn.Softmax(1))
    >>> batches = [(torch.randn(5, 3), torch.arange(5) % 4), (torch.randn(2, 3), torch.arange(2))]
    >>> captured = capture(model, batches)
    >>> captured.features.shape, captured.logits.shape, captured.weight is model[2].weight
    (torch.Size([7, 8]), torch.Size([7, 4]), False)
    """
    if isinstance(classifier, str):
        classifier = _plain_name(classifier)
    elif classifier is not None:
        classifier = unwrapped(classifier)
    model = unwrapped(model)
    names = _names(model)
    if classifier is None:
        watched: list[nn.Module] = [m for m in names if _may_be_classifier(m)]
    else:
        watched = [_named_classifier(names, classifier)]
    calls: list[_Call] = []

    def record(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        # Outputs are kept as they are to be recognised; inputs are copied, as what follows may
        # change them in place.
        given = next((x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)), None)
        if given is not None and isinstance(output, Tensor):
            calls.append(_Call(module, given.detach().clone(), output))

    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    takes = _argument_names(model)
    collected: list[tuple[Tensor, Tensor, Tensor | None, Tensor]] = []
    head: _Head | None = None
    with evaluating(model), _hooked(watched, record) as hooks:
        for batch in islice(loader, max_batches):
            calls.clear()
            inputs, given = split_batch(batch)
            labels = as_indices(given)
            with eager():
                result = _run(model, _moved(inputs, device), takes)
            if head is None:
                if calls and not labels.numel() and not any(c.output.numel() for c in calls):
                    continue  # without a sample all outputs are alike, and any head is linear
                if classifier is None:
                    watched = _choose_classifiers(calls, result, names)
                for module in [m for m in hooks if m not in watched]:
                    hooks.pop(module).remove()
                head = _Head(watched, named=classifier is not None)
                if into is not None:
                    into.to(device)
                    into.adopt(*head.weight_and_bias())
            features, logits, decided = head.seen(calls, result, labels, names)
            if not collected and into is None:
                head.is_linear = _is_linear(features, *head.weight_and_bias(), logits)
            if logits is not decided and into is None:
                head.is_linear = head.is_linear and _decides(logits, decided)
            if next_token and labels.ndim == 2:
                features, logits, decided = (
                    x.unflatten(0, labels.shape)[:, :-1].flatten(0, 1)
                    for x in (features, logits, decided)
                )
                labels = labels[:, 1:]
            labels = labels.flatten().to(features.device)
            if ignore_index is not None:
                kept = labels != ignore_index
                features, logits, decided, labels = (
                    x[kept] for x in (features, logits, decided, labels)
                )
            if into is not None:
                into.update(features, labels, decided if into.keep_features else None)
                continue
            kept_logits = logits.clone().cpu() if keep_logits else None
            collected.append((features.cpu(), labels.cpu(), kept_logits, decided.argmax(1).cpu()))
    if head is None:
        raise ValueError("the loader has no batches with samples")
    if into is not None:
        return into
    weight, bias = head.weight_and_bias()
    if not head.is_linear:
        warnings.warn(
            f"the output of {' and '.join(repr(names[m]) for m in watched)} is not W h + b, so "
            "weight and bias do not decide: use Captured.measure, or measure(..., logits=)",
            stacklevel=3,  # the caller: `no_grad` stands between
        )
    parts = list(zip(*collected, strict=True))
    collected.clear()
    return Captured(
        _joined(parts, 0),
        _joined(parts, 1),
        logits=_joined(parts, 2) if keep_logits else None,
        weight=weight.clone().cpu(),
        bias=None if bias is None else bias.clone().cpu(),
        predictions=_joined(parts, 3),
        is_linear=head.is_linear,
    )


@torch.no_grad()
def find_classifier(model: nn.Module, inputs: Any) -> nn.Module:
    """The layer that `capture` would find; the model's mode is put back.

    Raises:
        ValueError: as `capture`, or if it is several layers.
    """
    model = unwrapped(model)
    names = _names(model)
    calls: list[_Call] = []

    def record(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            calls.append(_Call(module, output, output))

    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    watched = [m for m in names if _may_be_classifier(m)]
    with evaluating(model), _hooked(watched, record), eager():
        result = _run(model, _moved(inputs, device), None)
    layers = _choose_classifiers(calls, result, names)
    if len(layers) > 1:
        raise ValueError(f"the classifier is {len(layers)} layers, of which the model takes a mean")
    return layers[0]


def _joined(parts: list[Any], index: int) -> Tensor:
    """The batches of one field as one tensor; they are let go, so that they are held once."""
    pieces, parts[index] = parts[index], None
    return torch.cat(pieces)


# The model and its batches ------------------------------------------------------------------------


def unwrapped(model: Any) -> nn.Module:
    """The module under `torch.compile` and data-parallel wrappers, which pass hooks by.

    Raises:
        ValueError: for a wrapper that cannot be taken off.
    """
    while True:
        kind = type(model).__name__
        if isinstance(model, torch.jit.ScriptModule):
            raise ValueError(
                f"the model is a {kind}: TorchScript calls no Python hooks; pass the module that "
                "was scripted or traced"
            )
        if "FullyShardedDataParallel" in kind:
            raise ValueError(
                f"the model is a {kind}: no process holds the classifier's weight; gather the "
                "model (summon_full_params) and pass its module"
            )
        if hasattr(model, "_orig_mod"):
            model = model._orig_mod
        elif kind in ("DataParallel", "DistributedDataParallel", "_FabricModule"):
            model = model.module if hasattr(model, "module") else model._forward_module
        else:
            assert isinstance(model, nn.Module)
            return model


def _names(model: nn.Module) -> dict[nn.Module, str]:
    """The dotted name of each module but `torch.compile`'s wrappers, which share their layer's."""
    named = model.named_modules()
    return {m: _plain_name(name) for name, m in named if not hasattr(m, "_orig_mod")}


def _plain_name(name: str) -> str:
    """A dotted name without the parts that wrappers add."""
    return ".".join(part for part in name.split(".") if part not in ("_orig_mod",))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode; each submodule's own mode comes back, also after an error."""
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def _hooked(modules: Iterable[nn.Module], record: Callable[..., None]) -> Iterator[dict[Any, Any]]:
    """`record` after each call of the modules; their hooks, those that are left come off."""
    hooks = {m: m.register_forward_hook(record, with_kwargs=True) for m in modules}
    try:
        yield hooks
    finally:
        for hook in hooks.values():
            hook.remove()


def eager() -> AbstractContextManager[Any]:
    """Compiled parts of the model run as they are, so that their hooks are called."""
    stance = getattr(torch.compiler, "set_stance", None)  # since torch 2.6
    return nullcontext() if stance is None else stance("force_eager")


def split_batch(batch: Any) -> tuple[Any, Any]:
    """Inputs and labels of one batch."""
    if isinstance(batch, Mapping):
        for name in LABELS:
            if name in batch:
                return {key: value for key, value in batch.items() if key != name}, batch[name]
        raise ValueError(
            f"a batch has {', '.join(map(str, batch))}; expected labels in it, called one of "
            f"{', '.join(LABELS)}"
        )
    if not isinstance(batch, tuple | list) or len(batch) < 2:
        what = _shape(batch) if isinstance(batch, Tensor) else f"a {type(batch).__name__}"
        raise ValueError(
            f"a batch is {what}; expected (inputs, labels), or a dictionary with labels in it"
        )
    return batch[0], batch[1]


def _moved(inputs: Any, device: torch.device) -> Any:
    if hasattr(inputs, "to"):
        return inputs.to(device)
    if isinstance(inputs, Mapping):
        return {name: _moved(value, device) for name, value in inputs.items()}
    if isinstance(inputs, tuple | list):
        moved = [_moved(value, device) for value in inputs]
        return type(inputs)(*moved) if _has_fields(inputs) else type(inputs)(moved)
    return inputs


def _has_fields(inputs: Any) -> bool:
    """Whether a tuple is one named thing, such as a `PackedSequence`, and not several inputs."""
    return hasattr(inputs, "_fields")


def _argument_names(model: nn.Module) -> set[str] | None:
    """The names that `forward` takes; None if it takes any."""
    import inspect

    parameters = inspect.signature(model.forward).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return {p.name for p in parameters if p.kind is not p.VAR_POSITIONAL}


def _run(model: nn.Module, inputs: Any, takes: set[str] | None) -> Any:
    if isinstance(inputs, Mapping):
        known = {k: v for k, v in inputs.items() if takes is None or k in takes}
        return model(**known) if known else model(inputs)
    if isinstance(inputs, tuple | list) and not _has_fields(inputs):
        return model(*inputs)
    return model(inputs)


# The classifier -----------------------------------------------------------------------------------


class _Call(NamedTuple):
    module: nn.Module
    inputs: Tensor
    output: Tensor


class _Head:
    """The layer, or layers, whose input are the features."""

    def __init__(self, layers: Sequence[nn.Module], *, named: bool) -> None:
        self.layers, self.named = layers, named
        self.is_linear = True

    def weight_and_bias(self) -> tuple[Tensor, Tensor | None]:
        """Of several layers, of which the model takes the mean: side by side."""
        parts = [linear_parts(layer) for layer in self.layers]
        if len(parts) == 1:
            return parts[0]
        biases = [b for _, b in parts if b is not None]
        bias = torch.stack(biases).sum(0) / len(parts) if biases else None
        return torch.cat([w for w, _ in parts], dim=1) / len(parts), bias

    def seen(
        self, calls: list[_Call], result: Any, labels: Tensor, names: dict[nn.Module, str]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Features, logits, and the model's own scores, of the batch that just ran."""
        pairs = [_only_call(calls, layer, names) for layer in self.layers]
        if len(pairs) > 1:
            axis = 1 if is_convolution(self.layers[0]) else -1
            features = torch.cat([h for h, _ in pairs], dim=axis)
            logits = torch.stack([z for _, z in pairs]).mean(0)
        else:
            features, logits = pairs[0]
        (name, *_) = (names[layer] for layer in self.layers)
        rows, own = features.shape[:-1], main_output(result)
        pooled = False
        if features.ndim > 2 and is_convolution(self.layers[0]):
            # (B, d, ...): pixels are samples if there are labels for them, and pooled if not.
            features, logits = features.movedim(1, -1), logits.movedim(1, -1)
            rows = features.shape[:-1]
            if own is not None and own.ndim == len(rows) + 1:
                own = own.movedim(1, -1)
            if labels.shape != rows and labels.shape == rows[:1]:
                pooled = True
                axes = tuple(range(1, features.ndim - 1))
                features, logits, rows = features.mean(axes), logits.mean(axes), rows[:1]
        if labels.shape != rows:
            if features.ndim != 2:
                raise ValueError(
                    f"the classifier {name!r} sees {_shape(features)}; expected (samples, "
                    f"features), or labels {tuple(rows)} for tokens or pixels; labels is "
                    f"{_shape(labels)}"
                )
            raise ValueError(
                f"a batch has labels {_shape(labels)} and features {_shape(features)}; "
                "expected one label a sample"
            )
        features, logits = features.flatten(0, -2), logits.flatten(0, -2)
        if own is not None and own.ndim > 2:
            own = own.flatten(0, -2)
        # A layer that was named may not be the one that decides, so its own output counts.
        use = own is not None and own.shape == logits.shape and (pooled or not self.named)
        decided = own if use and own is not None else logits
        return features, logits if not pooled else decided, decided


@in_full_precision
def _is_linear(features: Tensor, weight: Tensor, bias: Tensor | None, logits: Tensor) -> bool:
    """Whether logits are W h + b, up to the rounding of their dtypes."""
    h, w = features.double(), weight.to(features.device).double()
    scores = h @ w.T
    size = h.norm(dim=1, keepdim=True) * w.norm(dim=1)
    if bias is not None:
        scores = scores + bias.to(scores)
        size = size + bias.to(scores).abs()
    kinds = [x.dtype for x in (features, weight, logits) if x.dtype.is_floating_point]
    eps = max(torch.finfo(kind).eps for kind in kinds)
    return bool(((scores - logits.double()).abs() <= 32 * eps * size).all())


def _decides(logits: Tensor, scores: Tensor) -> bool:
    """Whether the largest of a model's scores is everywhere, up to rounding, the largest logit."""
    behind = logits.max(1).values - logits.gather(1, scores.argmax(1, keepdim=True))[:, 0]
    eps = max(torch.finfo(x.dtype).eps for x in (logits, scores))
    return bool((behind <= 32 * eps * logits.abs().max(1).values).all())


def _may_be_classifier(module: nn.Module) -> bool:
    """Whether it has a matrix that multiplies its input, as far as can be said before it runs."""
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        return False
    if isinstance(module, nn.Linear) or is_convolution(module):
        return True
    return weight_of(module) is not None


def _named_classifier(names: dict[nn.Module, str], classifier: nn.Module | str) -> nn.Module:
    """The layer meant by a module or a dotted name, once it is known to be in the model."""
    for module, name in names.items():
        if module is classifier or name == classifier:
            linear_parts(module)
            return module
    given = f"{classifier!r}" if isinstance(classifier, str) else "the given module"
    raise ValueError(f"{given} is not in the model; its linear layers are {_linear_names(names)}")


def _outputs(result: Any) -> Iterator[Tensor]:
    """The tensors of a model's result, the likeliest logits first."""
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, Mapping):
        named = [name for name in LOGITS if name in result]
        for name in (*named, *(name for name in result if name not in named)):
            yield from _outputs(result[name])
    elif isinstance(getattr(result, "logits", None), Tensor):
        yield result.logits
    elif isinstance(result, tuple | list):
        for part in result:
            yield from _outputs(part)


def main_output(result: Any) -> Tensor | None:
    """The logits among what a model returned: the first, or the one so named."""
    return next((output for output in _outputs(result) if output.ndim >= 2), None)


def _choose_classifiers(
    calls: list[_Call], result: Any, names: dict[nn.Module, str]
) -> list[nn.Module]:
    """The layer whose output is, or at least has the shape of, the model's; or several averaged."""
    calls = [call for call in calls if weight_of(call.module) is not None]
    same = [c for out in _outputs(result) for c in calls if _is_same(c.output, out)]
    if same:
        # Features may be returned beside logits: what comes first must also have run last.
        rivals = {c.module for c in same if c.output.shape == same[0].output.shape}
        last = max(same, key=lambda call: next(i for i, c in enumerate(calls) if c is call))
        if len(rivals) == 1 and (last.module is same[0].module or _is_named(result)):
            return [same[0].module]
        raise _cannot_tell(same, names)
    main = main_output(result)
    alike = [call for call in calls if main is not None and _is_alike(call, main)]
    modules = list(dict.fromkeys(call.module for call in alike))
    if len(modules) == 1:
        return modules
    if main is not None and len(modules) > 1 and len(alike) == len(modules):
        outputs = [call.output for call in alike if call.output.shape == main.shape]
        mean = torch.stack(outputs or [main + 1]).mean(0)
        if len(outputs) == len(alike) and torch.allclose(mean, main, rtol=1e-4, atol=1e-6):
            return modules
    if not calls:
        raise ValueError(f"no nn.Linear ran; the model's linear layers are {_linear_names(names)}")
    raise _cannot_tell(alike or calls, names)


def _cannot_tell(calls: list[_Call], names: dict[nn.Module, str]) -> ValueError:
    ran = list(dict.fromkeys(repr(names[call.module]) for call in calls))
    listed = ", ".join(["…"] * (len(ran) > 12) + ran[-12:])
    return ValueError(
        f"cannot tell which linear layer is the classifier; pass classifier=, one of {listed}"
    )


def _is_same(output: Tensor, result: Tensor) -> bool:
    """Whether they are the same numbers; of (B, K, 1, 1) or (B, 1, K) the ones may be gone."""
    output, result = output.squeeze(), result.squeeze()
    return output.shape == result.shape and torch.equal(output.to(result.dtype), result)


def _is_named(result: Any) -> bool:
    """Whether a model says which of its outputs the logits are."""
    return any(name in result for name in LOGITS) if isinstance(result, Mapping) else False


def _is_alike(call: _Call, main: Tensor) -> bool:
    if is_convolution(call.module) and call.output.ndim > 2:
        return call.output.shape[: main.ndim] == main.shape
    return call.output.shape == main.shape


def _only_call(
    calls: list[_Call], chosen: nn.Module, names: dict[nn.Module, str]
) -> tuple[Tensor, Tensor]:
    """Input and output of the classifier in the batch that just ran."""
    mine = [call for call in calls if call.module is chosen]
    if len(mine) != 1:
        raise ValueError(
            f"the classifier {names[chosen]!r} ran {len(mine)} times in one batch; expected once"
        )
    return mine[0].inputs, mine[0].output


def _linear_names(names: dict[nn.Module, str]) -> str:
    found = [repr(name) for module, name in names.items() if isinstance(module, nn.Linear)]
    return ", ".join(found) or "none"
