"""Back-propagation written out: the gradient of a network of dense layers in NumPy, each line next to its formula.

Nothing here trains a model: the package differentiates on the tape, and `tfmnist.backprop.check` compares the tape
with these formulas. They are a textbook's, for a mini-batch of m examples, the m columns of A_0:

    Z_l = W_l A_{l-1} + b_l                      l = 1 ... L, the layers
    A_l = f(Z_l)                                 l < L, f the activation; A_L = σ(Z_L) or softmax(Z_L)

    δ_L = (1/m) (A_L − Y) ⊙ σ′(Z_L)              quadratic cost of sigmoid outputs, Y the one-hot labels
    δ_L = (1/m) (A_L − Q)                        cross-entropy of softmax, Q the smoothed one-hot labels
    δ_l = (W_{l+1}ᵀ δ_{l+1}) ⊙ f′(Z_l)           back through a layer
    ∂J/∂W_l = δ_l A_{l-1}ᵀ
    ∂J/∂b_l = Σ over the batch of δ_l

⊙ multiplies elementwise. δ_l is ∂J/∂Z_l, J the mean cost of the batch. The factor 1/m appears once, in δ_L: repeated in
every layer, as in one published tutorial, it would shrink the gradient by another factor m with each layer down.

Source: M. Nielsen, "Neural Networks and Deep Learning" (2015), chapter 2, BP1 to BP4, here for a whole batch at once;
the error of softmax with cross-entropy: C. Bishop, "Pattern Recognition and Machine Learning" (2006), eq. 4.109.

Layout: the package stores examples as rows, x W + b with kernels `[inputs, units]`; so do the arguments here and the
gradients returned. The formulas have columns: A_0 = imagesᵀ `[pixels, m]`, W_l = kernelᵀ `[units, inputs]`, b_l
`[units, 1]`, and Z_l, A_l, δ_l `[units, m]`. Inputs and outputs are transposed; in between, all is as printed.
"""

# ruff: noqa: E741  # l numbers the layers, as in the source of the formulas

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tfmnist.errors import InputError, did_you_mean

Array = NDArray[np.float64]
Ints = NDArray[np.integer]

LOSSES = ("cross_entropy", "quadratic")


@dataclass(frozen=True)
class Gradients:
    """The loss of a batch, and its gradient in the layout of the arguments."""

    loss: float  # mean over the batch, penalties included
    kernels: list[Array]  # float64 [inputs, units], one per layer
    biases: list[Array | None]  # float64 [units], one per layer; None where the layer has none


# Activations and their derivatives, elementwise


def sigmoid(z: Array) -> Array:
    """σ(z) = 1 / (1 + exp(-z)), computed from exp(-|z|), which never overflows."""
    small = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, small) / (1.0 + small)


def sigmoid_slope(z: Array) -> Array:
    """σ′(z) = σ(z) (1 - σ(z)); 1 - σ(z) = σ(-z) preserves the digits that the subtraction would lose."""
    return sigmoid(z) * sigmoid(-z)


def tanh(z: Array) -> Array:
    """tanh(z)."""
    return np.tanh(z)


def tanh_slope(z: Array) -> Array:
    """tanh′(z) = 1 - tanh²(z)."""
    return 1.0 - np.tanh(z) ** 2


def relu(z: Array) -> Array:
    """max(z, 0)."""
    return np.maximum(z, 0.0)


def relu_slope(z: Array) -> Array:
    """relu′(z) = 1 where z > 0, else 0; at 0, where there is no derivative, it is 0 as in TensorFlow."""
    return np.where(z > 0, 1.0, 0.0)


ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "relu": (relu, relu_slope),
    "sigmoid": (sigmoid, sigmoid_slope),
    "tanh": (tanh, tanh_slope),
}


def softmax(z: Array) -> Array:
    """exp(z) / Σ exp(z) over the classes, float64 `[classes, m]`; the largest z is subtracted, so nothing overflows."""
    powers = np.exp(z - z.max(axis=0))
    return powers / powers.sum(axis=0)


# The network, forward and back


