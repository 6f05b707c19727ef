"""Ammar et al. 2024: is a sample of a kind that the network has never seen?

"NECO: neural collapse based out-of-distribution detection", ICLR 2024 (arXiv 2310.06823). The paper
was not at hand: its abstract was, and its score as its public code computes it. Features of
the known classes are standardised, unit by unit; NECO is the share of a sample's length in the
first principal directions, and for all networks but its ResNets that times the largest logit. How
many directions is the user's to say; here K - 1, what collapse leaves. NC5, as papers that build
on it state it: the mean of the outside features comes to stand at right angles to the class means.

Beside it stand scores that know nothing of collapse: the largest softmax probability, the energy
(Liu et al. 2020, arXiv 2010.03759), the distance to the nearest class mean in units of the spread
within classes (Lee et al. 2018, arXiv 1807.03888), with a ridge because collapsed features have
hardly any spread; the share in the directions of the class means, which is this course's; and the
distance to known images in pixels, without a network.

Seven digits are learned. Outside are the three others, which are near, and far from them pixels in
random order, letters and gratings, drawn here. All thresholds are this course's, for digits.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import mean

import torch
from jaxtyping import Float
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn.functional import normalize

from ncourse.claims import Claim, Outcome
from ncourse.comparisons import above, at_least, at_most, below, every, over
from ncourse.data import Dataset, digits
from ncourse.models import MLP
from ncourse.papers import Asked, declared
from ncourse.progress import progress_bar
from ncourse.tables import Table
from ncourse.training import Features, extract, fit

__all__ = [
    "SCORES",
    "auroc",
    "claims",
    "claims_over_seeds",
    "detect",
    "experiment",
    "fpr95",
    "gratings",
    "letters",
    "nc5",
    "outside",
    "scores",
]

WEIGHT_DECAYS = {"weight decay 5e-3": 5e-3, "no weight decay": 0.0}
EPOCHS = (5, 20, 100, 300)
HELD_OUT, DRAWN, NEIGHBOURS = 3, 300, 10
SCORES = ("softmax", "energy", "mahalanobis", "projection", "NECO ratio", "NECO")
NEAR, IMAGES = "other digits", ("letters", "gratings")
FAR = ("noise", *IMAGES)
KNOWN = "known test images"
PIXELS = "no network"

# Corners of straight strokes, (right, down) from 0 to 1: letters that look like no digit.
STROKES = {
    "A": (((0.1, 1), (0.5, 0), (0.9, 1)), ((0.25, 0.65), (0.75, 0.65))),
    "E": (((0.9, 0), (0.15, 0), (0.15, 1), (0.9, 1)), ((0.15, 0.5), (0.75, 0.5))),
    "F": (((0.9, 0), (0.15, 0), (0.15, 1)), ((0.15, 0.5), (0.75, 0.5))),
    "H": (((0.12, 0), (0.12, 1)), ((0.88, 0), (0.88, 1)), ((0.12, 0.5), (0.88, 0.5))),
    "K": (((0.15, 0), (0.15, 1)), ((0.88, 0), (0.15, 0.55), (0.9, 1))),
    "L": (((0.2, 0), (0.2, 1), (0.88, 1)),),
    "M": (((0.08, 1), (0.08, 0), (0.5, 0.6), (0.92, 0), (0.92, 1)),),
    "N": (((0.12, 1), (0.12, 0), (0.88, 1), (0.88, 0)),),
    "T": (((0.08, 0), (0.92, 0)), ((0.5, 0), (0.5, 1))),
    "V": (((0.08, 0), (0.5, 1), (0.92, 0)),),
    "W": (((0.03, 0), (0.27, 1), (0.5, 0.3), (0.73, 1), (0.97, 0)),),
    "X": (((0.1, 0), (0.9, 1)), ((0.9, 0), (0.1, 1))),
    "Y": (((0.08, 0), (0.5, 0.5), (0.92, 0)), ((0.5, 0.5), (0.5, 1))),
}

COURSE = "This course, measured"
LEE = "Lee et al. 2018, the score; numbers: this course"
AMMAR = "Ammar et al. 2024, the score (from its public code); numbers: this course"
ANGLES = "Ammar et al. 2024, NC5 (as others state it); numbers: this course"


def _judge_seeds(outcomes: Sequence[Outcome]) -> tuple[Claim, ...]:
    return claims_over_seeds([outcome.tables for outcome in outcomes])


@declared(
    scales={"laptop": "about ten seconds for digits"},
    data=lambda scale, seed: digits(),
    needs={"classes": HELD_OUT + 2, "training samples": 1, "test samples": 1},
    resumable=True,
    judge_seeds=_judge_seeds,
)
def experiment(dataset: Dataset, asked: Asked) -> dict[str, Table]:
    """Learn all classes but three and score what is outside them: one seed.

    Returns:
        An `Outcome` with the tables "detection" and "orthogonality".
    """
    return detect(dataset, seed=asked.seed)


def outside(dataset: Dataset, held_out: Dataset, *, seed: int) -> dict[str, Tensor]:
    """Samples that belong to none of the classes of `dataset`, by name.

    "other digits" (or whatever the classes are): the test samples of `held_out`. "noise": the
    pixels of test images of `dataset`, each image's in a random order, so that they have the
    range and histogram of what is known. For images also "letters" and "gratings", drawn here
    between the darkest and the brightest pixel.
    """
    generator = torch.Generator().manual_seed(seed)
    tests = dataset.test_inputs
    # Where the mean image was taken off, black is another number at each pixel.
    black = dataset.inputs.amin(0)
    raw = (tests - black).flatten(1)
    order = torch.rand(raw.shape, generator=generator).argsort(1)
    found = {NEAR: held_out.test_inputs, "noise": raw.gather(1, order).reshape(tests.shape) + black}
    if tests.ndim == 4:
        size = (tests.shape[2], tests.shape[3])
        brightest = raw.max()
        for name, draw in (("letters", letters), ("gratings", gratings)):
            found[name] = draw(DRAWN, size, generator=generator) * brightest + black
    return found


def letters(
    count: int, size: tuple[int, int], *, generator: torch.Generator
) -> Float[Tensor, "count 1 height width"]:
    """Thirteen letters of straight strokes, in turn, each placed, stretched and slanted at random.

    Args:
        count: of images.
        size: height and width in pixels.
        generator: of places, sizes and slants.

    Returns:
        Images in [0, 1], white on black.
    """
    height, width = size
    down, right = torch.meshgrid(
        torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij"
    )
    pixels = torch.stack([right, down], -1).reshape(-1, 1, 2)
    drawn = []
    for index in range(count):
        strokes = tuple(STROKES.values())[index % len(STROKES)]
        segments = torch.tensor([pair for s in strokes for pair in pairwise(s)])
        wide, tall, slant, x, y = torch.rand(5, generator=generator)
        across = segments[..., 0] - 0.5 + 0.4 * (slant - 0.5) * (0.5 - segments[..., 1])
        ends = torch.stack(
            [
                width * (0.5 + (0.56 + 0.19 * wide) * across + 0.1 * (x - 0.5)),
                height * (0.5 + (0.69 + 0.19 * tall) * (segments[..., 1] - 0.5) + 0.1 * (y - 0.5)),
            ],
            -1,
        )
        start, way = ends[:, 0], ends[:, 1] - ends[:, 0]
        along = ((pixels - start) * way).sum(-1) / way.square().sum(-1)
        distance = (pixels - start - along.clamp(0, 1)[..., None] * way).norm(dim=-1).amin(1)
        drawn.append((1 + 0.04 * min(size) - distance).clamp(0, 1).reshape(1, height, width))
    return torch.stack(drawn)


def gratings(
    count: int, size: tuple[int, int], *, generator: torch.Generator
) -> Float[Tensor, "count 1 height width"]:
    """Waves of a random direction, phase and length, from 0.3 to 0.75 of the shorter side.

    Args:
        count: of images.
        size: height and width in pixels.
        generator: of what is random.

    Returns:
        Images in [0, 1].
    """
    down, right = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    angle, phase, length = torch.rand(3, count, 1, 1, 1, generator=generator)
    along = right * torch.cos(math.pi * angle) + down * torch.sin(math.pi * angle)
    waves = along / (min(size) * (0.3 + 0.45 * length)) + phase
    return 0.5 + 0.5 * torch.cos(2 * math.pi * waves)


def scores(
    known: Features,
    features: Float[Tensor, "samples dim"],
    logits: Float[Tensor, "samples classes"],
) -> dict[str, Float[Tensor, " samples"]]:
    """How much each sample looks like one of the known classes: larger is more known.

    Args:
        known: the training pass; means, spread and principal directions come from it.
        features: `(M, d)` of the samples to score.
        logits: `(M, K)` of the same.

    Returns:
        "softmax": the largest probability. "energy": log of the sum of the exponentials of the
        logits. "mahalanobis": minus the least squared distance to a class mean, in units of the
        pooled spread with a ridge of a hundredth of its mean. "projection": the share of the length
        of h - mu_G in the K - 1 directions of the centred means, in [0, 1]. "NECO ratio": the
        share of the length of the standardised h in its first K - 1 principal directions, in
        [0, 1]. "NECO": that times the largest logit.
    """
    trained, features, logits = known.features.double(), features.double(), logits.double()
    count = logits.shape[1]
    means = _class_means(known)
    centre = means.mean(0)
    basis = torch.linalg.svd(means - centre, full_matrices=False).Vh[: count - 1]
    shifted = features - centre
    within = trained - means[known.labels]
    spread = within.T @ within / len(within)
    ridge = 0.01 * spread.diagonal().mean() * torch.eye(len(spread), dtype=spread.dtype)
    root = torch.linalg.cholesky(spread + ridge)
    white = torch.linalg.solve_triangular(root, features.T, upper=False).T
    white_means = torch.linalg.solve_triangular(root, means.T, upper=False).T
    scaler = StandardScaler().fit(trained.numpy())
    directions = make_pipeline(scaler, PCA(count - 1)).fit(trained.numpy())
    kept = torch.from_numpy(directions.transform(features.numpy())).norm(dim=1)
    ratio = kept / torch.from_numpy(scaler.transform(features.numpy())).norm(dim=1)
    return {
        "softmax": logits.softmax(1).amax(1),
        "energy": logits.logsumexp(1),
        "mahalanobis": -torch.cdist(white, white_means).square().amin(1),
        "projection": (shifted @ basis.T).norm(dim=1) / shifted.norm(dim=1),
        "NECO ratio": ratio,
        "NECO": ratio * logits.amax(1),
    }


def auroc(known: Float[Tensor, " known"], unknown: Float[Tensor, " unknown"]) -> float:
    """The chance that a known sample scores above an unknown one; 1/2 is guessing.

    >>> auroc(torch.tensor([2.0, 3.0]), torch.tensor([1.0, 2.5]))
    0.75
    """
    truth = [1] * len(known) + [0] * len(unknown)
    return float(roc_auc_score(truth, torch.cat([known, unknown]).numpy()))


def fpr95(known: Float[Tensor, " known"], unknown: Float[Tensor, " unknown"]) -> float:
    """The share of unknown samples that are let in where 95 % of the known ones, or more, are.

    The threshold is the highest that lets in 95 % of the known samples; what reaches it is let in.

    >>> fpr95(torch.arange(20.0), torch.tensor([0.5, 1.0, 7.0, -3.0]))
    0.5
    """
    truth = [1] * len(known) + [0] * len(unknown)
    both = torch.cat([known, unknown]).numpy()
    false, true, _ = roc_curve(truth, both, drop_intermediate=False)
    return float(false[(true >= 0.95).argmax()])


def nc5(known: Features, features: Float[Tensor, "samples dim"]) -> float:
    """Mean over classes of |cos| between a class mean and the mean of other features: NC5.

    Means are not centred, so it depends on the origin; after a ReLU all these cosines are 0 or
    more. Where the class means are orthogonal it is at most 1/sqrt(K).

    Args:
        known: of the training samples; the class means come from it.
        features: `(M, d)`, of samples outside.
    """
    means = normalize(_class_means(known), dim=1)
    return float((means @ normalize(features.double().mean(0), dim=0)).abs().mean())


def detect(dataset: Dataset, *, seed: int, epochs: int = EPOCHS[-1]) -> dict[str, Table]:
    """Score what is outside while a network trains without three of the classes.

    Args:
        dataset: which classes are held out is drawn with the seed.
        seed: of everything random.
        epochs: of training; measured at those of `EPOCHS`, scaled.

    Returns:
        "detection": columns run, epoch, outside, score, auroc and fpr95: known test samples
        against those of `outside`. A last run, "no network", has epoch 0 and the score "pixels":
        minus the distance to the tenth nearest training image.
        "orthogonality": run, epoch, nc1 (of the known training samples), outside and nc5; the
        control among them is "known test images".
    """
    order = torch.randperm(
        dataset.num_classes, generator=torch.Generator().manual_seed(seed)
    ).tolist()
    learned, other = dataset.only(order[HELD_OUT:]), dataset.only(order[:HELD_OUT])
    sets = {KNOWN: learned.test_inputs, **outside(learned, other, seed=seed)}
    sizes, all_inputs = [len(inputs) for inputs in sets.values()], torch.cat([*sets.values()])
    stand_in = torch.zeros(len(all_inputs), dtype=torch.long)  # of labels, which are not used
    asked = {max(1, epoch * epochs // EPOCHS[-1]) for epoch in EPOCHS}
    detection, orthogonality = [], []

    def compare(at: dict, name: str, values: Tensor) -> None:
        known, *unknown = values.split(sizes)
        for where, part in zip(list(sets)[1:], unknown, strict=True):
            numbers = {"auroc": auroc(known, part), "fpr95": fpr95(known, part)}
            detection.append({**at, "outside": where, "score": name, **numbers})

    for run, weight_decay in progress_bar(WEIGHT_DECAYS.items()):
        model = MLP(learned.input_shape, (256, 256, 256), learned.num_classes, seed=seed)
        angles: dict[int, list[dict]] = {}

        def observe(epoch: int, train, test, model=model, run=run, angles=angles) -> None:
            if epoch not in asked:
                return
            passed = extract(model, all_inputs, stand_in)
            for name, values in scores(train, passed.features, passed.logits).items():
                compare({"run": run, "epoch": epoch}, name, values)
            angles[epoch] = [
                {"outside": where, "nc5": nc5(train, features)}
                for where, features in zip(sets, passed.features.split(sizes), strict=True)
            ]

        _, history = fit(
            model=model,
            dataset=learned,
            epochs=epochs,
            weight_decay=weight_decay,
            seed=seed,
            measure_at=sorted(asked),
            observe=observe,
            progress=False,
        )
        orthogonality += [
            {"run": run, "epoch": epoch, "nc1": history.at(epoch)["nc1"], **angle}
            for epoch, rows in angles.items()
            for angle in rows
        ]
    pixels = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(learned.inputs)))
    pixels.fit(learned.inputs.flatten(1).numpy())
    distances, _ = pixels.kneighbors(all_inputs.flatten(1).numpy())
    compare({"run": PIXELS, "epoch": 0}, "pixels", -torch.from_numpy(distances[:, -1]))
    return {"detection": Table.of(detection), "orthogonality": Table.of(orthogonality)}


def _class_means(known: Features) -> Float[Tensor, "classes dim"]:
    features = known.features.double()
    classes = range(known.logits.shape[1])
    return torch.stack([features[known.labels == k].mean(0) for k in classes])


def claims(tables: Mapping[str, Table]) -> tuple[Claim, ...]:
    """What the tables of `experiment` assert; a pure function, so that false runs can be tried."""
    detection, angles = tables["detection"], tables["orthogonality"]
    end = max(detection["epoch"])
    collapsed, loose = WEIGHT_DECAYS

    def at(run: str, score: str, where: str, epoch: int = end) -> float:
        (row,) = detection.where(run=run, score=score, outside=where, epoch=epoch).rows()
        return float(row["auroc"])

    def best(where: str) -> float:
        return max(at(collapsed, score, where) for score in SCORES)

    def factor(run: str, where: str) -> float:
        return at(run, "NECO", where) - at(run, "energy", where)

    def angle(run: str, where: str) -> float:
        (row,) = angles.where(run=run, outside=where, epoch=end).rows()
        return float(row["nc5"])

    mahalanobis = {where: at(loose, "mahalanobis", where) for where in (NEAR, *FAR)}
    pixels = {where: at(PIXELS, "pixels", where, 0) for where in FAR}
    off = max(abs(factor(collapsed, where)) for where in (NEAR, *FAR))
    ratio = min(at(collapsed, "NECO ratio", w) - at(collapsed, "NECO", w) for w in IMAGES)
    return (
        Claim.of(
            "Far from digits the network to take is the one that has not collapsed, with the "
            "Mahalanobis score: on noise, letters and gratings it misses (1 − AUROC) at most {1:%} "
            "of what the best score of the collapsed network misses, and on held-out digits it is "
            "at most {2} of AUROC behind; with the largest probability the same network misses "
            "{0} times as much or more on the far sets",
            {where: mahalanobis[where] for where in FAR},
            LEE,
            {
                "softmax, missed": at_least(
                    1.5, min(over(1 - at(loose, "softmax", w), 1 - best(w)) for w in FAR)
                )
            },
            also={
                "missed, far": every(
                    at_most(0.7, 1 - mahalanobis[where], of=1 - best(where)) for where in FAR
                ),
                "behind": at_most(0.015, best(NEAR) - mahalanobis[NEAR]),
            },
        ),
        Claim.of(
            "Without any network, the distance to the tenth nearest training image in pixels "
            "misses on each far set at most {0:words} of what the largest probability of the "
            "collapsed network misses",
            {where: pixels[where] for where in FAR},
            COURSE,
            {f"softmax, {where}": at(collapsed, "softmax", where) for where in FAR},
            also={
                "missed": every(
                    at_most(1 / 3, 1 - pixels[w], of=1 - at(collapsed, "softmax", w)) for w in FAR
                )
            },
        ),
        Claim.of(
            "In a collapsed network NECO with its factor is the energy by another name: on all "
            "four sets their AUROCs are within {0}, and on letters and gratings it is better "
            "without the factor, by {2} or more; without weight decay NECO is above the energy on "
            "these two, by {1} or more",
            {"NECO and energy": at_most(0.004, off)},
            AMMAR,
            {
                "without weight decay": at_least(
                    0.005, min(factor(loose, where) for where in IMAGES)
                )
            },
            also={"without the factor": at_least(0.001, ratio)},
        ),
        Claim.of(
            "NC5 falls as the known classes collapse, for held-out digits by {0} or more below "
            "that without weight decay, and stays above {2}; for known test images it falls as "
            "well, by {1} or more: a small angle to the means is no sign of being outside",
            {
                "held-out digits": angle(collapsed, NEAR),
                "fall": at_least(0.05, angle(loose, NEAR) - angle(collapsed, NEAR)),
            },
            ANGLES,
            {
                "known test images": angle(collapsed, KNOWN),
                "their fall": at_least(0.1, angle(loose, KNOWN) - angle(collapsed, KNOWN)),
            },
            also={"not orthogonal": above(0.25, angle(collapsed, NEAR))},
        ),
    )


def claims_over_seeds(runs: Sequence[Mapping[str, Table]]) -> tuple[Claim, ...]:
    """What holds of means over seeds, each with other classes held out, and not of every seed.

    Args:
        runs: the tables of each.
    """
    detections = [tables["detection"] for tables in runs]
    end = max(detections[0]["epoch"])
    early = min(epoch for epoch in detections[0]["epoch"] if epoch)

    def softmax(column: str, where: str, epoch: int) -> list[float]:
        """Collapsed and not."""
        return [
            mean(
                detection.where(run=run, score="softmax", outside=where, epoch=epoch).last[column]
                for detection in detections
            )
            for run in WEIGHT_DECAYS
        ]

    def gain(epoch: int) -> float:
        collapsed, loose = softmax("auroc", NEAR, epoch)
        return collapsed - loose

    let_in = {where: softmax("fpr95", where, end) for where in (NEAR, *FAR)}

    return (
        Claim.of(
            f"Collapse helps the score that is at hand: over {len(runs)} seeds, each with other "
            "digits held out, the largest probability tells these better by {0} of AUROC or more "
            "than without weight decay; early in training, before either network has collapsed, by "
            "less than {1}; where it lets in 95 % of the known, it lets in at most {2:%} as much "
            "of each set outside",
            {"mean gain": at_least(0.01, gain(end))},
            COURSE,
            {"mean gain, early": below(0.004, gain(early))},
            also={
                "let in": every(
                    at_most(0.7, collapsed, of=loose) for collapsed, loose in let_in.values()
                )
            },
        ),
    )
