"""Seconds to 99.0 % on the test set: Keras's example convnet, and the recipe cnn-fast, in turn.

    python experiments/accuracy/against_keras.py [--turns 3]

The convnet of keras.io/examples/vision/mnist_convnet is trained as published (batches of 128, Adam, a tenth held out)
and tested after every epoch until it first reaches 99.0 %; its time is that of the epochs alone. cnn-fast is trained on
all 60,000 images; its time is `seconds.train`, without compilation. Both use all processors. Writes
results/against_keras.md.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))
from tables import markdown  # noqa: E402

GOAL = 0.99


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--keras", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.keras:
        print(json.dumps(train_keras()))
        return
    rows: list[tuple[float, ...]] = []
    for turn in range(options.turns):
        command = [sys.executable, __file__, "--keras"]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, check=True, env={**os.environ, "KERAS_BACKEND": "tensorflow"}
        )
        rows.append((*json.loads(done.stdout.splitlines()[-1]), *train_ours(turn)))
        print(*rows[-1], flush=True)
    head = ("turn", "Keras: epochs", "test accuracy", "seconds", "cnn-fast: test accuracy", "seconds", "ratio")
    lines = [
        (str(turn), f"{epochs}", f"{theirs:.2%}", f"{slow:.1f}", f"{ours:.2%}", f"{fast:.2f}", f"{slow / fast:.1f}")
        for turn, (epochs, theirs, slow, ours, fast) in enumerate(rows)
    ]
    table = markdown(head, lines) + f"\n\nMedian ratio {statistics.median(r[2] / r[4] for r in rows):.1f}.\n"
    (HERE.parent / "results/against_keras.md").write_text(table)
    print(table)


def train_keras() -> tuple[int, float, float]:
    """Returns epochs, test accuracy and seconds."""
    import keras

    import tfmnist

    digits = tfmnist.load("mnist", validation=0)
    (x, y), (x_test, y_test) = (
        (split.images[..., None].astype("float32") / 255, keras.utils.to_categorical(split.labels, 10))
        for split in (digits.train, digits.test)
    )
    model: Any = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(32, (3, 3), activation="relu"),
            keras.layers.MaxPooling2D((2, 2)),
            keras.layers.Conv2D(64, (3, 3), activation="relu"),
            keras.layers.MaxPooling2D((2, 2)),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    epochs, seconds, accuracy = 0, 0.0, 0.0
    while accuracy < GOAL and epochs < 40:
        began = time.perf_counter()
        model.fit(x, y, batch_size=128, epochs=1, validation_split=0.1, verbose=0)
        seconds += time.perf_counter() - began
        epochs += 1
        accuracy = float(model.evaluate(x_test, y_test, verbose=0)[1])
    return epochs, accuracy, seconds


def train_ours(seed: int) -> tuple[float, float]:
    """Returns test accuracy and seconds."""
    with tempfile.TemporaryDirectory() as scratch:
        options = ["--train.seed", str(seed), "--export.report", "false", "--export.model", "false"]
        recipe = HERE / "final/cnn-fast.toml"
        command = [sys.executable, "-m", "tfmnist", "train", str(recipe), "--run-dir", f"{scratch}/run", *options]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        result = json.loads(Path(scratch, "run/result.json").read_text())
    return result["test_accuracy"], result["seconds"]["train"]


if __name__ == "__main__":
    main()
