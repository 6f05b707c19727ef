"""Training against test collapse: the tables, and runs in which each claim is false."""

import math

import pytest
import torch

from ncourse.data import digits
from ncourse.models import MLP
from ncourse.papers import hui2022
from ncourse.tables import Table

DECAYED, FREE = hui2022.WEIGHT_DECAYS
TRUE = {
    DECAYED: {
        "train_error": [0.1, 0.0, 0.0],
        "nc1": [3.0, 1.0, 0.01],
        "test_nc1": [3.2, 1.4, 0.34],
        "test_error": [0.1, 0.03, 0.015],
        "test_calibration": [0.05, 0.017, 0.028],
        "test_overconfidence": [-0.05, -0.01, -0.02],
    },
    FREE: {
        "train_error": [0.1, 0.0, 0.0],
        "nc1": [3.0, 1.0, 0.62],
        "test_nc1": [3.2, 1.4, 1.07],
        "test_error": [0.1, 0.03, 0.02],
        "test_calibration": [0.05, 0.015, 0.013],
        "test_overconfidence": [-0.05, 0.0, 0.01],
    },
    f"{DECAYED}, label noise": {
        "train_error": [0.2, 0.0, 0.0],
        "nc1": [3.0, 2.0, 0.16],
        "test_nc1": [3.0, 2.0, 1.9],
        "test_error": [0.1, 0.04, 0.058],
    },
    f"{FREE}, label noise": {
        "train_error": [0.2, 0.0, 0.0],
        "nc1": [3.0, 2.0, 1.5],
        "test_nc1": [3.0, 2.7, 2.6],
        "test_error": [0.1, 0.04, 0.058],
    },
}
RATIOS = {
    (DECAYED, "train"): [1.4, 0.9, 0.06, 0.002],
    (DECAYED, "test"): [1.3, 0.94, 0.11, 0.038],
    (FREE, "train"): [1.4, 1.36, 0.64, 0.24],
    (FREE, "test"): [1.3, 1.34, 0.67, 0.29],
}


def run(*, ratios=None, memorised=(1.0, 0.99), **changes):
    """Tables in which everything that is claimed is true, but for what is changed."""
    tables = {name: {key: list(values) for key, values in t.items()} for name, t in TRUE.items()}
    for place, value in changes.items():
        name, column, row = place.split("/")
        tables[name][column][int(row)] = value
    layers = [
        {"run": name, "split": split, "layer": index, "ratio": value}
        for (name, split), values in {**RATIOS, **(ratios or {})}.items()
        for index, value in enumerate(values)
    ]
    own = [1 - share for share in memorised]
    wrong = {"run": [DECAYED, FREE], "wrong_class": list(memorised), "own_class": own}
    made = {name: Table(columns) for name, columns in tables.items()}
    return {**made, "layers": Table.of(layers), "memorised": Table(wrong)}


FALSE = [
    (0, {f"{DECAYED}/test_nc1/-1": 0.05}),
    (0, {f"{FREE}/test_nc1/-1": 3.0}),
    (1, {f"{DECAYED}/test_nc1/-1": 0.9}),
    (1, {f"{FREE}/test_nc1/-1": 0.5}),
    (1, {f"{DECAYED}/train_error/1": 0.1, f"{DECAYED}/train_error/2": 0.1}),
    (2, {"ratios": {(DECAYED, "train"): [1.4, 0.9, 0.95, 0.002]}}),
    (2, {"ratios": {(DECAYED, "train"): [1.4, 0.9, 0.06, 0.02]}}),
    (2, {"ratios": {(FREE, "train"): [1.4, 0.9, 0.06, 0.002]}}),
    (3, {"ratios": {(DECAYED, "test"): [1.3, 1.2, 0.11, 0.038]}}),
    (3, {"ratios": {(DECAYED, "test"): [1.3, 0.94, 0.11, 0.004]}}),
    (4, {f"{DECAYED}, label noise/train_error/-1": 0.01}),
    (4, {f"{DECAYED}, label noise/nc1/-1": 0.5}),
    (4, {"memorised": (0.9, 0.99)}),
    (5, {f"{DECAYED}, label noise/test_error/-1": 0.041}),
    (5, {f"{DECAYED}/test_error/-1": 0.04}),
    (5, {f"{DECAYED}, label noise/test_error/-1": math.nan}),
    (6, {f"{DECAYED}/test_overconfidence/-1": -0.005}),
    (6, {f"{DECAYED}/test_calibration/-1": 0.01}),
    (6, {f"{FREE}/test_overconfidence/-1": -0.001}),
]


def true_claims():
    return hui2022.claims(run())


def false_claims():
    return [hui2022.claims(run(**changes))[index] for index, changes in FALSE]


def test_layers_and_memorised_samples_of_small_networks():
    data = digits().only([0, 1, 2]).take(40)
    noisy = data.with_label_noise(0.1, seed=0)
    model, table = hui2022.train(noisy, weight_decay=5e-3, seed=0, epochs=150)
    assert len(table["epoch"]) == len(table["test_nll"]) == len(table["test_calibration"])
    assert all(0 <= value <= 1 for value in table["test_calibration"])
    for error, over in zip(table["test_error"], table["test_overconfidence"], strict=True):
        assert 1 / 3 <= over + 1 - error <= 1  # the mean confidence of three classes
    layers = hui2022.layers({"a": model}, data)
    assert layers["split"] == ["train"] * 4 + ["test"] * 4
    assert layers["layer"][:4] == ["input", "layer 1", "layer 2", "layer 3"]
    found = hui2022.memorised({"a": model}, noisy, data)
    assert found["wrong_class"][0] > found["own_class"][0]
    fresh = MLP(data.input_shape, (16,), 3, seed=0)
    unlearned = hui2022.memorised({"a": fresh}, noisy, data)
    assert unlearned["own_class"][0] > unlearned["wrong_class"][0]  # images look like what they are


def test_wrong_labels_are_as_many_as_asked_for_and_all_wrong():
    data = digits()
    noisy = data.with_label_noise(0.1, seed=3)
    assert (noisy.labels != data.labels).sum() == 140
    assert torch.equal(noisy.test_labels, data.test_labels)
    assert torch.equal(data.with_label_noise(0.1, seed=3).labels, noisy.labels)
    assert torch.equal(data.with_label_noise(0.0, seed=3).labels, data.labels)
    with pytest.raises(ValueError, match=r"share is 1\.5"):
        data.with_label_noise(1.5, seed=0)


def test_some_classes_of_a_data_set():
    data = digits()
    two = data.only([7, 3])
    assert two.name == "digits 7, 3"
    assert two.class_names == ("7", "3")
    assert torch.equal(two.inputs[two.labels == 0], data.inputs[data.labels == 7])
    assert torch.equal(
        two.test_inputs[two.test_labels == 1], data.test_inputs[data.test_labels == 3]
    )
    for wrong in ([3, 3], [10], [-1]):
        with pytest.raises(ValueError, match="expected different numbers from 0 to 9"):
            data.only(wrong)
