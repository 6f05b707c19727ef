"""Running notebooks, and not running them again while nothing that they depend on has changed.

A run is kept in `_build/executed/` under a key of everything that it depends on, so a chapter is
run again only when its code, the part of `ncourse` it imports, its recordings, the pinned versions
or Python itself has changed.
"""

import ast
import asyncio
import contextlib
import copy
import hashlib
import json
import math
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from IPython.core.inputtransformer2 import TransformerManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ncourse.course import PACKAGE
from ncourse.course.manifest import Book, Chapter
from ncourse.course.notebooks import (
    UnreadableNotebook,
    clean,
    code_cells,
    read,
    with_outputs,
    write,
)

NOTEBOOKS_AT_ONCE = 2
CELL_TIMEOUT = 600  # seconds; twenty times what a cell may take, for slow machines


class NotebookError(Exception):
    """One or more notebooks did not run to their end; the message says where and why."""


# --- what a run depends on ----------------------------------------------------------------------


def execution_key(book: Book, chapter: Chapter, notebook: NotebookNode) -> str:
    """A digest of all that the outputs of a chapter depend on.

    Prose is no part of it: changing a sentence runs nothing.
    """
    cells = [(cell.source, cell.metadata.get("tags", [])) for cell in code_cells(notebook)]
    digest = hashlib.sha256(json.dumps([sys.version, cells]).encode())
    files = sorted(modules_used([source for source, _ in cells], chapter.number))
    files += sorted((book.folder / "recorded").glob(f"{chapter.number:02d}-*"))
    files += [path for path in [book.root / "constraints.txt"] if path.is_file()]
    for path in files:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def modules_used(sources: Iterable[str], number: int) -> set[Path]:
    """The files of `ncourse` that the code of chapter `number` imports, directly or through others.

    `ncourse.exercises` finds `chapterNN` by name at run time; it counts for chapter NN alone.
    """
    found: set[Path] = set()
    waiting = [f"ncourse.exercises.chapter{number:02d}"]
    for source in sources:
        waiting += _imports(TransformerManager().transform_cell(source), "ncourse")
    while waiting:
        name = waiting.pop()
        for path in _files_of(name):
            if path not in found:
                found.add(path)
                package = name if path.name == "__init__.py" else name.rpartition(".")[0]
                waiting += [
                    other
                    for other in _imports(path.read_text(encoding="utf-8"), package)
                    if not re.fullmatch(r"ncourse\.exercises\.chapter\d+.*", other)
                ]
    return found


