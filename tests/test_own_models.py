"""Models as they come: batches, outputs, heads and wrappers of every kind."""

import contextlib
import math
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ncourse.metrics import CollapseMetric, capture, measure
from ncourse.metrics.capture import _decides, _is_linear, find_classifier
from ncourse.metrics.linear import linear_parts

K, D = 4, 6


@pytest.fixture(autouse=True)
def _same_initial_weights():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def _net(head: nn.Module | None = None) -> nn.Sequential:
    return nn.Sequential(nn.Linear(D, 8), nn.ReLU(), head or nn.Linear(8, K))


def _batches(shape=(D,), labels=lambda n: torch.arange(n) % K):
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(n, *shape, generator=generator), labels(n)) for n in (8, 8, 5)]


class _Returns(nn.Module):
    """A body, a head, and something made of features and logits."""

    def __init__(self, shape):
        super().__init__()
        self.body, self.head, self.shape = nn.Linear(D, 8), nn.Linear(8, K), shape

    def forward(self, x):
        features = self.body(x)
        return self.shape(features, self.head(features))


class _Output(dict):
    """As `ModelOutput`: a dictionary whose entries are attributes too."""

    __getattr__ = dict.__getitem__


class _WithLogits:
    def __init__(self, logits):
        self.logits = logits


def _assert_is_head(captured, model, layer):
    batches = _batches()
    assert torch.equal(captured.weight, layer.weight.detach().flatten(1))
    assert captured.features.shape == (21, layer.weight.shape[1])
    assert captured.is_linear
    rebuilt = captured.features @ captured.weight.T
    rebuilt = rebuilt if captured.bias is None else rebuilt + captured.bias
    torch.testing.assert_close(rebuilt, captured.logits)
    assert torch.equal(captured.predictions, captured.logits.argmax(1))
    assert torch.equal(captured.labels, torch.cat([y for _, y in batches]))


# Batches ------------------------------------------------------------------------------------------


class _Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = _net()

    def forward(self, pixels, mask=None, labels=None):
        assert labels is None
        return self.net(pixels if mask is None else pixels * mask)


BATCHES = {
    "pairs": lambda x, y: (x, y),
    "lists": lambda x, y: [x, y],
    "triples": lambda x, y: (x, y, torch.arange(len(y))),
    "numpy labels": lambda x, y: (x, y.numpy().astype(np.uint16)),
    "lists of labels": lambda x, y: (x, y.tolist()),
    "dictionaries": lambda x, y: {"pixels": x, "labels": y},
    "dictionaries and more": lambda x, y: {"pixels": x, "label": y, "index": np.arange(len(y))},
    "dictionaries with a mask": lambda x, y: {"pixels": x, "mask": x * 0 + 1, "target": y},
    "a dictionary and labels": lambda x, y: ({"pixels": x}, y),
    "several inputs": lambda x, y: ((x, x * 0 + 1), y),
}


@pytest.mark.parametrize("kind", BATCHES)
def test_batches_of_every_kind(kind):
    model = _Named()
    captured = capture(model, [BATCHES[kind](x, y) for x, y in _batches()])
    _assert_is_head(captured, model, model.net[2])


class _Graph:
    """An object that a library makes of a batch."""

    def __init__(self, pixels):
        self.pixels, self.moved_to = pixels, None

    def to(self, device):
        self.moved_to = device
        return self


class _TakesAGraph(_Named):
    def forward(self, graph):
        assert graph.moved_to == torch.device("cpu")
        return self.net(graph.pixels)


class _TakesADictionary(_Named):
    def forward(self, batch):
        return self.net(batch["pixels"])


def test_an_object_is_moved_as_it_wants_and_a_dictionary_may_be_one_argument():
    batches = [(_Graph(x), y) for x, y in _batches()]
    _assert_is_head(capture(model := _TakesAGraph(), batches), model, model.net[2])
    batches = [{"pixels": x, "labels": y} for x, y in _batches()]
    _assert_is_head(capture(model := _TakesADictionary(), batches), model, model.net[2])


class _Pair(NamedTuple):
    pixels: Tensor
    mask: Tensor


