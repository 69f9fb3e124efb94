"""A run that diverges goes back to the start of its epoch with half the learning rate, wherever it is interrupted."""

import threading
from pathlib import Path
from typing import Any

import pytest

import tfmnist
from tfmnist.errors import DivergedError, Interrupted
from tfmnist.recipe import Recipe
from tfmnist.runs.events import Run
from tfmnist.runs.train import resume_events, run_events
from tfmnist.training.events import Progress


@pytest.fixture
def too_fast(recipe: Recipe) -> Recipe:
    """Diverges in its second half of the first epoch, and once more; a fourth of the learning rate is right."""
    changes = {"loss.kind": "naive_cross_entropy", "optimizer.kind": "sgd", "optimizer.learning_rate": 8.0}
    changes["model.activation"] = "tanh"
    quick = {"export.model": False, "export.report": False, "train.block": 2}
    return recipe.replace({**changes, **quick, "train.on_nonfinite": "rollback"})


def test_the_history_says_how_often_and_why(too_fast: Recipe, tmp_path: Path) -> None:
    result = tfmnist.run(too_fast, tmp_path / "run", progress=False)
    rows = [row.model_dump() for row in tfmnist.open_run(tmp_path / "run").history]
    notes = [note for row in rows for note in row.get("notes", [])]
    assert len(rows) == 3 and 1 <= len(notes) <= 3 and result.test_accuracy > 0.1
    assert notes[0].startswith("rollback 1 of 3: diverged: the loss is nan at epoch 1, step")
    assert rows[-1]["learning_rate"] == 8.0 * 0.5 ** len(notes)


def test_without_it_the_run_fails(too_fast: Recipe, tmp_path: Path) -> None:
    with pytest.raises(DivergedError):
        tfmnist.run(too_fast.replace({"train.on_nonfinite": "fail"}), tmp_path / "run", progress=False)


def test_it_goes_back_only_a_few_times(too_fast: Recipe, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="went back 3 times"):
        tfmnist.run(too_fast.replace({"optimizer.learning_rate": 1e30}), tmp_path / "run", progress=False)
    with pytest.raises(tfmnist.InputError, match="Start a new run"):
        tfmnist.open_run(tmp_path / "run").result  # noqa: B018


def test_interruptions_change_nothing(too_fast: Recipe, tmp_path: Path) -> None:
    expected = tfmnist.run(too_fast, tmp_path / "whole", progress=False)
    path, starts = tmp_path / "stopped", 0
    event: Any = None
    while not isinstance(event, Run):
        stop = threading.Event()
        events = resume_events(path, stop=stop) if starts else run_events(too_fast, path, stop)
        starts += 1
        assert starts < 40
        try:
            for event in events:
                if isinstance(event, Progress):
                    stop.set()
        except Interrupted:
            pass
    assert starts > 5 and event.result["weights_sha256"] == expected.result["weights_sha256"]
    histories = [tfmnist.open_run(folder).history for folder in (path, tmp_path / "whole")]
    first, second = ([row.model_dump().get("notes") for row in history] for history in histories)
    assert first == second
