"""The command line's entry: commands, usage, and one line with an exit code for every error that a user can meet."""

import errno
import gzip
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tfmnist.cli import main as cli
from tfmnist.errors import DivergedError, InputError, Interrupted


def test_usage_lists_every_command_in_80_columns(command: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = command("--help")
    assert code == 0 and out.startswith("usage: tfmnist COMMAND")
    assert all(f"\n  {name} " in out for name in cli.COMMANDS)
    assert max(map(len, out.splitlines())) <= 80
    assert command() == (2, out, "")


def test_version(command: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = command("--version")
    assert code == 0 and out.startswith("tfmnist 0.")


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_fits_80_columns(name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as end:
        cli.main([name, "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert end.value.code == 0 and max(map(len, lines)) <= 80
    assert not any("(default: '')" in line for line in lines)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("--x is 3: expected 4."), 2, "--x is 3: expected 4."),
        (DivergedError("diverged"), 1, "diverged"),
        (Interrupted("stopped and saved"), 75, "stopped and saved"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), 2, "x: No such file; choose another path, or "),
        (PermissionError(errno.EACCES, "Permission denied", "x"), 2, "x: Permission denied; choose another path, or "),
        (
            OSError(errno.ENOSPC, "No space left on device", "x"),
            1,
            "x: the disk is full; free some space, and try again.",
        ),
        (OSError("odd"), 1, "odd\n"),
        (UnicodeEncodeError("utf-8", "x\udcff", 1, 2, "surrogates not allowed"), 2, r"'x\udcff': not a UTF-8 name"),
        (MemoryError(), 1, "out of memory; free some memory, or make the network or the batch smaller"),
    ],
)
def test_an_error_is_one_line_and_a_code(
    error: BaseException,
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[..., tuple[int, str, str]],
) -> None:
    def fail(words: list[str]) -> None:
        raise error

    monkeypatch.setattr(cli, "train", fail)
    returned, out, errors = command("train")
    assert (returned, out, errors.count("\n")) == (code, "", 1)
    assert errors.startswith(f"tfmnist: {line}")


def test_a_fault_of_the_program_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(words: list[str]) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(cli, "train", fail)
    with pytest.raises(RuntimeError):
        cli.main(["train"])


def test_a_reader_of_the_output_may_go() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tfmnist", "recipes"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout and process.stderr
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait() in (0, 1, -signal.SIGPIPE) and b"Traceback" not in errors


def idx(shape: list[int], content: bytes) -> bytes:
    return b"\0\0\x08" + bytes([len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape) + content


GOOD = {
    "train-images-idx3-ubyte": idx([4, 2, 2], bytes(range(16))),
    "train-labels-idx1-ubyte": idx([4], bytes([0, 1, 0, 1])),
    "t10k-images-idx3-ubyte": idx([2, 2, 2], bytes(range(8))),
    "t10k-labels-idx1-ubyte": idx([2], bytes([0, 1])),
}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"train-images-idx3-ubyte": idx([4, 2, 2], bytes(range(15)))}, "15"),
        ({"train-images-idx3-ubyte": gzip.compress(idx([4, 2, 2], bytes(range(16))))[:-9]}, "gzip"),
        ({"train-labels-idx1-ubyte": idx([3], bytes([0, 1, 0]))}, "4 images but 3 labels"),
        ({"train-labels-idx1-ubyte": idx([4], bytes([0, 1, 0, 9]))}, "out of range"),
        ({"t10k-labels-idx1-ubyte": idx([2], bytes([0, 2]))}, "label 2"),
        ({"t10k-images-idx3-ubyte": idx([2, 1, 4], bytes(range(8)))}, "1 x 4"),
    ],
)
def test_bad_files(files: dict[str, bytes], expected: str, tmp_path: Path, complaint: Callable[..., str]) -> None:
    for file, content in {**GOOD, **files}.items():
        (tmp_path / file).write_bytes(content)
    words = ["--data.source", tmp_path, "--data.validation", "0", "--run-dir", tmp_path / "run"]
    errors = complaint("train", *words)
    assert expected in errors and str(tmp_path) in errors
    assert not (tmp_path / "run").exists()


BAD_WORDS: dict[str, tuple[list[str], str]] = {
    "command": (["trian"], "did you mean 'train'"),
    "recipe": (["train", "mpl"], "did you mean 'mlp'"),
    "recipe file": (["train", "nothing.toml"], "nothing.toml"),
    "value": (
        ["train", "--optimizer.learning_rate", "-1"],
        "optimizer.learning_rate' is -1.0: expected a value greater than 0",
    ),
    "combination": (["train", "--train.patience", "2", "--data.validation", "0"], "needs validation examples"),
    "no cnn layers": (["train", "--model.kind", "cnn"], "needs at least one layer"),
    "layer": (["train", "cnn", "--model.layers", "conv x"], "'conv x'"),
    "source": (["train", "--data.source", "minst"], "did you mean 'mnist'"),
    "too much validation": (["train", "--data.validation", "60000"], "data.validation is 60000"),
    "pool too often": (["train", "cnn", "--model.layers", *["max 4"] * 3], "does not fit"),
    "warm-up": (["train", "--schedule.kind", "cosine", "--schedule.warmup", "9"], "schedule.warmup"),
    "resume nothing": (["train", "--resume", "nothing"], "not a run folder"),
    "resume and recipe": (["train", "cnn", "--resume", "x"], "leave them out"),
    "evaluate nothing": (["evaluate", "nothing"], "does not exist"),
    "predict no picture": (["predict", "nothing"], "at least one picture"),
    "gradients of a cnn": (["gradients", "cnn"], "the formulas cover an MLP"),
    "gradients of no examples": (["gradients", "--examples", "0"], "--examples 0 --samples 50: expected at least 1"),
    "gradients of no samples": (["gradients", "mlp", "--samples", "-3"], "expected at least 1 of each"),
    "gradients of what": (["gradients", "mpl"], "did you mean 'mlp'"),
    "pictures of nothing": (["pictures", "there", "--data", "minst"], "did you mean 'mnist'"),
    "start from nothing": (["train", "--init-from", "nothing"], "not a run folder"),
    "start a recipe from nothing": (["train", "cnn", "--init-from", "nothing"], "is this a run folder?"),
    "freeze nothing": (["train", "--freeze", "conv_*"], "'model.freeze' has 'conv_*': no layer"),
    "only": (["train", "--data.only", "7", "8", "ten"], "'data.only' has 'ten': no such class"),
    "export nothing": (["export", "nothing", "x"], "not a run folder"),
    "report nothing": (["report", "nothing"], "nothing"),
    "runs nowhere": (["runs"], "runs: does not exist"),
    "info nothing": (["info", "nothing"], "does not exist"),
}


@pytest.mark.parametrize("name", BAD_WORDS)
def test_bad_words(name: str, tmp_path: Path, complaint: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words, expected = BAD_WORDS[name]
    assert expected in complaint(*words)
    assert list(tmp_path.iterdir()) == []
