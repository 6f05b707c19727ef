"""The course manifest, `book.toml`: what chapters are called, need and teach, and in what order.

Everything that repeats a title, a paper or a number of minutes is made from here: the first cell of
each notebook, the map in the README, `ncourse list` and the site's navigation.
"""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class ManifestError(ValueError):
    """The manifest is wrong: the message names the key and the fix."""


@dataclass(frozen=True)
class Paper:
    """A paper that a chapter is about; `arxiv` is empty for one that is not there."""

    key: str
    label: str
    title: str
    url: str
    arxiv: str


@dataclass(frozen=True)
class Chapter:
    """One notebook of the course."""

    number: int
    file: str
    title: str
    papers: tuple[Paper, ...]
    minutes: int
    prerequisites: tuple[int, ...]
    objectives: tuple[str, ...]

    @property
    def heading(self) -> str:
        """Number and title, as the notebook's first line has them: `3. Watching collapse`."""
        return f"{self.number}. {self.title}"

    @property
    def stem(self) -> str:
        """The file's name without its ending: `03-watching-collapse`."""
        return Path(self.file).stem


@dataclass(frozen=True)
class Part:
    """A group of chapters with a title."""

    title: str
    chapters: tuple[Chapter, ...]


@dataclass(frozen=True)
class Book:
    """The course: `root` is the folder that holds `book.toml`."""

    root: Path
    title: str
    authors: tuple[str, ...]
    description: str
    language: str
    src: str
    repository: str
    parts: tuple[Part, ...]

    @property
    def chapters(self) -> tuple[Chapter, ...]:
        """All chapters, in the order in which they are read."""
        return tuple(chapter for part in self.parts for chapter in part.chapters)

    @property
    def folder(self) -> Path:
        """The folder of the notebooks."""
        return self.root / self.src

    def path(self, chapter: Chapter) -> Path:
        """The notebook of a chapter."""
        return self.folder / chapter.file

    def chapter(self, number: int) -> Chapter:
        """The chapter with this number; a ValueError lists the numbers there are."""
        for chapter in self.chapters:
            if chapter.number == number:
                return chapter
        known = ", ".join(str(chapter.number) for chapter in self.chapters)
        raise ValueError(f"there is no chapter {number}; the course has {known}")


def load(path: str | Path = "book.toml") -> Book:
    """Read and check the manifest; a `ManifestError` names the key that is wrong and the fix."""
    path = Path(path).resolve()
    if not path.is_file():
        raise ManifestError(f"{path} does not exist; run this in a checkout of the course")
    try:
        manifest = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ManifestError(f"{path.name} is not valid TOML: {error}") from error

    top = {"book": dict, "course": dict, "parts": list, "papers": dict}
    table = _checked(manifest, "the top level", top)
    about = _checked(
        table["book"],
        "[book]",
        {"title": str, "authors": list[str], "description": str, "language": str, "src": str},
    )
    repository = _checked(table["course"], "[course]", {"repository": str})["repository"]
    if not re.fullmatch(r"([\w.-]+/[\w.-]+)?", repository):
        raise ManifestError(
            f'repository is "{repository}" in [course]; write "owner/name", or "" for none'
        )
    papers = {key: _paper(key, entry) for key, entry in table["papers"].items()}

    parts: list[Part] = []
    earlier: dict[int, Chapter] = {}
    for index, entry in enumerate(table["parts"], start=1):
        fields = _checked(entry, f"[[parts]] number {index}", {"title": str, "chapters": list})
        chapters = []
        for chapter_entry in fields["chapters"]:
            chapter = _chapter(chapter_entry, papers, earlier, path.parent / about["src"])
            earlier[chapter.number] = chapter
            chapters.append(chapter)
        parts.append(Part(fields["title"], tuple(chapters)))
    if not earlier:
        raise ManifestError("there are no chapters; add [[parts]] with [[parts.chapters]]")
    authors = tuple(about.pop("authors"))
    return Book(
        root=path.parent, authors=authors, repository=repository, parts=tuple(parts), **about
    )


