"""Scores for what is outside, each on made vectors; and runs in which each claim is false."""

import math

import pytest
import torch

from ncourse.data import digits, gaussian_mixture
from ncourse.papers import ammar2024
from ncourse.tables import Table
from ncourse.training import Features

DECAYED, FREE = ammar2024.WEIGHT_DECAYS
NEAR, KNOWN = ammar2024.NEAR, ammar2024.KNOWN


SETS = (ammar2024.NEAR, *ammar2024.FAR)
AUROC = {
    (DECAYED, "softmax"): (0.965, 0.968, 0.956, 0.931),
    (DECAYED, "energy"): (0.968, 0.969, 0.957, 0.931),
    (DECAYED, "mahalanobis"): (0.975, 0.992, 0.982, 0.989),
    (DECAYED, "projection"): (0.972, 0.983, 0.972, 0.983),
    (DECAYED, "NECO ratio"): (0.972, 0.982, 0.971, 0.982),
    (DECAYED, "NECO"): (0.967, 0.97, 0.957, 0.932),
    (FREE, "softmax"): (0.933, 0.965, 0.937, 0.938),
    (FREE, "energy"): (0.936, 0.971, 0.923, 0.934),
    (FREE, "mahalanobis"): (0.979, 1.0, 0.999, 0.999),
    (FREE, "projection"): (0.938, 0.988, 0.963, 0.977),
    (FREE, "NECO ratio"): (0.938, 0.988, 0.963, 0.978),
    (FREE, "NECO"): (0.942, 0.98, 0.944, 0.952),
    (ammar2024.PIXELS, "pixels"): (0.97, 1.0, 0.9997, 0.9994),
}
NC5 = {(DECAYED, KNOWN): 0.42, (DECAYED, NEAR): 0.37, (FREE, KNOWN): 0.56, (FREE, NEAR): 0.47}


def run(**changes):
    """Tables in which everything that is claimed is true, but for the cells changed."""
    detection, angles = [], []
    for (name, score), values in AUROC.items():
        for where, value in zip(SETS, values, strict=True):
            for epoch in (0,) if name == ammar2024.PIXELS else (5, 300):
                # Early in training both networks are as the one is that does not collapse.
                early = AUROC[FREE, score][SETS.index(where)] if epoch == 5 else value
                auroc = changes.get(f"{name} {epoch} {score} {where}", early)
                at = {"run": name, "epoch": epoch, "outside": where, "score": score}
                fpr95 = changes.get(f"{name} fpr95", 0.1 if name == DECAYED else 0.2)
                detection.append({**at, "auroc": auroc, "fpr95": fpr95})
    for (name, where), value in NC5.items():
        nc5 = changes.get(f"{name} {where}", value)
        angles.append({"run": name, "epoch": 300, "nc1": 0.1, "outside": where, "nc5": nc5})
    return {"detection": Table.of(detection), "orthogonality": Table.of(angles)}


FALSE = [
    (0, {f"{FREE} 300 mahalanobis {NEAR}": 0.95}),
    (0, {f"{FREE} 300 softmax gratings": 0.985}),
    (0, {f"{FREE} 300 mahalanobis letters": 0.98}),
    (1, {"no network 0 pixels gratings": 0.95}),
    (2, {f"{DECAYED} 300 energy letters": 0.95}),
    (2, {f"{FREE} 300 energy gratings": 0.95}),
    (2, {f"{DECAYED} 300 NECO ratio letters": 0.957}),
    (3, {f"{DECAYED} {NEAR}": 0.45}),
    (3, {f"{DECAYED} {KNOWN}": 0.5}),
    (3, {f"{DECAYED} {NEAR}": 0.2}),
    (3, {f"{DECAYED} {NEAR}": math.nan}),
]


FALSE_OF_SEEDS = (
    {f"{DECAYED} 300 softmax {NEAR}": 0.88},
    {f"{DECAYED} 5 softmax {NEAR}": 0.97},
    {f"{DECAYED} fpr95": 0.3},
)


