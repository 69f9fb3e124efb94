"""Compares three gradients: by the tape, by the formulas of `tfmnist.backprop`, and by central differences.

All are computed in float64, on a copy of the network, so that they differ by rounding alone.
"""

from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfmnist import seeds
from tfmnist.backprop import formulas as backprop
from tfmnist.errors import InputError
from tfmnist.nn.layers import ACTIVATIONS, Activation, Dense, Flatten
from tfmnist.nn.losses import find_loss
from tfmnist.nn.models import MLP, Network, to_unit
from tfmnist.recipe import Loss

Array = NDArray[np.float64]

STEP = 2.0**-15
"""h of the differences. Their error is h² |J‴| / 6 from truncating the series and about ε |J| / h from rounding J, with
ε = 2⁻⁵² in float64. The two are equal near h = ε^⅓, 6e-6, if J and its derivatives are near 1; a network's gradients
are smaller than its loss, so h is a few times that; and a power of two, so that w ± h is hardly rounded."""


@dataclass(frozen=True)
class Entry:
    """One entry of a gradient, computed three times; `index` is its index in the variable."""

    index: tuple[int, ...]
    tape: float
    formula: float
    difference: float


@dataclass(frozen=True)
class Comparison:
    """How far apart the three gradients of one variable are.

    All distances are relative: the largest |a - b| over the entries, divided by `largest`, unless that is 0. A single
    entry may be 0, so it cannot be the measure.
    """

    name: str  # such as dense_1/kernel
    shape: tuple[int, ...]
    largest: float  # the largest absolute entry of the gradient, by tape or formula
    tape_formula: float  # distance of tape and formula, over all entries
    checked: int  # number of sampled entries compared with central differences
    kinks: int  # number of those left out: between -h and +h a ReLU switches, or a weight under l1 changes its sign
    tape_difference: float  # distance of tape and central difference, over the entries checked; NaN if there are none
    formula_difference: float  # distance of formula and central difference, likewise
    resolution: float  # the least distance that differences resolve, ε |J| / h; large if the gradient nearly vanishes
    entry: Entry | None  # the checked entry whose gradient is largest; None if none was checked


def check_gradients(
    model: Network,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    loss: Loss,
    *,
    samples: int = 50,
    seed: int = 0,
) -> list[Comparison]:
    """Compares the gradients of one batch, variable by variable, frozen ones too.

    Args:
        model: dense layers with relu, sigmoid or tanh between them, no batch normalisation, no dropout; not changed.
        images: uint8 `[m, height, width]`, m at least 1.
        labels: int64 `[m]`, 0 to classes - 1.
        loss: kind, smoothing and penalties.
        samples: number of entries per variable to compare with central differences, at least 1. The largest of its
            gradient is always one of them; each takes two forward passes.
        seed: decides which others.

    Returns:
        One comparison per variable, in the order of the layers.

    Raises:
        InputError: the formulas do not cover the model, its weights are not finite, or the batch does not fit it.
    """
    activation = _check_model(model)
    shape = [len(images), *model.image_shape]
    if images.dtype != np.uint8 or list(images.shape) != shape or not len(images):
        raise InputError(
            f"images are {images.dtype} {list(images.shape)}: expected uint8 [m, {shape[1]}, {shape[2]}], m at least "
            "1; give them as they are stored."
        )
    if samples < 1:
        raise InputError(f"samples is {samples}: expected at least 1 entry of each variable.")
    twin = _float64_twin(model, activation)
    pixels = to_unit(tf.constant(images), tf.float64)
    rows = pixels.numpy().reshape(len(images), -1)
    by_formula = _by_formula(twin, rows, labels, loss, activation)
    variables = twin.named_variables()
    kernels = [variable for variable in variables.values() if variable.shape.rank == 2]
    objective = find_loss(loss.kind, loss.label_smoothing, loss.l1, loss.l2)

    def forward_loss() -> tf.Tensor:
        logits = twin.forward(pixels, training=True)
        return objective.mean(logits, tf.constant(labels), kernels)

    with tf.GradientTape() as tape:
        value = forward_loss()
    by_tape: Any = tape.gradient(value, variables)

    def compare(name: str, variable: tf.Variable) -> Comparison:
        gradient, formula, weights = by_tape[name].numpy(), by_formula[name], variable.numpy()
        patterns: list[NDArray[np.bool_]] = []

        def loss_at(array: Array) -> float:
            variable.assign(array)
            patterns.append(_relu_pattern(twin, rows, activation))
            return float(forward_loss())

        sampled = _sample(gradient, samples, seeds.key(seed, f"gradient_check/{name}"))
        differences = backprop.central_differences(loss_at, weights, sampled, STEP)
        variable.assign(weights)

        above, below = np.array(patterns[0::2]), np.array(patterns[1::2])  # at + h and at - h
        smooth = (above == below).all(axis=1)
        if loss.l1 and weights.ndim == 2:
            smooth &= np.abs(weights.ravel()[sampled]) > STEP
        checked, differences = sampled[smooth], differences[smooth]
        tapes, formulas = gradient.ravel()[checked], formula.ravel()[checked]
        largest = float(max(np.abs(gradient).max(), np.abs(formula).max()))

        def distance(a: Array, b: Array) -> float:
            return float(np.abs(a - b).max()) / (largest or 1.0) if len(a) else nan

        entry = None
        if len(checked):
            i = int(np.abs(tapes).argmax())
            index = tuple(int(n) for n in np.unravel_index(checked[i], weights.shape))
            entry = Entry(index, float(tapes[i]), float(formulas[i]), float(differences[i]))
        return Comparison(
            name=name,
            shape=weights.shape,
            largest=largest,
            tape_formula=distance(gradient, formula),
            checked=len(checked),
            kinks=len(sampled) - len(checked),
            tape_difference=distance(tapes, differences),
            formula_difference=distance(formulas, differences),
            resolution=2.0**-52 * abs(float(value)) / STEP / (largest or 1.0),
            entry=entry,
        )

    return [compare(name, variable) for name, variable in variables.items()]


