"""A small run that several tests look at."""

from pathlib import Path

import pytest

import tfmnist
from tfmnist.recipe import Recipe
from tfmnist.runs.events import Run


@pytest.fixture(scope="session")
def recipe(small: Path) -> Recipe:
    changes = {"data.source": str(small), "data.validation": 100, "model.hidden": (16,), "train.batch_size": 64}
    return Recipe.load("mlp").replace({**changes, "train.epochs": 3, "train.block": 3, "train.compile": "graph"})


@pytest.fixture(scope="session")
def done(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tfmnist.run(recipe, tmp_path_factory.mktemp("runs") / "a")
