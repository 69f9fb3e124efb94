"""The training loop, top down: blocks of steps, the metrics of an epoch, validation, early stopping."""

import math
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from tfmnist.data.augment import augment_block
from tfmnist.data.pipeline import make_plan, stream_blocks
from tfmnist.data.split import Split
from tfmnist.errors import DivergedError, InputError
from tfmnist.nn.models import Network
from tfmnist.nn.optimizers import Adam, Optimizer
from tfmnist.recipe import Augment, Loss, Train
from tfmnist.training.evaluation import check_split, evaluate
from tfmnist.training.events import Epoch, Progress
from tfmnist.training.screen import TrainingScreen
from tfmnist.training.step import CompileMode, StepResults, WeightAverage, make_steps, train_step


@dataclass
class State:
    """The state of the loop besides the variables: plain numbers, which a checkpoint holds as JSON."""

    epoch: int = 0  # epochs finished
    step: int = 0  # steps done in the current epoch
    loss: float = 0.0  # summed over the examples of the current epoch
    correct: int = 0
    seconds: float = 0.0
    best: float | None = None  # validation score, larger is better
    best_epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    data_sha256: str = ""  # of the training split, if the caller knows it


class Trainer:
    """One training: the model, optimizer, averages and state that `run` changes."""

    def __init__(
        self,
        model: Network,
        optimizer: Optimizer,
        train: Split,
        validation: Split | None,
        settings: Train,
        *,
        loss: Loss = Loss(),
        augment: Augment = Augment(),
        clip_norm: float = 0.0,
    ):
        _check_fit(model, train, validation, settings)
        self.model, self.optimizer, self.settings = model, optimizer, settings
        self.train, self.validation = train, validation if validation is not None and len(validation) else None
        self.loss, self.clip_norm = loss, clip_norm
        augments = augment != Augment()
        self.augment = partial(augment_block, seed=settings.seed, **augment.model_dump()) if augments else None
        self.mode: CompileMode = _choose_mode(settings.compile, model)
        # a call of the compiled loop costs about a millisecond; steps with convolutions allow shorter blocks
        images_per_block = 10_000 if self.mode == "xla" else 2_000
        self.plan = make_plan(len(train), settings.batch_size, settings.block, images_per_block, settings.progress)
        self.averages = WeightAverage(model, settings.average) if settings.average else None
        self.best_weights: dict[str, np.ndarray] | None = None
        self.state = State()
        # of a trained kernel if there is one: frozen layers may leave only scales and offsets to train
        kernels = (p for p in (*model.parameters, *model.named_variables().values()) if p.shape.rank >= 2)
        self._initial_deviation = float(np.std(next(kernels).numpy()))
        options = {"loss": loss, "precision": settings.precision, "clip_norm": clip_norm, "fused": self.mode != "xla"}
        step = partial(train_step, model, optimizer, averages=self.averages, **options)
        self._do_full = self._do_short = make_steps(step, self.mode)
        if self.mode == "xla" and self.plan.full:
            # one smaller batch per epoch: compiling a second XLA program for it would take a second or more
            self._do_short = make_steps(step, "graph")

    def named_variables(self) -> dict[str, tf.Variable]:
        """Returns every variable that training changes, by its name in a checkpoint."""
        groups = {"weights": self.model.named_variables(), "optimizer": self.optimizer.named_variables()}
        if self.averages is not None:
            groups["averages"] = self.averages.named_variables()
        return {f"{group}/{name}": v for group, variables in groups.items() for name, v in variables.items()}

    def compile(self) -> float:
        """Traces and compiles the loop for each shape of block, without training; returns the seconds it took."""
        began = time.perf_counter()
        height, width = self.model.image_shape
        for steps, batch in self.plan.shapes:
            images = tf.zeros([steps, batch, height, width], tf.uint8)
            self.do_steps(images, tf.zeros([steps, batch], tf.int64), 0)
        return time.perf_counter() - began

    def do_steps(self, images: tf.Tensor, labels: tf.Tensor, count: int) -> StepResults:
        """Runs the first `count` steps of a block; arguments and results are those of `make_steps`."""
        do = self._do_full if images.shape[1] == self.plan.batch_size else self._do_short
        return do(images, labels, count)

    def run(self) -> Iterator[Progress | Epoch]:
        """Trains to the last epoch, or to early stopping; yields after each block, an `Epoch` after an epoch's last.

        A checkpoint taken between two yields resumes exactly.

        Raises:
            DivergedError: a loss or a weight is not finite.
        """
        if self.finished:
            return
        state, plan, settings = self.state, self.plan, self.settings
        epochs = range(state.epoch, settings.epochs)
        blocks = stream_blocks(
            self.train, plan, seed=settings.seed, epochs=epochs, skip=state.step, augment=self.augment
        )
        began = time.perf_counter()
        for block in blocks:
            results = self.do_steps(block.images, block.labels, block.end - block.first)
            total, correct, done, last = (result.numpy() for result in results)
            if not math.isfinite(last):
                raise self._diverged(f"the loss is {last}", block.first + int(done))
            state = self.state
            state.step = block.end
            state.loss += float(total)
            state.correct += int(correct)
            state.seconds += time.perf_counter() - began
            if state.step < plan.steps:
                count = state.step * plan.batch_size
                loss, accuracy, speed = state.loss / count, state.correct / count, count / state.seconds
                yield Progress(state.epoch + 1, state.step, plan.steps, loss, accuracy, speed)
            else:
                yield self._close_epoch()
                if self.finished:
                    return
            began = time.perf_counter()

    def _close_epoch(self) -> Epoch:
        """Validates, and returns the metrics of the epoch whose steps are done; `state` moves on to the next."""
        state, plan = self.state, self.plan
        loss, accuracy = self._validate()
        if not all(bool(tf.reduce_all(tf.math.is_finite(v))) for v in self.model.named_variables().values()):
            raise self._diverged("a weight is not finite", plan.steps)
        if loss is not None and not math.isfinite(loss):
            raise self._diverged(f"the validation loss is {loss}", plan.steps)
        epoch = Epoch(
            epoch=state.epoch + 1,
            step=int(self.optimizer.step.numpy()),
            loss=state.loss / plan.count,
            accuracy=state.correct / plan.count,
            validation_loss=loss,
            validation_accuracy=accuracy,
            learning_rate=self._last_learning_rate(),
            seconds=state.seconds,
            images_per_second=plan.count / state.seconds,
        )
        history = [*state.history, asdict(epoch)]
        self.state = replace(state, epoch=epoch.epoch, step=0, loss=0.0, correct=0, seconds=0.0, history=history)
        if loss is not None and accuracy is not None:
            score = accuracy if self.settings.monitor == "accuracy" else -loss
            if state.best is None or score > state.best:
                self.state.best, self.state.best_epoch = score, epoch.epoch
                if self.settings.patience:
                    self.best_weights = self._current_weights()
        return epoch

    def _validate(self) -> tuple[float | None, float | None]:
        """Returns loss and accuracy on the validation set, by the averaged weights if there are any."""
        if self.validation is None:
            return None, None
        with restored(self.model.named_variables().values()):
            if self.averages is not None:
                set_weights(self.model, self._current_weights())
            metrics = evaluate(self.model, self.validation, self.loss.kind)
        return metrics.loss, metrics.accuracy

    @property
    def finished(self) -> bool:
        """Whether the last epoch is done, or patience has run out."""
        state, patience = self.state, self.settings.patience
        return state.epoch >= self.settings.epochs or bool(patience and state.epoch - state.best_epoch >= patience)

    def final_weights(self) -> dict[str, np.ndarray]:
        """Returns the weights to use: the best epoch's with early stopping, else the averages, else the last."""
        return self.best_weights or self._current_weights()

    def _current_weights(self) -> dict[str, np.ndarray]:
        variables = (self.averages or self.model).named_variables()
        return {name: variable.numpy() for name, variable in variables.items()}

    def _last_learning_rate(self) -> float:
        return float(self.optimizer.schedule(tf.maximum(self.optimizer.step - 1, 0)))

    def _diverged(self, what: str, step: int) -> DivergedError:
        """Returns the error that says where in training a number was no longer finite, and the likely causes."""
        naive = ", or log(softmax) of a probability of 0 (loss.kind cross_entropy)"
        return DivergedError(
            f"diverged: {what} at epoch {self.state.epoch + 1}, step {step} of {self.plan.steps}, learning rate "
            f"{self._last_learning_rate():.4g}, initial weights of standard deviation {self._initial_deviation:.3g}. "
            "Likely causes: a learning rate too high (lower optimizer.learning_rate, add schedule.warmup or "
            "optimizer.clip_norm) or initial weights too large (model.initializer he or glorot, or a lower "
            f"model.init_scale){naive if self.loss.kind == 'naive_cross_entropy' else ''}."
        )


