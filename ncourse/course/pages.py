"""Pages of the site that are made and not written: claims, references, the package's interface.

Each is made from what it is about: claims from the executed notebooks, references from the
bibliography, the interface from docstrings. So none of them can say something else than its source.
"""

import base64
import html
import json
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nbformat import NotebookNode

from ncourse.claims import CLAIM_MIME, Recording, numbers
from ncourse.course import PACKAGE
from ncourse.course.manifest import Book, Chapter
from ncourse.course.notebooks import read
from ncourse.figures.live import is_figure, to_html

BACK_MATTER = (
    *("playground", "teaching", "in-a-class", "your-server", "project"),
    *("claims", "notation", "glossary", "refresher"),
    *("after", "your-model", "larger-runs", "beyond-digits", "cost", "data-sets"),
    *("references", "api", "changelog"),
)
"""The pages behind the chapters, in order; those that are not written by hand are made here."""


class ClaimsError(Exception):
    """A chapter shows or asserts less than the course promises; the message says which and what."""


# --- claims -------------------------------------------------------------------------------------


def claims_of(notebook: NotebookNode) -> list[dict[str, Any]]:
    """What an executed notebook asserts, in order; claims that are only reported are left out."""
    return [data[CLAIM_MIME] for data in _claim_outputs(notebook)]


def _claim_outputs(notebook: NotebookNode) -> Iterator[dict[str, Any]]:
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            made = data.get(CLAIM_MIME, {"binding": False})
            try:
                texts = [made["text"], made["source"], data["text/html"]] if made["binding"] else []
            except (KeyError, TypeError) as error:
                raise ClaimsError(f"an output is no whole claim ({error!r}): {made!r}") from error
            if not all(isinstance(text, str) for text in texts):
                raise ClaimsError(f"an output is no whole claim: {made!r}")
            if texts:
                yield data


def missing_claims(chapter: Chapter, notebook: NotebookNode) -> list[str]:
    """What a chapter owes: a claim about each of its papers, data and a control for each claim."""
    claims = claims_of(notebook)
    sources = " ".join(claim["source"] for claim in claims)
    owed = [
        f"{chapter.file} has no claim about {paper.label}"
        for paper in chapter.papers
        if paper.label not in sources
    ]
    for claim in claims:
        owed += [
            f"{chapter.file}: no {name} for the claim: {claim['text']}"
            for name in ("control", "measured", "source", "data")
            if not claim.get(name)
        ]
    return owed


def with_anchors(chapter: Chapter, notebook: NotebookNode) -> None:
    """Give each claim of a notebook the address that the page of claims links to (in place)."""
    for index, data in enumerate(_claim_outputs(notebook), start=1):
        name = _anchor(chapter, index)
        data["text/html"] = data["text/html"].replace("<details ", f'<details id="{name}" ', 1)


def _anchor(chapter: Chapter, index: int) -> str:
    return f"claim-{chapter.number}-{index}"


def claims_page(book: Book, notebooks: Sequence[NotebookNode]) -> str:
    """All claims of the executed notebooks (one for each chapter, in order), as Markdown.

    Raises:
        ClaimsError: if a chapter has no claim about one of its papers, or a claim lacks what was
            measured, its control, its source or its data.
    """
    owed = [
        line
        for chapter, notebook in zip(book.chapters, notebooks, strict=True)
        for line in missing_claims(chapter, notebook)
    ]
    if owed:
        raise ClaimsError("\n".join(owed))
    total = sum(len(claims_of(notebook)) for notebook in notebooks)
    lines = [
        "# Everything that was claimed",
        "",
        f"{total} claims in {len(book.chapters)} chapters, read from the notebooks after they were "
        "run; nothing on this page was typed. Each names its threshold, and unfolded what was "
        "measured, the control in which a condition was taken away, where the statement comes "
        "from, and the data. A number links to the cell that asserts it. Where the source is "
        "*this course*, the statement is ours, and its proof or measurement is in that chapter; "
        "what a chapter says of a paper is only what that paper is known to say.",
        "",
        "| | Chapter | Claims |",
        "|---|---|---:|",
    ]
    numbered = list(zip(book.chapters, notebooks, strict=True))
    lines += [
        f"| {chapter.number} | [{chapter.title}]({chapter.file}) | {len(claims_of(notebook))} |"
        for chapter, notebook in numbered
    ]
    for chapter, notebook in numbered:
        papers = "; ".join(f"[{paper.label}]({paper.url})" for paper in chapter.papers)
        lines += ["", f"## {chapter.heading}", "", papers, ""]
        for index, data in enumerate(_claim_outputs(notebook), start=1):
            address = f"{chapter.stem}.html#{_anchor(chapter, index)}"
            name = f"Claim {chapter.number}.{index}"
            card = re.sub(r' id="[^"]*"', "", data["text/html"], count=1)
            ours = data[CLAIM_MIME]["source"].lower().startswith("this course")
            lines += [
                f'<div class="nc-claim-entry" data-from="{"course" if ours else "papers"}">'
                f'<a href="{html.escape(address)}">{name}</a>{card}</div>',
                "",
            ]
    return "\n".join(lines)


