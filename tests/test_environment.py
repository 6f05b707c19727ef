"""The files that set the course up agree with `pyproject.toml`."""

import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]


def _yaml(name: str) -> Any:
    return yaml.safe_load((REPOSITORY / name).read_text(encoding="utf-8"))


def test_conda_environment_is_python_pip_and_this_package() -> None:
    environment = _yaml("environment.yml")
    assert environment["name"] == PROJECT["name"]
    python, pip, section = environment["dependencies"]
    assert pip == "pip"
    version = Version(python.removeprefix("python="))
    assert version in SpecifierSet(PROJECT["requires-python"])
    index, constraints, package = section["pip"]
    assert index == "--extra-index-url https://download.pytorch.org/whl/cpu"
    assert constraints == "-c constraints.txt"
    named = re.fullmatch(r"-e \.\[(.+)\]", package)
    assert named is not None
    assert set(named[1].split(",")) <= set(EXTRAS)


def test_every_dependency_is_pinned_within_its_bounds() -> None:
    pins: dict[str, list[Requirement]] = {}
    text = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            pins.setdefault(pin.name, []).append(pin)
    assert "://" not in text
    asked = [*PROJECT["dependencies"], *(one for extra in EXTRAS.values() for one in extra)]
    for requirement in map(Requirement, asked):
        if requirement.name == PROJECT["name"]:
            assert requirement.extras <= set(EXTRAS)
            continue
        assert requirement.name in pins, f"{requirement.name} is not in constraints.txt"
        for pin in pins[requirement.name]:
            (specifier,) = pin.specifier
            assert specifier.operator == "=="
            assert requirement.specifier.contains(specifier.version), f"{pin} vs {requirement}"


def test_dev_installs_what_the_tests_import() -> None:
    names = {Requirement(one).name for extra in EXTRAS.values() for one in extra}
    assert {"pytest", "pytest-xdist", "nbval", "playwright", "nbclient", "typer"} <= names


def test_hooks_are_local_and_their_tools_are_installed_by_dev() -> None:
    hooks = []
    for repository in _yaml(".pre-commit-config.yaml")["repos"]:
        assert repository["repo"] == "local"
        hooks += repository["hooks"]
    tools = {hook["entry"].split()[0] for hook in hooks}
    assert tools == {"ruff", "mypy", "ncourse"}
    assert tools - {"ncourse"} <= {Requirement(one).name for one in EXTRAS["dev"]}


def test_ci_runs_the_readmes_test_command() -> None:
    script = REPOSITORY / ".ci" / "run"
    assert os.name == "nt" or os.access(script, os.X_OK)
    lines = script.read_text(encoding="utf-8").rstrip().splitlines()
    assert lines[-1] == "make test"
    assert "set -euo pipefail" in lines
    assert "make test" in (REPOSITORY / "README.md").read_text(encoding="utf-8")


@pytest.mark.skipif(os.name == "nt", reason="make and a shell script")
def test_make_says_so_when_python_is_too_old(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((REPOSITORY / name).read_bytes())
    old = tmp_path / "old-python"
    # A Python that believes it is 3.9: it runs the Makefile's check with another version_info.
    old.write_text(
        "#!/bin/sh\n"
        'exec python3 -c "import sys; sys.version_info = (3, 9, 1); exec(sys.argv[1])" "$2"\n'
    )
    old.chmod(0o755)
    run = subprocess.run(
        ["make", "course", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode != 0
    assert "ncourse needs Python 3.11 or newer; this is 3.9." in run.stderr
    assert not (tmp_path / ".venv").exists()
