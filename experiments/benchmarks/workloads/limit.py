"""The limit of a training step: its products or convolutions and its update in TensorFlow, and nothing else.

Everything else in a step counts as 0: activations, normalisation, the loss, fetching a batch, calls from Python.
"""

import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import median
from typing import Any

from turns import Contender, processors

CALLS = 9  # of each function; the median counts
STEPS = 100  # in one call of a compiled loop
COPIES = 4  # of a convolution in one call, so that the call itself hardly counts
FEW_UNITS = 48  # whose kernels are tried as [units, inputs] too


def dense_limit(widths: Sequence[int], batch: int, steps: int, *, adam: bool = True, threads: int = 0) -> Contender:
    """Returns the limit of dense layers of these widths: a compiled loop of products and updates."""
    from tfmnist.training.threads import set_threads

    set_threads(threads or processors())
    loops = [dense_loop(widths, batch, adam, few) for few in (0, FEW_UNITS)]
    note = "products and update in a compiled loop"
    return Contender(lambda: {"seconds": steps * min(seconds_of(loop) for loop in loops) / STEPS}, note=note)


def convolution_limit(layers: Sequence[tuple[int, int, int, int]], batch: int, steps: int, precision: str) -> Contender:
    """Returns the limit of convolutions, each given by its side, channels, filters and kernel size, with Adam."""
    import tensorflow as tf

    from tfmnist.training.threads import set_threads

    set_threads(processors())
    parts: list[Callable[[], float]] = []
    for number, layer in enumerate(layers):
        kinds = ("forward", "weights", "inputs") if number else ("forward", "weights")
        parts += [convolution(*layer, batch, kind, precision) for kind in kinds]
    kernels = [tf.Variable(tf.zeros((size, size, channels, filters))) for _, channels, filters, size in layers]
    gradients = [tf.random.normal(kernel.shape) for kernel in kernels]
    update = loop(kernels, lambda: gradients, adam=True, compiled=False)
    note = "convolutions and update, operation by operation"

    def turn() -> dict[str, float]:
        return {"seconds": steps * (sum(part() for part in parts) + seconds_of(update) / STEPS)}

    return Contender(turn, precision=precision, note=note)


def dense_loop(widths: Sequence[int], batch: int, adam: bool, few: int) -> Callable[[], Any]:
    """Returns a loop that trains layers without activations; kernels of up to `few` units are [units, inputs]."""
    import tensorflow as tf

    images = tf.random.uniform((batch, widths[0]))
    shapes = [(units, inputs) if units <= few else (inputs, units) for inputs, units in pairwise(widths)]
    kernels = [tf.Variable(0.05 * tf.random.normal(shape)) for shape in shapes]

    def gradients() -> Any:
        with tf.GradientTape() as tape:
            y = images
            for units, kernel in zip(widths[1:], kernels):
                y = tf.matmul(y, kernel, transpose_b=units <= few)
            loss = tf.reduce_mean(y * y)
        return tape.gradient(loss, kernels)

    return loop(kernels, gradients, adam, compiled=True)


def loop(kernels: Sequence[Any], gradients: Callable[[], Any], adam: bool, compiled: bool) -> Callable[[], Any]:
    """Returns a function that updates the kernels `STEPS` times, so little that they stay about the same."""
    import tensorflow as tf

    import tfmnist

    optimizer = (tfmnist.Adam if adam else tfmnist.SGD)(kernels, 1e-7)

    @tf.function(jit_compile=compiled, autograph=False)
    def run() -> Any:
        def once(index: tf.Tensor) -> list[tf.Tensor]:
            optimizer.apply(gradients(), fused=not compiled)
            return [index + 1]

        return tf.while_loop(lambda index: index < STEPS, once, [tf.constant(0)], parallel_iterations=1)[0]

    return run


def convolution(
    side: int, channels: int, filters: int, size: int, batch: int, kind: str, precision: str
) -> Callable[[], float]:
    """Measures a convolution, or its gradient with respect to `weights` or `inputs`."""
    import tensorflow as tf

    shapes = ((batch, side, side, channels), (size, size, channels, filters), (batch, side, side, filters))

    @tf.function(autograph=False)
    def run(images: Any, kernels: Any, outputs: Any) -> Any:
        options: dict[str, Any] = {"strides": [1, 1, 1, 1], "padding": "SAME"}
        results: list[Any] = []
        for x, kernel, y in zip(images, kernels, outputs):
            if kind == "forward":
                results += [tf.nn.conv2d(x, kernel, **options)]
            elif kind == "weights":
                sizes = {"input": x, "filter_sizes": kernel.shape}
                results += [tf.raw_ops.Conv2DBackpropFilter(out_backprop=y, **sizes, **options)]
            else:
                sizes = {"filter": kernel, "input_sizes": x.shape}
                results += [tf.raw_ops.Conv2DBackpropInput(out_backprop=y, **sizes, **options)]
        return results

    operands = [[tf.cast(tf.random.normal(shape), precision) for _ in range(COPIES)] for shape in shapes]
    return lambda: seconds_of(lambda: run(*operands)[-1]) / COPIES


def seconds_of(run: Callable[[], Any]) -> float:
    """Returns the median seconds of a call, after one that is not counted."""
    run().numpy()
    took: list[float] = []
    for _ in range(CALLS):
        began = time.perf_counter()
        run().numpy()
        took.append(time.perf_counter() - began)
    return median(took)
