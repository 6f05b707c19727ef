"""Súkeník, Lampert, Mondelli 2025: the deeper a regularized network, the nearer to collapse.

"Neural collapse is globally optimal in deep regularized ResNets and Transformers" (NeurIPS 2025,
arXiv 2505.15239). LayerNorm puts every feature on a sphere, and a residual network can move a
sample to any place there in many small steps. With one linear layer a block, L steps of size c/L
cost L (c/L)^2 in weight decay, which vanishes with depth. So training a very deep network reduces
to an unconstrained features model in which equal inputs share a feature; where no input has two
labels, its optimum is collapsed. With two linear layers a block a step is a product and the total
stays at about 2c, unless the weight decay itself goes to zero.

The theorems are known here second-hand, and the exact block is an assumption: x -> LN(x + step),
LN(v) = v minus its mean entry, divided by its length, without trainable scale. The closed forms,
the bounds and their proofs, the network built by hand, the data and all thresholds are this
course's.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import brentq
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot, softmax

from ncourse import models
from ncourse.claims import Claim, DataCard, Outcome
from ncourse.comparisons import (
    above,
    at_least,
    at_most,
    below,
    between,
    equal,
    over,
    proved,
)
from ncourse.data import Dataset, digits, gaussian_mixture
from ncourse.metrics import measure
from ncourse.models import normalise
from ncourse.papers import Asked, declared
from ncourse.progress import progress_bar
from ncourse.simplex import cosine_matrix, off_diagonal
from ncourse.tables import Table
from ncourse.ties import solve_tied

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "Decoder",
    "Network",
    "Optimum",
    "Problem",
    "by_hand",
    "claims",
    "claims_over_seeds",
    "decay_at",
    "decoder_claims",
    "decoder_table",
    "depth_tables",
    "experiment",
    "experiments",
    "induction",
    "label_counts",
    "letters",
    "limit",
    "longest_way",
    "mixture",
    "optimality_gap",
    "optimum",
    "report",
    "report_decoder",
    "rows_as_tokens",
    "solve_limit",
    "spending",
    "splitting_cost",
    "train",
    "train_decoder",
    "with_conflicts",
    "with_random_labels",
]

SUKENIK = "Súkeník, Lampert, Mondelli 2025, as summarised second-hand"
COURSE = "This course"


# --- the limiting problem -------------------------------------------------------------------------


@dataclass(frozen=True)
class Optimum:
    """The optimum of the loss over all unit features of mean zero and all classifiers.

    Attributes:
        loss: its value f*, a lower bound on the loss of every network that ends in LayerNorm.
        scale: the length s of each classifier row; the mean of the lengths where they differ.
        cosine: between two class means: -1/(K-1) for cross-entropy (a simplex), 0 for MSE.
        nc1: within over between (trace ratio) of its features: 0 unless one input has two labels.
    """

    loss: float
    scale: float
    cosine: float
    nc1: float = 0.0


def optimum(num_classes: int, weight_decay: float, *, loss: str = "cross-entropy") -> Optimum:
    """The limiting optimum in closed form, for classes of equal size and no bias.

    Cross-entropy: features on a simplex, classifier rows s times the class means, where s solves
    lambda s = 1/(e^{sK/(K-1)} + K - 1). MSE, half the squared distance to the one-hot label:
    orthonormal class means, logits I/(1 + K lambda).

    Args:
        num_classes: K >= 2.
        weight_decay: lambda > 0, coefficient of ||W||^2 / 2.
        loss: "cross-entropy" or "mse".

    Raises:
        ValueError: for K < 2, lambda <= 0 or another loss.

    Source: the optimisation problem is the paper's (second-hand); the closed forms and their proof
    are this course's, chapter 8.

    >>> round(optimum(4, 0.005).loss, 6), round(optimum(4, 0.05).scale, 5)
    (0.143064, 1.65496)
    """
    if num_classes < 2 or not weight_decay > 0:
        raise ValueError(
            f"got num_classes={num_classes}, weight_decay={weight_decay}; expected at least 2 "
            "classes and a positive weight decay (without it the loss has no minimum)"
        )
    k = num_classes
    if loss == "mse":
        shrunk = 1 / (1 + k * weight_decay)
        return Optimum(loss=weight_decay / 2 * k * shrunk, scale=shrunk, cosine=0.0)
    if loss != "cross-entropy":
        raise ValueError(f"loss is {loss!r}; expected 'cross-entropy' or 'mse'")
    # The left side grows and the right side falls: one root, below 1/(lambda K).
    scale = brentq(
        lambda s: weight_decay * s - math.exp(-_softplus_margin(s, k)),
        0,
        1 / (weight_decay * k),
        xtol=1e-14,
    )
    value = math.log1p((k - 1) * math.exp(-scale * k / (k - 1)))
    return Optimum(value + weight_decay / 2 * k * scale**2, scale, -1 / (k - 1))


def solve_limit(
    counts: Float[Tensor, "inputs classes"],
    weight_decay: float,
    *,
    loss: str = "cross-entropy",
    seed: int = 0,
) -> Optimum:
    """The optimum where equal inputs share a feature, proved to be global (`ncourse.ties`).

    Args:
        counts: `(distinct inputs, K)`, how often each is seen with each label (`label_counts`).
            The identity is the problem of `optimum`: one input a class, one label an input.
        weight_decay: lambda, as in `optimum`.
        loss: as in `optimum`.
        seed: of the starts.

    Returns:
        The optimum, for any number of dimensions above the number of different rows. Where a
        feature need not be at its full length its direction outside the classifier's span is free:
        `nc1` is then that of the solution that was found.

    Raises:
        ValueError: for counts or a weight decay that make no such problem.
        RuntimeError: if none of five starts ends where its own lower bound is.

    Source: the model with ties is the paper's (second-hand); the lower bound is this course's,
    chapter 8.

    >>> round(solve_limit(torch.eye(4), 0.005).loss, 6)  # as in closed form
    0.143064
    >>> one_context_two_words = torch.tensor([[3.0, 1], [1, 3]])
    >>> round(solve_limit(one_context_two_words, 0.005).nc1, 3)
    3.0
    """
    found = solve_tied(counts, weight_decay, loss=loss, seed=seed)
    cosine = off_diagonal(cosine_matrix(found.class_means)).mean().item()
    return Optimum(found.loss, found.weight.norm(dim=1).mean().item(), cosine, found.nc1)


def splitting_cost(distance: float, depth: int, *, layers_per_block: int) -> float:
    """The least sum of squared weights that moves one feature by `distance` in `depth` steps.

    A step of length c/L along a fixed direction needs a weight of size c/L in a block of one linear
    layer, and two of size sqrt(c/L) in a block of two. In total c^2/L, and 2c whatever the depth.

    Args:
        distance: c > 0.
        depth: L >= 1.
        layers_per_block: 1 or 2.

    Source: the paper's argument (second-hand) in its simplest case, scalars.

    >>> [splitting_cost(1.5, depth, layers_per_block=1) for depth in (1, 9)]
    [2.25, 0.25]
    >>> [splitting_cost(1.5, depth, layers_per_block=2) for depth in (1, 9)]
    [3.0, 3.0]
    """
    if not distance > 0 or depth < 1 or layers_per_block not in (1, 2):
        raise ValueError(
            f"got distance={distance}, depth={depth}, layers_per_block={layers_per_block}; "
            "expected a positive distance, at least one block, and 1 or 2 layers in each"
        )
    return distance**2 / depth if layers_per_block == 1 else 2 * distance


def _softplus_margin(scale: float, k: int) -> float:
    """log(e^{sK/(K-1)} + K - 1) without overflow."""
    return float(np.logaddexp(scale * k / (k - 1), math.log(k - 1)))


# --- problems -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """What a network of this chapter is trained on: balanced, already on the sphere.

    Attributes:
        name: what it is.
        inputs: `(N, d)`, or `(N, tokens, d)` for Transformers, rows of mean zero and length 1; for
            a `Decoder` `(N, tokens)` of whole numbers or `(N, tokens, width)`, as they come.
        labels: `(N,)`, every class equally often.
        num_classes: K.
    """

    name: str
    inputs: Float[Tensor, "samples ..."] | Int[Tensor, "samples tokens"]
    labels: Int[Tensor, " samples"]
    num_classes: int

    def __post_init__(self) -> None:
        counts = torch.bincount(self.labels, minlength=self.num_classes)
        least = int(counts.min())
        if least != counts.max():
            cure = (
                f"take {least} of each: Dataset.take({least})"
                if least
                else f"leave out class {int(counts.argmin())}, which has none"
            )
            raise ValueError(
                f"{self.name}: classes have {counts.tolist()} samples; the closed form, and so the "
                f"gap, needs classes of equal size — {cure}"
            )


def label_counts(problem: Problem) -> Float[Tensor, "inputs classes"]:
    """How often each distinct input is seen with each label, `(distinct inputs, K)`."""
    _, which = torch.unique(problem.inputs.flatten(1), dim=0, return_inverse=True)
    counts = torch.zeros(int(which.max()) + 1, problem.num_classes, dtype=torch.float64)
    one = torch.ones(len(which), dtype=torch.float64)
    return counts.index_put_((which, problem.labels), one, accumulate=True)


def limit(problem: Problem, weight_decay: float, *, loss: str = "cross-entropy") -> Optimum:
    """The limiting optimum of a problem: `optimum`, or `solve_limit` where an input has two labels.

    No network that ends in LayerNorm gets below its loss on this problem.
    """
    counts = label_counts(problem)
    if int((counts > 0).sum()) == len(counts):
        return optimum(problem.num_classes, weight_decay, loss=loss)
    return solve_limit(counts, weight_decay, loss=loss)


def mixture(*, seed: int) -> Problem:
    """4 Gaussian classes of 20 samples in 32 dimensions, means N(0, I), noise I."""
    data = _mixture_data(seed=seed)
    return Problem("mixture", normalise(data.inputs), data.labels, 4)


def _mixture_data(*, seed: int) -> Dataset:
    return gaussian_mixture(4, 32, train_per_class=20, test_per_class=0, seed=seed)


def _from_dataset(data: Dataset, *, seed: int) -> Problem:
    """Samples of each class, flattened, in at most `MOST` of their principal directions.

    As many of each as `_per_class` says. Zeros are appended if K vertices would not fit. A block
    has as many rows and columns as the inputs have entries: with 784 pixels 150 times as many as
    with 64.
    """
    some = data.take(_per_class(data, data.num_classes, 20), seed=seed)
    order = torch.argsort(some.labels, stable=True)
    inputs = some.inputs[order].flatten(1)
    if inputs.shape[1] > MOST:
        centred = inputs - inputs.mean(0)
        inputs = centred @ torch.linalg.svd(centred, full_matrices=False).Vh[:MOST].T
    missing = max(0, data.num_classes + 1 - inputs.shape[1])
    inputs = torch.nn.functional.pad(inputs, (0, missing))
    return Problem(data.name, normalise(inputs), some.labels[order], data.num_classes)


def _per_class(data: Dataset, num_classes: int, most: int) -> int:
    """`most`, or as many as the smallest class has; with many classes no more than `SAMPLES`."""
    return min(most, _least(data, num_classes), max(2, SAMPLES // num_classes))


def _least(data: Dataset, num_classes: int) -> int:
    """How many samples the smallest of the first classes has."""
    return int(torch.bincount(data.labels, minlength=num_classes)[:num_classes].min())


def with_random_labels(problem: Problem, *, seed: int) -> Problem:
    """The same samples with their labels shuffled, so that classes stay equally large."""
    order = torch.randperm(len(problem.labels), generator=torch.Generator().manual_seed(seed))
    return replace(problem, name=f"{problem.name}, random labels", labels=problem.labels[order])


def with_conflicts(problem: Problem, *, copies: int = 2) -> Problem:
    """Samples of each class are replaced by copies of samples of the next: conflicting labels.

    Args:
        problem: labels in blocks of n, as `mixture` makes them.
        copies: how many samples of each class are overwritten.
    """
    inputs, labels = problem.inputs.clone(), problem.labels
    for k in range(problem.num_classes):
        mine = (labels == k).nonzero().squeeze(1)
        other = (labels == (k + 1) % problem.num_classes).nonzero().squeeze(1)
        inputs[mine[:copies]] = problem.inputs[other[-copies:]]
    return replace(problem, name=f"{problem.name}, conflicting labels", inputs=inputs)


def rows_as_tokens(
    data: Dataset, per_class: int, *, num_classes: int, seed: int, embedded: bool = True
) -> Problem:
    """Images whose rows are the tokens, in a fixed random embedding with random positions.

    Args:
        data: images `(N, channels, height, width)`; channels are joined to the row.
        per_class: samples of each class.
        num_classes: the first so many classes are used.
        seed: of the samples, the embedding and the positions.
        embedded: False leaves the rows as they are, for a `Decoder`.
    """
    keep = data.labels < num_classes
    chosen = replace(
        data,
        inputs=data.inputs[keep],
        labels=data.labels[keep],
        class_names=data.class_names[:num_classes],
        test_inputs=data.test_inputs[:0],
        test_labels=data.test_labels[:0],
    ).take(per_class, seed=seed)
    rows = chosen.inputs.permute(0, 2, 1, 3).flatten(2)  # (N, height, channels * width)
    if not embedded:
        return Problem(f"rows of {data.name}", rows, chosen.labels, num_classes)
    generator = torch.Generator().manual_seed(seed)
    embedding = torch.randn(rows.shape[2], TOKEN_DIM, generator=generator) / math.sqrt(
        rows.shape[2]
    )
    position = 0.3 * torch.randn(rows.shape[1], TOKEN_DIM, generator=generator)
    return Problem(
        f"rows of {data.name}",
        normalise(rows @ embedding + position),
        chosen.labels,
        num_classes,
    )


def letters(*, seed: int, embedded: bool = True) -> Problem:
    """Seven of four letters and a query token: the label is the most frequent letter.

    Args:
        seed: of the sequences and their random embedding.
        embedded: False leaves whole numbers 0 to 4, for a `Decoder`.
    """

    def draw(random: np.random.Generator) -> tuple[tuple[int, ...], int] | None:
        sequence = random.integers(0, 4, 7)
        counts = np.bincount(sequence, minlength=4)
        if (counts == counts.max()).sum() > 1:
            return None
        return (*sequence.tolist(), 4), int(counts.argmax())

    return _sequences("most frequent letter", draw, 5 if embedded else None, seed=seed)


def induction(*, seed: int) -> Problem:
    """Three key-value pairs and one of the keys: the label is the value beside that key.

    Keys are the tokens 0 to 3, values the tokens 4 to 7. The same last token has every label, so a
    network that does not look at the context cannot do better than chance.
    """

    def draw(random: np.random.Generator) -> tuple[tuple[int, ...], int]:
        keys, values = random.permutation(4)[:3], random.permutation(4)[:3]
        asked = int(random.integers(3))
        pairs = [int(t) for pair in zip(keys, values + 4, strict=True) for t in pair]
        return (*pairs, int(keys[asked])), int(values[asked])

    return _sequences("induction", draw, 8, seed=seed)


def _sequences(name: str, draw, vocabulary: int | None, *, seed: int) -> Problem:
    """25 different sequences for each of 4 labels, embedded at random if there is a vocabulary."""
    random = np.random.default_rng(seed)
    found: dict[int, dict[tuple[int, ...], None]] = {k: {} for k in range(4)}
    while min(len(sequences) for sequences in found.values()) < 25:
        drawn = draw(random)
        if drawn is not None and len(found[drawn[1]]) < 25:
            found[drawn[1]][drawn[0]] = None
    tokens = torch.tensor([sequence for k in range(4) for sequence in found[k]])
    labels = torch.arange(4).repeat_interleave(25)
    if vocabulary is None:
        return Problem(name, tokens, labels, 4)
    generator = torch.Generator().manual_seed(seed)
    scale = 1 / math.sqrt(TOKEN_DIM)
    embedding = scale * torch.randn(vocabulary, TOKEN_DIM, generator=generator)
    position = 0.7 * scale * torch.randn(tokens.shape[1], TOKEN_DIM, generator=generator)
    return Problem(name, normalise(embedding[tokens] + position), labels, 4)


TOKEN_DIM = 32


# --- networks -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Architecture:
    """A kind of block.

    Attributes:
        layers: linear layers in the block's step, 1 or 2, with a ReLU after the first.
        attention: whether an attention step (row-softmax, one head) comes before it.
        layer_norm: whether LayerNorm follows each step; False is outside the theorem.
    """

    layers: int
    attention: bool = False
    layer_norm: bool = True

    @property
    def matrices(self) -> int:
        """How many d x d matrices a block has."""
        return self.layers + 2 * self.attention


ARCHITECTURES = {
    "RN1": Architecture(layers=1),
    "RN2": Architecture(layers=2),
    "Transformer 1": Architecture(layers=1, attention=True),
    "Transformer 2": Architecture(layers=2, attention=True),
    "RN1 without LayerNorm": Architecture(layers=1, layer_norm=False),
}


@dataclass(frozen=True)
class Network:
    """A trained network, or several side by side: `runs` of the same shape, one for each seed.

    Attributes:
        architecture: the kind of its blocks.
        blocks: `(depth, matrices, runs, d, d)`; a row vector x goes to x @ matrix. Attention first:
            queries-and-keys, then values.
        classifier: `(runs, K, d)`, no bias.
    """

    architecture: Architecture
    blocks: Float[Tensor, "depth matrices runs dim dim"]
    classifier: Float[Tensor, "runs classes dim"]

    def layers(self, inputs: Float[Tensor, "runs ..."]) -> list[Tensor]:
        """The inputs and the state after each block, `(runs, N, d)` each; of tokens the last."""
        states = [inputs]
        for block in self.blocks:
            states.append(_block(self.architecture, block, states[-1]))
        return [state if state.ndim == 3 else state[:, :, -1] for state in states]

    def features(self, inputs: Float[Tensor, "runs ..."]) -> Float[Tensor, "runs samples dim"]:
        """The last layer's input."""
        state = inputs
        for block in self.blocks:
            state = _block(self.architecture, block, state)
        return state if state.ndim == 3 else state[:, :, -1]

    def run(self, index: int) -> "Network":
        """One of the networks alone, in float64, as a `Network` with one run."""
        one = slice(index, index + 1)
        return Network(
            self.architecture, self.blocks[:, :, one].double(), self.classifier[one].double()
        )


