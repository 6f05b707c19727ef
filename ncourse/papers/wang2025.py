"""Wang, Yu, Yang, Lin 2025: continual learning with a simplex that grows.

"Rethinking continual learning with progressive neural collapse" (arXiv 2505.24254). After the first
task the simplex nearest to its class means is fixed as the target of the features; each later task
adds vertices to it. The old vertices turn a little, by an angle known in closed form, and a pull to
the features of the network before the task holds old samples in place. The strategy itself is
`ncourse.continual.ProgressiveCollapse`; here are the geometry behind it, its ablations and the
experiment.

The algorithm is the paper's, from the authors' code. That no other simplex would turn the old
vertices less in total is proved in chapter 9 and is this course's statement. The data, the sizes
and all thresholds are this course's.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from statistics import mean
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize, pad

from ncourse.claims import Claim, DataCard, Outcome
from ncourse.comparisons import Comparison, above, at_least, at_most, below, proved
from ncourse.continual import (
    AsymmetricReplay,
    BalancedDarkExperience,
    DarkExperience,
    Diverged,
    ExperienceReplay,
    FixedSimplex,
    ICaRL,
    Joint,
    Learner,
    Naive,
    ProgressiveCollapse,
    Run,
    Strategy,
    Stream,
    anytime_accuracy,
    exemplar_directions,
    final_accuracy,
    first_minus_last,
    forgetting,
    learn,
    task_accuracy,
)
from ncourse.data import Dataset, cifar100, digits, gaussian_mixture
from ncourse.models import Classifier, resnet18, seeded
from ncourse.papers import Asked, declared
from ncourse.simplex import SimplexFrame, growth_cosine
from ncourse.tables import Table
from ncourse.training import device, extract

__all__ = [
    "PAPER",
    "ClassifierDecides",
    "RandomStart",
    "Redrawn",
    "claims",
    "claims_over_seeds",
    "compare",
    "crop_and_flip",
    "experiment",
    "feature_network",
    "greatest_agreement",
    "growth",
    "joined",
    "mixture",
    "on_digits",
    "random_frame",
    "simplex_distance",
    "tuning",
    "turn",
]

WANG = "Wang et al. 2025"
COURSE = "This course"
GEOMETRY = "random simplices in 64 dimensions; no data set"
DIGITS = "digits: 1,400 training samples, 10 classes"
CLOTHES = "fashion-mnist: 5,000 of 60,000 training samples, 10 classes"
SECOND_HAND = f"{WANG}, as summarised second-hand"


# --- geometry -------------------------------------------------------------------------------------


def turn(before: SimplexFrame, after: SimplexFrame) -> Float[Tensor, " classes"]:
    """Cosine between each vertex of a frame and the same vertex of a larger one, `(K,)`.

    If `after` is `before.grow(n)`, all of them equal `growth_cosine(K, K + n)`.

    Raises:
        ValueError: if `after` has fewer vertices or lives in another dimension.
    """
    num_old, dim = before.basis.shape
    if after.basis.shape[1] != dim or len(after.basis) < num_old:
        raise ValueError(
            f"the frames are {tuple(before.basis.shape)} and {tuple(after.basis.shape)}; expected "
            "the second to have the same dimension and at least as many vertices"
        )
    return (before.vertices * after.vertices[:num_old]).sum(1)


def greatest_agreement(num_old: int, num_new: int) -> float:
    """The most that the K' vertices of any simplex can agree with K given ones, summed.

    Over all simplex ETFs with K' vertices v_k, sum over the old k of <e_k, v_k> is at most
    sqrt(K/(K-1)) sqrt(K'/(K'-1)) (K-1), which `SimplexFrame.grow` attains.

    Args:
        num_old: K >= 2 vertices given.
        num_new: K' >= K vertices of the other simplex.

    Source: this course, proof in chapter 9.

    >>> round(greatest_agreement(2, 4) / 2, 4)  # per vertex: the cosine of growing
    0.8165
    """
    return num_old * growth_cosine(num_old, num_new)


def simplex_distance(directions: Float[Tensor, "classes dim"]) -> float:
    """Squared Frobenius distance of given vectors to the nearest unit simplex ETF.

    It is ||M||^2 + K - 2 sqrt(K/(K-1)) ||P M||_*, with P the projection that centres the rows and
    ||.||_* the sum of singular values. `SimplexFrame.nearest` attains it for centred unit rows.

    Args:
        directions: `(K, d)`, d >= K - 1.

    Source: this course, after Wang et al. 2025, Theorem 1 (orthogonal Procrustes).
    """
    matrix = directions.double()
    num_classes = len(matrix)
    nuclear = torch.linalg.svdvals(matrix - matrix.mean(0)).sum().item()
    scale = math.sqrt(num_classes / (num_classes - 1))
    return matrix.square().sum().item() + num_classes - 2 * scale * nuclear


def random_frame(num_classes: int, dim: int, *, generator: torch.Generator) -> SimplexFrame:
    """A frame in a random position: K orthonormal rows, uniformly distributed."""
    draw = torch.randn(dim, num_classes, generator=generator)
    return SimplexFrame(torch.linalg.qr(draw).Q.T.contiguous())


def growth(*, seed: int) -> Table:
    """Frames that grow, against the closed forms and against frames drawn anew.

    Returns:
        Columns old, new (K and K'), cosine (least over the old vertices), deviation (the greatest
        distance of a vertex's cosine from `growth_cosine`), rootless (that from the same formula
        without its square root), agreement and bound (sums
        over the old vertices, after growing, and `greatest_agreement`), random (the best agreement
        of 200 random frames).
    """
    rows = []
    generator = torch.Generator().manual_seed(seed)
    for old, new in ((2, 4), (4, 6), (8, 10), (10, 20), (20, 40)):
        before = SimplexFrame(random_frame(old, 64, generator=generator).basis.double())
        before = SimplexFrame(torch.linalg.qr(before.basis.T).Q.T)  # orthonormal to 1e-16
        after = before.grow(new - old, generator=generator)
        cosines = turn(before, after)
        agreements = [
            (before.vertices * random_frame(new, 64, generator=generator).vertices[:old]).sum()
            for _ in range(200)
        ]
        rows.append(
            {
                "old": old,
                "new": new,
                "cosine": cosines.min().item(),
                "deviation": (cosines - growth_cosine(old, new)).abs().max().item(),
                "rootless": (cosines - growth_cosine(old, new) ** 2).abs().max().item(),
                "agreement": cosines.sum().item(),
                "bound": greatest_agreement(old, new),
                "random": max(agreements).item(),
            }
        )
    return Table.of(rows)


# --- ablations: each changes one thing ------------------------------------------------------------


@dataclass(frozen=True)
class RandomStart(ProgressiveCollapse):
    """ProNC from a random frame instead of the one nearest to the first task's class means."""

    def first_frame(self, means: Float[Tensor, "classes dim"], learner: Learner) -> SimplexFrame:
        """A random frame, which knows nothing of the means."""
        return random_frame(*means.shape, generator=learner.generator)


