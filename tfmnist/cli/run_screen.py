"""What a run and an evaluation look like in a terminal of 80 columns; plain lines where the output is none."""

import math
from collections.abc import Sequence
from types import TracebackType
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
    """Draws events as they come: a live line for the epoch under way, and one line for each that is done."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), TextColumn("{task.fields[figures]}"))
        self.bar = Bar(
            *columns, console=self.console, transient=True, auto_refresh=False, disable=not self.console.is_terminal
        )
        self.task = self.bar.add_task("", total=None, figures="", visible=False)
        self.headed = False
        self.epochs = 0
        self.every = 0  # batches between two lines of progress
        self.steps = 0  # of an epoch
        self.lined = (0, 0.0)  # examples, and the sum of their losses, at the last line
        self.batch_size = self.count = 0

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def show(self, event: Event) -> None:
        """Draws one event."""
        match event:
            case DecodingProgress():
                self._live("reading pictures", event.done, event.total, f"{event.done:,}/{event.total:,}")
            case Started():
                self._started(event)
            case Profile():
                self.console.print(f"\n{describe_profile(event)}")
            case Progress():
                self._progress(event)
            case Epoch():
                self._epoch(event)
            case Run():
                self._finished(event)

    def _started(self, event: Started) -> None:
        recipe, digits = event.recipe, event.digits
        self.epochs, self.every = recipe.train.epochs, recipe.train.progress
        self.batch_size, self.count = recipe.train.batch_size, len(digits.train)
        self.steps = -(-self.count // self.batch_size)
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
        if 1 < event.first_epoch <= self.epochs:
            lines.append(f"resumed  at epoch {event.first_epoch} of {self.epochs}")
        self.console.print("\n".join(lines))
        self._live("compiling", 0, 1, "")

    def _progress(self, event: Progress) -> None:
        figures = f"{event.step:,}/{event.steps:,}  loss {event.loss:.4f}  {event.accuracy:.2%}"
        figures += f"  {event.images_per_second:,.0f}/s"
        self._line(event.epoch, event.step, event.loss)
        self._live(f"{event.epoch:>3}/{self.epochs}", event.step, event.steps, figures)

    def _epoch(self, event: Epoch) -> None:
        self.bar.update(self.task, visible=False)
        self.bar.refresh()
        self._line(event.epoch, self.steps, event.loss)
        self.lined = (0, 0.0)
        loss = "-" if event.validation_loss is None else f"{event.validation_loss:.4f}"
        accuracy = "-" if event.validation_accuracy is None else f"{event.validation_accuracy:.2%}"
        row = _ROW.format(
            f"{event.epoch}/{self.epochs}",
            f"{event.loss:.4f}",
            f"{event.accuracy:.2%}",
            loss,
            accuracy,
            f"{event.learning_rate:.3g}",
            f"{event.images_per_second:,.0f}",
            f"{event.seconds:.1f}",
        )
        self._head()
        self.console.print(row)
        if event.epoch == self.epochs:
            self._live("evaluating, exporting, drawing", 1, 1, "")

    def _line(self, epoch: int, step: int, loss: float) -> None:
        """Prints a line every so many batches, where asked for; `loss` is the mean since the epoch began."""
        if not self.every or step % self.every:
            return
        before, total = self.lined
        seen = min(step * self.batch_size, self.count)  # the last batch of an epoch may be smaller
        self.lined = (seen, loss * seen)
        recent = (loss * seen - total) / (seen - before)
        self._head()
        self.console.print(f"Epoch {epoch}/{self.epochs} | Batch {step}/{self.steps} | Loss: {recent:.4f}")

    def _head(self) -> None:
        """Prints the heading, once."""
        if not self.headed:
            self.console.print(f"\n{_HEAD}")
        self.headed = True

    def _finished(self, event: Run) -> None:
        self.bar.update(self.task, visible=False)
        self.bar.refresh()
        result = event.result
        low, high = result["test_accuracy_ci95"]
        seconds = result["seconds"]
        phases = ", ".join(f"{phase} {value:.1f}" for phase, value in seconds.items() if phase != "total")
        lines = [
            "",
            f"test accuracy {result['test_accuracy']:.2%} of {result['data']['test']:,} images "
            f"(95 % interval {low:.2%} to {high:.2%})",
            f"weights  sha256 {result['weights_sha256']}",
            f"seconds  {seconds['total']:.1f}: {phases}",
        ]
        if "model" in result:
            lines.append(f"model    {event.path / result['model']}")
        if (event.path / "report.html").exists():
            lines.append(f"report   {event.path / 'report.html'}")
        self.console.print("\n".join(lines))

    def _live(self, title: str, done: int, total: int, figures: str) -> None:
        self.bar.update(self.task, description=title, completed=done, total=total, figures=figures, visible=True)
        self.bar.refresh()


def describe_profile(profile: Profile) -> str:
    """Returns the table of `tfmnist train --profile`."""
    rows = {
        "step": "in the loop, all included",
        "forward": "cast, layers, loss",
        "backward": "gradients",
        "update": "optimizer, averages of the weights",
        "host": "calls, waiting for data",
    }
    lines = [f"{'':<10}{'µs a step':>10}{'share':>8}"]
    for name, what in rows.items():
        took = getattr(profile, name)
        lines.append(f"{name:<10}{took:>10,.1f}{took / profile.step:>8.0%}  {what}")
    lines.append(f"{'data':<10}{profile.data:>10,.1f}{'':>8}  gathering and augmenting, beside the step before")
    lines.append(f"{'roofline':<10}{profile.limit:>10,.1f}{profile.share:>8.0%}  reached of the machine's limit:")
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
    for name in ("images", "precision", "recall", "F1", "most taken for"):
        table.add_column(name, justify="right")
    for index, name in enumerate(class_names):
        row = metrics.confusion[index].copy()
        row[index] = 0
        mistaken = f"{class_names[int(row.argmax())]} ({row.max()})" if row.max() else "-"
        values = (f"{x[index]:.2%}" for x in (metrics.precision, metrics.recall, metrics.f1))
        table.add_row(name, f"{metrics.confusion[index].sum():,}", *values, mistaken)
    console.print(table)


def show_gradients(name: str, examples: int, rows: Sequence[Comparison]) -> float:
    """Prints a table of the comparisons and returns the largest distance in it."""
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(f"{name}: gradients of {examples} examples; distances as shares of the largest")
    table = Table(box=None, pad_edge=False)
    table.add_column("variable")
    pairs = ("tape -\nformula", "tape -\ndifference", "formula -\ndifference")
    for heading in ("shape", "largest", *pairs, "checked"):
        table.add_column(heading, justify="right")
    for row in rows:
        distances = (f"{x:.1e}" for x in (row.tape_formula, row.tape_difference, row.formula_difference))
        shape = "x".join(str(n) for n in row.shape)
        table.add_row(row.name, shape, f"{row.largest:.3g}", *distances, f"{row.checked:,}")
    console.print(table)
    for row in rows:
        if row.entry:
            place = ", ".join(str(n) for n in row.entry.index)
            console.print(f"{row.name}[{place}]", soft_wrap=True)
            for what in ("tape", "formula", "difference"):
                console.print(f"  {what:<10} {getattr(row.entry, what):+.15e}")
    worst = 0.0
    for row in rows:
        seen = (row.tape_difference, row.formula_difference) if row.checked else ()
        worst = max((worst, row.tape_formula, *seen), key=lambda x: math.inf if math.isnan(x) else x)
    if kinks := sum(row.kinks for row in rows):
        console.print(f"left out {kinks} entries where a ReLU switches: there is no derivative")
    console.print(f"largest distance {worst:.1e}")
    return worst
