"""What the course costs on this machine, for the page on cost and the README.

    python tests/bench/cost.py

Writes `cost.json`, time and memory of measuring against N, d, K, and `chapters.json`, the time of
each notebook, into `notebooks/recorded/`. One thread, and nothing else should run. Seconds are of
the processor. Each row of measuring is a process of its own, so that its peak of memory is its own,
and the least of three runs (one where a run takes longer than 20 s); a notebook runs once.
"""

import asyncio
import datetime
import json
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path

import torch

from ncourse.course import execution
from ncourse.course.manifest import Book, Chapter, load
from ncourse.course.notebooks import read
from ncourse.files import write_whole

ROWS = [
    # (N, d, K): one of them grows, the others stay
    *((samples, 512, 10) for samples in (5_000, 20_000, 80_000)),
    *((20_000, dim, 10) for dim in (128, 2048)),
    *((20_000, 512, classes) for classes in (100, 1_000)),
    *((samples, 512, 10_000) for samples in (20_000, 200_000)),
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


def measuring() -> dict[str, list[float | None]]:
    """The table of the page on cost, a list a column."""
    names = ["N", "d", "K", "features, MB", "measure, s", "measure, MB", "stream, s", "stream, MB"]
    table: dict[str, list[float | None]] = {name: [] for name in names}
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
    return table


def chapter_seconds(book: Book, chapter: Chapter) -> float:
    """CPU time of a notebook's kernel, from start to end."""

    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    notebook, before = read(book.path(chapter)), used()
    failure = asyncio.run(execution._run(notebook, chapter.file, book.folder, lambda: None))
    if failure is not None:
        raise SystemExit(failure)
    seconds = used() - before
    print(f"{chapter.heading}: {seconds:.0f} s", flush=True)
    return round(seconds, 1)


def machine() -> str:
    """The processor as the system names it, and what ran on it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    pytorch = torch.__version__.partition("+")[0]
    return f"{name}, {os.cpu_count()} cores, {platform.system()}, PyTorch {pytorch}"


def main() -> None:
    book = load(Path(__file__).parents[2] / "book.toml")
    recorded = book.folder / "recorded"
    chapters = {
        "machine": machine(),
        "date": datetime.date.today().isoformat(),
        "seconds": {str(one.number): chapter_seconds(book, one) for one in book.chapters},
    }
    write_whole(recorded / "chapters.json", json.dumps(chapters) + "\n")
    write_whole(recorded / "cost.json", json.dumps(measuring()) + "\n")


if __name__ == "__main__":
    main()
