"""Exercises of chapter 3, watching collapse."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ncourse.exercises.checks import Exercise, Mistake
from ncourse.exercises.draws import clouds, integer, log_uniform, normal, uniform
from ncourse.models import Classifier, seeded

IMPORTS = """
import numpy as np
import torch
from torch.nn.functional import cross_entropy
from ncourse.data import digits
from ncourse.metrics import measure
from ncourse.models import MLP
from ncourse.papers import papyan2020
from ncourse.training import extract, fit
"""


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


def _turned_over(features, labels):
    return (1 / torch.tensor(within_over_between(features, labels))).item()


def _uneven_clouds(generator):
    for counts, dim in (((12, 20, 28), 5), ((4, 9), 2), ((6, 2, 11, 3), 3)):
        features, labels = clouds(generator, counts, dim)
        # Classes of different width, so that it matters what is averaged first.
        width = 0.5 + torch.rand(len(counts), generator=generator)[labels, None]
        yield features + width * normal(generator, *features.shape), labels
    features, labels = clouds(generator, (5, 3, 9), 4, spread=0.0)
    yield features, labels


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


def _by_index(train_error):
    return train_error.index(0) + 1


def _falling(generator, count):
    """Errors that fall and never reach zero; the last is one image in some thousands."""
    return sorted((uniform(generator, 0.002, 0.95) for _ in range(count)), reverse=True)


def _errors(generator):
    tiny = log_uniform(generator, 1e-8, 1e-7)  # one image of very many
    yield ([*_falling(generator, integer(generator, 2, 4)), 0.0, 0.0, 0.0],)
    yield ([*_falling(generator, integer(generator, 1, 3)), tiny, 0.0, tiny, 0.0],)
    yield ([*_falling(generator, 3), 0.0, 0.3, 0.2],)
    yield ([0.0, tiny, 0.1],)
    yield ([*_falling(generator, 3), 0.0],)
    yield (_falling(generator, integer(generator, 3, 5)),)
    yield ([0.5, 0.1, 0.3],)
    yield ([*_falling(generator, 2), tiny],)


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


def _by_absolute_differences(features, labels, logits):
    nearest = torch.cdist(features, _means(features, labels), p=1).argmin(1)
    return (logits.argmax(1) != nearest).double().mean().item()


def _number_of_samples(features, labels, logits):
    return len(labels) * mismatch(features, labels, logits)


def _overlapping(generator):
    for counts, dim in (((40, 25, 35), 5), ((90, 60), 12), ((30, 10, 21, 39, 20), 3)):
        features, labels = clouds(generator, counts, dim, spread=3.5)
        onehot = torch.nn.functional.one_hot(labels, len(counts))
        yield features, labels, 2 * onehot + 2 * normal(generator, len(labels), len(counts)) - 5
    # Long means inside the cone of others: largest inner product and least distance differ.
    yield features.abs(), labels, normal(generator, len(labels), len(counts))


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


def _over_the_smallest(train_error, nc1):
    return nc1[list(train_error).index(0)] / min(nc1)


def _one_row_early(train_error, nc1):
    return nc1[max(list(train_error).index(0) - 1, 0)] / nc1[-1]


def _index_without_a_way_out(train_error, nc1):
    return nc1[list(train_error).index(0)] / nc1[-1]


def _runs(generator):
    for errors in _errors(generator):
        (error,) = errors
        yield error, [uniform(generator, 0.1, 12) for _ in error]
    # NC1 is larger at a later row at zero error, and smallest before the last.
    first, last = uniform(generator, 1, 2), uniform(generator, 0.5, 1)
    yield [0.4, 0.0, 0.1, 0.0, 0.0, 0.0], [9.0, first, 3 * first, 2 * first, last / 2, last]
    yield [0.4, 0.0, 0.0], [9.0, first, 3 * first]  # it may rise


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


def _nearest_mean(train_features, train_labels, test_features, test_labels):
    means = _means(train_features, train_labels)
    near = torch.cdist(test_features, means).min(1).values.square().mean()
    return (near / (means - means.mean(0)).square().sum(1).mean()).item()


def _train_and_test(generator):
    for counts, dim in (((12, 20, 28), 5), ((9, 5), 2), ((6, 3, 4, 8), 3)):
        train, labels = clouds(generator, counts, dim, spread=0.4)
        some = torch.randperm(len(labels), generator=generator)[: len(labels) // 2]
        test = 1.3 * train[some] + normal(generator, dim)
        yield train, labels, test, labels[some]
        # Tight clouds at the corner of another class.
        yield train, labels, train[some], (labels[some] + 1) % len(counts)
    yield train, labels, train, labels
    first = labels[some] == 0  # a test set without the other classes
    yield train, labels, test[first], labels[some][first]


# 3.6 ----------------------------------------------------------------------------------------------
def train_and_measure(model, inputs, labels, orders, weight_decay):
    """SGD, an epoch for each order; after each, exercise 3.1's number of all training features."""
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.05, momentum=0.9, weight_decay=weight_decay
    )
    measured = []
    for order in orders:
        model.train()
        for batch in order.split(128):
            optimizer.zero_grad()
            cross_entropy(model(inputs[batch]), labels[batch]).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            features = model.features(inputs)
        means = torch.stack([features[labels == k].mean(0) for k in range(int(labels.max()) + 1)])
        within = (features - means[labels]).square().sum(1).mean()
        measured.append(within / (means - means.mean(0)).square().sum(1).mean())
    return torch.stack(measured)


