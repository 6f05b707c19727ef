"""The unconstrained features model: closed forms against a solver that knows nothing of them."""

import math
from dataclasses import replace

import jaxtyping
import pytest
import torch

from ncourse.simplex import cosine_matrix, gram_matrix, off_diagonal, simplex_etf
from ncourse.ufm import (
    UFM,
    Curvature,
    Point,
    Solution,
    critical_point,
    curvature,
    decompose_mse,
    margin,
    minority_cosine,
    nonnegative_margins,
    objective,
    optimum,
    plane,
    random_point,
    solve,
    solve_layer_peeled,
)

K, N_PER_CLASS, DIM, LAMBDA = 4, 10, 8, 5e-3


def model(**changes):
    settings = {
        "num_classes": K,
        "samples_per_class": N_PER_CLASS,
        "dim": DIM,
        "lambda_w": LAMBDA,
        "lambda_h": LAMBDA,
    }
    return UFM(**(settings | changes))


def loss_of(problem, point):
    return objective(problem, features=point.features, weight=point.weight, bias=point.bias).item()


MAIN_CASES = {
    "cross-entropy": {"loss": "cross-entropy"},
    "mse, no bias": {"loss": "mse"},
    "mse, free bias": {"loss": "mse", "lambda_b": 0.0},
}
BIAS_CASES = {
    "cross-entropy, free bias": {"loss": "cross-entropy", "lambda_b": 0.0},
    "cross-entropy, penalised bias": {"loss": "cross-entropy", "lambda_b": 0.01},
    "mse, cheap bias": {"loss": "mse", "lambda_b": 0.01},
    "mse, bias": {"loss": "mse", "lambda_b": 0.1},
    "mse, dear bias": {"loss": "mse", "lambda_b": 1.0},
}
LOSSES = [pytest.param(case, id=name) for name, case in MAIN_CASES.items()]
ALL_LOSSES = LOSSES + [pytest.param(case, id=name) for name, case in BIAS_CASES.items()]


# --- the objective -----------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["cross-entropy", "mse"])
@pytest.mark.parametrize("lambda_b", [None, 0.0, 0.3])
@pytest.mark.parametrize("samples_per_class", [2, (3, 1, 2)])
def test_objective_is_the_sum_written_out(loss, lambda_b, samples_per_class):
    problem = UFM(
        num_classes=3,
        samples_per_class=samples_per_class,
        dim=2,
        lambda_w=0.1,
        lambda_h=0.2,
        lambda_b=lambda_b,
        loss=loss,
    )
    point = random_point(problem, seed=3)
    labels = [0, 0, 1, 1, 2, 2] if samples_per_class == 2 else [0, 0, 0, 1, 2, 2]
    weight, bias = point.weight.tolist(), [0.0] * 3 if point.bias is None else point.bias.tolist()
    total = 0.0
    for feature, label in zip(point.features.tolist(), labels, strict=True):
        rows = zip(weight, bias, strict=True)
        logits = [w[0] * feature[0] + w[1] * feature[1] + b for w, b in rows]
        if loss == "mse":
            total += sum((z - (k == label)) ** 2 for k, z in enumerate(logits)) / 2
        else:
            total += math.log(sum(math.exp(z) for z in logits)) - logits[label]
    expected = total / 6
    expected += 0.05 * sum(w**2 for row in weight for w in row)
    expected += 0.1 * sum(h**2 for row in point.features.tolist() for h in row)
    expected += (lambda_b or 0.0) / 2 * sum(b**2 for b in bias)
    assert loss_of(problem, point) == pytest.approx(expected, rel=1e-12)


# --- closed form against solver ----------------------------------------------------------------


@pytest.mark.parametrize("case", LOSSES)
def test_twenty_random_starts_reach_the_closed_form(case):
    problem = model(**case)
    best = optimum(problem)
    for seed in range(20):
        solution = solve(problem, start=random_point(problem, seed=seed))
        assert solution.converged
        assert abs(solution.loss - best.loss) <= 1e-10 * best.loss


@pytest.mark.parametrize("case", ALL_LOSSES)
@pytest.mark.parametrize(("lambda_w", "lambda_h"), [(5e-3, 1e-3), (1e-2, 5e-2), (0.1, 0.2)])
def test_solver_finds_the_loss_and_the_geometry_of_the_closed_form(case, lambda_w, lambda_h):
    problem = model(**case, lambda_w=lambda_w, lambda_h=lambda_h)
    best = optimum(problem)
    assert loss_of(problem, best.point) == pytest.approx(best.loss, rel=1e-13)
    for seed in range(2):
        found = solve(problem, start=random_point(problem, seed=seed))
        assert found.converged
        assert found.loss == pytest.approx(best.loss, rel=1e-10)
        # Gram matrices do not see the rotation that the loss leaves free.
        for ours, theirs in (
            (best.point.weight, found.point.weight),
            (best.point.features, found.point.features),
        ):
            torch.testing.assert_close(gram_matrix(ours), gram_matrix(theirs), atol=1e-4, rtol=0)
        torch.testing.assert_close(
            best.point.features @ best.point.weight.T,
            found.point.features @ found.point.weight.T,
            atol=1e-4,
            rtol=0,
        )
        if best.point.bias is not None:
            centred = found.point.bias
            if problem.loss == "cross-entropy":  # a free constant is invisible to the softmax
                centred = centred - centred.mean()
            torch.testing.assert_close(best.point.bias, centred, atol=1e-5, rtol=0)


def test_loss_by_hand():
    # K = 2, n = 1, c = 0.1, margin 0.8: error 1/4 * 2 * 0.2^2, penalty 0.1 * (0.8 + 0.8).
    problem = UFM(num_classes=2, samples_per_class=1, dim=2, lambda_w=0.1, lambda_h=0.1, loss="mse")
    assert optimum(problem).loss == pytest.approx(0.18, rel=1e-14)
    # With a free bias only one direction is left: half of both.
    assert optimum(replace(problem, lambda_b=0.0)).loss == pytest.approx(0.09, rel=1e-14)
    # Cross-entropy: margin log(10 - 1) = log 9, loss log(1 + 1/9) + 0.1 log 9.
    entropy = optimum(replace(problem, loss="cross-entropy"))
    assert entropy.margin == pytest.approx(math.log(9), rel=1e-14)
    assert entropy.loss == pytest.approx(math.log(10 / 9) + 0.1 * math.log(9), rel=1e-14)


