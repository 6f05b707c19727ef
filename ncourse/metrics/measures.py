"""Further measures: layer by layer, by the nearest class mean, between spaces, over spheres."""

from collections.abc import Mapping
from dataclasses import dataclass

import scipy.linalg
import scipy.optimize
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ncourse.metrics.checks import (
    _check_samples,
    _chosen,
    as_indices,
    check_classifier,
)
from ncourse.metrics.inputs import ArrayLike, _dtype, _shape, as_numbers
from ncourse.metrics.measure import (
    _between_class,
    _chunk_size,
    _class_means,
    _compute_dtype,
    _row_blocks,
    measure,
)
from ncourse.metrics.report import CollapseReport
from ncourse.precision import in_full_precision

__all__ = [
    "ByClass",
    "by_class",
    "hyperspherical_uniformity",
    "measure_layers",
    "nearest_class_mean",
    "one_vs_rest_margin",
    "principal_angles",
    "variability_collapse_index",
]


@in_full_precision
def measure_layers(
    layers: Mapping[str, ArrayLike],
    labels: ArrayLike,
    *,
    num_classes: int | None = None,
    convention: str = "papyan",
) -> dict[str, CollapseReport]:
    """Measure each layer's features alone: collapse as a function of depth.

    `layers` maps a name to activations `(N, ...)`, flattened to `(N, d)`. Read `trace_ratio`, as
    Rangamani et al. 2023 ("Feature learning in deep classifiers through intermediate neural
    collapse"): pseudo-inverses of early layers, whose class means nearly coincide, say little.

    >>> pixels = torch.tensor([[0.0, 1.0], [0.0, -1.0], [2.0, 1.0], [2.0, -1.0]])
    >>> layers = {"input": pixels, "hidden": pixels * torch.tensor([1.0, 0.5])}
    >>> reports = measure_layers(layers, torch.tensor([0, 0, 1, 1]), num_classes=2)
    >>> [report.trace_ratio for report in reports.values()]
    [1.0, 0.25]

    Raises:
        TypeError, ValueError: as `measure`; ValueError also for activations without samples' axis.
    """
    found = {name: as_numbers(x, f"layer {name!r}") for name, x in layers.items()}
    for name, activations in found.items():
        if activations.ndim < 2:
            raise ValueError(f"layer {name!r} is {_shape(activations)}; expected (samples, ...)")
    return {
        name: measure(x.flatten(1), labels, convention=convention, num_classes=num_classes)
        for name, x in found.items()
    }


@dataclass(frozen=True, eq=False)
class ByClass:
    """What `by_class` found, one entry for each class that was measured.

    Attributes:
        classes: their numbers, ascending.
        counts: samples of each.
        class_means: `(k, d)`, uncentred.
        variance: mean squared distance of a class's samples to their mean.
        cdnv: mean over the other classes of (var_c + var_c') / (2 |mu_c - mu_c'|^2); the mean of
            these is `CollapseReport.cdnv`.
        alignment: cosine of the classifier's row with the class mean minus the mean of class means;
            nan without a classifier. Self-duality asks it to be 1, uniform duality only that it is
            the same for all classes: that its standard deviation is small (Wu and Papyan 2024).
    """

    classes: Int[Tensor, " k"]
    counts: Int[Tensor, " k"]
    class_means: Float[Tensor, "k d"]
    variance: Float[Tensor, " k"]
    cdnv: Float[Tensor, " k"]
    alignment: Float[Tensor, " k"]


@in_full_precision
@torch.no_grad()
def by_class(
    features: ArrayLike,
    labels: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    num_classes: int | None = None,
    min_samples: int = 2,
) -> ByClass:
    """Collapse class by class: with a long tail, as of words, the mean over classes hides much.

    Features `(N, d)`, labels `(N,)`, weight `(K, d)` or None. Classes with fewer than `min_samples`
    samples are left out, as in `measure`: nothing varies within a class of one sample. Raises as
    `measure`.

    >>> features = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 0.0], [-1.0, 0.0]])
    >>> found = by_class(features, torch.tensor([0, 0, 1, 1]))
    >>> found.variance.tolist(), found.cdnv.tolist()
    ([1.0, 0.0], [0.125, 0.125])
    """
    x, y = as_numbers(features, "features"), as_indices(labels)
    w = None if weight is None else as_numbers(weight, "weight")
    if num_classes is None:
        num_classes = len(w) if w is not None else int(y.max()) + 1 if y.numel() else 2
    check_classifier(w, None, num_classes, "papyan")
    _check_samples(x, y, num_classes, w)
    y = y.to(x.device)
    counts = y.bincount(minlength=num_classes)
    kept = _chosen(counts, None, min_samples)
    number = counts.new_full((num_classes,), -1)
    number[kept] = torch.arange(len(kept), device=kept.device)
    rows = number[y] >= 0
    x, y, counts = x[rows], number[y[rows]], counts[kept]
    means = _class_means(x, y, len(kept))
    squares = (x.double() - means[y]).square().sum(1)
    variance = torch.zeros_like(means[:, 0]).index_add_(0, y, squares) / counts
    distances = torch.cdist(means, means, compute_mode="donot_use_mm_for_euclid_dist").square()
    ratio = (variance[:, None] + variance) / (2 * distances)
    ratio.fill_diagonal_(0)
    alignment = torch.full_like(variance, torch.nan)
    if w is not None:
        rows = w.double().to(x.device)[kept]
        alignment = torch.cosine_similarity(means - means.mean(0), rows)
    return ByClass(kept, counts, means, variance, ratio.sum(1) / (len(kept) - 1), alignment)


