"""A recipe over several seeds, with trainings that take no time."""

import json
from pathlib import Path
from threading import Event

import pytest

from tfmnist.errors import DivergedError, InputError, Interrupted
from tfmnist.recipe import Recipe
from tfmnist.sweeps.seed_study import study_events
from tfmnist.sweeps.trials import SeedResult, StudyResult
from tfmnist.sweeps.workers import Workers

from .conftest import FakeTraining, quality


def result_of(folder: Path, recipe: str = "mlp") -> StudyResult:
    *seeds, last = study_events(Recipe.load(recipe), range(3), folder, Workers(-1))
    assert isinstance(last, StudyResult) and {*seeds} == {*last.seeds}
    return last


def test_a_study_has_mean_and_deviation_over_the_seeds(training: FakeTraining, tmp_path: Path) -> None:
    result = result_of(tmp_path / "a")
    mean = quality(Recipe.load("mlp"), 5) - 0.01 + 1
    assert [row.seed for row in result.seeds] == [0, 1, 2] and result.test_accuracy == pytest.approx((mean, 1.0))
    table = json.loads((tmp_path / "a" / "study.json").read_text())
    assert table == result.to_dict() and list(table) == ["test_accuracy_mean", "test_accuracy_sd", "seeds"]
    training.begun.clear()
    assert result_of(tmp_path / "a") == result and not training.begun


def test_a_stopped_study_is_resumed(training: FakeTraining, tmp_path: Path) -> None:
    stop = Event()
    events = study_events(Recipe.load("mlp"), range(3), tmp_path / "a", Workers(-1), stop=stop)
    assert isinstance(next(events), SeedResult)
    stop.set()
    with pytest.raises(Interrupted, match="stopped; 1 of 3 seeds finished; run the same command to resume"):
        list(events)
    assert len(result_of(tmp_path / "a").seeds) == 3 and set(training.epochs.values()) == {5}


def test_a_seed_that_fails_is_named_after_the_others_are_trained(training: FakeTraining, tmp_path: Path) -> None:
    training.error = lambda folder, recipe: DivergedError("made up") if folder.name == "seed-1" else None
    with pytest.raises(InputError, match="seed-1: made up"):
        result_of(tmp_path / "a")
    training.error = lambda folder, recipe: None
    assert len(result_of(tmp_path / "a").seeds) == 3
    assert training.begun == {"a/seed-0": 1, "a/seed-1": 2, "a/seed-2": 1}


def test_a_folder_holds_one_recipe(training: FakeTraining, tmp_path: Path) -> None:
    result_of(tmp_path / "a")
    with pytest.raises(InputError, match="holds another recipe"):
        result_of(tmp_path / "a", "cnn")
