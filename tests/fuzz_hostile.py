"""Hostile input to every public function that takes tensors or sizes; test_properties starts it.

It runs in a process of its own, without the run-time checks of shapes that the test suite switches
on: what a user meets. A call must give an answer without NaN (unless it is documented), or a
ValueError or TypeError that says something; nothing else.

Usage: fuzz_hostile.py EXAMPLES
"""

import math
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from ncourse import continual, data, metrics, simplex, ufm

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
def tensors(draw: Any, *, ranks: tuple[int, ...] = (2, 2, 2, 2, 0, 1, 3), least: int = 0) -> Tensor:
    """Any tensor: shapes, types, values, strides and gradients that users do and do not mean."""
    shape = tuple(draw(st.integers(least, 5)) for _ in range(draw(st.sampled_from(ranks))))
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
    kind = draw(st.sampled_from([*FLOATS, *FLOATS, torch.int64, torch.bool]))
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
        return bool(value.is_floating_point() and value.isnan().any())
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
        said = str(error)
    else:
        assert may_be_nan or not has_nan(value), f"NaN from {given_}"
        return value
    assert said.strip(), "an error without a word"
    return None


# Documented to be NaN without a classifier.
NEEDS_CLASSIFIER = {name for name in metrics.CollapseReport.__annotations__ if "classifier" in name}
NEEDS_CLASSIFIER |= {"nc3", "nc3_structure", "nc3_cosine", "nc4", "nc4_without_bias"}


@given(st.data())
def fuzz_measure(source: Any) -> None:
    features = source.draw(tensors())
    labels = source.draw(label_vectors(len(features) if features.ndim else None))
    weight = source.draw(st.none() | tensors())
    bias = source.draw(st.none() | tensors(ranks=(1, 1, 2)))
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
        features = source.draw(tensors())
        labels = source.draw(label_vectors(len(features) if features.ndim else None))
        survives(lambda f=features, y=labels: metric.update(f, y))
    report = survives(metric.compute, may_be_nan=True)
    assert report is None or not math.isnan(report.nc1)


@given(st.data())
def fuzz_other_metrics(source: Any) -> None:
    first, second = source.draw(tensors()), source.draw(tensors())
    labels = source.draw(label_vectors(len(first) if first.ndim else None))
    survives(lambda: metrics.nearest_class_mean(first, second), first, second)
    survives(lambda: metrics.variability_collapse_index(first, labels), first, labels)
    survives(lambda: metrics.principal_angles(first, second), first, second)
    survives(lambda: metrics.one_vs_rest_margin(first), first)
    survives(lambda: metrics.hyperspherical_uniformity(first), first)


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
    features, weight = source.draw(tensors()), source.draw(tensors())
    labels = source.draw(label_vectors(len(features) if features.ndim else None))
    bias = source.draw(tensors(ranks=(1, 1, 2)))
    survives(
        lambda: ufm.decompose_mse(features, labels, weight, bias, penalty=source.draw(number)).total
    )
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
    inputs, tests = source.draw(tensors()), source.draw(tensors())
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
        continual.backward_transfer,
    ):
        survives(lambda f=summary: f(matrix), matrix)
    first, second = source.draw(tensors()), source.draw(tensors())
    finite = bool(torch.isfinite(first.double()).all() and torch.isfinite(second.double()).all())
    survives(
        lambda: continual.dot_regression(first, second).item(),
        *(first, second),
        may_be_nan=not finite,  # a loss passes NaN on, for the training loop to see
    )
    survives(lambda: continual.ReplayBuffer(source.draw(st.integers(-2, 3))), None)


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
        if name.startswith("fuzz_"):
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
