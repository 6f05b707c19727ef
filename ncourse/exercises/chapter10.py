"""Exercises of chapter 10, what collapse buys."""

import math

import torch

from ncourse.exercises import Answer, Exercise, Mistake, wrong_kind, wrong_number


def _random(*shape: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


# 10.1 ---------------------------------------------------------------------------------------------
def first_gap(train, test, factor):
    """Index of the first layer whose test spread is `factor` times its training spread; or None."""
    for layer, (on_train, on_test) in enumerate(zip(train, test, strict=True)):
        if on_test >= factor * on_train:
            return layer
    return None


def _from_one(train, test, factor):
    layer = first_gap(train, test, factor)
    return None if layer is None else layer + 1


def _last_layer(train, test, factor):
    layers = [i for i, (a, b) in enumerate(zip(train, test, strict=True)) if b >= factor * a]
    return layers[-1] if layers else None


def _difference(train, test, factor):
    layers = [i for i, (a, b) in enumerate(zip(train, test, strict=True)) if b - a >= factor]
    return layers[0] if layers else None


def _finds_the_gap(answer: Answer) -> str | None:
    train, test = [1.4, 0.9, 0.06, 0.002], [1.3, 0.95, 0.2, 0.04]
    factors = (3.0, 10.0, 1.0, 50.0)
    said = [answer(list(train), list(test), factor) for factor in factors]

    def by(rule: Answer) -> list[int | None]:
        return [rule(train, test, factor) for factor in factors]

    near = {
        _from_one: "Count layers from 0, as Python does: the input is layer 0.",
        _last_layer: "You return the last such layer. Where does the gap *begin*?",
        _difference: "You compare differences. Spreads fall by orders of magnitude: take the "
        "ratio.",
    }
    for wrong, message in near.items():
        if said == by(wrong):
            return message
    for factor, value, truth in zip(factors, said, by(first_gap), strict=True):
        if value != truth or (value is None) != (truth is None):
            return f"For factor {factor:g} it is {truth}; yours is {value}."
    return None


# 10.2 ---------------------------------------------------------------------------------------------
def few_shot(support, support_labels, queries):
    """Label of the nearest mean of the support samples."""
    count = int(support_labels.max()) + 1
    means = torch.stack([support[support_labels == k].mean(0) for k in range(count)])
    return torch.cdist(queries, means).argmin(1)


def _nearest_sample(support, support_labels, queries):
    return support_labels[torch.cdist(queries, support).argmin(1)]


def _largest_product(support, support_labels, queries):
    count = int(support_labels.max()) + 1
    means = torch.stack([support[support_labels == k].mean(0) for k in range(count)])
    return (queries @ means.T).argmax(1)


def _farthest(support, support_labels, queries):
    count = int(support_labels.max()) + 1
    means = torch.stack([support[support_labels == k].mean(0) for k in range(count)])
    return torch.cdist(queries, means).argmax(1)


def _learns_from_five(answer: Answer) -> str | None:
    labels = torch.arange(4).repeat_interleave(5)
    centres = _random(4, 3, seed=1) + torch.tensor([6.0, 0, 0], dtype=torch.float64)
    support = centres[labels] + _random(20, 3, seed=2)
    queries = centres.repeat(15, 1) + _random(60, 3, seed=3)
    value = answer(support.clone(), labels.clone(), queries.clone())
    if message := wrong_kind(value, (60,)):
        return message
    if torch.equal(value.long(), few_shot(support, labels, queries)):
        return None
    near = {
        _nearest_sample: "That is the nearest *sample*. Average the five of each class first.",
        _largest_product: "You take the largest inner product. Means of new classes have different "
        "lengths; take the smallest distance.",
        _farthest: "You take the farthest mean.",
    }
    for wrong, message in near.items():
        if torch.equal(value.long(), wrong(support, labels, queries)):
            return message
    return "On a small example your labels differ from those of the nearest mean."


# 10.3 ---------------------------------------------------------------------------------------------
def auroc(known, unknown):
    """The chance that a known sample scores above an unknown one; ties count one half."""
    above = (known[:, None] > unknown).double() + 0.5 * (known[:, None] == unknown).double()
    return above.mean().item()


def _ties_lost(known, unknown):
    return (known[:, None] > unknown).double().mean().item()


def _upside_down(known, unknown):
    return 1 - auroc(known, unknown)


def _at_one_threshold(known, unknown):
    return (known > unknown.mean()).double().mean().item()


def _ranks(answer: Answer) -> str | None:
    known = torch.tensor([0.9, 0.8, 0.8, 0.3, 0.6], dtype=torch.float64)
    unknown = torch.tensor([0.8, 0.1, 0.3, 0.2], dtype=torch.float64)
    value = answer(known.clone(), unknown.clone())
    if message := wrong_number(value):
        return message
    truth = auroc(known, unknown)
    if math.isclose(float(value), truth, rel_tol=1e-6):
        return None
    near = {
        _ties_lost: "Equal scores count one half: a guess between them is right half of the time.",
        _upside_down: "That is the chance that the *unknown* one scores higher.",
        _at_one_threshold: "You use one threshold. The AUROC compares every pair.",
    }
    for wrong, message in near.items():
        if math.isclose(float(value), wrong(known, unknown), rel_tol=1e-6):
            return message
    return f"For a small example it is {truth:.4g}; yours is {float(value):.4g}."


# 10.4 ---------------------------------------------------------------------------------------------
def whose_theorem(penalty, linear_layers, residual, mean_field):
    """Names of the papers whose setting this is, in alphabetical order."""
    names = []
    if penalty == "features":
        names.append("Hong and Ling")
    if penalty == "weights" and linear_layers >= 2:
        names.append("Jacot et al.")
    if penalty == "weights" and residual:
        names.append("Súkeník et al.")
    if penalty == "weights" and mean_field:
        names.append("Wu and Mondelli")
    return names


def _one_linear_layer(penalty, linear_layers, residual, mean_field):
    return whose_theorem(penalty, linear_layers + 1, residual, mean_field)


def _whatever_the_penalty(penalty, linear_layers, residual, mean_field):
    names = whose_theorem("weights", linear_layers, residual, mean_field)
    return ["Hong and Ling", *names] if penalty == "features" else names


def _only_the_first(penalty, linear_layers, residual, mean_field):
    return whose_theorem(penalty, linear_layers, residual, mean_field)[:1]


def _names_the_papers(answer: Answer) -> str | None:
    cases = (
        ("features", 1, False, False),
        ("weights", 1, False, False),
        ("weights", 2, False, False),
        ("weights", 1, True, False),
        ("weights", 1, False, True),
        ("features", 3, False, False),
        ("none", 2, True, True),
        ("weights", 3, True, False),
    )
    for case in cases:
        value = answer(*case)
        if value is None:
            return "Your function returns None. Is the `return` missing?"
        said = sorted(value)
        if said == whose_theorem(*case):
            continue
        near = {
            _one_linear_layer: "One linear layer, the classifier, is what every network has. Jacot "
            "et al. need at least two at the end.",
            _whatever_the_penalty: "Without weight decay on the weights three of the four theorems "
            "are void, whatever the architecture.",
            _only_the_first: "More than one setting can apply: return all of them.",
        }
        for wrong, message in near.items():
            if said == sorted(wrong(*case)):
                return message
        return f"For {case} it is {whose_theorem(*case)}; yours is {said}."
    return None


# 10.5 ---------------------------------------------------------------------------------------------
def bound_on_nc1(error, imbalance, largest, least, below, num_samples, num_classes):
    """The bound of chapter 6 from its ingredients; infinite where it says nothing."""
    room = math.sqrt(num_samples * (num_classes - 1) / num_classes) - error
    if room <= 0:
        return math.inf
    return largest**2 * ((error / least) ** 2 + imbalance * below**2) / room**2


def _without_imbalance(error, imbalance, largest, least, below, num_samples, num_classes):
    return bound_on_nc1(error, 0.0, largest, least, below, num_samples, num_classes)


def _always_finite(error, imbalance, largest, least, below, num_samples, num_classes):
    room = math.sqrt(num_samples * (num_classes - 1) / num_classes) - error
    return largest**2 * ((error / least) ** 2 + imbalance * below**2) / room**2


def _imbalance_squared(error, imbalance, largest, least, below, num_samples, num_classes):
    return bound_on_nc1(error, imbalance**2, largest, least, below, num_samples, num_classes)


def _not_centred(error, imbalance, largest, least, below, num_samples, num_classes):
    room = math.sqrt(num_samples) - error
    return largest**2 * ((error / least) ** 2 + imbalance * below**2) / room**2


def _bounds(answer: Answer) -> str | None:
    for case in ((0.5, 0.02, 2.0, 0.8, 3.0, 60, 3), (7.0, 0.1, 2.0, 0.8, 3.0, 60, 3)):
        value = answer(*case)
        truth = bound_on_nc1(*case)
        if value is not None and truth == math.inf:
            if float(value) == math.inf:
                continue
            return (
                "With an interpolation error as large as √(N(K−1)/K) the bound says nothing: "
                "return `math.inf`. The square hides the sign."
            )
        if message := wrong_number(value):
            return message
        if math.isclose(float(value), truth, rel_tol=1e-9):
            continue
        near = {
            _without_imbalance: "The imbalance is missing. Without it the bound is wrong: chapter "
            "6 shows it broken.",
            _imbalance_squared: "ε₂ stands in Δ² as it is, not squared: it is already a norm of "
            "products of two weights.",
            _not_centred: "Targets are centred too: the root is of N(K−1)/K, not of N.",
        }
        for wrong, message in near.items():
            if math.isclose(float(value), wrong(*case), rel_tol=1e-9):
                return message
        return f"For {case} it is {truth:.5g}; yours is {float(value):.5g}."
    return None


EXERCISES = (
    Exercise(
        "10.1",
        1,
        first_gap,
        (_finds_the_gap,),
        (
            "Go through the layers from the input on and stop at the first that qualifies.",
            "The condition is test ≥ factor · train.",
            "`enumerate(zip(train, test))`; return the index, and None after the loop.",
        ),
        "Up to there the network treats new images as it treats those that it has seen.",
        (
            Mistake(_from_one, "Count layers from 0"),
            Mistake(_last_layer, "*begin*"),
            Mistake(_difference, "take the ratio"),
        ),
    ),
    Exercise(
        "10.2",
        2,
        few_shot,
        (_learns_from_five,),
        (
            "What stands for a class of which you have five samples?",
            "Their mean. A new sample belongs to the class whose mean is nearest.",
            "`torch.cdist(queries, means).argmin(1)`.",
        ),
        "There is nothing to train: all that decides is how the features lie. So it measures them.",
        (
            Mistake(_nearest_sample, "Average the five"),
            Mistake(_largest_product, "inner product"),
            Mistake(_farthest, "farthest mean"),
        ),
    ),
    Exercise(
        "10.3",
        3,
        auroc,
        (_ranks,),
        (
            "Compare every known score with every unknown one.",
            "`known[:, None] > unknown` is (N, M).",
            "Its mean, plus half the mean of `known[:, None] == unknown`.",
        ),
        "It needs no threshold, and so says nothing about which one to choose.",
        (
            Mistake(_ties_lost, "one half"),
            Mistake(_upside_down, "*unknown* one"),
            Mistake(_at_one_threshold, "one threshold"),
        ),
    ),
    Exercise(
        "10.4",
        4,
        whose_theorem,
        (_names_the_papers,),
        (
            "Read the column *setting* of the first table: what must be penalised?",
            "One of the four penalises features, three penalise weights.",
            "Features: Hong and Ling. Weights: Jacot et al. from two linear layers on, Súkeník et "
            "al. if residual, Wu and Mondelli if mean-field.",
        ),
        "An ordinary network with one linear layer and weight decay is in none of them. That is "
        "the open case, and the one that chapter 3 watched.",
        (
            Mistake(_one_linear_layer, "at least two"),
            Mistake(_whatever_the_penalty, "void"),
            Mistake(_only_the_first, "return all"),
        ),
    ),
    Exercise(
        "10.5",
        5,
        bound_on_nc1,
        (_bounds,),
        (
            "Chapter 6: s₁² Δ² / (√(N(K−1)/K) − ε₁)², with Δ² = (ε₁/s_K)² + ε₂ ‖Z_(L−2)‖².",
            "If ε₁ is √(N(K−1)/K) or more, the proof breaks off: return `math.inf`.",
            "room = sqrt(N (K − 1) / K) − error; then largest² · ((error/least)² + imbalance · "
            "below²) / room².",
        ),
        "Two terms, two clocks: the fit takes the first away, weight decay the second.",
        (
            Mistake(_without_imbalance, "imbalance is missing"),
            Mistake(_always_finite, "hides the sign"),
            Mistake(_imbalance_squared, "not squared"),
            Mistake(_not_centred, "N(K−1)/K"),
        ),
    ),
)
