"""Exercises of chapter 9, progressive collapse."""

import math

import torch
from torch import Tensor

from ncourse.exercises.agreement import Unfit, close
from ncourse.exercises.checks import Exercise, Mistake
from ncourse.exercises.draws import integer, normal, orthonormal, shuffled, uniform
from ncourse.simplex import SimplexFrame, cosine_matrix, off_diagonal

IMPORTS = """
import inspect
import math
import numpy as np
import torch
from torch.nn.functional import normalize
from ncourse.continual import ExperienceReplay, Naive, ProgressiveCollapse, Stream, dot_regression
from ncourse.continual import final_accuracy, first_minus_last, forgetting, learn
from ncourse.data import digits
from ncourse.papers import wang2025
from ncourse.simplex import SimplexFrame, growth_cosine
"""


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


def _old_and_new(generator):
    for samples, dim in ((12, 5), (4, 9), (1, 3)):
        old = 3 * normal(generator, samples, dim)
        yield normal(generator, samples, dim), old
        yield old + 0.3 * normal(generator, samples, dim), old
    yield -old, old


def _loss_and_gradients(answer, arguments):
    """The loss, its gradient in the features, and that in the old features."""
    features, old = (each.requires_grad_() for each in arguments)
    value = answer(features, old)
    if value is None:
        raise Unfit("Your function returns None. Is the `return` missing?")
    if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
        raise Unfit(
            "Return the loss as a scalar tensor with a gradient in `features`, not its number."
        )
    gradients = torch.autograd.grad(value.sum(), (features, old), allow_unused=True)
    found = [torch.zeros_like(old) if each is None else each for each in gradients]
    return float(value.detach()), found[0], found[1]


def _holds_directions(value, wanted, arguments):
    loss, toward_features, toward_old = value
    if toward_old.abs().max() > 0:
        if not toward_features.abs().max() > 0:
            return "The gradient flows into the old features alone: you detached the other ones."
        return (
            "The gradient flows into the old features too. The old network is a record of what "
            "was: detach it."
        )
    if not close()(loss, wanted[0], arguments):
        return f"For features {tuple(toward_old.shape)} you get {loss:.4g}; it is {wanted[0]:.4g}."
    if not close()(toward_features, wanted[1], arguments):
        return "The loss is right, its gradient in `features` is not. Is a part of it detached?"
    return True


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


def _not_normalised_first(means):
    count = len(means)
    u, _, vh = torch.linalg.svd(means - means.mean(0), full_matrices=False)
    return math.sqrt(count / (count - 1)) * u[:, :-1] @ vh[:-1]


def _any_simplex(means):
    return SimplexFrame(torch.eye(*means.shape, dtype=means.dtype)).vertices


def _class_means(generator):
    for count, dim in ((4, 7), (2, 6), (6, 6), (3, 4)):
        lengths = torch.linspace(0.3, 2, count, dtype=torch.float64)[:, None]
        yield (lengths * normal(generator, count, dim) + normal(generator, dim),)


def _is_the_nearest(result, wanted, arguments):
    count = len(wanted)
    if (result - wanted).abs().max() <= 1e-5:
        return True
    sums, lengths = result.sum(0).norm().item(), result.norm(dim=1)
    if not sums <= 1e-4:
        return (
            f"Your vertices sum to a vector of length {sums:.3g}, not to zero. The centred means "
            "have rank K − 1: their last singular value is 0 and its direction arbitrary. Leave it "
            "out."
        )
    if not (lengths - 1).abs().max() <= 1e-4:
        return f"Your rows have lengths {lengths.min():.3f} to {lengths.max():.3f}; expected 1."
    cosines = off_diagonal(cosine_matrix(result))
    if not (cosines + 1 / (count - 1)).abs().max() <= 1e-4:
        return (
            f"Your cosines run from {cosines.min():.3f} to {cosines.max():.3f}; in a simplex of "
            f"{count} all are {-1 / (count - 1):.3f}."
        )
    directions = _only_centred(*arguments)
    mine, least = ((each - directions).square().sum() for each in (result, wanted))
    return (
        "A simplex, but not the nearest to the centred means of length 1: its squared distance to "
        f"them is {mine:.4g}; it can be {least:.4g}."
    )


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
    if count == 1:
        return grow_by_one(basis, direction)
    grown = grow_by_one(basis, direction) / math.sqrt((count + 1) / count)
    return math.sqrt(count / (count - 1)) * grown


def _only_basis(basis, direction):
    new = direction - basis.T @ (basis @ direction)
    return torch.cat([basis, (new / new.norm())[None]])


def _keeps_old_vertices(basis, direction):
    new = direction - basis.T @ (basis @ direction)
    count = len(basis)
    old = math.sqrt(count / (count - 1)) * (basis - basis.mean(0)) if count > 1 else basis
    return torch.cat([old, (new / new.norm())[None]])


