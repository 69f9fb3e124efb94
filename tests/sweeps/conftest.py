"""Trainings that take no time, for tests of all that is done with them."""

import gc
import math
import runpy
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tfmnist.errors import Interrupted
from tfmnist.recipe import Recipe
from tfmnist.runs.result import Result, read_history, write_history
from tfmnist.sweeps import workers
from tfmnist.sweeps.worker import work


def quality(recipe: Recipe, epoch: int) -> float:
    """Best at a learning rate of 0.01 and with many units."""
    return (1 - abs(math.log10(recipe.optimizer.learning_rate) + 2) / 10 + sum(recipe.model.hidden) / 100) * epoch / 3


def make_row(epoch: int, value: float) -> dict[str, Any]:
    """One line of `metrics.jsonl`."""
    keys = ("loss", "accuracy", "learning_rate", "images_per_second")
    values = {"validation_accuracy": value, "validation_loss": -value, "seconds": 1.0, "step": epoch}
    return {"epoch": epoch, **dict.fromkeys(keys, 1.0), **values}


def write_result(folder: Path, accuracy: float) -> None:
    """Writes the result of a finished run."""
    keys = {"test_accuracy": accuracy, "test_accuracy_ci95": (0, 1), "test_loss": 1, "validation_accuracy": None}
    data = {"source": "", "sha256": "", "train": 1, "validation": 1, "test": 1, "classes": 2}
    keys |= {"data": {**data, "class_names": ("a", "b"), "image_shape": (1, 1)}, "versions": {}}
    keys |= dict.fromkeys(("epochs", "steps", "parameters", "seed"), 1) | dict.fromkeys(("name", "weights_sha256"), "")
    Result.model_validate(keys).write(folder)
    (folder / "report.html").touch()


class FakeTraining:
    """Stands for `worker.train`: writes the rows of a run, and counts what it trains by run folder."""

    def __init__(self) -> None:
        self.begun: Counter[str] = Counter()
        self.epochs: Counter[str] = Counter()
        self.error: Callable[[Path, Recipe], Exception | None] = lambda folder, recipe: None

    def __call__(
        self, folder: Path, recipe: Recipe, stop: threading.Event, evaluate_test: bool
    ) -> Generator[dict[str, Any]]:
        folder.mkdir(parents=True, exist_ok=True)
        name, rows = "/".join(folder.parts[-2:]).removeprefix("trials/"), read_history(folder)
        self.begun[name] += 1
        if error := self.error(folder, recipe):
            raise error
        for epoch in range(len(rows) + 1, recipe.train.epochs + 1):
            rows.append(make_row(epoch, quality(recipe, epoch)))
            write_history(folder, rows)
            self.epochs[name] += 1
            yield rows[-1]
            if stop.is_set() and epoch < recipe.train.epochs:
                raise Interrupted("stopped")
        value = quality(recipe, recipe.train.epochs) + recipe.train.seed
        if evaluate_test:
            write_result(folder, value - 0.01)
        yield {"validation_accuracy": value, "validation_loss": -value, "test_accuracy": value - 0.01}


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> FakeTraining:
    """What `Workers(-1)` train with in this test."""
    fake = FakeTraining()
    monkeypatch.setattr(workers, "work", partial(work, train=fake))
    return fake


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Any]:
    """A PostgreSQL for the tests of this module."""
    pytest.importorskip("psycopg")
    script = runpy.run_path(str(Path(__file__).parents[2] / "experiments" / "postgresql.py"))
    if not script["find_programs"]():
        pytest.skip("PostgreSQL is not installed")
    with script["PostgreSQL"]() as server:
        yield server


@pytest.fixture(params=["journal", "sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """What several commands share."""
    if request.param != "postgresql":
        yield str(tmp_path / "shared.log") if request.param == "journal" else f"sqlite:///{tmp_path}/shared.db"
        return
    with request.getfixturevalue("postgresql").database() as url:
        yield url
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # the connections of a storage that is dropped
            gc.collect()
