"""The unconstrained features model: what collapse is when a network may put its features anywhere.

Replace everything below the last layer by free variables: N = nK features of d numbers each, chosen
together with the classifier. The loss is a mean over samples plus penalties,

    CE(W h_i + b, y_i) or 1/2 ||W h_i + b - onehot(y_i)||^2
    + lambda_w/2 ||W||^2 + lambda_h/2 ||H||^2 + lambda_b/2 ||b||^2.

Rows are vectors: features `(N, d)`, weight `(K, d)`, bias `(K,)`; samples are sorted by class, all
tensors are float64. Sources: Mixon, Parshall, Pi 2020 (arXiv 2011.11619), Zhu et al. 2021 (arXiv
2105.02375), Tirer & Bruna 2022 (ICML), Han, Papyan, Donoho 2021 (arXiv 2106.02073), Fang et al.
2021 (PNAS 118(43)). Closed forms that are derived here say so.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import linprog, minimize
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from ncourse.precision import in_full_precision, with_gradients
from ncourse.simplex import cosine_matrix, off_diagonal, simplex_etf

__all__ = [
    "UFM",
    "Curvature",
    "LayerPeeled",
    "LossDecomposition",
    "Optimum",
    "Point",
    "Solution",
    "critical_point",
    "curvature",
    "decompose_mse",
    "margin",
    "minority_cosine",
    "nonnegative_margins",
    "objective",
    "optimum",
    "plane",
    "random_point",
    "solve",
    "solve_layer_peeled",
]

# A dense Hessian of this many parameters takes 50 MB and several seconds.
_LARGEST_HESSIAN = 2500


@dataclass(frozen=True, kw_only=True)
class UFM:
    """One unconstrained features model: its sizes, its loss and its penalties.

    Attributes:
        num_classes: K >= 2.
        samples_per_class: n >= 1 for balanced classes, or one number for each class.
        dim: d >= 1, the number of features. Too small a d is allowed; it has no closed form.
        loss: `"cross-entropy"` or `"mse"`.
        lambda_w: penalty on the classifier, >= 0.
        lambda_h: penalty on the features, >= 0.
        lambda_b: penalty on the bias, >= 0: 0 is a free bias, None a model without one.

    Raises:
        ValueError: if a size or a penalty is out of range.

    >>> model = UFM(num_classes=4, samples_per_class=10, dim=8, lambda_w=5e-3, lambda_h=5e-3)
    >>> model.num_samples, round(model.shrinkage, 4)
    (40, 0.0632)
    """

    num_classes: int
    samples_per_class: int | tuple[int, ...]
    dim: int
    lambda_w: float
    lambda_h: float
    lambda_b: float | None = None
    loss: str = "cross-entropy"

    def __post_init__(self) -> None:
        _check_classes(self.num_classes, self.counts)
        if self.dim < 1:
            raise ValueError(f"dim is {self.dim}; features need at least 1 dimension")
        if self.loss not in ("cross-entropy", "mse"):
            raise ValueError(f"loss is {self.loss!r}; expected 'cross-entropy' or 'mse'")
        for name in ("lambda_w", "lambda_h", "lambda_b"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(
                    f"{name} is {value}; a penalty is a finite number >= 0"
                    + (" (None for a model without bias)" if name == "lambda_b" else "")
                )

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of samples of each class, K entries."""
        if isinstance(self.samples_per_class, Sequence):
            return tuple(self.samples_per_class)
        return (self.samples_per_class,) * self.num_classes

    @property
    def num_samples(self) -> int:
        """N, the number of samples of all classes."""
        return sum(self.counts)

    @property
    def labels(self) -> Int[Tensor, " samples"]:
        """Labels 0..K-1, `(N,)`, sorted."""
        return torch.arange(self.num_classes).repeat_interleave(torch.tensor(self.counts))

    @property
    def shrinkage(self) -> float:
        """K c with c = sqrt(n lambda_w lambda_h): at 1 and above, the optimum is all zero.

        For MSE it is exactly the part of the logits that the penalties take away.

        Raises:
            ValueError: if the classes are not balanced.
        """
        if len(set(self.counts)) > 1:
            raise ValueError(
                f"samples_per_class is {self.counts}; the closed forms need equal classes — "
                "use solve() for an unbalanced model"
            )
        return self.num_classes * math.sqrt(self.counts[0] * self.lambda_w * self.lambda_h)


@dataclass(frozen=True)
class Point:
    """A place in the landscape of a model, or a direction in it.

    Attributes:
        features: `(N, d)`, samples sorted by class.
        weight: `(K, d)`, one row per class.
        bias: `(K,)`, or None for a model without one.
    """

    features: Float[Tensor, "samples dim"]
    weight: Float[Tensor, "classes dim"]
    bias: Float[Tensor, " classes"] | None = None


