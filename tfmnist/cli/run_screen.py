"""Shows runs and evaluations in a terminal of 80 columns; plain lines if the output is not a terminal."""

import math
from collections.abc import Sequence
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table

from tfmnist.backprop.check import Comparison
from tfmnist.data.bulk_decode import DecodingProgress
from tfmnist.nn.metrics import Metrics
from tfmnist.runs.events import Event, Run, Started
from tfmnist.training.loop import Epoch, Progress
from tfmnist.training.profile import Profile

_ROW = "{:>7} {:>8} {:>9} {:>9} {:>9} {:>9} {:>10} {:>8}"
_HEAD = _ROW.format("epoch", "loss", "accuracy", "val loss", "val acc", "rate", "images/s", "seconds")


class Screen:
    """Shows the events of a run: a live line for the current epoch, and a printed line for each finished one."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), TextColumn("{task.fields[figures]}"))
        disable = not self.console.is_terminal
        self.bar = Bar(*columns, console=self.console, transient=True, auto_refresh=False, disable=disable)
        self.task = self.bar.add_task("", total=None, figures="", visible=False)
        self.started: Started | None = None
        self.has_head = False
        self.printed = (0, 0.0)  # examples of the epoch, and the sum of their losses, at the last line of progress

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def show(self, event: Event) -> None:
        """Shows one event."""
        match event:
            case DecodingProgress():
                self._live("decoding pictures", event.done, event.total, f"{event.done:,}/{event.total:,}")
            case Started():
                self.started = event
                self.console.print(_describe_start(event))
                self._live("compiling", 0, 1, "")
            case Profile():
                self.console.print(f"\n{describe_profile(event)}")
            case Progress():
                figures = f"{event.step:,}/{event.steps:,}  loss {event.loss:.4f}  {event.accuracy:.2%}"
                figures += f"  {event.images_per_second:,.0f}/s"
                self._print_progress(event.epoch, event.step, event.steps, event.loss)
                epochs = self.started.recipe.train.epochs if self.started else "?"
                self._live(f"{event.epoch:>3}/{epochs}", event.step, event.steps, figures)
            case Epoch():
                self._print_epoch(event)
            case Run():
                self._hide()
                self.console.print(_describe_result(event))

    def _print_epoch(self, event: Epoch) -> None:
        assert self.started
        recipe = self.started.recipe
        steps = -(-len(self.started.digits.train) // recipe.train.batch_size)
        self._hide()
        self._print_progress(event.epoch, steps, steps, event.loss)
        self.printed = (0, 0.0)
        loss = "-" if event.validation_loss is None else f"{event.validation_loss:.4f}"
        accuracy = "-" if event.validation_accuracy is None else f"{event.validation_accuracy:.2%}"
        training = (f"{event.epoch}/{recipe.train.epochs}", f"{event.loss:.4f}", f"{event.accuracy:.2%}")
        speed = (f"{event.learning_rate:.3g}", f"{event.images_per_second:,.0f}", f"{event.seconds:.1f}")
        self._print_row(_ROW.format(*training, loss, accuracy, *speed))
        if event.epoch == recipe.train.epochs:
            self._live("evaluating, exporting, drawing", 1, 1, "")

    def _print_progress(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """Prints a line every `train.progress` batches; `loss` is the mean since the epoch began."""
        assert self.started
        settings = self.started.recipe.train
        if not settings.progress or step % settings.progress:
            return
        before, total = self.printed
        seen = min(step * settings.batch_size, len(self.started.digits.train))  # the last batch may be smaller
        self.printed = (seen, loss * seen)
        recent = (loss * seen - total) / (seen - before)
        self._print_row(f"Epoch {epoch}/{settings.epochs} | Batch {step}/{steps} | Loss: {recent:.4f}")

    def _print_row(self, row: str) -> None:
        if not self.has_head:
            self.console.print(f"\n{_HEAD}")
        self.has_head = True
        self.console.print(row)

    def _live(self, title: str, done: int, total: int, figures: str) -> None:
        self.bar.update(self.task, description=title, completed=done, total=total, figures=figures, visible=True)
        self.bar.refresh()

    def _hide(self) -> None:
        self.bar.update(self.task, visible=False)
        self.bar.refresh()


def _describe_start(event: Started) -> str:
    recipe, digits = event.recipe, event.digits
    height, width = digits.image_shape
    lines = [
        f"recipe   {recipe.name}" + (f": {recipe.about.summary}" if recipe.about.summary else ""),
        f"data     {digits.source}: {len(digits.train):,} to train, {len(digits.validation):,} to validate, "
        f"{len(digits.test):,} to test",
        f"         {digits.classes} classes, {height}x{width} pixels",
        *(f"         {note}" for note in digits.notes),
        f"model    {recipe.model.kind}, {event.model.parameter_count:,} parameters, {recipe.train.precision}",
        *(f"         {note}" for note in event.notes),
        f"run      {event.path}",
    ]
    if 1 < event.first_epoch <= recipe.train.epochs:
        lines.append(f"resumed  at epoch {event.first_epoch} of {recipe.train.epochs}")
    return "\n".join(lines)


def _describe_result(event: Run) -> str:
    result, seconds = event.result, event.result["seconds"]
    low, high = result["test_accuracy_ci95"]
    phases = ", ".join(f"{phase} {value:.1f}" for phase, value in seconds.items() if phase != "total")
    lines = [
        f"\ntest accuracy {result['test_accuracy']:.2%} of {result['data']['test']:,} images "
        f"(95 % interval {low:.2%} to {high:.2%})",
        f"weights  sha256 {result['weights_sha256']}",
        f"seconds  {seconds['total']:.1f}: {phases}",
    ]
    if "model" in result:
        lines.append(f"model    {event.path / result['model']}")
    if (event.path / "report.html").exists():
        lines.append(f"report   {event.path / 'report.html'}")
    return "\n".join(lines)


def describe_profile(profile: Profile) -> str:
    """Returns the table of `tfmnist train --profile`."""
    rows = {
        "step": "whole step, in the loop",
        "forward": "cast, layers, loss",
        "backward": "gradients",
        "update": "optimizer, averages of the weights",
        "host": "calls, waiting for data",
    }
    lines = [f"{'µs per step':>20}{'share':>8}"]
    for name, what in rows.items():
        duration = getattr(profile, name)
        lines.append(f"{name:<10}{duration:>10,.1f}{duration / profile.step:>8.0%}  {what}")
    lines.append(f"{'data':<10}{profile.data:>10,.1f}{'':>8}  gathering and augmenting, during the step before")
    lines.append(f"{'roofline':<10}{profile.limit:>10,.1f}{profile.share:>8.0%}  of the machine's limit is reached:")
    products = f"{profile.operations / 1e6:,.1f} MFLOP at {profile.peak / 1e9:,.0f} GFLOP/s ({profile.precision})"
    update = f"{profile.traffic / 1e6:,.1f} MB at {profile.bandwidth / 1e9:,.0f} GB/s"
    return "\n".join([*lines, f"{'':<30}{products},", f"{'':<30}{update}"])


def show_metrics(metrics: Metrics, class_names: Sequence[str], title: str) -> None:
    """Prints accuracy with its interval, loss, calibration, and a table of the classes."""
    console = Console(highlight=False, markup=False, emoji=False)
    low, high = metrics.accuracy_ci95
    console.print(title, soft_wrap=True)
    console.print(
        f"accuracy {metrics.accuracy:.2%}, {metrics.correct:,} of {metrics.count:,} "
        f"(95 % interval {low:.2%} to {high:.2%})\n"
        f"loss {metrics.loss:.4f}, calibration error {metrics.calibration.error:.2%}",
        soft_wrap=True,
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("class")
    for name in ("images", "precision", "recall", "F1", "most confused with"):
        table.add_column(name, justify="right")
    for index, name in enumerate(class_names):
        row = metrics.confusion[index].copy()
        row[index] = 0
        confused_with = f"{class_names[int(row.argmax())]} ({row.max()})" if row.max() else "-"
        values = (f"{x[index]:.2%}" for x in (metrics.precision, metrics.recall, metrics.f1))
        table.add_row(name, f"{metrics.confusion[index].sum():,}", *values, confused_with)
    console.print(table)


def show_gradients(name: str, examples: int, rows: Sequence[Comparison]) -> float:
    """Prints a table of the comparisons and returns the largest relative error in it."""
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(f"{name}: gradients of {examples} examples; errors relative to the largest entry")
    table = Table(box=None, pad_edge=False)
    table.add_column("variable")
    pairs = ("tape -\nformula", "tape -\ndifference", "formula -\ndifference")
    for heading in ("shape", "largest", *pairs, "checked"):
        table.add_column(heading, justify="right")
    relative_errors = [0.0]
    for row in rows:
        by_difference = (row.tape_difference, row.formula_difference)
        relative_errors += [row.tape_formula, *(by_difference if row.checked else ())]
        errors = (f"{x:.1e}" for x in (row.tape_formula, *by_difference))
        table.add_row(row.name, "x".join(map(str, row.shape)), f"{row.largest:.3g}", *errors, f"{row.checked:,}")
    console.print(table)
    for row in rows:
        if row.entry:
            console.print(f"{row.name}[{', '.join(map(str, row.entry.index))}]", soft_wrap=True)
            for what in ("tape", "formula", "difference"):
                console.print(f"  {what:<10} {getattr(row.entry, what):+.15e}")
    largest = max(relative_errors, key=lambda x: math.inf if math.isnan(x) else x)
    if kinks := sum(row.kinks for row in rows):
        console.print(f"left out {kinks} entries at which a ReLU switches, where there is no derivative")
    console.print(f"largest relative error {largest:.1e}")
    return largest
