"""A run: a paper's experiment with one seed, in a folder that says what it was and what it found.

A run folder holds

    run.json        what was asked, with what versions, on what data; running, finished, or failed
    checkpoints/    the state of every network that is trained through `fit`
    tables/         each table of the outcome as CSV, one row an observation
    figures/        collapse curves of each table that is a history
    claims.md, claims.json
    outcome.json    all of it, as `Outcome.load` reads it

Each file is written in one step. `run.json` says "finished" only once all others are there.
"""

import importlib.util
import json
import platform
import re
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

try:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        'run folders need: pip install "ncourse[cli]"', name=error.name
    ) from error

from ncourse import data, papers
from ncourse.claims import Outcome
from ncourse.data import Dataset
from ncourse.files import write_whole
from ncourse.tables import Table
from ncourse.training import Hardware, History, checkpoints_in, hardware, place

__all__ = ["DATA", "RunError", "dataset", "folder_name", "run"]

DATA: dict[str, Callable[[], Dataset]] = {
    "digits": data.digits,
    "fashion-mnist": data.fashion_mnist,
    "mnist": data.mnist,
    "cifar10": data.cifar10,
    "cifar100": data.cifar100,
}
"""The data sets that have a name; any other is a folder of images."""

SAME = ("paper", "scale", "seed", "data", "checksum", "ncourse", "torch", "processes", "hardware")
"""What a run that is resumed must have in common with its beginning."""

SHOWN = {
    "train_error": "train error",
    "nc1": "NC1",
    "nc2_equiangular": "NC2",
    "nc3": "NC3",
    "nc4": "NC4",
}


class RunError(ValueError):
    """A run that cannot be started, or not be resumed; the message says why."""


def run(
    paper: str,
    *,
    scale: str = "laptop",
    data: str | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
    console: Console | None = None,
    on: Hardware | None = None,
) -> Outcome:
    """Run `ncourse.papers.PAPER.experiment` and keep what it was and what it found in a folder.

    A run that was killed and is resumed takes up every call of `fit` where it was
    (`checkpoints_in`) and repeats what lies between them; its outcome is bit-identical to that of
    an undisturbed run on the CPU, if code, machine and number of threads are the same. Experiments
    that do not train through `fit` (linear programmes, L-BFGS, gradient flows) start again.

    Started by `torchrun` or `srun` on several processes, process 0 alone writes and prints.

    Args:
        paper: a module of `ncourse.papers`.
        scale: "laptop", "workstation" or "paper", as far as the experiment has it.
        data: one of `DATA` or a folder of images; the experiment's own if None.
        seed: of the experiment.
        out: the folder; `runs/` and `folder_name` if None.
        resume: whether to go on with a run that is in that folder; if there is none, it starts.
        console: where to show progress; standard output if None.
        on: what `fit` trains on; the CPU in float32 if None.

    Raises:
        RunError: for an unknown paper or data set; a folder that exists, without `resume`; one with
            another run (naming what differs), with it; when another process has ended.
        ValueError: what the experiment raises, e.g. for a scale that it does not have.
    """
    console = console or Console()
    here = place()
    try:
        experiment = papers.find(paper)
    except ValueError as error:
        raise RunError(str(error)) from None
    chosen = None if data is None else dataset(data)
    experiment.paper.check_scale(scale)  # what is refused leaves no folder
    if chosen is not None:
        experiment.paper.check_data(chosen)
    folder = Path(out) if out is not None else Path("runs") / folder_name(paper, scale, data, seed)
    resumable = experiment.paper.resumable
    if here.processes > 1 and not resumable:
        raise RunError(f"{paper} does not train through `fit`: run it in one process")
    on = on or Hardware()
    elsewhere = experiment.paper.accelerated and on == Hardware(on.accelerator)
    if on != Hardware() and not (resumable or elsewhere):
        what = "precision or compile" if experiment.paper.accelerated else "on what to run"
        raise RunError(f"{paper} does not train through `fit`: it cannot be told {what}")
    about: dict[str, Any] = {
        "state": "running",
        "command": _command(paper, scale, data, seed, out, on),
        "paper": paper,
        "scale": scale,
        "seed": seed,
        "data": "its own" if data is None else data,
        "checksum": None if chosen is None else chosen.checksum,
        "ncourse": version("ncourse"),
        "torch": version("torch"),
        "python": platform.python_version(),
        "processes": here.processes,
        "hardware": vars(on),
        "threads": torch.get_num_threads(),
        "started": _now(),
        "resumed": [],
        "ended": None,
    }
    again = resume and (folder / "run.json").is_file()
    if again:
        kept = _read(folder / "run.json")
        _check_same(folder, kept, about)
        if kept["state"] == "finished":
            if here.rank == 0:
                _say(console, f"{folder} is finished already")
            return Outcome.load(folder / "outcome.json")
        for name in ("threads", "python"):
            if kept[name] != about[name] and here.rank == 0:
                _say(console, f"{name} {about[name]}, before {kept[name]}: last digits may differ")
        resumed = [*kept["resumed"], about["started"]]
        about = {**kept, "state": "running", "resumed": resumed, "ended": None}
    elif here.rank == 0 and folder.exists() and _holds_something(folder):
        # Not asked of the other processes: process 0 may have made the folder before they look.
        raise RunError(f"{folder} exists already; go on with --resume, or name another with --out")
    if here.rank > 0:
        with hardware(on), checkpoints_in(folder / "checkpoints"):
            return experiment(scale, seed=seed, data=chosen)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "run.json", about)
    _announce(console, paper, folder, resumable, again)
    try:
        kept_in = folder / "checkpoints"
        with hardware(on), _shown(console) as tell, checkpoints_in(kept_in, tell=tell):
            outcome = experiment(scale, seed=seed, data=chosen)
        _write(folder, outcome)
    except BaseException as error:
        lost = here.processes > 1 and isinstance(error, RuntimeError) and "peer" in str(error)
        found = RunError(f"another process of this run has ended ({error})") if lost else error
        reason = f"{type(found).__name__}: {found}".rstrip(": ")
        write_json(folder / "run.json", about | {"state": f"failed: {reason}", "ended": _now()})
        if lost:
            raise found from error
        if isinstance(error, KeyboardInterrupt):
            _say(console, f"stopped; go on with: {about['command']} --resume")
        raise
    card = outcome.as_dict()["data"]
    write_json(folder / "run.json", about | {"state": "finished", "ended": _now(), "ran on": card})
    return outcome


