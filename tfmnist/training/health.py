"""Signs that a training learns nothing, and their likely cause, from figures that are known anyway and a few images."""

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfmnist.data.split import Integers, Split, count_labels, spread
from tfmnist.nn.layers import ACTIVATIONS, Activation
from tfmnist.nn.models import Network, to_unit
from tfmnist.training.events import Epoch

_WARNING = "warning: "
_IMAGES = 64  # that are looked at
_LABELLED = 4000  # whose classes are guessed by the nearest mean
_FEWEST_STEPS = 100  # before a network may be said to learn nothing
_FLAT = 0.97  # of the loss of guessing


def is_warning(note: str) -> bool:
    """Whether a note of an epoch came from `diagnose`."""
    return note.startswith(_WARNING)


def diagnose(model: Network, train: Split | None, epoch: Epoch, evaluated: int, loss: str) -> str:
    """Returns what looks wrong after an epoch, with the figures that show it, in one line; empty if nothing does.

    Args:
        model: the network.
        train: the training examples, if they can be looked at.
        epoch: the figures of the epoch.
        evaluated: number of examples that its accuracy, of validation if there is any, was measured on.
        loss: name of the training loss.
    """
    if train is None:
        return ""
    images = spread(train, _IMAGES)
    if (images == images[0]).all():
        return f"{_WARNING}all of {len(images)} training images that were looked at are the same"
    if (images == images[:, :1, :1]).all():
        return f"{_WARNING}each of {len(images)} training images that were looked at has a single grey level"
    if sign := _dead_units(model, images):
        return sign
    accuracy = epoch.accuracy if epoch.validation_accuracy is None else epoch.validation_accuracy
    if epoch.step < _FEWEST_STEPS or accuracy > _by_guessing(train.compact_labels, evaluated):
        return ""
    if (alike := _nearest_mean_accuracy(train)) <= _by_guessing(train.compact_labels, _LABELLED // 2):
        return (
            f"{_WARNING}the labels look shuffled: images of one class are no more alike than those of others (the "
            f"nearest mean of a class is the right one for {alike:.1%}), and the network has {accuracy:.1%} right"
        )
    shares = count_labels(train.compact_labels) / len(train)
    guessing = float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())
    if loss == "cross_entropy" and epoch.loss >= _FLAT * guessing:
        return (
            f"{_WARNING}the loss is flat: {epoch.loss:.4f} after {epoch.step:,} steps, {guessing:.4f} by guessing; is "
            "optimizer.learning_rate too low or far too high?"
        )
    return ""


def _by_guessing(labels: Integers, count: int) -> float:
    """Returns the accuracy on so many examples that guessing the most frequent class hardly ever exceeds."""
    share = float(count_labels(labels).max() / len(labels))
    return share + 0.02 + 3 * float(np.sqrt(share * (1 - share) / count))


def _nearest_mean_accuracy(train: Split) -> float:
    """Returns the share of images whose nearest mean of a class, over as many other images, is that of their label."""
    images, labels = train.take(np.linspace(0, len(train) - 1, min(len(train), _LABELLED)).astype(np.int64))
    pixels = images.reshape(len(images), -1).astype(np.float32) / 255
    present = np.unique(labels[::2])
    means = np.stack([pixels[::2][labels[::2] == label].mean(axis=0) for label in present])
    distances = (means**2).sum(axis=1) - 2 * pixels[1::2] @ means.T
    return float((present[distances.argmin(axis=1)] == labels[1::2]).mean())


def _dead_units(model: Network, images: npt.NDArray[np.uint8]) -> str:
    """Says whether most units of a ReLU layer, in a network that runs its layers in sequence, are 0 for all images."""
    if type(model).forward is not Network.forward:
        return ""
    x = to_unit(tf.constant(images))
    for before, layer in zip(model.layers, model.layers[1:]):
        x = before.forward(x, False, None)
        if not (isinstance(layer, Activation) and layer.function is ACTIVATIONS["relu"]):
            continue
        highest = tf.reduce_max(x, axis=list(range(x.shape.rank - 1))).numpy()
        dead = int((highest <= 0).sum())
        if 2 * dead > len(highest) and (dead >= 8 or dead == len(highest)):
            return (
                f"{_WARNING}dead ReLUs: {dead} of the {len(highest)} units of {layer.name} are 0 for all of "
                f"{len(images)} training images; lower optimizer.learning_rate, or look at the initial weights"
            )
    return ""
