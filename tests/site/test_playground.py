"""The playground in Chromium: its engine against PyTorch, its presets' claims, its page."""

import functools
import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from chromium import chromium
from playwright.sync_api import Browser, Page
from torch import nn
from torch.nn.functional import cross_entropy

from ncourse.figures.playground import pack_digits, source
from ncourse.metrics import measure
from ncourse.papers.han2022 import squared_error
from ncourse.simplex import cosine_matrix, off_diagonal, simplex_etf

pytestmark = pytest.mark.browser

STEPS = 50
TOLERANCE = 1e-6
DEFAULT = {"samples": 40, "batch": 32, "width": 24}  # small, as each step is measured

# What is compared: each layer, loss, data set and switch at least once.
NETWORKS: dict[str, dict[str, Any]] = {
    "default": {},
    "no weight decay": {"weight_decay": 0},
    "no momentum": {"momentum": 0},
    "no norm": {"layer_norm": "none"},
    "norm at the end": {"layer_norm": "end", "features": 3},
    "linear": {"depth": 0},
    "deep": {"depth": 4, "classes": 5, "features": 3},
    "squared error": {"loss": "squared_error", "learning_rate": 0.01},
    "squared error, no bias": {
        "loss": "squared_error",
        "learning_rate": 0.01,
        "bias": False,
        "features": 3,
    },
    "fixed simplex": {"fixed_simplex": True, "classes": 4, "features": 3},
    "imbalance": {"imbalance": 10, "classes": 4, "features": 3},
    "noise": {"label_noise": 0.5},
    "two classes": {"classes": 2},
    "no room": {"classes": 5, "features": 2},
    "clouds": {"data": "clouds"},
    "spirals": {"data": "spirals", "classes": 2},
    "placed": {
        "data": "placed",
        "points": [[0.1, 0.5, 0], [-0.4, 0.2, 1], [0.9, -0.3, 2], [0.2, 0.4, 0], [0.3, -0.8, 1]],
    },
}

RECORD = """async ([settings, steps]) => {
  const digits = await engine.unpackDigits(window.digits);
  const run = new engine.Run(settings, digits);
  const list = array => array && Array.from(array);
  const layers = run.layers.map(layer => ({
    kind: layer.constructor.name,
    inputs: layer.inputs, outputs: layer.outputs, size: layer.size,
    weight: list((layer.weight || layer.gain || {}).value),
    bias: list((layer.bias || {}).value) ?? null,
  }));
  const batches = [];
  while (batches.length < steps) batches.push(...run.batches());
  batches.length = steps;
  const seen = batches.map(batch => {
    const loss = run.step(batch);
    const shown = run.measure();
    return {...shown, batch_loss: loss, features: list(shown.features), means: null,
            testFeatures: list(shown.testFeatures), weight: list(shown.weight), bias: null};
  });
  const {inputs, labels, truth, tests, size} = run.data;
  const all = JSON.stringify({
    settings: run.settings, layers, batches, seen, size, inputs: list(inputs),
    labels: list(labels), truth: list(truth), tests: list(tests.inputs),
    test_labels: list(tests.labels)},
    (_, value) => typeof value === "number" && !Number.isFinite(value) ? String(value) : value);
  return all;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def engine(browser: Browser) -> Iterator[Page]:
    """An empty page in which `engine` is the module and `digits` its data."""
    page = browser.new_page()
    page.evaluate(
        """async ([text, digits]) => {
          window.digits = digits;
          const file = new Blob([text], {type: "text/javascript"});
          window.engine = await import(URL.createObjectURL(file));
        }""",
        [source("engine.js"), source("digits.txt")],
    )
    yield page
    page.close()


def _network(recorded: dict[str, Any]) -> tuple[nn.Sequential, nn.Linear]:
    """The recorded network's body and classifier in PyTorch, with the same weights."""
    made: list[nn.Module] = []
    for layer in recorded["layers"]:
        if layer["kind"] == "ReLU":
            made.append(nn.ReLU())
            continue
        if layer["kind"] == "LayerNorm":
            one: nn.Module = nn.LayerNorm(layer["size"], dtype=torch.float64)
            weight = torch.tensor(layer["weight"], dtype=torch.float64)
        else:
            shape = layer["inputs"], layer["outputs"]
            one = nn.Linear(*shape, bias=layer["bias"] is not None, dtype=torch.float64)
            weight = torch.tensor(layer["weight"], dtype=torch.float64).reshape(shape).T
        with torch.no_grad():
            one.weight.copy_(weight)  # type: ignore[operator, union-attr]
            if layer["bias"] is not None:
                one.bias.copy_(torch.tensor(layer["bias"], dtype=torch.float64))  # type: ignore[operator, union-attr]
        made.append(one)
    *body, classifier = made
    assert isinstance(classifier, nn.Linear)
    return nn.Sequential(*body), classifier


def _differs(name: str, ours: Any, theirs: Any) -> str:
    """Nothing, or by how much the two differ, relative to the largest entry."""
    ours = torch.as_tensor(ours, dtype=torch.float64).flatten()
    theirs = torch.as_tensor(theirs, dtype=torch.float64).flatten()
    finite = theirs.isfinite()
    if ours.shape != theirs.shape or not torch.equal(finite, ours.isfinite()):
        return f"{name}: {ours} in place of {theirs}"
    gap = (ours - theirs)[finite].abs().max().item() if finite.any() else 0.0
    largest = theirs[finite].abs().max().item() if finite.any() else 0.0
    # Below this scale a number is rounding: an NC2 of two classes, an error of zero.
    return f"{name}: {gap / largest:.1e}" if gap > TOLERANCE * max(largest, 1e-9) else ""