@dataclass(frozen=True)
class Redrawn(ProgressiveCollapse):
    """ProNC whose simplex is drawn anew at each task instead of grown: the control."""

    def next_frame(
        self, frame: SimplexFrame, num_new: int, generator: torch.Generator
    ) -> SimplexFrame:
        """A random frame of the new size."""
        num_old, dim = frame.basis.shape
        return random_frame(num_old + num_new, dim, generator=generator)


@dataclass(frozen=True)
class Beside(ProgressiveCollapse):
    """ProNC with half of each batch from memory, as in ER, instead of a share that task sizes set.

    The paper's memory is merged with the task: of 20 stored samples and 1,000 new ones, 1 in 50.
    """

    replay: ClassVar = "beside"


@dataclass(frozen=True)
class RandomStartBeside(RandomStart):
    """Both."""

    replay: ClassVar = "beside"


@dataclass(frozen=True)
class ClassifierDecides(ProgressiveCollapse):
    """ProNC's losses, but the linear classifier decides instead of the nearest vertex."""

    def scores(
        self, learner: Learner, features: Float[Tensor, "samples features"]
    ) -> Float[Tensor, "samples seen"]:
        """Logits."""
        return Strategy.scores(self, learner, features)


@dataclass(frozen=True)
class MeansDecide(ProgressiveCollapse):
    """ProNC's losses, but the nearest mean of stored samples decides: iCaRL's rule."""

    judges_by_memory: ClassVar = True

    def scores(
        self, learner: Learner, features: Float[Tensor, "samples features"]
    ) -> Float[Tensor, "samples seen"]:
        """Inner products with the mean directions of the stored samples."""
        return features @ exemplar_directions(learner).T


DECISIONS: dict[str, type[ProgressiveCollapse]] = {
    "vertices": ProgressiveCollapse,
    "classifier": ClassifierDecides,
    "stored means": MeansDecide,
}


# --- methods and how they are tuned ---------------------------------------------------------------


class Method(NamedTuple):
    """A strategy and the learning rate that it is given."""

    strategy: Strategy
    learning_rate: float = 0.03


RATES = (0.03, 0.1, 0.3)
PAIRS = ((20, 20), (50, 60), (50, 170))
WEIGHTS = (0.1, 0.5, 2)

CANDIDATES: dict[str, tuple[Strategy, ...]] = {
    "finetuning": (Naive(),),
    "ER": (ExperienceReplay(),),
    "ER-ACE": (AsymmetricReplay(),),
    "DER++": tuple(DarkExperience(weight) for weight in WEIGHTS),
    "DER++, balanced": tuple(BalancedDarkExperience(weight) for weight in WEIGHTS),
    "iCaRL": (ICaRL(),),
    "fixed simplex": tuple(FixedSimplex(*pair) for pair in PAIRS),
    "ProNC": tuple(ProgressiveCollapse(*pair) for pair in PAIRS),
    "ProNC, beside": tuple(Beside(*pair) for pair in PAIRS),
    "joint": (Joint(),),
}
"""What each method may be tuned to, each at every one of `RATES`. One rule for all: the best mean
final accuracy over `TUNING_SEEDS`."""

TUNING_SEEDS = (10, 11)

TUNED: dict[str, dict[str, Method]] = {
    "mixture": {
        "finetuning": Method(Naive(), 0.1),
        "ER": Method(ExperienceReplay(), 0.3),
        "ER-ACE": Method(AsymmetricReplay(), 0.3),
        "DER++": Method(DarkExperience(0.5, 0.5), 0.3),
        "DER++, balanced": Method(BalancedDarkExperience(0.5, 0.5), 0.1),
        "iCaRL": Method(ICaRL(), 0.1),
        "fixed simplex": Method(FixedSimplex(50, 60), 0.1),
        "ProNC": Method(ProgressiveCollapse(50, 170), 0.03),
        "ProNC, beside": Method(Beside(50, 170), 0.03),
        "joint": Method(Joint(), 0.3),
    },
    "digits": {
        "finetuning": Method(Naive(), 0.03),
        "ER": Method(ExperienceReplay(), 0.3),
        "ER-ACE": Method(AsymmetricReplay(), 0.3),
        "DER++": Method(DarkExperience(0.1, 0.5), 0.3),
        "DER++, balanced": Method(BalancedDarkExperience(0.5, 0.5), 0.03),
        "iCaRL": Method(ICaRL(), 0.3),
        "fixed simplex": Method(FixedSimplex(20, 20), 0.03),
        "ProNC": Method(ProgressiveCollapse(50, 170), 0.1),
        "ProNC, beside": Method(Beside(20, 20), 0.1),
        "joint": Method(Joint(), 0.3),
    },
    "images": {
        "finetuning": Method(Naive(), 0.03),
        "ER": Method(ExperienceReplay(), 0.03),
        "ER-ACE": Method(AsymmetricReplay(), 0.1),
        "DER++": Method(DarkExperience(0.1, 0.5), 0.03),
        "DER++, balanced": Method(BalancedDarkExperience(0.1, 0.5), 0.03),
        "iCaRL": Method(ICaRL(), 0.1),
        "fixed simplex": Method(FixedSimplex(20, 20), 0.03),
        "ProNC": Method(ProgressiveCollapse(50, 60), 0.1),
        "ProNC, beside": Method(Beside(20, 20), 0.03),
        "joint": Method(Joint(), 0.3),
    },
}
"""What came out best."""


