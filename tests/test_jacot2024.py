"""Imbalance and its law, the bounds on NC1 and NC2, and the experiment with its claims."""

import math
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from ncourse.claims import Recording
from ncourse.data import digits, gaussian_mixture
from ncourse.metrics import measure
from ncourse.papers import jacot2024
from ncourse.tables import Table

RECORDED = "notebooks/recorded/06-jacot2024.json"
SIZES = (4, 12, 8, 6, 6, 3)


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def problem(seed=0, samples=12):
    targets = torch.eye(3, dtype=torch.float64).repeat_interleave(samples // 3, 0)
    return jacot2024.initial(SIZES, num_linear=3, seed=seed), draw(samples, 4, seed=seed), targets


def nearly_fitted(seed=0, *, noise=0.05, imbalance=0.05):
    """Inputs, head and targets with a given size of interpolation error and of imbalance."""
    targets = torch.eye(3, dtype=torch.float64).repeat_interleave(5, 0)
    u, _ = torch.linalg.qr(draw(6, 6, seed=seed))
    upper = torch.linalg.qr(draw(6, 3, seed=seed + 1))[0].T * torch.tensor([[1.5], [1.2], [0.9]])
    # lower lower^T = upper^T upper makes the pair balanced.
    values, vectors = torch.linalg.eigh(upper.T @ upper)
    lower = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ u
    lower = lower + imbalance * draw(6, 6, seed=seed + 2)
    inputs = targets @ torch.linalg.pinv(upper @ lower).T + noise * draw(15, 6, seed=seed + 3)
    return inputs, (lower, upper), targets


# The network --------------------------------------------------------------------------------------


def test_gradients_are_autograd_s():
    network, inputs, targets = problem()
    weights = [weight.clone().requires_grad_() for weight in network.weights]
    outputs = inputs
    for index, weight in enumerate(weights):
        outputs = outputs @ weight.T
        if index < 2:
            outputs = jacot2024.activation(outputs)
    assert torch.equal(outputs, jacot2024.forward(network, inputs)[-1])
    slopes = torch.autograd.grad((outputs - targets).square().sum() / 24, weights)
    for mine, theirs in zip(jacot2024.gradients(network, inputs, targets), slopes, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_a_step_is_gradient_descent_with_weight_decay():
    network, inputs, targets = problem()
    slopes = jacot2024.gradients(network, inputs, targets)
    after = jacot2024.descend(network, inputs, targets, weight_decay=0.3, step_size=0.5)
    for old, slope, new in zip(network.weights, slopes, after.weights, strict=True):
        torch.testing.assert_close(new, old - 0.5 * (slope + 0.3 * old))


def test_activation_meets_the_paper_s_assumption():
    values = torch.linspace(-30, 30, 6001, dtype=torch.float64, requires_grad=True)
    out = jacot2024.activation(values)
    (slope,) = torch.autograd.grad(out.sum(), values)
    assert 0.1 <= slope.min() <= slope.max() <= 1 + 1e-12
    assert (out.abs() <= values.abs() + 1e-12).all()
    assert jacot2024.activation(torch.zeros(1, dtype=torch.float64)).item() == 0
    torch.testing.assert_close(jacot2024._slope(values), slope)


def test_initial_weights_have_the_scale_and_shape_they_claim():
    network = jacot2024.initial((300, 200, 5), num_linear=1, seed=0)
    assert [tuple(weight.shape) for weight in network.weights] == [(200, 300), (5, 200)]
    assert network.weights[0].var().item() == pytest.approx(1 / 300, rel=0.03)
    assert len(network.head) == 1
    again = jacot2024.initial((300, 200, 5), num_linear=1, seed=0)
    assert torch.equal(network.weights[1], again.weights[1])


@pytest.mark.parametrize("num_linear", [0, 3])
def test_a_wrong_number_of_linear_layers_is_refused(num_linear):
    with pytest.raises(ValueError, match="expected 1 to the number of layers"):
        jacot2024.initial((4, 3, 2), num_linear=num_linear, seed=0)


# What is measured ---------------------------------------------------------------------------------


def test_imbalance_by_hand():
    lower = torch.tensor([[1.0, 2.0], [0.0, 1.0]])
    upper = torch.tensor([[3.0, 1.0]])
    expected = torch.tensor([[9.0 - 5, 3 - 2], [3 - 2, 1 - 1]])
    assert torch.equal(jacot2024.imbalance(lower, upper), expected)
    norm = 2 + math.sqrt(5)  # eigenvalues of [[4, 1], [1, 0]]
    smaller = (6 + math.sqrt(32)) / 2  # largest of lower lower^T = [[5, 2], [2, 1]]; upper has 10
    assert jacot2024.balancedness(lower, upper) == pytest.approx(norm / smaller)


def test_imbalance_of_layers_that_do_not_fit_is_refused():
    with pytest.raises(ValueError, match="the earlier layer first"):
        jacot2024.imbalance(torch.ones(3, 2), torch.ones(2, 4))


def test_conditioning_negativity_and_error_by_hand():
    assert jacot2024.conditioning(torch.diag(torch.tensor([4.0, 1.0, 0.0]))) == 4
    with pytest.raises(ValueError, match="zero"):
        jacot2024.conditioning(torch.zeros(2, 2))
    values = torch.tensor([[3.0, 0.0], [0.0, -4.0]])
    assert jacot2024.negativity(values) == 1
    assert jacot2024.negativity(values.abs()) == 0
    assert jacot2024.negativity(torch.diag(torch.tensor([-1.0, 2.0]))) == 0.5
    assert jacot2024.interpolation_error(values, torch.zeros(2, 2)) == 5
    head = (torch.diag(torch.tensor([2.0, 1.0])), torch.diag(torch.tensor([3.0, 1.0])))
    assert jacot2024.head_conditioning(head) == pytest.approx(6)


def test_the_fit_falls_as_fast_as_the_fitting_time_says():
    network, inputs, targets = problem()
    time = jacot2024.fitting_time(network, inputs, targets)
    after = jacot2024.descend(network, inputs, targets, weight_decay=0, step_size=1e-4 * time)

    def loss(net):
        return (jacot2024.forward(net, inputs)[-1] - targets).square().sum().item()

    assert 1 - loss(after) / loss(network) == pytest.approx(1e-4, rel=1e-3)


def test_sharpness_is_the_largest_eigenvalue_of_the_whole_hessian():
    network, inputs, targets = problem()
    sizes = [weight.numel() for weight in network.weights]

    def loss(flat):
        parts = flat.split(sizes)
        weights = tuple(part.view_as(w) for part, w in zip(parts, network.weights, strict=True))
        moved = jacot2024.Network(weights, network.num_linear)
        error = jacot2024.forward(moved, inputs)[-1] - targets
        return error.square().sum() / (2 * len(targets)) + 0.3 * flat.square().sum() / 2

    flat = torch.cat([weight.flatten() for weight in network.weights])
    expected = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, flat))[-1].item()
    measured = jacot2024.sharpness(network, inputs, targets, weight_decay=0.3)
    assert measured == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("slope", [0.1, 0.5])
