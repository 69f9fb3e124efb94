"""Arrays cached on disk under a key, so that slow work such as decoding is not repeated.

A cache is a folder of entries, each named by its key: `<name>.npy` for each array, their SHA-256 in `entry.json`, and
in `seen/` an empty file for each fingerprint by which the entry can be found. Callers decide what these mean.
"""

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfmnist.system.files import publish, staged_folder

_MOST_ENTRIES = 8
_MOST_FINGERPRINTS = 16  # per entry
_STALE = 24 * 3600  # s: after that, temporary folders are those of killed processes


def find_cache() -> Path:
    """Returns the user's cache: `$TFMNIST_CACHE`, else `$XDG_CACHE_HOME/tfmnist`, else `~/.cache/tfmnist`."""
    if own := os.environ.get("TFMNIST_CACHE"):
        return Path(own).expanduser().absolute()
    if (shared := os.environ.get("XDG_CACHE_HOME", "")) and os.path.isabs(shared):
        return Path(shared, "tfmnist")
    home = os.path.expanduser("~")
    return Path(home, ".cache", "tfmnist") if os.path.isabs(home) else Path(os.devnull)  # where nothing can be written


class ArrayCache:
    """The eight entries used last, in a folder; one that is damaged, or cannot be read or written, counts as missing.

    Args:
        folder: created when the first entry is written; an entry's key has 64 hex digits.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, start: str) -> bool:
        """Returns whether there is an entry, perhaps a damaged one, whose key begins with `start`."""
        return any(entry.name.startswith(start) for entry in self._list_entries())

    def find(self, fingerprint: str) -> dict[str, npt.NDArray[Any]] | None:
        """Opens the entry that was remembered with a fingerprint; None if there is none, or it is damaged."""
        for entry in self._list_entries():
            if os.path.exists(entry / "seen" / fingerprint) and (arrays := self.open(entry.name)):
                return arrays
        return None

    def open(self, key: str) -> dict[str, npt.NDArray[Any]] | None:
        """Maps the arrays of an entry by name, read-only, after comparing their digests; None if missing or damaged."""
        entry = self._folder / key
        try:
            digests = _digest_arrays(entry)
            if not digests or digests != json.loads((entry / "entry.json").read_bytes()):
                return None
            # Plain arrays, since np.memmap spends microseconds of Python on every slice.
            arrays = {name: np.asarray(np.load(entry / f"{name}.npy", mmap_mode="r")) for name in digests}
        except (OSError, ValueError):
            return None
        with suppress(OSError):
            os.utime(entry)
        return arrays

    def remember(self, key: str, fingerprint: str) -> None:
        """Adds a fingerprint by which `find` finds an entry, and drops the oldest ones."""
        seen = self._folder / key / "seen"
        with suppress(OSError):
            seen.mkdir(exist_ok=True)
            (seen / fingerprint).touch()
            for old in sorted(seen.iterdir(), key=lambda path: path.stat().st_mtime_ns)[:-_MOST_FINGERPRINTS]:
                old.unlink()

    def write(self, key: str, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]] | None:
        """Adds an entry, whole or not at all, deletes the oldest ones, and returns what `open` does."""
        entry = self._folder / key
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            with staged_folder(self._folder, "new") as new:
                for name, array in arrays.items():
                    np.save(new / f"{name}.npy", array, allow_pickle=False)
                (new / "entry.json").write_text(json.dumps(_digest_arrays(new)), encoding="utf-8")
                if not self.open(key):  # otherwise another process was faster
                    shutil.rmtree(entry, ignore_errors=True)
                    publish(new, [entry])
            for old in self._list_entries()[_MOST_ENTRIES:]:
                shutil.rmtree(old, ignore_errors=True)
            for path in self._folder.glob(".new-*"):
                if path.stat().st_mtime < time.time() - _STALE:
                    shutil.rmtree(path, ignore_errors=True)
        return self.open(key)

    def _list_entries(self) -> list[Path]:
        """Returns the entries, the last used first; other files in the folder are ignored."""
        entries: list[tuple[int, Path]] = []
        with suppress(OSError), os.scandir(self._folder) as scan:
            for entry in scan:
                if re.fullmatch("[0-9a-f]{64}", entry.name):
                    entries.append((entry.stat().st_mtime_ns, Path(entry.path)))
        return [path for _, path in sorted(entries, reverse=True)]


def _digest_arrays(entry: Path) -> dict[str, str]:
    digests: dict[str, str] = {}
    for path in entry.glob("*.npy"):
        with path.open("rb") as file:
            digests[path.stem] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests
