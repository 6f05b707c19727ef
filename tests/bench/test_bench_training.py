"""Speed of `ncourse.training.fit` as ratios to the loops that a user would write.

Run with `make bench`. One thread throughout, timed in CPU seconds.
"""

import time
from collections.abc import Callable

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from ncourse.data import digits
from ncourse.models import CNN, MLP
from ncourse.training import fit

pytestmark = pytest.mark.bench
EPOCHS = 40
BATCH = 128
DATA = digits()


def _mlp():
    return MLP(DATA.input_shape, (256, 256, 256), 10, seed=0)


def _cnn():
    return CNN(DATA.input_shape, (16, 32, 64), 10, seed=0)


def _train(model, epochs, batches):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    model.train()
    for _ in range(epochs):
        for inputs, labels in batches:
            loss = cross_entropy(model(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def _course(model, epochs):
    fit(
        model=model, dataset=DATA, epochs=epochs, learning_rate=0.05, batch_size=BATCH,
        measure_at=range(10, epochs + 1, 10), watch_error=False, progress=False,
    )  # fmt: skip


def _bare(model, epochs):
    """Forward, backward, step on batches that are in memory; nothing is measured."""
    batches = list(zip(DATA.inputs.split(BATCH), DATA.labels.split(BATCH), strict=True))
    _train(model, epochs, batches)


def _loader(model, epochs):
    """What a tutorial writes: a DataLoader that shuffles and collates sample by sample."""
    loader = DataLoader(TensorDataset(DATA.inputs, DATA.labels), batch_size=BATCH, shuffle=True)
    _train(model, epochs, loader)


def _seconds(
    run: Callable[[torch.nn.Module, int], None], make: Callable[[], torch.nn.Module], epochs: int
) -> float:
    model = make()
    start = time.process_time()
    run(model, epochs)
    return time.process_time() - start


@pytest.mark.parametrize(
    ("make", "epochs"), [(_mlp, EPOCHS), (_cnn, EPOCHS // 2)], ids=["mlp", "cnn"]
)
def test_fit_against_the_bare_loop_and_a_dataloader(benchmark, make, epochs):
    """The three take turns, and the least of each counts: load on the machine hits all alike."""
    runs = (_course, _bare, _loader)
    benchmark.pedantic(lambda: [_seconds(run, make, 2) for run in runs], rounds=1)
    turns = [[_seconds(run, make, epochs) for run in runs] for _ in range(5)]
    fit_, bare, loader = (min(times) for times in zip(*turns, strict=True))
    benchmark.extra_info |= {"fit / bare": fit_ / bare, "DataLoader / fit": loader / fit_}
    print(
        f"\nfit, {make.__name__[1:]} on digits, NC measured every tenth epoch: "
        f"{fit_ / bare:.2f} x the bare loop; a DataLoader loop takes {loader / fit_:.2f} x as long"
    )
    assert fit_ < 1.3 * bare
