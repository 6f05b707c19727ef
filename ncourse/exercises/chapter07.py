"""Exercises of chapter 7, the mean-field regime."""

import math

import torch

from ncourse.exercises.checks import Exercise, Mistake
from ncourse.exercises.draws import integer, labels, log_uniform, normal, orthonormal, uniform

IMPORTS = """
import math
import numpy as np
import torch
from ncourse.papers import wu2025
"""


# 7.1 ----------------------------------------------------------------------------------------------
def unseen(outer, weight):
    """(I - Pi) a_j for each row, Pi the projection onto the span of the rows of W."""
    inside = outer @ weight.T @ torch.linalg.solve(weight @ weight.T, weight)
    return outer - inside


def _as_if_orthonormal(outer, weight):
    return outer - outer @ weight.T @ weight


def _seen(outer, weight):
    return outer - unseen(outer, weight)


def _only_normed(outer, weight):
    return outer - outer @ weight.T @ weight / weight.square().sum()


def _outer_weights(generator):
    for particles, count, dim in ((6, 2, 4), (5, 3, 7), (1, 1, 3), (4, 4, 6)):
        yield 2 * normal(generator, particles, dim), normal(generator, count, dim)


# 7.2 ----------------------------------------------------------------------------------------------
def outside_term(activations, slopes, weight, penalty):
    """G (I - Pi) / lambda, G the mean over particles of activation times gradient."""
    mean = activations @ slopes / activations.shape[1]
    return unseen(mean, weight) / penalty


def _summed_over_particles(activations, slopes, weight, penalty):
    return unseen(activations @ slopes, weight) / penalty


def _mean_over_samples(activations, slopes, weight, penalty):
    return unseen(activations @ slopes / len(activations), weight) / penalty


def _not_projected(activations, slopes, weight, penalty):
    return activations @ slopes / activations.shape[1] / penalty


def _projected_inside(activations, slopes, weight, penalty):
    mean = activations @ slopes / activations.shape[1]
    return (mean - unseen(mean, weight)) / penalty


def _orthonormal_assumed(activations, slopes, weight, penalty):
    return _as_if_orthonormal(activations @ slopes / activations.shape[1], weight) / penalty


def _without_penalty(activations, slopes, weight, penalty):
    return unseen(activations @ slopes / activations.shape[1], weight)


def _times_penalty(activations, slopes, weight, penalty):
    return unseen(activations @ slopes / activations.shape[1], weight) * penalty


def _gradients(generator):
    for samples, particles, count, dim in ((9, 5, 3, 6), (4, 8, 2, 3), (6, 6, 1, 5)):
        yield (
            torch.tanh(normal(generator, samples, particles)),
            normal(generator, particles, dim),
            normal(generator, count, dim),
            uniform(generator, 0.05, 0.6),
        )


# 7.3 ----------------------------------------------------------------------------------------------
def stationary_features(activations, targets, weight, gamma, penalty):
    """Gradient in all a_j zero: logits Z = (K + lambda N / gamma^2)^-1 K Y, and H = Z W / gamma."""
    samples, particles = activations.shape
    kernel = activations @ activations.T / particles
    ridge = penalty * samples / gamma**2
    identity = torch.eye(samples, dtype=activations.dtype)
    logits = torch.linalg.solve(kernel + ridge * identity, kernel @ targets)
    return logits @ weight / gamma


def _ridge(activations, targets, weight, gamma, *, divisor, ridge):
    kernel = activations @ activations.T / divisor
    identity = torch.eye(len(activations), dtype=activations.dtype)
    logits = torch.linalg.solve(kernel + ridge * identity, kernel @ targets)
    return logits @ weight / gamma


def _kernel_summed(activations, targets, weight, gamma, penalty):
    ridge = penalty * len(activations) / gamma**2
    return _ridge(activations, targets, weight, gamma, divisor=1, ridge=ridge)


def _loss_summed(activations, targets, weight, gamma, penalty):
    divisor = activations.shape[1]
    ridge = penalty / gamma**2
    return _ridge(activations, targets, weight, gamma, divisor=divisor, ridge=ridge)


def _gamma_forgotten(activations, targets, weight, gamma, penalty):
    ridge = penalty * len(activations)
    divisor = activations.shape[1]
    return _ridge(activations, targets, weight, gamma, divisor=divisor, ridge=ridge)


