"""Searching, with trainings that are made up: what is tried, told, retried, resumed and found."""

import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tfmnist.errors import InputError, Interrupted
from tfmnist.recipe import Recipe
from tfmnist.sweeps.executors import Report
from tfmnist.sweeps.packing import Job
from tfmnist.sweeps.search import search_events, sweep
from tfmnist.sweeps.sweep_file import Sweep
from tfmnist.sweeps.trials import SweepResult, Trial, values_in_short

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


def quality(recipe: Recipe, epoch: int) -> float:
    """Best at a learning rate of 0.01 and with many units."""
    return (1 - abs(math.log10(recipe.optimizer.learning_rate) + 2) / 10 + sum(recipe.model.hidden) / 100) * epoch / 3


class MadeUp:
    """Two workers that need no time; `happens` may say that a job ends in another way."""

    workers = 2

    def __init__(self, happens: Callable[[Job, int], str] = lambda job, tries: "done") -> None:
        self.jobs: list[tuple[Job, int]] = []  # and the epochs done
        self.seen: Counter[str] = Counter()
        self.stopped: set[str] = set()
        self.happens = happens
        self.closed = False

    @property
    def free(self) -> int:
        return self.workers - len(self.jobs)

    def submit(self, jobs: Sequence[Job]) -> None:
        assert len(jobs) <= self.free
        self.seen.update(job.name for job in jobs)
        self.jobs += [(job, 0) for job in jobs]

    def stop(self, name: str) -> None:
        self.stopped.add(name)

    def close(self) -> None:
        self.closed = True

    def reports(self, seconds: float) -> Iterator[Report]:
        (job, done), *self.jobs = self.jobs
        recipe = Recipe.model_validate(job.recipe)
        how = self.happens(job, self.seen[job.name])
        figures = {"validation_accuracy": quality(recipe, done + 1), "validation_loss": -quality(recipe, done + 1)}
        if job.name in self.stopped:
            yield Report(job.name, "stopped", {})
        elif how != "done":
            yield Report(job.name, how, {"reason": f"made up: {how}"})  # type: ignore[arg-type]
        elif done < recipe.train.epochs:
            self.jobs.append((job, done + 1))
            yield Report(job.name, "epoch", {"epoch": done + 1, **figures})
        else:
            last = quality(recipe, done) + recipe.train.seed
            result: dict[str, Any] = {"validation_accuracy": last, "validation_loss": -last, "seconds": 2.0}
            if job.evaluate_test:
                result |= {"test_accuracy": last - 0.01, "seconds": {"train": 2.0}}
            yield Report(job.name, "done", result)


def found(text: str, folder: Path, executor: Any = None) -> SweepResult:
    folder.mkdir(exist_ok=True)
    *_, last = search_events(Sweep.parse(text, "some"), folder, executor or MadeUp())
    assert isinstance(last, SweepResult)
    return last


def rows(trials: list[Trial]) -> list[dict[str, Any]]:
    return [trial.to_dict() for trial in trials]


def test_a_grid_is_tried_whole_and_its_best_is_a_recipe(tmp_path: Path) -> None:
    executor = MadeUp()
    end = found(GRID, tmp_path, executor)
    assert [trial.number for trial in end.trials] == list(range(12))
    assert set(executor.seen.values()) == {1} and len(executor.seen) == 12
    assert end.best and end.best.values == {"optimizer.learning_rate": pytest.approx(0.01), "model.hidden": [16, 8]}
    assert end.best.result == pytest.approx(1.24) and end.best.seconds == 2.0 and end.best.epochs == 3
    best = Recipe.load(tmp_path / "best.toml")
    assert best.model.hidden == (16, 8) and best.train.epochs == 3
    table = json.loads((tmp_path / "sweep.json").read_text())
    assert table["best"] == end.best.number and table["trials"] == rows(end.trials)


