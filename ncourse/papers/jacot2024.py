"""Jacot, Súkeník, Wang, Mondelli 2024: weight decay balances linear layers, and balance collapses.

"Wide neural networks trained with weight decay provably exhibit neural collapse", ICLR 2025. A
network has L1 nonlinear layers, then L2 >= 2 linear ones, no biases, squared error, weight decay.
If it nearly interpolates, its linear layers are nearly balanced and its norms are bounded, then NC1
of the last layer's features is small; and gradient descent on a wide, pyramidal network gets there
in two phases: it fits, then, more slowly, it balances. A well conditioned head adds NC2 and NC3.

`nc1_bound`, `nc2_bound`, the exact law of imbalance, its consequence that critical points are
balanced, `rates` and the L2-th root are this course's own, with proofs in chapter 6.
`paper_nc1_bound` is the display of the paper's Theorem 3.1 reconstructed: its conditions and its
function Psi were read, the display itself was not.

Rows are samples. Layer l maps Z_(l-1), (N, d_(l-1)), to Z_l = sigma(Z_(l-1) W_l^T), with W_l
(d_l, d_(l-1)) as in `nn.Linear`, and without sigma in the last L2 layers, the *head*. Z_L are the
outputs, Z_(L-1) the features. Targets Y, (N, K), are one-hot, N/K samples of each class.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor
from torch.linalg import matrix_norm, svdvals
from torch.nn.functional import one_hot, softplus

from ncourse.claims import Claim
from ncourse.comparisons import above, at_least, at_most, below, between, equal, every, over, proved
from ncourse.data import Dataset, digits
from ncourse.metrics import measure
from ncourse.papers import Asked, declared
from ncourse.progress import progress_bar
from ncourse.tables import Table

__all__ = [
    "RUNS",
    "STEP_SIZE",
    "Network",
    "Snapshot",
    "activation",
    "balancedness",
    "claims",
    "conditioning",
    "constructed",
    "decayed",
    "descend",
    "duration",
    "experiment",
    "fitting_time",
    "forward",
    "gradients",
    "head_conditioning",
    "imbalance",
    "imbalance_after_step",
    "initial",
    "interpolation_error",
    "nc1_bound",
    "nc2_bound",
    "negativity",
    "paper_nc1_bound",
    "prepare",
    "rates",
    "sharpness",
    "start_condition",
    "starts",
    "train",
    "widths",
]

RUNS = {
    "λ = 8e-3": (2, 8e-3),
    "λ = 4e-3": (2, 4e-3),
    "λ = 2e-3": (2, 2e-3),
    "λ = 0": (2, 0.0),
    "L2 = 1": (1, 4e-3),
    "L2 = 1, λ = 0": (1, 0.0),
    "L2 = 3": (3, 4e-3),
    "L2 = 4": (4, 4e-3),
    "L2 = 5": (5, 4e-3),
}
"""Number of linear layers and weight decay of each run; where L2 is not named it is 2."""

STEP_SIZE = 0.1
DECAY = 5.0  # a run lasts until weight_decay * time reaches this
WIDTH = 64  # of all layers but the first; the first has 2 * WIDTH, or N if that is more
SAMPLES_PER_CLASS = 20
LEAST_SLOPE = 0.1  # gamma in Assumption 4.2
STEEP = 0.5  # gamma of the networks of `starts`, whose inequality a small gamma makes hard to meet
FEW = 4  # samples of each class there
WIDTHS = (64, 128, 256, 512, 1024)  # of the first layer, on 100 samples
DIVERGED = 1e6  # no weight of a run that converges comes near it

PAPER = "Jacot, Súkeník, Wang, Mondelli 2024"
COURSE = f"This course, proof in chapter 6, beside {PAPER}"
MEASURED = f"{PAPER} (trend); thresholds: this course, for digits"


# The network --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Network:
    """Weights W_1 .. W_L; the last `num_linear` layers have no activation, no layer has a bias.

    Attributes:
        weights: W_l is `weights[l - 1]`, `(d_l, d_(l-1))`.
        num_linear: L2, at least 1.
        least_slope: gamma, of its `activation`.
    """

    weights: tuple[Tensor, ...]
    num_linear: int
    least_slope: float = LEAST_SLOPE

    @property
    def head(self) -> tuple[Tensor, ...]:
        """The linear layers W_(L1+1) .. W_L; the last of them is the classifier."""
        return self.weights[-self.num_linear :]


def activation(values: Tensor, least_slope: float = LEAST_SLOPE) -> Tensor:
    """A smooth leaky ReLU, g z + (1 - g)(softplus(4z) - log 2)/4: slope in [g, 1], 0 at 0.

    With |sigma(z)| <= |z| and a Lipschitz slope it meets the paper's Assumption 4.2 for gamma = g;
    a ReLU does not.
    """
    bend = (softplus(4 * values) - math.log(2)) / 4
    return least_slope * values + (1 - least_slope) * bend


def _slope(values: Tensor, least_slope: float = LEAST_SLOPE) -> Tensor:
    return least_slope + (1 - least_slope) * torch.sigmoid(4 * values)


def initial(
    sizes: Sequence[int], *, num_linear: int, seed: int, least_slope: float = LEAST_SLOPE
) -> Network:
    """Gaussian weights of variance 1/fan-in, float64.

    Args:
        sizes: d_0 (inputs), d_1, ..., d_L = K.
        num_linear: L2, 1 to L.
        seed: of the weights.
        least_slope: gamma.

    Raises:
        ValueError: if there is no layer, or num_linear is not in 1..L.
    """
    if not 1 <= num_linear < len(sizes):
        raise ValueError(
            f"num_linear is {num_linear} with {len(sizes) - 1} layers in all; expected 1 to "
            "the number of layers"
        )
    generator = torch.Generator().manual_seed(seed)
    weights = tuple(
        torch.randn(after, before, generator=generator, dtype=torch.float64) / math.sqrt(before)
        for before, after in pairwise(sizes)
    )
    return Network(weights, num_linear, least_slope)


def constructed(sizes: Sequence[int], *, seed: int) -> Network:
    """A start that meets the inequality of Theorem 4.4 on a few samples: see `start_condition`.

    The paper's own recipe, a small second layer and large others: four layers, two of them linear,
    gamma = 0.5, W_1 eight times that of `initial`, W_2 = 0, W_3 and W_4 four times an orthonormal
    matrix.

    Args:
        sizes: d_0 to d_4.
        seed: of the weights.
    """
    first, second, *head = initial(sizes, num_linear=2, seed=seed, least_slope=STEEP).weights
    turned = []
    for weight in head:
        left, _, right = torch.linalg.svd(weight, full_matrices=False)
        turned.append(4 * left @ right)
    return Network((8 * first, 0 * second, *turned), 2, STEEP)


def forward(network: Network, inputs: Tensor) -> list[Tensor]:
    """Z_0 (the inputs) to Z_L (the outputs), each `(N, d_l)`."""
    return _forward(network, inputs)[0]


def _forward(network: Network, inputs: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """All layers' values, and the slopes of the activation in the nonlinear ones."""
    layers, slopes = [inputs], []
    nonlinear = len(network.weights) - network.num_linear
    for index, weight in enumerate(network.weights):
        values = layers[-1] @ weight.T
        if index < nonlinear:
            slopes.append(_slope(values, network.least_slope))
            values = activation(values, network.least_slope)
        layers.append(values)
    return layers, slopes


