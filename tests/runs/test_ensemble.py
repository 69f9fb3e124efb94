"""Ensembles of runs: one exported model with the mean of their probabilities."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tfmnist
from tfmnist.errors import InputError
from tfmnist.recipe import Recipe
from tfmnist.runs.ensemble import ensemble_checked
from tfmnist.runs.evaluate import plan_evaluation
from tfmnist.runs.events import Run


@pytest.fixture(scope="module")
def other(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another network, another loss, another seed, and so other validation examples."""
    changes = {"model.hidden": (9,), "loss.kind": "quadratic", "train.seed": 1, "export.temperature": 0.5}
    quick = {"export.report": False, "export.model": False}
    return tfmnist.run(recipe.replace({**changes, **quick}), tmp_path_factory.mktemp("ensemble") / "other").path


@pytest.fixture(scope="module")
def written(done: Run, other: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tfmnist.ensemble([done.path, other], tmp_path_factory.mktemp("ensemble") / "m", threshold=0.6)


def test_it_has_the_mean_of_the_probabilities(done: Run, other: Path, written: Path, tmp_path: Path) -> None:
    test = tfmnist.load(done.result["data"]["source"], validation=0).test
    members = [tfmnist.load_exported(tfmnist.export(run, tmp_path / run.name)) for run in (done.path, other)]
    mean = np.mean([member.predict(test.images).probabilities for member in members], axis=0)
    ensemble = tfmnist.load_exported(written)
    answers = ensemble.predict(test.images)
    np.testing.assert_allclose(answers.probabilities, mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(answers.logits, np.log(mean), rtol=1e-3, atol=1e-3)
    assert (ensemble.temperature, ensemble.threshold) == (1.0, 0.6)
    names = [name for name, _ in tf.train.list_variables(str(written / "variables/variables"))]
    assert not [name for name in names if "weights" in name]  # folded


def test_its_card_names_the_members_and_their_data(done: Run, other: Path, written: Path) -> None:
    card = tfmnist.load_exported(written).card
    assert [member["recipe"]["model"]["hidden"] for member in card["members"]] == [[16], [9]]
    digests = [tfmnist.open_run(run).result.weights_sha256 for run in (done.path, other)]
    assert [member["result"]["weights_sha256"] for member in card["members"]] == digests
    assert card["data"]["sha256"] == done.result["data"]["sha256"] and "train" not in card["data"]
    assert "recipe" not in card and str(done.path) not in str(card)


def test_it_is_evaluated_on_the_test_set_of_its_members(done: Run, other: Path, written: Path) -> None:
    source = done.result["data"]["source"]
    metrics = plan_evaluation(written, source).evaluate()
    assert metrics.accuracy == tfmnist.load_exported(written).card["result"]["test_accuracy"]
    with pytest.raises(InputError, match="members were trained on different examples; evaluate it on --split test"):
        plan_evaluation(ensemble_of_mnist(written), split="validation")


def ensemble_of_mnist(version: Path) -> Path:
    """Returns an ensemble whose card says that it was trained on the embedded data."""
    from tfmnist.artifacts.card import ModelCard
    from tfmnist.artifacts.versions import write_manifest

    card = ModelCard.read(version).to_dict()
    for member in card["members"]:
        member["recipe"]["data"]["source"] = "mnist"
    ModelCard.model_validate(card).write(version)
    write_manifest(version)
    return version


def test_what_is_no_ensemble(done: Run, other: Path, recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected two or more, each once"):
        tfmnist.ensemble([done.path], tmp_path / "m")
    with pytest.raises(InputError, match="expected two or more, each once"):
        tfmnist.ensemble([done.path, done.path], tmp_path / "m")
    (tmp_path / "latest").symlink_to(done.path)
    with pytest.raises(InputError, match="each once"):
        tfmnist.ensemble([done.path, tmp_path / "latest"], tmp_path / "m")
    quick = {"data.source": "mnist", "data.per_class": 10, "train.epochs": 1, "export.report": False}
    mnist = tfmnist.run(recipe.replace({**quick, "export.model": False}), tmp_path / "mnist").path
    with pytest.raises(InputError, match=r"mnist: was trained on mnist \(.*expected runs on the same data"):
        tfmnist.ensemble([done.path, mnist], tmp_path / "m")
    with pytest.raises(InputError, match=r"export\.temperature' is -1"):
        tfmnist.ensemble([done.path, other], tmp_path / "m", temperature=-1.0)
    assert not (tmp_path / "m").exists()


def test_it_is_written_as_onnx(done: Run, other: Path, tmp_path: Path) -> None:
    path, lines = ensemble_checked([done.path, other], tmp_path / "m.onnx", "onnx")
    assert path == tmp_path / "m.onnx" and lines[0].startswith("2 runs, ") and "all" in lines[1]
