"""Runs from start to finish: `run` and `resume`, and their events one by one."""

import os
import shlex
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfmnist.data.split import Digits
from tfmnist.errors import InputError, TfmnistError, faults_in_one_line
from tfmnist.nn.runtime import check_runtime
from tfmnist.recipe import Recipe
from tfmnist.runs.build import build_trainer, digest_of, load_events, make_model, make_objective
from tfmnist.runs.events import Clock, Event, Run
from tfmnist.runs.folder import check_new_folder, delete_folder, follow_link, locked, make_folder
from tfmnist.runs.own_code import errors_in_one_line, pin
from tfmnist.runs.result import Divergence, Result
from tfmnist.runs.screen import show_run
from tfmnist.runs.session import RunSession
from tfmnist.runs.transfer import start_from
from tfmnist.system.files import write_whole
from tfmnist.system.seals import seal
from tfmnist.training.checkpoint import list_checkpoints, restore_checkpoint
from tfmnist.training.loop import Trainer
from tfmnist.training.threads import choose_threads, set_threads

if TYPE_CHECKING:
    from tfmnist.training.distribute import Processes


def run(recipe: Recipe | str | Path = "mlp", run_dir: str | Path | None = None, *, progress: bool = True) -> Run:
    """Trains a recipe, evaluates it on the test set, exports it, and writes the run folder.

    XLA keeps what it compiles for as long as the process lives: 6 MB for each run of a small network. For hundreds of
    runs in one process, set `train.compile` to "graph", or start a study or a sweep, which replace their processes.

    Args:
        recipe: a recipe, the name of a shipped one, or the path of a `.toml` file.
        run_dir: a new or empty folder; by default `runs/<recipe>-<UTC time>`, to which `runs/newest` then points, and
            `runs/latest` once the run is finished.
        progress: whether to print what `tfmnist train` prints, with a live line in a terminal or a notebook.

    Raises:
        InputError: the recipe or its data are wrong, or the folder is not empty; nothing was written.
        DivergedError: a loss or a weight is no longer finite; the last good checkpoint is intact.
    """
    return show_run(run_events(recipe, run_dir), quiet=not progress)


def resume(
    run_dir: str | Path, epochs: int | None = None, *, data: str | Path | None = None, progress: bool = True
) -> Run:
    """Resumes a run exactly where it stopped; it ends with the same weights as an uninterrupted run.

    Args:
        run_dir: the run's folder.
        epochs: the new total number of epochs, or None for the recipe's own.
        data: where the run's data are now, if they have moved; the run's recipe and result then have the new place.
        progress: as for `run`.

    Raises:
        InputError: the folder holds no run, or its data have changed or are others; nothing was written.
        DivergedError: as for `run`.
    """
    return show_run(resume_events(run_dir, epochs, data=data), quiet=not progress)


