"""Networks: lists of layers, from an image to its logits."""

import fnmatch
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import tensorflow as tf

from tfmnist.errors import InputError, did_you_mean
from tfmnist.layer_specs import LayerSpec, parse_layer
from tfmnist.nn.layers import (
    ACTIVATIONS,
    Activation,
    AddChannel,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalPool,
    Layer,
    Pool,
    Shape,
)


class Network(tf.Module):
    """A sequence of layers from images to logits. All weights exist when the constructor returns."""

    def __init__(self, image_shape: Sequence[int], classes: int, name: str):
        super().__init__(name=name)
        height, width = (int(n) for n in image_shape)
        self.image_shape, self.classes = (height, width), classes
        if not 2 <= classes <= 1000:
            raise InputError(f"classes is {classes}: expected 2 to 1000.")
        self.layers: list[Layer] = []
        signature = [tf.TensorSpec([None, height, width], tf.uint8)]
        self._logits = tf.function(lambda x: self.forward(to_unit(x)), input_signature=signature, autograph=False)

    def _build(
        self,
        first: Layer,
        specs: Sequence[LayerSpec],
        *,
        activation: str,
        bias: bool,
        momentum: float | None,
        dropout: float,
        weights: dict[str, Any],
    ) -> None:
        """Makes the layers: the first, those of the specifications, and a dense layer of logits.

        Each convolution and dense layer is followed by batch normalisation, unless `momentum` is None, and the
        activation; each dense layer then by dropout. `weights` are the options of the initial
        weights, whose values also depend on the layers' names, numbered by kind.
        """
        if activation not in ACTIVATIONS:
            raise InputError(f"activation {activation!r} does not exist{did_you_mean(activation, ACTIVATIONS)}")
        # batch normalisation would subtract a bias along with the mean
        hidden = {"bias": bias and momentum is None, **weights}
        self.layers = [first]
        counts: Counter[str] = Counter()

        def add(name: str, make: Callable[..., Layer], *arguments: Any, **keywords: Any) -> None:
            counts[name] += 1
            self.layers.append(make(*arguments, name=f"{name}_{counts[name]}", **keywords))

        def shape() -> Shape:
            return self.layers[-1].output_shape

        for spec in specs:
            if spec.kind in ("conv", "max", "average", "global") and len(shape()) != 3:
                raise InputError(
                    f"recipe key 'model.layers' has {spec.text!r} after the image was flattened; move it before."
                )
            if spec.kind in ("flatten", "dense") and len(shape()) == 3:
                add("flatten", Flatten, shape())
            match spec.kind:
                case "conv":
                    window = {"stride": spec.stride, "padding": spec.padding}
                    add("conv", Conv2D, shape(), spec.units, spec.size, **window, **hidden)
                case "dense":
                    add("dense", Dense, shape()[0], spec.units, **hidden)
                case "max" | "average":
                    add(spec.kind, Pool, shape(), spec.stride, kind=spec.kind)
                case "global":
                    add("global", GlobalPool, shape(), kind=spec.pool)
                case "dropout":
                    add("dropout", Dropout, shape(), spec.rate, seed=weights["seed"])
            if spec.kind in ("conv", "dense"):
                if momentum is not None:
                    add("batch_norm", BatchNorm, shape(), momentum=momentum)
                add(activation, Activation, shape(), activation)
                if dropout and spec.kind == "dense":
                    add("dropout", Dropout, shape(), dropout, seed=weights["seed"])
        if len(shape()) == 3:
            add("flatten", Flatten, shape())
        self.layers.append(Dense(shape()[0], self.classes, bias=bias, name="logits", **weights))

    def forward(self, images: tf.Tensor, training: bool = False, step: tf.Tensor | None = None) -> tf.Tensor:
        """Returns the logits, float32 `[batch, classes]`.

        Args:
            images: bfloat16, float32 or float64 `[batch, height, width]` in [0, 1]; their dtype is the precision of
                the computation.
            training: whether dropout is active, and batch normalisation uses the batch's statistics and updates its
                moving averages.
            step: int64 scalar, the number of steps done; only dropout in training needs it.
        """
        x = images
        for layer in pool_before_activation(self.layers[:-1]):
            x = layer.forward(x, training, step)
        return self.layers[-1].forward(x if x.dtype == tf.float64 else tf.cast(x, tf.float32), training, step)

    def logits(self, images: Any) -> tf.Tensor:
        """Returns the logits, float32 `[n, classes]`, of images as they are stored: uint8 `[n, height, width]`."""
        images = tf.convert_to_tensor(images)
        if images.shape[0] == 0:  # for which oneDNN returns the wrong shape
            return tf.zeros([0, self.classes])
        return self._logits(images)

    def named_variables(self) -> dict[str, tf.Variable]:
        """Returns all variables by name (`dense_1/kernel`), in the order of the layers."""
        attributes = (value for layer in self.layers for value in vars(layer).values())
        return {value.name.removesuffix(":0"): value for value in attributes if isinstance(value, tf.Variable)}

    @property
    def parameters(self) -> list[tf.Variable]:
        """The variables that are trained, in the order of the layers; those of frozen layers are not."""
        attributes = (value for layer in self.layers if not layer.frozen for value in vars(layer).values())
        return [value for value in attributes if isinstance(value, tf.Variable) and value.trainable]

    def freeze(self, patterns: Sequence[str]) -> None:
        """Freezes the layers that match a pattern, such as `conv_1` or `conv_*`; call it before making an optimizer.

        Raises:
            InputError: a pattern matches no layer that has weights, or no layer is left to train.
        """
        layers = {layer.name: layer for layer in self.layers if layer.variables}
        for pattern in patterns:
            names = fnmatch.filter(layers, pattern)
            if not names:
                raise InputError(f"recipe key 'model.freeze' has {pattern!r}: no layer{did_you_mean(pattern, layers)}")
            for name in names:
                layers[name].frozen = True
        if not self.parameters:
            raise InputError(f"recipe key 'model.freeze' is {list(patterns)}: no layer is left to train; freeze fewer.")

    @property
    def parameter_count(self) -> int:
        """Number of trainable parameters, those of frozen layers included."""
        return sum(int(tf.size(variable)) for variable in self.named_variables().values() if variable.trainable)

    @property
    def has_convolutions(self) -> bool:
        """Whether a layer is a convolution; decides how the training loop is compiled."""
        return any(isinstance(layer, Conv2D) for layer in self.layers)

    def sha256(self) -> str:
        """Returns a digest over name, dtype, shape and bytes of all variables, in the order of their names."""
        digest = hashlib.sha256()
        for name, variable in sorted(self.named_variables().items()):
            array = variable.numpy()
            digest.update(f"{name} {array.dtype} {list(array.shape)}\n".encode())
            digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()

    def summary(self) -> str:
        """Returns a table of the layers: name, output shape, number of parameters."""
        rows = [("layer", "output", "parameters"), ("images", _times(self.image_shape), "")]
        for layer in self.layers:
            count = sum(int(tf.size(variable)) for variable in layer.trainable_variables)
            rows.append((layer.name, _times(layer.output_shape), f"{count:,}" if count else ""))
        rows.append(("total", "", f"{self.parameter_count:,}"))
        return "\n".join(f"{name:<16} {output:<16} {count:>12}" for name, output, count in rows)


