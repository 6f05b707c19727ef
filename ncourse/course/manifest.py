"""The course manifest, `book.toml`: what chapters are called, need and teach, and in what order.

Everything that repeats a title, a paper or a number of minutes is made from here: the first cell of
each notebook, the map in the README, `ncourse list` and the site's navigation.
"""

import difflib
import html
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ncourse.course.references import CitationError, Reference
from ncourse.course.references import load as load_references
from ncourse.files import write_whole

REFERENCES = "references.bib"


class ManifestError(ValueError):
    """The manifest is wrong: the message names the key and the fix."""


@dataclass(frozen=True)
class Chapter:
    """One notebook of the course."""

    number: int
    file: str
    title: str
    papers: tuple[Reference, ...]
    minutes: int
    prerequisites: tuple[int, ...]
    objectives: tuple[str, ...]
    optional: tuple[tuple[str, tuple[int, ...]], ...]
    draft: bool

    @property
    def optional_sections(self) -> Mapping[str, tuple[int, ...]]:
        """Titles of sections that a short class leaves for reading -> objectives they serve."""
        return dict(self.optional)

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
class CoursePath:
    """A way through the course: some of its chapters in order, for those who have that much time.

    `about` says whom it is for, in a sentence; `session` is the minutes of a class on it, and
    `assessment` how it is marked, in Markdown.
    """

    title: str
    about: str
    chapters: tuple[Chapter, ...]
    session: int
    assessment: str

    @property
    def minutes(self) -> int:
        """The time that its chapters take together."""
        return sum(chapter.minutes for chapter in self.chapters)


@dataclass(frozen=True)
class Book:
    """The course: `root` is the folder that holds `book.toml`.

    `drafts` are chapters that no reader sees yet. They are not in `parts`, so whatever is made from
    these is made without them.
    """

    root: Path
    title: str
    authors: tuple[str, ...]
    description: str
    language: str
    src: str
    repository: str
    address: str
    parts: tuple[Part, ...]
    drafts: tuple[Chapter, ...]
    paths: tuple[CoursePath, ...]
    references: Mapping[str, Reference]

    @property
    def chapters(self) -> tuple[Chapter, ...]:
        """All chapters, in the order in which they are read."""
        return tuple(chapter for part in self.parts for chapter in part.chapters)

    @property
    def with_drafts(self) -> tuple[Chapter, ...]:
        """All chapters, then the drafts: for those who write them, and for tests."""
        return (*self.chapters, *self.drafts)

    @property
    def papers_of_drafts(self) -> set[str]:
        """The keys of the works that drafts are about and no chapter is."""
        of_drafts, of_chapters = (
            {paper.key for chapter in chapters for paper in chapter.papers}
            for chapters in (self.drafts, self.chapters)
        )
        return of_drafts - of_chapters

    @property
    def on_github(self) -> str:
        """The repository as `owner/name`, if it is on GitHub; else empty."""
        found = re.fullmatch(
            r"(?:https://github\.com/|git@github\.com:)?([\w.-]+/[\w.-]+?)(?:\.git)?",
            self.repository,
        )
        return found[1] if found else ""

    @property
    def git_address(self) -> str:
        """What git clones; empty if there is no repository."""
        return f"https://github.com/{self.on_github}" if self.on_github else self.repository

    @property
    def web_address(self) -> str:
        """The page of the repository; empty if its address is for git alone."""
        address = self.git_address
        return address.removesuffix(".git") if address.startswith("https://") else ""

    @property
    def folder(self) -> Path:
        """The folder of the notebooks."""
        return self.root / self.src

    def path(self, chapter: Chapter) -> Path:
        """The notebook of a chapter."""
        return self.folder / chapter.file

    def chapter(self, number: int) -> Chapter:
        """The chapter or draft with this number; a ValueError lists the numbers there are."""
        for chapter in self.with_drafts:
            if chapter.number == number:
                return chapter
        known = ", ".join(str(chapter.number) for chapter in self.with_drafts)
        raise ValueError(f"there is no chapter {number}; the course has {known}")


_REPOSITORY = r"([\w.-]+/[\w.-]+|(https|ssh|git|file)://[\w.:/@~+-]+|[\w.-]+@[\w.-]+:[\w./~-]+)?"
"""What `repository` may be. It stands in programs, so it has no spaces, quotes or brackets."""


