"""Wu & Mondelli 2025: in the mean-field regime, stationarity and a small loss give collapse.

"Neural Collapse Beyond the Unconstrained Features Model: Landscape, Dynamics, and Generalization in
the Mean-Field Regime", ICML 2025 (arXiv 2501.19104). Three layers: P particles, each an inner
weight, a bounded smooth activation and an outer weight, averaged; then a linear classifier. Small
loss, a small gradient and weight decay bound NC1, whether the layers are balanced or not.

The theorems are about infinitely many particles, and there the part of the features that the
classifier does not see is zero at all times (`mirrored`, this course). At finite width it is not,
and weight decay is what removes it.

Rows are vectors here. The paper writes columns: its H (p x n), W (p x q), Y (q x n) are the
transposes of `features` (N, d), `weight` (K, d) and one-hot labels (N, K); its N particles, p
features, q classes, n samples are P, d, K, N. The activation is tanh, so C_1 = 1 wherever the paper
has a bound C_1 on it. "This course" marks statements with a proof in chapter 7. All thresholds are
this course's, for digits.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import minimize
from torch import Tensor
from torch.nn.functional import one_hot

from ncourse.claims import Claim, DataCard
from ncourse.comparisons import (
    above,
    at_least,
    at_most,
    below,
    between,
    equal,
    every,
    over,
    proved,
)
from ncourse.data import Dataset
from ncourse.metrics import measure
from ncourse.papers import Asked, declared
from ncourse.progress import progress_bar
from ncourse.tables import Table

__all__ = [
    "BALLS",
    "RUNS",
    "TOO_MUCH",
    "WEIGHT_DECAY",
    "Decomposition",
    "Network",
    "balls",
    "capacity",
    "claims",
    "claims_of_long_runs",
    "conditioning",
    "convergence",
    "decompose",
    "digits_mod_3",
    "entropic",
    "error_bound",
    "experiment",
    "floor",
    "flow",
    "free_energy",
    "frozen_nc1",
    "generalisation",
    "gradient",
    "imbalance",
    "landscape",
    "largest_radius",
    "lazy",
    "least_eigenvalue",
    "log_times",
    "loss",
    "measured",
    "mirrored",
    "nc1_bound",
    "norms",
    "outside",
    "random_network",
    "samples",
    "scaled",
    "stationary",
    "symmetry",
    "theorem_bound",
    "trajectory",
]

PARTICLES, DIM, SAMPLES = 128, 16, 40  # P, d, and n per class in most of the chapter
LEAST = 10  # training samples of each class: those that `landscape` takes
WEIGHT_DECAY = 4e-3
STEP = 0.05
DURATION = 6.0  # in units of 1/weight decay

RUNS = {
    "W fixed": {"weight_decay": WEIGHT_DECAY},
    "W fixed, no decay": {"weight_decay": 0.0},
    "W trained": {"weight_decay": WEIGHT_DECAY, "train_weight": True},
}
"""The runs of the main result; each differs from the first in one thing."""

TOO_MUCH: dict[str, Any] = {"weight_decay": 0.3, "train_weight": True, "duration": 20.0}
"""Weight decay so strong that nothing is learnt, and W goes to zero."""

BALLS = {
    "separable": {"radius": 0.3, "shuffled": False},
    "overlapping": {"radius": 1.5, "shuffled": False},
    "shuffled labels": {"radius": 0.3, "shuffled": True},
}
"""The synthetic data sets: three balls, apart, overlapping, and with meaningless labels."""

BALL_DISTANCE = 0.6  # of a ball's centre from the origin
BALL_WEIGHT_DECAY = 3e-3  # where balls overlap NC1 ends near 1e-2 with 4e-3, and lower with less
INPUT_NORM = 4.0

WU = "Wu and Mondelli 2025"
COURSE = "This course, proof in chapter 7"
SYNTHETIC = f"three balls in 10 dimensions: {SAMPLES} training samples a class"


# The network --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Network:
    """P particles (a_j, u_j), averaged, and a linear classifier on top (paper, section 3).

    Attributes:
        outer: `(P, d)`, row j is a_j.
        inner: `(P, D)`, row j is u_j; D is the size of an input.
        weight: `(K, d)`, the classifier W, without bias.
        gamma: the factor of the logits, positive.
    """

    outer: Float[Tensor, "particles features"]
    inner: Float[Tensor, "particles inputs"]
    weight: Float[Tensor, "classes features"]
    gamma: float = 2.0

    def activations(self, inputs: Float[Tensor, "samples inputs"]) -> Tensor:
        """tanh(u_j . x_i), `(N, P)`."""
        return torch.tanh(inputs @ self.inner.T)

    def features(self, inputs: Float[Tensor, "samples inputs"]) -> Tensor:
        """H: the mean over particles of a_j tanh(u_j . x_i), `(N, d)`."""
        return self.activations(inputs) @ self.outer / len(self.outer)

    def logits(self, inputs: Float[Tensor, "samples inputs"]) -> Tensor:
        """The logits gamma H W^T, `(N, K)`."""
        return self.gamma * self.features(inputs) @ self.weight.T


def random_network(
    dataset: Dataset,
    *,
    num_particles: int = PARTICLES,
    dim: int = DIM,
    gamma: float = 2.0,
    seed: int = 0,
) -> Network:
    """The paper's start: standard normal particles, and a W with orthonormal rows.

    Args:
        dataset: inputs `(N, D)` (see `scaled`).
        num_particles: P >= 1.
        dim: d >= K.
        gamma: the factor of the logits.
        seed: of particles and W.

    Raises:
        ValueError: if d < K: W could not have K independent rows; or P < 1.
    """
    count = dataset.num_classes
    if dim < count:
        raise ValueError(
            f"dim is {dim} for {count} classes; W needs {count} independent rows, so dim >= {count}"
        )
    if num_particles < 1:
        raise ValueError(f"num_particles is {num_particles}; expected at least 1")
    generator = torch.Generator().manual_seed(seed)
    size = dataset.inputs.shape[1]
    double: dict[str, Any] = {"generator": generator, "dtype": torch.float64}
    weight = torch.linalg.qr(torch.randn(dim, count, **double))[0].T.contiguous()
    outer = torch.randn(num_particles, dim, **double)
    return Network(outer, torch.randn(num_particles, size, **double), weight, gamma)


def mirrored(network: Network) -> Network:
    """Each particle (a, u) and its mirror image (F a, u), F = 2 Pi - I: 2P particles (this course).

    F keeps what W sees and turns the rest over. The flow commutes with it, so the features of such
    a network stay in the span of the rows of W at all times, as those of infinitely many standard
    normal particles do.

    Raises:
        ValueError: if the rows of W are dependent.
    """
    image = network.outer - 2 * outside(network)
    outer = torch.cat([network.outer, image])
    return replace(network, outer=outer, inner=network.inner.repeat(2, 1))


def loss(network: Network, dataset: Dataset) -> float:
    """Squared error without penalty: |gamma H W^T - Y|_F^2 / (2N) over the training samples."""
    residual = network.logits(dataset.inputs) - _targets(dataset)
    return residual.square().sum().item() / (2 * len(dataset.labels))


def gradient(
    network: Network, dataset: Dataset, *, weight_decay: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The mean-field gradient of loss + decay/2 (mean |theta_j|^2 + |W|_F^2).

    Returns:
        For outer `(P, d)` and inner `(P, D)` P times the partial derivatives, so that they stay of
        order 1 as P grows; for W `(K, d)` the derivative itself.
    """
    return _gradient(network, dataset.inputs, _targets(dataset), weight_decay)


def _gradient(
    network: Network, inputs: Tensor, targets: Tensor, weight_decay: float
) -> tuple[Tensor, Tensor, Tensor]:
    activations = network.activations(inputs)
    features = activations @ network.outer / len(network.outer)
    residual = network.gamma * features @ network.weight.T - targets
    back = (network.gamma / len(inputs)) * residual @ network.weight  # dL/dH, (N, d)
    outer = torch.addmm(network.outer, activations.T, back, beta=weight_decay)
    slopes = torch.ops.aten.tanh_backward(back @ network.outer.T, activations)  # in one pass
    inner = torch.addmm(network.inner, slopes.T, inputs, beta=weight_decay)
    weight = (network.gamma / len(inputs)) * residual.T @ features + weight_decay * network.weight
    return outer, inner, weight


