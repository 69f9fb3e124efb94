"""One recipe over several seeds: what it reaches, and how much of that is luck."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from threading import Event as Flag

from tfmnist.errors import InputError, Interrupted
from tfmnist.recipe import Recipe
from tfmnist.runs.folder import locked
from tfmnist.runs.result import read_history
from tfmnist.sweeps.executors import TRIES, WAIT, Executor
from tfmnist.sweeps.packing import Job
from tfmnist.system.files import write_whole


@dataclass(frozen=True)
class SeedResult:
    """What a recipe reached with one seed."""

    study: str  # the name of its folder
    seed: int
    test_accuracy: float
    validation_accuracy: float | None
    seconds: float  # of training


@dataclass(frozen=True)
class StudyResult:
    """What a recipe reached with each seed; all are evaluate_test on the test set."""

    path: Path
    seeds: tuple[SeedResult, ...]

    @property
    def test_accuracy(self) -> tuple[float, float]:
        """Mean and standard deviation over the seeds."""
        return spread([row.test_accuracy for row in self.seeds])

    def to_dict(self) -> dict[str, object]:
        """Returns all figures, ready for JSON."""
        mean, deviation = self.test_accuracy
        summary = {"test_accuracy_mean": mean, "test_accuracy_sd": deviation}
        return {**summary, "seeds": [asdict(row) for row in self.seeds]}


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


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Returns mean and standard deviation; the latter is 0 for a single value.

    Example:
        >>> spread([1.0, 3.0])
        (2.0, 1.4142135623730951)
    """
    return fmean(values), stdev(values) if len(values) > 1 else 0.0
