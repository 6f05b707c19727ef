"""Simplex geometry: every construction against its definition, and against what it must not be."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from ncourse.simplex import (
    SimplexFrame,
    coherence,
    cosine_matrix,
    gram_matrix,
    growth_cosine,
    nearest_etf,
    off_diagonal,
    rankin_bound,
    repel,
    simplex_etf,
    welch_bound,
)

seeds = st.integers(0, 2**31)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_points(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


@given(classes=st.integers(2, 30), extra=st.integers(0, 10), seed=seeds)
@settings(deadline=None, max_examples=25)
def test_simplex_etf_has_unit_rows_and_equal_cosines(classes, extra, seed):
    vertices = simplex_etf(
        classes, classes - 1 + extra, generator=generator(seed), dtype=torch.float64
    )
    assert vertices.shape == (classes, classes - 1 + extra)
    gram = gram_matrix(vertices)
    assert (torch.diagonal(gram) - 1).abs().max() < 1e-12
    assert (off_diagonal(gram) + 1 / (classes - 1)).abs().max() < 1e-12


def test_simplex_etf_orientation_is_uniform():
    """Each coordinate of the first vertex has mean 0 and variance 1/d over many draws."""
    source = generator()
    first = torch.stack([simplex_etf(3, 4, generator=source)[0] for _ in range(4000)])
    assert first.mean(0).abs().max() < 0.04
    assert (first.var(0) - 1 / 4).abs().max() < 0.02
    # QR without the sign correction would pin this sign.
    assert 0.4 < (first[:, 0] > 0).double().mean() < 0.6


def test_simplex_etf_dtype_and_generator():
    assert simplex_etf(3, 2).dtype == torch.float32
    assert simplex_etf(3, 2, dtype=torch.float64).dtype == torch.float64
    same = [simplex_etf(5, 7, generator=generator(1)) for _ in range(2)]
    assert torch.equal(*same)
    assert not torch.equal(same[0], simplex_etf(5, 7, generator=generator(2)))


@pytest.mark.parametrize(("classes", "dim"), [(5, 3), (2, 0), (100, 64)])
def test_no_room_says_what_fits(classes, dim):
    with pytest.raises(ValueError, match=f"holds at most {dim + 1} vertices") as error:
        simplex_etf(classes, dim)
    assert "welch_bound" in str(error.value)


def test_fewer_than_two_classes():
    with pytest.raises(ValueError, match="at least 2"):
        simplex_etf(1, 5)


@given(classes=st.integers(2, 8), extra=st.integers(0, 6), seed=seeds)
@settings(deadline=None, max_examples=20)
def test_nearest_etf_is_an_etf_and_nearer_than_turned_ones(classes, extra, seed):
    vectors = random_points(classes, classes - 1 + extra, seed=seed)
    nearest = nearest_etf(vectors)
    cosines = off_diagonal(gram_matrix(nearest))
    assert (cosines + 1 / (classes - 1)).abs().max() < 1e-9
    distance = (vectors - nearest).norm()
    dim = vectors.shape[1]
    for step in (1e-3, 1e-1):
        skew = step * random_points(dim, dim, seed=seed + 1)
        turn = torch.linalg.matrix_exp(skew - skew.T)
        assert (vectors - nearest @ turn).norm() >= distance - 1e-9


def test_nearest_etf_matches_the_closed_form_and_keeps_an_etf():
    vectors = random_points(5, 9)
    centred = vectors - vectors.mean(0)
    formula = (
        vectors.square().sum() + 5 - 2 * math.sqrt(5 / 4) * torch.linalg.svdvals(centred).sum()
    )
    squared = (vectors - nearest_etf(vectors)).square().sum()
    assert squared.item() == pytest.approx(formula.item(), abs=1e-10)
    etf = simplex_etf(5, 9, dtype=torch.float64)
    assert torch.allclose(nearest_etf(3 * etf + 1), etf, atol=1e-10)


def test_nearest_etf_of_two_points_is_exact_in_one_dimension():
    nearest = nearest_etf(torch.tensor([[2.0], [1.0]]))
    assert nearest.tolist() == [[pytest.approx(1.0)], [pytest.approx(-1.0)]]


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (torch.tensor([[1.0, math.nan], [0.0, 1.0]]), "NaN"),
        (torch.ones(1, 3), "at least 2"),
        (torch.ones(5, 3), "need dim >= 4"),
    ],
)
def test_nearest_etf_refuses(vectors, message):
    with pytest.raises(ValueError, match=message):
        nearest_etf(vectors)


@given(classes=st.integers(2, 8), extra=st.integers(0, 6), new=st.integers(1, 5), seed=seeds)
@settings(deadline=None, max_examples=20)
def test_frame_grows_keeping_old_rows_and_turning_old_vertices_equally(classes, extra, new, seed):
    frame = SimplexFrame.nearest(random_points(classes, classes + new + extra, seed=seed))
    grown = frame.grow(new, generator=generator(seed))
    assert torch.equal(grown.basis[:classes], frame.basis)
    identity = torch.eye(classes + new, dtype=torch.float64)
    assert (gram_matrix(grown.basis) - identity).abs().max() < 1e-10
    turn = (frame.vertices * grown.vertices[:classes]).sum(1)
    assert (turn - growth_cosine(classes, classes + new)).abs().max() < 1e-10
    # New vertices are orthogonal to every old vertex as it was before.
    assert (grown.vertices[classes:] @ frame.vertices.T).abs().max() < 1e-10


def test_growth_turns_no_more_than_any_other_etf():
    """The bound sum_k <e_k, e'_k> <= sqrt(K/(K-1)) sqrt(K'/(K'-1)) (K-1), attained by growth."""
    frame = SimplexFrame.nearest(random_points(4, 12))
    bound = math.sqrt(4 / 3) * math.sqrt(6 / 5) * 3
    grown = (frame.vertices * frame.grow(2).vertices[:4]).sum().item()
    assert grown == pytest.approx(bound, abs=1e-10)
    for seed in range(200):
        other = simplex_etf(6, 12, generator=generator(seed), dtype=torch.float64)[:4]
        assert (frame.vertices * other).sum() < bound


def test_frame_vertices_are_the_nearest_etf_of_normalised_means():
    means = random_points(5, 8) + 3
    centred = means - means.mean(0)
    directions = centred / centred.norm(dim=1, keepdim=True)
    vertices = SimplexFrame.nearest(means).vertices
    assert torch.allclose(vertices, nearest_etf(directions), atol=1e-9)


def test_frame_full_space_and_bad_bases():
    frame = SimplexFrame(torch.eye(3, dtype=torch.float64))
    with pytest.raises(ValueError, match="at most 0 more fit"):
        frame.grow(1)
    with pytest.raises(ValueError, match="at least 1"):
        frame.grow(0)
    with pytest.raises(ValueError, match="not orthonormal"):
        SimplexFrame(2 * torch.eye(3))
    with pytest.raises(ValueError, match="transposed"):
        SimplexFrame(torch.eye(4)[:, :2])
    with pytest.raises(ValueError, match="class mean 0 equals"):
        SimplexFrame.nearest(torch.tensor([[0.0, 0, 0], [1, 0, 0], [-1, 0, 0]]))
    with pytest.raises(ValueError, match="needs dim >= 4"):
        SimplexFrame.nearest(torch.randn(4, 3))


@pytest.mark.parametrize(
    ("old", "new", "value"),
    [(2, 4, 0.8165), (4, 6, 0.9487), (6, 8, 0.9759), (10, 100, 0.9535), (20, 200, 0.9771)],
)
def test_growth_cosine_by_hand(old, new, value):
    assert growth_cosine(old, new) == pytest.approx(value, abs=5e-5)
    middle = (old + new) // 2
    assert growth_cosine(old, middle) * growth_cosine(middle, new) == pytest.approx(
        growth_cosine(old, new)
    )


def test_growth_cosine_refuses_shrinking():
    with pytest.raises(ValueError, match="from 5 to 4"):
        growth_cosine(5, 4)


def test_bounds_hold_and_are_attained():
    simplex = simplex_etf(5, 4, dtype=torch.float64)
    assert coherence(simplex) == pytest.approx(welch_bound(5, 4), abs=1e-12)
    cross = torch.cat([torch.eye(4), -torch.eye(4)])
    assert off_diagonal(cosine_matrix(cross)).max() == rankin_bound(8, 4) == 0
    assert welch_bound(4, 4) == 0
    for seed in range(50):
        vectors = random_points(9, 4, seed=seed)
        assert coherence(vectors) >= welch_bound(9, 4)
        assert off_diagonal(cosine_matrix(vectors)).max() >= rankin_bound(9, 4)
    for bound in (welch_bound, rankin_bound):
        with pytest.raises(ValueError, match="at least 2"):
            bound(1, 4)


def test_cosine_matrix_names_a_zero_row():
    with pytest.raises(ValueError, match="row 1 is zero"):
        cosine_matrix(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))


def test_repel_stays_on_the_sphere_and_lowers_its_energy():
    start = random_points(3, 7, 5)
    path = repel(start, steps=100)
    assert path.shape == (101, 3, 7, 5)
    assert torch.allclose(path.norm(dim=-1), torch.ones(101, 3, 7, dtype=torch.float64))

    def energy(points: torch.Tensor) -> torch.Tensor:
        squared = (points.unsqueeze(-2) - points.unsqueeze(-3)).square().sum(-1)
        return -(squared + torch.eye(7)).log().sum((-1, -2))

    energies = torch.stack([energy(each) for each in path])
    assert (energies.diff(dim=0) < 1e-9).all()


def test_repel_refuses_no_steps():
    with pytest.raises(ValueError, match="steps is 0"):
        repel(random_points(3, 2), steps=0)


def test_shapes_are_checked_at_run_time_in_the_tests():
    with pytest.raises(TypeCheckError):
        off_diagonal(torch.zeros(2, 3))