@dataclass(frozen=True)
class Optimum:
    """The global minimum of a balanced model in closed form: one of its rotated copies.

    Attributes:
        point: features, weight and bias.
        loss: the least loss, from the formula.
        margin: logit of the own class minus logit of any other, >= 0.
    """

    point: Point
    loss: float
    margin: float


@dataclass(frozen=True)
class Solution:
    """Where `solve` ended.

    Attributes:
        point: features, weight and bias.
        loss: the loss there.
        gradient: largest entry of the gradient there, in absolute value.
        converged: whether that is within the tolerance.
        iterations: number of L-BFGS iterations.
    """

    point: Point
    loss: float
    gradient: float
    converged: bool
    iterations: int


@dataclass(frozen=True)
class Curvature:
    """The Hessian of a model's loss at one point.

    Attributes:
        eigenvalues: all of them, `(parameters,)`, ascending. Rotations of the features leave the
            loss unchanged, so zeros are always there.
        direction: unit eigenvector of the least eigenvalue, as a point.
    """

    eigenvalues: Float[Tensor, " parameters"]
    direction: Point

    @property
    def least(self) -> float:
        """The least eigenvalue: below zero, the point is no minimum."""
        return self.eigenvalues[0].item()

    def num_negative(self, tolerance: float = 1e-8) -> int:
        """Number of eigenvalues below -tolerance: independent ways down."""
        return int((self.eigenvalues < -tolerance).sum())


@dataclass(frozen=True)
class LossDecomposition:
    """The MSE loss in the three parts of Han, Papyan, Donoho 2021; their sum is `loss`.

    Attributes:
        nc1: what within-class variation costs the best classifier, with its penalty.
        nc23: what the class means cost the best classifier.
        perpendicular: what the classifier costs more than the best one; 0 on the central path.
        loss: the whole loss, computed directly.
        best_weight: `(K, d)`, the regularised least-squares classifier of these features.
        best_bias: `(K,)`, its bias.
    """

    nc1: float
    nc23: float
    perpendicular: float
    loss: float
    best_weight: Float[Tensor, "classes dim"]
    best_bias: Float[Tensor, " classes"]


@dataclass(frozen=True)
class LayerPeeled:
    """A solution of the layer-peeled model.

    Attributes:
        features: `(K, d)`, one row per class (all samples of a class share it).
        weight: `(K, d)`.
        loss: mean cross-entropy over samples.
        gap: the loss is at most this far above the global minimum (a proof, not an estimate).
    """

    features: Float[Tensor, "classes dim"]
    weight: Float[Tensor, "classes dim"]
    loss: float
    gap: float


