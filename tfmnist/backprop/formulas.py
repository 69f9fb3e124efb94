"""Back-propagation written out: the gradient of a network of dense layers in NumPy, each line beside its formula.

Nothing here trains a model: the package differentiates on the tape, and `tfmnist.backprop.check` holds the
tape against these formulas. They are those of a textbook, for a mini-batch of m examples as the m columns of A_0:

    Z_l = W_l A_{l-1} + b_l                      l = 1 ... L, the layers
    A_l = f(Z_l)                                 l < L, f the activation; A_L = σ(Z_L) or softmax(Z_L)

    δ_L = (1/m) (A_L − Y) ⊙ σ′(Z_L)              quadratic cost of sigmoid outputs, Y the one-hot labels
    δ_L = (1/m) (A_L − Q)                        cross-entropy of softmax, Q the smoothed one-hot labels
    δ_l = (W_{l+1}ᵀ δ_{l+1}) ⊙ f′(Z_l)           back through a layer
    ∂J/∂W_l = δ_l A_{l-1}ᵀ
    ∂J/∂b_l = Σ over the batch of δ_l

⊙ multiplies elementwise. δ_l is ∂J/∂Z_l, J the mean cost of the batch. The 1/m comes in once, at δ_L: repeated at every
layer, as in one published tutorial, it would make the gradient smaller by another factor m with each layer down.

Source: M. Nielsen, "Neural Networks and Deep Learning" (2015), chapter 2, BP1 to BP4, here for a whole batch at once;
the error of softmax with cross-entropy: C. Bishop, "Pattern Recognition and Machine Learning" (2006), eq. 4.109.

Layout: the package keeps examples as rows, x W + b with kernels `[inputs, units]`, and so do the arguments here and the
gradients returned. The formulas have columns: A_0 = imagesᵀ `[pixels, m]`, W_l = kernelᵀ `[units, inputs]`, b_l
`[units, 1]`, and Z_l, A_l, δ_l `[units, m]`. What goes in and what comes out is transposed; between, all is as printed.
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
    """The loss of a batch, and its gradient in the layout of the arguments.

    Attributes:
        loss: the mean loss of the batch, penalties included.
        kernels: float64 `[inputs, units]`, one a layer.
        biases: float64 `[units]`, one a layer; None where the layer has none.
    """

    loss: float
    kernels: list[Array]
    biases: list[Array | None]


# Functions and their derivatives, elementwise


def sigmoid(z: Array) -> Array:
    """σ(z) = 1 / (1 + exp(-z)), from exp(-|z|), which never overflows.

    Example:
        >>> sigmoid(np.array([-1000.0, 0.0, 1000.0])).tolist()
        [0.0, 0.5, 1.0]
    """
    small = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, small) / (1.0 + small)


def sigmoid_slope(z: Array) -> Array:
    """σ′(z) = σ(z) (1 - σ(z)); 1 - σ(z) = σ(-z) keeps the digits that the subtraction would lose.

    Example:
        >>> sigmoid_slope(np.array([-1000.0, 0.0, 1000.0])).tolist()
        [0.0, 0.25, 0.0]
    """
    return sigmoid(z) * sigmoid(-z)


def tanh(z: Array) -> Array:
    """tanh(z)."""
    return np.tanh(z)


def tanh_slope(z: Array) -> Array:
    """tanh′(z) = 1 - tanh²(z).

    Example:
        >>> tanh_slope(np.array([-1000.0, 0.0, 1000.0])).tolist()
        [0.0, 1.0, 0.0]
    """
    return 1.0 - np.tanh(z) ** 2


def relu(z: Array) -> Array:
    """max(z, 0)."""
    return np.maximum(z, 0.0)


def relu_slope(z: Array) -> Array:
    """relu′(z) = 1 where z > 0, else 0; there is no derivative at 0, and TensorFlow too takes 0 there.

    Example:
        >>> relu_slope(np.array([-2.0, 0.0, 2.0])).tolist()
        [0.0, 0.0, 1.0]
    """
    return np.where(z > 0, 1.0, 0.0)


ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "relu": (relu, relu_slope),
    "sigmoid": (sigmoid, sigmoid_slope),
    "tanh": (tanh, tanh_slope),
}


def softmax(z: Array) -> Array:
    """exp(z) / Σ exp(z) over the classes, which are the rows; the largest is subtracted first, so nothing overflows.

    Args:
        z: float64 `[classes, m]`.

    Example:
        >>> softmax(np.array([[1000.0], [1000.0], [-1000.0]])).tolist()
        [[0.5], [0.5], [0.0]]
    """
    powers = np.exp(z - z.max(axis=0))
    return powers / powers.sum(axis=0)


# The network, forward and back


def forward(
    images: Array, kernels: Sequence[Array], biases: Sequence[Array | None] | None, activation: str
) -> tuple[dict[int, Array], dict[int, Array]]:
    """Z_l = W_l A_{l-1} + b_l;  A_l = f(Z_l) for all layers but the last, whose function depends on the loss.

    Args:
        images: float64 `[m, pixels]`, in [0, 1] for pictures.
        kernels: float64 `[inputs, units]`, one a layer.
        biases: float64 `[units]` or None, one a layer; None for no biases at all.
        activation: `relu`, `sigmoid` or `tanh`.

    Returns:
        Z and A by the number of the layer, float64 `[units, m]`, columns as in the formulas: Z of 1 to L, Z[L] the
        logits; A of 0 to L - 1, A[0] the images.

    Raises:
        InputError: an unknown activation, or shapes that do not fit.

    Example:
        >>> Z, A = forward(np.array([[1.0, 2.0]]), [np.array([[3.0], [-4.0]]), np.array([[1.0, 2.0]])], None, "relu")
        >>> Z[1].tolist(), A[1].tolist(), Z[2].tolist()
        ([[-5.0]], [[0.0]], [[0.0], [0.0]])
    """
    f, _ = _activation(activation)
    W, b = _columns(images, kernels, biases)
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

    Example:
        >>> kernels = [np.zeros((2, 4))]
        >>> loss(np.ones((3, 2)), np.array([0, 1, 2]), kernels, None, activation="tanh", loss="cross_entropy")  # log 4
        1.3862943611198906
    """
    Z, _ = forward(images, kernels, biases, activation)
    logits = Z[len(kernels)]
    Q = _targets(labels, logits, loss, label_smoothing)
    return _mean_loss(logits, Q, loss) + _penalty(kernels, l1, l2)


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
        kernels: float64 `[inputs, units]`, one a layer; a single one is softmax regression.
        biases: float64 `[units]` or None, one a layer; None for no biases at all.
        activation: `relu`, `sigmoid` or `tanh`, after each layer but the last.
        loss: `quadratic`, ½ ‖σ(z) - y‖²; or `cross_entropy` of softmax(z); z the logits.
        label_smoothing: ε in [0, 1), of cross_entropy: Q = (1 - ε) onehot + ε / classes.
        l1: weight of Σ|w| over all kernels; |w| has no derivative at 0, where 0 is taken.
        l2: weight of ½ Σ w² over all kernels.

    Raises:
        InputError: an unknown activation or loss, or shapes, labels or a smoothing that do not fit.

    Example:
        >>> images, labels = np.array([[4.0]]), np.array([1])
        >>> kernels, biases = [np.array([[0.0, 0.0]])], [np.array([0.0, 0.0])]
        >>> found = gradients(images, labels, kernels, biases, activation="relu", loss="cross_entropy")
        >>> found.kernels[0].tolist(), found.biases[0].tolist()
        ([[2.0, -2.0]], [0.5, -0.5])
    """
    _, f_slope = _activation(activation)
    W, _ = _columns(images, kernels, biases)
    Z, A = forward(images, kernels, biases, activation)
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
        function: takes a float64 array of the shape of `array`; called at x + h, then at x - h, place by place.
        array: x, float64 of any shape; it is not changed.
        places: flat indices of the entries, in C order.
        step: h; for sums of float64 numbers near 1, about 1e-5 (W. Press et al., "Numerical Recipes", section 5.7).

    Returns:
        float64 `[places]`.

    Example:
        >>> slopes = central_differences(lambda x: float(x[0] ** 2 + 3 * x[1]), np.array([5.0, 7.0]), [0, 1], 2**-10)
        >>> slopes.tolist()
        [10.0, 3.0]
    """
    found: list[float] = []
    for place in places:
        values: list[float] = []
        for h in (step, -step):
            moved = np.array(array, np.float64, order="C")
            moved.reshape(-1)[place] += h
            values.append(function(moved))
        found.append((values[0] - values[1]) / (2 * step))
    return np.array(found, np.float64)


