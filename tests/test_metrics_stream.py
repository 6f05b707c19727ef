"""`CollapseMetric` against `measure`, in one process and in several; `capture` on real modules."""

import copy
import json
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ncourse.metrics import (
    CONVENTIONS,
    CollapseMetric,
    capture,
    measure,
    nearest_class_mean,
    stream,
)
from ncourse.metrics.stream import _gather

NC4 = {"nc4", "nc4_without_bias"}


@pytest.fixture(autouse=True)
def _same_initial_weights():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture(autouse=True)
def _few_samples_wait(monkeypatch):
    """Streams of a few hundred samples pass through the scatter, as long ones do."""
    monkeypatch.setattr(stream, "WAITING", 64)


def _cloud(num_samples=700, num_classes=5, dim=12, spread=0.5, offset=0.0, dtype=torch.float32):
    """Unequal classes and a classifier that is wrong about some of the samples."""
    generator = torch.Generator().manual_seed(0)
    shares = torch.linspace(1, 3, num_classes)
    labels = torch.multinomial(shares, num_samples, replacement=True, generator=generator)
    means = torch.randn(num_classes, dim, generator=generator, dtype=dtype)
    noise = torch.randn(num_samples, dim, generator=generator, dtype=dtype)
    classifier = nn.Linear(dim, num_classes, dtype=dtype)
    with torch.no_grad():
        classifier.weight.copy_(means + 0.3)
        classifier.bias.copy_(torch.randn(num_classes, generator=generator))
    return means[labels] + offset + spread * noise, labels, classifier


def _stream(features, labels, batch_size, num_classes=5, **options) -> CollapseMetric:
    metric = CollapseMetric(num_classes, **options)
    for batch in torch.arange(len(labels)).split(batch_size):
        metric.update(features[batch], labels[batch])
    return metric


def _assert_same(streamed, whole, *, rel, without=frozenset(NC4)) -> None:
    expected = {name: x for name, x in whole.as_dict().items() if name not in without}
    values = {name: x for name, x in streamed.as_dict().items() if name not in without}
    assert values == pytest.approx(expected, rel=rel, abs=1e-15, nan_ok=True)


# In one process -----------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 7, 64, 5000])
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_any_batch_size_gives_the_numbers_of_measure(batch_size, convention):
    features, labels, classifier = _cloud()
    metric = _stream(features, labels, batch_size, classifier=classifier, convention=convention)
    whole = measure(features, labels, classifier.weight, classifier.bias, convention=convention)
    report = metric.compute()
    _assert_same(report, whole, rel=1e-6)
    assert math.isnan(report.nc4)
    assert math.isnan(report.nc4_without_bias)
    assert report.convention == convention


def test_float64_in_is_float64_throughout():
    features, labels, classifier = _cloud(dtype=torch.float64, spread=1e-6, offset=5)
    whole = measure(features, labels, classifier.weight, classifier.bias)
    _assert_same(_stream(features, labels, 9, classifier=classifier).compute(), whole, rel=1e-9)


@pytest.mark.parametrize("batch_size", [1, 50])
@pytest.mark.parametrize(("spread", "offset"), [(1, 0), (1e-3, 0), (1e-4, 5)])
def test_a_stream_is_as_accurate_as_measure(batch_size, spread, offset):
    features, labels, _ = _cloud(num_samples=3000, spread=spread, offset=offset)
    exact = measure(features.double(), labels, None, num_classes=5)
    report = _stream(features, labels, batch_size).compute()
    assert report.nc1 == pytest.approx(exact.nc1, rel=1e-6, abs=0)
    assert report.cdnv == pytest.approx(exact.cdnv, rel=1e-6, abs=0)
    assert report.trace_ratio == pytest.approx(exact.trace_ratio, rel=1e-6, abs=0)


