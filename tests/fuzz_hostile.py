"""Hostile input to every public function of five modules; test_properties starts it.

It runs in a process of its own, without the run-time checks of shapes that the test suite switches
on: what a user meets. A call must give an answer without NaN (unless it is documented), or a
ValueError or TypeError that says something; nothing else. What is not called here has its reason in
`test_properties.NOT_FUZZED`.

Usage: fuzz_hostile.py EXAMPLES [NAME]...
"""

import gzip
import math
import struct
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ncourse import continual, data, metrics, models, simplex, ufm

FILLS = [
    "normal",
    "zeros",
    "equal",
    "huge",
    "vast",
    "tiny",
    "subnormal",
    "nan",
    "inf",
    "one nan",
    "offset",
]
FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
INTEGERS = [torch.int64, torch.int32, torch.uint8, torch.int8]


@st.composite
def tensors(
    draw: Any,
    *,
    ranks: tuple[int, ...] = (2, 2, 2, 2, 0, 1, 3),
    fitting: tuple[int, ...] | None = None,
) -> Tensor:
    """Any tensor: shapes, types, values, strides and gradients that users do and do not mean.

    Two thirds have the `fitting` shape, or errors about shapes would be all that is ever met.
    """
    shape = tuple(draw(st.integers(0, 5)) for _ in range(draw(st.sampled_from(ranks))))
    if fitting is not None and draw(st.integers(0, 2)):
        shape = fitting
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    made = torch.randn(shape, generator=generator, dtype=torch.float64)
    fill = draw(st.sampled_from(FILLS))
    if fill == "zeros":
        made.zero_()
    elif fill == "equal":
        made.fill_(0.3)
    elif fill in ("huge", "vast", "tiny", "subnormal"):
        made *= {"huge": 1e30, "vast": 1e200, "tiny": 1e-30, "subnormal": 1e-310}[fill]
    elif fill in ("nan", "inf"):
        made.fill_(math.nan if fill == "nan" else math.inf)
    elif fill == "one nan" and made.numel():
        made.view(-1)[0] = math.nan
    elif fill == "offset":
        made += 1e4
    kind = draw(st.sampled_from([*FLOATS, *FLOATS, torch.complex64, torch.int64, torch.bool]))
    if kind in (torch.int64, torch.bool):
        made = made.nan_to_num(0).clamp(-9, 9)
    made = made.to(kind)
    if made.ndim == 2 and draw(st.booleans()):
        made = made.T.contiguous().T  # the same numbers, other strides
    if made.is_floating_point() and draw(st.booleans()):
        made.requires_grad_()
    return made


@st.composite
def label_vectors(draw: Any, length: int | None = None) -> Tensor:
    """Labels: mostly whole numbers from 0, sometimes negative, too large, floats or a matrix."""
    size = draw(st.integers(0, 8)) if length is None or draw(st.integers(0, 9)) == 0 else length
    values = draw(st.lists(st.integers(-1, 4), min_size=size, max_size=size))
    if draw(st.integers(0, 4)):
        values = [abs(value) % 3 for value in values]
    kind = draw(st.sampled_from([*INTEGERS, torch.int64, torch.int64, torch.float32, torch.bool]))
    return torch.tensor(values).to(kind)


def has_nan(value: Any) -> bool:
    if isinstance(value, Tensor):
        return bool(value.isnan().any())
    if isinstance(value, tuple | list):
        return any(map(has_nan, value))
    return isinstance(value, float) and math.isnan(value)