# --- recorded runs ------------------------------------------------------------------------------

_BESIDE = re.compile(r"^<!-- beside (\S+) (\S+) -->$", flags=re.MULTILINE)
_TABLE_OF = re.compile(r"^<!-- table (\S+) -->$", flags=re.MULTILINE)
_CURVES = re.compile(r"^<!-- curves (\S+) \| (.+) \| (.+) -->$", flags=re.MULTILINE)


def with_recordings(folder: Path, text: str) -> str:
    """A page with its marks replaced by what recordings say; nothing measured is typed on a page.

    A mark is a line of its own. `<!-- beside OTHER LAPTOP -->` becomes the claims of `OTHER.json`,
    under each what `LAPTOP.json` has to the claim of the same words.
    `<!-- curves OTHER | TABLE | ALT -->` becomes NC1 to NC4 of that table and, dashed, of "TABLE,
    no weight decay", with the text ALT for those who cannot see it. `<!-- table NAME -->` becomes
    `NAME.json`, a table in plain data.

    Args:
        folder: of the recordings.
        text: of the page, Markdown.

    Raises:
        OSError, ValueError: if a recording is missing or damaged, naming it.
    """
    text = _BESIDE.sub(lambda found: _beside(folder, found[1], found[2]), text)
    text = _TABLE_OF.sub(lambda found: _plain_table(folder / f"{found[1]}.json"), text)
    return _CURVES.sub(lambda found: _curves(folder, *found.groups()), text)


def _plain_table(path: Path) -> str:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        rows = list(zip(*table.values(), strict=True))
        lines = ["| " + " | ".join(table) + " |", "|" + "---:|" * len(table)]
        lines += [f"| {' | '.join(_cell(value) for value in row)} |" for row in rows]
    except (ValueError, AttributeError, TypeError, RecursionError, OverflowError) as error:
        raise ValueError(f"{path} is not a table: {error}") from error
    return "\n".join(lines)


def _cell(value: float | int | str | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, str):
        return html.escape(value).replace("|", "&#124;")
    return f"{value:,}" if isinstance(value, int) else f"{value:.2g}"


def _beside(folder: Path, other: str, laptop: str) -> str:
    there = Recording.load(folder / f"{other}.json")
    here = Recording.load(folder / f"{laptop}.json")
    outcome, *_ = there.outcomes
    lines = [f"{outcome}", "", f"`{there.command}`", ""]
    for made in outcome.claims:
        card = made._repr_mimebundle_()["text/html"]
        same = [c for o in here.outcomes for c in o.claims if c.text == made.text]
        about = ""
        if same:
            first, held = same[0], sum(bool(claim.holds) for claim in same)
            about = (
                f"<br><small><b>Laptop</b> holds for {held} of {len(same)} "
                f"seeds on {html.escape(str(here.outcomes[0].data))}; the first: "
                f"{html.escape(numbers(first.measured))}; "
                f"control: {html.escape(numbers(first.control))}</small>"
            )
        lines += [card.removesuffix("</details>") + about + "</details>", ""]
    return "\n".join(lines)


def _curves(folder: Path, name: str, table: str, alt: str) -> str:
    from ncourse.figures.plots import Picture, collapse_curves, png
    from ncourse.training import History

    tables = Recording.load(folder / f"{name}.json").outcomes[0].tables
    control = f"{table}, no weight decay"
    figure = collapse_curves(
        {"weight decay": tables[table], "no weight decay": tables[control]},
        controls=["no weight decay"],
        terminal=History(tables[table]).terminal_epoch,
    )
    return Picture(png(figure), alt).html()


