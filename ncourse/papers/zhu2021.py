"""Zhu et al. 2021: with free features every minimum is a simplex, and there are no bad ones.

"A geometric analysis of neural collapse with unconstrained features", NeurIPS 2021. Mean
cross-entropy with penalties on the classifier, the features and the bias: the only global
minimisers are simplex ETFs, and every other critical point is a strict saddle. A network whose
classifier is a fixed simplex therefore need not lose anything.

The experiment solves the model from random starts and compares with the closed forms of
`ncourse.ufm`, for cross-entropy and for the two MSE models of Tirer & Bruna 2022; reads Hessians at
critical points; runs gradient descent from a symmetric start, in the spirit of Mixon, Parshall, Pi
2020; and trains networks with a fixed simplex as the classifier. The closed forms and all
thresholds are this course's.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import mean

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, softmax

from ncourse.claims import Claim
from ncourse.comparisons import at_least, at_most, every
from ncourse.data import Dataset, digits
from ncourse.models import MLP
from ncourse.papers import Asked, declared
from ncourse.simplex import cosine_matrix, off_diagonal, simplex_etf
from ncourse.tables import Table
from ncourse.training import extract, fit
from ncourse.ufm import (
    UFM,
    Point,
    critical_point,
    curvature,
    margin,
    nonnegative_margins,
    objective,
    optimum,
    random_point,
    solve,
)

__all__ = [
    "CASES",
    "MODEL",
    "arrivals",
    "bias_price",
    "claims",
    "claims_over_seeds",
    "descend",
    "encodings",
    "experiment",
    "fixed",
    "landscape",
    "norms",
    "room",
    "symmetric",
    "vanishing",
    "weight_norm",
]

MODEL = UFM(num_classes=4, samples_per_class=10, dim=8, lambda_w=5e-3, lambda_h=5e-3)
"""The model of most of the chapter: K = 4, n = 10, d = 8, cross-entropy, no bias."""

CASES = {
    "cross-entropy": MODEL,
    "MSE without bias": replace(MODEL, loss="mse"),
    "MSE with a free bias": replace(MODEL, loss="mse", lambda_b=0.0),
}
PRICES = (1e-3, 3e-3, 1e-2, 3e-2, 0.06, 0.07, 0.08, 0.1, 0.14, 0.2, 0.5, 1.0, 3.0, 10.0)
SHIFTS = {"one-hot": 0.0, "centred": -1 / 4, "one-hot plus 1/2": 0.5}
STARTS = 20
ENERGY = 1.0  # mean ||w||^2 of a fixed classifier
LOST = "fixed, d = K, out of reach"

ZHU = "Zhu et al. 2021"
COURSE = "This course, proof in chapter 4"
FREE = "free features; no data set"
MEASURED = "This course, measured"


@declared(
    scales={"laptop": "about half a minute on one core"},
    refused={
        "paper": "the model itself needs no GPU, and for the paper's networks on CIFAR-10 the "
        "schedule and the weight decay are unknown here"
    },
    data=lambda scale, seed: digits(),
    needs={"classes": 2, "training samples": 1, "test samples": 1},
    resumable=True,
    judge_seeds=lambda outcomes: claims_over_seeds([each.tables["fixed"] for each in outcomes]),
)
def experiment(dataset: Dataset, asked: Asked) -> dict[str, Table]:
    """The unconstrained features model against its closed forms, and fixed classifiers: one seed.

    The data are what the networks with fixed classifiers are trained on.

    Returns:
        An `Outcome` with the tables "arrivals", "vanishing", "norms", "bias_price", "encodings",
        "landscape", "room", "symmetric", "fixed".
    """
    seed = asked.seed
    return {
        "arrivals": arrivals(seed=seed),
        "vanishing": vanishing(seed=seed),
        "norms": norms(seed=seed),
        "bias_price": bias_price(PRICES),
        "encodings": encodings(seed=seed),
        "landscape": landscape(),
        "room": room(seed=seed),
        "symmetric": symmetric(seed=seed),
        "fixed": fixed(dataset, seed=seed),
    }


def arrivals(*, seed: int) -> Table:
    """Where L-BFGS ends from 20 random starts, for the three models of `CASES`.

    Returns:
        Columns case, loss, closed_form, wrong (the same formula with n = 1 for cross-entropy, that
        of the other bias for MSE), cosine (mean over pairs of classifier rows), deviation: the
        largest distance of such a cosine from -1/(K-1), or from 0 for MSE without bias.
    """
    rows = []
    wrong = {
        "cross-entropy": replace(MODEL, samples_per_class=1),
        "MSE without bias": CASES["MSE with a free bias"],
        "MSE with a free bias": CASES["MSE without bias"],
    }
    for case, model in CASES.items():
        ideal = 0.0 if case == "MSE without bias" else -1 / (model.num_classes - 1)
        for start in _starts(model, seed=seed):
            solution = solve(model, start=start)
            cosines = off_diagonal(cosine_matrix(solution.point.weight))
            rows.append(
                {
                    "case": case,
                    "loss": solution.loss,
                    "closed_form": optimum(model).loss,
                    "wrong": optimum(wrong[case]).loss,
                    "cosine": cosines.mean().item(),
                    "deviation": (cosines - ideal).abs().max().item(),
                }
            )
    return Table.of(rows)


def vanishing(*, seed: int) -> Table:
    """The solver's classifier on both sides of K c = 1, with lambda_w = lambda_h.

    Returns:
        Columns classes, samples (n), fraction (lambda over the threshold 1/(K sqrt(n))), norm (of
        the whole classifier), predicted.
    """
    rows = []
    for classes, samples in ((4, 10), (10, 5), (3, 1)):
        for fraction in (0.5, 0.9, 1.01, 1.1, 2.0):
            penalty = fraction / (classes * math.sqrt(samples))
            model = UFM(
                num_classes=classes,
                samples_per_class=samples,
                dim=classes + 2,
                lambda_w=penalty,
                lambda_h=penalty,
            )
            end = solve(model, start=random_point(model, seed=seed)).point
            rows.append(
                {
                    "classes": classes,
                    "samples": samples,
                    "fraction": fraction,
                    "norm": end.weight.norm().item(),
                    "predicted": optimum(model).point.weight.norm().item(),
                }
            )
    return Table.of(rows)


def norms(*, seed: int) -> Table:
    """Squared norms at the solver's end beside the formula, over penalties and their ratio.

    Returns:
        Columns ratio (lambda_w/lambda_h), penalty (sqrt(lambda_w lambda_h)), weight and features
        (mean squared norm of a row), predicted_weight, predicted_features, error (worst relative
        error of any row of either), without_n (the formula for the weight with n = 1).
    """
    rows = []
    for ratio in (1 / 25, 1.0, 25.0):
        for exponent in torch.linspace(math.log10(7e-6), math.log10(0.07), 9).tolist():
            penalty = 10**exponent
            model = replace(
                MODEL, lambda_w=penalty * math.sqrt(ratio), lambda_h=penalty / math.sqrt(ratio)
            )
            end = solve(model, start=random_point(model, seed=seed)).point
            weight, features = end.weight.square().sum(1), end.features.square().sum(1)
            predicted = weight_norm(model)
            shared = predicted * model.lambda_w / (MODEL.counts[0] * model.lambda_h)
            worst = max(
                (weight / predicted - 1).abs().max().item(),
                (features / shared - 1).abs().max().item(),
            )
            rows.append(
                {
                    "ratio": ratio,
                    "penalty": penalty,
                    "weight": weight.mean().item(),
                    "features": features.mean().item(),
                    "predicted_weight": predicted,
                    "predicted_features": shared,
                    "error": worst,
                    "without_n": weight_norm(replace(model, samples_per_class=1)),
                }
            )
    return Table.of(rows)


def weight_norm(model: UFM) -> float:
    """||w||^2 of one classifier row at the optimum for cross-entropy, from the margin.

    >>> round(weight_norm(MODEL), 4)
    9.7203
    """
    share = (model.num_classes - 1) / model.num_classes
    scale = math.sqrt(model.counts[0] * model.lambda_h / model.lambda_w)
    return margin(model) * share * scale


def landscape() -> Table:
    """The origin, the critical points of rank 1 and 2, and the optimum of `MODEL`.

    Returns:
        Columns point, gap (loss above the optimum's), least (eigenvalue of the Hessian), formula
        (lambda - ||G||_2, G the gradient in the logits), frobenius (the same with ||G||_F),
        negative (number of eigenvalues below -1e-8).
    """
    best = optimum(MODEL)
    points = {
        "origin": critical_point(MODEL, 0),
        "rank 1": critical_point(MODEL, 1),
        "rank 2": critical_point(MODEL, 2),
        "optimum": best.point,
    }
    rows = []
    for name, point in points.items():
        slope = logit_gradient(MODEL, point)
        bent = curvature(MODEL, point)
        rows.append(
            {
                "point": name,
                "gap": _loss(MODEL, point) - best.loss,
                "least": bent.least,
                "formula": MODEL.lambda_w - torch.linalg.matrix_norm(slope, 2).item(),
                "frobenius": MODEL.lambda_w - slope.norm().item(),
                "negative": bent.num_negative(),
            }
        )
    return Table.of(rows)


def logit_gradient(model: UFM, point: Point) -> Tensor:
    """The gradient of mean cross-entropy in the logits, `(N, K)`: (softmax - onehot)/N."""
    logits = point.features @ point.weight.T
    targets = one_hot(model.labels, model.num_classes)
    return (softmax(logits, dim=1) - targets) / model.num_samples


def room(*, seed: int) -> Table:
    """Twenty random starts with too few dimensions and with enough, then a nudge off each saddle.

    Returns:
        Columns start ("random", or "nudged" by 1e-3 off the saddle of rank dim in `MODEL`), dim,
        least and greatest (loss above the global optimum's over the starts), saddle (the same at
        the critical point of that rank).
    """
    rows = []
    best = optimum(MODEL).loss
    for dim in (1, 2, 3, 8):
        narrow = replace(MODEL, dim=dim)
        gaps = [solve(narrow, start=start).loss - best for start in _starts(narrow, seed=seed)]
        saddle = _loss(MODEL, critical_point(MODEL, dim)) - best
        rows.append(_span("random", dim, gaps, saddle))
    for rank in (0, 1, 2):
        point = critical_point(MODEL, rank)
        gaps = []
        for nudge in range(5):
            step = random_point(MODEL, seed=5 * seed + nudge, scale=1e-3)
            start = Point(point.features + step.features, point.weight + step.weight)
            gaps.append(solve(MODEL, start=start).loss - best)
        rows.append(_span("nudged", rank, gaps, _loss(MODEL, point) - best))
    return Table.of(rows)


def _span(start: str, dim: int, gaps: Sequence[float], saddle: float) -> dict[str, str | float]:
    """A row of `room`."""
    found = {"least": min(gaps), "greatest": max(gaps), "saddle": saddle}
    return {"start": start, "dim": dim, **found}


def symmetric(*, seed: int, steps: int = 400) -> Table:
    """Gradient descent from a small simplex, and from a small random start.

    Returns:
        Columns step, start ("symmetric" or "random"), gap (loss above the optimum's), deviation:
        the largest deviation of a classifier row's Gram entry (of the Gram matrix scaled to trace
        K) from a simplex's, or of a feature from its class mean, whichever is larger.
    """
    generator = torch.Generator().manual_seed(seed)
    vertices = 0.01 * simplex_etf(4, MODEL.dim, generator=generator, dtype=torch.float64)
    starts = {
        "symmetric": Point(vertices[MODEL.labels], vertices),
        "random": random_point(MODEL, seed=seed, scale=0.01),
    }
    best = optimum(MODEL).loss
    rows = []
    for name, start in starts.items():
        for step, point in enumerate(descend(MODEL, start=start, steps=steps)):
            if step % 20 == 0:
                found = {"gap": _loss(MODEL, point) - best, "deviation": _asymmetry(MODEL, point)}
                rows.append({"step": step, "start": name, **found})
    return Table.of(rows)


def descend(problem: UFM, *, start: Point, steps: int, step_size: float = 1.0) -> list[Point]:
    """Plain gradient descent: the start and the point after each step, `steps + 1` points.

    Args:
        problem: a model without bias.
        start: where to begin.
        steps: number of steps.
        step_size: factor of the gradient.
    """
    path = [start]
    for _ in range(steps):
        features = path[-1].features.clone().requires_grad_()
        weight = path[-1].weight.clone().requires_grad_()
        loss = objective(problem, features=features, weight=weight)
        slopes = torch.autograd.grad(loss, (features, weight))
        path.append(
            Point(
                features.detach() - step_size * slopes[0], weight.detach() - step_size * slopes[1]
            )
        )
    return path


def _asymmetry(model: UFM, point: Point) -> float:
    count = model.num_classes
    gram = point.weight @ point.weight.T
    ideal = (torch.eye(count, dtype=gram.dtype) - 1 / count) * count / (count - 1)
    means = torch.stack([point.features[model.labels == k].mean(0) for k in range(count)])
    within = (point.features - means[model.labels]).abs().max()
    return max((gram * count / gram.trace() - ideal).abs().max().item(), within.item())


def bias_price(prices: Sequence[float | None]) -> Table:
    """MSE with a penalised bias: the cosine of classifier rows for each penalty (None: no bias).

    Returns:
        Columns price, cosine (mean over pairs, solver), predicted (closed form), naive (the closed
        form with K c / lambda_b in place of K c (1 + lambda_b) / lambda_b).
    """
    rows = []
    for price in prices:
        model = replace(MODEL, loss="mse", lambda_b=price)
        ends = (solve(model, start=random_point(model, seed=0)).point, optimum(model).point)
        cosine, predicted = (off_diagonal(cosine_matrix(end.weight)).mean().item() for end in ends)
        common = 0.0 if not price else max(0.0, 1 - model.shrinkage / price)
        naive = _frame_cosine(margin(model), common, model.num_classes)
        rows.append({"price": price, "cosine": cosine, "predicted": predicted, "naive": naive})
    return Table.of(rows, ["price", "cosine", "predicted", "naive"])


def _frame_cosine(spread: float, common: float, classes: int) -> float:
    """Cosine of two rows with Gram matrix spread (I - J/K) + common J/K."""
    return (common - spread) / ((classes - 1) * spread + common)


def encodings(*, seed: int) -> Table:
    """Squared error on labels that are one-hot plus a constant, with a free bias and without one.

    A free bias takes the labels' mean away, so the constant does not matter. Without a bias the
    direction that all classes share has the logit max(0, |1 + K s| - K c), s the constant (derived
    here, chapter 4).

    Args:
        seed: of the starts.

    Returns:
        Columns encoding, shift, bias (whether there is one), cosine (mean over pairs of classifier
        rows, solver) and predicted.
    """
    model = CASES["MSE without bias"]
    start = random_point(model, seed=seed)
    rows = []
    for name, shift in SHIFTS.items():
        targets = one_hot(model.labels, model.num_classes).double() + shift
        for biased in (True, False):
            features, weight = start.features.clone(), start.weight.clone()
            bias = torch.zeros(model.num_classes, dtype=torch.float64)
            free = [features, weight, bias] if biased else [features, weight]
            _least_squares(model, targets, free)
            common = (
                0.0 if biased else max(0.0, abs(1 + model.num_classes * shift) - model.shrinkage)
            )
            rows.append(
                {
                    "encoding": name,
                    "shift": shift,
                    "bias": biased,
                    "cosine": off_diagonal(cosine_matrix(weight)).mean().item(),
                    "predicted": _frame_cosine(margin(model), common, model.num_classes),
                }
            )
    return Table.of(rows)


def _least_squares(model: UFM, targets: Tensor, free: list[Tensor]) -> None:
    """Minimise the model's squared error with other targets, in place: features, weight, bias."""
    for each in free:
        each.requires_grad_()
    optimiser = torch.optim.LBFGS(
        free, max_iter=3000, tolerance_grad=1e-9, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        features, weight, *bias = free
        error = features @ weight.T + sum(bias) - targets
        penalty = model.lambda_w * weight.square().sum() + model.lambda_h * features.square().sum()
        value = error.square().sum() / (2 * model.num_samples) + penalty / 2
        value.backward()
        return value

    optimiser.step(loss)
    for each in free:
        each.requires_grad_(False)


def fixed(dataset: Dataset, *, seed: int, epochs: int = 80) -> Table:
    """Networks with a trained classifier and with a fixed simplex that training cannot change.

    MLP of widths 256, 256, d with batch norm and ReLU (so features are >= 0), cross-entropy, weight
    decay 5e-3. With d = K two of 20 random simplices are used: the one with the greatest least
    margin by `nonnegative_margins`, and the first that has a class no ReLU feature can reach.

    Args:
        dataset: to train on, with test samples.
        seed: of weights, sample order and simplices.
        epochs: of training.

    Returns:
        Columns classifier, dim, accuracy (test), train_accuracy, nc1, least_margin (of the fixed
        classifier; None if trained), never_predicted (number of classes that no test image gets).

    Raises:
        ValueError: if every one of 20 simplices with d = K can be reached by ReLU features.
    """
    count = dataset.num_classes
    wide = _simplices(count, 64, 1, seed=seed)[0]
    narrow = _simplices(count, count, 20, seed=seed)
    margins = [nonnegative_margins(each).min().item() for each in narrow]
    if min(margins) > 0:
        raise ValueError(f"ReLU features reach every class of 20 simplices with d = K = {count}")
    heads: dict[str, Tensor | None] = {
        "trained": None,
        "fixed": wide,
        "fixed, d = K, reachable": narrow[margins.index(max(margins))],
        LOST: narrow[margins.index(0.0)],
    }
    rows = []
    for name, weight in heads.items():
        dim = 64 if weight is None else weight.shape[1]
        model = MLP(dataset.input_shape, (256, 256, dim), count, seed=seed)
        least = None
        if weight is not None:
            least = nonnegative_margins(weight).min().item()
            model.classifier = nn.Linear(dim, count, bias=False)
            model.classifier.weight = nn.Parameter(weight.float(), requires_grad=False)
        _, history = fit(
            model=model,
            dataset=dataset,
            epochs=epochs,
            weight_decay=5e-3,
            seed=seed,
            measure_at=[epochs],
        )
        last = history.at(epochs)
        predicted = extract(model, dataset.test_inputs, dataset.test_labels).logits.argmax(1)
        rows.append(
            {
                "classifier": name,
                "dim": dim,
                "accuracy": 1 - last["test_error"],
                "train_accuracy": 1 - last["train_error"],
                "nc1": last["nc1"],
                "least_margin": least,
                "never_predicted": count - len(predicted.unique()),
            }
        )
    return Table.of(rows)


def _simplices(count: int, dim: int, number: int, *, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scale = math.sqrt(ENERGY)
    return [
        scale * simplex_etf(count, dim, generator=generator, dtype=torch.float64)
        for _ in range(number)
    ]


def claims(tables: Mapping[str, Table]) -> tuple[Claim, ...]:
    """What the tables of `experiment` assert; a pure function, so that false runs can be tried."""
    error, wrong, deviation = {}, {}, {}
    for case in CASES:
        ends = tables["arrivals"].where(case=case).rows()
        error[case] = max(_relative(end["loss"], end["closed_form"]) for end in ends)
        wrong[case] = min(_relative(end["loss"], end["wrong"]) for end in ends)
        deviation[case] = max(end["deviation"] for end in ends)
    mse = ("MSE without bias", "MSE with a free bias")
    gone = tables["vanishing"].rows()
    bent = {row["point"]: row for row in tables["landscape"].rows()}
    saddles = [bent[name] for name in ("origin", "rank 1", "rank 2")]
    starts = tables["room"].where(start="random").rows()
    tight = [row for row in starts if row["dim"] < 3]
    roomy = max(row["greatest"] for row in starts if row["dim"] >= 3)
    stuck = max(abs(row[end] - row["saddle"]) for row in tight for end in ("least", "greatest"))
    nudged = tables["room"].where(start="nudged")
    swept = tables["norms"].rows()
    straight = tables["symmetric"].where(start="symmetric")
    crooked = tables["symmetric"].where(start="random")
    difference = _differences(tables["fixed"])
    (lost,) = tables["fixed"].where(classifier=LOST).rows()
    return (
        Claim.of(
            "Cross-entropy: 20 random starts end at the closed form's loss (relative error at most "
            "{0:e}) and at a simplex (cosines within {1:e}); the formula without n is wrong by "
            "{2:%} or more",
            {
                "relative error": at_most(1e-10, error["cross-entropy"]),
                "cosine off": at_most(1e-3, deviation["cross-entropy"]),
            },
            f"{ZHU} (simplex ETFs are the global minimisers); closed form: this course",
            {"relative error without n": at_least(0.05, wrong["cross-entropy"])},
            data=FREE,
            fixed_data=True,
        ),
        Claim.of(
            "MSE: without a bias 20 starts end at an orthogonal frame, with a free bias at a "
            "simplex (cosines within {1:e}), at the closed form's loss ({0:e}); the two formulas, "
            "exchanged, are wrong by {2:%} or more",
            {
                "relative error": at_most(1e-10, max(error[case] for case in mse)),
                "cosine off": at_most(1e-3, max(deviation[case] for case in mse)),
            },
            f"{COURSE}; beside Tirer & Bruna 2022",
            {"relative error, exchanged": at_least(0.05, min(wrong[case] for case in mse))},
            data=FREE,
            fixed_data=True,
        ),
        Claim.of(
            "From 1.01 times λ* = 1/(K√n) on the solver ends at zero (norm of W at most {0:e}); at "
            "0.9 times and below it does not (at least {1})",
            {
                "largest norm above λ*": at_most(
                    1e-3, max(row["norm"] for row in gone if row["fraction"] > 1)
                )
            },
            COURSE,
            {
                "least norm below λ*": at_least(
                    0.5, min(row["norm"] for row in gone if row["fraction"] < 1)
                )
            },
            data=FREE,
            fixed_data=True,
        ),
        Claim.of(
            "Squared norms of W and H follow the formula within {0:%} over four decades of λ and "
            "three ratios λ_W/λ_H; without n the formula is wrong by {1:%} or more throughout",
            {"worst relative error": at_most(1e-3, max(row["error"] for row in swept))},
            f"{ZHU} (norms, as recalled); formula: this course",
            {
                "least error without n": at_least(
                    0.1, min(abs(row["without_n"] / row["weight"] - 1) for row in swept)
                )
            },
            data=FREE,
            fixed_data=True,
        ),
        Claim.of(
            "The Hessian has an eigenvalue of −0.001 or less at the origin and at the critical "
            "points of rank 1 and 2, and none below −1e-8 at the optimum",
            {f"least, {row['point']}": row["least"] for row in saddles},
            f"{ZHU} (all other critical points are strict saddles)",
            {"least, optimum": at_least(-1e-8, bent["optimum"]["least"])},
            also={"each saddle": every(at_most(-1e-3, row["least"]) for row in saddles)},
            data=FREE,
            fixed_data=True,
        ),
        Claim.of(
            "At those saddles the least eigenvalue is λ − ‖G‖₂, G the gradient in the logits, "
            "within {0:e}; with the Frobenius norm it is off by {1} or more",
            {
                "largest difference": at_most(
                    1e-6, max(abs(row["least"] - row["formula"]) for row in saddles)
                )
            },
            "This course: an eigenvalue by proof in chapter 4; that it is the least, measured",
            {
                "with the Frobenius norm": at_least(
                    0.01, max(abs(row["least"] - row["frobenius"]) for row in saddles)
                )
            },
            data=FREE,
            fixed_data=True,
        ),
        Claim.of(
            "With d = 1 and d = 2 all 20 starts end exactly where the full model has its saddle of "
            "that rank (within {0:e}), at least {2} above the optimum; with d = 3 and 8 all reach "
            "it ({1:e})",
            {"distance from the saddle's loss": at_most(1e-6, stuck)},
            MEASURED,
            {"gap with room": at_most(1e-9, roomy)},
            also={"gap without room": at_least(0.03, min(row["least"] for row in tight))},
            data=FREE,
            fixed_data=True,
        ),
        Claim.of(
            "A nudge of 1e-3 off the origin or off the saddles of rank 1 and 2 is enough to reach "
            "the optimum ({0:e}); without it the gap stays above {1}",
            {"gap after a nudge": at_most(1e-9, max(nudged["greatest"]))},
            f"{ZHU} (strict saddles can be escaped)",
            {"gap without": at_least(0.03, min(nudged["saddle"]))},
            data=FREE,
            fixed_data=True,
        ),
        Claim.of(
            "Gradient descent from a small simplex stays symmetric to {0:e} at every step and "
            "reaches the optimum (gap {1:e}); from a small random start it is {2} or more off on "
            "the way",
            {
                "largest deviation": at_most(1e-12, max(straight["deviation"])),
                "gap at the end": at_most(1e-6, straight.last["gap"]),
            },
            f"{COURSE}; for MSE and gradient flow, Mixon, Parshall, Pi 2020",
            {"from a random start": at_least(0.1, max(crooked["deviation"]))},
            data=FREE,
            fixed_data=True,
        ),
        Claim.of(
            "A fixed simplex with d = 64 loses at most {0} % test accuracy on one seed; with d = K "
            "after a ReLU, a simplex with a class out of reach never predicts some class and "
            "loses {1} % or more",
            {"difference in %, d = 64": difference["fixed"]},
            f"{ZHU} (a fixed simplex as classifier); the failure: this course",
            {"difference in %, out of reach": difference[LOST]},
            also={
                "loss in %, d = 64": at_most(1.5, -difference["fixed"]),
                "loss in %, out of reach": at_least(5, -difference[LOST]),
                "classes never predicted": at_least(1, lost["never_predicted"]),
            },
        ),
        _claim_of_price(tables["bias_price"]),
        _claim_of_encodings(tables["encodings"]),
    )


def _claim_of_price(table: Table) -> Claim:
    """From a simplex to an orthogonal frame as the bias gets dearer."""
    rows = table.rows()
    return Claim.of(
        "MSE with a penalised bias: the cosine of the rows follows the closed form within {0:e} at "
        "every price, from −1/3 (within {1:e}) where the bias is cheap to within {2} of 0 at the "
        "dearest; with K c/λ_b in place of K c (1 + λ_b)/λ_b the form is off by {3} or more",
        {"largest difference": at_most(1e-3, max(abs(r["cosine"] - r["predicted"]) for r in rows))},
        f"{COURSE}; from simplex to orthogonal frame: Massion, Makhlouf, Massart 2026",
        {
            "cheapest bias, off −1/3": at_most(1e-3, abs(rows[0]["cosine"] + 1 / 3)),
            "dearest bias, below 0": at_most(0.01, -rows[-1]["cosine"]),
        },
        also={
            "naive form off by": at_least(0.01, max(abs(r["cosine"] - r["naive"]) for r in rows))
        },
        data=FREE,
        fixed_data=True,
    )


def _claim_of_encodings(table: Table) -> Claim:
    """A free bias centres the labels; without one their mean chooses the frame."""
    free, bare = (table.where(bias=biased) for biased in (True, False))
    pairs = zip(table["cosine"], table["predicted"], strict=True)
    return Claim.of(
        "MSE, labels one-hot plus a constant: with a free bias the rows form a simplex for every "
        "constant (cosine −1/3 within {0:e}), and all cosines are as derived ({1:e}); without a "
        "bias they differ by {2} or more from one constant to another",
        {
            "off −1/3, free bias": at_most(1e-3, max(abs(c + 1 / 3) for c in free["cosine"])),
            "off the derived": at_most(1e-3, max(abs(one - two) for one, two in pairs)),
        },
        f"{COURSE}; that the bias centres the labels: Massion, Makhlouf, Massart 2026",
        {"spread without bias": at_least(0.5, max(bare["cosine"]) - min(bare["cosine"]))},
        data=FREE,
        fixed_data=True,
    )


def claims_over_seeds(runs: Sequence[Table]) -> tuple[Claim, ...]:
    """What several seeds of `fixed` assert together; meant for the five recorded ones."""
    differences = [_differences(run) for run in runs]
    average = {name: mean(each[name] for each in differences) for name in differences[0]}
    return (
        Claim.of(
            f"Over {len(runs)} seeds a fixed simplex with d = 64 changes test accuracy by at most "
            "{1} % on average and {0} % in each; one with a class out of reach loses {2} % or more "
            "in each",
            {
                "mean difference in %": average["fixed"],
                "largest": at_most(1.5, max(abs(each["fixed"]) for each in differences)),
            },
            f"{ZHU} (a fixed simplex as classifier); the failure: this course",
            {"mean difference in %, out of reach": average[LOST]},
            also={
                "size of the mean": at_most(1, abs(average["fixed"])),
                "least loss in %, out of reach": at_least(
                    5, min(-each[LOST] for each in differences)
                ),
            },
        ),
    )


def _differences(table: Table) -> dict[str, float]:
    """Test accuracy of each network minus that of the trained classifier, in percent."""
    (trained,) = table.where(classifier="trained")["accuracy"]
    return {row["classifier"]: 100 * (row["accuracy"] - trained) for row in table.rows()}


def _starts(model: UFM, *, seed: int) -> list[Point]:
    return [random_point(model, seed=STARTS * seed + start) for start in range(STARTS)]


def _loss(model: UFM, point: Point) -> float:
    return objective(model, features=point.features, weight=point.weight).item()


def _relative(value: float, truth: float) -> float:
    return abs(value - truth) / abs(truth)
