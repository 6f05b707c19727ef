"""Rankin 1955: how far apart K points on a sphere can be.

"The closest packing of spherical caps in n dimensions", Proc. Glasgow Math. Assoc. 2. For K unit
vectors in d dimensions the largest cosine is at least -1/(K-1), and exactly the regular simplex
attains it, if d >= K-1. With one vector more than fits, K > d+1, the largest cosine is at least 0.

The experiment adds what the course needs of it: that repulsion alone finds the simplex, the simplex
nearest to the class means of real data, and how far old vertices turn when it grows. These are the
course's own, with proofs in chapter 1.
"""

import math
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from torch import Tensor

from ncourse.claims import Claim
from ncourse.comparisons import above, at_least, at_most, below, every, proved
from ncourse.data import Dataset, digits
from ncourse.papers import Asked, declared
from ncourse.simplex import (
    SimplexFrame,
    cosine_matrix,
    growth_cosine,
    nearest_etf,
    rankin_bound,
    repel,
    simplex_etf,
)
from ncourse.tables import Table

__all__ = [
    "arrivals",
    "claims",
    "crowding",
    "experiment",
    "growth",
    "minimax",
    "nearest",
    "pushes",
]

RANKIN = "Rankin 1955 (simplex bound)"
COURSE = "This course, proposition with proof in chapter 1"
MEASURED = "This course, measured; that the simplex is the one minimum is proved in chapter 1"
STARTS = 20


@declared(
    scales={"laptop": "a few seconds; nothing larger is known to differ"},
    data=lambda scale, seed: digits(),
    needs={"classes": 2, "training samples": 1},
    resumable=False,
)
def experiment(dataset: Dataset, asked: Asked) -> dict[str, Table]:
    """Points that repel, the simplex nearest to the data's class means, and growth: one seed.

    Returns:
        An `Outcome` with the tables "arrivals", "pushes", "crowding", "nearest", "growth".
    """
    return {
        "arrivals": arrivals(seed=asked.seed),
        "pushes": pushes(seed=asked.seed),
        "crowding": crowding(seed=asked.seed),
        "nearest": nearest(dataset, seed=asked.seed),
        "growth": growth(seed=asked.seed),
    }


def arrivals(*, seed: int) -> Table:
    """Where repulsion ends, for several K and d, with d = K-2 (no room) as the control.

    Returns:
        Columns classes, dim, deviation: the largest |cosine + 1/(K-1)| over all pairs and starts;
        and largest: the least largest cosine of all starts.
    """
    rows = []
    for count in (4, 6, 10):
        for dim in (count - 2, count - 1, count, 2 * count):
            path = repel(_random(STARTS, count, dim, seed=seed), steps=600)
            cosines = _off_diagonal(path[-1])
            rows.append(
                {
                    "classes": count,
                    "dim": dim,
                    "deviation": (cosines + 1 / (count - 1)).abs().max().item(),
                    "largest": cosines.amax(1).min().item(),
                }
            )
    return Table.of(rows)


def pushes(*, seed: int, classes: int = 6, dim: int = 5) -> Table:
    """Where four kinds of repulsion end: the last has an energy linear in squared distance.

    Returns:
        Columns push, deviation (as in `arrivals`) and centre: the largest norm of the sum.
    """
    kinds = {
        "1/s": torch.reciprocal,
        "exp(-s)": lambda s: torch.exp(-s),
        "1/sqrt(s)": torch.rsqrt,
        "1": torch.ones_like,
    }
    rows = []
    for name, push in kinds.items():
        end = repel(_random(STARTS, classes, dim, seed=seed), push=push, steps=1500)[-1]
        deviation = (_off_diagonal(end) + 1 / (classes - 1)).abs().max()
        centre = end.sum(-2).norm(dim=-1).max().item()
        rows.append({"push": name, "deviation": deviation.item(), "centre": centre})
    return Table.of(rows)


def crowding(*, seed: int, dim: int = 4) -> Table:
    """The least largest cosine that repulsion finds for K = 2 to 2d + 2 points in d dimensions.

    From where repulsion ends the largest cosine itself is lowered as far as it goes (`minimax`),
    and the best of 20 starts is kept.

    Returns:
        Columns classes, repelled (before it is lowered), largest, bound (`rankin_bound`).
    """
    rows = []
    for count in range(2, 2 * dim + 3):
        ends = repel(_random(STARTS, count, dim, seed=seed), steps=200)[-1]
        lowered = torch.stack([minimax(end) for end in ends])
        repelled, largest = (_off_diagonal(x).amax(1).min().item() for x in (ends, lowered))
        bound = rankin_bound(count, dim)
        rows.append({"classes": count, "repelled": repelled, "largest": largest, "bound": bound})
    return Table.of(rows)


