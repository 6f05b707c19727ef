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

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import scipy.linalg
import scipy.optimize
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

__all__ = [
    "CONVENTIONS",
    "Captured",
    "CollapseMetric",
    "CollapseReport",
    "Convention",
    "capture",
    "hyperspherical_uniformity",
    "measure",
    "measure_layers",
    "nearest_class_mean",
    "one_vs_rest_margin",
    "principal_angles",
    "variability_collapse_index",
]


CHUNK = 2**20  # numbers at a time, 4 MB in float32: they stay in cache between two uses
TINY = 1e-38  # what a norm is divided by at least: the zero vector stays zero


@dataclass(frozen=True)
class Convention:
    """How one line of papers forms means and covariances, and what it calls NC1."""

    global_mean: str  # mean of the "class means" or of all "samples"
    class_weights: str  # p_c in S_B: "uniform", 1/K, or "samples", n_c/N
    nc1: str  # the field of `CollapseReport` that it calls NC1


CONVENTIONS = {
    "papyan": Convention("class means", "uniform", "pinv_trace"),
    "zhu": Convention("samples", "uniform", "pinv_trace_per_class"),
    "jacot": Convention("class means", "uniform", "trace_ratio"),
    "wu": Convention("samples", "samples", "trace_fraction"),
}


@dataclass(frozen=True, repr=False)
class CollapseReport:
    """How far features and classifier have collapsed; each field has one meaning.

    M is the (K, d) matrix of class means minus the global mean, W the classifier's weight, P the
    matrix (I - J/K)/sqrt(K-1), |.| the Frobenius norm. Fields that need a classifier are nan (shown
    as a dash) where none was given. Full collapse to a simplex ETF makes all of them 0, except
    `nc2_condition` (1 for *orthogonal* uncentred means, inf for an ETF around the origin) and
    `nc3_cosine` (1).

    | field | formula | source |
    |---|---|---|
    | nc1 | the convention's NC1, one of the four below | see `measure` |
    | pinv_trace | tr(S_W S_B^+) | Papyan 2020 (notebook) |
    | pinv_trace_per_class | tr(S_W S_B^+) / K | Zhu 2021 |
    | trace_ratio | tr S_W / tr S_B | Tirer and Bruna 2022, Jacot 2024 |
    | trace_fraction | tr S_W / (tr S_W + tr S_B), in [0, 1] | Wu and Mondelli 2025 |
    | cdnv | mean over c != c' of (var_c + var_c') / (2 |mu_c - mu_c'|^2) | Galanti 2022 |
    | nc2_equinorm | std (ddof 1) / mean of the norms of M's rows | Papyan 2020 |
    | nc2_equiangular | mean over c != c' of |cos(M_c, M_c') + 1/(K-1)| | Papyan 2020 |
    | nc2_structure | |M M^T / |M M^T| - P| | Zhu 2021, its form applied to means |
    | nc2_condition | condition number of the *uncentred* class means | Jacot 2024 |
    | nc2_..._classifier | the same three of W's rows, not centred | Papyan 2020, Zhu 2021 |
    | nc3 | |W/|W| - M/|M||^2, in [0, 4] | Papyan 2020 (squared) |
    | nc3_structure | |W M^T / |W M^T| - P| | Zhu 2021; 0 does not imply W parallel to M |
    | nc3_cosine | mean over samples of cos(h_i, W_{y_i}) | Jacot 2024 |
    | nc4 | share of samples where argmax(W h + b) is not the nearest class mean | Papyan 2020 |
    | nc4_without_bias | the same without b | as in rhubarbwu/neural-collapse |
    | rank | number of directions in which the class means differ, at most min(K-1, d) | |
    | simplex_fits | d >= K-1: a simplex ETF of K vertices has room | |

    Where there is nothing to divide by, the field is inf, never nan: class means that all coincide
    (`rank` 0) make NC1, CDNV, NC2 of the means and NC3 inf (and trace_fraction 1); a zero weight
    makes NC2 of the classifier and NC3 inf; two coinciding class means make CDNV inf. A single zero
    vector among others has cosine 0 with all. Ties in NC4 go to the lower class, on both sides.
    """

    nc1: float
    nc2_equinorm: float
    nc2_equiangular: float
    nc3: float
    nc4: float
    pinv_trace: float
    pinv_trace_per_class: float
    trace_ratio: float
    trace_fraction: float
    cdnv: float
    nc2_structure: float
    nc2_condition: float
    nc2_equinorm_classifier: float
    nc2_equiangular_classifier: float
    nc2_structure_classifier: float
    nc3_structure: float
    nc3_cosine: float
    nc4_without_bias: float
    rank: int
    simplex_fits: bool
    convention: str
    num_classes: int
    num_samples: int

    def as_dict(self) -> dict[str, float]:
        """All numbers as floats, by field name (`convention`, the one word, is left out)."""
        return {name: float(x) for name, x in asdict(self).items() if not isinstance(x, str)}

    def _rows(self) -> list[tuple[str, str]]:
        fits = "fits" if self.simplex_fits else "does not fit"
        title = f"{self.num_samples} samples, {self.num_classes} classes, simplex {fits}"
        values = asdict(self)
        rows = [(f"convention {self.convention}", title)]
        for name in values:
            if isinstance(values[name], float):
                text = "–" if math.isnan(values[name]) else f"{values[name]:.4g}"
                rows.append((name, text))
            elif name == "rank":
                rows.append((name, str(values[name])))
        return rows

    def __str__(self) -> str:
        return "\n".join(f"{name:<27} {value}" for name, value in self._rows())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head, *body = self._rows()
        lines = "".join(f"<tr><th scope='row'>{n}</th><td>{v}</td></tr>" for n, v in body)
        return f"<table><caption>{head[0]}: {head[1]}</caption><tbody>{lines}</tbody></table>"


