"""The optimizer Lion (Chen et al. 2023, algorithm 2): python lion.py, or optimizer.kind = "lion.py:Lion"."""

import tensorflow as tf

import tfmnist


class Lion(tfmnist.Optimizer):
    slot_names = ("momentum",)

    def __init__(self, parameters, learning_rate=3e-4, *, beta1: float = 0.9, beta2: float = 0.99, decay: float = 0.0):
        super().__init__(parameters, learning_rate)
        self.beta1, self.beta2, self.decay = beta1, beta2, decay

    def update(self, parameter, gradient, slots, learning_rate, t):
        direction = tf.sign(self.beta1 * slots[0] + (1.0 - self.beta1) * gradient)
        slots[0].assign(self.beta2 * slots[0] + (1.0 - self.beta2) * gradient)
        parameter.assign_sub(learning_rate * (direction + self.decay * parameter))


if __name__ == "__main__":
    digits, model = tfmnist.load("mnist"), tfmnist.MLP(hidden=[128])
    optimizer = Lion(model.parameters)
    tfmnist.fit(model, digits.train, validation=digits.validation, optimizer=optimizer, epochs=3)
    print(tfmnist.evaluate(model, digits.test).accuracy, tfmnist.export(model, "models/lion"))
