"""Exercises of chapter 4, why collapse."""

import math

import torch
from torch import Tensor

from ncourse.exercises import Answer, Exercise, Mistake, wrong_kind, wrong_number
from ncourse.simplex import simplex_etf
from ncourse.ufm import UFM, decompose_mse, nonnegative_margins, optimum


# 4.1 ----------------------------------------------------------------------------------------------
def vanishing_penalty(num_classes, samples_per_class):
    """K c = 1 with c = sqrt(n) lambda: from this lambda on everything is zero."""
    return 1 / (num_classes * math.sqrt(samples_per_class))


def _no_root(num_classes, samples_per_class):
    return 1 / (num_classes * samples_per_class)


def _no_samples(num_classes, samples_per_class):
    return 1 / num_classes


def _no_classes(num_classes, samples_per_class):
    return 1 / math.sqrt(samples_per_class)


def _vanishes(answer: Answer) -> str | None:
    for count, samples in ((4, 9), (10, 4), (3, 1)):
        value = answer(count, samples)
        if message := wrong_number(value):
            return message
        near = {
            _no_root: f"1/(Kn) is what you get when n stands outside the root. In K c = 1 the n is "
            f"inside: c = √(n λ_W λ_H), with both penalties {float(value):.3g}.",
            _no_samples: "Your answer does not depend on n. With more samples a class has more "
            "features to pay for, so it gives up at a smaller λ.",
            _no_classes: "The condition is K c = 1, not c = 1. Where is your K?",
        }
        for wrong, message in near.items():
            if math.isclose(float(value), wrong(count, samples), rel_tol=1e-6) and samples > 1:
                return message
        if not math.isclose(float(value), vanishing_penalty(count, samples), rel_tol=1e-6):
            return (
                f"For K = {count}, n = {samples} you get {float(value):.4g}; put it into "
                "K √(n λ λ): it should be 1."
            )
    return None


# 4.2 ----------------------------------------------------------------------------------------------
def margin(num_classes, samples_per_class, lambda_w, lambda_h):
    """Zero of 1/(e^a + K - 1) = c, with a = 0 where no positive a solves it."""
    c = math.sqrt(samples_per_class * lambda_w * lambda_h)
    if num_classes * c >= 1:
        return 0.0
    return math.log(1 / c - num_classes + 1)


def _margin_without_n(num_classes, samples_per_class, lambda_w, lambda_h):
    return margin(num_classes, 1, lambda_w, lambda_h)


def _margin_missing_one(num_classes, samples_per_class, lambda_w, lambda_h):
    c = math.sqrt(samples_per_class * lambda_w * lambda_h)
    return math.log(1 / c - num_classes) if (1 + num_classes) * c < 1 else 0.0


def _margin_unclipped(num_classes, samples_per_class, lambda_w, lambda_h):
    c = math.sqrt(samples_per_class * lambda_w * lambda_h)
    return math.log(1 / c - num_classes + 1)


def _margin_base_ten(num_classes, samples_per_class, lambda_w, lambda_h):
    return margin(num_classes, samples_per_class, lambda_w, lambda_h) / math.log(10)


def _margin_small_penalty(answer: Answer) -> str | None:
    arguments = (4, 10, 1e-3, 4e-3)
    value = answer(*arguments)
    if message := wrong_number(value):
        return message
    near = {
        _margin_without_n: "You drop n: the penalty on H counts every sample's feature, and c = "
        "√(n λ_W λ_H).",
        _margin_missing_one: "You get log(1/c − K). There are K − 1 *other* classes in the "
        "denominator of the softmax, so it is e^a + K − 1 = 1/c.",
        _margin_base_ten: "That is a logarithm to base 10. The softmax has e in it: math.log.",
    }
    for wrong, message in near.items():
        if math.isclose(float(value), wrong(*arguments), rel_tol=1e-6):
            return message
    truth = margin(*arguments)
    if not math.isclose(float(value), truth, rel_tol=1e-6):
        return (
            f"For K = 4, n = 10, λ_W = 0.001, λ_H = 0.004 you get {float(value):.4g}; it is "
            f"{truth:.4g}."
        )
    return None


def _margin_large_penalty(answer: Answer) -> str | None:
    # K c = 1.26: the logarithm still exists, but is negative.
    try:
        value = answer(4, 10, 0.1, 0.1)
        beyond = answer(4, 10, 1.0, 1.0)
    except ValueError:
        return (
            "With large penalties your logarithm has a negative argument. Once K c ≥ 1 no positive "
            "margin solves the equation: return 0."
        )
    if float(value) < 0:
        return (
            f"For λ_W = λ_H = 0.1 you get {float(value):.3g}: a negative margin would put the "
            "wrong class first. Once K c ≥ 1 the minimum is at 0."
        )
    if float(value) != 0 or float(beyond) != 0:
        return "For λ_W = λ_H = 0.1 and for 1 everything is zero, and so is the margin."
    return None


