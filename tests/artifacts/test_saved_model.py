"""Writing exported models: complete, numbered, whole or not at all; they load where tfmnist is not installed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfmnist
from tfmnist.artifacts.saved_model import compare_outputs, make_signatures
from tfmnist.errors import InputError, TfmnistError

from .conftest import CARD, IMAGES, Write, normalize


def test_the_files(exported: Path) -> None:
    version = exported / "1"
    assert (version / "assets/labels.txt").read_text() == "a\nb\nc\n"
    card = json.loads((version / "assets.extra/model_card.json").read_text())
    assert card["image_shape"] == [6, 5] and card["class_names"] == ["a", "b", "c"]
    listed = {line.split("  ")[1] for line in (version / "assets.extra/manifest.sha256").read_text().splitlines()}
    files = {path.relative_to(version).as_posix() for path in version.rglob("*") if path.is_file()}
    assert listed == files - {"assets.extra/manifest.sha256"}
    subprocess.run(["sha256sum", "--quiet", "--check", "assets.extra/manifest.sha256"], cwd=version, check=True)


def test_it_loads_where_tfmnist_cannot_be_imported(exported: Path, model: tfmnist.CNN, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", IMAGES)
    code = """
import sys
sys.modules["tfmnist"] = sys.modules["keras"] = None
import numpy as np, tensorflow as tf
serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
outputs = serve(images=tf.constant(np.load("images.npy")))
assert {name: (t.dtype.name, t.shape.as_list()) for name, t in outputs.items()} == {
    "classes": ("int64", [9]), "probabilities": ("float32", [9, 3]), "logits": ("float32", [9, 3])}
np.save("logits.npy", outputs["logits"].numpy())
pictures = tf.saved_model.load(sys.argv[1]).signatures["image_bytes"]
outputs = pictures(image_bytes=tf.constant([image.tobytes() for image in np.load("images.npy")]))
assert {name: outputs[name].dtype.name for name in ("digits", "status", "normalized")} == {
    "digits": "int64", "status": "int64", "normalized": "uint8"}
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(exported / "1")], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), model.logits(IMAGES).numpy(), rtol=1e-5, atol=1e-6)


def test_versions_are_never_overwritten(write: Write, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "7").mkdir(parents=True)
    (folder / "8").touch()
    assert write(folder) == folder / "9"
    before = {path: path.read_bytes() for path in (folder / "9").rglob("*") if path.is_file()}
    assert write(folder) == folder / "10"
    assert all(path.read_bytes() == content for path, content in before.items())
    assert sorted(os.listdir(folder)) == ["10", "7", "8", "9"]


