"""Distillation: a network learns the probabilities of another model, its teacher, besides the labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tensorflow as tf

from tfmnist.nn.losses import Objective


@dataclass(frozen=True)
class Distillation(Objective):
    """(1 - w) L + w T² H(softmax(z_teacher / T), softmax(z / T)), with L the loss on the labels and H cross-entropy.

    The teacher sees the same augmented images as the network. Evaluation measures L alone.

    Source: G. Hinton, O. Vinyals and J. Dean, "Distilling the knowledge in a neural network", 2015, section 2.
    """

    teacher: Callable[[tf.Tensor], tf.Tensor] = tf.identity
    """Returns logits, float32 `[batch, classes]`, for images, uint8 `[batch, height, width]`."""
    weight: float = 0.9
    temperature: float = 1.0

    def mean(
        self, logits: tf.Tensor, labels: tf.Tensor, kernels: Sequence[tf.Variable], images: tf.Tensor | None = None
    ) -> tf.Tensor:
        assert images is not None
        targets = tf.stop_gradient(tf.nn.softmax(self.teacher(images) / self.temperature))
        soft = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits / self.temperature))
        hard = super().mean(logits, labels, kernels)
        return (1.0 - self.weight) * hard + self.weight * self.temperature**2 * soft