def gradients(network: Network, inputs: Tensor, targets: Tensor) -> list[Tensor]:
    """Gradients of ||Z_L - Y||_F^2 / (2N) in W_1 .. W_L, without weight decay.

    Args:
        network: L layers.
        inputs: `(N, d_0)`.
        targets: `(N, K)`.
    """
    layers, slopes = _forward(network, inputs)
    backward = (layers[-1] - targets) / len(targets)
    found = []
    for index in reversed(range(len(network.weights))):
        if index < len(slopes):
            backward = backward * slopes[index]
        found.append(backward.T @ layers[index])
        backward = backward @ network.weights[index]
    return found[::-1]


def descend(
    network: Network, inputs: Tensor, targets: Tensor, *, weight_decay: float, step_size: float
) -> Network:
    """One step of gradient descent on ||Z_L - Y||_F^2 / (2N) + weight_decay ||weights||^2 / 2."""
    slopes = gradients(network, inputs, targets)
    shrink = 1 - step_size * weight_decay
    weights = tuple(
        torch.add(shrink * weight, slope, alpha=-step_size)
        for weight, slope in zip(network.weights, slopes, strict=True)
    )
    return replace(network, weights=weights)


# What is measured ---------------------------------------------------------------------------------


def interpolation_error(outputs: Tensor, targets: Tensor) -> float:
    """epsilon_1 = ||Z_L - Y||_F, both `(N, K)`; 0 where the network fits exactly (Theorem 3.1)."""
    return (outputs - targets).norm().item()


def imbalance(lower: Tensor, upper: Tensor) -> Float[Tensor, "hidden hidden"]:
    """D = W_(l+1)^T W_(l+1) - W_l W_l^T of two layers in a row; zero if they are balanced.

    Args:
        lower: W_l, `(m, n)`.
        upper: W_(l+1), `(k, m)`.

    Raises:
        ValueError: if the layers do not fit onto each other.

    >>> imbalance(torch.tensor([[2.0], [0.0]]), torch.tensor([[2.0, 1.0]]))
    tensor([[0., 2.],
            [2., 1.]])
    """
    if lower.ndim != 2 or upper.ndim != 2 or upper.shape[1] != len(lower):
        raise ValueError(
            f"lower is {tuple(lower.shape)}, upper {tuple(upper.shape)}; expected (m, n) and "
            "(k, m), as in nn.Linear, the earlier layer first"
        )
    return upper.T @ upper - lower @ lower.T


def balancedness(lower: Tensor, upper: Tensor) -> float:
    """The imbalance as the paper plots it, relative to the smaller layer; 0 if balanced.

    ||D||_op / min(||W_(l+1)^T W_(l+1)||_op, ||W_l W_l^T||_op), arguments as in `imbalance`.
    """
    smaller = min(_norm(lower), _norm(upper)) ** 2
    return _norm(imbalance(lower, upper)) / smaller


def conditioning(matrix: Tensor) -> float:
    """kappa: largest singular value over smallest *non-zero* one, at least 1.

    Raises:
        ValueError: for a matrix of zeros.

    >>> conditioning(torch.diag(torch.tensor([3.0, 2.0, 0.0])))
    1.5
    """
    values = svdvals(matrix)
    kept = values[values > max(matrix.shape) * torch.finfo(values.dtype).eps * values[0]]
    if not len(kept):
        raise ValueError("matrix is zero; it has no non-zero singular value")
    return (kept[0] / kept[-1]).item()


def negativity(values: Tensor, sigma: Callable[[Tensor], Tensor] = torch.relu) -> float:
    """||Z - sigma(Z)||_op / ||Z||_op: how far an activation is from leaving values alone.

    Args:
        values: `(N, n)`.
        sigma: the activation.

    >>> negativity(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
    1.0
    """
    return _norm(values - sigma(values)) / _norm(values)


def head_conditioning(head: Sequence[Tensor]) -> float:
    """Conditioning of the product W_L ... W_(L1+1) of all linear layers."""
    product = head[0]
    for weight in head[1:]:
        product = weight @ product
    return conditioning(product)


def fitting_time(network: Network, inputs: Tensor, targets: Tensor) -> float:
    """How long the fit would take to fall to 1/e of its value at its present speed.

    loss / ||gradient||^2 without weight decay, because under gradient flow the loss falls at the
    speed ||gradient||^2; an inequality ||gradient||^2 >= 2 alpha loss with a fixed alpha, as in the
    paper's first phase, bounds it by 1/(2 alpha).
    """
    slopes = gradients(network, inputs, targets)
    loss = (forward(network, inputs)[-1] - targets).square().sum().item() / (2 * len(targets))
    return loss / sum(slope.square().sum().item() for slope in slopes)


