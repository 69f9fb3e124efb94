"""Programs that share no code with the package: each gives the network's classes for real images."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tfmnist

CLIENTS = Path(__file__).parents[2] / "experiments/clients"
NAMES = [
    "SavedModel, Python",
    "SavedModel, C",
    "ONNX, Python",
    "ONNX, Node",
    "LiteRT float32, Python",
    "LiteRT int8, Python",
]
COUNT = 1200  # more than a client's batch


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    specification = importlib.util.spec_from_file_location("compare_clients", CLIENTS / "compare.py")
    assert specification and specification.loader
    script = sys.modules["compare_clients"] = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    changes = {"data.per_class": 100, "train.epochs": 6, "export.report": False, "export.model": False}
    layers = {"model.layers": ["conv 8 3x3", "max 4", "dense 16"], "model.kind": "cnn"}
    recipe = tfmnist.Recipe.load("cnn").replace({**changes, **layers})
    run = tfmnist.run(recipe, tmp_path_factory.mktemp("clients") / "run", progress=False)
    test = tfmnist.load("mnist", validation=0).test
    images, labels = test.images[:COUNT], test.labels[:COUNT]
    expected = np.asarray(tfmnist.open_run(run.path).network.logits(images)).argmax(axis=1)
    folder = tmp_path_factory.mktemp("out")
    return {row.name: row for row in script.compare(run.path, folder, images, labels, expected)}


@pytest.mark.parametrize("name", NAMES)
def test_it_gives_the_classes_of_the_network(rows: dict[str, Any], name: str) -> None:
    assert list(rows) == NAMES
    row = rows[name]
    if row.problem:
        assert name in ("SavedModel, C", "ONNX, Node")
        pytest.skip(row.problem)
    assert row.accuracy > 0.7
    assert row.same == COUNT or ("int8" in name and row.same >= 0.98 * COUNT)