@pytest.mark.parametrize("sampler", ["grid", "random"])
def test_two_machines_share_a_search_by_a_storage(tmp_path: Path, sampler: str) -> None:
    text = GRID.replace('"grid"', f'"{sampler}"\ntrials = 11').replace("confirm = 0", "confirm = 1")
    folders, workers = [tmp_path / "one", tmp_path / "other"], [MadeUp(), MadeUp()]
    searches: list[Any] = []
    for folder, executor in zip(folders, workers):
        folder.mkdir()
        storage = f"sqlite:///{tmp_path}/shared.db"
        searches.append(search_events(Sweep.parse(text, "some"), folder, executor, storage=storage))
    last: list[Any] = [None, None]
    going = [0, 1]
    while going:  # in turns, event by event
        for place in tuple(going):
            event = next(searches[place], None)
            last[place] = event or last[place]
            if event is None:
                going.remove(place)
    shares = [{name for name in executor.seen if name.isdigit()} for executor in workers]
    assert not shares[0] & shares[1] and len(shares[0] | shares[1]) == 11 and min(map(len, shares)) >= 5
    first, end = sorted(last, key=lambda result: len(result.trials))
    assert [trial.number for trial in end.trials] == list(range(11)) and end.confirmed
    left = 11 - len(first.trials)
    assert left and first.unconfirmed.startswith(f"trials under way elsewhere: {left};") and not first.confirmed
    assert rows(end.trials) == rows(found(text, tmp_path / "alone").trials)


@pytest.mark.parametrize(
    ("missing", "ray", "extra"), [("optuna", "", "sweep"), ("ray", "local", "ray"), ("nothing", "nowhere", "HOST:PORT")]
)
def test_what_cannot_begin_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, ray: str, extra: str
) -> None:
    monkeypatch.delitem(sys.modules, "tfmnist.sweeps.optuna_study", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InputError, match=extra):
        sweep(Sweep.parse(GRID, "some"), tmp_path / "some", ray=ray)
    assert not (tmp_path / "some").exists()


def test_who_comes_too_late_for_the_last_trial_gets_none(tmp_path: Path) -> None:
    from tfmnist.sweeps.optuna_study import Study

    storage = f"sqlite:///{tmp_path}/shared.db"
    sweep = Sweep.parse(GRID.replace('"grid"', '"grid"\ntrials = 1'), "some")
    one, other = (Study(sweep, tmp_path / name, storage) for name in ("one", "other"))
    assert one.count() == other.count() == 0
    trial = one.ask()
    assert trial and trial[0].values == {"optimizer.learning_rate": 0.001, "model.hidden": [8]}
    assert other.ask() is None and other.begun() == [] and other.ended() == [] and len(one.begun()) == 1


@pytest.mark.parametrize(("epochs", "rungs"), [("[3]", 2), ("{low = 3, high = 27}", 4)])
def test_hyperband_counts_the_epochs_of_the_longest_trial(tmp_path: Path, epochs: str, rungs: int) -> None:
    from tfmnist.sweeps.optuna_study import Study

    text = f'[space]\n"train.epochs" = {epochs}\n[search]\npruner = "hyperband"'
    asked = Study(Sweep.parse(text, "some"), tmp_path).ask()
    assert asked
    asked[1].report(0.5, 1)
    asked[1].should_prune()
    assert len(asked[1].study.pruner._pruners) == rungs


@pytest.mark.parametrize("steps", [1, 7, 20, 45])
@pytest.mark.parametrize("sampler", ["grid", "random"])
def test_what_was_killed_goes_on_to_the_same_table(tmp_path: Path, steps: int, sampler: str) -> None:
    text = GRID.replace('"grid"', f'"{sampler}"\ntrials = 12')
    whole = found(text, tmp_path / "whole")
    (tmp_path / "killed").mkdir()
    killed = search_events(Sweep.parse(text, "some"), tmp_path / "killed", MadeUp())
    for _ in range(steps):
        next(killed)
    del killed  # nothing is told, as when the process is killed
    executor = MadeUp()
    end = found(text, tmp_path / "killed", executor)
    assert rows(end.trials) == rows(whole.trials)
    assert set(executor.seen.values()) == {1}  # what had ended is not trained again
    assert steps < 20 or len(executor.seen) < 12


def test_a_finished_sweep_trains_nothing_more(tmp_path: Path) -> None:
    before = found(GRID, tmp_path)
    executor = MadeUp()
    assert rows(found(GRID, tmp_path, executor).trials) == rows(before.trials)
    assert not executor.seen


