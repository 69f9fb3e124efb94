"""The search library, Optuna, and nothing of it elsewhere: asked what to try, told what came of it."""

import json
import math
import os
import platform
import warnings
from pathlib import Path
from typing import Any, Literal

from tfmnist import seeds
from tfmnist.errors import InputError
from tfmnist.sweeps.sweep_file import Sweep, encode
from tfmnist.sweeps.trials import Trial

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    try:
        import optuna
        from optuna.storages import JournalStorage, journal
    except ImportError:
        raise InputError(
            "sweeps need Optuna, which is not installed; install it with: pip install 'tfmnist[sweep]'"
        ) from None


_FOR_EVER = 1e9  # seconds of a trial that came to nothing


class Study:
    """The searching of one sweep, as it stands in its storage."""

    def __init__(self, sweep: Sweep, folder: Path, storage: str = "") -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.sweep, self._shared = sweep, bool(storage)
        self._owner = f"{platform.node()}:{folder.resolve()}"
        best: Literal["minimize", "maximize"] = "minimize" if sweep.search.objective == "loss" else "maximize"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if storage:
                place: Any = storage
            else:
                held: Any = _Held()
                place = JournalStorage(journal.JournalFileBackend(str(_mend(folder / "journal.log")), held))
            try:
                self._study = optuna.create_study(
                    study_name=sweep.name if storage else "sweep",
                    storage=place,
                    directions=[best, "minimize"] if sweep.search.times else [best],
                    pruner=_pruner(sweep),
                    load_if_exists=True,
                )
            except Exception as error:
                if not storage:
                    raise
                reason = str(error).splitlines()[0]
                raise InputError(
                    f"--storage {storage}: {reason}; expected a database's URL, or leave it out."
                ) from None
        self._grid = _Points(sweep.grid() if sweep.search.sampler == "grid" else [])

    def ended(self) -> list[Trial]:
        """Returns the trials that have ended, in order."""
        found: list[Trial] = []
        for frozen in self._study.get_trials(deepcopy=False):
            if frozen.state.is_finished() and frozen.number < self.sweep.trials:
                row = json.loads(frozen.user_attrs.get("row", '{"values": {}, "state": "failed"}'))
                found.append(Trial(frozen.number, **row))
        return found

    def begun(self) -> list[tuple[Trial, Any]]:
        """Returns the trials of this folder that had begun when the sweep ended, with the library's own."""
        running = self._study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))
        nobodys = "" if self._shared else self._owner  # of a trial that ended before it was said whose it is
        ours = [frozen for frozen in running if frozen.user_attrs.get("owner", nobodys) == self._owner]
        found: list[tuple[Trial, Any]] = []
        for frozen in ours:
            self._study.sampler = self._sampler(frozen.number)
            found.append(self._suggest(optuna.trial.Trial(self._study, frozen._trial_id)))
        return found

    def count(self) -> int:
        """Returns how many trials have begun, here or elsewhere."""
        return min(len(self._study.get_trials(deepcopy=False)), self.sweep.trials)

    def ask(self) -> tuple[Trial, Any] | None:
        """Returns the next trial; nothing where another machine has taken the last one in this moment."""
        self._study.sampler = self._sampler(self.count())
        asked = self._study.ask()
        if asked.number >= self.sweep.trials:
            self._study.tell(asked.number, state=optuna.trial.TrialState.FAIL)
            return None
        asked.set_user_attr("owner", self._owner)
        return self._suggest(asked)

    def tell(self, trial: Trial, asked: Any) -> None:
        """Records how a trial ended. What diverged counts as worst, so that the sampler keeps away from there."""
        row = {name: value for name, value in trial.to_dict().items() if name != "number"}
        asked.set_user_attr("row", json.dumps(row))
        states, values = optuna.trial.TrialState, None
        state = {"done": states.COMPLETE, "diverged": states.COMPLETE, "pruned": states.PRUNED}.get(trial.state)
        if trial.state == "done":
            values = [trial.result, trial.seconds]
        elif trial.state == "diverged":
            values = [math.inf if self.sweep.search.objective == "loss" else 0.0, _FOR_EVER]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            number = 2 if self.sweep.search.times else 1
            self._study.tell(asked.number, values and values[:number], state or states.FAIL)

    def _sampler(self, number: int) -> Any:
        """Returns a sampler for one trial: what it draws depends on the sweep's seed and the trial's number alone."""
        seed = seeds.key(self.sweep.search.seed, f"trial {number}") % 2**32
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            match self.sweep.search.sampler:
                case "grid":
                    return self._grid
                case "random":
                    return optuna.samplers.RandomSampler(seed)
                case "tpe":
                    return optuna.samplers.TPESampler(seed=seed, constant_liar=True)
                case "cmaes":
                    return optuna.samplers.CmaEsSampler(seed=seed)

    def _suggest(self, asked: Any) -> tuple[Trial, Any]:
        values: dict[str, Any] = {}
        for key, within in self.sweep.space.items():
            if not self.sweep.is_searched(key, values):
                continue
            if within.choice:
                coded = {encode(value): value for value in within.choice}
                values[key] = coded[asked.suggest_categorical(key, list(coded))]
            elif self.sweep.is_whole(key):
                low, high = (round(end) for end in within.ends)
                values[key] = asked.suggest_int(key, low, high, log=within.log)
            else:
                values[key] = asked.suggest_float(key, *within.ends, log=within.log)
        return Trial(asked.number, values), asked


class _Points(optuna.samplers.BaseSampler):
    """Gives each trial the point of its number, so that those of several machines divide a grid."""

    def __init__(self, points: list[dict[str, Any]]) -> None:
        self._points = points

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        return {}

    def sample_relative(self, study: Any, trial: Any, search_space: dict[str, Any]) -> dict[str, Any]:
        return {}

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        return encode(self._points[trial.number][param_name])


class _Held:
    """The journal's lock, for the library: the folder's own is held already, and goes with this process."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def _mend(path: Path) -> Path:
    """Cuts off half a line at the end of a journal, which would spoil the next one, and returns its path."""
    if path.exists():
        content = path.read_bytes()
        os.truncate(path, content.rfind(b"\n") + 1)
    return path


def _pruner(sweep: Sweep) -> Any:
    match sweep.search.pruner:
        case "none":
            return optuna.pruners.NopPruner()
        case "median":
            return optuna.pruners.MedianPruner(n_startup_trials=5)
        case "halving":
            return optuna.pruners.SuccessiveHalvingPruner()
        case "hyperband":
            searched = sweep.space.get("train.epochs")
            longest = max(searched.choice or searched.ends) if searched else sweep.recipe.train.epochs
            return optuna.pruners.HyperbandPruner(max_resource=round(longest))