def test_rates_are_lower_bounds_in_order_and_the_kernel_is_that_of_autograd(slope):
    targets = torch.eye(3, dtype=torch.float64).repeat_interleave(2, 0)
    network = jacot2024.initial((4, 12, 8, 6, 3), num_linear=2, seed=1, least_slope=slope)
    inputs = draw(6, 4, seed=1)
    found = jacot2024.rates(network, inputs, targets)
    assert 0 < found["proved"] < found["kernel"] < found["now"]
    assert found["now"] == pytest.approx(1 / (2 * jacot2024.fitting_time(network, inputs, targets)))

    def outputs(*weights):
        moved = jacot2024.Network(weights, 2, slope)
        return jacot2024.forward(moved, inputs)[-1].flatten()

    jacobian = torch.autograd.functional.jacobian(outputs, network.weights)
    flat = torch.cat([part.flatten(1) for part in jacobian], dim=1)
    assert found["kernel"] == pytest.approx(torch.linalg.eigvalsh(flat @ flat.T)[0].item() / 6)
    # The gradient in W_2 alone, for any error, is at least what the proof takes of it.
    for seed in range(20):
        wanted = jacot2024.forward(network, inputs)[-1] + draw(6, 3, seed=seed)
        slopes = jacot2024.gradients(network, inputs, wanted)
        loss = (jacot2024.forward(network, inputs)[-1] - wanted).square().sum() / 12
        assert slopes[1].square().sum() >= 2 * found["proved"] * loss
    wide = torch.linalg.svdvals(jacot2024.forward(network, inputs)[1])[-1].item()
    head = torch.linalg.svdvals(network.weights[3] @ network.weights[2])[-1].item()
    assert found["proved"] == pytest.approx((slope * wide * head) ** 2 / 6)
    narrow = jacot2024.initial((4, 5, 8, 6, 3), num_linear=2, seed=1)
    assert jacot2024.rates(narrow, inputs, targets)["proved"] == 0


