"""Networks, from images to logits: an MLP, a CNN, and the base class of your own."""

import fnmatch
import hashlib
import inspect
from abc import ABCMeta
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
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
    Noise,
    Pool,
    Shape,
    check_size,
)
from tfmnist.nn.modules import named_variables, walk
from tfmnist.nn.runtime import check_runtime


class _Checked(ABCMeta):
    """The metaclass of `Network`: checks the names in a network when the constructor of its class returns."""

    def __call__(cls, *arguments: Any, **keywords: Any) -> Any:
        check_runtime(in_scope=True)
        network = super().__call__(*arguments, **keywords)
        if not hasattr(network, "image_shape"):
            raise InputError(f"{cls.__name__}: its constructor must call super().__init__(image_shape, classes, name).")
        network.check_names()
        return network


class Network(tf.Module, metaclass=_Checked):
    """Maps images to logits: by layers in sequence, or by a `forward` of your own.

    Pass a list of layers; or write a subclass whose constructor calls this one first and then makes all variables and
    layers, to any depth, as attributes. It may define `forward(images, training, step)`; without one, `layers` run in
    order:

        class Small(tfmnist.nn.Network):
            def __init__(self, image_shape, classes, *, seed, units=32):
                super().__init__(image_shape, classes, "small")
                pixels = image_shape[0] * image_shape[1]
                self.layers = [
                    tfmnist.nn.Flatten(image_shape),
                    tfmnist.nn.Dense(pixels, units, seed=seed, name="dense_1"),
                    tfmnist.nn.Activation((units,), "relu"),
                    tfmnist.nn.Dense(units, classes, seed=seed, name="logits"),
                ]

    Args:
        image_shape: height and width of the images.
        classes: number of logits, 2 to 1,000.
        name: a Python identifier.
        layers: what `forward` runs in order; a subclass may set `self.layers` instead.

    Attributes:
        image_shape: height and width of the images.
        classes: number of logits.
        layers: the layers that `forward` runs in order; empty if a subclass needs none.

    Raises:
        InputError: `classes` is out of range, two layers or variables have the same path, or two layers would start
            from the same weights or drop the same units.
    """

    def __init__(self, image_shape: Sequence[int], classes: int, name: str, layers: Sequence[Layer] = ()):
        super().__init__(name=name)
        height, width = (int(n) for n in image_shape)
        self.image_shape, self.classes = (height, width), classes
        if not 2 <= classes <= 1000:
            raise InputError(f"classes is {classes}: expected 2 to 1000.")
        self.layers: list[Layer] = list(layers)
        self._frozen: frozenset[int] = frozenset()  # ids of variables that are in no frozen layer
        self._compile()

    def _compile(self) -> None:
        signature = [tf.TensorSpec([None, *self.image_shape], tf.uint8)]
        self._logits = tf.function(self._predict, input_signature=signature, autograph=False)

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

        Each convolution and dense layer is followed by batch normalisation, unless `momentum` is None, and by the
        activation; each dense layer then by dropout. `weights` are the options of the initial weights, whose values
        also depend on the layers' names, numbered by kind.
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
            check_size("network", sum(int(tf.size(v)) for made in self.layers for v in made.variables))

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
                case "noise":
                    add("noise", Noise, shape(), spec.deviation, seed=weights["seed"])
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
        """Returns the logits, `[batch, classes]`, float32 (float64 for float64 images).

        Override it to compute something other than `layers` in order. It is compiled without AutoGraph: choose by a
        tensor's value with `tf.where` or `tf.cond`, not with `if`.

        Args:
            images: bfloat16, float32 or float64 `[batch, height, width]` in [0, 1]; their dtype is the precision of
                the computation.
            training: whether dropout is active, and batch normalisation uses the batch's statistics and updates its
                moving averages; a Python bool.
            step: int64 scalar, the number of steps done; only dropout in training needs it.
        """
        x = images
        for layer in pool_before_activation(self.layers[:-1]):
            x = layer.forward(x, training, step)
        return self.layers[-1].forward(x if x.dtype == tf.float64 else tf.cast(x, tf.float32), training, step)

    def logits(self, images: Any) -> tf.Tensor:
        """Returns the logits, float32 `[n, classes]`, of n ≥ 0 images as stored, uint8 `[n, height, width]`."""
        images = tf.convert_to_tensor(images)
        if images.shape[0] == 0:  # for which oneDNN returns the wrong shape
            return tf.zeros([0, self.classes])
        return self._logits(images)

    def _predict(self, images: tf.Tensor) -> tf.Tensor:
        logits = self.forward(to_unit(images), False, None)
        if not tf.is_tensor(logits):
            raise InputError(
                f"{self.name}: forward returns a {type(logits).__name__}, expected logits and nothing else."
            )
        return float32_logits(logits)

    def named_variables(self) -> dict[str, tf.Variable]:
        """Returns all variables by path (`dense_1/kernel`, `block_1/conv_1/kernel`), in the order of the attributes.

        Raises:
            InputError: two layers or variables have the same path.
        """
        return named_variables(self._root)

    @property
    def _root(self) -> tf.Module:
        """The module whose attributes are the first parts of the paths."""
        return self

    @property
    def parameters(self) -> list[tf.Variable]:
        """The variables to train, for an optimizer: in the order of `named_variables`, without frozen ones."""
        return list(self.named_parameters().values())

    def named_parameters(self) -> dict[str, tf.Variable]:
        """Returns the variables to train, `parameters`, by path."""
        items = list(walk(self._root))
        inside = (item for _, item, _ in items if isinstance(item, Network))
        excluded = self._frozen.union(*(network._frozen for network in inside))
        return {
            path: item
            for path, item, frozen in items
            if isinstance(item, tf.Variable) and item.trainable and not frozen and id(item) not in excluded
        }

    def freeze(self, patterns: Sequence[str]) -> None:
        """Freezes the layers that match a pattern, with all layers inside them: training leaves them as they are.

        Call it before you make an optimizer over `parameters`.

        Args:
            patterns: paths, in which `*` matches any characters: `conv_1`, `conv_*`, `block_1`, `block_1/conv_2`.

        Raises:
            InputError: a pattern matches nothing that has weights, or nothing is left to train.
        """
        trainable = [name for name, variable in self.named_variables().items() if variable.trainable]
        paths = dict.fromkeys(path for name in trainable for path in _above(name) or [name])
        modules = {path: item for path, item, _ in walk(self._root)}
        for pattern in patterns:
            matches = fnmatch.filter(paths, pattern)
            if not matches:
                tops = dict.fromkeys(name.split("/")[0] for name in trainable)
                hint = did_you_mean(pattern, tops)
                raise InputError(f"recipe key 'model.freeze' has {pattern!r}: no layer matches{hint}")
            for path in matches:
                module = modules[path]
                if isinstance(module, tf.Module):
                    for layer in (module, *module.submodules):
                        if isinstance(layer, Layer):
                            layer.frozen = True
                if not isinstance(module, Layer):
                    inside = (name for name in trainable if name == path or name.startswith(f"{path}/"))
                    self._frozen |= {id(modules[name]) for name in inside}
        if not self.parameters:
            raise InputError(f"recipe key 'model.freeze' is {list(patterns)}: no layer is left to train; freeze fewer.")

    def last_variables(self) -> list[str]:
        """Returns the paths of the last layer's variables: of a sequence's last, or of what `forward` reads last."""
        variables = self.named_variables()
        layer = self.layers[-1].name if self.layers and type(self).forward is Network.forward else ""
        if of_layer := [name for name in variables if name.startswith(f"{layer}/")]:
            return of_layer
        graph, handles = self._trace(), {id(v.handle): name for name, v in variables.items()}
        names = {inside.name: handles[id(outside)] for outside, inside in graph.captures if id(outside) in handles}
        inputs = (tensor.name for operation in graph.get_operations() for tensor in operation.inputs)
        last: list[str] = []
        for name in reversed(list(dict.fromkeys(names[tensor] for tensor in inputs if tensor in names))):
            last.append(name)
            if variables[name].shape.rank >= 2:  # the kernel, to which what was read after it is added
                break
        return last

    @property
    def frozen_layers(self) -> list[str]:
        """The paths of the frozen layers that have trainable variables."""
        trained = self.named_parameters()
        frozen = (n for n, variable in self.named_variables().items() if variable.trainable and n not in trained)
        return list(dict.fromkeys(name.rpartition("/")[0] or name for name in frozen))

    def find_layers(self) -> dict[str, Layer]:
        """Returns all layers by path, at any depth, each before the layers inside it."""
        return {path: item for path, item, _ in walk(self._root) if isinstance(item, Layer)}

    @property
    def parameter_count(self) -> int:
        """Number of trainable parameters, those of frozen layers included."""
        return sum(int(tf.size(variable)) for variable in self.named_variables().values() if variable.trainable)

    @cached_property
    def has_convolutions(self) -> bool:
        """Whether `forward` convolves, which decides how the training loop is compiled."""
        return any("Conv" in operation.type for operation in self._trace().get_operations())

    def _trace(self) -> Any:
        """Returns the graph of `logits`."""
        return self._logits.get_concrete_function().graph

    def check_names(self) -> None:
        """Raises an `InputError` if two layers share a path, or would draw the same weights or drop the same units."""
        for _, item, frozen in walk(self._root):
            if frozen and isinstance(item, Layer):  # also one that was made after the layer around it was frozen
                item.frozen = True
        paths: dict[int, str] = {}
        for path, layer in self.find_layers().items():
            if isinstance(layer, Conv2D | Dense | Dropout | Noise) and paths.setdefault(layer.key, path) != path:
                raise InputError(
                    f"layers {paths[layer.key]} and {path} draw the same random numbers: both were made with the path "
                    f"{layer.path!r} and the same seed; make each in the constructor of the layer that holds it, or "
                    "give them different names or seeds."
                )

    def check_signature(self) -> None:
        """Raises an `InputError` if there is no `forward` that can be called with images, training and step."""
        try:
            inspect.signature(self._root.forward).bind(None, False, None)  # type: ignore[attr-defined]
        except (AttributeError, TypeError) as error:
            raise InputError(
                f"{type(self._root).__name__}: expected a method forward(images, training, step) that returns logits, "
                f"[batch, classes] ({error})."
            ) from None

    def check_forward(self) -> None:
        """Raises an `InputError` if names clash, `forward` returns no logits, or it reads a variable held elsewhere."""
        self.check_names()
        if any(isinstance(variable, tf.distribute.DistributedValues) for variable in self.named_variables().values()):
            raise InputError(
                f"{self.name} has mirrored variables: expected plain ones; make it outside strategy.scope()."
            )
        self.check_signature()
        self._compile()  # again: the layers may have changed since
        logits = self._trace().structured_outputs
        if logits.shape.rank is None:
            raise InputError(f"{self.name}: forward returns an unknown shape; set it with tf.ensure_shape.")
        if logits.shape.rank != 2 or logits.shape[1] != self.classes or self.classes < 2:
            raise InputError(
                f"{self.name}: forward returns shape {logits.shape.as_list()}, expected "
                f"[batch, {max(2, self.classes)}]: one logit per class for each image."
            )
        known = {id(variable) for variable in self.named_variables().values()}
        read = self._trace().variables
        if not isinstance(self, MLP | CNN):  # whose layers are ours: they read no others in training
            step = tf.TensorSpec([], tf.int64)
            images = tf.TensorSpec([None, *self.image_shape], tf.float32)
            in_training = tf.function(lambda x, step: self.forward(x, True, step), autograph=False)
            read = (*read, *in_training.get_concrete_function(images, step).graph.variables)
        if lost := [variable for variable in read if id(variable) not in known]:
            raise InputError(
                f"{self.name}: forward reads the variable {lost[0].name} {lost[0].shape.as_list()}, which no attribute "
                "of the network or its layers holds; keep it, or the tf.Module that owns it, in an attribute."
            )

    def sha256(self) -> str:
        """Returns the SHA-256, in hexadecimal, over path, dtype, shape and bytes of all variables, sorted by path."""
        digest = hashlib.sha256()
        for name, variable in sorted(self.named_variables().items()):
            array = variable.numpy()
            digest.update(f"{name} {array.dtype} {list(array.shape)}\n".encode())
            digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()

    def summary(self) -> str:
        """Returns a table of the layers: name, output shape, and number of parameters, inner layers included."""
        counts: Counter[str] = Counter()
        for name, variable in self.named_variables().items():
            counts[name.split("/")[0]] += int(tf.size(variable)) if variable.trainable else 0
        rows = [("layer", "output", "parameters"), ("images", _times(self.image_shape), "")]
        shapes = {layer.name: _times(layer.output_shape) for layer in self.layers}
        for name in dict.fromkeys([*shapes, *counts]):
            rows.append((name, shapes.get(name, ""), f"{counts[name]:,}" if counts[name] else ""))
        rows.append(("total", "", f"{self.parameter_count:,}"))
        return "\n".join(f"{name:<16} {output:<16} {count:>12}" for name, output, count in rows)


