"""One of several processes that train together; test_processes starts them with torchrun.

Usage: fit_worker.py FOLDER [CASE]. Each case is trained twice, by all processes and by this one
alone. Each process writes how far the two are apart, and what else the tests ask.
"""

import contextlib
import json
import sys
from pathlib import Path
from unittest.mock import patch

import torch
from torch import nn

from ncourse.data import Dataset, gaussian_mixture
from ncourse.models import CNN, MLP, Classifier
from ncourse.training import History, Place, fit, place, processes

CLOUDS = gaussian_mixture(3, 5, train_per_class=21, test_per_class=9, separation=1.5, seed=0)
IMAGES = torch.randn(23, 1, 8, 8, generator=torch.Generator().manual_seed(0))
PICTURES = Dataset("toy", IMAGES, torch.arange(23) % 2, IMAGES[:0], torch.arange(0), ("a", "b"))
# 63 samples: with batches of 20 the last has 3, with 31 a last one of 1 is left out.
CASES = {
    "batch norm, last batch of 3": (CLOUDS, lambda: MLP((5,), (16, 8), 3), {"batch_size": 20}),
    "no batch norm": (
        CLOUDS,
        lambda: MLP((5,), (16,), 3, batch_norm=False),
        {"batch_size": 31},
    ),
    "no bias": (
        CLOUDS,
        lambda: Classifier(nn.Sequential(nn.Linear(5, 6), nn.ReLU()), nn.Linear(6, 3, bias=False)),
        {"batch_size": 7, "watch_error": False, "measure_at": [2, 5]},
    ),
    "convolutions, no test split": (PICTURES, lambda: CNN((1, 8, 8), (4, 6), 2), {"batch_size": 7}),
    "batches smaller than the processes": (
        CLOUDS.take(3),
        lambda: MLP((5,), (4,), 3),
        {"batch_size": 2, "learning_rate": 0.01},
    ),
}


def train(case: str, **changes) -> tuple[dict[str, torch.Tensor], History]:
    dataset, network, settings = CASES[case]
    torch.manual_seed(0)
    model, history = fit(
        model=network(),
        dataset=dataset,
        epochs=6,
        weight_decay=5e-3,
        seed=1,
        **{"precision": "64-true", "progress": False, **settings, **changes},
    )
    return {name: value.double() for name, value in model.state_dict().items()}, history


def alone() -> contextlib.AbstractContextManager[object]:
    return patch.object(processes, "place", Place)


def main(folder: Path, cases: list[str]) -> None:
    torch.set_num_threads(1)
    here = place()
    found: dict[str, dict[str, float]] = {}
    for case in cases or CASES:
        weights, history = train(case)
        with alone():
            expected, whole = train(case)
        assert list(history.columns) == list(whole.columns)
        assert history.columns["epoch"] == whole.columns["epoch"]
        found[case] = {
            "weights": max((weights[n] - expected[n]).abs().max().item() for n in expected),
            "history": max(abs(history[name] - whole[name]).max() for name in history.columns),
            "moved": max(weights[n].std().item() for n in weights if weights[n].numel() > 1),
            "rows": len(history["epoch"]),
        }
    seen: list[list[int]] = []
    passes = []
    train(
        "no batch norm",
        observe=lambda epoch, a, b: (
            seen.append([epoch, len(a.labels), len(b.labels)]),
            passes.append(a.features),
        ),
        measure_at=[6],
        watch_error=False,
    )
    with alone():
        train(
            "no batch norm",
            observe=lambda epoch, a, b: passes.append(a.features),
            measure_at=[6],
            watch_error=False,
        )
    report = {
        "cases": found,
        "rank": here.rank,
        "processes": here.processes,
        "observed": seen,
        "order": (passes[0] - passes[1]).abs().max().item(),
    }
    (folder / f"report-{here.rank}.json").write_text(json.dumps(report))
    # Last: processes that hold different data do not train.
    dataset = CLOUDS.with_random_labels(seed=here.rank)
    try:
        fit(model=MLP((5,), (4,), 3), dataset=dataset, epochs=1, progress=False)
    except ValueError as error:
        (folder / f"refused-{here.rank}.txt").write_text(str(error))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
