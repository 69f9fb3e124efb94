"""What TensorFlow logs while it is imported, by a stand-in that logs and fails like it; and once by itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOG = """WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795748469.003929   11454 port.cc:153] oneDNN custom operations are on.
To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow.
E0000 00:00:1795748471.090858   11454 cuda_platform.cc:52] failed call to cuInit
"""
LEVEL = "TF_CPP_MIN_LOG_LEVEL"


def errors_of(code: str, folder: Path = ROOT, level: str = "") -> str:
    """What a program writes on standard error; a package in the folder precedes installed ones."""
    environment = {name: value for name, value in os.environ.items() if name != LEVEL}
    environment |= {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", **({LEVEL: level} if level else {})}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False).stderr


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """A folder with a `tensorflow` that logs, warns, and fails if it finds a file."""
    code = f"import os, sys, pathlib\nos.write(2, {LOG.encode()!r})\nprint('a warning', file=sys.stderr)\n"
    code += f"level = os.environ.get({LEVEL!r})\nif pathlib.Path(__file__).with_name('broken').exists():\n"
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow/__init__.py").write_text(f"{code}    raise ImportError('no such library')\n")
    return tmp_path


def test_the_log_is_hidden_and_nothing_else(stand_in: Path) -> None:
    code = f"import tfmnist, os; assert {LEVEL!r} not in os.environ; import tensorflow; assert tensorflow.level == '3'"
    assert errors_of(code, stand_in) == "a warning\n"
    assert errors_of("import tfmnist.system.files, tensorflow", stand_in, level="3") == "a warning\n"


@pytest.mark.parametrize("level", ["0", "1", "2"])
def test_who_asks_for_the_log_sees_it(stand_in: Path, level: str) -> None:
    code = f"import tfmnist, tensorflow; assert tensorflow.level == '{level}'"
    assert errors_of(code, stand_in, level) == f"{LOG}a warning\n"


def test_who_imports_tensorflow_first_changes_nothing(stand_in: Path) -> None:
    code = "import sys, tensorflow; before = [*sys.meta_path]; import tfmnist; assert sys.meta_path == before"
    assert errors_of(f"{code}; assert tensorflow.level is None", stand_in) == f"{LOG}a warning\n"


def test_an_import_that_fails_shows_the_log(stand_in: Path) -> None:
    (stand_in / "tensorflow/broken").touch()
    errors = errors_of("import tfmnist, tensorflow", stand_in)
    assert errors.startswith(f"{LOG}a warning\nTraceback") and errors.endswith("ImportError: no such library\n")


def test_another_log_is_hidden_even_if_the_block_fails() -> None:
    code = "import os, re\nfrom tfmnist.system.import_log import log_hidden\n"
    code += "with log_hidden(re.compile(rb'LOG'), on_failure=True):\n    os.write(2, b'LOG\\nseen\\n')\n    1 / 0"
    assert errors_of(code).startswith("seen\nTraceback") and "LOG" not in errors_of(code)


@pytest.mark.parametrize("trouble", ["import os; os.close(2)", "import tempfile; tempfile.tempdir = '/dev/null'"])
def test_an_import_that_cannot_be_hidden_succeeds(stand_in: Path, trouble: str) -> None:
    done = stand_in / "done"
    errors_of(f"{trouble}; import tfmnist, tensorflow; open({str(done)!r}, 'w')", stand_in)
    assert done.exists()


@pytest.mark.parametrize("code", ["import tfmnist; tfmnist.MLP((4, 4), [2], 3)", "from tfmnist.nn.layers import Dense"])
def test_tensorflow_itself_is_quiet(code: str) -> None:
    assert errors_of(code) == ""