def run_events(
    recipe: Recipe | str | Path = "mlp",
    run_dir: str | Path | None = None,
    stop: threading.Event | None = None,
    *,
    owns_process: bool = False,
    profiled: bool = False,
    evaluate_test: bool = True,
    processes: "Processes | None" = None,
) -> Generator[Event]:
    """Like `run`, but prints nothing and yields what happens; it trains only as you ask for the next event.

    The events, in order:

    - `DecodingProgress`, while pictures are decoded;
    - `Started`, before the first step;
    - `StepLoss`, for each step that `train.log_steps` selects;
    - `Progress`, after each block of steps except the last of an epoch;
    - `Epoch`, after each epoch, once it has been saved;
    - `Run`, at the end.

    You may leave the loop at any time; `resume` and `resume_events` continue after the last finished epoch.

    Args:
        recipe: as for `run`.
        run_dir: as for `run`.
        stop: an event that another thread or a signal handler may set: the run then saves its state after the current
            block and raises `Interrupted`.
        owns_process: whether the process exists only for this run, which may then set TensorFlow's number of threads.
        profiled: whether to measure where the time of a step goes before training, and yield a `Profile`.
        evaluate_test: False to end with `Trained` instead of `Run`: the test set is not read, nothing is exported, and
            no report is drawn.
        processes: those that train together, of which this is the chief.

    Raises:
        InputError: as for `run`.
        DivergedError: as for `run`.
        Interrupted: `stop` was set, and everything is saved; or another process has ended.
    """
    check_runtime()
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    check_new_folder(run_dir)
    _check_extra(recipe)
    clock = Clock()
    recipe = pin(_with_absolute_paths(recipe))
    _send(recipe, processes)
    digits = yield from load_events(recipe.data, recipe.train.seed)
    recipe, trainer = _build(recipe, digits, clock, owns_process, True, processes)
    trainer.state.data_sha256 = digest_of(digits)
    path, is_ours = make_folder(recipe.name, run_dir), False
    try:
        with _faults_in_one_line(path), locked(path):
            text = seal(recipe.to_toml())
            check_new_folder(path, text)
            write_whole(path / "recipe.toml", text)
            is_ours = True
            session = RunSession(path, recipe, digits, trainer, clock, processes=processes)
            session.write_history()
            with errors_in_one_line():
                yield from session.run(stop, profiled, evaluate_test)
    except InputError:
        if is_ours and not (trainer.state.epoch or trainer.state.step):  # the user's code does not fit
            delete_folder(path)
        raise


def resume_events(
    run_dir: str | Path,
    epochs: int | None = None,
    stop: threading.Event | None = None,
    *,
    data: str | Path | None = None,
    owns_process: bool = False,
    profiled: bool = False,
    evaluate_test: bool = True,
    processes: "Processes | None" = None,
) -> Generator[Event]:
    """Like `resume`, but prints nothing and yields events; the other arguments are those of `run_events`."""
    check_runtime()
    path, clock = follow_link(run_dir), Clock()
    recipe = Recipe.load_run(path)
    if epochs is not None and epochs != recipe.train.epochs:
        if recipe.schedule.kind in ("cosine", "one_cycle"):
            raise InputError(
                f"{path}: its {recipe.schedule.kind} schedule depends on train.epochs, which is {recipe.train.epochs}: "
                "resume it without changing that, or start a new run."
            )
        recipe = recipe.replace({"train.epochs": epochs})
    _check_extra(recipe)
    if data is not None:
        recipe = _with_absolute_paths(recipe.with_values({"data.source": str(data)}))
    _send(recipe, processes)
    digits = yield from load_events(recipe.data, recipe.train.seed)
    is_new = not list_checkpoints(path / "checkpoints")
    recipe, trainer = _build(recipe, digits, clock, owns_process, is_new, processes)
    with (
        _faults_in_one_line(path),
        locked(path),
    ):  # before the checkpoint is read: another process must not write a newer one meanwhile
        try:
            notes = _restore(path, trainer)
        except InputError as error:
            raise (
                error if data is None else InputError(f"{path}: {data} does not look like its data: {error}")
            ) from None
        state, done = trainer.state, Result.find(path)
        begun = state.epoch + bool(state.step)
        if epochs is not None and begun > epochs:
            raise InputError(f"{path}: has begun {begun} epochs, more than train.epochs, {epochs}; choose more.")
        is_same = state.data_sha256 in (digest_of(digits), digits.train.sha256)  # the latter as 0.1 wrote it
        if not is_same or (done and done.data.sha256 != digits.sha256):
            if data is not None:
                raise InputError(f"{path}: {data} is not the data of its checkpoints, by digest; give the same data.")
            if state.data_sha256:
                raise InputError(f"{path}: {recipe.data.source} has changed since the run began; restore the old data.")
        state.data_sha256 = digest_of(digits)
        Divergence.delete(path)
        if not (trainer.finished and Result.find_complete(path, state.epoch)):
            Result.delete(path)  # before anything that it goes with changes
        write_whole(path / "recipe.toml", seal(recipe.to_toml()))
        session = RunSession(path, recipe, digits, trainer, clock, notes, processes)
        session.write_history()  # up to this checkpoint
        with errors_in_one_line():
            yield from session.run(stop, profiled, evaluate_test)


