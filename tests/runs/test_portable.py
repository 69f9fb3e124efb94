"""Runs and networks as ONNX and LiteRT files: checked on all test images, and loaded like a SavedModel."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tfmnist
from tfmnist.errors import InputError, TfmnistError
from tfmnist.recipe import Recipe
from tfmnist.runs import portable
from tfmnist.runs.events import Run
from tfmnist.runs.export import export_checked

FORMATS = {"onnx": [".onnx"], "litert": [".tflite", "_int8.tflite"]}


@pytest.fixture(scope="module", params=FORMATS)
def files(request: pytest.FixtureRequest, done: Run, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The files that a run was exported to, in one format."""
    folder = tmp_path_factory.mktemp(request.param)
    endings = FORMATS[request.param]
    path, lines = export_checked(done.path, folder / f"digits{endings[0]}", request.param)
    assert path == folder / f"digits{endings[0]}" and sorted(folder.iterdir()) == sorted(
        folder / f"digits{ending}" for ending in endings
    )
    assert len(lines) == len(endings) and lines[0] == (
        f"digits{endings[0]}: {done.test_accuracy:.2%} of 200 test images; the network's class for all"
    )
    return [folder / f"digits{ending}" for ending in endings]


def test_they_are_read_like_a_saved_model(files: list[Path], done: Run, recipe: Recipe, tmp_path: Path) -> None:
    test = tfmnist.load(recipe.data.source, validation=0).test
    expected = tfmnist.load_exported(done.path)
    picture = tmp_path / "photo.png"
    Image.fromarray(255 - np.kron(test.images[0], np.ones([5, 5], np.uint8))).save(picture)
    for path in files:
        is_int8 = "int8" in path.name
        model = tfmnist.load_exported(path)
        assert model.path == path and model.class_names == expected.class_names and model.loss == expected.loss
        assert (model.card["recipe"], model.card["data"]) == (expected.card["recipe"], expected.card["data"])
        assert model.card["result"]["weights_sha256"] == done.result["weights_sha256"]
        assert tfmnist.evaluate(model, test).accuracy == pytest.approx(done.test_accuracy, abs=0.02 if is_int8 else 0)
        predictions = model.predict(test.images)
        atol = 0.1 * np.abs(predictions.logits).max() if is_int8 else 1e-4
        np.testing.assert_allclose(predictions.logits, expected.predict(test.images).logits, atol=atol)
        assert model.predict(test.images[:0]).probabilities.shape == (0, 10)
        read, known = (x.predict_pictures([picture.read_bytes(), b"no picture"]) for x in (model, expected))
        np.testing.assert_array_equal(read.normalized, known.normalized)
        assert read.status.tolist() == known.status.tolist() and read.classes[0] == known.classes[0]
        with pytest.raises(InputError, match=r"dtype float64: a \.\w+ file takes uint8, 0 to 255"):
            model.predict(test.images / 255)
        with pytest.raises(InputError, match="has no signatures, only predict"):
            _ = model.signatures


def test_damage_is_named(files: list[Path], tmp_path: Path) -> None:
    data = files[0].read_bytes()
    path = tmp_path / files[0].name
    path.write_bytes(data[:1000] + bytes([data[1000] ^ 4]) + data[1001:])
    with pytest.raises(InputError, match=rf"{path.name}: damaged, its SHA-256 is not the one written with it"):
        tfmnist.load_exported(path)


