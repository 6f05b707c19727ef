"""What measuring costs on this machine, for the page on cost: time and memory against N, d, K.

    python tests/bench/cost.py notebooks/recorded/cost.json

One thread. Each row is measured in a process of its own, so that its peak of memory is its own;
seconds are of the processor, the least of three runs (one where a run takes longer than 20 s).
"""

import json
import subprocess
import sys
from pathlib import Path

from ncourse.files import write_whole

ROWS = [
    # (N, d, K): one of them grows, the others stay
    *((samples, 512, 10) for samples in (5_000, 20_000, 80_000)),
    *((20_000, dim, 10) for dim in (128, 2048)),
    *((20_000, 512, classes) for classes in (100, 1_000)),
    *((classes + 1_000, 512, classes) for classes in (10_000, 50_000)),
]

ONE = """
import resource, sys, time, torch
from torch import nn
from ncourse.metrics import CollapseMetric, measure
samples, dim, classes, which = *map(int, sys.argv[1:4]), sys.argv[4]
torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)

def data(samples, classes):
    labels = torch.arange(samples) % classes
    weight = torch.randn(classes, dim, generator=generator)
    features = torch.randn(samples, dim, generator=generator)
    for start in range(0, samples, 4096):  # no copy of all features beside them
        features[start : start + 4096] += weight[labels[start : start + 4096]]
    head = nn.Linear(dim, classes)
    head.weight.data = weight
    return features, labels, head

def run(features, labels, head):
    if which == "measure":
        return measure(features, labels, head.weight.data, head.bias.data)
    metric = CollapseMetric(len(head.weight), classifier=head)
    for batch in zip(features.split(512), labels.split(512)):
        metric.update(*batch)
    return metric.compute()

run(*data(4096, 16))  # what libraries load lazily
given = data(samples, classes)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
times = []
while len(times) < 3 and sum(times) < 20:
    start = time.process_time()
    run(*given)
    times.append(time.process_time() - start)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(min(times), (after - before) / 1024)
"""


def one(samples: int, dim: int, classes: int, which: str) -> tuple[float, float]:
    """Seconds, and MB on top of the data."""
    words = [str(number) for number in (samples, dim, classes)]
    result = subprocess.run(
        [sys.executable, "-c", ONE, *words, which], capture_output=True, text=True, check=True
    )
    seconds, memory = map(float, result.stdout.split())
    return seconds, memory


def main(out: Path) -> None:
    names = ["N", "d", "K", "features, MB", "measure, s", "measure, MB", "stream, s", "stream, MB"]
    table: dict[str, list[float]] = {name: [] for name in names}
    for samples, dim, classes in ROWS:
        streams = classes <= 1_000  # a batch of 512 would hold too few of more classes
        row = [
            *(samples, dim, classes, round(samples * dim * 4 / 1e6)),
            *one(samples, dim, classes, "measure"),
            *(one(samples, dim, classes, "stream") if streams else (None, None)),
        ]
        for name, value in zip(names, row, strict=True):
            table[name].append(round(value) if "MB" in name and value is not None else value)
        print(row, flush=True)
    write_whole(out, json.dumps(table) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
