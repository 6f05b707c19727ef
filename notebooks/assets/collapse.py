"""Make the README's animation, for light and for dark pages: python collapse.py.

`collapse.gif` shows a run with weight decay and, beside it, the same run without; in
`collapse-dark.gif` lightness is turned round and hues stay. `preview.png` is the last picture, for
where a link to the site is shown.
"""

import io
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image

from ncourse.data import digits
from ncourse.figures import plots
from ncourse.papers import papyan2020

RUNS = {"weight decay 5e-3": 5e-3, "control: no weight decay": 0.0}

torch.set_num_threads(1)
clouds, runs, epochs = {}, {}, []
for name, weight_decay in RUNS.items():
    frames: papyan2020.Path = []
    runs[name] = papyan2020.train(
        digits(), weight_decay=weight_decay, seed=0, keep=frames
    )
    plane = papyan2020.plane(frames)
    clouds[name] = {key: np.array(values) for key, values in plane.items()}
    epochs = sorted({epoch for epoch, _, _ in frames})


def draw(name, epoch, panel):
    """The training images of three digits at one epoch, in the plane of their class means."""
    cloud, run = clouds[name], runs[name]
    rows = (cloud["epoch"] == epoch) & (cloud["split"] == "train")
    points = np.stack([cloud["x"], cloud["y"]], axis=1)
    classes = [
        points[rows & (cloud["label"] == k)] for k in papyan2020.PLANE_CLASSES
    ]
    plots.points(classes, panel=panel, limit=1.9)
    panel.set_ylim(-1.35, 2.25)
    corners = np.array([each.mean(0) for each in classes])
    style = {"color": "#888888", "linewidth": 0.8, "linestyle": ":"}
    panel.plot(*corners[[0, 1, 2, 0]].T, **style)
    for k, corner in zip(papyan2020.PLANE_CLASSES, corners, strict=True):
        style = {"ha": "center", "va": "center", "weight": "bold"}
        panel.text(*(1.7 * corner), str(k), fontsize=12, **style)
    nc1 = run["nc1"][run["epoch"].index(epoch)]
    panel.set_title(f"{name}\nNC1 {nc1:.3f}", loc="center", fontsize=12)


def save(pictures, name):
    """As an animation, where this file lies."""
    hold = [1500, *[600] * (len(pictures) - 2), 3500]  # milliseconds a frame
    pictures[0].save(
        Path(__file__).with_name(name),
        save_all=True,
        append_images=pictures[1:],
        duration=hold,
        loop=0,
    )


def turned(picture):
    """The picture for a dark page."""
    light, blue, red = picture.convert("RGB").convert("YCbCr").split()
    light = light.point(lambda value: round(13 + (255 - value) * 0.95))
    return Image.merge("YCbCr", (light, blue, red)).convert("RGB")


zero = max(run["epoch"][run["train_error"].index(0)] for run in runs.values())
light = []
for epoch in epochs:
    figure, panels = plots.axes(1, 2, width=7.2, height=4.3)
    for panel, name in zip(panels, RUNS, strict=True):
        draw(name, epoch, panel)
    phase = (
        "training error zero" if epoch >= zero else "still making mistakes"
    )
    figure.suptitle(f"epoch {epoch}: {phase}", fontsize=13)
    light.append(
        Image.open(io.BytesIO(plots.png(figure, dpi=110))).convert("RGB")
    )
    plt.close(figure)
save(light, "collapse.gif")
save([turned(picture) for picture in light], "collapse-dark.gif")
light[-1].quantize(64).save(
    Path(__file__).with_name("preview.png"), optimize=True
)
print(
    "zero error from epoch",
    zero,
    {n: runs[n]["nc1"][-1] for n in RUNS},
    epochs,
)
