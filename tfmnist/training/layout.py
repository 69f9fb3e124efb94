"""The layout of kernels inside the compiled loop: those with few units are transposed while it runs."""

from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

from tfmnist.nn import layers
from tfmnist.nn.layers import Dense
from tfmnist.nn.losses import LOSSES, Objective
from tfmnist.nn.models import Network
from tfmnist.nn.optimizers import OPTIMIZERS, Optimizer
from tfmnist.training.step import WeightAverage

_FEW_UNITS = 48  # with 64 units and ten examples per step, the transposed form is slower


class TransposedKernels:
    """Keeps kernels with few units as `[units, inputs]` inside a block of steps, and as `[inputs, units]` outside.

    The gradient of such a kernel is then dL/dyᵀ x, a product with long rows, which XLA computes several times as
    fast as xᵀ dL/dy. The kernel's slots and average are transposed with it, so that every update stays elementwise.

    It must know everything that reads a kernel, so it does nothing if a layer, `forward`, the loss or the optimizer is
    your own.
    """

    def __init__(self, model: Network, optimizer: Optimizer, averages: WeightAverage | None, loss: Objective):
        is_ours = (
            type(model).forward is Network.forward
            and all(type(layer) in vars(layers).values() for layer in model.find_layers().values())
            and type(optimizer) in OPTIMIZERS.values()
            and loss.name in LOSSES
        )
        dense = [layer for layer in model.layers if is_ours and isinstance(layer, Dense) and not layer.frozen]
        self.layers = [layer for layer in dense if layer.output_shape[0] <= _FEW_UNITS]
        self.optimizer, self.averages = optimizer, averages
        rows = list(zip(optimizer.parameters, *optimizer.slots.values()))  # each parameter and its slots
        rows += zip(averages.source, averages.shadow) if averages else []
        kernels = {id(layer.kernel) for layer in self.layers}
        variables = {id(v): v for row in rows if id(row[0]) in kernels for v in row}
        self.twins = [(v, tf.Variable(tf.transpose(v), trainable=v.trainable)) for v in variables.values()]

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Transposes the kernels within a `with` block, in which a loop is traced."""
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
            layer.kernel, layer.transposed = other.get(id(layer.kernel), layer.kernel), transposed
        self.optimizer.parameters = swap(self.optimizer.parameters)
        self.optimizer.slots = {name: swap(slots) for name, slots in self.optimizer.slots.items()}
        if self.averages is not None:
            self.averages.source, self.averages.shadow = swap(self.averages.source), swap(self.averages.shadow)
