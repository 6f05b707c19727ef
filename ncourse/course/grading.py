"""Answers found in notebooks and checked: for a class (`ncourse grade`) and for oneself.

Only the functions that answer an exercise are run, each student's in a process of their own with
limits on time, memory and output. These are limits and no sandbox: an answer is a program, and runs
with the rights of whoever grades. Grade what you do not trust inside a container.

PyTorch, the registry of exercises, nbformat and IPython are imported where they are used, by those
who have answers to run: `ncourse progress` on a fresh copy has none.
"""

import ast
import contextlib
import csv
import io
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ncourse.course.assignments import Task, set_by
from ncourse.course.notebooks import cells
from ncourse.files import write_whole

try:
    import resource
except ModuleNotFoundError:  # Windows: only time is limited there
    resource = None  # type: ignore[assignment]

__all__ = [
    "Limits",
    "Result",
    "Submission",
    "asked_for",
    "collect",
    "grade",
    "points",
    "read",
    "students",
    "totals",
    "without_stubs",
    "write_csv",
    "write_feedback",
]

MOST_BYTES = 50_000_000  # of a notebook file


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
    """What came of one exercise: "solved", "not yet", "not attempted", "missing", or "fault".

    A fault is an answer that could not be judged: it ran out of time, ended its process, or was
    there twice.
    """

    state: str
    message: str


@dataclass
class Submission:
    """One student's notebook: the answers in it, then what came of them.

    Attributes:
        student: the file's name without its ending.
        path: the file.
        problem: why the file could not be read; empty if it could.
        answers: exercise -> source of the function, without decorators.
        results: exercise -> result.
    """

    student: str
    path: Path
    problem: str = ""
    answers: dict[str, str] = field(default_factory=dict)
    results: dict[str, Result] = field(default_factory=dict)


# --- finding ------------------------------------------------------------------------------------


def collect(paths: Iterable[Path]) -> list[Path]:
    """The notebooks among files and (recursively) in folders, in order.

    Raises:
        FileNotFoundError: naming a path that does not exist.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(p for p in path.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
        elif path.exists():
            found.append(path)
        else:
            raise FileNotFoundError(f"{path} does not exist; name notebooks, or folders of them")
    return list(dict.fromkeys(found))


def students(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """Each file with its student's name: the file's, after the folder's where two share it."""
    stems = [path.stem for path in paths]
    return [
        (path, path.stem if stems.count(path.stem) == 1 else f"{path.parent.name}/{path.stem}")
        for path in paths
    ]


def asked_for(paths: Sequence[Path]) -> list[str]:
    """The exercises that the assignments among these files set, in order.

    Raises:
        ValueError: if none of them says what it sets.
    """
    import nbformat

    names: set[str] = set()
    for path in paths:
        # A file that cannot be read, or that says nothing, gets its row later.
        with contextlib.suppress(Exception):
            names |= set(set_by(nbformat.read(path, as_version=4)))
    if not names:
        raise ValueError(
            f"none of {len(paths)} files is an assignment made by `ncourse assign`; name the "
            "exercises with --exercises 5.1,5.3"
        )
    return sorted(names, key=lambda name: [int(part) for part in name.split(".")])