def controls(pronc: Method) -> dict[str, Method]:
    """ProNC with one thing changed each, and a fixed simplex at ProNC's own settings."""
    strategy, rate = pronc
    assert isinstance(strategy, ProgressiveCollapse)
    pair = (strategy.alignment, strategy.distillation)
    return {
        "fixed simplex, same weights": Method(FixedSimplex(*pair), rate),
        "redrawn": Method(Redrawn(*pair), rate),
        "no distillation": Method(ProgressiveCollapse(strategy.alignment, 0), rate),
    }


# --- the experiment -------------------------------------------------------------------------------


class Settings(NamedTuple):
    """What the authors' README says of one data set; weights are lambda_1 and lambda_2."""

    num_tasks: int
    epochs: int
    milestones: tuple[float, ...]
    alignment: float
    distillation: float


PAPER = {
    100: Settings(10, 50, (0.7, 0.9), 18, 170),
    200: Settings(10, 100, (0.45, 0.75, 0.95), 20, 165),
}
"""Settings in the authors' README by number of classes: Split-CIFAR-100 and Seq-TinyImageNet, both
with a buffer of 200, batches of 32, learning rate 0.03, no momentum and no weight decay."""


class Stage(NamedTuple):
    """How a kind of data is learned."""

    num_tasks: int
    epochs: int


STAGES = {"mixture": Stage(10, 20), "digits": Stage(5, 30), "images": Stage(5, 10)}

REPLAYS = ("merged", "beside")
SUMMARY = ("final", "anytime", "forgetting", "first_minus_last", "task_il")
MEASURED = ("share", "rank", "turn", "stored", "reached", "first_task", "final")
STARTS = ("start", "replay", *MEASURED)

IMAGES_PER_CLASS = 500
"""Of the caller's own images at most so many a class are trained on where methods are compared."""


def _data(scale: str, seed: int) -> Dataset:
    return {"laptop": lambda: mixture(seed=seed), "workstation": digits, "paper": cifar100}[scale]()


def _judge(tables: Mapping[str, Table], scale: str, card: DataCard) -> tuple[Claim, ...]:
    if scale == "workstation":
        return ()
    return claims(tables) if scale == "laptop" else _claims_at_paper_scale(tables)


def _judge_seeds(outcomes: Sequence[Outcome]) -> tuple[Claim, ...]:
    return claims_over_seeds([outcome.tables for outcome in outcomes])


@declared(
    scales={
        "laptop": "a mixture of 40 classes in 10 tasks and digits in 5, two minutes on one core",
        "workstation": "`tuning`, on the mixture and digits or the caller's own images, without "
        "claims, a quarter of an hour",
        "paper": "ResNet-18 on CIFAR-100 or on the caller's own images, on a GPU",
    },
    data=_data,
    needs={"classes": 4, "training samples": 1},
    resumable=False,
    judge=_judge,
    judge_seeds=_judge_seeds,
    accelerated=True,
)
def experiment(dataset: Dataset, asked: Asked) -> dict[str, Table]:
    """All methods on one stream, with one seed, each as it was tuned on other seeds.

    The caller's own data take the place of the mixture, in at most 10 tasks of at least 2 classes;
    digits are then left out. Own images take what was tuned on images, and at most
    `IMAGES_PER_CLASS` of a class. At "paper" they need 100 or 200 classes.

    Returns:
        An `Outcome` with the tables "growth", "strategies", "curve", "collapse", "decisions",
        "starts" (see `compare`, `decisions`, `starts`), and "digits".
    """
    seed = asked.seed
    if asked.scale == "paper":
        return {"strategies": _on_images(dataset, seed=seed)}
    if asked.scale == "workstation":
        return tuning({kind_of(dataset): dataset} if asked.own_data else None, seed=seed)
    kind = kind_of(dataset) if asked.own_data else "mixture"
    some = dataset
    if kind == "images" and dataset.labels.bincount().max() > IMAGES_PER_CLASS:
        some = dataset.take(IMAGES_PER_CLASS, seed=seed)
    methods = TUNED[kind]
    pronc = methods["ProNC"]
    stream = _stream(some, kind, seed)
    epochs = STAGES[kind].epochs
    parts = [
        compare(stream, methods | controls(pronc), epochs=epochs, seed=seed),
        compare(stream, {"ReLU features": pronc}, epochs=epochs, seed=seed, relu=True),
    ]
    tables = {
        "growth": growth(seed=seed),
        **joined(parts),
        "decisions": decisions(stream, pronc, epochs=epochs, seed=seed),
        "starts": starts(
            stream,
            pronc,
            epochs=epochs,
            seed=seed,
            replays=REPLAYS if kind == "images" else ("merged",),
        ),
    }
    return tables if asked.own_data else tables | on_digits(seed=seed)


def kind_of(dataset: Dataset) -> str:
    """Which tuning suits data: "images" for what has channels and pixels, else "mixture"."""
    return "images" if len(dataset.input_shape) == 3 else "mixture"


