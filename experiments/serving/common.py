"""Shared by the scripts in this folder: `tfmnist serve` as a process, virtual environments, images."""

import contextlib
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

import tfmnist


@dataclass
class Served:
    """A server in its own process, on a port chosen by the system."""

    process: "subprocess.Popen[str]"
    url: str

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def megabytes(self) -> float:
        """Returns the resident memory of the process."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * 4096 / 1e6


@contextlib.contextmanager
def served(model: str | Path, *options: str, log: Path | None = None) -> Iterator[Served]:
    """Serves a model; logs to a file, if given."""
    command = [sys.executable, "-m", "tfmnist", "serve", str(model), "--port", "0", *options]
    with contextlib.ExitStack() as stack:
        errors = stack.enter_context(log.open("w")) if log else None
        process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True))
        stack.callback(process.kill)
        assert process.stdout
        line = process.stdout.readline().strip()
        assert "http://" in line, f"the server did not start: {process.wait()}"
        yield Served(process, line.partition(": ")[2])


def environment(folder: Path, name: str, packages: Sequence[str]) -> Path:
    """Returns the Python of an environment with these packages, created if missing."""
    python = folder / name / "bin" / "python"
    if not (folder / name / "installed").exists():
        print(f"installing {' '.join(packages)} into {folder / name}", flush=True)
        venv.create(folder / name, with_pip=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
        subprocess.run(install, check=True, stderr=subprocess.PIPE)
        (folder / name / "installed").touch()
    return python


def test_images(count: int) -> npt.NDArray[np.uint8]:
    """Returns the first images of MNIST's test set."""
    return tfmnist.load("mnist", validation=0).test.images[:count]