@in_full_precision
def objective(
    problem: UFM, *, features: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Float[Tensor, ""]:
    """The loss of a model at given features and classifier; differentiable.

    Args:
        problem: sizes, loss and penalties.
        features: `(N, d)`, samples sorted by class as in `problem.labels`.
        weight: `(K, d)`.
        bias: `(K,)`; None exactly when `problem.lambda_b` is None.

    Raises:
        TypeError: if features and weight are not of one floating-point type.
        ValueError: if a shape does not fit the model, a bias is given or missing, or a tensor is
            not on the CPU.

    Source: Zhu et al. 2021 (cross-entropy); Tirer & Bruna 2022 (MSE), with the mean over samples.

    >>> model = UFM(num_classes=4, samples_per_class=2, dim=3, lambda_w=0.1, lambda_h=0.1)
    >>> loss = objective(model, features=torch.zeros(8, 3), weight=torch.zeros(4, 3))
    >>> round(loss.item(), 4), round(math.log(4), 4)
    (1.3863, 1.3863)
    """
    _check_point(problem, features, weight, bias)
    if features.dtype != weight.dtype:
        raise TypeError(f"features are {features.dtype}, weight {weight.dtype}; expected one type")
    logits = features @ weight.T
    penalty = problem.lambda_w * weight.square().sum() + problem.lambda_h * features.square().sum()
    if bias is not None and problem.lambda_b is not None:
        logits = logits + bias
        penalty = penalty + problem.lambda_b * bias.square().sum()
    if problem.loss == "mse":
        targets = one_hot(problem.labels, problem.num_classes)
        fit = (logits - targets).square().sum() / (2 * problem.num_samples)
    else:
        fit = cross_entropy(logits, problem.labels)
    return fit + penalty / 2


def margin(problem: UFM) -> float:
    """Logit of the own class minus logit of any other class, at the global minimum.

    With c = sqrt(n lambda_w lambda_h), zero if K c >= 1, and otherwise log(1/c - K + 1) for
    cross-entropy and 1 - K c for MSE.

    Args:
        problem: balanced, lambda_w > 0 and lambda_h > 0.

    Raises:
        ValueError: if the classes are unbalanced or a penalty is 0 (no single optimum).

    Source: derived here (see `optimum`).

    >>> model = UFM(num_classes=4, samples_per_class=10, dim=8, lambda_w=5e-3, lambda_h=5e-3)
    >>> round(margin(model), 4)
    4.0984
    """
    shrinkage = problem.shrinkage
    if shrinkage == 0:
        raise ValueError(
            f"lambda_w is {problem.lambda_w} and lambda_h is {problem.lambda_h}; both must be "
            "above 0 for an optimum: without a penalty cross-entropy grows its logits for ever, "
            "and MSE has infinitely many minima"
        )
    if shrinkage >= 1:
        return 0.0
    if problem.loss == "mse":
        return 1 - shrinkage
    return math.log(problem.num_classes / shrinkage - problem.num_classes + 1)


@in_full_precision
def optimum(problem: UFM, *, seed: int = 0) -> Optimum:
    """The global minimum of a balanced model in closed form.

    The logits of the class means are Z = a (I - J/K) + g J/K: a is the `margin`, g the part that
    all classes share. For cross-entropy g = 0. For MSE
    g = max(0, 1 - K c (1 + lambda_b)/lambda_b): no bias (lambda_b -> infinity) gives g = a and an
    orthogonal frame; a free bias (lambda_b = 0), or one with lambda_b/(1 + lambda_b) <= K c, gives
    g = 0 and a simplex. Then W W^T = s Z and the class means have Gram matrix Z/s, with
    s = sqrt(n lambda_h/lambda_w): weight and means are parallel,
    h_k = sqrt(lambda_w/(n lambda_h)) w_k.

    Why: the least penalty over all W H^T with given logits is sqrt(lambda_w lambda_h) times their
    nuclear norm, so with room in d the problem is convex in the logits and in b. A convex problem
    that no permutation of classes or samples changes has a minimum that none of them changes, which
    leaves a, g and one number for b; each has a one-dimensional equation.

    Args:
        problem: balanced, lambda_w > 0, lambda_h > 0; d >= K-1 for a simplex, d >= K for g > 0.
        seed: chooses one of the rotated copies, all equally good.

    Raises:
        ValueError: if the classes are unbalanced, a penalty is 0, or d is too small.

    Source: that the minimisers are simplex ETFs, Zhu et al. 2021 (cross-entropy); the MSE cases as
    in Tirer & Bruna 2022. The scalars and the penalised bias of MSE are derived here.

    >>> model = UFM(num_classes=4, samples_per_class=10, dim=8, lambda_w=5e-3, lambda_h=5e-3)
    >>> best = optimum(model)
    >>> round(best.loss, 6), best.point.features.mean(0).abs().max().item() < 1e-12
    (0.243002, True)
    """
    spread = margin(problem)
    common, bias_entry = _common_logit(problem)
    frame = _frame(problem, spread, common, seed=seed)
    scale = math.sqrt(problem.counts[0] * problem.lambda_h / problem.lambda_w)
    point = Point(
        features=(frame / math.sqrt(scale))[problem.labels],
        weight=frame * math.sqrt(scale),
        bias=None
        if problem.lambda_b is None
        else torch.full((problem.num_classes,), bias_entry, dtype=torch.float64),
    )
    return Optimum(point, _optimal_loss(problem, spread, common, bias_entry), spread)


def random_point(problem: UFM, *, seed: int = 0, scale: float = 1.0) -> Point:
    """A start for `solve`: independent Gaussian entries with standard deviation `scale`.

    Raises:
        ValueError: if scale is negative or not finite.
    """
    if not 0 <= scale < math.inf:
        raise ValueError(f"scale is {scale}; a standard deviation is finite and at least 0")
    generator = torch.Generator().manual_seed(seed)
    flat = scale * torch.randn(
        sum(math.prod(s) for s in _shapes(problem)), generator=generator, dtype=torch.float64
    )
    return _unflatten(problem, flat)


@in_full_precision
@with_gradients
def solve(
    problem: UFM, *, start: Point, tolerance: float = 1e-8, max_iterations: int = 20_000
) -> Solution:
    """Minimise a model's loss by L-BFGS in float64.

    It stops at a critical point. With room in d that is the global minimum unless the start lies on
    the way into a saddle, such as exactly at the origin; with d too small it may be neither.

    Args:
        problem: any model, balanced or not.
        start: where to begin; its bias is None exactly when the model has none.
        tolerance: largest entry of the gradient that counts as zero.
        max_iterations: of L-BFGS.

    Raises:
        TypeError, ValueError: if the start does not fit the model, or it or the loss there is not
            finite; if the tolerance is not a number >= 0 or there is no iteration.
    """
    if not tolerance >= 0 or max_iterations < 1:
        raise ValueError(
            f"got tolerance={tolerance}, max_iterations={max_iterations}; need at least 0 and 1"
        )
    _check_point(problem, start.features, start.weight, start.bias)
    if not torch.isfinite(_flatten(start)).all():
        raise ValueError("start contains NaN or infinity — use random_point(problem, seed=...)")

    def loss(flat: Tensor) -> Tensor:
        return _loss_at(problem, _unflatten(problem, flat))

    if not torch.isfinite(loss(_flatten(start))):
        raise ValueError("the loss overflows at the start — use random_point(problem, seed=...)")
    flat, value, gradient, iterations = _minimise(
        loss, _flatten(start), tolerance=tolerance, max_iterations=max_iterations
    )
    return Solution(_unflatten(problem, flat), value, gradient, gradient <= tolerance, iterations)


@in_full_precision
@with_gradients
def critical_point(problem: UFM, rank: int, *, num_starts: int = 8) -> Point:
    """A critical point of rank r: the best solution with d = r, padded with zeros to d dimensions.

    In the added dimensions both features and weight are zero, so the gradient there is zero too. It
    is where a model with d = r ends; with more room it is a saddle unless r fits the optimum.

    Args:
        problem: any model.
        rank: 0 (the origin, with the best bias) to d.
        num_starts: random starts of the small model; the least loss is kept.

    Raises:
        ValueError: if rank is not in 0..d, or no start converges.
    """
    if not 0 <= rank <= problem.dim:
        raise ValueError(f"rank is {rank}; expected 0..{problem.dim}")
    narrow = replace(problem, dim=max(rank, 1))
    scale = 1.0 if rank else 0.0
    solutions = [
        solve(narrow, start=random_point(narrow, seed=seed, scale=scale))
        for seed in range(num_starts if rank else 1)
    ]
    solutions = [solution for solution in solutions if solution.converged]
    if not solutions:
        raise ValueError(f"none of {num_starts} starts converged in {rank} dimensions")
    best = min(solutions, key=lambda solution: solution.loss).point
    padding = (0, problem.dim - narrow.dim)
    return Point(
        torch.nn.functional.pad(best.features, padding),
        torch.nn.functional.pad(best.weight, padding),
        best.bias,
    )


@in_full_precision
@with_gradients
def curvature(problem: UFM, point: Point) -> Curvature:
    """All eigenvalues of the Hessian of a model's loss at a point, and the steepest way down.

    At the origin of a balanced model without bias and with lambda_w = lambda_h = lambda the least
    eigenvalue is lambda - 1/(K sqrt(n)) (derived here), negative exactly when K c < 1.

    Args:
        problem: small: (N + K) d parameters, at most 2,500.
        point: any point.

    Raises:
        TypeError, ValueError: if the point does not fit the model, the Hessian would be too large,
            or it is not finite.
    """
    _check_point(problem, point.features, point.weight, point.bias)
    flat = _flatten(point)
    if len(flat) > _LARGEST_HESSIAN:
        raise ValueError(
            f"the Hessian would be {len(flat)} x {len(flat)}; at most {_LARGEST_HESSIAN} "
            "parameters — use fewer samples per class or a smaller dim: neither changes the picture"
        )
    hessian = torch.autograd.functional.hessian(
        lambda x: _loss_at(problem, _unflatten(problem, x)), flat
    )
    if not torch.isfinite(hessian).all():
        raise ValueError("the Hessian is not finite at this point: its entries are too large")
    eigenvalues, vectors = torch.linalg.eigh((hessian + hessian.T) / 2)
    return Curvature(eigenvalues, _unflatten(problem, vectors[:, 0]))


@in_full_precision
def plane(
    problem: UFM,
    *,
    centre: Point,
    first: Point,
    second: Point,
    coordinates: Float[Tensor, " grid"],
) -> Float[Tensor, "grid grid"]:
    """The loss over a plane of the landscape.

    Entry (i, j) is the loss at centre + coordinates[i] * first + coordinates[j] * second.

    Args:
        problem: the model.
        centre: the point at coordinates (0, 0).
        first: a direction, as a point.
        second: another direction.
        coordinates: `(grid,)`, used along both axes.

    Raises:
        TypeError, ValueError: if a point does not fit the model, coordinates are no list of
            numbers, or the loss is NaN somewhere.
    """
    for point in (centre, first, second):
        _check_point(problem, point.features, point.weight, point.bias)
    if coordinates.ndim != 1 or not len(coordinates):
        raise ValueError(f"coordinates is {tuple(coordinates.shape)}; expected (grid,), not empty")
    origin, along, across = _flatten(centre), _flatten(first), _flatten(second)
    losses = [
        _loss_at(problem, _unflatten(problem, origin + s * along + t * across))
        for s in coordinates
        for t in coordinates
    ]
    heights = torch.stack(losses).reshape(len(coordinates), len(coordinates))
    if heights.isnan().any():
        raise ValueError("the loss is NaN on this plane: points or coordinates are not finite")
    return heights


@in_full_precision
def decompose_mse(
    *, features: Tensor, labels: Tensor, weight: Tensor, bias: Tensor, penalty: float
) -> LossDecomposition:
    """The MSE loss of any features and classifier, split into NC1, NC2/3 and the rest.

    The loss is 1/2 [mean ||W h + b - onehot(y)||^2 + penalty (||W||^2 + ||b||^2)]. SGD on
    mean ||.||^2 with weight decay v on W and b minimises twice this loss with penalty = v/2. The
    sum of the parts is an identity: it holds for any features, in training or not.

    Args:
        features: `(N, d)`, every class present; computed in float64.
        labels: `(N,)`, integers 0..K-1.
        weight: `(K, d)`.
        bias: `(K,)`.
        penalty: Han et al.'s lambda, > 0.

    Raises:
        TypeError: if a tensor is not floating point, or labels are not integers.
        ValueError: if shapes do not fit, a class is empty, penalty is not above 0, a number is not
            finite or too large to square, or a tensor is not on the CPU.

    Source: Han, Papyan, Donoho 2021 (balanced classes). Unequal classes, weighted by their share of
    the samples, are this course's extension; the parts are the paper's when classes are equal.
    """
    if not 0 < penalty < math.inf:
        raise ValueError(f"penalty is {penalty}; the least-squares classifier needs it above 0")
    num_classes = len(weight)
    if features.ndim != 2 or weight.ndim != 2 or features.shape[1] != weight.shape[1]:
        raise ValueError(
            f"features is {tuple(features.shape)} and weight is {tuple(weight.shape)}; expected "
            "(samples, dim) and (classes, dim) — transposed?"
        )
    if labels.shape != features.shape[:1] or bias.shape != weight.shape[:1]:
        raise ValueError(
            f"labels is {tuple(labels.shape)} and bias is {tuple(bias.shape)}; expected "
            f"({len(features)},) and ({num_classes},)"
        )
    _check_on_cpu(features, weight, bias, labels)
    for name, tensor in (("features", features), ("weight", weight), ("bias", bias)):
        if not tensor.is_floating_point():
            raise TypeError(f"{name} is {tensor.dtype}; expected floating point")
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name} contains NaN or infinity")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f"labels is {labels.dtype}; expected integers")
    labels = labels.long()
    if len(labels) and labels.min() < 0:
        raise ValueError(f"labels contains {int(labels.min())}; expected 0 to {num_classes - 1}")
    counts = torch.bincount(labels, minlength=num_classes)
    if len(counts) > num_classes or (counts == 0).any():
        raise ValueError(
            f"samples per class are {counts.tolist()}; expected {num_classes} classes, none empty"
        )
    features, weight, bias = features.detach().double(), weight.detach(), bias.detach()
    share = counts.double() / len(labels)
    targets = one_hot(labels, num_classes).double()
    means = (targets.T @ features) / counts[:, None]

    # A constant feature 1 turns the bias into one more column of the classifier.
    extended = torch.cat([features, torch.ones(len(features), 1, dtype=torch.float64)], dim=1)
    moment = extended.T @ extended / len(extended)
    moment.diagonal().add_(penalty)
    best = torch.linalg.solve(moment, extended.T @ targets / len(extended)).T
    best_weight, best_bias = best[:, :-1], best[:, -1]

    within = (features - means[labels]) @ best_weight.T
    mean_error = means @ best_weight.T + best_bias - torch.eye(num_classes, dtype=torch.float64)
    given = torch.cat([weight.double(), bias.double()[:, None]], dim=1)
    excess = given - best
    residual = extended @ given.T - targets
    parts = LossDecomposition(
        nc1=0.5 * (within.square().sum(1).mean() + penalty * best.square().sum()).item(),
        nc23=0.5 * (share @ mean_error.square().sum(1)).item(),
        perpendicular=0.5 * ((excess @ moment) * excess).sum().item(),
        loss=0.5 * (residual.square().sum(1).mean() + penalty * given.square().sum()).item(),
        best_weight=best_weight,
        best_bias=best_bias,
    )
    if not math.isfinite(parts.nc1 + parts.nc23 + parts.perpendicular + parts.loss):
        raise ValueError("features, weight or bias are too large: their squares overflow")
    return parts


