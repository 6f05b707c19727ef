"""Running notebooks, keeping their outputs, and building the site; on small courses, for real."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output
from rich.console import Console

from ncourse import site
from ncourse.book import Book, load
from ncourse.pages import ClaimsError

Save = Callable[[Path, list[str]], None]


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
    run = site._run

    async def spy(notebook: NotebookNode, file: str, *rest: object) -> str | None:
        started.append(file)
        return await run(notebook, file, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(site, "_run", spy)
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
    monkeypatch.setattr(site, "PACKAGE", folder)
    return folder


def test_what_is_printed_around_a_progress_bar_is_one_output() -> None:
    bar = new_output("stream", name="stderr", text=" 40%|████      | 4/10 [00:01<00:02,  2.5it/s]")
    printed = [new_output("stream", name="stdout", text=text) for text in ("a\n", "b\n")]
    cell = new_code_cell("x", outputs=[printed[0], bar, printed[1]])
    (only,) = site.clean(new_notebook(cells=[cell])).cells[0].outputs
    assert only.text == "a\nb\n"
    other = new_output("stream", name="stderr", text="careful\n")
    cell = new_code_cell("x", outputs=[printed[0], other, printed[1]])
    assert len(site.clean(new_notebook(cells=[cell])).cells[0].outputs) == 3


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
        for path in site.modules_used([source], 9)
    }
    assert found - {"__init__", "exercises/__init__"} == set(expected.split()) - {
        "__init__",
        "exercises/__init__",
    }


def test_exercises_of_a_chapter_belong_to_it_alone(package: Path) -> None:
    source = ["from ncourse.exercises import hint"]
    one, two = ({path.name for path in site.modules_used(source, number)} for number in (1, 2))
    assert one == {"__init__.py", "chapter01.py", "claims.py"}
    assert two == {"__init__.py", "chapter02.py"}


# --- running, and not running again -------------------------------------------------------------


def test_only_what_depends_on_a_change_runs_again(
    book: Book, package: Path, console: Console, runs: list[str], save: Save
) -> None:
    def again() -> list[str]:
        runs.clear()
        site.execute(book, book.chapters, console)
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
    notebook = site.read(book.path(book.chapters[0]))
    notebook.cells[-1].source += "\nprint('new')"
    site.write(notebook, book.path(book.chapters[0]))
    assert again() == both[:1]
    # Prose does not run anything, and reaches the page.
    notebook.cells[-2].source += "\n\nOne more sentence."
    site.write(notebook, book.path(book.chapters[0]))
    assert again() == []
    one, _ = site.execute(book, book.chapters, console)
    assert one.cells[-2].source.endswith("One more sentence.")
    assert one.cells[-1].outputs[0].text == "42\nnew\n"


def test_the_kernel_has_one_thread_and_the_notebooks_folder(
    book: Book, console: Console, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    (book.folder / "recorded" / "01-x.json").write_text("[3]")
    code = "import os\nprint(os.environ['OMP_NUM_THREADS'], open('recorded/01-x.json').read())"
    save(book.folder / "01-one.ipynb", ["# h", code])
    (one,) = site.execute(book, book.chapters[:1], console)
    assert one.cells[1].outputs[0].text == "1 [3]\n"


def test_a_failing_notebook_is_named_and_the_others_are_kept(
    book: Book, console: Console, runs: list[str], save: Save
) -> None:
    save(book.folder / "01-one.ipynb", ["# h", "x = 1", "# text", "y = x / 0", "print('never')"])
    with pytest.raises(site.NotebookError) as caught:
        site.execute(book, book.chapters, console)
    message = str(caught.value)
    assert "01-one.ipynb, cell 4 of 5: ZeroDivisionError: division by zero" in message
    assert "y = x / 0" in message
    assert "02-two" not in message
    runs.clear()
    with pytest.raises(site.NotebookError):
        site.execute(book, book.chapters, console)
    assert runs == ["01-one.ipynb"]


def test_a_cell_that_takes_too_long_and_a_kernel_that_dies(
    book: Book, console: Console, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site, "CELL_TIMEOUT", 2)
    save(book.folder / "01-one.ipynb", ["# h", "import time\ntime.sleep(60)"])
    save(book.folder / "02-two.ipynb", ["# h", "import os\nos._exit(1)"])
    with pytest.raises(site.NotebookError) as caught:
        site.execute(book, book.chapters, console)
    message = str(caught.value)
    assert "01-one.ipynb, cell 2 of 2: it took more than 2 s" in message
    assert "02-two.ipynb, cell 2 of 2: the kernel died" in message


# --- what is stored -----------------------------------------------------------------------------


def _shown(*outputs: NotebookNode) -> list[NotebookNode]:
    cell = new_code_cell(
        "1",
        outputs=list(outputs),
        metadata={"tags": ["x"], "execution": {"iopub.status.busy": "2020-01-01T00:00:00Z"}},
    )
    notebook = new_notebook(cells=[cell], metadata={"widgets": {}, "language_info": {"name": "p"}})
    cleaned = site.clean(notebook)
    assert len(cell.outputs) == len(outputs), "clean changed its argument"
    assert cleaned.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert cleaned.cells[0].metadata == {"tags": ["x"]}
    return list(cleaned.cells[0].outputs)


VIEW = {site.WIDGET_VIEW: {"model_id": "1"}, "text/plain": "  0%|          | 0/5"}


def test_clean_drops_progress_bars() -> None:
    assert _shown(new_output("display_data", VIEW)) == []
    bar = "\r 40%|████      | 2/5 [00:00<00:01,  2.5it/s]\r100%|██████████| 5/5 [00:02<00:00]\n"
    assert _shown(new_output("stream", name="stderr", text=bar)) == []
    assert _shown(new_output("stream", name="stderr", text="\r3it [00:01,  2.5it/s]\n")) == []
    warned = _shown(new_output("stream", name="stderr", text=bar + "UserWarning: look here\n"))
    assert [output.text for output in warned] == ["UserWarning: look here\n"]
    printed = new_output("stream", name="stdout", text="accuracy 40%|yes| 4\n")
    assert _shown(printed) == [printed]


def test_clean_keeps_the_html_of_a_slider() -> None:
    (slider,) = _shown(new_output("display_data", {**VIEW, "text/html": "<div>frames</div>"}))
    assert set(slider.data) == {"text/plain", "text/html"}


def test_outputs_go_into_the_notebooks_and_are_stable(book: Book, console: Console) -> None:
    paths = [book.path(chapter) for chapter in book.chapters]
    before = [path.read_bytes() for path in paths]
    site.outputs(book, book.chapters[1:], console)
    assert paths[0].read_bytes() == before[0]
    assert site.read(paths[1]).cells[3].outputs[0].data["text/plain"] == "56"
    site.outputs(book, book.chapters, console)
    after = [path.read_bytes() for path in paths]
    site.outputs(book, book.chapters, console)
    assert [path.read_bytes() for path in paths] == after
    for path in paths:
        nbformat.validate(nbformat.read(path, as_version=4))
    assert sorted(path.name for path in book.folder.iterdir()) == sorted(
        ["01-one.ipynb", "02-two.ipynb", "assets", "index.md", "recorded", "references.bib"]
    )


def test_a_write_that_fails_leaves_the_old_notebook(
    book: Book, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = book.path(book.chapters[1])
    before = path.read_bytes()
    (notebook,) = site.execute(book, book.chapters[1:], console)

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        site.write(notebook, path)
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
        [sys.executable, "-m", "ncourse.cli", "outputs"],
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


# --- made from the manifest ---------------------------------------------------------------------


def test_sync_is_needed_once(course: Path) -> None:
    manifest = course / "book.toml"
    assert site.sync(load(manifest)) == []
    manifest.write_text(manifest.read_text().replace('title = "Two"', 'title = "Second"'))
    book = load(manifest)
    two = book.path(book.chapters[1])
    cells_before = site.read(two).cells
    picture = book.folder / "assets" / "map.svg"
    assert site.sync(book) == [two, picture, course / "README.md"]
    assert site.sync(book) == []
    cells = site.read(two).cells
    assert cells[0].source.startswith("# 2. Second\n")
    assert cells[1:] == cells_before[1:]
    assert "[Second](notebooks/02-two.ipynb)" in (course / "README.md").read_text()


def test_sync_adds_a_missing_header_and_colab_lines(course: Path, save: Save) -> None:
    save(course / "notebooks" / "01-one.ipynb", ["import os"])
    manifest = course / "book.toml"
    manifest.write_text(manifest.read_text().replace('repository = ""', 'repository = "me/it"'))
    book = load(manifest)
    site.sync(book)
    header, imports = site.read(book.path(book.chapters[0])).cells
    assert header.source.startswith("# 1. One")
    assert imports.source.startswith("# On Colab only")
    assert imports.source.endswith("\n\nimport os")
    assert site.sync(book) == []


def test_a_working_copy_is_never_overwritten(book: Book) -> None:
    (book.folder / "notation.md").write_text("# Notation")
    (book.folder / "assets" / "make.py").write_text("")
    recorded = book.folder / "recorded" / "01-seeds.json"
    recorded.write_text("[1]")
    folder = site.working_copy(book)
    assert (folder / "notation.md").is_file()
    assert (folder / "assets" / "map.svg").is_file()
    assert not (folder / "assets" / "make.py").exists()
    mine = folder / "01-one.ipynb"
    assert mine.read_bytes() == book.path(book.chapters[0]).read_bytes()
    mine.write_text("my answers")
    recorded.write_text("[2]")
    for expected in ("01-one.fresh.ipynb", "01-one.fresh-2.ipynb", "01-one.fresh-3.ipynb"):
        site.working_copy(book, fresh=book.chapters[0])
        assert (folder / expected).read_bytes() == book.path(book.chapters[0]).read_bytes()
        (folder / expected).write_text(expected)
    assert mine.read_text() == "my answers"
    assert (folder / "01-one.fresh.ipynb").read_text() == "01-one.fresh.ipynb"
    assert (folder / "recorded" / "01-seeds.json").read_text() == "[2]"
    (folder / "02-two.ipynb").unlink()
    site.working_copy(book)
    assert (folder / "02-two.ipynb").exists()


# --- the site -----------------------------------------------------------------------------------


def test_build_then_nothing_to_do_then_one_page_less(
    course: Path, console: Console, runs: list[str]
) -> None:
    tree = {path: path.read_bytes() for path in course.rglob("*") if path.is_file()}
    book = load(course / "book.toml")
    page = site.build(book, console)
    assert page == course / "_build" / "html" / "index.html"
    assert "42" in (page.parent / "01-one.html").read_text()
    index = page.read_text()
    assert 'href="02-two.html"' in index
    assert "First 2020" in index
    claims = (page.parent / "claims.html").read_text()
    assert 'href="02-two.html#claim-2-1"' in claims
    assert 'id="claim-2-1"' in (page.parent / "02-two.html").read_text()
    assert "On tests" in (page.parent / "references.html").read_text()
    assert (page.parent / "_sources" / "01-one.ipynb").is_file()
    for html in page.parent.glob("*.html"):
        text = html.read_text()
        assert "unpkg.com" not in text
        assert "colab" not in text.lower()
        assert "mybinder" not in text
    outside = {
        path: path.read_bytes()
        for path in course.rglob("*")
        if path.is_file() and "_build" not in path.parts
    }
    assert outside == tree, "the build wrote outside _build"

    built = page.stat().st_mtime_ns
    runs.clear()
    start = time.perf_counter()
    site.build(book, console)
    assert time.perf_counter() - start < 2
    assert runs == []
    assert page.stat().st_mtime_ns == built

    manifest = course / "book.toml"
    head, _, _ = manifest.read_text().rpartition("[[parts.chapters]]")
    head = head.replace("chapters = [1, 2]", "chapters = [1]")
    manifest.write_text(head.replace('repository = ""', 'repository = "me/it"'))
    book = load(manifest)
    site.sync(book)
    site.build(book, console)
    assert not (page.parent / "02-two.html").exists()
    links = (page.parent / "01-one.html").read_text()
    assert "colab.research.google.com/github/me/it/blob/main/notebooks/01-one.ipynb" in links
    assert "mybinder.org/v2/gh/me/it/main?urlpath=lab/tree/notebooks/01-one.ipynb" in links


def test_a_warning_fails_the_build_each_time(book: Book, console: Console, save: Save) -> None:
    save(book.folder / "01-one.ipynb", ["# h", "import os", "# ## A\n\n[gone](nowhere.md#there)"])
    site.sync(book)
    for _ in range(2):
        with pytest.raises(site.SiteError, match=r"01-one\.ipynb:.*nowhere"):
            site.build(book, console)


def test_a_claim_that_is_missing_fails_the_build(book: Book, console: Console, save: Save) -> None:
    save(book.folder / "02-two.ipynb", ["# h", "import os"])
    site.sync(book)
    with pytest.raises(ClaimsError, match=r"02-two\.ipynb has no claim about First 2020"):
        site.build(book, console)


def test_the_configuration_is_json_that_jupyter_book_accepts(book: Book) -> None:
    from jupyter_book.config import validate_yaml

    settings = json.loads(json.dumps(site.configuration(book)))
    validate_yaml(settings, raise_on_errors=True)
    assert settings["execute"]["execute_notebooks"] == "off"
