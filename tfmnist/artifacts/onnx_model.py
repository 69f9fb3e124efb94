"""Models in ONNX: written by tf2onnx, run by ONNX Runtime. Needs the extra `onnx`."""

import logging
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfmnist.artifacts.card import ModelCard
from tfmnist.artifacts.saved_model import default_function
from tfmnist.errors import InputError
from tfmnist.nn.models import Network
from tfmnist.system.files import one_line

_OPSET = 17  # from 2022; current runtimes and services read it


def convert(model: Network, card: ModelCard) -> bytes:
    """Returns `serving_default` of a network as ONNX: images uint8 `[n, height, width]`, the same three outputs.

    Args:
        model: the network, its weights final.
        card: its loss and temperature decide how logits become probabilities.

    Raises:
        InputError: tf2onnx is not installed, or knows no ONNX for an operation of the network.
    """
    tf2onnx = _import("tf2onnx", "writing ONNX needs tf2onnx")
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)  # its errors are raised too
    function = default_function(model, card)
    try:
        converted, _ = tf2onnx.convert.from_function(function, function.input_signature, opset=_OPSET)
        _import("onnx", "writing ONNX needs onnx").checker.check_model(converted)  # operations that ONNX lacks remain
        return converted.SerializeToString()
    except Exception as error:  # it raises many types, none documented
        raise InputError(
            f"{model.name}: cannot be written as ONNX ({one_line(error)[:200]}); export it as a SavedModel."
        ) from None


def load(path: Path) -> Any:
    """Returns a function from images, uint8 `[n, height, width]`, to the outputs, arrays by name.

    Raises:
        InputError: ONNX Runtime is not installed.
    """
    runtime = _import("onnxruntime", f"{path}: reading ONNX needs ONNX Runtime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def predict(images: npt.NDArray[np.uint8]) -> dict[str, Any]:
        return dict(zip(names, session.run(names, {"images": images})))

    return predict


def _import(name: str, need: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise InputError(f"{need}: pip install 'tfmnist[onnx]'") from None
