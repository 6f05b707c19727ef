"""Tirer, Huang and Niles-Weed 2023: a ratio of traces, beside the other things called NC1.

"Perturbation analysis of neural collapse", ICML 2023. Papyan, Han and Donoho 2020 report
tr(S_W S_B^+), Zhu et al. 2021 divide it by K, Tirer, Huang and Niles-Weed use tr S_W / tr S_B (so
says the public package `neural-collapse`, which has it from them and from Hui et al. 2022), others
tr S_W / tr S_T. The experiment measures one network with all of them, with equal and with unequal
classes, and beside that the arithmetic: what float32 does to each formula.

What is asserted about them is the course's own, measured or proved in chapters 2 and 12. So: if
the means are a simplex ETF and phi is the share of tr S_W in their directions, then
tr(S_W S_B^+) = (K-1) phi tr S_W / tr S_B, because all K-1 eigenvalues of S_B are tr S_B / (K-1).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ncourse.claims import Claim
from ncourse.comparisons import above, at_least, at_most, below, over, proved
from ncourse.data import Dataset, digits
from ncourse.metrics import (
    CONVENTIONS,
    CollapseMetric,
    CollapseReport,
    measure,
    measure_layers,
    principal_angles,
    variability_collapse_index,
)
from ncourse.models import MLP
from ncourse.papers import Asked, declared
from ncourse.simplex import simplex_etf
from ncourse.tables import Table
from ncourse.training import Features, fit

__all__ = [
    "DEFINITIONS",
    "DIALS",
    "Dialled",
    "claims",
    "conventions",
    "definitions",
    "dial",
    "duality",
    "equal_classes",
    "experiment",
    "half_precision",
    "known",
    "tail",
    "train",
]

DIALS = ("spread", "shape", "turn", "bias")
"""One for each of NC1 to NC4."""

DEFINITIONS = ("pinv_trace", "pinv_trace_per_class", "trace_ratio", "trace_fraction", "cdnv")
"""The fields of a report that some paper calls NC1, or could."""

PAPYAN = "Papyan, Han, Donoho 2020, the four definitions; this course, the data"
NC1 = (
    "Papyan, Han, Donoho 2020; Zhu et al. 2021; Tirer, Huang, Niles-Weed 2023, definitions; "
    "measured here"
)
COURSE = "This course, proved in chapter 12"
MADE = "vectors made for the purpose; no data set"
MEASURED = "This course, measured"
EPOCHS = 30
RATIO = 20.0  # of the largest class to the smallest
SAME = 1 + 1e-9  # greatest over least of what is one and the same number


# Data on which each number is known ---------------------------------------------------------------


@dataclass(frozen=True)
class Dialled:
    """Three classes in the plane and a classifier, collapsed but for one dial."""

    features: Float[Tensor, "samples 2"]
    labels: Int[Tensor, " samples"]
    weight: Float[Tensor, "3 2"]
    bias: Float[Tensor, " 3"]


def dial(name: str, amount: float, *, follow: bool = True) -> Dialled:
    """Fully collapsed features with one of four things spoiled, by an amount in [0, 1].

    "spread" puts each class's 40 samples on a circle of that radius around their mean; "shape"
    stretches the triangle of means upwards, to 1 + amount; "turn" turns the classifier by
    45 degrees times amount; "bias" adds amount times (3.6, 1.8, 0) to the logits.

    Args:
        name: one of `DIALS`.
        amount: 0 leaves everything collapsed.
        follow: whether the classifier follows the means; False, for a control, leaves it behind.
    """
    if name not in DIALS:
        raise ValueError(f"dial is {name!r}; expected one of {', '.join(DIALS)}")
    if not 0 <= amount <= 1:
        raise ValueError(f"amount is {amount}; expected 0 to 1")
    corner = math.sqrt(3) / 2
    triangle = torch.tensor([[0, 1], [-corner, -0.5], [corner, -0.5]], dtype=torch.float64)
    labels = torch.arange(3).repeat_interleave(40)
    stretch = 1 + amount * (name == "shape")
    means = triangle * torch.tensor([1, stretch], dtype=torch.float64)
    angle = 0.1 + torch.arange(40, dtype=torch.float64) * (2 * math.pi / 40)
    circle = torch.stack([angle.cos(), angle.sin()], dim=1).repeat(3, 1)
    features = means[labels] + amount * (name == "spread") * circle
    turn = math.radians(45 * amount * (name == "turn"))
    rotation = torch.tensor(
        [[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]], dtype=torch.float64
    )
    rows = means if follow else triangle
    # With this bias the largest logit belongs to the nearest row.
    bias = -rows.square().sum(1) / 2
    extra = torch.tensor([3.6, 1.8, 0.0], dtype=torch.float64)
    return Dialled(features, labels, rows @ rotation, bias + amount * (name == "bias") * extra)


def known(name: str, amount: float) -> float:
    """What a dial's own metric must read: nc1, nc2_equiangular, nc3 or nc4, by hand.

    >>> [round(known(name, 1.0), 3) for name in DIALS]
    [2.0, 0.385, 0.586, 0.667]
    """
    if name == "spread":  # S_W = amount^2 I / 2, S_B = I / 2
        return 2 * amount**2
    if name == "shape":
        s2 = (1 + amount) ** 2
        apex = -s2 / 2 / math.sqrt(s2 * (3 + s2) / 4)
        base = (s2 - 3) / (s2 + 3)
        return (2 * abs(apex + 0.5) + abs(base + 0.5)) / 3
    if name == "turn":
        return 2 - 2 * math.cos(math.radians(45 * amount))
    # At a mean its own logit leads by 1.5, so a class falls to the first once the biases differ
    # by more: class 2 at 3.6 amount > 1.5, class 1 at 1.8 amount > 1.5.
    return ((3.6 * amount > 1.5) + (1.8 * amount > 1.5)) / 3


def dials() -> Table:
    """All dials at five amounts, and "shape, W left behind" as the control.

    Returns:
        Columns dial, amount, known, nc1, nc2, nc3, nc4; nc2 is `nc2_equiangular`.
    """
    rows = []
    for name in (*DIALS, "shape, W left behind"):
        for amount in (0.0, 0.25, 0.5, 0.75, 1.0):
            own = name.split(",")[0]
            state = dial(own, amount, follow=name in DIALS)
            report = measure(state.features, state.labels, state.weight, state.bias)
            rows.append(
                {
                    "dial": name,
                    "amount": amount,
                    "known": known(own, amount),
                    "nc1": report.nc1,
                    "nc2": report.nc2_equiangular,
                    "nc3": report.nc3,
                    "nc4": report.nc4,
                }
            )
    return Table.of(rows)


# One network --------------------------------------------------------------------------------------


def train(dataset: Dataset, *, seed: int, width: int = 256) -> tuple[MLP, dict[int, Features]]:
    """Train an MLP for 30 epochs: the network, and its training pass after epochs 5 and 30.

    Args:
        dataset: to train on.
        seed: of weights and sample order.
        width: of the last hidden layer, d; the two before it have 256 units.
    """
    passes: dict[int, Features] = {}

    def observe(epoch: int, train: Features, test: Features) -> None:
        passes[epoch] = train

    model = MLP(dataset.input_shape, (256, 256, width), dataset.num_classes, seed=seed)
    fit(
        model=model,
        dataset=dataset,
        epochs=EPOCHS,
        weight_decay=5e-3,
        seed=seed,
        measure_at=(5, EPOCHS),
        observe=observe,
        progress=False,
    )
    return model, passes


def tail(labels: Tensor, *, ratio: float) -> Int[Tensor, " kept"]:
    """Rows of a long tail: of class c, n ratio^(-c/(K-1)) samples, n the smallest class's size.

    Args:
        labels: `(N,)`, integers in 0..K-1.
        ratio: of the first class's size to the last one's; 1 makes all classes equal.

    >>> tail(torch.arange(12) % 3, ratio=4).tolist()
    [0, 1, 2, 3, 4, 6, 9]
    """
    counts = labels.bincount()
    share = ratio ** -(torch.arange(len(counts)) / (len(counts) - 1)).double()
    sizes = (counts.min() * share).round().long().clamp(min=1)
    rank_in_class = nn.functional.one_hot(labels, len(counts)).cumsum(0)
    rank = rank_in_class.gather(1, labels[:, None]).squeeze(1)
    return (rank <= sizes[labels]).nonzero().flatten()


def networks(passes: Mapping[int, Features], narrow: Features, *, num_classes: int) -> Table:
    """The features of two networks under every convention.

    Args:
        passes: of a network trained on equal classes, by epoch, as from `train`.
        narrow: the last pass of one that is narrower.
        num_classes: K.

    Returns:
        Columns network ("d = 256", "d = 256, epoch 5", "thinned": the first network's features, a
        long tail of them, and "d = 32"), convention, nc1, the `DEFINITIONS`, vci, and split:
        |tr S_W + tr S_B - tr S_T| / tr S_T.
    """
    final = passes[EPOCHS]
    kept = tail(final.labels, ratio=RATIO)
    states = {
        "d = 256": (final.features, final.labels),
        "d = 256, epoch 5": (passes[5].features, passes[5].labels),
        "thinned": (final.features[kept], final.labels[kept]),
        "d = 32": (narrow.features, narrow.labels),
    }
    keys = ("nc1", *DEFINITIONS, "vci", "split")
    rows = []
    for name, (features, labels) in states.items():
        vci = variability_collapse_index(features, labels)
        for convention in CONVENTIONS:
            report = measure(features, labels, None, convention=convention, num_classes=num_classes)
            read = report.as_dict() | {"vci": vci, "split": _split(features, labels, report)}
            row = {"network": name, "convention": convention}
            rows.append(row | {key: read[key] for key in keys})
    return Table.of(rows)


def _split(features: Tensor, labels: Tensor, report: CollapseReport) -> float:
    within = _centred(features, labels)[0].square().sum(1).mean().item()
    total = (features.double() - features.double().mean(0)).square().sum(1).mean().item()
    return abs(within + within / report.trace_ratio - total) / total


def imbalance(final: Features, *, num_classes: int) -> Table:
    """The features of one network, thinned to ever longer tails.

    Returns:
        Columns ratio, convention, pinv_trace, trace_ratio.
    """
    rows = []
    for ratio in (1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 14.0, 20.0):
        kept = tail(final.labels, ratio=ratio)
        for convention in CONVENTIONS:
            report = measure(
                final.features[kept], final.labels[kept], None,
                convention=convention, num_classes=num_classes,
            )  # fmt: skip
            read = {"pinv_trace": report.pinv_trace, "trace_ratio": report.trace_ratio}
            rows.append({"ratio": ratio, "convention": convention, **read})
    return Table.of(rows)


def layers(model: MLP, dataset: Dataset) -> Table:
    """Every definition for each layer of a network, the pixels first.

    Returns:
        Columns layer and the `DEFINITIONS`.
    """
    outputs = {"pixels": dataset.inputs.flatten(1)}
    with torch.no_grad():
        x = dataset.inputs
        for module in model.eval().body.children():
            x = module(x)
            if isinstance(module, nn.ReLU):
                outputs[f"layer {len(outputs)}"] = x
    reports = measure_layers(outputs, dataset.labels, num_classes=dataset.num_classes)
    return Table.of(
        {"layer": layer, **{key: getattr(report, key) for key in DEFINITIONS}}
        for layer, report in reports.items()
    )


def stretched(final: Features) -> Table:
    """What a definition reads before and after an invertible linear map of the features.

    The map stretches one direction 3-fold: of those orthogonal to all differences of class means,
    the one in which samples vary most.

    Returns:
        Columns measure ("vci" and the `DEFINITIONS`), before, after.
    """
    features = final.features.double()
    centred, means = _centred(features, final.labels)
    seen = torch.linalg.svd(means - means.mean(0), full_matrices=False).Vh[: len(means) - 1]
    widest = torch.linalg.svd(centred - centred @ seen.T @ seen, full_matrices=False).Vh[:1]
    columns: dict[str, list[str | float]] = {"measure": ["vci", *DEFINITIONS]}
    for column, given in (
        ("before", features),
        ("after", features + 2 * features @ widest.T @ widest),
    ):
        report = measure(given, final.labels, None, num_classes=int(final.labels.max()) + 1)
        columns[column] = [
            variability_collapse_index(given, final.labels),
            *(getattr(report, key) for key in DEFINITIONS),
        ]
    return Table(columns)


def simplex_factor(final: Features, *, seed: int) -> Table:
    """What tr(S_W S_B^+) is, over (K-1) phi tr S_W / tr S_B: 1 if the means are a simplex ETF.

    Returns:
        Columns means ("network", "simplex": the same spread around the vertices of a simplex) and
        factor.
    """
    centred, means = _centred(final.features, final.labels)
    count, dim = means.shape
    generator = torch.Generator().manual_seed(seed)
    vertices = simplex_etf(count, dim, generator=generator, dtype=torch.float64)
    rows = []
    for name, corners in (("network", means - means.mean(0)), ("simplex", vertices)):
        directions = torch.linalg.svd(corners, full_matrices=False).Vh[: count - 1]
        share = (centred @ directions.T).square().sum() / centred.square().sum()
        report = measure(corners[final.labels] + centred, final.labels, None, num_classes=count)
        factor = report.pinv_trace / ((count - 1) * share.item() * report.trace_ratio)
        rows.append({"means": name, "factor": factor})
    return Table.of(rows)


def stream(final: Features, *, num_classes: int) -> Table:
    """The stream's numbers beside those of the whole, and the mean over batches' own NC1.

    Batches of 10 K samples hold 10 of each class. The stream reads 7 samples at a time.

    Returns:
        Columns field, whole, stream, batches.
    """
    features, labels = final.features, final.labels
    fields = ("pinv_trace", "trace_ratio", "trace_fraction", "cdnv", "nc2_equiangular")
    metric = CollapseMetric(num_classes)
    for start in range(0, len(labels), 7):
        metric.update(features[start : start + 7], labels[start : start + 7])
    whole, streamed = measure(features, labels, None, num_classes=num_classes), metric.compute()
    parts = [
        measure(features[rows], labels[rows], None, num_classes=num_classes)
        for rows in stratified(labels, per_class=10)
    ]
    return Table(
        {
            "field": list(fields),
            "whole": [getattr(whole, key) for key in fields],
            "stream": [getattr(streamed, key) for key in fields],
            "batches": [sum(getattr(part, key) for part in parts) / len(parts) for key in fields],
        }
    )


def stratified(labels: Tensor, *, per_class: int) -> list[Int[Tensor, " batch"]]:
    """Rows of batches that hold equally many samples of each class, as many as fill up."""
    num_classes = int(labels.max()) + 1
    rows = [(labels == k).nonzero().flatten() for k in range(num_classes)]
    count = min(map(len, rows)) // per_class
    cut = [r[: count * per_class].split(per_class) for r in rows]
    return [torch.cat([pieces[batch] for pieces in cut]) for batch in range(count)]


# What float32 does --------------------------------------------------------------------------------


def spreads(*, seed: int, draws: int = 10) -> Table:
    """The trace of S_W of ten clouds of 100 float32 samples at mean 5, in three ways.

    Args:
        seed: of the clouds.
        draws: how many times the ten clouds are drawn.

    Returns:
        Columns spread (standard deviation within a class; that of class means is 1), and the
        relative error against float64, mean over the draws, of one_pass (E|h|^2 - E|mu|^2),
        two_pass (subtract class means, then square; both in float32) and measure; and value, what
        one_pass reads in the first draw, over the truth.
    """
    rows = []
    for exponent in range(6):
        spread = 10.0**-exponent
        drawn = [_readings(spread, seed=draws * seed + draw) for draw in range(draws)]
        errors = {
            key: mean(abs(readings[key] - 1) for readings in drawn)
            for key in ("one_pass", "two_pass", "measure")
        }
        rows.append({"spread": spread, "value": drawn[0]["one_pass"], **errors})
    return Table.of(rows)


def _readings(spread: float, *, seed: int) -> dict[str, float]:
    """What the three ways of `spreads` read for one draw of the clouds, over the truth."""
    features, labels = _clouds(torch.ones(10), spread, offset=5.0, seed=seed)
    means = torch.stack([features[labels == k].mean(0) for k in range(10)])
    one_pass = features.square().sum(1).mean() - means.square().sum(1).mean()
    two_pass = (features - means[labels]).square().sum(1).mean()
    centred, exact = _centred(features, labels)
    truth = centred.square().sum(1).mean().item()
    between = (exact - exact.mean(0)).square().sum(1).mean().item()
    measured = measure(features, labels, None, num_classes=10).trace_ratio * between
    return {
        "one_pass": one_pass.item() / truth,
        "two_pass": two_pass.item() / truth,
        "measure": measured / truth,
    }


def inverses(*, seed: int, draws: int = 20) -> Table:
    """NC1 = tr(S_W S_B^+) of float32 clouds, over its value in float64, in three ways.

    The norms of the class means span a factor of 10 or 1,000.

    Returns:
        Columns span, draw; default (torch's pinv of S_B), generous (its cut-off at 1e-8 of the
        largest eigenvalue), measure: each divided by the truth.
    """
    rows = []
    for span in (10.0, 1000.0):
        norms = span ** -(torch.arange(10) / 9)
        for draw in range(draws):
            smallest = 0.3 * float(norms[-1])
            features, labels = _clouds(norms, smallest, offset=0.0, seed=1000 * seed + draw)
            means = torch.stack([features[labels == k].mean(0) for k in range(10)])
            centred = features - means[labels]
            within = centred.T @ centred / len(labels)
            between = (means - means.mean(0)).T @ (means - means.mean(0)) / 10
            truth = _pinv_trace(features, labels)
            read = {
                "default": (within @ torch.linalg.pinv(between)).trace().item(),
                "generous": (within @ torch.linalg.pinv(between, rtol=1e-8)).trace().item(),
                "measure": measure(features, labels, None, num_classes=10).pinv_trace,
            }
            over_truth = {key: value / truth for key, value in read.items()}
            rows.append({"span": span, "draw": draw, **over_truth})
    return Table.of(rows)


def half_precision(*, seed: int) -> Table:
    """What covariances multiplied under float16 autocast make of NC1, for ten clouds.

    Autocast multiplies matrices in float16, whose smallest positive number is 6e-8; the squares of
    a small spread are smaller.

    Returns:
        Columns spread (that of class means is 1), truth (in float64), float32, autocast, measure
        (under autocast), and greatest, the largest of four NC1s under autocast: tr(S_W S_B^+), that
        over K, tr S_W / tr S_B and tr S_W / (tr S_W + tr S_B).
    """
    rows = []
    for spread in (1e-1, 1e-2, 1e-3, 1e-4):
        features, labels = _clouds(torch.ones(10), spread, offset=0.0, seed=seed)
        centred, exact = _centred(features, labels)
        apart = exact - exact.mean(0)
        within, between = _covariances(features, labels)
        with torch.autocast("cpu", dtype=torch.float16):
            half, half_between = (matrix.float() for matrix in _covariances(features, labels))
            measured = measure(features, labels, None).trace_ratio
        inverse = (half @ torch.linalg.pinv(half_between)).trace().item()
        ratio = (half.trace() / half_between.trace()).item()
        rows.append(
            {
                "spread": spread,
                "truth": (centred.square().sum(1).mean() / apart.square().sum(1).mean()).item(),
                "float32": (within.trace() / between.trace()).item(),
                "autocast": ratio,
                "measure": measured,
                "greatest": max(abs(inverse), abs(inverse) / 10, ratio, ratio / (1 + ratio)),
            }
        )
    return Table.of(rows)


def _covariances(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """S_W and S_B as chapter 2 writes them, in the precision that is set."""
    means = torch.stack([features[labels == k].mean(0) for k in range(10)])
    centred, apart = features - means[labels], means - means.mean(0)
    return centred.T @ centred / len(labels), apart.T @ apart / len(means)


def _clouds(norms: Tensor, spread: float, *, offset: float, seed: int) -> tuple[Tensor, Tensor]:
    """Ten classes of 100 samples in 64 dimensions, drawn in float64 and rounded to float32."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(10).repeat_interleave(100)
    means = torch.randn(10, 64, generator=generator, dtype=torch.float64)
    means = (means - means.mean(0)) * norms[:, None]
    noise = torch.randn(1000, 64, generator=generator, dtype=torch.float64)
    return (offset + means[labels] + spread * noise).float(), labels