def dataset(name: str) -> Dataset:
    """The data set of a name in `DATA`, or of a folder (`data.image_folder`).

    Raises:
        RunError: if there is neither.
    """
    if name in DATA:
        return DATA[name]()
    if Path(name).is_dir():
        return data.image_folder(name)
    raise RunError(
        f"there is no data set {name!r}; there are {', '.join(DATA)}, or give a folder with train/ "
        "and test/, in each of which every class has a folder of images"
    )


def folder_name(paper: str, scale: str, data: str | None, seed: int) -> str:
    """The name of a run's folder: PAPER-SCALE-DATA-seedN.

    >>> folder_name("papyan2020", "laptop", "pictures/cats & dogs", 0)
    'papyan2020-laptop-cats-dogs-seed0'
    >>> folder_name("papyan2020", "laptop", None, 3)
    'papyan2020-laptop-own-seed3'
    """
    return f"{paper}-{scale}-{'own' if data is None else slug(Path(data).name)}-seed{seed}"


def slug(name: str) -> str:
    """A table's or data set's name as a file's.

    >>> slug("random labels, no weight decay"), slug("λ = 8e-3"), slug("???")
    ('random-labels-no-weight-decay', 'λ-8e-3', 'unnamed')
    """
    return re.sub(r"[^\w.+-]+", "-", name).strip("-.") or "unnamed"


