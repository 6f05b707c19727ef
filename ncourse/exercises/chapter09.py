"""Exercises of chapter 9, progressive collapse."""

import math

import torch
from torch import Tensor

from ncourse.exercises import Answer, Exercise, Mistake, wrong_kind, wrong_number
from ncourse.simplex import SimplexFrame, cosine_matrix, off_diagonal


def _features(seed: int, count: int = 12, dim: int = 5) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


# 9.1 ----------------------------------------------------------------------------------------------
def distillation(features, old_features):
    """Half the mean of (cos - 1)^2, with no gradient through the old features."""
    old = old_features.detach()
    cosines = torch.cosine_similarity(features, old, dim=1)
    return 0.5 * (cosines - 1).square().mean()


def _without_half(features, old_features):
    return 2 * distillation(features, old_features)


def _summed(features, old_features):
    return len(features) * distillation(features, old_features)


def _inner_products(features, old_features):
    return 0.5 * ((features * old_features.detach()).sum(1) - 1).square().mean()


def _not_squared(features, old_features):
    return 0.5 * (1 - torch.cosine_similarity(features, old_features.detach(), dim=1)).mean()


def _through_both(features, old_features):
    return 0.5 * (torch.cosine_similarity(features, old_features, dim=1) - 1).square().mean()


def _along_samples(features, old_features):
    return (
        0.5 * (torch.cosine_similarity(features, old_features.detach(), dim=0) - 1).square().mean()
    )


def _holds_directions(answer: Answer) -> str | None:
    features, old = _features(1), 3 * _features(2)
    value = answer(features, old)
    if message := wrong_number(value):
        return message
    near = {
        _without_half: "Twice too large: the loss has a factor 1/2.",
        _summed: "You sum over the samples; the loss is their mean, so that its weight does not "
        "depend on the batch size.",
        _inner_products: "You use the inner products of features as they are. Features have any "
        "length: divide both by theirs first.",
        _not_squared: "You average 1 − cos; the loss squares it, so that a feature that is far off "
        "is pulled hard and one that is nearly right hardly at all.",
        _along_samples: "You take cosines down the columns. Rows are the features: dim=1.",
    }
    for wrong, message in near.items():
        if math.isclose(float(value), float(wrong(features, old)), rel_tol=1e-4):
            return message
    truth = distillation(features, old).item()
    if not math.isclose(float(value), truth, rel_tol=1e-4):
        return f"For twelve random features you get {float(value):.4g}; it is {truth:.4g}."
    return None


def _teaches_one_way(answer: Answer) -> str | None:
    features, old = _features(1).requires_grad_(), _features(2).requires_grad_()
    value = answer(features, old)
    if not (isinstance(value, Tensor) and value.requires_grad):
        return "Your loss has no gradient in `features`; return the tensor itself, not its number."
    value.backward()
    if old.grad is not None and old.grad.abs().max() > 0:
        return (
            "The gradient flows into the old features too. The old network is a record of what "
            "was: detach it."
        )
    return None


# 9.2 ----------------------------------------------------------------------------------------------
def nearest_simplex(means):
    """Centre, normalise the rows, replace all singular values by one."""
    centred = means - means.mean(0)
    directions = centred / centred.norm(dim=1, keepdim=True)
    directions = directions - directions.mean(0)
    u, _, vh = torch.linalg.svd(directions, full_matrices=False)
    count = len(means)
    # K rows that sum to zero have rank K - 1: the last singular direction is arbitrary.
    return math.sqrt(count / (count - 1)) * u[:, :-1] @ vh[:-1]


def _not_centred(means):
    directions = means / means.norm(dim=1, keepdim=True)
    u, _, vh = torch.linalg.svd(directions, full_matrices=False)
    return u @ vh


def _only_centred(means):
    centred = means - means.mean(0)
    return centred / centred.norm(dim=1, keepdim=True)


def _no_scale(means):
    count = len(means)
    return nearest_simplex(means) * math.sqrt((count - 1) / count)


def _any_simplex(means):
    return SimplexFrame(torch.eye(*means.shape, dtype=means.dtype)).vertices


