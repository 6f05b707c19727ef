"""Data sets: sizes, splits, checksums, and files that are missing or damaged."""

import gzip
import hashlib
import itertools
import math
import pickle
import shutil
import struct
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from ncourse import data
from ncourse.data import Dataset, digits, fashion_mnist, gaussian_mixture, grammar, python_docs

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def test_digits():
    dataset = digits()
    assert dataset.input_shape == (1, 8, 8)
    assert (len(dataset.labels), len(dataset.test_labels), dataset.num_classes) == (1400, 397, 10)
    assert dataset.inputs.mean(0).abs().max() < 1e-6
    assert set(dataset.test_labels.tolist()) == set(range(10))
    # The same images in the same order everywhere: recordings depend on it.
    assert dataset.checksum == digits().checksum
    assert dataset.labels[:8].tolist() == [6, 5, 5, 7, 9, 9, 8, 4]
    with pytest.raises(ValueError, match="num_train is 1797"):
        digits(num_train=1797)


def test_gaussian_mixture_has_the_moments_it_was_asked_for():
    mixture = gaussian_mixture(3, 4, train_per_class=4000, noise=0.5, seed=1)
    for k in range(3):
        cloud = mixture.inputs[mixture.labels == k]
        assert len(cloud) == 4000
        assert (cloud.std(0) - 0.5).abs().max() < 0.03
    means = torch.stack([mixture.inputs[mixture.labels == k].mean(0) for k in range(3)])
    test = torch.stack([mixture.test_inputs[mixture.test_labels == k].mean(0) for k in range(3)])
    assert (means - test).abs().max() < 0.3
    given = torch.arange(6.0, dtype=torch.float64).reshape(2, 3)
    exact = gaussian_mixture(2, 3, means=given, noise=0.0, train_per_class=2, test_per_class=0)
    assert exact.inputs.dtype == torch.float64
    assert torch.equal(exact.inputs, given.repeat_interleave(2, 0))
    with pytest.raises(ValueError, match=r"means is \(2, 3\)"):
        gaussian_mixture(3, 3, means=given)
    with pytest.raises(ValueError, match="num_classes=1"):
        gaussian_mixture(1, 3)


def test_same_seed_same_data_and_no_global_seed_is_touched():
    before = torch.random.get_rng_state()
    first, second = gaussian_mixture(2, 3, seed=5), gaussian_mixture(2, 3, seed=5)
    assert torch.equal(before, torch.random.get_rng_state())
    assert first.checksum == second.checksum != gaussian_mixture(2, 3, seed=6).checksum


def test_random_labels_and_subsets():
    dataset = digits()
    noise = dataset.with_random_labels(seed=0)
    assert noise.name == "digits, random labels"
    assert torch.equal(noise.inputs, dataset.inputs)
    assert torch.equal(noise.test_labels, dataset.test_labels)
    assert 0.05 < (noise.labels == dataset.labels).double().mean() < 0.15
    few = dataset.take(7)
    assert few.labels.bincount().tolist() == [7] * 10
    both = torch.cat([few.inputs.flatten(1), dataset.inputs.flatten(1)])
    assert len(both.unique(dim=0)) == len(dataset.inputs.flatten(1).unique(dim=0))
    with pytest.raises(ValueError, match="per_class is 0"):
        dataset.take(0)


def parts(**changes):
    good = {
        "name": "toy",
        "inputs": torch.zeros(4, 3),
        "labels": torch.tensor([0, 1, 0, 1]),
        "test_inputs": torch.zeros(2, 3),
        "test_labels": torch.tensor([0, 1]),
        "class_names": ("a", "b"),
    }
    return good | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_inputs": torch.zeros(2, 5)}, r"test samples are \(5,\)"),
        ({"labels": torch.tensor([0, 1, 2, 1])}, "labels run from 0 to 2"),
        ({"labels": torch.tensor([0, -1, 0, 1])}, "labels run from -1"),
        (
            {"inputs": torch.tensor([[0.0], [1], [math.nan], [math.inf]])},
            "toy: NaN or infinity in 2 of 4 training samples, first in sample 2",
        ),
        (
            {"test_inputs": torch.full((2, 3), -math.inf)},
            "toy: NaN or infinity in 2 of 2 test samples, first in sample 0",
        ),
    ],
)
def test_dataset_refuses_what_does_not_match(changes, message):
    with pytest.raises(ValueError, match=message):
        Dataset(**parts(**changes))