def _imports(source: str, package: str) -> Iterator[str]:
    """The dotted names under `ncourse` that this source imports; none if it is not Python."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # the run will say so, better
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            # `from ncourse.papers import papyan2020` may name a module or something in one.
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == "ncourse")


def _files_of(name: str) -> Iterator[Path]:
    """The files that importing this dotted name runs: the module and the packages around it."""
    path = PACKAGE
    yield path / "__init__.py"
    for part in name.split(".")[1:]:
        path = path / part
        if path.with_suffix(".py").is_file():
            yield path.with_suffix(".py")
        elif (path / "__init__.py").is_file():
            yield path / "__init__.py"


# --- running ------------------------------------------------------------------------------------


def execute(book: Book, chapters: Sequence[Chapter], console: Console) -> list[NotebookNode]:
    """The chapters' notebooks with fresh outputs, running those whose outputs are not up to date.

    Two run at a time, each kernel on one thread and in the notebooks' folder; those that took
    longest the last time start first, so that none runs alone at the end. All of them get their
    turn; then a `NotebookError` names each one that failed. What succeeded is kept.
    """
    sources = [read(book.path(chapter)) for chapter in chapters]
    keys = [execution_key(book, *pair) for pair in zip(chapters, sources, strict=True)]
    kept = [_kept_run(book, *job) for job in zip(chapters, sources, keys, strict=True)]
    stale = [index for index, run in enumerate(kept) if run is None]
    if stale:
        stale.sort(key=lambda index: -_last_seconds(book, chapters[index]))
        failures = asyncio.run(
            _run_all(book, [(chapters[i], sources[i], keys[i]) for i in stale], console)
        )
        if failures:
            raise NotebookError("\n\n".join(failures))
        for index in stale:
            kept[index] = _kept_run(book, chapters[index], sources[index], keys[index])
    return [
        clean(with_outputs(source, run))
        for source, run in zip(sources, kept, strict=True)
        if run is not None
    ]


def stored(book: Book, chapters: Sequence[Chapter]) -> list[NotebookNode]:
    """The chapters' notebooks with the outputs that are stored in them; nothing is run.

    Raises:
        NotebookError: naming each notebook with a code cell that has not run, and its first one.
    """
    notebooks = [read(book.path(chapter)) for chapter in chapters]
    failures = []
    for chapter, notebook in zip(chapters, notebooks, strict=True):
        for number, cell in enumerate(notebook.cells, start=1):
            waiting = cell.cell_type == "code" and cell.execution_count is None
            if waiting and cell.source.strip():
                failures.append(
                    f"{chapter.file}, cell {number} of {len(notebook.cells)} has no stored outputs "
                    f"because it has not run; `ncourse outputs {chapter.number}` runs the notebook "
                    "and stores them"
                )
                break
    if failures:
        raise NotebookError("\n".join(failures))
    return [clean(notebook) for notebook in notebooks]


def _kept_run_path(book: Book, chapter: Chapter) -> Path:
    return book.root / "_build" / "executed" / chapter.file


def _kept_run(
    book: Book, chapter: Chapter, notebook: NotebookNode, key: str
) -> NotebookNode | None:
    """The kept run of a chapter, if it was made under this key; a damaged one is made again."""
    path = _kept_run_path(book, chapter)
    if not path.is_file():
        return None
    try:
        run = read(path)
    except UnreadableNotebook:
        return None
    cells, others = ([cell.source for cell in code_cells(n)] for n in (run, notebook))
    return run if run.metadata.get("ncourse_key") == key and cells == others else None


def _last_seconds(book: Book, chapter: Chapter) -> float:
    """How long the last run that is kept took, whatever has changed since; infinity if unknown."""
    path = _kept_run_path(book, chapter)
    try:
        seconds = read(path).metadata.get("ncourse_seconds") if path.is_file() else None
    except UnreadableNotebook:
        seconds = None
    return seconds if type(seconds) is float else math.inf


async def _run_all(
    book: Book, jobs: Sequence[tuple[Chapter, NotebookNode, str]], console: Console
) -> list[str]:
    """Run the notebooks, two at a time, and return what failed."""
    turns = asyncio.Semaphore(NOTEBOOKS_AT_ONCE)
    columns = [
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("cells"),
        TimeElapsedColumn(),
    ]
    with Progress(*columns, console=console) as progress:

        async def job(chapter: Chapter, source: NotebookNode, key: str) -> str | None:
            cells = sum(bool(cell.source.strip()) for cell in code_cells(source))
            task = progress.add_task(chapter.file, total=cells, start=False)
            async with turns:
                progress.start_task(task)
                start = time.monotonic()
                notebook = copy.deepcopy(source)
                failure = await _run(
                    notebook, chapter.file, book.folder, lambda: progress.advance(task)
                )
                seconds = time.monotonic() - start
                progress.stop_task(task)
            if failure is None:
                notebook.metadata["ncourse_key"] = key
                notebook.metadata["ncourse_seconds"] = round(seconds, 1)
                write(notebook, _kept_run_path(book, chapter))
            return failure

        failures = await asyncio.gather(*(job(*arguments) for arguments in jobs))
    return [failure for failure in failures if failure is not None]


async def _run(
    notebook: NotebookNode, file: str, folder: Path, on_cell: Callable[[], None]
) -> str | None:
    """Run a notebook in place; return None, or which cell failed and how."""
    reached = 0

    def cell_starts(cell: NotebookNode, cell_index: int) -> None:
        nonlocal reached
        reached = cell_index

    def notebook_starts(notebook: NotebookNode) -> None:
        # nbclient has put its own handlers in place; with two notebooks at once they are in each
        # other's way, and Ctrl-C would not end the build. Python's own end it, kernels included.
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(RuntimeError):  # Windows has no such handlers
                asyncio.get_running_loop().remove_signal_handler(number)

    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=CELL_TIMEOUT,
        extra_arguments=["--log-level=CRITICAL"],  # the kernel's own log, not the notebook's
        on_notebook_start=notebook_starts,
        on_cell_start=cell_starts,
        on_cell_complete=lambda **_: on_cell(),
    )
    # One thread is the fastest for networks of this size, and gives the same numbers everywhere.
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # a debugger's warning on each start of a kernel
    }
    try:
        await client.async_execute(cwd=str(folder), env=environment)
    except CellExecutionError as error:
        reason = f"{error.ename}: {error.evalue}\n\n{error.traceback}"  # it shows the cell
    except CellTimeoutError:
        reason = f"it took more than {CELL_TIMEOUT} s:\n\n{notebook.cells[reached].source}"
    except DeadKernelError:
        reason = f"the kernel died (out of memory?):\n\n{notebook.cells[reached].source}"
    else:
        return None
    return f"{file}, cell {reached + 1} of {len(notebook.cells)}: {reason}"


def outputs(book: Book, chapters: Sequence[Chapter], console: Console) -> None:
    """Write fresh outputs into the notebooks of the course, each file in one step."""
    for chapter, notebook in zip(chapters, execute(book, chapters, console), strict=True):
        write(notebook, book.path(chapter))
        console.print(f"wrote {book.src}/{chapter.file}", highlight=False)
