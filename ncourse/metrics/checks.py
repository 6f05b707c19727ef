"""What a user may get wrong about features, labels and classifier, each with what to do."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ncourse.metrics.inputs import ArrayLike, _dtype, _shape, as_labels, as_numbers
from ncourse.metrics.report import CONVENTIONS


def _as_classifier(
    weight: ArrayLike | None, bias: ArrayLike | None
) -> tuple[Tensor | None, Tensor | None]:
    """Weight and bias as tensors; a (K, d, 1, 1) convolution is a (K, d) weight."""
    weight = None if weight is None else as_numbers(weight, "weight")
    bias = None if bias is None else as_numbers(bias, "bias")
    if weight is not None and weight.ndim > 2 and weight.shape[2:].numel() == 1:
        weight = weight.flatten(1)
    if bias is not None and bias.ndim == 2 and 1 in bias.shape:
        bias = bias.flatten()
    return weight, bias


def check_classifier(
    weight: Tensor | None, bias: Tensor | None, num_classes: int, convention: str
) -> int:
    """The number of classes, once classifier and convention make sense."""
    if convention not in CONVENTIONS:
        raise ValueError(f"convention is {convention!r}; expected one of {', '.join(CONVENTIONS)}")
    if weight is None:
        if bias is not None:
            raise ValueError("bias is given without a weight; pass both or neither")
    else:
        if weight.ndim != 2:
            raise ValueError(f"weight is {_shape(weight)}; expected (classes, features)")
        if num_classes != len(weight):
            raise ValueError(
                f"weight is {_shape(weight)} but num_classes is {num_classes}; expected "
                f"{num_classes} rows, one a class — pass weight[:{num_classes}]?"
            )
        if bias is not None and bias.shape != (num_classes,):
            raise ValueError(f"bias is {_shape(bias)}; expected ({num_classes},), one a class")
        for name, tensor in (("weight", weight), ("bias", bias)):
            if tensor is not None and not torch.isfinite(tensor).all():
                raise ValueError(f"{name} contains NaN or infinity; has the training diverged?")
    if num_classes < 2:
        raise ValueError(
            f"{num_classes} class: collapse compares classes, so at least 2 are needed"
            + (
                " — a binary head with one logit? Pass torch.cat([-weight, weight]) / 2, and the "
                "bias likewise"
                if weight is not None
                else ""
            )
        )
    return num_classes


def _check_samples(
    features: Tensor, labels: Tensor, num_classes: int, weight: Tensor | None
) -> None:
    """Shapes, types and range of one batch of samples."""
    if not features.is_floating_point():
        raise TypeError(
            f"features is {_dtype(features)}; expected floating point — features.float()?"
        )
    if features.ndim != 2:
        raise ValueError(
            f"features is {_shape(features)}; expected (samples, features) — features.flatten(1)?"
        )
    if labels.ndim != 1:
        raise ValueError(
            f"labels is {_shape(labels)}; expected (samples,) class indices — one-hot rows? "
            "Pass labels.argmax(1)"
        )
    if len(features) != len(labels):
        swapped = " — transposed?" if features.shape[1] == len(labels) else ""
        raise ValueError(
            f"features is {_shape(features)}; expected (samples, features) with "
            f"{len(labels)} samples, one a label{swapped}"
        )
    if weight is not None and weight.shape[1] != features.shape[1]:
        swapped = " — transposed?" if weight.shape[0] == features.shape[1] else ""
        raise ValueError(
            f"weight is {_shape(weight)}; expected (classes, {features.shape[1]}) for features "
            f"{_shape(features)}{swapped}"
        )
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        wrong = labels[(labels < 0) | (labels >= num_classes)][0]
        ignored = f" — not to be measured? Pass ignore_index={int(wrong)}" if wrong < 0 else ""
        raise ValueError(
            f"labels contains {int(wrong)}; expected 0 to {num_classes - 1} for "
            f"{num_classes} classes{ignored}"
        )


def as_indices(labels: ArrayLike) -> Tensor:
    """Labels as int64, where there is nowhere to keep names."""
    found = as_labels(labels)
    if found.names is not None:
        raise TypeError("labels are names; expected integers: batches cannot agree on their order")
    return found.indices


def _without(ignore_index: int | None, labels: Tensor, *others: Tensor | None) -> tuple[Any, ...]:
    """Labels, and what goes with them row by row, without the ignored ones."""
    if ignore_index is None or labels.ndim != 1:
        return labels, *others
    kept = labels != ignore_index
    if bool(kept.all()):
        return labels, *others
    for other in others:
        if other is not None and len(other) != len(labels):
            return labels, *others  # the check of shapes will say so
    return labels[kept], *(None if o is None else o[kept.to(o.device)] for o in others)


def _check_chosen(classes: Sequence[int] | None, min_samples: int | None, num_classes: int) -> None:
    """Raise for classes that are not there or named twice, and for too low a number."""
    if classes is not None and not (
        len(set(classes)) == len(classes) and set(classes) <= set(range(num_classes))
    ):
        raise ValueError(
            f"classes is {list(classes)}; expected different numbers from 0 to {num_classes - 1}"
        )
    if min_samples is not None and min_samples < 1:
        raise ValueError(f"min_samples is {min_samples}; a class needs at least 1 sample")


def _chosen(counts: Tensor, classes: Sequence[int] | None, min_samples: int | None) -> Tensor:
    """The classes that are measured, by number, given how many samples each has.

    Raises:
        ValueError: if one of them has no sample, and none may be left out; fewer than two remain.
    """
    named = torch.arange(len(counts)) if classes is None else torch.tensor(list(classes)).long()
    named = named.to(counts.device)
    enough = counts[named] >= (min_samples or 1)
    empty = named[~enough].tolist()
    if empty and min_samples is None:
        listed = ", ".join(map(str, empty[:10])) + (", …" if len(empty) > 10 else "")
        raise ValueError(
            f"no sample of class {listed} (of {len(counts)}); a class without samples has no mean "
            "— leave such classes out with min_samples=1, or name those to measure with classes="
        )
    kept = named[enough]
    if len(kept) < 2:
        raise ValueError(
            f"{len(kept)} of {len(named)} classes to measure, each with at least "
            f"{min_samples or 1} samples; collapse compares classes, so at least 2 are needed"
        )
    return kept


def _raise_not_finite(features: Tensor) -> None:
    bad = (~torch.isfinite(features)).any(1).nonzero().flatten()
    if len(bad) == 0:
        raise ValueError("features are too large for float32; pass features.double()")
    raise ValueError(
        f"features contains NaN or infinity in {len(bad)} of {len(features)} samples, first in "
        f"sample {int(bad[0])}; has the training diverged?"
    )
