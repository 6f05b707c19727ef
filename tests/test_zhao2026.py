"""Structure before collapse: the measure, the closed form, runs in which each claim is false."""

import math

import pytest
import torch

from ncourse.claims import Recording
from ncourse.data import gaussian_mixture
from ncourse.papers import zhao2026
from ncourse.simplex import simplex_etf
from ncourse.tables import Table

EVEN = 4 / 15


def run(**changes):
    """Tables in which everything that is claimed is true, but for the cells changed."""

    def value(name, usual):
        return changes.get(name, usual)

    curves = {
        "attributes": ((0.58, value("peak", 0.93), 0.4), (0.58, 0.92, 0.4)),
        "own codes": ((0.27, value("own codes", 0.3), 0.27), (0.27, 0.28, 0.27)),
        "shuffled": ((0.26, value("shuffled", 0.28), 0.25), (0.26, 0.27, 0.25)),
        "narrow": ((0.6, 0.95, 0.93), (0.58, 0.92, value("narrow said", 0.4))),
    }
    linear = [
        {"run": name, "time": time, "share": share, "predicted_share": said, "first": 1.0,
         "rest": 1.0}
        for name, (shares, predicted) in curves.items()
        for time, share, said in zip((0, 2, 16), shares, predicted, strict=True)
    ]  # fmt: skip
    if "off" in changes:
        linear[1]["predicted_share"] = changes["off"]
    if "input" in changes:
        linear[0]["share"] = linear[0]["predicted_share"] = changes["input"]
    ends = [
        {"run": "attributes", "layers": 2, "share": value("end", 0.4),
         "predicted_share": value("end said", 0.4), "first": 2.4, "rest": value("rest", 5.0),
         "predicted_first": 2.4, "predicted_rest": value("rest said", 5.0)},
        {"run": "own codes", "layers": 2, "share": 0.27, "predicted_share": 0.27, "first": 3.7,
         "rest": value("own rest", 3.8), "predicted_first": 3.7, "predicted_rest": 3.7},
        {"run": "shuffled", "layers": 2, "share": 0.25, "predicted_share": 0.25, "first": 4.5,
         "rest": 4.4, "predicted_first": 4.4, "predicted_rest": 4.3},
        {"run": "narrow", "layers": 2, "share": value("narrow end", 0.93), "predicted_share": 0.4,
         "first": 3.0, "rest": math.inf, "predicted_first": 2.7, "predicted_rest": 5.5},
        {"run": "four layers", "layers": 4, "share": value("deep", 0.335),
         "predicted_share": value("deep said", 0.33), "first": 4.0, "rest": 9.0,
         "predicted_first": math.nan, "predicted_rest": math.nan},
    ]  # fmt: skip
    transformer = [
        {"run": name, "step": step, "share": share, "spread": spread, "accuracy": accuracy}
        for name, step, share, spread, accuracy in (
            ("attributes", 0, 0.99, 0.9, 0.1),
            ("attributes", 16, value("right", 0.7), 0.4, 1.0),
            ("attributes", 1000, value("last", 0.3), value("spread", 0.07), 1.0),
            ("own words", 0, value("own words", 0.25), 0.2, 0.1),
            ("own words", 1000, 0.27, 0.07, 1.0),
            ("narrow", 1000, 0.39, value("narrow spread", 0.29), value("narrow accuracy", 1.0)),
        )
    ]
    mlp = [{"step": 1000, "share": value("mlp", 0.87), "accuracy": value("mlp accuracy", 1.0)}]
    tables = {"linear": linear, "ends": ends, "transformer": transformer, "mlp": mlp}
    return {name: Table.of(rows) for name, rows in tables.items()}


FALSE = [
    (0, {"rest": 3.0, "rest said": 3.0}),
    (0, {"rest said": 8.0}),
    (0, {"own rest": 6.0}),
    (1, {"peak": 0.84}),
    (1, {"input": 0.8}),
    (1, {"end": 0.6, "end said": 0.6}),
    (1, {"shuffled": 0.6}),
    (1, {"own codes": 0.6}),
    (2, {"off": 0.7}),
    (2, {"narrow said": 0.85}),
    (3, {"deep": 0.3}),
    (3, {"end said": 0.34}),
    (4, {"narrow end": 0.6}),
    (4, {"end said": 0.5}),
    (5, {"right": 0.33, "last": 0.268}),
    (5, {"last": 0.5}),
    (5, {"spread": 0.2}),
    (5, {"own words": 0.5}),
    (6, {"narrow accuracy": 0.9}),
    (6, {"narrow spread": 0.1}),
    (7, {"mlp accuracy": 0.9}),
    (7, {"mlp": 0.5}),
    (7, {"last": 0.5}),
]


def true_claims():
    return zhao2026.claims(run())


def false_claims():
    return [zhao2026.claims(run(**changes))[index] for index, changes in FALSE]


def test_the_share_is_1_for_attributes_alone_and_even_for_a_simplex():
    codes, basis = zhao2026.codes(), zhao2026.codes() / 4
    assert zhao2026.attribute_share(codes, basis) == pytest.approx(1)
    simplex = simplex_etf(16, 20, dtype=torch.float64)
    assert zhao2026.attribute_share(3 * simplex + 5, basis) == pytest.approx(EVEN)
    product = codes[:, :1] * codes[:, 1:2]  # of two attributes: none of them
    assert zhao2026.attribute_share(product, basis) == pytest.approx(0, abs=1e-12)