def _slope(features, labels, weight):
    targets = torch.nn.functional.one_hot(labels, len(weight))
    return (torch.softmax(features @ weight.T, dim=1) - targets) / len(labels)


def _place() -> tuple[UFM, Tensor, Tensor]:
    model = UFM(num_classes=3, samples_per_class=4, dim=5, lambda_w=0.02, lambda_h=0.02)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(12, 5, generator=generator, dtype=torch.float64)
    return model, features, torch.randn(3, 5, generator=generator, dtype=torch.float64)


# 4.3 ----------------------------------------------------------------------------------------------
def best_classifier(features, targets, penalty):
    """Ridge regression with a constant feature 1, so that the bias is penalised like W."""
    extended = torch.cat([features, torch.ones(len(features), 1, dtype=features.dtype)], dim=1)
    moment = extended.T @ extended / len(features)
    moment = moment + penalty * torch.eye(len(moment), dtype=features.dtype)
    best = torch.linalg.solve(moment, extended.T @ targets / len(features)).T
    return best[:, :-1], best[:, -1]


def _solved(features, targets, penalty, *, bias_penalty, samples):
    extended = torch.cat([features, torch.ones(len(features), 1, dtype=features.dtype)], dim=1)
    diagonal = penalty * torch.ones(extended.shape[1], dtype=features.dtype)
    diagonal[-1] = bias_penalty
    moment = extended.T @ extended / samples + torch.diag(diagonal)
    best = torch.linalg.solve(moment, extended.T @ targets / samples).T
    return best[:, :-1], best[:, -1]


def _free_bias(features, targets, penalty):
    return _solved(features, targets, penalty, bias_penalty=0.0, samples=len(features))


def _sum_of_squares(features, targets, penalty):
    return _solved(features, targets, penalty, bias_penalty=penalty, samples=1)


def _without_bias(features, targets, penalty):
    moment = features.T @ features / len(features)
    moment = moment + penalty * torch.eye(len(moment), dtype=features.dtype)
    weight = torch.linalg.solve(moment, features.T @ targets / len(features)).T
    return weight, torch.zeros(targets.shape[1], dtype=features.dtype)


def _without_penalty(features, targets, penalty):
    return _solved(features, targets, 0.0, bias_penalty=0.0, samples=len(features))


def _regresses(answer: Answer) -> str | None:
    model, features, weight = _place()
    features = features + 1.0
    targets = torch.nn.functional.one_hot(model.labels, 3).double()
    got = answer(features.clone(), targets.clone(), 0.3)
    if not isinstance(got, tuple) or len(got) != 2:
        return "Return two tensors: weight (K, d) and bias (K,)."
    for value, shape in zip(got, (tuple(weight.shape), (3,)), strict=True):
        if message := wrong_kind(value, shape):
            return message
    near = {
        _free_bias: "Your bias is not penalised. In this loss it is: λ stands before ‖W‖² + ‖b‖².",
        _sum_of_squares: "You sum over samples. The loss is a mean, so divide HᵀH and HᵀY by N; "
        "otherwise λ is N times too weak.",
        _without_bias: "Your bias is 0. Append a constant 1 to every feature and solve for both.",
        _without_penalty: "That is plain least squares. Add λ to the diagonal.",
    }
    for wrong, message in near.items():
        pairs = zip(got, wrong(features, targets, 0.3), strict=True)
        if all(torch.allclose(a, b, atol=1e-9) for a, b in pairs):
            return message
    parts = decompose_mse(
        features=features, labels=model.labels, weight=got[0], bias=got[1], penalty=0.3
    )
    if parts.perpendicular > 1e-12:
        return f"L⊥ of your classifier is {parts.perpendicular:.3g}; that of the best one is 0."
    return None


# 4.4 ----------------------------------------------------------------------------------------------
def margin_bound(weight, k, shares):
    """A mean over the other classes is no less than their minimum; then the best h in [0, 1]^d."""
    return (weight[k] - shares @ weight).clamp(min=0).sum().item()


def _all_entries(weight, k, shares):
    return (weight[k] - shares @ weight).sum().item()


def _absolute_entries(weight, k, shares):
    return (weight[k] - shares @ weight).abs().sum().item()


def _evenly_shared(weight, k, shares):
    return margin_bound(weight, k, torch.full_like(shares, 1 / len(shares)))