@pytest.mark.parametrize("name", NETWORKS)
def test_fifty_steps_are_those_of_pytorch(engine: Page, name: str) -> None:
    settings = {**DEFAULT, **NETWORKS[name]}
    text = engine.evaluate(RECORD, [settings, STEPS])
    recorded = json.loads(text, object_hook=lambda d: {k: _number(v) for k, v in d.items()})
    used = recorded["settings"]
    body, classifier = _network(recorded)
    if used["fixed_simplex"]:
        classifier.weight.requires_grad_(False)
    trained = [p for p in (*body.parameters(), *classifier.parameters()) if p.requires_grad]
    optimizer = torch.optim.SGD(
        trained,
        lr=used["learning_rate"],
        momentum=used["momentum"],
        weight_decay=used["weight_decay"],
    )
    loss_of = cross_entropy if used["loss"] == "cross_entropy" else squared_error
    inputs = torch.tensor(recorded["inputs"], dtype=torch.float64).reshape(-1, recorded["size"])
    labels = torch.tensor(recorded["labels"])
    tests = torch.tensor(recorded["tests"], dtype=torch.float64).reshape(-1, recorded["size"])
    test_labels = torch.tensor(recorded["test_labels"], dtype=torch.long)
    wrong: list[str] = []
    for step, (batch, seen) in enumerate(zip(recorded["batches"], recorded["seen"], strict=True)):
        optimizer.zero_grad()
        loss = loss_of(classifier(body(inputs[batch])), labels[batch])
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            features, test_features = body(inputs), body(tests)
            logits = classifier(features)
            report = measure(features, labels, classifier.weight, classifier.bias)
            means = torch.stack([features[labels == k].mean(0) for k in range(used["classes"])])
            cosine = off_diagonal(cosine_matrix(means)).max().clamp(-1, 1)
            theirs: dict[str, Any] = {
                "batch_loss": loss.detach(),
                "loss": loss_of(logits, labels),
                "features": features,
                "testFeatures": test_features,
                "weight": classifier.weight,
                "weight_norm": torch.cat([p.flatten() for p in trained]).norm(),
                "train_error": (logits.argmax(1) != labels).double().mean(),
                "test_error": (classifier(test_features).argmax(1) != test_labels).double().mean(),
                "smallest_angle": cosine.arccos().rad2deg(),
                **{
                    field: getattr(report, field)
                    for field in (
                        *("nc1", "nc2_equinorm", "nc2_equiangular", "nc2_condition"),
                        *("nc3", "nc4"),
                    )
                },
            }
        wrong += [
            difference
            for key, value in theirs.items()
            if (difference := _differs(f"step {step}, {key}", seen[key], value))
        ]
    assert wrong == []


def _number(value: Any) -> Any:
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else value


def test_the_fixed_classifier_is_a_simplex(engine: Page) -> None:
    for classes in (2, 3, 4):
        vertices = torch.tensor(
            engine.evaluate("k => Array.from(engine.simplexETF(k, 3))", classes),
            dtype=torch.float64,
        ).reshape(classes, 3)
        expected = cosine_matrix(simplex_etf(classes, 3, dtype=torch.float64))
        torch.testing.assert_close(vertices @ vertices.T, expected)


def test_data_are_what_the_settings_say(engine: Page) -> None:
    def data(**settings: Any) -> tuple[list[int], list[int]]:
        recorded = json.loads(engine.evaluate(RECORD, [settings, 0]))
        return recorded["labels"], recorded["truth"]

    labels, truth = data(classes=4, imbalance=10, samples=100, features=3)
    assert labels == truth
    assert [labels.count(k) for k in range(4)] == [100, 100, 10, 10]
    labels, truth = data(label_noise=1, samples=100)
    moved = sum(a != b for a, b in zip(labels, truth, strict=True)) / 300
    assert 0.6 < moved < 0.73  # two thirds of shuffled labels are of another class
    assert sorted(labels) == sorted(truth)
    labels, truth = data(label_noise=0.1, samples=100)
    assert 0 < sum(a != b for a, b in zip(labels, truth, strict=True)) <= 30
    assert data(seed=5, label_noise=1) == data(seed=5, label_noise=1)
    assert data(seed=5, label_noise=1) != data(seed=6, label_noise=1)


def test_wrong_settings_are_refused_with_what_to_do(engine: Page) -> None:
    ask = "settings => { try { engine.settle(settings) } catch (e) { return e.message } }"
    refuse = functools.partial(engine.evaluate, ask)
    assert refuse({}) is None
    assert "1 to 0" not in refuse({"depth": 1.5})
    assert "whole number" in refuse({"depth": 1.5})
    assert "expected 2 to 5" in refuse({"classes": 6})
    assert "there is no setting wd" in refuse({"wd": 1})
    assert "expected one of" in refuse({"loss": "mse"})
    assert "take 3 features" in refuse({"layer_norm": "end"})
    assert "needs 3 features" in refuse({"classes": 4, "fixed_simplex": True})
    assert "class 2 has no point" in refuse({"data": "placed", "points": [[0, 0, 0], [0, 1, 1]]})


def test_digits_are_those_that_the_script_packs() -> None:
    text = source("digits.txt")
    assert text == pack_digits.packed() + "\n"
    assert len(text) <= 20_000
