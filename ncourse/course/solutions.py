"""Hints and solution of each exercise, folded below it: on the site, and not in the notebooks.

They are made from the registry when the site is built, so that they cannot differ from what the
checks take.
"""

import html
import inspect
import re
import textwrap

from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook

from ncourse.exercises import Exercise, find

__all__ = ["folded", "with_solutions"]

_STUB = re.compile(r'^@exercise\("(\d+\.\d+)"\)$', re.MULTILINE)


def with_solutions(notebook: NotebookNode) -> NotebookNode:
    """A notebook with the same cells, and after each exercise what helps with it.

    Raises:
        KeyError: for an exercise that the registry does not have.
    """
    made = new_notebook(metadata=notebook.metadata)
    waiting: Exercise | None = None
    for cell in notebook.cells:
        # The reader's own `hint(...)` stays with its exercise.
        if waiting and not cell.source.startswith("hint("):
            made.cells.append(_cell(waiting))
            waiting = None
        made.cells.append(cell)
        found = _STUB.search(cell.source) if cell.cell_type == "code" else None
        waiting = find(found[1]) if found else waiting
    if waiting:
        made.cells.append(_cell(waiting))
    return made


def _cell(asked: Exercise) -> NotebookNode:
    return new_markdown_cell(folded(asked), id=f"solution-{asked.name.replace('.', '-')}")


def folded(asked: Exercise) -> str:
    """The three hints and the solution, each behind a line of its own, as Markdown."""
    lines = [f"<details><summary>Hints and solution of exercise {asked.name}</summary>", ""]
    for number, text in enumerate(asked.hints, start=1):
        summary = f"Hint {number} of {len(asked.hints)}"
        lines += [f"<details><summary>{summary}</summary>", "", f"<p>{_words(text)}</p>", ""]
        lines += ["</details>", ""]
    source = textwrap.dedent(inspect.getsource(asked.reference)).strip()
    lines += ["<details><summary>Solution</summary>", "", "```python", source, "```", ""]
    lines += [f"<p>{_words(asked.why)}</p>", "", "</details>", "", "</details>"]
    return "\n".join(lines)


def _words(text: str) -> str:
    """Plain text as HTML: words between backticks as code, dollars as dollars."""
    escaped = html.escape(text, quote=False).replace("*", "&#42;").replace("_", "&#95;")
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped)
