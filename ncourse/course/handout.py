"""A chapter on paper: its page of the built site, printed by Chromium."""

import os
import shutil
import subprocess
from pathlib import Path

from ncourse.course.manifest import Book, Chapter

__all__ = ["HandoutError", "handout"]

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE = 20_000  # ms of the page's own clock: until its formulas are set


class HandoutError(RuntimeError):
    """A chapter that could not be printed; the message says what is missing."""


def handout(book: Book, chapter: Chapter, out: Path) -> None:
    """Print a chapter into a PDF, light and with its folds closed, as the site shows it.

    Args:
        book: the course; its site has to be built.
        chapter: what to print.
        out: the file to write.

    Raises:
        HandoutError: if there is no page or no browser, or the browser printed nothing.
    """
    page = book.root / "_build" / "html" / f"{chapter.stem}.html"
    if not page.is_file():
        raise HandoutError(f"there is no {page}; run `ncourse build` first")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise HandoutError(f"printing needs Chromium; none of {', '.join(BROWSERS)} is installed")
    command = [browser, "--headless", "--disable-gpu", "--no-pdf-header-footer"]
    made = out.resolve().with_suffix(".part.pdf")  # what was there stays until there is a new one
    command += [f"--virtual-time-budget={PATIENCE}", f"--print-to-pdf={made}"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # Chromium refuses root otherwise
        command.append("--no-sandbox")
    told = subprocess.run([*command, page.as_uri()], capture_output=True, text=True)
    if told.returncode or not made.is_file():
        made.unlink(missing_ok=True)
        raise HandoutError(f"{browser} printed nothing into {out}:\n{told.stderr[-500:]}")
    made.replace(out)
