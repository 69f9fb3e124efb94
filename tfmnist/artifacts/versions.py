"""The folders of exported models: their versions, and a manifest that reveals damaged files. No TensorFlow."""

import hashlib
import re
from pathlib import Path

from tfmnist.artifacts.card import EXTRA, ModelCard
from tfmnist.errors import InputError

MANIFEST = f"{EXTRA}/manifest.sha256"


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
    remedy = f"finish the run with 'tfmnist train --resume {path}'" if run else "give another folder"
    raise InputError(f"{path}: holds no exported model (a folder '1' with saved_model.pb); {remedy}.")


def write_manifest(version: Path) -> None:
    """Writes the SHA-256 of every other file of a version, in the format of the `sha256sum` command."""
    files = sorted(path for path in version.rglob("*") if path.is_file())
    lines = [f"{_sha256(path)}  {path.relative_to(version).as_posix()}\n" for path in files]
    (version / MANIFEST).write_text("".join(lines), encoding="utf-8", newline="\n")


def read_card(version: Path) -> ModelCard:
    """Compares every file with the manifest, and returns the model card.

    Raises:
        InputError: a file is missing or damaged.
    """
    try:
        for line in (version / MANIFEST).read_text(encoding="utf-8").splitlines():
            digest, name = line.split("  ", 1)
            if _sha256(version / name) != digest:
                raise InputError(
                    f"{version / name}: damaged, its SHA-256 is not the manifest's; export the model again."
                )
        return ModelCard.read(version)
    except OSError as error:
        raise InputError(f"{error.filename}: cannot read it: {error.strerror}; export the model again.") from None
    except ValueError:
        raise InputError(f"{version}: its manifest or model card is damaged; export the model again.") from None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