def read(path: Path, tasks: Sequence[Task], *, student: str | None = None) -> Submission:
    """Find the answers to these exercises in a notebook, without running anything.

    An answer is a function with the exercise's name, or under its decorator, in whatever cell it
    stands; a copy of the same text counts once, and an empty stub beside an answer does not count.
    A file that cannot be read gives a submission with a `problem`.
    """
    submission = Submission(student or path.stem, path)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(
                f"it has {path.stat().st_size:,} bytes; at most {MOST_BYTES:,} are read"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about ids of cells: students' tools differ
            sources = [cell.source for cell in cells(path) if cell.cell_type == "code"]
    except Exception as error:  # whatever is wrong with a student's file is feedback, not a crash
        submission.problem = f"The file is not a readable notebook: {_brief(error)}"
        return submission
    by_function = {task.function: task.exercise for task in tasks}
    wanted = {task.exercise for task in tasks}
    found: dict[str, list[ast.FunctionDef]] = {}
    for source in sources:
        for function in _functions(source):
            exercise = _decorated(function) or by_function.get(function.name)
            if exercise in wanted:
                found.setdefault(exercise, []).append(function)
    for exercise, functions in found.items():
        texts = dict.fromkeys(_plain(function) for function in functions)
        answers = [text for text in texts if not _is_empty(text)] or list(texts)[:1]
        if len(answers) > 1:
            submission.results[exercise] = Result(
                "fault",
                f"There are {len(answers)} different answers to exercise {exercise} in the "
                "notebook. Keep one.",
            )
        else:
            submission.answers[exercise] = answers[0]
    return submission


def _functions(source: str) -> list[ast.FunctionDef]:
    """The functions that a cell defines at its top level; none in a cell that is not Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # e.g. about an escape in a student's string
            tree = _parsed(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # A cell that does not parse: its functions may still, one by one.
        return [f for part in _chunks(source) if part != source for f in _functions(part)]
    return [node for node in tree.body if isinstance(node, ast.FunctionDef)]


def _parsed(source: str) -> ast.Module:
    """The syntax tree of a cell, which may have lines that only a notebook understands."""
    try:
        return ast.parse(source)
    except SyntaxError:
        from IPython.core.inputtransformer2 import TransformerManager

        return ast.parse(TransformerManager().transform_cell(source))


def _chunks(source: str) -> list[str]:
    """A cell cut before each line that starts a decorated or plain function."""
    parts: list[list[str]] = [[]]
    for line in source.splitlines():
        new = line.startswith(("@", "def ")) and not (parts[-1] and parts[-1][-1].startswith("@"))
        if new:
            parts.append([])
        parts[-1].append(line)
    return ["\n".join(part) for part in parts if part]


def _decorated(function: ast.FunctionDef) -> str | None:
    """The exercise that a function is decorated with: "5.1" for `@exercise("5.1")`."""
    for decorator in function.decorator_list:
        match decorator:
            case ast.Call(func=ast.Name(id="exercise"), args=[ast.Constant(value=str(name))]):
                return name
    return None


def _plain(function: ast.FunctionDef) -> str:
    """The function's source without decorators."""
    function.decorator_list = []
    return ast.unparse(function)


def without_stubs(submission: Submission) -> None:
    """Drop the answers whose cells were left as they are, so that nothing is started for them."""
    answers = submission.answers
    submission.answers = {name: text for name, text in answers.items() if not _is_empty(text)}


def _is_empty(text: str) -> bool:
    """Whether the body is `...`, `pass` or a docstring."""
    (function,) = ast.parse(text).body
    return all(
        isinstance(node, ast.Pass)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in function.body  # type: ignore[attr-defined]
    )


# --- running ------------------------------------------------------------------------------------


def grade(
    submissions: Sequence[Submission],
    tasks: Sequence[Task],
    *,
    limits: Limits | None = None,
    hidden_seeds: int = 2,
    seed: int = 0,
    at_once: int | None = None,
) -> None:
    """Check every answer and write what came of it into the submissions' `results`.

    Args:
        submissions: as `read` gives them.
        tasks: the exercises to check.
        limits: of each answer.
        hidden_seeds: how often to check again, on random data other than the notebook's.
        seed: of those data, the same for all students.
        at_once: students at a time; the number of cores if None.
    """
    limits = limits or Limits()
    draw = random.Random(seed)
    offsets = [0, *(draw.randrange(1, 2**31) for _ in range(hidden_seeds))]
    modules = sorted({name for task in tasks for name in _modules(task.imports)})
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":  # PyTorch is then imported once, and not by each process
        context.set_forkserver_preload([__name__, "ncourse.exercises", *modules])
    with ThreadPoolExecutor(at_once or os.cpu_count() or 1) as pool:
        jobs = [pool.submit(_grade, one, tasks, limits, offsets, context) for one in submissions]
        for job in jobs:
            job.result()


def _modules(imports: str) -> set[str]:
    """What these statements import; names that are no modules are passed over when preloading."""
    names: set[str] = set()
    for node in ast.parse(imports).body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def _grade(
    submission: Submission,
    tasks: Sequence[Task],
    limits: Limits,
    offsets: Sequence[int],
    context: Any,
) -> None:
    """Check one student's answers in a process of their own, started again after a fault."""
    worker: _Worker | None = None
    for task in tasks:
        if submission.problem or task.exercise in submission.results:
            continue
        if task.exercise not in submission.answers:
            submission.results[task.exercise] = Result(
                "missing", f"There is no function `{task.function}` in the notebook."
            )
            continue
        if worker is None:
            worker = _Worker(context, limits)
        request = (task.exercise, submission.answers[task.exercise], task.imports, offsets)
        result, alive = worker.ask(request, limits)
        submission.results[task.exercise] = result
        if not alive:
            worker.end()
            worker = None
    if worker is not None:
        worker.end()


class _Worker:
    """A process that checks answers, one after the other."""

    def __init__(self, context: Any, limits: Limits) -> None:
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, limits), daemon=True)
        self.process.start()
        theirs.close()
        if not self.connection.poll(120) or self.connection.recv() != "ready":
            raise RuntimeError("a process for grading did not start within two minutes")

    def ask(self, request: tuple, limits: Limits) -> tuple[Result, bool]:
        """The result of one answer, and whether the process can take another."""
        try:
            self.connection.send(request)
            if not self.connection.poll(limits.seconds):
                message = f"Your function took more than {limits.seconds:g} seconds."
                return Result("fault", message), False
            state, message = self.connection.recv()
        except (EOFError, OSError):
            self.process.join(10)
            return Result("fault", _why_it_ended(self.process.exitcode)), False
        return Result(state, message), True

    def end(self) -> None:
        """Kill the process and whatever it has started."""
        if self.process.pid is not None and self.process.exitcode is None:
            if hasattr(os, "killpg"):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.process.pid, signal.SIGKILL)
            self.process.kill()
        self.process.join(10)
        self.connection.close()


