"""Exercises of chapter 0, start here: three small ones, to learn how exercises work."""

import torch

from ncourse.exercises import Answer, Exercise, Mistake, wrong_number


def _votes() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of eight samples in three classes, three of them wrong."""
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    said = torch.tensor([0, 1, 2, 1, 1, 0, 0, 2])
    return 4.0 * torch.eye(3)[said] - 1.0, labels


# 0.1 ----------------------------------------------------------------------------------------------
def error(logits, labels):
    """The share of samples whose largest logit is not at their label."""
    return (logits.argmax(1) != labels).double().mean().item()


def _accuracy(logits, labels):
    return (logits.argmax(1) == labels).double().mean().item()


def _count(logits, labels):
    return (logits.argmax(1) != labels).sum().item()


def _over_samples(logits, labels):
    return (logits.argmax(0) != labels[: logits.shape[1]]).double().mean().item()


def _is_the_error(answer: Answer) -> str | None:
    logits, labels = _votes()
    value = answer(logits.clone(), labels.clone())
    if message := wrong_number(value):
        return message
    value = float(value)
    if value == _accuracy(logits, labels):
        return "That is the accuracy. The error counts the samples that are *not* right."
    if value == _count(logits, labels):
        return "That is a number of samples. Divide by N, so that it lies between 0 and 1."
    if value == _over_samples(logits, labels):
        return (
            "Your `argmax` runs over samples. The logits are (N, K): take it along axis 1, over "
            "classes."
        )
    if abs(value - error(logits, labels)) > 1e-6:
        return f"For 3 wrong of 8 samples the error is 0.375; yours is {value:.3g}."
    return None


# 0.2 ----------------------------------------------------------------------------------------------
def holds(measured, control, least):
    """Whether the measurement reaches `least` and the control does not."""
    return bool(measured >= least > control)


def _measured_alone(measured, control, least):
    return bool(measured >= least)


def _both(measured, control, least):
    return bool(measured >= least and control >= least)


def _larger(measured, control, least):
    return bool(measured > control)


_CASES = ((50.0, 1.2, 20.0), (50.0, 45.0, 20.0), (15.0, 1.2, 20.0), (15.0, 30.0, 20.0))


def _is_the_verdict(answer: Answer) -> str | None:
    values = [answer(*case) for case in _CASES]
    if any(value is None for value in values):
        return "Your function returns None. Is the `return` missing?"
    verdicts = [bool(value) for value in values]
    if verdicts == [_measured_alone(*case) for case in _CASES]:
        return (
            "Measured 50, control 45, asked for 20: you let the claim hold. If the control gets "
            "there too, whatever was switched off in it is not the reason."
        )
    if verdicts == [_both(*case) for case in _CASES]:
        return "You ask the control to reach the number as well. It is the run that has to fail."
    if verdicts == [_larger(*case) for case in _CASES]:
        return (
            "Measured 15, control 1.2, asked for 20: you let the claim hold. It has to beat the "
            "number that it names, not only the control."
        )
    for case, verdict in zip(_CASES, verdicts, strict=True):
        if verdict != holds(*case):
            return f"holds{case} should be {holds(*case)}; yours is {verdict}."
    return None


# 0.3 ----------------------------------------------------------------------------------------------
def spread(points):
    """Mean squared distance of the points to their mean."""
    return (points - points.mean(0)).square().sum(1).mean().item()


def _per_coordinate(points):
    return (points - points.mean(0)).square().mean().item()


def _about_zero(points):
    return points.square().sum(1).mean().item()


def _distance(points):
    return (points - points.mean(0)).norm(dim=1).mean().item()


def _is_the_spread(answer: Answer) -> str | None:
    points = torch.tensor([[1.0, 0.0], [3.0, 0.0], [2.0, 1.0], [2.0, -4.0]])
    value = answer(points.clone())
    if message := wrong_number(value):
        return message
    value = float(value)
    near = {
        _per_coordinate: "You average over coordinates too. Add up the squares of one point's "
        "coordinates (that is its squared distance), then average over points.",
        _about_zero: "You measure from the origin. Subtract the mean of the points first.",
        _distance: "You average distances. Square them first: it is the *squared* distance.",
    }
    for wrong, says in near.items():
        if abs(value - wrong(points)) < 1e-6:
            return says
    if abs(value - spread(points)) > 1e-5:
        return f"For a small example the spread is {spread(points):.4g}; yours is {value:.4g}."
    return None


EXERCISES = (
    Exercise(
        name="0.1",
        objective=2,
        reference=error,
        rungs=(_is_the_error,),
        hints=(
            "Which class does the network say for a row of logits? The one with the largest.",
            "`logits.argmax(1)` is (N,). Compare it with the labels.",
            "`(logits.argmax(1) != labels)` is True where it is wrong; take the mean as floats.",
        ),
        why="The error is the share of wrong samples. It is 0 early in training, and then training "
        "goes on.",
        mistakes=(
            Mistake(_accuracy, "That is the accuracy"),
            Mistake(_count, "Divide by N"),
            Mistake(_over_samples, "along axis 1"),
        ),
    ),
    Exercise(
        name="0.2",
        objective=3,
        reference=holds,
        rungs=(_is_the_verdict,),
        hints=(
            "Two things have to be true at once.",
            "One is about `measured` and `least`. What must be true of `control` and `least`?",
            "The measurement reaches `least`, the control stays below it.",
        ),
        why="A number that the control reaches too says nothing about the cause.",
        mistakes=(
            Mistake(_measured_alone, "If the control gets there too"),
            Mistake(_both, "has to fail"),
            Mistake(_larger, "beat the number that it names"),
        ),
    ),
    Exercise(
        name="0.3",
        objective=1,
        reference=spread,
        rungs=(_is_the_spread,),
        hints=(
            "What is the point that they are spread around?",
            "Subtract `points.mean(0)`; the squared distance of one point is a sum of two squares.",
            "`(points - points.mean(0)).square().sum(1)` is (n,); take its mean.",
        ),
        why="NC1, which you will meet in chapter 2, is this number within classes, in units of the "
        "spread between them.",
        mistakes=(
            Mistake(_per_coordinate, "average over coordinates too"),
            Mistake(_about_zero, "from the origin"),
            Mistake(_distance, "Square them first"),
        ),
    ),
)
