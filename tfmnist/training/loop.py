"""The training loop, top down: blocks of steps, the metrics of an epoch, validation, early stopping."""

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from tfmnist import seeds
from tfmnist.data.augment import augment_block
from tfmnist.data.batches import Batches, BatchSource, Examples, as_split, augment_steps, check_batches
from tfmnist.data.pipeline import Augment as BlockAugment
from tfmnist.data.pipeline import make_plan, stream_blocks
from tfmnist.data.split import Split
from tfmnist.errors import DivergedError, InputError
from tfmnist.nn.losses import LossFunction, Objective
from tfmnist.nn.models import Network, as_network
from tfmnist.nn.optimizers import OPTIMIZERS, Adam, Optimizer
from tfmnist.nn.runtime import check_runtime
from tfmnist.recipe import Augment, Loss, Train
from tfmnist.training.evaluation import check_split, outputs
from tfmnist.training.events import Epoch, Progress, StepLoss
from tfmnist.training.health import diagnose, is_warning
from tfmnist.training.layout import TransposedKernels
from tfmnist.training.screen import TrainingScreen
from tfmnist.training.step import CompileMode, Sharing, StepResults, WeightAverage, as_objective, make_steps, train_step

AugmentFunction = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


@dataclass
class State:
    """The state of the loop besides the variables: plain numbers, which a checkpoint stores as JSON."""

    epoch: int = 0  # epochs finished
    step: int = 0  # steps done in the current epoch
    examples: int = 0  # seen in the current epoch
    loss: float = 0.0  # summed over the examples of the current epoch
    correct: int = 0
    seconds: float = 0.0
    best: float | None = None  # validation score, larger is better
    best_epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    data_sha256: str = ""  # of the training data, if the caller knows it
    rollbacks: int = 0  # how often the training went back to a checkpoint
    notes: list[str] = field(default_factory=list)  # of the current epoch, for its line in the history


