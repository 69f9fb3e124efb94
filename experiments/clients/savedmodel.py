"""Classifies images with an exported SavedModel and TensorFlow alone, and prints one class index per line.

python savedmodel.py MODEL/1 IMAGES     IMAGES: an uncompressed uint8 IDX file, as in MNIST
"""

import sys

import numpy as np
import tensorflow as tf

model, path = sys.argv[1:]
_, count, height, width = np.fromfile(path, ">u4", 4).tolist()
images = np.fromfile(path, np.uint8, offset=16).reshape(count, height, width)
serve = tf.saved_model.load(model).signatures["serving_default"]  # type: ignore[attr-defined]
for start in range(0, count, 1000):
    for label in serve(images=tf.constant(images[start : start + 1000]))["classes"].numpy():
        print(label)
