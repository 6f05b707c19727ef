"""Exercises of chapter 5, shallow networks."""

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor

from ncourse.exercises import Answer, Exercise, Mistake, wrong_kind, wrong_number


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


def _floors(answer: Answer) -> str | None:
    near: dict[Callable, str] = {
        _penalty_only: "That is K c. You have set the logits to 1 and counted the penalty only; at "
        "the minimum they are 1 − K c, which costs a fit and saves penalty: what is left is "
        "K c − (K c)²/2.",
        _one_class: "Your answer does not depend on K. Put c = K √(n λ_W λ_H) into it, not "
        "√(n λ_W λ_H).",
        _without_samples: "Your answer does not depend on n. Each sample brings a feature that "
        "costs penalty.",
        _at_the_target: "That is K c/2, half of the penalty at logits of 1. There is a factor of "
        "two to find in λ/2 ‖W‖² + λ/2 ‖H‖², and the logits are 1 − K c, not 1.",
    }
    for arguments in ((3, 20, 0.02, 0.001), (4, 9, 0.01, 0.02)):
        value = answer(*arguments)
        if message := wrong_number(value):
            return message
        for wrong, message in near.items():
            if math.isclose(float(value), wrong(*arguments), rel_tol=1e-5):
                return message
        truth = least_loss(*arguments)
        if not math.isclose(float(value), truth, rel_tol=1e-5):
            return (
                f"For K, n, λ_W, λ_H = {arguments} you get {float(value):.6g}; it is {truth:.6g}."
            )
    return None


def _floor_with_large_penalties(answer: Answer) -> str | None:
    value = answer(4, 25, 0.1, 0.1)  # K c = 2
    if message := wrong_number(value):
        return message
    if not math.isclose(float(value), 0.5, rel_tol=1e-5):
        return (
            f"For K c = 2 you get {float(value):.4g}. Beyond K c = 1 the best logit would be "
            "negative, and that does not pay: everything is zero, and the loss of zero is 1/2."
        )
    return None


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


_PLANE = np.array([[-1.0, 0.5], [-1.0, 2.0], [1.0, 1.0], [2.0, -1.0], [0.5, -3.0]])
_PLANE_LABELS = np.array([0, 0, 1, 1, 1])


def _wrong_witness(value, data, labels, k) -> str | None:
    """What is wrong with a witness, whether or not there is a better one."""
    try:
        u = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        return f"Your function returns a {type(value).__name__}; return u, (d,), or None."
    if u.shape != (data.shape[1],):
        return f"Your u is {u.shape}; expected {(data.shape[1],)}. `linprog` calls it `.x`."
    values = data @ u
    if np.abs(values[labels == k]).max() < 1e-6:
        return "Your u gives 0 on class k: a unit that is off. Ask for 1 there."
    if np.abs(values[labels == k] - 1).max() > 1e-5:
        return (
            f"On class k your u gives {values[labels == k].min():.3g} to "
            f"{values[labels == k].max():.3g}. It has to be 1 on *each* sample: an equality, "
            "A_eq and b_eq. To be at least 1 is enough to fit, not to collapse."
        )
    if values[labels != k].max() > 1e-5:
        return (
            f"Your u gives {values[labels != k].max():.3g} on a sample of another class, so the "
            "unit is on there. `linprog` reads A_ub @ u <= b_ub: is a sign the other way round?"
        )
    return None


def _finds_the_unit(answer: Answer) -> str | None:
    value = answer(_PLANE.copy(), _PLANE_LABELS.copy(), 0)
    if value is not None:
        return _wrong_witness(value, _PLANE, _PLANE_LABELS, 0)
    # The same data turned by a half: an answer with u >= 0 finds it there.
    turned = answer(-_PLANE, _PLANE_LABELS.copy(), 0)
    if turned is not None and _wrong_witness(turned, -_PLANE, _PLANE_LABELS, 0) is None:
        return (
            "You return None, but u = (−1, 0) does it. `linprog` looks for u >= 0 unless you say "
            "bounds=(None, None)."
        )
    # A sign the other way round finds something here, but not for the points above.
    three = np.array([[1.0, 0.0], [2.0, 1.0], [1.0, 1.0]])
    found = answer(three.copy(), np.array([0, 1, 1]), 0)
    if found is not None and (message := _wrong_witness(found, three, np.array([0, 1, 1]), 0)):
        return message
    if found is not None or answer(three[:2].copy(), np.array([0, 1]), 0) is not None:
        return (
            "You return None for points in the plane that u = (−1, 0) tells apart. On the other "
            "classes <u, x> may be anything up to 0: ask for <= 0, not for = 0, nor for a margin."
        )
    return (
        "You return None where u = (−1, 0) does it. Do you return the solution? And are the "
        "samples of class k left out of the inequalities? Nothing is 1 and <= 0 at once."
    )


