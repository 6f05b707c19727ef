"""Kills, full disks and folders that cannot be written to: whole files or none, and one clear line.

`FAULTS=20 pytest tests/test_faults.py` kills each command twenty times at random moments.
"""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from ncourse.course import sync
from ncourse.course.manifest import load
from ncourse.files import replaced, write_whole
from ncourse.training import History

COUNT = int(os.environ.get("FAULTS", "1"))
REPOSITORY = Path(__file__).parents[1]
NCOURSE = [sys.executable, "-m", "ncourse.course.cli"]


def run(command: list[str], folder: Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, **options
    )  # type: ignore[call-overload]


def kill_at_random(
    command: list[str], folder: Path, prepare: Callable[[], None], look: Callable[[], None]
) -> int:
    """Kill the command at random moments of its time, look at what is there, and let it finish.

    Returns how often it was killed before its end.
    """
    prepare()
    start = time.monotonic()
    assert run(command, folder).returncode == 0
    whole = time.monotonic() - start
    chance = random.Random(0)
    killed = 0
    for part in range(COUNT):
        prepare()
        process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep((part + chance.random()) / COUNT * 0.7 * whole)  # all of its time has its turn
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        look()
        again = run(command, folder)
        assert again.returncode == 0, again.stdout + again.stderr
        look()
    return killed


@pytest.fixture
def short_course(course: Path) -> Path:
    """A course of one short notebook."""
    manifest = (course / "book.toml").read_text()
    start = manifest.index("[[parts.chapters]]\nnumber = 2")
    manifest = manifest[:start].replace("chapters = [1, 2]", "chapters = [1]")
    (course / "book.toml").write_text(manifest)
    (course / "notebooks" / "02-two.ipynb").unlink()
    path = course / "notebooks" / "01-one.ipynb"
    notebook = nbformat.read(path, 4)
    numbers = 'measured={"b": 1}, control={"c": 2}'
    text = f'from ncourse import claims\nclaims.claim("a", True, source="s", data="d", {numbers});'
    notebook.cells.append(nbformat.v4.new_code_cell(text, id="claim"))
    path.write_text(nbformat.writes(notebook))
    sync.sync(load(course / "book.toml"))
    return course


@pytest.mark.slow
def test_a_killed_build_is_never_taken_for_a_whole_one(short_course: Path) -> None:
    built = short_course / "_build"

    def look() -> None:
        """A stamp means a whole site: every page, and the slides."""
        if (built / "site.json").is_file():
            pages = {path.name for path in (built / "html").glob("*.html")}
            assert {"index.html", "01-one.html", "claims.html", "search.html"} <= pages
            assert (built / "html" / "slides" / "01-one.html").read_text().endswith("</html>\n")
        for path in (built / "executed").glob("*.ipynb"):
            nbformat.validate(nbformat.read(path, 4))

    killed = kill_at_random(
        [*NCOURSE, "build"], short_course, lambda: shutil.rmtree(built, ignore_errors=True), look
    )
    assert killed
    assert list(built.glob("new-*")) == []


