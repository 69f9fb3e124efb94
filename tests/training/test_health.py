"""Trainings that learn nothing are told, with what was seen; those that learn are not."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfmnist
from tfmnist.data.split import Split
from tfmnist.training.events import Epoch


@pytest.fixture(scope="module")
def examples() -> Split:
    return first(2000)


def first(count: int) -> Split:
    images, labels = tfmnist.load("mnist").train.take(np.arange(count))
    return Split(images, labels)


def notes(train: Split, *, model: Any = None, epochs: int = 8, **options: Any) -> list[str]:
    model = model or tfmnist.MLP(hidden=[32])
    held_out = first(500)
    options = {"compile": "graph", "progress": False, "validation": held_out, **options}
    history: list[Epoch] = tfmnist.fit(model, train, epochs=epochs, **options)
    return [note for epoch in history for note in epoch.notes]


def test_a_network_that_learns_is_fine(examples: Split) -> None:
    assert notes(examples) == []
    assert notes(examples, model=tfmnist.CNN(layers=["conv 8 3x3 /2", "global max"]), epochs=4) == []


def test_shuffled_labels_are_told_once(examples: Split) -> None:
    labels = np.random.default_rng(0).permutation(examples.labels)
    (note,) = notes(Split(examples.images, labels), epochs=10)
    assert note.startswith("warning: the labels look shuffled: ") and "\n" not in note


@pytest.mark.parametrize(
    ("grey", "says"), [("same", "that were looked at are the same"), ("flat", "has a single grey level")]
)
def test_constant_images_are_told(grey: str, says: str, examples: Split) -> None:
    count = len(examples)
    images = np.zeros([count, 28, 28], np.uint8)
    if grey == "flat":
        images += np.random.default_rng(0).integers(0, 256, [count, 1, 1], np.uint8)
    (note,) = notes(Split(images, examples.labels), epochs=2)
    assert says in note


def test_a_flat_loss_is_told(examples: Split) -> None:
    model = tfmnist.MLP(hidden=[32])
    (note,) = notes(examples, model=model, optimizer=tfmnist.SGD(model.parameters, 1e-7))
    assert note.startswith("warning: the loss is flat: 2.") and "by guessing" in note


def test_dead_units_are_told(examples: Split) -> None:
    model = tfmnist.MLP(hidden=[32, 16])
    model.named_variables()["dense_2/bias"].assign(tf.fill([16], -100.0))
    (note,) = notes(examples, model=model, epochs=1)
    assert note.startswith("warning: dead ReLUs: 16 of the 16 units of relu_2 are 0")


def test_a_run_writes_it_down(tmp_path: Any) -> None:
    changes = {"data.per_class": 50, "train.epochs": 2, "optimizer.kind": "sgd", "optimizer.learning_rate": 1e-9}
    recipe = tfmnist.Recipe.load("mlp").replace(changes | {"train.compile": "graph", "train.batch_size": 4})
    tfmnist.run(recipe.replace({"export.report": False, "export.model": False}), tmp_path / "run", progress=False)
    rows = tfmnist.open_run(tmp_path / "run").history
    written = [row.model_dump().get("notes") for row in rows]
    assert written[0] and written[0][0].startswith("warning: the loss is flat") and written[1] is None
