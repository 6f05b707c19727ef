"""One module a paper: its network, its bounds and conditions, its experiment and what it asserts.

Each has `claims(tables)`, a pure function of what was measured, and an `experiment` that runs one
seed and returns an `Outcome`. `declared` says what an experiment offers and what it asks of data;
`find(name)` is the way to look one up. Papers do not import one another.
"""

import importlib
import pkgutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast, runtime_checkable

from ncourse.claims import Claim, DataCard, Outcome
from ncourse.data import Dataset
from ncourse.tables import Table

__all__ = ["Asked", "Experiment", "Paper", "declared", "find", "names"]


@dataclass(frozen=True)
class Asked:
    """What somebody asked of an experiment.

    Attributes:
        scale: one of those that it has.
        seed: of everything random.
        own_data: whether the data set is the caller's and not the experiment's.
    """

    scale: str
    seed: int
    own_data: bool


Claims = tuple[Claim, ...]
Measure = Callable[[Dataset, Asked], Mapping[str, Table]]
"""An experiment as a paper writes it: from data to tables."""


@dataclass(frozen=True)
class Paper:
    """What a paper's experiment offers, and what it asks for.

    Attributes:
        name: of its module.
        scales: name -> how long it takes, in words.
        refused: scales that are not built -> what is known and unknown of them.
        data: makes the experiment's own data set, of a scale and a seed.
        needs: what any data set must have, by name: first "classes", then of each class "training
            samples" and "test samples".
        resumable: whether all its networks are trained through `ncourse.training.fit`, so that a
            run that was killed goes on where it was.
        accelerated: whether it asks `ncourse.training.device` on what to train, though not through
            `fit`.
        prepare: what becomes of the caller's own data, with a seed, before it is run on.
        judge: what tables assert, made at a scale on some data; by default the module's
            `claims(tables)`.
        judge_seeds: what several outcomes assert together; None if nothing.
    """

    name: str
    scales: Mapping[str, str]
    data: Callable[[str, int], Dataset]
    resumable: bool
    prepare: Callable[[Dataset, int], Dataset]
    judge: Callable[[Mapping[str, Table], str, DataCard], Claims]
    judge_seeds: Callable[[Sequence[Outcome]], Claims] | None = None
    needs: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    accelerated: bool = False

    def check_scale(self, scale: str) -> None:
        """Raise a ValueError for a scale that there is not."""
        there = " and ".join(repr(name) for name in self.scales)
        if scale in self.refused:
            raise ValueError(f"scale {scale!r} is not built: {self.refused[scale]} — use {there}")
        if scale not in self.scales:
            raise ValueError(f"scale is {scale!r}; {self.name} has {there}")

    def check_data(self, dataset: Dataset) -> None:
        """Raise a ValueError if a data set lacks what is needed, naming both."""
        has = {
            "classes": dataset.num_classes,
            "training samples": _least(dataset.labels, dataset.num_classes),
            "test samples": _least(dataset.test_labels, dataset.num_classes),
        }
        for name, least in self.needs.items():
            if has[name] < least:
                where = "" if name == "classes" else " of each class"
                found = "" if name == "classes" else " of one"
                raise ValueError(
                    f"{self.name} needs at least {_counted(least, name)}{where}; {dataset.name} "
                    f"has {has[name]}{found}"
                )

    def outcome(self, tables: Mapping[str, Table], asked: Asked, card: DataCard) -> Outcome:
        """What was measured, and what it asserts on the data of this card."""
        found = self.judge(tables, asked.scale, card)
        made = Outcome(self.name, asked.scale, asked.seed, card, found, tables)
        return made.elsewhere() if asked.own_data else made


def _counted(number: int, things: str) -> str:
    return f"{number} {things.removesuffix('s') if number == 1 else things}"


def _least(labels: Any, num_classes: int) -> int:
    return int(labels.bincount(minlength=num_classes).min())


@runtime_checkable
class Experiment(Protocol):
    """A paper's `experiment`."""

    paper: Paper

    def __call__(
        self, scale: str = "laptop", *, seed: int = 0, data: Dataset | None = None
    ) -> Outcome:
        """Run one seed on one data set."""
        ...


def declared(
    *,
    scales: Mapping[str, str],
    data: Callable[[str, int], Dataset],
    resumable: bool,
    prepare: Callable[[Dataset, int], Dataset] = lambda dataset, seed: dataset,
    judge: Callable[[Mapping[str, Table], str, DataCard], Claims] | None = None,
    judge_seeds: Callable[[Sequence[Outcome]], Claims] | None = None,
    needs: Mapping[str, int] | None = None,
    refused: Mapping[str, str] | None = None,
    accelerated: bool = False,
) -> Callable[[Measure], Experiment]:
    """Make a paper's experiment of a function that measures; for the arguments see `Paper`.

    What is refused is refused before any work. On the caller's own data, claims are those of
    `Claim.elsewhere`: thresholds belong to the experiment's own.
    """

    def decorate(measure: Measure) -> Experiment:
        module, name = measure.__module__, measure.__module__.rpartition(".")[2]

        def claims(tables: Mapping[str, Table], scale: str, card: DataCard) -> Claims:
            made: Claims = sys.modules[module].claims(tables)
            return made

        paper = Paper(
            name=name,
            scales=scales,
            data=data,
            resumable=resumable,
            prepare=prepare,
            judge=judge or claims,
            judge_seeds=judge_seeds,
            needs=needs or {},
            refused=refused or {},
            accelerated=accelerated,
        )

        def experiment(
            scale: str = "laptop", *, seed: int = 0, data: Dataset | None = None
        ) -> Outcome:
            paper.check_scale(scale)
            if data is None:
                dataset = paper.data(scale, seed)
            else:
                paper.check_data(data)
                dataset = paper.prepare(data, seed)
            asked = Asked(scale, seed, data is not None)
            return paper.outcome(measure(dataset, asked), asked, dataset.card)

        experiment.__module__, experiment.__qualname__ = module, measure.__qualname__
        about, returns, rest = (measure.__doc__ or "").partition("    Returns:")
        experiment.__doc__ = about + _arguments(paper) + returns + rest
        made = cast(Experiment, experiment)
        made.paper = paper
        return made

    return decorate


def _arguments(paper: Paper) -> str:
    """What the docstrings of all experiments say."""
    scales = ", or ".join(f'"{name}" ({about})' for name, about in paper.scales.items())
    named = [_counted(least, name) for name, least in paper.needs.items()]
    asks = f", with at least {named[0]}" if named else ""
    asks += f", and of each {' and '.join(named[1:])}" if named[1:] else ""
    return f"""    Args:
        scale: {scales}.
        seed: of everything random.
        data: the caller's own{asks}; the experiment's if None. Thresholds belong to that one, so on
            other data what is proved is judged and everything else reported.

    Raises:
        ValueError: for a scale or data that it does not have, before any work.

"""


def names() -> list[str]:
    """The papers that there are, by module."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def find(name: str) -> Experiment:
    """A paper's experiment, by the name of its module.

    Raises:
        ValueError: if there is no such paper, naming those that there are.
        ImportError: if its module imports what is not there.
    """
    if name not in names():
        raise ValueError(f"there is no paper {name!r}; there are {', '.join(names())}")
    return cast(Experiment, importlib.import_module(f"{__name__}.{name}").experiment)
