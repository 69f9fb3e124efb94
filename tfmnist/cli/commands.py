"""One short function per command: it parses, calls the package and prints. `train` and `sweep` have their own modules.

TensorFlow is imported only where it is needed, after the checks that can do without it.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from tfmnist.cli.options import DEFAULT_RECIPE
from tfmnist.cli.process import tensorflow_quietly
from tfmnist.errors import InputError, TfmnistError, printable
from tfmnist.recipe import Recipe, read_shipped, shipped_recipes
from tfmnist.system.machine import compute_in_one_thread

ModelPath = Annotated[str, Positional, arg(metavar="RUN_OR_MODEL", help="Folder of a run or of an exported model.")]
ExportFormat = Annotated[Literal["savedmodel", "onnx", "litert"], arg(help="The format to write.")]
Temperature = Annotated[
    float | None,
    arg(
        metavar="NUMBER",
        help="Divide logits by this before they become probabilities; by default as the recipe says.",
        help_behavior_hint="",
    ),
]
Threshold = Annotated[
    float | None,
    arg(
        metavar="NUMBER",
        help="Call answers below this probability 'not sure'; by default as the recipe says.",
        help_behavior_hint="",
    ),
]
AsJson = Annotated[bool, arg(name="json", help="Print JSON.")]


def evaluate(
    model: ModelPath,
    data: Annotated[str, arg(metavar="SOURCE", help_behavior_hint="")] = "",
    split: Literal["train", "validation", "test"] = "test",
    photos: bool = False,
    as_json: AsJson = False,
) -> None:
    """Evaluates a run or an exported model on a data set.

    Args:
        data: A data source, as in train --data; by default the one that the model was trained on.
        split: The split of the data to evaluate on.
        photos: The data are labelled photos of any size: read them as predict does.
    """
    from tfmnist.runs.evaluate import plan_evaluation

    if photos:
        from tfmnist.data.convert import open_photos

        if not data:
            raise InputError("--photos needs labelled photos; name their folder with --data FOLDER.")
        open_photos(data)
    finish(model)
    plan = plan_evaluation(model, data, split)
    with tensorflow_quietly():
        import tfmnist.runs.build  # noqa: F401
    if photos:
        from tfmnist.artifacts.exported import Exported
        from tfmnist.runs.photo_evaluation import evaluate_photos

        evaluation = evaluate_photos(Exported(plan.model), data, split, plan.known_loss)
        metrics, split_name = evaluation.read, evaluation.part
    else:
        evaluation, metrics, split_name = None, plan.evaluate(), split
    if as_json:
        values = metrics.to_dict(plan.class_names)
        if plan.own_loss:
            values = {"cross_entropy" if key == "loss" else key: value for key, value in values.items()}
            values["trained_with"] = plan.own_loss
        values = {**evaluation.to_dict(), "read": values} if evaluation else values
        print(json.dumps({"model": str(plan.model), "data": plan.data.source, "split": split_name, **values}))
        return
    from tfmnist.cli.tables import show_metrics, show_photos

    title = f"{plan.model} on {plan.data.source}, {split_name}"
    if evaluation:
        show_photos(evaluation, title)
        title = "The photos that were read:"
    show_metrics(metrics, plan.class_names, title, plan.own_loss)


def predict(
    model: ModelPath,
    images: Annotated[tuple[str, ...], Positional, arg(metavar="IMAGE...", help_behavior_hint="")],
    show: Annotated[str, arg(metavar="FILE.png", help_behavior_hint="")] = "",
    split_digits: bool = False,
    as_json: AsJson = False,
) -> None:
    """Classifies picture files, such as your own photos.

    What cannot be read is named at the end, and makes the exit code 2.

    Args:
        images: Pictures of one digit each, dark on light or light on dark, or folders of them: PNG, JPEG, BMP, GIF,
            TIFF or WebP of any size.
        show: Draw the picture, what the model saw of it, and the probabilities into this file.
        split_digits: Read each picture as a number of several digits, from left to right.
    """
    from tfmnist.photos.files import AT_ONCE, list_photos, read_photo
    from tfmnist.runs.saved import find_model

    paths = [path for image in images for path in list_photos(image)]
    if not paths:
        raise InputError("predict needs at least one picture: tfmnist predict RUN_OR_MODEL digit.png")
    if show and (len(paths) > 1 or not show.lower().endswith(".png")):
        raise InputError(f"--show {show}: expected a .png file, for one picture ({len(paths)} given).")
    # a single one is read before TensorFlow is imported
    contents = {path: read_photo(path) for path in paths} if len(paths) == 1 else {}
    finish(model)
    version = find_model(model)
    if len(paths) < AT_ONCE:
        compute_in_one_thread()
    with tensorflow_quietly():
        from tfmnist.artifacts.exported import Exported
        from tfmnist.artifacts.photo_predictions import read_files

    exported = Exported(version)
    problems: list[str] = []
    for path, prediction in read_files(exported, paths, split_digits, contents):
        if problem := prediction.problem:
            problems.append(problem if problem.startswith(path) else f"{path}: {problem}")
            continue
        print(json.dumps({"image": path, **prediction.to_dict()}) if as_json else f"{printable(path)}: {prediction}")
        if show:
            from tfmnist.reports import pictures, style
            from tfmnist.system.pictures import read_colour

            picture = read_colour(contents[path], side=800)
            figure = pictures.prediction(picture, prediction.seen, prediction.probabilities, exported.class_names)
            style.save(figure, show)
    for problem in problems[:-1]:
        print(f"tfmnist: {printable(problem)}", file=sys.stderr)
    if problems:
        raise InputError(problems[-1])


def export(
    run: Annotated[str, Positional, arg(metavar="RUN")],
    dest: Annotated[str, Positional, arg(metavar="DEST")],
    format: ExportFormat = "savedmodel",
    temperature: Temperature = None,
    threshold: Threshold = None,
) -> None:
    """Writes a run's model as a SavedModel, as ONNX or for LiteRT.

    ONNX and LiteRT are checked on all test images, and their accuracy is printed.

    Args:
        run: Folder of a finished run.
        dest: The model folder; gets a subfolder 1, or the next number, which appears only when complete. For onnx and
            litert also a file, which is replaced: x.onnx; or x.tflite in float32 and x_int8.tflite in 8-bit integers.
    """
    Recipe.load_run(run)
    finish(run)
    with tensorflow_quietly():
        from tfmnist.runs.export import export_checked

    path, checks = export_checked(run, Path(dest), format, temperature=temperature, threshold=threshold)
    print("\n  ".join([str(path), *checks]))


def ensemble(
    runs: Annotated[tuple[str, ...], Positional, arg(metavar="RUN... DEST", help_behavior_hint="")],
    format: ExportFormat = "savedmodel",
    temperature: Temperature = None,
    threshold: Threshold = None,
) -> None:
    """Writes one model that averages the probabilities of several runs.

    Prints its accuracy on the test set that the runs share.

    Args:
        runs: Folders of two or more finished runs on the same data; then the model folder, as for export.
    """
    *members, dest = runs or ("",)
    if len(members) < 2:
        raise InputError("ensemble needs two or more runs, then a model folder: tfmnist ensemble RUN RUN DEST")
    if (Path(dest) / "recipe.toml").is_file():
        raise InputError(f"{dest}: is a run, expected a model folder to write; name it after the runs.")
    for member in members:
        Recipe.load_run(member)
        finish(member)
    with tensorflow_quietly():
        from tfmnist.runs.ensemble import ensemble_checked

    path, checks = ensemble_checked(members, Path(dest), format, temperature=temperature, threshold=threshold)
    print("\n  ".join([str(path), *checks]))


def report(
    run: Annotated[str, Positional, arg(metavar="RUN_OR_SWEEP")],
    out: Annotated[str, arg(metavar="FOLDER", help_behavior_hint="")] = "",
) -> None:
    """Rewrites report.html and the figures of a run or a sweep.

    Args:
        run: Folder of a finished run, or of a sweep, which may still be running.
        out: Folder for the report and its figures; by default that of the run or sweep.
    """
    folder = Path(out or run)
    if (Path(run) / "sweep.toml").exists():
        from tfmnist.sweeps.report import write_sweep_report as write
    else:
        from tfmnist.runs.report import write_report as write

        finish(run)
    try:
        page = write(Path(run), out=folder)
    except OSError as error:
        reason = f"cannot write the report there: {error.strerror}"
        raise InputError(f"{folder}: {reason}; choose another folder with --out FOLDER.") from error
    print(page)


def runs(
    folder: Annotated[str, Positional, arg(metavar="[FOLDER]", help_behavior_hint="")] = "runs",
    as_json: AsJson = False,
) -> None:
    """Lists runs side by side: accuracy, epochs, seconds, differences.

    The most recent run comes last.

    Args:
        folder: A folder of runs, or of a sweep's trials; runs by default. A run of a shipped recipe shows what it
            changed in that recipe; runs of your own recipes show how they differ from each other.
    """
    from tfmnist.runs.overview import list_runs

    found = list_runs(folder)
    if as_json:
        print(json.dumps([run.to_dict() for run in found]))
        return
    from tfmnist.cli.overview_screen import show_runs

    show_runs(found)


def info(model: ModelPath, as_json: AsJson = False) -> None:
    """Describes a run or an exported model, and checks its files."""
    from tfmnist.artifacts.versions import read_card
    from tfmnist.runs.overview import describe

    run, exported = describe(model)
    if as_json:
        files = exported.to_dict() if exported else {}
        print(json.dumps({**run.to_dict(), "model": files or None} if run else files))
    else:
        from tfmnist.cli.overview_screen import show_model, show_run

        if run:
            show_run(run, exported)
        elif exported:
            show_model(exported)
    if exported:
        read_card(exported.version)  # raises an error unless all files are as they were written


def gradients(
    recipe: Annotated[str, Positional, arg(metavar="[RECIPE]")] = DEFAULT_RECIPE,
    examples: int = 20,
    samples: int = 50,
) -> None:
    """Compares gradients by tape, by formulas and by finite differences.

    The exit code is 1 if any two differ by more than 1e-6, computed in float64.

    Args:
        recipe: A shipped recipe or a .toml file: an mlp with relu, sigmoid or tanh, at its initial weights.
        examples: Number of training examples in the batch.
        samples: Number of entries per variable to compare with central differences.
    """
    loaded = Recipe.load(recipe)
    if examples < 1 or samples < 1:
        raise InputError(f"--examples {examples} --samples {samples}: expected at least 1 of each.")
    with tensorflow_quietly():
        from tfmnist.cli.tables import show_gradients
        from tfmnist.runs.build import compare_gradients

    largest = show_gradients(loaded.name, examples, compare_gradients(loaded, examples, samples))
    if not largest <= 1e-6:
        raise TfmnistError(f"the gradients differ by {largest:.1e} of the largest, more than 1e-6.")


def pictures(
    dest: Annotated[str, Positional, arg(metavar="DEST")],
    data: Annotated[str, arg(metavar="SOURCE")] = "mnist",
) -> None:
    """Writes a data set as PNG files, in one folder per class.

    Args:
        dest: A new folder, which appears only when complete; gets train/<class>/*.png and test/<class>/*.png.
        data: A data source, as in train --data.
    """
    from tfmnist.data.convert import write_folder
    from tfmnist.data.sources import load

    for progress in write_folder(load(data, validation=0), Path(dest)):
        if sys.stdout.isatty():
            print(f"\r{progress.done:,}/{progress.total:,} pictures", end="", flush=True)
    print(f"\r{dest}\x1b[K" if sys.stdout.isatty() else dest)


def recipes(name: Annotated[str, Positional, arg(metavar="[NAME]", help_behavior_hint="")] = "") -> None:
    """Lists the shipped recipes, or prints one.

    Args:
        name: A shipped recipe, printed as it is; or a .toml file, printed with every key, including those it extends.
    """
    if name.endswith(".toml"):
        print(Recipe.load(name).to_toml(), end="")
    elif name:
        sys.stdout.flush()
        sys.stdout.buffer.write(read_shipped(name))  # bytes, whatever the terminal's encoding
    else:
        loaded = [Recipe.load(name) for name in shipped_recipes()]
        width = max(len(recipe.name) for recipe in loaded)
        for recipe in loaded:
            print(f"{recipe.name:<{width}}  {recipe.about.summary}")
            print(f"{'':<{width}}  {recipe.about.accuracy}; {recipe.about.time}")
        print("\n'tfmnist recipes NAME' prints a recipe.")


def finish(path: str) -> None:
    """Evaluates and exports a run that a sweep has only trained."""
    from tfmnist.runs.folder import is_trained

    if is_trained(Path(path)):
        print(f"{path}: trained but not evaluated yet; evaluating it on the test set and exporting it", file=sys.stderr)
        with tensorflow_quietly():
            from tfmnist.runs.train import resume
        resume(path, progress=False)
