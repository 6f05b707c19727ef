"""Papyan, Han, Donoho 2020: each claim can fail, and the recording is what the code makes."""

import dataclasses
from functools import cache
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ncourse.claims import Recording
from ncourse.course.cli import app
from ncourse.data import digits
from ncourse.papers import papyan2020
from ncourse.tables import Table

RECORDING = Path(__file__).parent.parent / "notebooks" / "recorded" / "03-seeds.json"
MAIN, NONE = "weight decay 5e-3", "no weight decay"


@cache
def recording():
    return Recording.load(RECORDING)


def run(spoil=lambda tables: None):
    """The tables of a recorded seed, spoilt."""
    tables = {name: Table(kept) for name, kept in recording().outcomes[0].tables.items()}
    spoil(tables)
    return tables


def test_recorded_numbers_follow_from_the_recorded_tables():
    for outcome in recording().outcomes:
        made = papyan2020.claims(outcome.tables)
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
        lambda t: t["random labels"]["nc1"].__setitem__(-1, t["random labels"]["nc1"][1]),
    ],
    7: [lambda t: stall(t["cnn"], "nc1"), lambda t: collapse(t["cnn, no weight decay"], "nc1")],
    8: [
        lambda t: t[MAIN]["test_nc1"].__setitem__(-1, t[MAIN]["nc1"][-1]),
        lambda t: t[MAIN]["test_nc1"].__setitem__(at_zero(t[MAIN]), 100.0),
    ],
}


def true_claims():
    return papyan2020.claims(run()) + papyan2020.claims_on_images(long_run())


def false_claims():
    for index, spoils in FALSE_RUNS.items():
        yield from (papyan2020.claims(run(spoil))[index] for spoil in spoils)
    for index, name, columns in LONG_FALSE:
        yield papyan2020.claims_on_images(long_run(**{name: columns}))[index]


def test_a_run_that_never_reaches_zero_error_proves_nothing():
    tables = run()
    tables[MAIN]["train_error"][:] = [0.1] * len(tables[MAIN]["train_error"])
    verdicts = [claim.holds for claim in papyan2020.claims(tables)]
    assert not any(verdicts[index] for index in (0, 1, 2, 5, 8))


def test_recorded_run_is_what_the_code_makes():
    """The first epochs again; later ones drift with the rounding of another processor."""
    then = recording().outcomes[0]
    assert then.data == digits().card
    sizes = papyan2020.Scale(4, (256, 256, 256), 4, (16, 32, 64))
    # Step sizes drop at a third of the epochs, so only the first epoch of a short run is the same.
    for name, cnn, weight_decay in ((MAIN, False, 5e-3), ("cnn", True, 5e-3)):
        now = papyan2020.train(digits(), sizes, weight_decay=weight_decay, seed=then.seed, cnn=cnn)
        for column in ("loss", "nc1", "nc2_equiangular", "nc3", "test_nc1"):
            assert now[column][0] == pytest.approx(then.tables[name][column][0], rel=2e-2)


def test_own_data_are_reported_and_never_raise(monkeypatch):
    tiny = papyan2020.Scale(3, (8,), 2, (4,))
    monkeypatch.setitem(papyan2020.SCALES, "laptop", tiny)
    data = digits().take(6)
    outcome = papyan2020.experiment(seed=1, data=data)
    assert outcome.data == data.card
    assert {MAIN, NONE, "random labels", "cnn"} <= set(outcome.tables)
    assert {claim.verdict for claim in outcome.claims} == {"reported"}


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
            here = table.where(epoch=epoch, split="train", label=k)
            x, y = (sum(here[axis]) / len(here[axis]) for axis in "xy")
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


# The scale "workstation" --------------------------------------------------------------------------

IMAGES = Path(__file__).parent.parent / "notebooks" / "recorded" / "beyond-papyan2020.json"
NC = ("nc1", "nc2_equiangular", "nc3", "nc4", "test_nc1")


