"""Loading exported models: they predict what the network predicts, and wrong input is named."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfmnist
from tfmnist.artifacts import exported as exported_module
from tfmnist.artifacts.card import ModelCard
from tfmnist.artifacts.versions import write_manifest
from tfmnist.errors import InputError
from tfmnist.photos.normalize import ImageFormat
from tfmnist.photos.status import Status

from .conftest import IMAGES, Write


@pytest.fixture(scope="module")
def loaded(exported: Path) -> tfmnist.Exported:
    return tfmnist.load_exported(exported)


def test_what_is_known_of_it(loaded: tfmnist.Exported, exported: Path) -> None:
    assert loaded.path == exported / "1"
    assert loaded.card == json.loads((exported / "1/assets.extra/model_card.json").read_text())
    assert (loaded.image_shape, loaded.class_names, loaded.classes) == ((6, 5), ("a", "b", "c"), 3)
    assert loaded.loss == "cross_entropy"
    assert loaded.image_format == ImageFormat(6, 5, centred=False, dark_on_light=True)


@pytest.mark.parametrize("count", [0, 1, 7, 9])
def test_signatures_agree_with_the_network(loaded: tfmnist.Exported, model: tfmnist.CNN, count: int) -> None:
    images = IMAGES[:count]
    expected = model.logits(IMAGES).numpy()[:count]
    by_files = loaded.predict_pictures([image.tobytes() for image in images])
    np.testing.assert_array_equal(by_files.normalized, images)
    assert by_files.digits.tolist() == [1] * count and by_files.status.tolist() == [0] * count
    assert by_files.status.dtype == by_files.digits.dtype == np.int64
    by_floats = loaded.predict((images / np.float32(255)).astype(np.float32))
    for prediction in (loaded.predict(images), by_floats, by_files):
        assert prediction.logits.shape == (count, 3) and prediction.classes.dtype == np.int64
        assert prediction.logits.dtype == prediction.probabilities.dtype == np.float32
        np.testing.assert_allclose(prediction.logits, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(prediction.classes, expected.argmax(axis=1))
        np.testing.assert_allclose(prediction.probabilities.sum(axis=1), np.ones(count), rtol=1e-5)
    np.testing.assert_array_equal(loaded.logits(images).numpy(), loaded.predict(images).logits)


def test_wrong_images_are_named(loaded: tfmnist.Exported) -> None:
    with pytest.raises(InputError, match=r"shape \[6, 5\]: expected \[n, 6, 5\]"):
        loaded.predict(IMAGES[0])
    with pytest.raises(InputError, match=r"range from 0\.0 to 255\.0: expected 0 to 1"):
        loaded.predict(np.array([[[0.0, 255.0, 0, 0, 0]] * 6]))
    with pytest.raises(InputError, match="dtype int64"):
        loaded.predict(IMAGES.astype(np.int64))
    with pytest.raises(InputError, match="a picture cannot be read: a damaged PNG, JPEG, BMP or GIF"):
        loaded.predict_pictures([b"short"])


def test_a_picture_that_is_not_read_has_a_status(loaded: tfmnist.Exported) -> None:
    unread = IMAGES[:3].copy()
    unread[:, 0, 0] = 9, 7, 9
    pictures = loaded.predict_pictures([image.tobytes() for image in unread])
    assert pictures.status.tolist() == [0, 7, 0] and pictures.digits.tolist() == [1, 0, 1]
    assert pictures.classes.shape == (3,)


def test_an_older_export_has_a_status_by_the_number_of_digits(
    loaded: tfmnist.Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = {"normalized": tf.zeros([4, 6, 5], tf.uint8), "digits": tf.constant([1, 0, 2, 5], tf.int64)}
    logits = tf.zeros([4, 3])
    outputs |= {"classes": tf.zeros([4], tf.int64), "probabilities": logits, "logits": logits}
    monkeypatch.setattr(loaded, "_call", lambda name, inputs: outputs)
    pictures = loaded.predict_pictures([b""] * 4)
    assert pictures.status.tolist() == [Status.READ, Status.BLANK, Status.SEVERAL, Status.SEVERAL]


def test_threads_that_come_first_together_prepare_once(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others wait until the first call has ended: it prepares the graph, which takes seconds for pictures."""
    loads: list[str] = []
    events: list[str] = []
    load, call = tf.saved_model.load, exported_module._Signature.__call__

    def load_once(path: str) -> Any:
        loads.append(path)
        time.sleep(0.05)
        return load(path)

    def call_slowly(self: Any, inputs: Any) -> dict[str, tf.Tensor]:
        events.append("begin")
        time.sleep(0.05)
        outputs = call(self, inputs)
        events.append("end")
        return outputs

    monkeypatch.setattr(tf.saved_model, "load", load_once)
    monkeypatch.setattr(exported_module._Signature, "__call__", call_slowly)
    model = tfmnist.load_exported(exported)
    start = threading.Barrier(8)

    def predict(_: int) -> list[int]:
        start.wait()
        return model.predict_pictures([IMAGES[0].tobytes()]).status.tolist()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(predict, range(8))) == [[0]] * 8
    assert len(loads) == 1 and len(events) == 16
    assert events[:2] == ["begin", "end"], "the first call is made alone"


def test_an_older_export_has_no_format(write: Write, card: ModelCard, tmp_path: Path) -> None:
    write(tmp_path / "m", card=card.model_copy(update={"form": None}))
    older = tfmnist.load_exported(tmp_path / "m")
    assert len(older.predict(IMAGES).classes) == 9
    with pytest.raises(InputError, match="without the format of its images; export it again"):
        _ = older.image_format


@pytest.mark.parametrize("names", [("a",), ("a", "b"), ("a", "b", "c", "d")])
def test_a_card_with_another_number_of_class_names_is_refused(
    write: Write, card: ModelCard, tmp_path: Path, names: tuple[str, ...]
) -> None:
    write(tmp_path / "m")
    version = tmp_path / "m" / "1"
    card.model_copy(update={"class_names": names}).write(version)
    write_manifest(version)  # as if it had been changed on purpose
    other = tfmnist.load_exported(version)
    said = f"its model card has {len(names)} class names, but the model 3 classes; export the model again"
    for _ in range(2):
        with pytest.raises(InputError, match=said):
            other.predict(IMAGES)
    with pytest.raises(InputError, match=said):
        other.predict_pictures([IMAGES[0].tobytes()])
