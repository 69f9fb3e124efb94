"""The gradient three times over: by the tape, by the formulas of `tfmnist.backprop`, and by central differences.

All in float64, on a copy of the network, so that what is left between the three is rounding and not float32.
"""

from collections.abc import Callable
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
from tfmnist.nn.losses import LOSSES, penalty
from tfmnist.nn.models import MLP, Network, to_unit
from tfmnist.recipe import Loss

Array = NDArray[np.float64]

STEP = 2.0**-15
"""h of the differences. They are off by h² |J‴| / 6, their series being cut short, and by about ε |J| / h, J being
rounded, ε = 2⁻⁵² in float64. The two are equal near h = ε^⅓, 6e-6, where J and its derivatives are near 1; a network's
gradients are smaller than its loss, so h is a few times that; and a power of two, so that w ± h is hardly rounded."""


@dataclass(frozen=True)
class Entry:
    """One entry of a gradient, three times over; place is its index in the variable."""

    place: tuple[int, ...]
    tape: float
    formula: float
    difference: float


@dataclass(frozen=True)
class Comparison:
    """How far apart the three gradients of one variable are.

    All distances are relative to the variable: the largest |a - b| over its entries, divided by `largest`; not divided
    where `largest` is 0, the gradient being zero altogether. A single entry may be 0, so it cannot be the measure.

    Attributes:
        name: of the variable, `dense_1/kernel`.
        shape: of the variable.
        largest: the largest absolute entry of the gradient, by tape or formula.
        tape_formula: distance of tape and formula, over all entries.
        checked: number of sampled entries held against central differences.
        kinks: number of sampled entries that were not, because something without a derivative is between -h and +h:
            a ReLU switches, or a weight under an l1 penalty changes its sign.
        tape_difference: distance of tape and central difference, over the entries checked; NaN where there are none.
        formula_difference: distance of formula and central difference, likewise.
        resolution: what differences can see at best, ε |J| / h, relative likewise. It is large where a gradient all but
            vanishes.
        entry: the entry checked whose gradient is largest; None where none was checked.
    """

    name: str
    shape: tuple[int, ...]
    largest: float
    tape_formula: float
    checked: int
    kinks: int
    tape_difference: float
    formula_difference: float
    resolution: float
    entry: Entry | None


