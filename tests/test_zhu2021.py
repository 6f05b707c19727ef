"""The unconstrained features model against its closed forms, and fixed classifiers."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from ncourse.claims import Recording
from ncourse.data import digits, gaussian_mixture
from ncourse.papers import zhu2021
from ncourse.simplex import cosine_matrix, off_diagonal
from ncourse.ufm import Point, objective, optimum, random_point

RECORDED = "notebooks/recorded/04-zhu2021.json"
FIXED = {
    "classifier": ["trained", "fixed", "fixed, d = K, reachable", "fixed, d = K, out of reach"],
    "dim": [64, 64, 10, 10],
    "accuracy": [0.985, 0.9875, 0.985, 0.88],
    "train_accuracy": [1.0, 1.0, 1.0, 0.9],
    "nc1": [0.03, 0.03, 0.08, 0.1],
    "least_margin": [None, 2.4, 0.5, 0.0],
    "never_predicted": [0, 0, 0, 1],
}


@pytest.fixture(scope="module")
def tables():
    found = {
        name: getattr(zhu2021, name)(seed=7)
        for name in ("arrivals", "vanishing", "norms", "room", "symmetric")
    }
    return {**found, "landscape": zhu2021.landscape(), "fixed": FIXED}


@pytest.fixture
def false_run(tables):
    return copy.deepcopy(tables)


def verdicts(tables):
    return [claim.holds for claim in zhu2021.claims(tables)]


def test_every_claim_holds(tables):
    assert verdicts(tables) == [True] * 10


@pytest.mark.parametrize(
    ("claim", "table", "column", "row", "value"),
    [
        (0, "arrivals", "loss", 3, 0.244),
        (0, "arrivals", "deviation", 3, 0.01),
        (1, "arrivals", "loss", 25, 0.0613),
        (1, "arrivals", "deviation", 45, 0.01),
        (2, "vanishing", "norm", 3, 0.1),
        (2, "vanishing", "norm", 1, 0.001),
        (3, "norms", "error", 5, 0.02),
        ((4, 5), "landscape", "least", 2, 1e-4),
        (4, "landscape", "least", 3, -1e-3),
        (5, "landscape", "formula", 1, -0.06),
        (6, "room", "greatest", 1, 1.0),
        (6, "room", "greatest", 3, 0.01),
        (7, "room", "greatest", 5, 0.5),
        (7, "room", "saddle", 4, 0.0),
        (8, "symmetric", "deviation", 10, 1e-6),
        (8, "symmetric", "gap", 20, 0.1),
        (9, "fixed", "accuracy", 1, 0.95),
        (9, "fixed", "never_predicted", 3, 0),
        (9, "fixed", "accuracy", 3, 0.98),
    ],
)
def test_a_false_run_breaks_its_claim_and_no_other(false_run, claim, table, column, row, value):
    false_run[table][column][row] = value
    broken = {claim} if isinstance(claim, int) else set(claim)
    assert verdicts(false_run) == [index not in broken for index in range(10)]


@pytest.mark.parametrize(
    ("claim", "table", "column", "value"),
    [
        # Each control must fail; where it agrees with the measurement the claim says nothing.
        (0, "arrivals", "wrong", None),
        (1, "arrivals", "wrong", None),
        (3, "norms", "without_n", None),
        (5, "landscape", "frobenius", None),
        (8, "symmetric", "deviation", 0.0),
    ],
)
def test_a_false_control_that_agrees_breaks_its_claim(false_run, claim, table, column, value):
    target = {"wrong": "loss", "without_n": "weight", "frobenius": "least"}.get(column)
    size = len(false_run[table][column])
    false_run[table][column] = [value] * size if target is None else false_run[table][target]
    assert not verdicts(false_run)[claim]


def test_a_false_run_in_which_too_small_a_space_costs_next_to_nothing(false_run):
    room = false_run["room"]
    row = next(i for i, dim in enumerate(room["dim"]) if dim < 3 and room["start"][i] == "random")
    for column in ("least", "greatest", "saddle"):
        room[column][row] = 0.02
    assert verdicts(false_run) == [index != 6 for index in range(10)]


@pytest.mark.parametrize(
    "accuracies",
    [
        [0.98, 0.96, 0.98, 0.88],  # one seed loses 2 %
        [0.98, 0.98, 0.98, 0.96],  # the simplex out of reach loses nothing to speak of
    ],
)
def test_a_false_seed_breaks_the_claim_over_seeds(accuracies):
    (claim,) = zhu2021.claims_over_seeds([FIXED] * 5)
    assert claim.holds
    (claim,) = zhu2021.claims_over_seeds([*[FIXED] * 4, {**FIXED, "accuracy": accuracies}])
    assert not claim.holds


def test_a_false_mean_loss_of_more_than_one_percent_breaks_the_claim_over_seeds():
    worse = {**FIXED, "accuracy": [0.985, 0.973, 0.985, 0.88]}  # each within 1.5 %
    (claim,) = zhu2021.claims_over_seeds([worse] * 5)
    assert not claim.holds


def test_descent_is_gradient_descent():
    model = replace(zhu2021.MODEL, samples_per_class=2, dim=3)
    start = random_point(model, seed=1)
    path = zhu2021.descend(model, start=start, steps=3, step_size=0.1)
    assert len(path) == 4
    weight = start.weight.clone().requires_grad_()
    (slope,) = torch.autograd.grad(objective(model, features=start.features, weight=weight), weight)
    torch.testing.assert_close(path[1].weight, start.weight - 0.1 * slope)
    losses = [objective(model, features=p.features, weight=p.weight).item() for p in path]
    assert losses == sorted(losses, reverse=True)


def test_asymmetry_sees_a_turned_row_and_a_moved_sample():
    model = zhu2021.MODEL
    best = optimum(model).point
    assert zhu2021._asymmetry(model, best) < 1e-12
    moved = best.features.clone()
    moved[0, 0] += 0.1
    assert zhu2021._asymmetry(model, Point(moved, best.weight)) == pytest.approx(0.09)
    bent = best.weight.clone()
    bent[0] += 0.3 * bent[1]
    assert zhu2021._asymmetry(model, Point(best.features, bent)) > 0.1


def test_logit_gradient_is_autograd_s():
    model = zhu2021.MODEL
    point = random_point(model, seed=0)
    logits = (point.features @ point.weight.T).requires_grad_()
    loss = torch.nn.functional.cross_entropy(logits, model.labels)
    (slope,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(zhu2021.logit_gradient(model, point), slope)


def test_the_price_of_the_bias_bends_the_frame():
    table = zhu2021.bias_price([1e-3, 0.2, None])
    assert table["cosine"] == pytest.approx(table["predicted"], abs=1e-5)
    assert table["cosine"][0] == pytest.approx(-1 / 3, abs=1e-5)
    assert -1 / 3 < table["cosine"][1] < table["cosine"][2]
    assert table["cosine"][2] == pytest.approx(0, abs=1e-5)


def test_fixed_classifiers_stay_fixed_and_a_class_out_of_reach_is_never_predicted():
    table = zhu2021.fixed(gaussian_mixture(6, 8, separation=3.0), seed=0, epochs=6)
    assert table["dim"] == [64, 64, 6, 6]
    assert table["least_margin"][0] is None
    assert table["least_margin"][1] > table["least_margin"][2] > table["least_margin"][3] == 0
    assert table["never_predicted"][3] >= 1
    # At most five sixths of the samples can be right without that class.
    assert table["train_accuracy"][3] <= 5 / 6
    assert table["train_accuracy"][1] > 0.95


def test_fixed_simplices_have_the_energy_they_claim():
    for frame in zhu2021._simplices(10, 64, 2, seed=0):
        assert frame.square().sum(1).mean().item() == pytest.approx(zhu2021.ENERGY)
        cosines = off_diagonal(cosine_matrix(frame))
        assert cosines.numpy() == pytest.approx(-1 / 9)


@pytest.mark.parametrize(("scale", "says"), [("paper", "unknown"), ("big", "only 'laptop'")])
def test_unknown_scales_are_refused(scale, says):
    with pytest.raises(ValueError, match=says):
        zhu2021.experiment(scale)


def test_other_data_are_reported(monkeypatch, tables):
    for name, table in tables.items():
        monkeypatch.setattr(zhu2021, name, lambda *_, table=table, **__: table)
    data = gaussian_mixture(4, 6)
    outcome = zhu2021.experiment(seed=1, data=data)
    assert outcome.data == data.card
    assert not any(claim.binding for claim in outcome.claims)
    assert all(claim.binding for claim in zhu2021.experiment(seed=1).claims)


def test_recording_is_what_the_code_gives():
    recording = Recording.load(RECORDED)
    assert [outcome.seed for outcome in recording.outcomes] == [0, 1, 2, 3, 4]
    assert all(claim.holds for outcome in recording.outcomes for claim in outcome.claims)
    outcome = recording.outcomes[3]
    assert outcome.data == digits().card
    again = zhu2021.arrivals(seed=3)
    assert again["loss"] == pytest.approx(outcome.tables["arrivals"]["loss"], rel=1e-5)
    narrow = zhu2021._simplices(10, 10, 20, seed=3)
    margins = [zhu2021.nonnegative_margins(frame).min().item() for frame in narrow]
    recorded = outcome.tables["fixed"]["least_margin"]
    assert max(margins) == pytest.approx(recorded[2], rel=1e-4)
    assert min(margins) == recorded[3] == 0
    (claim,) = zhu2021.claims_over_seeds([o.tables["fixed"] for o in recording.outcomes])
    assert claim.holds
    assert math.isfinite(claim.measured["largest"])