class MLP(Network):
    """Dense layers with an activation between them.

    Args:
        image_shape: height and width of the images.
        hidden: widths of the hidden layers; empty for softmax regression.
        classes: number of logits, 2 to 1,000.
    """

    def __init__(
        self,
        image_shape: Sequence[int] = (28, 28),
        hidden: Sequence[int] = (512,),
        classes: int = 10,
        *,
        activation: str = "relu",
        initializer: str = "he",
        init_scale: float = 1.0,
        bias: bool = True,
        batch_norm: bool = False,
        batch_norm_momentum: float = 0.9,
        dropout: float = 0.0,
        seed: int = 0,
    ):
        for units in hidden:
            if units < 1:
                raise InputError(f"hidden has width {units}: expected at least 1.")
        super().__init__(image_shape, classes, "mlp")
        first, specs = Flatten(self.image_shape), [LayerSpec("dense", units=units) for units in hidden]
        weights = {"initializer": initializer, "init_scale": init_scale, "seed": seed}
        momentum = batch_norm_momentum if batch_norm else None
        self._build(first, specs, activation=activation, bias=bias, momentum=momentum, dropout=dropout, weights=weights)


class CNN(Network):
    """Layers from a list of strings, then a dense layer of logits.

    Args:
        image_shape: height and width of the images.
        layers: what `tfmnist.layer_specs.parse_layer` parses.
        classes: number of logits, 2 to 1,000.
    """

    def __init__(
        self,
        image_shape: Sequence[int] = (28, 28),
        layers: Sequence[str] = ("conv 32 5x5", "max 2", "conv 64 3x3", "max 2", "conv 128 3x3", "global max"),
        classes: int = 10,
        *,
        activation: str = "relu",
        initializer: str = "he",
        init_scale: float = 1.0,
        bias: bool = True,
        batch_norm: bool = True,
        batch_norm_momentum: float = 0.9,
        dropout: float = 0.0,
        seed: int = 0,
    ):
        try:
            specs = [parse_layer(text) for text in layers]
        except ValueError as error:
            raise InputError(str(error)) from None
        super().__init__(image_shape, classes, "cnn")
        first = AddChannel(self.image_shape)
        weights = {"initializer": initializer, "init_scale": init_scale, "seed": seed}
        momentum = batch_norm_momentum if batch_norm else None
        self._build(first, specs, activation=activation, bias=bias, momentum=momentum, dropout=dropout, weights=weights)


def pool_before_activation(layers: Sequence[Layer]) -> list[Layer]:
    """Returns the layers with each max pooling moved before the monotonic activation that it follows.

    max f(x) = f(max x) if f never decreases, and the gradients agree too; fewer values are left to activate.
    """
    ordered = list(layers)
    for index, (layer, following) in enumerate(pairwise(layers)):
        is_max = isinstance(following, Pool | GlobalPool) and following.is_max
        if is_max and isinstance(layer, Activation) and layer.is_monotonic:
            ordered[index : index + 2] = [following, layer]
    return ordered


def to_unit(images: tf.Tensor, dtype: Any = tf.float32) -> tf.Tensor:
    """Returns uint8 images, 0 to 255, as `dtype` in [0, 1]: the only normalisation, exported with the model."""
    return tf.cast(tf.cast(images, tf.float32) * (1.0 / 255.0), dtype)


def _times(shape: Shape) -> str:
    return " x ".join(str(n) for n in shape)
