"""Minority collapse, in the layer-peeled model and in networks."""

from functools import cache

import pytest
import torch

from ncourse.claims import Recording
from ncourse.data import digits, gaussian_mixture
from ncourse.papers import fang2021
from ncourse.tables import Table
from ncourse.ufm import UFM, random_point, solve

RECORDED = "notebooks/recorded/04-fang2021.json"
NETWORKS = Table(
    {
        "kind": ["constrained"] * 4 + ["ordinary"] * 4,
        "ratio": [1, 3, 10, 30] * 2,
        "minority": [-0.111, -0.022, 0.26, 0.93, -0.117, -0.066, 0.01, 0.1],
        "majority": [-0.111, -0.158, -0.19, -0.22, -0.117, -0.14, -0.15, -0.15],
        "minority_accuracy": [0.985, 0.94, 0.7, 0.2, 0.985, 0.96, 0.92, 0.7],
        "majority_accuracy": [0.985] * 8,
        "train_accuracy": [1.0] * 8,
    }
)

THRESHOLD = Table(
    {
        "ratio": [2, 5, 20],
        "measured": [0.064, 0.032, 0.0092],
        "predicted": [0.064, 0.032, 0.0092],
        "balanced": [0.078, 0.055, 0.03],
        "majority": [-0.4, -0.35, -0.35],
        "before": [0.3, 0.6, 0.8],
        "after": [1.0, 1.0, 1.0],
    }
)


@cache
def peeled():
    return Recording.load(RECORDED).outcomes[0].tables["peeled"]


def run(*changes):
    """Tables in which everything that is claimed is true, but for the cells changed."""
    tables = {
        "peeled": Table(peeled()),
        "networks": Table(NETWORKS),
        "threshold": Table(THRESHOLD),
    }
    for table, column, row, value in changes:
        tables[table][column][row] = value
    return tables


def test_the_model_merges_its_minority():
    row = peeled()["ratio"].index(30)
    assert peeled()["majority_norm"][row] > 3 * peeled()["minority_norm"][row]


R = {ratio: row for row, ratio in enumerate(fang2021.PEELED_RATIOS)}


FALSE = [
    (0, "peeled", "minority", R[1], -0.1),
    (0, "peeled", "minority", R[5], 0.0),  # not rising
    (0, "peeled", "minority", R[30], 0.95),
    (0, "peeled", "majority", R[30], 0.5),  # everything merges, not the minority
    (0, "peeled", "gap", R[7], 1e-3),
    (1, "peeled", "minority", R[13], 0.999),
    (1, "peeled", "minority", R[12], 0.995),
    (2, "networks", "minority", 0, -0.05),
    (2, "networks", "minority", 1, 0.3),
    (2, "networks", "minority", 2, 0.5),
    (2, "networks", "majority", 3, 0.3),
    (3, "networks", "minority", 7, 0.6),
    (3, "networks", "minority", 7, -0.05),
    (3, "networks", "minority", 6, 0.2),
    (4, "networks", "minority_accuracy", 0, 0.6),
    (4, "networks", "minority_accuracy", 3, 0.7),
    (4, "networks", "majority_accuracy", 3, 0.5),
    (5, "threshold", "measured", 0, 0.066),
    (5, "threshold", "before", 1, 0.95),
    (5, "threshold", "after", 1, 0.99),
    (5, "threshold", "majority", 1, 0.2),
    (5, "threshold", "balanced", 0, 0.07),
    (3, "networks", "minority", slice(4, None), [-0.05, -0.03, 0.01, 0.04]),  # hardly a beginning
    (2, "networks", "minority", 3, 0.5),
    (3, "networks", "minority", 3, 0.5),
]


def true_claims():
    return fang2021.claims(run())


def false_claims():
    return [fang2021.claims(run(change))[index] for index, *change in FALSE]


def test_a_false_run_breaks_no_other_claim():
    for index, *change in FALSE[:-2]:  # the last are about both kinds of network
        broken = [not claim.holds for claim in fang2021.claims(run(change))]
        assert broken == [position == index for position in range(6)], change