def train(
    problems: Sequence[Problem],
    architecture: Architecture,
    depth: int,
    *,
    seeds: Sequence[int],
    weight_decay: float = 5e-3,
    loss: str = "cross-entropy",
    steps: int = 1500,
    learning_rate: float = 5e-3,
    progress: bool = True,
) -> Network:
    """Train one network a problem, all in one computation: full batch, Adam, cosine schedule.

    The networks do not interact: the objective is the sum of theirs and Adam works entry by entry.
    At these sizes a step costs little more for three of them than for one.

    Args:
        problems: of equal shapes.
        architecture: kind of block.
        depth: L >= 1 blocks.
        seeds: of the initial weights, one for each problem.
        weight_decay: lambda; lambda/2 times the sum of all squared weights is in the loss.
        loss: "cross-entropy" or "mse" (half the squared distance to the one-hot label), mean over
            samples.
        steps: of Adam.
        learning_rate: at the start; a hundredth of it at the end.
        progress: whether to show a bar.

    Raises:
        ValueError: if problems and seeds do not match, depth < 1 or the loss is unknown.
    """
    if len(problems) != len(seeds) or not problems:
        raise ValueError(f"got {len(problems)} problems and {len(seeds)} seeds; expected as many")
    if depth < 1 or loss not in ("cross-entropy", "mse"):
        raise ValueError(
            f"got depth={depth}, loss={loss!r}; expected depth >= 1, 'cross-entropy' or 'mse'"
        )
    inputs = torch.stack([problem.inputs for problem in problems])
    labels = torch.stack([problem.labels for problem in problems])
    network = _initial(architecture, depth, problems, seeds)
    parameters = [network.blocks, network.classifier]
    optimizer = torch.optim.Adam(parameters, lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, learning_rate / 100)
    for _ in progress_bar(range(steps), desc=f"depth {depth}", disable=not progress):
        optimizer.zero_grad()
        logits = network.features(inputs) @ network.classifier.transpose(1, 2)
        decay = sum(p.square().sum() for p in parameters)
        (_data_loss(logits, labels, loss).sum() + weight_decay / 2 * decay).backward()
        optimizer.step()
        schedule.step()
    return Network(architecture, network.blocks.detach(), network.classifier.detach())


