"""Learning classes a few at a time: task streams, a replay buffer, strategies, what is forgotten.

One training loop, `learn`, serves every strategy. A strategy says which old samples it sees again,
what its loss is, and how it classifies; it never trains anything itself.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    mse_loss,
    normalize,
    one_hot,
)

from ncourse.data import Dataset
from ncourse.metrics import measure
from ncourse.models import Classifier
from ncourse.progress import progress_bar
from ncourse.simplex import SimplexFrame
from ncourse.tables import Table
from ncourse.training import Features, extract

__all__ = [
    "AsymmetricReplay",
    "BalancedDarkExperience",
    "Batch",
    "DarkExperience",
    "Diverged",
    "ExperienceReplay",
    "FixedSimplex",
    "ICaRL",
    "Joint",
    "Learner",
    "Naive",
    "ProgressiveCollapse",
    "ReplayBuffer",
    "Run",
    "Strategy",
    "Stream",
    "Task",
    "anytime_accuracy",
    "backward_transfer",
    "dot_regression",
    "exemplar_directions",
    "final_accuracy",
    "first_minus_last",
    "forgetting",
    "herding",
    "learn",
    "mean_directions",
    "task_accuracy",
]


Replay = Literal["none", "beside", "merged", "everything"]
Memory = Literal["balanced", "reservoir"]


class Diverged(ValueError):
    """Features or logits are no longer finite numbers."""


# --- streams --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """The samples of a few classes, training and test.

    Attributes:
        inputs, labels: training samples `(N, ...)` and their labels `(N,)`.
        test_inputs, test_labels: test samples and labels.
        classes: the labels that occur, consecutive numbers.
    """

    inputs: Float[Tensor, "samples ..."]
    labels: Int[Tensor, " samples"]
    test_inputs: Float[Tensor, "tests ..."]
    test_labels: Int[Tensor, " tests"]
    classes: range


@dataclass(frozen=True)
class Stream:
    """A data set whose classes come task by task (class-incremental).

    Attributes:
        name: of the data set and the split.
        tasks: in order. Classes are renumbered in order of arrival: the first task has labels
            0, 1, ..., the next goes on from there.
        class_names: K names, in order of arrival.
    """

    name: str
    tasks: tuple[Task, ...]
    class_names: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        """K over all tasks."""
        return len(self.class_names)

    @classmethod
    def split(cls, dataset: Dataset, num_tasks: int, *, seed: int | None = None) -> "Stream":
        """Deal the classes of a data set out to tasks, as evenly as possible.

        Args:
            dataset: any `Dataset`; each of its classes goes to one task with all its samples.
            num_tasks: T, from 1 to K. With K not divisible by T the first tasks get one class more.
            seed: of the order of the classes; None keeps the order of the data set.

        Raises:
            ValueError: if there are fewer classes than tasks, or fewer than one task.
        """
        total = dataset.num_classes
        if not 1 <= num_tasks <= total:
            raise ValueError(
                f"num_tasks is {num_tasks}; {dataset.name} has {total} classes, and each task "
                f"needs at least one: choose 1 to {total}"
            )
        order = torch.arange(total)
        if seed is not None:
            order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
        arrival = torch.argsort(order)
        labels, test_labels = arrival[dataset.labels], arrival[dataset.test_labels]
        tasks = []
        for chunk in np.array_split(np.arange(total), num_tasks):
            classes = range(int(chunk[0]), int(chunk[-1]) + 1)
            mine = (labels >= classes.start) & (labels < classes.stop)
            tests = (test_labels >= classes.start) & (test_labels < classes.stop)
            tasks.append(
                Task(
                    dataset.inputs[mine],
                    labels[mine],
                    dataset.test_inputs[tests],
                    test_labels[tests],
                    classes,
                )
            )
        names = tuple(dataset.class_names[int(k)] for k in order)
        return cls(f"{dataset.name} in {num_tasks} tasks", tuple(tasks), names)

    @classmethod
    def from_avalanche(cls, benchmark: Any, *, name: str = "benchmark") -> "Stream":
        """A class-incremental benchmark of Avalanche, read into memory.

        Each experience of `train_stream` becomes a task, with the one of `test_stream` beside it;
        samples are those of Avalanche's `eval()`, without what augments training. Class k is the
        k-th to come, and is named by its number there.

        Args:
            benchmark: e.g. `nc_benchmark(train, test, n_experiences=5, task_labels=False)`.
            name: of the stream.

        Raises:
            ValueError: if the two streams differ in length, or if a class comes in two experiences
                or is tested in another than it is trained in.
        """
        trained, tested = list(benchmark.train_stream), list(benchmark.test_stream)
        if len(trained) != len(tested):
            raise ValueError(
                f"there are {len(trained)} training experiences and {len(tested)} for testing; "
                "expected one for each"
            )
        tasks: list[Task] = []
        known: list[int] = []
        for index, (train, test) in enumerate(zip(trained, tested, strict=True)):
            inputs, numbers = _read(train.dataset)
            test_inputs, test_numbers = _read(test.dataset)
            new = numbers.unique().tolist()
            again = sorted(set(known) & set(new))
            foreign = sorted(set(test_numbers.tolist()) - set(new))
            if again or foreign:
                what = (
                    f"trains class {again[0]} again"
                    if again
                    else f"tests class {foreign[0]}, which it does not train"
                )
                raise ValueError(
                    f"experience {index} {what}; expected each class in one experience — "
                    "`nc_benchmark` makes such benchmarks"
                )
            classes = range(len(known), len(known) + len(new))
            renumbered = {number: k for k, number in zip(classes, new, strict=True)}
            labels, test_labels = (
                torch.tensor([renumbered[number] for number in part.tolist()])
                for part in (numbers, test_numbers)
            )
            tasks.append(Task(inputs, labels, test_inputs, test_labels, classes))
            known += new
        names = tuple(str(number) for number in known)
        return cls(f"{name} in {len(tasks)} tasks", tuple(tasks), names)


def _read(dataset: Any) -> tuple[Tensor, Tensor]:
    """All samples and labels of a data set of Avalanche."""
    samples = [sample[:2] for sample in dataset.eval()]
    inputs = torch.stack([torch.as_tensor(x) for x, _ in samples])
    return inputs, torch.tensor([int(y) for _, y in samples])


class ReplayBuffer:
    """A memory of raw training samples and of what the network said of them.

    It is filled in one of two ways. `store`, after a task: floor(capacity / classes seen) samples
    of each class seen, so old classes give up room as new ones come. `insert`, at each step: a
    *reservoir*, in which every sample that went by has the same chance to be.

    Args:
        capacity: B, the number of samples it may hold in all.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 0:
            raise ValueError(f"capacity is {capacity}; expected 0 or more samples")
        self.capacity = capacity
        self.inputs = torch.empty(0)
        self.labels = torch.empty(0, dtype=torch.long)
        self.logits = torch.empty(0)
        self.passed = 0  # samples that went by a reservoir

    def __len__(self) -> int:
        return len(self.labels)

    def store(
        self,
        inputs: Float[Tensor, "samples ..."],
        labels: Int[Tensor, " samples"],
        logits: Float[Tensor, "samples classes"],
        *,
        num_seen: int,
        generator: torch.Generator,
        order: Int[Tensor, " samples"] | None = None,
    ) -> None:
        """Make room for a finished task and keep samples of its classes.

        Args:
            inputs: training samples of the task, `(N, ...)`.
            labels: their labels, `(N,)`.
            logits: what the model says of them now, `(N, K)`; kept beside them.
            num_seen: number of classes seen so far, the task's included.
            generator: of the choice.
            order: which samples to keep first, a permutation; a random one if None.

        Raises:
            ValueError: if there is not one label from 0 to `num_seen` - 1 and one row of logits for
                each sample, or samples or logits have another shape than those stored before.
        """
        if labels.ndim != 1 or not len(inputs) == len(labels) == len(logits):
            raise ValueError(
                f"inputs are {tuple(inputs.shape)}, labels {tuple(labels.shape)}, logits "
                f"{tuple(logits.shape)}; expected a label and a row of logits for each sample"
            )
        if len(self) and (inputs.shape[1:], logits.shape[1:]) != (
            self.inputs.shape[1:],
            self.logits.shape[1:],
        ):
            raise ValueError(
                f"inputs are {tuple(inputs.shape)} and logits {tuple(logits.shape)}; stored before "
                f"are {tuple(self.inputs.shape)} and {tuple(self.logits.shape)}"
            )
        if labels.dtype != torch.long:
            raise ValueError(f"labels are {labels.dtype}; expected torch.int64 — labels.long()?")
        if num_seen < 1 or (len(labels) and not 0 <= labels.min() <= labels.max() < num_seen):
            raise ValueError(f"num_seen is {num_seen}, with labels {labels.unique().tolist()}")
        per_class = self.capacity // num_seen
        if order is None:
            # Once, on entry, it makes "the first per_class" a random choice for ever.
            order = torch.randperm(len(labels), generator=generator)
        if len(self):
            inputs = torch.cat([self.inputs, inputs[order]])
            labels = torch.cat([self.labels, labels[order]])
            logits = torch.cat([self.logits, logits[order]])
        else:
            inputs, labels, logits = inputs[order], labels[order], logits[order]
        rank = one_hot(labels, num_seen).cumsum(0)
        keep = rank.gather(1, labels[:, None]).squeeze(1) <= per_class
        self.inputs, self.labels, self.logits = inputs[keep], labels[keep], logits[keep]

    def insert(
        self,
        inputs: Float[Tensor, "samples ..."],
        labels: Int[Tensor, " samples"],
        logits: Float[Tensor, "samples classes"],
        *,
        generator: torch.Generator,
    ) -> None:
        """Let a batch go by the reservoir: the n-th sample stays with probability capacity / n.

        Args:
            inputs: samples as they are stored, without augmentation.
            labels: their labels.
            logits: what the model says of them at this step.
            generator: of the choice.
        """
        if not self.capacity:
            return
        if not len(self):
            self.inputs, self.labels, self.logits = inputs[:0], labels[:0], logits[:0]
        room = min(self.capacity - len(self), len(labels))
        self.inputs = torch.cat([self.inputs, inputs[:room]])
        self.labels = torch.cat([self.labels, labels[:room]])
        self.logits = torch.cat([self.logits, logits[:room]])
        counts = self.passed + 1 + torch.arange(room, len(labels))
        places = (torch.rand(len(counts), generator=generator) * counts).long()
        for row in (places < self.capacity).nonzero().flatten().tolist():
            place, taken = int(places[row]), room + row
            self.inputs[place] = inputs[taken]
            self.labels[place] = labels[taken]
            self.logits[place] = logits[taken]
        self.passed += len(labels)

    def draw(self, size: int, generator: torch.Generator) -> Int[Tensor, " size"]:
        """Indices of `size` stored samples, drawn with replacement.

        Raises:
            ValueError: if there are no samples, or `size` is below 0.
        """
        if not len(self) or size < 0:
            raise ValueError(f"cannot draw {size} of {len(self)} stored samples")
        return torch.randint(len(self), (size,), generator=generator)


