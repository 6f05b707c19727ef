"""Zhao, Papadimitriou, Thrampoulidis 2026: meaning comes before collapse, and goes.

"Structure before collapse: transient semantic geometry in next-token prediction" (arXiv
2606.26749), known here by its abstract. Contexts have latent attributes, and each has its own next
word. Collapse would put all contexts equally far apart, whatever they mean. Early in training they
cluster by shared attributes all the same, which nobody asked for; with enough capacity and time
they end equally far apart. The paper shows it in three made-up settings and looks at Gram matrices.

The smallest such setting is built here: 16 contexts, all combinations of 4 attributes of two values
each. A linear network of two layers reads the attributes and a name, and is solved in closed form
(Saxe, McClelland, Ganguli 2014, arXiv 1312.6120, for such networks); a small Transformer reads four
words. The experiments, the prediction, the controls and all thresholds are this course's.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from ncourse.claims import Claim
from ncourse.comparisons import above, at_least, at_most, below, equal, over
from ncourse.data import Dataset
from ncourse.models import MLP, CausalTransformer
from ncourse.papers import Asked, declared
from ncourse.progress import progress_bar
from ncourse.simplex import cosine_matrix, off_diagonal
from ncourse.tables import Table

__all__ = [
    "LinearRun",
    "attribute_share",
    "claims",
    "codes",
    "directions",
    "even_share",
    "experiment",
    "items",
    "least_spread",
    "linear",
    "mlp",
    "predict",
    "shuffled",
    "train_decoder",
    "train_linear",
    "transformer",
]

ATTRIBUTES, ITEMS = 4, 16
STRENGTH, NAME = 0.3, 0.8
"""Of each attribute and of its own name in the input of an item."""

START = 1e-3
NOT_ASKED = {"predicted_first": math.nan, "predicted_rest": math.nan}
RATE, STEPS, FRAMES = 0.02, 800, 41
DEEP_STEPS, DEEP_START = 16_000, 0.01

DECODER_STEPS, DECAY, LEARNING_RATE = 1000, 1e-3, 3e-3

ZHAO = "Zhao, Papadimitriou, Thrampoulidis 2026 (abstract); the numbers: this course"
SAXE = "This course, after Saxe, McClelland, Ganguli 2014"
COURSE = "This course, measured"


def codes() -> Float[Tensor, "items attributes"]:
    """All combinations of four attributes, `(16, 4)` of -1 and 1."""
    rows = itertools.product((-1.0, 1.0), repeat=ATTRIBUTES)
    return torch.tensor(list(rows), dtype=torch.float64)


def items() -> Float[Tensor, "items inputs"]:
    """The inputs of the linear network, `(16, 20)`: attributes, then a name of its own."""
    return torch.cat([STRENGTH * codes(), NAME * torch.eye(ITEMS, dtype=torch.float64)], 1)


def shuffled(inputs: Float[Tensor, "items inputs"], *, seed: int) -> Float[Tensor, "items inputs"]:
    """Each column dealt out anew over the items: as strong, and shared by others than before."""
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(len(inputs), generator=generator) for _ in range(inputs.shape[1])]
    return torch.stack([column[order] for column, order in zip(inputs.T, orders, strict=True)], 1)


def _dataset() -> Dataset:
    inputs, labels = items().float(), torch.arange(ITEMS)
    names = tuple("".join("+" if x > 0 else "-" for x in row) for row in codes())
    return Dataset("16 items of 4 attributes", inputs, labels, inputs[:0], labels[:0], names)


@declared(
    scales={"laptop": "about half a minute on one core"},
    data=lambda scale, seed: _dataset(),
    needs={"classes": 6, "training samples": 1},
    resumable=False,
)
def experiment(dataset: Dataset, asked: Asked) -> dict[str, Table]:
    """How the geometry of 16 contexts comes and goes in three networks: one seed.

    The caller's own data take the place of the items of the linear networks: the mean of each
    class, and as attributes the four directions in which these differ most. The Transformer and the
    fully connected network keep their items.

    Returns:
        An `Outcome` with the tables "linear", "ends", "transformer", "mlp".
    """
    seed = asked.seed
    own = None
    if asked.own_data:
        flat = dataset.inputs.flatten(1).double()
        own = torch.stack([flat[dataset.labels == k].mean(0) for k in range(dataset.num_classes)])
        own = own / own.square().sum(1).mean().sqrt()
    runs, ends = linear(seed=seed, inputs=own)
    return {"linear": runs, "ends": ends, "transformer": transformer(seed=seed), "mlp": mlp(seed)}


# --- what is measured -----------------------------------------------------------------------------


def directions(inputs: Float[Tensor, "items inputs"]) -> Float[Tensor, "items attributes"]:
    """The four orthonormal ways in which items differ most in their inputs, `(items, 4)`.

    For all combinations of attributes that are independent these are the attributes themselves.
    """
    centred = inputs - inputs.mean(0)
    return torch.linalg.svd(centred, full_matrices=False).U[:, :ATTRIBUTES]


def attribute_share(
    features: Float[Tensor, "items dim"], basis: Float[Tensor, "items attributes"]
) -> float:
    """The part of the variation of features that goes with attributes, from 0 to 1.

    Args:
        features: `(n, d)`, one row an item.
        basis: `(n, r)`, orthonormal columns that sum to zero, one an attribute.

    Returns:
        tr(B' G B) / tr(G), with G the Gram matrix of the centred features; `even_share` where all
        items are equally far apart.

    >>> attribute_share(torch.eye(16).double(), codes() / 4) == even_share(16)
    True
    """
    centred = features - features.mean(0)
    return ((basis.T @ centred).square().sum() / centred.square().sum()).item()


def even_share(num_items: int, attributes: int = ATTRIBUTES) -> float:
    """`attribute_share` of a simplex: r of the n-1 directions.

    >>> round(even_share(16), 4)
    0.2667
    """
    return attributes / (num_items - 1)


def least_spread(num_items: int, dim: int) -> float:
    """The least standard deviation of the cosines of n centred unit vectors that span d dimensions.

    Their squared cosines sum to n^2/d or more (equality for a tight frame), the cosines to 0. So
    the n(n-1) ones of different vectors have the mean -1/(n-1), and the mean square (n/d - 1)/(n-1)
    or more. 0 where a simplex has room.

    Source: Welch 1974, for vectors that sum to zero.

    >>> round(least_spread(16, 7), 4), least_spread(16, 15)
    (0.2851, 0.0)
    """
    mean_square = (num_items / min(dim, num_items - 1) - 1) / (num_items - 1)
    return math.sqrt(max(0.0, mean_square - 1 / (num_items - 1) ** 2))


def _spread(features: Tensor) -> float:
    centred = features - features.mean(0)
    return off_diagonal(cosine_matrix(centred)).std().item()


# --- a linear network -----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class LinearRun:
    """A linear network of several layers along its training.

    Attributes:
        times: `(T,)`, learning rate times steps.
        features: `(T, n, d)`, what its last layer reads.
        outputs: `(T, n, n)`.
        start: the weights it began with.
    """

    times: Float[Tensor, " times"]
    features: Float[Tensor, "times items dim"]
    outputs: Float[Tensor, "times items items"]
    start: tuple[Tensor, ...]


@torch.no_grad()
def train_linear(
    inputs: Float[Tensor, "items inputs"],
    *,
    seed: int,
    width: int = 32,
    layers: int = 2,
    steps: int = STEPS,
    start: float = START,
) -> LinearRun:
    """Gradient descent on half the squared distance of the outputs to the identity: each its own.

    Args:
        inputs: `(n, D)`.
        seed: of the initial weights.
        width: of all hidden layers.
        layers: matrices, 2 or more.
        steps: of gradient descent.
        start: the size of the product of the initial weights, roughly.
    """
    generator = torch.Generator().manual_seed(seed)
    sizes = [inputs.shape[1], *[width] * (layers - 1), len(inputs)]
    weights = [
        start ** (1 / layers)
        / math.sqrt(rows)
        * torch.randn(rows, columns, generator=generator, dtype=torch.float64)
        for rows, columns in itertools.pairwise(sizes)
    ]
    initial = tuple(weight.clone() for weight in weights)
    kept = set(np.linspace(0, steps, FRAMES).round().astype(int).tolist())
    times, features, outputs = [], [], []
    target = torch.eye(len(inputs), dtype=torch.float64)
    for step in range(steps + 1):
        states = [inputs]
        for weight in weights:
            states.append(states[-1] @ weight)
        if step in kept:
            times.append(RATE * step)
            features.append(states[-2])
            outputs.append(states[-1])
        back = states[-1] - target
        for index in reversed(range(layers)):
            gradient = states[index].T @ back
            back = back @ weights[index].T
            weights[index] = weights[index] - RATE * gradient
    return LinearRun(
        torch.tensor(times, dtype=torch.float64),
        torch.stack(features),
        torch.stack(outputs),
        initial,
    )


def predict(
    inputs: Float[Tensor, "items inputs"],
    start: Sequence[Tensor],
    times: Float[Tensor, " times"],
) -> tuple[Float[Tensor, "times items items"], Float[Tensor, "times items items"]]:
    """Gram matrix of the features, and outputs, of two layers at each time: nothing is fitted.

    Along a direction with singular value s of the inputs, input side and output side of the network
    are vectors a and b. Their half sum grows, their half difference p decays as e^(-st). With u0
    the squared length of the half sum at the start, s u(t) goes from s u0 to 1 as
    1 / (1 + (1/(s u0) - 1) e^(-2st)); the Gram matrix has s^2 (u + |p|^2 e^(-2st)) there.

    Source: Saxe, McClelland, Ganguli 2014, for balanced weights; here from any small ones.

    Args:
        inputs: `(n, D)` of rank n.
        start: the two matrices, `(D, w)` and `(w, n)`.
        times: `(T,)`.
    """
    left, values, right = torch.linalg.svd(inputs, full_matrices=False)
    ingoing, outgoing = right @ start[0], left.T @ start[1].T
    grown = ((ingoing + outgoing) / 2).square().sum(1)
    rest = ((ingoing - outgoing) / 2).square().sum(1)
    decay = torch.exp(-2 * values * times[:, None])
    learned = 1 / (1 + (1 / (values * grown) - 1) * decay)
    strength = values**2 * (learned / values + rest * decay)
    return _spectral(left, strength), _spectral(left, learned)


def _spectral(basis: Tensor, values: Tensor) -> Tensor:
    return (basis * values[:, None]) @ basis.T


def _half_time(times: Tensor, learned: Tensor) -> float:
    """When a part is half learned; inf if never."""
    above_half = (learned >= 0.5).nonzero().flatten()
    if len(above_half) == 0 or above_half[0] == 0:
        return math.inf if len(above_half) == 0 else 0.0
    place = int(above_half[0])
    low, high = learned[place - 1 : place + 1].tolist()
    step = (times[place] - times[place - 1]).item()
    return times[place - 1].item() + step * (0.5 - low) / (high - low)


def _learned(outputs: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """How much of the identity is learned along the attributes, and along all else that differs."""
    size, rank = basis.shape
    along = torch.einsum("nr,tnm,mr->t", basis, outputs, basis)
    whole = outputs.diagonal(dim1=1, dim2=2).sum(1) - outputs.sum((1, 2)) / size
    return along / rank, (whole - along) / (size - 1 - rank)


def linear(
    *, seed: int, inputs: Float[Tensor, "items inputs"] | None = None
) -> tuple[Table, Table]:
    """Two layers on attributes and names, predicted and trained, with three controls.

    Args:
        seed: of weights and of the shuffled attributes.
        inputs: others than the 16 items.

    Returns:
        A table of run, time, share, predicted_share, first (learned along the attributes), rest;
        and one of run, layers, share at the end, predicted_share, first and rest (half-times),
        predicted_first and predicted_rest.
    """
    given = items() if inputs is None else inputs
    basis = codes() / 4 if inputs is None else directions(inputs)
    length = given.square().sum(1).mean().sqrt()
    own = length * torch.eye(len(given), dtype=torch.float64)
    wide = 2 * len(given)
    runs = {
        "attributes": (given, 2, wide),
        "own codes": (own, 2, wide),
        "shuffled": (shuffled(given, seed=seed), 2, wide),
        "narrow": (given, 2, ATTRIBUTES),
        "four layers": (given, 4, wide),
    }
    rows, ends = [], []
    for name, (data, layers, width) in runs.items():
        deep = layers > 2
        run = train_linear(
            data, seed=seed, width=width, layers=layers,
            steps=DEEP_STEPS if deep else STEPS, start=DEEP_START if deep else START,
        )  # fmt: skip
        shares = [attribute_share(features, basis) for features in run.features]
        first, rest = _learned(run.outputs, basis)
        found = {"run": name, "layers": layers, "share": shares[-1]}
        halves = {"first": _half_time(run.times, first), "rest": _half_time(run.times, rest)}
        if deep:
            left, values, _ = torch.linalg.svd(data, full_matrices=False)
            gram = _spectral(left, (values ** (2 / layers))[None])
            ends.append(found | {"predicted_share": _share_of(gram, basis)[0]} | halves | NOT_ASKED)
            continue
        gram, outputs = predict(data, run.start, run.times)
        predicted = _share_of(gram, basis)
        one, two = _learned(outputs, basis)
        ends.append(
            found
            | {"predicted_share": predicted[-1]}
            | halves
            | {
                "predicted_first": _half_time(run.times, one),
                "predicted_rest": _half_time(run.times, two),
            }
        )
        columns = zip(run.times.tolist(), shares, predicted, first, rest, strict=True)
        rows += [
            {"run": name, "time": time, "share": share, "predicted_share": said,
             "first": a.item(), "rest": b.item()}
            for time, share, said, a, b in columns
        ]  # fmt: skip
    return Table.of(rows), Table.of(ends)


def _share_of(gram: Tensor, basis: Tensor) -> list[float]:
    """`attribute_share` of features that are known by their Gram matrices."""
    size = gram.shape[-1]
    whole = gram.diagonal(dim1=1, dim2=2).sum(1) - gram.sum((1, 2)) / size
    return (torch.einsum("nr,tnm,mr->t", basis, gram, basis) / whole).tolist()


# --- a Transformer, and a network without a sphere ------------------------------------------------


def contexts(kind: str = "attributes") -> Int[Tensor, "items tokens"]:
    """16 contexts of four words, `(16, 4)`: one an attribute, or a word of its own four times.

    Args:
        kind: "attributes" (8 words) or "own words" (16).
    """
    if kind == "attributes":
        return (codes() > 0).long() + 2 * torch.arange(ATTRIBUTES)
    return torch.arange(ITEMS)[:, None].repeat(1, ATTRIBUTES)


def train_decoder(
    tokens: Int[Tensor, "items tokens"],
    *,
    seed: int,
    dim: int = 32,
    depth: int = 2,
    steps: int = DECODER_STEPS,
    measure_at: Sequence[int] = (),
    progress: bool = True,
) -> dict[int, tuple[Float[Tensor, "items dim"], float]]:
    """Chapter 8's Transformer on contexts, each with its own next word: features and accuracy.

    Full batch, Adam, cosine schedule, lambda/2 times all squared parameters.

    Args:
        tokens: `(n, tokens)`.
        seed: of the initial weights.
        dim: of the stream; its features have length 1 and mean zero, so they span `dim - 1`.
        depth: blocks.
        steps: of training.
        measure_at: steps; the last one always.
        progress: whether to show a bar.

    Returns:
        Step -> features `(n, d)` and accuracy, before that step.
    """
    network = CausalTransformer(
        tokens=tokens.shape[1], num_classes=len(tokens), vocabulary=int(tokens.max()) + 1,
        depth=depth, dim=dim, seed=seed,
    )  # fmt: skip
    labels = torch.arange(len(tokens))
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, LEARNING_RATE / 100)
    found = {}
    for step in progress_bar(range(steps + 1), desc=f"d = {dim}", disable=not progress):
        features = network.features(tokens)
        logits = network.classifier(features)
        if step in measure_at or step == steps:
            accuracy = (logits.argmax(1) == labels).double().mean().item()
            found[step] = (features.detach().double(), accuracy)
        optimizer.zero_grad()
        decay = sum(p.square().sum() for p in network.parameters())
        (cross_entropy(logits, labels) + DECAY / 2 * decay).backward()
        optimizer.step()
        schedule.step()
    return found


MEASURED = (0, 1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1000)


def transformer(*, seed: int, progress: bool = True) -> Table:
    """A Transformer on 16 contexts of four words; own words, and a narrow one, as controls.

    Returns:
        Columns run, step, share, spread (standard deviation of the cosines of centred features),
        accuracy.
    """
    basis, rows = codes() / 4, []
    runs = {"attributes": ("attributes", 32), "own words": ("own words", 32)}
    for name, (kind, dim) in (runs | {"narrow": ("attributes", 8)}).items():
        found = train_decoder(
            contexts(kind), seed=seed, dim=dim, measure_at=MEASURED, progress=progress
        )
        rows += [
            {"run": name, "step": step, "share": attribute_share(features, basis),
             "spread": _spread(features), "accuracy": accuracy}
            for step, (features, accuracy) in found.items()
        ]  # fmt: skip
    return Table.of(rows)


def mlp(seed: int, *, steps: int = DECODER_STEPS) -> Table:
    """A fully connected network on the same attributes, trained likewise: no LayerNorm anywhere.

    Returns:
        Columns step, share, accuracy.
    """
    network = MLP((ATTRIBUTES,), (64, 64), ITEMS, batch_norm=False, seed=seed)
    labels, inputs = torch.arange(ITEMS), codes().float()
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    rows = []
    for step in range(steps + 1):
        features = network.features(inputs)
        logits = network.classifier(features)
        if step in MEASURED or step == steps:
            accuracy = (logits.argmax(1) == labels).double().mean().item()
            share = attribute_share(features.detach().double(), codes() / 4)
            rows.append({"step": step, "share": share, "accuracy": accuracy})
        optimizer.zero_grad()
        decay = sum(p.square().sum() for p in network.parameters())
        (cross_entropy(logits, labels) + DECAY / 2 * decay).backward()
        optimizer.step()
    return Table.of(rows)


# --- what it asserts ------------------------------------------------------------------------------


def claims(tables: Mapping[str, Table]) -> tuple[Claim, ...]:
    """What the tables of `experiment` assert; a pure function, so that false runs can be tried."""
    return _linear_claims(tables["linear"], tables["ends"]) + _network_claims(
        tables["transformer"], tables["mlp"]
    )


def _linear_claims(linear: Table, ends: Table) -> tuple[Claim, ...]:
    runs = {name: linear.where(run=name) for name in dict.fromkeys(linear["run"])}
    at_end = {row["run"]: row for row in ends.rows()}
    main, own, narrow, deep = (
        at_end[name] for name in ("attributes", "own codes", "narrow", "four layers")
    )

    def off(name: str) -> float:
        pairs = zip(runs[name]["share"], runs[name]["predicted_share"], strict=True)
        return max(abs(share - predicted) for share, predicted in pairs)

    ratio = over(main["rest"], main["first"])
    said = over(main["predicted_rest"], main["predicted_first"])
    return (
        Claim.of(
            "Attributes are learned first: the rest takes at least {0} times as long, within {1:%} "
            "of what the singular values of the inputs say; where each item has a code of its own "
            "less than {2} times",
            {
                "rest over attributes": at_least(1.6, ratio),
                "off the prediction": at_most(0.1, abs(over(ratio, said) - 1)),
            },
            SAXE,
            {"own codes": below(1.2, over(own["rest"], own["first"]))},
        ),
        Claim.of(
            "Structure comes and goes: the share of the attributes in the features rises above "
            "{0:.}, {1} or more above that in the inputs, and ends below {2:.}; with attributes "
            "shuffled, and with own codes, it stays below {3:.}",
            {
                "largest share": above(0.85, max(runs["attributes"]["share"]), natural="rate"),
                "above the inputs": at_least(
                    0.2, max(runs["attributes"]["share"]) - runs["attributes"]["share"][0]
                ),
                "share at the end": below(0.5, main["share"]),
            },
            ZHAO,
            {name: below(0.5, max(runs[name]["share"])) for name in ("shuffled", "own codes")},
        ),
        Claim.of(
            "The closed form says the share at every moment, to {0:.}, from the inputs and the "
            "initial weights alone; a network too narrow for all directions leaves it by more than "
            "{1:.}",
            {"largest error": at_most(0.1, off("attributes"))},
            SAXE,
            {"narrow, largest error": above(0.2, off("narrow"))},
        ),
        Claim.of(
            "Depth brings it nearer to a simplex: four linear layers end within {0:.} of the share "
            "that the singular values to the power 2/4 say; those to the power 2/2 miss it by more "
            "than {1:.}",
            {"off the closed form": at_most(0.02, abs(deep["share"] - deep["predicted_share"]))},
            COURSE,
            {"two layers' closed form": above(0.03, abs(deep["share"] - main["predicted_share"]))},
        ),
        Claim.of(
            "Without room it stays: with four hidden units the share of the attributes ends above "
            "{0:.}; with room it ends within {1:.} of its closed form",
            {"narrow, share at the end": above(0.75, narrow["share"], natural="rate")},
            ZHAO,
            {
                "wide, off the closed form": at_most(
                    0.02, abs(main["share"] - main["predicted_share"])
                )
            },
        ),
    )


def _network_claims(transformer: Table, mlp: Table) -> tuple[Claim, ...]:
    runs = {name: transformer.where(run=name) for name in dict.fromkeys(transformer["run"])}
    even = even_share(ITEMS)

    def excess(row: Mapping[str, Any]) -> float:
        return row["share"] - even

    main = list(runs["attributes"].rows())
    right = next((row for row in main if row["accuracy"] == 1), {"share": math.nan})
    wide, narrow = main[-1], list(runs["narrow"].rows())[-1]
    end = list(mlp.rows())[-1]
    return (
        Claim.of(
            "A Transformer on contexts of four words: when it first predicts all of them, the "
            "share of the attributes exceeds that of a simplex by {0:.} or more; of that at most "
            "{1:words} is left at the end, and cosines spread by less than {2:.}. With words of "
            "their own the share stays within {3:.} of a simplex",
            {
                "excess at accuracy 1": at_least(0.1, excess(right)),
                "left at the end": at_most(1 / 3, over(excess(wide), excess(right))),
                "spread at the end": below(0.15, wide["spread"]),
            },
            ZHAO,
            {
                "own words, largest excess": at_most(
                    0.12, max(abs(excess(row)) for row in runs["own words"].rows())
                )
            },
        ),
        Claim.of(
            "With 8 dimensions for 16 contexts they cannot end equally far apart: accuracy reaches "
            "1, and cosines spread at least {1} times as much as with 32",
            {"accuracy": equal(1, narrow["accuracy"])},
            ZHAO,
            {"spread, narrow over wide": at_least(2, over(narrow["spread"], wide["spread"]))},
        ),
        Claim.of(
            "Time is not enough: a fully connected network without LayerNorm predicts all contexts "
            "and keeps a share above {1:.}; the Transformer, as many steps, ends below {2:.}",
            {
                "accuracy": equal(1, end["accuracy"]),
                "share": above(0.7, end["share"], natural="rate"),
            },
            COURSE,
            {"Transformer": below(0.45, wide["share"])},
        ),
    )
