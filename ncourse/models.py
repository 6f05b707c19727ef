"""Networks that more than one chapter uses.

Each has `features(x)`, the activations the last layer sees, and `classifier`, that last linear
layer; `model(x)` is `classifier(features(x))`. Collapse is a statement about these two.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from ncourse.metrics.capture import (
    eager,
    evaluating,
    find_classifier,
    main_output,
    unwrapped,
)

__all__ = [
    "CNN",
    "MLP",
    "CausalTransformer",
    "Classifier",
    "found_classifier",
    "hidden_layers",
    "normalise",
    "resnet18",
    "seeded",
]


class Classifier(nn.Module):
    """A feature map followed by a linear classifier.

    Args:
        body: maps inputs `(N, ...)` to features `(N, d)`.
        classifier: `nn.Linear(d, K)`.
    """

    def __init__(self, body: nn.Module, classifier: nn.Linear) -> None:
        super().__init__()
        self.body = body
        self.classifier = classifier

    def features(self, inputs: Float[Tensor, "samples ..."]) -> Float[Tensor, "samples features"]:
        """The last layer's input, `(N, d)`."""
        return self.body(inputs)

    def forward(self, inputs: Float[Tensor, "samples ..."]) -> Float[Tensor, "samples classes"]:
        """Logits, `(N, K)`."""
        return self.classifier(self.features(inputs))


class _Found(nn.Module):
    """Any network with `features` and `classifier`: what its last linear layer sees, and it."""

    def __init__(self, model: nn.Module, classifier: nn.Linear) -> None:
        super().__init__()
        self.model = model
        self._last = (classifier,)  # in a tuple, or it would be registered twice

    @property
    def classifier(self) -> nn.Linear:
        return self._last[0]

    def features(self, inputs: Tensor) -> Tensor:
        seen: list[Tensor] = []

        def keep(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen.append(next(iter((*args, *kwargs.values()))))

        hook = self.classifier.register_forward_pre_hook(keep, with_kwargs=True)
        try:
            with eager():
                self.model(inputs)
        finally:
            hook.remove()
        return seen[-1]

    def forward(self, inputs: Tensor) -> Tensor:
        result = main_output(self.model(inputs))
        assert result is not None, "it was found to have logits"
        return result


def found_classifier(model: nn.Module, inputs: Tensor) -> nn.Module:
    """A network of any kind with `features` and `classifier`; its weights are those of `model`.

    Args:
        model: its last linear layer is found as `ncourse.metrics.capture` finds it, and the same
            wrappers are taken off.
        inputs: `(2, ...)` or more, to run it once.

    Raises:
        ValueError: as `capture`; also if the layer sees tokens or pixels, or if what the network
            returns is not the layer's output, as where a softmax follows.
    """
    inputs = inputs.to(next(model.parameters(), inputs))  # its device and dtype
    layer = find_classifier(model, inputs)
    if not isinstance(layer, nn.Linear):
        raise ValueError(
            f"the classifier is a {type(layer).__name__}; training needs an nn.Linear at the end"
        )
    found = _Found(unwrapped(model), layer)
    with torch.no_grad(), evaluating(found):
        features = found.features(inputs)
        if features.ndim != 2:
            raise ValueError(
                f"the classifier sees {tuple(features.shape)}; training needs (samples, features)"
            )
        logits, output = layer(features), found(inputs)
    if output.shape != logits.shape or not torch.allclose(output, logits, rtol=1e-4, atol=1e-6):
        raise ValueError(
            "the network's output is not that of its last linear layer; training needs logits, so "
            "leave out what follows it, such as a softmax"
        )
    return found


class MLP(Classifier):
    """Fully connected layers with ReLU, each after batch norm unless told otherwise.

    Args:
        input_shape: shape of one sample; images are flattened.
        widths: width of each hidden layer; the last one is the feature dimension d.
        num_classes: K.
        batch_norm: whether a batch norm comes before each ReLU.
        seed: of the initial weights.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        widths: Sequence[int],
        num_classes: int,
        *,
        batch_norm: bool = True,
        seed: int = 0,
    ) -> None:
        if not widths:
            raise ValueError("widths is empty; an MLP needs at least one hidden layer")
        sizes = [torch.Size(input_shape).numel(), *widths]
        layers: list[nn.Module] = [nn.Flatten()]
        with seeded(seed):
            for fan_in, fan_out in pairwise(sizes):
                layers.append(nn.Linear(fan_in, fan_out))
                if batch_norm:
                    layers.append(nn.BatchNorm1d(fan_out))
                layers.append(nn.ReLU())
            super().__init__(nn.Sequential(*layers), nn.Linear(sizes[-1], num_classes))


class CNN(Classifier):
    """A small convolutional network: 3x3 convolutions, batch norm, ReLU, average over the image.

    The image is halved before every convolution but the first, as long as both sides are at
    least 4 pixels.

    Args:
        input_shape: `(channels, height, width)` of one image.
        widths: channels after each convolution; the last one is the feature dimension d.
        num_classes: K.
        seed: of the initial weights.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        widths: Sequence[int],
        num_classes: int,
        *,
        seed: int = 0,
    ) -> None:
        if len(input_shape) != 3:
            raise ValueError(
                f"input_shape is {tuple(input_shape)}; a CNN needs (channels, height, width)"
            )
        channels, height, width = input_shape
        layers: list[nn.Module] = []
        with seeded(seed):
            for index, fan_out in enumerate(widths):
                if index and min(height, width) >= 4:
                    layers.append(nn.MaxPool2d(2))
                    height, width = height // 2, width // 2
                layers += [
                    nn.Conv2d(channels, fan_out, 3, padding=1, bias=False),
                    nn.BatchNorm2d(fan_out),
                    nn.ReLU(),
                ]
                channels = fan_out
            layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
            super().__init__(nn.Sequential(*layers), nn.Linear(channels, num_classes))