def _paper(key: str, entry: object) -> Paper:
    """Check one `[papers.key]` table."""
    where = f"[papers.{key}]"
    fields = _checked(entry, where, {"label": str, "title": str, "url": str, "arxiv": str})
    if not re.fullmatch(r"(\d{4}\.\d{4,5})?", fields["arxiv"]):
        raise ManifestError(
            f'arxiv is "{fields["arxiv"]}" in {where}; write it as "2008.08186", or "" if the '
            "paper is not on arXiv"
        )
    return Paper(key=key, **fields)


_CHAPTER_KEYS: dict[str, Any] = {
    "number": int,
    "file": str,
    "title": str,
    "papers": list[str],
    "minutes": int,
    "prerequisites": list[int],
    "objectives": list[str],
}


def _chapter(
    entry: object, papers: Mapping[str, Paper], earlier: Mapping[int, Chapter], folder: Path
) -> Chapter:
    """Check one `[[parts.chapters]]` table, given the papers and the chapters before it."""
    name = entry.get("file") or entry.get("title") if isinstance(entry, dict) else None
    where = f'chapter "{name}"' if name else "a [[parts.chapters]] table"
    fields = _checked(entry, where, _CHAPTER_KEYS)
    number, file = fields["number"], fields["file"]
    if number in earlier:
        raise ManifestError(
            f'number {number} of {where} is taken by "{earlier[number].file}"; '
            "give each chapter its own number"
        )
    if not file.startswith(f"{number:02d}-") or not file.endswith(".ipynb"):
        raise ManifestError(
            f'file is "{file}" in {where}; chapter {number} needs "{number:02d}-….ipynb"'
        )
    if not (folder / file).is_file():
        raise ManifestError(
            f"file of {where} does not exist: {folder / file}; create it or correct `file`"
        )
    if fields["minutes"] <= 0:
        raise ManifestError(f"minutes is {fields['minutes']} in {where}; write how long it takes")
    for needed in fields["prerequisites"]:
        if needed not in earlier:
            raise ManifestError(
                f"prerequisites of {where} has {needed}, which is not an earlier chapter; "
                "remove it or move that chapter before this one"
            )
    for key in fields["papers"]:
        if key not in papers:
            raise ManifestError(
                f'papers of {where} has "{key}", but there is no [papers.{key}]'
                f"{_did_you_mean(key, papers)}; add it or correct the key"
            )
    if not 3 <= len(fields["objectives"]) <= 5:
        raise ManifestError(
            f"objectives of {where} has {len(fields['objectives'])} entries; write 3 to 5"
        )
    return Chapter(
        number=number,
        file=file,
        title=fields["title"],
        papers=tuple(papers[key] for key in fields["papers"]),
        minutes=fields["minutes"],
        prerequisites=tuple(fields["prerequisites"]),
        objectives=tuple(fields["objectives"]),
    )


_TYPE_NAMES: dict[Any, str] = {
    str: "text in quotes",
    int: "a whole number",
    list: "a list",
    dict: "a table",
    list[str]: "a list of texts",
    list[int]: "a list of whole numbers",
}


