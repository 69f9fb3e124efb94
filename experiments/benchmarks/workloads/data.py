"""What the workloads that train share: MNIST as arrays, tfmnist training a shipped recipe, and Keras's `fit`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from turns import Contender

Images = npt.NDArray[np.float32]
TRAIN = 60_000


@dataclass(frozen=True)
class Arrays:
    """Images in [0, 1], float32, with int64 labels `[n]`, or targets `[n, classes]`."""

    images: Images
    labels: npt.NDArray[Any]
    test_images: Images
    test_labels: npt.NDArray[Any]


def mnist(count: int = TRAIN, shape: tuple[int, ...] = (784,)) -> Arrays:
    """Returns the first `count` training images and all test images, each image of `shape`."""
    import tfmnist

    digits = tfmnist.load("mnist", validation=0)

    def unit(images: npt.NDArray[np.uint8]) -> Images:
        return images.reshape(-1, *shape).astype(np.float32) * np.float32(1 / 255)

    train, test = digits.train, digits.test
    return Arrays(unit(train.images[:count]), train.labels[:count].copy(), unit(test.images), test.labels.copy())


def mnist_digits(count: int = TRAIN) -> Any:
    """Returns MNIST as tfmnist loads it, with the first `count` training images and no validation."""
    import tfmnist

    digits = tfmnist.load("mnist", validation=0)
    return replace(digits, train=tfmnist.Split(digits.train.images[:count], digits.train.labels[:count]))


OFF = {
    "data.validation": 0,
    "loss.label_smoothing": 0.0,
    "schedule.kind": "constant",
    **{f"augment.{key}": 0.0 for key in ("rotate", "scale", "shear", "shift")},
    "train.average": 0.0,
    "train.epochs": 1_000_000,
    "train.precision": "float32",
}


def train_recipe(name: str, changes: Mapping[str, Any] | None = None, count: int = TRAIN) -> Contender:
    """Returns tfmnist training a shipped recipe: a turn is an epoch of the first `count` training images.

    Validation, averaging of the weights and augmentation are off, because the rivals have none of them; `changes` are
    keys of the recipe.
    """
    import tfmnist
    from tfmnist.runs.build import build_trainer
    from tfmnist.training.events import Epoch
    from tfmnist.training.threads import choose_threads, set_threads, threads_set

    recipe = tfmnist.Recipe.load(name).replace({**OFF, **(changes or {})})
    digits = mnist_digits(count)
    set_threads(choose_threads(recipe, digits.image_shape, digits.classes))  # as 'tfmnist train' does
    trainer = build_trainer(recipe, digits)
    events = trainer.run()

    def turn() -> dict[str, float]:
        epoch = next(event for event in events if isinstance(event, Epoch))
        return {"loss": epoch.loss, "train_accuracy": epoch.accuracy}

    return Contender(
        turn,
        lambda: tfmnist.evaluate(trainer.model, digits.test, recipe.loss.kind).accuracy,
        precision=recipe.train.precision,
        note=f"compile {trainer.mode}, {trainer.plan.block} steps a call, {threads_set()} threads",
    )


def fit_keras(
    layers: Sequence[Any],
    optimizer: Any,
    train: Callable[[], dict[str, Any]],
    test: Callable[[], dict[str, Any]],
    *,
    loss: Any = None,
    jit: bool | str = "auto",
    precision: str = "float32",
    note: str = "",
    close: Callable[[], None] | None = None,
) -> Contender:
    """Returns Keras's `fit` of layers in sequence: a turn is an epoch.

    `train` and `test` return the arguments of `fit` and of `evaluate`: `x`, `y` and so on; `train` is called once, in
    the first turn. The loss is the cross-entropy of logits unless another is given.
    """
    import keras

    model: Any = keras.Sequential(list(layers))
    loss = loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"], jit_compile=jit)
    arguments: dict[str, Any] = {}

    def turn() -> dict[str, float]:
        arguments.update(arguments or train())
        history = model.fit(**arguments, epochs=1, verbose=0).history
        return {"loss": history["loss"][0], "train_accuracy": history["accuracy"][0]}

    def accuracy() -> float:
        return float(model.evaluate(**test(), verbose=0)[1])

    return Contender(turn, accuracy, precision, f"fit, jit_compile={jit!r}{note}", close)


def fit_arrays(data: Arrays, batch: int) -> tuple[Callable[[], dict[str, Any]], Callable[[], dict[str, Any]]]:
    """Returns `train` and `test` of `fit_keras` for arrays in memory."""
    return (
        lambda: {"x": data.images, "y": data.labels, "batch_size": batch},
        lambda: {"x": data.test_images, "y": data.test_labels, "batch_size": 500},
    )
