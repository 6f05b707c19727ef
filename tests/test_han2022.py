"""The MSE loss split into its parts while a network trains."""

from dataclasses import replace

import pytest
import torch

from ncourse.claims import Recording
from ncourse.data import digits, gaussian_mixture
from ncourse.papers import han2022
from ncourse.tables import Table

RECORDED = "notebooks/recorded/04-han2022.json"
LINEAR = {
    "epoch": [1, 10, 30, 100, 300],
    "nc1": [0.1, 0.09, 0.06, 0.04, 0.037],
    "nc23": [0.15, 0.05, 0.015, 0.0045, 0.004],
    "perpendicular": [0.18, 0.04, 0.0034, 0.0004, 0.0003],
}
BATCH_NORM = {
    "epoch": [1, 10, 30, 100, 300],
    "nc1": [0.086, 0.015, 0.006, 0.003, 0.002],
    "nc23": [0.045, 0.001, 0.0001, 0.0001, 0.0001],
    "perpendicular": [0.3, 0.015, 0.015, 0.004, 0.0001],
}

PATH = {
    "time": [0.0, 100.0],
    "largest": [1.5, 10.0],
    "least": [1.0, 9.9],
    "predicted_largest": [1.5, 10.05],
    "predicted_least": [1.0, 9.95],
    "plain_largest": [1.5, 40.0],
    "nc1": [10.0, 0.1],
}


def whole(table):
    parts = zip(table["nc1"], table["nc23"], table["perpendicular"], strict=True)
    return {**table, "loss": [sum(row) for row in parts]}


def run(linear=None, batch_norm=None):
    """Tables in which everything that is claimed is true, but for the columns changed."""
    tables = {"linear": LINEAR | (linear or {}), "batch norm": BATCH_NORM | (batch_norm or {})}
    return {name: Table(whole(table)) for name, table in tables.items()} | {"path": Table(PATH)}


def changed(table, column, row, value):
    values = list((LINEAR if table == "linear" else BATCH_NORM)[column])
    values[row] = value
    return run(**{table: {column: values}})


def off_path(columns, value):
    tables = run()
    for column in [columns] if isinstance(columns, str) else columns:
        tables["path"][column][1] = value
    return tables


def broken_sum():
    tables = run()
    tables["batch norm"]["loss"][3] *= 1 + 1e-9
    return tables


FALSE = [
    (0, broken_sum()),
    (0, run(linear={"perpendicular": [0.0] * 5})),  # a control in which the part does not matter
    (1, changed("linear", "perpendicular", 0, 0.03)),  # small from the start
    (1, changed("linear", "perpendicular", 2, 0.02)),  # too large at epoch 30
    (1, changed("linear", "perpendicular", 4, 0.002)),  # too large at the end
    # The control is on the path at the end, or from epoch 30 on.
    (1, changed("batch_norm", "perpendicular", 4, 0.00001)),
    (1, run(batch_norm={"perpendicular": [0.3, 0.015, 0.0003, 0.0001, 0.0001]})),
    (2, changed("linear", "nc23", 4, 0.012)),
    (2, changed("linear", "nc1", 4, 0.06)),
    (2, changed("linear", "nc1", 4, 0.008)),
    (2, changed("batch_norm", "nc1", 4, 0.02)),
    (3, off_path("predicted_least", 9.0)),
    (3, off_path("nc1", 1.0)),
    (3, off_path(("largest", "predicted_largest"), 10.6)),
    (3, off_path("plain_largest", 11.0)),
]


def true_claims():
    return han2022.claims(run())


def false_claims():
    return [han2022.claims(tables)[index] for index, tables in FALSE]


def test_training_falls_and_the_parts_are_those_of_the_loss():
    data = gaussian_mixture(3, 6, separation=2.0, train_per_class=30)
    for batch_norm in (False, True):
        table = han2022.train(data, seed=0, batch_norm=batch_norm, epochs=30)
        assert table["epoch"][0] == 1
        assert table["epoch"][-1] == 30
        assert table["loss"][-1] < table["loss"][0]
        assert han2022._missing(table, whole=True) < 1e-12


