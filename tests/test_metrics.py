"""`measure`: definitions by hand, numerics against the plain definition in float64, errors."""

import math
import subprocess
import sys
from dataclasses import fields

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ncourse import metrics
from ncourse.metrics import (
    CONVENTIONS,
    CollapseReport,
    by_class,
    hyperspherical_uniformity,
    measure,
    measure_layers,
    nearest_class_mean,
    one_vs_rest_margin,
    principal_angles,
    variability_collapse_index,
)
from ncourse.simplex import simplex_etf

# One fixture, small enough for paper: three samples of class 0, one of class 1, in the plane.
#     mu_0 = (0, 3), mu_1 = (4, 3), N = 4
#     deviations (-1, 1), (1, 1), (0, -2) and (0, 0)
#     S_W = 1/4 [[1 + 1 + 0, 0], [0, 1 + 1 + 4]] = [[1/2, 0], [0, 3/2]], trace 2
FEATURES = torch.tensor([[-1.0, 4.0], [1.0, 4.0], [0.0, 1.0], [4.0, 3.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 0, 0, 1])
WEIGHT = torch.tensor([[-1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
BIAS = torch.tensor([0.0, -7.5], dtype=torch.float64)

# All class means lie on a line along x, so S_B^+ only sees S_W's first entry, 1/2.
BY_HAND = {
    # mu_G = (2, 3): centred means -2 and 2 along x. S_B = 1/2 (4 + 4) = 4.
    "papyan": {
        "nc1": 1 / 8,  # (1/2) / 4
        "pinv_trace": 1 / 8,
        "pinv_trace_per_class": 1 / 16,
        "trace_ratio": 1 / 2,  # 2 / 4
        "trace_fraction": 1 / 3,  # 2 / (2 + 4)
        "nc2_equinorm": 0,  # norms 2, 2
        "nc2_equiangular": 0,  # cosine -1 = -1/(K-1)
        "nc2_structure": 0,  # [[4, -4], [-4, 4]] / 8 = I - J/2
        # <W, M> = (-1)(-2) + 0 = 2, |W|^2 = 5, |M|^2 = 8: 2 - 2 * 2 / sqrt(40)
        "nc3": 2 - 4 / math.sqrt(40),
        # W M^T = [[2, -2], [0, 0]], norm sqrt(8): 2 (1/sqrt 2 - 1/2)^2 + 2 (1/2)^2 = 2 - sqrt 2
        "nc3_structure": math.sqrt(2 - math.sqrt(2)),
    },
    # mu_G = (1, 3), the mean of the four samples: -1 and 3 along x. S_B = 1/2 (1 + 9) = 5.
    "zhu": {
        "nc1": 1 / 20,  # (1/2) / 5 / K
        "pinv_trace": 1 / 10,
        "pinv_trace_per_class": 1 / 20,
        "trace_ratio": 2 / 5,
        "trace_fraction": 2 / 7,
        "nc2_equinorm": math.sqrt(2) / 2,  # norms 1, 3: std sqrt((1 + 1) / 1), mean 2
        "nc2_equiangular": 0,
        # [[1, -3], [-3, 9]] / 10 - [[.5, -.5], [-.5, .5]] = [[-.4, .2], [.2, .4]]
        "nc2_structure": math.sqrt(0.4),
        "nc3": 2 - 2 / math.sqrt(50),  # <W, M> = 1, |W|^2 = 5, |M|^2 = 10
        # W M^T = [[1, -3], [0, 0]] / sqrt 10 minus P: 1 + 1 - 2 (1 * 1/2 + 3 * 1/2) / sqrt 10
        "nc3_structure": math.sqrt(2 - 4 / math.sqrt(10)),
    },
    # As papyan, with traces: 2 / 4.
    "jacot": {"nc1": 1 / 2, "pinv_trace": 1 / 8, "trace_ratio": 1 / 2, "nc2_equinorm": 0},
    # mu_G as zhu, weights 3/4 and 1/4: S_B = 3/4 * 1 + 1/4 * 9 = 3, S_T = 2 + 3.
    "wu": {
        "nc1": 2 / 5,
        "pinv_trace": 1 / 6,
        "trace_ratio": 2 / 3,
        "trace_fraction": 2 / 5,
        "nc2_equinorm": math.sqrt(2) / 2,
    },
}
# What no convention changes.
BY_HAND_ALWAYS = {
    "cdnv": 1 / 12,  # var_0 = 8/3, var_1 = 0, |mu_0 - mu_1|^2 = 16: (8/3) / 32
    # [[0, 3], [4, 3]] [[0, 3], [4, 3]]^T = [[9, 9], [9, 25]], eigenvalues 17 +- sqrt 145
    "nc2_condition": math.sqrt((17 + math.sqrt(145)) / (17 - math.sqrt(145))),
    "nc2_equinorm_classifier": math.sqrt(0.5) / 1.5,  # norms 1, 2
    "nc2_equiangular_classifier": 1,  # cosine 0, so |0 + 1|
    # diag(1, 4) / sqrt 17 minus [[.5, -.5], [-.5, .5]]: 1 + 1 - 2 * 2.5 / sqrt 17
    "nc2_structure_classifier": math.sqrt(2 - 5 / math.sqrt(17)),
    "nc3_cosine": 0.15,  # (1/sqrt 17 - 1/sqrt 17 + 0 + 3/5) / 4
    # Nearest means 0, 0, 0, 1. Scores (-x, 2y - 7.5): (1, .5), (-1, .5), (0, -5.5), (-4, -1.5)
    "nc4": 1 / 4,
    "nc4_without_bias": 3 / 4,  # (1, 8), (-1, 8), (0, 2), (-4, 6): class 1 throughout
    "rank": 1,
    "num_classes": 2,
    "num_samples": 4,
}


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_every_convention_gives_the_numbers_worked_by_hand(convention):
    report = measure(FEATURES, LABELS, WEIGHT, BIAS, convention=convention)
    expected = BY_HAND[convention] | BY_HAND_ALWAYS
    values = report.as_dict()
    assert {name: values[name] for name in expected} == pytest.approx(expected, abs=1e-14)
    assert report.convention == convention
    assert report.simplex_fits


def test_the_same_network_has_four_different_nc1s():
    reports = {name: measure(FEATURES, LABELS, WEIGHT, convention=name) for name in CONVENTIONS}
    assert len({round(r.nc1, 6) for r in reports.values()}) == 4


def test_conventions_agree_about_means_when_classes_are_equal():
    features, labels, weight, bias = _cloud(num_classes=4, dim=6, per_class=5, seed=0)
    reports = [measure(features, labels, weight, bias, convention=name) for name in CONVENTIONS]
    for name in ("pinv_trace", "trace_ratio", "trace_fraction", "nc2_equinorm", "nc3", "nc4"):
        assert [getattr(r, name) for r in reports] == pytest.approx(
            [getattr(reports[0], name)] * 4, rel=1e-12
        )


def test_between_and_within_add_up_to_the_total_only_for_wu():
    total = float((FEATURES - FEATURES.mean(0)).square().sum() / 4)
    within = 2.0
    assert measure(FEATURES, LABELS, WEIGHT, convention="wu").nc1 == pytest.approx(within / total)
    assert measure(FEATURES, LABELS, WEIGHT, convention="zhu").trace_fraction != pytest.approx(
        within / total
    )


# Exactness ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("num_classes", "dim"), [(2, 1), (3, 2), (4, 16), (10, 9), (100, 512)])
def test_all_four_vanish_on_an_exact_simplex(num_classes, dim):
    vertices = simplex_etf(
        num_classes, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    labels = torch.arange(3 * num_classes) % num_classes
    for convention in CONVENTIONS:
        weight = 0.5 * vertices
        features = 4 * vertices[labels] + 1
        report = measure(features, labels, weight, -weight.sum(1), convention=convention)
        for field in fields(CollapseReport):
            if field.name.startswith("nc2_condition"):
                continue
            if field.name.startswith(("nc1", "nc2", "nc3_structure", "pinv", "trace", "cdnv")):
                assert getattr(report, field.name) <= 1e-12, field.name
        assert report.nc3 <= 1e-12
        assert report.nc4 == 0
        assert report.rank == num_classes - 1


def test_orthogonal_means_have_condition_number_one_and_cosine_one():
    features = 2 * torch.eye(3, 5, dtype=torch.float64).repeat(2, 1)
    report = measure(features, torch.arange(6) % 3, features[:3])
    assert report.nc2_condition == pytest.approx(1, abs=1e-14)
    assert report.nc3_cosine == pytest.approx(1, abs=1e-14)


def test_structure_error_does_not_show_self_duality():
    """W = pinv(M)^T has structure error 0 for any means M, however far W is from M."""
    features, labels, _, _ = _cloud(num_classes=4, dim=6, per_class=1, seed=3, stretch=30)
    weight = torch.linalg.pinv(features - features.mean(0)).T
    report = measure(features, labels, weight)
    assert report.nc3_structure <= 1e-12
    assert report.nc3 > 0.5


def _nc1_by_definition(features: Tensor, labels: Tensor, num_classes: int) -> float:
    """tr(S_W S_B^+) with d x d matrices in float64; the eigenvalue cut-off keeps K-1 directions."""
    features = features.double()
    means = torch.stack([features[labels == c].mean(0) for c in range(num_classes)])
    centred = means - means.mean(0)
    residual = features - means[labels]
    within = residual.T @ residual / len(features)
    eigenvalues, vectors = torch.linalg.eigh(centred.T @ centred / num_classes)
    kept = slice(-(num_classes - 1), None)
    inverse = vectors[:, kept] / eigenvalues[kept] @ vectors[:, kept].T
    return float(torch.trace(within @ inverse))


@pytest.mark.parametrize(
    ("spread", "offset", "span"),
    [
        (1, 0, 1),
        (1e-3, 0, 1),
        (1e-4, 5, 1),
        (1e-4, 20, 1),
        (1, 0, 300),
        (1, 5, 300),
        (1e-2, 0, 300),
    ],
)
@pytest.mark.parametrize(("num_classes", "dim"), [(10, 64), (50, 128)])
def test_nc1_of_float32_features_is_accurate(spread, offset, span, num_classes, dim):
    generator = torch.Generator().manual_seed(1)
    lengths = torch.logspace(0, math.log10(span), num_classes)[:, None]
    means = lengths * torch.randn(num_classes, dim, generator=generator) + offset
    labels = torch.arange(6000) % num_classes
    features = means[labels] + spread * torch.randn(6000, dim, generator=generator)
    assert features.dtype == torch.float32
    expected = _nc1_by_definition(features, labels, num_classes)
    report = measure(features, labels, None, num_classes=num_classes)
    assert report.nc1 == pytest.approx(expected, rel=1e-6, abs=0)
    assert report.rank == num_classes - 1
    exact = measure(features.double(), labels, None, num_classes=num_classes)
    assert report.trace_ratio == pytest.approx(exact.trace_ratio, rel=1e-6, abs=0)
    assert report.cdnv == pytest.approx(exact.cdnv, rel=1e-6, abs=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_measured_in_full_precision(dtype):
    features, labels, weight, bias = _cloud(num_classes=4, dim=8, per_class=50, seed=4)
    half = features.to(dtype)
    report = measure(half, labels, weight.float(), bias.float())
    exact = measure(half.double(), labels, weight, bias)
    assert report.as_dict() == pytest.approx(exact.as_dict(), rel=1e-6)


def test_an_outlier_first_in_its_class_costs_no_accuracy():
    generator = torch.Generator().manual_seed(5)
    labels = torch.arange(3000) % 3
    features = torch.randn(3, 16, generator=generator)[labels]
    features += 1e-3 * torch.randn(3000, 16, generator=generator)
    features[0] += 1.0
    report = measure(features, labels, None, num_classes=3)
    assert report.nc1 == pytest.approx(_nc1_by_definition(features, labels, 3), rel=1e-6, abs=0)
    exact = measure(features.double(), labels, None, num_classes=3)
    assert report.cdnv == pytest.approx(exact.cdnv, rel=1e-6, abs=0)


def test_features_wider_than_any_square_matrix_could_be():
    """300,000 features: a d x d matrix would take 720 GB."""
    features = torch.randn(9, 300_000, generator=torch.Generator().manual_seed(0))
    report = measure(features, torch.arange(9) % 3, torch.zeros(3, 300_000))
    assert report.rank == 2
    assert 0 < report.nc1 < 10


# Invariance ---------------------------------------------------------------------------------------


def _cloud(*, num_classes, dim, per_class, seed, stretch=1.0):
    generator = torch.Generator().manual_seed(seed)
    normal = {"generator": generator, "dtype": torch.float64}
    means = torch.randn(num_classes, dim, **normal)
    means[0] *= stretch
    labels = torch.arange(num_classes * per_class) % num_classes
    noise = 0.5 * torch.randn(len(labels), dim, **normal) if per_class > 1 else 0
    weight = means + 0.5 * torch.randn(num_classes, dim, **normal)
    return means[labels] + noise, labels, weight, torch.randn(num_classes, **normal)


clouds = st.builds(
    _cloud,
    num_classes=st.integers(2, 6),
    dim=st.integers(1, 8),
    per_class=st.integers(2, 6),
    seed=st.integers(0, 2**31),
)


def _same(first: CollapseReport, second: CollapseReport) -> None:
    assert first.as_dict() == pytest.approx(second.as_dict(), rel=1e-6, abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(clouds, st.integers(0, 2**31), st.sampled_from(sorted(CONVENTIONS)))
def test_invariant_under_rotation_and_scale(cloud, seed, convention):
    features, labels, weight, bias = cloud
    generator = torch.Generator().manual_seed(seed)
    dim = features.shape[1]
    rotation, _ = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64))
    scale = 10 ** (6 * torch.rand((), generator=generator, dtype=torch.float64) - 3)
    _same(
        measure(scale * features @ rotation, labels, weight @ rotation, scale * bias,
                convention=convention),
        measure(features, labels, weight, bias, convention=convention),
    )  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(clouds, st.integers(0, 2**31), st.sampled_from(sorted(CONVENTIONS)))
def test_invariant_under_sample_order_and_class_order(cloud, seed, convention):
    features, labels, weight, bias = cloud
    generator = torch.Generator().manual_seed(seed)
    samples = torch.randperm(len(labels), generator=generator)
    classes = torch.randperm(len(weight), generator=generator)
    renamed = classes.argsort()[labels]  # class c becomes row argsort(classes)[c]
    _same(
        measure(features[samples], renamed[samples], weight[classes], bias[classes],
                convention=convention),
        measure(features, labels, weight, bias, convention=convention),
    )  # fmt: skip


def test_chunks_do_not_change_the_numbers():
    """5,000 samples cross two chunk borders; the same samples in float64 are the reference."""
    generator = torch.Generator().manual_seed(7)
    labels = torch.randint(5, (5000,), generator=generator)
    means = torch.randn(5, 12, generator=generator)
    features = means[labels] + 0.7 * torch.randn(5000, 12, generator=generator)
    bias = torch.randn(5, generator=generator)
    distances = torch.cdist(
        features.double(), torch.stack([features[labels == c].double().mean(0) for c in range(5)])
    )
    scores = features @ means.T
    report = measure(features, labels, means, bias)
    nearest = distances.argmin(1)
    assert report.nc4 == float(((scores + bias).argmax(1) != nearest).double().mean())
    assert report.nc4_without_bias == float((scores.argmax(1) != nearest).double().mean())
    cosines = torch.cosine_similarity(features, means[labels])
    assert report.nc3_cosine == pytest.approx(float(cosines.mean()), rel=1e-6)


# The edges ----------------------------------------------------------------------------------------


def test_ties_in_nc4_go_to_the_lower_class():
    features = torch.tensor([[-1.0], [-1.0], [1.0], [1.0], [0.0], [0.0]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 1, 1, 0, 1])  # the last two are as far from -2/3 as from 2/3
    agree = measure(features, labels, torch.tensor([[-1.0], [1.0]], dtype=torch.float64))
    assert agree.nc4 == 0  # scores tie as well: class 0 on both sides
    biased = torch.tensor([0.0, 1e-9], dtype=torch.float64)
    report = measure(features, labels, torch.tensor([[-1.0], [1.0]]).double(), biased)
    assert report.nc4 == pytest.approx(2 / 6)


def test_class_means_that_coincide_are_infinitely_far_from_collapse():
    features = torch.full((6, 4), 0.1)
    report = measure(features, torch.arange(6) % 3, torch.eye(3, 4))
    assert report.rank == 0
    infinite = (
        "nc1 pinv_trace trace_ratio cdnv nc2_equinorm nc2_equiangular nc2_structure "
        "nc2_condition nc3 nc3_structure"
    )
    assert all(getattr(report, name) == math.inf for name in infinite.split())
    assert report.trace_fraction == 1
    assert not any(math.isnan(x) for x in report.as_dict().values())


def test_a_zero_classifier_is_infinitely_far_from_collapse():
    features, labels, weight, _ = _cloud(num_classes=3, dim=4, per_class=3, seed=1)
    report = measure(features, labels, 0 * weight)
    assert report.nc2_equinorm_classifier == math.inf
    assert report.nc2_structure_classifier == math.inf
    assert report.nc3 == math.inf
    assert report.nc3_cosine == 0
    assert not any(math.isnan(x) for x in report.as_dict().values())


def test_two_classes_with_one_mean_make_cdnv_infinite_and_nothing_else():
    means = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.5]])
    labels = torch.arange(6) % 3
    features = means[labels] + torch.tensor([0.25] * 3 + [-0.25] * 3)[:, None]
    report = measure(features, labels, means)
    assert report.cdnv == math.inf
    assert report.rank == 1
    assert math.isfinite(report.nc1)


def test_fewer_dimensions_than_a_simplex_needs_is_no_error():
    features, labels, weight, bias = _cloud(num_classes=6, dim=3, per_class=4, seed=2)
    report = measure(features, labels, weight, bias)
    assert not report.simplex_fits
    assert report.rank == 3
    assert math.isfinite(report.nc1)
    assert report.nc2_condition == math.inf


def test_features_alone_leave_the_classifier_fields_empty():
    features, labels, weight, bias = _cloud(num_classes=3, dim=4, per_class=4, seed=2)
    alone = measure(features, labels, None, num_classes=3)
    both = measure(features, labels, weight, bias)
    empty = {name for name, value in alone.as_dict().items() if math.isnan(value)}
    assert empty == {
        "nc2_equinorm_classifier", "nc2_equiangular_classifier", "nc2_structure_classifier",
        "nc3", "nc3_structure", "nc3_cosine", "nc4", "nc4_without_bias",
    }  # fmt: skip
    assert alone.nc1 == both.nc1


def test_no_gradient_graph_and_no_change_to_the_inputs():
    features, labels, weight, bias = _cloud(num_classes=3, dim=4, per_class=4, seed=2)
    before = [t.clone() for t in (features, labels, weight, bias)]
    weight.requires_grad_()
    features.requires_grad_()
    report = measure(features, labels, weight, bias)
    assert all(isinstance(x, float) for x in report.as_dict().values())
    for now, then in zip((features, labels, weight, bias), before, strict=True):
        assert torch.equal(now.detach(), then)


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.int64])
def test_labels_of_any_integer_type(dtype):
    assert measure(FEATURES, LABELS.to(dtype), WEIGHT, BIAS).nc1 == pytest.approx(1 / 8)


