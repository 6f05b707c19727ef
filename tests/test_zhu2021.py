"""The unconstrained features model against its closed forms, and fixed classifiers."""

import math
from dataclasses import replace

import pytest
import torch

from ncourse.claims import Recording
from ncourse.data import digits, gaussian_mixture
from ncourse.papers import zhu2021
from ncourse.simplex import cosine_matrix, off_diagonal
from ncourse.tables import Table
from ncourse.ufm import Point, objective, optimum, random_point

RECORDED = "notebooks/recorded/04-zhu2021.json"
FIXED = Table(
    {
        "classifier": ["trained", "fixed", "fixed, d = K, reachable", "fixed, d = K, out of reach"],
        "dim": [64, 64, 10, 10],
        "accuracy": [0.985, 0.9875, 0.985, 0.88],
        "train_accuracy": [1.0, 1.0, 1.0, 0.9],
        "nc1": [0.03, 0.03, 0.08, 0.1],
        "least_margin": [None, 2.4, 0.5, 0.0],
        "never_predicted": [0, 0, 0, 1],
    }
)


OPTIMUM = 0.2461
TRUE = {
    "bias_price": Table(
        {
            "price": [0.001, 0.1, 10.0],
            "cosine": [-1 / 3, -0.21, -0.001],
            "predicted": [-1 / 3, -0.21, -0.001],
            "naive": [-1 / 3, -0.18, -0.001],
        }
    ),
    "encodings": Table(
        {
            "encoding": ["one-hot"] * 2 + ["centred"] * 2 + ["one-hot plus 1/2"] * 2,
            "shift": [0.0, 0.0, -0.25, -0.25, 0.5, 0.5],
            "bias": [True, False] * 3,
            "cosine": [-1 / 3, 0.0, -1 / 3, -1 / 3, -1 / 3, 0.35],
            "predicted": [-1 / 3, 0.0, -1 / 3, -1 / 3, -1 / 3, 0.35],
        }
    ),
    "arrivals": Table(
        {
            "case": [case for case in zhu2021.CASES for _ in range(2)],
            "loss": [OPTIMUM, OPTIMUM, 0.0612, 0.0612, 0.0491, 0.0491],
            "closed_form": [OPTIMUM, OPTIMUM, 0.0612, 0.0612, 0.0491, 0.0491],
            "wrong": [0.62, 0.62, 0.0491, 0.0491, 0.0612, 0.0612],
            "cosine": [-1 / 3, -1 / 3, 0.0, 0.0, -1 / 3, -1 / 3],
            "deviation": [1e-6] * 6,
        }
    ),
    "vanishing": Table(
        {
            "classes": [4, 4, 10, 10],
            "samples": [10, 10, 5, 5],
            "fraction": [0.9, 1.01, 0.9, 1.1],
            "norm": [0.8, 1e-5, 1.1, 1e-6],
            "predicted": [0.8, 0.0, 1.1, 0.0],
        }
    ),
    "norms": Table({"weight": [9.72, 30.0], "error": [1e-6, 2e-5], "without_n": [4.1, 21.0]}),
    "landscape": Table(
        {
            "point": ["origin", "rank 1", "rank 2", "optimum"],
            "gap": [1.14, 0.6, 0.3, 0.0],
            "least": [-0.074, -0.06, -0.05, 1e-9],
            "formula": [-0.074, -0.06, -0.05, 0.0],
            "frobenius": [-0.13, -0.1, -0.07, -0.01],
            "negative": [12, 8, 4, 0],
        }
    ),
    "room": Table(
        {
            "start": ["random"] * 4 + ["nudged"] * 3,
            "dim": [1, 2, 3, 8, 0, 1, 2],
            "least": [0.6, 0.3, 0.0, 0.0, 0.0, 0.0, 0.0],
            "greatest": [0.6, 0.3, 0.0, 0.0, 0.0, 0.0, 0.0],
            "saddle": [0.6, 0.3, 0.0, 0.0, 1.14, 0.6, 0.3],
        }
    ),
    "symmetric": Table(
        {
            "step": [0, 200, 400] * 2,
            "start": ["symmetric"] * 3 + ["random"] * 3,
            "gap": [1.14, 1e-3, 1e-8, 1.14, 0.1, 1e-6],
            "deviation": [0.0, 1e-15, 1e-15, 0.5, 0.3, 1e-3],
        }
    ),
    "fixed": FIXED,
}


def run(table=None, column="", row=None, value=None):
    """Tables in which everything that is claimed is true, but for one cell, or several."""
    tables = {name: Table(kept) for name, kept in TRUE.items()}
    if table is not None:
        tables[table][column][slice(None) if row is None else row] = value
    return tables