def _stream(dataset: Dataset, kind: str, seed: int) -> Stream:
    """Classes in an order drawn by the seed; the mixture's classes have none."""
    num_tasks = min(STAGES[kind].num_tasks, dataset.num_classes // 2)
    return Stream.split(dataset, num_tasks, seed=seed)


def mixture(*, seed: int) -> Dataset:
    """40 Gaussian classes in 64 dimensions, 60 training and 25 test samples each."""
    return gaussian_mixture(
        40, 64, train_per_class=60, test_per_class=25, separation=0.6, seed=seed
    )


def feature_network(
    input_shape: Sequence[int], num_classes: int, *, seed: int, relu: bool = False
) -> Classifier:
    """Two hidden ReLU layers of 256, then 64 features (more if there are more classes).

    Args:
        input_shape: shape of one sample.
        num_classes: K.
        seed: of the initial weights.
        relu: whether the features pass a ReLU, as in the authors' code. Without it they can point
            at every vertex; non-negative features cannot, for vertices have negative entries.
    """
    dim = max(64, num_classes)
    with seeded(seed):
        body = nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(input_shape), 256),
            nn.ReLU(),
            nn.Linear(256, 256),
            nn.ReLU(),
            nn.Linear(256, dim),
        )
        if relu:
            body.append(nn.ReLU())
        return Classifier(body, nn.Linear(dim, num_classes))


def tuning(data: Mapping[str, Dataset] | None = None, *, seed: int) -> dict[str, Table]:
    """What is too long for a notebook: each method at each of its settings, for one seed.

    Args:
        data: by kind, see `STAGES`; the mixture of this seed and digits if None.
        seed: one of `TUNING_SEEDS`, others than those of evaluation.

    Returns:
        Table "grid" (data, method, rate, weights: what the strategy takes, as words, final,
        anytime; a run that diverges has 0 for both). Without `data` also "weights" (method,
        alignment, distillation, final): the fixed simplex and ProNC on digits at one learning rate
        and at 25 pairs of weights; and "buffers" (method, buffer, final), on digits at that rate.
    """
    chosen = {"mixture": mixture(seed=seed), "digits": digits()} if data is None else data
    grid = []
    for kind, dataset in chosen.items():
        some = dataset.take(IMAGES_PER_CLASS, seed=seed) if kind == "images" else dataset
        for (name, candidates), rate in product(CANDIDATES.items(), RATES):
            for strategy in candidates:
                place = {"data": kind, "method": name, "rate": rate, "weights": said(strategy)}
                try:
                    run = _run_on(some, kind, Method(strategy, rate), seed=seed)
                except Diverged:
                    scores = {"final": 0.0, "anytime": 0.0}
                else:
                    scores = {
                        "final": final_accuracy(run.class_il),
                        "anytime": anytime_accuracy(run.class_il),
                    }
                grid.append({**place, **scores})
    if data is not None:
        return {"grid": Table.of(grid)}
    kinds = {"fixed simplex": FixedSimplex, "ProNC": ProgressiveCollapse}
    weights, buffers = [], []
    for (name, strategy_of), alignment, distillation in product(
        kinds.items(), (2, 5, 10, 20, 50), (0, 5, 20, 60, 170)
    ):
        run = _run_on(digits(), "digits", Method(strategy_of(alignment, distillation)), seed=seed)
        pair = {"method": name, "alignment": alignment, "distillation": distillation}
        weights.append({**pair, "final": final_accuracy(run.class_il)})
    once = {"ER": Method(ExperienceReplay()), "ProNC": Method(ProgressiveCollapse(50, 170))}
    for size, name in product((20, 50, 100, 200, 400, 800), once):
        run = _run_on(digits(), "digits", once[name], buffer_size=size, seed=seed)
        buffers.append({"method": name, "buffer": size, "final": final_accuracy(run.class_il)})
    return {"grid": Table.of(grid), "weights": Table.of(weights), "buffers": Table.of(buffers)}


def said(strategy: Strategy) -> str:
    """A strategy's weights in words, e.g. "alignment 50, distillation 170"; "" without any."""
    return ", ".join(f"{name} {value:g}" for name, value in vars(strategy).items())


def standardised(dataset: Dataset) -> Dataset:
    """Each channel to mean 0 and standard deviation 1 over the training set, as Mammoth does.

    A mean image that has been subtracted already stays so, which Mammoth does not do.
    """
    axes = [0, *range(2, dataset.inputs.ndim)]
    centre = dataset.inputs.mean(axes, keepdim=True)
    spread = dataset.inputs.std(axes, keepdim=True)
    return replace(
        dataset,
        inputs=(dataset.inputs - centre) / spread,
        test_inputs=(dataset.test_inputs - centre) / spread,
    )


def crop_and_flip(
    images: Float[Tensor, "samples channels height width"], generator: torch.Generator
) -> Float[Tensor, "samples channels height width"]:
    """Each image moved by up to 4 pixels (zeros come in) and mirrored with probability 1/2."""
    count, _, height, width = images.shape
    padded = pad(images, (4, 4, 4, 4))
    down, right = torch.randint(0, 9, (2, count), generator=generator)
    rows = (down[:, None] + torch.arange(height))[:, :, None]
    columns = (right[:, None] + torch.arange(width))[:, None, :]
    moved = padded[torch.arange(count)[:, None, None], :, rows, columns].permute(0, 3, 1, 2)
    mirrored = torch.rand(count, generator=generator) < 0.5
    return torch.where(mirrored[:, None, None, None], moved.flip(-1), moved)