def true_claims():
    return ammar2024.claims(run()) + ammar2024.claims_over_seeds([run()] * 3)


def false_claims():
    made = [ammar2024.claims(run(**changes))[index] for index, changes in FALSE]
    for changes in FALSE_OF_SEEDS:
        made += ammar2024.claims_over_seeds([run(), run(), run(**changes)])
    return made


def test_means_over_seeds_hold_though_one_seed_differs():
    worse = {f"{DECAYED} 300 softmax {NEAR}": 0.92}
    (made,) = ammar2024.claims_over_seeds([run(), run(), run(**worse)])
    assert made.holds
    (alone,) = ammar2024.claims_over_seeds([run(**worse)])
    assert not alone.holds


def clouds():
    """Three tight classes on the axes of five dimensions, 30 samples each."""
    labels = torch.arange(3).repeat_interleave(30)
    noise = 0.05 * torch.randn(90, 5, generator=torch.Generator().manual_seed(0))
    features = 4 * torch.eye(3, 5)[labels] + noise
    return Features(features, features[:, :3].clone(), labels)


def test_scores_prefer_what_lies_at_a_class():
    known = clouds()
    means = 4 * torch.eye(3, 5)
    odd = torch.tensor([[4 / 3, 4 / 3, 4 / 3, 3.0, 0.0]])  # outside the plane of the means
    at = ammar2024.scores(known, means, means[:, :3])
    off = ammar2024.scores(known, odd, odd[:, :3])
    assert tuple(at) == ammar2024.SCORES
    for name in ammar2024.SCORES:
        assert at[name].min() > off[name].max(), name
    assert at["projection"].min() > 0.99
    assert off["projection"].max() < 0.1
    assert at["mahalanobis"].max() <= 0
    shifted = Features(known.features + 7, known.logits, known.labels)
    moved = ammar2024.scores(shifted, means + 7, means[:, :3])
    for name in ("mahalanobis", "projection", "NECO ratio"):
        torch.testing.assert_close(moved[name], at[name], rtol=1e-4, atol=1e-4)


def test_neco_is_the_share_in_principal_directions_of_standardised_features():
    """Beside an eigendecomposition of the correlations, on features of very unequal scales."""
    known = clouds()
    scale = torch.tensor([1.0, 50.0, 1.0, 0.01, 3.0])
    known = Features(scale * known.features, known.logits, known.labels)
    odd = scale * torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
    logits = torch.randn(7, 3, generator=torch.Generator().manual_seed(2))
    found = ammar2024.scores(known, odd, logits)
    trained = known.features.double()
    centre, deviation = trained.mean(0), trained.std(0, correction=0)
    standard = (trained - centre) / deviation
    first = torch.linalg.eigh(standard.T @ standard).eigenvectors[:, -2:]  # K - 1 of them
    sample = (odd.double() - centre) / deviation
    ratio = (sample @ first).norm(dim=1) / sample.norm(dim=1)
    torch.testing.assert_close(found["NECO ratio"], ratio)
    torch.testing.assert_close(found["NECO"], ratio * logits.double().amax(1))
    other = torch.tensor([1.0, 0.02, 1.0, 100.0, 1 / 3])
    rescaled = Features(other * known.features, known.logits, known.labels)
    again = ammar2024.scores(rescaled, other * odd, logits)
    torch.testing.assert_close(again["NECO ratio"], ratio)
    assert (again["projection"] - found["projection"]).abs().max() > 0.01


def test_auroc_counts_pairs():
    known, unknown = torch.tensor([0.9, 0.5, 0.5]), torch.tensor([0.5, 0.1])
    assert ammar2024.auroc(known, unknown) == pytest.approx((2 + 1.5 + 1.5) / 6)
    assert ammar2024.auroc(unknown, known) == pytest.approx(1 / 6)