def _bases(generator):
    for count, dim in ((3, 6), (5, 8), (2, 3), (1, 4)):
        yield orthonormal(generator, count, dim), 4 * normal(generator, dim)


def _has_grown(result, wanted, arguments):
    """The new basis row may have either sign."""
    basis, direction = arguments
    other = grow_by_one(basis, -direction)
    if min((result - wanted).abs().max(), (result - other).abs().max()) <= 1e-5:
        return True
    count = len(wanted)
    gram = result @ result.T
    if not (gram - wanted @ wanted.T).abs().max() <= 1e-4:
        return f"Your rows are no simplex: their inner products are not 1 and −1/{count - 1}."
    turn = (result[:-1] * wanted[:-1]).sum(1).min().item()
    return (
        "A simplex, but not the grown one: an old vertex has cosine "
        f"{turn:.3f} with its right place. Keep the old basis rows exactly as they are, and let "
        "the new one come from `direction`."
    )


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


def _buffers(generator):
    for count in (3, 5):
        sizes = [integer(generator, 5, 20)]
        for _ in range(count - 1):
            sizes.append(sizes[-1] * 2 + integer(generator, 1, 30))
        levels = sorted(uniform(generator, 0.3, 0.95) for _ in range(count))
        middle = uniform(generator, 0.1, 0.9)
        yield sizes, levels, levels[0] + middle * (levels[1] - levels[0])
        yield sizes, levels, levels[-2] + middle * (levels[-1] - levels[-2])
        yield sizes, levels, levels[1]  # a measured accuracy, exactly
        yield sizes, levels, levels[0]
        yield sizes, levels, levels[-1]
        yield sizes, levels, levels[0] - 0.1
        yield sizes, levels, levels[-1] + 0.01
        # Up, down and up again: the first crossing counts.
        dips = [0.1, 0.6 + uniform(generator, 0, 0.1), 0.4, 0.9]
        yield sizes[:1] + [sizes[0] * (3 + i) for i in range(3)], dips, 0.5
    yield [10, 30, 50], [0.2, 0.8, uniform(generator, 0.3, 0.5)], 0.6  # reached, and lost again
    # A long dip, which a search by halves would step into.
    rise = sorted(uniform(generator, 0.1, 0.45) for _ in range(5))
    dip = sorted(uniform(generator, 0.2, 0.45) for _ in range(17))
    yield [10 + 3 * i for i in range(24)], [*rise, 0.7, *dip, 0.9], 0.5
    yield [25], [0.5], uniform(generator, 0.1, 0.4)


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


def _before_the_end(accuracy):
    tasks = len(accuracy)
    lost = [max(row[j] for row in accuracy[j:-1]) - accuracy[-1][j] for j in range(tasks - 1)]
    return sum(lost) / len(lost)


def _of_the_means(accuracy):
    means = [sum(row[: t + 1]) / (t + 1) for t, row in enumerate(accuracy)]
    return max(means) - means[-1]


def _matrices(generator):
    for tasks in (4, 2, integer(generator, 5, 7)):
        matrix = [
            [uniform(generator, 0.3, 1) if j <= t else 0.0 for j in range(tasks)]
            for t in range(tasks)
        ]
        yield (matrix,)
        # One task is at its best in the end: it has lost nothing.
        best = [*matrix[:-1], [1.0, *matrix[-1][1:]]]
        yield (best,)
    order = shuffled(generator, [0.9, 0.95, 0.6])
    yield ([[order[0], 0.0, 0.0], [order[1], 0.8, 0.0], [order[2], 0.85, 0.7]],)


