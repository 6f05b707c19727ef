"""`ncourse new`: stubs that pass what is asked of every chapter, or nothing at all."""

import importlib
import inspect
import itertools
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
import test_exercises
import test_notebooks
import test_papers
from click.testing import Result
from course import test_slides, test_teaching
from rich.console import Console
from typer.testing import CliRunner

from ncourse import exercises, papers
from ncourse.course import cli, execution, new
from ncourse.course.manifest import Book, load

REPOSITORY = Path(__file__).parents[2]
LAID = [
    "ncourse/exercises/chapter77.py",
    "notebooks/teaching/77.md",
    "ncourse/papers/nobody2077.py",
    "tests/test_nobody2077.py",
    "notebooks/references.bib",
    "book.toml",
    "notebooks/77-an-empty-room.ipynb",
]


def files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def run(folder: Path, *arguments: str) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return CliRunner().invoke(cli.app, list(arguments), catch_exceptions=False)


# --- what is laid -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository, as far as chapters are concerned, with a new chapter in it."""
    root = tmp_path_factory.mktemp("checkout")
    compiled = shutil.ignore_patterns("__pycache__")
    for name in ("ncourse", "notebooks"):
        shutil.copytree(REPOSITORY / name, root / name, ignore=compiled)
    for name in ("book.toml", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, root)
    (root / "tests").mkdir()
    before = files(root)
    result = run(root, "new", "77", "an-empty-room", "nobody2077")
    assert result.exit_code == 0, result.output
    after = files(root)
    assert [name for name in LAID if f"wrote {name}\n" in result.stdout] == LAID
    assert {name for name in after if after[name] != before.get(name)} == set(LAID)
    for name in ("book.toml", "notebooks/references.bib"):
        assert after[name].startswith(before[name].rstrip()), "text is added at the end"
    return root


@pytest.fixture
def book(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Book]:
    """The course with the new chapter, whose exercises, paper and tests can be imported."""
    loaded = set(sys.modules)
    for package in (exercises, papers):
        folder = checkout / "ncourse" / package.__name__.rpartition(".")[2]
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    monkeypatch.setattr(sys, "path", [*sys.path, str(checkout / "tests")])
    monkeypatch.setenv("PYTHONPATH", str(checkout))
    importlib.invalidate_caches()
    yield load(checkout / "book.toml")
    for name in set(sys.modules) - loaded:
        if "77" in name:
            del sys.modules[name]


def pass_all(tests: ModuleType, **given: object) -> None:
    """Call every test of a module that asks for some of these, and for nothing else."""
    called = 0
    for name, test in inspect.getmembers(tests, inspect.isfunction):
        needed = set(inspect.signature(test).parameters)
        if name.startswith("test_") and needed and needed <= set(given):
            test(**{argument: given[argument] for argument in needed})
            called += 1
    assert called


def test_a_draft_is_entered_and_readers_see_nothing_of_it(book: Book) -> None:
    (draft,) = book.drafts
    assert (draft.number, draft.title, draft.file) == (77, "An empty room", LAID[-1][10:])
    assert [paper.label for paper in draft.papers] == ["Nobody 2077"]
    assert book.chapters == load(REPOSITORY / "book.toml").chapters
    assert "An empty room (draft)" in run(book.root, "list").stdout
    assert run(book.root, "sync").exit_code == 0, "the notebook is in line with the manifest"


