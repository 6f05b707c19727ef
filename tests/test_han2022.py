"""The MSE loss split into its parts while a network trains."""

import copy
from dataclasses import replace

import pytest
import torch

from ncourse.claims import Recording
from ncourse.data import digits, gaussian_mixture
from ncourse.papers import han2022

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


def whole(table):
    parts = zip(table["nc1"], table["nc23"], table["perpendicular"], strict=True)
    return {**table, "loss": [sum(row) for row in parts]}


@pytest.fixture
def run():
    return copy.deepcopy({"linear": whole(LINEAR), "batch norm": whole(BATCH_NORM)})


def verdicts(tables):
    return [claim.holds for claim in han2022.claims(tables)]


def test_a_true_run_holds(run):
    assert verdicts(run) == [True, True, True]


@pytest.mark.parametrize(
    ("claim", "table", "column", "row", "value"),
    [
        (1, "linear", "perpendicular", 0, 0.03),  # small from the start
        (1, "linear", "perpendicular", 2, 0.02),  # too large at epoch 30
        (1, "linear", "perpendicular", 4, 0.002),  # too large at the end
        (1, "batch norm", "perpendicular", 4, 0.00001),  # the control is on the path at the end
        (2, "linear", "nc23", 4, 0.012),
        (2, "linear", "nc1", 4, 0.06),
        (2, "linear", "nc1", 4, 0.008),
        (2, "batch norm", "nc1", 4, 0.02),
    ],
)
def test_a_false_run_breaks_its_claim(run, claim, table, column, row, value):
    run[table][column][row] = value
    run[table] = whole(run[table])
    assert not verdicts(run)[claim]
    assert verdicts(run)[0]


def test_a_false_control_that_is_near_the_path_from_epoch_30_on_breaks_its_claim(run):
    run["batch norm"]["perpendicular"] = [0.3, 0.015, 0.0003, 0.0001, 0.0001]
    run["batch norm"] = whole(run["batch norm"])
    assert verdicts(run) == [True, False, True]


def test_a_false_sum_breaks_the_identity(run):
    run["batch norm"]["loss"][3] *= 1 + 1e-9
    assert verdicts(run) == [False, True, True]


def test_a_false_control_in_which_the_part_does_not_matter(run):
    run["linear"]["perpendicular"] = [0.0] * 5
    run["linear"] = whole(run["linear"])
    assert not verdicts(run)[0]


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


@pytest.mark.parametrize(("scale", "says"), [("paper", "unknown"), ("big", "only 'laptop'")])
def test_unknown_scales_are_refused(scale, says):
    with pytest.raises(ValueError, match=says):
        han2022.experiment(scale)


def test_other_data_are_reported(monkeypatch, run):
    def told(dataset, *, seed, batch_norm=False):
        return run["batch norm" if batch_norm else "linear"]

    monkeypatch.setattr(han2022, "train", told)
    data = gaussian_mixture(4, 6)
    outcome = han2022.experiment(seed=1, data=data)
    assert outcome.data == data.card
    assert not any(claim.binding for claim in outcome.claims)
    assert all(claim.binding for claim in han2022.experiment(seed=1).claims)


def test_recording_is_what_the_code_gives():
    recording = Recording.load(RECORDED)
    assert all(claim.holds for outcome in recording.outcomes for claim in outcome.claims)
    outcome = recording.outcomes[0]
    assert outcome.data == digits().card
    # Until the first drop of the learning rate a short training is the long one.
    short = han2022.train(digits(), seed=outcome.seed, epochs=6)
    recorded = outcome.tables["linear"]
    for column in ("nc1", "nc23", "perpendicular", "loss"):
        assert short[column][:2] == pytest.approx(recorded[column][:2], rel=1e-2)
    assert short["epoch"][:2] == recorded["epoch"][:2] == [1, 2]