def _why_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"Your function ended its process by {signal.Signals(-code).name}."
    return f"Your function ended its process (exit code {code})."


def _work(connection: Connection, limits: Limits) -> None:
    """Check what is asked for until the pipe closes: runs in the student's process."""
    import torch

    if hasattr(os, "setsid"):
        os.setsid()  # so that what an answer starts can be ended with it
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as printed:
        os.chdir(folder)
        for number in (1, 2):
            os.dup2(printed.fileno(), number)
        if resource is not None:
            _limit_memory(limits.megabytes * 1_000_000)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limits.output, limits.output))
        connection.send("ready")
        while True:
            try:
                exercise, source, imports, offsets = connection.recv()
            except EOFError:
                return
            printed.seek(0)
            printed.truncate()
            sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), write_through=True)
            sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), write_through=True)
            connection.send(_verdict(exercise, source, imports, offsets))


def _limit_memory(extra: int) -> None:
    """Allow this much more than the process has now."""
    with open("/proc/self/statm") if sys.platform == "linux" else io.StringIO("0 " * 7) as statm:
        now = int(statm.read().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (now + extra, now + extra))


def _verdict(exercise: str, source: str, imports: str, offsets: Sequence[int]) -> tuple[str, str]:
    """State and message of one answer, on the notebook's data and then on others."""
    from ncourse.exercises import check, find

    asked = find(exercise)
    namespace: dict[str, Any] = {}
    try:
        exec(imports, namespace)  # ours, from the chapter
        exec(source, namespace)  # a function definition and nothing else
        answer = namespace[ast.parse(source).body[0].name]  # type: ignore[attr-defined]
        for offset in offsets:
            with _other_random_numbers(offset):
                feedback = check(asked, answer)
            if feedback.state != "solved":
                break
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        return "fault", f"Your function stopped with {_brief(error)}"
    message = feedback.message
    if feedback.state == "not yet":
        if "File too large" in message:
            return "fault", "Your function prints or writes too much."
        if "MemoryError" in message or "allocate memory" in message:
            return "fault", "Your function needs too much memory."
        if "NameError" in message:
            message += " Only the function itself is run: put what it needs inside it."
        if offset:
            message = f"Right on the notebook's data, and not on other data: {message}"
    return feedback.state, message


