"""Exercises of chapter 5, shallow networks."""

import math

import numpy as np
import torch
from scipy.optimize import linprog

from ncourse.exercises.agreement import Unfit, received
from ncourse.exercises.checks import Exercise, Mistake
from ncourse.exercises.draws import integer, labels, log_uniform, normal, orthonormal, uniform

IMPORTS = """
import math
import numpy as np
import torch
from scipy.optimize import linprog
from ncourse.papers import hong2024
"""


# 5.1 ----------------------------------------------------------------------------------------------
def least_loss(num_classes, samples_per_class, lambda_w, lambda_h):
    """R* = Kc - (Kc)^2 / 2 with c = sqrt(n lambda_w lambda_h); 1/2 once Kc >= 1."""
    shrinkage = num_classes * math.sqrt(samples_per_class * lambda_w * lambda_h)
    if shrinkage >= 1:
        return 0.5
    return shrinkage - shrinkage**2 / 2


def _penalty_only(num_classes, samples_per_class, lambda_w, lambda_h):
    return num_classes * math.sqrt(samples_per_class * lambda_w * lambda_h)


def _one_class(num_classes, samples_per_class, lambda_w, lambda_h):
    return least_loss(1, samples_per_class, lambda_w, lambda_h)


def _without_samples(num_classes, samples_per_class, lambda_w, lambda_h):
    return least_loss(num_classes, 1, lambda_w, lambda_h)


def _not_capped(num_classes, samples_per_class, lambda_w, lambda_h):
    shrinkage = num_classes * math.sqrt(samples_per_class * lambda_w * lambda_h)
    return shrinkage - shrinkage**2 / 2


def _at_the_target(num_classes, samples_per_class, lambda_w, lambda_h):
    # Logits 1, as if the penalties did not pull them down.
    return num_classes * math.sqrt(samples_per_class * lambda_w * lambda_h) / 2


def _penalties(generator):
    for count, samples in ((3, 20), (integer(generator, 4, 9), 1), (2, integer(generator, 5, 50))):
        # K c below 1, just below, between 1 and 2, and beyond.
        for shrinkage in (uniform(generator, 0.02, 0.9), 0.98, 1.4, uniform(generator, 2.5, 9)):
            first = log_uniform(generator, 1e-2, 1)
            yield count, samples, first, (shrinkage / count) ** 2 / (samples * first)
    yield 4, 4, 0.125, 0.125  # K c is exactly 1


# 5.2 ----------------------------------------------------------------------------------------------
def witness(data, labels, k):
    """<u, x> = 1 on class k and <= 0 elsewhere, u of any sign; None if there is no such u."""
    own = labels == k
    solved = linprog(
        np.zeros(data.shape[1]),
        A_eq=data[own],
        b_eq=np.ones(own.sum()),
        A_ub=data[~own],
        b_ub=np.zeros((~own).sum()),
        bounds=(None, None),
    )
    return solved.x if solved.status == 0 else None


def _programme(data, labels, k, **changes):
    own = labels == k
    equal = {"A_eq": data[own], "b_eq": np.ones(own.sum())}
    below = {"A_ub": data[~own], "b_ub": np.zeros((~own).sum())}
    parts = equal | below | {"bounds": (None, None)} | changes
    solved = linprog(np.zeros(data.shape[1]), **parts)
    return solved.x if solved.status == 0 else None


def _default_bounds(data, labels, k):
    return _programme(data, labels, k, bounds=(0, None))


def _other_way(data, labels, k):
    return _programme(data, labels, k, A_ub=-data[labels != k])


def _off_exactly(data, labels, k):
    targets = (labels == k).astype(float)
    return _programme(data, labels, k, A_eq=data, b_eq=targets, A_ub=None, b_ub=None)


def _all_below(data, labels, k):
    return _programme(data, labels, k, A_ub=data, b_ub=np.zeros(len(data)))


def _at_least_one(data, labels, k):
    own = labels == k
    below = np.concatenate([data[~own], -data[own]])
    limits = np.concatenate([np.zeros((~own).sum()), -np.ones(own.sum())])
    return _programme(data, labels, k, A_eq=None, b_eq=None, A_ub=below, b_ub=limits)


def _zero_target(data, labels, k):
    return _programme(data, labels, k, b_eq=np.zeros((labels == k).sum()))


