"""Exported models: writing a network as a SavedModel that needs nothing of this package, and loading one."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfmnist.artifacts.versions import CARD, EXTRA, next_version, write_manifest
from tfmnist.errors import InputError, TfmnistError
from tfmnist.nn.models import to_unit
from tfmnist.system.files import sync


def make_signatures(
    forward: Callable[[tf.Tensor], tf.Tensor],
    probabilities: Callable[[tf.Tensor], tf.Tensor],
    normalize: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
    variables: Sequence[tf.Variable],
    *,
    image_shape: tuple[int, int],
) -> tf.Module:
    """Traces what an exported model answers, one function a signature; takes seconds, and no value of a variable.

    So it can be done in another thread while the variables are still trained.

    Args:
        forward: float32 `[n, height, width]` in [0, 1] to logits, float32 `[n, classes]`.
        probabilities: logits to probabilities.
        normalize: picture files, string [n], to images as the model shall see them, uint8 [n, height, width], and the
            number of digits found in each, int64 [n].
        variables: what `forward` reads; they are saved with the model.
        image_shape: height and width.
    """

    def answer(images: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = forward(images)
        return {"classes": tf.argmax(logits, axis=-1), "probabilities": probabilities(logits), "logits": logits}

    def answer_uint8(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return answer(to_unit(images))

    def answer_pictures(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        normalized, digits = normalize(image_bytes)
        return {**answer_uint8(normalized), "normalized": normalized, "digits": digits}

    def signature(function: Callable[[tf.Tensor], dict[str, tf.Tensor]], spec: tf.TensorSpec) -> Any:
        # the function as traced: of one that can trace, the writer would want another trace
        return tf.function(function, input_signature=[spec], autograph=False).get_concrete_function()

    shape = [None, *image_shape]
    module: Any = tf.Module()
    module.weights = list(variables)
    module.serving_default = signature(answer_uint8, tf.TensorSpec(shape, tf.uint8, name="images"))
    module.float_images = signature(answer, tf.TensorSpec(shape, tf.float32, name="images"))
    module.image_bytes = signature(answer_pictures, tf.TensorSpec([None], tf.string, name="image_bytes"))
    return module


def write_saved_model(
    destination: Path,
    signatures: tf.Module,
    *,
    image_shape: tuple[int, int],
    class_names: Sequence[str],
    card: dict[str, Any],
) -> Path:
    """Writes the next version of a model folder, `destination/1`, `2`, ..., whole or not at all.

    Args:
        destination: the model's folder; made where it does not exist. Versions that are there are never touched.
        signatures: what `make_signatures` returns.
        image_shape: height and width.
        class_names: a name a class, in the order of the logits.
        card: what `assets.extra/model_card.json` shall say; names of inputs and outputs are added.

    Returns:
        The version's folder.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        destination.mkdir(parents=True, exist_ok=True)
        # a name that is no number: servers that watch the folder load numbers only
        staging = Path(tempfile.mkdtemp(prefix=".writing-", dir=destination))
    except OSError as error:
        raise InputError(
            f"{destination}: cannot write the model there: {error.strerror}; choose another folder."
        ) from None
    try:
        _save(staging, signatures, class_names)
        (staging / EXTRA).mkdir()
        (staging / CARD).write_text(json.dumps({**card, **_interface(image_shape, class_names)}, indent=2) + "\n")
        write_manifest(staging)
        for path in (staging, *staging.rglob("*")):
            sync(path)
        os.chmod(staging, 0o755)
        version = _publish(staging, destination)
    except tf.errors.OpError as error:  # TensorFlow's way to say that the disk is full
        shutil.rmtree(staging, ignore_errors=True)
        raise TfmnistError(f"{destination}: the model cannot be written: {error.message}") from None
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    sync(destination)
    return version


def _save(staging: Path, module: Any, class_names: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        labels = Path(folder) / "labels.txt"
        labels.write_text("".join(f"{name}\n" for name in class_names), encoding="utf-8")
        module.labels = tf.saved_model.Asset(str(labels))
        signatures = {name: getattr(module, name) for name in ("serving_default", "float_images", "image_bytes")}
        log = tf.get_logger()
        level = log.level
        log.setLevel("ERROR")  # it would name a folder that is gone a moment later
        try:
            tf.saved_model.save(module, str(staging), signatures=signatures)
        finally:
            log.setLevel(level)


def _interface(image_shape: tuple[int, int], class_names: Sequence[str]) -> dict[str, Any]:
    height, width = image_shape
    outputs = {
        "classes": {"dtype": "int64", "shape": ["n"]},
        "probabilities": {"dtype": "float32", "shape": ["n", len(class_names)]},
        "logits": {"dtype": "float32", "shape": ["n", len(class_names)]},
    }
    pictures = {
        "normalized": {"dtype": "uint8", "shape": ["n", height, width]},
        "digits": {"dtype": "int64", "shape": ["n"]},
    }
    images = {
        "serving_default": {"images": {"dtype": "uint8", "shape": ["n", height, width], "range": [0, 255]}},
        "float_images": {"images": {"dtype": "float32", "shape": ["n", height, width], "range": [0, 1]}},
        "image_bytes": {"image_bytes": {"dtype": "string", "shape": ["n"], "content": "PNG or JPEG files"}},
    }
    return {
        "image_shape": [height, width],
        "class_names": list(class_names),
        "signatures": {
            name: {"inputs": inputs, "outputs": outputs | (pictures if name == "image_bytes" else {})}
            for name, inputs in images.items()
        },
    }


def _publish(staging: Path, destination: Path) -> Path:
    while True:
        version = destination / str(next_version(destination))
        try:
            os.rename(staging, version)
            return version
        except OSError:
            if not version.exists():
                raise  # else another process has just taken this number: take the next
