"""The programmes, their proofs, the floor, the networks they build, and the claims."""

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris, load_wine

from ncourse.claims import Recording
from ncourse.data import Dataset, gaussian_mixture
from ncourse.papers import hong2024
from ncourse.tables import Table
from ncourse.ufm import UFM, optimum, random_point, solve

RECORDING = Recording.load("notebooks/recorded/05-hong2024.json")


def random_data(dim, *, counts=(5, 5, 5), seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return torch.randn(len(labels), dim, generator=generator, dtype=torch.float64), labels


# The programmes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [3, 5, 7, 9, 11, 15])
@pytest.mark.parametrize("counts", [(5, 5, 5), (3, 8, 4)])
def test_every_answer_comes_with_a_proof(dim, counts):
    for seed in range(4):
        data, labels = random_data(dim, counts=counts, seed=seed)
        answer = hong2024.collapse_feasible(data, labels)
        assert "undecided" not in answer.status
        for k, status in enumerate(answer.status):
            own = labels == k
            if status == "feasible":
                values = data @ answer.witnesses[k]
                assert values[own].numpy() == pytest.approx(1)
                assert values[~own].max() <= 1e-9
                assert answer.obstructions[k].isnan().all()
            else:
                weights = answer.obstructions[k]
                assert (weights @ data).abs().max() <= 1e-9
                assert weights[own].sum().item() == pytest.approx(1)
                assert weights[~own].max() <= 0
                assert answer.witnesses[k].isnan().all()
        assert answer.failed == tuple(k for k in range(3) if answer.status[k] == "infeasible")
        assert answer.feasible == (not answer.failed)


def test_enough_dimensions_are_always_enough_and_too_few_never():
    assert hong2024.collapse_feasible(*random_data(15)).feasible
    assert hong2024.collapse_feasible(*random_data(4)).failed == (0, 1, 2)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_the_scale_of_the_data_does_not_matter(scale):
    for seed in range(6):
        data, labels = random_data(10, seed=seed)
        plain = hong2024.collapse_feasible(data, labels)
        scaled = hong2024.collapse_feasible(scale * data, labels)
        assert scaled.status == plain.status
        for k in range(3):
            if plain.status[k] == "feasible":
                assert (scale * data @ scaled.witnesses[k])[labels == k].numpy() == pytest.approx(1)


def test_the_same_point_in_two_classes_and_points_at_the_origin():
    data, labels = random_data(20)
    data[7] = data[2]  # class 1 and class 0
    answer = hong2024.collapse_feasible(data, labels)
    assert answer.status == ("infeasible", "infeasible", "feasible")
    assert answer.obstructions[0][[2, 7]].tolist() == pytest.approx([1, -1])
    assert str(answer) == "two layers cannot collapse (infeasible: classes [0, 1])"
    nothing = hong2024.collapse_feasible(0 * data, labels)
    assert nothing.failed == (0, 1, 2)
    far = hong2024.collapse_feasible(torch.eye(2), torch.tensor([0, 1]))  # float32
    assert far.feasible


def test_a_solver_that_gives_up_or_lies_is_not_believed(monkeypatch):
    data, labels = random_data(8)
    monkeypatch.setattr(hong2024, "linprog", lambda *_, **__: SimpleNamespace(status=4))
    answer = hong2024.collapse_feasible(data, labels)
    assert answer.status == ("undecided",) * 3
    assert not answer.feasible
    assert answer.failed == ()
    assert str(answer) == "two layers may or may not collapse (undecided: classes [0, 1, 2])"
    for value in (0.0, 1.0):
        lie = SimpleNamespace(
            status=0,
            fun=value,
            x=np.append(np.ones(8), value),
            eqlin=SimpleNamespace(marginals=np.ones(5)),
            ineqlin=SimpleNamespace(marginals=-np.ones(10)),
        )
        monkeypatch.setattr(hong2024, "linprog", lambda *_, lie=lie, **__: lie)
        assert hong2024.collapse_feasible(data, labels).status == ("undecided",) * 3


@pytest.mark.parametrize(
    ("data", "labels", "error", "says"),
    [
        (torch.ones(4, 2, dtype=torch.int64), [0, 0, 1, 1], TypeError, "floating point"),
        (torch.ones(4, 2), [0.0, 0, 1, 1], TypeError, "integers"),
        (torch.ones(4, 2, 2), [0, 0, 1, 1], ValueError, "flatten"),
        (torch.ones(4, 2), [0, 0, 1], ValueError, "flatten"),
        (torch.full((4, 2), math.nan), [0, 0, 1, 1], ValueError, "NaN"),
        (torch.ones(4, 2), [0, 0, 2, 2], ValueError, "no empty one"),
        (torch.ones(4, 2), [0, 0, 0, 0], ValueError, "at least two"),
        (torch.ones(4, 2), [-1, 0, 0, 1], ValueError, "0..K-1"),
    ],
)
def test_bad_data_are_refused(data, labels, error, says):
    with pytest.raises(error, match=says):
        hong2024.collapse_feasible(data, torch.tensor(labels))


def test_looking_along_a_class_keeps_its_answer():
    seen = []
    for seed in range(12):
        data, labels = random_data(8, seed=seed)
        for k in range(3):
            view = hong2024.look_along(data, labels, k)
            assert view.shape == (15, 4)
            point = view[labels == k]
            assert point[:, 1:].abs().max() <= 1e-12
            assert point[:, 0].numpy() == pytest.approx(point[0, 0].item())
            assert point[0, 0] > 0
            status = hong2024.collapse_feasible(data, labels).status[k]
            assert hong2024.collapse_feasible(view, labels).status[k] == status
            seen.append(status)
    assert set(seen) == {"feasible", "infeasible"}


def test_looking_along_a_class_that_fills_the_space_is_refused():
    with pytest.raises(ValueError, match="contains the origin"):
        hong2024.look_along(*random_data(4), 0)


# The floor and the networks -----------------------------------------------------------------------


@pytest.mark.parametrize(("num_classes", "samples"), [(2, 1), (3, 20), (4, 7)])
@pytest.mark.parametrize("penalties", [(0.02, 0.001), (0.004, 0.03), (0.5, 0.9)])
def test_lower_bound_is_the_optimum_of_free_features(num_classes, samples, penalties):
    weight, features = penalties
    model = UFM(
        num_classes=num_classes,
        samples_per_class=samples,
        dim=num_classes,
        lambda_w=weight,
        lambda_h=features,
        loss="mse",
    )
    bound = hong2024.lower_bound([samples] * num_classes, lambda_w=weight, lambda_h=features)
    assert bound == pytest.approx(optimum(model).loss)


def test_lower_bound_of_unequal_classes_is_where_free_features_end():
    model = UFM(
        num_classes=3,
        samples_per_class=(4, 9, 2),
        dim=5,
        lambda_w=0.02,
        lambda_h=0.01,
        loss="mse",
    )
    ends = [solve(model, start=random_point(model, seed=seed)).loss for seed in range(4)]
    assert hong2024.lower_bound([4, 9, 2], lambda_w=0.02, lambda_h=0.01) == pytest.approx(min(ends))


@pytest.mark.parametrize("arguments", [([0, 3], 0.1, 0.1), ([], 0.1, 0.1), ([2, 2], 0.0, 0.1)])
def test_lower_bound_refuses_what_has_none(arguments):
    counts, weight, features = arguments
    with pytest.raises(ValueError, match=r"every class|positive"):
        hong2024.lower_bound(counts, lambda_w=weight, lambda_h=features)


def test_objective_by_hand():
    # Features (2, 0) and (0, 3), logits (1, 0) and (0, 3).
    data = torch.tensor([[2.0, -1.0], [-5.0, 3.0]], dtype=torch.float64)
    first = torch.eye(2, dtype=torch.float64)
    weight = torch.diag(torch.tensor([0.5, 1.0], dtype=torch.float64))
    value = hong2024.objective(
        first, weight, data=data, labels=torch.tensor([0, 1]), lambda_w=0.1, lambda_h=0.2
    )
    assert value == pytest.approx(4 / 4 + 0.05 * 1.25 + 0.1 * 13)


@pytest.mark.parametrize("counts", [(5, 5, 5), (3, 8, 4)])
def test_certificate_meets_every_condition_of_equality(counts):
    data, labels = random_data(15, counts=counts)
    answer = hong2024.collapse_feasible(data, labels)
    net = hong2024.certificate(answer, data, labels, lambda_w=0.02, lambda_h=0.003)
    assert net.gap == pytest.approx(0, abs=1e-12)
    assert net.nc1 <= 1e-20
    assert net.accuracy == 1
    features = net.features(data)
    means = torch.stack([features[labels == k].mean(0) for k in range(3)])
    assert torch.allclose(features, means[labels])
    scale = (0.02 / (0.003 * torch.tensor(counts, dtype=torch.float64))).sqrt()
    assert torch.allclose(means, scale[:, None] * net.weight)
    gram = means @ means.T
    assert torch.allclose(gram, torch.diag(gram.diagonal()))


def test_no_network_is_below_the_floor():
    data, labels = random_data(6)
    floor = hong2024.lower_bound([5, 5, 5], lambda_w=0.02, lambda_h=0.001)
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        first = torch.randn(7, 6, generator=generator, dtype=torch.float64)
        weight = 0.1 * torch.randn(3, 7, generator=generator, dtype=torch.float64)
        value = hong2024.objective(
            first, weight, data=data, labels=labels, lambda_w=0.02, lambda_h=0.001
        )
        assert value > floor


def test_certificate_refuses_what_it_cannot_build():
    data, labels = random_data(4)
    with pytest.raises(ValueError, match="only where all classes are feasible"):
        hong2024.certificate(hong2024.collapse_feasible(data, labels), data, labels)
    data, labels = random_data(15)
    answer = hong2024.collapse_feasible(data, labels)
    with pytest.raises(ValueError, match="class vanish"):
        hong2024.certificate(answer, data, labels, lambda_w=0.5, lambda_h=0.5)


def test_training_ends_at_a_critical_point_and_keeps_the_best_start():
    data = hong2024.mixture(dim=16, snr=4.0, seed=3, samples=6)
    nets = [
        hong2024.train(data.inputs, data.labels, width=8, starts=starts, seed=1)
        for starts in (1, 4)
    ]
    assert nets[1].loss <= nets[0].loss
    first, weight = (x.clone().requires_grad_() for x in (nets[1].first, nets[1].weight))
    features = (data.inputs @ first.T).relu()
    targets = torch.nn.functional.one_hot(data.labels, 3)
    loss = (features @ weight.T - targets).square().sum() / 36
    loss = loss + 0.01 * weight.square().sum() + 0.0005 * features.square().sum()
    assert nets[1].loss == pytest.approx(loss.item())
    slopes = torch.autograd.grad(loss, (first, weight))
    assert max(slope.abs().max() for slope in slopes) <= 1e-5
    assert nets[1].correct(data.inputs, data.labels) == nets[1].accuracy == 1


def test_nc1_is_the_ratio_of_traces():
    data = hong2024.mixture(dim=5, snr=2.0, seed=3, samples=6)  # d < n: no collapse
    net = hong2024.train(data.inputs, data.labels, width=8, starts=1)
    classes = net.features(data.inputs).reshape(3, 6, 8)
    means = classes.mean(1, keepdim=True)
    within, between = (classes - means).square().sum() / 6, (means - means.mean(0)).square().sum()
    assert net.nc1 == pytest.approx((within / between).item())


# Data and counts ----------------------------------------------------------------------------------


def test_mixture_keeps_directions_and_noise_when_the_snr_changes():
    low, high = (hong2024.mixture(dim=9, snr=snr, seed=5) for snr in (1.0, 3.0))
    none = hong2024.mixture(dim=9, snr=0.0, seed=5)
    torch.testing.assert_close(high.inputs - none.inputs, 3 * (low.inputs - none.inputs))
    means = (low.inputs - none.inputs)[[0, 20, 40]]
    torch.testing.assert_close(means @ means.T, torch.eye(3, dtype=torch.float64))
    assert none.inputs.square().sum(1).mean().item() == pytest.approx(1, abs=0.2)


def test_probability_at_its_ends_and_in_the_middle():
    sizes = {"num_classes": 3, "samples": 20}
    assert hong2024.feasible_probability(19, **sizes) == 0
    assert hong2024.feasible_probability(60, **sizes) == 1
    below, middle, above = (hong2024.feasible_probability(d, **sizes) for d in (35, 40, 45))
    assert below < 0.1 < 0.5 < middle < 0.6 < 0.9 < above
    # n = 1, K = 2, d = 2: a half-plane through the origin has x inside and y outside: always,
    # unless they are parallel; in d = 1 if they have opposite signs.
    assert hong2024.feasible_probability(1, num_classes=2, samples=1) == 0.5


def test_probability_is_what_random_data_do():
    found = [
        hong2024.collapse_feasible(*random_data(5, counts=(3, 3, 3), seed=seed)).status
        for seed in range(150)
    ]
    share = np.mean([status == "feasible" for each in found for status in each])
    truth = hong2024.feasible_probability(5, num_classes=3, samples=3)
    assert truth == pytest.approx(22 / 64)  # 1 + 6 + 15 of 64
    assert share == pytest.approx(truth, abs=0.08)


def test_crossing():
    assert hong2024.crossing([10, 20], [0.5, 1.0]) == 10
    assert hong2024.crossing([10, 20, 30], [0.4, 0.6, 0.2]) == 15
    assert hong2024.crossing([10, 20], [0.1, 0.2]) == math.inf


def test_widen_is_a_relu_layer_and_makes_points_independent():
    data, _ = random_data(3)
    inside = hong2024.widen(data, width=60, seed=2)
    assert inside.shape == (15, 60)
    assert inside.min() == 0
    assert torch.linalg.matrix_rank(inside) == 15
    torch.testing.assert_close(hong2024.widen(3 * data, width=60, seed=2), 3 * inside)
    assert not torch.equal(hong2024.widen(data, width=60, seed=3), inside)


# The experiment -----------------------------------------------------------------------------------


def run(*changes):
    """The first recorded run, in which all claims hold, but for what is changed."""
    tables = dict(RECORDING.outcomes[0].tables)
    for name, column, where, value in changes:
        rows = tables[name].rows()
        for row in rows:
            if where.items() <= row.items():
                row[column] = value(row) if callable(value) else value
        tables[name] = Table.of(rows)
    return tables


def from_dim(dim):
    """All mixtures from this dimension on, none below."""
    return lambda row: float(row["dim"] >= dim)


TRUE8, NOISE = {"labels": "true", "snr": 8.0}, {"labels": "true", "snr": 0.0}
PICTURES = {"samples": 90, "labels": "true"}
# (claims that are false, what is changed: table, column, in which rows, value)
FALSE = [
    ((0,), [("phase", "feasible", {**TRUE8, "dim": 10}, 0.1)]),
    ((0,), [("phase", "feasible", {"labels": "shuffled", "dim": 60}, 0.9)]),
    ((0,), [("phase", "feasible", {**NOISE, "dim": 30}, 0.1)]),
    ((0,), [("phase", "feasible", {**TRUE8, "dim": 30}, 0.9)]),
    ((1,), [("phase", "classes", {**NOISE, "dim": 40}, 0.1)]),
    ((1,), [("phase", "classes", NOISE, from_dim(31))]),  # the formula without equations
    (  # As if only such d had been tried at which both counts say nearly the same.
        (1,),
        [
            ("phase", "classes", {**NOISE, "dim": 30}, 0.2),
            *(("phase", "labels", {**NOISE, "dim": dim}, "left out") for dim in range(31, 42)),
        ],
    ),
    ((2,), [("phase", "feasible", {"labels": "true"}, from_dim(28))]),  # no fall
    ((2,), [("phase", "feasible", {"labels": "true", "snr": 4.0}, from_dim(33))]),  # a rise
    ((2,), [("phase", "feasible", {"labels": "shuffled"}, from_dim(22))]),  # falls too
    ((3,), [("wide", "feasible", {"snr": 0.0, "width": 120}, 0.8)]),
    ((3,), [("wide", "feasible", {}, lambda row: float(row["width"] >= 60))]),
    ((3,), [("wide", "feasible", {"snr": 4.0, "width": 20}, 0.2)]),
    ((4,), [("training", "gap", {"dim": 22, "width": 8}, -1e-6)]),
    ((4,), [("training", "certificate", {"dim": 40}, 1e-6)]),
    ((5,), [("training", "nc1", {"dim": 40, "width": 128}, 1e-5)]),
    ((5,), [("training", "gap", {"dim": 80, "width": 8}, 1e-5)]),
    ((5,), [("training", "nc1", {"dim": 16, "width": 8}, 1e-5)]),
    ((5,), [("training", "accuracy", {"dim": 10, "width": 8}, 0.98)]),
    ((5, 6), [("training", "gap", {"dim": 16, "width": 8}, 5e-4)]),
    ((6,), [("training", "gap", {"dim": 10, "width": 128}, 1.0)]),
    ((6,), [("training", "gap", {"dim": 10, "width": 128}, 0.01)]),
    ((5, 6), [("training", "gap", {"dim": 30, "width": 8}, 1e-3)]),
    ((7,), [("stuck", "gap", {"data": "SNR 0"}, 1e-3)]),
    ((7,), [("stuck", "certificate_gap", {"data": "SNR 0"}, 1e-6)]),
    ((7,), [("stuck", "certificate_nc1", {"data": "SNR 4, shuffled labels"}, 1e-6)]),
    ((7,), [("stuck", "gap", {"data": "SNR 4"}, 1e-3)]),
    ((8,), [("images", "feasible", {"samples": 20}, False)]),
    ((8,), [("images", "feasible", {**PICTURES, "layers": 2}, True)]),
    ((8,), [("images", "feasible", {**PICTURES, "layers": 3}, False)]),
    ((8,), [("images", "nc1", {"samples": 20}, 1e-6)]),
    ((8,), [("images", "nc1", {**PICTURES, "layers": 2}, 1e-3)]),
    ((8,), [("images", "nc1", {**PICTURES, "layers": 3}, 1e-3)]),
    ((8,), [("images", "accuracy", {**PICTURES, "layers": 2}, 0.9)]),
    ((9,), [("generalisation", "nc1", {"snr": 0.25}, 1e-5)]),
    ((9,), [("generalisation", "accuracy", {"snr": 0.0}, 0.5)]),
    ((9,), [("generalisation", "trained_accuracy", {"snr": 2.0}, 0.9)]),
    ((9,), [("generalisation", "trained_nc1", {"snr": 4.0}, 1e-3)]),
    ((10,), [("generalisation", "accuracy", {"snr": 1.0}, 0.99)]),
    ((10,), [("generalisation", "gap", {"snr": 1.0}, -1e-5)]),
    ((10,), [("generalisation", "trained_gap", {"snr": 1.0}, 1e-5)]),
    ((9, 10), [("generalisation", "nc1", {"snr": 1.0}, 1e-5)]),
    ((9, 10), [("generalisation", "trained_nc1", {"snr": 1.0}, 1e-5)]),
    ((11,), [("images", "feasible", {"labels": "shuffled"}, False)]),
    ((11,), [("images", "certificate_nc1", {"labels": "shuffled"}, 1e-5)]),
    ((11,), [("images", "certificate_nc1", {"labels": "shuffled"}, None)]),
    ((11,), [("images", "certificate_test_accuracy", {"labels": "shuffled"}, 0.8)]),
    ((11,), [("images", "test_accuracy", {**PICTURES, "layers": 3}, 0.7)]),
]


def true_claims():
    return hong2024.claims(run())


def false_claims():
    made = [hong2024.claims(run(*changes))[index] for broken, changes in FALSE for index in broken]
    with pytest.MonkeyPatch.context() as patch:
        # So little weight decay that the square in R* does not matter.
        patch.setattr(hong2024, "LAMBDA_W", 1e-3 * hong2024.LAMBDA_W)
        return [*made, hong2024.claims(run())[4]]


@pytest.mark.parametrize(("seed", "samples"), [(1, 80), (3, 70)])
def test_a_solver_s_small_errors_do_not_leave_a_wide_layer_undecided(seed, samples):
    """Its outputs are linearly independent, so every labelling is feasible; HiGHS stops at 1e-7."""
    chosen = hong2024.three_digits().take(samples, seed=seed)
    inputs = chosen.inputs.flatten(1).double()
    inputs = 4 * inputs / inputs.norm(dim=1).mean()
    layer = hong2024._seed(seed, 3, samples)
    inside = hong2024.widen(inputs, width=2 * len(inputs), seed=layer)
    assert torch.linalg.matrix_rank(inside) == len(inside)
    answer = hong2024.collapse_feasible(inside, chosen.labels)
    assert answer.status == ("feasible",) * 3
    values = inside @ answer.witnesses.T
    own = torch.nn.functional.one_hot(chosen.labels).bool()
    assert (values[own] - 1).abs().max() < 1e-5
    assert values[~own].max() < 1e-5


def test_small_experiments_have_the_columns_that_claims_read():
    recorded = RECORDING.outcomes[0].tables
    assert list(hong2024.phase(seed=0, draws=1, dims=(10,), snrs=(0.0,))) == list(recorded["phase"])
    levels = hong2024.generalisation(seed=1, snrs=(0.0,), tests=500)
    assert list(levels) == list(recorded["generalisation"])
    assert levels["accuracy"][0] == pytest.approx(recorded["generalisation"]["accuracy"][0])


@pytest.mark.parametrize(
    ("scale", "says"),
    [("paper", "'paper' is not built: .* are unknown here — use 'laptop'"), ("big", "'laptop'")],
)
def test_unknown_scales_are_refused(scale, says):
    with pytest.raises(ValueError, match=says):
        hong2024.experiment(scale)


def test_on_other_data_what_is_proved_is_judged(monkeypatch):
    for name, table in RECORDING.outcomes[0].tables.items():
        monkeypatch.setattr(hong2024, name, lambda *_, table=table, **__: table)
    data = gaussian_mixture(3, 6)
    outcome = hong2024.experiment(seed=1, data=data)
    assert outcome.data == data.card
    judged = {index: made.holds for index, made in enumerate(outcome.claims) if made.binding}
    assert judged == dict.fromkeys((*range(8), 9, 10), True)  # all but those on images
    assert all(claim.binding for claim in hong2024.experiment(seed=1).claims)


def test_other_data_that_are_too_few_or_of_too_many_classes_are_refused_before_any_work():
    few = gaussian_mixture(3, 6, train_per_class=7)
    with pytest.raises(ValueError, match=r"at least 8 training samples of each .* has 7"):
        hong2024.experiment(data=few)
    many = gaussian_mixture(50, 6, train_per_class=90, test_per_class=1)
    with pytest.raises(ValueError, match="has 50 classes; from 50 on the features are all zero"):
        hong2024.experiment(data=many)


def test_images_run_on_other_data_and_ask_for_enough():
    data = gaussian_mixture(2, 12, train_per_class=9, test_per_class=20, separation=2.0)
    table = hong2024.images(data, seed=0, few=4, many=8)
    assert [table["feasible"][row] for row in (0, 2, 3)] == [True] * 3  # N <= dimensions there
    assert table["layers"] == [2, 2, 3, 3]
    assert table["gap"][3] is None
    assert table["certificate_gap"][3] == pytest.approx(0, abs=1e-9)
    # Fewer samples make a smaller problem, down to eight of each class.
    assert hong2024.images(data, seed=0)["samples"] == [4, 9, 9, 9]
    with pytest.raises(ValueError, match="7 training samples; 8 of each"):
        hong2024.images(data.take(7), seed=0)


@pytest.mark.parametrize("load", [load_wine, load_iris])
def test_wine_and_iris_are_asked_with_what_they_have(load):
    bunch = load()
    values = torch.tensor(bunch.data)
    values = (values - values.mean(0)) / values.std(0)
    labels = torch.tensor(bunch.target)
    held = torch.arange(len(labels)) % 5 == 0
    names = tuple(bunch.target_names)
    data = Dataset("table", values[~held], labels[~held], values[held], labels[held], names)
    table = hong2024.images(data, seed=0)
    least = int(data.labels.bincount().min())
    assert table["samples"] == [min(20, least // 2), least, least, least]
    # In 13 and in 4 dimensions so many samples obey no equations; behind a wide layer they do.
    assert table["feasible"][:3] == [False, False, True]
    claim = next(c for c in hong2024.claims(tables_with(table)) if c.text.startswith("Images, two"))
    assert f"with {least} infeasible" in claim.text


def test_the_page_says_what_the_code_asks_of_other_data():
    needs = hong2024.experiment.paper.needs
    page = Path("notebooks/05-shallow-networks.ipynb").read_text(encoding="utf-8")
    said = (
        f"It needs {needs['classes']} classes and of each {needs['training samples']} training "
        f"samples and {needs['test samples']} test sample, and says so before any work"
    )
    assert said in page
    assert f"fewer than {hong2024.MANY} it takes as many as the smallest class has" in page


def tables_with(images):
    """The recorded tables with others' images."""
    return {**RECORDING.outcomes[0].tables, "images": images}


def test_recording_is_what_the_code_gives():
    assert [outcome.seed for outcome in RECORDING.outcomes] == [1, 2, 3]
    outcome = RECORDING.outcomes[1]
    assert outcome.data == hong2024.three_digits().card
    cell = hong2024.phase(seed=2, dims=(40,), snrs=(0.0,))
    recorded = outcome.tables["phase"]
    (kept,) = recorded.where(**NOISE, dim=40)["classes"]
    assert cell["classes"][0] == pytest.approx(kept, abs=1e-6)
    again = hong2024.training(seed=2, dims=(16, 30), widths=(8,))
    (kept,) = outcome.tables["training"].where(dim=16, width=8)["gap"]
    assert again["feasible"] == [False, True]
    assert again["gap"][0] == pytest.approx(kept, rel=1e-3)
    assert again["gap"][1] <= 1e-9
