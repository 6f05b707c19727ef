"""Features of the reader's own networks: captured, streamed, saved, measured from a file."""

import json
import math
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import resnet18
from typer.testing import CliRunner

from ncourse import features
from ncourse.course.cli import app
from ncourse.metrics import CollapseMetric, capture, measure

PAGE = Path(__file__).parents[1] / "notebooks" / "your-model.md"
CODE = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> dict[str, object]:
    """What is defined after all code of the page has run, in order."""
    names: dict[str, object] = {}
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        torch.manual_seed(0)
        patch.chdir(tmp_path_factory.mktemp("page"))
        for block in CODE:
            exec(block, names)
    return names


def plain() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 64), nn.ReLU(), nn.Linear(64, 5))


def residual() -> nn.Module:
    return resnet18(weights=None, num_classes=5)


@pytest.mark.parametrize("kind", ["resnet18", "transformer", "sequential"])
def test_three_architectures_are_measured_alike_by_pass_stream_and_file(page, tmp_path, kind):
    make = {"resnet18": residual, "transformer": page["Reader"], "sequential": plain}[kind]
    torch.manual_seed(1)
    model = make()
    head = {"resnet18": "fc", "transformer": "head", "sequential": "3"}[kind]
    batches = page["batches"]
    seen = capture(model, batches, classifier=head if kind == "transformer" else None)
    layer = model.get_submodule(head)
    assert torch.equal(seen.weight, layer.weight)
    model.eval()
    with torch.no_grad():  # what was captured are this layer's inputs, and nothing else
        logits = torch.cat([model(inputs) for inputs, _ in batches])
    torch.testing.assert_close(layer(seen.features), logits)
    whole = measure(seen.features, seen.labels, seen.weight, seen.bias)
    metric = CollapseMetric(5, classifier=layer)
    for part, labels in zip(seen.features.split(7), seen.labels.split(7), strict=True):
        metric.update(part, labels)
    stream = metric.compute()
    saved = features.save(tmp_path / "f.npz", seen.features, seen.labels, layer.weight, layer.bias)
    result = CliRunner().invoke(app, ["measure", str(saved), "--json"])
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    for name, value in whole.as_dict().items():
        assert printed[name] == (value if math.isfinite(value) else None), name
        if not name.startswith("nc4"):
            assert getattr(stream, name) == pytest.approx(value, rel=1e-3, abs=1e-6), name
    table = CliRunner().invoke(app, ["measure", str(saved)])
    assert table.stdout.strip() == str(whole).strip()


def test_the_pages_code_does_what_its_comments_say(page):
    shapes = re.findall(r"print\(seen\.features\.shape\)  # (.+)", "".join(CODE))
    assert shapes == ["(40, 512)", "(40, 32)"]
    assert page["seen"].features.shape == (40, 32)
    torch.manual_seed(0)
    assert capture(residual(), page["batches"]).features.shape == (40, 512)


def test_a_layer_that_cannot_be_guessed_is_asked_for(page):
    """Were `embed` as wide as the classes, there would still be one layer of the output's shape."""
    twins = nn.Sequential(nn.Flatten(), nn.Linear(3072, 5), nn.Linear(5, 5), nn.Softmax(1))
    with pytest.raises(ValueError, match="pass classifier=, one of '1', '2'"):
        capture(twins, page["batches"])


def some() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "features": torch.randn(12, 4, generator=generator, dtype=torch.float64),
        "labels": torch.arange(12) % 3,
        "weight": torch.randn(3, 4, generator=generator, dtype=torch.float64),
        "bias": torch.randn(3, generator=generator, dtype=torch.float64),
    }


def test_both_kinds_of_file_come_back_as_they_were(tmp_path):
    given = some()
    features.save(tmp_path / "a.npz", *given.values())
    torch.save(given | {"epoch": 3}, tmp_path / "b.pt")
    for name in ("a.npz", "b.pt"):
        back = features.load(tmp_path / name)
        for field, tensor in given.items():
            assert torch.equal(getattr(back, field), tensor)
            assert getattr(back, field).dtype == tensor.dtype
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.pt"]
    without = features.save(tmp_path / "c.npz", given["features"], given["labels"])
    report = features.load(without).measure(convention="zhu")
    expected = measure(given["features"], given["labels"], None, num_classes=3, convention="zhu")
    assert report.nc1 == expected.nc1
    assert math.isnan(report.nc3)
    with pytest.raises(ValueError, match=r"ends in \.npz"):
        features.save(tmp_path / "d.bin", given["features"], given["labels"])


