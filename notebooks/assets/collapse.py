"""Make collapse.png, the picture of the landing page and the README: python collapse.py."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from ncourse import plots
from ncourse.data import digits
from ncourse.papers import papyan2020

torch.set_num_threads(1)
frames: papyan2020.Path = []
run = papyan2020.train(digits(), weight_decay=5e-3, seed=0, keep=frames)
zero = run["epoch"][run["train_error"].index(0)]
cloud = {name: np.array(values) for name, values in papyan2020.plane(frames).items()}

figure, panels = plots.axes(1, 3, width=7.8, height=2.8)
titles = {
    1: "epoch 1",
    zero: f"epoch {zero}: zero training error",
    300: "epoch 300: collapsed",
}
for panel, (epoch, title) in zip(panels, titles.items(), strict=True):
    rows = (cloud["epoch"] == epoch) & (cloud["split"] == "train")
    clouds = [
        np.stack([cloud["x"], cloud["y"]], axis=1)[rows & (cloud["label"] == k)]
        for k in papyan2020.PLANE_CLASSES
    ]
    plots.points(clouds, panel=panel, limit=1.9)
    panel.set_ylim(-1.35, 2.25)
    corners = np.array([each.mean(0) for each in clouds])
    panel.plot(*corners[[0, 1, 2, 0]].T, color="#888888", linewidth=0.8, linestyle=":")
    for k, corner in zip(papyan2020.PLANE_CLASSES, corners, strict=True):
        panel.text(*(1.7 * corner), str(k), ha="center", va="center", weight="bold", fontsize=12)
    panel.set_title(title, loc="center")
Path(__file__).with_name("collapse.png").write_bytes(plots.png(figure))
plt.close("all")
