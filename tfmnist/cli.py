"""The command line: one short function a command. TensorFlow is imported only by what computes."""

import contextlib
import gc
import inspect
import io
import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal

import tyro

from tfmnist.errors import InputError, TfmnistError, did_you_mean
from tfmnist.options import DEFAULT_RECIPE, as_in_toml, parse_train, recipe_of
from tfmnist.recipe import Data, Recipe, shipped_recipes
from tfmnist.run_folder import is_trained, make_folder_at

ModelPath = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_OR_MODEL")]
AsJson = Annotated[bool, tyro.conf.arg(name="json")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; an error that a user can meet is one line on standard error."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's own log; what fails comes as an exception
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a class name must not end a run on a terminal without its letters
    try:
        return _dispatch(words)
    except TfmnistError as error:
        print(f"tfmnist: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # the reader of the output, head say, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        wrong_place = isinstance(error, PermissionError | NotADirectoryError | IsADirectoryError | FileNotFoundError)
        remedy = "; choose another place, or change its permissions." if wrong_place else ""
        print(f"tfmnist: {where}{error.strerror or error}{remedy}", file=sys.stderr)
        return 2 if wrong_place else 1
    except Exception as error:
        if not isinstance(error, MemoryError) and type(error).__name__ != "ResourceExhaustedError":
            raise
        print(
            "tfmnist: out of memory: make the network or the batch smaller (model.hidden, train.batch_size)",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("tfmnist: interrupted", file=sys.stderr)
        return 130


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0 if words else 2
    if words[0] == "--version":
        from tfmnist import __version__

        print(f"tfmnist {__version__}")
        return 0
    name, rest = words[0], words[1:]
    if "" in rest:
        raise InputError(f"tfmnist {name}: an argument is empty; expected a value (a shell variable that is not set?)")
    if name not in COMMANDS:
        raise InputError(f"command {name!r} does not exist{did_you_mean(name, COMMANDS)} See tfmnist --help.")
    if name == "train":
        train(rest)
    else:
        tyro.cli(COMMANDS[name], prog=f"tfmnist {name}", args=rest)
    return 0


@contextlib.contextmanager
def _tensorflow_quietly() -> Iterator[None]:
    """Keeps off the screen what TensorFlow logs while it is imported, which none of its settings does; and Keras out.

    TensorFlow imports Keras, and with it a plotting library, only to offer them: without, most of a second is saved.
    """
    if "tensorflow" not in sys.modules:
        sys.modules.setdefault("keras", None)  # type: ignore[arg-type]
    gc.disable()  # an import leaves a million objects and no garbage: a fifth of its time went into looking for some
    sys.stderr.flush()
    if sys.stdout.isatty():
        print("starting TensorFlow", end="", flush=True)
    kept = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(kept, 2)
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace"))
            raise
        finally:
            gc.freeze()
            gc.enable()
            os.dup2(kept, 2)
            os.close(kept)
            if sys.stdout.isatty():
                print("\r\x1b[2K", end="", flush=True)


def _usage() -> str:
    lines = [f"  {name:<9} {(inspect.getdoc(command) or '').splitlines()[0]}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: tfmnist COMMAND [ARGUMENTS]\n",
            "Handwritten-digit recognition with low-level TensorFlow.\n",
            *lines,
            "\n'tfmnist COMMAND --help' says more of each; 'tfmnist --version' prints the version.",
        ]
    )


def train(words: list[str]) -> None:
    """Trains a recipe, evaluates it on the test set and exports the model."""
    words, summary = as_in_toml(words), inspect.getdoc(train) or ""
    default = Recipe.load(DEFAULT_RECIPE)
    try:
        asked = parse_train(words, default, summary)
    except InputError:  # --model.kind cnn, say, which the recipe asked for may have the layers for
        asked = parse_train(words, default.replace({"model.layers": ["flatten"]}), summary)
    if asked.resume:
        if asked.run_dir or asked.recipe or asked.init_from:
            raise InputError("--resume takes no recipe, --run-dir or --init-from: a run has its own; leave them out.")
        run_dir, own = asked.resume, Recipe.load_run(asked.resume)
        recipe = recipe_of(parse_train(words, own, summary), own)
        if fixed := [key for key in recipe.changed_from(own) if key != "train.epochs"]:
            raise InputError(f"--{fixed[0]} cannot change in a resumed run, only --train.epochs can; start a new run.")
        return _follow("resume_events", run_dir, recipe.train.epochs, recipe=recipe, profiled=asked.profile)
    if asked.init_from and not asked.recipe:
        base = Recipe.load_run(asked.init_from).replace({"model.init_sha256": "", "model.freeze": ()})
    else:
        base = Recipe.load(asked.recipe or DEFAULT_RECIPE)
    recipe = recipe_of(parse_train(words, base, summary), base).honest(base)
    run_dir = asked.run_dir or None
    from tfmnist.data.sources import check_source
    from tfmnist.files import check_new_folder

    check_source(recipe.data.source)  # these two before TensorFlow's seconds
    check_new_folder(run_dir)
    _follow("run_events", recipe, run_dir, recipe=recipe, profiled=asked.profile)


def _follow(start: str, *arguments: Any, recipe: Recipe, profiled: bool) -> None:
    """Draws a run's events until it ends."""
    with _stoppable() as stop:
        from tfmnist.report_process import ReportProcess
        from tfmnist.training.compiled_code import compiled_code

        drawing = ReportProcess() if recipe.export.report else contextlib.nullcontext()
        with compiled_code(recipe), drawing as reporter:
            with _tensorflow_quietly():
                from tfmnist import runs
                from tfmnist.screen import Screen

            started = getattr(runs, start)(*arguments, stop, reporter, alone=True, profiled=profiled)
            with Screen() as screen, contextlib.closing(started) as events:
                for event in events:
                    screen.show(event)


@contextlib.contextmanager
def _stoppable() -> Iterator[threading.Event]:
    """Gives what SIGTERM or SIGINT sets, so that what runs can save and stop; a second one ends it at once."""
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _judge(path: str) -> None:
    """Finishes a run that a sweep has trained: only one that is asked for reads the test set, and is exported."""
    if is_trained(Path(path)):
        print(f"{path}: trained in a sweep; judging it on the test set and exporting it", file=sys.stderr)
        with _tensorflow_quietly():
            from tfmnist.runs import resume
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
    from tfmnist.artifacts.folders import find_version, read_card
    from tfmnist.data.sources import check_source, load_labelled

    _judge(model)
    version = find_version(model)
    card = read_card(version)
    if "recipe" not in card and not data:
        raise InputError(f"{version}: does not say what it was trained on; give the data to measure it on by --data.")
    recipe = Recipe.model_validate(card.get("recipe", {}))
    section, names = recipe.data, card["class_names"]
    if data:
        held = recipe.data.validation if split != "test" else 0
        section = Data(source=data, validation=held, test_share=section.test_share, skip_broken=section.skip_broken)
    check_source(section.source)
    with _tensorflow_quietly():  # before the data: many pictures are decoded by TensorFlow
        from tfmnist.artifacts.saved_model import Exported
        from tfmnist.training.evaluation import evaluate as measure

    digits = load_labelled(section, names, recipe.train.seed)
    if not data and digits.sha256 != card["data"]["sha256"]:
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
    from tfmnist.screen import show_metrics

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
    from tfmnist.artifacts.folders import find_version
    from tfmnist.data.pictures import read_bytes

    if not images:
        raise InputError("predict needs at least one picture: tfmnist predict RUN_OR_MODEL digit.png")
    if show and (len(images) > 1 or not show.lower().endswith(".png")):
        raise InputError(f"--show {show}: expected one .png file, for one picture; {len(images)} are given.")
    contents = [read_bytes(path) for path in images]
    _judge(model)
    version = find_version(model)
    with _tensorflow_quietly():
        from tfmnist.artifacts.saved_model import Exported
        from tfmnist.reading import read_pictures

    exported = Exported(version)
    problems: list[str] = []
    for path, reading in zip(images, read_pictures(exported, images, contents, split_digits)):
        if reading.problem:
            problems.append(f"{path}: {reading.problem}")
            continue
        print(json.dumps({"image": path, **reading.to_dict()}) if as_json else f"{path}: {reading}")
        if show:
            from tfmnist import plots
            from tfmnist.data.pictures import show_picture

            shown = show_picture(contents[0])
            figure = plots.prediction(shown, reading.seen, reading.probabilities, exported.class_names)
            plots.save(figure, show)
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
    with _tensorflow_quietly():
        from tfmnist.runs import export as write

    print(write(run, dest))


def report(run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_OR_SWEEP")]) -> None:
    """Writes the report.html and figures of a run, or of a sweep, again.

    Args:
        run: Folder of a finished run, or of a sweep, which may be under way.
    """
    if (Path(run) / "sweep.toml").exists():
        from tfmnist.sweeps.report import write_sweep_report as write
    else:
        from tfmnist.reports import write_report as write

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
    with _tensorflow_quietly():
        from tfmnist.runs import compare_gradients
        from tfmnist.screen import show_gradients

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
    from tfmnist.data.folders import write_folder
    from tfmnist.data.sources import load

    for reading in write_folder(load(data, validation=0), Path(dest)):
        if sys.stdout.isatty():
            print(f"\r{reading.done:,}/{reading.total:,} pictures", end="", flush=True)
    print(f"\r{dest}\x1b[K" if sys.stdout.isatty() else dest)


def sweep(
    sweep: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SWEEP.toml")],
    run_dir: str = "",
    workers: int = 0,
    threads: int = 1,
    pack: Literal["auto"] | int = "auto",
    storage: str = "",
    ray: str = "",
) -> None:
    """Searches recipes: trains many, and says which is best. The same command goes on with a sweep that was stopped.

    Args:
        sweep: The sweep's file: which keys of a recipe to search, in which ranges, how, and for how long.
        run_dir: Folder of the sweep and its trials; by default sweeps/<name of the file>.
        workers: Number of processes that train; 0 for one a processor, -1 to train in this one.
        threads: TensorFlow's threads in each.
        pack: How many trials that differ only in numbers may train together in each, in one graph; auto, or 1 for none.
        storage: URL of a database for the search, which several machines may share; by default a file in the folder.
        ray: Address of a Ray cluster whose processors train: HOST:PORT, auto, or local to begin one here.
    """
    from tfmnist.sweeps.space import Sweep

    asked = Sweep.load(sweep)
    from tfmnist.sweep_screen import SweepScreen
    from tfmnist.sweeps.packing import choose_pack
    from tfmnist.sweeps.report import write_sweep_report
    from tfmnist.sweeps.search import search_events

    packed = choose_pack(pack, asked.recipe, asked.search, asked.space)
    folder = Path(run_dir or f"sweeps/{asked.name}")
    executor = _make_executor(workers, threads, folder, packed, ray)
    with _stoppable() as stop, contextlib.closing(executor), SweepScreen(asked) as screen:
        for event in search_events(asked, folder, executor, storage=storage, stop=stop):
            screen.show(event)
    with contextlib.suppress(InputError):  # where no trial was begun in time there is nothing to draw
        print(f"report   {write_sweep_report(folder)}")


def _make_executor(workers: int, threads: int, folder: Path, pack: int, ray: str = "") -> Any:
    from tfmnist.sweeps.workers import make_executor

    executor = make_executor(workers, threads, folder, pack, ray)
    if workers == -1:  # this process will train
        with _tensorflow_quietly():
            from tfmnist import runs  # noqa: F401
    return executor


def study(
    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")] = DEFAULT_RECIPE,
    seeds: int = 5,
    run_dir: str = "",
    workers: int = 0,
    threads: int = 1,
    pack: Literal["auto"] | int = "auto",
    as_json: AsJson = False,
) -> None:
    """Trains one recipe with several seeds and says what it reaches: mean and standard deviation on the test set.

    Args:
        recipe: A shipped recipe or the path of a .toml file.
        seeds: How many; they are 0, 1, 2 and so on.
        run_dir: Folder of the study and its runs; by default studies/<recipe>. The same command goes on with it.
        workers: Number of processes that train; 0 for one a processor, -1 to train in this one.
        threads: TensorFlow's threads in each.
        pack: How many seeds may train together in each, in one graph; auto, or 1 for none.
        as_json: Print JSON.
    """
    loaded = Recipe.load(recipe)
    if seeds < 1:
        raise InputError(f"--seeds is {seeds}: expected 1 or more.")
    from tfmnist.sweep_screen import show_seed, show_study
    from tfmnist.sweeps.packing import choose_pack
    from tfmnist.sweeps.study import StudyResult, study_events

    packed = choose_pack(pack, loaded)
    folder = make_folder_at(Path(run_dir or f"studies/{loaded.name}"))
    executor = _make_executor(workers, threads, folder, packed)
    with _stoppable() as stop, contextlib.closing(executor):
        for event in study_events(loaded, range(seeds), folder, executor, stop=stop):
            if isinstance(event, StudyResult):
                print(json.dumps(event.to_dict()) if as_json else f"\n{show_study(event)}\n{event.path / 'study.json'}")
            elif not as_json:
                print(show_seed(event), flush=True)


def recipes() -> None:
    """Lists the shipped recipes with their expected accuracy and time."""
    found = [Recipe.load(name) for name in shipped_recipes()]
    width = max(len(recipe.name) for recipe in found)
    for recipe in found:
        print(f"{recipe.name:<{width}}  {recipe.about.summary}")
        print(f"{'':<{width}}  {recipe.about.accuracy}; {recipe.about.time}")


COMMANDS: dict[str, Callable[..., Any]] = {
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "export": export,
    "report": report,
    "gradients": gradients,
    "pictures": pictures,
    "sweep": sweep,
    "study": study,
    "recipes": recipes,
}