# --- the playground -----------------------------------------------------------------------------

_PLAYGROUND = re.compile(
    r"^<!-- playground( hero)? -->$(?:\n[^\n]+\n<!-- /playground -->$)?", flags=re.MULTILINE
)


def with_playground(text: str) -> str:
    """A page with the playground in place of its mark, a line of its own.

    The mark is `<!-- playground -->`, or `<!-- playground hero -->` where it heads a page. A line
    between it and `<!-- /playground -->` is for those who read the page elsewhere. The HTML is
    fenced: a blank line would end it in Markdown.
    """
    from ncourse.figures.playground import fragment

    return _PLAYGROUND.sub(
        lambda found: f"`````{{raw}} html\n{fragment(hero=bool(found[1]))}\n`````", text
    )


# --- results ------------------------------------------------------------------------------------

_RESULTS = re.compile(r"^<!-- results -->$(.*?)^<!-- /results -->$", re.MULTILINE | re.DOTALL)
_RESULT = re.compile(r"- \[[^\]]*\]\(([^#)]+)#([^)]+)\): (.+)")
_CHOSEN = re.compile(
    r"^<!-- results of chapters ([\d, ]+) -->$.*?^<!-- /results -->$", re.MULTILINE | re.DOTALL
)


class _Result(NamedTuple):
    """An entry of the list of results, and the figure of the cell that it names."""

    chapter: Chapter
    cell: str
    sentence: str
    figure: NotebookNode


def with_results(book: Book, notebooks: Sequence[NotebookNode], text: str) -> str:
    """A page with its list of results as cards, each with the picture of the cell it links to.

    The list stands between `<!-- results -->` and `<!-- /results -->`; an entry is
    `- [title](file#cell): sentence`.

    Raises:
        ClaimsError: if an entry is of another form, or its cell has no figure.
    """

    def cards(found: re.Match[str]) -> str:
        inside = "\n".join(map(_card, _results(book, notebooks, found[1])))
        return f'`````{{raw}} html\n<div class="nc-results">\n{inside}\n</div>\n`````'

    return _RESULTS.sub(cards, text)


def with_chosen_results(book: Book, text: str) -> tuple[str, dict[Path, bytes]]:
    """The README with some results of the first page in a table, and their pictures' files.

    Between `<!-- results of chapters 3, 5 -->` and `<!-- /results -->`, two a row. The pictures are
    those that stand in the notebooks.

    Raises:
        ClaimsError: if the first page has no result of one of these chapters.
    """
    found = _CHOSEN.search(text)
    if not found:
        return text, {}
    notebooks = [read(book.path(chapter)) for chapter in book.chapters]
    page = (book.folder / "index.md").read_text(encoding="utf-8")
    listed = "".join(block[1] for block in _RESULTS.finditer(page))
    results = {one.chapter.number: one for one in _results(book, notebooks, listed)}
    chosen = [int(number) for number in found[1].split(",")]
    if missing := [str(number) for number in chosen if number not in results]:
        raise ClaimsError(f"index.md has no result of chapter {', '.join(missing)}")
    pictures, cells = {}, []
    for one in (results[number] for number in chosen):
        path = book.folder / "assets" / f"result-{one.chapter.number:02d}.png"
        pictures[path] = base64.b64decode(one.figure.data["image/png"])
        alt = html.escape(one.figure.metadata["image/png"]["alt"])
        cells.append(
            f'<td width="50%" valign="top"><a href="{book.src}/{one.chapter.file}">'
            f'<img src="{path.relative_to(book.root).as_posix()}" alt="{alt}"></a><br>'
            f"<b>{html.escape(one.chapter.heading)}.</b> {html.escape(one.sentence)}</td>"
        )
    pairs = ["\n".join(cells[at : at + 2]) for at in range(0, len(cells), 2)]
    rows = [f"<tr>\n{pair}\n</tr>" for pair in pairs]
    start = text[found.start() :].partition("\n")[0]
    made = "\n".join([start, "<table>", *rows, "</table>", "<!-- /results -->"])
    return text[: found.start()] + made + text[found.end() :], pictures


