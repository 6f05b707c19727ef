"""The site: laid out from executed notebooks and pages, built beside its place, and moved."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from nbformat import NotebookNode
from rich.console import Console

from ncourse.course import PACKAGE
from ncourse.course.execution import execute, stored
from ncourse.course.manifest import Book, with_generated
from ncourse.course.notebooks import WIDGET_VIEW, write
from ncourse.course.pages import (
    BACK_MATTER,
    api_pages,
    claims_page,
    references_page,
    with_anchors,
    with_recordings,
)
from ncourse.course.slides import deck
from ncourse.course.sphinx_extension import MATHS_CLASS
from ncourse.course.teaching import pages as teaching_pages
from ncourse.files import write_whole


class SiteError(Exception):
    """The site could not be built without warnings; the message is Sphinx's."""


def build(book: Book, console: Console, *, as_stored: bool = False) -> Path:
    """Run what must be run, build the site and return its first page.

    With nothing changed it does neither, in seconds.

    Args:
        book: the course.
        console: to show progress on.
        as_stored: whether to run nothing, and to show the outputs that the notebooks have.

    Raises:
        NotebookError: if a notebook fails, or with `as_stored` has not run.
        ClaimsError: if a chapter asserts less than it must.
        SiteError: if Sphinx has an error or a warning.
    """
    chapters = book.chapters
    notebooks = stored(book, chapters) if as_stored else execute(book, chapters, console)
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
                "ncourse.course.sphinx_extension",
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
