"""Shows a run in a terminal of 80 columns or a notebook; plain lines elsewhere."""

from collections.abc import Generator
from contextlib import closing

from tfmnist.data.bulk_decode import DecodingProgress
from tfmnist.runs.events import Event, Run, Started
from tfmnist.runs.own_code import name_of
from tfmnist.runs.result import REPORT
from tfmnist.training.events import Epoch, Progress
from tfmnist.training.profile import Profile
from tfmnist.training.screen import TrainingScreen


class RunScreen(TrainingScreen):
    """Shows the events of a run: what it is, its training, its result."""

    def show(self, event: Event) -> None:
        """Shows one event."""
        match event:
            case DecodingProgress():
                self.update("decoding pictures", event.done, event.total, f"{event.done:,}/{event.total:,}")
            case Started():
                self.console.print(_describe_start(event))
                self.head = f"\n{self.head}"
                train = event.recipe.train
                self.begin(train.epochs, len(event.digits.train), train.batch_size, train.progress)
            case Profile():
                self.console.print(f"\n{describe_profile(event)}")
            case Progress() | Epoch():
                super().show(event)
                if isinstance(event, Epoch) and event.epoch == self.epochs:
                    self.update("evaluating, exporting, drawing", 1, 1)
            case Run():
                self.hide()
                self.console.print(_describe_result(event))


def show_run(events: Generator[Event], *, quiet: bool = False) -> Run:
    """Shows the events of a run unless `quiet`, and returns the last one: the finished run."""
    last: Event | None = None
    with RunScreen(quiet=quiet) as screen, closing(events):
        for last in events:
            screen.show(last)
    assert isinstance(last, Run)
    return last


def _describe_start(event: Started) -> str:
    recipe, digits = event.recipe, event.digits
    height, width = digits.image_shape
    lines = [
        f"recipe   {recipe.name}" + (f": {recipe.about.summary}" if recipe.about.summary else ""),
        f"data     {digits.source}: {len(digits.train):,} to train, {len(digits.validation):,} to validate, "
        f"{len(digits.test):,} to test",
        f"         {digits.classes} classes, {height}x{width} pixels",
        *(f"         {note}" for note in digits.notes),
        f"model    {name_of(recipe.model.kind)}, {event.model.parameter_count:,} parameters, {recipe.train.precision}",
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
    if (event.path / REPORT).exists():
        lines.append(f"report   {event.path / REPORT}")
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
