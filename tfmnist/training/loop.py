"""The training loop, top down: blocks of steps, an epoch's numbers, validation, early stopping."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np
import tensorflow as tf

from tfmnist.data.augment import augment_block
from tfmnist.data.pipeline import make_plan, stream_blocks
from tfmnist.data.split import Split
from tfmnist.errors import DivergedError, InputError
from tfmnist.nn.models import Network
from tfmnist.nn.optimizers import Adam, Optimizer
from tfmnist.recipe import Augment, Loss, Train
from tfmnist.training.evaluation import evaluate
from tfmnist.training.step import CompileMode, WeightAverage, make_steps, train_step


class Weights(Protocol):
    """What owns variables: a network, several as one, averages."""

    def named_variables(self) -> dict[str, tf.Variable]:
        """Returns them by name."""
        ...


@dataclass(frozen=True)
class Progress:
    """Where an epoch under way stands; loss and accuracy are the means over its steps so far."""

    epoch: int  # from 1
    step: int
    steps: int  # of the epoch
    loss: float
    accuracy: float
    images_per_second: float


@dataclass(frozen=True)
class Epoch:
    """The numbers of one finished epoch: a line of `metrics.jsonl`."""

    epoch: int  # from 1
    step: int  # since the start of training
    loss: float
    accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    learning_rate: float
    seconds: float
    images_per_second: float


@dataclass
class State:
    """What the loop knows beside the variables; plain numbers, so that a checkpoint can hold it as JSON."""

    epoch: int = 0  # finished
    step: int = 0  # done of the epoch under way
    loss: float = 0.0  # summed over the examples of the epoch under way
    correct: int = 0
    seconds: float = 0.0
    best: float | None = None  # validation result, larger is better
    best_epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    data_sha256: str = ""  # of the training split, where the caller knows it


class Trainer:
    """Everything that a run changes, in one place: weights, slots, averages, state. `run` moves it on."""

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
        check_fit(model, train, validation, settings)
        self.model, self.optimizer, self.settings = model, optimizer, settings
        self.train, self.validation = train, validation if validation is not None and len(validation) else None
        self.loss, self.clip_norm = loss, clip_norm
        random = augment != Augment()
        self.augment = partial(augment_block, seed=settings.seed, **augment.model_dump()) if random else None
        self.mode: CompileMode = choose_mode(settings.compile, model)
        optimizer.fused = self.mode != "xla"
        # a call of the compiled loop costs about a millisecond; a convolution's step is slow enough for shorter blocks
        images = 10_000 if self.mode == "xla" else 2_000
        self.plan = make_plan(len(train), settings.batch_size, settings.block, images, settings.progress)
        self.averages = WeightAverage(model, settings.average) if settings.average else None
        self.best_weights: dict[str, np.ndarray] | None = None
        self.state = State()
        # of what is trained, where that has a kernel: frozen layers may leave scales and offsets alone
        kernels = (p for p in (*model.parameters, *model.named_variables().values()) if p.shape.rank >= 2)
        self.initial_deviation = float(np.std(next(kernels).numpy()))
        step = partial(
            train_step,
            model,
            optimizer,
            loss=loss,
            precision=settings.precision,
            clip_norm=clip_norm,
            averages=self.averages,
        )
        self._do_full = self._do_short = make_steps(step, self.mode)
        if self.mode == "xla" and self.plan.full:
            # one smaller batch an epoch: XLA would compile a second program for it, for a second or more
            self._do_short = make_steps(step, "graph")

    def named_variables(self) -> dict[str, tf.Variable]:
        """Returns every variable that training changes, by the name it has in a checkpoint."""
        return named_variables(self.model, self.optimizer, self.averages)

    def compile(self) -> float:
        """Traces and compiles the loop for each shape of block, without a step done; returns the seconds it took."""
        began = time.perf_counter()
        height, width = self.model.image_shape
        for steps, batch in self.plan.shapes:
            images = tf.zeros([steps, batch, height, width], tf.uint8)
            self.do_steps(images, tf.zeros([steps, batch], tf.int64), 0)
        return time.perf_counter() - began

    def do_steps(
        self, images: tf.Tensor, labels: tf.Tensor, count: int
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Does the first `count` steps of a block and returns what `make_steps` says."""
        do = self._do_full if images.shape[1] == self.plan.batch_size else self._do_short
        return do(images, labels, count)

    def run(self) -> Iterator[Progress | Epoch]:
        """Trains to the last epoch, or to early stopping; yields after each block, an `Epoch` after an epoch's last.

        Between two yields nothing is half done: a checkpoint taken there resumes exactly.

        Raises:
            DivergedError: a loss or a weight is not finite.
        """
        if self.finished:
            return
        state, plan = self.state, self.plan
        epochs = range(state.epoch, self.settings.epochs)
        blocks = stream_blocks(
            self.train, plan, seed=self.settings.seed, epochs=epochs, skip=state.step, augment=self.augment
        )
        began = time.perf_counter()
        for block in blocks:
            total, correct, done, last = (
                x.numpy() for x in self.do_steps(block.images, block.labels, block.end - block.first)
            )
            if not math.isfinite(last):
                raise self.diverged(f"the loss is {last}", block.first + int(done))
            state = self.state
            state.step = block.end
            state.loss += float(total)
            state.correct += int(correct)
            state.seconds += time.perf_counter() - began
            if state.step < plan.steps:
                seen = state.step * plan.batch_size
                yield Progress(
                    state.epoch + 1,
                    state.step,
                    plan.steps,
                    state.loss / seen,
                    state.correct / seen,
                    seen / state.seconds,
                )
            else:
                yield self.close_epoch(*self._validate())
                if self.finished:
                    return
            began = time.perf_counter()

    def close_epoch(self, loss: float | None, accuracy: float | None) -> Epoch:
        """Ends the epoch whose steps are done, with its validation results, and returns its numbers.

        Raises:
            DivergedError: a weight or the validation loss is not finite.
        """
        state, plan = self.state, self.plan
        if not all(bool(tf.reduce_all(tf.math.is_finite(v))) for v in self.model.named_variables().values()):
            raise self.diverged("a weight is not finite", plan.steps)
        if loss is not None and not math.isfinite(loss):
            raise self.diverged(f"the validation loss is {loss}", plan.steps)
        learning_rate = self.optimizer.schedule(tf.maximum(self.optimizer.step - 1, 0))
        epoch = Epoch(
            epoch=state.epoch + 1,
            step=int(self.optimizer.step.numpy()),
            loss=state.loss / plan.count,
            accuracy=state.correct / plan.count,
            validation_loss=loss,
            validation_accuracy=accuracy,
            learning_rate=float(learning_rate),
            seconds=state.seconds,
            images_per_second=plan.count / state.seconds,
        )
        history = [*state.history, asdict(epoch)]
        self.state = replace(state, epoch=epoch.epoch, step=0, loss=0.0, correct=0, seconds=0.0, history=history)
        if loss is not None and accuracy is not None:
            result = accuracy if self.settings.monitor == "accuracy" else -loss
            if state.best is None or result > state.best:
                self.state.best, self.state.best_epoch = result, epoch.epoch
                if self.settings.patience:
                    self.best_weights = weights_of(self.averages or self.model)
        return epoch

    def _validate(self) -> tuple[float | None, float | None]:
        if self.validation is None:
            return None, None
        with self._averaged():
            metrics = evaluate(self.model, self.validation, self.loss.kind)
        return metrics.loss, metrics.accuracy

    @property
    def finished(self) -> bool:
        """Whether the last epoch is done, or patience has run out."""
        state, patience = self.state, self.settings.patience
        return state.epoch >= self.settings.epochs or bool(patience and state.epoch - state.best_epoch >= patience)

    def final_weights(self) -> dict[str, np.ndarray]:
        """Returns the weights to use: the best epoch's with early stopping, else the averages, else the last."""
        return self.best_weights or weights_of(self.averages or self.model)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The model has the averaged weights inside, where there are any."""
        if self.averages is None:
            yield
            return
        kept = weights_of(self.model)
        set_weights(self.model, weights_of(self.averages))
        try:
            yield
        finally:
            set_weights(self.model, kept)

    def diverged(self, what: str, step: int) -> DivergedError:
        """Returns the error that says where training stood when something was no longer finite, and likely causes."""
        learning_rate = float(self.optimizer.schedule(tf.maximum(self.optimizer.step - 1, 0)))
        naive = self.loss.kind == "naive_cross_entropy"
        return DivergedError(
            f"diverged: {what} at epoch {self.state.epoch + 1}, step {step} of {self.plan.steps}, learning rate "
            f"{learning_rate:.4g}, initial weights of standard deviation {self.initial_deviation:.3g}. Likely causes: "
            "a learning rate too high (lower optimizer.learning_rate, add schedule.warmup or optimizer.clip_norm) or "
            "initial weights too large (model.initializer he or glorot, or a lower model.init_scale)"
            + (", or log(softmax) of a probability of 0 (loss.kind cross_entropy)." if naive else ".")
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
    **settings: Any,
) -> list[Epoch]:
    """Trains a network in place and returns one `Epoch` an epoch.

    Args:
        model: `tfmnist.MLP` or `tfmnist.CNN`; ends with the weights to use (the best epoch's with early stopping, the
            averages with averaging, else the last).
        train: the training examples.
        validation: looked at after every epoch, never trained on.
        optimizer: over `model.parameters`; by default `Adam` with learning rate 0.001.
        loss: the name of a loss, or a `tfmnist.recipe.Loss` for smoothing and penalties.
        augment: random changes of the images, a `tfmnist.recipe.Augment`.
        clip_norm: limit of the gradients' global norm, 0 for none.
        **settings: the keys of a recipe's `train` section: epochs, batch_size, seed, precision, block, compile,
            average, patience, monitor.

    Raises:
        InputError: a setting is unknown or out of range, or data and model do not fit.
        DivergedError: a loss is not finite.

    Example:
        >>> import numpy as np
        >>> from tfmnist import MLP, Split, fit
        >>> images = np.eye(4, dtype=np.uint8).reshape(4, 2, 2) * 255
        >>> digits = Split(images, np.arange(4))
        >>> history = fit(MLP((2, 2), [8], 4), digits, epochs=300, batch_size=4, compile="graph")
        >>> history[-1].accuracy
        1.0
    """
    optimizer = optimizer if optimizer is not None else Adam(model.parameters)
    loss = loss if isinstance(loss, Loss) else Loss(kind=loss)
    trainer = Trainer(
        model,
        optimizer,
        train,
        validation,
        Train(**settings),
        loss=loss,
        augment=augment or Augment(),
        clip_norm=clip_norm,
    )
    epochs = [event for event in trainer.run() if isinstance(event, Epoch)]
    set_weights(model, trainer.final_weights())
    return epochs


def choose_mode(asked: str, model: Network) -> CompileMode:
    """Returns how to compile. On a CPU, XLA halves the time of small dense steps and doubles that of convolutions."""
    if asked != "auto":
        return asked  # type: ignore[return-value]
    return "graph" if model.has_convolutions and not tf.config.list_logical_devices("GPU") else "xla"


def check_fit(model: Network, train: Split, validation: Split | None, settings: Train) -> None:
    """Raises an `InputError` where data, model and settings do not fit each other."""
    for name, split in (("training", train), ("validation", validation)):
        if split is None or not len(split):
            continue
        if split.image_shape != model.image_shape:
            raise InputError(
                f"{name} images are {split.image_shape}, the model takes {model.image_shape}; make it for them."
            )
        if int(split.labels.min()) < 0:
            raise InputError(f"{name} labels begin at {split.labels.min()}, expected 0; number the classes from 0.")
        if int(split.labels.max()) >= model.classes:
            raise InputError(
                f"{name} labels reach {split.labels.max()}, the model has {model.classes} classes; give it more."
            )
    if not len(train):
        raise InputError("there are no training examples; give some, or lower data.validation.")
    if settings.patience and (validation is None or not len(validation)):
        raise InputError(
            f"patience is {settings.patience} but there are no validation examples; give some, or patience=0."
        )


def named_variables(model: Weights, optimizer: Optimizer, averages: WeightAverage | None) -> dict[str, tf.Variable]:
    """Returns every variable that training changes, of a network or of several as one, by its name in a checkpoint."""
    groups = {"weights": model.named_variables(), "optimizer": optimizer.named_variables()}
    if averages is not None:
        groups["averages"] = averages.named_variables()
    return {f"{group}/{name}": v for group, found in groups.items() for name, v in found.items()}


def weights_of(owner: Weights) -> dict[str, np.ndarray]:
    """Returns a copy of the weights by name."""
    return {name: np.array(variable.numpy()) for name, variable in owner.named_variables().items()}


def set_weights(model: Weights, weights: dict[str, np.ndarray]) -> None:
    """Gives a network other weights; names and shapes must be its own."""
    for name, variable in model.named_variables().items():
        variable.assign(weights[name])
