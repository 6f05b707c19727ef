"""Features, labels, classifier, logits and metric on any device, in every combination."""

import itertools
import math

import pytest
import torch
from elsewhere import DEVICE, Elsewhere, is_elsewhere, sent, sent_module
from torch import nn

from ncourse.metrics import (
    CollapseMetric,
    by_class,
    capture,
    hyperspherical_uniformity,
    measure,
    measure_layers,
    nearest_class_mean,
    one_vs_rest_margin,
    principal_angles,
    variability_collapse_index,
)

K, D = 4, 6
GENERATOR = torch.Generator().manual_seed(0)
LABELS = torch.arange(40) % K
WEIGHT, BIAS = torch.randn(K, D, generator=GENERATOR), torch.randn(K, generator=GENERATOR)
FEATURES = WEIGHT[LABELS] + 0.7 * torch.randn(40, D, generator=GENERATOR)
LOGITS = torch.randn(40, K, generator=GENERATOR)

ALL = {"features": FEATURES, "labels": LABELS, "weight": WEIGHT, "bias": BIAS, "logits": LOGITS}
CALLS = {
    "measure": (measure, ALL, {}),
    "measure, of a classifier": (measure, ("features", "labels", "weight", "bias"), {}),
    "measure, some classes": (measure, ALL, {"classes": [0, 2, 3]}),
    "measure, common classes": (measure, ALL, {"min_samples": 5, "ignore_index": 1}),
    "by_class": (by_class, ("features", "labels", "weight"), {}),
    "nearest_class_mean": (nearest_class_mean, {"features": FEATURES, "class_means": WEIGHT}, {}),
    "variability_collapse_index": (variability_collapse_index, ("features", "labels"), {}),
    "principal_angles": (principal_angles, {"class_means": FEATURES[:K], "weight": WEIGHT}, {}),
    "one_vs_rest_margin": (one_vs_rest_margin, {"vectors": WEIGHT}, {}),
    "hyperspherical_uniformity": (hyperspherical_uniformity, {"vectors": WEIGHT}, {}),
}


def _places(names):
    return [dict(zip(names, p, strict=True)) for p in itertools.product((0, 1), repeat=len(names))]


def _numbers(found):
    """What was found, here."""
    if hasattr(found, "as_dict"):
        return [torch.tensor([*found.as_dict().values()])]
    values = vars(found).values() if hasattr(found, "variance") else [found]
    return [torch.as_tensor(value).cpu() for value in values]


def _assert_equal(found, expected, places):
    torch.testing.assert_close(
        _numbers(found), _numbers(expected), equal_nan=True, msg=lambda told: f"{places}: {told}"
    )


@pytest.mark.parametrize("name", CALLS)
def test_arguments_may_be_on_any_devices(name):
    function, tensors, options = CALLS[name]
    if isinstance(tensors, tuple):
        tensors = {key: ALL[key] for key in tensors}
    expected = function(**tensors, **options)
    for places in _places(tensors):
        with Elsewhere():
            given = {key: sent(x) if places[key] else x for key, x in tensors.items()}
            found = function(**given, **options)
            _assert_equal(found, expected, places)


def test_layers_may_be_on_several_devices():
    expected = measure_layers({"a": FEATURES, "b": LOGITS}, LABELS)
    for places in _places("aby"):
        with Elsewhere():
            a, b, y = (
                sent(x) if place else x
                for x, place in zip((FEATURES, LOGITS, LABELS), places.values(), strict=True)
            )
            found = measure_layers({"a": a, "b": b}, y)
        assert {k: r.nc1 for k, r in found.items()} == {k: r.nc1 for k, r in expected.items()}