def fit(
    model: Network,
    train: Split,
    *,
    validation: Split | None = None,
    optimizer: Optimizer | None = None,
    loss: Loss | Literal["cross_entropy", "quadratic"] = "cross_entropy",
    augment: Augment | None = None,
    clip_norm: float = 0.0,
    epochs: int = 5,
    batch_size: int = 100,
    seed: int = 0,
    precision: Literal["float32", "bfloat16"] = "float32",
    block: int | Literal["auto"] = "auto",
    compile: Literal["auto", "xla", "graph", "eager"] = "auto",
    average: float = 0.0,
    patience: int = 0,
    monitor: Literal["accuracy", "loss"] = "accuracy",
    progress: bool | int = True,
) -> list[Epoch]:
    """Trains a network in place, shows its progress, and returns one `Epoch` per epoch.

    Args:
        model: `tfmnist.MLP` or `tfmnist.CNN`; ends with the weights to use (the best epoch's with early stopping, the
            averages with averaging, else the last).
        train: the training examples.
        validation: evaluated after every epoch, never trained on.
        optimizer: over `model.parameters`; by default `Adam` with learning rate 0.001.
        loss: the name of a loss, or a `tfmnist.recipe.Loss` for smoothing and penalties.
        augment: random changes of the images, a `tfmnist.recipe.Augment`.
        clip_norm: limit of the gradients' global norm, 0 for none.
        epochs: passes over the training examples.
        batch_size: examples per step; the last, smaller batch of an epoch is trained too.
        seed: decides the order of the examples and the augmentation.
        precision: dtype of the forward and backward pass; weights, updates, logits and loss are float32.
        block: steps per call of the compiled loop.
        compile: `auto` is XLA for networks of dense layers, graph for convolutions on a CPU.
        average: decay of the exponential moving average of the weights, 0 for none.
        patience: stop after this many epochs without a better validation result, 0 for never.
        monitor: the validation result that `patience` watches.
        progress: whether to show a live line in a terminal or a notebook and a printed line per epoch; False or 0 to
            print nothing; a number to print a line every so many steps, too.

    Raises:
        InputError: a value is out of range, or data and model do not fit.
        DivergedError: a loss or a weight is not finite.
    """
    settings = Train(
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        precision=precision,
        block=block,
        compile=compile,
        average=average,
        patience=patience,
        monitor=monitor,
        progress=0 if isinstance(progress, bool) else progress,
    )
    optimizer = optimizer or Adam(model.parameters)
    loss = loss if isinstance(loss, Loss) else Loss(kind=loss)
    augment = augment or Augment()
    trainer = Trainer(model, optimizer, train, validation, settings, loss=loss, augment=augment, clip_norm=clip_norm)
    history: list[Epoch] = []
    with TrainingScreen(quiet=not progress) as screen:
        screen.begin(epochs, trainer.plan.count, batch_size, settings.progress)
        for event in trainer.run():
            screen.show(event)
            history += [event] if isinstance(event, Epoch) else []
    set_weights(model, trainer.final_weights())
    return history


def set_weights(model: Network, weights: Mapping[str, np.ndarray]) -> None:
    """Assigns weights by name, as `named_variables` names them."""
    for name, variable in model.named_variables().items():
        variable.assign(weights[name])


@contextmanager
def restored(variables: Collection[tf.Variable]) -> Iterator[None]:
    """Restores the values of the variables at the end of the block, whatever happens inside."""
    values = [tf.identity(variable) for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def _choose_mode(requested: str, model: Network) -> CompileMode:
    """Returns how to compile. On a CPU, XLA halves the time of small dense steps and doubles that of convolutions."""
    if requested != "auto":
        return requested  # type: ignore[return-value]
    return "graph" if model.has_convolutions and not tf.config.list_logical_devices("GPU") else "xla"


def _check_fit(model: Network, train: Split, validation: Split | None, settings: Train) -> None:
    """Raises an `InputError` if data, model and settings do not fit each other."""
    if not len(train):
        raise InputError("there are no training examples; give some, or lower data.validation.")
    check_split(train, model, "training")
    if validation is not None and len(validation):
        check_split(validation, model, "validation")
    elif settings.patience:
        raise InputError(
            f"patience is {settings.patience} but there are no validation examples; give some, or patience=0."
        )