def _mean_loss(logits: Array, Q: Array, loss: str) -> float:
    m = logits.shape[1]
    if loss == "quadratic":
        return float(0.5 * np.square(sigmoid(logits) - Q).sum() / m)
    shifted = logits - logits.max(axis=0)
    log_softmax = shifted - np.log(np.exp(shifted).sum(axis=0))
    return float(-(Q * log_softmax).sum() / m)


def _penalty(kernels: Sequence[Array], l1: float, l2: float) -> float:
    total = 0.0
    for kernel in kernels:
        if l1:
            total += l1 * float(np.abs(kernel).sum())
        if l2:  # 0 times a sum that overflowed would be NaN
            total += 0.5 * l2 * float(np.square(kernel).sum())
    return total


def _targets(labels: Ints, logits: Array, loss: str, label_smoothing: float) -> Array:
    """Returns Q, float64 `[classes, m]`; without smoothing it is Y, the one-hot labels."""
    if loss not in LOSSES:
        raise InputError(f"loss {loss!r}: the formulas are written out for {' and '.join(LOSSES)}; use one of them.")
    classes, m = logits.shape
    if np.shape(labels) != (m,):
        raise InputError(f"labels have shape {list(np.shape(labels))}: expected [{m}], one for each image.")
    for label in np.asarray(labels).tolist():
        if not isinstance(label, int) or not 0 <= label < classes:
            raise InputError(f"label {label} does not fit {classes} classes: expected integers, 0 to {classes - 1}.")
    if not 0 <= label_smoothing < 1 or (label_smoothing and loss == "quadratic"):
        expected = "0 for the quadratic loss" if loss == "quadratic" else "0 or more, and less than 1"
        raise InputError(f"label_smoothing is {label_smoothing}: expected {expected}.")
    onehot = np.eye(classes)[:, labels]
    return (1 - label_smoothing) * onehot + label_smoothing / classes


