"""Training past zero error, with collapse measured on the way."""

from ncourse.training.fit import MEASURED as MEASURED
from ncourse.training.fit import (
    Features,
    History,
    Place,
    checkpoints_in,
    extract,
    fit,
    log_schedule,
    place,
)

__all__ = [
    "MEASURED",
    "Features",
    "History",
    "Place",
    "checkpoints_in",
    "extract",
    "fit",
    "log_schedule",
    "place",
]
