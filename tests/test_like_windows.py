"""What people on Windows need at least, as far as this system can simulate it: help, training, prediction."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

LIKE_WINDOWS = Path(__file__).with_name("like_windows.py")
TINY = ["--data.validation", "100", "--model.hidden", "16", "--train.epochs", "20"]


def run(folder: Path, *words: str) -> str:
    command = [sys.executable, "-X", "warn_default_encoding", str(LIKE_WINDOWS), *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="cp1252", check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["predict", "--help"]])
def test_help(words: list[str], tmp_path: Path) -> None:
    assert run(tmp_path, *words).startswith("usage: tfmnist")


def test_train_and_predict(small: Path, tmp_path: Path) -> None:
    out = run(tmp_path, "train", "--data.source", str(small), *TINY)
    (path,) = (tmp_path / "runs").iterdir()  # no link `latest`
    assert "test accuracy" in out and (path / "report.html").exists()
    for text in ("assets/labels.txt", "assets.extra/manifest.sha256", "assets.extra/model_card.json"):
        assert b"\r" not in (path / "model" / "1" / text).read_bytes()
    with np.load(small) as arrays:
        Image.fromarray(arrays["x_test"][0]).save(tmp_path / "seven.png")
    assert run(tmp_path, "predict", str(path), "seven.png", "--show", "seen.png").startswith("seven.png: 7 ")
    assert (tmp_path / "seen.png").exists()
    assert "resumed  at epoch 21" in run(tmp_path, "train", "--resume", str(path), "--epochs", "21")