def _activation(name: str) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    if name not in ACTIVATIONS:
        raise InputError(
            f"activation {name!r}: the formulas are written out for {', '.join(ACTIVATIONS)}"
            f"{did_you_mean(name, ACTIVATIONS) if name != 'gelu' else '; use one of them.'}"
        )
    return ACTIVATIONS[name]


def _columns(
    images: Array, kernels: Sequence[Array], biases: Sequence[Array | None] | None
) -> tuple[dict[int, Array], dict[int, Array]]:
    """Returns W, `[units, inputs]`, and b, `[units, 1]`, by the number of the layer, after checking that all fits."""
    if np.ndim(images) != 2 or not len(images):
        raise InputError(
            f"images have shape {list(np.shape(images))}: expected [m, pixels], m at least 1; "
            "for pictures, use images.reshape(len(images), -1) / 255."
        )
    if not kernels:
        raise InputError("kernels is empty: expected at least one, of the layer of logits.")
    if biases is None:
        biases = [None] * len(kernels)
    if len(biases) != len(kernels):
        raise InputError(f"{len(biases)} biases for {len(kernels)} kernels: give one for each, or None where none is.")
    W: dict[int, Array] = {}
    b: dict[int, Array] = {}
    inputs, giver = images.shape[1], "the pixels"
    for number, (kernel, bias) in enumerate(zip(kernels, biases), start=1):
        if np.ndim(kernel) != 2 or len(kernel) != inputs:
            raise InputError(
                f"kernel {number} has shape {list(np.shape(kernel))}: expected [{inputs}, units], one row for each of "
                f"{giver}; transpose it if it is [units, inputs]."
            )
        units = kernel.shape[1]
        if bias is not None and np.shape(bias) != (units,):
            raise InputError(
                f"bias {number} has shape {list(np.shape(bias))}: expected [{units}], one for each unit of its kernel."
            )
        W[number] = np.asarray(kernel, np.float64).T
        b[number] = np.zeros((units, 1)) if bias is None else np.asarray(bias, np.float64)[:, np.newaxis]
        inputs, giver = units, f"the units of kernel {number}"
    return W, b