def check_gradients(
    model: Network,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    loss: Loss,
    *,
    samples: int = 50,
    seed: int = 0,
) -> list[Comparison]:
    """Holds the gradients of one batch against each other, variable by variable, frozen ones too.

    Args:
        model: dense layers with relu, sigmoid or tanh between them, no batch normalisation, no dropout; left as it is.
        images: uint8 `[m, height, width]`, m at least 1.
        labels: int64 `[m]`, 0 to classes - 1.
        loss: which loss, smoothing and penalties.
        samples: how many entries of each variable to hold against central differences, at least 1. The largest of its
            gradient is always one of them; each takes two forward passes.
        seed: decides the others.

    Returns:
        One comparison a variable, in the order of the layers.

    Raises:
        InputError: the formulas do not cover the model, its weights are not finite, or the batch does not fit it.

    Example:
        >>> images, labels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4), np.array([0, 2])
        >>> rows = check_gradients(MLP((3, 4), [5], 3, activation="tanh"), images, labels, Loss(l2=0.01))
        >>> [row.name for row in rows]
        ['dense_1/kernel', 'dense_1/bias', 'logits/kernel', 'logits/bias']
        >>> all(row.tape_formula < 1e-12 and row.tape_difference < 1e-6 for row in rows)
        True
    """
    activation = _check_model(model)
    _check_batch(model, images, labels)
    if samples < 1:
        raise InputError(f"samples is {samples}: expected at least 1 entry of each variable.")
    twin = _float64_twin(model, activation)
    pixels, patterns = to_unit(tf.constant(images), tf.float64), _record_patterns(twin, activation)
    by_tape, value = _by_tape(twin, pixels, labels, loss)
    by_formula = _by_formula(twin, pixels, labels, loss, activation)

    def comparison(name: str, variable: tf.Variable) -> Comparison:
        tape, formula, weights = by_tape[name], by_formula[name], variable.numpy()
        seen: list[list[NDArray[np.bool_]]] = []

        def loss_at(array: Array) -> float:
            patterns.clear()
            variable.assign(array)
            found = float(_loss(twin, pixels, labels, loss))
            seen.append([*patterns])
            return found

        places = _choose(tape, samples, seeds.key(seed, f"gradient_check/{name}"))
        differences = backprop.central_differences(loss_at, weights, places, STEP)
        variable.assign(weights)

        sides = zip(seen[0::2], seen[1::2])  # at + h and at - h
        smooth = np.array([all(map(np.array_equal, above, below)) for above, below in sides])
        if loss.l1 and weights.ndim == 2:
            smooth &= np.abs(weights.ravel()[places]) > STEP
        checked, differences = places[smooth], differences[smooth]
        tapes, formulas = tape.ravel()[checked], formula.ravel()[checked]
        largest = float(max(np.abs(tape).max(), np.abs(formula).max()))

        def distance(a: Array, b: Array) -> float:
            return float(np.abs(a - b).max()) / (largest or 1.0) if len(a) else nan

        entry = None
        if len(checked):
            i = int(np.abs(tapes).argmax())
            place = tuple(int(n) for n in np.unravel_index(checked[i], weights.shape))
            entry = Entry(place, float(tapes[i]), float(formulas[i]), float(differences[i]))
        return Comparison(
            name=name,
            shape=weights.shape,
            largest=largest,
            tape_formula=distance(tape, formula),
            checked=len(checked),
            kinks=len(places) - len(checked),
            tape_difference=distance(tapes, differences),
            formula_difference=distance(formulas, differences),
            resolution=2.0**-52 * abs(value) / STEP / (largest or 1.0),
            entry=entry,
        )

    return [comparison(name, variable) for name, variable in twin.named_variables().items()]


def _loss(model: Network, pixels: tf.Tensor, labels: NDArray[np.int64], loss: Loss) -> tf.Tensor:
    """As in `tfmnist.training.step.train_step`."""
    options = {"label_smoothing": loss.label_smoothing} if loss.kind == "cross_entropy" else {}
    logits = model.forward(pixels, training=True)
    value = tf.reduce_mean(LOSSES[loss.kind](logits, tf.constant(labels), **options))
    kernels = [variable for variable in model.named_variables().values() if variable.shape.rank == 2]
    return value + penalty(kernels, loss.l1, loss.l2)


def _by_tape(
    model: Network, pixels: tf.Tensor, labels: NDArray[np.int64], loss: Loss
) -> tuple[dict[str, Array], float]:
    """Returns the gradients by name, and the loss."""
    variables = model.named_variables()
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(list(variables.values()))
        value = _loss(model, pixels, labels, loss)
    found: Any = tape.gradient(value, variables)
    return {name: gradient.numpy() for name, gradient in found.items()}, float(value)


def _by_formula(
    model: Network, pixels: tf.Tensor, labels: NDArray[np.int64], loss: Loss, activation: str
) -> dict[str, Array]:
    dense = [layer for layer in model.layers if isinstance(layer, Dense)]
    found = backprop.gradients(
        tf.reshape(pixels, [len(labels), -1]).numpy(),
        labels,
        [layer.kernel.numpy() for layer in dense],
        [None if layer.bias is None else layer.bias.numpy() for layer in dense],
        activation=activation,
        loss=loss.kind.removeprefix("naive_"),  # the same function, and so the same derivative
        label_smoothing=loss.label_smoothing,
        l1=loss.l1,
        l2=loss.l2,
    )
    named: dict[str, Array] = {}
    for layer, kernel, bias in zip(dense, found.kernels, found.biases, strict=True):
        named[f"{layer.name}/kernel"] = kernel
        if bias is not None:
            named[f"{layer.name}/bias"] = bias
    return named


