"""Scores for unseen classes: each on made vectors, and runs in which each claim is false."""

import pytest
import torch

from ncourse.data import digits
from ncourse.papers import ammar2024
from ncourse.tables import Table
from ncourse.training import Features

DECAYED, FREE = ammar2024.WEIGHT_DECAYS


def run(**changes):
    """A table in which everything that is claimed is true, but for the cells changed."""
    values = {
        (DECAYED, 5): (0.93, 0.91, 0.93, 0.98),
        (DECAYED, 300): (0.957, 0.953, 0.961, 0.962),
        (FREE, 5): (0.93, 0.91, 0.93, 0.98),
        (FREE, 300): (0.92, 0.91, 0.935, 0.984),
    }
    rows = []
    for (name, epoch), scores in values.items():
        row = {"run": name, "epoch": epoch, "nc1": 0.1}
        for score, value in zip(ammar2024.SCORES, scores, strict=True):
            row[score] = changes.get(f"{name} {epoch} {score}", value)
        rows.append(row)
    return {"detection": Table.of(rows)}


FALSE = [
    (0, {f"{DECAYED} 300 softmax": 0.91}),
    (0, {f"{DECAYED} 300 softmax": 0.94, f"{DECAYED} 300 mahalanobis": 0.99}),
    (0, {f"{FREE} 300 softmax": 0.99}),
    (1, {f"{DECAYED} 300 projection": 0.92}),
    (1, {f"{FREE} 300 projection": 0.984}),
]


def true_claims():
    return ammar2024.claims(run())


def false_claims():
    return [ammar2024.claims(run(**changes))[index] for index, changes in FALSE]


def clouds():
    """Three tight classes on the axes of five dimensions, 30 samples each."""
    labels = torch.arange(3).repeat_interleave(30)
    noise = 0.05 * torch.randn(90, 5, generator=torch.Generator().manual_seed(0))
    features = 4 * torch.eye(3, 5)[labels] + noise
    return Features(features, features[:, :3].clone(), labels)


def test_scores_prefer_what_lies_at_a_class():
    known = clouds()
    means = 4 * torch.eye(3, 5)
    odd = torch.tensor([[4 / 3, 4 / 3, 4 / 3, 3.0, 0.0]])  # outside the plane of the means
    at = ammar2024.scores(known, means, means[:, :3])
    off = ammar2024.scores(known, odd, odd[:, :3])
    assert set(at) == set(ammar2024.SCORES)
    for name in ammar2024.SCORES:
        assert at[name].min() > off[name].max(), name
    assert at["projection"].min() > 0.99
    assert off["projection"].max() < 0.1
    assert at["distance"].max() <= 0
    assert at["mahalanobis"].max() <= 0
    shifted = Features(known.features + 7, known.logits, known.labels)
    moved = ammar2024.scores(shifted, means + 7, means[:, :3])
    for name in ("distance", "projection"):
        torch.testing.assert_close(moved[name], at[name], rtol=1e-4, atol=1e-4)


def test_auroc_counts_pairs():
    known, unknown = torch.tensor([0.9, 0.5, 0.5]), torch.tensor([0.5, 0.1])
    assert ammar2024.auroc(known, unknown) == pytest.approx((2 + 1.5 + 1.5) / 6)
    assert ammar2024.auroc(unknown, known) == pytest.approx(1 / 6)


def test_a_short_run_has_every_row():
    data = digits().only([0, 1, 2, 3, 4]).take(30)
    table = ammar2024.detect(data, seed=0, epochs=6)
    assert table["epoch"] == [1, 2, 6] * 2
    assert all(0 <= table[name][i] <= 1 for name in ammar2024.SCORES for i in range(6))
    assert table == ammar2024.detect(data, seed=0, epochs=6)
