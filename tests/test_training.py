"""Training: what is measured, when, and that nothing else changes."""

import math
import pickle
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from ncourse.data import Dataset, gaussian_mixture
from ncourse.metrics import measure
from ncourse.models import CNN, MLP
from ncourse.training import MEASURED, History, extract, fit, log_schedule

CLOUDS = gaussian_mixture(3, 5, train_per_class=20, test_per_class=10, separation=3.0, seed=0)


def train(*, dataset=CLOUDS, seed=0, epochs=6, **settings):
    return fit(
        model=MLP(dataset.input_shape, (16,), dataset.num_classes, seed=seed),
        dataset=dataset,
        epochs=epochs,
        batch_size=16,
        seed=seed,
        progress=False,
        **settings,
    )


def test_history_holds_what_measure_says_of_the_returned_model():
    model, history = train(measure_at=[2])
    passed = extract(model, CLOUDS.inputs, CLOUDS.labels)
    report = measure(passed.features, passed.labels, model.classifier.weight, model.classifier.bias)
    row = history.at(6)
    for name in MEASURED:
        assert row[name] == pytest.approx(getattr(report, name), rel=1e-9, abs=1e-12)
    assert row["train_error"] == passed.error
    test = extract(model, CLOUDS.test_inputs, CLOUDS.test_labels)
    assert row["test_error"] == test.error
    assert row["loss"] == pytest.approx(
        torch.nn.functional.cross_entropy(passed.logits, passed.labels).item()
    )


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_metrics_are_finished_in_double_precision(precision):
    """Whatever the steps are computed in; with 64-true, gradients are double too."""
    model, history = train(precision=precision, learning_rate=0.02)
    passed = extract(model, CLOUDS.inputs, CLOUDS.labels)
    kind = torch.float64 if precision == "64-true" else torch.float32
    assert (passed.features.dtype, passed.logits.dtype) == (kind, kind)
    weight, bias = model.classifier.weight.double(), model.classifier.bias.double()
    exact = measure(passed.features.double(), passed.labels, weight, bias)
    for name in MEASURED:
        assert history.at(6)[name] == pytest.approx(getattr(exact, name), rel=1e-6, abs=1e-12)
    gradient = model.classifier.weight.grad
    rounded = gradient.to(torch.float32).to(gradient.dtype)
    assert torch.equal(gradient, rounded) == (precision != "64-true")


def test_the_loss_of_double_precision_is_not_computed_in_single():
    seen = []

    def loss(logits, labels):
        seen.append(logits.dtype)
        return torch.nn.functional.cross_entropy(logits, labels)

    train(precision="64-true", loss=loss, epochs=1)
    assert set(seen) == {torch.float64}


def test_every_epoch_is_measured_until_zero_error_then_only_the_schedule():
    _, history = train(epochs=30, learning_rate=0.02, measure_at=[20])
    terminal = history.terminal_epoch
    assert terminal is not None
    before = list(range(1, terminal + 1))
    assert history.columns["epoch"] == before + [e for e in (20, 30) if e > terminal]
    errors = history["train_error"]
    assert errors[terminal - 1] == 0
    assert (errors[: terminal - 1] > 0).all()


def test_no_terminal_epoch_without_zero_error():
    noise = CLOUDS.with_random_labels(seed=0)
    _, history = train(dataset=noise, epochs=2)
    assert history.terminal_epoch is None
    assert history.columns["epoch"] == [1, 2]


def test_same_seed_same_history_and_the_global_generator_is_left_alone():
    before = torch.random.get_rng_state()
    first, second, other = train(seed=1)[1], train(seed=1)[1], train(seed=2)[1]
    assert torch.equal(before, torch.random.get_rng_state())
    assert first == second
    assert first != other


def test_measuring_does_not_change_the_training():
    many, few = (train(measure_at=at)[0] for at in (range(1, 7), [6]))
    for a, b in zip(many.parameters(), few.parameters(), strict=True):
        assert torch.equal(a, b)


