"""What tests of the course share: a small book, a console, and a spy on what is run."""

import io
from pathlib import Path

import pytest
from nbformat import NotebookNode
from rich.console import Console

from ncourse.course import execution
from ncourse.course.manifest import Book, load


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO())


@pytest.fixture
def book(course: Path) -> Book:
    return load(course / "book.toml")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The notebooks that are really run, in the order in which they are started."""
    started: list[str] = []
    run = execution._run

    async def spy(notebook: NotebookNode, file: str, *rest: object) -> str | None:
        started.append(file)
        return await run(notebook, file, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(execution, "_run", spy)
    return started


@pytest.fixture
def package(course: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small `ncourse` to depend on: two modules, and one below the first."""
    folder = course / "ncourse"
    (folder / "papers").mkdir(parents=True)
    (folder / "exercises").mkdir()
    files = {
        "__init__.py": "",
        "simplex.py": "from ncourse import below\n",
        "below.py": "",
        "claims.py": "",
        "papers/__init__.py": "",
        "papers/jacot2024.py": "from . import other\nfrom ..below import x\n",
        "papers/other.py": "",
        "exercises/__init__.py": "import importlib\nfrom ncourse.exercises import chapter01\n",
        "exercises/chapter01.py": "import ncourse.claims\n",
        "exercises/chapter02.py": "",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    monkeypatch.setattr(execution, "PACKAGE", folder)
    return folder
