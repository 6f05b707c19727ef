"""Collapse through the trainers of others; `test_callbacks.py` starts it.

Usage: callbacks_worker.py lightning|transformers|avalanche FOLDER. All is written into the folder.
"""

import math
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from ncourse.callbacks import avalanche_plugin, hugging_face_callback, lightning_callback
from ncourse.continual import Naive, Stream, final_accuracy, first_minus_last, learn
from ncourse.metrics import CollapseMetric, capture
from ncourse.models import Classifier, seeded

K, D = 3, 6
generator = torch.Generator().manual_seed(0)
labels = torch.arange(60) % K
inputs = torch.randn(60, D, generator=generator) + 2 * nn.functional.one_hot(labels, D)


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(D, 8), nn.ReLU(), nn.Linear(8, K))


def lightning(folder: Path) -> None:
    import lightning as L
    import wandb
    from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = net()
            self.nc1 = CollapseMetric(K, field="nc1")

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

        def training_step(self, batch: list[Tensor]) -> Tensor:
            return nn.functional.cross_entropy(self(batch[0]), batch[1])

        def validation_step(self, batch: list[Tensor]) -> None:
            self.nc1.update(self.net[:2](batch[0]), batch[1])
            self.log("nc", self.nc1)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    loader = DataLoader(TensorDataset(inputs, labels), batch_size=16)
    for precision in ("32-true", "bf16-mixed"):
        place = folder / precision
        place.mkdir()
        loggers = [CSVLogger(place), TensorBoardLogger(place)]
        loggers.append(WandbLogger(save_dir=place, offline=True, project="ncourse"))
        callback, stream = (
            lightning_callback(loader),
            lightning_callback(loader, num_classes=K, prefix="stream/", every=2, fields=["nc1"]),
        )
        trainer = L.Trainer(
            max_epochs=2, accelerator="cpu", logger=loggers, callbacks=[callback, stream],
            precision=precision, enable_progress_bar=False, enable_model_summary=False,
            default_root_dir=place, log_every_n_steps=1,
        )  # fmt: skip
        module = Module()
        trainer.fit(module, loader, loader)
        found = trainer.callback_metrics
        report = capture(module, loader).measure()
        assert len(callback.reports) == 2
        assert len(stream.reports) == 1
        for name in ("nc1", "nc2_equiangular", "nc3", "nc4"):
            logged = float(found[f"collapse/{name}"])
            assert math.isclose(logged, getattr(report, name), rel_tol=0.02, abs_tol=0.02), name
        assert math.isclose(float(found["stream/nc1"]), report.nc1, rel_tol=0.02)
        assert math.isclose(float(found["nc"]), report.nc1, rel_tol=0.02)
        assert "collapse/nc1" in next(place.rglob("metrics.csv")).read_text()
        assert b"collapse/nc1" in next(place.rglob("events.out*")).read_bytes()
        wandb.finish()
        assert list(place.rglob("offline-run*"))


def transformers(folder: Path) -> None:
    import transformers as t

    config = t.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, num_labels=K, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    model = t.BertForSequenceClassification(config)
    ids = torch.randint(1, 50, (60, 5), generator=generator)
    data = [{"input_ids": i, "labels": y} for i, y in zip(ids, labels, strict=True)]
    batches = DataLoader(data, batch_size=16)
    callback = hugging_face_callback(batches)
    arguments = t.TrainingArguments(
        str(folder), num_train_epochs=2, report_to=[], use_cpu=True, save_strategy="no",
        disable_tqdm=True,
    )  # fmt: skip
    trainer = t.Trainer(model=model, args=arguments, train_dataset=data, callbacks=[callback])
    trainer.train()
    report = capture(trainer.model, batches).measure()
    logged = [entry for entry in trainer.state.log_history if "collapse/nc1" in entry]
    assert len(logged) == len(callback.reports) == 2
    assert math.isclose(logged[-1]["collapse/nc1"], report.nc1, rel_tol=1e-6)
    assert logged[-1]["collapse/nc4"] == report.nc4