def start_condition(network: Network, inputs: Tensor, targets: Tensor) -> tuple[float, float]:
    """Both sides of Assumption 4.3, which Theorem 4.4 asks of the start: left >= right.

    F pi min(F, m) and 8 gamma (2/gamma)^(L/2) sqrt(C_0): F the least singular value of Z_1 (0 where
    d_1 < N), m and pi the least and the product of those of W_3 .. W_L, C_0 the loss at the start,
    ||Z_L - Y||_F^2 / 2.
    """
    layers = forward(network, inputs)
    wide = _least(layers[1])
    least = [_least(weight) for weight in network.weights[2:]]
    slope, depth = network.least_slope, len(network.weights)
    error = interpolation_error(layers[-1], targets) / math.sqrt(2)
    return (
        wide * math.prod(least) * min(wide, *least),
        8 * slope * (2 / slope) ** (depth / 2) * error,
    )


def rates(network: Network, inputs: Tensor, targets: Tensor) -> dict[str, float]:
    """How fast the fit must fall, by three lower bounds on ||gradient||^2 / (2 loss), least first.

    Loss and gradient are without weight decay, so the loss falls as e^(-2 rate t) while a rate
    lasts.

    Returns:
        proved: (gamma F s)^2 / N from the gradient in W_2 alone, F = s_min(Z_1), s the least
        singular value of the head's product (chapter 6; two nonlinear layers); 0 where d_1 < N.
        kernel: the least eigenvalue of the neural tangent kernel over N, from all weights and the
        worst error.
        now: ||gradient||^2 / (2 loss) itself, 1/(2 `fitting_time`).
    """
    layers, slopes = _forward(network, inputs)
    samples, classes = targets.shape
    product = torch.linalg.multi_dot(network.head[::-1])
    floor = network.least_slope * _least(layers[1]) * _least(product)
    kernel = torch.zeros(samples, classes, samples, classes, dtype=inputs.dtype)
    backward = torch.eye(classes, dtype=inputs.dtype).expand(samples, classes, classes)
    for index in reversed(range(len(network.weights))):
        if index < len(slopes):
            backward = backward * slopes[index][:, None, :]
        alike = (layers[index] @ layers[index].T)[:, None, :, None]
        kernel += torch.einsum("ikd,jmd->ikjm", backward, backward) * alike
        backward = backward @ network.weights[index]
    flat = kernel.reshape(samples * classes, samples * classes)
    return {
        "proved": floor**2 / samples,
        "kernel": torch.linalg.eigvalsh(flat)[0].item() / samples,
        "now": 1 / (2 * fitting_time(network, inputs, targets)),
    }


# What is proved -----------------------------------------------------------------------------------


def sharpness(network: Network, inputs: Tensor, targets: Tensor, *, weight_decay: float) -> float:
    """Largest eigenvalue of the Hessian, in all weights, of the loss that `descend` descends.

    Gradient descent follows its flow only where the step size times this number is well below 2.
    Above 2 the steps overshoot; training often ends up hovering there, at the "edge of stability"
    (Cohen et al. 2021, arXiv:2103.00065).
    """
    weights = [weight.detach().clone().requires_grad_() for weight in network.weights]
    slopes = gradients(replace(network, weights=tuple(weights)), inputs, targets)
    flat = torch.cat([slope.flatten() for slope in slopes])

    def curved(vector: np.ndarray) -> np.ndarray:
        along = flat @ torch.from_numpy(vector.ravel())  # its gradient is the Hessian's product
        changes = torch.autograd.grad(along, weights, retain_graph=True)
        return torch.cat([change.flatten() for change in changes]).numpy()

    size = len(flat)
    start = np.random.default_rng(0).standard_normal(size)
    hessian = LinearOperator((size, size), matvec=curved, dtype=np.float64)
    (largest,) = eigsh(hessian, k=1, which="LA", v0=start, tol=1e-6, return_eigenvectors=False)
    return float(largest) + weight_decay


def decayed(start: Tensor, *, weight_decay: float, time: float) -> Tensor:
    """e^(-2 weight_decay time) D(0): the imbalance of two linear layers under gradient flow.

    Exact for any data and any loss of the outputs (this course, proof in chapter 6).
    """
    return math.exp(-2 * weight_decay * time) * start


def imbalance_after_step(
    before: Tensor,
    lower_gradient: Tensor,
    upper_gradient: Tensor,
    *,
    weight_decay: float,
    step_size: float,
) -> Tensor:
    """The imbalance after one step of gradient descent, exactly.

    (1 - eta lambda)^2 D + eta^2 (G_(l+1)^T G_(l+1) - G_l G_l^T) (this course, proof in chapter 6).

    Args:
        before: D, `(m, m)`.
        lower_gradient: G_l of the loss without weight decay, `(m, n)`.
        upper_gradient: G_(l+1), `(k, m)`.
        weight_decay: lambda.
        step_size: eta.
    """
    source = upper_gradient.T @ upper_gradient - lower_gradient @ lower_gradient.T
    return (1 - step_size * weight_decay) ** 2 * before + step_size**2 * source


def nc1_bound(
    inputs: Tensor, head: Sequence[Tensor], targets: Tensor, *, imbalance_norm: float | None = None
) -> float:
    """An upper bound on NC1 = tr S_W / tr S_B of the features Z_(L-1), from the last two layers.

    ||W_L||^2 Delta^2 / (sqrt(N(K-1)/K) - e1)^2, Delta^2 = (e1/s_K(W_L))^2 + e2 ||Z_(L-2)||_F^2,
    with e1 the interpolation error, e2 = ||W_L^T W_L - W_(L-1) W_(L-1)^T||_op and s_K the least
    singular value (this course, proof in chapter 6). inf where e1 >= sqrt(N(K-1)/K) or W_L has
    no K independent rows: there it says nothing.

    Args:
        inputs: of the linear head, Z_(L1), `(N, n)`.
        head: its two or more weights, the classifier `(K, m)` last.
        targets: `(N, K)`, one-hot, the same number of samples in each class.
        imbalance_norm: e2; measured if None. 0 drops the term, for a control.

    Raises:
        ValueError: if there are fewer than two linear layers, shapes do not fit, or targets are
            not one-hot and balanced.
    """
    layers = _head_layers(inputs, head, targets)
    error = interpolation_error(layers[-1], targets)
    if imbalance_norm is None:
        imbalance_norm = _norm(imbalance(head[-2], head[-1]))
    samples, classes = targets.shape
    room = math.sqrt(samples * (classes - 1) / classes) - error
    least = _least(head[-1])
    if room <= 0 or least == 0:
        return math.inf
    delta = (error / least) ** 2 + imbalance_norm * layers[-3].norm().item() ** 2
    return _norm(head[-1]) ** 2 * delta / room**2


