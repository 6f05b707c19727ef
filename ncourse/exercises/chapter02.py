"""Exercises of chapter 2, four definitions."""

import math

import torch

from ncourse.exercises import Answer, Exercise, Mistake, wrong_kind, wrong_number
from ncourse.simplex import simplex_etf


def _clouds(
    *, spread: float = 0.5, offset: float = 3.0, dtype: torch.dtype = torch.float64
) -> tuple[torch.Tensor, torch.Tensor]:
    """Three unequal classes in five dimensions, away from the origin; the same at every call."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0] * 12 + [1] * 20 + [2] * 28)
    means = 2 * torch.randn(3, 5, generator=generator, dtype=torch.float64) + offset
    noise = spread * torch.randn(60, 5, generator=generator, dtype=torch.float64)
    return (means[labels] + noise).to(dtype), labels


def _means(features, labels):
    return torch.stack([features[labels == k].mean(0) for k in range(int(labels.max()) + 1)])


# 2.1 ----------------------------------------------------------------------------------------------
def self_duality(weight, class_means):
    """Centre the means, bring both matrices to Frobenius norm 1, square their distance."""
    centred = class_means - class_means.mean(0)
    return (weight / weight.norm() - centred / centred.norm()).square().sum().item()


def _not_centred(weight, class_means):
    return (weight / weight.norm() - class_means / class_means.norm()).square().sum().item()


def _not_scaled(weight, class_means):
    return (weight - (class_means - class_means.mean(0))).square().sum().item()


def _not_squared(weight, class_means):
    return math.sqrt(self_duality(weight, class_means))


def _row_by_row(weight, class_means):
    centred = class_means - class_means.mean(0)
    rows = weight / weight.norm(dim=1, keepdim=True)
    return (rows - centred / centred.norm(dim=1, keepdim=True)).square().sum().item()


def _distance_of_matrices(answer: Answer) -> str | None:
    features, labels = _clouds()
    means = _means(features, labels)
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    value = answer(weight.clone(), means.clone())
    if message := wrong_number(value):
        return message
    near = {
        _not_centred: "You compare W with the class means as they are. Move all features by one "
        "vector and your number changes; M has the global mean subtracted.",
        _not_scaled: "You compare the matrices at their own sizes. Double W and your number "
        "changes, although no decision does. Divide each by its Frobenius norm.",
        _not_squared: "That is the distance. Papyan, Han and Donoho square it.",
        _row_by_row: "You normalise each row by itself, which hides uneven lengths. Divide the "
        "whole matrix by one number, its Frobenius norm.",
    }
    for wrong, message in near.items():
        if math.isclose(float(value), wrong(weight, means), rel_tol=1e-6):
            return message
    truth = self_duality(weight, means)
    if not math.isclose(float(value), truth, rel_tol=1e-6):
        return f"For a random W and three means you get {float(value):.4g}; it is {truth:.4g}."
    return None


def _zero_at_duality(answer: Answer) -> str | None:
    means = _means(*_clouds())
    value = float(answer(7 * (means - means.mean(0)), means))
    if abs(value) > 1e-12:
        return f"W is 7 times the centred means here, so NC3 is 0; you get {value:.3g}."
    return None


# 2.2 ----------------------------------------------------------------------------------------------
def weighted_between(features, labels):
    """Class means around the mean of all samples, each weighted with its share n_c/N."""
    shares = labels.bincount().to(features) / len(labels)
    means = torch.stack([features[labels == k].mean(0) for k in range(len(shares))])
    centred = means - features.mean(0)
    return (shares[:, None] * centred).T @ centred


def _uniform(features, labels):
    means = _means(features, labels)
    centred = means - means.mean(0)
    return centred.T @ centred / len(means)


def _mean_of_means(features, labels):
    means = _means(features, labels)
    centred = means - means.mean(0)
    return (labels.bincount()[:, None] / len(labels) * centred).T @ centred


def _counts_not_shares(features, labels):
    return weighted_between(features, labels) * len(labels)


def _uniform_weights(features, labels):
    centred = _means(features, labels) - features.mean(0)
    return centred.T @ centred / len(centred)


def _between(answer: Answer) -> str | None:
    features, labels = _clouds()
    value = answer(features.clone(), labels.clone())
    if message := wrong_kind(value, (5, 5)):
        return message
    near = {
        _uniform: "That is Papyan's Σ_B: the mean of class means as centre, every class with "
        "weight 1/K. Here the classes have 12, 20 and 28 samples.",
        _mean_of_means: "The weights are right, the centre is not: it is the mean of all samples, "
        "features.mean(0), not the mean of the class means.",
        _counts_not_shares: "You weight with the counts n_c. The shares n_c/N sum to one.",
        _uniform_weights: "The centre is right, the weights are not: a class counts as much as it "
        "has samples, n_c/N, not 1/K.",
    }
    for wrong, message in near.items():
        if torch.allclose(value.to(features), wrong(features, labels)):
            return message
    if not torch.allclose(value.to(features), weighted_between(features, labels)):
        return "For three clouds of 12, 20 and 28 samples a different matrix is right."
    return None


def _adds_up(answer: Answer) -> str | None:
    features, labels = _clouds(spread=2.0)
    within = torch.cov((features - _means(features, labels)[labels]).T, correction=0)
    gap = torch.cov(features.T, correction=0) - within - answer(features, labels)
    if gap.abs().max() > 1e-9:
        return "Within plus between is not the total covariance on a second set of clouds."
    return None


# 2.3 ----------------------------------------------------------------------------------------------
def careful_variance(features, labels):
    """Subtract each sample's class mean, then square: tr S_W without cancellation."""
    means = torch.stack([features[labels == k].mean(0) for k in range(int(labels.max()) + 1)])
    return (features - means[labels]).square().sum(1).mean().item()


