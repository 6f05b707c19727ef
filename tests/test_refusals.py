"""The sentences in which `ncourse.metrics` refuses something, each in full, in refusals.txt."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ncourse import metrics
from ncourse.metrics import CollapseMetric
from ncourse.metrics.capture import find_classifier

FEATURES = torch.tensor([[-1.0, 4.0], [1.0, 4.0], [0.0, 1.0], [4.0, 3.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 0, 0, 1])
WEIGHT = torch.tensor([[-1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
BIAS = torch.tensor([0.0, -7.5], dtype=torch.float64)
TWO = nn.Sequential(nn.Linear(2, 2), nn.ReLU())


class FullyShardedDataParallel(nn.Module):
    """Known by its name."""


class _Layer(nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight


class _Mean(nn.Module):
    def __init__(self, made_of=lambda z: z) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(2, 3), nn.Linear(2, 3)
        self.made_of = made_of

    def forward(self, x: Tensor) -> Tensor:
        return self.made_of((self.left(x) + self.right(x)) / 2)


OURS = {**vars(metrics), "find_classifier": find_classifier, "math": math, "np": np}


def _updated(num_classes: int, *batches: Tensor) -> CollapseMetric:
    metric = CollapseMetric(num_classes)
    for features in batches:
        metric.update(features, LABELS)
    return metric


def _refusals() -> list[tuple[str, str]]:
    lines = Path(__file__).with_name("refusals.txt").read_text(encoding="utf-8").splitlines()
    return [(call, told.strip()) for call, told in zip(lines[::2], lines[1::2], strict=True)]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*deprecated")
@pytest.mark.parametrize(("call", "told"), _refusals())
def test_what_is_refused_is_told_in_these_words(call, told):
    with pytest.raises((TypeError, ValueError)) as raised:
        eval(call, globals(), OURS)
    said = f"{raised.type.__name__}: {raised.value}"
    words, dots, _ = told.partition("…)")  # what NumPy says about it
    assert said.startswith(words) if dots else said == told
