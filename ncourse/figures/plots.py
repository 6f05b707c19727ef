"""The course's figures: one palette, a marker beside each colour, an alt text for each picture."""

import base64
import io
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from ncourse.figures.live import to_html

__all__ = [
    "COLOURS",
    "INK",
    "MARKERS",
    "Picture",
    "axes",
    "collapse_curves",
    "contrast",
    "label_lines",
    "matrix",
    "png",
    "points",
    "shade_terminal",
    "show",
    "tint",
]

COLOURS = (
    "#0072B2",  # Okabe-Ito: blue
    "#D55E00",  # vermilion
    "#009E73",  # bluish green
    "#CC79A7",  # reddish purple
    "#E69F00",  # orange
    "#56B4E9",  # sky blue
    "#000000",  # black
    "#F0E442",  # yellow
    "#7F7F7F",  # and two more: grey
    "#6B3D00",  # brown
)
"""Class k has colour `COLOURS[k % 10]` and marker `MARKERS[k % 10]` in every figure."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
INK = "#222222"
TERMINAL = "#F0EAD6"  # the terminal phase's background
WIDTH = 5.2  # inches: fills the page's column, and its 10 pt stay readable on a telephone

_STYLE: Any = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "font.size": 10,
    "grid.color": "#dddddd",
    "legend.frameon": False,
    "lines.markersize": 4,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}

_NC_PANELS = (
    ("nc1", "NC1: spread within classes"),
    ("nc2_equiangular", "NC2: uneven angles"),
    ("nc3", "NC3: classifier off means"),
    ("nc4", "NC4: decisions differ"),
)

P = ParamSpec("P")
R = TypeVar("R")


def _styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Draw inside the course's style, whatever the caller's rcParams are."""

    @wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return inside


