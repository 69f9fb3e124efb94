"""Classifies images with an exported ONNX file and ONNX Runtime alone, and prints one class index per line.

python onnx_python.py MODEL.onnx IMAGES     IMAGES: an uncompressed uint8 IDX file, as in MNIST
"""

import sys

import numpy as np
import onnxruntime

model, path = sys.argv[1:]
_, count, height, width = np.fromfile(path, ">u4", 4).tolist()
images = np.fromfile(path, np.uint8, offset=16).reshape(count, height, width)
session = onnxruntime.InferenceSession(model)
for start in range(0, count, 1000):
    for label in session.run(["classes"], {"images": images[start : start + 1000]})[0]:  # type: ignore[union-attr]
        print(label)