@in_full_precision
@with_gradients
def solve_layer_peeled(
    *,
    samples_per_class: Sequence[int],
    dim: int,
    weight_energy: float = 1.0,
    feature_energy: float = 5.0,
    seed: int = 0,
    tolerance: float = 1e-8,
) -> LayerPeeled:
    """Solve the layer-peeled model: least mean cross-entropy under bounds on the norms.

    The mean of ||w_k||^2 over classes is at most `weight_energy`, the mean over classes of the mean
    of ||h||^2 within a class at most `feature_energy`; there is no bias. The loss is convex in the
    features, so all samples of a class share one. Both bounds are tight at the optimum, hence the
    search runs over the two spheres, by L-BFGS in float64 from a random start.

    With d >= K the model is a convex one in the logits Z, over ||Z||_* <= K sqrt(weight_energy
    feature_energy) (derived here): its Frank-Wolfe gap bounds the distance to the global minimum.

    Args:
        samples_per_class: K >= 2 counts, each at least 1.
        dim: d >= 1.
        weight_energy: E_W > 0.
        feature_energy: E_H > 0.
        seed: of the start.
        tolerance: largest entry of the gradient that counts as zero.

    Raises:
        ValueError: if an argument is out of range.

    Source: Fang et al. 2021.

    >>> peeled = solve_layer_peeled(samples_per_class=[30] * 5 + [1] * 5, dim=10)
    >>> round(minority_cosine(peeled.weight, [30] * 5 + [1] * 5), 3)
    1.0
    """
    num_classes = len(samples_per_class)
    _check_classes(num_classes, samples_per_class)
    if dim < 1:
        raise ValueError(f"dim is {dim}; features need at least 1 dimension")
    if not (0 < weight_energy < math.inf and 0 < feature_energy < math.inf):
        raise ValueError(
            f"energies are {weight_energy} and {feature_energy}; a bound on the mean squared norm "
            "is a finite number above 0"
        )
    counts = torch.tensor(samples_per_class, dtype=torch.float64)
    share = counts / counts.sum()
    labels = torch.arange(num_classes)

    def on_spheres(flat: Tensor) -> tuple[Tensor, Tensor]:
        features, weight = flat.reshape(2, num_classes, dim)
        return (
            features * (math.sqrt(num_classes * feature_energy) / features.norm()),
            weight * (math.sqrt(num_classes * weight_energy) / weight.norm()),
        )

    def fit(logits: Tensor) -> Tensor:
        return share @ cross_entropy(logits, labels, reduction="none")

    def loss(flat: Tensor) -> Tensor:
        features, weight = on_spheres(flat)
        return fit(features @ weight.T)

    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(2 * num_classes * dim, generator=generator, dtype=torch.float64)
    flat, value, _, _ = _minimise(loss, start, tolerance=tolerance, max_iterations=20_000)
    features, weight = on_spheres(flat)
    logits = (features @ weight.T).requires_grad_()
    (slope,) = torch.autograd.grad(fit(logits), logits)
    radius = num_classes * math.sqrt(weight_energy * feature_energy)
    gap = (slope * logits).sum() + radius * torch.linalg.matrix_norm(slope, 2)
    return LayerPeeled(features, weight, value, max(gap.item(), 0.0))


