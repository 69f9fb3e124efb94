"""Runs: the only place where a recipe becomes objects, from data to report.

A run folder is complete in itself: what was asked (`recipe.toml`), what happened (`metrics.jsonl`, `checkpoints/`),
what came out (`result.json`, `evaluation.npz`, `model/1`, `report.html`, `figures/`).
"""

import fcntl
import json
import math
import os
import platform
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import tfmnist
from tfmnist.artifacts.saved_model import write_saved_model
from tfmnist.data.sources import Digits, load
from tfmnist.errors import DivergedError, InputError, Interrupted
from tfmnist.files import check_new_folder, read_npz, write_npz, write_whole
from tfmnist.nn.losses import probabilities
from tfmnist.nn.models import Network, make_model
from tfmnist.nn.optimizers import make_optimizer
from tfmnist.nn.schedules import make_schedule
from tfmnist.recipe import Recipe
from tfmnist.reports import write_report
from tfmnist.training.checkpoint import list_checkpoints, restore_checkpoint, save_checkpoint
from tfmnist.training.evaluation import outputs, write_evaluation
from tfmnist.training.loop import Epoch, Progress, Trainer, set_weights


@dataclass(frozen=True)
class Started:
    """A run is about to train: what it is, and what was chosen for it."""

    path: Path
    recipe: Recipe
    digits: Digits
    model: Network
    notes: tuple[str, ...]
    first_epoch: int  # from 1; larger than 1 where a run is resumed


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, and what `result.json` says."""

    path: Path
    result: dict[str, Any]

    @property
    def test_accuracy(self) -> float:
        """Share of the test images that the final model gets right."""
        return self.result["test_accuracy"]


Event = Started | Progress | Epoch | Run


def run(recipe: Recipe | str | Path = "mlp", run_dir: str | Path | None = None) -> Run:
    """Trains a recipe, evaluates it on the test set, exports it, and writes the run folder.

    Args:
        recipe: a recipe, the name of a shipped one, or the path of a `.toml` file.
        run_dir: a new or empty folder; by default `runs/<recipe>-<UTC time>`, which `runs/latest` then points to.

    Raises:
        InputError: the recipe or its data are wrong, or the folder is not empty; nothing was written.
        DivergedError: a loss was not finite; the last good checkpoint is intact.
    """
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    return _last(run_events(recipe, run_dir))


def resume(run_dir: str | Path, epochs: int | None = None) -> Run:
    """Goes on with a run exactly where it stopped, to the same weights as without the stop.

    Args:
        run_dir: the run's folder.
        epochs: the new total number of epochs, or None for the recipe's own.
    """
    return _last(resume_events(run_dir, epochs))


def run_events(
    recipe: Recipe, run_dir: str | Path | None = None, stop: threading.Event | None = None
) -> Iterator[Event]:
    """Like `run`, a step at a time: yields `Started`, then `Progress` and `Epoch` as it goes, and the `Run` at the end.

    When `stop` is set, the run saves its state after the block under way and raises `Interrupted`.
    """
    check_new_folder(run_dir)
    clock = Clock()
    if recipe.data.source != "mnist":  # the folder must mean the same from wherever it is resumed or evaluated
        recipe = recipe.replace({"data.source": str(Path(recipe.data.source).expanduser().absolute())})
    digits, trainer = _prepare(recipe, clock)
    trainer.state.data_sha256 = digits.train.sha256
    path = _make_folder(recipe, run_dir)
    with _locked(path):
        check_new_folder(path)
        write_whole(path / "recipe.toml", recipe.to_toml())
        yield from _train(path, recipe, digits, trainer, clock, stop)


def resume_events(
    run_dir: str | Path, epochs: int | None = None, stop: threading.Event | None = None
) -> Iterator[Event]:
    """Like `resume`, with the events of `run_events`."""
    path = Path(run_dir)
    recipe = Recipe.load_run(path)
    clock = Clock()
    if epochs is not None and epochs != recipe.train.epochs:
        if recipe.schedule.kind in ("cosine", "one_cycle"):
            raise InputError(
                f"{path}: its {recipe.schedule.kind} schedule depends on train.epochs, which is {recipe.train.epochs}: "
                "resume it without another number, or start a new run."
            )
        recipe = recipe.replace({"train.epochs": epochs})
    digits, trainer = _prepare(recipe, clock)
    with _locked(path):  # before the checkpoint is read: it must still be the newest when it is gone on from
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
        begun = state.epoch + bool(state.step)
        if epochs is not None and begun > epochs:
            raise InputError(f"{path}: has begun {begun} epochs, train.epochs {epochs} is fewer; ask for more.")
        if state.data_sha256 not in ("", digits.train.sha256):
            raise InputError(
                f"{path}: {recipe.data.source} holds other data than when the run began; put the old data back."
            )
        state.data_sha256 = digits.train.sha256
        write_whole(path / "recipe.toml", recipe.to_toml())
        yield from _train(path, recipe, digits, trainer, clock, stop, notes)


def export(
    run_or_model: str | Path | Network,
    destination: str | Path,
    *,
    class_names: Sequence[str] | None = None,
    loss: str = "cross_entropy",
) -> Path:
    """Writes a trained network as the next version of a model folder.

    Args:
        run_or_model: a run's folder, or a network that was trained with `tfmnist.fit`.
        destination: the model's folder; gets a sub-folder `1`, or the next number.
        class_names: for a network, a name a class; by default the numbers from 0.
        loss: for a network, the kind it was trained with; decides how logits become probabilities.

    Returns:
        The version's folder.

    Raises:
        InputError: the run is not finished, the names do not fit, or the folder cannot be written.
    """
    if isinstance(run_or_model, Network):
        model = run_or_model
        names = [str(n) for n in range(model.classes)] if class_names is None else list(class_names)
        if len(names) != model.classes:
            raise InputError(f"class_names has {len(names)} names, the model {model.classes} classes; give one each.")
        card = {"parameters": model.parameter_count, "versions": _versions()}
        return _export(model, Path(destination), names, card, loss)
    path = Path(run_or_model)
    recipe = Recipe.load_run(path)
    unfinished = InputError(f"{path}: the run is not finished; finish it with 'tfmnist train --resume {path}'.")
    result = _result_of(path)
    if result is None:
        raise unfinished
    try:
        weights = read_npz(path / "weights.npz")
    except (OSError, ValueError):
        raise unfinished from None
    names = result["data"]["class_names"]
    model = make_model(recipe.model, result["data"]["image_shape"], len(names), recipe.train.seed)
    set_weights(model, weights)
    return _export(model, Path(destination), names, _card(recipe, result), recipe.loss.kind)


class Clock:
    """Seconds by phase, for `result.json`."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.seconds: dict[str, float] = {"load": 0.0, "compile": 0.0, "train": 0.0, "evaluate": 0.0, "export": 0.0}
        self._last = self.began

    def lap(self, phase: str) -> None:
        """Adds the time since the last lap to a phase."""
        now = time.perf_counter()
        self.seconds[phase] += now - self._last
        self._last = now

    def all(self) -> dict[str, float]:
        """Returns all phases and the total, rounded to milliseconds."""
        total = {"total": time.perf_counter() - self.began}
        return {phase: round(seconds, 3) for phase, seconds in {**self.seconds, **total}.items()}


