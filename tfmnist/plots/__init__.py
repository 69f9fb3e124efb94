"""Figures of a run, and of a sweep, drawn from plain arrays.

Matplotlib through its object-oriented interface: no pyplot, no window, no global state, and no import before the first
figure. Colours are those of Okabe and Ito ("Color universal design", 2008), which colour-blind readers can tell apart;
a marker, a line style or a number always says the same, so a black-and-white print loses nothing.
"""

from tfmnist.plots.charts import calibration_curve, confusion, learning_curves, per_class
from tfmnist.plots.pictures import augmented, feature_maps, first_weights, mistakes, plot_images, prediction
from tfmnist.plots.style import save
from tfmnist.plots.sweeps import (
    key_importance,
    parallel_coordinates,
    pareto_front,
    seed_dots,
    slices,
    trial_curves,
    trial_history,
)

__all__ = [
    "augmented",
    "calibration_curve",
    "confusion",
    "feature_maps",
    "first_weights",
    "key_importance",
    "learning_curves",
    "mistakes",
    "parallel_coordinates",
    "pareto_front",
    "per_class",
    "plot_images",
    "prediction",
    "save",
    "seed_dots",
    "slices",
    "trial_curves",
    "trial_history",
]