def nc2_bound(inputs: Tensor, head: Sequence[Tensor], targets: Tensor) -> float:
    """An upper bound on NC2 = kappa of the *uncentred* class means, `(K, m)`, of Z_(L-1).

    s_1/(1-e) sqrt(((1+e)/s_K)^2 + delta^2), with e = e1 sqrt(K/N), delta^2 = e2 K/N ||Z_(L-2)||^2
    in operator norm, and s_1, s_K the largest and least singular value of W_L; it tends to
    kappa(W_L) as e1 and e2 go to 0 (this course, proof in chapter 6). inf where e >= 1 or s_K = 0.

    Arguments and errors as in `nc1_bound`.
    """
    layers = _head_layers(inputs, head, targets)
    share = math.sqrt(targets.shape[1] / len(targets))
    error = interpolation_error(layers[-1], targets) * share
    least = _least(head[-1])
    if error >= 1 or least == 0:
        return math.inf
    stray = _norm(imbalance(head[-2], head[-1])) * (share * _norm(layers[-3])) ** 2
    return _norm(head[-1]) / (1 - error) * math.sqrt(((1 + error) / least) ** 2 + stray)


def paper_nc1_bound(
    inputs: Tensor, head: Sequence[Tensor], targets: Tensor, *, imbalance_norm: float | None = None
) -> float:
    """The paper's bound on NC1 (Theorem 3.1), reconstructed; inf where its condition fails.

    (r^2/N) Psi^2 / (sqrt((K-1)/K) - 2 e1/sqrt(N))^2, Psi = r (e1/(s - e1) + sqrt(d_(L-1) e2)),
    s = sqrt(N/K), e2 the largest imbalance of two linear layers in a row, r the largest operator
    norm of Z_(L-2), Z_(L-1) and the linear weights. Condition: e1 <= min(s, sqrt((K-1)N/(4K))).
    Psi and the conditions are the paper's; the display around them is a reconstruction.

    Arguments and errors as in `nc1_bound`.
    """
    layers = _head_layers(inputs, head, targets)
    samples, classes = targets.shape
    error = interpolation_error(layers[-1], targets)
    if imbalance_norm is None:
        imbalance_norm = max(_norm(imbalance(*pair)) for pair in pairwise(head))
    scale = math.sqrt(samples / classes)
    room = math.sqrt((classes - 1) / classes) - 2 * error / math.sqrt(samples)
    if error >= scale or room <= 0:
        return math.inf
    radius = max(_norm(matrix) for matrix in (*layers[-3:-1], *head))
    psi = radius * (error / (scale - error) + math.sqrt(head[-1].shape[1] * imbalance_norm))
    return radius**2 / samples * psi**2 / room**2


def _head_layers(inputs: Tensor, head: Sequence[Tensor], targets: Tensor) -> list[Tensor]:
    """Inputs and outputs of the linear layers, after all checks."""
    if len(head) < 2:
        raise ValueError(f"head has {len(head)} linear layers; the bound needs at least 2")
    sizes = [tuple(each.shape) for each in (inputs, *head, targets)]
    fits = all(weight.ndim == 2 for weight in (inputs, *head, targets)) and (
        [inputs.shape[1], *(len(weight) for weight in head)]
        == [*(weight.shape[1] for weight in head), targets.shape[1]]
        and len(inputs) == len(targets)
    )
    if not fits:
        raise ValueError(
            f"inputs, weights and targets are {', '.join(map(str, sizes))}; expected (N, n), then "
            "(m, n), (K, m) as in nn.Linear, the classifier last, then (N, K)"
        )
    labels = targets.argmax(1)
    if not torch.equal(targets, one_hot(labels, targets.shape[1]).to(targets)):
        raise ValueError("targets are not one-hot; expected one 1 in each row and 0 elsewhere")
    counts = labels.bincount(minlength=targets.shape[1])
    if counts.min() != counts.max():
        raise ValueError(
            f"classes have {counts.tolist()} samples; the bound is for classes of equal size"
        )
    layers = [inputs]
    for weight in head:
        layers.append(layers[-1] @ weight.T)
    return layers


def _norm(matrix: Tensor) -> float:
    return matrix_norm(matrix, 2).item()


def _least(weight: Tensor) -> float:
    """s_K of a `(K, m)` weight; 0 if its rows are dependent."""
    if len(weight) > weight.shape[1]:
        return 0.0
    values = svdvals(weight)
    rounding = max(weight.shape) * torch.finfo(values.dtype).eps * values[0]
    return values[-1].item() if values[-1] > rounding else 0.0


# The experiment -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Snapshot:
    """A network on the way: its features at one time.

    Attributes:
        time: step size times number of steps.
        features: Z_(L-1), `(N, m)`.
    """

    time: float
    features: Float[Tensor, "samples hidden"]


def prepare(data: Dataset | None = None) -> Dataset:
    """Up to 20 training samples of each class, flat, centred, scaled to a mean norm of 3; float64.

    All classes get as many samples as the smallest has, in order of their labels.

    Args:
        data: any data set; the digits 0 to 4 if None.

    Raises:
        ValueError: if a class has no training sample.
    """
    if data is None:
        whole = digits()
        kept, tested = whole.labels < 5, whole.test_labels < 5
        data = Dataset(
            "digits 0 to 4",
            whole.inputs[kept],
            whole.labels[kept],
            whole.test_inputs[tested],
            whole.test_labels[tested],
            whole.class_names[:5],
        )
    least = int(data.labels.bincount(minlength=data.num_classes).min())
    if least == 0:
        raise ValueError(f"{data.name} has a class without training samples; every class needs one")
    few = data.take(min(SAMPLES_PER_CLASS, least))
    order = few.labels.argsort(stable=True)
    inputs = few.inputs[order].flatten(1).double()
    mean = inputs.mean(0)
    scale = 3 / (inputs - mean).norm(dim=1).mean()
    return replace(
        few,
        inputs=(inputs - mean) * scale,
        labels=few.labels[order],
        test_inputs=(few.test_inputs.flatten(1).double() - mean) * scale,
    )