class Trainer:
    """A training in progress: the model, the optimizer, and the state that `run` advances.

    Use it in place of `tfmnist.fit` to act between steps: show progress your own way, stop early, save checkpoints.

    Args:
        model: a network, or a plain `tf.Module` with `forward(images, training, step)`; see `tfmnist.fit`.
        optimizer: made over all `model.parameters`; None for `Adam` with learning rate 0.001.
        train: the training examples: a `tfmnist.Split`, a pair of arrays (images uint8 `[n, height, width]`, labels
            integers `[n]`), or a `tf.data.Dataset` of batches of such images and labels.
        validation: examples in one of the same forms, evaluated after every epoch; None for no validation.
        settings: epochs, batch size, seed and so on: `tfmnist.recipe.Train`, the `train` section of a recipe. Its
            `threads`, `tensorboard`, `checkpoint_minutes` and `on_nonfinite` apply only to runs in a folder, and have
            no effect here.
        loss: the name of a loss; a function `(logits, labels) -> [batch]`; or, with penalties, a `tfmnist.recipe.Loss`
            or an `Objective`.
        augment: random changes of the images: a `tfmnist.recipe.Augment`, or a function of images, uint8
            `[batch, height, width]`, and a seed, int64 `[2]`, that returns images of the same type and shape.
        clip_norm: gradients whose global norm is larger are scaled down to it; 0 for no limit.
        metrics: by name, functions like a loss; each `Epoch` has their means over the validation examples.
        steps_per_epoch: for a dataset, the number of batches in an epoch; 0 for one pass over the dataset.
        processes: those that train together, of which this is one; each makes the same trainer.

    Attributes:
        model: the network, a plain module wrapped as one.
        optimizer: whose `step` counts the steps done.
        state: what is known of the current epoch, and the history of those before.

    Raises:
        InputError: model, optimizer, data and settings do not fit each other.
    """

    def __init__(
        self,
        model: tf.Module,
        optimizer: Optimizer | None,
        train: Examples,
        validation: Examples | None,
        settings: Train,
        *,
        loss: str | LossFunction | Loss | Objective = "cross_entropy",
        augment: Augment | AugmentFunction | None = None,
        clip_norm: float = 0.0,
        metrics: Mapping[str, LossFunction] = MappingProxyType({}),
        steps_per_epoch: int = 0,
        processes: Sharing | None = None,
    ):
        check_runtime()
        if not 0 <= clip_norm < math.inf:
            raise InputError(f"clip_norm is {clip_norm}: expected a limit of at least 0, or 0 for none.")
        if steps_per_epoch < 0:
            raise InputError(f"steps_per_epoch is {steps_per_epoch}: expected a number of batches, or 0 for all.")
        self.settings, self.clip_norm, self.metrics = settings, clip_norm, metrics
        self.loss = as_objective(loss)
        self.validation = None if validation is None else as_split(validation)
        shape = check_batches(train) if isinstance(train, tf.data.Dataset) else (train := as_split(train)).image_shape
        self.model = as_network(model, shape)
        self.model.check_forward()
        self.optimizer = optimizer or Adam(self.model.parameters)
        _check_fit(self.model, self.optimizer, train, shape, self.validation, settings, metrics)
        self.train = train if isinstance(train, Split) else None
        self.processes, rows = processes, processes.rows if processes else slice(None)
        self.augment = _block_augment(augment, settings.seed, shape, rows)
        self.mode: CompileMode = processes.mode if processes else _choose_mode(settings.compile, self.model)
        # a call of the compiled loop costs about a millisecond; steps with convolutions allow shorter blocks
        images_per_block = 10_000 if self.mode == "xla" else 2_000
        if isinstance(train, Split):
            if steps_per_epoch:
                raise InputError(
                    f"steps_per_epoch is {steps_per_epoch}: it applies only to a tf.data.Dataset; leave it out."
                )
            plan = make_plan(len(train), settings.batch_size, settings.block, images_per_block, settings.progress)
            self.blocks = partial(
                stream_blocks, train, plan, seed=settings.seed, augment=self.augment, rows=rows, whole=callable(augment)
            )
        elif processes:
            raise InputError("a tf.data.Dataset cannot be trained on by several processes; give a Split or arrays.")
        else:
            plan = BatchSource(
                train, self.model.classes, settings.block, images_per_block, steps_per_epoch, self.augment
            )
            if settings.batch_size not in (plan.batch_size, Train.model_fields["batch_size"].get_default()):
                raise InputError(
                    f"batch_size is {settings.batch_size} but has no effect: the dataset yields batches of "
                    f"{plan.batch_size}; leave it out."
                )
            self.blocks = plan.blocks
        self.plan = plan
        is_ours = type(self.optimizer) in OPTIMIZERS.values()
        self._start = [] if is_ours else [parameter.numpy() for parameter in self.optimizer.parameters]
        self.averages = WeightAverage(self.model, settings.average) if settings.average else None
        self.best_weights: dict[str, np.ndarray] | None = None
        self.state = State()
        # of a trained kernel if there is one: frozen layers may leave only scales and offsets to train
        variables = (*self.model.parameters, *self.model.named_variables().values())
        kernel = next((v for v in variables if v.shape.rank >= 2), variables[0])
        self._initial_deviation = float(np.std(kernel.numpy()))
        options = {"loss": self.loss, "precision": settings.precision, "clip_norm": clip_norm}
        options["fused"] = self.mode != "xla"
        step = partial(train_step, self.model, self.optimizer, averages=self.averages, **options)
        if processes:
            step = processes.share(step, self.model)
        log_losses = bool(settings.log_steps)
        self.layout: Callable[[], AbstractContextManager[None]] = nullcontext
        if self.mode == "xla":
            self.layout = TransposedKernels(self.model, self.optimizer, self.averages, self.loss)
        self._learning_rates = tf.function(
            partial(tf.vectorized_map, self.optimizer.schedule), [tf.TensorSpec([None], tf.int64)], autograph=False
        )
        self._do_full = self._do_short = make_steps(step, self.mode, log_losses, self.layout)
        if self.mode == "xla" and plan.shapes[0][1] == plan.batch_size:
            # one smaller batch per epoch: compiling a second XLA program for it would take a second or more
            self._do_short = make_steps(step, "graph", log_losses)

    def named_variables(self) -> dict[str, tf.Variable]:
        """Returns every variable that training changes, by its name in a checkpoint."""
        weights = self.model.named_variables()
        names = {id(variable): name for name, variable in weights.items()}
        slots = self.optimizer.named_variables([names[id(p)] for p in self.optimizer.parameters])
        groups = {"weights": weights, "optimizer": slots}
        if self.averages is not None:
            groups["averages"] = self.averages.named_variables()
        return {f"{group}/{name}": v for group, variables in groups.items() for name, v in variables.items()}

    def compile(self) -> float:
        """Traces and compiles the loop for each shape of block, without training; returns the seconds it took."""
        began = time.perf_counter()
        height, width = self.model.image_shape
        for steps, batch in self.plan.shapes:
            images = tf.zeros([steps, batch, height, width], tf.uint8)
            if self.processes:
                images = images[:, self.processes.rows]
            self.do_steps(images, tf.zeros([steps, batch], tf.int64), 0)
        return time.perf_counter() - began

    def do_steps(self, images: tf.Tensor, labels: tf.Tensor, count: int) -> StepResults:
        """Runs the first `count` steps of a block; arguments and results are those of `make_steps`.

        Raises:
            InputError: XLA cannot compile an operation in user code.
        """
        do = self._do_full if labels.shape[1] == self.plan.batch_size else self._do_short
        try:
            return do(images, labels, count)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
            if self.mode != "xla" or "compil" not in error.message.lower():
                raise
            raise InputError(
                f"XLA cannot compile the training step: {error.message.strip().splitlines()[0]}; set compile to "
                "'graph' (--train.compile graph), or use other operations."
            ) from None

    def run(self) -> Iterator[StepLoss | Progress | Epoch]:
        """Trains until the last epoch or early stopping, and yields what happens; it trains only as you ask for more.

        After each block of steps it yields a `Progress`, or an `Epoch` if the block was the last of its epoch; before
        that, one `StepLoss` for every `log_steps`-th step of the block. A checkpoint taken after a `Progress` or an
        `Epoch` resumes exactly. You may leave the loop early; `final_weights` then returns the weights so far.

        Example:
            >>> import tfmnist
            >>> model, split = tfmnist.MLP(hidden=[8]), Split(np.zeros([20, 28, 28], np.uint8), np.arange(20) % 10)
            >>> trainer = Trainer(model, None, split, None, Train(epochs=3, compile="eager"))
            >>> for event in trainer.run():
            ...     if isinstance(event, Epoch) and event.epoch == 2:
            ...         break
            >>> trainer.state.epoch
            2

        Raises:
            DivergedError: a loss or a weight is not finite.
        """
        if self.finished:
            return
        state = self.state
        state.examples = state.examples or state.step * self.plan.batch_size  # early checkpoints have no such number
        began = time.perf_counter()
        for block in self.blocks(epochs=range(state.epoch, self.settings.epochs), skip=state.step):
            results = self.do_steps(block.images, block.labels, block.end - block.first)
            total, correct, done, last, *losses = (result.numpy() for result in results)
            seconds = time.perf_counter() - began
            if losses:
                yield from self._every_loss(losses[0][:done])
            if not math.isfinite(last):
                raise self._diverged(f"the loss is {last}", block.first + int(done))
            state = self.state
            state.step = block.end
            state.examples += (block.end - block.first) * len(block.labels[0])
            state.loss += float(total)
            state.correct += int(correct)
            state.seconds += seconds
            if not block.last:
                count = state.examples
                loss, accuracy, speed = state.loss / count, state.correct / count, count / state.seconds
                yield Progress(state.epoch + 1, state.step, self.plan.steps, loss, accuracy, speed)
            else:
                yield self._close_epoch()
                if self.finished:
                    return
            began = time.perf_counter()

    def _every_loss(self, losses: np.ndarray) -> Iterator[StepLoss]:
        """Yields the steps just done that `log_steps` selects, given the loss of each, float32 `[steps]`."""
        every, last = self.settings.log_steps, int(self.optimizer.step.numpy())
        first = last - len(losses) + 1
        steps = np.arange(first + -first % every, last + 1, every)
        rates = self._learning_rates(tf.constant(steps - 1)).numpy() if len(steps) else steps
        for step, rate in zip(steps.tolist(), rates.tolist(), strict=True):
            yield StepLoss(step, self.state.epoch + 1, float(losses[step - first]), rate)

    def _close_epoch(self) -> Epoch:
        """Validates, and returns the metrics of the epoch whose steps are done; `state` moves on to the next."""
        state, count = self.state, self.state.examples
        loss, accuracy, metrics = self._validate()
        if not int(self.optimizer.step.numpy()):
            raise InputError(f"{type(self.optimizer).__name__}.apply does not count: expected step.assign_add(1).")
        if self._start and all(np.array_equal(p, start) for p, start in zip(self.optimizer.parameters, self._start)):
            raise InputError(
                f"{type(self.optimizer).__name__} changed no weight in an epoch: expected update to assign the new "
                "value, by parameter.assign_sub for example."
            )
        self._start = []
        weights = (v for v in self.model.named_variables().values() if v.dtype.is_floating)
        if not all(bool(tf.reduce_all(tf.math.is_finite(v))) for v in weights):
            raise self._diverged("a weight is not finite", state.step)
        if loss is not None and not math.isfinite(loss):
            raise self._diverged(f"the validation loss is {loss}", state.step)
        epoch = Epoch(
            epoch=state.epoch + 1,
            step=int(self.optimizer.step.numpy()),
            loss=state.loss / count,
            accuracy=state.correct / count,
            validation_loss=loss,
            validation_accuracy=accuracy,
            learning_rate=self._last_learning_rate(),
            seconds=state.seconds,
            images_per_second=count / state.seconds,
            metrics=metrics,
            notes=tuple(state.notes),
        )
        warned = any(is_warning(note) for row in state.history for note in row.get("notes", ()))
        if not warned and (sign := self._diagnose(epoch)):
            epoch = replace(epoch, notes=(*epoch.notes, sign))
        started = State(epoch=epoch.epoch, history=[*state.history, epoch.to_row()], data_sha256=state.data_sha256)
        self.state = replace(started, best=state.best, best_epoch=state.best_epoch, rollbacks=state.rollbacks)
        if loss is not None and accuracy is not None:
            score = accuracy if self.settings.monitor == "accuracy" else -loss
            if state.best is None or score > state.best:
                self.state.best, self.state.best_epoch = score, epoch.epoch
                if self.settings.patience:
                    self.best_weights = self._current_weights()
        return epoch

    def _validate(self) -> tuple[float | None, float | None, dict[str, float]]:
        """Returns loss, accuracy and metrics on the validation set, with the averaged weights if there are any."""
        if self.validation is None or not len(self.validation):
            return None, None, {}
        with restored(self.model.named_variables().values()):
            if self.averages is not None:
                set_weights(self.model, self._current_weights())
            measured = outputs(self.model, self.validation, self.loss, self.metrics)
        return measured.metrics.loss, measured.metrics.accuracy, measured.extra

    def _diagnose(self, epoch: Epoch) -> str:
        """Returns what looks wrong with the training after an epoch, in one line; empty if nothing does."""
        if epoch.epoch & (epoch.epoch - 1):  # after 1, 2, 4, 8 ... epochs, so that it costs nothing
            return ""
        evaluated = (
            len(self.validation) if self.validation is not None and len(self.validation) else self.state.examples
        )
        return diagnose(self.model, self.train, epoch, evaluated, self.loss.name)

    @property
    def finished(self) -> bool:
        """Whether the last epoch is done, or patience has run out."""
        state, patience = self.state, self.settings.patience
        return state.epoch >= self.settings.epochs or bool(patience and state.epoch - state.best_epoch >= patience)

    def final_weights(self) -> dict[str, np.ndarray]:
        """Returns the weights to use, by name: the best epoch's with `patience`, else the averages, else the last."""
        return self.best_weights or self._current_weights()

    def _current_weights(self) -> dict[str, np.ndarray]:
        variables = (self.averages or self.model).named_variables()
        return {name: variable.numpy() for name, variable in variables.items()}

    def _last_learning_rate(self) -> float:
        return float(self.optimizer.schedule(tf.maximum(self.optimizer.step - 1, 0)))

    def _diverged(self, what: str, step: int) -> DivergedError:
        """Returns the error that says where in training a number was no longer finite, and the likely causes."""
        of = f" of {self.plan.steps}" if self.plan.steps else ""
        naive = ", or log(softmax) of a probability of 0 (loss.kind cross_entropy)"
        return DivergedError(
            f"diverged: {what} at epoch {self.state.epoch + 1}, step {step}{of}, learning rate "
            f"{self._last_learning_rate():.4g}, initial weights of standard deviation {self._initial_deviation:.3g}. "
            "Likely causes: a learning rate too high (lower optimizer.learning_rate, add schedule.warmup or "
            "optimizer.clip_norm) or initial weights too large (model.initializer he or glorot, or a lower "
            f"model.init_scale){naive if self.loss.name == 'naive_cross_entropy' else ''}."
        )


