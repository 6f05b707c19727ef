"""Slides of a chapter, cut from its executed notebook: one HTML file that needs nothing else.

Which cells are shown stands in the notebook, as tags: `slide` shows a cell whole, `slide-lead`
shows of each paragraph its first sentence and those with a term in bold, and gives the rest to the
speaker's notes. A code cell shows its figure or claims; without these its source, unless that is
tagged `hide-input`, and what it printed.

The pages of the shortest plan of a class follow each other, at most one a minute. What this plan
leaves out hangs below the page before it, as asides.
"""

import base64
import html
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from nbformat import NotebookNode
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from ncourse.course.assignments import levels_in_words
from ncourse.course.manifest import Book, Chapter
from ncourse.course.plans import FIRST, LENGTHS, QUIZ, Plan, place_of, plan
from ncourse.figures.live import is_figure, script, to_html

__all__ = ["Slide", "deck", "index", "main_line", "numbers", "slides"]

WHOLE, LEAD = "slide", "slide-lead"
STYLE = "slides.css"
LINES = 14  # of text on a slide, at its largest type
FIGURE = 10  # lines that a figure wants at least
CLAIMS = 4  # on one slide
ORPHAN = 2.5  # lines of text that get no slide for themselves


@dataclass
class Slide:
    """One page: a title, blocks of HTML below it, and what only the speaker sees.

    Attributes:
        title: HTML.
        place: where in the notebook it comes from, as a plan names it.
        blocks: HTML of each block, in order.
        notes: paragraphs for the speaker, HTML.
        lines: how much of the page is taken, in lines of text.
    """

    title: str
    place: str = FIRST
    blocks: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lines: float = 0.0


@dataclass(frozen=True)
class _Block:
    """A piece of a cell: what it is, its HTML, its height in lines, and its notes."""

    kind: str  # "heading", "text", "figure" or "question"
    body: str
    lines: float
    notes: str = ""
    place: str = ""  # of a heading or a question in a quiz: the line that says where one is


def deck(book: Book, chapter: Chapter, notebook: NotebookNode) -> str:
    """The slides of an executed notebook as one HTML file, with reveal.js and MathJax inside.

    Args:
        book: the course.
        chapter: whose notebook it is.
        notebook: with its outputs.
    """
    by = "".join(f"<p>{html.escape(text)}</p>" for text in (book.title, ", ".join(book.authors)))
    first = Slide(html.escape(chapter.heading), blocks=[f'<div class="title">{by}</div>'])
    found = slides(book, chapter, notebook)
    shortest = plan(book, chapter, min(*LENGTHS, chapter.minutes))
    stacks = [[first]]
    for slide, shown in zip(found, main_line(found, shortest), strict=True):
        if shown:
            stacks.append([slide])
        else:
            stacks[-1].append(slide)
    pages = "\n".join(map(_stack, stacks))
    reveal = _package_folder("sphinx_revealjs") / "_static" / "revealjs"
    mathjax = _package_folder("sphinx-mathjax-offline") / "static" / "mathjax"
    style = book.folder / "assets" / STYLE
    styles = [
        (reveal / "dist" / "reset.css").read_text(encoding="utf-8"),
        (reveal / "dist" / "reveal.css").read_text(encoding="utf-8"),
        HtmlFormatter(style="default").get_style_defs(".highlight"),
        HtmlFormatter(style="github-dark").get_style_defs('html[data-theme="dark"] .highlight'),
        style.read_text(encoding="utf-8") if style.is_file() else "",
    ]
    scripts = [
        _MATHJAX,
        (mathjax / "tex-svg.js").read_text(encoding="utf-8"),
        (reveal / "dist" / "reveal.js").read_text(encoding="utf-8"),
        (reveal / "plugin" / "notes" / "notes.js").read_text(encoding="utf-8"),
        _START,
    ]
    lines = [
        f'<!DOCTYPE html>\n<html lang="{book.language}">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{html.escape(chapter.heading)}: slides</title>",
        f"<script>{_THEME}</script>",
        *(f"<style>{text}</style>" for text in styles),
        f'</head>\n<body>\n<div class="reveal"><div class="slides">\n{pages}\n</div></div>',
        # "</script" inside a script would end it; in JavaScript "<\/" is the same text.
        *(
            f"<script>{text.replace('</script', '<' + chr(92) + '/script')}</script>"
            for text in scripts
        ),
        *(
            f'<script type="module">{script(module)}</script>'
            for module in sorted(set(re.findall(r"<nc-(\w+) ", pages)))
        ),
        "</body>\n</html>\n",
    ]
    return "\n".join(lines)