def _initial(
    architecture: Architecture, depth: int, problems: Sequence[Problem], seeds: Sequence[int]
) -> Network:
    dim, num_classes = problems[0].inputs.shape[-1], problems[0].num_classes
    blocks = torch.empty(depth, architecture.matrices, len(seeds), dim, dim)
    classifier = torch.empty(len(seeds), num_classes, dim)
    for run, seed in enumerate(seeds):
        generator = torch.Generator().manual_seed(1000 + seed)
        shape = (depth, architecture.matrices, dim, dim)
        blocks[:, :, run] = 0.1 * torch.randn(shape, generator=generator) / math.sqrt(dim)
        if architecture.layers == 2:  # a product of two small matrices would start near a saddle
            blocks[:, -2:, run] *= 3
        classifier[run] = torch.randn(num_classes, dim, generator=generator) / math.sqrt(dim)
    return Network(architecture, blocks.requires_grad_(), classifier.requires_grad_())


def _block(architecture: Architecture, block: Tensor, state: Tensor) -> Tensor:
    """One block on `(runs, N, d)`, or on `(runs, N, tokens, d)` with attention."""
    settle = normalise if architecture.layer_norm else (lambda vectors: vectors)
    matrices = list(block if state.ndim == 3 else block.unsqueeze(2))
    if architecture.attention:
        attention, values, *matrices = matrices
        scores = state @ attention @ state.transpose(-1, -2) * math.sqrt(state.shape[-1])
        state = settle(state + softmax(scores, -1) @ (state @ values))
    step = torch.relu(state @ matrices[0])
    if architecture.layers == 2:
        step = step @ matrices[1]
    return settle(state + step)


def _data_loss(logits: Tensor, labels: Tensor, loss: str) -> Float[Tensor, " runs"]:
    if loss == "mse":
        targets = one_hot(labels, logits.shape[-1]).to(logits.dtype)
        return 0.5 * (logits - targets).square().sum(-1).mean(-1)
    flat = cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return flat.view(labels.shape).mean(-1)


# --- a network built by hand ----------------------------------------------------------------------


