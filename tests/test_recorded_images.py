"""The recordings of the page "Beyond digits": on which data, and what the code makes of them."""

import importlib
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
    judge = module.claims_on_images if paper == "papyan2020" else module.claims
    made = judge(kept.tables)
    assert [(c.text, c.holds) for c in made] == [(c.text, c.holds) for c in kept.claims]
    assert not any(c.binding for c in kept.claims)


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
    assert [kept[name][0] for name in ("problem", "architecture", "depth")] == ["mixture", "RN1", 1]
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
