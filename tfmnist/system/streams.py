"""The standard streams: none is missing, and one that cannot be written to does not end the work."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def reserve_descriptors() -> None:
    """Opens the null device for each closed standard stream, whose number the next file opened would get otherwise."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest number that is free


class _Output(io.FileIO):
    """A descriptor to which writing fails only if its reader has gone; any other failure is kept in `error`."""

    error: OSError | None = None

    def write(self, data: Any, /) -> Any:
        if not self.error:
            try:
                return super().write(data)
            except BrokenPipeError:
                raise
            except OSError as error:
                self.error = error
        return memoryview(data).nbytes


def open_outputs() -> None:
    """Replaces standard output and error by streams that never fail, unless somebody else has replaced them.

    Characters that they cannot show become question marks: a class name must not end a run.
    """
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream: Any = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__") and type(_raw(stream)) in (io.FileIO, type(None)):  # or a console
            keys = ("encoding", "line_buffering", "write_through") if stream else ()
            settings = {key: getattr(stream, key) for key in keys}
            output: Any = _Output(number, "w", closefd=False)
            stream = io.TextIOWrapper(
                output if settings.get("write_through") else io.BufferedWriter(output), **settings
            )
            setattr(sys, name, stream)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@contextmanager
def checked_output() -> Iterator[None]:
    """Raises an OSError if part of what the block printed could not be written, also if it ends the process."""
    end = None
    try:
        yield
    except SystemExit as error:
        end = error
    sys.stdout.flush()
    if failure := getattr(_raw(sys.stdout), "error", None):
        raise OSError(failure.errno, failure.strerror, "standard output")
    if end:
        raise end


def _raw(stream: Any) -> Any:
    buffer = getattr(stream, "buffer", None)
    return getattr(buffer, "raw", buffer)