def flow(
    network: Network,
    dataset: Dataset,
    *,
    weight_decay: float,
    times: Sequence[float],
    step: float = STEP,
    temperature: float = 0.0,
    train_weight: bool = False,
    seed: int = 0,
) -> list[Network]:
    """Gradient flow of all particles by steps of explicit Euler; with noise the entropic flow.

    Noise of variance 2 * temperature * step is added to each particle in each step: at temperature
    1/beta the law of the particles then descends the free energy of the paper (section 3).

    Args:
        network: where to start.
        dataset: inputs `(N, D)` in float64 (see `scaled`).
        weight_decay: lambda >= 0, the same on particles and on W.
        times: increasing; when to keep the network. 0 is the start.
        step: of time; divergence is an error, so take a smaller one.
        temperature: 1/beta >= 0.
        train_weight: whether W moves too; without noise in any case.
        seed: of the noise.

    Returns:
        The networks at `times`, in order.

    Raises:
        ValueError: for a negative weight decay or temperature, a step that is not positive, times
            that do not increase, or a run that diverges.
    """
    if weight_decay < 0 or temperature < 0 or step <= 0:
        raise ValueError(
            f"got weight_decay={weight_decay}, temperature={temperature}, step={step}; expected "
            "at least 0, at least 0, and above 0"
        )
    stops = [round(time / step) for time in times]
    if not stops or stops[0] < 0 or any(b <= a for a, b in pairwise(stops)):
        raise ValueError(f"times must increase by at least one step of {step}; got {list(times)}")
    targets = _targets(dataset)
    generator = torch.Generator().manual_seed(seed)
    spread = math.sqrt(2 * temperature * step)
    now = replace(network, outer=network.outer.clone(), inner=network.inner.clone())
    kept: list[Network] = []
    for count in progress_bar(range(stops[-1] + 1), disable=stops[-1] < 5000):
        if count == stops[len(kept)]:
            kept.append(replace(now, outer=now.outer.clone(), inner=now.inner.clone()))
            if not now.outer.isfinite().all():
                raise ValueError(f"the flow diverges with step {step}; take a smaller one")
        if count == stops[-1]:
            break
        outer, inner, weight = _gradient(now, dataset.inputs, targets, weight_decay)
        now.outer.sub_(outer, alpha=step)
        now.inner.sub_(inner, alpha=step)
        if spread:
            for particles in (now.outer, now.inner):
                noise = torch.randn(particles.shape, generator=generator, dtype=particles.dtype)
                particles.add_(noise, alpha=spread)
        if train_weight:
            now = replace(now, weight=now.weight - step * weight)
    return kept


# What the theory says -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Decomposition:
    """H = collapsed + inside + outside, three `(N, d)` matrices.

    Attributes:
        collapsed: Y (W W^T)^-1 W / gamma, one row per class: NC1 = 0.
        inside: (gamma H W^T - Y)(W W^T)^-1 W / gamma, what the fit still misses.
        outside: G (I - Pi) / lambda, the part of H that W does not see, from the gradient. Pi is
            the projection onto the rows of W.
    """

    collapsed: Float[Tensor, "samples features"]
    inside: Float[Tensor, "samples features"]
    outside: Float[Tensor, "samples features"]

    @property
    def error(self) -> float:
        """|E|_F, E = inside + outside."""
        return (self.inside + self.outside).norm().item()


def decompose(network: Network, dataset: Dataset, *, weight_decay: float) -> Decomposition:
    """The split of the features of `Decomposition`, an identity at any network (this course).

    The collapsed term is that of Theorem 4.2 of the paper, which bounds the rest. Here the rest is
    written out, with G the mean over particles of activation (N,) times gradient (d,).

    Raises:
        ValueError: if weight_decay is not positive, or the rows of W are dependent.
    """
    if weight_decay <= 0:
        raise ValueError(
            f"weight_decay is {weight_decay}; the split divides by it, so it must be positive"
        )
    dual = _dual(network.weight)
    targets = _targets(dataset)
    slopes, _, _ = gradient(network, dataset, weight_decay=weight_decay)
    pull = network.activations(dataset.inputs).T  # (P, N)
    mean = pull.T @ slopes / len(slopes)  # G, (N, d)
    residual = network.logits(dataset.inputs) - targets
    return Decomposition(
        targets @ dual / network.gamma,
        residual @ dual / network.gamma,
        (mean - mean @ network.weight.T @ dual) / weight_decay,
    )


def norms(network: Network, dataset: Dataset, *, weight_decay: float) -> tuple[float, float]:
    """Root mean square over particles of the gradient: of the outer weights alone, and of both.

    The gradient is that of loss and penalty. At temperature 0 the second is the eps_S of the paper
    (definition 4.1). With noise it is not: there eps_S is about the free energy, whose gradient has
    1/beta times that of log rho in addition (`free_energy`).
    """
    outer, inner, _ = gradient(network, dataset, weight_decay=weight_decay)
    squares = outer.square().sum().item(), inner.square().sum().item()
    return math.sqrt(squares[0] / len(outer)), math.sqrt(sum(squares) / len(outer))


def error_bound(
    loss: float,
    gradient_norm: float,
    *,
    weight: Float[Tensor, "classes features"],
    num_samples: int,
    gamma: float,
    weight_decay: float,
) -> float:
    """Bound on |E|_F of `decompose` for tanh (this course).

    Args:
        loss: squared error without penalty.
        gradient_norm: root mean square of the outer gradient over particles, or something larger;
            of infinitely many particles also that of the free energy, so the paper's eps_S.
        weight: W, `(K, d)`, independent rows.
        num_samples: N = nK.
        gamma: factor of the logits.
        weight_decay: lambda; at 0 the bound is infinite, it says nothing.
    """
    if weight_decay == 0:
        return math.inf
    smallest = torch.linalg.svdvals(weight)[-1].item()
    inside = 2 * num_samples * loss / (gamma * smallest) ** 2
    return math.sqrt(inside + num_samples * (gradient_norm / weight_decay) ** 2)


def theorem_bound(
    loss: float,
    gradient_norm: float,
    *,
    weight: Float[Tensor, "classes features"],
    num_samples: int,
    gamma: float,
    weight_decay: float,
) -> float:
    """The paper's bound on |E|_F (Theorem 4.2), with C_1 = 1; arguments as `error_bound`.

    Its gradient_norm is eps_S: of the free energy, over outer and inner weights.
    """
    if weight_decay == 0:
        return math.inf
    largest, smallest = torch.linalg.svdvals(weight)[[0, -1]].tolist()
    square = num_samples * gradient_norm**2 / weight_decay**2
    return math.sqrt(
        square * (2 * gamma**4 * largest**4 / weight_decay**2 + 1)
        + (2 * num_samples * loss / gamma**2 + 2 * largest**2 * square) / smallest**2
    )


def nc1_bound(
    error: float, *, weight: Float[Tensor, "classes features"], num_samples: int, gamma: float
) -> float:
    """NC1 <= (e / (A - e))^2 for e >= |E|_F below A; infinite from A on (this course).

    A = sqrt(N (K-1)/K) / (gamma s_max(W)) is at most the centred size of the collapsed term. NC1 is
    tr S_W / (tr S_W + tr S_B), the paper's, for classes of equal size.

    >>> eye = torch.eye(3, 5, dtype=torch.float64)
    >>> round(nc1_bound(2.0, weight=eye, num_samples=54, gamma=1.0), 6)  # A = 6
    0.25
    """
    count = len(weight)
    largest = torch.linalg.svdvals(weight)[0].item()
    size = math.sqrt(num_samples * (count - 1) / count) / (gamma * largest)
    return (error / (size - error)) ** 2 if error < size else math.inf


def conditioning(
    loss: float, *, outer: Float[Tensor, "particles features"], num_classes: int, gamma: float
) -> float:
    """Lower bound on s_min(W): (1/sqrt(K) - sqrt(2 loss)) / (gamma sqrt(E|a|^2)) (this course).

    It says what Lemma 4.3 of the paper says: a small loss, with second moments that weight decay
    holds down, keeps W away from singular. For |activation| <= 1 and classes of equal size.

    >>> import torch
    >>> round(conditioning(0.0, outer=torch.eye(2), num_classes=4, gamma=1.0), 6)
    0.5
    """
    moment = outer.square().sum(1).mean().item()
    return (1 / math.sqrt(num_classes) - math.sqrt(2 * loss)) / (gamma * math.sqrt(moment))


