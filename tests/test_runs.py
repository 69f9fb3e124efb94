"""Runs: the folder they leave, repeating, stopping, resuming, failing."""

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tfmnist
from tfmnist.recipe import Recipe
from tfmnist.runs import Run, Started, resume_events, run_events
from tfmnist.training.loop import Epoch, Progress


@pytest.fixture(scope="module")
def recipe(small: Path) -> Recipe:
    changes = {"data.source": str(small), "data.validation": 100, "model.hidden": (16,), "train.batch_size": 64}
    return Recipe.load("mlp").replace({**changes, "train.epochs": 3, "train.block": 3, "train.compile": "graph"})


@pytest.fixture(scope="module")
def done(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tfmnist.run(recipe, tmp_path_factory.mktemp("runs") / "a")


def test_the_folder_is_complete(done: Run, recipe: Recipe) -> None:
    names = {path.relative_to(done.path).as_posix() for path in done.path.rglob("*") if path.is_file()}
    assert {"recipe.toml", "metrics.jsonl", "result.json", "report.html", "model/1/saved_model.pb"} <= names
    assert {"figures/learning_curves.png", "figures/confusion_matrix.png", "checkpoints/step-00000024.npz"} <= names
    assert Recipe.load_run(done.path) == recipe
    rows = [json.loads(line) for line in (done.path / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3] and [row["step"] for row in rows] == [8, 16, 24]
    keys = "epoch step loss accuracy validation_loss validation_accuracy learning_rate seconds images_per_second"
    assert set(rows[0]) == set(keys.split())


def test_the_result(done: Run) -> None:
    result: dict[str, Any] = json.loads((done.path / "result.json").read_text())
    assert result == done.result and done.test_accuracy == result["test_accuracy"]
    assert result["test_accuracy_ci95"][0] < result["test_accuracy"] < result["test_accuracy_ci95"][1]
    assert {key: result[key] for key in ("epochs", "steps", "seed", "parameters")} == {
        "epochs": 3,
        "steps": 24,
        "seed": 0,
        "parameters": 784 * 16 + 16 + 160 + 10,
    }
    counts = {key: result["data"][key] for key in ("train", "validation", "test", "classes")}
    assert counts == {"train": 500, "validation": 100, "test": 200, "classes": 10}
    assert set(result["seconds"]) == {"load", "compile", "train", "evaluate", "export", "total"}
    assert {"tfmnist", "tensorflow", "numpy", "python"} <= set(result["versions"])
    assert len(result["weights_sha256"]) == len(result["data"]["sha256"]) == 64


def test_the_export_is_as_accurate_as_the_result_says(done: Run, recipe: Recipe) -> None:
    test = tfmnist.load(recipe.data.source, validation=0).test
    exported = tfmnist.load_exported(done.path)
    assert np.mean(exported.predict(test.images).classes == test.labels) == done.test_accuracy
    assert tfmnist.evaluate(exported, test).accuracy == done.test_accuracy


def test_again_gives_the_same_weights(done: Run, tmp_path: Path) -> None:
    again = tfmnist.run(done.path / "recipe.toml", tmp_path / "b")
    assert again.result["weights_sha256"] == done.result["weights_sha256"]
    other = tfmnist.run(Recipe.load_run(done.path).replace({"train.seed": 1}), tmp_path / "c")
    assert other.result["weights_sha256"] != done.result["weights_sha256"]


def test_fewer_epochs_resumed_to_more_equal_all_at_once(done: Run, recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "run"
    first = tfmnist.run(recipe.replace({"train.epochs": 1}), path)
    longer = tfmnist.resume(path, epochs=3)
    assert longer.result["weights_sha256"] == done.result["weights_sha256"] != first.result["weights_sha256"]
    assert Recipe.load_run(path) == recipe
    assert longer.result["model"] == "model/2" and (path / "model/1/saved_model.pb").is_file()
    assert tfmnist.resume(path).result == longer.result
    with pytest.raises(tfmnist.InputError, match="has begun 3 epochs"):
        tfmnist.resume(path, epochs=2)


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_stopped_anywhere_and_resumed_equals_uninterrupted(kind: str, recipe: Recipe, tmp_path: Path) -> None:
    layers = ("conv 4 3x3 /2", "max 2", "global average", "dense 8")
    common = {"export.report": False, "augment.shift": 1.5, "train.average": 0.9, "train.patience": 5}
    chosen = recipe.replace(
        {"model.kind": kind, "model.layers": layers, "model.batch_norm": True, "model.dropout": 0.2}
    )
    chosen = chosen.replace({**common, "optimizer.kind": "rmsprop", "schedule.kind": "cosine", "train.epochs": 2})
    whole = tfmnist.run(chosen, tmp_path / "whole")
    path, stop = tmp_path / "run", threading.Event()
    stops = 0
    for start in range(12):
        events = resume_events(path, stop=stop) if start else run_events(chosen, path, stop)
        stop.clear()
        try:
            for event in events:
                if isinstance(event, Progress | Epoch):
                    stop.set()
        except tfmnist.Interrupted as error:
            stops += 1
            assert error.exit_code == 75 and f"tfmnist train --resume {path}" in str(error)
    assert stops == 7  # 2 epochs of 3 + 3 + 1 full batches and a short one, and the last block is the end
    assert json.loads((path / "result.json").read_text())["weights_sha256"] == whole.result["weights_sha256"]
    mine, theirs = ((p / "metrics.jsonl").read_text().splitlines() for p in (path, tmp_path / "whole"))
    for ours, others in zip(map(json.loads, mine), map(json.loads, theirs), strict=True):
        timed = ("seconds", "images_per_second")
        assert {k: v for k, v in ours.items() if k not in timed} == {k: v for k, v in others.items() if k not in timed}


def test_a_damaged_checkpoint_is_passed_over(recipe: Recipe, done: Run, tmp_path: Path) -> None:
    path = tmp_path / "run"
    tfmnist.run(recipe.replace({"train.epochs": 2, "export.report": False}), path)
    newest = path / "checkpoints/step-00000016.npz"
    newest.write_bytes(newest.read_bytes()[:-1000])
    events = list(resume_events(path, epochs=3))
    assert isinstance(events[0], Started) and "step-00000016.npz" in events[0].notes[0]
    assert isinstance(events[-1], Run) and events[-1].result["weights_sha256"] == done.result["weights_sha256"]


def test_a_diverged_run_names_its_last_good_checkpoint(recipe: Recipe, tmp_path: Path) -> None:
    wild = {"optimizer.kind": "sgd", "optimizer.learning_rate": 1e30, "export.report": False}
    with pytest.raises(tfmnist.DivergedError, match=r"epoch 1, step \d+ of 8, learning rate 1e\+30.*none yet"):
        tfmnist.run(recipe.replace(wild), tmp_path / "run")
    # Grows from epoch to epoch, so that the first one is good and a later one is not.
    wild |= {"optimizer.learning_rate": 0.1, "train.epochs": 30, "schedule.kind": "constant", "schedule.warmup": 30.0}
    wild |= {"optimizer.learning_rate": 1e37}
    path = tmp_path / "later"
    with pytest.raises(tfmnist.DivergedError):
        tfmnist.run(recipe.replace(wild), path)
    assert not (path / "result.json").exists() and not (path / "model").exists()


def test_bad_data_leaves_no_folder(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(tfmnist.InputError, match="does not exist"):
        tfmnist.run(recipe.replace({"data.source": str(tmp_path / "nothing")}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_in_use_is_left_alone(done: Run, recipe: Recipe) -> None:
    before = (done.path / "result.json").read_bytes()
    with pytest.raises(tfmnist.InputError, match=r"not an empty folder.*--resume"):
        tfmnist.run(recipe, done.path)
    assert (done.path / "result.json").read_bytes() == before


def test_the_default_folder_and_latest(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    quick = recipe.replace({"train.epochs": 1, "export.report": False, "export.model": False})
    for run in (tfmnist.run(quick), tfmnist.run(quick)):
        assert run.path.parent == Path("runs") and run.path.name.startswith("mlp-")
    assert len([path for path in (tmp_path / "runs").iterdir() if not path.is_symlink()]) == 2
    run = tfmnist.run(quick)
    assert (tmp_path / "runs/latest").resolve() == run.path.resolve()
    with pytest.raises(tfmnist.InputError, match="holds no exported model"):
        tfmnist.load_exported(run.path)
    assert tfmnist.export(run.path, tmp_path / "later") == tmp_path / "later/1"
    assert tfmnist.load_exported(tmp_path / "later").card["result"]["weights_sha256"] == run.result["weights_sha256"]


def test_an_unfinished_run_cannot_be_exported(recipe: Recipe, tmp_path: Path) -> None:
    events = run_events(recipe, tmp_path / "run")
    next(events)
    with pytest.raises(tfmnist.InputError, match=r"not finished.*--resume"):
        tfmnist.export(tmp_path / "run", tmp_path / "model")
    with pytest.raises(tfmnist.InputError, match="not a run folder"):
        tfmnist.export(tmp_path, tmp_path / "model")


def test_a_resume_that_could_not_be_exact_is_refused(recipe: Recipe, small: Path, tmp_path: Path) -> None:
    quick = recipe.replace({"train.epochs": 2, "export.report": False, "export.model": False})
    stop = threading.Event()
    stop.set()
    with pytest.raises(tfmnist.Interrupted):
        list(run_events(quick.replace({"schedule.kind": "cosine"}), tmp_path / "cosine", stop))
    with pytest.raises(tfmnist.InputError, match=r"cosine schedule depends on train\.epochs"):
        tfmnist.resume(tmp_path / "cosine", epochs=3)
    arrays = dict(np.load(small))
    np.savez(tmp_path / "own.npz", **arrays)
    with pytest.raises(tfmnist.Interrupted):
        list(run_events(quick.replace({"data.source": str(tmp_path / "own.npz")}), tmp_path / "run", stop))
    np.savez(tmp_path / "own.npz", **{**arrays, "x_train": 255 - arrays["x_train"]})
    with pytest.raises(tfmnist.InputError, match="holds other data"):
        tfmnist.resume(tmp_path / "run")
    np.savez(tmp_path / "own.npz", **arrays)
    assert tfmnist.resume(tmp_path / "run").result["epochs"] == 2


def test_a_folder_belongs_to_one_process(recipe: Recipe, tmp_path: Path) -> None:
    events: Any = run_events(recipe, tmp_path / "run")
    next(events)
    with pytest.raises(tfmnist.InputError, match="another process is training there"):
        list(resume_events(tmp_path / "run"))
    events.close()


def test_a_changed_recipe_makes_no_promises(recipe: Recipe) -> None:
    shipped = Recipe.load("mlp")
    assert shipped.replace({"train.seed": 3}).about == shipped.about
    assert recipe.about.accuracy == recipe.about.summary == ""
