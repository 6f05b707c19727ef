"""Simplex geometry: equiangular tight frames, the nearest one, growing one, and what bounds them.

A *simplex ETF* of K vectors is K unit vectors whose pairwise cosines all equal -1/(K-1): the
directions from the centre of a regular simplex to its corners. It lives in K-1 dimensions, so it
fits into d dimensions when d >= K-1. Rows are vectors throughout: K vectors in d dimensions are a
`(K, d)` tensor.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ncourse.precision import in_full_precision

__all__ = [
    "SimplexFrame",
    "coherence",
    "cosine_matrix",
    "gram_matrix",
    "growth_cosine",
    "nearest_etf",
    "off_diagonal",
    "rankin_bound",
    "repel",
    "simplex_etf",
    "welch_bound",
]


@in_full_precision
def simplex_etf(
    num_classes: int,
    dim: int,
    *,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
) -> Float[Tensor, "classes dim"]:
    """K unit vectors in d dimensions with pairwise cosine -1/(K-1), in a uniformly random position.

    Args:
        num_classes: K >= 2.
        dim: d >= K-1.
        generator: source of the orientation (Haar-distributed); torch's default one if None.
        dtype: torch's default floating-point type if None; the geometry is built in float64.

    Returns:
        The vertices, `(K, d)`.

    Raises:
        ValueError: if K < 2 or d < K-1, with the number of vertices that do fit.

    >>> vertices = simplex_etf(4, 3, generator=torch.Generator().manual_seed(0))
    >>> [round(c, 3) for c in (vertices @ vertices.T)[0].tolist()]
    [1.0, -0.333, -0.333, -0.333]
    """
    _check_room(num_classes, dim)
    gaussian = torch.randn(dim, num_classes - 1, generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(gaussian)
    # QR alone prefers some rotations; the signs of R's diagonal make it uniform (Haar).
    rotation = q * torch.sign(torch.diagonal(r))
    vertices = _vertices_from_rotation(rotation.T)
    return vertices.to(dtype or torch.get_default_dtype())


@in_full_precision
def nearest_etf(vectors: Float[Tensor, "classes dim"]) -> Float[Tensor, "classes dim"]:
    """The unit-norm simplex ETF nearest to K given vectors in the Frobenius norm.

    Every simplex ETF is `sqrt(K/(K-1)) B Q`, with B `(K, K-1)` a fixed orthonormal basis of the
    vectors that sum to zero and Q `(K-1, d)` with orthonormal rows. Minimising ||M - E|| over Q is
    an orthogonal Procrustes problem: Q is the polar factor of B^T M, found by one SVD. Where the
    centred vectors span fewer than K-1 dimensions the nearest ETF is not unique; one is returned.

    Args:
        vectors: `(K, d)`, K >= 2, d >= K-1, finite.

    Raises:
        ValueError: if a vector is not finite, K < 2, or d < K-1.

    >>> triangle = torch.tensor([[1.0, 0.1], [-0.4, 0.8], [-0.5, -0.9]])
    >>> cosines = cosine_matrix(nearest_etf(triangle))
    >>> [round(c, 4) for c in cosines[0].tolist()]
    [1.0, -0.5, -0.5]
    """
    _check_vectors(vectors)
    num_classes, dim = vectors.shape
    _check_room(num_classes, dim)
    zero_sum = _zero_sum_basis(num_classes).to(vectors.device)
    u, _, vh = torch.linalg.svd(zero_sum.T @ vectors.double(), full_matrices=False)
    return _vertices_from_rotation(u @ vh).to(vectors.dtype)


@dataclass(frozen=True)
class SimplexFrame:
    """A simplex ETF that can grow: K orthonormal rows, and the K vertices they carry.

    The vertices are `sqrt(K/(K-1))` times the centred basis rows. The basis has one dimension more
    than the vertices need (d >= K, not K-1), and that spare dimension is what growth uses.

    Attributes:
        basis: `(K, d)` with orthonormal rows, K >= 2.

    Source: Wang, Yu, Yang, Lin 2025 (arXiv 2505.24254), from the authors' code.
    """

    basis: Float[Tensor, "classes dim"]

    @in_full_precision
    def __post_init__(self) -> None:
        _check_vectors(self.basis)
        num_classes, dim = self.basis.shape
        if dim < num_classes:
            raise ValueError(
                f"basis is ({num_classes}, {dim}); a frame of {num_classes} orthonormal rows "
                f"needs dim >= {num_classes} — transposed?"
            )
        gram = gram_matrix(self.basis.double())
        error = (gram - torch.eye(num_classes).to(gram)).abs().max().item()
        if error > 1e-4:
            raise ValueError(
                f"basis rows are not orthonormal: their Gram matrix is {error:.1e} away from the "
                "identity — use SimplexFrame.nearest(vectors) to build a frame from any vectors"
            )

    @classmethod
    @in_full_precision
    def nearest(cls, means: Float[Tensor, "classes dim"]) -> "SimplexFrame":
        """The frame nearest to class means: centred, rows normalised, then the polar factor.

        Args:
            means: `(K, d)` class means, K >= 2, d >= K; no mean may equal the mean of all.

        Raises:
            ValueError: if d < K, a value is not finite, or a mean coincides with the global mean.

        Source: Wang, Yu, Yang, Lin 2025, Theorem 1 (as their code computes it).
        """
        _check_vectors(means)
        num_classes, dim = means.shape
        if dim < num_classes:
            raise ValueError(
                f"means is ({num_classes}, {dim}); a frame of {num_classes} needs "
                f"dim >= {num_classes}: at most {dim} fit — widen the feature layer"
            )
        centred = means.double() - means.double().mean(0)
        norms = centred.norm(dim=1, keepdim=True)
        if norms.min() <= 1e-12 * norms.max().clamp_min(torch.finfo(torch.float64).tiny):
            raise ValueError(
                f"class mean {int(norms.argmin())} equals the mean of all classes, so it has no "
                "direction — are two classes the same, or is the network still untrained?"
            )
        directions = centred / norms
        u, _, vh = torch.linalg.svd(directions - directions.mean(0), full_matrices=False)
        return cls((u @ vh).to(means.dtype))

    @property
    def vertices(self) -> Float[Tensor, "classes dim"]:
        """The K vertices of the simplex ETF, `(K, d)`, unit rows."""
        num_classes = len(self.basis)
        scale = math.sqrt(num_classes / (num_classes - 1))
        return scale * (self.basis - self.basis.mean(0))

    @in_full_precision
    def grow(self, num_new: int, *, generator: torch.Generator | None = None) -> "SimplexFrame":
        """A frame with `num_new` more rows; the old basis rows stay exactly as they are.

        The new rows are random directions orthogonal to the old ones. Every old vertex turns by the
        same angle, whose cosine is `growth_cosine(K, K + num_new)`.

        Args:
            num_new: how many vertices to add, at least 1; K + num_new <= d.
            generator: source of the new directions; torch's default one if None.

        Raises:
            ValueError: if num_new < 1 or the grown basis does not fit into d dimensions.
        """
        num_old, dim = self.basis.shape
        if num_new < 1:
            raise ValueError(f"num_new is {num_new}; expected at least 1")
        if num_old + num_new > dim:
            raise ValueError(
                f"cannot grow from {num_old} to {num_old + num_new} vertices in {dim} dimensions: "
                f"a frame needs dim >= number of classes, so at most {dim - num_old} more fit — "
                "widen the feature layer"
            )
        # Draw inside what the old rows leave free: projecting a draw on it instead would fail when
        # the draw happens to lie in their span (the same seed for the means, say).
        free = torch.linalg.qr(self.basis.double().T, mode="complete").Q[:, num_old:]
        gaussian = torch.randn(dim - num_old, num_new, generator=generator, dtype=torch.float64)
        new = (free @ torch.linalg.qr(gaussian).Q.to(free)).T.to(self.basis.dtype)
        return SimplexFrame(torch.cat([self.basis, new]))


@in_full_precision
def gram_matrix(vectors: Float[Tensor, "vectors dim"]) -> Float[Tensor, "vectors vectors"]:
    """All inner products of the rows: entry (i, j) is <v_i, v_j>.

    Raises:
        ValueError: if `vectors` is no matrix.
    """
    if vectors.ndim != 2 or vectors.dtype == torch.bool:
        given = f"{tuple(vectors.shape)} of {vectors.dtype}"
        raise ValueError(f"vectors is {given}; expected (vectors, dim), numbers")
    return vectors @ vectors.T


@in_full_precision
def cosine_matrix(vectors: Float[Tensor, "vectors dim"]) -> Float[Tensor, "vectors vectors"]:
    """All cosines between the rows, in [-1, 1]: the Gram matrix of the normalised rows.

    Raises:
        TypeError: if the rows are not floating point.
        ValueError: if a row is not finite, or zero, and so has no direction.
    """
    _check_rows(vectors)
    return gram_matrix(_normalised(vectors))


def off_diagonal(matrix: Float[Tensor, "n n"]) -> Float[Tensor, " pairs"]:
    """The n(n-1) entries off the diagonal, in row order.

    Raises:
        ValueError: if the matrix is not square.
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"matrix is {tuple(matrix.shape)}; expected a square one")
    return matrix[~torch.eye(len(matrix), dtype=torch.bool, device=matrix.device)]


