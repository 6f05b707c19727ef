"""Networks of torchvision, timm and transformers, each found by `capture` without help.

They need packages that the course does without, so they run once a week: `ZOO` names the Python of
an environment that has them.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

COUNTS = {"torchvision": 11, "timm": 15, "transformers": 8}


@pytest.mark.slow
@pytest.mark.parametrize("family", COUNTS)
def test_each_network_of_a_family_is_captured(family):
    python = os.environ.get("ZOO") or (sys.executable if family == "torchvision" else None)
    if python is None:
        pytest.skip(f"ZOO does not name a Python with {family}")
    done = subprocess.run(
        [python, Path(__file__).with_name("zoo_worker.py"), family],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert [entry for entry in found if entry[1] is not None] == []
    print(f"{family}: {len(found)} of {COUNTS[family]}")
    assert len(found) == COUNTS[family]
