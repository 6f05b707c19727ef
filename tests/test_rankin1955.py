"""Rankin 1955: each claim can fail."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ncourse.data import gaussian_mixture
from ncourse.papers import rankin1955
from ncourse.simplex import simplex_etf
from ncourse.tables import Table

TRUE = {
    "arrivals": Table(
        {
            "classes": [4] * 3 + [6] * 3,
            "dim": [2, 3, 4, 4, 5, 6],
            "deviation": [0.67, 1e-9, 1e-9, 0.5, 1e-9, 1e-9],
            "largest": [0.0, -1 / 3, -1 / 3, 0.1, -1 / 5, -1 / 5],
        }
    ),
    "pushes": Table(
        {
            "push": ["1/s", "exp(-s)", "1/sqrt(s)", "1"],
            "deviation": [1e-9, 1e-9, 1e-9, 0.6],
            "centre": [1e-9] * 4,
        }
    ),
    "crowding": Table(
        {
            "classes": [4, 5, 6, 7],
            "repelled": [-0.33, -0.25, 0, 0.15],
            "largest": [-0.33, -0.25, 0, 0.05],
            "bound": [-0.33, -0.25, 0, 0],
        }
    ),
    "nearest": Table(
        {"distance": [3.0], "formula": [3.0], "formula_uncentred": [2.9], "random": [12.0]}
    ),
    "growth": Table({"cosine": [0.82, 0.97], "formula": [0.82, 0.97], "fresh": [0.01, -0.02]}),
}


def changed(table, column, row, value):
    tables = {name: Table(kept) for name, kept in TRUE.items()}
    tables[table][column][row] = value
    return tables


def false_tables():
    """Which claim, and tables in which it is false."""
    yield 0, changed("arrivals", "largest", 1, -0.9)
    yield 0, changed("arrivals", "largest", slice(None), [0.5] * 6)
    yield 1, changed("arrivals", "deviation", 1, 1e-3)
    yield 1, changed("arrivals", "deviation", 0, 0.0)
    yield 2, changed("pushes", "deviation", 1, 0.1)
    yield 2, changed("pushes", "deviation", 3, 0.0)
    yield 2, changed("pushes", "centre", 3, 0.1)
    yield 3, changed("crowding", "largest", 2, -0.1)
    yield 3, changed("crowding", "largest", 1, 0.0)
    yield 3, changed("crowding", "largest", 0, -0.2)
    yield 3, changed("crowding", "repelled", 3, 0.05)
    yield 4, changed("nearest", "formula", 0, 3.001)
    yield 4, changed("nearest", "random", 0, 0.0)
    yield 4, changed("nearest", "formula_uncentred", 0, 3.0)
    yield 5, changed("growth", "cosine", 1, 0.5)
    yield 5, changed("growth", "fresh", 0, 0.9)


def true_claims():
    return rankin1955.claims(changed("growth", "fresh", 0, 0.0))


def false_claims():
    return [rankin1955.claims(tables)[index] for index, tables in false_tables()]


def test_on_own_data_what_is_proved_holds():
    own = rankin1955.experiment(data=gaussian_mixture(4, 6, seed=0))
    assert own.data.name == "gaussian mixture"
    verdicts = ["holds"] * 6
    verdicts[4] = "the proved part holds"  # the only one about class means
    assert [claim.verdict for claim in own.claims] == verdicts


def test_nearest_distance_of_a_simplex_is_zero():
    vectors = torch.eye(4, dtype=torch.float64) - 1 / 4
    vectors = vectors / vectors.norm(dim=1, keepdim=True)
    assert rankin1955.nearest_distance(vectors) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("seed", [3, 11])
def test_crowding_finds_the_least_largest_cosine(seed):
    crowd = rankin1955.crowding(seed=seed, dim=3)
    # Ends of axes for five and six; for eight, two squares, one turned by 45 degrees (Schütte and
    # van der Waerden 1951).
    known = {2: -1.0, 3: -0.5, 4: -1 / 3, 5: 0.0, 6: 0.0, 8: (2 * 2**0.5 - 1) / 7}
    for row in crowd.rows():
        if row["classes"] in known:
            assert row["largest"] == pytest.approx(known[row["classes"]], abs=1e-6)
    assert min(np.diff(crowd["largest"])) >= -1e-9


def test_minimax_leaves_the_best_alone_and_stays_on_the_sphere():
    frame = simplex_etf(5, 4, dtype=torch.float64)
    assert torch.allclose(rankin1955.minimax(frame), frame, atol=1e-7)
    points = rankin1955.minimax(F.normalize(torch.randn(9, 4, dtype=torch.float64), dim=1))
    assert torch.allclose(points.norm(dim=1), torch.ones(9, dtype=torch.float64))
