"""Exporting a run: as accurate as its result says, and only when it is finished."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tfmnist
from tfmnist.errors import InputError
from tfmnist.recipe import Recipe
from tfmnist.runs import session
from tfmnist.runs.events import Run
from tfmnist.runs.train import run_events


def test_the_export_is_as_accurate_as_the_result_says(done: Run, recipe: Recipe) -> None:
    test = tfmnist.load(recipe.data.source, validation=0).test
    exported = tfmnist.load_exported(done.path)
    assert np.mean(exported.predict(test.images).classes == test.labels) == done.test_accuracy
    assert tfmnist.evaluate(exported, test).accuracy == done.test_accuracy


def test_an_export_names_no_host_command_or_folder(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", [str(tmp_path / "secret-script.py")])
    monkeypatch.setattr("platform.node", lambda: "secret-host")
    monkeypatch.setattr(session, "git_commit", lambda: "secret-commit")
    source = tmp_path / "letters.npz"
    shutil.copy(recipe.data.source, source)
    code = "import tfmnist\ndef make(image_shape, classes, *, seed):\n"
    (tmp_path / "net.py").write_text(f"{code}    return tfmnist.MLP(image_shape, [8], classes, seed=seed)\n")
    changes = {"model.kind": f"{tmp_path / 'net.py'}:make", "model.hidden": [512], "data.source": str(source)}
    quick = recipe.replace({**changes, "train.epochs": 1, "export.report": False})
    first = tfmnist.run(quick, tmp_path / "first")
    run = tfmnist.run(quick.replace({"model.init_from": str(first.path)}), tmp_path / "run")
    assert {"host", "command", "git_commit"} <= set(run.result)
    for version in (run.path / "model/1", tfmnist.open_run(run.path).export(tmp_path / "model")):
        files = [path for path in version.rglob("*") if path.is_file()]
        assert len(files) >= 6
        for path in files:
            content = path.read_bytes()
            assert str(tmp_path).encode() not in content and b"secret" not in content, path
        card = tfmnist.load_exported(version).card
        assert (card["recipe"]["data"]["source"], card["recipe"]["model"]["init_from"]) == ("letters.npz", "first")
        assert card["recipe"]["model"]["kind"] == "net.py:make"
        assert (card["data"]["source"], card["data"]["sha256"]) == ("letters.npz", run.result["data"]["sha256"])
        assert (card["result"]["date"], card["result"]["processor"]) == (run.result["date"], run.result["processor"])


def test_a_temperature_is_the_recipes_unless_you_name_another(recipe: Recipe, tmp_path: Path) -> None:
    changes = {"export.temperature": 0.5, "export.threshold": 0.75, "train.epochs": 1, "export.report": False}
    run = tfmnist.run(recipe.replace(changes), tmp_path / "run")
    plain = tfmnist.run(recipe.replace({"train.epochs": 1, "export.report": False}), tmp_path / "plain")
    assert run.result["weights_sha256"] == plain.result["weights_sha256"]
    assert run.result["test_loss"] == plain.result["test_loss"]
    model, images = tfmnist.load_exported(run.path), tfmnist.load(recipe.data.source, validation=0).test.images
    assert (model.temperature, model.threshold) == (0.5, 0.75)
    np.testing.assert_allclose(
        model.predict(images).probabilities, tfmnist.open_run(run.path).predictions().probabilities, atol=1e-6
    )
    other = tfmnist.load_exported(tfmnist.export(run.path, tmp_path / "m", temperature=1.0, threshold=0.0))
    assert (other.temperature, other.threshold) == (1.0, 0.0)
    np.testing.assert_allclose(
        other.predict(images).probabilities, tfmnist.load_exported(plain.path).predict(images).probabilities, atol=1e-6
    )
    with pytest.raises(InputError, match=r"'export\.threshold' is 1\.5"):
        tfmnist.export(run.path, tmp_path / "m", threshold=1.5)
    assert not (tmp_path / "m/2").exists()


def test_an_unfinished_run_cannot_be_exported(recipe: Recipe, tmp_path: Path) -> None:
    events = run_events(recipe, tmp_path / "run")
    next(events)
    with pytest.raises(tfmnist.InputError, match=r"result\.json: missing.*--resume"):
        tfmnist.export(tmp_path / "run", tmp_path / "model")
    with pytest.raises(tfmnist.InputError, match="not a run folder"):
        tfmnist.export(tmp_path, tmp_path / "model")


def test_a_network_is_exported_without_a_run(tmp_path: Path) -> None:
    model = tfmnist.CNN((9, 8), ["conv 2 3x3"], 3, seed=4)
    with pytest.raises(tfmnist.InputError, match="2 names, but the model has 3 classes"):
        tfmnist.export(model, tmp_path / "m", class_names=["a", "b"])
    assert not (tmp_path / "m").exists()
    assert tfmnist.export(model, tmp_path / "m", loss="quadratic") == tmp_path / "m/1"
    exported = tfmnist.load_exported(tmp_path / "m")
    assert exported.class_names == ("0", "1", "2") and exported.loss == "quadratic"
    assert set(exported.card) == {
        "loss", "parameters", "versions", "form", "image_shape", "class_names", "signatures"
    }  # fmt: skip
    assert exported.card["form"]["light_ground"] is False and exported.card["parameters"] == model.parameter_count
    assert exported.predict(np.zeros([0, 9, 8], np.uint8)).probabilities.shape == (0, 3)
    assert exported.predict_pictures([]).normalized.shape == (0, 9, 8)


@pytest.mark.parametrize("shape", [(5, 5), (4, 8)])
def test_a_plain_module_is_not_exported_for_images_that_it_cannot_take(tmp_path: Path, shape: tuple[int, int]) -> None:
    class Raw(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.Variable(tf.ones([16, 3]))

        def forward(self, images: tf.Tensor, training: bool, step: tf.Tensor | None) -> tf.Tensor:
            return tf.reshape(images, [-1, 16]) @ self.kernel

    with pytest.raises(InputError, match="does not return a row of logits for each of 2 such images"):
        tfmnist.export(Raw(), tmp_path / "model", image_shape=shape)
    assert tfmnist.export(Raw(), tmp_path / "model", image_shape=(4, 4)).is_dir()