class Labelled(TensorDataset):
    """As Avalanche wants it, with `targets`."""

    def __init__(self, count: int, shift: float = 0.0) -> None:
        self.targets = [k % 6 for k in range(count)]
        centres = 3 * nn.functional.one_hot(torch.tensor(self.targets), D)
        noise = torch.randn(count, D, generator=generator)
        super().__init__(noise + centres + shift, torch.tensor(self.targets))


def avalanche(folder: Path) -> None:
    from avalanche.benchmarks import nc_benchmark, ni_benchmark
    from avalanche.evaluation.metrics import accuracy_metrics, forgetting_metrics
    from avalanche.logging import CSVLogger
    from avalanche.training import Naive as Finetuning
    from avalanche.training.plugins import EvaluationPlugin

    def network() -> Classifier:
        with seeded(0):
            return Classifier(nn.Sequential(nn.Linear(D, 16), nn.ReLU()), nn.Linear(16, 6))

    def make(train: Labelled, test: Labelled) -> object:
        return nc_benchmark(train, test, n_experiences=3, task_labels=False, seed=1)

    train, test = Labelled(240), Labelled(60)
    benchmark = make(train, test)
    stream = Stream.from_avalanche(benchmark, name="blobs")
    order = [sorted(e.classes_in_this_experience) for e in benchmark.train_stream]
    assert stream.class_names == tuple(str(k) for part in order for k in part)
    assert [task.classes for task in stream.tasks] == [range(2), range(2, 4), range(4, 6)]
    for task in stream.tasks:
        for x, label in zip(task.inputs, task.labels.tolist(), strict=True):
            row = (train.tensors[0] == x).all(1).nonzero()[0, 0]
            assert str(train.targets[row]) == stream.class_names[label]
        assert len(task.labels) == 80
        assert len(task.test_labels) == 20
    again = ni_benchmark(train, test, n_experiences=3, task_labels=False, seed=1)
    refused = ""
    try:
        Stream.from_avalanche(again)
    except ValueError as error:
        refused = str(error)
    assert "3 training experiences and 1 for testing" in refused

    # Full batches, so that the order of samples does not matter: both must train alike.
    plugin = avalanche_plugin()
    place = folder / "logs"
    evaluator = EvaluationPlugin(
        accuracy_metrics(experience=True),
        forgetting_metrics(stream=True),
        loggers=[CSVLogger(str(place))],
    )
    model = network()
    strategy = Finetuning(
        model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.3), train_mb_size=80,
        train_epochs=30, eval_mb_size=100, plugins=[plugin], evaluator=evaluator,
    )  # fmt: skip
    theirs = []
    for experience in benchmark.train_stream:
        strategy.train(experience)
        results = strategy.eval(benchmark.test_stream)
        theirs.append([value for name, value in results.items() if "Top1_Acc_Exp" in name])
    # The same by `learn`, whose classes are renumbered.
    own = network()
    rows = [int(name) for name in stream.class_names]
    with torch.no_grad():
        own.classifier.weight.copy_(own.classifier.weight[rows])
        own.classifier.bias.copy_(own.classifier.bias[rows])
    run = learn(
        stream, Naive(), model=own, epochs=30, learning_rate=0.3, batch_size=80, milestones=(),
        progress=False,
    )  # fmt: skip
    assert math.isclose(sum(theirs[-1]) / 3, final_accuracy(run.class_il), abs_tol=0.02)
    (forgotten,) = [value for name, value in results.items() if "StreamForgetting" in name]
    assert math.isclose(forgotten, first_minus_last(run.class_il), abs_tol=0.03)
    assert sorted(plugin.reports) == [1, 2, 3]
    for task, report in plugin.reports.items():
        assert report.num_classes == 2 * task
        kept = run.collapse["trace_ratio"][task - 1]
        assert math.isclose(report.trace_ratio, kept, rel_tol=0.02), (task, report.trace_ratio)
        drift = float(run.drift[task - 1, : 2 * task].mean())
        assert math.isclose(plugin.drifts[task], drift, abs_tol=0.01)
    published = evaluator.get_last_metrics()
    assert published["collapse/nc1"] == plugin.reports[3].nc1
    assert published["collapse/drift"] == plugin.drifts[3]


if __name__ == "__main__":
    tests = {"lightning": lightning, "transformers": transformers, "avalanche": avalanche}
    tests[sys.argv[1]](Path(sys.argv[2]))
    print("done")
