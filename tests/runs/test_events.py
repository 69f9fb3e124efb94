"""The clock of a run, and what a finished run says."""

import time
from pathlib import Path

from tfmnist.runs.events import Clock, Run


def test_a_clock_adds_up_the_laps_of_each_phase() -> None:
    clock = Clock()
    for phase in ("load", "train", "load"):
        time.sleep(0.01)
        clock.lap(phase)
    seconds = clock.all()
    assert list(seconds) == ["load", "compile", "train", "evaluate", "export", "total"]
    assert seconds["load"] >= 0.02 and seconds["train"] >= 0.01 and seconds["compile"] == 0.0
    assert seconds["total"] >= seconds["load"] + seconds["train"] - 0.002


def test_the_accuracy_of_a_run() -> None:
    assert Run(Path("run"), {"test_accuracy": 0.5}).test_accuracy == 0.5
