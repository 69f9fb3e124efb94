"""Layers: a few raw variables, made in the constructor, and the forward rule that uses them.

A layer's `forward(x, training, step)` computes in the dtype of `x`; its variables are float32 and are cast on use,
which is all that mixed precision needs. `output_shape` is the shape of one example after the layer.
"""

import math
from collections.abc import Callable
from typing import Literal

import tensorflow as tf

from tfmnist import seeds
from tfmnist.errors import InputError
from tfmnist.nn.initializers import find_initializer
from tfmnist.nn.modules import Scoped, enter

Shape = tuple[int, ...]


MOST_PARAMETERS = 2**28  # 1 GiB; training takes three to five times as much


class Layer(tf.Module, metaclass=Scoped):
    """The base class of all layers, including your own: a name, an output shape, and a forward rule.

    Call this constructor first in yours; then make variables and inner layers, to any depth, as attributes:

        class Residual(tfmnist.nn.Layer):
            def __init__(self, shape, *, seed, name):
                super().__init__(name, shape)
                self.conv = tfmnist.nn.Conv2D(shape, shape[-1], (3, 3), seed=seed, name="conv")

            def forward(self, x, training, step):
                return x + tf.nn.relu(self.conv.forward(x, training, step))

    Args:
        name: a Python identifier, unique among the layers of the same network or outer layer.
        output_shape: the shape of one example after the layer, without the batch.

    Attributes:
        path: the layer's name, after those of the layers in whose constructors it was made: `block_1/conv`. Initial
            weights and dropout are functions of the seed and the path.
        multiply_adds: how many the layer's own matrix products and convolutions take for one example; 0 unless you
            set it. `tfmnist train --profile` counts with it.

    Raises:
        InputError: the name is no identifier.
    """

    def __init__(self, name: str, output_shape: Shape):
        if not name.isidentifier():
            raise InputError(f"layer name {name!r}: expected letters, digits and underscores, such as conv_1.")
        super().__init__(name=name)
        self.path = enter(name)
        self.output_shape = output_shape
        self.multiply_adds = 0
        self._frozen = False

    @property
    def frozen(self) -> bool:
        """Whether training leaves the variables of this layer, and of all layers inside it, as they are.

        The network's `parameters` then contain none of them, and batch normalisation uses its moving statistics in
        training too, without updating them.
        """
        return self._frozen

    @frozen.setter
    def frozen(self, value: bool) -> None:
        for layer in (self, *self.submodules):
            if isinstance(layer, Layer):
                layer._frozen = value

    def forward(self, x: tf.Tensor, training: bool, step: tf.Tensor | None) -> tf.Tensor:
        """Returns the layer's output, `[batch, *output_shape]`, in the dtype of `x`.

        It is compiled without AutoGraph: choose by a tensor's value with `tf.where` or `tf.cond`, not with `if`.

        Args:
            x: `[batch, ...]`, float32, bfloat16 or float64, the precision of the computation.
            training: whether this is a step of training; a Python bool.
            step: int64 scalar, the number of steps done; only dropout in training reads it. None in evaluation.
        """
        raise NotImplementedError


def check_size(name: str, parameters: int) -> None:
    """Raises an `InputError` before a layer, or a network, is made that has more parameters than fit into memory."""
    if parameters > MOST_PARAMETERS:
        raise InputError(
            f"{name} has {parameters:,} parameters: expected at most {MOST_PARAMETERS:,}; make the layers smaller."
        )


class Dense(Layer):
    """y = x W + b.  dL/dW = xᵀ dL/dy;  dL/db = Σ_batch dL/dy;  dL/dx = dL/dy Wᵀ."""

    def __init__(
        self,
        inputs: int,
        units: int,
        *,
        bias: bool = True,
        initializer: str = "he",
        init_scale: float = 1.0,
        seed: int = 0,
        name: str = "dense",
    ):
        super().__init__(name, (units,))
        check_size(name, inputs * units)
        self.multiply_adds = inputs * units
        self.key = seeds.key(seed, f"{self.path}/kernel")
        self.kernel = tf.Variable(
            find_initializer(initializer)((inputs, units), inputs, units, init_scale, self.key), name=f"{name}/kernel"
        )
        self.transposed = False  # whether the kernel is [units, inputs], as within a compiled loop
        self.bias = tf.Variable(tf.zeros(units), name=f"{name}/bias") if bias else None

    def forward(self, x: tf.Tensor, training: bool, step: tf.Tensor | None) -> tf.Tensor:
        y = tf.matmul(x, tf.cast(self.kernel, x.dtype), transpose_b=self.transposed)
        return y if self.bias is None else y + tf.cast(self.bias, x.dtype)


