"""The loop of every worker: with trainings that are made up, and `train` with a real one."""

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfmnist.errors import FAULTS, DivergedError, InputError
from tfmnist.recipe import Recipe
from tfmnist.runs.result import write_history
from tfmnist.sweeps.claims import Claims
from tfmnist.sweeps.seed_list import SeedList
from tfmnist.sweeps.trials import Trial
from tfmnist.sweeps.worker import how_ended, open_source, train, work
from tfmnist.system.files import read_npz
from tfmnist.training.checkpoint import list_checkpoints

from .conftest import FakeTraining, make_row


class Trials:
    """Three trials in memory, shared by all workers of this process."""

    metric = "validation_accuracy"
    evaluate_test = False

    def __init__(self, folder: Path, total: int = 3, seeds: Sequence[int] = (0,)) -> None:
        self.folder, self.total, self.seeds = folder, total, seeds
        self.begun = 0
        self.ended: dict[int, Trial] = {}
        self.pruned: set[int] = set()

    def left(self) -> int:
        return self.total - len(self.ended)

    def unfinished(self) -> list[int]:
        return [number for number in range(self.begun) if number not in self.ended]

    def begin(self) -> int | None:
        if self.begun == self.total:
            return None
        self.begun += 1
        return self.begun - 1

    def open(self, number: int) -> Trial:
        return Trial(number, {})

    def runs(self, trial: Trial) -> list[tuple[Path, Recipe]]:
        recipe = Recipe().replace({"train.epochs": 3})
        return [
            (self.folder / "trials" / f"{trial.number}-{seed}", recipe.replace({"train.seed": seed}))
            for seed in self.seeds
        ]

    def should_prune(self, trial: Trial, rows: Sequence[Any]) -> bool:
        return trial.number in self.pruned

    def finish(self, trial: Trial) -> None:
        assert trial.number not in self.ended
        self.ended[trial.number] = trial

    def job(self) -> dict[str, Any]:
        return {}


def work_all(trials: Trials, training: FakeTraining, worker: str = "start-1") -> None:
    for _ in work(trials, Claims(trials.folder, worker), threading.Event(), training):
        pass


def test_each_trial_is_trained_once(tmp_path: Path) -> None:
    trials, training = Trials(tmp_path, seeds=(0, 4)), FakeTraining()
    work_all(trials, training)
    assert list(trials.ended) == [0, 1, 2] and set(training.begun.values()) == {1} and len(training.begun) == 6
    trial = trials.ended[2]
    assert (trial.state, trial.epochs, trial.seconds, len(trial.curve)) == ("done", 3, 6.0, 3)
    assert trial.result == pytest.approx(trial.results[0] + 2) and trial.results[1] == pytest.approx(
        trial.results[0] + 4
    )
    assert trial.curve[0].keys() == {"epoch", "validation_accuracy", "validation_loss", "seconds"}


def test_two_workers_divide_the_trials(tmp_path: Path) -> None:
    trials, training = Trials(tmp_path, total=6), FakeTraining()
    workers = [work(trials, Claims(tmp_path, f"start-{n}"), threading.Event(), training) for n in (1, 2)]
    while trials.left():
        for worker in workers:
            next(worker, None)
    assert sorted(trials.ended) == list(range(6)) and set(training.begun.values()) == {1}
    assert all(list(worker) == [] for worker in workers)


def test_it_stops_saved_and_resumes(tmp_path: Path) -> None:
    trials, training, stop = Trials(tmp_path), FakeTraining(), threading.Event()
    loop = work(trials, Claims(tmp_path, "start-1"), stop, training)
    for _ in range(6):  # three epochs, the end of the run and of the trial, an epoch of the next
        next(loop)
    stop.set()
    list(loop)
    assert list(trials.ended) == [0] and trials.begun == 2
    work_all(trials, training, "start-2")
    assert list(trials.ended) == [0, 1, 2] and set(training.epochs.values()) == {3}


def test_a_worker_waits_for_what_another_has(tmp_path: Path) -> None:
    trials, training = Trials(tmp_path, total=1), FakeTraining()
    first, second = (work(trials, Claims(tmp_path, f"start-{n}"), threading.Event(), training) for n in (1, 2))
    next(first)
    next(second)  # it waits
    first.close()  # as when its process ends
    assert Claims(tmp_path, "start-0").lose("start-1", "the worker process ended by SIGKILL")
    list(second)
    assert trials.ended[0].state == "done" and set(training.epochs.values()) == {3}
    assert trials.ended[0].reason == "tried again: the worker process ended by SIGKILL"


