"""Writing exported models: complete, numbered, whole or not at all; they load where tfmnist is not installed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tfmnist
from tfmnist.artifacts.card import ModelCard
from tfmnist.artifacts.saved_model import write_saved_model
from tfmnist.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (9, 6, 5)).astype(np.uint8)


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


def test_versions_are_never_overwritten(signatures: tf.Module, card: ModelCard, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "7").mkdir(parents=True)
    (folder / "8").touch()
    assert write_saved_model(folder, signatures, card) == folder / "9"
    before = {path: path.read_bytes() for path in (folder / "9").rglob("*") if path.is_file()}
    assert write_saved_model(folder, signatures, card) == folder / "10"
    assert all(path.read_bytes() == content for path, content in before.items())
    assert sorted(os.listdir(folder)) == ["10", "7", "8", "9"]


def test_exports_at_once_get_numbers_of_their_own(
    trace: Callable[[], tf.Module], card: ModelCard, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(3) as pool:
        versions = list(pool.map(lambda _: write_saved_model(tmp_path / "m", trace(), card), range(3)))
    assert sorted(path.name for path in versions) == sorted(os.listdir(tmp_path / "m")) == ["1", "2", "3"]


@pytest.mark.parametrize("function", ["rename", "fsync"])
def test_a_failed_export_leaves_nothing(
    signatures: tf.Module, card: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(OSError, match="No space"):
        write_saved_model(tmp_path / "m", signatures, card)
    assert list((tmp_path / "m").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(signatures: tf.Module, card: ModelCard, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file: cannot write the model there: .*; choose another folder"):
        write_saved_model(tmp_path / "file", signatures, card)
