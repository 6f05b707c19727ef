"""Few-shot transfer: the measure, the experiment, and runs in which each claim is false."""

import math

import pytest
import torch

from ncourse.data import digits
from ncourse.papers import galanti2021
from ncourse.tables import Table

DECAYED, FREE = galanti2021.WEIGHT_DECAYS


def run(**changes):
    """A table in which everything that is claimed is true, but for the cells changed."""
    values = {
        (DECAYED, 1): (0.93, 0.92, 0.9, 0.86, 0.3),
        (DECAYED, 300): (0.93, 0.91, 0.8, 0.53, 0.002),
        (FREE, 1): (0.93, 0.92, 0.9, 0.86, 0.3),
        (FREE, 300): (0.93, 0.92, 0.87, 0.73, 0.12),
    }
    layers = ("input", "layer 1", "layer 2", "layer 3")
    rows = [
        {
            "run": name,
            "epoch": epoch,
            "layer": layer,
            "accuracy": changes.get(f"{name} {epoch} {layer}", accuracy),
            "cdnv": changes.get(f"{name} cdnv", cdnv),
        }
        for (name, epoch), (*accuracies, cdnv) in values.items()
        for layer, accuracy in zip(layers, accuracies, strict=True)
    ]
    probes = [
        {
            "run": name,
            "layer": layer,
            "accuracy": changes.get(f"{name} probe", 0.97 if name == DECAYED else 0.975),
        }
        for name in (DECAYED, FREE)
        for layer in layers
    ]
    return {"transfer": Table.of(rows), "probe": Table.of(probes)}


FALSE = [
    (0, {f"{DECAYED} cdnv": 0.03}),
    (0, {f"{FREE} cdnv": 0.002}),
    (1, {f"{DECAYED} 300 layer 3": 0.70}),
    (1, {f"{FREE} 300 layer 3": 0.53}),
    (2, {f"{DECAYED} 1 layer 3": 0.6}),
    (2, {f"{DECAYED} 1 layer 1": 0.99}),
    (3, {f"{DECAYED} 300 layer 1": 0.6}),
    (3, {f"{FREE} 300 layer 3": 0.4}),
    (3, {f"{DECAYED} 300 layer 1": 0.61, f"{FREE} 300 layer 3": 0.9}),
    (3, {f"{DECAYED} 300 layer 3": math.nan}),
    (4, {f"{DECAYED} probe": 0.92, f"{FREE} probe": 0.92}),
    (4, {f"{FREE} probe": 0.925}),
    (4, {f"{FREE} 300 layer 3": 0.53}),
]


def true_claims():
    return galanti2021.claims(run())


def false_claims():
    return [galanti2021.claims(run(**changes))[index] for index, changes in FALSE]


def test_few_shot_accuracy_of_separate_and_of_equal_clouds():
    labels = torch.arange(3).repeat_interleave(20)
    noise = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    far = 50 * torch.eye(3, 4)[labels] + noise
    assert galanti2021.few_shot_accuracy(far, labels) == 1
    chance = galanti2021.few_shot_accuracy(noise, labels, shots=1, episodes=200)
    assert 0.28 < chance < 0.39
    assert galanti2021.few_shot_accuracy(far, labels, seed=3) == galanti2021.few_shot_accuracy(
        far, labels, seed=3
    )
    with pytest.raises(ValueError, match="has 20 samples; expected more than 20"):
        galanti2021.few_shot_accuracy(far, labels, shots=20)


def test_a_short_run_has_every_row_and_is_reported_on_own_data():
    data = digits().only([0, 1, 2, 3]).take(30)
    tables = galanti2021.transfer(data, seed=0, epochs=6)
    assert len(tables["transfer"]["run"]) == 2 * 3 * 4  # runs, epochs 1, 2 and 6, layers
    assert len(tables["probe"]["run"]) == 2 * 4
    assert all(0 <= score <= 1 for table in tables.values() for score in table["accuracy"])
    assert tables == galanti2021.transfer(data, seed=0, epochs=6)