def _by_formula(
    model: Network, rows: Array, labels: NDArray[np.int64], loss: Loss, activation: str
) -> dict[str, Array]:
    kind = loss.kind.removeprefix("naive_")  # the same function, and so the same derivative
    options: Any = loss.model_dump(include={"label_smoothing", "l1", "l2"})
    gradients = backprop.gradients(rows, labels, *_weights(model), activation=activation, loss=kind, **options)
    pairs = zip(gradients.kernels, gradients.biases)
    return dict(zip(model.named_variables(), (slope for pair in pairs for slope in pair if slope is not None)))


def _relu_pattern(model: Network, rows: Array, activation: str) -> NDArray[np.bool_]:
    """Returns which ReLUs are on, bool `[units x m of all hidden layers]`; empty for other activations."""
    Z, _ = backprop.forward(rows, *_weights(model), activation)
    hidden = list(Z.values())[:-1] if activation == "relu" else []
    return np.concatenate([np.zeros(0, np.bool_), *(z.ravel() > 0 for z in hidden)])


def _weights(model: Network) -> tuple[list[Array], list[Array | None]]:
    """Returns kernels and biases as the formulas take them."""
    dense = [layer for layer in model.layers if isinstance(layer, Dense)]
    biases = [None if layer.bias is None else layer.bias.numpy() for layer in dense]
    return [layer.kernel.numpy() for layer in dense], biases


def _float64_twin(model: Network, activation: str) -> MLP:
    """Returns an equal network with float64 variables: a cast to float32 would round the gradient."""
    hidden = [layer.output_shape[0] for layer in model.layers[1:-1] if isinstance(layer, Dense)]
    twin = MLP(model.image_shape, hidden, model.classes, activation=activation, initializer="zeros")
    for layer, original in zip(twin.layers, model.layers, strict=True):
        if isinstance(layer, Dense) and isinstance(original, Dense):
            layer.kernel = tf.Variable(tf.cast(original.kernel, tf.float64), name=f"{layer.name}/kernel")
            layer.bias = original.bias
            if original.bias is not None:
                layer.bias = tf.Variable(tf.cast(original.bias, tf.float64), name=f"{layer.name}/bias")
    return twin


def _sample(gradient: Array, samples: int, key: int) -> NDArray[np.int64]:
    """Returns distinct flat indices: that of the largest entry, and others drawn by the key."""
    largest = int(np.abs(gradient).argmax())
    order = np.argsort(np.random.Philox(key=[key, 0]).random_raw(gradient.size), kind="stable")
    return np.concatenate([[largest], order[order != largest]])[:samples]


def _check_model(model: Network) -> str:
    """Returns the activation of a model that the formulas cover, and raises an `InputError` for others."""
    names = {function: name for name, function in ACTIVATIONS.items() if name in backprop.ACTIVATIONS}
    activations = {names.get(layer.function) for layer in model.layers if isinstance(layer, Activation)} or {"relu"}
    kinds, layers = [type(layer) for layer in model.layers], ", ".join(layer.name for layer in model.layers)
    expected = [Flatten, *[Dense, Activation] * (len(kinds) // 2 - 1), Dense]
    activation = activations.pop()
    if type(model) is not MLP or kinds != expected or activations or activation is None:
        raise InputError(
            f"the model is a {type(model).__name__} of {layers}: the formulas cover an MLP with one of "
            f"{', '.join(backprop.ACTIVATIONS)}, no batch normalisation, no dropout; choose such a model."
        )
    for name, variable in model.named_variables().items():
        if not np.isfinite(variable.numpy()).all():
            raise InputError(f"variable {name} is not finite everywhere: expected finite weights; check earlier ones.")
    return activation
