"""Evaluates an exported model on labelled photos of any size, through its signature for picture files."""

from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import tensorflow as tf

from tfmnist.artifacts.exported import Exported
from tfmnist.data.convert import open_photos
from tfmnist.data.layout import OTHERS, LeftOut
from tfmnist.errors import InputError
from tfmnist.nn.losses import find_loss, probabilities
from tfmnist.nn.metrics import Metrics, measure, wilson_interval
from tfmnist.photos.files import AT_ONCE, read_all
from tfmnist.photos.status import Status

_SHOWN = 5
_UNKNOWN = ("picture of a class that the model lacks", "pictures of classes that the model lacks")


@dataclass(frozen=True)
class PhotoEvaluation:
    """How well a model reads photos."""

    part: str  # of the data: train, validation, test or all
    read: Metrics  # of the photos that it reads
    refused: Counter[str]  # the number of the others, by reason; they count as wrong
    first_refused: tuple[str, ...]  # name and reason, in one line each
    notes: tuple[str, ...]

    @property
    def count(self) -> int:
        """The number of all photos."""
        return self.read.count + self.refused.total()

    def to_dict(self) -> dict[str, Any]:
        """Returns accuracy and refusals among all photos, as JSON types."""
        interval = wilson_interval(self.read.correct, self.count)
        rates = {"accuracy": self.read.correct / self.count, "accuracy_ci95": list(interval)}
        return {"count": self.count, "correct": self.read.correct, **rates, "refused": dict(self.refused)}


def evaluate_photos(model: Exported, source: str, split: str, loss: str) -> PhotoEvaluation:
    """Measures how a model reads labelled photos, 32 at a time; all of them if the source has training photos alone.

    Args:
        model: its class names decide which photos count, by the names of their folders.
        source: class folders of photos, an archive of them, or Parquet files.
        split: train, validation or test.
        loss: the name of a loss.

    Raises:
        InputError: there are no such photos, or none of the model's classes.
    """
    stream, part = open_photos(source), _find_part(source, split)
    labels, logits = list[int](), [np.zeros([0, model.classes], np.float32)]
    refused, shown, unknown, classes = Counter[str](), list[str](), LeftOut(), set[str]()
    wanted = (example for example in stream.examples if part in (example.role, "all"))
    while batch := list(islice(wanted, AT_ONCE)):
        classes.update(example.class_name for example in batch)
        unknown.add(*(example.name for example in batch if example.class_name not in model.class_names))
        batch = [example for example in batch if example.class_name in model.class_names]
        contents, reasons = read_all([example.content for example in batch])
        predictions = model.predict_pictures(list(contents.values()))
        for index, status in zip(contents, predictions.status.tolist()):
            reasons[index] = Status(status).explain().rstrip(".") if status else ""
        logits.append(predictions.logits[predictions.status == Status.READ])
        labels += [model.class_names.index(x.class_name) for x, reason in zip(batch, reasons) if not reason]
        refused.update(filter(None, reasons))
        shown += [f"{x.name}: {reason}" for x, reason in zip(batch, reasons) if reason][: _SHOWN - len(shown)]
    if not labels and not refused:
        raise InputError(
            f"{source}: its classes are {', '.join(sorted(classes)[:10])}, expected some of the model's, "
            f"{', '.join(model.class_names[:10])}; rename the folders, or choose other data."
        )
    every, true = tf.constant(np.concatenate(logits)), np.array(labels, np.int64)
    mean = float(np.sum(find_loss(loss).function(every, tf.constant(true)), dtype=np.float64)) / max(1, len(true))
    notes = (f"no {split} part in the data: all of it is evaluated",) if part == "all" else ()
    notes += (*stream.left_out.note(*OTHERS), *unknown.note(*_UNKNOWN))
    shares = probabilities(loss, every, model.temperature).numpy()
    return PhotoEvaluation(part, measure(true, shares, mean), refused, tuple(shown), notes)


def _find_part(source: str, split: str) -> str:
    roles: set[str] = set()
    for example in open_photos(source).examples:
        if example.role == split:
            return split
        roles.add(example.role)
    if roles != {"train"}:
        raise InputError(f"{source}: its {split} part is empty; choose another with --split.")
    return "all"
