"""Locks between processes, on open files; a lock ends with its process, however that ends."""

from typing import IO, Any

_POLL = 0.002  # seconds between attempts to get a lock that another process has


def lock(file: IO[Any], *, wait: bool = True) -> bool:
    """Locks an open file, whatever it holds, until it is closed; returns whether this process now has the lock.

    Meanwhile other processes can read and write the file, but on Windows not its first byte.

    Args:
        file: open for writing, which network file systems require.
        wait: until no other process has the lock; if False, return False instead.

    Raises:
        OSError: the file system has no locks.
    """
    from filelock import lock_descriptor  # takes 30 ms, which commands that lock nothing save

    try:
        return lock_descriptor(file.fileno(), blocking=wait, poll_interval=_POLL)
    except OSError as error:
        raise OSError(error.errno, f"cannot be locked: {error.strerror}", file.name) from None
