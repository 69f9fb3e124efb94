"""`tfmnist train`."""

import contextlib
import inspect
import sys
from pathlib import Path
from typing import Any

from tfmnist.cli.options import DEFAULT_RECIPE, TrainArguments, parse_train
from tfmnist.cli.process import stoppable, tensorflow_quietly
from tfmnist.errors import InputError
from tfmnist.recipe import Recipe
from tfmnist.runs.cluster import Cluster


def train(words: list[str]) -> None:
    """Trains a recipe, evaluates it on the test set and exports the model."""
    given = parse_train(words, inspect.getdoc(train) or "")
    cluster = Cluster.from_environment()
    if cluster and cluster.index:
        from tfmnist.cli.processes import train_as_peer

        return train_as_peer(cluster)
    from tfmnist.data.sources import check_source  # after usage errors, which need no NumPy
    from tfmnist.runs.folder import check_new_folder

    if given.resume:
        if given.run_dir or given.recipe or given.init_from:
            raise InputError("--resume takes no recipe, --run-dir or --init-from: the run has its own; leave them out.")
        _point_to_newest(given.resume)
        own = Recipe.load_run(given.resume)
        recipe = own.replace(given.changes)
        if fixed := [key for key in recipe.changed_from(own) if key not in ("train.epochs", "data.source")]:
            raise InputError(f"--{fixed[0]} cannot change in a resumed run, only --train.epochs can; start a new run.")
        try:
            check_source(recipe.data.source)
        except InputError as error:
            raise InputError(f"{given.resume}: {error} If the same data are elsewhere, say so with --data.") from None
        return _follow(recipe, given, cluster)
    changes = given.changes
    if given.init_from:
        changes = {**changes, "model.init_from": given.init_from}
    if given.init_from and not given.recipe:
        base = Recipe.load_run(given.init_from).replace({"model.init_sha256": "", "model.freeze": ()})
    else:
        base = Recipe.load(given.recipe or DEFAULT_RECIPE)
    recipe = base.replace(changes)
    check_source(recipe.data.source)  # before the seconds that importing TensorFlow takes
    check_new_folder(given.run_dir or None)
    _follow(recipe, given, cluster)


def _point_to_newest(run: str) -> None:
    """Points out that `runs/latest`, which is to be resumed, has finished, while a newer run is unfinished."""
    from tfmnist.runs.folder import follow_link, newest_unfinished

    if newest := newest_unfinished(run):
        remedy = f"resume the newest run, {follow_link(newest).name}, with --resume {newest}"
        if not Path(run).exists():
            raise InputError(f"{run}: no run has finished yet; {remedy}.")
        print(f"{run}: is the newest finished run, {follow_link(run).name}; {remedy}", file=sys.stderr)


def _follow(recipe: Recipe, given: TrainArguments, cluster: Cluster | None) -> None:
    """Runs or resumes a recipe, and shows its events until it ends."""
    from tfmnist.training.compile_cache import compiled_code

    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(stoppable())
        processes = None
        if cluster or given.processes is not None or given.ray:
            from tfmnist.cli.processes import joined

            processes = stack.enter_context(joined(recipe, given, cluster, stop))
        stack.enter_context(compiled_code(recipe))
        with tensorflow_quietly():
            from tfmnist.runs.screen import show_run
            from tfmnist.runs.train import resume_events, run_events

        options: dict[str, Any] = {"owns_process": True, "profiled": given.profile, "processes": processes}
        if given.resume:
            epochs, data = recipe.train.epochs, given.changes.get("data.source")
            run = resume_events(given.resume, epochs, stop, data=data, **options)
        else:
            run = run_events(recipe, given.run_dir or None, stop, **options)
        show_run(run)
