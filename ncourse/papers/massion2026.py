"""Massion, Makhlouf, Massart 2026: the bias decides between a simplex and an orthogonal frame.

"The role of class encoding in neural collapse" (arXiv 2606.00344), known here by its abstract. In
the unconstrained features model with squared errors, one-hot labels and classes of equal size, the
uncentred class means pass from a simplex to an orthogonal frame as the bias is penalised more; for
any encoding of labels the bias centres them.

Here the model is solved for a range of penalties beside the closed form of `ncourse.ufm`. When the
passage begins, its closed form and all numbers are this course's.
"""

from collections.abc import Mapping
from dataclasses import replace

from ncourse.claims import Claim
from ncourse.comparisons import above, at_most, below, every, proved
from ncourse.data import Dataset, digits
from ncourse.papers import Asked, declared
from ncourse.simplex import cosine_matrix, off_diagonal
from ncourse.tables import Table
from ncourse.ufm import UFM, random_point, solve

__all__ = ["claims", "cosine", "experiment", "first_penalty", "passage"]

MODEL = UFM(
    num_classes=5, samples_per_class=4, dim=8, lambda_w=1e-3, lambda_h=1e-3, lambda_b=0.0,
    loss="mse",
)  # fmt: skip
PENALTIES = (0.0, 1e-3, 5e-3, 0.02, 0.05, 0.1, 1.0, 10.0)

MASSION = "Massion, Makhlouf, Massart 2026 (abstract); the numbers: this course"


@declared(
    scales={"laptop": "a few seconds"},
    data=lambda scale, seed: digits(),
    needs={"classes": 2, "training samples": 1},
    resumable=False,
)
def experiment(dataset: Dataset, asked: Asked) -> dict[str, Table]:
    """Class means over penalties of the bias, for two losses: one seed.

    The model has no data: the caller's own change nothing.

    Returns:
        An `Outcome` with the table "passage".
    """
    return {"passage": passage(seed=asked.seed)}


def first_penalty(problem: UFM) -> float:
    """Below this penalty of the bias class means are a simplex: kappa / (1 - kappa).

    kappa is `UFM.shrinkage`. A bias b leaves 1/K - b of the mean label; minimising over it gives
    lambda_b b = 1/K - b, so that lambda_b / (K (1 + lambda_b)) is left. Features take a part of it
    over once that exceeds kappa / K, what a direction of the logits has to exceed to pay.

    Source: this course.
    """
    return problem.shrinkage / (1 - problem.shrinkage)


def cosine(problem: UFM) -> float:
    """Between two uncentred class means at the optimum for squared errors, in closed form.

    With kappa = `UFM.shrinkage`: logits have 1 - kappa in each centred direction and
    g = max(0, 1 - kappa (1 + 1/lambda_b)) along the common one, so the cosine is
    (g - 1 + kappa) / ((K-1) (1 - kappa) + g).

    Source: this course.

    >>> round(cosine(MODEL), 4)
    -0.25
    """
    kappa, count, penalty = problem.shrinkage, problem.num_classes, problem.lambda_b
    spread = 1 - kappa
    free = penalty == 0
    common = 1 - kappa if penalty is None else 0 if free else 1 - kappa * (1 + 1 / penalty)
    common = max(0.0, common)
    return (common - spread) / ((count - 1) * spread + common)


def passage(*, seed: int) -> Table:
    """The solver over penalties, for squared errors and, as the control, cross-entropy.

    Returns:
        Columns loss, penalty, cosine (mean over pairs of uncentred class means), closed_form (of
        the squared error), bias (its mean entry).
    """
    rows = []
    for loss in ("mse", "cross-entropy"):
        for penalty in PENALTIES:
            problem = replace(MODEL, lambda_b=penalty, loss=loss)
            found = solve(problem, start=random_point(problem, seed=seed)).point
            means = found.features.view(MODEL.num_classes, -1, MODEL.dim).mean(1)
            rows.append(
                {"loss": loss, "penalty": penalty,
                 "cosine": off_diagonal(cosine_matrix(means)).mean().item(),
                 "closed_form": cosine(problem) if loss == "mse" else -1 / 4,
                 "bias": 0.0 if found.bias is None else found.bias.mean().item()}
            )  # fmt: skip
    return Table.of(rows)


def claims(tables: Mapping[str, Table]) -> tuple[Claim, ...]:
    """What the table of `experiment` asserts; a pure function, so that false runs can be tried."""
    squared, entropy = (
        list(tables["passage"].where(loss=loss).rows()) for loss in ("mse", "cross-entropy")
    )
    last, simplex = squared[-1], -1 / (MODEL.num_classes - 1)
    return (
        Claim.of(
            "Squared errors: with a free bias class means are at the simplex' cosine, with a bias "
            "penalised by 10 they are orthogonal to {1:.}; under cross-entropy they stay a simplex "
            "at every penalty",
            {
                "free bias, off the simplex": at_most(0.01, abs(squared[0]["cosine"] - simplex)),
                "penalised, cosine": at_most(0.01, abs(last["cosine"])),
            },
            MASSION,
            {
                "cross-entropy, off the simplex": every(
                    at_most(0.01, abs(row["cosine"] - simplex)) for row in entropy
                )
            },
        ),
        Claim.of(
            "The passage begins at a penalty of kappa/(1 - kappa) and follows its closed form to "
            "{0:e}; a free bias centres the labels",
            {
                "off the closed form": proved(
                    every(at_most(1e-3, abs(row["cosine"] - row["closed_form"])) for row in squared)
                ),
                "bias off 1/K": proved(
                    at_most(1e-3, abs(squared[0]["bias"] - 1 / MODEL.num_classes))
                ),
            },
            "This course",
            {
                "free bias's form, off at a penalty of 0.1": above(
                    0.1, abs(squared[5]["cosine"] - simplex)
                ),
                "bias at a penalty of 10": below(0.01, abs(last["bias"])),
            },
        ),
    )