class CausalTransformer(nn.Module):
    """A small Transformer as practice builds it: pre-LN, causal, learned embedding and positions.

    Its blocks are PyTorch's `TransformerEncoderLayer(norm_first=True)`: heads with queries, keys,
    values and outputs of their own, a GELU MLP four times as wide, biases, LayerNorms with
    trainable scale. What comes out is a feature after one more LayerNorm: without trainable scale
    and of length 1, so that the limiting optimum of chapter 8 is a bound, or as usual.

    Args:
        tokens: the longest input.
        num_classes: K.
        depth: blocks.
        seed: of the initial weights.
        vocabulary: of inputs that are whole numbers `(N, tokens)`; None for vectors.
        width: of inputs `(N, tokens, width)`; None for whole numbers.
        trainable_scale: whether the last LayerNorm has a scale and a shift, as is usual.
        tied: whether the classifier's rows are the embedding's, one and the same parameter.
        dim: of the stream.
        heads: of attention.

    Raises:
        ValueError: if not exactly one of `vocabulary` and `width` is given, or `tied` without a
            vocabulary as large as K.
    """

    def __init__(
        self,
        *,
        tokens: int,
        num_classes: int,
        depth: int,
        seed: int,
        vocabulary: int | None = None,
        width: int | None = None,
        trainable_scale: bool = False,
        tied: bool = False,
        dim: int = 32,
        heads: int = 4,
    ) -> None:
        super().__init__()
        if (vocabulary is None) == (width is None):
            raise ValueError(
                f"vocabulary is {vocabulary} and width {width}; expected one of them: a vocabulary "
                "for whole numbers, a width for vectors"
            )
        if tied and vocabulary != num_classes:
            raise ValueError(
                f"tied with a vocabulary of {vocabulary} and {num_classes} classes; a row serves "
                "as both only if the classes are the vocabulary"
            )
        with seeded(seed):
            self.embedding: nn.Module = (
                nn.Linear(width, dim, bias=False)
                if width is not None
                else nn.Embedding(vocabulary or 0, dim)
            )
            self.positions = nn.Parameter(0.1 * torch.randn(tokens, dim))
            self.blocks = nn.ModuleList(
                nn.TransformerEncoderLayer(
                    dim, heads, 4 * dim, 0.0, "gelu", batch_first=True, norm_first=True
                )
                for _ in range(depth)
            )
            self.classifier = nn.Linear(dim, num_classes, bias=False)
        if isinstance(self.embedding, nn.Embedding) and tied:
            self.classifier.weight = self.embedding.weight
        self.last = nn.LayerNorm(dim) if trainable_scale else None
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(tokens))

    def states(self, inputs: Tensor) -> Float[Tensor, "samples tokens dim"]:
        """Each token after the last LayerNorm: it has seen itself and those before it."""
        state = self.embedding(inputs) + self.positions
        for block in self.blocks:
            state = block(state, src_mask=self.mask, is_causal=True)
        return normalise(state) if self.last is None else self.last(state)

    def features(self, inputs: Tensor) -> Float[Tensor, "samples dim"]:
        """The last token after the last LayerNorm."""
        return self.states(inputs)[:, -1]

    def forward(self, inputs: Tensor) -> Float[Tensor, "samples tokens classes"]:
        """Logits of what follows each token."""
        return self.classifier(self.states(inputs))