def by_hand(
    problem: Problem,
    depth: int,
    *,
    layers: int = 1,
    weight_decay: float = 5e-3,
    loss: str = "cross-entropy",
    residual: float = 0.1,
    seed: int = 0,
) -> Network:
    """A network near the limiting optimum whose weights are written down, not trained.

    Directions v and u span a plane; the goals, a simplex or an orthonormal frame, are orthogonal to
    it. Two groups of blocks push every sample to the side u > 0. There each sample has an angle of
    its own, and in the order of angles each gets a group of blocks with the step
    relu(a.x) f (goal - x) / (a.x), where a is a direction of the plane on whose positive side it is
    alone: those that wait are behind it, those that have arrived are near its zero. M such blocks
    leave (1 - f)^M = `residual` of its way, and all of them have the same weights.

    Args:
        problem: resolved inputs `(N, d)`: equal inputs have equal labels. d at least K + 2, and
            K + 3 for "mse".
        depth: L, at least two more than there are distinct inputs.
        layers: linear layers in a block's step, 1 or 2.
        weight_decay: sets the length of the classifier's rows.
        loss: sets the goals.
        residual: what is left of each way, between 0 and 1.
        seed: of the planes that are tried; the cheapest of 200 is taken.

    Raises:
        ValueError: naming what is too small, or for two labels on one input.

    Source: this course, chapter 8; the paper's proof (second-hand) moves samples in groups of
    layers too.
    """
    best = optimum(problem.num_classes, weight_decay, loss=loss)
    distinct, which = torch.unique(problem.inputs.double(), dim=0, return_inverse=True)
    groups, k, dim = len(distinct) + 2, problem.num_classes, distinct.shape[-1]
    if int((label_counts(problem) > 0).sum()) != len(distinct):
        raise ValueError(f"{problem.name}: an input has two labels; expected one label an input")
    room = k + 2 + (loss == "mse")
    if depth < groups or dim < room or layers not in (1, 2) or not 0 < residual < 1:
        raise ValueError(
            f"got depth={depth}, {dim} dimensions, layers={layers}, residual={residual}; expected "
            f"at least {groups} blocks for {len(distinct)} inputs, at least {room} dimensions, 1 "
            "or 2 layers, and a residual between 0 and 1"
        )
    labels = torch.empty(len(distinct), dtype=torch.long).index_copy_(0, which, problem.labels)
    generator = torch.Generator().manual_seed(seed)
    lengths = [depth // groups + (group < depth % groups) for group in range(groups)]
    plans = [
        _plan(distinct, labels, k, lengths, layers, residual, loss, generator) for _ in range(200)
    ]
    moves, goals = min(plans, key=lambda plan: _cost(plan[0], layers))
    blocks = torch.zeros(depth, layers, 1, dim, dim, dtype=torch.float64)
    start = 0
    for reads, step, length in moves:
        here = blocks[start : start + length, :, 0]
        if layers == 1:
            here[:, 0] = reads[:, None] * (step - step.min())
        else:
            here[:, 0, :, 0] = step.norm().sqrt() * reads
            here[:, 1, 0] = step / step.norm().sqrt()
        start += length
    return Network(Architecture(layers), blocks, best.scale * goals[None])


Move = tuple[Tensor, Tensor, int]
"""What a group of blocks reads (a unit vector), the step for a reading of 1, and its length."""


def _cost(moves: Sequence[Move], layers: int) -> float:
    """Squared weights. With one layer the ReLU is on the step: its least entry is raised to 0."""
    sizes = [
        float((step - step.min()).square().sum() if layers == 1 else 2 * step.norm())
        for _, step, _ in moves
    ]
    return sum(length * size for (_, _, length), size in zip(moves, sizes, strict=True))


def _plan(
    inputs: Tensor,
    labels: Tensor,
    num_classes: int,
    lengths: Sequence[int],
    layers: int,
    residual: float,
    loss: str,
    generator: torch.Generator,
) -> tuple[list[Move], Tensor]:
    """The groups of blocks of `by_hand` in one random plane, and the goals."""
    dim = inputs.shape[1]
    ones = torch.ones(dim, 1, dtype=torch.float64)
    drawn = torch.randn(dim, dim - 1, generator=generator, dtype=torch.float64)
    v, u, *rest = torch.linalg.qr(torch.cat([ones, drawn], 1)).Q.T[1:]
    frame = torch.eye(num_classes, len(rest), dtype=torch.float64)
    if loss == "cross-entropy":
        frame = _simplex(num_classes, len(rest))
    goals = frame @ torch.stack(rest)
    across, up = inputs @ v, inputs @ u
    lift = max(0.0, float((-up / across.abs()).max()) + 0.5)
    moves = [(v, lift / lengths[0] * u, lengths[0]), (-v, lift / lengths[1] * u, lengths[1])]
    state = normalise(inputs + lift * across.abs()[:, None] * u)
    angles = torch.atan2(state @ u, state @ v)
    order = angles.argsort()
    following = torch.cat([angles[order[1:]], angles.new_tensor([math.pi])])
    for mine, after, length in zip(order, following, lengths[2:], strict=True):
        edge = angles[mine] + min(0.99 * float(after - angles[mine]), math.pi / 2)
        reads = edge.sin() * v - edge.cos() * u
        share = 1 - residual ** (1 / length)
        way = goals[labels[mine]] - state[mine]
        moves.append((reads, share * way / (reads @ state[mine]), length))
    return moves, goals


def _simplex(num_classes: int, dim: int) -> Tensor:
    """K unit vectors of `dim` >= K - 1 entries at cosine -1/(K-1)."""
    centred = torch.eye(num_classes, dtype=torch.float64) - 1 / num_classes
    vertices = centred @ torch.linalg.svd(centred).Vh[: num_classes - 1].T
    vertices = vertices / vertices.norm(dim=1, keepdim=True)
    return torch.nn.functional.pad(vertices, (0, dim - num_classes + 1))


# --- a Transformer as it is built in practice -----------------------------------------------------


class Decoder(models.CausalTransformer):
    """`ncourse.models.CausalTransformer` for the inputs of a problem.

    Args:
        problem: whose inputs it reads: whole numbers `(N, tokens)`, or `(N, tokens, width)`.
        depth: blocks.
        seed: of the initial weights.
        trainable_scale: whether the last LayerNorm has a scale and a shift, as is usual.
        dim: of the stream.
        heads: of attention.
    """

    def __init__(
        self,
        problem: Problem,
        depth: int,
        *,
        seed: int,
        trainable_scale: bool = False,
        dim: int = 32,
        heads: int = 4,
    ) -> None:
        inputs = problem.inputs
        whole = not inputs.is_floating_point()
        super().__init__(
            vocabulary=int(inputs.max()) + 1 if whole else None,
            width=None if whole else inputs.shape[2],
            tokens=inputs.shape[1],
            num_classes=problem.num_classes,
            depth=depth,
            seed=1000 + seed,
            trainable_scale=trainable_scale,
            dim=dim,
            heads=heads,
        )


def train_decoder(
    problem: Problem,
    depth: int,
    *,
    seed: int,
    weight_decay: float = 5e-3,
    trainable_scale: bool = False,
    steps: int = 1500,
    learning_rate: float = 3e-3,
    progress: bool = True,
) -> Decoder:
    """As `train`: full batch, Adam, cosine schedule, lambda/2 times *all* squared parameters."""
    network = Decoder(problem, depth, seed=seed, trainable_scale=trainable_scale)
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, learning_rate / 100)
    for _ in progress_bar(range(steps), desc=f"depth {depth}", disable=not progress):
        optimizer.zero_grad()
        data_loss = cross_entropy(
            network.classifier(network.features(problem.inputs)), problem.labels
        )
        decay = sum(p.square().sum() for p in network.parameters())
        (data_loss + weight_decay / 2 * decay).backward()
        optimizer.step()
        schedule.step()
    return network


