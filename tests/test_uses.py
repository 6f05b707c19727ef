"""The numbers of chapter 10's table of uses are those of its recordings, all of them, in order."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean

import pytest

from ncourse.claims import Outcome, Recording

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
COLLAPSED, NOT = "weight decay 5e-3", "no weight decay"
BASELINES = ("ER", "ER-ACE", "DER++", "DER++, balanced", "iCaRL")
MEASURED = 9  # at least


def outcomes(name: str, seeds: int) -> Sequence[Outcome]:
    found = Recording.load(NOTEBOOKS / "recorded" / f"{name}.json").outcomes
    assert len(found) >= seeds, name
    return found


def averaged(name: str, seeds: int, number: Callable[[Outcome], float]) -> float:
    return mean(number(outcome) for outcome in outcomes(name, seeds))


def at(name: str, table: str, column: str, seeds: int = 3, **where: object) -> float:
    """The mean over seeds of the last row that has these values."""
    return averaged(name, seeds, lambda made: made.tables[table].where(**where).last[column])


def error(run: str, row: Callable[[Sequence[float], Sequence[float]], float]) -> float:
    """Of the history of a run: what `row` makes of training and test errors."""

    def number(made: Outcome) -> float:
        history = made.tables[run]
        return row(history["train_error"], history["test_error"])

    return averaged("10-hui2022", 4, number)


def when_fitted(train: Sequence[float], test: Sequence[float]) -> float:
    return test[list(train).index(0)]


def at_the_end(_: Sequence[float], test: Sequence[float]) -> float:
    return test[-1]


def least(_: Sequence[float], test: Sequence[float]) -> float:
    return min(test)


def ratio_of_nc1(name: str, table: str) -> float:
    """Not collapsed over collapsed at the end: the least over seeds."""
    return min(
        made.tables[table].where(run=NOT).last["nc1"]
        / made.tables[table].where(run=COLLAPSED).last["nc1"]
        for made in outcomes(name, 3)
    )


def score(column: str, where: str, name: str, run: str) -> float:
    return at("10-ammar2024", "detection", column, 5, run=run, outside=where, score=name)


def continual(name: str, table: str, seeds: int) -> list[float]:
    """ProNC, the same with replay beside, and the best tuned baseline, in final accuracy."""

    def final(method: str) -> float:
        return at(name, table, "final", seeds, method=method)

    return [final("ProNC"), final("ProNC, beside"), max(map(final, BASELINES))]


def rank_correlation() -> float:
    """Of chapter 11's grid: the first number of the claim on validation loss."""

    def number(made: Outcome) -> float:
        (claim,) = (c for c in made.claims if c.text.startswith("Over the sizes"))
        return claim.measured["standard deviation of the alignment"]

    return averaged("11-grid", 5, number)


def heads(column: str, head: str, ratio: int) -> float:
    return at("10-yang2022", "heads", column, head=head, ratio=ratio)


def seli(column: str, penalty: float) -> float:
    return at("10-yang2022", "seli", column, sizes="unequal", penalty=penalty)


def attacks(column: str, run: str, radius: float) -> float:
    return at("10-su2023", "attacks", column, run=run, radius=radius)


def means(run: str) -> float:
    return at("10-su2023", "layers", "accuracy", run=run, layer="layer 2", radius=0.0)


def few(layer: str, run: str) -> float:
    return at("10-galanti2021", "transfer", "accuracy", 4, run=run, layer=layer, epoch=300)


def probe(layer: str, run: str) -> float:
    return at("10-galanti2021", "probe", "accuracy", 4, run=run, layer=layer)