SAMPLES = (
    # u = (-1, 0) tells class 0 from class 1; no u >= 0 does.
    ([[-1.0, 0.5], [-1.0, 2.0], [1.0, 1.0], [2.0, -1.0], [0.5, -3.0]], [0, 0, 1, 1, 1]),
    # The same turned by a half: here some u >= 0 does.
    ([[1.0, -0.5], [1.0, -2.0], [-1.0, -1.0], [-2.0, 1.0], [-0.5, 3.0]], [0, 0, 1, 1, 1]),
    # No u at all.
    ([[1.0, 0.0], [2.0, 1.0], [1.0, 1.0]], [0, 1, 1]),
    # One sample a class: 0 on the other is enough, and less is allowed.
    ([[1.0, 0.0], [2.0, 1.0]], [0, 1]),
    # One dimension: 1 on the class leaves -1/2 for the other, and no less.
    ([[1.0], [-0.5]], [0, 1]),
    # On the other class nothing but 0 is possible.
    ([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], [0, 1, 1]),
    # So near zero that u is long.
    ([[-0.002, 0.001], [-0.002, 0.004], [0.002, 0.002]], [0, 0, 1]),
    # Class 0 can be fitted, <u, x> >= 1, and not be sent to one value.
    ([[1.0, 0.0], [2.0, 0.0], [-1.0, 1.0], [-2.0, -1.0]], [0, 0, 1, 1]),
)


def _samples(generator):
    for points, of_class in SAMPLES:
        order = torch.randperm(len(points), generator=generator).numpy()
        stretch = uniform(generator, 0.5, 2)
        yield stretch * np.array(points)[order], np.array(of_class)[order], 0
    for dim in (4, 9, 12, 18):
        for counts in ((6, 6, 6), (3, 5), (2, 7, 4, 5)):
            of_class = labels(generator, counts).numpy()
            k = integer(generator, 0, len(counts) - 1)
            yield normal(generator, len(of_class), dim).numpy(), of_class, k


def _fault(value, data, labels, k):
    """What is wrong with a witness: "off" or "uneven" on class k, "on" elsewhere, or nothing."""
    values = data @ received(value, torch.zeros(data.shape[1])).numpy()
    if np.abs(values[labels == k]).max() < 1e-6:
        return "off"
    if not np.abs(values[labels == k] - 1).max() <= 1e-5:
        return "uneven"
    return "" if values[labels != k].max() <= 1e-5 else "on"


FAULTS = {
    "off": "Your u gives 0 on class k: a unit that is off. Ask for 1 there.",
    "uneven": "Your u is not 1 on *each* sample of class k: an equality, A_eq and b_eq. To be at "
    "least 1 is enough to fit, not to collapse.",
    "on": "Your u is positive on a sample of another class, so the unit is on there. `linprog` "
    "reads A_ub @ u <= b_ub: is a sign the other way round?",
}


def _is_a_witness(value, wanted, arguments):
    if value is not None and (fault := _fault(value, *arguments)):
        return FAULTS[fault]
    if value is None and wanted is not None:
        return (
            f"For {len(arguments[0])} points in {arguments[0].shape[1]} dimensions you return None "
            "for a class that has a witness. Which of your conditions is too strict?"
        )
    return True


def _same_fault(value, other, arguments):
    """Two answers make the same mistake if both find nothing, or witnesses with the same fault."""
    if value is None or other is None:
        return value is other
    try:
        return _fault(value, *arguments) == _fault(other, *arguments)
    except Unfit:  # no vector at all
        return False


# 5.3 ----------------------------------------------------------------------------------------------
def snr_threshold(feasible, low, high, tolerance):
    """Bisection: keep `low` infeasible and `high` feasible until they are close."""
    while high - low > tolerance:
        middle = (low + high) / 2
        if feasible(middle):
            high = middle
        else:
            low = middle
    return (low + high) / 2


def _wrong_half(feasible, low, high, tolerance):
    return snr_threshold(lambda snr: not feasible(snr), low, high, tolerance)


def _one_halving(feasible, low, high, tolerance):
    middle = (low + high) / 2
    return (middle + high) / 2 if not feasible(middle) else (low + middle) / 2


def _scan(feasible, low, high, tolerance):
    while not feasible(low):
        low += tolerance
    return low


def _width(feasible, low, high, tolerance):
    edge = snr_threshold(feasible, low, high, tolerance)
    return edge - low


class Feasible:
    """True from an edge on, and a count of how often it was asked."""

    def __init__(self, edge, at_the_edge):
        self.edge, self.at_the_edge, self.asked = edge, at_the_edge, 0

    def __call__(self, snr):
        """Whether this SNR is enough."""
        self.asked += 1
        if self.asked > 2_000:
            raise RuntimeError("asked 2,000 times and still not done")
        return snr > self.edge or (self.at_the_edge and snr == self.edge)