def _float64_twin(model: Network, activation: str) -> MLP:
    """Another network of the same layers, its variables float64: a gradient through a cast would be rounded by it."""
    hidden = [layer.output_shape[0] for layer in model.layers[1:-1] if isinstance(layer, Dense)]
    twin = MLP(model.image_shape, hidden, model.classes, activation=activation, initializer="zeros")
    for ours, theirs in zip(twin.layers, model.layers, strict=True):
        if isinstance(ours, Dense) and isinstance(theirs, Dense):
            ours.kernel = tf.Variable(tf.cast(theirs.kernel, tf.float64), name=f"{ours.name}/kernel")
            ours.bias = theirs.bias
            if theirs.bias is not None:
                ours.bias = tf.Variable(tf.cast(theirs.bias, tf.float64), name=f"{ours.name}/bias")
    return twin


def _record_patterns(model: MLP, activation: str) -> list[NDArray[np.bool_]]:
    """Returns a list that every forward pass appends to: for each ReLU layer, which of its units are on."""
    patterns: list[NDArray[np.bool_]] = []

    def recorded(function: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[tf.Tensor], tf.Tensor]:
        def record(x: tf.Tensor) -> tf.Tensor:
            patterns.append((x > 0).numpy())
            return function(x)

        return record

    for layer in model.layers:
        if isinstance(layer, Activation) and activation == "relu":
            layer.function = recorded(layer.function)
    return patterns


def _choose(gradient: Array, samples: int, key: int) -> NDArray[np.int64]:
    """Returns flat places, no two alike: that of the largest entry, and others drawn by the key."""
    largest = int(np.abs(gradient).argmax())
    order = np.argsort(np.random.Philox(key=[key, 0]).random_raw(gradient.size), kind="stable")
    return np.concatenate([[largest], order[order != largest]])[:samples]


def _check_model(model: Network) -> str:
    """Returns the activation of a model that the formulas cover."""
    covered = f"the formulas cover an MLP with {', '.join(backprop.ACTIVATIONS)}, no batch normalisation, no dropout"
    if type(model) is not MLP:
        raise InputError(f"model is a {type(model).__name__}: {covered}; check one of those.")
    names = {function: name for name, function in ACTIVATIONS.items() if name in backprop.ACTIVATIONS}
    activations: set[str] = set()
    for layer in model.layers:
        if isinstance(layer, Activation) and layer.function in names:
            activations.add(names[layer.function])
        elif not isinstance(layer, Flatten | Dense):
            raise InputError(f"model has the layer {layer.name}: {covered}; check one of those.")
    kinds = [type(layer) for layer in model.layers]
    if len(activations) > 1 or kinds != [Flatten, *[Dense, Activation] * (len(kinds) // 2 - 1), Dense]:
        raise InputError(f"model's layers are not as tfmnist.MLP makes them: {covered}; check one of those.")
    for name, variable in model.named_variables().items():
        if not np.isfinite(variable.numpy()).all():
            raise InputError(f"variable {name} is not finite everywhere: expected finite weights; check earlier ones.")
    return activations.pop() if activations else "relu"


def _check_batch(model: Network, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
    height, width = model.image_shape
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (height, width) or not len(images):
        raise InputError(
            f"images are {images.dtype} {list(images.shape)}: expected uint8 [m, {height}, {width}], m at least 1; "
            "give them as they are stored."
        )
    if labels.dtype.kind not in "iu" or labels.shape != (len(images),):
        raise InputError(
            f"labels are {labels.dtype} {list(labels.shape)}: expected integers [{len(images)}], one for each image."
        )
    beyond = labels[(labels < 0) | (labels >= model.classes)]
    if len(beyond):
        raise InputError(f"label {beyond[0]} is beyond the model's {model.classes} classes, 0 to {model.classes - 1}.")
