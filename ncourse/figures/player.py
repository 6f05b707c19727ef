"""A run that plays: clouds, curves, bars and matrices over frames, moved by one slider.

What is sent are arrays, not pictures: `player.js` draws them at any size, in the page's colours,
and moves between frames.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ncourse.figures import plots
from ncourse.figures.live import Live, pack

__all__ = ["Bars", "Cloud", "Curves", "Matrix", "Player", "angles", "picture"]

MAX_FRAMES = 40


def _array(values: Any) -> np.ndarray:
    """A float64 array of numbers or of tensors."""
    if isinstance(values, (list, tuple)):
        return np.stack([_array(value) for value in values])
    return np.asarray(values, dtype=np.float64)


def _per_frame(text: str | Sequence[str], count: int) -> list[str]:
    return [text] * count if isinstance(text, str) else [str(one) for one in text]


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """Points over F frames in the plane, or on a sphere that can be turned.

    Args:
        points: `(F, n, 2)`; None draws arrows alone.
        classes: `(n,)` the class of each point, for its colour and shape; -1 is grey.
        title: one, or one per frame.
        limit: half the width of the view, or (half width, half height); unequal scales where
            `equal` is not set.
        hollow: `(n,)` which points are outlines (test samples beside training samples).
        sizes: `(F, n)` radii relative to the usual one.
        arrows: `(F, k, 2)` from the centre, one per class, or `(F, k, 3)` in a sphere.
        corners: `(F, k, 2)` joined by a dotted line.
        rings: `(F, k, 2)` marks as black outlines.
        names: of the corners, or of the arrows if there are no corners, written beyond them.
        decides: `(F, K, 3)` rows (w₁, w₂, b): the ground has the colour of the largest
            w·x + b.
        line: `(F, 3)` (w₁, w₂, b): the line w·x + b = 0; (0, 0, 0) draws none.
        images: `(n, rows, columns)`, grey values of any range, shown beside the point
            that is pointed at.
        inset: draw the points of class `inset` once more, magnified until they fill a square, with
            a bar for the scale; none if None.
        angles: list the angles between all arrows, in degrees (space only).
        axes: words below and beside the panel.
        equal: whether both axes have one scale.
        view: turn and tilt in degrees (space only).
    """

    points: Any = None
    classes: Any = ()
    title: str | Sequence[str] = ""
    limit: float | tuple[float, float] = 1.0
    hollow: Any = None
    sizes: Any = None
    arrows: Any = None
    corners: Any = None
    rings: Any = None
    names: Sequence[str] = ()
    decides: Any = None
    line: Any = None
    images: Any = None
    inset: int | None = None
    angles: bool = False
    axes: tuple[str, str] = ("", "")
    equal: bool = True
    view: tuple[float, float] = (30.0, 18.0)

    @property
    def count(self) -> int:
        """How many frames there are."""
        return len(_array(self.arrows if self.points is None else self.points))

    def spec(self) -> dict[str, Any]:
        """What `player.js` takes."""
        wide, high = self.limit if isinstance(self.limit, tuple) else (self.limit, self.limit)
        made: dict[str, Any] = {
            "kind": "cloud",
            "title": _per_frame(self.title, self.count),
            "classes": [int(k) for k in self.classes],
            "limit": [float(wide), float(high)],
            "names": list(self.names),
            "axes": list(self.axes),
            "equal": self.equal,
            "view": list(self.view),
            "angles": self.angles,
            "inset": self.inset,
        }
        if self.hollow is not None:
            made["hollow"] = [int(one) for one in self.hollow]
        for name in ("points", "sizes", "arrows", "corners", "rings", "decides", "line"):
            if getattr(self, name) is not None:
                made[name] = pack(_array(getattr(self, name)))
        if self.images is not None:
            pixels = _array(self.images)
            low, high = pixels.min(), pixels.max()
            made["images"] = pack((pixels - low) / (high - low), bits=4)
        return made

    def draw(self, panel: Axes, frame: int) -> None:
        """Draw one frame with matplotlib, for the picture."""
        if self.points is None:
            _draw_space(panel, self, _array(self.arrows)[frame], _title(self, frame))
            return
        points = _array(self.points)[frame]
        wide, high = self.limit if isinstance(self.limit, tuple) else (self.limit, self.limit)
        if self.decides is not None:
            side = np.stack(np.meshgrid(*2 * [np.linspace(-1, 1, 120)]), axis=-1) * (wide, high)
            rows = _array(self.decides)[frame]
            decided = (side @ rows[:, :2].T + rows[:, 2]).argmax(-1)
            shade = np.array([plots.tint(k, 0.2) for k in range(len(rows))])[decided]
            panel.imshow(shade, extent=(-wide, wide, -high, high), origin="lower", zorder=0)
        classes = np.asarray(self.classes, dtype=int)
        hollow = np.zeros(len(points), bool) if self.hollow is None else np.asarray(self.hollow)
        scale = np.ones(len(points)) if self.sizes is None else _array(self.sizes)[frame]
        for k in sorted(set(classes.tolist())):
            for outline in (True, False):
                rows = (classes == k) & (hollow.astype(bool) == outline)
                colour = "#999999" if k < 0 else plots.COLOURS[k % 10]
                panel.scatter(
                    points[rows, 0],
                    points[rows, 1],
                    s=14 * scale[rows] ** 2 * (0.6 if outline else 1),
                    c="none" if outline else colour,
                    edgecolors=colour,
                    marker="." if k < 0 else plots.MARKERS[k % 10],
                    linewidths=0.6,
                    alpha=0.45 if outline else 1,
                )
        if self.corners is not None:
            ring = _array(self.corners)[frame]
            panel.plot(*np.vstack([ring, ring[:1]]).T, color="#777777", linewidth=0.9, ls=":")
        if self.arrows is not None:
            for k, tip in enumerate(_array(self.arrows)[frame]):
                if np.linalg.norm(tip) < 0.02 * wide:
                    continue  # an arrowhead would be longer than the arrow
                style = {"arrowstyle": "-|>", "color": plots.COLOURS[k % 10], "lw": 1.8}
                panel.annotate("", tip.tolist(), (0, 0), arrowprops=style)
        if self.rings is not None:
            panel.plot(*_array(self.rings)[frame].T, "o", color="k", mfc="none", markersize=9)
        if self.line is not None:
            first, second, offset = _array(self.line)[frame]
            if first or second:
                normal = np.array([first, second])
                foot = -offset * normal / (normal @ normal)
                panel.axline(foot, foot + np.array([-second, first]), color="k", linewidth=1)
        named = self.corners if self.corners is not None else self.arrows
        if self.names and named is not None:
            for name, at in zip(self.names, _array(named)[frame], strict=False):
                away = at * (1 + 0.17 * wide / max(float(np.linalg.norm(at)), 1e-9))
                panel.text(away[0], away[1], name, ha="center", va="center", weight="bold")
        if self.inset is not None:
            own = points[(classes == self.inset) & ~hollow.astype(bool)]
            reach = 1.15 * float(np.abs(own - own.mean(0)).max())
            box = panel.inset_axes((0.74, 0.74, 0.26, 0.26))
            box.scatter(
                own[:, 0],
                own[:, 1],
                s=5,
                c=plots.COLOURS[self.inset],
                marker=plots.MARKERS[self.inset],
            )
            (left, bottom), unit = own.mean(0) - reach, float(f"{reach:.0e}")
            box.plot(
                [left + 0.1 * reach, left + 0.1 * reach + unit], 2 * [bottom + 0.15 * reach], "k"
            )
            box.text(left + 0.1 * reach, bottom + 0.25 * reach, f"{unit:g}", fontsize=8)
            box.set(xlim=(left, left + 2 * reach), ylim=(bottom, bottom + 2 * reach))
            box.set(xticks=[], yticks=[])
            box.spines[:].set_visible(True)
        panel.set(xlim=(-wide, wide), ylim=(-high, high), title=_title(self, frame))
        panel.set(xlabel=self.axes[0], ylabel=self.axes[1])
        if self.equal:
            panel.set_aspect("equal")
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(any(self.axes))


def _title(panel: Any, frame: int) -> str:
    return panel.title if isinstance(panel.title, str) else str(panel.title[frame])


def _draw_space(panel: Axes, cloud: Cloud, tips: np.ndarray, title: str) -> None:
    """Arrows in a sphere, seen from `cloud.view`, and their angles."""
    turn, tilt = np.radians(cloud.view)

    def seen(vectors: np.ndarray) -> np.ndarray:
        x, y, z = vectors.T
        right = -np.sin(turn) * x + np.cos(turn) * y
        near = np.cos(turn) * x + np.sin(turn) * y
        return np.stack([right, np.cos(tilt) * z - np.sin(tilt) * near], axis=-1)

    around = np.linspace(0, 2 * np.pi, 73)
    flat = [np.cos(around), np.sin(around), 0 * around]
    for order in ((0, 1, 2), (0, 2, 1), (2, 0, 1)):
        panel.plot(*seen(np.stack([flat[k] for k in order], axis=-1)).T, color="#cccccc", lw=0.6)
    panel.plot(*np.stack(flat[:2]), color="#bbbbbb", lw=0.8)
    for i in range(len(tips)):
        for j in range(i):
            panel.plot(*seen(tips[[i, j]]).T, color="#888888", lw=0.8, ls=":")
    for k, tip in enumerate(tips):
        colour = plots.COLOURS[k % 10]
        panel.plot(*seen(np.stack([0 * tip, tip])).T, color=colour, lw=2)
        (x, y), (right, up) = seen(tip), seen(1.18 * tip)
        panel.scatter([x], [y], color=colour, marker=plots.MARKERS[k % 10], s=40, zorder=3)
        panel.text(right, up, str(k + 1), weight="bold", ha="center", va="center")
    if cloud.angles:
        words = [f"{angle:.1f}°" for angle in angles(tips)]
        panel.text(0, -1.42, "angles: " + ", ".join(words), ha="center", fontsize=8)
    panel.set(xlim=(-1.3, 1.3), ylim=(-1.5, 1.3), title=title, aspect="equal")
    panel.set_axis_off()


def angles(vectors: Any) -> list[float]:
    """The angles between all pairs of vectors in degrees: 1–2, 1–3, 2–3, 1–4, …

    Args:
        vectors: `(K, d)`, not zero.
    """
    unit = _array(vectors)
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    cosines = np.clip(unit @ unit.T, -1, 1)
    return [float(np.degrees(np.arccos(cosines[i, j]))) for i in range(len(unit)) for j in range(i)]


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Lines over one axis, with a cursor that says where the frame is on them.

    Args:
        x: `(m,)`.
        lines: name -> `(m,)` values.
        at: `(F,)` place of each frame on the axis.
        dots: `(F, number of lines)` values at the cursor; read off the lines if None.
        title: one, or one per frame.
        axis: word below the axis.
        log: which axes are logarithmic: "", "x", "y" or "xy".
        controls: names of lines to draw dashed.
        terminal: shade from here on.
        span: least and greatest y; fits the lines if None.
    """

    x: Any
    lines: Mapping[str, Any]
    at: Any
    dots: Any = None
    title: str | Sequence[str] = ""
    axis: str = ""
    log: str = ""
    controls: Sequence[str] = ()
    terminal: float | None = None
    span: tuple[float, float] | None = None

    @property
    def count(self) -> int:
        """How many frames there are."""
        return len(_array(self.at))

    def spec(self) -> dict[str, Any]:
        """What `player.js` takes."""
        x, made = _array(self.x), {name: _array(line) for name, line in self.lines.items()}
        keep = np.unique(np.linspace(0, len(x) - 1, min(len(x), 200)).round().astype(int))
        if "x" in self.log and len(x) > 200:  # as dense as it looks
            places = np.geomspace(x[0], x[-1], 200)
            keep = np.unique(np.abs(x[:, None] - places).argmin(0))
        span = self._span()
        return {
            "kind": "curves",
            "title": _per_frame(self.title, self.count),
            "x": [float(f"{value:.5g}") for value in x[keep]],
            "lines": {
                name: [float(f"{value:.4g}") for value in line[keep]] for name, line in made.items()
            },
            "at": [float(f"{value:.5g}") for value in _array(self.at)],
            "dots": None if self.dots is None else np.round(_array(self.dots), 5).tolist(),
            "axis": self.axis,
            "log": self.log,
            "dashed": list(self.controls),
            "terminal": self.terminal,
            "xspan": [float(x.min()), float(x.max())],
            "span": span,
            "xticks": _ticks(float(x.min()), float(x.max()), "x" in self.log),
            "yticks": _ticks(*span, "y" in self.log),
        }

    def _span(self) -> tuple[float, float]:
        if self.span is not None:
            return float(self.span[0]), float(self.span[1])
        values = np.concatenate([_array(line) for line in self.lines.values()])
        if "y" in self.log:
            values = values[values > 0]
            return float(values.min()) / 1.6, float(values.max()) * 1.6
        room = 0.06 * float(np.ptp(values)) or 1.0
        return float(values.min()) - room, float(values.max()) + room

    def draw(self, panel: Axes, frame: int) -> None:
        """Draw one frame with matplotlib, for the picture."""
        x, at = _array(self.x), float(_array(self.at)[frame])
        for index, (name, line) in enumerate(self.lines.items()):
            style = "--" if name in self.controls else "-"
            panel.plot(x, _array(line), style, color=plots.COLOURS[index], lw=1.1, label=name)
            value = np.interp(at, x, _array(line))
            if self.dots is not None:
                value = _array(self.dots)[frame][index]
            panel.plot(at, value, plots.MARKERS[index], color=plots.COLOURS[index], markersize=7)
        panel.axvline(at, color="#777777", linewidth=0.7)
        panel.set(ylim=self._span(), title=_title(self, frame), xlabel=self.axis)
        for letter, axis, (low, high) in (
            ("x", panel.xaxis, (x.min(), x.max())),
            ("y", panel.yaxis, self._span()),
        ):
            if letter in self.log:
                axis.axes.set(**{f"{letter}scale": "log"})
            ticks = _ticks(float(low), float(high), letter in self.log)
            axis.set_ticks([value for value, _ in ticks], [word for _, word in ticks])
            axis.axes.minorticks_off()
        if self.terminal is not None:
            plots.shade_terminal(panel, self.terminal)
        if len(self.lines) > 1:
            panel.legend(fontsize=8)