def survives(call: Callable[[], Any], *given_: Any, may_be_nan: bool = False) -> Any:
    """The answer, or None after a documented error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", "The ``compute`` method of metric")  # and no more
            value = call()
    except (ValueError, TypeError) as error:
        line = traceback.extract_tb(error.__traceback__)[-1].line or ""
        if not line.startswith("raise "):  # not a decision, but what came of going on
            raise AssertionError(f"an accident: {line}") from error
    else:
        assert may_be_nan or not has_nan(value), f"NaN from {given_}"
        return value
    return None


# Documented to be NaN without a classifier.
NEEDS_CLASSIFIER = {name for name in metrics.CollapseReport.__annotations__ if "classifier" in name}
NEEDS_CLASSIFIER |= {"nc3", "nc3_structure", "nc3_cosine", "nc4", "nc4_without_bias"}


@given(st.data())
def fuzz_measure(source: Any) -> None:
    dim = source.draw(st.integers(1, 5))
    features = source.draw(tensors(fitting=(source.draw(st.integers(2, 8)), dim)))
    labels = source.draw(label_vectors(len(features) if features.ndim else None))
    weight = source.draw(st.none() | tensors(fitting=(3, dim)))
    bias = source.draw(st.none() | tensors(ranks=(1, 1, 2), fitting=(3,)))
    convention = source.draw(st.sampled_from([*metrics.CONVENTIONS, "other"]))
    classes = source.draw(st.none() | st.integers(-1, 5))
    report = survives(
        lambda: metrics.measure(
            features, labels, weight, bias, convention=convention, num_classes=classes
        ),
        may_be_nan=True,
    )
    if report is not None:
        for name, value in report.as_dict().items():
            allowed = weight is None and name in NEEDS_CLASSIFIER
            assert allowed or not math.isnan(value), f"{name} is NaN: {features} {labels} {weight}"
            assert value >= 0 or name.startswith("nc3_cosine") or math.isnan(value), name


@given(st.data())
def fuzz_stream(source: Any) -> None:
    classes = source.draw(st.integers(-1, 4))
    metric = survives(lambda: metrics.CollapseMetric(classes))
    if metric is None:
        return
    for _ in range(source.draw(st.integers(0, 3))):
        features = source.draw(tensors(fitting=(6, 3)))
        labels = source.draw(label_vectors(len(features) if features.ndim else None))
        survives(lambda f=features, y=labels: metric.update(f, y))
    report = survives(metric.compute, may_be_nan=True)
    assert report is None or not math.isnan(report.nc1)


@given(st.data())
def fuzz_other_metrics(source: Any) -> None:
    first, second = (source.draw(tensors(fitting=(4, 3))) for _ in range(2))
    labels = source.draw(label_vectors(len(first) if first.ndim else None))
    survives(lambda: metrics.nearest_class_mean(first, second), first, second)
    survives(lambda: metrics.variability_collapse_index(first, labels), first, labels)
    survives(lambda: metrics.principal_angles(first, second), first, second)
    survives(lambda: metrics.by_class(first, labels, second), first, labels, may_be_nan=True)
    survives(lambda: metrics.one_vs_rest_margin(first), first)
    survives(lambda: metrics.hyperspherical_uniformity(first), first)
    layers = {"first": first, "second": second}
    classes = source.draw(st.integers(-1, 4))
    survives(lambda: metrics.measure_layers(layers, labels, num_classes=classes), may_be_nan=True)


@given(st.data())
def fuzz_simplex(source: Any) -> None:
    vectors = source.draw(tensors())
    sizes = [source.draw(st.integers(-2, 6)) for _ in range(2)]
    survives(lambda: simplex.simplex_etf(*sizes))
    survives(lambda: simplex.welch_bound(*sizes))
    survives(lambda: simplex.rankin_bound(*sizes))
    survives(lambda: simplex.growth_cosine(*sizes))
    survives(lambda: simplex.nearest_etf(vectors), vectors)
    survives(lambda: simplex.cosine_matrix(vectors), vectors)
    survives(lambda: simplex.coherence(vectors), vectors)
    survives(lambda: simplex.off_diagonal(vectors), vectors, may_be_nan=True)
    survives(lambda: simplex.gram_matrix(vectors), vectors, may_be_nan=True)
    survives(lambda: simplex.repel(vectors, steps=2), vectors)
    frame = survives(lambda: simplex.SimplexFrame.nearest(vectors), vectors)
    survives(lambda: simplex.SimplexFrame(vectors), vectors)
    if frame is not None:
        survives(lambda: frame.grow(sizes[0]).vertices)


@given(st.data())
def fuzz_ufm(source: Any) -> None:
    number = st.sampled_from([0.0, 1e-3, 0.1, 3.0, -1.0, math.nan, math.inf])
    sizes = [source.draw(st.integers(-1, 4)) for _ in range(3)]
    model = survives(
        lambda: ufm.UFM(
            num_classes=sizes[0],
            samples_per_class=source.draw(st.just(sizes[1]) | st.just((1, 2, 3))),
            dim=sizes[2],
            lambda_w=source.draw(number),
            lambda_h=source.draw(number),
            lambda_b=source.draw(st.none() | number),
            loss=source.draw(st.sampled_from(["cross-entropy", "mse", "hinge"])),
        )
    )
    features, weight = (source.draw(tensors(fitting=(6, 3))) for _ in range(2))
    weight = source.draw(st.sampled_from([weight, weight[:3] if weight.ndim else weight]))
    labels = source.draw(label_vectors(len(features) if features.ndim else None))
    bias = source.draw(tensors(ranks=(1, 1, 2), fitting=(3,)))
    parts = survives(
        lambda: ufm.decompose_mse(
            features=features,
            labels=labels,
            weight=weight,
            bias=bias,
            penalty=source.draw(number),
        )
    )
    if parts is not None:
        total = parts.nc1 + parts.nc23 + parts.perpendicular
        assert math.isclose(total, parts.loss, rel_tol=1e-6, abs_tol=1e-6), parts
        assert not has_nan([parts.best_weight, parts.best_bias])
    survives(lambda: ufm.nonnegative_margins(weight), weight)
    counts = source.draw(st.lists(st.integers(0, 3), max_size=4))
    survives(lambda: ufm.minority_cosine(weight, counts), weight)
    if model is None:
        return
    survives(lambda: ufm.margin(model))
    survives(lambda: ufm.optimum(model).loss)
    point = survives(lambda: ufm.random_point(model, scale=source.draw(number)), may_be_nan=True)
    if point is not None:
        survives(
            lambda: ufm.objective(
                model, features=point.features, weight=point.weight, bias=point.bias
            )
        )
    survives(
        lambda: ufm.objective(model, features=features, weight=weight, bias=bias), may_be_nan=True
    )


@given(st.data())
def fuzz_data(source: Any) -> None:
    inputs, tests = source.draw(tensors(fitting=(6, 3))), source.draw(tensors(fitting=(4, 3)))
    labels = source.draw(label_vectors(len(inputs) if inputs.ndim else None))
    test_labels = source.draw(label_vectors(len(tests) if tests.ndim else None))
    names = tuple("abc"[: source.draw(st.integers(0, 3))])
    made = survives(
        lambda: data.Dataset("d", inputs, labels, tests, test_labels, names), may_be_nan=True
    )
    if made is not None:
        number = source.draw(st.sampled_from([0.0, 0.5, 1.0, 2.0, math.nan]))
        survives(lambda: made.checksum)
        survives(lambda: made.with_label_noise(number, seed=0))
        survives(lambda: made.with_random_labels(seed=0))
        survives(lambda: made.take(source.draw(st.integers(-1, 3))))
        survives(lambda: made.only(source.draw(st.lists(st.integers(-1, 3), max_size=3))))
        survives(lambda: continual.Stream.split(made, source.draw(st.integers(-1, 4))))
    sizes = [source.draw(st.integers(-1, 3)) for _ in range(4)]
    survives(
        lambda: (
            data.gaussian_mixture(
                sizes[0], sizes[1], train_per_class=sizes[2], test_per_class=sizes[3]
            ).checksum
        )
    )


@given(st.data())
def fuzz_continual(source: Any) -> None:
    shape = [source.draw(st.integers(0, 4)) for _ in range(source.draw(st.sampled_from([1, 2, 2])))]
    fill = source.draw(st.sampled_from([0.5, math.nan]))
    matrix = np.tril(np.full(shape, fill)) if len(shape) == 2 else np.full(shape, fill)
    for summary in (
        continual.final_accuracy,
        continual.anytime_accuracy,
        continual.forgetting,
        continual.first_minus_last,
        continual.backward_transfer,
    ):
        survives(lambda f=summary: f(matrix), matrix)
    first, second = (source.draw(tensors(fitting=(4, 3))) for _ in range(2))
    finite = all(torch.isfinite(x).all() for x in (first, second))
    survives(
        lambda: continual.dot_regression(first, second),
        *(first, second),
        may_be_nan=not finite,  # a loss passes NaN on, for the training loop to see
    )
    buffer = survives(lambda: continual.ReplayBuffer(source.draw(st.integers(-2, 9))), None)
    if buffer is None:
        return
    generator = torch.Generator().manual_seed(0)
    for _ in range(source.draw(st.integers(0, 2))):
        inputs, logits = (source.draw(tensors(fitting=(6, 3))) for _ in range(2))
        labels = source.draw(label_vectors(len(inputs) if inputs.ndim else None))
        seen = source.draw(st.integers(-1, 5))
        before = len(buffer)
        done = survives(
            lambda i=inputs, y=labels, z=logits, n=seen: (
                buffer.store(i, y, z, num_seen=n, generator=generator) or True
            )
        )
        assert done or len(buffer) == before, "an error left something behind"
        assert len(buffer.inputs) == len(buffer.labels) == len(buffer.logits) == len(buffer)
        assert len(buffer) <= max(buffer.capacity, before)
    drawn = survives(lambda: buffer.draw(source.draw(st.integers(-1, 4)), generator))
    assert drawn is None or not len(drawn) or int(drawn.max()) < len(buffer)


STRATEGIES = [
    continual.Strategy(),
    continual.Naive(),
    continual.Joint(),
    continual.ExperienceReplay(),
    continual.AsymmetricReplay(),
    continual.DarkExperience(),
    continual.BalancedDarkExperience(),
    continual.ICaRL(),
    continual.FixedSimplex(1.0, 1.0),
    continual.ProgressiveCollapse(1.0, 1.0),
]


@given(st.data())
def fuzz_learn(source: Any) -> None:
    """Streams with tasks of one class, with too few samples; models that do or do not fit."""
    few = st.integers(0, 3)
    classes, dim, width = source.draw(few) + 2, source.draw(few) + 1, source.draw(few) + 2
    dataset = data.gaussian_mixture(
        classes, dim, train_per_class=3, test_per_class=source.draw(few), seed=source.draw(few)
    )
    stream = continual.Stream.split(dataset, source.draw(st.integers(1, classes)))
    if source.draw(st.integers(0, 5)) == 0:  # a class that never comes
        kept = dataset.labels > 0
        task = continual.Task(
            dataset.inputs[kept], dataset.labels[kept], dataset.test_inputs, dataset.test_labels,
            range(classes),
        )  # fmt: skip
        stream = continual.Stream("empty class", (task,), dataset.class_names)
    rows = classes + source.draw(st.sampled_from([0, 0, 0, 1, -1]))
    model = models.MLP((dim,), (width,), rows, batch_norm=source.draw(st.booleans()))
    run = survives(
        lambda: continual.learn(
            stream,
            source.draw(st.sampled_from(STRATEGIES)),
            model=model,
            epochs=source.draw(st.integers(-1, 2)),
            buffer_size=source.draw(st.integers(-1, 9)),
            learning_rate=source.draw(st.sampled_from([0.03, 0.0, -1.0, 1e30, math.nan])),
            batch_size=source.draw(st.sampled_from([4, 1, 0, -1])),
            milestones=source.draw(st.sampled_from([(0.7,), (), (math.nan,), (-1.0, 2.0)])),
            progress=False,
        ),
        may_be_nan=True,
    )
    if run is None:
        return
    for matrix in (run.class_il, run.task_il):
        assert 0 <= continual.final_accuracy(matrix) <= 1
    directions = continual.mean_directions(model, stream.tasks[-1])
    assert directions.shape == (len(stream.tasks[-1].classes), width)
    assert not has_nan(directions)
    batch = continual.Batch(torch.ones(2, width), torch.zeros(2).long(), None, 0, torch.empty(0))
    assert not has_nan(continual.Naive().loss(continual.Learner(model, *[None] * 2), batch).item())


@st.composite
def small_problems(draw: Any) -> ufm.UFM:
    """Models that exist: also ones without room, without a penalty, with one sample."""
    classes = draw(st.integers(2, 3))
    number = st.sampled_from([5e-3, 0.1, 1.0, 0.0, 1e30])
    return ufm.UFM(
        num_classes=classes,
        samples_per_class=draw(st.sampled_from([1, 2, (1, 3, 2)[:classes]])),
        dim=draw(st.integers(1, 3)),
        lambda_w=draw(number),
        lambda_h=draw(number),
        lambda_b=draw(st.none() | number),
        loss=draw(st.sampled_from(["cross-entropy", "mse"])),
    )


@st.composite
def points(draw: Any, problem: ufm.UFM) -> ufm.Point:
    """A point of the model, or one of hostile tensors."""
    if draw(st.integers(0, 2)):
        scale = draw(st.sampled_from([1.0, 0.0, 1e-30, 1e30, 1e200]))
        return ufm.random_point(problem, seed=draw(st.integers(0, 9)), scale=scale)
    made = ufm.random_point(problem)
    parts = [made.features, made.weight]
    which = draw(st.integers(0, 2))
    if which < 2:
        parts[which] = draw(tensors(fitting=tuple(parts[which].shape)))
        return ufm.Point(*parts, made.bias)
    return ufm.Point(*parts, draw(st.none() | tensors(fitting=(problem.num_classes,))))


@given(st.data())
def fuzz_landscape(source: Any) -> None:
    problem = source.draw(small_problems())
    one, two, three = (source.draw(points(problem)) for _ in range(3))
    found = survives(
        lambda: ufm.solve(
            problem,
            start=one,
            tolerance=source.draw(st.sampled_from([1e-8, 0.0, -1.0, math.nan, math.inf])),
            max_iterations=source.draw(st.sampled_from([30, 1, 0, -1])),
        )
    )
    survives(lambda: ufm.objective(problem, **vars(one)), may_be_nan=True)
    if found is not None:
        assert not has_nan([found.loss, found.gradient, found.point.features, found.point.weight])
        assert found.point.features.shape == (problem.num_samples, problem.dim)
    bent = survives(lambda: ufm.curvature(problem, two))
    if bent is not None:
        assert not has_nan([bent.eigenvalues, bent.least, bent.direction.features])
        assert bent.eigenvalues.diff().min() >= 0
    coordinates = source.draw(tensors(ranks=(1, 1, 0, 2)))
    heights = survives(
        lambda: ufm.plane(problem, centre=one, first=two, second=three, coordinates=coordinates)
    )
    assert heights is None or heights.shape == 2 * coordinates.shape


@given(st.data())
def fuzz_solvers(source: Any) -> None:
    """Those that iterate until they are done: a penalty keeps every model bounded."""
    problem = source.draw(small_problems())
    if problem.lambda_w and problem.lambda_h and problem.lambda_b != 0:
        rank, starts = source.draw(st.integers(-1, 4)), source.draw(st.integers(-1, 2))
        point = survives(lambda: ufm.critical_point(problem, rank, num_starts=starts))
        assert point is None or point.weight.shape == (problem.num_classes, problem.dim)
        assert point is None or not has_nan([point.features, point.weight])
    counts = source.draw(st.lists(st.integers(-1, 5), max_size=4))
    energy = st.sampled_from([1.0, 5.0, 1e-3, 1e3, 0.0, -1.0, math.nan, math.inf])
    peeled = survives(
        lambda: ufm.solve_layer_peeled(
            samples_per_class=counts,
            dim=source.draw(st.integers(-1, 4)),
            weight_energy=source.draw(energy),
            feature_energy=source.draw(energy),
        )
    )
    if peeled is not None:
        assert not has_nan([peeled.loss, peeled.gap, peeled.features, peeled.weight])
        assert peeled.features.shape == peeled.weight.shape


class Odd(nn.Module):
    """A network whose last layer runs twice, never, on tokens, or beside another of its size."""

    def __init__(self, kind: str, dim: int, width: int, classes: int) -> None:
        super().__init__()
        self.kind = kind
        self.first, self.last = nn.Linear(dim, width), nn.Linear(width, classes)
        self.other = nn.Linear(width, classes)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, inputs: Tensor) -> Any:
        hidden = self.norm(self.first(inputs))
        match self.kind:
            case "twice":
                return self.last(hidden) + self.last(-hidden)
            case "never":
                return hidden @ self.last.weight.T
            case "two":
                return self.last(hidden) * self.other(hidden)
            case "softmax":
                return self.last(hidden).softmax(1)
            case "tuple":
                return self.last(hidden), hidden
            case "tokens":
                return self.last(hidden[:, None])[:, 0]
            case "in place":
                return self.last(hidden).mul_(0)
            case "fails":
                raise ValueError("on purpose")
        return self.last(hidden)


@given(st.data())
def fuzz_capture(source: Any) -> None:
    kinds = ["plain", "twice", "never", "two", "softmax", "tuple", "tokens", "in place", "fails"]
    dim, width, classes = (source.draw(st.integers(1, 4)) for _ in range(3))
    model = Odd(source.draw(st.sampled_from(kinds)), dim, width, classes)
    model.train(source.draw(st.booleans()))
    model.norm.eval()  # frozen by its owner: not to be woken
    modes = [module.training for module in model.modules()]
    statistics = model.norm.running_mean.clone()
    sizes = source.draw(st.lists(st.integers(0, 4), max_size=3))
    batches = [(torch.randn(n, dim), torch.arange(n) % classes) for n in sizes]
    if source.draw(st.integers(0, 4)) == 0:
        batches.append((torch.ones(4, dim), source.draw(label_vectors(4))))
    layer = source.draw(
        st.sampled_from([None, None, "last", "norm", "nowhere", "", model.last, nn.Linear(1, 1)])
    )
    said: list[str] = []

    def captured() -> Any:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = metrics.capture(model, batches, classifier=layer)
        said.extend(str(one.message) for one in caught)
        return found

    seen = survives(captured, may_be_nan=True)
    assert modes == [module.training for module in model.modules()], "a mode was not put back"
    assert not any(module._forward_hooks for module in model.modules()), "a hook was left"
    assert torch.equal(statistics, model.norm.running_mean)
    if seen is not None:
        assert len(seen.features) == len(seen.labels) == len(seen.logits), "not one a sample"
        assert seen.logits.shape[1] == len(seen.weight)
        assert ["is not W h + b" in one for one in said] == [True] * (not seen.is_linear), said
        if model.kind in ("plain", "tuple", "tokens"):
            assert seen.is_linear
        if model.kind == "in place":
            assert seen.is_linear == (len(seen.labels) == 0)


@given(st.data())
def fuzz_stream_of_batches(source: Any) -> None:
    """Any order and any cuts, with or without what is kept: as `measure` on the whole."""
    generator = torch.Generator().manual_seed(source.draw(st.integers(0, 99)))
    classes, dim = source.draw(st.integers(2, 4)), source.draw(st.integers(1, 5))
    labels = torch.arange(4 * classes) % classes
    means = torch.randn(classes, dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(len(labels), dim, generator=generator, dtype=torch.float64)
    dtype = source.draw(st.sampled_from([torch.float64, torch.float32]))
    features = (means[labels] + 0.3 * noise).to(dtype)
    layer = nn.Linear(dim, classes).to(dtype) if source.draw(st.booleans()) else None
    keep = source.draw(st.booleans())
    metric = metrics.CollapseMetric(classes, classifier=layer, keep_features=keep)
    order = torch.randperm(len(labels), generator=generator)
    cuts = sorted(source.draw(st.lists(st.integers(0, len(labels)), max_size=5)))
    for rows in order.tensor_split(cuts):
        metric.update(features[rows], labels[rows])
    weight, bias = (None, None) if layer is None else (layer.weight, layer.bias)
    whole = metrics.measure(features, labels, weight, bias, num_classes=classes)
    if whole.pinv_trace > 1e3:  # class means that nearly coincide in a direction
        return
    tolerance = 1e-6 if dtype == torch.float64 else 1e-2
    expected = whole.as_dict()
    for name, value in metric.compute().as_dict().items():
        if math.isnan(expected[name]) or (name.startswith("nc4") and not keep):
            assert math.isnan(value), name
        elif name != "nc2_condition" or expected[name] < 1e3:
            near = math.isclose(value, expected[name], rel_tol=tolerance, abs_tol=tolerance)
            assert near, (name, value, expected[name])


def refused(call: Callable[[], Any], named: Path | str) -> None:
    """A reader refuses, and names what is wrong: the damaged file, or an argument."""
    try:
        call()
    except (ValueError, FileNotFoundError) as error:
        said = str(error)
    else:
        raise AssertionError("random bytes were taken for data")
    assert str(named) in said, f"{named} is not named: {said}"


def idx(source: Any, axes: int) -> bytes:
    """An IDX file: whole, of random bytes, cut, with another magic number, or with wrong sizes."""
    sizes = [source.draw(st.sampled_from([0, 2, 3, 2**32 - 1])) for _ in range(axes)]
    values = source.draw(st.binary(max_size=30))
    content = struct.pack(f">{1 + axes}I", source.draw(st.sampled_from([0x800 + axes, 7])), *sizes)
    packed = gzip.compress(content + values)
    cut = source.draw(st.sampled_from([len(packed), source.draw(st.integers(0, len(packed)))]))
    return source.draw(st.sampled_from([packed[:cut], content + values, values]))


@given(st.data())
def fuzz_readers(source: Any) -> None:
    """None of these is a published file, so every reader has to refuse by name, offline."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "train-images-idx3-ubyte.gz").write_bytes(idx(source, 3))
        (folder / "train-labels-idx1-ubyte.gz").write_bytes(idx(source, 1))
        refused(lambda: data.fashion_mnist(folder), folder)
        raw = folder / "MNIST" / "raw"
        raw.mkdir(parents=True)
        (raw / "train-images-idx3-ubyte").write_bytes(idx(source, 3))
        refused(lambda: data.mnist(folder), folder)
        for reader, batches, file in (
            (data.cifar10, "cifar-10-batches-py", "data_batch_1"),
            (data.cifar100, "cifar-100-python", "train"),
        ):
            (folder / batches).mkdir()
            (folder / batches / file).write_bytes(source.draw(st.binary(max_size=30)))
            refused(lambda read=reader: read(folder), folder)
        for split in ("train", "test"):
            for label in "ab"[: source.draw(st.integers(0, 2))]:
                (folder / split / label).mkdir(parents=True)
                for row in range(source.draw(st.integers(0, 2))):
                    image = b"\x89PNG\r\n\x1a\n"[: source.draw(st.integers(0, 8))]
                    image += source.draw(st.binary(max_size=30))
                    (folder / split / label / f"{row}.png").write_bytes(image)
        size = source.draw(st.integers(-1, 4))
        wrong = f"size is {size};" if size < 1 else folder  # the argument is looked at first
        refused(lambda: data.image_folder(folder, size=size), wrong)
    survives(lambda: data.digits(num_train=source.draw(st.sampled_from([-1, 0, 1, 1796, 1797]))))


if __name__ == "__main__":
    torch.set_num_threads(1)
    profile = settings(
        max_examples=int(sys.argv[1]),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    failed = False
    for name, test in sorted(globals().items()):
        if name.startswith("fuzz_") and name.startswith(tuple(sys.argv[2:]) or "fuzz_"):
            try:
                profile(test)()
            except BaseException as error:  # each gets its turn; the exit code says that one failed
                failed = True
                for one in getattr(error, "exceptions", [error]):
                    frames = traceback.extract_tb(one.__traceback__)
                    where = [f"{Path(f.filename).name}:{f.lineno}" for f in frames][-4:]
                    notes = "\n  ".join("\n".join(getattr(one, "__notes__", [])).splitlines()[:12])
                    message = str(one)[:400]
                    print(f"{name}: {type(one).__name__}: {message}\n  {where}\n  {notes}\n")
    sys.exit(failed)
