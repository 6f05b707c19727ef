"""What is measured at an epoch, when, and how several processes do it together."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ncourse.data import Dataset
from ncourse.metrics import measure, nearest_class_mean
from ncourse.metrics.capture import evaluating
from ncourse.training.processes import Place, _all_gather

__all__ = ["MEASURED", "Features", "extract", "log_schedule"]

MEASURED = ("nc1", "nc2_equinorm", "nc2_equiangular", "nc3", "nc4", "trace_ratio", "cdnv")


@dataclass(frozen=True)
class Features:
    """What one forward pass over a split yields, on the CPU.

    Attributes:
        features: the last layer's inputs, `(N, d)`.
        logits: `(N, K)`.
        labels: `(N,)`.
    """

    features: Float[Tensor, "samples features"]
    logits: Float[Tensor, "samples classes"]
    labels: Int[Tensor, " samples"]

    @property
    def error(self) -> float:
        """Fraction of samples whose largest logit is not their label's."""
        return (self.logits.argmax(1) != self.labels).double().mean().item()


def log_schedule(epochs: int, *, count: int = 25) -> tuple[int, ...]:
    """About `count` epochs from 1 to `epochs`, evenly spaced on a logarithmic axis.

    >>> log_schedule(300, count=6)
    (1, 3, 10, 31, 96, 300)
    """
    if epochs < 1 or count < 2:
        raise ValueError(f"got epochs={epochs}, count={count}; need at least 1 and 2")
    return tuple(sorted({round(epochs ** (i / (count - 1))) for i in range(count)}))


@torch.no_grad()
def extract(
    model: Any,
    inputs: Float[Tensor, "samples ..."],
    labels: Int[Tensor, " samples"],
    *,
    chunk: int = 2048,
) -> Features:
    """One forward pass in evaluation mode; every submodule's mode is put back.

    Args:
        model: has `features` and `classifier`.
        inputs: `(N, ...)`.
        labels: `(N,)`.
        chunk: samples per forward pass.
    """
    like = next(model.parameters())  # its device and, in precision "64-true", its dtype
    with evaluating(model):
        pieces = [model.features(piece.to(like)) for piece in inputs.split(chunk)]
        features = torch.cat(pieces)
        logits = model.classifier(features)
    return Features(features.cpu(), logits.cpu(), labels)


def _extract_splits(model: Any, dataset: Dataset, here: Place) -> tuple[Features, Features]:
    """Both splits once through the network; of several processes, each its own part."""
    return (
        extract(model, here.part(dataset.inputs), here.part(dataset.labels)),
        extract(model, here.part(dataset.test_inputs), here.part(dataset.test_labels)),
    )


def _gather_features(part: Features, here: Place) -> Features:
    """The passes of all processes, in the data set's order."""
    if here.processes == 1:
        return part
    parts = _all_gather(part, here)
    return Features(
        torch.cat([p.features for p in parts]),
        torch.cat([p.logits for p in parts]),
        torch.cat([p.labels for p in parts]),
    )


def _history_row(
    epoch: int,
    classifier: nn.Linear,
    train: Features,
    test: Features,
    loss: Callable[[Tensor, Tensor], Tensor],
    here: Place,
) -> dict[str, float | int]:
    """One row of the history; of several processes, each gives its parts of the splits."""
    value = _mean_over_processes(loss(train.logits, train.labels).item(), train, here)
    if not math.isfinite(value):
        raise ValueError(f"the loss is {value} after epoch {epoch}: lower the learning rate")
    row: dict[str, float | int] = {"epoch": epoch, "loss": value}
    row["train_error"] = _mean_over_processes(train.error, train, here)
    row |= _measure_collapse(train, classifier, here)
    if sum(_all_gather(len(test.labels), here)):
        row["test_error"] = _mean_over_processes(test.error, test, here)
        on_test = _measure_collapse(test, classifier, here)
        row |= {f"test_{name}": value for name, value in on_test.items()}
    return row


def _mean_over_processes(value: float, part: Features, here: Place) -> float:
    """The mean over all samples from the means over each process's part of them."""
    if here.processes == 1:
        return value
    size = len(part.labels)
    shares = _all_gather((value * size if size else 0.0, size), here)
    return sum(share for share, _ in shares) / sum(size for _, size in shares)


def _measure_collapse(passed: Features, classifier: nn.Linear, here: Place) -> dict[str, float]:
    weight = classifier.weight.detach().cpu()
    bias = None if classifier.bias is None else classifier.bias.detach().cpu()
    if here.processes == 1:
        report = measure(passed.features, passed.labels, weight, bias)
        return {name: float(getattr(report, name)) for name in MEASURED}
    from ncourse.metrics import CollapseMetric  # slow to load, and one process does without

    last = copy.deepcopy(classifier).cpu()
    metric = CollapseMetric(len(weight), classifier=last)
    metric.update(passed.features, passed.labels)
    report = metric.compute()
    with metric.sync_context(dist_sync_fn=metric.dist_sync_fn):
        means = metric.class_means()  # of all processes' samples, which NC4 has to know
    differ = last(passed.features).argmax(1) != nearest_class_mean(passed.features, means)
    nc4 = _mean_over_processes(differ.double().mean().item(), passed, here)
    return {name: nc4 if name == "nc4" else float(getattr(report, name)) for name in MEASURED}
