"""An ensemble: several networks that answer as one."""

import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from tfmnist.errors import InputError
from tfmnist.nn.models import Network


class Ensemble(Network):
    """Averages the probabilities of its members; its logits are the logarithm of the mean, and so ≤ 0.

    log p = log (1/k Σ_i softmax(s_i)) = logsumexp_i (log softmax(s_i)) - log k: finite wherever the scores are.

    Args:
        members: k ≥ 1 trained networks for the same images and classes.
        scores: for each member, a function from its logits to the scores whose softmax are its probabilities, both
            float32 `[batch, classes]`.

    Raises:
        InputError: there is no member, or they are for different images or classes.
    """

    def __init__(self, members: Sequence[Network], scores: Sequence[Callable[[tf.Tensor], tf.Tensor]]):
        kinds = dict.fromkeys((member.image_shape, member.classes) for member in members)
        if len(kinds) != 1:
            shapes = ", ".join(f"{height}x{width} in {classes} classes" for (height, width), classes in kinds)
            raise InputError(f"the members are for {shapes or 'nothing'}: expected the same images and classes.")
        super().__init__(members[0].image_shape, members[0].classes, "ensemble")
        self.members = list(members)
        self.scores = list(scores)

    def forward(self, images: tf.Tensor, training: bool = False, step: tf.Tensor | None = None) -> tf.Tensor:
        return self.combine([member.forward(images, training, step) for member in self.members])

    def combine(self, logits: Sequence[tf.Tensor]) -> tf.Tensor:
        """Returns the ensemble's logits, given those of each member, float32 `[batch, classes]`."""
        each = [tf.nn.log_softmax(score(z)) for score, z in zip(self.scores, logits, strict=True)]
        return tf.reduce_logsumexp(tf.stack(each), axis=0) - math.log(len(each))

    def check_names(self) -> None:
        """Does nothing: members of the same seed are not trained here, so they may draw the same numbers."""
