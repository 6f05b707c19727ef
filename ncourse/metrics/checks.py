"""What a user may get wrong about features, labels and classifier, each with what to do."""

import torch
from torch import Tensor

from ncourse.metrics.report import CONVENTIONS


def _check_classifier(
    weight: Tensor | None, bias: Tensor | None, num_classes: int | None, convention: str
) -> int:
    """The number of classes, once classifier and convention make sense."""
    if convention not in CONVENTIONS:
        raise ValueError(f"convention is {convention!r}; expected one of {', '.join(CONVENTIONS)}")
    if weight is None:
        if num_classes is None:
            raise ValueError("weight is None, so say how many classes there are: num_classes=…")
        if bias is not None:
            raise ValueError("bias is given without a weight; pass both or neither")
    else:
        if weight.ndim != 2:
            raise ValueError(f"weight is {_shape(weight)}; expected (classes, features)")
        if num_classes is not None and num_classes != len(weight):
            raise ValueError(
                f"weight is {_shape(weight)} but num_classes is {num_classes}; expected "
                f"{num_classes} rows, one a class — pass weight[:{num_classes}]?"
            )
        num_classes = len(weight)
        if bias is not None and bias.shape != (num_classes,):
            raise ValueError(f"bias is {_shape(bias)}; expected ({num_classes},), one a class")
        for name, tensor in (("weight", weight), ("bias", bias)):
            if tensor is not None and not torch.isfinite(tensor).all():
                raise ValueError(f"{name} contains NaN or infinity; has the training diverged?")
    if num_classes < 2:
        raise ValueError(
            f"{num_classes} class: collapse compares classes, so at least 2 are needed"
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
    _check_labels(labels)
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
        raise ValueError(
            f"labels contains {int(wrong)}; expected 0 to {num_classes - 1} for "
            f"{num_classes} classes"
        )


def _check_labels(labels: Tensor) -> None:
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(
            f"labels is {_dtype(labels)}; expected integer class indices — labels.long()?"
        )


def _check_counts(labels: Tensor, num_classes: int) -> Tensor:
    """Samples per class, each at least one."""
    if len(labels) < num_classes:
        raise ValueError(
            f"{len(labels)} samples for {num_classes} classes; expected at least one a class"
        )
    counts = labels.bincount(minlength=num_classes)
    _check_no_empty_class(counts)
    return counts


def _check_no_empty_class(counts: Tensor) -> None:
    empty = (counts == 0).nonzero().flatten().tolist()
    if empty:
        listed = ", ".join(map(str, empty[:10])) + (", …" if len(empty) > 10 else "")
        raise ValueError(
            f"no sample of class {listed} (of {len(counts)}); a class without samples has no mean "
            "— measure fewer classes, with labels renumbered and weight[:K]"
        )


def _raise_not_finite(features: Tensor) -> None:
    bad = (~torch.isfinite(features)).any(1).nonzero().flatten()
    if len(bad) == 0:
        raise ValueError("features are too large for float32; pass features.double()")
    raise ValueError(
        f"features contains NaN or infinity in {len(bad)} of {len(features)} samples, first in "
        f"sample {int(bad[0])}; has the training diverged?"
    )


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
