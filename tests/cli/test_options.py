"""Options of `train`: a recipe's keys, their short forms, and how their values may be written."""

import os
import re
import subprocess
import sys
from typing import Any

import pytest

from tfmnist.cli.options import SHORT_FORMS, parse_train
from tfmnist.errors import InputError
from tfmnist.recipe import Recipe


def changes_of(*words: str) -> dict[str, Any]:
    return parse_train(list(words), "").changes


def value_of(key: str, *words: str) -> Any:
    """The value of a recipe's key after the only change that the words ask for."""
    changes = changes_of(*words)
    assert list(changes) == [key]
    section, name = key.split(".")
    base = Recipe.load("cnn") if key == "model.layers" else Recipe.load("mlp")
    return getattr(getattr(base.replace(changes), section), name)


def test_only_what_is_given_is_a_change() -> None:
    assert changes_of() == changes_of("cnn") == {}
    given = changes_of("cnn", "--train.epochs", "9", "--data.only", "3", "7", "--data.test-share", "0.2")
    assert given == {"train.epochs": 9, "data.only": ("3", "7"), "data.test_share": 0.2}
    assert changes_of("--train.epochs", "5") == {"train.epochs": 5}  # also what is the default


def test_arguments_that_are_no_keys() -> None:
    given = parse_train(["cnn", "--run-dir", "a", "--init-from", "b", "--freeze", "conv_*", "dense_1"], "")
    assert (given.recipe, given.run_dir, given.init_from) == ("cnn", "a", "b")
    assert given.changes == {"model.freeze": ("conv_*", "dense_1")}
    empty = parse_train([], "")
    assert (empty.recipe, empty.run_dir, empty.resume, empty.init_from, empty.profile) == ("", "", "", "", False)
    assert parse_train(["--train.epochs", "2", "cnn"], "").recipe == "cnn"


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        (["--epochs", "3"], "train.epochs", 3),
        (["--batch-size", "7"], "train.batch_size", 7),
        (["--batch_size=7"], "train.batch_size", 7),
        (["--lr", "0.5"], "optimizer.learning_rate", 0.5),
        (["--hidden", "64,32"], "model.hidden", (64, 32)),
        (["--data", "there"], "data.source", "there"),
        (["--seed", "4"], "train.seed", 4),
        (["--freeze", "conv_*"], "model.freeze", ("conv_*",)),
        (["--epochs", "3", "--train.epochs", "4"], "train.epochs", 4),
        (["--train.epochs", "4", "--epochs", "3"], "train.epochs", 3),
    ],
)
def test_a_short_form_is_the_same_key_and_the_last_value_counts(words: list[str], key: str, value: Any) -> None:
    assert value_of(key, *words) == value


def test_short_forms_name_keys_that_exist() -> None:
    keys = {f"{section}.{key}" for section in Recipe.sections() for key in getattr(Recipe(), section).model_dump()}
    assert set(SHORT_FORMS) <= keys


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        (["--model.hidden", "512,256"], "model.hidden", (512, 256)),
        (["--model.hidden=512,256"], "model.hidden", (512, 256)),
        (["--model.hidden", "512", "256"], "model.hidden", (512, 256)),
        (["--model.hidden", "[512, 256]"], "model.hidden", (512, 256)),
        (["--model.hidden=[512, 256]"], "model.hidden", (512, 256)),
        (["--model.hidden", "[]"], "model.hidden", ()),
        (["--model.hidden"], "model.hidden", ()),
        (["--export.report", "false"], "export.report", False),
        (["--model.bias=true"], "model.bias", True),
        (["--model.bias", "False"], "model.bias", False),
        (["--train.tensorboard"], "train.tensorboard", True),
        (["--model.batch-norm", "--resume", "runs/a"], "model.batch_norm", True),
        (["--data.only", "a,b", "c"], "data.only", ("a,b", "c")),
        (["--data.only", "3,7"], "data.only", ("3", "7")),
        (["--data.only", "true", "false"], "data.only", ("true", "false")),
        (["--data.source", "true"], "data.source", "true"),
        (["--model.freeze=true"], "model.freeze", ("true",)),
        (["--model.layers", "conv 8 3x3", "max 2"], "model.layers", ("conv 8 3x3", "max 2")),
        (["--train.block", "auto"], "train.block", "auto"),
        (["--train.block", "7"], "train.block", 7),
        (["--optimizer.learning-rate", "0.5"], "optimizer.learning_rate", 0.5),
    ],
)
def test_values_can_be_written_as_in_toml(words: list[str], key: str, value: Any) -> None:
    read = value_of(key, *words)
    assert read == value and type(read) is type(value)


def test_folders_may_be_called_true_or_like_a_list() -> None:
    given = parse_train(["--run-dir", "1,2", "--init-from", "true"], "")
    assert (given.run_dir, given.init_from) == ("1,2", "true")


