"""What the tests of the command line share: commands in this process, and one small run."""

from collections.abc import Callable
from pathlib import Path

import pytest

import tfmnist
from tfmnist.cli import main as cli

Command = Callable[..., tuple[int, str, str]]
Complaint = Callable[..., str]


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs a command in this process, which has TensorFlow already; returns its code, output and errors."""

    def run(*words: str | Path) -> tuple[int, str, str]:
        capfd.readouterr()
        code = cli.main([str(word) for word in words])
        out, errors = capfd.readouterr()
        return code, out, errors

    return run


@pytest.fixture
def complaint(command: Command) -> Complaint:
    """Runs a command that must fail by wrong input: exit code 2, no output, one line on standard error, returned."""

    def run(*words: str | Path) -> str:
        code, out, errors = command(*words)
        assert code == 2 and out == ""
        assert errors.count("\n") == 1 and errors.startswith("tfmnist: ")
        return errors

    return run


@pytest.fixture(scope="session")
def trained(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run; its report is left out."""
    changes = {"data.source": str(small), "data.validation": 100, "model.hidden": [16], "train.compile": "graph"}
    recipe = tfmnist.Recipe.load("mlp").replace({**changes, "train.epochs": 4, "export.report": False})
    return tfmnist.run(recipe, tmp_path_factory.mktemp("cli") / "run").path
