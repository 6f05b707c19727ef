"""Su et al. 2023: does a collapsed network resist adversarial changes of its inputs?

"On the robustness of neural collapse and the neural collapse of robustness" (arXiv 2311.07444),
known here from its abstract: the simplex disappears under small attacks, which make samples leap
from one vertex to another; earlier layers keep reliable simplices where later ones do not; networks
that are trained to be robust collapse too.

Two networks learn digits equally well, one with weight decay, which collapses, and one without. An
attack moves each pixel by at most a radius (of 1, the range of a pixel), by projected gradient
ascent on the margin, the largest other logit minus the own: unlike the cross-entropy it has a
gradient however sure the network is. The control is a change of the same size with random signs.
Features of every layer are read by the nearest class mean, before and after. Networks that were
trained to be robust are not in it. All thresholds are this course's, for digits.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ncourse.claims import Claim
from ncourse.comparisons import at_least, at_most, below
from ncourse.data import Dataset, digits
from ncourse.metrics import nearest_class_mean
from ncourse.models import MLP, hidden_layers
from ncourse.papers import Asked, declared
from ncourse.progress import progress_bar
from ncourse.tables import Table
from ncourse.training import fit

__all__ = ["attacked", "claims", "experiment", "robustness"]

WEIGHT_DECAYS = {"weight decay 5e-3": 5e-3, "no weight decay": 0.0}
EPOCHS, STEPS = 300, 20
RADII = (0.05, 0.1, 0.15)

COURSE = "This course, measured"
SU = "Su et al. 2023 (abstract); the numbers: this course"


@declared(
    scales={"laptop": "about fifteen seconds for digits"},
    data=lambda scale, seed: digits(),
    needs={"classes": 2, "training samples": 1, "test samples": 1},
    resumable=True,
)
def experiment(dataset: Dataset, asked: Asked) -> dict[str, Table]:
    """Attack a collapsed network and one that has not collapsed: one seed.

    Returns:
        An `Outcome` with the tables "attacks" and "layers".
    """
    return robustness(dataset, seed=asked.seed)


def attacked(
    model: nn.Module,
    inputs: Float[Tensor, "samples ..."],
    labels: Int[Tensor, " samples"],
    radius: float,
    *,
    seed: int,
    steps: int = STEPS,
) -> Float[Tensor, "samples ..."]:
    """Inputs changed by at most `radius` in each entry so that the margin is as bad as can be.

    Projected gradient ascent from a random start, 2.5 radius / steps a step. The network is put
    into evaluation mode; pixels may leave the range of the data.

    Args:
        model: maps inputs to logits `(N, K)`, K >= 2.
        inputs: `(N, ...)`.
        labels: `(N,)`.
        radius: in units of the inputs, at least 0.
        seed: of the start.
        steps: of ascent.
    """
    model.eval()
    generator = torch.Generator().manual_seed(seed)
    moved = radius * (2 * torch.rand(inputs.shape, generator=generator) - 1)
    for _ in range(steps):
        moved.requires_grad_()
        logits = model(inputs + moved)
        others = logits.scatter(1, labels[:, None], -torch.inf)
        margin = others.amax(1) - logits.gather(1, labels[:, None]).squeeze(1)
        (slope,) = torch.autograd.grad(margin.sum(), moved)
        moved = (moved.detach() + 2.5 * radius / steps * slope.sign()).clamp(-radius, radius)
    return inputs + moved


def robustness(dataset: Dataset, *, seed: int, epochs: int = EPOCHS) -> dict[str, Table]:
    """Train both networks and attack their test samples.

    Args:
        dataset: to train on.
        seed: of everything random.
        epochs: of training.

    Returns:
        "attacks": columns run, nc1, radius (0 first), attack and random: accuracy on attacked test
        samples, and with random signs of the same size.
        "layers": run, layer, radius (0 and the middle one), accuracy of the nearest class mean.
    """
    attacks, layers = [], []
    tests, labels = dataset.test_inputs, dataset.test_labels
    generator = torch.Generator().manual_seed(seed)
    signs = 2 * torch.randint(0, 2, tests.shape, generator=generator) - 1
    for run, weight_decay in progress_bar(WEIGHT_DECAYS.items()):
        model, history = fit(
            model=MLP(dataset.input_shape, (256, 256, 256), dataset.num_classes, seed=seed),
            dataset=dataset,
            epochs=epochs,
            weight_decay=weight_decay,
            seed=seed,
            measure_at=[epochs],
            watch_error=False,
            progress=False,
        )
        at = {"run": run, "nc1": history.at(epochs)["nc1"]}
        means = {
            layer: torch.stack(
                [features[dataset.labels == k].mean(0) for k in range(dataset.num_classes)]
            )
            for layer, features in hidden_layers(model, dataset.inputs).items()
        }
        for radius in (0.0, *RADII):
            worst = attacked(model, tests, labels, radius, seed=seed)
            attacks.append(
                {
                    **at,
                    "radius": radius,
                    "attack": _accuracy(model, worst, labels),
                    "random": _accuracy(model, tests + radius * signs, labels),
                }
            )
            if radius in (0.0, RADII[1]):
                for layer, features in hidden_layers(model, worst).items():
                    right = nearest_class_mean(features, means[layer]) == labels
                    layers.append(
                        {
                            "run": run,
                            "layer": layer,
                            "radius": radius,
                            "accuracy": right.double().mean().item(),
                        }
                    )
    return {"attacks": Table.of(attacks), "layers": Table.of(layers)}


def _accuracy(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return (model(inputs).argmax(1) == labels).double().mean().item()


def claims(tables: Mapping[str, Table]) -> tuple[Claim, ...]:
    """What the tables of `experiment` assert; a pure function, so that false runs can be tried."""
    attacks, layers = tables["attacks"], tables["layers"]
    collapsed, loose = WEIGHT_DECAYS
    names = list(dict.fromkeys(layers["layer"]))
    _, middle, largest = RADII

    def at(run: str, radius: float, column: str = "attack") -> float:
        return float(attacks.where(run=run, radius=radius).last[column])

    def layer(run: str, index: int, radius: float) -> float:
        found = layers.where(run=run, layer=names[index], radius=radius).last["accuracy"]
        return float(found)

    undone = {run: at(run, largest) for run in WEIGHT_DECAYS}
    first, last = layer(collapsed, 1, middle), layer(collapsed, -1, middle)
    cut, cut_loose = (at(run, 0.0) - layer(run, -2, 0.0) for run in WEIGHT_DECAYS)
    return (
        Claim.of(
            f"Collapse is no protection: attacks of {largest} of a pixel's range leave accuracies "
            "of {0} or less, with weight decay and without; random changes of that size leave "
            "{1} or more",
            {"with weight decay": at_most(0.15, undone[collapsed])},
            SU,
            {"random": at_least(0.95, at(collapsed, largest, "random"), natural="rate")},
            also={"without": at_most(0.15, undone[loose])},
        ),
        Claim.of(
            f"It puts the end off: of attacks of {middle} the collapsed network survives {{0}} or "
            "more of all test images beyond those that the other one does; under random changes "
            "the two differ by less than {1}",
            {"more": at_least(0.08, at(collapsed, middle) - at(loose, middle))},
            COURSE,
            {
                "random": below(
                    0.03, abs(at(collapsed, middle, "random") - at(loose, middle, "random"))
                )
            },
        ),
        Claim.of(
            "Earlier layers keep more: under these attacks the nearest class mean in the first "
            "hidden layer is right more often than in the last, by {0} or more; without an attack "
            "less often, by {1} or more",
            {"first over last": at_least(0.1, first - last)},
            SU,
            {"no attack": at_least(0.015, layer(collapsed, -1, 0.0) - layer(collapsed, 1, 0.0))},
        ),
        Claim.of(
            "Where the network has collapsed its last hidden layer can be cut off: the nearest "
            "class mean one layer below loses at most {0} of test accuracy; without weight decay "
            "{1} or more",
            {"lost": at_most(0.002, cut)},
            COURSE,
            {"without weight decay": at_least(0.004, cut_loose)},
        ),
    )
