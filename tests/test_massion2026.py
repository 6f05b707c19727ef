"""The bias between a simplex and an orthogonal frame; runs in which each claim is false."""

from dataclasses import replace

import pytest

from ncourse.papers import massion2026
from ncourse.papers.massion2026 import MODEL, PENALTIES
from ncourse.tables import Table
from ncourse.ufm import random_point, solve

SQUARED = (-0.25, -0.25, -0.25, -0.112, -0.042, -0.021, -0.002, 0.0)


def run(**changes):
    """A table in which everything that is claimed is true, but for the cells changed."""
    rows = [
        {"loss": "mse", "penalty": penalty, "cosine": changes.get(f"cosine {place}", cosine),
         "closed_form": changes.get(f"form {place}", cosine),
         "bias": changes.get("bias", 0.2) if place == 0 else changes.get("late bias", 0.002)}
        for place, (penalty, cosine) in enumerate(zip(PENALTIES, SQUARED, strict=True))
    ] + [
        {"loss": "cross-entropy", "penalty": penalty, "cosine": changes.get("entropy", -0.25),
         "closed_form": -0.25, "bias": 0.0}
        for penalty in PENALTIES
    ]  # fmt: skip
    return {"passage": Table.of(rows)}


FALSE = [
    (0, {"cosine 0": -0.1}),
    (0, {"cosine 7": -0.1}),
    (0, {"entropy": -0.1}),
    (1, {"form 3": -0.2}),
    (1, {"bias": 0.1}),
    (1, {"cosine 5": -0.2, "form 5": -0.2}),
    (1, {"late bias": 0.1}),
]


def true_claims():
    return massion2026.claims(run())


def false_claims():
    return [massion2026.claims(run(**changes))[index] for index, changes in FALSE]


@pytest.mark.parametrize("penalty", [0.9, 1.1, 5.0])
def test_the_closed_form_holds_on_both_sides_of_where_the_passage_begins(penalty):
    problem = replace(MODEL, num_classes=4, lambda_w=4e-3)
    problem = replace(problem, lambda_b=penalty * massion2026.first_penalty(problem))
    found = solve(problem, start=random_point(problem, seed=2)).point
    means = found.features.view(4, -1, MODEL.dim).mean(1)
    gram = means @ means.T
    cosine = (gram[0, 1] / gram[0, 0]).item()
    assert cosine == pytest.approx(massion2026.cosine(problem), abs=1e-4)
    assert (cosine == pytest.approx(-1 / 3, abs=1e-4)) == (penalty < 1)


def test_without_a_bias_class_means_are_orthogonal():
    assert massion2026.cosine(replace(MODEL, lambda_b=None)) == 0