def _prepare(recipe: Recipe, clock: Clock) -> tuple[Digits, Trainer]:
    settings = recipe.train
    digits = load(
        recipe.data.source, validation=recipe.data.validation, seed=settings.seed, classes=recipe.data.classes
    )
    clock.lap("load")
    model = make_model(recipe.model, digits.image_shape, digits.classes, settings.seed)
    steps = -(-len(digits.train) // settings.batch_size)
    schedule = make_schedule(recipe.schedule, recipe.optimizer.learning_rate, steps, settings.epochs)
    trainer = Trainer(
        model,
        make_optimizer(recipe.optimizer, model.parameters, schedule, fused=True),
        digits.train,
        digits.validation,
        settings,
        loss=recipe.loss,
        augment=recipe.augment,
        clip_norm=recipe.optimizer.clip_norm,
    )
    return digits, trainer


def _train(
    path: Path,
    recipe: Recipe,
    digits: Digits,
    trainer: Trainer,
    clock: Clock,
    stop: threading.Event | None,
    notes: list[str] | None = None,
) -> Iterator[Event]:
    if trainer.finished and (done := _result_of(path)) and done["epochs"] == trainer.state.epoch:
        if recipe.export.report and not (path / "report.html").exists():
            write_report(path)
        yield Run(path, done)
        return
    text = recipe.to_toml()
    first = trainer.state.epoch + 1
    yield Started(path, recipe, digits, trainer.model, (*(notes or []), *_choices(trainer)), first)
    clock.lap("compile")
    if not trainer.finished:
        trainer.compile()
    clock.lap("compile")
    _write_history(path, trainer)
    try:
        for event in trainer.run():
            if isinstance(event, Epoch):
                save_checkpoint(path / "checkpoints", trainer, text)
                _write_history(path, trainer)
            yield event
            if stop is not None and stop.is_set() and not trainer.finished:
                save_checkpoint(path / "checkpoints", trainer, text)
                raise Interrupted(f"stopped and saved; go on with: tfmnist train --resume {path}")
    except DivergedError as error:
        kept = list_checkpoints(path / "checkpoints")
        raise DivergedError(f"{error} Last good checkpoint: {kept[-1] if kept else 'none yet'}.") from None
    clock.lap("train")
    set_weights(trainer.model, trainer.final_weights())
    yield _finish(path, recipe, digits, trainer, clock)


def _finish(path: Path, recipe: Recipe, digits: Digits, trainer: Trainer, clock: Clock) -> Run:
    model, loss = trainer.model, recipe.loss.kind
    validation = outputs(model, digits.validation, loss)[0].accuracy if len(digits.validation) else None
    metrics, shares = outputs(model, digits.test, loss)  # the one time that the test set is read
    if not math.isfinite(metrics.loss):
        raise DivergedError(f"diverged: the test loss is {metrics.loss}; lower optimizer.learning_rate.")
    clock.lap("evaluate")
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
        },
        "compile": {"mode": trainer.mode, "block": trainer.plan.block},
        "versions": _versions(),
        "processors": os.cpu_count(),
    }
    if recipe.train.patience:
        result["best_epoch"] = trainer.state.best_epoch
    write_evaluation(path / "evaluation.npz", digits.test, shares, metrics.loss, digits.class_names)
    write_npz(path / "weights.npz", {name: v.numpy() for name, v in model.named_variables().items()})
    if recipe.export.model:
        version = _export(model, path / "model", digits.class_names, _card(recipe, result), loss)
        result["model"] = version.relative_to(path).as_posix()
    clock.lap("export")
    result["seconds"] = clock.all()
    write_whole(path / "result.json", json.dumps(result, indent=2) + "\n")
    if recipe.export.report:
        write_report(path)
    return Run(path, result)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds a run's folder for this process alone; the lock goes with the process, however it ends."""
    folder = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{path}: another process is training there; wait for it, or choose another.") from None
        yield
    finally:
        os.close(folder)


