"""Options of `train`: a recipe's keys, their shorthands, and where the recipe comes from."""

from pathlib import Path
from typing import Any

import pytest

from tfmnist.cli import main as cli
from tfmnist.cli import train as cli_train
from tfmnist.cli.options import as_in_toml, parse_train, recipe_of
from tfmnist.errors import InputError
from tfmnist.recipe import Recipe


def asked_for(*words: str, base: Recipe | None = None) -> Recipe:
    base = base or Recipe.load("mlp")
    return recipe_of(parse_train(list(words), base, "Trains."), base)


# parse_train and recipe_of


def test_without_options_it_is_the_recipe_itself() -> None:
    for name in ("mlp", "cnn", "sigmoid-mlp"):
        assert asked_for(base=Recipe.load(name)) == Recipe.load(name)


def test_options_change_keys_and_leave_the_rest() -> None:
    base = Recipe.load("cnn")
    found = asked_for("cnn", "--train.epochs", "9", "--data.only", "3", "7", "--data.test-share", "0.2", base=base)
    assert found.changed_from(base) == ["data.only", "data.test_share", "train.epochs"]
    assert (found.data.only, found.data.test_share, found.train.epochs) == (("3", "7"), 0.2, 9)
    assert found.name == "cnn"


def test_arguments_that_are_no_keys() -> None:
    asked = parse_train(["cnn", "--run-dir", "a", "--init-from", "b", "--freeze", "conv_*", "dense_1"], Recipe(), "")
    assert (asked.recipe, asked.run_dir, asked.init_from, asked.freeze) == ("cnn", "a", "b", ("conv_*", "dense_1"))
    empty = parse_train([], Recipe(), "")
    assert (empty.recipe, empty.run_dir, empty.resume, empty.init_from, empty.freeze) == ("", "", "", "", ())


def test_shorthands_stand_for_their_keys() -> None:
    short = asked_for("--init-from", "there", "--freeze", "dense_1")
    long = asked_for("--model.init-from", "there", "--model.freeze", "dense_1")
    assert short.model == long.model and (short.model.init_from, short.model.freeze) == ("there", ("dense_1",))
    both = asked_for("--freeze", "dense_1", "--model.init_from", "there")
    assert both.model == short.model


def test_wrong_values_are_named_by_their_keys() -> None:
    for words, expected in (
        (["--data.test_share", "1"], "'data.test_share' is 1.0: expected less than 1"),
        (["--data.per-class", "-1"], "'data.per_class' is -1: expected greater than or equal to 0"),
        (["--train.progress=-5"], "'train.progress' is -5"),
        (["--augment.elastic_width", "0"], "'augment.elastic_width' is 0.0: expected greater than 0"),
    ):
        with pytest.raises(InputError) as caught:
            asked_for(*words)
        assert expected in str(caught.value) and str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--model.hidden", "512,256"], ["--model.hidden", "512", "256"]),
        (["--model.hidden=[512, 256]"], ["--model.hidden", "512", "256"]),
        (["--model.hidden", "[]"], ["--model.hidden"]),
        (["--export.report", "false", "--model.bias=true"], ["--export.report", "False", "--model.bias=True"]),
        (["true", "--run-dir", "false", "--freeze", "true"], ["true", "--run-dir", "false", "--freeze", "true"]),
        (["--run-dir", "1,2"], ["--run-dir", "1,2"]),
        (["--data.only", "a,b", "c"], ["--data.only", "a,b", "c"]),
        (["--data.only", "3,7"], ["--data.only", "3", "7"]),
    ],
)
def test_values_can_be_typed_as_in_toml(words: list[str], found: list[str]) -> None:
    assert as_in_toml(words) == found


# Where the recipe comes from


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """What the command line would run, and with what."""
    seen: list[Any] = []
    monkeypatch.setattr(cli_train, "_follow", lambda *arguments, **_: seen.append(arguments))
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
    ((start, recipe, run_dir, *_),) = followed
    assert start == "run_events" and run_dir is None
    assert recipe.changed_from(own) == ["model.init_from", "model.freeze", "train.epochs"]
    assert (recipe.model.init_from, recipe.model.freeze, recipe.train.epochs) == ("first", ("dense_*",), 2)
    assert recipe.about.accuracy == "" and recipe.name == own.name


def test_a_chain_of_runs_hands_on_neither_digest_nor_freezing(followed: list[Any], tmp_path: Path) -> None:
    write_run(
        tmp_path / "second", {"model.init_from": "/first", "model.init_sha256": "ab", "model.freeze": ["dense_1"]}
    )
    assert cli.main(["train", "--init-from", "second"]) == 0
    model = followed[0][1].model
    assert (model.init_from, model.init_sha256, model.freeze, model.hidden) == ("second", "", (), (16,))


def test_a_recipe_that_is_given_goes_before_that_of_the_run(followed: list[Any], tmp_path: Path) -> None:
    write_run(tmp_path / "first", {})
    assert cli.main(["train", "sigmoid-mlp", "--init-from", "first"]) == 0
    assert cli.main(["train", "--model.init-from", "first"]) == 0
    given, default = (arguments[1] for arguments in followed)
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
    assert followed == [("resume_events", "first", 9)]


def test_kind_may_be_repeated(monkeypatch: Any) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(cli_train, "_follow", lambda *a, **_: seen.append(a))
    assert cli.main(["train", "cnn", "--model.kind", "cnn"]) == 0
    assert seen[0][1].model == Recipe.load("cnn").model
    assert cli.main(["train", "--model.kind", "cnn"]) == 2


def test_texts_may_be_called_true() -> None:
    for option in ("--data.only", "--data.source", "--model.freeze", "--model.init-from"):
        assert as_in_toml([option, "true"]) == [option, "true"]
        assert as_in_toml([f"{option}=true"]) == [f"{option}=true"]
    assert as_in_toml(["--data.only", "3,7"]) == ["--data.only", "3", "7"]


def test_profile_needs_no_value() -> None:
    assert as_in_toml(["--profile"]) == ["--profile", "True"]
    assert as_in_toml(["cnn", "--profile", "--train.epochs", "3"]) == [
        "cnn",
        "--profile",
        "True",
        "--train.epochs",
        "3",
    ]
    assert as_in_toml(["--profile", "cnn"]) == ["--profile", "True", "cnn"]
    assert as_in_toml(["--profile", "false", "cnn"]) == ["--profile", "False", "cnn"]
    assert as_in_toml(["--profile=true"]) == ["--profile=True"]
    assert parse_train(["--profile", "True"], Recipe.load("mlp"), "").profile is True
