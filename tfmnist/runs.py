"""Runs: the only place where a recipe becomes objects, from data to report.

A run folder is complete in itself: what was asked (`recipe.toml`), what happened (`metrics.jsonl`, `checkpoints/`),
what came out (`result.json`, `weights.npz`, `evaluation.npz`, `inspection.npz`, `model/1`, `report.html`, `figures/`).
"""

import json
import math
import os
import platform
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

import tfmnist
from tfmnist.artifacts.saved_model import make_signatures, write_saved_model
from tfmnist.data.folders import Reading
from tfmnist.data.normalize import Form, find_form, normalize
from tfmnist.data.sources import Digits, Split, load_events, load_section
from tfmnist.errors import DivergedError, InputError, Interrupted
from tfmnist.files import check_new_folder, read_npz, write_npz, write_whole
from tfmnist.machine import processors
from tfmnist.nn.losses import probabilities
from tfmnist.nn.models import Network, make_model
from tfmnist.nn.optimizers import make_optimizer
from tfmnist.nn.schedules import make_schedule
from tfmnist.recipe import Recipe
from tfmnist.reports import write_report
from tfmnist.run_folder import locked, make_folder, read_result
from tfmnist.training.checkpoint import list_checkpoints, restore_checkpoint, save_checkpoint
from tfmnist.training.evaluation import outputs, write_evaluation
from tfmnist.training.gradient_check import Comparison, check_gradients
from tfmnist.training.inspection import inspect
from tfmnist.training.loop import Epoch, Progress, Trainer, set_weights
from tfmnist.training.profile import Profile, profile
from tfmnist.training.threads import choose_threads, set_threads, threads_set
from tfmnist.training.transfer import start_from


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


@dataclass(frozen=True)
class Trained:
    """A run that is trained and not judged yet: the test set is not read. `resume` finishes it."""

    path: Path
    epochs: int
    validation_accuracy: float | None
    validation_loss: float | None
    seconds: float  # of training


Event = Reading | Started | Profile | Progress | Epoch | Trained | Run


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


def run_events(
    recipe: Recipe,
    run_dir: str | Path | None = None,
    stop: threading.Event | None = None,
    reporter: Reporter | None = None,
    alone: bool = False,
    profiled: bool = False,
    judged: bool = True,
) -> Iterator[Event]:
    """Like `run`, a step at a time: yields `Started`, then `Progress` and `Epoch` as it goes, and the `Run` at the end;
    before them `Reading`, where pictures are decoded.

    Args:
        recipe: as for `run`.
        run_dir: as for `run`.
        stop: when it is set, the run saves its state after the block under way and raises `Interrupted`.
        reporter: draws the report; by default this process does, at the end.
        alone: the process is there for this run only, which then may choose the number of TensorFlow's threads.
        profiled: measure first where a step's time goes, and yield a `Profile`.
        judged: False to end with `Trained`, before the test set is read, the model exported and the report drawn.
    """
    check_new_folder(run_dir)
    clock = Clock()
    recipe = _anchored(recipe)
    digits = yield from load_events(recipe.data, recipe.train.seed)
    with begun(recipe, digits, run_dir, clock=clock, reporter=reporter, alone=alone) as under_way:
        yield from under_way.go_on(stop, profiled, judged)


