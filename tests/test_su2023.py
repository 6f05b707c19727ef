"""Attacks on networks whose worst case is known; and runs in which each claim is false."""

import math

import pytest
import torch
from torch import nn

from ncourse.data import digits
from ncourse.papers import su2023
from ncourse.tables import Table

DECAYED, FREE = su2023.WEIGHT_DECAYS
LAYERS = ("input", "layer 1", "layer 2", "layer 3")


def run(**changes):
    """Tables in which everything that is claimed is true, but for the cells changed."""
    accuracies = {
        DECAYED: ((0.99, 0.93, 0.53, 0.08), (0.99, 0.99, 0.988, 0.98)),
        FREE: ((0.982, 0.87, 0.36, 0.02), (0.982, 0.98, 0.98, 0.97)),
    }
    means = {
        (DECAYED, 0.0): (0.9, 0.965, 0.99, 0.99),
        (DECAYED, 0.1): (0.8, 0.68, 0.53, 0.525),
        (FREE, 0.0): (0.9, 0.93, 0.96, 0.98),
        (FREE, 0.1): (0.79, 0.67, 0.52, 0.4),
    }
    attacks = [
        {
            "run": name,
            "nc1": 0.1,
            "radius": radius,
            "attack": changes.get(f"{name} {radius} attack", attack),
            "random": changes.get(f"{name} {radius} random", random),
        }
        for name, both in accuracies.items()
        for radius, attack, random in zip((0.0, *su2023.RADII), *both, strict=True)
    ]
    layers = [
        {
            "run": name,
            "layer": layer,
            "radius": radius,
            "accuracy": changes.get(f"{name} {radius} {layer}", value),
        }
        for (name, radius), values in means.items()
        for layer, value in zip(LAYERS, values, strict=True)
    ]
    return {"attacks": Table.of(attacks), "layers": Table.of(layers)}


FALSE = [
    (0, {f"{DECAYED} 0.15 attack": 0.5}),
    (0, {f"{FREE} 0.15 attack": 0.5}),
    (0, {f"{DECAYED} 0.15 random": 0.5}),
    (1, {f"{DECAYED} 0.1 attack": 0.4}),
    (1, {f"{FREE} 0.1 random": 0.9}),
    (2, {f"{DECAYED} 0.1 layer 3": 0.66}),
    (2, {f"{DECAYED} 0.0 layer 1": 0.99}),
    (3, {f"{DECAYED} 0.0 layer 2": 0.97}),
    (3, {f"{FREE} 0.0 layer 2": 0.982}),
    (3, {f"{DECAYED} 0.0 layer 2": math.nan}),
]


def true_claims():
    return su2023.claims(run())


def false_claims():
    return [su2023.claims(run(**changes))[index] for index, changes in FALSE]


@pytest.mark.parametrize("radius", [0.0, 0.25])
def test_the_worst_change_of_a_linear_network_is_found(radius):
    """Of a linear margin it is the radius times the signs of the difference of the rows."""
    model = nn.Linear(4, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -2.0, 0.5, 3.0], [0.0, 1.0, 1.5, -1.0]]))
    inputs = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(6) % 2
    worst = su2023.attacked(model, inputs, labels, radius, seed=0)
    towards = (model.weight[1 - labels] - model.weight[labels]).sign()
    torch.testing.assert_close(worst, inputs + radius * towards)


def test_an_attack_has_a_gradient_where_a_network_is_certain():
    """The cross-entropy of logits like these is 0 in float32, and so is its gradient."""
    model = nn.Linear(2, 3, bias=False)
    with torch.no_grad():
        model.weight.copy_(1e4 * torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]))
    inputs, labels = torch.tensor([[1.0, 0.9]]), torch.tensor([0])
    worst = su2023.attacked(model, inputs, labels, 0.2, seed=0)
    assert model(inputs).argmax() == 0
    assert model(worst).argmax() == 1
    assert (worst - inputs).abs().max() <= 0.2 + 1e-6


def test_a_short_run_has_every_row():
    data = digits().only([0, 1, 2]).take(20)
    tables = su2023.robustness(data, seed=0, epochs=2)
    assert tables["attacks"]["radius"] == [0.0, *su2023.RADII] * 2
    assert len(tables["layers"]["run"]) == 2 * 2 * len(LAYERS)
    for name in (DECAYED, FREE):
        clean = tables["attacks"].where(run=name, radius=0.0).last
        assert clean["attack"] == clean["random"]
        attacked = tables["attacks"].where(run=name)["attack"]
        assert attacked == sorted(attacked, reverse=True)
    assert tables == su2023.robustness(data, seed=0, epochs=2)