@dataclass(frozen=True)
class Picture:
    """A finished figure: PNG bytes and the sentence that stands for it where it cannot be seen."""

    data: bytes
    alt: str

    def html(self) -> str:
        """The figure as a page holds it."""
        return to_html(*self._stored())

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The picture, and for a running notebook the HTML that gives it its alt text."""
        bundle, metadata = self._stored()
        return bundle | {"text/html": self.html()}, metadata

    def _stored(self) -> tuple[dict[str, Any], dict[str, Any]]:
        width = int.from_bytes(self.data[16:20], "big") // 2
        bundle = {"text/plain": self.alt, "image/png": base64.b64encode(self.data).decode()}
        return bundle, {"image/png": {"alt": self.alt, "width": width}}


def show(figure: Figure, alt: str) -> None:
    """Display a figure with its alt text and close it.

    Args:
        figure: what to show.
        alt: what a reader who cannot see it should know, in a sentence or two.

    Raises:
        ValueError: if `alt` is empty.
    """
    from IPython.display import display

    if not alt.strip():
        raise ValueError("alt is empty; say in a sentence what the figure shows")
    display(Picture(png(figure), alt))


def png(figure: Figure, *, dpi: int = 264) -> bytes:
    """The figure as a small PNG of its 96 most frequent colours; the figure is closed.

    Args:
        figure: what to draw.
        dpi: pixels per inch; the usual figure then has twice the pixels of the page's column.
    """
    for text in figure.findobj(Text):
        text.set_color(_legible(text.get_color()))
    raw, small = io.BytesIO(), io.BytesIO()
    figure.savefig(raw, format="png", dpi=dpi)
    plt.close(figure)
    channels = np.asarray(Image.open(raw).convert("RGB"), dtype=np.int64)
    pixels = channels @ np.array([65536, 256, 1])
    found, which, count = np.unique(pixels.ravel(), return_inverse=True, return_counts=True)
    found = np.stack([found >> 16, found >> 8 & 255, found & 255], axis=1)
    kept = found[np.argsort(-count)[:96]]  # flat areas stay exact
    nearest = np.square(found[:, None] - kept).sum(2).argmin(1)
    image = Image.fromarray(nearest[which].reshape(pixels.shape).astype(np.uint8), "P")
    image.putpalette(kept.ravel().tolist())
    image.save(small, format="png", optimize=True)
    return small.getvalue()


def contrast(first: Any, second: Any) -> float:
    """The contrast of two colours, from 1 to 21.

    Source: Web Content Accessibility Guidelines 2.2, success criterion 1.4.3.
    """
    lights = []
    for colour in (first, second):
        channels = np.array(to_rgb(colour))
        linear = np.where(
            channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
        )
        lights.append(float(linear @ [0.2126, 0.7152, 0.0722]) + 0.05)
    return max(lights) / min(lights)


def _legible(colour: Any) -> Any:
    """The colour, darkened until words in it can be read on white and on the terminal phase.

    White stays: it stands on dark cells. Areas, lines and markers keep the palette's colours,
    which words as bright as these could not have.
    """
    if to_rgb(colour) == (1.0, 1.0, 1.0):
        return colour
    channels = np.array(to_rgb(colour))
    while contrast(channels, TERMINAL) < 4.5:
        channels = 0.95 * channels
    return tuple(channels)


def tint(k: int, strength: float) -> tuple[float, float, float]:
    """Class k's colour, thinned with white.

    Args:
        k: the class.
        strength: from 0, white, to 1, the colour itself.
    """
    red, green, blue = (1 - strength * (1 - part) for part in to_rgb(COLOURS[k % 10]))
    return red, green, blue


def axes(
    rows: int = 1,
    columns: int = 1,
    *,
    width: float = WIDTH,
    height: float = 2.6,
    **arguments: Any,
) -> tuple[Figure, Any]:
    """A figure of the page's width, and its axes as `plt.subplots` gives them.

    Sets the course's style for everything that is drawn from here on.

    Args:
        rows: of panels.
        columns: of panels.
        width: of the whole figure in inches; the page's column if not given.
        height: the same.
        arguments: passed on to `plt.subplots`.
    """
    mpl.rcParams.update(_STYLE)
    return plt.subplots(rows, columns, figsize=(width, height), **arguments)


@_styled
def collapse_curves(
    runs: Mapping[str, Any],
    *,
    controls: Collection[str] = (),
    terminal: int | None = None,
) -> Figure:
    """NC1 to NC4 over the epochs of one or more runs: four panels with logarithmic axes.

    Args:
        runs: name -> history or table with "epoch", "nc1", "nc2_equiangular", "nc3", "nc4".
        controls: names of the runs to draw dashed.
        terminal: first epoch at zero training error; shaded from there on.
    """
    figure, panels = axes(2, 2, height=4.4, sharex=True)
    last = max(max(run["epoch"]) for run in runs.values())
    for (column, title), panel in zip(_NC_PANELS, panels.flat, strict=True):
        for index, (name, run) in enumerate(runs.items()):
            epoch, value = np.array(run["epoch"]), np.array(run[column])
            panel.plot(
                epoch,
                value,
                color=COLOURS[index],
                marker=MARKERS[index],
                linestyle="--" if name in controls else "-",
                markersize=3,
            )
        values = np.concatenate([np.array(run[column]) for run in runs.values()])
        _log_with_zero(panel, values)
        panel.set_xscale("log")
        panel.set_xlim(0.9, last * 1.15)
        panel.set_title(title)
        if terminal is not None:
            shade_terminal(panel, terminal)
    for panel in panels[1]:
        panel.set_xlabel("epoch")
    if len(runs) > 1:
        columns = len(runs) if sum(map(len, runs)) < 40 else 2
        lines = panels[0, 0].get_lines()[: len(runs)]
        figure.legend(lines, list(runs), loc="outside lower center", ncols=columns)
    return figure


def _log_with_zero(panel: Axes, values: np.ndarray) -> None:
    """A logarithmic axis with few, plain tick labels, and a place for zero where it occurs."""
    positive = values[values > 0]
    least, most = (positive.min(), positive.max()) if len(positive) else (1e-3, 1.0)
    steps = (1,) if most > 30 * least else (1, 2, 5)
    decades = range(int(np.floor(np.log10(least))), int(np.ceil(np.log10(most))) + 1)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    ticks = [tick for tick in ticks if least / 1.5 <= tick <= most * 1.5]
    if (values == 0).any():
        panel.set_yscale("symlog", linthresh=least)
        ticks = [0.0, *(tick for tick in ticks if tick > least)]
        panel.set_ylim(-least / 4, most * 1.6)
    else:
        panel.set_yscale("log")
        panel.set_ylim(least / 1.6, most * 1.6)
    panel.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    panel.minorticks_off()


def shade_terminal(panel: Axes, epoch: float, *, label: bool = False) -> None:
    """Shade the terminal phase: from the first epoch at zero training error to the right edge."""
    right = panel.get_xlim()[1]
    panel.axvspan(epoch, right, color=TERMINAL, zorder=0)
    panel.set_xlim(right=right)
    if label:
        panel.text(
            epoch * 1.1, 0.97, "terminal phase", transform=panel.get_xaxis_transform(), va="top"
        )


def label_lines(panel: Axes, names: Sequence[str], *, gap: float = 0.085) -> None:
    """Write each line's name at its right end instead of a legend, moved apart where they meet.

    Args:
        panel: its lines are named in the order in which they were drawn.
        names: one per line; an empty name leaves a line unnamed.
        gap: least vertical distance between two names, as a fraction of the panel's height.
    """
    lines = [(line, name) for line, name in zip(panel.get_lines(), names, strict=True) if name]
    to_axes = panel.transData + panel.transAxes.inverted()
    ends = [to_axes.transform(np.asarray(line.get_xydata())[-1])[1] for line, _ in lines]
    floor = -np.inf
    for index in np.argsort(ends):
        line, name = lines[index]
        floor = max(ends[index], floor + gap)
        panel.annotate(
            name,
            (1.02, floor),
            xycoords="axes fraction",
            va="center",
            color=line.get_color(),
            annotation_clip=False,
        )


@_styled
def points(
    clouds: Sequence[np.ndarray],
    *,
    names: Sequence[str] | None = None,
    panel: Axes | None = None,
    classes: Sequence[int] | None = None,
    limit: float | None = None,
    hollow: bool = False,
) -> Figure:
    """Points in the plane, one cloud per class, each with its class's colour, marker and name.

    Args:
        clouds: one `(n, 2)` array per class.
        names: written at each cloud's mean; none if None.
        panel: where to draw; a new square figure if None.
        classes: the class index of each cloud, for its colour; 0, 1, ... if None.
        limit: half the width of the view; fits the points if None.
        hollow: draw outlines only (test samples beside training samples).
    """
    if panel is None:
        figure, panel = plt.subplots(figsize=(4.0, 4.0))
    else:
        figure = panel.figure  # type: ignore[assignment]
    for index, cloud in enumerate(clouds):
        k = index if classes is None else classes[index]
        colour, marker = COLOURS[k % 10], MARKERS[k % 10]
        face = "none" if hollow else colour
        x, y = np.asarray(cloud).T
        panel.scatter(x, y, s=16, c=face, edgecolors=colour, marker=marker, linewidths=0.7)
        if names is not None:
            panel.annotate(
                names[index],
                np.asarray(cloud).mean(0),
                fontweight="bold",
                ha="center",
                va="center",
                bbox={"boxstyle": "circle,pad=0.15", "fc": "white", "ec": colour, "alpha": 0.9},
            )
    if limit is not None:
        panel.set_xlim(-limit, limit)
        panel.set_ylim(-limit, limit)
    panel.set_aspect("equal")
    panel.set_axis_off()
    return figure


@_styled
def matrix(
    values: np.ndarray,
    *,
    panel: Axes | None = None,
    title: str = "",
    limit: float = 1.0,
    digits: int | None = 2,
    names: Sequence[str] | None = None,
) -> Figure:
    """A square matrix of cosines as a coloured grid, each entry written in it.

    Args:
        values: `(K, K)`.
        panel: where to draw; a new figure if None.
        title: above the grid.
        limit: colours run from -limit (orange) through 0 (white) to limit (blue).
        digits: decimals of the entries; no entries if None.
        names: of rows and columns; 1, 2, ... if None.
    """
    values = np.asarray(values)
    count = len(values)
    if panel is None:
        figure, panel = plt.subplots(figsize=(3.6, 3.4))
    else:
        figure = panel.figure  # type: ignore[assignment]
    panel.imshow(values, cmap="PuOr", vmin=-limit, vmax=limit)
    labels = names or [str(k + 1) for k in range(count)]
    panel.set_xticks(range(count), labels)
    panel.set_yticks(range(count), labels)
    panel.set_title(title)
    panel.tick_params(length=0)
    for spine in panel.spines.values():
        spine.set_visible(False)
    if digits is not None:
        for i in range(count):
            for j in range(count):
                light = abs(values[i, j]) > 0.65 * limit
                text = f"{values[i, j]:.{digits}f}".replace("-", "−")
                colour = "white" if light else INK
                panel.text(j, i, text, ha="center", va="center", color=colour, fontsize=9)
    return figure
