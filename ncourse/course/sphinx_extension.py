"""The Sphinx extension of the site: quiz options, docstrings, and no scripts from elsewhere."""

import re
from typing import Any

MATHS_CLASS = "tex2jax_process"


def mark_details(app: Any, doctree: Any) -> None:
    """Have MathJax look at the raw HTML of quiz options (Sphinx calls this for each page)."""
    from docutils import nodes  # type: ignore[import-untyped]

    for node in doctree.findall(nodes.raw):
        text = node.astext().replace("<details>", f'<details class="{MATHS_CLASS}">')
        node.children = [nodes.Text(text)]


def setup(app: Any) -> dict[str, Any]:
    """Keep sphinx-thebe's scripts out of the pages, and set up formulas in HTML (for Sphinx).

    Jupyter Book always loads sphinx-thebe; it would put a content network's address on each page.
    """
    from sphinx_thebe import (  # type: ignore[import-untyped]
        init_thebe_core,
        update_thebe_context,
    )

    unwanted = (init_thebe_core, update_thebe_context)
    for name, listeners in app.events.listeners.items():
        app.events.listeners[name] = [
            listener for listener in listeners if listener.handler not in unwanted
        ]
    app.connect("doctree-read", mark_details)
    app.connect("autodoc-process-docstring", docstring_to_rst, priority=100)
    app.connect("autodoc-process-signature", short_signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def short_signature(
    app: Any, what: str, name: str, obj: Any, options: Any, signature: str, returns: str
) -> tuple[str | None, str | None]:
    """A signature without the modules of its types (Sphinx: `autodoc-process-signature`)."""
    short = (text and re.sub(r"~?\b(?:\w+\.)+(?=[A-Z])", "", text) for text in (signature, returns))
    first, second = (text and text.replace("~", "") for text in short)
    return first, second


_TABLE = re.compile(r"^\s*\|.*\|\s*$")


def docstring_to_rst(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Turn a docstring into what Sphinx reads: our tables are Markdown, our bars are norms.

    Sphinx calls this (`autodoc-process-docstring`) before it reads the sections.
    """
    made: list[str] = []
    rows: list[str] = []
    fenced = False
    for line in [*lines, ""]:
        if line.strip().startswith("```"):
            fenced = not fenced
            made += ["", f"{_indent(line)}.. code-block:: python", ""] if fenced else [""]
        elif fenced:
            made.append(f"   {line}")
        elif _TABLE.match(line):
            rows.append(line)
        else:
            made += _list_table(rows)
            rows = []
            made.append(line if line.lstrip().startswith((">>>", "...")) else _escaped(line))
    lines[:] = made


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _list_table(rows: list[str]) -> list[str]:
    """A Markdown table (a head, a rule, rows) as reStructuredText."""
    if not rows:
        return []
    space = _indent(rows[0])
    made = ["", f"{space}.. list-table::", f"{space}   :header-rows: 1", ""]
    for row in (rows[0], *rows[2:]):
        cells = row.strip()[1:-1].split(" | ")  # a bar without spaces is part of a formula
        for index, cell in enumerate(cells):
            mark = "* -" if index == 0 else "  -"
            made.append(f"{space}   {mark} {_escaped(cell.strip())}")
    return [*made, ""]


def _escaped(line: str) -> str:
    """Outside backticks and emphasis, bars, stars and final underscores mean themselves."""
    parts = re.split(r"(`[^`]*`|(?<!\w)\*[\w -]+\*(?!\w))", line)
    parts[::2] = (re.sub(r"([|*])|(?<=\w)_(?=\W|$)", _backslash, part) for part in parts[::2])
    return "".join(parts)


def _backslash(match: re.Match[str]) -> str:
    return "\\" + match[0]
