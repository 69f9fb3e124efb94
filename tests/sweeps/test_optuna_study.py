"""The trials of a sweep in a journal or a database, as several processes see them."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from tfmnist.errors import InputError
from tfmnist.sweeps import optuna_ledger
from tfmnist.sweeps.optuna_study import Study
from tfmnist.sweeps.sweep_file import Sweep
from tfmnist.sweeps.trials import Trial

SPACE = """
[space]
"optimizer.learning_rate" = {low = 0.001, high = 1, log = true, points = 4}
"model.hidden" = [[8], [16, 8], []]
"train.batch_size" = {low = 10, high = 100, points = 2}
[search]
"""


def parse(search: str) -> Sweep:
    return Sweep.parse(SPACE + search, "some")


def finish(study: Study, number: int, state: Any = "done", result: float | None = 0.5) -> None:
    trial = study.open(number)
    trial.state, trial.result, trial.seconds = state, result, 1.0
    study.finish(trial)


@pytest.mark.parametrize("storage", ["", "sqlite"])
def test_processes_share_the_trials(tmp_path: Path, storage: str) -> None:
    url = f"sqlite:///{tmp_path}/shared.db" if storage else ""
    one, other = (Study(parse('sampler = "grid"\ntrials = 3'), tmp_path, url) for _ in range(2))
    assert one.left() == other.left() == 3 and one.trials() == []
    assert [study.begin() for study in (one, other, one, other)] == [0, 1, 2, None]
    assert other.open(1).values == {"optimizer.learning_rate": 0.001, "model.hidden": [8], "train.batch_size": 100}
    assert one.unfinished() == [0, 1, 2] and [trial.state for trial in one.trials()] == ["running"] * 3
    assert one.trials()[1].values == other.open(1).values
    finish(other, 1)
    assert one.unfinished() == [0, 2] and one.left() == 2 and one.trials()[1].result == 0.5
    assert one.runs(one.open(2))[0][0] == tmp_path / "trials" / "0002"
    assert Study(**job_of(one)).unfinished() == [0, 2]


def job_of(study: Study) -> dict[str, Any]:
    job = json.loads(json.dumps(study.job()))
    return {"sweep": Sweep.model_validate(job["sweep"]), "folder": Path(job["folder"]), **job["options"]}


def test_machines_have_their_own_trials(tmp_path: Path, storage: str) -> None:
    sweep = parse('sampler = "grid"\ntrials = 1')
    one, other = (Study(sweep, tmp_path / name, storage) for name in ("one", "other"))
    assert one.begin() == 0 and one.unfinished() == [0] and other.unfinished() == []
    assert other.left() == 1 and other.begin() is None  # it waits for the other's
    count = other.count
    other.count = lambda: 0  # it looked just before the last one was taken
    assert other.begin() is None
    other.count = count
    assert len(one.trials()) == 1
    finish(one, 0)
    assert other.left() == 0


def test_the_trials_of_a_dead_command_are_taken_over_once(
    tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = parse('sampler = "grid"\ntrials = 2\npruner = "median"')
    dead, one, other = (Study(sweep, tmp_path / name, storage) for name in ("dead", "one", "other"))
    with dead.alive():
        assert [dead.begin(), dead.begin()] == [0, 1]
    values = dead.open(0).values
    assert one.begin() is None and other.begin() is None  # it may be alive
    monkeypatch.setattr(optuna_ledger, "GRACE", 0.0)
    with one.alive(), other.alive():
        late = dict(other._running())
        monkeypatch.setattr(other, "_running", lambda: late)  # as if both looked at the same time
        assert one.begin() == 0 and other.begin() == 1
        monkeypatch.undo()
        assert one.unfinished() == [0] and other.unfinished() == [1] and dead.unfinished() == []
        assert one.open(0).values == values and one.runs(one.open(0))[0][0] == tmp_path / "one" / "trials" / "0000"
        finish(dead, 0, result=0.1)  # it had only been asleep
        assert one.unfinished() == [0]
        finish(one, 0)
        assert dead.trials()[0].result == 0.5
        finish(dead, 0, result=0.1)
        assert dead.should_prune(dead.open(0), [{"epoch": 1, "validation_accuracy": 0.5}])
        finish(other, 1)
        assert [trial.result for trial in Study(**job_of(dead)).trials()] == [0.5, 0.5] and one.left() == 0


def test_what_one_does_for_all_is_claimed_by_one_that_lives(
    tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optuna_ledger, "HEARTBEAT", 0.05)
    monkeypatch.setattr(optuna_ledger, "GRACE", 1.0)
    sweep, stop = parse('sampler = "grid"'), threading.Event()
    one, other, third = (Study(sweep, tmp_path / name, storage) for name in ("one", "other", "third"))
    with one.alive():
        assert one.claim("it", stop) == one.claim("it", stop) == ""
        assert other.claim("it", stop).endswith("/one")
    assert "" in [other.claim("it", stop) for _ in range(2)]  # the first has died, perhaps after a last sign of life
    other.done("it")
    other.done("it")
    assert third.claim("it", stop).endswith("/other")  # at once, though the other shows no life
    alone = Study(sweep, tmp_path / "one")
    assert alone.claim("it", stop) == ""
    alone.done("it")


def test_commands_begun_together_share_a_new_storage_and_study(tmp_path: Path, storage: str) -> None:
    code = """
