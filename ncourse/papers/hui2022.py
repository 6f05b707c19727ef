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
from tqdm.auto import tqdm

from ncourse.claims import Claim, Outcome, Table
from ncourse.data import Dataset, digits
from ncourse.metrics import measure_layers, nearest_class_mean
from ncourse.models import MLP, Classifier, hidden_layers
from ncourse.training import Features, extract, fit, log_schedule

__all__ = ["NOISE", "WEIGHT_DECAYS", "claims", "experiment", "layers", "memorised", "train"]

WEIGHT_DECAYS = {"weight decay 5e-3": 5e-3, "no weight decay": 0.0}
EPOCHS = 300
NOISE = 0.1

HUI = "Hui, Belkin, Nakkiran 2022 (train collapse occurs, test collapse does not); this course"
RANGAMANI = "Rangamani et al. 2023 (deeper layers are more collapsed); numbers: this course"
COURSE = "This course, measured"


def experiment(scale: str = "laptop", *, seed: int = 0, data: Dataset | None = None) -> Outcome:
    """Collapse on training and on test images, layer by layer, and with wrong labels: one seed.

    Args:
        scale: only "laptop"; about half a minute on one core for digits.
        seed: of weights, sample order and wrong labels.
        data: the caller's own images; digits if None. Thresholds belong to digits, so on other
            data the claims are reported and do not raise.

    Returns:
        An `Outcome` with the tables of both runs, "layers", "memorised", and the runs with wrong
        labels ("…, label noise").

    Raises:
        ValueError: for an unknown scale.
    """
    if scale != "laptop":
        raise ValueError(f"scale is {scale!r}; this experiment has only 'laptop'")
    dataset = digits() if data is None else data
    noisy = dataset.with_label_noise(NOISE, seed=seed)
    tables: dict[str, Table] = {}
    depth: dict[str, Classifier] = {}
    learned: dict[str, Classifier] = {}
    for name, weight_decay in tqdm(WEIGHT_DECAYS.items(), leave=False):
        depth[name], tables[name] = train(dataset, weight_decay=weight_decay, seed=seed)
        learned[name], tables[f"{name}, label noise"] = train(
            noisy, weight_decay=weight_decay, seed=seed
        )
    tables["layers"] = layers(depth, dataset)
    tables["memorised"] = memorised(learned, noisy, dataset)
    outcome = Outcome("hui2022", scale, seed, dataset.card, claims(tables), tables)
    return outcome if data is None else outcome.reported()


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
    return model, {**history.columns, **measured}


def layers(models: Mapping[str, Classifier], dataset: Dataset) -> Table:
    """The ratio tr S_W / tr S_B of every layer of each network, on training and on test samples.

    Returns:
        Columns run, split ("train" or "test"), layer, ratio.
    """
    table: Table = {"run": [], "split": [], "layer": [], "ratio": []}
    splits = {
        "train": (dataset.inputs, dataset.labels),
        "test": (dataset.test_inputs, dataset.test_labels),
    }
    for run, model in models.items():
        for split, (inputs, labels) in splits.items():
            reports = measure_layers(
                hidden_layers(model, inputs), labels, num_classes=dataset.num_classes
            )
            for layer, report in reports.items():
                row = (run, split, layer, report.trace_ratio)
                for column, value in zip(table.values(), row, strict=True):
                    column.append(value)
    return table


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
    table: Table = {"run": [], "wrong_class": [], "own_class": []}
    for run, model in models.items():
        features = extract(model, noisy.inputs, noisy.labels).features
        means = torch.stack([features[noisy.labels == k].mean(0) for k in range(noisy.num_classes)])
        said = nearest_class_mean(features[wrong], means)
        table["run"].append(run)
        table["wrong_class"].append((said == noisy.labels[wrong]).double().mean().item())
        table["own_class"].append((said == clean.labels[wrong]).double().mean().item())
    return table