def test_the_constructed_start_meets_the_inequality_and_a_usual_one_does_not():
    data = jacot2024.prepare()
    few = data.take(4, seed=5)
    targets = torch.eye(5, dtype=torch.float64)[few.labels]
    start = jacot2024.constructed((64, 128, 32, 32, 5), seed=5)
    left, right = jacot2024.start_condition(start, few.inputs, targets)
    # W_2 = 0, so the outputs are 0 and C_0 = N/2; gamma = 1/2 and L = 4; W_3, W_4 have s_min 4.
    assert right == pytest.approx(8 * 0.5 * 16 * math.sqrt(10))
    wide = torch.linalg.svdvals(jacot2024.forward(start, few.inputs)[1])[-1].item()
    assert left == pytest.approx(wide * 16 * min(wide, 4))
    assert left > right
    usual = jacot2024.initial((64, 128, 32, 32, 5), num_linear=2, seed=5, least_slope=0.5)
    left, right = jacot2024.start_condition(usual, few.inputs, targets)
    assert left < 1e-3 * right


def test_a_critical_point_has_balanced_linear_layers():
    """Gradient plus decay zero in both layers makes D zero: the identity behind the law."""
    network, inputs, targets = problem()
    slopes = jacot2024.gradients(network, inputs, targets)
    for index in (2, 3):
        lower, upper = network.weights[index : index + 2]
        # W_(l+1)^T (G_(l+1) + a W_(l+1)) - (G_l + a W_l) W_l^T = a D
        left = upper.T @ (slopes[index + 1] + 0.3 * upper)
        right = (slopes[index] + 0.3 * lower) @ lower.T
        torch.testing.assert_close(left - right, 0.3 * jacot2024.imbalance(lower, upper))


# What is proved -----------------------------------------------------------------------------------


@pytest.mark.parametrize("step_size", [0.01, 0.7])
def test_a_step_changes_the_imbalance_exactly_as_the_identity_says(step_size):
    network, inputs, targets = problem()
    slopes = jacot2024.gradients(network, inputs, targets)[2:]
    after = jacot2024.descend(network, inputs, targets, weight_decay=0.2, step_size=step_size)
    for index in range(2):
        expected = jacot2024.imbalance_after_step(
            jacot2024.imbalance(*network.head[index : index + 2]),
            slopes[index],
            slopes[index + 1],
            weight_decay=0.2,
            step_size=step_size,
        )
        torch.testing.assert_close(jacot2024.imbalance(*after.head[index : index + 2]), expected)


