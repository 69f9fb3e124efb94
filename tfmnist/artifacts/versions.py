"""The folders of exported models: their versions, and a manifest that reveals damaged files. No TensorFlow."""

import hashlib
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from tfmnist.artifacts.card import EXTRA, ModelCard
from tfmnist.errors import InputError

MANIFEST = f"{EXTRA}/manifest.sha256"

FileState = Literal["intact", "damaged", "missing", "not in the manifest"]


def list_versions(model: Path) -> list[int]:
    """Returns the numbers of the versions in a model folder, in order."""
    if not model.is_dir():
        return []
    entries = (entry for entry in model.iterdir() if re.fullmatch("[1-9][0-9]*", entry.name))
    return sorted(int(entry.name) for entry in entries if (entry / "saved_model.pb").is_file())


def next_version(model: Path) -> int:
    """Returns the number after the largest number that names a file or folder in a model folder."""
    return 1 + max((int(entry.name) for entry in model.iterdir() if entry.name.isdecimal()), default=0)


def find_version(path: str | Path) -> Path:
    """Returns the version folder that a path refers to: itself, or the newest in a model folder or a run's `model/`.

    Raises:
        InputError: there is none.
    """
    path = Path(path)
    for folder in (path, path / "model"):
        if (folder / "saved_model.pb").is_file():
            return folder
        if versions := list_versions(folder):
            return folder / str(versions[-1])
    if not path.exists():
        raise InputError(f"{path}: does not exist; expected a run folder or an exported model.")
    run = (path / "recipe.toml").is_file()
    remedy = f"'tfmnist info {path}' shows the state of this run" if run else "give another folder"
    raise InputError(f"{path}: holds no exported model (a folder '1' with saved_model.pb); {remedy}.")


def write_manifest(version: Path) -> None:
    """Writes the SHA-256 of every other file of a version, in the format of the `sha256sum` command."""
    lines = [f"{_sha256(version / name)}  {name}\n" for name in _list_files(version)]
    (version / MANIFEST).write_text("".join(lines), encoding="utf-8", newline="\n")


def compare_files(version: Path) -> dict[str, FileState]:
    """Compares every file of a version with the manifest.

    Raises:
        InputError: the manifest is missing or damaged, or a file cannot be read.
    """
    states: dict[str, FileState] = {}
    with _readable(version):
        for line in (version / MANIFEST).read_text(encoding="utf-8").splitlines():
            digest, name = line.split("  ", 1)
            path = version / name
            states[name] = "missing" if not path.exists() else "intact" if _sha256(path) == digest else "damaged"
        for name in _list_files(version):
            states.setdefault(name, "not in the manifest")
    states.pop(MANIFEST, None)
    return states


def read_card(version: Path) -> ModelCard:
    """Compares every file with the manifest, and returns the model card.

    Raises:
        InputError: a file is missing, damaged or not in the manifest.
    """
    for name, state in compare_files(version).items():
        if state == "missing":
            raise InputError(f"{version / name}: missing; export the model again.")
        if state == "damaged":
            raise InputError(f"{version / name}: damaged, its SHA-256 is not the manifest's; export the model again.")
        if state == "not in the manifest":
            raise InputError(f"{version / name}: not in the manifest, so not part of the model; move it elsewhere.")
    with _readable(version):
        return ModelCard.read(version)


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


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
