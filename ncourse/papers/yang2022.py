"""Yang et al. 2022: a classifier that is a simplex from the start, and classes of unequal size.

"Inducing neural collapse in imbalanced learning: do we really need a learnable classifier at the
end of deep neural network?", NeurIPS 2022 (arXiv 2203.09081), known here from its abstract: with
the classifier fixed to a simplex, features collapse onto it whatever the class sizes, and
cross-entropy may be replaced by a squared loss, *dot regression*. Zhu et
al. 2021 (arXiv 2105.02375; abstract) add that the features may then have as few dimensions as there
are classes. Thrampoulidis et al. 2022 (arXiv 2208.05512; abstract) say where a classifier goes that
is *learned* on unequal classes, as the penalty vanishes: its logits interpolate the centred labels,
and the singular value decomposition of those gives classifier and means ("SELI").

The experiment trains digits of equal and of unequal class sizes with each head, and solves the
model of free features for the other question. Thresholds are this course's, for digits.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from ncourse.claims import Claim
from ncourse.comparisons import at_least, at_most, below
from ncourse.data import Dataset, digits
from ncourse.metrics import nearest_class_mean
from ncourse.models import MLP
from ncourse.papers import Asked, declared
from ncourse.progress import progress_bar
from ncourse.simplex import gram_matrix, simplex_etf
from ncourse.tables import Table
from ncourse.training import extract, fit
from ncourse.ufm import UFM, random_point, solve

__all__ = ["HEADS", "claims", "experiment", "heads", "seli", "seli_grams", "train"]

HEADS = ("learned", "simplex", "simplex, dot regression", "simplex, K features")
RATIOS = (1, 10, 30)
EPOCHS, WEIGHT_DECAY = 120, 5e-3
COUNTS = {"equal": (16,) * 6, "unequal": (30,) * 3 + (3,) * 3}
PENALTIES = (1e-2, 1e-4, 1e-6)

YANG = "Yang et al. 2022 (abstract), the fixed simplex; the numbers: this course"
SELI = "Thrampoulidis et al. 2022 (abstract); thresholds: this course"


@declared(
    scales={"laptop": "about a minute on one core for digits"},
    data=lambda scale, seed: digits(),
    needs={"classes": 4, "training samples": 1, "test samples": 1},
    resumable=True,
)
def experiment(dataset: Dataset, asked: Asked) -> dict[str, Table]:
    """Fixed and learned heads on equal and unequal classes, and the model of free features: a seed.

    Returns:
        An `Outcome` with the tables "heads" and "seli".
    """
    return {"heads": heads(dataset, seed=asked.seed), "seli": seli(seed=asked.seed)}


class _UnitFeatures(MLP):
    def features(self, inputs: Tensor) -> Tensor:
        return normalize(self.body(inputs), dim=1)


def _dot_regression(cosines: Tensor, labels: Tensor) -> Tensor:
    """`continual.dot_regression` of unit features, from their cosines with all vertices."""
    return 0.5 * (cosines.gather(1, labels[:, None]) - 1).square().mean()


def train(
    dataset: Dataset, ratio: int, head: str, *, seed: int, epochs: int = EPOCHS
) -> dict[str, str | float]:
    """Train one network with one of `HEADS`.

    Three hidden layers of 256 with batch norm and ReLU, weight decay 5e-3 on what is trained. The
    simplex is drawn with the seed, has rows of length 1 and no bias. "simplex, dot regression"
    scales features to length 1. "simplex, K features" has K units in the last hidden layer.

    Args:
        dataset: balanced or nearly so, at least 4 classes; the second half is cut to 1/ratio.
        ratio: samples of a majority class over those of a minority class.
        head: one of `HEADS`.
        seed: of weights, simplex, sample order and the choice of samples.
        epochs: of training.

    Returns:
        ratio, head; accuracy, minority, majority and worst: on test samples, of all, of the classes
        of either half, and of the worst class; by_means: accuracy of the nearest class mean;
        train_error; nc1; trained: the number of parameters that are trained.
    """
    uneven, count = dataset.imbalanced(ratio, seed=seed), dataset.num_classes
    widths = (256, 256, count if head == HEADS[3] else 256)
    regression = head == HEADS[2]
    model = (_UnitFeatures if regression else MLP)(dataset.input_shape, widths, count, seed=seed)
    if head != HEADS[0]:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            model.classifier.weight.copy_(simplex_etf(count, widths[-1], generator=generator))
            model.classifier.bias.zero_()
        model.classifier.requires_grad_(False)

    def optimizer(parameters):
        trained = [p for p in parameters if p.requires_grad]
        return torch.optim.SGD(trained, lr=0.05, momentum=0.9, weight_decay=WEIGHT_DECAY)

    _, history = fit(
        model=model,
        dataset=uneven,
        epochs=epochs,
        optimizer=optimizer,
        seed=seed,
        measure_at=[epochs],
        watch_error=False,
        progress=False,
        loss=_dot_regression if regression else cross_entropy,
    )
    on_train = extract(model, uneven.inputs, uneven.labels)
    passed = extract(model, dataset.test_inputs, dataset.test_labels)
    classes = range(count)
    means = torch.stack([on_train.features[uneven.labels == k].mean(0) for k in classes])
    right = (passed.logits.argmax(1) == passed.labels).double()
    by_means = nearest_class_mean(passed.features, means) == passed.labels
    return {
        "ratio": ratio,
        "head": head,
        "accuracy": right.mean().item(),
        "minority": right[passed.labels >= count // 2].mean().item(),
        "majority": right[passed.labels < count // 2].mean().item(),
        "worst": min(right[passed.labels == k].mean().item() for k in classes),
        "by_means": by_means.double().mean().item(),
        "train_error": history.at(epochs)["train_error"],
        "nc1": history.at(epochs)["nc1"],
        "trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }


def heads(dataset: Dataset, *, seed: int, epochs: int = EPOCHS) -> Table:
    """Each head at each of `RATIOS`; the one with K features on equal classes only.

    Returns:
        The columns of `train`.
    """
    runs = [(ratio, head) for ratio in RATIOS for head in (HEADS if ratio == 1 else HEADS[:3])]
    return Table.of(
        train(dataset, ratio, head, seed=seed, epochs=epochs) for ratio, head in progress_bar(runs)
    )


def seli_grams(
    counts: Sequence[int],
) -> tuple[Float[Tensor, "classes classes"], Float[Tensor, "classes classes"]]:
    """Gram matrices of classifier and class means in the SELI geometry, up to a factor.

    With Z the centred one-hot labels, K x N, and Z = U S V' they are U S U', and the entries of
    V S V' at one sample of each class. Where all classes are equal both are multiples of those of
    a simplex.

    Args:
        counts: samples of each class.

    >>> weight, means = seli_grams([2, 2])
    >>> torch.round(weight / weight[0, 0]), torch.round(means / means[0, 0])
    (tensor([[ 1., -1.],
            [-1.,  1.]], dtype=torch.float64), tensor([[ 1., -1.],
            [-1.,  1.]], dtype=torch.float64))
    """
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    centred = torch.eye(len(counts), dtype=torch.float64)[:, labels] - 1 / len(counts)
    left, singular, right = torch.linalg.svd(centred, full_matrices=False)
    first = torch.tensor([0, *counts[:-1]]).cumsum(0)
    ends = right[:, first].T
    return (left * singular) @ left.T, (ends * singular) @ ends.T


def seli(*, seed: int) -> Table:
    """Free features on `COUNTS`, at each of `PENALTIES`: how far from SELI, how far from a simplex.

    Returns:
        Columns sizes, penalty, and weight_seli, weight_simplex, means_seli and means_simplex: the
        Frobenius distance between Gram matrices of norm 1.
    """
    rows = []
    for sizes, counts in COUNTS.items():
        grams, simplex = seli_grams(counts), torch.eye(len(counts)).double() - 1 / len(counts)
        labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        for penalty in PENALTIES:
            model = UFM(
                num_classes=len(counts),
                samples_per_class=counts,
                dim=len(counts) + 2,
                lambda_w=penalty,
                lambda_h=penalty,
            )
            point = solve(model, start=random_point(model, seed=seed)).point
            features = [point.features[labels == k].mean(0) for k in range(len(counts))]
            found = (point.weight - point.weight.mean(0), torch.stack(features))
            row: dict[str, str | float] = {"sizes": sizes, "penalty": penalty}
            for name, vectors, gram in zip(("weight", "means"), found, grams, strict=True):
                row[f"{name}_seli"] = _distance(gram_matrix(vectors), gram)
                row[f"{name}_simplex"] = _distance(gram_matrix(vectors), simplex)
            rows.append(row)
    return Table.of(rows)


def _distance(one: Tensor, other: Tensor) -> float:
    return float((one / one.norm() - other / other.norm()).norm())


def claims(tables: Mapping[str, Table]) -> tuple[Claim, ...]:
    """What the tables of `experiment` assert; a pure function, so that false runs can be tried."""
    runs, free = tables["heads"], tables["seli"]
    learned, simplex, regression, narrow = HEADS
    largest = max(RATIOS)

    def at(head: str, ratio: int, column: str = "accuracy") -> float:
        return float(runs.where(head=head, ratio=ratio).last[column])

    def shape(sizes: str, penalty: float) -> dict[str, Any]:
        return free.where(sizes=sizes, penalty=penalty).last

    vanishing, strong = shape("unequal", min(PENALTIES)), shape("unequal", max(PENALTIES))
    equal = [
        value
        for row in free.where(sizes="equal").rows()
        for name, value in row.items()
        if name.endswith(("_seli", "_simplex"))
    ]
    small = at(learned, largest, "minority")
    return (
        Claim.of(
            "The classifier need not be trained: with a simplex that stays as it is test accuracy "
            "on equal classes is within {0} of that with a learned one; with as few features as "
            "classes it loses {1} or more",
            {"off": at_most(0.01, abs(at(simplex, 1) - at(learned, 1)))},
            YANG,
            {"lost, K features": at_least(0.004, at(learned, 1) - at(narrow, 1))},
        ),
        Claim.of(
            f"It is no cure for unequal classes: at {largest} to 1 the small classes lose "
            "{0} or more of test accuracy with a learned classifier, and a fixed simplex gives "
            "back less than {1}; with dot regression, as trained here, they lose {2} or more on "
            "top",
            {
                "lost, learned": at_least(0.15, at(learned, 1, "minority") - small),
                "given back": below(0.12, at(simplex, largest, "minority") - small),
            },
            YANG,
            {"lost, dot regression": at_least(0.05, small - at(regression, largest, "minority"))},
        ),
        Claim.of(
            "Free features, sizes 10 to 1: as the penalty vanishes the classifier's Gram matrix "
            "is nearer to SELI's than to a simplex's ({0:words} of the distance or less) and so "
            "is that of the means ({3} or less); where classes are equal the two are the same, and "
            "at a penalty of 0.01 the means are nearer to the simplex, {2} of the distance or less",
            {
                "classifier": at_most(
                    1 / 4, vanishing["weight_seli"], of=vanishing["weight_simplex"]
                )
            },
            SELI,
            {
                "equal classes, largest distance": at_most(0.01, max(equal)),
                "means, penalty 0.01": at_most(
                    0.7, strong["means_simplex"], of=strong["means_seli"]
                ),
            },
            also={
                "means": at_most(0.4, vanishing["means_seli"], of=vanishing["means_simplex"]),
            },
            data="free features; no data set",
            fixed_data=True,
        ),
    )