class Trap:
    """Unpickling this would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_file_that_is_not_features_is_refused_by_name(tmp_path):
    given = some()
    whole = features.save(tmp_path / "whole.npz", *given.values()).read_bytes()
    sprung = tmp_path / "sprung"
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "text.npz").write_text("features")
    np.savez(tmp_path / "objects.npz", features=np.array([Trap(sprung)]), labels=np.zeros(1))
    np.savez(tmp_path / "lacks.npz", features=np.zeros((2, 2)), classes=np.zeros(2))
    (tmp_path / "trap.pt").write_bytes(pickle.dumps({"features": Trap(sprung)}))
    torch.save([1, 2], tmp_path / "list.pt")
    (tmp_path / "half.pt").write_bytes(b"PK\x03\x04")
    (tmp_path / "table.csv").write_text("1,2")
    (tmp_path / "notes.txt").write_text("1,2")
    says = {
        "half.npz": "cannot be read",
        "empty.npz": "cannot be read",
        "text.npz": "cannot be read",
        "objects.npz": "cannot be read",
        "lacks.npz": "has no array 'labels'; it has features, classes",
        "trap.pt": "cannot be read",
        "list.pt": "holds a list",
        "half.pt": "cannot be read",
        "table.csv": "its columns are 1, 2; expected one called labels",
        "notes.txt": "ends in .npz, .npy, .csv",
        "nowhere.npz": "No such file",
    }
    for name, message in says.items():
        result = CliRunner().invoke(app, ["measure", str(tmp_path / name)])
        assert result.exit_code == 1, name
        assert message in result.stderr, name
        assert name in result.stderr
    assert not sprung.exists()


def test_what_measure_refuses_is_one_line(tmp_path):
    given = some()
    path = features.save(tmp_path / "t.npz", given["features"], given["labels"], given["weight"].T)
    result = CliRunner().invoke(app, ["measure", str(path)])
    assert result.exit_code == 1
    assert "weight" in result.stderr
    path = features.save(tmp_path / "u.npz", given["features"], given["labels"].double())
    result = CliRunner().invoke(app, ["measure", str(path)])
    assert "labels is float64" in result.stderr
    path = features.save(tmp_path / "v.npz", given["features"], given["labels"])
    result = CliRunner().invoke(app, ["measure", str(path), "--convention", "mine"])
    assert "mine" in result.stderr


def test_every_kind_of_file_is_measured_alike(tmp_path):
    from safetensors.torch import save_file

    given = some()
    expected = measure(*given.values()).as_dict()
    torch.save(given, tmp_path / "a.pt")
    torch.save({name: tensor.tolist() for name, tensor in given.items()}, tmp_path / "lists.pt")
    save_file(given, tmp_path / "a.safetensors")
    np.savez(tmp_path / "big.npz", **{n: t.numpy().astype(">f8") for n, t in given.items()}
             | {"labels": given["labels"].numpy().astype(">u2")})  # fmt: skip
    for name in ("a.pt", "lists.pt", "a.safetensors", "big.npz"):
        report = features.load(tmp_path / name).measure()
        assert report.as_dict() == pytest.approx(expected), name
    for name, tensor in given.items():
        np.save(tmp_path / f"{name}.npy", tensor.numpy())
    others = [f"--{name}={tmp_path / name}.npy" for name in ("labels", "weight", "bias")]
    command = ["measure", str(tmp_path / "features.npy"), "--json"]
    result = CliRunner().invoke(app, [*command, *others])
    assert json.loads(result.stdout) == pytest.approx(expected)
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    assert "has no array 'labels'" in result.stderr
    assert "--labels" in result.stderr


def test_a_table_with_names_or_numbers_for_labels(tmp_path):
    given = some()
    expected = measure(given["features"], given["labels"]).as_dict()
    names = ["ant", "bee", "cow"]
    for kind, labels in (("numbers", given["labels"].tolist()),
                         ("names", [names[k] for k in given["labels"]])):  # fmt: skip
        rows = [
            ",".join([str(label), *map(repr, row)])
            for label, row in zip(labels, given["features"].tolist(), strict=True)
        ]
        path = tmp_path / f"{kind}.csv"
        path.write_text("\n".join(["label,a,b,c,d", *rows]))
        report = features.load(path).measure()
        assert report.as_dict() == pytest.approx(expected, nan_ok=True)
        assert report.classes == (tuple(names) if kind == "names" else (0, 1, 2))
    (tmp_path / "short.csv").write_text("label,a\n1\n")
    with pytest.raises(ValueError, match=r"short\.csv cannot be read: a row has another number"):
        features.load(tmp_path / "short.csv")


def test_classes_are_chosen_on_the_command_line(tmp_path):
    given = some()
    given["labels"][:2] = torch.tensor([-100, 3])
    weight = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    path = features.save(tmp_path / "c.npz", given["features"], given["labels"], weight)
    command = ["measure", str(path), "--json", "--ignore-index=-100"]
    found = json.loads(CliRunner().invoke(app, [*command, "--min-samples", "2"]).stdout)
    assert (found["num_classes"], found["num_samples"], found["smallest_class"]) == (3, 10, 3)
    found = json.loads(CliRunner().invoke(app, [*command, "--classes", "0,2"]).stdout)
    assert (found["num_classes"], found["num_samples"]) == (2, 7)
    result = CliRunner().invoke(app, [*command, "--classes", "a"])
    assert result.exit_code == 1
    assert "--classes takes numbers" in result.stderr
