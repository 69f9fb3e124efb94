"""Sweeps: many trainings that answer one question. Optuna searches; the trials are ordinary runs."""
