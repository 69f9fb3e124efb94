"""One run in progress: trained, saved, stopped, evaluated, exported, reported.

A run folder is complete in itself: the recipe (`recipe.toml`), the course of training (`metrics.jsonl`,
`checkpoints/`, and if the recipe asks for them `steps.jsonl` and `tensorboard/`), and the results (`result.json`,
`weights.npz`, `evaluation.npz`, `inspection.npz`, `model/1`, `report.html`, `figures/`), or why there are none
(`diverged.json`).
"""

import json
import math
import os
import platform
import shlex
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfmnist.artifacts.saved_model import trace_normalize
from tfmnist.data.split import Digits, spread
from tfmnist.errors import DivergedError, Interrupted
from tfmnist.photos.normalize import ImageFormat
from tfmnist.recipe import Recipe
from tfmnist.runs.events import Clock, Event, Run, Started, Trained
from tfmnist.runs.export import find_written, form_of, make_card, versions, write
from tfmnist.runs.folder import link_latest
from tfmnist.runs.report import draw_figures, write_report
from tfmnist.runs.result import (
    INSPECTION,
    REPORT,
    WEIGHTS,
    DataSummary,
    Divergence,
    Evaluation,
    Result,
    digests,
    write_history,
)
from tfmnist.runs.rollback import Rollback
from tfmnist.runs.step_log import StepLog
from tfmnist.system.files import write_npz, write_whole
from tfmnist.system.machine import command_line, git_commit, processor_name, processors
from tfmnist.training.checkpoint import list_checkpoints, save_checkpoint
from tfmnist.training.evaluation import outputs
from tfmnist.training.events import Epoch, Progress, StepLoss, Verdict
from tfmnist.training.inspection import inspect
from tfmnist.training.loop import Trainer, set_weights
from tfmnist.training.profile import profile
from tfmnist.training.threads import choose_threads, threads_set

if TYPE_CHECKING:
    from tfmnist.training.distribute import Processes


