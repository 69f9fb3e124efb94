"""Models in ONNX: a straight chain with folded weights, any n, for networks of your own too."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tensorflow as tf

import tfmnist
from tfmnist.artifacts import onnx_model
from tfmnist.errors import InputError

from .conftest import CARD, IMAGES


def load(model: tfmnist.nn.Network, loss: str, folder: Path) -> Any:
    (folder / "m.onnx").write_bytes(onnx_model.convert(model, CARD.model_copy(update={"loss": loss})))
    return onnx_model.load(folder / "m.onnx")


@pytest.mark.parametrize("count", [0, 1, 9])
def test_it_predicts_what_the_network_does(model: tfmnist.CNN, tmp_path: Path, count: int) -> None:
    outputs = load(model, "cross_entropy", tmp_path)(IMAGES[:count])
    assert {name: (array.dtype.name, array.shape) for name, array in outputs.items()} == {
        "classes": ("int64", (count,)),
        "probabilities": ("float32", (count, 3)),
        "logits": ("float32", (count, 3)),
    }
    expected = model.logits(IMAGES).numpy()[:count]
    np.testing.assert_allclose(outputs["logits"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(outputs["classes"], expected.argmax(axis=1))
    np.testing.assert_allclose(outputs["probabilities"], tf.nn.softmax(expected), atol=1e-5)


def test_a_temperature_is_part_of_it(model: tfmnist.CNN, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(onnx_model.convert(model, CARD.model_copy(update={"temperature": 0.25})))
    outputs = onnx_model.load(tmp_path / "m.onnx")(IMAGES)
    np.testing.assert_allclose(outputs["logits"], model.logits(IMAGES).numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(outputs["probabilities"], tf.nn.softmax(4 * outputs["logits"]), atol=1e-5)


def test_it_is_a_straight_chain(model: tfmnist.CNN) -> None:
    graph = onnx.load_from_string(onnx_model.convert(model, CARD)).graph
    kinds = [node.op_type for node in graph.node]
    assert kinds[0] == "Cast" and sorted(kinds[-2:]) == ["ArgMax", "Softmax"]
    assert not {"Mul", "Div", "BatchNormalization", "Slice", "If"} & set(kinds)
    assert [value.name for value in graph.input] == ["images"]
    assert sorted(value.name for value in graph.output) == ["classes", "logits", "probabilities"]


class Own(tfmnist.nn.Network):
    def __init__(self) -> None:
        super().__init__((6, 5), 3, "own")
        self.layer = tfmnist.nn.Dense(30, 3, seed=1, name="logits")

    def forward(self, images: tf.Tensor, training: bool = False, step: tf.Tensor | None = None) -> tf.Tensor:
        return self.layer.forward(tf.sin(tf.reshape(images, [-1, 30])), training, step)


def test_a_network_of_your_own_is_converted(tmp_path: Path) -> None:
    model = Own()
    outputs = load(model, "quadratic", tmp_path)(IMAGES)
    logits = model.logits(IMAGES).numpy()
    np.testing.assert_allclose(outputs["logits"], logits, rtol=1e-4, atol=1e-5)
    sigmoid = 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(outputs["probabilities"], sigmoid / sigmoid.sum(axis=1, keepdims=True), rtol=1e-4)


class Strange(Own):
    def forward(self, images: tf.Tensor, training: bool = False, step: tf.Tensor | None = None) -> tf.Tensor:
        return self.layer.forward(tf.math.bessel_i0(tf.reshape(images, [-1, 30])), training, step)


def test_what_onnx_lacks_is_named() -> None:
    with pytest.raises(InputError, match=r"own: cannot be written as ONNX \(.*Bessel.*\); export it as a SavedModel"):
        onnx_model.convert(Strange(), CARD)


def test_missing_libraries_are_named(model: tfmnist.CNN, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tf2onnx", "onnxruntime"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(InputError, match=r"^writing ONNX needs tf2onnx: pip install 'tfmnist\[onnx\]'$"):
        onnx_model.convert(model, CARD)
    with pytest.raises(InputError, match=r"^m\.onnx: reading ONNX needs .*: pip install 'tfmnist\[onnx\]'$"):
        onnx_model.load(Path("m.onnx"))
