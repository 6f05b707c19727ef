"""Run folders: what is in them, what is refused; a killed run ends as an undisturbed one."""

import csv
import importlib.metadata
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result
from rich.console import Console
from typer.testing import CliRunner

from ncourse import runs, training
from ncourse.claims import Outcome
from ncourse.course import cli
from ncourse.data import digits, gaussian_mixture
from ncourse.models import MLP, Classifier
from ncourse.papers import ammar2024, galanti2021, han2022, hui2022, papyan2020
from ncourse.tables import Table
from ncourse.training import Place, checkpoints_in, fit

WORKER = Path(__file__).with_name("run_worker.py")
KILLS = int(os.environ.get("FAULTS", "1"))  # as in test_faults
SMALL = papyan2020.Scale(10, (8,), 4, (4,))
NETWORKS = 7
DIGITS = digits()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`ncourse run` in an empty folder, with a small papyan2020 on few digits."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(papyan2020.SCALES, "laptop", SMALL)
    monkeypatch.setitem(runs.DATA, "digits", lambda: DIGITS.take(9))
    return lambda *words: CliRunner().invoke(cli.app, ["run", *words], catch_exceptions=False)


def result_files(folder: Path) -> dict[str, bytes]:
    """Everything that a run has found."""
    kept = [folder / "outcome.json", folder / "claims.md", folder / "claims.json"]
    kept += [*(folder / "tables").iterdir(), *(folder / "figures").iterdir()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


def test_a_run_folder_holds_what_was_asked_and_what_was_found(run, tmp_path):
    result = run("papyan2020", "--data", "digits", "--seed", "3")
    assert result.exit_code == 0, result.output
    folder = tmp_path / "runs" / "papyan2020-laptop-digits-seed3"
    about = json.loads((folder / "run.json").read_text())
    assert about["state"] == "finished"
    assert about["command"] == "ncourse run papyan2020 --scale laptop --seed 3 --data digits"
    assert about["checksum"] == about["ran on"]["checksum"] == DIGITS.take(9).checksum
    assert (about["torch"], about["processes"]) == (torch.__version__.partition("+")[0], 1)
    assert about["started"] <= about["ended"]
    outcome = Outcome.load(folder / "outcome.json")
    assert (outcome.seed, outcome.data.name) == (3, "digits, 9 per class")
    assert len(outcome.tables) == NETWORKS == len(list((folder / "tables").glob("*.csv")))
    with (folder / "tables" / "random-labels-no-weight-decay.csv").open() as file:
        rows = list(csv.DictReader(file))
    table = outcome.tables["random labels, no weight decay"]
    assert [float(row["nc1"]) for row in rows] == table["nc1"]
    assert (folder / "figures" / "cnn.png").read_bytes().startswith(b"\x89PNG")
    assert len(list((folder / "figures").iterdir())) == NETWORKS
    verdicts = json.loads((folder / "claims.json").read_text())
    page = (folder / "claims.md").read_text()
    for made, entry in zip(outcome.claims, verdicts, strict=True):
        assert (entry["text"], entry["verdict"]) == (made.text, made.verdict)
        assert made.text in page
    checkpoints = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert checkpoints == [f"fit-{number:04d}.pt" for number in range(1, NETWORKS + 1)]
    # Live: a line for each measured epoch, with the error and the four metrics.
    measured = sum(len(table["epoch"]) for table in outcome.tables.values())
    lines = [line for line in result.stdout.splitlines() if line.startswith("network ")]
    assert len(lines) == measured
    assert lines[0].startswith("network 1  epoch 1/10  train error 0.")
    assert all(f"{name} " in lines[0] for name in ("NC1", "NC2", "NC3", "NC4"))
    assert "9 claims reported" in result.stdout


def test_on_a_terminal_one_line_changes():
    screen = io.StringIO()
    row = {"epoch": 1, "train_error": 0.5, "nc1": 1, "nc2_equiangular": 1, "nc3": 1, "nc4": 1}
    with runs._shown(Console(force_terminal=True, width=40, file=screen)) as tell:
        for epoch in (1, 2, 3):
            tell(7, 3, row | {"epoch": epoch})
    raw = screen.getvalue()
    assert "network 7  epoch 2/3  train error 0.5" in raw
    # Only what is done stays: in full, also where the terminal is narrow.
    kept = re.sub(r"[^\n]*\r\x1b\[2K", "", raw)
    kept = re.sub(r"\x1b\[[?0-9]*[a-zA-Z]", "", kept)
    assert kept.strip() == "network 7  epoch 3/3  train error 0.5  NC1 1  NC2 1  NC3 1  NC4 1"


def test_what_cannot_be_run_is_one_clear_error(run, tmp_path):
    for words, message in (
        (["papyan2021"], "there is no paper 'papyan2021'; there are ammar2024, fang2021,"),
        (["../cli"], "there is no paper '../cli'"),
        (
            ["papyan2020", "--data", "imagenet"],
            "there is no data set 'imagenet'; there are digits, fashion-mnist, mnist, cifar10, "
            "cifar100, or give a folder with train/ and test/",
        ),
        (["papyan2020", "--data", str(tmp_path)], "train is missing; expected train/ and test/"),
    ):
        result = run(*words)
        assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
        assert message in result.stderr
    result = run("papyan2020", "--scale", "paper")
    assert result.exit_code == 1
    assert "scale 'paper' is not built" in result.stderr
    assert not (tmp_path / "runs").exists()


def test_who_stops_a_run_is_told_how_to_go_on(run, tmp_path, monkeypatch):
    def stopped(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(training.measuring, "extract", stopped)
    result = run("papyan2020", "--data", "digits", "--seed", "3", "--out", "half")
    assert result.exit_code == 130
    again = "ncourse run papyan2020 --scale laptop --seed 3 --data digits --out half --resume"
    assert f"stopped; go on with: {again}" in result.stdout


def test_a_folder_that_is_taken_and_a_run_that_is_another_are_refused(run, tmp_path, monkeypatch):
    words = ["papyan2020", "--data", "digits", "--out", "here"]
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / ".run.json.7.new").write_text("{")  # a kill at the very beginning
    assert run(*words, "--resume").exit_code == 0  # with nothing to go on with, it starts
    before = result_files(tmp_path / "here")
    result = run(*words)
    assert result.exit_code == 1
    assert "here exists already; go on with --resume, or name another with --out" in result.stderr
    result = run(*words, "--resume")
    assert result.exit_code == 0
    assert "here is finished already" in result.stdout
    result = run(*words, "--resume", "--seed", "1", "--scale", "workstation")
    assert result.exit_code == 1
    assert "scale was laptop and is workstation; seed was 0 and is 1" in result.stderr
    monkeypatch.setitem(runs.DATA, "digits", lambda: DIGITS.take(8))
    assert "(checksum was " in run(*words, "--resume").stderr
    monkeypatch.setitem(runs.DATA, "digits", lambda: DIGITS.take(9))
    monkeypatch.setattr(runs, "version", lambda name: "9.9")
    result = run(*words, "--resume")
    installed = importlib.metadata.version("ncourse")
    assert f"ncourse was {installed} and is 9.9; torch was " in result.stderr
    assert result_files(tmp_path / "here") == before
    (tmp_path / "here" / "run.json").write_text("{}")
    assert "run.json is not of a run: it lacks checksum, data," in run(*words, "--resume").stderr
    (tmp_path / "here" / "run.json").write_text("{")
    assert "run.json is not readable" in run(*words, "--resume").stderr


def test_a_run_that_fails_says_so_and_goes_on_where_it_was(run, tmp_path, monkeypatch):
    words = ["papyan2020", "--data", "digits", "--out"]
    assert run(*words, "whole").exit_code == 0
    extract, passes = training.extract, 0

    def fails(*arguments, **options):
        nonlocal passes
        passes += 1
        if passes == 33:
            raise ValueError("on purpose")
        return extract(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(training.measuring, "extract", fails)
        result = run(*words, "half")
    assert (result.exit_code, result.stderr) == (1, "error: on purpose\n")
    state = json.loads((tmp_path / "half" / "run.json").read_text())["state"]
    assert state == "failed: ValueError: on purpose"
    assert not (tmp_path / "half" / "outcome.json").exists()
    monkeypatch.setattr(runs.torch, "get_num_threads", lambda: 99)
    result = run(*words, "half", "--resume")
    assert result.exit_code == 0
    assert "threads 99, before " in result.stdout
    assert "resumed with the checkpoints of 2 networks" in result.stdout
    assert "network 1  epoch" not in result.stdout
    assert result_files(tmp_path / "half") == result_files(tmp_path / "whole")
    about = json.loads((tmp_path / "half" / "run.json").read_text())
    assert (about["state"], len(about["resumed"])) == ("finished", 1)


def test_what_does_not_train_through_fit_starts_again_and_says_so(run, monkeypatch):
    from ncourse.papers import hong2024

    def experiment(scale: str, *, seed: int, data: object) -> Outcome:
        raise ValueError("on purpose")

    experiment.paper = hong2024.experiment.paper
    monkeypatch.setattr(hong2024, "experiment", experiment)
    assert "does not train through `fit`: if interrupted it will start again" in run(
        "hong2024"
    ).stdout.replace("\n", " ")
    assert "it starts again from the beginning" in run("hong2024", "--resume").stdout
    monkeypatch.setattr(runs, "place", lambda: Place(0, 2))
    result = run("hong2024", "--out", "two")
    assert "hong2024 does not train through `fit`: run it in one process" in result.stderr


def test_tables_whose_names_become_the_same_file_are_both_kept(tmp_path):
    card = DIGITS.card
    columns = {"λ = 1": {"x": [1.5, None]}, "λ: 1": {"x": ["a, b"]}, "λ/1": {"x": []}}
    tables = {name: Table(kept) for name, kept in columns.items()}
    (tmp_path / "checkpoints").mkdir()
    runs._write(tmp_path, Outcome("none", "laptop", 0, card, (), tables))
    found = {path.name: path.read_text() for path in (tmp_path / "tables").iterdir()}
    assert found == {"λ-1.csv": 'x\n1.5\n""\n', "λ-1-2.csv": 'x\n"a, b"\n', "λ-1-3.csv": "x\n"}
    assert list((tmp_path / "figures").iterdir()) == []


# Checkpoints of every call of `fit` ---------------------------------------------------------------


class Interrupted(Exception):
    """What stops a training from inside."""


OBSERVING = {
    "galanti2021": lambda: galanti2021.transfer(DIGITS.take(9), seed=0, epochs=6),
    "ammar2024": lambda: ammar2024.detect(DIGITS.take(9), seed=0, epochs=6),
    "han2022": lambda: han2022.train(DIGITS.take(9), seed=0, epochs=6),
    "hui2022": lambda: hui2022.train(DIGITS.take(9), weight_decay=5e-3, seed=0, epochs=6)[1],
}


@pytest.mark.parametrize("paper", OBSERVING)
def test_what_papers_observe_is_whole_after_an_interruption(tmp_path, paper):
    """They build their tables from `observe`, some from the model itself at that moment."""
    whole = OBSERVING[paper]()
    for at in (3, 2):
        told = 0

        def stop(call: int, epochs: int, row: object, at: int = at) -> None:
            nonlocal told
            told += 1
            if told == at:
                raise Interrupted

        with pytest.raises(Interrupted), checkpoints_in(tmp_path, tell=stop):
            OBSERVING[paper]()
    with checkpoints_in(tmp_path):
        assert OBSERVING[paper]() == whole
    with checkpoints_in(tmp_path):  # all of it from what was kept
        assert OBSERVING[paper]() == whole


CLOUDS = gaussian_mixture(3, 5, train_per_class=8, test_per_class=4, seed=0)


def train(epochs: int = 3, **settings):
    model = MLP((5,), (4,), 3)
    return fit(model=model, dataset=CLOUDS, epochs=epochs, progress=False, **settings)[1]


def test_calls_are_numbered_and_compared_with_what_was_kept(tmp_path):
    rows = []
    with checkpoints_in(tmp_path / "a" / "b", tell=lambda *told: rows.append(told)):
        first = train()
        train(checkpoint=tmp_path / "mine")
        last = train(weight_decay=0.1)
    names = {path.name for path in (tmp_path / "a" / "b").iterdir()}
    assert names == {"fit-0001.pt", "fit-0003.pt"}
    assert (tmp_path / "mine").is_file()
    assert [told[:2] for told in rows] == [(call, 3) for call in (1, 2, 3) for _ in range(3)]
    assert rows[0][2] == first.at(1)
    with checkpoints_in(tmp_path / "a" / "b"):
        assert train() == first
        train(checkpoint=tmp_path / "mine")
        with pytest.raises(ValueError, match=r"fit-0003\.pt belongs to .* another weight_decay"):
            train(weight_decay=0.2)
    with checkpoints_in(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "fit-0001.pt").write_bytes(b"PK")
        with pytest.raises(ValueError, match=r"fit-0001\.pt is no checkpoint"):
            train()
    assert train(weight_decay=0.1) == last  # outside nothing is kept, and nothing taken up
    assert {path.name for path in (tmp_path / "a" / "b").iterdir()} == names


def test_only_process_0_makes_folders(tmp_path, monkeypatch):
    """Or process 0 would find the folder of a new run taken."""
    for rank in (1, 0):
        here = Place(rank, 2)
        monkeypatch.setattr(training.processes, "place", lambda here=here: here)
        with checkpoints_in(tmp_path / "a"):
            assert (tmp_path / "a").exists() == (rank == 0)


def test_observing_again_leaves_the_training_and_its_random_numbers_alone(tmp_path):
    """Dropout draws in every step; the run stops three epochs after the last measured one."""
    seen: list[tuple[int, float, float]] = []
    steps = 0

    def noisy(epoch: int, passed, _) -> None:
        seen.append((epoch, torch.rand(()).item(), passed.features.sum().item()))

    def run(stop_at: int = 0):
        def loss(logits, labels):
            nonlocal steps
            steps += 1
            if steps == stop_at:
                raise Interrupted
            return torch.nn.functional.cross_entropy(logits, labels)

        torch.manual_seed(0)
        body = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.ReLU(), torch.nn.Dropout(0.3))
        return fit(
            model=Classifier(body, torch.nn.Linear(8, 3)),
            dataset=CLOUDS,
            epochs=9,
            loss=loss,
            batch_size=24,  # an epoch is one step, and a measured one two more
            measure_at=[1, 3],
            watch_error=False,
            observe=noisy,
            progress=False,
        )[1]

    with torch.random.fork_rng():
        whole = run()
        expected = seen.copy()
        seen.clear()
        steps = 0
        with pytest.raises(Interrupted), checkpoints_in(tmp_path):
            run(stop_at=9)
        assert [epoch for epoch, *_ in seen] == [1, 3]
        seen.clear()
        with checkpoints_in(tmp_path):
            assert run() == whole
        assert seen == expected
        (tmp_path / "fit-0001" / "epoch-000003.pt").unlink()
        with (
            checkpoints_in(tmp_path),
            pytest.raises(ValueError, match=r"epoch-000003\.pt is no checkpoint"),
        ):
            run()


# The real command, killed -------------------------------------------------------------------------


def start(*words: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(WORKER), "run", "papyan2020", *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_a_killed_run_ends_as_an_undisturbed_one(run, tmp_path, monkeypatch):
    monkeypatch.setitem(runs.DATA, "digits", digits)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert run("papyan2020", "--data", "digits", "--out", "whole").exit_code == 0
    finally:
        torch.set_num_threads(threads)
    chance = random.Random()
    words = ["--data", "digits", "--out", str(tmp_path / "killed"), "--resume"]
    for _ in range(KILLS):
        with start(*words) as process:
            for _ in range(chance.randint(1, 2 + 50 // KILLS)):
                process.stdout.readline()
            time.sleep(chance.random() * 0.05)
            process.send_signal(signal.SIGKILL)
        about = json.loads((tmp_path / "killed" / "run.json").read_text())
        assert about["state"] == "running"
        assert not (tmp_path / "killed" / "outcome.json").exists()
    with start(*words) as process:
        _, problem = process.communicate()
    assert process.returncode == 0, problem
    assert result_files(tmp_path / "killed") == result_files(tmp_path / "whole")
    about = json.loads((tmp_path / "killed" / "run.json").read_text())
    assert (about["state"], len(about["resumed"])) == ("finished", KILLS)
