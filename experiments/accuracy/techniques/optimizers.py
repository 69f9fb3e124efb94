"""An update rule that did not make it into the package: Lookahead. `ablations.toml` compares it."""

import tensorflow as tf

import tfmnist


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
