"""Galanti, György, Hutter 2021: what a collapsed network passes on to classes it has never seen.

"On the role of neural collapse in transfer learning", ICLR 2022 (arXiv 2112.15121). The paper asks
why a classifier trained on many classes gives features from which new classes are learned with a
few samples. It measures collapse by the class-distance normalised variance, and gives conditions
under which collapse on the source classes carries over to unseen ones. Hui, Belkin, Nakkiran 2022
(arXiv 2202.08384) report the other side: more collapse on the source can hurt transfer.

Here a network learns five digits and is asked for the other five, at each of its layers, early and
late in training, with weight decay and without. All thresholds are this course's, for digits.
"""

from collections.abc import Mapping
from statistics import mean

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from ncourse.claims import Claim, Outcome, Table
from ncourse.data import Dataset, digits
from ncourse.metrics import measure, nearest_class_mean
from ncourse.models import MLP, hidden_layers
from ncourse.training import fit

__all__ = ["claims", "experiment", "few_shot_accuracy", "transfer"]

WEIGHT_DECAYS = {"weight decay 5e-3": 5e-3, "no weight decay": 0.0}
EPOCHS = (1, 5, 20, 100, 300)
SHOTS, EPISODES = 5, 50

COURSE = "This course, measured"
HUI = "Hui, Belkin, Nakkiran 2022 (more collapse can hurt transfer); the numbers: this course"
GALANTI = "Galanti, György, Hutter 2021, the measure; the experiment and its numbers: this course"


def experiment(scale: str = "laptop", *, seed: int = 0, data: Dataset | None = None) -> Outcome:
    """Learn half of the classes, then the other half from five samples each: one seed.

    Args:
        scale: only "laptop"; it takes about five seconds for digits.
        seed: of the choice of classes, of weights, sample order and episodes.
        data: the caller's own, with four classes or more; digits if None. Thresholds belong to
            digits, so on other data the claims are reported and do not raise.

    Returns:
        An `Outcome` with the table "transfer".

    Raises:
        ValueError: for an unknown scale.
    """
    if scale != "laptop":
        raise ValueError(f"scale is {scale!r}; this experiment has only 'laptop'")
    dataset = digits() if data is None else data
    tables = {"transfer": transfer(dataset, seed=seed)}
    outcome = Outcome("galanti2021", scale, seed, dataset.card, claims(tables), tables)
    return outcome if data is None else outcome.reported()


def few_shot_accuracy(
    features: Float[Tensor, "samples dim"],
    labels: Int[Tensor, " samples"],
    *,
    shots: int = SHOTS,
    episodes: int = EPISODES,
    seed: int = 0,
) -> float:
    """Accuracy of the nearest class mean when the means come from a few samples of each class.

    Args:
        features: `(N, d)` of samples of the new classes.
        labels: `(N,)`, 0 to K-1.
        shots: samples of each class that make its mean; the rest is classified.
        episodes: draws to average over.
        seed: of the draws.

    Raises:
        ValueError: if a class has no more than `shots` samples.
    """
    counts = labels.bincount()
    if int(counts.min()) <= shots:
        raise ValueError(f"a class has {int(counts.min())} samples; expected more than {shots}")
    generator = torch.Generator().manual_seed(seed)
    members = [(labels == k).nonzero().squeeze(1) for k in range(len(counts))]
    accuracies = []
    for _ in range(episodes):
        shuffled = [rows[torch.randperm(len(rows), generator=generator)] for rows in members]
        means = torch.stack([features[rows[:shots]].mean(0) for rows in shuffled])
        asked = torch.cat([rows[shots:] for rows in shuffled])
        said = nearest_class_mean(features[asked], means)
        accuracies.append((said == labels[asked]).double().mean().item())
    return mean(accuracies)


