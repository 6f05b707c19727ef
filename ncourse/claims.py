"""Claims: what an experiment asserts, what was measured, and the control that had to fail.

A claim without a control says nothing: something has to be able to go the other way. So a `Claim`
carries both numbers, the one measured where the condition holds and the one measured where it was
broken, and `claim(...)` shows them in a notebook and raises when the claim does not hold.

A paper's claims are made of `comparisons` (`Claim.of`): a value, a direction and a threshold, each
written once. From them come the numbers in the sentence, the verdict, the numbers that are shown,
how far each comparison is from failing, and what is judged on other data: a comparison that is
`proved` holds on any, a tuned threshold belongs to the data that it was made for.
"""

import html
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any

from ncourse.comparisons import Comparison, Said
from ncourse.files import write_whole
from ncourse.tables import Table

__all__ = [
    "Claim",
    "ClaimError",
    "DataCard",
    "Outcome",
    "Recording",
    "claim",
    "numbers",
    "repeat",
    "require",
    "summary",
]

CLAIM_MIME = "application/vnd.ncourse.claim+json"
"""Output type under which a notebook stores a claim, so that a page can list them all."""


class ClaimError(AssertionError):
    """A claim that does not hold on the data that its thresholds belong to."""


@dataclass(frozen=True)
class Claim:
    """One statement, whether it holds, and the numbers behind it.

    Attributes:
        text: the statement, in words and with its threshold.
        holds: whether the measurement satisfies it *and* the control fails it; None where that is
            not asked, on data that no part of it was made for.
        measured: what was measured, by name.
        source: where the statement comes from: a paper and place, or "This course".
        control: what was measured where the condition is broken, by name.
        binding: whether it raises where it does not hold.
        data: what it was measured on, in words; empty if its experiment says so once for all.
        reference: on other data, name -> what its tuned comparisons ask on the data that they were
            made for, in words.
        comparisons: what it is made of; empty for one that was read from a file.
        fixed_data: whether `data` are its own (made-up ones, or none), whatever data set the
            experiment is given. Files keep neither this nor the comparisons.
    """

    text: str
    holds: bool | None
    measured: Mapping[str, float | int]
    source: str
    control: Mapping[str, float | int]
    binding: bool = True
    data: str = ""
    reference: Mapping[str, str] = field(default_factory=dict)
    comparisons: tuple[Comparison, ...] = field(default=(), compare=False, repr=False)
    fixed_data: bool = field(default=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("text", "source"):
            if not getattr(self, name).strip():
                raise ValueError(f"a claim needs a {name}; got an empty one")
        for name in ("measured", "control"):
            values = getattr(self, name)
            if not values:
                raise ValueError(f"the claim {self.text!r} has no {name}: a claim needs both")
            object.__setattr__(self, name, {key: float(value) for key, value in values.items()})
        if self.holds is not None:
            object.__setattr__(self, "holds", bool(self.holds))

    @classmethod
    def of(
        cls,
        text: str,
        measured: Mapping[str, Comparison | float],
        source: str,
        control: Mapping[str, Comparison | float],
        *,
        also: Mapping[str, Comparison] | None = None,
        data: str = "",
        fixed_data: bool = False,
    ) -> "Claim":
        """A claim that holds if all its comparisons do.

        Args:
            text: the statement, with a field for each threshold that it says: `{0}` is that of the
                first comparison, counted through `measured`, `control` and `also`. 0.2 is said as
                "20 %" by `{0:%}` and as "a fifth" by `{0:words}`, 1.2 and 0.8 as "20 %" by `{0:+%}`
                and `{0:-%}`, 0.001 as "1e-3" by `{0:e}`, 0.35 as ".35" by `{0:.}`; `{0.low}` and
                `{0.high}` are the ends of `between`.
            measured: by name: a comparison, or a number that is only shown.
            source: as in `Claim`.
            control: as `measured`, where the condition is broken.
            also: comparisons that are not shown.
            data: as in `Claim`.
            fixed_data: as in `Claim`.

        Raises:
            ValueError: if there is no comparison, or as `Claim`.

        >>> from ncourse.comparisons import at_least, below
        >>> made = Claim.of("NC1 falls at least {0}-fold; without weight decay less than {1}-fold",
        ...     {"factor": at_least(20, 107.0)}, "This course", {"without": below(2.5, 1.8)})
        >>> print(made)
        ✓ NC1 falls at least 20-fold; without weight decay less than 2.5-fold
          measured: factor: 107
          control:  without: 1.8
          source:   This course
        """
        named = [*measured.items(), *control.items(), *(also or {}).items()]
        comparisons = tuple(
            replace(one, name=name) for name, one in named if isinstance(one, Comparison)
        )
        if not comparisons:
            raise ValueError(f"the claim {text!r} compares nothing; it could not fail")
        return cls(
            text.format(*(Said(one.threshold) for one in comparisons)),
            all(one.holds for one in comparisons),
            {name: _value(one) for name, one in measured.items()},
            source,
            {name: _value(one) for name, one in control.items()},
            data=data,
            comparisons=comparisons,
            fixed_data=fixed_data,
        )

    def elsewhere(self) -> "Claim":
        """The same claim on data that it was not made for.

        Comparisons that are proved are judged there too; tuned ones are reported beside what they
        ask on their own data, neither held nor failed. A claim with data of its own stays as it is.
        """
        if self.fixed_data:
            return self
        judged = [one for one in self.comparisons if one.proved]
        tuned = {one.name: str(one) for one in self.comparisons if not one.proved}
        if self.comparisons and not tuned:
            return self
        holds = all(one.holds for one in judged) if judged else None
        return replace(self, holds=holds, binding=bool(judged), reference=tuned)

    @property
    def verdict(self) -> str:
        """Whether it holds, in words; on other data, whether its proved part does."""
        if self.holds is None:
            return "reported"
        word = "holds" if self.holds else "does not hold"
        if self.reference:
            return f"the proved part {word}"
        return word if self.binding else f"{word} (reported)"

    def as_dict(self) -> dict[str, Any]:
        """What files keep of it, in plain data."""
        kept = {part.name: getattr(self, part.name) for part in fields(self)[:7]}
        return kept | ({"reference": dict(self.reference)} if self.reference else {})

    @property
    def details(self) -> dict[str, str]:
        """What stands under the sentence, by name: numbers, source, data."""
        about = {
            "measured": numbers(self.measured),
            "control": numbers(self.control),
            "reference": "; ".join(f"{name}: {words}" for name, words in self.reference.items()),
            "source": self.source,
            "data": self.data,
        }
        return {name: text for name, text in about.items() if text}

    @property
    def sign(self) -> str:
        """A tick, a cross, or a dot where neither is said."""
        return "·" if self.holds is None else "✓" if self.holds else "✗"

    def __str__(self) -> str:
        about = "".join(f"\n  {name + ':':9} {text}" for name, text in self.details.items())
        return f"{self.sign} {self.text}{about}"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {
            "text/plain": str(self),
            "text/html": self._repr_html_(),
            CLAIM_MIME: {**self.as_dict(), "verdict": self.verdict},
        }

    def _repr_html_(self) -> str:
        """The claim in a line that unfolds; colours work on light and dark pages."""
        colour = {True: "#2e7d32", False: "#b3261e", None: "#757575"}[self.holds]
        rows = "<br>".join(
            f"<small><b>{name.capitalize()}</b> {html.escape(text)}</small>"
            for name, text in self.details.items()
        )
        return (
            f'<details class="nc-claim" style="border-left:4px solid {colour};padding:.3em .8em;'
            f'margin:.4em 0"><summary><b>{self.sign} {html.escape(self.verdict)}</b>: '
            f"{html.escape(self.text)}</summary>{rows}</details>"
        )


def _value(shown: Comparison | float) -> float:
    return shown.value if isinstance(shown, Comparison) else shown


def claim(
    text: str,
    holds: bool,
    *,
    measured: Mapping[str, float | int],
    source: str,
    control: Mapping[str, float | int],
    data: "DataCard | str" = "",
) -> Claim:
    """Show a claim, and raise `ClaimError` when it does not hold.

    Args:
        text: the statement with its threshold.
        holds: the verdict, computed from the numbers: measured satisfies it and control fails it.
        measured: names and values measured where the condition holds.
        source: paper and place, or "This course".
        control: names and values measured where the condition is broken.
        data: what it was measured on.

    Raises:
        ClaimError: when `holds` is false.
        ValueError: when text, source, measured or control is empty.

    >>> _ = claim("1 + 1 is at least 2", 1 + 1 >= 2 > 1 + 0, measured={"1 + 1": 2},
    ...           source="This course", control={"1 + 0": 1})
    ✓ 1 + 1 is at least 2
      measured: 1 + 1: 2
      control:  1 + 0: 1
      source:   This course
    """
    made = Claim(text, holds, measured, source, control, data=str(data))
    require([made])
    return made


def require(claims: Iterable[Claim], *, data: "DataCard | str" = "") -> None:
    """Show claims one by one, then raise `ClaimError` if a binding one does not hold.

    Args:
        claims: to show, in order.
        data: what those were measured on that do not say so themselves.

    Raises:
        ClaimError: naming every binding claim that does not hold.
        ValueError: if there are no claims.
    """
    claims = tuple(replace(made, data=made.data or str(data)) for made in claims)
    if not claims:
        raise ValueError("there are no claims to require")
    for made in claims:
        _show(made)
    broken = [made for made in claims if made.binding and made.holds is False]
    if broken:
        raise ClaimError("does not hold:\n" + "\n".join(str(made) for made in broken))


@dataclass(frozen=True)
class DataCard:
    """What an experiment ran on, never the data itself: name, sizes and checksum (SHA-256)."""

    name: str
    num_train: int
    num_test: int
    num_classes: int
    checksum: str

    def __str__(self) -> str:
        return f"{self.name}: {self.num_train:,} training samples, {self.num_classes} classes"


@dataclass(frozen=True)
class Outcome:
    """The result of one experiment: one seed on one data set.

    Attributes:
        experiment: name of the module that ran, e.g. "papyan2020".
        scale: "laptop", "workstation" or "paper".
        seed: the seed it ran with.
        data: what it ran on.
        claims: what it asserts, in order.
        tables: its histories as plain tables, by name.
    """

    experiment: str
    scale: str
    seed: int
    data: DataCard
    claims: tuple[Claim, ...]
    tables: Mapping[str, Table] = field(default_factory=dict)

    def elsewhere(self) -> "Outcome":
        """The same outcome as one on data that its claims were not made for (`Claim.elsewhere`)."""
        return replace(self, claims=tuple(made.elsewhere() for made in self.claims))

    def as_dict(self) -> dict[str, Any]:
        """All of it in plain data, as files keep it."""
        return {
            "experiment": self.experiment,
            "scale": self.scale,
            "seed": self.seed,
            "data": asdict(self.data),
            "claims": [made.as_dict() for made in self.claims],
            "tables": {name: dict(table.columns) for name, table in self.tables.items()},
        }

    def save(self, path: str | Path) -> Path:
        """Write as JSON; returns the path. `Outcome.load` reads it back."""
        return write_whole(path, json.dumps(self.as_dict(), ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "Outcome":
        """Read what `save` wrote.

        Raises:
            ValueError: if the file is not JSON or not an outcome, naming the file.
        """
        return _outcome(_read_json(path), path)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        lines = [str(self), *(str(c) for c in self.claims)]
        rows = "".join(made._repr_html_() for made in self.claims)
        return {
            "text/plain": "\n".join(lines),
            "text/html": f"<p>{html.escape(str(self))}</p>{rows}",
        }

    def __str__(self) -> str:
        judged = [made.holds for made in self.claims if made.holds is not None]
        reported = len(self.claims) - len(judged)
        said = f"{sum(judged)} of {len(judged)} claims hold"
        if reported:
            said = f"{said}, {reported} reported" if judged else f"{reported} claims reported"
        return (
            f"{self.experiment}, scale {self.scale}, seed {self.seed}, on {self.data.name} "
            f"({self.data.num_train} training samples, {self.data.num_classes} classes): {said}"
        )


@dataclass(frozen=True)
class Recording:
    """Outcomes of several seeds, kept because they take longer than a notebook may.

    Attributes:
        outcomes: one per seed.
        command: what made it, to type again.
        version: of ncourse.
        date: ISO date of the run.
    """

    outcomes: tuple[Outcome, ...]
    command: str
    version: str
    date: str

    def __str__(self) -> str:
        seeds = ", ".join(str(outcome.seed) for outcome in self.outcomes)
        return f"recorded: seeds {seeds}; {self.command}; ncourse {self.version}, {self.date}"

    def save(self, path: str | Path) -> Path:
        """Write as JSON, floats to 6 significant digits; returns the path."""
        content = {
            "outcomes": [outcome.as_dict() for outcome in self.outcomes],
            "command": self.command,
            "version": self.version,
            "date": self.date,
        }
        text = json.dumps(_rounded(content), ensure_ascii=False, separators=(",", ":"))
        return write_whole(path, text + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "Recording":
        """Read what `save` wrote.

        Raises:
            ValueError: if the file is not JSON or not a recording, naming the file.
        """
        content = _read_json(path)
        try:
            outcomes = tuple(_outcome(entry, path) for entry in content["outcomes"])
            made = cls(outcomes, content["command"], content["version"], content["date"])
            _check_kinds(made, {"outcomes": tuple})
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} is not a recording: {error!r}") from error
        if not outcomes:
            raise ValueError(f"{path} is a recording without outcomes")
        return made


def repeat(
    experiment: Callable[..., Outcome],
    seeds: Sequence[int],
    *,
    command: str = "",
    keep: Sequence[str] | None = None,
    **arguments: Any,
) -> Recording:
    """Run an experiment once per seed.

    Args:
        experiment: a paper's `experiment` function.
        seeds: at least one.
        command: what to type to make this again; stored, not run.
        keep: names of the tables to keep (all if None); the others are dropped.
        arguments: passed on to `experiment`.
    """
    if not seeds:
        raise ValueError("seeds is empty; expected at least one seed")
    outcomes = []
    for seed in seeds:
        outcome = experiment(seed=seed, **arguments)
        if keep is not None:
            outcome = replace(outcome, tables={name: outcome.tables[name] for name in keep})
        outcomes.append(outcome)
    return Recording(tuple(outcomes), command, version("ncourse"), date.today().isoformat())


def summary(outcomes: Iterable[Outcome]) -> list[dict[str, Any]]:
    """Each claim over several outcomes: how often it held, and the spread of every number.

    Returns one dict per claim, in order: `text`, `source`, `held`, `runs`, and `measured` and
    `control`, which map each name to (mean, least, greatest).

    Raises:
        ValueError: if the outcomes do not assert the same claims.
    """
    outcomes = tuple(outcomes)
    texts = {tuple(c.text for c in outcome.claims) for outcome in outcomes}
    if len(texts) != 1:
        raise ValueError(f"the {len(outcomes)} outcomes do not assert the same claims")
    rows = []
    for versions in zip(*(outcome.claims for outcome in outcomes), strict=True):
        rows.append(
            {
                "text": versions[0].text,
                "source": versions[0].source,
                "held": sum(bool(c.holds) for c in versions),
                "runs": len(versions),
                "measured": _spread([c.measured for c in versions]),
                "control": _spread([c.control for c in versions]),
            }
        )
    return rows


def _spread(rows: list[Mapping[str, float | int]]) -> dict[str, tuple[float, float, float]]:
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return {name: (mean(c), min(c), max(c)) for name, c in columns.items()}


def numbers(values: Mapping[str, float | int]) -> str:
    """Named numbers as a reader sees them, to three digits: in notebooks, pages and files.

    >>> numbers({"NC1": 0.012345, "epochs": 300})
    'NC1: 0.0123; epochs: 300'
    """
    return "; ".join(f"{name}: {value:.3g}" for name, value in values.items())


def _show(made: Claim) -> None:
    """Display in a notebook, print elsewhere."""
    # IPython is there exactly when a notebook runs; the package itself does not need it.
    ipython = sys.modules.get("IPython")
    if ipython is not None and ipython.get_ipython() is not None:
        ipython.display.display(made)
    else:
        print(made)


def _read_json(path: str | Path) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not readable JSON: {error}") from error


def _outcome(content: Any, path: str | Path) -> Outcome:
    try:
        made = Outcome(
            **{
                **content,
                "data": DataCard(**content["data"]),
                "claims": tuple(Claim(**entry) for entry in content["claims"]),
                "tables": {name: _table(kept) for name, kept in content["tables"].items()},
            }
        )
        _check_kinds(made, {"seed": int, "data": DataCard, "claims": tuple, "tables": dict})
        _check_kinds(made.data, {"num_train": int, "num_test": int, "num_classes": int})
        for entry in made.claims:
            kinds = {"measured": dict, "control": dict, "binding": bool, "reference": dict}
            kinds |= {"comparisons": tuple, "fixed_data": bool}
            kinds["holds"] = type(None) if entry.holds is None else bool
            _check_kinds(entry, kinds)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ValueError(f"{path} is not an outcome: {error!r}") from error
    return made


def _table(columns: Any) -> Table:
    if not columns or not all(isinstance(values, list) for values in columns.values()):
        raise TypeError(f"a table is {columns!r}; expected columns that are lists")
    return Table(columns)


def _check_kinds(made: Any, kinds: Mapping[str, type]) -> None:
    """Raise a TypeError unless each field is of its kind; those that are not named are texts."""
    for name, value in vars(made).items():
        if type(value) is not kinds.get(name, str):
            raise TypeError(f"{name} is {value!r}")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(entry) for entry in value]
    return value