@in_full_precision
@torch.no_grad()
def nearest_class_mean(features: ArrayLike, class_means: ArrayLike) -> Int[Tensor, " samples"]:
    """The class whose mean is nearest to each sample, the lower one on a tie; `(N,)`.

    Features `(N, d)`, class means `(K, d)`. Means may come from other samples: test features
    against training means is the NC4 of test data (Papyan, Han, Donoho 2020).

    >>> means = torch.tensor([[0.0, 0.0], [4.0, 0.0]])
    >>> nearest_class_mean(torch.tensor([[1.0, 9.0], [3.0, 0.0], [2.0, 0.0]]), means)
    tensor([0, 1, 0])

    Raises:
        TypeError: if one of them is not floating point.
        ValueError: for shapes that do not match, no class, NaN or infinity.
    """
    features = as_numbers(features, "features")
    class_means = as_numbers(class_means, "class_means").to(features.device)
    if features.ndim != 2 or class_means.ndim != 2 or features.shape[1] != class_means.shape[1]:
        raise ValueError(
            f"features is {_shape(features)} and class_means {_shape(class_means)}; "
            "expected (samples, d) and (classes, d)"
        )
    for name, tensor in (("features", features), ("class_means", class_means)):
        if not tensor.is_floating_point():
            raise TypeError(f"{name} is {_dtype(tensor)}; expected floating point")
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name} contains NaN or infinity")
    if len(class_means) == 0:
        raise ValueError("class_means is empty; a nearest one needs at least 1 class")
    dtype = _compute_dtype(features.dtype)
    # |h - mu|^2 = |h - centre|^2 - 2 (h - centre).(mu - centre) + |mu - centre|^2, where the first
    # term is the same for all classes; the centre keeps the others small.
    centre = class_means.double().mean(0).to(dtype)
    corners = class_means.double() - centre
    half_squares = (corners.square().sum(1) / 2).to(dtype)
    corners = corners.to(dtype)
    parts = features.split(_chunk_size(features.shape[1], len(corners)))
    return torch.cat([((x - centre) @ corners.T - half_squares).argmax(1) for x in parts])


@in_full_precision
@torch.no_grad()
def variability_collapse_index(
    features: ArrayLike, labels: ArrayLike, *, num_classes: int | None = None
) -> float:
    """VCI = 1 - tr(S_T^+ S_B) / rank(S_B), in [0, 1], Xu and Liu 2023; 0 is full collapse.

    S_T is the total covariance, S_B weighted n_c/N about the mean of all samples. VCI is the part
    of the labels that the best linear probe cannot explain, so no invertible linear map of the
    features changes it. That needs all of S_T, not only its part along the class means: it costs
    N d^2 and is no field of `CollapseReport`. S_T is never inverted: a QR of the centred features
    and an SVD of R give its inverse square root. Raises as `measure`; ValueError also if all class
    means coincide.

    >>> labels = torch.arange(6) % 2
    >>> features = torch.stack([labels + 1.0, torch.tensor([0.0, 0, 1, 1, 2, 2])], dim=1)
    >>> variability_collapse_index(features, labels) < 1e-12  # the first feature says it all
    True
    """
    features, labels = as_numbers(features, "features"), as_indices(labels)
    if num_classes is None:
        if labels.numel() == 0:
            raise ValueError("labels is empty; VCI needs samples of at least 2 classes")
        num_classes = int(labels.max()) + 1
    check_classifier(None, None, num_classes, "wu")
    _check_samples(features, labels, num_classes, None)
    labels = labels.to(features.device)
    counts = labels.bincount(minlength=num_classes)
    _chosen(counts, None, None)  # raises where a class has none
    means = _class_means(features, labels, num_classes)
    between = _between_class(means, counts, "wu", features.dtype)
    rank = len(between.eigenvalues)
    if rank == 0:
        raise ValueError("all class means coincide; VCI compares them, so there is nothing to say")
    mean = counts.double() @ means / len(labels)
    _, triangle = torch.linalg.qr(features.double() - mean, mode="r")
    _, singular_values, axes = torch.linalg.svd(triangle, full_matrices=False)
    kept = (
        singular_values
        > singular_values[0] * max(features.shape) * torch.finfo(_compute_dtype(features.dtype)).eps
    )
    whitened = between.centred @ axes[kept].T / singular_values[kept]  # S_T is R^T R / N
    return max(0.0, 1 - float((counts[:, None] * whitened.square()).sum()) / rank)