@pytest.mark.parametrize("case", ALL_LOSSES)
@pytest.mark.parametrize("at", [1.0, 1.01, 3.0])
def test_strong_penalties_collapse_everything_to_zero(case, at):
    penalty = at / (K * math.sqrt(N_PER_CLASS))
    problem = model(**case, lambda_w=penalty, lambda_h=penalty)
    if at == 1.0:  # rounding may leave K c at 1 - 1e-16: then the optimum is that small
        assert margin(problem) <= 1e-14
        return
    best = optimum(problem)
    assert best.margin == 0.0
    assert best.point.weight.count_nonzero() == 0
    assert best.point.features.count_nonzero() == 0
    found = solve(problem, start=random_point(problem, seed=1))
    assert found.loss == pytest.approx(best.loss, rel=1e-10)
    assert found.point.weight.norm() < 1e-3


def test_just_below_the_threshold_nothing_is_zero():
    penalty = 0.99 / (K * math.sqrt(N_PER_CLASS))
    problem = model(lambda_w=penalty, lambda_h=penalty)
    found = solve(problem, start=random_point(problem, seed=1))
    assert found.point.weight.norm() > 0.5
    assert found.loss == pytest.approx(optimum(problem).loss, rel=1e-10)


@pytest.mark.parametrize("case", LOSSES)
def test_norms_follow_the_formula_over_a_sweep_of_penalties(case):
    for lambda_w, lambda_h in [(1e-4, 1e-4), (2e-3, 5e-4), (1e-2, 4e-2)]:
        problem = model(**case, lambda_w=lambda_w, lambda_h=lambda_h)
        found = solve(problem, start=random_point(problem, seed=0)).point
        c = math.sqrt(N_PER_CLASS * lambda_w * lambda_h)
        scale = math.sqrt(N_PER_CLASS * lambda_h / lambda_w)
        if problem.loss == "cross-entropy":
            expected = math.log(1 / c - K + 1) * (K - 1) / K * scale
        elif problem.lambda_b is None:
            expected = (1 - K * c) * scale
        else:
            expected = (1 - K * c) * (K - 1) / K * scale
        squared = found.weight.square().sum(1)
        torch.testing.assert_close(squared, torch.full_like(squared, expected), rtol=1e-3, atol=0)
        squared = found.features.square().sum(1)
        expected *= lambda_w / (N_PER_CLASS * lambda_h)
        torch.testing.assert_close(squared, torch.full_like(squared, expected), rtol=1e-3, atol=0)


def cosines_of_optimum(problem):
    return off_diagonal(cosine_matrix(optimum(problem).point.weight))


def test_the_frame_is_a_simplex_or_orthogonal_by_the_price_of_the_bias():
    simplex = torch.full((K * (K - 1),), -1 / (K - 1), dtype=torch.float64)
    for problem in (model(), model(loss="mse", lambda_b=0.0)):
        torch.testing.assert_close(cosines_of_optimum(problem), simplex)
    orthogonal = cosines_of_optimum(model(loss="mse"))
    torch.testing.assert_close(orthogonal, torch.zeros_like(simplex), atol=1e-12, rtol=0)
    # The bias stops being worth its price at lambda_b / (1 + lambda_b) = K c.
    shrinkage = model(loss="mse").shrinkage
    threshold = shrinkage / (1 - shrinkage)
    torch.testing.assert_close(
        cosines_of_optimum(model(loss="mse", lambda_b=0.999 * threshold)), simplex
    )
    between = cosines_of_optimum(model(loss="mse", lambda_b=1.1 * threshold))
    assert (between > simplex[0] + 1e-3).all()
    assert (between < -1e-3).all()


def test_features_are_parallel_to_their_classifier_row_and_the_same_within_a_class():
    problem = model(lambda_w=5e-3, lambda_h=1e-3)
    found = solve(problem, start=random_point(problem, seed=0)).point
    ratio = math.sqrt(problem.lambda_w / (N_PER_CLASS * problem.lambda_h))
    torch.testing.assert_close(
        found.features, ratio * found.weight[problem.labels], atol=1e-4, rtol=0
    )


def test_the_smallest_dimension_of_each_frame():
    simplex = optimum(model(dim=K - 1))
    assert simplex.loss == pytest.approx(optimum(model()).loss)
    orthogonal = optimum(model(dim=K, loss="mse"))
    assert orthogonal.loss == pytest.approx(optimum(model(loss="mse")).loss)
    with pytest.raises(ValueError, match=r"dim is 2; .* a simplex and needs dim >= 3"):
        optimum(model(dim=K - 2))
    with pytest.raises(ValueError, match=r"dim is 2; .* a simplex and needs dim >= 3"):
        optimum(model(dim=K - 2, loss="mse", lambda_b=0.0))
    with pytest.raises(ValueError, match=r"dim is 3; .* an orthogonal frame and needs dim >= 4"):
        optimum(model(dim=K - 1, loss="mse"))
    # Where the optimum is zero, there is nothing to make room for.
    assert optimum(model(dim=1, lambda_w=1.0, lambda_h=1.0)).loss == pytest.approx(math.log(K))


def test_the_seed_turns_the_optimum_and_changes_nothing_else():
    first, again, other = optimum(model()), optimum(model()), optimum(model(), seed=1)
    assert torch.equal(first.point.weight, again.point.weight)
    assert not torch.allclose(first.point.weight, other.point.weight, atol=0.1)
    torch.testing.assert_close(gram_matrix(first.point.weight), gram_matrix(other.point.weight))


# --- the landscape -----------------------------------------------------------------------------


def spare_direction_eigenvalue(problem, point):
    """Least curvature in a dimension that neither features nor weight use, for lambda_w = lambda_h.

    There the loss is lambda/2 (|u|^2 + |v|^2) + u^T G v, with G its gradient in the logits.
    """
    logits = (point.features @ point.weight.T).requires_grad_()
    if problem.loss == "mse":
        targets = torch.nn.functional.one_hot(problem.labels, K)
        fit = (logits - targets).square().sum() / (2 * problem.num_samples)
    else:
        fit = torch.nn.functional.cross_entropy(logits, problem.labels)
    (slope,) = torch.autograd.grad(fit, logits)
    return (problem.lambda_w - torch.linalg.matrix_norm(slope, 2)).item()


