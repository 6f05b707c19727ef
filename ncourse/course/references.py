"""The works that the course cites: a `.bib` file, and the lines and links made from it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CitationError", "Reference", "load", "with_references"]


class CitationError(ValueError):
    """A bibliography or a citation is wrong: the message names the entry and the fix."""


@dataclass(frozen=True)
class Reference:
    """One cited work.

    Attributes:
        key: its name in the `.bib` file, e.g. "papyan2020".
        label: how texts and claims name it, e.g. "Papyan, Han, Donoho 2020".
        authors: initials and surname of each, in order.
        title: of the work.
        place: where and when it appeared, e.g. "PNAS 117(40), 2020" or "ICML 2022".
        url: of the published version; of the one on arXiv where there is no other.
        doi: empty for none.
        arxiv: number on arXiv, e.g. "2008.08186"; empty for none.
    """

    key: str
    label: str
    authors: tuple[str, ...]
    title: str
    place: str
    url: str
    doi: str
    arxiv: str

    @property
    def links(self) -> str:
        """Markdown links to all places where the work is."""
        links = []
        if self.doi:
            links.append(f"[doi:{self.doi}]({self.url})")
        elif "arxiv.org" not in self.url:
            links.append(f"[full text]({self.url})")
        if self.arxiv:
            links.append(f"[arXiv:{self.arxiv}](https://arxiv.org/abs/{self.arxiv})")
        return ", ".join(links)

    @property
    def line(self) -> str:
        """The work as a line of a list of references, in Markdown."""
        return f"{', '.join(self.authors)}, *{self.title}*, {self.place}. {self.links}"


def load(path: str | Path) -> dict[str, Reference]:
    """Read a `.bib` file: key -> reference, in the file's order.

    Raises:
        CitationError: if the file is missing or not BibTeX, or an entry has no label, author,
            title, year, or place to find it.
    """
    from pybtex.database import parse_file
    from pybtex.exceptions import PybtexError

    path = Path(path)
    if not path.is_file():
        raise CitationError(f"{path} does not exist; the course keeps its references there")
    try:
        entries = parse_file(str(path), bib_format="bibtex", encoding="utf-8").entries
    except (PybtexError, ValueError, RecursionError) as error:
        raise CitationError(f"{path.name} is not valid BibTeX: {error}") from error
    return {key: _reference(key, entry, path.name) for key, entry in entries.items()}


def _reference(key: str, entry: object, file: str) -> Reference:
    fields: Mapping[str, str] = entry.fields  # type: ignore[attr-defined]
    people = entry.persons.get("author", [])  # type: ignore[attr-defined]
    for name in ("label", "title", "year"):
        if not fields.get(name):
            raise CitationError(f"{key} in {file} has no {name}; add `{name} = {{...}}`")
    if not people:
        raise CitationError(f"{key} in {file} has no author; write `author = {{Last, First}}`")
    doi, arxiv = fields.get("doi", ""), fields.get("eprint", "")
    if arxiv and not re.fullmatch(r"\d{4}\.\d{4,5}", arxiv):
        raise CitationError(f'eprint of {key} in {file} is "{arxiv}"; write it as "2008.08186"')
    url = fields.get("url") or (f"https://doi.org/{doi}" if doi else "")
    url = url or (f"https://arxiv.org/abs/{arxiv}" if arxiv else "")
    if not url:
        raise CitationError(f"{key} in {file} is nowhere to be found: add doi, eprint or url")
    if "booktitle" in fields:
        place = f"{fields['booktitle']} {fields['year']}"
    else:
        venue = fields.get("journal") or fields.get("institution") or "arXiv"
        place = fields["year"] if venue == "arXiv" else f"{venue}, {fields['year']}"
    return Reference(
        key=key,
        label=_plain(fields["label"]),
        authors=tuple(map(_name, people)),
        title=_plain(fields["title"]),
        place=_plain(place),
        url=url,
        doi=doi,
        arxiv=arxiv,
    )


def _name(person: object) -> str:
    """Initials and surname: `X. Y. Han`."""
    given = [*person.first_names, *person.middle_names]  # type: ignore[attr-defined]
    family = [*person.prelast_names, *person.last_names]  # type: ignore[attr-defined]
    return _plain(" ".join([*(f"{name[0]}." for name in given), *family]))


def _plain(text: str) -> str:
    return text.replace("{", "").replace("}", "")


_BULLET = re.compile(r"^- .*\]\((?P<url>[^)]+)\)(?P<comment>.*)$", re.MULTILINE)


def with_references(text: str, references: Mapping[str, Reference], where: str) -> str:
    """Markdown whose list items under `## References` are made from the bibliography.

    An item is known by its last link; what follows that link is a comment of the chapter, and
    stays. Text without that heading is returned as it is.

    Raises:
        CitationError: for an item that no entry of the bibliography has a link to.
    """
    before, heading, after = text.partition("## References\n")
    places = {
        place: entry
        for entry in references.values()
        for place in (entry.url, f"https://arxiv.org/abs/{entry.arxiv}")
        if not place.endswith("/")
    }

    def remade(match: re.Match[str]) -> str:
        if match["url"] not in places:
            raise CitationError(
                f"{where} refers to {match['url']}, which references.bib does not have; add it"
            )
        return f"- {places[match['url']].line}{match['comment']}"

    return before + heading + _BULLET.sub(remade, after)
