"""Exercises for marks: each with variants, of which a teacher's secret seed draws one.

The chapters' own exercises are for practice: their solutions are a call away. These are asked in
no chapter, `solution` does not show them, and "3.7v4" is variant 4 of exercise 3.7: another
convention, another loss, another norm. Whoever reads this file finds the references all the same.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator
from torch.nn.functional import normalize, one_hot

from ncourse.exercises.checks import EQUAL, Agreement, Answer, Exercise
from ncourse.exercises.draws import (
    clouds,
    integer,
    labels,
    log_uniform,
    normal,
    uniform,
)

__all__ = ["MARKED", "Marked", "marked"]


@dataclass(frozen=True)
class Marked:
    """An exercise with variants.

    Attributes:
        name: chapter and number, after those of the chapter's own exercises.
        objective: number of the chapter's objective that it serves.
        minutes: that it takes.
        variants: what can be asked; each a tuple of words and numbers.
        text: what a variant asks, in Markdown.
        stub: the function to fill in, with its docstring.
        reference: variant -> a right answer.
        cases: as in `Exercise`.
        agreement: variant -> as in `Exercise`.
    """

    name: str
    objective: int
    minutes: int
    variants: Sequence[tuple]
    text: Callable[..., str]
    stub: str
    reference: Callable[..., Answer]
    cases: Callable[[Generator], Iterable[tuple]]
    agreement: Callable[..., Agreement] = lambda *variant: EQUAL

    @property
    def function(self) -> str:
        """The name of the function to write."""
        return self.stub.removeprefix("def ").partition("(")[0]

    @property
    def level(self) -> str:
        """From the minutes: "●○○", "●●○" or "●●●"."""
        return "●○○" if self.minutes <= 5 else "●●○" if self.minutes <= 10 else "●●●"

    def exercise(self, variant: int) -> Exercise:
        """One variant as an exercise, named e.g. "3.7v4"; it has no hints."""
        chosen = self.variants[variant]
        none = "There are no hints to exercises for marks."
        return Exercise(
            f"{self.name}v{variant}",
            self.objective,
            self.reference(*chosen),
            self.cases,
            (),
            (none, none, none),
            "It agrees with the course's answer in every case.",
            agreement=self.agreement(*chosen),
        )

    def asked(self, variant: int) -> str:
        """What this variant asks."""
        return self.text(*self.variants[variant])


def marked(name: str) -> tuple[Marked, int]:
    """The exercise for marks of this name, and its variant.

    Raises:
        KeyError: if there is none.
    """
    number, _, variant = name.partition("v")
    for entry in MARKED:
        if entry.name == number and variant.isdecimal() and int(variant) < len(entry.variants):
            return entry, int(variant)
    raise KeyError(f"{name!r} is no variant of an exercise for marks")


def _product(*choices: Sequence[Any]) -> tuple[tuple, ...]:
    return tuple(itertools.product(*choices))


def _means(features, labels):
    onehot = one_hot(labels).to(features)
    return onehot.T @ features / onehot.sum(0)[:, None]


def _pairs(count):
    return tuple(torch.triu_indices(count, count, 1))


def _uneven(generator):
    for counts, dim in (((9, 4, 6), 4), ((3, 7), 3), ((5, 2, 8, 4), 6)):
        yield clouds(generator, counts, dim, spread=uniform(generator, 0.4, 2))


# --- chapter 1 ------------------------------------------------------------------------------------


def _simplex_at(side, place):
    def answer(num_points, dim, centre):
        rows = torch.eye(num_points, dim, dtype=torch.float64) * side / math.sqrt(2)
        if place == "mean":
            return rows - rows.mean(0) + centre
        return rows - rows[0] + centre

    return answer


def _at_these_distances(side, place):
    def agree(points, wanted, arguments):
        count, _, centre = arguments
        gaps = torch.pdist(points)
        if gaps.numel() and not (gaps - side).abs().max() <= 1e-5:
            return f"For K = {count} a distance is {gaps[(gaps - side).abs().argmax()]:.4g}."
        there = points.mean(0) if place == "mean" else points[0]
        return bool((there - centre).abs().max() <= 1e-5) or f"Your {place} is elsewhere."

    return agree


def _rooms(generator):
    for count, dim in ((3, 3), (2, 4), (integer(generator, 4, 6), 7)):
        yield count, dim, 2 * normal(generator, dim)


ENERGIES: dict[str, tuple[str, Callable]] = {
    "inverse": (r"1/r", lambda r: 1 / r),
    "square": (r"1/r^2", lambda r: 1 / r**2),
    "logarithm": (r"-\log r", lambda r: -r.log()),
    "heat": (r"e^{-r^2}", lambda r: (-(r**2)).exp()),
}


def _energy(kind, over):
    def answer(vectors):
        first, second = _pairs(len(vectors))
        each = ENERGIES[kind][1]((vectors[first] - vectors[second]).norm(dim=1))
        if over == "mean":
            return each.mean().item()
        return (each.sum() * (2 if over == "ordered" else 1)).item()

    return answer


OVER = {
    "pairs": "added up over all pairs $i < j$",
    "ordered": "added up over all ordered pairs $i \\ne j$, so that each pair counts twice",
    "mean": "as a mean over all pairs $i < j$",
}


def _on_the_sphere(generator):
    for count, dim in ((3, 2), (5, 4), (8, 3)):
        yield (normalize(normal(generator, count, dim), dim=1),)


# --- chapter 2 ------------------------------------------------------------------------------------


def _spread(ratio, weights, centre):
    def answer(features, labels):
        means = _means(features, labels)
        shares = labels.bincount().double() / len(labels)
        if weights == "equal":
            shares = torch.full_like(shares, 1 / len(means))
        middle = means.mean(0) if centre == "means" else features.mean(0)
        off = means - middle
        between = (shares[:, None] * off).T @ off
        residual = features - means[labels]
        within = residual.T @ residual / len(labels)
        if ratio == "traces":
            return (within.trace() / between.trace()).item()
        if ratio == "share":
            return (within.trace() / (within.trace() + between.trace())).item()
        return (within @ torch.linalg.pinv(between, hermitian=True)).trace().item() / len(means)

    return answer


RATIOS = {
    "traces": r"$\operatorname{tr}\Sigma_W/\operatorname{tr}\Sigma_B$",
    "share": r"$\operatorname{tr}\Sigma_W/(\operatorname{tr}\Sigma_W + \operatorname{tr}\Sigma_B)$",
    "inverse": r"$\frac1K\operatorname{tr}(\Sigma_W\Sigma_B^{+})$",
}


def _evenness(what, of):
    def answer(features, labels, weight):
        rows = _means(features, labels) if of == "means" else weight
        rows = rows - rows.mean(0)
        first, second = _pairs(len(rows))
        cosines = (normalize(rows, dim=1)[first] * normalize(rows, dim=1)[second]).sum(1)
        lengths = rows.norm(dim=1)
        off = (cosines + 1 / (len(rows) - 1)).abs()
        return {
            "lengths": lengths.std(correction=0) / lengths.mean(),
            "angles": cosines.std(correction=0),
            "largest": off.max(),
            "mean": off.mean(),
        }[what].item()

    return answer


EVEN = {
    "lengths": "the standard deviation (divided by $K$) of their lengths, over their mean length",
    "angles": "the standard deviation of their cosines over all pairs (divided by their number)",
    "largest": "the largest $|\\cos + 1/(K-1)|$ over all pairs",
    "mean": "the mean of $|\\cos + 1/(K-1)|$ over all pairs",
}


def _with_classifier(generator):
    for features, of_class in _uneven(generator):
        yield features, of_class, normal(generator, int(of_class.max()) + 1, features.shape[1]) + 1


# --- chapter 3 ------------------------------------------------------------------------------------


def _rows_until(factor, since):
    def answer(train_error, nc1):
        zero = next((i for i, error in enumerate(train_error) if error == 0), None)
        if zero is None:
            return None
        start = zero if since == "first" else max(zero - 1, 0)
        return next(
            (i - zero for i in range(zero, len(nc1)) if nc1[i] * factor <= nc1[start]), None
        )

    return answer


def _histories(generator):
    for count in (8, 12):
        zero = integer(generator, 1, 4)
        error = [0.5 / (i + 1) for i in range(zero)] + [0.0] * (count - zero)
        nc1 = [4.0]
        for _ in range(count - 1):
            nc1.append(nc1[-1] / 2 ** integer(generator, 0, 2))  # exact halves: ties count
        yield error, nc1
        yield error, [*nc1[:-1], nc1[0]]
    yield [0.5, 0.1] + [0.0] * 7, [4 / 2**i for i in range(9)]
    yield [0.5, 0.1] + [0.0] * 7, [4.0, 4.0, *(4 / 2**i for i in range(7))]
    yield [0.3, 0.2], [2.0, 0.1]
    yield [0.0, 0.0], [2.0, 1.9]


def _decided(distance, shrink):
    def answer(features, labels, queries):
        means = _means(features, labels)
        if distance == "cosine":
            scores = (
                -normalize(queries - means.mean(0), dim=1)
                @ normalize(means - means.mean(0), dim=1).T
            )
        elif distance == "whitened":
            residual = features - means[labels]
            within = residual.T @ residual / len(labels)
            within = within + shrink * torch.eye(len(within), dtype=torch.float64)
            off = queries[:, None] - means
            scores = (off @ torch.linalg.inv(within) * off).sum(2)
        else:
            scores = (queries[:, None] - means).abs().sum(2)
        return scores.argmin(1)

    return answer


def _queries(generator):
    for features, of_class in _uneven(generator):
        near = torch.randint(len(of_class), (300,), generator=generator)
        yield features, of_class, features[near] + normal(generator, 300, features.shape[1])


# --- chapter 4 ------------------------------------------------------------------------------------


def _threshold(ratio, asked):
    def answer(num_classes, samples_per_class):
        lambda_h = 1 / (num_classes * math.sqrt(samples_per_class * ratio))
        return lambda_h if asked == "H" else ratio * lambda_h

    return answer


def _sizes(generator):
    for samples in (1, integer(generator, 2, 30), integer(generator, 31, 400)):
        yield integer(generator, 2, 20), samples


def _pull(loss, penalised):
    def answer(features, labels, weight, penalty):
        logits, targets = features @ weight.T, one_hot(labels, len(weight)).double()
        slope = torch.softmax(logits, 1) - targets if loss == "cross" else logits - targets
        gradient = slope @ weight / len(features)
        share = 1 if penalised == "sum" else 1 / len(features)
        return gradient + penalty * share * features

    return answer


def _points(generator):
    for counts, dim in (((3, 4), 3), ((2, 5, 1), 5), ((4, 4, 4, 2), 2)):
        of_class = labels(generator, counts)
        features = normal(generator, len(of_class), dim)
        yield features, of_class, normal(generator, len(counts), dim), uniform(generator, 0.1, 1)


# --- chapter 5 ------------------------------------------------------------------------------------


def _units(kind, least):
    def answer(data, labels, first):
        on = (data @ first.T > 0).double()
        by_class = (one_hot(labels).double().T @ on) / one_hot(labels).sum(0)[:, None]
        return {
            "dead": (on.sum(0) <= least).sum(),
            "always": (on.sum(0) >= len(data) - least).sum(),
            "one class": (((by_class > 0).sum(0) == 1) & (on.sum(0) > least)).sum(),
        }[kind].item()

    return answer


def _layers(generator):
    for counts, dim, width in (((3, 2), 2, 400), ((2, 4, 3), 3, 250), ((1, 2, 1, 2), 2, 300)):
        of_class = labels(generator, counts)
        yield normal(generator, len(of_class), dim), of_class, normal(generator, width, dim)


def _separation(radius, distance):
    def answer(features, labels):
        means = _means(features, labels)
        off = (features - means[labels]).norm(dim=1)
        if radius == "largest":
            widths = torch.stack([off[labels == k].max() for k in range(len(means))])
        else:
            widths = torch.stack(
                [off[labels == k].square().mean().sqrt() for k in range(len(means))]
            )
        first, second = _pairs(len(means))
        gaps = (means[first] - means[second]).norm(dim=1)
        if distance == "least":
            return (gaps.min() / widths.max()).item()
        return (gaps / (widths[first] + widths[second])).min().item()

    return answer


# --- chapter 6 ------------------------------------------------------------------------------------


NORMS: dict[str, tuple[str, Callable]] = {
    "operator": ("operator norm", lambda matrix: torch.linalg.matrix_norm(matrix, 2)),
    "frobenius": ("Frobenius norm", lambda matrix: torch.linalg.matrix_norm(matrix)),
    "nuclear": ("nuclear norm", lambda matrix: torch.linalg.matrix_norm(matrix, "nuc")),
}


def _relative_imbalance(norm, over):
    def answer(lower, upper):
        size = NORMS[norm][1]
        up, low = upper.T @ upper, lower @ lower.T
        below = {"lower": size(low), "upper": size(up), "both": size(low) + size(up)}[over]
        return (size(up - low) / below).item()

    return answer


def _two_layers(generator):
    for middle, below, above in ((4, 5, 3), (3, 2, 6), (5, 5, 2)):
        yield normal(generator, middle, below), normal(generator, above, middle)


def _rank_share(power, share):
    def answer(matrix):
        values = torch.linalg.svdvals(matrix) ** power
        reached = values.cumsum(0) >= share * values.sum()
        return int(reached.double().argmax()) + 1

    return answer


def _matrices(generator):
    for rows, columns in ((30, 50), (60, 20), (40, 40)):
        scale = torch.logspace(0, -1.5, columns, dtype=torch.float64)
        order = torch.randperm(columns, generator=generator)
        yield (normal(generator, rows, columns) * scale[order],)
        yield (normal(generator, rows, columns),)


# --- chapter 7 ------------------------------------------------------------------------------------


def _outside_share(norm, squared):
    def answer(features, weight):
        rows = torch.linalg.svd(weight, full_matrices=False).Vh
        outside = features - features @ rows.T @ rows
        share = NORMS[norm][1](outside) / NORMS[norm][1](features)
        return (share**2 if squared else share).item()

    return answer


def _seen_features(generator):
    for samples, count, dim in ((8, 2, 5), (5, 3, 4), (12, 1, 3)):
        yield normal(generator, samples, dim), normal(generator, count, dim)


ACTIVATIONS: dict[str, Callable] = {
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "sine": torch.sin,
}


def _kernel(activation, centred):
    def answer(inner, inputs):
        hidden = ACTIVATIONS[activation](inputs @ inner.T)
        if centred:
            hidden = hidden - hidden.mean(0)
        return hidden @ hidden.T / len(inner)

    return answer


def _particles(generator):
    for particles, inputs, samples in ((7, 3, 5), (20, 2, 4), (4, 5, 8)):
        yield normal(generator, particles, inputs), normal(generator, samples, inputs)


# --- chapter 8 ------------------------------------------------------------------------------------


def _normalised(centred, size, shift):
    def answer(features):
        if centred:
            features = features - features.mean(1, keepdim=True)
        mean_square = features.square().mean(1, keepdim=True)
        scale = 1.0 if size == "one" else 1 / math.sqrt(features.shape[1])
        return scale * features / (mean_square + shift).sqrt()

    return answer


def _rows(generator):
    for samples, dim in ((6, 4), (3, 9), (1, 2)):
        yield (uniform(generator, 0.3, 3) * normal(generator, samples, dim) + 1,)


def _cheapest(power, price):
    def answer(distance, decay):
        def cost(depth):
            return depth * (decay / 2 * (distance / depth) ** power + price)

        return min(range(1, 5000), key=cost)

    return answer


def _ways(generator):
    for _ in range(4):
        yield uniform(generator, 1, 40), log_uniform(generator, 0.02, 2)


# --- chapter 9 ------------------------------------------------------------------------------------


def _shared_buffer(rule, first):
    def answer(buffer, counts):
        classes = len(counts)
        if rule == "equal":
            shares = [buffer / classes] * classes
        else:
            shares = [buffer * n / sum(counts) for n in counts]
        given = [int(share) for share in shares]
        order = range(classes) if first == "first" else range(classes - 1, -1, -1)
        for k in list(order)[: buffer - sum(given)]:
            given[k] += 1
        return given

    return answer


def _buffers(generator):
    for classes in (3, 2, 5):
        yield integer(generator, 10, 60), [integer(generator, 20, 200) for _ in range(classes)]
    yield 12, [50, 25, 25]


def _floor(unit, weights, added):
    def answer(counts):
        shares = (counts + added) / (counts + added).sum(1, keepdim=True)
        each = -torch.special.xlogy(shares, shares).sum(1)
        rows = counts.sum(1)
        mean = (rows * each).sum() / rows.sum() if weights == "places" else each.mean()
        if unit == "perplexity":
            return mean.exp().item()
        return (mean / math.log(2) if unit == "bits" else mean).item()

    return answer


def _tables_of_counts(generator):
    for contexts, words in ((3, 4), (integer(generator, 4, 8), 2), (2, 6)):
        counts = torch.randint(0, 5, (contexts, words), generator=generator).double()
        counts[:, 0] += 1
        counts[0, -1] = 0
        yield (counts,)


def _time_of(share, rate):
    def answer(singular_value, start):
        odds = math.log(1 / (singular_value * start) - 1) - math.log(1 / share - 1)
        return max(0.0, odds / (2 * singular_value) / rate)

    return answer


def _directions(generator):
    for _ in range(4):
        value = uniform(generator, 0.3, 3)
        yield value, log_uniform(generator, 1e-5, 0.05) / value
    yield 0.5, 1.9


def _summary(kind):
    def answer(accuracy):
        tasks = len(accuracy)
        if kind == "final":
            return sum(accuracy[-1]) / tasks
        if kind == "incremental":
            return sum(sum(row[: t + 1]) / (t + 1) for t, row in enumerate(accuracy)) / tasks
        if kind == "backward":
            gains = [accuracy[-1][j] - accuracy[j][j] for j in range(tasks - 1)]
            return sum(gains) / (tasks - 1)
        if kind == "learning":
            return sum(accuracy[j][j] for j in range(tasks)) / tasks
        return min(accuracy[-1][j] - accuracy[j][j] for j in range(tasks - 1))

    return answer


SUMMARIES = {
    "final": "the mean accuracy over all $T$ tasks at the end",
    "incremental": "the mean over $t = 1, \\dots, T$ of the mean accuracy, after task $t$, on the "
    "$t$ tasks seen so far",
    "backward": "backward transfer: the mean over the $T - 1$ old tasks of the accuracy at the end "
    "minus that right after the task",
    "learning": "the mean over all $T$ tasks of the accuracy right after the task",
    "worst": "the least, over the $T - 1$ old tasks, of the accuracy at the end minus that right "
    "after the task",
}


def _accuracies(generator):
    for tasks in (3, 2, 5):
        yield (
            [
                [uniform(generator, 0.3, 1) if j <= t else 0.0 for j in range(tasks)]
                for t in range(tasks)
            ],
        )


# --- chapter 10 -----------------------------------------------------------------------------------


def _known(score):
    def answer(features, weight, class_means):
        logits = features @ weight.T
        return {
            "distance": -torch.cdist(features, class_means).min(1).values,
            "logit": logits.max(1).values,
            "energy": logits.logsumexp(1),
            "probability": torch.softmax(logits, 1).max(1).values,
            "cosine": (normalize(features, dim=1) @ normalize(class_means, dim=1).T).max(1).values,
        }[score]

    return answer


SCORES = {
    "distance": "minus the distance to the nearest class mean",
    "logit": "the largest logit, $Wh$ without a bias",
    "energy": "the energy $\\log\\sum_k e^{z_k}$ of the logits $z = Wh$, without a bias",
    "probability": "the largest softmax probability of the logits $Wh$, without a bias",
    "cosine": "the largest cosine with a class mean, neither centred",
}


def _open_set(generator):
    for samples, count, dim in ((9, 3, 4), (4, 5, 6), (12, 2, 2)):
        yield (
            2 * normal(generator, samples, dim),
            normal(generator, count, dim),
            2 * normal(generator, count, dim),
        )


def _false_alarms(kept, ties):
    def answer(known, unknown):
        # The largest threshold that keeps the share of known samples.
        threshold = next(
            t.item()
            for t in known.sort(descending=True).values
            if (known >= t).double().mean() >= kept - 1e-12
        )
        passed = unknown >= threshold if ties else unknown > threshold
        return passed.double().mean().item()

    return answer


def _known_and_unknown(generator):
    for count, others in ((40, 30), (60, 20), (20, 70)):
        known = torch.randint(20, 90, (count,), generator=generator).double() / 100
        unknown = torch.rand(others, generator=generator, dtype=torch.float64)
        yield known, torch.cat([unknown, known.sort().values[: count // 3]])  # with ties


MARKED: tuple[Marked, ...] = (
    Marked(
        "1.7",
        1,
        10,
        _product((1.0, 2.0, 0.5, 3.0), ("mean", "first point")),
        lambda side, place: (
            f"$K$ points in $d \\ge K$ dimensions, all at distance {side:g} from each other, whose "
            f"{place} is at `centre`."
        ),
        "def equidistant_points(num_points, dim, centre):\n"
        '    """K >= 2, d >= K, centre (d,)  ->  points (K, d)."""',
        _simplex_at,
        _rooms,
        _at_these_distances,
    ),
    Marked(
        "1.8",
        2,
        10,
        _product(tuple(ENERGIES), tuple(OVER)),
        lambda kind, over: (
            f"The energy of unit vectors $x_1, \\dots, x_K$: ${ENERGIES[kind][0]}$ of the distance "
            f"$r = \\lVert x_i - x_j\\rVert$, {OVER[over]}."
        ),
        'def energy_of(vectors):\n    """vectors (K, d), unit rows  ->  a number."""',
        _energy,
        _on_the_sphere,
    ),
    Marked(
        "2.5",
        1,
        10,
        _product(tuple(EVEN), ("means", "classifier")),
        lambda what, of: (
            f"How even are the {'class means' if of == 'means' else 'rows of the classifier'}? "
            f"Subtract the mean of the $K$ rows, then return {EVEN[what]}."
        ),
        "def unevenness(features, labels, weight):\n"
        '    """features (N, d), labels (N,) in 0..K-1, weight (K, d)  ->  a number."""',
        _evenness,
        _with_classifier,
    ),
    Marked(
        "3.7",
        3,
        10,
        _product((2, 4, 8, 16), ("first", "before")),
        lambda factor, since: (
            f"After how many rows in the terminal phase has NC1 fallen to 1/{factor} or less of "
            + (
                "its value at the first row at zero training error?"
                if since == "first"
                else "its value one row *before* the first at zero training error (at that row "
                "itself if it is the very first)?"
            )
            + " The first row at zero error is row 0. None if it never does, or if the error never "
            "reaches zero."
        ),
        "def rows_until(train_error, nc1):\n"
        '    """two lists, one entry a row  ->  a number of rows, or None."""',
        _rows_until,
        _histories,
    ),
    Marked(
        "3.8",
        1,
        15,
        (("city", 0.0), ("cosine", 0.0), *(("whitened", s) for s in (0.0, 0.1, 0.5, 1.0, 2.0))),
        lambda distance, shrink: (
            "Decide by the nearest class mean, where nearest means "
            + {
                "city": "the least sum of absolute differences.",
                "cosine": "the largest cosine, after the mean of the class means has been "
                "subtracted from queries and means.",
                "whitened": "the least $(h - \\mu)^\\top(\\Sigma_W"
                + (f" + {shrink:g}\\,I" if shrink else "")
                + ")^{-1}(h - \\mu)$, with $\\Sigma_W$ the mean over samples of "
                "$(h - \\mu_c)(h - \\mu_c)^\\top$.",
            }[distance]
        ),
        "def decide(features, labels, queries):\n"
        '    """features (N, d), labels (N,) in 0..K-1, queries (M, d)  ->  labels (M,)."""',
        _decided,
        _queries,
    ),
    Marked(
        "4.6",
        2,
        5,
        _product((0.1, 0.5, 3.0, 5.0, 7.0), ("H", "W")),
        lambda ratio, asked: (
            f"The unconstrained features model is zero from $K\\sqrt{{n\\lambda_W\\lambda_H}} = 1$ "
            f"on. Let $\\lambda_W = {ratio:g}\\,\\lambda_H$: from which $\\lambda_{asked}$ on?"
        ),
        'def least_penalty(num_classes, samples_per_class):\n    """K, n  ->  a number."""',
        _threshold,
        _sizes,
    ),
    Marked(
        "4.7",
        1,
        15,
        _product(("cross", "squares"), ("sum", "mean")),
        lambda loss, penalised: (
            "The gradient in the features of "
            + (
                "mean cross-entropy of the logits $HW^\\top$"
                if loss == "cross"
                else "$\\frac{1}{2N}\\lVert HW^\\top - Y\\rVert^2$, with one-hot $Y$"
            )
            + ", plus "
            + (
                "$\\frac{\\lambda}{2}\\lVert H\\rVert^2$."
                if penalised == "sum"
                else "$\\frac{\\lambda}{2N}\\lVert H\\rVert^2$."
            )
        ),
        "def pull_on_features(features, labels, weight, penalty):\n"
        '    """features (N, d), labels (N,), weight (K, d), penalty λ  ->  gradient (N, d)."""',
        _pull,
        _points,
    ),
    Marked(
        "5.6",
        5,
        10,
        _product(("dead", "always", "one class"), (0, 1, 2)),
        lambda kind, least: (
            "How many units of a ReLU layer are "
            + {
                "dead": f"on for at most {least} of the samples?",
                "always": f"on for all samples but at most {least}?",
                "one class": "on for samples of exactly one class, and for more than "
                f"{least} of them?",
            }[kind]
            + " Unit $j$ is on where $\\langle a_j, x\\rangle > 0$."
        ),
        "def count_units(data, labels, first):\n"
        '    """data (N, d), labels (N,) in 0..K-1, first (D1, d), rows a_j  ->  a number."""',
        _units,
        _layers,
    ),
    Marked(
        "5.7",
        3,
        10,
        _product(("largest", "root mean square"), ("least", "pair")),
        lambda radius, distance: (
            f"A signal-to-noise ratio. The radius of a class is the {radius} distance of its "
            "samples to their mean. Return "
            + (
                "the least distance of two class means over the largest radius."
                if distance == "least"
                else "the least, over all pairs of classes, of the distance of their means over "
                "the sum of their radii."
            )
        ),
        "def separation(features, labels):\n"
        '    """features (N, d), labels (N,) in 0..K-1  ->  a number."""',
        _separation,
        _uneven,
    ),
    Marked(
        "6.6",
        1,
        10,
        _product(tuple(NORMS), ("lower", "upper", "both")),
        lambda norm, over: (
            f"The relative imbalance of two layers in the {NORMS[norm][0]}: that of "
            "$W_u^\\top W_u - W_lW_l^\\top$, over "
            + {
                "lower": "that of $W_lW_l^\\top$.",
                "upper": "that of $W_u^\\top W_u$.",
                "both": "the sum of those of $W_u^\\top W_u$ and of $W_lW_l^\\top$.",
            }[over]
        ),
        "def relative_imbalance(lower, upper):\n"
        '    """lower W_l (m, n), upper W_u (k, m)  ->  a number."""',
        _relative_imbalance,
        _two_layers,
    ),
    Marked(
        "6.7",
        4,
        10,
        _product((1, 2), (0.5, 0.9, 0.95, 0.99)),
        lambda power, share: (
            f"How many of the largest singular values does it take until they have {share:.0%} of "
            f"the sum of all {'singular values' if power == 1 else 'squared singular values'} "
            f"({'each squared' if power == 2 else 'not squared'})?"
        ),
        'def effective_rank(matrix):\n    """matrix (m, n)  ->  a whole number."""',
        _rank_share,
        _matrices,
    ),
    Marked(
        "7.7",
        4,
        10,
        _product(tuple(NORMS), (False, True)),
        lambda norm, squared: (
            "How much of the features does $W$ not see? With $\\Pi$ the projection onto the span "
            f"of its rows, the {NORMS[norm][0]} of $H(I - \\Pi)$ over that of $H$"
            f"{', squared' if squared else ''}."
        ),
        "def outside_share(features, weight):\n"
        '    """features (N, d), weight (K, d), independent rows  ->  a number in [0, 1]."""',
        _outside_share,
        _seen_features,
    ),
    Marked(
        "7.8",
        1,
        10,
        _product(tuple(ACTIVATIONS), (False, True)),
        lambda activation, centred: (
            "The kernel of a mean-field layer, $\\frac1P\\sum_j \\sigma(u_j^\\top x)"
            f"\\sigma(u_j^\\top x')$ for all pairs of inputs, with the activation {activation}"
            + (
                ", each particle's activations centred to mean zero over the inputs first."
                if centred
                else "."
            )
        ),
        "def kernel_of(inner, inputs):\n"
        '    """inner weights (P, D), inputs (N, D)  ->  kernel (N, N)."""',
        _kernel,
        _particles,
    ),
    Marked(
        "8.6",
        1,
        5,
        _product((False, True), ("one", "root"), (0.0, 0.1, 1.0)),
        lambda centred, size, shift: (
            "Normalise every feature: "
            + ("subtract the mean of its coordinates, then " if centred else "")
            + "divide by $\\sqrt{m"
            + (f" + {shift:g}" if shift else "")
            + "}$, with $m$ the mean of its squared coordinates"
            + (", and by $\\sqrt d$." if size == "root" else ".")
        ),
        'def normalised(features):\n    """features (N, d)  ->  (N, d)."""',
        _normalised,
        _rows,
    ),
    Marked(
        "8.7",
        3,
        10,
        _product((2, 3, 4), (0.01, 0.05, 0.2)),
        lambda power, price: (
            f"A network moves a feature by `distance` in $L$ equal steps. A step of length $s$ "
            f"costs $\\frac{{\\lambda}}{{2}}s^{{{power}}}$, and a block {price:g} whatever it "
            "does. Which whole number $L \\ge 1$ is cheapest in all? (It is below 5,000; take the "
            "least if two are.)"
        ),
        "def best_depth(distance, decay):\n"
        '    """distance > 0, decay λ > 0  ->  a whole number L."""',
        _cheapest,
        _ways,
    ),
    Marked(
        "9.6",
        5,
        10,
        _product(("equal", "by size"), ("first", "last")),
        lambda rule, first: (
            "Share a buffer among classes, "
            + ("equally" if rule == "equal" else "in proportion to their numbers of samples")
            + f": round every share down, then give one more to each of the {first} classes until "
            "nothing is left over"
            + (" (the last class first)." if first == "last" else " (the first class first).")
        ),
        "def shares_of(buffer, counts):\n"
        '    """size of the buffer, number of samples of each class  ->  a list of numbers."""',
        lambda rule, first: _as_tensor(_shared_buffer(rule, first)),
        _buffers,
    ),
    Marked(
        "9.7",
        4,
        5,
        _product(tuple(SUMMARIES)),
        lambda kind: f"From the matrix of accuracies: {SUMMARIES[kind]}.",
        "def summary_of(accuracy):\n"
        '    """T rows of T numbers, A[t][j]: task j after task t (0 for j > t)  ->  a number."""',
        _summary,
        _accuracies,
    ),
    Marked(
        "10.7",
        3,
        10,
        _product(tuple(SCORES)),
        lambda score: f"How known does a sample look? Score it by {SCORES[score]}.",
        "def score_of(features, weight, class_means):\n"
        '    """features (N, d), weight (K, d), class_means (K, d)  ->  scores (N,)."""',
        _known,
        _open_set,
    ),
    Marked(
        "10.8",
        3,
        10,
        _product((0.8, 0.9, 0.95), (True, False)),
        lambda kept, ties: (
            "False alarms at a fixed rate: take the largest known score as threshold that keeps "
            f"at least {kept:.0%} of the known samples (score ≥ threshold), and return the share "
            f"of unknown samples that score {'≥' if ties else '>'} it."
        ),
        "def false_alarms(known, unknown):\n"
        '    """scores (N,) and (M,), larger is more known  ->  a number in [0, 1]."""',
        _false_alarms,
        _known_and_unknown,
    ),
    Marked(
        "11.6",
        1,
        10,
        _product(("nats", "bits", "perplexity"), ("places", "contexts"), (0.0, 0.5, 1.0)),
        lambda unit, weights, added: (
            "The floor of a language model from a table of counts: the entropy of the next word "
            "in each context"
            + (f", {added:g} added to every count first" if added else "")
            + ", averaged over "
            + ("all places (of the counts as they are)" if weights == "places" else "contexts")
            + {
                "nats": ", in nats.",
                "bits": ", in bits.",
                "perplexity": "; return $e$ to the power of it (in nats), the perplexity.",
            }[unit]
        ),
        "def floor_of(counts):\n"
        '    """counts (contexts, words), each row with a positive sum  ->  a number."""',
        _floor,
        _tables_of_counts,
    ),
    Marked(
        "11.7",
        2,
        10,
        _product((0.1, 0.25, 0.75, 0.9), (1.0, 0.1, 0.02)),
        lambda share, rate: (
            f"When is a share of {share:g} of a direction learned, where $1/(1 + (\\frac1{{su_0}} "
            "- 1)e^{-2st})$ is learned at time $t$? "
            + (
                "Return the time."
                if rate == 1
                else f"Return the number of steps at a step size of {rate:g}, not rounded."
            )
            + " (0 if it is learned from the start.)"
        ),
        "def time_of(singular_value, start):\n"
        '    """singular_value s > 0, start u0 with 0 < s u0 < 1  ->  a number."""',
        _time_of,
        _directions,
    ),
    Marked(
        "12.5",
        1,
        15,
        _product(tuple(RATIOS), ("equal", "shares"), ("means", "samples")),
        lambda ratio, weights, centre: (
            f"An NC1 of a convention of its own: {RATIOS[ratio]}, where $\\Sigma_W$ is the mean "
            "over samples of $(h - \\mu_c)(h - \\mu_c)^\\top$, and $\\Sigma_B$ that of the class "
            f"means around the mean of all {'class means' if centre == 'means' else 'samples'}, "
            + (
                "every class with weight $1/K$."
                if weights == "equal"
                else "class $c$ with its share $n_c/N$."
            )
        ),
        "def nc1_of(features, labels):\n"
        '    """features (N, d), labels (N,) in 0..K-1  ->  a number."""',
        _spread,
        _uneven,
    ),
)


def _as_tensor(answer):
    """The same answer as a tensor, so that lists, arrays and tensors are taken alike."""

    def counts(buffer, counts):
        return torch.tensor(answer(buffer, counts))

    return counts
