"""Ties, a grammar, English, the grid; and runs in which each claim is false."""

import math

import pytest
import torch

from ncourse.claims import Recording
from ncourse.data import Dataset, gaussian_mixture, grammar, python_docs
from ncourse.papers import wu2024
from ncourse.papers.wu2024 import Setting
from ncourse.tables import Table
from ncourse.ties import solve_tied

GRID = "notebooks/recorded/11-grid.json"
MIXED = (3, 4, 5, 0, 1, 2, 6, 7, 8)


def run(**changes):
    """Tables in which everything that is claimed is true, but for the cells changed."""
    ties = [
        {"case": case, "words": 4, "size": size, "nc1": changes.get(f"nc1 {case}", nc1),
         "predicted_nc1": nc1, "cosine": -1 / 3, "spread": changes.get(f"spread {case}", spread)}
        for case, size, nc1, spread in (
            ("1 of 4", 1, 0.0, 0.0), ("2 of 4", 2, 2.0, 0.0), ("synonyms", 1, 0.0, 0.6),
        )
    ]  # fmt: skip
    grammar_ = [
        {"run": name, "step": 500, "nc1_kind": kind, "nc1_word": word, "objective": objective,
         "limit_loss": 1.6, "limit_nc1": 0.2}
        for name, kind, word, objective in (
            ("grammar", changes.get("kind", 0.01), changes.get("word", 0.195),
             changes.get("objective", 1.68)),
            ("shuffled", changes.get("shuffled kind", 200.0), 50.0,
             changes.get("shuffled objective", 3.1)),
        )
    ]  # fmt: skip
    text = [
        {"run": name, "step": step, "words": 150, "cdnv": cdnv, "uniformity": uniformity,
         "alignment": alignment, "alignment_std": std, "agreement": agreement,
         "frequency": changes.get("counting", 0.9), "frequency_equal": changes.get("equal", 0.05)}
        for name, step, cdnv, uniformity, alignment, std, agreement in (
            ("plain", 0, 5.0, 0.317, 0.0, 0.18, 0.05),
            ("plain", 100, 3.3, 0.27, 0.4, 0.21, 0.1),
            ("plain", 400, changes.get("cdnv", 2.1), changes.get("trained even", 0.28),
             changes.get("alignment", 0.67), changes.get("std", 0.13),
             changes.get("agreement", 0.15)),
            ("shuffled", 0, 32.0, 0.33, 0.0, 0.18, 0.0),
            ("shuffled", 100, 32.0, 0.33, 0.0, 0.18, 0.0),
            ("shuffled", 400, changes.get("shuffled cdnv", 32.0),
             changes.get("shuffled even", 0.335), changes.get("shuffled alignment", 0.08),
             changes.get("shuffled std", 0.18), changes.get("shuffled agreement", 0.0)),
        )
    ]  # fmt: skip
    tables = {"ties": ties, "grammar": grammar_, "text": text}
    return {name: Table.of(rows) for name, rows in tables.items()}


def grid(**changes):
    """A grid in which everything that is claimed is true, but for the cells changed."""
    rows = []
    for place, setting in enumerate(wu2024.GRID):
        depth = {1: 1.0, 2: changes.get("two blocks", 0.92), 4: changes.get("four blocks", 0.85)}
        wide = {16: 1.0, 32: 0.96, 64: changes.get("wide", 0.92)}[setting.dim]
        loss = 3.8 - 0.06 * place
        rows += [
            (setting.name, 0, 5 * {16: 1.0, 32: 0.96, 64: 0.92}[setting.dim], 0.0, 0.2, 0.0, 5.9),
            (setting.name, 600, changes.get("cdnv", 2.2) * wide * depth[setting.depth],
             changes.get("aligned", 0.7 + 0.01 * (place % 3)),
             0.1 - 0.01 * (MIXED[place] if "mixed" in changes else place),
             0.1 + 0.02 * (place if "disagree" not in changes else -place), loss),
        ]  # fmt: skip
    plain = next(row for row in rows if row[0] == "32 x 2" and row[1] == 600)
    rows += [
        ("shuffled", 0, 32.0, 0.0, 0.2, 0.0, 5.9),
        ("shuffled", 600, changes.get("shuffled", 32.0), 0.1, 0.18, 0.0, 4.2),
        ("tied", 600, 1.8, changes.get("tied", plain[3] - 0.09), 0.1, 0.2,
         changes.get("tied loss", plain[6])),
        ("no weight decay", 600, 2.0, 0.70, 0.1, 0.2, 3.5),
        ("weight decay 1", 600, 2.0, changes.get("decayed", 0.77), 0.1, 0.2, 3.6),
    ]  # fmt: skip
    columns = ("run", "step", "cdnv", "alignment", "alignment_std", "agreement", "loss")
    return {"grid": Table.of([dict(zip(columns, row, strict=True)) for row in rows])}


