"""Shows a training in a terminal of 80 columns or a notebook; plain lines elsewhere. No TensorFlow."""

from typing import Self

from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from tfmnist.system.consoles import open_consoles
from tfmnist.training.events import Epoch, Progress, StepLoss

_ROW = "{:>7} {:>8} {:>9} {:>9} {:>9} {:>9} {:>10} {:>8}"
_HEAD = _ROW.format("epoch", "loss", "accuracy", "val loss", "val acc", "rate", "images/s", "seconds")


class TrainingScreen:
    """Shows a training: a live line for the current epoch, and a printed line for each finished one.

    Args:
        quiet: True to show nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.console, live = open_consoles(quiet=quiet, soft_wrap=True)
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), TextColumn("{task.fields[figures]}"))
        console = live or self.console
        self.bar = Bar(*columns, console=console, transient=True, auto_refresh=False, disable=live is None)
        self.task = self.bar.add_task("", total=None, figures="", visible=False)
        self.head = _HEAD  # until it is printed
        self.printed = (0, 0.0)  # examples of the epoch, and the sum of their losses, at the last line of progress

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def begin(self, epochs: int, examples: int, batch_size: int, progress: int = 0) -> None:
        """Shows that training begins.

        Args:
            epochs: number of the last epoch.
            examples: training examples in an epoch; 0 if not known.
            batch_size: examples per step; the last step of an epoch may have fewer.
            progress: steps after which a line is printed, 0 for none.
        """
        self.epochs, self.examples, self.batch_size, self.progress = epochs, examples, batch_size, progress
        self.update("compiling", 0, 1)

    def show(self, event: StepLoss | Progress | Epoch) -> None:
        """Shows one event; single steps are too many to be shown."""
        if isinstance(event, Progress):
            self._print_progress(event.epoch, event.step, event.steps, event.loss)
            steps = f"/{event.steps:,}" if event.steps else ""
            figures = f"{event.step:,}{steps}  loss {event.loss:.4f}  {event.accuracy:.2%}"
            figures += f"  {event.images_per_second:,.0f}/s"
            self.update(f"{event.epoch:>3}/{self.epochs}", event.step, event.steps, figures)
        elif isinstance(event, Epoch):
            self.hide()
            self._print_epoch(event)

    def update(self, title: str, done: int, total: int, figures: str = "") -> None:
        """Shows a live line; a total of 0 is not known."""
        known = {"completed": done, "total": total or None}
        self.bar.update(self.task, description=title, figures=figures, visible=True, **known)
        self.bar.refresh()

    def hide(self) -> None:
        """Removes the live line."""
        self.bar.update(self.task, visible=False)
        self.bar.refresh()

    def _print_epoch(self, event: Epoch) -> None:
        steps = -(-self.examples // self.batch_size)
        self._print_progress(event.epoch, steps, steps, event.loss)
        self.printed = (0, 0.0)
        loss = "-" if event.validation_loss is None else f"{event.validation_loss:.4f}"
        accuracy = "-" if event.validation_accuracy is None else f"{event.validation_accuracy:.2%}"
        training = (f"{event.epoch}/{self.epochs}", f"{event.loss:.4f}", f"{event.accuracy:.2%}")
        speed = (f"{event.learning_rate:.3g}", f"{event.images_per_second:,.0f}", f"{event.seconds:.1f}")
        self._print_row(_ROW.format(*training, loss, accuracy, *speed))
        for name, value in event.metrics.items():
            self._print_row(f"{'':>7} {name} {value:.4f}")
        for note in event.notes:
            self._print_row(f"{'':>7} {note}")

    def _print_progress(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """Prints a line every `progress` steps; `loss` is the mean since the epoch began."""
        if not self.progress or not step or step % self.progress:
            return
        before, total = self.printed
        seen = min(step * self.batch_size, self.examples or step * self.batch_size)
        self.printed = (seen, loss * seen)
        recent = (loss * seen - total) / (seen - before)
        self._print_row(f"Epoch {epoch}/{self.epochs} | Batch {step}/{steps} | Loss: {recent:.4f}")

    def _print_row(self, row: str) -> None:
        if self.head:
            self.console.print(self.head)
        self.head = ""
        self.console.print(row)
