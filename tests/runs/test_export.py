"""Exporting a run: as accurate as its result says, and only when it is finished."""

from pathlib import Path

import numpy as np
import pytest

import tfmnist
from tfmnist.recipe import Recipe
from tfmnist.runs.events import Run
from tfmnist.runs.train import run_events


def test_the_export_is_as_accurate_as_the_result_says(done: Run, recipe: Recipe) -> None:
    test = tfmnist.load(recipe.data.source, validation=0).test
    exported = tfmnist.load_exported(done.path)
    assert np.mean(exported.predict(test.images).classes == test.labels) == done.test_accuracy
    assert tfmnist.evaluate(exported, test).accuracy == done.test_accuracy


def test_an_unfinished_run_cannot_be_exported(recipe: Recipe, tmp_path: Path) -> None:
    events = run_events(recipe, tmp_path / "run")
    next(events)
    with pytest.raises(tfmnist.InputError, match=r"result\.json: missing.*--resume"):
        tfmnist.export(tmp_path / "run", tmp_path / "model")
    with pytest.raises(tfmnist.InputError, match="not a run folder"):
        tfmnist.export(tmp_path, tmp_path / "model")
