"""The command line: one short function a command. TensorFlow is imported only by what computes."""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from tfmnist.cli.options import DEFAULT_RECIPE
from tfmnist.cli.process import tensorflow_quietly
from tfmnist.errors import InputError, TfmnistError
from tfmnist.recipe import Data, Recipe, shipped_recipes
from tfmnist.runs.folder import is_trained

ModelPath = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_OR_MODEL")]
AsJson = Annotated[bool, tyro.conf.arg(name="json")]


def _judge(path: str) -> None:
    """Finishes a run that a sweep has trained: only one that is asked for reads the test set, and is exported."""
    if is_trained(Path(path)):
        print(f"{path}: trained in a sweep; judging it on the test set and exporting it", file=sys.stderr)
        with tensorflow_quietly():
            from tfmnist.runs.train import resume
        resume(path)


def evaluate(
    model: ModelPath,
    data: str = "",
    split: Literal["train", "validation", "test"] = "test",
    as_json: AsJson = False,
) -> None:
    """Measures a run or an exported model on a data set.

    Args:
        model: Folder of a run or of an exported model.
        data: A data source, as in train's --data.source; by default the one that the model was trained on.
        split: Which of its splits.
        as_json: Print JSON.
    """
    from tfmnist.artifacts.versions import find_version, read_card
    from tfmnist.data.sources import check_source
    from tfmnist.runs.build import load_labelled

    _judge(model)
    version = find_version(model)
    card = read_card(version)
    if card.recipe is None and not data:
        raise InputError(f"{version}: does not say what it was trained on; give the data to measure it on by --data.")
    recipe = Recipe.model_validate(card.recipe or {})
    section, names = recipe.data, card.class_names
    if data:
        held = recipe.data.validation if split != "test" else 0
        section = Data(source=data, validation=held, test_share=section.test_share, skip_broken=section.skip_broken)
    check_source(section.source)
    with tensorflow_quietly():  # before the data: many pictures are decoded by TensorFlow
        from tfmnist.artifacts.exported import Exported
        from tfmnist.training.evaluation import evaluate as measure

    digits = load_labelled(section, names, recipe.train.seed)
    if not data and digits.sha256 != (card.data or {})["sha256"]:
        raise InputError(
            f"{digits.source}: holds other data than the model was trained on; name it by --data if it is meant."
        )
    if not len(getattr(digits, split)):
        raise InputError(f"{digits.source}: its {split} split is empty; choose another with --split.")
    exported = Exported(version)
    metrics = measure(exported, getattr(digits, split), exported.loss)
    if as_json:
        print(
            json.dumps(
                {"model": str(version), "data": digits.source, "split": split, **metrics.to_dict(exported.class_names)}
            )
        )
        return
    from tfmnist.cli.run_screen import show_metrics

    show_metrics(metrics, exported.class_names, f"{version} on {digits.source}, {split}")


def predict(
    model: ModelPath,
    images: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE...")],
    show: Annotated[str, tyro.conf.arg(metavar="FILE.png")] = "",
    split_digits: bool = False,
    as_json: AsJson = False,
) -> None:
    """Classifies picture files, PNG or JPEG, a user's own photos among them.

    A picture may have any size, dark ink on light paper or light on dark: it is levelled, cropped and centred first.

    Args:
        model: Folder of a run or of an exported model.
        images: Picture files, each of one digit.
        show: Draw the picture, what the model saw of it, and the probabilities.
        split_digits: Read a picture of several digits as a number, from left to right.
        as_json: Print JSON, one object a picture.
    """
    from tfmnist.artifacts.versions import find_version
    from tfmnist.photos.files import read_photo

    if not images:
        raise InputError("predict needs at least one picture: tfmnist predict RUN_OR_MODEL digit.png")
    if show and (len(images) > 1 or not show.lower().endswith(".png")):
        raise InputError(f"--show {show}: expected one .png file, for one picture; {len(images)} are given.")
    contents = [read_photo(path) for path in images]
    _judge(model)
    version = find_version(model)
    with tensorflow_quietly():
        from tfmnist.artifacts.exported import Exported
        from tfmnist.artifacts.photo_predictions import read_pictures

    exported = Exported(version)
    problems: list[str] = []
    for path, reading in zip(images, read_pictures(exported, images, contents, split_digits)):
        if reading.problem:
            problems.append(f"{path}: {reading.problem}")
            continue
        print(json.dumps({"image": path, **reading.to_dict()}) if as_json else f"{path}: {reading}")
        if show:
            from tfmnist.reports.pictures import prediction
            from tfmnist.reports.style import save
            from tfmnist.system.pictures import read_colour

            shown = read_colour(contents[0], side=800)
            figure = prediction(shown, reading.seen, reading.probabilities, exported.class_names)
            save(figure, show)
    for problem in problems[:-1]:
        print(f"tfmnist: {problem}", file=sys.stderr)
    if problems:
        raise InputError(problems[-1])


