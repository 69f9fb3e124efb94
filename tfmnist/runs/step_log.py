"""`steps.jsonl`: the loss and learning rate of every `train.log_steps`-th step, one line per step."""

import json
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO, TypeVar

from tfmnist.training.events import StepLoss

STEPS = "steps.jsonl"

T = TypeVar("T")


class StepLog:
    """The log in a run folder, to which lines are appended while the run trains.

    A killed run repeats the steps since its last checkpoint, so their lines are dropped when it is resumed. All other
    lines reach the disk before the checkpoint is written: none is missing, and none is there twice.
    """

    def __init__(self, run: Path):
        self._path = run / STEPS

    def read(self) -> list[StepLoss]:
        """Returns the lines; none if there is no file."""
        return [row for _, row in self._lines()]

    def follow(self, events: Iterable[T], step: int) -> Iterator[T]:
        """Writes each `StepLoss` among the events of a run that has done `step` steps, and passes all events on."""
        with self._path.open("ab") as file:
            file.truncate(max((end for end, row in self._lines() if row.step <= step), default=0))
            try:
                for event in events:
                    if isinstance(event, StepLoss):
                        file.write(_to_line(event))
                    else:  # a checkpoint may follow
                        _sync(file)
                    yield event
            finally:
                _sync(file)

    def _lines(self) -> Iterator[tuple[int, StepLoss]]:
        """Yields the end of each line in the file, in bytes, and its content, up to one that is damaged."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            end = 0
            for line in file:
                try:
                    row = json.loads(line)
                    step = StepLoss(**{**row, "loss": math.nan if row["loss"] is None else row["loss"]})
                except (ValueError, TypeError, KeyError):
                    return
                if not line.endswith(b"\n"):  # cut short by a kill, like most damaged ones
                    return
                end += len(line)
                yield end, step


def _to_line(row: StepLoss) -> bytes:
    """Returns a line; JSON has no numbers that are not finite, so such a loss is null."""
    return json.dumps({**asdict(row), "loss": row.loss if math.isfinite(row.loss) else None}).encode() + b"\n"


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
