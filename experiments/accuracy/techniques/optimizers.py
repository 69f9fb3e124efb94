"""Update rules that did not make it into the package: Muon and Lookahead. `ablations.toml` compares them."""

import tensorflow as tf

import tfmnist


class Muon(tfmnist.Optimizer):
    """Momentum whose update of each convolution is made orthogonal; Adam for everything else.

    u ← β u + g;  w ← w - η λ w - η orthogonal(g + β u), with the kernel as a matrix [height · width · channels,
    filters].

    Source: K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.

    Args:
        parameters: of the network.
        learning_rate: η, of the convolutions.
        momentum: β.
        weight_decay: λ, of the convolutions.
        vector_rate: Adam's learning rate, as a fraction of η.
        steps: Newton-Schulz iterations, which make the singular values about 1.
    """

    slot_names = ("m", "v")

    def __init__(self, parameters, learning_rate=0.02, *, momentum=0.9, weight_decay=0.0, vector_rate=0.1, steps=3):
        super().__init__(parameters, learning_rate)
        self.momentum, self.weight_decay, self.vector_rate, self.steps = momentum, weight_decay, vector_rate, steps

    def update(self, parameter, gradient, slots, learning_rate, t):
        m, v = slots
        if parameter.shape.rank == 4:
            u = self.momentum * m + gradient
            m.assign(u)
            matrix = tf.reshape(gradient + self.momentum * u, [-1, parameter.shape[-1]])
            step = tf.reshape(orthogonal(matrix, self.steps), parameter.shape)
            parameter.assign_sub(learning_rate * (step + self.weight_decay * parameter))
        else:
            beta1, beta2 = tf.constant(0.9), tf.constant(0.99)
            m.assign(beta1 * m + (1 - beta1) * gradient)
            v.assign(beta2 * v + (1 - beta2) * gradient**2)
            step = (m / (1 - beta1**t)) / (tf.sqrt(v / (1 - beta2**t)) + 1e-8)
            parameter.assign_sub(learning_rate * self.vector_rate * step)


def orthogonal(matrix: tf.Tensor, steps: int) -> tf.Tensor:
    """Returns about U Vᵀ for a matrix U S Vᵀ, by the quintic iteration of Jordan et al."""
    a, b, c = 3.4445, -4.7750, 2.0315
    rows, columns = matrix.shape.as_list()
    tall = rows > columns
    x = tf.transpose(matrix) if tall else matrix
    x /= tf.norm(x) + 1e-7
    for _ in range(steps):
        s = tf.matmul(x, x, transpose_b=True)
        x = a * x + tf.matmul(b * s + c * tf.matmul(s, s), x)
    return tf.transpose(x) if tall else x


class Lookahead(tfmnist.Adam):
    """Adam whose weights are pulled halfway back to slow weights after every k steps.

    Source: M. Zhang et al., "Lookahead optimizer: k steps forward, 1 step back", 2019, algorithm 1.
    """

    slot_names = ("m", "v", "slow")

    def __init__(self, parameters, learning_rate=0.001, *, k=5, pull=0.5):
        super().__init__(parameters, learning_rate, fused=False)
        self.k, self.pull = k, pull
        for slow, parameter in zip(self.slots["slow"], self.parameters):
            slow.assign(parameter)

    def update(self, parameter, gradient, slots, learning_rate, t):
        m, v, slow = slots
        super().update(parameter, gradient, [m, v], learning_rate, t)
        due = tf.equal(tf.math.floormod(t, float(self.k)), 0.0)
        pulled = slow + self.pull * (parameter - slow)
        slow.assign(tf.where(due, pulled, slow))
        parameter.assign(tf.where(due, pulled, parameter))
