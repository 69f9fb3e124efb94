"""Writes a network as a SavedModel that does not need this package."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfmnist.artifacts.card import ModelCard
from tfmnist.artifacts.folded import fold
from tfmnist.artifacts.versions import publish_version, staged_version, write_manifest
from tfmnist.artifacts.warmup import write_warmup
from tfmnist.errors import TfmnistError
from tfmnist.nn.losses import probabilities
from tfmnist.nn.models import Network, float32_logits, to_unit
from tfmnist.photos.normalize import ImageFormat, are_digits, normalize
from tfmnist.photos.status import Status


def default_function(model: Network, card: ModelCard) -> Any:
    """Returns `serving_default` as one `tf.function` for other formats, without support for n = 0."""
    folded = fold(model)

    def serving_default(images: tf.Tensor) -> dict[str, tf.Tensor]:
        if folded:
            return _outputs(folded(tf.cast(images, tf.float32)), card)
        return _outputs(float32_logits(model.forward(to_unit(images), False, None)), card)

    spec = tf.TensorSpec([None, *model.image_shape], tf.uint8, name="images")
    return tf.function(serving_default, input_signature=[spec], autograph=False)


def _outputs(logits: tf.Tensor, card: ModelCard) -> dict[str, tf.Tensor]:
    shares = probabilities(card.loss, logits, card.temperature or 1.0)
    return {"classes": tf.argmax(logits, axis=-1), "probabilities": shares, "logits": logits}


def trace_normalize(form: ImageFormat, class_names: Sequence[str]) -> Callable[[tf.Tensor], Any]:
    """Traces the preprocessing of picture files, which takes most of the time of an export.

    It needs no weights, so another thread can do it during training.
    """
    read = partial(normalize, image_format=form, digits_only=are_digits(class_names))
    spec = tf.TensorSpec([None], tf.string)
    return tf.function(read, input_signature=[spec], autograph=False).get_concrete_function()


def make_signatures(
    model: Network, card: ModelCard, read: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]
) -> tf.Module:
    """Traces the functions that an exported model offers, one per signature.

    Args:
        model: a network with its final weights, which become constants if its layers are built in.
        card: its loss and temperature decide how logits become probabilities.
        read: picture files, string `[n]`, to images as the model expects them, uint8 `[n, height, width]`; the
            number of digits found in each, int64 `[n]`; and whether each was read, int64 `[n]`.
    """
    image, has_convolutions = model.image_shape, model.has_convolutions

    def trace(function: Callable[..., Any], name: str, dtype: tf.DType, shape: Sequence[int] = ()) -> Any:
        # a concrete function: the writer would trace a tf.function again
        spec = tf.TensorSpec([None, *shape], dtype, name=name)
        return tf.function(function, input_signature=[spec], autograph=False).get_concrete_function()

    folded = fold(model)
    shared: Any = trace(folded, "pixels", tf.float32, image) if folded else None  # the constants, stored once

    def of_pixels(images: tf.Tensor) -> tf.Tensor:
        return shared(tf.cast(images, tf.float32)) if folded else of_units(to_unit(images))

    def of_units(images: tf.Tensor) -> tf.Tensor:
        return shared(images * 255.0) if folded else float32_logits(model.forward(images, False, None))

    def predict(images: tf.Tensor, forward: Callable[[tf.Tensor], tf.Tensor]) -> dict[str, tf.Tensor]:
        if has_convolutions:  # for n = 0, oneDNN returns the input's channels: add one image
            missing = tf.cast(tf.equal(tf.shape(images)[0], 0), tf.int32)
            padded = tf.concat([images, tf.zeros([missing, *image], images.dtype)], axis=0)
            logits = forward(padded)[: tf.shape(images)[0]]
        else:
            logits = forward(images)
        return _outputs(logits, card)

    def pictures(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        normalized, digits, status = read(image_bytes)
        return {**predict(normalized, of_pixels), "normalized": normalized, "digits": digits, "status": status}

    def classify(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        feature = tf.io.FixedLenFeature([], tf.string, default_value="")
        parsed: Any = tf.io.parse_example(inputs, {"image/encoded": feature})
        images, _, status = read(parsed["image/encoded"])
        scores = tf.where(
            tf.equal(status, Status.READ)[:, tf.newaxis], predict(images, of_pixels)["probabilities"], 0.0
        )
        best = tf.math.top_k(scores, len(card.class_names))
        return {"classes": tf.gather(tf.constant(card.class_names), best.indices), "scores": best.values}

    module: Any = tf.Module()
    module.weights = [] if folded else list(model.named_variables().values())
    module.serving_default = trace(lambda images: predict(images, of_pixels), "images", tf.uint8, image)
    module.float_images = trace(lambda images: predict(images, of_units), "images", tf.float32, image)
    module.image_bytes = trace(pictures, "image_bytes", tf.string)
    module.classify = trace(classify, "inputs", tf.string)
    return module


def write_saved_model(
    destination: Path, model: Network, signatures: tf.Module, card: ModelCard, images: npt.NDArray[np.uint8]
) -> Path:
    """Writes the next version of a model folder, `destination/1`, `2`, ..., whole or not at all.

    What was written is loaded again and compared with the network before it appears.

    Args:
        destination: the model folder, created if missing. Existing versions are never touched.
        model: the network.
        signatures: what `make_signatures` returned for it.
        card: the model card; its signatures are filled in.
        images: some images to compare and to warm up with, uint8 `[n, height, width]`, n at least 1.

    Returns:
        The version's folder.

    Raises:
        InputError: the folder cannot be made, or holds versions of another format.
        TfmnistError: TensorFlow cannot write the model, or what was written computes something else.
    """
    with staged_version(destination, "saved_model.pb") as folder:
        try:
            _save(folder, signatures, card.labels)
            write_warmup(folder, images)
        except tf.errors.OpError as error:  # TensorFlow reports a full disk like this
            raise TfmnistError(f"{destination}: the model cannot be written: {error.message}") from None
        serve: Any = tf.saved_model.load(str(folder))
        outputs = serve.signatures["serving_default"](images=tf.constant(images))
        compare_outputs(destination, outputs, model.logits(images).numpy())
        card.write(folder)
        write_manifest(folder)
        return publish_version(folder, destination)


def compare_outputs(where: Path, outputs: Mapping[str, Any], expected: npt.NDArray[np.float32]) -> None:
    """Raises a `TfmnistError` unless the outputs of an exported model are those of the network.

    Args:
        where: the model, for the message.
        outputs: `classes` and `logits` for n images.
        expected: the logits of the network, `[n, classes]`; up to 0.1 % of the largest is rounding.
    """
    logits = np.asarray(outputs["logits"])
    scale = np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
    close = np.isclose(logits, expected, rtol=0.0, atol=1e-3 * scale, equal_nan=True)
    if not close.all() or not np.array_equal(outputs["classes"], logits.argmax(axis=1)):
        difference = np.abs(logits - expected)[~close].max(initial=0.0)
        raise TfmnistError(
            f"{where}: not written: the exported model's logits differ from the network's by {difference:.2g}, of "
            f"{scale:.2g}; expected the same up to rounding. Is forward deterministic with training=False?"
        )


def _save(folder: Path, module: Any, class_names: str) -> None:
    names = ("serving_default", "float_images", "image_bytes", "classify")
    with tempfile.TemporaryDirectory() as scratch:
        labels = Path(scratch) / "labels.txt"
        labels.write_text(class_names, encoding="utf-8", newline="\n")
        module.labels = tf.saved_model.Asset(str(labels))
        log = tf.get_logger()
        level = log.level
        log.setLevel("ERROR")  # it would name a folder that is about to be renamed
        try:
            tf.saved_model.save(module, str(folder), signatures={name: getattr(module, name) for name in names})
            # TensorFlow Serving's API for classification asks for this name
            update = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(str(folder))
            update.replace_method_name("classify", tf.saved_model.CLASSIFY_METHOD_NAME)
            update.save()
        finally:
            log.setLevel(level)
    (folder / "fingerprint.pb").unlink()  # of the file before that; the manifest has the digest
