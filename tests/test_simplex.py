"""Simplex geometry: every construction against its definition, and against what it must not be."""

import math

import jaxtyping
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


# --- by hand, and as users meet it: without the run-time checks of shapes ------------------------


@pytest.fixture
def unchecked(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def test_repel_moves_two_points_as_worked_by_hand():
    # x - y = (1, -1), its square is 2, so the push is 1/2 and the step 0.2 * 1/2 * (1, -1).
    start = torch.eye(2, dtype=torch.float64)
    moved = torch.tensor([[1.1, -0.1], [-0.1, 1.1]], dtype=torch.float64) / math.sqrt(1.22)
    path = repel(torch.tensor([[3.0], [0.5]]) * start, steps=1)
    torch.testing.assert_close(path, torch.stack([start, moved]))
    # A push of 1 whatever the distance: a step of half the difference.
    moved = torch.tensor([[1.5, -0.5], [-0.5, 1.5]], dtype=torch.float64) / math.sqrt(2.5)
    path = repel(start, push=torch.ones_like, steps=1, step_size=0.5)
    torch.testing.assert_close(path[1], moved)
    # Each pair adds its own push: the middle one of three is pushed equally from both sides.
    fan = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, -1.0]], dtype=torch.float64)
    torch.testing.assert_close(repel(fan, steps=1)[1][1], fan[1])
    # Several starts at once are as many single ones.
    starts = random_points(2, 3, 4, 5)
    paths = repel(starts, steps=2)
    for i, j in [(0, 0), (0, 2), (1, 1)]:
        torch.testing.assert_close(paths[:, i, j], repel(starts[i, j], steps=2))
    assert repel(start).shape == (401, 2, 2)
    assert repel(start.float(), steps=1).dtype == torch.float32


def test_repel_refuses_what_has_no_direction_or_no_distance():
    with pytest.raises(ValueError, match=r"two points coincide, .* lower step_size, which is 0\.2"):
        repel(torch.ones(2, 3), steps=1, push=lambda s: 1 / (s - 1))
    with pytest.raises(ValueError, match="row 1 is zero and has no direction"):
        repel(torch.tensor([[1.0, 2.0], [0.0, 0.0]]))
    starts = torch.ones(2, 2, 3)
    starts[1, 1] = 0
    with pytest.raises(ValueError, match="row 3 is zero"):
        repel(starts)


def test_repel_needs_two_axes(unchecked):
    with pytest.raises(ValueError, match=r"points is \(3,\); expected \(points, dim\)"):
        repel(torch.ones(3))
    with pytest.raises(TypeError, match="int64; expected floating point"):
        repel(torch.ones(3, 2, dtype=torch.long))


def test_what_is_no_matrix_of_numbers_is_refused(unchecked):
    with pytest.raises(ValueError, match=r"vectors is \(3,\) of torch.float32; expected"):
        gram_matrix(torch.ones(3))
    with pytest.raises(ValueError, match=r"vectors is \(2, 2\) of torch.bool; expected"):
        gram_matrix(torch.ones(2, 2, dtype=torch.bool))
    assert gram_matrix(torch.tensor([[1, 2], [0, 3]])).tolist() == [[5, 6], [6, 9]]
    with pytest.raises(TypeError, match=r"vectors are torch.int64; .*vectors.float\(\)\?"):
        cosine_matrix(torch.ones(2, 2, dtype=torch.long))
    for shape in [(3,), (2, 2, 2), (2, 0)]:
        with pytest.raises(ValueError, match=r"; expected \(vectors, dim\)"):
            cosine_matrix(torch.ones(shape))
    with pytest.raises(ValueError, match="contains NaN or infinity"):
        cosine_matrix(torch.tensor([[math.inf, 1.0]]))
    for shape in [(2, 3), (4,), (2, 2, 2)]:
        with pytest.raises(ValueError, match="expected a square one"):
            off_diagonal(torch.ones(shape))


def test_off_diagonal_is_in_row_order():
    matrix = torch.arange(9.0).reshape(3, 3)
    assert off_diagonal(matrix).tolist() == [1, 2, 3, 5, 6, 7]


def test_one_vector_has_a_cosine_but_no_coherence():
    assert cosine_matrix(torch.tensor([[3.0, 4.0]])).tolist() == [[pytest.approx(1.0)]]
    # 3/5 and -4/5 with the axes: the largest in absolute value counts.
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, -4.0]])
    assert coherence(vectors) == pytest.approx(0.8)
    with pytest.raises(ValueError, match="got 1 vectors; expected at least 2"):
        coherence(torch.ones(1, 3))
    # In one dimension all are parallel.
    assert coherence(torch.tensor([[2.0], [-1.0]])) == 1