@dataclass(frozen=True)
class RunSession:
    """A run whose folder has been made and locked."""

    path: Path
    recipe: Recipe
    digits: Digits
    trainer: Trainer
    clock: Clock
    notes: tuple[str, ...] = ()
    processes: "Processes | None" = None  # those that train together, of which this is the chief

    def run(self, stop: threading.Event | None, profiled: bool, evaluate_test: bool) -> Iterator[Event]:
        """Trains from the trainer's state to the end, and yields the events of `run_events`."""
        if not self.processes:
            yield from self._run(stop, profiled, evaluate_test)
            return
        command = f"tfmnist train --resume {shlex.quote(str(self.path))} --processes {self.processes.count}"
        with self.processes.watched(f"start all processes again: {command}"):
            yield from self._run(stop, profiled, evaluate_test)
            self.processes.agree(Verdict.FINISHED)  # for which the others wait

    def _run(self, stop: threading.Event | None, profiled: bool, evaluate_test: bool) -> Iterator[Event]:
        path, recipe, trainer, clock = self.path, self.recipe, self.trainer, self.clock
        if self.processes:
            self.processes.send_state(trainer)
        if trainer.finished and (done := Result.find_complete(path, trainer.state.epoch)):
            if moved := done.data.source != self.digits.source:
                done.data.source = self.digits.source
                done.write(path)
            if recipe.export.report and (moved or not (path / REPORT).exists()):
                write_report(path)
            yield Run(path, done.to_dict())
            return
        notes = (*self.notes, *_describe_choices(recipe, trainer, self.digits), *self._describe_processes())
        yield Started(path, recipe, self.digits, trainer.model, notes, trainer.state.epoch + 1)
        clock.lap("compile")
        commit = git_commit() if evaluate_test else None  # of the code that runs: files may change while it does
        form = form_of(self.digits.train)
        with ThreadPoolExecutor(1) as background:
            # in parallel with compiling and training, which leave a core idle now and then
            exports = recipe.export.model and evaluate_test
            normalize = background.submit(trace_normalize, form, self.digits.class_names) if exports else None
            if not trainer.finished and not self.processes:
                trainer.compile()
            clock.lap("compile")
            if profiled:
                wait([normalize] if normalize else [])  # nothing else may compute while it is measured
                measured = profile(trainer)
                write_whole(path / "profile.json", json.dumps(measured.to_dict(), indent=2) + "\n")
                clock.lap("profile")
                yield measured
            try:
                interval, saved = 60 * recipe.train.checkpoint_minutes, time.monotonic()
                for event in self._train():
                    is_due = isinstance(event, Progress) and 0 < interval <= time.monotonic() - saved
                    if isinstance(event, Epoch) or is_due:
                        self._save()
                        saved = time.monotonic()
                    yield event
                    if isinstance(event, Progress | Epoch) and self._must_stop(stop is not None and stop.is_set()):
                        self._save()
                        raise Interrupted(f"stopped and saved; resume with: tfmnist train --resume {path}")
                clock.lap("train")
                if evaluate_test:
                    set_weights(trainer.model, trainer.final_weights())
                    yield self._finish(form, normalize, background, commit)
                else:
                    yield self._trained()
            except DivergedError as error:
                Divergence(reason=str(error), date=_now()).write(path)
                checkpoints = list_checkpoints(path / "checkpoints")
                last = checkpoints[-1] if checkpoints else "none yet"
                raise DivergedError(f"{error} Last good checkpoint: {last}.") from None

    def _must_stop(self, wanted: bool) -> bool:
        """Whether to stop now, unless the training is over; several processes agree."""
        if not self.processes:
            return wanted and not self.trainer.finished
        verdict = Verdict.FINISHED if self.trainer.finished else Verdict.CONTINUE
        return self.processes.agree(verdict, wanted) == Verdict.STOP

    def _describe_processes(self) -> list[str]:
        """Returns a line on the processes that train together, if there are several, and their speed."""
        if not self.processes or self.trainer.finished:
            return []
        self.trainer.compile()  # once, since all processes call what they have compiled equally often
        return [self.processes.describe(self.trainer)]

    def _train(self) -> Iterator[StepLoss | Progress | Epoch]:
        """Trains; tells the other processes, if there are any, when the training cannot go on."""
        try:
            yield from self._train_or_go_back()
        except DivergedError:
            if self.processes:
                self.processes.agree(Verdict.DIVERGED)
            raise

    def _train_or_go_back(self) -> Iterator[StepLoss | Progress | Epoch]:
        """Trains, if need be from the start of an epoch with a lower learning rate, as `train.on_nonfinite` says."""
        if self.recipe.train.on_nonfinite == "fail":
            yield from self._attempt()
            return
        rollback = Rollback(self.path / "checkpoints", self.trainer)
        if not list_checkpoints(self.path / "checkpoints"):
            self._save()  # the start of the first epoch
        while True:
            try:
                yield from self._attempt()
                return
            except DivergedError as error:
                rollback.go_back(error)
                if self.processes:
                    self.processes.agree(Verdict.GO_BACK)
                    self.processes.send_state(self.trainer)

    def _attempt(self) -> Iterator[StepLoss | Progress | Epoch]:
        """Trains, and writes what happens to the logs that the recipe asks for."""
        trainer, recipe = self.trainer, self.recipe
        events = trainer.run()
        if recipe.train.log_steps:
            events = StepLog(self.path).follow(events, int(trainer.optimizer.step.numpy()))
        if recipe.train.tensorboard:
            from tfmnist.runs import tensorboard

            events = tensorboard.follow(events, self.path, trainer, self.digits.train, recipe.augment)
        return events

    def write_history(self) -> None:
        """Writes `metrics.jsonl`, one line per epoch so far."""
        write_history(self.path, self.trainer.state.history)

    def _save(self) -> None:
        """Writes the history, then a checkpoint, so that a kill between them leaves none without its history."""
        self.write_history()
        save_checkpoint(self.path / "checkpoints", self.trainer, self.recipe.to_toml())

    def _trained(self) -> Trained:
        state = self.trainer.state
        last = state.history[state.best_epoch - 1 if self.recipe.train.patience else -1]
        seconds = sum(row["seconds"] for row in state.history)
        return Trained(self.path, state.epoch, last["validation_accuracy"], last["validation_loss"], seconds)

    def _finish(
        self,
        form: ImageFormat,
        normalize: "Future[Any] | None",
        background: ThreadPoolExecutor,
        commit: str | None,
    ) -> Run:
        """Evaluates on the test set, exports, and draws the report."""
        path, recipe, digits, trainer = self.path, self.recipe, self.digits, self.trainer
        model, loss = trainer.model, trainer.loss
        validation = outputs(model, digits.validation, loss).metrics.accuracy if len(digits.validation) else None
        metrics, probabilities, _ = outputs(  # the only time that the test set is read
            model, digits.test, loss, temperature=recipe.export.temperature
        )
        if not math.isfinite(metrics.loss):
            where = f"after epoch {trainer.state.epoch}, the last"
            raise DivergedError(f"diverged: the test loss is {metrics.loss} {where}; lower optimizer.learning_rate.")
        self.clock.lap("evaluate")
        together = {"processes": self.processes.count} if self.processes else {}
        result = Result(
            name=recipe.name,
            test_accuracy=metrics.accuracy,
            test_accuracy_ci95=metrics.accuracy_ci95,
            test_loss=metrics.loss,
            validation_accuracy=validation,
            epochs=trainer.state.epoch,
            steps=int(trainer.optimizer.step.numpy()),
            parameters=model.parameter_count,
            seed=recipe.train.seed,
            weights_sha256=model.sha256(),
            data=DataSummary(
                source=digits.source,
                sha256=digits.sha256,
                train=len(digits.train),
                validation=len(digits.validation),
                test=len(digits.test),
                classes=digits.classes,
                class_names=digits.class_names,
                image_shape=digits.image_shape,
                form=form.to_dict(),
            ),
            compile={"mode": trainer.mode, "block": trainer.plan.block, "threads": threads_set(), **together},
            versions=versions(),
            processors=os.cpu_count(),
            date=_now(),
            host=platform.node(),
            processor=processor_name(),
            command=command_line(),
        )
        if commit:
            result.git_commit = commit
        if recipe.train.patience:
            result.best_epoch = trainer.state.best_epoch
        Evaluation.of(digits.test, probabilities, metrics.loss, digits.class_names).write(path)
        if recipe.train.tensorboard:
            from tfmnist.runs import tensorboard

            tensorboard.write_test(path, result.steps, metrics, digits.class_names)
        write_npz(path / WEIGHTS, {name: v.numpy() for name, v in model.named_variables().items()})
        write_npz(path / INSPECTION, inspect(model, digits.train, recipe.augment, recipe.train.seed))
        figures = background.submit(draw_figures, path) if recipe.export.report else None
        if normalize:
            card = make_card(recipe, result, form)
            version = find_written(path / "model", card) or write(
                path / "model", model, card, normalize.result(), spread(digits.train, 64)
            )
            result.model = version.relative_to(path).as_posix()
        self.clock.lap("export")
        result.seconds, result.files = self.clock.all(), digests(path)
        result.write(path)
        link_latest(path)
        if figures:
            write_report(path, figures.result())
        return Run(path, result.to_dict())


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _describe_choices(recipe: Recipe, trainer: Trainer, digits: Digits) -> list[str]:
    """Returns one line per automatic choice, with the reason."""
    why = "as requested"
    if trainer.settings.compile == "auto":
        processor = "CPU" if trainer.mode == "graph" else "GPU"
        why = f"auto: convolutions on a {processor}" if trainer.model.has_convolutions else "auto: dense layers"
        why = "auto: several processes" if trainer.processes else why
    block = "auto" if trainer.settings.block == "auto" else "as requested"
    lines = [f"compile {trainer.mode} ({why}), {trainer.plan.block} steps per block ({block})"]
    chosen, threads = choose_threads(recipe, digits.image_shape, digits.classes), threads_set()
    if trainer.processes:
        why = "for each of the processes"
    elif chosen != threads:
        why = f"set for the process; {chosen} would suit this run"
    elif recipe.train.threads != "auto":
        why = "as requested" if recipe.train.threads == threads else f"the most, of {recipe.train.threads} requested"
    else:
        why = "auto: steps too small to share" if threads < processors() else "auto: one per processor"
    lines.append(f"threads {threads} ({why})")
    if recipe.model.init_from:
        lines.append(f"from {recipe.model.init_from}, weights {recipe.model.init_sha256[:12]}")
    if frozen := trainer.model.frozen_layers:
        lines.append(f"frozen {', '.join(frozen)}")
    return lines
