"""Running notebooks and keeping their outputs; on small courses, for real."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from rich.console import Console

from ncourse.course import execution
from ncourse.course.manifest import Book
from ncourse.course.notebooks import read, write

Save = Callable[[Path, list[str]], None]


# --- what a run depends on ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import ncourse.simplex as s", "simplex below"),
        ("from ncourse import claims", "claims"),
        (
            "from ncourse.papers import jacot2024",
            "papers/__init__ papers/jacot2024 papers/other below",
        ),
        ("%matplotlib inline\nimport numpy\nfrom ncourse.below import x", "below"),
        ("if True:\n    def f():\n        import ncourse.claims", "claims"),
        ("from ncourse.exercises import hint", "exercises/__init__"),
        ("def broken(:", ""),
    ],
)
def test_modules_used(package: Path, source: str, expected: str) -> None:
    found = {
        path.relative_to(package).with_suffix("").as_posix()
        for path in execution.modules_used([source], 9)
    }
    assert found - {"__init__", "exercises/__init__"} == set(expected.split()) - {
        "__init__",
        "exercises/__init__",
    }


def test_exercises_of_a_chapter_belong_to_it_alone(package: Path) -> None:
    source = ["from ncourse.exercises import hint"]
    one, two = ({path.name for path in execution.modules_used(source, number)} for number in (1, 2))
    assert one == {"__init__.py", "chapter01.py", "claims.py"}
    assert two == {"__init__.py", "chapter02.py"}


# --- running, and not running again -------------------------------------------------------------


def test_only_what_depends_on_a_change_runs_again(
    book: Book, package: Path, console: Console, runs: list[str], save: Save
) -> None:
    def again() -> list[str]:
        runs.clear()
        execution.execute(book, book.chapters, console)
        return sorted(runs)

    both = ["01-one.ipynb", "02-two.ipynb"]
    assert again() == both
    assert again() == []
    # A module that chapter 1 imports through another; a module that nobody imports; one of each.
    (package / "below.py").write_text("x = 1\n")
    assert again() == both[:1]
    (package / "papers" / "other.py").write_text("x = 1\n")
    assert again() == []
    (package / "exercises" / "chapter02.py").write_text("x = 1\n")
    assert again() == both[1:]
    (package / "__init__.py").write_text("x = 1\n")
    assert again() == both
    # A recording, the pinned versions, the code of a notebook.
    (book.folder / "recorded" / "02-seeds.json").write_text("{}")
    assert again() == both[1:]
    (book.root / "constraints.txt").write_text("numpy==2.1\n")
    assert again() == both
    notebook = read(book.path(book.chapters[0]))
    notebook.cells[-1].source += "\nprint('new')"
    write(notebook, book.path(book.chapters[0]))
    assert again() == both[:1]
    # Prose does not run anything, and reaches the page.
    notebook.cells[-2].source += "\n\nOne more sentence."
    write(notebook, book.path(book.chapters[0]))
    assert again() == []
    one, _ = execution.execute(book, book.chapters, console)
    assert one.cells[-2].source.endswith("One more sentence.")
    assert one.cells[-1].outputs[0].text == "42\nnew\n"


def test_what_took_longest_the_last_time_starts_first(
    book: Book, package: Path, console: Console, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "NOTEBOOKS_AT_ONCE", 1)
    execution.execute(book, book.chapters, console)
    assert runs == ["01-one.ipynb", "02-two.ipynb"], "those of which nothing is known"
    for chapter, seconds in zip(book.chapters, (1.0, 2.0), strict=True):
        path = execution._kept_run_path(book, chapter)
        kept = read(path)
        assert 0 < kept.metadata.ncourse_seconds < 60
        kept.metadata.ncourse_seconds = seconds
        write(kept, path)
    runs.clear()
    (package / "__init__.py").write_text("x = 1\n")
    one, _ = execution.execute(book, book.chapters, console)
    assert runs == ["02-two.ipynb", "01-one.ipynb"]
    assert one.cells[-1].outputs[0].text == "42\n", "and each has its own outputs"
    execution._kept_run_path(book, book.chapters[0]).write_text("{")
    assert execution._last_seconds(book, book.chapters[0]) == float("inf")


def test_the_kernel_has_one_thread_and_the_notebooks_folder(
    book: Book, console: Console, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    (book.folder / "recorded" / "01-x.json").write_text("[3]")
    code = "import os\nprint(os.environ['OMP_NUM_THREADS'], open('recorded/01-x.json').read())"
    save(book.folder / "01-one.ipynb", ["# h", code])
    (one,) = execution.execute(book, book.chapters[:1], console)
    assert one.cells[1].outputs[0].text == "1 [3]\n"


def test_a_failing_notebook_is_named_and_the_others_are_kept(
    book: Book, console: Console, runs: list[str], save: Save
) -> None:
    save(book.folder / "01-one.ipynb", ["# h", "x = 1", "# text", "y = x / 0", "print('never')"])
    with pytest.raises(execution.NotebookError) as caught:
        execution.execute(book, book.chapters, console)
    message = str(caught.value)
    assert "01-one.ipynb, cell 4 of 5: ZeroDivisionError: division by zero" in message
    assert "y = x / 0" in message
    assert "02-two" not in message
    runs.clear()
    with pytest.raises(execution.NotebookError):
        execution.execute(book, book.chapters, console)
    assert runs == ["01-one.ipynb"]


def test_a_cell_that_takes_too_long_and_a_kernel_that_dies(
    book: Book, console: Console, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "CELL_TIMEOUT", 2)
    save(book.folder / "01-one.ipynb", ["# h", "import time\ntime.sleep(60)"])
    save(book.folder / "02-two.ipynb", ["# h", "import os\nos._exit(1)"])
    with pytest.raises(execution.NotebookError) as caught:
        execution.execute(book, book.chapters, console)
    message = str(caught.value)
    assert "01-one.ipynb, cell 2 of 2: it took more than 2 s" in message
    assert "02-two.ipynb, cell 2 of 2: the kernel died" in message


# --- what is stored ------------------------------------------------------------------------------


def test_outputs_go_into_the_notebooks_and_are_stable(book: Book, console: Console) -> None:
    paths = [book.path(chapter) for chapter in book.chapters]
    before = [path.read_bytes() for path in paths]
    execution.outputs(book, book.chapters[1:], console)
    assert paths[0].read_bytes() == before[0]
    assert read(paths[1]).cells[3].outputs[0].data["text/plain"] == "56"
    execution.outputs(book, book.chapters, console)
    after = [path.read_bytes() for path in paths]
    execution.outputs(book, book.chapters, console)
    assert [path.read_bytes() for path in paths] == after
    for path in paths:
        nbformat.validate(nbformat.read(path, as_version=4))
    assert sorted(path.name for path in book.folder.iterdir()) == sorted(
        ["01-one.ipynb", "02-two.ipynb", "assets", "index.md", "recorded", "references.bib"]
    )


def test_stored_outputs_are_those_of_a_run(
    book: Book, console: Console, runs: list[str], save: Save
) -> None:
    with pytest.raises(execution.NotebookError) as caught:
        execution.stored(book, book.chapters)
    first, second = str(caught.value).splitlines()
    assert first.startswith("01-one.ipynb, cell 2 of 4 has no stored outputs")
    assert "`ncourse outputs 2` runs" in second
    execution.outputs(book, book.chapters, console)
    ran = execution.execute(book, book.chapters, console)
    runs.clear()
    assert execution.stored(book, book.chapters) == ran
    assert runs == []
    # A cell without code never runs; one that is added has not.
    notebook = read(book.path(book.chapters[0]))
    notebook.cells.append(nbformat.v4.new_code_cell("", id="empty"))
    write(notebook, book.path(book.chapters[0]))
    assert len(execution.stored(book, book.chapters)) == 2
    notebook.cells[-1].source = "1"
    write(notebook, book.path(book.chapters[0]))
    with pytest.raises(execution.NotebookError, match=r"01-one\.ipynb, cell 5 of 5"):
        execution.stored(book, book.chapters)


def test_a_write_that_fails_leaves_the_old_notebook(
    book: Book, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = book.path(book.chapters[1])
    before = path.read_bytes()
    (notebook,) = execution.execute(book, book.chapters[1:], console)

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        write(notebook, path)
    assert path.read_bytes() == before


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_a_kill_half_way_leaves_the_old_notebooks(
    book: Book, save: Save, number: signal.Signals, code: int
) -> None:
    sleep = "import os, time\nopen('{}', 'w').write(str(os.getpid()))\ntime.sleep(300)"
    markers = [book.folder / "started-1", book.folder / "started-2"]
    for chapter, marker in zip(book.chapters, markers, strict=True):
        save(book.path(chapter), ["# h", sleep.format(marker.name)])
    before = [book.path(chapter).read_bytes() for chapter in book.chapters]
    process = subprocess.Popen(
        [sys.executable, "-m", "ncourse.course.cli", "outputs"],
        cwd=book.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    _wait_until(lambda: all(marker.exists() and marker.read_text() for marker in markers))
    process.send_signal(number)
    assert process.wait(timeout=30) == code
    assert [book.path(chapter).read_bytes() for chapter in book.chapters] == before
    kernels = [int(marker.read_text()) for marker in markers]
    _wait_until(lambda: not any(map(_alive, kernels)))


def _alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)