def fit(
    model: tf.Module,
    train: Examples,
    *,
    validation: Examples | None = None,
    optimizer: Optimizer | None = None,
    loss: str | LossFunction | Loss = "cross_entropy",
    augment: Augment | AugmentFunction | None = None,
    metrics: Mapping[str, LossFunction] | Sequence[LossFunction] = (),
    clip_norm: float = 0.0,
    epochs: int = 5,
    batch_size: int = 100,
    steps_per_epoch: int = 0,
    seed: int = 0,
    precision: Literal["float32", "bfloat16"] = "float32",
    block: int | Literal["auto"] = "auto",
    compile: Literal["auto", "xla", "graph", "eager"] = "auto",
    average: float = 0.0,
    patience: int = 0,
    monitor: Literal["accuracy", "loss"] = "accuracy",
    progress: bool | int = True,
    threads: Literal["auto"] = "auto",
    log_steps: Literal[0] = 0,
    tensorboard: Literal[False] = False,
    checkpoint_minutes: Literal[0] = 0,
    on_nonfinite: Literal["fail"] = "fail",
) -> list[Epoch]:
    """Trains a network in place, shows the progress, and returns one `Epoch` for each epoch trained.

    Afterwards the model holds the weights to use: those of the best epoch with `patience`, otherwise the averages with
    `average`, otherwise the last.

    Args:
        model: `tfmnist.MLP`, `tfmnist.CNN`, your own `tfmnist.nn.Network`, or any `tf.Module` with a method
            `forward(images, training, step)` that maps images, float32 (or bfloat16, see `precision`)
            `[batch, height, width]` in [0, 1], to logits `[batch, classes]`.
        train: the training examples: a `tfmnist.Split`; a pair of arrays, images uint8 `[n, height, width]` and labels
            integers `[n]`, 0 to classes - 1; or a `tf.data.Dataset` of batches of such images and labels, which then
            decides their order and the batch size.
        validation: examples in one of the same forms, evaluated after every epoch, never trained on.
        optimizer: made over all `model.parameters`; by default `Adam` with learning rate 0.001.
        loss: the name of a loss (`cross_entropy`, `quadratic`); a function of logits, float32 `[batch, classes]`, and
            labels, int64 `[batch]`, that returns one number per example, `[batch]`; or a `tfmnist.recipe.Loss`, for
            label smoothing and penalties.
        augment: random changes of the images: a `tfmnist.recipe.Augment`, or a function of images, uint8
            `[batch, height, width]`, and a seed, int64 `[2]`, new in each step, that returns images of the same type
            and shape, computed by TensorFlow operations from these two alone.
        metrics: functions like a loss, in a mapping by name, or in a sequence under their own names; `Epoch.metrics`
            holds their means over the validation examples.
        clip_norm: gradients whose global norm is larger are scaled down to it; 0 for no limit.
        epochs: passes over the training examples.
        batch_size: examples per step, ignored for a dataset; the smaller last batch of an epoch is trained too.
        steps_per_epoch: for a dataset, the number of batches in an epoch, required if it never ends; 0 for one pass.
        seed: decides the order of the examples, and the augmentation.
        precision: dtype of the forward and backward pass; weights, updates, logits and loss are always float32.
        block: steps per call of the compiled loop; `auto` for about 10,000 images with XLA, else 2,000.
        compile: how to compile the loop; `auto` is `graph` for convolutions on a CPU, otherwise `xla`. `eager` runs
            operation by operation, for debugging.
        average: decay of the exponential moving average of the weights, in [0, 1); 0 for none.
        patience: stop after this many epochs without a better validation result; 0 for never.
        monitor: the validation result that `patience` watches.
        progress: True to show a live line in a terminal or a notebook and to print a line per epoch; a number to also
            print a line every so many steps; False or 0 to print nothing.
        threads, log_steps, tensorboard, checkpoint_minutes, on_nonfinite: apply only to `tfmnist.run`; accepted here at
            their defaults, so that you can pass `**recipe.train.model_dump()`.

    Returns:
        One `Epoch` for each epoch trained, in order; fewer than `epochs` after early stopping.

    Raises:
        InputError: a value is out of range, or data, model, loss and optimizer do not fit each other.
        DivergedError: a loss or a weight is no longer finite.
    """
    given = {"threads": threads, "log_steps": log_steps, "tensorboard": tensorboard}
    given |= {"checkpoint_minutes": checkpoint_minutes, "on_nonfinite": on_nonfinite}
    for name, value in given.items():
        if value != Train.model_fields[name].get_default():
            raise InputError(f"{name} is {value!r} but has no effect in fit; leave it out, or use tfmnist.run.")
    if monitor != "accuracy" and not patience:
        raise InputError(f"monitor is {monitor!r} but has no effect: patience is 0; set that, or leave it out.")
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
    trainer = Trainer(
        model,
        optimizer,
        train,
        validation,
        settings,
        loss=loss,
        augment=augment,
        clip_norm=clip_norm,
        metrics=_by_name(metrics),
        steps_per_epoch=steps_per_epoch,
    )
    history: list[Epoch] = []
    with TrainingScreen(quiet=not progress) as screen:
        screen.begin(epochs, trainer.plan.count, trainer.plan.batch_size, settings.progress)
        for event in trainer.run():
            screen.show(event)
            history += [event] if isinstance(event, Epoch) else []
    set_weights(trainer.model, trainer.final_weights())
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


