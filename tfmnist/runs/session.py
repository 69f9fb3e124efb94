"""Runs: the only place where a recipe becomes objects, from data to report.

A run folder is complete in itself: what was asked (`recipe.toml`), what happened (`metrics.jsonl`, `checkpoints/`),
what came out (`result.json`, `weights.npz`, `evaluation.npz`, `inspection.npz`, `model/1`, `report.html`, `figures/`).
"""

import json
import math
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import tensorflow as tf

from tfmnist.data.split import Digits
from tfmnist.errors import DivergedError, InputError, Interrupted
from tfmnist.photos.normalize import Form
from tfmnist.recipe import Recipe
from tfmnist.runs.build import anchored, build_trainer, describe_choices
from tfmnist.runs.events import Clock, Event, Run, Started, Trained
from tfmnist.runs.export import form_of, make_card, trace, versions, write_model
from tfmnist.runs.folder import check_new_folder, locked, make_folder
from tfmnist.runs.report import write_report
from tfmnist.runs.result import read_result, write_evaluation
from tfmnist.system.files import write_npz, write_whole
from tfmnist.training.checkpoint import list_checkpoints, restore_checkpoint, save_checkpoint
from tfmnist.training.evaluation import outputs
from tfmnist.training.inspection import inspect
from tfmnist.training.loop import Epoch, Trainer, set_weights
from tfmnist.training.profile import profile
from tfmnist.training.threads import threads_set


class Reporter(Protocol):
    """Who draws a run's report: this process, or a `ReportProcess` beside it."""

    def draw(self, run: Path) -> None:
        """The evaluation is written: the figures can be drawn."""
        ...

    def write(self, run: Path) -> Path:
        """The run is finished: writes the report and returns its path."""
        ...


class _Here:
    """Draws in this process, when the run is finished."""

    def draw(self, run: Path) -> None:
        pass

    def write(self, run: Path) -> Path:
        return write_report(run)


@contextmanager
def new_session(
    recipe: Recipe,
    digits: Digits,
    run_dir: str | Path | None,
    *,
    clock: "Clock | None" = None,
    reporter: Reporter | None = None,
    owns_process: bool = False,
) -> Iterator["RunSession"]:
    """Gives a new run, ready to train; its folder is made, and locked while it is given."""
    clock = clock or Clock()
    trainer, recipe = build_trainer(anchored(recipe), digits, clock, owns_process)
    trainer.state.data_sha256 = digits.train.sha256
    path = make_folder(recipe.name, run_dir)
    with locked(path):
        check_new_folder(path)
        write_whole(path / "recipe.toml", recipe.to_toml())
        session = RunSession(path, recipe, digits, trainer, clock, reporter or _Here())
        session.write_history()
        yield session


@contextmanager
def resume_session(
    path: Path,
    recipe: Recipe,
    digits: Digits,
    epochs: int | None = None,
    *,
    clock: "Clock | None" = None,
    reporter: Reporter | None = None,
    owns_process: bool = False,
) -> Iterator["RunSession"]:
    """Gives a run as it stood at its last checkpoint; its folder is locked while it is given."""
    clock = clock or Clock()
    trainer, recipe = build_trainer(
        recipe, digits, clock, owns_process, resumed=bool(list_checkpoints(path / "checkpoints"))
    )
    with locked(path):  # before the checkpoint is read: it must still be the newest when it is gone on from
        notes: list[str] = []
        checkpoints = list_checkpoints(path / "checkpoints")
        for checkpoint in reversed(checkpoints):
            try:
                restore_checkpoint(checkpoint, trainer)
                break
            except InputError as error:
                if checkpoint == checkpoints[0]:
                    raise
                notes.append(f"passed over: {error}")
        state = trainer.state
        done = state.epoch + bool(state.step)
        if epochs is not None and done > epochs:
            raise InputError(f"{path}: has begun {done} epochs, train.epochs {epochs} is fewer; ask for more.")
        if state.data_sha256 not in ("", digits.train.sha256):
            raise InputError(
                f"{path}: {recipe.data.source} holds other data than when the run began; put the old data back."
            )
        state.data_sha256 = digits.train.sha256
        write_whole(path / "recipe.toml", recipe.to_toml())
        session = RunSession(path, recipe, digits, trainer, clock, reporter or _Here(), tuple(notes))
        session.write_history()  # as of this checkpoint
        yield session


