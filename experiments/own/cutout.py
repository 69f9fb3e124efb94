"""Cutout (DeVries and Taylor 2017) as an augmentation of your own, a function of images and a seed: python cutout.py"""

import tensorflow as tf

import tfmnist

SIDE = 8


def cutout(images, seed):
    batch, height, width = tf.unstack(tf.shape(images))
    tops = tf.random.stateless_uniform([batch, 1, 1], seed, 1 - SIDE, height, tf.int32)
    lefts = tf.random.stateless_uniform([batch, 1, 1], seed + 1, 1 - SIDE, width, tf.int32)
    rows, columns = tf.range(height)[:, tf.newaxis], tf.range(width)
    inside = (rows >= tops) & (rows < tops + SIDE) & (columns >= lefts) & (columns < lefts + SIDE)
    return tf.where(inside, tf.zeros_like(images), images)


if __name__ == "__main__":
    digits, model = tfmnist.load("mnist"), tfmnist.MLP(hidden=[128])
    tfmnist.fit(model, digits.train, validation=digits.validation, augment=cutout, epochs=3)
    print(tfmnist.evaluate(model, digits.test).accuracy, tfmnist.export(model, "models/cutout"))
