"""Hui, Belkin, Nakkiran 2022: training features collapse, test features do not.

"Limitations of neural collapse for understanding generalization in deep learning" (arXiv
2202.08384). The paper separates collapse on the training set, which happens, from collapse on the
test set, which does not, and warns against explaining generalisation by the former. Rangamani et
al. 2023 look inside: deeper layers have a smaller ratio of within-class to between-class spread.

The experiment trains one network with weight decay and one without and measures both sets, layer by
layer, and how well the probabilities are calibrated (Guo et al. 2017, arXiv 1706.04599); then the
same with wrong labels on a tenth of the training images. All thresholds are this course's, for
digits.
"""

import math
from collections.abc import Mapping
from itertools import pairwise

import torch
from torch.nn.functional import cross_entropy
from torchmetrics.functional.classification import multiclass_calibration_error

from ncourse.claims import Claim
from ncourse.comparisons import above, at_least, at_most, below, equal, every, over
from ncourse.data import Dataset, digits
from ncourse.metrics import measure_layers, nearest_class_mean
from ncourse.models import MLP, Classifier, hidden_layers
from ncourse.papers import Asked, declared
from ncourse.progress import progress_bar
from ncourse.tables import Table
from ncourse.training import Features, extract, fit, log_schedule

__all__ = ["NOISE", "WEIGHT_DECAYS", "claims", "experiment", "layers", "memorised", "train"]

WEIGHT_DECAYS = {"weight decay 5e-3": 5e-3, "no weight decay": 0.0}
EPOCHS = 300
NOISE = 0.1

HUI = "Hui, Belkin, Nakkiran 2022 (train collapse occurs, test collapse does not); this course"
RANGAMANI = "Rangamani et al. 2023 (deeper layers are more collapsed); numbers: this course"
COURSE = "This course, measured"


@declared(
    scales={"laptop": "about half a minute on one core for digits"},
    data=lambda scale, seed: digits(),
    needs={"classes": 2, "training samples": 5, "test samples": 1},
    resumable=True,
)
def experiment(dataset: Dataset, asked: Asked) -> dict[str, Table]:
    """Collapse on training and on test images, layer by layer, and with wrong labels: one seed.

    Returns:
        An `Outcome` with the tables of both runs, "layers", "memorised", and the runs with wrong
        labels ("…, label noise").
    """
    noisy = dataset.with_label_noise(NOISE, seed=asked.seed)
    tables: dict[str, Table] = {}
    depth: dict[str, Classifier] = {}
    learned: dict[str, Classifier] = {}
    for name, weight_decay in progress_bar(WEIGHT_DECAYS.items()):
        depth[name], tables[name] = train(dataset, weight_decay=weight_decay, seed=asked.seed)
        learned[name], tables[f"{name}, label noise"] = train(
            noisy, weight_decay=weight_decay, seed=asked.seed
        )
    tables["layers"] = layers(depth, dataset)
    tables["memorised"] = memorised(learned, noisy, dataset)
    return tables


def train(
    dataset: Dataset, *, weight_decay: float, seed: int, epochs: int = EPOCHS
) -> tuple[Classifier, Table]:
    """Train past zero error, measured on both sets.

    Args:
        dataset: to train on.
        weight_decay: coefficient of ||theta||^2 / 2.
        seed: of weights and sample order.
        epochs: passes.

    Returns:
        The network and its history; in addition to `fit`'s columns, on test samples: test_nll (mean
        cross-entropy), test_calibration (expected calibration error, 15 bins, in [0, 1]) and
        test_overconfidence (mean confidence minus accuracy, in [-1, 1]).
    """
    nll, calibration, overconfidence = [], [], []

    def observe(epoch: int, passed: Features, test: Features) -> None:
        confidence = test.logits.softmax(1).amax(1).mean().item()
        overconfidence.append(confidence - (1 - test.error))
        nll.append(cross_entropy(test.logits, test.labels).item())
        calibration.append(
            multiclass_calibration_error(
                test.logits.softmax(1), test.labels, num_classes=dataset.num_classes, n_bins=15
            ).item()
        )

    model, history = fit(
        model=MLP(dataset.input_shape, (256, 256, 256), dataset.num_classes, seed=seed),
        dataset=dataset,
        epochs=epochs,
        weight_decay=weight_decay,
        seed=seed,
        measure_at=log_schedule(epochs, count=18),
        observe=observe,
        progress=False,
    )
    measured = {
        "test_nll": nll,
        "test_calibration": calibration,
        "test_overconfidence": overconfidence,
    }
    return model, Table({**history.columns, **measured})


def layers(models: Mapping[str, Classifier], dataset: Dataset) -> Table:
    """The ratio tr S_W / tr S_B of every layer of each network, on training and on test samples.

    Returns:
        Columns run, split ("train" or "test"), layer, ratio.
    """
    rows = []
    splits = {
        "train": (dataset.inputs, dataset.labels),
        "test": (dataset.test_inputs, dataset.test_labels),
    }
    for run, model in models.items():
        for split, (inputs, labels) in splits.items():
            reports = measure_layers(
                hidden_layers(model, inputs), labels, num_classes=dataset.num_classes
            )
            rows += [
                {"run": run, "split": split, "layer": layer, "ratio": report.trace_ratio}
                for layer, report in reports.items()
            ]
    return Table.of(rows)


