"""Collapse measured while somebody else trains: Lightning, Hugging Face's trainer, Avalanche.

None of them is needed by anything else here, so each is imported where its callback is made.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ncourse.metrics import CollapseMetric, CollapseReport, capture

__all__ = ["avalanche_plugin", "hugging_face_callback", "lightning_callback"]

LOGGED = ("nc1", "nc2_equinorm", "nc2_equiangular", "nc3", "nc4", "cdnv")


class _Measuring:
    """What both callbacks do: a pass over the data, and what is logged of it."""

    def __init__(
        self,
        loader: Iterable[Any],
        *,
        fields: Iterable[str] = LOGGED,
        prefix: str = "collapse/",
        every: int = 1,
        num_classes: int | None = None,
        **options: Any,
    ) -> None:
        self.loader, self.fields, self.prefix = loader, tuple(fields), prefix
        self.every, self.num_classes, self.options = every, num_classes, options
        self.reports: list[CollapseReport] = []

    def measured(self, model: Any) -> dict[str, float]:
        """One pass; with `num_classes` as a stream, which keeps no features and has no NC4."""
        if self.num_classes is None:
            report = capture(model, self.loader, **self.options).measure()
        else:
            metric = CollapseMetric(self.num_classes)
            report = capture(model, self.loader, into=metric, **self.options).compute()
        self.reports.append(report)
        numbers = {name: report.as_dict()[name] for name in self.fields}
        return {f"{self.prefix}{name}": x for name, x in numbers.items() if x == x}


def lightning_callback(loader: Iterable[Any], **options: Any) -> Any:
    """A callback of Lightning that measures after each training epoch and logs what it finds.

    It goes to whatever loggers the trainer has (TensorBoard, W&B, CSV). `reports` keeps them all.

    Args:
        loader: batches with labels, as `capture` takes them: the training data in a fixed order.
        options: `fields` to log, `prefix` of their names, `every` so many epochs; `num_classes` to
            measure as a stream; and what `capture` takes.

    Raises:
        ModuleNotFoundError: without Lightning, saying how to get it.
    """
    try:
        from lightning.pytorch import Callback
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("this needs: pip install lightning", name=error.name) from error

    class Collapse(Callback, _Measuring):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            _Measuring.__init__(self, *args, **kwargs)

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            if (trainer.current_epoch + 1) % self.every == 0:
                pl_module.log_dict(self.measured(pl_module))

    return Collapse(loader, **options)


def hugging_face_callback(loader: Iterable[Any], **options: Any) -> Any:
    """A `TrainerCallback` of Hugging Face that measures after each epoch and logs what it finds.

    It goes into the trainer's `state.log_history`; `reports` keeps them all.

    Args:
        loader: as in `lightning_callback`, and so are the options.
        options: see there.

    Raises:
        ModuleNotFoundError: without transformers, saying how to get it.
    """
    try:
        from transformers import TrainerCallback
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "this needs: pip install transformers", name=error.name
        ) from error

    class Collapse(TrainerCallback, _Measuring):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            _Measuring.__init__(self, *args, **kwargs)

        def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if round(state.epoch) % self.every == 0:
                found = self.measured(kwargs["model"])
                state.log_history.append({**found, "epoch": state.epoch, "step": state.global_step})

    return Collapse(loader, **options)


def avalanche_plugin(
    *,
    fields: Iterable[str] = LOGGED,
    prefix: str = "collapse/",
    batch_size: int = 256,
    classifier: nn.Module | str | None = None,
) -> Any:
    """A plugin of Avalanche that measures after each experience and publishes what it finds.

    It goes to the strategy's evaluator, and so to its loggers. Measured are the training samples of
    all experiences so far, without augmentation, among the classes seen so far, and how far class
    means have moved: "drift", the mean cosine of a class's mean direction with what it was after
    its own experience. `reports` and `drifts` keep all of it by number of experiences; after one in
    which fewer than two classes have come there is no report.

    Args:
        fields: of the report, to publish.
        prefix: of their names.
        batch_size: of the pass.
        classifier: as for `capture`, where it cannot be found.

    Raises:
        ModuleNotFoundError: without Avalanche, saying how to get it.
    """
    try:
        from avalanche.evaluation.metric_results import MetricValue
        from avalanche.training.plugins import SupervisedPlugin
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "this needs: pip install avalanche-lib", name=error.name
        ) from error

    class Collapse(SupervisedPlugin):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[Any] = []
            self.own: dict[int, Tensor] = {}
            self.reports: dict[int, CollapseReport] = {}
            self.drifts: dict[int, float] = {}

        def after_training_exp(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
            self.seen.append(strategy.experience.dataset.eval())
            loaders = [torch.utils.data.DataLoader(part, batch_size) for part in self.seen]
            batches = ((x, y) for loader in loaders for x, y, *_ in loader)
            found = capture(strategy.model, batches, classifier=classifier)
            directions = nn.functional.normalize(found.features.double())
            cosines = []
            for label in found.labels.unique().tolist():
                mean = directions[found.labels == label].mean(0)
                own = self.own.setdefault(label, mean)
                cosines.append(torch.cosine_similarity(mean, own, dim=0).item())
            count = len(self.seen)
            self.drifts[count] = sum(cosines) / len(cosines)
            numbers = {"drift": self.drifts[count]}
            if len(cosines) > 1:
                self.reports[count] = found.measure(classes=sorted(self.own))
                known = self.reports[count].as_dict()
                numbers |= {name: known[name] for name in fields if known[name] == known[name]}
            for name, value in numbers.items():
                step = strategy.clock.train_iterations
                strategy.evaluator.publish_metric_value(
                    MetricValue(self, f"{prefix}{name}", value, step)
                )

    return Collapse()
