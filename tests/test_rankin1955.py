"""Rankin 1955: each claim can fail."""

from functools import cache

import pytest
import torch

from ncourse.data import gaussian_mixture
from ncourse.papers import rankin1955
from ncourse.tables import Table


@cache
def outcome():
    return rankin1955.experiment(seed=3)


def changed(table, column, row, value):
    tables = {name: Table(kept) for name, kept in outcome().tables.items()}
    tables[table][column][row] = value
    return tables


def false_tables():
    """Which claim, and tables in which it is false."""
    yield 0, changed("arrivals", "largest", 1, -0.9)
    yield 0, changed("arrivals", "largest", slice(None), [0.5] * 12)
    yield 1, changed("arrivals", "deviation", 1, 1e-3)
    yield 1, changed("arrivals", "deviation", 0, 0.0)
    yield 2, changed("pushes", "deviation", 1, 0.1)
    yield 2, changed("pushes", "deviation", 3, 0.0)
    yield 2, changed("pushes", "centre", 3, 0.1)
    yield 3, changed("crowding", "largest", -1, -0.1)
    yield 3, changed("crowding", "largest", 0, 0.1)
    distance = outcome().tables["nearest"]["distance"][0]
    yield 4, changed("nearest", "formula", 0, distance + 1e-3)
    yield 4, changed("nearest", "random", 0, 0.0)
    yield 4, changed("nearest", "formula_uncentred", 0, distance)
    yield 5, changed("growth", "cosine", 2, 0.5)
    yield 5, changed("growth", "fresh", 0, 0.9)


def true_claims():
    return outcome().claims


def false_claims():
    return [rankin1955.claims(tables)[index] for index, tables in false_tables()]


def test_on_own_data_what_is_proved_holds():
    own = rankin1955.experiment(data=gaussian_mixture(4, 6, seed=0))
    assert own.data.name == "gaussian mixture"
    assert {claim.verdict for claim in own.claims} == {"the proved part holds", "reported"}


def test_nearest_distance_of_a_simplex_is_zero():
    vectors = torch.eye(4, dtype=torch.float64) - 1 / 4
    vectors = vectors / vectors.norm(dim=1, keepdim=True)
    assert rankin1955.nearest_distance(vectors) == pytest.approx(0, abs=1e-12)
