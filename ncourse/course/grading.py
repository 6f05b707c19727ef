"""Answers found in notebooks and checked: for a class (`ncourse grade`) and for oneself.

Only the functions that answer an exercise are run, each student's in a process of their own with
limits on time, memory and output. These are limits and no sandbox: an answer is a program, and runs
with the rights of whoever grades. Grade what you do not trust inside a container.

Whatever comes from a student (names of files, cells, messages, what their process says) is taken as
data of limited length, made legible and validated, before it meets anything of another student.

PyTorch, the registry of exercises and nbformat are imported where they are used, by those
who have answers to run: `ncourse progress` on a fresh copy has none.
"""

import ast
import contextlib
import io
import json
import multiprocessing
import os
import random
import re
import signal
import sys
import tempfile
import threading
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ncourse.course.assignments import Task, set_by
from ncourse.course.notebooks import contents

try:
    import resource
except ModuleNotFoundError:  # Windows: only time is limited there
    resource = None  # type: ignore[assignment]

__all__ = [
    "Handed",
    "Limits",
    "Result",
    "Submission",
    "asked_for",
    "collect",
    "find_answers",
    "grade",
    "legible",
    "names",
    "read",
]

MOST_BYTES = 300_000_000  # of a notebook file, with its outputs, which are not kept
MOST_CODE = 1_000_000  # characters in the code cells of a notebook
MOST_REPLY = 16_000_000  # bytes that the process of a student may answer
MOST_TEXT = 1500  # characters of a message
STATES = ("solved", "not yet", "not attempted", "fault")


@dataclass(frozen=True)
class Limits:
    """What one answer may use.

    Attributes:
        seconds: of time for all checks of one exercise.
        megabytes: of memory on top of what Python and PyTorch need.
        output: bytes that it may print or write to any one file.
    """

    seconds: float = 20.0
    megabytes: int = 2000
    output: int = 1_000_000


@dataclass(frozen=True)
class Result:
    """What came of one exercise.

    Attributes:
        state: "solved", "not yet", "not attempted", "missing", or "fault": an answer that could
            not be judged, because it ran out of time or ended its process.
        message: what to tell the student.
        mistake: the known mistake that was recognised; empty if none was.
        passed: steps of the check that the answer passed.
        steps: of the check.
    """

    state: str
    message: str
    mistake: str = ""
    passed: int = 0
    steps: int = 0


@dataclass(frozen=True)
class Handed:
    """A file that was handed in, and where it lay: below the folder that was named."""

    path: Path
    place: str


@dataclass
class Submission:
    """One student's notebook: the answers in it, then what came of them.

    Attributes:
        student: what the file is called in the table of the class; `names` makes it.
        path: the file.
        problem: why nothing could be graded; empty if something could.
        remarks: what the teacher should know.
        cells: the sources of its code cells; None if nobody has read it.
        sets: the exercises that it says it is about; empty if it says nothing.
        answers: exercise -> source of the function, without decorators; None if nobody has looked.
        results: exercise -> result.
    """

    student: str
    path: Path
    problem: str = ""
    remarks: list[str] = field(default_factory=list)
    cells: list[str] | None = None
    sets: list[str] = field(default_factory=list)
    answers: dict[str, str] | None = None
    results: dict[str, Result] = field(default_factory=dict)


# --- texts of students --------------------------------------------------------------------------

_PLACES = re.compile(r"(?<![\w.…/)\]])(?:[A-Za-z]:\\|/)(?:[^\s/\\'\":]+[/\\])+([^\s/\\'\":]*)")


def legible(text: str, most: int = MOST_TEXT) -> str:
    """Text of a student that any file, table or terminal can take, at most this long.

    Lone surrogates and control characters are replaced, and of paths only the last part is left.
    """
    text = text[: 4 * most].encode("utf-8", "replace").decode("utf-8")
    text = "".join(
        " " if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") and c != "\n" else c
        for c in text
    )
    text = _PLACES.sub(r"…/\1", text)
    return text if len(text) <= most else text[: most - 1] + "…"


def _brief(error: BaseException) -> str:
    """Kind and first line of an error."""
    return legible(f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}", 200)


# --- finding ------------------------------------------------------------------------------------


