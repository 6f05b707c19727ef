"""Explorers: live figures that compute, each drawn by the module of its name."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ncourse.figures.live import Live, pack
from ncourse.figures.player import Cloud, Curves, Matrix, picture

__all__ = ["features_model", "phase_map", "sphere"]


def sphere(points: Any) -> Live:
    """Points on a sphere that can be dragged, turned, and let repel each other; with all angles.

    Args:
        points: `(K, 3)` with 2 <= K <= 7, where they start.

    Raises:
        ValueError: if the shape is another.
    """
    start = np.asarray(points, dtype=np.float64)
    if start.ndim != 2 or start.shape[1] != 3 or not 2 <= len(start) <= 7:
        raise ValueError(f"points is {start.shape}; expected 2 to 7 points in space, (K, 3)")
    start = start / np.linalg.norm(start, axis=1, keepdims=True)
    alt = f"{len(start)} points on a sphere to be dragged, and the angles between them."
    drawn = picture([Cloud(arrows=start[None], angles=True)], 0, 1)
    return Live("simplex", {"points": np.round(start, 4).tolist()}, drawn, alt)


def features_model(penalties: Sequence[float], lengths: Sequence[float]) -> Live:
    """The unconstrained features model at its optimum, while penalty, classes and counts move.

    Args:
        penalties: for the picture, penalties λ.
        lengths: for the picture, the length of a row of W at each.
    """
    alt = "Length of a row of the classifier at the optimum: it falls to zero as the penalty grows."
    curve = Curves(
        x=penalties, lines={"length": lengths}, at=[penalties[0]], log="x", axis="λ", title=alt[:35]
    )
    return Live("ufm", {}, picture([curve], 0, 1), alt)


def phase_map(
    *,
    share: Any,
    rows: Sequence[str],
    columns: Sequence[str],
    axes: tuple[str, str],
    title: str,
    points: Any,
    classes: Sequence[int],
    lines: Sequence[Sequence[float] | None],
    marked: Sequence[Sequence[int]],
    says: Sequence[str],
    start: tuple[int, int],
) -> Live:
    """A map of R × C cells; the one that is chosen shows its points and what is known of it.

    Args:
        share: `(R, C)` from 0 to 1, the cells' shade; the first row is at the top.
        rows: R names.
        columns: C names.
        axes: what columns and rows are.
        title: above the map.
        points: per cell, row by row, `(n, 2)` from -1 to 1; None for a cell without points.
        classes: n, of the points.
        lines: per cell, (w₁, w₂) of the line w·x = 0, or None.
        marked: per cell, indices of the points with rings.
        says: per cell, a sentence.
        start: (row, column) of the cell shown first.

    Raises:
        ValueError: if a list has not one entry for each cell.
    """
    cells = len(rows) * len(columns)
    for name, given in (("points", points), ("lines", lines), ("marked", marked), ("says", says)):
        if len(given) != cells:
            raise ValueError(f"{name} has {len(given)} entries for {cells} cells")
    count = len(classes)
    filled = [np.zeros((count, 2)) if one is None else np.asarray(one) for one in points]
    shape = (len(rows), len(columns), count, 2)
    data = {
        "share": np.round(np.asarray(share, dtype=np.float64), 3).tolist(),
        "rows": list(rows),
        "columns": list(columns),
        "axes": list(axes),
        "title": title,
        "points": pack(np.reshape(filled, shape), bits=8),
        "shown": [one is not None for one in points],
        "classes": [int(k) for k in classes],
        "lines": [None if one is None else [round(float(v), 4) for v in one] for one in lines],
        "marked": [[int(k) for k in one] for one in marked],
        "says": list(says),
        "start": list(start),
    }
    at = start[0] * len(columns) + start[1]
    line = [*(lines[at] or (0, 0)), 0]
    panels = (
        Matrix(values=[share], names=rows, columns=columns[::3], axes=axes, title=title),
        Cloud(points=filled[at][None], classes=classes, line=[line], limit=1.15, title="the cell"),
    )
    return Live("phase", data, picture(panels, 0, 2), says[at])
