"""The events of a training, which `Trainer.run` yields."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Progress:
    """Progress within an epoch; loss and accuracy are means over its steps so far."""

    epoch: int  # from 1
    step: int
    steps: int  # of the epoch; 0 if not known
    loss: float
    accuracy: float
    images_per_second: float


@dataclass(frozen=True)
class StepLoss:
    """The loss of one step, penalties included, before its update: one line of `steps.jsonl`."""

    step: int  # from 1, since the start of training
    epoch: int  # from 1
    loss: float  # not finite where training diverges
    learning_rate: float


@dataclass(frozen=True)
class Epoch:
    """The metrics of one finished epoch: one line of `metrics.jsonl`."""

    epoch: int  # from 1
    step: int  # since the start of training
    loss: float
    accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    learning_rate: float
    seconds: float
    images_per_second: float
    metrics: dict[str, float] = field(default_factory=dict)
    """Of the user's functions, on the validation set."""

    def to_row(self) -> dict[str, Any]:
        """Returns the line of `metrics.jsonl`; without metrics if there are none."""
        row = asdict(self)
        return row if self.metrics else {key: value for key, value in row.items() if key != "metrics"}