def resume_events(
    run_dir: str | Path,
    epochs: int | None = None,
    stop: threading.Event | None = None,
    reporter: Reporter | None = None,
    alone: bool = False,
    profiled: bool = False,
    judged: bool = True,
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
    digits = yield from load_events(recipe.data, recipe.train.seed)
    with begun_before(path, recipe, digits, epochs, clock=clock, reporter=reporter, alone=alone) as under_way:
        yield from under_way.go_on(stop, profiled, judged)


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
        form = _form_in({}, model)
        return _export(_trace(model, loss, form), model, Path(destination), {**card, "loss": loss}, form, names)
    path = Path(run_or_model)
    recipe = Recipe.load_run(path)
    unfinished = InputError(f"{path}: the run is not finished; finish it with 'tfmnist train --resume {path}'.")
    result = read_result(path)
    if result is None:
        raise unfinished
    try:
        weights = read_npz(path / "weights.npz")
    except (OSError, ValueError):
        raise unfinished from None
    names, data = result["data"]["class_names"], result["data"]
    model = make_model(recipe.model, data["image_shape"], len(names), recipe.train.seed)
    set_weights(model, weights)
    form = _form_in(data, model)
    signatures = _trace(model, recipe.loss.kind, form)
    return _export(signatures, model, Path(destination), _card(recipe, result), form, names)


def compare_gradients(recipe: Recipe, examples: int = 20, samples: int = 50) -> list[Comparison]:
    """Holds tape, formulas and differences against each other, at a recipe's initial weights, on its first examples.

    Args:
        recipe: its model is an mlp with relu, sigmoid or tanh, without batch normalisation and dropout.
        examples: number of training examples in the batch.
        samples: how many entries of each variable to hold against central differences.

    Raises:
        InputError: the formulas do not cover the model.
    """
    digits = load_section(recipe.data, recipe.train.seed)
    model = make_model(recipe.model, digits.image_shape, digits.classes, recipe.train.seed)
    if examples > len(digits.train):
        raise InputError(f"--examples is {examples}: {digits.source} has {len(digits.train)} to train; take fewer.")
    images, labels = digits.train.take(np.arange(examples))
    return check_gradients(model, images, labels, recipe.loss, samples=samples, seed=recipe.train.seed)


class Clock:
    """Seconds by phase, for `result.json`."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.seconds: dict[str, float] = {"load": 0.0, "compile": 0.0, "train": 0.0, "evaluate": 0.0, "export": 0.0}
        self._last = self.began

    def lap(self, phase: str) -> None:
        """Adds the time since the last lap to a phase."""
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now

    def all(self) -> dict[str, float]:
        """Returns all phases and the total, rounded to milliseconds."""
        total = {"total": time.perf_counter() - self.began}
        return {phase: round(seconds, 3) for phase, seconds in {**self.seconds, **total}.items()}


def _anchored(recipe: Recipe) -> Recipe:
    """Returns the recipe with folders that mean the same from wherever the run is resumed, evaluated or repeated."""
    changes: dict[str, Any] = {}
    if recipe.data.source != "mnist":
        changes["data.source"] = str(Path(recipe.data.source).expanduser().absolute())
    if recipe.model.init_from:  # runs/latest will be another run soon
        changes["model.init_from"] = str(Path(recipe.model.init_from).expanduser().resolve())
    return recipe.replace(changes) if changes else recipe


def _prepare(recipe: Recipe, digits: Digits, clock: Clock, alone: bool, begun: bool = False) -> tuple[Trainer, Recipe]:
    """Makes the objects that a recipe describes; weights to start from are not needed where a run has begun."""
    settings = recipe.train
    clock.lap("load")
    if alone or settings.threads != "auto":  # before TensorFlow computes
        set_threads(choose_threads(recipe, digits.image_shape, digits.classes))
    model = make_model(recipe.model, digits.image_shape, digits.classes, settings.seed)
    if recipe.model.init_from and not begun:
        digest = start_from(model, digits.class_names, recipe.model.init_from, recipe.model.init_sha256)
        recipe = recipe.replace({"model.init_sha256": digest})
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
    return trainer, recipe


@contextmanager
def begun(
    recipe: Recipe,
    digits: Digits,
    run_dir: str | Path | None,
    *,
    clock: "Clock | None" = None,
    reporter: Reporter | None = None,
    alone: bool = False,
) -> Iterator["UnderWay"]:
    """Gives a new run, ready to train; its folder is made, and locked while it is given."""
    clock = clock or Clock()
    trainer, recipe = _prepare(_anchored(recipe), digits, clock, alone)
    trainer.state.data_sha256 = digits.train.sha256
    path = make_folder(recipe.name, run_dir)
    with locked(path):
        check_new_folder(path)
        write_whole(path / "recipe.toml", recipe.to_toml())
        under_way = UnderWay(path, recipe, digits, trainer, clock, reporter or _Here())
        under_way.write_history()
        yield under_way


@contextmanager
def begun_before(
    path: Path,
    recipe: Recipe,
    digits: Digits,
    epochs: int | None = None,
    *,
    clock: "Clock | None" = None,
    reporter: Reporter | None = None,
    alone: bool = False,
) -> Iterator["UnderWay"]:
    """Gives a run as it stood at its last checkpoint; its folder is locked while it is given."""
    clock = clock or Clock()
    trainer, recipe = _prepare(recipe, digits, clock, alone, begun=bool(list_checkpoints(path / "checkpoints")))
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
        under_way = UnderWay(path, recipe, digits, trainer, clock, reporter or _Here(), tuple(notes))
        under_way.write_history()  # as of this checkpoint
        yield under_way


@dataclass(frozen=True)
class UnderWay:
    """A run whose folder is made and locked: the objects that it consists of, and who draws its report."""

    path: Path
    recipe: Recipe
    digits: Digits
    trainer: Trainer
    clock: Clock
    reporter: Reporter
    notes: tuple[str, ...] = ()

    def go_on(self, stop: threading.Event | None, profiled: bool, judged: bool) -> Iterator[Event]:
        """Trains from where the trainer stands to the end, and yields the events of `run_events`."""
        path, recipe, trainer, clock = self.path, self.recipe, self.trainer, self.clock
        if trainer.finished and (done := read_result(path)) and done["epochs"] == trainer.state.epoch:
            if recipe.export.report and not (path / "report.html").exists():
                self.reporter.write(path)
            yield Run(path, done)
            return
        choices = _choices(recipe, trainer, self.digits)
        yield Started(path, recipe, self.digits, trainer.model, (*self.notes, *choices), trainer.state.epoch + 1)
        clock.lap("compile")
        form = _form_of(self.digits.train)
        with ThreadPoolExecutor(1) as beside:
            # beside compiling and training: neither waits for the other, and each leaves a core idle now and then
            exported = recipe.export.model and judged
            signatures = beside.submit(_trace, trainer.model, recipe.loss.kind, form) if exported else None
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
            if not judged:
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
        """Returns what is known of a trained run before it is judged."""
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
            "versions": _versions(),
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
            card = _card(recipe, result)
            version = _export(signatures.result(), model, path / "model", card, form, digits.class_names)
            result["model"] = version.relative_to(path).as_posix()
        self.clock.lap("export")
        result["seconds"] = self.clock.all()
        write_whole(path / "result.json", json.dumps(result, indent=2) + "\n")
        if recipe.export.report:
            self.reporter.write(path)
        return Run(path, result)


def _trace(model: Network, loss: str, form: Form) -> tf.Module:
    return make_signatures(
        model.forward,
        partial(probabilities, loss),
        partial(normalize, form=form),
        list(model.named_variables().values()),
        image_shape=model.image_shape,
    )


def _export(
    signatures: tf.Module,
    model: Network,
    destination: Path,
    card: dict[str, Any],
    form: Form,
    class_names: Sequence[str],
) -> Path:
    card = {**card, "form": form.to_dict()}
    return write_saved_model(destination, signatures, image_shape=model.image_shape, class_names=class_names, card=card)


def _card(recipe: Recipe, result: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in result.items() if key not in ("data", "versions", "seconds")}
    return {
        "loss": recipe.loss.kind,
        "recipe": recipe.model_dump(mode="json"),
        "result": kept,
        "data": result["data"],
        "versions": result["versions"],
    }


def _form_in(data: dict[str, Any], model: Network) -> Form:
    """Returns the form that a result's data has; MNIST's where it says none, as in runs of version 0.1."""
    return (
        Form.from_dict(data["form"]) if "form" in data else Form(*model.image_shape, centred=True, light_ground=False)
    )


def _form_of(split: Split) -> Form:
    places = np.linspace(0, len(split) - 1, min(len(split), 1000)).astype(np.int64)  # of all classes
    return find_form(split.take(places)[0])


def _choices(recipe: Recipe, trainer: Trainer, digits: Digits) -> list[str]:
    why = "as asked"
    if trainer.settings.compile == "auto":
        why = "auto: convolutions on a CPU" if trainer.model.has_convolutions else "auto: dense layers"
    block = "auto" if trainer.settings.block == "auto" else "as asked"
    lines = [f"compile {trainer.mode} ({why}), {trainer.plan.block} steps a block ({block})"]
    chosen, threads = choose_threads(recipe, digits.image_shape, digits.classes), threads_set()
    if chosen != threads:
        why = f"as the process has them; {chosen} {'suits' if chosen == 1 else 'suit'} this run"
    elif recipe.train.threads != "auto":
        why = "as asked"
    else:
        why = "auto: too small a step to share" if threads < processors() else "auto: one a processor"
    lines.append(f"threads {threads} ({why})")
    if recipe.model.init_from:
        lines.append(f"from {recipe.model.init_from}, weights {recipe.model.init_sha256[:12]}")
    if frozen := [layer.name for layer in trainer.model.layers if layer.frozen]:
        lines.append(f"frozen {', '.join(frozen)}")
    return lines


def _versions() -> dict[str, str]:
    return {
        "tfmnist": tfmnist.__version__,
        "tensorflow": tf.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _last(events: Iterator[Event]) -> Run:
    *_, final = events
    assert isinstance(final, Run)
    return final
