"""Questions with options: found in a text, and put into an order that gives nothing away.

Whoever writes a question tends to put the right option at the same place. So `ncourse sync` orders
options by a hash of the question and the option: the same at every run, and anew where a question
is reworded.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Question", "in_order", "questions"]

SALT = 0
"""Chosen once, so that over the whole course no place has the right option too often: a test holds
the counts. Change it where they no longer hold, and run `ncourse sync`."""

_BLOCK = r"<details><summary>(.+?)</summary>\n\n.+?\n\n</details>"
_OPTION = re.compile(_BLOCK, re.DOTALL)
_OPTIONS = re.compile(rf"{_BLOCK}(?:\n{_BLOCK})*", re.DOTALL)
_GUESSES = re.compile(r"^## Predict first$.*?^((?:- [^\n]+\n)+)", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Question:
    """A question of a check, a quiz, or *Predict first*.

    Attributes:
        text: what is asked: the paragraph above the options, without its number.
        options: what can be chosen, in order.
        right: the place of the right option, from 0; None for *Predict first*, which does not say.
    """

    text: str
    options: tuple[str, ...]
    right: int | None


def questions(text: str) -> Iterator[Question]:
    """The questions in a Markdown cell, in order; a proof that folds away is none."""
    for _, asked, blocks in _found(text):
        right = [k for k, block in enumerate(blocks) if "</summary>\n\nCorrect" in block]
        options = tuple(_said(block) for block in blocks)
        yield Question(asked, options, right[0] if right else None)


def in_order(text: str) -> str:
    """The text with the options of each question in their order; nothing else is changed."""
    for start, asked, blocks in reversed(list(_found(text))):
        end = start + len("\n".join(blocks))
        hashes = {block: _hash(asked, _said(block)) for block in blocks}
        text = text[:start] + "\n".join(sorted(blocks, key=hashes.__getitem__)) + text[end:]
    return text


def _found(text: str) -> Iterator[tuple[int, str, list[str]]]:
    """Where the options of a question start, what is asked, and each option as it stands."""
    if guesses := _GUESSES.search(text):
        asked = text[: guesses.start(1)].strip().rpartition("\n\n")[2]
        yield guesses.start(1), asked, guesses[1].rstrip("\n").split("\n")
    for group in _OPTIONS.finditer(text):
        blocks = [match[0] for match in _OPTION.finditer(group[0])]
        if not any("</summary>\n\nCorrect" in block for block in blocks):
            continue  # a proof
        asked = text[: group.start()].strip().rpartition("\n\n")[2]
        yield group.start(), re.sub(r"^\*\*\d+\. ", "**", asked), blocks


def _said(block: str) -> str:
    """The words of an option."""
    found = _OPTION.fullmatch(block)
    return found[1] if found else block.removeprefix("- ")


def _hash(asked: str, option: str) -> str:
    return hashlib.sha256(f"{SALT}\n{asked}\n{option}".encode()).hexdigest()