def export(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    dest: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DEST")],
    format: Literal["savedmodel"] = "savedmodel",
) -> None:
    """Writes a run's model as the next version of a model folder.

    Args:
        run: Folder of a finished run.
        dest: The model's folder; gets a sub-folder 1, or the next number, that appears whole or not at all.
        format: What to write.
    """
    Recipe.load_run(run)
    _judge(run)
    with tensorflow_quietly():
        from tfmnist.runs.export import export as write

    print(write(run, dest))


def report(run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_OR_SWEEP")]) -> None:
    """Writes the report.html and figures of a run, or of a sweep, again.

    Args:
        run: Folder of a finished run, or of a sweep, which may be under way.
    """
    if (Path(run) / "sweep.toml").exists():
        from tfmnist.sweeps.report import write_sweep_report as write
    else:
        from tfmnist.runs.report import write_report as write

        _judge(run)
    print(write(Path(run)))


def gradients(
    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")] = DEFAULT_RECIPE,
    examples: int = 20,
    samples: int = 50,
) -> None:
    """Shows the gradient three times over: by the tape, by the formulas written out, by differences.

    All are computed in float64, at the recipe's initial weights. Exit code 1 where they differ by more than 1e-6.

    Args:
        recipe: A shipped recipe or the path of a .toml file; its model is an mlp with relu, sigmoid or tanh.
        examples: Number of training examples in the batch.
        samples: Entries of each variable that are held against central differences.
    """
    loaded = Recipe.load(recipe)
    if examples < 1 or samples < 1:
        raise InputError(f"--examples {examples} --samples {samples}: expected at least 1 of each.")
    with tensorflow_quietly():
        from tfmnist.cli.run_screen import show_gradients
        from tfmnist.runs.build import compare_gradients

    worst = show_gradients(loaded.name, examples, compare_gradients(loaded, examples, samples))
    if not worst <= 1e-6:
        raise TfmnistError(f"the gradients differ by {worst:.1e} of the largest, more than 1e-6.")


def pictures(
    dest: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DEST")],
    data: str = "mnist",
) -> None:
    """Writes a data set as picture files, DEST/train/<class>/*.png and DEST/test/<class>/*.png.

    Args:
        dest: A new folder; it appears whole or not at all.
        data: A data source, as in train's --data.source.
    """
    from tfmnist.data.convert import write_folder
    from tfmnist.data.sources import load

    for reading in write_folder(load(data, validation=0), Path(dest)):
        if sys.stdout.isatty():
            print(f"\r{reading.done:,}/{reading.total:,} pictures", end="", flush=True)
    print(f"\r{dest}\x1b[K" if sys.stdout.isatty() else dest)


def recipes() -> None:
    """Lists the shipped recipes with their expected accuracy and time."""
    found = [Recipe.load(name) for name in shipped_recipes()]
    width = max(len(recipe.name) for recipe in found)
    for recipe in found:
        print(f"{recipe.name:<{width}}  {recipe.about.summary}")
        print(f"{'':<{width}}  {recipe.about.accuracy}; {recipe.about.time}")