def _results(book: Book, notebooks: Sequence[NotebookNode], listed: str) -> list[_Result]:
    chapters = {
        chapter.file: (chapter, notebook)
        for chapter, notebook in zip(book.chapters, notebooks, strict=True)
    }
    made = []
    for entry in filter(None, map(str.strip, listed.splitlines())):
        found = _RESULT.fullmatch(entry)
        if not found:
            raise ClaimsError(f"{entry!r} is no result; write - [title](file#cell): sentence")
        file, cell, sentence = found.groups()
        if file not in chapters:
            raise ClaimsError(f"there is no chapter {file}, of which a result is shown")
        chapter, notebook = chapters[file]
        outputs = [out for one in notebook.cells if one.get("id") == cell for out in one.outputs]
        figures = [output for output in outputs if is_figure(output)]
        if not figures:
            raise ClaimsError(f"cell {cell} of {file} has no figure to show")
        made.append(_Result(chapter, cell, sentence, figures[0]))
    return made


def _card(result: _Result) -> str:
    figure, chapter = result.figure, result.chapter
    picture = to_html({"image/png": figure.data["image/png"]}, figure.metadata)
    papers = ", ".join(paper.label for paper in chapter.papers)
    return (
        f'<a class="nc-result" href="{chapter.stem}.html">{picture}'
        f"<strong>{html.escape(chapter.heading)}</strong><span>{html.escape(result.sentence)}</span>"
        f"<small>{html.escape(papers)} · {chapter.minutes} minutes</small></a>"
    )


# --- references ---------------------------------------------------------------------------------


def references_page(book: Book) -> str:
    """Every work of the bibliography, and the chapters whose text links to it, as Markdown.

    What only drafts are about is left out.
    """
    texts = {chapter: book.path(chapter).read_text(encoding="utf-8") for chapter in book.chapters}
    lines = [
        "# References",
        "",
        "Every work that the course cites, with the chapters that cite it. As BibTeX: "
        "`notebooks/references.bib`.",
        "",
    ]
    for work in sorted(book.references.values(), key=lambda work: work.label.casefold()):
        citing = [
            f"[{chapter.number}]({chapter.file})"
            for chapter, text in texts.items()
            if work.url in text or (work.arxiv and work.arxiv in text)
        ]
        if work.key in book.papers_of_drafts and not citing:
            continue
        where = f" Chapter {', '.join(citing)}." if citing else ""
        lines.append(f"- {work.line}.{where}")
    return "\n".join(lines) + "\n"


# --- the interface of the package ---------------------------------------------------------------

INTERFACE = {
    "geometry": (
        "Geometry and measurement",
        ("simplex", "metrics", "tables", "comparisons", "claims"),
    ),
    "training": (
        "Data, networks, training",
        ("data", "features", "models", "training", "callbacks", "runs", "ufm", "ties", "continual"),
    ),
    "figures": (
        "Figures and exercises",
        (
            "figures.plots",
            "figures.player",
            "figures.explorers",
            "figures.live",
            "figures.playground",
            "exercises",
        ),
    ),
    "papers": (
        "Papers",
        (
            "papers",
            *(f"papers.{path.stem}" for path in sorted((PACKAGE / "papers").glob("[a-z]*.py"))),
        ),
    ),
}
"""Name of a page -> its title and its modules."""


def api_pages(without: Collection[str] = ()) -> dict[str, str]:
    """Name -> Markdown of the pages of the package's interface, and of `api`, the page above them.

    Sphinx's autodoc fills them in from the docstrings.

    Args:
        without: papers to leave out.
    """
    lines = [
        "# The package",
        "",
        "Made from the docstrings of `ncourse`. Rows are vectors: features are `(N, d)`, class "
        "means and the classifier's weight `(K, d)`.",
    ]
    pages = {}
    for name, (title, modules) in INTERFACE.items():
        lines += ["", f"## {title}", ""]
        page = [f"# {title}"]
        for module in modules:
            if module in {f"papers.{paper}" for paper in without}:
                continue
            lines.append(f"- [`ncourse.{module}`](api-{name}.md): {_first_line(module)}")
            page += [
                *("", f"## ncourse.{module}", ""),
                *("```{eval-rst}", f".. automodule:: ncourse.{module}", "   :members:", "```"),
            ]
        pages[f"api-{name}"] = "\n".join(page) + "\n"
    return {"api": "\n".join(lines) + "\n", **pages}


def _first_line(module: str) -> str:
    """The first line of a module's docstring, without importing the module."""
    import ast

    path = PACKAGE.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.split("\n\n")[0].split())