def test_a_report_reads_well():
    report = measure(FEATURES, LABELS, None, num_classes=2)
    text = str(report)
    assert "convention papyan" in text
    assert "4 samples, 2 classes, simplex fits" in text
    assert "nc1                         0.125" in text
    assert sum(line.endswith(" –") for line in text.split("\n")) == 8
    twice = measure(FEATURES.repeat(2, 1), LABELS.repeat(2))
    assert str(twice).endswith(f"\n{'smallest_class':<27} {twice.smallest_class}")
    assert twice.smallest_class > 1
    html = report._repr_html_()
    assert html.startswith("<table>")
    assert "<th scope='row'>nc1</th><td>0.125</td>" in html
    with pytest.raises(AttributeError):
        report.nc1 = 0.0


# More measures ------------------------------------------------------------------------------------


def _vci_by_definition(features: Tensor, labels: Tensor, num_classes: int) -> float:
    counts = labels.bincount().double()
    means = torch.stack([features[labels == c].mean(0) for c in range(num_classes)])
    total = (features - features.mean(0)).T @ (features - features.mean(0)) / len(labels)
    centred = means - features.mean(0)
    between = (counts / len(labels) * centred.T) @ centred
    rank = int(torch.linalg.matrix_rank(between))
    return 1 - float(torch.trace(torch.linalg.pinv(total) @ between)) / rank


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 5), st.integers(1, 8), st.integers(8, 12), st.integers(0, 2**31))
def test_vci_is_its_definition_and_no_linear_map_changes_it(num_classes, dim, per_class, seed):
    features, labels, _, _ = _cloud(
        num_classes=num_classes, dim=dim, per_class=per_class, seed=seed
    )
    features, labels = features[1:], labels[1:]  # unequal classes
    index = variability_collapse_index(features, labels)
    assert index == pytest.approx(_vci_by_definition(features, labels, num_classes), abs=1e-8)
    generator = torch.Generator().manual_seed(seed)
    linear_map = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    linear_map += 3 * torch.eye(dim, dtype=torch.float64)
    assert variability_collapse_index(features @ linear_map, labels) == pytest.approx(
        index, abs=1e-6
    )


