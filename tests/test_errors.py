"""Errors: their exit codes, and the suggestions in them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tfmnist.errors import DivergedError, InputError, Interrupted, TfmnistError, did_you_mean, few, printable, show


@pytest.mark.parametrize(("error", "code"), [(TfmnistError, 1), (DivergedError, 1), (InputError, 2), (Interrupted, 75)])
def test_exit_codes(error: type[TfmnistError], code: int) -> None:
    assert error("").exit_code == code
    assert issubclass(error, TfmnistError)


def test_an_input_error_is_not_swallowed_as_a_value_error() -> None:
    assert not issubclass(InputError, ValueError)


@pytest.mark.parametrize(
    ("word", "known", "text"),
    [
        ("epoch", ["epochs", "batch_size"], "; did you mean 'epochs'?"),
        ("batch-size", ["epochs", "batch_size"], "; did you mean 'batch_size'?"),
        ("zzz", ["epochs", "batch_size"], "; known: epochs, batch_size."),
        ("", ["epochs"], "; known: epochs."),
    ],
)
def test_the_nearest_word_is_suggested_or_all_are_listed(word: str, known: list[str], text: str) -> None:
    assert did_you_mean(word, known) == text
    assert did_you_mean(word, iter(known)) == text


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], "nothing"),
        (["a"], "a"),
        (list("abc"), "a, b, c"),
        (list("abcd"), "a, b, c and 1 more"),
        (map(str, range(2003)), "0, 1, 2 and 2,000 more"),
        (["x" * 60, "y" * 61], f"{'x' * 60}, {'y' * 57}..."),
    ],
)
def test_lists_of_names_are_short(names: Iterable[str], text: str) -> None:
    assert few(names, 3) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("seven é 七 🙂", "seven é 七 🙂"),
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("a\r\nb\t", r"a\r\nb\t"),
        ("a\x9b2Jb\0", r"a\x9b2Jb\x00"),
        ("exe.\u202egpj\u2066", r"exe.\u202egpj\u2066"),
        ("a\u2028b\udcff", r"a\u2028b\udcff"),
        (Path("a\nb"), r"a\nb"),
    ],
)
def test_what_would_command_a_terminal_is_escaped(text: str | Path, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (3, "3"),
        ("a\x1b", r"'a\x1b'"),
        ("x" * 1000, f"'{'x' * 59}... (1,002 characters)"),
    ],
)
def test_values_are_shown_in_one_short_line(value: Any, shown: str) -> None:
    assert show(value) == shown
    assert show(10**5000) == "too long to show (int)"
