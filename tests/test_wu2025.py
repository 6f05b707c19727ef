"""The mean-field network against autograd, its identity and bounds, and the claims' false runs."""

import math
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
import torch
from torch.nn.functional import one_hot

from ncourse.claims import Recording
from ncourse.data import Dataset, digits, gaussian_mixture
from ncourse.metrics import measure
from ncourse.papers import wu2025
from ncourse.tables import Table

RECORDING = Recording.load("notebooks/recorded/07-wu2025.json")


@pytest.fixture(scope="module")
def data():
    return wu2025.digits_mod_3(samples=6, seed=1)


@pytest.fixture(scope="module")
def network(data):
    """Away from the start, with a W whose rows are neither orthogonal nor of length 1."""
    start = wu2025.random_network(data, num_particles=20, dim=7, gamma=1.7, seed=2)
    (moved,) = wu2025.flow(start, data, weight_decay=0.01, times=[20], step=0.1)
    tilt = torch.tensor([[1.0, 0.3, 0], [0, 2.0, -0.4], [0.1, 0, 0.5]], dtype=torch.float64)
    return replace(moved, weight=tilt @ moved.weight)


# The network --------------------------------------------------------------------------------------


def test_features_and_logits_by_hand():
    network = wu2025.Network(
        torch.tensor([[1.0, 0], [0, 3.0]]).double(),
        torch.tensor([[0.5], [-0.2]]).double(),
        torch.tensor([[2.0, 1]]).double(),
        gamma=3.0,
    )
    first, second = math.tanh(1.0), 3 * math.tanh(-0.4)
    features = network.features(torch.tensor([[2.0]]).double())
    assert features[0].tolist() == pytest.approx([first / 2, second / 2])
    logits = network.logits(torch.tensor([[2.0]]).double())
    assert logits[0].tolist() == pytest.approx([3 * (first + second / 2)])


def test_start_is_standard_normal_with_orthonormal_rows(data):
    start = wu2025.random_network(data, num_particles=4000, dim=5, seed=3)
    assert start.outer.std().item() == pytest.approx(1, abs=0.02)
    assert start.inner.std().item() == pytest.approx(1, abs=0.02)
    torch.testing.assert_close(start.weight @ start.weight.T, torch.eye(3).double())


def test_gradient_is_autograd_s_in_mean_field_scaling(data, network):
    outer, inner, weight = (
        each.clone().requires_grad_() for each in (network.outer, network.inner, network.weight)
    )
    targets = one_hot(data.labels, 3).double()
    features = torch.tanh(data.inputs @ inner.T) @ outer / 20
    residual = 1.7 * features @ weight.T - targets
    penalty = (outer.square().sum() + inner.square().sum()) / 20 + weight.square().sum()
    value = residual.square().sum() / (2 * len(data.labels)) + 0.03 / 2 * penalty
    slopes = torch.autograd.grad(value, (outer, inner, weight))
    found = wu2025.gradient(network, data, weight_decay=0.03)
    for mine, theirs, factor in zip(found, slopes, (20, 20, 1), strict=True):
        torch.testing.assert_close(mine, factor * theirs)
    assert wu2025.loss(network, data) == pytest.approx(residual.square().sum().item() / 36)
    rms = (400 * slopes[0].square().sum() / 20).sqrt().item()
    both = (400 * (slopes[0].square().sum() + slopes[1].square().sum()) / 20).sqrt().item()
    assert wu2025.norms(network, data, weight_decay=0.03) == pytest.approx((rms, both))


def test_flow_takes_euler_steps_and_leaves_its_start_alone(data):
    start = wu2025.random_network(data, num_particles=9, seed=0)
    before = start.outer.clone()
    path = wu2025.flow(
        start, data, weight_decay=0.1, times=[0, 0.5, 1.0], step=0.5, train_weight=True
    )
    torch.testing.assert_close(start.outer, before, rtol=0, atol=0)
    torch.testing.assert_close(path[0].outer, before, rtol=0, atol=0)
    for here, there in pairwise(path):
        slopes = wu2025.gradient(here, data, weight_decay=0.1)
        torch.testing.assert_close(there.outer, here.outer - 0.5 * slopes[0])
        torch.testing.assert_close(there.inner, here.inner - 0.5 * slopes[1])
        torch.testing.assert_close(there.weight, here.weight - 0.5 * slopes[2])
    (fixed,) = wu2025.flow(start, data, weight_decay=0.1, times=[1.0], step=0.5)
    torch.testing.assert_close(fixed.weight, start.weight, rtol=0, atol=0)