def test_vci_needs_more_than_the_mean_directions():
    """Noise along the means that a second feature repeats can be subtracted: VCI 0, NC1 large."""
    generator = torch.Generator().manual_seed(0)
    noise = 3 * torch.randn(100, generator=generator, dtype=torch.float64)
    labels = torch.arange(100) % 2
    noise -= torch.stack([noise[labels == c].mean() for c in range(2)])[labels]
    features = torch.stack([labels + noise, noise], dim=1)
    assert variability_collapse_index(features, labels) == pytest.approx(0, abs=1e-12)
    assert measure(features, labels, None, num_classes=2).nc1 > 10


def test_vci_of_equal_means_is_an_error():
    with pytest.raises(ValueError, match="all class means coincide"):
        variability_collapse_index(torch.ones(4, 2), LABELS)


def test_layers_are_measured_alone_and_flattened():
    features, labels, _, _ = _cloud(num_classes=3, dim=8, per_class=5, seed=0)
    reports = measure_layers(
        {"conv": features.reshape(-1, 2, 2, 2), "last": 2 * features}, labels, num_classes=3
    )
    assert list(reports) == ["conv", "last"]
    assert reports["conv"].trace_ratio == pytest.approx(reports["last"].trace_ratio)
    assert math.isnan(reports["last"].nc3)