@torch.no_grad()
def report_decoder(network: Decoder, problem: Problem, *, weight_decay: float) -> dict[str, float]:
    """What `report` says of a network, for a `Decoder`; "hidden" is all but the classifier."""
    squares = sum(p.double().square().sum().item() for p in network.parameters())
    weight = network.classifier.weight.double()
    hidden = weight_decay / 2 * (squares - weight.square().sum().item())
    features = network.features(problem.inputs).double()
    return _measured(features, weight, problem, hidden, weight_decay, "cross-entropy")


# --- what is measured -----------------------------------------------------------------------------


@torch.no_grad()
def report(
    network: Network, problem: Problem, *, weight_decay: float, loss: str = "cross-entropy"
) -> dict[str, float]:
    """Loss, gap and collapse of a network of one run, in float64.

    Returns:
        loss; gap (see `optimality_gap`); nc1 (trace ratio, within over between); limit_nc1, that of
        the limiting optimum; nc2, the Frobenius distance of the normalised Gram matrix of the
        classifier to that of a simplex (cross-entropy) or an orthogonal frame (MSE); nc3, one minus
        the mean cosine of a feature with its classifier row; hidden, lambda/2 times the squared
        weights of all blocks; way (see `longest_way`; 0 with attention, where it bounds nothing);
        cosine, mean between two class means; accuracy.
    """
    network = network.run(0)
    states = network.layers(problem.inputs.double()[None])
    hidden = weight_decay / 2 * network.blocks.square().sum().item()
    found = _measured(states[-1][0], network.classifier[0], problem, hidden, weight_decay, loss)
    return found | {"way": 0.0 if network.architecture.attention else longest_way(states)}


def longest_way(states: Sequence[Float[Tensor, "runs samples dim"]]) -> float:
    """The longest way of a sample through the layers: sines of the angles of its steps, added up.

    A step of angle psi on a unit vector has a length of at least sin psi (1 beyond a right angle).
    With two layers a block that length is at most (||W_1||^2 + ||W_2||^2)/2, so `report`'s hidden
    is at least lambda times this, at every depth.

    Source: this course, chapter 8.
    """
    ways = torch.zeros(states[0].shape[:2], dtype=torch.float64)
    for before, after in pairwise(states):
        cosine = torch.cosine_similarity(before.double(), after.double(), dim=-1)
        ways += torch.where(cosine > 0, (1 - cosine.square()).clamp(min=0).sqrt(), 1)
    return ways.max().item()


def _measured(
    features: Tensor,
    weight: Tensor,
    problem: Problem,
    hidden: float,
    weight_decay: float,
    loss: str,
) -> dict[str, float]:
    labels, k = problem.labels, problem.num_classes
    best = limit(problem, weight_decay, loss=loss)
    data_loss = _data_loss((features @ weight.T)[None], labels[None], loss).item()
    total = data_loss + hidden + weight_decay / 2 * weight.square().sum().item()
    identity = torch.eye(k, dtype=torch.float64)
    ideal = identity if loss == "mse" else identity - 1 / k
    gram = weight @ weight.T
    means = torch.stack([features[labels == c].mean(0) for c in range(k)])
    return {
        "loss": total,
        "gap": total - best.loss,
        "nc1": measure(features, labels, None, num_classes=k).trace_ratio,
        "limit_nc1": best.nc1,
        "nc2": (gram / gram.norm() - ideal / ideal.norm()).norm().item(),
        "nc3": 1 - torch.cosine_similarity(features, weight[labels]).mean().item(),
        "hidden": hidden,
        "cosine": off_diagonal(cosine_matrix(means)).mean().item(),
        "accuracy": ((features @ weight.T).argmax(1) == labels).double().mean().item(),
    }


def spending(network: Network, *, weight_decay: float) -> Float[Tensor, " depth"]:
    """lambda/2 times the squared weights of each block, `(depth,)`, of a network of one run."""
    return weight_decay / 2 * network.run(0).blocks.square().sum((1, 2, 3, 4))


def optimality_gap(
    network: Network, problem: Problem, *, weight_decay: float, loss: str = "cross-entropy"
) -> float:
    """The loss minus that of `limit(...)`: never negative for a network that ends in LayerNorm.

    Features of such a network are allowed in the limiting problem, and the weights of its blocks
    only add to the loss. So the gap is a certificate: no training could gain more than that.

    Source: this course, proof in chapter 8.
    """
    return report(network, problem, weight_decay=weight_decay, loss=loss)["gap"]


# --- the experiment -------------------------------------------------------------------------------

MOST = 64  # entries of an input, as many as digits have pixels
SAMPLES = 200  # of the caller's own data, at most, as long as each class has two
CONSTANT, SHARED = "constant", "divided by depth"
SIXTEENTH, LONG = "a sixteenth", "a sixteenth, four times the steps"
"""What weight decay does with depth: lambda = 0.005; 0.005 / L; 0.005 / 16 at every depth.

The third is the control of the second: it lowers lambda without depth.
"""

WEIGHT_DECAY = 5e-3
STEPS = 1500


def decay_at(schedule: str, depth: int) -> float:
    """Lambda of a schedule at a depth."""
    if schedule in (SIXTEENTH, LONG, QUARTER):
        return WEIGHT_DECAY / (4 if schedule == QUARTER else 16)
    return WEIGHT_DECAY / (depth if schedule == SHARED else 1)


Series = tuple[str, str, str, str, tuple[int, ...]]
"""Problem, architecture, schedule, loss, depths."""

LAPTOP: tuple[Series, ...] = (
    ("mixture", "RN1", CONSTANT, "cross-entropy", (1, 2, 4, 8, 16)),
    ("mixture", "RN2", CONSTANT, "cross-entropy", (1, 4, 16)),
    ("mixture", "RN2", SHARED, "cross-entropy", (16,)),
    ("mixture", "RN2", SIXTEENTH, "cross-entropy", (1,)),
    ("mixture", "RN1 without LayerNorm", CONSTANT, "cross-entropy", (4,)),
    ("mixture", "RN1", CONSTANT, "mse", (16,)),
    ("random labels", "RN1", CONSTANT, "cross-entropy", (1, 16)),
    ("conflicts", "RN1", CONSTANT, "cross-entropy", (1, 4, 16)),
    ("digits", "Transformer 1", CONSTANT, "cross-entropy", (1, 4)),
    ("digits", "Transformer 2", CONSTANT, "cross-entropy", (1, 4)),
)

DEPTHS = (1, 2, 4, 8, 16, 32)
WORKSTATION: tuple[Series, ...] = (
    ("mixture", "RN1", CONSTANT, "cross-entropy", DEPTHS),
    ("mixture", "RN2", CONSTANT, "cross-entropy", DEPTHS),
    ("mixture", "RN2", SHARED, "cross-entropy", DEPTHS),
    ("mixture", "RN2", SIXTEENTH, "cross-entropy", (1, 4, 16)),
    ("mixture", "RN2", LONG, "cross-entropy", (1, 16)),
    ("mixture", "RN1 without LayerNorm", CONSTANT, "cross-entropy", (4,)),
    ("mixture", "RN1", CONSTANT, "mse", (16,)),
    ("random labels", "RN1", CONSTANT, "cross-entropy", (1, 4, 16)),
    ("conflicts", "RN1", CONSTANT, "cross-entropy", (1, 4, 16)),
    ("digits", "Transformer 1", CONSTANT, "cross-entropy", (1, 2, 4, 8)),
    ("digits", "Transformer 2", CONSTANT, "cross-entropy", (1, 2, 4, 8)),
    ("letters", "Transformer 1", CONSTANT, "cross-entropy", (1, 2, 4, 8)),
    ("induction", "Transformer 1", CONSTANT, "cross-entropy", (1, 2, 4, 8)),
    ("letters", "Transformer 2", CONSTANT, "cross-entropy", (1, 8)),
)

