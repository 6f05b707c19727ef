"""The site: laid out from executed notebooks and pages, built beside its place, and moved.

Where only words have changed since the last whole site, Sphinx goes on from it and writes the pages
with these words; else, and always in continuous integration, it starts from nothing.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import distribution, distributions
from pathlib import Path
from typing import Any

from nbformat import NotebookNode
from rich.console import Console

from ncourse.course import PACKAGE
from ncourse.course.execution import execute, stored
from ncourse.course.manifest import Book, with_generated
from ncourse.course.notebooks import WIDGET_VIEW, with_figures_as_html, write
from ncourse.course.pages import (
    BACK_MATTER,
    api_pages,
    claims_page,
    references_page,
    with_anchors,
    with_playground,
    with_recordings,
    with_results,
)
from ncourse.course.slides import STYLE as SLIDES_STYLE
from ncourse.course.slides import deck
from ncourse.course.slides import index as slides_index
from ncourse.course.solutions import with_solutions
from ncourse.course.sphinx_extension import MATHS_CLASS, PREVIEW
from ncourse.course.teaching import pages as teaching_pages
from ncourse.files import write_whole

OWN_FILES = ("site.css", "site.js")
"""Of the assets, those that each page of the site loads."""


class SiteError(Exception):
    """The site could not be built without warnings; the message is Sphinx's."""