def _lands_on_a_simplex(answer: Answer) -> str | None:
    means = _features(3, 4, 7) + 2
    result = answer(means)
    if message := wrong_kind(result, (4, 7)):
        return message
    lengths = result.norm(dim=1)
    if torch.allclose(result, _not_centred(means).to(result.dtype), atol=1e-4):
        return (
            "Your vertices are at right angles. Subtract the mean of the class means first: a "
            "simplex lives in what differs between classes."
        )
    if torch.allclose(result, _no_scale(means).to(result.dtype), atol=1e-4):
        return f"Right directions, but your rows have length {lengths[0]:.3f}: scale by √(K/(K−1))."
    if torch.allclose(result, _only_centred(means).to(result.dtype), atol=1e-4):
        return (
            "These are the centred means with length 1: a start, but their cosines are not all "
            "−1/3. Set all singular values equal."
        )
    sums = result.sum(0).norm().item()
    if sums > 1e-3:
        return (
            f"Your vertices sum to a vector of length {sums:.3g}, not to zero. The centred means "
            "have rank K − 1: their last singular value is 0 and its direction arbitrary. Leave it "
            "out."
        )
    if not torch.allclose(lengths, torch.ones_like(lengths), atol=1e-3):
        return f"Your rows have lengths {lengths.min():.3f} to {lengths.max():.3f}; expected 1."
    cosines = off_diagonal(cosine_matrix(result))
    if (cosines + 1 / 3).abs().max() > 1e-3:
        return (
            f"Your cosines run from {cosines.min():.3f} to {cosines.max():.3f}; in a simplex of 4 "
            "all are −1/3."
        )
    return None


def _is_nearest(answer: Answer) -> str | None:
    for seed, count, dim in ((3, 4, 7), (4, 2, 6), (5, 6, 6)):
        means = _features(seed, count, dim)
        result, best = answer(means), nearest_simplex(means)
        directions = _only_centred(means)
        mine = (result.to(best.dtype) - directions).square().sum().item()
        least = (best - directions).square().sum().item()
        if mine > least + 1e-3:
            return (
                f"A simplex, but not the nearest: for {count} means in {dim} dimensions its "
                f"squared distance is {mine:.3f}; it can be {least:.3f}."
            )
    return None


# 9.3 ----------------------------------------------------------------------------------------------
def grow_by_one(basis, direction):
    """Orthonormalise the new direction, append it, centre, scale."""
    new = direction - basis.T @ (basis @ direction)
    grown = torch.cat([basis, (new / new.norm())[None]])
    count = len(grown)
    return math.sqrt(count / (count - 1)) * (grown - grown.mean(0))


def _not_orthogonal(basis, direction):
    grown = torch.cat([basis, (direction / direction.norm())[None]])
    count = len(grown)
    return math.sqrt(count / (count - 1)) * (grown - grown.mean(0))


def _not_normalised(basis, direction):
    new = direction - basis.T @ (basis @ direction)
    grown = torch.cat([basis, new[None]])
    count = len(grown)
    return math.sqrt(count / (count - 1)) * (grown - grown.mean(0))


def _old_scale(basis, direction):
    count = len(basis)
    grown = grow_by_one(basis, direction) / math.sqrt((count + 1) / count)
    return math.sqrt(count / (count - 1)) * grown


def _only_basis(basis, direction):
    new = direction - basis.T @ (basis @ direction)
    return torch.cat([basis, (new / new.norm())[None]])


def _keeps_old_vertices(basis, direction):
    new = direction - basis.T @ (basis @ direction)
    count = len(basis)
    old = math.sqrt(count / (count - 1)) * (basis - basis.mean(0))
    return torch.cat([old, (new / new.norm())[None]])


def _grows(answer: Answer) -> str | None:
    for seed, count, dim in ((6, 3, 6), (7, 5, 8)):
        basis = torch.linalg.qr(_features(seed, dim, count)).Q.T.contiguous()
        direction = 4 * _features(seed + 10, 1, dim)[0]
        result = answer(basis, direction)
        if message := wrong_kind(result, (count + 1, dim)):
            return message
        near = {
            _keeps_old_vertices: "You keep the old vertices and add a direction orthogonal to "
            f"them: the new cosines are 0, not −1/{count}. A simplex with one vertex more needs "
            "the old ones to make room.",
            _only_basis: "These rows are the grown *basis*, at right angles. Vertices are the "
            "basis minus its mean row, scaled to length 1.",
            _not_orthogonal: "The new direction overlaps the old basis. Subtract its projection "
            "basisᵀ(basis · direction) first.",
            _not_normalised: "The new basis row is orthogonal but not of length 1: normalise it "
            "after the projection is gone.",
            _old_scale: f"Your rows have length {result[0].norm():.4f}. The scale √(K/(K−1)) is "
            f"that of the new K = {count + 1}.",
        }
        for wrong, message in near.items():
            if torch.allclose(result, wrong(basis, direction).to(result.dtype), atol=1e-4):
                return message
        truth = grow_by_one(basis, direction).to(result.dtype)
        gram = result @ result.T
        if not torch.allclose(gram, truth @ truth.T, atol=1e-4):
            return "Your rows are no simplex: their inner products are not 1 and −1/K."
        if not torch.allclose(result, truth, atol=1e-4):
            turn = (result[:count] * (truth[:count])).sum(1).min().item()
            return (
                "A simplex, but its old vertices are elsewhere (cosine with the right place "
                f"{turn:.3f} at worst). Keep the old basis rows exactly as they are."
            )
    return None