def test_the_four_leading_directions_of_the_items_are_their_attributes():
    found = zhao2026.directions(zhao2026.items())
    codes = zhao2026.codes() / 4
    assert torch.allclose(found @ found.T, codes @ codes.T, atol=1e-9)


def test_shuffled_columns_are_as_strong_and_shared_by_others():
    items = zhao2026.items()
    dealt = zhao2026.shuffled(items, seed=1)
    assert torch.equal(dealt.sort(0).values, items.sort(0).values)
    assert not torch.equal(dealt, items)
    assert torch.equal(dealt, zhao2026.shuffled(items, seed=1))


def test_no_centred_unit_vectors_spread_less_than_the_bound():
    generator = torch.Generator().manual_seed(0)
    for dim in (2, 5, 7):
        tight = torch.linalg.qr(torch.randn(16, dim + 1, generator=generator).double()).Q
        centred = tight - tight.mean(0)
        rows = torch.nn.functional.normalize(centred, dim=1)
        cosines = (rows @ rows.T)[~torch.eye(16, dtype=torch.bool)]
        # Not centred after normalising, so compare the mean square, which the bound is made of.
        assert cosines.square().mean() >= (16 / (dim + 1) - 1) / 15 - 1e-9
    cross = torch.cat([torch.eye(3), -torch.eye(3)]).double()  # tight and centred
    cosines = (cross @ cross.T)[~torch.eye(6, dtype=torch.bool)]
    assert cosines.std(correction=0).item() == pytest.approx(zhao2026.least_spread(6, 3))


def test_the_closed_form_is_exact_for_balanced_weights_and_gradient_flow():
    """Spectral weights keep their directions, so each is a scalar equation, solved finely here."""
    items = zhao2026.items()
    left, values, right = torch.linalg.svd(items, full_matrices=False)
    size = 0.05
    start = (right.T * size, size * left.T)
    times = torch.tensor([0.0, 1.0, 3.0]).double()
    _, outputs = zhao2026.predict(items, start, times)
    strength = torch.full_like(values, size**2)
    for step in range(3001):
        if step in (0, 1000, 3000):
            learned = values * strength
            expected = (left * learned) @ left.T
            found = outputs[{0: 0, 1000: 1, 3000: 2}[step]]
            assert torch.allclose(found, expected, atol=2e-3)
        strength = strength + 0.001 * 2 * values * strength * (1 - values * strength)


def test_training_from_small_weights_follows_it():
    items = zhao2026.items()
    made = zhao2026.train_linear(items, seed=7)
    gram, _ = zhao2026.predict(items, made.start, made.times)
    basis = zhao2026.codes() / 4
    for index in (0, 6, 12, 40):
        said = zhao2026._share_of(gram[index : index + 1], basis)[0]
        assert zhao2026.attribute_share(made.features[index], basis) == pytest.approx(said, abs=0.1)


def test_a_half_time_is_interpolated_and_may_be_never():
    times = torch.tensor([0.0, 1.0, 2.0])
    assert zhao2026._half_time(times, torch.tensor([0.0, 0.25, 0.75])) == pytest.approx(1.5)
    assert zhao2026._half_time(times, torch.tensor([0.0, 0.1, 0.2])) == math.inf
    assert zhao2026._half_time(times, torch.tensor([0.6, 0.7, 0.8])) == 0


def test_contexts_share_words_by_attribute_and_own_words_share_none():
    tokens = zhao2026.contexts()
    shared = (tokens[:, None] == tokens).sum(2)
    agreeing = (zhao2026.codes()[:, None] == zhao2026.codes()).sum(2)
    assert torch.equal(shared, agreeing)
    own = zhao2026.contexts("own words")
    assert torch.equal((own[:, None] == own).sum(2), 4 * torch.eye(16, dtype=torch.long))


def test_a_transformer_is_measured_before_the_steps_that_are_asked_and_at_the_end():
    found = zhao2026.train_decoder(
        zhao2026.contexts(), seed=0, dim=8, depth=1, steps=5, measure_at=(0, 2), progress=False
    )
    assert sorted(found) == [0, 2, 5]
    assert found[5][0].norm(dim=1).tolist() == pytest.approx([1] * 16, abs=1e-4)


def test_own_data_take_the_place_of_the_items_of_the_linear_networks(monkeypatch):
    monkeypatch.setattr(zhao2026, "DEEP_STEPS", 50)
    monkeypatch.setattr(zhao2026, "DECODER_STEPS", 3)
    monkeypatch.setattr(zhao2026, "transformer", lambda *, seed: run()["transformer"])
    made = zhao2026.experiment(data=gaussian_mixture(6, 5, train_per_class=2, test_per_class=0))
    assert made.tables["linear"].where(run="attributes")["share"][0] > 0.6
    assert not any(one.binding for one in made.claims)


def test_a_small_part_of_the_recording_comes_out_again():
    kept = Recording.load("notebooks/recorded/11-structure.json").outcomes[1].tables["linear"]
    made = zhao2026.train_linear(zhao2026.items(), seed=1)
    shares = [zhao2026.attribute_share(f, zhao2026.codes() / 4) for f in made.features]
    assert shares == pytest.approx(kept.where(run="attributes")["share"], rel=1e-3)