def test_classes_may_come_one_after_the_other():
    features, labels, classifier = _cloud()
    order = labels.argsort(descending=True)
    whole = measure(features, labels, classifier.weight, classifier.bias)
    metric = _stream(features[order], labels[order], 32, classifier=classifier)
    _assert_same(metric.compute(), whole, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_in_double_precision_out(dtype):
    features, labels, _ = _cloud()
    half = features.to(dtype)
    exact = measure(half.double(), labels, None, num_classes=5)
    _assert_same(_stream(half, labels, 64).compute(), exact, rel=1e-6)


@pytest.mark.parametrize("first", [torch.float32, torch.float64])
def test_batches_of_two_precisions_mix(first):
    features, labels, _ = _cloud(spread=1e-4, offset=20)
    second = torch.float64 if first == torch.float32 else torch.float32
    metric = CollapseMetric(5)
    metric.update(features[:300].to(first), labels[:300])
    metric.update(features[300:].to(second), labels[300:])
    metric.update(features[:0], labels[:0])
    exact = measure(features.double(), labels, None, num_classes=5)
    assert metric.compute().trace_ratio == pytest.approx(exact.trace_ratio, rel=1e-6, abs=0)


def test_memory_does_not_grow_with_the_stream():
    features, labels, _ = _cloud()

    def size(metric: CollapseMetric) -> int:
        states = (getattr(metric, name) for name in metric._defaults)
        return sum(tensor.nbytes for state in states for tensor in state)

    short, long = _stream(features[:140], labels[:140], 70), _stream(features, labels, 70)
    assert short.scatter
    assert size(short) == size(long) > 0


def test_a_short_stream_needs_no_scatter(monkeypatch):
    monkeypatch.setattr(stream, "WAITING", 4096)
    features, labels, classifier = _cloud()
    metric = _stream(features, labels, 70, classifier=classifier)
    assert not metric.scatter
    whole = measure(features, labels, classifier.weight, classifier.bias)
    _assert_same(metric.compute(), whole, rel=1e-6)


def test_no_graph_is_kept():
    features, labels, classifier = _cloud()
    for keep_features in (False, True):
        metric = CollapseMetric(5, classifier=classifier, keep_features=keep_features)
        metric.update(features.clone().requires_grad_(), labels)
        states = [tensor for name in metric._defaults for tensor in getattr(metric, name)]
        assert states
        assert not any(tensor.requires_grad for tensor in states)
        metric.compute()


def test_computing_in_between_and_resetting():
    features, labels, _ = _cloud()
    metric = _stream(features[:300], labels[:300], 50)
    _assert_same(
        metric.compute(), measure(features[:300], labels[:300], None, num_classes=5), rel=1e-6
    )
    assert metric(features[300:], labels[300:]) is None  # calling it updates
    whole = measure(features, labels, None, num_classes=5)
    _assert_same(metric.compute(), whole, rel=1e-6)
    metric.reset()
    metric.update(features + 1, labels)
    _assert_same(metric.compute(), measure(features + 1, labels, None, num_classes=5), rel=1e-6)


def test_the_classifier_is_read_at_the_end_and_not_adopted():
    features, labels, classifier = _cloud()
    metric = _stream(features, labels, 100, classifier=classifier)
    assert list(metric.parameters()) == []
    with torch.no_grad():
        classifier.weight.mul_(-1)
    assert metric.compute().nc3_cosine == pytest.approx(
        measure(features, labels, classifier.weight).nc3_cosine, rel=1e-6
    )


@pytest.mark.parametrize("copy_of", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_goes_on_by_itself(copy_of):
    features, labels, _ = _cloud()
    metric = _stream(features[:300], labels[:300], 50)
    other = copy_of(metric)
    other.update(features[300:], labels[300:])
    assert other.compute().num_samples == 700
    assert metric.compute().num_samples == 300


@pytest.mark.parametrize("keep_features", [False, True])
def test_metrics_merge(keep_features):
    features, labels, _ = _cloud()
    total = _stream(features[:30], labels[:30], 16, keep_features=keep_features)
    for part in (slice(30, 600), slice(0, 0), slice(600, 690)):
        total.merge_state(_stream(features[part], labels[part], 16, keep_features=keep_features))
    total.update(features[690:], labels[690:])
    report = total.compute()
    _assert_same(report, measure(features, labels, None, num_classes=5), rel=1e-6)


def test_kept_features_make_everything_exact():
    features, labels, classifier = _cloud()
    metric = _stream(features, labels, 33, classifier=classifier, keep_features=True)
    whole = measure(features, labels, classifier.weight, classifier.bias)
    assert 0 < whole.nc4 < 1
    assert metric.compute() == whole
    means = torch.stack([features[labels == c].double().mean(0) for c in range(5)])
    assert torch.allclose(metric.class_means(), means, atol=1e-6)


def test_kept_features_take_nc4_from_the_models_own_logits():
    features, labels, classifier = _cloud()
    metric = CollapseMetric(5, classifier=classifier, keep_features=True)
    logits = functional.one_hot(nearest_class_mean(features, metric_means(features, labels)), 5)
    for batch in torch.arange(700).split(40):
        metric.update(features[batch], labels[batch], logits[batch].float())
    assert metric.compute().nc4 == 0
    assert measure(features, labels, classifier.weight, classifier.bias).nc4 > 0


@pytest.mark.parametrize("present", [5, 3])
def test_kept_features_of_chosen_classes_take_the_largest_logit_among_them(present):
    """In an order that is not theirs; the model may prefer a class that is not measured."""
    features, labels, classifier = _cloud()
    features, labels = features[labels < present], labels[labels < present]
    logits = classifier(features).detach()
    logits[:, 4] += 100
    metric = CollapseMetric(5, classifier=classifier, keep_features=True, classes=[2, 0])
    for batch in torch.arange(len(labels)).split(40):
        metric.update(features[batch], labels[batch], logits[batch])
    whole = measure(
        *(features, labels, classifier.weight, classifier.bias),
        logits=logits,
        classes=[2, 0],
        num_classes=5,
    )
    assert 0 < whole.nc4 < 1
    assert metric.compute() == whole


def test_an_adopted_classifier_is_the_classifier():
    features, labels, classifier = _cloud()
    adopted = CollapseMetric(5, keep_features=True)
    adopted.update(features, labels)
    adopted.adopt(classifier.weight, classifier.bias)
    assert adopted.compute() == measure(features, labels, classifier.weight, classifier.bias)


@pytest.mark.parametrize(("least", "waiting"), [(None, 0), (2, 0), (3, 2), (6, 5)])
def test_a_stream_keeps_of_each_class_one_sample_less_than_it_needs(monkeypatch, least, waiting):
    """And the scatter is the same in blocks of a few columns."""
    monkeypatch.setattr(stream, "WAITING", 0)
    monkeypatch.setattr(stream, "BLOCK", 5)
    features, labels, classifier = _cloud()
    last = (labels == 4).nonzero()[:, 0]
    rows = torch.cat([last[:2], (labels != 4).nonzero()[:, 0]])[:450]  # no rest that waits
    features, labels = features[rows], labels[rows]
    metric = _stream(features, labels, 30, classifier=classifier, min_samples=least)
    kept = torch.cat(metric.waiting_labels).bincount(minlength=5) if waiting else torch.zeros(5)
    assert kept.tolist() == [waiting] * 4 + [min(waiting, 2)]
    whole = measure(features, labels, classifier.weight, classifier.bias, min_samples=least)
    _assert_same(metric.compute(), whole, rel=1e-6)


def metric_means(features: Tensor, labels: Tensor) -> Tensor:
    return _stream(features, labels, 64).class_means()


def test_a_second_pass_gives_nc4():
    features, labels, classifier = _cloud()
    means = metric_means(features, labels)
    wrong = 0
    for batch in torch.arange(700).split(64):
        predictions = classifier(features[batch]).argmax(1)
        wrong += int((predictions != nearest_class_mean(features[batch], means)).sum())
    assert wrong / 700 == measure(features, labels, classifier.weight, classifier.bias).nc4


def test_mistakes_are_told_and_leave_the_statistics_alone():
    features, labels, _ = _cloud()
    metric = _stream(features, labels, 100)
    broken = features[:3].clone()
    broken[1, 2] = math.nan
    with pytest.raises(ValueError, match="NaN or infinity in 1 of 3 samples, first in sample 1"):
        metric.update(broken, labels[:3])
    with pytest.raises(ValueError, match=r"\(9, 4\); batches before it had 12 features"):
        metric.update(torch.zeros(9, 4), labels[:9])
    with pytest.raises(ValueError, match="contains 7; expected 0 to 4"):
        metric.update(features[:1], torch.tensor([7]))
    with pytest.raises(TypeError, match="features is int64"):
        metric.update(features[:1].long(), labels[:1])
    with pytest.raises(ValueError, match=r"logits is \(2, 5\); expected \(3, 5\)"):
        metric.update(features[:3], labels[:3], torch.zeros(2, 5))
    _assert_same(metric.compute(), measure(features, labels, None, num_classes=5), rel=1e-6)


def test_mistakes_at_construction_and_at_the_end():
    with pytest.raises(ValueError, match=r"weight is \(5, 12\) but num_classes is 6"):
        CollapseMetric(6, classifier=nn.Linear(12, 5))
    with pytest.raises(ValueError, match="'mine'; expected one of"):
        CollapseMetric(6, convention="mine")
    with pytest.raises(ValueError, match="the classifier is a Conv2d"):
        CollapseMetric(5, classifier=nn.Conv2d(3, 5, 3))
    metric = CollapseMetric(3)
    metric.update(torch.ones(2, 2), torch.tensor([0, 2]))
    with pytest.raises(ValueError, match=r"no sample of class 1 \(of 3\)"):
        metric.compute()


@pytest.mark.parametrize("keep_features", [False, True])
def test_no_samples_at_all(keep_features):
    metric = CollapseMetric(3, keep_features=keep_features)
    with (
        pytest.warns(UserWarning, match="before the ``update`` method"),
        pytest.raises(ValueError, match="no samples yet"),
    ):
        metric.compute()


def test_logits_for_some_batches_only():
    features, labels, _ = _cloud()
    metric = CollapseMetric(5, keep_features=True)
    metric.update(features[:9], labels[:9], torch.zeros(9, 5))
    with pytest.raises(ValueError, match="all or none"):
        metric.update(features[9:], labels[9:])


# In several processes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "starts", [[0, 640, 700], pytest.param([0, 31, 31, 700], marks=pytest.mark.slow)]
)
def test_processes_with_uneven_shards_equal_one(tmp_path: Path, starts):
    """Two processes with 640 and 60 samples; three, of which one sees none."""
    features, labels, classifier = _cloud(spread=1e-3, offset=5)
    job = {"features": features, "labels": labels, "starts": starts, **classifier.state_dict()}
    torch.save(job, tmp_path / "job.pt")
    script = Path(__file__).with_name("gloo_worker.py")
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), str(tmp_path)],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(len(starts) - 1)
    ]
    try:
        errors = [process.communicate(timeout=100)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * len(processes), errors
    whole = measure(features, labels, classifier.weight, classifier.bias).as_dict()
    for rank in range(len(processes)):
        streamed, kept = json.loads((tmp_path / f"reports-{rank}.json").read_text())
        assert kept == pytest.approx(whole, rel=1e-6, abs=1e-15)
        expected = whole | dict.fromkeys(NC4, math.nan)
        assert streamed == pytest.approx(expected, rel=1e-6, abs=1e-15, nan_ok=True)


# From a model -------------------------------------------------------------------------------------


class _Net(nn.Module):
    """A backbone with batch norm and dropout, an auxiliary layer, and a classifier of any kind."""

    def __init__(self, after=lambda scores: scores):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))
        self.unused = nn.Linear(8, 4)
        self.head = nn.Linear(8, 4)
        self.after = after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.head(self.backbone(x)))