import sys
from pathlib import Path
from tfmnist.sweeps.optuna_study import Study
from tfmnist.sweeps.sweep_file import Sweep
storage, folder, text = sys.argv[1:]
sweep = Sweep.parse(text, "some")
print("ready", flush=True)
sys.stdin.readline()
study = Study(sweep, Path(folder), storage, data_sha256="a")
print(study.begin())
"""
    texts = [SPACE + f'sampler = "grid"\ntrials = {trials}' for trials in (3, 3, 4)]
    commands: list[subprocess.Popen[str]] = []
    for number, text in enumerate(texts):
        words = [sys.executable, "-c", code, storage, str(tmp_path / str(number)), text]
        pipe = subprocess.PIPE
        commands.append(subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True))
    for command in commands:
        assert command.stdout and command.stdout.readline() == "ready\n"
    for command in commands:
        assert command.stdin
        command.stdin.write("\n")
        command.stdin.flush()
    ends = [command.communicate(timeout=60) for command in commands]
    same = [out.strip() for out, error in ends if not error]
    assert sorted(same) in (["0", "1"], ["0"]), ends  # those of three trials, or the other one
    refused = [error for _, error in ends if error]
    assert all("was begun with another sweep file; rename" in error for error in refused), ends
    assert [command.returncode for command in commands].count(0) == len(same)


@pytest.mark.parametrize("storage", ["", "sqlite"])
def test_trials_stay_with_their_folder_where_it_is_moved_and_its_host_renamed(
    tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, sweep = f"sqlite:///{tmp_path}/shared.db" if storage else "", parse('sampler = "grid"\ntrials = 2')
    (tmp_path / "one").mkdir()
    assert Study(sweep, tmp_path / "one", url).begin() == 0
    (tmp_path / "one").rename(tmp_path / "two")
    monkeypatch.setattr("platform.node", lambda: "other-host")
    assert Study(sweep, tmp_path / "two", url).unfinished() == [0]


def test_a_trial_has_its_owner_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, sweep = f"sqlite:///{tmp_path}/shared.db", parse('sampler = "grid"')
    study = Study(sweep, tmp_path, storage)
    monkeypatch.setattr(optuna.trial.Trial, "set_user_attr", killed)
    monkeypatch.setattr(optuna.trial.Trial, "__init__", killed)
    with pytest.raises(KeyboardInterrupt):
        study.begin()
    assert Study(sweep, tmp_path, storage).unfinished() == [0]


def test_a_moved_folder_keeps_its_unfinished_trials(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    study = Study(parse('sampler = "grid"'), tmp_path / "one")
    assert study.begin() == 0
    (tmp_path / "one").rename(tmp_path / "other")
    assert Study(study.sweep, tmp_path / "other").unfinished() == [0]


@pytest.mark.parametrize("sampler", ["grid", "random"])
def test_what_is_drawn_depends_on_the_number_alone(tmp_path: Path, sampler: str) -> None:
    values: list[list[dict[str, Any]]] = []
    for name in ("in order", "in reverse", "killed"):
        (tmp_path / name).mkdir()
        study = Study(parse(f'sampler = "{sampler}"\ntrials = 4\nseed = 3'), tmp_path / name)
        numbers = [study.begin() for _ in range(4)]
        for number in reversed(numbers) if name == "in reverse" else numbers:
            assert number is not None
            if name == "killed":  # while it was drawn
                draw_one(study, number)
                study = Study(study.sweep, tmp_path / name)
            study.open(number)
        values.append([trial.values for trial in study.trials()])
    assert values[0] == values[1] == values[2] and len({json.dumps(row) for row in values[0]}) == 4


def draw_one(study: Study, number: int) -> None:
    space = study.sweep.space
    study.sweep = study.sweep.model_copy(update={"space": dict(list(space.items())[:1])})
    study.open(number)
    study.sweep = study.sweep.model_copy(update={"space": space})


def test_a_trial_that_was_killed_while_it_was_finished_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(parse('sampler = "grid"'), tmp_path)
    assert study.begin() == 0
    with monkeypatch.context() as patch:
        patch.setattr(study._study, "tell", killed)
        with pytest.raises(KeyboardInterrupt):
            finish(study, 0)
    again = Study(study.sweep, tmp_path)
    assert again.unfinished() == [0]
    trial = again.open(0)
    assert (trial.state, trial.result) == ("done", 0.5)
    again.finish(trial)
    assert again.unfinished() == [] and study.trials()[0].state == "done"


def killed(*arguments: Any) -> None:
    raise KeyboardInterrupt


def test_half_a_line_in_the_journal_is_cut_off(tmp_path: Path) -> None:
    study = Study(parse('sampler = "grid"'), tmp_path)
    study.begin()
    with (tmp_path / "journal.log").open("a") as file:
        file.write('{"op_code": 4, "worker')
    other = Study(study.sweep, tmp_path)
    assert other.begin() == 1 and study.unfinished() == [0, 1]


def test_no_trial_begins_when_the_time_is_over(tmp_path: Path) -> None:
    study = Study(parse('sampler = "random"'), tmp_path, until=1.0)
    assert study.begin() is None and study.left() == 0


@pytest.mark.parametrize(("epochs", "rungs"), [("[3]", 2), ("{low = 3, high = 27}", 4)])
def test_hyperband_counts_the_epochs_of_the_longest_trial(tmp_path: Path, epochs: str, rungs: int) -> None:
    text = f'[space]\n"train.epochs" = {epochs}\n[search]\npruner = "hyperband"'
    study = Study(Sweep.parse(text, "some"), tmp_path)
    assert study.begin() == 0
    study.should_prune(study.open(0), [{"epoch": 1, "validation_accuracy": 0.5}])
    assert len(study._study.pruner._pruners) == rungs  # type: ignore[attr-defined]


def search(folder: Path, keys: str, result: Callable[[float], float | None]) -> list[Trial]:
    """Searches a learning rate; where there is no result, the trial diverges."""
    space = '[space]\n"optimizer.learning_rate" = {low = 1e-5, high = 1, log = true}\n[search]\n'
    folder.mkdir()
    study = Study(Sweep.parse(space + keys, "some"), folder)
    while (number := study.begin()) is not None:
        value = result(study.open(number).values["optimizer.learning_rate"])
        finish(study, number, "diverged" if value is None else "done", value)
    return study.trials()


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_samplers_find_what_is_good(tmp_path: Path, sampler: str) -> None:
    import math

    trials = search(tmp_path / "a", f'sampler = "{sampler}"\ntrials = 40', lambda rate: -abs(math.log10(rate) + 2))
    best = max(trials, key=lambda trial: trial.result or -9)
    assert 0.005 < best.values["optimizer.learning_rate"] < 0.02


@pytest.mark.parametrize("objective", ["accuracy", "loss"])
def test_samplers_keep_away_from_where_trainings_diverge(tmp_path: Path, objective: str) -> None:
    keys = f'trials = 40\nsampler = "tpe"\nobjective = "{objective}"'
    trials = search(tmp_path / "a", keys, lambda rate: None if rate > 1e-3 else 0.5)
    first, last = (sum(trial.state == "diverged" for trial in part) for part in (trials[:10], trials[-10:]))
    assert first >= 4 and last < first


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_another_sweep_of_the_same_name_is_refused(tmp_path: Path, kind: str) -> None:
    storage = f"sqlite:///{tmp_path}/shared.db" if kind == "sqlite" else str(tmp_path / "shared.log")
    sweep = parse('sampler = "grid"\ntrials = 3')
    Study(sweep, tmp_path / "one", storage, data_sha256="a")
    Study(sweep, tmp_path / "other", storage, data_sha256="a")
    Study(sweep, tmp_path / "worker", storage)
    own = '[fixed]\n"train.epochs" = 2' + SPACE + 'sampler = "grid"\ntrials = 3'
    for changed, data, what in (
        (parse('sampler = "grid"\ntrials = 4'), "a", "sweep file"),
        (sweep, "b", "data"),
        (sweep.model_copy(update={"recipe": sweep.recipe.replace({"train.epochs": 3})}), "a", "recipe"),
        (Sweep.parse(own, "some"), "a", "sweep file"),
    ):
        with pytest.raises(InputError, match=rf"its study 'some' was begun with another {what}; rename"):
            Study(changed, tmp_path / "third", storage, data_sha256=data)
    assert Study(sweep, tmp_path / "one", storage, data_sha256="a").count() == 0
    Study(Sweep.parse(own, "another"), tmp_path / "third", storage, data_sha256="a")
