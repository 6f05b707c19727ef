"""The `ncourse` command."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from ncourse.claims import DataCard, Outcome, Recording
from ncourse.course import cli, execution
from ncourse.data import Dataset
from ncourse.papers import zhu2021

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def run(course: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run `ncourse` with these arguments in the small course's notebooks' folder."""
    monkeypatch.chdir(course / "notebooks")
    return lambda *arguments: CliRunner().invoke(cli.app, list(arguments), catch_exceptions=False)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, Any]]]:
    """What would be started, with what options; of these commands only nbval's fails."""
    started: list[tuple[list[str], dict[str, Any]]] = []

    def start(command: list[str], **options: Any) -> SimpleNamespace:
        started.append((command, options))
        return SimpleNamespace(returncode=5 if "--nbval-lax" in command else 0)

    monkeypatch.setattr(subprocess, "run", start)
    return started


def test_list(run: Callable[..., Result]) -> None:
    result = run("list")
    assert result.exit_code == 0
    for word in ("A small course", "Start", "One", "Two", "First 2020", "30"):
        assert word in result.stdout


def test_outside_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("list", "lab", "build", "outputs", "sync", "test"):
        result = CliRunner().invoke(cli.app, [command])
        assert result.exit_code == 1
        assert "no book.toml in" in result.stderr
        assert "change into its folder" in result.stderr


def test_a_wrong_manifest_is_an_error_without_a_traceback(
    run: Callable[..., Result], course: Path
) -> None:
    manifest = course / "book.toml"
    manifest.write_text(manifest.read_text().replace("minutes = 30", "minuts = 30"))
    result = run("list")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: book.toml: unknown key `minuts`")
    assert "Traceback" not in result.output


def test_build_prints_the_address(run: Callable[..., Result], course: Path) -> None:
    result = run("build")
    assert result.exit_code == 0, result.output
    page = course / "_build" / "html" / "index.html"
    assert f"Open {page.as_uri()}\n" in result.stdout
    assert "%20" in page.as_uri()
    assert page.is_file()


def test_build_from_stored_outputs_runs_nothing(
    run: Callable[..., Result], course: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run("build", "--stored")
    assert result.exit_code == 1
    assert "01-one.ipynb, cell 2 of 4 has no stored outputs" in result.stderr
    assert run("outputs").exit_code == 0
    shutil.rmtree(course / "_build")
    monkeypatch.setattr(execution, "_run", None)
    result = run("build", "--stored")
    assert result.exit_code == 0, result.output
    assert "42" in (course / "_build" / "html" / "01-one.html").read_text()
    assert not (course / "_build" / "executed").exists()


def test_the_first_build_shows_what_is_stored_and_then_runs(
    run: Callable[..., Result], course: Path
) -> None:
    page = course / "_build" / "html" / "index.html"
    result = run("build")
    assert "Nothing to read yet: 01-one.ipynb, cell 2 of 4" in result.stdout
    assert result.stdout.count(f"Open {page.as_uri()}") == 1
    assert run("outputs").exit_code == 0
    shutil.rmtree(course / "_build")
    result = run("build")
    assert result.exit_code == 0, result.output
    assert result.stdout.count(f"Open {page.as_uri()}") == 2
    assert "outputs that are stored. Now the notebooks are run." in result.stdout
    assert (course / "_build" / "executed").exists()
    assert run("build").stdout.count("Open ") == 1


def test_build_and_outputs_stop_at_a_failing_notebook(
    run: Callable[..., Result], course: Path, save: Callable[[Path, list[str]], None]
) -> None:
    save(course / "notebooks" / "02-two.ipynb", ["# h", "raise RuntimeError('on purpose')"])
    before = (course / "notebooks" / "01-one.ipynb").read_bytes()
    for command in ("build", "outputs"):
        result = run(command)
        assert result.exit_code == 1
        assert "02-two.ipynb, cell 2 of 2: RuntimeError: on purpose" in result.stderr
    assert (course / "notebooks" / "01-one.ipynb").read_bytes() == before
    assert not (course / "_build" / "html").exists()


def test_outputs_of_one_chapter(run: Callable[..., Result]) -> None:
    result = run("outputs", "2")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == "wrote notebooks/02-two.ipynb"
    assert "01-one" not in result.stdout
    result = run("outputs", "2", "8")
    assert result.exit_code == 1
    assert "there is no chapter 8; the course has 1, 2" in result.stderr


def test_sync_fails_once_after_a_change(run: Callable[..., Result], course: Path) -> None:
    assert run("sync").exit_code == 0
    manifest = course / "book.toml"
    manifest.write_text(manifest.read_text().replace('title = "Two"', 'title = "Second"'))
    result = run("sync")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "wrote notebooks/02-two.ipynb",
        "wrote notebooks/assets/map.svg",
        "wrote README.md",
    ]
    assert run("sync").exit_code == 0