def write_json(path: Path, content: Any) -> None:
    """Write as JSON, in one step."""
    write_whole(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _command(
    paper: str, scale: str, data: str | None, seed: int, out: str | Path | None, on: Hardware
) -> str:
    words = ["ncourse", "run", paper, "--scale", scale, "--seed", str(seed)]
    words += [] if data is None else ["--data", data]
    if on.accelerator != "cpu":
        words += ["--accelerator", on.accelerator]
    if on.precision != "32-true":
        words += ["--precision", on.precision]
    words += ["--compile"] * on.compiled
    return shlex.join(words + ([] if out is None else ["--out", Path(out).as_posix()]))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _holds_something(folder: Path) -> bool:
    """Whether there is more than what a kill leaves of the first file."""
    return any(not path.name.startswith(".run.json.") for path in folder.iterdir())


def _read(path: Path) -> dict[str, Any]:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is not readable: {error}") from error
    known = kept if isinstance(kept, dict) else {}
    if known:
        known.setdefault("hardware", vars(Hardware()))  # runs from before it could be chosen
    missing = {*SAME, "state", "resumed", "threads", "python"} - set(known)
    if missing:
        raise RunError(f"{path} is not of a run: it lacks {', '.join(sorted(missing))}")
    if not isinstance(known["state"], str) or not isinstance(known["resumed"], list):
        raise RunError(f"{path} is not of a run: its state or resumed is of another kind")
    return dict(known)


def _check_same(folder: Path, kept: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    other = [name for name in SAME if kept[name] != about[name]]
    if other:
        differ = "; ".join(f"{name} was {kept[name]} and is {about[name]}" for name in other)
        raise RunError(f"{folder} holds another run ({differ}); name another folder with --out")


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, soft_wrap=True, markup=False)


def _announce(console: Console, paper: str, folder: Path, resumable: bool, again: bool) -> None:
    _say(console, f"run folder: {folder}")
    if not _can_draw():
        _say(console, "there will be no figures: they need pip install matplotlib")
    if not resumable:
        what = "it starts again" if again else "if interrupted it will start again"
        _say(console, f"{paper} does not train through `fit`: {what} from the beginning")
    elif again:
        count = len(list((folder / "checkpoints").glob("fit-*.pt")))
        _say(console, f"resumed with the checkpoints of {count} networks")


@contextmanager
def _shown(console: Console) -> Iterator[Any]:
    """Show each measured row: as one line that changes on a terminal, as lines elsewhere."""
    live = Live(console=console, transient=True, redirect_stderr=False, auto_refresh=False)

    def tell(call: int, epochs: int, row: Mapping[str, float | int]) -> None:
        metrics = "  ".join(f"{label} {row[name]:.3g}" for name, label in SHOWN.items())
        line = f"network {call}  epoch {row['epoch']}/{epochs}  {metrics}"
        last = row["epoch"] == epochs
        if console.is_terminal:
            shown = Text("" if last else line, no_wrap=True, overflow="ellipsis")
            live.update(shown, refresh=True)
        if last or not console.is_terminal:
            _say(console, line)

    with live if console.is_terminal else nullcontext():
        yield tell


def _write(folder: Path, outcome: Outcome) -> None:
    """All files of a finished run but `run.json`."""
    names: dict[str, Table] = {}
    for name, table in outcome.tables.items():
        names[_unused(slug(name), names)] = table
    for part in ("tables", "figures"):
        (folder / part).mkdir(exist_ok=True)
    for name, table in names.items():
        table.save(folder / "tables" / f"{name}.csv")
        if {"epoch", *SHOWN} <= set(table) and _can_draw():
            History(table).plot(folder / "figures" / f"{name}.png")
    write_json(
        folder / "claims.json",
        [made.as_dict() | {"verdict": made.verdict} for made in outcome.claims],
    )
    write_whole(folder / "claims.md", _claims_page(outcome))
    outcome.save(folder / "outcome.json")
    for kept in (folder / "checkpoints").iterdir():
        if kept.is_dir():  # weights for observing again, which nobody will
            shutil.rmtree(kept)


def _can_draw() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


def _unused(name: str, taken: Mapping[str, Any]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free


def _claims_page(outcome: Outcome) -> str:
    entries = [f"# Claims\n\n{outcome}\n"]
    for made in outcome.claims:
        details = "".join(f"- {name}: {text}\n" for name, text in made.details.items())
        entries.append(f"## {made.sign} {made.verdict}\n\n{made.text}\n\n{details}")
    return "\n".join(entries)
