"""A sweep as its command sees it, with trainings that take no time: resumed, shared, stopped, confirmed."""

import errno
import json
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tfmnist.errors import DivergedError, InputError, Interrupted
from tfmnist.recipe import Recipe
from tfmnist.sweeps import optuna_ledger
from tfmnist.sweeps.search import search_events, sweep
from tfmnist.sweeps.sweep_file import Sweep
from tfmnist.sweeps.trials import SweepProgress, SweepResult, Trial
from tfmnist.sweeps.workers import Workers

from .conftest import FakeTraining

GRID = """
[fixed]
"train.epochs" = 3
[space]
"optimizer.learning_rate" = {low = 0.001, high = 1, log = true, points = 4}
"model.hidden" = [[8], [16, 8], []]
[search]
confirm = 0
sampler = "grid"
"""


def result_of(text: str, folder: Path) -> SweepResult:
    *_, last = search_events(Sweep.parse(text, "some"), folder, Workers(-1))
    assert isinstance(last, SweepResult)
    return last


def rows(trials: list[Trial]) -> list[dict[str, Any]]:
    return [trial.to_dict() for trial in trials]


def diverge_above(rate: float) -> Any:
    """An error for each training with a larger learning rate."""
    return lambda folder, recipe: DivergedError("diverged") if recipe.optimizer.learning_rate > rate else None


def test_a_grid_is_tried_completely_and_its_best_is_a_recipe(training: FakeTraining, tmp_path: Path) -> None:
    result = result_of(GRID, tmp_path)
    assert [trial.number for trial in result.trials] == list(range(12))
    assert set(training.begun.values()) == {1} and len(training.begun) == 12
    assert result.best and result.best.values == {
        "optimizer.learning_rate": pytest.approx(0.01),
        "model.hidden": [16, 8],
    }
    assert result.best.result == pytest.approx(1.24) and result.best.seconds == 3.0 and result.best.epochs == 3
    best = Recipe.load(tmp_path / "best.toml")
    assert best.model.hidden == (16, 8) and best.train.epochs == 3
    table = json.loads((tmp_path / "sweep.json").read_text())
    assert table["best"] == result.best.number and table["trials"] == rows(result.trials)


def test_progress_counts_the_trials_one_by_one(training: FakeTraining, tmp_path: Path) -> None:
    events = list(search_events(Sweep.parse(GRID, "some"), tmp_path, Workers(-1)))
    progress = [event for event in events if isinstance(event, SweepProgress)]
    ended = [event for event in progress if event.ended]
    assert [event.ended.number for event in ended if event.ended] == list(range(12))
    assert [sum(trial.state == "done" for trial in event.trials) for event in ended] == list(range(1, 13))
    under_way = [trial for event in progress for trial in event.trials if trial.state == "running"]
    assert {trial.epochs for trial in under_way} == {1, 2, 3} and under_way[0].values["model.hidden"] == [8]


def search_at_once(text: str, folders: list[Path], storage: str) -> list[SweepResult]:
    """Runs a sweep in threads, as on several machines; returns what each of them ends with."""

    def run(folder: Path) -> SweepResult:
        *_, last = search_events(Sweep.parse(text, "some"), folder, Workers(-1), storage=storage)
        assert isinstance(last, SweepResult)
        return last

    with ThreadPoolExecutor(len(folders)) as pool:
        return list(pool.map(run, folders))


@pytest.mark.parametrize("sampler", ["grid", "random"])
def test_two_machines_share_a_search_by_a_storage(
    training: FakeTraining, tmp_path: Path, storage: str, sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optuna_ledger, "HEARTBEAT", 0.05)
    text = GRID.replace('"grid"', f'"{sampler}"\ntrials = 11').replace("confirm = 0", "confirm = 1")
    folders = [tmp_path / "one", tmp_path / "other"]
    training.error = lambda folder, recipe: time.sleep(0.05)
    ends = search_at_once(text, folders, storage)
    divided = [{path.name for path in (folder / "trials").iterdir()} for folder in folders]
    assert all(divided) and not divided[0] & divided[1]
    alone = rows(result_of(text, tmp_path / "alone").trials)
    assert all(rows(end.trials) == alone for end in ends) and len(alone) == 11
    confirmed, other = sorted(ends, key=lambda end: end.confirmed is None)
    assert confirmed.confirmed and not other.confirmed and not (other.path / "confirmed").exists()
    assert other.unconfirmed.startswith("another command does that, in ")
    assert other.unconfirmed.endswith(str(confirmed.path))


