"""Where the law of imbalance breaks: the end of a run at several step sizes, for "Beyond digits".

    python tests/bench/steps.py notebooks/recorded/steps.json

Chapter 6's network, seed 0, weight decay 4e-3, on Fashion-MNIST and, as the control, on its digits.
"""

import json
import sys
from pathlib import Path

import torch
from torch.nn.functional import one_hot

from ncourse.data import fashion_mnist
from ncourse.files import write_whole
from ncourse.papers import jacot2024

RUNS = [
    # data, linear layers, step size
    ("clothes", 5, 0.5),
    ("clothes", 5, 0.25),
    ("clothes", 5, 0.1),
    ("clothes", 2, 0.1),
    ("digits", 5, 0.1),
]


def main(out: Path) -> None:
    torch.set_num_threads(1)
    data = {
        "clothes": jacot2024.prepare(fashion_mnist()),
        "digits": jacot2024.prepare(),
    }
    rows = []
    for name, num_linear, step_size in RUNS:
        dataset = data[name]
        network, table = jacot2024.train(
            dataset, num_linear=num_linear, weight_decay=4e-3, seed=0, step_size=step_size
        )
        targets = one_hot(dataset.labels, dataset.num_classes).double()
        sharpness = jacot2024.sharpness(network, dataset.inputs, targets, weight_decay=4e-3)
        error = table["law_error"][-1]
        rows.append(
            {
                "data": name,
                "layers": num_linear,
                "step": step_size,
                "step × sharpness": round(step_size * sharpness, 3),
                "law off by": round(error) if error > 10 else round(error, 3),
                "NC1": float(f"{table['nc1'][-1]:.3g}"),
            }
        )
        print(rows[-1], flush=True)
    table = {column: [row[column] for row in rows] for column in rows[0]}
    write_whole(out, json.dumps(table, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