def test_sync_names_the_repository_from_which_notebooks_install(
    course: Path, run: Callable[..., Result]
) -> None:
    assert run("sync").exit_code in (0, 1)
    result = run("sync", "--repository", "https://git.x.edu/a/it.git")
    assert result.exit_code == 0
    assert "wrote book.toml" in result.output
    first = (course / "notebooks" / "01-one.ipynb").read_text()
    assert "https://git.x.edu/a/it.git" in first
    assert 'repository = "https://git.x.edu/a/it.git"' in (course / "book.toml").read_text()
    assert run("sync").exit_code == 0
    refused = run("sync", "--repository", "$(touch x)")
    assert refused.exit_code == 1
    assert "git clones" in refused.output
    assert run("sync", "--repository", "").exit_code == 0
    assert "git.x.edu" not in (course / "notebooks" / "01-one.ipynb").read_text()


@pytest.mark.parametrize(("user", "options"), [(1000, []), (0, ["--allow-root"])])
def test_lab_opens_the_working_copy(
    run: Callable[..., Result],
    course: Path,
    monkeypatch: pytest.MonkeyPatch,
    user: int,
    options: list[str],
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(cli.os, "geteuid", lambda: user, raising=False)
    monkeypatch.setattr(cli.os, "execv", lambda _, command: commands.append(command))
    monkeypatch.chdir(course)  # the command changes into the copy
    settings = f"--LabApp.app_settings_dir={course / 'my-course' / '.jupyterlab'}"
    for asked, opened, more in (
        ([], "01-one.ipynb", []),
        (["2"], "02-two.ipynb", []),
        (
            ["--fresh", "02", "--port", "9000", "--no-browser"],
            "02-two.fresh.ipynb",
            ["--ServerApp.port=9000", "--ServerApp.port_retries=0", "--no-browser"],
        ),
    ):
        result = run("lab", *asked)
        assert result.exit_code == 0
        assert result.stdout.startswith(f"Welcome to A small course: {opened}, in your copy")
        first = [sys.executable, "-m", "jupyterlab", f"--LabApp.default_url=/lab/tree/{opened}"]
        assert commands.pop() == [*first, settings, *more, *options]
        assert Path.cwd() == course / "my-course"
    names = {path.name for path in (course / "my-course").glob("*.ipynb")}
    laid = {"01-one.ipynb", "02-two.ipynb", "02-two.fresh.ipynb", "playground.ipynb"}
    assert names == laid
    for wrong, number in ((["9"], 9), (["--fresh", "09"], 9), (["0"], 0)):
        result = run("lab", *wrong)
        assert result.exit_code == 1
        assert f"there is no chapter {number}" in result.stderr


def test_the_version_is_told(run: Callable[..., Result]) -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert re.fullmatch(r"ncourse \d+\.\d+\.\d+\S*\n", result.stdout)


def test_test_runs_every_stage_and_fails_if_one_does(
    run: Callable[..., Result], course: Path, commands: list[tuple[list[str], dict[str, Any]]]
) -> None:
    result = run("test")
    assert result.exit_code == 1
    lines = [" ".join(command) for command, _ in commands]
    for line, words in zip(
        lines,
        (
            *(
                "ruff check",
                "ruff format --check",
                "mypy",
                "not browser and not bench and not slow",
            ),
            *("--nbval-current-env --dist loadfile notebooks", "build --stored", "tests/site"),
        ),
        strict=True,
    ):
        assert all(word in line for word in words.split(" ")), line
    for _, options in commands:
        assert options["cwd"] == course
        assert options["env"]["OMP_NUM_THREADS"] == "1"
    summary = result.stdout.splitlines()
    for stage, outcome in (
        *(("style", "passed"), ("package", "passed"), ("notebooks", "failed (exit code 5)")),
        *(("site", "passed"), ("browser", "passed")),
    ):
        assert any(stage in line and outcome in line for line in summary), stage


def test_slow_tests_are_asked_for(
    run: Callable[..., Result], commands: list[tuple[list[str], dict[str, Any]]]
) -> None:
    run("test", "--slow")
    (package,) = (command for command, _ in commands if "not browser and not bench" in command)
    assert "pytest" in package


def test_doctor_prints_a_block_to_paste(run: Callable[..., Result]) -> None:
    result = run("doctor")
    assert result.exit_code == 0
    lines = dict(line.split(":", 1) for line in result.stdout.splitlines())
    names = "python platform torch torchvision numpy scipy scikit-learn jupyterlab"
    for name in [*names.split(), "torch threads", "digits", "Fashion-MNIST", "Chromium"]:
        assert lines[name].strip(), name
    assert lines["python"].strip() == sys.version.split()[0]


def test_doctor_without_the_extras(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    version = cli.importlib.metadata.version

    def without_torchvision(name: str) -> str:
        if name == "torchvision":
            raise cli.importlib.metadata.PackageNotFoundError(name)
        return str(version(name))

    monkeypatch.setattr(cli.importlib.metadata, "version", without_torchvision)
    monkeypatch.setattr(cli, "_fashion_mnist_folders", lambda: [tmp_path / "none"])
    monkeypatch.setattr(cli.shutil, "which", lambda name: None)
    lines = dict(line.split(":", 1) for line in run("doctor").stdout.splitlines())
    assert lines["torchvision"].strip() == "not installed"
    assert "not found" in lines["Fashion-MNIST"]
    assert "not found" in lines["Chromium"]


def test_without_the_course_extra_the_command_says_what_to_install() -> None:
    code = "import sys; sys.modules['typer'] = None; import ncourse.course.cli"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == (
        'ncourse: typer is not installed; the command needs: pip install "ncourse[cli]"\n'
    )


SLOW = {"torch", "numpy", "matplotlib", "nbformat", "jsonschema", "nbclient", "IPython", "sphinx"}


@pytest.mark.parametrize("words", ["--help", "lst", "list", "progress notebooks"])
def test_a_quick_command_loads_nothing_slow(words: str) -> None:
    """A list, the answer to a typo, notebooks without an answer: none needs PyTorch or a schema."""
    code = (
        "import sys\nfrom ncourse.course.cli import app\n"
        f"try: app()\nfinally: print('loaded:', *sorted({SLOW} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, *words.split()]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert result.returncode == (2 if words == "lst" else 0), result.stderr
    assert result.stdout.splitlines()[-1].strip() == "loaded:"


def test_record_takes_data_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def experiment(scale: str = "laptop", *, seed: int = 0, data: Dataset | None = None) -> Outcome:
        assert data is not None
        return Outcome("zhu2021", scale, seed, data.card, ())

    experiment.paper = zhu2021.experiment.paper  # type: ignore[attr-defined]
    monkeypatch.setattr(zhu2021, "experiment", experiment)
    out = tmp_path / "r.json"
    words = ["record", "zhu2021", str(out), "--seed", "1", "--data"]
    assert CliRunner().invoke(cli.app, [*words, "digits"]).exit_code == 0
    kept = Recording.load(out)
    assert kept.outcomes[0].data.name == "digits"
    assert kept.command.endswith("--seed 1 --data digits")
    result = CliRunner().invoke(cli.app, [*words, "imagenet"])
    assert result.exit_code == 1
    assert "there is no data set 'imagenet'" in result.stderr


def test_record_writes_the_command_and_the_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def experiment(scale: str = "laptop", *, seed: int = 0) -> Outcome:
        asked.append((scale, seed))
        if scale == "paper":
            raise ValueError("scale 'paper' is not built")
        return Outcome("zhu2021", scale, seed, DataCard("none", 0, 0, 2, ""), ())

    experiment.paper = zhu2021.experiment.paper  # type: ignore[attr-defined]
    monkeypatch.setattr(zhu2021, "experiment", experiment)
    out = tmp_path / "r.json"
    seeds = ["--seed", "1", "--seed", "2"]
    result = CliRunner().invoke(
        cli.app, ["record", "zhu2021", str(out), *seeds, "--scale", "workstation"]
    )
    assert result.exit_code == 0
    assert asked == [("workstation", 1), ("workstation", 2)]
    command = Recording.load(out).command
    assert (
        command == f"ncourse record zhu2021 {out.as_posix()} {' '.join(seeds)} --scale workstation"
    )
    result = CliRunner().invoke(
        cli.app, ["record", "zhu2021", str(tmp_path / "x.json"), "--seed", "1", "--scale", "paper"]
    )
    assert result.exit_code == 1
    assert "'paper' is not built" in result.stderr
    assert not (tmp_path / "x.json").exists()
    result = CliRunner().invoke(cli.app, ["record", "nobody1999", str(out), "--seed", "1"])
    assert result.exit_code == 1
    assert "there is no paper 'nobody1999'; there are ammar2024," in result.stderr


def test_a_chapter_that_cannot_be_printed(
    run: Callable[..., Result], course: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "one.pdf"
    out.write_text("an older one")
    result = run("pdf", "1", "--out", str(out))
    assert result.exit_code == 1
    assert "run `ncourse build` first" in " ".join(result.stderr.split())
    page = course / "_build" / "html" / "01-one.html"
    page.parent.mkdir(parents=True)
    page.write_text("<p>One.</p>")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    result = run("pdf", "1", "--out", str(out))
    assert result.exit_code == 1
    assert "printing needs Chromium" in result.stderr
    monkeypatch.setattr(shutil, "which", lambda name: sys.executable)  # prints no page
    result = run("pdf", "1", "--out", str(out))
    assert result.exit_code == 1
    assert "printed nothing" in result.stderr
    assert out.read_text() == "an older one"


def test_a_seminar_is_written_into_an_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    out = tmp_path / "term"
    arguments = ["seminar", "--seed", "word", "--out", str(out)]
    result = CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "exam-solutions.md",
        "exam.md",
        "problem-set-1-solutions.md",
        "problem-set-1.ipynb",
        "problem-set-2-solutions.md",
        "problem-set-2.ipynb",
    ]
    again = CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
    assert again.exit_code == 1
    assert "has files in it" in again.output
    empty = ["seminar", "--seed", "", "--out", str(tmp_path / "x")]
    assert CliRunner().invoke(cli.app, empty, catch_exceptions=False).exit_code == 1
    assert not (tmp_path / "x").exists()