def collect(paths: Iterable[Path]) -> list[Handed]:
    """The notebooks among files and (recursively) in folders, in order.

    Left out is what systems add to archives (`__MACOSX`, `._name`) and Jupyter's checkpoints.

    Raises:
        FileNotFoundError: naming a path that does not exist.
    """
    found: dict[Path, Handed] = {}
    for path in paths:
        if path.is_dir():
            inside = [p for p in sorted(path.rglob("*.ipynb")) if _is_handed_in(p, path)]
            handed = [Handed(p, p.relative_to(path).as_posix()) for p in inside]
        elif path.exists():
            handed = [Handed(path, f"{path.resolve().parent.name}/{path.name}")]
        else:
            raise FileNotFoundError(f"{path} does not exist; name notebooks, or folders of them")
        for one in handed:
            found.setdefault(one.path.absolute(), one)
    return list(found.values())


def _is_handed_in(path: Path, folder: Path) -> bool:
    parts = path.relative_to(folder).parts
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not hidden and not path.is_dir()


def names(handed: Sequence[Handed]) -> list[str]:
    """A name for each file, all different: its own, with its folders where two share it.

    Bytes of a name that are not UTF-8 are replaced; a number tells apart what is then the same.
    """
    raw = [one.place.removesuffix(".ipynb") for one in handed]
    places = [_legible_name(place) for place in raw]
    stems = [place.rpartition("/")[2] for place in places]
    count = Counter(stems)
    made: dict[int, str] = {}
    # First those whose names are legible as they are: nobody else takes them away.
    for index in sorted(range(len(raw)), key=lambda index: places[index] != raw[index]):
        stem = stems[index]
        name = wanted = stem if count[stem] == 1 else places[index]
        number = 2
        while name in made.values():
            name = f"{wanted} ({number})"
            number += 1
        made[index] = name
    return [made[index] for index in range(len(raw))]


def _legible_name(text: str) -> str:
    """A file's name as text, whatever its bytes."""
    # Not `legible` at once: it would take folders out.
    parts = os.fsencode(text).decode("utf-8", "replace").split("/")
    return "/".join(" ".join(legible(part, 150).split()) or "…" for part in parts)


def asked_for(path: Path) -> list[str]:
    """The exercises that an assignment sets, in order.

    Raises:
        UnreadableNotebook: if it is no notebook.
        ValueError: if it does not say what it sets.
    """
    found = set_by(contents(path).metadata)
    if not found:
        raise ValueError(
            f"{path} is no assignment made by `ncourse assign`; name the file that you handed out "
            "with --assignment, or the exercises with --exercises 5.1,5.3"
        )
    return found


def read(path: Path, *, student: str | None = None) -> Submission:
    """Read a notebook, without running or looking for anything.

    Outputs are left out first, so that a notebook may have printed what it likes. A file that
    cannot be read gives a submission with a `problem`.
    """
    name = _legible_name(path.stem) if student is None else student
    submission = Submission(name, path)
    try:
        if path.is_symlink() or not path.is_file():
            raise ValueError("it is a link or no file")
        if path.stat().st_size > MOST_BYTES:
            size = path.stat().st_size
            raise ValueError(f"it has {size:,} bytes; at most {MOST_BYTES:,} are read")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about ids of cells: students' tools differ
            whole = contents(path)
        cells = [cell.source for cell in whole.cells if cell.cell_type == "code"]
        length = sum(map(len, cells))
        if length > MOST_CODE:
            raise ValueError(
                f"its cells have {length:,} characters of code; at most {MOST_CODE:,} are read"
            )
        submission.cells = cells
        submission.sets = _said_to_set(whole.metadata)
    except Exception as error:  # whatever is wrong with a student's file is feedback, not a crash
        submission.problem = f"The file is not a readable notebook: {_brief(error)}"
    return submission


def _said_to_set(metadata: dict[str, Any]) -> list[str]:
    """What a student's notebook says it is about: only looked at, since anybody can write it."""
    entry = metadata.get("ncourse_assignment")
    said = entry.get("exercises") if isinstance(entry, dict) else None
    said = said[:50] if isinstance(said, list) else []
    return [
        name
        for name in said
        if isinstance(name, str) and re.fullmatch(r"\d\d?\.\d\d?(v\d\d?)?", name)
    ]