@pytest.mark.parametrize(
    ("rank", "gap", "num_negative"), [(0, 1.14329, 24), (1, 0.55015, 14), (2, 0.037676, 6)]
)
def test_critical_points_of_low_rank_are_strict_saddles(rank, gap, num_negative):
    problem = model()
    saddle = critical_point(problem, rank)
    assert torch.linalg.matrix_rank(saddle.weight) == rank
    assert solve(problem, start=saddle).iterations == 0  # its gradient is zero: it stays
    assert loss_of(problem, saddle) - optimum(problem).loss == pytest.approx(gap, rel=1e-4)
    bend = curvature(problem, saddle)
    assert bend.least == pytest.approx(spare_direction_eigenvalue(problem, saddle), rel=1e-6)
    assert bend.num_negative() == num_negative
    assert bend.least < -1e-3


def test_the_least_eigenvalue_at_the_origin_has_a_formula():
    for problem in (model(), model(loss="mse"), model(num_classes=3, samples_per_class=4)):
        expected = LAMBDA - 1 / (problem.num_classes * math.sqrt(problem.counts[0]))
        bend = curvature(problem, critical_point(problem, 0))
        assert bend.least == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("case", ALL_LOSSES)
def test_no_way_down_from_the_optimum(case):
    bend = curvature(model(**case), optimum(model(**case)).point)
    assert bend.least > -1e-12
    assert bend.num_negative() == 0
    assert (bend.eigenvalues.abs() < 1e-9).sum() >= DIM * (DIM - 1) // 2 - 10  # rotations


def test_curvature_is_the_second_difference_along_its_direction():
    problem = model(lambda_b=0.01)
    point = random_point(problem, seed=2, scale=0.3)
    bend = curvature(problem, point)
    step = 1e-3
    line = torch.tensor([-step, 0.0, step], dtype=torch.float64)
    losses = plane(
        problem, centre=point, first=bend.direction, second=bend.direction, coordinates=line
    )
    # Entries (0, 1), (1, 1), (2, 1) lie on the line along the direction.
    second_difference = (losses[0, 1] - 2 * losses[1, 1] + losses[2, 1]) / step**2
    assert second_difference.item() == pytest.approx(bend.least, rel=1e-3)


@pytest.mark.parametrize("dim", [1, 2])
def test_too_few_dimensions_end_where_more_dimensions_have_a_saddle(dim):
    narrow = model(dim=dim)
    saddle_loss = loss_of(model(), critical_point(model(), dim))
    for seed in range(5):
        stuck = solve(narrow, start=random_point(narrow, seed=seed))
        assert stuck.converged
        assert stuck.loss == pytest.approx(saddle_loss, rel=1e-10)


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_a_nudge_off_a_saddle_reaches_the_optimum(rank):
    problem = model()
    saddle, nudge = critical_point(problem, rank), random_point(problem, seed=5, scale=1e-3)
    start = Point(saddle.features + nudge.features, saddle.weight + nudge.weight)
    assert solve(problem, start=start).loss == pytest.approx(optimum(problem).loss, rel=1e-10)


def test_plane_passes_through_the_points_it_is_given():
    problem = model()
    best, saddle = optimum(problem).point, critical_point(problem, 1)
    origin = critical_point(problem, 0)
    losses = plane(
        problem,
        centre=origin,
        first=best,
        second=saddle,
        coordinates=torch.tensor([0.0, 1.0], dtype=torch.float64),
    )
    assert losses[0, 0].item() == pytest.approx(math.log(K))
    assert losses[1, 0].item() == pytest.approx(loss_of(problem, best))
    assert losses[0, 1].item() == pytest.approx(loss_of(problem, saddle))


def test_a_plane_is_the_loss_at_the_points_of_a_sum():
    # Far from the origin: there a point and its opposite have the same loss.
    problem = model(num_classes=3, samples_per_class=2, dim=2, lambda_b=0.1)
    points = [random_point(problem, seed=seed) for seed in range(3)]
    coordinates = torch.tensor([-1.0, 0.25, 2.0], dtype=torch.float64)
    losses = plane(
        problem, centre=points[0], first=points[1], second=points[2], coordinates=coordinates
    )
    for i, s in enumerate(coordinates):
        for j, t in enumerate(coordinates):
            tensors = [
                centre + s * first + t * second
                for centre, first, second in zip(
                    *((point.features, point.weight, point.bias) for point in points), strict=True
                )
            ]
            assert losses[i, j].item() == pytest.approx(loss_of(problem, Point(*tensors)))