@pytest.mark.slow
def test_a_killed_build_of_other_words_leaves_the_old_site_or_the_new(
    short_course: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a build goes on from the last site, which a kill must not spoil."""
    built, page = short_course / "_build", short_course / "notebooks" / "index.md"
    monkeypatch.delenv("CI", raising=False)
    assert run([*NCOURSE, "build"], short_course).returncode == 0
    shutil.copytree(built, tmp_path / "kept")
    words = page.read_text()

    def prepare() -> None:
        shutil.rmtree(built)
        shutil.copytree(tmp_path / "kept", built)
        page.write_text(words.replace("# Small\n", "# Small\n\nNew words.\n"))

    def look() -> None:
        if (built / "site.json").is_file():
            whole = {path.relative_to(kept) for path in kept.rglob("*")}
            assert whole == {
                path.relative_to(built / "html") for path in (built / "html").rglob("*")
            }
            assert (built / "doctrees" / "environment.pickle").is_file()

    kept = tmp_path / "kept" / "html"
    assert kill_at_random([*NCOURSE, "build"], short_course, prepare, look)
    assert "New words" in (built / "html" / "index.html").read_text()
    assert list(built.glob("new-*")) == []


@pytest.mark.slow
def test_killed_outputs_leave_the_old_notebook_or_the_new(short_course: Path) -> None:
    path = short_course / "notebooks" / "01-one.ipynb"
    old = path.read_bytes()
    new: list[bytes] = []

    def prepare() -> None:
        shutil.rmtree(short_course / "_build", ignore_errors=True)
        if path.read_bytes() != old:
            new.append(path.read_bytes())
        path.write_bytes(old)

    def look() -> None:
        assert path.read_bytes() in (old, *new)

    assert kill_at_random([*NCOURSE, "outputs"], short_course, prepare, look)
    assert len(set(new)) == 1


@pytest.mark.slow
def test_a_killed_grade_leaves_no_grades_or_all(tmp_path: Path) -> None:
    folder = tmp_path / "submissions"
    folder.mkdir()
    answer = '@exercise("1.1")\ndef simplex_cosine(num_classes):\n    return -1 / (num_classes - 1)'
    for number in range(4):
        cells = [nbformat.v4.new_code_cell(answer, id="a")]
        notebook = nbformat.v4.new_notebook(cells=cells)
        (folder / f"student{number}.ipynb").write_text(nbformat.writes(notebook))
    grades = tmp_path / "grades.csv"
    command = [*NCOURSE, "grade", str(folder), "--out", str(grades), "--exercises", "1.1"]

    def look() -> None:
        if grades.is_file():
            with grades.open(newline="") as file:
                rows = list(csv.DictReader(file))
            assert [row["1.1 state"] for row in rows] == ["solved"] * 4

    assert kill_at_random(command, REPOSITORY, lambda: grades.unlink(missing_ok=True), look)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".new"] == []


FIT = """
import sys, torch
from ncourse.data import gaussian_mixture
from ncourse.models import MLP
from ncourse.training import fit
torch.set_num_threads(1)
clouds = gaussian_mixture(3, 5, train_per_class=40, test_per_class=10, separation=3.0, seed=0)
_, history = fit(
    model=MLP((5,), (16,), 3), dataset=clouds, epochs=150, weight_decay=1e-2, batch_size=8,
    progress=False, checkpoint=sys.argv[1], watch_error=False,
)
history.save(sys.argv[2])
"""


def test_a_killed_fit_goes_on_to_the_same_end(tmp_path: Path) -> None:
    checkpoint, out = tmp_path / "c", tmp_path / "h.csv"
    ends: list[History] = []

    def prepare() -> None:
        if out.is_file():
            ends.append(History.load(out))
        for path in (checkpoint, out):
            path.unlink(missing_ok=True)

    def look() -> None:
        if out.is_file():
            assert History.load(out)["epoch"][-1] == 150

    command = [sys.executable, "-c", FIT, str(checkpoint), str(out)]
    assert kill_at_random(command, tmp_path, prepare, look)
    prepare()
    assert len(ends) == COUNT + 1
    assert all(end == ends[0] for end in ends)


# --- what cannot be written ---------------------------------------------------------------------


def _half(path: Path) -> None:
    path.write_text("half")
    raise OSError("no such disk")


def test_what_fails_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    path = write_whole(tmp_path / "a.txt", "old\n")
    with pytest.raises(OSError, match="no such disk"), replaced(path) as beside:
        _half(beside)
    assert path.read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [path]


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))
sys.argv = ["ncourse", *sys.argv[1:]]
from ncourse.course.cli import main
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on a file's size")
def test_a_disk_that_is_full_is_one_line_and_loses_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the end of the disk."""
    out = tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-c", LIMITED, "assign", "3", "--out", str(out)]
    result = run(command, REPOSITORY, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    assert result.returncode == 1
    assert "too large" in result.stderr
    assert "nothing was left half-written" in result.stderr
    assert "Traceback" not in result.stderr
    assert list(out.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on a file's size")
def test_a_checkpoint_that_finds_no_room_is_named(tmp_path: Path) -> None:
    limit = LIMITED.partition("sys.argv")[0]
    result = run([sys.executable, "-c", limit + FIT, str(tmp_path / "c"), "h"], tmp_path)
    last = result.stderr.splitlines()[-1]
    assert last == f"OSError: [Errno 27] File too large: '{tmp_path / 'c'}'"
    assert list(tmp_path.iterdir()) == []


MOUNTS = {
    "full": 'head -c 1000000 /dev/zero > "$0/filled" 2> /dev/null',
    "read-only": 'mount -o remount,ro "$0"',
}
TINY = 'mount -t tmpfs -o size=64k none "$0" && mkdir "$0/out" || exit 77\n'


def can_mount() -> bool:
    """Whether this user may mount inside a namespace of their own; Linux allows it to many."""
    if shutil.which("unshare") is None:
        return False
    return (
        run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], REPOSITORY).returncode == 0
    )


@pytest.mark.slow
@pytest.mark.skipif(not can_mount(), reason="this user may not mount a file system of their own")
@pytest.mark.parametrize("kind", MOUNTS)
def test_a_real_disk_that_is_full_or_read_only(tmp_path: Path, kind: str) -> None:
    reason = {"full": "no space left on device", "read-only": "read-only file system"}[kind]
    words = ["run", "rankin1955", "--out", f"{tmp_path}/out/run"]
    script = f'{TINY}{MOUNTS[kind]}\nexec "$@"'
    command = ["unshare", "-rm", "sh", "-c", script, str(tmp_path), *NCOURSE, *words]
    result = run(command, REPOSITORY)
    assert result.returncode == 1, result.stderr
    assert result.stderr.startswith(f"error: {tmp_path}/out"), result.stderr
    assert f": {reason}; nothing was left half-written" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path: Path) -> None:
    """Where a file stands in the way of a folder, root cannot write either."""
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "out"
    result = run([*NCOURSE, "assign", "3", "--out", str(out)], REPOSITORY)
    assert result.returncode == 1
    assert "not a directory" in result.stderr
    assert "Traceback" not in result.stderr
    assert json.dumps(str(out))[1:-1] in result.stderr.replace("\n", "")
