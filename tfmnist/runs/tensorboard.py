"""Event files for TensorBoard, in the folder `tensorboard/` of a run; the only module that imports its package.

TensorBoard treats the sub-folders `train`, `validation` and `test` as runs, and draws what they have in common in one
chart. Steps are counted from the start of training.
"""

import io
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfmnist.data.split import Split
from tfmnist.errors import InputError
from tfmnist.nn.metrics import Metrics
from tfmnist.recipe import Augment
from tfmnist.reports import charts, style
from tfmnist.training.events import Epoch, StepLoss
from tfmnist.training.inspection import augmented_examples
from tfmnist.training.loop import Trainer

try:
    from tensorboard.plugins.histogram import metadata as histogram
    from tensorboard.plugins.hparams import summary_v2 as hparams  # noqa: F401  not `api`, which imports Keras
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb
except ImportError:
    raise InputError(
        "train.tensorboard needs TensorBoard, which is not installed; install it with: pip install "
        "'tfmnist[tensorboard]'"
    ) from None

FOLDER = "tensorboard"
_FILES = "events.out.tfevents.*"  # as TensorFlow names them
_BUCKETS = 30  # as many as TensorBoard draws

T = TypeVar("T")


def follow(events: Iterable[T], run: Path, trainer: Trainer, examples: Split, augment: Augment) -> Iterator[T]:
    """Writes the events of a training, and passes them on.

    What a killed run wrote after its last checkpoint is dropped, since those steps are trained again. Everything else
    is written before the next checkpoint, so that a resumed run has neither gaps nor duplicates.

    Args:
        events: of the trainer.
        run: the run's folder.
        trainer: its weights, not their averages, are drawn as histograms, by name.
        examples: the training examples, some of which are drawn as augmentation changes them.
        augment: the augmentation.
    """
    folder, step = run / FOLDER, int(trainer.optimizer.step.numpy())
    _drop_after(folder, step)
    names = ("train", "validation") if trainer.validation is not None and len(trainer.validation) else ("train",)
    writers = {name: tf.summary.create_file_writer(str(folder / name)) for name in names}
    try:
        if not step and (drawn := augmented_examples(examples, augment, trainer.settings.seed)):
            with writers["train"].as_default(0):
                _write_augmented(*drawn)
        for event in events:
            if isinstance(event, StepLoss):
                with writers["train"].as_default(event.step):
                    write_scalars({"step/loss": event.loss, "step/learning_rate": event.learning_rate})
            elif isinstance(event, Epoch):
                with writers["train"].as_default(event.step):
                    figures = ("loss", "accuracy", "learning_rate", "images_per_second")
                    write_scalars({f"epoch/{name}": getattr(event, name) for name in figures})
                    for name, variable in trainer.model.named_variables().items():
                        _write_histogram(name, variable.numpy())
                if event.validation_loss is not None and event.validation_accuracy is not None:
                    with writers["validation"].as_default(event.step):
                        write_scalars(
                            {"epoch/loss": event.validation_loss, "epoch/accuracy": event.validation_accuracy}
                        )
            yield event
    finally:
        for writer in writers.values():
            writer.close()


def write_test(run: Path, step: int, metrics: Metrics, class_names: Sequence[str]) -> None:
    """Writes the results on the test set, the confusion matrix among them, after `step` steps."""
    with new_events(run / FOLDER / "test", step):
        write_scalars({"epoch/loss": metrics.loss, "epoch/accuracy": metrics.accuracy})
        file = io.BytesIO()
        style.save(charts.confusion(metrics.confusion, class_names), file)
        tf.summary.image("confusion matrix", tf.io.decode_png(file.getvalue(), channels=3)[tf.newaxis])


@contextmanager
def new_events(folder: Path, step: int) -> Iterator[None]:
    """Writes the summaries of the block, at a step, to a folder, replacing those that it held."""
    for path in folder.glob(_FILES):
        path.unlink()
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default(step):
        yield
    writer.close()


def write_scalars(values: Mapping[str, float]) -> None:
    """Writes numbers by their tags to the current writer, six times as fast as `tf.summary.scalar` does."""
    summary, *others = (scalar_pb(tag, value) for tag, value in values.items())
    for other in others:
        summary.MergeFrom(other)
    tf.summary.experimental.write_raw_pb(summary.SerializeToString())


def _write_histogram(name: str, values: npt.NDArray[Any]) -> None:
    """Writes a histogram; `tf.summary.histogram` would need 250 bytes of memory per value."""
    counts, edges = np.histogram(values.astype(np.float32), _BUCKETS)
    buckets = np.stack([edges[:-1], edges[1:], counts], axis=1).astype(np.float64)
    tf.summary.write(name, buckets, metadata=histogram.create_summary_metadata(None, None))


def _write_augmented(originals: npt.NDArray[np.uint8], changed: npt.NDArray[np.uint8]) -> None:
    """Writes a grid of pictures, uint8 `[r, H, W]` and `[r, c, H, W]`; TensorBoard has no room for a figure's text."""
    grid = np.concatenate([originals[:, np.newaxis], changed], axis=1)
    framed = np.pad(grid, [(0, 0), (0, 0), (1, 1), (1, 1)], constant_values=128)
    rows, columns, height, width = framed.shape
    image = framed.swapaxes(1, 2).reshape(1, rows * height, columns * width, 1)
    note = "Left: the original. Right of it: as eight training steps would change it."
    tf.summary.image("augmented pictures", image, description=note)


def _drop_after(folder: Path, step: int) -> None:
    """Deletes what was written after a step."""
    if not step:
        shutil.rmtree(folder, ignore_errors=True)
    for path in folder.rglob(_FILES):
        records, intact = _read(path)
        kept = [record for record in records if tf.compat.v1.Event.FromString(record).step <= step]
        if len(kept) == len(records) and intact:
            continue
        temporary = path.with_name(".writing")  # TensorBoard reads whatever has "tfevents" in its name
        with tf.io.TFRecordWriter(str(temporary)) as file:
            for record in kept:
                file.write(record)
        os.replace(temporary, path)


def _read(path: Path) -> tuple[list[bytes], bool]:
    """Returns the records of a file, and whether none was cut short by a kill."""
    records: list[bytes] = []
    content: Any = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    try:
        records.extend(content)
    except tf.errors.DataLossError:
        return records, False
    return records, True