def index(book: Book, notebooks: Sequence[NotebookNode]) -> str:
    """The list of all decks, which stands beside them, as HTML.

    Args:
        book: the course.
        notebooks: from which its slides are cut, one for each chapter.
    """
    style = book.folder / "assets" / STYLE
    rows = []
    for chapter, notebook in zip(book.chapters, notebooks, strict=True):
        found = slides(book, chapter, notebook)
        length = min(*LENGTHS, chapter.minutes)
        shown = 1 + sum(main_line(found, plan(book, chapter, length)))
        rows.append(
            f'<tr><td class="number">{chapter.number}</td>'
            f'<td><a href="{chapter.stem}.html">{html.escape(chapter.title)}</a></td>'
            f'<td class="number">{length}</td><td class="number">{shown}</td>'
            f'<td class="number">{1 + len(found) - shown}</td></tr>'
        )
    heads = ("", "Chapter", "Min", "Slides", "Asides")
    lines = [
        f'<!DOCTYPE html>\n<html lang="{book.language}">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{html.escape(book.title)}: slides</title>",
        f"<script>{_THEME}</script>",
        f"<style>{style.read_text(encoding='utf-8') if style.is_file() else ''}</style>",
        '</head>\n<body>\n<main class="decks">',
        f"<h1>{html.escape(book.title)}: slides</h1>",
        '<p><a href="../index.html">The course</a></p>',
        f"<table>\n<tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>",
        *rows,
        "</table>",
        "<p>→ or space: the next slide. ↓: an aside. S: the speaker’s view. T: light or dark. "
        "?print-pdf behind the address: for printing.</p>",
        "</main>\n</body>\n</html>\n",
    ]
    return "\n".join(lines)


def slides(book: Book, chapter: Chapter, notebook: NotebookNode) -> list[Slide]:
    """The slides of an executed notebook, in order.

    A heading begins a slide, and so does a question; what does not fit goes on to the next one,
    under the same title.
    """
    found = [Slide(html.escape(chapter.heading))]
    place = FIRST
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        shown = WHOLE in tags or LEAD in tags
        blocks: Iterable[_Block] = ()
        if cell.cell_type == "markdown":
            blocks = _joined(_markdown_blocks(book, cell.source, lead=LEAD in tags))
        elif shown:
            blocks = _code_blocks(cell)
        for block in blocks:
            if block.kind == "heading":
                place = place_of(block.place, place)
                found.append(Slide(block.body, place))
            elif shown:
                _place(found, block)
    return _without_orphans([slide for slide in found if slide.blocks])


def main_line(found: Sequence[Slide], made: Plan) -> list[bool]:
    """Which slides a class goes through: those of its plan, at most one a minute.

    Where a part has more, those that only go on with a text are left first, from the last.
    """

    def rank(index: int) -> int:
        shown = "".join(found[index].blocks)
        if index == 0 or found[index - 1].place != found[index].place or "<ol class=" in shown:
            return 0
        return 1 if 'class="figure"' in shown else 2

    kept: set[int] = set()
    for slot in made.slots:
        here = [
            (rank(index), slot.places.index(slide.place), index)
            for index, slide in enumerate(found)
            if slide.place in slot.places
        ]
        room = min(slot.pages, slot.minutes) - (FIRST in slot.places)  # there the title comes first
        kept.update(index for _, _, index in sorted(here)[:room])
    return [index in kept for index in range(len(found))]


