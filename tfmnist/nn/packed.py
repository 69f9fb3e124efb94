"""Many small dense networks as one: each variable has a leading axis, the networks, and one product serves them all.

Inside, examples are columns and kernels are `[networks, units, inputs]`, the transposes of `Dense`'s: where all
networks see the same images, the first layer of all of them is then one large product, forward and backward, which
fills a processor as the small ones cannot.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfmnist.nn.layers import Activation, BatchNorm, Dense, Dropout, Flatten, Layer, dropout_bits
from tfmnist.nn.models import Network

Forward = Callable[[tf.Tensor, bool, tf.Tensor | None], tf.Tensor]


class PackedNetwork(tf.Module):
    """Dense networks of one shape, side by side; they begin with the weights that the networks have.

    Args:
        models: `tfmnist.MLP`s with equal `image_shape`, widths, activation and classes.

    Example:
        >>> from tfmnist.nn.models import MLP
        >>> models = [MLP((2, 2), [3], 2, seed=seed) for seed in range(4)]
        >>> packed, images = PackedNetwork(models), tf.ones([5, 2, 2])
        >>> logits = packed.forward(images)
        >>> logits.shape.as_list(), bool(np.allclose(logits[3], models[3].forward(images), atol=1e-6))
        ([4, 5, 2], True)
    """

    def __init__(self, models: Sequence[Network]):
        super().__init__(name="packed")
        self.count = len(models)
        found = [model.named_variables() for model in models]
        self._variables = {
            name: tf.Variable(
                tf.constant(pack(name, [own[name].numpy() for own in found])), trainable=v.trainable, name=name
            )
            for name, v in found[0].items()
        }
        # what dropout takes as tensors, so that a compiled step serves other networks too
        self._numbers = {name: tf.Variable(v, trainable=False) for name, v in dropout_numbers(models).items()}
        self._forwards = [self._forward(layers) for layers in zip(*(model.layers for model in models), strict=True)]

    def forward(self, images: tf.Tensor, training: bool = False, step: tf.Tensor | None = None) -> tf.Tensor:
        """Returns the logits, float32 `[networks, batch, classes]`.

        Args:
            images: float `[batch, height, width]` in [0, 1], the same for all networks; or
                `[networks, batch, height, width]`, each its own.
            training: whether dropout drops, and batch normalisation uses (and moves) the batch's statistics.
            step: int64 scalar, the number of steps done; only dropout in training needs it.
        """
        x = images
        for forward in self._forwards[:-1]:
            x = forward(x, training, step)
        return tf.transpose(self._forwards[-1](tf.cast(x, tf.float32), training, step), [0, 2, 1])

    def named_variables(self) -> dict[str, tf.Variable]:
        """Returns all variables by name: kernels `[networks, units, inputs]`, others `[networks, units, 1]`."""
        return dict(self._variables)

    def numbers(self) -> dict[str, tf.Variable]:
        """Returns what else tells the networks apart: their dropout."""
        return dict(self._numbers)

    @property
    def parameters(self) -> list[tf.Variable]:
        """The variables that are trained, in the order of the layers."""
        return [variable for variable in self._variables.values() if variable.trainable]

    @property
    def kernels(self) -> list[tf.Variable]:
        """Those of them that are penalised and decay."""
        return [variable for name, variable in self._variables.items() if is_kernel(name)]

    def _forward(self, layers: tuple[Layer, ...]) -> Forward:
        """Returns the forward rule for one layer of each network."""
        first = layers[0]
        if isinstance(first, Dense):
            return lambda x, training, step: self._dense(first, x)
        if isinstance(first, BatchNorm):
            return lambda x, training, step: self._batch_norm(first, x, training)
        if isinstance(first, Dropout):
            key, least, scale = (self._numbers[f"{first.name}/{name}"] for name in ("key", "least", "scale"))
            return lambda x, training, step: _drop(key, least, scale, x, step) if training and step is not None else x
        assert isinstance(first, Flatten | Activation), first
        if isinstance(first, Flatten):
            return lambda x, training, step: tf.reshape(x, [*tf.unstack(tf.shape(x)[:-2]), *first.output_shape])
        return first.forward

    def _dense(self, layer: Dense, x: tf.Tensor) -> tf.Tensor:
        kernel = tf.cast(self._variables[f"{layer.name}/kernel"], x.dtype)
        _, units, inputs = kernel.shape
        if layer.name != self._first_dense():
            y = tf.matmul(kernel, x)
        elif x.shape.rank == 2:
            y = tf.matmul(tf.reshape(kernel, [-1, inputs]), x, transpose_b=True)
            y = tf.reshape(y, [self.count, units, -1])
        else:
            y = tf.matmul(kernel, x, transpose_b=True)
        return y if layer.bias is None else y + tf.cast(self._variables[f"{layer.name}/bias"], x.dtype)

    def _first_dense(self) -> str:
        return next(name for name in self._variables if is_kernel(name)).removesuffix("/kernel")

    def _batch_norm(self, layer: BatchNorm, x: tf.Tensor, training: bool) -> tf.Tensor:
        scale, offset, mean, variance = (
            self._variables[f"{layer.name}/{name}"] for name in ("scale", "offset", "mean", "variance")
        )
        values = tf.cast(x, tf.float32)
        if not training:
            return tf.cast((values - mean) * tf.math.rsqrt(variance + layer.epsilon) * scale + offset, x.dtype)
        own_mean, own_variance = tf.nn.moments(values, axes=[2], keepdims=True)
        count = tf.cast(tf.shape(x)[2], tf.float32)
        unbiased = own_variance * count / tf.maximum(count - 1.0, 1.0)
        mean.assign_sub((1.0 - layer.momentum) * (mean - own_mean))
        variance.assign_sub((1.0 - layer.momentum) * (variance - unbiased))
        y = (values - own_mean) * tf.math.rsqrt(own_variance + layer.epsilon) * scale + offset
        return tf.cast(y, x.dtype)


def dropout_numbers(models: Sequence[Network]) -> dict[str, tf.Tensor]:
    """Returns what the dropout of several networks takes as tensors, by layer and kind: a row a network."""
    found: dict[str, tf.Tensor] = {}
    for layers in zip(*([layer for layer in model.layers if isinstance(layer, Dropout)] for model in models)):
        name = layers[0].name
        found[f"{name}/key"] = tf.constant([layer.key for layer in layers], tf.int64)
        found[f"{name}/least"] = _column([layer.least for layer in layers], tf.uint32)
        found[f"{name}/scale"] = _column([1 / (1 - layer.rate) for layer in layers])
    return found


def _drop(keys: tf.Variable, least: tf.Variable, scale: tf.Variable, x: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    _, units, batch = tf.unstack(tf.shape(x))
    bits = tf.stack([dropout_bits(key, [batch, units], step) for key in tf.unstack(keys)])
    return tf.where(tf.transpose(bits, [0, 2, 1]) >= least, x * tf.cast(scale, x.dtype), tf.zeros_like(x))


def _column(values: Sequence[float], dtype: Any = tf.float32) -> tf.Tensor:
    return tf.constant(values, dtype, [len(values), 1, 1])


def is_kernel(name: str) -> bool:
    """Whether a variable of this name is the matrix of a dense layer."""
    return name.endswith("/kernel")


def pack(name: str, arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Returns the variables of that name of many networks as one."""
    return np.stack([array.T if is_kernel(name) else array[:, np.newaxis] for array in arrays])


def unpack(name: str, packed: npt.NDArray[Any], place: int) -> npt.NDArray[Any]:
    """Returns one network's variable of that name, out of the packed one."""
    return np.ascontiguousarray(packed[place].T) if is_kernel(name) else packed[place, :, 0].copy()
