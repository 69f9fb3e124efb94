"""Runs that train together are what each is by itself, on disk too, also where some stop, diverge or had begun."""

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfmnist.errors import BusyError, DivergedError, InputError, Interrupted
from tfmnist.recipe import Recipe
from tfmnist.runs.events import Trained
from tfmnist.runs.folder import locked
from tfmnist.runs.packed import Outcome, pack_events
from tfmnist.runs.train import resume, run_events
from tfmnist.sweeps.packing import pack_key
from tfmnist.system.files import read_npz
from tfmnist.training.checkpoint import list_checkpoints
from tfmnist.training.loop import Epoch
from tfmnist.training.packed_steps import PackedSteps

# of each optimizer: what all have, and in which numbers each differs
ALIKE: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "adam": ({"loss.l1": 1e-4}, [{"optimizer.beta1": 0.8}, {"optimizer.beta2": 0.99}, {"loss.l1": 1e-3}]),
    "adamw": (
        {"optimizer.clip_norm": 1.0, "loss.label_smoothing": 0.1},
        [{"optimizer.weight_decay": 0.5}, {"optimizer.clip_norm": 0.1}, {"loss.label_smoothing": 0.2}],
    ),
    "momentum": (
        {"optimizer.nesterov": True, "train.average": 0.9},
        [{"optimizer.momentum": 0.5}, {"schedule.every": 0.5}, {"train.average": 0.5}],
    ),
    "rmsprop": (
        {"loss.l2": 1e-3},
        [{"optimizer.rho": 0.5, "loss.l2": 1e-2}, {"model.initializer": "glorot"}, {"optimizer.epsilon": 1e-3}],
    ),
    "sgd": ({}, [{"optimizer.learning_rate": 0.1}, {"schedule.factor": 0.9}, {"schedule.warmup": 0.4}]),
}


@pytest.fixture
def recipe(small: Path) -> Recipe:
    keys = {"data.source": str(small), "data.validation": 100, "model.hidden": [8], "train.compile": "graph"}
    return Recipe().replace({**keys, "train.epochs": 3, "train.batch_size": 64, "schedule.kind": "exponential"})


def together(
    folder: Path, recipes: Sequence[Recipe], stops: Sequence[threading.Event] = (), until: int = 1000, size: int = 4
) -> list[list[Outcome]]:
    """Returns what happens to each; at most so many events."""
    stops = stops or [threading.Event() for _ in recipes]
    found: list[list[Outcome]] = [[] for _ in recipes]
    runs = [(folder / f"{n}", recipe, stop) for n, (recipe, stop) in enumerate(zip(recipes, stops))]
    events = pack_events(runs, size)
    for _, (place, event) in zip(range(until), events):
        found[place].append(event)
    return found


def alone(folder: Path, recipe: Recipe) -> list[Any]:
    return [event for event in run_events(recipe, folder, judged=False) if isinstance(event, Epoch | Trained)]


def assert_same(ours: Path, theirs: Path) -> None:
    """Both folders hold the same run, up to rounding and time."""
    mine, its = (read_npz(list_checkpoints(run / "checkpoints")[-1]) for run in (ours, theirs))
    assert mine.keys() == its.keys()
    for name, array in its.items():
        if array.dtype.kind == "f":
            np.testing.assert_allclose(mine[name], array, atol=2e-5 * max(1.0, abs(array).max()), err_msg=name)
        elif name == "optimizer/step":
            assert mine[name] == array
    for row, other in zip(*(history(run) for run in (ours, theirs)), strict=True):
        for key in set(row) - {"seconds", "images_per_second"}:
            least = 1 / 200 if "accuracy" in key else 1e-5  # an example on the border
            assert row[key] == pytest.approx(other[key], abs=least), key


