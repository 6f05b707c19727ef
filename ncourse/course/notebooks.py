"""Notebooks as files: read and checked, written in one step, and what of a run is kept in them.

nbformat is imported where it is used: its schema checker takes as long to load as PyTorch, and
whoever only asks what a notebook's cells say does without it.
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ncourse.figures.live import LIVE, is_figure, script, to_html
from ncourse.files import write_whole

if TYPE_CHECKING:
    from nbformat import NotebookNode

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class UnreadableNotebook(ValueError):
    """A file that should be a notebook and is none: the message names it."""


class Cell(NamedTuple):
    """A cell without its outputs: its kind ("code", "markdown" or "raw"), and what it says."""

    cell_type: str
    source: str


class Contents(NamedTuple):
    """What a notebook says: its cells in order, and its metadata."""

    cells: list[Cell]
    metadata: dict[str, Any]


def contents(path: Path) -> Contents:
    """What a notebook says. Outputs are not looked at, and may be wrong.

    Raises:
        UnreadableNotebook: naming the file, if its cells cannot be told.
    """
    try:
        notebook = json.loads(path.read_bytes())  # in UTF-8, UTF-16 or UTF-32, with a mark or not
        found = _plain_cells(notebook["cells"]) if notebook["nbformat"] == 4 else None
        metadata = notebook.get("metadata")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        found = metadata = None
    if found is None:  # of an older version, or damaged: nbformat converts it, or says how
        whole = read(path)
        found = [Cell(cell.cell_type, cell.source) for cell in whole.cells]
        metadata = whole.metadata
    return Contents(found, metadata if isinstance(metadata, dict) else {})


def cells(path: Path) -> list[Cell]:
    """The cells of a notebook, in order; `contents` without the metadata.

    Raises:
        UnreadableNotebook: naming the file, if its cells cannot be told.
    """
    return contents(path).cells


def _plain_cells(entries: Any) -> list[Cell] | None:
    """The cells of version 4 as they stand in JSON; None if one of them is something else."""
    found = []
    for entry in entries:
        kind, source = entry["cell_type"], entry["source"]
        lines = [source] if isinstance(source, str) else source
        if not (isinstance(kind, str) and all(isinstance(line, str) for line in lines)):
            return None
        found.append(Cell(kind, "".join(lines)))
    return found


def read(path: Path) -> NotebookNode:
    """Read a notebook of any version, as version 4.

    Raises:
        UnreadableNotebook: naming the file, if it is no notebook or not a valid one.
    """
    import nbformat

    text = path.read_bytes()
    try:
        # `nbformat.read` would let an invalid notebook pass, with a line in a log.
        notebook = nbformat.convert(nbformat.reader.reads(text.decode("utf-8-sig")), 4)
        nbformat.validate(notebook)
    except Exception as error:  # whatever nbformat meets in a damaged file
        reason = str(error).partition("\n")[0][:200]
        raise UnreadableNotebook(f"{path} is not a notebook: {reason}") from error
    return notebook


def write(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook in one step: whoever reads it, or a kill, meets the old one or the new."""
    import nbformat

    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, nbformat.writes(notebook) + "\n")


def clean(notebook: NotebookNode) -> NotebookNode:
    """A copy without what a reader does not need and what differs from run to run.

    Gone are progress bars, widget views beside HTML that says the same, widget state, time stamps
    and the details of the machine's Python.
    """
    import nbformat

    notebook = copy.deepcopy(notebook)
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = _joined([out for out in map(_clean_output, cell.outputs) if out])
    return notebook


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """One output for what was printed in a row: a progress bar may have come in between."""
    joined: list[NotebookNode] = []
    for output in outputs:
        before = joined[-1] if joined else None
        if before and before.get("name") == output.get("name", "") != "":
            before.text += output.text
        else:
            joined.append(output)
    return joined


# `40%|████      | 4/10 [00:01<00:02,  2.5it/s]`, and the count without a total, `4it [00:01, …]`.
_PROGRESS_BAR = re.compile(r"\d+%\|.*\|\s*\d|^\d+it \[\d|\x1b\[A")


def _clean_output(output: NotebookNode) -> NotebookNode | None:
    """One output as a static page shows it, or None for a progress bar."""
    if output.output_type == "stream" and output.name == "stderr":
        lines = re.split(r"(?<=[\r\n])", output.text)
        output.text = "".join(
            line for line in lines if line.strip() and not _PROGRESS_BAR.search(line)
        )
        return output if output.text else None
    if output.output_type == "display_data" and not output.data:
        return None
    if WIDGET_VIEW in output.get("data", {}):
        if "text/html" not in output.data:
            return None
        del output.data[WIDGET_VIEW]
    if is_figure(output):
        output.data.pop("text/html", None)  # for a running notebook; what it is made of stays
    return output


def with_outputs(notebook: NotebookNode, executed: NotebookNode) -> NotebookNode:
    """A copy of the notebook whose code cells have the outputs of the executed one."""
    notebook = copy.deepcopy(notebook)
    pairs = zip(code_cells(notebook), code_cells(executed), strict=True)
    for cell, ran in pairs:
        cell.outputs, cell.execution_count = ran.outputs, ran.execution_count
    return notebook


def with_figures_as_html(notebook: NotebookNode) -> NotebookNode:
    """A copy of the notebook in which figures are HTML, each live module once, for a page."""
    notebook = copy.deepcopy(notebook)
    modules: set[str] = set()
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if not is_figure(output):
                continue
            page = to_html(output.data, output.metadata)
            module = output.data.get(LIVE, {}).get("module")
            if module and module not in modules:
                page += f'<script type="module">{script(module)}</script>'
                modules.add(module)
            output.data = type(output.data)({"text/html": page})
    return notebook


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The code cells of a notebook, in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]
