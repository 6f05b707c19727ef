"""Data as it comes: every dtype and layout, NumPy, lists, names, and classes that are missing."""

import importlib
import math

import ml_dtypes
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ncourse.metrics import (
    CollapseMetric,
    measure,
    measure_layers,
    nearest_class_mean,
    stream,
    variability_collapse_index,
)
from ncourse.metrics.inputs import as_labels, as_numbers

DTYPES = sorted({x for x in vars(torch).values() if isinstance(x, torch.dtype)}, key=str)
REAL = [d for d in DTYPES if d.is_floating_point and d.itemsize > 1]
SMALL = [d for d in DTYPES if d.is_floating_point and d.itemsize == 1]
WHOLE = [getattr(torch, f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)]
K, N, D = 3, 60, 4


def _data() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(N) % K
    weight = torch.randn(K, D, generator=generator)
    return weight[labels] + 0.5 * torch.randn(N, D, generator=generator), labels, weight


def _stream(features, labels, **options) -> dict[str, float]:
    metric = CollapseMetric(K, **options)
    for part in (slice(0, 25), slice(25, N)):
        metric.update(features[part], labels[part])
    return metric.compute().as_dict()


def _numbers(features, labels, rel=1e-6):
    """What each function that takes features and labels makes of them, to compare."""
    layer = measure_layers({"a": features}, labels)["a"].as_dict()
    found = {
        **measure(features, labels, num_classes=K).as_dict(),
        **{f"layer {name}": value for name, value in layer.items()},
        "vci": variability_collapse_index(features, labels),
    }
    return pytest.approx(found, rel=rel, nan_ok=True)


def _cast(values: Tensor, dtype: torch.dtype) -> Tensor | None:
    """The values in a dtype, or some memory of that dtype; None where torch has not even that."""
    try:
        return values.to(dtype)
    except (RuntimeError, NotImplementedError):
        try:
            return torch.empty(values.shape, dtype=dtype)
        except (RuntimeError, NotImplementedError):
            return None


@pytest.mark.filterwarnings("ignore:.*(experimental|deprecated):UserWarning")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_features_of_every_dtype_are_measured_or_refused_by_name(dtype):
    features, labels, weight = _data()
    cast = _cast(features, dtype)
    if cast is None:
        return
    if dtype in REAL:
        expected = cast.to(torch.promote_types(dtype, torch.float32))
    elif dtype in SMALL and not str(dtype).startswith(("torch.float4", "torch.float8_e8m0fnu")):
        expected = cast.to(torch.float32)
    elif dtype in SMALL:  # no mantissa, or two numbers a byte
        return
    else:
        name = str(dtype).removeprefix("torch.")
        with pytest.raises(TypeError, match=f"features is .*({name}|int64|float32).*"):
            measure(cast, labels, weight)
        with pytest.raises(TypeError, match="features is "):
            CollapseMetric(K).update(cast, labels)
        with pytest.raises(TypeError, match=r"features is|vectors is"):
            nearest_class_mean(cast, weight)
        return
    assert _numbers(cast, labels).expected == _numbers(expected, labels)
    assert _stream(cast, labels) == pytest.approx(_stream(expected, labels), rel=1e-5, nan_ok=True)
    assert torch.equal(nearest_class_mean(cast, weight), nearest_class_mean(expected, weight))


@pytest.mark.filterwarnings("ignore:.*(experimental|deprecated):UserWarning")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_labels_of_every_dtype_are_taken_or_refused_by_name(dtype):
    features, labels, weight = _data()
    cast = _cast(labels, dtype)
    if cast is None:
        return
    if dtype in WHOLE:
        assert measure(features, cast, weight) == measure(features, labels, weight)
        assert _stream(features, cast) == pytest.approx(_stream(features, labels), nan_ok=True)
        assert _numbers(features, cast).expected == _numbers(features, labels)
    else:
        for function in (
            lambda: measure(features, cast, weight),
            lambda: CollapseMetric(K).update(features, cast),
            lambda: variability_collapse_index(features, cast),
        ):
            with pytest.raises(TypeError, match=r"labels is .*expected|labels is .*cannot convert"):
                function()


def test_a_label_beyond_int64_is_named():
    with pytest.raises(ValueError, match="labels contains 18446744073709551615"):
        as_labels(np.array([0, 2**64 - 1], dtype=np.uint64))


