"""Rankin 1955: each claim can fail."""

import copy

import pytest
import torch

from ncourse.data import gaussian_mixture
from ncourse.papers import rankin1955


@pytest.fixture(scope="module")
def outcome():
    return rankin1955.experiment(seed=3)


@pytest.fixture
def tables(outcome):
    return copy.deepcopy(dict(outcome.tables))


def verdicts(tables):
    return [claim.holds for claim in rankin1955.claims(tables)]


def put(table, column, row, value):
    return lambda tables: tables[table][column].__setitem__(row, value)


FALSE_RUNS = {
    0: [put("arrivals", "largest", 1, -0.9), put("arrivals", "largest", slice(None), [0.5] * 12)],
    1: [put("arrivals", "deviation", 1, 1e-3), put("arrivals", "deviation", 0, 0.0)],
    2: [
        put("pushes", "deviation", 1, 0.1),
        put("pushes", "deviation", 3, 0.0),
        put("pushes", "centre", 3, 0.1),
    ],
    3: [put("crowding", "largest", -1, -0.1), put("crowding", "largest", 0, 0.1)],
    4: [
        put("nearest", "distance", 0, 1.0),
        put("nearest", "random", 0, 0.0),
        lambda t: t["nearest"].__setitem__("formula_uncentred", t["nearest"]["distance"]),
    ],
    5: [put("growth", "cosine", 2, 0.5), put("growth", "fresh", 0, 0.9)],
}


@pytest.mark.parametrize(
    ("index", "spoil"),
    [(index, spoil) for index, spoils in FALSE_RUNS.items() for spoil in spoils],
)
def test_each_claim_fails_on_a_run_in_which_it_is_false(tables, index, spoil):
    assert all(verdicts(tables))
    spoil(tables)
    assert not verdicts(tables)[index]


def test_every_claim_has_a_false_run(tables):
    assert set(FALSE_RUNS) == set(range(len(verdicts(tables))))


def test_own_data_are_reported():
    data = gaussian_mixture(4, 6, seed=0)
    outcome = rankin1955.experiment(data=data)
    assert outcome.data.name == "gaussian mixture"
    assert not any(claim.binding for claim in outcome.claims)
    with pytest.raises(ValueError, match="only 'laptop'"):
        rankin1955.experiment("paper")


def test_nearest_distance_of_a_simplex_is_zero():
    vectors = torch.eye(4, dtype=torch.float64) - 1 / 4
    vectors = vectors / vectors.norm(dim=1, keepdim=True)
    assert rankin1955.nearest_distance(vectors) == pytest.approx(0, abs=1e-12)
