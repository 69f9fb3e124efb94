"""The trials of a sweep, as Optuna keeps them: the only module that imports Optuna.

They are in a journal in the sweep's folder, or in a storage that several commands share, with a ledger of who trains
what. Every process opens its own `Study` on that storage. What a sampler draws depends on the sweep's seed and the
trial's number, in whatever order trials begin, and for TPE and CMA-ES also on the trials that have ended by then. So a
trial whose process was killed before its values were drawn gets the same values later.
"""

import contextlib
import hashlib
import json
import math
import platform
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tfmnist import seeds
from tfmnist.errors import InputError
from tfmnist.recipe import Recipe
from tfmnist.runs.result import read_history
from tfmnist.sweeps.sweep_file import Sweep, encode
from tfmnist.sweeps.trials import Trial, run_names
from tfmnist.system.files import write_whole

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    try:
        import optuna

        from tfmnist.sweeps.optuna_ledger import NOBODY, Claim, Ledger
        from tfmnist.sweeps.optuna_storage import open_storage, without_password
    except ImportError:
        raise InputError(
            "sweeps need Optuna, which is not installed; install it with: pip install 'tfmnist[sweep]'"
        ) from None

_FOREVER = 1e9  # seconds of training recorded for a trial that diverged
_States = optuna.trial.TrialState