def test_a_trial_that_loses_two_processes_fails_and_the_rest_goes_on(tmp_path: Path) -> None:
    trials, training = Trials(tmp_path), FakeTraining()
    for worker in ("start-1", "start-2"):
        loop = work(trials, Claims(tmp_path, worker), threading.Event(), training)
        next(loop)
        loop.close()
        assert Claims(tmp_path, "start-0").lose(worker, "exit code 1")
    work_all(trials, training, "start-3")
    assert [trial.state for trial in trials.ended.values()] == ["failed", "done", "done"]
    assert (trials.ended[0].reason, trials.ended[0].epochs, trials.ended[0].seconds) == ("exit code 1", 2, 2.0)


@pytest.mark.parametrize(
    ("error", "state"), [(DivergedError("a"), "diverged"), (InputError("b"), "failed"), (OSError(2, "c"), "failed")]
)
def test_a_training_that_fails_is_recorded(tmp_path: Path, error: Exception, state: str) -> None:
    trials, training = Trials(tmp_path), FakeTraining()
    training.error = lambda folder, recipe: error if folder.name == "1-0" else None
    work_all(trials, training)
    assert [trial.state for trial in trials.ended.values()] == ["done", state, "done"]
    assert trials.ended[1].reason == str(error) and trials.ended[1].result is None


FULL = """
import errno
from tfmnist.sweeps import worker
def take(*arguments):
    raise OSError(errno.ENOSPC, "full")
worker.Claims.take = take
worker.main()
"""


def test_a_process_that_finds_no_room_says_so(tmp_path: Path) -> None:
    job = SeedList(Recipe.load("mlp"), [0], tmp_path).job()
    with subprocess.Popen([sys.executable, "-c", FULL, "start-1", "1"], stdin=subprocess.PIPE) as process:
        assert process.stdin
        process.stdin.write(json.dumps(job).encode() + b"\n")
        process.stdin.flush()
        assert how_ended(process.wait(60)) == FAULTS[0].reason
    assert how_ended(1) == "exit code 1" and how_ended(-9) == "the worker process ended by SIGKILL"


def test_what_is_worse_is_pruned_also_if_it_was_killed_before_that_was_recorded(tmp_path: Path) -> None:
    trials, training = Trials(tmp_path), FakeTraining()
    trials.pruned = {0, 1}
    write_history(make_folder(tmp_path / "trials" / "1-0"), [make_row(1, 0.5), make_row(2, 0.5)])
    work_all(trials, training)
    assert [trial.state for trial in trials.ended.values()] == ["pruned", "pruned", "done"]
    assert training.begun == {"0-0": 1, "2-0": 1} and training.epochs["0-0"] == 1
    assert trials.ended[1].reason == "worse than others after 2 epochs" and trials.ended[1].seconds == 2.0


def test_what_has_reached_its_last_epoch_is_not_pruned(tmp_path: Path) -> None:
    trials, training = Trials(tmp_path, total=1), FakeTraining()
    trials.pruned = {0}
    write_history(make_folder(tmp_path / "trials" / "0-0"), [make_row(epoch, 0.5) for epoch in (1, 2, 3)])
    work_all(trials, training)
    assert trials.ended[0].state == "done" and not training.epochs


def make_folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def little(small: Path, **changes: Any) -> Recipe:
    keys = {"data.source": str(small), "data.validation": 100, "model.hidden": [8], "train.epochs": 2}
    return Recipe().replace({**keys, "train.compile": "graph", **changes})


def test_a_run_is_trained_stopped_and_resumed_to_the_same_weights(small: Path, tmp_path: Path) -> None:
    recipe, never, stop = little(small), threading.Event(), threading.Event()
    whole = list(train(tmp_path / "whole", recipe, never, False))
    assert [row.get("epoch") for row in whole] == [1, 2, None]
    assert whole[-1]["validation_accuracy"] == whole[-2]["validation_accuracy"]
    assert not (tmp_path / "whole" / "result.json").exists() and not (tmp_path / "whole" / "model").exists()
    (tmp_path / "killed").mkdir()  # hardly begun
    (tmp_path / "killed" / ".recipe.toml-x3f").write_text("half a rec")
    rows = train(tmp_path / "killed", recipe, stop, False)
    assert next(rows)["epoch"] == 1
    rows.close()
    assert [row.get("epoch") for row in train(tmp_path / "killed", recipe, never, False)] == [2, None]
    assert [row.get("epoch") for row in train(tmp_path / "killed", recipe, never, False)] == [None]  # trained already
    arrays = [read_npz(list_checkpoints(tmp_path / name / "checkpoints")[-1]) for name in ("whole", "killed")]
    assert all(np.array_equal(arrays[0][n], a) for n, a in arrays[1].items() if n not in ("state", "recipe"))


def test_a_job_describes_its_source(tmp_path: Path) -> None:
    job = {"recipe": Recipe().model_dump(mode="json"), "seeds": [0, 3], "folder": str(tmp_path)}
    source = open_source(job)
    assert source.unfinished() == [0, 3] and open_source(source.job()).job() == source.job()