def test_exports_at_once_get_numbers_of_their_own(trace: Callable[[], tf.Module], write: Write, tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        versions = list(pool.map(lambda _: write(tmp_path / "m", signatures=trace()), range(3)))
    assert sorted(path.name for path in versions) == sorted(os.listdir(tmp_path / "m")) == ["1", "2", "3"]


@pytest.mark.parametrize("function", ["rename", "fsync"])
def test_a_failed_export_leaves_nothing(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path / "m")
    assert list((tmp_path / "m").iterdir()) == []


def test_what_computes_something_else_is_not_published(
    model: tfmnist.CNN, trace: Callable[[], tf.Module], write: Write, tmp_path: Path
) -> None:
    bias = model.named_variables()["logits/bias"]
    signatures, before = trace(), bias.numpy()
    bias.assign(before + np.array([0.0, 0.1, 0.0], np.float32))  # after the weights became constants
    try:
        with pytest.raises(TfmnistError, match=r"m: not written: the exported model's logits differ .* by 0\.1, of "):
            write(tmp_path / "m", signatures=signatures)
    finally:
        bias.assign(before)
    assert list((tmp_path / "m").iterdir()) == []


@pytest.mark.parametrize(
    ("outputs", "difference"),
    [
        ({"classes": [1, 0], "logits": [[1.0, 9.0], [9.0, 1.02]]}, "0.02"),
        ({"classes": [1, 0], "logits": [[1.0, 9.0], [np.nan, 1.0]]}, "nan"),
        ({"classes": [1, 1], "logits": [[1.0, 9.0], [9.0, 1.0]]}, "0,"),
    ],
)
def test_outputs_that_differ(outputs: dict[str, Any], difference: str) -> None:
    expected = np.array([[1.0, 9.0], [9.0, 1.0]], np.float32)
    compare_outputs(Path("m"), {"classes": [1, 0], "logits": expected * 1.0005}, expected)
    with pytest.raises(TfmnistError, match=rf"m: not written: .* by {difference}.*expected the same up to rounding"):
        compare_outputs(Path("m"), outputs, expected)


def test_a_folder_that_cannot_be_made_is_named(write: Write, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file: cannot write the model there: .*; choose another folder"):
        write(tmp_path / "file")


def test_a_network_of_built_in_layers_is_written_without_variables(exported: Path) -> None:
    names = [name for name, _ in tf.train.list_variables(str(exported / "1/variables/variables"))]
    assert not [name for name in names if "weights" in name]


def test_a_temperature_changes_probabilities_alone(
    write: Write, exported: Path, model: tfmnist.CNN, tmp_path: Path
) -> None:
    card = CARD.model_copy(update={"temperature": 0.25, "threshold": 0.75})
    write(tmp_path / "m", signatures=make_signatures(model, card, normalize), card=card)
    cold, plain = tfmnist.load_exported(tmp_path / "m"), tfmnist.load_exported(exported)
    assert (cold.temperature, cold.threshold) == (0.25, 0.75) and (plain.temperature, plain.threshold) == (1.0, 0.0)
    for name, inputs in (("serving_default", IMAGES), ("float_images", IMAGES.astype(np.float32) / 255)):
        before, after = plain.call(name, inputs), cold.call(name, inputs)
        np.testing.assert_array_equal(after["classes"], before["classes"])
        np.testing.assert_allclose(after["logits"], before["logits"], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(after["probabilities"], tf.nn.softmax(4 * before["logits"]), rtol=1e-4)
    scores = cold.call("classify", [_example(image.tobytes()) for image in IMAGES])["scores"]
    expected = -np.sort(-cold.predict(IMAGES).probabilities, axis=1)
    read = IMAGES[:, 0, 0] != 7
    np.testing.assert_allclose(scores[read], expected[read], rtol=1e-5)


def test_a_network_of_your_own_is_written_with_its_variables(write: Write, tmp_path: Path) -> None:
    class Own(tfmnist.nn.Network):
        def __init__(self) -> None:
            super().__init__((6, 5), 3, "own")
            self.layer = tfmnist.nn.Dense(30, 3, seed=1, name="logits")

        def forward(self, images: tf.Tensor, training: bool = False, step: tf.Tensor | None = None) -> tf.Tensor:
            return self.layer.forward(tf.reshape(images, [-1, 30]) ** 2, training, step)

    model = Own()
    card = CARD.model_copy(update={"loss": "quadratic"})
    write(tmp_path / "m", model=model, signatures=make_signatures(model, card, normalize))
    loaded = tfmnist.load_exported(tmp_path / "m")
    np.testing.assert_allclose(loaded.predict(IMAGES).logits, model.logits(IMAGES).numpy(), rtol=1e-5, atol=1e-6)
    assert len(loaded.predict(IMAGES[:0]).classes) == 0


def test_classify_names_the_classes_best_first(exported: Path) -> None:
    """A picture that is not read, or an example without one, has no scores."""
    unread = IMAGES[1].copy()
    unread[0, 0] = 7
    examples = [_example(image.tobytes()) for image in (IMAGES[0], unread, IMAGES[2])]
    loaded = tfmnist.load_exported(exported)
    outputs = loaded.signatures["classify"](inputs=tf.constant(examples))
    probabilities = loaded.predict(IMAGES[:3]).probabilities
    for row in (0, 2):
        order = np.argsort(-probabilities[row])
        assert outputs["classes"][row].numpy().tolist() == [b"abc"[n : n + 1] for n in order]
        np.testing.assert_allclose(outputs["scores"][row], probabilities[row][order], rtol=1e-5)
    assert outputs["scores"][1].numpy().tolist() == [0.0] * 3
    assert loaded.signatures["classify"](inputs=tf.constant([], tf.string))["scores"].shape == (0, 3)


def _example(content: bytes) -> bytes:
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[content]))
    return tf.train.Example(features=tf.train.Features(feature={"image/encoded": feature})).SerializeToString()


def test_servers_find_the_method_of_each_signature(exported: Path) -> None:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(exported / "1"))
    methods = {name: signature.method_name for name, signature in meta.signature_def.items() if name[0] != "_"}
    predict = "tensorflow/serving/predict"
    assert methods == {
        "serving_default": predict,
        "float_images": predict,
        "image_bytes": predict,
        "classify": "tensorflow/serving/classify",
    }
