"""Training, export and reload where Keras cannot be imported, as everywhere in these tests; and nothing asks for it."""

import sys
from pathlib import Path

import numpy as np

import tfmnist


def test_everything_works_without_keras(small: Path, tmp_path: Path) -> None:
    assert sys.modules["keras"] is None  # see conftest.py: importing it is an error
    data = {"data.source": str(small), "data.validation": 100, "data.per_class": 20, "augment.rotate": 10.0}
    model = {"model.layers": ["conv 4 5x5 /4", "global max"], "loss.label_smoothing": 0.1}
    training = {"train.epochs": 1, "train.precision": "bfloat16", "train.tensorboard": True, "export.report": False}
    run = tfmnist.run(tfmnist.Recipe.load("cnn").replace({**data, **model, **training}), tmp_path / "run")
    test = tfmnist.load(small, validation=0).test
    predictions = tfmnist.load_exported(run.path).predict(test.images)
    assert np.mean(predictions.classes == test.labels) == run.test_accuracy
    assert not any(name.startswith(("keras.", "tf_keras")) for name in sys.modules)
