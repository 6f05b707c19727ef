"""Exercises of chapter 11, words."""

import math

import torch

from ncourse.exercises.checks import Exercise, Mistake
from ncourse.exercises.draws import clouds, integer, log_uniform, normal, uniform

IMPORTS = """
import math
import torch
from ncourse.data import grammar, python_docs
from ncourse.papers import wu2024, zhao2026
from ncourse.simplex import cosine_matrix
from ncourse.ties import solve_tied
"""


# 11.1 ---------------------------------------------------------------------------------------------
def least_loss(counts):
    """Each context predicts its own shares; mean over all places of minus their logarithm."""
    shares = counts / counts.sum(1, keepdim=True)
    return -(torch.special.xlogy(counts, shares).sum() / counts.sum()).item()


def _contexts_alike(counts):
    shares = counts / counts.sum(1, keepdim=True)
    return -torch.special.xlogy(shares, shares).sum(1).mean().item()


def _of_all_words(counts):
    total = counts.sum(0) / counts.sum()
    return -torch.special.xlogy(total, total).sum().item()


def _of_pairs(counts):
    shares = counts / counts.sum()
    return -torch.special.xlogy(shares, shares).sum().item()


def _in_bits(counts):
    return least_loss(counts) / math.log(2)


def _no_zeros(counts):
    shares = counts / counts.sum(1, keepdim=True)
    return -((counts * shares.log()).sum() / counts.sum()).item()


def _tables(generator):
    for contexts, words in ((3, 4), (integer(generator, 4, 9), 2), (2, 7)):
        table = torch.randint(0, 5, (contexts, words), generator=generator).double()
        table[:, 0] += 1
        table[0, -1] = 0
        yield (table,)
    yield (torch.tensor([[3.0, 1.0], [1.0, 7.0]]).double(),)


# 11.2 ---------------------------------------------------------------------------------------------
def context_nc1(num_words, size):
    """A word's mean has the squared length (K - m) / (m (K - 1)); the rest to 1 is within."""
    mean = (num_words - size) / (size * (num_words - 1))
    return (1 - mean) / mean


def _fraction(num_words, size):
    return 1 - (num_words - size) / (size * (num_words - 1))


def _inverse(num_words, size):
    mean = (num_words - size) / (size * (num_words - 1))
    return mean / (1 - mean) if size > 1 else math.inf


def _orthogonal_words(num_words, size):
    return size - 1.0


def _only_pairs(num_words, size):
    return num_words / (num_words - 2) if size > 1 else 0.0


def _sets(generator):
    yield from ((4, 1), (4, 2), (5, 3), (6, 5))
    for _ in range(3):
        words = integer(generator, 4, 30)
        yield words, integer(generator, 2, words - 1)


# 11.3 ---------------------------------------------------------------------------------------------
def half_time(singular_value, start):
    """Solve 1 / (1 + (1/(s u0) - 1) e^(-2st)) = 1/2."""
    return math.log(1 / (singular_value * start) - 1) / (2 * singular_value)


def _no_two(singular_value, start):
    return 2 * half_time(singular_value, start)


def _start_alone(singular_value, start):
    return math.log(1 / start - 1) / (2 * singular_value)


def _without_minus_one(singular_value, start):
    return math.log(1 / (singular_value * start)) / (2 * singular_value)


def _squared(singular_value, start):
    return math.log(1 / (singular_value * start) - 1) / (2 * singular_value**2)


def _modes(generator):
    for _ in range(4):
        value = uniform(generator, 0.3, 3)
        yield value, log_uniform(generator, 1e-6, 0.2) / value
    yield 0.5, 0.8


# 11.4 ---------------------------------------------------------------------------------------------
def final_share(strong, weak, items, attributes, layers):
    """Gram eigenvalues s^(2/L): r strong ones, n - 1 - r weak ones."""
    first, rest = attributes * strong ** (2 / layers), weak ** (2 / layers)
    return first / (first + (items - 1 - attributes) * rest)


def _of_the_inputs(strong, weak, items, attributes, layers):
    return final_share(strong, weak, items, attributes, 1)


def _singular_values(strong, weak, items, attributes, layers):
    return final_share(strong, weak, items, attributes, 2 * layers)


