"""The recordings of the page "Beyond digits": on which data, and what the code makes of them."""

import importlib
import json
import math
import re
from pathlib import Path

import pytest

from ncourse.claims import Claim, Outcome, Recording
from ncourse.course import manifest
from ncourse.data import DEBIAN_FASHION_MNIST, fashion_mnist
from ncourse.papers import sukenik2025, wang2025

FOLDER = Path(__file__).parents[1] / "notebooks" / "recorded"
FILES = sorted(FOLDER.glob("beyond-*.json"))
DEBIAN = pytest.mark.skipif(
    not DEBIAN_FASHION_MNIST.is_dir(), reason="needs Debian's dataset-fashion-mnist"
)


def outcomes(paper: str) -> tuple[Outcome, ...]:
    recording = Recording.load(FOLDER / f"beyond-{paper}.json")
    assert recording.command.startswith(
        f"ncourse record {paper} notebooks/recorded/beyond-{paper}.json"
    )
    assert recording.command.endswith("--data fashion-mnist")
    return recording.outcomes


def outcome(paper: str) -> Outcome:
    return outcomes(paper)[0]


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
    elif paper == "wang2025":  # and so is what is proved of growing frames
        made = [c.elsewhere() for c in wang2025.claims(kept.tables)]
        assert [c.holds for c in made] == [True] * 2 + [None] * 9
    else:
        judge = module.claims_on_images if paper == "papyan2020" else module.claims
        made = judge(kept.tables)
        assert not any(c.binding for c in kept.claims)
    assert [(c.text, c.holds) for c in made] == [(c.text, c.holds) for c in kept.claims]


# Where a chapter says of its own claim that it does not hold on photographs of clothes: paper,
# beginning of the claim -> a sentence of the chapter, with numbers of that claim as recorded.
CITED = {
    ("papyan2020", "From the first epoch to the end NC1 of the MLP"): (
        "NC1 of the MLP falls {NC1 falls by the factor:.0f}-fold in all and not 20-fold"
    ),
    ("papyan2020", "As on digits, NC1 of the MLP"): (
        "and {NC1 falls by the factor:.1f}-fold after zero error"
    ),
    ("papyan2020", "From the first epoch to the end NC2 and NC3"): (
        "without weight decay NC2 falls {NC2 without weight decay:.1f}-fold"
    ),
    ("papyan2020", "As on digits, NC1 of a CNN"): (
        "The CNN never fits all its images, so of it nothing is said"
    ),
    ("papyan2020", "Test features do not follow"): (
        "ends at {test over train at the end:.1f} times that on training images and not at 10"
    ),
    ("sukenik2025", "one layer a block, depth 1 to 16: the gap"): (
        "the gap falls to {gap ratio, two layers:.2f} of itself (here it stays above .6)"
    ),
    ("sukenik2025", "on log-log axes"): "with a slope of {slope, two layers:.2f} (above −.2)",
    ("sukenik2025", "the weight decay spent in the blocks"): (
        "the weight decay spent falls to {ratio, two layers:.2f} (above .8)"
    ),
    ("sukenik2025", "in units of the weight decay"): (
        "in units of $\\lambda$ to {gap over weight decay, ratio:.2f} (above .75)"
    ),
    ("sukenik2025", "with conflicting copies"): (
        "is {gap without sharing, over the gap:.1f} gaps away (above 5)"
    ),
    ("jacot2024", "The whole matrix of imbalance"): "With five linear layers the law is off by",
    ("jacot2024", "Two clocks"): "as long at one $\\lambda$ as at another",
    ("jacot2024", "NC1 falls at least 50-fold"): "where 50 is asked",
    ("jacot2024", "At the end NC1 falls as a power"): "The power of $\\lambda$ is",
    (
        "jacot2024",
        "From a random start and without weight",
    ): "Without weight decay the error ends at",
    ("jacot2024", "At the end κ(W_L)"): "$\\kappa(W_L)$ is off the root by",
    ("jacot2024", "NC2 for 4 linear layers"): "NC2 of four layers is predicted",
    ("jacot2024", "One linear layer collapses too"): "With one linear layer NC1 falls",
    ("wang2025", "many small tasks, few stored"): ("ProNC does not end above ER"),
    ("wang2025", "ProNC ends above the best of"): (
        "it does not end above the best of the other methods with a memory"
    ),
    ("wang2025", "drawing the simplex anew"): ("drawing the simplex anew costs less than .3"),
    ("wang2025", "leaving out the distillation"): (
        "leaving out the distillation costs less than .05"
    ),
    ("wang2025", "fixing the whole simplex"): (
        "fixing the whole simplex at ProNC's settings costs less than .02"
    ),
    ("wang2025", "a fixed simplex with its own"): (
        "a tuned fixed simplex does not trail in anytime accuracy"
    ),
    ("wang2025", "taking the features after"): ("a ReLU costs less than .02"),
    ("wang2025", "whoever decides"): (
        "to some rule alignment is worth less than .2, and the nearest stored mean decides better"
    ),
    ("wang2025", "starting from the simplex"): (
        "a random first simplex is off by more than .1 in final accuracy, or turns no further"
    ),
}


