"""Sweeps: many trainings that answer one question. The search is Optuna's; the trials are runs of our own."""
