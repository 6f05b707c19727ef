"""A progress bar that leaves nothing behind: in a terminal a line, in a notebook an output."""

import io
import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

__all__ = ["progress_bar"]

DELAY = 0.5  # seconds; a loop that is over before shows no bar


def progress_bar(iterable: Iterable[Any], **options: Any) -> Any:
    """An iterable that shows how far it is, until it ends.

    In a notebook the bar is plain text in an output that is empty afterwards. `tqdm.auto` takes a
    widget there, whose output stays: a notebook that was saved and is opened again has "Error
    displaying widget: model not found" in its place.

    Args:
        iterable: what is gone through.
        options: those of `tqdm`.

    >>> sum(progress_bar(range(5), desc="five"))
    10
    """
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if hasattr(shell, "kernel"):
        options |= {"file": _Output(), "position": 0, "ncols": 88}
    return tqdm(iterable, leave=False, delay=DELAY, **options)


class _Output(io.TextIOBase):
    """One output of the cell that runs, which shows the line that was written last."""

    encoding = "utf-8"  # tqdm asks whether it may draw its bar with blocks

    def __init__(self) -> None:
        self._handle: Any = None
        self._line = ""

    def write(self, text: str) -> int:
        from IPython.display import display

        line = text.strip()
        if line == self._line:
            return len(text)
        data = {"text/plain": line} if line else {}
        if self._handle is None:
            self._handle = display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)
        self._line = line
        return len(text)