def duration(weight_decay: float) -> float:
    """Time until weight_decay * time = 5; without weight decay as long as for 4e-3."""
    return DECAY / (weight_decay or 4e-3)


def train(
    dataset: Dataset,
    *,
    num_linear: int,
    weight_decay: float,
    seed: int,
    time: float | None = None,
    step_size: float = STEP_SIZE,
    keep: list[Snapshot] | None = None,
) -> tuple[Network, Table]:
    """Gradient descent on all samples from a random start, measured at 26 times.

    Layers 128 (or N, if more), 64, then num_linear - 1 times 64, then K; the first two have an
    activation. Time is step size times number of steps, as in gradient flow.

    Args:
        dataset: from `prepare`.
        num_linear: L2, at least 1.
        weight_decay: lambda, the coefficient of ||weights||^2 / 2.
        seed: of the initial weights.
        time: how long; `duration(weight_decay)` if None.
        step_size: eta.
        keep: a list that receives a `Snapshot` at each measurement.

    Returns:
        The network and a table. Columns: time; fit (||Z_L - Y||_F^2 / N); nc1 (tr S_W / tr S_B),
        nc2 (kappa of uncentred class means), nc3 (mean cosine of features and their classifier
        row), all of Z_(L-1), convention "jacot"; conditioning (of W_L), head_conditioning (of the
        product of the linear layers), negativity (of the last nonlinear layer's values under its
        activation), fitting_time. From two linear layers on also imbalance (||D||_op of the last
        pair), balancedness (largest of all pairs), law_error and half_law_error (largest
        ||D(t) - f D(0)|| / ||f D(0)|| of all pairs, f = e^(-2 lambda t) and e^(-lambda t)),
        nc1_bound, nc2_bound, paper_bound, and nc1_bound_balanced, paper_bound_balanced (e2 = 0);
        None where they do not apply.

    Raises:
        ValueError: if the weights diverge: the step size is too large for these data.
    """
    targets = one_hot(dataset.labels, dataset.num_classes).double()
    samples, dim = dataset.inputs.shape
    sizes = (dim, max(2 * WIDTH, samples), *[WIDTH] * num_linear, dataset.num_classes)
    network = initial(sizes, num_linear=num_linear, seed=seed)
    start = [imbalance(*pair) for pair in pairwise(network.head)]
    steps = round((duration(weight_decay) if time is None else time) / step_size)
    measured = {0, *np.geomspace(min(5, steps), steps, 25).round().astype(int).tolist()}
    rows = []
    name = f"λ = {weight_decay:g}, {num_linear} linear"
    for step in progress_bar(range(steps + 1), desc=name, unit="step"):
        if step in measured:
            now = step * step_size
            if not max(weight.abs().max() for weight in network.weights) < DIVERGED:
                raise ValueError(
                    f"the weights have diverged after {step} steps of size {step_size}: take "
                    "smaller steps, or scale the inputs down"
                )
            rows.append(_row(network, dataset, targets, start, weight_decay, now))
            if keep is not None:
                keep.append(Snapshot(now, forward(network, dataset.inputs)[-2]))
        if step < steps:
            network = descend(
                network,
                dataset.inputs,
                targets,
                weight_decay=weight_decay,
                step_size=step_size,
            )
    return network, Table.of(rows)


def _row(
    network: Network,
    dataset: Dataset,
    targets: Tensor,
    start: list[Tensor],
    weight_decay: float,
    time: float,
) -> dict[str, float | None]:
    layers, head = forward(network, dataset.inputs), network.head
    report = measure(layers[-2], dataset.labels, head[-1], convention="jacot")
    last = len(network.weights) - network.num_linear
    row: dict[str, float | None] = {
        "time": time,
        "fit": interpolation_error(layers[-1], targets) ** 2 / len(targets),
        "nc1": report.nc1,
        "nc2": report.nc2_condition,
        "nc3": report.nc3_cosine,
        "conditioning": conditioning(head[-1]),
        "head_conditioning": head_conditioning(head),
        "negativity": negativity(layers[last - 1] @ network.weights[last - 1].T, activation),
        "fitting_time": fitting_time(network, dataset.inputs, targets),
    }
    if len(head) == 1:
        return row
    pairs = [imbalance(*pair) for pair in pairwise(head)]
    given = (layers[last], head, targets)
    bounds = {
        "nc1_bound": nc1_bound(*given),
        "nc2_bound": nc2_bound(*given),
        "paper_bound": paper_nc1_bound(*given),
        "nc1_bound_balanced": nc1_bound(*given, imbalance_norm=0.0),
        "paper_bound_balanced": paper_nc1_bound(*given, imbalance_norm=0.0),
    }
    return {
        **row,
        "imbalance": _norm(pairs[-1]),
        "balancedness": max(balancedness(*pair) for pair in pairwise(head)),
        "law_error": _law_error(pairs, start, weight_decay, time),
        "half_law_error": _law_error(pairs, start, weight_decay / 2, time),
        **{name: value if math.isfinite(value) else None for name, value in bounds.items()},
    }


def _law_error(pairs: list[Tensor], start: list[Tensor], weight_decay: float, time: float) -> float:
    errors = []
    for now, then in zip(pairs, start, strict=True):
        expected = decayed(then, weight_decay=weight_decay, time=time)
        errors.append(((now - expected).norm() / expected.norm()).item())
    return max(errors)