def _knows_when_there_is_none(answer: Answer) -> str | None:
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 6)
    for dim in (4, 9, 12, 18):
        for _ in range(3):
            data = random.standard_normal((18, dim))
            for k in range(3):
                value = answer(data.copy(), labels.copy(), k)
                truth = witness(data, labels, k)
                if value is None and truth is not None:
                    return (
                        f"For 18 random points in {dim} dimensions you return None for a class "
                        "that has a witness. Which of your conditions is too strict?"
                    )
                if value is not None and (message := _wrong_witness(value, data, labels, k)):
                    return message
    return None


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


def _bisects(answer: Answer) -> str | None:
    for edge in (0.31, 1.7, 3.77, 6.4):
        asked: list[float] = []

        def feasible(snr, edge=edge, asked=asked):
            asked.append(float(snr))
            if len(asked) > 20_000:
                raise RuntimeError("asked 20,000 times and still not done")
            return snr >= edge

        low, high = 0.25, 8.0
        value = answer(feasible, low, high, 1e-3)
        if message := wrong_number(value):
            return message
        if len(asked) > 100:
            return (
                f"The answer is there, but you ask {len(asked)} times. Halving needs 13 questions "
                "from 8 down to 0.001; each question is a linear programme."
            )
        if abs(float(value) - edge) > 1.01e-3:
            reached = f"For an edge at {edge} between 0.25 and 8 you return {float(value):.4g}."
            if math.isclose(float(value), edge - low, abs_tol=2e-3):
                return f"{reached} That is its distance from `low`; return its place."
            if min(abs(float(value) - low), abs(float(value) - high)) < 5e-3:
                return (
                    f"{reached} You end at an end: you keep the wrong half. If the middle is "
                    "feasible, the edge is below it, so the middle becomes the new `high`."
                )
            if len(asked) < 10:
                return f"{reached} Go on halving while high − low is above the tolerance."
            return reached
    return None


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


def _collapses_anything(answer: Answer) -> str | None:
    generator = torch.Generator().manual_seed(5)
    for counts in ((4, 4, 4), (2, 3, 7)):
        labels = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
        labels = labels[torch.randperm(12, generator=generator)]
        data = torch.randn(12, 4, generator=generator, dtype=torch.float64)
        first = torch.randn(48, 4, generator=generator, dtype=torch.float64)
        value = answer(data.clone(), labels.clone(), first.clone())
        if isinstance(value, Tensor) and value.shape == (48, 3):
            return "Your layer is (D1, K). Rows are units, as in `nn.Linear`: transpose it."
        if isinstance(value, Tensor) and value.shape == (3, 4):
            return (
                "Your layer reads the data, (K, d). It stands on top of the first one and reads "
                "Φ = ReLU(X A₁ᵀ), (N, D1)."
            )
        if message := wrong_kind(value, (3, 48)):
            return message
        if torch.allclose(value, _before_the_relu(data, labels, first), atol=1e-8):
            return (
                "You solve with the values *before* the first ReLU. They have rank d = 4, however "
                "wide the layer is, and 12 samples need rank 12: the ReLU makes the dimensions."
            )
        for wrong in (_added_up, _hidden_means):
            if torch.allclose(value, wrong(data, labels, first), atol=1e-8):
                what = "sum" if wrong is _added_up else "mean"
                return (
                    f"Each of your units is the {what} of its class's hidden vectors. They are not "
                    "orthogonal to the other classes': solve Φ Uᵀ = onehot instead."
                )
        features = torch.relu(torch.relu(data @ first.T) @ value.T)
        off = (features - torch.eye(3, dtype=torch.float64)[labels]).abs().max().item()
        if off > 1e-6:
            return (
                f"The features of some sample are off by {off:.3g}. For class k they should be 1 "
                "in unit k and 0 in all others."
            )
    return None


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


_CASES = {
    "collapses": (np.array([[1.0, 0.5], [1.0, 2.0], [-1.0, 1.0], [-2.0, -1.0]])),
    "separates": (np.array([[1.0, 0.0], [2.0, 0.0], [-1.0, 1.0], [-2.0, -1.0]])),
    "neither": (np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])),
}


def _tells_apart(answer: Answer) -> str | None:
    labels = np.array([0, 0, 1, 1])
    got = {}
    for truth, data in _CASES.items():
        value = answer(data.copy(), labels.copy(), 0)
        if value not in _CASES:
            return f'You return {value!r}; return "collapses", "separates" or "neither".'
        got[truth] = value
    if got["neither"] == "separates":
        return (
            "For points left and right of the origin against points above and below you say "
            "separates. Is that u = 0? A unit that is on has <u, x> > 0; scale it and ask for >= 1."
        )
    if got["collapses"] == "separates":
        return (
            "Where a witness exists you say separates. That is true too, but ask the stronger "
            "question first."
        )
    if got["separates"] == "collapses":
        return (
            "For (1, 0) and (2, 0) in class 0 you say collapses. No linear function is the same, "
            "and not 0, on both: the second is twice the first. Inequalities alone are not enough."
        )
    if got["separates"] == "neither":
        return (
            "For (1, 0) and (2, 0) in class 0 you say neither, but u = (1, 0) is on for both and "
            "off for the others. Drop the equalities and ask for >= 1 on class k."
        )
    wrong = [truth for truth, value in got.items() if value != truth]
    return f"You say {got[wrong[0]]} for data that are {wrong[0]}." if wrong else None


