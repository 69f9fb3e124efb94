"""Loads exported models."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfmnist.artifacts import litert, onnx_model
from tfmnist.artifacts.saved_model import trace_normalize
from tfmnist.artifacts.versions import find_version, read_card
from tfmnist.errors import InputError
from tfmnist.nn.runtime import check_runtime
from tfmnist.photos.normalize import ImageFormat
from tfmnist.photos.status import Status


@dataclass(frozen=True)
class Predictions:
    """What a model predicts for n images."""

    classes: npt.NDArray[np.int64]  # [n]
    probabilities: npt.NDArray[np.float32]  # [n, classes]
    logits: npt.NDArray[np.float32]  # [n, classes]


@dataclass(frozen=True)
class PicturePredictions(Predictions):
    """What a model predicts for n picture files, and the images it was shown."""

    normalized: npt.NDArray[np.uint8]  # [n, height, width]
    digits: npt.NDArray[np.int64]  # [n]: how many digits were found in the picture, 0 for a blank one
    status: npt.NDArray[np.int64]  # [n]: the `Status`, 0 if it was read as one digit


class Exported:
    """A loaded model: `predict` images, or call its `signatures`.

    Attributes:
        path: the version's folder, or an ONNX or LiteRT file.
        card: `assets.extra/model_card.json`, or the card in the file.
        class_names: one name per class.
        classes: number of classes.
        image_shape: height and width of the images it takes.
        loss: the kind of loss it was trained with.
        temperature: by which its logits are divided before they become probabilities.
        threshold: an answer whose probability is lower is not sure; 0 if all count as sure.
    """

    def __init__(self, path: Path):
        self.path = path
        self._card = card = read_card(path)
        self.card: dict[str, Any] = card.to_dict()
        self.image_shape, self.class_names, self.loss = card.image_shape, card.class_names, card.loss
        self.temperature, self.threshold = card.temperature or 1.0, card.threshold or 0.0
        self.classes = len(self.class_names)
        self._is_file = path.is_file()
        self._lock = threading.RLock()
        self._called: set[str] = set()

    @property
    def signatures(self) -> Any:
        """The SavedModel's signatures, TensorFlow functions by name.

        Raises:
            InputError: it is an ONNX or LiteRT file.
        """
        if self._is_file:
            raise InputError(f"{self.path}: has no signatures, only predict; export it as a SavedModel.")
        with self._lock:  # concurrent first calls load it once
            return self._loaded.signatures

    @cached_property
    def _loaded(self) -> Any:
        return tf.saved_model.load(str(self.path))

    @property
    def image_format(self) -> ImageFormat:
        """The format of its training images.

        Raises:
            InputError: it was exported by an older version of tfmnist, without the format.
        """
        if self._card.form is None:
            raise InputError(f"{self.path}: exported without the format of its images; export it again.")
        return ImageFormat.from_dict(self._card.form)

    @cached_property
    def _functions(self) -> dict[str, Callable[[Any], dict[str, Any]]]:
        """Functions of images or picture files that return tensors or arrays by name."""
        if not self._is_file:
            return {name: _Signature(signature) for name, signature in self.signatures.items()}
        default = (onnx_model if self.path.suffix == ".onnx" else litert).load(self.path)

        def pictures(contents: tf.Tensor) -> dict[str, Any]:
            normalized, digits, status = self._normalize(contents)
            return {**default(normalized.numpy()), "normalized": normalized, "digits": digits, "status": status}

        return {"serving_default": default, "image_bytes": pictures}

    @cached_property
    def _normalize(self) -> Callable[[tf.Tensor], Any]:
        """The preprocessing that a SavedModel's `image_bytes` does."""
        return trace_normalize(self.image_format, self.class_names)

    def _call(self, name: str, inputs: Any) -> dict[str, Any]:
        """Calls a function; the first call prepares its graph, once, while other threads wait."""
        if name in self._called:
            return self._functions[name](inputs)
        with self._lock:
            outputs = self._functions[name](inputs)
            self._check(outputs)
            self._called.add(name)
            return outputs

    def _check(self, outputs: dict[str, Any]) -> None:
        """Compares the outputs with the model card."""
        computed = outputs["logits"].shape[-1] if "logits" in outputs else self.classes
        if computed != self.classes:
            raise InputError(
                f"{self.path}: its model card has {self.classes} class names, but the model {computed} classes; "
                "export the model again."
            )

    def predict(self, images: npt.ArrayLike) -> Predictions:
        """Classifies n images: uint8 `[n, height, width]` in 0 to 255, or float `[n, height, width]` in [0, 1].

        An ONNX or LiteRT file takes uint8 images only.

        Raises:
            InputError: the shape or dtype is wrong, or floats are out of range.
        """
        check_runtime()
        array = np.asarray(images)
        if array.ndim != 3 or array.shape[1:] != self.image_shape:
            height, width = self.image_shape
            raise InputError(f"images have shape {list(array.shape)}: expected [n, {height}, {width}].")
        if array.dtype == np.uint8:
            outputs = self._call("serving_default", array)
        elif self._is_file:
            raise InputError(f"images have dtype {array.dtype}: a {self.path.suffix} file takes uint8, 0 to 255.")
        elif np.issubdtype(array.dtype, np.floating):
            if array.size and not (array.min() >= 0 and array.max() <= 1):
                raise InputError(
                    f"float images range from {array.min()} to {array.max()}: expected 0 to 1; divide by 255."
                )
            outputs = self._call("float_images", array.astype(np.float32, copy=False))
        else:
            raise InputError(f"images have dtype {array.dtype}: expected uint8 (0 to 255) or float (0 to 1).")
        return Predictions(**{name: np.asarray(output) for name, output in outputs.items()})

    def predict_pictures(self, image_bytes: Sequence[bytes]) -> PicturePredictions:
        """Classifies a user's own photos: files of any size, ink dark or light, in grey or colour.

        Check `status` before `classes`: even a file that is no picture, is blank or shows several digits gets a class.
        An unreadable one does not fail the others.

        Args:
            image_bytes: the contents of n files, PNG, JPEG, BMP or GIF.

        Raises:
            InputError: the model cannot read picture files, or an older model cannot read one of these.
        """
        check_runtime()
        with self._lock:
            if "image_bytes" not in self._functions:
                raise InputError(f"{self.path}: exported without a signature for picture files; export it again.")
        contents = tf.constant(list(image_bytes), tf.string, [len(image_bytes)])
        try:
            outputs = {name: np.asarray(output) for name, output in self._call("image_bytes", contents).items()}
        except tf.errors.InvalidArgumentError:  # exported by version 0.1, which has no status
            raise InputError(f"a picture cannot be read: {Status.DAMAGED.explain()}") from None
        digits = outputs["digits"]
        outputs.setdefault("status", np.choose(np.minimum(digits, 2), [Status.BLANK, Status.READ, Status.SEVERAL]))
        return PicturePredictions(**outputs)

    def logits(self, images: Any) -> tf.Tensor:
        """Returns logits, float32 `[n, classes]`, for images, uint8 `[n, height, width]`, for `tfmnist.evaluate`."""
        return tf.convert_to_tensor(self._call("serving_default", np.asarray(images))["logits"])

    def call(self, signature: str, inputs: Any) -> dict[str, npt.NDArray[Any]]:
        """Calls a signature with its input; returns its outputs by name."""
        return {name: np.asarray(output) for name, output in self._call(signature, inputs).items()}


class _Signature:
    """A signature as a function of its input, called as a graph operation.

    Called as a Python function, it would spend three times a small network's time on binding arguments and outputs.
    """

    def __init__(self, signature: Any):
        self.signature = signature  # keeps the function alive
        self.captured = list(signature.captured_inputs)
        self.names = sorted(signature.structured_outputs)  # in the order of its outputs
        self.types = [output.dtype for output in signature.outputs]

    def __call__(self, inputs: Any) -> dict[str, tf.Tensor]:
        call: Any = tf.raw_ops.StatefulPartitionedCall
        outputs = call(args=[inputs, *self.captured], Tout=self.types, f=self.signature)
        return dict(zip(self.names, outputs))


def load_exported(path: str | Path) -> Exported:
    """Loads an exported model, after checking that its files are intact.

    Args:
        path: a run folder, a model folder (its newest version is used), one version's folder, or an ONNX or LiteRT
            file.

    Raises:
        InputError: there is no model, or a file of it is missing, damaged or not in its manifest.
    """
    return Exported(find_version(path))
