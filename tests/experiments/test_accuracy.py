"""The experiments on accuracy: comparisons seed by seed, how sure a model is, and techniques outside the package."""

import importlib.util
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfmnist
from tfmnist.nn.metrics import Recalibration
from tfmnist.runs.build import make_model

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> ModuleType:
    path = EXPERIMENTS / request.param
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, path.stem, module)
    spec.loader.exec_module(module)
    return module


FINAL = [path for path in sorted((EXPERIMENTS / "accuracy/final").glob("*.toml")) if path.stem != "cnn-distilled"]


@pytest.mark.parametrize("path", FINAL, ids=lambda path: path.stem)
def test_final_figures_are_of_the_shipped_recipes_on_all_images(path: Path) -> None:
    recipe, shipped = tfmnist.Recipe.load(path), path.stem.removeprefix("fashion-")
    other_data = ["data.source"] if shipped != path.stem else []
    assert recipe.changed_from(tfmnist.Recipe.load(shipped)) == [*other_data, "data.validation"]
    assert recipe.data.validation == 0


def test_the_taught_network_has_at_most_100_000_parameters() -> None:
    recipe = tfmnist.Recipe.load(EXPERIMENTS / "accuracy/final/cnn-distilled.toml")
    assert recipe.distill.teacher and recipe.data.validation == 0
    assert make_model(recipe.model, (28, 28), 10, 0).parameter_count == 75_626


def test_every_ablation_is_a_recipe_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXPERIMENTS.parent)
    plan = tomllib.loads((EXPERIMENTS / "accuracy/ablations.toml").read_text())
    base = tfmnist.Recipe.load(plan["recipe"]).replace(plan["base"])
    recipes = [base.replace(way["changes"]) for way in plan["ways"]]
    assert all(recipe.changed_from(base) for recipe in recipes)
    assert len({str(recipe.values()) for recipe in recipes}) == len({way["name"] for way in plan["ways"]})


@pytest.mark.parametrize("script", ["ways_to_do_better.py"], indirect=True)
def test_ways_are_compared_over_the_same_seeds(script: ModuleType) -> None:
    def runs(way: str, *accuracies: float) -> list[dict[str, Any]]:
        rows = enumerate(accuracies)
        return [{"way": way, "seed": s, "validation_accuracy": a, "seconds": 2.0 + s} for s, a in rows]

    table = script.summarise(
        [*runs("as it stands", 0.91, 0.95, 0.93), *runs("wider", 0.92, 0.96, 0.942), *runs("deeper", 0.9, 0.96)],
        ["as it stands", "wider", "deeper"],
    )
    _, _, base, wider, deeper = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines())
    assert base == ["as it stands", "93.00% ± 2.00", "3", "", "", "1.00"]
    assert wider[2:] == ["3", "+1.07 ± 0.07", "helps", "1.00"]
    assert deeper[2:] == ["2", "+0.00 ± 1.00", "no difference seen", "1.00"]


@pytest.mark.parametrize("script", ["accuracy/how_sure.py"], indirect=True)
def test_only_answers_above_the_threshold_are_counted_as_sure(script: ModuleType) -> None:
    shares = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.55, 0.45]])
    measured = script.measure(np.array([0, 0, 1, 0]), shares, Recalibration(1.0, 0.0, 0.7, 0.5))
    assert measured["answered"] == 0.5 and measured["answered_right"] == 1.0 and measured["right"] == 0.75
    assert measured["before"] == pytest.approx(measured["after"])


OPTIONS = ["", "shortcut", "excite", "whiten", "erase", "thicken", "shifts"]


@pytest.mark.parametrize("script", ["accuracy/techniques/networks.py"], indirect=True)
@pytest.mark.parametrize("option", OPTIONS)
def test_each_technique_trains(script: ModuleType, option: str) -> None:
    value = {"erase": 6.0, "thicken": 0.5, "shifts": 1}.get(option, True)
    model = script.Best((28, 28), 10, seed=0, **({option: value} if option else {}))
    train = tfmnist.load("mnist", per_class=2, validation=0).train
    tfmnist.fit(model, train, epochs=1, batch_size=10, progress=False)
    assert np.isfinite(model.logits(train.images)).all()


@pytest.mark.parametrize("script", ["accuracy/techniques/networks.py"], indirect=True)
def test_erasing_and_thickening_do_what_they_say(script: ModuleType) -> None:
    images, key = tf.ones([50, 28, 28]), tf.constant([1, 2], tf.int64)
    rows = tf.reduce_sum(tf.cast(tf.reduce_any(script.erased(images, 6.0, key) == 0, axis=2), tf.int32), axis=1)
    assert 1 <= int(tf.reduce_max(rows)) <= 6
    stroke = np.zeros([50, 28, 28], np.float32)
    stroke[:, 5:20, 13:16] = 1
    ink = tf.reduce_sum(script.thickened(tf.constant(stroke), 1.0, key), axis=(1, 2)).numpy()
    assert ink.min() < stroke[0].sum() < ink.max()


@pytest.mark.parametrize("script", ["accuracy/techniques/optimizers.py"], indirect=True)
def test_lookahead_pulls_weights_back_after_k_steps(script: ModuleType) -> None:
    w, plain = tf.Variable(tf.zeros([1])), tf.Variable(tf.zeros([1]))
    slow, fast = script.Lookahead([w], 0.1, k=2), tfmnist.Adam([plain], 0.1)
    for expected in (1.0, 0.5):
        for optimizer in (slow, fast):
            optimizer.apply([tf.constant([-1.0])])
        assert float(w[0]) == pytest.approx(expected * float(plain[0]), rel=1e-5)