def _on_images(dataset: Dataset, *, seed: int) -> Table:
    """The paper's comparison with a ResNet-18: a "strategies" table.

    Pixels are `standardised`. What else differs from the authors' code: the first simplex is read
    off images without augmentation, and what cropping moves in is the mean colour and not black.

    Args:
        dataset: CIFAR-100, or other images.
        seed: of the network and the batches.

    Raises:
        ValueError: for other than 100 or 200 classes.
    """
    if dataset.num_classes not in PAPER:
        raise ValueError(
            f"{dataset.name} has {dataset.num_classes} classes; the authors' README gives settings "
            "for 100 (Split-CIFAR-100) and 200 (Seq-TinyImageNet) — the weights lambda_1 and "
            "lambda_2 for CIFAR-10 are not known here"
        )
    settings = PAPER[dataset.num_classes]
    weights = (settings.alignment, settings.distillation)
    strategies: dict[str, Strategy] = {
        "ER": ExperienceReplay(),
        "DER++": DarkExperience(0.1, 0.5),  # alpha and beta of Mammoth's best for Seq-CIFAR-10
        "NCT": FixedSimplex(10, 25),  # the defaults of its authors' code
        "ProNC": ProgressiveCollapse(*weights),
        "redrawn": Redrawn(*weights),
    }
    dataset = standardised(dataset)
    rows = []
    for name, strategy in strategies.items():
        run = learn(
            Stream.split(dataset, settings.num_tasks),
            strategy,
            model=resnet18(dataset.input_shape, dataset.num_classes, seed=seed).to(device()),
            epochs=settings.epochs,
            milestones=settings.milestones,
            buffer_size=200,
            augment=crop_and_flip,
            seed=seed,
        )
        rows.append(_summary(name, run))
    return Table.of(rows)


def compare(
    stream: Stream, methods: Mapping[str, Method], *, epochs: int, seed: int, relu: bool = False
) -> dict[str, Table]:
    """Run methods on one stream from the same initial network, with 2 stored samples a class.

    Args:
        stream: the tasks.
        methods: by name.
        epochs: of each task.
        seed: of the network and the batches.
        relu: whether features pass a ReLU, see `feature_network`.

    Returns:
        Tables "strategies" (method, final, anytime, forgetting, first_minus_last, task_il), "curve"
        (method, task, accuracy over the tasks seen, that on the first, and drift: the mean cosine
        of the first task's class means with what they were), "collapse" (method, task, trace_ratio,
        nc2_equiangular on the training samples of all classes seen). A method that diverges, as a
        control may at the learning rate of another, has zeros in the first and no rows in the rest.
    """
    summary: list[dict[str, float | str]] = []
    curve, collapse = [], []
    first = stream.tasks[0].classes
    for name, method in methods.items():
        try:
            run = _learn(stream, method, epochs=epochs, seed=seed, relu=relu)
        except Diverged:
            summary.append({"method": name, **dict.fromkeys(SUMMARY, 0.0)})
            continue
        summary.append(_summary(name, run))
        for task, row in enumerate(run.class_il):
            place = {"method": name, "task": task + 1}
            curve.append(
                {
                    **place,
                    "accuracy": float(row[: task + 1].mean()),
                    "first_task": float(row[0]),
                    "drift": float(run.drift[task, first.start : first.stop].mean()),
                }
            )
            measured = {key: run.collapse[key][task] for key in ("trace_ratio", "nc2_equiangular")}
            collapse.append({**place, **measured})
    return {
        "strategies": Table.of(summary),
        "curve": Table.of(curve),
        "collapse": Table.of(collapse),
    }


def decisions(stream: Stream, pronc: Method, *, epochs: int, seed: int) -> Table:
    """Alignment on and off, and who decides: two networks, each judged by three rules.

    Returns:
        Columns alignment ("on", "off"), decision (of `DECISIONS`), final, anytime.
    """
    strategy, rate = pronc
    assert isinstance(strategy, ProgressiveCollapse)
    rows = []
    for alignment, weight in (("on", strategy.alignment), ("off", 0.0)):
        judges = {name: kind(weight, strategy.distillation) for name, kind in DECISIONS.items()}
        num_tasks = len(stream.tasks)
        matrices = {name: np.full((num_tasks, num_tasks), np.nan) for name in judges}

        def judge(
            task: int,
            learner: Learner,
            judges: Mapping[str, Strategy] = judges,
            matrices: Mapping[str, np.ndarray] = matrices,
        ) -> None:
            for name, rule in judges.items():
                for past in range(task + 1):
                    hits = task_accuracy(rule, learner, stream.tasks[past])
                    matrices[name][task, past] = hits[0]

        method = Method(judges["vertices"], rate)
        _learn(stream, method, epochs=epochs, seed=seed, observe=judge)
        rows += [
            {
                "alignment": alignment,
                "decision": name,
                "final": final_accuracy(matrix),
                "anytime": anytime_accuracy(matrix),
            }
            for name, matrix in matrices.items()
        ]
    return Table.of(rows)


