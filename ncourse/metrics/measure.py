"""From tensors to a report: two passes over the samples, then the numbers."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ncourse.metrics.checks import (
    _as_classifier,
    _check_chosen,
    _check_samples,
    _chosen,
    _raise_not_finite,
    _without,
    check_classifier,
)
from ncourse.metrics.inputs import ArrayLike, _shape, as_labels, as_numbers
from ncourse.metrics.report import CONVENTIONS, CollapseReport
from ncourse.precision import in_full_precision

__all__ = ["measure"]

MANY = 64  # classes, from which on their scores are laid out for the search of the largest
CHUNK = 2**20  # numbers at a time, 4 MB in float32: they stay in cache between two uses


@in_full_precision
@torch.no_grad()
def measure(
    features: ArrayLike,
    labels: ArrayLike,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    logits: ArrayLike | None = None,
    convention: str = "papyan",
    num_classes: int | None = None,
    classes: Sequence[int] | None = None,
    min_samples: int | None = None,
    ignore_index: int | None = None,
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

    Everything comes as tensors of any layout and on any device, NumPy arrays, or nested lists.

    Args:
        features: `(N, d)`, floating point (half precision is computed in float32), finite.
        labels: `(N,)`, integers in 0..K-1, or names, which are numbered in sorted order. Every
            class must occur, unless `classes` or `min_samples` leaves it out.
        weight: `(K, d)` as in `nn.Linear` (or `(K, d, 1, 1)`), or None to measure features alone.
        bias: `(K,)` or None.
        logits: `(N, K)`, the model's own, if it decides otherwise than by the largest entry of
            W h + b (a cosine head, a quantised one); `nc4` is then about them.
        convention: "papyan", "zhu", "jacot" or "wu".
        num_classes: K; without it, and without weight and logits, the largest label says it.
        classes: those to measure; other samples, rows of the weight and logits are left out.
        min_samples: leaves out classes with fewer. Nothing varies within a class of one sample,
            which lowers NC1 and CDNV; 2 leaves such classes out.
        ignore_index: a label whose samples are left out, such as the -100 of padding.

    Returns:
        A `CollapseReport`, finished in float64. `rank` counts the singular values of the centred
        class means (rows times sqrt(p_c)) above eps times the Frobenius norm of the uncentred ones,
        with eps that of float32, or max(K, d) times that of float64 for float64 features.

    Raises:
        TypeError: features are not floating point, labels neither integers nor names.
        ValueError: shapes that do not match, NaN or infinity, a label out of range, an empty
            class, fewer samples than classes, fewer than two classes, an unknown convention.

    >>> from ncourse.simplex import simplex_etf
    >>> vertices = simplex_etf(4, 6, dtype=torch.float64)
    >>> labels = torch.arange(8) % 4
    >>> report = measure(vertices[labels], labels, weight=3 * vertices)
    >>> max(report.nc1, report.nc2_equinorm, report.nc2_equiangular, report.nc3, report.nc4) < 1e-12
    True
    """
    h, found = as_numbers(features, "features"), as_labels(labels)
    w, b = _as_classifier(weight, bias)
    own = None if logits is None else as_numbers(logits, "logits")
    y, h, own = _without(ignore_index, found.indices, h, own)
    num_classes = _count_classes(num_classes, w, own, y, found.names)
    check_classifier(w, b, num_classes, convention)
    _check_chosen(classes, min_samples, num_classes)
    _check_samples(h, y, num_classes, w)
    if own is not None:
        _check_logits(own, len(y), num_classes)
    if len(y) < num_classes and classes is None and min_samples is None:
        raise ValueError(
            f"{len(y)} samples for {num_classes} classes; expected at least one a class — "
            "min_samples=2 leaves out classes with fewer"
        )
    y = y.to(h.device)
    counts = y.bincount(minlength=num_classes)
    kept = _chosen(counts, classes, min_samples)
    if len(kept) < num_classes:
        y, rows = _renumbered(y, kept, num_classes)
        h, counts = h[rows], counts[kept]
        w = None if w is None else w[kept.to(w.device)]
        b = None if b is None else b[kept.to(b.device)]
        own = None if own is None else own[rows.to(own.device)][:, kept.to(own.device)]
    decided = None if own is None else own.argmax(1).to(h.device)
    means = _class_means(h, y, len(kept))
    between = _between_class(means, counts, convention, h.dtype)
    within = _within_class(h, y, means, between, w, b, decided)
    names = found.names or range(num_classes)
    named = tuple(names[k] for k in kept.tolist())
    return _report(counts, means, between, within, w, convention, named)