def test_numbers_whose_sum_is_infinite_are_numbers():
    assert Dataset(**parts(inputs=torch.full((4, 3), 3e38))).inputs.max() > 1e38


X, Y = torch.arange(12.0).view(6, 2), torch.tensor([0, 1, 2, 0, 1, 2])
BATCHES = {
    "a loader": DataLoader(TensorDataset(X, Y), 4),
    "a generator": ((X[part], Y[part]) for part in (slice(0, 4), slice(4, 6))),
    "lists": [[X.tolist(), Y.tolist()]],
    "numpy": [(X.numpy().astype(">f8"), Y.numpy().astype(np.uint16))],
    "more in a batch": [(X, Y, torch.arange(6))],
    "an empty one": [(X[:0], Y[:0]), (X, Y), (X[:0], Y[:0])],
}


@pytest.mark.parametrize("kind", BATCHES)
def test_batches_of_every_kind_are_a_data_set(kind):
    read = data.in_memory(BATCHES[kind], name="mine")
    assert torch.equal(read.inputs, X.to(read.inputs.dtype))
    assert torch.equal(read.labels, Y)
    assert (read.name, read.num_classes, len(read.test_labels)) == ("mine", 3, 0)


@pytest.mark.parametrize(
    ("batches", "error", "told"),
    [
        ([*TensorDataset(X, Y)], ValueError,
         r"^a batch has one label; give batches: DataLoader\(dataset, batch_size\)$"),
        ([], ValueError, "^the loader has no batches with samples$"),
        ([(X[:0], Y[:0])], ValueError, "^the loader has no batches with samples$"),
        ([X], ValueError, r"^a batch is \(6, 2\); expected \(inputs, labels\)"),
        ([{"pixels": X, "mask": X, "labels": Y}], ValueError,
         "^a batch is a dictionary with inputs pixels, mask; a data set has one tensor of them"),
        ([{"pixels": X}], ValueError, "^a batch has pixels; expected labels in it"),
        ([(X, Y), (X[:, :1], Y)], ValueError,
         r"^a batch has inputs \(6, 1\), the first one \(6, 2\); expected samples of one shape$"),
        ([(X, Y[:5])], ValueError,
         r"^a batch has labels \(5,\) and inputs \(6, 2\); expected one label a sample$"),
        ([(X, Y - 1)], ValueError, "training labels run from -1 to 1"),
        ([(X, Y + 0.5)], TypeError, "^labels is float32; expected integer class indices"),
        ([(X, torch.eye(3)[Y].long())], ValueError,
         r"^a batch has labels \(6, 3\) and inputs \(6, 2\); expected one label a sample$"),
        ([(X, list("abcabc"))], TypeError, "^labels are names; expected integers"),
        ([(X, [None] * 6)], TypeError, "^labels is an array of object; expected numbers$"),
        ([(X.long(), Y)], TypeError, r"^inputs is torch.int64; expected floating point"),
        ([(X * 1j, Y)], TypeError, "^inputs is complex64; expected real numbers$"),
        ([(X / 0, Y)], ValueError, "NaN or infinity in 6 of 6 training samples"),
    ],
)  # fmt: skip
def test_batches_that_are_no_data_set_are_refused_in_a_sentence(batches, error, told):
    with pytest.raises(error, match=told):
        data.in_memory(batches)


