"""The errors that a user can meet, each with the exit code the command line gives it."""

import difflib
from collections.abc import Iterable
from pathlib import Path


class TfmnistError(Exception):
    """Anything that tfmnist reports in one line; `exit_code` is what the command line returns."""

    exit_code = 1


class InputError(TfmnistError):
    """Wrong usage or input: the message names the value, the expectation and the remedy.

    It is deliberately no `ValueError`: those are rewrapped by validation libraries, and the one line would be lost.
    """

    exit_code = 2


class BusyError(InputError):
    """Another process is writing where this one wants to."""


class DivergedError(TfmnistError):
    """A loss, or a weight, that is no longer finite. Exit code 1."""


class Interrupted(TfmnistError):
    """The run was asked to stop, and has saved its state. Exit code 75 (EX_TEMPFAIL: try again, with --resume)."""

    exit_code = 75


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns a sentence's end, `"; did you mean 'x'?"` for the nearest known word, or all where none is near.

    Example:
        >>> did_you_mean("learning_rat", ["learning_rate", "momentum"])
        "; did you mean 'learning_rate'?"
    """
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}."


def check_name(path: str | Path | None) -> None:
    """Raises an `InputError` where a path is no UTF-8, which neither TOML nor JSON could hold."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(f"{str(path)!a}: not a name in UTF-8; rename it, or choose another.") from None