def test_small_steps_follow_the_law_and_nonlinear_layers_do_not():
    network, inputs, targets = problem()
    after = network
    for _ in range(2000):
        after = jacot2024.descend(after, inputs, targets, weight_decay=0.1, step_size=0.005)
    for index, (old, new) in enumerate(
        zip(pairwise(network.weights), pairwise(after.weights), strict=True)
    ):
        expected = jacot2024.decayed(jacot2024.imbalance(*old), weight_decay=0.1, time=10)
        error = (jacot2024.imbalance(*new) - expected).norm() / expected.norm()
        assert (error < 0.01) == (index >= 2), index


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1])
@pytest.mark.parametrize("imbalance", [0.0, 0.1, 1.0])
def test_bounds_hold_wherever_they_say_something(noise, imbalance):
    said = 0
    for seed in range(0, 200, 10):
        inputs, head, targets = nearly_fitted(seed, noise=noise, imbalance=imbalance)
        features = inputs @ head[0].T
        report = measure(features, targets.argmax(1), None, convention="jacot", num_classes=3)
        tight = jacot2024.nc1_bound(inputs, head, targets)
        said += math.isfinite(tight)
        assert report.nc1 <= tight + 1e-12
        assert report.nc1 <= jacot2024.paper_nc1_bound(inputs, head, targets) + 1e-12
        assert report.nc2_condition <= jacot2024.nc2_bound(inputs, head, targets) + 1e-9
    assert said >= 10


def test_bounds_are_attained_where_everything_is_balanced_and_fits():
    inputs, head, targets = nearly_fitted(noise=0.0, imbalance=0.0)
    assert jacot2024.nc1_bound(inputs, head, targets) < 1e-12
    kappa = jacot2024.conditioning(head[-1])
    assert jacot2024.nc2_bound(inputs, head, targets) == pytest.approx(kappa, rel=1e-6)


def test_without_the_imbalance_the_formula_is_no_bound():
    inputs, head, targets = nearly_fitted(noise=0.0, imbalance=1.0)
    # What the classifier does not see: any feature in its kernel changes NC1 and no output.
    blind = torch.linalg.svd(head[1] @ head[0]).Vh[3:]
    inputs = inputs + draw(15, 3) @ blind
    report = measure(inputs @ head[0].T, targets.argmax(1), None, num_classes=3, convention="jacot")
    assert report.nc1 > 0.1
    assert jacot2024.nc1_bound(inputs, head, targets, imbalance_norm=0.0) < 1e-12
    assert jacot2024.paper_nc1_bound(inputs, head, targets, imbalance_norm=0.0) < 1e-12
    assert jacot2024.nc1_bound(inputs, head, targets) >= report.nc1


def test_bounds_by_hand():
    # One linear map of two layers diag(2, 1), I; features and outputs are the inputs.
    lower, upper = torch.eye(2), torch.diag(torch.tensor([2.0, 1.0]))
    inputs = torch.tensor([[0.4, 0.0], [0.0, 0.8]])
    targets = torch.eye(2)
    error = math.sqrt(0.2**2 + 0.2**2)
    delta = error**2 + 3 * 0.8  # D = diag(3, 0), ||inputs||^2 = 0.8
    assert jacot2024.nc1_bound(inputs, (lower, upper), targets) == pytest.approx(
        4 * delta / (1 - error) ** 2, rel=1e-6
    )
    # e = e1 sqrt(K/N) = e1, delta^2 = 3 * 0.64
    assert jacot2024.nc2_bound(inputs, (lower, upper), targets) == pytest.approx(
        2 / (1 - error) * math.sqrt((1 + error) ** 2 + 3 * 0.64), rel=1e-6
    )
    psi = 2 * (error / (1 - error) + math.sqrt(2 * 3))
    room = math.sqrt(0.5) - 2 * error / math.sqrt(2)
    assert jacot2024.paper_nc1_bound(inputs, (lower, upper), targets) == pytest.approx(
        2 * psi**2 / room**2, rel=1e-6
    )