def test_what_a_dead_machine_leaves_is_trained_by_the_others(
    training: FakeTraining, tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optuna_ledger, "HEARTBEAT", 0.05)
    text = GRID.replace("confirm = 0", "confirm = 1")
    dead = search_events(Sweep.parse(text, "some"), tmp_path / "dead", Workers(-1), storage=storage)
    while training.epochs["0000"] < 2:
        next(dead)
    dead.close()  # nothing is recorded, as when the process is killed
    monkeypatch.setattr(optuna_ledger, "GRACE", 1.0)
    ends = search_at_once(text, [tmp_path / "one", tmp_path / "other"], storage)
    assert [rows(end.trials) for end in ends] == [rows(result_of(text, tmp_path / "alone").trials)] * 2
    assert sum(end.confirmed is not None for end in ends) == 1
    assert training.epochs["0000"] == 2 + 3 + 3  # dead, one that took it over, alone


@pytest.mark.parametrize(
    ("missing", "ray", "said"), [("optuna", "", "sweep"), ("ray", "local", "ray"), ("nothing", "nowhere", "HOST:PORT")]
)
def test_a_sweep_that_cannot_begin_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, ray: str, said: str
) -> None:
    monkeypatch.delitem(sys.modules, "tfmnist.sweeps.optuna_study", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InputError, match=said):
        sweep(Sweep.parse(GRID, "some"), tmp_path / "some", ray=ray)
    assert not (tmp_path / "some").exists()


