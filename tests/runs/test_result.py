"""The typed files of a run folder: written and read again, missing, damaged, of other versions."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfmnist.data.split import Split
from tfmnist.errors import InputError
from tfmnist.runs.result import (
    Divergence,
    EpochRow,
    Evaluation,
    Inspection,
    Result,
    load_history,
    read_history,
    read_weights,
    write_history,
)
from tfmnist.system.files import read_npz, write_npz

ROW = {"epoch": 1, "step": 8, "loss": 0.5, "accuracy": 0.9, "validation_loss": None, "validation_accuracy": None}
ROW |= {"learning_rate": 0.001, "seconds": 1.5, "images_per_second": 333.3}


def result(**changes: Any) -> dict[str, Any]:
    data = {"source": "mnist", "sha256": "da", "train": 5, "validation": 0, "test": 2, "classes": 2}
    values: dict[str, Any] = {"name": "tiny", "test_accuracy": 0.5, "test_accuracy_ci95": [0.1, 0.9], "test_loss": 0.7}
    values |= {
        "validation_accuracy": None,
        "epochs": 2,
        "steps": 4,
        "parameters": 10,
        "seed": 0,
        "weights_sha256": "5e",
    }
    values |= {
        "weights_sha256": "5e",
        "data": {**data, "class_names": ["a", "b"], "image_shape": [2, 3]},
        "versions": {"tfmnist": "0.1.0"},
    }
    return {**values, "seconds": {"train": 1.5, "total": 2.0}, **changes}


def test_a_result_keeps_its_keys_in_order_and_those_of_later_versions(tmp_path: Path) -> None:
    content = result(something_new=[1, 2, 3])
    (tmp_path / "result.json").write_text(json.dumps(content))
    found = Result.read(tmp_path)
    assert (found.data.class_names, found.data.form, found.best_epoch) == (("a", "b"), None, None)
    assert found.to_dict() == content
    found.model = "model/1"
    found.write(tmp_path)
    written = json.loads((tmp_path / "result.json").read_text())
    assert written.pop("sha256")
    assert written == {**content, "model": "model/1"} and list(written)[:3] == [
        "name",
        "test_accuracy",
        "test_accuracy_ci95",
    ]


@pytest.mark.parametrize("content", [None, "", "{}", json.dumps(result(epochs="many"))])
def test_a_result_that_is_missing_or_damaged_is_named(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "result.json").write_text(content)
    assert Result.find(tmp_path) is None
    with pytest.raises(InputError) as caught:
        Result.read(tmp_path)
    problem = "missing" if content is None else "damaged: "
    assert str(caught.value).startswith(f"{tmp_path / 'result.json'}: {problem}")
    assert f"tfmnist train --resume {tmp_path}" in str(caught.value)


def test_a_divergence_takes_the_place_of_a_result(tmp_path: Path) -> None:
    assert Divergence.find(tmp_path) is None
    divergence = Divergence(reason="diverged: the loss is nan.", date=datetime(2026, 1, 2, tzinfo=UTC))
    divergence.write(tmp_path)
    assert Divergence.find(tmp_path) == divergence
    with pytest.raises(InputError) as caught:
        Result.read(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: diverged: the loss is nan. Start a new run")
    (tmp_path / "result.json").write_text(json.dumps(result()))
    assert Result.read(tmp_path).name == "tiny", "of the epochs before it was resumed"
    (tmp_path / "diverged.json").write_text("{}")
    with pytest.raises(InputError, match=r"diverged\.json: damaged: reason Field required; delete it"):
        Divergence.find(tmp_path)
    Divergence.delete(tmp_path)
    Divergence.delete(tmp_path)
    assert Divergence.find(tmp_path) is None


def test_a_result_of_an_early_version_lacks_when_and_where(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps(result()))
    found = Result.read(tmp_path)
    assert (found.date, found.host, found.processor, found.command, found.git_commit) == (None,) * 5
    (tmp_path / "result.json").write_text(json.dumps(result(date="2026-11-22T03:10:15Z", host="box")))
    found = Result.read(tmp_path)
    assert (found.date, found.host) == (datetime(2026, 11, 22, 3, 10, 15, tzinfo=UTC), "box")
    assert found.to_dict()["date"] == "2026-11-22T03:10:15Z"


def test_weights_that_are_damaged_are_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    (tmp_path / "result.json").write_text(json.dumps(result()))
    write_npz(path, {"dense_1/kernel": np.ones([2, 3], np.float32)})
    assert read_weights(tmp_path)["dense_1/kernel"].sum() == 6
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match=r"weights\.npz: damaged: .*tfmnist train --resume"):
        read_weights(tmp_path)


def test_the_history_is_one_line_per_epoch(tmp_path: Path) -> None:
    assert read_history(tmp_path) == []
    rows = [ROW, {**ROW, "epoch": 2}]
    write_history(tmp_path, rows)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
    assert load_history(tmp_path) == read_history(tmp_path) == rows
    assert [(row.epoch, row.loss) for row in EpochRow.read_all(tmp_path)] == [(1, 0.5), (2, 0.5)]
    (tmp_path / "metrics.jsonl").write_text(json.dumps(ROW)[:-9])
    assert read_history(tmp_path) == []
    with pytest.raises(ValueError):
        load_history(tmp_path)


def test_an_evaluation_keeps_the_most_confident_mistakes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    split = Split(random.integers(0, 256, [100, 3, 2]).astype(np.uint8), random.integers(0, 3, 100))
    probabilities = random.dirichlet([1, 1, 1], 100).astype(np.float32)
    Evaluation.of(split, probabilities, 0.25, ("a", "b", "c")).write(tmp_path)
    found = Evaluation.read(tmp_path)
    np.testing.assert_array_equal(found.labels, split.labels)
    np.testing.assert_array_equal(found.probabilities, probabilities)
    np.testing.assert_array_equal(found.classes, probabilities.argmax(axis=1))
    assert (float(found.loss), found.class_names.tolist()) == (0.25, ["a", "b", "c"])
    index = found.mistake_index
    assert len(index) == 32 and (probabilities[index].argmax(axis=1) != split.labels[index]).all()
    assert (np.diff(probabilities[index].max(axis=1)) <= 0).all()
    np.testing.assert_array_equal(found.mistake_images, split.images[index])
    arrays = read_npz(tmp_path / "evaluation.npz")
    write_npz(tmp_path / "evaluation.npz", {name: array for name, array in arrays.items() if name != "labels"})
    with pytest.raises(KeyError):
        Evaluation.read(tmp_path)


def test_an_inspection_may_lack_maps_and_augmented_images(tmp_path: Path) -> None:
    assert Inspection.read(tmp_path) is None
    arrays: dict[str, Any] = {"first_layer": np.array("conv_1"), "first_weights": np.ones([2, 3, 3], np.float32)}
    write_npz(tmp_path / "inspection.npz", arrays)
    found = Inspection.read(tmp_path)
    assert found and (found.first_layer, found.picture, found.maps, found.augmented) == ("conv_1", None, {}, None)
    arrays |= {"picture": np.zeros([3, 3], np.uint8), "map_names": np.array(["conv_1"]), "map_0": np.ones([1, 3, 3])}
    write_npz(tmp_path / "inspection.npz", arrays)
    found = Inspection.read(tmp_path)
    assert found and list(found.maps) == ["conv_1"] and found.picture is not None