@pytest.mark.parametrize(
    ("words", "profile", "recipe"),
    [
        (["--profile"], True, ""),
        (["--profile", "cnn"], True, "cnn"),
        (["cnn", "--profile", "--train.epochs", "3"], True, "cnn"),
        (["--profile", "true"], True, ""),
        (["--profile", "false", "cnn"], False, "cnn"),
        (["--profile=True"], True, ""),
    ],
)
def test_profile_needs_no_value(words: list[str], profile: bool, recipe: str) -> None:
    given = parse_train(words, "")
    assert (given.profile, given.recipe) == (profile, recipe)


def test_an_unknown_recipe_is_named_even_with_help() -> None:
    with pytest.raises(InputError, match="did you mean 'mlp'"):
        parse_train(["mpl", "--help"], "")


def test_help_lists_every_key_and_shows_the_defaults_of_the_recipe(capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as end:
        parse_train(["cnn", "--help"], "What it does.")
    text = capsys.readouterr().out
    assert end.value.code == 0 and "What it does." in text
    assert max(map(len, text.splitlines())) <= 80
    for section in Recipe.sections():
        for key in getattr(Recipe(), section).model_dump(exclude={"options"}):
            assert f"--{section}.{key}" in text
    text = re.sub(r"[│\s]+", " ", text)
    assert "--lr FLOAT, --optimizer.learning_rate FLOAT" in text and "(default: 0.04)" in text
    assert text.index("--resume") < text.index("--epochs") < text.index("--data.validation")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--optimizer.learning_rate"], "learning_rate"),
        (["--schedule.kind", "cosin"], "cosine"),
        (["--train.epochs", "many"], "many"),
        (["--model.bias", "maybe"], "maybe"),
        (["mlp", "cnn"], "cnn"),
    ],
)
def test_bad_options_get_the_librarys_box(words: list[str], expected: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as end:
        parse_train(words, "")
    out, errors = capsys.readouterr()
    assert end.value.code == 2 and out == "" and expected in errors


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--learning_rate", "--optimizer.learning_rate, or --lr"),
        ("--learning-rate", "--optimizer.learning_rate, or --lr"),
        ("--optimizer.lr", "--optimizer.learning_rate, or --lr"),
        ("--train.lr", "--optimizer.learning_rate, or --lr"),
        ("--optimizer.learning_rat", "--optimizer.learning_rate, or --lr"),
        ("--batch", "--train.batch_size, or --batch_size"),
        ("--train.batch", "--train.batch_size, or --batch_size"),
        ("--n_epochs", "--epochs"),
        ("--max-epochs", "--train.epochs, or --epochs"),
        ("--units", "--model.hidden, or --hidden"),
        ("--random-seed", "--train.seed, or --seed"),
        ("--optimizer", "--optimizer.kind"),
        ("--model", "--model.kind"),
        ("--dropout", "--model.dropout"),
        ("--init-form", "--init_from"),
        ("--run_dirr", "--run_dir"),
    ],
)
def test_what_people_type_suggests_the_right_option(typed: str, meant: str) -> None:
    for words in ([typed, "1"], [f"{typed}=1"], ["cnn", "--epochs", "3", typed]):
        with pytest.raises(InputError) as caught:
            parse_train(words, "")
        assert str(caught.value) == f"option {typed} does not exist; did you mean {meant}?"


def test_an_option_like_no_other_points_to_the_help() -> None:
    with pytest.raises(InputError, match="option --nothing does not exist; tfmnist train --help lists all"):
        parse_train(["--nothing"], "")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--model.hidden", "512,x"], "'model.hidden' is '512,x': expected a valid integer"),
        (["--model.hidden", "-3"], "'model.hidden' is '-3': expected a value greater than or equal to 1"),
    ],
)
def test_items_of_lists_are_validated_by_the_recipe(words: list[str], expected: str) -> None:
    with pytest.raises(InputError, match=re.escape(expected)):
        Recipe().replace(changes_of(*words))


@pytest.mark.parametrize("words", [["train", "--help"], ["train", "--nothing"], ["evaluate"], ["recipes", "mpl"]])
def test_help_and_usage_errors_do_not_import_tensorflow(words: list[str]) -> None:
    code = "import sys\nfrom tfmnist.cli.main import main\ntry: sys.exit(main(sys.argv[1:]))\n"
    code += "finally: assert 'tensorflow' not in sys.modules and 'numpy' not in sys.modules"
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "80"})
    assert done.returncode == (0 if "--help" in words else 2) and "Traceback" not in done.stderr


@pytest.mark.parametrize(("text", "value"), [(".5", 0.5), ("-5.", -5.0), ("nan", "nan"), ("2026-01-01", "2026-01-01")])
def test_options_of_own_code_are_numbers_as_people_type_them_else_text(text: str, value: Any) -> None:
    assert parse_train(["mlp", f"--model.options.x={text}"], "").changes == {"model.options.x": value}
