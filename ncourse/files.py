"""Files that are whole or not there: written beside their place, then moved to it in one step."""

import contextlib
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["check_zip", "copy_whole", "replaced", "write_whole"]


@contextlib.contextmanager
def replaced(path: str | Path) -> Iterator[Path]:
    """A place beside `path` to write to; what stands there in the end replaces `path` in one step.

    Whoever reads `path`, also after a kill or on a full disk, meets the old file or the new one.

    Raises:
        OSError: what the system says, if it cannot be written; then `path` is as it was.
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        yield beside
        os.replace(beside, path)
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)  # a full disk does not say where it is
        raise
    finally:
        beside.unlink(missing_ok=True)


def write_whole(path: str | Path, text: str) -> Path:
    """Write a text as UTF-8, with the line ends it has, in one step; returns the path.

    Raises:
        OSError: as `replaced`.
    """
    with replaced(path) as beside:
        beside.write_text(text, encoding="utf-8", newline="")
    return Path(path)


def copy_whole(source: str | Path, target: str | Path) -> Path:
    """Copy a file's content in one step; returns the new path.

    Raises:
        OSError: as `replaced`.
    """
    with replaced(target) as beside:
        beside.write_bytes(Path(source).read_bytes())
    return Path(target)


def check_zip(path: str | Path) -> None:
    """Read a zip file against its checksums, which torch does not: it would take altered numbers.

    Raises:
        ValueError: if a part of it is not what was written, naming the part.
        zipfile.BadZipFile, OSError: if it is no zip file, or cannot be read.
    """
    with zipfile.ZipFile(path) as archive:
        altered = archive.testzip()
    if altered is not None:
        raise ValueError(f"{altered} in it is not what was written")