def starts(dataset: Dataset, *, seed: int) -> Table:
    """Four samples of each class from two starts, with and without weight decay.

    Layers 128, 32, 32, K with gamma = 0.5. The constructed start meets the inequality of Theorem
    4.4 and is steep: its step is half of 1 over its sharpness.

    Args:
        dataset: from `prepare`, at least four samples of each class.
        seed: of the samples and the weights.

    Returns:
        Columns start ("random" or "constructed"), weight_decay, left and right (`start_condition`),
        step_size, step, fit and nc1 as in `train`, imbalance (its norm over that at the start).
    """
    few = dataset.take(FEW, seed=seed)
    order = few.labels.argsort(stable=True)
    inputs, labels = few.inputs[order], few.labels[order]
    targets = one_hot(labels, few.num_classes).double()
    sizes = (inputs.shape[1], 128, 32, 32, few.num_classes)
    begun = {
        "random": initial(sizes, num_linear=2, seed=seed, least_slope=STEEP),
        "constructed": constructed(sizes, seed=seed),
    }
    rows = []
    for name, start in begun.items():
        left, right = start_condition(start, inputs, targets)
        before = imbalance(*start.head).norm()
        steep = sharpness(start, inputs, targets, weight_decay=0.0)
        step_size = STEP_SIZE if name == "random" else 1 / (2 * steep)
        measured = np.geomspace(1, 4000, 20).round().astype(int).tolist()
        for weight_decay in (5e-3, 0.0):
            network = start
            for step in progress_bar(range(1, measured[-1] + 1), desc=name, unit="step"):
                network = descend(
                    network, inputs, targets, weight_decay=weight_decay, step_size=step_size
                )
                if step in measured:
                    layers = forward(network, inputs)
                    report = measure(layers[-2], labels, network.head[-1], convention="jacot")
                    rows.append(
                        {
                            "start": name,
                            "weight_decay": weight_decay,
                            "left": left,
                            "right": right,
                            "step_size": step_size,
                            "step": step,
                            "fit": interpolation_error(layers[-1], targets) ** 2 / len(targets),
                            "nc1": report.nc1,
                            "imbalance": (imbalance(*network.head).norm() / before).item(),
                        }
                    )
    return Table.of(rows)


def widths(dataset: Dataset, *, seed: int) -> Table:
    """How fast networks with first layers of five widths must fit, and how fast they do.

    Args:
        dataset: from `prepare`.
        seed: of the initial weights.

    Returns:
        Columns width, proved, kernel, now (`rates` at the start) and time, after which the squared
        error is down to 1/e of its start (no weight decay).
    """
    targets = one_hot(dataset.labels, dataset.num_classes).double()
    rows = []
    for width in WIDTHS:
        sizes = (dataset.inputs.shape[1], width, WIDTH, WIDTH, dataset.num_classes)
        network = initial(sizes, num_linear=2, seed=seed)
        found = rates(network, dataset.inputs, targets)
        errors = [interpolation_error(forward(network, dataset.inputs)[-1], targets)]
        step_size = STEP_SIZE / 5
        while errors[-1] ** 2 > errors[0] ** 2 / math.e:
            network = descend(
                network, dataset.inputs, targets, weight_decay=0.0, step_size=step_size
            )
            errors.append(interpolation_error(forward(network, dataset.inputs)[-1], targets))
        rows.append({"width": width, **found, "time": (len(errors) - 1) * step_size})
    return Table.of(rows)


@declared(
    scales={"laptop": "about a minute on one core"},
    refused={
        "paper": "known are MNIST, 5 nonlinear and 4 linear layers, weight decay 0.0018, learning "
        "rate 1e-3, 10000 epochs; widths, batch size and optimiser are unknown here"
    },
    data=lambda scale, seed: prepare(),
    prepare=lambda dataset, seed: prepare(dataset),
    needs={"classes": 2, "training samples": 2},
    resumable=False,
)
def experiment(dataset: Dataset, asked: Asked) -> dict[str, Table]:
    """Train with and without weight decay, with one to five linear layers: one seed, one data set.

    Up to 20 samples of each class are taken, as by `prepare`.

    Returns:
        An `Outcome` with a table for each of `RUNS`, as from `train`; on the digits also "starts"
        and "widths".
    """
    tables = {
        name: train(dataset, num_linear=num_linear, weight_decay=weight_decay, seed=asked.seed)[1]
        for name, (num_linear, weight_decay) in RUNS.items()
    }
    if not asked.own_data:  # what the start has to be like depends on the data
        tables["starts"] = starts(dataset, seed=asked.seed)
        tables["widths"] = widths(dataset, seed=asked.seed)
    return tables


