"""Ammar et al. 2024: is a sample of a class that the network has never seen?

"NECO: neural collapse based out-of-distribution detection", ICLR 2024 (arXiv 2310.06823). If
features of known classes have collapsed into the K - 1 directions of their means, a sample of
another kind should have a larger part outside them. NECO scores a sample by the share of its length
that lies in the first principal directions of standardised features, times the largest logit for
some networks. What is measured here is plainer: the share in the directions of the centred class
means. Beside it three other scores: the largest softmax probability, the distance to the nearest
class mean, and that distance in units of the spread within classes (Lee et al. 2018, arXiv
1807.03888), with a ridge because collapsed features have hardly any spread.

Seven digits are learned and three held out. All thresholds are this course's, for digits.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from sklearn.metrics import roc_auc_score
from torch import Tensor
from tqdm.auto import tqdm

from ncourse.claims import Claim
from ncourse.comparisons import at_least, at_most
from ncourse.data import Dataset, digits
from ncourse.models import MLP
from ncourse.papers import Asked, declared
from ncourse.tables import Table
from ncourse.training import Features, extract, fit

__all__ = ["SCORES", "auroc", "claims", "detect", "experiment", "scores"]

WEIGHT_DECAYS = {"weight decay 5e-3": 5e-3, "no weight decay": 0.0}
EPOCHS = (5, 20, 100, 300)
HELD_OUT = 3
SCORES = ("softmax", "distance", "projection", "mahalanobis")

COURSE_PROJECTION = (
    "This course: score and numbers. The score is a plainer relative of NECO (Ammar et al. 2024), "
    "without its PCA and its factor of the largest logit"
)
LEE = "Lee et al. 2018, the score; numbers: this course"


@declared(
    scales={"laptop": "about five seconds for digits"},
    data=lambda scale, seed: digits(),
    needs={"classes": HELD_OUT + 2, "training samples": 1, "test samples": 1},
    resumable=True,
)
def experiment(dataset: Dataset, asked: Asked) -> dict[str, Table]:
    """Learn all classes but three and score the others: one seed.

    Returns:
        An `Outcome` with the table "detection".
    """
    return {"detection": detect(dataset, seed=asked.seed)}


def scores(
    known: Features,
    features: Float[Tensor, "samples dim"],
    logits: Float[Tensor, "samples classes"],
) -> dict[str, Float[Tensor, " samples"]]:
    """How much each sample looks like one of the known classes: larger is more known.

    Args:
        known: the training pass; class means, spread and subspace come from it.
        features: `(M, d)` of the samples to score.
        logits: `(M, K)` of the same.

    Returns:
        "softmax": the largest probability. "distance": minus the distance to the nearest class
        mean within the K - 1 directions of the centred means. "projection": the share of the
        length of h - mu_G that lies in them, in [0, 1]. "mahalanobis": minus the least squared
        distance to a mean, in units of the pooled spread with a ridge of a hundredth of its mean.
    """
    trained, features = known.features.double(), features.double()
    count = logits.shape[1]
    means = torch.stack([trained[known.labels == k].mean(0) for k in range(count)])
    centre = means.mean(0)
    basis = torch.linalg.svd(means - centre, full_matrices=False).Vh[: count - 1]
    shifted = features - centre
    inside = shifted @ basis.T
    within = trained - means[known.labels]
    spread = within.T @ within / len(within)
    ridge = 0.01 * spread.diagonal().mean() * torch.eye(len(spread), dtype=spread.dtype)
    root = torch.linalg.cholesky(spread + ridge)
    white = torch.linalg.solve_triangular(root, features.T, upper=False).T
    white_means = torch.linalg.solve_triangular(root, means.T, upper=False).T
    return {
        "softmax": logits.double().softmax(1).amax(1),
        "distance": -torch.cdist(inside, (means - centre) @ basis.T).amin(1),
        "projection": inside.norm(dim=1) / shifted.norm(dim=1),
        "mahalanobis": -torch.cdist(white, white_means).square().amin(1),
    }


def auroc(known: Float[Tensor, " known"], unknown: Float[Tensor, " unknown"]) -> float:
    """The chance that a known sample scores above an unknown one; 1/2 is guessing.

    >>> auroc(torch.tensor([2.0, 3.0]), torch.tensor([1.0, 2.5]))
    0.75
    """
    truth = [1] * len(known) + [0] * len(unknown)
    return float(roc_auc_score(truth, torch.cat([known, unknown]).numpy()))


def detect(dataset: Dataset, *, seed: int, epochs: int = EPOCHS[-1]) -> Table:
    """AUROC of the four scores while a network trains without three of the classes.

    Args:
        dataset: which classes are held out is drawn with the seed.
        seed: of everything random.
        epochs: of training; measured at those of `EPOCHS`, scaled.

    Returns:
        Columns run, epoch, nc1 (of the known training samples), and one for each of `SCORES`:
        known test samples against test samples of the held-out classes.
    """
    order = torch.randperm(
        dataset.num_classes, generator=torch.Generator().manual_seed(seed)
    ).tolist()
    learned, other = dataset.only(order[HELD_OUT:]), dataset.only(order[:HELD_OUT])
    rows = []
    asked = {max(1, epoch * epochs // EPOCHS[-1]) for epoch in EPOCHS}
    for run, weight_decay in tqdm(WEIGHT_DECAYS.items(), leave=False):
        model = MLP(learned.input_shape, (256, 256, 256), learned.num_classes, seed=seed)
        found: dict[int, dict[str, float]] = {}

        def observe(epoch: int, train, test, model=model, found=found) -> None:
            if epoch not in asked:
                return
            unseen = extract(model, other.test_inputs, other.test_labels)
            known = scores(train, test.features, test.logits)
            unknown = scores(train, unseen.features, unseen.logits)
            found[epoch] = {name: auroc(known[name], unknown[name]) for name in SCORES}

        _, history = fit(
            model=model,
            dataset=learned,
            epochs=epochs,
            weight_decay=weight_decay,
            seed=seed,
            measure_at=sorted(asked),
            observe=observe,
            progress=False,
        )
        rows += [
            {"run": run, "epoch": epoch, "nc1": history.at(epoch)["nc1"], **row}
            for epoch, row in found.items()
        ]
    return Table.of(rows)


def claims(tables: Mapping[str, Table]) -> tuple[Claim, ...]:
    """What the tables of `experiment` assert; a pure function, so that false runs can be tried."""
    table = tables["detection"]
    first, last = min(table["epoch"]), max(table["epoch"])

    def lead(run: str, epoch: int, score: str) -> float:
        (row,) = table.where(run=run, epoch=epoch).rows()
        return float(row["mahalanobis"] - row[score])

    closed, without = (
        lead(run, first, "softmax") - lead(run, last, "softmax") for run in WEIGHT_DECAYS
    )
    deficit, loose = (lead(run, last, "projection") for run in WEIGHT_DECAYS)
    return (
        Claim.of(
            "While the known classes collapse, the largest softmax probability closes in on the "
            "Mahalanobis score, by {0} of AUROC or more and at least {1} times as far as without "
            "weight decay",
            {"closes in by": at_least(0.005, closed)},
            LEE,
            {"without weight decay": without},
            also={"beside without": at_least(1.2, closed, of=without)},
        ),
        Claim.of(
            "In a collapsed network the projection on the directions of the means comes closer to "
            "the Mahalanobis score: its deficit is at most {0} of that without weight decay",
            {"deficit": deficit},
            COURSE_PROJECTION,
            {"deficit without weight decay": loose},
            also={"beside without": at_most(0.7, deficit, of=loose)},
        ),
    )