class Conv2D(Layer):
    """Convolution (cross-correlation, strictly speaking) of `[batch, height, width, channels]`."""

    def __init__(
        self,
        input_shape: Shape,
        filters: int,
        size: tuple[int, int],
        *,
        stride: int = 1,
        padding: Literal["SAME", "VALID"] = "SAME",
        bias: bool = True,
        initializer: str = "he",
        init_scale: float = 1.0,
        seed: int = 0,
        name: str = "conv",
    ):
        height, width, channels = input_shape
        if padding == "VALID" and (size[0] > height or size[1] > width):
            kernel = f"{size[0]}x{size[1]} kernel"
            raise InputError(f"layer {name}: a {kernel} does not fit {height}x{width}; use a smaller one.")
        super().__init__(name, (*(_slide(n, k, stride, padding) for n, k in zip((height, width), size)), filters))
        self.stride = stride
        self.padding: Literal["SAME", "VALID"] = padding
        area = size[0] * size[1]
        self.multiply_adds = math.prod(self.output_shape) * area * channels
        self.key = seeds.key(seed, f"{self.path}/kernel")
        make = find_initializer(initializer)
        check_size(name, area * channels * filters)
        kernel = make((*size, channels, filters), area * channels, area * filters, init_scale, self.key)
        self.kernel = tf.Variable(kernel, name=f"{name}/kernel")
        self.bias = tf.Variable(tf.zeros(filters), name=f"{name}/bias") if bias else None

    def forward(self, x: tf.Tensor, training: bool, step: tf.Tensor | None) -> tf.Tensor:
        y = tf.nn.conv2d(x, tf.cast(self.kernel, x.dtype), strides=self.stride, padding=self.padding)
        return y if self.bias is None else tf.nn.bias_add(y, tf.cast(self.bias, x.dtype))


class BatchNorm(Layer):
    """y = γ (x - μ) / sqrt(σ² + ε) + β over all axes but the last (Ioffe and Szegedy 2015, algorithms 1 and 2).

    In training μ and σ² are the batch's, and update the moving averages: m ← momentum m + (1 - momentum) μ. In
    evaluation they are the moving averages. Statistics are float32 in either precision.
    """

    def __init__(self, input_shape: Shape, *, momentum: float = 0.9, epsilon: float = 1e-3, name: str = "batch_norm"):
        super().__init__(name, input_shape)
        channels = input_shape[-1]
        self.momentum, self.epsilon = momentum, epsilon
        self.scale = tf.Variable(tf.ones(channels), name=f"{name}/scale")
        self.offset = tf.Variable(tf.zeros(channels), name=f"{name}/offset")
        self.mean = tf.Variable(tf.zeros(channels), trainable=False, name=f"{name}/mean")
        self.variance = tf.Variable(tf.ones(channels), trainable=False, name=f"{name}/variance")

    def forward(self, x: tf.Tensor, training: bool, step: tf.Tensor | None) -> tf.Tensor:
        training = training and not self.frozen
        images = x if x.shape.rank == 4 else x[:, tf.newaxis, tf.newaxis, :]
        y, mean, variance = self.normalize(images, training)
        if training:
            self.mean.assign_sub((1.0 - self.momentum) * (self.mean - mean))
            self.variance.assign_sub((1.0 - self.momentum) * (self.variance - variance))
        return y if x.shape.rank == 4 else y[:, 0, 0, :]

    def normalize(self, images: tf.Tensor, training: bool) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns y for `[batch, height, width, channels]`, and μ and σ², float32 `[channels]`, σ² unbiased."""
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=images,
            scale=self.scale,
            offset=self.offset,
            mean=[] if training else self.mean,
            variance=[] if training else self.variance,
            epsilon=self.epsilon,
            is_training=training,
        )
        return y, mean, variance


class Dropout(Layer):
    """Sets a fraction `rate` of x to 0 in training and scales the rest by 1 / (1 - rate) (Srivastava et al. 2014).

    Which values are dropped depends on (seed, path, step) alone.
    """

    def __init__(self, input_shape: Shape, rate: float, *, seed: int = 0, name: str = "dropout"):
        super().__init__(name, input_shape)
        if not 0 <= rate < 1:
            raise InputError(f"layer {name}: rate must be at least 0 and less than 1, got {rate}.")
        self.rate, self.key = rate, seeds.key(seed, self.path)
        self.threshold = int(rate * 2**32)  # values whose 32 random bits are below it are dropped

    def forward(self, x: tf.Tensor, training: bool, step: tf.Tensor | None) -> tf.Tensor:
        if not training or self.rate == 0.0:
            return x
        bits = self.draw(tf.shape(x), _seed(self.name, self.key, step))
        return tf.where(bits >= tf.constant(self.threshold, tf.uint32), x / (1.0 - self.rate), tf.zeros_like(x))

    def draw(self, shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns random bits, uint32 of the shape of a whole batch, for a seed, int64 `[2]`."""
        # integers, which are the same in every compiler; floats are not
        return tf.random.stateless_uniform(shape, seed, None, None, tf.uint32, alg="philox")  # type: ignore[arg-type]


