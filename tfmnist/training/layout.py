"""The layout of kernels inside the compiled loop: those of few units are transposed while it runs."""

from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

from tfmnist.nn import layers
from tfmnist.nn.layers import Dense
from tfmnist.nn.losses import LOSSES, Objective
from tfmnist.nn.models import Network
from tfmnist.nn.optimizers import OPTIMIZERS, Optimizer
from tfmnist.training.step import WeightAverage

_FEW_UNITS = 32  # from 64 on, both layouts are equally fast


class TransposedKernels:
    """Keeps kernels of few units as `[units, inputs]` inside a block of steps, and as `[inputs, units]` outside.

    The gradient of such a kernel is then dL/dyᵀ x, a product with long rows, which XLA computes about five times as
    fast as xᵀ dL/dy. The kernel's slots and average are transposed with it, so that every update stays elementwise.

    It needs to know all that reads a kernel, so it leaves networks with layers, losses or optimizers of your own as
    they are.
    """

    def __init__(self, model: Network, optimizer: Optimizer, averages: WeightAverage | None, loss: Objective):
        is_ours = (
            type(model).forward is Network.forward
            and all(type(layer) in vars(layers).values() for layer in model.find_layers().values())
            and type(optimizer) in OPTIMIZERS.values()
            and loss.name in LOSSES
        )
        trained = {id(parameter) for parameter in optimizer.parameters}
        dense = [layer for layer in model.layers if isinstance(layer, Dense) and id(layer.kernel) in trained]
        self.layers = [layer for layer in dense if is_ours and layer.output_shape[0] <= _FEW_UNITS]
        self.optimizer, self.averages = optimizer, averages
        rows = [*zip(optimizer.parameters, *optimizer.slots.values())]
        rows += zip(averages.source, averages.shadow) if averages else []
        kernels = {id(layer.kernel) for layer in self.layers}
        variables = {id(v): v for row in rows if id(row[0]) in kernels for v in row}
        self.twins = [(v, tf.Variable(tf.transpose(v), trainable=v.trainable)) for v in variables.values()]

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Transposes the kernels for the time of the block, in which a loop is traced."""
        for variable, twin in self.twins:
            twin.assign(tf.transpose(variable))
        self._swap({id(variable): twin for variable, twin in self.twins}, True)
        try:
            yield
        finally:
            self._swap({id(twin): variable for variable, twin in self.twins}, False)
        for variable, twin in self.twins:
            variable.assign(tf.transpose(twin))

    def _swap(self, other: dict[int, tf.Variable], transposed: bool) -> None:
        def swap(variables: list[tf.Variable]) -> list[tf.Variable]:
            return [other.get(id(variable), variable) for variable in variables]

        for layer in self.layers:
            layer.kernel, layer.transposed = other[id(layer.kernel)], transposed
        self.optimizer.parameters = swap(self.optimizer.parameters)
        self.optimizer.slots = {name: swap(slots) for name, slots in self.optimizer.slots.items()}
        if self.averages is not None:
            self.averages.source, self.averages.shadow = swap(self.averages.source), swap(self.averages.shadow)
