"""The whole command, from the shell to an exported model: `tfmnist train`, and a minimal script in Keras.

Both take MNIST from disk, train 784-512-10 for five epochs of 55,000 images with validation on 5,000 others after each,
evaluate the test set, and save the weights and a SavedModel. tfmnist also draws its report.
"""

# pyright: reportMissingImports=false
# the rivals are not among the package's dependencies

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from turns import HERE, Contender, Goal

WORK = "784-512-10, Adam 0.001, batch 100, 5 epochs of 55,000; imports, data, training, test, export: a whole process"
UNIT = "run"
STEPS = None
HELD_OUT = 5000


def processes(command: Callable[[Path], list[str]], accuracy_of: Callable[[Path], float], note: str) -> Contender:
    """Returns a contender that runs a command to its end, with an empty folder for each turn."""
    accuracy = 0.0

    def turn() -> dict[str, float]:
        nonlocal accuracy
        with tempfile.TemporaryDirectory(prefix="tfmnist-command-") as name:
            done = subprocess.run(command(Path(name)), cwd=HERE, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"exit code {done.returncode}: {(done.stderr.strip().splitlines() or [''])[-1]}")
            accuracy = accuracy_of(Path(name))
        largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        return {"peak_rss_mb": largest * (1 if sys.platform == "darwin" else 1024) / 1e6}  # not of this process

    return Contender(turn, lambda: accuracy, note=note)


def own() -> Contender:
    """tfmnist: the command as users type it."""
    program = str(Path(sys.executable).parent / "tfmnist")
    return processes(
        lambda folder: [program, "train", "--run-dir", str(folder / "run")],
        lambda folder: json.loads((folder / "run" / "result.json").read_text())["test_accuracy"],
        "tfmnist train, with its report",
    )


def keras_process() -> Contender:
    """Keras: this module as a script."""
    import tfmnist

    data = tempfile.TemporaryDirectory()
    digits = tfmnist.load("mnist", validation=0)
    arrays = {"x_train": digits.train.images, "y_train": digits.train.labels}
    path = Path(data.name) / "mnist.npz"
    np.savez_compressed(path, **arrays, x_test=digits.test.images, y_test=digits.test.labels)
    contender = processes(
        lambda folder: [sys.executable, "-m", "workloads.command", str(path), str(folder)],
        lambda folder: json.loads((folder / "accuracy.json").read_text()),
        "fit, evaluate, save, export; mnist.npz from disk",
    )
    return Contender(contender.turn, contender.accuracy, note=contender.note, close=data.cleanup)


def keras_script(data: Path, folder: Path) -> None:
    """What a user of Keras would write for the same purpose."""
    import keras

    with np.load(data) as arrays:
        images, labels = arrays["x_train"].astype("float32") / 255, arrays["y_train"]
        test_images, test_labels = arrays["x_test"].astype("float32") / 255, arrays["y_test"]
    layers = [
        keras.Input((28, 28)),
        keras.layers.Flatten(),
        keras.layers.Dense(512, activation="relu", kernel_initializer="he_normal"),
        keras.layers.Dense(10, activation="softmax"),
    ]
    model: Any = keras.Sequential(layers)
    model.compile(keras.optimizers.Adam(0.001), "sparse_categorical_crossentropy", metrics=["accuracy"])
    held_out = (images[-HELD_OUT:], labels[-HELD_OUT:])
    images, labels = images[:-HELD_OUT], labels[:-HELD_OUT]
    model.fit(images, labels, batch_size=100, epochs=5, validation_data=held_out, verbose=2)
    accuracy = float(model.evaluate(test_images, test_labels, verbose=0)[1])
    model.save(folder / "model.keras")
    model.export(folder / "model")
    (folder / "accuracy.json").write_text(json.dumps(accuracy))


CONTENDERS: dict[str, Callable[[], Contender]] = {"tfmnist": own, "Keras script": keras_process}
GOALS = [Goal("Keras script", 1 / 0.6)]

if __name__ == "__main__":
    keras_script(*map(Path, sys.argv[1:3]))
