"""The reader's own copy of the course, `my-course/`: what they write in it is never replaced."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ncourse.course.manifest import Book, Chapter
from ncourse.figures.live import is_figure, running_html
from ncourse.files import copy_whole, write_whole

__all__ = ["SETTINGS", "WorkingCopy", "working_copy"]

SETTINGS = ".jupyterlab"
"""The folder in a copy with what JupyterLab is asked to do by default."""

_RECORD = ".copied.json"
_PLAYGROUND = "playground.ipynb"
_PLAYS = "from ncourse.figures.playground import playground\n\nplayground()"
_DEFAULTS: dict[str, dict[str, Any]] = {
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
    },
    # Names are as long as the column is wide.
    "@jupyterlab/filebrowser-extension:browser": {"showLastModifiedColumn": False},
    "@jupyterlab/docmanager-extension:plugin": {"defaultViewers": {"markdown": "Markdown Preview"}},
}


@dataclass(frozen=True)
class WorkingCopy:
    """A copy of the course.

    Args:
        folder: where it is.
        notes: what its reader should know of it: pages that are theirs, chapters that have changed.
        laid: the name of the fresh notebook that was laid beside the reader's own, or "".
    """

    folder: Path
    notes: tuple[str, ...]
    laid: str


def working_copy(
    book: Book, fresh: Chapter | None = None, folder: Path | None = None
) -> WorkingCopy:
    """Bring the reader's copy up to date.

    A notebook in it is never replaced, nor a page that was edited. Recordings, pictures and pages
    as they were copied follow the course. Drafts are left out. A notebook of one cell shows the
    playground, which stands on a page of the site.

    Args:
        book: the course.
        fresh: lay today's notebook of this chapter beside the reader's, as `NN-slug.fresh.ipynb`.
        folder: where the copy is; `my-course/` beside the course if None.
    """
    folder = folder or book.root / "my-course"
    folder.mkdir(exist_ok=True)
    record = _recorded(folder / _RECORD)
    notes = []
    for name in ("recorded", "assets"):
        for path in (book.folder / name).rglob("*"):
            if path.is_file() and path.suffix != ".py":
                target = folder / path.relative_to(book.folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                copy_whole(path, target)
    for page in sorted(book.folder.glob("*.md")):
        mine, today = folder / page.name, _digest(page)
        if mine.exists() and _digest(mine) not in (today, record.get(page.name)):
            if record.get(page.name) != today:
                notes.append(
                    f"{page.name} was edited and is kept; delete it and start again for today's"
                )
            continue
        copy_whole(page, mine)
        record[page.name] = today
    for chapter in book.chapters:
        path = book.path(chapter)
        today = _digest(path)
        if not (folder / chapter.file).exists():
            _copy_notebook(path, folder / chapter.file)
            record[chapter.file] = today
        elif fresh is not None and fresh.file == chapter.file:
            record[chapter.file] = today  # it is laid below: its reader has what is new
        elif record.setdefault(chapter.file, today) != today:
            notes.append(
                f"chapter {chapter.number} has changed since you began it; "
                f"ncourse lab --fresh {chapter.number} lays today's beside yours"
            )
    laid = ""
    if fresh is not None:
        laid = f"{fresh.stem}.fresh.ipynb"
        count = 2
        while (folder / laid).exists():
            laid = f"{fresh.stem}.fresh-{count}.ipynb"
            count += 1
        _copy_notebook(book.path(fresh), folder / laid)
    if not (folder / _PLAYGROUND).exists():
        write_whole(folder / _PLAYGROUND, json.dumps(_notebook(_PLAYS), indent=1) + "\n")
    (folder / SETTINGS).mkdir(exist_ok=True)
    write_whole(folder / SETTINGS / "overrides.json", json.dumps(_DEFAULTS, indent=1))
    write_whole(folder / _RECORD, json.dumps(record, indent=1))
    return WorkingCopy(folder, tuple(notes), laid)


def _copy_notebook(source: Path, target: Path) -> None:
    """Copy a notebook; the code that only draws is folded, as on the site.

    Figures get the HTML that they have in a notebook that has run. JupyterLab shows a stored PNG
    without its alt text; of HTML that it does not trust it keeps the picture and its alt text.
    """
    notebook = json.loads(source.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if "hide-input" in cell["metadata"].get("tags", []):
            cell["metadata"].setdefault("jupyter", {})["source_hidden"] = True
        for output in filter(is_figure, cell.get("outputs", [])):
            output["data"]["text/html"] = running_html(output["data"], output["metadata"])
    write_whole(target, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def _notebook(code: str) -> dict[str, Any]:
    """A notebook of one cell."""
    cell = {"cell_type": "code", "id": "cell-0", "metadata": {}, "source": code}
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {
        "cells": [cell | {"execution_count": None, "outputs": []}],
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _digest(path: Path) -> str:
    """Of a page its text; of a notebook what its cells say, whatever they have put out."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        text = json.dumps([cell["source"] for cell in json.loads(text)["cells"]])
    return hashlib.sha256(text.encode()).hexdigest()


def _recorded(path: Path) -> dict[str, str]:
    """What was copied before, name -> digest; nothing if that cannot be read."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
