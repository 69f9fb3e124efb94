"""A run's folder: where it is, which process may write to it, and whether its training is complete."""

import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from tfmnist.errors import BusyError, InputError, check_name
from tfmnist.recipe import Recipe, is_whole
from tfmnist.system.locks import lock

_LOCK = ".lock"
# temporary names of files that are written under the lock
_HALF_WRITTEN = re.compile(r"\.(.+\.(toml|jsonl|json|npz)|writing)-[a-z0-9_]{8}")
_DEFAULT_NAME = re.compile(r".+-\d{8}-\d{6}(-\d+)?")


def make_folder(name: str, run_dir: str | Path | None) -> Path:
    """Makes a run's folder: `run_dir`, or else `runs/<name>-<UTC time>`, which `runs/newest` then points to."""
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
        _link("newest", path)
        return path
    except OSError as error:
        raise _cannot_make(error) from None


def delete_folder(path: Path) -> None:
    """Deletes the folder of a run that has not begun, and the link `newest` to it."""
    shutil.rmtree(path, ignore_errors=True)
    newest = path.parent / "newest"
    if newest.is_symlink() and not newest.exists():
        newest.unlink(missing_ok=True)


def make_folder_at(path: Path) -> Path:
    """Makes a folder if it does not exist, and returns it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_make(error) from None
    return path


def link_latest(path: Path) -> None:
    """Makes `runs/latest` point to a finished run, if `make_folder` chose its folder."""
    path = path.resolve()
    if path.parent.name == "runs" and _DEFAULT_NAME.fullmatch(path.name):
        _link("latest", path)


def _link(name: str, path: Path) -> None:
    link = path.parent / f".{name}-{os.getpid()}"
    try:
        link.symlink_to(path.name, target_is_directory=True)
        try:
            link.replace(path.parent / name)
        except PermissionError:  # on Windows, which does not replace links to folders
            (path.parent / name).unlink()
            link.replace(path.parent / name)
    except OSError:  # a folder has that name, or links are not allowed here; they are only a convenience
        link.unlink(missing_ok=True)


def follow_link(path: str | Path) -> Path:
    """Returns the folder that a link such as `runs/latest` points to now; it may point to another one later."""
    path = Path(path)
    return path.parent / path.readlink() if path.is_symlink() else path


def newest_unfinished(path: str | Path) -> Path | None:
    """Returns `runs/newest` if `path` is `runs/latest` and `newest` points to another run, which is unfinished."""
    path = Path(path)
    newest = path.parent / "newest"
    if path.name != "latest" or not (newest / "recipe.toml").is_file() or newest.resolve() == path.resolve():
        return None
    return None if _has_ended(newest) else newest


def _cannot_make(error: OSError) -> InputError:
    return InputError(f"{error.filename}: cannot make the run folder: {error.strerror}; choose another with --run-dir.")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Locks a run's folder for this process; the lock disappears with the process, however it ends.

    Files that a killed process left half-written are deleted.

    Raises:
        BusyError: another process has the lock.
    """
    file = _lock(path)
    try:
        _delete_half_written(path)
        yield
    finally:
        with suppress(OSError):  # Windows does not delete open files; there the file stays, unlocked
            (path / _LOCK).unlink()
        file.close()


def _lock(path: Path) -> IO[bytes]:
    while True:
        file = (path / _LOCK).open("ab")
        try:
            if not lock(file, wait=False):
                raise BusyError(f"{path}: another process is training there; wait for it, or choose another folder.")
            # The owner deletes the file before it drops the lock. A process that had opened the file by then can lock
            # it afterwards, but others would make and lock a new one: a lock counts only while its file has a name.
            if os.fstat(file.fileno()).st_nlink:
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _delete_half_written(path: Path) -> None:
    for folder in (path, path / "checkpoints", path / "model"):
        for entry in folder.glob(".*"):
            if not _HALF_WRITTEN.fullmatch(entry.name):
                continue
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


def _is_left_over(entry: Path, recipe: str) -> bool:
    if entry.name == "recipe.toml" and entry.is_file():
        content = entry.read_bytes().rstrip(b"\0")  # as some file systems extend it when the power fails
        return recipe.encode().startswith(content) if recipe else not is_whole(entry)
    return entry.name == _LOCK or _HALF_WRITTEN.fullmatch(entry.name) is not None


def is_trained(path: Path) -> bool:
    """Whether a run is trained but not yet evaluated on the test set, as a sweep leaves its trials."""
    import numpy as np  # slow to import, and not needed to lock a folder

    checkpoints = sorted(path.glob("checkpoints/step-*.npz"), key=lambda file: (len(file.name), file.name))
    if not checkpoints or _has_ended(path) or not (path / "recipe.toml").is_file():
        return False
    settings = Recipe.load_run(path).train
    try:
        with checkpoints[-1].open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            state = json.loads(str(arrays["state"]))
        waited = state["epoch"] - state["best_epoch"]
        return state["epoch"] >= settings.epochs or bool(settings.patience and waited >= settings.patience)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return False  # resuming the run says what is wrong with it


def _has_ended(path: Path) -> bool:
    return any((path / name).exists() for name in ("result.json", "diverged.json"))


def check_new_folder(path: str | Path | None, recipe: str = "") -> None:
    """Raises an `InputError` if the folder for a new run holds more than a killed process leaves before a run begins.

    That is a part of `recipe`, the text of the run's recipe; while that is not known, of any recipe.
    """
    check_name(path)
    if path is None or not Path(path).exists():
        return
    if not Path(path).is_dir() or not all(_is_left_over(entry, recipe) for entry in Path(path).iterdir()):
        raise InputError(
            f"{path}: already exists and is not empty; choose another folder, or resume it with --resume {path}."
        )