def _one_pass(features, labels):
    means = _means(features, labels)
    return (features.square().sum(1).mean() - means[labels].square().sum(1).mean()).item()


def _one_pass_in_double(features, labels):
    return _one_pass(features.double(), labels)


def _one_mean_for_all(features, labels):
    return (features - features.mean(0)).square().sum(1).mean().item()


def _per_coordinate(features, labels):
    return (features - _means(features, labels)[labels]).square().mean().item()


def _easy_variance(answer: Answer) -> str | None:
    features, labels = _clouds()
    value = answer(features.clone(), labels.clone())
    if message := wrong_number(value):
        return message
    truth = careful_variance(features, labels)
    near = {
        _one_mean_for_all: "You measure around the mean of all samples: that is tr Σ_T. Each "
        "sample's own class mean is what to subtract.",
        _per_coordinate: "You average over coordinates too. A trace is a sum over them: "
        ".square().sum(1).mean().",
    }
    for wrong, message in near.items():
        if math.isclose(float(value), wrong(features, labels), rel_tol=1e-6):
            return message
    if not math.isclose(float(value), truth, rel_tol=1e-6):
        return f"On three clouds you get {float(value):.4g}; tr Σ_W is {truth:.4g}."
    return None


def _tight_variance(answer: Answer) -> str | None:
    for dtype, spread in ((torch.float32, 1e-4), (torch.float64, 1e-9)):
        features, labels = _clouds(spread=spread, dtype=dtype)
        truth = careful_variance(features.double(), labels)
        value = float(answer(features.clone(), labels.clone()))
        if not math.isclose(value, truth, rel_tol=0.05):
            more = (
                "More digits only move the cliff. " if dtype is torch.float64 else ""
            ) + "Subtract before you square, not after."
            name = str(dtype).removeprefix("torch.")
            return (
                f"Right where the spread is wide. At spread {spread:g} in {name} you get "
                f"{value:.3g} instead of {truth:.3g}. {more}"
            )
    return None


# 2.4 ----------------------------------------------------------------------------------------------
def deceptive_classifier(class_means):
    """The pseudo-inverse of the centred means, transposed: W M^T is the centring I - J/K."""
    return torch.linalg.pinv(class_means - class_means.mean(0)).T


def _parallel(class_means):
    return class_means - class_means.mean(0)


