"""Measuring neural collapse: NC1 to NC4 and their relatives, from tensors, a stream or a model."""

from ncourse.metrics import measure as _all
from ncourse.metrics.measure import *  # noqa: F403
from ncourse.metrics.measure import _gather as _gather

__all__ = _all.__all__
