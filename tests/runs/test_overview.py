"""Runs side by side, and what is known of one: states, order, differences, damage, and early versions."""

import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tfmnist
from tfmnist.errors import InputError
from tfmnist.recipe import Recipe
from tfmnist.runs.events import Run
from tfmnist.runs.overview import RunSummary, describe, list_runs
from tfmnist.runs.result import Divergence
from tfmnist.system.files import write_npz

ROW = {"step": 8, "loss": 0.5, "accuracy": 0.9, "validation_loss": 0.6, "validation_accuracy": 0.8}
ROW |= {"learning_rate": 0.001, "seconds": 1.5, "images_per_second": 333.3}


def write_run(path: Path, recipe: str | Recipe = "mlp", epochs: int = 0, **changes: Any) -> Path:
    """Writes the folder of a run with so many epochs done; `changes` names keys with __ for a dot."""
    recipe = Recipe.load(recipe) if isinstance(recipe, str) else recipe
    path.mkdir(parents=True)
    keys = {key.replace("__", "."): value for key, value in changes.items()}
    (path / "recipe.toml").write_text(recipe.replace(keys).to_toml())
    rows = (json.dumps({"epoch": epoch, **ROW}) for epoch in range(1, epochs + 1))
    (path / "metrics.jsonl").write_text("".join(f"{row}\n" for row in rows))
    return path


def write_result(path: Path, epochs: int, **changes: Any) -> None:
    """Writes a result as version 0.1 did."""
    data = {"source": "mnist", "sha256": "da", "train": 5, "validation": 1, "test": 2, "classes": 2}
    data |= {"class_names": ["a", "b"], "image_shape": [2, 3]}
    values = {"name": "mlp", "test_accuracy": 0.75, "test_accuracy_ci95": [0.7, 0.8], "test_loss": 0.7}
    values |= {"validation_accuracy": 0.7, "epochs": epochs, "steps": 4, "parameters": 10, "seed": 0}
    values |= {"weights_sha256": "5e", "data": data, "versions": {}, "seconds": {"train": 1.5, "total": 9.0}, **changes}
    (path / "result.json").write_text(json.dumps(values))


def by_name(runs: list[RunSummary]) -> dict[str, RunSummary]:
    return {run.path.name: run for run in runs}


def test_every_state(tmp_path: Path) -> None:
    write_result(write_run(tmp_path / "done", epochs=5), 5)
    write_run(tmp_path / "begun")
    write_run(tmp_path / "stopped", epochs=2)
    write_result(write_run(tmp_path / "longer", epochs=6, train__epochs=9), 5)
    trained = write_run(tmp_path / "trained", epochs=5)
    (trained / "checkpoints").mkdir()
    state = np.array(json.dumps({"epoch": 5, "best_epoch": 5}))
    write_npz(trained / "checkpoints" / "step-00000005.npz", {"state": state})
    diverged = write_run(tmp_path / "diverged", epochs=1)
    Divergence(reason="diverged: the loss is nan.", date=datetime.now(UTC)).write(diverged)
    (tmp_path / "latest").symlink_to("done")
    (tmp_path / "sweep" / "trials").mkdir(parents=True)
    (tmp_path / "sweep" / "recipe.toml").touch()
    (tmp_path / "notes.txt").touch()
    runs = by_name(list_runs(tmp_path))
    found = {name: (run.state, run.epochs, run.validation_accuracy, run.seconds) for name, run in runs.items()}
    assert found == {
        "done": ("done", 5, 0.7, 9.0),
        "begun": ("unfinished", 0, None, 0.0),
        "stopped": ("unfinished", 2, 0.8, 3.0),
        "longer": ("unfinished", 6, 0.7, 9.0),
        "trained": ("trained", 5, 0.8, 7.5),
        "diverged": ("diverged", 1, 0.8, 1.5),
    }
    assert runs["diverged"].problem.startswith("diverged: the loss is nan. Start a new run")
    written = runs["done"].to_dict()
    assert json.loads(json.dumps(written)) == written
    assert (written["train_epochs"], written["result"]["test_accuracy"]) == (5, 0.75)


def test_the_last_to_end_comes_last(tmp_path: Path) -> None:
    write_result(write_run(tmp_path / "a", epochs=5), 5, date="2026-03-01T00:00:00Z")
    write_result(write_run(tmp_path / "b", epochs=5), 5, date="2026-01-01T00:00:00Z")
    write_result(write_run(tmp_path / "c", epochs=5), 5)  # of version 0.1: only the file has a date
    for file in (tmp_path / "c").iterdir():
        os.utime(file, (0, datetime(2026, 2, 1, tzinfo=UTC).timestamp()))
    runs = list_runs(tmp_path)
    assert [run.path.name for run in runs] == ["b", "c", "a"]
    assert [run.to_dict()["date"][:10] for run in runs] == ["2026-01-01", "2026-02-01", "2026-03-01"]


