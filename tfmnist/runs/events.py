"""The events of a run, and its clock."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfmnist.data.bulk_decode import DecodingProgress
from tfmnist.data.split import Digits
from tfmnist.nn.models import Network
from tfmnist.recipe import Recipe
from tfmnist.training.events import Epoch, Progress, StepLoss
from tfmnist.training.profile import Profile


@dataclass(frozen=True)
class Started:
    """A run is about to train; `notes` are its automatic choices, with the reasons, one line each."""

    path: Path
    recipe: Recipe
    digits: Digits
    model: Network
    notes: tuple[str, ...]
    first_epoch: int  # from 1; larger than 1 in a resumed run


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, and the contents of `result.json`."""

    path: Path
    result: dict[str, Any]

    @property
    def test_accuracy(self) -> float:
        """Fraction of the test images that the final model classifies correctly."""
        return self.result["test_accuracy"]


@dataclass(frozen=True)
class Trained:
    """A run that is trained but not yet evaluated on the test set. `resume` finishes it."""

    path: Path
    epochs: int
    validation_accuracy: float | None
    validation_loss: float | None
    seconds: float  # of training


Event = DecodingProgress | Started | Profile | StepLoss | Progress | Epoch | Trained | Run


class Clock:
    """Measures the seconds of each phase, for `result.json`."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.seconds: dict[str, float] = {"load": 0.0, "compile": 0.0, "train": 0.0, "evaluate": 0.0, "export": 0.0}
        self._last = self.began

    def lap(self, phase: str) -> None:
        """Adds the time since the last lap to a phase."""
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now

    def all(self) -> dict[str, float]:
        """Returns all phases and the total, rounded to milliseconds."""
        total = {"total": time.perf_counter() - self.began}
        return {phase: round(seconds, 3) for phase, seconds in {**self.seconds, **total}.items()}
