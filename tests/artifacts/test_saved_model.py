"""Exported models: versions, signatures, integrity; loading where tfmnist is not there."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tfmnist
from tfmnist.artifacts.versions import find_version, list_versions
from tfmnist.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (9, 6, 5)).astype(np.uint8)


@pytest.fixture(scope="module")
def model() -> tfmnist.MLP:
    return tfmnist.MLP((6, 5), [7], 3, seed=4)


@pytest.fixture(scope="module")
def exported(model: tfmnist.MLP, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "model"
    assert tfmnist.export(model, folder, class_names=["a", "b", "c"]) == folder / "1"
    return folder


def test_the_files(exported: Path) -> None:
    version = exported / "1"
    assert (version / "assets/labels.txt").read_text() == "a\nb\nc\n"
    card = json.loads((version / "assets.extra/model_card.json").read_text())
    assert card["image_shape"] == [6, 5] and card["class_names"] == ["a", "b", "c"]
    assert card["versions"]["tensorflow"] == tf.__version__
    listed = {line.split("  ")[1] for line in (version / "assets.extra/manifest.sha256").read_text().splitlines()}
    files = {path.relative_to(version).as_posix() for path in version.rglob("*") if path.is_file()}
    assert listed == files - {"assets.extra/manifest.sha256"}
    subprocess.run(["sha256sum", "--quiet", "--check", "assets.extra/manifest.sha256"], cwd=version, check=True)


@pytest.mark.parametrize("count", [0, 1, 7, 9])
def test_signatures_agree_with_the_network(exported: Path, model: tfmnist.MLP, count: int) -> None:
    loaded = tfmnist.load_exported(exported)
    images = IMAGES[:count]
    by_bytes, by_floats = loaded.predict(images), loaded.predict((images / np.float32(255)).astype(np.float32))
    expected = model.logits(images).numpy()
    for found in by_bytes, by_floats:
        assert found.logits.shape == (count, 3) and found.logits.dtype == found.probabilities.dtype == np.float32
        assert found.classes.dtype == np.int64
        np.testing.assert_allclose(found.logits, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(found.classes, expected.argmax(axis=1))
        np.testing.assert_allclose(found.probabilities.sum(axis=1), np.ones(count), rtol=1e-5)


def test_it_loads_where_tfmnist_cannot_be_imported(exported: Path, model: tfmnist.MLP, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", IMAGES)
    code = """
import sys
sys.modules["tfmnist"] = sys.modules["keras"] = None
import numpy as np, tensorflow as tf
serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
found = serve(images=tf.constant(np.load("images.npy")))
assert {name: (t.dtype.name, t.shape.as_list()) for name, t in found.items()} == {
    "classes": ("int64", [9]), "probabilities": ("float32", [9, 3]), "logits": ("float32", [9, 3])}
np.save("logits.npy", found["logits"].numpy())
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(exported / "1")], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), model.logits(IMAGES).numpy(), rtol=1e-5, atol=1e-6)


def test_versions_are_numbered_and_never_overwritten(model: tfmnist.MLP, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "7").mkdir(parents=True)
    (folder / "notes").mkdir()
    assert tfmnist.export(model, folder) == folder / "8"
    before = {path: path.read_bytes() for path in (folder / "8").rglob("*") if path.is_file()}
    assert tfmnist.export(model, folder) == folder / "9"
    assert all(path.read_bytes() == content for path, content in before.items())
    assert list_versions(folder) == [8, 9], "an empty folder is no version"
    assert find_version(folder) == folder / "9"


def test_exports_at_once_get_numbers_of_their_own(model: tfmnist.MLP, tmp_path: Path) -> None:
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(tfmnist.export(model, tmp_path / "m"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.name for path in found) == ["1", "2", "3"]
    assert not [path for path in (tmp_path / "m").iterdir() if path.name.startswith(".")]


def test_a_failed_export_leaves_nothing(model: tfmnist.MLP, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OSError, match="No space"):
        tfmnist.export(model, tmp_path / "m")
    assert list((tmp_path / "m").iterdir()) == []


def test_damage_is_named(model: tfmnist.MLP, tmp_path: Path) -> None:
    version = tfmnist.export(model, tmp_path / "m")
    data = version / "variables/variables.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[50] ^= 1
    data.write_bytes(content)
    with pytest.raises(InputError, match=r"variables\.data.*damaged"):
        tfmnist.load_exported(version)
    data.unlink()
    with pytest.raises(InputError, match=r"variables\.data.*No such file"):
        tfmnist.load_exported(version)


def test_wrong_images_are_named(exported: Path) -> None:
    loaded = tfmnist.load_exported(exported / "1")
    with pytest.raises(InputError, match=r"shape \[6, 5\]: expected \[n, 6, 5\]"):
        loaded.predict(IMAGES[0])
    with pytest.raises(InputError, match=r"range from 0\.0 to 255\.0: expected 0 to 1"):
        loaded.predict(np.array([[[0.0, 255.0, 0, 0, 0]] * 6]))
    with pytest.raises(InputError, match="dtype int64"):
        loaded.predict(IMAGES.astype(np.int64))


def test_paths_without_a_model_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        tfmnist.load_exported(tmp_path / "nothing")
    with pytest.raises(InputError, match="holds no exported model"):
        tfmnist.load_exported(tmp_path)


def test_names_must_fit(model: tfmnist.MLP, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 names, the model 3 classes"):
        tfmnist.export(model, tmp_path / "m", class_names=["a", "b"])
    assert not (tmp_path / "m").exists()


def test_a_file_in_the_way_is_stepped_over(model: tfmnist.MLP, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m/1").touch()
    assert tfmnist.export(model, tmp_path / "m") == tmp_path / "m/2"
