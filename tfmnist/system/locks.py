"""Locks between processes, on open files; a lock ends with its process, however that ends."""

from typing import IO, Any

_POLL = 0.002  # seconds between attempts to get a lock that another process has


def lock(file: IO[Any], *, wait: bool = True) -> bool:
    """Locks an open file until it is closed; returns whether this process now has the lock.

    Other processes can still read and write the file, except on Windows for its first byte.

    Args:
        file: open for writing, which network file systems require; its content does not matter.
        wait: whether to wait while another process has the lock; otherwise False is returned at once.

    Raises:
        OSError: the file system has no locks.
    """
    from filelock import lock_descriptor  # takes 30 ms, which commands that lock nothing save

    try:
        return lock_descriptor(file.fileno(), blocking=wait, poll_interval=_POLL)
    except OSError as error:
        raise OSError(error.errno, f"cannot be locked: {error.strerror}", file.name) from None
