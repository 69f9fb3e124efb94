"""Writing a network as a SavedModel that needs nothing of this package."""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfmnist.artifacts.card import ModelCard
from tfmnist.artifacts.versions import next_version, write_manifest
from tfmnist.errors import InputError, TfmnistError
from tfmnist.nn.models import to_unit
from tfmnist.system.files import publish, staged_folder


def make_signatures(
    forward: Callable[[tf.Tensor], tf.Tensor],
    probabilities: Callable[[tf.Tensor], tf.Tensor],
    normalize: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]],
    variables: Sequence[tf.Variable],
    *,
    image_shape: tuple[int, int],
    has_convolutions: bool = False,
) -> tf.Module:
    """Traces the functions that an exported model offers, one per signature.

    That takes seconds and reads no variable's value, so another thread may do it during training.

    Args:
        forward: float32 `[n, height, width]` in [0, 1] to logits, float32 `[n, classes]`.
        probabilities: logits to probabilities, float32 `[n, classes]`.
        normalize: picture files, string `[n]`, to images as the model expects them, uint8 `[n, height, width]`; the
            number of digits found in each, int64 `[n]`; and whether each was read, int64 `[n]`.
        variables: what `forward` reads; they are saved with the model.
        image_shape: height and width.
        has_convolutions: whether `forward` convolves, which oneDNN gets wrong for no images (n = 0).
    """

    def predict(images: tf.Tensor) -> dict[str, tf.Tensor]:
        if has_convolutions:  # oneDNN returns zero images with the input's channels: add one image
            missing = tf.cast(tf.equal(tf.shape(images)[0], 0), tf.int32)
            padded = tf.concat([images, tf.zeros([missing, *image_shape], images.dtype)], axis=0)
            logits = forward(padded)[: tf.shape(images)[0]]
        else:
            logits = forward(images)
        return {"classes": tf.argmax(logits, axis=-1), "probabilities": probabilities(logits), "logits": logits}

    def predict_uint8(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return predict(to_unit(images))

    def predict_pictures(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        normalized, digits, status = normalize(image_bytes)
        return {**predict_uint8(normalized), "normalized": normalized, "digits": digits, "status": status}

    def trace(function: Callable[[tf.Tensor], dict[str, tf.Tensor]], spec: tf.TensorSpec) -> Any:
        # a concrete function: the writer would trace a tf.function once more
        return tf.function(function, input_signature=[spec], autograph=False).get_concrete_function()

    shape = [None, *image_shape]
    module: Any = tf.Module()
    module.weights = list(variables)
    module.serving_default = trace(predict_uint8, tf.TensorSpec(shape, tf.uint8, name="images"))
    module.float_images = trace(predict, tf.TensorSpec(shape, tf.float32, name="images"))
    module.image_bytes = trace(predict_pictures, tf.TensorSpec([None], tf.string, name="image_bytes"))
    return module


def write_saved_model(destination: Path, signatures: tf.Module, card: ModelCard) -> Path:
    """Writes the next version of a model folder, `destination/1`, `2`, ..., whole or not at all.

    Args:
        destination: the model's folder, made if it does not exist. Existing versions are never touched.
        signatures: what `make_signatures` returned.
        card: the model card; its signatures are filled in.

    Returns:
        The version's folder.

    Raises:
        InputError: the folder cannot be made.
        TfmnistError: TensorFlow cannot write the model.
    """
    with ExitStack() as stack:
        try:
            destination.mkdir(parents=True, exist_ok=True)
            # a name that is not a number, so that servers which watch the folder do not load it
            folder = stack.enter_context(staged_folder(destination, "writing"))
        except OSError as error:
            raise InputError(
                f"{destination}: cannot write the model there: {error.strerror}; choose another folder."
            ) from None
        try:
            _save(folder, signatures, card.class_names)
        except tf.errors.OpError as error:  # which is how TensorFlow reports that the disk is full
            raise TfmnistError(f"{destination}: the model cannot be written: {error.message}") from None
        card.write(folder)
        write_manifest(folder)
        return publish(folder, (destination / str(next_version(destination)) for _ in count()))


def _save(folder: Path, module: Any, class_names: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        labels = Path(scratch) / "labels.txt"
        labels.write_text("".join(f"{name}\n" for name in class_names), encoding="utf-8", newline="\n")
        module.labels = tf.saved_model.Asset(str(labels))
        signatures = {name: getattr(module, name) for name in ("serving_default", "float_images", "image_bytes")}
        log = tf.get_logger()
        level = log.level
        log.setLevel("ERROR")  # it would name a folder that is renamed a moment later
        try:
            tf.saved_model.save(module, str(folder), signatures=signatures)
        finally:
            log.setLevel(level)
