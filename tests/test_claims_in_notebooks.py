"""Every claim that a notebook shows is tested: as one of a paper, or here."""

import ast
import importlib
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from test_papers import kind

from ncourse import papers
from ncourse.claims import CLAIM_MIME, Claim, ClaimError, claim

ROOT = Path(__file__).parents[1]


def claims_in_notebooks() -> dict[str, str]:
    """Text -> code of the cell, of the claims that the course's notebooks show."""
    found = {}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", []):
                if CLAIM_MIME in output.get("data", {}):
                    found[output["data"][CLAIM_MIME]["text"]] = cell.source
    return found


# Chapter 0 writes its claims out in cells, to show how one is made.
IN_CELLS = {
    "After 200 epochs NC1, the spread within classes in units of that between them, is 0.01 or "
    "less. Without weight decay, at zero training error too, it is above 0.05",
    "Nothing is left of the spread: NC1 ends below 1e-6",
}


def run_cell(start: str, *, nc1: float, control: float, error: float = 0.0) -> Claim:
    """Run the cell of a claim as if the chapter's two networks had ended like this."""
    (code,) = (code for text, code in claims_in_notebooks().items() if text.startswith(start))
    names = {
        "history": {"nc1": [1.0, nc1]},
        "control": {"nc1": [1.0, control], "train_error": [0.5, error]},
        "ends": {"with": nc1, "without": control},
        "data": SimpleNamespace(card="digits"),
        "Claim": Claim,
        "claim": claim,
    }
    *before, last = ast.parse(code).body
    made = ast.Assign([ast.Name("made", ast.Store())], last.value)  # type: ignore[attr-defined]
    cell = ast.fix_missing_locations(ast.Module([*before, made], []))
    exec(compile(cell, start, "exec"), names)
    return names["made"]  # type: ignore[return-value]


def test_the_claim_that_chapter_0_makes_in_a_cell_can_fail_part_by_part() -> None:
    assert run_cell("After 200", nc1=0.008, control=0.06).holds
    for false in (
        {"nc1": 0.011, "control": 0.06},
        {"nc1": 0.008, "control": 0.04},
        {"nc1": 0.008, "control": 0.06, "error": 0.01},
    ):
        with pytest.raises(ClaimError, match="After 200 epochs"):
            run_cell("After 200", **false)


def test_the_claim_that_chapter_0_shows_as_failing_would_hold_for_a_collapsed_network() -> None:
    assert not run_cell("Nothing is left", nc1=0.008, control=0.06).holds
    assert run_cell("Nothing is left", nc1=1e-7, control=0.06).holds


def test_every_other_claim_is_one_of_a_paper() -> None:
    shown = {kind(text) for text in claims_in_notebooks()}
    known = {
        kind(made.text)
        for paper in papers.names()
        for made in importlib.import_module(f"test_{paper}").true_claims()
    }
    assert shown - known == IN_CELLS
