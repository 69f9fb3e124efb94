"""The errors that a user can meet, each with its exit code on the command line."""

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class TfmnistError(Exception):
    """Anything that tfmnist reports in one line; `exit_code` is what the command line returns."""

    exit_code = 1


class InputError(TfmnistError):
    """Wrong usage or input: the message names the value, the expectation and the remedy.

    Deliberately not a `ValueError`, which validation libraries wrap, losing the one line.
    """

    exit_code = 2


class BusyError(InputError):
    """Another process is writing to the same place."""


class DivergedError(TfmnistError):
    """A loss, or a weight, that is no longer finite. Exit code 1."""


class Interrupted(TfmnistError):
    """The run was stopped and has saved its state. Exit code 75 (EX_TEMPFAIL: try again, with --resume)."""

    exit_code = 75


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns the end of a sentence: `; did you mean 'x'?` with the nearest known word, or all words."""
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {few(known, 60)}."


def few(names: Iterable[str], most: int = 10) -> str:
    """Returns names as one short text: the first ones, each shortened, and how many more there are."""
    names = list(names)
    shown = ", ".join(name if len(name) <= 60 else f"{name[:57]}..." for name in names[:most])
    return f"{shown} and {len(names) - most:,} more" if len(names) > most else shown or "nothing"


# control characters, surrogates, line and paragraph separators, and marks that turn the direction of the text
_UNPRINTABLE = re.compile(r"[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str | Path) -> str:
    """Returns text from outside, such as a path or the name of a class, with what would command a terminal escaped."""
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), str(text))


def show(value: Any, most: int = 80) -> str:
    """Returns a value of a user's as a message shows it: in full if it is short."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, or thousands of nested lists
        return f"too long to show ({type(value).__name__})"
    return text if len(text) <= most else f"{text[: most - 20]}... ({len(text):,} characters)"


def check_name(path: str | Path | None) -> None:
    """Raises an `InputError` if a path is not UTF-8, as TOML and JSON require."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(f"{str(path)!a}: not a UTF-8 name; rename it, or choose another.") from None
