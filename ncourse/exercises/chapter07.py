"""Exercises of chapter 7, the mean-field regime."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ncourse.exercises import Answer, Exercise, Mistake, wrong_kind, wrong_number


def _random(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _close(value: Tensor, truth: Tensor) -> bool:
    return torch.allclose(value.double(), truth.double(), rtol=1e-4, atol=1e-5)


def _first_match(
    value: Tensor, arguments: tuple, near: dict[Callable[..., Any], str]
) -> str | None:
    """The message of the known mistake that gives this value."""
    for wrong, message in near.items():
        guess = wrong(*arguments)
        if guess.shape == value.shape and _close(value, guess):
            return message
    return None


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


def _projects(answer: Answer) -> str | None:
    weight = torch.tensor([[2.0, 0, 0, 0], [1.0, 1, 0, 0]], dtype=torch.float64)
    outer = _random(6, 4, seed=0)
    value = answer(outer.clone(), weight.clone())
    if message := wrong_kind(value, (6, 4)):
        return message
    near = {
        _as_if_orthonormal: "You use WᵀW as the projection. That is right only for orthonormal "
        "rows; in general it is Wᵀ(WWᵀ)⁻¹W.",
        _seen: "That is Πa, the part that W does see. Subtract it from a.",
        _only_normed: "Dividing WᵀW by a number does not make it a projection, unless all singular "
        "values of W agree. It is Wᵀ(WWᵀ)⁻¹W.",
    }
    if message := _first_match(value, (outer, weight), near):
        return message
    if (left := (value.double() @ weight.T).abs().max().item()) > 1e-4:
        return f"W still sees your result: W times it has an entry of size {left:.3g}, not 0."
    if not _close(value, unseen(outer, weight)):
        return "W does not see your result, but it is not a minus its projection either."
    return None


def _projects_in_a_turned_space(answer: Answer) -> str | None:
    weight, outer = _random(3, 7, seed=1), _random(5, 7, seed=2)
    value = answer(outer.clone(), weight.clone())
    if message := wrong_kind(value, (5, 7)):
        return message
    if not _close(value, unseen(outer, weight)):
        return "For a random W your result is not a − Wᵀ(WWᵀ)⁻¹W a."
    return None


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


def _is_the_second_term(answer: Answer) -> str | None:
    arguments = (
        torch.tanh(_random(9, 5, seed=0)),
        _random(5, 6, seed=1),
        _random(3, 6, seed=2),
        0.2,
    )
    value = answer(*(each.clone() if isinstance(each, Tensor) else each for each in arguments))
    if message := wrong_kind(value, (9, 6)):
        return message
    near = {
        _summed_over_particles: "You sum over particles. G is their *mean*: divide by P = 5, the "
        "number of columns of `activations`.",
        _mean_over_samples: "You divide by the number of samples. G is a mean over *particles*: "
        "divide by P.",
        _not_projected: "That is G/λ. Part of it lies where W sees; take that part away: G(I − Π).",
        _projected_inside: "That is GΠ/λ, the part that W sees. The identity needs G(I − Π).",
        _orthonormal_assumed: "You use WᵀW as the projection. The rows of W need not be "
        "orthonormal: Π = Wᵀ(WWᵀ)⁻¹W, as in exercise 7.1.",
        _without_penalty: "That is G(I − Π). The identity divides it by λ.",
        _times_penalty: "You multiply by λ. The outside part of the gradient is λ times that of "
        "a_j, so to get back to a_j divide.",
    }
    if message := _first_match(value, arguments, near):
        return message
    if not _close(value, outside_term(*arguments)):
        return (
            "With G = activations @ slopes / P, (N, d), the term is "
            "(G − G Wᵀ(WWᵀ)⁻¹W)/λ; yours differs by up to "
            f"{(value - outside_term(*arguments)).abs().max().item():.3g}."
        )
    return None


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


def _solves_stationarity(answer: Answer) -> str | None:
    weight = torch.linalg.qr(_random(6, 3, seed=3))[0].T.contiguous()
    targets = torch.eye(3, dtype=torch.float64)[torch.arange(9) % 3]
    arguments = (torch.tanh(_random(9, 5, seed=0)), targets, weight, 2.0, 0.05)
    value = answer(*(each.clone() if isinstance(each, Tensor) else each for each in arguments))
    if isinstance(value, Tensor) and value.shape == (9, 3):
        return "Your result is (9, 3): those are the logits. Features are logits times W over γ."
    if message := wrong_kind(value, (9, 6)):
        return message
    near = {
        _kernel_summed: "Your kernel is SSᵀ. The network is a *mean* over particles, so it is "
        "SSᵀ/P.",
        _loss_summed: "Your ridge is λ/γ². The loss is a mean over samples, so it is λN/γ².",
        _gamma_forgotten: "Your ridge is λN. With γ in the logits, every step of the gradient "
        "brings a γ: λN/γ².",
        _logits_returned: "You return γH. Divide by γ: the logits are γHWᵀ.",
        _interpolates: "That is YW/γ, the collapsed part alone. At a stationary point with λ > 0 "
        "the fit is not perfect.",
    }
    if message := _first_match(value, arguments, near):
        return message
    if not _close(value, stationary_features(*arguments)):
        return (
            "At your H the gradient in the a_j is not zero. Set Δ_j = (γ/N) Wᵀ Rᵀ σ_j + λ a_j to "
            "zero, put a_j into H = mean of σ_j a_jᵀ, and use R = γHWᵀ − Y."
        )
    return None


def _gradient_vanishes(answer: Answer) -> str | None:
    activations = torch.tanh(_random(12, 20, seed=5))
    weight = torch.linalg.qr(_random(4, 3, seed=6))[0].T.contiguous()
    targets = torch.eye(3, dtype=torch.float64)[torch.arange(12) % 3]
    value = answer(activations, targets, weight, 0.7, 0.01)
    if message := wrong_kind(value, (12, 4)):
        return message
    residual = 0.7 * value.double() @ weight.T - targets
    outer = -(0.7 / 12 / 0.01) * activations.T @ residual @ weight  # a_j from its own equation
    if not _close(value, activations @ outer / 20):
        return "For γ = 0.7 and P = 20 the equation of stationarity does not hold at your H."
    return None


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


def _reaches_target(answer: Answer) -> str | None:
    for arguments in ((0.01, 2e-4, 1e-3, 3), (1e-4, 5e-5, 2e-3, 10)):
        value = answer(*arguments)
        if message := wrong_number(value):
            return message
        near = {
            _no_root_of_target: "The bound is (e/(A − e))², so √target = e/(A − e). Where is your "
            "root?",
            _linear_law: "You scale λ like L. At stationary points L grows as λ², so λ grows as "
            "√L.",
            _without_centring: "Your A is √N/γ. NC1 divides by the *centred* features: "
            "A = √(N(K−1)/K)/γ.",
            _without_shrinking: "You set e = A√target, but the error also eats from the "
            "denominator: e/(A − e) = √target.",
            _without_half: "The loss has a factor ½: ‖γHWᵀ − Y‖² = 2NL.",
            _upside_down: "A smaller target needs a smaller λ. Yours grows.",
        }
        for wrong, message in near.items():
            if math.isclose(float(value), wrong(*arguments), rel_tol=1e-4):
                return message
        if not math.isclose(float(value), penalty_for(*arguments), rel_tol=1e-4):
            target, loss, penalty, count = arguments
            predicted = loss * (float(value) / penalty) ** 2
            error, size = math.sqrt(2 * abs(predicted)), math.sqrt((count - 1) / count)
            bound = f"{(error / (size - error)) ** 2:.3g}" if error < size else "infinite"
            return (
                f"At your λ = {float(value):.4g} the loss would be {predicted:.3g} and the bound "
                f"{bound}, for a target of {target}."
            )
    return None


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


def _averages_over_particles(answer: Answer) -> str | None:
    arguments = (_random(8, 4, seed=0), _random(8, 3, seed=1), _random(5, 4, seed=2))
    value = answer(*(each.clone() for each in arguments))
    if message := wrong_kind(value, (5, 3)):
        return message
    if _close(value, mean_field_features(*arguments)):
        return None
    near = {
        _summed: "You add up the particles. Their number must not matter: take the mean.",
        _usual_scaling: "You divide by √P, the usual scaling. A mean over particles divides by P.",
        _without_activation: "The activation tanh is missing.",
    }
    return _first_match(value, arguments, near) or "On random weights your features are wrong."


def _copies_change_nothing(answer: Answer) -> str | None:
    inner, outer, inputs = _random(6, 4, seed=3), _random(6, 3, seed=4), _random(5, 4, seed=5)
    once = answer(inner.clone(), outer.clone(), inputs.clone())
    twice = answer(torch.cat([inner, inner]), torch.cat([outer, outer]), inputs.clone())
    if not _close(once, twice):
        return "Twice the same particles must give the same features; yours change."
    return None


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


def _off_balance(answer: Answer) -> str | None:
    arguments = (_random(9, 4, seed=6), _random(2, 4, seed=7))
    value = answer(*(each.clone() for each in arguments))
    if message := wrong_number(value):
        return message
    truth = normalised_imbalance(*arguments)
    if math.isclose(float(value), truth, rel_tol=1e-5):
        return None
    near = {
        _with_factor_one: "You compare with WᵀW itself. Balance is up to a factor: take the "
        "multiple of WᵀW that is nearest (in Frobenius norm).",
        _not_normalised: "Divide by the norm of the second moment, or the number changes when the "
        "outer weights grow.",
        _in_frobenius: "You measure in the Frobenius norm. Only the factor is chosen in it; the "
        "two norms of the ratio are spectral, `torch.linalg.matrix_norm(…, 2)`.",
    }
    for wrong, message in near.items():
        if math.isclose(float(value), wrong(*arguments), rel_tol=1e-5):
            return message
    return f"On random weights it is {truth:.4g}; yours is {float(value):.4g}."


EXERCISES = (
    Exercise(
        "7.1",
        4,
        unseen,
        (_projects, _projects_in_a_turned_space),
        (
            "Which matrix projects a vector onto the span of the rows of W?",
            "Π = Wᵀ(WWᵀ)⁻¹W, (d, d). The rows a_j go to a_j Π, because Π is symmetric.",
            "outer - outer @ weight.T @ torch.linalg.solve(weight @ weight.T, weight)",
        ),
        "The loss depends on a_j only through W a_j, so its gradient is a combination of the rows "
        "of W: it never touches what you return here.",
        (
            Mistake(_as_if_orthonormal, "only for orthonormal"),
            Mistake(_seen, "the part that W does see"),
            Mistake(_only_normed, "Dividing WᵀW by a number"),
        ),
    ),
    Exercise(
        "7.2",
        2,
        outside_term,
        (_is_the_second_term,),
        (
            "G is the mean over particles of the column σ_j (N,) times the row Δ_j (d,).",
            "All at once: G = activations @ slopes / P, (N, d). Then remove what W sees.",
            "Exercise 7.1 does that to rows: unseen(G, weight) / penalty.",
        ),
        "Outside W the gradient of a_j is λ a_j and nothing else, so its mean against the "
        "activations is λ times the outside part of H, wherever the network is.",
        (
            Mistake(_summed_over_particles, "*mean*"),
            Mistake(_mean_over_samples, "number of samples"),
            Mistake(_not_projected, "That is G/λ"),
            Mistake(_projected_inside, "That is GΠ/λ"),
            Mistake(_orthonormal_assumed, "need not be orthonormal"),
            Mistake(_without_penalty, "divides it by λ"),
            Mistake(_times_penalty, "multiply by λ"),
        ),
    ),
    Exercise(
        "7.3",
        2,
        stationary_features,
        (_solves_stationarity, _gradient_vanishes),
        (
            "Gradient in a_j, as a row: Δ_j = (γ/N) σ_jᵀ R W + λ a_j with R = γHWᵀ − Y, (N, K). "
            "Set it to zero and solve for a_j.",
            "Put a_j into H = (1/P) Σ σ_j a_j: H = −(γ/(λN)) K R W with K = SSᵀ/P. Multiply by γWᵀ "
            "from the right; WWᵀ = I.",
            "The logits Z = γHWᵀ solve (K + (λN/γ²) I) Z = K Y. Then H = Z W/γ.",
        ),
        "This is kernel ridge regression with the kernel SSᵀ/P that the inner weights have "
        "learned. All of H lies in the span of the rows of W: stationarity leaves nothing outside.",
        (
            Mistake(_kernel_summed, "SSᵀ/P"),
            Mistake(_loss_summed, "λN/γ²"),
            Mistake(_gamma_forgotten, "Your ridge is λN."),
            Mistake(_logits_returned, "You return γH"),
            Mistake(_interpolates, "collapsed part alone"),
        ),
    ),
    Exercise(
        "7.4",
        3,
        penalty_for,
        (_reaches_target,),
        (
            "At a stationary point the gradient term is gone: e = √(2NL)/γ and A = √(N(K−1)/K)/γ.",
            "(e/(A − e))² = target gives e/A = s/(1 + s) with s = √target; N and γ cancel in e/A.",
            "So L must be (K−1)/(2K) · (s/(1+s))², and λ = penalty · √(L / loss).",
        ),
        "Neither N nor γ is left: for orthonormal W only the loss decides. The law L ∝ λ² is "
        "measured, not proved, so check the λ that you get.",
        (
            Mistake(_no_root_of_target, "Where is your root"),
            Mistake(_linear_law, "scale λ like L"),
            Mistake(_without_centring, "*centred*"),
            Mistake(_without_shrinking, "eats from the denominator"),
            Mistake(_without_half, "factor ½"),
            Mistake(_upside_down, "Yours grows"),
        ),
    ),
    Exercise(
        "7.5",
        1,
        mean_field_features,
        (_averages_over_particles, _copies_change_nothing),
        (
            "Particle j gives every sample a number, tanh(u_j · x), and with it the vector a_j.",
            "All numbers at once are tanh(X Uᵀ), (N, P); times the outer weights, (P, d).",
            "torch.tanh(inputs @ inner.T) @ outer, divided by the number of particles.",
        ),
        "Copy every particle and nothing changes: only their distribution counts. That is what "
        "lets the width go to infinity.",
        (
            Mistake(_summed, "take the mean"),
            Mistake(_usual_scaling, "the usual scaling"),
            Mistake(_without_activation, "activation tanh"),
        ),
    ),
    Exercise(
        "7.6",
        5,
        normalised_imbalance,
        (_off_balance,),
        (
            "The second moment is E[a aᵀ] = outer.T @ outer / P, (d, d). Compare it with WᵀW.",
            "The nearest multiple c WᵀW has c = <moment, WᵀW> / ‖WᵀW‖² with the sum of products.",
            "Then spectral norm of the difference over spectral norm of the moment.",
        ),
        "0 is balance, 1 is nothing in common. A network can have NC1 near 0 and this near ½.",
        (
            Mistake(_with_factor_one, "up to a factor"),
            Mistake(_not_normalised, "Divide by the norm"),
            Mistake(_in_frobenius, "Frobenius norm"),
        ),
    ),
)