@contextlib.contextmanager
def _other_random_numbers(offset: int) -> Any:
    """Let every generator that an exercise seeds start from another seed."""
    import torch

    class Generator(torch.Generator):
        def manual_seed(self, seed: int) -> torch.Generator:
            return super().manual_seed(seed + offset)

    original = torch.Generator
    torch.Generator = Generator if offset else original  # type: ignore[misc]
    try:
        yield
    finally:
        torch.Generator = original  # type: ignore[misc]


def _brief(error: BaseException) -> str:
    """Kind and first line of an error, without paths."""
    first = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first[:200]}".replace(str(Path.home()), "~")


# --- writing ------------------------------------------------------------------------------------


def points(submission: Submission, tasks: Sequence[Task]) -> int:
    """The points of the exercises that are solved."""
    return sum(
        task.points
        for task in tasks
        if submission.results.get(task.exercise, Result("missing", "")).state == "solved"
    )


def write_csv(path: Path, submissions: Sequence[Submission], tasks: Sequence[Task]) -> None:
    """One row a student: points, then points and state of each exercise, then what went wrong."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [name for t in tasks for name in (t.exercise, f"{t.exercise} state")]
    writer.writerow(["student", "points", "of", *columns, "remark", "file"])
    for one in submissions:
        row: list[str | int] = [
            _cell(one.student),
            points(one, tasks),
            sum(t.points for t in tasks),
        ]
        for task in tasks:
            result = one.results.get(task.exercise)
            solved = result is not None and result.state == "solved"
            row += [task.points if solved else 0, result.state if result else "unreadable"]
        faults = [f"{name}: {r.message}" for name, r in one.results.items() if r.state == "fault"]
        row += [_cell(one.problem or " ".join(faults)), _cell(one.path.name)]
        writer.writerow(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.getvalue())


def _cell(text: str) -> str:
    """Text for one cell: on one line, and nothing that a spreadsheet takes for a formula."""
    text = " ".join(text.split())
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def write_feedback(folder: Path, submissions: Sequence[Submission], tasks: Sequence[Task]) -> None:
    """One Markdown file a student: each exercise with its state and message."""
    folder.mkdir(parents=True, exist_ok=True)
    total = sum(task.points for task in tasks)
    for one in submissions:
        lines = [f"# {one.student}", "", f"{points(one, tasks)} of {total} points.", ""]
        lines += [one.problem, ""] if one.problem else []
        for task in tasks:
            if task.exercise in one.results:
                result = one.results[task.exercise]
                worth = task.points if result.state == "solved" else 0
                lines += [
                    f"## Exercise {task.exercise}: {result.state}, {worth} of {task.points}",
                    "",
                    result.message,
                    "",
                ]
        write_whole(folder / f"{one.student.replace('/', '-')}.md", "\n".join(lines))


def totals(submissions: Sequence[Submission], tasks: Sequence[Task]) -> Mapping[str, int]:
    """Exercise -> number of students who solved it."""
    return {
        task.exercise: sum(
            one.results.get(task.exercise, Result("missing", "")).state == "solved"
            for one in submissions
        )
        for task in tasks
    }