def forward(
    images: Array, kernels: Sequence[Array], biases: Sequence[Array | None] | None, activation: str
) -> tuple[dict[int, Array], dict[int, Array]]:
    """Z_l = W_l A_{l-1} + b_l;  A_l = f(Z_l) for all layers but the last, whose function depends on the loss.

    Args:
        images: float64 `[m, pixels]`, in [0, 1] for pictures.
        kernels: float64 `[inputs, units]`, one per layer.
        biases: float64 `[units]` or None, one per layer; None for no biases at all.
        activation: `relu`, `sigmoid` or `tanh`.

    Returns:
        Z and A by the number of the layer, float64 `[units, m]`, columns as in the formulas: Z of 1 to L, Z[L] the
        logits; A of 0 to L - 1, A[0] the images.

    Raises:
        InputError: an unknown activation, or shapes that do not fit.
    """
    if activation not in ACTIVATIONS:
        near = did_you_mean(activation, ACTIVATIONS) if activation != "gelu" else "; use one of them."
        raise InputError(f"activation {activation!r}: the formulas are written out for {', '.join(ACTIVATIONS)}{near}")
    W, b = _columns(images, kernels, [None] * len(kernels) if biases is None else biases)
    f, _ = ACTIVATIONS[activation]
    L = len(W)
    A = {0: np.asarray(images, np.float64).T}
    Z: dict[int, Array] = {}
    for l in range(1, L + 1):
        Z[l] = W[l] @ A[l - 1] + b[l]  #                           Z_l = W_l A_{l-1} + b_l
        if l < L:
            A[l] = f(Z[l])  #                                      A_l = f(Z_l)
    return Z, A


def loss(
    images: Array,
    labels: Ints,
    kernels: Sequence[Array],
    biases: Sequence[Array | None] | None,
    *,
    activation: str,
    loss: str,
    label_smoothing: float = 0.0,
    l1: float = 0.0,
    l2: float = 0.0,
) -> float:
    """Returns J, the mean loss of the batch with its penalties; the arguments are those of `gradients`.

    Quadratic: J = (1/m) Σ ½ ‖σ(z) - y‖².  Cross-entropy: J = -(1/m) Σ_examples Σ_c q_c log softmax(z)_c, with
    log softmax(z)_c = z_c - log Σ exp(z), finite wherever the logits are.  Both plus l1 Σ|w| + l2 ½ Σ w².
    """
    Z, _ = forward(images, kernels, biases, activation)
    logits = Z[len(kernels)]
    return _mean_loss(logits, _targets(labels, logits, loss, label_smoothing), loss) + _penalty(kernels, l1, l2)


def gradients(
    images: Array,
    labels: Ints,
    kernels: Sequence[Array],
    biases: Sequence[Array | None] | None,
    *,
    activation: str,
    loss: str,
    label_smoothing: float = 0.0,
    l1: float = 0.0,
    l2: float = 0.0,
) -> Gradients:
    """Returns the loss and its gradient by every kernel and bias: the formulas at the head of this module.

    Args:
        images: float64 `[m, pixels]`, in [0, 1] for pictures.
        labels: integers `[m]`, 0 to classes - 1.
        kernels: float64 `[inputs, units]`, one per layer; a single one is softmax regression.
        biases: float64 `[units]` or None, one per layer; None for no biases at all.
        activation: `relu`, `sigmoid` or `tanh`, after each layer but the last.
        loss: `quadratic`, ½ ‖σ(z) - y‖²; or `cross_entropy` of softmax(z); z the logits.
        label_smoothing: ε in [0, 1), of cross_entropy: Q = (1 - ε) onehot + ε / classes.
        l1: weight of Σ|w| over all kernels; |w| has no derivative at 0, where it is taken to be 0.
        l2: weight of ½ Σ w² over all kernels.

    Raises:
        InputError: an unknown activation or loss, or shapes, labels or a smoothing that do not fit.
    """
    Z, A = forward(images, kernels, biases, activation)
    W = {l: np.asarray(kernel, np.float64).T for l, kernel in enumerate(kernels, start=1)}
    _, f_slope = ACTIVATIONS[activation]
    L, m = len(W), len(images)
    Q = _targets(labels, Z[L], loss, label_smoothing)
    delta: dict[int, Array] = {}
    dW: dict[int, Array] = {}
    db: dict[int, Array] = {}

    if loss == "quadratic":
        A[L] = sigmoid(Z[L])
        delta[L] = 1 / m * (A[L] - Q) * sigmoid_slope(Z[L])  #     δ_L = (1/m) (A_L − Y) ⊙ σ′(Z_L); Q is Y here
    else:
        A[L] = softmax(Z[L])
        delta[L] = 1 / m * (A[L] - Q)  #                           δ_L = (1/m) (A_L − Q)
    for l in range(L - 1, 0, -1):
        delta[l] = (W[l + 1].T @ delta[l + 1]) * f_slope(Z[l])  #  δ_l = (W_{l+1}ᵀ δ_{l+1}) ⊙ f′(Z_l)
    for l in range(1, L + 1):
        dW[l] = delta[l] @ A[l - 1].T  #                           ∂J/∂W_l = δ_l A_{l-1}ᵀ
        dW[l] += l1 * np.sign(W[l]) + l2 * W[l]  #                           + l1 sign(W_l) + l2 W_l, of the penalties
        db[l] = delta[l].sum(axis=1)  #                            ∂J/∂b_l = Σ over the batch of δ_l

    given = [None] * L if biases is None else biases
    return Gradients(
        loss=_mean_loss(Z[L], Q, loss) + _penalty(kernels, l1, l2),
        kernels=[slope.T for slope in dW.values()],
        biases=[None if bias is None else slope for bias, slope in zip(given, db.values())],
    )


