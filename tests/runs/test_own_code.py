"""Code of the user's in recipes: found, checked by its signature, pinned by its digest, and never run for an export."""

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfmnist
from tfmnist.errors import InputError
from tfmnist.recipe import Recipe
from tfmnist.runs.build import make_model, make_objective, make_optimizer
from tfmnist.runs.own_code import load_own, name_of, pin

NET = """
import tensorflow as tf
import tfmnist
from parts import hidden_layers

def make(image_shape, classes, *, seed, width: int = 4, activation: str = "relu"):
    return tfmnist.MLP(image_shape, hidden_layers(width), classes, activation=activation, seed=seed)

def needy(image_shape, classes, *, seed, width):
    return make(image_shape, classes, seed=seed, width=width)

def wrong_shape(image_shape, classes, *, seed):
    return make((3, 3), classes, seed=seed)

def broken(image_shape, classes, *, seed):
    return make(image_shape, classes, seed=undefined)

def scaled(logits, labels, scale: float = 1.0):
    return scale * tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)

def averaged(logits, labels):
    return tf.reduce_mean(scaled(logits, labels))

def seedless(image_shape, classes):
    return make(image_shape, classes, seed=0)

def of_logits(logits):
    return logits[:, 0]

class Small(tfmnist.nn.Network):
    def __init__(self, image_shape, classes, *, seed, width: int = 4):
        super().__init__(image_shape, classes, "small")
        self.layers = make(image_shape, classes, seed=seed, width=width).layers

class Signs(tfmnist.Optimizer):
    def __init__(self, parameters, learning_rate, *, power: float = 0.0):
        super().__init__(parameters, learning_rate)
        self.power = power

    def update(self, parameter, gradient, slots, learning_rate, t):
        parameter.assign_sub(learning_rate * tf.sign(gradient) * t ** -self.power)

text = "no function"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "parts.py").write_text("def hidden_layers(width):\n    return [width]\n")
    return tmp_path


def recipe(folder: Path, small: Path | None = None, **keys: Any) -> Recipe:
    changes: dict[str, Any] = {"model.kind": f"{folder}/net.py:make"}
    if small:
        changes |= {"data.source": str(small), "data.validation": 100, "train.epochs": 2, "export.report": False}
    return Recipe().replace(changes | {key.replace("__", "."): value for key, value in keys.items()})


def complaint(section: str, chosen: Recipe) -> str:
    with pytest.raises(InputError) as caught:
        load_own(getattr(chosen, section))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_function_gets_its_options_by_name(folder: Path) -> None:
    chosen = recipe(folder, **{"model.options.width": 7, "model.options.activation": "tanh"})
    model = make_model(chosen.model, (5, 5), 3, seed=1)
    same = tfmnist.MLP((5, 5), [7], 3, activation="tanh", seed=1)
    assert model.sha256() == same.sha256()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"model.options.widht": 3}, "'model.options.widht' does not exist; did you mean 'model.options.width'?"),
        ({"model.options.seed": 3}, "'model.options.seed' does not exist"),
        ({"model.options.width": "wide"}, "'model.options.width' is 'wide': expected a valid integer"),
        ({"model.options.width": 2.5}, "'model.options.width' is 2.5: expected a valid integer"),
    ],
)
def test_options_are_checked_by_the_signature(folder: Path, keys: dict[str, Any], said: str) -> None:
    assert said in complaint("model", recipe(folder, **keys))


def test_the_signature_of_a_class_is_that_of_its_constructor(folder: Path) -> None:
    kind = {"model.kind": f"{folder}/net.py:Small"}
    assert make_model(
        recipe(folder, None, **kind, **{"model.options.width": 7}).model, (5, 5), 3, seed=1
    ).parameter_count
    assert "did you mean 'model.options.width'?" in complaint(
        "model", recipe(folder, None, **kind, **{"model.options.x": 1})
    )


def test_what_cannot_be_called_as_it_will_be_is_refused(folder: Path) -> None:
    said = complaint("model", recipe(folder, None, **{"model.kind": f"{folder}/net.py:seedless"}))
    assert "'seed'; expected (image_shape, classes, seed) and options by name" in said
    said = complaint("loss", recipe(folder, None, **{"loss.kind": f"{folder}/net.py:of_logits"}))
    assert "too many positional arguments; expected (logits, labels) and options by name" in said


@pytest.mark.parametrize("value", [None, float("inf"), date(2026, 1, 1), np.int64(3), [1, None]])
def test_options_are_what_a_recipe_file_can_hold(folder: Path, value: Any) -> None:
    with pytest.raises(InputError, match="expected text, a finite number, true, false, a list or a table"):
        recipe(folder, **{"model.options.width": value})


def test_each_file_imports_what_lies_beside_it_now(folder: Path, tmp_path: Path) -> None:
    def widths(where: Path) -> list[int]:
        model = make_model(recipe(where).model, (5, 5), 3, seed=0)
        return [layer.output_shape[0] for layer in model.layers if isinstance(layer, tfmnist.nn.Dense)]

    other = tmp_path / "other"
    shutil.copytree(folder, other, ignore=shutil.ignore_patterns("other"))
    (other / "parts.py").write_text("def hidden_layers(width):\n    return [width, 2]\n")
    assert widths(folder) == [4, 3]
    assert widths(other) == [4, 2, 3]
    assert widths(folder) == [4, 3]
    (folder / "parts.py").write_text("def hidden_layers(width):\n    return [width, 11, 12]\n")
    assert widths(folder) == [4, 11, 12, 3]


def test_the_digest_of_an_installed_module_is_of_its_own_package(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "site-packages"
    for package in ("owns", "others"):
        (installed / package).mkdir(parents=True)
        (installed / package / "__init__.py").write_text("")
        (installed / package / "parts.py").write_text("def hidden_layers(width):\n    return [width]\n")
    (installed / "owns" / "net.py").write_text("import others.parts\n" + NET.replace("from parts", "from .parts"))
    monkeypatch.syspath_prepend(installed)
    chosen = pin(recipe(folder, None, **{"model.kind": "owns.net:make"}))
    (installed / "others" / "parts.py").write_text("hidden_layers = 3\n")
    assert pin(chosen) == chosen
    (installed / "owns" / "parts.py").write_text("def hidden_layers(width):\n    return [width, width]\n")
    assert "its source has changed" in complaint("model", chosen)


def test_what_does_not_exist_is_named(folder: Path) -> None:
    def of(kind: str) -> str:
        return complaint("model", Recipe().replace({"model.kind": kind}))

    assert "there is no file" in of(f"{folder}/nothing.py:make")
    assert "no function or class 'mak'; did you mean 'make'?" in of(f"{folder}/net.py:mak")
    assert "no function or class 'text'" in of(f"{folder}/net.py:text")
    assert "there is no Python module 'no_such_module'" in of("no_such_module:make")
    assert "'model.options.width' is missing: expected a value" in of(f"{folder}/net.py:needy")
    (folder / "bad.py").write_text("import os\n\ndef make(:\n")
    assert "bad.py:3: SyntaxError" in of(f"{folder}/bad.py:make")
    (folder / "worse.py").write_text("import os\nos.nothing\n")
    assert "worse.py:2: AttributeError" in of(f"{folder}/worse.py:make")


def test_errors_inside_the_code_name_its_line(folder: Path) -> None:
    def made(kind: str) -> str:
        with pytest.raises(InputError) as caught:
            make_model(Recipe().replace({"model.kind": f"{folder}/net.py:{kind}"}).model, (5, 5), 3, seed=0)
        return str(caught.value)

    line = NET.splitlines().index("    return make(image_shape, classes, seed=undefined)") + 1
    assert f"net.py:{line}: NameError: name 'undefined' is not defined" in made("broken")
    assert "its network is for images of (3, 3) and 3 classes, expected (5, 5)" in made("wrong_shape")


def test_a_loss_and_an_optimizer_get_their_options(folder: Path) -> None:
    keys = {"loss.kind": f"{folder}/net.py:scaled", "optimizer.kind": f"{folder}/net.py:Signs"}
    chosen = recipe(folder, **keys, **{"loss.options.scale": 3, "optimizer.options.power": 0.5, "loss.l2": 0.1})
    objective = make_objective(chosen.loss)
    logits, labels = tf.constant([[1.0, 2.0, 0.5]]), tf.constant([1])
    expected = 3 * tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    assert objective.function(logits, labels).numpy() == pytest.approx(expected.numpy())
    assert (objective.name, objective.l2) == ("net.py:scaled", 0.1)
    weight = tf.Variable(tf.ones([2]))
    rule = make_optimizer(chosen.optimizer, [weight], lambda step: tf.constant(0.5))
    rule.apply([tf.constant([3.0, -4.0])])
    np.testing.assert_allclose(weight, [0.5, 1.5])
    wrong = Recipe().replace({"optimizer.kind": f"{folder}/net.py:make"})
    with pytest.raises(InputError, match=r"expected a subclass of tfmnist\.Optimizer"):
        make_optimizer(wrong.optimizer, [weight], lambda step: tf.constant(0.5))


def test_the_digest_covers_what_is_imported_from_the_folder(folder: Path, tmp_path: Path) -> None:
    pinned = pin(recipe(folder))
    assert len(pinned.model.source_sha256) == 64 and pin(pinned) == pinned
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder, moved, ignore=shutil.ignore_patterns("elsewhere"))
    assert pin(recipe(moved)).model.source_sha256 == pinned.model.source_sha256
    (folder / "unrelated.py").write_text("changed = True\n")
    assert pin(pinned) == pinned
    (folder / "parts.py").write_text("def hidden_layers(width):\n    return [width, width]\n")
    assert "its source has changed" in complaint("model", pinned)


def test_an_installed_module_is_named_by_its_name() -> None:
    section = Recipe().replace({"optimizer.kind": "tfmnist.nn.optimizers:Adam"}).optimizer
    function, options = load_own(section)
    assert function is tfmnist.Adam and options == {}
    assert len(pin(Recipe().replace({"optimizer.kind": "tfmnist.nn.optimizers:Adam"})).optimizer.source_sha256) == 64
    assert name_of("tfmnist.nn.optimizers:Adam") == "tfmnist.nn.optimizers:Adam"
    assert name_of("/some/folder/net.py:make") == "net.py:make"


def test_resume_stops_if_the_code_has_changed(folder: Path, small: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    run = tfmnist.run(recipe(folder, small), path, progress=False)
    assert Recipe.load_run(path).model.source_sha256
    again = tfmnist.run(Recipe.load_run(path), tmp_path / "again", progress=False)
    assert again.result["weights_sha256"] == run.result["weights_sha256"]
    (folder / "net.py").write_text(NET.replace("width: int = 4", "width: int = 5"))
    for start in (lambda: tfmnist.resume(path, 3, progress=False), lambda: tfmnist.export(path, tmp_path / "model")):
        with pytest.raises(InputError, match="its source has changed; restore it, or start a new run"):
            start()


def test_a_loss_that_is_averaged_already_is_refused(folder: Path, small: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"net\.py:averaged returns shape \[\], expected \[batch\]"):
        tfmnist.run(
            recipe(folder, small, **{"loss.kind": f"{folder}/net.py:averaged"}), tmp_path / "run", progress=False
        )


def test_an_export_needs_nothing_of_the_code_and_runs_none(folder: Path, small: Path, tmp_path: Path) -> None:
    keys = {"loss.kind": f"{folder}/net.py:scaled", "optimizer.kind": f"{folder}/net.py:Signs"}
    run = tfmnist.run(recipe(folder, small, **keys), tmp_path / "run", progress=False)
    assert run.result["test_loss"] > 0
    shutil.rmtree(folder / "run" / "checkpoints", ignore_errors=True)
    (folder / "net.py").write_text("raise SystemExit('run for an export')\n")
    exported = tfmnist.load_exported(run.path)
    assert exported.loss == "net.py:scaled"
    metrics = tfmnist.evaluate(exported, tfmnist.load(small, validation=100).test)
    assert metrics.accuracy == run.test_accuracy
    np.testing.assert_allclose(exported.predict(np.zeros([1, 28, 28], np.uint8)).probabilities.sum(), 1, rtol=1e-6)


def test_a_file_is_relative_to_the_recipe(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "my.toml").write_text('[model]\nkind = "net.py:make"\noptions = {width = 3}\n')
    chosen = Recipe.load(folder / "my.toml")
    assert chosen.model.kind == f"{folder}/net.py:make" and chosen.model.options == {"width": 3}
    monkeypatch.chdir(folder)
    assert Recipe().replace({"model.kind": "net.py:make"}).model.kind == f"{folder}/net.py:make"


def test_code_that_does_not_fit_leaves_no_folder(folder: Path, small: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    wrong = recipe(folder, small, **{"loss.kind": f"{folder}/net.py:averaged"})
    for _ in range(2):  # the same command again
        with pytest.raises(InputError, match="expected \\[batch\\]"):
            tfmnist.run(wrong, path, progress=False)
        assert not path.exists()
