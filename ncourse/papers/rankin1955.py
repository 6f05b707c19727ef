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

import torch
from torch import Tensor

from ncourse.claims import Claim, Outcome, Table
from ncourse.data import Dataset, digits
from ncourse.simplex import (
    SimplexFrame,
    cosine_matrix,
    growth_cosine,
    nearest_etf,
    rankin_bound,
    repel,
    simplex_etf,
)

__all__ = ["arrivals", "claims", "crowding", "experiment", "growth", "nearest", "pushes"]

RANKIN = "Rankin 1955 (simplex bound)"
COURSE = "This course, proposition with proof in chapter 1"
MEASURED = "This course, measured; that the simplex is the one minimum is proved in chapter 1"
STARTS = 20


def experiment(scale: str = "laptop", *, seed: int = 0, data: Dataset | None = None) -> Outcome:
    """Points that repel, the nearest simplex to class means, and growth: one seed.

    Args:
        scale: only "laptop"; it takes a few seconds and nothing larger is known to differ.
        seed: of all random starts.
        data: whose class means to compare with a simplex; digits if None.

    Returns:
        An `Outcome` with the tables "arrivals", "pushes", "crowding", "nearest", "growth".
    """
    if scale != "laptop":
        raise ValueError(f"scale is {scale!r}; this experiment has only 'laptop'")
    dataset = digits() if data is None else data
    tables = {
        "arrivals": arrivals(seed=seed),
        "pushes": pushes(seed=seed),
        "crowding": crowding(seed=seed),
        "nearest": nearest(dataset, seed=seed),
        "growth": growth(seed=seed),
    }
    outcome = Outcome("rankin1955", scale, seed, dataset.card, claims(tables), tables)
    return outcome if data is None else outcome.reported()


def arrivals(*, seed: int) -> Table:
    """Where repulsion ends, for several K and d, with d = K-2 (no room) as the control.

    Returns:
        Columns classes, dim, deviation: the largest |cosine + 1/(K-1)| over all pairs and starts;
        and largest: the least largest cosine of all starts.
    """
    table: Table = {"classes": [], "dim": [], "deviation": [], "largest": []}
    for count in (4, 6, 10):
        for dim in (count - 2, count - 1, count, 2 * count):
            path = repel(_random(STARTS, count, dim, seed=seed), steps=600)
            cosines = _off_diagonal(path[-1])
            table["classes"].append(count)
            table["dim"].append(dim)
            table["deviation"].append((cosines + 1 / (count - 1)).abs().max().item())
            table["largest"].append(cosines.amax(1).min().item())
    return table


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
    table: Table = {"push": [], "deviation": [], "centre": []}
    for name, push in kinds.items():
        end = repel(_random(STARTS, classes, dim, seed=seed), push=push, steps=1500)[-1]
        deviation = (_off_diagonal(end) + 1 / (classes - 1)).abs().max()
        table["push"].append(name)
        table["deviation"].append(deviation.item())
        table["centre"].append(end.sum(-2).norm(dim=-1).max().item())
    return table


def crowding(*, seed: int, dim: int = 4) -> Table:
    """The least largest cosine that repulsion finds for K = 2 to 2d + 2 points in d dimensions.

    The push is 1/s^9, nearly "only the nearest counts", and the best of 20 starts is kept.

    Returns:
        Columns classes, largest, bound (`rankin_bound`).
    """
    table: Table = {"classes": [], "largest": [], "bound": []}
    for count in range(2, 2 * dim + 3):
        start = repel(_random(STARTS, count, dim, seed=seed), steps=200)[-1]
        end = repel(start, push=lambda s: s**-9, steps=3000, step_size=0.02)[-1]
        table["classes"].append(count)
        table["largest"].append(_off_diagonal(end).amax(1).min().item())
        table["bound"].append(rankin_bound(count, dim))
    return table


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
    return {
        "distance": [_squared_distance(means, nearest_etf(means))],
        "formula": [nearest_distance(means)],
        "formula_uncentred": [nearest_distance(means, centre=False)],
        "random": [min(others)],
        "equiangular": [(cosines + 1 / (count - 1)).abs().mean().item()],
    }


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
    table: Table = {"old": [], "new": [], "cosine": [], "formula": [], "fresh": []}
    generator = torch.Generator().manual_seed(seed)
    for old, new in ((2, 4), (4, 6), (8, 10), (10, 20)):
        vertices = simplex_etf(old, dim, generator=generator, dtype=torch.float64)
        frame = SimplexFrame.nearest(vertices)
        grown = frame.grow(new - old, generator=generator)
        turns = (frame.vertices * grown.vertices[:old]).sum(1)
        fresh = simplex_etf(new, dim, generator=generator, dtype=torch.float64)[:old]
        table["old"].append(old)
        table["new"].append(new)
        table["cosine"].append(turns.min().item())
        table["formula"].append(growth_cosine(old, new))
        table["fresh"].append((frame.vertices * fresh).sum(1).mean().item())
    return table