def claims(tables: Mapping[str, Table]) -> tuple[Claim, ...]:
    """What the tables of `experiment` assert; a pure function, so that false runs can be tried."""
    decayed_runs = ("λ = 8e-3", "λ = 4e-3", "λ = 2e-3")
    deep_runs = ("λ = 4e-3", "L2 = 3", "L2 = 4", "L2 = 5")
    linear = [tables[name] for name, (num_linear, _) in RUNS.items() if num_linear >= 2]
    balancing = [tables[name] for name in dict.fromkeys((*decayed_runs, *deep_runs))]
    none, main = tables["λ = 0"], tables["λ = 4e-3"]
    runs = {name: tables[name] for name in RUNS}
    falls = {name: table["nc1"][0] / table["nc1"][-1] for name, table in runs.items()}
    ends = {name: table.last for name, table in runs.items()}
    pairs = tuple(pairwise(decayed_runs))
    late = [math.log2(ends[more]["nc1"] / ends[less]["nc1"]) for more, less in pairs]
    early = [math.log2(_at(tables[a], "nc1", 20.0) / _at(tables[b], "nc1", 20.0)) for a, b in pairs]
    critical = max(end["nc1"] / end["nc1_bound_balanced"] for end in _ends(balancing))
    unmoved = max(abs(value / none["imbalance"][0] - 1) for value in none["imbalance"])
    root = max(
        abs(table["conditioning"][-1] - table["head_conditioning"][-1] ** (1 / num_linear))
        for table, num_linear in _with_depth(tables, dict.fromkeys((*decayed_runs, *deep_runs)))
    )
    five = tables["L2 = 5"]
    no_root = abs(five["conditioning"][0] - five["head_conditioning"][0] ** (1 / 5))
    depths = [ends[name] for name in deep_runs]
    nc2 = [end["nc2"] for end in depths]
    spread = max(end["nc1"] for end in depths) / min(end["nc1"] for end in depths)
    fits = {name: _falls_to(tables[name], "fit", 0.15) for name in (*decayed_runs, "λ = 0")}
    halves = {
        name: _falls_to(tables[name], "imbalance", tables[name]["imbalance"][0] / 2)
        for name in decayed_runs
    }
    pace = _falls_to(main, "fit", main["fit"][0] / math.e) / main["fitting_time"][0]
    between_heads = math.sqrt(
        ends["L2 = 3"]["head_conditioning"] * ends["L2 = 5"]["head_conditioning"]
    )
    law = max(max(table["law_error"]) for table in balancing)
    half_law = min(max(table["half_law_error"]) for table in balancing)
    slowest = max(fits.values()) / min(fits.values())
    predicted, measured = between_heads ** (1 / 4), ends["L2 = 4"]["nc2"]
    made = (
        Claim.of(
            "NC1 is at most the proved bound at every measured time of every run with two linear "
            "layers or more, with and without weight decay; without the imbalance term it is not",
            {"largest NC1 / bound": proved(at_most(1, _worst(linear, "nc1", "nc1_bound")))},
            COURSE,
            {"without the imbalance": above(1, _worst(linear, "nc1", "nc1_bound_balanced"))},
        ),
        Claim.of(
            "The paper's form of the bound (reconstructed) holds at every measured time at which "
            "its condition does; without its imbalance term it does not",
            {"largest NC1 / bound": proved(at_most(1, _worst(linear, "nc1", "paper_bound")))},
            f"{PAPER}, Theorem 3.1 (display reconstructed)",
            {"without the imbalance": above(1, _worst(linear, "nc1", "paper_bound_balanced"))},
        ),
        Claim.of(
            "NC2 is at most its proved bound at every measured time of every such run; κ(W_L) "
            "alone, which is the limit of that bound, is exceeded",
            {"largest NC2 / bound": proved(at_most(1, _worst(linear, "nc2", "nc2_bound")))},
            COURSE,
            {"largest NC2 / κ(W_L)": above(1, _worst(linear, "nc2", "conditioning"))},
        ),
        Claim.of(
            "The whole matrix of imbalance is e^(−2λt) times its start within {0:%}, for every "
            "pair of linear layers, at every measured time until λt = 5; with e^(−λt) it is not",
            {"largest relative error": at_most(0.1, law)},
            COURSE,
            {"with e^(−λt), least": at_least(0.9, half_law)},
        ),
        Claim.of(
            "Two clocks: the fit falls to 0.15 after the same time for all four λ (within {0:+%}), "
            "and to 1/e of its start within {1.high} times the predicted time; the imbalance "
            "halves after a time proportional to 1/λ",
            {
                "fit, longest / shortest time": at_most(1.25, slowest),
                "to 1/e, measured / predicted": between(1, 3, pace),
            },
            f"{PAPER}, Theorem 4.4 (two phases); thresholds: this course, for digits",
            {
                "imbalance, time at 2e-3 / time at 8e-3": between(
                    3.6, 4.4, halves["λ = 2e-3"] / halves["λ = 8e-3"]
                )
            },
        ),
        Claim.of(
            "NC1 falls at least {0}-fold at λ = 4e-3 and {1}-fold at 2e-3; without weight decay "
            "less than {2}-fold",
            {
                "λ = 4e-3": at_least(50, falls["λ = 4e-3"]),
                "λ = 2e-3": at_least(100, falls["λ = 2e-3"]),
            },
            MEASURED,
            {"without weight decay": below(5, falls["λ = 0"])},
        ),
        Claim.of(
            "At the end NC1 falls as a power of λ between {0.low} and {0.high}, and a greater one "
            "for smaller λ; at time 20, after the fit and before the balance, the power is at most "
            "{3}",
            {
                f"exponent, {a} to {b}": between(0.5, 1.5, power)
                for (a, b), power in zip(pairs, late, strict=True)
            },
            f"{PAPER}, Theorem 4.4 (at most of order λ); the exponents: this course, measured",
            {f"{a} to {b} at time 20": power for (a, b), power in zip(pairs, early, strict=True)},
            also={
                "drift": above(late[0], late[1], measured=True),
                "at time 20": every(at_most(0.2, power) for power in early),
            },
        ),
        Claim.of(
            "From a random start and without weight decay the network fits to {0:e} and does not "
            "collapse: NC1 stays at {3} or more and the imbalance within {1:%} of its start; with "
            "λ = 4e-3 NC1 ends at {2} or less",
            {
                "fit": at_most(1e-4, ends["λ = 0"]["fit"]),
                "NC1": ends["λ = 0"]["nc1"],
                "imbalance moved": at_most(0.02, unmoved),
            },
            "This course: from a random start interpolation alone does not collapse",
            {"NC1 with λ = 4e-3": at_most(0.03, ends["λ = 4e-3"]["nc1"])},
            also={"least NC1": at_least(0.3, min(none["nc1"]))},
        ),
        Claim.of(
            "At the end κ(W_L) is the L2-th root of the head's κ within {0}, for 2, 3, 4 and 5 "
            "linear layers; at the start it is off by {1} or more for 5",
            {"largest difference": at_most(0.01, root)},
            COURSE,
            {"at the start, L2 = 5": at_least(0.1, no_root)},
        ),
        Claim.of(
            "NC2 improves with each step from 2 to 3, 4, 5 linear layers, while NC1 stays the same "
            "within {0:+%}; the head's own κ does not improve from 2 to 5",
            {f"NC2, {name}": value for name, value in zip(deep_runs, nc2, strict=True)}
            | {"NC1, largest / smallest": at_most(1.2, spread)},
            MEASURED,
            {
                "κ of the head, L2 = 2": depths[0]["head_conditioning"],
                "L2 = 5": at_least(
                    depths[0]["head_conditioning"],
                    depths[-1]["head_conditioning"],
                    measured=True,
                    natural="condition",
                ),
            },
            also={
                "NC2 from one depth to the next": every(
                    below(less, more, measured=True, natural="condition")
                    for less, more in pairwise(nc2)
                )
            },
        ),
        Claim.of(
            "NC2 for 4 linear layers, predicted from the heads of the runs with 3 and 5, is right "
            "within {0:%}; the NC2 of 2 linear layers, taken for it, is wrong by {1:%} or more",
            {"predicted": predicted, "measured": measured},
            "This course, measured",
            {"NC2 of 2 linear layers": nc2[0]},
            also={
                "prediction off by": at_most(0.04, abs(predicted / measured - 1)),
                "two layers off by": at_least(0.08, abs(nc2[0] / measured - 1)),
            },
        ),
        Claim.of(
            "One linear layer collapses too, which the theorem does not cover: NC1 falls at least "
            "{0}-fold, with a worse NC2 than two have; without weight decay less than {2}-fold",
            {
                "NC1 falls by the factor": at_least(30, falls["L2 = 1"]),
                "NC2": above(nc2[0], ends["L2 = 1"]["nc2"], measured=True, natural="condition"),
            },
            f"{PAPER} (open question); measured by this course",
            {"without weight decay": below(5, falls["L2 = 1, λ = 0"]), "NC2 of two": nc2[0]},
        ),
        Claim.of(
            "Balanced, NC1 is at most (κ(W_L) ε₁)²/(√(N(K−1)/K) − ε₁)²: at the end of every run "
            "with weight decay, which is nearly a critical point; without weight decay the end is "
            "{1} times above it or more",
            {"largest NC1 / bound": at_most(1, critical)},
            COURSE,
            {
                "without weight decay": at_least(
                    100, ends["λ = 0"]["nc1"] / ends["λ = 0"]["nc1_bound_balanced"]
                )
            },
        ),
    )
    if "starts" not in tables:
        return made
    return (*made, _claim_of_starts(tables["starts"]), _claim_of_widths(tables["widths"]))