def _checked(table: object, where: str, keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table when it has exactly these keys, each of its type."""
    if not isinstance(table, dict):
        raise ManifestError(f"{where} is {table!r}; it must be a table")
    for key in table:
        if key not in keys:
            raise ManifestError(
                f"unknown key `{key}` in {where}{_did_you_mean(key, keys)}; "
                f"the keys are {', '.join(keys)}"
            )
    for key, kind in keys.items():
        if key not in table:
            raise ManifestError(f"`{key}` is missing in {where}; add {_TYPE_NAMES[kind]}")
        if not _is_a(table[key], kind):
            raise ManifestError(
                f"{key} is {table[key]!r} in {where}; it must be {_TYPE_NAMES[kind]}"
            )
    return dict(table)


def _is_a(value: object, kind: Any) -> bool:
    """Tell whether a TOML value is of a kind: a type, or a list of one (`true` is no number)."""
    if kind in (list[str], list[int]):
        (item_kind,) = kind.__args__
        return isinstance(value, list) and all(type(item) is item_kind for item in value)
    return type(value) is kind


def _did_you_mean(word: str, known: Mapping[str, Any]) -> str:
    """Name the known word that is closest, if one is close."""
    close = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean `{close[0]}`?)" if close else ""


def header(book: Book, chapter: Chapter) -> str:
    """The Markdown of a notebook's first cell: title, table at a glance, objectives."""
    needed = [book.chapter(number) for number in chapter.prerequisites]
    before = " · ".join(f"[{other.heading}]({other.file})" for other in needed) or "nothing"
    rows = [("Time", f"{chapter.minutes} minutes"), ("Read first", before)]
    if chapter.papers:
        papers = [
            f"[{paper.label}]({paper.url}), *{paper.title}*"
            + (
                f" ([arXiv:{paper.arxiv}](https://arxiv.org/abs/{paper.arxiv}))"
                if paper.arxiv
                else ""
            )
            for paper in chapter.papers
        ]
        rows.append(("Paper" if len(papers) == 1 else "Papers", "; ".join(papers)))
    lines = [f"# {chapter.heading}", "", "| At a glance | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in rows]
    lines += ["", "At the end of this chapter you can:", ""]
    lines += [f"{index}. {text}." for index, text in enumerate(chapter.objectives, start=1)]
    return "\n".join(lines)


COLAB_MARK = "# On Colab only: fetch the course and install the package."
_COLAB_LINES = re.compile(
    rf"\A{COLAB_MARK}\n.*?^    os\.chdir\([^\n]*\n+", re.DOTALL | re.MULTILINE
)


def colab_lines(book: Book) -> str:
    """The first lines of each import cell, which act on Colab alone; empty without a repository.

    Colab has matplotlib and ipywidgets, so the package comes without its extras. The checkout
    brings `recorded/`. Plain Python, because Sphinx has no lexer for `%pip`. These lines cannot be
    exercised outside Colab.
    """
    if not book.repository:
        return ""
    clone = f"git clone -q --depth 1 https://github.com/{book.repository} /content/course"
    return "\n".join(
        [
            COLAB_MARK,
            "import os",
            "import subprocess",
            "import sys",
            "",
            'if "google.colab" in sys.modules:',
            '    if not os.path.isdir("/content/course"):',
            f'        subprocess.run("{clone}", shell=True, check=True)',
            '        subprocess.run("pip install -q /content/course", shell=True, check=True)',
            f'    os.chdir("/content/course/{book.src}")',
        ]
    )


def with_colab_lines(book: Book, source: str) -> str:
    """The source of an import cell with the Colab lines of this manifest, whatever it had."""
    source = _COLAB_LINES.sub("", source)
    lines = colab_lines(book)
    return f"{lines}\n\n{source}" if lines else source


def _chapter_table(book: Book, link_prefix: str) -> Iterator[str]:
    """The rows of the table of chapters; links start with the prefix."""
    yield "| | Chapter | Paper | Minutes |"
    yield "|---|---|---|---:|"
    for part in book.parts:
        yield f"| | **{part.title}** | | |"
        for chapter in part.chapters:
            papers = "; ".join(f"[{paper.label}]({paper.url})" for paper in chapter.papers)
            link = f"[{chapter.title}]({link_prefix}{chapter.file})"
            yield f"| {chapter.number} | {link} | {papers} | {chapter.minutes} |"


def readme_map(book: Book) -> str:
    """The README's map of the course: a table of parts, chapters, papers and minutes."""
    return "\n".join(_chapter_table(book, f"{book.src}/"))


def contents(book: Book) -> str:
    """The same table for the landing page, which lies beside the notebooks."""
    return "\n".join(_chapter_table(book, ""))


MAP_MARKS = ("<!-- map -->", "<!-- /map -->")


def with_map(book: Book, readme: str) -> str:
    """The README's text with its map (between the two marks) made from this manifest."""
    start, end = MAP_MARKS
    before, found_start, rest = readme.partition(start)
    _, found_end, after = rest.partition(end)
    if not (found_start and found_end):
        raise ManifestError(f"README.md needs the lines {start} and {end} around its map")
    return f"{before}{start}\n{readme_map(book)}\n{end}{after}"
