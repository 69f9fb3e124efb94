"""`tfmnist train`."""

import contextlib
import inspect
from typing import Any

from tfmnist.cli.options import DEFAULT_RECIPE, as_in_toml, parse_train, recipe_of
from tfmnist.cli.process import stoppable, tensorflow_quietly
from tfmnist.errors import InputError
from tfmnist.recipe import Recipe


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
    recipe = recipe_of(parse_train(words, base, summary), base).without_stale_claims(base)
    run_dir = asked.run_dir or None
    from tfmnist.data.sources import check_source
    from tfmnist.runs.folder import check_new_folder

    check_source(recipe.data.source)  # these two before TensorFlow's seconds
    check_new_folder(run_dir)
    _follow("run_events", recipe, run_dir, recipe=recipe, profiled=asked.profile)


def _follow(start: str, *arguments: Any, recipe: Recipe, profiled: bool) -> None:
    """Draws a run's events until it ends."""
    with stoppable() as stop:
        from tfmnist.runs.report_process import ReportProcess
        from tfmnist.training.compile_cache import compiled_code

        drawing = ReportProcess() if recipe.export.report else contextlib.nullcontext()
        with compiled_code(recipe), drawing as reporter:
            with tensorflow_quietly():
                from tfmnist.cli.run_screen import Screen
                from tfmnist.runs import train as runs

            started = getattr(runs, start)(*arguments, stop, reporter, owns_process=True, profiled=profiled)
            with Screen() as screen, contextlib.closing(started) as events:
                for event in events:
                    screen.show(event)
