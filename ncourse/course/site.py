"""From notebooks to pages: run them, keep what they gave, and build the site from it.

A run is kept in `_build/executed/` under a key of everything that it depends on, so a chapter is
run again only when its code, the part of `ncourse` it imports, its recordings, the pinned versions
or Python itself has changed. This module is also the Sphinx extension that the site is built with.
"""

import ast
import asyncio
import contextlib
import copy
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ncourse.book import (
    Book,
    Chapter,
    UnreadableNotebook,
    header,
    map_svg,
    with_colab_lines,
    with_generated,
)
from ncourse.book import read_notebook as read
from ncourse.files import copy_whole, write_whole
from ncourse.pages import (
    BACK_MATTER,
    api_pages,
    claims_page,
    docstring_to_rst,
    references_page,
    short_signature,
    with_anchors,
    with_recordings,
)
from ncourse.references import with_references
from ncourse.slides import deck
from ncourse.teaching import pages as teaching_pages

PACKAGE = Path(__file__).parent
NOTEBOOKS_AT_ONCE = 2
CELL_TIMEOUT = 600  # seconds; twenty times what a cell may take, for slow machines
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
MATHS_CLASS = "tex2jax_process"


class NotebookError(Exception):
    """One or more notebooks did not run to their end; the message says where and why."""


class SiteError(Exception):
    """The site could not be built without warnings; the message is Sphinx's."""


# --- notebooks as files -------------------------------------------------------------------------


def write(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook in one step: whoever reads it, or a kill, meets the old one or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, nbformat.writes(notebook) + "\n")


def clean(notebook: NotebookNode) -> NotebookNode:
    """A copy without what a reader does not need and what differs from run to run.

    Gone are progress bars, widget views beside HTML that says the same, widget state, time stamps
    and the details of the machine's Python.
    """
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
    if WIDGET_VIEW in output.get("data", {}):
        if "text/html" not in output.data:
            return None
        del output.data[WIDGET_VIEW]
    return output


def with_outputs(notebook: NotebookNode, executed: NotebookNode) -> NotebookNode:
    """A copy of the notebook whose code cells have the outputs of the executed one."""
    notebook = copy.deepcopy(notebook)
    pairs = zip(_code_cells(notebook), _code_cells(executed), strict=True)
    for cell, ran in pairs:
        cell.outputs, cell.execution_count = ran.outputs, ran.execution_count
    return notebook


def _code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


# --- what a run depends on ----------------------------------------------------------------------