FALSE = [
    (0, "arrivals", "loss", 1, 0.244),
    (0, "arrivals", "deviation", 1, 0.01),
    (1, "arrivals", "loss", 3, 0.0613),
    (1, "arrivals", "deviation", 5, 0.01),
    (2, "vanishing", "norm", 3, 0.1),
    (2, "vanishing", "norm", 0, 0.001),
    (3, "norms", "error", 1, 0.02),
    (4, "landscape", "least", 2, 1e-4),
    (5, "landscape", "least", 2, 1e-4),
    (4, "landscape", "least", 3, -1e-3),
    (5, "landscape", "formula", 1, -0.07),
    (6, "room", "greatest", 1, 1.0),
    (6, "room", "greatest", 3, 0.01),
    (7, "room", "greatest", 5, 0.5),
    (7, "room", "saddle", 4, 0.0),
    (8, "symmetric", "deviation", 1, 1e-6),
    (8, "symmetric", "gap", 2, 0.1),
    (9, "fixed", "accuracy", 1, 0.95),
    (9, "fixed", "never_predicted", 3, 0),
    (9, "fixed", "accuracy", 3, 0.98),
    (10, "bias_price", "predicted", 1, -0.1),
    (10, "bias_price", "naive", slice(None), [-1 / 3, -0.21, -0.001]),
    (11, "encodings", "predicted", 3, 0.1),
]

# Each control must fail; where it agrees with the measurement the claim says nothing.
AGREEING = [
    (0, "arrivals", "wrong", "loss"),
    (1, "arrivals", "wrong", "loss"),
    (3, "norms", "without_n", "weight"),
    (5, "landscape", "frobenius", "least"),
]


def true_claims():
    return zhu2021.claims(run()) + zhu2021.claims_over_seeds([FIXED] * 5)


def false_claims():
    for index, *change in FALSE:
        yield zhu2021.claims(run(*change))[index]
    for index, table, column, other in AGREEING:
        yield zhu2021.claims(run(table, column, None, TRUE[table][other]))[index]
    yield zhu2021.claims(run("symmetric", "deviation", slice(3, 6), [0.0] * 3))[8]
    for row, value in ((0, -0.3), (2, -0.1)):  # no simplex where cheap, no right angles where dear
        tables = run("bias_price", "cosine", row, value)
        tables["bias_price"]["predicted"][row] = value
        yield zhu2021.claims(tables)[10]
    for row, value in ((0, -0.3), (5, 0.1)):  # no simplex with a bias; hardly a spread without one
        tables = run("encodings", "cosine", row, value)
        tables["encodings"]["predicted"][row] = value
        yield zhu2021.claims(tables)[11]
    tables = run()  # too small a space costs next to nothing
    for column in ("least", "greatest", "saddle"):
        tables["room"][column][0] = 0.02
    yield zhu2021.claims(tables)[6]
    for accuracies in (
        [0.98, 0.96, 0.98, 0.88],  # one seed loses 2 %
        [0.98, 0.98, 0.98, 0.96],  # the simplex out of reach loses nothing to speak of
    ):
        seeds = [*[FIXED] * 4, Table({**FIXED, "accuracy": accuracies})]
        yield from zhu2021.claims_over_seeds(seeds)
    # Each within 1.5 %, the mean off by more than 1 %.
    worse = Table({**FIXED, "accuracy": [0.985, 0.973, 0.985, 0.88]})
    yield from zhu2021.claims_over_seeds([worse] * 5)


def test_a_false_run_breaks_no_other_claim():
    for index, *change in FALSE:
        broken = {i for i, claim in enumerate(zhu2021.claims(run(*change))) if not claim.holds}
        assert broken <= ({4, 5} if change[:3] == ["landscape", "least", 2] else {index}), change


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


def test_other_data_are_reported(monkeypatch):
    for name, table in TRUE.items():
        monkeypatch.setattr(zhu2021, name, lambda *_, table=table, **__: table)
    data = gaussian_mixture(6, 6)
    outcome = zhu2021.experiment(seed=1, data=data)
    assert outcome.data == data.card
    assert [claim.verdict for claim in outcome.claims] == ["holds"] * 9 + ["reported"] + [
        "holds"
    ] * 2
    assert all(claim.binding for claim in zhu2021.experiment(seed=1).claims)


def test_recording_is_what_the_code_gives():
    recording = Recording.load(RECORDED)
    assert [outcome.seed for outcome in recording.outcomes] == [0, 1, 2, 3, 4]
    outcome = recording.outcomes[3]
    assert outcome.data == digits().card
    encoded = zhu2021.encodings(seed=3)
    assert encoded["cosine"] == pytest.approx(encoded["predicted"], abs=1e-5)
    assert encoded["cosine"] == pytest.approx(outcome.tables["encodings"]["cosine"], abs=1e-5)
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
