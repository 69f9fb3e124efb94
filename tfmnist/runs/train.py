"""Runs from start to finish: `run` and `resume`, and their events one by one."""

import threading
from collections.abc import Iterator
from pathlib import Path

from tfmnist.errors import InputError
from tfmnist.recipe import Recipe
from tfmnist.runs.build import anchored, load_events
from tfmnist.runs.events import Clock, Event, Run
from tfmnist.runs.folder import check_new_folder
from tfmnist.runs.session import Reporter, new_session, resume_session


def run(recipe: Recipe | str | Path = "mlp", run_dir: str | Path | None = None) -> Run:
    """Trains a recipe, evaluates it on the test set, exports it, and writes the run folder.

    Args:
        recipe: a recipe, the name of a shipped one, or the path of a `.toml` file.
        run_dir: a new or empty folder; by default `runs/<recipe>-<UTC time>`, which `runs/latest` then points to.

    Raises:
        InputError: the recipe or its data are wrong, or the folder is not empty; nothing was written.
        DivergedError: a loss was not finite; the last good checkpoint is intact.
    """
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    return _last(run_events(recipe, run_dir))


def resume(run_dir: str | Path, epochs: int | None = None) -> Run:
    """Goes on with a run exactly where it stopped, to the same weights as without the stop.

    Args:
        run_dir: the run's folder.
        epochs: the new total number of epochs, or None for the recipe's own.
    """
    return _last(resume_events(run_dir, epochs))


def run_events(
    recipe: Recipe,
    run_dir: str | Path | None = None,
    stop: threading.Event | None = None,
    reporter: Reporter | None = None,
    owns_process: bool = False,
    profiled: bool = False,
    evaluate_test: bool = True,
) -> Iterator[Event]:
    """Like `run`, a step at a time: yields `Started`, then `Progress` and `Epoch` as it goes, and the `Run` at the end;
    before them `DecodingProgress`, where pictures are decoded.

    Args:
        recipe: as for `run`.
        run_dir: as for `run`.
        stop: when it is set, the run saves its state after the block under way and raises `Interrupted`.
        reporter: draws the report; by default this process does, at the end.
        owns_process: the process is there for this run only, which then may choose the number of TensorFlow's threads.
        profiled: measure first where a step's time goes, and yield a `Profile`.
        evaluate_test: False to end with `Trained`, before the test set is read, the model exported, the report drawn.
    """
    check_new_folder(run_dir)
    clock = Clock()
    recipe = anchored(recipe)
    digits = yield from load_events(recipe.data, recipe.train.seed)
    with new_session(recipe, digits, run_dir, clock=clock, reporter=reporter, owns_process=owns_process) as session:
        yield from session.run(stop, profiled, evaluate_test)


def resume_events(
    run_dir: str | Path,
    epochs: int | None = None,
    stop: threading.Event | None = None,
    reporter: Reporter | None = None,
    owns_process: bool = False,
    profiled: bool = False,
    evaluate_test: bool = True,
) -> Iterator[Event]:
    """Like `resume`, with the events of `run_events`."""
    path = Path(run_dir)
    recipe = Recipe.load_run(path)
    clock = Clock()
    if epochs is not None and epochs != recipe.train.epochs:
        if recipe.schedule.kind in ("cosine", "one_cycle"):
            raise InputError(
                f"{path}: its {recipe.schedule.kind} schedule depends on train.epochs, which is {recipe.train.epochs}: "
                "resume it without another number, or start a new run."
            )
        recipe = recipe.replace({"train.epochs": epochs})
    digits = yield from load_events(recipe.data, recipe.train.seed)
    with resume_session(
        path, recipe, digits, epochs, clock=clock, reporter=reporter, owns_process=owns_process
    ) as session:
        yield from session.run(stop, profiled, evaluate_test)


def _last(events: Iterator[Event]) -> Run:
    *_, final = events
    assert isinstance(final, Run)
    return final