def _turned_round(weight, k, shares):
    return (shares @ weight - weight[k]).clamp(min=0).sum().item()


def _cut_too_early(weight, k, shares):
    return (weight[k].clamp(min=0) - shares @ weight.clamp(min=0)).clamp(min=0).sum().item()


def _as_a_length(weight, k, shares):
    return (weight[k] - shares @ weight).clamp(min=0).norm().item()


def _bounds_the_margin(answer: Answer) -> str | None:
    generator = torch.Generator().manual_seed(4)
    weight = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    shares = torch.tensor([0.5, 0.3, 0.0, 0.2], dtype=torch.float64)
    arguments = (weight, 2, shares)
    value = answer(weight.clone(), 2, shares.clone())
    if message := wrong_number(value):
        return message
    near = {
        _all_entries: "You add up all entries of the difference. The feature chooses its entries "
        "in [0, 1]: where the difference is negative it takes 0.",
        _absolute_entries: "You add up absolute values. That is the best of features with entries "
        "in [−1, 1]; after a ReLU a negative difference is worth 0, not its size.",
        _evenly_shared: "You average over the classes evenly. The shares say how much of each "
        "class goes into the mean: shares @ weight.",
        _turned_round: "You measure how far the others can be preferred to class k. The other way "
        "round: w_k minus the mean of the others.",
        _cut_too_early: "You drop negative entries of W before you subtract. A feature sees the "
        "*difference*: subtract first.",
        _as_a_length: "You take a norm. That bounds features of length 1; here each entry may go "
        "up to 1 by itself, so the positive entries add up.",
    }
    truth = margin_bound(*arguments)
    if math.isclose(float(value), truth, rel_tol=1e-6):
        return None
    for wrong, message in near.items():
        if math.isclose(float(value), wrong(*arguments), rel_tol=1e-6):
            return message
    return (
        f"For a random classifier you get {float(value):.4g}; it is {truth:.4g}. Which h with "
        "entries in [0, 1] makes <w_k − Σ p_l w_l, h> largest?"
    )