def test_the_paper_passes_what_is_asked_of_papers(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = [("unrecorded", papers.find("nobody2077")(seed=seed)) for seed in (0, 1)]
    monkeypatch.setattr(test_papers, "recordings", lambda: {"nobody2077": outcomes})
    pass_all(test_papers, paper="nobody2077")
    own = importlib.import_module("test_nobody2077")
    own.test_classes_that_are_points_explain_everything_and_equal_ones_nothing()


def test_the_exercises_pass_what_is_asked_of_exercises(book: Book) -> None:
    chapter = importlib.import_module("ncourse.exercises.chapter77")
    pass_all(test_exercises, chapter=chapter)
    for asked in chapter.EXERCISES:
        for mistake in asked.mistakes:
            pass_all(test_exercises, asked=asked, mistake=mistake)


def test_the_notebook_runs_and_passes_what_is_asked_of_notebooks(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    (draft,) = book.drafts
    notebook = nbformat.read(book.path(draft), as_version=4)
    with pytest.raises(pytest.skip.Exception, match="a draft that `ncourse outputs` has not run"):
        test_notebooks.outputs(draft, notebook)
    execution.outputs(book, [draft], Console(quiet=True))
    notebook = nbformat.read(book.path(draft), as_version=4)
    monkeypatch.setattr(test_notebooks, "COURSE", book)
    monkeypatch.setattr(test_notebooks, "FOLDER", book.folder)
    pass_all(test_notebooks, chapter=draft, notebook=notebook)
    for tests in (test_teaching, test_slides):
        monkeypatch.setattr(tests, "BOOK", book)
        pass_all(tests, chapter=draft, length=50)


def test_the_files_are_written_in_the_style_of_the_others(checkout: Path) -> None:
    written = [name for name in LAID if name.endswith((".py", ".ipynb"))]
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, *written]
        done = subprocess.run(ruff, cwd=checkout, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


# --- what is refused ----------------------------------------------------------------------------


@pytest.fixture
def small(course: Path) -> Path:
    """The small course as a checkout: with the folders that a chapter has files in."""
    for name in ("ncourse/papers", "ncourse/exercises", "tests", "notebooks/teaching"):
        (course / name).mkdir(parents=True)
    return course


REFUSED = {
    "2 a-room one2020": "the number 2 is taken by 02-two.ipynb; the next one is 3",
    "100 a-room one2020": "the number is 100; chapters have 0 to 99",
    "3 two one2020": '"two" is taken by 02-two.ipynb; find another name',
    "3 ../room one2020": '"../room" is no name for its file; write small letters, digits and',
    "3 A-Room one2020": '"A-Room" is no name for its file',
    "3 a-room one-2020": '"one-2020" is no name for the module of a paper; write its first author',
    "3 a-room one": '"one" is no name for the module of a paper',
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_laid_is_refused_before_anything_is_written(small: Path, words: str) -> None:
    before = files(small)
    result = run(small, "new", *words.split())
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {REFUSED[words]}")
    assert files(small) == before


def test_a_draft_takes_its_number_and_its_name(small: Path) -> None:
    assert run(small, "new", "3", "a-room", "one2020").exit_code == 0
    assert (
        "3 is taken by 03-a-room.ipynb; the next one is 4"
        in run(small, "new", "3", "b", "one2020").stderr
    )
    assert '"a-room" is taken by' in run(small, "new", "4", "a-room", "one2020").stderr
    assert run(small, "new", "4", "b", "one2020").exit_code == 0


@pytest.mark.parametrize(
    "file", ["ncourse/exercises/chapter03.py", "tests/test_one2020.py", "notebooks/teaching/03.md"]
)
def test_a_file_that_is_there_is_not_replaced(small: Path, file: str) -> None:
    (small / file).write_text("mine")
    before = files(small)
    result = run(small, "new", "3", "a-room", "one2020")
    assert result.exit_code == 1
    assert result.stderr == f"error: {file} is there already; move it away first\n"
    assert files(small) == before


@pytest.mark.parametrize("missing", ["ncourse/papers", "ncourse/exercises", "tests"])
def test_outside_a_checkout_with_the_package(small: Path, missing: str) -> None:
    (small / missing).rmdir()
    before = files(small)
    result = run(small, "new", "3", "a-room", "one2020")
    assert result.exit_code == 1
    assert f"no checkout of the course with its package: it has no {missing}" in result.stderr
    assert files(small) == before


def test_outside_any_course(tmp_path: Path) -> None:
    result = run(tmp_path, "new", "3", "a-room", "one2020")
    assert result.exit_code == 1
    assert "no book.toml in" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_paper_that_is_there_is_used_as_it_is(small: Path) -> None:
    bibliography = (small / "notebooks" / "references.bib").read_bytes()
    assert run(small, "new", "3", "a-room", "first2020").exit_code == 0
    assert (small / "notebooks" / "references.bib").read_bytes() == bibliography
    module = (small / "ncourse" / "papers" / "first2020.py").read_text()
    assert module.startswith('"""First 2020: ')
    (small / "ncourse" / "papers" / "first2020.py").write_text("mine")
    (small / "tests" / "test_first2020.py").unlink()
    assert run(small, "new", "4", "b-room", "first2020").exit_code == 0
    assert (small / "ncourse" / "papers" / "first2020.py").read_text() == "mine"
    assert not (small / "tests" / "test_first2020.py").exists()


@pytest.mark.parametrize("fails_at", range(7))
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_half_way_leaves_nothing(
    small: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int, error: BaseException
) -> None:
    before, writes = files(small), itertools.count()

    def failing(write: Callable[..., object]) -> Callable[..., object]:
        def written(*arguments: object) -> object:
            if next(writes) == fails_at:
                raise error
            return write(*arguments)

        return written

    for name in ("write_whole", "write"):
        monkeypatch.setattr(new, name, failing(getattr(new, name)))
    with pytest.raises(type(error)):
        new.lay(load(small / "book.toml"), 3, "a-room", "one2020")
    assert files(small) == before


def test_a_manifest_that_cannot_take_an_entry_at_its_end_is_left_as_it_was(small: Path) -> None:
    manifest = small / "book.toml"
    entries = tomllib.loads(manifest.read_text())["parts"][0]["chapters"]
    inline = ", ".join(
        "{" + ", ".join(f"{key} = {value!r}" for key, value in entry.items()) + "}"
        for entry in entries
    )
    head, _, _ = manifest.read_text().partition("[[parts]]")
    manifest.write_text(f'{head}[[parts]]\ntitle = "Start"\nchapters = [{inline}]\n')
    before = files(small)
    result = run(small, "new", "3", "a-room", "one2020")
    assert result.exit_code == 1
    assert "not valid TOML" in result.stderr
    assert files(small) == before