def test_gradient_descent_from_a_small_simplex_stays_symmetric():
    problem = model()
    frame = simplex_etf(K, DIM, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    features = (0.03 * frame[problem.labels]).requires_grad_()
    weight = (0.01 * frame).requires_grad_()
    for _ in range(400):
        loss = objective(problem, features=features, weight=weight)
        for tensor, slope in zip(
            (features, weight), torch.autograd.grad(loss, (features, weight)), strict=True
        ):
            tensor.data -= slope
    assert off_diagonal(cosine_matrix(weight.detach())).add(1 / (K - 1)).abs().max() < 1e-12
    assert loss.item() == pytest.approx(optimum(problem).loss, rel=1e-6)


# --- central path ------------------------------------------------------------------------------


def random_classifier(num_classes, dim, generator):
    weight = torch.randn(num_classes, dim, generator=generator, dtype=torch.float64)
    return weight, torch.randn(num_classes, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("counts", [[7, 7, 7, 7], [1, 20, 3, 9]])
@pytest.mark.parametrize("penalty", [2.5e-3, 0.5])
@pytest.mark.parametrize("dim", [2, 6, 60])
def test_the_decomposition_is_an_identity(counts, penalty, dim):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(4).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    features = 1 + torch.randn(len(labels), dim, generator=generator, dtype=torch.float64)
    weight, bias = random_classifier(4, dim, generator)
    parts = decompose_mse(
        features=features, labels=labels, weight=weight, bias=bias, penalty=penalty
    )
    assert parts.nc1 + parts.nc23 + parts.perpendicular == pytest.approx(parts.loss, rel=1e-12)
    error = features @ weight.T + bias - torch.nn.functional.one_hot(labels, 4)
    direct = error.square().sum(1).mean() + penalty * (weight.square().sum() + bias.square().sum())
    assert parts.loss == pytest.approx(direct.item() / 2, rel=1e-12)
    assert min(parts.nc1, parts.nc23, parts.perpendicular) > 0
    # The best classifier is on the central path, and beats the one given.
    at_best = decompose_mse(
        features=features,
        labels=labels,
        weight=parts.best_weight,
        bias=parts.best_bias,
        penalty=penalty,
    )
    assert abs(at_best.perpendicular) <= 1e-12 * parts.loss
    assert at_best.loss < parts.loss


def test_the_parts_are_those_of_the_paper_when_classes_are_equal():
    generator = torch.Generator().manual_seed(1)
    num_classes, per_class, dim, penalty = 4, 7, 6, 0.05
    features = torch.randn(num_classes, per_class, dim, generator=generator, dtype=torch.float64)
    weight, bias = random_classifier(num_classes, dim, generator)
    parts = decompose_mse(
        features=features.reshape(-1, dim),
        labels=torch.arange(num_classes).repeat_interleave(per_class),
        weight=weight,
        bias=bias,
        penalty=penalty,
    )
    # Transcribed, with the paper's shapes: M is (d, C).
    eye = torch.eye(dim, dtype=torch.float64)
    m = features.mean(1).T
    mu = m.mean(1, keepdim=True)
    within = (features - features.mean(1, keepdim=True)).reshape(-1, dim)
    sigma_w = within.T @ within / len(within)
    sigma_t = sigma_w + (m - mu) @ (m - mu).T / num_classes
    moment = sigma_t + penalty / (1 + penalty) * mu @ mu.T + penalty * eye
    w_ls = (m.T - mu.T / (1 + penalty)) @ torch.linalg.inv(moment) / num_classes
    b_ls = (1 / num_classes - w_ls @ mu) / (1 + penalty)
    nc1 = torch.trace(w_ls @ (sigma_w + penalty * eye) @ w_ls.T) + penalty * b_ls.square().sum()
    nc23 = (w_ls @ m + b_ls - torch.eye(num_classes)).square().sum() / num_classes
    torch.testing.assert_close(parts.best_weight, w_ls)
    torch.testing.assert_close(parts.best_bias, b_ls[:, 0])
    assert parts.nc1 == pytest.approx(nc1.item() / 2, rel=1e-12)
    assert parts.nc23 == pytest.approx(nc23.item() / 2, rel=1e-12)


def test_decomposition_takes_the_tensors_of_a_network():
    layer = torch.nn.Linear(3, 2)
    features = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    parts = decompose_mse(
        features=features.requires_grad_(),
        labels=torch.tensor([0, 1] * 5),
        weight=layer.weight,
        bias=layer.bias,
        penalty=1e-2,
    )
    assert not parts.best_weight.requires_grad
    assert parts.nc1 + parts.nc23 + parts.perpendicular == pytest.approx(parts.loss, rel=1e-12)


# --- imbalance ---------------------------------------------------------------------------------


def test_minority_classifiers_merge_as_imbalance_grows():
    cosines = []
    for ratio in (1, 3, 10, 30, 1000):
        counts = [ratio] * 5 + [1] * 5
        peeled = solve_layer_peeled(samples_per_class=counts, dim=12)
        cosines.append(minority_cosine(peeled.weight, counts))
    assert cosines[0] == pytest.approx(-1 / 9, abs=1e-4)
    assert cosines[1] == pytest.approx(-0.0243, abs=1e-3)
    assert cosines[2] == pytest.approx(0.5175, abs=1e-3)
    assert min(cosines[3:]) > 0.9999


@pytest.mark.parametrize("counts", [[1] * 10, [10] * 5 + [1] * 5, [50, 20, 3]])
def test_layer_peeled_solution_is_feasible_and_proved_global(counts):
    peeled = solve_layer_peeled(
        samples_per_class=counts, dim=12, weight_energy=1.5, feature_energy=4.0, seed=2
    )
    num_classes = len(counts)
    assert peeled.weight.square().sum().item() / num_classes == pytest.approx(1.5, rel=1e-12)
    assert peeled.features.square().sum().item() / num_classes == pytest.approx(4.0, rel=1e-12)
    logits, labels = peeled.features @ peeled.weight.T, torch.arange(num_classes)
    share = torch.tensor(counts, dtype=torch.float64) / sum(counts)
    errors = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    assert peeled.loss == pytest.approx((share @ errors).item(), rel=1e-12)
    assert 0 <= peeled.gap < 1e-5


def test_the_gap_bounds_the_loss_of_a_model_with_too_few_dimensions():
    counts = [1] * 6
    best = solve_layer_peeled(samples_per_class=counts, dim=6)
    flat = solve_layer_peeled(samples_per_class=counts, dim=2)
    assert flat.loss > best.loss + 0.1
    assert best.loss + best.gap >= flat.loss - flat.gap


def test_balanced_layer_peeled_loss_has_a_closed_form():
    # Simplex with margin K/(K-1) sqrt(E_W E_H): Fang et al.'s balanced case.
    peeled = solve_layer_peeled(samples_per_class=[7] * 5, dim=4)
    height = 5 / 4 * math.sqrt(5.0)
    assert peeled.loss == pytest.approx(math.log1p(4 * math.exp(-height)), rel=1e-10)


def test_minority_cosine_looks_at_the_smallest_classes_only():
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 2.0]])
    assert minority_cosine(weight, [9, 9, 2, 2]) == pytest.approx(1.0)
    assert minority_cosine(weight, [2, 2, 9, 9]) == pytest.approx(0.0)


def test_with_little_energy_the_minority_vanishes_instead_of_merging():
    counts = [10] * 5 + [1] * 5
    peeled = solve_layer_peeled(samples_per_class=counts, dim=12, feature_energy=1.0)
    assert peeled.weight[5:].norm() < 1e-4
    assert peeled.weight[:5].norm() > 1
    with pytest.raises(ValueError, match="it has vanished"):
        minority_cosine(peeled.weight, counts)


# --- a fixed classifier after a ReLU -----------------------------------------------------------