def test_noise_has_variance_two_temperature_times_step(data):
    start = wu2025.random_network(data, num_particles=3000, seed=0)
    (calm,) = wu2025.flow(start, data, weight_decay=0.1, times=[0.1], step=0.1)
    (noisy,) = wu2025.flow(start, data, weight_decay=0.1, times=[0.1], step=0.1, temperature=0.3)
    for name in ("outer", "inner"):
        noise = getattr(noisy, name) - getattr(calm, name)
        assert noise.var().item() == pytest.approx(2 * 0.3 * 0.1, rel=0.05)
    torch.testing.assert_close(noisy.weight, calm.weight, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"weight_decay": -1.0, "times": [1]}, "weight_decay=-1"),
        ({"weight_decay": 0.0, "times": [1], "temperature": -0.1}, "temperature=-0.1"),
        ({"weight_decay": 0.0, "times": [1], "step": 0.0}, "step=0"),
        ({"weight_decay": 0.0, "times": [2, 1]}, "increase"),
        ({"weight_decay": 0.0, "times": []}, "increase"),
        ({"weight_decay": 3.0, "times": [2000], "step": 1.0}, "diverges with step 1"),
    ],
)
def test_flow_refuses_what_it_cannot_do(data, arguments, says):
    start = wu2025.random_network(data, num_particles=5, seed=0)
    with pytest.raises(ValueError, match=says):
        wu2025.flow(start, data, **arguments)


@pytest.mark.parametrize(("option", "value"), [("dim", 2), ("num_particles", 0)])
def test_a_start_without_room_is_refused(data, option, value):
    with pytest.raises(ValueError, match=f"{option} is {value}"):
        wu2025.random_network(data, **{option: value})


# The theory ---------------------------------------------------------------------------------------


def test_identity_holds_anywhere_and_its_parts_are_what_they_say(data, network):
    split = wu2025.decompose(network, data, weight_decay=0.02)
    features = network.features(data.inputs)
    torch.testing.assert_close(split.collapsed + split.inside + split.outside, features)
    projection = torch.linalg.pinv(network.weight) @ network.weight
    torch.testing.assert_close(split.outside, features - features @ projection)
    assert measure(split.collapsed, data.labels, None, num_classes=3).trace_ratio < 1e-20
    assert (split.inside * split.outside).sum(1).abs().max() < 1e-12
    assert split.error == pytest.approx((features - split.collapsed).norm().item())


def test_identity_refuses_no_decay_and_dependent_rows(data, network):
    with pytest.raises(ValueError, match="must be positive"):
        wu2025.decompose(network, data, weight_decay=0.0)
    flat = replace(network, weight=network.weight[[0, 1, 1]])
    with pytest.raises(ValueError, match="dependent"):
        wu2025.decompose(flat, data, weight_decay=0.1)


def test_bounds_hold_and_the_theorem_is_looser(data, network):
    fit = wu2025.loss(network, data)
    readout, both = wu2025.norms(network, data, weight_decay=0.02)
    known = {
        "weight": network.weight,
        "num_samples": len(data.labels),
        "gamma": 1.7,
        "weight_decay": 0.02,
    }
    error = wu2025.decompose(network, data, weight_decay=0.02).error
    ours = wu2025.error_bound(fit, readout, **known)
    assert error <= ours <= wu2025.theorem_bound(fit, both, **known)
    without = wu2025.error_bound(fit, 0.0, **known)
    smallest = torch.linalg.svdvals(network.weight)[-1].item()
    assert without == pytest.approx(math.sqrt(36 * fit) / (1.7 * smallest))
    assert ours**2 - without**2 == pytest.approx(18 * readout**2 / 0.02**2)
    assert wu2025.error_bound(fit, readout, **{**known, "weight_decay": 0.0}) == math.inf
    assert wu2025.theorem_bound(fit, both, **{**known, "weight_decay": 0.0}) == math.inf


def test_theorem_bound_by_hand():
    value = wu2025.theorem_bound(
        0.5,
        0.1,
        weight=torch.diag(torch.tensor([2.0, 1.0])).double(),
        num_samples=3,
        gamma=1.0,
        weight_decay=0.5,
    )
    # (2 * 16 * 16 + 4) * 3 * 0.01 + (2 * 3 * 0.5 + 2 * 4 * 4 * 3 * 0.01) / 1
    assert value**2 == pytest.approx(516 * 0.03 + 3.96)


