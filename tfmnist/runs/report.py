"""The report of a run: one HTML page that needs nothing but itself, written from the files of a run folder.

What any such page is made of stands here too: the sheet, figures, tables, and files that may be missing or damaged.
"""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np

from tfmnist.nn.metrics import Metrics, measure
from tfmnist.reports.charts import calibration_curve, confusion, learning_curves, per_class
from tfmnist.reports.page import LONG_TABLE, checked, embed, fold, make_table, make_tiles, percent, to_text, write_page
from tfmnist.reports.pictures import augmented, feature_maps, first_weights, mistakes
from tfmnist.runs.result import (
    EVALUATION,
    HISTORY,
    INSPECTION,
    Evaluation,
    Inspection,
    Result,
    how_to_finish,
    load_history,
)

if TYPE_CHECKING:
    pass

_ELSEWHERE = ("sha256", "class_names", "form")  # of the data, what the page shows in another place, or not at all


def write_report(run: Path, drawn: "Drawn | None" = None) -> Path:
    """Draws the figures of a finished run and writes its page, `report.html`, whose path it returns.

    The page opens from disk, holds its figures, and asks nothing of the network.

    Args:
        run: a run folder with `result.json`, `metrics.jsonl`, `recipe.toml` and `evaluation.npz`; the figures of
            `inspection.npz` are drawn where it is there.
        drawn: its figures, where `draw_figures` has drawn them already.

    Raises:
        InputError: a file is missing or damaged.

    Example:
        >>> write_report(Path("no/such/run"))
        Traceback (most recent call last):
        tfmnist.errors.InputError: no/such/run/result.json: missing; is this a run folder? \
Finish the run with 'tfmnist train --resume no/such/run'.
    """
    with checked(run, how_to_finish(run)) as file:
        result = Result.model_validate_json(file("result.json").read_text(encoding="utf-8"))
        data = result.data.model_dump(mode="json", exclude_none=True)
        recipe = file("recipe.toml").read_text(encoding="utf-8")
    drawn = drawn or draw_figures(run)
    body = _BODY.substitute(
        name=escape(result.name),
        accuracy=percent(result.test_accuracy),
        interval=f"{100 * result.test_accuracy_ci95[0]:.2f} to {percent(result.test_accuracy_ci95[1])}",
        count=f"{drawn.metrics.count:,}",
        tiles=_tiles(result, drawn.metrics),
        figures="\n".join(drawn.sections),
        seconds=make_table(("Part", "Seconds"), result.seconds.items()),
        data=make_table(("Data", ""), ((key, value) for key, value in data.items() if key not in _ELSEWHERE)),
        versions=make_table(("Software", "Version"), result.versions.items()),
        recipe=fold("All that decides the weights", f"<pre>{escape(recipe.strip())}</pre>"),
        weights=escape(result.weights_sha256),
        digest=escape(result.data.sha256),
        seed=result.seed,
        run=escape(shlex.quote(str(run))),
    )
    return write_page(run / "report.html", f"{result.name}: {percent(result.test_accuracy)}", body)


@dataclass(frozen=True, eq=False)
class Drawn:
    """The figures of a run, each a section of the page, and the metrics that they show."""

    sections: tuple[str, ...]
    metrics: Metrics


def draw_figures(run: Path) -> Drawn:
    """Draws `figures/*.png` of a run whose evaluation is written; `result.json` need not be there yet.

    Raises:
        InputError: a file is missing or damaged.
    """
    with checked(run, how_to_finish(run)) as file:
        history = load_history(file(HISTORY).parent)
        if not history:
            raise ValueError("no finished epoch")
        evaluation = Evaluation.read(file(EVALUATION).parent)
        metrics = measure(evaluation.labels, evaluation.probabilities, float(evaluation.loss))
        inspection = Inspection.read(file(INSPECTION).parent)
    return Drawn(tuple(_draw(run / "figures", history, metrics, evaluation, inspection)), metrics)


def _draw(
    folder: Path,
    history: list[dict[str, Any]],
    metrics: Metrics,
    evaluation: Evaluation,
    inspection: Inspection | None,
) -> Iterable[str]:
    """Writes each figure as PNG and yields it as HTML."""
    folder.mkdir(exist_ok=True)
    names: list[str] = evaluation.class_names.tolist()
    counts, truth = metrics.confusion.sum(axis=1), evaluation.labels[evaluation.mistake_index]
    shown = evaluation.probabilities[evaluation.mistake_index]
    guesses, sure = shown.argmax(axis=1), shown.max(axis=1, initial=0)
    drawn = {
        "learning_curves": learning_curves(history),
        "confusion_matrix": confusion(metrics.confusion, names),
        "per_class": per_class(metrics.recall, metrics.precision, counts, names),
        "mistakes": mistakes(evaluation.mistake_images, truth, guesses, sure, names),
        "calibration": calibration_curve(metrics.calibration),
    }
    if inspection:
        if inspection.originals is not None and inspection.augmented is not None:
            drawn["augmented"] = augmented(inspection.originals, inspection.augmented)
        _, height, width = inspection.first_weights.shape
        title = f"{inspection.first_layer}, {height} x {width}"
        drawn["first_weights"] = first_weights(inspection.first_weights, title)
        if inspection.picture is not None:
            drawn["feature_maps"] = feature_maps(inspection.picture, inspection.maps)
    for name, figure in drawn.items():
        table = _classes(metrics, names) if name == "per_class" else ""
        yield embed(figure, folder / f"{name}.png", *_FIGURES[name], below=table)