def numbers(found: Sequence[Slide], places: Sequence[str]) -> list[int]:
    """The numbers that the slides of these places show in their corner, in order."""
    pages = [n for n, slide in enumerate(found, start=2) if slide.place in places]
    return [1, *pages] if FIRST in places else pages


def _joined(blocks: Iterable[_Block]) -> Iterator[_Block]:
    """A paragraph without a full stop stays with what it announces."""
    before = None
    for block in blocks:
        if before is not None and block.kind == "text" and before.lines + block.lines <= LINES:
            lines, notes = before.lines + block.lines, before.notes + block.notes
            block = replace(before, body=before.body + block.body, lines=lines, notes=notes)
        elif before is not None:
            yield before
        before = block if _ANNOUNCES.search(block.body) else None
        if before is None:
            yield block
    if before is not None:
        yield before


def _place(found: list[Slide], block: _Block) -> None:
    """Put a block on the last slide, or on a new one if it must not or cannot share that."""
    last = found[-1]
    full = last.lines + block.lines > LINES
    if last.blocks and (full or block.kind == "question"):
        last = Slide(last.title, last.place)
        found.append(last)
    if last.place.startswith(QUIZ) and (number := re.match(r"\*\*(\d+)\. ", block.place)):
        last.place = f"{QUIZ} {number[1]}"
    last.blocks.append(block.body)
    last.lines += block.lines
    if block.notes:
        last.notes.append(block.notes)


def _without_orphans(found: list[Slide]) -> list[Slide]:
    """Leave out pages of a line or two of text; they become notes of the page before."""
    kept = found[:1]
    for slide, after in itertools.pairwise([*found[1:], Slide("")]):
        alone = after.title != slide.title or kept[-1].title == slide.title
        if alone and slide.lines <= ORPHAN and all(one.startswith("<p>") for one in slide.blocks):
            kept[-1].notes += slide.notes or slide.blocks
        else:
            kept.append(slide)
    return kept


# --- markdown cells -----------------------------------------------------------------------------

_OPTION = re.compile(r"<details><summary>(.*?)</summary>(.*?)</details>", re.DOTALL)
_ANNOUNCES = re.compile(r"[\w:,)\]](?:</\w+>)*</p>\s*\Z")
_LABEL = re.compile(r"\*\*[^*]+\*\*[^.]*[.:?!]?\Z")
_PROOF = re.compile(r"\**Proof\b")
_LEANS = re.compile(
    r"\**(?:Such|This|These|That|Those|It|Its|They|Their|So|Then|Hence|Thus|Both|But|And|Here)\b"
)
_SENTENCE = re.compile(r"(?<=[.!?:])(?:\*\*)?\s+(?=[A-Z*`$\[“(])")
_ABBREVIATION = re.compile(r"(?:e\.g|i\.e|cf|al|vs|resp)\.\Z")


def _markdown_blocks(book: Book, source: str, *, lead: bool) -> Iterator[_Block]:
    """The blocks of a Markdown cell; options of a question are one block with their answer."""
    for piece in _pieces(source):
        if isinstance(piece, str):
            yield from _text_blocks(book, piece, lead=lead)
        else:
            yield _options(book, piece)


def _pieces(source: str) -> Iterator[str | list[tuple[str, str]]]:
    """Text, and the options of a question (text and feedback) where they stand together."""
    end = 0
    options: list[tuple[str, str]] = []
    for match in _OPTION.finditer(source):
        between = source[end : match.start()].strip()
        if between:
            if options:
                yield options
                options = []
            yield between
        options.append((match[1].strip(), match[2].strip()))
        end = match.end()
    if options:
        yield options
    if rest := source[end:].strip():
        yield rest


