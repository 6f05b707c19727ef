"""Exercises of chapter 6, wide networks."""

import math

import torch

from ncourse.exercises.checks import Answer, Exercise, Mistake
from ncourse.exercises.draws import integer, labels, log_uniform, normal, uniform

IMPORTS = """
import math
from dataclasses import replace
import numpy as np
import torch
from ncourse.papers import jacot2024
"""


# 6.1 ----------------------------------------------------------------------------------------------
def time_to_balance(start, goal, weight_decay):
    """Solve start e^(-2 lambda t) = goal; no time at all if the goal is already met."""
    return max(0.0, math.log(start / goal) / (2 * weight_decay))


def _half_the_rate(start, goal, weight_decay):
    return math.log(start / goal) / weight_decay


def _base_ten(start, goal, weight_decay):
    return math.log10(start / goal) / (2 * weight_decay)


def _backwards(start, goal, weight_decay):
    return math.log(goal / start) / (2 * weight_decay)


def _no_logarithm(start, goal, weight_decay):
    return start / goal / (2 * weight_decay)


def _before_the_start(start, goal, weight_decay):
    return math.log(start / goal) / (2 * weight_decay)


def _imbalances(generator):
    for _ in range(3):
        goal = log_uniform(generator, 1e-3, 1)
        decay = log_uniform(generator, 1e-3, 0.1)
        yield goal * log_uniform(generator, 1.5, 1000), goal, decay
        yield goal * uniform(generator, 0.1, 0.9), goal, decay
    yield goal, goal, decay


# 6.2 ----------------------------------------------------------------------------------------------
def imbalance_after_step(before, lower_gradient, upper_gradient, weight_decay, step_size):
    """Terms linear in the step cancel between the two layers; the quadratic ones stay."""
    source = upper_gradient.T @ upper_gradient - lower_gradient @ lower_gradient.T
    return (1 - step_size * weight_decay) ** 2 * before + step_size**2 * source


def _no_source(before, lower_gradient, upper_gradient, weight_decay, step_size):
    return (1 - step_size * weight_decay) ** 2 * before


def _as_in_flow(before, lower_gradient, upper_gradient, weight_decay, step_size):
    return math.exp(-2 * step_size * weight_decay) * before


def _shrunk_once(before, lower_gradient, upper_gradient, weight_decay, step_size):
    source = upper_gradient.T @ upper_gradient - lower_gradient @ lower_gradient.T
    return (1 - step_size * weight_decay) * before + step_size**2 * source


def _first_order(before, lower_gradient, upper_gradient, weight_decay, step_size):
    source = upper_gradient.T @ upper_gradient - lower_gradient @ lower_gradient.T
    return (1 - 2 * step_size * weight_decay) * before + step_size**2 * source


def _shrunk_by_decay(before, lower_gradient, upper_gradient, weight_decay, step_size):
    source = upper_gradient.T @ upper_gradient - lower_gradient @ lower_gradient.T
    return (1 - weight_decay) ** 2 * before + step_size**2 * source


def _step_not_squared(before, lower_gradient, upper_gradient, weight_decay, step_size):
    source = upper_gradient.T @ upper_gradient - lower_gradient @ lower_gradient.T
    return (1 - step_size * weight_decay) ** 2 * before + step_size * source


def _source_turned(before, lower_gradient, upper_gradient, weight_decay, step_size):
    source = lower_gradient @ lower_gradient.T - upper_gradient.T @ upper_gradient
    return (1 - step_size * weight_decay) ** 2 * before + step_size**2 * source


def _steps(generator):
    # Large steps, so that no two of the mistakes agree.
    for middle, below, above in ((5, 6, 3), (4, 2, 4), (3, 7, 2)):
        before = normal(generator, middle, middle)
        yield (
            before + before.T,
            2 * normal(generator, middle, below),
            2 * normal(generator, above, middle),
            uniform(generator, 0.2, 0.6),
            uniform(generator, 0.5, 1.2),
        )
    # A step so large that the weights change sign.
    large = uniform(generator, 2.0, 2.5)
    yield before + before.T, normal(generator, 3, 2), normal(generator, 4, 3), 0.7, large
    yield before + before.T, normal(generator, 3, 3), normal(generator, 3, 3), 0.3, 0.8


# 6.3 ----------------------------------------------------------------------------------------------
def imbalance_floor(source, weight_decay, step_size):
    """Fixed point of D = (1 - eta lambda)^2 D + eta^2 S; without weight decay there is none."""
    if weight_decay == 0:
        return math.inf
    return step_size * source / (weight_decay * (2 - step_size * weight_decay))