def minimax(points: Tensor) -> Tensor:
    """Unit vectors near the given ones whose largest cosine no small move lowers.

    The least t for which all cosines are at most t: a smooth problem with constraints, which SLSQP
    solves (Kraft 1988, in SciPy).

    Args:
        points: `(K, d)` unit vectors, float64.

    Returns:
        `(K, d)` float64.
    """
    count, dim = points.shape
    first, second = np.triu_indices(count, 1)
    pairs, each = np.arange(len(first)), np.arange(count)

    def vectors(unknown: np.ndarray) -> np.ndarray:
        return unknown[:-1].reshape(count, dim)

    def room(unknown: np.ndarray) -> np.ndarray:
        x = vectors(unknown)
        return unknown[-1] - (x[first] * x[second]).sum(1)

    def room_slope(unknown: np.ndarray) -> np.ndarray:
        x, slope = vectors(unknown), np.zeros((len(first), count, dim))
        slope[pairs, first], slope[pairs, second] = -x[second], -x[first]
        return np.column_stack([slope.reshape(len(first), -1), np.ones(len(first))])

    def excess(unknown: np.ndarray) -> np.ndarray:
        return np.square(vectors(unknown)).sum(1) - 1

    def excess_slope(unknown: np.ndarray) -> np.ndarray:
        slope = np.zeros((count, count, dim))
        slope[each, each] = 2 * vectors(unknown)
        return np.column_stack([slope.reshape(count, -1), np.zeros(count)])

    start = points.numpy()
    found = minimize(
        lambda unknown: unknown[-1],
        np.append(start.ravel(), (start @ start.T)[first, second].max()),
        jac=lambda unknown: np.append(np.zeros(count * dim), 1.0),
        method="SLSQP",
        constraints=[
            {"type": "ineq", "fun": room, "jac": room_slope},
            {"type": "eq", "fun": excess, "jac": excess_slope},
        ],
        options={"maxiter": 300, "ftol": 1e-12},
    )
    return F.normalize(torch.from_numpy(vectors(found.x)), dim=1)


def nearest(dataset: Dataset, *, seed: int) -> Table:
    """The simplex nearest to a data set's class means, beside a thousand random ones.

    Class means are centred and normalised inputs, `(K, d)`; d must be at least K-1.

    Returns:
        One row: distance (squared, by `nearest_etf`), formula (in closed form), formula_uncentred
        (the same without centring the vectors), random (the least of 1,000 random simplices),
        equiangular (mean |cosine + 1/(K-1)| of the means themselves).
    """
    inputs = dataset.inputs.flatten(1).double()
    means = torch.stack([inputs[dataset.labels == k].mean(0) for k in range(dataset.num_classes)])
    means = means - means.mean(0)
    means = means / means.norm(dim=1, keepdim=True)
    count, dim = means.shape
    generator = torch.Generator().manual_seed(seed)
    others = [
        _squared_distance(means, simplex_etf(count, dim, generator=generator, dtype=means.dtype))
        for _ in range(1000)
    ]
    cosines = _off_diagonal(means[None])
    row = {
        "distance": _squared_distance(means, nearest_etf(means)),
        "formula": nearest_distance(means),
        "formula_uncentred": nearest_distance(means, centre=False),
        "random": min(others),
        "equiangular": (cosines + 1 / (count - 1)).abs().mean().item(),
    }
    return Table.of([row])


def nearest_distance(vectors: Tensor, *, centre: bool = True) -> float:
    """Squared distance from K vectors to the nearest simplex ETF, in closed form.

    ||M||^2 + K - 2 sqrt(K/(K-1)) ||P M||_*, with P M the rows minus their mean and ||.||_* the sum
    of the singular values.

    Args:
        vectors: `(K, d)`, d >= K-1.
        centre: False drops P, for a control: the formula is then too small.

    Source: this course, from the Procrustes problem of `nearest_etf`.
    """
    count = len(vectors)
    centred = vectors - vectors.mean(0) if centre else vectors
    nuclear = torch.linalg.svdvals(centred).sum().item()
    scale = math.sqrt(count / (count - 1))
    return vectors.square().sum().item() + count - 2 * scale * nuclear


def growth(*, seed: int, dim: int = 24) -> Table:
    """How far old vertices turn when a simplex grows, beside a fresh simplex of the new size.

    Returns:
        Columns old, new, cosine (least over the old vertices), formula (`growth_cosine`), and
        fresh: the mean cosine with the vertices of an independent simplex.
    """
    rows = []
    generator = torch.Generator().manual_seed(seed)
    for old, new in ((2, 4), (4, 6), (8, 10), (10, 20)):
        vertices = simplex_etf(old, dim, generator=generator, dtype=torch.float64)
        frame = SimplexFrame.nearest(vertices)
        grown = frame.grow(new - old, generator=generator)
        turns = (frame.vertices * grown.vertices[:old]).sum(1)
        fresh = simplex_etf(new, dim, generator=generator, dtype=torch.float64)[:old]
        rows.append(
            {
                "old": old,
                "new": new,
                "cosine": turns.min().item(),
                "formula": growth_cosine(old, new),
                "fresh": (frame.vertices * fresh).sum(1).mean().item(),
            }
        )
    return Table.of(rows)


