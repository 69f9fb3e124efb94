"""`tfmnist train`: which recipe it starts from, what may go together, and what it prints."""

from pathlib import Path
from typing import Any

import pytest

from tfmnist.cli import main as cli
from tfmnist.cli import train as cli_train
from tfmnist.recipe import Recipe


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """The recipes and arguments that would be trained."""
    seen: list[Any] = []
    monkeypatch.setattr(cli_train, "_follow", lambda recipe, given: seen.append((recipe, given)))
    monkeypatch.chdir(tmp_path)
    return seen


def write_run(path: Path, changes: dict[str, Any]) -> Recipe:
    recipe = Recipe.load("mlp").replace({"model.hidden": [16], "train.epochs": 7, **changes})
    path.mkdir()
    (path / "recipe.toml").write_text(recipe.to_toml(), encoding="utf-8")
    return recipe


def test_a_run_to_start_from_gives_its_recipe(followed: list[Any], tmp_path: Path) -> None:
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


def test_a_recipe_that_is_given_goes_before_that_of_the_run(followed: list[Any], tmp_path: Path) -> None:
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
def test_what_does_not_go_together_is_one_line(
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


def test_kind_may_be_repeated(followed: list[Any]) -> None:
    assert cli.main(["train", "cnn", "--model.kind", "cnn"]) == 0
    assert followed[0][0].model == Recipe.load("cnn").model
    assert cli.main(["train", "--model.kind", "cnn"]) == 2
