"""A residual network of nested layers (He et al. 2016): python residual.py, or the recipe residual.toml."""

import tensorflow as tf

import tfmnist
from tfmnist import nn


class Residual(nn.Layer):
    def __init__(self, shape, *, seed, name):
        super().__init__(name, shape)
        self.conv_1 = nn.Conv2D(shape, shape[-1], (3, 3), seed=seed, name="conv_1")
        self.conv_2 = nn.Conv2D(shape, shape[-1], (3, 3), seed=seed, name="conv_2")

    def forward(self, x, training, step):
        return x + self.conv_2.forward(tf.nn.relu(self.conv_1.forward(x, training, step)), training, step)


def make(image_shape, classes, *, seed, filters: int = 16):
    stem = nn.Conv2D((*image_shape, 1), filters, (5, 5), stride=2, seed=seed, name="stem")
    blocks = [Residual(stem.output_shape, seed=seed, name=name) for name in ("block_1", "block_2")]
    head = [nn.GlobalPool(stem.output_shape), nn.Dense(filters, classes, seed=seed, name="logits")]
    return nn.Network(image_shape, classes, "residual", [nn.AddChannel(image_shape), stem, *blocks, *head])


if __name__ == "__main__":
    digits, model = tfmnist.load("mnist"), make((28, 28), 10, seed=0)
    tfmnist.fit(model, digits.train, validation=digits.validation, epochs=3)
    print(tfmnist.evaluate(model, digits.test).accuracy, tfmnist.export(model, "models/residual"))