def _batches(num_batches=3, shape=(6,)):
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(5, *shape, generator=generator), torch.arange(5) % 4)
        for _ in range(num_batches)
    ]


def _hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


@pytest.mark.parametrize(
    "after", [lambda s: s, lambda s: s.log_softmax(1), lambda s: s / 2], ids=["none", "log", "half"]
)
def test_capture_finds_the_classifier_and_what_it_sees(after):
    model, batches = _Net(after), _batches()
    captured = capture(model, iter(batches))  # an iterator can be read only once
    model.eval()
    features = model.backbone(torch.cat([x for x, _ in batches]))
    assert torch.allclose(captured.features, features, atol=1e-6)
    assert torch.allclose(captured.logits, model.head(features), atol=1e-6)
    assert torch.equal(captured.labels, torch.cat([y for _, y in batches]))
    assert torch.equal(captured.weight, model.head.weight)
    assert torch.equal(captured.bias, model.head.bias)
    assert not any(t.requires_grad for t in vars(captured).values() if t is not True)
    report = measure(captured.features, captured.labels, captured.weight, captured.bias)
    assert report.num_samples == 15


def test_capture_leaves_the_model_as_it_was():
    model = _Net()
    model.backbone[1].eval()  # a frozen batch norm inside a model that trains
    modes = [module.training for module in model.modules()]
    state = copy.deepcopy(model.state_dict())
    capture(model, _batches())
    assert [module.training for module in model.modules()] == modes
    assert _hooks(model) == 0
    assert all(torch.equal(state[name], now) for name, now in model.state_dict().items())
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("fail_at", [0, 1])
def test_capture_cleans_up_after_an_error(fail_at):
    calls = []

    def after(scores):
        calls.append(scores)
        if len(calls) == fail_at + 1:
            raise RuntimeError("a layer fails")
        return scores

    model = _Net(after)
    with pytest.raises(RuntimeError, match="a layer fails"):
        capture(model, _batches())
    assert _hooks(model) == 0
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("by", ["name", "module"])
def test_capture_takes_a_classifier_by_name_or_itself(by):
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
    captured = capture(model, _batches(), classifier="1" if by == "name" else model[1])
    assert torch.equal(captured.features, torch.cat([x for x, _ in _batches()]))
    assert torch.equal(captured.weight, model[1].weight)


