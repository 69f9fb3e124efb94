"""The errors that a user can meet, each with its exit code on the command line.

Among them the faults of the machine, such as a full disk, which are neither the user's nor the program's.
"""

import difflib
import errno
import re
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Fault:
    """A fault of the machine, and what to do about it."""

    reason: str
    remedy: str


FULL = Fault("the disk is full", "free some space")
QUOTA = Fault("the disk quota is used up", "free some space")
READ_ONLY = Fault("the disk is read-only", "make it writable")
IO = Fault("the disk cannot be read or written", "see that it works again")
MEMORY = Fault(
    "out of memory", "free some memory, or make the network or the batch smaller (model.hidden, train.batch_size)"
)
FILES = Fault("too many files are open", "raise the limit with 'ulimit -n'")
DATABASE = Fault("the database does not answer", "see that it works again")
FAULTS = (FULL, QUOTA, READ_ONLY, IO, MEMORY, FILES, DATABASE)

_BY_ERRNO = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: QUOTA,
    errno.EROFS: READ_ONLY,
    errno.EIO: IO,
    errno.ESTALE: IO,
    errno.ENOMEM: MEMORY,
    errno.EMFILE: FILES,
    errno.ENFILE: FILES,
}
_BY_TYPE = {  # of libraries that are not imported here
    "MemoryError": MEMORY,
    "ResourceExhaustedError": MEMORY,
    "StorageInternalError": DATABASE,
    "OperationalError": DATABASE,
}


def find_fault(error: BaseException | None) -> Fault | None:
    """Returns the fault that an error, or one that led to it, stands for; None if the machine is not to blame."""
    seen: set[int] = set()
    while error and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, FaultError):
            return error.fault
        fault = _BY_ERRNO.get(error.errno or 0) if isinstance(error, OSError) else _BY_TYPE.get(type(error).__name__)
        if fault:  # TensorFlow calls a full disk an exhausted resource too
            return FULL if fault is MEMORY and "No space left" in str(error) else fault
        error = error.__cause__ or error.__context__
    return None


class FaultError(TfmnistError):
    """A fault of the machine, in one line."""

    def __init__(self, path: Path, fault: Fault, advice: str) -> None:
        super().__init__(f"{path}: {fault.reason}; {fault.remedy}, and {advice}.")
        self.fault = fault


@contextmanager
def faults_in_one_line(path: Path, advice: str) -> Generator[None]:
    """Turns an error that stands for a fault of the machine into a `FaultError` that names a file or folder.

    Args:
        path: what the block reads or writes.
        advice: what to do once the fault is mended; the end of a sentence.
    """
    try:
        yield
    except TfmnistError:
        raise
    except Exception as error:
        if fault := find_fault(error):
            raise FaultError(path, fault, advice) from error
        raise