@contextmanager
def _faults_in_one_line(path: Path) -> Iterator[None]:
    """Turns a fault of the machine, and a run folder that disappears, into one line that says what is safe."""
    command = f"tfmnist train --resume {shlex.quote(str(path))}"
    with faults_in_one_line(path, f"resume with: {command} (all that was saved before is intact)"):
        try:
            yield
        except FileNotFoundError:
            if path.exists():
                raise
            advice = "resume it where it is now, or start it again"
            raise TfmnistError(
                f"{path}: the run folder is gone, deleted or moved by another program; {advice}."
            ) from None


def _send(recipe: Recipe, processes: "Processes | None") -> None:
    if processes:
        with processes.watched("start all processes again."):
            processes.send(recipe.to_toml().encode())


def _build(
    recipe: Recipe, digits: Digits, clock: Clock, owns_process: bool, is_new: bool, processes: "Processes | None"
) -> tuple[Recipe, Trainer]:
    clock.lap("load")
    with errors_in_one_line():
        if (owns_process or recipe.train.threads != "auto") and not processes:  # before TensorFlow computes
            set_threads(choose_threads(recipe, digits.image_shape, digits.classes))
        recipe, trainer = prepare(recipe, digits, is_new, processes)
    if processes:
        with processes.watched("start all processes again."):
            processes.check_same(digest_of(digits))
    return recipe, trainer


def prepare(
    recipe: Recipe, digits: Digits, is_new: bool, processes: "Processes | None" = None
) -> tuple[Recipe, Trainer]:
    """Returns the trainer, and the recipe with the digests of the weights it starts from and of its teacher.

    Args:
        recipe: of the run.
        digits: its data.
        is_new: whether the run starts from the weights that the recipe names, rather than from a checkpoint.
        processes: those that train together, if several do.
    """
    model = make_model(recipe.model, digits.image_shape, digits.classes, recipe.train.seed)
    if recipe.model.init_from and is_new:
        digest = start_from(model, digits.class_names, recipe.model.init_from, recipe.model.init_sha256)
        recipe = recipe.replace({"model.init_sha256": digest})
    objective = None
    if recipe.distill.teacher:
        from tfmnist.runs.teacher import with_teacher

        about = recipe.distill, digits.image_shape, digits.class_names
        objective, digest = with_teacher(make_objective(recipe.loss), *about)
        recipe = recipe.replace({"distill.teacher_sha256": digest})
    return recipe, build_trainer(recipe, digits, model, objective, processes)


def _restore(path: Path, trainer: Trainer) -> tuple[str, ...]:
    """Restores the newest checkpoint that is intact; returns a note for each that is not."""
    notes: list[str] = []
    checkpoints = list_checkpoints(path / "checkpoints")
    for checkpoint in reversed(checkpoints):
        try:
            restore_checkpoint(checkpoint, trainer)
            break
        except InputError as error:
            if checkpoint == checkpoints[0]:
                raise
            notes.append(f"skipped: {error}")
    return tuple(notes)


def _check_extra(recipe: Recipe) -> None:
    """Raises an `InputError` if the recipe needs a package that is not installed."""
    if recipe.train.tensorboard:
        import tfmnist.runs.tensorboard  # noqa: F401


def _with_absolute_paths(recipe: Recipe) -> Recipe:
    """Returns the recipe with absolute paths, which hold wherever the run is resumed, evaluated or repeated."""
    changes: dict[str, Any] = {}
    if recipe.data.source != "mnist":
        changes["data.source"] = str(Path(os.path.expanduser(recipe.data.source)).absolute())
    if recipe.model.init_from:  # runs/latest will soon point to another run
        changes["model.init_from"] = str(Path(os.path.expanduser(recipe.model.init_from)).resolve())
    if recipe.distill.teacher:
        changes["distill.teacher"] = str(Path(os.path.expanduser(recipe.distill.teacher)).resolve())
    return recipe.replace(changes) if changes else recipe