def test_a_simplex_in_few_dimensions_can_have_a_class_no_relu_feature_reaches():
    blocked = simplex_etf(10, 10, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    margins = nonnegative_margins(blocked)
    assert margins.argmin() == 5
    assert margins[5] == pytest.approx(0.0, abs=1e-9)
    # Many features with entries >= 0 do not refute it, and reach all the other classes.
    generator = torch.Generator().manual_seed(0)
    predicted = set()
    for power in (1, 4, 16):
        features = torch.rand(100_000, 10, generator=generator, dtype=torch.float64) ** power
        predicted |= set((features @ blocked.T).argmax(1).unique().tolist())
    assert predicted == set(range(10)) - {5}
    # Without the sign constraint the class is as near as any other: its own row reaches it.
    assert (blocked @ blocked.T).argmax(1).tolist() == list(range(10))


def test_every_class_is_in_reach_with_room_to_spare():
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        margins = nonnegative_margins(simplex_etf(10, 64, generator=generator))
        assert margins.min() > 1


def test_nonnegative_margins_by_hand():
    # h in [0, 1]^2: class 0 gains 2 h_1 over class 1 at most, class 1 gains h_2 - h_1 over class 0.
    weight = torch.tensor([[1.0, 0.0], [-1.0, 0.5]])
    torch.testing.assert_close(
        nonnegative_margins(weight), torch.tensor([2.0, 0.5], dtype=torch.float64)
    )
    with pytest.raises(ValueError, match=r"weight is \(1, 2\)"):
        nonnegative_margins(weight[:1])


# --- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_classes": 1}, "num_classes is 1; there must be at least 2"),
        ({"samples_per_class": 0}, "every class needs a sample"),
        ({"samples_per_class": (3, 3)}, "samples_per_class has 2 entries; expected 4"),
        ({"dim": 0}, "dim is 0"),
        ({"loss": "hinge"}, "loss is 'hinge'; expected 'cross-entropy' or 'mse'"),
        ({"lambda_w": -1e-3}, "lambda_w is -0.001; a penalty is a finite number >= 0"),
        ({"lambda_h": math.nan}, "lambda_h is nan"),
        ({"lambda_b": math.inf}, "lambda_b is inf; .*None for a model without bias"),
    ],
)
def test_a_model_that_cannot_be_says_why(change, message):
    with pytest.raises(ValueError, match=message):
        model(**change)


def test_closed_form_refuses_what_it_does_not_cover():
    with pytest.raises(ValueError, match="equal classes — use solve"):
        optimum(model(samples_per_class=(5, 5, 5, 1)))
    with pytest.raises(ValueError, match="both must be above 0"):
        optimum(model(lambda_h=0.0))


def test_unbalanced_models_are_solved_all_the_same():
    problem = model(samples_per_class=(20, 20, 2, 2), dim=5)
    losses = [solve(problem, start=random_point(problem, seed=s)).loss for s in range(3)]
    assert max(losses) - min(losses) < 1e-9


def test_points_that_do_not_fit_are_refused():
    problem, biased = model(), model(lambda_b=0.0)
    good = random_point(problem)
    with pytest.raises(
        ValueError, match=r"features is \(8, 40\); expected \(samples, dim\) = \(40, 8\)"
    ):
        objective(problem, features=good.features.T, weight=good.weight)
    with pytest.raises(
        ValueError, match=r"weight is \(8, 4\); expected \(classes, dim\) = \(4, 8\)"
    ):
        objective(problem, features=good.features, weight=good.weight.T)
    with pytest.raises(ValueError, match="but no bias is given"):
        solve(biased, start=good)
    with pytest.raises(ValueError, match="a bias is given, but lambda_b is None"):
        curvature(problem, random_point(biased))
    with pytest.raises(ValueError, match=r"bias is \(3,\); expected \(4,\)"):
        objective(biased, features=good.features, weight=good.weight, bias=torch.zeros(3))
    with pytest.raises(ValueError, match="start contains NaN"):
        solve(problem, start=Point(good.features * math.nan, good.weight))


def test_other_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="scale is -1"):
        random_point(model(), scale=-1.0)
    with pytest.raises(ValueError, match=r"rank is 9; expected 0\.\.8"):
        critical_point(model(), 9)
    large = model(samples_per_class=100, dim=10)
    with pytest.raises(ValueError, match="Hessian would be 4040 x 4040"):
        curvature(large, random_point(large))
    with pytest.raises(ValueError, match="class 3 has 1 samples"):
        minority_cosine(torch.eye(4), [5, 5, 5, 1])
    with pytest.raises(ValueError, match="4 rows but there are 3"):
        minority_cosine(torch.eye(4), [5, 5, 1])
    with pytest.raises(ValueError, match="at least 2"):
        solve_layer_peeled(samples_per_class=[3], dim=2)
    with pytest.raises(ValueError, match="energies are 0"):
        solve_layer_peeled(samples_per_class=[3, 3], dim=2, weight_energy=0.0)
    with pytest.raises(ValueError, match="dim is 0"):
        solve_layer_peeled(samples_per_class=[3, 3], dim=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"penalty": 0.0}, "penalty is 0"),
        ({"penalty": -1.0}, "penalty is -1"),
        ({"features": torch.zeros(3, 6)}, r"features is \(3, 6\) and weight is \(2, 3\)"),
        ({"labels": torch.tensor([0, 1])}, r"labels is \(2,\)"),
        ({"bias": torch.zeros(3)}, r"bias is \(3,\)"),
        ({"labels": torch.zeros(6, dtype=torch.long)}, r"\[6, 0\]; expected 2 classes, none empty"),
        ({"labels": torch.tensor([0, 1, 2, 0, 1, 2])}, r"\[2, 2, 2\]; expected 2 classes"),
    ],
)
def test_decomposition_refuses_what_does_not_fit(change, message):
    arguments = {
        "features": torch.zeros(6, 3),
        "labels": torch.tensor([0, 1] * 3),
        "weight": torch.zeros(2, 3),
        "bias": torch.zeros(2),
        "penalty": 0.1,
    }
    with pytest.raises(ValueError, match=message):
        decompose_mse(**(arguments | change))


# --- defaults and edges, by hand ---------------------------------------------------------------


def test_a_model_counts_and_labels_its_samples():
    problem = UFM(num_classes=3, samples_per_class=(3, 1, 2), dim=1, lambda_w=0.0, lambda_h=0.0)
    assert (problem.counts, problem.num_samples) == ((3, 1, 2), 6)
    assert problem.labels.tolist() == [0, 0, 0, 1, 2, 2]
    assert (problem.loss, problem.lambda_b) == ("cross-entropy", None)
    with pytest.raises(ValueError, match=r"is \(3, 1, 2\); the closed forms need equal classes"):
        _ = problem.shrinkage
    # K sqrt(n lambda_w lambda_h) = 3 sqrt(4 * 0.1 * 0.4)
    even = replace(problem, samples_per_class=4, lambda_w=0.1, lambda_h=0.4)
    assert even.shrinkage == pytest.approx(1.2, rel=1e-14)
    assert replace(even, samples_per_class=(4, 4, 4)).shrinkage == even.shrinkage


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lambda_w": math.inf}, r"lambda_w is inf; a penalty is a finite number >= 0$"),
        ({"lambda_h": -0.5}, r"lambda_h is -0.5; a penalty is a finite number >= 0$"),
        ({"lambda_b": -0.5}, r"number >= 0 \(None for a model without bias\)$"),
        ({"samples_per_class": (3, 3, 3, 0)}, r"samples_per_class is \(3, 3, 3, 0\); every class"),
        ({"dim": 0}, "features need at least 1 dimension"),
    ],
)
def test_each_size_and_penalty_is_looked_at(change, message):
    with pytest.raises(ValueError, match=message):
        model(**change)


