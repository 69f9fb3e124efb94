"""`tfmnist train`."""

import contextlib
import inspect
from typing import Any

from tfmnist.cli.options import DEFAULT_RECIPE, parse_train
from tfmnist.cli.process import stoppable, tensorflow_quietly
from tfmnist.errors import InputError
from tfmnist.recipe import Recipe


def train(words: list[str]) -> None:
    """Trains a recipe, evaluates it on the test set and exports the model."""
    given = parse_train(words, inspect.getdoc(train) or "")
    if given.resume:
        if given.run_dir or given.recipe or given.init_from:
            raise InputError("--resume takes no recipe, --run-dir or --init-from: a run has its own; leave them out.")
        own = Recipe.load_run(given.resume)
        recipe = own.replace(given.changes)
        if fixed := [key for key in recipe.changed_from(own) if key != "train.epochs"]:
            raise InputError(f"--{fixed[0]} cannot change in a resumed run, only --train.epochs can; start a new run.")
        return _follow("resume_events", given.resume, recipe.train.epochs, recipe=recipe, profiled=given.profile)
    changes, run_dir = given.changes, given.run_dir or None
    if given.init_from:
        changes = {**changes, "model.init_from": given.init_from}
    if given.init_from and not given.recipe:
        base = Recipe.load_run(given.init_from).replace({"model.init_sha256": "", "model.freeze": ()})
    else:
        base = Recipe.load(given.recipe or DEFAULT_RECIPE)
    recipe = base.replace(changes)
    from tfmnist.data.sources import check_source
    from tfmnist.runs.folder import check_new_folder

    check_source(recipe.data.source)  # before the seconds that importing TensorFlow takes
    check_new_folder(run_dir)
    _follow("run_events", recipe, run_dir, recipe=recipe, profiled=given.profile)


def _follow(start: str, *arguments: Any, recipe: Recipe, profiled: bool) -> None:
    """Draws a run's events until it ends."""
    with stoppable() as stop:
        from tfmnist.training.compile_cache import compiled_code

        with compiled_code(recipe):
            with tensorflow_quietly():
                from tfmnist.cli.run_screen import Screen
                from tfmnist.runs import train as runs

            started = getattr(runs, start)(*arguments, stop, owns_process=True, profiled=profiled)
            with Screen() as screen, contextlib.closing(started) as events:
                for event in events:
                    screen.show(event)
