"""Low rank against collapse: the closed forms, and runs in which each claim is false."""

import pytest
import torch

from ncourse.papers import garrod2026
from ncourse.papers.garrod2026 import DECAY, DEPTHS
from ncourse.tables import Table


def run(**changes):
    """Tables in which everything that is claimed is true, but for the cells changed."""
    energies = [
        {"depth": 2, "simplex": 0.0553, "circle": changes.get("circle 2", 0.144)},
        {"depth": 3, "simplex": 0.0441, "circle": 0.0614},
        {"depth": 5, "simplex": 0.0425, "circle": changes.get("circle 5", 0.0328)},
        {"depth": 8, "simplex": 0.0492, "circle": changes.get("circle 8", 0.0265)},
    ]
    usual = {2: (0.0553, 7), 3: (0.0441, 7), 5: (0.032, 4), 8: (0.034, 4)}
    ranks = {"narrow": (6.7, 4.7, 3.0, 2.2), "wide": (7.0, 6.7, 5.0, 2.9)}
    trained = [
        {"run": "weight decay", "depth": depth, "loss": changes.get(f"loss {depth}", loss),
         "rank": changes.get(f"rank {depth}", rank), "effective_rank": 1.0 * rank}
        for depth, (loss, rank) in usual.items()
    ]  # fmt: skip
    trained += [
        {"run": f"{name}, no weight decay", "depth": depth, "loss": 0.0, "rank": 7,
         "effective_rank": changes.get(f"{name} {depth}", rank)}
        for name, values in ranks.items()
        for depth, rank in zip(DEPTHS, values, strict=True)
    ]  # fmt: skip
    return {"energies": Table.of(energies), "trained": Table.of(trained)}


FALSE = [
    (0, {"circle 8": 0.04}),
    (0, {"circle 2": 0.06}),
    (0, {"circle 5": 0.042}),
    (1, {"loss 5": 0.042}),
    (1, {"rank 8": 7}),
    (1, {"loss 3": 0.05}),
    (1, {"rank 2": 6}),
    (2, {"wide 8": 6.0}),
    (2, {"narrow 2": 5.0}),
    (3, {"wide 5": 3.2}),
    (3, {"narrow 2": 5.5}),
]


def true_claims():
    return garrod2026.claims(run())


def false_claims():
    return [garrod2026.claims(run(**changes))[index] for index, changes in FALSE]


@pytest.mark.parametrize("depth", [2, 5])
def test_weights_that_share_the_singular_values_evenly_cost_the_closed_form(depth):
    """No size of a simplex costs less, and one costs as much, in actual weights."""
    shape, labels = garrod2026.simplex(8), torch.arange(8)
    least = garrod2026.least_energy(shape, depth)
    values, basis = torch.linalg.eigh(shape)
    root = (basis * values.clamp(min=0) ** (1 / depth)) @ basis.T
    costs = []
    for size in torch.linspace(1, 20, 400).double():
        weight = size ** (1 / depth) * root
        logits = torch.linalg.matrix_power(weight, depth)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        costs.append((loss + DECAY / 2 * depth * weight.square().sum()).item())
    assert min(costs) == pytest.approx(least, rel=1e-4)
    assert min(costs) >= least - 1e-9


def test_a_shape_that_cannot_pay_stays_at_zero():
    assert garrod2026.least_energy(garrod2026.simplex(8), 2, weight_decay=10.0) == pytest.approx(
        torch.tensor(8.0).log().item()
    )


def test_two_layers_go_to_the_simplex():
    logits, loss = garrod2026.train(2, 16, seed=3, weight_decay=DECAY, steps=800, size=1.0)
    assert loss == pytest.approx(garrod2026.least_energy(garrod2026.simplex(8), 2), rel=0.02)
    assert garrod2026.effective_rank(logits) == pytest.approx(7, abs=0.1)
