"""Collapse through Lightning, Hugging Face and Avalanche, each with the real package.

They run once a week: `LIGHTNING`, `ZOO` and `AVALANCHE` name the Pythons of environments that have
them (lightning, tensorboard, wandb; transformers, accelerate; avalanche-lib).
"""

import os
import subprocess
from pathlib import Path

import pytest

from ncourse.callbacks import avalanche_plugin, hugging_face_callback, lightning_callback

ENVIRONMENTS = {"lightning": "LIGHTNING", "transformers": "ZOO", "avalanche": "AVALANCHE"}


@pytest.mark.slow
@pytest.mark.parametrize("package", ENVIRONMENTS)
def test_a_trainer_logs_what_capture_measures(package, tmp_path):
    python = os.environ.get(ENVIRONMENTS[package])
    if python is None:
        pytest.skip(f"{ENVIRONMENTS[package]} does not name a Python with {package}")
    worker = Path(__file__).with_name("callbacks_worker.py")
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "WANDB_MODE": "offline"}
    done = subprocess.run(
        [python, worker, package, tmp_path], capture_output=True, text=True, env=env, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "done"


@pytest.mark.parametrize(
    ("make", "package", "install"),
    [
        (lambda: lightning_callback([]), "lightning", "lightning"),
        (lambda: hugging_face_callback([]), "transformers", "transformers"),
        (avalanche_plugin, "avalanche", "avalanche-lib"),
    ],
    ids=["lightning", "transformers", "avalanche"],
)
def test_without_the_package_it_is_named(make, package, install, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=f"this needs: pip install {install}"):
        make()
