"""A class of whom some mean harm: whatever they hand in, the honest student's row is right."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_notebook
from typer.testing import CliRunner

from ncourse.course import gradebook
from ncourse.course.cli import app
from ncourse.course.manifest import load

BOOK = load(Path(__file__).parents[2] / "book.toml")
HONEST = [
    "def terminal_epoch(train_error):\n    for n, e in enumerate(train_error, start=1):\n"
    "        if e == 0:\n            return n\n    return None\n"
]

NAMES = st.one_of(
    st.binary(min_size=1, max_size=60).map(lambda name: name.replace(b"/", b"_")),
    st.sampled_from(
        [
            b"honest ",
            b"Honest",
            b"x/honest",
            b"a\nb",
            b"=1+1",
            b"\xe9\xe9",
            b"\xf0\x9f\x8e\x93" * 50,
            *[b'"><script>', b"con", b"-rf", b"h\xcc\x82", b"honest (2)", b"1_2_3_honest"],
        ]
    ),
)
MESSAGES = st.one_of(
    st.text(st.characters(), max_size=50),  # lone surrogates too
    st.sampled_from(["caf\udce9", "x" * 3_000_000, "\x1b[2J", "[/bold]", "</code><script>", "\0"]),
)
REPLIES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            b"null",
            b"[1, 2]",
            b'{"state": "solved"}',
            b"[" * 100_000,
            b"9" * 5000,
            b"\xff\xfe",
            b'{"state":"solved","message":"\\ud800","mistake":"=1","passed":9,"steps":9}',
            b"cnt\nsystem\n(S'exit 3'\ntR.",
            b"x" * 20_000_000,
        ]
    ),
)
FIND_PIPES = (
    "import gc, os, signal, subprocess, sys, time\n"
    "from multiprocessing.connection import Connection\n"
    "pipes = [c for c in gc.get_objects() if isinstance(c, Connection)]\n"
)
HARM = st.one_of(
    MESSAGES.map(lambda text: f"raise ValueError({text!r})"),
    MESSAGES.map(lambda text: f"print({text!r}); return {text!r}"),
    REPLIES.map(lambda said: f"for c in pipes: c.send_bytes({said!r})"),
    REPLIES.map(lambda said: f"for c in pipes: os.write(c.fileno(), {said!r})\ntime.sleep(60)"),
    st.sampled_from(
        [
            "for c in pipes: c.close()",
            "for fd in range(3, 60):\n    try: os.close(fd)\n    except OSError: pass",
            "for c in pipes: os.write(c.fileno(), bytes([0, 0, 9, 9, 1]))\ntime.sleep(60)",
            "if os.getppid() > 1: os.kill(os.getppid(), signal.SIGKILL)",
            "os.kill(os.getpid(), signal.SIGSTOP)",
            "for c in pipes: os.set_inheritable(c.fileno(), True)\n"
            "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(6)'], "
            "close_fds=False, start_new_session=True)\nos._exit(0)",
            "while True: pass",
            "os._exit(7)",
            "os.kill(os.getpid(), 40)",
            "sys.setrecursionlimit(10**8)\nf = lambda: f()\nf()",
        ]
    ),
)


def answer(harm: str) -> str:
    inside = (FIND_PIPES + harm).replace("\n", "\n    ")
    return f"def terminal_epoch(train_error):\n    {inside}\n"


CELLS = st.lists(
    st.one_of(
        HARM.map(answer),
        st.text(st.characters(), max_size=80),
        st.sampled_from(
            [
                "def terminal_epoch(" + "(" * 5000,
                "x = " + "-" * 100_000 + "1",
                "%%bash\nexit 1",
                "a" + ".b" * 50_000,
                "def terminal_epoch(train_error):\n" + " " * 9 + "\udce9",
                "%time " * 3000,
                "raise SystemExit",
            ]
        ),
    ),
    min_size=1,
    max_size=2,
)
METADATA = st.sampled_from([{}, {"exercises": ["5.1", "=1", None]}, {"exercises": {"a": 1}}, 7])
RAW = st.one_of(
    st.binary(max_size=50),
    st.sampled_from(
        [
            b"[" * 100_000,
            b'{"nbformat": 4, "cells": 1}',
            b'{"nbformat": 1e999, "cells": []}',
            b'{"nbformat": 4, "cells": [{"cell_type": "code", "source": "\\ud800"}]}',
            b"\xff\xfe{",
        ]
    ),
)
STUDENTS = st.lists(
    st.tuples(NAMES, st.one_of(RAW, st.tuples(CELLS, METADATA))), min_size=2, max_size=3
)


def notebook(cells: list[str], entry: object) -> bytes:
    made = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    made.metadata["ncourse_assignment"] = entry
    return nbformat.writes(made).encode("utf-8", "surrogatepass")


@pytest.mark.skipif(sys.platform != "linux", reason="memory and output are limited on Linux")
@given(STUDENTS)
@settings(suppress_health_check=list(HealthCheck))
def test_the_honest_row_is_right(students: list[tuple[bytes, object]]) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.chdir(BOOK.root)
        inside = Path(folder) / "in"
        inside.mkdir()
        for name, handed in [(b"honest", (HONEST, {"exercises": ["3.2"]})), *students]:
            path = os.path.join(os.fsencode(inside), name.replace(b"\0", b"_") + b".ipynb")
            content = handed if isinstance(handed, bytes) else notebook(*handed)  # type: ignore
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if not os.path.exists(path):
                Path(os.fsdecode(path)).write_bytes(content)
        files = [f for f in inside.rglob("*.ipynb") if not f.name.startswith(".")]
        out, said = Path(folder) / "g.csv", Path(folder) / "said"
        arguments = ["grade", str(inside), "--out", str(out), "--feedback", str(said)]
        arguments += ["--exercises", "3.2", "--seconds", "2"]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, (result.output, result.exception)
        _, rows = gradebook.table(out)
        assert len(rows) == len(files)
        (honest,) = (row for row in rows if row["student"] == "honest")
        assert (honest["points"], honest["3.2 state"], honest["remark"]) == ("5", "solved", "")
        assert len({row["feedback"].casefold() for row in rows}) == len(rows)
        assert sorted(path.name for path in said.iterdir()) == sorted(r["feedback"] for r in rows)
        for row in rows:
            page = (said / row["feedback"]).read_text(encoding="utf-8")
            assert "<script" not in page
            assert len(page) < 200_000
        assert "5 of 5 points" in (said / honest["feedback"]).read_text(encoding="utf-8")


def class_of(folder: Path, **cells: str) -> Path:
    folder.mkdir()
    for student, source in cells.items():
        (folder / f"{student}.ipynb").write_bytes(notebook([source], {}))
    return folder


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_loses_nothing_that_is_done(tmp_path: Path) -> None:
    endless = answer("while True: pass")
    inside = class_of(tmp_path / "in", honest=HONEST[0], slow=endless, slower=endless, z=endless)
    out, python = tmp_path / "g.csv", [sys.executable, "-m", "ncourse.course.cli"]
    command = [*python, "grade", str(inside), "--out", str(out), "--exercises", "3.2"]
    environment = {**os.environ, "PYTHONPATH": str(BOOK.root)}
    with subprocess.Popen(
        [*command, "--seconds", "100"], cwd=BOOK.root, env=environment, stderr=subprocess.PIPE
    ) as grader:
        while not out.exists():
            assert grader.poll() is None
            time.sleep(0.1)
        grader.send_signal(signal.SIGINT)
        _, said = grader.communicate(timeout=30)
    assert grader.returncode == 1
    assert "has 1 of 4. Go on with --update --seed" in " ".join(said.decode().split())
    _, rows = gradebook.table(out)
    assert [(row["student"], row["points"]) for row in rows] == [("honest", "5")]


def test_feedback_that_cannot_be_written_is_one_students_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(BOOK.root)
    inside = class_of(tmp_path / "in", ada=HONEST[0], bob=HONEST[0])
    out, said = tmp_path / "g.csv", tmp_path / "said"
    (said / "ada.html" / "in the way").mkdir(parents=True)
    arguments = ["grade", str(inside), "--out", str(out), "--feedback", str(said)]
    result = CliRunner().invoke(app, [*arguments, "--exercises", "3.2"])
    assert result.exit_code == 0, result.output
    _, (ada, bob) = gradebook.table(out)
    assert (ada["points"], ada["feedback"]) == ("5", "")
    assert "feedback could not be written" in ada["remark"]
    assert (bob["points"], bob["feedback"], bob["remark"]) == ("5", "bob.html", "")
