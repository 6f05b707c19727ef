"""Tirer and Bruna 2022 and the other definitions: each claim can fail."""

from functools import cache

import pytest
import torch

from ncourse.data import gaussian_mixture
from ncourse.metrics import CONVENTIONS, measure
from ncourse.papers import tirer2023
from ncourse.tables import Table


@cache
def outcome():
    return tirer2023.experiment(seed=1)


def run(spoil=lambda tables: None):
    """The tables of a run, spoilt."""
    tables = {name: Table(kept) for name, kept in outcome().tables.items()}
    spoil(tables)
    return tables


def put(table, column, row, value):
    return lambda tables: tables[table][column].__setitem__(row, value)


def network(name, column, value, convention="papyan"):
    """Overwrite one entry of the table "networks"."""

    def spoil(tables):
        table = tables["networks"]
        row = list(zip(table["network"], table["convention"], strict=True)).index(
            (name, convention)
        )
        table[column][row] = value

    return spoil


def alike(name, column):
    """All conventions read the same."""
    return lambda tables: [
        network(name, column, 1.0, convention)(tables)
        for convention in ("papyan", "zhu", "jacot", "wu")
    ]


def inverse(span, column, value):
    def spoil(tables):
        table = tables["inverses"]
        table[column][:] = [
            value if row == span else old
            for row, old in zip(table["span"], table[column], strict=True)
        ]

    return spoil


def in_small_steps(tables):
    """Four different NC1s, but all near each other."""
    for value, convention in zip((0.3, 0.4, 0.5, 0.6), CONVENTIONS, strict=True):
        network("d = 256", "nc1", value, convention)(tables)


FALSE_RUNS = {
    0: [
        put("dials", "nc1", 2, 0.6),
        put("dials", "nc3", 2, 1e-6),
        put("dials", "nc3", -1, 0.0),
    ],
    1: [
        alike("d = 256", "nc1"),
        network("d = 256", "nc1", 0.19, "jacot"),
        in_small_steps,
        network("d = 256", "pinv_trace", 9.0, "wu"),
    ],
    3: [
        alike("thinned", "pinv_trace"),
        alike("thinned", "trace_ratio"),
        network("d = 256", "cdnv", 9.0, "wu"),
    ],
    4: [
        network("d = 32", "cdnv", 9.0),
        network("d = 32", "vci", 0.0),
        network("d = 256, epoch 5", "vci", 0.0),
    ],
    5: [network("thinned", "split", 0.01, "wu"), network("thinned", "split", 0.0, "zhu")],
    6: [put("simplex factor", "factor", 0, 1.0), put("simplex factor", "factor", 1, 1.1)],
    7: [
        put("stretched", "after", 0, 1.0),
        lambda t: put("stretched", "after", 3, t["stretched"]["before"][3])(t),
    ],
    8: [
        put("spreads", "one_pass", 4, 0.1),
        put("spreads", "one_pass", 1, 0.1),
        put("spreads", "measure", 5, 1e-5),
    ],
    9: [
        inverse(1000.0, "default", 0.9),
        inverse(1000.0, "generous", 0.5),
        inverse(10.0, "default", 1.1),
        inverse(1000.0, "measure", 1.1),
    ],
    2: [
        put("duality", "nc3_structure", 3, 1e-3),
        put("duality", "nc3", -1, 0.0),
        put("duality", "nc3", 0, 0.1),
        put("duality", "angle", 2, 1.0),
    ],
    11: [
        put("stream", "stream", 1, 1.0),
        lambda t: put("stream", "batches", 0, t["stream"]["whole"][0])(t),
    ],
    10: [
        put("half precision", "greatest", 3, 1e-8),
        put("half precision", "float32", 2, 1e-3),
        put("half precision", "autocast", 1, 1e-3),
        put("half precision", "measure", 3, 1e-9),
    ],
}


def true_claims():
    return tirer2023.claims(run())


def false_claims():
    for index, spoils in FALSE_RUNS.items():
        yield from (tirer2023.claims(run(spoil))[index] for spoil in spoils)


def test_on_own_data_what_is_proved_holds():
    data = gaussian_mixture(4, 6, train_per_class=40, seed=0)
    own = tirer2023.experiment(data=data)
    assert own.data == data.card
    verdicts = [claim.verdict for claim in own.claims]
    assert verdicts[4] == "reported"
    assert [verdicts[index] for index in (0, 2, 8, 9, 10)] == ["holds"] * 5
    for index in (1, 3, 5, 6, 7, 11):
        assert verdicts[index] == "the proved part holds"


@pytest.mark.parametrize("amount", [0.1, 0.3, 0.45, 0.9])
@pytest.mark.parametrize("name", tirer2023.DIALS)
def test_a_dial_moves_its_own_metric_alone_to_the_known_value(name, amount):
    """At amounts the experiment does not use."""
    state = tirer2023.dial(name, amount)
    report = measure(state.features, state.labels, state.weight, state.bias)
    read = dict(
        zip(
            tirer2023.DIALS,
            (report.nc1, report.nc2_equiangular, report.nc3, report.nc4),
            strict=True,
        )
    )
    assert read.pop(name) == pytest.approx(tirer2023.known(name, amount), abs=1e-9)
    assert max(read.values()) <= 1e-12
    # The other half of NC2 belongs to the same dial.
    assert (report.nc2_equinorm > 1e-3) == (name == "shape")


def test_wrong_dials_are_named():
    with pytest.raises(ValueError, match="'colour'; expected one of spread"):
        tirer2023.dial("colour", 0.5)
    with pytest.raises(ValueError, match=r"amount is 1\.5"):
        tirer2023.dial("spread", 1.5)


def test_tail_is_geometric_and_ratio_one_is_balanced():
    labels = torch.arange(300) % 3
    assert labels[tirer2023.tail(labels, ratio=25)].bincount().tolist() == [100, 20, 4]
    assert labels[tirer2023.tail(labels, ratio=1)].bincount().tolist() == [100, 100, 100]
    unequal = torch.cat([labels, torch.zeros(50, dtype=torch.long)])
    assert unequal[tirer2023.tail(unequal, ratio=1)].bincount().tolist() == [100, 100, 100]


def test_batches_are_stratified_and_disjoint():
    labels = torch.arange(70) % 3
    batches = tirer2023.stratified(labels, per_class=5)
    assert [labels[rows].bincount().tolist() for rows in batches] == [[5, 5, 5]] * 4
    assert len(set(torch.cat(batches).tolist())) == 60
