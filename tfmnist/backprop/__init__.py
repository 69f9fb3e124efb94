"""Back-propagation written out in NumPy, for learners; public as `tfmnist.backprop`."""

from tfmnist.backprop.formulas import (
    ACTIVATIONS,
    LOSSES,
    Gradients,
    central_differences,
    forward,
    gradients,
    loss,
    relu,
    relu_slope,
    sigmoid,
    sigmoid_slope,
    softmax,
    tanh,
    tanh_slope,
)

__all__ = [
    "ACTIVATIONS",
    "LOSSES",
    "Gradients",
    "central_differences",
    "forward",
    "gradients",
    "loss",
    "relu",
    "relu_slope",
    "sigmoid",
    "sigmoid_slope",
    "softmax",
    "tanh",
    "tanh_slope",
]
