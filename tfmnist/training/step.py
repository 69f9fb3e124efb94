"""One training step on the tape, and the compiled loop that runs many of them in one call."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, Protocol

import tensorflow as tf

from tfmnist.errors import InputError
from tfmnist.nn.losses import LossFunction, Objective, find_loss
from tfmnist.nn.models import Network, float32_logits, to_unit
from tfmnist.nn.optimizers import Optimizer, clip_by_global_norm
from tfmnist.recipe import Loss

CompileMode = Literal["xla", "graph", "eager"]
StepResults = tuple[tf.Tensor, ...]
Steps = Callable[[tf.Tensor, tf.Tensor, int], StepResults]

# each training compiles its own; from the fifth on, TensorFlow would warn
_COMPILED = ("make_steps.<locals>.run", "Network._predict")
tf.get_logger().addFilter(lambda record: not any(name in record.getMessage() for name in _COMPILED))


class Sharing(Protocol):
    """How this process shares the steps with others: `tfmnist.training.distribute.Processes`."""

    rows: slice
    """Of each batch, those that this process has."""
    mode: CompileMode
    """How the loop is compiled."""

    def share(self, step: Callable[..., Any], model: Network) -> Callable[[tf.Tensor, tf.Tensor], Any]:
        """Returns a step of all processes together, of images `[rows of a batch, ...]` and labels `[batch]`.

        Args:
            step: `train_step` with all arguments but images, labels and `combine`.
            model: the network that it trains.
        """
        ...


class WeightAverage(tf.Module):
    """Exponential moving average of the weights (Polyak and Juditsky 1992): a ← d a + (1 - d) w after each step.

    d = min(decay, (1 + t) / (10 + t)), so that the first, poor weights are soon forgotten. The statistics of batch
    normalisation are averaged too: those of the last weights would not fit the averaged ones.
    """

    def __init__(self, model: Network, decay: float):
        super().__init__()
        self.decay = decay
        variables = model.named_variables()
        self.names, self.source = list(variables), list(variables.values())
        self.shadow = [tf.Variable(v, trainable=False, name=f"averages/{name}") for name, v in variables.items()]

    def update(self, step: tf.Tensor) -> None:
        """Moves the averages towards the weights; step: int64 scalar, the number of steps done."""
        t = tf.cast(step, tf.float32)
        rest = 1.0 - tf.minimum(self.decay, (1.0 + t) / (10.0 + t))
        for shadow, variable in zip(self.shadow, self.source):
            if variable.dtype.is_floating:
                shadow.assign_sub(tf.cast(rest, variable.dtype) * (shadow - variable))
            else:  # a counter
                shadow.assign(variable)

    def named_variables(self) -> dict[str, tf.Variable]:
        """Returns the averages by the names of the variables that they average."""
        return dict(zip(self.names, self.shadow))


def train_step(
    model: Network,
    optimizer: Optimizer,
    images: tf.Tensor,
    labels: tf.Tensor,
    *,
    loss: Loss | Objective | LossFunction | str = "cross_entropy",
    precision: str = "float32",
    clip_norm: float = 0.0,
    averages: WeightAverage | None = None,
    fused: bool | None = None,
    combine: Callable[..., tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]] | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Forward, loss, tape, update: one step on one batch.

    Args:
        model: the network; its variables are changed.
        optimizer: over `model.parameters`, in any order.
        images: uint8 `[batch, height, width]`.
        labels: int64 `[batch]`.
        loss: what to minimise: the name of a loss, a function, a recipe's `loss` section, or an `Objective`.
        precision: dtype of the forward and backward pass.
        clip_norm: limit of the gradients' global norm, 0 for none.
        averages: updated too, if given.
        fused: which form of the update rule to use; by default the optimizer's own choice.
        combine: combines what `loss_and_gradients` returns with that of other processes, if given.

    Returns:
        The batch's mean loss, penalties included, float32 scalar; and the number of correct predictions, int64 scalar.
    """
    value, correct, gradients = loss_and_gradients(
        model,
        optimizer.parameters,
        images,
        labels,
        loss=as_objective(loss),
        precision=precision,
        step=optimizer.step,
    )
    if combine is not None:
        value, correct, gradients = combine(value, correct, gradients)
    if clip_norm:
        gradients = clip_by_global_norm(gradients, clip_norm)
    optimizer.apply(gradients, fused=fused)
    if averages is not None:
        averages.update(optimizer.step)
    return value, correct