def test_bounds_say_nothing_outside_their_conditions():
    inputs, head, targets = nearly_fitted()
    for bound in (jacot2024.nc1_bound, jacot2024.nc2_bound, jacot2024.paper_nc1_bound):
        assert bound(100 * inputs, head, targets) == math.inf
    blind = (head[0], torch.cat([head[1][:2], head[1][:1]]))  # two equal rows
    assert jacot2024.nc1_bound(inputs, blind, targets) == math.inf
    assert jacot2024.nc2_bound(inputs, blind, targets) == math.inf


def spoil(what):
    inputs, head, targets = nearly_fitted()
    if what == "one layer":
        head = head[1:]
    elif what == "order":
        head = head[::-1]
    elif what == "labels":
        targets = targets.argmax(1)
    elif what == "soft":
        targets = 0.9 * targets
    elif what == "unbalanced":
        inputs, targets = inputs[1:], targets[1:]
    elif what == "samples":
        inputs = inputs[1:]
    return inputs, head, targets


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("one layer", "at least 2"),
        ("order", "classifier last"),
        ("labels", "expected"),
        ("soft", "not one-hot"),
        ("unbalanced", "equal size"),
        ("samples", "expected"),
    ],
)
@pytest.mark.parametrize("bound", ["nc1_bound", "nc2_bound", "paper_nc1_bound"])
def test_bad_input_is_refused_with_what_was_expected(what, says, bound):
    with pytest.raises(ValueError, match=says):
        getattr(jacot2024, bound)(*spoil(what))


def test_balanced_layers_have_the_root_of_the_head_s_conditioning():
    values = torch.tensor([3.0, 2.0, 0.5], dtype=torch.float64)
    turns = [torch.linalg.qr(draw(3, 3, seed=seed))[0] for seed in range(4)]
    head = [turns[i + 1] @ torch.diag(values) @ turns[i].T for i in range(3)]
    for lower, upper in pairwise(head):
        assert jacot2024.imbalance(lower, upper).norm() < 1e-12
    assert jacot2024.head_conditioning(head) == pytest.approx(6**3)
    assert jacot2024.conditioning(head[-1]) == pytest.approx(6)


# The experiment -----------------------------------------------------------------------------------


def test_prepared_digits():
    data = jacot2024.prepare()
    assert data.inputs.shape == (100, 64)
    assert data.inputs.dtype == torch.float64
    assert data.labels.tolist() == [k for k in range(5) for _ in range(20)]
    assert data.inputs.norm(dim=1).mean().item() == pytest.approx(3)
    assert data.inputs.mean(0).abs().max() < 1e-12
    assert data.card == jacot2024.prepare().card


def test_prepare_makes_other_data_balanced_and_refuses_an_empty_class():
    whole = gaussian_mixture(3, 5, train_per_class=9)
    data = jacot2024.prepare(whole)
    assert data.labels.bincount().tolist() == [9, 9, 9]
    empty = gaussian_mixture(3, 5)
    object.__setattr__(empty, "labels", empty.labels.clamp(max=1))
    with pytest.raises(ValueError, match="without training samples"):
        jacot2024.prepare(empty)


@pytest.fixture(scope="module")
def small():
    data = jacot2024.prepare(gaussian_mixture(3, 8, train_per_class=10, separation=2.0))
    keep = []
    network, table = jacot2024.train(
        data, num_linear=3, weight_decay=0.05, seed=0, time=60, keep=keep
    )
    return data, network, table, keep


