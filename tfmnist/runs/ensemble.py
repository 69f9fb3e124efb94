"""Exports several runs as one model that averages their probabilities."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tfmnist.artifacts.card import ModelCard
from tfmnist.errors import InputError
from tfmnist.nn.ensemble import Ensemble
from tfmnist.nn.losses import scores
from tfmnist.nn.runtime import check_runtime
from tfmnist.photos.normalize import ImageFormat
from tfmnist.recipe import Recipe
from tfmnist.runs.build import load_unchanged
from tfmnist.runs.export import load_network, make_card, versions, with_confidence, write_as
from tfmnist.runs.folder import follow_link
from tfmnist.runs.own_code import name_of
from tfmnist.runs.portable import Format, check_destination
from tfmnist.runs.result import Result
from tfmnist.training.evaluation import outputs


def ensemble(
    runs: Sequence[str | Path],
    destination: str | Path,
    *,
    format: Format = "savedmodel",
    temperature: float | None = None,
    threshold: float | None = None,
) -> Path:
    """Writes one model that averages the probabilities of several runs: the next version in a model folder.

    Its logits are the logarithm of the mean probabilities. Each member's probabilities are those of its own export.

    Args:
        runs: the folders of two or more finished runs, trained on the same data.
        destination: as for `tfmnist.export`.
        format: as for `tfmnist.export`.
        temperature: above 0: by which the logits are divided before they become probabilities; by default 1.
        threshold: 0 to 1: probability from which an answer counts as sure; by default 0, so that all do.

    Returns:
        The folder of the new version, or the file.

    Raises:
        InputError: there are fewer than two runs, one of them is not finished, they are of different data, or what
            `tfmnist.export` raises.
    """
    confidence = {"temperature": temperature, "threshold": threshold}
    return ensemble_checked(runs, Path(destination), format, **confidence)[0]


def ensemble_checked(
    runs: Sequence[str | Path], destination: Path, format: Format, **confidence: float | None
) -> tuple[Path, list[str]]:
    """Like `ensemble`; also returns lines to print: the accuracy, and the checks of ONNX or LiteRT files."""
    check_runtime()
    check_destination(destination, format)
    paths = [follow_link(run) for run in runs]
    if len({path.resolve() for path in paths}) < max(2, len(paths)):
        raise InputError(f"runs is {[str(run) for run in runs]}: expected two or more, each once.")
    recipes, results = [Recipe.load_run(path) for path in paths], [Result.read(path) for path in paths]
    recipe, data = recipes[0], results[0].data
    for path, result in zip(paths, results):
        if (result.data.sha256, result.data.class_names) != (data.sha256, data.class_names):
            raise InputError(
                f"{path}: was trained on {result.data.source} ({result.data.sha256[:12]}...), {paths[0]} on "
                f"{data.source} ({data.sha256[:12]}...); expected runs on the same data."
            )
    functions = [partial(scores, name_of(r.loss.kind), temperature=r.export.temperature) for r in recipes]
    network = Ensemble([load_network(path) for path in paths], functions)
    digits = load_unchanged(recipe.data, data.class_names, recipe.train.seed, data.sha256)
    metrics = outputs(network, digits.test).metrics
    cards = [make_card(r, result, ImageFormat.from_dict(data.form or {})) for r, result in zip(recipes, results)]
    about: dict[str, Any] = {
        "test_accuracy": metrics.accuracy,
        "test_accuracy_ci95": list(metrics.accuracy_ci95),
        "test_loss": metrics.loss,
        "parameters": network.parameter_count,
        "weights_sha256": network.sha256(),
    }
    card = ModelCard(
        loss="cross_entropy",
        members=[{"recipe": card.recipe, "result": card.result} for card in cards],
        result=about,
        data={name: value for name, value in (cards[0].data or {}).items() if name not in ("train", "validation")},
        versions=versions(),
        form=cards[0].form,
        image_shape=network.image_shape,
        class_names=data.class_names,
    )
    path, checks = write_as(format, destination, network, with_confidence(card, **confidence), digits)
    right = f"{metrics.accuracy:.2%} of {metrics.count:,} test images ({metrics.count - metrics.correct:,} wrong)"
    return path, [f"{len(paths)} runs, {right}", *checks]
