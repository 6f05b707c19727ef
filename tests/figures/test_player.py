"""Live figures: what they promise in words, bytes and arrays."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from ncourse.figures import live
from ncourse.figures.live import LIVE, Live, pack, script, to_html
from ncourse.figures.player import Bars, Cloud, Curves, Matrix, Player, angles, picture

VALUES = np.random.default_rng(0).normal(size=(3, 7, 2))


def unpacked(packed):
    data = np.frombuffer(base64.b64decode(packed["data"]), "<u2" if packed["bits"] == 16 else "u1")
    if packed["bits"] == 4:
        data = np.stack([data >> 4, data & 15], axis=1).ravel()[: np.prod(packed["shape"])]
    return packed["low"] + packed["step"] * data.reshape(packed["shape"])


def player(**changes):
    cloud = Cloud(points=VALUES, classes=[0, 0, 1, 1, 2, 2, -1])
    curves = Curves(x=[1, 10, 100], lines={"run": [3, 2, 1.0]}, at=[1, 10, 100], log="x")
    matrix = Matrix(values=np.zeros((3, 2, 2)))
    bars = Bars(values=[[1, 2]] * 3, names=["a", "b"], limit=2)
    given = {"says": ["first", "second", 'third, not "flat" </script>']}
    return Player("epoch", [1, 10, 100], cloud, curves, matrix, bars, **given | changes)


@pytest.mark.parametrize("bits", [4, 8, 16])
def test_packed_arrays_come_back_within_half_a_step(bits):
    packed = pack(VALUES[:1], bits=bits)
    assert np.abs(unpacked(packed) - VALUES[:1]).max() <= 0.5001 * packed["step"]
    assert packed["step"] == pytest.approx(np.ptp(VALUES[:1]) / (2**bits - 1))


def test_constant_and_empty_arrays_can_be_packed_and_infinite_ones_not():
    assert (unpacked(pack([2.0, 2.0])) == 2).all()
    assert unpacked(pack(np.zeros((2, 0, 2)))).shape == (2, 0, 2)
    with pytest.raises(ValueError, match="finite"):
        pack([1.0, np.inf])


def test_a_player_is_one_sharp_picture_arrays_and_in_a_running_notebook_a_script():
    bundle, metadata = player(start=-1)._repr_mimebundle_()
    picture = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
    assert picture.format == "PNG"
    assert picture.width // 2 == metadata["image/png"]["width"]
    assert metadata["image/png"]["alt"] == 'third, not "flat" </script>'
    assert json.loads(bundle[LIVE]["data"])["values"] == ["1", "10", "100"]
    page = bundle["text/html"]
    assert page.count("<img") == 1
    assert page.count("</script>") == 2  # the data's and the module's
    assert not re.search(r"https?://(?!www\.w3\.org)", page)
    assert to_html(bundle, metadata) in page


def test_a_module_stands_alone_in_a_page():
    text = script("player")
    assert not re.search(r"^(import|export) ", text, re.MULTILINE)
    assert "function between(" in text
    assert "</script" not in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"says": ["one", "two"]}, "one sentence for each of its 3 frames"),
        ({"says": ["one", "two", " "]}, "one sentence for each of its 3 frames"),
    ],
)
def test_a_player_says_something_about_each_frame(changes, message):
    with pytest.raises(ValueError, match=message):
        player(**changes)


def test_a_player_has_frames_for_its_values(monkeypatch):
    bars = Bars(values=[[1, 2]] * 3, names=["a", "b"], limit=2)
    with pytest.raises(ValueError, match="got 1 values"):
        Player("x", [1], bars, says=["a"])
    with pytest.raises(ValueError, match="Bars has 3 frames for 2 values"):
        Player("x", [1, 2], bars, says=["a", "b"])
    monkeypatch.setattr(live, "MAX_BYTES", 1000)
    with pytest.raises(ValueError, match="kB are allowed"):
        player()


def test_a_place_without_a_panel_stays_white():
    bars = Bars(values=[[1, 2]], names=["a", "b"], limit=2)
    drawn = np.asarray(Image.open(io.BytesIO(picture([bars] * 3, 0, 2))).convert("L"))
    height, width = drawn.shape
    place = drawn[height // 2 + 20 : int(0.95 * height), width // 2 + 20 :]
    assert place.size
    assert (place == 255).all()


def test_a_live_figure_without_words_is_refused():
    with pytest.raises(ValueError, match="alt is empty"):
        Live("player", {}, b"", " ")


def test_images_that_two_clouds_show_are_sent_once():
    images = np.random.default_rng(1).uniform(size=(7, 8, 8))
    clouds = [Cloud(points=VALUES, classes=[0] * 7, images=images) for _ in range(2)]
    made = Player("x", [1, 2, 3], *clouds, says=["a"] * 3)
    first, second = (panel["images"] for panel in made.data["panels"])
    assert second == 0
    assert np.abs(unpacked(first) - images).max() < 1 / 15


def test_angles_are_those_between_all_pairs():
    assert angles(np.eye(3)) == pytest.approx([90, 90, 90])
    assert angles([[1, 0], [1, 1], [-1, 0]]) == pytest.approx([45, 180, 135])


def test_a_cursor_on_a_logarithmic_axis_has_plain_ticks():
    spec = Curves(x=[1, 1000], lines={"a": [0.01, 1]}, at=[1, 1000], log="xy").spec()
    assert [word for _, word in spec["xticks"]] == ["1", "10", "100", "1000"]
    assert all(spec["span"][0] <= value <= spec["span"][1] for value, _ in spec["yticks"])