def memorised(models: Mapping[str, Classifier], noisy: Dataset, clean: Dataset) -> Table:
    """Where networks put training samples whose labels are wrong.

    Args:
        models: trained on `noisy`.
        noisy: the data with wrong labels.
        clean: the same samples with their own.

    Returns:
        Columns run; wrong_class and own_class: shares of the mislabelled samples whose features
        are nearest to the mean of the class that their label names, and of the class that they
        belong to (means over the training samples with that label).
    """
    wrong = noisy.labels != clean.labels
    rows = []
    for run, model in models.items():
        features = extract(model, noisy.inputs, noisy.labels).features
        means = torch.stack([features[noisy.labels == k].mean(0) for k in range(noisy.num_classes)])
        said = nearest_class_mean(features[wrong], means)
        rows.append(
            {
                "run": run,
                "wrong_class": (said == noisy.labels[wrong]).double().mean().item(),
                "own_class": (said == clean.labels[wrong]).double().mean().item(),
            }
        )
    return Table.of(rows)


def claims(tables: Mapping[str, Table]) -> tuple[Claim, ...]:
    """What the tables of `experiment` assert; a pure function, so that false runs can be tried."""
    with_decay, without = WEIGHT_DECAYS
    decayed, free = tables[with_decay], tables[without]
    end, loose = decayed.last, free.last
    depth = tables["layers"].where(run=with_decay, split="train")["ratio"]
    tested = tables["layers"].where(run=with_decay, split="test")["ratio"]
    plain = tables["layers"].where(run=without, split="train")["ratio"]
    noise, noise_free = (tables[f"{name}, label noise"].last for name in WEIGHT_DECAYS)
    kept = tables["memorised"].where(run=with_decay)["wrong_class"][0]
    least = min(tables[f"{with_decay}, label noise"]["test_error"])
    return (
        Claim.of(
            "NC1 on test images ends at least {0} times above NC1 on training images; without "
            "weight decay, where training images have not collapsed either, less than {1} times",
            {"test over train": at_least(6, over(end["test_nc1"], end["nc1"]))},
            HUI,
            {"without weight decay": below(4, over(loose["test_nc1"], loose["nc1"]))},
        ),
        Claim.of(
            "Test features collapse too, only less: from zero training error to the end NC1 falls "
            "at least {0}-fold on test images; without weight decay less than {1}-fold",
            {"fall on test images": at_least(2.5, _falls(decayed, "test_nc1"))},
            COURSE,
            {"without weight decay": below(2, _falls(free, "test_nc1"))},
        ),
        Claim.of(
            "Layer by layer the training spread falls (tr S_W / tr S_B of each layer below that of "
            "the one before), to {0} or less in the last; without weight decay it ends above {1}",
            {"last layer": at_most(0.01, depth[-1]), "layer before": depth[-2]},
            RANGAMANI,
            {"last layer, without weight decay": above(0.1, plain[-1])},
            also={"each layer": every(below(a, b, measured=True) for a, b in pairwise(depth))},
        ),
        Claim.of(
            "The gap between the sets opens in the last layers: test over training ratio at most "
            "{1} in the first hidden layer, at least {0} in the last",
            {"last layer": at_least(5, over(tested[-1], depth[-1]))},
            COURSE,
            {"first hidden layer": at_most(1.2, over(tested[1], depth[1]))},
        ),
        Claim.of(
            f"With wrong labels on {NOISE:.0%} of the training images the network fits them all, "
            "and NC1 on training images still ends {1} times or more below that of a network "
            "without weight decay: wrong samples sit with the class that their label names (at "
            "least {0:%})",
            {
                "NC1": noise["nc1"],
                "wrong samples with their label": at_least(0.95, kept, natural="rate"),
            },
            COURSE,
            {"NC1 without weight decay": noise_free["nc1"]},
            also={
                "NC1 without over with": at_least(5, over(noise_free["nc1"], noise["nc1"])),
                "training error": equal(0, noise["train_error"]),
            },
        ),
        Claim.of(
            "Fitting the wrong labels costs: with them the test error ends above its least value "
            "in training by {0} or more, and at {1:words} that of true labels or more",
            {"test error, wrong labels": noise["test_error"], "its least value": least},
            COURSE,
            {"test error, true labels": end["test_error"]},
            also={
                "above its least": at_least(0.005, noise["test_error"] - least),
                "over that of true labels": at_least(
                    2, over(noise["test_error"], end["test_error"])
                ),
            },
        ),
        Claim.of(
            "Probabilities on test images come out too cautious: at the end mean confidence is "
            "{2} or more below accuracy, and the calibration error larger than without weight "
            "decay, where confidence is above accuracy",
            {
                "confidence minus accuracy": end["test_overconfidence"],
                "calibration error": above(
                    loose["test_calibration"], end["test_calibration"], measured=True
                ),
            },
            "This course, measured; the error: Guo et al. 2017",
            {
                "confidence minus accuracy, without weight decay": above(
                    0, loose["test_overconfidence"]
                ),
                "calibration error, without weight decay": loose["test_calibration"],
            },
            also={"accuracy minus confidence": at_least(0.01, -end["test_overconfidence"])},
        ),
    )


def _falls(table: Table, column: str) -> float:
    """From the first epoch at zero training error to the end; nan if that never came."""
    if 0 not in table["train_error"]:
        return math.nan
    return table[column][table["train_error"].index(0)] / table[column][-1]
