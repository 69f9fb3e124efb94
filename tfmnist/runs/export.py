"""Exports a run or a network."""

import platform
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfmnist.artifacts.card import ModelCard
from tfmnist.artifacts.saved_model import make_signatures, trace_normalize, write_saved_model
from tfmnist.artifacts.versions import list_versions, read_card
from tfmnist.data.idx import read_images
from tfmnist.data.split import Digits, Split, spread
from tfmnist.errors import InputError, faults_in_one_line
from tfmnist.nn.losses import LossFunction, find_loss
from tfmnist.nn.models import Network, as_network
from tfmnist.nn.runtime import check_runtime
from tfmnist.photos.normalize import ImageFormat, find_format
from tfmnist.recipe import Export, Recipe
from tfmnist.runs.build import load_unchanged, make_model
from tfmnist.runs.own_code import name_of
from tfmnist.runs.portable import Format, check_destination, write_portable
from tfmnist.runs.result import WEIGHTS, Result, intact_files
from tfmnist.system.files import read_npz
from tfmnist.system.machine import VERSION
from tfmnist.training.evaluation import check_split
from tfmnist.training.loop import set_weights

_NOT_IN_CARD = ("data", "versions", "seconds", "host", "command", "git_commit", "sha256", "files")  # keys of a result


def export(
    run_or_model: str | Path | tf.Module,
    destination: str | Path,
    *,
    format: Format = "savedmodel",
    class_names: Sequence[str] | None = None,
    loss: str | LossFunction = "cross_entropy",
    image_shape: Sequence[int] = (),
    classes: int = 0,
    data: Digits | None = None,
    temperature: float | None = None,
    threshold: float | None = None,
) -> Path:
    """Writes a trained network, with its preprocessing, as a SavedModel: the next version in a model folder.

    The SavedModel needs neither this package nor your code. It takes images as uint8, as float32, or as the bytes of
    picture files, and returns classes, probabilities and logits. ONNX and LiteRT files take images as uint8 alone.

    Args:
        run_or_model: the folder of a finished run; or a network or plain `tf.Module`, trained with `tfmnist.fit` or
            otherwise.
        destination: the model folder, which may exist; the new version is its sub-folder `1`, or the next number. For
            `onnx` and `litert` also a file, `.onnx` or `.tflite`, which is replaced.
        format: `savedmodel`, `onnx` (in a folder, `model.onnx`) or `litert` (`model.tflite` in float32, and
            `model_int8.tflite` in 8-bit integers).
        class_names: for a network, one name per class; by default `0`, `1`, ...
        loss: for a network, the name or function of its training loss, for the model card. `quadratic`
            turns logits into probabilities by sigmoids, all others by softmax.
        image_shape: for a plain module, height and width of its images; required.
        classes: for a plain module, number of its logits; 0 to take it from what `forward` returns.
        data: for `onnx` and `litert` of a network, the data set: its training images calibrate the 8-bit integers, and
            all its test images are compared. A run has its own.
        temperature: above 0: by which logits are divided before they become probabilities; by default the run's
            `export.temperature`, for a network 1.
        threshold: 0 to 1: probability from which an answer counts as sure; by default the run's `export.threshold`,
            for a network 0, so that all do.

    Returns:
        The folder of the new version, or the file.

    Raises:
        InputError: the run is not finished, the module or the class names do not fit, a number is out of range, the
            format's library is missing, or the folder cannot be written.
        TfmnistError: the written model does not compute what the network does.
    """
    arguments = {"class_names": class_names, "loss": loss, "image_shape": image_shape, "classes": classes}
    confidence = {"temperature": temperature, "threshold": threshold}
    return export_checked(run_or_model, Path(destination), format, data, **arguments, **confidence)[0]


def export_checked(
    run_or_model: str | Path | tf.Module,
    destination: Path,
    format: Format,
    data: Digits | None = None,
    *,
    temperature: float | None = None,
    threshold: float | None = None,
    **about: Any,
) -> tuple[Path, list[str]]:
    """Like `export`; also returns the result of checking each ONNX or LiteRT file, one line each."""
    check_runtime()
    check_destination(destination, format)
    if isinstance(run_or_model, tf.Module):
        model, card = _describe(run_or_model, **about)
    else:
        recipe, result = Recipe.load_run(run_or_model), Result.read(Path(run_or_model))
        model = load_network(Path(run_or_model))
        form = ImageFormat.from_dict(result.data.form) if result.data.form else _default_form(model)
        card = make_card(recipe, result, form)
        if format != "savedmodel":
            data = load_unchanged(recipe.data, card.class_names, recipe.train.seed, result.data.sha256)
    return write_as(format, destination, model, with_confidence(card, temperature, threshold), data)


def with_confidence(card: ModelCard, temperature: float | None = None, threshold: float | None = None) -> ModelCard:
    """Returns a card with the given numbers in place of its own; None to keep its own.

    Raises:
        InputError: a number is out of range.
    """
    given = {"temperature": temperature, "threshold": threshold}
    checked = Export.model_validate({name: value for name, value in given.items() if value is not None})
    return card.model_copy(update=checked.model_dump(include=checked.model_fields_set))


def write_as(
    format: Format, destination: Path, model: Network, card: ModelCard, data: Digits | None
) -> tuple[Path, list[str]]:
    """Writes a network in one of the formats; returns what `export_checked` does, and raises what `export` does."""
    with faults_in_one_line(destination, "export again"):
        if format == "savedmodel":
            return write(destination, model, card), []
        if data is None:
            raise InputError(f"format is {format!r}: expected the data set to check the file on; pass data=digits.")
        for name, split in (("training", data.train), ("test", data.test)):
            check_split(split, model, name)
            if not len(split) and (name == "test" or format == "litert"):
                raise InputError(
                    f"{data.source}: its {name} split is empty; {format} needs its images to check the file."
                )
        return write_portable(destination, model, card, data, format)