def _count_classes(
    num_classes: int | None,
    weight: Tensor | None,
    logits: Tensor | None,
    labels: Tensor,
    names: tuple[str, ...] | None,
) -> int:
    """K from whatever says it."""
    if names is not None:
        for name, given in (("num_classes", num_classes), ("weight", weight), ("logits", logits)):
            count = given if given is None or isinstance(given, int) else _classes_of(given, name)
            if count is not None and count != len(names):
                raise ValueError(
                    f"labels has {len(names)} names and {name} says {count} classes; names are "
                    "numbered in sorted order, so where one is missing give integers"
                )
        return len(names)
    if num_classes is not None:
        return num_classes
    if weight is not None:
        return _classes_of(weight, "weight")
    if logits is not None and logits.ndim == 2:
        return logits.shape[1]
    return int(labels.max()) + 1 if labels.numel() else 2


def _classes_of(given: Tensor, name: str) -> int:
    if given.ndim != 2:
        expected = "(classes, features)" if name == "weight" else "(samples, classes)"
        raise ValueError(f"{name} is {_shape(given)}; expected {expected}")
    return len(given) if name == "weight" else given.shape[1]


def _check_logits(logits: Tensor, num_samples: int, num_classes: int) -> None:
    if logits.shape != (num_samples, num_classes):
        raise ValueError(f"logits is {_shape(logits)}; expected ({num_samples}, {num_classes})")
    if bool(torch.isnan(logits).any()):
        raise ValueError("logits contains NaN; has the training diverged?")


