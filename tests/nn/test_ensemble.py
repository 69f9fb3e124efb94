"""Ensembles: the mean of the members' probabilities, finite at any logits."""

import numpy as np
import pytest
import tensorflow as tf

import tfmnist
from tfmnist.errors import InputError
from tfmnist.nn.ensemble import Ensemble

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 6, 5)).astype(np.uint8)


def test_it_averages_probabilities() -> None:
    members = [tfmnist.MLP((6, 5), [7], 3, seed=seed) for seed in (1, 2)]
    network = Ensemble(members, [tf.identity, lambda logits: logits / 2])
    first, second = (member.logits(IMAGES) for member in members)
    mean = (tf.nn.softmax(first) + tf.nn.softmax(second / 2)) / 2
    np.testing.assert_allclose(tf.nn.softmax(network.logits(IMAGES)), mean, rtol=1e-5)
    np.testing.assert_allclose(network.logits(IMAGES), np.log(mean), rtol=1e-4)
    assert network.parameter_count == 2 * members[0].parameter_count
    assert network.logits(IMAGES[:0]).shape == (0, 3)


def test_it_is_finite_where_members_are_certain_of_different_classes() -> None:
    network = Ensemble([tfmnist.MLP((6, 5), [], 2)] * 2, [tf.identity] * 2)
    logits = network.combine([tf.constant([[1e4, 0.0]]), tf.constant([[0.0, 1e4]])])
    np.testing.assert_allclose(logits, np.log([[0.5, 0.5]]), rtol=1e-6)


def test_members_of_one_seed_are_no_clash_but_other_shapes_are() -> None:
    Ensemble([tfmnist.MLP((6, 5), [7], 3, seed=1) for _ in range(2)], [tf.identity] * 2)
    with pytest.raises(InputError, match=r"for 6x5 in 3 classes, 6x5 in 4 classes: expected the same"):
        Ensemble([tfmnist.MLP((6, 5), [7], classes) for classes in (3, 4)], [tf.identity] * 2)
    with pytest.raises(InputError, match="for nothing"):
        Ensemble([], [])