def _result_of(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads((path / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _export(model: Network, destination: Path, class_names: Sequence[str], card: dict[str, Any], loss: str) -> Path:
    return write_saved_model(
        destination,
        model.forward,
        partial(probabilities, loss),
        list(model.named_variables().values()),
        image_shape=model.image_shape,
        class_names=class_names,
        card={"loss": loss, **card},
    )


def _card(recipe: Recipe, result: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in result.items() if key not in ("data", "versions", "seconds")}
    return {
        "recipe": recipe.model_dump(mode="json"),
        "result": kept,
        "data": result["data"],
        "versions": result["versions"],
    }


def _choices(trainer: Trainer) -> list[str]:
    why = "as asked"
    if trainer.settings.compile == "auto":
        why = "auto: convolutions on a CPU" if trainer.model.has_convolutions else "auto: dense layers"
    block = "auto" if trainer.settings.block == "auto" else "as asked"
    return [f"compile {trainer.mode} ({why}), {trainer.plan.block} steps a block ({block})"]


def _write_history(path: Path, trainer: Trainer) -> None:
    write_whole(path / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in trainer.state.history))


def _versions() -> dict[str, str]:
    return {
        "tfmnist": tfmnist.__version__,
        "tensorflow": tf.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _make_folder(recipe: Recipe, run_dir: str | Path | None) -> Path:
    try:
        if run_dir is not None:
            path = Path(run_dir)
            path.mkdir(parents=True, exist_ok=True)
            return path
        stem = f"runs/{recipe.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        path, number = Path(stem), 1
        while True:
            try:
                path.mkdir(parents=True)
                break
            except FileExistsError:
                number += 1
                path = Path(f"{stem}-{number}")
        link = path.parent / f".latest-{os.getpid()}"
        try:
            link.symlink_to(path.name)
            link.replace(path.parent / "latest")
        except OSError:  # a folder of that name is in the way, or the disk knows no links: it is only a convenience
            link.unlink(missing_ok=True)
        return path
    except OSError as error:
        raise InputError(
            f"{error.filename}: cannot make the run folder: {error.strerror}; choose another with --run-dir."
        ) from None


def _last(events: Iterator[Event]) -> Run:
    *_, final = events
    assert isinstance(final, Run)
    return final
