"""What must hold for every input: properties of the geometry, and no surprises from hostile input.

Profiles are in conftest: `ci` by default, `HYPOTHESIS_PROFILE=long` for a night.
"""

import ast
import itertools
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from ncourse import continual, data, metrics, simplex, ufm
from ncourse.data import gaussian_mixture

FUZZ = Path(__file__).with_name("fuzz_hostile.py")
SEEDS = st.integers(0, 10**6)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def rotation(seed: int, dim: int) -> Tensor:
    return torch.linalg.qr(normal(seed, dim, dim)).Q


@st.composite
def samples(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """Features, labels in which every class occurs, and a classifier's weight."""
    classes, dim, seed = draw(st.integers(2, 5)), draw(st.integers(1, 6)), draw(SEEDS)
    extra = draw(st.lists(st.integers(0, classes - 1), min_size=classes, max_size=20))
    labels = torch.tensor([*range(classes), *extra])
    means, weight = normal(seed, classes, dim), normal(seed + 1, classes, dim)
    spread = draw(st.sampled_from([1.0, 1e-2, 1e-4]))
    return means[labels] + spread * normal(seed + 2, len(labels), dim), labels, weight


def same(one: metrics.CollapseReport, other: metrics.CollapseReport, tolerance: float) -> None:
    fields = other.as_dict()
    for name, value in one.as_dict().items():
        near = math.isclose(value, fields[name], rel_tol=tolerance, abs_tol=tolerance)
        assert near or (math.isnan(value) and math.isnan(fields[name])), (name, value, fields[name])


# --- metrics ------------------------------------------------------------------------------------


@given(samples(), st.sampled_from([*metrics.CONVENTIONS]), SEEDS)
def test_a_rotation_changes_nothing(made, convention, seed):
    features, labels, weight = made
    turn = rotation(seed, features.shape[1])
    before = metrics.measure(features, labels, weight, convention=convention)
    after = metrics.measure(features @ turn, labels, weight @ turn, convention=convention)
    # Where means nearly coincide in a direction, NC1 divides by next to nothing.
    assume(before.nc2_condition < 1e3 or before.rank == min(len(weight) - 1, features.shape[1]))
    assume(before.pinv_trace < 1e3)
    same(before, after, 1e-6)


@given(samples(), SEEDS, st.floats(1e-3, 1e3))
def test_order_scale_and_place_do_not_matter(made, seed, scale):
    features, labels, _ = made
    classes = int(labels.max()) + 1
    before = metrics.measure(features, labels, None, num_classes=classes)
    assume(before.pinv_trace < 1e3)
    order = torch.randperm(len(labels), generator=generator(seed))
    same(before, metrics.measure(features[order], labels[order], None, num_classes=classes), 1e-9)
    moved = scale * features + normal(seed, features.shape[1])
    after = metrics.measure(moved, labels, None, num_classes=classes)
    for name in ("nc1", "trace_ratio", "cdnv", "nc2_equinorm", "nc2_equiangular"):
        one, other = getattr(before, name), getattr(after, name)
        assert math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-9), (name, one, other)


@given(samples(), SEEDS)
def test_names_of_classes_do_not_matter(made, seed):
    features, labels, weight = made
    before = metrics.measure(features, labels, weight)
    assume(before.pinv_trace < 1e3)
    new = torch.randperm(len(weight), generator=generator(seed))
    renamed = torch.empty_like(weight)
    renamed[new] = weight
    after = metrics.measure(features, new[labels], renamed)
    same(before, after, 1e-6)


@given(samples(), st.lists(st.integers(0, 30), max_size=4))
def test_a_stream_in_any_pieces_is_the_whole(made, cuts):
    features, labels, _ = made
    classes = int(labels.max()) + 1
    whole = metrics.measure(features, labels, None, num_classes=classes)
    assume(whole.pinv_trace < 1e3)
    metric = metrics.CollapseMetric(classes)
    places = [0, *sorted(min(cut, len(labels)) for cut in cuts), len(labels)]
    for start, end in itertools.pairwise(places):
        metric.update(features[start:end], labels[start:end])
    same(whole, metric.compute(), 1e-5)


@given(samples())
def test_nc1_is_what_the_formula_says(made):
    features, labels, weight = made
    report = metrics.measure(features, labels, weight)
    means = torch.stack([features[labels == k].mean(0) for k in range(len(weight))])
    centred = means - means.mean(0)
    residual = features - means[labels]
    within = residual.T @ residual / len(labels)
    between = centred.T @ centred / len(means)
    values = torch.linalg.eigvalsh(between)
    assume(values[-min(len(means) - 1, len(between))] > 1e-4 * values[-1])
    expected = torch.trace(within @ torch.linalg.pinv(between, rtol=1e-9)).item()
    assert math.isclose(report.pinv_trace, expected, rel_tol=1e-5)
    ratio = (torch.trace(within) / torch.trace(between)).item()
    assert math.isclose(report.trace_ratio, ratio, rel_tol=1e-8)