def find_answers(submission: Submission, tasks: Sequence[Task]) -> None:
    """Look for the answers here, and not in a process with limits: for one's own notebooks.

    Answers whose cells were left as they are, are left out; where all were, nothing is imported.
    """
    submission.answers = {}
    stubs = {task.stub for task in tasks}
    changed = [cell for cell in submission.cells or () if cell not in stubs and "def " in cell]
    if not changed:
        return
    from ncourse.exercises.answers import find_answers as find

    functions = {task.exercise: task.function for task in tasks}
    for name, found in find(changed, functions).items():
        if found.problem:
            submission.results[name] = Result("fault", found.problem)
        elif not found.is_empty:
            submission.answers[name] = found.source


# --- running ------------------------------------------------------------------------------------


def grade(
    submissions: Sequence[Submission],
    tasks: Sequence[Task],
    *,
    limits: Limits | None = None,
    hidden_seeds: int = 2,
    seed: int = 0,
    at_once: int | None = None,
    done: Callable[[Submission], None] = lambda submission: None,
) -> None:
    """Check every answer and write what came of it into the submissions' `results`.

    Args:
        submissions: as `read` gives them, or not read yet; then their own process reads them.
        tasks: the exercises to check.
        limits: of each answer.
        hidden_seeds: how often to check again, on random data other than the notebook's.
        seed: of those data, the same for all students.
        at_once: students at a time; the number of cores if None.
        done: is called with each submission as soon as all of it is checked, one at a time.
    """
    limits = limits or Limits()
    draw = random.Random(seed)
    seeds = [0, *(draw.randrange(1, 2**31) for _ in range(hidden_seeds))]
    modules = sorted({name for task in tasks for name in _modules(task.imports)})
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":  # PyTorch is then imported once, and not by each process
        context.set_forkserver_preload([__name__, "ncourse.exercises", *modules])
    stop = threading.Event()
    pool = ThreadPoolExecutor(at_once or os.cpu_count() or 1)
    jobs = {
        pool.submit(_graded, one, tasks, limits, seeds, context, stop): one for one in submissions
    }
    try:
        for job in as_completed(jobs):
            try:
                job.result()
            except Exception as error:  # ours, and still nobody else's row
                jobs[job].problem = f"This could not be graded, by a defect of the grader: {error}"
            done(jobs[job])
    finally:
        stop.set()  # after Ctrl-C; what is done is done
        pool.shutdown(cancel_futures=True)


def _modules(imports: str) -> set[str]:
    """What these statements import; names that are no modules are passed over when preloading."""
    found: set[str] = set()
    for node in ast.parse(imports).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def _graded(
    submission: Submission,
    tasks: Sequence[Task],
    limits: Limits,
    seeds: Sequence[int],
    context: Any,
    stop: threading.Event,
) -> None:
    """Find and check one student's answers in a process of their own, anew after a fault."""
    if submission.problem:
        return
    worker: _Worker | None = None
    try:
        if submission.answers is None:
            worker = _Worker(context, limits, stop)
            _look_through(submission, tasks, worker)
            if submission.problem:
                return
        assert submission.answers is not None
        for task in tasks:
            if stop.is_set():
                return
            if task.exercise in submission.results:
                continue
            if task.exercise not in submission.answers:
                message = f"There is no function `{task.function}` in the notebook."
                submission.results[task.exercise] = Result("missing", message)
                continue
            if worker is None or worker.ended:
                worker = _Worker(context, limits, stop)
            request = {
                "exercise": task.exercise,
                "source": submission.answers[task.exercise],
                "seeds": list(seeds),
            }
            reply = worker.ask(request)
            submission.results[task.exercise] = (
                reply if isinstance(reply, Result) else _validated(reply)
            )
    finally:
        if worker is not None:
            worker.end()


