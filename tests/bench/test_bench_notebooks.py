"""What a chapter costs: CPU time of its kernel, in units of a fixed piece of work.

Run with `make bench`. The unit is 1,000 products of 512 x 512 matrices in
float32 on one thread, so the numbers survive a change of machine better than seconds do.
"""

import asyncio
import resource
import time
from pathlib import Path

import pytest
import torch

from ncourse.course import execution
from ncourse.course.manifest import Chapter, load
from ncourse.course.notebooks import read

pytestmark = pytest.mark.bench
BOOK = load(Path(__file__).parents[2] / "book.toml")


def _unit() -> float:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    matrix = torch.randn(512, 512) / 23
    start = time.process_time()
    for _ in range(1000):
        matrix = matrix @ matrix
        matrix /= matrix.norm() / 512**0.5
    torch.set_num_threads(threads)
    return time.process_time() - start


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("chapter", BOOK.chapters, ids=lambda chapter: chapter.stem)
def test_what_a_chapter_costs(benchmark, chapter: Chapter) -> None:
    notebook = read(BOOK.path(chapter))
    before = _children()
    failure = benchmark.pedantic(
        lambda: asyncio.run(execution._run(notebook, chapter.file, BOOK.folder, lambda: None)),
        rounds=1,
    )
    seconds = _children() - before
    assert failure is None
    units = seconds / _unit()
    benchmark.extra_info["units"] = units
    print(f"\n{chapter.heading}: {units:.1f} units, here {seconds:.0f} s on one core")