def load(path: str | Path = "book.toml") -> Book:
    """Read and check the manifest; a `ManifestError` names the key that is wrong and the fix."""
    path = Path(path).resolve()
    if not path.is_file():
        raise ManifestError(f"{path} does not exist; run this in a checkout of the course")
    try:
        manifest = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # also what is no UTF-8, and endless numbers
        raise ManifestError(f"{path.name} is not valid TOML: {error}") from error

    top = {"book": dict, "course": dict, "paths": list, "parts": list}
    table = _checked(manifest, "the top level", top)
    about = _checked(
        table["book"],
        "[book]",
        {"title": str, "authors": list[str], "description": str, "language": str, "src": str},
    )
    if not re.fullmatch(r"[\w-]+", about["src"]):
        raise ManifestError(
            f'src is "{about["src"]}" in [book]; write the name of a folder beside book.toml'
        )
    places = {"address": "", **table["course"]}
    places = _checked(places, "[course]", {"repository": str, "address": str})
    repository, address = places["repository"], places["address"]
    _check_repository(repository)
    if not re.fullmatch(r"(https?://[^\s\"'<>]+/)?", address):
        raise ManifestError(
            f'address is "{address}" in [course]; write where the site will be, as '
            '"https://example.org/collapse/", or "" if nowhere'
        )
    try:
        references = load_references(path.parent / about["src"] / REFERENCES)
    except CitationError as error:
        raise ManifestError(str(error)) from error

    parts: list[Part] = []
    earlier: dict[int, Chapter] = {}
    for index, entry in enumerate(table["parts"], start=1):
        fields = _checked(entry, f"[[parts]] number {index}", {"title": str, "chapters": list})
        chapters = []
        for chapter_entry in fields["chapters"]:
            chapter = _chapter(chapter_entry, references, earlier, path.parent / about["src"])
            earlier[chapter.number] = chapter
            if not chapter.draft:
                chapters.append(chapter)
        if chapters:
            parts.append(Part(fields["title"], tuple(chapters)))
    if not parts:
        raise ManifestError("there are no chapters; add [[parts]] with [[parts.chapters]]")
    authors = tuple(about.pop("authors"))
    return Book(
        root=path.parent,
        authors=authors,
        repository=repository,
        address=address,
        parts=tuple(parts),
        drafts=tuple(chapter for chapter in earlier.values() if chapter.draft),
        paths=tuple(_path(entry, earlier) for entry in table["paths"]),
        references=references,
        **about,
    )


def _check_repository(repository: str) -> None:
    if not re.fullmatch(_REPOSITORY, repository):
        raise ManifestError(
            f'repository is "{repository}" in [course]; write "owner/name" if it is on GitHub, an '
            'address that git clones, such as "https://git.example.edu/owner/name.git", or ""'
        )


def name_repository(path: Path, repository: str) -> bool:
    """Write into a manifest where the course is published; tell whether that is a change.

    Args:
        path: of the manifest.
        repository: "owner/name" on GitHub, an address that git clones, or "".

    Raises:
        ManifestError: for anything else, or if the manifest has no line for it.
    """
    _check_repository(repository)
    before = path.read_text(encoding="utf-8")
    line = f'repository = "{repository}"'
    text, count = re.subn(r'^repository *= *"[^"\n]*"', line, before, flags=re.MULTILINE)
    if count != 1:
        raise ManifestError(f'{path.name} has {count} lines `repository = "…"`; expected one')
    if text != before:
        write_whole(path, text)
    return text != before