def _ends(tables: Iterable[Table]) -> list[dict[str, Any]]:
    return [table.last for table in tables]


def _claim_of_starts(table: Table) -> Claim:
    """Whether interpolation alone collapses is a matter of the start."""
    good, usual = (table.where(start=name) for name in ("constructed", "random"))
    bare, bare_usual = (each.where(weight_decay=0.0).last for each in (good, usual))
    met, missed = (each["left"][0] / each["right"][0] for each in (good, usual))
    return Claim.of(
        "A start that meets the inequality of Theorem 4.4 (left / right at least {0}) collapses by "
        "fitting: at λ = 0 and at 5e-3 NC1 is at most {1:e} with {5:%} or more of the imbalance "
        "left; the random start misses the inequality ({2:e} times or less), fits as well ({4:e}) "
        "without weight decay and keeps an NC1 of {3} or more",
        {
            "left / right": at_least(1, met),
            "NC1": at_most(3e-3, max(each["nc1"] for each in (good.last, bare))),
        },
        "The inequality: Jacot, Súkeník, Wang, Mondelli 2024, Assumption 4.3; what happens: this "
        "course, measured",
        {
            "left / right, random": at_most(1e-3, missed),
            "NC1, random, λ = 0": at_least(0.1, bare_usual["nc1"]),
        },
        also={
            "squared error of both, λ = 0": at_most(1e-6, max(bare["fit"], bare_usual["fit"])),
            "imbalance left": at_least(0.99, min(good["imbalance"]), natural="rate"),
        },
    )


def _claim_of_widths(table: Table) -> Claim:
    """What width is for: a proved rate above zero."""
    rows = {row["width"]: row for row in table.rows()}
    narrow, least, widest = rows[WIDTHS[0]], rows[WIDTHS[1]], rows[WIDTHS[-1]]
    wide = [row for row in rows.values() if row["proved"] > 0]
    scales = [row["time"] * 2 * row["now"] for row in rows.values()]
    return Claim.of(
        "The proved rate of the fit is positive where the first layer has N units or more and "
        "grows {0}-fold or more from 128 to 1024; no fit takes longer than it promises, and the "
        "time really falls by {1:words} or more; with 64 units the proof promises nothing and the "
        "network fits within {4} all the same",
        {
            "rate, 1024 / 128 units": at_least(10, over(widest["proved"], least["proved"])),
            "time, 1024 / 128 units": at_most(0.5, widest["time"] / least["time"]),
        },
        COURSE,
        {"rate, 64 units": equal(0.0, narrow["proved"]), "time, 64 units": narrow["time"]},
        also={
            "time, 64 units, at most": at_most(4, narrow["time"]),
            "time over what the rate promises": at_most(
                1, max(2 * row["proved"] * row["time"] for row in wide)
            ),
            "rates in order": every(
                proved(at_most(1, over(row[less], row[more])))
                for row in rows.values()
                for less, more in (("proved", "kernel"), ("kernel", "now"))
            ),
            "time over the course's scale": every(between(1, 3, scale) for scale in scales),
        },
    )


def _worst(tables: Sequence[Table], value: str, bound: str) -> float:
    """The largest quotient of two columns where the bound says something."""
    return max(
        here / limit
        for table in tables
        for here, limit in zip(table[value], table[bound], strict=True)
        if limit is not None
    )


def _with_depth(tables: Mapping[str, Table], names: Iterable[str]) -> list[tuple[Table, int]]:
    return [(tables[name], RUNS[name][0]) for name in names]


def _at(table: Table, column: str, time: float) -> float:
    """A column's value at a time, between measurements in the logarithm of both."""
    times, values = np.array(table["time"][1:]), np.array(table[column][1:])
    return float(np.exp(np.interp(np.log(time), np.log(times), np.log(values))))


def _falls_to(table: Table, column: str, level: float) -> float:
    """The first time at which a column is at most `level`; inf, which fails a claim, if never."""
    times, values = table["time"], table[column]
    for index in range(1, len(values)):
        if values[index] <= level:
            before, after = math.log(values[index - 1]), math.log(values[index])
            share = (before - math.log(level)) / (before - after)
            return times[index - 1] + share * (times[index] - times[index - 1])
    return math.inf
