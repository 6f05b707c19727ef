"""Collapse through the trainers of others; `test_callbacks.py` starts it.

Usage: callbacks_worker.py lightning|transformers FOLDER. Everything is written into the folder.
"""

import math
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from ncourse.callbacks import hugging_face_callback, lightning_callback
from ncourse.metrics import CollapseMetric, capture

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


if __name__ == "__main__":
    {"lightning": lightning, "transformers": transformers}[sys.argv[1]](Path(sys.argv[2]))
    print("done")
