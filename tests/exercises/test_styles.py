"""Right answers written in other ways than the references are solved."""

import importlib
import inspect
import itertools
import math
import pkgutil
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import brentq, linprog, minimize_scalar
from torch.nn import functional

import ncourse.exercises as exercises
from ncourse.exercises.checks import Exercise, check, find

ALL = [
    asked
    for module in pkgutil.iter_modules(exercises.__path__)
    if module.name.startswith("chapter")
    for asked in importlib.import_module(f"ncourse.exercises.{module.name}").EXERCISES
]
STYLES: dict[str, list[Callable[..., Any]]] = {}


def answers(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def keep(answer: Callable[..., Any]) -> Callable[..., Any]:
        STYLES.setdefault(name, []).append(answer)
        return answer

    return keep


# --- in whatever container ------------------------------------------------------------------------


def as_numpy(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().numpy()
    if isinstance(value, tuple):
        return [as_numpy(part) for part in value]  # and a list in place of a tuple
    return np.float64(value) if isinstance(value, float) else value


def as_python(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.tolist()
    return tuple(map(as_python, value)) if isinstance(value, tuple) else value


def as_float32(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.float() if value.is_floating_point() else value
    if isinstance(value, tuple):
        return tuple(map(as_float32, value))
    return torch.tensor(value, dtype=torch.float32) if isinstance(value, float) else value


def signed(asked: Exercise, answer: Callable[..., Any]) -> Callable[..., Any]:
    names = ", ".join(inspect.signature(asked.reference).parameters)
    scope: dict[str, Any] = {"answer": answer}
    exec(f"def in_style({names}):\n    return answer({names})", scope)
    return scope["in_style"]


GRADIENTS = {"9.1"}  # asks for a tensor with a gradient


@pytest.mark.parametrize("style", [as_numpy, as_python, as_float32])
@pytest.mark.parametrize("asked", ALL, ids=lambda asked: asked.name)
def test_values_in_other_containers_are_taken(asked: Exercise, style: Callable) -> None:
    answer = signed(asked, lambda *values: style(asked.reference(*values)))
    if asked.name in GRADIENTS and style is not as_float32:
        assert "as a scalar tensor" in check(asked, answer).message
        return
    for seed in range(3):
        assert check(asked, answer, seed=seed).state == "solved", check(asked, answer).message


@pytest.mark.parametrize("asked", ALL, ids=lambda asked: asked.name)
def test_an_answer_may_work_in_place(asked: Exercise) -> None:
    def in_place(*values: Any) -> Any:
        result = asked.reference(*values)
        for value in values:
            if isinstance(value, torch.Tensor | np.ndarray) and not getattr(
                value, "requires_grad", False
            ):
                value[...] = 7
            if isinstance(value, list):
                value.clear()
        return result

    assert check(asked, signed(asked, in_place)).state == "solved"


def test_every_exercise_has_another_answer() -> None:
    assert {asked.name for asked in ALL} == set(STYLES)


@pytest.mark.parametrize("name", [asked.name for asked in ALL])
def test_other_answers_are_solved(name: str) -> None:
    asked = find(name)
    for answer in STYLES[name]:
        for seed in range(3):
            feedback = check(asked, answer, seed=seed)
            assert feedback.state == "solved", (answer.__name__, feedback.message)


# --- chapter 0 ------------------------------------------------------------------------------------


@answers("0.1")
def by_a_loop(logits, labels):
    wrong = 0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        wrong += row.index(max(row)) != label
    return wrong / len(labels)


@answers("0.1")
def one_minus_accuracy(logits, labels):
    return 1 - (torch.softmax(logits, 1).max(1).indices == labels).float().mean()


@answers("0.2")
def two_ifs(measured, control, least):
    if measured < least:
        return False
    return not control >= least


@answers("0.3")
def trace_of_covariance(points):
    return torch.trace(torch.cov(points.T, correction=0).reshape(points.shape[1], -1))


@answers("0.3")
def pairs_of_points(points):
    return torch.cdist(points, points).square().mean() / 2


# --- chapter 1 ------------------------------------------------------------------------------------


@answers("1.1")
def exactly(num_classes):
    return float(Fraction(1, 1 - num_classes))


@answers("1.2")
def as_a_frame_turned(num_classes):
    vertices = torch.eye(num_classes, dtype=torch.float64) - 1 / num_classes
    vertices = functional.normalize(vertices, dim=1)
    turn = torch.linalg.matrix_exp(
        torch.ones(num_classes, num_classes).double().tril(-1).mul(0.3)
        - torch.ones(num_classes, num_classes).double().triu(1).mul(0.3)
    )
    return -vertices @ turn


@answers("1.2")
def by_the_formula(num_classes):
    scale = math.sqrt(num_classes / (num_classes - 1))
    return [
        [scale * ((i == j) - 1 / num_classes) for j in range(num_classes)]
        for i in range(num_classes)
    ]


@answers("1.3")
def rank_of_the_simplex(vectors):
    count = len(vectors)
    u, _, vh = np.linalg.svd((vectors - vectors.mean(0)).numpy(), full_matrices=False)
    return math.sqrt(count / (count - 1)) * u[:, : count - 1] @ vh[: count - 1]


@answers("1.3")
def by_a_square_root(vectors):
    count = len(vectors)
    centred = vectors - vectors.mean(0)
    values, basis = torch.linalg.eigh(centred @ centred.T)
    root = (basis[:, 1:] / values[1:].sqrt()) @ basis[:, 1:].T
    return math.sqrt(count / (count - 1)) * root @ centred


@answers("1.4")
def by_decomposition(basis, direction):
    q = torch.linalg.qr(torch.cat([basis, direction[None]]).T).Q.T
    return torch.cat([basis, q[-1:]])


@answers("1.4")
def the_other_sign(basis, direction):
    rest = direction.clone()
    for row in basis:
        rest -= (rest @ row) * row
    return torch.vstack([basis, -rest / rest.norm()])


@answers("1.5")
def both_ends_in_turn(num_vectors, dim):
    made = torch.cat([torch.eye(dim), -torch.eye(dim)])
    return made[:num_vectors]


@answers("1.5")
def a_simplex_where_there_is_room(num_vectors, dim):
    made = np.concatenate([np.eye(dim), -np.eye(dim)])
    return np.flip(made, axis=0)[:num_vectors]


@answers("1.6")
def through_the_cosine(num_points, energy):
    cosine = -1 / (num_points - 1)
    return math.comb(num_points, 2) * energy(2 - 2 * cosine)


# --- chapter 2 ------------------------------------------------------------------------------------


@answers("2.1")
def two_minus_twice_the_cosine(weight, class_means):
    centred = class_means - class_means.mean(0, keepdim=True)
    cosine = torch.cosine_similarity(weight.flatten(), centred.flatten(), dim=0)
    return 2 - 2 * cosine


@answers("2.1")
def in_place_with_numpy(weight, class_means):
    weight, class_means = weight.numpy(), class_means.numpy()
    class_means -= class_means.mean(axis=0)
    class_means /= np.linalg.norm(class_means)
    weight /= np.linalg.norm(weight)
    return ((weight - class_means) ** 2).sum()


@answers("2.2")
def by_hand(class_means):
    centred = class_means.numpy() - class_means.numpy().mean(0)
    lengths = np.sqrt((centred**2).sum(1))
    return lengths.std(ddof=1) / lengths.mean()


@answers("2.3")
def any_positive_multiple(class_means):
    return 3 * torch.linalg.pinv(class_means.T - class_means.T.mean(1, keepdim=True))


@answers("2.3")
def by_least_squares(class_means):
    count = len(class_means)
    centred = class_means - class_means.mean(0)
    target = torch.eye(count, dtype=torch.float64) - 1 / count
    return np.linalg.lstsq(centred.numpy(), target.numpy(), rcond=None)[0].T


@answers("2.4")
def with_solve(within, between, num_classes):
    values, axes = torch.linalg.eigh(between)
    kept = values > 1e-9 * values.max()
    along = torch.einsum("id,ij,jd->d", axes, within, axes)[kept]
    first = (along / values[kept]).sum()
    ratio = torch.trace(within) / torch.trace(between)
    return [first, first / num_classes, ratio, 1 - 1 / (1 + ratio)]


# --- chapter 3 ------------------------------------------------------------------------------------


@answers("3.1")
def by_traces(features, labels):
    count = len(labels.unique())
    means = [features[labels == k].mean(0) for k in range(count)]
    centre = sum(means) / count
    within = sum(float(((x - means[y]) ** 2).sum()) for x, y in zip(features, labels, strict=True))
    between = sum(float(((m - centre) ** 2).sum()) for m in means)
    return within / len(labels) * count / between


@answers("3.2")
def with_next(train_error):
    return next((i + 1 for i, error in enumerate(train_error) if not error), None)


@answers("3.2")
def with_numpy(train_error):
    zero = np.flatnonzero(np.array(train_error) == 0)
    return zero[0] + 1 if len(zero) else None


@answers("3.3")
def by_completed_squares(features, labels, logits):
    means = torch.stack([features[labels == k].mean(0) for k in range(logits.shape[1])])
    scores = features @ means.T - 0.5 * means.square().sum(1)
    return np.mean((scores.argmax(1) != logits.argmax(1)).numpy())


@answers("3.4")
def with_index(train_error, nc1):
    if 0 not in train_error:
        return None
    return torch.tensor(nc1[train_error.index(0)]) / nc1[-1]


@answers("3.5")
def with_onehot(train_features, train_labels, test_features, test_labels):
    onehot = functional.one_hot(train_labels).double()
    means = (onehot.T @ train_features) / onehot.sum(0)[:, None]
    off = test_features - functional.one_hot(test_labels, len(means)).double() @ means
    spread = torch.var(means, dim=0, correction=0).sum()
    return (off**2).sum() / len(off) / spread


@answers("3.6")
def with_steps_of_its_own(model, inputs, labels, orders, weight_decay):
    parameters, measured = list(model.parameters()), []
    velocity = [torch.zeros_like(p) for p in parameters]
    for order in orders:
        model.train()
        for start in range(0, len(order), 128):
            batch = order[start : start + 128]
            loss = functional.cross_entropy(model(inputs[batch]), labels[batch])
            for p, v, g in zip(
                parameters, velocity, torch.autograd.grad(loss, parameters), strict=True
            ):
                v.mul_(0.9).add_(g + weight_decay * p.detach())
                p.data -= 0.05 * v
        seen = model.eval().body(inputs).detach()
        measured.append(by_traces(seen, labels))
    return measured


@answers("3.6")
def with_a_loader(model, inputs, labels, orders, weight_decay):
    data = torch.utils.data.TensorDataset(inputs, labels)
    sgd = torch.optim.SGD(model.parameters(), 0.05, 0.9, weight_decay=weight_decay)
    measured = []
    for order in orders:
        model.train()
        for x, y in torch.utils.data.DataLoader(data, 128, sampler=order.tolist()):
            sgd.zero_grad()
            nn_loss = torch.nn.CrossEntropyLoss()(model(x), y)
            nn_loss.backward()
            sgd.step()
        model.eval()
        with torch.inference_mode():
            measured.append(by_traces(model.features(inputs), labels))
    return np.array(measured)


# --- chapter 4 ------------------------------------------------------------------------------------


@answers("4.1")
def by_solving(num_classes, samples_per_class):
    return brentq(lambda x: num_classes * samples_per_class**0.5 * x - 1, 0, 2, xtol=1e-14)


@answers("4.2")
def by_minimising(num_classes, samples_per_class, lambda_w, lambda_h):
    c = math.sqrt(samples_per_class * lambda_w * lambda_h)

    def slope(a):
        return c - 1 / (math.exp(a) + num_classes - 1)

    return brentq(slope, 0, 60, xtol=1e-13) if slope(0) < 0 else 0


@answers("4.3")
def by_stacked_least_squares(features, targets, penalty):
    samples, dim = features.shape
    extended = np.hstack([features.numpy(), np.ones((samples, 1))]) / math.sqrt(samples)
    ridge = math.sqrt(penalty) * np.eye(dim + 1)
    left = np.vstack([extended, ridge])
    right = np.vstack([targets.numpy() / math.sqrt(samples), np.zeros((dim + 1, targets.shape[1]))])
    both = np.linalg.lstsq(left, right, rcond=None)[0]
    return [both[:-1].T, both[-1]]


@answers("4.4")
def with_relu(weight, k, shares):
    mean = sum(share * row for share, row in zip(shares, weight, strict=True))
    return functional.relu(weight[k] - mean).sum()


@answers("4.4")
def best_feature(weight, k, shares):
    difference = weight[k] - shares @ weight
    feature = (difference > 0).double()
    return float(feature @ difference)


@answers("4.5")
def by_eigenvalues(features, labels, weight, penalty):
    slope = torch.softmax(features @ weight.T, 1)
    slope[torch.arange(len(labels)), labels] -= 1
    slope /= len(labels)
    return penalty - torch.linalg.eigvalsh(slope.T @ slope)[-1].sqrt()


# --- chapter 5 ------------------------------------------------------------------------------------


@answers("5.1")
def by_a_search(num_classes, samples_per_class, lambda_w, lambda_h):
    k = num_classes * math.sqrt(samples_per_class * lambda_w * lambda_h)
    found = minimize_scalar(
        lambda a: (a - 1) ** 2 / 2 + k * a,
        bounds=(0, 1),
        method="bounded",
        options={"xatol": 1e-12},
    )
    return min(found.fun, 0.5)


@answers("5.2")
def of_least_size(data, labels, k):
    own = data[labels == k]
    dim = data.shape[1]
    # u = p - q with p, q >= 0 and the least sum.
    solved = linprog(
        np.ones(2 * dim),
        A_ub=np.hstack([data[labels != k], -data[labels != k]]),
        b_ub=np.zeros((labels != k).sum()),
        A_eq=np.hstack([own, -own]),
        b_eq=np.ones(len(own)),
    )
    return torch.tensor(solved.x[:dim] - solved.x[dim:]) if solved.success else None


@answers("5.3")
def by_a_fixed_number(feasible, low, high, tolerance):
    for _ in range(math.ceil(math.log2((high - low) / tolerance))):
        middle = low + (high - low) / 2
        low, high = (low, middle) if feasible(middle) else (middle, high)
    return high


@answers("5.4")
def by_the_kernel(data, labels, first):
    hidden = (data @ first.T).clamp(min=0)
    onehot = functional.one_hot(labels).double()
    return torch.linalg.solve(hidden @ hidden.T, onehot).T @ hidden


@answers("5.5")
def with_a_positive_slack(data, labels, k):
    own, rest = data[labels == k], data[labels != k]
    free = {"bounds": (None, None)}
    zero = np.zeros(data.shape[1])
    if linprog(zero, rest, np.zeros(len(rest)), own, np.ones(len(own)), **free).success:
        return "collapses"
    both = np.vstack([rest, -own])
    limit = np.hstack([np.zeros(len(rest)), -3 * np.ones(len(own))])
    return "separates" if linprog(zero, both, limit, **free).success else "neither"


# --- chapter 6 ------------------------------------------------------------------------------------


@answers("6.1")
def never_back(start, goal, weight_decay):
    if goal >= start:
        return 0
    return (np.log(start) - np.log(goal)) / 2 / weight_decay


@answers("6.2")
def multiplied_out(before, lower_gradient, upper_gradient, weight_decay, step_size):
    shrink = 1 - step_size * weight_decay
    after = shrink * (shrink * before)
    after += (step_size * upper_gradient).T @ (step_size * upper_gradient)
    after -= (step_size * lower_gradient) @ (step_size * lower_gradient).T
    return after


@answers("6.3")
def geometric_series(source, weight_decay, step_size):
    shrink = (1 - step_size * weight_decay) ** 2
    return step_size**2 * source / (1 - shrink) if weight_decay else float("inf")


@answers("6.4")
def by_logarithms(head_conditioning, num_linear):
    return math.exp(math.log(head_conditioning) / num_linear)


@answers("6.5")
def in_steps(below, lower, upper, targets):
    outputs = torch.einsum("na,ba,kb->nk", below, lower, upper)
    s = np.linalg.svd(upper.numpy(), compute_uv=False)
    error = np.linalg.norm((outputs - targets).numpy())
    off = torch.linalg.eigvalsh(upper.T @ upper - lower @ lower.T).abs().max().item()
    delta = (error / s.min()) ** 2 + off * float((below**2).sum())
    room = torch.linalg.norm(targets - targets.mean(0)).item() - error
    return s.max() ** 2 * delta / room**2


# --- chapter 7 ------------------------------------------------------------------------------------


@answers("7.1")
def by_singular_vectors(outer, weight):
    rows = torch.linalg.svd(weight, full_matrices=False).Vh
    return outer - outer @ rows.T @ rows


@answers("7.2")
def particle_by_particle(activations, slopes, weight, penalty):
    project = torch.eye(weight.shape[1]).double() - torch.linalg.pinv(weight) @ weight
    total = torch.zeros(len(activations), weight.shape[1]).double()
    for j in range(activations.shape[1]):
        total += torch.outer(activations[:, j], slopes[j])
    return total @ project / activations.shape[1] / penalty


@answers("7.3")
def through_the_outer_weights(activations, targets, weight, gamma, penalty):
    samples, particles = activations.shape
    # a_j = -(gamma / (lambda N)) sigma_j^T R W, so R solves a system of its own.
    factor = gamma**2 / (penalty * samples * particles)
    system = torch.eye(samples).double() + factor * activations @ activations.T
    residual = torch.linalg.solve(system, -targets)
    outer = -(gamma / (penalty * samples)) * activations.T @ residual @ weight
    return activations @ outer / particles


@answers("7.4")
def with_sizes(target, loss, penalty, num_classes):
    size = math.sqrt((num_classes - 1) / num_classes)
    error = size * math.sqrt(target) / (1 + math.sqrt(target))
    return penalty * error / math.sqrt(2 * loss)


@answers("7.5")
def averaged(inner, outer, inputs):
    each = torch.tanh(torch.einsum("pi,ni->np", inner, inputs))[:, :, None] * outer
    return each.mean(1)


@answers("7.6")
def by_regression(outer, weight):
    moment = torch.einsum("pi,pj->ij", outer, outer) / len(outer)
    product = weight.T @ weight
    factor = float(torch.linalg.lstsq(product.reshape(-1, 1), moment.reshape(-1, 1)).solution)
    sizes = torch.linalg.eigvalsh(moment - factor * product).abs().max()
    return sizes / torch.linalg.eigvalsh(moment).max()


# --- chapter 8 ------------------------------------------------------------------------------------


@answers("8.1")
def by_cases(distance, depth, layers_per_block):
    if layers_per_block == 2:
        return 2 * distance
    return distance**2 / depth


@answers("8.2")
def with_brentq(num_classes, weight_decay):
    def pull(s):
        small = math.exp(-s * num_classes / (num_classes - 1))
        return weight_decay * s - small / (1 + (num_classes - 1) * small)

    return brentq(pull, 0, 1 / (weight_decay * num_classes), xtol=1e-14, rtol=1e-14)


@answers("8.3")
def term_by_term(features, labels, weight, hidden_squares, weight_decay):
    from ncourse.papers import sukenik2025 as deep

    logits = features @ weight.T
    fit = (logits.logsumexp(1) - logits[torch.arange(len(labels)), labels]).mean()
    total = fit + weight_decay * hidden_squares / 2 + weight_decay * (weight**2).sum() / 2
    return total - deep.optimum(weight.shape[0], weight_decay).loss


@answers("8.4")
def with_polyfit(depths, gaps, depth):
    line = np.polyfit(np.log(depths), np.log(gaps), 1)
    return np.exp(np.polyval(line, np.log(depth)))


@answers("8.5")
def pair_by_pair(inputs, labels):
    return sum(
        bool((inputs[i] == inputs[j]).all()) and labels[i] != labels[j]
        for i, j in itertools.combinations(range(len(labels)), 2)
    )


# --- chapter 9 ------------------------------------------------------------------------------------


@answers("9.1")
def by_unit_vectors(features, old_features):
    with torch.no_grad():
        old = functional.normalize(old_features, dim=1)
    cosines = torch.einsum("nd,nd->n", functional.normalize(features, dim=1), old)
    return ((1 - cosines) ** 2).sum() / (2 * len(features))


@answers("9.2")
def with_a_square_root(means):
    count = len(means)
    means = means - means.mean(0)
    means /= means.norm(dim=1, keepdim=True)
    means -= means.mean(0)
    values, basis = np.linalg.eigh((means @ means.T).numpy())
    root = (basis[:, 1:] / np.sqrt(values[1:])) @ basis[:, 1:].T
    return math.sqrt(count / (count - 1)) * root @ means.numpy()


@answers("9.3")
def by_a_decomposition(basis, direction):
    new = torch.linalg.qr(torch.cat([basis, direction[None]]).T).Q[:, -1]
    grown = torch.cat([basis, new[None]])
    return functional.normalize(grown - grown.mean(0), dim=1)


@answers("9.4")
def with_logarithms(buffers, accuracies, target):
    previous = None
    for size, level in zip(buffers, accuracies, strict=True):
        if level >= target:
            if previous is None:
                return size
            start, below = previous
            share = (target - below) / (level - below)
            return math.exp((1 - share) * math.log(start) + share * math.log(size))
        previous = size, level
    return np.inf


@answers("9.5")
def with_arrays(accuracy):
    table = np.array(accuracy)
    return (table.max(axis=0) - table[-1])[:-1].mean()


# --- chapter 10 -----------------------------------------------------------------------------------


@answers("10.1")
def with_booleans(train, test, factor):
    there = np.array(test) >= factor * np.array(train)
    return int(there.argmax()) if there.any() else None


@answers("10.2")
def query_by_query(support, support_labels, queries):
    found = []
    for query in queries:
        distances = [
            (query - support[support_labels == k].mean(0)).norm().item()
            for k in range(int(support_labels.max()) + 1)
        ]
        found.append(int(np.argmin(distances)))
    return found


@answers("10.3")
def by_ranks(known, unknown):
    from scipy.stats import mannwhitneyu

    return mannwhitneyu(known.numpy(), unknown.numpy()).statistic / (len(known) * len(unknown))


@answers("10.4")
def as_a_set(penalty, linear_layers, residual, mean_field):
    weights = penalty == "weights"
    return {
        name
        for name, applies in {
            "Wu and Mondelli": weights and mean_field,
            "Súkeník et al.": weights and residual,
            "Jacot et al.": weights and linear_layers > 1,
            "Hong and Ling": penalty == "features",
        }.items()
        if applies
    }


@answers("10.5")
def with_a_quotient(error, imbalance, largest, least, below, num_samples, num_classes):
    room = (num_samples - num_samples / num_classes) ** 0.5
    if error >= room:
        return float("inf")
    spread = (largest * error / least) ** 2 + largest**2 * imbalance * below * below
    return spread / (room - error) ** 2


@answers("10.6")
def ranked_with_numpy(known, unknown):
    ranked = np.sort(known.numpy())
    return np.mean(unknown.numpy() >= ranked[int(0.05 * len(ranked) + 1e-9)])


# --- chapter 11 -----------------------------------------------------------------------------------


@answers("11.1")
def by_places(counts):
    total, loss = 0.0, 0.0
    for row in counts.tolist():
        for count in row:
            if count:
                loss -= count * math.log(count / sum(row))
                total += count
    return loss / total


@answers("11.2")
def in_closed_form(num_words, size):
    return num_words * (size - 1) / (num_words - size)


@answers("11.3")
def by_bisection(singular_value, start):
    low, high = -100.0, 1000.0
    for _ in range(200):
        time = (low + high) / 2
        odds = (1 / (singular_value * start) - 1) * math.exp(-2 * singular_value * time)
        low, high = (time, high) if odds > 1 else (low, time)
    return low


@answers("11.4")
def from_a_spectrum(strong, weak, items, attributes, layers):
    values = torch.tensor([strong] * attributes + [weak] * (items - 1 - attributes))
    eigenvalues = values.double() ** (2 / layers)
    return (eigenvalues[:attributes].sum() / eigenvalues.sum()).item()


@answers("11.5")
def word_by_word(features, labels, weight, min_samples):
    means, rows = [], []
    for word, row in enumerate(weight):
        own = features[labels == word]
        if len(own) >= min_samples:
            means.append(own.mean(0))
            rows.append(row)
    centre = sum(means) / len(means)
    cosines = [
        float((mean - centre) @ row / (mean - centre).norm() / row.norm())
        for mean, row in zip(means, rows, strict=True)
    ]
    return torch.tensor(cosines, dtype=torch.float64).std().item()


# --- chapter 12 -----------------------------------------------------------------------------------


@answers("12.1")
def total_minus_within(features, labels):
    residual = features.clone()
    for k in labels.unique():
        residual[labels == k] -= features[labels == k].mean(0)
    within = residual.T @ residual / len(features)
    return torch.cov(features.T, correction=0) - within


@answers("12.1")
def every_sample_by_its_mean(features, labels):
    onehot = functional.one_hot(labels).double()
    means = onehot.T @ features / onehot.sum(0)[:, None]
    each = means[labels] - features.mean(0)
    return torch.einsum("ni,nj->ij", each, each) / len(each)


@answers("12.2")
def class_by_class(features, labels):
    total = 0.0
    for k in range(int(labels.max()) + 1):
        total += (features[labels == k] - features[labels == k].mean(0)).pow(2).sum()
    return total / len(labels)


@answers("12.2")
def one_pass_after_a_shift(features, labels):
    shifted = features.double()
    total = 0.0
    for k in labels.unique():
        own = shifted[labels == k]
        own = own - own[0]
        total += (own.square().sum() - len(own) * own.mean(0).square().sum()).item()
    return total / len(labels)


@answers("12.3")
def by_distances_to_the_new_mean(count_a, mean_a, squares_a, count_b, mean_b, squares_b):
    count = count_a + count_b
    mean = mean_a + (mean_b - mean_a) * (count_b / count)
    squares = squares_a + squares_b
    squares += count_a * ((mean_a - mean) ** 2).sum() + count_b * ((mean_b - mean) ** 2).sum()
    return [count, mean, squares]


@answers("12.4")
def with_a_hook(model, inputs):
    kept, modes = [], {module: module.training for module in model.modules()}
    hook = model[-1].register_forward_hook(lambda layer, given, out: kept.append(given[0].detach()))
    with torch.inference_mode():
        model.eval()(inputs)
    hook.remove()
    for module, mode in modes.items():
        module.training = mode
    return kept[0]


@answers("12.4")
def layer_by_layer(model, inputs):
    came = model.training
    model.eval()
    for layer in list(model)[:-1]:
        inputs = layer(inputs)
    model.train(came)
    return inputs.detach().numpy()
