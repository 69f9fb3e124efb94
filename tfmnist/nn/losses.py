"""Losses: functions of logits and labels that return one number per example, `[batch]`, and their penalised mean."""

from collections.abc import Callable, Sequence

import tensorflow as tf


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor, label_smoothing: float = 0.0) -> tf.Tensor:
    """-Σ_c q_c log softmax(z)_c, computed from the logits: finite wherever they are.  dL/dz = softmax(z) - q.

    Args:
        logits: float32 `[batch, classes]`.
        labels: int64 `[batch]`, 0 to classes - 1.
        label_smoothing: ε in [0, 1): q = (1 - ε) onehot + ε / classes (Szegedy et al. 2016, section 7).

    Returns:
        float32 `[batch]`.
    """
    classes = int(logits.shape[-1] or 0)
    targets = tf.one_hot(
        labels,
        classes,
        on_value=1.0 - label_smoothing + label_smoothing / classes,
        off_value=label_smoothing / classes,
        dtype=logits.dtype,
    )
    return tf.nn.softmax_cross_entropy_with_logits(targets, logits)


def quadratic(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """½ ‖σ(z) - y‖² with y the one-hot label.  dL/dz = (σ(z) - y) ⊙ σ(z) (1 - σ(z)).

    Args:
        logits: float32 `[batch, classes]`, before the output's sigmoid.
        labels: int64 `[batch]`.

    Returns:
        float32 `[batch]`.
    """
    error = tf.sigmoid(logits) - tf.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    return 0.5 * tf.reduce_sum(error * error, axis=-1)


def naive_cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """-Σ_c y_c log softmax(z)_c, computed as it is printed: NaN (0 · log 0) where a probability rounds to 0.

    That happens from about 104 below the largest logit. For learners; where it is finite, so is `cross_entropy`, and
    they agree.

    Args:
        logits: float32 `[batch, classes]`.
        labels: int64 `[batch]`.

    Returns:
        float32 `[batch]`.
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


def probabilities(kind: str, logits: tf.Tensor) -> tf.Tensor:
    """Returns float32 `[n, classes]`, rows that sum to 1: softmax, or for `quadratic` the sigmoids over their sum."""
    if kind == "quadratic":
        return tf.nn.softmax(tf.math.log_sigmoid(logits))  # σ / Σσ, without the division by an underflowed sum
    return tf.nn.softmax(logits)


LOSSES: dict[str, Callable[..., tf.Tensor]] = {
    "cross_entropy": cross_entropy,
    "quadratic": quadratic,
    "naive_cross_entropy": naive_cross_entropy,
}


def mean_loss(
    logits: tf.Tensor,
    labels: tf.Tensor,
    kernels: Sequence[tf.Variable],
    *,
    kind: str,
    label_smoothing: float = 0.0,
    l1: float = 0.0,
    l2: float = 0.0,
) -> tf.Tensor:
    """Returns the mean loss of a batch with its penalties, a scalar of the logits' dtype: what training minimises.

    Args:
        logits: float32 or float64 `[batch, classes]`.
        labels: int64 `[batch]`, 0 to classes - 1.
        kernels: the variables that the penalties are taken over.
        kind: a key of `LOSSES`.
        label_smoothing: see `cross_entropy`; the other losses ignore it.
        l1, l2: see `penalty`.
    """
    options = {"label_smoothing": label_smoothing} if kind == "cross_entropy" else {}
    return tf.reduce_mean(LOSSES[kind](logits, labels, **options)) + penalty(kernels, l1, l2)
