"""Shows sweeps in a terminal of 80 columns or a notebook; one line per trial elsewhere. No TensorFlow."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tfmnist.sweeps.sweep_file import Sweep
from tfmnist.sweeps.trials import (
    SeedResult,
    StudyResult,
    SweepProgress,
    SweepResult,
    Trial,
    ranked,
    values_in_short,
)
from tfmnist.system.consoles import open_consoles

_REASON = 70  # characters shown of the reason why a trial ended early
_RUNNING = 4  # running trials shown
_ROWS = 10  # best trials shown while the sweep runs


class SweepScreen:
    """Shows a sweep: the best trials, the running trials and the time left; at the end, the table and the result.

    Args:
        sweep: what is searched.
        quiet: True to show nothing.
    """

    def __init__(self, sweep: Sweep, *, quiet: bool = False) -> None:
        self.sweep = sweep
        self._began = time.monotonic()
        self._done_before: int | None = None
        self.console, live = open_consoles(quiet=quiet)
        self.is_live = live is not None
        self.live = Live(console=live or self.console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        if self.is_live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()

    def show(self, event: SweepProgress | SeedResult | SweepResult) -> None:
        """Draws the progress or the result."""
        if isinstance(event, SweepResult):
            self.live.update(Text())
            self.live.stop()
            self._show_result(event)
        elif isinstance(event, SeedResult):
            line = f"{_label(event.study)} {show_seed(event)}"
            if self.is_live:
                self.live.update(Text(line), refresh=True)
            else:
                self.console.print(line)
        elif self.is_live:
            ended = [trial for trial in event.trials if trial.state != "running"]
            running = [trial for trial in event.trials if trial.state == "running"]
            rows = [*ranked(self.sweep.search, ended)[:_ROWS], *running[:_RUNNING]]
            self.live.update(Group(self._table(rows), Text(self._line(event))), refresh=True)
        elif event.ended:
            trial = event.ended
            done = sum(other.state != "running" for other in event.trials)
            line = f"{done}/{event.total}  trial {trial.number}  {self._result(trial)}"
            self.console.print(f"{line}  {self._what(trial)}", soft_wrap=True)

    def _show_result(self, result: SweepResult) -> None:
        self.console.print(self._table(ranked(self.sweep.search, result.trials)))
        if result.best is None:
            self.console.print("no trial was trained to the end, so there is no best one")
            return
        lines = [
            "",
            f"best     trial {result.best.number}: {self._result(result.best)} on validation",
            f"         {values_in_short(result.best.values)}",
            *(self._front(result.front) if result.front else ()),
            *(f"{_label(study.path.name)} {show_study(study)}" for study in result.confirmed or ()),
            *([f"not confirmed with fresh seeds: {result.unconfirmed}"] if result.unconfirmed else ()),
            f"recipe   {result.path / 'best.toml'}",
            f"table    {result.path / 'sweep.json'}",
        ]
        self.console.print("\n".join(lines), soft_wrap=True)

    def _front(self, trials: list[Trial]) -> list[str]:
        heading = "front    trials that no other beats in both accuracy and time:"
        rows = (f"{trial.number:>5}  {self._result(trial):>7}  {trial.seconds:>6.1f} s" for trial in trials)
        return [heading, *(f"{row}  {values_in_short(trial.values)}" for row, trial in zip(rows, trials))]

    def _table(self, trials: list[Trial]) -> Table:
        table = Table(box=None, pad_edge=False)
        for name in ("trial", "result", "epochs", "seconds"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("values", overflow="fold")
        for trial in trials:
            figures = (str(trial.number), self._result(trial), str(trial.epochs), f"{trial.seconds:.1f}")
            table.add_row(*figures, self._what(trial))
        return table

    def _what(self, trial: Trial) -> str:
        """Returns the values, and the beginning of the reason if it ended early; `sweep.json` has the whole reason."""
        return what_and_why(trial.values, trial.reason)

    def _result(self, trial: Trial) -> str:
        if trial.result is None:
            return trial.state
        return f"{trial.result:.4f}" if self.sweep.search.objective == "loss" else f"{trial.result:.2%}"

    def _line(self, event: SweepProgress) -> str:
        done = sum(trial.state != "running" for trial in event.trials)
        running = f"{len(event.trials) - done} running, {event.workers} workers"
        line = f"\n{self.sweep.name}: {done} of {event.total} trials, {running}"
        self._done_before = done if self._done_before is None else self._done_before  # before this start
        if self._done_before < done < event.total:
            left = (event.total - done) * (time.monotonic() - self._began) / (done - self._done_before)
            line += f", about {left / 60:.0f} min left" if left > 90 else f", about {left:.0f} s left"
        return line


def what_and_why(values: Mapping[str, Any], reason: str) -> str:
    """Returns values of a recipe in short, and the beginning of the reason why the training ended early, if it did."""
    reason = reason.removeprefix("diverged: ").partition(", learning rate")[0]
    short = reason if len(reason) <= _REASON else reason[: _REASON - 1] + "…"
    return " ".join(filter(None, (values_in_short(values), f"({short})" if short else "")))


def _label(study: str) -> str:
    return f"{'baseline' if study == 'unswept' else study:<8}"


def show_seed(row: SeedResult) -> str:
    """Returns the result of one seed in one line."""
    validation = "-" if row.validation_accuracy is None else f"{row.validation_accuracy:.2%}"
    return f"seed {row.seed}: test {row.test_accuracy:.2%}, validation {validation}, {row.seconds:.1f} s"


def show_study(result: StudyResult) -> str:
    """Returns the result of all seeds in one line."""
    mean, deviation = result.test_accuracy
    return f"test accuracy {mean:.2%} ± {100 * deviation:.2f} (mean ± sd of {len(result.seeds)} seeds)"