def test_training_measures_what_the_columns_say(small):
    data, network, table, keep = small
    layers = jacot2024.forward(network, data.inputs)
    targets = torch.eye(3, dtype=torch.float64)[data.labels]
    assert table["time"][0] == 0
    assert table["time"][-1] == pytest.approx(60)
    assert table["time"] == [shot.time for shot in keep]
    assert torch.equal(keep[-1].features, layers[-2])
    report = measure(layers[-2], data.labels, network.head[-1], convention="jacot")
    given = (layers[2], network.head, targets)
    last = jacot2024.imbalance(*network.head[1:])
    expected = {
        "fit": (layers[-1] - targets).square().sum().item() / 30,
        "nc1": report.trace_ratio,
        "nc2": report.nc2_condition,
        "nc3": report.nc3_cosine,
        "conditioning": jacot2024.conditioning(network.head[-1]),
        "head_conditioning": jacot2024.head_conditioning(network.head),
        "negativity": jacot2024.negativity(layers[1] @ network.weights[1].T, jacot2024.activation),
        "fitting_time": jacot2024.fitting_time(network, data.inputs, targets),
        "imbalance": torch.linalg.matrix_norm(last, 2).item(),
        "balancedness": max(jacot2024.balancedness(*pair) for pair in pairwise(network.head)),
        "nc1_bound": jacot2024.nc1_bound(*given),
        "nc2_bound": jacot2024.nc2_bound(*given),
        "paper_bound": jacot2024.paper_nc1_bound(*given),
        "nc1_bound_balanced": jacot2024.nc1_bound(*given, imbalance_norm=0.0),
        "paper_bound_balanced": jacot2024.paper_nc1_bound(*given, imbalance_norm=0.0),
    }
    for column, value in expected.items():
        assert table[column][-1] == pytest.approx(value), column
    assert set(table) == {*expected, "time", "law_error", "half_law_error"}


def test_law_errors_are_zero_for_the_law_and_large_for_half_the_rate(small):
    _, _, table, _ = small
    assert table["law_error"][0] == table["half_law_error"][0] == 0
    assert max(table["law_error"]) < 0.1
    # (e^-6 - e^-3)/e^-3 at time 60
    assert table["half_law_error"][-1] == pytest.approx(1 - math.exp(-3), abs=0.01)


def test_one_linear_layer_has_no_pair_and_the_first_layer_is_wide_enough(small):
    data = small[0]
    network, table = jacot2024.train(data, num_linear=1, weight_decay=0.05, seed=0, time=2)
    assert "imbalance" not in table
    assert [len(weight) for weight in network.weights] == [128, 64, 3]
    many = jacot2024.prepare(gaussian_mixture(8, 8, train_per_class=20))
    network, _ = jacot2024.train(many, num_linear=1, weight_decay=0.05, seed=0, time=1)
    assert len(network.weights[0]) == 160


def test_steps_that_diverge_are_named(small):
    with pytest.raises(ValueError, match="take smaller steps"):
        jacot2024.train(
            small[0], num_linear=2, weight_decay=0.05, seed=0, time=4000, step_size=20.0
        )


def test_duration():
    assert jacot2024.duration(2e-3) == 2500
    assert jacot2024.duration(0.0) == jacot2024.duration(4e-3)


# Claims -------------------------------------------------------------------------------------------


@cache
def recording():
    return Recording.load(RECORDED)


def run(*changes):
    """The tables of a recorded seed, but for (run, column, rows, value or function of the old)."""
    tables = {name: Table(kept) for name, kept in recording().outcomes[0].tables.items()}
    for name, column, rows, value in changes:
        values = tables[name][column]
        chosen = range(len(values))[slice(None) if rows is None else rows]
        for index in [chosen] if isinstance(chosen, int) else chosen:
            values[index] = value(values[index]) if callable(value) else value
    return tables


