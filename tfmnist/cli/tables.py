"""Prints metrics, data sets and gradients as tables of 80 columns."""

import math
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from tfmnist.backprop.check import Comparison
from tfmnist.data.split import Digits, count_labels
from tfmnist.errors import printable
from tfmnist.nn.metrics import Metrics
from tfmnist.runs.photo_evaluation import PhotoEvaluation


def show_metrics(metrics: Metrics, class_names: Sequence[str], title: str, own_loss: str = "") -> None:
    """Prints accuracy with its interval, loss, calibration, and a table of the classes.

    `own_loss` names the user-defined loss that the model was trained with, if any; the loss is then cross-entropy.
    """
    console = Console(highlight=False, markup=False, emoji=False)
    low, high = metrics.accuracy_ci95
    console.print(title, soft_wrap=True)
    console.print(
        f"accuracy {metrics.accuracy:.2%}, {metrics.correct:,} of {metrics.count:,} "
        f"(95 % interval {low:.2%} to {high:.2%})\n"
        f"{'cross-entropy' if own_loss else 'loss'} {metrics.loss:.4f}, "
        f"calibration error {metrics.calibration.error:.2%}",
        soft_wrap=True,
    )
    if better := metrics.recalibration:
        console.print(
            f"calibration error {better.calibration_error:.2%} with --export.temperature {better.temperature:.3g}; "
            f"then {better.answered:.1%}\nreach the probability from which 99.99% are right, "
            f"--export.threshold {better.threshold:.6f}"
        )
    if own_loss:
        console.print(f"trained with {own_loss}, which the model does not contain", soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    table.add_column("class")
    for name in ("images", "precision", "recall", "F1", "most confused with"):
        table.add_column(name, justify="right")
    for index, name in enumerate(map(printable, class_names)):
        row = metrics.confusion[index].copy()
        row[index] = 0
        confused_with = f"{printable(class_names[int(row.argmax())])} ({row.max()})" if row.max() else "-"
        values = (f"{x[index]:.2%}" for x in (metrics.precision, metrics.recall, metrics.f1))
        table.add_row(name, f"{metrics.confusion[index].sum():,}", *values, confused_with)
    console.print(table)


def show_photos(evaluation: PhotoEvaluation, title: str) -> None:
    """Prints how many photos were read right, and how many and which were refused."""
    console = Console(highlight=False, markup=False, emoji=False)
    values = evaluation.to_dict()
    low, high = values["accuracy_ci95"]
    refused = evaluation.refused.total()
    lines = [
        title,
        *(f"note: {note}" for note in evaluation.notes),
        f"accuracy {values['accuracy']:.2%}, {values['correct']:,} of {evaluation.count:,} photos "
        f"(95 % interval {low:.2%} to {high:.2%})",
        f"{refused:,} not read, which count as wrong" if refused else "all were read",
        *(f"  {line}" for line in evaluation.first_refused),
        *(["  ..."] if refused > len(evaluation.first_refused) else []),
        "",
    ]
    console.print("\n".join(lines), soft_wrap=True)


def show_data(digits: Digits, pixels: str, ground: str) -> None:
    """Prints what a data set holds, and a table of its classes; `pixels` and `ground` describe the training images."""
    console = Console(highlight=False, markup=False, emoji=False)
    splits = {"training": digits.train, "validation": digits.validation, "test": digits.test}
    splits = {name: split for name, split in splits.items() if len(split)}
    height, width = digits.image_shape
    lines = {
        "source": digits.source,
        "images": f"{height} x {width}, {ground}",
        "pixels": pixels,
        "classes": str(digits.classes),
        "examples": ", ".join(f"{len(split):,} for {name}" for name, split in splits.items()),
        "sha256": digits.sha256,
    }
    for name, value in [*lines.items(), *(("note", note) for note in digits.notes)]:
        console.print(f"{name:<10}{value}", soft_wrap=True)
    console.print()
    table = Table(box=None, pad_edge=False)
    table.add_column("class", overflow="fold")
    for name in splits:
        table.add_column(name, justify="right")
    counts = [count_labels(split.compact_labels, digits.classes) for split in splits.values()]
    for class_name, *row in zip(digits.class_names, *counts):
        table.add_row(printable(class_name), *(f"{count:,}" for count in row))
    console.print(table)
    console.print()


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