def test_nc1_bound_holds_for_any_error_of_that_size_and_ends_at_a():
    weight = torch.diag(torch.tensor([2.0, 1.0, 0.5])).double()
    labels = torch.arange(3).repeat_interleave(5)
    collapsed = torch.linalg.inv(weight)[labels] / 1.5
    known = {"weight": weight, "num_samples": 15, "gamma": 1.5}
    size = math.sqrt(10) / 3
    assert wu2025.nc1_bound(size, **known) == math.inf
    assert wu2025.nc1_bound(size / 2, **known) == pytest.approx(1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        error = torch.randn(15, 3, generator=generator, dtype=torch.float64)
        error = 0.3 * error / error.norm()
        found = measure(collapsed + error, labels, None, convention="wu", num_classes=3).nc1
        assert found <= wu2025.nc1_bound(0.3, **known)


def test_imbalance_of_balanced_and_of_orthogonal_layers(network):
    root = torch.linalg.qr(network.inner[:, :3])[0]
    outer = 3 * root @ network.weight
    assert wu2025.imbalance(replace(network, outer=outer)) < 1e-12
    away = wu2025.outside(network)
    assert wu2025.imbalance(replace(network, outer=away)) == pytest.approx(1)


def test_imbalance_uses_the_best_factor(network):
    moment = network.outer.T @ network.outer / 20
    product = network.weight.T @ network.weight
    grid = torch.linspace(-3, 3, 60001).double()
    best = grid[((moment - grid[:, None, None] * product).square().sum((1, 2))).argmin()]
    wanted = torch.linalg.eigvalsh(moment - best * product).abs().max()
    wanted = (wanted / torch.linalg.eigvalsh(moment).max()).item()
    assert wu2025.imbalance(network) == pytest.approx(wanted, abs=1e-3)


def test_outside_parts_decay_whatever_the_fit_does(data):
    start = wu2025.random_network(data, num_particles=10, seed=1)
    (end,) = wu2025.flow(start, data, weight_decay=0.02, times=[50], step=0.05)
    expected = (1 - 0.05 * 0.02) ** 1000 * wu2025.outside(start)
    torch.testing.assert_close(wu2025.outside(end), expected)
    assert (wu2025.outside(end) @ end.weight.T).abs().max() < 1e-12
    (moving,) = wu2025.flow(
        start, data, weight_decay=0.02, times=[50], step=0.05, train_weight=True
    )
    assert (wu2025.outside(moving) - expected).abs().max() > 1e-4


def test_frozen_nc1_is_the_mean_over_outside_parts(data):
    start = wu2025.random_network(data, num_particles=30, seed=4)
    (fitted,) = wu2025.flow(start, data, weight_decay=0.0, times=[400], step=0.1)
    activations = fitted.activations(data.inputs)
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(300):
        fresh = torch.randn(fitted.outer.shape, generator=generator, dtype=torch.float64)
        other = replace(fitted, outer=fresh)
        features = fitted.features(data.inputs) - activations @ wu2025.outside(fitted) / 30
        features = features + activations @ wu2025.outside(other) / 30
        found.append(measure(features, data.labels, None, convention="wu", num_classes=3).nc1)
    mean = sum(found) / len(found)
    assert wu2025.frozen_nc1(fitted, data) == pytest.approx(mean, rel=0.05)


def test_stationary_networks_are_stationary_and_have_nothing_outside(data):
    few = data.take(4, seed=0)
    found = wu2025.stationary(few, weight_decay=1e-2, num_particles=16, seed=0)
    readout, both = wu2025.norms(found, few, weight_decay=1e-2)
    assert readout <= both < 1e-6
    assert wu2025.outside(found).norm() < 1e-4
    assert torch.linalg.matrix_rank(found.weight) == 3


def test_stationary_says_so_where_it_did_not_get_there(data):
    few = data.take(4, seed=0)
    with pytest.raises(ValueError, match="the solver ends at a gradient of"):
        wu2025.stationary(few, weight_decay=1e-2, num_particles=16, seed=0, iterations=3)


@pytest.mark.parametrize("train_weight", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.02])
def test_mirrored_particles_stay_where_w_sees_them(data, train_weight, weight_decay):
    half = wu2025.random_network(data, num_particles=10, seed=1)
    whole = wu2025.mirrored(half)
    assert whole.outer.shape == (20, 16)
    torch.testing.assert_close(whole.outer[10:] @ whole.weight.T, half.outer @ half.weight.T)
    run = partial(wu2025.flow, weight_decay=weight_decay, times=[20], train_weight=train_weight)
    for start, least in ((whole, 0), (half, 0.1)):
        (end,) = run(start, data)
        beyond = end.features(data.inputs)
        beyond = beyond - beyond @ torch.linalg.pinv(end.weight) @ end.weight
        assert (beyond.norm() < 1e-10) == (least == 0)
        assert beyond.norm() >= least


