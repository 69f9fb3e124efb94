"""A run's folder: where it is, who may write in it, and what came out."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tfmnist.errors import BusyError, InputError


def make_folder(name: str, run_dir: str | Path | None) -> Path:
    """Makes a run's folder: the one asked for, or `runs/<name>-<UTC time>`, which `runs/latest` then points to."""
    try:
        if run_dir is not None:
            return make_folder_at(Path(run_dir))
        stem = f"runs/{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        path, number = Path(stem), 1
        while True:
            try:
                path.mkdir(parents=True)
                break
            except FileExistsError:
                number += 1
                path = Path(f"{stem}-{number}")
        link = path.parent / f".latest-{os.getpid()}"
        try:
            link.symlink_to(path.name)
            link.replace(path.parent / "latest")
        except OSError:  # a folder of that name is in the way, or the disk knows no links: it is only a convenience
            link.unlink(missing_ok=True)
        return path
    except OSError as error:
        raise _cannot_make(error) from None


def make_folder_at(path: Path) -> Path:
    """Makes a folder where there is none yet, and returns it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_make(error) from None
    return path


def _cannot_make(error: OSError) -> InputError:
    return InputError(f"{error.filename}: cannot make the run folder: {error.strerror}; choose another with --run-dir.")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a run's folder for this process alone; the lock goes with the process, however it ends."""
    folder = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"{path}: another process is training there; wait for it, or choose another.") from None
        yield
    finally:
        os.close(folder)


def read_result(path: Path) -> dict[str, Any] | None:
    """Returns what `result.json` says, or None where the run is not finished."""
    try:
        return json.loads((path / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