# 9.4 ----------------------------------------------------------------------------------------------
def catching_up(buffers, accuracies, target):
    """Interpolate in the logarithm of the buffer between the sizes around the target."""
    if accuracies[0] >= target:
        return float(buffers[0])
    for i in range(1, len(buffers)):
        low, high = accuracies[i - 1], accuracies[i]
        if low < target <= high:
            fraction = (target - low) / (high - low)
            return float(buffers[i - 1] * (buffers[i] / buffers[i - 1]) ** fraction)
    return math.inf


def _next_measured(buffers, accuracies, target):
    return next(
        (float(b) for b, a in zip(buffers, accuracies, strict=True) if a >= target), math.inf
    )


def _linear_in_size(buffers, accuracies, target):
    for i in range(1, len(buffers)):
        if accuracies[i - 1] < target <= accuracies[i]:
            fraction = (target - accuracies[i - 1]) / (accuracies[i] - accuracies[i - 1])
            return buffers[i - 1] + fraction * (buffers[i] - buffers[i - 1])
    return _next_measured(buffers, accuracies, target)


def _last_if_never(buffers, accuracies, target):
    found = catching_up(buffers, accuracies, target)
    return float(buffers[-1]) if found == math.inf else found


def _between(answer: Answer) -> str | None:
    arguments = ([20, 80, 320], [0.5, 0.7, 0.9], 0.8)
    value = answer(*arguments)
    if message := wrong_number(value):
        return message
    if math.isclose(float(value), 320):
        return (
            "With accuracies .7 at 80 and .9 at 320 you answer 320 for .8: the first *measured* "
            "size that is enough. Interpolate between the two."
        )
    if math.isclose(float(value), 200, rel_tol=1e-6):
        return (
            "You interpolate in the size itself and get 200. Accuracy goes with the *logarithm* of "
            "the buffer: half way between 80 and 320 is 160."
        )
    if not math.isclose(float(value), 160, rel_tol=1e-6):
        return f"Half way from .7 (at 80) to .9 (at 320) is 160; you get {float(value):.4g}."
    return None


def _at_the_ends(answer: Answer) -> str | None:
    buffers, accuracies = [20, 80, 320], [0.5, 0.7, 0.9]
    never = answer(buffers, accuracies, 0.95)
    if never is None or float(never) != math.inf:
        return (
            f"For a target that no measured buffer reaches you return {never}; the honest answer "
            "is math.inf: not within what was measured."
        )
    if float(answer(buffers, accuracies, 0.4)) != 20:
        return "If the smallest buffer is already enough, return it."
    dips = answer([10, 20, 40, 80], [0.2, 0.6, 0.5, 0.8], 0.55)
    if not math.isclose(float(dips), 10 * 2**0.875, rel_tol=1e-6):
        return (
            "Measured accuracies need not rise all the way. Return the *first* crossing: for .2, "
            f".6, .5, .8 at 10, 20, 40, 80 and a target of .55 it is {10 * 2**0.875:.1f}."
        )
    return None


# 9.5 ----------------------------------------------------------------------------------------------
def forgotten(accuracy):
    """Mean over old tasks of the best accuracy so far minus the last one."""
    tasks = len(accuracy)
    lost = [max(row[j] for row in accuracy[j:]) - accuracy[-1][j] for j in range(tasks - 1)]
    return sum(lost) / len(lost)


def _since_learned(accuracy):
    tasks = len(accuracy)
    return sum(accuracy[j][j] - accuracy[-1][j] for j in range(tasks - 1)) / (tasks - 1)


def _with_the_last_task(accuracy):
    return forgotten(accuracy) * (len(accuracy) - 1) / len(accuracy)


def _of_the_means(accuracy):
    means = [sum(row[: t + 1]) / (t + 1) for t, row in enumerate(accuracy)]
    return max(means) - means[-1]


