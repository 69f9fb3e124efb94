"""Locks: one process at a time, what the file holds is left alone, and a killed process has none."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tfmnist.system.locks import lock

HOLD = """
import sys, time
from tfmnist.system.locks import lock
file = open(sys.argv[1], "ab")
print(lock(file, wait=sys.argv[2] == "wait"), flush=True)
sys.stdin.read()
"""


@contextmanager
def another(path: Path, wait: str = "wait") -> Generator["subprocess.Popen[str]"]:
    """Another process that tries to lock a file, prints whether it has, and keeps the lock until it is killed."""
    command = [sys.executable, "-c", HOLD, str(path), wait]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def answer(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def test_one_process_at_a_time_until_the_file_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("content")
    with path.open("r+") as file:
        assert lock(file) and file.read() == "content"
        with another(path, "do not") as other:
            assert answer(other) == "False"
        with another(path) as waiting:
            file.close()
            assert answer(waiting) == "True"
    assert path.read_text() == "content"


def test_a_killed_process_has_no_lock(tmp_path: Path) -> None:
    with another(tmp_path / "file") as other, (tmp_path / "file").open("ab") as file:
        assert answer(other) == "True" and not lock(file, wait=False)
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        assert lock(file, wait=False)


def test_a_file_system_without_locks_is_an_error_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> bool:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("filelock.lock_descriptor", fail)
    with (tmp_path / "file").open("ab") as file, pytest.raises(OSError, match="No locks available") as caught:
        lock(file)
    assert caught.value.filename == str(tmp_path / "file")