class _TakesAPair(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = _net()

    def forward(self, pair):
        assert isinstance(pair, _Pair)
        return self.net(pair.pixels * pair.mask)


class _Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.GRU(D, 8, batch_first=True), nn.Linear(8, K)

    def forward(self, packed):
        _, last = self.body(packed)
        return self.head(last[0])


def test_inputs_that_are_one_thing_with_fields_are_passed_as_one():
    batches = [(_Pair(x, x * 0 + 1), y) for x, y in _batches()]
    _assert_is_head(capture(model := _TakesAPair(), batches), model, model.net[2])
    batches = [
        (nn.utils.rnn.pack_sequence([row[None].repeat(2, 1) for row in x]), y)
        for x, y in _batches()
    ]
    _assert_is_head(capture(model := _Recurrent(), batches), model, model.head)


def test_batches_without_labels_are_refused_in_a_sentence():
    x = torch.randn(4, D)
    for batch, message in [
        (x, r"a batch is \(4, 6\); expected \(inputs, labels\)"),
        ([x], "a batch is a list; expected"),
        ({"pixels": x}, "a batch has pixels; expected labels in it, called one of labels, label"),
    ]:
        with pytest.raises(ValueError, match=message):
            capture(_Named(), [batch])


def test_as_many_batches_as_wanted():
    assert capture(_net(), _batches(), max_batches=2).features.shape == (16, 8)


# Outputs ------------------------------------------------------------------------------------------

OUTPUTS = {
    "tuple": lambda h, z: (z, h),
    "tuple, features first": lambda h, z: (h.relu(), z),
    "dictionary": lambda h, z: {"features": h, "logits": z},
    "model output": lambda h, z: _Output(logits=z, hidden=(h, h)),
    "object": lambda h, z: _WithLogits(z),
    "named, features first and as they are": lambda h, z: {"features": h, "logits": z},
    "dictionary of names of its own": lambda h, z: {"answer": z, "hidden": h},
    "nested": lambda h, z: ({"out": z}, None),
    "copied": lambda h, z: (z.clone(), h),
    "log-softmax": lambda h, z: z.log_softmax(1),
    "temperature": lambda h, z: {"logits": z / 7},
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_outputs_of_every_kind(kind):
    model = _Returns(OUTPUTS[kind])
    captured = capture(model, _batches())
    _assert_is_head(captured, model, model.head)


class _Rivals(nn.Module):
    """Two heads with outputs of one shape; the model returns the first, changed in form."""

    def __init__(self, head, rival, made_of):
        super().__init__()
        self.head, self.rival, self.made_of = head, rival, made_of

    def forward(self, x):
        z = self.head(x)
        self.rival(x)
        return self.made_of(z)


RIVALS = {
    "cast": (nn.Linear, (D,), torch.bfloat16, lambda z: z.float()),
    "flattened": (
        lambda d, k: nn.Conv2d(d, k, 1),
        (D, 1, 1),
        torch.float32,
        lambda z: z.flatten(1),
    ),
    "unflattened": (nn.Linear, (D,), torch.float32, lambda z: z[..., None, None]),
}


@pytest.mark.parametrize("form", RIVALS)
def test_the_layer_whose_numbers_are_returned_is_told_from_one_of_the_same_shape(form):
    make, shape, dtype, made_of = RIVALS[form]
    model = _Rivals(make(D, K), make(D, K), made_of).to(dtype)
    captured = capture(model, [(x.to(dtype), y) for x, y in _batches(shape)])
    assert torch.equal(captured.weight, model.head.weight.detach().flatten(1))
    assert captured.is_linear


class _Prompts(nn.Module):
    """Layers with a matrix that are no classifiers: of nothing, of indices, of two outputs."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(9, K)
        self.prompt, self.split = _Weight(lambda w, x: w), _Weight(lambda w, x: (x @ w, w))
        self.head = nn.Linear(D, K)

    def forward(self, x):
        offset = self.words(x[:, 0].abs().long()) + self.prompt().sum() + self.split(x)[0]
        return (self.head(x) + 0 * offset).softmax(1)


class _Weight(nn.Module):
    def __init__(self, returns):
        super().__init__()
        self.weight, self.returns = nn.Parameter(torch.randn(D, K)), returns

    def forward(self, x=None):
        return self.returns(self.weight, x)


def test_matrices_that_are_no_classifiers_are_passed_over():
    captured = capture(model := _Prompts(), _batches())
    assert torch.equal(captured.weight, model.head.weight)


def test_a_head_that_is_made_when_it_first_runs():
    captured = capture(model := _net(nn.LazyLinear(K)), _batches())
    _assert_is_head(captured, model, model[2])


def test_two_outputs_either_of_which_could_be_logits_are_asked_about():
    with pytest.raises(ValueError, match=r"pass classifier=, one of 'body', 'head'$"):
        capture(_Returns(lambda h, z: (h, z)), _batches())


# Heads --------------------------------------------------------------------------------------------


class _ByKeyword(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(D, K)

    def forward(self, x):
        return self.fc(input=x)


class _Convolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Conv2d(D, K, 1)

    def forward(self, x):
        return self.fc(x[..., None, None]).flatten(1)


class _Conv1D(nn.Module):
    """The layer of GPT-2, with the transpose of a weight."""

    def __init__(self, nf, nx):
        super().__init__()
        self.nf, self.nx = nf, nx
        self.weight, self.bias = nn.Parameter(torch.randn(nx, nf)), nn.Parameter(torch.ones(nf))

    def forward(self, x):
        return x @ self.weight + self.bias


_Conv1D.__name__ = "Conv1D"


def test_a_head_called_by_keyword_and_a_convolution_and_a_transpose():
    for model in (_ByKeyword(), _Convolution()):
        _assert_is_head(capture(model, _batches()), model, model.fc)
    captured = capture(model := nn.Sequential(_Conv1D(K, D)), _batches())
    assert torch.equal(captured.weight, model[0].weight.T)
    assert captured.is_linear


class _OfCalls(nn.Module):
    """As torch's quantised layers: weight and bias are made when they are asked for."""

    def __init__(self):
        super().__init__()
        self.parts = nn.Linear(D, K)

    def weight(self):
        return self.parts.weight

    def bias(self):
        return self.parts.bias

    def forward(self, x):
        return x @ self.weight().T + self.bias()


class _Flagged(nn.Module):
    """Says that it has a bias, and how many features, by names that mean other things elsewhere."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias, self.nf = nn.Parameter(torch.randn(D, D)), False, D

    def forward(self, x):
        return x @ self.weight.T


class _NoTranspose(_Flagged):
    def __init__(self):
        super().__init__()
        del self.nf


_NoTranspose.__name__ = "Conv1D"


def test_weight_and_bias_are_taken_for_what_they_are():
    weight, bias = linear_parts(layer := _OfCalls())
    assert torch.equal(weight, layer.parts.weight)
    assert torch.equal(bias, layer.parts.bias)
    for layer in (_Flagged(), _NoTranspose()):
        weight, bias = linear_parts(layer)
        assert torch.equal(weight, layer.weight)
        assert bias is None
        assert capture(nn.Sequential(nn.Linear(D, D), layer), _batches()).is_linear


class _Distilled(nn.Module):
    """Two heads whose mean is the output, as in distilled vision Transformers."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(D, K), nn.Linear(D, K)

    def forward(self, x):
        return (self.left(x) + self.right(x.sin())) / 2


def test_two_heads_whose_mean_decides_are_one_classifier():
    captured = capture(model := _Distilled(), _batches())
    x = torch.cat([x for x, _ in _batches()])
    assert captured.features.shape == (21, 2 * D)
    assert captured.is_linear
    torch.testing.assert_close(captured.features @ captured.weight.T + captured.bias, model(x))
    torch.testing.assert_close(captured.logits, model(x))
    assert captured.measure().nc4 == measure(*list(vars(captured).values())[:2],
                                             captured.weight, captured.bias).nc4  # fmt: skip


@pytest.mark.parametrize("one_classifier", [True, False])
@pytest.mark.parametrize("heads", ["as they are", "zero"])
def test_how_close_the_mean_of_two_heads_has_to_be(heads, one_classifier):
    class Nearly(_Distilled):
        def forward(self, x):
            factor, term = (1 + 9e-5, 9e-7) if one_classifier else (1 + 2e-4, 2e-6)
            mean = super().forward(x)
            return mean + term if heads == "zero" else mean * factor

    model = Nearly().double()
    batches = [(x.double(), y) for x, y in _batches()]
    if heads == "zero":
        for parameter in model.parameters():
            nn.init.zeros_(parameter)
    if one_classifier:
        assert capture(model, batches).weight.shape == (K, 2 * D)
    else:
        with pytest.raises(ValueError, match=r"cannot tell .*, one of 'left', 'right'$"):
            capture(model, batches)


def test_only_layers_of_the_outputs_shape_are_offered():
    class Sum(_Distilled):
        def forward(self, x):
            return self.left(x) + self.right(x)

    model = nn.Sequential(nn.Linear(D, D), nn.Linear(D, D), Sum())
    with pytest.raises(ValueError, match=r"pass classifier=, one of '2\.left', '2\.right'$"):
        capture(model, _batches())


class _Cosine(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(K, 8) * torch.tensor([[1.0], [9.0], [1.0], [1.0]]))

    def forward(self, h):
        return 9 * nn.functional.normalize(h, dim=1) @ nn.functional.normalize(self.weight, dim=1).T


class _Rounded(nn.Linear):
    def forward(self, h):
        return super().forward((2 * h).round() / 2)


@pytest.mark.parametrize("head", [_Cosine(), _Rounded(8, K)], ids=["cosine", "quantised"])
def test_a_head_that_is_not_linear_is_noticed_and_nc4_is_the_models(head):
    model = _net(head)
    with pytest.warns(UserWarning, match=r"the output of '2' is not W h \+ b"):
        captured = capture(model, _batches())
    assert not captured.is_linear
    own = model(torch.cat([x for x, _ in _batches()]))
    assert torch.equal(captured.predictions, own.argmax(1))
    report = captured.measure()
    given = (captured.features, captured.labels, captured.weight, captured.bias)
    assert report.nc4 == measure(*given, logits=own).nc4
    assert math.isnan(report.nc4_without_bias)
    assert report.nc3 == measure(*given).nc3
    without = capture_quietly(model, keep_logits=False)
    assert without.logits is None
    assert without.measure().nc4 == report.nc4
    assert math.isnan(without.measure(classes=[0, 1, 3]).nc4)
    chosen = captured.measure(classes=[0, 1, 3]).nc4
    assert chosen == measure(*given, logits=own, classes=[0, 1, 3]).nc4


CALLED_TWICE = """
import torch
from torch import nn
from ncourse.metrics import capture

class Rounded(nn.Linear):
    def forward(self, h):
        return super().forward(h).round()

model, batches = nn.Sequential(Rounded(3, 4)), [(torch.randn(8, 3), torch.arange(8) % 4)]
capture(model, batches)
capture(model, batches)
"""


def test_a_head_that_is_not_linear_is_told_where_it_was_called():
    told = (
        "UserWarning: the output of '0' is not W h + b, so weight and bias do not decide: use "
        "Captured.measure, or measure(..., logits=)"
    )
    run = subprocess.run(
        [sys.executable, "-c", CALLED_TWICE], capture_output=True, text=True, check=True
    )
    assert run.stderr.splitlines() == [f"<string>:{line}: {told}" for line in (11, 12)]


def test_of_several_heads_that_are_not_linear_each_is_told():
    model = _Distilled()
    model.left, model.right = _Rounded(D, K), _Rounded(D, K)
    with pytest.warns(
        UserWarning,
        match=r"^the output of 'left' and 'right' is not W h \+ b, so weight and bias do not "
        r"decide: use Captured\.measure, or measure\(\.\.\., logits=\)$",
    ):
        capture(model, _batches())


def test_one_batch_on_which_a_head_is_not_linear_is_enough():
    """Where all is zero, a rounded head is linear; the first batch with samples decides."""
    zeros = (torch.zeros(4, D), torch.arange(4))
    with pytest.warns(UserWarning, match="not W h"):
        captured = capture(nn.Sequential(_Rounded(D, K)), [*_batches(), zeros])
    assert not captured.is_linear
    assert capture(nn.Sequential(_Rounded(D, K)), [zeros, *_batches()]).is_linear


class _Opposite(nn.Linear):
    def forward(self, h):
        return -super().forward(h)


def test_decisions_of_the_model_go_into_a_metric_that_keeps_features():
    model = _net(_Opposite(8, K))
    captured = capture_quietly(model)
    streamed = capture(model, _batches(), into=CollapseMetric(K, keep_features=True)).compute()
    assert streamed.nc4 == captured.measure().nc4
    assert streamed.nc4 + streamed.nc4_without_bias > 1  # hardly ever do both decide alike


def test_chosen_classes_of_a_linear_head_are_measured_with_its_bias():
    model = _net()
    with torch.no_grad():
        model[-1].bias.copy_(torch.tensor([3.0, 0, -3, 1]))
    captured = capture(model, _batches(), keep_logits=False)
    given = (captured.features, captured.labels, captured.weight)
    report = captured.measure(classes=[0, 1, 3])
    assert report == measure(*given, captured.bias, classes=[0, 1, 3])
    assert report.nc4 != measure(*given, classes=[0, 1, 3]).nc4


@pytest.mark.parametrize("first", ["empty", "ignored"])
def test_a_head_is_looked_at_on_the_first_batch_that_has_samples(first):
    """A loader may begin with none, and the head be linear where there is nothing."""
    size = 0 if first == "empty" else 3
    batches = [(torch.zeros(size, D), torch.full((size,), -100)), *_batches()]
    with pytest.warns(UserWarning, match=r"is not W h \+ b"):
        captured = capture(_net(_Rounded(8, K)), batches, ignore_index=-100)
    assert not captured.is_linear
    assert capture(_net(), batches, ignore_index=-100).is_linear


class _Copies(nn.Module):
    """Gives copies of scores, beside a layer of the same shape."""

    def __init__(self, made_of):
        super().__init__()
        self.body, self.other, self.head = nn.Linear(D, 8), nn.Linear(8, K), nn.Linear(8, K)
        self.made_of = made_of

    def forward(self, x):
        h = self.body(x)
        return self.made_of(self.head(h), self.other(h))


@pytest.mark.parametrize(
    "made_of", [lambda a, b: a.clone(), lambda a, b: a[:], lambda a, b: (a + b) / 2]
)
def test_a_classifier_is_found_behind_batches_without_samples(made_of):
    model, nothing = _Copies(made_of), (torch.zeros(0, D), torch.zeros(0, dtype=torch.long))
    whole = capture(model, _batches())
    found = capture(model, [nothing, nothing, *_batches(), nothing])
    assert torch.equal(found.weight, whole.weight)
    assert torch.equal(found.features, whole.features)
    metric = capture(model, [nothing, *_batches()], into=CollapseMetric(K))
    assert metric.compute().num_samples == len(whole.labels)
    with pytest.raises(ValueError, match="the loader has no batches with samples"):
        capture(model, [nothing])
    with pytest.raises(ValueError, match="label"):
        capture(model, [(torch.zeros(3, D), nothing[1])])


def capture_quietly(model, **options):
    with pytest.warns(UserWarning, match="not W h"):
        return capture(model, _batches(), **options)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_linear_head_in_any_precision_is_linear(dtype):
    captured = capture(_net().to(dtype), [(x.to(dtype), y) for x, y in _batches()])
    assert captured.is_linear
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert capture(_net(), _batches()).is_linear


EPS = torch.finfo(torch.float32).eps


@pytest.mark.parametrize("bias", [None, torch.tensor([0.0, -2.0])])
@pytest.mark.parametrize(("units", "linear"), [(32, True), (32.5, False)])
def test_a_head_may_be_off_by_32_units_of_its_sizes_rounding(units, linear, bias):
    """Sizes are powers of two, so that the limit itself is a number; it is each entry's own."""
    features = torch.tensor([[4.0, 0.0], [0.0, 1024.0]])
    weight = torch.tensor([[8.0, 0.0], [0.0, 0.5]])
    logits = torch.tensor([[32.0, 0.0], [0.0, 512.0]]).double()
    limit = torch.tensor([[32.0, 2.0], [8192.0, 512.0]]).double() * EPS
    if bias is not None:
        logits += bias
        limit += EPS * bias.abs()
    for sign in (1, -1):
        assert _is_linear(features, weight, bias, logits + sign * units * limit) is linear
        for entry in range(4):
            off = torch.zeros(4).double()
            off[entry] = sign * units
            assert _is_linear(features, weight, bias, logits + off.view(2, 2) * limit) is linear


@pytest.mark.parametrize(
    ("row", "alike"),
    [
        ([4, 4 - 128 * EPS], True),
        ([4, 4 - 132 * EPS], False),
        ([-4, -4 - 128 * EPS], True),
        ([-4, -4 - 136 * EPS], False),
        ([1 / 8, 1 / 8 - 4 * EPS], True),
        ([1 / 8, 1 / 8 - 33 / 8 * EPS], False),
        ([1, 1], True),
    ],
)
def test_logits_decide_alike_up_to_32_units_of_rounding(row, alike):
    logits = torch.tensor([[0.0, 1.0], row])
    assert _decides(logits, torch.tensor([[0.0, 1.0], [0.0, 1.0]])) is alike
    assert _decides(logits, torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    assert not _decides(logits, torch.tensor([[1.0, 0.0], [1.0, 0.0]]))


def test_heads_without_bias_or_with_one_bias_are_one_classifier():
    for biases in ((False, False), (True, False), (False, True)):
        model = _Distilled()
        model.left, model.right = (nn.Linear(D, K, bias=bias) for bias in biases)
        captured = capture(model, _batches())
        assert (captured.bias is None) == (not any(biases))
        assert captured.is_linear


class _More(nn.Module):
    """A head, a layer that runs after it, and what is returned of both."""

    def __init__(self, returns):
        super().__init__()
        self.head, self.after, self.returns = nn.Linear(D, K), nn.Linear(K, 3), returns

    def forward(self, x):
        z = self.head(x)
        return self.returns(z, self.after(z))


@pytest.mark.parametrize("name", ["logits", "out", "scores", "prediction_logits"])
def test_logits_that_are_named_need_not_be_the_last_layers(name):
    captured = capture(model := _More(lambda z, a: {name: z, "auxiliary": a}), _batches())
    assert torch.equal(captured.weight, model.head.weight)
    for returns in (lambda z, a: (z, a), lambda z, a: {"first": z, "second": a}):
        with pytest.raises(ValueError, match=r"one of 'head', 'after'$"):
            capture(_More(returns), _batches())


def test_a_mean_over_as_many_tokens_as_classes_is_not_taken_for_logits():
    model = nn.Sequential(nn.Linear(D, K), _Scores(nn.Identity(), lambda z: z.mean(1)))
    with pytest.raises(ValueError, match="cannot tell which linear layer"):
        capture(model, _places((K, D), K))


@pytest.mark.filterwarnings("ignore:.*deprecated")
def test_quantised_layers_of_torch_are_noticed():
    model = torch.ao.quantization.quantize_dynamic(_net(), {nn.Linear}, dtype=torch.qint8)
    captured = capture_quietly(model)
    assert captured.weight.shape == (K, 8)
    assert not captured.is_linear
    assert torch.equal(captured.predictions, model(torch.cat([x for x, _ in _batches()])).argmax(1))


def test_a_pooled_convolution_has_pooled_features():
    def net(*between):
        return nn.Sequential(nn.Conv2d(3, 5, 3), nn.Conv2d(5, K, 1), *between,
                             nn.AdaptiveAvgPool2d(1), nn.Flatten())  # fmt: skip

    model, batches = net(), _batches((3, 6, 6))
    captured = capture(model, batches)
    x = torch.cat([x for x, _ in batches])
    torch.testing.assert_close(captured.features, model[0](x).mean((2, 3)))
    torch.testing.assert_close(captured.logits, model(x))
    assert captured.is_linear
    with pytest.warns(UserWarning, match="not W h"):  # as squeezenet: a ReLU before the pooling
        captured = capture(squeeze := net(nn.ReLU()), batches)
    assert torch.equal(captured.predictions, squeeze(x).argmax(1))


# Tokens and pixels --------------------------------------------------------------------------------


def test_tokens_and_pixels_with_a_label_each_are_samples():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, K, (21, 7), generator=generator)
    labels[:, 5:] = -100
    tokens = [(torch.randn(7, 7, D, generator=generator), y) for y in labels.split(7)]
    captured = capture(model := _net(), tokens, ignore_index=-100)
    x = torch.cat([x for x, _ in tokens])[:, :5]
    torch.testing.assert_close(captured.features, model[:2](x).flatten(0, 1))
    assert torch.equal(captured.labels, labels[:, :5].flatten())
    assert len(capture(model, tokens).labels) == 147
    following = capture(model, tokens, ignore_index=-100, next_token=True)
    torch.testing.assert_close(following.features, model[:2](x[:, :4]).flatten(0, 1))
    assert torch.equal(following.labels, labels[:, 1:5].flatten())
    pixels = [(x.movedim(2, 1)[..., None], y[..., None]) for x, y in tokens]
    segment = nn.Sequential(nn.Conv2d(D, 8, 1), nn.ReLU(), nn.Conv2d(8, K, 1))
    dense = capture(segment, pixels, ignore_index=-100)
    assert dense.features.shape == captured.features.shape
    assert dense.is_linear
    assert torch.equal(dense.labels, captured.labels)


class _Scores(nn.Module):
    """A layer at each place, and what the model makes of its output."""

    def __init__(self, layer, made_of):
        super().__init__()
        self.layer, self.made_of = layer, made_of

    def forward(self, x):
        return self.made_of(self.layer(x))


def _rows(scores: Tensor, classes_at: int) -> Tensor:
    """Scores with the classes along one axis as `(samples, classes)`."""
    return scores.movedim(classes_at, -1).flatten(0, -2)


def _places(shape, labelled, kept=()):
    """Batches of inputs of a shape, with a label each, or one at each of the last axes."""
    generator = torch.Generator().manual_seed(0)
    where = shape[1:] if kept == "pixels" else shape[:-1] if kept == "tokens" else ()
    return [
        (
            torch.randn(n, *shape, generator=generator),
            torch.randint(0, labelled, (n, *where), generator=generator),
        )
        for n in (8, 5)
    ]


# A layer, its inputs, which of them have labels, where its classes are, what the model makes of it.
PLACES = {
    "tokens": (lambda: nn.Linear(D, K), (7, D), "tokens", -1),
    "tokens of tokens": (lambda: nn.Linear(D, K), (2, 3, D), "tokens", -1),
    "one token": (lambda: nn.Linear(D, K), (1, D), "tokens", -1),
    "pixels": (lambda: nn.Conv2d(D, K, 1), (D, 3, 2), "pixels", 1),
    "a line": (lambda: nn.Conv1d(D, K, 1), (D, 5), "pixels", 1),
    "voxels": (lambda: nn.Conv3d(D, K, 1), (D, 2, 3, 2), "pixels", 1),
}


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("place", PLACES)
def test_a_models_own_scores_decide_at_each_place_unless_the_layer_was_named(place, named):
    make, shape, labelled, axis = PLACES[place]
    layer = make()
    batches = _places(shape, K, labelled)
    model = _Scores(layer, lambda z: -z)
    with pytest.warns(UserWarning, match="not W h") if not named else contextlib.nullcontext():
        captured = capture(model, batches, classifier="layer" if named else None)
    z = torch.cat([_rows(layer(x), axis) for x, _ in batches])
    h = torch.cat([_rows(x, axis) for x, _ in batches])
    assert torch.equal(captured.features, h)
    torch.testing.assert_close(captured.logits, z)
    assert torch.equal(captured.predictions, (z if named else -z).argmax(1))
    assert captured.is_linear == named
    assert torch.equal(captured.labels, torch.cat([y.flatten() for _, y in batches]))


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_scores_after_a_pooling_decide_also_where_the_layer_was_named(dims, named):
    layer = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1](D, K, 1)
    axes = tuple(range(2, dims + 2))
    batches = _places((D, 3, 2, 2)[: dims + 1], K)
    model = _Scores(layer, lambda z: -z.abs().mean(axes))
    with pytest.warns(UserWarning, match="'layer' is not W h"):
        captured = capture(model, batches, classifier="layer" if named else None)
    x = torch.cat([x for x, _ in batches])
    torch.testing.assert_close(captured.features, x.mean(axes))
    torch.testing.assert_close(captured.logits, model(x))
    assert torch.equal(captured.predictions, model(x).argmax(1))
    assert not torch.equal(captured.predictions, layer(x).mean(axes).argmax(1))


OTHER_SCORES = {
    "fewer classes": lambda z: -z[:, 1:],
    "more samples": lambda z: -z.repeat(2, *[1] * (z.ndim - 1)),
    "no axis of classes": lambda z: z.argmax(1).flatten(),
    "nothing": lambda z: None,
}


@pytest.mark.parametrize("scores", OTHER_SCORES)
@pytest.mark.parametrize("place", ["samples", "pixels", "pooled", "flat"])
def test_scores_of_another_shape_leave_the_decision_to_the_layer(place, scores):
    layer = nn.Linear(D, K) if place == "samples" else nn.Conv2d(D, K, 1)
    batches = _places(
        (D,) if place == "samples" else (D, 3, 2), K, "pixels" if place == "pixels" else ()
    )
    made_of = OTHER_SCORES[scores]
    if place == "flat":
        made_of = lambda z: OTHER_SCORES[scores](z.mean((2, 3)))  # noqa: E731
    captured = capture(_Scores(layer, made_of), batches, classifier="layer")
    z = torch.cat([layer(x) for x, _ in batches])
    z = _rows(z, 1) if place in ("samples", "pixels") else z.mean((2, 3))
    torch.testing.assert_close(captured.logits, z)
    assert torch.equal(captured.predictions, captured.logits.argmax(1))
    assert captured.is_linear


def test_scores_for_a_whole_image_do_not_decide_about_its_pixels():
    batches = _places((D, 3, 2), K, "pixels")
    captured = capture(_Scores(layer := nn.Conv2d(D, K, 1), lambda z: -z.mean((2, 3))), batches)
    z = torch.cat([_rows(layer(x), 1) for x, _ in batches])
    assert torch.equal(captured.predictions, z.argmax(1))
    assert captured.is_linear


@pytest.mark.parametrize("place", ["tokens", "pixels"])
def test_two_heads_at_each_place_are_one_classifier(place):
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            of = nn.Linear if place == "tokens" else lambda d, k: nn.Conv2d(d, k, 1)
            self.left, self.right = of(D, K), of(D, K)

        def forward(self, x):
            return (self.left(x) + self.right(x.sin())) / 2

    axis = -1 if place == "tokens" else 1
    batches = _places((7, D) if place == "tokens" else (D, 3, 2), K, place)
    captured = capture(model := Both(), batches)
    x = torch.cat([_rows(x, axis) for x, _ in batches])
    assert torch.equal(captured.features, torch.cat([x, x.sin()], dim=1))
    own = torch.cat([_rows(model(x), axis) for x, _ in batches])
    torch.testing.assert_close(captured.features @ captured.weight.T + captured.bias, own)
    assert captured.is_linear


@pytest.mark.parametrize("count", [1, 5])
def test_a_head_at_one_token_is_told_from_a_body_of_the_outputs_shape(count):
    body, head = nn.Linear(D, K), nn.Linear(K, K)
    at_one = _Scores(nn.Sequential(nn.Unflatten(1, (1, K)), head), lambda z: z[:, 0])
    batch = (torch.randn(count, D), torch.arange(count) % K)
    with pytest.raises(
        ValueError, match=r"^the classifier '1\.layer\.1' sees \(\d, 1, 4\); expected"
    ):
        capture(nn.Sequential(body, at_one), [batch])
    captured = capture(nn.Sequential(body, at_one), [(batch[0], batch[1][:, None])])
    assert torch.equal(captured.weight, head.weight)
    assert captured.is_linear


@pytest.mark.parametrize(
    ("make", "shape", "labels", "told"),
    [
        (
            lambda: nn.Linear(D, K),
            (D,),
            (5, 1),
            r"has labels \(5, 1\) and features \(5, 6\); expected one",
        ),
        (
            lambda: nn.Linear(D, K),
            (D,),
            (4,),
            r"has labels \(4,\) and features \(5, 6\); expected one",
        ),
        (
            lambda: nn.Linear(D, K),
            (7, D),
            (5,),
            r"'layer' sees \(5, 7, 6\); expected .* labels \(5, 7\) for",
        ),
        (
            lambda: nn.Linear(D, K),
            (7, D),
            (5, 6),
            r"'layer' sees \(5, 7, 6\); .*; labels is \(5, 6\)$",
        ),
        (
            lambda: nn.Conv2d(D, K, 1),
            (D, 3, 2),
            (5, 3),
            r"sees \(5, 3, 2, 6\); .* labels \(5, 3, 2\) for",
        ),
        (
            lambda: nn.Conv2d(D, K, 1),
            (D, 3, 2),
            (4,),
            r"sees \(5, 3, 2, 6\); .*; labels is \(4,\)$",
        ),
    ],
)
def test_labels_that_fit_no_place_are_refused_with_both_shapes(make, shape, labels, told):
    batch = (torch.randn(5, *shape), torch.zeros(labels, dtype=torch.long))
    with pytest.raises(ValueError, match=told):
        capture(_Scores(make(), lambda z: z), [batch])


# Wrappers -----------------------------------------------------------------------------------------


def _compiled(model):
    return torch.compile(model, backend="eager")


def _compiled_in_place(model):
    model.compile(backend="eager")
    return model


def _compiled_inside(model):
    model[0] = torch.compile(model[0], backend="eager")
    return torch.compile(model, backend="eager")


WRAPPERS = {
    "compile": _compiled,
    "compile in place": _compiled_in_place,
    "compile inside": _compiled_inside,
    "data parallel": nn.DataParallel,
    "both": lambda model: nn.DataParallel(_compiled(model)),
}


@pytest.mark.parametrize("classifier", [None, "2"])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrappers_are_taken_off_also_after_a_pass(wrapper, classifier):
    expected = capture(model := _net(), _batches())
    wrapped = WRAPPERS[wrapper](model)
    with torch.no_grad():
        for x, _ in _batches():
            wrapped(x)
    found = capture(wrapped, _batches(), classifier=classifier)
    assert torch.equal(found.features, expected.features)
    assert torch.equal(found.weight, expected.weight)
    with torch.no_grad():
        wrapped(_batches()[0][0])


def test_a_compiled_head_is_one_layer_by_one_name():
    model = _net(_Opposite(8, K))
    opposite = capture_quietly(model)
    inner = model[2]
    model[2] = torch.compile(inner, backend="eager")
    with torch.no_grad():
        model(_batches()[0][0])
    names = ("2", "2._orig_mod", "_orig_mod.2._orig_mod")
    for classifier in (None, *names, inner, model[2]):
        for wrapped in (model, torch.compile(model, backend="eager")):
            with pytest.warns(UserWarning, match=r"^the output of '2' is not"):
                found = capture(wrapped, _batches(), classifier=classifier)
            assert torch.equal(found.logits, opposite.logits)
    with pytest.raises(
        ValueError, match=r"^'3' is not in the model; its linear layers are '0', '2'$"
    ):
        capture(model, _batches(), classifier="3")


@pytest.mark.parametrize("kind", ["DataParallel", "DistributedDataParallel", "_FabricModule"])
@pytest.mark.parametrize("held", ["module", "_forward_module"])
def test_wrappers_that_are_known_by_their_names(kind, held):
    def forward(self, x):
        raise RuntimeError("a wrapper that needs other processes")

    model = _net()
    wrapped = type(kind, (nn.Module,), {"forward": forward})()
    setattr(wrapped, held, model)
    _assert_is_head(capture(wrapped, _batches()), model, model[2])


def test_wrappers_are_taken_off_where_torch_cannot_be_told_to_run_eagerly(monkeypatch):
    monkeypatch.delattr(torch.compiler, "set_stance")  # before torch 2.6
    model = _net()
    wrapped = _compiled(model)
    wrapped(_batches()[0][0])
    _assert_is_head(capture(wrapped, _batches()), model, model[2])


@pytest.mark.filterwarnings("ignore:.*deprecated")
@pytest.mark.parametrize("how", ["script", "trace"])
def test_scripts_are_refused_by_name(how):
    net = _net().eval()
    scripted = torch.jit.script(net) if how == "script" else torch.jit.trace(net, torch.ones(1, D))
    with pytest.raises(ValueError, match=r"the model is a .*Module: TorchScript calls no Python"):
        capture(scripted, _batches())


def test_a_sharded_model_is_refused_by_name():
    class FullyShardedDataParallel(nn.Module):
        pass

    with pytest.raises(ValueError, match="FullyShardedDataParallel: no process holds"):
        capture(FullyShardedDataParallel(), _batches())


# Into a metric ------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [False, True])
def test_a_metric_takes_batch_after_batch(keep):
    model = _net()
    captured = capture(model, _batches())
    expected = captured.measure().as_dict()
    metric = CollapseMetric(K, keep_features=keep)
    assert capture(model, _batches(), into=metric) is metric
    found = metric.compute().as_dict()
    left = set() if keep else {"nc4", "nc4_without_bias"}
    for name in set(expected) - left:
        assert found[name] == pytest.approx(expected[name], rel=1e-5, abs=1e-9), name
    assert all(p.ndim == 1 for p in getattr(metric, "predictions", []))
    own = CollapseMetric(K, classifier=nn.Linear(8, K))
    capture(model, _batches(), into=own)
    assert own.compute().nc3 != pytest.approx(expected["nc3"])


def test_logits_are_kept_only_on_request():
    captured = capture(_net(), _batches(), keep_logits=False)
    assert captured.logits is None
    assert captured.measure() == capture(_net_again(captured), _batches()).measure()


def _net_again(captured) -> nn.Sequential:
    torch.manual_seed(0)
    model = _net()
    assert torch.equal(model[2].weight, captured.weight)
    return model


# Torchmetrics -------------------------------------------------------------------------------------


def _filled(metric: CollapseMetric, seed: int = 0) -> CollapseMetric:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(40) % K
    metric.update(torch.randn(40, D, generator=generator) + labels[:, None], labels)
    return metric


def test_one_field_is_a_tensor_that_a_tracker_takes():
    from torchmetrics import MetricCollection, MetricTracker

    number = _filled(CollapseMetric(K, field="nc1")).compute()
    assert isinstance(number, Tensor)
    assert float(number) == pytest.approx(_filled(CollapseMetric(K)).compute().nc1)
    tracker = MetricTracker(CollapseMetric(K, field="nc1"))
    values = []
    for seed in range(3):
        tracker.increment()
        _filled(tracker, seed)
        values.append(float(tracker.compute()))
    assert tracker.compute_all().tolist() == pytest.approx(values)
    best, step = tracker.best_metric(return_step=True)
    assert (best, step) == (pytest.approx(min(values)), values.index(min(values)))
    collection = MetricCollection(
        {name: CollapseMetric(K, field=name) for name in ("nc1", "nc2_equiangular")}
    )
    _filled(collection)
    assert float(collection.compute()["nc1"]) == pytest.approx(values[0])
    with pytest.raises(ValueError, match="field is 'nc5'; expected one of nc1, nc2_equinorm"):
        CollapseMetric(K, field="nc5")


def test_plot_draws_a_report_or_a_series_of_them():
    import matplotlib.pyplot as plt

    metrics = [_filled(CollapseMetric(K, classifier=nn.Linear(D, K)), seed) for seed in range(3)]
    with contextlib.closing(_Closing(plt)):
        figure, axes = metrics[0].plot()
        names = [label.get_text() for label in axes.get_yticklabels()]
        assert names[:2] == ["NC1", "NC2 equinorm"]
        drawn = axes.lines[0].get_xdata()
        assert drawn[0] == pytest.approx(metrics[0].compute().nc1)
        assert (axes.get_xscale(), axes.get_xlabel()) == ("log", "distance from collapse")
        assert (axes.lines[0].get_marker(), axes.lines[0].get_linestyle()) == ("o", "None")
        same, axes = metrics[0].plot([m.compute() for m in metrics], ax=axes.figure.subplots())
        assert same is figure
        assert (axes.get_yscale(), axes.get_ylabel()) == ("log", "distance from collapse")
        assert (axes.get_xlabel(), axes.lines[0].get_marker()) == ("report", "o")
        assert axes.lines[0].get_ydata().tolist() == [m.compute().nc1 for m in metrics]
        one = _filled(CollapseMetric(K, field="nc1"))
        _, axes = one.plot([one.compute(), one.compute()])
        assert axes.lines[0].get_ydata().tolist() == [float(one.compute())] * 2
        assert [line.get_label() for line in axes.lines] == ["nc1"]


def test_plot_without_matplotlib_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    metric = _filled(CollapseMetric(K, field="nc1"))
    with pytest.raises(ModuleNotFoundError, match=r"^drawing needs: pip install matplotlib$"):
        metric.plot()


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"convention": "zhu"},
        {"classes": [0, 2, 3]},
        {"min_samples": 5},
        {"ignore_index": 1, "min_samples": 2},
    ],
    ids=str,
)
def test_what_is_captured_is_measured_as_it_is_asked(asked):
    model = _net()
    captured = capture(
        model, _batches(labels=lambda n: torch.arange(n) % K * (torch.arange(n) > 2))
    )
    layer = model[2]
    report = measure(
        captured.features,
        captured.labels,
        layer.weight.detach(),
        layer.bias.detach(),
        logits=captured.logits,
        **asked,
    )
    assert repr(captured.measure(**asked)) == repr(report)


