"""What a run prints if the output is no terminal: what it is, its lines of progress, its result."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tfmnist.data.bulk_decode import DecodingProgress
from tfmnist.data.split import Digits, Split
from tfmnist.nn.models import MLP
from tfmnist.recipe import Recipe
from tfmnist.runs.events import Event, Run, Started
from tfmnist.runs.screen import RunScreen, show_run
from tfmnist.runs.train import run_events
from tfmnist.training.events import Epoch, Progress

SECONDS = {"total": 1.0, "train": 1.0}
RESULT = {"test_accuracy": 0.5, "test_accuracy_ci95": (0.4, 0.6), "data": {"test": 20}, "weights_sha256": "ab"}


def events_of_a_run() -> list[Event]:
    """60 examples in 6 batches, one epoch, a line of progress after every third batch."""
    split = Split(np.zeros([60, 4, 4], np.uint8), np.arange(60) % 3)
    digits = Digits(split, split, split, ("a", "b", "c"), "here", ("no test set in the source",))
    recipe = Recipe().replace({"train.progress": 3, "train.batch_size": 10, "train.epochs": 1})
    started = Started(Path("runs/x"), recipe, digits, MLP((4, 4), [2], 3), (), 1)
    progress = Progress(1, 3, 6, 1.0, 0.5, 100.0)
    epoch = Epoch(1, 6, 1.0, 0.5, None, None, 0.001, 1.0, 100.0)
    return [DecodingProgress(3, 9), started, progress, epoch, Run(Path("runs/x"), {**RESULT, "seconds": SECONDS})]


def test_what_a_run_prints(capsys: pytest.CaptureFixture[str]) -> None:
    events = events_of_a_run()
    assert show_run(event for event in events) is events[-1]
    assert capsys.readouterr().out.splitlines() == [
        "recipe   recipe",
        "data     here: 60 to train, 60 to validate, 60 to test",
        "         3 classes, 4x4 pixels",
        "         no test set in the source",
        "model    mlp, 43 parameters, float32",
        "run      runs/x",
        "",
        "  epoch     loss  accuracy  val loss   val acc      rate   images/s  seconds",
        "Epoch 1/1 | Batch 3/6 | Loss: 1.0000",
        "Epoch 1/1 | Batch 6/6 | Loss: 1.0000",
        "    1/1   1.0000    50.00%         -         -     0.001        100      1.0",
        "",
        "test accuracy 50.00% of 20 images (95 % interval 40.00% to 60.00%)",
        "weights  sha256 ab",
        "seconds  1.0: train 1.0",
    ]


def test_nothing_is_printed_if_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    show_run((event for event in events_of_a_run()), quiet=True)
    assert capfd.readouterr() == ("", "")


def test_lines_that_cover_an_epoch_mean_its_loss(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"data.source": str(small), "data.validation": 0, "model.hidden": [8], "train.compile": "graph"}
    changes |= {"train.epochs": 2, "train.batch_size": 60, "export.model": False, "export.report": False}
    recipe = Recipe().replace({**changes, "train.progress": 2, "train.block": 7})
    with RunScreen() as screen:
        for event in run_events(recipe, tmp_path / "run"):
            screen.show(event)
    found = re.findall(r"^Epoch (\d)/2 \| Batch (\d+)/10 \| Loss: (\d+\.\d{4})$", capsys.readouterr().out, re.MULTILINE)
    lines = [(int(epoch), int(batch), float(loss)) for epoch, batch, loss in found]
    assert [line[:2] for line in lines] == [(epoch, batch) for epoch in (1, 2) for batch in (2, 4, 6, 8, 10)]
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    for row in rows:
        losses = [line[2] for line in lines if line[0] == row["epoch"]]
        assert np.mean(losses) == pytest.approx(row["loss"], abs=5e-5)
        assert len(set(losses)) > 1