@pytest.mark.parametrize(
    "options",
    [{}, {"classes": [0, 2, 3]}, {"min_samples": 3, "ignore_index": 1}, {"keep_features": True},
     {"keep_features": True, "classes": [0, 2, 3]}],
    ids=str,
)  # fmt: skip
def test_a_metric_takes_what_is_on_any_device(options, monkeypatch):
    monkeypatch.setattr("ncourse.metrics.stream.WAITING", 8)

    def streamed(there):
        layer = nn.Linear(D, K)
        with torch.no_grad():
            layer.weight.copy_(WEIGHT)
            layer.bias.copy_(BIAS)
        if there["classifier"]:
            sent_module(layer)
        metric = CollapseMetric(K, classifier=layer, **options)
        if there["metric"]:
            metric.to(DEVICE)
        for rows in (slice(0, 15), slice(15, 40)):
            metric.update(
                *(
                    sent(ALL[name][rows]) if there[name] else ALL[name][rows]
                    for name in ("features", "labels", "logits")
                )
            )
        assert is_elsewhere(metric.class_means()) == bool(there["metric"])
        return metric.compute()

    places = _places(("metric", "classifier", "features", "labels", "logits"))
    expected = streamed(places[0])
    for place in places:
        with Elsewhere():
            found = streamed(place)
        _assert_equal(found, expected, place)


@pytest.mark.parametrize("into", [False, True])
@pytest.mark.parametrize("head", ["linear", "scaled"])
def test_a_model_elsewhere_is_captured_to_here(head, into):
    model = nn.Sequential(nn.Linear(D, 8), nn.ReLU(), nn.Linear(8, K), nn.Hardtanh(-1e-1, 1e-1))
    if head == "linear":
        model = model[:3]
    batches = [(FEATURES[rows], LABELS[rows]) for rows in (slice(0, 15), slice(15, 40))]
    options = {"ignore_index": 1, "classifier": "2"}
    expected = capture(model, batches, **options).measure(min_samples=1)
    for places in _places(("model", "inputs", "labels")):
        sent_model = nn.Sequential(*model)
        with Elsewhere():
            if places["model"]:
                sent_module(sent_model)
            there = [
                tuple(
                    sent(x) if place else x
                    for x, place in zip(batch, list(places.values())[1:], strict=True)
                )
                for batch in batches
            ]
            if into:
                metric = CollapseMetric(K, min_samples=1, keep_features=True)
                found = capture(sent_model, there, into=metric, **options).compute()
                assert metric.device == (DEVICE if places["model"] else torch.device("cpu"))
            else:
                captured = capture(sent_model, there, **options)
                parts = (
                    captured.features,
                    captured.labels,
                    captured.logits,
                    captured.weight,
                    captured.bias,
                )
                assert not any(map(is_elsewhere, parts))
                found = captured.measure(min_samples=1)
        for parameter in model.parameters():
            parameter._is_elsewhere = False
        _assert_equal(found, expected, places)


def test_what_a_second_device_would_refuse_is_refused():
    """The pretence itself."""
    with Elsewhere():
        x, y = sent(FEATURES), FEATURES
        assert (x.device, y.device, x.is_cuda) == (DEVICE, torch.device("cpu"), True)
        assert is_elsewhere(x[LABELS] + 1)
        assert not is_elsewhere(x.cpu())
        assert is_elsewhere(y.to(x))
        assert not is_elsewhere(y)
        assert is_elsewhere(torch.zeros(2, device=x.device))
        assert is_elsewhere(x.new_zeros(2, 2).T)
        assert is_elsewhere(x * torch.tensor(2.0))
        for refused in (
            lambda: x + y,
            lambda: y @ x.T,
            lambda: y[sent(LABELS)],
            lambda: torch.cat([x, y]),
            lambda: x.__setitem__(LABELS, y),
            lambda: y * x.sum(),
            lambda: torch.zeros(40, D).index_add_(0, sent(LABELS), y),
        ):
            with pytest.raises(RuntimeError, match="same device"):
                refused()
        with pytest.raises(TypeError, match="numpy"):
            x.numpy()
    assert math.isfinite(float(x.sum()))
