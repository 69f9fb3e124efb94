"""Losses: functions of logits and labels that return one number per example, and their penalised mean.

Logits are float32 `[batch, classes]` (float64 works too), labels int64 `[batch]`, 0 to classes - 1; a loss is of the
logits' dtype, `[batch]`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import tensorflow as tf

from tfmnist.errors import InputError, did_you_mean


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor, label_smoothing: float = 0.0) -> tf.Tensor:
    """-Σ_c q_c log softmax(z)_c, computed from the logits: finite wherever they are.  dL/dz = softmax(z) - q.

    q = (1 - ε) onehot + ε / classes, with ε = `label_smoothing` in [0, 1) (Szegedy et al. 2016, section 7).
    """
    classes = int(logits.shape[-1] or 0)
    off = label_smoothing / classes
    targets = tf.one_hot(labels, classes, 1.0 - label_smoothing + off, off, dtype=logits.dtype)
    return tf.nn.softmax_cross_entropy_with_logits(targets, logits)


def quadratic(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """½ ‖σ(z) - y‖² with z the logits and y the one-hot label.  dL/dz = (σ(z) - y) ⊙ σ(z) (1 - σ(z))."""
    error = tf.sigmoid(logits) - tf.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    return 0.5 * tf.reduce_sum(error * error, axis=-1)


def naive_cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """-Σ_c y_c log softmax(z)_c, computed as it is printed: NaN (0 · log 0) where a probability rounds to 0.

    That happens from about 104 below the largest logit. For learners; where it is finite, so is `cross_entropy`, and
    they agree.
    """
    log_softmax = tf.math.log(tf.nn.softmax(logits))
    return -tf.reduce_sum(tf.one_hot(labels, logits.shape[-1], dtype=logits.dtype) * log_softmax, axis=-1)


def penalty(kernels: Sequence[tf.Variable], l1: float, l2: float) -> tf.Tensor:
    """l1 Σ|w| + l2 ½ Σ w² over the kernels, a scalar of their dtype; biases and normalisation are not penalised."""
    total = tf.zeros([], kernels[0].dtype if kernels else tf.float32)
    for kernel in kernels:
        if l1:
            total += l1 * tf.reduce_sum(tf.abs(kernel))
        if l2:
            total += 0.5 * l2 * tf.reduce_sum(tf.square(kernel))
    return total


def probabilities(kind: str, logits: tf.Tensor, temperature: float = 1.0) -> tf.Tensor:
    """Returns float32 `[n, classes]`, rows that sum to 1: softmax(z / T), or for `quadratic` sigmoids over their sum.

    Args:
        kind: the name of a loss, built in or user-defined.
        logits: float32 `[n, classes]`.
        temperature: T, which makes all predictions less confident above 1 and more confident below, and never
            changes which class is the most probable (Guo et al. 2017, section 4.2).
    """
    return tf.nn.softmax(scores(kind, logits, temperature))


def scores(kind: str, logits: tf.Tensor, temperature: float = 1.0) -> tf.Tensor:
    """Returns the numbers whose softmax are the `probabilities`."""
    # σ / Σσ = softmax(log σ), without the division by an underflowed sum
    z = tf.math.log_sigmoid(logits) if kind == "quadratic" else logits
    return z if temperature == 1.0 else z / temperature


LossFunction = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

LOSSES: dict[str, Callable[..., tf.Tensor]] = {
    "cross_entropy": cross_entropy,
    "quadratic": quadratic,
    "naive_cross_entropy": naive_cross_entropy,
}


@dataclass(frozen=True)
class Objective:
    """What training minimises: a loss per example, averaged over a batch, and penalties."""

    function: LossFunction = cross_entropy
    name: str = "cross_entropy"
    """A key of `LOSSES`, or the name of a user-defined function."""
    l1: float = 0.0
    l2: float = 0.0

    def mean(
        self, logits: tf.Tensor, labels: tf.Tensor, kernels: Sequence[tf.Variable], images: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns the mean loss of a batch with its penalties, a scalar of the logits' dtype.

        `images`, uint8 `[batch, height, width]`, are for objectives that look at more than the logits.

        Raises:
            InputError: the function does not return one number per example.
        """
        return tf.reduce_mean(per_example(self.function, logits, labels, self.name)) + penalty(
            kernels, self.l1, self.l2
        )


def find_loss(
    loss: str | LossFunction | Objective, label_smoothing: float = 0.0, l1: float = 0.0, l2: float = 0.0
) -> Objective:
    """Returns the objective for the name of a loss or a function `(logits, labels) -> [batch]`; an objective as it is.

    Raises:
        InputError: there is no loss of that name.
    """
    if isinstance(loss, Objective):
        return loss
    if callable(loss):
        name = getattr(loss, "__name__", type(loss).__name__)
        if name in LOSSES and LOSSES[name] is not loss:  # the name decides how logits become probabilities
            name = f"{getattr(loss, '__module__', 'own')}:{name}"
        return Objective(loss, name, l1, l2)
    if loss not in LOSSES:
        raise InputError(f"loss {loss!r} does not exist{did_you_mean(str(loss), LOSSES)}")
    function = partial(cross_entropy, label_smoothing=label_smoothing) if loss == "cross_entropy" else LOSSES[loss]
    return Objective(function, loss, l1, l2)


def per_example(function: LossFunction, logits: tf.Tensor, labels: tf.Tensor, name: str) -> tf.Tensor:
    """Returns what a loss or metric, ours or user-defined, computes: `[batch]`, in the logits' dtype.

    Args:
        function: `(logits, labels) -> [batch]`.
        logits: `[batch, classes]`.
        labels: int64 `[batch]`.
        name: of the function, for messages.

    Raises:
        InputError: the function returns another shape.
    """
    values = function(logits, labels)
    if values is None:
        raise InputError(f"{name} returns None, expected [batch]: one number per example.")
    values = tf.convert_to_tensor(values)
    if values.shape.rank is None:  # of tf.py_function
        values = tf.ensure_shape(values, labels.shape)
    if values.shape.rank != 1 or (
        None not in (values.shape[0], logits.shape[0]) and values.shape[0] != logits.shape[0]
    ):
        raise InputError(
            f"{name} returns shape {values.shape.as_list()}, expected [batch]: one number per example, not their mean."
        )
    return tf.cast(values, logits.dtype)