def _ticks(low: float, high: float, log: bool) -> list[tuple[float, str]]:
    """Few, plain ticks between two ends."""
    if log:
        decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
        steps = (1,) if high > 30 * low else (1, 2, 5)
        found = [step * 10.0**decade for decade in decades for step in steps]
        found = [value for value in found if low * 0.999 <= value <= high * 1.001]
        found = found[:: max(1, len(found) // 4)]
    else:
        rough = (high - low) / 4
        power = 10.0 ** np.floor(np.log10(rough))
        step = next(s for s in (1, 2, 2.5, 5, 10) if s * power >= rough) * power
        found = [k * step for k in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)]
    return [(float(value), f"{value:.6g}".replace("-", "−")) for value in found]


@dataclass(frozen=True, kw_only=True)
class Bars:
    """Bars over F frames.

    Args:
        values: `(F, n)`, not negative.
        names: of the bars.
        limit: the longest bar there is room for.
        title: one, or one per frame.
        digits: decimals of the numbers beside the bars; no numbers if None.
        upright: bars that stand, from left to right, without numbers.
        axis: words below upright bars.
        marks: (place from 0 to 1 along the axis, word) of thin lines across upright bars.
    """

    values: Any
    names: Sequence[str]
    limit: float
    title: str | Sequence[str] = ""
    digits: int | None = 2
    upright: bool = False
    axis: str = ""
    marks: Sequence[tuple[float, str]] = ()

    @property
    def count(self) -> int:
        """How many frames there are."""
        return len(_array(self.values))

    def spec(self) -> dict[str, Any]:
        """What `player.js` takes."""
        return {
            "kind": "bars",
            "title": _per_frame(self.title, self.count),
            "values": pack(_array(self.values)),
            "names": list(self.names),
            "limit": float(self.limit),
            "digits": self.digits,
            "upright": self.upright,
            "axis": self.axis,
            "marks": [list(mark) for mark in self.marks],
        }

    def draw(self, panel: Axes, frame: int) -> None:
        """Draw one frame with matplotlib, for the picture."""
        values = _array(self.values)[frame]
        places = np.arange(len(values))
        if self.upright:
            panel.bar(places, values, width=0.9, color=plots.COLOURS[0])
            panel.set(ylim=(0, self.limit), yticks=[], xlabel=self.axis)
            words = {k: name for k, name in enumerate(self.names) if name}
            panel.set_xticks(list(words), list(words.values()))
            for place, word in self.marks:
                panel.axvline(place * len(values) - 0.5, color="k", lw=0.8, ls="--")
                panel.text(place * len(values), 0.9 * self.limit, f" {word}")
        else:
            bars = panel.barh(places, values, height=0.55, color=plots.COLOURS[0])
            if self.digits is not None:
                panel.bar_label(bars, [f"{v:.{self.digits}f}" for v in values], padding=3)
            panel.set(xlim=(0, 1.2 * self.limit), xticks=[])
            panel.set_yticks(places, self.names)
            panel.invert_yaxis()
            panel.spines.bottom.set_visible(False)
        panel.set_title(_title(self, frame))


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Matrices over F frames as coloured grids: orange is −1, white (or the page) 0, purple 1.

    Args:
        values: `(F, rows, columns)` from −1 to 1, or `(1, rows, columns)` for one that stays.
        names: of rows and columns; none if empty.
        title: one, or one per frame.
        columns: names of the columns, where they are others.
        axes: words below and beside the grid.
        spot: `(F, 2)` (column, row) of a ring on the grid, in cells.
    """

    values: Any
    names: Sequence[str] = ()
    title: str | Sequence[str] = ""
    columns: Sequence[str] = ()
    axes: tuple[str, str] = ("", "")
    spot: Any = None

    @property
    def count(self) -> int:
        """How many frames there are."""
        return len(_array(self.values)) if self.spot is None else len(_array(self.spot))

    def spec(self) -> dict[str, Any]:
        """What `player.js` takes."""
        return {
            "kind": "matrix",
            "title": _per_frame(self.title, self.count),
            "values": pack(_array(self.values), bits=8),
            "names": list(self.names),
            "columns": list(self.columns or self.names),
            "axes": list(self.axes),
            "spot": None if self.spot is None else _array(self.spot).tolist(),
        }

    def draw(self, panel: Axes, frame: int) -> None:
        """Draw one frame with matplotlib, for the picture."""
        values = _array(self.values)
        panel.imshow(values[min(frame, len(values) - 1)], cmap="PuOr", vmin=-1, vmax=1)
        panel.set_yticks(*_places(self.names, values.shape[1]))
        panel.set_xticks(*_places(self.columns or self.names, values.shape[2]))
        panel.set(title=_title(self, frame), xlabel=self.axes[0], ylabel=self.axes[1])
        if self.spot is not None:
            panel.plot(*_array(self.spot)[frame], "o", color="k", mfc="none", markersize=9)
        panel.tick_params(length=0)
        panel.spines[:].set_visible(False)


def _places(names: Sequence[str], count: int) -> tuple[list[float], list[str]]:
    """Where names stand along `count` cells: each in the middle of its share."""
    share = count / max(len(names), 1)
    return [share * (k + 0.5) - 0.5 for k in range(len(names))], list(names)


Panel = Cloud | Curves | Bars | Matrix


class Player(Live):
    """Panels over the same frames, with a slider, a button that plays, and a sentence per frame.

    Args:
        label: what the frames run over, e.g. "epoch".
        values: one per frame, 2 to 40 of them.
        panels: in rows, each with as many frames as there are values.
        says: one sentence per frame; what a reader who cannot see it should know.
        start: the frame shown first; negative counts from the end.
        columns: how many panels stand in a row; all of them if None.
        groups: of each frame, what is chosen in a menu beside the slider; the slider then runs
            within one group.

    Raises:
        ValueError: if the numbers of values, sentences and frames differ, a sentence is empty, or
            all together exceed 400 kB.
    """

    def __init__(
        self,
        label: str,
        values: Sequence[Any],
        *panels: Panel,
        says: Sequence[str],
        start: int = 0,
        columns: int | None = None,
        groups: Sequence[str] | None = None,
    ) -> None:
        count = len(values)
        if not 2 <= count <= MAX_FRAMES:
            raise ValueError(f"got {count} values; a player takes 2 to {MAX_FRAMES}")
        if len(says) != count or not all(text.strip() for text in says):
            raise ValueError(f"a player says one sentence for each of its {count} frames")
        for panel in panels:
            if panel.count != count:
                raise ValueError(
                    f"{type(panel).__name__} has {panel.count} frames for {count} values"
                )
        start = range(count)[start]
        specs = [panel.spec() for panel in panels]
        for index, spec in enumerate(specs):
            for before, other in enumerate(specs[:index]):
                if "images" in spec and other.get("images") == spec["images"]:
                    spec["images"] = before  # the same images stand there
        data = {
            "label": label,
            "values": [str(value) for value in values],
            "says": list(says),
            "start": start,
            "groups": None if groups is None else list(groups),
            "columns": columns or len(panels),
            "panels": specs,
        }
        super().__init__(
            "player", data, picture(panels, start, columns or len(panels)), says[start]
        )


def picture(panels: Sequence[Panel], frame: int, columns: int) -> bytes:
    """One frame of all panels as a PNG of twice its size, with a sentence that says how to move it.

    Args:
        panels: in rows.
        frame: which one.
        columns: panels in a row.
    """
    rows = -(-len(panels) // columns)
    width = 4.2 if columns == 1 else min(7.2, 3.1 * columns)
    height = 3.9 if columns == 1 else 0.4 + rows * (3.0 if columns == 2 else 2.3)
    if columns == 1 and isinstance(panels[0], Bars):
        width, height = plots.WIDTH, 2.6
    figure, grid = plots.axes(rows, columns, width=width, height=height, squeeze=False)
    for panel, place in zip(panels, grid.flat, strict=False):
        panel.draw(place, frame)
    for place in grid.flat[len(panels) :]:
        place.set_axis_off()
    words = "Run the cell, or see the site, to move it."
    figure.supxlabel(words, fontsize=8, color="#666666")
    return plots.png(figure, dpi=192)