def test_capture_copies_an_input_that_is_changed_in_place_later():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 4, bias=False)

        def forward(self, x):
            x = x * 2
            scores = self.head(x)
            x += 100
            return scores

    captured = capture(Residual(), _batches(1, (4,)))
    assert torch.equal(captured.features, 2 * _batches(1, (4,))[0][0])
    assert captured.bias is None


def test_capture_lists_the_candidates_of_an_ambiguous_model():
    class TwoHeads(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = nn.Linear(6, 4), nn.Linear(6, 4)

        def forward(self, x):
            return self.left(x), self.right(x)

    with pytest.raises(ValueError, match="pass classifier=, one of 'left', 'right'"):
        capture(TwoHeads(), _batches())
    clear = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 4))
    assert torch.equal(capture(clear, _batches()).weight, clear[2].weight)
    alike = nn.Sequential(*clear, nn.Softmax(1))
    with pytest.raises(ValueError, match="one of '0', '2'"):
        capture(alike, _batches())
    assert _hooks(alike) == 0
    assert torch.equal(capture(alike, _batches(), classifier="2").weight, alike[2].weight)


def test_capture_tells_what_is_wrong():
    with pytest.raises(ValueError, match=r"no nn.Linear ran.* linear layers are none"):
        capture(nn.Sequential(nn.Conv1d(6, 4, 2), nn.Flatten()), _batches(shape=(6, 2)))
    with pytest.raises(
        ValueError, match=r"'fc' is not in the model.* 'backbone.0', 'unused', 'head"
    ):
        capture(_Net(), _batches(), classifier="fc")
    with pytest.raises(ValueError, match="the given module is not in the model"):
        capture(_Net(), _batches(), classifier=nn.Linear(8, 4))
    with pytest.raises(ValueError, match="the classifier is a BatchNorm1d"):
        capture(_Net(), _batches(), classifier="backbone.1")
    with pytest.raises(ValueError, match="'unused' ran 0 times in one batch"):
        capture(_Net(), _batches(), classifier="unused")
    shared = nn.Linear(6, 6)
    with pytest.raises(ValueError, match="'0' ran 2 times in one batch"):
        capture(nn.Sequential(shared, nn.ReLU(), shared), _batches())
    with pytest.raises(ValueError, match=r"sees \(5, 3, 6\); expected \(samples, features\)"):
        capture(nn.Sequential(nn.Linear(6, 4)), _batches(shape=(3, 6)))
    with pytest.raises(ValueError, match="the loader has no batches"):
        capture(_Net(), [])


