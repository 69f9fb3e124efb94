"""Two branches in a plain tf.Module of raw variables: python two_branches.py, or kind two_branches.py:TwoBranches."""

import tensorflow as tf

import tfmnist


class TwoBranches(tf.Module):
    def __init__(self, image_shape, classes, *, seed, units: int = 64):
        super().__init__()
        self.pixels = image_shape[0] * image_shape[1]
        left, right, head = ((key, seed) for key in range(3))  # seeds
        self.left = tf.Variable(tf.random.stateless_normal([self.pixels, units], left) * 0.05)
        self.right = tf.Variable(tf.random.stateless_normal([self.pixels, units], right) * 0.05)
        self.head = tf.Variable(tf.random.stateless_normal([2 * units, classes], head) * 0.1)

    def forward(self, images, training, step):
        x = tf.reshape(images, [-1, self.pixels])
        return tf.concat([tf.nn.relu(x @ self.left), tf.tanh(x @ self.right)], axis=1) @ self.head


if __name__ == "__main__":
    digits, model = tfmnist.load("mnist"), TwoBranches((28, 28), 10, seed=0)
    tfmnist.fit(model, digits.train, validation=digits.validation, epochs=3)
    print(tfmnist.evaluate(model, digits.test).accuracy)
    print(tfmnist.export(model, "models/two_branches", image_shape=(28, 28)))