@torch.no_grad()
def measure(
    features: Tensor,
    labels: Tensor,
    weight: Tensor | None,
    bias: Tensor | None = None,
    *,
    convention: str = "papyan",
    num_classes: int | None = None,
) -> CollapseReport:
    """Measure neural collapse of features and of the linear classifier on top of them.

    The convention fixes the global mean mu_G, the weights p_c in S_B, and which quantity `nc1` is;
    they agree about mu_G and p_c as long as classes have equal size. S_W is pooled, /N, in all.

    | convention | mu_G | p_c | nc1 | source |
    |---|---|---|---|---|
    | papyan | mean of class means | 1/K | pinv_trace | Papyan, Han, Donoho 2020, notebook |
    | zhu | mean of all samples | 1/K | pinv_trace_per_class | Zhu et al. 2021, code |
    | jacot | mean of class means | 1/K | trace_ratio | Jacot et al. 2024 (balanced there) |
    | wu | mean of all samples | n_c/N | trace_fraction | Wu and Mondelli 2025 |

    Args:
        features: `(N, d)`, floating point (half precision is computed in float32), finite.
        labels: `(N,)`, integers in 0..K-1; every class must occur.
        weight: `(K, d)` as in `nn.Linear`, or None to measure features alone.
        bias: `(K,)` or None.
        convention: "papyan", "zhu", "jacot" or "wu".
        num_classes: K; needed only without a weight.

    Returns:
        A `CollapseReport`, finished in float64. `rank` counts the singular values of the centred
        class means (rows times sqrt(p_c)) above eps times the Frobenius norm of the uncentred ones,
        with eps that of float32, or max(K, d) times that of float64 for float64 features.

    Raises:
        TypeError: features are not floating point, labels not integers.
        ValueError: shapes that do not match, NaN or infinity, a label out of range, an empty
            class, fewer samples than classes, fewer than two classes, an unknown convention.

    >>> from ncourse.simplex import simplex_etf
    >>> vertices = simplex_etf(4, 6, dtype=torch.float64)
    >>> labels = torch.arange(8) % 4
    >>> report = measure(vertices[labels], labels, weight=3 * vertices)
    >>> max(report.nc1, report.nc2_equinorm, report.nc2_equiangular, report.nc3, report.nc4) < 1e-12
    True
    """
    num_classes = _check_classifier(weight, bias, num_classes, convention)
    _check_samples(features, labels, num_classes, weight)
    labels = labels.to(features.device, torch.long)
    counts = _check_counts(labels, num_classes)
    means = _class_means(features, labels, num_classes)
    between = _between_class(means, counts, convention, features.dtype)
    within = _within_class(features, labels, means, between, weight, bias)
    return _report(counts, means, between, within, weight, convention)


