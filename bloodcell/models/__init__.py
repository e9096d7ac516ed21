"""Backbones, heads, and models that were saved."""

from typing import Any


def load_model(path: str, custom_objects: object = None) -> Any:  # noqa: ARG001 - MLflow's call
    """Load a ``.keras`` file of bloodcell; ``mlflow.tensorflow.load_model`` looks for this function here.

    See `bloodcell.models.saved.load_saved_model`.
    """
    from pathlib import Path

    from bloodcell.models.saved import load_saved_model

    return load_saved_model(Path(path))
