"""The numbers of `measure` from a stream of batches, in one process or in several."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from ncourse.metrics.checks import (
    _check_chosen,
    _check_samples,
    _chosen,
    _raise_not_finite,
    _without,
    as_indices,
    check_classifier,
)
from ncourse.metrics.inputs import ArrayLike, _shape, as_numbers
from ncourse.metrics.linear import linear_parts
from ncourse.metrics.measure import (
    _add_by_class,
    _between_class,
    _centred_chunks,
    _check_logits,
    _chunk_size,
    _class_means,
    _compute_dtype,
    _renumbered,
    _report,
    _WithinClass,
    measure,
)
from ncourse.metrics.report import CollapseReport
from ncourse.precision import in_full_precision

__all__ = ["CollapseMetric"]

TINY = 1e-38  # what a norm is divided by at least: the zero vector stays zero
DRAWN = {
    "nc1": "NC1",
    "nc2_equinorm": "NC2 equinorm",
    "nc2_equiangular": "NC2 equiangular",
    "nc3": "NC3",
    "nc4": "NC4",
}
WAITING = 4096  # samples that may wait in any case
BLOCK = 256  # rows of the scatter at a time
_NUMBERS = tuple(
    f.name for f in dataclasses.fields(CollapseReport) if f.name not in ("convention", "classes")
)


class CollapseMetric(Metric):
    """The numbers of `measure` from a stream of batches of any size, as a torchmetrics Metric.

    Memory is O(K d + d^2) however many samples come. Each class is centred on a *pilot*, the mean
    of its samples in the first batch that has any; counts, sums, squared distances and the pooled
    (d, d) scatter about the pilots are kept in float64. The latest samples, at most as many as take
    the room of the scatter, wait: a stream that ends before there are more needs no d x d product,
    only their coordinates along the class means. Processes have pilots of their own; their
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
        classes: as in `measure`: samples of other classes are passed over.
        min_samples: as in `measure`: classes with fewer when `compute` is called are left out. For
            more than 2 that many samples of each class are kept, less one.
        ignore_index: as in `measure`.
        keep_features: keep all features instead of statistics.
        field: the name of a field of `CollapseReport`. `compute` then returns that number as a
            tensor instead of the report, as Lightning's `self.log` and torchmetrics'
            `MetricTracker` ask for.
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
    higher_is_better = False
    full_state_update = False
    counts: list[Tensor]  # (1, K)
    pilots: list[Tensor]  # (1, K, d)
    sums: list[Tensor]  # (1, K, d) of h - pilot
    squares: list[Tensor]  # (1, K) of |h - pilot|^2
    units: list[Tensor]  # (1, K, d) of h / |h|
    scatter: list[Tensor]  # (1, d, d) of (h - pilot)(.)^T, all classes together, upper triangle
    waiting: list[Tensor]  # (n, d) of h - pilot, samples that are not in the scatter
    waiting_labels: list[Tensor]  # (n,)
    features: list[Tensor]
    labels: list[Tensor]
    predictions: list[Tensor]
    _by_class = ("counts", "pilots", "sums", "squares", "units")
    _statistics = (*_by_class, "scatter", "waiting", "waiting_labels")
    _samples = ("features", "labels", "predictions")

    def __init__(
        self,
        num_classes: int,
        *,
        classifier: nn.Module | None = None,
        convention: str = "papyan",
        classes: Sequence[int] | None = None,
        min_samples: int | None = None,
        ignore_index: int | None = None,
        keep_features: bool = False,
        field: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"dist_sync_fn": _gather} | kwargs)
        self.num_classes, self.convention = num_classes, convention
        self.classes, self.min_samples, self.ignore_index = classes, min_samples, ignore_index
        _check_chosen(classes, min_samples, num_classes)
        self.keep_features, self.field = keep_features, field
        if field is not None and field not in _NUMBERS:
            raise ValueError(f"field is {field!r}; expected one of {', '.join(_NUMBERS)}")
        # In a tuple, or it would become a submodule, moved and saved with the metric.
        self._classifier: tuple[nn.Module | None] = (classifier,)
        check_classifier(*self._weight_and_bias(), num_classes, convention)
        # Each statistic is a list of (1, ...) tensors, one a process once they are gathered.
        states = self._samples if keep_features else self._statistics
        for name in states:
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def adopt(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """Take a copy of a weight `(K, d)` and bias for classifier, unless there is one already.

        Raises:
            ValueError: as `measure`.
        """
        if self._classifier[0] is not None:
            return
        check_classifier(weight, bias, self.num_classes, self.convention)
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
        layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
        if bias is not None:
            layer.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
        self._classifier = (layer,)

    def forward(self, *args: Any, **kwargs: Any) -> None:
        """Update with a batch; see the class about why nothing comes back."""
        self.update(*args, **kwargs)

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        # Torchmetrics copies a result field by field, which a frozen report refuses; it gets a
        # function that returns the report, and the caller the report.
        def hidden() -> Any:
            found = compute()
            return found if isinstance(found, Tensor) else lambda: found

        wrapped = super()._wrap_compute(hidden)

        @functools.wraps(compute)
        def shown() -> Any:
            found = wrapped()
            return found if isinstance(found, Tensor) else found()

        return shown

    @in_full_precision
    @torch.no_grad()
    def update(
        self, features: ArrayLike, labels: ArrayLike, logits: ArrayLike | None = None
    ) -> None:
        """Take in one batch: features `(n, d)`, labels `(n,)`, n >= 0.

        `logits` `(n, K)`, the model's own, take the place of the classifier's scores in `nc4` where
        features are kept; give them with every batch or with none. Only decisions are kept of them,
        unless `min_samples` may yet leave out classes. Raises as `measure` does.
        """
        weight, _ = self._weight_and_bias()
        h = as_numbers(features, "features")
        own = None if logits is None else as_numbers(logits, "logits")
        y, h, own = _without(self.ignore_index, as_indices(labels), h, own)
        _check_samples(h, y, self.num_classes, weight)
        if own is not None:
            _check_logits(own, len(y), self.num_classes)
        if self.classes is not None and not self.keep_features:
            wanted = y.new_zeros(self.num_classes, dtype=torch.bool)
            wanted[list(self.classes)] = True
            rows = wanted[y]
            h, y = h[rows.to(h.device)], y[rows]
        features, labels = h, y
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
            if own is not None:
                self.predictions.append(self._decided(own).to(self.device))
        else:
            self._accumulate(features, labels, dtype)

    def _decided(self, logits: Tensor) -> Tensor:
        """The class of each largest logit, of those among the classes to measure.

        Where some may yet be left out, the logits themselves.
        """
        if self.min_samples is not None:
            return logits
        if self.classes is None:
            return logits.argmax(1)
        classes = torch.tensor(list(self.classes), device=logits.device)
        return classes[logits[:, classes].argmax(1)]

    def _accumulate(self, features: Tensor, labels: Tensor, dtype: torch.dtype) -> None:
        num_classes, dim = self.num_classes, features.shape[1]
        if not self.counts:
            zeros = torch.zeros(1, num_classes, dim, dtype=torch.float64, device=self.device)
            self.counts.append(zeros.new_zeros(1, num_classes, dtype=torch.long))
            self.pilots.append(torch.zeros_like(zeros, dtype=dtype))
            self.sums.append(zeros)
            self.squares.append(zeros.new_zeros(1, num_classes))
            self.units.append(torch.zeros_like(zeros))
        counts, pilots, sums, squares, units = (
            getattr(self, name)[0][0] for name in self._by_class
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
            self.waiting.append(centred.clone())
            self.waiting_labels.append(label)
            if self._classifier[0] is not None:
                unit = nn.functional.normalize(features[rows].to(dtype), dim=1, eps=TINY)
                _add_by_class(units, label, unit)
        # Few samples wait until the end: their coordinates are cheaper than their products.
        if sum(map(len, self.waiting_labels)) > max(WAITING, 2 * dim):
            self._add_to_scatter()

    def _add_to_scatter(self) -> None:
        """Add what waits, but for the samples of classes that may yet be left out."""
        rows, labels = torch.cat(self.waiting), torch.cat(self.waiting_labels)
        dim, least = rows.shape[1], self.min_samples or 1
        if not self.scatter:
            self.scatter.append(rows.new_zeros(1, dim, dim, dtype=torch.float64))
        first = torch.zeros_like(labels, dtype=torch.bool)
        if least > 2:  # one sample alone is its class's pilot, so it adds nothing
            order = labels.argsort(stable=True)
            counts = labels.bincount(minlength=self.num_classes)
            start = (counts.cumsum(0) - counts)[labels[order]]
            ranks = torch.arange(len(order), device=labels.device) - start
            first[order] = ranks < least - 1
        self.waiting[:] = [rows[first]] if bool(first.any()) else []
        self.waiting_labels[:] = [labels[first]] if bool(first.any()) else []
        rows = rows[~first] if self.waiting else rows
        # Of what is symmetric one half will do: blocks on and above the diagonal.
        for left in range(0, dim, BLOCK):
            columns = slice(left, left + BLOCK)
            self.scatter[0][0, columns, left:] += rows[:, columns].T @ rows[:, left:]

    @in_full_precision
    def class_means(self) -> Float[Tensor, "classes features"]:
        """Means of the classes in the report, of this process's samples so far, in float64."""
        if self.keep_features:
            features, labels, _ = self._kept()
            kept = _chosen(
                labels.bincount(minlength=self.num_classes), self.classes, self.min_samples
            )
            labels, rows = _renumbered(labels, kept, self.num_classes)
            return _class_means(features[rows], labels, len(kept))
        return self._merged()[1]

    @in_full_precision
    @torch.no_grad()
    def compute(self) -> Any:
        """The report of all samples so far, or its `field`; raises if a class has none."""
        report = self._from_features() if self.keep_features else self._from_statistics()
        return report if self.field is None else torch.tensor(float(getattr(report, self.field)))

    def _from_features(self) -> CollapseReport:
        features, labels, predictions = self._kept()
        weight, bias = self._weight_and_bias()
        logits = predictions
        if predictions is not None and predictions.ndim == 1:
            logits = nn.functional.one_hot(predictions, self.num_classes)
        return measure(
            features, labels, weight, bias, logits=logits,
            convention=self.convention, num_classes=self.num_classes,
            classes=self.classes, min_samples=self.min_samples,
        )  # fmt: skip

    def _from_statistics(self) -> CollapseReport:
        counts, means, shifts, deltas, kept, dtype = self._merged()
        weight, _ = self._weight_and_bias()
        weight = None if weight is None else weight.detach()[kept.to(weight.device)]
        num_samples, total = counts.sum(), counts.sum(0)
        between = _between_class(means, total, self.convention, dtype)

        def moved(offsets: Tensor) -> Tensor:  # from pilots to class means, in squares
            return counts[..., None] * offsets.square()

        squares = dim_zero_cat(self.squares).sum(0)[kept]
        squares = squares + (moved(deltas) - moved(shifts)).sum((0, 2))
        axes = between.directions
        along = axes.new_zeros(len(axes))
        if len(self.scatter):
            upper = dim_zero_cat(self.scatter).sum(0)
            scatter = upper.triu() + upper.triu(1).T
            along += (axes @ scatter * axes).sum(1)
        if len(self.waiting):
            rows, labels = dim_zero_cat(self.waiting), dim_zero_cat(self.waiting_labels)
            if len(kept) < self.num_classes:
                rows = rows[torch.isin(labels, kept)]
            for part in rows.split(_chunk_size(rows.shape[1])):
                along += (part @ axes.T.to(part.dtype)).square().sum(0, dtype=torch.float64)
        along = along + (moved(deltas @ axes.T) - moved(shifts @ axes.T)).sum((0, 1))
        if not (torch.isfinite(along).all() and torch.isfinite(squares).all()):
            raise ValueError("features are too large: their squares overflow; pass .double()")
        cosine = math.nan
        if weight is not None:
            rows = nn.functional.normalize(weight.to(means), dim=1, eps=TINY)
            cosine = float((rows * dim_zero_cat(self.units).sum(0)[kept]).sum() / num_samples)
        within = _WithinClass(
            along=along.clamp(min=0) / num_samples,
            squares=squares.clamp(min=0),
            cosine=cosine,
            nc4=math.nan,
            nc4_without_bias=math.nan,
        )
        named = tuple(kept.tolist())
        return _report(total, means, between, within, weight, self.convention, named)

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Draw a report, or how a series of them changes; returns matplotlib's figure and axes.

        Args:
            val: what `compute` returned, once or in a list; the present one if None.
            ax: axes of matplotlib to draw on; new ones if None.

        Raises:
            ModuleNotFoundError: without matplotlib, saying how to get it.
        """
        try:
            from matplotlib import pyplot
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("drawing needs: pip install matplotlib") from error
        found = self.compute() if val is None else val
        axes = pyplot.subplots()[1] if ax is None else ax
        names = DRAWN if self.field is None else {self.field: self.field}

        def number(value: Any, name: str) -> float:
            return float(getattr(value, name) if isinstance(value, CollapseReport) else value)

        if isinstance(found, Sequence):
            for name, label in names.items():
                axes.plot([number(value, name) for value in found], marker="o", label=label)
            axes.set(yscale="log", xlabel="report", ylabel="distance from collapse")
            axes.legend()
        else:
            axes.plot([number(found, name) for name in names], [*names.values()], "o")
            axes.invert_yaxis()
            axes.set(xscale="log", xlabel="distance from collapse")
        return axes.figure, axes

    def _weight_and_bias(self) -> tuple[Tensor | None, Tensor | None]:
        (classifier,) = self._classifier
        return (None, None) if classifier is None else linear_parts(classifier)

    def _kept(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """All features, labels and, if there were logits, what `_decided` made of them."""
        if not len(self.labels):
            raise ValueError("no samples yet; call update before compute")
        predictions = dim_zero_cat(self.predictions) if len(self.predictions) else None
        return dim_zero_cat(self.features), dim_zero_cat(self.labels), predictions

    def _merged(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, torch.dtype]:
        """Counts and class means of all processes' samples together, of the classes to measure.

        With P processes: counts `(P, K)`, merged class means `(K, d)`, each process's class means
        minus its pilots and minus the merged means `(P, K, d)`, the numbers of the K classes, and
        the dtype computed in.
        """
        if not len(self.counts):
            raise ValueError("no samples yet; call update before compute")
        counts, pilots = dim_zero_cat(self.counts), dim_zero_cat(self.pilots)
        kept = _chosen(counts.sum(0), self.classes, self.min_samples)
        counts, pilots = counts[:, kept], pilots[:, kept]
        total = counts.sum(0)
        shifts = dim_zero_cat(self.sums)[:, kept] / counts.clamp(min=1)[..., None]
        own = pilots.double() + shifts
        means = (counts[..., None] * own).sum(0) / total[:, None]
        return counts, means, shifts, own - means, kept, pilots.dtype


def _gather(state: Tensor, group: Any = None) -> list[Tensor]:
    """The tensors of all processes; one that has seen no sample yet contributes zero rows."""
    parts: list[Any] = [None] * torch.distributed.get_world_size(group)
    torch.distributed.all_gather_object(parts, state.cpu(), group=group)
    filled = max(parts, key=Tensor.numel)
    return [(part if part.numel() else filled[:0]).to(state.device) for part in parts]
