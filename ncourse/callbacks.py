"""Collapse measured while somebody else's trainer trains: Lightning's, and that of Hugging Face.

Neither is needed by anything else here, so each is imported where its callback is made.
"""

from collections.abc import Iterable
from typing import Any

from ncourse.metrics import CollapseMetric, CollapseReport, capture

__all__ = ["hugging_face_callback", "lightning_callback"]

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