@settings(deadline=None, max_examples=25)
@given(clouds)
def test_nearest_class_mean_is_the_smallest_distance(cloud):
    features, _, class_means, _ = cloud
    features, class_means = features.float() + 100, class_means.float() + 100
    distances = torch.cdist(
        features.double(), class_means.double(), compute_mode="donot_use_mm_for_euclid_dist"
    )
    found = nearest_class_mean(features, class_means)
    chosen = distances.gather(1, found[:, None])[:, 0]
    assert torch.allclose(chosen, distances.min(1).values, rtol=1e-5)


def test_nearest_class_mean_says_which_shapes_it_wants():
    with pytest.raises(ValueError, match=r"\(4, 2\) and class_means \(2, 3\)"):
        nearest_class_mean(FEATURES, torch.zeros(2, 3))


def test_principal_angles_see_a_turn_and_nothing_else():
    generator = torch.Generator().manual_seed(0)
    means = torch.zeros(3, 4, dtype=torch.float64)
    means[:, :2] = torch.randn(3, 2, generator=generator, dtype=torch.float64)
    turn = torch.eye(4, dtype=torch.float64)
    angle = 1e-6  # turns the second axis towards the third
    turn[1, 1] = turn[2, 2] = math.cos(angle)
    turn[1, 2], turn[2, 1] = math.sin(angle), -math.sin(angle)
    angles = principal_angles(means + 7, means @ turn - 2)
    assert angles.tolist() == pytest.approx([0, angle], abs=1e-14)
    mixed = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    mixed -= mixed.mean(0)
    assert principal_angles(means, mixed @ means).tolist() == pytest.approx([0, 0], abs=1e-12)
    elsewhere = means.roll(2, dims=1)
    assert principal_angles(means, elsewhere).tolist() == pytest.approx([math.pi / 2] * 2)


def test_principal_angles_refuse_what_spans_nothing():
    with pytest.raises(ValueError, match="rows of weight all coincide"):
        principal_angles(WEIGHT, torch.ones(2, 2))
    with pytest.raises(ValueError, match=r"\(2, 2\) and weight \(3, 2\)"):
        principal_angles(WEIGHT, torch.ones(3, 2))


@pytest.mark.parametrize("num_classes", [2, 3, 5, 10])
def test_a_simplex_has_the_largest_margin_and_uniformity(num_classes):
    vertices = 3 * simplex_etf(
        num_classes, num_classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    best_margin = num_classes / (num_classes - 1)
    best_uniformity = math.log(2 * best_margin) / 2
    assert one_vs_rest_margin(vertices) == pytest.approx(best_margin, abs=1e-12)
    assert hyperspherical_uniformity(vertices) == pytest.approx(best_uniformity, abs=1e-12)
    generator = torch.Generator().manual_seed(num_classes)
    shaken = vertices + torch.randn(vertices.shape, generator=generator, dtype=torch.float64)
    assert one_vs_rest_margin(shaken) < best_margin
    assert hyperspherical_uniformity(shaken) < best_uniformity


@pytest.mark.parametrize("count", [4, 5, 12])
def test_a_regular_polygon_has_the_margin_of_its_geometry(count):
    """The hull of the others is nearest along the chord between the two neighbours."""
    angles = 2 * math.pi * torch.arange(count, dtype=torch.float64) / count
    polygon = torch.stack([angles.cos(), angles.sin()], dim=1)
    assert one_vs_rest_margin(polygon) == pytest.approx(1 - math.cos(2 * math.pi / count))
    moved = polygon.clone()
    moved[0] = (polygon[0] + polygon[1]) / 2
    assert one_vs_rest_margin(moved) < one_vs_rest_margin(polygon)
    assert hyperspherical_uniformity(moved) < hyperspherical_uniformity(polygon)


def test_equal_directions_have_no_margin_and_no_uniformity():
    vectors = torch.tensor([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.5]])
    assert one_vs_rest_margin(vectors) == pytest.approx(0, abs=1e-12)
    assert hyperspherical_uniformity(vectors) == -math.inf


