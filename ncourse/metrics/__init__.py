"""Measuring neural collapse: NC1 to NC4 and their relatives, from tensors, a stream or a model.

`measure` takes features, labels and a linear classifier and returns one `CollapseReport`;
`CollapseMetric` gives the same numbers from a stream of batches or from several processes;
`capture` gets features and classifier out of any `nn.Module`.

Sample i of N has features h_i (d of them) and class y_i, one of K; class c has n_c samples and mean
mu_c; mu_G is the global mean. Within-class covariance: S_W = (1/N) sum_i (h_i - mu_{y_i})(.)^T.
Between-class covariance: S_B = sum_c p_c (mu_c - mu_G)(.)^T. Papers disagree about mu_G and p_c:
the table under `measure` says who does what, the one under `CollapseReport` what each number is.

How the numbers are made. Nothing is squared before it is centred: a first pass over the samples
finds the class means (relative to one sample of each class, summed in float64), a second one
subtracts them. S_B is never formed, let alone inverted: the thin SVD of the centred class means
gives its directions v_i and eigenvalues e_i, and tr(S_W S_B^+) = sum_i (v_i^T S_W v_i) / e_i needs
only each sample's K-1 coordinates along them. `measure` holds no d x d or N x K x d array.
"""

from typing import TYPE_CHECKING, Any

from ncourse.metrics.capture import Captured, capture
from ncourse.metrics.measure import measure
from ncourse.metrics.measures import (
    ByClass,
    by_class,
    hyperspherical_uniformity,
    measure_layers,
    nearest_class_mean,
    one_vs_rest_margin,
    principal_angles,
    variability_collapse_index,
)
from ncourse.metrics.report import CONVENTIONS, CollapseReport, Convention

if TYPE_CHECKING:
    from ncourse.metrics.stream import CollapseMetric

__all__ = [
    "CONVENTIONS",
    "ByClass",
    "Captured",
    "CollapseMetric",
    "CollapseReport",
    "Convention",
    "by_class",
    "capture",
    "hyperspherical_uniformity",
    "measure",
    "measure_layers",
    "nearest_class_mean",
    "one_vs_rest_margin",
    "principal_angles",
    "variability_collapse_index",
]


def __getattr__(name: str) -> Any:
    """`CollapseMetric`, once it is asked for: torchmetrics takes longer to load than torch."""
    if name == "CollapseMetric":
        from ncourse.metrics.stream import CollapseMetric

        return CollapseMetric
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