@in_full_precision
def principal_angles(class_means: ArrayLike, weight: ArrayLike) -> Float[Tensor, " angles"]:
    """Angles between the spaces spanned by class means and by classifier rows, ascending, radians.

    Both `(K, d)`, both centred over classes first (adding one vector to all rows of a classifier
    changes no decision), so at most K-1 angles in [0, pi/2]; all 0 where the classifier reads
    exactly the directions in which class means differ. Bjorck and Golub 1973, computed as Knyazev
    and Argentati 2002 (small angles stay accurate). Raises ValueError if either spans nothing.

    >>> means = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    >>> angles = principal_angles(means, torch.tensor([[1.0, 1.0, 0.0], [-1.0, -1.0, 0.0]]))
    >>> [round(angle, 3) for angle in angles.rad2deg().tolist()]
    [45.0]
    """
    class_means, weight = as_numbers(class_means, "class_means"), as_numbers(weight, "weight")
    if class_means.shape != weight.shape or weight.ndim != 2:
        raise ValueError(
            f"class_means is {_shape(class_means)} and weight {_shape(weight)}; expected "
            "(classes, features) both"
        )
    bases = []
    for name, rows in (("class_means", class_means), ("weight", weight)):
        if not rows.is_floating_point():
            raise TypeError(f"{name} is {_dtype(rows)}; expected floating point")
        if len(rows) < 2 or not torch.isfinite(rows).all():
            raise ValueError(f"{name} is {_shape(rows)}; expected 2 or more finite rows")
        uniform = torch.ones(len(rows), dtype=torch.long, device=rows.device)
        basis = _between_class(rows.detach().double(), uniform, "papyan", rows.dtype).directions
        if len(basis) == 0:
            raise ValueError(f"the rows of {name} all coincide, so they span nothing")
        bases.append(basis.T.cpu().numpy())
    angles = scipy.linalg.subspace_angles(*bases)
    return torch.from_numpy(angles[::-1].copy())


@in_full_precision
def one_vs_rest_margin(vectors: ArrayLike) -> float:
    """Least distance from one unit row to the convex hull of the others, in [0, 2].

    What replaces NC2's simplex where K > d+1 has none: softmax codes make it as large as possible
    (Jiang et al. 2023, "Generalized neural collapse for a large number of classes"). `vectors`
    `(K, d)`, class means minus global mean or classifier rows; rows are normalised. A simplex ETF
    has K/(K-1). One non-negative least-squares problem a row.

    >>> square = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    >>> round(one_vs_rest_margin(square), 6)
    1.0
    """
    unit = _unit_rows(vectors).cpu()
    margins = []
    for index in range(len(unit)):
        others = torch.cat([unit[:index], unit[index + 1 :]]) - unit[index]
        # min |sum_j a_j o_j|^2 + (1 - sum_j a_j)^2 over a >= 0 points to the hull's nearest point.
        system = torch.cat([others.T, torch.ones(1, len(others), dtype=torch.float64)])
        target = torch.zeros(len(system), dtype=torch.float64)
        target[-1] = 1
        shares, _ = scipy.optimize.nnls(system.numpy(), target.numpy())
        nearest = torch.from_numpy(shares / shares.sum()) @ others
        margins.append(float(nearest.norm()))
    return min(margins)


@in_full_precision
def hyperspherical_uniformity(vectors: ArrayLike) -> float:
    """Mean over pairs of log|u_i - u_j| for unit rows u: the larger, the more evenly spread.

    The negative logarithmic energy (Liu et al. 2018, "Learning towards minimum hyperspherical
    energy"; Liu et al. 2023 for neural collapse). `vectors` `(K, d)`; rows are normalised. At most
    log(2K/(K-1))/2, reached by a simplex ETF only; for K > d+1 the best arrangement stays below.
    Two equal directions give -inf.

    >>> import math
    >>> triangle = torch.tensor([[0.0, 1.0], [-(3**0.5) / 2, -0.5], [3**0.5 / 2, -0.5]])
    >>> round(hyperspherical_uniformity(triangle), 6) == round(math.log(3) / 2, 6)
    True
    """
    unit = _unit_rows(vectors)
    total = 0.0
    for block in _row_blocks(len(unit)):
        distances = torch.cdist(unit[block], unit, compute_mode="donot_use_mm_for_euclid_dist")
        distances[torch.arange(len(block)), block] = 1
        total += float(distances.log().sum())
    return total / (len(unit) * (len(unit) - 1))


def _unit_rows(vectors: ArrayLike) -> Tensor:
    vectors = as_numbers(vectors, "vectors")
    if vectors.ndim != 2 or len(vectors) < 2:
        raise ValueError(f"vectors is {_shape(vectors)}; expected (K, d) with K >= 2")
    norms = torch.linalg.vector_norm(vectors.detach().double(), dim=1, keepdim=True)
    if not (torch.isfinite(norms).all() and (norms > 0).all()):
        raise ValueError("vectors has a row that is zero, NaN or infinite; it has no direction")
    return vectors.detach().double() / norms