def _logits_returned(activations, targets, weight, gamma, penalty):
    return gamma * stationary_features(activations, targets, weight, gamma, penalty)


def _interpolates(activations, targets, weight, gamma, penalty):
    return targets @ weight / gamma


def _frozen(generator):
    for counts, particles, dim in (((3, 3, 3), 5, 6), ((2, 5), 20, 2), ((1, 4, 2, 5), 7, 9)):
        of_class = labels(generator, counts)
        yield (
            torch.tanh(normal(generator, len(of_class), particles)),
            torch.eye(len(counts), dtype=torch.float64)[of_class],
            orthonormal(generator, len(counts), dim),
            uniform(generator, 0.5, 2.5) if particles > 5 else uniform(generator, 0.1, 0.2),
            log_uniform(generator, 1e-2, 0.2) if particles > 5 else 1e-4,
        )


# 7.4 ----------------------------------------------------------------------------------------------
def penalty_for(target, loss, penalty, num_classes):
    """2 L = (K-1)/K (s/(1+s))^2 with s = sqrt(target), and L grows as lambda^2."""
    root = math.sqrt(target)
    wanted = (num_classes - 1) / (2 * num_classes) * (root / (1 + root)) ** 2
    return penalty * math.sqrt(wanted / loss)


def _no_root_of_target(target, loss, penalty, num_classes):
    return penalty_for(target**2, loss, penalty, num_classes)


def _linear_law(target, loss, penalty, num_classes):
    return penalty * (penalty_for(target, loss, penalty, num_classes) / penalty) ** 2


def _without_centring(target, loss, penalty, num_classes):
    share = (num_classes - 1) / num_classes
    return penalty_for(target, loss, penalty, num_classes) / math.sqrt(share)


def _without_shrinking(target, loss, penalty, num_classes):
    wanted = (num_classes - 1) / (2 * num_classes) * target
    return penalty * math.sqrt(wanted / loss)


def _without_half(target, loss, penalty, num_classes):
    return math.sqrt(2) * penalty_for(target, loss, penalty, num_classes)


def _upside_down(target, loss, penalty, num_classes):
    return penalty**2 / penalty_for(target, loss, penalty, num_classes)


def _targets(generator):
    for count in (3, 2, integer(generator, 4, 20)):
        yield (
            log_uniform(generator, 1e-4, 0.5),
            log_uniform(generator, 1e-5, 1e-3),
            log_uniform(generator, 1e-3, 1e-2),
            count,
        )


# 7.5 ----------------------------------------------------------------------------------------------
def mean_field_features(inner, outer, inputs):
    """The mean over particles of their outer weights times their activations."""
    return torch.tanh(inputs @ inner.T) @ outer / len(inner)


def _summed(inner, outer, inputs):
    return torch.tanh(inputs @ inner.T) @ outer


def _usual_scaling(inner, outer, inputs):
    return torch.tanh(inputs @ inner.T) @ outer / math.sqrt(len(inner))


def _without_activation(inner, outer, inputs):
    return inputs @ inner.T @ outer / len(inner)


def _networks(generator):
    for particles, inputs, dim, samples in ((8, 4, 3, 5), (3, 2, 6, 4), (12, 5, 5, 1)):
        yield (
            normal(generator, particles, inputs),
            normal(generator, particles, dim),
            normal(generator, samples, inputs),
        )
    inner, outer = normal(generator, 4, 3), normal(generator, 4, 2)
    twice = torch.cat([inner, inner]), torch.cat([outer, outer])
    yield *twice, normal(generator, 5, 3)


# 7.6 ----------------------------------------------------------------------------------------------
def normalised_imbalance(outer, weight):
    """Distance of the outer weights' second moment from the nearest multiple of WᵀW."""
    moment = outer.T @ outer / len(outer)
    product = weight.T @ weight
    factor = (moment * product).sum() / product.square().sum()
    distance = torch.linalg.matrix_norm(moment - factor * product, 2)
    return (distance / torch.linalg.matrix_norm(moment, 2)).item()


def _with_factor_one(outer, weight):
    moment, product = outer.T @ outer / len(outer), weight.T @ weight
    distance = torch.linalg.matrix_norm(moment - product, 2)
    return (distance / torch.linalg.matrix_norm(moment, 2)).item()


