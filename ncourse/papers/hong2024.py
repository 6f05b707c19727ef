"""Hong and Ling 2024: two layers collapse if the data allow it, and one can ask the data first.

"Beyond unconstrained features: neural collapse for shallow neural networks with general data". The
paper treats ReLU networks of two and three layers whose *features* are penalised, and characterises
when the global minimiser collapses. We know its statements from the abstract and from what later
papers say of it; its constants and experiments are not used here.

The mathematics below is this course's own (squared error, no bias, proofs in chapter 5) and follows
the same idea: chapter 4 says where free features would go, so ask whether a ReLU layer on the given
data can put them there. That is one linear programme per class. Rows are vectors; data `(N, d)`,
first layer `(D, d)`, features `ReLU(data first^T)` `(N, D)`, classifier `(K, D)`, and

    R = 1/(2N) ||features weight^T - onehot||^2
        + lambda_w/2 ||weight||^2 + lambda_h/2 ||features||^2.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import mean

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import linprog, minimize
from scipy.stats import binom
from torch import Tensor

from ncourse.claims import Claim
from ncourse.comparisons import at_least, at_most, equal, proved
from ncourse.data import Dataset, digits, gaussian_mixture
from ncourse.metrics import measure
from ncourse.papers import Asked, declared
from ncourse.progress import progress_bar
from ncourse.tables import Table

__all__ = [
    "Feasibility",
    "Network",
    "certificate",
    "claims",
    "collapse_feasible",
    "crossing",
    "experiment",
    "feasible_probability",
    "generalisation",
    "images",
    "look_along",
    "lower_bound",
    "mixture",
    "objective",
    "phase",
    "stuck",
    "three_digits",
    "train",
    "training",
    "wide",
    "widen",
]

NUM_CLASSES, SAMPLES = 3, 20  # K and n of every mixture in the chapter
LAMBDA_W, LAMBDA_H = 0.02, 0.02 / SAMPLES  # K c = 0.06
DIMS = (10, 16, 19, 20, 21, 22, 24, 27, 30, 33, 36, 38, 40, 42, 45, 50, 60)
SNRS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
FEW, MANY = 20, 90  # samples of each class of the images
LEAST = 8  # of each class, with which the experiment on images can be asked at all
TOLERANCE = 1e-6

HONG = "Hong and Ling 2024"
COURSE = "This course, proof in chapter 5"
MIXTURE = f"Gaussian mixtures: {NUM_CLASSES} classes of {SAMPLES} training samples"
MEASURED = "This course, measured"


# The question to the data -------------------------------------------------------------------------


@dataclass(frozen=True)
class Feasibility:
    """Which classes a ReLU unit can single out, with a proof for each answer.

    Attributes:
        status: for each class "feasible", "infeasible", or "undecided": the solver gave up, or
            neither of its proofs holds to 1e-6.
        witnesses: `(K, d)`. Row k of a feasible class is u with <u, x> = 1 on class k and <= 0 on
            all others; nan otherwise.
        obstructions: `(K, N)`. Row k of an infeasible class is c with c^T data = 0, entries that
            sum to 1 over class k and are <= 0 elsewhere; nan otherwise. No witness can exist beside
            it: c^T (data u) would be 0 and at least 1.
    """

    status: tuple[str, ...]
    witnesses: Float[Tensor, "classes dim"]
    obstructions: Float[Tensor, "classes samples"]

    @property
    def feasible(self) -> bool:
        """Whether every class has a witness: then and only then can two layers collapse."""
        return set(self.status) == {"feasible"}

    @property
    def failed(self) -> tuple[int, ...]:
        """The classes that are proved infeasible."""
        return tuple(k for k, status in enumerate(self.status) if status == "infeasible")

    def __str__(self) -> str:
        if self.feasible:
            return "two layers can collapse"
        undecided = [k for k, status in enumerate(self.status) if status == "undecided"]
        parts = [("infeasible", list(self.failed)), ("undecided", undecided)]
        words = ", ".join(f"{word}: classes {which}" for word, which in parts if which)
        return f"two layers {'cannot' if self.failed else 'may or may not'} collapse ({words})"


def collapse_feasible(features: Tensor, labels: Tensor) -> Feasibility:
    """Ask the data whether a two-layer ReLU network without bias can reach exact neural collapse.

    For each class k it looks for u with <u, x> = 1 on class k and <= 0 on all other samples. The
    linear programme is made so that it always has an answer: minimise t >= 0 subject to
    <u, x> + t = 1 on class k and <u, x> <= 0 elsewhere. Its value is 0 if there is such a u, and 1
    if not (a point with t < 1 can be divided by 1 - t); in the second case the dual solution
    is the obstruction. Both are checked before they are believed.

    Args:
        features: `(N, d)`, floating point and finite: the data, or what an earlier layer makes of
            them. Their scale does not matter; the answer is for a layer without bias, so append a
            column of ones to allow one.
        labels: `(N,)`, integers in 0..K-1, every class present; classes may differ in size.

    Raises:
        TypeError: if features are not floating point or labels not integers.
        ValueError: if shapes do not match, a value is not finite, or a class is missing.

    Source: derived here, in the spirit of Hong and Ling 2024.

    >>> data = torch.tensor([[1.0, 0.0], [1.0, 0.5], [-1.0, 1.0], [-2.0, 0.0]])
    >>> answer = collapse_feasible(data, torch.tensor([0, 0, 1, 1]))
    >>> answer.status, answer.feasible
    (('feasible', 'feasible'), True)
    >>> (data.double() @ answer.witnesses[0]).round(decimals=6)[:2].tolist()
    [1.0, 1.0]
    """
    num_classes = _check_data(features, labels)
    data = features.detach().cpu().double().numpy()
    which = labels.cpu().numpy()
    scale = np.linalg.norm(data, axis=1).mean() or 1.0
    data = data / scale
    samples, dim = data.shape
    witnesses = np.full((num_classes, dim), np.nan)
    obstructions = np.full((num_classes, samples), np.nan)
    status = []
    for k in range(num_classes):
        own = which == k
        solved = linprog(
            np.append(np.zeros(dim), 1.0),
            A_eq=np.column_stack([data[own], np.ones(own.sum())]),
            b_eq=np.ones(own.sum()),
            A_ub=np.column_stack([data[~own], np.zeros((~own).sum())]),
            b_ub=np.zeros((~own).sum()),
            bounds=[(None, None)] * dim + [(0, None)],
            method="highs",
        )
        status.append("undecided")
        if solved.status != 0:
            continue
        if solved.fun < 0.5:
            # A solver's small errors can be too large where samples are nearly dependent. If they
            # are independent, least squares finds a witness that is 0 on all other classes.
            fitted = np.linalg.lstsq(data, own.astype(float), rcond=None)[0]
            for witness in (solved.x[:-1] / (1 - solved.x[-1]), fitted):
                values = data @ witness
                if max(np.abs(values[own] - 1).max(), values[~own].max(initial=0)) <= TOLERANCE:
                    status[k], witnesses[k] = "feasible", witness / scale
                    break
        else:
            weights = np.empty(samples)
            weights[own] = solved.eqlin.marginals
            weights[~own] = np.minimum(solved.ineqlin.marginals, 0)
            if max(np.abs(weights @ data).max(), abs(weights[own].sum() - 1)) <= TOLERANCE:
                status[k], obstructions[k] = "infeasible", weights
    return Feasibility(tuple(status), torch.from_numpy(witnesses), torch.from_numpy(obstructions))


def look_along(
    features: Float[Tensor, "samples dim"], labels: Int[Tensor, " samples"], k: int
) -> Float[Tensor, "samples rest"]:
    """The data seen along class k, which becomes one point (length, 0, 0, ...).

    All differences within class k are projected out. Samples of class k land on one point on the
    first axis; a witness for class k is a half-space through the origin that has this point
    strictly inside and no sample of another class. Nothing about feasibility is lost.

    Args:
        features: `(N, d)`, float64.
        labels: `(N,)`.
        k: the class to look along.

    Returns:
        `(N, d - r)`, with r = n - 1 the rank of the differences (if n <= d).

    Raises:
        ValueError: if the point is the origin: then class k is infeasible whatever the others are.
    """
    own = features[labels == k]
    _, sizes, axes = torch.linalg.svd(own[1:] - own[0], full_matrices=True)
    rank = int((sizes > 1e-10 * own.norm()).sum())
    rest = axes[rank:]
    point = rest @ own.mean(0)
    if point.norm() <= 1e-10 * own.norm():
        raise ValueError(
            f"the affine hull of class {k} contains the origin: {len(own)} samples in "
            f"{features.shape[1]} dimensions leave no direction in which they agree"
        )
    # Householder: an orthogonal matrix whose first row is the direction of the point.
    turn, _ = torch.linalg.qr(torch.column_stack([point, torch.eye(len(point)).to(point)]))
    turn = turn * torch.sign(turn[:, 0] @ point)
    return features @ rest.T @ turn


# The floor under every loss -----------------------------------------------------------------------


@dataclass(frozen=True)
class Network:
    """A two-layer ReLU network without bias on given data, and how it did there.

    Attributes:
        first: `(D, d)`, the first layer.
        weight: `(K, D)`, the classifier.
        loss: R on the data it was made for.
        gap: R / R* - 1, at least 0 up to rounding.
        nc1: tr S_W / tr S_B of its features (the convention "jacot").
        accuracy: share of the data's samples that it classifies correctly.
    """

    first: Float[Tensor, "width dim"]
    weight: Float[Tensor, "classes width"]
    loss: float
    gap: float
    nc1: float
    accuracy: float

    def features(self, data: Float[Tensor, "samples dim"]) -> Float[Tensor, "samples width"]:
        """The features of samples `(N, d)`."""
        return (data @ self.first.T).relu()

    def correct(self, data: Float[Tensor, "samples dim"], labels: Int[Tensor, " samples"]) -> float:
        """Share of samples whose largest logit belongs to their class."""
        decided = (self.features(data) @ self.weight.T).argmax(1)
        return (decided == labels).double().mean().item()


def lower_bound(counts: Sequence[int], *, lambda_w: float, lambda_h: float) -> float:
    """R*: no features and no classifier have a smaller loss R, with or without a network.

    With c_k = N sqrt(lambda_w lambda_h / n_k) it is the mean over samples of c - c^2/2, where c is
    that of the sample's class, or 1/2 where c >= 1. For equal classes c_k is K c of chapter 4.

    Args:
        counts: n_k >= 1, the number of samples of each class.
        lambda_w: penalty on the classifier, > 0.
        lambda_h: penalty on the features, > 0.

    Raises:
        ValueError: if a count or a penalty is out of range.

    Source: derived here (chapter 5); for equal classes the value of chapter 4's MSE model.

    >>> round(lower_bound([20, 20, 20], lambda_w=0.02, lambda_h=0.001), 6)
    0.0582
    """
    shrinkage = _shrinkage(counts, lambda_w, lambda_h)
    pairs = zip(counts, shrinkage, strict=True)
    return sum(n * (c - c * c / 2) for n, c in pairs) / sum(counts)


def _shrinkage(counts: Sequence[int], lambda_w: float, lambda_h: float) -> list[float]:
    """min(c_k, 1) for each class: what the penalties take away from its logits."""
    if not counts or min(counts) < 1:
        raise ValueError(f"counts is {list(counts)}; every class needs at least one sample")
    if not (0 < lambda_w < math.inf and 0 < lambda_h < math.inf):
        raise ValueError(
            f"lambda_w is {lambda_w}, lambda_h {lambda_h}; both penalties must be positive: "
            "without them the least loss is 0 and no network attains it by collapsing"
        )
    total = sum(counts)
    return [min(1.0, total * math.sqrt(lambda_w * lambda_h / n)) for n in counts]


def objective(
    first: Float[Tensor, "width dim"],
    weight: Float[Tensor, "classes width"],
    *,
    data: Float[Tensor, "samples dim"],
    labels: Int[Tensor, " samples"],
    lambda_w: float,
    lambda_h: float,
) -> float:
    """R of a network: squared error, and penalties on classifier and *features*.

    Args:
        first: `(D, d)`, first layer.
        weight: `(K, D)`, classifier.
        data: `(N, d)`.
        labels: `(N,)`, in 0..K-1.
        lambda_w: penalty on the classifier.
        lambda_h: penalty on the features (not on the first layer).
    """
    features = (data @ first.T).relu()
    targets = torch.nn.functional.one_hot(labels, len(weight)).to(data)
    error = (features @ weight.T - targets).square().sum() / (2 * len(data))
    penalty = lambda_w / 2 * weight.square().sum() + lambda_h / 2 * features.square().sum()
    return (error + penalty).item()


def certificate(
    answer: Feasibility,
    data: Float[Tensor, "samples dim"],
    labels: Int[Tensor, " samples"],
    *,
    lambda_w: float = LAMBDA_W,
    lambda_h: float = LAMBDA_H,
) -> Network:
    """The collapsed network that the witnesses build: one unit for each class, loss R*.

    Unit k is h_k u_k with the witness u_k, the classifier is diagonal with entries w_k, where
    w_k h_k = 1 - c_k and h_k^2 = (1 - c_k) sqrt(lambda_w / (n_k lambda_h)).

    Args:
        answer: of `collapse_feasible` on the same data.
        data: `(N, d)`.
        labels: `(N,)`.
        lambda_w: penalty on the classifier, > 0.
        lambda_h: penalty on the features, > 0.

    Raises:
        ValueError: if the answer is not feasible, or c_k >= 1 for a class: then its features are
            all zero at the optimum and there is nothing to build.

    Source: derived here.
    """
    if not answer.feasible:
        raise ValueError(f"{answer}; a certificate exists only where all classes are feasible")
    counts = torch.bincount(labels).tolist()
    left = 1 - torch.tensor(_shrinkage(counts, lambda_w, lambda_h), dtype=torch.float64)
    if left.min() <= 0:
        raise ValueError(
            f"lambda_w = {lambda_w} and lambda_h = {lambda_h} make a class vanish (c_k >= 1); "
            "use smaller penalties"
        )
    sizes = torch.tensor(counts, dtype=torch.float64)
    height = (left * (lambda_w / (lambda_h * sizes)).sqrt()).sqrt()
    first = height[:, None] * answer.witnesses
    return _network(first, torch.diag(left / height), data.double(), labels, lambda_w, lambda_h)


def train(
    data: Float[Tensor, "samples dim"],
    labels: Int[Tensor, " samples"],
    *,
    width: int,
    lambda_w: float = LAMBDA_W,
    lambda_h: float = LAMBDA_H,
    starts: int = 2,
    seed: int = 0,
    max_iterations: int = 2000,
) -> Network:
    """Minimise R over both layers by L-BFGS in float64; the best of several random starts.

    Args:
        data: `(N, d)`.
        labels: `(N,)`, every class present.
        width: D, the number of units.
        lambda_w: penalty on the classifier, > 0.
        lambda_h: penalty on the features, > 0.
        starts: number of random starts.
        seed: of the starts.
        max_iterations: of L-BFGS, per start.
    """
    num_classes = _check_data(data, labels)
    inputs = data.detach().double().numpy()
    samples, dim = inputs.shape
    targets = np.eye(num_classes)[labels.numpy()]

    def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        first = flat[: width * dim].reshape(width, dim)
        weight = flat[width * dim :].reshape(num_classes, width)
        features = np.maximum(inputs @ first.T, 0)
        error = (features @ weight.T - targets) / samples
        value = (
            samples / 2 * np.square(error).sum()
            + lambda_w / 2 * np.square(weight).sum()
            + lambda_h / 2 * np.square(features).sum()
        )
        slope = (error @ weight + lambda_h * features) * (features > 0)
        downhill = (slope.T @ inputs, error.T @ features + lambda_w * weight)
        return value, np.concatenate([part.ravel() for part in downhill])

    found = []
    for start in range(starts):
        random = np.random.default_rng([seed, start])
        guess = np.concatenate(
            [
                random.standard_normal(width * dim) / math.sqrt(dim),
                random.standard_normal(num_classes * width) / math.sqrt(width),
            ]
        )
        limits = {"maxiter": max_iterations, "maxfun": 2 * max_iterations}
        options = limits | {"maxcor": 30, "ftol": 1e-15, "gtol": 1e-10}
        found.append(
            minimize(loss_and_gradient, guess, jac=True, method="L-BFGS-B", options=options)
        )
    best = torch.from_numpy(min(found, key=lambda result: result.fun).x)
    first, weight = best[: width * dim], best[width * dim :]
    return _network(
        first.reshape(width, dim),
        weight.reshape(num_classes, width),
        data.double(),
        labels,
        lambda_w,
        lambda_h,
    )


def _network(
    first: Tensor, weight: Tensor, data: Tensor, labels: Tensor, lambda_w: float, lambda_h: float
) -> Network:
    penalties = {"lambda_w": lambda_w, "lambda_h": lambda_h}
    loss = objective(first, weight, data=data, labels=labels, **penalties)
    floor = lower_bound(torch.bincount(labels).tolist(), **penalties)
    features = (data @ first.T).relu()
    nc1 = measure(features, labels, weight, convention="jacot").nc1
    network = Network(first, weight, loss, loss / floor - 1, nc1, 0.0)
    return replace(network, accuracy=network.correct(data, labels))


def widen(
    data: Float[Tensor, "samples dim"], *, width: int, seed: int
) -> Float[Tensor, "samples width"]:
    """What a frozen random ReLU layer makes of the data: the first of three layers.

    Args:
        data: `(N, d)`.
        width: D_1, the number of units.
        seed: of the layer, Gaussian, scaled by 1/sqrt(width).
    """
    generator = torch.Generator().manual_seed(seed)
    layer = torch.randn(width, data.shape[1], generator=generator, dtype=torch.float64)
    return (data.double() @ layer.T).relu() / math.sqrt(width)


# Data ---------------------------------------------------------------------------------------------


def mixture(
    *,
    dim: int,
    snr: float,
    seed: int,
    num_classes: int = NUM_CLASSES,
    samples: int = SAMPLES,
    test_samples: int = 0,
) -> Dataset:
    """K clouds at snr times orthonormal directions, noise N(0, I/d): its norm is about 1.

    The same seed gives the same directions and the same noise for every snr.

    Args:
        dim: d >= K.
        snr: length of a mean over the typical length of the noise, >= 0.
        seed: of directions and noise.
        num_classes: K.
        samples: n per class.
        test_samples: per class.
    """
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(dim, num_classes, generator=generator, dtype=torch.float64)
    directions = torch.linalg.qr(random).Q.T
    return gaussian_mixture(
        num_classes,
        dim,
        train_per_class=samples,
        test_per_class=test_samples,
        means=snr * directions,
        noise=1 / math.sqrt(dim),
        seed=seed + 1,
    )


def three_digits() -> Dataset:
    """The digits 0, 1 and 2 of `ncourse.data.digits`."""
    return digits().only([0, 1, 2])


def _check_data(features: Tensor, labels: Tensor) -> int:
    if not features.is_floating_point():
        raise TypeError(f"features are {features.dtype}; expected floating point")
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise TypeError(f"labels are {labels.dtype}; expected integers")
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise ValueError(
            f"features are {tuple(features.shape)} and labels {tuple(labels.shape)}; expected "
            "(samples, dimensions) and (samples,) — flatten images first"
        )
    if not torch.isfinite(features).all():
        raise ValueError("features contain NaN or infinity")
    counts = torch.bincount(labels) if len(labels) and labels.min() >= 0 else torch.zeros(1)
    if len(counts) < 2 or counts.min() < 1:
        raise ValueError(
            f"labels have {counts.int().tolist()} samples per class; expected labels 0..K-1 with "
            "at least two classes and no empty one"
        )
    return len(counts)


# The experiment -----------------------------------------------------------------------------------


@declared(
    scales={"laptop": "less than a minute on one core"},
    refused={
        "paper": "the data sets, widths and schedules of the paper's own experiments are unknown "
        "here"
    },
    data=lambda scale, seed: three_digits(),
    needs={"classes": 2, "training samples": LEAST, "test samples": 1},
    resumable=False,
)
def experiment(dataset: Dataset, asked: Asked) -> dict[str, Table]:
    """When two layers can collapse, on Gaussian mixtures and on images: one seed.

    The caller's own data replace the images; the mixtures stay. Small data sets make a small
    problem: see `images`.

    Returns:
        An `Outcome` with the tables "phase", "training", "stuck", "wide", "generalisation",
        "images".
    """
    seed = asked.seed
    return {
        "images": images(dataset, seed=seed),
        "phase": phase(seed=seed),
        "training": training(seed=seed),
        "stuck": stuck(seed=seed),
        "wide": wide(seed=seed),
        "generalisation": generalisation(seed=seed),
    }


def feasible_probability(dim: int, *, num_classes: int, samples: int) -> float:
    """Chance that one class has a witness when the data are pure noise (SNR 0).

    It is P(Binomial((K-1) n, 1/2) <= d - n): one half near d = n (K+1)/2, 0 for d < n and 1 from
    d = N on. Exact for independent Gaussian samples N(0, I/d), whatever their labels.

    Args:
        dim: d.
        num_classes: K.
        samples: n per class.

    Source: derived here (chapter 5) from Wendel 1962.

    >>> [feasible_probability(d, num_classes=2, samples=1) for d in (0, 1, 2)]
    [0.0, 0.5, 1.0]
    """
    return float(binom.cdf(dim - samples, (num_classes - 1) * samples, 0.5))


def phase(
    *,
    seed: int,
    draws: int = 10,
    dims: Sequence[int] = DIMS,
    snrs: Sequence[float] = SNRS,
) -> Table:
    """Linear programmes over a grid of d and SNR, and with shuffled labels at the largest SNR.

    Args:
        seed: of the mixtures.
        draws: mixtures per cell.
        dims: d, each at least K.
        snrs: signal-to-noise ratios, ascending.

    Returns:
        Columns labels ("true" or "shuffled"), snr, dim, classes (share of feasible classes),
        feasible (share of mixtures in which all classes are), undecided (number of classes).
    """
    rows = []
    kinds = [*(("true", snr) for snr in snrs), ("shuffled", snrs[-1])]
    for kind, snr in progress_bar(kinds, desc="linear programmes"):
        for dim in dims:
            answers = []
            for draw in range(draws):
                data = mixture(dim=dim, snr=snr, seed=_seed(seed, draw, dim))
                labels = _shuffle(data.labels, draw) if kind == "shuffled" else data.labels
                answers.append(collapse_feasible(data.inputs, labels))
            states = [status for answer in answers for status in answer.status]
            rows.append(
                {
                    "labels": kind,
                    "snr": snr,
                    "dim": dim,
                    "classes": states.count("feasible") / len(states),
                    "feasible": mean(answer.feasible for answer in answers),
                    "undecided": states.count("undecided"),
                }
            )
    return Table.of(rows)


def crossing(dims: Sequence[int], shares: Sequence[float]) -> float:
    """The d at which a share first reaches one half, interpolated between neighbours.

    Args:
        dims: ascending.
        shares: one for each d.

    Returns:
        d, or inf where the share stays below one half.

    >>> crossing([10, 20, 30], [0.0, 0.25, 0.75])
    25.0
    """
    before = (dims[0], 0.0)
    for dim, share in zip(dims, shares, strict=True):
        if share >= 0.5:
            step = (0.5 - before[1]) / (share - before[1])
            return before[0] + step * (dim - before[0])
        before = (dim, share)
    return math.inf


def training(
    *,
    seed: int,
    dims: Sequence[int] = (10, 16, 22, 30, 40, 80),
    widths: Sequence[int] = (8, 128),
    snr: float = 4.0,
) -> Table:
    """Mixtures of growing dimension: what the programme says, and where training ends.

    Args:
        seed: of the mixtures and starts.
        dims: d.
        widths: D.
        snr: of all mixtures.

    Returns:
        Columns dim, width, feasible, gap, nc1, accuracy (on the training data), certificate (the
        gap of the certificate network; None where there is none), residual (largest entry of
        c^T data over the failed classes' obstructions, or None).
    """
    rows = []
    for dim in progress_bar(dims, desc="dimensions"):
        data = mixture(dim=dim, snr=snr, seed=_seed(seed, 0, dim))
        answer = collapse_feasible(data.inputs, data.labels)
        built = residual = None
        if answer.feasible:
            built = certificate(answer, data.inputs, data.labels).gap
        else:
            failed = answer.obstructions[list(answer.failed)]
            residual = (failed @ data.inputs).abs().max().item()
        for width in widths:
            net = train(data.inputs, data.labels, width=width, seed=seed)
            rows.append(
                {
                    "dim": dim,
                    "width": width,
                    "feasible": answer.feasible,
                    "gap": net.gap,
                    "nc1": net.nc1,
                    "accuracy": net.accuracy,
                    "certificate": built,
                    "residual": residual,
                }
            )
    return Table.of(rows)


def stuck(*, seed: int) -> Table:
    """Feasible data (d = 80, N = 60) on which training does not find the global minimum.

    Returns:
        Columns data ("SNR 0", "SNR 4, shuffled labels", "SNR 4"), gap, nc1 and accuracy of the
        trained network (D = 32, best of 3 starts), certificate_gap, certificate_nc1.
    """
    rows = []
    cases = (("SNR 0", 0.0), ("SNR 4, shuffled labels", 4.0), ("SNR 4", 4.0))
    for name, snr in cases:
        data = mixture(dim=80, snr=snr, seed=_seed(seed, 1, 80))
        labels = _shuffle(data.labels, seed) if "shuffled" in name else data.labels
        net = train(data.inputs, labels, width=32, starts=3, seed=seed)
        built = certificate(collapse_feasible(data.inputs, labels), data.inputs, labels)
        rows.append(
            {
                "data": name,
                "gap": net.gap,
                "nc1": net.nc1,
                "accuracy": net.accuracy,
                "certificate_gap": built.gap,
                "certificate_nc1": built.nc1,
            }
        )
    return Table.of(rows)


def wide(
    *,
    seed: int,
    widths: Sequence[int] = (10, 20, 25, 30, 40, 50, 60, 80, 120),
    draws: int = 5,
) -> Table:
    """A frozen random ReLU layer before the two others: d = 10, so two layers cannot collapse.

    Args:
        seed: of mixtures and layers.
        widths: D_1.
        draws: mixtures per width.

    Returns:
        Columns snr, width, feasible (share), full_rank (share of layers whose output has rank N).
    """
    rows = []
    for snr in (4.0, 0.0):
        for width in widths:
            answers, ranks = [], []
            for draw in range(draws):
                data = mixture(dim=10, snr=snr, seed=_seed(seed, draw, 10))
                inside = widen(data.inputs, width=width, seed=_seed(seed, draw, width))
                answers.append(collapse_feasible(inside, data.labels).feasible)
                ranks.append(int(torch.linalg.matrix_rank(inside)) == len(inside))
            shares = {"feasible": mean(answers), "full_rank": mean(ranks)}
            rows.append({"snr": snr, "width": width, **shares})
    return Table.of(rows)


def generalisation(
    *, seed: int, snrs: Sequence[float] = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0), tests: int = 500
) -> Table:
    """Collapse at every SNR, and what it is worth on new samples: d = 80, N = 60.

    Args:
        seed: of mixtures and starts.
        snrs: signal-to-noise ratios.
        tests: test samples per class.

    Returns:
        Columns snr, gap, nc1 and accuracy (of new samples) of the certificate network;
        trained_nc1, trained_gap and trained_accuracy of a trained one (D = 32).
    """
    rows = []
    for snr in snrs:
        data = mixture(dim=80, snr=snr, seed=_seed(seed, 2, 80), test_samples=tests)
        new = (data.test_inputs, data.test_labels)
        answer = collapse_feasible(data.inputs, data.labels)
        built = certificate(answer, data.inputs, data.labels)
        net = train(data.inputs, data.labels, width=32, seed=seed)
        rows.append(
            {
                "snr": snr,
                "gap": built.gap,
                "nc1": built.nc1,
                "accuracy": built.correct(*new),
                "trained_nc1": net.nc1,
                "trained_gap": net.gap,
                "trained_accuracy": net.correct(*new),
            }
        )
    return Table.of(rows)


def images(dataset: Dataset, *, seed: int, few: int = FEW, many: int = MANY) -> Table:
    """Two and three layers on a real data set; the first of three is frozen, of width 2N.

    Args:
        dataset: to train on, with test samples.
        seed: of the choice of samples, the frozen layer and the starts.
        few: samples per class for the first row; at most half of `many`.
        many: for the others; at most as many as the smallest class has.

    Returns:
        Columns samples (per class), layers, labels ("true" or "shuffled"), feasible, gap, nc1,
        accuracy (training) and test_accuracy of the trained network (D = 16, or K if that is more,
        best of 2 starts; None for shuffled labels, where training sticks), certificate_gap,
        certificate_nc1, certificate_test_accuracy (None where infeasible).

    Raises:
        ValueError: if a class has fewer than 8 training samples, or there are so many classes that
            the penalties leave nothing of the features.
    """
    least = int(torch.bincount(dataset.labels, minlength=dataset.num_classes).min())
    if least < LEAST:
        raise ValueError(
            f"{dataset.name} has a class with {least} training samples; {LEAST} of each are needed"
        )
    many = min(many, least)
    few = min(few, many // 2)
    if dataset.num_classes * LAMBDA_W >= 1:
        raise ValueError(
            f"{dataset.name} has {dataset.num_classes} classes; from {math.ceil(1 / LAMBDA_W)} on "
            "the features are all zero at the optimum with this chapter's penalties"
        )
    rows = []
    kinds = ((few, 2, "true"), (many, 2, "true"), (many, 3, "true"), (many, 3, "shuffled"))
    for samples, layers, kind in progress_bar(kinds, desc="images"):
        chosen = dataset.take(samples, seed=seed)
        inputs, tests = (x.flatten(1).double() for x in (chosen.inputs, chosen.test_inputs))
        scale = inputs.norm(dim=1).mean() / 4  # as long as a mixture at SNR 4; speeds up training
        inputs, tests = inputs / scale, tests / scale
        labels = _shuffle(chosen.labels, seed) if kind == "shuffled" else chosen.labels
        if layers == 3:
            inside = {"width": 2 * len(inputs), "seed": _seed(seed, 3, samples)}
            inputs, tests = widen(inputs, **inside), widen(tests, **inside)
        penalties = {"lambda_w": LAMBDA_W, "lambda_h": LAMBDA_W / samples}
        new = (tests, chosen.test_labels)
        net = exact = None
        if kind == "true":
            width = max(16, dataset.num_classes)
            net = train(inputs, labels, width=width, seed=seed, **penalties)
        answer = collapse_feasible(inputs, labels)
        if answer.feasible:
            exact = certificate(answer, inputs, labels, **penalties)
        rows.append(
            {
                "samples": samples,
                "layers": layers,
                "labels": kind,
                "feasible": answer.feasible,
                "gap": net and net.gap,
                "nc1": net and net.nc1,
                "accuracy": net and net.accuracy,
                "test_accuracy": net and net.correct(*new),
                "certificate_gap": exact and exact.gap,
                "certificate_nc1": exact and exact.nc1,
                "certificate_test_accuracy": exact and exact.correct(*new),
            }
        )
    return Table.of(rows)


def _seed(seed: int, draw: int, size: int) -> int:
    """One number for each seed, draw and size; no two experiments share their noise."""
    return 1_000_000 * seed + 1000 * draw + size


def _shuffle(labels: Tensor, seed: int) -> Tensor:
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]


def claims(tables: Mapping[str, Table]) -> tuple[Claim, ...]:
    """What the tables of `experiment` assert; a pure function, so that false runs can be tried."""
    return (*_claims_of_programmes(tables), *_claims_of_training(tables))


def _claims_of_programmes(tables: Mapping[str, Table]) -> tuple[Claim, ...]:
    """Claims about the linear programmes alone: nothing is trained."""
    cells = tables["phase"].rows()
    total = NUM_CLASSES * SAMPLES
    few = max(cell["feasible"] for cell in cells if cell["dim"] < SAMPLES)
    many = min(cell["feasible"] for cell in cells if cell["dim"] >= total)
    true = tables["phase"].where(labels="true")
    snrs = sorted(set(true["snr"]))
    least, greatest = (true.where(dim=30, snr=snr)["feasible"][0] for snr in (snrs[0], snrs[-1]))
    noise = true.where(snr=0).rows()
    sizes = {"num_classes": NUM_CLASSES, "samples": SAMPLES}
    off = max(abs(c["classes"] - feasible_probability(c["dim"], **sizes)) for c in noise)
    # The classical count without the n equations: N half-spaces in d dimensions.
    naive = max(abs(c["classes"] - float(binom.cdf(c["dim"] - 1, total - 1, 0.5))) for c in noise)
    lines = [_crossing(true.where(snr=snr)) for snr in snrs]
    rise = max(later - earlier for earlier, later in pairwise(lines))
    shuffled = _crossing(tables["phase"].where(labels="shuffled"))
    layers = tables["wide"].rows()
    widest = min(row["feasible"] for row in layers if row["width"] >= 2 * total)
    fewer = max(row["feasible"] for row in layers if row["width"] < total)
    narrow = max(row["feasible"] for row in layers if row["width"] <= SAMPLES)
    return (
        Claim.of(
            "With d < n no mixture can collapse in two layers, with d >= N every one can; in "
            "between (d = 30) none at SNR 0 and every one at SNR 8",
            {
                "greatest share, d < n": proved(equal(0, few)),
                "least share, d >= N": proved(equal(1, many)),
            },
            f"{COURSE}; in between: measured",
            {
                f"share at d = 30, SNR {snrs[0]:g}": equal(0, least),
                f"share at d = 30, SNR {snrs[-1]:g}": equal(1, greatest),
            },
            data=MIXTURE,
            fixed_data=True,
        ),
        Claim.of(
            "At SNR 0 the share of feasible classes follows P(Binomial((K-1)n, 1/2) <= d-n) within "
            "{0} at every d (30 classes each); the count without the n equations is off by {1} or "
            "more",
            {"largest difference": at_most(0.25, off)},
            f"{COURSE}, from Wendel 1962",
            {"without the equations": at_least(0.5, naive)},
            data=MIXTURE,
            fixed_data=True,
        ),
        Claim.of(
            "The d at which half of the mixtures can collapse falls with the SNR, by {1} or more "
            "from SNR 0 to 8, and rises by at most {0} from one SNR to the next; with shuffled "
            "labels at SNR 8 it is {2} or more higher",
            {
                "at SNR 0": lines[0],
                "at SNR 8": lines[-1],
                "largest rise": at_most(1, rise),
            },
            f"{HONG} (the condition depends on dimension, sample size and SNR); measured here",
            {"at SNR 8, shuffled labels": shuffled},
            also={
                "fall from SNR 0 to 8": at_least(15, lines[0] - lines[-1]),
                "higher with shuffled labels": at_least(5, shuffled - lines[-1]),
            },
            data=MIXTURE,
            fixed_data=True,
        ),
        Claim.of(
            "d = 10, three layers: behind a frozen random layer of width 2N every mixture can "
            "collapse, at SNR 4 and at 0, and {1:words} of them at some width below N; with width "
            "n or less none can",
            {
                "share, width 2N": equal(1, widest),
                "greatest share below N": at_least(1 / 2, fewer),
            },
            f"{HONG} (three layers: a wide first layer is enough); which width: this course",
            {"greatest share, width up to n": equal(0, narrow)},
            data=MIXTURE,
            fixed_data=True,
        ),
    )


def _crossing(cells: Table) -> float:
    return crossing(cells["dim"], cells["feasible"])


def _claims_of_training(tables: Mapping[str, Table]) -> tuple[Claim, ...]:
    """Claims about networks: trained ones, and those that the witnesses build."""
    nets = tables["training"].rows()
    yes = [net for net in nets if net["feasible"] and net["dim"] != 22]
    no = [net for net in nets if not net["feasible"] and net["dim"] < SAMPLES]
    built = max(abs(net["certificate"]) for net in nets if net["feasible"])
    sizes = {"lambda_w": LAMBDA_W, "lambda_h": LAMBDA_H}
    floor = lower_bound([SAMPLES] * NUM_CLASSES, **sizes)
    shrinkage = NUM_CLASSES * math.sqrt(SAMPLES * LAMBDA_W * LAMBDA_H)
    wrong_floor = min(
        floor * (1 + net["certificate"]) / shrinkage - 1 for net in nets if net["feasible"]
    )
    gap = {(net["dim"], net["width"]): net["gap"] for net in nets}
    ratios = [gap[dim, 128] / gap[dim, 8] for dim in {net["dim"] for net in no}]
    data = min(gap[16, width] / gap[30, width] for width in (8, 128))
    ends = {row["data"]: row for row in tables["stuck"].rows()}
    free = ends.pop("SNR 4")
    few, many, three, random = tables["images"].rows()
    # On other data there may be no certificate.
    first, rest = few["samples"], many["samples"]
    shuffled, accuracy = (
        math.nan if random[name] is None else random[name]
        for name in ("certificate_nc1", "certificate_test_accuracy")
    )
    levels = {row["snr"]: row for row in tables["generalisation"].rows()}
    exact = max(row["nc1"] for row in levels.values())
    trained = [row for snr, row in levels.items() if snr >= 1]
    one = levels[1.0]
    return (
        Claim.of(
            "No trained network is below R*, and the certificate networks are on it (within "
            "{1:e}); if the square is dropped from R* they would be {2:%} or more below",
            {
                "least gap of a trained network": proved(
                    at_least(-1e-9, min(net["gap"] for net in nets))
                ),
                "largest gap of a certificate": proved(at_most(1e-9, built)),
            },
            COURSE,
            {"certificate below the wrong floor": wrong_floor},
            also={"below the wrong floor": proved(at_least(0.01, -wrong_floor))},
            data=MIXTURE,
            fixed_data=True,
        ),
        Claim.of(
            "SNR 4, every network right on all training samples: where the programme is feasible "
            "(d >= 30) training ends within {0:e} of R* with NC1 at most {1:e}; where it is not "
            "(d = 10 and 16) the gap is {2:e} or more and NC1 {3:e} or more",
            {
                "greatest gap, feasible": at_most(1e-6, max(net["gap"] for net in yes)),
                "greatest NC1, feasible": at_most(1e-6, max(net["nc1"] for net in yes)),
            },
            f"{HONG} (when the global minimiser collapses); the criterion: {COURSE}",
            {
                "least gap, infeasible": at_least(1e-3, min(net["gap"] for net in no)),
                "least NC1, infeasible": at_least(1e-4, min(net["nc1"] for net in no)),
            },
            also={"training accuracy": equal(1, min(net["accuracy"] for net in nets))},
            data=MIXTURE,
            fixed_data=True,
        ),
        Claim.of(
            "Where the programme is infeasible, 128 units in place of 8 change the gap by at most "
            "{1:+%}; 30 dimensions in place of 16 divide it by {2} or more, at either width",
            {
                "least ratio of gaps": at_least(0.9, min(ratios)),
                "greatest": at_most(1.1, max(ratios)),
            },
            f"{HONG} (two layers: the condition does not involve the width); the gaps: measured",
            {"least ratio of gaps, d = 16 over 30": at_least(1000, data)},
            data=MIXTURE,
            fixed_data=True,
        ),
        Claim.of(
            "Feasible data where training sticks: at SNR 0 and with shuffled labels the gap stays "
            "{0} or more, while the certificate has gap at most {1:e} and NC1 at most {3:e}; on "
            "SNR 4 with its own labels the same training arrives ({2:e})",
            {
                "least gap, trained": at_least(0.01, min(row["gap"] for row in ends.values())),
                "greatest gap, certificate": proved(
                    at_most(1e-9, max(row["certificate_gap"] for row in ends.values()))
                ),
            },
            f"{COURSE}; that training sticks: measured",
            {"gap, SNR 4": at_most(1e-6, free["gap"])},
            also={
                "greatest NC1, certificate": proved(
                    at_most(1e-8, max(row["certificate_nc1"] for row in ends.values()))
                )
            },
            data=MIXTURE,
            fixed_data=True,
        ),
        Claim.of(
            f"Images, two layers: with {first} samples per class feasible and NC1 at most {{0:e}}, "
            f"with {rest} infeasible and {{2}} or more; {rest} behind a wide frozen first layer: "
            "feasible, at most {1:e}; all fit their training samples",
            {
                f"NC1, {first} per class": at_most(1e-8, few["nc1"]),
                "NC1, three layers": at_most(1e-8, three["nc1"]),
            },
            f"{HONG} (three layers: a wide first layer is enough); this course",
            {f"NC1, {rest} per class, two layers": at_least(1e-2, many["nc1"])},
            also={
                f"feasible, {first} per class": equal(True, few["feasible"]),
                f"feasible, {rest} per class, two layers": equal(False, many["feasible"]),
                "feasible, three layers": equal(True, three["feasible"]),
                "training accuracy": equal(1, min(row["accuracy"] for row in (few, many, three))),
            },
        ),
        Claim.of(
            "d = 80: certificates have NC1 at most {0:e} at every SNR, and at SNR 0 a test "
            "accuracy at most {3} above chance, 1/3; trained networks at SNR 1 and above have the "
            "same NC1 and {1} or more",
            {
                "greatest NC1": proved(at_most(1e-8, exact)),
                "test accuracy, SNR 0": levels[0.0]["accuracy"],
            },
            f"{HONG} (collapse with bad generalisation at low SNR); measured here",
            {
                "least test accuracy, SNR >= 1": at_least(
                    0.99, min(row["trained_accuracy"] for row in trained), natural="rate"
                )
            },
            also={
                "greatest NC1, trained": at_most(1e-8, max(row["trained_nc1"] for row in trained)),
                "above chance": at_most(0.06, levels[0.0]["accuracy"] - 1 / NUM_CLASSES),
            },
            data=MIXTURE,
            fixed_data=True,
        ),
        Claim.of(
            "Even loss and NC1 together do not fix the test accuracy: at SNR 1 certificate and "
            "trained network both have gap at most {1:e} and NC1 at most {2:e}, and differ by "
            "{0:%} or more on new samples",
            {"test accuracy, certificate": one["accuracy"]},
            MEASURED,
            {"test accuracy, trained": one["trained_accuracy"]},
            also={
                "difference": at_least(0.05, one["trained_accuracy"] - one["accuracy"]),
                "gap, certificate": proved(at_most(1e-9, abs(one["gap"]))),
                "NC1, certificate": proved(at_most(1e-8, one["nc1"])),
                "gap, trained": at_most(1e-9, one["trained_gap"]),
                "NC1, trained": at_most(1e-8, one["trained_nc1"]),
            },
            data=MIXTURE,
            fixed_data=True,
        ),
        Claim.of(
            "Three layers, images with shuffled labels: feasible, and the certificate has NC1 at "
            "most {0:e} and test accuracy at most {1}; trained with true labels it is {2} or more",
            {
                "NC1, shuffled": at_most(1e-8, shuffled),
                "test accuracy, shuffled": at_most(0.6, accuracy),
            },
            COURSE,
            {"test accuracy, true labels": at_least(0.9, three["test_accuracy"], natural="rate")},
            also={"feasible": equal(True, random["feasible"])},
        ),
    )