class Wrapped(Network):
    """A plain `tf.Module` as a network.

    Args:
        module: has a method `forward(images, training, step)` that returns logits, `[batch, classes]`.
        image_shape: height and width of the images.
        classes: number of logits; 0 to take it from what `forward` returns.

    Raises:
        InputError: the module has no such method, or it does not return logits.
    """

    def __init__(self, module: tf.Module, image_shape: Sequence[int], classes: int = 0):
        super().__init__(image_shape, classes or 2, module.name)
        self.module = module
        self.check_signature()
        if not classes:
            shape = self._trace().structured_outputs.shape
            self.classes = min(1000, int(shape[-1] or 0)) if shape.rank else 0
        self.check_forward()

    @property
    def _root(self) -> tf.Module:
        return self.module

    def forward(self, images: tf.Tensor, training: bool = False, step: tf.Tensor | None = None) -> tf.Tensor:
        return self.module.forward(images, training, step)  # type: ignore[attr-defined]


def as_network(model: tf.Module, image_shape: Sequence[int], classes: int = 0) -> Network:
    """Returns a network as it is, and a plain module wrapped as a network.

    Args:
        model: a network, for which the other arguments have no effect, or a module.
        image_shape: height and width of the images.
        classes: number of logits; 0 to take it from what `forward` returns.

    Raises:
        InputError: the model is no `tf.Module`, or has no `forward` that returns logits.
    """
    if isinstance(model, Network):
        return model
    if not isinstance(model, tf.Module):
        raise InputError(
            f"the model is a {type(model).__name__}: expected a tf.Module with forward(images, training, step)."
        )
    if not hasattr(model, "_name"):
        raise InputError(f"{type(model).__name__}: its constructor must call super().__init__().")
    return Wrapped(model, image_shape, classes)


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
    """Returns the layers with each max pooling moved in front of the monotonic activation that it follows.

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


def float32_logits(logits: tf.Tensor) -> tf.Tensor:
    """Returns logits in float32, whatever the precision of the network; float64 stays."""
    return logits if logits.dtype == tf.float64 else tf.cast(logits, tf.float32)


def _above(path: str) -> list[str]:
    """Returns the paths above one: `a` and `a/b` for `a/b/c`."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _times(shape: Shape) -> str:
    return " x ".join(str(n) for n in shape)