def _renumbered(labels: Tensor, kept: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Labels 0, 1, ... of the samples in the kept classes, and which samples those are."""
    new = labels.new_full((num_classes,), -1)
    new[kept] = torch.arange(len(kept), device=labels.device)
    labels = new[labels]
    rows = (labels >= 0).nonzero().flatten()
    return labels[rows], rows


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


def _scores(rows: Tensor, samples: Tensor) -> Tensor:
    """Products `(K, n)` of `(K, d)` and `(d, n)`; of many classes, a sample's lie side by side."""
    return (samples.T @ rows.T).T if len(rows) > MANY else rows @ samples


def _largest(scores: Tensor) -> Tensor:
    """The class of each sample's largest score, `(K, n)` to `(n,)`; the lower one on a tie.

    Along rows in memory this is faster, by far for many classes, though few are copied for it.
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
    decided: Tensor | None = None,
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
        biased = bias is not None and bool(bias.any())
        offset = 0 if bias is None else bias.to(features.device, dtype)[:, None]
        row_norms = torch.linalg.vector_norm(classifier, dim=1)
    size = _chunk_size(means.shape[1], num_classes)
    for rows, centred in _centred_chunks(features, labels, rounded, size):
        label = labels[rows]
        coordinates = directions @ centred.T  # (rank, n)
        along += coordinates.square().sum(1, dtype=torch.float64)
        lengths = torch.linalg.vector_norm(centred, dim=1)
        squares.index_add_(0, label, lengths.double().square())
        if weight is None and decided is None:
            continue
        coordinates += subtracted.index_select(1, label)
        nearest = _largest(_scores(corners, coordinates).sub_(half_squares[:, None]))
        if decided is not None:
            mismatches += int((decided[rows] != nearest).sum())
        if weight is None:
            continue
        chunk = features[rows].to(dtype)
        scores = _scores(classifier, chunk.T)  # (K, n)
        own = scores.gather(0, label[None])[0]
        norms = torch.linalg.vector_norm(chunk, dim=1) * row_norms[label]
        cosines += (own / norms.where(norms > 0, 1)).sum(dtype=torch.float64)
        wrong = int((_largest(scores) != nearest).sum())
        mismatches_without_bias += wrong
        if decided is None and not biased:
            mismatches += wrong
        elif decided is None:
            mismatches += int((_largest(scores.add_(offset)) != nearest).sum())
    # The means were rounded before they were subtracted; take out what that added.
    along -= (counts[:, None] * rounding.square()).sum(0)
    squares -= counts * (rounded - means).square().sum(1)
    measured = math.nan if weight is None else 1 / num_samples
    nc4 = math.nan if weight is None and decided is None else mismatches / num_samples
    return _WithinClass(
        along=along.clamp(min=0) / num_samples,
        squares=squares.clamp(min=0),
        cosine=float(cosines) * measured,
        nc4=nc4,
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
    classes: tuple[int, ...] | tuple[str, ...],
) -> CollapseReport:
    num_classes, dim = means.shape
    num_samples = int(counts.sum())
    rank = len(between.eigenvalues)
    trace = float(within.squares.sum()) / num_samples
    pinv_trace = float((within.along / between.eigenvalues).sum()) if rank else math.inf
    equiangular, structure, cdnv = _over_pairs(between.centred, within.squares / counts)
    if num_samples == num_classes:  # one sample a class: nothing that varies within has been seen
        trace = pinv_trace = cdnv = math.nan
    nc1 = {
        "pinv_trace": pinv_trace,
        "pinv_trace_per_class": pinv_trace / num_classes,
        "trace_ratio": trace / between.trace if rank else math.inf,
        "trace_fraction": trace / (trace + between.trace) if rank else 1.0,
    }
    classifier = None if weight is None else weight.detach().to(means)
    equiangular_classifier, structure_classifier, _ = _over_pairs(classifier)
    return CollapseReport(
        nc1=nc1[CONVENTIONS[convention].nc1],
        **nc1,
        cdnv=cdnv,
        nc2_equinorm=_equinorm(between.centred),
        nc2_equiangular=equiangular,
        nc2_structure=structure,
        nc2_condition=between.condition,
        nc2_equinorm_classifier=_equinorm(classifier),
        nc2_equiangular_classifier=equiangular_classifier,
        nc2_structure_classifier=structure_classifier,
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
        smallest_class=int(counts.min()),
        classes=classes,
    )


def _row_blocks(num_rows: int) -> Iterator[Tensor]:
    """Row indices in blocks, so that what is K x K is only ever held a block at a time."""
    return iter(torch.arange(num_rows).split(max(1, 2**20 // num_rows)))


def _equinorm(vectors: Tensor | None) -> float:
    """Coefficient of variation of the row norms: std (ddof 1) / mean."""
    if vectors is None:
        return math.nan
    norms = torch.linalg.vector_norm(vectors, dim=1)
    return float(norms.std() / norms.mean()) if vectors.any() else math.inf


def _over_pairs(
    vectors: Tensor | None, variances: Tensor | None = None
) -> tuple[float, float, float]:
    """What is a mean or sum over pairs of rows, from one pass over their cosines.

    Equiangularity: mean over pairs of |cos + 1/(K-1)|. Structure: the Frobenius distance of the
    Gram matrix, at norm 1, from (I - J/K)/sqrt(K-1). CDNV: mean over pairs of
    (v + v') / (2 |mu - mu'|^2), nan without variances.
    """
    if vectors is None:
        return math.nan, math.nan, math.nan
    if not vectors.any():
        return math.inf, math.inf, math.inf
    num_classes = len(vectors)
    norms = torch.linalg.vector_norm(vectors, dim=1)
    unit = vectors / norms.where(norms > 0, 1)[:, None]
    whole = _product_norm(vectors, vectors)
    scale = norms / math.sqrt(whole) if whole else norms
    root = math.sqrt(num_classes - 1)
    squares, least = norms.square(), math.inf
    deviation = gap = cdnv = 0.0
    for block in _row_blocks(num_classes):
        first, size = int(block[0]), len(block)
        rest = slice(first, None)  # cosines are symmetric: from the diagonal on
        cosines = unit[block] @ unit[rest].T
        own = torch.arange(size)
        terms = (cosines + 1 / (num_classes - 1)).abs_()
        terms[own, own] = 0
        deviation += float(2 * terms.sum() - terms[:, :size].sum())
        torch.mul(cosines, scale[rest], out=terms).mul_(scale[block, None])
        terms += 1 / (num_classes * root)
        terms[own, own] -= 1 / root
        terms.square_()
        gap += float(2 * terms.sum() - terms[:, :size].sum())
        if variances is not None:
            lengths = squares[block, None] + squares[rest]
            distances = cosines.mul_(norms[rest]).mul_(-2 * norms[block, None]).add_(lengths)
            distances[own, own] = math.inf
            least = min(least, float((distances - 1e-14 * lengths).min()))
            terms = (variances[block, None] + variances[rest]).div_(distances)
            cdnv += float(terms.sum() - terms[:, :size].sum() / 2)
    pairs = num_classes * (num_classes - 1)
    # Two class means that coincide, up to rounding, are infinitely far from collapse.
    cdnv = math.nan if variances is None else cdnv / pairs if least > 0 else math.inf
    return deviation / pairs, math.sqrt(gap) if whole else math.inf, cdnv


def _product_norm(left: Tensor, right: Tensor) -> float:
    """|L R^T|; its square is <L^T L, R^T R>, which is computed on the smaller side."""
    num_classes, dim = right.shape
    if num_classes > dim:
        return float(((left.T @ left) * (right.T @ right)).sum().clamp(min=0).sqrt())
    return float((left @ right.T).norm())


def _structure(left: Tensor | None, right: Tensor | None) -> float:
    """Frobenius distance of left right^T, at norm 1, from (I - J/K)/sqrt(K-1)."""
    if left is None or right is None:
        return math.nan
    num_classes = len(right)
    norm = _product_norm(left, right)
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