def starts(
    stream: Stream, pronc: Method, *, epochs: int, seed: int, replays: Sequence[str] = ("merged",)
) -> Table:
    """ProNC from the simplex nearest to the first means and from a random one.

    A random simplex asks the first task's classes to turn, and only their stored samples say so.
    Of these classes, while the second task is learned:

    Args:
        stream: the tasks, at least two.
        pronc: its weights and learning rate.
        epochs: of each task.
        seed: of the network and the batches.
        replays: which memories, of "merged", as in the paper, and "beside".

    Returns:
        Columns start ("nearest", "random"), replay, share
        (of stored samples in what is trained on), rank
        (the participation ratio of their features after the first task: the squared sum of
        variances over the sum of their squares), turn (mean cosine of their means after the first
        task with their vertices in the second), stored and reached (mean cosine of their stored
        and of their test samples with their vertices, after it), first_task (their accuracy after
        it), and final, over all tasks at the end. What a run has not reached when it diverges is 0.
    """
    strategy, rate = pronc
    assert isinstance(strategy, ProgressiveCollapse)
    pair = (strategy.alignment, strategy.distillation)
    first, second = stream.tasks[:2]
    rows = []
    kinds = (
        ("nearest", ProgressiveCollapse),
        ("random", RandomStart),
        ("nearest", Beside),
        ("random", RandomStartBeside),
    )
    for start, kind in kinds:
        if kind.replay not in replays:
            continue
        row: dict[str, float | str] = {"start": start, "replay": kind.replay}
        means: list[Tensor] = []

        def watch(
            task: int,
            learner: Learner,
            row: dict[str, float | str] = row,
            means: list[Tensor] = means,
        ) -> None:
            if task == 0:
                features = normalize(extract(learner.model, first.inputs, first.labels).features)
                variances = torch.linalg.svdvals(features - features.mean(0)).square()
                kept = len(learner.buffer)
                merged = kept / (kept + len(second.labels))
                row["share"] = merged if row["replay"] == "merged" else 0.5
                row["rank"] = (variances.sum().square() / variances.square().sum()).item()
                means += [features[first.labels == k].mean(0) for k in first.classes]
            elif task == 1:
                assert learner.targets is not None
                vertices = learner.targets.cpu()
                turned = normalize(torch.stack(means)) * vertices[: len(means)]
                row["turn"] = turned.sum(1).mean().item()
                old = learner.buffer.labels < first.classes.stop
                for name, inputs, labels in (
                    ("stored", learner.buffer.inputs[old], learner.buffer.labels[old]),
                    ("reached", first.test_inputs, first.test_labels),
                ):
                    features = normalize(extract(learner.model, inputs, labels).features)
                    row[name] = (features * vertices[labels]).sum(1).mean().item()

        method = Method(kind(*pair), rate)
        try:
            run = _learn(stream, method, epochs=epochs, seed=seed, observe=watch)
        except Diverged:
            for name in set(STARTS) - set(row):
                row[name] = 0.0
        else:
            row |= {"first_task": float(run.class_il[1, 0]), "final": final_accuracy(run.class_il)}
        rows.append(row)
    return Table.of(rows, list(STARTS))


def joined(parts: Sequence[Mapping[str, Table]]) -> dict[str, Table]:
    """Tables of the same names, one below the other."""
    return {name: Table.of(row for part in parts for row in part[name].rows()) for name in parts[0]}


def on_digits(*, seed: int) -> dict[str, Table]:
    """Digits in 5 tasks with 2 stored samples a class.

    Returns:
        Tables "digits" (as "strategies" of `compare`), "digits, decisions" and "digits, starts".
    """
    stream, methods = _stream(digits(), "digits", seed), TUNED["digits"]
    epochs = STAGES["digits"].epochs
    return {
        "digits": compare(stream, methods, epochs=epochs, seed=seed)["strategies"],
        "digits, decisions": decisions(stream, methods["ProNC"], epochs=epochs, seed=seed),
        "digits, starts": starts(stream, methods["ProNC"], epochs=epochs, seed=seed),
    }


def _learn(
    stream: Stream,
    method: Method,
    *,
    epochs: int,
    seed: int,
    relu: bool = False,
    buffer_size: int | None = None,
    observe: Callable[[int, Learner], None] | None = None,
) -> Run:
    """One method from the network of this seed, with 2 stored samples a class if not told."""
    shape, num_classes = stream.tasks[0].inputs.shape[1:], stream.num_classes
    return learn(
        stream,
        method.strategy,
        model=feature_network(shape, num_classes, seed=seed, relu=relu),
        epochs=epochs,
        buffer_size=2 * num_classes if buffer_size is None else buffer_size,
        learning_rate=method.learning_rate,
        observe=observe,
        seed=seed,
    )


def _run_on(
    dataset: Dataset, kind: str, method: Method, *, seed: int, buffer_size: int | None = None
) -> Run:
    """One method on data of a kind, as `STAGES` says."""
    stream = _stream(dataset, kind, seed)
    epochs = STAGES[kind].epochs
    return _learn(stream, method, epochs=epochs, seed=seed, buffer_size=buffer_size)


def _summary(name: str, run: Run) -> dict[str, float | str]:
    return {
        "method": name,
        "final": final_accuracy(run.class_il),
        "anytime": anytime_accuracy(run.class_il),
        "forgetting": forgetting(run.class_il),
        "first_minus_last": first_minus_last(run.class_il),
        "task_il": final_accuracy(run.task_il),
    }


# --- claims ---------------------------------------------------------------------------------------

BASELINES = ("ER", "ER-ACE", "DER++", "DER++, balanced", "iCaRL")
"""What replays and has no vertices."""

MARGINS = {
    "ER": (0.2, 0.28),
    "baselines": (0.05, 0.08),
    "redrawn": (0.3, 0.4),
    "no distillation": (0.05, 0.15),
    "fixed simplex, same weights": (0.02, 0.02),
    "anytime": (0.01, 0.02),
    "ReLU features": (0.02, 0.05),
    "alignment, mixture": (0.2, 0.24),
    "alignment, digits": (0.02, 0.06),
    "vertices": (0.015, 0.03),
    "classifier": (0.08, 0.1),
    "start": (0.1, 0.04),
    "digits, ER": (0.03, 0.06),
    "digits, tie": (0.1, 0.05),
}
"""Least differences in accuracy (where two are close, the largest): for one seed, for a mean."""


def claims(tables: Mapping[str, Table]) -> tuple[Claim, ...]:
    """What one seed asserts. Thresholds of trends are for one seed of the laptop's data."""
    return (*_growth_claims(tables["growth"]), *_trends([tables]))


def claims_over_seeds(runs: Sequence[Mapping[str, Table]]) -> tuple[Claim, ...]:
    """The trends again, of means over seeds, with the thresholds that a mean allows.

    Args:
        runs: the tables of at least three seeds.

    Raises:
        ValueError: with fewer than three seeds.
    """
    _check_several(runs)
    return tuple(_trends(runs))


