"""Training, export and reload in a process where Keras cannot be imported, and that never asks for it."""

import subprocess
import sys
from pathlib import Path

CODE = """
import sys
sys.modules["keras"] = None
import numpy as np
import tfmnist
source, folder = sys.argv[1:]
recipe = tfmnist.Recipe.load("cnn").replace({
    "data.source": source, "data.validation": 100, "data.per_class": 20, "train.epochs": 1,
    "model.layers": ["conv 4 5x5 /4", "global max"], "export.report": False,
    "train.precision": "bfloat16", "loss.label_smoothing": 0.1, "augment.rotate": 10.0})
run = tfmnist.run(recipe, folder)
exported = tfmnist.load_exported(run.path)
test = tfmnist.load(source, validation=0).test
assert np.mean(exported.predict(test.images).classes == test.labels) == run.test_accuracy
assert sys.modules["keras"] is None and not any(name.startswith(("keras.", "tf_keras")) for name in sys.modules)
"""


def test_everything_works_without_keras(small: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error::DeprecationWarning:tfmnist", "-c", CODE, str(small), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