def _constant_too(strong, weak, items, attributes, layers):
    return final_share(strong, weak, items + 1, attributes, layers)


def _one_of_each(strong, weak, items, attributes, layers):
    first, rest = strong ** (2 / layers), weak ** (2 / layers)
    return first / (first + rest)


def _spectra(generator):
    for layers in (2, 4, integer(generator, 5, 9)):
        weak = uniform(generator, 0.3, 1)
        strong = weak + uniform(generator, 0.5, 2)
        yield strong, weak, integer(generator, 8, 40), 4, layers
        yield strong, weak, 16, integer(generator, 1, 3), layers


# 11.5 ---------------------------------------------------------------------------------------------
def alignment_spread(features, labels, weight, min_samples):
    """Standard deviation over words of cos(row, centred mean), rare words left out first."""
    counts = labels.bincount(minlength=len(weight))
    kept = [k for k in range(len(weight)) if counts[k] >= min_samples]
    means = torch.stack([features[labels == k].mean(0) for k in kept])
    return torch.cosine_similarity(means - means.mean(0), weight[kept]).std().item()


def _means(features, labels, weight, min_samples):
    counts = labels.bincount(minlength=len(weight))
    kept = [k for k in range(len(weight)) if counts[k] >= min_samples]
    return kept, torch.stack([features[labels == k].mean(0) for k in kept])


def _not_centred(features, labels, weight, min_samples):
    kept, means = _means(features, labels, weight, min_samples)
    return torch.cosine_similarity(means, weight[kept]).std().item()


def _mean_of_places(features, labels, weight, min_samples):
    kept, means = _means(features, labels, weight, min_samples)
    return torch.cosine_similarity(means - features.mean(0), weight[kept]).std().item()


def _rare_words_too(features, labels, weight, min_samples):
    return alignment_spread(features, labels, weight, 1)


def _more_than(features, labels, weight, min_samples):
    return alignment_spread(features, labels, weight, min_samples + 1)


def _how_large(features, labels, weight, min_samples):
    kept, means = _means(features, labels, weight, min_samples)
    return torch.cosine_similarity(means - means.mean(0), weight[kept]).mean().item()


def _products(features, labels, weight, min_samples):
    kept, means = _means(features, labels, weight, min_samples)
    return ((means - means.mean(0)) * weight[kept]).sum(1).std().item()


def _texts(generator):
    for counts, dim, least in (
        ((9, 2, 5, 3, 3, 6), 4, 3),
        ((4, 8, 2, 5, 2, 3), 7, 2),
        ((7, 1, 1, 4, 12, 4), 3, 4),
        ((5, 3, 6, 2, 0), 3, 3),
    ):
        features, labels = clouds(generator, counts, dim)
        yield features, labels, 2 * normal(generator, len(counts), dim), least
    # Two words, both rows along one of them: as uneven as it gets.
    features, labels = clouds(generator, (4, 5), 3)
    along = features[labels == 0].mean(0) - features[labels == 1].mean(0)
    yield features, labels, torch.stack([along, 2 * along]), 2