@in_full_precision
def minority_cosine(
    weight: Float[Tensor, "classes dim"], samples_per_class: Sequence[int]
) -> float:
    """Mean cosine between the classifier rows of the smallest classes, in [-1, 1].

    1 means that these classes have merged: the classifier cannot tell them apart.

    Args:
        weight: `(K, d)`.
        samples_per_class: K counts; the classes with the least of them are the minority.

    Raises:
        ValueError: if there are not K counts, weight is not of finite floats on the CPU, fewer than
            two classes share the least count, or a row of theirs is shorter than 1e-4 of the
            longest row: it has vanished, as happens to minorities when the features have little
            energy, and its direction is rounding.

    Source: Fang et al. 2021 ("minority collapse").
    """
    if weight.ndim and len(samples_per_class) != len(weight):
        raise ValueError(
            f"weight has {len(weight)} rows but there are {len(samples_per_class)} class counts"
        )
    _check_on_cpu(weight)
    finite = weight.is_floating_point() and bool(torch.isfinite(weight).all())
    if weight.ndim != 2 or not weight.numel() or not finite:
        raise ValueError(
            f"weight is {tuple(weight.shape)} of {weight.dtype}; expected finite floating-point "
            "(classes, dim)"
        )
    least = min(samples_per_class)
    minority = [k for k, count in enumerate(samples_per_class) if count == least]
    if len(minority) < 2:
        raise ValueError(
            f"only class {minority[0]} has {least} samples; a cosine needs two minority classes"
        )
    norms = weight.norm(dim=1)
    if norms[minority].min() <= 1e-4 * norms.max():
        raise ValueError(
            f"a minority row has norm {norms[minority].min().item():.1e} beside "
            f"{norms.max().item():.1e}: it has vanished, so it has no direction to compare"
        )
    return off_diagonal(cosine_matrix(weight[minority])).mean().item()