def test_another_sweep_does_not_go_on_in_its_folder(tmp_path: Path) -> None:
    found(GRID, tmp_path)
    with pytest.raises(InputError, match="holds another sweep"):
        found(GRID.replace("0.001", "0.002"), tmp_path)


def test_a_worker_that_ends_is_tried_twice_and_the_rest_goes_on(tmp_path: Path) -> None:
    def happens(job: Job, tries: int) -> str:
        return "crashed" if job.name == "0003" or (job.name == "0005" and tries == 1) else "done"

    executor = MadeUp(happens)
    trials = found(GRID, tmp_path, executor).trials
    assert [trial.number for trial in trials if trial.state != "done"] == [3]
    assert (trials[3].state, trials[3].reason, trials[3].result) == ("failed", "made up: crashed", None)
    assert (trials[5].state, trials[5].reason) == ("done", "tried again: made up: crashed")
    assert executor.seen["0003"] == executor.seen["0005"] == 2 and executor.seen["0004"] == 1


def test_what_diverges_is_marked_and_not_tried_again(tmp_path: Path) -> None:
    def happens(job: Job, tries: int) -> str:
        return "diverged" if job.recipe["optimizer"]["learning_rate"] > 0.05 else "done"

    executor = MadeUp(happens)
    end = found(GRID, tmp_path, executor)
    assert Counter(trial.state for trial in end.trials) == {"done": 6, "diverged": 6}
    assert set(executor.seen.values()) == {1} and end.best and end.best.state == "done"


def test_where_everything_fails_the_first_reason_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="every trial failed; the first: made up: refused"):
        found(GRID, tmp_path, MadeUp(lambda job, tries: "refused"))


def test_where_everything_diverges_there_is_no_best(tmp_path: Path) -> None:
    end = found(GRID, tmp_path, MadeUp(lambda job, tries: "diverged"))
    assert end.best is None and not (tmp_path / "best.toml").exists()


def test_a_trial_with_several_seeds_has_their_mean(tmp_path: Path) -> None:
    executor = MadeUp()
    end = found(GRID + "seeds = [3, 5]\n", tmp_path, executor)
    assert len(executor.seen) == 24 and "0000-seed-3" in executor.seen and "0011-seed-5" in executor.seen
    assert end.best and len(end.best.results) == 2
    assert end.best.result == pytest.approx(1.24 + 4) and end.best.seconds == 4.0


def test_the_loss_is_searched_downwards(tmp_path: Path) -> None:
    end = found(GRID + 'objective = "loss"\n', tmp_path)
    assert end.best and end.best.result == pytest.approx(-1.24)


def test_a_pruner_ends_what_is_worse(tmp_path: Path) -> None:
    executor = MadeUp()
    end = found(GRID.replace('"grid"', '"random"\npruner = "median"\ntrials = 20'), tmp_path, executor)
    states = Counter(trial.state for trial in end.trials)
    assert states["pruned"] >= 3 and states["done"] >= 6 and sum(states.values()) == 20
    pruned = next(trial for trial in end.trials if trial.state == "pruned")
    assert pruned.reason.startswith("worse than others after") and pruned.result is None


def test_samplers_find_what_is_good(tmp_path: Path) -> None:
    space = '[space]\n"optimizer.learning_rate" = {low = 1e-5, high = 1, log = true}\n'
    text = space + '[search]\nconfirm = 0\nsampler = "%s"\ntrials = 40\n'
    for sampler in ("tpe", "cmaes"):
        best = found(text % sampler, tmp_path / sampler).best
        assert best and 0.005 < best.values["optimizer.learning_rate"] < 0.02, sampler


def test_a_sweep_that_is_stopped_says_how_to_go_on(tmp_path: Path) -> None:
    stop, executor = Event(), MadeUp()
    events = search_events(Sweep.parse(GRID, "some"), tmp_path, executor, stop=stop)
    for _ in range(12):
        next(events)
    stop.set()
    with pytest.raises(Interrupted, match="the same command goes on"):
        list(events)
    assert executor.closed


def test_no_trial_begins_when_the_time_is_over(tmp_path: Path) -> None:
    end = found(GRID + "minutes = 1e-9\n", tmp_path)
    assert end.trials == [] and end.best is None


def test_values_in_short() -> None:
    assert values_in_short({"a.b": 0.123456, "c.d": [1, 2], "e.d": "x"}) == "b 0.1235, c.d [1, 2], e.d x"


