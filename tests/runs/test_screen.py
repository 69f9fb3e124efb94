"""What is printed if the output is no terminal: lines of progress and their arithmetic, and the table of gradients."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tfmnist.cli.run_screen import Screen, show_gradients

from tfmnist.backprop.check import Comparison, Entry
from tfmnist.data.bulk_decode import DecodingProgress
from tfmnist.data.split import Digits, Split
from tfmnist.nn.models import MLP
from tfmnist.recipe import Recipe
from tfmnist.runs.events import Started
from tfmnist.runs.train import run_events
from tfmnist.training.events import Epoch, Progress

LINE = re.compile(r"Epoch (\d+)/(\d+) \| Batch (\d+)/(\d+) \| Loss: (\d+\.\d{4}|nan)")


def lines_in(text: str) -> list[tuple[int, int, int, int, float]]:
    """Epoch, epochs, batch, batches and loss of each line of progress; all must be in the form."""
    matches = [LINE.fullmatch(line) for line in text.splitlines() if line.startswith("Epoch ")]
    assert all(matches), text
    return [(*(int(n) for n in match.groups()[:4]), float(match[5])) for match in matches if match]  # type: ignore[misc]


def started(
    progress: int, count: int = 60, batch_size: int = 10, epochs: int = 2, notes: tuple[str, ...] = ()
) -> Started:
    split = Split(np.zeros([count, 4, 4], np.uint8), np.arange(count) % 3)
    digits = Digits(split, split, split, ("a", "b", "c"), "here", notes)
    settings = {"train.progress": progress, "train.batch_size": batch_size, "train.epochs": epochs}
    recipe = Recipe().replace(settings)
    return Started(Path("runs/x"), recipe, digits, MLP((4, 4), [2], 3), (), 1)


def epoch_of(losses: list[float], number: int, blocks: list[int]) -> list[Progress | Epoch]:
    """The events of an epoch whose batches have these losses, a `Progress` after each of some batches."""
    events: list[Progress | Epoch] = [
        Progress(number, step, len(losses), sum(losses[:step]) / step, 0.5, 100.0) for step in blocks
    ]
    mean = sum(losses) / len(losses)
    return [*events, Epoch(number, number * len(losses), mean, 0.5, None, None, 0.001, 1.0, 100.0)]


def shown(first: Started, *epochs: list[Progress | Epoch]) -> None:
    with Screen() as screen:
        screen.show(DecodingProgress(3, 9))
        screen.show(first)
        for events in epochs:
            for event in events:
                screen.show(event)


# Progress


@pytest.mark.parametrize(
    ("progress", "blocks", "batches"),
    [
        (2, [2, 4], [2, 4, 6]),
        (2, [1, 2, 3, 4, 5], [2, 4, 6]),
        (4, [4], [4]),
        (6, [3], [6]),
        (7, [5], []),
        (0, [2, 4], []),
    ],
)
def test_a_line_has_the_mean_loss_since_the_line_before(
    progress: int, blocks: list[int], batches: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    losses = [[9.0, 5.0, 4.0, 2.0, 1.5, 0.25], [0.5, 0.25, 0.125, 2.0, 1.0, 3.0]]
    shown(started(progress), *(epoch_of(values, number, blocks) for number, values in enumerate(losses, start=1)))
    lines = lines_in(capsys.readouterr().out)
    assert [line[:4] for line in lines] == [(number, 2, batch, 6) for number in (1, 2) for batch in batches]
    for number, _, batch, _, loss in lines:
        since = max([0, *(end for end in batches if end < batch)])
        assert loss == pytest.approx(np.mean(losses[number - 1][since:batch]), abs=5e-5)


def test_lines_stand_among_the_rows_of_the_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    shown(started(3, epochs=1, notes=("no test set in the source",)), epoch_of([1.0] * 6, 1, [3]))
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\r" not in out and "decoding pictures" not in out
    lines = out.splitlines()
    assert "         no test set in the source" in lines
    head = next(number for number, line in enumerate(lines) if line.split()[:2] == ["epoch", "loss"])
    assert lines[head + 1] == "Epoch 1/1 | Batch 3/6 | Loss: 1.0000"
    assert lines[head + 2] == "Epoch 1/1 | Batch 6/6 | Loss: 1.0000"
    assert lines[head + 3].split()[:2] == ["1/1", "1.0000"]


def test_lines_that_cover_an_epoch_mean_its_loss(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"data.source": str(small), "data.validation": 0, "model.hidden": [8], "train.compile": "graph"}
    changes |= {"train.epochs": 2, "train.batch_size": 60, "export.model": False, "export.report": False}
    recipe = Recipe().replace({**changes, "train.progress": 2, "train.block": 7})
    with Screen() as screen:
        for event in run_events(recipe, tmp_path / "run"):
            screen.show(event)
    lines = lines_in(capsys.readouterr().out)
    assert [line[:4] for line in lines] == [(epoch, 2, batch, 10) for epoch in (1, 2) for batch in (2, 4, 6, 8, 10)]
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    for row in rows:
        losses = [line[4] for line in lines if line[0] == row["epoch"]]
        assert np.mean(losses) == pytest.approx(row["loss"], abs=5e-5)
        assert len(set(losses)) > 1


# Gradients


ROW = Comparison(
    name="dense_1/kernel",
    shape=(784, 30),
    largest=0.25,
    tape_formula=1e-15,
    checked=50,
    kinks=0,
    tape_difference=2e-9,
    formula_difference=3e-9,
    resolution=1e-9,
    entry=Entry((3, 4), 0.25, 0.25, 0.2500001),
)
UNSEEN: dict[str, Any] = {
    "checked": 0,
    "kinks": 50,
    "tape_difference": math.nan,
    "formula_difference": math.nan,
    "entry": None,
}


@pytest.mark.parametrize(
    ("changes", "largest"),
    [
        ({}, 3e-9),
        ({"tape_difference": 0.5}, 0.5),
        ({"tape_formula": 2.0}, 2.0),
        (UNSEEN, 1e-15),  # no entry was compared with differences
        ({"tape_formula": math.inf}, math.inf),
        ({"tape_formula": math.nan}, math.nan),
        ({**UNSEEN, "tape_formula": math.nan}, math.nan),
        ({"tape_difference": math.nan}, math.nan),
        ({"formula_difference": math.nan}, math.nan),
    ],
)
@pytest.mark.parametrize("index", [0, 1, 2])
def test_the_largest_distance_is_returned_and_nan_counts_as_the_largest(
    changes: dict[str, Any], largest: float, index: int, capsys: pytest.CaptureFixture[str]
) -> None:
    calm = replace(ROW, tape_difference=1e-15, formula_difference=1e-15, name="logits/kernel")
    rows = [calm, calm, calm]
    rows[index] = replace(ROW, **changes)
    returned = show_gradients("mlp", 20, rows)
    assert returned == largest or (math.isnan(returned) and math.isnan(largest))
    assert capsys.readouterr().out.splitlines()[-1] == f"largest relative error {largest:.1e}"


def test_the_table_of_gradients(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    rows = [ROW, replace(ROW, name="logits/bias", shape=(30,), checked=1234, kinks=7), replace(ROW, **UNSEEN)]
    show_gradients("sigmoid-mlp", 20, rows)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80 and "\x1b" not in out
    assert out.startswith("sigmoid-mlp: gradients of 20 examples; errors")
    table = [line.split() for line in out.splitlines()]
    assert ["dense_1/kernel", "784x30", "0.25", "1.0e-15", "2.0e-09", "3.0e-09", "50"] in table
    assert ["logits/bias", "30", "0.25", "1.0e-15", "2.0e-09", "3.0e-09", "1,234"] in table
    assert ["dense_1/kernel", "784x30", "0.25", "1.0e-15", "nan", "nan", "0"] in table
    assert "left out 57 entries at which a ReLU switches, where there is no derivative" in out
    assert out.count("dense_1/kernel[3, 4]") == 1  # a row without a checked entry has none
    assert ["difference", "+2.500001000000000e-01"] in table
