"""Wu 2024: what the paper asks and finds, in one line.

Its title, where it appeared, and a paragraph on what it says under which conditions, and what of it
is run here. Until that is written, this module measures how much of the variation of a data set its
labels explain; labels at random are the control.
"""

from collections.abc import Mapping

from jaxtyping import Float, Int
from torch import Tensor

from ncourse.claims import Claim
from ncourse.comparisons import at_least, below
from ncourse.data import Dataset, digits
from ncourse.papers import Asked, declared
from ncourse.tables import Table

__all__ = ["claims", "experiment", "explained"]

SOURCE = "Wu 2024, to be written: what it says, and what is this course's"


@declared(
    scales={"laptop": "less than a second"},
    data=lambda scale, seed: digits(),
    needs={"classes": 2, "training samples": 1},
    resumable=False,  # True once every network is trained by `ncourse.training.fit`
)
def experiment(dataset: Dataset, asked: Asked) -> dict[str, Table]:
    """How much labels explain, and labels at random: one seed.

    Returns:
        An `Outcome` with the table "explained".
    """
    control = dataset.with_random_labels(seed=asked.seed)
    runs = {"labels": dataset, "labels at random": control}
    rows = [{"run": name, "share": explained(run.inputs, run.labels)} for name, run in runs.items()]
    return {"explained": Table.of(rows)}


def explained(inputs: Float[Tensor, "samples ..."], labels: Int[Tensor, " samples"]) -> float:
    """The share of the variation of samples that is between classes, from 0 to 1.

    Args:
        inputs: `(N, ...)`.
        labels: `(N,)`, 0 to K-1.
    """
    classes = [inputs[labels == k] for k in labels.unique()]
    within = sum((each - each.mean(0)).square().sum().item() for each in classes)
    return 1 - within / (inputs - inputs.mean(0)).square().sum().item()


def claims(tables: Mapping[str, Table]) -> tuple[Claim, ...]:
    """What the tables of `experiment` assert; a pure function, so that false runs can be tried."""
    share, control = tables["explained"]["share"]
    return (
        Claim.of(
            "Labels explain {0:%} or more of the variation of the inputs, labels at random less "
            "than {1:%}",
            {"share": at_least(0.2, share)},
            SOURCE,
            {"share, labels at random": below(0.05, control)},
        ),
    )