def test_the_best_is_trained_again_beside_what_was_there_before(tmp_path: Path) -> None:
    executor = MadeUp()
    end = found(GRID.replace("confirm = 0", "confirm = 3\nseeds = [4]"), tmp_path, executor)
    assert end.confirmed
    best, unswept = end.confirmed
    assert [row.seed for row in best.seeds] == [row.seed for row in unswept.seeds] == [5, 6, 7]
    assert best.test_accuracy == (pytest.approx(1.24 - 0.01 + 6), 1.0)
    table = json.loads((tmp_path / "sweep.json").read_text())
    assert table["confirmed"]["best"]["test_accuracy_mean"] == best.test_accuracy[0]
    assert table["confirmed"]["unswept"]["seeds"][0]["seed"] == 5
    assert [name for name in executor.seen if name.startswith("unswept")] == [f"unswept/seed-{n}" for n in (5, 6, 7)]


def test_accuracy_and_time_have_a_front(tmp_path: Path) -> None:
    end = found(GRID + 'objective = "accuracy and time"\n', tmp_path)
    assert end.best and end.front == [end.best]  # all take as long
    for sampler in ("random", "tpe"):
        text = GRID.replace('"grid"', f'"{sampler}"\ntrials = 12') + 'objective = "accuracy and time"\n'
        assert found(text, tmp_path / sampler).front
    with pytest.raises(InputError, match="cmaes searches one result"):
        found(GRID.replace('"grid"', '"cmaes"') + 'objective = "accuracy and time"\n', tmp_path / "not")


def test_only_the_best_are_kept_on_disk(tmp_path: Path) -> None:
    class Writes(MadeUp):
        def submit(self, jobs: Sequence[Job]) -> None:
            super().submit(jobs)
            for job in jobs:
                Path(job.folder).mkdir(parents=True)
                line = {"epoch": 1, "validation_accuracy": 0.5, "validation_loss": 1.0, "seconds": 3.0, "step": 1}
                (Path(job.folder) / "metrics.jsonl").write_text(json.dumps(line) + "\n")

    end = found(GRID + 'keep = "best 2"\n', tmp_path, Writes())
    best = sorted(end.trials, key=lambda trial: -(trial.result or 0))[:2]
    left = {int(folder.name) for folder in (tmp_path / "trials").iterdir()}
    assert left == {trial.number for trial in best} and len(end.trials) == 12
    assert all([row["validation_loss"] for row in trial.curve] == [1.0] for trial in end.trials)
    with pytest.raises(InputError, match="keep is 'some': expected 'all', or 'best 5', say"):
        found(GRID + 'keep = "some"\n', tmp_path / "not")


