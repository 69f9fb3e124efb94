"""This process and its machine: processors, command, git commit."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tfmnist.system import machine
from tfmnist.system.machine import (
    command_line,
    compute_in_one_thread,
    git_commit,
    processor_details,
    processor_name,
    processors,
)


def test_processors_are_those_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {1, 3, 5}, raising=False)
    assert processors() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert processors() == 1


CPUINFO = "processor: 0\nmodel name\t: Chip 9000 @ 2.1GHz\nflags\t: avx\n" * 2


def test_a_processor_has_a_name_and_details_that_are_listed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: CPUINFO)
    assert processor_name() == "Chip 9000 @ 2.1GHz"
    assert processor_details() == ["flags\t: avx\n", "model name\t: Chip 9000 @ 2.1GHz\n"]


def test_where_the_system_says_less_the_architecture_is_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "CPU part: 0xd0c\n")
    monkeypatch.setattr(machine.platform, "processor", lambda: "")
    monkeypatch.setattr(machine.platform, "machine", lambda: "aarch64")
    assert processor_name() == "aarch64" and processor_details() == ["CPU part: 0xd0c\n"]

    def missing(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    assert processor_name() == "aarch64" and processor_details() == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["/home/me/.venv/bin/tfmnist", "train", "my recipe.toml"], "tfmnist train 'my recipe.toml'"),
        (["/home/me/tfmnist/__main__.py", "train"], "tfmnist train"),
        (["scripts/mine.py", "--x", "1"], "scripts/mine.py --x 1"),
        (["x.py", "--storage", "postgresql://me:secret@host/db"], "x.py --storage postgresql://me:***@host/db"),
        (["x\udcff.py"], "'x?.py'"),
        ([""], ""),
        ([], ""),
    ],
)
def test_the_command_is_what_a_shell_takes(words: list[str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", words)
    assert command_line() == expected
    assert len(shlex.split(expected)) == len([word for word in words if word])


def test_the_commit_is_marked_if_files_differ_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_commit() is None, "no repository"
    (tmp_path / "file").write_text("one")
    commit = ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "one"]
    for words in (["init", "--quiet"], ["add", "file"], commit, ["tag", "v1"]):
        subprocess.run(["git", *words], check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert git_commit() == head
    (tmp_path / "file").write_text("two, and longer")
    assert git_commit() == f"{head}-dirty"
    monkeypatch.setattr(machine, "_GIT_SECONDS", 0.0)
    assert git_commit() is None, "out of time"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit() is None, "no git"


def test_one_thread_is_for_processes_that_have_not_begun_to_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "3")
    compute_in_one_thread()
    assert os.environ["TF_NUM_INTRAOP_THREADS"] == "3", "set by the user"
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS")
    monkeypatch.setitem(sys.modules, "tensorflow", sys)
    compute_in_one_thread()
    assert "TF_NUM_INTRAOP_THREADS" not in os.environ
    monkeypatch.delitem(sys.modules, "tensorflow")
    compute_in_one_thread()
    assert os.environ["TF_NUM_INTRAOP_THREADS"] == "1"
