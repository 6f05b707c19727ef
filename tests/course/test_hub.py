"""The recipe for a JupyterHub: what its image takes, and what it does when a server starts."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
RECIPE = REPOSITORY / "hub" / "Dockerfile"


def test_the_image_takes_files_that_there_are_and_the_tested_versions() -> None:
    recipe = RECIPE.read_text(encoding="utf-8")
    copied = re.findall(r"^COPY (?:--\S+ )?(.+) \S+$", recipe, re.MULTILINE)
    names = " ".join(copied).split()
    assert {"ncourse", "notebooks", "book.toml", "constraints.txt", "hub/start"} <= set(names)
    assert [name for name in names if not (REPOSITORY / name).exists()] == []
    installs = re.findall(r"pip install [^&]+", recipe)
    assert installs
    assert all("-c constraints.txt" in install for install in installs)
    assert recipe.index("pip install") < recipe.index("USER 1000")  # read-only for who works in it


@pytest.mark.skipif(os.name == "nt", reason="the image is Linux")
def test_a_student_who_starts_has_a_copy_and_keeps_what_is_written_in_it(tmp_path: Path) -> None:
    programs, home = tmp_path / "bin", tmp_path / "home"
    programs.mkdir()
    home.mkdir()
    python = f'exec "{sys.executable}" "$@"'
    server = 'echo "in $PWD with $*"'
    for name, program in {"python": python, "jupyterhub-singleuser": server}.items():
        (programs / name).write_text(f"#!/bin/sh\n{program}\n")
        (programs / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{programs}:/usr/bin:/bin",
        "HOME": str(home),
        "COURSE": str(REPOSITORY),
        "PYTHONPATH": str(REPOSITORY),
    }

    def start() -> str:
        command = [str(REPOSITORY / "hub" / "start"), "--port=1"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd="/")
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert start().endswith(f"in {home} with --port=1\n")
    mine = home / "course" / "01-simplex-geometry.ipynb"
    assert (home / "course" / "recorded" / "05-hong2024.json").is_file()
    mine.write_text("mine")
    (home / "course" / "notation.md").write_text("mine too")
    start()
    assert mine.read_text() == "mine"
    assert (home / "course" / "notation.md").read_text() == "mine too"