class Study:
    """The trials of one sweep, as its storage has them.

    Args:
        sweep: what to search.
        folder: the sweep's folder.
        storage: URL of a database, or path of a journal, which several commands share; by default the folder's journal.
        owner: whose trials to resume; by default those of this folder.
        until: time, in seconds since the epoch, after which no trial begins; 0 for no limit.
        data_sha256: of the data, to be compared with those of other commands.

    Raises:
        InputError: the storage cannot be opened, or has another sweep of this name.
    """

    evaluate_test = False

    def __init__(
        self, sweep: Sweep, folder: Path, storage: str = "", owner: str = "", until: float = 0.0, data_sha256: str = ""
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.sweep, self.folder, self.metric = sweep, folder, sweep.search.metric
        self._storage, self._until = storage, until
        self._owner = owner or (_owner_of(folder) if storage else "")
        self._ended: dict[int, Trial] = {}
        self._opened: dict[int, Any] = {}
        best: Literal["minimize", "maximize"] = "minimize" if sweep.search.objective == "loss" else "maximize"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._study = optuna.create_study(
                study_name=sweep.name if storage else "sweep",
                storage=open_storage(storage, folder),
                directions=[best, "minimize"] if sweep.search.times else [best],
                sampler=_SamplerByNumber(sweep),
                pruner=_make_pruner(sweep),
                load_if_exists=True,
            )
        self._ledger = Ledger(self._study) if storage else None
        if self._ledger:
            self._check_same(self._ledger, data_sha256)

    def _check_same(self, ledger: Ledger, data_sha256: str) -> None:
        """Compares the sweep, its recipe, its code and its data with what the study was begun with."""
        data = self.sweep.recipe.data.model_copy(update={"source": ""})  # each machine may have it elsewhere
        recipe = self.sweep.recipe.model_copy(update={"data": data})
        parts = {
            "sweep file": self.sweep.text,
            "recipe": recipe.to_toml(),
            "source code": json.dumps(self.sweep.sources, sort_keys=True),
            "data": data_sha256,
        }
        claims = ledger.claims()
        for name, text in parts.items():
            if not text:  # a worker does not load the data
                continue
            digest = hashlib.sha256(text.encode()).hexdigest()
            known = claims[name].holder if name in claims else ledger.claim(name, digest)
            if known != digest:
                raise InputError(
                    f"--storage {without_password(self._storage)}: its study {self.sweep.name!r} was begun with "
                    f"another {name}; rename the sweep file to begin another study, or restore what was changed."
                )

    def job(self) -> dict[str, Any]:
        """Returns what another process needs to open the same study, as JSON types."""
        options = {"storage": self._storage, "owner": self._owner, "until": self._until}
        return {"sweep": self.sweep.model_dump(mode="json"), "folder": str(self.folder), "options": options}

    def alive(self) -> contextlib.AbstractContextManager[None]:
        """Shows the commands that share the storage that this one is alive, so that they leave its trials to it."""
        return self._ledger.alive(self._owner) if self._ledger else contextlib.nullcontext()

    def claim(self, what: str, stop: threading.Event) -> str:
        """Claims what one command does for all; returns "" if this one does it, otherwise whose it is.

        Until the other command shows that it is alive, which takes up to `HEARTBEAT` seconds, its claim is in doubt;
        after `GRACE` seconds this one takes over.

        Args:
            what: is done once.
            stop: once set, there is no more waiting.
        """
        if not self._ledger:
            return ""
        while (claim := self._ledger.claims().get(what, NOBODY)).holder != self._owner:
            if claim != NOBODY and (self._is_done(what) or self._ledger.await_life(claim.holder, stop)):
                return claim.holder
            self._ledger.claim(what, self._owner, claim)
        return ""

    def done(self, what: str) -> None:
        """Records that what this command has claimed is done."""
        if self._ledger and not self._is_done(what):
            self._ledger.claim(f"{what}: done", self._owner)

    def _is_done(self, what: str) -> bool:
        return self._ledger is not None and f"{what}: done" in self._ledger.claims()

    def left(self) -> int:
        """Returns how many trials are still to be trained, by whichever command."""
        trials = self._trials()
        late = self._until and time.time() > self._until
        running = sum(not frozen.state.is_finished() for frozen in trials)
        return running + (0 if late else self.sweep.trials - len(trials))

    def count(self) -> int:
        """Returns how many trials have begun, in all commands that share the storage."""
        return len(self._trials())

    def unfinished(self) -> list[int]:
        """Returns the numbers of the trials that this command has begun or taken over, but not ended."""
        return [number for number, claim in self._running().items() if claim.holder == self._owner]

    def _running(self) -> dict[int, Claim]:
        """Returns the trials that have not ended, and whose they are: in its own journal, all this command's."""
        running = [frozen for frozen in self._trials() if not frozen.state.is_finished()]
        claims = self._ledger.claims() if self._ledger and running else {}
        begun = {frozen.number: Claim(NOBODY.entry, frozen.user_attrs.get("owner", "")) for frozen in running}
        return {number: claims.get(f"trial {number}", claim) for number, claim in begun.items()}

    def trials(self) -> list[Trial]:
        """Returns the trials that have begun; running ones with their values and epochs so far."""
        coded = {key: {encode(value): value for value in within.choice} for key, within in self.sweep.space.items()}
        trials: list[Trial] = []
        for frozen in self._trials():
            if not frozen.state.is_finished():
                values = {key: coded[key].get(value, value) for key, value in frozen.params.items()}
                trial = Trial(frozen.number, values)
                trial.epochs = len(read_history(self.folder / "trials" / run_names(self.sweep, frozen.number)[0]))
            elif frozen.number in self._ended:
                trial = self._ended[frozen.number]
            else:
                trial = self._ended[frozen.number] = _read_row(frozen)
            trials.append(trial)
        return trials

    def begin(self) -> int | None:
        """Begins a trial, or takes over one whose command has died; returns None if there is none."""
        if (number := self._take_over()) is not None:
            return number
        if self.count() >= self.sweep.trials or (self._until and time.time() > self._until):
            return None
        # like `ask`, but with the owner from the start: a kill before it is added would leave a trial that nobody owns
        self._study._thread_local.cached_all_trials = None
        template = optuna.trial.create_trial(state=_States.RUNNING, user_attrs={"owner": self._owner})
        trial_id = self._study._storage.create_new_trial(self._study._study_id, template)
        optuna_trial = optuna.trial.Trial(self._study, trial_id)
        if optuna_trial.number >= self.sweep.trials:
            self._study.tell(optuna_trial.number, state=_States.FAIL)
            return None
        self._opened = {optuna_trial.number: optuna_trial}
        return optuna_trial.number

    def _take_over(self) -> int | None:
        for number, claim in self._running().items():
            if not self._ledger or claim.holder == self._owner or not self._ledger.is_dead(claim.holder):
                continue
            if self._ledger.claim(f"trial {number}", self._owner, claim) == self._owner:
                return number
        return None

    def open(self, number: int) -> Trial:
        """Returns a trial with its values, which are drawn if they have not been drawn before."""
        frozen = self._trials()[number]
        if "row" in frozen.user_attrs:  # killed while its result was recorded
            return _read_row(frozen)
        optuna_trial = self._opened.get(number) or optuna.trial.Trial(self._study, frozen._trial_id)
        self._opened = {number: optuna_trial}
        values: dict[str, Any] = {}
        for key, within in self.sweep.space.items():
            if not self.sweep.is_searched(key, values):
                continue
            if within.choice:
                coded: dict[Any, Any] = {encode(value): value for value in within.choice}
                values[key] = coded[optuna_trial.suggest_categorical(key, list(coded))]
            elif self.sweep.is_whole(key):
                low, high = (round(end) for end in within.ends)
                values[key] = optuna_trial.suggest_int(key, low, high, log=within.log)
            else:
                values[key] = optuna_trial.suggest_float(key, *within.ends, log=within.log)
        return Trial(number, values)

    def runs(self, trial: Trial) -> list[tuple[Path, Recipe]]:
        """Returns the run folders and recipes of a trial, one per seed."""
        named = zip(run_names(self.sweep, trial.number), self.sweep.search.seeds, strict=True)
        trials = self.folder / "trials"
        return [(trials / name, self.sweep.recipe_of(trial.values, seed, name)) for name, seed in named]

    def should_prune(self, trial: Trial, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Reports epochs of a trial to the pruner, and returns its verdict."""
        if self.sweep.search.pruner == "none":
            return False
        optuna_trial = self._opened[trial.number]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about epochs reported before
            for row in rows:
                try:
                    optuna_trial.report(row[self.metric], row["epoch"])
                except optuna.exceptions.UpdateFinishedTrialError:  # by a command that has taken it over
                    return True
        return optuna_trial.should_prune()

    def finish(self, trial: Trial) -> None:
        """Records how a trial ended, unless another command has taken it over, which then does.

        One that diverged gets the worst value, so that the sampler avoids it.
        """
        if trial.number not in self.unfinished():
            return
        if self.sweep.recipe.train.tensorboard:
            from tfmnist.sweeps.hparams import write_hparams

            write_hparams(self.sweep, self.folder, trial)
        row = {name: value for name, value in trial.to_dict().items() if name != "number"}
        state = {"done": _States.COMPLETE, "diverged": _States.COMPLETE, "pruned": _States.PRUNED}
        values: list[Any] | None = None
        if trial.state == "done":
            values = [trial.result, trial.seconds]
        elif trial.state == "diverged":
            values = [math.inf if self.sweep.search.objective == "loss" else 0.0, _FOREVER]
        ended = optuna.exceptions.UpdateFinishedTrialError  # by a take-over, or an answer of the database was lost
        with warnings.catch_warnings(), contextlib.suppress(ended):
            warnings.simplefilter("ignore")
            if optuna_trial := self._opened.pop(trial.number, None):
                optuna_trial.set_user_attr("row", json.dumps(row))
            number = 2 if self.sweep.search.times else 1
            self._study.tell(trial.number, values and values[:number], state.get(trial.state, _States.FAIL), True)

    def _trials(self) -> list[Any]:
        return self._study.get_trials(deepcopy=False)[: self.sweep.trials]


def _read_row(frozen: Any) -> Trial:
    return Trial(frozen.number, **json.loads(frozen.user_attrs.get("row", '{"values": {}, "state": "failed"}')))


class _SamplerByNumber(optuna.samplers.BaseSampler):
    """Gives each trial its own sampler, seeded by the trial's number; a grid takes its points in order."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._points = sweep.grid() if sweep.search.sampler == "grid" else []
        self._sampler: Any = optuna.samplers.RandomSampler()

    def before_trial(self, study: Any, trial: Any) -> None:
        seed = seeds.key(self._sweep.search.seed, f"trial {trial.number}") % 2**32
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            match self._sweep.search.sampler:
                case "grid" | "random":
                    self._sampler = optuna.samplers.RandomSampler(seed)
                case "tpe":
                    self._sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
                case "cmaes":
                    self._sampler = optuna.samplers.CmaEsSampler(seed=seed)
        for key in (key for key in self._sweep.space if key in trial.params):  # killed while drawing: draw again
            self._sampler.sample_independent(study, trial, key, trial.distributions[key])

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Any, trial: Any, search_space: dict[str, Any]) -> dict[str, Any]:
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        if self._points:
            return encode(self._points[trial.number][param_name])
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Any, trial: Any, state: Any, values: Any) -> None:
        self._sampler.after_trial(study, trial, state, values)


def _owner_of(folder: Path) -> str:
    """Returns whose a folder's trials are in a database: the host and folder where it was made, wherever it is now."""
    path = folder / ".owner"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, f"{platform.node()}:{folder.resolve()}")
    return path.read_text(encoding="utf-8")


def _make_pruner(sweep: Sweep) -> Any:
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
