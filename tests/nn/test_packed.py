"""Networks side by side give what each gives by itself."""

import numpy as np
import pytest
import tensorflow as tf

from tfmnist.nn.models import MLP
from tfmnist.nn.packed import PackedNetwork, pack, unpack

IMAGES = np.random.default_rng(0).random((6, 4, 4), np.float32)


@pytest.mark.parametrize("options", [{}, {"activation": "tanh", "bias": False}, {"batch_norm": True}])
@pytest.mark.parametrize("hidden", [[], [5], [5, 3]])
@pytest.mark.parametrize("training", [False, True])
def test_each_gives_its_own_logits(hidden: list[int], options: dict[str, object], training: bool) -> None:
    models = [MLP((4, 4), hidden, 3, seed=seed, **options) for seed in range(3)]  # type: ignore[arg-type]
    packed = PackedNetwork(models)
    of_all = packed.forward(tf.constant(IMAGES), training)
    own = np.stack([np.roll(IMAGES, place, 0) for place in range(3)])
    of_each = PackedNetwork(models).forward(tf.constant(own), training)
    for place, model in enumerate(models):
        fresh = MLP((4, 4), hidden, 3, seed=place, **options)  # type: ignore[arg-type]
        np.testing.assert_allclose(of_all[place], model.forward(tf.constant(IMAGES), training), atol=2e-6)
        np.testing.assert_allclose(of_each[place], fresh.forward(tf.constant(own[place]), training), atol=2e-6)
        for name, variable in model.named_variables().items():  # batch normalisation has moved its statistics
            ours = unpack(name, packed.named_variables()[name].numpy(), place)
            np.testing.assert_allclose(ours, variable, atol=1e-6, err_msg=name)


def test_each_drops_what_it_drops_by_itself() -> None:
    models = [MLP((4, 4), [50], 3, seed=seed, dropout=rate) for seed, rate in enumerate((0.1, 0.5, 0.9))]
    step = tf.constant(7, tf.int64)
    logits = PackedNetwork(models).forward(tf.constant(IMAGES), True, step)
    for place, model in enumerate(models):
        np.testing.assert_allclose(logits[place], model.forward(tf.constant(IMAGES), True, step), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "shape"), [("m/dense_1/kernel", (4, 3)), ("dense_1/bias", (3,)), ("a/kernel", (1, 1))]
)
def test_packing_is_undone(name: str, shape: tuple[int, ...]) -> None:
    arrays = [np.random.default_rng(place).random(shape) for place in range(3)]
    packed = pack(name, arrays)
    assert packed.shape[0] == 3 and packed.ndim == 3
    for place, array in enumerate(arrays):
        np.testing.assert_array_equal(unpack(name, packed, place), array)