class Noise(Layer):
    """x + n in training, each n drawn from N(0, deviation²) (Rasmus et al. 2015, who add some before every layer).

    What is added depends on (seed, path, step) alone.
    """

    def __init__(self, input_shape: Shape, deviation: float, *, seed: int = 0, name: str = "noise"):
        super().__init__(name, input_shape)
        if not 0 <= deviation < math.inf:
            raise InputError(f"layer {name}: deviation must be at least 0 and finite, got {deviation}.")
        self.deviation, self.key = deviation, seeds.key(seed, self.path)

    def forward(self, x: tf.Tensor, training: bool, step: tf.Tensor | None) -> tf.Tensor:
        if not training or self.deviation == 0.0:
            return x
        return x + tf.cast(self.draw(tf.shape(x), _seed(self.name, self.key, step)), x.dtype)

    def draw(self, shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns the noise, float32 of the shape of a whole batch, for a seed, int64 `[2]`."""
        return tf.random.stateless_normal(shape, seed, 0.0, self.deviation, alg="philox")  # type: ignore[arg-type]


class Pool(Layer):
    """The largest value, or the average, of each window of `size` x `size`; windows do not overlap."""

    def __init__(self, input_shape: Shape, size: int, *, kind: str = "max", name: str = "pool"):
        height, width, channels = input_shape
        if size > min(height, width):
            raise InputError(
                f"layer {name}: a {size}x{size} window does not fit {height}x{width}; remove a pooling layer."
            )
        super().__init__(name, (height // size, width // size, channels))
        self.is_max = kind == "max"
        self.size, self.pool = size, {"max": tf.nn.max_pool2d, "average": tf.nn.avg_pool2d}[kind]

    def forward(self, x: tf.Tensor, training: bool, step: tf.Tensor | None) -> tf.Tensor:
        return self.pool(x, self.size, self.size, "VALID")


class GlobalPool(Layer):
    """The largest value, or the average, of each channel: `[batch, height, width, channels]` to `[batch, channels]`."""

    def __init__(self, input_shape: Shape, *, kind: str = "max", name: str = "global"):
        super().__init__(name, input_shape[-1:])
        self.window = input_shape[:2]
        self.is_max = kind == "max"

    def forward(self, x: tf.Tensor, training: bool, step: tf.Tensor | None) -> tf.Tensor:
        if self.is_max:  # as a window: the gradient of reduce_max would compare all values again
            return tf.nn.max_pool2d(x, self.window, 1, "VALID")[:, 0, 0, :]
        return tf.reduce_mean(x, axis=[1, 2])


class AddChannel(Layer):
    """`[batch, height, width]` to `[batch, height, width, 1]`: one grey channel."""

    def __init__(self, image_shape: Shape, *, name: str = "grey"):
        super().__init__(name, (*image_shape, 1))

    def forward(self, x: tf.Tensor, training: bool, step: tf.Tensor | None) -> tf.Tensor:
        return tf.expand_dims(x, -1)


class Flatten(Layer):
    """`[batch, ...]` to `[batch, product of the rest]`."""

    def __init__(self, input_shape: Shape, *, name: str = "flatten"):
        super().__init__(name, (math.prod(input_shape),))

    def forward(self, x: tf.Tensor, training: bool, step: tf.Tensor | None) -> tf.Tensor:
        return tf.reshape(x, [-1, *self.output_shape])


def gelu(x: tf.Tensor) -> tf.Tensor:
    """x Φ(x), Φ the normal distribution function (Hendrycks and Gimpel 2016).  Derivative: Φ(x) + x φ(x)."""
    return 0.5 * x * (1.0 + tf.math.erf(x * math.sqrt(0.5)))


ACTIVATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "relu": tf.nn.relu,  # max(x, 0).  Derivative: 1 where x > 0, else 0
    "sigmoid": tf.sigmoid,  # σ(x) = 1 / (1 + exp(-x)).  Derivative: σ (1 - σ)
    "tanh": tf.tanh,  # Derivative: 1 - tanh²
    "gelu": gelu,
}


class Activation(Layer):
    """One of `ACTIVATIONS`, elementwise."""

    def __init__(self, input_shape: Shape, kind: str, *, name: str = "activation"):
        super().__init__(name, input_shape)
        self.function = ACTIVATIONS[kind]
        self.is_monotonic = kind != "gelu"  # never decreasing

    def forward(self, x: tf.Tensor, training: bool, step: tf.Tensor | None) -> tf.Tensor:
        return self.function(x)


def _slide(length: int, window: int, stride: int, padding: str) -> int:
    """Returns how many positions a window takes as it slides over a length."""
    return -(-length // stride) if padding == "SAME" else (length - window) // stride + 1


def _seed(name: str, key: int, step: tf.Tensor | None) -> tf.Tensor:
    """Returns the seed of what a layer draws in a step of training, int64 `[2]`."""
    if step is None:
        raise InputError(f"layer {name}: what it draws in training needs the step; pass step=optimizer.step.")
    return tf.stack([tf.constant(key, tf.int64), tf.cast(step, tf.int64)])
