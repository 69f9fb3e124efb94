"""Predictions of a trained `cnn`: one image at a time, and 256 at once; like `inference`, with fewer batches."""

from workloads.inference import GOALS, contenders

WORK = "three convolutions with batch norm; uint8 images in, probabilities out; 1,000 calls with one image, 20 with 256"
UNIT = "1,000 calls and 20 batches"
STEPS = None
CONTENDERS = contenders("cnn")
__all__ = ["CONTENDERS", "GOALS", "STEPS", "UNIT", "WORK"]