def test_w_is_as_well_conditioned_as_loss_and_moments_say(data, network):
    for scale in (1.0, 0.01):
        here = replace(network, weight=scale * network.weight)
        row = wu2025.measured(here, data, weight_decay=0.02)
        assert row["smallest_bound"] <= row["smallest"]
    assert row["smallest_free"] > row["smallest"]  # without the loss it is no bound


def test_least_eigenvalue_is_zero_for_opposite_inputs_only(data):
    inputs = data.inputs[:4]
    assert wu2025.least_eigenvalue(inputs, draws=20_000) > 1e-3
    for other in (inputs[:1], -inputs[:1], 0 * inputs[:1]):
        assert abs(wu2025.least_eigenvalue(torch.cat([inputs, other]), draws=20_000)) < 1e-9


def test_with_noise_the_paper_s_bound_is_not_said(data):
    start = wu2025.random_network(data, num_particles=10, seed=1)
    row = wu2025.measured(start, data, weight_decay=0.1, temperature=0.1)
    assert row["theorem"] is None
    assert row["stationarity"] is None
    assert row["readout"] > 0


# Data ---------------------------------------------------------------------------------------------


def test_digits_mod_3_has_the_same_number_of_each_and_norm_4():
    data = wu2025.digits_mod_3(samples=7, seed=5)
    assert data.labels.bincount().tolist() == [7, 7, 7]
    assert data.inputs.norm(dim=1).max().item() == pytest.approx(4)
    assert len(data.labels) + len(data.test_labels) == 1797
    assert data.inputs.min() >= 0
    other = wu2025.digits_mod_3(samples=7, seed=6)
    assert not torch.equal(data.inputs, other.inputs)
    together = torch.cat([data.test_labels, data.labels]).bincount()
    labels = digits().labels % 3
    tests = digits().test_labels % 3
    assert together.tolist() == torch.cat([labels, tests]).bincount().tolist()


def test_balls_lie_in_their_balls_and_separable_ones_are():
    data = wu2025.balls(radius=0.3, shuffled=False, seed=2)
    means = torch.stack([data.test_inputs[data.test_labels == k].mean(0) for k in range(3)]) / 4
    assert means.norm(dim=1).tolist() == pytest.approx([0.6] * 3, abs=0.03)
    distance = (data.test_inputs / 4 - means[data.test_labels]).norm(dim=1)
    assert distance.max() < 0.3 + 0.03
    # u_k = centre k minus the other two has no mistake on either side of zero.
    for k in range(3):
        inner = data.test_inputs @ (2 * means[k] - means.sum(0))
        assert bool(((inner > 0) == (data.test_labels == k)).all())
    assert wu2025.BALLS["separable"]["radius"] < wu2025.largest_radius()
    assert wu2025.BALLS["overlapping"]["radius"] > 2 * wu2025.largest_radius()


def test_shuffled_labels_keep_inputs_counts_and_test_labels():
    true = wu2025.balls(radius=0.3, shuffled=False, seed=2)
    noise = wu2025.balls(radius=0.3, shuffled=True, seed=2)
    torch.testing.assert_close(true.inputs, noise.inputs, rtol=0, atol=0)
    assert not torch.equal(true.labels, noise.labels)
    assert noise.labels.bincount().tolist() == [40] * 3
    assert torch.equal(true.test_labels, noise.test_labels)


def test_scaled_makes_equal_flat_classes():
    mixture = gaussian_mixture(4, 6, train_per_class=15, seed=0)
    uneven = replace(mixture, inputs=mixture.inputs[3:], labels=mixture.labels[3:])
    ready = wu2025.scaled(uneven)
    assert ready.labels.bincount().tolist() == [12] * 4
    assert ready.inputs.dtype == torch.float64
    assert ready.inputs.norm(dim=1).max().item() == pytest.approx(4)
    images = wu2025.scaled(digits())
    assert images.inputs.shape == (400, 64)