def _options(book: Book, options: list[tuple[str, str]]) -> _Block:
    """The options to vote on, and on the next press the answer; a fold that is no quiz: notes."""
    right = [(text, said) for text, said in options if said.startswith("Correct")]
    if not right:
        notes = "".join(
            f"<p><b>{_inline(book, text)}</b></p>{_html(book, said)}" for text, said in options
        )
        return _Block("text", "", 0, notes)
    items = "".join(f"<li>{_inline(book, text)}</li>" for text, _ in options)
    answers = "".join(
        f'<div class="answer fragment"><b>{_inline(book, text)}</b> {_inline(book, said)}</div>'
        for text, said in right
    )
    notes = "".join(
        f"<p><i>{_inline(book, text)}</i> {_inline(book, said)}</p>" for text, said in options
    )
    height = sum(_lines(text) + 0.2 for text, _ in options)
    height += sum(_lines(text + said) + 0.5 for text, said in right)
    return _Block("text", f'<ol class="options">{items}</ol>{answers}', height, notes)


def _text_blocks(book: Book, source: str, *, lead: bool) -> Iterator[_Block]:
    """Headings, paragraphs, lists, tables and formulas of a text without folds.

    A question is always whole: after a heading "Check" nothing is cut.
    """
    rows = source.splitlines()
    tokens = [token for token in _READER.parse(source) if token.level == 0 and token.map]
    texts = ["\n".join(rows[slice(*token.map)]).strip() for token in tokens if token.map]
    for token, text, after in zip(tokens, texts, [*texts[1:], ""], strict=True):
        if token.type == "heading_open":
            title = text.lstrip("# ")
            lead = lead and title != "Check"
            yield _Block("heading", _inline(book, title), 0, place=text)
        elif token.type == "paragraph_open":
            question = re.match(r"\*\*\d+\. ", text) is not None
            # What the next paragraph begins with "This" about must be there to be read.
            short = _lead(text) if lead and not question and not _LEANS.match(after) else text
            notes = _html(book, text) if short != text else ""
            height = sum(2.2 for _ in re.findall(r"\$\$", text)) / 2 + _lines(short) + 0.4
            if "![" in text:
                height = LINES - 1
            kind = "question" if question else "text"
            yield _Block(kind, _html(book, short), height, notes, text if question else "")
        elif token.type in ("bullet_list_open", "ordered_list_open"):
            yield from _items(book, token, rows)
        elif token.type == "table_open":
            yield from _table(book, text)
        elif token.type == "math_block":
            shown, lines = _html(book, text), 1.2 + 1.3 * (text.count(r"\\") + 1)
            yield _Block("text", shown, lines, shown if lead else "")
        elif token.type == "html_block" and text.startswith("<!--"):
            continue
        elif token.type != "hr":
            yield _Block("text", _html(book, text), _lines(text))


def _table(book: Book, text: str) -> Iterator[_Block]:
    """A table, in pieces that fit on a slide; each has the head."""
    head, rule, *rows = text.splitlines()
    room = int((LINES - 1) / 1.3)
    for start in range(0, len(rows), room):
        piece = [head, rule, *rows[start : start + room]]
        yield _Block("text", _html(book, "\n".join(piece)), 1.3 * (len(piece) - 1))


def _items(book: Book, token: Any, rows: Sequence[str]) -> Iterator[_Block]:
    """A list, in pieces that fit on a slide."""
    text = "\n".join(rows[slice(*token.map)])
    items = re.split(r"\n(?=(?:[-*]|\d+\.) )", text)
    piece: list[str] = []
    for item in items:
        if piece and sum(_lines(one) + 0.15 for one in [*piece, item]) > LINES - 1:
            yield _Block(
                "text", _html(book, "\n".join(piece)), sum(_lines(one) + 0.15 for one in piece)
            )
            piece = []
        piece.append(item)
    yield _Block("text", _html(book, "\n".join(piece)), sum(_lines(one) + 0.15 for one in piece))