@pytest.mark.parametrize("function", [one_vs_rest_margin, hyperspherical_uniformity])
def test_vectors_without_a_direction_are_refused(function):
    with pytest.raises(ValueError, match="zero, NaN or infinite"):
        function(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    with pytest.raises(ValueError, match=r"\(1, 2\); expected \(K, d\) with K >= 2"):
        function(torch.ones(1, 2))


# Errors -------------------------------------------------------------------------------------------


def _with(index: tuple[int, int], value: float) -> Tensor:
    features = FEATURES.clone()
    features[index] = value
    return features


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"features": _with((2, 0), math.nan)}, ValueError, r"NaN or infinity in 1 of 4.*sample 2"),
        ({"features": _with((0, 1), math.inf)}, ValueError, r"NaN or infinity in 1 of 4.*sample 0"),
        ({"features": 3e38 * torch.tensor([[1.0], [-1], [1], [1]]).expand(4, 2)}, ValueError,
         "too large for float32"),
        ({"features": FEATURES.T}, ValueError, r"\(2, 4\); expected .* 4 samples.*transposed\?"),
        ({"features": FEATURES.long()}, TypeError, r"features is int64.*features.float\(\)"),
        ({"features": FEATURES[None]}, ValueError, r"\(1, 4, 2\).*flatten\(1\)"),
        ({"labels": LABELS.float()}, TypeError, r"labels is float32.*labels.long\(\)"),
        ({"labels": LABELS.bool()}, TypeError, "labels is bool"),
        ({"labels": torch.eye(2)[LABELS].long()}, ValueError, r"\(4, 2\).*one-hot.*argmax\(1\)"),
        ({"labels": LABELS[:3]}, ValueError, r"\(4, 2\).*3 samples"),
        ({"labels": torch.tensor([0, 0, 1, 2])}, ValueError, "contains 2; expected 0 to 1"),
        ({"labels": torch.tensor([0, 0, 1, -1])}, ValueError, "contains -1; expected 0 to 1"),
        ({"labels": torch.zeros(4).long()}, ValueError, r"no sample of class 1 \(of 2\)"),
        ({"features": FEATURES[:1], "labels": LABELS[:1]}, ValueError, "1 samples for 2 classes"),
        ({"features": FEATURES[:0], "labels": LABELS[:0]}, ValueError, "0 samples for 2 classes"),
        ({"weight": torch.zeros(3, 3), "bias": None}, ValueError,
         r"weight is \(3, 3\); expected \(classes, 2\)"),
        ({"weight": torch.zeros(2, 4)}, ValueError, r"expected \(classes, 2\).*transposed\?"),
        ({"weight": torch.zeros(2)}, ValueError, r"weight is \(2,\); expected \(classes, features"),
        ({"weight": WEIGHT * math.nan}, ValueError, "weight contains NaN"),
        ({"bias": torch.zeros(3)}, ValueError, r"bias is \(3,\); expected \(2,\)"),
        ({"bias": BIAS / 0}, ValueError, "bias contains NaN or infinity"),
        ({"num_classes": 3}, ValueError, r"weight is \(2, 2\) but num_classes is 3"),
        ({"weight": None}, ValueError, "bias is given without a weight"),
        ({"weight": WEIGHT[:1], "bias": None, "labels": LABELS * 0}, ValueError, "at least 2"),
        ({"convention": "mine"}, ValueError, "'mine'; expected one of papyan, zhu, jacot, wu"),
    ],
)  # fmt: skip
def test_each_mistake_has_its_own_message(arguments, error, message):
    given = {"features": FEATURES, "labels": LABELS, "weight": WEIGHT, "bias": BIAS} | arguments
    if given["weight"] is None and "num_classes" not in given:
        given["num_classes"] = 2
    with pytest.raises(error, match=message):
        measure(**given)


# Edges of the measures, by hand -------------------------------------------------------------------


def test_more_classes_than_one_block_of_pairs():
    """2,100 classes: pairs are taken in two blocks; the definitions take them all at once."""
    num_classes, dim = 2100, 3
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(num_classes, dim, generator=generator, dtype=torch.float64)
    weight = torch.randn(num_classes, dim, generator=generator, dtype=torch.float64)
    noise = 0.1 * torch.randn(num_classes, dim, generator=generator, dtype=torch.float64)
    labels = torch.arange(num_classes).repeat(2)
    report = measure(torch.cat([means + noise, means - noise]), labels, weight)
    centred = means - means.mean(0)
    off = ~torch.eye(num_classes, dtype=torch.bool)
    variances = noise.square().sum(1)
    gaps = torch.cdist(means, means, compute_mode="donot_use_mm_for_euclid_dist").square()
    cdnv = ((variances[:, None] + variances) / 2 / gaps)[off].mean().item()
    assert report.cdnv == pytest.approx(cdnv, rel=1e-8)
    simplex = (torch.eye(num_classes).double() - 1 / num_classes) / math.sqrt(num_classes - 1)
    for rows, equiangular, structure in [
        (centred, report.nc2_equiangular, report.nc2_structure),
        (weight, report.nc2_equiangular_classifier, report.nc2_structure_classifier),
    ]:
        unit = rows / rows.norm(dim=1, keepdim=True)
        cosines = (unit @ unit.T)[off]
        expected = (cosines + 1 / (num_classes - 1)).abs().mean().item()
        assert equiangular == pytest.approx(expected, rel=1e-10)
        gram = rows @ rows.T
        assert structure == pytest.approx((gram / gram.norm() - simplex).norm().item(), rel=1e-10)
    product = weight @ centred.T
    expected = (product / product.norm() - simplex).norm().item()
    assert report.nc3_structure == pytest.approx(expected, rel=1e-10)
    unit = weight / weight.norm(dim=1, keepdim=True)
    distances = torch.cdist(unit, unit, compute_mode="donot_use_mm_for_euclid_dist")[off]
    expected = distances.log().mean().item()
    assert hyperspherical_uniformity(weight) == pytest.approx(expected, rel=1e-10)


def test_a_report_as_numbers_as_text_and_as_a_table():
    report = measure(FEATURES, LABELS, WEIGHT, BIAS)
    numbers = report.as_dict()
    assert set(numbers) == {field.name for field in fields(report)} - {"convention", "classes"}
    assert (numbers["rank"], numbers["simplex_fits"], numbers["num_samples"]) == (1.0, 1.0, 4.0)
    assert all(type(number) is float for number in numbers.values())
    assert repr(report) == str(report)
    single = "1: nothing varies within it; min_samples=2 leaves it out"
    head, first, *rest = str(report).split("\n")
    assert head == f"{'convention papyan':<27} 4 samples, 2 classes, simplex fits"
    assert first == f"{'nc1':<27} 0.125"
    assert rest[-2:] == [f"{'rank':<27} 1", f"{'smallest_class':<27} {single}"]
    assert len(rest) == 19  # twenty numbers; sizes and the room for a simplex are in the head
    html = report._repr_html_()
    caption = "<caption>convention papyan: 4 samples, 2 classes, simplex fits</caption><tbody>"
    assert html.startswith(f"<table>{caption}<tr><th scope='row'>nc1</th><td>0.125</td></tr><tr>")
    last = f"<tr><th scope='row'>smallest_class</th><td>{single}</td></tr></tbody></table>"
    assert html.endswith(last)
    crowded = measure(torch.tensor([[0.0], [1], [5]] * 2), torch.arange(6) % 3)
    assert "6 samples, 3 classes, simplex does not fit" in str(crowded)
    assert not crowded.simplex_fits


