"""Folds a trained network into constants: what does not depend on the image is computed once, at export."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfmnist.nn.ensemble import Ensemble
from tfmnist.nn.layers import (
    Activation,
    AddChannel,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalPool,
    Noise,
    Pool,
)
from tfmnist.nn.models import Network, pool_before_activation

_STATELESS = (Activation, AddChannel, Flatten, GlobalPool, Pool)
_HOMOGENEOUS = (AddChannel, Flatten, GlobalPool, Pool)  # f(a x) = a f(x) for a > 0
_LARGEST = 2**30  # bytes of constants: a graph holds less than 2 GiB

Array = npt.NDArray[Any]
Function = Callable[[tf.Tensor], tf.Tensor]


@dataclass(eq=False)
class _Linear:
    """A dense layer, a convolution, or a scale per channel if `layer` is None; float64."""

    layer: Dense | Conv2D | None
    kernel: Array
    bias: Array | None

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        kernel = tf.constant(self.kernel, tf.float32)
        if isinstance(self.layer, Conv2D):
            x = tf.nn.conv2d(x, kernel, strides=self.layer.stride, padding=self.layer.padding)
        else:
            x = tf.matmul(x, kernel) if self.layer else x * kernel
        return x if self.bias is None else tf.nn.bias_add(x, tf.constant(self.bias, tf.float32))


def fold(network: Network) -> Function | None:
    """Returns a network's evaluation function, with the current values of its variables as constants.

    Batch normalisation becomes part of the layer before it, and the scaling of pixels part of the first kernel,
    computed in float64.

    Args:
        network: any network; only one that runs built-in layers in order, or an ensemble of such, can be folded.

    Returns:
        A function of pixels, float32 `[n, height, width]`, 0 to 255, that returns logits, float32 `[n, classes]`; None
        if the network computes something else, or its weights take over 1 GiB.
    """
    kinds = (Dense, Conv2D, BatchNorm, Dropout, Noise, *_STATELESS)
    if sum(4 * int(tf.size(variable)) for variable in network.named_variables().values()) > _LARGEST:
        return None
    if isinstance(network, Ensemble):
        members = [function for function in map(fold, network.members) if function]
        complete = len(members) == len(network.members)
        return (lambda pixels: network.combine([member(pixels) for member in members])) if complete else None
    if type(network).forward is not Network.forward or any(type(layer) not in kinds for layer in network.layers):
        return None
    steps: list[_Linear | Any] = []
    for layer in pool_before_activation(network.layers):
        if isinstance(layer, Dense | Conv2D):
            steps.append(_Linear(layer, _float64(layer.kernel), None if layer.bias is None else _float64(layer.bias)))
        elif isinstance(layer, BatchNorm):
            scale = _float64(layer.scale) / np.sqrt(_float64(layer.variance) + layer.epsilon)
            if not (steps and isinstance(steps[-1], _Linear)):
                steps.append(_Linear(None, np.ones_like(scale), None))
            last = steps[-1]
            bias = 0.0 if last.bias is None else last.bias
            last.kernel, last.bias = last.kernel * scale, (bias - _float64(layer.mean)) * scale + _float64(layer.offset)
        elif not isinstance(layer, Dropout | Noise):
            steps.append(layer)
    first = next((step for step in steps if not isinstance(step, _HOMOGENEOUS)), None)
    if not isinstance(first, _Linear):
        first = _Linear(None, np.ones(1), None)
        steps.insert(0, first)
    first.kernel = first.kernel / 255.0

    def logits(pixels: tf.Tensor) -> tf.Tensor:
        x = pixels
        for step in steps:
            x = step(x) if isinstance(step, _Linear) else step.forward(x, False, None)
        return x

    return logits


def _float64(variable: tf.Variable) -> Array:
    return variable.numpy().astype(np.float64)