@dataclass(frozen=True)
class RunSession:
    """A run whose folder is made and locked: the objects that it consists of, and who draws its report."""

    path: Path
    recipe: Recipe
    digits: Digits
    trainer: Trainer
    clock: Clock
    reporter: Reporter
    notes: tuple[str, ...] = ()

    def run(self, stop: threading.Event | None, profiled: bool, evaluate_test: bool) -> Iterator[Event]:
        """Trains from where the trainer stands to the end, and yields the events of `run_events`."""
        path, recipe, trainer, clock = self.path, self.recipe, self.trainer, self.clock
        if trainer.finished and (done := read_result(path)) and done["epochs"] == trainer.state.epoch:
            if recipe.export.report and not (path / "report.html").exists():
                self.reporter.write(path)
            yield Run(path, done)
            return
        choices = describe_choices(recipe, trainer, self.digits)
        yield Started(path, recipe, self.digits, trainer.model, (*self.notes, *choices), trainer.state.epoch + 1)
        clock.lap("compile")
        form = form_of(self.digits.train)
        with ThreadPoolExecutor(1) as beside:
            # beside compiling and training: neither waits for the other, and each leaves a core idle now and then
            exported = recipe.export.model and evaluate_test
            signatures = beside.submit(trace, trainer.model, recipe.loss.kind, form) if exported else None
            if not trainer.finished:
                trainer.compile()
            clock.lap("compile")
            if profiled:
                wait([signatures] if signatures else [])  # nothing else shall compute while it is measured
                found = profile(trainer)
                write_whole(path / "profile.json", json.dumps(found.to_dict(), indent=2) + "\n")
                clock.lap("profile")
                yield found
            yield from self._train(stop)
            clock.lap("train")
            if not evaluate_test:
                yield self.trained()
                return
            set_weights(trainer.model, trainer.final_weights())
            yield self._finish(form, signatures)

    def save(self) -> None:
        """Writes the history, then a checkpoint, so that a kill between them leaves none ahead of its history."""
        self.write_history()
        save_checkpoint(self.path / "checkpoints", self.trainer, self.recipe.to_toml())

    def interrupted(self) -> Interrupted:
        """Saves, and returns what says so."""
        self.save()
        return Interrupted(f"stopped and saved; go on with: tfmnist train --resume {self.path}")

    def diverged(self, error: DivergedError) -> DivergedError:
        """Returns the error with what is left."""
        kept = list_checkpoints(self.path / "checkpoints")
        return DivergedError(f"{error} Last good checkpoint: {kept[-1] if kept else 'none yet'}.")

    def trained(self) -> Trained:
        """Returns what is known of a trained run that has not been evaluated on the test set."""
        state = self.trainer.state
        epochs = state.history[state.best_epoch - 1 if self.recipe.train.patience else -1]
        seconds = sum(row["seconds"] for row in state.history)
        return Trained(self.path, state.epoch, epochs["validation_accuracy"], epochs["validation_loss"], seconds)

    def write_history(self) -> None:
        """Writes `metrics.jsonl`, a line for each epoch so far."""
        lines = (json.dumps(row) + "\n" for row in self.trainer.state.history)
        write_whole(self.path / "metrics.jsonl", "".join(lines))

    def _train(self, stop: threading.Event | None) -> Iterator[Event]:
        try:
            for event in self.trainer.run():
                if isinstance(event, Epoch):
                    self.save()
                yield event
                if stop is not None and stop.is_set() and not self.trainer.finished:
                    raise self.interrupted()
        except DivergedError as error:
            raise self.diverged(error) from None

    def _finish(self, form: Form, signatures: "Future[tf.Module] | None") -> Run:
        path, recipe, digits, trainer = self.path, self.recipe, self.digits, self.trainer
        model, loss = trainer.model, recipe.loss.kind
        validation = outputs(model, digits.validation, loss)[0].accuracy if len(digits.validation) else None
        metrics, shares = outputs(model, digits.test, loss)  # the one time that the test set is read
        if not math.isfinite(metrics.loss):
            raise DivergedError(f"diverged: the test loss is {metrics.loss}; lower optimizer.learning_rate.")
        self.clock.lap("evaluate")
        result = {
            "name": recipe.name,
            "test_accuracy": metrics.accuracy,
            "test_accuracy_ci95": list(metrics.accuracy_ci95),
            "test_loss": metrics.loss,
            "validation_accuracy": validation,
            "epochs": trainer.state.epoch,
            "steps": int(trainer.optimizer.step.numpy()),
            "parameters": model.parameter_count,
            "seed": recipe.train.seed,
            "weights_sha256": model.sha256(),
            "data": {
                "source": digits.source,
                "sha256": digits.sha256,
                "train": len(digits.train),
                "validation": len(digits.validation),
                "test": len(digits.test),
                "classes": digits.classes,
                "class_names": list(digits.class_names),
                "image_shape": list(digits.image_shape),
                "form": form.to_dict(),
            },
            "compile": {"mode": trainer.mode, "block": trainer.plan.block, "threads": threads_set()},
            "versions": versions(),
            "processors": os.cpu_count(),
        }
        if recipe.train.patience:
            result["best_epoch"] = trainer.state.best_epoch
        write_evaluation(path / "evaluation.npz", digits.test, shares, metrics.loss, digits.class_names)
        write_npz(path / "weights.npz", {name: v.numpy() for name, v in model.named_variables().items()})
        write_npz(path / "inspection.npz", inspect(model, digits.train, recipe.augment, recipe.train.seed))
        if recipe.export.report:
            self.reporter.draw(path)
        if signatures:
            card = make_card(recipe, result)
            version = write_model(signatures.result(), model, path / "model", card, form, digits.class_names)
            result["model"] = version.relative_to(path).as_posix()
        self.clock.lap("export")
        result["seconds"] = self.clock.all()
        write_whole(path / "result.json", json.dumps(result, indent=2) + "\n")
        if recipe.export.report:
            self.reporter.write(path)
        return Run(path, result)
