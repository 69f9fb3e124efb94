"""One recipe over several seeds: mean and spread of its test accuracy. Needs no Optuna."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event as Flag

from tfmnist.errors import InputError, Interrupted
from tfmnist.recipe import Recipe, is_whole
from tfmnist.runs.folder import locked
from tfmnist.runs.own_code import pin
from tfmnist.sweeps.seed_list import SeedList
from tfmnist.sweeps.trials import SeedResult, StudyResult
from tfmnist.sweeps.worker import faults_interrupt
from tfmnist.sweeps.workers import Workers
from tfmnist.system.files import write_whole


def study_events(
    recipe: Recipe, seeds: Sequence[int], folder: Path, workers: Workers, *, stop: Flag | None = None
) -> Iterator[SeedResult | StudyResult]:
    """Trains a recipe with each seed, or resumes that; yields the result of each, and at the end all of them.

    Args:
        recipe: what to train.
        seeds: each has a run folder, `seed-0` and so on.
        folder: of the study.
        workers: train the seeds; they are not closed.
        stop: once set, the running trainings are saved and `Interrupted` is raised.

    Raises:
        InputError: the folder holds another recipe, or a training fails.
    """
    recipe = pin(recipe)
    if not is_study_of(recipe, folder):
        raise InputError(f"{folder}: holds another recipe, or this one before it was changed; choose another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    stop = stop or Flag()
    with faults_interrupt(folder), locked(folder):
        write_whole(folder / "recipe.toml", recipe.to_toml())
        source = SeedList(recipe, seeds, folder)
        source.retry_failed()
        results: dict[int, SeedResult] = {}
        for _ in workers.run(source, stop):
            yield from _new_results(source, results)
        yield from _new_results(source, results)
        if stop.is_set() and source.left():
            finished = f"{len(results)} of {len(seeds)} seeds finished"
            raise Interrupted(f"stopped; {finished}; run the same command to resume.")
        if failures := source.failures():
            raise InputError(failures[0])
        result = StudyResult(folder, tuple(results[seed] for seed in sorted(results)))
        write_whole(folder / "study.json", json.dumps(result.to_dict(), indent=2) + "\n")
        yield result


def is_study_of(recipe: Recipe, folder: Path) -> bool:
    """Whether a folder holds a study of a recipe, or nothing yet."""
    path = folder / "recipe.toml"
    return not is_whole(path) or Recipe.load(path) == recipe


def _new_results(source: SeedList, results: dict[int, SeedResult]) -> Iterator[SeedResult]:
    for seed in source.seeds:
        if seed not in results and (result := source.result(seed)):
            results[seed] = result
            yield result
