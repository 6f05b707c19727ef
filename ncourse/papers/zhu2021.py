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

from ncourse.claims import Claim, Outcome, Table
from ncourse.data import Dataset, digits
from ncourse.models import MLP
from ncourse.simplex import cosine_matrix, off_diagonal, simplex_etf
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
STARTS = 20
ENERGY = 1.0  # mean ||w||^2 of a fixed classifier

ZHU = "Zhu et al. 2021"
COURSE = "This course, proof in chapter 4"
FREE = "free features; no data set"
MEASURED = "This course, measured"


def experiment(scale: str = "laptop", *, seed: int = 0, data: Dataset | None = None) -> Outcome:
    """The unconstrained features model against its closed forms, and fixed classifiers: one seed.

    Args:
        scale: only "laptop" (about half a minute on one core).
        seed: of all random starts, networks and fixed classifiers.
        data: what the networks with fixed classifiers are trained on; digits if None. On other data
            the claims are reported and do not raise.

    Returns:
        An `Outcome` with the tables "arrivals", "vanishing", "norms", "landscape", "room",
        "symmetric", "fixed".

    Raises:
        ValueError: for an unknown scale; "paper" is refused with what is unknown.
    """
    if scale == "paper":
        raise ValueError(
            "scale 'paper' is not built: the model itself needs no GPU, and for the paper's "
            "networks on CIFAR-10 the schedule and the weight decay are unknown here — use 'laptop'"
        )
    if scale != "laptop":
        raise ValueError(f"scale is {scale!r}; this experiment has only 'laptop'")
    dataset = digits() if data is None else data
    tables = {
        "arrivals": arrivals(seed=seed),
        "vanishing": vanishing(seed=seed),
        "norms": norms(seed=seed),
        "landscape": landscape(),
        "room": room(seed=seed),
        "symmetric": symmetric(seed=seed),
        "fixed": fixed(dataset, seed=seed),
    }
    outcome = Outcome("zhu2021", scale, seed, dataset.card, claims(tables), tables)
    return outcome if data is None else outcome.reported()


def arrivals(*, seed: int) -> Table:
    """Where L-BFGS ends from 20 random starts, for the three models of `CASES`.

    Returns:
        Columns case, loss, closed_form, wrong (the same formula with n = 1 for cross-entropy, that
        of the other bias for MSE), cosine (mean over pairs of classifier rows), deviation: the
        largest distance of such a cosine from -1/(K-1), or from 0 for MSE without bias.
    """
    columns = ("case", "loss", "closed_form", "wrong", "cosine", "deviation")
    table: Table = {name: [] for name in columns}
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
            table["case"].append(case)
            table["loss"].append(solution.loss)
            table["closed_form"].append(optimum(model).loss)
            table["wrong"].append(optimum(wrong[case]).loss)
            table["cosine"].append(cosines.mean().item())
            table["deviation"].append((cosines - ideal).abs().max().item())
    return table


def vanishing(*, seed: int) -> Table:
    """The solver's classifier on both sides of K c = 1, with lambda_w = lambda_h.

    Returns:
        Columns classes, samples (n), fraction (lambda over the threshold 1/(K sqrt(n))), norm (of
        the whole classifier), predicted.
    """
    columns = ("classes", "samples", "fraction", "norm", "predicted")
    table: Table = {name: [] for name in columns}
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
            row = (classes, samples, fraction, end.weight.norm().item())
            predicted = optimum(model).point.weight.norm().item()
            _append(table, (*row, predicted))
    return table


