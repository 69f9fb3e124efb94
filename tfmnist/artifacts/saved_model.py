"""Exported models: writing a network as a SavedModel that needs nothing of this package, and loading one."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfmnist.artifacts.folders import CARD, EXTRA, find_version, next_version, read_card, write_manifest
from tfmnist.errors import InputError, TfmnistError
from tfmnist.files import sync
from tfmnist.nn.models import to_unit


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


@dataclass(frozen=True)
class Predictions:
    """What a model says of n images."""

    classes: npt.NDArray[np.int64]  # [n]
    probabilities: npt.NDArray[np.float32]  # [n, classes]
    logits: npt.NDArray[np.float32]  # [n, classes]


@dataclass(frozen=True)
class PicturePredictions(Predictions):
    """What a model says of n picture files, and what it saw."""

    normalized: npt.NDArray[np.uint8]  # [n, height, width]
    digits: npt.NDArray[np.int64]  # [n]: how many digits were found in the picture, 0 for a blank one


class Exported:
    """A loaded model: `predict` images, or use `signatures` as TensorFlow gives them.

    Attributes:
        path: the version's folder.
        card: `assets.extra/model_card.json`.
        class_names: a name a class.
        image_shape: height and width of the images it takes.
    """

    def __init__(self, path: Path):
        self.path = path
        self.card: dict[str, Any] = read_card(path)
        self.image_shape: tuple[int, int] = (self.card["image_shape"][0], self.card["image_shape"][1])
        self.class_names: tuple[str, ...] = tuple(self.card["class_names"])
        self.classes = len(self.class_names)

    @cached_property
    def _loaded(self) -> Any:
        return tf.saved_model.load(str(self.path))

    @property
    def signatures(self) -> Any:
        """The SavedModel's signatures, by name."""
        return self._loaded.signatures

    @cached_property
    def _uint8(self) -> "_OfImages":
        return _OfImages(self.signatures["serving_default"])

    @cached_property
    def _float(self) -> "_OfImages":
        return _OfImages(self.signatures["float_images"])

    @property
    def loss(self) -> str:
        """The kind of loss it was trained with."""
        return self.card["loss"]

    def predict(self, images: npt.ArrayLike) -> Predictions:
        """Classifies n images: uint8 `[n, height, width]` in 0 to 255, or float `[n, height, width]` in [0, 1].

        Raises:
            InputError: another shape or dtype, or floats out of range.
        """
        array = np.asarray(images)
        if array.ndim != 3 or array.shape[1:] != self.image_shape:
            height, width = self.image_shape
            raise InputError(f"images have shape {list(array.shape)}: expected [n, {height}, {width}].")
        if array.dtype == np.uint8:
            found = self._uint8(array)
        elif np.issubdtype(array.dtype, np.floating):
            if array.size and not (array.min() >= 0 and array.max() <= 1):
                raise InputError(
                    f"float images reach from {array.min()} to {array.max()}: expected 0 to 1; divide by 255."
                )
            found = self._float(array.astype(np.float32, copy=False))
        else:
            raise InputError(f"images have dtype {array.dtype}: expected uint8 (0 to 255) or float (0 to 1).")
        return Predictions(**{name: output.numpy() for name, output in found.items()})

    def predict_pictures(self, image_bytes: Sequence[bytes]) -> "PicturePredictions":
        """Classifies picture files, PNG or JPEG, any size, ink dark or light, grey or colour: a user's own photos.

        Args:
            image_bytes: the contents of n files.

        Raises:
            InputError: one is no picture, damaged or too large.
        """
        if "image_bytes" not in self.signatures:
            raise InputError(f"{self.path}: exported without a way to take picture files; export the run again.")
        contents = tf.constant(list(image_bytes), tf.string, [len(image_bytes)])
        try:
            found = self.signatures["image_bytes"](image_bytes=contents)
        except tf.errors.InvalidArgumentError as error:
            raise unreadable(error) from None
        return PicturePredictions(**{field.name: found[field.name].numpy() for field in fields(PicturePredictions)})

    def logits(self, images: Any) -> tf.Tensor:
        """uint8 `[n, height, width]` to float32 `[n, classes]`; what `tfmnist.evaluate` uses."""
        return self._uint8(tf.convert_to_tensor(images))["logits"]


class _OfImages:
    """A signature as a function of its one argument, called as the graph operation that it is.

    Called as a Python function, binding the argument by name and gathering the outputs takes three times as long as
    a small network.
    """

    def __init__(self, signature: Any):
        self.signature = signature  # keeps the function alive
        self.captured = list(signature.captured_inputs)
        self.names = sorted(signature.structured_outputs)  # the order of its outputs
        self.types = [output.dtype for output in signature.outputs]

    def __call__(self, images: Any) -> dict[str, tf.Tensor]:
        call: Any = tf.raw_ops.StatefulPartitionedCall
        outputs = call(args=[images, *self.captured], Tout=self.types, f=self.signature)
        return dict(zip(self.names, outputs))


def unreadable(error: tf.errors.InvalidArgumentError) -> InputError:
    """Returns the error for a picture that TensorFlow cannot decode, in one line."""
    said = re.search(r"assertion failed: \[+([^\]]*)", error.message)
    reason = said[1] if said else "a damaged PNG or JPEG: save it again"
    return InputError(f"a picture cannot be read: {reason}.")


def load_exported(path: str | Path) -> Exported:
    """Loads an exported model, after checking that every file is as it was written.

    Args:
        path: a run folder, a model folder (its newest version is taken), or one version's folder.

    Raises:
        InputError: there is no model, or a file of it is missing or damaged.
    """
    return Exported(find_version(path))