# claim, run, column, row (None: the whole column), value or a function of the old value
FALSE_RUNS = [
    (0, "L2 = 3", "nc1_bound", -1, 0.001),
    (1, "L2 = 5", "paper_bound", -1, 0.001),
    (2, "λ = 8e-3", "nc2_bound", -1, 1.0),
    (3, "L2 = 5", "law_error", -1, 0.2),
    (3, "λ = 2e-3", "half_law_error", None, 0.0),
    (4, "λ = 0", "fit", slice(0, 14), lambda fit: fit + 0.2),
    (4, "λ = 4e-3", "fitting_time", 0, 0.1),
    (4, "λ = 4e-3", "fitting_time", 0, 10.0),
    (4, "λ = 2e-3", "imbalance", slice(1, None), lambda size: size / 10),
    (5, "λ = 4e-3", "nc1", 0, lambda nc1: nc1 / 2),
    (5, "λ = 2e-3", "nc1", 0, lambda nc1: nc1 / 2),
    (5, "λ = 0", "nc1", 0, 10.0),
    (6, "λ = 8e-3", "nc1", -1, lambda nc1: 0.8 * nc1),  # exponent below a half
    (6, "λ = 2e-3", "nc1", -1, lambda nc1: 0.7 * nc1),  # exponent above three halves
    (6, "λ = 8e-3", "nc1", -1, lambda nc1: 1.4 * nc1),  # the steeper one first
    (6, "λ = 8e-3", "nc1", slice(1, 20), lambda nc1: 2 * nc1),
    (7, "λ = 0", "fit", -1, 2e-4),
    (7, "λ = 0", "imbalance", -1, lambda size: 1.1 * size),
    (7, "λ = 0", "nc1", 10, 0.2),
    (8, "L2 = 3", "conditioning", -1, lambda kappa: kappa + 0.02),
    (8, "L2 = 5", "conditioning", 0, lambda kappa: 1.2),
    (9, "L2 = 3", "nc2", -1, 1.5),
    (9, "L2 = 3", "nc1", -1, lambda nc1: 1.4 * nc1),
    (9, "λ = 4e-3", "head_conditioning", -1, 3.0),
    (10, "L2 = 4", "nc2", -1, lambda nc2: nc2 * 0.94),
    (11, "L2 = 1", "nc1", -1, 0.2),
    (11, "L2 = 1", "nc2", -1, 1.3),
    (11, "L2 = 1, λ = 0", "nc1", -1, 0.1),
    (4, "λ = 0", "fit", None, 1.0),  # it never fits
    (7, "λ = 4e-3", "nc1", -1, 0.05),  # the run with weight decay is no control
    (12, "L2 = 3", "nc1_bound_balanced", -1, lambda bound: bound / 3),
    (12, "λ = 0", "nc1_bound_balanced", -1, 0.1),
    (13, "starts", "left", slice(38, None), 100.0),
    (13, "starts", "nc1", 75, 0.01),
    (13, "starts", "left", slice(0, 38), 1.0),
    (13, "starts", "nc1", 37, 0.05),
    (13, "starts", "fit", 37, 1e-5),
    (13, "starts", "imbalance", 56, 0.9),
    (14, "widths", "proved", 4, lambda rate: rate / 30),
    (14, "widths", "time", 4, lambda time: 1.9 * time),
    (14, "widths", "proved", 0, 1e-9),
    (14, "widths", "kernel", 2, 1.0),
    (14, "widths", "now", 2, 2.0),
]
# These columns serve several claims at once, so others may break too.
SHARED = {
    *(("λ = 4e-3", "head_conditioning"), ("λ = 8e-3", "nc1"), ("L2 = 4", "nc2")),
    *(("λ = 0", "fit"), ("λ = 4e-3", "nc1")),
    *(("λ = 2e-3", "nc1"), ("L2 = 3", "nc1_bound_balanced")),
}


def controls_that_hold_too():
    """Which claim, and tables in which what should exceed its bound does not."""
    for index, column, like in (
        (0, "nc1_bound_balanced", "nc1_bound"),
        (1, "paper_bound_balanced", "paper_bound"),
        (2, "conditioning", "nc2_bound"),
    ):
        tables = run()
        for table in tables.values():
            if like in table:
                table[column][:] = [100.0 if v is None else 2 * v for v in table[like]]
        yield index, tables
    # A narrow network that hardly fits; a fit that takes longer than a rate promises.
    yield 14, run(("widths", "time", 0, 5.0), ("widths", "now", 0, 0.25))
    yield 14, run(("widths", "proved", 2, 0.45), ("widths", "kernel", 2, 0.45))
    two_layers = 1.02 * run()["L2 = 4"].last["nc2"]  # which predict as well
    yield 10, run(("λ = 4e-3", "nc2", -1, two_layers))


def true_claims():
    return jacot2024.claims(run())


