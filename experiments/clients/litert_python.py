"""Classifies images with an exported LiteRT file and LiteRT alone, and prints one class index per line.

python litert_python.py MODEL.tflite IMAGES     IMAGES: an uncompressed uint8 IDX file, as in MNIST
"""

import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter

model, path = sys.argv[1:]
_, count, height, width = np.fromfile(path, ">u4", 4).tolist()
images = np.fromfile(path, np.uint8, offset=16).reshape(count, height, width)
predict = Interpreter(model).get_signature_runner("serving_default")
for start in range(0, count, 1000):
    for label in predict(images=images[start : start + 1000])["classes"]:
        print(label)