def nonnegative_margins(
    weight: Float[Tensor, "classes dim"],
) -> Float[Tensor, " classes"]:
    """How far a feature after a ReLU can prefer each class of a fixed classifier without bias.

    For class k it is the largest t such that some feature h with entries in [0, 1] has
    <w_k - w_j, h> >= t for every other class j: a linear programme. Zero means that no feature
    with entries >= 0, of any length, puts class k strictly first, so no network whose last
    features come out of a ReLU can predict it. With d = K that happens to about every second
    random simplex ETF of ten classes; with d well above K to none.

    Args:
        weight: `(K, d)`, K >= 2, finite.

    Returns:
        One margin for each class, `(K,)`, >= 0, float64.

    Raises:
        TypeError, ValueError: if the shape is not (K >= 2, d), an entry is no finite real number,
            or the tensor is not on the CPU.

    Source: derived here.

    >>> nonnegative_margins(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).tolist()
    [2.0, 0.0]
    """
    _check_on_cpu(weight)
    if weight.ndim != 2 or len(weight) < 2 or not torch.isfinite(weight).all():
        raise ValueError(
            f"weight is {tuple(weight.shape)}; expected finite (classes, dim), at least 2 classes"
        )
    if weight.is_complex():
        raise TypeError(f"weight is {weight.dtype}; expected real numbers")
    rows = weight.detach().double().numpy()
    num_classes, dim = rows.shape
    # The solver takes 1e-9 for zero and 1e20 for infinity; a power of two scales without rounding.
    exponent = int(np.frexp(np.abs(rows).max(initial=0))[1])
    rows = np.ldexp(rows, -exponent)
    objective_row = np.append(np.zeros(dim), -1.0)
    margins = []
    for k in range(num_classes):
        differences = np.delete(rows, k, axis=0) - rows[k]
        programme = linprog(
            objective_row,
            A_ub=np.column_stack([differences, np.ones(num_classes - 1)]),
            b_ub=np.zeros(num_classes - 1),
            bounds=[(0, 1)] * dim + [(0, None)],
        )
        margins.append(max(0.0, programme.x[-1]))
    return torch.from_numpy(np.ldexp(margins, exponent))


