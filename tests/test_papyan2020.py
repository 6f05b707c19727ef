"""Papyan, Han, Donoho 2020: each claim can fail, and the recording is what the code makes."""

import copy
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ncourse.claims import Recording
from ncourse.cli import app
from ncourse.data import digits
from ncourse.papers import papyan2020

RECORDING = Path(__file__).parent.parent / "notebooks" / "recorded" / "03-seeds.json"
MAIN, NONE = "weight decay 5e-3", "no weight decay"


@pytest.fixture(scope="module")
def recording():
    return Recording.load(RECORDING)


@pytest.fixture
def tables(recording):
    return copy.deepcopy(dict(recording.outcomes[0].tables))


def verdicts(tables):
    return [claim.holds for claim in papyan2020.claims(tables)]


def test_recorded_claims_hold_and_follow_from_the_recorded_tables(recording):
    for outcome in recording.outcomes:
        made = papyan2020.claims(outcome.tables)
        assert [c.text for c in made] == [c.text for c in outcome.claims]
        assert all(c.holds for c in made)
        for now, then in zip(made, outcome.claims, strict=True):
            assert dict(now.measured) == pytest.approx(dict(then.measured), rel=1e-4)


def at_zero(table):
    return table["train_error"].index(0)


def stall(table, column):
    """The run stops moving at the first epoch at zero error."""
    row = at_zero(table)
    table[column][row:] = [table[column][row]] * (len(table[column]) - row)


def collapse(table, column):
    """The control collapses as well."""
    table[column][-1] = table[column][at_zero(table)] / 1000


FALSE_RUNS = {
    0: [lambda t: stall(t[MAIN], "nc1"), lambda t: collapse(t[NONE], "nc1")],
    1: [
        lambda t: stall(t[MAIN], "nc2_equiangular"),
        lambda t: collapse(t[NONE], "nc2_equiangular"),
    ],
    2: [lambda t: stall(t[MAIN], "nc3"), lambda t: collapse(t[NONE], "nc3")],
    3: [
        lambda t: t[MAIN]["nc4"].__setitem__(-1, 0.01),
        lambda t: t[MAIN]["nc4"].__setitem__(0, 0.0),
    ],
    4: [
        lambda t: stall(t["weight decay 5e-4"], "nc1"),
        lambda t: collapse(t["weight decay 5e-4"], "nc1"),
    ],
    5: [
        lambda t: t[MAIN]["test_error"].__setitem__(-1, 0.5),
        lambda t: t["random labels"]["test_error"].__setitem__(-1, 0.1),
    ],
    6: [
        lambda t: t["random labels"]["train_error"].__setitem__(-1, 0.1),
        lambda t: stall(t["random labels"], "nc1"),
        lambda t: collapse(t["random labels"], "test_nc1"),
        lambda t: collapse(t["random labels, no weight decay"], "nc1"),
    ],
    7: [lambda t: stall(t["cnn"], "nc1"), lambda t: collapse(t["cnn, no weight decay"], "nc1")],
    8: [
        lambda t: t[MAIN]["test_nc1"].__setitem__(-1, t[MAIN]["nc1"][-1]),
        lambda t: t[MAIN]["test_nc1"].__setitem__(at_zero(t[MAIN]), 100.0),
    ],
}


@pytest.mark.parametrize(
    ("index", "spoil"),
    [(index, spoil) for index, spoils in FALSE_RUNS.items() for spoil in spoils],
)
def test_each_claim_fails_on_a_run_in_which_it_is_false(tables, index, spoil):
    assert all(verdicts(tables))
    spoil(tables)
    assert not verdicts(tables)[index]


def test_every_claim_has_a_false_run(tables):
    assert set(FALSE_RUNS) == set(range(len(verdicts(tables))))


def test_a_run_that_never_reaches_zero_error_proves_nothing(tables):
    tables[MAIN]["train_error"] = [0.1] * len(tables[MAIN]["train_error"])
    assert not any(verdicts(tables)[index] for index in (0, 1, 2, 5, 8))


def test_recorded_run_is_what_the_code_makes(recording):
    """The first epochs again; later ones drift with the rounding of another processor."""
    then = recording.outcomes[0]
    assert then.data == digits().card
    sizes = papyan2020.Scale(4, (256, 256, 256), 4, (16, 32, 64))
    # Step sizes drop at a third of the epochs, so only the first epoch of a short run is the same.
    for name, cnn, weight_decay in ((MAIN, False, 5e-3), ("cnn", True, 5e-3)):
        now = papyan2020.train(digits(), sizes, weight_decay=weight_decay, seed=then.seed, cnn=cnn)
        for column in ("loss", "nc1", "nc2_equiangular", "nc3", "test_nc1"):
            assert now[column][0] == pytest.approx(then.tables[name][column][0], rel=2e-2)


def test_scale_paper_says_what_is_missing_and_unknown_scales_are_named():
    with pytest.raises(ValueError, match="ResNet-18"):
        papyan2020.experiment("paper")
    with pytest.raises(ValueError, match="'desktop'"):
        papyan2020.experiment("desktop")


def test_own_data_are_reported_and_never_raise(monkeypatch):
    tiny = papyan2020.Scale(3, (8,), 2, (4,))
    monkeypatch.setitem(papyan2020.SCALES, "laptop", tiny)
    data = digits().take(6)
    outcome = papyan2020.experiment(seed=1, data=data)
    assert outcome.data == data.card
    assert {MAIN, NONE, "random labels", "cnn"} <= set(outcome.tables)
    assert not any(claim.binding for claim in outcome.claims)
    assert not all(claim.holds for claim in outcome.claims)


def test_plane_puts_the_class_means_at_unit_distance():
    path = []
    papyan2020.train(
        digits().take(20), papyan2020.Scale(3, (32,), 2, (4,)), weight_decay=0.0, seed=0, keep=path
    )
    table = papyan2020.plane(path, per_class=1000)
    assert sorted(set(table["epoch"])) == [epoch for epoch, _, _ in path]
    for epoch in set(table["epoch"]):
        radius = 0.0
        for k in papyan2020.PLANE_CLASSES:
            rows = [
                index
                for index, (e, s, label) in enumerate(
                    zip(table["epoch"], table["split"], table["label"], strict=True)
                )
                if e == epoch and s == "train" and label == k
            ]
            x, y = (sum(table[axis][i] for i in rows) / len(rows) for axis in "xy")
            radius += (x * x + y * y) ** 0.5 / 3
        assert radius == pytest.approx(1.0, abs=1e-6)


def test_ncourse_record_writes_what_the_command_says(monkeypatch, tmp_path):
    monkeypatch.setitem(papyan2020.SCALES, "laptop", papyan2020.Scale(2, (8,), 2, (4,)))
    out = tmp_path / "r.json"
    result = CliRunner().invoke(app, ["record", "papyan2020", str(out), "--seed", "3"])
    assert result.exit_code == 0, result.output
    recording = Recording.load(out)
    assert recording.command == f"ncourse record papyan2020 {out} --seed 3"
    assert recording.outcomes[0].seed == 3
    assert CliRunner().invoke(app, ["record", "nobody1999", str(out), "--seed", "3"]).exit_code == 1