SERIES = {"laptop": LAPTOP, "workstation": WORKSTATION}

MEASURED = (
    "loss",
    "gap",
    "nc1",
    "limit_nc1",
    "nc2",
    "nc3",
    "hidden",
    "way",
    "cosine",
    "accuracy",
)

# Of decoders: task, schedule, whether the last LayerNorm has a trainable scale, depths.
QUARTER = "a quarter"
DECODERS: tuple[tuple[str, str, bool, tuple[int, ...]], ...] = tuple(
    (task, *row)
    for task in ("digits", "letters")
    for row in (
        (CONSTANT, False, (1, 2, 4)),
        (SHARED, False, (4,)),
        (QUARTER, False, (1,)),
        (CONSTANT, True, (1,)),
    )
)


def _judge(tables: Mapping[str, Table], scale: str, card: DataCard) -> tuple[Claim, ...]:
    if "decoder" in tables:
        return decoder_claims([tables])
    return claims(tables, num_classes=card.num_classes)


def _judge_seeds(outcomes: Sequence[Outcome]) -> tuple[Claim, ...]:
    """Of each scale that is there; networks and decoders are recorded apart."""
    depths = [outcome.tables for outcome in outcomes if "depth" in outcome.tables]
    decoders = [outcome.tables for outcome in outcomes if "decoder" in outcome.tables]
    made = claims_over_seeds(depths) if depths else ()
    return made + (decoder_claims(decoders) if len(decoders) > 1 else ())


@declared(
    scales={
        "laptop": "depths to 16, about a minute on one core",
        "workstation": "depth 32, both Transformers, two tasks on sequences; some ten minutes",
        "transformers": "pre-LN Transformers on its own two tasks; some ten minutes",
    },
    refused={
        "paper": "the block of the paper's networks and the number of training samples are not "
        "known here"
    },
    data=lambda scale, seed: _mixture_data(seed=seed),
    needs={"classes": 2, "training samples": 2},
    resumable=False,
    judge=_judge,
    judge_seeds=_judge_seeds,
)
def experiment(dataset: Dataset, asked: Asked) -> dict[str, Table]:
    """Train networks of several depths and compare them with the limiting optimum: one seed.

    The caller's own data take the place of the mixture: 20 samples of each class, or as many as the
    smallest class has, and about 200 in all, in their 64 leading principal directions. So a data
    set of any size takes minutes, classes come out equally large, and the bar says how many samples
    of how many are used. The Transformer then reads their rows if they are images, and is left out
    otherwise.

    Returns:
        An `Outcome` with the table "depth": problem, architecture, schedule, objective, depth, and
        what `report` measures; with "transformers" the table "decoder", see `decoder_table`.
    """
    if asked.scale == "transformers":
        return {"decoder": decoder_table(DECODERS, seed=asked.seed)}
    data = dataset if asked.own_data else None
    (table,) = depth_tables(SERIES[asked.scale], seeds=[asked.seed], data=data)
    return {"depth": table}


def experiments(scale: str, *, seeds: Sequence[int], data: Dataset | None = None) -> list[Outcome]:
    """The same for several seeds side by side: one `Outcome` each, at little more than one's cost.

    Args:
        scale: "laptop" or "workstation".
        seeds: see `experiment`; one network a seed is trained in the same computation.
        data: see `experiment`.
    """
    paper = experiment.paper
    paper.check_scale(scale)
    sets = [paper.data(scale, seed) if data is None else data for seed in seeds]
    for dataset in sets:
        paper.check_data(dataset)
    return [
        paper.outcome({"depth": table}, Asked(scale, seed, data is not None), dataset.card)
        for seed, dataset, table in zip(
            seeds, sets, depth_tables(SERIES[scale], seeds=seeds, data=data), strict=True
        )
    ]


def depth_tables(
    series: Sequence[Series],
    *,
    seeds: Sequence[int],
    data: Dataset | None = None,
    keep: dict[tuple[str, str, str, str, int], Network] | None = None,
) -> list[Table]:
    """Train and measure every network of some series, for several seeds side by side.

    Args:
        series: rows of problem, architecture, schedule, loss and depths, see `LAPTOP`.
        seeds: one network a seed.
        data: see `experiment`.
        keep: receives the networks, by problem, architecture, schedule, loss and depth.

    Returns:
        One table a seed: problem, architecture, schedule, objective, depth, and what `report`
        measures.
    """
    problems = [_problems(seed=seed, data=data) for seed in seeds]
    rows: list[list[dict[str, Any]]] = [[] for _ in seeds]
    asked = [(*row[:4], depth) for row in series for depth in row[4] if row[0] in problems[0]]
    used = problems[0]["mixture"]
    said = f"{used.name}: {len(used.labels)}"
    said += "" if data is None else f" of {len(data.labels)}"
    with progress_bar(asked, desc=f"{said} samples, networks") as bar:
        for name, kind, schedule, loss, depth in bar:
            weight_decay = decay_at(schedule, depth)
            network = train(
                [each[name] for each in problems],
                ARCHITECTURES[kind],
                depth,
                seeds=seeds,
                weight_decay=weight_decay,
                loss=loss,
                steps=STEPS * (4 if schedule == LONG else 1),
            )
            if keep is not None:
                keep[name, kind, schedule, loss, depth] = network
            setting = {
                "problem": name if data is None else problems[0][name].name,
                "architecture": kind,
                "schedule": schedule,
                "objective": loss,
                "depth": depth,
            }
            for run, (each, found) in enumerate(zip(problems, rows, strict=True)):
                measured = report(
                    network.run(run), each[name], weight_decay=weight_decay, loss=loss
                )
                found.append({**setting, **{key: measured[key] for key in MEASURED}})
    return [Table.of(found) for found in rows]


def decoder_table(rows: Sequence[tuple[str, str, bool, tuple[int, ...]]], *, seed: int) -> Table:
    """Train and measure decoders, see `DECODERS`: task, schedule, last scale, depth, measured."""
    images = digits()
    problems = {
        "digits": rows_as_tokens(images, 25, num_classes=4, seed=seed, embedded=False),
        "letters": letters(seed=seed, embedded=False),
    }
    found = []
    for task, schedule, trainable_scale, depths in rows:
        for depth in depths:
            weight_decay = decay_at(schedule, depth)
            network = train_decoder(
                problems[task],
                depth,
                seed=seed,
                weight_decay=weight_decay,
                trainable_scale=trainable_scale,
            )
            measured = report_decoder(network, problems[task], weight_decay=weight_decay)
            setting: dict[str, Any] = {
                "problem": task,
                "schedule": schedule,
                "trainable_scale": trainable_scale,
                "depth": depth,
                "weight_decay": weight_decay,
            }
            found.append(setting | measured)
    return Table.of(found)


def _problems(*, seed: int, data: Dataset | None) -> dict[str, Problem]:
    if data is None:
        base = mixture(seed=seed)
        images = digits()
    else:
        base = _from_dataset(data, seed=seed)
        images = data
    problems = {
        "mixture": base,
        "random labels": with_random_labels(base, seed=seed),
        "conflicts": with_conflicts(base),
    }
    if len(images.input_shape) == 3:
        classes = min(4, images.num_classes)
        per_class = _per_class(images, classes, 25)
        problems["digits"] = rows_as_tokens(images, per_class, num_classes=classes, seed=seed)
    if data is None:
        problems |= {"letters": letters(seed=seed), "induction": induction(seed=seed)}
    return problems


# --- claims ---------------------------------------------------------------------------------------