# The two passes -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _BetweenClass:
    centred: Tensor  # (K, d) class means minus global mean
    directions: Tensor  # (rank, d) orthonormal rows that span them
    eigenvalues: Tensor  # (rank,) of S_B
    trace: float  # of S_B
    condition: float  # of the uncentred class means


@dataclass(frozen=True)
class _WithinClass:
    along: Tensor  # (rank,) v_i^T S_W v_i
    squares: Tensor  # (K,) sum over the class of |h - mu_c|^2
    cosine: float  # mean of cos(h_i, W_{y_i})
    nc4: float
    nc4_without_bias: float


def _compute_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _chunk_size(dim: int, num_classes: int = 1) -> int:
    """How many samples to take at a time; their scores may take more room than their features."""
    return max(1, min(4096, CHUNK // max(1, dim), 4 * CHUNK // num_classes))


def _centred_chunks(
    features: Tensor, labels: Tensor, points: Tensor, size: int
) -> Iterator[tuple[slice, Tensor]]:
    """Samples minus their class's point, `size` at a time, in one buffer that stays in cache."""
    buffer = points.new_empty(min(size, len(features)), points.shape[1])
    for start in range(0, len(features), size):
        rows = slice(start, start + size)
        centred = buffer[: len(labels[rows])]
        torch.index_select(points, 0, labels[rows], out=centred)
        yield rows, torch.sub(features[rows], centred, out=centred)


def _add_by_class(totals: Tensor, labels: Tensor, rows: Tensor) -> None:
    """Add each row to the float64 total of its class."""
    if len(rows) > len(totals):  # converting one subtotal a class is cheaper than all rows
        totals += rows.new_zeros(totals.shape).index_add_(0, labels, rows)
    else:
        totals.index_add_(0, labels, rows.double())


def _largest(scores: Tensor) -> Tensor:
    """The class of each sample's largest score, `(K, n)` to `(n,)`; the lower one on a tie.

    Along rows in memory this is faster, by far for many classes, though they are copied for it.
    """
    return scores.T.contiguous().max(1).indices


def _class_means(
    features: Float[Tensor, "samples features"], labels: Int[Tensor, " samples"], num_classes: int
) -> Float[Tensor, "classes features"]:
    """First pass: class means in float64."""
    num_samples, dim = features.shape
    index = torch.arange(num_samples, device=labels.device)
    first = labels.new_full((num_classes,), num_samples).scatter_reduce_(0, labels, index, "amin")
    # Subtracting one sample of the same class leaves numbers of within-class size, which lose
    # nothing to an offset of the whole cloud.
    pilots = features[first].to(_compute_dtype(features.dtype))
    sums = torch.zeros(num_classes, dim, dtype=torch.float64, device=features.device)
    for rows, centred in _centred_chunks(features, labels, pilots, _chunk_size(dim)):
        _add_by_class(sums, labels[rows], centred)
    if not torch.isfinite(sums.sum()):
        _raise_not_finite(features)
    return pilots.double() + sums / labels.bincount(minlength=num_classes)[:, None]


def _between_class(
    means: Float[Tensor, "classes features"],
    counts: Int[Tensor, " classes"],
    convention: str,
    dtype: torch.dtype,
) -> _BetweenClass:
    """Directions and eigenvalues of S_B by a thin SVD of the class means."""
    num_classes, dim = means.shape
    rule = CONVENTIONS[convention]
    by_samples = counts.double() / counts.sum()
    uniform = torch.full_like(by_samples, 1 / num_classes)
    centred = means - (by_samples if rule.global_mean == "samples" else uniform) @ means
    shares = (by_samples if rule.class_weights == "samples" else uniform)[:, None]
    scale = shares.sqrt()
    _, singular_values, directions = torch.linalg.svd(scale * centred, full_matrices=False)
    # What is smaller than this is the rounding of the features or of this SVD, not a direction.
    eps = max(
        torch.finfo(_compute_dtype(dtype)).eps, max(means.shape) * torch.finfo(torch.float64).eps
    )
    kept = singular_values[: num_classes - 1] > eps * (scale * means).norm()
    trace = float((shares * centred.square()).sum())
    if not math.isfinite(trace):
        raise ValueError("features are too large: squares of their means overflow; divide them")
    # Means so small that their squares are zero cannot be told apart either.
    rank = int((kept & (singular_values[: num_classes - 1].square() > 0)).sum()) if trace else 0
    spectrum = torch.linalg.svdvals(means)
    independent = num_classes <= dim and bool(spectrum[-1] > eps * means.norm())
    return _BetweenClass(
        centred=centred if rank else torch.zeros_like(centred),
        directions=directions[:rank],
        eigenvalues=singular_values[:rank].square(),
        trace=trace,
        condition=float(spectrum[0] / spectrum[-1]) if independent else math.inf,
    )


def _within_class(
    features: Float[Tensor, "samples features"],
    labels: Int[Tensor, " samples"],
    means: Float[Tensor, "classes features"],
    between: _BetweenClass,
    weight: Tensor | None,
    bias: Tensor | None,
) -> _WithinClass:
    """Second pass: what is left of each sample without its class mean, and NC4."""
    num_samples, num_classes = len(features), len(means)
    dtype = _compute_dtype(features.dtype)
    counts = labels.bincount(minlength=num_classes)
    rounded = means.to(dtype)
    directions = between.directions.to(dtype)
    # Class means in the coordinates of the directions: the nearest one has the largest score.
    rounding = (rounded - means) @ between.directions.T
    corners = between.centred @ between.directions.T
    subtracted, corners = (corners + rounding).T.to(dtype), corners.to(dtype)
    half_squares = corners.square().sum(1) / 2
    along = means.new_zeros(len(directions))
    squares = means.new_zeros(num_classes)
    cosines = means.new_zeros(())
    mismatches = mismatches_without_bias = 0
    if weight is not None:
        classifier = weight.to(features.device, dtype)
        offset = 0 if bias is None else bias.to(features.device, dtype)[:, None]
        row_norms = torch.linalg.vector_norm(classifier, dim=1)
    size = _chunk_size(means.shape[1], num_classes)
    for rows, centred in _centred_chunks(features, labels, rounded, size):
        label = labels[rows]
        coordinates = directions @ centred.T  # (rank, n)
        along += coordinates.square().sum(1, dtype=torch.float64)
        lengths = torch.linalg.vector_norm(centred, dim=1)
        squares.index_add_(0, label, lengths.double().square())
        if weight is None:
            continue
        chunk = features[rows].to(dtype)
        scores = classifier @ chunk.T  # (K, n)
        own = scores.gather(0, label[None])[0]
        norms = torch.linalg.vector_norm(chunk, dim=1) * row_norms[label]
        cosines += (own / norms.where(norms > 0, 1)).sum(dtype=torch.float64)
        coordinates += subtracted.index_select(1, label)
        nearest = _largest(corners @ coordinates - half_squares[:, None])
        mismatches_without_bias += int((_largest(scores) != nearest).sum())
        mismatches += int((_largest(scores.add_(offset)) != nearest).sum())
    # The means were rounded before they were subtracted; take out what that added.
    along -= (counts[:, None] * rounding.square()).sum(0)
    squares -= counts * (rounded - means).square().sum(1)
    measured = math.nan if weight is None else 1 / num_samples
    return _WithinClass(
        along=along.clamp(min=0) / num_samples,
        squares=squares.clamp(min=0),
        cosine=float(cosines) * measured,
        nc4=mismatches * measured,
        nc4_without_bias=mismatches_without_bias * measured,
    )


# From the statistics to the report ----------------------------------------------------------------


def _report(
    counts: Int[Tensor, " classes"],
    means: Float[Tensor, "classes features"],
    between: _BetweenClass,
    within: _WithinClass,
    weight: Tensor | None,
    convention: str,
) -> CollapseReport:
    num_classes, dim = means.shape
    num_samples = int(counts.sum())
    rank = len(between.eigenvalues)
    trace = float(within.squares.sum()) / num_samples
    pinv_trace = float((within.along / between.eigenvalues).sum()) if rank else math.inf
    nc1 = {
        "pinv_trace": pinv_trace,
        "pinv_trace_per_class": pinv_trace / num_classes,
        "trace_ratio": trace / between.trace if rank else math.inf,
        "trace_fraction": trace / (trace + between.trace) if rank else 1.0,
    }
    classifier = None if weight is None else weight.detach().to(means)
    return CollapseReport(
        nc1=nc1[CONVENTIONS[convention].nc1],
        **nc1,
        cdnv=_cdnv(between.centred, within.squares / counts),
        nc2_equinorm=_equinorm(between.centred),
        nc2_equiangular=_equiangular(between.centred),
        nc2_structure=_structure(between.centred, between.centred),
        nc2_condition=between.condition,
        nc2_equinorm_classifier=_equinorm(classifier),
        nc2_equiangular_classifier=_equiangular(classifier),
        nc2_structure_classifier=_structure(classifier, classifier),
        nc3=_duality(classifier, between.centred),
        nc3_structure=_structure(classifier, between.centred),
        nc3_cosine=within.cosine,
        nc4=within.nc4,
        nc4_without_bias=within.nc4_without_bias,
        rank=rank,
        simplex_fits=dim >= num_classes - 1,
        convention=convention,
        num_classes=num_classes,
        num_samples=num_samples,
    )


def _row_blocks(num_rows: int) -> Iterator[Tensor]:
    """Row indices in blocks, so that what is K x K is only ever held a block at a time."""
    return iter(torch.arange(num_rows).split(max(1, 2**22 // num_rows)))


def _equinorm(vectors: Tensor | None) -> float:
    """Coefficient of variation of the row norms: std (ddof 1) / mean."""
    if vectors is None:
        return math.nan
    norms = torch.linalg.vector_norm(vectors, dim=1)
    return float(norms.std() / norms.mean()) if vectors.any() else math.inf


def _equiangular(vectors: Tensor | None) -> float:
    """Mean over pairs of rows of |cos + 1/(K-1)|."""
    if vectors is None:
        return math.nan
    if not vectors.any():
        return math.inf
    num_classes = len(vectors)
    norms = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    unit = vectors / norms.where(norms > 0, 1)
    total = 0.0
    for block in _row_blocks(num_classes):
        deviation = (unit[block] @ unit.T + 1 / (num_classes - 1)).abs_()
        deviation[torch.arange(len(block)), block] = 0
        total += float(deviation.sum())
    return total / (num_classes * (num_classes - 1))


def _structure(left: Tensor | None, right: Tensor | None) -> float:
    """Frobenius distance of left right^T, at norm 1, from (I - J/K)/sqrt(K-1)."""
    if left is None or right is None:
        return math.nan
    num_classes, dim = right.shape
    # |L R^T|^2 = <L^T L, R^T R> = |L R^T|^2 computed on the smaller side.
    if num_classes > dim:
        norm = float(((left.T @ left) * (right.T @ right)).sum().clamp(min=0).sqrt())
    else:
        norm = float((left @ right.T).norm())
    if norm == 0:
        return math.inf
    total = 0.0
    for block in _row_blocks(num_classes):
        gap = left[block] @ right.T / norm + 1 / (num_classes * math.sqrt(num_classes - 1))
        gap[torch.arange(len(block)), block] -= 1 / math.sqrt(num_classes - 1)
        total += float(gap.square().sum())
    return math.sqrt(total)


def _duality(classifier: Tensor | None, centred: Tensor) -> float:
    """Squared Frobenius distance of W and M, each at norm 1."""
    if classifier is None:
        return math.nan
    if not (classifier.any() and centred.any()):
        return math.inf
    return float((classifier / classifier.norm() - centred / centred.norm()).square().sum())


def _cdnv(centred: Float[Tensor, "classes dim"], variances: Float[Tensor, " classes"]) -> float:
    """Class-distance normalised variance: mean over pairs of (v + v') / (2 |mu - mu'|^2)."""
    num_classes = len(centred)
    squares = centred.square().sum(1)
    total = 0.0
    for block in _row_blocks(num_classes):
        lengths = squares[block, None] + squares
        distances = lengths - 2 * centred[block] @ centred.T
        distances[torch.arange(len(block)), block] = math.inf
        if (distances <= 1e-14 * lengths).any():  # two class means coincide, up to rounding
            return math.inf
        # v_c appears once as v and once as v', so the half goes.
        total += float((variances[block, None] / distances).sum())
    return total / (num_classes * (num_classes - 1))


# From a stream ------------------------------------------------------------------------------------


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
    >>> whole = measure(features, labels, None, num_classes=3)
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

    def class_means(self) -> Float[Tensor, "classes features"]:
        """Class means of this process's samples so far, `(K, d)` in float64."""
        if self.keep_features:
            return _class_means(*self._kept()[:2], self.num_classes)
        return self._merged()[1]

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


# From a model -------------------------------------------------------------------------------------


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
            `(samples, features)`; not one label a sample; an empty loader; a model or a batch on
            the meta device. What the model itself raises is passed on.

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
    if device.type == "meta":
        raise ValueError("the model is on the meta device, which holds no numbers")
    modes = {module: module.training for module in names}
    hooks = {module: module.register_forward_hook(record) for module in watched}
    collected: list[tuple[Tensor, Tensor, Tensor]] = []
    try:
        model.eval()
        for inputs, labels in loader:
            calls.clear()
            _check_not_meta(inputs=inputs, labels=labels)
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


# More measures ------------------------------------------------------------------------------------


def measure_layers(
    layers: Mapping[str, Tensor], labels: Tensor, *, num_classes: int, convention: str = "papyan"
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
    for name, activations in layers.items():
        if activations.ndim < 2:
            raise ValueError(f"layer {name!r} is {_shape(activations)}; expected (samples, ...)")
    return {
        name: measure(x.flatten(1), labels, None, convention=convention, num_classes=num_classes)
        for name, x in layers.items()
    }


@torch.no_grad()
def nearest_class_mean(features: Tensor, class_means: Tensor) -> Int[Tensor, " samples"]:
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
    if features.ndim != 2 or class_means.ndim != 2 or features.shape[1] != class_means.shape[1]:
        raise ValueError(
            f"features is {_shape(features)} and class_means {_shape(class_means)}; "
            "expected (samples, d) and (classes, d)"
        )
    _check_not_meta(features=features, class_means=class_means)
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


@torch.no_grad()
def variability_collapse_index(
    features: Tensor, labels: Tensor, *, num_classes: int | None = None
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
    if num_classes is None:
        _check_labels(labels)
        if labels.numel() == 0:
            raise ValueError("labels is empty; VCI needs samples of at least 2 classes")
        num_classes = int(labels.max()) + 1
    _check_classifier(None, None, num_classes, "wu")
    _check_samples(features, labels, num_classes, None)
    labels = labels.to(features.device, torch.long)
    counts = _check_counts(labels, num_classes)
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


def principal_angles(class_means: Tensor, weight: Tensor) -> Float[Tensor, " angles"]:
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
    if class_means.shape != weight.shape or weight.ndim != 2:
        raise ValueError(
            f"class_means is {_shape(class_means)} and weight {_shape(weight)}; expected "
            "(classes, features) both"
        )
    _check_not_meta(class_means=class_means, weight=weight)
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


def one_vs_rest_margin(vectors: Tensor) -> float:
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


def hyperspherical_uniformity(vectors: Tensor) -> float:
    """Mean over pairs of log|u_i - u_j| for unit rows u: the larger, the more evenly spread.

    The negative logarithmic energy (Liu et al. 2018, "Learning towards minimum hyperspherical
    energy"; Liu et al. 2023 for neural collapse). `vectors` `(K, d)`; rows are normalised. At most
    log(2K/(K-1))/2, reached by a simplex ETF only; for K > d+1 the best arrangement stays below.
    Two equal directions give -inf.

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


def _unit_rows(vectors: Tensor) -> Tensor:
    if vectors.ndim != 2 or len(vectors) < 2:
        raise ValueError(f"vectors is {_shape(vectors)}; expected (K, d) with K >= 2")
    if vectors.is_complex():
        raise TypeError(f"vectors is {_dtype(vectors)}; expected real numbers")
    _check_not_meta(vectors=vectors)
    norms = torch.linalg.vector_norm(vectors.detach().double(), dim=1, keepdim=True)
    if not (torch.isfinite(norms).all() and (norms > 0).all()):
        raise ValueError("vectors has a row that is zero, NaN or infinite; it has no direction")
    return vectors.detach().double() / norms


# What a user may get wrong ------------------------------------------------------------------------


def _check_classifier(
    weight: Tensor | None, bias: Tensor | None, num_classes: int | None, convention: str
) -> int:
    """The number of classes, once classifier and convention make sense."""
    if convention not in CONVENTIONS:
        raise ValueError(f"convention is {convention!r}; expected one of {', '.join(CONVENTIONS)}")
    if weight is None:
        if num_classes is None:
            raise ValueError("weight is None, so say how many classes there are: num_classes=…")
        if bias is not None:
            raise ValueError("bias is given without a weight; pass both or neither")
    else:
        if weight.ndim != 2:
            raise ValueError(f"weight is {_shape(weight)}; expected (classes, features)")
        if num_classes is not None and num_classes != len(weight):
            raise ValueError(
                f"weight is {_shape(weight)} but num_classes is {num_classes}; expected "
                f"{num_classes} rows, one a class — pass weight[:{num_classes}]?"
            )
        num_classes = len(weight)
        if bias is not None and bias.shape != (num_classes,):
            raise ValueError(f"bias is {_shape(bias)}; expected ({num_classes},), one a class")
        _check_not_meta(weight=weight, bias=bias)
        for name, tensor in (("weight", weight), ("bias", bias)):
            if tensor is not None and not torch.isfinite(tensor).all():
                raise ValueError(f"{name} contains NaN or infinity; has the training diverged?")
    if num_classes < 2:
        raise ValueError(
            f"{num_classes} class: collapse compares classes, so at least 2 are needed"
        )
    return num_classes


def _check_samples(
    features: Tensor, labels: Tensor, num_classes: int, weight: Tensor | None
) -> None:
    """Shapes, types and range of one batch of samples."""
    if not features.is_floating_point():
        raise TypeError(
            f"features is {_dtype(features)}; expected floating point — features.float()?"
        )
    _check_labels(labels)
    _check_not_meta(features=features)
    if features.ndim != 2:
        raise ValueError(
            f"features is {_shape(features)}; expected (samples, features) — features.flatten(1)?"
        )
    if labels.ndim != 1:
        raise ValueError(
            f"labels is {_shape(labels)}; expected (samples,) class indices — one-hot rows? "
            "Pass labels.argmax(1)"
        )
    if len(features) != len(labels):
        swapped = " — transposed?" if features.shape[1] == len(labels) else ""
        raise ValueError(
            f"features is {_shape(features)}; expected (samples, features) with "
            f"{len(labels)} samples, one a label{swapped}"
        )
    if weight is not None and weight.shape[1] != features.shape[1]:
        swapped = " — transposed?" if weight.shape[0] == features.shape[1] else ""
        raise ValueError(
            f"weight is {_shape(weight)}; expected (classes, {features.shape[1]}) for features "
            f"{_shape(features)}{swapped}"
        )
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        wrong = labels[(labels < 0) | (labels >= num_classes)][0]
        raise ValueError(
            f"labels contains {int(wrong)}; expected 0 to {num_classes - 1} for "
            f"{num_classes} classes"
        )


def _check_labels(labels: Tensor) -> None:
    """Integers, of which the least and the largest can be asked for."""
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(
            f"labels is {_dtype(labels)}; expected integer class indices — labels.long()?"
        )
    _check_not_meta(labels=labels)


def _check_not_meta(**tensors: Any) -> None:
    for name, tensor in tensors.items():  # inputs of a model may be a mapping with a device
        if isinstance(tensor, Tensor) and tensor.is_meta:
            raise ValueError(f"{name} is on the meta device, which holds no numbers")


def _check_counts(labels: Tensor, num_classes: int) -> Tensor:
    """Samples per class, each at least one."""
    if len(labels) < num_classes:
        raise ValueError(
            f"{len(labels)} samples for {num_classes} classes; expected at least one a class"
        )
    counts = labels.bincount(minlength=num_classes)
    _check_no_empty_class(counts)
    return counts


def _check_no_empty_class(counts: Tensor) -> None:
    empty = (counts == 0).nonzero().flatten().tolist()
    if empty:
        listed = ", ".join(map(str, empty[:10])) + (", …" if len(empty) > 10 else "")
        raise ValueError(
            f"no sample of class {listed} (of {len(counts)}); a class without samples has no mean "
            "— measure fewer classes, with labels renumbered and weight[:K]"
        )


def _raise_not_finite(features: Tensor) -> None:
    bad = (~torch.isfinite(features)).any(1).nonzero().flatten()
    if len(bad) == 0:
        raise ValueError("features are too large for float32; pass features.double()")
    raise ValueError(
        f"features contains NaN or infinity in {len(bad)} of {len(features)} samples, first in "
        f"sample {int(bad[0])}; has the training diverged?"
    )


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