def history(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", ALIKE)
def test_they_are_as_if_each_had_trained_alone(recipe: Recipe, tmp_path: Path, kind: str) -> None:
    common, changes = ALIKE[kind]
    base = recipe.replace({"optimizer.kind": kind, "optimizer.learning_rate": 0.01, **common})
    recipes = [base.replace(keys) for keys in changes]
    assert {pack_key(own) for own in recipes} == {pack_key(base)}
    found = together(tmp_path / "pack", recipes, size=2)
    for place, own in enumerate(recipes):
        last = found[place][-1]
        assert isinstance(last, Trained) and [type(event) for event in found[place][:-1]] == [Epoch] * 3
        other = alone(tmp_path / f"alone-{place}", own)[-1]
        assert last.validation_accuracy == pytest.approx(other.validation_accuracy, abs=1 / 100)
        assert_same(tmp_path / "pack" / f"{place}", tmp_path / f"alone-{place}")


@pytest.mark.parametrize("seeds", [(0, 1, 2), (0, 1, 0)])
def test_each_seed_has_its_own_order_dropout_and_validation(
    recipe: Recipe, tmp_path: Path, seeds: tuple[int, ...]
) -> None:
    base = recipe.replace({"model.dropout": 0.2, "augment.shift": 1.0, "train.epochs": 2})
    recipes = [base.replace({"train.seed": s, "model.dropout": 0.1 + n / 10}) for n, s in enumerate(seeds)]
    together(tmp_path / "pack", recipes)
    for place, own in enumerate(recipes):
        alone(tmp_path / f"alone-{place}", own)
        assert_same(tmp_path / "pack" / f"{place}", tmp_path / f"alone-{place}")


def test_one_that_diverges_leaves_the_others_as_they_are(recipe: Recipe, tmp_path: Path) -> None:
    rates = (0.01, 1e30, 0.1)
    recipes = [recipe.replace({"optimizer.kind": "sgd", "optimizer.learning_rate": rate}) for rate in rates]
    found = together(tmp_path / "pack", recipes)
    (error,) = found[1]
    with pytest.raises(DivergedError) as alone_too:
        alone(tmp_path / "alone-1", recipes[1])
    assert str(error) == str(alone_too.value) and "none yet" in str(error)
    for place in (0, 2):
        alone(tmp_path / f"alone-{place}", recipes[place])
        assert_same(tmp_path / "pack" / f"{place}", tmp_path / f"alone-{place}")


def test_one_that_is_stopped_goes_on_alone_and_the_rest_at_once(recipe: Recipe, tmp_path: Path) -> None:
    recipes = [recipe.replace({"optimizer.learning_rate": rate, "train.block": 1}) for rate in (0.001, 0.002, 0.003)]
    stops = [threading.Event() for _ in recipes]
    stops[1].set()
    found = together(tmp_path / "pack", recipes, stops)
    (stopped,) = found[1]
    assert isinstance(stopped, Interrupted) and "tfmnist train --resume" in str(stopped)
    assert [type(event) for event in found[0]] == [Epoch] * 3 + [Trained]
    stops[1].clear()
    found = together(tmp_path / "pack", recipes, stops)
    assert [type(event) for event in found[0]] == [Trained] and isinstance(found[1][-1], Trained)
    for place, own in enumerate(recipes):
        alone(tmp_path / f"alone-{place}", own)
        assert_same(tmp_path / "pack" / f"{place}", tmp_path / f"alone-{place}")


@pytest.mark.parametrize("until", [2, 4])
def test_what_was_killed_between_two_checkpoints_goes_on(recipe: Recipe, tmp_path: Path, until: int) -> None:
    recipes = [recipe.replace({"optimizer.learning_rate": rate}) for rate in (0.001, 0.002, 0.003)]
    together(tmp_path / "pack", recipes, until=until)  # of four events, one of the three has its second epoch
    found = together(tmp_path / "pack", recipes)
    assert all(isinstance(events[-1], Trained) for events in found)
    for place, own in enumerate(recipes):
        alone(tmp_path / f"alone-{place}", own)
        assert_same(tmp_path / "pack" / f"{place}", tmp_path / f"alone-{place}")


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_a_line_of_history_whose_checkpoint_was_never_written_is_written_again(
    recipe: Recipe, tmp_path: Path, epochs: int
) -> None:
    together(tmp_path, [recipe, recipe], until=2 * epochs)
    before = history(tmp_path / "0")
    assert len(before) == epochs
    list_checkpoints(tmp_path / "0" / "checkpoints")[-1].unlink()
    together(tmp_path, [recipe, recipe])
    rows = history(tmp_path / "0")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert [row["loss"] for row in rows[:epochs]] == [row["loss"] for row in before]


def test_a_run_saves_no_checkpoint_before_its_history(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a killed sweep goes on, whether to prune is asked with every epoch that is not trained again."""

    def fail(*_: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr("tfmnist.runs.save_checkpoint", fail)
    ((outcome,),) = together(tmp_path, [recipe])
    assert isinstance(outcome, OSError) and len(history(tmp_path / "0")) == 1


def test_a_packed_run_is_a_run(recipe: Recipe, tmp_path: Path) -> None:
    together(tmp_path, [recipe, recipe.replace({"optimizer.learning_rate": 0.1})])
    result = resume(tmp_path / "1").result
    assert result["epochs"] == 3 and result["model"] == "model/1" and result["validation_accuracy"] > 0.05


def test_one_that_is_refused_does_not_hold_the_others_up(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "recipe.toml").write_text("nonsense = 1")
    found = together(tmp_path, [recipe, recipe])
    assert [type(event) for event in found[0]] == [InputError] and isinstance(found[1][-1], Trained)


def test_where_another_process_writes_nothing_is_begun(recipe: Recipe, tmp_path: Path) -> None:
    together(tmp_path, [recipe, recipe], until=1)
    before = (tmp_path / "0" / "metrics.jsonl").read_bytes()
    with locked(tmp_path / "1"), pytest.raises(BusyError):
        together(tmp_path, [recipe, recipe])
    assert (tmp_path / "0" / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize("mode", ["xla"])
def test_compiled_whole_it_is_the_same(recipe: Recipe, tmp_path: Path, mode: str) -> None:
    keys = {"train.compile": mode, "optimizer.kind": "sgd", "optimizer.learning_rate": 0.1, "train.epochs": 1}
    recipes = [recipe.replace({**keys, "optimizer.learning_rate": rate}) for rate in (0.1, 0.2)]
    together(tmp_path / "pack", recipes)
    alone(tmp_path / "alone", recipes[1])
    assert_same(tmp_path / "pack" / "1", tmp_path / "alone")


def test_what_was_compiled_serves_the_next_of_the_kind_and_nothing_changes(recipe: Recipe, tmp_path: Path) -> None:
    keys = {"optimizer.kind": "adam", "model.dropout": 0.2, "train.average": 0.9, "loss.l2": 1e-3}
    first, second = (
        [recipe.replace({**keys, "optimizer.learning_rate": rate, "model.dropout": 10 * rate}) for rate in rates]
        for rates in ((0.01, 0.02), (0.03, 0.04, 0.05))
    )
    compiled: dict[str, PackedSteps] = {}
    traced: list[Any] = []
    for name, recipes in (("first", first), ("second", second)):
        runs = [(tmp_path / f"{name}-{n}", own, threading.Event()) for n, own in enumerate(recipes)]
        list(pack_events(runs, 2, False, compiled, "kind"))
        (steps,) = compiled.values()
        traced.append((steps, steps.do_full.experimental_get_tracing_count()))  # type: ignore[attr-defined]
    assert traced[0] == traced[1]
    for n, own in enumerate(second):
        list(pack_events([(tmp_path / f"fresh-{n}", own, threading.Event())], 2, False))
        mine, its = (read_npz(list_checkpoints(tmp_path / f"{x}-{n}" / "checkpoints")[-1]) for x in ("second", "fresh"))
        for name in set(mine) - {"state", "recipe"}:  # to the last bit, whichever others there are
            np.testing.assert_array_equal(mine[name], its[name], err_msg=name)
