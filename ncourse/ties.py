"""One context, several continuations: free features of length 1 that equal inputs have to share.

A network is a function: samples with one and the same input have one and the same feature. Where an
input comes with several labels, as a context of a language model comes with several next words, its
feature has to serve all of them. Without ties this is the limiting problem of chapter 8, and its
optimum a simplex; with ties it is whatever the table of counts, contexts by labels, makes of it.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ncourse.models import normalise

__all__ = ["Tied", "solve_tied"]


@dataclass(frozen=True, eq=False)
class Tied:
    """The optimum of the loss over unit features, one for each kind of input, and all classifiers.

    A kind is a row of shares of labels. All inputs with the same shares are of one kind.

    Attributes:
        loss: mean loss plus lambda/2 times the squared classifier.
        bound: what no unit features and no classifier get below; `loss` is within 1e-5 of it.
        joint: `(kinds, K)`, how often each kind comes with each label, as shares of all samples.
        which: `(inputs,)`, the kind of each input.
        features: `(kinds, dim)` of length 1.
        weight: `(K, dim)`.
    """

    loss: float
    bound: float
    joint: Float[Tensor, "kinds classes"]
    which: Int[Tensor, " inputs"]
    features: Float[Tensor, "kinds dim"]
    weight: Float[Tensor, "classes dim"]

    @property
    def class_means(self) -> Float[Tensor, "classes dim"]:
        """The mean feature of the samples of each label."""
        return (self.joint / self.joint.sum(0)).T @ self.features

    @property
    def nc1(self) -> float:
        """Variation within labels over that between them (trace ratio), labels weighted alike."""
        means = self.class_means
        within = (self.features[:, None] - means).square().sum(2)
        between = (means - means.mean(0)).square().sum(1)
        return (((self.joint / self.joint.sum(0)) * within).sum() / between.sum()).item()


@torch.enable_grad()
def solve_tied(
    counts: Float[Tensor, "inputs classes"],
    weight_decay: float,
    *,
    loss: str = "cross-entropy",
    seed: int = 0,
) -> Tied:
    """The optimum where equal inputs share a feature, by L-BFGS, with a proof that it is global.

    Inputs with the same shares of labels have the same strictly convex problem, so one feature is
    enough for them.

    Args:
        counts: `(distinct inputs, K)`, how often each is seen with each label; shares will do.
        weight_decay: lambda > 0, coefficient of ||W||^2 / 2.
        loss: "cross-entropy" or "mse".
        seed: of the starts.

    Raises:
        ValueError: for counts or a weight decay that make no such problem.
        RuntimeError: if none of five starts ends where its own lower bound is.

    Source: this course; the lower bound is proved in chapter 8.

    >>> two_words_each = torch.tensor([[1.0, 1, 0], [1, 0, 1], [0, 1, 1]])
    >>> round(solve_tied(two_words_each, 0.005).nc1, 3)
    3.0
    """
    counts = counts.double()
    if counts.ndim != 2 or counts.shape[1] < 2 or not (counts >= 0).all() or not weight_decay > 0:
        raise ValueError(
            f"got counts of shape {tuple(counts.shape)} and weight_decay={weight_decay}; expected "
            "non-negative counts (distinct inputs, at least 2 classes) and a positive weight decay"
        )
    if (counts.sum(0) == 0).any() or (counts.sum(1) == 0).any():
        raise ValueError("counts has an empty row or column: an input or a class without a sample")
    shares = (counts / counts.sum(1, keepdim=True)).round(decimals=12)
    kinds, which = torch.unique(shares, dim=0, return_inverse=True)
    joint = torch.zeros_like(kinds).index_add_(0, which, counts) / counts.sum()
    for start in range(5):
        features, weight = _descend(joint, weight_decay, loss, seed=1000 * seed + start)
        value, bound = _value_and_bound(features, weight, joint, weight_decay, loss)
        if value - bound <= 1e-5 * value:
            return Tied(value, bound, joint, which, features, weight)
    raise RuntimeError(
        f"the limiting problem was not solved: the last of 5 starts ended at {value:.8f}, and all "
        f"that is proved is {bound:.8f} or more — try another seed"
    )


def _descend(joint: Tensor, weight_decay: float, loss: str, *, seed: int) -> tuple[Tensor, Tensor]:
    """Features `(kinds, dim)` on the sphere and a classifier `(K, dim)`."""
    generator = torch.Generator().manual_seed(seed)
    dim = sum(joint.shape) + 1
    free, weight = (
        torch.randn(rows, dim, generator=generator, dtype=torch.float64).requires_grad_()
        for rows in joint.shape
    )
    solver = torch.optim.LBFGS(
        [free, weight],
        max_iter=5000,
        history_size=30,
        tolerance_grad=1e-13,
        tolerance_change=1e-18,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        solver.zero_grad()
        fit = _joint_loss(normalise(free) @ weight.T, joint, loss)
        current = fit + weight_decay / 2 * weight.square().sum()
        current.backward()
        return current

    solver.step(closure)
    return normalise(free).detach(), weight.detach()


def _joint_loss(logits: Tensor, joint: Tensor, loss: str) -> Tensor:
    """The mean loss of inputs and labels that occur together in the shares `joint`."""
    if loss == "mse":
        others = logits.square().sum(1, keepdim=True) - logits.square() + (logits - 1).square()
        return 0.5 * (joint * others).sum()
    if loss != "cross-entropy":
        raise ValueError(f"loss is {loss!r}; expected 'cross-entropy' or 'mse'")
    return -(joint * torch.log_softmax(logits, 1)).sum()


def _value_and_bound(
    features: Tensor, weight: Tensor, joint: Tensor, weight_decay: float, loss: str
) -> tuple[float, float]:
    """Value at a point, and a number below which no unit features and no classifier can get.

    For shares w of the inputs, ||X V'||_* with rows scaled by sqrt(w) is at most ||V||. So the
    problem is at least a convex one in the logits Z, and its tangent at these logits is a bound:
    fit - <G, Z> - ||G / sqrt(w)||^2 / (2 lambda), with G the gradient of the fit. Any w will do; at
    an optimum w proportional to -<G, Z> row by row makes it exact.
    """
    logits = (features @ weight.T).requires_grad_()
    fit = _joint_loss(logits, joint, loss)
    (gradient,) = torch.autograd.grad(fit, logits)
    pull = -(gradient * logits.detach()).sum(1)
    shares = pull.clamp(min=max(1e-6 * pull.abs().max().item(), 1e-300))
    shares = shares / shares.sum()
    spectral = torch.linalg.matrix_norm(gradient / shares.sqrt()[:, None], 2).item()
    value = fit.item() + weight_decay / 2 * weight.square().sum().item()
    return value, fit.item() + pull.sum().item() - spectral**2 / (2 * weight_decay)