def _tiles(result: Result, metrics: Metrics) -> str:
    validation, training = result.validation_accuracy, result.seconds.get("train")
    tiles = [
        ("Test mistakes", f"{metrics.count - metrics.correct:,}"),
        ("Test loss", f"{result.test_loss:.4f}"),
        ("Validation accuracy", "none held out" if validation is None else percent(validation)),
        ("Calibration error", percent(metrics.calibration.error)),
        ("Parameters", f"{result.parameters:,}"),
        ("Epochs", f"{result.epochs:,}"),
        ("Steps", f"{result.steps:,}"),
        ("Training time", "unknown" if training is None else f"{to_text(training)} s"),
    ]
    return make_tiles(tiles)


def _classes(metrics: Metrics, names: Sequence[str]) -> str:
    wrong = metrics.confusion * ~np.eye(len(names), dtype=bool)
    rows: list[list[Any]] = []
    for row, taken in zip(metrics.to_dict(names)["per_class"], wrong, strict=True):
        shares = [f"{100 * row[key]:.2f}" for key in ("recall", "precision", "f1")]
        most = f"{names[int(taken.argmax())]} ({int(taken.max()):,})" if taken.any() else "-"
        rows.append([row["class"], row["count"], *shares, most])
    table = make_table(("Class", "Examples", "Recall, %", "Precision, %", "F1, %", "Top mistake"), rows)
    return table if len(names) <= LONG_TABLE else fold(f"All {len(names)} classes", table)


_FIGURES = {  # name: heading, alternative text, caption
    "learning_curves": (
        "Learning curves",
        "Loss, accuracy and learning rate over the epochs, for training and validation.",
        "Where the dashed validation curve stops following the training curve, examples are being learned by heart.",
    ),
    "confusion_matrix": (
        "What is taken for what",
        "Confusion matrix: rows are true classes, columns predicted classes.",
        "Each row shows where the examples of one class went; the darker a blue cell, the more frequent that mistake.",
    ),
    "per_class": (
        "Class by class",
        "Recall and precision of every class, as dots.",
        "Recall is the share of a class that was found, precision the share of its predictions that are right.",
    ),
    "mistakes": (
        "The surest mistakes",
        "Pictures that were classified wrongly, with true class, predicted class and confidence.",
        "The mistakes made with the highest confidence come first; wrong labels in the data tend to show up here.",
    ),
    "calibration": (
        "Can the confidence be trusted?",
        "Reliability diagram: accuracy against confidence, above the number of examples.",
        "Below the dashed line the network is too sure of itself, above it too modest.",
    ),
    "first_weights": (
        "What the first layer looks for",
        "Weights of the first layer, an image a unit.",
        "Ink on orange excites a unit, ink on blue inhibits it. Strokes and edges are learned; mere noise is not.",
    ),
    "feature_maps": (
        "What the layers see",
        "A training picture and the outputs of the convolutions for it, an image a channel.",
        "The most active channels, bright where they are strong: edges first, then coarser and rarer patterns.",
    ),
    "augmented": (
        "What augmentation does",
        "Training pictures, each with random versions of it beside it.",
        "Every version must still be read as its original; where you would hesitate, the augmentation is too strong.",
    ),
}


_BODY = Template("""<header><p>Recipe <strong>$name</strong>, test accuracy</p><h1>$accuracy</h1>
<p>95&nbsp;% interval $interval, on $count test examples that took no part in training</p></header>
<dl>$tiles</dl>
$figures
<section><h2>The run</h2><div class="columns">$seconds$data$versions</div>
<p class="note">Seed $seed. Two runs are equal when the SHA-256 of their weights is.<br>
Weights <code>$weights</code><br>Data <code>$digest</code></p></section>
<section><h2>Use the model</h2><pre>tfmnist predict $run picture.png
tfmnist evaluate $run</pre>
<p class="note">A picture is a PNG or JPEG, a photo too: it is levelled, cropped and centred as the training images
were.</p></section>
<section><h2>Recipe</h2>$recipe</section>""")