# --- what a strategy sees -------------------------------------------------------------------------


@dataclass
class Learner:
    """The state of a run, which strategies read and a few of them write.

    Attributes:
        model: the network; its classifier has a row for every class of the stream from the start.
        buffer: the stored samples.
        generator: of everything random in the run.
        num_seen: classes seen so far, the current task's included.
        num_old: classes seen before the current task.
        teacher: a frozen copy of the network at the end of the last task, None in the first.
        frame: the simplex of a strategy that keeps one.
        targets: `(num_seen, d)` unit vectors that features are pulled to, if any.
    """

    model: Classifier
    buffer: ReplayBuffer
    generator: torch.Generator
    num_seen: int = 0
    num_old: int = 0
    teacher: Classifier | None = None
    frame: SimplexFrame | None = None
    targets: Tensor | None = None


@dataclass(frozen=True)
class Batch:
    """One batch, after the forward passes.

    Attributes:
        features: `(B, d)`, with gradients.
        labels: `(B,)`.
        teacher_features: `(B, d)` of the teacher, without gradients; None where there is none.
        stored: how many samples at the end of the batch were drawn from the buffer beside it.
        stored_logits: `(stored, K)`, what the network said of them when they were stored.
    """

    features: Tensor
    labels: Tensor
    teacher_features: Tensor | None
    stored: int
    stored_logits: Tensor