def _check_several(runs: Sequence[Mapping[str, Table]]) -> None:
    if len(runs) < 3:
        raise ValueError(f"got {len(runs)} seeds; a mean over seeds needs at least 3")


def _claims_at_paper_scale(tables: Mapping[str, Table]) -> tuple[Claim, ...]:
    """What the run at the paper's scale asserts."""
    final = {row["method"]: row["final"] for row in tables["strategies"].rows()}
    others = ("ER", "DER++", "NCT")
    return (
        Claim.of(
            "on the paper's data ProNC ends above ER, DER++, NCT, and a simplex that is drawn "
            "anew at each task",
            {"ProNC": final["ProNC"]},
            f"{SECOND_HAND}: on CIFAR-100 .443 against .218, .281 and .264, on TinyImageNet .201 "
            "against .085, .113 and .110",
            {name: final[name] for name in (*others, "redrawn")},
            also={
                f"above {name}": above(final[name], final["ProNC"], measured=True)
                for name in (*others, "redrawn")
            },
        ),
    )


def _growth_claims(table: Table) -> list[Claim]:
    rows = table.rows()
    attained = [row["agreement"] / row["bound"] for row in rows]
    return [
        Claim.of(
            "all old vertices turn by one angle, whose cosine is sqrt((1-1/K)/(1-1/K')), to {0:e}; "
            "without the root it is off by more than {1:.}",
            {"largest deviation": proved(at_most(1e-6, max(table["deviation"])))},
            f"{WANG} (the growth); the closed form: {COURSE}",
            {"without the root, least deviation": proved(above(0.01, min(table["rootless"])))},
            data=GEOMETRY,
            fixed_data=True,
        ),
        Claim.of(
            "growing attains the greatest possible agreement with the old vertices to {1:e}; none "
            "of 200 random simplices reaches {0:%} of it",
            {"attained / bound, least": min(attained)},
            f"{COURSE}, proof in chapter 9",
            {
                "random / bound, greatest": at_most(
                    0.6, max(row["random"] / row["bound"] for row in rows)
                )
            },
            also={"off the bound": proved(at_most(1e-6, max(abs(each - 1) for each in attained)))},
            data=GEOMETRY,
            fixed_data=True,
        ),
    ]


def _trends(runs: Sequence[Mapping[str, Table]]) -> list[Claim]:
    several = len(runs) > 1
    which = f"mean of {len(runs)} seeds" if several else "one seed"
    margin = {name: pair[several] for name, pair in MARGINS.items()}
    strategies = [run["strategies"] for run in runs]
    final, anytime = _means(strategies, "final"), _means(strategies, "anytime")
    best = max(final[name] for name in BASELINES)

    def loses(name: str, text: str, source: str = f"{COURSE}, an ablation") -> Claim:
        return Claim.of(
            f"{text} costs at least {{0}} of final accuracy ({which})",
            {"ProNC": final["ProNC"]},
            source,
            {name: final[name]},
            also={"cost": at_least(margin[name], final["ProNC"] - final[name])},
        )

    made = [
        Claim.of(
            "many small tasks, few stored samples: ProNC ends above ER by {0} or more; with a "
            f"simplex drawn anew at each task the same strategy does not ({which})",
            {"ProNC": final["ProNC"], "ER": final["ER"]},
            f"{SECOND_HAND} (above ER on all three of its data sets); the margin: {COURSE}",
            {"redrawn": final["redrawn"]},
            also={
                "above ER": at_least(margin["ER"], final["ProNC"] - final["ER"]),
                "redrawn, above ER": below(margin["ER"], final["redrawn"] - final["ER"]),
            },
        ),
        Claim.of(
            "ProNC ends above the best of ER, ER-ACE, DER++ with either memory and iCaRL, each "
            f"tuned by the same rule, by {{0}} or more; without distillation it does not ({which})",
            {"ProNC": final["ProNC"], "best of the others": best},
            f"{SECOND_HAND} (above ER and DER++); the others: {COURSE}",
            {"no distillation": final["no distillation"]},
            also={
                "ahead": at_least(margin["baselines"], final["ProNC"] - best),
                "no distillation, ahead": below(
                    margin["baselines"], final["no distillation"] - best
                ),
            },
        ),
        loses("redrawn", "drawing the simplex anew instead of growing it"),
        loses("no distillation", "leaving out the distillation"),
        loses(
            "fixed simplex, same weights",
            "fixing the whole simplex in advance, at ProNC's settings,",
            f"{SECOND_HAND} (above NCT on all three of its data sets); the margin: {COURSE}",
        ),
        Claim.of(
            "a fixed simplex with its own tuned weights still trails ProNC in anytime accuracy, by "
            f"at least {{0}} ({which})",
            {"ProNC": anytime["ProNC"]},
            f"{COURSE}, measured",
            {"fixed simplex": anytime["fixed simplex"]},
            also={
                "trails by": at_least(
                    margin["anytime"], anytime["ProNC"] - anytime["fixed simplex"]
                )
            },
        ),
        loses("ReLU features", "taking the features after a ReLU, as in the authors' code,"),
        _of_decisions("mixture", [run["decisions"] for run in runs], margin, which),
        _of_starts("mixture", [run["starts"] for run in runs], margin, which),
    ]
    if "digits" in runs[0]:
        made += _digits_claims(runs, margin, which)
    return made


