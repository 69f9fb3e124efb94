"""`steps.jsonl`: a line per logged step, none missing and none twice, wherever a run is stopped or killed."""

import json
import math
import threading
from pathlib import Path
from typing import Any

import pytest

import tfmnist
from tfmnist.recipe import Recipe
from tfmnist.runs.events import Run
from tfmnist.runs.step_log import STEPS, StepLog
from tfmnist.runs.train import resume_events, run_events
from tfmnist.training.events import Epoch, Progress, StepLoss


@pytest.fixture(scope="module")
def logged(recipe: Recipe) -> Recipe:
    changes = {"schedule.kind": "cosine", "export.report": False, "export.model": False}
    return recipe.replace({**changes, "train.log_steps": 1})


@pytest.fixture(scope="module")
def whole(logged: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of 24 steps, 8 per epoch, that was not interrupted."""
    return tfmnist.run(logged, tmp_path_factory.mktemp("whole") / "run")


def test_each_line_is_a_step(whole: Run) -> None:
    lines = (whole.path / STEPS).read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["step"] for row in rows] == list(range(1, 25))
    assert [row["epoch"] for row in rows] == [1] * 8 + [2] * 8 + [3] * 8
    assert list(rows[0]) == ["step", "epoch", "loss", "learning_rate"]
    assert StepLog(whole.path).read() == [StepLoss(**row) for row in rows]
    history = [json.loads(line) for line in (whole.path / "metrics.jsonl").read_text().splitlines()]
    for epoch in history:
        losses = [row["loss"] for row in rows if row["epoch"] == epoch["epoch"]]
        mean = (64 * sum(losses[:7]) + 52 * losses[7]) / 500  # the last batch is smaller
        assert epoch["loss"] == pytest.approx(mean, rel=1e-6)
        assert rows[epoch["step"] - 1]["learning_rate"] == pytest.approx(epoch["learning_rate"], rel=1e-6)


def test_without_the_key_there_is_no_file_and_the_weights_are_the_same(
    done: Run, recipe: Recipe, tmp_path: Path
) -> None:
    assert not (done.path / STEPS).exists() and StepLog(done.path).read() == []
    quiet = {"export.report": False, "export.model": False, "train.log_steps": 5}
    run = tfmnist.run(recipe.replace(quiet), tmp_path / "run")
    assert run.result["weights_sha256"] == done.result["weights_sha256"]
    assert [row.step for row in StepLog(run.path).read()] == [5, 10, 15, 20]


def test_stopped_after_every_block_it_has_the_same_lines(logged: Recipe, whole: Run, tmp_path: Path) -> None:
    path, stop = tmp_path / "run", threading.Event()
    for start in range(12):
        events = resume_events(path, stop=stop) if start else run_events(logged, path, stop)
        stop.clear()
        try:
            for event in events:
                if isinstance(event, StepLoss):  # in the middle of a block: it goes on to the end of it
                    stop.set()
        except tfmnist.Interrupted:
            assert len((path / STEPS).read_text().splitlines()) == len(StepLog(path).read()) > 0
    assert (path / STEPS).read_bytes() == (whole.path / STEPS).read_bytes()


@pytest.mark.parametrize(
    "tail", ["", '{"step": 99, "ep', "[]\n", '{"step": 99, "epoch": 9, "loss": 1, "learning_rate": 1}\n']
)
@pytest.mark.parametrize("steps", [2, 13])
def test_a_killed_run_trains_steps_again_without_logging_them_twice(
    tail: str, steps: int, logged: Recipe, whole: Run, tmp_path: Path, leave_at: Any
) -> None:
    leave_at(logged, tmp_path / "run", steps)
    file = tmp_path / "run" / STEPS
    assert [row.step for row in StepLog(tmp_path / "run").read()] == list(range(1, steps + 1))
    file.write_bytes(file.read_bytes() + tail.encode())
    *_, last = resume_events(tmp_path / "run")
    assert isinstance(last, Run) and last.result["weights_sha256"] == whole.result["weights_sha256"]
    assert file.read_bytes() == (whole.path / STEPS).read_bytes()


def test_a_line_is_there_as_soon_as_its_block_is_done(logged: Recipe, tmp_path: Path) -> None:
    for event in run_events(logged, tmp_path / "run"):
        if isinstance(event, Progress | Epoch):
            done = event.step if isinstance(event, Epoch) else 8 * (event.epoch - 1) + event.step
            assert [row.step for row in StepLog(tmp_path / "run").read()] == list(range(1, done + 1))


def test_a_diverged_run_logs_up_to_the_loss_that_is_not_finite(logged: Recipe, tmp_path: Path) -> None:
    wild = {"schedule.kind": "constant", "optimizer.kind": "sgd", "optimizer.learning_rate": 1e30}
    with pytest.raises(tfmnist.DivergedError, match="step 2 of 8"):
        tfmnist.run(logged.replace(wild), tmp_path / "run")
    first, second = (tmp_path / "run" / STEPS).read_text().splitlines()
    assert json.loads(first)["loss"] > 0 and json.loads(second)["loss"] is None  # JSON has no NaN
    assert math.isnan(StepLog(tmp_path / "run").read()[1].loss)