def _first_order_floor(source, weight_decay, step_size):
    if weight_decay == 0:
        return math.inf
    return step_size * source / (2 * weight_decay)


def _shrinks_once(source, weight_decay, step_size):
    if weight_decay == 0:
        return math.inf
    return step_size * source / weight_decay


def _one_step_only(source, weight_decay, step_size):
    return step_size**2 * source


def _flow_forgets(source, weight_decay, step_size):
    return 0.0


def _step_once(source, weight_decay, step_size):
    if weight_decay == 0:
        return math.inf
    return source / (weight_decay * (2 - step_size * weight_decay))


def _divides_by_zero(source, weight_decay, step_size):
    return step_size * source / (weight_decay * (2 - step_size * weight_decay))


def _always_finite(source, weight_decay, step_size):
    return step_size * source / (max(weight_decay, 1e-12) * (2 - step_size * weight_decay))


def _sources(generator):
    for _ in range(3):
        yield uniform(generator, 0.5, 4), uniform(generator, 0.1, 0.5), uniform(generator, 0.5, 1.8)
    yield uniform(generator, 0.5, 4), 1e-8, 0.1  # steps would take an age to get there
    yield uniform(generator, 0.5, 4), 0.0, uniform(generator, 0.5, 1.8)


# 6.4 ----------------------------------------------------------------------------------------------
def last_conditioning(head_conditioning, num_linear):
    """Balanced layers share their singular values, so each has the L2-th root of the product's."""
    return head_conditioning ** (1 / num_linear)


def _shared_out(head_conditioning, num_linear):
    return head_conditioning / num_linear


def _not_at_all(head_conditioning, num_linear):
    return head_conditioning


def _one_too_few(head_conditioning, num_linear):
    return head_conditioning ** (1 / (num_linear - 1))


def _power(head_conditioning, num_linear):
    return head_conditioning**num_linear


def _square_root(head_conditioning, num_linear):
    return math.sqrt(head_conditioning)


def _heads(generator):
    for depth in (4, 3, 2, integer(generator, 5, 9), 1):
        yield uniform(generator, 1.5, 9), depth
    yield 1.0, 3


# 6.5 ----------------------------------------------------------------------------------------------
def nc1_bound(below, lower, upper, targets):
    """Error through W_L, and the imbalance let through by Z_(L-2), over the room that is left."""
    samples, classes = targets.shape
    error = (below @ lower.T @ upper.T - targets).norm()
    imbalance = torch.linalg.matrix_norm(upper.T @ upper - lower @ lower.T, 2)
    singular = torch.linalg.svdvals(upper)
    delta = (error / singular[-1]) ** 2 + imbalance * below.norm() ** 2
    room = math.sqrt(samples * (classes - 1) / classes) - error
    return (singular[0] ** 2 * delta / room**2).item()


def _bound(below, lower, upper, targets, wrong=""):
    """The reference with one thing wrong."""
    samples, classes = targets.shape
    error = (below @ lower.T @ upper.T - targets).norm().item()
    matrix = upper.T @ upper - lower @ lower.T
    imbalance = torch.linalg.matrix_norm(matrix, 2).item()
    if wrong == "squared error":
        error = error**2
    if wrong == "mean error":
        error = error / math.sqrt(samples)
    if wrong == "imbalance norm":
        imbalance = matrix.norm().item()
    if wrong == "balanced":
        imbalance = 0.0
    largest, *_, least = torch.linalg.svdvals(upper).tolist()
    size = below.norm().item()
    if wrong == "spectral":
        size = torch.linalg.matrix_norm(below, 2).item()
    first = error / (largest if wrong == "largest" else least)
    second = (imbalance if wrong == "no root" else math.sqrt(imbalance)) * size
    delta = (first + second) ** 2 if wrong == "added" else first**2 + second**2
    room = math.sqrt(samples * (classes - 1) / classes)
    if wrong == "one-hot norm":
        room = math.sqrt(samples)
    if wrong != "no error":
        room += error if wrong == "plus" else -error
    scale = 1.0 if wrong == "no norm" else largest**2
    return math.sqrt(scale * delta) / room if wrong == "root" else scale * delta / room**2


