"""Searching for the best hyperparameters."""
