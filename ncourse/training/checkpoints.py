"""Checkpoints: a training that is killed goes on where it was, to the same end."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ncourse.files import check_zip, replaced
from ncourse.training import processes

__all__ = ["checkpoints_in"]

Row = Mapping[str, float | int]


@dataclass
class _Folder:
    """What `checkpoints_in` asks of the calls of `fit` inside it."""

    path: Path
    tell: Callable[[int, int, Row], None] | None
    calls: int = 0


_FOLDER: ContextVar[_Folder | None] = ContextVar("folder", default=None)


@contextmanager
def checkpoints_in(
    folder: str | Path,
    *,
    tell: Callable[[int, int, Row], None] | None = None,
) -> Iterator[None]:
    """Inside, every call of `fit` without a checkpoint of its own keeps one in `folder`.

    The files are `fit-0001.pt`, `fit-0002.pt`, ... in order of the calls. Entered again with the
    same folder after a kill, the same calls in the same order take up what is there: finished ones
    return at once, the one that was killed goes on, and what comes out is bit-identical to an
    undisturbed run on the CPU. A call with other settings or data than its file is refused; a
    changed loss or initial network is not noticed, so do not edit code in between.

    Where a call has `observe`, the epochs that were done are *observed again*, so that nothing is
    missing in what the caller builds from them: the weights at each measured epoch are kept in
    `fit-0001/`, put back, and both splits passed through. That takes the space of one network a
    measured epoch; the folders may be removed once all is done.

    Args:
        folder: made if it is missing.
        tell: called as `tell(call, epochs, row)` with each new row of a history: the number of the
            call, its epochs in all, the row. `fit` shows no progress bars inside.
    """
    if processes.place().rank == 0:
        Path(folder).mkdir(parents=True, exist_ok=True)
    token = _FOLDER.set(_Folder(Path(folder), tell))
    try:
        yield
    finally:
        _FOLDER.reset(token)


class _Checkpoint:
    """The state of one training, and the files that keep it: none, a file, or one in a folder.

    Args:
        path: the file; None for the next one of the folder of `checkpoints_in`, or for none.
        settings: what a run that goes on has to have in common with its file.
        model: whose weights are kept.
        optimizer: whose state is kept.
        generator: of the order of the samples.
        observed: whether somebody observes, so that measured epochs must be put back for them.
        writes: whether this process writes.
    """

    def __init__(
        self,
        path: str | Path | None,
        *,
        settings: dict[str, Any],
        model: Any,
        optimizer: Any,
        generator: torch.Generator,
        observed: bool,
        writes: bool,
    ) -> None:
        self.path = path
        self.settings, self.writes = settings, writes
        self.model, self.optimizer, self.generator = model, optimizer, generator
        self.snapshots: Path | None = None
        self.folder = _FOLDER.get()
        if self.folder is not None:
            self.folder.calls += 1
            self.call = self.folder.calls
            if path is None:
                self.path = self.folder.path / f"fit-{self.call:04d}.pt"
                self.snapshots = self.folder.path / f"fit-{self.call:04d}" if observed else None

    def resume(self) -> tuple[int, list[dict[str, float | int]]]:
        """Put back what `save` wrote; returns the next epoch and the rows so far."""
        if self.path is None or not Path(self.path).exists():
            return 1, []
        state = _read_state(self.path)
        kept = state.get("settings")
        kept = kept if isinstance(kept, dict) else {}
        other = [name for name in self.settings if kept.get(name) != self.settings[name]]
        if other:
            raise ValueError(
                f"{self.path} belongs to a run with another {', '.join(other)}; delete it to start "
                "anew, or call fit with the settings it was made with"
            )
        try:
            self.model.load_state_dict(state["model"])
        except Exception as error:  # torch raises several kinds
            raise ValueError(f"{self.path} belongs to another model: {error}") from error
        try:
            self.optimizer.load_state_dict(state["optimizer"])
            self.generator.set_state(state["order"])
            torch.random.set_rng_state(state["random"])
            return _epoch_and_rows(state, self.settings)
        except Exception as error:
            raise ValueError(
                f"{self.path} is no checkpoint of `fit` ({error}); delete it to start anew"
            ) from error

    def save(self, epoch: int, rows: list[dict[str, float | int]]) -> None:
        """Write the state after an epoch; a kill half-way leaves the previous state."""
        if self.path is None or not self.writes:
            return
        state = {
            "settings": self.settings,
            "epoch": epoch,
            "rows": rows,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "order": self.generator.get_state(),
            "random": torch.random.get_rng_state(),
        }
        _write_state(self.path, state)

    def save_snapshot(self, epoch: int) -> None:
        """Keep what `observe_again` needs of a measured epoch."""
        if self.snapshots is None or not self.writes:
            return
        self.snapshots.mkdir(exist_ok=True)
        state = {"model": self.model.state_dict(), "random": torch.random.get_rng_state()}
        _write_state(self.snapshots / f"epoch-{epoch:06d}.pt", state)

    def observe_again(self, rows: Sequence[Row], observe: Callable[[int], None]) -> None:
        """Call `observe` for the epochs that were measured before the run was killed."""
        if self.snapshots is None or not rows:
            return
        now = {name: value.clone() for name, value in self.model.state_dict().items()}
        random = torch.random.get_rng_state()
        for row in rows:
            epoch = int(row["epoch"])
            state = _read_state(self.snapshots / f"epoch-{epoch:06d}.pt")
            self.model.load_state_dict(state["model"])
            torch.random.set_rng_state(state["random"])
            observe(epoch)
        self.model.load_state_dict(now)
        torch.random.set_rng_state(random)

    def report_row(self, row: Row) -> None:
        """Tell whoever has entered `checkpoints_in` of a new row."""
        if self.folder is not None and self.folder.tell is not None:
            self.folder.tell(self.call, self.settings["epochs"], row)


def _read_state(path: str | Path) -> dict[str, Any]:
    """Tensors and plain values from a file, never code."""
    try:
        check_zip(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        return dict(state) | {"model": dict(state["model"])}
    except Exception as error:  # whatever zipfile or torch meets in a damaged file
        raise ValueError(
            f"{path} is no checkpoint of `fit` ({error}); delete it to start anew"
        ) from error


def _write_state(path: str | Path, state: dict[str, Any]) -> None:
    """Write in one step, by way of memory: on a full disk torch would say "unexpected pos 64"."""
    content = io.BytesIO()
    torch.save(state, content)
    with replaced(path) as beside:
        beside.write_bytes(content.getbuffer())


def _epoch_and_rows(
    state: Mapping[str, Any], settings: Mapping[str, Any]
) -> tuple[int, list[dict[str, float | int]]]:
    """The next epoch and the rows so far, if they can be those of a run with these settings."""
    epoch, rows = state["epoch"], state["rows"]
    if type(epoch) is not int or not 1 <= epoch <= settings["epochs"]:
        raise ValueError(f"its epoch is {epoch!r}")
    due = {wanted for wanted in settings["measure_at"] if 1 <= wanted <= epoch}
    epochs = [row["epoch"] for row in rows]
    if epochs != sorted({*epochs}) or not due <= {*epochs} <= {*range(1, epoch + 1)}:
        raise ValueError(f"its rows are of the epochs {epochs}")
    for row in rows:
        if list(row) != list(rows[0]) or not all(type(x) in (int, float) for x in row.values()):
            raise ValueError(f"a row is {row!r}")
    return epoch + 1, rows