def _small(**changes) -> Dataset:
    data = gaussian_mixture(3, 4, train_per_class=10, test_per_class=5)
    return replace(data, **changes)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (gaussian_mixture(17, 4), "17 classes"),
        (gaussian_mixture(3, 4, test_per_class=0), "no test samples"),
        (_small(labels=torch.zeros(30, dtype=torch.int64)), "has 0 training samples of class 1"),
        (_small(inputs=torch.zeros(30, 4)), "are zero"),
    ],
)
def test_scaled_refuses_what_cannot_work(data, says):
    with pytest.raises(ValueError, match=says):
        wu2025.scaled(data)


# Claims -------------------------------------------------------------------------------------------

FIXED, FREE, TRAINED = wu2025.RUNS
EVERY = slice(None)


def run(*changes):
    """The first recorded run, in which all claims hold, but for what is changed."""
    tables = {
        name: {column: list(values) for column, values in table.items()}
        for name, table in RECORDING.outcomes[0].tables.items()
    }
    for name, column, row, value in changes:
        tables[name][column][row] = value
    return {name: Table(columns) for name, columns in tables.items()}


def claims_of(tables):
    return (*wu2025.claims(tables), *wu2025.claims_of_long_runs(tables))


def true_claims():
    return claims_of(run())


TRUE = run()
COLLAPSED = [
    nc1 / (10 if time >= 100 else 1)
    for nc1, time in zip(TRUE[FREE]["nc1"], TRUE[FREE]["time"], strict=True)
]
SIZES = TRUE["particles"]["particles"]


def off(**at):
    """The differences from the limit's NC1, changed for some numbers of particles."""
    before = zip(SIZES, TRUE["particles"]["nc1"], strict=True)
    return ("particles", "nc1", EVERY, [at.get(f"at_{size}", nc1) for size, nc1 in before])


def stages(data, column, value, count=None, size=None):
    """A column of the two-stage runs, changed for one data set, some samples, some particles."""
    rows = TRUE["samples"].rows()
    hit = [
        row["data"] == data and count in (None, row["samples"]) and size in (None, row["particles"])
        for row in rows
    ]
    return (
        "samples",
        column,
        EVERY,
        [value if h else r[column] for h, r in zip(hit, rows, strict=True)],
    )


