"""Distillation: the loss by hand, and evaluation without the teacher."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfmnist.nn.losses import cross_entropy
from tfmnist.training.distill import Distillation

IMAGES = tf.constant(np.arange(2 * 6).reshape(2, 2, 3), tf.uint8)


def teach(images: tf.Tensor) -> tf.Tensor:
    assert images.dtype == tf.uint8
    return tf.math.log(tf.constant([[0.75, 0.25], [0.5, 0.5]]))


def test_the_loss_by_hand() -> None:
    logits, labels = tf.math.log(tf.constant([[0.9, 0.1], [0.2, 0.8]])), tf.constant([0, 1], tf.int64)
    objective = Distillation(cross_entropy, "cross_entropy", teacher=teach, weight=0.75)
    hard = -(math.log(0.9) + math.log(0.8)) / 2
    soft = -(0.75 * math.log(0.9) + 0.25 * math.log(0.1) + 0.5 * math.log(0.2) + 0.5 * math.log(0.8)) / 2
    assert float(objective.mean(logits, labels, [], IMAGES)) == pytest.approx(0.25 * hard + 0.75 * soft, rel=1e-5)
    np.testing.assert_allclose(objective.function(logits, labels), -np.log([0.9, 0.8]), rtol=1e-5)


def test_a_temperature_divides_both_logits_and_keeps_the_scale_of_the_gradient() -> None:
    logits, labels = tf.constant([[3.0, 0.0], [0.0, 1.0]]), tf.constant([0, 1], tf.int64)
    objective = Distillation(cross_entropy, "cross_entropy", teacher=teach, weight=1.0, temperature=2.0)
    targets = tf.nn.softmax(teach(IMAGES) / 2)
    expected = 4 * tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits / 2))
    assert float(objective.mean(logits, labels, [], IMAGES)) == pytest.approx(float(expected))


def test_its_gradient_is_that_of_the_network_alone() -> None:
    weight = tf.Variable(tf.constant([[1.0, -1.0]]))
    with tf.GradientTape() as tape:
        objective = Distillation(cross_entropy, "cross_entropy", teacher=lambda _: 5.0 * tf.repeat(weight, 2, 0))
        value = objective.mean(tf.zeros([2, 2]), tf.constant([0, 1], tf.int64), [], IMAGES)
    assert tape.gradient(value, weight) is None