def _holds_for_the_programme(answer: Answer) -> str | None:
    weight = simplex_etf(3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    margins = nonnegative_margins(weight)
    for k in range(3):
        for share in (0.0, 0.25, 0.5, 1.0):
            shares = torch.full((3,), 1 - share, dtype=torch.float64)
            shares[(k + 1) % 3], shares[k] = share, 0.0
            if float(answer(weight, k, shares)) < margins[k] - 1e-7:
                return "Your bound is below the margin that a feature reaches: no bound."
    return None


# 4.5 ----------------------------------------------------------------------------------------------
def least_curvature(features, labels, weight, penalty):
    """The least eigenvalue, lambda - ||G||_2, into a spare dimension, lambda_w = lambda_h."""
    targets = torch.nn.functional.one_hot(labels, len(weight))
    slope = (torch.softmax(features @ weight.T, dim=1) - targets) / len(labels)
    return penalty - torch.linalg.matrix_norm(slope, 2).item()


def _by_frobenius(features, labels, weight, penalty):
    return penalty - _slope(features, labels, weight).norm().item()


def _not_divided(features, labels, weight, penalty):
    slope = _slope(features, labels, weight) * len(labels)
    return penalty - torch.linalg.matrix_norm(slope, 2).item()


def _by_smallest(features, labels, weight, penalty):
    return penalty - torch.linalg.svdvals(_slope(features, labels, weight)).min().item()


def _only_norm(features, labels, weight, penalty):
    return torch.linalg.matrix_norm(_slope(features, labels, weight), 2).item()


def _curves_at_origin(answer: Answer) -> str | None:
    # Unequal norms of the singular values, so that no two of the mistakes agree.
    model, features, weight = _place()
    arguments = (features, model.labels, weight, 0.02)
    value = answer(*arguments)
    if message := wrong_number(value):
        return message
    near = {
        _by_frobenius: "You use the Frobenius norm. Best is to put all of the new coordinate into "
        "*one* pair of singular vectors: the largest singular value counts.",
        _not_divided: "The loss is a mean: G = (softmax − onehot)/N.",
        _by_smallest: "You use the smallest singular value. The steepest way down belongs to the "
        "largest.",
        _only_norm: "That is ‖G‖₂. The penalty works against it: λ − ‖G‖₂.",
    }
    for wrong, message in near.items():
        if math.isclose(float(value), wrong(*arguments), rel_tol=1e-6):
            return message
    truth = least_curvature(*arguments)
    if not math.isclose(float(value), truth, rel_tol=1e-6):
        return f"At a random point you get {float(value):.5g}; λ − ‖G‖₂ is {truth:.5g} there."
    return None


def _flat_at_optimum(answer: Answer) -> str | None:
    model, _, _ = _place()
    best = optimum(model).point
    value = float(answer(best.features, model.labels, best.weight, 0.02))
    if abs(value) > 1e-9:
        return f"At the optimum there is no way down: it should be 0, and you get {value:.3g}."
    return None


EXERCISES = (
    Exercise(
        "4.1",
        2,
        vanishing_penalty,
        (_vanishes,),
        (
            "Everything is zero from K c = 1 on, and c = √(n λ_W λ_H).",
            "With λ_W = λ_H = λ, c = λ √n.",
            "Solve K λ √n = 1 for λ.",
        ),
        "At the origin the fit pulls with strength 1/(K√n), the largest singular value of its "
        "gradient in the logits. A penalty that pulls harder wins.",
        (
            Mistake(_no_root, "outside the root"),
            Mistake(_no_samples, "does not depend on n"),
            Mistake(_no_classes, "Where is your K"),
        ),
    ),
    Exercise(
        "4.2",
        1,
        margin,
        (_margin_small_penalty, _margin_large_penalty),
        (
            "Set the derivative of log(1 + (K−1)e^{−a}) + (K−1) c a to zero.",
            "(K−1)e^{−a} / (1 + (K−1)e^{−a}) = (K−1) c; multiply above and below by e^a.",
            "e^a + K − 1 = 1/c. For K c ≥ 1 it has no positive solution: return 0.",
        ),
        "One unknown is left because the loss is convex in the logits and symmetric in the "
        "classes; its slope at zero decides whether it leaves zero at all.",
        (
            Mistake(_margin_without_n, "You drop n"),
            Mistake(_margin_missing_one, "log(1/c − K)"),
            Mistake(_margin_unclipped, "negative"),
            Mistake(_margin_base_ten, "base 10"),
        ),
    ),
    Exercise(
        "4.3",
        4,
        best_classifier,
        (_regresses,),
        (
            "Append a constant 1 to every feature: the bias becomes one more column of W.",
            "With E the extended features, (N, d+1): solve (EᵀE/N + λI) X = EᵀY/N.",
            "X is (d+1, K): return X.T[:, :-1], X.T[:, -1].",
        ),
        "L⊥ is the squared distance to this classifier, weighted by the same matrix: what is left "
        "to gain without touching the features.",
        (
            Mistake(_free_bias, "not penalised"),
            Mistake(_sum_of_squares, "sum over samples"),
            Mistake(_without_bias, "Append a constant"),
            Mistake(_without_penalty, "plain least squares"),
        ),
    ),
    Exercise(
        "4.4",
        5,
        margin_bound,
        (_bounds_the_margin, _holds_for_the_programme),
        (
            "The least of <w_k − w_l, h> over l is at most any weighted mean of them: at most "
            "<w_k − Σ p_l w_l, h>.",
            "With v = w_k − Σ p_l w_l, which entries of h should be 1 and which 0?",
            "(weight[k] - shares @ weight).clamp(min=0).sum().item()",
        ),
        "If it is 0, class k is out of reach for every feature after a ReLU, and no training "
        "helps. With the best shares it equals `nonnegative_margins`: duality of linear "
        "programmes.",
        (
            Mistake(_all_entries, "it takes 0"),
            Mistake(_absolute_entries, "absolute values"),
            Mistake(_evenly_shared, "evenly"),
            Mistake(_turned_round, "other way"),
            Mistake(_cut_too_early, "subtract first"),
            Mistake(_as_a_length, "You take a norm"),
        ),
    ),
    Exercise(
        "4.5",
        3,
        least_curvature,
        (_curves_at_origin, _flat_at_optimum),
        (
            "G = (softmax − onehot)/N, (N, K), is the gradient in the logits.",
            "Moving by u in W and v in H along a spare dimension changes the loss by "
            "vᵀG u + λ/2(‖u‖² + ‖v‖²). Which u and v of a given length make it smallest?",
            "The top pair of singular vectors, with opposite signs: "
            "penalty - torch.linalg.matrix_norm(G, 2).item().",
        ),
        "The same number decides optimality: if ‖G‖₂ ≤ λ there is no way down into a spare "
        "dimension, and the convex problem in the logits is solved.",
        (
            Mistake(_by_frobenius, "Frobenius"),
            Mistake(_not_divided, "is a mean"),
            Mistake(_by_smallest, "smallest singular value"),
            Mistake(_only_norm, "works against it"),
        ),
    ),
)
