"""Exports a network as ONNX or LiteRT, in one file, checked on every test image."""

import tempfile
from pathlib import Path
from typing import Literal

import numpy as np

from tfmnist.artifacts import litert, onnx_model
from tfmnist.artifacts.card import ModelCard
from tfmnist.artifacts.saved_model import compare_outputs
from tfmnist.artifacts.sealed import seal_litert, seal_onnx
from tfmnist.artifacts.versions import publish_version, staged_version
from tfmnist.data.split import Digits, Split, spread
from tfmnist.errors import InputError, TfmnistError, did_you_mean
from tfmnist.nn.models import Network
from tfmnist.system.files import one_line, write_whole

Format = Literal["savedmodel", "onnx", "litert"]
SUFFIXES: dict[str, str] = {"onnx": ".onnx", "litert": ".tflite"}

_BATCH = 1000
_CALIBRATION = 500  # training images
_INT8_LOSS = 0.01  # of accuracy, at most


def check_destination(destination: Path, kind: Format) -> None:
    """Raises an `InputError` if the format is unknown, or the destination is named like a file of another format."""
    if kind not in ("savedmodel", *SUFFIXES):
        raise InputError(f"format {kind!r} does not exist{did_you_mean(kind, ('savedmodel', *SUFFIXES))}")
    own = SUFFIXES.get(kind, "")
    if destination.suffix in SUFFIXES.values() and (destination.suffix != own or destination.is_dir()):
        expected = f"a file that ends in {own}, or" if own else "no file but"
        raise InputError(f"{destination}: expected {expected} a model folder, for --format {kind}; name another.")


def write_portable(
    destination: Path, model: Network, card: ModelCard, digits: Digits, kind: Format
) -> tuple[Path, list[str]]:
    """Writes a network as ONNX or LiteRT, LiteRT both in float32 and in 8-bit integers, `_int8` after its name.

    Args:
        destination: a file, which is replaced as a whole; or a model folder, which gets the next version.
        model: the network, its weights final.
        card: the model card, which becomes part of each file.
        digits: the data set: training images calibrate the 8-bit integers, and the file is compared with the
            network on all test images.
        kind: `onnx` or `litert`.

    Returns:
        The file, or the version's folder; and one line for each file, with its test accuracy.

    Raises:
        InputError: the library is not installed, the format lacks an operation, or nothing can be written there.
        TfmnistError: the written model does not compute what the network does.
    """
    suffix = SUFFIXES[kind]
    converted = {"": onnx_model.convert(model, card) if kind == "onnx" else litert.convert(model, card)}
    if kind == "litert":
        converted["_int8"] = litert.convert(model, card, spread(digits.train, _CALIBRATION))
    seal = seal_onnx if kind == "onnx" else seal_litert
    sealed = {name: seal(content, card) for name, content in converted.items()}
    is_file = destination.suffix == suffix
    stem = destination.stem if is_file else "model"
    reports: list[str] = []
    accuracies: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, content in sealed.items():
            path = Path(scratch) / f"{stem}{name}{suffix}"
            path.write_bytes(content)
            accuracies[name], report = _check(destination, path, model, digits.test, is_exact=not name)
            reports.append(f"{path.name}: {report}")
    if accuracies.get("_int8", 1.0) < accuracies[""] - _INT8_LOSS:
        raise TfmnistError(
            f"{destination}: not written: in 8-bit integers, the network has an accuracy of {accuracies['_int8']:.2%}, "
            f"in float32 {accuracies['']:.2%}; expected at most one point less. Export it as ONNX or as a SavedModel."
        )
    if not is_file:
        with staged_version(destination, f"model{suffix}") as folder:
            for name, content in sealed.items():
                (folder / f"{stem}{name}{suffix}").write_bytes(content)
            return publish_version(folder, destination), reports
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        for name, content in sealed.items():
            write_whole(destination.with_name(f"{stem}{name}{suffix}"), content)
    except OSError as error:
        raise InputError(f"{destination}: cannot write it: {error.strerror}; choose another path.") from None
    return destination, reports


def _check(destination: Path, path: Path, model: Network, test: Split, is_exact: bool) -> tuple[float, str]:
    """Returns the accuracy on all test images, and a line that adds how often the class is the network's."""
    predict = None
    correct = same = 0
    for start in range(0, len(test), _BATCH):
        images, labels = test.take(np.arange(start, min(start + _BATCH, len(test))))
        try:
            predict = predict or (onnx_model if path.suffix == ".onnx" else litert).load(path)
            outputs = predict(images)
        except TfmnistError:
            raise
        except Exception as error:  # the libraries raise many types, none documented
            raise InputError(
                f"{destination}: not written: the network, converted to {path.suffix[1:]}, cannot be run "
                f"({one_line(error)[:200]}); export it as a SavedModel."
            ) from None
        logits = model.logits(images).numpy()
        if is_exact:
            compare_outputs(destination, outputs, logits)
        correct += int(np.sum(outputs["classes"] == labels))
        same += int(np.sum(outputs["classes"] == logits.argmax(axis=1)))
    agreement = "all" if same == len(test) else f"{same:,}"
    accuracy = correct / len(test)
    return accuracy, f"{accuracy:.2%} of {len(test):,} test images; the network's class for {agreement}"