def _path(entry: object, chapters: Mapping[int, Chapter]) -> CoursePath:
    """Check one `[[paths]]` table: chapters that exist, none before what it needs.

    `chapters = "all"` is every chapter that is no draft.
    """
    name = entry.get("title") if isinstance(entry, dict) else None
    where = f'path "{name}"' if name else "a [[paths]] table"
    if isinstance(entry, dict) and entry.get("chapters") == "all":
        entry = {**entry, "chapters": [n for n, found in chapters.items() if not found.draft]}
    keys = {"title": str, "about": str, "chapters": list[int], "session": int, "assessment": str}
    fields = _checked(entry, where, keys)
    if fields["session"] < 10:
        raise ManifestError(f"session is {fields['session']} in {where}; write a class's minutes")
    seen: list[int] = []
    for number in fields["chapters"]:
        if number not in chapters:
            raise ManifestError(f"chapters of {where} has {number}, and there is no such chapter")
        if chapters[number].draft:
            raise ManifestError(f"chapters of {where} has {number}, which is a draft; leave it out")
        for needed in chapters[number].prerequisites:
            if needed not in seen:
                raise ManifestError(
                    f"chapter {number} in {where} needs chapter {needed} before it; add that, or "
                    "leave this one out"
                )
        seen.append(number)
    found = tuple(chapters[number] for number in seen)
    return CoursePath(**{**fields, "chapters": found})


_CHAPTER_KEYS: dict[str, Any] = {
    "number": int,
    "file": str,
    "title": str,
    "papers": list[str],
    "minutes": int,
    "prerequisites": list[int],
    "objectives": list[str],
    "optional": dict,
    "draft": bool,
}


def _chapter(
    entry: object, references: Mapping[str, Reference], earlier: Mapping[int, Chapter], folder: Path
) -> Chapter:
    """Check one `[[parts.chapters]]` table, given the references and the chapters before it."""
    name = entry.get("file") or entry.get("title") if isinstance(entry, dict) else None
    where = f'chapter "{name}"' if name else "a [[parts.chapters]] table"
    if isinstance(entry, dict):
        entry = {"draft": False, "optional": {}, **entry}
    fields = _checked(entry, where, _CHAPTER_KEYS)
    number, file = fields["number"], fields["file"]
    if number in earlier:
        raise ManifestError(
            f'number {number} of {where} is taken by "{earlier[number].file}"; '
            "give each chapter its own number"
        )
    if not re.fullmatch(rf"{number:02d}-[\w-]+\.ipynb", file):
        raise ManifestError(
            f'file is "{file}" in {where}; chapter {number} needs "{number:02d}-….ipynb", a name '
            "of letters, digits and hyphens without a folder"
        )
    if not (fields["draft"] or (folder / file).is_file()):
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
        if earlier[needed].draft and not fields["draft"]:
            raise ManifestError(
                f"prerequisites of {where} has {needed}, which is a draft; remove it, or write "
                "`draft = true` here too"
            )
    for key in fields["papers"]:
        if key not in references:
            raise ManifestError(
                f'papers of {where} has "{key}", which {REFERENCES} does not have'
                f"{_did_you_mean(key, references)}; add it there or correct the key"
            )
    if not 3 <= len(fields["objectives"]) <= 5:
        raise ManifestError(
            f"objectives of {where} has {len(fields['objectives'])} entries; write 3 to 5"
        )
    serve = range(1, len(fields["objectives"]) + 1)
    for title, numbers in fields["optional"].items():
        if not (_is_a(numbers, list[int]) and numbers and all(n in serve for n in numbers)):
            raise ManifestError(
                f'optional of {where} has "{title}" = {numbers!r}; write the numbers of the '
                f"objectives that this section serves, of 1 to {len(serve)}"
            )
    return Chapter(
        number=number,
        file=file,
        title=fields["title"],
        papers=tuple(references[key] for key in fields["papers"]),
        minutes=fields["minutes"],
        prerequisites=tuple(fields["prerequisites"]),
        objectives=tuple(fields["objectives"]),
        optional=tuple((title, tuple(numbers)) for title, numbers in fields["optional"].items()),
        draft=fields["draft"],
    )