EXERCISES = (
    Exercise(
        "11.1",
        1,
        least_loss,
        _tables,
        (
            Mistake(
                _contexts_alike,
                "You give each context the same weight. A context that comes often counts often.",
            ),
            Mistake(
                _of_all_words,
                "That is the loss of a model that knows how frequent words are and ignores the "
                "context. Divide each row by its own sum.",
            ),
            Mistake(
                _of_pairs,
                "That is the entropy of context and word together. The context is given: take the "
                "shares within a row.",
            ),
            Mistake(_in_bits, "Those are bits. Cross-entropy in PyTorch is in nats."),
            Mistake(
                _no_zeros,
                "0 times log 0 is nan on a computer and 0 here: `torch.special.xlogy(a, b)` is "
                "a log b with that convention.",
            ),
        ),
        (
            "What should a model predict for a context that it has seen with several words?",
            "The shares of its row, `counts / counts.sum(1, keepdim=True)`. The loss is the mean "
            "over all places of minus the logarithm of the share of the word that came.",
            "-(torch.special.xlogy(counts, shares).sum() / counts.sum()).item()",
        ),
        "No model of these contexts has a lower training loss. Zero is out of reach as soon as one "
        "context has two continuations, and with it the usual end of training.",
    ),
    Exercise(
        "11.2",
        1,
        context_nc1,
        _sets,
        (
            Mistake(
                _fraction,
                "That is the part of the variation that is within words, from 0 to 1. The trace "
                "ratio divides it by the part between them.",
            ),
            Mistake(_inverse, "Between over within. It is the other way round."),
            Mistake(
                _orthogonal_words,
                "You took the words to be orthogonal. They are a simplex, with cosine −1/(K−1).",
            ),
            Mistake(_only_pairs, "That is right for two words a context. Do it for m."),
        ),
        (
            "All features have length 1, so what is within a word is 1 minus the squared length of "
            "its mean, and the mean of the means is zero.",
            "A context is the sum of its m words over √(m(K−m)/(K−1)). Averaged over all contexts "
            "of one word only that word is left, with (K−m)/(K−1) in front.",
            "The squared length of a word's mean is (K−m)/(m(K−1)). NC1 is (1 − that) / that.",
        ),
        "It is K(m−1)/(K−m). A model at its optimum has this NC1, and no training lowers it: for "
        "text an NC1 that is not 0 does not mean that a model has not converged.",
    ),
    Exercise(
        "11.3",
        2,
        half_time,
        _modes,
        (
            Mistake(_no_two, "Twice too long: the exponent is −2st."),
            Mistake(
                _start_alone,
                "What is learned at the start is s u₀, not u₀.",
            ),
            Mistake(
                _without_minus_one,
                "Nearly: the bracket is 1/(s u₀) − 1. The 1 matters when the start is not small.",
            ),
            Mistake(_squared, "You divide by s². The rate is 2s."),
        ),
        (
            "Set the formula for what is learned equal to ½.",
            "Then (1/(s u₀) − 1) e^(−2st) = 1. Take logarithms.",
            "math.log(1 / (singular_value * start) - 1) / (2 * singular_value)",
        ),
        "The singular value is in the rate, the start only in a logarithm. What is shared by many "
        "items has the larger singular value, so it comes first, whatever the labels are.",
    ),
    Exercise(
        "11.4",
        2,
        final_share,
        _spectra,
        (
            Mistake(
                _of_the_inputs,
                "That is the share in the inputs, with s². L layers leave s to the power 2/L.",
            ),
            Mistake(
                _singular_values,
                "Those are singular values of the features. The share is of their squares, the "
                "eigenvalues of the Gram matrix.",
            ),
            Mistake(
                _constant_too,
                "n items differ in n − 1 directions: the constant one is centred away.",
            ),
            Mistake(
                _one_of_each,
                "There are r directions of attributes and n − 1 − r others: count them.",
            ),
        ),
        (
            "In each direction the Gram matrix of the features ends at s^(2/L).",
            "r directions with the strong singular value, n − 1 − r with the weak one.",
            "first = r · strong^(2/L), rest = (n − 1 − r) · weak^(2/L); first / (first + rest)",
        ),
        "As L grows both powers go to 1 and the share to r/(n−1), that of a simplex. In a linear "
        "network depth is the room that collapse needs.",
    ),
    Exercise(
        "11.5",
        3,
        alignment_spread,
        _texts,
        (
            Mistake(_not_centred, "Subtract the mean of the class means first."),
            Mistake(
                _mean_of_places,
                "You subtract the mean of all places, in which frequent words count more. Subtract "
                "the mean of the class means.",
            ),
            Mistake(
                _rare_words_too,
                "You kept words with fewer places than `min_samples`. The mean of one place is no "
                "mean.",
            ),
            Mistake(_more_than, "`min_samples` places are enough: at least, not more than."),
            Mistake(
                _how_large,
                "That is how large the alignment is, self-duality. Asked is how much it varies.",
            ),
            Mistake(_products, "Those are inner products. Divide by both lengths."),
        ),
        (
            "Leave out rare words, average the features of each other word, centre the averages.",
            "`torch.cosine_similarity(means - means.mean(0), weight[kept])` is one number a word.",
            "Their `.std()`. Words to keep: those with `labels.bincount(minlength=len(weight)) >= "
            "min_samples`.",
        ),
        "Uniform duality: whatever the alignment is, it is the same for all words. Over the sizes "
        "in this chapter it goes with validation loss better than the alignment itself.",
    ),
)