def write_idx(path: Path, values: torch.Tensor, *, cut: int = 0, magic: int | None = None) -> None:
    head = struct.pack(
        f">{1 + values.ndim}I", magic if magic is not None else 0x0800 + values.ndim, *values.shape
    )
    content = head + values.to(torch.uint8).numpy().tobytes()
    path.write_bytes(gzip.compress(content[: len(content) - cut]))


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def write_splits(folder: Path) -> dict[str, str]:
    """Small files in the format of MNIST; the MD5 of what is in each."""
    for split, count in (("train", 40), ("t10k", 20)):
        labels = torch.arange(count) % 10
        images = (labels[:, None, None] * 25).expand(count, 28, 28)
        write_idx(folder / f"{split}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{split}-labels-idx1-ubyte.gz", labels)
    return {path.stem: md5(gzip.decompress(path.read_bytes())) for path in folder.glob("*.gz")}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Small files as if they were the published ones."""
    monkeypatch.setitem(data.PUBLISHED, "FashionMNIST", write_splits(tmp_path))
    return tmp_path


def test_fashion_mnist_reads_a_folder(folder):
    dataset = fashion_mnist(folder)
    assert dataset.inputs.shape == (40, 1, 28, 28)
    assert dataset.class_names[9] == "ankle boot"
    # Pixels are divided by 255, and the mean training image is taken away from both splits.
    assert dataset.inputs.mean(0).abs().max() < 1e-6
    assert (dataset.inputs[9] - dataset.inputs[0]).mean().item() == pytest.approx(225 / 255)
    assert torch.equal(dataset.test_inputs, dataset.inputs[:20])


@pytest.mark.parametrize("fault", [{"cut": 100}, {"magic": 7}], ids=["truncated", "wrong magic"])
def test_damaged_file_is_named(folder, fault):
    write_idx(folder / "train-images-idx3-ubyte.gz", torch.zeros(40, 28, 28), **fault)
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz is damaged"):
        fashion_mnist(folder)


def test_a_file_of_the_right_shape_that_is_not_the_published_one_is_named(folder):
    write_idx(folder / "t10k-labels-idx1-ubyte.gz", torch.arange(20) % 9)
    with pytest.raises(ValueError, match=r"t10k-labels-idx1-ubyte\.gz is damaged or altered"):
        fashion_mnist(folder)


def test_broken_compression_and_missing_file(folder):
    path = folder / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ValueError, match="t10k-labels"):
        fashion_mnist(folder)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="t10k-labels"):
        fashion_mnist(folder)


def test_without_package_and_network_the_ways_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(data, "DEBIAN_FASHION_MNIST", tmp_path / "none")
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(FileNotFoundError, match="apt-get install dataset-fashion-mnist"):
        fashion_mnist()
    with pytest.raises(FileNotFoundError, match="pip install torchvision"):
        data.mnist(tmp_path)


class FakeSplit:
    """What torchvision's data sets look like from outside."""

    classes = ("cat", "dog")
    base_folder = "none"
    train_list: ClassVar[list] = []
    test_list: ClassVar[list] = []
    meta: ClassVar[dict] = {"filename": "none", "md5": ""}

    def __init__(self, root, *, train, download):
        assert download
        self.data = np.full((4 if train else 2, 6, 6, 3), 51, dtype=np.uint8)
        self.data[::2] = 255
        self.targets = [0, 1] * (2 if train else 1)


class FakeGreySplit(FakeSplit):
    def __init__(self, root, *, train, download):
        super().__init__(root, train=train, download=download)
        self.data = torch.from_numpy(self.data[..., 0])
        self.targets = torch.tensor(self.targets)


