"""The small network that tells one digit from several that touch: its weights, and what it answers."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfmnist.photos.one_digit import CLASSES, LAYERS, WEIGHTS, check
from tfmnist.photos.status import Status


def test_the_weights_are_those_of_the_layers() -> None:
    with np.load(WEIGHTS, allow_pickle=False) as file:
        arrays = dict(file)
    sizes = [(int(words[1]), words[2:]) for words in (layer.split() for layer in LAYERS)] + [(len(CLASSES), [])]
    assert sorted(arrays) == sorted(f"{n}_{part}" for n in range(len(sizes)) for part in ("kernel", "bias"))
    side, inputs = 28, 1
    for number, (outputs, window) in enumerate(sizes):
        if window:  # such as 5x5 /2
            expected = (*map(int, window[0].split("x")), inputs, outputs)
            side = -(-side // int(window[1][1:]))
        else:
            expected = (side * side * inputs, outputs)
            side = 1
        assert arrays[f"{number}_kernel"].shape == expected and arrays[f"{number}_bias"].shape == (outputs,)
        inputs = outputs
    assert all(np.isfinite(array).all() for array in arrays.values())
    assert WEIGHTS.stat().st_size < 200_000  # in the wheel


@pytest.mark.parametrize("value", [0, 255, None])
def test_every_image_has_a_status(value: int | None) -> None:
    image = np.random.default_rng(0).integers(0, 256, [28, 28]) if value is None else np.full([28, 28], value)
    (status,) = check(tf.constant(image[np.newaxis], tf.uint8))
    assert status.shape == () and status.dtype.is_integer and Status(int(status)) in CLASSES


def test_it_answers_in_a_graph_as_outside_and_has_no_variables() -> None:
    function = tf.function(check, input_signature=[tf.TensorSpec([None, 28, 28], tf.uint8)], autograph=False)
    concrete = function.get_concrete_function()
    assert not concrete.variables and len(concrete.graph.get_operations()) < 60
    images = np.random.default_rng(1).integers(0, 256, [5, 28, 28]).astype(np.uint8)
    assert concrete(tf.constant(images)).numpy().tolist() == check(tf.constant(images)).numpy().tolist()


def test_the_file_lies_in_the_package() -> None:
    assert WEIGHTS.parent == Path(check.__code__.co_filename).parent