@given(samples())
def test_nearest_mean_is_the_least_distance(made):
    features, _, means = made
    chosen = metrics.nearest_class_mean(features, means)
    distances = torch.cdist(features, means)
    rows = torch.arange(len(features))
    assert torch.all(distances[rows, chosen] <= distances.min(1).values + 1e-9)


# --- simplex ------------------------------------------------------------------------------------


@given(st.integers(2, 8), st.integers(0, 5), SEEDS)
def test_a_simplex_has_one_cosine_and_the_nearest_to_it_is_itself(classes, room, seed):
    vertices = simplex.simplex_etf(
        classes, classes - 1 + room, generator=generator(seed), dtype=torch.float64
    )
    cosines = simplex.off_diagonal(simplex.cosine_matrix(vertices))
    assert (cosines + 1 / (classes - 1)).abs().max() < 1e-12
    assert vertices.sum(0).abs().max() < 1e-12
    assert (simplex.nearest_etf(3 * vertices) - vertices).abs().max() < 1e-10
    assert metrics.measure(vertices, torch.arange(classes), vertices).nc3 < 1e-12


@given(st.integers(2, 6), st.integers(0, 4), SEEDS)
def test_no_other_simplex_is_nearer(classes, room, seed):
    dim = classes - 1 + room
    vectors = normal(seed, classes, dim)
    nearest = simplex.nearest_etf(vectors)
    other = simplex.simplex_etf(classes, dim, generator=generator(seed), dtype=torch.float64)
    assert (vectors - nearest).norm() <= (vectors - other).norm() + 1e-9
    again = simplex.nearest_etf(nearest)
    assert (again - nearest).abs().max() < 1e-9


@given(st.integers(2, 6), st.integers(1, 4), st.integers(0, 3), SEEDS)
def test_growing_turns_all_old_vertices_by_one_angle(classes, new, room, seed):
    means = normal(seed, classes, classes + new + room)
    frame = simplex.SimplexFrame.nearest(means)
    grown = frame.grow(new, generator=generator(seed))
    cosines = (frame.vertices * grown.vertices[:classes]).sum(1)
    expected = simplex.growth_cosine(classes, classes + new)
    assert (cosines - expected).abs().max() < 1e-9
    middle = simplex.growth_cosine(classes, classes + 1)
    rest = simplex.growth_cosine(classes + 1, classes + new)
    assert math.isclose(middle * rest, expected, rel_tol=1e-12)


@given(st.integers(2, 9), st.integers(1, 6), SEEDS)
def test_bounds_hold_for_every_set_of_vectors(count, dim, seed):
    cosines = simplex.off_diagonal(simplex.cosine_matrix(normal(seed, count, dim)))
    assert cosines.max() >= simplex.rankin_bound(count, dim) - 1e-9
    assert cosines.abs().max() >= simplex.welch_bound(count, dim) - 1e-9
    assert cosines.mean() >= -1 / (count - 1) - 1e-9


@given(st.floats(-150, 150), SEEDS)
def test_cosines_do_not_depend_on_lengths_however_extreme(exponent, seed):
    vectors = normal(seed, 4, 3)
    scaled = vectors * 10.0**exponent
    assert (simplex.cosine_matrix(scaled) - simplex.cosine_matrix(vectors)).abs().max() < 1e-9


# --- the unconstrained features model -----------------------------------------------------------


@given(
    st.integers(2, 5),
    st.integers(1, 4),
    st.integers(1, 4),
    st.floats(1e-3, 0.5),
    st.floats(1e-3, 0.5),
    st.sampled_from(["cross-entropy", "mse"]),
    SEEDS,
)
def test_nothing_is_below_the_closed_form_and_it_is_stationary(
    classes, count, room, lambda_w, lambda_h, loss, seed
):
    problem = ufm.UFM(
        num_classes=classes, samples_per_class=count, dim=classes + room, lambda_w=lambda_w,
        lambda_h=lambda_h, loss=loss,
    )  # fmt: skip
    best = ufm.optimum(problem, seed=seed % 100)
    point = best.point

    def at(features: Tensor, weight: Tensor) -> Tensor:
        return ufm.objective(problem, features=features, weight=weight)

    assert math.isclose(at(point.features, point.weight).item(), best.loss, rel_tol=1e-9)
    features = point.features.clone().requires_grad_()
    weight = point.weight.clone().requires_grad_()
    gradients = torch.autograd.grad(at(features, weight), (features, weight))
    assert max(gradient.abs().max().item() for gradient in gradients) < 1e-7
    for size in (1e-3, 0.1, 1.0):
        other = at(
            point.features + size * normal(seed, *point.features.shape),
            point.weight + size * normal(seed + 1, *point.weight.shape),
        )
        assert other.item() >= best.loss - 1e-12
    if problem.shrinkage >= 1:
        assert point.weight.abs().max() == 0


