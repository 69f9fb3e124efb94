"""The report of a run: a self-contained HTML page, made from the files of its folder."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfmnist.nn.metrics import Metrics, measure
from tfmnist.reports import charts, pictures
from tfmnist.reports.page import Picture, checked, save_figures, write_page
from tfmnist.runs.result import (
    EVALUATION,
    HISTORY,
    INSPECTION,
    REPORT,
    Evaluation,
    Inspection,
    Result,
    how_to_finish,
    intact_files,
    load_history,
)
from tfmnist.system.seals import unseal

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Drawn:
    """The figures of a run, and the metrics that they show."""

    figures: Mapping[str, Picture]
    metrics: Metrics
    class_names: Sequence[str]


def write_report(run: Path, drawn: Drawn | None = None, out: Path | None = None) -> Path:
    """Writes the page of a finished run, `report.html`, and returns its path.

    Args:
        run: a run folder with `result.json`, `recipe.toml` and, without `drawn`, the files that `draw_figures` needs.
        drawn: the figures, if `draw_figures` has drawn them already.
        out: the folder for the page and its figures, made if missing; by default the run's.

    Raises:
        InputError: a file is missing or damaged.
    """
    result = Result.read(run)
    with checked(run, how_to_finish(run), "restore it as it was.") as file:
        content = file("recipe.toml").read_bytes()
        recipe = unseal(content)
        if result.files and recipe.encode() == content:  # of a version that seals recipes
            raise ValueError("its first line, its SHA-256, is damaged")
    drawn = drawn or draw_figures(run, result, out)
    values = {
        "result": result,
        "data": result.data.model_dump(mode="json", exclude={"sha256", "class_names", "form"}, exclude_none=True),
        "metrics": drawn.metrics,
        "figures": drawn.figures,
        "classes": _class_rows(drawn.metrics, drawn.class_names),
        "recipe": recipe.strip(),
        "run": shlex.quote(str(run)),
    }
    return write_page((out or run) / REPORT, "run.html", values)


def draw_figures(run: Path, result: Result | None = None, out: Path | None = None) -> Drawn:
    """Draws `figures/*.png` of an evaluated run; `result.json` need not exist yet.

    Args:
        run: a run folder with `metrics.jsonl`, `evaluation.npz` and, except in runs of version 0.1, `inspection.npz`.
        result: the run's result, if it is finished, whose digests the files must have.
        out: the folder in which `figures` is made; by default the run's.

    Raises:
        InputError: a file is missing or damaged.
    """
    with intact_files(run, result) as file:
        history = load_history(file(HISTORY).parent)
        if not history:
            raise ValueError("no finished epoch")
        evaluation = Evaluation.read(file(EVALUATION).parent)
        metrics = measure(evaluation.labels, evaluation.probabilities, float(evaluation.loss))
        inspection = Inspection.read(file(INSPECTION).parent)
    names: list[str] = evaluation.class_names.tolist()
    index = evaluation.mistake_index
    labels, probabilities = evaluation.labels[index], evaluation.probabilities[index]
    predictions, confidences = probabilities.argmax(axis=1), probabilities.max(axis=1, initial=0)
    figures = {
        "learning_curves": charts.learning_curves(history),
        "confusion_matrix": charts.confusion(metrics.confusion, names),
        "per_class": charts.per_class(metrics.recall, metrics.precision, metrics.confusion.sum(axis=1), names),
        "mistakes": pictures.mistakes(evaluation.mistake_images, labels, predictions, confidences, names),
        "calibration": charts.calibration_curve(metrics.calibration),
    }
    if inspection:
        figures |= _inspection_figures(inspection)
    return Drawn(save_figures(figures, (out or run) / "figures"), metrics, names)


def _inspection_figures(inspection: Inspection) -> "dict[str, Figure]":
    figures: dict[str, Figure] = {}
    if inspection.first_weights is not None:
        _, height, width = inspection.first_weights.shape
        title = f"{inspection.first_layer}, {height} x {width}"
        figures["first_weights"] = pictures.first_weights(inspection.first_weights, title)
    if inspection.originals is not None and inspection.augmented is not None:
        figures["augmented"] = pictures.augmented(inspection.originals, inspection.augmented)
    if inspection.picture is not None:
        figures["feature_maps"] = pictures.feature_maps(inspection.picture, inspection.maps)
    return figures


def _class_rows(metrics: Metrics, names: Sequence[str]) -> list[list[Any]]:
    wrong = metrics.confusion * ~np.eye(len(names), dtype=bool)
    rows: list[list[Any]] = []
    for row, predicted in zip(metrics.to_dict(names)["per_class"], wrong, strict=True):
        percentages = [100 * row[key] for key in ("recall", "precision", "f1")]
        top = f"{names[int(predicted.argmax())]} ({int(predicted.max()):,})" if predicted.any() else "-"
        rows.append([row["class"], row["count"], *percentages, top])
    return rows
