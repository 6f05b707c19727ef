"""The lines that install the course where it is not: run in an environment of their own."""

import json
import os
import site
import subprocess
import venv
from dataclasses import replace
from pathlib import Path

import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from ncourse.course.assignments import assignment
from ncourse.course.manifest import Book, load, with_install_lines
from ncourse.course.notebooks import cells

REPOSITORY = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture
def published(tmp_path: Path) -> Book:
    """The course as a bare repository publishes it: the commit that is checked out here."""
    if not (REPOSITORY / ".git").exists():
        pytest.skip("this is no checkout")
    bare = tmp_path / "course.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(REPOSITORY), str(bare)], check=True)
    return replace(load(REPOSITORY / "book.toml"), repository=bare.as_uri())


@pytest.fixture
def without_the_course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a kernel that has, like Colab, PyTorch and Jupyter, and no `ncourse`."""
    place = tmp_path / "environment"
    venv.create(place, with_pip=True)
    python = place / "bin" / "python"
    here = subprocess.run(
        [python, "-c", "import site; print(site.getsitepackages()[0])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    # A path in a .pth file brings packages, and not the editable installation of this one.
    Path(here, "others.pth").write_text("\n".join(site.getsitepackages()))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert subprocess.run([python, "-c", "import torch, ipykernel"], cwd=tmp_path).returncode == 0
    found = subprocess.run(
        [python, "-c", "import ncourse"], cwd=tmp_path, capture_output=True, text=True
    )
    assert "No module named 'ncourse'" in found.stderr
    kernel = tmp_path / "jupyter" / "kernels" / "bare"
    kernel.mkdir(parents=True)
    command = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    described = {"argv": command, "display_name": "bare", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(described))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    return "bare"


def test_a_chapter_installs_the_course_and_leaves_the_reader_where_he_is(
    published: Book, without_the_course: str, tmp_path: Path
) -> None:
    first = next(
        cell.source
        for cell in cells(published.path(published.chapter(5)))
        if cell.cell_type == "code"
    )
    code = [
        "import os\nbefore = os.getcwd()",
        with_install_lines(published, first),
        'print(Recording.load("recorded/05-hong2024.json").command)',
        "import ncourse\nassert os.getcwd() == before\nprint(ncourse.__file__)",
    ]
    notebook = new_notebook(cells=[new_code_cell(source) for source in code])
    mine = tmp_path / "mine"
    mine.mkdir()
    run(notebook, without_the_course, mine)
    assert "ncourse record hong2024" in notebook.cells[2].outputs[0].text
    assert str(tmp_path / "environment") in notebook.cells[3].outputs[0].text
    assert sorted(path.name for path in mine.iterdir()) == ["recorded"]


def test_an_assignment_runs_where_nothing_of_the_course_is(
    published: Book, without_the_course: str, tmp_path: Path
) -> None:
    notebook = assignment(published, published.chapter(1), solutions=False)
    mine = tmp_path / "mine"
    mine.mkdir()
    run(notebook, without_the_course, mine)
    said = str([cell.get("outputs") for cell in notebook.cells if cell.id.startswith("answer")])
    assert said.count("not attempted") >= 6
    assert list(mine.iterdir()) == []


def run(notebook, kernel: str, folder: Path) -> None:
    quiet = ["--log-level=CRITICAL"]
    client = NotebookClient(notebook, kernel_name=kernel, timeout=600, extra_arguments=quiet)
    client.execute(cwd=str(folder), env={**os.environ, "OMP_NUM_THREADS": "1"})