def test_a_simplex_of_k_vertices_fits_into_one_dimension_less():
    for dim, fits in [(1, False), (2, True), (3, True)]:
        features = torch.randn(6, dim, generator=torch.Generator().manual_seed(0))
        report = measure(features, torch.arange(6) % 3, None, num_classes=3)
        assert report.simplex_fits is fits
        # An uncentred condition number needs three independent means.
        assert math.isfinite(report.nc2_condition) is (dim == 3)


def test_nc4_goes_by_the_means_as_they_are_and_not_as_they_are_rounded():
    """Whole multiples of the rounding of 2^14, whose means float32 cannot hold."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(4000) % 4
    steps = torch.randint(-300, 300, (4000, 3), generator=generator).double()
    steps += 200 * torch.eye(4, 3)[labels]
    features = (2**14 + steps * 2.0**-9).float()
    assert torch.equal((features.double() - 2**14) * 2**9, steps)
    means = torch.stack([steps[labels == label].mean(0) for label in range(4)])
    nearest = torch.cdist(steps, means, compute_mode="donot_use_mm_for_euclid_dist").argmin(1)
    report = measure(features, labels, logits=torch.eye(4)[nearest])
    assert (report.rank, report.nc4) == (3, 0)


def test_means_that_differ_by_rounding_only_coincide():
    step = 2.0**-14  # of float32 at 1000
    features = 1000 + step * torch.tensor([[0.0, 0], [1, 0], [0, 0], [0, 0], [0, 0], [1, 0]])
    report = measure(features, torch.tensor([0, 0, 1, 1, 1, 1]))
    assert features[1, 0] > 1000
    assert report.rank == 0
    for name in ("nc1", "cdnv", "nc2_equinorm", "nc2_equiangular", "nc2_structure"):
        assert getattr(report, name) == math.inf, name


def test_a_direction_whose_square_is_zero_is_none():
    means = torch.tensor([[1.0, 0.0], [-1.0, 1e-3], [0.0, -1e-3]], dtype=torch.float64)
    noise = torch.tensor([[0.1, 0.1], [-0.1, -0.1]], dtype=torch.float64)
    features = (means[:, None] + noise).flatten(0, 1)
    labels = torch.arange(6) // 2
    report, tiny = measure(features, labels), measure(1e-160 * features, labels)
    assert (report.rank, tiny.rank) == (2, 1)
    assert math.isfinite(tiny.pinv_trace)


def test_a_classifier_too_small_to_be_squared_has_angles_and_no_structure():
    vertices = simplex_etf(3, 4, dtype=torch.float64)
    labels = torch.arange(6) % 3
    report = measure(vertices[labels], labels, 1e-120 * vertices)
    assert report.nc2_equiangular_classifier == pytest.approx(0, abs=1e-12)
    assert report.nc2_equinorm_classifier == pytest.approx(0, abs=1e-12)
    assert report.nc2_structure_classifier == math.inf


@pytest.mark.parametrize("more", [(1,), (1, 1), (1, 1, 1)])
def test_a_weight_of_a_convolution_is_a_matrix(more):
    flat = measure(FEATURES, LABELS, WEIGHT, BIAS)
    assert measure(FEATURES, LABELS, WEIGHT.view(2, 2, *more), BIAS.view(1, 2)) == flat


def test_the_condition_number_of_the_means_by_hand():
    # Lengths 1, 2 and 4 at right angles, whatever the unit.
    means = torch.diag(torch.tensor([1.0, 2.0, 4.0]))
    for unit in (1e-6, 1.0, 1e6):
        report = measure(unit * means, torch.arange(3), None, num_classes=3)
        assert report.nc2_condition == pytest.approx(4)
    # The third is the mean of the others, up to rounding: no condition number, though three fit.
    means = torch.tensor([[0.1, 0.7, 0.3], [0.2, 0.1, 0.9], [0.15, 0.4, 0.6]])
    assert measure(means, torch.arange(3), None, num_classes=3).nc2_condition == math.inf


def test_a_single_zero_row_has_cosine_zero():
    weight = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    report = measure(FEATURES, LABELS, weight)
    assert report.nc2_equiangular_classifier == pytest.approx(1)  # |0 + 1/(K - 1)|
    assert report.nc2_equinorm_classifier == pytest.approx(math.sqrt(0.5) / 0.5)  # norms 1, 0
    # cos(h, W_0) = -1/sqrt 17, 1/sqrt 17, 0 for the three of class 0, 0 for the one of class 1.
    assert report.nc3_cosine == pytest.approx(0, abs=1e-12)
    assert measure(FEATURES, LABELS, weight[[0, 0]]).nc3_cosine == pytest.approx(0.8 / 4)


def test_the_classifier_may_have_another_type_and_features_any_size():
    whole = measure(FEATURES, LABELS, WEIGHT, BIAS).as_dict()
    for features, weight, bias in [
        (FEATURES.float(), WEIGHT, BIAS),
        (FEATURES, WEIGHT.float(), BIAS.float()),
    ]:
        report = measure(features, LABELS, weight, bias)
        assert report.as_dict() == pytest.approx(whole, rel=1e-5, abs=1e-6)
    for scale in (1e-3, 1e3):
        assert measure(scale * FEATURES, LABELS, WEIGHT).nc3_cosine == pytest.approx(0.15)


def test_layers_take_the_convention_and_need_samples():
    layers = {"x": FEATURES.reshape(4, 1, 2)}
    by_default = measure_layers(layers, LABELS, num_classes=2)["x"]
    assert by_default.convention == "papyan"
    wu = measure_layers(layers, LABELS, num_classes=2, convention="wu")["x"]
    assert (wu.convention, wu.nc1) == ("wu", pytest.approx(2 / 5))
    with pytest.raises(ValueError, match=r"layer 'y' is \(4,\); expected \(samples, \.\.\.\)"):
        measure_layers(layers | {"y": FEATURES[:, 0]}, LABELS, num_classes=2)
    with pytest.raises(ValueError, match=r"no sample of class 2 \(of 3\)"):
        measure_layers(layers, LABELS, num_classes=3)


def test_an_argument_without_real_numbers_is_named():
    imaginary = torch.eye(2, dtype=torch.complex64)
    labels, means = torch.arange(2), torch.eye(2)
    for name, call in [
        ("features", lambda: nearest_class_mean(imaginary, means)),
        ("class_means", lambda: nearest_class_mean(means, imaginary)),
        ("features", lambda: variability_collapse_index(imaginary, labels)),
        ("class_means", lambda: principal_angles(imaginary, means)),
        ("weight", lambda: principal_angles(means, imaginary)),
        ("layer 'x'", lambda: measure_layers({"x": imaginary}, labels)),
    ]:
        with pytest.raises(TypeError, match=f"^{name} is complex64; expected real"):
            call()


def test_nearest_class_mean_far_from_the_origin_and_in_half_precision():
    means = 1e4 + torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    features = 1e4 + torch.tensor([[0.375, 9.0], [0.625, -9.0], [0.5, 0.0], [-3.0, 1.0]])
    assert nearest_class_mean(features, means).tolist() == [0, 1, 0, 0]
    # The centre is that of the means: they may have any length and number.
    three = torch.tensor([[0.0], [4.0], [10.0]])
    points = torch.tensor([[1.9], [2.1], [6.9], [7.1], [99.0]])
    assert nearest_class_mean(points, three).tolist() == [0, 1, 1, 2, 2]
    assert nearest_class_mean(points.half(), three.double()).tolist() == [0, 1, 1, 2, 2]
    assert nearest_class_mean(points, three[:1]).tolist() == [0] * 5


@pytest.mark.parametrize(
    ("features", "means", "error", "message"),
    [
        (torch.ones(4), torch.ones(1, 4), ValueError,
         r"features is \(4,\) and class_means \(1, 4\); expected \(samples, d\)"),
        (torch.ones(1, 4), torch.ones(4), ValueError, r"and class_means \(4,\)"),
        (torch.ones(2, 2).long(), torch.ones(2, 2), TypeError,
         "^features is int64; expected floating point"),
        (torch.ones(2, 2), torch.ones(2, 2).long(), TypeError, "^class_means is int64; expected"),
        (_with((0, 0), math.nan), torch.ones(2, 2), ValueError, "^features contains NaN or inf"),
        (FEATURES, torch.full((2, 2), math.inf), ValueError, "^class_means contains NaN or inf"),
        (FEATURES, torch.ones(0, 2), ValueError, "class_means is empty; .* at least 1 class"),
    ],
)  # fmt: skip
def test_nearest_class_mean_tells_each_mistake(features, means, error, message):
    with pytest.raises(error, match=message):
        nearest_class_mean(features, means)


def test_vci_by_hand_and_its_mistakes():
    # Within 1/4 around 0 and 2, between 1 around 1: the total is 5/4, so 1 - 4/5.
    features = torch.tensor([[-0.5], [0.5], [1.5], [2.5]])
    labels = torch.tensor([0, 0, 1, 1])
    assert variability_collapse_index(features, labels) == pytest.approx(0.2)
    assert variability_collapse_index(features, labels, num_classes=2) == pytest.approx(0.2)
    for dtype in (torch.uint8, torch.int32):
        assert variability_collapse_index(features, labels.to(dtype)) == pytest.approx(0.2)
    # A feature that repeats another adds nothing, and neither does a constant one.
    more = torch.cat([features, 3 * features, torch.ones(4, 1)], dim=1)
    assert variability_collapse_index(more, labels) == pytest.approx(0.2)
    with pytest.raises(ValueError, match=r"no sample of class 2 \(of 3\)"):
        variability_collapse_index(features, labels, num_classes=3)
    with pytest.raises(ValueError, match="labels is empty; VCI needs samples"):
        variability_collapse_index(features[:0], labels[:0])
    with pytest.raises(TypeError, match="labels is float32"):
        variability_collapse_index(features, labels.float())
    with pytest.raises(ValueError, match="1 class: collapse compares classes"):
        variability_collapse_index(features, labels * 0)
    with pytest.raises(ValueError, match=r"features is \(4,\); expected \(samples, features\)"):
        variability_collapse_index(features[:, 0], labels)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dim", [3, 3000])
def test_vci_passes_over_directions_that_are_rounding(dtype, dim):
    """A direction that says the label counts from max(N, d) units of rounding of the largest on."""
    labels = torch.arange(100) % 2
    generator = torch.Generator().manual_seed(0)
    features = torch.zeros(100, dim, dtype=torch.float64)
    features[:, :2] = torch.randn(100, 2, generator=generator, dtype=torch.float64)
    features[:, 0] -= labels * features[1::2, 0].mean() + (1 - labels) * features[::2, 0].mean()
    features[:, 1] += labels
    largest = torch.linalg.svdvals(features - features.mean(0))[0]
    unit = max(100, dim) * torch.finfo(dtype).eps * largest / 5  # labels have singular value 5
    sign = labels - 0.5
    without = variability_collapse_index(features.to(dtype), labels)
    features[:, 2] = 0.5 * unit * sign
    assert variability_collapse_index(features.to(dtype), labels) == pytest.approx(
        without, rel=1e-5
    )
    features[:, 2] = 2 * unit * sign
    assert variability_collapse_index(features.to(dtype), labels) < 1e-2 < without


def test_by_class_tells_many_close_classes_far_from_the_origin_apart():
    """Thirty: by way of inner products their distances would be rounding."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(120) % 30
    means = torch.randn(30, 5, generator=generator, dtype=torch.float64)
    noise = torch.randn(120, 5, generator=generator, dtype=torch.float64)
    found = by_class(1e7 + 1e-3 * (means[labels] + 0.1 * noise), labels)
    near = by_class(means[labels] + 0.1 * noise, labels)
    torch.testing.assert_close(found.cdnv, near.cdnv, rtol=1e-4, atol=0)


