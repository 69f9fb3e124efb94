"""Compiled code kept from one run for the next: XLA's compiler takes seconds that a run of the same network can save.

TensorFlow itself writes and reads the files; but it takes what it finds on trust, and fails where it cannot read or
write. So it is given a folder of its own for each process, filled from the user's cache with what is whole, and what
is new there goes to the cache when the run is over.
"""

import contextlib
import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np

from tfmnist.recipe import Recipe
from tfmnist.system.cache import ArrayCache, find_cache

_FLAGS = "TF_XLA_FLAGS"
_LARGEST = 64 << 20  # bytes


@contextlib.contextmanager
def compiled_code(recipe: Recipe) -> Iterator[None]:
    """Lets TensorFlow find inside what it compiled for such a recipe before; to be entered before it is imported.

    Nothing is kept, and nothing found, where `$TF_XLA_FLAGS` is set by the user, where the cache belongs to somebody
    else or can be written by others, or where there is no temporary folder.
    """
    cache, key = find_cache() / "compiled", _key(recipe)
    if os.environ.get(_FLAGS) or not key or not _is_private(cache):
        yield
        return
    try:
        folder = Path(tempfile.mkdtemp(prefix="tfmnist-compiled-"))
    except OSError:
        yield
        return
    try:
        kept = ArrayCache(cache).open(key) or {}
        with contextlib.suppress(OSError):
            for name, content in kept.items():
                (folder / name).write_bytes(content.tobytes())
        directory, device = "--tf_xla_persistent_cache_directory", "--tf_xla_persistent_cache_device_types"
        os.environ[_FLAGS] = f"{directory}={folder} {device}=CPU"
        yield
        files = sorted(path for path in folder.iterdir() if path.suffix == ".pb")
        if {path.name for path in files} - set(kept) and sum(path.stat().st_size for path in files) < _LARGEST:
            contents = {path.name: np.frombuffer(path.read_bytes(), np.uint8) for path in files}
            ArrayCache(cache).write(key, contents)
    finally:
        os.environ.pop(_FLAGS, None)
        shutil.rmtree(folder, ignore_errors=True)


def _key(recipe: Recipe) -> str:
    """Returns 64 hex digits for what the code depends on: processor, software, and the recipe but for its seed.

    Empty where the system does not say what processor it has.
    """
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        lines = {line for line in file if line.startswith(("model name", "flags", "Features", "CPU part"))}
        processor = "".join(sorted(lines))
        values = recipe.model_dump(mode="json", exclude={"name": True, "about": True, "export": True})
        values["train"] = {k: v for k, v in values["train"].items() if k not in ("seed", "progress")}
        about = [processor, platform.machine(), version("tensorflow"), os.environ.get("XLA_FLAGS", ""), values]
        return hashlib.sha256(json.dumps([*about, os.cpu_count()], sort_keys=True).encode()).hexdigest()
    return ""


def _is_private(cache: Path) -> bool:
    """Makes the folder where it is missing; says whether this user alone can write in it."""
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = cache.stat()
    except OSError:
        return False
    return status.st_uid == os.getuid() and not status.st_mode & 0o022 and os.access(cache, os.W_OK)
