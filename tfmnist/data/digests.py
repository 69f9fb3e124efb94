"""Digests of images in large mapped files, kept on disk so that the files are read for them once.

`NAME.sha256.json` lies beside the file NAME or, where the folder cannot be written, in the user's cache. It holds the
state of the file that its digests are of: the size, the times of the last change of its content and of its status, and
the inode. If any of these differs, or the record itself was changed, the images are read again.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from tfmnist.data.mapped import FileMap, find_map, offset_in
from tfmnist.system.cache import find_cache
from tfmnist.system.files import write_whole
from tfmnist.system.seals import seal, unseal

_LARGE = 256 << 20  # bytes: smaller files are read in no time, so no record is left beside them
_SETTLED = 3_000_000_000  # ns: a file that has just been changed may change again without a later time
_MOST = 64  # digests of one file, one for each way that it was split
_FORMAT = 1

State = dict[str, int]


class Digest(Protocol):
    """What `hashlib` returns."""

    def update(self, data: Any, /) -> None: ...

    def hexdigest(self) -> str: ...


def kept_digest(arrays: Sequence[npt.NDArray[Any]], about: Digest, compute: Callable[[], str]) -> str:
    """Returns what `compute` does, without computing it if that has been done before and the files are as they were.

    Args:
        arrays: all that it is computed from, apart from what `about` covers; nothing is kept unless all of them are
            views of mapped files, the first a large one.
        about: a digest of which parts of the arrays it is computed from, how, and of all else that it depends on.
        compute: returns a SHA-256, in hexadecimal.
    """
    maps = [mapped for array in arrays if (mapped := find_map(array))]
    if len(maps) < len(arrays) or len(maps[0]) < _LARGE or not _are_settled(maps):
        return compute()
    states = [_state(mapped) for mapped in maps]
    views = [(offset_in(mapped, array), array.shape, array.strides) for mapped, array in zip(maps, arrays)]
    about.update(json.dumps([_FORMAT, views, states[1:]]).encode())
    key, records = about.hexdigest(), _places(maps[0])
    for record in records:
        if found := _read(record, states[0]).get(key):
            return found
    digest = compute()
    if [_state(mapped) for mapped in maps] == states:
        for record in records:
            with suppress(OSError):
                _write(record, states[0], key, digest)
                break
    return digest


def _are_settled(maps: Sequence[FileMap]) -> bool:
    limit = time.time_ns() - _SETTLED
    return all(max(state["modified_ns"], state["changed_ns"]) < limit for state in map(_state, maps))


def _state(mapped: FileMap) -> State:
    state = os.fstat(mapped.descriptor)  # of the file that was mapped, which may have another name by now
    times = {"modified_ns": state.st_mtime_ns, "changed_ns": state.st_ctime_ns}
    return {"size": state.st_size, **times, "inode": state.st_ino}


def _places(mapped: FileMap) -> tuple[Path, Path]:
    """Returns where the record of a file is: beside it, or in the cache."""
    beside = Path(f"{mapped.path}.sha256.json")
    name = hashlib.sha256(os.fsencode(mapped.path)).hexdigest()
    return beside, find_cache() / "digests" / f"{name}.json"


def _read(record: Path, state: State) -> dict[str, str]:
    """Returns the digests in a record by their keys; none if it is missing, damaged, or of another state."""
    try:
        content = record.read_bytes()
        text = unseal(content)
        found = json.loads(text)
        is_whole = seal(text).encode() == content  # one without a seal is not
        return found["digests"] if is_whole and (found["format"], found["file"]) == (_FORMAT, state) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _write(record: Path, state: State, key: str, digest: str) -> None:
    """Adds a digest to a record, and drops the oldest ones, and all of another state."""
    digests = {**_read(record, state), key: digest}
    latest = dict(list(digests.items())[-_MOST:])
    if record.parent.name == "digests":
        record.parent.mkdir(parents=True, exist_ok=True)
    content = {"format": _FORMAT, "file": state, "digests": latest}
    write_whole(record, seal(json.dumps(content, indent=2) + "\n"))