def central_differences(
    function: Callable[[Array], float], array: Array, places: Sequence[int] | Ints, step: float
) -> Array:
    """(f(x + h) - f(x - h)) / 2h for chosen entries of an array: their derivatives, but for a term in h² and rounding.

    Args:
        function: takes a float64 array of the shape of `array`; called with x + h, then x - h, for each entry.
        array: x, float64 of any shape; it is not changed.
        places: flat indices of the entries, in C order.
        step: h; for sums of float64 numbers near 1, about 1e-5 (W. Press et al., "Numerical Recipes", section 5.7).

    Returns:
        float64 `[places]`.
    """
    slopes = np.zeros(len(places))
    for number, index in enumerate(places):
        values: list[float] = []
        for h in (step, -step):
            moved = np.array(array, np.float64, order="C")
            moved.reshape(-1)[index] += h
            values.append(function(moved))
        slopes[number] = (values[0] - values[1]) / (2 * step)
    return slopes


def _mean_loss(logits: Array, Q: Array, loss: str) -> float:
    m = logits.shape[1]
    if loss == "quadratic":
        return float(0.5 * np.square(sigmoid(logits) - Q).sum() / m)
    shifted = logits - logits.max(axis=0)
    log_softmax = shifted - np.log(np.exp(shifted).sum(axis=0))
    return float(-(Q * log_softmax).sum() / m)


def _penalty(kernels: Sequence[Array], l1: float, l2: float) -> float:
    total = l1 * sum(float(np.abs(kernel).sum()) for kernel in kernels) if l1 else 0.0
    if l2:  # 0 times a sum that overflowed would be NaN
        total += 0.5 * l2 * sum(float(np.square(kernel).sum()) for kernel in kernels)
    return total


def _targets(labels: Ints, logits: Array, loss: str, label_smoothing: float) -> Array:
    """Returns Q, float64 `[classes, m]`, after checking labels and loss; without smoothing it is Y."""
    classes, m = logits.shape
    if loss not in LOSSES:
        raise InputError(f"loss {loss!r}: the formulas are written out for {' and '.join(LOSSES)}; use one of them.")
    _check_shape("labels", labels, [m], "one per image")
    for label in np.asarray(labels).tolist():
        if not isinstance(label, int) or not 0 <= label < classes:
            raise InputError(f"label {label} does not fit {classes} classes: expected integers, 0 to {classes - 1}.")
    if not 0 <= label_smoothing < 1 or (label_smoothing and loss == "quadratic"):
        expected = "0 for the quadratic loss" if loss == "quadratic" else "0 or more, and less than 1"
        raise InputError(f"label_smoothing is {label_smoothing}: expected {expected}.")
    return (1 - label_smoothing) * np.eye(classes)[:, labels] + label_smoothing / classes


def _columns(
    images: Array, kernels: Sequence[Array], biases: Sequence[Array | None]
) -> tuple[dict[int, Array], dict[int, Array]]:
    """Returns W, `[units, inputs]`, and b, `[units, 1]`, by the number of the layer, after checking that all fits."""
    if np.ndim(images) != 2 or not len(images):
        remedy = "for pictures, use images.reshape(len(images), -1) / 255"
        raise InputError(f"images have shape {list(np.shape(images))}: expected [m, pixels], m at least 1; {remedy}.")
    if not kernels or len(biases) != len(kernels):
        remedy = "give one kernel per layer, at least that of the logits, and as many biases or None"
        raise InputError(f"there are {len(kernels)} kernels and {len(biases)} biases: {remedy}.")
    W: dict[int, Array] = {}
    b: dict[int, Array] = {}
    inputs = images.shape[1]
    for l, (kernel, bias) in enumerate(zip(kernels, biases), start=1):
        units = np.atleast_1d(kernel).shape[-1]
        hint = f"one row per {'pixel' if l == 1 else f'unit of kernel {l - 1}'}; transpose it if it is [units, inputs]"
        _check_shape(f"kernel {l}", kernel, [inputs, units], hint)
        bias = np.zeros(units) if bias is None else bias
        _check_shape(f"bias {l}", bias, [units], "one per unit of its kernel")
        W[l], b[l] = np.asarray(kernel, np.float64).T, np.asarray(bias, np.float64)[:, np.newaxis]
        inputs = units
    return W, b


def _check_shape(name: str, array: Array | Ints, expected: list[int], hint: str) -> None:
    if list(np.shape(array)) != expected:
        raise InputError(f"{name}: shape {list(np.shape(array))}, expected {expected}, {hint}.")