def _edges(generator):
    for low, high, tolerance in ((0.25, 8.0, 1e-3), (0.0, 1.0, 1e-6), (2.0, 30.0, 0.5)):
        for share in (uniform(generator, 0.03, 0.3), uniform(generator, 0.6, 0.97)):
            yield Feasible(low + share * (high - low), True), low, high, tolerance
    yield Feasible(0.5, False), 0.0, 1.0, 0.01  # the edge is the first middle
    low = uniform(generator, 0.1, 0.4)
    yield Feasible(low + 0.3, True), low, low + 0.5, 1e-4


def _value_and_questions(answer, arguments):
    return answer(*arguments), arguments[0].asked


def _is_the_edge(value, wanted, arguments):
    feasible, low, high, tolerance = arguments
    (place, asked), (_, enough) = value, wanted
    if asked > enough + 4:
        return (
            f"You ask {asked:g} times. Halving needs {enough} questions from {high:g} − {low:g} "
            f"down to {tolerance:g}; each question is a linear programme."
        )
    if abs(place - feasible.edge) <= 1.01 * tolerance:
        return True
    reached = (
        f"For an edge at {feasible.edge:.4g} between {low:g} and {high:g} you return {place:.4g}."
    )
    if min(abs(place - low), abs(place - high)) <= 5 * tolerance:
        return (
            f"{reached} You end at an end. If the middle is feasible, the edge is below it, so the "
            "middle becomes the new `high`."
        )
    return f"{reached} The tolerance is {tolerance:g}: go on halving while high − low is above it."


# 5.4 ----------------------------------------------------------------------------------------------
def second_layer(data, labels, first):
    """Solve Phi U^T = onehot, with Phi (N, D1) what the first layer makes of the data."""
    hidden = torch.relu(data @ first.T)
    onehot = torch.nn.functional.one_hot(labels).to(data.dtype)
    return (torch.linalg.pinv(hidden) @ onehot).T


def _before_the_relu(data, labels, first):
    onehot = torch.nn.functional.one_hot(labels).to(data.dtype)
    return (torch.linalg.pinv(data @ first.T) @ onehot).T


def _added_up(data, labels, first):
    onehot = torch.nn.functional.one_hot(labels).to(data.dtype)
    return onehot.T @ torch.relu(data @ first.T)


def _hidden_means(data, labels, first):
    onehot = torch.nn.functional.one_hot(labels).to(data.dtype)
    return (onehot / onehot.sum(0)).T @ torch.relu(data @ first.T)


def _standing(data, labels, first):
    return second_layer(data, labels, first).T


def _of_the_data(data, labels, first):
    onehot = torch.nn.functional.one_hot(labels).to(data.dtype)
    return (torch.linalg.pinv(data) @ onehot).T


def _wide_layers(generator):
    for counts, dim, width in (((4, 4, 4), 4, 48), ((2, 7), 3, 40), ((3, 1, 6, 2), 5, 60)):
        of_class = labels(generator, counts)
        yield normal(generator, len(of_class), dim), of_class, normal(generator, width, dim)
        yield 0.1 * normal(generator, len(of_class), dim), of_class, normal(generator, width, dim)


def _sends_to_corners(second, wanted, arguments):
    data, of_class, first = arguments
    features = torch.relu(torch.relu(data @ first.T) @ second.T)
    off = (features - torch.eye(len(second), dtype=torch.float64)[of_class]).abs().max().item()
    if not off <= 1e-5:
        return (
            f"The features of some sample are off by {off:.3g}. For class k they should be 1 in "
            "unit k and 0 in all others."
        )
    return True


# 5.5 ----------------------------------------------------------------------------------------------
def one_unit(data, labels, k):
    """Equalities and inequalities: "collapses"; inequalities alone: "separates"; else "neither"."""
    own = labels == k
    if witness(data, labels, k) is not None:
        return "collapses"
    below = np.concatenate([data[~own], -data[own]])
    limits = np.concatenate([np.zeros((~own).sum()), -np.ones(own.sum())])
    solved = linprog(np.zeros(data.shape[1]), A_ub=below, b_ub=limits, bounds=(None, None))
    return "separates" if solved.status == 0 else "neither"


def _not_strict(data, labels, k):
    # <u, x> >= 0 on class k is solved by u = 0.
    return "collapses" if witness(data, labels, k) is not None else "separates"


def _weaker_first(data, labels, k):
    found = one_unit(data, labels, k)
    return "separates" if found == "collapses" else found