def _loop(
    decay=1.0, zero=True, train="always", evaluate=True, first=False, logits=False, last=False
):
    """The reference with one thing done otherwise."""

    def answer(model, inputs, labels, orders, weight_decay):
        optimizer = torch.optim.SGD(
            model.parameters(), lr=0.05, momentum=0.9, weight_decay=decay * weight_decay
        )
        measured, everything = [], torch.arange(len(inputs))

        def look(rows):
            if evaluate:
                model.eval()
            with torch.no_grad():
                seen = model(inputs[rows]) if logits else model.features(inputs[rows])
            measured.append(within_over_between(seen, labels[rows]))

        if train == "once":
            model.train()
        for order in orders:
            if train == "always":
                model.train()
            if first:
                look(everything)
            for batch in order.split(128):
                if zero:
                    optimizer.zero_grad()
                cross_entropy(model(inputs[batch]), labels[batch]).backward()
                optimizer.step()
            if not first:
                look(batch if last else everything)
        return torch.tensor(measured)

    return answer


def _small_networks(generator):
    for counts, dim, epochs, training in (((60, 55, 70), 4, 3, True), ((80, 75), 3, 2, False)):
        inputs, labels = clouds(generator, counts, dim, spread=2.0)
        with seeded(integer(generator, 0, 10_000)):
            body = nn.Sequential(nn.Linear(dim, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5))
            model = Classifier(body, nn.Linear(5, len(counts))).double().train(training)
        orders = [torch.randperm(len(labels), generator=generator) for _ in range(epochs)]
        yield model, inputs, labels, orders, uniform(generator, 0.05, 0.2)
    yield model, inputs, labels, orders, 0.0