def claims(
    tables: Mapping[str, Mapping[str, list[Any]]], num_classes: int = 4
) -> tuple[Claim, ...]:
    """What one seed asserts; thresholds are for one seed of the mixture and of digits.

    Args:
        tables: of `experiment`.
        num_classes: K of the data in the mixture's place.
    """
    run = Table(tables["depth"])
    made = [
        _certificate([run]),
        *_depth_claims([run], "one seed"),
        *_assumption_claims([run], num_classes),
    ]
    if "Transformer 1" in run["architecture"]:
        made.append(_transformer_claim([run], "digits", (1, 4), (0.65, 0.75), "digits"))
    return tuple(made)


def claims_over_seeds(
    runs: Sequence[Mapping[str, Mapping[str, list[Any]]]],
) -> tuple[Claim, ...]:
    """Claims about means over seeds at greater depth, from "workstation" runs.

    Args:
        runs: the tables of at least three seeds.

    Raises:
        ValueError: with fewer than three seeds.
    """
    if len(runs) < 3:
        raise ValueError(f"got {len(runs)} seeds; a mean over seeds needs at least 3")
    depths = [Table(run["depth"]) for run in runs]
    return (
        _certificate(depths),
        *_depth_claims(depths, f"mean of {len(runs)} seeds"),
        *_assumption_claims(depths, 4),
        _way_claim(depths),
        _transformer_claim(depths, "digits", (1, 8), (0.45, 0.4), "digits"),
        _transformer_claim(depths, "letters", (1, 8), (0.65, 0.35), "the most frequent letter"),
        _induction_claim(depths),
        _convergence_claim(depths),
    )


def decoder_claims(runs: Sequence[Mapping[str, Mapping[str, list[Any]]]]) -> tuple[Claim, ...]:
    """What pre-LN Transformers show, from "transformers" runs; of depth only as means over seeds.

    Args:
        runs: the tables of the seeds.
    """
    tables = [Table(run["decoder"]) for run in runs]
    which = "one seed" if len(runs) == 1 else f"mean of {len(runs)} seeds"
    rows = [row for table in tables for row in table.rows()]
    fixed = [row["gap"] for row in rows if not row["trainable_scale"]]
    free = [row["gap"] for row in rows if row["trainable_scale"]]

    def nc1(task: str, schedule: str, depth: int) -> float:
        same = [
            row["nc1"]
            for row in rows
            if (row["problem"], row["schedule"], row["depth"]) == (task, schedule, depth)
            and not row["trainable_scale"]
        ]
        return float(np.mean(same))

    made = [
        Claim.of(
            "a pre-LN Transformer whose last LayerNorm has no trainable scale never gets below the "
            f"limiting optimum; with trainable scale it does ({which})",
            {"least gap": proved(at_least(0, min(fixed))), "networks": len(fixed)},
            f"{COURSE}, proof in chapter 8",
            {"gap, trainable scale": below(0, max(free))},
            data="digits and the most frequent letter: 25 training samples a class",
            fixed_data=True,
        )
    ]
    if len(runs) == 1:
        return tuple(made)
    for task, said in (("digits", "digits"), ("letters", "the most frequent letter")):
        made.append(
            Claim.of(
                f"a pre-LN Transformer on {said}: four blocks have at least {{0:.}} of the NC1 of "
                "one: at constant weight decay depth buys less than in the theorem's block; a "
                "quarter of the weight decay alone, in one block, takes NC1 to at most {1:.} "
                f"({which})",
                {"NC1 ratio, depth 1 to 4": at_least(0.4, over(*_ends(nc1, task)))},
                f"{COURSE}, measured",
                {
                    "NC1 ratio, weight decay alone": at_most(
                        0.9, over(nc1(task, QUARTER, 1), nc1(task, CONSTANT, 1))
                    )
                },
                data=f"{said}: 25 training samples a class",
                fixed_data=True,
            )
        )
    return tuple(made)


def _ends(nc1, task: str) -> tuple[float, float]:
    return nc1(task, CONSTANT, 4), nc1(task, CONSTANT, 1)


def _certificate(runs: Sequence[Table]) -> Claim:
    rows = [row for run in runs for row in run.rows()]
    gaps = [row["gap"] for row in rows if row["architecture"] != _BARE]
    bare = max(row["gap"] for row in rows if row["architecture"] == _BARE)
    return Claim.of(
        "the loss of every trained network that ends in LayerNorm, at every depth, is at least the "
        "limiting optimum of its problem; without LayerNorm a network falls below it",
        {"least gap": proved(at_least(0, min(gaps))), "networks": len(gaps)},
        f"{COURSE}, proof in chapter 8",
        {"gap without LayerNorm": below(0, bare)},
        data="all data sets of the experiment",
    )


def _depth_claims(runs: Sequence[Table], which: str) -> list[Claim]:
    one = _series(runs, "mixture", "RN1", CONSTANT)
    two = _series(runs, "mixture", "RN2", CONSTANT)
    shared = _series(runs, "mixture", "RN2", SHARED)
    low = _series(runs, "mixture", "RN2", SIXTEENTH)

    def ratio(series: Mapping[int, Mapping[str, float]], column: str) -> float:
        return over(series[16][column], series[1][column])

    return [
        Claim.of(
            "one layer a block, depth 1 to 16: the gap falls to at most {0:.} and NC1 to at most "
            "{1:.} of its value; with two layers a block the gap stays above {2:.} "
            f"({which})",
            {
                "gap ratio": at_most(0.35, ratio(one, "gap")),
                "NC1 ratio": at_most(0.25, ratio(one, "nc1")),
            },
            f"{SUKENIK}, Theorem 4.3 (no rate is claimed there); the numbers: {COURSE}",
            {"gap ratio, two layers": at_least(0.6, ratio(two, "gap"), natural="rate")},
        ),
        Claim.of(
            "on log-log axes the gap falls with a slope between {0.low:.} and {0.high:.}; with two "
            "layers a block above {1:.} "
            f"({which})",
            {"slope": between(-0.8, -0.4, _slope(one))},
            f"{COURSE}, measured",
            {"slope, two layers": above(-0.2, _slope(two))},
        ),
        Claim.of(
            "the weight decay spent in the blocks falls to at most {0:.} from depth 1 to 16; with "
            "two layers a block it stays above {1:.}: a product of steps is not cheaper "
            f"({which})",
            {"ratio": at_most(0.5, ratio(one, "hidden"))},
            f"{SUKENIK} (the argument); measured: {COURSE}",
            {"ratio, two layers": at_least(0.8, ratio(two, "hidden"), natural="rate")},
        ),
        Claim.of(
            "two layers a block, depth 1 to 16: NC1 falls to at most {0:.} of itself at constant "
            "weight decay, to a floor, and to at most {1:.} at a sixteenth of it; a sixteenth of "
            "the weight decay alone, in one block, takes NC1 to at most {2:.}: what falls with "
            f"weight decay divided by the depth is the product ({which})",
            {
                "NC1 ratio, constant": at_most(0.55, ratio(two, "nc1")),
                "NC1 ratio, a sixteenth": at_most(0.45, over(shared[16]["nc1"], low[1]["nc1"])),
            },
            f"{COURSE}, measured",
            {"NC1 ratio, weight decay alone": at_most(0.65, over(low[1]["nc1"], two[1]["nc1"]))},
        ),
        Claim.of(
            "in units of the weight decay the gap of two-layer blocks hardly falls: with weight "
            "decay divided by the depth it ends at {0:.} of its value or more; with one layer a "
            f"block, at constant weight decay, at {{1:.}} or less ({which})",
            {
                "gap over weight decay, ratio": at_least(
                    0.75, over(16 * shared[16]["gap"], two[1]["gap"])
                )
            },
            f"{COURSE}, measured",
            {"one layer": at_most(0.35, ratio(one, "gap"))},
        ),
    ]