def _two_answers(data, labels, k):
    return "collapses" if witness(data, labels, k) is not None else "neither"


def _fits_is_enough(data, labels, k):
    found = one_unit(data, labels, k)
    return "collapses" if found == "separates" else found


FOUR_POINTS = (
    [[1.0, 0.5], [1.0, 2.0], [-1.0, 1.0], [-2.0, -1.0]],  # collapses
    [[1.0, 0.0], [2.0, 0.0], [-1.0, 1.0], [-2.0, -1.0]],  # separates
    [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]],  # neither
    [
        [-2.0, -1.0],
        [-1.0, 0.0],
        [0.0, -1.0],
        [0.0, 1.0],
    ],  # separates; least squares does not see it
    [[0.002, 0.0], [0.004, 0.0], [0.0, 0.0], [-0.002, 0.0]],  # separates, by a long u
    [[1.0, 0.0], [-1.0, 0.0], [0.0, -1.0], [0.0, -2.0]],  # neither: u >= 0 on the class, not > 0
)


def _points(generator):
    for points in FOUR_POINTS:
        for _ in range(2):
            order = torch.randperm(4, generator=generator).numpy()
            turn = orthonormal(generator, 2, 2).numpy()
            k = integer(generator, 0, 1)
            of_class = np.array([k, k, 1 - k, 1 - k])
            yield np.array(points)[order] @ turn, of_class[order], k
    for dim, counts in ((4, (5, 5, 5)), (7, (3, 8, 4)), (9, (7, 6)), (12, (4, 2, 5, 4))):
        of_class = labels(generator, counts).numpy()
        for k in range(2):
            yield normal(generator, len(of_class), dim).numpy(), of_class, k


