"""The recordings of the page "Beyond digits": on which data, and what the code makes of them."""

import importlib
import json
import math
from pathlib import Path

import pytest

from ncourse.claims import Outcome, Recording
from ncourse.data import DEBIAN_FASHION_MNIST, fashion_mnist
from ncourse.papers import sukenik2025, wang2025

FOLDER = Path(__file__).parents[1] / "notebooks" / "recorded"
FILES = sorted(FOLDER.glob("beyond-*.json"))
DEBIAN = pytest.mark.skipif(
    not DEBIAN_FASHION_MNIST.is_dir(), reason="needs Debian's dataset-fashion-mnist"
)


def outcome(paper: str) -> Outcome:
    recording = Recording.load(FOLDER / f"beyond-{paper}.json")
    assert recording.command.startswith(
        f"ncourse record {paper} notebooks/recorded/beyond-{paper}.json"
    )
    assert recording.command.endswith("--data fashion-mnist")
    (only,) = recording.outcomes
    return only


def test_four_papers_were_run() -> None:
    papers = [path.stem.removeprefix("beyond-") for path in FILES]
    assert papers == ["jacot2024", "papyan2020", "sukenik2025", "wang2025"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_claims_are_reported_and_follow_from_the_tables(path: Path) -> None:
    assert path.stat().st_size <= 200_000
    paper = path.stem.removeprefix("beyond-")
    kept = outcome(paper)
    module = importlib.import_module(f"ncourse.papers.{paper}")
    if paper == "sukenik2025":  # what is proved is judged on any data
        made = [c.elsewhere() for c in sukenik2025.claims(kept.tables, kept.data.num_classes)]
        assert [c.holds for c in made] == [True] + [None] * 9
    else:
        judge = module.claims_on_images if paper == "papyan2020" else module.claims
        made = judge(kept.tables)
        assert not any(c.binding for c in kept.claims)
    assert [(c.text, c.holds) for c in made] == [(c.text, c.holds) for c in kept.claims]


def fall(table: dict[str, list[float]], start: int = 0) -> float:
    return table["nc1"][start] / table["nc1"][-1]


def test_numbers_in_the_paragraphs_are_those_of_the_recordings() -> None:
    page = " ".join((FOLDER.parent / "beyond-digits.md").read_text(encoding="utf-8").split())
    runs = outcome("papyan2020").tables
    mlp, none = runs["mlp"], runs["mlp, no weight decay"]
    zero = mlp["train_error"].index(0)
    assert none["train_error"][-1] == mlp["nc4"][-1] == 0  # "Both fit", "exactly zero"
    seeds = [seed.tables for seed in Recording.load(FOLDER / "03-seeds.json").outcomes]
    main = [run["weight decay 5e-3"] for run in seeds]
    control = [run["no weight decay"] for run in seeds]
    at = [run["train_error"].index(0) for run in main]
    at_control = [run["train_error"].index(0) for run in control]
    assert max(run["epoch"][row] for run, row in zip(main, at, strict=True)) == 5
    falls = [f"{fall(run, row):.0f}-fold" for run, row in zip(main, at, strict=True)]
    controls = [f"{fall(run, row):.1f}-fold" for run, row in zip(control, at_control, strict=True)]
    cnn, cnn_none = runs["cnn"], runs["cnn, no weight decay"]
    jacot = {claim.text[:12]: claim for claim in outcome("jacot2024").claims}
    clocks = jacot["Two clocks: "].measured["fit, longest / shortest time"]
    nc1 = jacot["NC1 falls at"]
    slow, five = (outcome("jacot2024").tables[name] for name in ("λ = 8e-3", "L2 = 5"))
    deep = {claim.text[:18]: claim for claim in outcome("sukenik2025").claims}
    cosine = deep["the loss chooses t"].measured["cross-entropy"]
    table = outcome("wang2025").tables["strategies"]
    final = dict(zip(table["method"], table["final"], strict=True))
    anytime = dict(zip(table["method"], table["anytime"], strict=True))
    assert max(final, key=final.__getitem__) == "joint"
    for said in (
        f"NC1 falls from {mlp['nc1'][0]:.1f} to {mlp['nc1'][-1]:.2f}, about {fall(mlp):.0f}-fold",
        f"in as many epochs, to {none['nc1'][-1]:.1f}. Both networks fit every image",
        f"stays at {100 * none['nc4'][-1]:.0f} % without",
        f"falls only {fall(mlp, zero):.1f}-fold more",
        f"then falls {' and '.join(falls)}, without weight decay {' and '.join(controls)}",
        f"it misfits {cnn['train_error'][-1] * 3000:.0f} of them",
        f"NC1 falls {fall(cnn):.0f}-fold with it, {fall(cnn_none):.0f}-fold without",
        f"at 2e-3 NC1 falls {nc1.measured['λ = 2e-3']:.0f}-fold, without it "
        f"{nc1.control['without weight decay']:.0f}-fold",
        f"takes up to {clocks:.0f} times as long",
        f"at a weight decay of 8e-3 it ends at {slow['fit'][-1]:.2f}",
        f"five linear layers it is off by a factor of {max(five['law_error']):.0f}",
        f"What is off by a factor of {max(five['law_error']):.0f}",
        f"should have shrunk {round(math.exp(10), -3):,.0f}-fold",  # e^(2 lambda t) at the end
        f"−1/9, and −{-cosine:.4f} was measured",
        f"({final['ProNC']:.2f} against {final['ER']:.2f} for ER)",
        f"ends ahead of ProNC ({final['fixed simplex, tuned']:.2f})",
        f"({anytime['fixed simplex, tuned']:.2f} against {anytime['ProNC']:.2f})",
        f"A random first simplex costs {final['ProNC'] - final['random start']:.2f}",
        f"all tasks together ({final['joint']:.2f})",
    ):
        assert said in page, said


def test_the_law_of_imbalance_breaks_where_steps_are_at_the_edge_of_stability() -> None:
    """What the paragraph under the table of steps says of it."""
    table = json.loads((FOLDER / "steps.json").read_text(encoding="utf-8"))
    columns = ("data", "layers", "step × sharpness", "law off by")
    rows = list(zip(*(table[name] for name in columns), strict=True))
    at_the_edge = [row for row in rows if row[:2] == ("clothes", 5)]
    others = [row for row in rows if row[:2] != ("clothes", 5)]
    assert len(at_the_edge) == 3
    assert len(others) == 2
    assert all(1.9 < product < 2.3 and error > 50 for _, _, product, error in at_the_edge)
    assert all(product < 1 and error <= 0.03 for _, _, product, error in others)


@DEBIAN
def test_all_ran_on_the_published_images() -> None:
    images = fashion_mnist()
    for paper in ("papyan2020", "sukenik2025", "wang2025"):
        assert outcome(paper).data == images.card
    jacot = importlib.import_module("ncourse.papers.jacot2024")
    assert outcome("jacot2024").data == jacot.prepare(images).card


@DEBIAN
def test_a_network_of_depth_one_comes_out_again() -> None:
    series = (("mixture", "RN1", sukenik2025.CONSTANT, "cross-entropy", (1,)),)
    (again,) = sukenik2025.depth_tables(series, seeds=[0], data=fashion_mnist())
    kept = outcome("sukenik2025").tables["depth"]
    setting = [kept[name][0] for name in ("problem", "architecture", "depth")]
    assert setting == ["fashion-mnist", "RN1", 1]
    for name in ("loss", "nc1"):
        assert again[name][0] == pytest.approx(kept[name][0], rel=0.02), name


def test_growth_comes_out_again() -> None:
    kept = outcome("wang2025").tables["growth"]
    again = wang2025.growth(seed=0)
    assert list(again) == list(kept)
    for name, values in again.items():
        if isinstance(values[0], float):
            assert kept[name] == pytest.approx(values, rel=1e-3, abs=1e-6), name
        else:
            assert kept[name] == values