def resnet18(input_shape: Sequence[int], num_classes: int, *, seed: int = 0) -> Classifier:
    """ResNet-18 from torchvision for small images: 512 features, random initial weights.

    The first convolution is 3x3 with stride 1 and there is no pooling after it, as is usual for
    32x32 pixels: the original ones would leave a single pixel of such an image.

    Args:
        input_shape: `(channels, height, width)` of one image.
        num_classes: K.
        seed: of the initial weights.

    Raises:
        ValueError: if `input_shape` is not that of an image.

    Source: He, Zhang, Ren, Sun 2016 (arXiv 1512.03385).
    """
    try:
        from torchvision import models
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'resnet18 needs: pip install "ncourse[vision]"', name=error.name
        ) from error
    if len(input_shape) != 3:
        raise ValueError(
            f"input_shape is {tuple(input_shape)}; a ResNet needs (channels, height, width)"
        )
    with seeded(seed):
        body = models.resnet18(weights=None)
        body.conv1 = nn.Conv2d(input_shape[0], 64, 3, padding=1, bias=False)
        body.maxpool = nn.Identity()
        body.fc = nn.Identity()
        return Classifier(body, nn.Linear(512, num_classes))


@torch.no_grad()
def hidden_layers(
    model: Classifier, inputs: Float[Tensor, "samples ..."]
) -> dict[str, Float[Tensor, "samples dim"]]:
    """The input and what comes out of each ReLU of `model.body`, flattened; evaluation mode.

    Args:
        model: its body is an `nn.Sequential`, as an `MLP`'s.
        inputs: `(N, ...)`.

    Returns:
        "input", "layer 1", "layer 2", ...: the last one is the features.

    Raises:
        ValueError: if the body is of another kind.
    """
    if not isinstance(model.body, nn.Sequential):
        raise ValueError(f"body is {type(model.body).__name__}; expected an nn.Sequential")
    was_training = model.training
    model.eval()
    layers = {"input": inputs.flatten(1)}
    for module in model.body:
        inputs = module(inputs)
        if isinstance(module, nn.ReLU):
            layers[f"layer {len(layers)}"] = inputs.flatten(1)
    model.train(was_training)
    return layers


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's default generator inside the block and put it back afterwards.

    PyTorch's layers draw their initial weights from the global generator; this keeps a network
    reproducible without touching the caller's random numbers.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def normalise(vectors: Float[Tensor, "... dim"]) -> Float[Tensor, "... dim"]:
    """LayerNorm without trainable parameters: mean zero and length 1, not sqrt(d), per row."""
    dim = vectors.shape[-1]
    return layer_norm(vectors, (dim,), eps=1e-12) / math.sqrt(dim)
