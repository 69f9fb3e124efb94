"""Back-propagation written out in NumPy, for learners; public as `tfmnist.backprop`."""

from tfmnist.backprop.formulas import ACTIVATIONS as ACTIVATIONS
from tfmnist.backprop.formulas import LOSSES as LOSSES
from tfmnist.backprop.formulas import Gradients as Gradients
from tfmnist.backprop.formulas import central_differences as central_differences
from tfmnist.backprop.formulas import forward as forward
from tfmnist.backprop.formulas import gradients as gradients
from tfmnist.backprop.formulas import loss as loss
from tfmnist.backprop.formulas import relu as relu
from tfmnist.backprop.formulas import relu_slope as relu_slope
from tfmnist.backprop.formulas import sigmoid as sigmoid
from tfmnist.backprop.formulas import sigmoid_slope as sigmoid_slope
from tfmnist.backprop.formulas import softmax as softmax
from tfmnist.backprop.formulas import tanh as tanh
from tfmnist.backprop.formulas import tanh_slope as tanh_slope
