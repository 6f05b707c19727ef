"""Light to install: what works without the extras, and the one line that names a missing one."""

import os
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

from ncourse import data, features

ROOT = Path(__file__).parents[1]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "optional-dependencies"
]
MODULES = {"jupyterlab": "jupyterlab", "pillow": "PIL", "markdown-it-py": "markdown_it",
           "sphinx-revealjs": "sphinx_revealjs"}  # fmt: skip
COURSE = [Requirement(line).name for line in EXTRAS["course"]]
ABSENT = sorted(
    {MODULES.get(name, name.replace("-", "_")) for name in COURSE} - {"ncourse"}
    | {"torchvision", "safetensors", "IPython"}
)


def without(
    modules: list[str], code: str, folder: Path, *, first: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a line of Python as if these packages were not installed; `first` before that."""
    lines = f"{first}\nimport sys; sys.modules.update(dict.fromkeys({modules!r}))\n{code}"
    return subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, cwd=folder)


def command(*words: str) -> str:
    return f"sys.argv = {['ncourse', *words]!r}\nfrom ncourse.course.cli import main; main()"


def test_the_command_is_typer_and_rich_only():
    assert {Requirement(line).name for line in EXTRAS["cli"]} == {"rich", "typer"}


def test_measuring_a_file_needs_no_more_than_the_command(tmp_path):
    h, y = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 2
    features.save(tmp_path / "a.npz", h, y)
    done = without(ABSENT, command("measure", "a.npz"), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "20 samples, 2 classes" in done.stdout


@pytest.mark.parametrize("words", [("list",), ("build", "--stored")])
def test_a_command_that_needs_more_says_so_in_one_line(words):
    done = without(ABSENT, command(*words), ROOT)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert 'is not installed; this needs: pip install "ncourse[course]"' in done.stderr


LIBRARY = """
import torch
from pathlib import Path
from ncourse.metrics import CollapseMetric
from ncourse.models import resnet18
from ncourse.training import History
from ncourse import data, features
metric = CollapseMetric(2)
metric.update(torch.randn(20, 3), torch.arange(20) % 2)
Path("a.safetensors").touch()
for function, says in [
    (metric.plot, "drawing needs: pip install matplotlib"),
    (History({"epoch": [1]}).plot, 'drawing needs: pip install "ncourse[course]"'),
    (lambda: resnet18((3, 8, 8), 2), 'resnet18 needs: pip install "ncourse[vision]"'),
    (lambda: features.load("a.safetensors"), "it needs: pip install safetensors"),
    (lambda: __import__("ncourse.runs"), 'run folders need: pip install "ncourse[cli]"'),
]:
    try:
        function()
    except (ImportError, ValueError) as error:
        assert str(error).endswith(says), error
        assert "\\n" not in str(error)
    else:
        raise AssertionError(says)
"""


def test_what_the_library_lacks_is_named_in_one_line(tmp_path):
    # torchmetrics asks the package index whether there is matplotlib, and would believe it.
    done = without([*ABSENT, "rich", "typer"], LIBRARY, tmp_path, first="import torchmetrics")
    assert done.returncode == 0, done.stderr


def test_a_data_set_is_one_line():
    shown = repr(data.digits())
    expected = "Dataset('digits': 1400 training and 397 test samples of 1 x 8 x 8, 10 classes)"
    assert shown == expected


def test_hidden_folders_and_files_are_no_images(tmp_path):
    from PIL import Image

    for split in ("train", "test"):
        for name in ("a", "b", ".ipynb_checkpoints", "a/.hidden"):
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("RGB", (4, 4)).save(tmp_path / split / name / "one.png")
        (tmp_path / split / "b" / "._two.png").write_bytes(b"not an image")
    found = data.image_folder(tmp_path, size=4)
    assert found.class_names == ("a", "b")
    assert (len(found.labels), len(found.test_labels)) == (2, 2)


@pytest.mark.slow
def test_a_wheel_carries_the_course(tmp_path):
    """Built, installed into a new environment beside the dependencies of this one, and used."""
    source = tmp_path / "source"  # so that nothing of an earlier build is in it
    kept = shutil.ignore_patterns(".*", "__pycache__", "_build", "build", "my-course", "*.egg-info")
    shutil.copytree(ROOT, source, ignore=kept)
    wheel = ["wheel", "--no-deps", "--no-build-isolation", "--quiet", "-w", str(tmp_path)]
    pip = ["-m", "pip", "--disable-pip-version-check"]
    subprocess.run([sys.executable, *pip, *wheel, str(source)], check=True)
    (built,) = tmp_path.glob("ncourse-*.whl")
    home = tmp_path / "environment"
    venv.create(home, with_pip=False)
    folder = home / ("Scripts" if os.name == "nt" else "bin")
    python = folder / "python"
    code = "import site; print(site.getsitepackages()[0])"
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = {"check": True, "capture_output": True, "text": True}
    place = Path(subprocess.run([python, "-c", code], env=bare, **run).stdout.strip())
    target = ["install", "--no-deps", "--no-index", "--quiet", "--target", str(place)]
    subprocess.run([sys.executable, *pip, *target, str(built)], check=True)
    (place / "shared.pth").write_text(str(Path(torch.__file__).parents[1]))
    stub = tmp_path / "stub" / "jupyterlab"
    stub.mkdir(parents=True)
    (stub / "__init__.py").touch()
    (stub / "__main__.py").write_text("import os; print('opened', os.getcwd())")
    away = tmp_path / "away"
    away.mkdir()
    env = {**os.environ, "PYTHONPATH": str(stub.parent), "COLUMNS": "120"}
    cli = [python, "-m", "ncourse.course.cli"]

    def ncourse(*words: str) -> str:
        return subprocess.run([*cli, *words], cwd=away, env=env, **run).stdout

    where = subprocess.run([python, "-c", "import ncourse; print(ncourse.__file__)"],
                           cwd=away, env=bare, **run).stdout  # fmt: skip
    assert str(place) in where
    assert "Simplex geometry" in ncourse("list")
    assert f"opened {away / 'my-course'}" in ncourse("lab")
    assert len(list((away / "my-course").glob("*.ipynb"))) >= 11
    assert (away / "my-course" / "recorded").is_dir()
    assert "Watching collapse" in ncourse("progress")
    ncourse("assign", "1", "--out", "out")
    assert (away / "out" / "assignment-01.ipynb").is_file()
