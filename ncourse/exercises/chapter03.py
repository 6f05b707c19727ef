"""Exercises of chapter 3, watching collapse."""

import math

import torch

from ncourse.exercises import Answer, Exercise, Mistake, wrong_number
from ncourse.metrics import measure


def _clouds(*, spread: float = 0.5, offset: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Three unequal classes in five dimensions, away from the origin; the same at every call."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0] * 12 + [1] * 20 + [2] * 28)
    means = 2 * torch.randn(3, 5, generator=generator, dtype=torch.float64) + offset
    noise = spread * torch.randn(60, 5, generator=generator, dtype=torch.float64)
    return means[labels] + noise, labels


def _means(features, labels):
    return torch.stack([features[labels == k].mean(0) for k in range(int(labels.max()) + 1)])


# 3.1 ----------------------------------------------------------------------------------------------
def within_over_between(features, labels):
    """Mean squared distance to the own class mean, over that of the class means to their mean."""
    means = torch.stack([features[labels == k].mean(0) for k in range(int(labels.max()) + 1)])
    within = (features - means[labels]).square().sum(1).mean()
    between = (means - means.mean(0)).square().sum(1).mean()
    return (within / between).item()


def _around_everything(features, labels):
    means = _means(features, labels)
    within = (features - features.mean(0)).square().sum(1).mean()
    return (within / (means - means.mean(0)).square().sum(1).mean()).item()


def _not_averaged(features, labels):
    means = _means(features, labels)
    within = (features - means[labels]).square().sum()
    return (within / (means - means.mean(0)).square().sum()).item()


def _not_centred(features, labels):
    means = _means(features, labels)
    within = (features - means[labels]).square().sum(1).mean()
    return (within / means.square().sum(1).mean()).item()


def _centred_at_samples(features, labels):
    means = _means(features, labels)
    within = (features - means[labels]).square().sum(1).mean()
    return (within / (means - features.mean(0)).square().sum(1).mean()).item()


def _classes_first(features, labels):
    means = _means(features, labels)
    spread = (features - means[labels]).square().sum(1)
    within = torch.stack([spread[labels == k].mean() for k in range(len(means))]).mean()
    return (within / (means - means.mean(0)).square().sum(1).mean()).item()


def _ratio_of_clouds(answer: Answer) -> str | None:
    features, labels = _clouds()
    value = answer(features.clone(), labels.clone())
    if message := wrong_number(value):
        return message
    truth = within_over_between(features, labels)
    near = {
        _around_everything: "You measure the spread around the mean of *all* samples. NC1 asks for "
        "the spread of each sample around the mean of its own class.",
        _not_averaged: "You divide a sum over N samples by a sum over K classes. Take the mean "
        "over samples in one and the mean over classes in the other.",
        _not_centred: "Your class means are not centred: shift all features by a constant and your "
        "number changes. Subtract the mean of the class means first.",
        _centred_at_samples: "You centre the class means at the mean of all *samples*. The global "
        "mean of NC1 is the mean of the class means.",
        _classes_first: "You average within each class first. Here every *sample* counts the same.",
    }
    for wrong, message in near.items():
        if math.isclose(float(value), wrong(features, labels), rel_tol=1e-5):
            return message
    if math.isclose(float(value), 1 / truth, rel_tol=1e-5):
        return "That is between over within: collapse would send it to infinity. Turn it over."
    if not math.isclose(float(value), truth, rel_tol=1e-5):
        return f"On three small clouds you get {float(value):.4g}; it is {truth:.4g}."
    return None


def _ratio_of_points(answer: Answer) -> str | None:
    features, labels = _clouds(spread=0.0)
    value = float(answer(features, labels))
    if abs(value) > 1e-12:
        return f"Collapsed clouds, every sample at its class mean, give {value:.3g} instead of 0."
    return None


# 3.2 ----------------------------------------------------------------------------------------------
def terminal_epoch(train_error):
    """The first epoch, counted from 1, whose training error is exactly zero; None if none is."""
    for epoch, error in enumerate(train_error, start=1):
        if error == 0:
            return epoch
    return None


def _counted_from_zero(train_error):
    return next((i for i, error in enumerate(train_error) if error == 0), None)


def _smallest(train_error):
    return int(torch.tensor(train_error).argmin()) + 1


def _from_then_on(train_error):
    zero = [i for i, error in enumerate(train_error, 1) if error == 0]
    blip = max((i for i, error in enumerate(train_error, 1) if error > 0), default=0)
    return next((i for i in zero if i > blip), None)


def _nearly_zero(train_error):
    return next((i for i, error in enumerate(train_error, 1) if error < 1e-3), None)


def _terminal(answer: Answer) -> str | None:
    got = answer([0.4, 0.1, 0.005, 0.0, 0.0, 0.0])
    if got == 3:
        return (
            "You get epoch 3 for errors 0.4, 0.1, 0.005, 0, 0, 0. Either you count from 0 or you "
            "take a small error for zero: the fourth epoch is the first at exactly 0."
        )
    if got != 4:
        return f"For errors 0.4, 0.1, 0.005, 0, 0, 0 you get {got}; the fourth epoch is the first."
    got = answer([0.4, 0.0007, 0.0, 0.0007, 0.0])
    if got == 2:
        return "One image in 1,400 is an error of 0.0007, which is not 0."
    if got != 3:
        return (
            f"For errors 0.4, 0.0007, 0, 0.0007, 0 you get {got}. A later blip does not move the "
            "*first* epoch at 0: it is the third."
        )
    return None


def _never_terminal(answer: Answer) -> str | None:
    try:
        got = answer([0.4, 0.2, 0.1])
    except (ValueError, IndexError, StopIteration):
        return "The error 0.4, 0.2, 0.1 never reaches zero, and your function stops. Return None."
    if got is not None:
        return f"The error 0.4, 0.2, 0.1 never reaches zero, yet you return {got}. Return None."
    return None


# 3.3 ----------------------------------------------------------------------------------------------
def mismatch(features, labels, logits):
    """Fraction of samples where the largest logit and the nearest class mean disagree."""
    means = torch.stack([features[labels == k].mean(0) for k in range(int(labels.max()) + 1)])
    nearest = torch.cdist(features, means).argmin(1)
    return (logits.argmax(1) != nearest).double().mean().item()


def _against_labels(features, labels, logits):
    nearest = torch.cdist(features, _means(features, labels)).argmin(1)
    return (nearest != labels).double().mean().item()


def _error_of_network(features, labels, logits):
    return (logits.argmax(1) != labels).double().mean().item()


def _agreement(features, labels, logits):
    return 1 - mismatch(features, labels, logits)


def _inner_product(features, labels, logits):
    nearest = (features @ _means(features, labels).T).argmax(1)
    return (logits.argmax(1) != nearest).double().mean().item()


def _decisions(answer: Answer) -> str | None:
    features, labels = _clouds(spread=2.5)
    generator = torch.Generator().manual_seed(5)
    logits = torch.nn.functional.one_hot(labels, 3) + torch.randn(60, 3, generator=generator)
    value = answer(features.clone(), labels.clone(), logits.clone())
    if message := wrong_number(value):
        return message
    if float(value) > 1:
        return "That is a count. NC4 is a fraction: divide by the number of samples."
    near = {
        _against_labels: "You compare the nearest mean with the *label*. NC4 asks whether the "
        "nearest mean and the network agree, right or wrong.",
        _error_of_network: "That is the network's training error. Where are the class means?",
        _agreement: "That is the fraction that agrees. NC4 counts the others.",
        _inner_product: "You take the mean with the largest inner product, not the nearest one. "
        "They differ as soon as means have different lengths.",
    }
    truth = mismatch(features, labels, logits)
    if math.isclose(float(value), truth, abs_tol=1e-5):
        return None
    for wrong, message in near.items():
        if math.isclose(float(value), wrong(features, labels, logits), abs_tol=1e-5):
            return message
    return f"On three overlapping clouds you get {float(value):.4g}; it is {truth:.4g}."


# 3.4 ----------------------------------------------------------------------------------------------
def fall_in_terminal_phase(train_error, nc1):
    """NC1 at the first epoch at zero training error, over NC1 at the end; None without one."""
    for error, value in zip(train_error, nc1, strict=True):
        if error == 0:
            return value / nc1[-1]
    return None


def _from_the_start(train_error, nc1):
    return nc1[0] / nc1[-1]


def _upside_down(train_error, nc1):
    return nc1[-1] / nc1[list(train_error).index(0)]


def _difference(train_error, nc1):
    return nc1[list(train_error).index(0)] - nc1[-1]


def _fall(answer: Answer) -> str | None:
    error, nc1 = [0.5, 0.1, 0.0, 0.01, 0.0], [12.0, 6.0, 3.0, 0.25, 0.5]
    value = answer(list(error), list(nc1))
    if message := wrong_number(value):
        return message
    near = {
        24.0: "You measure from the first epoch on. Much of that fall happens while the error "
        "still falls, and says nothing about the terminal phase.",
        1 / 6: "You divide the end by the start. The factor of the fall is the other way up.",
        2.5: "A difference depends on the scale of NC1. Take the ratio.",
        12.0: "Both ends count: NC1 at the *first* epoch at zero error, over NC1 at the *last* "
        "epoch, not over its smallest value.",
    }
    for wrong, message in near.items():
        if math.isclose(float(value), wrong, rel_tol=1e-6):
            return message
    if not math.isclose(float(value), 6.0, rel_tol=1e-6):
        return f"For errors {error} and NC1 {nc1} you get {float(value):.4g}; it falls 6-fold."
    return None


def _no_fall(answer: Answer) -> str | None:
    try:
        value = answer([0.5, 0.1], [12.0, 6.0])
    except (ValueError, IndexError, StopIteration):
        return "Training error never reaches zero here, and your function stops. Return None."
    if value is not None:
        return f"Training error never reaches zero, yet you return {value}. Return None."
    return None


# 3.5 ----------------------------------------------------------------------------------------------
def spread_of_test(train_features, train_labels, test_features, test_labels):
    """Test samples around the *training* means of their class, over the spread of those means."""
    count = int(train_labels.max()) + 1
    means = torch.stack([train_features[train_labels == k].mean(0) for k in range(count)])
    within = (test_features - means[test_labels]).square().sum(1).mean()
    between = (means - means.mean(0)).square().sum(1).mean()
    return (within / between).item()


def _test_means(train_features, train_labels, test_features, test_labels):
    return within_over_between(test_features, test_labels)


def _scaled_by_test_means(train_features, train_labels, test_features, test_labels):
    means, own = _means(train_features, train_labels), _means(test_features, test_labels)
    within = (test_features - means[test_labels]).square().sum(1).mean()
    return (within / (own - own.mean(0)).square().sum(1).mean()).item()


def _unscaled(train_features, train_labels, test_features, test_labels):
    means = _means(train_features, train_labels)
    return (test_features - means[test_labels]).square().sum(1).mean().item()


def _test_cloud(answer: Answer) -> str | None:
    train, labels = _clouds(spread=0.1)
    every_second = torch.arange(0, 60, 2)
    test = (1.3 * train + torch.linspace(-1, 1, 5, dtype=torch.float64))[every_second]
    test_labels = labels[every_second]
    value = answer(train.clone(), labels.clone(), test.clone(), test_labels.clone())
    if message := wrong_number(value):
        return message
    arguments = (train, labels, test, test_labels)
    if math.isclose(float(value), _test_means(*arguments), rel_tol=1e-5):
        return (
            "You measure test samples around their own class means. Here all of them are shifted "
            "by one vector, and a measure of *test* collapse must see that. Use the training means."
        )
    if math.isclose(float(value), _scaled_by_test_means(*arguments), rel_tol=1e-5):
        return "You divide by the spread of the *test* means. The yardstick is the training means'."
    if math.isclose(float(value), _unscaled(*arguments), rel_tol=1e-5):
        return "Scale all features by 2: your number grows 4-fold. Divide by the means' spread."
    truth = spread_of_test(*arguments)
    if not math.isclose(float(value), truth, rel_tol=1e-5):
        return f"On shifted clouds you get {float(value):.4g}; it is {truth:.4g}."
    return None


def _agrees_with_trace_ratio(answer: Answer) -> str | None:
    train, labels = _clouds()
    value = answer(train, labels, train, labels)
    truth = measure(train, labels, torch.eye(3, 5, dtype=torch.float64)).trace_ratio
    if not math.isclose(float(value), truth, rel_tol=1e-5):
        return "With the training set as test set it must be the trace ratio of exercise 3.1."
    return None


EXERCISES = (
    Exercise(
        "3.1",
        1,
        within_over_between,
        (_ratio_of_clouds, _ratio_of_points),
        (
            "Two averages of squared distances: samples to their class mean, class means to their "
            "centre.",
            "Stack the class means into a (K, d) tensor; then means[labels] is (N, d).",
            "(features - means[labels]).square().sum(1).mean() over "
            "(means - means.mean(0)).square().sum(1).mean().",
        ),
        "The trace of a covariance is a mean squared distance, so no d × d matrix is needed.",
        (
            Mistake(_around_everything, "mean of *all* samples"),
            Mistake(_not_averaged, "sum over K classes"),
            Mistake(_not_centred, "not centred"),
            Mistake(_centred_at_samples, "mean of all *samples*. The"),
            Mistake(_classes_first, "within each class first"),
        ),
    ),
    Exercise(
        "3.2",
        2,
        terminal_epoch,
        (_terminal, _never_terminal),
        (
            "Go through the errors with their epoch numbers; epochs count from 1.",
            "enumerate(train_error, start=1) gives pairs (epoch, error).",
            "Return the epoch as soon as the error == 0; after the loop return None.",
        ),
        "Exactly zero: with N samples the error is a multiple of 1/N, so there is no rounding to "
        "forgive.",
        (
            Mistake(_counted_from_zero, "count from 0"),
            Mistake(_smallest, "yet you return 3"),
            Mistake(_from_then_on, "later blip"),
            Mistake(_nearly_zero, "which is not 0"),
            Mistake(lambda train_error: train_error.index(0) + 1, "your function stops"),
        ),
    ),
    Exercise(
        "3.3",
        1,
        mismatch,
        (_decisions,),
        (
            "Two decisions for each sample: the network's, and that of the nearest class mean.",
            "torch.cdist(features, means) is (N, K); argmin(1) is the nearest mean's class.",
            "Return (logits.argmax(1) != nearest).double().mean().item().",
        ),
        "The labels only serve to form the means. A network and a nearest-mean rule can agree and "
        "both be wrong.",
        (
            Mistake(_against_labels, "with the *label*"),
            Mistake(_error_of_network, "training error"),
            Mistake(_agreement, "fraction that agrees"),
            Mistake(_inner_product, "largest inner product"),
            Mistake(
                lambda features, labels, logits: 60 * mismatch(features, labels, logits),
                "That is a count",
            ),
        ),
    ),
    Exercise(
        "3.4",
        3,
        fall_in_terminal_phase,
        (_fall, _no_fall),
        (
            "Which row is the first at zero training error?",
            "Go through zip(train_error, nc1); stop at the first error == 0.",
            "Return that NC1 divided by nc1[-1]; after the loop return None.",
        ),
        "Before zero error NC1 must fall for the classes to come apart at all. Only its fall "
        "afterwards tells a network that collapses from one that has merely fitted.",
        (
            Mistake(_from_the_start, "from the first epoch on"),
            Mistake(_upside_down, "other way up"),
            Mistake(_difference, "Take the ratio"),
            Mistake(
                lambda train_error, nc1: nc1[list(train_error).index(0)] / min(nc1),
                "smallest value",
            ),
            Mistake(
                lambda train_error, nc1: nc1[list(train_error).index(0)] / nc1[-1],
                "your function stops",
            ),
        ),
    ),
    Exercise(
        "3.5",
        4,
        spread_of_test,
        (_test_cloud, _agrees_with_trace_ratio),
        (
            "A classifier built on training means meets test features. Around which means should "
            "their spread be measured?",
            "means from the training set; then (test_features - means[test_labels]).",
            "Divide by (means - means.mean(0)).square().sum(1).mean(), as in exercise 3.1.",
        ),
        "Test features could form tight clouds in the wrong places. Measured around the training "
        "means, that counts as spread.",
        (
            Mistake(_test_means, "Use the training means"),
            Mistake(_unscaled, "Divide by the means"),
            Mistake(_scaled_by_test_means, "spread of the *test* means"),
        ),
    ),
)