def loss_and_gradients(
    model: Network,
    parameters: Sequence[tf.Variable],
    images: tf.Tensor,
    labels: tf.Tensor,
    *,
    loss: Objective,
    precision: str,
    step: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
    """Returns mean loss, number of correct predictions, and gradients of the parameters: a step without the update.

    Raises:
        InputError: a parameter does not influence the loss.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(parameters)
        value, correct = forward_loss(model, images, labels, loss=loss, precision=precision, step=step)
    gradients: Any = tape.gradient(value, parameters)
    for parameter, gradient in zip(parameters, gradients):
        if gradient is None:
            name = next(name for name, variable in model.named_variables().items() if variable is parameter)
            raise InputError(
                f"{name} does not influence the loss, so it has no gradient; use it in forward, freeze it, or make it "
                "with trainable=False."
            )
    return value, correct, [tf.convert_to_tensor(gradient) for gradient in gradients]  # tf.gather's are sparse


def forward_loss(
    model: Network, images: tf.Tensor, labels: tf.Tensor, *, loss: Objective, precision: str, step: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the mean loss, penalties included, and the number of correct predictions: the forward pass of a step."""
    logits = float32_logits(model.forward(to_unit(images, tf.as_dtype(precision)), True, step))
    kernels = [p for p in model.parameters if p.shape.rank >= 2]
    value = loss.mean(logits, labels, kernels, images)
    return value, tf.reduce_sum(tf.cast(tf.equal(tf.argmax(logits, axis=-1), labels), tf.int64))


def as_objective(loss: Loss | Objective | LossFunction | str) -> Objective:
    """Returns the objective for the name of a loss, a function, or a recipe's `loss` section."""
    if isinstance(loss, Loss):
        return find_loss(loss.kind, loss.label_smoothing, loss.l1, loss.l2)
    return find_loss(loss)


def make_steps(
    step: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
    mode: CompileMode,
    log_losses: bool = False,
    around: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Steps:
    """Returns a function that runs the first `count` steps of a block in one compiled call.

    It stops early at a loss that is not finite. Arguments: images uint8 `[block, batch, height, width]`, labels int64
    `[block, batch]`, count. Returns the loss summed over examples (float64), the number of correct predictions (int64),
    the number of steps done (int64) and the last loss (float32); with `log_losses` also the loss of each step (float32
    `[block]`, 0 for steps not done). `eager` runs the same loop operation by operation. The loop is traced inside the
    context that `around` returns, whose operations are part of the compiled call.
    """

    def run(images: tf.Tensor, labels: tf.Tensor, count: tf.Tensor) -> Any:
        batch = tf.cast(tf.shape(labels)[1], tf.float64)

        def condition(index: tf.Tensor, total: tf.Tensor, correct: tf.Tensor, last: tf.Tensor, *_: Any) -> tf.Tensor:
            return tf.logical_and(index < count, tf.math.is_finite(last))

        def body(index: tf.Tensor, total: tf.Tensor, correct: tf.Tensor, last: tf.Tensor, *logged: tf.Tensor) -> Any:
            value, hits = step(images[index], labels[index])
            losses = [tf.tensor_scatter_nd_update(known, [[index]], [value]) for known in logged]  # one, or none
            return index + 1, total + tf.cast(value, tf.float64) * batch, correct + hits, value, *losses

        start = (tf.constant(0, tf.int64), tf.constant(0.0, tf.float64), tf.constant(0, tf.int64), tf.constant(0.0))
        losses = (tf.zeros(tf.shape(labels)[:1]),) if log_losses else ()
        with around():
            done, total, correct, last, *losses = tf.while_loop(
                condition, body, (*start, *losses), parallel_iterations=1
            )
        return total, correct, done, last, *losses

    if mode != "eager":
        run = tf.function(run, jit_compile=mode == "xla", autograph=False)
    return lambda images, labels, count: run(images, labels, tf.constant(count, tf.int64))