def _a_simplex(class_means):
    generator = torch.Generator().manual_seed(0)
    return simplex_etf(*class_means.shape, generator=generator, dtype=class_means.dtype)


def _not_transposed(class_means):
    return torch.linalg.pinv(class_means - class_means.mean(0))


def _structure_without_duality(answer: Answer) -> str | None:
    generator = torch.Generator().manual_seed(2)
    means = 3 + torch.randn(4, 7, generator=generator, dtype=torch.float64)
    means[0] *= 2
    weight = answer(means.clone())
    if isinstance(weight, torch.Tensor) and weight.shape == (7, 4):
        return "Your W is (7, 4); a pseudo-inverse has the shape of the transpose. Turn it over."
    if message := wrong_kind(weight, (4, 7)):
        return message
    if self_duality(weight, means) < 1e-6:
        return (
            "Your W is parallel to M: that is self-duality, NC3 = 0, and uneven means make its "
            "structure error positive. Wanted is the opposite."
        )
    product = weight @ (means - means.mean(0)).T
    target = torch.eye(4, dtype=torch.float64) - 1 / 4
    error = (product / product.norm() - target / math.sqrt(3)).norm().item()
    if error > 1e-6:
        return (
            f"The structure error of your W is {error:.2g}. W Mᵀ must be a multiple of I − J/K for "
            "*these* means; which matrix undoes Mᵀ?"
        )
    return None


# 2.5 ----------------------------------------------------------------------------------------------
def merge(count_a, mean_a, squares_a, count_b, mean_b, squares_b):
    """Counts add, means average by count, and squares gain what the two means differ by."""
    count = count_a + count_b
    mean = (count_a * mean_a + count_b * mean_b) / count
    apart = (mean_a - mean_b).square().sum()
    return count, mean, squares_a + squares_b + count_a * count_b / count * apart


def _squares_only_add(count_a, mean_a, squares_a, count_b, mean_b, squares_b):
    count, mean, _ = merge(count_a, mean_a, squares_a, count_b, mean_b, squares_b)
    return count, mean, squares_a + squares_b


def _mean_of_two(count_a, mean_a, squares_a, count_b, mean_b, squares_b):
    count, _, squares = merge(count_a, mean_a, squares_a, count_b, mean_b, squares_b)
    return count, (mean_a + mean_b) / 2, squares


def _count_too_often(count_a, mean_a, squares_a, count_b, mean_b, squares_b):
    count, mean, _ = merge(count_a, mean_a, squares_a, count_b, mean_b, squares_b)
    return count, mean, squares_a + squares_b + count * (mean_a - mean_b).square().sum()


def _statistics(samples):
    mean = samples.mean(0)
    return len(samples), mean, (samples - mean).square().sum()


def _merged(answer: Answer) -> str | None:
    features, _ = _clouds()
    for cut in (10, 59):
        a, b = _statistics(features[:cut]), _statistics(features[cut:])
        result = answer(*a, *b)
        if result is None:
            return "Your function returns None. Is the `return` missing?"
        if not isinstance(result, tuple) or len(result) != 3:
            return "Return three things: the count, the mean and the sum of squares."
        count, mean, squares = result
        if count != len(features):
            return f"{a[0]} and {b[0]} samples are {len(features)} together; you get {count}."
        if message := wrong_kind(mean, (5,)) or wrong_number(squares):
            return message
        truth = _statistics(features)
        if not torch.allclose(mean, truth[1]):
            return (
                f"Your mean is off for batches of {a[0]} and {b[0]} samples. A sample weighs the "
                "same in whichever batch it came."
            )
        squares = float(squares)
        if math.isclose(squares, float(a[2] + b[2]), rel_tol=1e-9):
            return (
                "Your squares are still measured around each batch's own mean. Around the common "
                "mean they are larger, the more the further the two means are apart."
            )
        if not math.isclose(squares, float(truth[2]), rel_tol=1e-9):
            return (
                f"Batches of {a[0]} and {b[0]}: your squares are {squares:.4g}, those of all "
                f"samples {float(truth[2]):.4g}. What must be added is n_a n_b / (n_a + n_b) times "
                "a squared distance."
            )
    return None