def _of_decisions(
    data: str, tables: Sequence[Table], margin: Mapping[str, float], which: str
) -> Claim:
    """What is left of the vertices: as targets and as judges."""
    final = {
        (on, rule): mean(
            table.where(alignment=on).where(decision=rule)["final"][0] for table in tables
        )
        for on, rule in product(("on", "off"), DECISIONS)
    }
    vertices, stored = final["on", "vertices"], final["on", "stored means"]
    classifier = final["on", "classifier"]
    worth = min(final["on", rule] - final["off", rule] for rule in DECISIONS)
    return Claim.of(
        f"{_lead(data)}whoever decides, alignment is worth {{0}} or more; of the aligned network "
        "the vertices decide better than the means of stored samples, by {1} or more, and these "
        f"better than the linear classifier, by {{2}} or more ({which})",
        {"aligned, vertices": vertices, "aligned, stored means": stored},
        f"{COURSE}, an ablation with iCaRL's rule as the control",
        {
            "aligned, classifier": classifier,
            "not aligned, best": max(final["off", rule] for rule in DECISIONS),
        },
        also={
            "alignment": at_least(margin[f"alignment, {data}"], worth),
            "vertices over means": at_least(margin["vertices"], vertices - stored),
            "means over classifier": at_least(margin["classifier"], stored - classifier),
        },
        data=DIGITS if data == "digits" else "",
    )


def _lead(data: str) -> str:
    return "digits: " if data == "digits" else ""


def _of_starts(
    data: str, tables: Sequence[Table], margin: Mapping[str, float], which: str
) -> Claim:
    """Where the first simplex stands makes no difference to the end."""
    final = _starts(tables, "final")
    turn = _starts(tables, "turn")
    nearest, random = ("nearest", "merged"), ("random", "merged")
    return Claim.of(
        f"{_lead(data)}starting from the simplex nearest to the means or from a random one, final "
        "accuracies are within {0:.}, though the random one asks the first classes to turn by a "
        f"cosine of {{1:.}} less ({which})",
        {"nearest": final[nearest], "random": final[random]},
        f"{COURSE}, a negative result on {WANG}, Theorem 1",
        {"turn, nearest": turn[nearest], "turn, random": turn[random]},
        also={
            "random, off by": at_most(margin["start"], abs(final[nearest] - final[random])),
            "turned less by": at_least(0.15, turn[nearest] - turn[random]),
        },
        data=DIGITS if data == "digits" else "",
    )


def _digits_claims(
    runs: Sequence[Mapping[str, Table]], margin: Mapping[str, float], which: str
) -> list[Claim]:
    tables = [run["digits"] for run in runs]
    final, anytime = _means(tables, "final"), _means(tables, "anytime")

    def ahead(name: str) -> Comparison:
        return above(anytime[name], anytime["ProNC"], measured=True, natural="rate")

    return [
        Claim.of(
            f"digits: ProNC ends above ER by {{1}} or more, and above it on the way too ({which})",
            {"final, ProNC": final["ProNC"], "anytime, ProNC": ahead("ER")},
            f"{SECOND_HAND}; digits: {COURSE}",
            {"final, ER": final["ER"], "anytime, ER": anytime["ER"]},
            also={"above ER": at_least(margin["digits, ER"], final["ProNC"] - final["ER"])},
            data=DIGITS,
        ),
        Claim.of(
            "digits: a tuned fixed simplex ties ProNC in final accuracy, within {1}; it trails in "
            f"anytime accuracy ({which})",
            {"final, ProNC": final["ProNC"], "final, fixed simplex": final["fixed simplex"]},
            f"{COURSE}, a negative result",
            {"anytime, ProNC": ahead("fixed simplex"), "anytime, fixed": anytime["fixed simplex"]},
            also={
                "apart": at_most(
                    margin["digits, tie"], abs(final["ProNC"] - final["fixed simplex"])
                )
            },
            data=DIGITS,
        ),
        _of_decisions("digits", [run["digits, decisions"] for run in runs], margin, which),
        _of_starts("digits", [run["digits, starts"] for run in runs], margin, which),
    ]


def claims_on_images(runs: Sequence[Mapping[str, Table]]) -> tuple[Claim, ...]:
    """What several seeds on images assert together, where the mixture's claims do not carry over.

    Args:
        runs: the tables of at least three seeds of `experiment` on Fashion-MNIST.

    Raises:
        ValueError: with fewer than three seeds.
    """
    _check_several(runs)
    which = f"mean of {len(runs)} seeds"
    final = _means([run["strategies"] for run in runs], "final")
    others = max(value for name, value in final.items() if name != "joint")
    dark = max(final["DER++"], final["DER++, balanced"])
    return (
        Claim.of(
            "photographs of clothes: training on everything is above every method with a memory of "
            f"2 a class by {{0}} or more; finetuning is {{1}} or more below ER ({which})",
            {"joint": final["joint"], "best of the others": others},
            f"{COURSE}, measured",
            {"finetuning": final["finetuning"], "ER": final["ER"]},
            also={
                "joint, above": at_least(0.1, final["joint"] - others),
                "finetuning, below": at_least(0.15, final["ER"] - final["finetuning"]),
            },
            data=CLOTHES,
        ),
        Claim.of(
            "photographs of clothes: ProNC, tuned by the rule that tunes all, ends {0} or more "
            "below the better DER++; with half of each batch from memory it ends {1} or more above "
            f"it ({which})",
            {"ProNC": final["ProNC"], "better DER++": dark},
            f"{COURSE}, a negative result on {WANG}",
            {"ProNC, beside": final["ProNC, beside"]},
            also={
                "behind": at_least(0.05, dark - final["ProNC"]),
                "beside, ahead": at_least(0.01, final["ProNC, beside"] - dark),
            },
            data=CLOTHES,
        ),
    )


def _starts(tables: Sequence[Table], column: str) -> dict[tuple[str, str], float]:
    """A column's mean over seeds, by start and replay."""
    return {
        (start, replay): mean(
            table.where(start=start).where(replay=replay)[column][0] for table in tables
        )
        for start, replay in product(("nearest", "random"), dict.fromkeys(tables[0]["replay"]))
    }


def _means(tables: Sequence[Table], column: str) -> dict[str, float]:
    """A column's mean over seeds, by method."""
    return {
        name: mean(table.where(method=name)[column][0] for table in tables)
        for name in tables[0]["method"]
    }
