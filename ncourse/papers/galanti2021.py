"""Galanti, György, Hutter 2021: what a collapsed network passes on to classes it has never seen.

"On the role of neural collapse in transfer learning", ICLR 2022 (arXiv 2112.15121). The paper asks
why a classifier trained on many classes gives features from which new classes are learned with a
few samples. It measures collapse by the class-distance normalised variance, and gives conditions
under which collapse on the source classes carries over to unseen ones. Hui, Belkin, Nakkiran 2022
(arXiv 2202.08384) report the other side: more collapse on the source can hurt transfer.

Here a network learns five digits and is asked for the other five, at each of its layers, early and
late in training, with weight decay and without: from five samples each by the nearest mean, and at
the end from all of them by a linear classifier. All thresholds are this course's, for digits.
"""

from collections.abc import Mapping
from statistics import mean

import torch
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from ncourse.claims import Claim
from ncourse.comparisons import at_least, at_most, below
from ncourse.data import Dataset, digits
from ncourse.metrics import measure, nearest_class_mean
from ncourse.models import MLP, hidden_layers
from ncourse.papers import Asked, declared
from ncourse.progress import progress_bar
from ncourse.tables import Table
from ncourse.training import fit

__all__ = ["claims", "experiment", "few_shot_accuracy", "transfer"]

WEIGHT_DECAYS = {"weight decay 5e-3": 5e-3, "no weight decay": 0.0}
EPOCHS = (1, 5, 20, 100, 300)
SHOTS, EPISODES = 5, 50

COURSE = "This course, measured"
HUI = "Hui, Belkin, Nakkiran 2022 (more collapse can hurt transfer); the numbers: this course"
GALANTI = "Galanti, György, Hutter 2021, the measure; the experiment and its numbers: this course"


@declared(
    scales={"laptop": "about five seconds for digits"},
    data=lambda scale, seed: digits(),
    needs={"classes": 4, "training samples": 1, "test samples": SHOTS + 1},
    resumable=True,
)
def experiment(dataset: Dataset, asked: Asked) -> dict[str, Table]:
    """Learn half of the classes, then the other half from five samples each: one seed.

    Returns:
        An `Outcome` with the tables "transfer" and "probe".
    """
    return transfer(dataset, seed=asked.seed)


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


def transfer(dataset: Dataset, *, seed: int, epochs: int = EPOCHS[-1]) -> dict[str, Table]:
    """Train on half of the classes and learn the other half from each layer.

    Args:
        dataset: which classes are the source is drawn with the seed.
        seed: of everything random.
        epochs: of training; measured at those of `EPOCHS`, scaled.

    Returns:
        "transfer": columns run, epoch, layer, accuracy (few-shot, on the target's test samples),
        and cdnv: the source's on the last layer, training samples.
        "probe": run, layer, accuracy (on the same samples) of logistic regression on the features
        of all the target's training samples, standardised, at the end.
    """
    order = torch.randperm(
        dataset.num_classes, generator=torch.Generator().manual_seed(seed)
    ).tolist()
    source, target = dataset.only(order[: len(order) // 2]), dataset.only(order[len(order) // 2 :])
    rows: list[dict[str, str | float]] = []
    probes: list[dict[str, str | float]] = []
    asked = {max(1, epoch * epochs // EPOCHS[-1]) for epoch in EPOCHS}
    for run, weight_decay in progress_bar(WEIGHT_DECAYS.items()):
        model = MLP(source.input_shape, (256, 256, 256), source.num_classes, seed=seed)

        def observe(epoch: int, train, test, model=model, run=run) -> None:
            if epoch not in asked:
                return
            cdnv = measure(train.features, train.labels, None, num_classes=source.num_classes).cdnv
            for layer, features in hidden_layers(model, target.test_inputs).items():
                accuracy = few_shot_accuracy(features, target.test_labels, seed=seed)
                found = {"run": run, "epoch": epoch, "layer": layer, "accuracy": accuracy}
                rows.append({**found, "cdnv": cdnv})

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
        on_test = hidden_layers(model, target.test_inputs)
        for layer, features in hidden_layers(model, target.inputs).items():
            probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
            probe.fit(features.flatten(1).numpy(), target.labels.numpy())
            accuracy = probe.score(on_test[layer].flatten(1).numpy(), target.test_labels.numpy())
            probes.append({"run": run, "layer": layer, "accuracy": float(accuracy)})
    return {"transfer": Table.of(rows), "probe": Table.of(probes)}


def claims(tables: Mapping[str, Table]) -> tuple[Claim, ...]:
    """What the tables of `experiment` assert; a pure function, so that false runs can be tried."""
    table = tables["transfer"]
    layers = list(dict.fromkeys(table["layer"]))
    start, end = min(table["epoch"]), max(table["epoch"])
    decayed, free = WEIGHT_DECAYS

    def at(run: str, epoch: int, layer: int, column: str = "accuracy") -> float:
        (row,) = table.where(run=run, epoch=epoch, layer=layers[layer]).rows()
        return float(row[column])

    cdnv, cdnv_free = (at(run, end, -1, "cdnv") for run in WEIGHT_DECAYS)
    early, late, control = at(decayed, start, -1), at(decayed, end, -1), at(free, end, -1)
    first, first_free = at(decayed, end, 1), at(free, end, 1)
    probe, probe_free = (
        float(tables["probe"].where(run=run, layer=layers[-1]).last["accuracy"])
        for run in WEIGHT_DECAYS
    )
    return (
        Claim.of(
            "With weight decay the source collapses further: its CDNV ends at {0:words} or less of "
            "what it is without",
            {"CDNV": at_most(1 / 5, cdnv, of=cdnv_free)},
            GALANTI,
            {"without weight decay": cdnv_free},
        ),
        Claim.of(
            "Collapse on the source hurts transfer from the last layer: few-shot accuracy on new "
            "digits ends {0} or more below that without weight decay",
            {"last layer": late},
            HUI,
            {"last layer, without weight decay": control},
            also={"below": at_least(0.05, control - late)},
        ),
        Claim.of(
            "The last layer gets worse for new classes while it is trained on the old ones, by {0} "
            "or more from the first epoch to the last; the first hidden layer by less than {1}",
            {"last layer loses": at_least(0.1, early - late)},
            COURSE,
            {"first layer loses": below(0.05, at(decayed, start, 1) - first)},
        ),
        Claim.of(
            "Earlier layers keep what the last one gives up: at the end the first hidden layer is "
            "{0} or more above the last, without weight decay by less than with it",
            {"first above last": at_least(0.1, first - late)},
            COURSE,
            {"without weight decay": below(first - late, first_free - control, measured=True)},
        ),
        Claim.of(
            "It is the few samples that make it hurt: a linear classifier trained on all of them "
            "reads the last layer {0:%} right or more, and within {2} of the network without "
            "weight decay; the means of five samples differ by {1} or more",
            {"linear classifier": at_least(0.93, probe, natural="rate")},
            COURSE,
            {"five samples": at_least(0.05, control - late)},
            also={"within": at_most(0.04, abs(probe - probe_free))},
        ),
    )