def test_the_classifier_that_is_found_leaves_the_model_as_it_was():
    model = nn.Sequential(nn.Linear(D, 8), nn.Dropout(), nn.Linear(8, K)).train()
    model[1].eval()
    modes = [module.training for module in model.modules()]
    assert find_classifier(model, torch.randn(2, D)) is model[2]
    assert find_classifier(model, [torch.randn(2, D)]) is model[2]
    with pytest.raises(ValueError, match=r"no nn\.Linear ran"):
        find_classifier(nn.Sequential(nn.ReLU()), torch.randn(2, D))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        find_classifier(model, torch.randn(2, D + 1))
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks for module in model.modules())


def test_a_mean_of_heads_is_no_single_classifier():
    class Averaged(nn.Module):
        def __init__(self):
            super().__init__()
            self.heads = nn.ModuleList([nn.Linear(D, K), nn.Linear(D, K)])

        def forward(self, x):
            return torch.stack([head(x) for head in self.heads]).mean(0)

    told = r"^the classifier is 2 layers, of which the model takes a mean$"
    with pytest.raises(ValueError, match=told):
        find_classifier(Averaged(), torch.randn(3, D))


@pytest.mark.parametrize(("layers", "dots"), [(12, False), (13, True)])
def test_of_many_candidates_the_last_twelve_are_named(layers, dots):
    class Many(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(D, D) for _ in range(layers)])

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
            return x.exp()

    with pytest.raises(ValueError, match="cannot tell which") as raised:
        find_classifier(Many(), torch.randn(3, D))
    listed = str(raised.value).partition("one of ")[2].split(", ")
    names = [f"'layers.{index}'" for index in range(layers)][-12:]
    assert listed == ["…"] * dots + names


def test_what_is_adopted_is_a_copy_that_does_not_train():
    layer = nn.Linear(D, K)
    metric = CollapseMetric(K)
    metric.adopt(layer.weight, layer.bias)
    (taken,) = metric._classifier
    assert (taken.in_features, taken.out_features) == (D, K)
    assert not any(parameter.requires_grad for parameter in taken.parameters())
    before = _filled(metric).compute()
    with torch.no_grad():
        layer.weight.mul_(-1)
        layer.bias.add_(torch.arange(K))
    metric.adopt(layer.weight, layer.bias)  # there is one already
    assert repr(metric.compute()) == repr(before)
    without = CollapseMetric(K)
    without.adopt(layer.weight)
    assert without._classifier[0].bias is None
    with pytest.raises(ValueError, match="bias"):
        CollapseMetric(K).adopt(layer.weight, torch.zeros(K + 1))


class _Closing:
    def __init__(self, plt):
        self.plt = plt

    def close(self):
        self.plt.close("all")