def test_capture_a_network_of_torchvision():
    from torchvision.models import resnet18

    model = resnet18(num_classes=4)
    captured = capture(model, _batches(2, (3, 32, 32)))
    assert captured.features.shape == (10, 512)
    assert torch.equal(captured.weight, model.fc.weight)


# Edges, by hand -----------------------------------------------------------------------------------


@pytest.mark.parametrize("keep_features", [False, True])
def test_class_means_by_hand(keep_features):
    metric = CollapseMetric(2, keep_features=keep_features)
    metric.update(torch.zeros(0, 2), torch.zeros(0, dtype=torch.long))  # an empty batch is none
    with pytest.raises(ValueError, match="no samples yet; call update before compute"):
        metric.class_means()
    assert metric(torch.tensor([[1.0, 2.0]]), labels=torch.tensor([1])) is None
    metric.update(torch.tensor([[3.0, 0.0], [5.0, 5.0]]), torch.tensor([1, 0]))
    means = metric.class_means()
    assert means.tolist() == [[5, 5], [2, 1]]
    assert means.dtype == torch.float64
    # Class 1 varies by (1, 1) about its mean, class 0 not at all; the means are (3, 4) apart.
    report = metric.compute()
    assert (report.num_samples, report.num_classes, report.rank) == (3, 2, 1)
    assert report.trace_ratio == pytest.approx((4 / 3) / (25 / 4))
    assert report.cdnv == pytest.approx(2 / (2 * 25))
    # Along (3, 4) / 5 the deviations are +-(3 - 4) / 5: 2 / 25 in all.
    assert report.pinv_trace == pytest.approx((2 / 25 / 3) / (25 / 4))


