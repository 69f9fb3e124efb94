"""The events of a training, which `Trainer.run` yields."""

from dataclasses import asdict, dataclass, field
from enum import IntEnum
from typing import Any


@dataclass(frozen=True)
class Progress:
    """Progress within an epoch; loss (penalties included) and accuracy are means over its examples so far."""

    epoch: int  # from 1
    step: int  # steps done in this epoch
    steps: int  # in the epoch; 0 if not known
    loss: float
    accuracy: float
    images_per_second: float


@dataclass(frozen=True)
class StepLoss:
    """The loss of one step before its update, penalties included: one line of `steps.jsonl`."""

    step: int  # from 1, since the start of training
    epoch: int  # from 1
    loss: float  # not finite in the step at which training diverges
    learning_rate: float


@dataclass(frozen=True)
class Epoch:
    """The figures of one finished epoch: one line of `metrics.jsonl`."""

    epoch: int  # from 1
    step: int  # steps done since the start of training
    loss: float  # mean over the training examples, each before the update of its step; penalties included
    accuracy: float  # likewise, in [0, 1]
    validation_loss: float | None  # without penalties; None without validation
    validation_accuracy: float | None  # in [0, 1]
    learning_rate: float  # of the last step
    seconds: float  # of training, without validation
    images_per_second: float  # in training
    metrics: dict[str, float] = field(default_factory=dict)
    """The means of the functions passed as `metrics`, by name, over the validation examples."""
    notes: tuple[str, ...] = ()
    """What was unusual, one line each: what looks wrong with the training, or that it went back to a checkpoint."""

    def to_row(self) -> dict[str, Any]:
        """Returns the line of `metrics.jsonl`, without `metrics` and `notes` if there are none."""
        return {key: value for key, value in asdict(self).items() if value or key not in ("metrics", "notes")}


class Verdict(IntEnum):
    """What follows a block of steps that several processes have done together."""

    CONTINUE = 0
    STOP = 1  # and resume later
    FINISHED = 2
    DIVERGED = 3
    GO_BACK = 4  # to a state that the chief sends
