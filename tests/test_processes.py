"""Training on several processes, started for real with torchrun: the numbers of one process."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ncourse.models import MLP
from ncourse.runs import RunError, run
from ncourse.training import Place, place, processes

TRAIN = Path(__file__).with_name("fit_worker.py")
RUN = Path(__file__).with_name("run_worker.py")


def torchrun(processes: int, *command: str, **environment: str) -> subprocess.CompletedProcess:
    """Start a script on several processes of this machine and wait for all of them."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.run(
        [sys.executable, *launcher, *command],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def check(folder: Path, *, processes: int, cases: int) -> None:
    reports = [
        json.loads((folder / f"report-{rank}.json").read_text()) for rank in range(processes)
    ]
    for report in reports:
        assert len(report["cases"]) == cases
        assert report["processes"] == processes
        for case, apart in report["cases"].items():
            assert apart["weights"] < 1e-9, case
            assert apart["history"] < 1e-9, case
            assert apart["moved"] > 0.1, case  # there was something to get wrong
        # Those who observe see the whole of both splits, in the data set's order.
        assert report["observed"] == [[6, 63, 27]]
        assert report["order"] < 1e-9
        refused = (folder / f"refused-{report['rank']}.txt").read_text()
        assert refused.startswith("process 1 has data ")
        assert "all need the same data" in refused


def test_two_processes_train_as_one(tmp_path):
    """Odd batches, an odd number of samples, batch norm, no bias, no test split."""
    result = torchrun(2, str(TRAIN), str(tmp_path))
    assert result.returncode == 0, result.stderr[-3000:]
    check(tmp_path, processes=2, cases=5)


@pytest.mark.slow
def test_a_process_without_samples_takes_part(tmp_path):
    result = torchrun(3, str(TRAIN), str(tmp_path), "batches smaller than the processes")
    assert result.returncode == 0, result.stderr[-3000:]
    check(tmp_path, processes=3, cases=1)


FAULTS = [("1 kill 33", "Signal 9 (SIGKILL)"), ("1 raise 40", "on purpose")]


@pytest.mark.slow
def test_when_one_of_two_processes_ends_so_does_the_other_and_the_run_goes_on(tmp_path):
    """Process 1 is killed, or raises an error; the end is that of two undisturbed processes."""
    command = [str(RUN), "run", "papyan2020", "--data", "digits", "--resume", "--out"]
    folder = tmp_path / "half"
    for fault, message in FAULTS:
        began = time.monotonic()
        result = torchrun(2, *command, str(folder), FAULT=fault)
        assert time.monotonic() - began < 60
        assert result.returncode != 0
        assert message in result.stderr
        assert "rank      : 1 (local_rank: 1)" in result.stderr  # torchrun names the culprit
        about = json.loads((folder / "run.json").read_text())
        # Process 0 notices, unless torchrun stops it first.
        assert about["state"] == "running" or (
            about["state"].startswith("failed: RunError: another process of this run has ended (")
        )
        assert about["processes"] == 2
    with pytest.raises(RunError, match="processes was 2 and is 1"):
        run("papyan2020", data="digits", out=folder, resume=True)
    result = torchrun(2, *command, str(folder))
    assert result.returncode == 0, result.stderr
    assert "network 1  epoch" not in result.stdout
    result = torchrun(2, *command, str(tmp_path / "whole"))
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.count("run folder: ") == 1  # process 0 alone prints
    assert result.stdout.count("epoch 10/10") == 5
    whole = result_files(tmp_path / "whole")
    assert result_files(folder) == whole
    assert len(whole) == 3 + 7 + 7


def result_files(folder: Path) -> dict[str, bytes]:
    """Everything that a run has found."""
    kept = [folder / "outcome.json", folder / "claims.md", folder / "claims.json"]
    kept += [*(folder / "tables").iterdir(), *(folder / "figures").iterdir()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


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
    with processes._synchronised_batch_norms(model, Place(0, 2)):
        assert type(norm) is processes._SynchronisedBatchNorm
    assert type(norm) is torch.nn.BatchNorm1d
    with processes._synchronised_batch_norms(model, Place()):
        assert type(norm) is torch.nn.BatchNorm1d