@in_full_precision
def coherence(vectors: Float[Tensor, "vectors dim"]) -> float:
    """The largest |cosine| between two different rows, in [0, 1].

    Raises:
        TypeError, ValueError: as `cosine_matrix`; ValueError also for fewer than two rows.
    """
    _check_rows(vectors, least=2)
    return off_diagonal(cosine_matrix(vectors)).abs().max().item()


def welch_bound(num_vectors: int, dim: int) -> float:
    """The least coherence K vectors in d dimensions can have: sqrt((K-d)/(d(K-1))), 0 for K <= d.

    Source: Welch 1974. A simplex ETF with K = d+1 attains it: both sides are 1/d.

    >>> welch_bound(4, 3)  # doctest: +ELLIPSIS
    0.333...
    """
    if num_vectors < 2 or dim < 1:
        raise ValueError(f"got {num_vectors} vectors in {dim} dimensions; need at least 2 in 1")
    if num_vectors <= dim:
        return 0.0
    return math.sqrt((num_vectors - dim) / (dim * (num_vectors - 1)))


def rankin_bound(num_vectors: int, dim: int) -> float:
    """A lower bound on the largest cosine among K unit vectors in d dimensions.

    It is -1/(K-1) for K <= d+1, where exactly the simplex ETFs attain it, and 0 for K > d+1, which
    the vectors +-e_i attain up to K = 2d. Beyond 2d it still holds and is attained by nothing.

    Source: Rankin 1955.

    >>> rankin_bound(4, 3), rankin_bound(5, 3)
    (-0.3333333333333333, 0.0)
    """
    if num_vectors < 2 or dim < 1:
        raise ValueError(f"got {num_vectors} vectors in {dim} dimensions; need at least 2 in 1")
    return -1 / (num_vectors - 1) if num_vectors <= dim + 1 else 0.0