def test_classes_are_made_equal():
    seen = []
    original = han2022.fit

    def spy(*, dataset, **arguments):
        seen.append(dataset.labels.bincount().tolist())
        return original(dataset=dataset, **arguments)

    data = gaussian_mixture(3, 6, train_per_class=20)
    data = replace(data, inputs=data.inputs[:50], labels=data.labels[:50])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(han2022, "fit", spy)
        han2022.train(data, seed=0, epochs=1)
    assert data.labels.bincount().tolist() == [20, 20, 10]
    assert seen == [[10, 10, 10]]


def test_features_of_the_linear_last_layer_can_be_negative():
    model = han2022._linear_last(5, 3, seed=0)
    assert (model.features(torch.randn(20, 5)) < 0).any()
    again = han2022._linear_last(5, 3, seed=0)
    torch.testing.assert_close(model.classifier.weight, again.classifier.weight)


def test_squared_error_by_hand():
    logits = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    assert han2022.squared_error(logits, torch.tensor([0, 1])).item() == pytest.approx(2.5)


def test_on_other_data_the_identity_is_judged_and_the_rest_reported(monkeypatch):
    def told(dataset, *, seed, batch_norm=False):
        return run()["batch norm" if batch_norm else "linear"]

    monkeypatch.setattr(han2022, "train", told)
    data = gaussian_mixture(4, 6)
    outcome = han2022.experiment(seed=1, data=data)
    assert outcome.data == data.card
    verdicts = [claim.verdict for claim in outcome.claims]
    assert verdicts == ["the proved part holds", "reported", "reported", "holds"]
    assert all(claim.verdict == "holds" for claim in han2022.experiment(seed=1).claims)


def test_recording_is_what_the_code_gives():
    recording = Recording.load(RECORDED)
    outcome = recording.outcomes[0]
    assert outcome.data == digits().card
    # Until the first drop of the learning rate a short training is the long one.
    short = han2022.train(digits(), seed=outcome.seed, epochs=6)
    recorded = outcome.tables["linear"]
    for column in ("nc1", "nc23", "perpendicular", "loss"):
        assert short[column][:2] == pytest.approx(recorded[column][:2], rel=1e-2)
    assert short["epoch"][:2] == recorded["epoch"][:2] == [1, 2]


def test_the_solutions_solve_their_equations():
    sizes = {"num_classes": 4, "num_samples": 40}
    for omega in (0.3, 2.0, 9.0):
        for kept, speed in (
            (True, 4 * omega / (4 + omega**2) ** 2 / 40),
            (False, omega / (4 + omega**2) / 40),
        ):
            ahead = han2022.signal_on_path(omega, 1e-2, renormalised=kept, **sizes)
            assert (ahead - omega) / 1e-2 == pytest.approx(speed, rel=1e-3)
            unmoved = han2022.signal_on_path(omega, 0.0, renormalised=kept, **sizes)
            assert unmoved == pytest.approx(omega)
            there = han2022.signal_on_path(omega, 50.0, renormalised=kept, **sizes)
            twice = han2022.signal_on_path(there, 70.0, renormalised=kept, **sizes)
            once = han2022.signal_on_path(omega, 120.0, renormalised=kept, **sizes)
            assert twice == pytest.approx(once)


@pytest.mark.parametrize(("classes", "samples", "dim"), [(3, 5, 4), (6, 8, 12)])
def test_the_flow_follows_the_solution_for_other_sizes(classes, samples, dim):
    path = han2022.central_path(seed=3, classes=classes, samples=samples, dim=dim)
    for name in ("largest", "least"):
        assert path[name] == pytest.approx(path[f"predicted_{name}"], rel=0.02)
    assert path["nc1"][-1] < path["nc1"][0] / 20