def false_claims():
    for index, *change in FALSE_RUNS:
        yield jacot2024.claims(run(change))[index]
    for index, tables in controls_that_hold_too():
        yield jacot2024.claims(tables)[index]


def test_a_false_run_breaks_no_other_claim():
    for claim, *change in FALSE_RUNS:
        if tuple(change[:2]) not in SHARED:
            broken = [not made.holds for made in jacot2024.claims(run(change))]
            assert broken == [index == claim for index in range(15)], change


def test_times_between_measurements():
    table = Table({"time": [0.0, 1.0, 100.0], "fit": [1.0, 0.1, 0.001]})
    assert jacot2024._at(table, "fit", 10.0) == pytest.approx(0.01)
    assert jacot2024._falls_to(table, "fit", 0.01) == pytest.approx(50.5)
    assert jacot2024._falls_to(table, "fit", 1e-4) == math.inf


def test_on_other_data_the_bounds_are_judged_and_the_rest_reported(monkeypatch):
    names = iter(jacot2024.RUNS)
    monkeypatch.setattr(jacot2024, "train", lambda *_, **__: (None, run()[next(names)]))
    data = gaussian_mixture(4, 6)
    outcome = jacot2024.experiment(seed=1, data=data)
    assert outcome.data == jacot2024.prepare(data).card
    verdicts = [claim.verdict for claim in outcome.claims]
    assert verdicts == ["the proved part holds"] * 3 + ["reported"] * 10
    assert list(outcome.tables) == list(jacot2024.RUNS)


def test_recording_is_what_the_code_gives():
    outcome = recording().outcomes[1]
    data = jacot2024.prepare()
    assert outcome.data == data.card
    assert outcome.data.num_test == int((digits().test_labels < 5).sum())
    _, table = jacot2024.train(data, num_linear=2, weight_decay=8e-3, seed=outcome.seed)
    recorded = outcome.tables["λ = 8e-3"]
    assert set(table) == set(recorded)
    for column, values in table.items():
        for value, kept in zip(values, recorded[column], strict=True):
            assert value == (None if kept is None else pytest.approx(kept, rel=1e-3, abs=1e-4))
    again = jacot2024.widths(data, seed=outcome.seed)
    for column, values in again.items():
        assert values == pytest.approx(outcome.tables["widths"][column], rel=1e-3, abs=1e-9)
    starts = jacot2024.starts(data, seed=outcome.seed)
    assert starts["nc1"] == pytest.approx(outcome.tables["starts"]["nc1"], rel=0.02)


def test_what_did_not_carry_over_to_clothes_is_said_in_the_chapter():
    """Each cross of the recording on Fashion-MNIST, with its number, in the cell on limits."""
    kept = Recording.load("notebooks/recorded/beyond-jacot2024.json").outcomes[0]
    crosses = [claim for claim in kept.claims if not claim.holds]
    assert len(crosses) == 8
    law, clocks, falls, power, bare, root, four, one = crosses
    predicted, nc2 = four.measured["predicted"], four.measured["measured"]
    low, high = list(power.measured.values())[:2]
    said = (
        f"off by a factor of {law.measured['largest relative error']:.0f}",
        f"takes {clocks.measured['fit, longest / shortest time']:.1f} times as long",
        f"falls {falls.measured['λ = 4e-3']:.0f}-fold at 4e-3",
        f"{falls.control['without weight decay']:.1f}-fold without weight decay",
        f"is {low:.2f} and {high:.2f}",
        f"ends at {bare.measured['fit'] * 1e4:.2f}e-4 and NC1 at {bare.measured['NC1']:.2f}",
        f"off the root by {root.measured['largest difference']:.3f}",
        f"predicted {100 * (1 - predicted / nc2):.1f} % too low",
        f"NC1 falls {one.measured['NC1 falls by the factor']:.0f}-fold, where 30",
    )
    text = Path("notebooks/06-wide-networks.ipynb").read_text(encoding="utf-8")
    for words in said:
        assert words in text, words
