"""Keeping a model in MLflow with all that is needed to load it."""

from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

import bloodcell
from bloodcell.models.ensemble import has_own_layers
from bloodcell.tracking.run import TrackedRun

PACKAGES = ("tensorflow", "keras", "numpy")
"""What a model needs that only resizes."""
PACKAGES_OF_LAYERS = ("opencv-python-headless", "pandas", "pillow", "pydantic", "rich", "filelock")
"""What a model needs besides whose layers are bloodcell's own."""


def keep_model(tracked: TrackedRun, model: keras.Model, *, classes: tuple[str, ...], example: NDArray[np.uint8]) -> str:
    """Keep a model with the packages that it needs, and bloodcell's code where it has layers of its own.

    Parameters
    ----------
    tracked
        The run.
    model
        From raw RGB (batch, height, width, 3), uint8, to probabilities.
    classes
        Their names, in order.
    example
        An image, (1, height, width, 3).

    Returns
    -------
    str
        The address to load it from.
    """
    own = has_own_layers(model)
    packages = (*PACKAGES, *PACKAGES_OF_LAYERS) if own else PACKAGES
    return tracked.log_model(
        model,
        classes=classes,
        example=example,
        requirements=[f"{package}=={version(package)}" for package in packages],
        code=Path(bloodcell.__file__).parent if own else None,
    )
