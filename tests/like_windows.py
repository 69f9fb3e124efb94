"""Runs `tfmnist` in a process that lacks what Windows lacks.

    python -X warn_default_encoding tests/like_windows.py train

For the package's own modules, modules of POSIX and many names in `os` and `signal` do not exist, and text files need
their encoding named. For everything that is written in Python, no folder can be opened; only what is open for writing
can be flushed; what is open cannot be deleted, replaced or moved; links are not allowed; text files are written with
CRLF; there is no `/proc`; the terminal knows no Unicode. TensorFlow and other libraries are those of this system, and
so are the locks. Not simulated: paths with drives and backslashes, consoles, child processes.
"""

import builtins
import errno
import fcntl
import io
import os
import shutil
import signal  # noqa: F401  # for `limit_imports`
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

POSIX_MODULES = {"fcntl", "grp", "posix", "pwd", "resource", "termios", "tty"}
POSIX_NAMES = {
    "os": (
        *("chown", "fchmod", "fork", "geteuid", "getloadavg", "getpgid", "getuid", "killpg", "mkfifo", "nice"),
        *("pread", "preadv", "pwrite", "pwritev", "readv", "sched_getaffinity", "setsid", "statvfs", "sync", "sysconf"),
        *("uname", "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_SYNC", "EX_TEMPFAIL"),
    ),
    "signal": ("SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGUSR1", "pthread_sigmask", "setitimer"),
}


def limit_imports() -> None:
    """Replaces the import statement by one that gives the package's modules what Windows has."""
    real = builtins.__import__
    smaller: dict[str, ModuleType] = {}
    for name, missing in POSIX_NAMES.items():
        smaller[name] = ModuleType(name)
        vars(smaller[name]).update({key: value for key, value in vars(sys.modules[name]).items() if key not in missing})

    def imported(name: str, globals: Any = None, *rest: Any, **options: Any) -> Any:
        importer = (globals or {}).get("__name__", "")
        if importer.partition(".")[0] == "tfmnist":
            if name in POSIX_MODULES:
                raise ModuleNotFoundError(f"No module named {name!r}, which {importer} imports", name=name)
            if name in smaller:
                return smaller[name]
        return real(name, globals, *rest, **options)

    builtins.__import__ = imported


def change_files() -> None:
    """Replaces functions that work on files by ones with the limits of Windows."""
    real_open, real_os_open, real_fsync = io.open, os.open, os.fsync

    def file_open(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: Any = None,
        errors: Any = None,
        newline: Any = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        if isinstance(file, str | os.PathLike) and os.fspath(file).startswith("/proc/"):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(file))
        if "b" not in mode:
            encoding = io.text_encoding(encoding)  # warns
            if newline is None and "r" not in mode and "+" not in mode:
                newline = "\r\n"
        return real_open(file, mode, buffering, encoding, errors, newline, closefd, opener)

    def os_open(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if os.path.isdir(path) and flags & os.O_TMPFILE != os.O_TMPFILE:  # which opens a new file in the folder
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real_os_open(path, flags, *arguments, **options)

    def fsync(file: int) -> None:
        if not fcntl.fcntl(file, fcntl.F_GETFL) & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EBADF, "Bad file descriptor")
        real_fsync(file)

    def symlink(*_: Any, **__: Any) -> None:
        raise OSError(errno.EPERM, "A required privilege is not held by the client")

    def unless_open(real: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*paths: Any, **options: Any) -> Any:
            for path in map(os.path.abspath, paths):
                if any(f"{file}/".startswith(f"{path}/") for file in open_files()):
                    raise PermissionError(errno.EACCES, "The process cannot access the file", path)
            return real(*paths, **options)

        return changed

    builtins.open = io.open = file_open  # type: ignore[assignment]
    os.open, os.fsync, os.symlink = os_open, fsync, symlink
    for name in ("remove", "rename", "replace", "rmdir", "unlink"):
        setattr(os, name, unless_open(getattr(os, name)))
    shutil._use_fd_functions = False  # type: ignore[attr-defined]  # they open folders


def open_files() -> list[str]:
    """Returns the paths of the files that this process has open or mapped."""
    paths: list[str] = []
    for number in os.listdir("/proc/self/fd"):
        try:
            paths.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:  # the listing itself, which has ended
            continue
    return paths


def main() -> int:
    warnings.simplefilter("ignore", EncodingWarning)
    warnings.filterwarnings("error", category=EncodingWarning, module="tfmnist")
    change_files()
    limit_imports()
    for stream in (sys.stdout, sys.stderr):
        assert isinstance(stream, io.TextIOWrapper)
        stream.reconfigure(encoding="cp1252")
    from tfmnist.cli.main import main

    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.exit(main())