@pytest.mark.parametrize(
    ("load", "kind", "split", "shape"),
    [
        (data.cifar10, "CIFAR10", FakeSplit, (3, 6, 6)),
        (data.cifar100, "CIFAR100", FakeSplit, (3, 6, 6)),
        (data.mnist, "MNIST", FakeGreySplit, (1, 6, 6)),
    ],
)
def test_torchvision_data_sets(monkeypatch, tmp_path, load, kind, split, shape):
    monkeypatch.setattr(f"torchvision.datasets.{kind}", split)
    dataset = load(tmp_path)
    assert dataset.name == kind.lower()
    assert dataset.input_shape == shape
    assert dataset.class_names == ("cat", "dog")
    # Pixels 1 and 0.2, minus their mean image of 0.6.
    assert dataset.inputs[0].unique().tolist() == [pytest.approx(0.4)]
    assert dataset.test_inputs[1].unique().tolist() == [pytest.approx(-0.4)]


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """CIFAR-10's pickled batches, four images each, as if they were the published ones."""
    from torchvision.datasets import CIFAR10

    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()
    generator = np.random.default_rng(0)

    def write(name: str, content: dict) -> str:
        (folder / name).write_bytes(pickle.dumps(content))
        return md5((folder / name).read_bytes())

    def batch(name: str) -> list[str]:
        pixels = generator.integers(0, 256, (4, 3072), dtype=np.uint8)
        return [name, write(name, {"data": pixels, "labels": [0, 1, 2, 9]})]

    train = [batch(f"data_batch_{number}") for number in range(1, 6)]
    names = {"label_names": [f"thing {k}" for k in range(10)]}
    meta = CIFAR10.meta | {"md5": write("batches.meta", names)}
    monkeypatch.setattr(CIFAR10, "train_list", train)
    monkeypatch.setattr(CIFAR10, "test_list", [batch("test_batch")])
    monkeypatch.setattr(CIFAR10, "meta", meta)
    return folder


def test_cifar_reads_its_batches_and_refuses_a_damaged_one(cifar):
    dataset = data.cifar10(cifar.parent)
    assert (dataset.inputs.shape, len(dataset.test_labels)) == ((20, 3, 32, 32), 4)
    assert dataset.labels[:4].tolist() == [0, 1, 2, 9]
    assert dataset.class_names[9] == "thing 9"
    path = cifar / "data_batch_3"
    whole = path.read_bytes()
    for damaged in (whole[:-100], whole[:3000] + b"!" + whole[3001:], b""):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="data_batch_3 is damaged or altered"):
            data.cifar10(cifar.parent)


def test_mnist_reads_its_files_and_refuses_a_damaged_one(tmp_path, monkeypatch):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    monkeypatch.setitem(data.PUBLISHED, "MNIST", write_splits(raw))
    for packed in list(raw.glob("*.gz")):  # torchvision keeps them unpacked
        (raw / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    dataset = data.mnist(tmp_path)
    assert (dataset.inputs.shape, len(dataset.test_labels)) == ((40, 1, 28, 28), 20)
    path = raw / "train-images-idx3-ubyte"
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:-1] + b"!", b""):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="train-images-idx3-ubyte is damaged or altered"):
            data.mnist(tmp_path)


@pytest.fixture
def pictures(tmp_path):
    """Two classes of small pictures of several shapes, kinds and formats."""
    from PIL import Image

    root = tmp_path / "pets"
    for split, count in (("train", 3), ("test", 2)):
        for number, name in enumerate(("dog", "cat")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                Image.new("RGB", (10 + index, 7), (100 * number, 50, 5)).save(
                    folder / f"{index}.{'png' if index else 'jpg'}"
                )
    Image.new("L", (9, 9), 200).save(root / "train" / "cat" / "grey.png")
    (root / "train" / "cat" / "notes.txt").write_text("not an image")
    return root


def test_a_folder_of_images(pictures):
    dataset = data.image_folder(pictures, size=8)
    assert dataset.name == "pets"
    assert dataset.class_names == ("cat", "dog")
    assert (dataset.inputs.shape, dataset.test_inputs.shape) == ((7, 3, 8, 8), (4, 3, 8, 8))
    assert dataset.labels.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert dataset.inputs.mean(0).abs().max() < 1e-6
    grey = dataset.inputs[3] - dataset.inputs[1]  # 200 in all colours, beside (100, 50, 5)
    assert grey[:, 0, 0].tolist() == pytest.approx([100 / 255, 150 / 255, 195 / 255])
    assert data.image_folder(pictures).input_shape == (3, 32, 32)
    with pytest.raises(ValueError, match="size is 0"):
        data.image_folder(pictures, size=0)


def test_folders_of_images_that_will_not_do_are_refused(pictures, monkeypatch):
    cat, dog = pictures / "train" / "cat", pictures / "train" / "dog"
    path = dog / "1.png"
    whole = path.read_bytes()
    for damaged in (whole[:40], b"hello", b""):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"1\.png cannot be read as an image"):
            data.image_folder(pictures)
    path.write_bytes(whole)
    (pictures / "test" / "dog").rename(pictures / "test" / "wolf")
    with pytest.raises(ValueError, match="of train are cat, dog, those of test cat, wolf"):
        data.image_folder(pictures)
    for file in dog.iterdir():
        file.unlink()
    with pytest.raises(ValueError, match=r"train: Found no valid file for the classes dog"):
        data.image_folder(pictures)
    dog.rmdir()
    with pytest.raises(ValueError, match="has one class, cat"):
        data.image_folder(pictures)
    shutil.rmtree(cat)
    with pytest.raises(ValueError, match="train: there is no folder of a class"):
        data.image_folder(pictures)
    (pictures / "train").rmdir()
    with pytest.raises(FileNotFoundError, match="train is missing; expected train/ and test/"):
        data.image_folder(pictures)
    (pictures / "train").mkdir()
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(FileNotFoundError, match="pip install torchvision"):
        data.image_folder(pictures)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="dataset-fashion-mnist is not installed")
