"""Nothing ambient changes a number: each public function under each state of the caller."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn

from ncourse import metrics, simplex, ufm
from ncourse.metrics import CollapseMetric, measure

K, N, D = 5, 200, 16


def _data() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Large features, as in a language model, in classes so tight that half precision fails."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(N) % K
    means = 300 * torch.randn(K, D, generator=generator, dtype=torch.float32)
    noise = torch.randn(N, D, generator=generator, dtype=torch.float32)
    return means[labels] + 0.01 * noise, labels, means - means.mean(0), means


def _stream(keep_features: bool) -> dict[str, float]:
    features, labels, weight, _ = _data()
    classifier = nn.Linear(D, K, dtype=torch.float32)
    with torch.no_grad():
        classifier.weight.copy_(weight)
        classifier.bias.zero_()
    metric = CollapseMetric(K, classifier=classifier, keep_features=keep_features)
    for start in range(0, N, 30):
        metric.update(features[start : start + 30], labels[start : start + 30])
    return {**metric.compute().as_dict(), "means": float(metric.class_means().sum())}


def _layers() -> Any:
    features, labels, _, _ = _data()
    return metrics.measure_layers({"a": features}, labels, num_classes=K)["a"].as_dict()


def _measure() -> dict[str, float]:
    features, labels, weight, _ = _data()
    return measure(features, labels, weight).as_dict()


CASES: dict[str, Callable[[], Any]] = {
    "CollapseMetric": lambda: _stream(False),
    "CollapseMetric, features kept": lambda: _stream(True),
    "measure": _measure,
    "by_class": lambda: metrics.by_class(*_data()[:3]),
    "measure_layers": _layers,
    "nearest_class_mean": lambda: metrics.nearest_class_mean(_data()[0], _data()[3]).tolist(),
    "one_vs_rest_margin": lambda: metrics.one_vs_rest_margin(_data()[3]),
    "hyperspherical_uniformity": lambda: metrics.hyperspherical_uniformity(_data()[3]),
    "principal_angles": lambda: metrics.principal_angles(_data()[3], _data()[2]).tolist(),
    "variability_collapse_index": lambda: metrics.variability_collapse_index(*_data()[:2]),
}


def _flat(value: Any) -> Any:
    """The numbers of a result, whatever holds them."""
    if isinstance(value, torch.Tensor):
        return value.detach().double().flatten().tolist()
    if hasattr(value, "__dataclass_fields__"):
        value = vars(value)
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [number for part in value for number in _flat(part)]
    return [float(value)] if isinstance(value, int | float) else []


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _vectors() -> torch.Tensor:
    return 30 * torch.randn(K, D, generator=_generator(), dtype=torch.float32)


def _problem(**changes: Any) -> ufm.UFM:
    sizes = {"num_classes": 3, "samples_per_class": 1, "dim": 2}
    return ufm.UFM(**{**sizes, "lambda_w": 5e-3, "lambda_h": 5e-3, **changes})


def _point() -> ufm.Point:
    return ufm.random_point(_problem(), seed=0)


def _decompose() -> Any:
    features, labels, weight, _ = _data()
    bias = torch.zeros(K, dtype=torch.float32)
    return ufm.decompose_mse(
        features=features, labels=labels, weight=weight, bias=bias, penalty=0.1
    )


def _plane() -> Any:
    points = [ufm.random_point(_problem(), seed=seed) for seed in range(3)]
    grid = torch.linspace(-1, 1, 3, dtype=torch.float64)
    return ufm.plane(
        _problem(), centre=points[0], first=points[1], second=points[2], coordinates=grid
    )


def _frame() -> Any:
    vectors = torch.randn(4, 7, generator=_generator(), dtype=torch.float32)
    return simplex.SimplexFrame.nearest(vectors).grow(2, generator=_generator()).vertices


GEOMETRY: dict[str, Callable[[], Any]] = {
    "simplex_etf": lambda: simplex.simplex_etf(4, 6, generator=_generator(), dtype=torch.float32),
    "nearest_etf": lambda: simplex.nearest_etf(_vectors()),
    "gram_matrix": lambda: simplex.gram_matrix(_vectors()),
    "cosine_matrix": lambda: simplex.cosine_matrix(_vectors()),
    "off_diagonal": lambda: simplex.off_diagonal(simplex.gram_matrix(_vectors())),
    "coherence": lambda: simplex.coherence(_vectors()),
    "repel": lambda: simplex.repel(_vectors()[:, :3], steps=20),
    "SimplexFrame": lambda: _frame(),
    "welch_bound": lambda: simplex.welch_bound(7, 3),
    "rankin_bound": lambda: simplex.rankin_bound(7, 3),
    "growth_cosine": lambda: simplex.growth_cosine(4, 6),
    "UFM": lambda: _problem().shrinkage,
    "objective": lambda: ufm.objective(
        _problem(), features=_point().features, weight=_point().weight, bias=_point().bias
    ),
    "margin": lambda: ufm.margin(_problem()),
    "optimum": lambda: ufm.optimum(_problem()),
    "random_point": _point,
    "solve": lambda: ufm.solve(_problem(), start=_point(), max_iterations=20),
    "critical_point": lambda: ufm.critical_point(_problem(), 1, num_starts=1),
    "curvature": lambda: ufm.curvature(_problem(), _point()).eigenvalues,
    "plane": _plane,
    "decompose_mse": _decompose,
    "solve_layer_peeled": lambda: ufm.solve_layer_peeled(
        samples_per_class=(2, 1), dim=2, tolerance=1e-3
    ),
    "minority_cosine": lambda: ufm.minority_cosine(_vectors(), [9, 9, 9, 1, 1]),
    "nonnegative_margins": lambda: ufm.nonnegative_margins(_vectors().double()),
}
# What functions return, and what computes nothing.
HOLDING = {"Curvature", "LayerPeeled", "LossDecomposition", "Optimum", "Point", "Solution"}


# These compute nothing of their own: `capture` runs the caller's model as the caller set it up.
NOT_COMPUTING = {"ByClass", "CONVENTIONS", "Captured", "CollapseReport", "Convention", "capture"}


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def _matmul_precision(precision: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
        assert torch.get_float32_matmul_precision() == precision  # handed back as it was
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def _deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        yield
    finally:
        torch.set_num_threads(before)


STATES: dict[str, Callable[[], Any]] = {
    "autocast fp16": lambda: torch.autocast("cpu", dtype=torch.float16),
    "autocast bf16": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "default float64": lambda: _default_dtype(torch.float64),
    "default bfloat16": lambda: _default_dtype(torch.bfloat16),
    "matmul medium": lambda: _matmul_precision("medium"),
    "deterministic": _deterministic,
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "two threads": _two_threads,  # sums in another order
}


def test_every_public_function_is_here():
    assert {name.split(",")[0] for name in CASES} | NOT_COMPUTING == set(metrics.__all__)
    assert set(GEOMETRY) | HOLDING == {*simplex.__all__, *ufm.__all__}


@functools.cache
def _undisturbed(case: str) -> Any:
    return _flat((CASES | GEOMETRY)[case]())


EACH = [
    pytest.param(state, marks=[pytest.mark.slow] * (state == "two threads")) for state in STATES
]


@pytest.mark.parametrize("state", EACH)
@pytest.mark.parametrize("case", CASES | GEOMETRY)
def test_nothing_ambient_changes_a_number(case, state):
    expected = _undisturbed(case)
    with STATES[state]():
        found = _flat((CASES | GEOMETRY)[case]())
    assert expected
    # Two threads sum in another order.
    near = {"rel": 1e-5, "abs": 1e-8} if state == "two threads" else {"rel": 1e-12, "abs": 1e-15}
    assert found == pytest.approx(expected, nan_ok=True, **near)
