"""A run as an object: what it gives, when it needs TensorFlow, and what an unfinished run lacks."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tfmnist
from tfmnist.errors import InputError
from tfmnist.recipe import Recipe
from tfmnist.runs.events import Run
from tfmnist.runs.saved import find_model, open_run
from tfmnist.runs.train import run_events


def test_a_run_gives_all_it_has(done: Run, recipe: Recipe) -> None:
    run = open_run(str(done.path))
    assert run.recipe == recipe
    assert [row.epoch for row in run.history] == [1, 2, 3]
    assert run.history[-1].validation_accuracy == run.result.validation_accuracy
    assert run.result.to_dict() == done.result and run.result is run.result
    predictions, test = run.predictions(), tfmnist.load(recipe.data.source, validation=0).test
    np.testing.assert_array_equal(predictions.labels, test.labels)
    assert np.mean(predictions.classes == test.labels) == done.test_accuracy
    assert predictions.probabilities.shape == (200, 10) and predictions.probabilities.dtype == np.float32


def test_its_network_is_raw_variables_with_the_final_weights(done: Run, recipe: Recipe) -> None:
    run = open_run(done.path)
    variables = run.network.named_variables()
    assert list(variables) == ["dense_1/kernel", "dense_1/bias", "logits/kernel", "logits/bias"]
    assert all(isinstance(variable, tf.Variable) for variable in variables.values())
    assert run.network.sha256() == run.result.weights_sha256 and run.network is run.network
    test = tfmnist.load(recipe.data.source, validation=0).test
    assert tfmnist.evaluate(run.network, test).accuracy == done.test_accuracy


def test_it_exports_its_network(done: Run, tmp_path: Path) -> None:
    run = open_run(done.path)
    assert run.export(tmp_path / "model") == tmp_path / "model/1"
    assert run.export(tmp_path / "model") == find_model(tmp_path / "model") == tmp_path / "model/2"
    assert tfmnist.load_exported(tmp_path / "model").card["result"]["weights_sha256"] == run.result.weights_sha256


def test_a_link_is_followed_once(done: Run, tmp_path: Path) -> None:
    link = tmp_path / "latest"
    link.symlink_to(done.path)
    run = open_run(link)
    link.unlink()
    assert run.path == done.path and run.result.to_dict() == done.result


def test_an_unfinished_run_has_a_recipe_and_a_history(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "run"
    events = run_events(recipe, path)
    next(events)
    del events
    run = open_run(path)
    assert run.recipe == recipe and run.history == []
    for ask in (lambda: run.result, lambda: run.network, run.predictions, lambda: run.export(tmp_path / "model")):
        with pytest.raises(InputError, match=rf"result\.json: missing; .*'tfmnist train --resume {path}'"):
            ask()
    with pytest.raises(InputError, match=r"result\.json: missing"):
        find_model(path)
    (path / "metrics.jsonl").unlink()
    with pytest.raises(InputError, match=r"metrics\.jsonl: missing"):
        print(open_run(path).history)


def test_what_is_no_run_is_named(done: Run, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing", done.path / "model"):
        with pytest.raises(InputError, match="not a run folder"):
            open_run(path)
    with pytest.raises(InputError, match="holds no exported model"):
        find_model(tmp_path)


def test_a_run_without_a_model_says_why(recipe: Recipe, tmp_path: Path) -> None:
    changes = {"export.model": False, "export.report": False, "train.epochs": 1}
    run = tfmnist.run(recipe.replace(changes), tmp_path / "run")
    with pytest.raises(InputError, match=r"its export\.model is false, so it has no model; .*'tfmnist export'"):
        find_model(run.path)


def test_only_the_network_needs_tensorflow(done: Run) -> None:
    code = "import sys, tfmnist; run = tfmnist.open_run(sys.argv[1])\n"
    code += "assert run.recipe.name == 'mlp' and len(run.history) == 3 and run.result.epochs == 3\n"
    code += "assert len(run.predictions().classes) == 200\n"
    code += "assert 'tensorflow' not in sys.modules"
    finished = subprocess.run([sys.executable, "-c", code, str(done.path)], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