def test_a_sweep_is_shown_unless_its_caller_wants_silence(
    training: FakeTraining, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sweep(Sweep.parse(GRID, "some"), tmp_path / "shown", workers=-1)
    out, errors = capfd.readouterr()
    assert errors == "" and out.startswith("1/12  trial 0  ") and "\nbest     trial " in out
    assert out.endswith(f"\nreport   {tmp_path}/shown/report.html\n")
    assert sweep(Sweep.parse(GRID, "some"), tmp_path / "silent", workers=-1, progress=False).best
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("steps", [1, 7, 20, 45])
@pytest.mark.parametrize("sampler", ["grid", "random"])
def test_a_sweep_that_was_killed_is_resumed_to_the_same_table(
    training: FakeTraining, tmp_path: Path, steps: int, sampler: str
) -> None:
    text = GRID.replace('"grid"', f'"{sampler}"\ntrials = 12') + "seeds = [0, 1]\n"
    whole = result_of(text, tmp_path / "whole")
    training.epochs.clear()
    killed = search_events(Sweep.parse(text, "some"), tmp_path / "killed", Workers(-1))
    for _ in range(steps):
        next(killed)
    killed.close()  # nothing is recorded, as when the process is killed
    assert rows(result_of(text, tmp_path / "killed").trials) == rows(whole.trials)
    assert set(training.epochs.values()) == {3} and len(training.epochs) == 24  # no epoch twice


def test_a_finished_sweep_trains_nothing_more(training: FakeTraining, tmp_path: Path) -> None:
    before = result_of(GRID, tmp_path)
    training.begun.clear()
    assert rows(result_of(GRID, tmp_path).trials) == rows(before.trials) and not training.begun


def test_a_folder_holds_one_sweep(training: FakeTraining, tmp_path: Path) -> None:
    result_of(GRID, tmp_path / "sweep")
    with pytest.raises(InputError, match="holds another sweep"):
        result_of(GRID.replace("0.001", "0.002"), tmp_path / "sweep")
    recipe = tmp_path / "mine.toml"
    for epochs in (3, 4):
        recipe.write_text(f"[train]\nepochs = {epochs}\n")
        changed = Sweep.parse('recipe = "mine.toml"\n' + GRID.replace('"train.epochs" = 3', ""), "some", tmp_path)
        if epochs == 3:
            list(search_events(changed, tmp_path / "mine", Workers(-1)))
    with pytest.raises(InputError, match="holds a sweep of mine before it was changed; choose another folder"):
        list(search_events(changed, tmp_path / "mine", Workers(-1)))


def test_what_diverges_is_marked_and_not_tried_again(training: FakeTraining, tmp_path: Path) -> None:
    training.error = diverge_above(0.05)
    result = result_of(GRID, tmp_path)
    assert Counter(trial.state for trial in result.trials) == {"done": 6, "diverged": 6}
    assert set(training.begun.values()) == {1} and result.best and result.best.state == "done"


def test_if_every_trial_fails_the_first_reason_is_said(training: FakeTraining, tmp_path: Path) -> None:
    training.error = lambda folder, recipe: InputError(f"no data for {folder.name}")
    with pytest.raises(InputError, match="every trial failed; the first: no data for 0000"):
        result_of(GRID, tmp_path)


def test_a_full_disk_stops_the_sweep_and_fails_no_trial(training: FakeTraining, tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    training.error = lambda folder, recipe: full if folder.name == "0003" else None
    with pytest.raises(Interrupted, match="the disk is full; free some space, and run the same command to resume"):
        result_of(GRID, tmp_path)
    training.error = lambda folder, recipe: None
    assert {trial.state for trial in result_of(GRID, tmp_path).trials} == {"done"}


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (OSError(errno.EIO, "Input/output error"), "cannot be read or written"),
        (OSError(errno.EROFS, "Read-only file system"), "the disk is read-only"),
        (MemoryError(), "out of memory"),
    ],
)
def test_a_fault_of_the_machine_fails_no_trial_whatever_hides_it(
    fault: Exception, says: str, training: FakeTraining, tmp_path: Path
) -> None:
    hidden = InputError("cannot make the run folder")
    hidden.__context__ = fault
    for error in (fault, hidden):
        training.error = lambda folder, recipe, error=error: error if folder.name == "0003" else None
        with pytest.raises(Interrupted, match=f"{says}.*, and run the same command to resume"):
            result_of(GRID, tmp_path)
    training.error = lambda folder, recipe: None
    assert {trial.state for trial in result_of(GRID, tmp_path).trials} == {"done"}


def test_if_every_trial_diverges_there_is_no_best(training: FakeTraining, tmp_path: Path) -> None:
    training.error = diverge_above(0)
    assert result_of(GRID, tmp_path).best is None and not (tmp_path / "best.toml").exists()


def test_a_trial_with_several_seeds_has_their_mean(training: FakeTraining, tmp_path: Path) -> None:
    result = result_of(GRID + "seeds = [3, 5]\n", tmp_path)
    assert len(training.begun) == 24 and {"0000-seed-3", "0011-seed-5"} < training.begun.keys()
    assert result.best and len(result.best.results) == 2
    assert result.best.result == pytest.approx(1.24 + 4) and result.best.seconds == 6.0


def test_the_loss_is_minimized(training: FakeTraining, tmp_path: Path) -> None:
    result = result_of(GRID + 'objective = "loss"\n', tmp_path)
    assert result.best and result.best.result == pytest.approx(-1.24)


def test_a_pruner_ends_what_is_worse(training: FakeTraining, tmp_path: Path) -> None:
    result = result_of(GRID.replace('"grid"', '"random"\npruner = "median"\ntrials = 20'), tmp_path)
    states = Counter(trial.state for trial in result.trials)
    assert states["pruned"] >= 3 and states["done"] >= 6 and sum(states.values()) == 20
    pruned = next(trial for trial in result.trials if trial.state == "pruned")
    assert pruned.reason.startswith("worse than others after") and pruned.result is None
    assert training.epochs[f"{pruned.number:04}"] == pruned.epochs < 3