def _tells_random_apart(answer: Answer) -> str | None:
    random = np.random.default_rng(1)
    labels = np.repeat([0, 1, 2], 5)
    for dim in (4, 7, 9, 12):
        data = random.standard_normal((15, dim))
        for k in range(3):
            value, truth = answer(data.copy(), labels.copy(), k), one_unit(data, labels, k)
            if value != truth:
                return f"For 15 random points in {dim} dimensions you say {value}; it is {truth}."
    return None


EXERCISES = (
    Exercise(
        "5.1",
        1,
        least_loss,
        (_floors, _floor_with_large_penalties),
        (
            "Minimise (a − 1)²/(2N) + √(λ_W λ_H / n) a over one sample's logit a, then add up N.",
            "With c = √(n λ_W λ_H), the best a is 1 − K c if that is positive, else 0.",
            "K c − (K c)²/2 for K c < 1, else 0.5.",
        ),
        "Every sample is its own problem in one variable, because a logit cannot be had for less "
        "than its share of ‖h‖ and ‖w‖.",
        (
            Mistake(_penalty_only, "counted the penalty only"),
            Mistake(_one_class, "does not depend on K"),
            Mistake(_without_samples, "does not depend on n"),
            Mistake(_not_capped, "Beyond K c = 1"),
            Mistake(_at_the_target, "half of the penalty"),
        ),
    ),
    Exercise(
        "5.2",
        2,
        witness,
        (_finds_the_unit, _knows_when_there_is_none),
        (
            "There is nothing to minimise: any u will do, so the cost vector is zero.",
            "A_eq = data[own], b_eq = ones; A_ub = data[~own], b_ub = zeros, with own = "
            "labels == k.",
            "linprog(np.zeros(d), A_ub, b_ub, A_eq, b_eq, bounds=(None, None)); return .x if "
            ".status is 0, else None.",
        ),
        "ReLU makes the inequality: off is off, however negative. That is all that a layer adds to "
        "linear algebra here.",
        (
            Mistake(_default_bounds, "bounds=(None, None)"),
            Mistake(_other_way, "the other way round"),
            Mistake(_off_exactly, "not for = 0"),
            Mistake(_all_below, "left out of the inequalities"),
            Mistake(_at_least_one, "enough to fit"),
            Mistake(_zero_target, "a unit that is off"),
        ),
    ),
    Exercise(
        "5.3",
        3,
        snr_threshold,
        (_bisects,),
        (
            "Ask in the middle. One of the two halves still has an infeasible and a feasible end.",
            "If the middle is feasible it becomes `high`, otherwise `low`.",
            "while high - low > tolerance: middle = (low + high) / 2; ... ; return the middle.",
        ),
        "Thirteen linear programmes in place of thousands. It finds *a* place where the answer "
        "changes; that there is only one is not proved here.",
        (
            Mistake(_wrong_half, "wrong half"),
            Mistake(_one_halving, "Go on halving"),
            Mistake(_scan, "Halving needs 13"),
            Mistake(_width, "distance from `low`"),
        ),
    ),
    Exercise(
        "5.4",
        5,
        second_layer,
        (_collapses_anything,),
        (
            "What the second layer sees is Φ = ReLU(data @ first.T), (N, D1), of rank N.",
            "So there is a U with Φ Uᵀ equal to any (N, K) matrix you like. Which one do you want?",
            "(torch.linalg.pinv(hidden) @ onehot).T, with onehot (N, K).",
        ),
        "N independent hidden vectors can be sent anywhere, and labels are just one choice of "
        "where. That is why collapse after a wide layer says nothing about the labels.",
        (
            Mistake(_before_the_relu, "*before* the first ReLU"),
            Mistake(_added_up, "is the sum of"),
            Mistake(_hidden_means, "is the mean of"),
            Mistake(_standing, "transpose it"),
            Mistake(_of_the_data, "reads the data"),
        ),
    ),
    Exercise(
        "5.5",
        4,
        one_unit,
        (_tells_apart, _tells_random_apart),
        (
            "Collapsing is exercise 5.2. Separating drops its equalities but must exclude u = 0.",
            "Scale u so that <u, x> >= 1 on class k. As `linprog` wants it: -data[own] @ u <= -1.",
            "First the programme with equalities, then A_ub = [data[~own]; -data[own]], "
            "b_ub = [0; -1].",
        ),
        "To fit costs inequalities, half-spaces that random data meet half of the time. To "
        "collapse costs n equations on top, and equations are only met by having dimensions.",
        (
            Mistake(_not_strict, "Is that u = 0"),
            Mistake(_weaker_first, "the stronger question first"),
            Mistake(_two_answers, "Drop the equalities"),
            Mistake(_fits_is_enough, "Inequalities alone"),
        ),
    ),
)
