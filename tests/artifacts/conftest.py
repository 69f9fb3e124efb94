"""A small exported model that several tests load; its picture files are plain bytes, so that it is traced quickly."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tfmnist
from tfmnist.artifacts.card import ModelCard
from tfmnist.artifacts.saved_model import make_signatures, write_saved_model
from tfmnist.photos.normalize import ImageFormat

FORMAT = ImageFormat(6, 5, centred=False, dark_on_light=True)
CARD = ModelCard(loss="cross_entropy", form=FORMAT.to_dict(), image_shape=(6, 5), class_names=("a", "b", "c"))
IMAGES = np.random.default_rng(0).integers(0, 256, (9, 6, 5)).astype(np.uint8)


def normalize(contents: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The bytes are pixels; an image whose first pixel is 7 was not read, with status 7."""
    images = tf.reshape(tf.io.decode_raw(contents, tf.uint8), [-1, 6, 5])
    status = 7 * tf.cast(images[:, 0, 0] == 7, tf.int64)
    return images, tf.cast(status == 0, tf.int64), status


@pytest.fixture(scope="session")
def model() -> tfmnist.CNN:
    return tfmnist.CNN((6, 5), ["conv 4 3x3", "dense 7"], 3, seed=4)


@pytest.fixture(scope="session")
def trace(model: tfmnist.CNN) -> Callable[[], tf.Module]:
    return lambda: make_signatures(model, CARD, normalize)


@pytest.fixture(scope="session")
def signatures(trace: Callable[[], tf.Module]) -> tf.Module:
    return trace()


@pytest.fixture(scope="session")
def card() -> ModelCard:
    return CARD


Write = Callable[..., Path]


@pytest.fixture(scope="session")
def write(model: tfmnist.CNN, signatures: tf.Module) -> Write:
    """Writes the model, with changes if they are given."""
    defaults = {"model": model, "signatures": signatures, "card": CARD, "images": IMAGES}
    return lambda folder, **changes: write_saved_model(folder, **{**defaults, **changes})


@pytest.fixture(scope="session")
def exported(write: Write, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "model"
    assert write(folder) == folder / "1"
    return folder
