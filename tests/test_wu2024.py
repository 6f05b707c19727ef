"""Wu 2024: the measure, and runs in which each comparison is false alone."""

import pytest
import torch

from ncourse.papers import wu2024
from ncourse.tables import Table


def run(share=0.4, control=0.01):
    """Tables in which everything that is claimed is true, but for what is changed."""
    return {"explained": Table({"run": ["labels", "labels at random"], "share": [share, control]})}


def true_claims():
    return wu2024.claims(run())


def false_claims():
    return [wu2024.claims(tables)[0] for tables in (run(share=0.1), run(control=0.1))]


def test_classes_that_are_points_explain_everything_and_equal_ones_nothing():
    points = torch.tensor([[0.0, 1.0], [0.0, 1.0], [2.0, 5.0], [2.0, 5.0]])
    assert wu2024.explained(points, torch.tensor([0, 0, 1, 1])) == 1
    assert wu2024.explained(points, torch.tensor([0, 1, 0, 1])) == pytest.approx(0)