def test_it_is_sgd_with_momentum_weight_decay_and_milestones():
    """Against the plain loop that a reader would write."""
    model, _ = train(epochs=3, weight_decay=0.1, learning_rate=0.1, milestones=(1 / 3, 2 / 3))
    plain = MLP(CLOUDS.input_shape, (16,), 3, seed=0)
    velocity = [torch.zeros_like(p) for p in plain.parameters()]
    generator = torch.Generator().manual_seed(0)
    for rate in (0.1, 0.01, 0.001):
        plain.train()
        for batch in torch.randperm(60, generator=generator).split(16):
            loss = torch.nn.functional.cross_entropy(
                plain(CLOUDS.inputs[batch]), CLOUDS.labels[batch]
            )
            gradients = torch.autograd.grad(loss, list(plain.parameters()))
            with torch.no_grad():
                for p, g, v in zip(plain.parameters(), gradients, velocity, strict=True):
                    v.mul_(0.9).add_(g + 0.1 * p)
                    p.sub_(rate * v)
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=5e-4, foreach=True)


def adamw(parameters, **settings):
    return torch.optim.AdamW(parameters, **({"lr": 0.01, "weight_decay": 0.1} | settings))


def test_sgd_given_as_a_function_is_the_default_bit_for_bit():
    (model, history), (other, same) = train(), train(optimizer=sgd)
    assert history == same
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_another_optimizer_takes_the_steps_with_milestones():
    """Against the plain loop that a reader would write."""
    model, _ = train(epochs=3, optimizer=adamw)
    plain = MLP(CLOUDS.input_shape, (16,), 3, seed=0)
    optimizer = adamw(plain.parameters())
    generator = torch.Generator().manual_seed(0)
    for rate in (0.01, 0.001, 0.0001):
        optimizer.param_groups[0]["lr"] = rate
        plain.train()
        for batch in torch.randperm(60, generator=generator).split(16):
            optimizer.zero_grad()
            logits = plain(CLOUDS.inputs[batch])
            torch.nn.functional.cross_entropy(logits, CLOUDS.labels[batch]).backward()
            optimizer.step()
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_settings_of_sgd_beside_another_optimizer_are_named():
    with pytest.raises(ValueError, match=r"^learning_rate, momentum would not be used: optimizer"):
        train(optimizer=adamw, learning_rate=0.1, weight_decay=5e-4, momentum=0.0)


