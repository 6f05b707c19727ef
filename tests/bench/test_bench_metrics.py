"""Speed of `ncourse.metrics` as ratios: a ratio survives a change of machine, a time does not.

Run with `make bench`. One thread throughout, timed in CPU seconds.
"""

import subprocess
import sys
import time
from collections.abc import Callable

import pytest
import torch

from ncourse.metrics import CollapseMetric, measure

pytestmark = [pytest.mark.bench, pytest.mark.benchmark(timer=time.process_time)]


def _data(num_samples, dim, num_classes):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(num_samples) % num_classes
    weight = torch.randn(num_classes, dim, generator=generator)
    features = weight[labels] + torch.randn(num_samples, dim, generator=generator)
    return features, labels, weight, torch.zeros(num_classes)


def _least(run: Callable[[], object]) -> float:
    """CPU time, the least of several runs."""
    times = []
    for _ in range(5):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def _compare(benchmark, run: Callable[[], object], other: Callable[[], object]) -> float:
    """CPU time of `other` over that of `run`, the least of several runs of each."""
    benchmark.pedantic(run, rounds=7, warmup_rounds=1)
    ratio = _least(other) / benchmark.stats.stats.min
    benchmark.extra_info["ratio"] = ratio
    return ratio


def _plain_nc1(features, labels, num_classes):
    """NC1 as the formula reads: two d x d covariances and a pseudo-inverse."""
    means = torch.stack([features[labels == c].mean(0) for c in range(num_classes)])
    centred = means - means.mean(0)
    residual = features - means[labels]
    within = residual.T @ residual / len(features)
    between = centred.T @ centred / num_classes
    return torch.trace(within @ torch.linalg.pinv(between))


@pytest.mark.parametrize(
    ("num_samples", "dim", "num_classes", "at_least"),
    [
        (50_000, 512, 10, 5),
        (20_000, 2048, 10, 20),
        (50_000, 128, 10, 1.5),
        (5_000, 512, 10, 5),
        (50_000, 512, 100, 1.2),
    ],
)
def test_measure_against_covariance_and_pinv(benchmark, num_samples, dim, num_classes, at_least):
    """All of `measure` against NC1 alone the plain way."""
    features, labels, weight, bias = _data(num_samples, dim, num_classes)
    ratio = _compare(
        benchmark,
        lambda: measure(features, labels, weight, bias),
        lambda: _plain_nc1(features, labels, num_classes),
    )
    print(
        f"\nmeasure, N={num_samples}, d={dim}, K={num_classes}: "
        f"{ratio:.1f} x as fast as covariance and pinv"
    )
    assert ratio >= at_least


@pytest.mark.parametrize(
    ("num_samples", "dim", "num_classes"),
    [(50_000, 512, 10), (20_000, 2048, 10), (50_000, 512, 100)],
)
def test_measure_against_the_roofline(benchmark, num_samples, dim, num_classes):
    """NC1 from `measure` against reading the features twice, once in a product with K - 1 rows.

    Printed beside it: with a classifier, against two reads and a second product, with its K rows.
    The two products cannot be one: NC1 needs the samples centred, or float32 loses it, and NC4
    needs the scores of the samples as they are, or a tie (a sample of zeros) is broken by rounding.
    """
    features, labels, weight, bias = _data(num_samples, dim, num_classes)
    directions = torch.linalg.qr(weight.T).Q.T[: num_classes - 1].contiguous()

    def alone():
        return measure(features, labels, None, num_classes=num_classes)

    def roofline():
        return features.sum(), directions @ features.T

    ratio = 1 / _compare(benchmark, alone, roofline)
    whole = _least(lambda: measure(features, labels, weight, bias))
    with_classifier = whole / _least(lambda: (*roofline(), weight @ features.T))
    benchmark.extra_info |= {"ratio": ratio, "with a classifier": with_classifier}
    print(
        f"\nmeasure, N={num_samples}, d={dim}, K={num_classes}: {ratio:.2f} x the roofline without "
        f"a classifier, {with_classifier:.2f} x its own with one"
    )
    assert ratio <= 2


def test_stream_against_the_matrix_product_alone(benchmark):
    features, labels, weight, _ = _data(50_000, 512, 10)
    classifier = torch.nn.Linear(512, 10)
    classifier.weight.data.copy_(weight)
    batches = list(zip(features.split(512), labels.split(512), strict=True))

    def stream():
        metric = CollapseMetric(10, classifier=classifier)
        for batch in batches:
            metric.update(*batch)
        return metric.compute()

    def product():
        total = torch.zeros(512, 512)
        for batch, _ in batches:
            total.addmm_(batch.T, batch)

    ratio = 1 / _compare(benchmark, stream, product)
    print(f"\nstream, N=50000, d=512, K=10: {ratio:.2f} x the time of the d x d product alone")
    assert ratio <= 1.5


MANY_CLASSES = """
import resource, torch
from ncourse.metrics import measure
num_classes, dim = {num_classes}, 512
labels = torch.arange(num_classes + 1000) % num_classes
features = torch.randn(len(labels), dim)
weight = torch.randn(num_classes, dim)
measure(features[:4096], labels[:4096] % 512, weight[:512])  # what libraries load lazily
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
report = measure(features, labels, weight, torch.zeros(num_classes))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert report.rank == dim and not report.simplex_fits
print((after - before) * 1024)
"""


@pytest.mark.parametrize("num_classes", [10_000, 50_000])
def test_many_classes_in_memory_of_k_times_d(num_classes):
    """The peak that `measure` adds, in matrices of K x d float64. K x K would be K/d = 98 of them.

    K = 50,000 takes minutes: NC2 looks at 2.5 billion pairs.
    """
    start = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-c", MANY_CLASSES.format(num_classes=num_classes)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    matrices = int(result.stdout) / (num_classes * 512 * 8)
    seconds = time.monotonic() - start
    print(f"\nmeasure, K={num_classes}, d=512: {matrices:.1f} K x d matrices, {seconds:.0f} s")
    assert matrices <= 16
