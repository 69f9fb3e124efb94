"""One recipe over several seeds: what it reaches, and how much of that is luck."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event as Flag

from tfmnist.errors import InputError, Interrupted
from tfmnist.recipe import Recipe
from tfmnist.runs.folder import locked
from tfmnist.runs.result import read_history
from tfmnist.sweeps.executors import TRIES, WAIT, Executor
from tfmnist.sweeps.packing import Job
from tfmnist.sweeps.trials import SeedResult, StudyResult, spread  # noqa: F401
from tfmnist.system.files import write_whole


def study_events(
    recipe: Recipe, seeds: Sequence[int], folder: Path, executor: Executor, *, stop: Flag | None = None
) -> Iterator[SeedResult | StudyResult]:
    """Trains a recipe with each seed, and goes on with what had begun; yields each result, at the end all of them.

    Args:
        recipe: what to train.
        seeds: each gets a run folder `seed-0`, and so on.
        folder: of the study.
        executor: who trains; is not closed here.
        stop: when it is set, the trainings under way are saved and `Interrupted` is raised.

    Raises:
        InputError: the folder holds another recipe, or a training fails.
    """
    if not is_study_of(recipe, folder):
        raise InputError(f"{folder}: holds another recipe, or this one before it was changed; choose another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        write_whole(folder / "recipe.toml", recipe.to_toml())
        yield from _studied(recipe, seeds, folder, executor, stop)


def is_study_of(recipe: Recipe, folder: Path) -> bool:
    """Whether a folder holds a study of a recipe, or nothing yet."""
    kept = folder / "recipe.toml"
    return not kept.exists() or kept.read_text(encoding="utf-8") == recipe.to_toml()


def _studied(
    recipe: Recipe, seeds: Sequence[int], folder: Path, executor: Executor, stop: Flag | None
) -> Iterator[SeedResult | StudyResult]:
    waiting = [_job(recipe, seed, folder) for seed in seeds]
    seed_of = dict(zip((job.name for job in waiting), seeds, strict=True))
    running: dict[str, Job] = {}
    tried: dict[str, int] = {}
    found: list[SeedResult] = []
    failed: list[str] = []
    while waiting or running:
        if stop is not None and stop.is_set():
            executor.close()
            raise Interrupted(f"stopped and saved; {len(found)} of {len(seeds)} seeds done; the same command goes on.")
        if waiting and (free := executor.free):
            beginning, waiting = waiting[:free], waiting[free:]
            for job in beginning:
                running[job.name] = job
                tried[job.name] = tried.get(job.name, 0) + 1
            executor.submit(beginning)
        for report in executor.reports(WAIT):
            if report.kind == "epoch":
                continue
            job = running.pop(report.name)
            if report.kind == "crashed" and tried[job.name] < TRIES:
                waiting.insert(0, job)
            elif report.kind != "done":
                failed.append(f"{job.folder}: {report.figures.get('reason', report.kind)}")
            else:
                figures, history = report.figures, read_history(Path(job.folder))
                row = SeedResult(
                    folder.name,
                    seed_of[job.name],
                    figures["test_accuracy"],
                    figures["validation_accuracy"],
                    sum(epoch["seconds"] for epoch in history) or figures["seconds"]["train"],
                )
                found.append(row)
                yield row
    if failed:  # when none is under way any more
        raise InputError(failed[0])
    result = StudyResult(folder, tuple(sorted(found, key=lambda row: row.seed)))
    write_whole(folder / "study.json", json.dumps(result.to_dict(), indent=2) + "\n")
    yield result


def _job(recipe: Recipe, seed: int, folder: Path) -> Job:
    path = folder / f"seed-{seed}"
    own = recipe.replace({"train.seed": seed})
    return Job(f"{folder.name}/seed-{seed}", str(path), own.model_dump(mode="json"), evaluate_test=True, mixed=True)