def test_kept_features_are_copies():
    features, labels = torch.ones(2, 3), torch.tensor([0, 1])
    metric = CollapseMetric(2, keep_features=True)
    metric.update(features, labels)
    features.zero_()
    labels.zero_()
    assert metric.class_means().tolist() == [[1, 1, 1], [1, 1, 1]]


def test_logits_after_batches_without():
    features, labels, _ = _cloud()
    metric = CollapseMetric(5, keep_features=True)
    metric.update(features[:9], labels[:9])
    with pytest.raises(ValueError, match="given for some batches only; give all or none"):
        metric.update(features[9:], labels[9:], torch.zeros(691, 5))
    metric.update(features[9:], labels[9:])
    assert metric.compute().num_samples == 700


def test_gathering_fills_in_for_a_process_without_samples(monkeypatch):
    shards = [torch.zeros(0), torch.ones(1, 3), torch.full((1, 3), 2.0)]

    def all_gather_object(parts, mine, group=None):
        assert (len(parts), group) == (3, "some")
        assert torch.equal(mine, shards[1])
        parts[:] = shards

    monkeypatch.setattr(torch.distributed, "get_world_size", lambda group: 3 * (group == "some"))
    monkeypatch.setattr(torch.distributed, "all_gather_object", all_gather_object)
    empty, *filled = _gather(shards[1], "some")
    assert empty.shape == (0, 3)
    assert [part.tolist() for part in filled] == [[[1, 1, 1]], [[2, 2, 2]]]


def test_what_torchmetrics_offers_can_be_set():
    def gather(state, group=None):
        return [state]

    assert CollapseMetric(2, dist_sync_fn=gather).dist_sync_fn is gather
    assert CollapseMetric(2).dist_sync_fn is _gather
    assert CollapseMetric(2, sync_on_compute=False).sync_on_compute is False


def test_features_whose_squares_overflow_are_told_how_to_go_on():
    metric = CollapseMetric(2)
    metric.update(torch.tensor([[1e25], [-1e25], [1.0]]), torch.tensor([0, 0, 1]))
    with pytest.raises(ValueError, match=r"their squares overflow; pass \.double\(\)"):
        metric.compute()


def test_captured_weights_do_not_follow_the_model():
    model = _Net()
    captured = capture(model, _batches())
    weight, bias = captured.weight.clone(), captured.bias.clone()
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.zero_()
    assert torch.equal(captured.weight, weight)
    assert torch.equal(captured.bias, bias)


def test_capture_asks_for_one_label_a_sample_and_a_layer_of_the_model():
    (inputs, labels), *_ = _batches()
    with pytest.raises(
        ValueError, match=r"a batch has labels \(4,\) and features \(5, 8\); exp.* one"
    ):
        capture(_Net(), [(inputs, labels[:4])])
    with pytest.raises(
        ValueError, match=r"the given module is not in the model; .* 'backbone\.0', 'un"
    ):
        capture(_Net(), _batches(), classifier=nn.ReLU())
    with pytest.raises(
        ValueError, match=r"is a BatchNorm1d; expected a layer with a \(classes, feat"
    ):
        capture(_Net(), _batches(), classifier="backbone.1")