def growth_cosine(num_old: int, num_new: int) -> float:
    """Cosine between an old vertex before and after growing from K to K' classes.

    It is sqrt((1-1/K)/(1-1/K')), the same for every old vertex, and telescopes: growing twice turns
    the vertices as far as growing once to the same number.

    Args:
        num_old: K >= 2.
        num_new: K' >= K, the number of classes *after* growing.

    >>> round(growth_cosine(2, 4), 4), round(growth_cosine(10, 20), 4)
    (0.8165, 0.9733)
    """
    if not 2 <= num_old <= num_new:
        raise ValueError(
            f"growing from {num_old} to {num_new} classes; need 2 <= num_old <= num_new"
        )
    return math.sqrt((1 - 1 / num_old) / (1 - 1 / num_new))


@in_full_precision
def repel(
    points: Float[Tensor, "*starts points dim"],
    *,
    push: Callable[[Tensor], Tensor] = torch.reciprocal,
    steps: int = 400,
    step_size: float = 0.2,
) -> Float[Tensor, "times *starts points dim"]:
    """Points on the unit sphere that push each other away: the path they take.

    Point j pushes point i along x_i - x_j, with strength push(||x_i - x_j||^2). A step adds
    `step_size` times the sum of all pushes and returns the point to the sphere.

    Args:
        points: `(..., K, d)`, one or more starts; no row zero, no two rows equal. Rows are
            normalised first.
        push: strength as a function of squared distance s. `torch.reciprocal` (1/s) descends the
            energy sum of -log s; `torch.ones_like` descends the sum of -s, which is linear in s.
        steps: number of steps, at least 1.
        step_size: how far a unit of push moves a point.

    Returns:
        `(steps + 1, ..., K, d)`: the start and the position after each step.

    Raises:
        TypeError: if the points are not floating point.
        ValueError: if there is no step, a point is zero or not finite, or two points coincide.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; expected at least 1")
    if points.ndim < 2:
        raise ValueError(f"points is {tuple(points.shape)}; expected (points, dim) or more axes")
    _check_rows(points.flatten(0, -2))
    itself = torch.eye(points.shape[-2]).to(points)  # keeps 1/s finite where s = 0
    position = _normalised(points)
    path = [position]
    for _ in range(steps):
        difference = position.unsqueeze(-2) - position.unsqueeze(-3)
        strength = push(difference.square().sum(-1) + itself)
        position = position + step_size * (strength.unsqueeze(-1) * difference).sum(-2)
        position = position / position.norm(dim=-1, keepdim=True)
        path.append(position)
    if not torch.isfinite(position).all():
        raise ValueError(
            "two points coincide, or a push was not finite: start from different directions, or "
            f"lower step_size, which is {step_size}"
        )
    return torch.stack(path)


def _normalised(vectors: Float[Tensor, "... dim"]) -> Float[Tensor, "... dim"]:
    """Unit rows. Dividing by the largest entry first keeps squares from under- and overflowing."""
    largest = vectors.detach().abs().amax(-1, keepdim=True)
    if (largest == 0).any():
        raise ValueError(f"row {int(largest.flatten().argmin())} is zero and has no direction")
    scaled = vectors / largest
    return scaled / scaled.norm(dim=-1, keepdim=True)


def _zero_sum_basis(num_classes: int) -> Float[Tensor, "classes classes_minus_1"]:
    """B, `(K, K-1)`: orthonormal columns that each sum to zero (Helmert's contrasts)."""
    basis = torch.zeros(num_classes, num_classes - 1, dtype=torch.float64)
    for k in range(1, num_classes):
        basis[:k, k - 1] = 1 / math.sqrt(k * (k + 1))
        basis[k, k - 1] = -k / math.sqrt(k * (k + 1))
    return basis


def _vertices_from_rotation(
    rotation: Float[Tensor, "classes_minus_1 dim"],
) -> Float[Tensor, "classes dim"]:
    """sqrt(K/(K-1)) B Q for Q with K-1 orthonormal rows: every simplex ETF has this form."""
    num_classes = len(rotation) + 1
    scale = math.sqrt(num_classes / (num_classes - 1))
    return scale * _zero_sum_basis(num_classes).to(rotation) @ rotation


def _check_rows(vectors: Tensor, *, least: int = 1) -> None:
    if not vectors.is_floating_point():
        raise TypeError(f"vectors are {vectors.dtype}; expected floating point — vectors.float()?")
    if vectors.ndim != 2 or vectors.shape[1] < 1:
        raise ValueError(f"vectors is {tuple(vectors.shape)}; expected (vectors, dim)")
    if len(vectors) < least:
        raise ValueError(f"got {len(vectors)} vectors; expected at least {least}")
    if not torch.isfinite(vectors).all():
        raise ValueError("a vector contains NaN or infinity")


def _check_vectors(vectors: Tensor) -> None:
    _check_rows(vectors, least=2)  # a simplex has two vertices or more


def _check_room(num_classes: int, dim: int) -> None:
    if num_classes < 2:
        raise ValueError(f"num_classes is {num_classes}; a simplex needs at least 2 classes")
    if dim < num_classes - 1:
        raise ValueError(
            f"{num_classes} classes need dim >= {num_classes - 1} for a simplex ETF, {_room(dim)}"
        )


def _room(dim: int) -> str:
    fits = max(dim, 0) + 1
    return (
        f"and dim = {dim} holds at most {fits} vertices. Beyond that no simplex exists: up to "
        f"{2 * max(dim, 0)} vectors can still be at right angles or more (a cross-polytope), and "
        "past it they can only be spread out evenly (low coherence, see welch_bound)"
    )