def test_one_penalty_of_zero_leaves_no_closed_form():
    for change in ({"lambda_w": 0.0}, {"lambda_h": 0.0}):
        with pytest.raises(ValueError, match=r"is 0\.0.* cross-entropy grows its logits for ever"):
            margin(model(**change))


def test_a_random_point_is_standard_normal_times_its_scale():
    problem = model(samples_per_class=500, lambda_b=0.1)
    point, doubled = random_point(problem), random_point(problem, seed=0, scale=2.0)
    entries = point.features
    assert entries.mean().abs() < 0.03
    assert entries.std().item() == pytest.approx(1, abs=0.03)
    assert entries.dtype == point.weight.dtype == torch.float64
    for one, other in [
        (point.features, doubled.features),
        (point.weight, doubled.weight),
        (point.bias, doubled.bias),
    ]:
        torch.testing.assert_close(2 * one, other)
    assert not torch.equal(random_point(problem, seed=1).features, point.features)
    assert random_point(problem, scale=0.0).features.count_nonzero() == 0
    with pytest.raises(ValueError, match="scale is inf; a standard deviation is finite"):
        random_point(problem, scale=math.inf)


def test_the_default_seed_of_the_optimum_is_zero():
    assert torch.equal(optimum(model()).point.weight, optimum(model(), seed=0).point.weight)


def test_solve_says_how_far_it_got():
    problem = model(lambda_b=0.1)
    start = random_point(problem, seed=1)
    short = solve(problem, start=start, max_iterations=3)
    assert (short.iterations, short.converged) == (3, False)
    # `gradient` is the largest entry of the gradient at the point returned, `loss` the loss there.
    tensors = [short.point.features, short.point.weight, short.point.bias]
    for tensor in tensors:
        tensor.requires_grad_()
    features, weight, bias = tensors
    value = objective(problem, features=features, weight=weight, bias=bias)
    slopes = torch.autograd.grad(value, tensors)
    assert short.loss == pytest.approx(value.item(), rel=1e-12)
    largest = max(slope.abs().max().item() for slope in slopes)
    assert short.gradient == pytest.approx(largest, rel=1e-9)
    rough = solve(problem, start=start, tolerance=1e-3)
    fine = solve(problem, start=start)
    assert rough.converged
    assert fine.converged
    assert 1e-8 < rough.gradient <= 1e-3
    assert fine.gradient <= 1e-8
    assert rough.iterations < fine.iterations


def test_a_critical_point_of_full_rank_is_the_optimum():
    problem = model(num_classes=3, samples_per_class=2, dim=2, lambda_b=0.0)
    point = critical_point(problem, 2)
    assert loss_of(problem, point) == pytest.approx(optimum(problem).loss, rel=1e-10)
    assert point.bias.shape == (3,)
    with pytest.raises(ValueError, match=r"rank is -1; expected 0\.\.2"):
        critical_point(problem, -1)
    with pytest.raises(ValueError, match=r"rank is 3; expected 0\.\.2"):
        critical_point(problem, 3)


def test_the_best_of_several_starts_is_kept():
    # On a line no class can move past another, so which ones lie outside is left to the start.
    problem = model(
        num_classes=5, samples_per_class=(9, 4, 2, 1, 1), dim=1, lambda_w=1e-3, lambda_h=1e-3
    )
    ends = [solve(problem, start=random_point(problem, seed=seed)).loss for seed in range(8)]
    assert min(ends) + 1e-3 < ends[0] < max(ends) - 1e-3
    kept = loss_of(problem, critical_point(problem, 1))
    assert kept == pytest.approx(min(ends), rel=1e-12)
    first = loss_of(problem, critical_point(problem, 1, num_starts=1))
    assert first == pytest.approx(ends[0], rel=1e-12)


def test_no_start_that_converges_is_an_error(monkeypatch):
    problem = model()
    monkeypatch.setattr(
        "ncourse.ufm.solve", lambda problem, start: Solution(start, 1.0, 1.0, False, 1)
    )
    with pytest.raises(ValueError, match="none of 5 starts converged in 2 dimensions"):
        critical_point(problem, 2, num_starts=5)


def test_an_eigenvalue_within_the_tolerance_is_no_way_down():
    eigenvalues = torch.tensor([-0.5, -1e-7, -1e-9, 0.0, 2.0], dtype=torch.float64)
    bend = Curvature(eigenvalues, random_point(model()))
    assert bend.least == -0.5
    assert bend.num_negative() == 2
    assert bend.num_negative(1e-10) == 3
    assert bend.num_negative(0.5) == 0


def test_the_largest_hessian_is_still_computed(monkeypatch):
    problem = model(num_classes=2, samples_per_class=1, dim=3)  # (2 + 2) * 3 parameters
    monkeypatch.setattr("ncourse.ufm._LARGEST_HESSIAN", 12)
    bend = curvature(problem, random_point(problem))
    assert bend.eigenvalues.shape == (12,)
    monkeypatch.setattr("ncourse.ufm._LARGEST_HESSIAN", 11)
    with pytest.raises(ValueError, match=r"12 x 12; at most 11 parameters — use fewer samples"):
        curvature(problem, random_point(problem))


def test_curvature_of_a_penalty_alone_is_the_penalty():
    # Zero weight and zero features of one class pair: the loss is quadratic there by hand.
    problem = UFM(num_classes=2, samples_per_class=1, dim=1, lambda_w=0.3, lambda_h=0.5, loss="mse")
    origin = random_point(problem, scale=0.0)
    bend = curvature(problem, origin)
    # Hessian blocks: lambda_h I (2 x 2), lambda_w I (2 x 2), and -targets / N = -I / 2 between.
    middle, root = 0.4, math.hypot(0.1, 0.5)
    expected = [middle - root] * 2 + [middle + root] * 2
    assert bend.eigenvalues.tolist() == pytest.approx(expected, rel=1e-12)
    assert bend.direction.features.shape == (2, 1)
    length = bend.direction.features.square().sum() + bend.direction.weight.square().sum()
    assert length.item() == pytest.approx(1, rel=1e-12)


