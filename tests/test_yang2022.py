"""Fixed heads, the SELI geometry beside closed forms; and runs in which each claim is false."""

import math

import pytest
import torch

from ncourse.continual import dot_regression
from ncourse.data import digits
from ncourse.papers import yang2022
from ncourse.simplex import simplex_etf
from ncourse.tables import Table

LEARNED, SIMPLEX, REGRESSION, NARROW = yang2022.HEADS


def run(**changes):
    """Tables in which everything that is claimed is true, but for the cells changed."""
    accuracies = {
        (1, LEARNED): (0.987, 0.985),
        (1, SIMPLEX): (0.985, 0.98),
        (1, REGRESSION): (0.977, 0.985),
        (1, NARROW): (0.972, 0.96),
        (30, LEARNED): (0.83, 0.68),
        (30, SIMPLEX): (0.84, 0.70),
        (30, REGRESSION): (0.71, 0.44),
    }
    heads = [
        {
            "ratio": ratio,
            "head": head,
            "accuracy": changes.get(f"{ratio} {head} accuracy", accuracy),
            "minority": changes.get(f"{ratio} {head} minority", minority),
        }
        for (ratio, head), (accuracy, minority) in accuracies.items()
    ]
    shapes = {
        ("equal", 1e-2): (0.0, 0.0, 0.0, 0.0),
        ("equal", 1e-6): (2e-4, 2e-4, 2e-4, 2e-4),
        ("unequal", 1e-2): (0.22, 0.61, 0.43, 0.22),
        ("unequal", 1e-6): (0.06, 0.47, 0.1, 0.41),
    }
    names = ("weight_seli", "weight_simplex", "means_seli", "means_simplex")
    seli = [
        {"sizes": sizes, "penalty": penalty}
        | {
            name: changes.get(f"{sizes} {penalty} {name}", value)
            for name, value in zip(names, values, strict=True)
        }
        for (sizes, penalty), values in shapes.items()
    ]
    return {"heads": Table.of(heads), "seli": Table.of(seli)}


FALSE = [
    (0, {f"1 {SIMPLEX} accuracy": 0.95}),
    (0, {f"1 {NARROW} accuracy": 0.987}),
    (0, {f"1 {SIMPLEX} accuracy": math.nan}),
    (1, {f"1 {LEARNED} minority": 0.7}),
    (1, {f"30 {SIMPLEX} minority": 0.9}),
    (1, {f"30 {REGRESSION} minority": 0.68}),
    (2, {"unequal 1e-06 weight_seli": 0.3}),
    (2, {"equal 1e-06 means_simplex": 0.1}),
    (2, {"unequal 0.01 means_simplex": 0.4}),
    (2, {"unequal 1e-06 means_seli": 0.3}),
]


def true_claims():
    return yang2022.claims(run())


def false_claims():
    return [yang2022.claims(run(**changes))[index] for index, changes in FALSE]


def test_the_loss_is_dot_regression_onto_the_vertices():
    generator = torch.Generator().manual_seed(0)
    vertices = simplex_etf(4, 6, generator=generator)
    features = torch.nn.functional.normalize(torch.randn(9, 6, generator=generator), dim=1)
    labels = torch.arange(9) % 4
    found = yang2022._dot_regression(features @ vertices.T, labels)
    torch.testing.assert_close(found, dot_regression(features, vertices[labels]))


@pytest.mark.parametrize("counts", [(5, 5, 5), (8, 8, 2, 2)])
def test_gram_matrices_of_seli_interpolate_the_centred_labels(counts):
    """With W W' and H' H theirs, some pair W, H has W H' = Z, one column a class of it."""
    weight, means = yang2022.seli_grams(counts)
    classes = len(counts)
    labels = torch.arange(classes).repeat_interleave(torch.tensor(counts))
    centred = torch.eye(classes, dtype=torch.float64)[:, labels] - 1 / classes
    left, singular, right = torch.linalg.svd(centred, full_matrices=False)
    classifier = left * singular.sqrt()
    torch.testing.assert_close(classifier @ classifier.T, weight)
    # At one sample of each class: the first column where the label is k.
    first = torch.tensor([(labels == k).nonzero()[0, 0] for k in range(classes)])
    features = right.T[first] * singular.sqrt()
    torch.testing.assert_close(features @ features.T, means)
    torch.testing.assert_close(classifier @ features.T, centred[:, first])


def test_seli_of_equal_classes_is_a_simplex_and_of_unequal_ones_is_not():
    simplex = torch.eye(4, dtype=torch.float64) - 1 / 4
    for gram in yang2022.seli_grams((7, 7, 7, 7)):
        torch.testing.assert_close(gram / gram.norm(), simplex / simplex.norm())
    for gram in yang2022.seli_grams((7, 7, 1, 1)):
        assert (gram / gram.norm() - simplex / simplex.norm()).norm() > 0.1


@pytest.mark.parametrize("head", yang2022.HEADS)
def test_what_is_fixed_stays_as_it_was_drawn(head, monkeypatch):
    data = digits().only([0, 1, 2, 3]).take(20)
    seen = []
    fit = yang2022.fit

    def watched(*, model, **settings):
        seen.append(model)
        return fit(model=model, **settings)

    monkeypatch.setattr(yang2022, "fit", watched)
    row = yang2022.train(data, 2, head, seed=0, epochs=2)
    (model,) = seen
    width = 4 if head == NARROW else 256
    vertices = simplex_etf(4, width, generator=torch.Generator().manual_seed(0))
    kept = torch.equal(model.classifier.weight.detach(), vertices)
    assert kept == (head != LEARNED)
    assert (model.classifier.bias.abs().max() == 0) == (head != LEARNED)
    everything = sum(parameter.numel() for parameter in model.parameters())
    assert row["trained"] == everything - (0 if head == LEARNED else 4 * width + 4)
    assert all(0 <= row[name] <= 1 for name in ("accuracy", "minority", "majority", "worst"))
    assert row["worst"] <= row["accuracy"]
    assert row == yang2022.train(data, 2, head, seed=0, epochs=2)