def _measures_forgetting(answer: Answer) -> str | None:
    accuracy = [
        [0.9, 0.0, 0.0, 0.0],
        [0.95, 0.8, 0.0, 0.0],
        [0.6, 0.85, 0.7, 0.0],
        [0.5, 0.6, 0.6, 1.0],
    ]
    value = answer([list(row) for row in accuracy])
    if message := wrong_number(value):
        return message
    near = {
        _since_learned: "You start from the accuracy right after the task. A task may get better "
        "later: take its best.",
        _with_the_last_task: "You count the last task too. Nothing could forget it yet: the mean "
        "is over the T − 1 old ones.",
        _of_the_means: "You compare means over tasks. New tasks hide the loss on old ones: take "
        "the difference for each task first.",
    }
    for wrong, message in near.items():
        if math.isclose(float(value), wrong(accuracy), rel_tol=1e-6):
            return message
    truth = forgotten(accuracy)
    if not math.isclose(float(value), truth, rel_tol=1e-6):
        return f"For a small matrix it is {truth:.4g}; yours is {float(value):.4g}."
    return None


EXERCISES = (
    Exercise(
        "9.1",
        3,
        distillation,
        (_holds_directions, _teaches_one_way),
        (
            "The loss compares directions: cosines between rows of the two arguments.",
            "torch.cosine_similarity(features, old_features, dim=1) gives one cosine per sample; "
            "the old ones must not receive a gradient.",
            "old = old_features.detach(), then 0.5 * (cosines - 1).square().mean().",
        ),
        "It asks for the old direction and says nothing about the class, so it holds every sample "
        "where it was, old ones and new ones alike.",
        (
            Mistake(_without_half, "factor 1/2"),
            Mistake(_summed, "mean"),
            Mistake(_inner_products, "any length"),
            Mistake(_not_squared, "squares it"),
            Mistake(_through_both, "detach"),
            Mistake(_along_samples, "dim=1"),
        ),
    ),
    Exercise(
        "9.2",
        1,
        nearest_simplex,
        (_lands_on_a_simplex, _is_nearest),
        (
            "Every simplex is √(K/(K−1)) times centred orthonormal rows. So centre the means, "
            "normalise the rows, centre again, and look for the nearest such matrix.",
            "Orthogonal Procrustes: in the singular value decomposition U S Vᵀ, put ones in the "
            "place of S.",
            "K centred rows have K − 1 singular values that count: "
            "√(K/(K−1)) * u[:, :-1] @ vh[:-1].",
        ),
        "Setting all singular values to one is the least change that makes a matrix's rows "
        "orthonormal in their span; that is orthogonal Procrustes.",
        (
            Mistake(_not_centred, "Subtract the mean"),
            Mistake(_only_centred, "Set all singular values equal"),
            Mistake(_no_scale, "scale by"),
            Mistake(_any_simplex, "not the nearest"),
        ),
    ),
    Exercise(
        "9.3",
        2,
        grow_by_one,
        (_grows,),
        (
            "Grow the basis, not the vertices: one more orthonormal row.",
            "direction − basisᵀ(basis · direction) is orthogonal to the old rows; normalise it.",
            "With `grown` (K+1, d): math.sqrt((K+1)/K) * (grown - grown.mean(0)).",
        ),
        "Only the mean row and the scale change, so all old vertices turn by one angle, and by the "
        "proof above no other simplex turns them less in total.",
        (
            Mistake(_not_orthogonal, "overlaps"),
            Mistake(_not_normalised, "length 1"),
            Mistake(_old_scale, "that of the new K"),
            Mistake(_only_basis, "grown *basis*"),
            Mistake(_keeps_old_vertices, "make room"),
        ),
    ),
    Exercise(
        "9.4",
        5,
        catching_up,
        (_between, _at_the_ends),
        (
            "Walk through the measured sizes until the accuracy first reaches the target.",
            "Between two sizes b₁ < b₂ take the fraction of the way up in accuracy, and go the "
            "same fraction of the way in log b.",
            "b1 * (b2 / b1) ** ((target - a1) / (a2 - a1)); math.inf if it is never reached.",
        ),
        "How many stored samples a method is worth is a fairer comparison than two accuracies at "
        "one buffer size that somebody chose.",
        (
            Mistake(_next_measured, "first *measured*"),
            Mistake(_linear_in_size, "logarithm"),
            Mistake(_last_if_never, "math.inf"),
        ),
    ),
    Exercise(
        "9.5",
        4,
        forgotten,
        (_measures_forgetting,),
        (
            "What was the best that the learner ever did on task j, and what does it do now?",
            "Column j of the matrix from row j on holds all accuracies on task j.",
            "max over rows j to T of accuracy[t][j], minus accuracy[T][j]; mean over j < T.",
        ),
        "Forgetting is blind to what was never learned: a learner that does nothing forgets "
        "nothing. So it stands beside final accuracy, never alone.",
        (
            Mistake(_since_learned, "take its best"),
            Mistake(_with_the_last_task, "T − 1 old ones"),
            Mistake(_of_the_means, "means over tasks"),
        ),
    ),
)