def test_runs_of_shipped_recipes_differ_from_those_and_others_from_each_other(tmp_path: Path) -> None:
    write_run(tmp_path / "plain")
    write_run(tmp_path / "changed", optimizer__learning_rate=0.5, data__source="/home/me/letters", train__progress=9)
    write_run(tmp_path / "cnn", "cnn", train__seed=3)
    own = Recipe.load("sigmoid-mlp").model_copy(update={"name": "own"})
    write_run(tmp_path / "own-1", own)
    write_run(tmp_path / "own-2", own, model__hidden=[64, 32], export__report=False)
    runs = by_name(list_runs(tmp_path))
    assert {name: run.differs for name, run in runs.items()} == {
        "plain": {},
        "changed": {"data.source": "letters", "optimizer.learning_rate": 0.5},
        "cnn": {"train.seed": 3},
        "own-1": {"model.hidden": [30]},
        "own-2": {"model.hidden": [64, 32]},
    }


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("recipe.toml", "[train", "recipe.toml: not valid TOML"),
        ("recipe.toml", None, "not a run folder, it has no recipe.toml"),
        ("result.json", "{}", "result.json: damaged: name Field required"),
        ("metrics.jsonl", "{", "metrics.jsonl: damaged: "),
        ("diverged.json", "", "diverged.json: damaged: "),
    ],
)
def test_a_damaged_run_is_a_row_with_the_reason(name: str, content: str | None, problem: str, tmp_path: Path) -> None:
    write_run(tmp_path / "good", epochs=1)
    run = write_run(tmp_path / "bad", epochs=1)
    (run / name).unlink(missing_ok=True)
    if content is not None:
        (run / name).write_text(content)
    runs = by_name(list_runs(tmp_path))
    assert (runs["good"].state, runs["bad"].state) == ("unfinished", "damaged")
    assert problem in runs["bad"].problem and runs["bad"].problem.isprintable()
    with pytest.raises(InputError) as caught:
        describe(run)
    assert str(caught.value) == runs["bad"].problem


def test_a_folder_without_runs_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs" / "a")
    (tmp_path / "sweep" / "trials").mkdir(parents=True)
    (tmp_path / "sweep" / "sweep.toml").touch()
    for path, problem in (
        (tmp_path / "nothing", "does not exist"),
        (tmp_path, "holds no runs; expected a folder of runs, such as 'runs'"),
        (run, "is a run, see 'tfmnist info'"),
        (tmp_path / "sweep", f"holds no runs; expected a folder of runs, {tmp_path / 'sweep/trials'}, for example"),
    ):
        with pytest.raises(InputError) as caught:
            list_runs(path)
        assert str(caught.value).startswith(f"{path}: {problem}")
    with pytest.raises(InputError, match=r"is a sweep; list its trials with 'tfmnist runs .*/sweep/trials'"):
        describe(tmp_path / "sweep")
    with pytest.raises(InputError, match="holds no exported model"):
        describe(tmp_path)


def test_a_run_is_described_with_its_model(done: Run, recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(done.path)
    run, model = describe(tmp_path / "latest")
    assert run and model and run.path == done.path and run.state == "done" and run.recipe == recipe
    assert run.result and run.result.to_dict() == done.result and run.date == run.result.date
    assert "data.source" in run.differs and run.differs["model.hidden"] == [16]
    assert model.version == done.path / "model/1" and set(model.files.values()) == {"intact"}
    assert describe(write_run(tmp_path / "begun"))[1] is None


def test_a_model_is_described_and_its_files_compared(done: Run, tmp_path: Path) -> None:
    run, model = describe(tfmnist.export(done.path, tmp_path / "model"))
    assert run is None and model and model.card and model.version == tmp_path / "model/1"
    written = model.to_dict()
    assert json.loads(json.dumps(written)) == written
    assert set(written["files"].values()) == {"intact"}
    assert written["card"]["result"]["weights_sha256"] == done.result["weights_sha256"]
    (model.version / "assets.extra/model_card.json").write_text("{}")
    (model.version / "more").touch()
    _, model = describe(tmp_path / "model")
    assert model and model.card is None and model.to_dict()["card"] is None
    assert {name for name, state in model.files.items() if state != "intact"} == {
        "assets.extra/model_card.json",
        "more",
    }
    shutil.rmtree(tmp_path / "model/1/assets.extra")
    with pytest.raises(InputError, match=r"manifest\.sha256: cannot read it"):
        describe(tmp_path / "model")