def test_principal_angles_by_hand_and_their_mistakes():
    # Centred rows span a line at 0 and one at 60 degrees, whatever is added to all of them.
    line = torch.tensor([[1.0], [-1.0], [3.0]])
    turned = line * torch.tensor([[0.5, math.sqrt(0.75)]]) + 5
    angles = principal_angles(line * torch.tensor([[2.0, 0.0]]), turned)
    assert angles.tolist() == pytest.approx([math.pi / 3], abs=1e-6)
    assert angles.dtype == torch.float64
    for means, weight, error, message in [
        (WEIGHT.long(), WEIGHT, TypeError, "^class_means is int64; expected floating point"),
        (WEIGHT, WEIGHT.long(), TypeError, "^weight is int64; expected floating point"),
        (WEIGHT[:1], WEIGHT[:1], ValueError, r"^class_means is \(1, 2\); expected 2 or more"),
        (WEIGHT, WEIGHT * math.nan, ValueError, r"^weight is \(2, 2\); expected .* finite rows"),
        (WEIGHT[0], WEIGHT[0], ValueError, r"class_means is \(2,\) and weight \(2,\); expected"),
        (torch.ones(2, 2), WEIGHT, ValueError, "^the rows of class_means all coincide"),
    ]:
        with pytest.raises(error, match=message):
            principal_angles(means, weight)


def test_margin_and_uniformity_by_hand():
    # Directions east, north and west: west is sqrt 2 from north, 1 from the chord to north's east.
    vectors = torch.tensor([[5.0, 0.0], [0.0, 0.5], [-2.0, 0.0]])
    assert one_vs_rest_margin(vectors) == pytest.approx(1)  # north from the chord east-west
    pairs = (math.log(2) + 2 * math.log(math.sqrt(2))) / 3
    assert hyperspherical_uniformity(vectors) == pytest.approx(pairs)
    assert one_vs_rest_margin(vectors[[0, 2]]) == pytest.approx(2)
    assert hyperspherical_uniformity(vectors[[0, 2]]) == pytest.approx(math.log(2))
    for function in (one_vs_rest_margin, hyperspherical_uniformity):
        with pytest.raises(ValueError, match=r"vectors is \(2,\); expected"):
            function(torch.ones(2))
        with pytest.raises(ValueError, match="zero, NaN or infinite; it has no direction"):
            function(torch.full((2, 2), math.inf))