def _centred(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Samples minus their class means, and the class means, plainly in float64."""
    features = features.double()
    means = torch.stack([features[labels == k].mean(0) for k in range(int(labels.max()) + 1)])
    return features - means[labels], means


def _pinv_trace(features: Tensor, labels: Tensor) -> float:
    """tr(S_W S_B^+) from an SVD of the centred class means, plainly in float64."""
    centred, means = _centred(features, labels)
    _, lengths, axes = torch.linalg.svd(means - means.mean(0), full_matrices=False)
    lengths, axes = lengths[:-1], axes[:-1]
    return float(((centred @ axes.T).square().mean(0) / (lengths.square() / len(means))).sum())


# A zero that proves nothing -----------------------------------------------------------------------


def duality(*, seed: int) -> Table:
    """W = pinv(M)^T of ever less even means M (ten, in 32 dimensions), features at the means.

    Returns:
        Columns unevenness (of the perturbation of a simplex), nc2_structure (of the means), nc3,
        nc3_structure, and angle: the largest between the two row spaces, in degrees.
    """
    generator = torch.Generator().manual_seed(seed)
    simplex = simplex_etf(10, 32, generator=generator, dtype=torch.float64)
    push = torch.randn(10, 32, generator=generator, dtype=torch.float64) / math.sqrt(32)
    rows = []
    for unevenness in (0.0, 0.125, 0.25, 0.5, 1.0, 2.0):
        means = simplex + unevenness * (push - push.mean(0))
        weight = torch.linalg.pinv(means).T
        report = measure(means, torch.arange(10), weight)
        rows.append(
            {
                "unevenness": unevenness,
                "nc2_structure": report.nc2_structure,
                "nc3": report.nc3,
                "nc3_structure": report.nc3_structure,
                "angle": principal_angles(means, weight).max().rad2deg().item(),
            }
        )
    return Table.of(rows)


# The experiment -----------------------------------------------------------------------------------


@declared(
    scales={"laptop": "a few seconds"},
    data=lambda scale, seed: digits(),
    needs={"classes": 2, "training samples": 10},
    resumable=True,
)
def experiment(dataset: Dataset, asked: Asked) -> dict[str, Table]:
    """One network under all definitions, and the arithmetic of each: one seed.

    The data are what the two networks train on.

    Returns:
        An `Outcome` with the tables "dials", "networks", "imbalance", "layers", "stretched",
        "simplex factor", "spreads", "inverses", "half precision", "duality", "stream".
    """
    seed = asked.seed
    equal = equal_classes(dataset, seed=seed)
    model, passes = train(equal, seed=seed)
    _, narrow = train(equal, seed=seed, width=32)
    final, count = passes[EPOCHS], dataset.num_classes
    return {
        "dials": dials(),
        "networks": networks(passes, narrow[EPOCHS], num_classes=count),
        "imbalance": imbalance(final, num_classes=count),
        "layers": layers(model, equal),
        "stretched": stretched(final),
        "simplex factor": simplex_factor(final, seed=seed),
        "spreads": spreads(seed=seed),
        "inverses": inverses(seed=seed),
        "half precision": half_precision(seed=seed),
        "duality": duality(seed=seed),
        "stream": stream(final, num_classes=count),
    }


def equal_classes(dataset: Dataset, *, seed: int) -> Dataset:
    """As many training samples of each class as the smallest one has."""
    return dataset.take(int(dataset.labels.bincount().min()), seed=seed)


def claims(tables: Mapping[str, Table]) -> tuple[Claim, ...]:
    """What the tables of `experiment` assert; a pure function, so that false runs can be tried."""
    return (*definitions(tables), *conventions(tables))


def definitions(tables: Mapping[str, Table]) -> tuple[Claim, ...]:
    """The claims about the four numbers and their names, which are chapter 2's."""
    own, others, left_behind = _dial_errors(tables["dials"])
    equal = tables["networks"].where(network="d = 256")
    nc1 = sorted(equal["nc1"])
    step = min(b / a for a, b in pairwise(nc1))
    zero = tables["duality"]
    return (
        Claim.of(
            "Each dial moves its own of NC1 to NC4 to the value worked out by hand, within {0:e}, "
            "and leaves the others within {1:e} of 0; a stretched triangle whose classifier stays "
            "behind moves NC3 as well, by more than {2}",
            {
                "largest error of the own metric": at_most(1e-9, own),
                "largest of the others": at_most(1e-12, others),
            },
            PAPYAN,
            {"NC3, classifier left behind": above(0.05, left_behind)},
            data=MADE,
            fixed_data=True,
        ),
        Claim.of(
            "One network has four different NC1s: each is at least {2:+%} above the next, the "
            "greatest at least {0} times the least. One and the same formula gives one number "
            "under all four conventions, within 1e-9, because classes are equal",
            {
                "greatest over least": at_least(5, nc1[-1] / nc1[0]),
                "least step": step,
            },
            NC1,
            {
                "tr(Σ_W Σ_B⁺), greatest over least": proved(
                    at_most(SAME, _range(equal["pinv_trace"]))
                )
            },
            also={"step": at_least(1.1, step)},
        ),
        Claim.of(
            "W = pinv(M)ᵀ has structure error at most {0:e} and spans the space of the means "
            "(within {3:e} degrees) however uneven they are, while NC3 rises above {1}; at a "
            "simplex NC3 is 0 as well",
            {
                "largest structure error": at_most(1e-12, max(zero["nc3_structure"])),
                "NC3, most uneven": above(0.1, zero["nc3"][-1]),
            },
            "Zhu et al. 2021 (the structure error); this course, the classifier",
            {"NC3 at a simplex": at_most(1e-12, zero["nc3"][0])},
            also={"largest angle": at_most(1e-6, max(zero["angle"]))},
            data=MADE,
            fixed_data=True,
        ),
    )


def conventions(tables: Mapping[str, Table]) -> tuple[Claim, ...]:
    """The claims about conventions and rounding, which are chapter 12's."""
    networks = tables["networks"]
    equal, thin = networks.where(network="d = 256"), networks.where(network="thinned")
    early, narrow = networks.where(network="d = 256, epoch 5"), networks.where(network="d = 32")
    order = {key: over(narrow[key][0], equal[key][0]) for key in (*DEFINITIONS, "vci")}
    widest = max(_range(equal[key]) for key in DEFINITIONS)
    split = {row["convention"]: row["split"] for row in thin.rows()}
    stretched = {row["measure"]: row for row in tables["stretched"].rows()}
    vci = stretched["vci"]
    stretch = {name: abs(over(row["after"], row["before"]) - 1) for name, row in stretched.items()}
    factor = {row["means"]: row["factor"] for row in tables["simplex factor"].rows()}
    float32 = {row["spread"]: row for row in tables["spreads"].rows()}
    far, near = (tables["inverses"].where(span=span) for span in (1000.0, 10.0))
    default = max(abs(value - 1) for value in near["default"])
    measured = max(abs(value - 1) for value in (*far["measure"], *near["measure"]))
    halved = tables["half precision"]
    half = {row["spread"]: row for row in halved.rows()}
    off = {key: _greatest_error(halved[key], halved["truth"]) for key in ("float32", "measure")}
    streamed = tables["stream"]
    return (
        Claim.of(
            "With unequal classes one and the same formula differs too: from the features of that "
            "network, thinned to a 20:1 tail, the conventions make tr(Σ_W Σ_B⁺) differ at least "
            "{0}-fold and tr Σ_W / tr Σ_B by at least {1:+%}; with equal classes by less than 1e-9",
            {
                "tr(Σ_W Σ_B⁺), greatest over least": at_least(1.5, _range(thin["pinv_trace"])),
                "tr Σ_W / tr Σ_B": at_least(1.05, _range(thin["trace_ratio"])),
            },
            MEASURED,
            {"any of them, equal classes": proved(at_most(SAME, widest))},
        ),
        Claim.of(
            "Definitions disagree about which of two networks has collapsed further: with 32 in "
            "place of 256 features all five ratios are at least {0:-%} lower and VCI at least "
            "{1:+%} higher. Between epochs 5 and 30 of one network all six fall",
            {
                "32 over 256 features, largest ratio": at_most(
                    0.8, max(order[key] for key in DEFINITIONS), natural="rate"
                ),
                "VCI": at_least(1.2, order["vci"]),
            },
            MEASURED,
            {
                "least fall from epoch 5 to 30": above(
                    1, min(over(early[key][0], equal[key][0]) for key in order)
                )
            },
        ),
        Claim.of(
            "Σ_T = Σ_W + Σ_B (traces, within {0:e}) with weights n_c/N around the mean of all "
            "samples; with any other convention the traces are off by at least {1:%}",
            {"off by, weights n_c/N": proved(at_most(1e-6, split["wu"]))},
            COURSE,
            {
                "least, other conventions": at_least(
                    0.005, min(value for name, value in split.items() if name != "wu")
                )
            },
        ),
        Claim.of(
            "At a simplex tr(Σ_W Σ_B⁺) is (K−1) φ times tr Σ_W / tr Σ_B, within {1:e}; with the "
            "same spread around the network's own means it is at least {0:+%} more",
            {"quotient at a simplex": factor["simplex"]},
            COURSE,
            {"at the network's means": at_least(1.02, factor["network"])},
            also={"off 1 at a simplex": proved(at_most(1e-9, abs(factor["simplex"] - 1)))},
        ),
        Claim.of(
            "Stretching one direction orthogonal to the means 3-fold leaves VCI within {1:e} and "
            "moves tr Σ_W / tr Σ_B by more than {0:%}",
            {"VCI moves by the fraction": stretch["vci"]},
            "Xu and Liu 2023 (VCI); this course, measured",
            {"tr Σ_W / tr Σ_B": above(0.2, stretch["trace_ratio"])},
            also={"VCI moves by": proved(at_most(1e-6, abs(vci["after"] - vci["before"])))},
        ),
        Claim.of(
            "In float32 the one-pass variance is wrong, in the mean of 10 draws, by at least its "
            "own size at spread 1e-4 around mean 5; at 0.1 by less than {1:%}, and `measure` is "
            "within {2:e} at all spreads",
            {"one pass, relative error at 1e-4": at_least(1, float32[1e-4]["one_pass"])},
            MEASURED,
            {
                "one pass at 0.1": below(0.01, float32[0.1]["one_pass"]),
                "measure, largest": at_most(1e-6, max(tables["spreads"]["measure"])),
            },
            data=MADE,
            fixed_data=True,
        ),
        Claim.of(
            "A pseudo-inverse of Σ_B in float32 loses at least {0:words} of NC1 in each of 20 "
            "draws when the norms of the means span a factor of 1,000, and with a smaller cut-off "
            "NC1 comes out negative in at least one; when they span 10 the default is within "
            "{2:e}, and `measure` is within {3:e} throughout",
            {
                "default, most of the true value": at_most(1 / 2, max(far["default"])),
                "smaller cut-off, least": below(0, min(far["generous"])),
            },
            MEASURED,
            {
                "default, span 10, error": at_most(1e-4, default),
                "measure, largest error": at_most(1e-6, measured),
            },
            data=MADE,
            fixed_data=True,
        ),
        Claim.of(
            "Under float16 autocast all four NC1s of clouds with a spread of 1e-4 are exactly 0, "
            "because Σ_W is; without it tr Σ_W / tr Σ_B is within {1:%} of the truth, with "
            "it too at a spread of 0.01, and `measure` is within {3:e} under autocast",
            {"greatest of four at 1e-4": at_most(0, half[1e-4]["greatest"])},
            MEASURED,
            {
                "float32, error": below(0.01, off["float32"]),
                "autocast at 0.01, error": below(
                    0.01, abs(over(half[0.01]["autocast"], half[0.01]["truth"]) - 1)
                ),
                "measure, error": at_most(1e-6, off["measure"]),
            },
            data=MADE,
            fixed_data=True,
        ),
        Claim.of(
            "A stream of 7 samples at a time gives the numbers of `measure` within {0:e}; the mean "
            "of NC1 over batches of 10 a class is at least {1:%} off",
            {
                "largest relative difference": proved(
                    at_most(1e-6, _greatest_error(streamed["stream"], streamed["whole"]))
                )
            },
            MEASURED,
            {
                "mean over batches": at_least(
                    0.05, abs(streamed["batches"][0] / streamed["whole"][0] - 1)
                )
            },
        ),
    )


def _dial_errors(table: Table) -> tuple[float, float, float]:
    """Largest error of the own metric, largest of the others, NC3 with W left behind."""
    own, others = [], []
    for row in table.rows():
        if row["dial"] not in DIALS:
            continue
        mine = f"nc{DIALS.index(row['dial']) + 1}"
        own.append(abs(row[mine] - row["known"]))
        others += [row[key] for key in ("nc1", "nc2", "nc3", "nc4") if key != mine]
    return max(own), max(others), table.last["nc3"]


def _range(values: list[float]) -> float:
    """Greatest over least."""
    return max(values) / min(values)


def _greatest_error(values: list[float], truths: list[float]) -> float:
    return max(abs(a / b - 1) for a, b in zip(values, truths, strict=True))