_TYPE_NAMES: dict[Any, str] = {
    str: "text in quotes",
    int: "a whole number",
    bool: "true or false",
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
        texts = table[key] if kind == list[str] else [table[key]]
        if kind in (str, list[str]) and any("<" in text for text in texts):
            # These texts end in Markdown, where HTML would be taken for what it says.
            raise ManifestError(f'{key} has a "<" in {where}; write it without HTML')
        if kind in (str, list[str]) and key != "assessment" and not all(map(_is_line, texts)):
            raise ManifestError(f"{key} has a line break in {where}; write it on one line")
    return dict(table)


def _is_line(text: str) -> bool:
    return not re.search(r"[\x00-\x1f\x7f\x85\u2028\u2029]", text)


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


INSTALL_MARK = "# Where the course is not installed, on Colab for one, this does it."
_INSTALL_LINES = re.compile(
    rf"\A{INSTALL_MARK}\n.*?^    importlib\.invalidate_caches\(\)\n+", re.DOTALL | re.MULTILINE
)


def install_lines(book: Book, *, recordings: bool = True) -> str:
    """The first lines of each import cell; empty without a repository.

    They act where there is no `ncourse`: they install it from the repository, in the versions that
    are tested. Colab has matplotlib and ipywidgets, so the package comes without its extras. The
    working directory stays as it is, because a reader's files are there. Plain Python, because
    Sphinx has no lexer for `%pip`.

    Args:
        book: the course.
        recordings: whether to link `recorded/`, from which chapters read, into the working
            directory.
    """
    if not book.repository:
        return ""
    lines = [
        INSTALL_MARK,
        "import importlib.util",
        "import subprocess",
        "import sys",
        "import tempfile",
        "",
        'if importlib.util.find_spec("ncourse") is None:',
        "    place = tempfile.mkdtemp()",
        f"    address = {json.dumps(book.git_address)}",
        '    fetch = ["git", "clone", "-q", "--depth", "1", "--", address, place]',
        '    pip = [sys.executable, "-m", "pip", "install", "-q"]',
        '    pip += ["-c", f"{place}/constraints.txt", place]',
        "    subprocess.run(fetch, check=True)",
        "    subprocess.run(pip, check=True)",
    ]
    if recordings:
        lines += [
            f'    link = ["ln", "-sfn", f"{{place}}/{book.src}/recorded", "recorded"]',
            "    subprocess.run(link, check=True)",
        ]
    return "\n".join([*lines, "    importlib.invalidate_caches()"])


def without_install_lines(source: str) -> str:
    """The source of an import cell without the lines that install the course."""
    return _INSTALL_LINES.sub("", source)


def with_install_lines(book: Book, source: str) -> str:
    """The source of an import cell with the lines that this manifest asks for, whatever it had."""
    source = without_install_lines(source)
    lines = install_lines(book)
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


def contents(book: Book, link_prefix: str = "") -> str:
    """The course as a table of parts, chapters, papers and minutes."""
    return "\n".join(_chapter_table(book, link_prefix))


def paths_table(book: Book, link_prefix: str = "") -> str:
    """The paths through the course as a table, with the time that their chapters take."""
    rows = ["| Path | Chapters | Time |", "|---|---|---:|"]
    for path in book.paths:
        links = ", ".join(f"[{c.number}]({link_prefix}{c.file})" for c in path.chapters)
        rows.append(f"| **{path.title}.** {path.about} | {links} | {_hours(path.minutes)} |")
    return "\n".join(rows)


def _hours(minutes: int) -> str:
    hours, rest = divmod(minutes, 60)
    if not hours:
        return f"{rest} min"
    return f"{hours} h {rest:02d} min" if rest else f"{hours} h"


def map_picture(book: Book, link_prefix: str = "") -> str:
    """The map as a Markdown picture."""
    return f"![{map_alt(book)}]({link_prefix}assets/map.svg)"


def costs(book: Book, link_prefix: str = "") -> str:
    """Each chapter's seconds, as `make bench` recorded them, and the machine."""
    path = book.folder / "recorded" / "chapters.json"
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))
        machine, date, seconds = (recorded[key] for key in ("machine", "date", "seconds"))
        times = [float(seconds[str(chapter.number)]) for chapter in book.chapters]
    except FileNotFoundError:
        raise ManifestError(f"{path} is missing; `make bench` writes it") from None
    except (ValueError, KeyError, TypeError) as error:
        reason = f"no chapter {error}" if isinstance(error, KeyError) else error
        raise ManifestError(f"{path} has not the time of each chapter: {reason}") from error
    numbers = [str(chapter.number) for chapter in book.chapters]
    rows = [
        ["chapter", *numbers, "all"],
        ["---", *["--:"] * (len(times) + 1)],
        ["seconds", *(f"{time:.0f}" for time in times), f"{sum(times):.0f}"],
    ]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"{table}\n\nOn one core: {machine}; {date}, by `make bench`."


