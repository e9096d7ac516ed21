"""Prediction with a saved model, from image files."""
