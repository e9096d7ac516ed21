"""Predictions, metrics, confidence intervals and calibration of a model."""