def test_the_whole_of_fashion_mnist():
    dataset = fashion_mnist()
    assert (len(dataset.labels), len(dataset.test_labels)) == (60000, 10000)
    assert dataset.labels.bincount().tolist() == [6000] * 10
    assert math.isclose(dataset.inputs.std().item(), 0.3, abs_tol=0.1)


# --- text -----------------------------------------------------------------------------------------


def test_the_grammar_is_a_deterministic_automaton_with_shares_that_sum_to_one():
    language = grammar()
    assert torch.allclose(language.shares.sum(1), torch.ones(19, dtype=torch.float64))
    assert torch.equal(language.following >= 0, language.shares > 0)
    assert len(set(language.words)) == 40


def test_what_is_drawn_from_the_grammar_has_its_shares_and_states():
    language = grammar()
    words, states = language.draw(400, 120, seed=1)
    assert (words[:, 0] == language.words.index(".")).all()
    assert (states[:, 0] == 0).all()
    following = language.following[states[:, :-1], words[:, 1:]]
    assert torch.equal(following, states[:, 1:])
    late = states[:, 60:].flatten().bincount(minlength=19) / (400 * 60)
    assert (late - language.joint.sum(1)).abs().max() < 0.01
    again, _ = language.draw(400, 120, seed=1)
    assert torch.equal(again, words)


def test_visits_of_the_grammar_are_stationary_and_give_its_entropy():
    language = grammar()
    visits = language.joint.sum(1)
    moved = torch.zeros(19, dtype=torch.float64)
    for state in range(19):
        for word in range(40):
            if language.shares[state, word] > 0:
                target = language.following[state, word]
                moved[target] += visits[state] * language.shares[state, word]
    assert torch.allclose(moved, visits)
    each = torch.distributions.Categorical(language.shares).entropy()
    assert language.entropy == pytest.approx(float(visits @ each))


def test_a_verb_agrees_with_its_subject():
    language = grammar()
    words, _ = language.draw(50, 60, seed=2)
    for text in words.tolist():
        read = [language.words[word] for word in text]
        for noun, verb in itertools.pairwise(read):
            if verb in ("sees", "hears", "likes", "finds"):
                assert noun in ("dog", "cat", "child", "bird")
            if noun == "some":
                assert verb not in ("dog", "stone")


def test_the_documentation_of_python_is_read_word_by_word_in_order():
    text = python_docs(vocabulary=50)
    assert text.num_classes == 50
    assert text.class_names[-1] == "<other>"
    assert torch.equal(text.inputs[1:, 0].long(), text.labels[:-1])
    counts = text.labels.bincount(minlength=50)
    assert (counts[:-2] >= counts[1:-1] - 1).all()  # the first word of all is no label
    assert len(text.test_labels) > 1000
    for name in text.class_names[:-1]:
        assert name.isalpha() or len(name) == 1


def test_a_vocabulary_that_is_no_vocabulary_is_refused():
    for size in (1, 10**6):
        with pytest.raises(ValueError, match=f"vocabulary is {size}; expected 2 to"):
            python_docs(vocabulary=size)
