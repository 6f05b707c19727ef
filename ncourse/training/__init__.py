"""Training past zero error, with collapse measured on the way."""

from ncourse.training import measuring
from ncourse.training.checkpoints import checkpoints_in
from ncourse.training.fit import fit
from ncourse.training.history import History
from ncourse.training.measuring import Features, extract, log_schedule
from ncourse.training.processes import Hardware, Place, device, hardware, place

__all__ = [
    "MEASURED",
    "Features",
    "Hardware",
    "History",
    "Place",
    "checkpoints_in",
    "device",
    "extract",
    "fit",
    "hardware",
    "log_schedule",
    "place",
]

MEASURED = measuring.MEASURED
"""The fields of `CollapseReport` that a history keeps, with "test_" in front for the test split."""
