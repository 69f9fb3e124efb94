"""The script that takes machines away from shared sweeps: what it reads of a sweep. It runs for minutes by hand."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "experiments"


def test_it_says_what_it_does() -> None:
    command = [sys.executable, FOLDER / "sharing.py", "--help"]
    assert "--parts {database,ray}" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_it_counts_the_trials_of_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    script = runpy.run_path(str(FOLDER / "sharing.py"))
    epochs = f"train.epochs = {script['EPOCHS']}"
    assert epochs in script["SWEEP"]
    text = script["SWEEP"].replace(epochs, "train.epochs = 1").replace("confirm = 1", "confirm = 0")
    (tmp_path / "some.toml").write_text(text)
    command = script["Command"](tmp_path / "some", "--workers=-1")
    assert command.process.wait(120) == 0
    assert command.ended() == script["TRIALS"] and script["is_complete"](command)
    assert command.finished() == set()  # none with so many epochs