# --- strategies -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Strategy:
    """Cross-entropy on a linear classifier, no memory. Other strategies change one thing or two."""

    replay: ClassVar[Replay] = "none"
    """Old samples that are trained on again: none, a batch from the buffer *beside* each batch, the
    buffer *merged* with the task's samples, or *everything* seen so far."""
    distils: ClassVar[bool] = False
    """Whether the loss needs the teacher's features."""
    memory: ClassVar[Memory] = "balanced"
    """How the buffer is filled: with equally many samples a class after a task, or at each step."""
    judges_by_memory: ClassVar[bool] = False
    """Whether `scores` needs a stored sample of each class seen."""

    def begin_task(self, learner: Learner, task: Task) -> None:
        """Called before a task; `learner.num_seen` counts its classes already."""

    def begin_epoch(self, learner: Learner, task: Task, elapsed: float) -> None:
        """Called before each epoch; `elapsed` is the finished fraction of the task, in [0, 1)."""

    def loss(self, learner: Learner, batch: Batch) -> Float[Tensor, ""]:
        """The loss of a batch, a scalar."""
        return cross_entropy(learner.model.classifier(batch.features), batch.labels)

    def end_task(self, learner: Learner, task: Task) -> None:
        """Called after a task, before its samples go to the buffer."""

    def order(
        self, learner: Learner, task: Task, features: Float[Tensor, "samples features"]
    ) -> Int[Tensor, " samples"] | None:
        """Which of a finished task's samples to store first; None for any."""
        return None

    def scores(
        self, learner: Learner, features: Float[Tensor, "samples features"]
    ) -> Float[Tensor, "samples seen"]:
        """One score for each class seen, the largest wins."""
        return learner.model.classifier(features)[:, : learner.num_seen]


@dataclass(frozen=True)
class Naive(Strategy):
    """Train on each task as it comes: the lower bound."""


@dataclass(frozen=True)
class Joint(Strategy):
    """Train on everything seen so far at each task: the upper bound, with no limit on memory."""

    replay: ClassVar[Replay] = "everything"


@dataclass(frozen=True)
class ExperienceReplay(Strategy):
    """ER: as many stored samples beside each batch as the batch has, in the same cross-entropy."""

    replay: ClassVar[Replay] = "beside"


@dataclass(frozen=True)
class AsymmetricReplay(ExperienceReplay):
    """ER-ACE: as ER, but new samples do not push down the logits of old classes.

    The cross-entropy of the task's samples is among the classes of their batch and those that have
    not come yet; that of the stored samples, from the second task on, is among all. The memory is
    a reservoir, which holds new classes too: otherwise nothing would tell these from old ones.

    Source: Caccia et al. 2022 (arXiv 2104.05025), as in Mammoth's `er_ace`.
    """

    memory: ClassVar[Memory] = "reservoir"

    def loss(self, learner: Learner, batch: Batch) -> Float[Tensor, ""]:
        """Two cross-entropies, each a mean over its samples."""
        logits = learner.model.classifier(batch.features)
        fresh = len(logits) - batch.stored
        labels = batch.labels[:fresh]
        absent = torch.arange(logits.shape[1], device=labels.device) < learner.num_old
        absent[labels.unique()] = False
        loss = cross_entropy(logits[:fresh].masked_fill(absent, -1e9), labels)
        if batch.stored and learner.num_old:
            loss = loss + cross_entropy(logits[fresh:], batch.labels[fresh:])
        return loss