def run_of(first, terminal, last):
    """Three epochs: the first, the first at zero error, the last."""
    table = {name: [first, terminal, last] for name in NC}
    return {"epoch": [1, 5, 9], "train_error": [0.5, 0.0, 0.0], **table}


def long_run(**changes):
    """Tables in which everything that is claimed is true, but for the columns changed."""
    flat = {"nc2_equiangular": [1.0, 1.0, 0.9], "nc3": [1.0, 1.0, 0.9]}
    whole = {"nc4": [0.1, 0.1, 0.0], "test_nc1": [2.0, 2.0, 2.0]}
    made = {
        "mlp": run_of(1.0, 0.5, 0.01) | whole,
        "cnn": run_of(1.0, 0.5, 0.1),
        "mlp, no weight decay": run_of(1.0, 0.5, 0.4) | flat,
        "cnn, no weight decay": run_of(1.0, 0.5, 0.4),
    }
    return {name: Table(table | changes.get(name, {})) for name, table in made.items()}


LONG_FALSE = [
    (0, "mlp", {"nc1": [1.0, 0.5, 0.06]}),
    (0, "mlp, no weight decay", {"nc1": [1.0, 0.5, 0.015]}),
    (1, "mlp", {"nc1": [1.0, 0.1, 0.01]}),
    (1, "mlp", {"train_error": [0.5, 0.1, 0.1]}),
    (1, "mlp, no weight decay", {"nc1": [1.0, 0.5, 0.1]}),
    (2, "mlp", {"nc2_equiangular": [1.0, 1.0, 0.4]}),
    (2, "mlp", {"nc3": [1.0, 1.0, 0.2]}),
    (2, "mlp, no weight decay", {"nc2_equiangular": [1.0, 1.0, 0.01]}),
    (2, "mlp, no weight decay", {"nc3": [1.0, 1.0, 0.01]}),
    (3, "mlp", {"nc4": [0.1, 0.0, 0.001]}),
    (3, "mlp", {"nc4": [0.0, 0.0, 0.0]}),
    (4, "cnn", {"nc1": [1.0, 0.2, 0.1]}),
    (4, "cnn", {"train_error": [0.5, 0.1, 0.1]}),
    (4, "cnn, no weight decay", {"nc1": [1.0, 0.5, 0.2]}),
    (5, "mlp", {"test_nc1": [2.0, 2.0, 0.05]}),
    (5, "mlp", {"test_nc1": [4.0, 2.0, 2.0]}),
]


def test_recorded_images_follow_from_their_tables():
    outcome = Recording.load(IMAGES).outcomes[0]
    made = papyan2020.claims_on_images(outcome.tables)
    assert [(c.text, c.holds) for c in made] == [(c.text, c.holds) for c in outcome.claims]
    assert not any(c.binding for c in outcome.claims)
    for now, then in zip(made, outcome.claims, strict=True):
        assert dict(now.measured) == pytest.approx(dict(then.measured), rel=1e-4, nan_ok=True)
        assert dict(now.control) == pytest.approx(dict(then.control), rel=1e-4, nan_ok=True)


def test_workstation_trains_each_network_on_its_part_of_the_images(monkeypatch):
    short = {
        name: dataclasses.replace(
            run, widths=(4,), epochs=2, per_class=3 if run.cnn else None, batch_size=32
        )
        for name, run in papyan2020.WORKSTATION.items()
    }
    monkeypatch.setattr(papyan2020, "WORKSTATION", short)
    sizes = []
    real = papyan2020.fit

    def fit(**arguments):
        sizes.append((len(arguments["dataset"].labels), arguments["weight_decay"]))
        return real(progress=False, **arguments)

    monkeypatch.setattr(papyan2020, "fit", fit)
    outcome = papyan2020.experiment("workstation", data=digits(num_train=200))
    assert [size for size, _ in sizes] == [200, 200, 30, 30]
    assert [decay > 0 for _, decay in sizes] == [True, False, True, False]
    assert list(outcome.tables) == list(short)
    assert {made.verdict for made in outcome.claims} == {"reported"}
