"""A process that draws a run's report while this one computes: most of its second is over before anyone waits."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from tfmnist.reports.pictures import plot_images
from tfmnist.reports.style import save
from tfmnist.runs.report import Drawn, draw_figures, write_report

_CHILD = "from tfmnist.runs.report_process import obey; obey()"


class ReportProcess:
    """Draws in a process of its own; where that fails for whatever reason, in this one.

    Starting it returns at once: the drawing library is loaded meanwhile, beside TensorFlow here. The process ends with
    this one, however it ends. As a context manager it is ended on leaving.

    Example:
        >>> with ReportProcess() as drawing:
        ...     drawing.write(Path("no/such/run"))
        Traceback (most recent call last):
        tfmnist.errors.InputError: no/such/run/result.json: missing; is this a run folder? \
Finish the run with 'tfmnist train --resume no/such/run'.
    """

    def __init__(self) -> None:
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-c", _CHILD],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,  # Ctrl-C is for the run, which may still save and go on to report
            )
        except OSError:
            self._child = None
            return
        assert self._child.stdin and self._child.stdout
        self._orders, self._answers = self._child.stdin, self._child.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child is None:
            return
        if kind is not None:
            self._child.kill()
        with contextlib.suppress(OSError):
            self._orders.close()
        self._answers.close()
        self._child.wait()

    def draw(self, run: Path) -> None:
        """Has the figures drawn of a run whose evaluation is written, and does not wait for them."""
        self._say(f"draw {run}")

    def write(self, run: Path) -> Path:
        """Writes the report of a finished run; raises what `write_report` raises."""
        if self._say(f"write {run}") and self._answers.readline() == "done\n":
            return run / "report.html"
        return write_report(run)

    def _say(self, line: str) -> bool:
        if self._child is None or "\n" in line:
            return False
        try:
            self._orders.write(f"{line}\n")
            self._orders.flush()
        except OSError:  # it has ended
            return False
        return True


def obey() -> None:
    """The process's side: `draw RUN` and `write RUN`, a line each, until the input ends; answers a `write`."""
    save(plot_images(np.zeros([1, 2, 2], np.uint8), ["0"]), os.devnull)  # loads the library, fonts too
    drawn: Drawn | None = None
    for line in sys.stdin:
        order, _, name = line.removesuffix("\n").partition(" ")
        if order == "draw":
            drawn = draw_figures(Path(name))
        else:
            write_report(Path(name), drawn)
            os.write(1, b"done\n")