def execution_key(book: Book, chapter: Chapter, notebook: NotebookNode) -> str:
    """A digest of all that the outputs of a chapter depend on.

    Prose is no part of it: changing a sentence runs nothing.
    """
    cells = [(cell.source, cell.metadata.get("tags", [])) for cell in _code_cells(notebook)]
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

    Two run at a time, each kernel on one thread and in the notebooks' folder. All of them get
    their turn; then a `NotebookError` names each one that failed. What succeeded is kept.
    """
    sources = [read(book.path(chapter)) for chapter in chapters]
    keys = [execution_key(book, *pair) for pair in zip(chapters, sources, strict=True)]
    kept = [_kept_run(book, *job) for job in zip(chapters, sources, keys, strict=True)]
    stale = [index for index, run in enumerate(kept) if run is None]
    if stale:
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
    cells, others = ([cell.source for cell in _code_cells(n)] for n in (run, notebook))
    return run if run.metadata.get("ncourse_key") == key and cells == others else None


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
            cells = sum(bool(cell.source.strip()) for cell in _code_cells(source))
            task = progress.add_task(chapter.file, total=cells, start=False)
            async with turns:
                progress.start_task(task)
                notebook = copy.deepcopy(source)
                failure = await _run(
                    notebook, chapter.file, book.folder, lambda: progress.advance(task)
                )
                progress.stop_task(task)
            if failure is None:
                notebook.metadata["ncourse_key"] = key
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


# --- what is made from the manifest -------------------------------------------------------------


def sync(book: Book) -> list[Path]:
    """Bring everything that is made from the manifest and the bibliography in line with them.

    That is the notebooks' headers, Colab lines, references and tables, the README's tables, and
    the picture of the map. Returns the files that had to change.

    Raises:
        ManifestError, CitationError: if a text has a mark without its end, or cites something that
            the bibliography does not have.
    """
    changed = []
    for chapter in book.chapters:
        notebook = read(book.path(chapter))
        before = json.dumps(notebook)
        if not notebook.cells or notebook.cells[0].cell_type != "markdown":
            notebook.cells.insert(0, nbformat.v4.new_markdown_cell(id="at-a-glance"))
        notebook.cells[0].source = header(book, chapter)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                text = with_generated(book, cell.source)
                cell.source = with_references(text, book.references, chapter.file)
        for cell in _code_cells(notebook)[:1]:
            cell.source = with_colab_lines(book, cell.source)
        if json.dumps(notebook) != before:
            write(notebook, book.path(chapter))
            changed.append(book.path(chapter))
    readme = book.root / "README.md"
    texts = {book.folder / "assets" / "map.svg": map_svg(book)}
    if readme.is_file():
        text = readme.read_text(encoding="utf-8")
        texts[readme] = with_generated(book, text, f"{book.src}/")
    for path, text in texts.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(exist_ok=True)
            write_whole(path, text)
            changed.append(path)
    return changed


def working_copy(book: Book, fresh: Chapter | None = None) -> Path:
    """The reader's own copy of the notebooks, in `my-course/`; a notebook in it is never replaced.

    What they read and link to (recordings, pictures, pages) is brought up to date. `fresh` lays
    today's notebook of one chapter beside the reader's, as `NN-slug.fresh.ipynb`.
    """
    folder = book.root / "my-course"
    folder.mkdir(exist_ok=True)
    for name in ("recorded", "assets"):
        for path in (book.folder / name).rglob("*"):
            if path.is_file() and path.suffix != ".py":
                target = folder / path.relative_to(book.folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                copy_whole(path, target)
    for page in book.folder.glob("*.md"):
        copy_whole(page, folder / page.name)
    for chapter in book.chapters:
        if not (folder / chapter.file).exists():
            copy_whole(book.path(chapter), folder / chapter.file)
    if fresh is not None:
        target = folder / f"{fresh.stem}.fresh.ipynb"
        count = 2
        while target.exists():
            target = folder / f"{fresh.stem}.fresh-{count}.ipynb"
            count += 1
        copy_whole(book.path(fresh), target)
    return folder


# --- the site -----------------------------------------------------------------------------------


def build(book: Book, console: Console) -> Path:
    """Run what must be run, build the site and return its first page.

    Raises `NotebookError`, `ClaimsError` or `SiteError`. With nothing changed it does neither, in
    seconds.
    """
    notebooks = execute(book, book.chapters, console)
    source = book.root / "_build" / "book"
    html = book.root / "_build" / "html"
    stamp = book.root / "_build" / "site.key"
    _write_source(book, notebooks, source)
    key = _digest_of(source, PACKAGE)  # docstrings are pages too
    if stamp.is_file() and stamp.read_text() == key:
        return html / "index.html"
    # Always from nothing, and elsewhere: Sphinx would leave pages that are gone and not repeat its
    # warnings, and the Sphinx of a build that was killed may still be writing.
    stamp.unlink(missing_ok=True)
    for leftover in (book.root / "_build").glob("new-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    place = book.root / "_build" / f"new-{os.getpid()}"
    with console.status("building the site"):
        run = subprocess.run(
            [
                *(sys.executable, "-c", "from jupyter_book.cli.main import main; main()"),
                *("build", str(source), "--path-output", str(place), "-W", "--keep-going"),
            ],
            capture_output=True,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        )
    if run.returncode:
        # Sphinx says what is wrong first; how Jupyter Book then gave up is of no use.
        raise SiteError(run.stderr.partition("Traceback")[0].strip() or run.stdout)
    made = place / "_build" / "html"
    (made / "slides").mkdir()
    for chapter, notebook in zip(book.chapters, notebooks, strict=True):
        slides = made / "slides" / f"{chapter.stem}.html"
        slides.write_text(deck(book, chapter, notebook), encoding="utf-8")
    shutil.rmtree(html, ignore_errors=True)
    os.replace(made, html)
    shutil.rmtree(place)
    write_whole(stamp, key)
    return html / "index.html"


def _write_source(book: Book, notebooks: Sequence[NotebookNode], source: Path) -> None:
    """Lay out what Jupyter Book reads: executed notebooks, pages, assets and its two settings."""
    shutil.rmtree(source, ignore_errors=True)
    ignored = shutil.ignore_patterns("*.ipynb", ".*", "*.css", "*.bib", "teaching")
    shutil.copytree(book.folder, source, ignore=ignored)
    for chapter, notebook in zip(book.chapters, notebooks, strict=True):
        with_anchors(chapter, notebook)
        write(notebook, source / chapter.file)
    pages = {
        "claims": claims_page(book, notebooks),
        "references": references_page(book),
        **teaching_pages(book),
    }
    if PACKAGE.is_relative_to(book.root):  # a checkout of the course, and not a course of someone's
        pages |= api_pages()
    for name, copied in {"changelog": "CHANGELOG.md"}.items():
        if (book.root / copied).is_file():
            pages[name] = (book.root / copied).read_text(encoding="utf-8")
    for path in source.glob("*.md"):
        text = with_generated(book, path.read_text(encoding="utf-8"))
        pages[path.stem] = with_recordings(book.folder / "recorded", text)
    for name, text in pages.items():
        (source / f"{name}.md").write_text(text, encoding="utf-8")
    style = book.folder / "assets" / "site.css"
    if style.is_file():
        (source / "_static").mkdir()
        shutil.copyfile(style, source / "_static" / "site.css")
    # JSON is YAML, so no YAML library is needed.
    (source / "_config.yml").write_text(json.dumps(configuration(book), indent=1))
    (source / "_toc.yml").write_text(json.dumps(navigation(book, pages), indent=1))


def _digest_of(*folders: Path) -> str:
    """A digest of folders: names and contents of their files, and the Python that renders them."""
    digest = hashlib.sha256(sys.version.encode())
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
                digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


def navigation(book: Book, pages: Iterable[str]) -> dict[str, Any]:
    """Jupyter Book's table of contents: the chapters, then those of `pages` that stand by them."""
    behind: list[dict[str, Any]] = [{"file": name} for name in BACK_MATTER if name in pages]
    for entry in behind:
        below = [name for name in pages if name.startswith(f"{entry['file']}-")]
        if entry["file"] in ("api", "teaching"):
            entry["sections"] = [{"file": name} for name in below]
    parts = [
        {"caption": part.title, "chapters": [{"file": chapter.stem} for chapter in part.chapters]}
        for part in book.parts
    ]
    parts.append({"caption": "Look it up", "chapters": behind})
    return {"format": "jb-book", "root": "index", "parts": parts}