def _by_name(metrics: Mapping[str, LossFunction] | Sequence[LossFunction]) -> Mapping[str, LossFunction]:
    """Returns metrics by name; a function that is in no mapping has its own."""
    if isinstance(metrics, Mapping):
        named = list(metrics.items())
    elif isinstance(metrics, Sequence):
        named = [(getattr(metric, "__name__", ""), metric) for metric in metrics]
    else:
        raise InputError(f"metrics is a {type(metrics).__name__}: expected a list of functions, or a mapping by name.")
    for name, metric in named:
        if not name or [other for other, _ in named].count(name) > 1 or not callable(metric):
            raise InputError(
                f"metrics has {name or metric!r}: expected functions, each with a name of its own; give a mapping from "
                "names to functions."
            )
    return dict(named)


def _choose_mode(requested: str, model: Network) -> CompileMode:
    """Returns how to compile. On a CPU, XLA halves the time of small dense steps and doubles that of convolutions."""
    if requested != "auto":
        return requested  # type: ignore[return-value]
    return "graph" if model.has_convolutions and not tf.config.list_logical_devices("GPU") else "xla"


def _block_augment(
    augment: Augment | AugmentFunction | None, seed: int, image_shape: tuple[int, int], rows: slice
) -> BlockAugment | None:
    """Returns a function of a block of images and the number of its first step; None for no change.

    The images are `rows` of each batch; a user's function gets whole batches, of which these are returned.
    """
    if augment is None or augment == Augment():
        return None
    if not callable(augment) and not isinstance(augment, Augment):
        raise InputError(f"augment is {augment!r}: expected a tfmnist.recipe.Augment, or a function (images, seed).")
    if isinstance(augment, Augment):
        changes = augment.model_dump()
        return lambda images, step, batch=None: augment_block(images, step, seed, rows=rows, batch=batch, **changes)
    whole = augment_steps(augment, seeds.key(seed, "augment"), image_shape)
    return lambda images, step, batch=None: whole(images, step)[:, rows]