@pytest.mark.parametrize("ratio", [1, 4, 50])
def test_imbalanced_keeps_half_the_classes_whole(ratio):
    data = digits()
    uneven = data.imbalanced(ratio, seed=0)
    largest = int(data.labels.bincount().min())
    small = max(1, round(largest / ratio))
    assert uneven.labels.bincount().tolist() == [largest] * 5 + [small] * 5
    assert torch.equal(uneven.test_inputs, data.test_inputs)
    # Each kept row is one of the data set's, with its label.
    at = (data.inputs == uneven.inputs[-1]).flatten(1).all(1)
    assert (data.labels[at] == uneven.labels[-1]).all()
    assert at.any()


def test_imbalanced_depends_on_the_seed_only():
    first, second, other = (digits().imbalanced(10, seed=s) for s in (0, 0, 1))
    assert torch.equal(first.inputs, second.inputs)
    assert not torch.equal(first.inputs, other.inputs)


@pytest.mark.parametrize(("classes", "ratio"), [(3, 10), (6, 0)])
def test_imbalanced_refuses_what_has_no_meaning(classes, ratio):
    with pytest.raises(ValueError, match="at least 4 and 1"):
        gaussian_mixture(classes, 5).imbalanced(ratio, seed=0)


def test_constrained_norms_are_what_they_say():
    model = fang2021._Constrained(6, 4, seed=0)
    inputs = torch.randn(20, 6)
    features = model.features(inputs)
    assert features.square().sum(1).tolist() == pytest.approx([5.0] * 20, rel=1e-5)
    # Whatever the stored weight, the logits are those of rows with mean squared norm 1.
    with torch.no_grad():
        before = model.classifier(features)
        model.classifier.weight.mul_(7)
    torch.testing.assert_close(model.classifier(features), before)
    scaled = torch.linalg.lstsq(features, before).solution.T
    assert scaled.square().sum(1).mean().item() <= 1 + 1e-4
    assert model.classifier.bias is None


def test_minority_is_the_second_half_whatever_the_sizes():
    weight = torch.eye(6, dtype=torch.float64)
    weight[5] = weight[4] = weight[3]
    assert fang2021._cosines(weight, 3) == pytest.approx((1.0, 0.0))


def test_a_small_run_has_the_columns_of_the_table():
    data = gaussian_mixture(4, 6, separation=3.0)
    for constrained in (True, False):
        row = fang2021.train(data, 5, seed=0, constrained=constrained, epochs=3)
        assert list(row) == list(NETWORKS)
        assert row["majority_accuracy"] > 0.8


def test_other_data_are_reported(monkeypatch):
    monkeypatch.setattr(fang2021, "networks", lambda dataset, *, seed: NETWORKS)
    data = gaussian_mixture(4, 6)
    outcome = fang2021.experiment(seed=1, data=data)
    assert outcome.data == data.card
    assert [claim.verdict for claim in outcome.claims] == ["holds"] * 2 + ["reported"] * 3 + [
        "holds"
    ]
    assert all(claim.binding for claim in fang2021.experiment(seed=1).claims)


@pytest.mark.parametrize("counts", [(12, 12, 3, 3), (7, 5, 3, 3), (6, 2, 2, 2)])
def test_equal_classes_merge_from_the_formula_on_whatever_the_sizes_of_the_others(counts):
    small, shown = (
        min(counts),
        [index for index, count in enumerate(counts) if count == min(counts)],
    )
    penalty = fang2021.merging_penalty(counts)
    assert penalty == pytest.approx(small**0.5 / sum(counts))
    for factor, merged in ((0.97, False), (1.03, True)):
        model = UFM(
            num_classes=len(counts),
            samples_per_class=counts,
            dim=6,
            lambda_w=2 * factor * penalty,  # only the product counts
            lambda_h=factor * penalty / 2,
        )
        weight = solve(model, start=random_point(model, seed=1)).point.weight[shown]
        apart = (weight - weight.mean(0)).norm() / weight.norm()
        assert (apart < 1e-3) == merged, factor


def test_recording_is_what_the_code_gives():
    recording = Recording.load(RECORDED)
    outcome = recording.outcomes[0]
    assert outcome.data == digits().card
    found = fang2021.threshold(seed=outcome.seed)
    assert found["measured"] == pytest.approx(outcome.tables["threshold"]["measured"], rel=1e-3)
    again = fang2021.peeled(seed=outcome.seed)
    assert again["minority"] == pytest.approx(outcome.tables["peeled"]["minority"], abs=1e-4)
    net = fang2021.train(digits(), 30, seed=outcome.seed, constrained=True)
    assert net["minority"] == pytest.approx(outcome.tables["networks"]["minority"][3], abs=0.1)