FALSE = [
    (0, {"nc1 2 of 4": 1.9}),
    (0, {"spread 2 of 4": 0.1}),
    (0, {"nc1 1 of 4": 0.1}),
    (0, {"spread synonyms": 0.1}),
    (1, {"kind": 0.1}),
    (1, {"word": 0.1}),
    (1, {"shuffled kind": 1.0}),
    (2, {"objective": 1.9}),
    (2, {"shuffled objective": 2.0}),
    (3, {"cdnv": 4.0}),
    (3, {"alignment": 0.3}),
    (3, {"agreement": 0.05}),
    (3, {"shuffled cdnv": 15.0}),
    (3, {"shuffled alignment": 0.4}),
    (3, {"shuffled agreement": 0.1}),
    (4, {"std": 0.2}),
    (4, {"shuffled std": 0.1}),
    (5, {"trained even": 0.32}),
    (5, {"shuffled even": 0.25}),
    (6, {"counting": 0.3}),
    (6, {"equal": 0.5}),
]
FALSE_GRIDS = [
    (0, {"cdnv": 3.5}),
    (0, {"shuffled": 10.0}),
    (1, {"mixed": True}),
    (1, {"disagree": True}),
    (2, {"tied": 0.7}),
    (2, {"tied loss": 4.5}),
    (2, {"decayed": 0.7}),
    (3, {"four blocks": 1.0}),
    (3, {"wide": 0.7}),
]


def aligned_in_order(seeds):
    """The size of the alignment orders the networks as well as its spread does."""
    tables = grid()
    table = {name: list(column) for name, column in tables["grid"].items()}
    for place, (step, loss) in enumerate(zip(table["step"], table["loss"], strict=True)):
        if step == 600 and " x " in table["run"][place]:
            table["alignment"][place] = 1.5 - 0.2 * loss
    spread = [i for i, name in enumerate(table["run"]) if " x " in name and table["step"][i] == 600]
    first, second = spread[0], spread[1]
    stds = table["alignment_std"]
    stds[first], stds[second] = stds[second], stds[first]
    return wu2024.claims_over_grids([{"grid": Table(table)}] * seeds)[1]


def true_claims():
    grids = wu2024.claims_over_grids([grid()]) + wu2024.claims_over_grids([grid(), grid()])
    return wu2024.claims(run()) + grids


def false_claims():
    made = [wu2024.claims(run(**changes))[index] for index, changes in FALSE]
    for seeds in (1, 2):
        made += [
            wu2024.claims_over_grids([grid(**changes)] * seeds)[index]
            for index, changes in FALSE_GRIDS
            if index < 3 or seeds > 1
        ]
    return [*made, aligned_in_order(1), aligned_in_order(2)]


# --- ties -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight_decay", [0.02, 1e-3])
@pytest.mark.parametrize(("words", "size"), [(3, 2), (4, 2), (4, 3)])
def test_the_solver_finds_the_nc1_of_the_proposition_at_any_weight_decay(words, size, weight_decay):
    found = solve_tied(wu2024.faces(words, size), weight_decay)
    assert found.nc1 == pytest.approx(wu2024.face_nc1(words, size), rel=1e-4)
    rows = found.weight[:, None] * found.weight
    gram = rows.sum(2)
    assert gram[0, 1].item() == pytest.approx(-gram[0, 0].item() / (words - 1), rel=1e-4)
    sums = torch.nn.functional.normalize(
        (wu2024.faces(words, size) > 0).double() @ found.weight, dim=1
    )
    assert torch.allclose(found.features[found.which], sums, atol=1e-4)


