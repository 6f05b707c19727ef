"""The Sphinx extension of the site: quiz options, docstrings, and no scripts from elsewhere."""

import html
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ncourse.course.assignments import levels_in_words
from ncourse.files import write_whole

MATHS_CLASS = "tex2jax_process"
PREVIEW = "preview.png"
"""Of the assets, the picture beside a link to the site."""


def mark_details(app: Any, doctree: Any) -> None:
    """Have MathJax look at the raw HTML of quiz options (Sphinx calls this for each page)."""
    from docutils import nodes  # type: ignore[import-untyped]

    for node in doctree.findall(nodes.raw):
        text = node.astext().replace("<details>", f'<details class="{MATHS_CLASS}">')
        node.children = [nodes.Text(text)]


def describe(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Say in a page's head what it is about: to search engines, and where links are previewed.

    That is the course's description for the first page, else the page's first sentences. Sphinx
    calls this (`html-page-context`) before it writes a page.
    """
    from docutils import nodes

    about = app.config.html_context["description"]
    if page == app.config.root_doc:
        context["docstitle"] = about.partition(":")[0].lower()
    elif doctree is not None:
        paragraphs = doctree.findall(nodes.paragraph)
        words = [one.astext() for one in paragraphs if isinstance(one.parent, nodes.section)]
        words = [text for text in words if len(text) > 60]
        about = " ".join((words or [about])[0].split())
    about = about if len(about) <= 200 else about[:200].rpartition(" ")[0] + " …"
    title = html.escape(re.sub("<[^>]*>", "", context.get("title", "")))
    # What shows a link asks for whole addresses; without one there is no picture.
    site = app.config.html_baseurl
    picture = Path(app.srcdir) / "_static" / PREVIEW
    shown = f'<meta property="og:image" content="{html.escape(site)}_static/{PREVIEW}">\n'
    context["metatags"] = (
        context.get("metatags", "")
        + f'<meta name="description" content="{html.escape(about)}">\n'
        + f'<meta property="og:title" content="{title}">\n'
        + f'<meta property="og:description" content="{html.escape(about)}">\n'
        + '<meta property="og:type" content="article">\n'
        + (shown if site and picture.is_file() else "")
    )


_SCRIPT = re.compile(r"<script.*?</script>", re.DOTALL)


def without_idle_mathjax(
    app: Any, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Leave MathJax, more than a megabyte, out of pages without a formula (`html-page-context`)."""
    from docutils import nodes

    if doctree is not None:
        kinds = (nodes.math, nodes.math_block)
        if any(True for kind in kinds for _ in doctree.findall(kind)):
            return
        shown = (_SCRIPT.sub("", one.astext()) for one in doctree.findall(nodes.raw))
        if any("$" in text or "\\(" in text for text in shown):
            return
    context["script_files"] = [  # its file, and the settings that stand in the page
        one
        for one in context["script_files"]
        if "mathjax" not in f"{one.filename}{one.attributes.get('body')}".lower()
    ]


def add_search_scripts(
    app: Any, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Load what the search page shows of each result before Sphinx's scripts look for it."""
    if page == "search" and _search_script(app).is_file():
        names = ("passages.js", "search.js")
        scripts = "".join(f'<script src="_static/{name}"></script>\n' for name in names)
        context["metatags"] = context.get("metatags", "") + scripts


def _search_script(app: Any) -> Path:
    """Not in `_static`: Jupyter Book has every page load what lies there."""
    return Path(app.srcdir) / "assets" / "search.js"


def write_passages(app: Any, exception: Exception | None) -> None:
    """Write what search results show: the text of each page's sections (`build-finished`).

    Sphinx would fetch each page that it found, which a browser refuses on pages opened as files.
    """
    if exception is not None or not _search_script(app).is_file():
        return
    pages = sorted(app.env.found_docs)
    passages = {page: list(_passages(app.env.get_doctree(page))) for page in pages}
    text = json.dumps(passages, ensure_ascii=False, separators=(",", ":"))
    static = Path(app.outdir) / "_static"
    write_whole(static / "passages.js", f"var PASSAGES = {text};\n")
    shutil.copyfile(_search_script(app), static / "search.js")


_DRAWN = re.compile("<(img|svg|script|style|canvas)")
_TAG = re.compile("<[^>]*>")


def _passages(doctree: Any) -> Iterator[tuple[str, str, str]]:
    """Anchor, title and words of each section, each entry of a glossary, each documented name."""
    from docutils import nodes
    from sphinx import addnodes

    def words(node: Any) -> str:
        if isinstance(node, nodes.math | nodes.math_block):
            # What is short is read as it is written; the rest is for a page that typesets it.
            return node.astext() if re.fullmatch(r"[\w =<>+.,()-]{1,16}", node.astext()) else "…"
        if isinstance(node, nodes.Text):
            return node.astext()
        if isinstance(node, nodes.raw):
            return "" if _DRAWN.search(node.astext()) else _TAG.sub(" ", node.astext())
        if isinstance(node, nodes.comment):
            return ""
        apart = "" if isinstance(node, nodes.TextElement) else " "
        return apart.join(words(child) for child in node.children)

    for section in doctree.findall(nodes.section):
        left_out = (nodes.section, addnodes.index)
        own = [one for one in section.children[1:] if not isinstance(one, left_out)]
        own.sort(key=lambda one: isinstance(one, nodes.table | nodes.container))  # prose first
        text = " ".join(map(words, own))
        yield section["ids"][0], section[0].astext(), html.unescape(" ".join(text.split()))
        if section["ids"][0] == "glossary":
            for one in own:
                first = next((child for child in one if child.astext()), None)
                if isinstance(first, nodes.strong):
                    yield "glossary", first.astext(), " ".join(words(one).split())
    for one in doctree.findall(addnodes.desc):
        if one[0].get("ids"):
            about = next(iter(one[-1].findall(nodes.paragraph)), None)
            yield one[0]["ids"][0], one[0]["ids"][0], "" if about is None else words(about)


_ICONS = re.compile(r' *<script defer src="_static/scripts/fontawesome\.js[^>]*></script>\n')
_FIXES = (
    # A name that does not contain the words that stand there: who speaks to a machine says those.
    (re.compile(r'(<summary[^>]*?) aria-label="Toggle hidden content"'), r"\1"),
    (re.compile(r'(<button [^>]*search-button-field[^>]*?) aria-label="Search"'), r"\1"),
    (re.compile(r'(<button [^>]*theme-switch-button[^>]*?)aria-label="Color mode"'), r"\1"),
    # A button without words: the part of the table of contents below the link beside it.
    (
        re.compile(r'<summary>(<span class="toctree-toggle" role="presentation">.*?</span>)'),
        r'<summary aria-label="more pages">\1',
    ),
    (re.compile(r'<th class="head[^"]*">(<p></p>)?</th>'), "<td></td>"),  # nothing to read there
    (
        re.compile(r'<div id="pst-primary-sidebar" class'),
        '<div id="pst-primary-sidebar" role="complementary" aria-label="Chapters" class',
    ),
)


def tidy(app: Any, exception: Exception | None) -> None:
    """Take out of the built pages what weighs and is not needed, and name what has no name.

    The theme has its icons twice, as a font and as a script of 1.5 MB; the font is enough. Sphinx
    calls this (`build-finished`).
    """
    if exception is not None:
        return
    out = Path(app.outdir)
    for path in out.glob("*.html"):
        made = path.read_text(encoding="utf-8")
        page = _ICONS.sub("", made)
        for pattern, replacement in _FIXES:
            page = pattern.sub(replacement, page)
        page = levels_in_words(page)
        if page != made:
            write_whole(path, page)
    for unused in ("_static/scripts/fontawesome.js*", "_static/scripts/*.map"):
        for path in out.glob(unused):
            path.unlink()


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
    app.connect("html-page-context", describe)
    # After Sphinx's own listener (priority 500) has put it in.
    app.connect("html-page-context", without_idle_mathjax, priority=900)
    app.connect("html-page-context", add_search_scripts)
    app.connect("build-finished", tidy)
    app.connect("build-finished", write_passages)
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