def _not_normalised(outer, weight):
    moment = outer.T @ outer / len(outer)
    return normalised_imbalance(outer, weight) * torch.linalg.matrix_norm(moment, 2).item()


def _in_frobenius(outer, weight):
    moment, product = outer.T @ outer / len(outer), weight.T @ weight
    factor = (moment * product).sum() / product.square().sum()
    return ((moment - factor * product).norm() / moment.norm()).item()


def _moments(generator):
    for particles, count, dim in ((9, 2, 4), (5, 3, 3), (20, 1, 5)):
        yield (
            uniform(generator, 0.5, 3) * normal(generator, particles, dim),
            normal(generator, count, dim),
        )
    # Where W sees more than the particles fill: the largest difference is negative.
    frame = orthonormal(generator, 4, 4)
    yield torch.cat([frame[:3], -frame[:3]]), frame
    # Balanced up to a factor, and nearly so.
    weight = normal(generator, 2, 4)
    yield 1.7 * weight, weight
    yield 1.7 * weight + 0.1 * normal(generator, 2, 4), weight


EXERCISES = (
    Exercise(
        "7.1",
        4,
        unseen,
        _outer_weights,
        (
            Mistake(
                _as_if_orthonormal,
                "You use WᵀW as the projection. That is right only for orthonormal rows; in "
                "general it is Wᵀ(WWᵀ)⁻¹W.",
            ),
            Mistake(
                _seen,
                "That is Πa, the part that W does see. Subtract it from a.",
            ),
            Mistake(
                _only_normed,
                "Dividing WᵀW by a number does not make it a projection, unless all singular "
                "values of W agree. It is Wᵀ(WWᵀ)⁻¹W.",
            ),
        ),
        (
            "Which matrix projects a vector onto the span of the rows of W?",
            "Π = Wᵀ(WWᵀ)⁻¹W, (d, d). The rows a_j go to a_j Π, because Π is symmetric.",
            "outer - outer @ weight.T @ torch.linalg.solve(weight @ weight.T, weight)",
        ),
        "The loss depends on a_j only through W a_j, so its gradient is a combination of the rows "
        "of W: it never touches what you return here.",
    ),
    Exercise(
        "7.2",
        2,
        outside_term,
        _gradients,
        (
            Mistake(
                _summed_over_particles,
                "You sum over particles. G is their *mean*: divide by P, the number of columns "
                "of `activations`.",
            ),
            Mistake(
                _mean_over_samples,
                "You divide by the number of samples. G is a mean over *particles*: divide by P.",
            ),
            Mistake(
                _not_projected,
                "That is G/λ. Part of it lies where W sees; take that part away: G(I − Π).",
            ),
            Mistake(
                _projected_inside,
                "That is GΠ/λ, the part that W sees. The identity needs G(I − Π).",
            ),
            Mistake(
                _orthonormal_assumed,
                "You use WᵀW as the projection. The rows of W need not be orthonormal: Π = "
                "Wᵀ(WWᵀ)⁻¹W, as in exercise 7.1.",
            ),
            Mistake(
                _without_penalty,
                "That is G(I − Π). The identity divides it by λ.",
            ),
            Mistake(
                _times_penalty,
                "You multiply by λ. The outside part of the gradient is λ times that of a_j, so "
                "to get back to a_j divide.",
            ),
        ),
        (
            "G is the mean over particles of the column σ_j (N,) times the row Δ_j (d,).",
            "All at once: G = activations @ slopes / P, (N, d). Then remove what W sees.",
            "Exercise 7.1 does that to rows: unseen(G, weight) / penalty.",
        ),
        "Outside W the gradient of a_j is λ a_j and nothing else, so its mean against the "
        "activations is λ times the outside part of H, wherever the network is.",
    ),
    Exercise(
        "7.3",
        2,
        stationary_features,
        _frozen,
        (
            Mistake(
                _kernel_summed,
                "Your kernel is SSᵀ. The network is a *mean* over particles, so it is SSᵀ/P.",
            ),
            Mistake(
                _loss_summed,
                "Your ridge is λ/γ². The loss is a mean over samples, so it is λN/γ².",
            ),
            Mistake(
                _gamma_forgotten,
                "Your ridge is λN. With γ in the logits, every step of the gradient brings a γ: "
                "λN/γ².",
            ),
            Mistake(
                _logits_returned,
                "You return γH. Divide by γ: the logits are γHWᵀ.",
            ),
            Mistake(
                _interpolates,
                "That is YW/γ, the collapsed part alone. At a stationary point with λ > 0 the "
                "fit is not perfect.",
            ),
        ),
        (
            "Gradient in a_j, as a row: Δ_j = (γ/N) σ_jᵀ R W + λ a_j with R = γHWᵀ − Y, (N, K). "
            "Set it to zero and solve for a_j.",
            "Put a_j into H = (1/P) Σ σ_j a_j: H = −(γ/(λN)) K R W with K = SSᵀ/P. Multiply by γWᵀ "
            "from the right; WWᵀ = I.",
            "The logits Z = γHWᵀ solve (K + (λN/γ²) I) Z = K Y. Then H = Z W/γ.",
        ),
        "This is kernel ridge regression with the kernel SSᵀ/P that the inner weights have "
        "learned. All of H lies in the span of the rows of W: stationarity leaves nothing outside.",
    ),
    Exercise(
        "7.4",
        3,
        penalty_for,
        _targets,
        (
            Mistake(
                _no_root_of_target,
                "The bound is (e/(A − e))², so √target = e/(A − e). Where is your root?",
            ),
            Mistake(
                _linear_law,
                "You scale λ like L. At stationary points L grows as λ², so λ grows as √L.",
            ),
            Mistake(
                _without_centring,
                "Your A is √N/γ. NC1 divides by the *centred* features: A = √(N(K−1)/K)/γ.",
            ),
            Mistake(
                _without_shrinking,
                "You set e = A√target, but the error also eats from the denominator: e/(A − e) "
                "= √target.",
            ),
            Mistake(
                _without_half,
                "The loss has a factor ½: ‖γHWᵀ − Y‖² = 2NL.",
            ),
            Mistake(
                _upside_down,
                "A smaller target needs a smaller λ. Yours grows.",
            ),
        ),
        (
            "At a stationary point the gradient term is gone: e = √(2NL)/γ and A = √(N(K−1)/K)/γ.",
            "(e/(A − e))² = target gives e/A = s/(1 + s) with s = √target; N and γ cancel in e/A.",
            "So L must be (K−1)/(2K) · (s/(1+s))², and λ = penalty · √(L / loss).",
        ),
        "Neither N nor γ is left: for orthonormal W only the loss decides. The law L ∝ λ² is "
        "measured, not proved, so check the λ that you get.",
    ),
    Exercise(
        "7.5",
        1,
        mean_field_features,
        _networks,
        (
            Mistake(
                _summed,
                "You add up the particles. Their number must not matter: take the mean.",
            ),
            Mistake(
                _usual_scaling,
                "You divide by √P, the usual scaling. A mean over particles divides by P.",
            ),
            Mistake(
                _without_activation,
                "The activation tanh is missing.",
            ),
        ),
        (
            "Particle j gives every sample a number, tanh(u_j · x), and with it the vector a_j.",
            "All numbers at once are tanh(X Uᵀ), (N, P); times the outer weights, (P, d).",
            "torch.tanh(inputs @ inner.T) @ outer, divided by the number of particles.",
        ),
        "Copy every particle and nothing changes: only their distribution counts. That is what "
        "lets the width go to infinity.",
    ),
    Exercise(
        "7.6",
        5,
        normalised_imbalance,
        _moments,
        (
            Mistake(
                _with_factor_one,
                "You compare with WᵀW itself. Balance is up to a factor: take the multiple of "
                "WᵀW that is nearest (in Frobenius norm).",
            ),
            Mistake(
                _not_normalised,
                "Divide by the norm of the second moment, or the number changes when the outer "
                "weights grow.",
            ),
            Mistake(
                _in_frobenius,
                "You measure in the Frobenius norm. Only the factor is chosen in it; the two "
                "norms of the ratio are spectral, `torch.linalg.matrix_norm(…, 2)`.",
            ),
        ),
        (
            "The second moment is E[a aᵀ] = outer.T @ outer / P, (d, d). Compare it with WᵀW.",
            "The nearest multiple c WᵀW has c = <moment, WᵀW> / ‖WᵀW‖² with the sum of products.",
            "Then spectral norm of the difference over spectral norm of the moment.",
        ),
        "0 is balance, 1 is nothing in common. A network can have NC1 near 0 and this near ½.",
    ),
)