def claims(tables: Mapping[str, Table]) -> tuple[Claim, ...]:
    """What the tables of `experiment` assert; a pure function, so that false runs can be tried."""
    runs = tables["arrivals"]
    room = [d >= k - 1 for k, d in zip(runs["classes"], runs["dim"], strict=True)]
    arrived = max(dev for dev, fits in zip(runs["deviation"], room, strict=True) if fits)
    no_room = min(dev for dev, fits in zip(runs["deviation"], room, strict=True) if not fits)
    # How far the largest cosine stays above the bound, and above the bound with K for K-1.
    above = min(c + 1 / (k - 1) for k, c in zip(runs["classes"], runs["largest"], strict=True))
    above_wrong = min(c + 1 / k for k, c in zip(runs["classes"], runs["largest"], strict=True))
    pushed = dict(zip(tables["pushes"]["push"], tables["pushes"]["deviation"], strict=True))
    centre = dict(zip(tables["pushes"]["push"], tables["pushes"]["centre"], strict=True))
    crowd = tables["crowding"]
    beyond = min(c for c, b in zip(crowd["largest"], crowd["bound"], strict=True) if b == 0)
    within = max(c for c, b in zip(crowd["largest"], crowd["bound"], strict=True) if b < 0)
    near = {name: values[0] for name, values in tables["nearest"].items()}
    grown = tables["growth"]
    turn = max(abs(c - f) for c, f in zip(grown["cosine"], grown["formula"], strict=True))
    fresh = max(grown["fresh"])
    return (
        Claim(
            "No set of K points gets its largest cosine below −1/(K−1); the bound with K in place "
            "of K−1 is broken by the simplex",
            above >= -1e-9 and above_wrong < 0,
            {"least distance above −1/(K−1)": above},
            RANKIN,
            {"least distance above −1/K": above_wrong},
            data="random starts on spheres; no data set",
        ),
        Claim(
            "Points that repel end at cosine −1/(K−1) within 1e-6, from each of 20 random starts, "
            "for K = 4, 6, 10 and d = K−1, K, 2K; with d = K−2 some pair stays at least 0.1 away",
            arrived <= 1e-6 and no_room >= 0.1,
            {"largest deviation, d ≥ K−1": arrived},
            MEASURED,
            {"least deviation, d = K−2": no_room},
            data="random starts on spheres; no data set",
        ),
        Claim(
            "Three strictly convex repulsions end at the simplex within 1e-6. A push proportional "
            "to the distance only balances: the sum of the points is zero within 1e-6 and cosines "
            "are 0.1 off",
            max(pushed[name] for name in ("1/s", "exp(-s)", "1/sqrt(s)")) <= 1e-6
            and centre["1"] <= 1e-6
            and pushed["1"] >= 0.1,
            {f"deviation, {name}": pushed[name] for name in ("1/s", "exp(-s)", "1/sqrt(s)")},
            MEASURED,
            {"deviation, proportional": pushed["1"], "its sum": centre["1"]},
            data="random starts on spheres; no data set",
        ),
        Claim(
            "With K > d+1 points no largest cosine found is below 0; for each K ≤ d+1 the best of "
            "20 starts is",
            beyond >= -1e-9 and within < 0,
            {"least largest cosine, K > d+1": beyond},
            RANKIN,
            {"greatest of them, K ≤ d+1": within},
            data="random starts on spheres; no data set",
        ),
        Claim(
            "The nearest simplex is as far as the closed form says, within 1e-9, and nearer than "
            "each of 1,000 random ones; without centring the form is wrong by more than 0.001",
            abs(near["distance"] - near["formula"]) <= 1e-9
            and near["distance"] < near["random"]
            and abs(near["distance"] - near["formula_uncentred"]) > 1e-3,
            {"squared distance": near["distance"], "closed form": near["formula"]},
            COURSE,
            {"without centring": near["formula_uncentred"], "best random": near["random"]},
        ),
        Claim(
            "Growing turns every old vertex by the angle of the closed form, within 1e-9 in "
            "cosine; a fresh simplex keeps less than half of that cosine",
            turn <= 1e-9 and fresh < 0.5 * min(grown["formula"]),
            {"largest deviation of the cosine": turn},
            COURSE,
            {"mean cosine with a fresh simplex": fresh},
            data="random simplices in 24 dimensions; no data set",
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
