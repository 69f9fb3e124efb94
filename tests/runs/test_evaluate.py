"""Evaluating a run or an exported model: on its own data, on other data, and what is refused."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tfmnist
from tfmnist.artifacts.card import ModelCard
from tfmnist.artifacts.versions import write_manifest
from tfmnist.data.split import Digits
from tfmnist.errors import InputError
from tfmnist.nn.models import MLP
from tfmnist.recipe import Recipe
from tfmnist.runs.evaluate import plan_evaluation
from tfmnist.runs.events import Run


def write_npz(path: Path, digits: Digits, class_names: list[str], renumbered: list[int] | None = None) -> Path:
    """Writes a data set under other class names; `renumbered` has the new label of each old one."""
    arrays: dict[str, Any] = {"class_names": class_names}
    for name, split in (("train", digits.train), ("test", digits.test)):
        labels = split.labels if renumbered is None else np.array(renumbered)[split.labels]
        arrays[f"x_{name}"], arrays[f"y_{name}"] = split.images, labels
    np.savez(path, **arrays)
    return path


def test_every_split_of_its_own_data(done: Run, recipe: Recipe) -> None:
    plan = plan_evaluation(done.path)
    assert (plan.model, plan.data, plan.split) == (done.path / "model/1", recipe.data, "test")
    metrics = plan.evaluate()
    assert metrics.accuracy == done.test_accuracy and metrics.count == 200
    validation = plan_evaluation(done.path, split="validation").evaluate()
    assert validation.accuracy == done.result["validation_accuracy"] and validation.count == 100
    assert plan_evaluation(done.path, split="train").evaluate().count == 500
    assert validation.recalibration and not metrics.recalibration
    assert validation.recalibration.calibration_error <= validation.calibration.error


def test_other_data_have_no_validation_split_unless_it_is_evaluated(done: Run, small: Path) -> None:
    plan = plan_evaluation(done.path / "model", str(small))
    assert plan.data.validation == 0 and plan.evaluate().accuracy == done.test_accuracy
    assert plan_evaluation(done.path, str(small), "validation").evaluate().count == 100


def test_only_its_own_data_are_transposed_as_it_was_trained(tmp_path: Path, small: Path, recipe: Recipe) -> None:
    run = tfmnist.run(recipe.replace({"data.transpose": True, "train.epochs": 1}), tmp_path / "run")
    for data, transpose in (("", True), (str(small), True), ("mnist", False)):
        assert plan_evaluation(run.path, data).data.transpose == transpose
    assert plan_evaluation(run.path).evaluate().accuracy == run.test_accuracy


def test_some_of_the_models_classes_in_another_order(done: Run, small: Path, tmp_path: Path) -> None:
    digits = tfmnist.load(small, validation=0, only=["7", "3"])
    path = write_npz(tmp_path / "two.npz", digits, ["3", "7"], renumbered=[1, 0])
    metrics = plan_evaluation(done.path, str(path)).evaluate()
    predicted = tfmnist.load_exported(done.path).predict(digits.test.images).classes
    assert metrics.accuracy == np.mean(predicted == np.array([7, 3])[digits.test.labels])
    assert metrics.count == len(digits.test) and len(metrics.recall) == 10


def test_data_that_do_not_fit(done: Run, small: Path, tmp_path: Path) -> None:
    digits = tfmnist.load(small, validation=0, only=["7", "3"])
    other_names = write_npz(tmp_path / "names.npz", digits, ["a", "b"])
    with pytest.raises(InputError, match="its classes are a, b, expected some of the model's, 0, 1, 2"):
        plan_evaluation(done.path, str(other_names)).evaluate()
    images, labels = np.arange(150, dtype=np.uint8).reshape(6, 5, 5), np.arange(6) % 2
    np.savez(tmp_path / "size.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    with pytest.raises(InputError, match=r"5x5.*28x28"):
        plan_evaluation(done.path, str(tmp_path / "size.npz")).evaluate()


def test_its_own_data_must_not_have_changed_nor_lack_the_split(small: Path, recipe: Recipe, tmp_path: Path) -> None:
    digits = tfmnist.load(small, validation=0, only=["7", "3"])
    path = write_npz(tmp_path / "two.npz", digits, ["seven", "three"])
    changes = {"data.source": str(path), "data.validation": 0, "train.epochs": 1, "export.report": False}
    run = tfmnist.run(recipe.replace(changes), tmp_path / "run")
    with pytest.raises(InputError, match="its validation split is empty; choose another with --split"):
        plan_evaluation(run.path, split="validation").evaluate()
    write_npz(path, digits, ["three", "seven"], renumbered=[1, 0])  # the same images by the same names
    assert plan_evaluation(run.path, str(path)).evaluate().accuracy == run.test_accuracy
    write_npz(path, digits, ["seven", "three"], renumbered=[1, 0])
    with pytest.raises(InputError, match=r"has changed since the model was trained; .* name it with --data"):
        plan_evaluation(run.path).evaluate()


def test_a_model_that_does_not_say_what_it_was_trained_on(small: Path, tmp_path: Path) -> None:
    version = tfmnist.export(MLP((28, 28), [4], 10, seed=0), tmp_path / "model")
    with pytest.raises(InputError, match="does not say what it was trained on; name the data"):
        plan_evaluation(version)
    assert plan_evaluation(version, str(small)).evaluate().count == 200


def test_an_exported_model_has_lost_the_folder_of_its_data(done: Run, small: Path, tmp_path: Path) -> None:
    assert plan_evaluation(done.path / "model/1").data.source == str(small), "a run's own recipe has it"
    version = tfmnist.export(done.path, tmp_path / "model")
    with pytest.raises(InputError, match=r"was trained on 'small\.npz', but does not say where .* with --data"):
        plan_evaluation(version)
    assert plan_evaluation(version, str(small)).evaluate().accuracy == done.test_accuracy
    card = ModelCard.read(version).to_dict()
    for source in (str(small), "mnist"):  # a card of version 0.1, and a source that is no folder
        card["recipe"]["data"]["source"] = source
        ModelCard.model_validate(card).write(version)
        (version / "assets.extra" / "manifest.sha256").unlink()
        write_manifest(version)
        plan = plan_evaluation(version)
        assert (plan.data.source, plan.sha256) == (source, done.result["data"]["sha256"])


def test_what_is_missing_is_named_without_tensorflow(done: Run, tmp_path: Path) -> None:
    code = "import sys\nfrom tfmnist.runs.evaluate import *\nplan_evaluation(sys.argv[1])\n"
    code += "try: plan_evaluation(sys.argv[1], 'minst')\nexcept InputError as error: print(error)\n"
    code += "assert 'tensorflow' not in sys.modules"
    command = [sys.executable, "-c", code, str(done.path)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert "did you mean 'mnist'" in finished.stdout
    with pytest.raises(InputError, match="does not exist"):
        plan_evaluation(tmp_path / "nothing")