def _common_logit(problem: UFM) -> tuple[float, float]:
    """g, the logit that all class means share at the optimum, and the entry of the bias."""
    if problem.loss == "cross-entropy":
        return 0.0, 0.0  # a constant added to all logits changes nothing and costs penalty
    if problem.lambda_b is None:
        return max(0.0, 1 - problem.shrinkage), 0.0
    if problem.lambda_b == 0:
        return 0.0, 1 / problem.num_classes
    common = max(0.0, 1 - problem.shrinkage * (1 + problem.lambda_b) / problem.lambda_b)
    return common, (1 - common) / (problem.num_classes * (1 + problem.lambda_b))


def _frame(
    problem: UFM, spread: float, common: float, *, seed: int
) -> Float[Tensor, "classes dim"]:
    """K rows in d dimensions with Gram matrix spread (I - J/K) + common J/K, randomly turned."""
    num_classes, dim = problem.num_classes, problem.dim
    if spread == 0:  # nothing to place, so any d will do; common is at most spread
        return torch.zeros(num_classes, dim, dtype=torch.float64)
    needed = num_classes if common > 0 else num_classes - 1
    if dim < needed:
        raise ValueError(
            f"dim is {dim}; the optimum of {num_classes} classes is "
            f"{'an orthogonal frame' if common > 0 else 'a simplex'} and needs dim >= {needed} — "
            "below that there is no closed form, use solve()"
        )
    generator = torch.Generator().manual_seed(seed)
    # The common part has an axis of its own, the last; the simplex lies in the others.
    simplex = simplex_etf(
        num_classes, dim - (common > 0), generator=generator, dtype=torch.float64
    ) * math.sqrt(spread * (num_classes - 1) / num_classes)
    if common == 0:
        return simplex
    column = torch.full((num_classes, 1), math.sqrt(common / num_classes), dtype=torch.float64)
    return torch.cat([simplex, column], dim=1)