def test_layer_peeled_defaults_are_those_of_the_paper():
    counts = [4, 4, 1]
    given = solve_layer_peeled(samples_per_class=counts, dim=3)
    spelled = solve_layer_peeled(
        samples_per_class=counts, dim=3, weight_energy=1.0, feature_energy=5.0, seed=0
    )
    assert torch.equal(given.weight, spelled.weight)
    assert given.weight.square().sum().item() / 3 == pytest.approx(1, rel=1e-12)
    other = solve_layer_peeled(samples_per_class=counts, dim=3, seed=1)
    assert not torch.allclose(given.weight, other.weight, atol=1e-2)
    assert other.loss == pytest.approx(given.loss, rel=1e-10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight_energy": math.inf}, "energies are inf and 5.0; a bound on the mean squared"),
        ({"feature_energy": math.inf}, "energies are 1.0 and inf"),
        ({"feature_energy": 0.0}, "energies are 1.0 and 0.0"),
        ({"dim": -1}, "dim is -1; features need at least 1 dimension"),
        ({"samples_per_class": [3, 0]}, "every class needs a sample"),
    ],
)
def test_layer_peeled_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        solve_layer_peeled(**({"samples_per_class": [3, 3], "dim": 1} | change))


@pytest.mark.parametrize("energies", [(1.0, 5.0), (4.0, 0.5)])
def test_the_gap_bounds_the_loss_of_a_search_that_stopped_at_its_start(energies):
    weight_energy, feature_energy = energies
    given = {"weight_energy": weight_energy, "feature_energy": feature_energy}
    best = solve_layer_peeled(samples_per_class=[5, 2, 1], dim=4, **given)
    for seed in range(5):
        start = solve_layer_peeled(
            samples_per_class=[5, 2, 1], dim=4, **given, tolerance=1e9, seed=seed
        )
        assert 0.1 < start.loss - best.loss <= start.gap + 1e-12
        # What the formula says, written out: <G, Z> + K sqrt(E_W E_H) |G|_2, G = p (softmax - 1_y).
        logits = start.features @ start.weight.T
        share = torch.tensor([5.0, 2.0, 1.0], dtype=torch.float64) / 8
        slope = share[:, None] * (logits.softmax(1) - torch.eye(3, dtype=torch.float64))
        least = -3 * math.sqrt(weight_energy * feature_energy) * torch.linalg.svdvals(slope)[0]
        assert start.gap == pytest.approx(((slope * logits).sum() - least).item(), rel=1e-12)


def test_one_dimension_is_enough_to_try():
    peeled = solve_layer_peeled(samples_per_class=[1, 1], dim=1)
    # Two classes on a line: features and weights +-, margin 2 sqrt(E_W E_H).
    expected = math.log1p(math.exp(-2 * math.sqrt(5)))
    assert peeled.loss == pytest.approx(expected, rel=1e-8)


def test_a_row_has_vanished_at_a_ten_thousandth_of_the_longest():
    def cosine(length, scale=1.0):
        weight = torch.tensor([[1.0, 0.0], [length, 0.0], [0.0, length]], dtype=torch.float64)
        return minority_cosine(scale * weight, [5, 1, 1])

    for scale in (1.0, 1e-3, 1e3):
        assert cosine(1.01e-4, scale) == pytest.approx(0)
        with pytest.raises(ValueError, match="it has vanished, so it has no direction to compare"):
            cosine(9.9e-5, scale)
    for length in (1e-4, 9.9e-5, 0.0):
        with pytest.raises(ValueError, match=r"a minority row has norm .* beside 1\.0e\+00"):
            cosine(length)


