"""Garrod, Keating, Thrampoulidis 2026: depth prefers low rank, with weight decay and without.

"The implicit bias of depth: from neural collapse to softmax codes" (ICML 2026, arXiv 2605.23087),
and before it Garrod, Keating 2025, "The persistence of neural collapse despite low-rank bias"
(NeurIPS 2025, arXiv 2410.23169); both are known here by their abstracts. The model is the deep
unconstrained features model, which is a deep linear network on orthogonal inputs, with
cross-entropy. With weight decay the collapsed solution stops being optimal as depth grows; without
it, gradient descent still goes to lower rank the deeper the network is, and width pushes the other
way.

Here the loss of a simplex and that of K points on a circle are compared in closed form, and
networks of several depths are trained beside them. The experiments and all numbers are this
course's.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn.functional import cross_entropy

from ncourse.claims import Claim
from ncourse.comparisons import above, at_least, at_most, below, equal, every, over
from ncourse.data import Dataset, digits
from ncourse.papers import Asked, declared
from ncourse.progress import progress_bar
from ncourse.tables import Table

__all__ = [
    "circle",
    "claims",
    "effective_rank",
    "energies",
    "experiment",
    "least_energy",
    "simplex",
    "train",
    "trained",
]

CLASSES, DECAY = 8, 1e-3
DEPTHS, NARROW, WIDE = (2, 3, 5, 8), 16, 128
STEPS = 2000

PERSISTENCE = "Garrod, Keating 2025 (abstract); the numbers: this course"
DEPTH = "Garrod, Keating, Thrampoulidis 2026 (abstract); the numbers: this course"


@declared(
    scales={"laptop": "about half a minute on one core"},
    data=lambda scale, seed: digits(),
    needs={"classes": 2, "training samples": 1},
    resumable=False,
)
def experiment(dataset: Dataset, asked: Asked) -> dict[str, Table]:
    """Simplex against circle over depths, and networks trained beside them: one seed.

    The model has no data: the caller's own change nothing.

    Returns:
        An `Outcome` with the tables "energies", "trained".
    """
    return {"energies": energies(), "trained": trained(seed=asked.seed)}


def simplex(num_classes: int) -> Float[Tensor, "classes classes"]:
    """Logits of full collapse, up to their size: rank K-1."""
    return torch.eye(num_classes, dtype=torch.float64) - 1 / num_classes


def circle(num_classes: int) -> Float[Tensor, "classes classes"]:
    """Logits of K points at equal angles on a circle, up to their size: rank 2.

    A softmax code in two dimensions.
    """
    angles = 2 * math.pi * torch.arange(num_classes, dtype=torch.float64) / num_classes
    points = torch.stack([angles.cos(), angles.sin()], 1)
    return points @ points.T


def least_energy(
    shape: Float[Tensor, "classes classes"], depth: int, weight_decay: float = DECAY
) -> float:
    """The least loss of L linear layers whose logits are a multiple of `shape`.

    A matrix with singular values s is a product of L matrices whose squares sum to L sum s^(2/L),
    and of none with less. So one number is left, the multiple.

    Args:
        shape: `(K, K)`, row k the logits of class k.
        depth: L >= 1.
        weight_decay: lambda, coefficient of half the sum of all squares.

    >>> two_layers = [least_energy(make(8), 2) for make in (simplex, circle)]
    >>> [round(value, 4) for value in two_layers]
    [0.0553, 0.1442]
    """
    values = torch.linalg.svdvals(shape)
    values = values[values > 1e-9 * values[0]]
    labels = torch.arange(len(shape))

    def energy(logarithm: float) -> float:
        size = math.exp(logarithm)
        decay = weight_decay / 2 * depth * ((size * values) ** (2 / depth)).sum().item()
        return cross_entropy(size * shape, labels).item() + decay

    places = np.linspace(-3, 12, 301)
    best = int(np.argmin([energy(place) for place in places]))
    ends = places[max(best - 1, 0)], places[min(best + 1, 300)]
    found = minimize_scalar(energy, bounds=ends, method="bounded").fun
    return min(float(found), math.log(len(shape)))  # all zero costs log K


def energies() -> Table:
    """The two closed forms over depth.

    Returns:
        Columns depth, simplex, circle.
    """
    return Table.of(
        [
            {
                "depth": depth,
                "simplex": least_energy(simplex(CLASSES), depth),
                "circle": least_energy(circle(CLASSES), depth),
            }
            for depth in (2, 3, 4, 5, 6, 8)
        ]
    )


def effective_rank(matrix: Float[Tensor, "rows columns"]) -> float:
    """The exponential of the entropy of the singular values, as shares: 1 to the rank.

    Source: Roy and Vetterli 2007, "The effective rank".

    >>> round(effective_rank(simplex(8)), 6), round(effective_rank(circle(8)), 6)
    (7.0, 2.0)
    """
    values = torch.linalg.svdvals(matrix)
    shares = values / values.sum()
    return torch.exp(-torch.special.xlogy(shares, shares).sum()).item()


def train(
    depth: int, width: int, *, seed: int, weight_decay: float, steps: int = STEPS, size: float = 0.5
) -> tuple[Float[Tensor, "classes classes"], float]:
    """L linear layers on K orthogonal inputs, one for each class: Adam, full batch.

    Args:
        depth: L matrices.
        width: of all hidden layers.
        seed: of the initial weights.
        weight_decay: lambda, coefficient of half the sum of all squares.
        steps: of training.
        size: of the initial weights, in units that keep lengths.

    Returns:
        Logits `(K, K)`, centred over classes, and the loss with weight decay.
    """
    generator = torch.Generator().manual_seed(seed)
    sizes = [CLASSES, *[width] * (depth - 1), CLASSES]
    weights = [
        (torch.randn(sizes[i : i + 2], generator=generator, dtype=torch.float64) * size)
        .div(math.sqrt(sizes[i]))
        .requires_grad_()
        for i in range(depth)
    ]
    optimizer = torch.optim.Adam(weights, 1e-2)
    labels = torch.arange(CLASSES)
    loss = torch.tensor(math.nan)
    for _ in range(steps):
        logits = weights[0]
        for weight in weights[1:]:
            logits = logits @ weight
        decay = sum(weight.square().sum() for weight in weights)
        loss = cross_entropy(logits, labels) + weight_decay / 2 * decay
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    logits = logits.detach()
    return logits - logits.mean(1, keepdim=True), loss.item()


def trained(*, seed: int, steps: int = STEPS) -> Table:
    """Networks of several depths: with weight decay, and without in two widths.

    Returns:
        Columns run, depth, rank (singular values above a thousandth of the largest),
        effective_rank, loss.
    """
    rows: list[dict[str, str | float]] = []
    runs = {
        "weight decay": (64, DECAY, 1.0),
        "narrow, no weight decay": (NARROW, 0.0, 0.5),
        "wide, no weight decay": (WIDE, 0.0, 0.5),
    }
    for run, (width, decay, size) in runs.items():
        for depth in progress_bar(DEPTHS, desc=run):
            logits, loss = train(
                depth, width, seed=seed, weight_decay=decay, steps=steps, size=size
            )
            values = torch.linalg.svdvals(logits)
            row = {"run": run, "depth": depth, "rank": int((values > 1e-3 * values[0]).sum())}
            rows.append(row | {"effective_rank": effective_rank(logits), "loss": loss})
    return Table.of(rows)


def claims(tables: Mapping[str, Table]) -> tuple[Claim, ...]:
    """What the tables of `experiment` assert; a pure function, so that false runs can be tried."""
    energy = {row["depth"]: row for row in tables["energies"].rows()}
    rows = {(row["run"], row["depth"]): row for row in tables["trained"].rows()}
    decayed = {depth: rows["weight decay", depth] for depth in DEPTHS}
    narrow, wide = (
        {depth: rows[f"{name}, no weight decay", depth]["effective_rank"] for depth in DEPTHS}
        for name in ("narrow", "wide")
    )

    def beside(depth: int) -> float:
        return over(decayed[depth]["loss"], energy[depth]["simplex"])

    return (
        Claim.of(
            "Eight classes, weight decay: with five linear layers eight points on a circle cost "
            "less than a simplex, with eight layers by {0:-%} or more; with two layers they cost "
            "{1} times as much or more",
            {"8 layers, circle over simplex": below(0.7, over(*_both(energy[8])))},
            PERSISTENCE,
            {"2 layers, circle over simplex": at_least(2.0, over(*_both(energy[2])))},
            also={"5 layers": below(0.9, over(*_both(energy[5])))},
        ),
        Claim.of(
            "Training finds the same: with five and eight layers it ends below the simplex by "
            "{0:-%} or more, at lower rank; with two and three it ends at the simplex, to {2:%}, "
            "at rank 7",
            {
                "5 and 8 layers, loss over the simplex's": every(
                    below(0.9, beside(depth)) for depth in (5, 8)
                ),
                "their rank": every(below(7, decayed[depth]["rank"]) for depth in (5, 8)),
            },
            PERSISTENCE,
            {
                "2 and 3 layers, off the simplex": every(
                    at_most(0.01, abs(beside(depth) - 1)) for depth in (2, 3)
                ),
                "rank with 2 layers": equal(7, decayed[2]["rank"]),
            },
        ),
        Claim.of(
            "Without weight decay depth lowers the effective rank all the same: from two to eight "
            "layers to {0:.} of it or less, in both widths; with two layers it is above {1} of 7",
            {
                "eight over two layers": every(
                    at_most(0.7, over(ranks[8], ranks[2])) for ranks in (narrow, wide)
                )
            },
            DEPTH,
            {"two layers": every(above(5.2, ranks[2]) for ranks in (narrow, wide))},
        ),
        Claim.of(
            "Width pushes the other way: with five layers, 128 units in place of 16 raise the "
            "effective rank {0}-fold or more; with two layers less than {1}-fold",
            {"five layers, wide over narrow": at_least(1.15, over(wide[5], narrow[5]))},
            DEPTH,
            {"two layers": below(1.1, over(wide[2], narrow[2]))},
        ),
    )


def _both(row: Mapping[str, float]) -> tuple[float, float]:
    return row["circle"], row["simplex"]
