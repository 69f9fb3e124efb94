"""This process and its machine: processors, command, git commit; and the version of the package."""

import os
import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path

VERSION = "0.1.0"

_GIT_SECONDS = 1.0  # how long git may take


def processors() -> int:
    """Returns how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def compute_in_one_thread() -> None:
    """Makes TensorFlow compute each operation in one thread; call it before TensorFlow is imported.

    For a process that predicts single images: bringing in a second thread takes longer than it saves, half the time of
    an mlp and two thirds of a cnn. `TF_NUM_INTRAOP_THREADS`, if the user has set it, decides instead.
    """
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")


MOST_THREADS = max(64, processors())  # per operation; more would only take memory


def processor_details() -> list[str]:
    """Returns the lines of /proc/cpuinfo that identify the kind of processor; none on systems other than Linux."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    kinds = ("model name", "flags", "Features", "CPU part")
    return sorted({line for line in text.splitlines(keepends=True) if line.startswith(kinds)})


def processor_name() -> str:
    """Returns the processor's model name, or its architecture if the system does not say more."""
    names = [line.partition(":")[2].strip() for line in processor_details() if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def command_line() -> str:
    """Returns the command that started this process, as a shell takes it, without passwords in URLs."""
    words = list(sys.argv)
    if words and (Path(words[0]).name == "tfmnist" or Path(words[0]).parts[-2:] == ("tfmnist", "__main__.py")):
        words[0] = "tfmnist"
    text = shlex.join(words) if any(words) else ""
    return re.sub(r"(://[^/\s:@]*):[^/\s@]*@", r"\1:***@", text).encode(errors="replace").decode()


def git_commit() -> str | None:
    """Returns the current folder's git commit, with `-dirty` if files differ; None if git does not answer at once."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    settings = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}  # other git commands may run meanwhile
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, env=settings, timeout=_GIT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace").strip() or None