def _check_fit(
    model: Network,
    optimizer: Optimizer,
    train: Split | Batches,
    image_shape: tuple[int, int],
    validation: Split | None,
    settings: Train,
    metrics: Mapping[str, LossFunction],
) -> None:
    """Raises an `InputError` if model, optimizer, data and settings do not fit each other."""
    if isinstance(optimizer, Optimizer) and not hasattr(optimizer, "slots"):
        raise InputError(f"{type(optimizer).__name__}: its constructor must call super().__init__(parameters, rate).")
    if not isinstance(optimizer, Optimizer):
        raise InputError(f"the optimizer is a {type(optimizer).__name__}: expected a tfmnist.Optimizer, such as Adam.")
    own, names = model.named_parameters(), {id(v): name for name, v in model.named_variables().items()}
    if not own:
        raise InputError(f"{model.name} has no variables to train: expected at least one, in an attribute.")
    known = {id(variable) for variable in own.values()}
    if extra := [v for v in optimizer.parameters if id(v) not in known]:
        what = "which is frozen" if id(extra[0]) in names else "which the model does not have"
        raise InputError(
            f"the optimizer updates {names.get(id(extra[0]), extra[0].name)}, {what}: expected the model's parameters; "
            f"make it as {type(optimizer).__name__}(model.parameters)."
        )
    if left := set(own) - {names[id(v)] for v in optimizer.parameters}:
        raise InputError(
            f"the optimizer does not update {min(left)}: expected all parameters of the model; make it as "
            f"{type(optimizer).__name__}(model.parameters); to leave layers as they are, call model.freeze before that."
        )
    if len(optimizer.parameters) > len(own):
        raise InputError("the optimizer has a variable twice: expected each parameter of the model once.")
    if isinstance(train, Split):
        if not len(train):
            raise InputError("there are no training examples; give some, or lower data.validation.")
        check_split(train, model, "training")
    elif image_shape != model.image_shape:
        height, width = image_shape
        raise InputError(
            f"the dataset's images are {height}x{width} but the model takes {model.image_shape}; resize them."
        )
    if validation is not None and len(validation):
        check_split(validation, model, "validation")
    elif settings.patience or metrics:
        what = f"patience is {settings.patience}" if settings.patience else f"metrics has {', '.join(metrics)}"
        remedy = "set patience to 0" if settings.patience else "leave metrics out"
        raise InputError(f"{what} but there are no validation examples; give some, or {remedy}.")
