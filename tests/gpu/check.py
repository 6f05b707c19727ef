"""CPU and an accelerator agree; `check.sh` says how this is run. Prints one JSON object."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ncourse import data
from ncourse.metrics import CollapseMetric, capture, measure
from ncourse.models import MLP, resnet18
from ncourse.training import fit

TO_THE_END = float(os.environ.get("SECONDS_IN_ALL", "330"))
START = time.perf_counter()


def cloud(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3000) % 10
    weight = torch.randn(10, 64, generator=generator, dtype=dtype)
    noise = torch.randn(3000, 64, generator=generator, dtype=dtype)
    return weight[labels] + 0.3 * noise, labels, weight


def farthest(device: str, dtype: torch.dtype) -> float:
    """The largest relative difference of any number of `measure` and of a stream."""
    features, labels, weight = cloud(dtype)
    h, y, w = features.to(device), labels.to(device), weight.to(device)
    whole = measure(features, labels, weight)
    pairs = [(whole, measure(h, y, w)), (whole, measure(h, labels, weight))]
    reports = []
    for x, z in ((features, labels), (h, y)):
        metric = CollapseMetric(10).to(x.device)
        for part in torch.arange(3000, device=x.device).split(700):
            metric.update(x[part], z[part])
        reports.append(metric.compute())
    pairs.append((reports[0], reports[1]))
    differences = [0.0]
    for left, right in pairs:
        for name, value in left.as_dict().items():
            other = right.as_dict()[name]
            if value == value and abs(value) != float("inf"):
                differences.append(abs(value - other) / max(abs(value), 1e-12))
    return max(differences)


def training(device: str, precision: str, epochs: int) -> dict[str, float | int]:
    digits = data.digits().take(40)
    model = MLP(digits.input_shape, [64, 64], 10)
    _, history = fit(
        model=model, dataset=digits, epochs=epochs, accelerator=device, precision=precision,
        progress=False,
    )  # fmt: skip
    return history.rows()[-1]


WATCHED = """
import os, sys
from ncourse import data
from ncourse.models import MLP
from ncourse.training import fit

digits = data.digits().take(20)

def train(device, path, stop):
    def watch(epoch, train, test):
        if epoch == 4 and stop is not None:
            stop()

    model = MLP(digits.input_shape, [32], 10)
    _, history = fit(model=model, dataset=digits, epochs=6, measure_at=range(1, 7), observe=watch,
                     accelerator=device, progress=False, checkpoint=path)
    return history.rows()[-1]["loss"]
"""


def resumed(device: str) -> bool:
    """A training that is killed half-way goes on, to what an undisturbed one reaches."""
    names: dict[str, Any] = {}
    exec(WATCHED, names)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "killed.pt")
        kill = f"train({device!r}, {path!r}, lambda: os._exit(9))"
        done = subprocess.run([sys.executable, "-c", f"{WATCHED}\n{kill}"])
        assert done.returncode == 9
        ends = [names["train"](device, name, None) for name in (path, None)]
    return abs(ends[0] - ends[1]) <= (0 if device == "cpu" else 1e-4) * max(1, abs(ends[1]))


def throughput(device: str) -> float:
    """Time of `fit` over that of a bare loop of the same steps."""
    digits, epochs = data.digits(), 1 if device == "cpu" else 10

    def bare() -> None:
        model = MLP(digits.input_shape, [256, 256], 10).to(device)
        optimizer = torch.optim.SGD(model.parameters(), 0.05, 0.9, weight_decay=5e-4)
        x, y = digits.inputs.to(device), digits.labels.to(device)
        for _ in range(epochs):
            for part in torch.randperm(len(y), device=device).split(128):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x[part]), y[part]).backward()
                optimizer.step()

    def ours() -> None:
        fit(
            model=MLP(digits.input_shape, [256, 256], 10), dataset=digits, epochs=epochs,
            measure_at=[epochs], watch_error=False, accelerator=device, progress=False,
        )  # fmt: skip

    times = []
    for run in (bare, ours):
        run()
        start = time.perf_counter()
        run()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return times[1] / times[0]


def fashion(device: str) -> dict[str, Any]:
    """NC1 after zero training error, of a ResNet-18 with weight decay, and without: its control."""
    if device == "cpu":
        few = data.digits().take(10)
        runs = {"weight decay": 5e-4, "none": 0.0}
        least, epochs, make = few, 2, lambda: MLP(few.input_shape, [16], 10)
    else:
        least = data.fashion_mnist(os.environ.get("FASHION_MNIST"))
        runs = {"weight decay": 5e-4, "none": 0.0}
        make = lambda: resnet18(least.input_shape, 10)  # noqa: E731
        start = time.perf_counter()
        fit(model=make(), dataset=least, epochs=1, watch_error=False, accelerator=device,
            precision="bf16-mixed", progress=False)  # fmt: skip
        one = time.perf_counter() - start
        left = TO_THE_END - (time.perf_counter() - START)
        epochs = max(2, int(left / len(runs) / (1.3 * one)))
    found = {}
    for name, decay in runs.items():
        _, history = fit(
            model=make(), dataset=least, epochs=epochs, weight_decay=decay, accelerator=device,
            precision="32-true" if device == "cpu" else "bf16-mixed", progress=False,
            watch_error=False,
        )  # fmt: skip
        terminal = history.terminal_epoch
        since = None if terminal is None else history.at(terminal)["nc1"]
        last = history.rows()[-1]
        found[name] = {"epochs": epochs, "zero error at": terminal, "NC1 then": since,
                       "NC1 at the end": last["nc1"], "error": last["train_error"]}  # fmt: skip
    return found


def main(device: str) -> None:
    torch.manual_seed(0)
    result: dict[str, Any] = {"device": device, "torch": torch.__version__}
    if device == "cuda":
        result["name"] = torch.cuda.get_device_name()
    result["float64"] = farthest(device, torch.float64)
    result["float32"] = farthest(device, torch.float32)
    assert result["float64"] <= 1e-9, result
    assert result["float32"] <= 1e-4, result
    small = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)).to(device)
    batches = [(part, torch.arange(len(part)) % 10) for part in cloud(torch.float32)[0].split(500)]
    capture(small, batches, into=(metric := CollapseMetric(10)))
    result["metric on"] = str(metric.device)
    assert metric.device.type == device, result
    epochs = 3 if device == "cpu" else 60
    for precision in ("32-true", "bf16-mixed"):
        last = training(device, precision, epochs)
        result[precision] = {name: last[name] for name in ("loss", "train_error", "nc1")}
    result["resumed"] = resumed(device)
    assert result["resumed"], result
    result["fit over a bare loop"] = throughput(device)
    result["fashion"] = fashion(device)
    result["seconds"] = time.perf_counter() - START
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(sys.argv[1])