@pytest.mark.parametrize(
    ("count", "dim", "welch", "rankin"),
    [
        (2, 1, 1.0, -1.0),
        (2, 2, 0.0, -1.0),
        (3, 1, 1.0, 0.0),
        (3, 2, 0.5, -0.5),
        (4, 2, 1 / math.sqrt(3), 0.0),
        (7, 3, math.sqrt(4 / 18), 0.0),
        (4, 9, 0.0, -1 / 3),
    ],
)
def test_bounds_by_hand(count, dim, welch, rankin):
    assert welch_bound(count, dim) == pytest.approx(welch, rel=1e-14)
    assert rankin_bound(count, dim) == pytest.approx(rankin, rel=1e-14)


def test_bounds_need_a_dimension():
    for bound in (welch_bound, rankin_bound):
        with pytest.raises(ValueError, match="got 3 vectors in 0 dimensions"):
            bound(3, 0)


def test_growth_cosine_at_its_ends():
    assert growth_cosine(2, 2) == growth_cosine(7, 7) == 1
    with pytest.raises(ValueError, match="growing from 1 to 4 classes; need 2 <= num_old"):
        growth_cosine(1, 4)


def test_a_basis_may_be_off_by_rounding_and_no_more():
    basis = torch.eye(3, 4, dtype=torch.float64)
    # (1 + e)^2 - 1 is about 2e.
    assert torch.equal(SimplexFrame((1 + 4e-5) * basis).basis, (1 + 4e-5) * basis)
    with pytest.raises(ValueError, match=r"is 1.2e-04 away .* use SimplexFrame.nearest"):
        SimplexFrame((1 + 6e-5) * basis)
    with pytest.raises(ValueError, match="NaN"):
        SimplexFrame(math.nan * basis)
    with pytest.raises(ValueError, match="at least 2"):
        SimplexFrame(basis[:1])


def test_vertices_of_a_frame_by_hand():
    # K = 2: the rows minus their mean are (1/2, -1/2, 0) and its opposite, and sqrt(2) times that.
    frame = SimplexFrame(torch.eye(2, 3, dtype=torch.float64))
    half = 1 / math.sqrt(2)
    expected = torch.tensor([[half, -half, 0.0], [-half, half, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(frame.vertices, expected)


def test_nearest_frame_refuses_means_without_a_direction():
    for bad, message in [
        (torch.ones(3, 4), "class mean 0 equals"),  # all in one place
        (torch.tensor([[1.0, 0, 0], [0, 0, 0], [-1, 0, 0]]), "class mean 1 equals"),
        (torch.full((3, 3), math.inf), "NaN or infinity"),
        (torch.ones(1, 3), "at least 2"),
    ]:
        with pytest.raises(ValueError, match=message):
            SimplexFrame.nearest(bad)
    with pytest.raises(ValueError, match=r"means is \(5, 4\); .* dim >= 5: at most 4 fit — widen"):
        SimplexFrame.nearest(random_points(5, 4))
    # One class far nearer to the centre than another has a direction all the same.
    near = torch.tensor([[1.0, 0, 0], [1e-9, 1e-9, 0], [-1, 0, 0]], dtype=torch.float64)
    assert SimplexFrame.nearest(near).basis.dtype == torch.float64
    assert SimplexFrame.nearest(random_points(3, 3).float()).basis.dtype == torch.float32


def test_the_frame_does_not_depend_on_the_scale_of_the_means():
    means = random_points(4, 6)
    vertices = SimplexFrame.nearest(means).vertices
    for scale in (1e-9, 1e9):
        torch.testing.assert_close(SimplexFrame.nearest(scale * means).vertices, vertices)


def test_growth_is_drawn_from_the_generator_and_keeps_the_dtype():
    frame = SimplexFrame.nearest(random_points(3, 8).float())
    first, again, other = (frame.grow(2, generator=generator(seed)).basis for seed in (1, 1, 2))
    assert first.dtype == torch.float32
    assert torch.equal(first, again)
    assert (first - other).abs().max() > 0.05
    # As many as fit, and not one more.
    assert frame.grow(5).basis.shape == (8, 8)
    with pytest.raises(
        ValueError, match=r"from 3 to 9 vertices in 8 dimensions: .* at most 5 more"
    ):
        frame.grow(6)
    with pytest.raises(ValueError, match="num_new is 0; expected at least 1"):
        frame.grow(0)


def test_too_little_room_says_what_does_fit():
    message = r"5 classes need dim >= 4 .* dim = 3 holds at most 4 vertices\. .* up to 6 vectors"
    with pytest.raises(ValueError, match=message):
        simplex_etf(5, 3)
    with pytest.raises(ValueError, match=r"dim = -1 holds at most 1 vertices\. .* up to 0 vectors"):
        simplex_etf(3, -1)
    with pytest.raises(ValueError, match="num_classes is 1; a simplex needs at least 2 classes"):
        simplex_etf(1, 3)


def test_nearest_etf_keeps_the_dtype():
    assert nearest_etf(random_points(4, 3).float()).dtype == torch.float32
    assert nearest_etf(random_points(4, 3)).dtype == torch.float64