def _look_through(submission: Submission, tasks: Sequence[Task], worker: "_Worker") -> None:
    """Have a file read, and its answers found, in its student's process: before they are run."""
    functions = {task.exercise: task.function for task in tasks}
    request: dict[str, Any] = {"cells": submission.cells, "functions": functions}
    if submission.cells is None:
        request["path"] = str(submission.path.absolute())
    reply = worker.ask(request, "Reading this notebook", max(worker.limits.seconds, 60.0))
    if isinstance(reply, Result):
        submission.problem = reply.message
        return
    submission.problem, submission.sets = reply["problem"], reply["sets"]
    submission.answers = reply["answers"]
    submission.remarks += [legible(remark, 300) for remark in reply["remarks"]]
    problems = reply["problems"].items()
    submission.results |= {name: Result("fault", text) for name, text in problems}
    if submission.sets and not set(functions) <= set(submission.sets):
        says = f"It says that it sets {', '.join(submission.sets)}."
        submission.remarks.append(f"Another assignment? {says}")


def _validated(reply: dict[str, Any]) -> Result:
    """What a student's process said of an answer: of the right kinds, and short; or a fault."""
    match reply:
        case {
            "state": str(state),
            "message": str(message),
            "mistake": str(mistake),
            "passed": int(passed),
            "steps": int(steps),
        } if state in STATES and 0 <= passed <= steps <= 1000:
            return Result(state, legible(message), legible(mistake, 400), passed, steps)
    return Result("fault", TAMPERED)


TAMPERED = "The process of this answer did not reply as it must: the answer has tampered with it."


class _Worker:
    """A process that looks for answers and checks them, one after the other.

    Once it runs a student's code, whatever it says is that student's. So it is read as JSON of
    limited length, in a thread that is left behind if it does not come in time.
    """

    def __init__(self, context: Any, limits: Limits, stop: threading.Event) -> None:
        self.limits = limits
        self.stop = stop
        self.ended = False
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        for _ in range(3):  # an answer of somebody else may have ended the server of processes
            self.connection, theirs = context.Pipe()
            arguments = (theirs, limits, self.folder.name)
            self.process = context.Process(target=_work, args=arguments, daemon=True)
            self.thread = threading.Thread()
            with contextlib.suppress(EOFError, OSError, ValueError):
                self.process.start()
                theirs.close()
                if self._received(None, 120) == "ready":
                    return
            self._kill()
        self.folder.cleanup()
        raise RuntimeError("no process for this submission could be started")

    def ask(
        self, request: dict[str, Any], what: str = "Your function", seconds: float | None = None
    ) -> dict[str, Any] | Result:
        """The reply; or a fault, and then the process has ended."""
        seconds = seconds or self.limits.seconds
        try:
            reply = self._received(request, seconds)
        except TimeoutError:
            reply = Result("fault", f"{what} took more than {seconds:g} seconds.")
        except EOFError:
            self.process.join(10)
            reply = Result("fault", f"{what} {_how_it_ended(self.process.exitcode)}")
        except (OSError, ValueError, RecursionError):
            reply = Result("fault", TAMPERED)
        if not isinstance(reply, dict):
            self.end()
        return reply if isinstance(reply, dict | Result) else Result("fault", TAMPERED)

    def _received(self, request: dict[str, Any] | None, seconds: float) -> Any:
        """Send a request and receive what is said to it.

        Raises:
            TimeoutError, EOFError: if nothing comes in time, or ever.
            OSError, ValueError, RecursionError: if it is too long, or not JSON.
        """
        box: list[bytes | BaseException] = []

        def exchange() -> None:
            try:
                if request is not None:
                    self.connection.send_bytes(json.dumps(request).encode())
                box.append(self.connection.recv_bytes(MOST_REPLY))
            except (EOFError, ConnectionError) as error:
                box.append(EOFError(str(error)))
            except Exception as error:
                box.append(error)

        self.thread = threading.Thread(target=exchange, daemon=True)
        self.thread.start()
        while seconds > 0 and self.thread.is_alive() and not self.stop.is_set():
            self.thread.join(min(seconds, 0.2))
            seconds -= 0.2
        if not box:
            raise TimeoutError
        if isinstance(box[0], BaseException):
            raise box[0]
        return json.loads(box[0])

    def end(self) -> None:
        """Kill the process and what it has started, and remove its folder."""
        if not self.ended:
            self.ended = True
            self._kill()
            self.folder.cleanup()

    def _kill(self) -> None:
        if self.process.pid is not None:
            if hasattr(os, "killpg"):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.process.pid, signal.SIGKILL)
            self.process.kill()
            self.process.join(10)
        if self.thread.is_alive():
            self.thread.join(1)
        # A thread that still reads (what an answer has started holds the other end) keeps the
        # connection: a number that is closed would be given to the next student's.
        if not self.thread.is_alive():
            self.connection.close()


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        known = {one.value: one.name for one in signal.Signals}
        return f"ended its process by {known.get(-code, f'signal {-code}')}."
    return f"ended its process (exit code {code})."


