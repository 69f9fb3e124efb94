"""Which process trains which trial: one small file per trial, locked by the process that trains it.

The kernel drops a lock when its process ends in any way, so a trial whose process was killed can be claimed again at
once. The content of a file records how many processes its trial has lost since the command was started.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tfmnist.system.locks import lock


@dataclass(frozen=True)
class Claim:
    """A trial that this process alone trains, until the claim is released or the process ends."""

    path: Path
    file: IO[str]
    losses: int
    """How many processes the trial has lost since the command was started."""
    reason: str
    """How the last of them ended."""

    def release(self) -> None:
        """Lets others claim the trial; call it within `Claims.exclusive`, like `Claims.take`."""
        self.close()  # first, since Windows deletes no open file
        self.path.unlink()

    def close(self) -> None:
        """Drops the lock, as the end of the process would."""
        self.file.close()


class Claims:
    """The claims of one worker of a sweep or study.

    Args:
        folder: of the sweep or study; the files are in its subfolder `.claims`.
        worker: name of the worker, `START-NUMBER`, where all workers of one command have the same START.
    """

    def __init__(self, folder: Path, worker: str) -> None:
        self._folder, self._worker, self._start = folder / ".claims", worker, worker.partition("-")[0]
        self._folder.mkdir(exist_ok=True)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Lets one worker at a time look for a trial, or record how one ended."""
        with (self._folder / "lock").open("ab") as file:
            lock(file)
            yield

    def take(self, number: int) -> Claim | None:
        """Claims a trial; returns None if another process has it, or has ended and `lose` has not been called yet."""
        path = self._folder / f"{number:04}"
        file = path.open("a+", encoding="utf-8")
        if not lock(file, wait=False):
            file.close()
            return None
        last = _read(file)
        if last.get("start") != self._start:  # of an earlier command, which was killed
            last = {}
        elif last["worker"]:
            file.close()
            return None
        claim = Claim(path, file, last.get("losses", 0), last.get("reason", ""))
        _write(file, {"start": self._start, "worker": self._worker, "losses": claim.losses})
        return claim

    def lose(self, worker: str, reason: str) -> bool:
        """Frees the trial of a worker whose process has ended; returns whether it had one."""
        with self.exclusive():  # so that no file is deleted meanwhile
            for path in self._folder.glob("[0-9]*"):
                with path.open("r+", encoding="utf-8") as file:
                    last = _read(file)
                    if last.get("worker") == worker:
                        _write(file, {**last, "worker": "", "losses": last["losses"] + 1, "reason": reason})
                        return True
        return False


def _read(file: IO[str]) -> dict[str, Any]:
    file.seek(0)
    try:
        return json.loads(file.read())
    except (
        ValueError,
        PermissionError,
    ):  # empty, half written by a killed process, or on Windows, locked by a live one
        return {}


def _write(file: IO[str], content: dict[str, Any]) -> None:
    file.seek(0)
    file.truncate()
    file.write(json.dumps(content))
    file.flush()
