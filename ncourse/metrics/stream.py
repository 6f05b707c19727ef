"""The numbers of `measure` from a stream of batches, in one process or in several."""

import functools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from ncourse.metrics.capture import _linear_parts
from ncourse.metrics.checks import (
    _check_classifier,
    _check_no_empty_class,
    _check_samples,
    _raise_not_finite,
    _shape,
)
from ncourse.metrics.measure import (
    _add_by_class,
    _between_class,
    _centred_chunks,
    _chunk_size,
    _class_means,
    _compute_dtype,
    _report,
    _WithinClass,
    measure,
)
from ncourse.metrics.measures import nearest_class_mean
from ncourse.metrics.precision import in_full_precision
from ncourse.metrics.report import CollapseReport

__all__ = ["CollapseMetric"]

TINY = 1e-38  # what a norm is divided by at least: the zero vector stays zero


class CollapseMetric(Metric):
    """The numbers of `measure` from a stream of batches of any size, as a torchmetrics Metric.

    Memory is O(K d + d^2) however many samples come. Each class is centred on a *pilot*, the mean
    of its samples in the first batch that has any; counts, sums, squared distances and the pooled
    (d, d) scatter about the pilots are kept in float64. Processes have pilots of their own; their
    statistics are gathered (never the features) and merged by the formula of Chan, Golub and
    LeVeque 1983. All fields are those of `measure` up to rounding, except `nc4` and
    `nc4_without_bias`: the nearest class mean needs the final means, which a single pass does not
    know before its end, so both are nan. To have them, either keep the features
    (`keep_features=True`: all fields exact, but memory and traffic between processes grow with N),
    or read the data twice and compare your predictions with
    `nearest_class_mean(features, metric.class_means())` in the second pass.

    One limit of precision: a chunk's scatter is summed in the features' dtype before the directions
    of the means are known, so whatever varies in *other* directions costs digits along these. In
    float32 the fields with S_B^+ are within 1e-6 of `measure` as long as the within-class variance
    along a direction of the means is 1e-2 of that across it, within about 3e-5 at 1e-4, half a
    percent at 1e-6 (`measure`: 6e-6), and without a correct digit at 1e-10; `trace_ratio`,
    `trace_fraction` and `cdnv` do not suffer. Float64 features or `keep_features` avoid it.

    Call `update` on batches and `compute` at the end. Calling the metric itself only updates: a
    batch seldom holds every class, so it has no report of its own.

    Args:
        num_classes: K >= 2.
        classifier: the last linear layer; its weight and bias are read when `compute` is called.
        convention: as in `measure`.
        keep_features: keep all features instead of statistics.
        kwargs: as for any torchmetrics Metric.

    >>> generator = torch.Generator().manual_seed(0)
    >>> features, labels = torch.randn(60, 5, generator=generator), torch.arange(60) % 3
    >>> metric = CollapseMetric(3)
    >>> for start in range(0, 60, 7):
    ...     metric.update(features[start : start + 7], labels[start : start + 7])
    >>> whole = measure(features, labels, num_classes=3)
    >>> abs(metric.compute().nc1 / whole.nc1 - 1) < 1e-5
    True
    """

    is_differentiable = False
    full_state_update = False
    counts: list[Tensor]  # (1, K)
    pilots: list[Tensor]  # (1, K, d)
    sums: list[Tensor]  # (1, K, d) of h - pilot
    squares: list[Tensor]  # (1, K) of |h - pilot|^2
    units: list[Tensor]  # (1, K, d) of h / |h|
    scatter: list[Tensor]  # (1, d, d) of (h - pilot)(.)^T, all classes together
    features: list[Tensor]
    labels: list[Tensor]
    predictions: list[Tensor]
    _statistics = ("counts", "pilots", "sums", "squares", "units", "scatter")
    _samples = ("features", "labels", "predictions")

    def __init__(
        self,
        num_classes: int,
        *,
        classifier: nn.Module | None = None,
        convention: str = "papyan",
        keep_features: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"dist_sync_fn": _gather} | kwargs)
        self.num_classes, self.convention = num_classes, convention
        self.keep_features = keep_features
        # In a tuple, or it would become a submodule, moved and saved with the metric.
        self._classifier = (classifier,)
        _check_classifier(*self._weight_and_bias(), num_classes, convention)
        # Each statistic is a list of (1, ...) tensors, one a process once they are gathered.
        states = self._samples if keep_features else self._statistics
        for name in states:
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def forward(self, *args: Any, **kwargs: Any) -> None:
        """Update with a batch; see the class about why nothing comes back."""
        self.update(*args, **kwargs)

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        # Torchmetrics copies a result field by field, which a frozen report refuses; it gets a
        # dictionary, and the caller a report.
        compute_fields = super()._wrap_compute(lambda: vars(compute()))
        return functools.wraps(compute)(lambda: CollapseReport(**compute_fields()))

    @in_full_precision
    def update(self, features: Tensor, labels: Tensor, logits: Tensor | None = None) -> None:
        """Take in one batch: features `(n, d)`, labels `(n,)`, n >= 0.

        `logits` `(n, K)`, the model's own, take the place of the classifier's scores in `nc4` where
        features are kept; give them with every batch or with none. Raises as `measure` does.
        """
        weight, _ = self._weight_and_bias()
        _check_samples(features, labels, self.num_classes, weight)
        if logits is not None and logits.shape != (len(labels), self.num_classes):
            raise ValueError(
                f"logits is {_shape(logits)}; expected ({len(labels)}, {self.num_classes})"
            )
        if len(labels) == 0:
            return
        dtype = _compute_dtype(features.dtype)
        if not torch.isfinite(features.sum(dtype=dtype)):
            _raise_not_finite(features)
        features, labels = features.to(self.device), labels.to(self.device, torch.long)
        if self.keep_features:
            if bool(self.labels) and (logits is None) == bool(self.predictions):
                raise ValueError("logits were given for some batches only; give all or none")
            self.features.append(features.clone())
            self.labels.append(labels.clone())
            if logits is not None:
                self.predictions.append(logits.argmax(1).to(self.device))
        else:
            self._accumulate(features, labels, dtype)

    def _accumulate(self, features: Tensor, labels: Tensor, dtype: torch.dtype) -> None:
        num_classes, dim = self.num_classes, features.shape[1]
        if not self.counts:
            zeros = torch.zeros(1, num_classes, dim, dtype=torch.float64, device=self.device)
            self.counts.append(zeros.new_zeros(1, num_classes, dtype=torch.long))
            self.pilots.append(torch.zeros_like(zeros, dtype=dtype))
            self.sums.append(zeros)
            self.squares.append(zeros.new_zeros(1, num_classes))
            self.units.append(torch.zeros_like(zeros))
            self.scatter.append(zeros.new_zeros(1, dim, dim))
        counts, pilots, sums, squares, units, scatter = (
            getattr(self, name)[0][0] for name in self._statistics
        )
        if dim != pilots.shape[1]:
            raise ValueError(
                f"features is {_shape(features)}; batches before it had {pilots.shape[1]} features"
            )
        in_batch = labels.bincount(minlength=num_classes)
        new = (counts == 0) & (in_batch > 0)
        if new.any():
            first = new[labels]
            started = torch.zeros_like(pilots).index_add_(
                0, labels[first], features[first].to(pilots.dtype)
            )
            pilots[new] = started[new] / in_batch[new, None]
        counts += in_batch
        points = pilots.to(torch.promote_types(dtype, pilots.dtype))
        for rows, centred in _centred_chunks(features, labels, points, _chunk_size(dim)):
            label = labels[rows]
            _add_by_class(sums, label, centred)
            lengths = torch.linalg.vector_norm(centred, dim=1)
            squares.index_add_(0, label, lengths.double().square())
            scatter += centred.T @ centred
            if self._classifier[0] is not None:
                unit = nn.functional.normalize(features[rows].to(dtype), dim=1, eps=TINY)
                _add_by_class(units, label, unit)

    @in_full_precision
    def class_means(self) -> Float[Tensor, "classes features"]:
        """Class means of this process's samples so far, `(K, d)` in float64."""
        if self.keep_features:
            return _class_means(*self._kept()[:2], self.num_classes)
        return self._merged()[1]

    @in_full_precision
    @torch.no_grad()
    def compute(self) -> CollapseReport:
        """The report of all samples so far; raises if a class has none."""
        weight, bias = self._weight_and_bias()
        if self.keep_features:
            features, labels, predictions = self._kept()
            report = measure(
                features, labels, weight, bias,
                convention=self.convention, num_classes=self.num_classes,
            )  # fmt: skip
            if predictions is None:
                return report
            nearest = nearest_class_mean(features, self.class_means())
            return replace(report, nc4=float((predictions != nearest).double().mean()))
        counts, means, shifts, deltas, dtype = self._merged()
        num_samples, total = counts.sum(), counts.sum(0)
        between = _between_class(means, total, self.convention, dtype)

        def moved(offsets: Tensor) -> Tensor:  # from pilots to class means, in squares
            return counts[..., None] * offsets.square()

        squares = dim_zero_cat(self.squares).sum(0)
        squares = squares + (moved(deltas) - moved(shifts)).sum((0, 2))
        axes = between.directions
        along = (axes @ dim_zero_cat(self.scatter).sum(0) * axes).sum(1)
        along = along + (moved(deltas @ axes.T) - moved(shifts @ axes.T)).sum((0, 1))
        if not (torch.isfinite(along).all() and torch.isfinite(squares).all()):
            raise ValueError("features are too large: their squares overflow; pass .double()")
        cosine = math.nan
        if weight is not None:
            rows = nn.functional.normalize(weight.detach().to(means), dim=1, eps=TINY)
            cosine = float((rows * dim_zero_cat(self.units).sum(0)).sum() / num_samples)
        within = _WithinClass(
            along=along.clamp(min=0) / num_samples,
            squares=squares.clamp(min=0),
            cosine=cosine,
            nc4=math.nan,
            nc4_without_bias=math.nan,
        )
        return _report(total, means, between, within, weight, self.convention)

    def _weight_and_bias(self) -> tuple[Tensor | None, Tensor | None]:
        (classifier,) = self._classifier
        return (None, None) if classifier is None else _linear_parts(classifier)

    def _kept(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """All features, labels and, if there were logits, predictions."""
        if not len(self.labels):
            raise ValueError("no samples yet; call update before compute")
        predictions = dim_zero_cat(self.predictions) if len(self.predictions) else None
        return dim_zero_cat(self.features), dim_zero_cat(self.labels), predictions

    def _merged(self) -> tuple[Tensor, Tensor, Tensor, Tensor, torch.dtype]:
        """Counts and class means of all processes' samples together.

        With P processes: counts `(P, K)`, merged class means `(K, d)`, each process's class means
        minus its pilots and minus the merged means `(P, K, d)`, and the dtype computed in.
        """
        if not len(self.counts):
            raise ValueError("no samples yet; call update before compute")
        counts, pilots = dim_zero_cat(self.counts), dim_zero_cat(self.pilots)
        total = counts.sum(0)
        _check_no_empty_class(total)
        shifts = dim_zero_cat(self.sums) / counts.clamp(min=1)[..., None]
        own = pilots.double() + shifts
        means = (counts[..., None] * own).sum(0) / total[:, None]
        return counts, means, shifts, own - means, pilots.dtype


def _gather(state: Tensor, group: Any = None) -> list[Tensor]:
    """The tensors of all processes; one that has seen no sample yet contributes zero rows."""
    parts: list[Any] = [None] * torch.distributed.get_world_size(group)
    torch.distributed.all_gather_object(parts, state.cpu(), group=group)
    filled = max(parts, key=Tensor.numel)
    return [(part if part.numel() else filled[:0]).to(state.device) for part in parts]