def test_minority_cosine_asks_for_a_matrix_of_numbers(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for bad in (
        torch.ones(2),
        torch.ones(2, 2, 2),
        torch.ones(2, 0),
        torch.ones(2, 2, dtype=torch.long),
        torch.full((2, 2), math.nan),
    ):
        with pytest.raises(ValueError, match=r"; expected finite floating-point \(classes, dim\)"):
            minority_cosine(bad, [1, 1])
    with pytest.raises(ValueError, match="there are 2 class counts"):
        minority_cosine(torch.ones(3, 2), [1, 1])
    for bad in (torch.ones(4), torch.full((2, 2), math.inf)):
        with pytest.raises(ValueError, match=r"weight is \(.*\); expected finite \(classes, dim\)"):
            nonnegative_margins(bad)


def test_decomposition_by_hand():
    # One feature, two classes at +1 and -1 with one sample each, penalty 1/2, classifier zero.
    # Least squares: w_k = (1/2 * +-1) / (1 + 1/2), b_k = (1/2) / (1 + 1/2).
    parts = decompose_mse(
        features=torch.tensor([[1.0], [-1.0]]),
        labels=torch.tensor([0, 1]),
        weight=torch.zeros(2, 1),
        bias=torch.zeros(2),
        penalty=0.5,
    )
    third = 1 / 3
    assert parts.best_weight.flatten().tolist() == pytest.approx([third, -third])
    assert parts.best_bias.tolist() == pytest.approx([third, third])
    # No variation within classes: nc1 is the penalty, 1/2 * 1/2 * 4/9.
    assert parts.nc1 == pytest.approx(1 / 9)
    # Outputs are (2/3, 0) for (1, 0): the mean squared error is 1/9.
    assert parts.nc23 == pytest.approx(1 / 18)
    assert parts.loss == pytest.approx(1 / 2)
    assert parts.perpendicular == pytest.approx(1 / 2 - 1 / 9 - 1 / 18)


def test_decomposition_wants_a_finite_penalty_and_matrices():
    good = {
        "features": torch.ones(2, 3),
        "labels": torch.tensor([0, 1]),
        "weight": torch.ones(2, 3),
        "bias": torch.ones(2),
        "penalty": 0.1,
    }
    for change, message in [
        ({"penalty": math.inf}, "penalty is inf; the least-squares classifier needs it above 0"),
        ({"features": torch.ones(2, 3, 1)}, r"features is \(2, 3, 1\) .*\(classes, dim\)"),
        ({"weight": torch.ones(2)}, r"weight is \(2,\); expected \(samples, dim\)"),
        ({"labels": torch.tensor([0, 1, 1])}, r"labels is \(3,\) .* expected \(2,\) and \(2,\)"),
        ({"labels": torch.tensor([0, 2])}, r"\[1, 0, 1\]; expected 2 classes, none empty"),
    ]:
        with pytest.raises(ValueError, match=message):
            decompose_mse(**(good | change))


# --- what is no number, or not here ------------------------------------------------------------


SPLIT = {
    "features": torch.ones(4, 3),
    "labels": torch.tensor([0, 1, 0, 1]),
    "weight": torch.ones(2, 3),
    "bias": torch.ones(2),
    "penalty": 0.1,
}


@pytest.mark.parametrize("name", ["features", "weight", "bias"])
def test_decomposition_names_the_tensor_that_is_wrong(name):
    good = SPLIT[name]
    with pytest.raises(TypeError, match=rf"^{name} is torch.int64; expected floating point"):
        decompose_mse(**(SPLIT | {name: good.long()}))
    with pytest.raises(ValueError, match=rf"^{name} contains NaN or infinity"):
        decompose_mse(**(SPLIT | {name: good * math.nan}))
    with pytest.raises(
        ValueError, match=r"the tensors are on .*meta.*; expected all of them on the"
    ):
        decompose_mse(**(SPLIT | {name: good.to("meta")}))
    with pytest.raises(ValueError, match="features, weight or bias are too large: their squares"):
        decompose_mse(**(SPLIT | {name: good.double() * 1e200}))


def test_decomposition_wants_labels_that_count():
    labels = SPLIT["labels"]
    for bad, error, message in [
        (labels.double(), TypeError, "^labels is torch.float64; expected integers"),
        (labels.bool(), TypeError, "^labels is torch.bool; expected integers"),
        (labels.to(torch.complex64), TypeError, "^labels is torch.complex64; expected integers"),
        (labels - 1, ValueError, "^labels contains -1; expected 0 to 1$"),
        (labels.to("meta"), ValueError, "on cpu, cpu, cpu, meta; expected all of them on the CPU"),
    ]:
        with pytest.raises(error, match=message):
            decompose_mse(**(SPLIT | {"labels": bad}))
    short = decompose_mse(**(SPLIT | {"labels": labels.to(torch.uint8)}))
    assert short.loss == decompose_mse(**SPLIT).loss


def test_solve_refuses_steps_it_cannot_take():
    problem = model(num_classes=2, samples_per_class=1, dim=1)
    start = random_point(problem)
    for change, message in [
        (
            {"tolerance": -1e-9},
            r"got tolerance=-1e-09, max_iterations=20000; need at least 0 and 1",
        ),
        ({"tolerance": math.nan}, "got tolerance=nan"),
        ({"max_iterations": 0}, "max_iterations=0; need"),
    ]:
        with pytest.raises(ValueError, match=message):
            solve(problem, start=start, **change)
    assert solve(problem, start=start, max_iterations=1, tolerance=0.0).iterations == 1
    vast = Point(1e200 * start.features, 1e200 * start.weight)
    with pytest.raises(ValueError, match=r"the loss overflows at the start — use random_point\("):
        solve(problem, start=vast)
    with pytest.raises(ValueError, match="the Hessian is not finite at this point"):
        curvature(replace(problem, loss="mse"), Point(1e308 * start.features, 1e308 * start.weight))


def test_a_point_is_of_numbers_of_one_type_on_the_cpu():
    problem = model(num_classes=2, samples_per_class=1, dim=1, lambda_b=0.1)
    features, weight, bias = random_point(problem).features, torch.ones(2, 1), torch.zeros(2)
    double = {"features": features, "weight": weight.double(), "bias": bias.double()}
    for change, error, message in [
        (
            {"weight": weight},
            TypeError,
            r"^features are torch.float64, weight torch.float32; expec",
        ),
        ({"features": features.long()}, TypeError, "^features is torch.int64; expected floating"),
        ({"weight": weight.long()}, TypeError, "^weight is torch.int64; expected floating"),
        ({"features": features.to("meta")}, ValueError, "on meta, cpu, cpu; expected"),
        ({"weight": double["weight"].to("meta")}, ValueError, "on cpu, meta, cpu; expected"),
        ({"bias": double["bias"].to("meta")}, ValueError, "on cpu, cpu, meta; expected"),
        ({"bias": torch.zeros(3)}, ValueError, r"bias is \(3,\); expected \(2,\)$"),
        ({"bias": None}, ValueError, r"lambda_b is 0\.1, but no bias is given$"),
    ]:
        with pytest.raises(error, match=message):
            objective(problem, **(double | change))
    with pytest.raises(ValueError, match="but lambda_b is None: the model has none"):
        objective(replace(problem, lambda_b=None), **double)
    with pytest.raises(ValueError, match="on meta, cpu; expected"):
        objective(
            replace(problem, lambda_b=None), features=features.to("meta"), weight=double["weight"]
        )


def test_a_plane_needs_three_points_and_a_list_of_numbers(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    problem = model(num_classes=2, samples_per_class=1, dim=1)
    point = random_point(problem)
    good = {"centre": point, "first": point, "second": point, "coordinates": torch.zeros(1)}
    assert plane(problem, **good).shape == (1, 1)
    wrong = Point(point.features.T, point.weight)
    broken = Point(math.nan * point.features, point.weight)
    for change, message in [
        ({"centre": wrong}, r"features is \(1, 2\)"),
        ({"first": wrong}, r"features is \(1, 2\)"),
        ({"second": wrong}, r"features is \(1, 2\)"),
        (
            {"coordinates": torch.zeros(2, 2)},
            r"coordinates is \(2, 2\); expected \(grid,\), not em",
        ),
        ({"coordinates": torch.zeros(0)}, r"coordinates is \(0,\); expected"),
        ({"second": broken}, "the loss is NaN on this plane"),
    ]:
        with pytest.raises(ValueError, match=message):
            plane(problem, **(good | change))


def test_margins_are_as_long_as_the_weight(monkeypatch):
    weight = torch.tensor([[1.0, 0.0], [-1.0, 0.5]], dtype=torch.float64)
    for scale in (2.0**-200, 3.0, 2.0**200):
        expected = scale * torch.tensor([2.0, 0.5], dtype=torch.float64)
        torch.testing.assert_close(nonnegative_margins(scale * weight), expected, atol=0, rtol=1e-9)
    assert nonnegative_margins(torch.zeros(2, 1)).tolist() == [0, 0]
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(TypeError, match=r"weight is torch.complex64; expected real"):
        nonnegative_margins(torch.ones(2, 2, dtype=torch.complex64))
    with pytest.raises(
        ValueError, match=r"the tensors are on meta; expected all of them on the CPU"
    ):
        nonnegative_margins(torch.ones(2, 2, device="meta"))
    with pytest.raises(ValueError, match="the tensors are on meta"):
        minority_cosine(torch.ones(2, 2, device="meta"), [1, 1])