def _assumption_claims(runs: Sequence[Table], num_classes: int) -> list[Claim]:
    clean = _series(runs, "mixture", "RN1", CONSTANT)[16]
    mse = _series(runs, "mixture", "RN1", CONSTANT, "mse")[16]
    random = _series(runs, "random labels", "RN1", CONSTANT)
    conflicts = _series(runs, "conflicts", "RN1", CONSTANT)
    conflict = conflicts[16]
    bare_optimum = optimum(num_classes, WEIGHT_DECAY).loss
    simplex = -1 / (num_classes - 1)
    said = f"-1/{num_classes - 1}" if num_classes > 2 else "-1"
    return [
        Claim.of(
            "random labels on distinct samples collapse too: NC1 at depth 16 at most {0:.} of that "
            "at depth 1; two copies a class with conflicting labels keep it {1} times above the "
            "clean value",
            {
                "NC1, depth 16 over depth 1": at_most(
                    0.1, over(random[16]["nc1"], random[1]["nc1"])
                ),
                "at depth 1": random[1]["nc1"],
            },
            f"{SUKENIK} (no other condition on the data than distinct samples)",
            {
                "NC1, conflicting over clean": at_least(4, over(conflict["nc1"], clean["nc1"])),
                "clean": clean["nc1"],
            },
        ),
        Claim.of(
            "with conflicting copies a network goes to the optimum in which equal inputs share a "
            "feature: from depth 1 to 16 the gap to it falls to at most {0:.}, and NC1 ends within "
            "{1:+%} of its NC1, which is not 0; to the optimum without sharing the loss stays "
            "further than {2} times that gap",
            {
                "gap ratio": at_most(0.25, over(conflict["gap"], conflicts[1]["gap"])),
                "NC1 over that of the optimum": at_most(
                    1.4, over(conflict["nc1"], conflict["limit_nc1"])
                ),
                "NC1 of the optimum": conflict["limit_nc1"],
            },
            f"{SUKENIK} (the reduction); the numbers: {COURSE}",
            {
                "gap without sharing, over the gap": above(
                    5, over(conflict["loss"] - bare_optimum, conflict["gap"])
                )
            },
        ),
        Claim.of(
            f"the loss chooses the frame: class means at cosine {said} to {{1:.}} under "
            f"cross-entropy, and nearer to 0 than to {said} under MSE, in the same network",
            {"cross-entropy": clean["cosine"]},
            f"{COURSE}, closed forms in chapter 8",
            {"MSE": above(simplex / 2, mse["cosine"])},
            also={"off the simplex": at_most(0.02, abs(clean["cosine"] - simplex))},
        ),
    ]


def _convergence_claim(runs: Sequence[Table]) -> Claim:
    """At a small weight decay the classifier takes longer than the features."""
    short, long = (_series(runs, "mixture", "RN2", name)[16] for name in (SIXTEENTH, LONG))
    return Claim.of(
        "two layers a block, depth 16, a sixteenth of the weight decay: four times the steps take "
        "NC2 to at most {0:.} of itself; NC1, which was not what was unfinished, stays above {1:.} "
        f"of itself (mean of {len(runs)} seeds)",
        {"NC2 ratio": at_most(0.1, over(long["nc2"], short["nc2"]))},
        f"{COURSE}, measured",
        {"NC1 ratio": at_least(0.9, over(long["nc1"], short["nc1"]))},
    )


def _way_claim(runs: Sequence[Table]) -> Claim:
    """Proved for blocks of two layers, at every depth; one layer a block gets below at some."""
    ratios: dict[str, list[float]] = {"RN1": [], "RN2": []}
    for row in (row for run in runs for row in run.rows()):
        if row["architecture"] in ratios:
            cost = row["hidden"] / decay_at(row["schedule"], row["depth"])
            ratios[row["architecture"]].append(over(cost, row["way"]))
    return Claim.of(
        "two layers a block cost at least the weight decay times the longest way of a sample, at "
        "every depth: the gap cannot vanish; with one layer a block deep networks cost less",
        {"cost over way, least": proved(at_least(1, min(ratios["RN2"])))},
        f"{COURSE}, proof in chapter 8",
        {"one layer a block, least": below(1, min(ratios["RN1"]))},
    )


def _transformer_claim(
    runs: Sequence[Table],
    problem: str,
    depths: tuple[int, int],
    most: tuple[float, float],
    text: str,
) -> Claim:
    """Gap and NC1 of a Transformer fall with depth; NC1 with two layers in its steps does less."""
    one, two = (_series(runs, problem, f"Transformer {layers}", CONSTANT) for layers in (1, 2))
    gap, nc1, control = (
        over(series[depths[1]][column], series[depths[0]][column])
        for series, column in ((one, "gap"), (one, "nc1"), (two, "nc1"))
    )
    which = "one seed" if len(runs) == 1 else f"mean of {len(runs)} seeds"
    return Claim.of(
        f"a Transformer on {text}: from depth {depths[0]} to {depths[1]} the gap falls to at most "
        "{0} and NC1 to at most {1}; with two layers in its steps NC1 does not "
        f"({which})",
        {"gap ratio": at_most(most[0], gap), "NC1 ratio": at_most(most[1], nc1)},
        f"{SUKENIK}, Theorem 4.3 (Transformers); the numbers: {COURSE}",
        {"NC1 ratio, two layers": above(nc1, control, measured=True)},
        data=f"{text}: 25 training samples a class",
    )


def _induction_claim(runs: Sequence[Table]) -> Claim:
    """Induction needs two blocks to be solved; the letters, which one block solves, fall less."""
    induction_, letters_ = (
        _series(runs, name, "Transformer 1", CONSTANT) for name in ("induction", "letters")
    )
    fall, control = (over(series[2]["nc1"], series[1]["nc1"]) for series in (induction_, letters_))
    return Claim.of(
        "induction: the second block takes NC1 to at most {0:.} of its value, and accuracy to {4}; "
        f"a task that one block solves gains less from it (mean of {len(runs)} seeds)",
        {
            "NC1 ratio": at_most(0.2, fall),
            "accuracy, one block": below(1, induction_[1]["accuracy"], natural="rate"),
        },
        f"{COURSE}, measured",
        {
            "NC1 ratio, letters": above(0.2, control),
            "accuracy, one block": equal(1, letters_[1]["accuracy"]),
        },
        also={"accuracy, two blocks": equal(1, induction_[2]["accuracy"])},
        data="made-up sequences of key-value pairs: 100 sequences, 4 classes",
        fixed_data=True,
    )


def _names(run: Table) -> dict[str, str]:
    """What this experiment's problems are called on the caller's own data."""
    own = run["problem"][0]
    if own == "mixture":
        return {}
    return {
        "mixture": own,
        "random labels": f"{own}, random labels",
        "conflicts": f"{own}, conflicting labels",
        "digits": f"rows of {own}",
    }


_BARE = "RN1 without LayerNorm"


def _series(
    runs: Sequence[Table],
    problem: str,
    architecture: str,
    schedule: str,
    objective: str = "cross-entropy",
) -> dict[int, dict[str, float]]:
    """Mean over seeds of each measured column, by depth."""
    setting = {"architecture": architecture, "schedule": schedule, "objective": objective}
    found: dict[int, list[dict]] = {}
    for run in runs:
        for row in run.where(problem=_names(run).get(problem, problem), **setting).rows():
            found.setdefault(row["depth"], []).append(row)
    return {
        depth: {
            name: float(np.mean([row[name] for row in same]))
            for name in MEASURED
            if name in same[0]
        }
        for depth, same in found.items()
    }


def _slope(series: Mapping[int, Mapping[str, float]]) -> float:
    """Least-squares slope of log gap over log depth, up to depth 16."""
    depths = [depth for depth in sorted(series) if depth <= 16]
    gaps = [series[depth]["gap"] for depth in depths]
    return float(np.polyfit(np.log(depths), np.log(gaps), 1)[0])