def transfer(dataset: Dataset, *, seed: int, epochs: int = EPOCHS[-1]) -> Table:
    """Train on half of the classes and learn the other half from each layer.

    Args:
        dataset: which classes are the source is drawn with the seed.
        seed: of everything random.
        epochs: of training; measured at those of `EPOCHS`, scaled.

    Returns:
        Columns run, epoch, layer, accuracy (few-shot, on the target's test samples), and cdnv: the
        source's on the last layer, training samples.
    """
    order = torch.randperm(
        dataset.num_classes, generator=torch.Generator().manual_seed(seed)
    ).tolist()
    source, target = dataset.only(order[: len(order) // 2]), dataset.only(order[len(order) // 2 :])
    table: Table = {name: [] for name in ("run", "epoch", "layer", "accuracy", "cdnv")}
    asked = {max(1, epoch * epochs // EPOCHS[-1]) for epoch in EPOCHS}
    for run, weight_decay in tqdm(WEIGHT_DECAYS.items(), leave=False):
        model = MLP(source.input_shape, (256, 256, 256), source.num_classes, seed=seed)

        def observe(epoch: int, train, test, model=model, run=run) -> None:
            if epoch not in asked:
                return
            cdnv = measure(train.features, train.labels, None, num_classes=source.num_classes).cdnv
            for layer, features in hidden_layers(model, target.test_inputs).items():
                accuracy = few_shot_accuracy(features, target.test_labels, seed=seed)
                for column, value in zip(
                    table.values(), (run, epoch, layer, accuracy, cdnv), strict=True
                ):
                    column.append(value)

        fit(
            model=model,
            dataset=source,
            epochs=epochs,
            weight_decay=weight_decay,
            seed=seed,
            measure_at=sorted(asked),
            observe=observe,
            progress=False,
        )
    return table


def claims(tables: Mapping[str, Table]) -> tuple[Claim, ...]:
    """What the tables of `experiment` assert; a pure function, so that false runs can be tried."""
    table = tables["transfer"]
    columns = ("run", "epoch", "layer", "accuracy", "cdnv")
    rows = [
        dict(zip(columns, row, strict=True))
        for row in zip(*(table[name] for name in columns), strict=True)
    ]
    names = list(dict.fromkeys(table["layer"]))
    last, epochs = names[-1], table["epoch"]

    def accuracy(run: str, epoch: int, layer: str) -> float:
        (row,) = (r for r in rows if (r["run"], r["epoch"], r["layer"]) == (run, epoch, layer))
        return float(row["accuracy"])

    def cdnv(run: str) -> float:
        return next(float(r["cdnv"]) for r in rows if (r["run"], r["epoch"]) == (run, max(epochs)))

    decayed, free = WEIGHT_DECAYS
    end, start = max(epochs), min(epochs)
    early, late, control = (
        accuracy(decayed, start, last),
        accuracy(decayed, end, last),
        accuracy(free, end, last),
    )
    first = accuracy(decayed, end, names[1])
    return (
        Claim(
            "With weight decay the source collapses further: its CDNV ends at a fifth or less of "
            "what it is without",
            cdnv(decayed) <= cdnv(free) / 5,
            {"CDNV": cdnv(decayed)},
            GALANTI,
            {"without weight decay": cdnv(free)},
        ),
        Claim(
            "Collapse on the source hurts transfer from the last layer: few-shot accuracy on new "
            "digits ends 0.05 or more below that without weight decay",
            control - late >= 0.05,
            {"last layer": late},
            HUI,
            {"last layer, without weight decay": control},
        ),
        Claim(
            "The last layer gets worse for new classes while it is trained on the old ones, by 0.1 "
            "or more from the first epoch to the last; the first hidden layer by less than 0.05",
            early - late >= 0.1 and accuracy(decayed, start, names[1]) - first < 0.05,
            {"last layer loses": early - late},
            COURSE,
            {"first layer loses": accuracy(decayed, start, names[1]) - first},
        ),
        Claim(
            "Earlier layers keep what the last one gives up: at the end the first hidden layer is "
            "0.1 or more above the last, without weight decay by less than with it",
            first - late >= 0.1 and accuracy(free, end, names[1]) - control < first - late,
            {"first above last": first - late},
            COURSE,
            {"without weight decay": accuracy(free, end, names[1]) - control},
        ),
    )
