"""Figures of a run, drawn from plain arrays.

Matplotlib through its object-oriented interface: no pyplot, no window, no global state, and no import before the first
figure. Colours are those of Okabe and Ito ("Color universal design", 2008), which colour-blind readers can tell apart;
a marker, a line style or a number always says the same, so a black-and-white print loses nothing.
"""

from tfmnist.plots.charts import calibration_curve, confusion, learning_curves, per_class
from tfmnist.plots.pictures import augmented, feature_maps, first_weights, mistakes, plot_images, prediction
from tfmnist.plots.style import save

__all__ = [
    "augmented",
    "calibration_curve",
    "confusion",
    "feature_maps",
    "first_weights",
    "learning_curves",
    "mistakes",
    "per_class",
    "plot_images",
    "prediction",
    "save",
]