def test_a_model_folder_gets_versions_of_one_format(done: Run, tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    for number in "12":
        assert tfmnist.export(done.path, folder, format="onnx") == folder / number
        assert [path.name for path in (folder / number).iterdir()] == ["model.onnx"]
    assert tfmnist.load_exported(folder).path == folder / "2/model.onnx"
    assert tfmnist.load_exported(folder / "1").path == folder / "1/model.onnx"
    with pytest.raises(InputError, match=r"its version 1 has another format, without saved_model\.pb; choose another"):
        tfmnist.export(done.path, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2"]


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("m.onnx", "savedmodel", "expected no file but a model folder, for --format savedmodel"),
        ("m.tflite", "onnx", r"expected a file that ends in \.onnx, or a model folder, for --format onnx"),
        ("m", "tflite", "format 'tflite' does not exist; did you mean 'litert'"),
        ("file/m.onnx", "onnx", "cannot write it: .*; choose another path"),
        ("file/m", "onnx", "cannot write the model there: .*; choose another folder"),
    ],
)
def test_destinations_that_do_not_fit(name: str, kind: str, expected: str, done: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=expected):
        tfmnist.export(done.path, tmp_path / name, format=kind)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_run_whose_data_have_changed_is_not_exported(recipe: Recipe, tmp_path: Path) -> None:
    source = tmp_path / "data.npz"
    shutil.copy(recipe.data.source, source)
    quick = {"data.source": str(source), "train.epochs": 1, "export.report": False, "export.model": False}
    run = tfmnist.run(recipe.replace(quick), tmp_path / "run")
    arrays = dict(np.load(source))
    arrays["x_test"] = arrays["x_test"][:, ::-1]
    np.savez(source, **arrays)
    with pytest.raises(InputError, match=r"data\.npz: has changed since the model was trained; restore it"):
        tfmnist.export(run.path, tmp_path / "m.onnx", format="onnx")
    source.unlink()
    with pytest.raises(InputError, match=r"data\.npz"):
        tfmnist.export(run.path, tmp_path / "m.onnx", format="onnx")
    assert tfmnist.export(run.path, tmp_path / "m").is_dir(), "a SavedModel needs no data"


def test_a_network_needs_its_data(recipe: Recipe, tmp_path: Path) -> None:
    digits = tfmnist.load(recipe.data.source, validation=0)
    model = tfmnist.CNN((28, 28), ["conv 2 3x3 /4"], 10, seed=4)
    with pytest.raises(InputError, match="format is 'litert': expected the data set to check the file on; pass data="):
        tfmnist.export(model, tmp_path / "m.tflite", format="litert")
    with pytest.raises(InputError, match="images are 28x28 but the model takes 9x9"):
        tfmnist.export(tfmnist.MLP((9, 9), [4], 10), tmp_path / "m.onnx", format="onnx", data=digits)
    assert not list(tmp_path.iterdir())
    path = tfmnist.export(model, tmp_path / "m.tflite", format="litert", data=digits)
    assert tfmnist.load_exported(path).predict(digits.test.images[:3]).logits.shape == (3, 10)


def test_what_computes_something_else_is_not_written(
    done: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = portable.onnx_model.load

    def load_wrong(path: Path):
        predict = load(path)
        return lambda images: {**(outputs := predict(images)), "logits": outputs["logits"] + 0.1}

    monkeypatch.setattr(portable.onnx_model, "load", load_wrong)
    with pytest.raises(TfmnistError, match=r"m\.onnx: not written: the exported model's logits differ"):
        tfmnist.export(done.path, tmp_path / "m.onnx", format="onnx")
    assert not list(tmp_path.iterdir())


def test_integers_that_cost_accuracy_are_not_written(done: Run, recipe: Recipe, tmp_path: Path) -> None:
    model = tfmnist.open_run(done.path).network
    bias = list(model.named_variables().values())[-1]
    bias.assign(bias + 10_000.0)  # the same softmax, but steps of 8-bit integers are too large for it
    digits = tfmnist.load(recipe.data.source, validation=0)
    with pytest.raises(TfmnistError, match=r"m\.tflite: not written: in 8-bit integers, .* at most one point less"):
        tfmnist.export(model, tmp_path / "m.tflite", format="litert", data=digits)
    assert not list(tmp_path.iterdir())


def test_what_a_runtime_cannot_compute_is_not_written(
    done: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        raise RuntimeError("Type Error: bfloat16\nand float16")

    monkeypatch.setattr(portable.onnx_model, "load", fail)
    with pytest.raises(InputError, match=r"m\.onnx: not written: the network, converted to onnx, cannot be run"):
        tfmnist.export(done.path, tmp_path / "m.onnx", format="onnx")
    assert not list(tmp_path.iterdir())


def test_a_file_needs_images_to_be_checked(recipe: Recipe, tmp_path: Path) -> None:
    digits = tfmnist.load(recipe.data.source, validation=0)
    none = tfmnist.Split(digits.test.images[:0], digits.test.labels[:0])
    empty = dataclasses.replace(digits, test=none)
    with pytest.raises(InputError, match="its test split is empty; onnx needs its images"):
        tfmnist.export(tfmnist.MLP((28, 28), [4], 10), tmp_path / "m.onnx", format="onnx", data=empty)