# (claims that are false, what is changed: table, column, row, value)
FALSE = [
    ((0,), [(FIXED, "nc1", 0, 0.3)]),
    # NC1 is at most 1, so that only an error in measuring it could make such a run.
    ((0, 1, 4), [(FIXED, "nc1", 0, 5.0), (FIXED, "nc1", -1, 0.02)]),
    ((0, 1, 4), [(FIXED, "nc1", -1, 0.05)]),
    ((0, 13), [(FREE, "nc1", 0, 5.0)]),
    ((1,), [(FREE, "loss", -1, 1e-4)]),
    ((1,), [(FREE, "train_accuracy", -1, 0.99)]),
    ((1,), [(FREE, "nc1", -2, 0.2)]),
    ((1,), [(FREE, "nc1", EVERY, COLLAPSED)]),  # it stands still, but has collapsed
    ((2,), [(FIXED, "identity", 7, 1e-6)]),
    ((2,), [(TRAINED, "identity", 7, 1e-6)]),
    ((2,), [(FIXED, "dropped", EVERY, [1e-12] * len(TRUE[FIXED]["time"]))]),
    ((3,), [(FIXED, "bound", -1, 1e-6)]),
    ((3,), [(TRAINED, "bound", -1, 1e-6)]),
    ((3,), [(FIXED, "bound", -1, 0.7)]),
    ((3,), [(FIXED, "loss_only", EVERY, [math.inf] * len(TRUE[FIXED]["time"]))]),
    ((4,), [(FIXED, "imbalance", -1, 0.1)]),
    ((4,), [(TRAINED, "imbalance", -1, 0.2)]),
    ((4,), [(TRAINED, "nc1", -1, 0.2)]),
    ((5,), [(FIXED, "outside", 20, 1.0)]),
    ((5,), [(FREE, "outside", 20, 0.9)]),
    # A run that is too short for the outside part to vanish.
    ((5,), [(FIXED, "time", -1, 1000.0), (FIXED, "outside", -1, math.exp(-4))]),
    ((6,), [("landscape", "loss", 1, 1e-4)]),
    ((6,), [("landscape", "nc1", 0, 5e-5)]),
    ((6,), [("landscape", "bound", 0, 1e-9)]),
    ((6,), [("landscape", "bound", 1, 0.01)]),
    ((6,), [("landscape", "early", 1, 1e-3)]),
    ((6,), [("landscape", "early", 0, 1e-3)]),
    ((7,), [("data", "nc1", 0, 0.05)]),
    ((7,), [("data", "nc1", 1, 0.05)]),
    ((7,), [("data", "train_accuracy", 0, 0.9)]),
    ((7,), [("data", "train_accuracy", 1, 0.9)]),
    ((7,), [("data", "test_accuracy", 1, 0.9)]),
    ((7, 8), [("data", "test_accuracy", 0, 0.9)]),
    ((8,), [("data", "nc1_start", 2, 0.1)]),
    ((8,), [("data", "nc1_start", 2, 5.0), ("data", "nc1", 2, 0.06)]),
    ((8,), [("data", "train_accuracy", 2, 0.9)]),
    ((8,), [("data", "test_accuracy", 2, 0.9)]),
    ((13,), [("small decay", "nc1", -1, 0.1)]),
    ((13,), [("small decay", "bound", -1, 0.7)]),
    ((13,), [("small decay", "bound", -2, 1e-9)]),
    ((14,), [("floor", "nc1", 1, 0.2)]),
    # A floor that does not depend on width.
    ((14,), [("floor", "nc1", EVERY, [0.1] * 3), ("floor", "predicted", EVERY, [0.1] * 3)]),
    ((15,), [("entropic", "variance", 1, 0.4)]),
    ((15,), [("entropic", "variance", 2, 0.1)]),
    ((15,), [("entropic", "nc1", 0, 0.5)]),
    ((16,), [("entropic", "imbalance", 1, 0.0)]),
    ((16,), [("entropic", "imbalance", 2, 0.2)]),
    # Features that do not approach the limit, and a control that does.
    ((17,), [("particles", "features", EVERY, [0.2] * len(SIZES))]),
    ((17,), [("particles", "standing", EVERY, TRUE["particles"]["features"])]),
    ((18,), [off(at_2048=0.02)]),
    ((18,), [off(at_32=0.01)]),
    ((18,), [off(at_2048=0.1, at_32=0.12)]),
    # Mirrored particles, the free energy, the conditioning of W, lazy particles; two stages.
    ((9,), [("mirrored", "unseen", 0, 0.02)]),
    (
        (9,),
        [
            ("mirrored", "nc1", 0, 3e-3),
            ("mirrored", "bound", 0, 4e-3),
            ("mirrored", "nc1", 1, 0.02),
            ("mirrored", "bound", 1, 0.03),
        ],
    ),
    ((9,), [("mirrored", "nc1", 4, 0.05)]),
    ((9,), [("mirrored", "unseen", 4, 0.01)]),
    ((9,), [("mirrored", "bound", 0, 1e-9)]),
    ((9,), [("mirrored", "bound", 4, 0.2)]),
    ((9,), [("mirrored", "nc1", 1, 1e-3)]),
    ((10,), [("free energy", "bound", -1, 5.0)]),
    ((10,), [("free energy", "error_free", EVERY, TRUE["free energy"]["error_bound"])]),
    ((10,), [("free energy", "noiseless", 3, 0.5)]),
    ((10,), [("free energy", "error_bound", 3, 1.0)]),
    ((10,), [("free energy", "bound", -1, 1e-3)]),
    ((11,), [(TRAINED, "smallest_bound", 3, 2.0)]),
    ((11,), [(TRAINED, "smallest", 3, 0.4)]),
    ((11,), [("too much decay", "smallest", -1, 0.1)]),
    (
        (11,),
        [("too much decay", "smallest_free", EVERY, [-1.0] * len(TRUE["too much decay"]["time"]))],
    ),
    ((12,), [("lazy", "loss_bound", 1, 0.0)]),
    ((12,), [("lazy", "moved", 0, 0.5)]),
    ((12,), [("lazy", "least", 2, 0.0)]),
    ((12,), [("lazy", "loss_greatest", 1, 5.0)]),
    ((19,), [stages("separable", "test_loss", 0.004, count=80)]),
    ((19,), [stages("separable", "moment", 20.0, count=80)]),
    ((19,), [stages("overlapping", "test_loss", 0.02, count=80, size=64)]),
    ((19,), [stages("overlapping", "moment", 10.0, count=80)]),
    ((19,), [stages("separable", "test_loss", 0.05, count=5, size=64)]),
    ((19,), [stages("separable", "test_accuracy", 0.9)]),
    ((19,), [stages("overlapping", "test_accuracy", 0.9)]),
]


