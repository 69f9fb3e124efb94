"""Standard streams that are closed or full: the work is done, and no file takes their place."""

import subprocess
import sys
from pathlib import Path

import pytest

CLOSED = ["0<&-", ">&-", "2>&-", ">&- 2>&-", "0<&- >&- 2>&-"]
NO_FULL_DEVICE = not Path("/dev/full").exists()


def shell(command: str, *, program: str = "") -> "subprocess.CompletedProcess[str]":
    """Runs a shell command in which `$run` is Python, or a program in Python."""
    run = f'"{sys.executable}" ' + ("-c " + f"'{program}'" if program else "-m tfmnist")
    return subprocess.run(["sh", "-c", command.replace("$run", run)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("closed", CLOSED)
def test_a_file_never_gets_the_number_of_a_closed_stream(closed: str, tmp_path: Path) -> None:
    program = (
        f'import tfmnist, os, sys; file = open("{tmp_path / "data"}", "w"); assert file.fileno() > 2;'
        'os.write(1, b"out"); os.write(2, b"err"); print("text"); print("text", file=sys.stderr); file.close()'
    )
    done = shell(f"$run {closed}", program=program)
    assert done.returncode == 0 and (tmp_path / "data").read_text() == ""
    assert "out" in done.stdout or ">&-" in closed


@pytest.mark.parametrize("closed", CLOSED)
@pytest.mark.parametrize(("words", "code"), [("recipes", 0), ("recipes mlp", 0), ("train --help", 0), ("nothing", 2)])
def test_a_command_does_without_closed_streams(words: str, code: int, closed: str) -> None:
    done = shell(f"$run {words} {closed}")
    assert done.returncode == code and "Traceback" not in done.stderr
    if ">&-" not in closed.replace("2>&-", ""):
        assert bool(done.stdout) == (code == 0)
    if "2>&-" not in closed:
        assert bool(done.stderr) == (code != 0)


def test_a_training_does_without_any_stream(small: Path, tmp_path: Path) -> None:
    keys = "--epochs 1 --data.validation 100 --hidden 8 --train.compile graph --export.report false"
    done = shell(f"$run train {keys} --data {small} --run-dir {tmp_path / 'run'} 0<&- >&- 2>&-")
    assert done.returncode == 0 and (tmp_path / "run" / "result.json").exists()


@pytest.mark.skipif(NO_FULL_DEVICE, reason="no device that is always full")
@pytest.mark.parametrize("words", ["recipes", "recipes mlp", "--help", "train --help"])
def test_a_full_output_is_one_line_and_code_1(words: str) -> None:
    done = shell(f"$run {words} >/dev/full")
    assert done.returncode == 1
    assert done.stderr == "tfmnist: standard output: the disk is full; free some space, and try again.\n"
    assert shell(f"$run {words} >/dev/full 2>/dev/full").returncode == 1
    assert shell("$run nothing 2>/dev/full").returncode == 2


@pytest.mark.skipif(NO_FULL_DEVICE, reason="no device that is always full")
def test_a_training_whose_output_is_full_is_finished(small: Path, tmp_path: Path) -> None:
    keys = "--epochs 1 --data.validation 100 --hidden 8 --train.compile graph --export.report false"
    done = shell(f"$run train {keys} --data {small} --run-dir {tmp_path / 'run'} >/dev/full")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert (tmp_path / "run" / "result.json").exists()


def test_each_line_is_there_at_once_if_python_is_unbuffered() -> None:
    program = 'from tfmnist.system.streams import open_outputs; import os; open_outputs(); print("line"); os._exit(0)'
    assert shell("PYTHONUNBUFFERED=1 $run", program=program).stdout == "line\n"


@pytest.mark.parametrize("words", ["recipes", "--help", "train --help"])
def test_a_reader_that_has_gone_is_no_error(words: str) -> None:
    done = shell(f"$run {words} | true")
    assert done.stderr == ""
