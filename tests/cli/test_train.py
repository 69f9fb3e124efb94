"""`tfmnist train`: which recipe it starts from, what may go together, and what it prints."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tfmnist.cli import main as cli
from tfmnist.cli import train as cli_train
from tfmnist.recipe import Recipe
from tfmnist.runs.folder import locked

Command = Callable[..., tuple[int, str, str]]
Complaint = Callable[..., str]


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """The recipes and arguments that would be trained."""
    seen: list[Any] = []
    monkeypatch.setattr(cli_train, "_follow", lambda recipe, given, cluster: seen.append((recipe, given)))
    monkeypatch.chdir(tmp_path)
    return seen


def write_run(path: Path, changes: dict[str, Any]) -> Recipe:
    recipe = Recipe.load("mlp").replace({"model.hidden": [16], "train.epochs": 7, **changes})
    path.mkdir()
    (path / "recipe.toml").write_text(recipe.to_toml(), encoding="utf-8")
    return recipe


def test_a_run_to_start_from_provides_its_recipe(followed: list[Any], tmp_path: Path) -> None:
    own = write_run(tmp_path / "first", {"optimizer.learning_rate": 0.5})
    assert cli.main(["train", "--init-from", "first", "--freeze", "dense_*", "--train.epochs", "2"]) == 0
    ((recipe, given),) = followed
    assert given.resume == "" and given.run_dir == ""
    assert recipe.changed_from(own) == ["model.init_from", "model.freeze", "train.epochs"]
    assert (recipe.model.init_from, recipe.model.freeze, recipe.train.epochs) == ("first", ("dense_*",), 2)
    assert recipe.about.accuracy == "" and recipe.name == own.name


def test_a_chain_of_runs_hands_on_neither_digest_nor_freezing(followed: list[Any], tmp_path: Path) -> None:
    write_run(
        tmp_path / "second", {"model.init_from": "/first", "model.init_sha256": "ab", "model.freeze": ["dense_1"]}
    )
    assert cli.main(["train", "--init-from", "second"]) == 0
    model = followed[0][0].model
    assert (model.init_from, model.init_sha256, model.freeze, model.hidden) == ("second", "", (), (16,))


def test_a_given_recipe_takes_precedence_over_the_runs_own(followed: list[Any], tmp_path: Path) -> None:
    write_run(tmp_path / "first", {})
    assert cli.main(["train", "sigmoid-mlp", "--init-from", "first"]) == 0
    assert cli.main(["train", "--model.init-from", "first"]) == 0
    given, default = (recipe for recipe, _ in followed)
    assert given.changed_from(Recipe.load("sigmoid-mlp")) == ["model.init_from"]
    assert default.changed_from(Recipe.load("mlp")) == ["model.init_from"]  # the key alone changes one key alone


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--init-from", "nothing"], "not a run folder"),
        (["--resume", "first", "--init-from", "first"], "leave them out"),
        (["--resume", "first", "--freeze", "dense_1"], "--model.freeze cannot change in a resumed run"),
        (["--resume", "first", "--model.init-from", "x"], "--model.init_from cannot change in a resumed run"),
        (["--init-from", "first", "--data.source", "nothing"], "does not exist"),
    ],
)
def test_conflicting_options_are_one_line(
    words: list[str], expected: str, followed: list[Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "first", {})
    assert cli.main(["train", *words]) == 2
    errors = capfd.readouterr().err
    assert expected in errors and errors.count("\n") == 1
    assert followed == []


def test_a_resumed_run_may_be_named_with_what_it_has(followed: list[Any], tmp_path: Path) -> None:
    write_run(tmp_path / "first", {"model.freeze": ["dense_1"]})
    assert cli.main(["train", "--resume", "first", "--freeze", "dense_1", "--train.epochs", "9"]) == 0
    ((recipe, given),) = followed
    assert (given.resume, recipe.train.epochs) == ("first", 9)


def test_the_newest_run_is_pointed_to_if_latest_is_another(
    followed: list[Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    write_run(runs / "first", {})
    write_run(runs / "second", {})
    (runs / "newest").symlink_to("second")
    assert cli.main(["train", "--resume", "runs/latest"]) == 2
    expected = "tfmnist: runs/latest: no run has finished yet; resume the newest run, second, with --resume runs/newest"
    assert capfd.readouterr().err == f"{expected}.\n" and followed == []
    (runs / "latest").symlink_to("first")
    assert cli.main(["train", "--resume", "runs/latest", "--epochs", "9"]) == 0
    expected = "the newest finished run, first; resume the newest run, second, with --resume runs/newest"
    assert capfd.readouterr().err == f"runs/latest: is {expected}\n"
    assert cli.main(["train", "--resume", "runs/newest"]) == 0
    (runs / "second" / "result.json").touch()
    assert cli.main(["train", "--resume", "runs/latest"]) == 0
    assert capfd.readouterr().err == ""
    assert [given.resume for _, given in followed] == ["runs/latest", "runs/newest", "runs/latest"]


def test_kind_may_be_repeated(followed: list[Any]) -> None:
    assert cli.main(["train", "cnn", "--model.kind", "cnn"]) == 0
    assert followed[0][0].model == Recipe.load("cnn").model
    assert cli.main(["train", "--model.kind", "cnn"]) == 2


# What is trained and printed

TINY = ["--model.hidden", "16", "--data.validation", "100", "--train.compile", "graph", "--export.report", "false"]


def test_a_process_trains_and_prints_plain_lines(small: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["--data", str(small), *TINY, "--epochs", "2", "--run-dir", str(run)]
    command = [sys.executable, "-m", "tfmnist", "train", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), "TensorFlow's log stays off the screen"
    assert "\x1b" not in done.stdout and "\r" not in done.stdout, "nothing is drawn if the output is no terminal"
    rows = [line for line in done.stdout.splitlines() if line.lstrip().startswith(("epoch", "1/2", "2/2"))]
    assert len(rows) == 3 and max(map(len, rows)) <= 79
    assert "test accuracy" in done.stdout and f"model    {run / 'model/1'}" in done.stdout


def test_a_signal_saves_and_a_resume_finishes(small: Path, tmp_path: Path, command: Command) -> None:
    run = tmp_path / "run"
    words = ["--data.source", str(small), *TINY, "--train.epochs", "40", "--train.block", "1", "--run-dir", str(run)]
    arguments = [sys.executable, "-m", "tfmnist", "train", *words, "--export.model", "false"]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not list((run / "checkpoints").glob("*.npz")):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate()
    assert process.returncode == 75 and errors.count("\n") == 1
    assert errors.startswith("tfmnist: stopped and saved") and errors.endswith(f"tfmnist train --resume {run}\n")
    code, out, _ = command("train", "--resume", run)
    assert code == 0 and "resumed  at epoch " in out and "40/40" in out


def test_a_run_that_another_process_trains_is_one_line(trained: Path, complaint: Complaint) -> None:
    with locked(trained):
        assert f"{trained}: another process is training there" in complaint("train", "--resume", trained)


def test_a_diverged_run_is_one_line_and_code_1(small: Path, tmp_path: Path, command: Command) -> None:
    words = ["train", "mlp-as-printed", "--data.source", small, "--data.validation", "100"]
    code, out, errors = command(*words, "--train.compile", "graph", "--run-dir", tmp_path / "run")
    assert code == 1 and "recipe   mlp-as-printed" in out and "test accuracy" not in out
    assert errors.count("\n") == 1 and errors.startswith("tfmnist: diverged: the loss is nan at epoch 1, step 1 of 5, ")
    assert "model.initializer he" in errors and "loss.kind cross_entropy" in errors
    picture = tmp_path / "seven.png"
    Image.new("L", (28, 28)).save(picture)
    for asked in (["evaluate"], ["predict", "RUN", picture], ["export", "RUN", tmp_path / "model"], ["report"]):
        code, out, errors = command(asked[0], tmp_path / "run", *asked[2:])
        assert (code, out, errors.count("\n")) == (2, "", 1), asked
        assert errors.startswith(f"tfmnist: {tmp_path / 'run'}: diverged: the loss is nan at epoch 1, step 1 of 5, ")
        assert "Start a new run" in errors and "--resume" not in errors
    code, out, errors = command("info", tmp_path / "run")
    assert code == 0 and "diverged, 0/5 epochs" in out and "the loss is nan at epoch 1, step 1 of 5, " in out


def test_a_run_that_starts_from_another_says_so(trained: Path, tmp_path: Path, command: Command) -> None:
    words = ["train", "--init-from", trained, "--freeze", "dense_*", "--data.only", "3", "7", "--data.validation", "0"]
    quick = ["--train.epochs", "1", "--export.model", "false", "--export.report", "false"]
    code, out, errors = command(*words, *quick, "--run-dir", tmp_path / "run")
    assert code == 0, errors
    assert f"from {trained}, weights " in out and "frozen dense_1" in out and "2 classes, 28x28 pixels" in out
    assert Recipe.load_run(tmp_path / "run").model.hidden == (16,)  # as in the run it started from
