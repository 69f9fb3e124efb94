"""The trials of a seed study: one run per seed. A run's folder alone says whether it is finished."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfmnist.recipe import Recipe
from tfmnist.runs.result import REPORT, Result, read_history
from tfmnist.sweeps.trials import SeedResult, Trial
from tfmnist.system.files import write_whole


class SeedList:
    """The trials of a study, numbered by their seeds, as recorded in its run folders.

    Args:
        recipe: what to train.
        seeds: each has a run folder, `seed-0` and so on.
        folder: of the study.
    """

    metric = "test_accuracy"
    evaluate_test = True

    def __init__(self, recipe: Recipe, seeds: Sequence[int], folder: Path) -> None:
        self.recipe, self.seeds, self.folder = recipe, tuple(seeds), folder

    def left(self) -> int:
        """Returns how many seeds are still to be trained."""
        return len(self.unfinished())

    def unfinished(self) -> list[int]:
        """Returns the seeds that are neither finished nor failed."""
        return [seed for seed in self.seeds if not self._failed(seed).exists() and not self.result(seed)]

    def begin(self) -> int | None:
        """Returns None: all trials count as begun."""
        return None

    def open(self, number: int) -> Trial:
        """Returns the trial of a seed."""
        return Trial(number, {"train.seed": number})

    def runs(self, trial: Trial) -> list[tuple[Path, Recipe]]:
        """Returns the run of a seed."""
        return [(self._run(trial.number), self.recipe.replace({"train.seed": trial.number}))]

    def should_prune(self, trial: Trial, rows: Sequence[Any]) -> bool:
        """Returns False: each seed counts."""
        return False

    def finish(self, trial: Trial) -> None:
        """Records how a training failed; the result of a finished one is in its run folder."""
        if not self.result(trial.number):
            write_whole(self._failed(trial.number), trial.reason or "no result was written")

    def job(self) -> dict[str, Any]:
        """Returns what another process needs to make the same list, as JSON types."""
        return {"recipe": self.recipe.model_dump(mode="json"), "seeds": self.seeds, "folder": str(self.folder)}

    def result(self, seed: int) -> SeedResult | None:
        """Returns the result of a seed, or None if it is not finished."""
        run = self._run(seed)
        result = Result.find(run)
        if result is None or (self.recipe.export.report and not (run / REPORT).exists()):
            return None
        seconds = sum(row["seconds"] for row in read_history(run)) or result.seconds.get("train") or 0.0
        return SeedResult(self.folder.name, seed, result.test_accuracy, result.validation_accuracy, seconds)

    def failures(self) -> list[str]:
        """Returns the run folders of failed seeds, and why they failed."""
        failed = [(self._run(seed), self._failed(seed)) for seed in self.seeds]
        return [f"{run}: {path.read_text(encoding='utf-8')}" for run, path in failed if path.exists()]

    def retry_failed(self) -> None:
        """Deletes the records of failures, so that those seeds are trained again."""
        for seed in self.seeds:
            self._failed(seed).unlink(missing_ok=True)

    def _run(self, seed: int) -> Path:
        return self.folder / f"seed-{seed}"

    def _failed(self, seed: int) -> Path:
        return self.folder / ".claims" / f"seed-{seed}.failed"