def _work(connection: Connection, limits: Limits, folder: str) -> None:
    """Look for and check what is asked for until the pipe closes: runs in the student's process."""
    import torch

    if hasattr(os, "setsid"):
        os.setsid()  # so that what an answer starts can be ended with it
    torch.set_num_threads(1)
    with tempfile.TemporaryFile() as printed:
        os.chdir(folder)
        for number in (1, 2):
            os.dup2(printed.fileno(), number)
        if resource is not None:
            _limit_memory(limits.megabytes * 1_000_000)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limits.output, limits.output))
        connection.send_bytes(b'"ready"')
        while True:
            try:
                request = json.loads(connection.recv_bytes())
            except EOFError:
                return
            printed.seek(0)
            printed.truncate()
            sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), write_through=True)
            sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), write_through=True)
            if "cells" in request:
                reply = _looked_through(**request)
            else:
                result = _verdict(**request)
                reply = {**vars(result), "message": legible(result.message)}
            connection.send_bytes(json.dumps(reply).encode())


def _limit_memory(extra: int) -> None:
    """Allow this much more than the process has now."""
    with open("/proc/self/statm") if sys.platform == "linux" else io.StringIO("0 " * 7) as statm:
        now = int(statm.read().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (now + extra, now + extra))


def _looked_through(
    functions: dict[str, str], cells: Sequence[str] | None, path: str = ""
) -> dict[str, Any]:
    """The answers in these cells or this file, why some cannot be run, and which look around."""
    from ncourse.exercises.answers import find_answers as find

    one = Submission("", Path(path), cells=list(cells or ())) if not path else read(Path(path))
    found = find(one.cells or (), functions)
    answers = {name: one.source for name, one in found.items() if not one.problem}
    looks = {name: _looks_into(source) for name, source in answers.items()}
    return {
        "problem": one.problem,
        "sets": one.sets,
        "answers": answers,
        "problems": {name: legible(one.problem) for name, one in found.items() if one.problem},
        "remarks": [
            f"{name} looks into {', '.join(seen)}." for name, seen in looks.items() if seen
        ],
    }


LOOKS = {
    *("ncourse.exercises", "ncourse.course", "gc", "inspect", "ctypes", "sys", "os", "importlib"),
    *(
        "subprocess",
        "multiprocessing",
        "threading",
        "signal",
        "socket",
        "pickle",
        "builtins",
        "dis",
    ),
    *("eval", "exec", "compile", "open", "globals", "__import__", "__builtins__"),
}
"""Modules and functions that no answer needs. An answer that names one deserves a look: it need not
be a fraud, and a fraud can do without."""


def _looks_into(source: str) -> list[str]:
    """What of `LOOKS` an answer names, in order."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Name):
            found.append(node.id)
        elif isinstance(node, ast.Attribute):
            found.append(ast.unparse(node))
            if node.attr.startswith("__"):
                found.append(node.attr)
    looks = [
        next((look for look in LOOKS if f"{name}.".startswith(f"{look}.")), "")
        or (name if name.startswith("__") else "")
        for name in found
    ]
    return sorted(set(filter(None, looks)))


def _verdict(exercise: str, source: str, seeds: Sequence[int]) -> Result:
    """What comes of one answer, on the notebook's data and then on others."""
    from ncourse.exercises.answers import judge

    try:
        said = judge(exercise, source, seeds=seeds)
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        return Result("fault", f"Your function stopped with {_brief(error)}")
    if said.state == "not yet" and "File too large" in said.message:
        return Result("fault", "Your function prints or writes too much.")
    if said.state == "not yet" and re.search("MemoryError|allocate memory", said.message):
        return Result("fault", "Your function needs too much memory.")
    return Result(said.state, said.message, said.mistake, said.passed, said.steps)
