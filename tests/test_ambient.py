"""Nothing ambient changes a number: each public function under each state of the caller."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn

from ncourse import metrics
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
    "measure_layers": _layers,
    "nearest_class_mean": lambda: metrics.nearest_class_mean(_data()[0], _data()[3]).tolist(),
    "one_vs_rest_margin": lambda: metrics.one_vs_rest_margin(_data()[3]),
    "hyperspherical_uniformity": lambda: metrics.hyperspherical_uniformity(_data()[3]),
    "principal_angles": lambda: metrics.principal_angles(_data()[3], _data()[2]).tolist(),
    "variability_collapse_index": lambda: metrics.variability_collapse_index(*_data()[:2]),
}
# These compute nothing of their own: `capture` runs the caller's model as the caller set it up.
NOT_COMPUTING = {"CONVENTIONS", "Captured", "CollapseReport", "Convention", "capture"}


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


STATES: dict[str, Callable[[], Any]] = {
    "autocast fp16": lambda: torch.autocast("cpu", dtype=torch.float16),
    "autocast bf16": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "default float64": lambda: _default_dtype(torch.float64),
    "default bfloat16": lambda: _default_dtype(torch.bfloat16),
    "matmul medium": lambda: _matmul_precision("medium"),
    "deterministic": _deterministic,
    "inference mode": torch.inference_mode,
}


def test_every_public_function_is_here():
    assert {name.split(",")[0] for name in CASES} | NOT_COMPUTING == set(metrics.__all__)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("case", CASES)
def test_nothing_ambient_changes_a_number(case, state):
    expected = CASES[case]()
    with STATES[state]():
        found = CASES[case]()
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-15, nan_ok=True)