def test_a_recipe_that_was_changed_is_another_sweep(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text("[train]\nepochs = 3\n")
    text = 'recipe = "mine.toml"\n' + GRID
    for epochs in (2, 4):
        recipe.write_text(f"[train]\nbatch_size = {epochs}\n")
        sweep = Sweep.parse(text, "some", tmp_path)
        if epochs == 2:
            list(search_events(sweep, tmp_path, MadeUp()))
    with pytest.raises(InputError, match="holds a sweep of mine before it was changed; choose another folder"):
        list(search_events(sweep, tmp_path, MadeUp()))


def test_samplers_keep_away_from_where_trainings_diverge(tmp_path: Path) -> None:
    space = '[space]\n"optimizer.learning_rate" = {low = 1e-5, high = 1, log = true}\n'
    text = space + '[search]\nconfirm = 0\ntrials = 40\nsampler = "tpe"\nobjective = "%s"\n'

    def happens(job: Job, tries: int) -> str:
        return "diverged" if job.recipe["optimizer"]["learning_rate"] > 1e-3 else "done"

    for objective in ("accuracy", "loss"):
        trials = found(text % objective, tmp_path / objective, MadeUp(happens)).trials
        first, last = (sum(trial.state == "diverged" for trial in part) for part in (trials[:10], trials[-10:]))
        assert first >= 4 and last < first, objective


@pytest.mark.parametrize("pack", [3, 20])
def test_as_many_are_begun_together_as_the_executor_takes(tmp_path: Path, pack: int) -> None:
    class Packs(MadeUp):
        sizes: tuple[int, ...] = ()

        @property
        def free(self) -> int:
            return 0 if self.jobs else pack

        def submit(self, jobs: Sequence[Job]) -> None:
            self.sizes += (len(jobs),)
            super().submit(jobs)

    executor = Packs()
    end = found(GRID + "seeds = [0, 1]\n", tmp_path, executor)
    assert sum(executor.sizes) == 24 and max(executor.sizes) <= pack
    assert executor.sizes == ((12, 12) if pack == 20 else (3,) * 8)
    assert [len(trial.results) for trial in end.trials] == [2] * 12


def test_values_that_the_recipe_refuses_together_are_a_failed_trial(tmp_path: Path) -> None:
    space = '"loss.kind" = ["cross_entropy", "quadratic"]\n"loss.label_smoothing" = [0.0, 0.1]\n'
    text = f'[space]\n{space}[search]\nconfirm = 0\ntrials = 12\nsampler = "random"\n'
    for _ in range(2):  # and goes on
        trials = found(text, tmp_path).trials
        failed = [trial for trial in trials if trial.state == "failed"]
        assert len(trials) == 12 and 0 < len(failed) < 12
        assert all("belongs to cross_entropy" in trial.reason for trial in failed)
    with pytest.raises(InputError, match=r"point .* of the grid: .*belongs to cross_entropy.* Use when"):
        found(text.replace('"random"', '"grid"'), tmp_path / "not")


def test_what_was_pruned_when_the_sweep_was_killed_is_pruned(tmp_path: Path) -> None:
    class Writes(MadeUp):
        def reports(self, seconds: float) -> Iterator[Report]:
            for report in super().reports(seconds):
                if report.kind == "epoch":
                    folder = tmp_path / "killed" / "trials" / report.name
                    folder.mkdir(parents=True, exist_ok=True)
                    with (folder / "metrics.jsonl").open("a") as file:
                        file.write(json.dumps({"seconds": 1.0, **report.figures}) + "\n")
                yield report

    text = GRID.replace('"grid"', '"random"\npruner = "median"\ntrials = 20')
    (tmp_path / "killed").mkdir()
    executor = Writes()
    events = search_events(Sweep.parse(text, "some"), tmp_path / "killed", executor)
    while not executor.stopped:
        next(events)
    del events
    (name,) = executor.stopped
    again = MadeUp()
    trial = found(text, tmp_path / "killed", again).trials[int(name)]
    assert trial.state == "pruned" and name not in again.seen and trial.seconds == trial.epochs > 0


def test_a_process_that_ends_twice_takes_no_others_with_it(tmp_path: Path) -> None:
    class Notes(MadeUp):
        alone: tuple[str, ...] = ()

        def submit(self, jobs: Sequence[Job]) -> None:
            self.alone += tuple(job.name for job in jobs if job.alone)
            super().submit(jobs)

    executor = Notes(lambda job, tries: "crashed" if job.name == "0003" else "done")
    found(GRID, tmp_path, executor)
    assert executor.alone == ("0003",)


def test_what_cannot_be_confirmed_is_said(tmp_path: Path) -> None:
    def happens(job: Job, tries: int) -> str:
        return "diverged" if job.name == "unswept/seed-2" else "done"

    for _ in range(2):
        end = found(GRID.replace("confirm = 0", "confirm = 3"), tmp_path, MadeUp(happens))
        assert end.best and end.confirmed is None and "seed-2: made up: diverged" in end.unconfirmed
    assert "seed-2" in json.loads((tmp_path / "sweep.json").read_text())["unconfirmed"]


def test_a_better_trial_that_was_found_later_is_confirmed(tmp_path: Path) -> None:
    text = GRID.replace("confirm = 0", "confirm = 2").replace('"grid"', '"random"\ntrials = 30\nminutes = 10')
    first = found(text, tmp_path)
    assert first.best and first.confirmed
    kept = tmp_path / "confirmed" / "best" / "recipe.toml"
    kept.write_text(kept.read_text().replace("epochs = 3", "epochs = 4"))  # another one's
    executor = MadeUp()
    assert found(text, tmp_path, executor).confirmed
    assert [name for name in executor.seen if name.startswith("best/")] == ["best/seed-1", "best/seed-2"]
