"""Models in LiteRT, TensorFlow's format for phones and small devices: float32, or 8-bit integers.

TensorFlow writes them; running them needs LiteRT, the extra `litert`.
"""

import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfmnist.artifacts.card import ModelCard
from tfmnist.artifacts.saved_model import default_function
from tfmnist.errors import InputError
from tfmnist.nn.models import Network
from tfmnist.system.files import one_line
from tfmnist.system.import_log import log_hidden
from tfmnist.system.machine import processors


def convert(model: Network, card: ModelCard, calibration: npt.NDArray[np.uint8] | None = None) -> bytes:
    """Returns `serving_default` of a network for LiteRT: images uint8 `[n, height, width]`, the same three outputs.

    Args:
        model: the network, its weights final.
        card: its loss and temperature decide how logits become probabilities.
        calibration: training images, uint8 `[n, height, width]`, that calibrate the 8-bit integers; without
            them, the model computes in float32.

    Raises:
        InputError: LiteRT lacks an operation of the network.
    """

    def examples() -> Iterator[list[npt.NDArray[np.uint8]]]:
        for image in [] if calibration is None else calibration:
            yield [image[np.newaxis]]

    concrete = default_function(model, card).get_concrete_function()
    converter: Any = tf.lite.TFLiteConverter.from_concrete_functions([concrete], model)
    if calibration is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = examples
    try:
        with log_hidden():
            return converter.convert()
    except Exception as error:  # it raises many types, none documented
        raise InputError(
            f"{model.name}: cannot be written for LiteRT ({one_line(error)[:200]}); export it as a SavedModel."
        ) from None


def load(path: Path) -> Any:
    """Returns a function from images, uint8 `[n, height, width]`, to the outputs, arrays by name.

    Raises:
        InputError: LiteRT is not installed.
    """
    try:
        runtime = import_module("ai_edge_litert.interpreter")
    except ImportError:
        raise InputError(f"{path}: reading LiteRT needs its library: pip install 'tfmnist[litert]'") from None
    with log_hidden():
        interpreter = runtime.Interpreter(str(path), num_threads=processors())
        interpreter.allocate_tensors()
    (name,) = interpreter.get_signature_list()
    runner = interpreter.get_signature_runner(name)
    lock = threading.Lock()  # its buffers are shared by all calls

    def predict(images: npt.NDArray[np.uint8]) -> dict[str, Any]:
        with lock:  # no convolution accepts n = 0
            outputs = runner(images=images if len(images) else np.zeros([1, *images.shape[1:]], np.uint8))
            return {key: np.array(output[: len(images)]) for key, output in outputs.items()}

    return predict
