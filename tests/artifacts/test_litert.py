"""Models in LiteRT: in float32 what the network predicts, in 8-bit integers nearly so, for any n."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfmnist
from tfmnist.artifacts import litert
from tfmnist.errors import InputError

from .conftest import CARD, IMAGES


@pytest.fixture(scope="module")
def files(model: tfmnist.CNN, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("litert")
    for name, calibration in (("float", None), ("int8", IMAGES)):
        (folder / name).write_bytes(litert.convert(model, CARD, calibration))
    return {name: folder / name for name in ("float", "int8")}


@pytest.mark.parametrize(("name", "tolerance"), [("float", 1e-5), ("int8", 0.05)])
def test_it_predicts_what_the_network_does(
    files: dict[str, Path], model: tfmnist.CNN, name: str, tolerance: float
) -> None:
    predict = litert.load(files[name])
    every = model.logits(IMAGES).numpy()
    for count in (1, 9, 0, 3):
        outputs, expected = predict(IMAGES[:count]), every[:count]
        assert {key: (array.dtype.name, array.shape) for key, array in outputs.items()} == {
            "classes": ("int64", (count,)),
            "probabilities": ("float32", (count, 3)),
            "logits": ("float32", (count, 3)),
        }
        np.testing.assert_allclose(outputs["logits"], expected, atol=tolerance * np.abs(every).max())
        np.testing.assert_allclose(outputs["probabilities"], tf.nn.softmax(expected), atol=2 * tolerance)
        assert outputs["classes"].tolist() == outputs["logits"].argmax(axis=1).tolist()


def test_threads_share_it(files: dict[str, Path], model: tfmnist.CNN) -> None:
    predict, expected = litert.load(files["float"]), model.logits(IMAGES).numpy().argmax(axis=1).tolist()
    with ThreadPoolExecutor(4) as pool:
        for count, outputs in zip([1, 5, 9] * 10, pool.map(lambda n: predict(IMAGES[:n]), [1, 5, 9] * 10)):
            assert outputs["classes"].tolist() == expected[:count]


class Strange(tfmnist.nn.Network):
    def __init__(self) -> None:
        super().__init__((6, 5), 3, "strange")
        self.layer = tfmnist.nn.Dense(30, 3, seed=1, name="logits")

    def forward(self, images: tf.Tensor, training: bool = False, step: tf.Tensor | None = None) -> Any:
        return self.layer.forward(tf.math.bessel_i0(tf.reshape(images, [-1, 30])), training, step)


def test_what_litert_lacks_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"^strange: cannot be written for LiteRT \(.*\); export it as a SavedModel"):
        litert.convert(Strange(), CARD)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(InputError, match=r"^m\.tflite: reading LiteRT needs .*: pip install 'tfmnist\[litert\]'$"):
        litert.load(Path("m.tflite"))
