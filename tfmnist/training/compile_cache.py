"""A cache of compiled code: repeating a run saves the seconds that XLA's compiler takes.

TensorFlow itself writes and reads the files, but it trusts what it finds and fails if it cannot read or write. So each
process gives it a folder of its own, filled with intact files from the user's cache; new files in it go to the cache
when the run is over. The folders of killed processes are deleted by the next one.
"""

import contextlib
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np

from tfmnist.recipe import Recipe
from tfmnist.system.cache import ArrayCache, find_cache
from tfmnist.system.files import staged_folder
from tfmnist.system.locks import lock
from tfmnist.system.machine import processor_details

_FLAGS = "TF_XLA_FLAGS"
_LARGEST = 64 << 20  # bytes


@contextlib.contextmanager
def compiled_code(recipe: Recipe) -> Iterator[None]:
    """Lets TensorFlow reuse the code that it compiled for such a recipe; enter it before TensorFlow is imported.

    The cache is used on Linux only, and not if the user has set `$TF_XLA_FLAGS`, if it belongs to or can be written by
    somebody else, or if it cannot be locked.
    """
    cache, key = find_cache() / "compiled", _key(recipe)
    with contextlib.ExitStack() as stack:
        folder = None
        if not os.environ.get(_FLAGS) and key and _is_private(cache):
            with contextlib.suppress(OSError):
                folder = stack.enter_context(_own_folder(cache))
        if folder is None:
            yield
            return
        stack.callback(os.environ.pop, _FLAGS, None)
        cached = ArrayCache(cache).open(key) or {}
        with contextlib.suppress(OSError):
            for name, content in cached.items():
                (folder / name).write_bytes(content.tobytes())
        directory, device = "--tf_xla_persistent_cache_directory", "--tf_xla_persistent_cache_device_types"
        quote = '"' if " " in str(folder) else ""
        os.environ[_FLAGS] = f"{directory}={quote}{folder}{quote} {device}=CPU"
        yield
        files = sorted(path for path in folder.iterdir() if path.suffix == ".pb")
        if {path.name for path in files} - set(cached) and sum(path.stat().st_size for path in files) < _LARGEST:
            contents = {path.name: np.frombuffer(path.read_bytes(), np.uint8) for path in files}
            ArrayCache(cache).write(key, contents)


@contextlib.contextmanager
def _own_folder(cache: Path) -> Iterator[Path]:
    """Makes a folder that its process locks, and deletes those whose processes have ended."""
    with contextlib.ExitStack() as stack:
        with (cache / ".lock").open("ab") as turn:
            lock(turn)
            for old in cache.glob(".process-*"):
                with contextlib.suppress(OSError), (old / ".lock").open("ab") as file:
                    if lock(file, wait=False):
                        shutil.rmtree(old)
            folder = stack.enter_context(staged_folder(cache, "process"))
            lock(stack.enter_context((folder / ".lock").open("ab")))
        yield folder


def _key(recipe: Recipe) -> str:
    """Returns a digest of what the code depends on: processor, software, and the recipe without its seed.

    Empty if the system does not say which processor it has, as other systems than Linux do not.
    """
    lines = processor_details()
    if not lines:
        return ""
    values = recipe.model_dump(mode="json", exclude={"name": True, "about": True, "export": True})
    train = {k: v for k, v in values["train"].items() if k not in ("seed", "progress", "tensorboard")}
    values["train"] = {**train, "log_steps": bool(train["log_steps"])}  # what the loop returns depends on it
    about = ["".join(lines), platform.machine(), version("tensorflow"), os.environ.get("XLA_FLAGS", ""), values]
    return hashlib.sha256(json.dumps([*about, os.cpu_count()], sort_keys=True).encode()).hexdigest()


def _is_private(cache: Path) -> bool:
    """Makes the folder if it is missing; returns whether this user alone can write to it."""
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = cache.stat()
    except OSError:
        return False
    return status.st_uid == os.getuid() and not status.st_mode & 0o022 and os.access(cache, os.W_OK)
