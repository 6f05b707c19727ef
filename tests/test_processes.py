"""Training on several processes, started for real with torchrun: the numbers of one process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ncourse import training
from ncourse.models import MLP
from ncourse.training import Place, place

WORKER = Path(__file__).with_name("fit_worker.py")
SMALL = "batches smaller than the processes"


def torchrun(processes: int, *command: str, seconds: float = 120) -> subprocess.CompletedProcess:
    """Start a script on several processes of this machine and wait for all of them."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.run(
        [sys.executable, *launcher, *command],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


STARTED = [(2, ()), *([(3, (SMALL,))] if "FAULTS" in os.environ else [])]


@pytest.mark.parametrize(("processes", "cases"), STARTED)
def test_several_processes_train_as_one(tmp_path, processes, cases):
    """Odd batches, an odd number of samples, batch norm; with FAULTS, a part without samples."""
    result = torchrun(processes, str(WORKER), str(tmp_path), *cases)
    assert result.returncode == 0, result.stderr[-3000:]
    reports = [
        json.loads((tmp_path / f"report-{rank}.json").read_text()) for rank in range(processes)
    ]
    assert len(reports[0]["cases"]) == (len(cases) or 5)
    for report in reports:
        assert report["processes"] == processes
        for case, apart in report["cases"].items():
            assert apart["weights"] < 1e-9, case
            assert apart["history"] < 1e-9, case
            assert apart["moved"] > 0.1, case  # there was something to get wrong
        # Those who observe see the whole of both splits, in the data set's order.
        assert report["observed"] == [[6, 63, 27]]
        assert report["order"] < 1e-9
    for rank in range(processes):
        refused = (tmp_path / f"refused-{rank}.txt").read_text()
        assert refused.startswith("process 1 has data ")
        assert "all need the same data" in refused


def test_a_process_alone_and_what_torchrun_and_srun_say(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("SLURM", "TORCHELASTIC"))]:
        monkeypatch.delenv(name)
    # Variables that sbatch sets without srun, or a container for no reason, start nothing.
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("SLURM_NTASKS", "4")
    assert place() == Place(0, 1, 1)
    srun = {"STEP_NUM_TASKS": "4", "STEP_NUM_NODES": "2", "PROCID": "3"}
    for name, value in srun.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert place() == Place(rank=3, processes=4, machines=2)
    monkeypatch.setenv("SLURM_STEP_NUM_NODES", "3")
    with pytest.raises(ValueError, match="4 processes are not equally many on each machine"):
        place()
    for name, value in {"RANK": "1", "WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    assert place() == Place(rank=1, processes=6, machines=3)


def test_parts_are_the_whole_in_order():
    samples = torch.arange(7)
    parts = [Place(rank, 3).part(samples) for rank in range(3)]
    assert torch.equal(torch.cat(parts), samples)
    assert [len(part) for part in parts] == [3, 2, 2]
    assert Place().part(samples).tolist() == samples.tolist()


def test_batch_norms_are_put_back():
    model = MLP((5,), (4,), 3)
    norm = model.body[2]
    with training._one_batch_norm(model, Place(0, 2)):
        assert type(norm) is training._SharedBatchNorm
    assert type(norm) is torch.nn.BatchNorm1d
    with training._one_batch_norm(model, Place()):
        assert type(norm) is torch.nn.BatchNorm1d