def test_fpr95_is_at_the_highest_threshold_that_lets_in_95_percent():
    known = torch.arange(20.0)
    for unknown, share in (([1.0], 1), ([0.999], 0), ([0.5, 1.0, 30.0, 2.0], 0.75)):
        assert ammar2024.fpr95(known, torch.tensor(unknown)) == share
    # Of 10 known samples 95 % are all 10; equal scores are let in together.
    assert ammar2024.fpr95(torch.arange(10.0), torch.tensor([0.0, -1.0])) == 0.5
    assert ammar2024.fpr95(torch.ones(5), torch.ones(3)) == 1


def test_nc5_of_orthogonal_means():
    known = clouds()
    exact = Features(4 * torch.eye(3, 5)[known.labels], known.logits, known.labels)
    for outside, expected in (
        ([0.0, 0.0, 0.0, 2.0, 1.0], 0),
        ([0.0, -5.0, 0.0, 0.0, 0.0], 1 / 3),
        ([1.0, 1.0, 1.0, 0.0, 0.0], 3**-0.5),  # the largest that there is
    ):
        samples = torch.tensor([outside]).repeat(4, 1)
        assert ammar2024.nc5(exact, samples) == pytest.approx(expected, abs=1e-6)


def test_letters_and_gratings_are_images_that_differ_and_can_be_drawn_again():
    for draw in (ammar2024.letters, ammar2024.gratings):
        images = draw(40, (8, 10), generator=torch.Generator().manual_seed(0))
        again = draw(40, (8, 10), generator=torch.Generator().manual_seed(0))
        assert images.shape == (40, 1, 8, 10)
        assert torch.equal(images, again)
        assert images.min() >= 0
        assert images.max() <= 1
        assert images.flatten(1).amax(1).min() > 0.7
        assert torch.cdist(images.flatten(1), images.flatten(1)).fill_diagonal_(9).min() > 0.2


def test_what_is_outside_has_the_range_of_what_is_inside():
    data = digits()
    learned, other = data.only(list(range(7))), data.only([7, 8, 9])
    sets = ammar2024.outside(learned, other, seed=0)
    assert tuple(sets) == SETS
    assert torch.equal(sets[NEAR], other.test_inputs)
    black = data.inputs.amin(0)  # which is 0 before the mean image is taken off
    for name in ammar2024.FAR:
        pixels = sets[name] - black
        assert pixels.min() >= -1e-6
        assert pixels.max() <= 1 + 1e-6
    noise = (sets["noise"] - black).flatten(1)
    images = (learned.test_inputs - black).flatten(1)
    torch.testing.assert_close(noise.sort(1).values, images.sort(1).values)
    assert not torch.equal(noise, images)


def test_vectors_have_no_letters():
    made = gaussian_mixture(6, 4, train_per_class=5, test_per_class=3)
    sets = ammar2024.outside(made.only([0, 1, 2]), made.only([3, 4, 5]), seed=0)
    assert tuple(sets) == (NEAR, "noise")


def test_a_short_run_has_every_row():
    data = digits().only([0, 1, 2, 3, 4]).take(30)
    tables = ammar2024.detect(data, seed=0, epochs=6)
    networks = [row for row in tables["detection"].rows() if row["run"] != ammar2024.PIXELS]
    assert len(networks) == 2 * 3 * 6 * 4  # runs, epochs 1, 2 and 6, scores, sets
    assert len(tables["detection"]["run"]) == len(networks) + 4
    assert all(0 <= row["auroc"] <= 1 and 0 <= row["fpr95"] <= 1 for row in networks)
    angles = tables["orthogonality"]
    assert angles.where(run=FREE, epoch=6)["outside"] == [KNOWN, *SETS]
    assert all(0 <= value <= 1 for value in angles["nc5"])
    assert tables == ammar2024.detect(data, seed=0, epochs=6)