def test_a_face_has_some_of_the_words_and_not_all():
    assert wu2024.faces(5, 2).shape == (10, 5)
    with pytest.raises(ValueError, match="size is 4; expected 1 to 3 of 4 words"):
        wu2024.face_nc1(4, 4)


def test_contexts_with_the_same_shares_are_one_kind():
    counts = torch.tensor([[2.0, 2, 0], [0, 1, 3], [5, 5, 0]])
    found = solve_tied(counts, 0.01)
    assert found.which[0] == found.which[2] != found.which[1]
    assert len(found.features) == 2
    assert found.bound <= found.loss


# --- a grammar and English ------------------------------------------------------------------------


def test_kinds_are_states_with_the_same_next_words():
    language = grammar()
    found = wu2024.kinds(language)
    assert int(found.max()) + 1 == 13
    one, other = (language.states.index(name) for name in ("subject a", "subject a adjective"))
    assert found[one] != found[other]
    one, other = (language.states.index(f"{role} a adjective") for role in ("subject", "object"))
    assert found[one] == found[other]


def test_no_prediction_of_the_grammar_is_below_its_entropy_and_training_comes_nearer():
    language = grammar()
    network, table = wu2024.train_on_grammar(language, seed=0, steps=60, progress=False)
    assert table["step"] == [0, 10, 20, 50, 60]
    assert language.entropy < table["loss"][-1] < 0.8 * table["loss"][0]
    assert network.states(torch.zeros(2, 24, dtype=torch.long)).norm(dim=2).max() < 1 + 1e-4


def test_shuffling_keeps_the_words_and_loses_their_order():
    words = torch.arange(40).view(4, 10)
    dealt = wu2024._dealt(words, torch.Generator().manual_seed(0))
    assert dealt.shape == words.shape
    assert torch.equal(dealt.flatten().sort().values, words.flatten())
    assert not torch.equal(dealt, words)


def test_windows_cover_the_text_and_share_one_word():
    windows = wu2024._windows(torch.arange(100))
    assert windows.shape == (3, 33)
    assert windows[0, -1] == windows[1, 0] == 32


def test_a_tied_network_has_one_matrix_and_is_trained_through_both():
    data = Dataset(
        "text", torch.zeros(400, 1), torch.arange(400) % 7, torch.zeros(80, 1),
        torch.arange(80) % 7, tuple("abcdefg"),
    )  # fmt: skip
    network, table = wu2024.train_on_text(
        data, Setting("tied", tied=True, dim=8, depth=1), seed=0, steps=(0, 30), progress=False
    )
    assert network.classifier.weight is network.embedding.weight
    assert table["loss"][-1] < 0.75 * table["loss"][0]
    assert table["words"] == [7, 7]


def test_the_text_of_own_data_is_its_labels(monkeypatch):
    monkeypatch.setattr(wu2024, "TEXT_STEPS", {"laptop": (0, 1, 2)})
    monkeypatch.setattr(wu2024, "grammar_table", lambda *, seed: run()["grammar"])
    monkeypatch.setattr(wu2024, "ties", lambda: run()["ties"])
    data = gaussian_mixture(2, 3, train_per_class=wu2024.RICH, test_per_class=17)
    made = wu2024.experiment(data=data)
    assert made.tables["text"]["words"][0] == 2
    assert not math.isnan(made.tables["text"]["loss"][-1])


def test_a_small_part_of_the_grid_comes_out_again():
    kept = Recording.load(GRID).outcomes[0]
    text = python_docs()
    if text.checksum != kept.data.checksum:
        pytest.skip("this Python's documentation is another text")
    _, made = wu2024.train_on_text(text, wu2024.GRID[0], seed=0, steps=(0,), progress=False)
    row = kept.tables["grid"].where(run=wu2024.GRID[0].name, step=0).last
    for name, value in made.last.items():
        assert value == pytest.approx(row[name], rel=1e-3, abs=1e-5), name