def test_numbers_come_in_lists_of_tensors_and_others_and_alone():
    parts = [nn.Parameter(torch.tensor([1.0, 2.0])), [3, 4.5], np.array([5, 6])]
    assert as_numbers(parts, "features").tolist() == [[1, 2], [3, 4.5], [5, 6]]
    assert as_labels([torch.tensor(2), 0, np.int64(1)]).indices.tolist() == [2, 0, 1]
    for alone in (np.array(3.0), np.float32(3), 3.0, torch.tensor(3.0)):
        assert as_numbers(alone, "features").shape == ()
        assert as_numbers(alone, "features") == 3


LAYOUTS = {
    "transposed": lambda x: x.T.contiguous().T,
    "every second": lambda x: x.repeat_interleave(2, 0)[::2],
    "sparse": lambda x: x.to_sparse(),
    "csr": lambda x: x.to_sparse_csr(),
    "csc": lambda x: x.to_sparse_csc(),
    "mkldnn": lambda x: x.to_mkldnn(),
    "negated view": lambda x: torch._neg_view(-x),
    "a parameter": lambda x: nn.Parameter(x),
    "numpy": lambda x: x.numpy(),
    "big-endian": lambda x: x.numpy().astype(">f4"),
    "80 bits": lambda x: x.numpy().astype(np.longdouble),
    "backwards": lambda x: x.flip(0).numpy()[::-1],
    "fortran": lambda x: np.asfortranarray(x.numpy()),
    "read-only": lambda x: np.frombuffer(x.numpy().tobytes(), np.float32).reshape(x.shape),
    "lists": lambda x: x.tolist(),
    "rows": lambda x: list(x),
    "objects": None,
}


@pytest.mark.filterwarnings("ignore:Sparse")  # torch says of CSR that it is in beta
@pytest.mark.parametrize("layout", [name for name, make in LAYOUTS.items() if make])
def test_features_and_weight_in_every_layout(layout):
    features, labels, weight = _data()
    make = LAYOUTS[layout]
    expected = measure(features, labels, weight).as_dict()
    assert measure(make(features), labels, make(weight)).as_dict() == pytest.approx(
        expected, rel=1e-5
    )
    metric = CollapseMetric(K)
    metric.update(make(features), labels)
    assert metric.compute().nc1 == pytest.approx(expected["nc1"], rel=1e-5)


ADDED = sorted(
    name
    for name, kind in vars(ml_dtypes).items()
    if isinstance(kind, type) and np.dtype(kind).isbuiltin == 2
)


@pytest.mark.parametrize("name", ADDED)
def test_dtypes_that_a_library_adds_to_numpy(name):
    """NumPy files one of them, float8_e5m2, under its own floats, and the others under none."""
    dtype = getattr(ml_dtypes, name)
    numbers = np.arange(N * D).reshape(N, D) % 2 + 1  # e8m0 has no 0
    labels = torch.arange(N) % K
    if "complex" in name:
        with pytest.raises(TypeError, match=f"features is an array of {name}; expected numbers"):
            measure(numbers.astype(dtype), labels)
        return
    given = numbers.astype(dtype)
    read = as_numbers(given, "features")
    assert read.dtype == (torch.float32 if "float" in name else torch.int64)
    assert read.tolist() == given.astype(np.float64).tolist()
    if "float" in name:
        with pytest.raises(TypeError, match=f"labels is {name}; expected integer class indices"):
            as_labels(given[:, 0])
    else:
        assert as_labels(given[:, 0]).indices.tolist() == given[:, 0].astype(int).tolist()