def _lead(paragraph: str) -> str:
    """Of a paragraph its first sentence and those with a term in bold.

    With them goes what they need: the answer to a question, and what "this" or "such" is about. A
    proof, and a paragraph with a formula of its own, is shown whole.
    """
    if "$$" in paragraph or paragraph.startswith(("![", "<")) or _PROOF.match(paragraph):
        return paragraph
    sentences = _sentences(" ".join(paragraph.split()))
    kept = [index == 0 or "**" in text for index, text in enumerate(sentences)]
    if len(sentences) > 1 and _LABEL.match(sentences[0]):
        kept[1] = True
    for index, text in enumerate(sentences[1:], start=1):
        kept[index] |= kept[index - 1] and sentences[index - 1].endswith("?")
        if kept[index] and _LEANS.match(text):
            start = index
            while not kept[start - 1] and _LEANS.match(sentences[start - 1]):
                start -= 1
            kept[start - 1 : index] = [True] * (index - start + 1)
    return " ".join(text for text, keep in zip(sentences, kept, strict=True) if keep)


def _sentences(text: str) -> list[str]:
    """A paragraph's sentences; formulas, code, links and brackets are not cut."""
    sentences: list[str] = []
    start = 0
    for match in _SENTENCE.finditer(text):
        piece = text[start : match.start()] + ("**" if "**" in match[0] else "")
        words = re.sub(r"\$[^$]*\$|`[^`]*`", "", piece)
        whole = all(words.count(mark) % 2 == 0 for mark in ("$", "`", "**", "*"))
        whole = whole and all(words.count(a) == words.count(b) for a, b in ("()", "[]"))
        if whole and not piece.endswith(":") and not _ABBREVIATION.search(piece):
            sentences.append(piece)
            start = match.end()
    return [*sentences, text[start:]]