def test_uniformity_sees_two_directions_that_are_nearly_one():
    """Among thirty: a distance by way of inner products would lose one of 1e-9 to rounding."""
    angles = torch.cat([torch.arange(29.0).double() / 5, torch.tensor([1e-9]).double()])
    vectors = torch.stack([angles.cos(), angles.sin()], dim=1)
    gaps = (2 * ((angles[:, None] - angles) / 2).sin()).abs()
    expected = gaps[~torch.eye(30, dtype=torch.bool)].log().mean().item()
    assert hyperspherical_uniformity(vectors) == pytest.approx(expected, rel=1e-9)
    for function in (one_vs_rest_margin, hyperspherical_uniformity):
        with pytest.raises(TypeError, match="vectors is complex64; expected real numbers"):
            function(torch.eye(2, dtype=torch.complex64))


def test_missing_classes_are_listed_up_to_ten():
    features = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(40, dtype=torch.long)
    for present, message in [
        (10, r"no sample of class 10, 11 \(of 12\); a class without samples has no mean"),
        (2, r"class 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 \(of 12\)"),
        (1, r"class 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, … \(of 12\)"),
    ]:
        labels = torch.arange(40) % present
        with pytest.raises(ValueError, match=message):
            measure(features, labels, None, num_classes=12)


def test_whether_something_may_be_transposed_is_said_only_where_it_may():
    for change, message in [
        ({"features": torch.ones(3, 2)}, r"with 4 samples, one a label$"),
        ({"features": torch.ones(3, 4)}, r"one a label — transposed\?$"),
        ({"weight": torch.ones(2, 3), "bias": None}, r"for features \(4, 2\) — transposed\?$"),
        ({"weight": torch.ones(3, 5), "bias": None}, r"for features \(4, 2\)$"),
    ]:
        given = {"features": FEATURES, "labels": LABELS, "weight": WEIGHT, "bias": BIAS} | change
        with pytest.raises(ValueError, match=message):
            measure(**given)


SLOW_TO_LOAD = {"torchmetrics", "torchvision", "sklearn", "matplotlib", "IPython"}


def test_measuring_loads_little_more_than_torch():
    """Each of these takes about as long as torch itself, and few readers of `measure` need one."""
    rooms = "ncourse.metrics, ncourse.features, ncourse.training, ncourse.continual"
    code = f"import sys, {rooms}; print(*{{name.split('.')[0] for name in sys.modules}})"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(result.stdout.split())
    assert "torch" in loaded
    assert not loaded & SLOW_TO_LOAD


def test_every_public_name_is_listed_and_found():
    assert set(metrics.__all__) <= set(dir(metrics))
    for name in metrics.__all__:
        assert getattr(metrics, name).__class__ is not type(metrics), f"{name} is a module"
    with pytest.raises(AttributeError, match=r"module 'ncourse.metrics' has no attribute 'nc5'"):
        metrics.nc5  # noqa: B018


def test_without_a_weight_features_are_measured_alone():
    alone = measure(FEATURES, LABELS, num_classes=2)
    assert alone.nc1 == pytest.approx(BY_HAND["papyan"]["nc1"])
    assert math.isnan(alone.nc3)


# --- class by class -------------------------------------------------------------------------------


def test_by_class_adds_up_to_the_report_and_leaves_rare_classes_out():
    generator = torch.Generator().manual_seed(0)
    labels = torch.cat([torch.arange(5).repeat(6), torch.tensor([5, 6, 6])])
    features = torch.randn(len(labels), 4, generator=generator) + labels[:, None]
    weight = torch.randn(7, 4, generator=generator)
    found = by_class(features, labels, weight, min_samples=3)
    report = measure(features, labels, weight, min_samples=3)
    assert found.classes.tolist() == [0, 1, 2, 3, 4]
    assert found.counts.tolist() == [6] * 5
    assert found.cdnv.mean().item() == pytest.approx(report.cdnv, rel=1e-6)
    one = features[labels == 2].double()
    assert found.variance[2].item() == pytest.approx(
        (one - one.mean(0)).square().sum(1).mean().item()
    )
    assert by_class(features, labels).classes.tolist() == [0, 1, 2, 3, 4, 6]


def test_alignment_is_one_where_rows_are_centred_means_and_nan_without_rows():
    features = torch.tensor([[1.0, 0, 3], [-1, 0, 3], [0, 2, 3], [0, -2, 3]]).repeat(2, 1)
    labels = torch.arange(8) % 4
    rows = torch.tensor([[1.0, 0, 0], [-3, 0, 0], [0, 1, 0], [0, -1, 1]])
    found = by_class(features, labels, rows)
    assert found.alignment.tolist() == pytest.approx([1, 1, 1, 0.5**0.5])
    assert by_class(features, labels).alignment.isnan().all()


def test_by_class_tells_close_means_far_from_the_origin_apart():
    labels = torch.arange(30).repeat(2)
    features = labels[:, None].double() + torch.tensor([0.1, -0.1]).repeat_interleave(30)[:, None]
    near, far = by_class(features, labels), by_class(features + 1e6, labels)
    assert far.cdnv.tolist() == pytest.approx(near.cdnv.tolist(), rel=1e-6)


def test_by_class_knows_how_many_classes_there_are_from_the_rows():
    features, labels = torch.randn(8, 3), torch.arange(8) % 2
    with pytest.raises(ValueError, match="label"):
        by_class(features, labels + 3, torch.randn(4, 3))
    assert by_class(features, labels, torch.randn(4, 3)).classes.tolist() == [0, 1]
    assert by_class(features, labels, num_classes=5).classes.tolist() == [0, 1]
    with pytest.raises(ValueError, match="weight"):
        by_class(features, labels, torch.randn(4, 2))
    with pytest.raises(TypeError, match=r"^weight is complex64"):
        by_class(features, labels, torch.randn(4, 3, dtype=torch.complex64))
    with pytest.raises(TypeError, match=r"^features is complex64"):
        by_class(features.to(torch.complex64), labels)
    with pytest.raises(ValueError, match="0 of 2 classes"):
        by_class(torch.randn(0, 3), torch.zeros(0, dtype=torch.long))


def test_by_class_refuses_what_measure_refuses():
    with pytest.raises(ValueError, match="NaN or infinity"):
        by_class(torch.tensor([[float("nan")], [1.0]]), torch.tensor([0, 1]), min_samples=1)
    with pytest.raises(ValueError, match="0 of 2 classes to measure"):
        by_class(torch.ones(2, 1), torch.tensor([0, 1]))