def test_a_stopped_sweep_says_how_to_resume(training: FakeTraining, tmp_path: Path) -> None:
    stop = Event()
    events = search_events(Sweep.parse(GRID, "some"), tmp_path, Workers(-1), stop=stop)
    while not isinstance(event := next(events), SweepProgress) or not event.ended:
        pass
    stop.set()
    with pytest.raises(Interrupted, match="stopped; 1 of 12 trials finished; run the same command to resume"):
        list(events)
    assert len(json.loads((tmp_path / "sweep.json").read_text())["trials"]) == 1


def test_no_trial_begins_when_the_time_is_over(training: FakeTraining, tmp_path: Path) -> None:
    result = result_of(GRID + "minutes = 1e-9\n", tmp_path)
    assert result.trials == [] and result.best is None and not training.begun


def test_the_best_recipe_is_confirmed_beside_the_base_recipe(training: FakeTraining, tmp_path: Path) -> None:
    result = result_of(GRID.replace("confirm = 0", "confirm = 3\nseeds = [4]"), tmp_path)
    assert result.confirmed
    best, base = result.confirmed
    assert [row.seed for row in best.seeds] == [row.seed for row in base.seeds] == [5, 6, 7]
    assert best.test_accuracy == (pytest.approx(1.24 - 0.01 + 6), 1.0)
    table = json.loads((tmp_path / "sweep.json").read_text())
    assert table["confirmed"]["best"]["test_accuracy_mean"] == best.test_accuracy[0]
    assert table["confirmed"]["unswept"]["seeds"][0]["seed"] == 5
    assert [name for name in training.begun if name.startswith("unswept")] == [f"unswept/seed-{n}" for n in (5, 6, 7)]


def test_what_cannot_be_confirmed_is_said(training: FakeTraining, tmp_path: Path) -> None:
    training.error = lambda folder, _: DivergedError("made up") if folder.match("unswept/seed-2") else None
    for _ in range(2):
        result = result_of(GRID.replace("confirm = 0", "confirm = 3"), tmp_path)
        assert result.best and result.confirmed is None and "seed-2: made up" in result.unconfirmed
    assert "seed-2" in json.loads((tmp_path / "sweep.json").read_text())["unconfirmed"]


def test_a_better_trial_that_ends_later_is_confirmed(training: FakeTraining, tmp_path: Path) -> None:
    text = GRID.replace("confirm = 0", "confirm = 2")
    assert result_of(text, tmp_path).confirmed
    recipe = tmp_path / "confirmed" / "best" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("epochs = 3", "epochs = 4"))  # another one's
    training.begun.clear()
    assert result_of(text, tmp_path).confirmed
    assert list(training.begun) == ["best/seed-1", "best/seed-2"]


@pytest.mark.parametrize("sampler", ["grid", "random", "tpe"])
def test_accuracy_and_time_have_a_front(training: FakeTraining, tmp_path: Path, sampler: str) -> None:
    text = GRID.replace('"grid"', f'"{sampler}"\ntrials = 12') + 'objective = "accuracy and time"\n'
    result = result_of(text, tmp_path)
    assert result.best and result.front == [result.best]  # all take as long


def test_only_the_best_stay_on_disk(training: FakeTraining, tmp_path: Path) -> None:
    result = result_of(GRID + 'keep = "best 2"\n', tmp_path)
    best = sorted(result.trials, key=lambda trial: -(trial.result or 0))[:2]
    left = {int(folder.name) for folder in (tmp_path / "trials").iterdir()}
    assert left == {trial.number for trial in best} and len(result.trials) == 12
    assert all(len(trial.curve) == 3 for trial in result.trials)


def test_values_that_the_recipe_refuses_together_are_a_failed_trial(training: FakeTraining, tmp_path: Path) -> None:
    space = '"loss.kind" = ["cross_entropy", "quadratic"]\n"loss.label_smoothing" = [0.0, 0.1]\n'
    text = f'[space]\n{space}[search]\nconfirm = 0\ntrials = 12\nsampler = "random"\n'
    for _ in range(2):  # and resumes
        trials = result_of(text, tmp_path).trials
        failed = [trial for trial in trials if trial.state == "failed"]
        assert len(trials) == 12 and 0 < len(failed) < 12
        assert all("applies only to cross_entropy" in trial.reason for trial in failed)