def norms(*, seed: int) -> Table:
    """Squared norms at the solver's end beside the formula, over penalties and their ratio.

    Returns:
        Columns ratio (lambda_w/lambda_h), penalty (sqrt(lambda_w lambda_h)), weight and features
        (mean squared norm of a row), predicted_weight, predicted_features, error (worst relative
        error of any row of either), without_n (the formula for the weight with n = 1).
    """
    columns = (
        *("ratio", "penalty", "weight", "features"),
        *("predicted_weight", "predicted_features", "error", "without_n"),
    )
    table: Table = {name: [] for name in columns}
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
            row = (ratio, penalty, weight.mean().item(), features.mean().item(), predicted, shared)
            _append(table, (*row, worst, weight_norm(replace(model, samples_per_class=1))))
    return table


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
    columns = ("point", "gap", "least", "formula", "frobenius", "negative")
    table: Table = {name: [] for name in columns}
    for name, point in points.items():
        slope = logit_gradient(MODEL, point)
        bent = curvature(MODEL, point)
        gap = _loss(MODEL, point) - best.loss
        formula = MODEL.lambda_w - torch.linalg.matrix_norm(slope, 2).item()
        frobenius = MODEL.lambda_w - slope.norm().item()
        _append(table, (name, gap, bent.least, formula, frobenius, bent.num_negative()))
    return table


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
    table: Table = {name: [] for name in ("start", "dim", "least", "greatest", "saddle")}
    best = optimum(MODEL).loss
    for dim in (1, 2, 3, 8):
        narrow = replace(MODEL, dim=dim)
        gaps = [solve(narrow, start=start).loss - best for start in _starts(narrow, seed=seed)]
        saddle = _loss(MODEL, critical_point(MODEL, dim)) - best
        _append(table, ("random", dim, min(gaps), max(gaps), saddle))
    for rank in (0, 1, 2):
        point = critical_point(MODEL, rank)
        gaps = []
        for nudge in range(5):
            step = random_point(MODEL, seed=5 * seed + nudge, scale=1e-3)
            start = Point(point.features + step.features, point.weight + step.weight)
            gaps.append(solve(MODEL, start=start).loss - best)
        _append(table, ("nudged", rank, min(gaps), max(gaps), _loss(MODEL, point) - best))
    return table


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
    table: Table = {name: [] for name in ("step", "start", "gap", "deviation")}
    for name, start in starts.items():
        for step, point in enumerate(descend(MODEL, start=start, steps=steps)):
            if step % 20 == 0:
                gap = _loss(MODEL, point) - best
                _append(table, (step, name, gap, _asymmetry(MODEL, point)))
    return table


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
        Columns price, cosine (mean over pairs, solver), predicted (closed form).
    """
    table: Table = {name: [] for name in ("price", "cosine", "predicted")}
    for price in prices:
        model = replace(MODEL, loss="mse", lambda_b=price)
        ends = (solve(model, start=random_point(model, seed=0)).point, optimum(model).point)
        cosines = [off_diagonal(cosine_matrix(end.weight)).mean().item() for end in ends]
        _append(table, (price, *cosines))
    return table


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
        "fixed, d = K, out of reach": narrow[margins.index(0.0)],
    }
    columns = (
        *("classifier", "dim", "accuracy", "train_accuracy"),
        *("nc1", "least_margin", "never_predicted"),
    )
    table: Table = {name: [] for name in columns}
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
        lost = count - len(predicted.unique())
        accuracies = (1 - last["test_error"], 1 - last["train_error"])
        _append(table, (name, dim, *accuracies, last["nc1"], least, lost))
    return table


def _simplices(count: int, dim: int, number: int, *, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scale = math.sqrt(ENERGY)
    return [
        scale * simplex_etf(count, dim, generator=generator, dtype=torch.float64)
        for _ in range(number)
    ]


def claims(tables: Mapping[str, Table]) -> tuple[Claim, ...]:
    """What the tables of `experiment` assert; a pure function, so that false runs can be tried."""
    ends = tables["arrivals"]
    error, wrong, deviation = {}, {}, {}
    for case in CASES:
        rows = [i for i, name in enumerate(ends["case"]) if name == case]
        error[case] = max(_relative(ends["loss"][i], ends["closed_form"][i]) for i in rows)
        wrong[case] = min(_relative(ends["loss"][i], ends["wrong"][i]) for i in rows)
        deviation[case] = max(ends["deviation"][i] for i in rows)
    mse = ("MSE without bias", "MSE with a free bias")
    gone = _rows(tables["vanishing"])
    above = max(row["norm"] for row in gone if row["fraction"] > 1)
    below = min(row["norm"] for row in gone if row["fraction"] < 1)
    bent = {row["point"]: row for row in _rows(tables["landscape"])}
    saddles = [bent[name] for name in ("origin", "rank 1", "rank 2")]
    formula = max(abs(row["least"] - row["formula"]) for row in saddles)
    frobenius = max(abs(row["least"] - row["frobenius"]) for row in saddles)
    starts = _rows(tables["room"])
    tight = [row for row in starts if row["start"] == "random" and row["dim"] < 3]
    roomy = [row for row in starts if row["start"] == "random" and row["dim"] >= 3]
    nudged = [row for row in starts if row["start"] == "nudged"]
    stuck = max(
        max(abs(row["least"] - row["saddle"]), abs(row["greatest"] - row["saddle"]))
        for row in tight
    )
    swept = _rows(tables["norms"])
    error_norms = max(row["error"] for row in swept)
    without_n = min(abs(row["without_n"] / row["weight"] - 1) for row in swept)
    walks = _rows(tables["symmetric"])
    straight = [row for row in walks if row["start"] == "symmetric"]
    crooked = [row for row in walks if row["start"] == "random"]
    nets = {row["classifier"]: row for row in _rows(tables["fixed"])}
    differences = _differences(tables["fixed"])
    lost = nets["fixed, d = K, out of reach"]
    return (
        Claim(
            "Cross-entropy: 20 random starts end at the closed form's loss (relative error at most "
            "1e-10) and at a simplex (cosines within 1e-3); the formula without n is wrong by 5 % "
            "or more",
            error["cross-entropy"] <= 1e-10
            and deviation["cross-entropy"] <= 1e-3
            and wrong["cross-entropy"] >= 0.05,
            {"relative error": error["cross-entropy"], "cosine off": deviation["cross-entropy"]},
            f"{ZHU} (simplex ETFs are the global minimisers); closed form: this course",
            {"relative error without n": wrong["cross-entropy"]},
            data=FREE,
        ),
        Claim(
            "MSE: without a bias 20 starts end at an orthogonal frame, with a free bias at a "
            "simplex (cosines within 1e-3), at the closed form's loss (1e-10); the two formulas, "
            "exchanged, are wrong by 5 % or more",
            max(error[case] for case in mse) <= 1e-10
            and max(deviation[case] for case in mse) <= 1e-3
            and min(wrong[case] for case in mse) >= 0.05,
            {
                "relative error": max(error[case] for case in mse),
                "cosine off": max(deviation[case] for case in mse),
            },
            f"{COURSE}; beside Tirer & Bruna 2022",
            {"relative error, exchanged": min(wrong[case] for case in mse)},
            data=FREE,
        ),
        Claim(
            "From 1.01 times λ* = 1/(K√n) on the solver ends at zero (norm of W at most 1e-3); at "
            "0.9 times and below it does not (at least 0.5)",
            above <= 1e-3 and below >= 0.5,
            {"largest norm above λ*": above},
            COURSE,
            {"least norm below λ*": below},
            data=FREE,
        ),
        Claim(
            "Squared norms of W and H follow the formula within 0.1 % over four decades of λ and "
            "three ratios λ_W/λ_H; without n the formula is wrong by 10 % or more throughout",
            error_norms <= 1e-3 and without_n >= 0.1,
            {"worst relative error": error_norms},
            f"{ZHU} (norms, as recalled); formula: this course",
            {"least error without n": without_n},
            data=FREE,
        ),
        Claim(
            "The Hessian has an eigenvalue of −0.001 or less at the origin and at the critical "
            "points of rank 1 and 2, and none below −1e-8 at the optimum",
            max(row["least"] for row in saddles) <= -1e-3 and bent["optimum"]["least"] >= -1e-8,
            {f"least, {row['point']}": row["least"] for row in saddles},
            f"{ZHU} (all other critical points are strict saddles)",
            {"least, optimum": bent["optimum"]["least"]},
            data=FREE,
        ),
        Claim(
            "At those saddles the least eigenvalue is λ − ‖G‖₂, G the gradient in the logits, "
            "within 1e-6; with the Frobenius norm it is off by 0.01 or more",
            formula <= 1e-6 and frobenius >= 0.01,
            {"largest difference": formula},
            "This course: an eigenvalue by proof in chapter 4; that it is the least, measured",
            {"with the Frobenius norm": frobenius},
            data=FREE,
        ),
        Claim(
            "With d = 1 and d = 2 all 20 starts end exactly where the full model has its saddle of "
            "that rank (within 1e-6), at least 0.03 above the optimum; with d = 3 and 8 all reach "
            "it (1e-9)",
            stuck <= 1e-6
            and min(row["least"] for row in tight) >= 0.03
            and max(row["greatest"] for row in roomy) <= 1e-9,
            {"distance from the saddle's loss": stuck},
            MEASURED,
            {"gap with room": max(row["greatest"] for row in roomy)},
            data=FREE,
        ),
        Claim(
            "A nudge of 1e-3 off the origin or off the saddles of rank 1 and 2 is enough to reach "
            "the optimum (1e-9); without it the gap stays above 0.03",
            max(row["greatest"] for row in nudged) <= 1e-9
            and min(row["saddle"] for row in nudged) >= 0.03,
            {"gap after a nudge": max(row["greatest"] for row in nudged)},
            f"{ZHU} (strict saddles can be escaped)",
            {"gap without": min(row["saddle"] for row in nudged)},
            data=FREE,
        ),
        Claim(
            "Gradient descent from a small simplex stays symmetric to 1e-12 at every step and "
            "reaches the optimum (gap 1e-6); from a small random start it is 0.1 or more off on "
            "the way",
            max(row["deviation"] for row in straight) <= 1e-12
            and straight[-1]["gap"] <= 1e-6
            and max(row["deviation"] for row in crooked) >= 0.1,
            {
                "largest deviation": max(row["deviation"] for row in straight),
                "gap at the end": straight[-1]["gap"],
            },
            f"{COURSE}; for MSE and gradient flow, Mixon, Parshall, Pi 2020",
            {"from a random start": max(row["deviation"] for row in crooked)},
            data=FREE,
        ),
        Claim(
            "A fixed simplex with d = 64 loses at most 1.5 % test accuracy on one seed; with d = K "
            "after a ReLU, a simplex with a class out of reach never predicts some class and "
            "loses 5 % or more",
            differences["fixed"] >= -1.5
            and differences["fixed, d = K, out of reach"] <= -5
            and lost["never_predicted"] >= 1,
            {"difference in %, d = 64": differences["fixed"]},
            f"{ZHU} (a fixed simplex as classifier); the failure: this course",
            {"difference in %, out of reach": differences["fixed, d = K, out of reach"]},
        ),
    )


def claims_over_seeds(runs: Sequence[Table]) -> tuple[Claim, ...]:
    """What several seeds of `fixed` assert together; meant for the five recorded ones."""
    differences = [_differences(run) for run in runs]
    average = {name: mean(each[name] for each in differences) for name in differences[0]}
    worst = max(abs(each["fixed"]) for each in differences)
    lost = "fixed, d = K, out of reach"
    return (
        Claim(
            f"Over {len(runs)} seeds a fixed simplex with d = 64 changes test accuracy by at most "
            "1 % on average and 1.5 % in each; one with a class out of reach loses 5 % or more in "
            "each",
            abs(average["fixed"]) <= 1
            and worst <= 1.5
            and max(each[lost] for each in differences) <= -5,
            {"mean difference in %": average["fixed"], "largest": worst},
            f"{ZHU} (a fixed simplex as classifier); the failure: this course",
            {"mean difference in %, out of reach": average[lost]},
        ),
    )


def _differences(table: Table) -> dict[str, float]:
    """Test accuracy of each network minus that of the trained classifier, in percent."""
    trained = table["accuracy"][table["classifier"].index("trained")]
    pairs = zip(table["classifier"], table["accuracy"], strict=True)
    return {name: 100 * (accuracy - trained) for name, accuracy in pairs}


def _starts(model: UFM, *, seed: int) -> list[Point]:
    return [random_point(model, seed=STARTS * seed + start) for start in range(STARTS)]


def _loss(model: UFM, point: Point) -> float:
    return objective(model, features=point.features, weight=point.weight).item()


def _relative(value: float, truth: float) -> float:
    return abs(value - truth) / abs(truth)


def _append(table: Table, row: Sequence[object]) -> None:
    for column, value in zip(table.values(), row, strict=True):
        column.append(value)


def _rows(table: Table) -> list[dict]:
    return [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