GENERATED = {"map": contents, "paths": paths_table, "picture": map_picture, "costs": costs}
"""What may stand between `<!-- name -->` and `<!-- /name -->` in a text, and what writes it."""


def with_generated(book: Book, text: str, link_prefix: str = "") -> str:
    """The text with everything between marks made from this manifest.

    Raises:
        ManifestError: if a mark is opened and not closed.
    """
    for name, make in GENERATED.items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if start not in text:
            continue
        before, _, rest = text.partition(start)
        _, closed, after = rest.partition(end)
        if not closed:
            raise ManifestError(f"a text has {start} and no {end} after it; add the second mark")
        text = f"{before}{start}\n{make(book, link_prefix)}\n{end}{after}"
    return text


# The map as a picture: one row a chapter, on the left an arc from each chapter to those that need
# it. Legible on a telephone, where a wide graph is not.
_ROW, _LEFT, _WIDTH = 46, 92, 460
_PART_COLOURS = ("#0072B2", "#B34A00", "#00664B", "#7A3F6B")


def map_svg(book: Book) -> str:
    """The chapters and what each one needs, as an SVG drawing.

    An arrow that another way round already implies is left out.
    """
    rows = {chapter.number: index for index, chapter in enumerate(book.chapters)}
    height = _ROW * len(rows) + 16
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" font-family="system-ui, sans-serif" role="img">',
        f"<title>{html.escape(map_alt(book))}</title>",
        f'<rect width="{_WIDTH}" height="{height}" rx="8" fill="#ffffff"/>',
    ]
    for chapter in book.chapters:
        for needed in _direct(book, chapter):
            start, end = (_ROW * rows[n] + 31 for n in (needed, chapter.number))
            reach = _LEFT - 18 - 9 * (rows[chapter.number] - rows[needed])
            lines.append(
                f'<path d="M {_LEFT - 15} {start} C {reach} {start}, {reach} {end}, '
                f'{_LEFT - 17} {end}" fill="none" stroke="#7f7f7f" stroke-width="1.5"/>'
                f'<path d="M {_LEFT - 16} {end} l -8 -4.5 v 9 z" fill="#5f5f5f"/>'
            )
    for index, part in enumerate(book.parts):
        colour = _PART_COLOURS[index % len(_PART_COLOURS)]
        for chapter in part.chapters:
            y = _ROW * rows[chapter.number] + 31
            papers = ", ".join(paper.label for paper in chapter.papers[:1])
            more = " and others" if len(chapter.papers) > 1 else ""
            about = f"{papers}{more}" if papers else part.title
            lines += [
                f'<circle cx="{_LEFT}" cy="{y}" r="15" fill="{colour}"/>',
                f'<text x="{_LEFT}" y="{y + 5}" font-size="15" font-weight="bold" fill="#ffffff" '
                f'text-anchor="middle">{chapter.number}</text>',
                f'<text x="{_LEFT + 26}" y="{y - 1}" font-size="16" fill="#222222">'
                f"{html.escape(chapter.title)}</text>",
                f'<text x="{_LEFT + 26}" y="{y + 15}" font-size="12" fill="#595959">'
                f"{html.escape(about)} · {chapter.minutes} min</text>",
            ]
    return "\n".join([*lines, "</svg>"]) + "\n"


def map_alt(book: Book) -> str:
    """The map in words."""
    needs = [
        f"{chapter.number} needs {' and '.join(map(str, _direct(book, chapter)))}"
        for chapter in book.chapters
        if chapter.prerequisites
    ]
    return f"Map of the course. {', '.join(needs)}."


def _direct(book: Book, chapter: Chapter) -> list[int]:
    """The prerequisites that do not follow from another prerequisite."""
    implied = {n for needed in chapter.prerequisites for n in _all_needed(book, needed)}
    return [needed for needed in chapter.prerequisites if needed not in implied]


def _all_needed(book: Book, number: int) -> set[int]:
    needed = set(book.chapter(number).prerequisites)
    return needed.union(*(_all_needed(book, other) for other in needed))
