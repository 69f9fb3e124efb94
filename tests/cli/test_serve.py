"""`tfmnist serve`: what is wrong with its options is one line, before TensorFlow starts."""

import importlib.util
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Complaint = Callable[..., str]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--port", "80000"], "--port 80000: expected 0 to 65535"),
        (["--host", "no.such.host.invalid"], "--host no.such.host.invalid: not known"),
        (["--name", "a/b"], "--name 'a/b': expected a name without spaces"),
        (["--name", "a b"], "--name 'a b'"),
        (["--token", "two words"], "--token: expected ASCII characters without spaces"),
        (["--threads", "-1"], "--threads -1: expected 0 to "),
        (["--queue", "0"], "--queue 0: expected 1 to 1,000,000"),
        (["--most-rows", "0"], "--most-rows 0: expected"),
        (["--most-megabytes", "nan"], "--most-megabytes nan: expected"),
        (["--timeout", "0"], "--timeout 0: expected"),
        (["--check-seconds", "0"], "--check-seconds 0: expected"),
        (["--port", "0"], "nothing: does not exist; expected a run folder or an exported model"),
    ],
)
def test_wrong_options(complaint: Complaint, tmp_path: Path, options: list[str], words: str) -> None:
    assert words in complaint("serve", tmp_path / "nothing", *options)


def test_a_port_in_use(complaint: Complaint, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert f"--port {port}: Address already in use" in complaint("serve", tmp_path, "--port", str(port))


def test_the_extra_is_missing(complaint: Complaint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find: Any = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else find(name))
    line = complaint("serve", tmp_path)
    assert "serve needs uvicorn, which is not installed: pip install 'tfmnist[serving]'" in line


def test_a_model_that_is_damaged(trained: Path, tmp_path: Path, complaint: Complaint) -> None:
    version = tmp_path / "model" / "1"
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"")
    line = complaint("serve", tmp_path / "model", "--port", "0")
    assert "manifest.sha256: cannot read it" in line


def test_neither_help_nor_complaints_import_tensorflow(tmp_path: Path) -> None:
    code = (
        "import sys, contextlib\nfrom tfmnist.cli.main import main\n"
        "with contextlib.suppress(SystemExit): main(['serve', '--help'])\n"
        f"code = main(['serve', {str(tmp_path)!r}, '--port', '0'])\n"
        "print(code, 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "2 False" and "--port" in done.stdout
