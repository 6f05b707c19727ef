"""Linear layers, under whatever name: the matrix that multiplies, and what is added."""

from torch import Tensor, nn

from ncourse.metrics.inputs import as_numbers

__all__ = ["is_convolution", "linear_parts", "weight_of"]


def is_convolution(module: nn.Module) -> bool:
    """Whether it is a convolution that looks at one place at a time: a linear layer for each."""
    return isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) and {
        *module.kernel_size,
        *module.stride,
        module.groups,
    } == {1}


def weight_of(module: nn.Module) -> Tensor | None:
    """The weight, `(K, d)`, of a layer that multiplies by one."""
    weight = getattr(module, "weight", None)
    weight = weight() if callable(weight) else weight  # torch's quantised layers
    if not isinstance(weight, Tensor) or isinstance(weight, nn.UninitializedParameter):
        return None
    if is_convolution(module):
        weight = weight.flatten(1)
    if weight.ndim != 2:
        return None
    # `Conv1D` of Hugging Face, in GPT-2, has the transpose.
    return weight.T if type(module).__name__ == "Conv1D" and hasattr(module, "nf") else weight


def linear_parts(classifier: nn.Module) -> tuple[Tensor, Tensor | None]:
    """Weight `(K, d)` and bias of a linear layer."""
    weight, bias = weight_of(classifier), getattr(classifier, "bias", None)
    if weight is None:
        raise ValueError(
            f"the classifier is a {type(classifier).__name__}; expected a layer with a "
            "(classes, features) weight, such as nn.Linear"
        )
    bias = bias() if callable(bias) else bias
    return as_numbers(weight, "weight"), bias if isinstance(bias, Tensor) else None