@dataclass(frozen=True)
class DarkExperience(Strategy):
    """DER++: replay from a reservoir, and stored samples keep the logits they had on insertion.

    Attributes:
        weight: alpha, of the mean squared distance of the logits.
        replay_weight: beta, of the stored samples' cross-entropy.

    Source: Buzzega et al. 2020 and Mammoth's `derpp`, also for the memory: samples go in at each
    step, with the logits of that step, from the first task on. There the two terms use two draws
    from it; here both use one.
    """

    weight: float = 0.5
    replay_weight: float = 0.5
    replay: ClassVar[Replay] = "beside"
    memory: ClassVar[Memory] = "reservoir"

    def loss(self, learner: Learner, batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy of new samples and of stored ones, and these held to their logits."""
        logits = learner.model.classifier(batch.features)
        fresh = len(logits) - batch.stored
        loss = cross_entropy(logits[:fresh], batch.labels[:fresh])
        if batch.stored:
            again = cross_entropy(logits[fresh:], batch.labels[fresh:])
            loss = loss + self.replay_weight * again
            loss = loss + self.weight * mse_loss(logits[fresh:], batch.stored_logits)
        return loss


@dataclass(frozen=True)
class BalancedDarkExperience(DarkExperience):
    """DER++ with the class-balanced memory of ER; the logits are those at the end of the task.

    With a few samples a class a reservoir leaves some classes without any; this does not.
    """

    memory: ClassVar[Memory] = "balanced"


@dataclass(frozen=True)
class ICaRL(Strategy):
    """iCaRL: each class a yes or no, old classes as the teacher says, the nearest mean decides.

    The loss is a binary cross-entropy for each class seen: of a new class with the label, of an old
    one with the teacher's probability. The stored samples are chosen by `herding`, and an image is
    given to the class whose stored samples have the nearest mean.

    Source: Rebuffi et al. 2017 (arXiv 1611.07725). The sum over classes is the paper's; Mammoth
    takes the mean, which is another learning rate.
    """

    replay: ClassVar[Replay] = "merged"
    distils: ClassVar = True
    judges_by_memory: ClassVar = True

    def loss(self, learner: Learner, batch: Batch) -> Float[Tensor, ""]:
        """Binary cross-entropies, summed over classes."""
        logits = learner.model.classifier(batch.features)[:, : learner.num_seen]
        targets = one_hot(batch.labels, learner.num_seen).to(logits.dtype)
        if learner.teacher is not None and batch.teacher_features is not None:
            old = learner.teacher.classifier(batch.teacher_features)[:, : learner.num_old]
            targets = torch.cat([old.sigmoid(), targets[:, learner.num_old :]], 1)
        losses = binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return losses.sum(1).mean()

    def order(
        self, learner: Learner, task: Task, features: Float[Tensor, "samples features"]
    ) -> Int[Tensor, " samples"]:
        """By herding, for as many of each class as there is room."""
        return herding(features, task.labels, learner.buffer.capacity // learner.num_seen)

    def scores(
        self, learner: Learner, features: Float[Tensor, "samples features"]
    ) -> Float[Tensor, "samples seen"]:
        """Inner products with `exemplar_directions`."""
        return features @ exemplar_directions(learner).T


@dataclass(frozen=True)
class FixedSimplex(Strategy):
    """NCT: one random simplex for all classes that will ever come, drawn before the first task.

    Features are pulled to the vertex of their class; new classes start from their own mean and are
    led to the vertex over the epochs of the task. No cross-entropy. The frame needs to know K.

    Attributes:
        alignment: weight of the pull to the vertex.
        distillation: weight of the pull to the teacher's feature.

    Source: the baseline in the code of Wang, Yu, Yang, Lin 2025, after Yang et al. 2023
    (arXiv 2308.01746).
    """

    alignment: float
    distillation: float
    replay: ClassVar[Replay] = "merged"
    distils: ClassVar = True

    def begin_task(self, learner: Learner, task: Task) -> None:
        """Before the first task: draw the frame of all classes."""
        if learner.frame is None:
            dim, num_classes = _room_for_all(learner)
            draw = torch.randn(dim, num_classes, generator=learner.generator)
            learner.frame = SimplexFrame(torch.linalg.qr(draw).Q.T.contiguous())

    def begin_epoch(self, learner: Learner, task: Task, elapsed: float) -> None:
        """Move the targets of the new classes on from their means towards their vertices."""
        assert learner.frame is not None  # set by begin_task
        targets = learner.frame.vertices[: learner.num_seen].clone()
        if task.classes.start:
            new = slice(task.classes.start, task.classes.stop)
            means = normalize(mean_directions(learner.model, task))
            targets[new] = normalize(elapsed * targets[new] + (1 - elapsed) * means)
        learner.targets = targets

    def loss(self, learner: Learner, batch: Batch) -> Float[Tensor, ""]:
        """The two pulls alone."""
        return _pulls(self.alignment, self.distillation, learner, batch)

    def end_task(self, learner: Learner, task: Task) -> None:
        """All targets are vertices."""
        assert learner.frame is not None
        learner.targets = learner.frame.vertices[: learner.num_seen]

    def scores(
        self, learner: Learner, features: Float[Tensor, "samples features"]
    ) -> Float[Tensor, "samples seen"]:
        """Cosines with the vertices, up to the feature's length."""
        return _cosines(features, learner)


@dataclass(frozen=True)
class ProgressiveCollapse(Strategy):
    """ProNC: a simplex that starts at the first task's class means and grows with each task.

    The first task is plain cross-entropy. From the second on, cross-entropy, a pull of each feature
    to its vertex, a pull to the teacher's feature, and classification by the nearest vertex.

    Attributes:
        alignment: lambda_1, weight of the pull to the vertex.
        distillation: lambda_2, weight of the pull to the teacher's feature.

    Source: Wang, Yu, Yang, Lin 2025 (arXiv 2505.24254), from the authors' code.
    """

    alignment: float
    distillation: float
    replay: ClassVar[Replay] = "merged"
    distils: ClassVar = True

    def begin_task(self, learner: Learner, task: Task) -> None:
        """From the second task on: grow the frame."""
        _room_for_all(learner)
        if learner.frame is None and len(task.classes) < 2:
            raise ValueError(
                "the first task has one class; a simplex is read off at least 2 class means — "
                f"split the {len(learner.model.classifier.weight)} classes into fewer tasks, so "
                "that the first has two, or use FixedSimplex, which is drawn and not read off"
            )
        if learner.frame is not None:
            learner.frame = self.next_frame(learner.frame, len(task.classes), learner.generator)
            learner.targets = learner.frame.vertices

    def loss(self, learner: Learner, batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy, and from the second task on both pulls."""
        loss = super().loss(learner, batch)
        if learner.targets is not None:
            loss = loss + _pulls(self.alignment, self.distillation, learner, batch)
        return loss

    def end_task(self, learner: Learner, task: Task) -> None:
        """After the first task: the frame nearest to its class means."""
        if learner.frame is None:
            learner.frame = self.first_frame(mean_directions(learner.model, task), learner)

    def scores(
        self, learner: Learner, features: Float[Tensor, "samples features"]
    ) -> Float[Tensor, "samples seen"]:
        """Logits after the first task; then cosines, up to the feature's length."""
        if learner.targets is None:  # after the first task the classifier decides
            return super().scores(learner, features)
        return _cosines(features, learner)

    def first_frame(self, means: Float[Tensor, "classes dim"], learner: Learner) -> SimplexFrame:
        """The frame nearest to the first task's class means (their Theorem 1)."""
        return SimplexFrame.nearest(means)

    def next_frame(
        self, frame: SimplexFrame, num_new: int, generator: torch.Generator
    ) -> SimplexFrame:
        """The frame of the next task: the old one, grown."""
        return frame.grow(num_new, generator=generator)


def dot_regression(
    features: Float[Tensor, "samples features"], targets: Float[Tensor, "samples features"]
) -> Float[Tensor, ""]:
    """Half the mean of (cos(feature, target) - 1)^2; zero when every feature points at its target.

    Args:
        features: `(N, d)`, any length.
        targets: `(N, d)`, any length; no gradient is taken through them by the strategies.

    Raises:
        TypeError: if one of them is not floating point.
        ValueError: if their shapes or devices differ or there is no sample.

    Source: Yang et al. 2022 (the "dot-regression" loss), used for both pulls of ProNC.

    >>> dot_regression(torch.eye(2), 3 * torch.eye(2)).item()
    0.0
    """
    _check_pairs(features, targets)
    cosines = (_unit(features) * _unit(targets)).sum(1)
    return 0.5 * (cosines - 1).square().mean()


def exemplar_directions(learner: Learner) -> Float[Tensor, "seen features"]:
    """The mean direction of each class's stored samples, `(seen, d)`, unit rows (iCaRL's rule).

    Raises:
        ValueError: if a class seen has no stored sample.
    """
    labels = learner.buffer.labels
    missing = sorted(set(range(learner.num_seen)) - set(labels.tolist()))
    if missing:
        raise ValueError(
            f"no sample of class {missing[0]} is stored, so it has no mean — use a buffer_size of "
            "at least one sample a class"
        )
    features = extract(learner.model, learner.buffer.inputs, labels).features
    means = _mean_directions(features, labels, range(learner.num_seen))
    return normalize(means).to(learner.model.classifier.weight.device)


def herding(
    features: Float[Tensor, "samples features"], labels: Int[Tensor, " samples"], count: int
) -> Int[Tensor, " samples"]:
    """An order of samples in which the first few of each class have nearly the mean of all.

    Of each class one sample after the other is taken that brings the mean direction of those taken
    nearest to that of the class, `count` of them; the rest follow as they stand.

    Source: Rebuffi et al. 2017, algorithm 4.

    >>> herding(torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), torch.zeros(3).long(), 1)
    tensor([2, 0, 1])
    """
    directions = _unit(features)
    first: list[int] = []
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        own = directions[members]
        mean, total = own.mean(0), torch.zeros_like(own[0])
        free = torch.ones(len(own), dtype=torch.bool)
        for taken in range(min(count, len(own))):
            distances = ((total + own) / (taken + 1) - mean).norm(dim=1)
            best = int(distances.masked_fill(~free, torch.inf).argmin())
            free[best] = False
            total = total + own[best]
            first.append(int(members[best]))
    rest = torch.ones(len(labels), dtype=torch.bool)
    rest[first] = False
    return torch.cat([torch.tensor(first, dtype=torch.long), rest.nonzero().flatten()])


def _unit(rows: Float[Tensor, "samples features"]) -> Float[Tensor, "samples features"]:
    """Rows of length 1; one of zeros stays zero, also in half precision, where 1e-12 is zero."""
    return normalize(rows, eps=torch.finfo(rows.dtype).tiny)


def _check_pairs(features: Tensor, targets: Tensor) -> None:
    if features.ndim != 2 or features.shape != targets.shape or not len(features):
        raise ValueError(
            f"features is {tuple(features.shape)} and targets {tuple(targets.shape)}; expected the "
            "same (samples, d), at least one sample"
        )
    if not (features.is_floating_point() and targets.is_floating_point()):
        raise TypeError(f"got {features.dtype} and {targets.dtype}; expected floating point")
    if features.device != targets.device:
        raise ValueError(f"features are on {features.device} and targets on {targets.device}")


def mean_directions(model: Classifier, task: Task) -> Float[Tensor, "classes features"]:
    """For each class of a task the mean of its normalised features, `(classes, d)`, not normalised.

    The network is in evaluation mode; the samples are the task's training samples.
    """
    features = extract(model, task.inputs, task.labels).features
    return _mean_directions(features, task.labels, task.classes)


# --- the loop -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """What `learn` measured.

    Attributes:
        class_il: `(T, T)`, entry (t, j): test accuracy on task j after task t, among all classes
            seen by then. NaN for j > t.
        task_il: the same, among the classes of task j only: the task is told.
        collapse: a table with one row per task: task, classes, nc1, trace_ratio, nc2_equiangular
            on the training samples of all classes seen.
        drift: `(T, K)`, entry (t, k): cosine between class k's mean direction after task t and at
            the end of its own task. NaN before that.
        learner: the final state, with the model.
    """

    class_il: np.ndarray
    task_il: np.ndarray
    collapse: Table
    drift: np.ndarray
    learner: Learner = field(repr=False)


def learn(
    stream: Stream,
    strategy: Strategy,
    *,
    model: Classifier,
    epochs: int,
    buffer_size: int = 0,
    learning_rate: float = 0.03,
    batch_size: int = 32,
    milestones: Sequence[float] = (0.7,),
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    observe: Callable[[int, Learner], None] | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Run:
    """Learn the tasks of a stream one after the other with plain SGD, and test after each.

    Args:
        stream: the tasks.
        strategy: what to replay, what to minimise, how to classify.
        model: trained in place, on the device it is on; its classifier has a row for every class of
            the stream.
        epochs: passes over each task's training set.
        buffer_size: samples the strategy may keep; without effect on `Naive` and `Joint`.
        learning_rate: at the start of each task; multiplied by 0.1 at each milestone.
        batch_size: samples of the training set in a batch.
        milestones: fractions of the epochs of a task.
        augment: maps a batch of inputs and a generator to inputs of the same shape, in training.
        observe: called with (task index, learner) after each task.
        seed: of batches, buffer and new directions; the initial weights are the model's own.
        progress: whether to show a bar.

    Returns:
        The `Run`.

    Raises:
        ValueError: if the model has another number of classes than the stream, if a class has no
            training samples or a task no test samples, if the buffer cannot hold one sample of each
            class, if a simplex does not fit into the features or the first task has one class and
            a simplex is to be read off it; all before any training.
        Diverged: a ValueError, if the training diverges.
    """
    if epochs < 0 or batch_size < 1 or not learning_rate >= 0:
        raise ValueError(
            f"got epochs={epochs}, batch_size={batch_size}, learning_rate={learning_rate}; "
            "need at least 0, 1 and 0"
        )
    if not all(0 <= fraction <= 1 for fraction in milestones):
        raise ValueError(f"milestones is {milestones}; expected fractions of the epochs, 0 to 1")
    _check(stream, strategy, model, buffer_size)
    num_tasks, num_classes = len(stream.tasks), stream.num_classes
    generator = torch.Generator().manual_seed(seed)
    learner = Learner(model, ReplayBuffer(buffer_size), generator)
    class_il = np.full((num_tasks, num_tasks), np.nan)
    task_il = class_il.copy()
    drift = np.full((num_tasks, num_classes), np.nan)
    own_directions: list[Tensor] = []
    collapse: list[dict[str, float]] = []
    bar = progress_bar(stream.tasks, desc=type(strategy).__name__, disable=not progress)
    for index, task in enumerate(bar):
        learner.num_old, learner.num_seen = task.classes.start, task.classes.stop
        strategy.begin_task(learner, task)
        inputs, labels = _training_set(stream, index, strategy, learner.buffer)
        optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
        steps = [round(fraction * epochs) for fraction in milestones]
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, steps)
        for epoch in range(epochs):
            strategy.begin_epoch(learner, task, epoch / epochs)
            model.train()
            for chosen in torch.randperm(len(labels), generator=generator).split(batch_size):
                batch = _forward(strategy, learner, inputs[chosen], labels[chosen], augment)
                optimizer.zero_grad()
                strategy.loss(learner, batch).backward()
                if strategy.memory == "reservoir":
                    _insert(learner, batch, inputs[chosen], labels[chosen])
                optimizer.step()
            schedule.step()
        model.eval()
        reached = extract(model, task.inputs, task.labels)
        if not (reached.features.isfinite().all() and reached.logits.isfinite().all()):
            raise Diverged(
                f"the training has diverged in task {index + 1} of {num_tasks} at learning rate "
                f"{learning_rate} — take a smaller one, or smaller weights of the losses"
            )
        strategy.end_task(learner, task)
        learner.teacher = deepcopy(model).eval().requires_grad_(False)

        tasks = stream.tasks[: index + 1]
        seen = [extract(model, old.inputs, old.labels) for old in tasks[:-1]] + [reached]
        if strategy.memory == "balanced":
            learner.buffer.store(
                task.inputs,
                task.labels,
                seen[-1].logits,
                num_seen=learner.num_seen,
                generator=generator,
                order=strategy.order(learner, task, seen[-1].features),
            )
        for past, old in enumerate(tasks):
            class_il[index, past], task_il[index, past] = task_accuracy(strategy, learner, old)
        collapse.append(_collapse(seen, learner.num_seen))
        directions = [
            _mean_directions(split.features, split.labels, old.classes)
            for split, old in zip(seen, tasks, strict=True)
        ]
        own_directions.append(directions[-1])
        cosines = torch.cosine_similarity(torch.cat(directions), torch.cat(own_directions))
        drift[index, : learner.num_seen] = cosines.numpy()
        if observe is not None:
            observe(index, learner)
    return Run(class_il, task_il, Table.of(collapse), drift, learner)


def _training_set(
    stream: Stream, index: int, strategy: Strategy, buffer: ReplayBuffer
) -> tuple[Tensor, Tensor]:
    task = stream.tasks[index]
    if strategy.replay == "everything":
        so_far = stream.tasks[: index + 1]
        return torch.cat([old.inputs for old in so_far]), torch.cat([old.labels for old in so_far])
    if strategy.replay == "merged" and len(buffer):
        return torch.cat([task.inputs, buffer.inputs]), torch.cat([task.labels, buffer.labels])
    return task.inputs, task.labels


def _forward(
    strategy: Strategy,
    learner: Learner,
    inputs: Tensor,
    labels: Tensor,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None,
) -> Batch:
    """Add stored samples if the strategy wants them beside the batch, and run both networks."""
    device = learner.model.classifier.weight.device
    stored, logits = 0, torch.empty(0)
    if strategy.replay == "beside" and len(learner.buffer):
        drawn = learner.buffer.draw(len(labels), learner.generator)
        inputs = torch.cat([inputs, learner.buffer.inputs[drawn]])
        labels = torch.cat([labels, learner.buffer.labels[drawn]])
        stored, logits = len(drawn), learner.buffer.logits[drawn]
    if augment is not None:
        inputs = augment(inputs, learner.generator)
    inputs = inputs.to(device)
    teacher_features = None
    if strategy.distils and learner.teacher is not None:
        with torch.no_grad():
            teacher_features = learner.teacher.features(inputs)
    features = learner.model.features(inputs)
    return Batch(features, labels.to(device), teacher_features, stored, logits.to(device))


def _insert(learner: Learner, batch: Batch, inputs: Tensor, labels: Tensor) -> None:
    """Let the task's part of a batch go by the reservoir, with the logits of before the step."""
    with torch.no_grad():
        logits = learner.model.classifier(batch.features[: len(labels)]).cpu()
    learner.buffer.insert(inputs, labels, logits, generator=learner.generator)


def _pulls(alignment: float, distillation: float, learner: Learner, batch: Batch) -> Tensor:
    assert learner.targets is not None  # callers have set them
    targets = learner.targets.to(batch.features.device)
    loss = alignment * dot_regression(batch.features, targets[batch.labels])
    if batch.teacher_features is not None:
        loss = loss + distillation * dot_regression(batch.features, batch.teacher_features)
    return loss


def _cosines(features: Tensor, learner: Learner) -> Tensor:
    """Inner products with unit vertices: for one feature, the order of its cosines."""
    assert learner.targets is not None
    return features @ learner.targets.to(features.device).T


def task_accuracy(strategy: Strategy, learner: Learner, task: Task) -> tuple[float, float]:
    """Test accuracy on a task among all classes seen, and among the task's own.

    `strategy` decides; it need not be the one that the learner was trained with.
    """
    features = extract(learner.model, task.test_inputs, task.test_labels).features
    device = learner.model.classifier.weight.device
    with torch.no_grad():
        scores = strategy.scores(learner, features.to(device)).cpu()
    own = scores[:, task.classes.start : task.classes.stop]
    hits = scores.argmax(1) == task.test_labels
    own_hits = own.argmax(1) + task.classes.start == task.test_labels
    return hits.double().mean().item(), own_hits.double().mean().item()


def _collapse(seen: Sequence[Features], num_seen: int) -> dict[str, float]:
    """One row of `Run.collapse`."""
    names = ("nc1", "trace_ratio", "nc2_equiangular")
    if num_seen < 2:  # one class alone has no geometry
        values = dict.fromkeys(names, float("nan"))
    else:
        features = torch.cat([split.features for split in seen])
        labels = torch.cat([split.labels for split in seen])
        report = measure(features, labels, None, num_classes=num_seen)
        values = {name: float(getattr(report, name)) for name in names}
    return {"task": len(seen), "classes": num_seen, **values}


def _mean_directions(features: Tensor, labels: Tensor, classes: range) -> Tensor:
    directions = normalize(features)
    return torch.stack([directions[labels == k].mean(0) for k in classes])


def _room_for_all(learner: Learner) -> tuple[int, int]:
    """(d, K) of the model; raises before anything is trained if K vertices will not fit."""
    num_classes, dim = learner.model.classifier.weight.shape
    if dim < num_classes:
        raise ValueError(
            f"the stream has {num_classes} classes and the features {dim} dimensions; a frame of "
            f"{num_classes} vertices needs dim >= {num_classes}, so growth would stop at {dim} "
            "classes — widen the feature layer"
        )
    return dim, num_classes


def _check(stream: Stream, strategy: Strategy, model: Classifier, buffer_size: int) -> None:
    rows = len(model.classifier.weight)
    if rows != stream.num_classes:
        raise ValueError(
            f"the model's classifier has {rows} rows; {stream.name} has {stream.num_classes} "
            "classes, and each needs its row from the start"
        )
    for index, task in enumerate(stream.tasks):
        missing = sorted(set(task.classes) - set(task.labels.tolist()))
        if missing or not len(task.test_labels):
            what = f"training samples of class {missing[0]}" if missing else "test samples"
            raise ValueError(f"task {index} of {stream.name} has no {what}")
    if strategy.judges_by_memory and not buffer_size:
        raise ValueError(
            f"buffer_size is 0, and {type(strategy).__name__} decides by the means of stored "
            f"samples — use at least {stream.num_classes}, one for each class"
        )
    if strategy.replay in ("beside", "merged") and 0 < buffer_size < stream.num_classes:
        raise ValueError(
            f"buffer_size is {buffer_size}; it cannot hold one sample of each of the "
            f"{stream.num_classes} classes — use at least {stream.num_classes}, or 0 for none"
        )


# --- summaries of an accuracy matrix --------------------------------------------------------------


def final_accuracy(matrix: np.ndarray) -> float:
    """Mean accuracy over all tasks after the last one, in [0, 1].

    >>> matrix = np.array([[1.0, np.nan], [0.4, 0.8]])
    >>> round(final_accuracy(matrix), 3)
    0.6
    """
    return float(_square(matrix)[-1].mean())


def anytime_accuracy(matrix: np.ndarray) -> float:
    """Mean over tasks t of the mean accuracy on the tasks seen by then, in [0, 1].

    >>> matrix = np.array([[1.0, np.nan], [0.4, 0.8]])
    >>> round(anytime_accuracy(matrix), 3)
    0.8
    """
    matrix = _square(matrix)
    return float(np.mean([row[: t + 1].mean() for t, row in enumerate(matrix)]))


def forgetting(matrix: np.ndarray) -> float:
    """Mean over old tasks of the best accuracy ever minus the final one, in [0, 1]; 0 for T = 1.

    "Ever" includes the end, so that it is never negative: as in Mammoth, and unlike Chaudhry et al.
    2018, where the best is one before the last task. Avalanche's is `first_minus_last`.

    >>> matrix = np.array([[1.0, np.nan], [0.4, 0.8]])
    >>> round(forgetting(matrix), 3)
    0.6
    """
    matrix = _square(matrix)
    old = matrix[:, :-1]
    return float((np.nanmax(old, axis=0) - old[-1]).mean()) if old.size else 0.0


def first_minus_last(matrix: np.ndarray) -> float:
    """Mean over old tasks of the accuracy right after the task minus the final one, in [-1, 1].

    The other forgetting: that of Avalanche, and `backward_transfer` with the other sign. Below
    `forgetting` where a task was learned better after its turn than in it.

    >>> matrix = np.array([[0.5, np.nan], [0.9, 0.8]])
    >>> first_minus_last(matrix), forgetting(matrix)
    (-0.4, 0.0)
    """
    return -backward_transfer(matrix)


def backward_transfer(matrix: np.ndarray) -> float:
    """Mean over old tasks of the final accuracy minus that right after the task, in [-1, 1].

    >>> matrix = np.array([[1.0, np.nan], [0.4, 0.8]])
    >>> round(backward_transfer(matrix), 3)
    -0.6
    """
    matrix = _square(matrix)
    learned = np.diagonal(matrix)[:-1]
    return float((matrix[-1, :-1] - learned).mean()) if learned.size else 0.0


def _square(matrix: np.ndarray) -> np.ndarray:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(
            f"the accuracy matrix is {matrix.shape}; expected (tasks, tasks), row t holding the "
            "accuracies after task t"
        )
    if np.isnan(np.tril(matrix)).any():
        raise ValueError("the accuracy matrix has NaN at or below its diagonal: a task was skipped")
    return matrix