EXERCISES = (
    Exercise(
        "5.1",
        1,
        least_loss,
        _penalties,
        (
            Mistake(
                _penalty_only,
                "That is K c. You have set the logits to 1 and counted the penalty only; at the "
                "minimum they are 1 − K c, which costs a fit and saves penalty: what is left is "
                "K c − (K c)²/2.",
            ),
            Mistake(
                _one_class,
                "Your answer does not depend on K. Put c = K √(n λ_W λ_H) into it, not √(n λ_W "
                "λ_H).",
            ),
            Mistake(
                _without_samples,
                "Your answer does not depend on n. Each sample brings a feature that costs "
                "penalty.",
            ),
            Mistake(
                _not_capped,
                "Beyond K c = 1 the best logit would be negative, and that does not pay: "
                "everything is zero, and the loss of zero is 1/2.",
            ),
            Mistake(
                _at_the_target,
                "That is K c/2, half of the penalty at logits of 1. There is a factor of two to "
                "find in λ/2 ‖W‖² + λ/2 ‖H‖², and the logits are 1 − K c, not 1.",
            ),
        ),
        (
            "Minimise (a − 1)²/(2N) + √(λ_W λ_H / n) a over one sample's logit a, then add up N.",
            "With c = √(n λ_W λ_H), the best a is 1 − K c if that is positive, else 0.",
            "K c − (K c)²/2 for K c < 1, else 0.5.",
        ),
        "Every sample is its own problem in one variable, because a logit cannot be had for less "
        "than its share of ‖h‖ and ‖w‖.",
    ),
    Exercise(
        "5.2",
        2,
        witness,
        _samples,
        (
            Mistake(
                _default_bounds,
                "You return None where u = (−1, 0) does it. `linprog` looks for u >= 0 unless "
                "you say bounds=(None, None).",
            ),
            Mistake(
                _other_way,
                "Your u is on for other classes, and where it must be off you find none. "
                "`linprog` reads A_ub @ u <= b_ub: is a sign the other way round?",
            ),
            Mistake(
                _off_exactly,
                "You return None too often. On the other classes <u, x> may be anything up to "
                "0: ask for <= 0, not for = 0.",
            ),
            Mistake(
                _all_below,
                "You never find a u. Do you return the solution? And are the samples of class k "
                "left out of the inequalities? Nothing is 1 and <= 0 at once.",
            ),
            Mistake(
                _at_least_one,
                "You ask for at least 1 on class k. It has to be 1 on *each* sample: an "
                "equality, A_eq and b_eq. To be at least 1 is enough to fit, not to collapse.",
            ),
            Mistake(
                _zero_target,
                "Your u gives 0 on class k: a unit that is off. Ask for 1 there.",
            ),
        ),
        (
            "There is nothing to minimise: any u will do, so the cost vector is zero.",
            "A_eq = data[own], b_eq = ones; A_ub = data[~own], b_ub = zeros, with own = "
            "labels == k.",
            "linprog(np.zeros(d), A_ub, b_ub, A_eq, b_eq, bounds=(None, None)); return .x if "
            ".status is 0, else None.",
        ),
        "ReLU makes the inequality: off is off, however negative. That is all that a layer adds to "
        "linear algebra here.",
        agreement=_is_a_witness,
        same=_same_fault,
    ),
    Exercise(
        "5.3",
        3,
        snr_threshold,
        _edges,
        (
            Mistake(
                _wrong_half,
                "You keep the wrong half. If the middle is feasible, the edge is below it, so "
                "the middle becomes the new `high`.",
            ),
            Mistake(
                _one_halving,
                "You halve once. Go on halving while high − low is above the tolerance.",
            ),
            Mistake(
                _scan,
                "You try one SNR after the other. Halving needs 13 questions from 8 down to "
                "0.001; each question is a linear programme.",
            ),
            Mistake(
                _width,
                "That is the distance from `low`; return the place.",
            ),
        ),
        (
            "Ask in the middle. One of the two halves still has an infeasible and a feasible end.",
            "If the middle is feasible it becomes `high`, otherwise `low`.",
            "while high - low > tolerance: middle = (low + high) / 2; ... ; return the middle.",
        ),
        "Thirteen linear programmes in place of thousands. It finds *a* place where the answer "
        "changes; that there is only one is not proved here.",
        agreement=_is_the_edge,
        use=_value_and_questions,
    ),
    Exercise(
        "5.4",
        5,
        second_layer,
        _wide_layers,
        (
            Mistake(
                _before_the_relu,
                "You solve with the values *before* the first ReLU. They have rank d, however "
                "wide the layer is, and N samples need rank N: the ReLU makes the dimensions.",
            ),
            Mistake(
                _added_up,
                "Each of your units is the sum of its class's hidden vectors. They are not "
                "orthogonal to the other classes': solve Φ Uᵀ = onehot instead.",
            ),
            Mistake(
                _hidden_means,
                "Each of your units is the mean of its class's hidden vectors. They are not "
                "orthogonal to the other classes': solve Φ Uᵀ = onehot instead.",
            ),
            Mistake(
                _standing,
                "Your layer is (D1, K). Rows are units, as in `nn.Linear`: transpose it.",
            ),
            Mistake(
                _of_the_data,
                "Your layer reads the data, (K, d). It stands on top of the first one and reads "
                "Φ = ReLU(X A₁ᵀ), (N, D1).",
            ),
        ),
        (
            "What the second layer sees is Φ = ReLU(data @ first.T), (N, D1), of rank N.",
            "So there is a U with Φ Uᵀ equal to any (N, K) matrix you like. Which one do you want?",
            "(torch.linalg.pinv(hidden) @ onehot).T, with onehot (N, K).",
        ),
        "N independent hidden vectors can be sent anywhere, and labels are just one choice of "
        "where. That is why collapse after a wide layer says nothing about the labels.",
        agreement=_sends_to_corners,
    ),
    Exercise(
        "5.5",
        4,
        one_unit,
        _points,
        (
            Mistake(
                _not_strict,
                "For points left and right of the origin against points above and below you say "
                "separates. Is that u = 0? A unit that is on has <u, x> > 0; scale it and ask "
                "for >= 1.",
            ),
            Mistake(
                _weaker_first,
                "Where a witness exists you say separates. That is true too, but ask the "
                "stronger question first.",
            ),
            Mistake(
                _two_answers,
                "For (1, 0) and (2, 0) in class 0 against (−1, 1) and (−2, −1) you say neither, "
                "but u = (1, 0) is on for both and off for the others. Drop the equalities and "
                "ask for >= 1 on class k.",
            ),
            Mistake(
                _fits_is_enough,
                "For (1, 0) and (2, 0) in class 0 against (−1, 1) and (−2, −1) you say "
                "collapses. No linear function is the same, and not 0, on both: the second is "
                "twice the first. Inequalities alone are not enough.",
            ),
        ),
        (
            "Collapsing is exercise 5.2. Separating drops its equalities but must exclude u = 0.",
            "Scale u so that <u, x> >= 1 on class k. As `linprog` wants it: -data[own] @ u <= -1.",
            "First the programme with equalities, then A_ub = [data[~own]; -data[own]], "
            "b_ub = [0; -1].",
        ),
        "To fit costs inequalities, half-spaces that random data meet half of the time. To "
        "collapse costs n equations on top, and equations are only met by having dimensions.",
    ),
)