_BOUND_MISTAKES = {
    "balanced": "The imbalance is missing: without ε₂‖Z_{L−2}‖² the formula is no bound, as the "
    "dashed line in the figure shows.",
    "largest": "You divide the error by the *largest* singular value of W_L. What W_L cannot see "
    "well it hides: the least one counts, s_K.",
    "spectral": "You take the operator norm of Z_{L−2}. Here all samples' strays are summed: the "
    "Frobenius norm.",
    "imbalance norm": "You take the Frobenius norm of D. That is a bound too, but a looser one: "
    "operator norm, `torch.linalg.matrix_norm(D, 2)`.",
    "added": "You add both parts and square the sum. That is a bound too, but they stand at right "
    "angles (row space of W_L and its complement): add their *squares*.",
    "no root": "In Δ² the second part is ε₂‖Z_{L−2}‖², with ε₂ to the first power; yours is "
    "ε₂²‖Z_{L−2}‖².",
    "one-hot norm": "√N is ‖Y‖. The room is what is *between* classes, after the global mean is "
    "gone: √(N(K−1)/K).",
    "plus": "You add ε₁ below. The error can push the outputs of two classes *together*: "
    "√(N(K−1)/K) − ε₁.",
    "squared error": "Your ε₁ is the sum of squares. It is the norm, ‖Z_L − Y‖_F, with the root.",
    "mean error": "Your ε₁ is divided by √N, as for a mean over samples. Here it is the norm of "
    "the whole matrix.",
    "no error": "The room below is not reduced by the error: √(N(K−1)/K) − ε₁.",
    "no norm": "The factor ‖W_L‖² is missing: it turns the spread of the outputs into that of the "
    "features.",
    "root": "That is the square root of the bound: NC1 is a quotient of *squared* lengths.",
}


def _mistaken(wrong: str) -> Answer:
    def answer(below, lower, upper, targets):
        return _bound(below, lower, upper, targets, wrong)

    return answer


def _nearly_fitted(generator):
    """Z_(L-2), W_(L-1), W_L and targets of networks that fit up to some noise."""
    for count, inner, width, samples in ((3, 5, 6, 4), (2, 3, 3, 7), (4, 7, 9, 3)):
        lower, upper = normal(generator, inner, width) / 2, normal(generator, count, inner) / 2
        of_class = labels(generator, [samples] * count)
        targets = torch.eye(count, dtype=torch.float64)[of_class]
        noise = uniform(generator, 0.05, 0.2) * normal(generator, len(of_class), width)
        product = upper @ lower
        fitted = targets @ torch.linalg.solve(product @ product.T, product)
        yield fitted + noise, lower, upper, targets


