"""Loading exported models: they predict what the network predicts, and wrong input is named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tfmnist
from tfmnist.artifacts.card import ModelCard
from tfmnist.artifacts.saved_model import write_saved_model
from tfmnist.errors import InputError
from tfmnist.photos.normalize import ImageFormat

IMAGES = np.random.default_rng(0).integers(0, 256, (9, 6, 5)).astype(np.uint8)


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
    assert by_files.digits.tolist() == [1] * count
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
    with pytest.raises(InputError, match="a picture cannot be read: a damaged PNG or JPEG"):
        loaded.predict_pictures([b"short"])


def test_an_older_export_has_no_format(signatures: Any, card: ModelCard, tmp_path: Path) -> None:
    write_saved_model(tmp_path / "m", signatures, card.model_copy(update={"form": None}))
    older = tfmnist.load_exported(tmp_path / "m")
    assert len(older.predict(IMAGES).classes) == 9
    with pytest.raises(InputError, match="without the format of its images; export it again"):
        _ = older.image_format
