"""Tables: what experiments measure, column by column, and what claims, figures and files read."""

import csv
import html
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from ncourse.files import write_whole

__all__ = ["Table"]

T = TypeVar("T", bound="Table")


@dataclass(frozen=True, eq=False)
class Table(Mapping[str, Any]):
    """A tidy table in plain data: named columns of numbers and words, all equally long.

    It is a mapping from names to columns, so `table["nc1"]` and `dict(table)` work, and equals any
    other mapping with the same columns.

    Attributes:
        columns: name -> one value for each row. Any mapping will do; it is copied.

    Raises:
        ValueError: if the columns are not equally long, saying how long each is.

    >>> table = Table.of([{"run": "a", "nc1": 0.5}, {"run": "b", "nc1": 0.25}])
    >>> table["nc1"], table.where(run="b").last
    ([0.5, 0.25], {'run': 'b', 'nc1': 0.25})
    """

    columns: Mapping[str, Any]

    kind: ClassVar[str] = "table"
    """What an error calls it."""

    def __post_init__(self) -> None:
        given = self.columns.columns if isinstance(self.columns, Table) else self.columns
        columns = {name: list(values) for name, values in given.items()}
        if len({len(values) for values in columns.values()}) > 1:
            lengths = ", ".join(f"{name} {len(values)}" for name, values in columns.items())
            raise ValueError(f"the columns of a {self.kind} are not equally long: {lengths}")
        object.__setattr__(self, "columns", columns)

    @classmethod
    def of(cls: type[T], rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = ()) -> T:
        """A table of these rows.

        Args:
            rows: each has the same columns.
            columns: their names in order; those of the first row if not given. A table without rows
                needs them.

        Raises:
            ValueError: if a row has other columns, naming both.
        """
        listed = list(rows)
        names = list(columns or (listed[0] if listed else ()))
        for row in listed:
            if set(row) != set(names):
                raise ValueError(
                    f"a row has the columns {', '.join(row)}; expected {', '.join(names)}"
                )
        return cls({name: [row[name] for row in listed] for name in names})

    def __getitem__(self, name: str) -> Any:
        """A column, as a list."""
        if name not in self.columns:
            raise KeyError(f"no column {name!r}; there are {', '.join(self.columns)}")
        return self.columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        return self.columns == (other.columns if isinstance(other, Table) else other)

    __hash__ = None  # type: ignore[assignment]  # it holds lists

    def rows(self) -> list[dict[str, Any]]:
        """The rows in order, each by column."""
        columns = self.columns
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def where(self: T, **values: Any) -> T:
        """The rows that have these values, e.g. `table.where(run="a", depth=4)`.

        Raises:
            KeyError: if there is no such column.
        """
        for name in values:
            self[name]
        kept = (row for row in self.rows() if all(row[n] == v for n, v in values.items()))
        return self.of(kept, list(self.columns))

    @property
    def last(self) -> dict[str, Any]:
        """The last row.

        Raises:
            IndexError: if there are no rows.
        """
        if not self.rows():
            raise IndexError(f"the {self.kind} has no rows; its columns are {', '.join(self)}")
        return self.rows()[-1]

    def save(self, path: str | Path) -> Path:
        """Write as CSV; returns the path. `load` reads it back exactly."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(zip(*self.columns.values(), strict=True))
        return write_whole(path, text.getvalue())

    @classmethod
    def load(cls: type[T], path: str | Path) -> T:
        """Read what `save` wrote: whole numbers, other numbers, truth values and words.

        Raises:
            ValueError: if the file is no such table or not whole, naming it.
        """
        try:
            text = Path(path).read_bytes().decode()
            header, *rows = list(csv.reader(io.StringIO(text, newline=""))) or [[]]
        except (ValueError, csv.Error) as error:
            raise ValueError(f"{path} is not a {cls.kind}: expected CSV ({error})") from error
        if not header or len(set(header)) != len(header) or {len(r) for r in rows} - {len(header)}:
            raise ValueError(f"{path} is not a {cls.kind}: its rows or columns do not match")
        # A whole table ends with a line; one cut inside its last number does not.
        if not text.endswith("\n"):
            raise ValueError(f"{path} is not a whole {cls.kind}: its last line has no end")
        columns = zip(*rows, strict=True) if rows else ([] for _ in header)
        return cls({n: [_value(cell) for cell in c] for n, c in zip(header, columns, strict=True)})

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self.columns)
        body = "".join(
            f"<tr>{''.join(f'<td>{_cell(value)}</td>' for value in row.values())}</tr>"
            for row in self.rows()
        )
        return f"<table><tr>{head}</tr>{body}</table>"


def _value(cell: str) -> Any:
    """What a cell of a CSV file held."""
    if cell in ("True", "False"):
        return cell == "True"
    if re.fullmatch(r"-?\d{1,18}", cell):
        return int(cell)
    try:
        return float(cell)
    except ValueError:
        return cell


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else html.escape(str(value))