def numbers() -> dict[str, list[str]]:
    """By use: the numbers of its row, as they are printed."""
    noise = {run: f"{run}, label noise" for run in (COLLAPSED, NOT)}
    ends = {
        column: [at("10-hui2022", run, column, 4) for run in (COLLAPSED, NOT)]
        for column in ("test_calibration", "test_overconfidence")
    }
    constrained = {"kind": "constrained", "ratio": 30}
    ordinary = {"kind": "ordinary", "ratio": 30}
    found = {
        "early stopping": [
            *(error(COLLAPSED, row) for row in (when_fitted, at_the_end)),
            *(error(NOT, row) for row in (when_fitted, at_the_end)),
        ],
        "label noise": [
            at("10-hui2022", "memorised", "wrong_class", 4, run=COLLAPSED),
            *(error(noise[COLLAPSED], row) for row in (at_the_end, least)),
            *(error(noise[NOT], row) for row in (at_the_end, least)),
        ],
        "calibration": [
            ends["test_calibration"][0],
            -ends["test_overconfidence"][0],
            ends["test_calibration"][1],
            ends["test_overconfidence"][1],
        ],
        "transfer": [probe("layer 3", COLLAPSED), probe("layer 3", NOT), probe("input", NOT)],
        "few-shot": [few("layer 3", COLLAPSED), few("layer 3", NOT), few("layer 1", COLLAPSED)],
        "outside, near": [
            score("auroc", "other digits", name, run)
            for name in ("softmax", "mahalanobis")
            for run in (COLLAPSED, NOT)
        ],
        "outside, far": [
            *(score("auroc", "letters", "mahalanobis", run) for run in (COLLAPSED, NOT)),
            *(score("fpr95", "letters", "mahalanobis", run) for run in (COLLAPSED, NOT)),
            score("auroc", "letters", "pixels", "no network"),
        ],
        "unequal classes": [
            heads("minority", head, 30)
            for head in ("simplex", "learned", "simplex, dot regression")
        ],
        "their geometry": [
            *(seli(f"weight_{shape}", 1e-6) for shape in ("seli", "simplex")),
            *(seli(f"means_{shape}", 1e-2) for shape in ("seli", "simplex")),
        ],
        "minority collapse": [
            at("04-fang2021", "networks", "minority_accuracy", 2, **constrained),
            at("04-fang2021", "networks", "minority_accuracy", 2, **(constrained | {"ratio": 1})),
            at("04-fang2021", "networks", "minority_accuracy", 2, **ordinary),
        ],
        "continual learning": [
            *continual("09-seeds", "strategies", 5),
            *continual("09-seeds", "digits", 5),
            *continual("beyond-wang2025", "strategies", 3),
        ],
        "attacks": [
            *(attacks("attack", run, 0.1) for run in (COLLAPSED, NOT)),
            *(attacks("attack", run, 0.15) for run in (COLLAPSED, NOT)),
            attacks("random", COLLAPSED, 0.15),
        ],
        "language models": [rank_correlation()],
        "a fixed head": [
            heads("accuracy", "simplex", 1),
            heads("accuracy", "learned", 1),
            heads("accuracy", "simplex, K features", 1),
        ],
        "fewer layers": [
            means(COLLAPSED),
            attacks("attack", COLLAPSED, 0.0),
            means(NOT),
            attacks("attack", NOT, 0.0),
        ],
    }
    return {use: [f"{value:.3f}" for value in values] for use, values in found.items()}


def rows() -> dict[str, list[str]]:
    """By use: the cells of its row."""
    notebook = json.loads((NOTEBOOKS / "10-what-collapse-buys.ipynb").read_text(encoding="utf-8"))
    (cell,) = (c for c in notebook["cells"] if "".join(c["source"]).startswith("| use, "))
    _, _, *lines = "".join(cell["source"]).splitlines()
    lines = [re.sub(r"\]\([^)]*\)", "]", line) for line in lines if line.startswith("|")]
    cells = [re.split(r" \| ", line.strip("| ")) for line in lines]
    return {name[2:].split("**")[0]: [name, *rest] for name, *rest in cells}


def test_each_row_has_all_cells_and_a_measurement_or_says_that_there_is_none() -> None:
    measured = 0
    for use, cells in rows().items():
        assert len(cells) == 4, use
        assert re.search(r"\*\* [`\[]", cells[0]), f"{use}: neither code nor source"
        assert all(cells[1:3]), use
        measured += "not measured here" not in cells[2]
    assert measured >= MEASURED


@pytest.mark.parametrize("use", numbers())
def test_each_number_is_that_of_the_recording(use: str) -> None:
    cells = rows()[use]
    printed = re.findall(r"\d?\.\d{3}", " ".join(cells[2:]))
    assert printed == numbers()[use]


def test_collapsed_means_that_nc1_is_five_times_smaller_at_least() -> None:
    assert ratio_of_nc1("10-su2023", "attacks") > 5
    assert ratio_of_nc1("10-ammar2024", "orthogonality") > 5
    for made in outcomes("10-hui2022", 4):
        assert made.tables[NOT].last["nc1"] > 5 * made.tables[COLLAPSED].last["nc1"]


def test_no_row_has_numbers_that_nobody_compares() -> None:
    for use, cells in rows().items():
        assert use in numbers() or not re.search(r"\d\.\d", " ".join(cells[1:])), use
