"""Losses. Each takes logits and labels and returns one number an example, `[batch]`; the caller reduces."""

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

    Example:
        >>> float(cross_entropy(tf.zeros([1, 4]), tf.constant([2]))[0])  # log 4
        1.3862943649291992
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

    Example:
        >>> float(quadratic(tf.zeros([1, 2]), tf.constant([0]))[0])  # ½ (0.5² + 0.5²)
        0.25
    """
    error = tf.sigmoid(logits) - tf.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    return 0.5 * tf.reduce_sum(error * error, axis=-1)


def naive_cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """-Σ_c y_c log softmax(z)_c, computed as it is printed: NaN (0 · log 0) where a probability rounds to 0.

    That is so from about 104 below the largest logit on. For learners; `cross_entropy` is the same where both are
    finite.

    Args:
        logits: float32 `[batch, classes]`.
        labels: int64 `[batch]`.

    Returns:
        float32 `[batch]`.

    Example:
        >>> naive_cross_entropy(tf.constant([[0.0, 0.0], [0.0, 200.0]]), tf.constant([0, 1])).numpy().tolist()
        [0.6931471824645996, nan]
    """
    shares = tf.nn.softmax(logits)
    return -tf.reduce_sum(tf.one_hot(labels, logits.shape[-1], dtype=logits.dtype) * tf.math.log(shares), axis=-1)


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
    """Returns float32 `[n, classes]` that sum to 1 a row: softmax, or for `quadratic` the sigmoids over their sum."""
    if kind == "quadratic":
        return tf.nn.softmax(tf.math.log_sigmoid(logits))  # σ / Σσ, without the division by an underflowed sum
    return tf.nn.softmax(logits)


LOSSES: dict[str, Callable[..., tf.Tensor]] = {
    "cross_entropy": cross_entropy,
    "quadratic": quadratic,
    "naive_cross_entropy": naive_cross_entropy,
}
