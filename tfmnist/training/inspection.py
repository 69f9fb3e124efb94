"""Inspection: first-layer weights, feature maps and augmented examples, as plain arrays for a report's figures."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfmnist.data.augment import augment_block
from tfmnist.data.split import Split
from tfmnist.nn.layers import Activation, BatchNorm, Conv2D, Dense
from tfmnist.nn.models import Network, to_unit
from tfmnist.recipe import Augment

Floats = npt.NDArray[np.float32]

_UNITS = 32
_LAYERS, _CHANNELS = 4, 16
_EXAMPLES, _STEPS = 3, 8
_MOST_NUMBERS = 2**16  # in one array of floats, so that large images do not make a large file


def inspect(model: Network, examples: Split, augment: Augment, seed: int) -> dict[str, npt.NDArray[Any]]:
    """Returns arrays that show what a network has learned and what it was trained with; they repeat exactly.

    Args:
        model: the network.
        examples: the training examples; not empty.
        augment: the recipe's section.
        seed: the run's.

    Returns:
        `first_weights`, float32 `[k, h, w]`: the weights from the pixels to the k units of the first dense layer or
        convolution, largest norm first; `first_layer`, a string `[]`: its path. Without such layers it is empty,
        and there are no weights.

        With convolutions in a sequence of layers, `picture`, uint8 `[H, W]`: the first example; `map_names`, strings
        `[layers]`, and for each layer `map_0`, `map_1` ..., float32 `[k, h, w]`: the outputs of its most active
        channels for the picture.

        With augmentation, `augmented_originals`, uint8 `[r, H, W]`: examples of different classes; `augmented`, uint8
        `[r, 8, H, W]`: each as eight training steps would change it.
    """
    arrays: dict[str, npt.NDArray[Any]] = _first_weights(model)
    picture = examples.take(np.array([0]))[0][0]
    if maps := _maps(model, picture):
        arrays |= {"picture": picture, "map_names": np.array(list(maps))}
        arrays |= {f"map_{number}": layer for number, layer in enumerate(maps.values())}
    if drawn := augmented_examples(examples, augment, seed):
        arrays |= {"augmented_originals": drawn[0], "augmented": drawn[1]}
    return arrays


def augmented_examples(
    examples: Split, augment: Augment, seed: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]] | None:
    """Returns `augmented_originals` and `augmented` as `inspect` describes them, or None without augmentation."""
    if augment == Augment():
        return None
    chosen = np.sort(np.unique(examples.compact_labels, return_index=True)[1])[:_EXAMPLES]
    originals = examples.take(chosen)[0]
    block = tf.constant(np.broadcast_to(originals, [_STEPS, *originals.shape]))
    changed = augment_block(block, tf.constant(0, tf.int64), seed, **augment.model_dump()).numpy()
    return originals, changed.swapaxes(0, 1)


def _first_weights(model: Network) -> dict[str, npt.NDArray[Any]]:
    shape = model.image_shape
    for path, layer in model.find_layers().items():
        if isinstance(layer, Dense):
            kernel = layer.kernel.numpy()
            # after global pooling the inputs are no image
            weights = kernel.T.reshape(-1, *(shape if math.prod(shape) == len(kernel) else (1, len(kernel))))
        elif isinstance(layer, Conv2D):
            weights = layer.kernel.numpy()[:, :, 0].transpose(2, 0, 1)  # grey images have one channel
        else:
            if len(layer.output_shape) == 3:
                height, width, _ = layer.output_shape
                shape = (height, width)
            continue
        return {"first_layer": np.array(path), "first_weights": _strongest(weights, np.square(weights), _UNITS)}
    return {"first_layer": np.array("")}


def _maps(model: Network, picture: npt.NDArray[np.uint8]) -> dict[str, Floats]:
    """Returns, for at most four convolutions, the names up to the activation and its outputs, float32 `[k, h, w]`.

    Only a network that runs its layers in sequence has them, and only for convolutions in that sequence.
    """
    in_sequence = type(model).forward is Network.forward
    maps: list[tuple[str, Floats]] = []
    x, after_convolution = to_unit(tf.constant(picture[np.newaxis])), False
    for layer in model.layers[:-1] if in_sequence else ():
        x = layer.forward(x, False, None)
        if isinstance(layer, Conv2D):
            maps.append((layer.name, x[0].numpy()))
            after_convolution = True
        elif after_convolution and isinstance(layer, BatchNorm | Activation):
            maps[-1] = (f"{maps[-1][0]} + {layer.name}", x[0].numpy())
        else:
            after_convolution = False
    shown = np.unique(np.linspace(0, len(maps) - 1, _LAYERS).round().astype(int)).tolist() if maps else []
    planes = ((maps[index][0], maps[index][1].transpose(2, 0, 1)) for index in shown)
    return {name: _strongest(layer, np.abs(layer), _CHANNELS) for name, layer in planes}


def _strongest(images: Floats, strength: Floats, most: int) -> Floats:
    """Returns the images, `[k, h, w]`, of the largest total strength, the strongest first."""
    most = max(1, min(most, _MOST_NUMBERS // images[0].size))
    order = np.argsort(-strength.sum(axis=(1, 2), dtype=np.float64), kind="stable")
    return images[order[:most]].astype(np.float32)
