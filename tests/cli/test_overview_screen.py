"""What `runs` and `info` show in 80 columns: every state, long names and values, and cards of early versions."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tfmnist.artifacts.card import ModelCard
from tfmnist.cli.overview_screen import show_model, show_run, show_runs
from tfmnist.recipe import Recipe
from tfmnist.runs.overview import ModelSummary, RunSummary
from tfmnist.runs.result import Result

DATE = datetime(2026, 11, 22, 3, 10, 15, tzinfo=UTC)
DATA: dict[str, Any] = {"source": "mnist", "sha256": "da7a" * 16, "train": 55_000, "validation": 0, "test": 10_000}
DATA |= {"classes": 2, "class_names": ["a", "b"], "image_shape": [2, 3]}
RESULT: dict[str, Any] = {"name": "mlp", "test_accuracy": 0.9818, "test_accuracy_ci95": [0.979, 0.9842]}
RESULT |= {"test_loss": 0.1, "validation_accuracy": None, "epochs": 5, "steps": 4, "parameters": 10, "seed": 0}
RESULT |= {"weights_sha256": "5eed" * 16, "data": DATA, "versions": {"tfmnist": "0.1.0"}}
DONE = RunSummary(
    Path("runs/mlp-20261122-031015"), "done", DATE, recipe=Recipe.load("mlp"), result=Result.model_validate(RESULT)
)
DONE = replace(DONE, epochs=5, seconds=13.34)


def test_a_table_of_every_state(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    other = replace(DONE, result=None, epochs=3)
    reason = "diverged: the loss is nan at epoch 1, step 2 of 9, learning rate 0.1, and so on."
    show_runs(
        [
            replace(DONE, differs={"optimizer.learning_rate": 0.002, "train.epochs": 5}),
            replace(other, path=Path("runs/a"), state="unfinished"),
            replace(other, path=Path("runs/b"), state="trained", validation_accuracy=0.975),
            replace(other, path=Path("runs/c"), state="diverged", problem=reason),
            RunSummary(Path("runs/d"), "damaged", DATE, "runs/d/result.json: missing"),
        ]
    )
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "run accuracy epochs seconds differs",
        "mlp-20261122-031015 98.18% ± 0.26 5/5 13.3 learning_rate 0.002",
        "a unfinished 3/5 13.3",
        "b validation 97.50% 3/5 13.3",
        "c diverged 3/5 13.3 (the loss is nan at",
        "epoch 1, step 2 of 9)",
        "d damaged - 0.0 (result.json: missing)",
    ]


def test_long_names_and_values_stay_in_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    long = {"model.layers": ["conv 32 5x5"] * 50}
    for name in ("imagefolder-mlp-20261122-031015", "a-recipe-of-mine-with-a-long-name-20261122-031015"):
        show_runs([DONE, replace(DONE, path=Path("runs", name), differs=long)])
        out = capsys.readouterr().out
        assert max(map(len, out.splitlines())) <= 80 and "98.18% ± 0.26" in out and "…" in out
        assert len(out.splitlines()) < 20, "--json has the rest"
        assert name in "".join(line.split()[0] for line in out.splitlines() if not line.startswith(" "))


def test_a_run_shows_what_it_has(capsys: pytest.CaptureFixture[str]) -> None:
    show_run(DONE, None)
    assert capsys.readouterr().out.splitlines() == [
        "run        runs/mlp-20261122-031015",
        "state      done, 5/5 epochs, 13.3 s",
        "date       2026-11-22 03:10:15 UTC",
        "accuracy   98.18% on test (95 % interval 97.90% to 98.42%)",
        "data       mnist: 55,000 to train, 0 to validate, 10,000 to test",
        "sha256     data da7ada7ada7ada7a..., weights 5eed5eed5eed5eed...",
        "versions   tfmnist 0.1.0",
        "recipe     mlp",
    ]
    where = {"host": "box", "processor": "Chip 9000", "command": "tfmnist train", "git_commit": "c0ffee"}
    run = replace(DONE, result=Result.model_validate(RESULT | where), differs={"model.hidden": [16]})
    files: Any = {"saved_model.pb": "damaged", "assets/labels.txt": "intact"}
    show_run(run, ModelSummary(Path("runs/x/model/1"), files, None))
    lines = capsys.readouterr().out.splitlines()
    for line in (
        "host       box",
        "processor  Chip 9000",
        "command    tfmnist train",
        "commit     c0ffee",
        "recipe     mlp, hidden [16]",
        "model      runs/x/model/1: 1 of 2 files intact; saved_model.pb is damaged",
    ):
        assert line in lines
    show_run(replace(DONE, state="diverged", result=None, problem="diverged: so it is.", validation_accuracy=0.5), None)
    lines = capsys.readouterr().out.splitlines()
    assert "why        so it is." in lines and "accuracy   50.00% on validation" in lines


@pytest.mark.parametrize(
    "card",
    [
        {"loss": "quadratic", "image_shape": [6, 5], "class_names": ["a", "b"]},
        {
            "loss": "quadratic",
            "recipe": {"data": {}},
            "result": {"test_accuracy": 0.97},
            "data": {"sha256": "ab"},
            "image_shape": [6, 5],
            "class_names": ["a", "b"],
            "signatures": {"serving_default": {"inputs": {}}},
        },
    ],
)
def test_a_card_of_an_early_version_shows_what_it_has(card: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    show_model(ModelSummary(Path("model/1"), {"saved_model.pb": "intact"}, ModelCard.model_validate(card)))
    out = capsys.readouterr().out
    assert out.startswith("model      model/1\nfiles      1 of 1 files intact\n")
    assert "classes    2: a, b\n" in out and "None" not in out
    show_model(ModelSummary(Path("model/1"), {"assets.extra/model_card.json": "damaged"}, None))
    assert capsys.readouterr().out.endswith("files      0 of 1 files intact; assets.extra/model_card.json is damaged\n")
