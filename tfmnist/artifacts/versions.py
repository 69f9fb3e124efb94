"""The folders of exported models: their versions, and manifests that reveal damaged files. No TensorFlow.

A version is a folder with a SavedModel and a manifest, or with `model.onnx` or `model.tflite`; these may stand alone.
Here and elsewhere, the path of a version is the SavedModel's folder or the file.
"""

import logging
import re
import shutil
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Literal

from tfmnist.artifacts.card import EXTRA, ModelCard
from tfmnist.artifacts.sealed import SUFFIXES, is_intact, read_sealed_card
from tfmnist.errors import InputError
from tfmnist.system.files import file_sha256, publish, staged_folder

_NAMES = ("saved_model.pb", "model.onnx", "model.tflite")  # every version has one of these
_STAGED, _OLD = "writing", 3600.0  # name of a folder that is being written; seconds, far more than writing takes
MANIFEST = f"{EXTRA}/manifest.sha256"

log = logging.getLogger("tfmnist")

FileState = Literal["intact", "damaged", "missing", "not in the manifest"]


def list_versions(model: Path) -> list[int]:
    """Returns the numbers of the versions in a model folder, in order."""
    if not model.is_dir():
        return []
    entries = (entry for entry in model.iterdir() if re.fullmatch("[1-9][0-9]*", entry.name))
    return sorted(int(entry.name) for entry in entries if any((entry / name).is_file() for name in _NAMES))


def next_version(model: Path) -> int:
    """Returns one more than the largest number that names a file or folder in a model folder."""
    return 1 + max((int(entry.name) for entry in model.iterdir() if entry.name.isdecimal()), default=0)


def find_version(path: str | Path) -> Path:
    """Returns the version that a path refers to: itself, or the newest in a model folder or a run's `model/`.

    Returns:
        The folder of a SavedModel, or an ONNX or LiteRT file.

    Raises:
        InputError: there is none.
    """
    path = Path(path)
    if path.suffix in SUFFIXES and path.is_file():
        return path
    for folder in (path, path / "model"):
        if (folder / _NAMES[0]).is_file():
            return folder
        if versions := list_versions(folder):
            if (newest := folder / str(next_version(folder) - 1)).is_dir() and int(newest.name) > versions[-1]:
                lacks = f"has none of {', '.join(_NAMES)}"
                log.warning("%s: incomplete, %s; version %d answers instead.", newest, lacks, versions[-1])
            return find_version(folder / str(versions[-1]))
    if path.name.isdecimal() and (files := [path / name for name in _NAMES[1:] if (path / name).is_file()]):
        return files[0]
    if not path.exists():
        raise InputError(f"{path}: does not exist; expected a run folder or an exported model.")
    run = (path / "recipe.toml").is_file()
    remedy = f"'tfmnist info {path}' shows the state of this run" if run else "give another folder"
    raise InputError(
        f"{path}: holds no exported model (a folder '1' with saved_model.pb, model.onnx or model.tflite); {remedy}."
    )


@contextmanager
def staged_version(destination: Path, name: str) -> Generator[Path]:
    """Makes a folder for a new version in a model folder, and deletes it afterwards unless it was published.

    Args:
        destination: the model folder, created if missing.
        name: the file whose name decides the format; all versions of a model share it.

    Raises:
        InputError: the folder cannot be created, or holds versions of another format.
    """
    for version in list_versions(destination):
        if not (destination / str(version) / name).is_file():
            raise InputError(
                f"{destination}: its version {version} has another format, without {name}; choose another folder."
            )
    with ExitStack() as stack:
        try:
            destination.mkdir(parents=True, exist_ok=True)
            _delete_left_over(destination)
            # not a number, so that servers watching the folder do not load it
            folder = stack.enter_context(staged_folder(destination, _STAGED))
        except OSError as error:
            raise InputError(
                f"{destination}: cannot write the model there: {error.strerror}; choose another folder."
            ) from None
        yield folder


def _delete_left_over(destination: Path) -> None:
    """Deletes the folders that killed processes have left; others may be writing the young ones."""
    for folder in destination.glob(f".{_STAGED}-*"):
        with suppress(OSError):  # another process deletes it too
            if time.time() - folder.stat().st_mtime > _OLD:
                shutil.rmtree(folder)


def publish_version(folder: Path, destination: Path) -> Path:
    """Renames a staged folder to the next free number, and returns its path."""
    return publish(folder, (destination / str(next_version(destination)) for _ in count()))


def write_manifest(version: Path) -> None:
    """Writes the SHA-256 of every other file of a version, in the format of the `sha256sum` command."""
    lines = [f"{file_sha256(version / name)}  {name}\n" for name in _list_files(version)]
    (version / MANIFEST).write_text("".join(lines), encoding="utf-8", newline="\n")


def compare_files(version: Path) -> dict[str, FileState]:
    """Compares every file of a version with the manifest, or an ONNX or LiteRT file with the digest in it.

    Raises:
        InputError: the manifest is missing or damaged, or a file cannot be read.
    """
    states: dict[str, FileState] = {}
    with _readable(version):
        if version.suffix in SUFFIXES and version.is_file():
            return {version.name: "intact" if is_intact(version) else "damaged"}
        lines = (version / MANIFEST).read_text(encoding="utf-8").splitlines()
        if not lines:
            raise ValueError("an empty manifest")
        for line in lines:
            digest, name = line.split("  ", 1)
            path = version / name
            states[name] = "missing" if not path.exists() else "intact" if file_sha256(path) == digest else "damaged"
        for name in _list_files(version):
            states.setdefault(name, "not in the manifest")
    states.pop(MANIFEST, None)
    return states


def read_card(version: Path) -> ModelCard:
    """Compares every file as `compare_files` does, and returns the model card.

    Raises:
        InputError: a file is missing, damaged or not in the manifest.
    """
    for name, state in compare_files(version).items():
        path = version / name if version.is_dir() else version
        if state == "missing":
            raise InputError(f"{path}: missing; export the model again.")
        if state == "damaged":
            raise InputError(f"{path}: damaged, its SHA-256 is not the one written with it; export the model again.")
        if state == "not in the manifest":
            raise InputError(f"{path}: not in the manifest, so not part of the model; move it elsewhere.")
    with _readable(version):
        return card_of(version)


def card_of(version: Path) -> ModelCard:
    """Returns the model card of a version, without comparing its files; raises what `ModelCard.read` raises."""
    return read_sealed_card(version) if version.is_file() else ModelCard.read(version)


@contextmanager
def _readable(version: Path) -> Generator[None]:
    """Turns the errors of reading a version's files into one line."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{error.filename}: cannot read it: {error.strerror}; export the model again.") from None
    except ValueError:
        raise InputError(f"{version}: its manifest or model card is damaged; export the model again.") from None


def _list_files(version: Path) -> list[str]:
    return sorted(path.relative_to(version).as_posix() for path in version.rglob("*") if not path.is_dir())
