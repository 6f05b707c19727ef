"""Data sets as in-memory tensors: Gaussian mixtures, digits, (Fashion-)MNIST, CIFAR, your images,
and text: a grammar whose probabilities are known, and the documentation that comes with Python.

Every function returns one frozen `Dataset`. Images are `(N, channels, height, width)` floats, the
pixels divided by their largest possible value and the mean training image subtracted.
"""

import gzip
import hashlib
import re
import struct
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ncourse.claims import DataCard
from ncourse.metrics.capture import split_batch
from ncourse.metrics.checks import as_indices
from ncourse.metrics.inputs import as_numbers

__all__ = [
    "Dataset",
    "Grammar",
    "cifar10",
    "cifar100",
    "digits",
    "fashion_mnist",
    "gaussian_mixture",
    "grammar",
    "image_folder",
    "in_memory",
    "mnist",
    "python_docs",
]

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package `dataset-fashion-mnist` puts the files."""

PUBLISHED = {
    "MNIST": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "FashionMNIST": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}
"""MD5 of the published files' contents, unpacked: packages and mirrors compress them differently,
and torchvision checks only the compressed ones when it fetches them."""


@dataclass(frozen=True, repr=False)
class Dataset:
    """A labelled data set in memory, split into training and test samples.

    Attributes:
        name: what it is, e.g. "digits".
        inputs: training samples, `(N, ...)` floats.
        labels: training labels, `(N,)` integers in 0..K-1.
        test_inputs: test samples, `(M, ...)`.
        test_labels: test labels, `(M,)`.
        class_names: K names, in label order.

    Raises:
        TypeError: if inputs are not floating point or labels not int64. (Smaller integers are not
            taken: torch reads uint8 as a mask where it indexes.)
        ValueError: if sizes do not match, there is no class, a label is outside 0..K-1, or a sample
            has NaN or infinity.
    """

    name: str
    inputs: Float[Tensor, "samples ..."]
    labels: Int[Tensor, " samples"]
    test_inputs: Float[Tensor, "tests ..."]
    test_labels: Int[Tensor, " tests"]
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        for split, inputs, labels in (
            ("training", self.inputs, self.labels),
            ("test", self.test_inputs, self.test_labels),
        ):
            if not inputs.is_floating_point() or labels.dtype != torch.long:
                raise TypeError(
                    f"{self.name}: {split} samples are {inputs.dtype}, labels {labels.dtype}; "
                    "expected floating point and torch.int64 — .float() and .long()?"
                )
            if inputs.ndim < 2 or labels.ndim != 1 or not self.class_names:
                raise ValueError(
                    f"{self.name}: {split} samples are {tuple(inputs.shape)}, labels "
                    f"{tuple(labels.shape)}, with {len(self.class_names)} class names; expected "
                    "(samples, ...), (samples,) and at least 1"
                )
            if len(inputs) != len(labels):
                raise ValueError(
                    f"{self.name}: {len(inputs)} {split} samples but {len(labels)} labels"
                )
            if inputs.shape[1:] != self.inputs.shape[1:]:
                raise ValueError(
                    f"{self.name}: {split} samples are {tuple(inputs.shape[1:])}, "
                    f"training samples {tuple(self.inputs.shape[1:])}"
                )
            if not torch.isfinite(inputs.sum()):  # a large sum may overflow where no number does
                bad = (~torch.isfinite(inputs)).flatten(1).any(1).nonzero().flatten().tolist()
                if bad:
                    raise ValueError(
                        f"{self.name}: NaN or infinity in {len(bad)} of {len(inputs)} {split} "
                        f"samples, first in sample {bad[0]}"
                    )
            if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < self.num_classes:
                raise ValueError(
                    f"{self.name}: {split} labels run from {int(labels.min())} to "
                    f"{int(labels.max())}; {self.num_classes} class names allow 0 to "
                    f"{self.num_classes - 1}"
                )

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.input_shape))
        return (
            f"Dataset({self.name!r}: {len(self.labels)} training and {len(self.test_labels)} test "
            f"samples of {shape}, {self.num_classes} classes)"
        )

    @property
    def num_classes(self) -> int:
        """K, the number of classes."""
        return len(self.class_names)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.inputs.shape[1:])

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of all samples and labels, in order."""
        digest = hashlib.sha256()
        for tensor in (self.inputs, self.labels, self.test_inputs, self.test_labels):
            digest.update(tensor.detach().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    @property
    def card(self) -> DataCard:
        """Name, sizes and checksum: what an `Outcome` says it ran on."""
        return DataCard(
            self.name, len(self.labels), len(self.test_labels), self.num_classes, self.checksum
        )

    def with_random_labels(self, *, seed: int) -> "Dataset":
        """The same samples with training labels drawn uniformly at random; test labels stay."""
        generator = torch.Generator().manual_seed(seed)
        labels = torch.randint(0, self.num_classes, self.labels.shape, generator=generator)
        return replace(self, name=f"{self.name}, random labels", labels=labels)

    def with_label_noise(self, share: float, *, seed: int) -> "Dataset":
        """The same samples, a share of the training labels replaced by another class's each.

        Raises:
            ValueError: if the share is not between 0 and 1.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"share is {share}; expected a number from 0 to 1")
        generator = torch.Generator().manual_seed(seed)
        size = self.labels.shape
        chosen = torch.randperm(len(self.labels), generator=generator)
        chosen = chosen[: round(share * len(chosen))]
        shift = torch.randint(1, self.num_classes, size, generator=generator)
        labels = self.labels.clone()
        labels[chosen] = (labels[chosen] + shift[chosen]) % self.num_classes
        return replace(self, name=f"{self.name}, {share:.0%} label noise", labels=labels)

    def only(self, classes: Sequence[int]) -> "Dataset":
        """The samples of some classes, relabelled 0, 1, ... in the order given.

        Raises:
            ValueError: for a class that is not there, or that is named twice.
        """
        if len(set(classes)) != len(classes) or not set(classes) <= set(range(self.num_classes)):
            raise ValueError(
                f"classes is {list(classes)}; expected different numbers from 0 to "
                f"{self.num_classes - 1}"
            )
        new = torch.full((self.num_classes,), -1)
        new[list(classes)] = torch.arange(len(classes))
        train, test = new[self.labels] >= 0, new[self.test_labels] >= 0
        return replace(
            self,
            name=f"{self.name} {', '.join(self.class_names[k] for k in classes)}",
            inputs=self.inputs[train],
            labels=new[self.labels[train]],
            test_inputs=self.test_inputs[test],
            test_labels=new[self.test_labels[test]],
            class_names=tuple(self.class_names[k] for k in classes),
        )

    def take(self, per_class: int, *, seed: int = 0) -> "Dataset":
        """At most `per_class` random training samples of each class, in random order."""
        if per_class < 1:
            raise ValueError(f"per_class is {per_class}; expected at least 1")
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.labels), generator=generator)
        rank_in_class = torch.nn.functional.one_hot(self.labels[order], self.num_classes).cumsum(0)
        rank = rank_in_class.gather(1, self.labels[order][:, None]).squeeze(1)
        chosen = order[rank <= per_class]
        name = f"{self.name}, {per_class} per class"
        return replace(self, name=name, inputs=self.inputs[chosen], labels=self.labels[chosen])

    def imbalanced(self, ratio: int, *, seed: int) -> "Dataset":
        """The first half of the classes whole, the others cut to 1/ratio of it (at least 1 sample).

        Every majority class gets as many training samples as the smallest class has; test samples
        stay.

        Raises:
            ValueError: if there are fewer than 4 classes (a cosine needs two on either side), or
                ratio is below 1.
        """
        if self.num_classes < 4 or ratio < 1:
            raise ValueError(
                f"got {self.num_classes} classes and ratio {ratio}; expected at least 4 and 1"
            )
        largest = int(self.labels.bincount().min())
        equal = self.take(largest, seed=seed)
        half, cut = self.num_classes // 2, max(1, round(largest / ratio))
        rows = torch.cat(
            [
                (equal.labels == k).nonzero().squeeze(1)[: largest if k < half else cut]
                for k in range(self.num_classes)
            ]
        )
        name = f"{self.name}, imbalance {ratio}"
        return replace(equal, name=name, inputs=equal.inputs[rows], labels=equal.labels[rows])


def in_memory(batches: Iterable[Any], *, name: str = "batches") -> Dataset:
    """Batches of (inputs, labels), such as a `DataLoader` of training samples, as a data set.

    They are read once, so what a loader draws anew each time (crops, flips) is drawn once. There
    are as many classes as the largest label says, and no test samples. Inputs and labels are
    tensors or what NumPy can make one of; what a batch has besides is left out.

    Raises:
        TypeError: for inputs that are not floating point, or labels that are no integers.
        ValueError: if there are no samples, or batches that do not fit together.
    """
    parts: list[tuple[Tensor, Tensor]] = []
    for batch in batches:
        given, labels = split_batch(batch)
        if isinstance(given, Mapping):
            raise ValueError(
                f"a batch is a dictionary with inputs {', '.join(map(str, given))}; a data set has "
                "one tensor of them: give (inputs, labels)"
            )
        inputs, indices = as_numbers(given, "inputs"), as_indices(labels)
        if indices.ndim == 0:
            raise ValueError("a batch has one label; give batches: DataLoader(dataset, batch_size)")
        if not inputs.is_floating_point():
            raise TypeError(f"inputs is {inputs.dtype}; expected floating point — inputs.float()?")
        if indices.shape != inputs.shape[:1]:
            raise ValueError(
                f"a batch has labels {tuple(indices.shape)} and inputs {tuple(inputs.shape)}; "
                "expected one label a sample"
            )
        if parts and inputs.shape[1:] != parts[0][0].shape[1:]:
            raise ValueError(
                f"a batch has inputs {tuple(inputs.shape)}, the first one "
                f"{tuple(parts[0][0].shape)}; expected samples of one shape"
            )
        parts.append((inputs, indices))
    if not sum(indices.numel() for _, indices in parts):
        raise ValueError("the loader has no batches with samples")
    inputs, indices = (torch.cat(column) for column in zip(*parts, strict=True))
    names = tuple(f"class {k}" for k in range(int(indices.max()) + 1))
    return Dataset(name, inputs, indices, inputs[:0], indices[:0], names)


def gaussian_mixture(
    num_classes: int,
    dim: int,
    *,
    train_per_class: int = 100,
    test_per_class: int = 100,
    separation: float = 1.0,
    noise: float = 1.0,
    means: Float[Tensor, "classes dim"] | None = None,
    seed: int = 0,
) -> Dataset:
    """One Gaussian cloud per class, all of the same size and covariance noise^2 I.

    Args:
        num_classes: K >= 2.
        dim: d >= 1.
        train_per_class: training samples of each class, at least 1.
        test_per_class: test samples of each class, 0 or more.
        separation: standard deviation of each coordinate of the class means.
        noise: standard deviation of each coordinate around its class mean.
        means: `(K, d)` class means; drawn from N(0, separation^2 I) if None.
        seed: of means and samples.

    Raises:
        ValueError: if a size is too small or `means` has another shape.
    """
    if num_classes < 2 or dim < 1 or train_per_class < 1 or test_per_class < 0:
        raise ValueError(
            f"got num_classes={num_classes}, dim={dim}, train_per_class={train_per_class}, "
            f"test_per_class={test_per_class}; need at least 2, 1, 1, 0"
        )
    generator = torch.Generator().manual_seed(seed)
    if means is None:
        means = separation * torch.randn(num_classes, dim, generator=generator)
    if means.shape != (num_classes, dim):
        raise ValueError(f"means is {tuple(means.shape)}; expected {(num_classes, dim)}")

    def draw(per_class: int) -> tuple[Tensor, Tensor]:
        labels = torch.arange(num_classes).repeat_interleave(per_class)
        inputs = means[labels] + noise * torch.randn(
            len(labels), dim, generator=generator, dtype=means.dtype
        )
        return inputs, labels

    train, test = draw(train_per_class), draw(test_per_class)
    names = tuple(f"class {k}" for k in range(num_classes))
    return Dataset("gaussian mixture", *train, *test, names)


def digits(*, num_train: int = 1400) -> Dataset:
    """scikit-learn's digits: 1,797 images of 8x8 pixels in 10 classes, shuffled and split.

    Args:
        num_train: training samples, 1 to 1796; the rest is for testing.

    Source: Alpaydin and Kaynak 1998 (UCI, "Optical recognition of handwritten digits").
    """
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    if not 1 <= num_train < len(labels):
        raise ValueError(f"num_train is {num_train}; digits has {len(labels)} samples in all")
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    images = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8)[order] / 16
    targets = torch.tensor(labels, dtype=torch.int64)[order]
    return _images(
        "digits",
        (images[:num_train], targets[:num_train]),
        (images[num_train:], targets[num_train:]),
        tuple(str(k) for k in range(10)),
    )


def fashion_mnist(root: str | Path | None = None) -> Dataset:
    """Fashion-MNIST: 60,000 training and 10,000 test images of 28x28 pixels in 10 classes.

    Args:
        root: folder with the four `*-ubyte.gz` files. If None: the folder of Debian's package
            `dataset-fashion-mnist` if it is installed, else torchvision downloads them into
            `~/.cache/ncourse`.

    Raises:
        FileNotFoundError: if they are not there and cannot be downloaded; says how to get them.
        ValueError: if a file is damaged or not the published one, naming it.

    Source: Xiao, Rasul, Vollgraf 2017 (arXiv 1708.07747).
    """
    if root is None and not DEBIAN_FASHION_MNIST.is_dir():
        return _torchvision("FashionMNIST", None, hint="apt-get install dataset-fashion-mnist; or ")
    folder = DEBIAN_FASHION_MNIST if root is None else Path(root)

    def read(split: str) -> tuple[Tensor, Tensor]:
        images = _read_idx(folder / f"{split}-images-idx3-ubyte.gz", "FashionMNIST", num_axes=3)
        labels = _read_idx(folder / f"{split}-labels-idx1-ubyte.gz", "FashionMNIST", num_axes=1)
        return torch.from_numpy(images).float()[:, None] / 255, torch.from_numpy(labels).long()

    clothes = "T-shirt,trouser,pullover,dress,coat,sandal,shirt,sneaker,bag,ankle boot"
    return _images("fashion-mnist", read("train"), read("t10k"), tuple(clothes.split(",")))


def mnist(root: str | Path | None = None) -> Dataset:
    """MNIST through torchvision: 60,000 training and 10,000 test images of 28x28 pixels.

    Args:
        root: torchvision's folder; `~/.cache/ncourse` if None. Downloaded into it if missing.

    Raises:
        FileNotFoundError: if it is not there and cannot be downloaded; says how to get it.
        ValueError: if a file is damaged or not the published one, naming it.

    Source: LeCun, Cortes, Burges 1998.
    """
    return _torchvision("MNIST", root)


def cifar10(root: str | Path | None = None) -> Dataset:
    """CIFAR-10 through torchvision: 50,000 and 10,000 colour images of 32x32 pixels.

    Args:
        root: as in `mnist`.

    Raises:
        FileNotFoundError, ValueError: as in `mnist`.

    Source: Krizhevsky 2009.
    """
    return _torchvision("CIFAR10", root)


def cifar100(root: str | Path | None = None) -> Dataset:
    """CIFAR-100 through torchvision: 50,000 and 10,000 colour images in 100 classes.

    Args:
        root: as in `mnist`.

    Raises:
        FileNotFoundError, ValueError: as in `mnist`.

    Source: Krizhevsky 2009.
    """
    return _torchvision("CIFAR100", root)


def image_folder(root: str | Path, *, size: int = 32) -> Dataset:
    """Your own images: `train/` and `test/`, in each a folder of images for every class.

    All are kept in memory, in three colours and resized to one size (torchvision's `ImageFolder`
    finds them; classes are in the order of their folders' names). What is hidden, with a dot in
    front of its name, is passed over.

    Args:
        root: the folder that holds `train` and `test`; its name is the data set's.
        size: height and width in pixels, at least 1; other shapes are stretched.

    Raises:
        FileNotFoundError: if `train` or `test` is missing, or torchvision is.
        ValueError: if there are no images, a class without any, fewer than two classes, other
            classes in `test` than in `train`, or an image that cannot be read, naming it.
    """
    root = Path(root)
    if size < 1:
        raise ValueError(f"size is {size}; expected at least 1 pixel")
    for split in ("train", "test"):
        if not (root / split).is_dir():
            raise FileNotFoundError(
                f"{root / split} is missing; expected train/ and test/ in {root}, and in each a "
                "folder of images for every class"
            )
    train, names = _split_folder(root / "train", size)
    test, test_names = _split_folder(root / "test", size)
    if names != test_names:
        raise ValueError(
            f"{root}: the classes of train are {', '.join(names)}, those of test "
            f"{', '.join(test_names)}; expected the same"
        )
    return _images(root.resolve().name, train, test, names)


def _split_folder(folder: Path, size: int) -> tuple[tuple[Tensor, Tensor], tuple[str, ...]]:
    """Images `(N, 3, size, size)` in 0..1, labels `(N,)`, and class names."""
    try:
        from torchvision.datasets import ImageFolder
        from torchvision.datasets.folder import IMG_EXTENSIONS
        from torchvision.transforms import functional
    except ImportError as error:
        raise FileNotFoundError(
            f"{folder} cannot be read without: pip install torchvision"
        ) from error

    class Visible(ImageFolder):  # type: ignore[misc]
        """Without hidden folders, such as those that Jupyter makes."""

        def find_classes(self, directory: str) -> tuple[list[str], dict[str, int]]:
            names = sorted(p.name for p in Path(directory).iterdir() if p.is_dir())
            names = [name for name in names if not name.startswith(".")]
            if not names:
                raise FileNotFoundError(f"there is no folder of a class in {directory}")
            return names, {name: index for index, name in enumerate(names)}

    def is_image(path: str) -> bool:
        parts = Path(path).relative_to(folder).parts
        hidden = any(part.startswith(".") for part in parts)
        return path.lower().endswith(IMG_EXTENSIONS) and not hidden

    try:
        found = Visible(str(folder), is_valid_file=is_image)
    except FileNotFoundError as error:  # no class, or a class without images
        raise ValueError(f"{folder}: {error}") from error
    if len(found.classes) < 2:
        raise ValueError(f"{folder} has one class, {found.classes[0]}; expected at least two")
    pixels = torch.empty(len(found.samples), 3, size, size, dtype=torch.uint8)
    for row, (path, _) in enumerate(found.samples):
        try:
            image = functional.resize(found.loader(path), [size, size])
        except Exception as error:  # whatever a decoder meets in a damaged file
            raise ValueError(f"{path} cannot be read as an image ({error})") from error
        pixels[row] = functional.pil_to_tensor(image)
    return (pixels.float() / 255, torch.tensor(found.targets)), tuple(found.classes)


def _images(
    name: str, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], names: tuple[str, ...]
) -> Dataset:
    mean_image = train[0].mean(0)
    return Dataset(name, train[0] - mean_image, train[1], test[0] - mean_image, test[1], names)


def _torchvision(kind: str, root: str | Path | None, *, hint: str = "") -> Dataset:
    """One of torchvision's image data sets, downloaded into `root` if it is not there yet."""
    folder = Path.home() / ".cache" / "ncourse" if root is None else Path(root)
    try:
        from torchvision import datasets

        _check_published(kind, folder)  # before anything in them is unpickled or trained on
        splits = [
            getattr(datasets, kind)(str(folder), train=train, download=True)
            for train in (True, False)
        ]
    except (ImportError, OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"{kind} is not in {folder} and could not be downloaded ({error}). Ways to get it: "
            f"{hint}pip install torchvision and call this again with a network connection; or "
            "copy torchvision's folder from another machine and name it as root"
        ) from error
    _check_published(kind, folder)

    def tensors(split: Any) -> tuple[Tensor, Tensor]:
        pixels = torch.as_tensor(split.data).float() / 255
        images = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
        return images, torch.as_tensor(split.targets).long()

    names = tuple(str(name) for name in splits[0].classes)
    return _images(kind.lower(), tensors(splits[0]), tensors(splits[1]), names)


def _check_published(kind: str, folder: Path) -> None:
    """Raise if one of torchvision's unpacked files is there and is not the published one."""
    if kind in PUBLISHED:
        folder, sums = folder / kind / "raw", PUBLISHED[kind]
    else:
        from torchvision import datasets

        cifar = getattr(datasets, kind)
        folder, sums = folder / cifar.base_folder, dict(cifar.train_list + cifar.test_list)
        sums[cifar.meta["filename"]] = cifar.meta["md5"]
    for name, expected in sums.items():
        if (folder / name).is_file():
            _check_md5(folder / name, (folder / name).read_bytes(), expected)


def _check_md5(path: Path, content: bytes, expected: str) -> None:
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != expected:
        raise ValueError(
            f"{path} is damaged or altered: its content's MD5 is {found}, that of the published "
            f"file {expected}; delete it and fetch it again"
        )


def _read_idx(path: Path, kind: str, *, num_axes: int) -> np.ndarray:
    """Read one gzipped IDX file of unsigned bytes: magic number, sizes, then the values."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; expected the four *-ubyte.gz files beside it")
    try:
        content = gzip.decompress(path.read_bytes())
        magic, *shape = struct.unpack_from(f">{1 + num_axes}I", content)
    except (OSError, EOFError, struct.error, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}); fetch it again") from error
    values = np.frombuffer(content, dtype=np.uint8, offset=4 * (1 + num_axes))
    if magic != 0x0800 + num_axes or len(values) != np.prod(shape):
        raise ValueError(
            f"{path} is damaged: it announces {shape} values and holds {len(values)}; "
            "fetch it again"
        )
    _check_md5(path, content, PUBLISHED[kind][path.name.removesuffix(".gz")])
    return values.reshape(shape).copy()


@dataclass(frozen=True, eq=False)
class Grammar:
    """A language made by a finite automaton: what comes next depends on its state alone, exactly.

    A word takes a state to exactly one other, so the words so far, from the start, say the state.

    Attributes:
        words: K of them.
        states: S of them; the first is that before a sentence.
        shares: `(S, K)`, the probability of each next word in each state.
        following: `(S, K)`, the state after it, -1 where it cannot come.
    """

    words: tuple[str, ...]
    states: tuple[str, ...]
    shares: Float[Tensor, "states words"]
    following: Int[Tensor, "states words"]

    @cached_property
    def joint(self) -> Float[Tensor, "states words"]:
        """How often a state and a next word come together, in the long run; sums to 1."""
        size = len(self.states)
        moves = torch.zeros(size, size, dtype=torch.float64)
        possible = self.shares > 0
        rows = possible.nonzero()[:, 0]
        moves.index_put_((rows, self.following[possible]), self.shares[possible], accumulate=True)
        # Visits v solve v = v M with sum 1.
        system = torch.cat([moves.T - torch.eye(size), torch.ones(1, size)]).double()
        target = torch.zeros(size + 1, dtype=torch.float64)
        target[-1] = 1
        visits = torch.linalg.lstsq(system, target[:, None], driver="gelsd").solution
        return visits * self.shares

    @property
    def entropy(self) -> float:
        """The least mean cross-entropy of any prediction of the next word, in nats."""
        return -float(torch.special.xlogy(self.joint, self.shares).sum())

    def draw(
        self, sequences: int, length: int, *, seed: int
    ) -> tuple[Int[Tensor, "sequences length"], Int[Tensor, "sequences length"]]:
        """Texts, and the state after each word; each begins with a full stop, so before a sentence.

        Args:
            sequences: how many texts.
            length: words in each.
            seed: of what is drawn.
        """
        generator = torch.Generator().manual_seed(seed)
        word = torch.full((sequences,), self.words.index("."))
        state = torch.zeros(sequences, dtype=torch.long)
        texts, states = [word], [state]
        for _ in range(length - 1):
            word = self.shares[state].multinomial(1, generator=generator).squeeze(1)
            state = self.following[state, word]
            texts.append(word)
            states.append(state)
        return torch.stack(texts, 1), torch.stack(states, 1)


def grammar() -> Grammar:
    """Sentences of 40 words: subject, verb and perhaps an object, in 19 states.

    Nouns and verbs are singular or plural, and of living things or not; a verb agrees with its
    subject in both, and "a" asks for a singular, "some" for a plural. Within a kind the words are
    as frequent as 1, 1/2, 1/3, 1/4.

    >>> language = grammar()
    >>> len(language.words), len(language.states), round(language.entropy, 3)
    (40, 19, 1.547)
    """
    nouns = {
        ("living", "one"): ("dog", "cat", "child", "bird"),
        ("living", "many"): ("dogs", "cats", "children", "birds"),
        ("thing", "one"): ("stone", "cup", "lamp", "boat"),
        ("thing", "many"): ("stones", "cups", "lamps", "boats"),
    }
    verbs = {
        ("living", "one"): ("sees", "hears", "likes", "finds"),
        ("living", "many"): ("see", "hear", "like", "find"),
        ("thing", "one"): ("hits", "covers", "breaks", "holds"),
        ("thing", "many"): ("hit", "cover", "break", "hold"),
    }
    adjectives = ("old", "small", "red", "wet")
    articles = {"the": (0.5, ("one", "many")), "a": (0.3, ("one",)), "some": (0.2, ("many",))}
    rules: dict[str, dict[str, tuple[float, str]]] = {
        "start": {word: (share, f"subject {word}") for word, (share, _) in articles.items()}
    }

    def choice(words: Sequence[str], share: float, state: str) -> dict[str, tuple[float, str]]:
        total = sum(1 / rank for rank in range(1, len(words) + 1))
        return {word: (share / rank / total, state) for rank, word in enumerate(words, 1)}

    for role in ("subject", "object"):
        for article, (_, numbers) in articles.items():
            kinds = [kind for kind in nouns if kind[1] in numbers]

            def noun(left: float, kinds=kinds, role=role) -> dict[str, tuple[float, str]]:
                after = "verb {} {}" if role == "subject" else "end"
                found: dict[str, tuple[float, str]] = {}
                for kind in kinds:
                    found |= choice(nouns[kind], left / len(kinds), after.format(*kind))
                return found

            described = f"{role} {article} adjective"
            rules[f"{role} {article}"] = choice(adjectives, 0.3, described) | noun(0.7)
            rules[described] = noun(1.0)
    for kind, same in verbs.items():
        rules["verb {} {}".format(*kind)] = choice(same, 1.0, "after verb")
    rules["after verb"] = {".": (0.4, "start")} | {
        word: (0.6 * share, f"object {word}") for word, (share, _) in articles.items()
    }
    rules["end"] = {".": (1.0, "start")}
    states = tuple(rules)
    words = tuple(dict.fromkeys(word for rule in rules.values() for word in rule))
    shares = torch.zeros(len(states), len(words), dtype=torch.float64)
    following = torch.full((len(states), len(words)), -1)
    for row, rule in enumerate(rules.values()):
        for word, (share, state) in rule.items():
            shares[row, words.index(word)] = share
            following[row, words.index(word)] = states.index(state)
    return Grammar(words, states, shares, following)


OTHER = "<other>"
"""The word that stands for all rare ones."""


def python_docs(*, vocabulary: int = 300) -> Dataset:
    """English without a download: the help texts that come with Python, about 120,000 words.

    A sample is a place in the text, in order: its input `(1,)` is the number of a word, its label
    that of the next. Words are runs of letters, in lower case, or single other marks, a repeated
    mark once. Every tenth text is for testing. The texts differ from one Python to the next.

    Args:
        vocabulary: K, words that are told apart: the most frequent ones, and one that stands for
            all others, the last.

    Raises:
        ValueError: for fewer than 2, or more words than there are.
        ModuleNotFoundError: if this Python comes without them.
    """
    from pydoc_data.topics import topics

    def words(texts: Iterable[str]) -> list[str]:
        return [
            match[0] if match[0].isalpha() else match[0][0]
            for match in re.finditer(r"[a-z]+|([^\sa-z])\1*", "\n".join(texts).lower())
        ]

    ordered = [topics[name] for name in sorted(topics)]
    test = words(ordered[::10])
    train = words(text for place, text in enumerate(ordered) if place % 10)
    counts = Counter(train)
    if not 2 <= vocabulary <= len(counts) + 1:
        raise ValueError(f"vocabulary is {vocabulary}; expected 2 to {len(counts) + 1}")
    # Equally frequent ones in the order of the alphabet.
    ranked = sorted(counts, key=lambda word: (-counts[word], word))[: vocabulary - 1]
    numbers = {word: number for number, word in enumerate([*ranked, OTHER])}

    def pairs(text: Sequence[str]) -> tuple[Tensor, Tensor]:
        tokens = torch.tensor([numbers.get(word, vocabulary - 1) for word in text])
        return tokens[:-1, None].float(), tokens[1:]

    return Dataset("Python's documentation", *pairs(train), *pairs(test), (*ranked, OTHER))
