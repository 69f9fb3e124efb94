"""Errors: their exit codes, and the suggestions in them."""

import errno
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tfmnist.errors import (
    DATABASE,
    FULL,
    IO,
    MEMORY,
    READ_ONLY,
    DivergedError,
    Fault,
    FaultError,
    InputError,
    Interrupted,
    TfmnistError,
    did_you_mean,
    faults_in_one_line,
    few,
    find_fault,
    printable,
    show,
)


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


# Faults of the machine


class ResourceExhaustedError(Exception):
    """As TensorFlow names it."""


class StorageInternalError(Exception):
    """As Optuna names it."""


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), FULL),
        (OSError(errno.EROFS, "Read-only file system"), READ_ONLY),
        (OSError(errno.EIO, "Input/output error"), IO),
        (MemoryError(), MEMORY),
        (ResourceExhaustedError("OOM when allocating"), MEMORY),
        (ResourceExhaustedError("x/saved_model.pb; No space left on device"), FULL),
        (StorageInternalError("no connection"), DATABASE),
        (FileNotFoundError(errno.ENOENT, "No such file"), None),
        (PermissionError(errno.EACCES, "Permission denied"), None),
        (InputError("--x is 3: expected 4."), None),
        (KeyError("x"), None),
        (None, None),
    ],
)
def test_a_fault_is_told_from_other_errors(error: Exception | None, fault: Fault | None) -> None:
    assert find_fault(error) is fault


def test_what_led_to_an_error_counts() -> None:
    with pytest.raises(InputError) as caught:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            raise InputError("cannot make the folder") from None
    assert find_fault(caught.value) is FULL
    caught.value.__context__ = caught.value
    assert find_fault(caught.value) is None


def test_a_fault_names_the_folder_and_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(FaultError) as caught, faults_in_one_line(tmp_path, "try again"):
        raise OSError(errno.ENOSPC, "No space left on device", "x")
    assert str(caught.value) == f"{tmp_path}: the disk is full; free some space, and try again."
    assert find_fault(caught.value) is FULL and caught.value.exit_code == 1
    for other in (InputError("x"), KeyError("x")):
        with pytest.raises(type(other)), faults_in_one_line(tmp_path, "try again"):
            raise other