def false_claims():
    return [claims_of(run(*changes))[index] for broken, changes in FALSE for index in broken]


# Experiment and recording -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scale", "says"),
    [("paper", "'paper' is not built: .* are unknown here — use 'laptop'"), ("big", "'laptop'")],
)
def test_unknown_scales_are_refused(scale, says):
    with pytest.raises(ValueError, match=says):
        wu2025.experiment(scale)


@pytest.mark.parametrize("num_classes", [4, 16])
def test_on_other_data_what_is_proved_holds(monkeypatch, num_classes):
    """With 16 classes nothing is outside W, and the solver's networks need more features."""
    quick = partial(wu2025.trajectory, num_particles=8, step=0.5)
    monkeypatch.setattr(wu2025, "trajectory", quick)
    monkeypatch.setattr(wu2025, "generalisation", lambda **_: TRUE["data"])
    monkeypatch.setattr(wu2025, "symmetry", partial(wu2025.symmetry, duration=5.0))
    for name in ("landscape", "free_energy", "lazy"):
        table = TRUE[name.replace("_", " ")]
        monkeypatch.setattr(wu2025, name, lambda *_, _table=table, **__: _table)
    mine = gaussian_mixture(num_classes, 5, train_per_class=12, test_per_class=3)
    outcome = wu2025.experiment(seed=1, data=mine)
    assert outcome.data == wu2025.scaled(mine, seed=1).card
    more = {"mirrored", "free energy", "lazy", "too much decay"}
    assert set(outcome.tables) == {*wu2025.RUNS, *more, "data", "landscape"}
    judged = {index: made.holds for index, made in enumerate(outcome.claims) if made.binding}
    assert judged == dict.fromkeys((2, 3, 5, 6, 7, 8, 9, 11, 12), True)
    assert len(outcome.claims) == 13


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (_small(test_inputs=torch.zeros(0, 4), test_labels=torch.zeros(0).long()), "no test"),
        (_small(labels=torch.zeros(30).long()), r"at least 10 training samples .* has 0 of one"),
        (gaussian_mixture(17, 4), "17 classes"),
    ],
)
def test_data_that_cannot_work_are_refused_before_any_work(monkeypatch, data, says):
    monkeypatch.setattr(wu2025, "trajectory", None)
    with pytest.raises(ValueError, match=says):
        wu2025.experiment(data=data)


def test_trajectory_measures_the_flow(data):
    kept = []
    table = wu2025.trajectory(
        data, weight_decay=0.1, seed=2, duration=30.0, num_particles=12, keep=kept
    )
    assert table["time"] == [time for time, _ in kept]
    assert table["time"][0] == 0
    assert table["time"][-1] == 30
    features = kept[-1][1].features(data.inputs)
    nc1 = measure(features, data.labels, None, convention="wu", num_classes=3).nc1
    assert table["nc1"][-1] == nc1
    assert max(table["identity"]) < 1e-12 < max(table["dropped"])


def test_recording_is_what_the_code_gives():
    assert [outcome.seed for outcome in RECORDING.outcomes] == [1, 2, 3]
    outcome = RECORDING.outcomes[1]
    data = wu2025.digits_mod_3(seed=2)
    assert outcome.data == data.card
    for name, options in wu2025.RUNS.items():
        start = wu2025.random_network(data, seed=2)
        (here,) = wu2025.flow(
            start,
            data,
            times=outcome.tables[name]["time"][10:11],
            weight_decay=options["weight_decay"],
            train_weight=options.get("train_weight", False),
        )
        again = wu2025.measured(here, data, weight_decay=options["weight_decay"], start=start)
        for column in ("loss", "nc1", "imbalance", "outside"):
            assert again[column] == pytest.approx(outcome.tables[name][column][10], rel=1e-4)
    floor = outcome.tables["floor"]
    again = wu2025.floor(data, seed=2, sizes=(128,))
    assert again["nc1"][0] == pytest.approx(floor["nc1"][0], rel=1e-4)