EXERCISES = (
    Exercise(
        "2.1",
        1,
        self_duality,
        (_distance_of_matrices, _zero_at_duality),
        (
            "M has rows μ_k − μ_G. With equal classes μ_G is the mean of the class means.",
            "tensor.norm() of a matrix is its Frobenius norm, one number.",
            "(weight / weight.norm() - centred / centred.norm()).square().sum().item()",
        ),
        "Both matrices are points on one sphere, and NC3 is the squared distance of these two "
        "points: 0 if W is a positive multiple of M, 2 at a right angle, 4 if they are opposite.",
        (
            Mistake(_not_centred, "global mean subtracted"),
            Mistake(_not_scaled, "Frobenius norm"),
            Mistake(_not_squared, "square it"),
            Mistake(_row_by_row, "hides uneven lengths"),
        ),
    ),
    Exercise(
        "2.2",
        2,
        weighted_between,
        (_between, _adds_up),
        (
            "Two choices differ from Papyan's: the centre, and how much a class counts.",
            "features.mean(0) is the centre; labels.bincount() / len(labels) are the weights.",
            "(shares[:, None] * centred).T @ centred",
        ),
        "With these two choices, and only with both, Σ_T = Σ_W + Σ_B: that is what lets "
        "tr Σ_W / tr Σ_T be a share between 0 and 1.",
        (
            Mistake(_uniform, "Papyan's"),
            Mistake(_mean_of_means, "the centre is not"),
            Mistake(_counts_not_shares, "sum to one"),
            Mistake(_uniform_weights, "the weights are not"),
        ),
    ),
    Exercise(
        "2.3",
        3,
        careful_variance,
        (_easy_variance, _tight_variance),
        (
            "E‖h‖² − ‖μ‖² subtracts two large numbers to get a small one. Avoid that subtraction.",
            "means[labels] is (N, d): each sample's own class mean.",
            "(features - means[labels]).square().sum(1).mean().item()",
        ),
        "Subtracting two nearby numbers is exact or nearly so; what was lost was lost in squaring "
        "large ones first. So centre first, and square what is left.",
        (
            Mistake(_one_pass, "Subtract before you square"),
            Mistake(_one_pass_in_double, "only move the cliff"),
            Mistake(_one_mean_for_all, "tr Σ_T"),
            Mistake(_per_coordinate, "sum over them"),
        ),
    ),
    Exercise(
        "2.4",
        4,
        deceptive_classifier,
        (_structure_without_duality,),
        (
            "The structure error looks only at W Mᵀ. Which W turns Mᵀ into a multiple of I − J/K?",
            "For M of rank K − 1 whose rows sum to zero, M M⁺ is I − J/K.",
            "torch.linalg.pinv(class_means - class_means.mean(0)).T",
        ),
        "M M⁺ projects onto the column space of M, and that is everything orthogonal to the "
        "all-ones vector: I − J/K, for any means of rank K − 1. So W = (M⁺)ᵀ passes, parallel to "
        "M or not.",
        (
            Mistake(_parallel, "parallel to M"),
            Mistake(_a_simplex, "which matrix undoes"),
            Mistake(_not_transposed, "Turn it over"),
        ),
    ),
    Exercise(
        "2.5",
        5,
        merge,
        (_merged,),
        (
            "Around the common mean, batch a's squares grow by n_a ‖μ_a − μ‖², and b's likewise.",
            "μ_a − μ = n_b / (n_a + n_b) · (μ_a − μ_b). Insert it in both and add.",
            "squares_a + squares_b + count_a * count_b / (count_a + count_b) * apart, with apart "
            "the squared distance of the two means.",
        ),
        "No sample is needed twice and nothing large is squared: this formula of Chan, Golub and "
        "LeVeque is how streams and processes are merged.",
        (
            Mistake(_squares_only_add, "each batch's own mean"),
            Mistake(_mean_of_two, "weighs the same"),
            Mistake(_count_too_often, "n_a n_b"),
        ),
    ),
)
