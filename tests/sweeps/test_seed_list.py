"""The seeds of a study, as their run folders have them."""

import threading
from pathlib import Path

import pytest

from tfmnist.errors import DivergedError
from tfmnist.recipe import Recipe
from tfmnist.sweeps.claims import Claims
from tfmnist.sweeps.seed_list import SeedList
from tfmnist.sweeps.trials import Trial
from tfmnist.sweeps.worker import work

from .conftest import FakeTraining, write_result


def seed_list(folder: Path) -> SeedList:
    return SeedList(Recipe().replace({"train.epochs": 3}), (0, 1, 5), folder)


def test_a_seed_is_finished_when_its_run_is(tmp_path: Path) -> None:
    source = seed_list(tmp_path)
    assert source.unfinished() == [0, 1, 5] and source.begin() is None and source.result(1) is None
    (folder, recipe), *others = source.runs(source.open(5))
    assert (folder, recipe.train.seed, others) == (tmp_path / "seed-5", 5, [])
    folder.mkdir()
    write_result(folder, 0.75)
    result = source.result(5)
    assert result and (result.seed, result.test_accuracy) == (5, 0.75) and source.left() == 2
    (folder / "report.html").unlink()
    assert source.left() == 3


def test_a_failed_seed_is_trained_again_by_the_next_command(tmp_path: Path) -> None:
    source, training = seed_list(tmp_path), FakeTraining()
    training.error = lambda folder, recipe: DivergedError("diverged") if folder.name == "seed-1" else None
    list(work(source, Claims(tmp_path, "start-1"), threading.Event(), training))
    assert source.left() == 0 and source.failures() == [f"{tmp_path}/seed-1: diverged"]
    result = source.result(0)
    assert result and result.seconds == pytest.approx(3.0)
    source.retry_failed()
    assert source.unfinished() == [1]
    source.finish(Trial(1, {}, "done"))  # must not be claimed again and again
    assert source.left() == 0 and source.failures() == [f"{tmp_path}/seed-1: no result was written"]