def claims(tables: Mapping[str, Table]) -> tuple[Claim, ...]:
    """What the tables of `experiment` assert; a pure function, so that false runs can be tried."""
    decayed, free = (tables[name] for name in WEIGHT_DECAYS)
    end = _ends(decayed)
    loose = _ends(free)
    with_decay, without = WEIGHT_DECAYS
    depth = _by_layer(tables["layers"], with_decay, "train")
    tested = _by_layer(tables["layers"], with_decay, "test")
    plain = _by_layer(tables["layers"], without, "train")
    noise, noise_free = (tables[f"{name}, label noise"] for name in WEIGHT_DECAYS)
    kept = dict(zip(tables["memorised"]["run"], tables["memorised"]["wrong_class"], strict=True))
    least = min(noise["test_error"])
    return (
        Claim(
            "NC1 on test images ends at least 6 times above NC1 on training images; without weight "
            "decay, where training images have not collapsed either, less than 4 times",
            end["test_nc1"] >= 6 * end["nc1"] and loose["test_nc1"] < 4 * loose["nc1"],
            {"test over train": end["test_nc1"] / end["nc1"]},
            HUI,
            {"without weight decay": loose["test_nc1"] / loose["nc1"]},
        ),
        Claim(
            "Test features collapse too, only less: from zero training error to the end NC1 falls "
            "at least 2.5-fold on test images; without weight decay less than 2-fold",
            _falls(decayed, "test_nc1") >= 2.5 and _falls(free, "test_nc1") < 2,
            {"fall on test images": _falls(decayed, "test_nc1")},
            COURSE,
            {"without weight decay": _falls(free, "test_nc1")},
        ),
        Claim(
            "Layer by layer the training spread falls (tr S_W / tr S_B of each layer below that of "
            "the one before), to 0.01 or less in the last; without weight decay it ends above 0.1",
            all(b < a for a, b in pairwise(depth)) and depth[-1] <= 0.01 and plain[-1] > 0.1,
            {"last layer": depth[-1], "layer before": depth[-2]},
            RANGAMANI,
            {"last layer, without weight decay": plain[-1]},
        ),
        Claim(
            "The gap between the sets opens in the last layers: test over training ratio at most "
            "1.2 in the first hidden layer, at least 5 in the last",
            tested[1] / depth[1] <= 1.2 and tested[-1] >= 5 * depth[-1],
            {"last layer": tested[-1] / depth[-1]},
            COURSE,
            {"first hidden layer": tested[1] / depth[1]},
        ),
        Claim(
            f"With wrong labels on {NOISE:.0%} of the training images the network fits them all, "
            "and NC1 on training images still ends 5 times or more below that of a network without "
            "weight decay: wrong samples sit with the class that their label names (at least 95 %)",
            noise["train_error"][-1] == 0
            and noise["nc1"][-1] <= noise_free["nc1"][-1] / 5
            and kept[with_decay] >= 0.95,
            {
                "NC1": noise["nc1"][-1],
                "wrong samples with their label": kept[with_decay],
            },
            COURSE,
            {"NC1 without weight decay": noise_free["nc1"][-1]},
        ),
        Claim(
            "Fitting the wrong labels costs: with them the test error ends above its least value "
            "in training by 0.005 or more, and at twice that of true labels or more",
            noise["test_error"][-1] - least >= 0.005
            and noise["test_error"][-1] >= 2 * end["test_error"],
            {"test error, wrong labels": noise["test_error"][-1], "its least value": least},
            COURSE,
            {"test error, true labels": end["test_error"]},
        ),
        Claim(
            "Probabilities on test images come out too cautious: at the end mean confidence is "
            "0.01 or more below accuracy, and the calibration error larger than without weight "
            "decay, where confidence is above accuracy",
            end["test_overconfidence"] <= -0.01
            and end["test_calibration"] > loose["test_calibration"]
            and loose["test_overconfidence"] > 0,
            {
                "confidence minus accuracy": end["test_overconfidence"],
                "calibration error": end["test_calibration"],
            },
            "This course, measured; the error: Guo et al. 2017",
            {
                "confidence minus accuracy, without weight decay": loose["test_overconfidence"],
                "calibration error, without weight decay": loose["test_calibration"],
            },
        ),
    )


def _by_layer(table: Table, run: str, split: str) -> list[float]:
    """The ratios of one network on one split, from the input on."""
    rows = zip(table["run"], table["split"], table["ratio"], strict=True)
    return [ratio for name, part, ratio in rows if (name, part) == (run, split)]


def _ends(table: Table) -> dict[str, float]:
    return {name: values[-1] for name, values in table.items()}


def _falls(table: Table, column: str) -> float:
    """From the first epoch at zero training error to the end; nan if that never came."""
    if 0 not in table["train_error"]:
        return math.nan
    return table[column][table["train_error"].index(0)] / table[column][-1]
