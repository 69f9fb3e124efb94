"""Evaluates a run or an exported model, on the data it was trained on or on other data."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tfmnist.artifacts.versions import read_card
from tfmnist.data.sources import check_source
from tfmnist.errors import InputError
from tfmnist.nn.metrics import Metrics, recalibrate
from tfmnist.recipe import LOSS_KINDS, Data, Recipe
from tfmnist.runs.saved import find_model

SplitName = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class EvaluationPlan:
    """A model, and the data to evaluate it on."""

    model: Path  # the version's folder
    class_names: tuple[str, ...]
    data: Data
    split: SplitName
    seed: int
    sha256: str  # that the data must have; empty for any
    loss: str  # that the model was trained with

    def evaluate(self) -> Metrics:
        """Loads the data and the model, and evaluates the model; with cross-entropy if its loss was user-defined.

        On validation examples, the metrics say what would improve the model's calibration.

        Raises:
            InputError: the data do not fit the model, have changed since it was trained, or lack the split.
        """
        from tfmnist.artifacts.exported import Exported
        from tfmnist.runs.build import load_unchanged
        from tfmnist.training.evaluation import outputs

        digits = load_unchanged(self.data, self.class_names, self.seed, self.sha256)
        split = getattr(digits, self.split)
        if not len(split):
            raise InputError(f"{digits.source}: its {self.split} split is empty; choose another with --split.")
        model = Exported(self.model)
        measured = outputs(model, split, self.known_loss, temperature=model.temperature)
        if self.split != "validation":
            return measured.metrics
        better = recalibrate(split.labels, measured.probabilities, model.temperature)
        return replace(measured.metrics, recalibration=better)

    @property
    def own_loss(self) -> str:
        """The user-defined loss that the model was trained with, which it does not contain; empty for ours."""
        return "" if self.loss in LOSS_KINDS else self.loss

    @property
    def known_loss(self) -> str:
        """The loss to evaluate it with: its own, or cross-entropy if that was user-defined."""
        return "cross_entropy" if self.own_loss else self.loss


def plan_evaluation(path: str | Path, data: str = "", split: SplitName = "test") -> EvaluationPlan:
    """Finds a model and the data for it, without importing TensorFlow.

    Args:
        path: the folder of a run or of an exported model.
        data: a data source; by default the one that the model was trained on.
        split: the split of the data to evaluate on.

    Raises:
        InputError: there is no model or no such source, or the model does not say what it was trained on.
    """
    model = find_model(path)
    card = read_card(model)
    run = model.resolve().parents[1]
    has_run = model.is_dir() and (run / "recipe.toml").is_file()
    recipes = [card.recipe] if card.recipe else [member["recipe"] for member in card.members or []]
    if not recipes and not data:
        raise InputError(f"{model}: does not say what it was trained on; name the data to evaluate on with --data.")
    recipe, *others = [Recipe.load_run(run)] if has_run else [Recipe.model_validate(r) for r in recipes or [{}]]
    drawn = {(other.data, other.train.seed) for other in (recipe, *others)}
    if len(drawn) > 1 and split != "test" and not data:
        raise InputError(f"{model}: its members were trained on different examples; evaluate it on --split test.")
    source = recipe.data.source
    if not (data or has_run or source == "mnist" or Path(source).is_absolute()):  # cards of version 0.1 have the path
        raise InputError(
            f"{model}: was trained on {source!r}, but does not say where that is; name the data with --data."
        )
    section, digest = recipe.data, "" if data or not card.data else card.data["sha256"]
    if data:
        held_out = section.validation if split != "test" else 0
        section = Data(
            source=data,
            validation=held_out,
            test_share=section.test_share,
            skip_broken=section.skip_broken,
            transpose=section.transpose and data == source,  # how other data lie is not known
        )
    check_source(section.source)
    return EvaluationPlan(model, card.class_names, section, split, recipe.train.seed, digest, card.loss)
