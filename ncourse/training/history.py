"""What a training run leaves behind: a table with one row for each measured epoch."""

import csv
import html
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ncourse.files import write_whole

__all__ = ["History"]


@dataclass(frozen=True)
class History:
    """A tidy table of a training run: one row for each epoch at which it was measured.

    Attributes:
        columns: column name -> one value per row. "epoch" counts finished epochs; the other
            columns are described in `fit`.
    """

    columns: dict[str, list[float | int]]

    def __getitem__(self, name: str) -> np.ndarray:
        """A column as an array."""
        if name not in self.columns:
            raise KeyError(f"no column {name!r}; there are {', '.join(self.columns)}")
        return np.array(self.columns[name])

    def __len__(self) -> int:
        return len(self.columns["epoch"])

    def at(self, epoch: int) -> dict[str, float | int]:
        """The row of one epoch.

        Raises:
            KeyError: if that epoch was not measured.
        """
        if epoch not in self.columns["epoch"]:
            raise KeyError(f"epoch {epoch} was not measured; {self.columns['epoch']} were")
        row = self.columns["epoch"].index(epoch)
        return {name: values[row] for name, values in self.columns.items()}

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

    def save(self, path: str | Path) -> Path:
        """Write as CSV; returns the path. `History.load` reads it back exactly."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(zip(*self.columns.values(), strict=True))
        return write_whole(path, text.getvalue())

    @classmethod
    def load(cls, path: str | Path) -> "History":
        """Read what `save` wrote.

        Raises:
            ValueError: if the file is no such table, naming it.
        """
        content = Path(path).read_bytes()
        try:
            text = content.decode()
            header, *rows = list(csv.reader(io.StringIO(text, newline=""))) or [[]]
            columns: dict[str, list[float | int]] = {
                name: [float(row[index]) for row in rows] for index, name in enumerate(header)
            }
            columns["epoch"] = [int(row[header.index("epoch")]) for row in rows]
        except (ValueError, IndexError, csv.Error) as error:
            raise ValueError(
                f"{path} is not a history: expected a CSV table with a column 'epoch' ({error})"
            ) from error
        # A whole table ends with a line; one cut inside its last number does not.
        if len(columns) != len(header) or {len(row) for row in rows} - {len(header)}:
            raise ValueError(f"{path} is not a history: its rows or columns do not match")
        if not text.endswith("\n"):
            raise ValueError(f"{path} is not a whole history: its last line has no end")
        return cls(columns)

    def plot(self) -> Any:
        """The course's figure of a run, as a matplotlib figure (needs `ncourse[course]`)."""
        # The one import upwards: a method on the table is where its users look for the figure.
        from ncourse.plots import collapse_curves

        return collapse_curves({"": self})

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self.columns)
        rows = zip(*self.columns.values(), strict=True)
        body = "".join(
            f"<tr>{''.join(f'<td>{value:.4g}</td>' for value in row)}</tr>" for row in rows
        )
        return f"<table><tr>{head}</tr>{body}</table>"
