"""Make the pictures of the landing page and the README: python collapse.py.

`collapse.png` shows three epochs side by side, `collapse.gif` the way from the first to the last.
"""

import io
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from ncourse.data import digits
from ncourse.figures import plots
from ncourse.papers import papyan2020
from PIL import Image

torch.set_num_threads(1)
frames: papyan2020.Path = []
run = papyan2020.train(digits(), weight_decay=5e-3, seed=0, keep=frames)
zero = run["epoch"][run["train_error"].index(0)]
cloud = {
    name: np.array(values)
    for name, values in papyan2020.plane(frames).items()
}


def draw(epoch, panel):
    """The training images of three digits at one epoch, in the plane of their class means."""
    rows = (cloud["epoch"] == epoch) & (cloud["split"] == "train")
    clouds = [
        np.stack([cloud["x"], cloud["y"]], axis=1)[
            rows & (cloud["label"] == k)
        ]
        for k in papyan2020.PLANE_CLASSES
    ]
    plots.points(clouds, panel=panel, limit=1.9)
    panel.set_ylim(-1.35, 2.25)
    corners = np.array([each.mean(0) for each in clouds])
    panel.plot(
        *corners[[0, 1, 2, 0]].T,
        color="#888888",
        linewidth=0.8,
        linestyle=":",
    )
    for k, corner in zip(papyan2020.PLANE_CLASSES, corners, strict=True):
        panel.text(
            *(1.7 * corner),
            str(k),
            ha="center",
            va="center",
            weight="bold",
            fontsize=12,
        )


def save(name):
    """Where this file lies."""
    return Path(__file__).with_name(name)


titles = {
    1: "epoch 1",
    zero: f"epoch {zero}: zero training error",
    300: "epoch 300: collapsed",
}
figure, panels = plots.axes(1, 3, width=7.8, height=2.8)
for panel, (epoch, title) in zip(panels, titles.items(), strict=True):
    draw(epoch, panel)
    panel.set_title(title, loc="center")
save("collapse.png").write_bytes(plots.png(figure))

pictures = []
for epoch in sorted({epoch for epoch, _, _ in frames}):
    figure, panel = plots.axes(width=4.2, height=4.2)
    draw(epoch, panel)
    phase = "terminal phase" if epoch >= zero else "still making mistakes"
    panel.set_title(f"epoch {epoch}: {phase}", loc="center", fontsize=12)
    pictures.append(Image.open(io.BytesIO(plots.png(figure, dpi=110))))
    plt.close(figure)
hold = [1500, *[600] * (len(pictures) - 2), 3500]  # milliseconds a frame
pictures[0].save(
    save("collapse.gif"),
    save_all=True,
    append_images=pictures[1:],
    duration=hold,
    loop=0,
)
