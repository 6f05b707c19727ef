"""Figures: what they promise in words, bytes and HTML."""

import base64
import io

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from ncourse.figures import plots
from ncourse.figures.live import to_html

RUN = {
    "epoch": [1, 2, 4],
    "nc1": [3.0, 1.0, 0.1],
    "nc2_equiangular": [0.2, 0.1, 0.05],
    "nc3": [0.5, 0.3, 0.01],
    "nc4": [0.1, 0.0, 0.0],
}


@pytest.fixture(autouse=True)
def close_figures():
    with mpl.rc_context():
        yield
    plt.close("all")


def luminance(colour: str) -> float:
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.03928, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_palette_has_ten_distinct_colours_each_with_a_marker():
    assert len(set(plots.COLOURS)) == len(set(plots.MARKERS)) == 10
    assert (1.05 / (luminance(plots.INK) + 0.05)) > 4.5


def test_collapse_curves_draw_every_run_and_mark_control_and_terminal_phase():
    figure = plots.collapse_curves({"with": RUN, "without": RUN}, controls=["without"], terminal=2)
    for panel in figure.axes:
        solid, dashed = panel.get_lines()
        assert (solid.get_linestyle(), dashed.get_linestyle()) == ("-", "--")
        assert any(patch.get_x() == 2 for patch in panel.patches)
    nc4 = figure.axes[3]
    assert nc4.get_yscale() == "symlog"
    assert nc4.get_ylim()[0] < 0
    legend = figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["with", "without"]


def test_matrix_and_points_draw_what_they_are_given():
    figure = plots.matrix(np.array([[1.0, -0.5], [-0.5, 1.0]]))
    assert [text.get_text() for text in figure.axes[0].texts] == ["1.00", "−0.50", "−0.50", "1.00"]
    figure = plots.points([np.zeros((3, 2)), np.ones((4, 2))], names=["a", "b"], limit=2)
    assert [len(c.get_offsets()) for c in figure.axes[0].collections] == [3, 4]


def test_label_lines_keeps_names_apart():
    _, panel = plots.axes()
    for height in (1.0, 1.01, 3.0):
        panel.plot([0, 1], [0, height])
    plots.label_lines(panel, ["a", "b", "c"], gap=0.1)
    heights = sorted(text.xy[1] for text in panel.texts)
    assert min(np.diff(heights)) > 0.1 - 1e-9


def test_png_keeps_flat_colours_exactly_and_closes_the_figure():
    figure, panel = plots.axes(height=1.5)
    panel.axvspan(0, 1, color="#f0ead6")
    image = Image.open(io.BytesIO(plots.png(figure))).convert("RGB")
    colours = {colour for _, colour in image.getcolors(10**6)}
    assert {(255, 255, 255), (0xF0, 0xEA, 0xD6)} <= colours
    assert not plt.get_fignums()


def test_show_needs_alt_text_and_escapes_it():
    figure, _ = plots.axes()
    with pytest.raises(ValueError, match="alt is empty"):
        plots.show(figure, " ")
    html = plots.Picture(plots.png(figure), 'a "quoted" <b>').html()
    assert 'alt="a &quot;quoted&quot; &lt;b&gt;"' in html


def test_a_figure_is_stored_as_a_picture_of_twice_its_size_with_its_alt_text():
    figure, _ = plots.axes()
    bundle, metadata = plots.Picture(plots.png(figure), "what it shows")._repr_mimebundle_()
    picture = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
    assert metadata["image/png"] == {"alt": "what it shows", "width": picture.width // 2}
    assert bundle["text/plain"] == "what it shows"
    del bundle["text/html"]  # as it is stored
    assert 'alt="what it shows"' in to_html(bundle, metadata)


def test_words_in_figures_are_legible_whatever_colour_they_were_given():
    figure, panel = plots.axes()
    words = [panel.text(0, 0, "word", color=colour) for colour in plots.COLOURS]
    white = panel.text(0, 0, "on a dark cell", color="white")
    plots.png(figure)
    for word in words:
        assert plots.contrast(word.get_color(), "white") >= 4.5
        assert plots.contrast(word.get_color(), plots.TERMINAL) >= 4.5
    assert white.get_color() == "white"
    assert words[0].get_color() != words[1].get_color()
    assert plots.contrast(plots.INK, plots.TERMINAL) >= 4.5


def test_contrast_of_known_colours():
    assert plots.contrast("white", "black") == pytest.approx(21)
    assert plots.contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert plots.contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)
