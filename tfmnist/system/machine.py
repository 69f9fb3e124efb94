"""The processors that this process may use, and the version of the package."""

import os

VERSION = "0.1.0"


def processors() -> int:
    """Returns how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
