"""A small run that several tests look at."""

from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import tfmnist
from tfmnist.recipe import Recipe
from tfmnist.runs.events import Run
from tfmnist.runs.train import run_events
from tfmnist.training.events import StepLoss

LeaveAt = Callable[[Recipe, Path, int], None]


@pytest.fixture(scope="session")
def recipe(small: Path) -> Recipe:
    changes = {"data.source": str(small), "data.validation": 100, "model.hidden": (16,), "train.batch_size": 64}
    return Recipe.load("mlp").replace({**changes, "train.epochs": 3, "train.block": 3, "train.compile": "graph"})


@pytest.fixture(scope="session")
def done(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tfmnist.run(recipe, tmp_path_factory.mktemp("runs") / "a")


@pytest.fixture(scope="session")
def leave_at() -> LeaveAt:
    """Trains a recipe in a folder, and leaves the run where a step has been logged, as a kill would."""

    def leave(recipe: Recipe, path: Path, step: int) -> None:
        events: Generator[Any] = run_events(recipe, path)  # type: ignore[assignment]
        with closing(events):
            for event in events:
                if isinstance(event, StepLoss) and event.step == step:
                    break

    return leave