def claims(tables: Mapping[str, Table]) -> tuple[Claim, ...]:
    """What the tables of `experiment` assert; a pure function, so that false runs can be tried."""
    runs = tables["arrivals"].rows()
    arrived = max(run["deviation"] for run in runs if run["dim"] >= run["classes"] - 1)
    no_room = min(run["deviation"] for run in runs if run["dim"] < run["classes"] - 1)
    # How far the largest cosine stays above the bound, and above the bound with K for K-1.
    over_bound = min(run["largest"] + 1 / (run["classes"] - 1) for run in runs)
    over_wrong = min(run["largest"] + 1 / run["classes"] for run in runs)
    pushed = {row["push"]: row for row in tables["pushes"].rows()}
    convex = {f"deviation, {name}": row["deviation"] for name, row in pushed.items() if name != "1"}
    crowd = tables["crowding"].rows()
    beyond = min(row["largest"] for row in crowd if row["bound"] == 0)
    within = max(row["largest"] for row in crowd if row["bound"] < 0)
    rise = min(b["largest"] - a["largest"] for a, b in pairwise(crowd))
    above_least = max(row["repelled"] - row["largest"] for row in crowd)
    near = tables["nearest"].last
    grown = tables["growth"]
    turn = max(abs(row["cosine"] - row["formula"]) for row in grown.rows())
    return (
        Claim.of(
            "No set of K points gets its largest cosine below −1/(K−1); the bound with K in place "
            "of K−1 is broken by the simplex",
            {"least distance above −1/(K−1)": proved(at_least(-1e-9, over_bound))},
            RANKIN,
            {"least distance above −1/K": below(0, over_wrong)},
            data="random starts on spheres; no data set",
            fixed_data=True,
        ),
        Claim.of(
            "Points that repel end at cosine −1/(K−1) within {0:e}, from each of 20 random starts, "
            "for K = 4, 6, 10 and d = K−1, K, 2K; with d = K−2 some pair stays at least {1} away",
            {"largest deviation, d ≥ K−1": at_most(1e-6, arrived)},
            MEASURED,
            {"least deviation, d = K−2": at_least(0.1, no_room)},
            data="random starts on spheres; no data set",
            fixed_data=True,
        ),
        Claim.of(
            "Three strictly convex repulsions end at the simplex within {2:e}. A push proportional "
            "to the distance only balances: the sum of the points is zero within {1:e} and cosines "
            "are {0} off",
            convex,
            MEASURED,
            {
                "deviation, proportional": at_least(0.1, pushed["1"]["deviation"]),
                "its sum": at_most(1e-6, pushed["1"]["centre"]),
            },
            also={"each deviation": every(at_most(1e-6, value) for value in convex.values())},
            data="random starts on spheres; no data set",
            fixed_data=True,
        ),
        Claim.of(
            "With K > d+1 points no largest cosine found is below 0; for each K ≤ d+1 the best of "
            "20 starts is. One point more never lowers it, and left where repulsion ends it is at "
            "least {2} higher for some K",
            {"least largest cosine, K > d+1": proved(at_least(-1e-9, beyond))},
            RANKIN,
            {
                "greatest of them, K ≤ d+1": below(0, within),
                "most by which repulsion alone stays above": at_least(0.08, above_least),
            },
            also={"least rise from K to K+1": at_least(-1e-6, rise)},
            data="random starts on spheres; no data set",
            fixed_data=True,
        ),
        Claim.of(
            "The nearest simplex is as far as the closed form says, within {0:e}, and nearer than "
            "each of 1,000 random ones; without centring the form is wrong by more than {2}",
            {"squared distance": near["distance"], "closed form": near["formula"]},
            COURSE,
            {"without centring": near["formula_uncentred"], "best random": near["random"]},
            also={
                "distance against the form": proved(
                    at_most(1e-9, abs(near["distance"] - near["formula"]))
                ),
                "distance against random": proved(
                    below(near["random"], near["distance"], measured=True)
                ),
                "distance against the form without centring": above(
                    1e-3, abs(near["distance"] - near["formula_uncentred"])
                ),
            },
        ),
        Claim.of(
            "Growing turns every old vertex by the angle of the closed form, within {0:e} in "
            "cosine; a fresh simplex keeps less than {1:words} of that cosine",
            {"largest deviation of the cosine": proved(at_most(1e-9, turn))},
            COURSE,
            {
                "mean cosine with a fresh simplex": below(
                    1 / 2, max(grown["fresh"]), of=min(grown["formula"])
                )
            },
            data="random simplices in 24 dimensions; no data set",
            fixed_data=True,
        ),
    )


def _random(starts: int, count: int, dim: int, *, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(starts, count, dim, generator=generator, dtype=torch.float64)


def _off_diagonal(points: Tensor) -> Tensor:
    """Cosines of all pairs of different points, `(starts, K(K-1))`."""
    gram = torch.stack([cosine_matrix(each) for each in points])
    return gram[:, ~torch.eye(points.shape[-2], dtype=torch.bool)]


def _squared_distance(a: Tensor, b: Tensor) -> float:
    return (a - b).square().sum().item()
