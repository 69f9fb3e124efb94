"""Training on your own tf.data.Dataset, here with equally many examples of each class: python dataset.py"""

import numpy as np
import tensorflow as tf

import tfmnist


def balanced(split, classes, batch=100):
    images, labels = tf.constant(split.images), tf.constant(split.labels)
    rows = [np.flatnonzero(split.labels == label) for label in range(classes)]
    by_class = [
        tf.data.Dataset.from_tensor_slices(r).shuffle(len(r), seed=label).repeat() for label, r in enumerate(rows)
    ]
    mixed = tf.data.Dataset.choose_from_datasets(by_class, tf.data.Dataset.range(classes).repeat())
    return mixed.batch(batch).map(lambda row: (tf.gather(images, row), tf.gather(labels, row)))


if __name__ == "__main__":
    digits, model = tfmnist.load("mnist"), tfmnist.MLP(hidden=[128])
    batches = balanced(digits.train, digits.classes)
    tfmnist.fit(model, batches, validation=digits.validation, epochs=3, steps_per_epoch=len(digits.train) // 100)
    print(tfmnist.evaluate(model, digits.test).accuracy, tfmnist.export(model, "models/dataset"))