def least_eigenvalue(
    inputs: Float[Tensor, "samples inputs"], *, draws: int = 100_000, seed: int = 0
) -> float:
    """lambda_*: least eigenvalue of E[tanh(x_i . u) tanh(x_k . u)], u ~ N(0, I) (section 4.2).

    Positive exactly if no input is zero and no two are equal or opposite (this course).

    Args:
        inputs: `(N, D)` in float64.
        draws: of u; with few the value is too small, by a share of about N over the draws.
        seed: of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    kernel = torch.zeros(len(inputs), len(inputs), dtype=inputs.dtype)
    for first in range(0, draws, 10_000):
        count = min(10_000, draws - first)
        normals = torch.randn(count, inputs.shape[1], generator=generator, dtype=inputs.dtype)
        activations = torch.tanh(inputs @ normals.T)
        kernel += activations @ activations.T / draws
    return torch.linalg.eigvalsh(kernel)[0].item()


def capacity(divergence: float, *, weight_norm: float, num_samples: int) -> float:
    """Bound on the Rademacher complexity of one logit over laws near the start (this course).

    Laws rho of particles with KL(rho | N(0, I)) up to `divergence`, activation at most 1, gamma 1:
    sqrt(2) |w| (divergence + log(2)/2) / sqrt(N). The number of particles is not in it. Chapter 7
    has the proof; the paper's section 5 uses bounds of this kind.

    >>> round(capacity(10.0, weight_norm=1.0, num_samples=200), 3)
    1.035
    """
    return math.sqrt(2 / num_samples) * weight_norm * (divergence + math.log(2) / 2)


def imbalance(network: Network) -> float:
    """The paper's NB: |E[a a^T] - c W^T W| / |E[a a^T]|, spectral norms, best c; 0 is balanced.

    It is 1 where the two share no direction. c minimises the Frobenius norm of the difference
    (the paper's experiments, with its W transposed).
    """
    moment = network.outer.T @ network.outer / len(network.outer)
    product = network.weight.T @ network.weight
    factor = (moment * product).sum() / product.square().sum()
    spectral = torch.linalg.matrix_norm
    return (spectral(moment - factor * product, 2) / spectral(moment, 2)).item()


def outside(network: Network) -> Float[Tensor, "particles features"]:
    """(I - Pi) a_j for all particles: the part of the outer weights that W does not see."""
    return network.outer - network.outer @ network.weight.T @ _dual(network.weight)


def frozen_nc1(network: Network, dataset: Dataset) -> float:
    """NC1 to expect at zero loss if the outside parts of a_j are still standard normal.

    They are without weight decay, with W fixed and orthonormal: nothing moves them, and nothing
    depends on them. Falls as 1/P (this course).
    """
    activations = network.activations(dataset.inputs)
    dim, count = network.weight.shape[1], dataset.num_classes
    share = (dim - count) / len(network.outer) ** 2
    means = torch.stack([activations[dataset.labels == k].mean(0) for k in range(count)])
    spread = (activations - means[dataset.labels]).square().sum().item()
    total = (activations - activations.mean(0)).square().sum().item()
    seen = len(dataset.labels) * (count - 1) / count / network.gamma**2
    return share * spread / (share * total + seen)


def stationary(
    dataset: Dataset,
    *,
    weight_decay: float,
    num_particles: int = 64,
    seed: int = 0,
    iterations: int = 20_000,
    tolerance: float = 1e-3,
) -> Network:
    """A stationary network with W fixed, orthonormal, and gamma = 1; d = 8, or K if that is more.

    L-BFGS over the inner weights. The outer ones are the best for them, in closed form: given the
    activations the objective is strictly convex in a.

    Raises:
        ValueError: if eps_S is above tolerance times weight decay: then it is no stationary point.
    """
    dim = max(8, dataset.num_classes)
    start = random_network(dataset, num_particles=num_particles, dim=dim, gamma=1.0, seed=seed)
    targets = _targets(dataset)
    ridge = weight_decay * len(targets)

    def best(flat: np.ndarray) -> Network:
        here = replace(start, inner=torch.from_numpy(flat).reshape(start.inner.shape))
        activations = here.activations(dataset.inputs)
        kernel = activations @ activations.T / num_particles
        eye = torch.eye(len(targets), dtype=kernel.dtype)
        # The residual of the logits, -ridge (kernel + ridge)^-1 Y: no difference of large numbers.
        pull = torch.linalg.solve(kernel + ridge * eye, targets)
        return replace(here, outer=activations.T @ pull @ start.weight)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        here = best(flat)
        squares = (here.outer.square().sum() + here.inner.square().sum()).item() / num_particles
        _, inner, _ = _gradient(here, dataset.inputs, targets, weight_decay)
        # A factor, because the solver's own stopping rules are absolute.
        value = 1e3 * (loss(here, dataset) + weight_decay / 2 * squares)
        return value, 1e3 * inner.ravel().numpy() / num_particles

    options = {"maxiter": iterations, "maxfun": 10**6, "ftol": 0, "gtol": 1e-14, "maxcor": 50}
    flat = start.inner.ravel().numpy()
    found = best(minimize(objective, flat, jac=True, method="L-BFGS-B", options=options).x)
    _, reached = norms(found, dataset, weight_decay=weight_decay)
    if reached > tolerance * weight_decay:
        raise ValueError(
            f"the solver ends at a gradient of {reached:.1e} for weight decay {weight_decay:g} on "
            f"{dataset.name}; a stationary point has at most {tolerance:g} times the weight decay. "
            "Take a larger weight decay, fewer samples, or more iterations"
        )
    return found


def _targets(dataset: Dataset) -> Tensor:
    return one_hot(dataset.labels, dataset.num_classes).to(torch.float64)


def _dual(weight: Tensor) -> Tensor:
    """(W W^T)^-1 W, `(K, d)`; W^T times it is the projection onto the rows of W."""
    if torch.linalg.matrix_rank(weight) < len(weight):
        raise ValueError(
            f"the {len(weight)} rows of W are linearly dependent; the split of the features needs "
            "independent ones"
        )
    return torch.linalg.solve(weight @ weight.T, weight)


# Data ---------------------------------------------------------------------------------------------


def digits_mod_3(*, samples: int = SAMPLES, seed: int = 0) -> Dataset:
    """scikit-learn's digits with labels mod 3, as the paper does with MNIST; pixels not centred.

    Args:
        samples: n training images of each of the three classes; the rest is for testing.
        seed: of their choice.

    Returns:
        Inputs `(3n, 64)` in float64, the longest of norm 4 (the paper asks for norms up to 1; that
        is only slower).
    """
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    inputs, classes = (
        torch.tensor(pixels)[order],
        torch.tensor(labels % 3, dtype=torch.int64)[order],
    )
    rank = one_hot(classes, 3).cumsum(0).gather(1, classes[:, None])[:, 0]
    train = rank <= samples
    factor = INPUT_NORM / inputs[train].norm(dim=1).max()
    return Dataset(
        "digits mod 3",
        factor * inputs[train],
        classes[train],
        factor * inputs[~train],
        classes[~train],
        ("0, 3, 6, 9", "1, 4, 7", "2, 5, 8"),
    )


def balls(
    *, radius: float, shuffled: bool, seed: int = 0, samples: int = SAMPLES, dim: int = 10
) -> Dataset:
    """Three classes, uniform in three balls around orthogonal centres (the paper's section 5).

    Up to `largest_radius` the balls are separable as Theorem 5.3 asks: for each class there is a u
    with u . x >= tau on it and < -tau on the others. Inputs are scaled by 4 afterwards.

    Args:
        radius: of each ball, before scaling; the centres are 0.6 from the origin.
        shuffled: whether to permute the training labels; test labels stay.
        seed: of centres, samples and permutation.
        samples: n training samples a class; 1,000 a class are for testing.
        dim: D >= 3.
    """
    generator = torch.Generator().manual_seed(seed)
    double: dict[str, Any] = {"generator": generator, "dtype": torch.float64}
    centres = BALL_DISTANCE * torch.linalg.qr(torch.randn(dim, 3, **double))[0].T

    def draw(count: int) -> tuple[Tensor, Tensor]:
        labels = torch.arange(3).repeat_interleave(count)
        directions = torch.randn(len(labels), dim, **double)
        lengths = radius * torch.rand(len(labels), 1, **double) ** (1 / dim)
        directions = directions / directions.norm(dim=1, keepdim=True)
        return INPUT_NORM * (centres[labels] + lengths * directions), labels

    inputs, labels = draw(samples)
    if shuffled:
        labels = labels[torch.randperm(len(labels), generator=generator)]
    name = f"balls of radius {radius}" + (", shuffled labels" if shuffled else "")
    return Dataset(name, inputs, labels, *draw(1000), ("1", "2", "3"))


def largest_radius(num_classes: int = 3, distance: float = BALL_DISTANCE) -> float:
    """Radius below which balls around orthogonal centres are separable: distance / sqrt(K).

    The unit vector u that gives a centre plus and the others minus the same number gives it
    distance / sqrt(K), and no unit vector gives all of them more (this course).

    >>> round(largest_radius(), 4)
    0.3464
    """
    return distance / math.sqrt(num_classes)


def scaled(dataset: Dataset, *, seed: int = 0) -> Dataset:
    """The caller's data as this chapter's networks take them.

    Flat float64 inputs, the longest of norm 4, and as many training samples of each class as the
    smallest one has, up to 40: the bounds are for classes of equal size.

    Raises:
        ValueError: if there is no test sample, a class has fewer than ten training samples, there
            are more classes than the 16 features of the chapter's networks, or all inputs are zero.
    """
    if not len(dataset.test_labels):
        raise ValueError(f"{dataset.name} has no test samples; the claims compare test accuracies")
    counts = dataset.labels.bincount(minlength=dataset.num_classes)
    if counts.min() < LEAST:
        raise ValueError(
            f"{dataset.name} has {int(counts.min())} training samples of class "
            f"{int(counts.argmin())}; every class is cut to the size of the smallest, so give each "
            f"at least {LEAST}, or leave small ones out"
        )
    if dataset.num_classes > DIM:
        raise ValueError(
            f"{dataset.name} has {dataset.num_classes} classes; the chapter's networks have {DIM} "
            f"features and take up to {DIM}: merge some labels"
        )
    if dataset.inputs.abs().max() == 0:
        raise ValueError(f"all inputs of {dataset.name} are zero")
    chosen = dataset.take(min(SAMPLES, int(counts.min())), seed=seed)
    inputs, tests = (
        each.flatten(1).to(torch.float64) for each in (chosen.inputs, chosen.test_inputs)
    )
    factor = INPUT_NORM / inputs.norm(dim=1).max()
    return replace(chosen, inputs=factor * inputs, test_inputs=factor * tests)


# Experiments --------------------------------------------------------------------------------------


def log_times(duration: float, *, count: int = 40, first: float = 2.0) -> list[float]:
    """0, then `count` times from `first` to `duration`, evenly on a logarithmic axis, rounded."""
    later = np.geomspace(first, duration, count)
    return [0.0, *dict.fromkeys(float(round(time)) for time in later)]


def measured(
    network: Network,
    dataset: Dataset,
    *,
    weight_decay: float,
    start: Network | None = None,
    temperature: float = 0.0,
) -> dict[str, Any]:
    """One row of numbers: loss, gradient, NC1 and its bound, imbalance, the identity's errors.

    Args:
        network: what to measure.
        dataset: its data.
        weight_decay: lambda; without it there is no bound (inf) and no identity (None).
        start: the start of the run, for the column outside.
        temperature: of the run. With noise the paper's eps_S is about the free energy, and
            particles do not tell the gradient of log rho: stationarity and theorem are None.

    Returns:
        loss; readout (gradient norm of the outer weights) and stationarity (eps_S); nc1; bound on
        it; loss_only (what the bound would be without its gradient term); theorem (the same through
        the paper's bound on |E|_F); identity (largest entry of its difference) and dropped (without
        the outside term); imbalance; outside (norm of the outside parts of a_j, over that at the
        start); smallest (singular value of W) and its bounds, smallest_bound (`conditioning`) and
        smallest_free (the same without the loss); train_accuracy, test_accuracy.
    """
    features = network.features(dataset.inputs)
    fit = loss(network, dataset)
    readout, stationarity = norms(network, dataset, weight_decay=weight_decay)
    known: dict[str, Any] = {
        "weight": network.weight,
        "num_samples": len(features),
        "gamma": network.gamma,
    }
    identity = dropped = None
    if weight_decay > 0:
        split = decompose(network, dataset, weight_decay=weight_decay)
        without = features - split.collapsed - split.inside
        identity = (without - split.outside).abs().max().item()
        dropped = without.abs().max().item()
    ours = error_bound(fit, readout, weight_decay=weight_decay, **known)
    fitted = error_bound(fit, 0.0, weight_decay=1.0, **known)  # any: it divides 0
    paper = theorem_bound(fit, stationarity, weight_decay=weight_decay, **known)
    moments: dict[str, Any] = {
        "outer": network.outer,
        "num_classes": dataset.num_classes,
        "gamma": network.gamma,
    }
    beginning = outside(start or network).norm()
    return {
        "loss": fit,
        "readout": readout,
        "stationarity": None if temperature else stationarity,
        "nc1": _nc1(features, dataset),
        "bound": nc1_bound(ours, **known),
        "loss_only": nc1_bound(fitted, **known),
        "theorem": None if temperature else nc1_bound(paper, **known),
        "identity": identity,
        "dropped": dropped,
        "imbalance": imbalance(network),
        "outside": (outside(network).norm() / beginning).item() if beginning > 1e-9 else 0.0,
        "smallest": torch.linalg.svdvals(network.weight)[-1].item(),
        "smallest_bound": conditioning(fit, **moments),
        "smallest_free": conditioning(0.0, **moments),
        "train_accuracy": _accuracy(network, dataset.inputs, dataset.labels),
        "test_accuracy": _accuracy(network, dataset.test_inputs, dataset.test_labels),
    }


def trajectory(
    dataset: Dataset,
    *,
    weight_decay: float,
    seed: int,
    duration: float | None = None,
    temperature: float = 0.0,
    train_weight: bool = False,
    num_particles: int = PARTICLES,
    step: float = STEP,
    keep: list[tuple[float, Network]] | None = None,
) -> Table:
    """One run from a random start, measured at about forty times.

    Args:
        dataset: see `scaled`.
        weight_decay: lambda.
        seed: of start and noise.
        duration: of the run; six times 1/lambda if None (1/lambda of the chapter where it is 0).
        temperature: as in `flow`.
        train_weight: as in `flow`.
        num_particles: P.
        step: as in `flow`.
        keep: a list that receives (time, network).

    Returns:
        Columns time and those of `measured`.
    """
    start = random_network(dataset, num_particles=num_particles, seed=seed)
    times = log_times(duration or DURATION / (weight_decay or WEIGHT_DECAY))
    path = flow(
        start,
        dataset,
        weight_decay=weight_decay,
        times=times,
        step=step,
        temperature=temperature,
        train_weight=train_weight,
        seed=seed,
    )
    if keep is not None:
        keep.extend(zip(times, path, strict=True))
    rows = [
        {
            "time": time,
            **measured(
                each, dataset, weight_decay=weight_decay, start=start, temperature=temperature
            ),
        }
        for time, each in zip(times, path, strict=True)
    ]
    return Table.of(rows)


def symmetry(dataset: Dataset, *, seed: int, duration: float = 300.0) -> Table:
    """128 particles at the end of a run: independent, or 64 and their mirror images (`mirrored`).

    Returns:
        Columns start ("independent" or "mirrored"), weight ("fixed" or "trained"), weight_decay,
        loss, nc1, unseen (|H (I - Pi)| / |H|) and bound: of NC1 by the loss alone, `nc1_bound` for
        features in the span of the rows of W.
    """
    rows = []
    for name, decays in (("mirrored", (0.0, WEIGHT_DECAY)), ("independent", (0.0,))):
        half = name == "mirrored"
        start = random_network(dataset, num_particles=PARTICLES // (1 + half), seed=seed)
        start = mirrored(start) if half else start
        for train_weight in (False, True):
            for decay in decays:
                (end,) = flow(
                    start,
                    dataset,
                    weight_decay=decay,
                    times=[duration],
                    step=STEP if train_weight else 2 * STEP,  # at twice, a W that moves shakes
                    train_weight=train_weight,
                )
                row = measured(end, dataset, weight_decay=decay)
                features = end.features(dataset.inputs)
                unseen = features - features @ end.weight.T @ _dual(end.weight)
                rows.append(
                    {
                        "start": name,
                        "weight": "trained" if train_weight else "fixed",
                        "weight_decay": decay,
                        "loss": row["loss"],
                        "nc1": row["nc1"],
                        "unseen": (unseen.norm() / features.norm()).item(),
                        "bound": row["loss_only"],
                    }
                )
    return Table.of(rows)


def free_energy(dataset: Dataset, *, seed: int, num_particles: int = 256) -> Table:
    """|E|_F and its bound by the gradient of the free energy, in a noisy run (this course).

    W fixed, gamma = 1, weight decay 8e-3, temperature a fifth of it. The start is *not* symmetric:
    normal, with the mean of all u at a point and that of all a at a point that W does not see. Then
    at each time the law of the outside part of a is known, normal with mean e^(-lambda t) times
    that of the start and variance v, independent of the rest. So is the gradient of the free energy
    there, lambda a + temperature * grad log rho.

    Returns:
        Columns time, loss, nc1, error (|E|_F), error_bound (its bound), error_free (the same
        without the gradient), bound (on NC1), and noiseless: that with the gradient of loss and
        penalty in place of that of the free energy. Bounds hold for infinitely many particles; for
        P of them the root mean square of a mean of P independent terms is added.
    """
    decay, ratio = 2 * WEIGHT_DECAY, 0.2
    count = dataset.num_classes
    dim = max(DIM, count + 3)
    start = random_network(dataset, num_particles=num_particles, dim=dim, gamma=1.0, seed=seed)
    generator = torch.Generator().manual_seed(seed + 1000)
    double: dict[str, Any] = {"generator": generator, "dtype": torch.float64}
    away = torch.randn(dim, **double)
    away = away - start.weight.T @ (start.weight @ away)
    mean = 4 * away / away.norm()
    place = torch.randn(dataset.inputs.shape[1], **double)
    begin = replace(start, outer=start.outer + mean, inner=start.inner + place)
    times = [0.0, 12.5, 25.0, 50.0, 75.0, 100.0, 150.0, 225.0, 300.0, 375.0]
    path = flow(
        begin,
        dataset,
        weight_decay=decay,
        times=times,
        step=0.1,
        temperature=ratio * decay,
        seed=seed,
    )
    rows = []
    for time, network in zip(times, path, strict=True):
        row = measured(network, dataset, weight_decay=decay, temperature=ratio * decay)
        left = math.exp(-decay * time)
        variance = left**2 + ratio * (1 - left**2)
        # Over decay: the gradient's mean, and its deviations from that, which have this variance.
        noise = (dim - count) * (1 - ratio / variance) ** 2 * variance
        gradient_norm = math.sqrt(left**2 * mean.square().sum().item() + noise)
        sampling = ratio * math.sqrt((dim - count) / (variance * num_particles))
        known: dict[str, Any] = {
            "weight": network.weight,
            "num_samples": len(dataset.labels),
            "gamma": 1.0,
        }
        whole, free = (
            error_bound(row["loss"], norm, weight_decay=1.0, **known)
            for norm in (gradient_norm + sampling, sampling)
        )
        rows.append(
            {
                "time": time,
                "loss": row["loss"],
                "nc1": row["nc1"],
                "error": decompose(network, dataset, weight_decay=decay).error,
                "error_bound": whole,
                "error_free": free,
                "bound": nc1_bound(whole, **known),
                "noiseless": row["bound"],
            }
        )
    return Table.of(rows)


def lazy(dataset: Dataset, *, seed: int, gammas: Sequence[float] = (1.0, 4.0, 16.0)) -> Table:
    """Why the loss gets small: particles that stay near the start, the nearer the larger gamma.

    W fixed, no weight decay, no noise, 512 particles, ten samples a class, to time 160 / gamma^2.

    Returns:
        Columns gamma; moved (root mean square distance of particles from their start); start,
        least (eigenvalues: the least one of the kernel at the start, and over the run); loss_start,
        loss, loss_bound (loss_start times e^(-2 gamma^2 least t / N), this course) and
        loss_greatest (the same with the greatest eigenvalue at the start).
    """
    few = dataset.take(10, seed=seed)
    rows = []
    for gamma in gammas:
        begin = random_network(few, num_particles=512, gamma=gamma, seed=seed)
        times = [time / gamma**2 for time in (0, 5, 10, 20, 40, 80, 160)]
        path = flow(begin, few, weight_decay=0.0, times=times, step=0.1 / gamma**2)
        values = []
        for network in path:
            activations = network.activations(few.inputs)
            kernel = activations @ activations.T / len(network.outer)
            values.append(torch.linalg.eigvalsh(kernel))
        least = min(value[0].item() for value in values)
        end = path[-1]
        squares = (
            (end.outer - begin.outer).square().sum(1),
            (end.inner - begin.inner).square().sum(1),
        )
        first, pace = loss(begin, few), 2 * gamma**2 * times[-1] / len(few.labels)
        rows.append(
            {
                "gamma": gamma,
                "moved": math.sqrt(sum(each.mean().item() for each in squares)),
                "start": values[0][0].item(),
                "least": least,
                "loss_start": first,
                "loss": loss(end, few),
                "loss_bound": first * math.exp(-pace * least),
                "loss_greatest": first * math.exp(-pace * values[0][-1].item()),
            }
        )
    return Table.of(rows)


def samples(
    *, seed: int, counts: Sequence[int] = (5, 20, 80), sizes: Sequence[int] = (64, 256)
) -> Table:
    """Two-stage training of section 5 on separable and on overlapping balls.

    Stage 1 with W fixed to time 600, stage 2 with W trained to time 1,000; gamma = 1, noise of
    temperature lambda/10, tanh in place of the paper's sigmoid, outer weights not truncated.

    Returns:
        Columns data, samples (a class), particles, loss, test_loss, test_accuracy, nc1, and moment:
        E|a|^2 at the end of stage 1.
    """
    rows = []
    for name in ("separable", "overlapping"):
        for count in counts:
            dataset = balls(seed=seed, samples=count, **BALLS[name])  # type: ignore[arg-type]
            tests = replace(dataset, inputs=dataset.test_inputs, labels=dataset.test_labels)
            for size in sizes:
                begin = random_network(dataset, num_particles=size, gamma=1.0, seed=seed)
                noise: dict[str, Any] = {"temperature": 0.1 * BALL_WEIGHT_DECAY, "step": 0.1}
                decay = BALL_WEIGHT_DECAY
                (middle,) = flow(
                    begin, dataset, weight_decay=decay, times=[600], seed=seed, **noise
                )
                (end,) = flow(
                    middle,
                    dataset,
                    weight_decay=decay,
                    times=[400],
                    train_weight=True,
                    seed=seed + 1,
                    **noise,
                )
                rows.append(
                    {
                        "data": name,
                        "samples": count,
                        "particles": size,
                        "loss": loss(end, dataset),
                        "test_loss": loss(end, tests),
                        "test_accuracy": _accuracy(end, tests.inputs, tests.labels),
                        "nc1": _nc1(end.features(dataset.inputs), dataset),
                        "moment": middle.outer.square().sum(1).mean().item(),
                    }
                )
    return Table.of(rows)


def generalisation(*, seed: int) -> Table:
    """Three data sets of the same size: what training ends at on each of `BALLS`.

    Returns:
        Columns data, loss, nc1_start, nc1, train_accuracy, test_accuracy.
    """
    rows = []
    for name, options in BALLS.items():
        run = trajectory(
            balls(seed=seed, **options),  # type: ignore[arg-type]
            weight_decay=BALL_WEIGHT_DECAY,
            seed=seed,
            num_particles=64,
            step=0.1,
        )
        end = {key: run.last[key] for key in ("loss", "nc1", "train_accuracy", "test_accuracy")}
        rows.append({"data": name, "nc1_start": run["nc1"][0], **end})
    return Table.of(rows)


def landscape(
    dataset: Dataset, *, seed: int, weight_decays: Sequence[float] = (1e-3, 1e-4)
) -> Table:
    """Stationary networks over weight decays, on ten samples a class of `dataset`.

    Returns:
        Columns weight_decay, loss, stationarity (eps_S), nc1, bound, theorem, and early: NC1 of the
        same start after time 20 of the flow, far from stationary.
    """
    few = dataset.take(10, seed=seed)
    columns = ("loss", "stationarity", "nc1", "bound", "theorem")
    rows = []
    for weight_decay in weight_decays:
        found = stationary(few, weight_decay=weight_decay, seed=seed)
        row = measured(found, few, weight_decay=weight_decay)
        start = random_network(
            few, num_particles=len(found.outer), dim=found.outer.shape[1], gamma=1.0, seed=seed
        )
        (early,) = flow(start, few, weight_decay=weight_decay, times=[20], step=0.1)
        kept = {name: row[name] for name in columns}
        spread = _nc1(early.features(few.inputs), few)
        rows.append({"weight_decay": weight_decay, **kept, "early": spread})
    return Table.of(rows)


def floor(dataset: Dataset, *, seed: int, sizes: Sequence[int] = (128, 512, 2048)) -> Table:
    """Without weight decay: NC1 at nearly zero loss over the number of particles, W fixed.

    Returns:
        Columns particles, loss, nc1, predicted (`frozen_nc1`).
    """
    rows = []
    for size in sizes:
        start = random_network(dataset, num_particles=size, seed=seed)
        (end,) = flow(start, dataset, weight_decay=0.0, times=[200])
        row = measured(end, dataset, weight_decay=0.0)
        predicted = frozen_nc1(end, dataset)
        kept = {name: row[name] for name in ("loss", "nc1")}
        rows.append({"particles": size, **kept, "predicted": predicted})
    return Table.of(rows)


def entropic(dataset: Dataset, *, seed: int) -> Table:
    """The noisy flow, temperature a fifth of the weight decay, 256 particles, W fixed or trained.

    Returns:
        Columns run ("W fixed", "W trained", "W trained, no noise"), loss, nc1_start, nc1,
        imbalance, variance (mean over the d - K outside directions of E[a a^T]) and predicted: what
        Lemma 4.5 of the paper says of it, temperature / weight decay.
    """
    rows = []
    for name, ratio, train_weight in (
        ("W fixed", 0.2, False),
        ("W trained", 0.2, True),
        ("W trained, no noise", 0.0, True),
    ):
        path: list[tuple[float, Network]] = []
        run = trajectory(
            dataset,
            weight_decay=WEIGHT_DECAY,
            seed=seed,
            temperature=ratio * WEIGHT_DECAY,
            train_weight=train_weight,
            num_particles=256,
            keep=path,
        )
        end = path[-1][1]
        size = end.outer.shape[1] - dataset.num_classes
        variance = over(outside(end).square().sum().item() / len(end.outer), size)
        kept = {key: run.last[key] for key in ("loss", "nc1", "imbalance")}
        start = {"nc1_start": run["nc1"][0]}
        rows.append({"run": name, **start, **kept, "variance": variance, "predicted": ratio})
    return Table.of(rows)


SIZES = (32, 128, 512, 2048)
REFERENCE = 16384


def convergence(dataset: Dataset, *, seed: int, starts: int = 8) -> tuple[Table, Table]:
    """How far the features of P particles are from those of three runs with 16,384, on average.

    d = 4, or K if that is more; gamma = 1, step 0.1, weight decay 4e-3; all runs share W. From
    time 10 to time 50: at the start the limit is H = 0, where there is no NC1.

    Returns:
        The table with columns particles, start, features (mean over time of |H - H_ref|_F /
        |H_ref|_F), standing (the same with H_ref always at time 10) and nc1 (largest difference
        over time); and one of the reference: time, loss, nc1.
    """
    times = [float(time) for time in range(10, 51, 4)]
    dim = max(4, dataset.num_classes)
    shared = random_network(dataset, num_particles=1, dim=dim, gamma=1.0, seed=seed).weight

    def path(size: int, number: int) -> list[Tensor]:
        begin = random_network(
            dataset, num_particles=size, dim=dim, gamma=1.0, seed=1000 * seed + number
        )
        run = flow(
            replace(begin, weight=shared),
            dataset,
            weight_decay=WEIGHT_DECAY,
            times=times,
            step=0.1,
        )
        return [network.features(dataset.inputs) for network in run]

    references = [path(REFERENCE, 900 + number) for number in range(3)]
    limit = [torch.stack(each).mean(0) for each in zip(*references, strict=True)]
    collapse = [_nc1(each, dataset) for each in limit]
    rows = []
    for size in SIZES:
        for number in range(starts):
            found = path(size, number)
            pairs = list(zip(found, limit, strict=True))
            apart = [((one - other).norm() / other.norm()).item() for one, other in pairs]
            first = limit[0]
            still = [((one - first).norm() / first.norm()).item() for one in found]
            off = [
                abs(_nc1(one, dataset) - value) for one, value in zip(found, collapse, strict=True)
            ]
            means = {"features": float(np.mean(apart)), "standing": float(np.mean(still))}
            rows.append({"particles": size, "start": number, **means, "nc1": max(off)})
    targets = _targets(dataset)
    fits = [(each @ shared.T - targets).square().sum().item() / 2 / len(targets) for each in limit]
    return Table.of(rows), Table({"time": times, "loss": fits, "nc1": collapse})


def _judge(tables: Mapping[str, Table], scale: str, card: DataCard) -> tuple[Claim, ...]:
    made = claims(tables)
    return made + claims_of_long_runs(tables) if scale == "workstation" else made


@declared(
    scales={
        "laptop": "about a minute on one core",
        "workstation": "in addition the runs that the notebook shows as recorded, five minutes",
    },
    refused={
        "paper": "of the paper's runs the networks (MNIST mod 3 with 6,272 particles and 16 "
        "features; CIFAR-100 superclasses with 16,384 and 64), SGD with batch 64 and all weight "
        "decays 1e-4 are known, but the activation and the number of epochs are unknown here"
    },
    data=lambda scale, seed: digits_mod_3(seed=seed),
    needs={"classes": 2, "training samples": LEAST},
    prepare=lambda dataset, seed: scaled(dataset, seed=seed),
    resumable=False,
    judge=_judge,
)
def experiment(dataset: Dataset, asked: Asked) -> dict[str, Table]:
    """Collapse without balance, its controls, and what it says about test samples: one seed.

    The caller's own data are prepared by `scaled`.

    Returns:
        An `Outcome` with the tables of `RUNS`, "mirrored", "free energy", "lazy", "too much decay",
        "data" and "landscape"; at "workstation" also "small decay", "floor", "entropic",
        "particles", "limit", "samples".
    """
    tables = {
        name: trajectory(dataset, seed=asked.seed, **options)  # type: ignore[arg-type]
        for name, options in RUNS.items()
    }
    tables["mirrored"] = symmetry(dataset, seed=asked.seed)
    tables["free energy"] = free_energy(dataset, seed=asked.seed)
    tables["lazy"] = lazy(dataset, seed=asked.seed)
    tables["too much decay"] = trajectory(dataset, seed=asked.seed, **TOO_MUCH)
    tables["data"] = generalisation(seed=asked.seed)
    tables["landscape"] = landscape(dataset, seed=asked.seed)
    return tables | long_runs(dataset, seed=asked.seed) if asked.scale == "workstation" else tables


def long_runs(dataset: Dataset, *, seed: int) -> dict[str, Table]:
    """What takes minutes: a smaller weight decay, noise, and many particles."""
    particles, limit = convergence(dataset, seed=seed)
    return {
        "small decay": trajectory(dataset, weight_decay=1e-3, seed=seed),
        "floor": floor(dataset, seed=seed),
        "entropic": entropic(dataset, seed=seed),
        "particles": particles,
        "limit": limit,
        "samples": samples(seed=seed),
    }


# Claims -------------------------------------------------------------------------------------------


def claims(tables: Mapping[str, Table]) -> tuple[Claim, ...]:
    """What the tables of `experiment` assert; a pure function, so that false runs can be tried."""
    fixed, free, trained = (tables[name].rows() for name in RUNS)
    end, loose, moved = fixed[-1], free[-1], trained[-1]
    tail = loose["time"] / 5  # from 300 on
    late = [row["nc1"] for row in free if row["time"] >= tail]
    during = next(row["nc1"] for row in fixed if row["time"] >= tail)
    said = [row for row in fixed + trained if math.isfinite(row["bound"])]
    broken = sum(row["nc1"] > row["bound"] for row in said)
    wrong = sum(row["nc1"] > row["loss_only"] for row in fixed)
    # Both are 1 at the start, or 0 where W has as many rows as columns: nothing is outside then.
    decay = max(
        abs(row["outside"] / math.exp(-WEIGHT_DECAY * row["time"]) - fixed[0]["outside"])
        for row in fixed
    )
    frozen = max(abs(row["outside"] - free[0]["outside"]) for row in free)
    strong, weak = tables["landscape"].rows()
    early = over(strong["early"], weak["early"])
    pairs, alone = (
        [row for row in tables["mirrored"].rows() if row["start"] == start]
        for start in ("mirrored", "independent")
    )
    rest = [row for row in pairs if row["weight_decay"] == 0]
    pulled = [row for row in pairs if row["weight_decay"] > 0]
    noisy, lazy_runs = tables["free energy"].rows(), tables["lazy"].rows()
    near, far = lazy_runs[-1], lazy_runs[0]
    heavy = tables["too much decay"].rows()
    ends = {row["data"]: row for row in tables["data"].rows()}
    apart, mixed, noise = (ends[name] for name in BALLS)
    return (
        Claim.of(
            "128 random particles, W fixed, weight decay 4e-3: NC1 falls at least {0}-fold, to "
            "{1:e} or less; without weight decay, nothing else changed, less than {2}-fold",
            {
                "NC1 falls by the factor": at_least(100, over(fixed[0]["nc1"], end["nc1"])),
                "NC1 at the end": at_most(1e-2, end["nc1"]),
            },
            "This course, measured",
            {"factor without weight decay": below(10, over(free[0]["nc1"], loose["nc1"]))},
        ),
        Claim.of(
            "Without weight decay those 128 fit (loss at most {0:e}, training accuracy {4}) and "
            "NC1 stands still at {1} or more: it changes by less than {2:+%} from time 300 on, "
            "where with weight decay it still falls more than {3}-fold",
            {
                "loss": at_most(1e-6, loose["loss"]),
                "least NC1": at_least(0.1, min(late)),
                "greatest over least": below(1.01, over(max(late), min(late))),
            },
            COURSE,
            {"fall with weight decay": above(2, over(during, end["nc1"]))},
            also={"training accuracy": equal(1, loose["train_accuracy"])},
        ),
        Claim.of(
            "H is the collapsed part plus the two terms of the identity, within {0:e}, at all "
            "measured times with W fixed and trained; without the outside term it is off by {1}",
            {
                "largest entry of the difference": proved(
                    at_most(1e-10, max(row["identity"] for row in fixed + trained))
                )
            },
            f"{COURSE}; sharpens Theorem 4.2 of {WU}",
            {"without the outside term": at_least(0.1, max(row["dropped"] for row in fixed))},
        ),
        Claim.of(
            "NC1 is below the bound wherever the bound is finite, W fixed and trained, and the "
            "bound ends below {1} with W fixed; without its gradient term it is violated",
            {
                "violations": proved(equal(0, broken)),
                "times with a bound": len(said),
                "bound at the end": below(0.5, end["bound"]),
            },
            COURSE,
            {"violations without the gradient term": above(0, wrong)},
        ),
        Claim.of(
            "Collapse without balance: with W fixed NC1 ends at {1:e} or less and the normalised "
            "imbalance at {0} or more; with W trained, nothing else changed, NC1 ends at {3:e} or "
            "less as well, and the imbalance at {2} or less",
            {
                "imbalance, W fixed": at_least(0.3, end["imbalance"]),
                "NC1": at_most(1e-2, end["nc1"]),
            },
            f"{WU} (W fixed); W trained: this course, measured",
            {
                "imbalance, W trained": at_most(0.01, moved["imbalance"]),
                "NC1, W trained": at_most(1e-2, moved["nc1"]),
            },
        ),
        Claim.of(
            "With W fixed the part of the outer weights that W does not see decays as e^(−λt), "
            "within {0:%}; without weight decay it is unchanged to {1:e}",
            {"largest relative difference": proved(at_most(0.01, decay))},
            COURSE,
            {"change without weight decay": proved(at_most(1e-8, frozen))},
            also={"e^(−λt) at the end": proved(below(0.01, math.exp(-WEIGHT_DECAY * end["time"])))},
        ),
        Claim.of(
            "At stationary points, with λ a tenth, the loss is at most {1:words}, and so is NC1, "
            "which stays below its bound, and that below {4:e}; after time 20 of the flow the two "
            "λ are less than {0}-fold apart",
            {
                "loss falls": over(strong["loss"], weak["loss"]),
                "NC1 falls": over(strong["nc1"], weak["nc1"]),
                "bound, 1e-3": strong["bound"],
            },
            f"This course, measured; beside Theorem 4.2 of {WU}",
            {"NC1 falls, at time 20": below(2, early)},
            also={
                "loss": at_most(1 / 30, over(weak["loss"], strong["loss"])),
                "NC1": at_most(1 / 30, over(weak["nc1"], strong["nc1"])),
                "NC1 and its bound": proved(
                    every(
                        at_most(row["bound"], row["nc1"], measured=True) for row in (strong, weak)
                    )
                ),
                "bounds": every(at_most(1e-3, row["bound"]) for row in (strong, weak)),
                "NC1 rises, at time 20": above(1 / 2, early),
            },
        ),
        Claim.of(
            "Training features collapse on separable and on overlapping balls (NC1 at most {1:e}, "
            "training accuracy {3}), and test accuracy is at least {0} on the former and at least "
            "{5} lower on the latter",
            {
                "test accuracy, separable": at_least(0.95, apart["test_accuracy"], natural="rate"),
                "NC1": at_most(1e-2, apart["nc1"]),
            },
            f"{WU} (Theorem 5.3 assumes separable data); the comparison: this course",
            {
                "test accuracy, overlapping": mixed["test_accuracy"],
                "NC1": at_most(1e-2, mixed["nc1"]),
            },
            also={
                "training accuracy, separable": equal(1, apart["train_accuracy"]),
                "training accuracy, overlapping": equal(1, mixed["train_accuracy"]),
                "lower": at_least(0.3, apart["test_accuracy"] - mixed["test_accuracy"]),
            },
            data=SYNTHETIC,
            fixed_data=True,
        ),
        Claim.of(
            "With shuffled labels NC1 falls at least {0}-fold too, to {2} or less, and training "
            "accuracy is {3}; test accuracy is at most {4} above chance, 1/3, against {1} or more "
            "with true labels",
            {
                "NC1 falls": at_least(20, over(noise["nc1_start"], noise["nc1"])),
                "accuracy": noise["test_accuracy"],
            },
            "This course, measured",
            {"test accuracy, true labels": at_least(0.95, apart["test_accuracy"], natural="rate")},
            also={
                "NC1 at the end": at_most(0.05, noise["nc1"]),
                "training accuracy": equal(1, noise["train_accuracy"]),
                "above chance": at_most(0.16, noise["test_accuracy"] - 1 / 3),
            },
            data=SYNTHETIC,
            fixed_data=True,
        ),
        Claim.of(
            "64 particles and their mirror images: what W does not see is at most {0:%} of H, with "
            "weight decay and without, W fixed or trained; without weight decay NC1 ends at {1:e} "
            "or less, below the bound by the loss alone, and with weight decay at least {6}-fold "
            "higher; 128 independent particles without weight decay end at {3} or more",
            {
                # Zero but for rounding, which grows where the symmetric flow is unstable.
                "largest share of H not seen": at_most(0.01, max(row["unseen"] for row in pairs)),
                "largest NC1 without weight decay": at_most(2e-3, max(row["nc1"] for row in rest)),
                "least NC1 with weight decay": min(row["nc1"] for row in pulled),
            },
            COURSE,
            {
                "share of H not seen, independent": above(0.1, min(r["unseen"] for r in alone)),
                "least NC1, independent": at_least(0.1, min(row["nc1"] for row in alone)),
            },
            also={
                "NC1 and the bound by the loss": proved(
                    every(at_most(row["bound"], row["nc1"], measured=True) for row in pairs)
                ),
                "that bound broken, independent": every(
                    above(2, over(row["nc1"], row["bound"])) for row in alone
                ),
                "higher with weight decay": at_least(
                    4,
                    min(
                        over(more["nc1"], less["nc1"])
                        for more, less in zip(pulled, rest, strict=True)
                    ),
                ),
            },
        ),
        Claim.of(
            "With noise the distance of H from its collapsed part stays below the bound by loss "
            "and gradient of the free energy, and the bound on NC1 ends below {0}; without the "
            "gradient the first is exceeded at least {1}-fold, and with the gradient of the loss "
            "in its place the second is infinite at all times",
            {
                "largest share of the bound": max(
                    over(row["error"], row["error_bound"]) for row in noisy
                ),
                "bound on NC1 at the end": below(2, noisy[-1]["bound"]),
            },
            f"{COURSE}; sharpens Theorem 4.2 of {WU}",
            {
                "largest share without the gradient": at_least(
                    2, max(over(row["error"], row["error_free"]) for row in noisy)
                ),
                "times with a finite bound by the loss's gradient": equal(
                    0, sum(math.isfinite(row["noiseless"]) for row in noisy)
                ),
            },
            also={
                "distance and its bound": every(
                    at_most(row["error_bound"], row["error"], measured=True) for row in noisy
                ),
                "NC1 and its bound": every(
                    at_most(row["bound"], row["nc1"], measured=True)
                    for row in [row for row in noisy if math.isfinite(row["bound"])] or noisy[-1:]
                ),
            },
        ),
        Claim.of(
            "W trained: its least singular value stays above the bound by loss and second moments; "
            "with weight decay 0.3 it ends below {2:e}, and the bound without the loss is violated",
            {
                "violations": proved(
                    equal(
                        0,
                        sum(row["smallest"] < row["smallest_bound"] for row in trained + heavy),
                    )
                ),
                "least singular value": above(0.5, min(row["smallest"] for row in trained)),
            },
            f"{COURSE}; says what Lemma 4.3 of {WU} says",
            {
                "least singular value, weight decay 0.3": below(0.02, heavy[-1]["smallest"]),
                "violations without the loss": above(
                    0, sum(row["smallest"] < row["smallest_free"] for row in heavy)
                ),
            },
        ),
        Claim.of(
            "W fixed, no weight decay: from γ = 1 to γ = 16 particles end at least {1}-fold nearer "
            "to their start, and the least eigenvalue of the kernel keeps {2:%} of its value; the "
            "loss falls at least as fast as that eigenvalue says, and slower than the greatest one",
            {
                "runs above the bound": proved(
                    equal(0, sum(row["loss"] > row["loss_bound"] for row in lazy_runs))
                ),
                "distance over that with γ = 16": at_least(5, over(far["moved"], near["moved"])),
                "least eigenvalue over the start's": at_least(
                    0.7, over(near["least"], near["start"]), natural="rate"
                ),
            },
            f"{COURSE}; the first step of Theorem 4.8 of {WU}",
            {
                "runs above what the greatest eigenvalue says": equal(
                    len(lazy_runs), sum(row["loss"] > row["loss_greatest"] for row in lazy_runs)
                )
            },
        ),
    )


def claims_of_long_runs(tables: Mapping[str, Table]) -> tuple[Claim, ...]:
    """What the tables of `long_runs`, beside those of `experiment`, assert; a pure function."""
    slow, free = tables["small decay"].rows(), tables["W fixed, no decay"].rows()
    # On other data there may be none; then the last says so.
    said = [row for row in slow if math.isfinite(row["bound"])] or slow[-1:]
    standing = tables["floor"].rows()
    miss = max(abs(over(row["nc1"], row["predicted"]) - 1) for row in standing)
    noisy, moved, calm = tables["entropic"].rows()
    off = max(abs(row["variance"] / row["predicted"] - 1) for row in (noisy, moved))
    falls = min(over(row["nc1_start"], row["nc1"]) for row in (noisy, moved))
    runs = tables["particles"]
    slope, control = (_slope(runs, name) for name in ("features", "standing"))
    few, many = (float(np.mean(runs.where(particles=size)["nc1"])) for size in (32, 2048))
    apart, mixed = (_by_count(tables["samples"], name) for name in ("separable", "overlapping"))
    return (
        Claim.of(
            "Weight decay 1e-3: NC1 falls at least {0:,}-fold and stays below its bound, which "
            "ends below {1}; without weight decay it falls less than {2}-fold",
            {
                "NC1 falls by the factor": at_least(1000, over(slow[0]["nc1"], slow[-1]["nc1"])),
                "bound at the end": below(0.5, slow[-1]["bound"]),
            },
            "This course, measured",
            {"factor without weight decay": below(10, over(free[0]["nc1"], free[-1]["nc1"]))},
            also={
                "NC1 and its bound": proved(
                    every(at_most(row["bound"], row["nc1"], measured=True) for row in said)
                )
            },
        ),
        Claim.of(
            "Without weight decay NC1 ends within {0:%} of the formula for frozen outside parts, "
            "for 128, 512 and 2,048 particles; a floor that did not depend on their number would "
            "be wrong at least {1}-fold",
            {"largest relative difference": at_most(0.2, miss)},
            COURSE,
            {
                "NC1 with 128 particles over 2,048": at_least(
                    5, over(standing[0]["nc1"], standing[-1]["nc1"])
                )
            },
        ),
        Claim.of(
            "With noise, W fixed or trained, the variance of the outer weights outside W is "
            "temperature / weight decay, within {0:%}, and NC1 still falls at least {1}-fold; "
            "without noise the variance is less than {2:words}",
            {
                "largest relative difference": at_most(0.1, off),
                "least fall of NC1": at_least(20, falls),
            },
            f"{WU} (Lemma 4.5, at stationary points); along the flow: this course",
            {"variance without noise": below(1 / 1000, calm["variance"])},
        ),
        Claim.of(
            "With noise and W trained the imbalance stays at {0} or more; without noise, nothing "
            "else changed, it ends at {1} or less",
            {"imbalance with noise": at_least(0.05, moved["imbalance"])},
            f"{WU} (Lemma 4.5: noise keeps the layers unbalanced)",
            {"without noise": at_most(0.01, calm["imbalance"])},
        ),
        Claim.of(
            "The features of P particles approach those of 16,384 as a power of P between "
            "−{0.high} and −{0.low}; measured against one fixed moment of the limit they do not "
            "approach it (power above −{1})",
            {"power": slope},
            f"This course, measured; the limit is that of {WU}",
            {"power, against time 10": control},
            also={
                "minus the power": between(0.38, 0.62, -slope),
                "minus that against time 10": below(0.2, -control),
            },
        ),
        Claim.of(
            "NC1 over time comes within {0} of the limit's with 2,048 particles, at most {1:words} "
            "of what it is off with 32",
            {"2,048 particles, off by": at_most(0.015, many)},
            "This course, measured",
            {"32 particles, off by": few},
            also={"over that with 32": at_most(1 / 5, over(many, few))},
        ),
        Claim.of(
            "Two stages on separable balls, from 5 to 80 samples a class: test loss minus "
            "training loss falls at least {0}-fold, at 64 and at 256 particles, which are less "
            "than {4}-fold apart, and E|a|² changes less than {1}-fold; on overlapping balls the "
            "first falls less than {2}-fold and E|a|² grows at least {3}-fold",
            {
                "least fall": at_least(5, min(apart["falls"])),
                "E|a|², greatest over least": below(2, apart["spread"]),
            },
            f"{WU} (the shape of Theorem 5.3); the comparison: this course",
            {
                "greatest fall, overlapping": below(3, max(mixed["falls"])),
                "least growth of E|a|², overlapping": at_least(2, min(mixed["growths"])),
            },
            also={
                "64 and 256 particles": below(3, apart["widths"]),
                "test accuracy, separable": at_least(0.95, apart["accuracy"], natural="rate"),
                "test accuracy, overlapping": below(0.85, mixed["best"]),
            },
            data="three balls in 10 dimensions: 5 to 80 training samples a class",
            fixed_data=True,
        ),
    )


def _by_count(table: Table, data: str) -> dict[str, Any]:
    """What `samples` says of one of its data sets, over numbers of samples and particles."""
    rows = table.where(data=data).rows()
    gaps = {(r["samples"], r["particles"]): r["test_loss"] - r["loss"] for r in rows}
    moments = {(r["samples"], r["particles"]): r["moment"] for r in rows}
    counts, sizes = (sorted({r[name] for r in rows}) for name in ("samples", "particles"))
    few, many = counts[0], counts[-1]
    widths = [over(gaps[n, sizes[0]], gaps[n, sizes[-1]]) for n in counts]
    return {
        "falls": [over(gaps[few, size], gaps[many, size]) for size in sizes],
        "growths": [over(moments[many, size], moments[few, size]) for size in sizes],
        "spread": over(max(moments.values()), min(moments.values())),
        "widths": max(max(each, over(1, each)) for each in widths),
        "accuracy": min(r["test_accuracy"] for r in rows),
        "best": max(r["test_accuracy"] for r in rows),
    }


def _slope(runs: Table, column: str) -> float:
    """Slope of the line through the means of the column's logarithm over that of particles."""
    sizes = list(dict.fromkeys(runs["particles"]))
    means = [float(np.mean(runs.where(particles=size)[column])) for size in sizes]
    return float(np.polyfit(np.log(sizes), np.log(means), 1)[0])


def _nc1(features: Tensor, dataset: Dataset) -> float:
    """NC1 as the paper measures it: tr S_W / (tr S_W + tr S_B)."""
    labels, count = dataset.labels, dataset.num_classes
    return measure(features, labels, None, convention="wu", num_classes=count).nc1


def _accuracy(
    network: Network,
    inputs: Float[Tensor, "samples inputs"],
    labels: Int[Tensor, " samples"],
) -> float:
    return (network.logits(inputs).argmax(1) == labels).double().mean().item()