def _describe(
    module: tf.Module,
    class_names: Sequence[str] | None,
    loss: str | LossFunction,
    image_shape: Sequence[int],
    classes: int,
) -> tuple[Network, ModelCard]:
    """Checks a module; returns it as a network, with its model card."""
    if not isinstance(module, Network) and len(image_shape) != 2:
        raise InputError(
            f"image_shape is {tuple(image_shape)}: expected height and width of the module's images; pass them, "
            "for example image_shape=(28, 28)."
        )
    model = as_network(module, image_shape, classes)
    model.check_forward()
    if (image_shape and tuple(image_shape) != model.image_shape) or (classes and classes != model.classes):
        raise InputError(
            f"image_shape {tuple(image_shape)} and classes {classes} are not the model's, {model.image_shape} and "
            f"{model.classes}; leave them out."
        )
    try:
        rows = len(model.logits(np.zeros([2, *model.image_shape], np.uint8)))
    except tf.errors.InvalidArgumentError:
        rows = 0
    if rows != 2:  # a reshape to [-1, ...] may take any shape while it is traced
        raise InputError(
            f"image_shape is {model.image_shape}: {model.name} does not return a row of logits for each of 2 such "
            "images; expected the shape that it was trained on."
        )
    names = [str(n) for n in range(model.classes)] if class_names is None else list(class_names)
    if len(names) != model.classes:
        raise InputError(f"class_names has {len(names)} names, but the model has {model.classes} classes; name each.")
    card = ModelCard(
        loss=find_loss(loss).name,
        parameters=model.parameter_count,
        versions=versions(),
        form=_default_form(model).to_dict(),
        image_shape=model.image_shape,
        class_names=tuple(names),
    )
    return model, card


def write(
    destination: Path,
    model: Network,
    card: ModelCard,
    normalize: Callable[[tf.Tensor], Any] | None = None,
    images: npt.NDArray[np.uint8] | None = None,
) -> Path:
    """Writes the next version of a model folder as a SavedModel.

    Args:
        destination: the model folder.
        model: the network, its weights final.
        card: the model card.
        normalize: the result of `trace_normalize`, if already called.
        images: to compare the exported model on, uint8 `[n, height, width]`; by default some of MNIST's.
    """
    read = normalize or trace_normalize(ImageFormat.from_dict(card.form or {}), card.class_names)
    signatures = make_signatures(model, card, read)
    images = sample_images(model.image_shape) if images is None else images
    return write_saved_model(destination, model, signatures, card, images)


def find_written(destination: Path, card: ModelCard) -> Path | None:
    """Returns the newest version of a run's model folder if it is what the run would write, else None.

    So it is if the run was killed after it had written the model, before it had written its result.
    """
    if not (numbers := list_versions(destination)):
        return None
    newest = destination / str(numbers[-1])
    with suppress(InputError):  # damaged
        if _identity(read_card(newest)) == _identity(card):
            return newest
    return None


def _identity(card: ModelCard) -> list[Any]:
    """Returns what decides how a model answers."""
    values = card.to_dict()
    return [values.get("recipe"), values.get("data"), values.get("form"), (card.result or {}).get("weights_sha256")]


def load_network(run: Path) -> Network:
    """Returns the network of a finished run, with its final weights. Raises what `export` raises."""
    recipe, result = Recipe.load_run(run), Result.read(run)
    data = result.data
    model = make_model(recipe.model, data.image_shape, len(data.class_names), recipe.train.seed)
    with intact_files(run, result) as file:
        set_weights(model, read_npz(file(WEIGHTS)))
        if model.sha256() != result.weights_sha256:
            raise ValueError(f"not the weights of the run's result, {result.weights_sha256[:12]}...")
    return model


def sample_images(image_shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Returns 64 of MNIST's test images, scaled to another shape by repeating or dropping pixels."""
    images = read_images(Path(__file__).parents[1] / "data/mnist/t10k-images-idx3-ubyte.gz")[:64]
    rows, columns = (np.arange(size) * 28 // size for size in image_shape)
    return np.ascontiguousarray(images[:, rows[:, np.newaxis], columns])


def make_card(recipe: Recipe, result: Result, form: ImageFormat) -> ModelCard:
    """Returns the model card of a finished run, without its folders, host and command: models are passed on."""
    fields = result.to_dict()
    data, source = fields["data"], result.data.source
    return ModelCard(
        loss=name_of(recipe.loss.kind),
        temperature=recipe.export.temperature,
        threshold=recipe.export.threshold,
        recipe=recipe.without_folders(),
        result={key: value for key, value in fields.items() if key not in _NOT_IN_CARD},
        data=data | {"source": Path(source).name or source},
        versions=result.versions,
        form=form.to_dict(),
        image_shape=result.data.image_shape,
        class_names=result.data.class_names,
    )


def _default_form(model: Network) -> ImageFormat:
    """Returns MNIST's format."""
    return ImageFormat(*model.image_shape, centred=True, dark_on_light=False)


def form_of(split: Split) -> ImageFormat:
    return find_format(spread(split, 1000))


def versions() -> dict[str, str]:
    return {
        "tfmnist": VERSION,
        "tensorflow": tf.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