def test_a_resumed_optimizer_has_its_state_and_ends_bit_identical(tmp_path):
    def stop(epoch, *passes):
        if epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(optimizer=adamw, checkpoint=tmp_path / "c", observe=stop)
    assert (tmp_path / "c").exists()
    model, history = train(optimizer=adamw, checkpoint=tmp_path / "c")
    whole, same = train(optimizer=adamw)
    assert history == same
    for a, b in zip(model.parameters(), whole.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_checkpoint_of_another_optimizer_is_refused(tmp_path):
    train(optimizer=adamw, checkpoint=tmp_path / "adamw")
    train(checkpoint=tmp_path / "default")
    for name, optimizer in [
        ("adamw", None),
        ("adamw", sgd),
        ("adamw", lambda parameters: adamw(parameters, lr=0.02)),
        ("adamw", lambda parameters: adamw(parameters, betas=(0.8, 0.999))),
        ("default", adamw),
    ]:
        with pytest.raises(ValueError, match="belongs to a run with another optimizer;"):
            train(optimizer=optimizer, checkpoint=tmp_path / name)
    assert len(train(optimizer=adamw, checkpoint=tmp_path / "adamw")[1]) > 0


def test_observe_gets_both_passes_and_the_model_is_in_evaluation_mode_at_the_end():
    seen = []
    model, _ = train(
        epochs=2, observe=lambda epoch, a, b: seen.append((epoch, len(a.labels), len(b.labels)))
    )
    assert seen == [(1, 60, 30), (2, 60, 30)]
    assert not model.training


def test_another_loss_a_cnn_and_no_test_split():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(40, 1, 8, 8, generator=generator)
    labels = torch.arange(40) % 2
    dataset = Dataset("toy", images, labels, images[:0], labels[:0], ("a", "b"))

    def squared(logits, labels):
        return (logits - torch.nn.functional.one_hot(labels, 2)).square().mean()

    _, history = fit(
        model=CNN((1, 8, 8), (4, 8), 2), dataset=dataset, epochs=2, loss=squared, progress=False
    )
    assert "test_nc1" not in history.columns
    assert math.isfinite(history["loss"][-1])


def test_a_last_batch_of_one_sample_is_left_out():
    lonely = gaussian_mixture(3, 5, train_per_class=11, test_per_class=3, seed=0)  # 33 = 2*16 + 1
    assert len(train(dataset=lonely, epochs=1)[1]["epoch"]) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs=0"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0"),
        ({"milestones": (2.0,)}, "fractions of the epochs"),
        ({"learning_rate": 1e20, "epochs": 20}, "lower the learning rate"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        train(**settings)


def test_what_could_not_be_measured_afterwards_is_refused_before_anything_is_trained():
    """The loss would have counted the steps."""
    model, steps = MLP((5,), (4,), 3), []

    def loss(logits, labels):
        steps.append(len(labels))
        return torch.nn.functional.cross_entropy(logits, labels)

    names = ("a", "b", "c", "d")
    for change, told in [
        ({"labels": CLOUDS.labels % 2}, "has no training sample of class 2; the classifier"),
        ({"test_labels": CLOUDS.test_labels * 0}, "has no test sample of class 1, 2; the"),
        ({"labels": CLOUDS.labels + 1, "class_names": names},
         "has training samples of class 3; the classifier has 3 rows, one a class from 0"),
        ({"test_labels": CLOUDS.test_labels + 1, "class_names": names},
         "has test samples of class 3; the classifier has 3 rows, one a class from 0"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=told):
            fit(model=model, dataset=replace(CLOUDS, **change), epochs=1, loss=loss, progress=False)
    with pytest.raises(ValueError, match="a binary head with one logit"):
        fit(model=MLP((5,), (4,), 1), dataset=CLOUDS.only([0]), epochs=1, loss=loss, progress=False)
    assert steps == []


@pytest.mark.parametrize("found", [False, True])
def test_inputs_are_trained_on_in_the_networks_precision(found):
    """What NumPy makes is double, networks are single; and the other way round."""
    for inputs, network in ((torch.float64, torch.float32), (torch.float32, torch.float64)):
        model = MLP((5,), (16,), 3).to(network)
        if found:
            model = torch.nn.Sequential(*model.body, model.classifier)
        cast = replace(
            CLOUDS, inputs=CLOUDS.inputs.to(inputs), test_inputs=CLOUDS.test_inputs.to(inputs)
        )
        _, history = fit(model=model, dataset=cast, epochs=2, batch_size=16, progress=False)
        expected = train(epochs=2)[1]
        assert history["loss"] == pytest.approx(expected["loss"], rel=1e-3)


def test_extract_puts_the_modes_back_even_after_an_error():
    model = MLP((5,), (4,), 3)
    model.train()
    model.body[2].eval()  # a frozen batch norm stays so
    modes = [module.training for module in model.modules()]
    with pytest.raises(RuntimeError):
        extract(model, torch.zeros(3, 7), torch.zeros(3, dtype=torch.long))
    assert [module.training for module in model.modules()] == modes
    passed = extract(model, CLOUDS.inputs, CLOUDS.labels, chunk=7)
    assert torch.allclose(passed.features, extract(model, CLOUDS.inputs, CLOUDS.labels).features)
    assert not passed.logits.requires_grad


def test_history_survives_a_round_trip(tmp_path):
    _, history = train()
    assert History.load(history.save(tmp_path / "h.csv")) == history
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"bad\.csv is not a history"):
        History.load(tmp_path / "bad.csv")
    (tmp_path / "short.csv").write_text("epoch,b\n1\n")
    with pytest.raises(ValueError, match="not a history"):
        History.load(tmp_path / "short.csv")
    with pytest.raises(KeyError, match="no column 'nc9'"):
        history["nc9"]
    with pytest.raises(KeyError, match="epoch 99"):
        history.at(99)
    assert "<td>" in history._repr_html_()
    assert isinstance(history["nc1"], np.ndarray)


def test_history_plots_itself():
    figure = train()[1].plot()
    titles = [panel.get_title(loc="left") for panel in figure.axes]
    assert [title[:3] for title in titles] == ["NC1", "NC2", "NC3", "NC4"]


def test_log_schedule():
    schedule = log_schedule(300)
    assert schedule[0] == 1
    assert schedule[-1] == 300
    assert list(schedule) == sorted(set(schedule))
    assert log_schedule(1) == (1,)
    with pytest.raises(ValueError, match="epochs=0"):
        log_schedule(0)


RUN = """
import sys, torch
from ncourse.data import gaussian_mixture
from ncourse.models import MLP
from ncourse.training import fit
torch.set_num_threads(1)
clouds = gaussian_mixture(3, 5, train_per_class=20, test_per_class=10, separation=3.0, seed=0)
model, history = fit(
    model=MLP((5,), (16,), 3), dataset=clouds, epochs=40, weight_decay=1e-2, batch_size=16,
    progress=False, checkpoint=sys.argv[1],
    observe=lambda epoch, *_: print(epoch, flush=True), measure_at=range(1, 41),
)
torch.save(model.state_dict(), sys.argv[2])
history.save(sys.argv[3])
"""


@pytest.mark.slow
def test_a_killed_run_resumes_and_ends_bit_identical(tmp_path):
    def start(name):
        paths = [str(tmp_path / f"{name}.{end}") for end in ("check", "model", "csv")]
        command = [sys.executable, "-c", RUN, *paths]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    with start("undisturbed") as whole:
        assert len(whole.stdout.read().split()) == 40
    with start("killed") as killed:
        for line in killed.stdout:
            if line.strip() == "17":
                killed.send_signal(signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed.model").exists()
    with start("killed") as resumed:
        epochs = [int(epoch) for epoch in resumed.stdout.read().split()]
    assert 1 < epochs[0] <= 41
    assert epochs[-1:] in ([40], [])
    one, two = (
        torch.load(tmp_path / f"{n}.model", weights_only=True) for n in ("undisturbed", "killed")
    )
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert History.load(tmp_path / "killed.csv") == History.load(tmp_path / "undisturbed.csv")


def test_a_finished_checkpoint_returns_the_same_run(tmp_path):
    first = train(checkpoint=tmp_path / "c")
    again = train(checkpoint=tmp_path / "c")
    assert first[1] == again[1]
    for a, b in zip(first[0].parameters(), again[0].parameters(), strict=True):
        assert torch.equal(a, b)


def test_checkpoints_of_other_runs_and_damaged_ones_are_refused(tmp_path):
    path = tmp_path / "c"
    train(checkpoint=path)
    with pytest.raises(ValueError, match="another weight_decay, seed"):
        train(checkpoint=path, weight_decay=0.3, seed=5)
    with pytest.raises(ValueError, match="another data"):
        train(checkpoint=path, dataset=CLOUDS.with_random_labels(seed=0))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="no checkpoint of `fit`"):
        train(checkpoint=path)
    torch.save({"epoch": 3}, path)
    with pytest.raises(ValueError, match="no checkpoint of `fit`"):
        train(checkpoint=path)
    path.write_bytes(pickle.dumps(print, protocol=2))
    with pytest.raises(ValueError, match="no checkpoint of `fit`"):
        train(checkpoint=path)
