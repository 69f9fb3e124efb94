"""What a run leaves in its folder."""

import json
import platform
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import tfmnist
from tfmnist.recipe import Recipe
from tfmnist.runs import session
from tfmnist.runs.events import Run
from tfmnist.runs.result import Result
from tfmnist.runs.train import run_events
from tfmnist.system.machine import processor_name
from tfmnist.training.profile import Profile


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
    assert result == done.result and result["sha256"] and done.test_accuracy == result["test_accuracy"]
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


def test_a_result_says_when_where_and_how(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "git_commit", lambda: "c0ffee")
    monkeypatch.setattr("sys.argv", ["mine.py", "--fast"])
    quick = recipe.replace({"train.epochs": 1, "export.report": False, "export.model": False})
    result = Result.read(tfmnist.run(quick, tmp_path / "run").path)
    assert result.date and abs(datetime.now(UTC) - result.date) < timedelta(minutes=1)
    assert (result.host, result.processor) == (platform.node(), processor_name())
    assert (result.command, result.git_commit) == ("mine.py --fast", "c0ffee")
    monkeypatch.setattr(session, "git_commit", lambda: None)
    assert "git_commit" not in tfmnist.resume(tmp_path / "run", epochs=2).result


def test_a_profile_comes_first_and_changes_nothing(
    done: Run, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tfmnist.training.profile._SECONDS", 0.05)
    _, profile, *_, final = run_events(recipe, tmp_path / "profiled", profiled=True)
    assert isinstance(profile, Profile) and isinstance(final, Run)
    assert json.loads((tmp_path / "profiled" / "profile.json").read_text()) == profile.to_dict()
    assert final.result["weights_sha256"] == done.result["weights_sha256"]
    assert final.result["seconds"]["profile"] > 0
