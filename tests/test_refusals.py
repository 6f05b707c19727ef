"""The sentences in which `ncourse.metrics` refuses something, each in full, in refusals.txt."""

import doctest
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


def _updated(num_classes: int, *batches: Tensor, keep: bool = False) -> CollapseMetric:
    metric = CollapseMetric(num_classes, keep_features=keep)
    for features in batches:
        metric.update(features, LABELS)
    return metric


NAMES = {**vars(metrics), "find_classifier": find_classifier, "math": math, "np": np}
TEXT = Path(__file__).with_name("refusals.txt")
REFUSALS = doctest.DocTestParser().get_examples(TEXT.read_text(encoding="utf-8"))


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*deprecated")
@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.source.strip())
def test_what_is_refused_is_told_in_these_words(refusal):
    one = doctest.DocTest(
        [refusal], {**globals(), **NAMES}, TEXT.name, str(TEXT), refusal.lineno, None
    )
    said: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(one, out=said.append)
    assert said == []
    assert refusal.exc_msg is not None
