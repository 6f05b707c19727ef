"""The history of a training run, as `fit` returns it."""

from pathlib import Path
from typing import Any

import numpy as np

from ncourse.files import replaced
from ncourse.tables import Table

__all__ = ["History"]


class History(Table):
    """A table of a training run: one row for each epoch at which it was measured.

    "epoch" counts finished epochs; the other columns are described in `fit`.
    """

    kind = "history"

    def __getitem__(self, name: str) -> np.ndarray:
        """A column, as an array."""
        return np.array(super().__getitem__(name))

    def at(self, epoch: int) -> dict[str, float | int]:
        """The row of one epoch.

        Raises:
            KeyError: if that epoch was not measured.
        """
        if epoch not in self.columns["epoch"]:
            raise KeyError(f"epoch {epoch} was not measured; {self.columns['epoch']} were")
        return self.rows()[self.columns["epoch"].index(epoch)]

    @property
    def terminal_epoch(self) -> int | None:
        """The first measured epoch at zero training error, None if there is none.

        `fit` measures every epoch until then, so it is the first one of all (unless it is told not
        to: `watch_error`).
        """
        for epoch, error in zip(self.columns["epoch"], self.columns["train_error"], strict=True):
            if error == 0:
                return int(epoch)
        return None

    @classmethod
    def load(cls, path: str | Path) -> "History":
        """Read what `save` wrote.

        Raises:
            ValueError: if the file is no such table or not whole, naming it.
        """
        history = super().load(path)
        whole = all(type(epoch) is int for epoch in history.columns.get("epoch", [None]))
        if not whole or any(isinstance(v, str) for c in history.columns.values() for v in c):
            raise ValueError(
                f"{path} is not a history: expected a CSV table of numbers with whole ones in a "
                f"column 'epoch'; it has {', '.join(history)}"
            )
        return history

    def plot(self, path: str | Path | None = None) -> Any:
        """The course's figure of a run, as a matplotlib figure (needs `ncourse[course]`).

        Args:
            path: write it there as a PNG, in one step, and return the path.
        """
        # The one import upwards: a method on the table is where its users look for the figure.
        try:
            from ncourse.figures.plots import collapse_curves, png
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                'drawing needs: pip install "ncourse[course]"', name=error.name
            ) from error

        figure = collapse_curves({"": self})
        if path is None:
            return figure
        with replaced(path) as beside:
            beside.write_bytes(png(figure))
        return Path(path)
