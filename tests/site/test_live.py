"""What live figures compute in the browser, held to what Python computes; no site is needed."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from playwright.sync_api import Page, sync_playwright

from ncourse.figures.explorers import phase_map
from ncourse.figures.live import pack, script
from ncourse.figures.player import Cloud, Curves, Player
from ncourse.papers.hong2024 import lower_bound
from ncourse.simplex import repel
from ncourse.ufm import UFM, margin, optimum, random_point, solve

pytestmark = pytest.mark.browser

RANDOM = np.random.default_rng(0)
NAMES = {
    "player": ("unpack", "between", "seen", "angle", "cut"),
    "simplex": ("repelled", "simplex", "unseen"),
    "ufm": ("solution",),
    "phase": (),
}


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        if os.environ.get("CI"):
            pytest.fail("there is no Chromium on this machine; in CI the browser tests must run")
        pytest.skip("there is no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        modules = "".join(
            f'<script type="module">{script(name)}\n'
            f"Object.assign(globalThis.js ??= {{}}, {{{', '.join(names)}}});</script>"
            for name, names in NAMES.items()
        )
        page.set_content(f"<!DOCTYPE html><meta charset='utf-8'><body>{modules}</body>")
        page.wait_for_function("() => !!globalThis.js?.solution")
        assert faults == []
        yield page
        browser.close()


@pytest.fixture
def call(page: Page) -> Callable[..., Any]:
    def called(name: str, *arguments: Any) -> Any:
        return page.evaluate("([name, given]) => js[name](...given)", [name, list(arguments)])

    return called


@pytest.mark.parametrize("bits", [4, 8, 16])
def test_arrays_arrive(page, bits):
    values = RANDOM.normal(size=(3, 5, 2))
    packed = pack(values, bits=bits)
    got = page.evaluate("packed => Array.from(js.unpack(packed).values)", packed)
    assert np.abs(np.reshape(got, (3, 5, 2)) - values).max() <= 0.5001 * packed["step"]


@pytest.mark.parametrize("t", [-1, 0, 0.25, 1, 1.5, 2, 3])
def test_between_frames_points_are_on_straight_lines(page, t):
    values = RANDOM.normal(size=(3, 5, 2))
    packed = pack(values)
    got = page.evaluate("([packed, t]) => js.between(js.unpack(packed), t)", [packed, t])
    at = min(max(t, 0), 2)
    first = min(int(at), 1)
    expected = values[first] + (at - first) * (values[first + 1] - values[first])
    assert np.abs(np.array(got) - expected).max() <= packed["step"]


def test_the_sphere_is_seen_by_a_rotation_and_found_again(call):
    turn, tilt = 33.0, -21.0
    axes = np.array([call("seen", axis, [turn, tilt]) for axis in np.eye(3).tolist()])
    assert axes @ axes.T == pytest.approx(np.eye(3), abs=1e-12)
    assert np.linalg.det(axes) == pytest.approx(1)
    assert call("seen", [0, 0, 1], [turn, 0]) == pytest.approx([0, 1, 0])
    for vector in RANDOM.normal(size=(5, 3)):
        unit = vector / np.linalg.norm(vector)
        right, up, eye = call("seen", unit.tolist(), [turn, tilt])
        found = call("unseen", right, up, 1 if eye > 0 else -1, [turn, tilt])
        assert found == pytest.approx(unit.tolist(), abs=1e-9)


def test_angles_are_in_degrees(call):
    first, second = RANDOM.normal(size=(2, 3))
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    assert call("angle", first.tolist(), second.tolist()) == pytest.approx(
        np.degrees(np.arccos(cosine))
    )


def test_the_ground_is_cut_where_the_decision_changes(call):
    square, rows = [[-2, -2], [2, -2], [2, 2], [-2, 2]], RANDOM.normal(size=(3, 3))
    areas = []
    for k in range(3):
        part = square
        for j in range(3):
            if j != k and part:
                by = rows[k] - rows[j]
                part = call("cut", part, by[:2].tolist(), by[2])
        x, y = np.array(part).T if part else np.zeros((2, 1))
        areas.append(0.5 * abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)))
    side = (np.arange(800) + 0.5) / 200 - 2
    grid = np.stack(np.meshgrid(side, side), axis=-1)
    decided = (grid @ rows[:, :2].T + rows[:, 2]).argmax(-1)
    assert sum(areas) == pytest.approx(16)
    for k in range(3):
        assert areas[k] == pytest.approx((decided == k).mean() * 16, abs=0.02)


def test_points_repel_as_in_the_package(call):
    points = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    path = repel(points, steps=50)
    here = path[0].tolist()
    for step in range(1, 51):
        here = call("repelled", here, 0.2)
        assert np.abs(np.array(here) - path[step].numpy()).max() < 1e-10
    for count in (2, 3, 4):
        corners = np.array(call("simplex", count))
        expected = np.where(np.eye(count) == 1, 1, -1 / (count - 1))
        assert corners @ corners.T == pytest.approx(expected)


@pytest.mark.parametrize("loss", ["cross-entropy", "mse"])
def test_the_balanced_features_model_is_the_packages(call, loss):
    for num_classes in (2, 3, 7):
        for samples in (1, 8, 50):
            for weight, feature in ((1e-4, 1e-4), (5e-3, 5e-3), (0.02, 1e-3), (0.5, 0.5)):
                model = UFM(
                    num_classes=num_classes,
                    samples_per_class=samples,
                    dim=num_classes,
                    lambda_w=weight,
                    lambda_h=feature,
                    loss=loss,
                )
                best = optimum(model)
                name = "squared error" if loss == "mse" else loss
                given = {"loss": name, "counts": [samples] * num_classes}
                got = call("solution", {**given, "lambdaW": weight, "lambdaH": feature})
                assert got["loss"] == pytest.approx(best.loss, rel=1e-9)
                logits = np.array(got["logits"])
                assert logits[0, 0] - logits[0, 1] == pytest.approx(margin(model), abs=1e-9)
                for key, rows in (("weight", best.point.weight), ("features", _means(best, model))):
                    assert got[key] == pytest.approx(rows.norm(dim=1).tolist(), abs=1e-9)


def _means(best, model):
    return torch.stack(
        [best.point.features[model.labels == k].mean(0) for k in range(model.num_classes)]
    )


@pytest.mark.parametrize("counts", [(20, 20, 2), (40, 40, 1, 1), (9, 6, 3, 1)])
@pytest.mark.parametrize("penalty", [1e-3, 0.01, 0.04])
def test_unequal_classes_are_the_packages_too_and_small_ones_vanish_first(call, counts, penalty):
    given = {"loss": "squared error", "counts": list(counts)}
    got = call("solution", {**given, "lambdaW": penalty, "lambdaH": penalty})
    bound = lower_bound(counts, lambda_w=penalty, lambda_h=penalty)
    assert got["loss"] == pytest.approx(bound, rel=1e-12)
    model = UFM(
        num_classes=len(counts),
        samples_per_class=counts,
        dim=len(counts) + 1,
        lambda_w=penalty,
        lambda_h=penalty,
        loss="mse",
    )
    found = solve(model, start=random_point(model, seed=0))
    assert got["loss"] == pytest.approx(found.loss, rel=1e-6)
    norms = found.point.weight.norm(dim=1).tolist()
    assert got["weight"] == pytest.approx(norms, abs=2e-3)
    gone = [length == 0 for length in got["weight"]]
    assert gone == sorted(gone)  # counts fall, and the first to vanish are the last


def test_json_of_a_figure_is_read(page):
    data = {"points": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}
    page.evaluate(
        "text => { document.body.insertAdjacentHTML('beforeend', "
        "`<nc-simplex><script type='application/json'>${text}<\\/script></nc-simplex>`) }",
        json.dumps(data),
    )
    assert "Angles from 90.0° to 90.0°" in page.locator("nc-simplex .nc-says").first.inner_text()
    page.get_by_role("button", name="simplex").click()
    assert "Angles from 120.0° to 120.0°" in page.locator("nc-simplex").inner_text()


def shown(page, figure: str, data: Any):
    """A live figure in an otherwise empty page, once it is drawn."""
    page.evaluate(
        "([tag, text]) => { document.body.innerHTML = "
        "`<${tag}><script type='application/json'>${text}<\\/script></${tag}>` }",
        [f"nc-{figure}", json.dumps(data)],
    )
    found = page.locator(f"nc-{figure}")
    found.locator("svg").first.wait_for()
    return found


def drag(page, start: tuple[float, float], by: tuple[float, float]) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(start[0] + by[0] / 2, start[1] + by[1] / 2)
    page.mouse.move(start[0] + by[0], start[1] + by[1])
    page.mouse.up()


def test_a_point_of_the_sphere_follows_the_mouse_and_the_sphere_turns(page):
    figure = shown(page, "simplex", {"points": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]})
    points = "one => one.model.points()"
    before = np.array(figure.evaluate(points))
    held = figure.locator("[data-point='0']")
    box = held.bounding_box()
    at = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    drag(page, at, (40, 30))
    after = np.array(figure.evaluate(points))
    assert np.linalg.norm(after[0] - before[0]) > 0.2
    assert np.linalg.norm(after[0]) == pytest.approx(1)
    assert np.array_equal(after[1:], before[1:])
    box = held.bounding_box()  # it lies where the mouse let go of it
    assert box["x"] + box["width"] / 2 == pytest.approx(at[0] + 40, abs=2)
    assert box["y"] + box["height"] / 2 == pytest.approx(at[1] + 30, abs=2)
    page.mouse.move(at[0] + 80, at[1])  # nothing is held now
    assert np.array_equal(np.array(figure.evaluate(points)), after)
    sphere = figure.locator("svg").bounding_box()
    tips = "one => [...one.querySelectorAll('[data-point]')].map(p => p.getAttribute('transform'))"
    seen = figure.evaluate(tips)
    drag(page, (sphere["x"] + 12, sphere["y"] + 12), (60, 0))
    assert figure.evaluate(tips) != seen
    assert np.array_equal(np.array(figure.evaluate(points)), after)  # seen from elsewhere


def test_a_player_is_turned_and_led_by_the_mouse(page):
    arrows = np.stack([np.eye(3), np.roll(np.eye(3), 1, axis=0)])
    panels = (
        Cloud(arrows=arrows),
        Curves(x=[0, 1], lines={"loss": [1.0, 0.0]}, at=[0, 1]),
    )
    player = Player("step", [0, 1], *panels, says=["First.", "Second."])
    figure = shown(page, "player", player.data)
    sphere, curves = figure.locator("svg").all()[:2]
    ring = "one => one.querySelector('path[stroke-dasharray]').getAttribute('d')"
    seen = sphere.evaluate(ring)
    box = sphere.bounding_box()
    drag(page, (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2), (50, 0))
    assert sphere.evaluate(ring) != seen
    assert "First." in figure.inner_text()
    box = curves.bounding_box()
    drag(page, (box["x"] + 0.2 * box["width"], box["y"] + 60), (0.7 * box["width"], 0))
    assert "Second." in figure.inner_text()


def test_a_cell_of_the_phase_map_is_chosen_by_the_mouse(page):
    phase = phase_map(
        share=[[0.0, 1.0], [0.5, 0.2]],
        rows=["8", "4"],
        columns=["10", "20"],
        axes=("dimension", "SNR"),
        title="share",
        points=[[[0.1, 0.2], [0.3, -0.4]]] * 4,
        classes=[0, 1],
        lines=[None] * 4,
        marked=[[]] * 4,
        says=["a", "b", "c", "d"],
        start=(0, 0),
    )
    figure = shown(page, "phase", phase.data)
    assert figure.locator(".nc-says").inner_text() == "a"
    figure.locator("[data-cell='1,1']").click()
    assert figure.locator(".nc-says").inner_text() == "d"


def test_a_slider_of_the_features_model_is_dragged(page):
    figure = shown(page, "ufm", {})
    says, slider = figure.locator(".nc-says"), figure.locator("input[type=range]").first
    assert says.inner_text().startswith("All 4 classes have a direction.")
    box = slider.bounding_box()
    at = (box["x"] + 0.425 * box["width"], box["y"] + box["height"] / 2)
    drag(page, at, (0.6 * box["width"], 0))  # to the largest penalty
    assert says.inner_text().startswith("Nothing is left")