def configuration(book: Book) -> dict[str, Any]:
    """Jupyter Book's settings: a site that needs no network, with links out only if asked for."""
    settings: dict[str, Any] = {
        "title": book.title,
        "author": ", ".join(book.authors),
        "copyright": "",
        "only_build_toc_files": True,
        "execute": {"execute_notebooks": "off"},
        # Only what JupyterLab and GitHub render too.
        "parse": {"myst_enable_extensions": ["amsmath", "dollarmath", "html_image", "linkify"]},
        "html": {"use_multitoc_numbering": False},
        "sphinx": {
            "extra_extensions": [
                *("sphinx-mathjax-offline", "sphinx.ext.autodoc", "sphinx.ext.napoleon"),
                "ncourse.site",
            ],
            "config": {
                # In docstrings a word between backticks is code.
                "default_role": "code",
                "autodoc_member_order": "bysource",
                "add_module_names": False,
                "napoleon_use_rtype": False,
                "language": book.language,
                "nb_ipywidgets_js": {},
                # Claims carry their data beside their HTML; pages show the HTML.
                "suppress_warnings": ["myst.domains", "mystnb.unknown_mime_type"],
                # A slider brings both; the static page takes the HTML.
                "nb_mime_priority_overrides": [["html", WIDGET_VIEW, None]],
                "html_context": {"default_mode": "auto"},
                # Excerpts are fetched, which a browser refuses on pages opened as files.
                "html_show_search_summary": False,
                # As in JupyterLab, $…$ is a formula in HTML too: in quiz options (the class is
                # set by `mark_details`) and in what cells show.
                "mathjax3_config": {"tex": {"inlineMath": [["$", "$"], ["\\(", "\\)"]]}},
                "myst_mathjax_classes": f"{MATHS_CLASS}|mathjax_process|math|text_html",
                "html_last_updated_fmt": None,
                "html_domain_indices": False,  # a list of modules; the page `api` is one
                "html_theme_options": {
                    # One search box, in the sidebar.
                    "navbar_persistent": [],
                    "navbar_start": [],
                    "navbar_end": [],
                    "search_bar_text": "Search the course",
                    "show_navbar_depth": 1,
                },
            },
        },
    }
    if (book.folder / "assets" / "favicon.svg").is_file():
        settings["html"]["favicon"] = "assets/favicon.svg"
    theme = settings["sphinx"]["config"]["html_theme_options"]
    if book.repository:
        theme |= {
            "repository_url": f"https://github.com/{book.repository}",
            "repository_branch": "main",
            "path_to_docs": book.src,
            "use_repository_button": True,
            "launch_buttons": {
                "notebook_interface": "jupyterlab",
                "binderhub_url": "https://mybinder.org",
                "colab_url": "https://colab.research.google.com",
            },
        }
    return settings


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