def _optimal_loss(problem: UFM, spread: float, common: float, bias_entry: float) -> float:
    num_classes = problem.num_classes
    c = problem.shrinkage / num_classes
    penalty = c * ((num_classes - 1) * spread + common)
    if problem.loss == "cross-entropy":
        return math.log1p((num_classes - 1) * math.exp(-spread)) + penalty
    mean_error = (num_classes - 1) * (spread - 1) ** 2 + (
        common + num_classes * bias_entry - 1
    ) ** 2
    bias_penalty = (problem.lambda_b or 0.0) * num_classes * bias_entry**2
    return mean_error / (2 * num_classes) + penalty + bias_penalty / 2


def _minimise(
    loss: Callable[[Tensor], Tensor], start: Tensor, *, tolerance: float, max_iterations: int
) -> tuple[Tensor, float, float, int]:
    """The minimiser, its loss, the largest entry of its gradient, the number of iterations."""

    def value_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        variable = torch.tensor(flat, requires_grad=True)
        value = loss(variable)
        (gradient,) = torch.autograd.grad(value, variable)
        return value.item(), gradient.numpy()

    result = minimize(
        value_and_gradient,
        start.numpy(),
        jac=True,
        method="L-BFGS-B",
        # ftol = 0: a small decrease of the loss is no reason to stop, only a small gradient is.
        options={
            "maxcor": 30,
            "ftol": 0.0,
            "gtol": tolerance,
            "maxiter": max_iterations,
            "maxfun": 2 * max_iterations,
        },
    )
    return (
        torch.tensor(result.x),
        float(result.fun),
        float(np.abs(result.jac).max()),
        int(result.nit),
    )


def _shapes(problem: UFM) -> list[tuple[int, ...]]:
    shapes: list[tuple[int, ...]] = [
        (problem.num_samples, problem.dim),
        (problem.num_classes, problem.dim),
    ]
    return shapes if problem.lambda_b is None else [*shapes, (problem.num_classes,)]


def _flatten(point: Point) -> Float[Tensor, " parameters"]:
    parts = [point.features, point.weight] + ([] if point.bias is None else [point.bias])
    return torch.cat([part.detach().double().flatten() for part in parts])


def _unflatten(problem: UFM, flat: Tensor) -> Point:
    shapes = _shapes(problem)
    parts = flat.split([math.prod(shape) for shape in shapes])
    return Point(*(part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)))


def _loss_at(problem: UFM, point: Point) -> Tensor:
    return objective(problem, features=point.features, weight=point.weight, bias=point.bias)


def _check_classes(num_classes: int, counts: Sequence[int]) -> None:
    if num_classes < 2:
        raise ValueError(f"num_classes is {num_classes}; there must be at least 2 to tell apart")
    if len(counts) != num_classes:
        raise ValueError(f"samples_per_class has {len(counts)} entries; expected {num_classes}")
    if min(counts) < 1:
        raise ValueError(f"samples_per_class is {tuple(counts)}; every class needs a sample")


def _check_point(problem: UFM, features: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    expected = [(problem.num_samples, problem.dim), (problem.num_classes, problem.dim)]
    for name, tensor, shape in zip(
        ("features", "weight"), (features, weight), expected, strict=True
    ):
        if tensor.shape != shape:
            axes = "(samples, dim)" if name == "features" else "(classes, dim)"
            raise ValueError(
                f"{name} is {tuple(tensor.shape)}; expected {axes} = {shape} — transposed?"
            )
        if not tensor.is_floating_point():
            raise TypeError(f"{name} is {tensor.dtype}; expected floating point")
    if (bias is None) != (problem.lambda_b is None):
        raise ValueError(
            "a bias is given, but lambda_b is None: the model has none"
            if problem.lambda_b is None
            else f"lambda_b is {problem.lambda_b}, but no bias is given"
        )
    if bias is not None and bias.shape != (problem.num_classes,):
        raise ValueError(f"bias is {tuple(bias.shape)}; expected ({problem.num_classes},)")
    if bias is not None and not bias.is_floating_point():
        raise TypeError(f"bias is {bias.dtype}; expected floating point")
    _check_on_cpu(features, weight, *([] if bias is None else [bias]))


def _check_on_cpu(*tensors: Tensor) -> None:
    if any(tensor.device.type != "cpu" for tensor in tensors):
        where = ", ".join(str(tensor.device) for tensor in tensors)
        raise ValueError(f"the tensors are on {where}; expected all of them on the CPU")