def _lines(text: str) -> float:
    """How many lines a text takes on a slide: formulas are shorter than their source."""
    text = re.sub(r"\]\([^)]*\)", "", text)
    text = re.sub(
        r"\\(?:left|right|mathrm|operatorname|bigl|bigr|lVert|rVert|text|mathbb)\b", "", text
    )
    text = re.sub(r"\\[a-zA-Z]+", "x", text)
    length = len(re.sub(r"[{}$*`_^\\]", "", text))
    return max(1, -(-length // 82))


# --- code cells ---------------------------------------------------------------------------------


def _code_blocks(cell: NotebookNode) -> Iterator[_Block]:
    """What a code cell shows: its figure or claims; else its source, and what it printed."""
    shown = [
        to_html(output.data, output.metadata)
        if is_figure(output)
        else output.get("data", {}).get("text/html", "")
        for output in cell.outputs
    ]
    pictures = [text for text in shown if "<img" in text]
    cards = [text for text in shown if 'class="nc-claim"' in text]
    if not pictures and not cards and "hide-input" not in cell.metadata.get("tags", []):
        source = highlight(cell.source, PythonLexer(), HtmlFormatter())
        yield _Block("text", source, 0.75 * (cell.source.count("\n") + 2))
    for picture in pictures:
        yield _Block("figure", f'<div class="figure">{picture}</div>', FIGURE)
    for index in range(0, len(cards), CLAIMS):
        yield _Block("question", "".join(cards[index : index + CLAIMS]), LINES)
    for output, text in zip(cell.outputs, shown, strict=True):
        if output.output_type == "stream":
            printed = f"<pre>{html.escape(output.text.rstrip())}</pre>"
            yield _Block("text", printed, 0.75 * (output.text.count("\n") + 1))
        elif "<table" in text:
            yield _Block("text", text, max(2, 1.2 * text.count("<tr")))


# --- html ---------------------------------------------------------------------------------------


def _formula(text: str, options: dict[str, Any]) -> str:
    """A formula for MathJax."""
    left, right = (r"\[", r"\]") if options.get("display_mode") else (r"\(", r"\)")
    return f"{left}{html.escape(text)}{right}"


_READER = (
    MarkdownIt("commonmark", {"html": True})
    .enable("table")
    .use(dollarmath_plugin, renderer=_formula, double_inline=True)
)


def _html(book: Book, text: str) -> str:
    """Markdown as HTML."""
    return _self_contained(book, str(_READER.render(text)))


def _inline(book: Book, text: str) -> str:
    """A line of Markdown as HTML without a paragraph around it; of more than a line, `_html`."""
    if "\n\n" in text:
        return _html(book, text)
    return _self_contained(book, str(_READER.renderInline(text)))


def _self_contained(book: Book, made: str) -> str:
    """Pictures inside, and links to other notebooks and pages as plain words."""
    made = re.sub(r'<a href="(?!https?:)[^"]*">(.*?)</a>', r"\1", made, flags=re.DOTALL)
    return re.sub(r'src="((?!data:)[^"]+)"', lambda match: f'src="{_data(book, match[1])}"', made)


def _data(book: Book, address: str) -> str:
    """A picture of the course as a data address."""
    path = book.folder / html.unescape(address)
    kind = {".svg": "svg+xml", ".jpg": "jpeg"}.get(path.suffix, path.suffix[1:])
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _stack(stack: Sequence[Slide]) -> str:
    """A slide with its asides, which reveal.js puts below it."""
    pages = "\n".join(_section(slide, aside=k > 0) for k, slide in enumerate(stack))
    return f"<section>{pages}</section>" if len(stack) > 1 else pages


def _section(slide: Slide, *, aside: bool) -> str:
    """A slide as reveal.js reads it."""
    kind = "page aside" if aside else "page"
    title = levels_in_words(f"<h2>{slide.title}</h2>")
    notes = f'<aside class="notes">{"".join(slide.notes)}</aside>' if slide.notes else ""
    body = "\n".join(slide.blocks)
    # A claim is shown on several pages; its address belongs to the chapter's.
    body = re.sub(r'<details id="claim-[^"]*"', "<details", body)
    return f'<section><div class="{kind}">{title}\n{body}\n</div>{notes}</section>'


def _package_folder(name: str) -> Path:
    """Where a package lies that is here for its files alone."""
    found = find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(
            f'{name} is not installed; slides need: pip install "ncourse[course]"'
        )
    return Path(found.submodule_search_locations[0])


# Before anything is drawn: as the system has it, or as `?theme=dark` asks. Paper is light.
_THEME = """
const asked = new URLSearchParams(location.search);
const show = theme => { document.documentElement.dataset.theme = theme; };
show(asked.has("print-pdf") ? "light" : asked.get("theme")
  ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
addEventListener("beforeprint", () => show("light"));
"""

_MATHJAX = r"""
window.MathJax = {
  tex: {inlineMath: [["\\(", "\\)"], ["$", "$"]], displayMath: [["\\[", "\\]"]]},
  // Notes are copied into the speaker's window: each formula carries its own letters.
  svg: {fontCache: "local"},
  options: {enableMenu: false, ignoreHtmlClass: "highlight"},
  startup: {typeset: false},
};
"""

# Formulas first, then the show; each page in the largest type at which it holds all that is on it.
_START = """
const SIZES = [30, 27, 24, 21];
function fit(slide) {
  const page = slide.querySelector(".page");
  for (const size of SIZES) {
    page.style.fontSize = size + "px";
    if (page.scrollHeight <= page.clientHeight && page.scrollWidth <= page.clientWidth) break;
  }
}
window.ready = MathJax.startup.promise
  .then(() => MathJax.typesetPromise())
  .then(() => {
    Reveal.on("ready", event => fit(event.currentSlide));
    Reveal.on("slidechanged", event => fit(event.currentSlide));
    Reveal.on("pdf-ready", () => Reveal.getSlides().forEach(fit));
    return Reveal.initialize({
      width: 1280, height: 720, margin: 0, center: false, hash: true, slideNumber: "c/t",
      transition: "none", plugins: [RevealNotes],
      // A remote control and the space bar walk along the class; only an arrow goes down to asides.
      keyboard: {
        32: "right", 33: "left", 34: "right",
        84: () => show(document.documentElement.dataset.theme === "dark" ? "light" : "dark"),
      },
    });
  });
"""