def build(book: Book, console: Console, *, as_stored: bool = False, solutions: bool = True) -> Path:
    """Run what must be run, build the site and return its first page.

    With nothing changed it does neither, in seconds.

    Args:
        book: the course.
        console: to show progress on.
        as_stored: whether to run nothing, and to show the outputs that the notebooks have.
        solutions: whether hints and solutions stand below the exercises, and the pages for
            teachers, which show wrong and model answers, are there.

    Raises:
        NotebookError: if a notebook fails, or with `as_stored` has not run.
        ClaimsError: if a chapter asserts less than it must.
        SiteError: if Sphinx has an error or a warning.
    """
    chapters = book.chapters
    notebooks = stored(book, chapters) if as_stored else execute(book, chapters, console)
    folder = book.root / "_build"
    source, html, stamp = folder / "book", folder / "html", folder / "site.json"
    _write_source(book, notebooks, source, solutions=solutions)
    made_from = _made_from(book, source)
    last = _last_site(stamp) if (html / "index.html").is_file() else None
    if last == made_from:
        return html / "index.html"
    # Elsewhere, because the Sphinx of a build that was killed may still be writing.
    for leftover in folder.glob("new-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    place = folder / f"new-{os.getpid()}"
    with console.status("building the site"):
        if last and last["beyond"] == made_from["beyond"] and not os.environ.get("CI"):
            _lay_out_last_site(folder, place, source, last["pages"], made_from["pages"])
            if _run_sphinx(source, place):  # it may come of what was there; from nothing will tell
                shutil.rmtree(place)
            else:
                _keep_index_entries(html, place / "_build" / "html")
        if not place.exists():
            error = _run_sphinx(source, place)
            if error:
                raise SiteError(error)
    made, doctrees = place / "_build" / "html", place / "_build" / ".doctrees"
    for chapter, notebook in zip(book.chapters, notebooks, strict=True):
        write(notebook, made / "_sources" / chapter.file)  # for download, without scripts
    (made / "slides").mkdir()
    for chapter, notebook in zip(book.chapters, notebooks, strict=True):
        slides = made / "slides" / f"{chapter.stem}.html"
        slides.write_text(deck(book, chapter, notebook), encoding="utf-8")
    (made / "slides" / "index.html").write_text(slides_index(book, notebooks), encoding="utf-8")
    (made / "licences.txt").write_text(licences(), encoding="utf-8")
    stamp.unlink(missing_ok=True)  # from here to the end there is no whole site to go on from
    for new, old in ((made, html), (doctrees, folder / "doctrees")):
        shutil.rmtree(old, ignore_errors=True)
        os.replace(new, old)
    shutil.rmtree(place)
    write_whole(stamp, json.dumps(made_from))
    return html / "index.html"


def _run_sphinx(source: Path, place: Path) -> str:
    """Build the site in this place; return what is wrong, or nothing."""
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
    if not run.returncode:
        return ""
    # Sphinx says what is wrong first; how Jupyter Book then gave up is of no use.
    return run.stderr.partition("Traceback")[0].strip() or run.stdout


_SHOWN = (
    *("sphinx-book-theme", "pydata-sphinx-theme", "sphinx", "sphinx-design", "sphinx-copybutton"),
    *("sphinx-togglebutton", "sphinx-thebe", "myst-nb", "sphinx-revealjs"),
)
"""Packages of which a site has files: styles, scripts, fonts, the engine of the slides."""


def licences() -> str:
    """The licences of what a site contains of others, as they were installed."""
    apache = "https://www.apache.org/licenses/LICENSE-2.0"
    texts = [
        "What this site contains that others made, and under which licence. The course itself: "
        "code MIT, text and figures CC BY 4.0.",
        "# Digits of the playground and in figures\n\nE. Alpaydin, C. Kaynak: Optical Recognition "
        "of Handwritten Digits, UCI Machine Learning Repository 1998, "
        "https://doi.org/10.24432/C50P49, CC BY 4.0",
        f"# MathJax\n\nCopyright The MathJax Consortium. Apache License 2.0, {apache}",
    ]
    for name in _SHOWN:
        package = distribution(name)
        for file in package.files or ():
            if re.match(r"LICEN[CS]E|COPYING|NOTICE|.*LICENSE(\.txt)?$", file.name):
                text = Path(file.locate()).read_text(encoding="utf-8")
                texts.append(f"# {name} {package.version}: {file.as_posix()}\n\n{text.strip()}")
    return "\n\n\n".join(texts) + "\n"


# --- what a site is made from -------------------------------------------------------------------


def _made_from(book: Book, source: Path) -> dict[str, Any]:
    """What a site is made from: a digest of each page, and one of all that reaches beyond a page.

    To the latter belong the names of the pages and what others may refer to in them, all files that
    are no pages, the package (docstrings are pages too), and what is installed.
    """
    pages: dict[str, str] = {}
    installed = sorted(f"{found.name} {found.version}" for found in distributions())
    beyond = hashlib.sha256(json.dumps([sys.version, installed]).encode())
    files = [path for folder in (source, PACKAGE) for path in sorted(folder.rglob("*"))]
    for path in [*files, book.folder / "assets" / SLIDES_STYLE]:
        if not path.is_file() or "__pycache__" in path.parts:
            continue
        content = path.read_bytes()
        if path.parent == source and path.suffix in (".md", ".ipynb"):
            pages[path.name] = hashlib.sha256(content).hexdigest()
            content = json.dumps(list(_beyond_words(path))).encode()
        beyond.update(path.as_posix().encode() + b"\0" + content + b"\0")
    return {"beyond": beyond.hexdigest(), "pages": pages}


def _beyond_words(path: Path) -> Iterator[str]:
    """What of a page is more than words: structure, and the code cells of a notebook as a whole."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        yield from _structure(text)
        return
    for cell in json.loads(text)["cells"]:
        if cell["cell_type"] == "markdown":
            yield from _structure("".join(cell.pop("source")))
        yield json.dumps(cell)


_STRUCTURE = re.compile(r"\s*(#|\(.*\)=|:::|`{3}|~{3}|\$\$|\\|<|%|\+\+\+|[=-]+\s*$)")
_UNDERLINED = re.compile(r"\S[ \t]*\n[ \t]*(=+|-+)[ \t]*$", re.MULTILINE)


def _structure(text: str) -> Iterator[str]:
    """The lines of Markdown to which other pages may refer, or that are not read as words.

    These are headings, labels, formulas on lines of their own, HTML, rules, and whatever stands
    between fences: code and directives. Where a heading is underlined, all lines are.
    """
    if _UNDERLINED.search(text):
        yield text
        return
    fence = ""
    for line in text.splitlines():
        if fence or _STRUCTURE.match(line):
            yield line
        mark = re.match(r"\s*(`{3,}|~{3,}|:{3,})", line)
        if mark and not fence:
            fence = mark[1]
        elif fence and line.strip() == fence:
            fence = ""


def _last_site(stamp: Path) -> dict[str, Any] | None:
    """What the site that is there was made from; None if there is no whole one."""
    try:
        last = json.loads(stamp.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return last if isinstance(last, dict) and set(last) == {"beyond", "pages"} else None


def _lay_out_last_site(
    folder: Path, place: Path, source: Path, before: Mapping[str, str], now: Mapping[str, str]
) -> None:
    """Copy the last site to where a new one is built, and let Sphinx see which pages differ.

    Sphinx goes by time: whatever is as it was is dated long before the last site. Slides and what
    comes with the theme are made anew each time.
    """
    made = place / "_build"
    anew = shutil.ignore_patterns("slides", "_static")
    shutil.copytree(folder / "html", made / "html", ignore=anew)
    shutil.copytree(folder / "doctrees", made / ".doctrees")
    for path in source.rglob("*"):
        if before.get(path.name) == now.get(path.name):
            os.utime(path, (0, 0))


def _keep_index_entries(last: Path, made: Path) -> None:
    """Put the index's entries into what the search box searches; only words have changed.

    Sphinx loses those of the pages that it does not write again.
    """
    before, now = (
        (folder / "searchindex.js").read_text(encoding="utf-8") for folder in (last, made)
    )
    start, end = now.index("{"), now.rindex("}") + 1
    index = json.loads(now[start:end])
    index["indexentries"] = json.loads(before[start:].rstrip(")"))["indexentries"]
    text = json.dumps(index, sort_keys=True)
    (made / "searchindex.js").write_text(now[:start] + text + now[end:], encoding="utf-8")


# --- how it is laid out -------------------------------------------------------------------------


def _write_source(
    book: Book, notebooks: Sequence[NotebookNode], source: Path, *, solutions: bool
) -> None:
    """Lay out what Jupyter Book reads: executed notebooks, pages, assets and its two settings."""
    shutil.rmtree(source, ignore_errors=True)
    ignored = shutil.ignore_patterns("*.ipynb", ".*", "*.css", "*.bib", "teaching")
    shutil.copytree(book.folder, source, ignore=ignored)
    for chapter, notebook in zip(book.chapters, notebooks, strict=True):
        with_anchors(chapter, notebook)
        shown = with_figures_as_html(with_solutions(notebook) if solutions else notebook)
        write(shown, source / chapter.file)
    pages = {
        "claims": claims_page(book, notebooks),
        "references": references_page(book),
        **(teaching_pages(book, notebooks) if solutions else {}),
    }
    if PACKAGE.is_relative_to(book.root):  # a checkout of the course, and not a course of someone's
        pages |= api_pages(book.papers_of_drafts)
    for name, copied in {"changelog": "CHANGELOG.md"}.items():
        if (book.root / copied).is_file():
            pages[name] = (book.root / copied).read_text(encoding="utf-8")
    for path in source.glob("*.md"):
        text = with_generated(book, path.read_text(encoding="utf-8"))
        text = with_results(book, notebooks, text)
        pages[path.stem] = with_playground(with_recordings(book.folder / "recorded", text))
    for name, text in pages.items():
        (source / f"{name}.md").write_text(text, encoding="utf-8")
    (source / "_static").mkdir()
    for name in (*OWN_FILES, PREVIEW):
        if (book.folder / "assets" / name).is_file():
            shutil.copyfile(book.folder / "assets" / name, source / "_static" / name)
    # JSON is YAML, so no YAML library is needed.
    (source / "_config.yml").write_text(json.dumps(configuration(book), indent=1))
    (source / "_toc.yml").write_text(json.dumps(navigation(book, pages), indent=1))


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
                "html_context": {"default_mode": "auto", "description": book.description},
                # Excerpts are fetched, which a browser refuses on pages opened as files.
                "html_show_search_summary": False,
                # As in JupyterLab, $…$ is a formula in HTML too: in quiz options (the class is
                # set by `mark_details`) and in what cells show.
                "mathjax3_config": {"tex": {"inlineMath": [["$", "$"], ["\\(", "\\)"]]}},
                "myst_mathjax_classes": f"{MATHS_CLASS}|mathjax_process|math|text_html",
                "html_last_updated_fmt": None,
                "html_baseurl": book.address,
                "html_js_files": ["site.js"] if (book.folder / "assets/site.js").is_file() else [],
                # What is folded on the page is on paper: a quiz's answers, code that draws.
                "togglebutton_open_on_print": False,
                "html_domain_indices": False,  # a list of modules; the page `api` is one
                "html_theme_options": {
                    "logo": {"text": book.title},
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
    if book.on_github:  # Colab and Binder open notebooks from there
        theme |= {
            "repository_url": book.web_address,
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
