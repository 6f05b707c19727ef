"""The numbers of the page "After the five papers" are those of its recordings."""

import re
from pathlib import Path
from statistics import mean

from ncourse.claims import Recording

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
PAGE = (NOTEBOOKS / "after.md").read_text(encoding="utf-8")


def tables(paper, name):
    recording = Recording.load(NOTEBOOKS / "recorded" / f"11-{paper}.json")
    assert len(recording.outcomes) == 5
    return [outcome.tables[name] for outcome in recording.outcomes]


def row(start):
    """The cells of the line of a table that begins so."""
    (line,) = re.findall(rf"^\| {re.escape(start)} \| (.*) \|$", PAGE, re.MULTILINE)
    return line.replace("−", "-").split(" | ")


def test_simplex_circle_and_what_training_finds():
    energies, runs = tables("garrod2026", "energies")[0], tables("garrod2026", "trained")
    for depth in (2, 3, 5, 8):
        form = energies.where(depth=depth).last
        found = [run.where(run="weight decay", depth=depth).last for run in runs]
        (rank,) = {one["rank"] for one in found}
        loss = mean(one["loss"] for one in found)
        numbers = (f"{x:.4f}" for x in (form["simplex"], form["circle"], loss))
        assert row(str(depth)) == [*numbers, str(rank)]


def test_effective_ranks_without_weight_decay():
    runs = tables("garrod2026", "trained")
    for name, units in (("narrow", "16 units"), ("wide", "128 units")):
        found = [
            mean(
                run.where(run=f"{name}, no weight decay", depth=depth).last["effective_rank"]
                for run in runs
            )
            for depth in (2, 3, 5, 8)
        ]
        assert row(units) == [f"{rank:.1f}" for rank in found]


def test_the_passage_between_the_frames():
    runs = tables("massion2026", "passage")
    for loss, column, name in (
        ("mse", "cosine", "squared errors, solver"),
        ("mse", "closed_form", "closed form"),
        ("cross-entropy", "cosine", "cross-entropy, solver"),
    ):
        columns = zip(*(run.where(loss=loss)[column] for run in runs), strict=True)
        assert [float(cell) for cell in row(name)] == [
            round(mean(values), 3) + 0.0 for values in columns
        ]


def test_each_chapter_that_is_named_is_linked():
    for name in re.findall(r"\bchapter (\d+)\b", re.sub(r"\[[^\]]*\]\([^)]*\)", "", PAGE)):
        assert name == "8", f"chapter {name} is named without a link"