def crosses(paper: str) -> list[Claim]:
    """Claims of a chapter of which some comparison is false on the recorded images."""
    module = importlib.import_module(f"ncourse.papers.{paper}")
    found: dict[str, Claim] = {}
    for kept in outcomes(paper):
        if paper == "sukenik2025":
            made = module.claims(kept.tables, kept.data.num_classes)
        else:
            judge = module.claims_on_images if paper == "papyan2020" else module.claims
            made = judge(kept.tables)
        found |= {c.text: c for c in made if not all(one.holds for one in c.comparisons)}
    return list(found.values())


def plain(number: str) -> str:
    """As prose writes it: .52 for 0.52, with a minus sign."""
    return re.sub(r"(?<![\d.])0\.", ".", number.replace("-", "−"))


class Numbers(dict):
    """Formats a claim's numbers by their names, which have spaces and commas in them."""

    def fill(self, sentence: str) -> str:
        return re.sub(r"\{(.+?):(\.\df)\}", lambda m: plain(format(self[m[1]], m[2])), sentence)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_chapter_cites_every_claim_of_its_own_that_fails_on_images(path: Path) -> None:
    paper = path.stem.removeprefix("beyond-")
    book = manifest.load(FOLDER.parents[1] / "book.toml")
    chapter = [c for c in book.chapters if paper in {each.key for each in c.papers}][-1]
    cells = json.loads((FOLDER.parent / chapter.file).read_text(encoding="utf-8"))["cells"]
    texts = [" ".join("".join(c["source"]).split()) for c in cells if c["cell_type"] == "markdown"]
    citing = [text for text in texts if "beyond-digits.md" in text]
    missing, met = [], set()
    for made in crosses(paper):
        starts = [key for key in CITED if made.text.startswith(key[1])]
        key = next((key for key in starts if key[0] == paper), None)
        met.add(key)
        said = CITED.get(key) if key else None
        if said is not None:
            said = Numbers({**made.measured, **made.control}).fill(said)
        if said is None or not any(said in text for text in citing):
            missing.append(f"{made.text}: {said}")
    assert missing == []
    stale = [key for key in CITED if key[0] == paper and key not in met]
    assert stale == []


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
    ):
        assert said in page, said


def test_numbers_in_the_paragraph_on_continual_learning_are_means_over_its_seeds() -> None:
    page = " ".join((FOLDER.parent / "beyond-digits.md").read_text(encoding="utf-8").split())
    runs = [kept.tables for kept in outcomes("wang2025")]
    assert [kept.seed for kept in outcomes("wang2025")] == [0, 1, 2]
    final = wang2025._means([run["strategies"] for run in runs], "final")
    end = wang2025._starts([run["starts"] for run in runs], "final")
    ranked = sorted(final, key=final.__getitem__, reverse=True)
    assert ranked[:2] == ["joint", "ProNC, beside"]
    for said in (
        f"far above the rest ({final['joint']:.2f})",
        f"ProNC ({final['ProNC']:.2f}) ends behind replay alone ({final['ER']:.2f} for ER), iCaRL "
        f"({final['iCaRL']:.2f}) and DER++ ({final['DER++']:.2f}, with the balanced memory "
        f"{final['DER++, balanced']:.2f}), and a fixed simplex ends at "
        f"{final['fixed simplex']:.2f}",
        f"ProNC is ahead of all of them ({final['ProNC, beside']:.2f})",
        f"({end['nearest', 'merged']:.2f} from the nearest, {end['random', 'merged']:.2f} from a",
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