EXERCISES = (
    Exercise(
        "9.1",
        3,
        distillation,
        _old_and_new,
        (
            Mistake(
                _without_half,
                "Twice too large: the loss has a factor 1/2.",
            ),
            Mistake(
                _summed,
                "You sum over the samples; the loss is their mean, so that its weight does not "
                "depend on the batch size.",
            ),
            Mistake(
                _inner_products,
                "You use the inner products of features as they are. Features have any length: "
                "divide both by theirs first.",
            ),
            Mistake(
                _not_squared,
                "You average 1 − cos; the loss squares it, so that a feature that is far off is "
                "pulled hard and one that is nearly right hardly at all.",
            ),
            Mistake(
                _through_both,
                "The gradient flows into the old features too. The old network is a record of "
                "what was: detach it.",
            ),
            Mistake(
                _along_samples,
                "You take cosines down the columns. Rows are the features: dim=1.",
            ),
        ),
        (
            "The loss compares directions: cosines between rows of the two arguments.",
            "torch.cosine_similarity(features, old_features, dim=1) gives one cosine per sample; "
            "the old ones must not receive a gradient.",
            "old = old_features.detach(), then 0.5 * (cosines - 1).square().mean().",
        ),
        "It asks for the old direction and says nothing about the class, so it holds every sample "
        "where it was, old ones and new ones alike.",
        agreement=_holds_directions,
        use=_loss_and_gradients,
    ),
    Exercise(
        "9.2",
        1,
        nearest_simplex,
        _class_means,
        (
            Mistake(
                _not_centred,
                "Your vertices are at right angles. Subtract the mean of the class means first: "
                "a simplex lives in what differs between classes.",
            ),
            Mistake(
                _only_centred,
                "These are the centred means with length 1: a start, but their cosines are not "
                "all −1/(K−1). Set all singular values equal.",
            ),
            Mistake(
                _no_scale,
                "Right directions, but your rows are shorter than 1: scale by √(K/(K−1)).",
            ),
            Mistake(
                _any_simplex,
                "A simplex, but it has nothing to do with the means: not the nearest.",
            ),
            Mistake(
                _not_normalised_first,
                "A simplex, but not the nearest to directions: you left the centred means at "
                "their own lengths. Bring each to length 1 first, so that a long one does not "
                "decide alone.",
            ),
        ),
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
        agreement=_is_the_nearest,
    ),
    Exercise(
        "9.3",
        2,
        grow_by_one,
        _bases,
        (
            Mistake(
                _not_orthogonal,
                "The new direction overlaps the old basis. Subtract its projection basisᵀ(basis "
                "· direction) first.",
            ),
            Mistake(
                _not_normalised,
                "The new basis row is orthogonal but not of length 1: normalise it after the "
                "projection is gone.",
            ),
            Mistake(
                _old_scale,
                "Your rows are longer than 1. The scale √(K/(K−1)) is that of the new K.",
            ),
            Mistake(
                _only_basis,
                "These rows are the grown *basis*, at right angles. Vertices are the basis "
                "minus its mean row, scaled to length 1.",
            ),
            Mistake(
                _keeps_old_vertices,
                "You keep the old vertices and add a direction orthogonal to them: the new "
                "cosines are 0. A simplex with one vertex more needs the old ones to make room.",
            ),
        ),
        (
            "Grow the basis, not the vertices: one more orthonormal row.",
            "direction − basisᵀ(basis · direction) is orthogonal to the old rows; normalise it.",
            "With `grown` (K+1, d): math.sqrt((K+1)/K) * (grown - grown.mean(0)).",
        ),
        "Only the mean row and the scale change, so all old vertices turn by one angle, and by the "
        "proof above no other simplex turns them less in total.",
        agreement=_has_grown,
    ),
    Exercise(
        "9.4",
        5,
        catching_up,
        _buffers,
        (
            Mistake(
                _next_measured,
                "You answer the first *measured* size that is enough. Interpolate between the "
                "two sizes around the target.",
            ),
            Mistake(
                _linear_in_size,
                "You interpolate in the size itself. Accuracy goes with the *logarithm* of the "
                "buffer: half way between 80 and 320 is 160.",
            ),
            Mistake(
                _last_if_never,
                "For a target that no measured buffer reaches you return the largest; the "
                "honest answer is math.inf: not within what was measured.",
            ),
        ),
        (
            "Walk through the measured sizes until the accuracy first reaches the target.",
            "Between two sizes b₁ < b₂ take the fraction of the way up in accuracy, and go the "
            "same fraction of the way in log b.",
            "b1 * (b2 / b1) ** ((target - a1) / (a2 - a1)); math.inf if it is never reached.",
        ),
        "How many stored samples a method is worth is a fairer comparison than two accuracies at "
        "one buffer size that somebody chose.",
    ),
    Exercise(
        "9.5",
        4,
        forgotten,
        _matrices,
        (
            Mistake(
                _since_learned,
                "You start from the accuracy right after the task. A task may get better later: "
                "take its best.",
            ),
            Mistake(
                _with_the_last_task,
                "You count the last task too. Nothing could forget it yet: the mean is over the "
                "T − 1 old ones.",
            ),
            Mistake(
                _of_the_means,
                "You compare means over tasks. New tasks hide the loss on old ones: take the "
                "difference for each task first.",
            ),
            Mistake(
                _before_the_end,
                "Your best leaves out the end itself, so that a task that is at its best in the "
                "end counts as a gain. It has lost nothing: 0.",
            ),
        ),
        (
            "What was the best that the learner ever did on task j, and what does it do now?",
            "Column j of the matrix from row j on holds all accuracies on task j.",
            "max over rows j to T of accuracy[t][j], minus accuracy[T][j]; mean over j < T.",
        ),
        "Forgetting is blind to what was never learned: a learner that does nothing forgets "
        "nothing. So it stands beside final accuracy, never alone.",
    ),
)