def test_what_lies_on_a_graph_in_a_list_is_read_as_it_is():
    features, labels, weight = _data()
    rows = [row.requires_grad_() for row in features.clone()]
    assert measure(rows, labels, weight) == measure(features, labels, weight)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_what_has_no_numbers_is_refused_in_a_sentence():
    features, labels, _ = _data()
    for given, error, message in [
        (torch.nested.nested_tensor([torch.ones(2, 4)]), TypeError, "features is a nested tensor"),
        (torch.empty(N, D, device="meta"), TypeError, "features is on the meta device"),
        (np.array([["a"] * D] * N), TypeError, "features is an array of str"),
        (np.array([[None] * D] * N), TypeError, "features is an array of object"),
        ([[1.0], [1.0, 2.0]], ValueError, "features has rows of unequal length"),
        (np.ma.masked_less(features.numpy(), 0), ValueError, "features has masked values"),
        ("features", TypeError, "features is a str"),
        (None, TypeError, "features is a NoneType"),
        (features.numpy().astype(complex), TypeError, "features is complex128"),
        (features.numpy() > 0, TypeError, "features is bool"),
        (features.numpy().astype("datetime64[s]"), TypeError, "features is an array of datetime"),
    ]:
        with pytest.raises(error, match=message):
            measure(given, labels)
    with pytest.raises(TypeError, match="labels is an array of object"):
        measure(features, np.array(["a", 1] * (N // 2), dtype=object))
    with pytest.raises(TypeError, match="labels is float64"):
        measure(features, labels.double().numpy())


NUMBERINGS = {
    "list": lambda y: y.tolist(),
    "tensors": lambda y: list(y),
    "uint16": lambda y: y.numpy().astype(np.uint16),
    "big-endian": lambda y: y.numpy().astype(">i4"),
    "uint64": lambda y: y.numpy().astype(np.uint64),
    "sparse": lambda y: y.to_sparse(),
}


@pytest.mark.parametrize("numbering", NUMBERINGS)
def test_labels_however_they_are_numbered(numbering):
    features, labels, weight = _data()
    given = NUMBERINGS[numbering](labels)
    assert measure(features, given, weight) == measure(features, labels, weight)


@pytest.mark.parametrize("kind", [list, np.array, lambda x: np.array(x, object), np.bytes_])
def test_names_are_numbered_in_sorted_order_and_kept(kind):
    features, labels, weight = _data()
    names = ("cat", "dog", "eel")
    given = kind([names[k] for k in labels])
    report = measure(features, given, weight)
    assert report.classes == names
    assert report.as_dict() == measure(features, labels, weight).as_dict()
    assert measure(features, given, weight, classes=[2, 0]).classes == ("eel", "cat")
    with pytest.raises(ValueError, match="labels has 3 names and weight says 4 classes"):
        measure(features, given, torch.ones(4, D))
    with pytest.raises(TypeError, match="labels are names; expected integers"):
        CollapseMetric(K).update(features, given)


@pytest.mark.filterwarnings("ignore:.*deprecated:UserWarning")
def test_small_floats_become_float32_and_whole_numbers_int64():
    assert as_numbers(torch.ones(2).to(torch.float8_e4m3fn), "x").dtype == torch.float32
    assert as_numbers(torch.ones(2, dtype=torch.uint16), "x").dtype == torch.long
    quantised = torch.quantize_per_tensor(torch.ones(2), 0.5, 0, torch.qint8)
    assert as_numbers(quantised, "x").tolist() == [1, 1]


def test_a_weight_may_be_a_convolution_and_a_bias_a_row():
    features, labels, weight = _data()
    bias = torch.tensor([0.1, 0.2, 0.3])
    assert measure(features, labels, weight[..., None, None], bias[None]) == measure(
        features, labels, weight, bias
    )
    with pytest.raises(ValueError, match=r"one logit\? Pass torch.cat\(\[-weight, weight\]\) / 2"):
        measure(features, labels % 2, weight[:1])


# Classes as they come -----------------------------------------------------------------------------


def _uneven() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Eight classes of which 0 has none, 3 one, 5 two and 6 four samples; some are padding."""
    generator = torch.Generator().manual_seed(1)
    sizes = [0, 90, 70, 1, 80, 2, 4, 60]
    labels = torch.repeat_interleave(torch.arange(8), torch.tensor(sizes))
    labels = torch.cat([labels, torch.full((11,), -100)])
    labels = labels[torch.randperm(len(labels), generator=generator)]
    weight = torch.randn(8, 9, generator=generator)
    features = weight[labels.clamp(min=0)] + torch.randn(len(labels), 9, generator=generator)
    return features, labels, weight, torch.randn(8, generator=generator)


CHOICES = {
    "seen": ({"min_samples": 1}, [1, 2, 3, 4, 5, 6, 7]),
    "twice": ({"min_samples": 2}, [1, 2, 4, 5, 6, 7]),
    "five": ({"min_samples": 5}, [1, 2, 4, 7]),
    "three": ({"min_samples": 3}, [1, 2, 4, 6, 7]),
    "named": ({"classes": [7, 2, 5]}, [7, 2, 5]),
    "both": ({"classes": [7, 0, 5, 2], "min_samples": 3}, [7, 2]),
}


@pytest.mark.parametrize("waiting", [8, 4096])
@pytest.mark.parametrize("choice", CHOICES)
def test_chosen_classes_are_measured_as_if_there_were_no_others(monkeypatch, choice, waiting):
    monkeypatch.setattr(stream, "WAITING", waiting)
    options, kept = CHOICES[choice]
    features, labels, weight, bias = _uneven()
    rows = torch.isin(labels, torch.tensor(kept))
    new = torch.full((8,), -1)
    new[kept] = torch.arange(len(kept))
    alone = measure(features[rows], new[labels[rows]], weight[kept], bias[kept])
    whole = measure(features, labels, weight, bias, ignore_index=-100, **options)
    assert whole.as_dict() == alone.as_dict()
    assert whole.classes == tuple(kept)
    assert whole.smallest_class == min(int((labels == k).sum()) for k in kept)
    layer = nn.Linear(9, 8)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    for keep in (False, True):
        metric = CollapseMetric(
            8, classifier=layer, ignore_index=-100, keep_features=keep, **options
        )
        for part in torch.arange(len(labels)).split(19):
            metric.update(features[part], labels[part])
        report = metric.compute()
        assert report.classes == tuple(kept)
        without = () if keep else ("nc4", "nc4_without_bias")
        for name, value in alone.as_dict().items():
            if name not in without:
                assert getattr(report, name) == pytest.approx(value, rel=1e-5), name
        assert metric.class_means().shape == (len(kept), 9)


def test_a_stream_that_lacks_classes_can_still_be_computed():
    features, labels, _, _ = _uneven()
    metric = CollapseMetric(8, ignore_index=-100)
    metric.update(features, labels)
    with pytest.raises(ValueError, match=r"no sample of class 0 \(of 8\).*min_samples=1"):
        metric.compute()
    metric.min_samples = 2
    assert metric.compute().num_classes == 6


def test_what_cannot_be_chosen_is_said():
    features, labels, weight, _ = _uneven()
    for options, message in [
        ({}, r"labels contains -100; expected 0 to 7 .*ignore_index=-100"),
        ({"ignore_index": -100}, r"no sample of class 0 \(of 8\)"),
        ({"ignore_index": -100, "classes": [1, 1]}, r"classes is \[1, 1\]; expected different"),
        ({"ignore_index": -100, "classes": [1, 8]}, r"classes is \[1, 8\]; .*from 0 to 7"),
        ({"ignore_index": -100, "min_samples": 0}, "min_samples is 0"),
        ({"ignore_index": -100, "min_samples": 85}, "1 of 8 classes to measure, each with at"),
        ({"ignore_index": -100, "classes": [0, 1]}, r"no sample of class 0 \(of 8\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            measure(features, labels, weight, **options)


def test_the_number_of_classes_is_that_of_the_labels():
    features, labels, _ = _data()
    assert measure(features, labels).as_dict() == pytest.approx(
        measure(features, labels, num_classes=K).as_dict(), nan_ok=True
    )


def test_one_sample_a_class_is_never_full_collapse():
    features = torch.randn(50, 16, generator=torch.Generator().manual_seed(0))
    report = measure(features, torch.arange(50))
    assert report.smallest_class == 1
    for name in ("nc1", "pinv_trace", "pinv_trace_per_class", "trace_ratio", "cdnv"):
        assert math.isnan(getattr(report, name)), name
    assert report.nc2_equiangular > 0
    assert "1: nothing varies within it; min_samples=2 leaves it out" in str(report)
    metric = CollapseMetric(50)
    metric.update(features, torch.arange(50))
    assert math.isnan(metric.compute().nc1)


# Decisions of the model's own ---------------------------------------------------------------------


def test_nc4_is_about_the_models_own_logits_where_they_are_given():
    features, labels, weight = _data()
    means = torch.stack([features[labels == c].mean(0) for c in range(K)])
    nearest = nearest_class_mean(features, means)
    own = nn.functional.one_hot(nearest, K)
    plain = measure(features, labels, weight)
    given = measure(features, labels, weight, logits=own)
    assert plain.nc4 > 0
    assert given.nc4 == 0
    assert given.nc4_without_bias == plain.nc4_without_bias
    alone = measure(features, labels, logits=own.numpy())
    assert alone.nc4 == 0
    assert math.isnan(alone.nc4_without_bias)
    with pytest.raises(ValueError, match=r"logits is \(60, 2\); expected \(60, 3\)"):
        measure(features, labels, weight, logits=own[:, :2])
    with pytest.raises(ValueError, match="logits contains NaN"):
        measure(features, labels, logits=own * math.nan)


@pytest.mark.parametrize("size", [7, 4096])
def test_nc4_counts_over_all_chunks_whatever_decides(monkeypatch, size):
    """By hand, for W h, for W h + b, and for logits with and without a classifier beside them."""
    chunks = importlib.import_module("ncourse.metrics.measure")
    monkeypatch.setattr(chunks, "_chunk_size", lambda *_: size)
    features, labels, weight = _data()
    bias, own = torch.tensor([3.0, -2, 0]), (features @ weight.T).flip(1)
    means = torch.stack([features[labels == c].mean(0) for c in range(K)])
    nearest = torch.cdist(features, means).argmin(1)

    def apart(scores: Tensor) -> float:
        return (scores.argmax(1) != nearest).double().mean().item()

    plain, biased, owned = (
        apart(features @ weight.T),
        apart(features @ weight.T + bias),
        apart(own),
    )
    assert 0 < plain < biased < owned < 1
    for given, nc4, without_bias in [
        ({"weight": weight}, plain, plain),
        ({"weight": weight, "bias": bias}, biased, plain),
        ({"weight": weight, "bias": bias, "logits": own}, owned, plain),
        ({"logits": own}, owned, math.nan),
    ]:
        report = measure(features, labels, **given)
        found = (report.nc4, report.nc4_without_bias)
        assert found == pytest.approx((nc4, without_bias), nan_ok=True)


def test_named_classes_are_as_many_as_whatever_else_says_so():
    features, labels, weight = _data()
    names = np.array(["a", "b", "c"])[labels]
    logits = features @ weight.T
    assert measure(features, names, logits=logits).classes == ("a", "b", "c")
    for given, message in [
        ({"num_classes": 4}, "labels has 3 names and num_classes says 4 classes"),
        ({"logits": logits[:, :2]}, "labels has 3 names and logits says 2 classes"),
        ({"logits": logits[:, 0]}, r"logits is \(60,\); expected \(samples, classes\)"),
        ({"weight": weight[:, 0]}, r"weight is \(3,\); expected \(classes, features\)"),
    ]:
        with pytest.raises(ValueError, match=f"^{message}"):
            measure(features, names, **given)


def test_of_chosen_classes_the_largest_logit_among_them_decides():
    features, labels, weight = _data()
    logits = (features @ weight.T).flip(1) + torch.tensor([0.0, 50, 0])
    rows = labels != 1
    means = torch.stack([features[labels == c].mean(0) for c in (0, 2)])
    nearest = torch.cdist(features[rows], means).argmin(1)
    apart = (logits[rows][:, [0, 2]].argmax(1) != nearest).double().mean().item()
    assert 0 < apart < 1
    for beside in ({}, {"weight": weight}):
        report = measure(features, labels, logits=logits, classes=[0, 2], **beside)
        assert report.nc4 == pytest.approx(apart)
        assert report.nc1 == pytest.approx(measure(features[rows], labels[rows] // 2).nc1)
    assert math.isnan(measure(features, labels, classes=[0, 2]).nc4)


def test_logits_say_how_many_classes_there_are():
    features, labels, _ = _data()
    with pytest.raises(ValueError, match=r"no sample of class 3 \(of 4\)"):
        measure(features, labels, logits=torch.randn(N, 4))
    with pytest.raises(ValueError, match=r"logits is \(60,\); expected \(60, 3\)"):
        measure(features, labels, logits=torch.randn(N))
    with pytest.raises(TypeError, match=r"^logits is complex64; expected real"):
        measure(features, labels, logits=torch.randn(N, K, dtype=torch.complex64))
    with pytest.raises(ValueError, match="0 samples for 2 classes; expected at least one a class"):
        measure(features[:0], labels[:0])


def test_all_classes_may_be_chosen_and_a_classifier_may_be_a_convolution():
    features, labels, weight = _data()
    bias = torch.tensor([3.0, -2, 0])
    whole = measure(features, labels, weight, bias)
    assert whole.nc4 != whole.nc4_without_bias
    assert measure(features, labels, weight, bias, classes=[0, 1, 2]) == whole
    assert measure(features, labels, weight[:, :, None, None], bias[:, None]) == whole
    for wrong in (weight[:, :, None].repeat(1, 1, 2), weight[0]):
        with pytest.raises(ValueError, match=r"^weight is .*; expected"):
            measure(features, labels, wrong, bias)


@pytest.mark.parametrize(
    "options",
    [{}, {"classes": [0, 2]}, {"min_samples": 4}, {"classes": [0, 2, 3], "min_samples": 4}],
    ids=str,
)
def test_logits_decide_among_the_classes_that_are_measured_in_a_stream_as_well(options):
    generator = torch.Generator().manual_seed(1)
    labels = torch.tensor([0, 1, 2, 3] * 3 + [0, 2, 3] * 10)
    logits = torch.eye(4)[labels]
    features = logits + 0.1 * torch.randn(len(labels), 4, generator=generator)
    logits[:, 1] += 9  # everywhere the largest, of a class with three samples
    metric = CollapseMetric(4, keep_features=True, **options)
    for rows in torch.arange(len(labels)).split(10):
        metric.update(features[rows], labels[rows], logits[rows])
    expected = measure(features, labels, logits=logits, num_classes=4, **options)
    assert metric.compute().nc4 == expected.nc4
    assert (expected.nc4 == 0) == bool(options)