# --- continual ----------------------------------------------------------------------------------


@given(st.integers(1, 6), SEEDS)
def test_summaries_of_accuracies_agree_with_each_other(tasks, seed):
    matrix = np.tril(np.random.default_rng(seed).uniform(size=(tasks, tasks)))
    matrix[np.triu_indices(tasks, 1)] = np.nan
    final, anytime = continual.final_accuracy(matrix), continual.anytime_accuracy(matrix)
    forgotten, transfer = continual.forgetting(matrix), continual.backward_transfer(matrix)
    assert 0 <= final <= 1
    assert 0 <= anytime <= 1
    assert 0 <= forgotten <= 1
    assert forgotten >= -transfer - 1e-12  # the best ever is at least the first


@given(st.integers(2, 6), st.integers(1, 6), SEEDS)
def test_a_stream_of_tasks_loses_no_sample(classes, tasks, seed):
    assume(tasks <= classes)
    dataset = gaussian_mixture(classes, 2, train_per_class=3, test_per_class=2, seed=seed)
    stream = continual.Stream.split(dataset, tasks, seed=seed)
    assert [k for task in stream.tasks for k in task.classes] == list(range(classes))
    rows = torch.cat([task.inputs for task in stream.tasks])
    assert sorted(map(tuple, rows.tolist())) == sorted(map(tuple, dataset.inputs.tolist()))
    for task in stream.tasks:
        assert set(task.labels.tolist()) == set(task.classes)


# --- hostile input ------------------------------------------------------------------------------

NOT_FUZZED = {
    "metrics.Captured": "what `capture` returns, plain data",
    "metrics.Convention": "a line of `CONVENTIONS`, plain data",
    "metrics.ByClass": "what `by_class` returns, plain data",
    "data.Grammar": "what `grammar` returns, plain data",
    "data.grammar": "takes nothing",
    "data.python_docs": "takes a number of words; tests/test_data.py gives it bad ones",
    "continual.Diverged": "an error",
    "continual.exemplar_directions": "takes a learner in the middle of a stream",
    "continual.herding": "takes features that a network has made",
    "continual.task_accuracy": "takes a strategy and a learner",
    "data.in_memory": "takes a DataLoader; tests/test_data.py gives it good and bad ones",
    "ufm.Curvature": "what `curvature` returns",
    "ufm.LayerPeeled": "what `solve_layer_peeled` returns",
    "ufm.LossDecomposition": "what `decompose_mse` returns",
    "ufm.Optimum": "what `optimum` returns",
    "ufm.Solution": "what `solve` returns",
    "continual.Run": "what `learn` returns",
}
"""Public names that the fuzz script does not call, each with its reason."""


def test_every_public_name_is_fuzzed_or_has_its_reason():
    tree = ast.parse(FUZZ.read_text(encoding="utf-8"))
    used = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    public = {
        f"{module.__name__.removeprefix('ncourse.')}.{name}"
        for module in (simplex, metrics, ufm, data, continual)
        for name in module.__all__
    }
    assert public - used == set(NOT_FUZZED)


def test_hostile_input_gets_an_answer_or_an_error_that_says_something():
    examples = {"long": "10000", "whole": "120"}.get(os.environ.get("HYPOTHESIS_PROFILE", ""), "20")
    result = subprocess.run(
        [sys.executable, str(FUZZ), examples], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.float32])
def test_labels_that_torch_would_take_for_a_mask_are_refused(dtype):
    made = gaussian_mixture(3, 2, train_per_class=2, test_per_class=1)
    with pytest.raises(TypeError, match=r"\blabels\b"):
        type(made)(
            "d", made.inputs, made.labels.to(dtype), made.test_inputs, made.test_labels,
            made.class_names,
        )  # fmt: skip


def test_features_too_small_or_too_large_to_square_are_named_or_measured():
    labels = torch.arange(6) % 2
    tiny = 1e-310 * normal(0, 6, 3)
    assert metrics.measure(tiny, labels, None, num_classes=2).nc1 == math.inf
    metric = metrics.CollapseMetric(2)
    metric.update(tiny, labels)
    assert metric.compute().nc1 == math.inf
    with pytest.raises(ValueError, match="too large"):
        metrics.measure(1e200 * normal(0, 6, 3), labels, None, num_classes=2)
    metric = metrics.CollapseMetric(2)
    metric.update((1e30 * normal(0, 6, 3)).float(), labels)
    with pytest.raises(ValueError, match="too large"):
        metric.compute()


def test_a_half_precision_zero_has_no_direction_and_no_nan():
    half = torch.zeros(2, 3, dtype=torch.float16)
    assert continual.dot_regression(half, half).item() == 0.5
