"""Drift: whether data still resemble those that a model was trained on."""