EXERCISES = (
    Exercise(
        "3.1",
        1,
        within_over_between,
        _uneven_clouds,
        (
            Mistake(
                _around_everything,
                "You measure the spread around the mean of *all* samples. NC1 asks for the spread "
                "of each sample around the mean of its own class.",
            ),
            Mistake(
                _not_averaged,
                "You divide a sum over N samples by a sum over K classes. Take the mean over "
                "samples in one and the mean over classes in the other.",
            ),
            Mistake(
                _not_centred,
                "Your class means are not centred: shift all features by a constant and your "
                "number changes. Subtract the mean of the class means first.",
            ),
            Mistake(
                _centred_at_samples,
                "You centre the class means at the mean of all *samples*. The global mean of NC1 "
                "is the mean of the class means.",
            ),
            Mistake(
                _classes_first,
                "You average within each class first. Here every *sample* counts the same.",
            ),
            Mistake(
                _turned_over,
                "That is between over within: collapse would send it to infinity. Turn it over.",
            ),
        ),
        (
            "Two averages of squared distances: samples to their class mean, class means to their "
            "centre.",
            "Stack the class means into a (K, d) tensor; then means[labels] is (N, d).",
            "(features - means[labels]).square().sum(1).mean() over "
            "(means - means.mean(0)).square().sum(1).mean().",
        ),
        "The trace of a covariance is a mean squared distance, so no d × d matrix is needed.",
    ),
    Exercise(
        "3.2",
        2,
        terminal_epoch,
        _errors,
        (
            Mistake(_counted_from_zero, "You count from 0. The first epoch is epoch 1."),
            Mistake(
                _smallest,
                "That is the epoch of the smallest error, also where no error is 0. Return None "
                "if none is.",
            ),
            Mistake(
                _from_then_on,
                "You look for the epoch after which the error stays at zero. A later blip does not "
                "move the *first* epoch at 0.",
            ),
            Mistake(
                _nearly_zero,
                "You take a small error for zero. One image in 1,400 is an error of 0.0007, which "
                "is not 0.",
            ),
            Mistake(
                _by_index,
                "Right while some error is 0. Where none is, your function stops with an error "
                "instead of returning None.",
            ),
        ),
        (
            "Go through the errors with their epoch numbers; epochs count from 1.",
            "enumerate(train_error, start=1) gives pairs (epoch, error).",
            "Return the epoch as soon as the error == 0; after the loop return None.",
        ),
        "Exactly zero: with N samples the error is a multiple of 1/N, so there is no rounding to "
        "forgive.",
    ),
    Exercise(
        "3.3",
        1,
        mismatch,
        _overlapping,
        (
            Mistake(
                _against_labels,
                "You compare the nearest mean with the *label*. NC4 asks whether the nearest mean "
                "and the network agree, right or wrong.",
            ),
            Mistake(
                _error_of_network,
                "That is the network's training error. Where are the class means?",
            ),
            Mistake(_agreement, "That is the fraction that agrees. NC4 counts the others."),
            Mistake(
                _inner_product,
                "You take the mean with the largest inner product, not the nearest one. They "
                "differ as soon as means have different lengths.",
            ),
            Mistake(
                _by_absolute_differences,
                "You add up absolute differences. Nearest is meant in the Euclidean distance.",
            ),
            Mistake(
                _number_of_samples,
                "That is a count. NC4 is a fraction: divide by the number of samples.",
            ),
        ),
        (
            "Two decisions for each sample: the network's, and that of the nearest class mean.",
            "torch.cdist(features, means) is (N, K); argmin(1) is the nearest mean's class.",
            "Return (logits.argmax(1) != nearest).double().mean().item().",
        ),
        "The labels only serve to form the means. A network and a nearest-mean rule can agree and "
        "both be wrong.",
    ),
    Exercise(
        "3.4",
        3,
        fall_in_terminal_phase,
        _runs,
        (
            Mistake(
                _from_the_start,
                "You measure from the first epoch on. Much of that fall happens while the error "
                "still falls, and says nothing about the terminal phase.",
            ),
            Mistake(
                _upside_down,
                "You divide the end by the start. The factor of the fall is the other way up.",
            ),
            Mistake(
                _difference,
                "A difference depends on the scale of NC1. Take the ratio.",
            ),
            Mistake(
                _over_the_smallest,
                "Both ends count: NC1 at the *first* epoch at zero error, over NC1 at the *last* "
                "epoch, not over its smallest value.",
            ),
            Mistake(
                _one_row_early,
                "You begin one row too early: at the last row whose error is not yet zero.",
            ),
            Mistake(
                _index_without_a_way_out,
                "Right while some error is 0. Where none is, your function stops with an error "
                "instead of returning None.",
            ),
        ),
        (
            "Which row is the first at zero training error?",
            "Go through zip(train_error, nc1); stop at the first error == 0.",
            "Return that NC1 divided by nc1[-1]; after the loop return None.",
        ),
        "Before zero error NC1 must fall for the classes to come apart at all. Only its fall "
        "afterwards tells a network that collapses from one that has merely fitted.",
    ),
    Exercise(
        "3.5",
        4,
        spread_of_test,
        _train_and_test,
        (
            Mistake(
                _test_means,
                "You measure test samples around their own class means. If all of them are shifted "
                "by one vector, a measure of *test* collapse must see that. Use the training "
                "means.",
            ),
            Mistake(
                _unscaled,
                "Scale all features by 2: your number grows 4-fold. Divide by the means' spread.",
            ),
            Mistake(
                _scaled_by_test_means,
                "You divide by the spread of the *test* means. The yardstick is the training "
                "means'.",
            ),
            Mistake(
                _nearest_mean,
                "You measure to the *nearest* training mean. A tight cloud at the corner of "
                "another class would count as collapsed: measure to the mean of the sample's own "
                "class.",
            ),
        ),
        (
            "A classifier built on training means meets test features. Around which means should "
            "their spread be measured?",
            "means from the training set; then (test_features - means[test_labels]).",
            "Divide by (means - means.mean(0)).square().sum(1).mean(), as in exercise 3.1.",
        ),
        "Test features could form tight clouds in the wrong places. Measured around the training "
        "means, that counts as spread.",
    ),
    Exercise(
        "3.6",
        1,
        train_and_measure,
        _small_networks,
        (
            Mistake(
                _loop(train="once"),
                "Your network goes on training in evaluation mode after the first measurement: "
                "call model.train() before each epoch.",
            ),
            Mistake(
                _loop(train="never", evaluate=False),
                "You leave the network in the mode in which it came. Train in training mode, "
                "measure in evaluation mode.",
            ),
            Mistake(
                _loop(evaluate=False),
                "You measure in training mode, where batch norm uses the mean and variance of what "
                "it is given, and changes its own. Call model.eval() before you measure.",
            ),
            Mistake(
                _loop(zero=False),
                "Gradients add up from step to step: call optimizer.zero_grad() before each.",
            ),
            Mistake(
                _loop(decay=0.0),
                "You train without weight decay. It is an argument of torch.optim.SGD.",
            ),
            Mistake(
                _loop(decay=2.0),
                "Your weight decay is twice as strong: its coefficient belongs to ||θ||²/2, as "
                "torch.optim.SGD has it.",
            ),
            Mistake(
                _loop(first=True),
                "You measure before each epoch. The first number belongs to a network that has "
                "seen the data once.",
            ),
            Mistake(
                _loop(logits=True),
                "You measure the logits. Collapse is about model.features(inputs).",
            ),
            Mistake(
                _loop(last=True),
                "You measure the last batch alone. Measure all training samples, with one network.",
            ),
        ),
        (
            "Two loops: over the orders, and over the batches of one order. The measurement stands "
            "in the outer one, after the batches.",
            "order.split(128) gives the indices of the batches; torch.optim.SGD takes lr, "
            "momentum and weight_decay. model.train() before the batches, model.eval() after.",
            "In a batch: optimizer.zero_grad(), cross_entropy(model(inputs[batch]), "
            "labels[batch]).backward(), optimizer.step(). After them, under torch.no_grad(), "
            "exercise 3.1's number of model.features(inputs).",
        ),
        "`fit` is this loop, with a step size that drops, a schedule of epochs, more numbers and "
        "the test split. The measurement costs one forward pass and changes nothing in the "
        "training.",
    ),
)