def test_capture_needs_no_parameters_before_the_classifier_and_no_tensor_as_result():
    class Dictionary(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(6, 4)

        def forward(self, x):
            return {"scores": self.head(x)}

    captured = capture(model := Dictionary(), _batches())
    assert torch.equal(captured.weight, model.head.weight)
    with pytest.raises(ValueError, match=r"no nn\.Linear ran; the model's linear layers are none"):
        capture(nn.Identity(), _batches())


def test_a_view_of_the_scores_is_not_the_scores():
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(6, 4), nn.Linear(4, 2)

        def forward(self, x):
            scores = self.first(x)
            self.second(scores)
            return scores[:, :2]  # starts where `first`'s output starts, shaped as `second`'s

    with pytest.warns(UserWarning, match=r"the output of 'second' is not W h \+ b"):
        captured = capture(model := Half(), _batches())
    assert torch.equal(captured.weight, model.second.weight)


def test_a_classifier_may_lack_a_bias_but_not_a_weight():
    class Prototypes(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4, 6))

        def forward(self, x):
            return x @ self.weight.T

    model = nn.Sequential(Prototypes(), nn.Softmax(1))
    captured = capture(model, _batches(), classifier="0")
    assert captured.bias is None
    assert torch.equal(captured.weight, torch.ones(4, 6))
    with pytest.raises(ValueError, match=r"is a Softmax; .*\) weight, such as nn\.Linear$"):
        capture(model, _batches(), classifier="1")


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_labels_of_any_integer_type_in_a_stream(dtype):
    features, labels, _ = _cloud()
    streamed = _stream(features, labels.to(dtype), 64).compute()
    _assert_same(streamed, measure(features, labels, None, num_classes=5), rel=1e-6)


def test_sums_of_half_precision_may_be_larger_than_it_can_hold():
    features = torch.full((200, 2), 1000.0, dtype=torch.float16)  # the sum is beyond 65504
    features[::2] += 8
    report = _stream(features, torch.arange(200) % 2, 50, num_classes=2).compute()
    assert (report.rank, report.trace_ratio) == (1, 0)


def test_kept_features_keep_the_convention():
    features, labels, classifier = _cloud()
    metric = _stream(
        features, labels, 100, classifier=classifier, convention="wu", keep_features=True
    )
    whole = measure(features, labels, classifier.weight, classifier.bias, convention="wu")
    assert metric.compute() == whole
    assert whole.nc1 == whole.trace_fraction


def test_a_batch_that_does_not_fit_the_classifier():
    _, labels, classifier = _cloud()
    metric = CollapseMetric(5, classifier=classifier)
    with pytest.raises(ValueError, match=r"weight is \(5, 12\); expected \(classes, 4\) for feat"):
        metric.update(torch.zeros(9, 4), labels[:9])


def test_cosines_do_not_depend_on_how_small_the_numbers_are():
    features, labels, classifier = _cloud(dtype=torch.float64)
    expected = measure(features, labels, classifier.weight).nc3_cosine
    for scale in (1e-20, 1e20):
        with torch.no_grad():
            classifier.weight *= scale
        metric = _stream(scale * features, labels, 100, classifier=classifier)
        assert metric.compute().nc3_cosine == pytest.approx(expected, rel=1e-12)
        with torch.no_grad():
            classifier.weight /= scale


def test_a_batch_of_double_precision_after_one_of_single_loses_nothing():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    centres = 100 + torch.randn(3, 5, generator=generator, dtype=torch.float64)
    features = centres[labels] + 1e-9 * torch.randn(60, 5, generator=generator).double()
    metric = CollapseMetric(3)
    metric.update(centres.float(), torch.arange(3))
    metric.update(features, labels)
    whole = torch.cat([centres.float().double(), features])
    expected = measure(whole, torch.cat([torch.arange(3), labels]), num_classes=3)
    assert metric.compute().trace_ratio == pytest.approx(expected.trace_ratio, rel=1e-6, abs=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_cosines_with_the_classifier_are_those_of_measure_in_every_precision(dtype):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    features = torch.randn(60, 5, generator=generator, dtype=torch.float64).to(dtype)
    layer = nn.Linear(5, 3)
    metric = CollapseMetric(3, classifier=layer)
    for part in (slice(0, 25), slice(25, 60)):
        metric.update(features[part], labels[part])
    expected = measure(features, labels, layer.weight, layer.bias).nc3_cosine
    accuracy = 1e-12 if dtype == torch.float64 else 1e-6
    assert metric.compute().nc3_cosine == pytest.approx(expected, rel=accuracy)


@pytest.mark.parametrize("keep", [False, True])
def test_the_last_class_is_missed_where_it_has_no_sample(keep):
    metric = CollapseMetric(4, keep_features=keep)
    metric.update(torch.randn(9, 5), torch.arange(9) % 3)
    with pytest.raises(ValueError, match=r"^no sample of class 3 \(of 4\); "):
        metric.compute()