EXERCISES = (
    Exercise(
        "6.1",
        2,
        time_to_balance,
        _imbalances,
        (
            Mistake(
                _half_the_rate,
                "The rate is 2λ, not λ: D is quadratic in the weights, and each factor shrinks "
                "like e^{−λt}.",
            ),
            Mistake(
                _base_ten,
                "That is a logarithm to base 10. The law has e in it: math.log.",
            ),
            Mistake(
                _backwards,
                "Your time is negative: log(goal/start) where log(start/goal) belongs.",
            ),
            Mistake(
                _no_logarithm,
                "You divide start by goal, but the decay is exponential: the time grows with "
                "the *logarithm* of that ratio.",
            ),
            Mistake(
                _before_the_start,
                "Where the goal is met at the start your time is negative. It is 0.",
            ),
        ),
        (
            "The imbalance follows start · e^{−2λt}. Set it equal to the goal.",
            "Take logarithms: 2λt = log(start/goal).",
            "log(start/goal)/(2λ), and 0 where that is negative.",
        ),
        "Only λ and a logarithm: neither the data nor the loss nor the width enter, so you can "
        "plan the second phase before you start the first.",
    ),
    Exercise(
        "6.2",
        1,
        imbalance_after_step,
        _steps,
        (
            Mistake(
                _no_source,
                "You keep the factor and drop the gradients. Terms with η cancel between the "
                "layers, those with η² do not: square the step and look at what is left.",
            ),
            Mistake(
                _as_in_flow,
                "That is the law of gradient *flow*. A step of size η multiplies each layer by "
                "1 − ηλ, and adds a term with η².",
            ),
            Mistake(
                _shrunk_once,
                "You shrink D by 1 − ηλ once. D is quadratic in the weights, so the factor "
                "comes in twice.",
            ),
            Mistake(
                _shrunk_by_decay,
                "You shrink by 1 − λ. The step size multiplies weight decay too: 1 − ηλ.",
            ),
            Mistake(
                _first_order,
                "1 − 2ηλ is (1 − ηλ)² without its last term. Keep it: the answer is exact.",
            ),
            Mistake(
                _step_not_squared,
                "Your gradients come with η. They stand in a product of two steps: η².",
            ),
            Mistake(
                _source_turned,
                "Your two gradient terms have each other's sign. Which layer has the plus in D?",
            ),
        ),
        (
            "A step maps W to (1 − ηλ)W − ηG in both layers. Put that into D.",
            "The mixed terms are −η(1 − ηλ)(W_uᵀG_u + G_uᵀW_u − G_l W_lᵀ − W_l G_lᵀ). And "
            "W_uᵀG_u = G_l W_lᵀ.",
            "(1 − ηλ)² D + η² (G_uᵀG_u − G_l G_lᵀ).",
        ),
        "Divide by η and let it go to 0: dD/dt = −2λD. The η² term is all that a large step can "
        "spoil.",
    ),
    Exercise(
        "6.3",
        5,
        imbalance_floor,
        _sources,
        (
            Mistake(
                _first_order_floor,
                "You dropped a term: 1 − (1 − ηλ)² is 2ηλ − (ηλ)². For small ηλ it hardly "
                "matters; keep it, the answer is exact.",
            ),
            Mistake(
                _shrinks_once,
                "You let D shrink by 1 − ηλ. The factor of a step is (1 − ηλ)².",
            ),
            Mistake(
                _one_step_only,
                "That is what one step adds. The next step adds as much again, before the first "
                "has decayed: look for the D that a step leaves as it is.",
            ),
            Mistake(
                _flow_forgets,
                "In gradient flow it would go to 0. With steps of size η each one adds η²S again.",
            ),
            Mistake(
                _step_once,
                "Each step adds η²S, with the square; a step shrinks by about 2ηλ. One η is "
                "left over.",
            ),
            Mistake(
                _divides_by_zero,
                "For λ = 0 you divide by zero. Nothing decays then: return math.inf.",
            ),
            Mistake(
                _always_finite,
                "Without weight decay nothing is ever forgotten, and D grows by η²S at each "
                "step: return math.inf.",
            ),
        ),
        (
            "At the floor a step changes nothing: D = (1 − ηλ)² D + η² S.",
            "1 − (1 − ηλ)² = ηλ(2 − ηλ). Solve for D, and think about λ = 0 by itself.",
            "η S / (λ (2 − ηλ)), and math.inf for λ = 0.",
        ),
        "About ηS/(2λ): halving the step halves it, and less weight decay raises it. Only where "
        "the gradients die out, S → 0, does the imbalance go to zero.",
    ),
    Exercise(
        "6.4",
        4,
        last_conditioning,
        _heads,
        (
            Mistake(
                _shared_out,
                "You divide κ among the layers. Singular values *multiply* along a product of "
                "balanced layers.",
            ),
            Mistake(
                _not_at_all,
                "That is the κ of the whole product. It is shared among the layers.",
            ),
            Mistake(
                _one_too_few,
                "You count one layer too few: all L2 linear layers are in the product, the "
                "classifier too.",
            ),
            Mistake(
                _power,
                "That makes the last layer worse than the product. The other way round: a root, "
                "not a power.",
            ),
            Mistake(
                _square_root,
                "That is right for two layers. For L2 of them?",
            ),
        ),
        (
            "In a balanced head, W_{l+1}ᵀW_{l+1} = W_l W_lᵀ: neighbours share singular values.",
            "With P the product, PPᵀ = (W_L W_Lᵀ)^{L2}. What does that say about singular values?",
            "s_k(P) = s_k(W_L)^{L2}, so κ(W_L) = κ(P)^{1/L2}.",
        ),
        "Roots pull every number towards 1: the deeper the linear head, the rounder its last "
        "layer, as long as the κ of the whole head does not grow exponentially with depth.",
    ),
    Exercise(
        "6.5",
        3,
        nc1_bound,
        _nearly_fitted,
        tuple(Mistake(_mistaken(wrong), says) for wrong, says in _BOUND_MISTAKES.items()),
        (
            "Outputs are below @ lower.T @ upper.T; ε₁ is the Frobenius norm of outputs − targets.",
            "ε₂ = torch.linalg.matrix_norm(upper.T @ upper − lower @ lower.T, 2); "
            "Δ² = (ε₁/s_K)² + ε₂‖Z_{L−2}‖_F², with s_K = torch.linalg.svdvals(upper)[-1].",
            "s_1² Δ² / (√(N(K−1)/K) − ε₁)², with s_1 = torch.linalg.svdvals(upper)[0].",
        ),
        "Every number in it can be read off a trained network, without knowing how it was trained.",
    ),
)
