"""A pytest plugin: which comparison of which claim was false, alone, in the tests that were run.

`pytest -p false_runs --alone FILE -k false` writes JSON: paper -> claim -> comparison as written ->
how often it was the only false one. `tests/test_margins.py` reads it.
"""

import importlib
import json
import re
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

PAPERS = sorted(path.stem for path in Path("ncourse/papers").glob("[a-z]*.py"))


def pytest_addoption(parser):
    parser.addoption("--alone", required=True, help="the file to write")


def pytest_sessionstart(session):
    from margins import apart

    session.apart = ExitStack()
    session.seen = {
        name: session.apart.enter_context(apart(importlib.import_module(f"ncourse.papers.{name}")))
        for name in PAPERS
    }


def pytest_sessionfinish(session):
    session.apart.close()
    alone = {name: count(seen) for name, seen in session.seen.items()}
    Path(session.config.getoption("--alone")).write_text(json.dumps(alone), encoding="utf-8")


def count(seen):
    found = {}
    for comparisons in filter(None, seen):
        # A claim about a mean says of how many seeds; tests take fewer than the recordings.
        text = re.sub(r"\b\d+ seeds", "seeds", comparisons[0].claim)
        times = found.setdefault(text, Counter())
        places = {(c.index, c.part, c.source) for c in comparisons}
        false = {(c.index, c.part, c.source) for c in comparisons if not c.holds}
        for index, part, source in places:
            times[f"{index}.{part} {source}"] += false == {(index, part, source)}
    return found
