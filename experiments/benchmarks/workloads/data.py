"""What the workloads that train share: MNIST as arrays in memory, and tfmnist's own trainer on a shipped recipe."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from turns import Contender

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
TRAIN, TEST = 60_000, 10_000


@dataclass(frozen=True)
class Arrays:
    """Images in [0, 1], float32, with int64 labels."""

    images: Images
    labels: Labels
    test_images: Images
    test_labels: Labels


def mnist(count: int = TRAIN, shape: tuple[int, ...] = (784,)) -> Arrays:
    """Returns the first `count` training images and all test images, each image of `shape`."""
    import tfmnist

    digits = tfmnist.load("mnist", validation=0)

    def unit(images: npt.NDArray[np.uint8]) -> Images:
        return images.reshape(-1, *shape).astype(np.float32) * np.float32(1 / 255)

    train, test = digits.train, digits.test
    return Arrays(unit(train.images[:count]), train.labels[:count].copy(), unit(test.images), test.labels.copy())


def train_recipe(name: str, changes: Mapping[str, Any] | None = None, count: int = TRAIN) -> Contender:
    """Returns tfmnist as it trains a shipped recipe: a turn is an epoch of the first `count` training images.

    Validation and averaging of the weights are off, which the rivals have none of; `changes` are keys of the recipe.
    """
    import tfmnist
    from tfmnist.runs.build import make_model, make_optimizer, make_schedule
    from tfmnist.training.loop import Epoch, Trainer
    from tfmnist.training.threads import choose_threads, set_threads, threads_set

    off = {"data.validation": 0, "train.average": 0.0, "train.epochs": 1_000_000, "schedule.kind": "constant"}
    recipe = tfmnist.Recipe.load(name).replace({**off, **(changes or {})})
    digits = tfmnist.load("mnist", validation=0)
    set_threads(choose_threads(recipe, digits.image_shape, digits.classes))  # as 'tfmnist train' does
    train = tfmnist.Split(digits.train.images[:count], digits.train.labels[:count])
    model = make_model(recipe.model, digits.image_shape, digits.classes, recipe.train.seed)
    schedule = make_schedule(recipe.schedule, recipe.optimizer.learning_rate, 1, recipe.train.epochs)
    optimizer = make_optimizer(recipe.optimizer, model.parameters, schedule, fused=True)
    trainer = Trainer(model, optimizer, train, None, recipe.train, loss=recipe.loss)
    events = trainer.run()

    def turn() -> dict[str, float]:
        epoch = next(event for event in events if isinstance(event, Epoch))
        return {"loss": epoch.loss, "train_accuracy": epoch.accuracy}

    return Contender(
        turn,
        lambda: tfmnist.evaluate(model, digits.test, recipe.loss.kind).accuracy,
        precision=recipe.train.precision,
        note=f"compile {trainer.mode}, {trainer.plan.block} steps a call, {threads_set()} threads",
    )
