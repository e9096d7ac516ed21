"""Augmented copies of rendered photographs, made as those of the Kaggle set were."""

import cv2
import numpy as np
from numpy.typing import NDArray

from bloodcell.smears.photograph import CLASSES, Photograph

ROTATION = np.deg2rad(20)
SHIFT = 0.1
SHEAR = 0.2
"""To either side: radians, parts of height and width, and radians, which Keras's ``shear_range`` was in then."""

_COPY = 3


def augmented_copy(photograph: Photograph, *, seed: int) -> Photograph:
    """Turn, shift, shear and flip a photograph by random amounts; masks go with it, and what was beyond it is black.

    Parameters
    ----------
    photograph
        What to copy; the same seed makes different changes to different photographs.
    seed
        Number of the copy, 0 or more; the same one gives the same copy, pixel by pixel.

    Notes
    -----
    The matrices are those of Keras's ImageDataGenerator as it was in 2017, on rows and columns about the middle, and
    the nearest pixel is taken, as there: what is as sharp as a photograph is no less sharp in its copies.
    """
    height, width = photograph.image.shape[:2]
    label = CLASSES.index(photograph.label)
    rng = np.random.default_rng([_COPY, label, photograph.slide, photograph.seed, seed])
    angle, lean = rng.uniform(-ROTATION, ROTATION), rng.uniform(-SHEAR, SHEAR)
    down, across = rng.uniform(-SHIFT, SHIFT) * height, rng.uniform(-SHIFT, SHIFT) * width
    flips = rng.choice([-1.0, 1.0], 2)
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    shift = np.array([[1, 0, down], [0, 1, across], [0, 0, 1]])
    shear = np.array([[1, -np.sin(lean), 0], [0, np.cos(lean), 0], [0, 0, 1]])
    middle = np.array([[1, 0, (height - 1) / 2], [0, 1, (width - 1) / 2], [0, 0, 1]])
    source = middle @ rotation @ shift @ shear @ np.diag([*flips, 1]) @ np.linalg.inv(middle)
    return Photograph(
        image=_moved(photograph.image, source),
        nucleus=_moved(photograph.nucleus.astype(np.uint8), source) > 0,
        cell=_moved(photograph.cell.astype(np.uint8), source) > 0,
        label=photograph.label,
        slide=photograph.slide,
        seed=photograph.seed,
    )


def _moved(pixels: NDArray[np.uint8], source: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Take every pixel from the row and column that a matrix gives."""
    height, width = pixels.shape[:2]
    x_and_y = source[[1, 0]][:, [1, 0, 2]]
    return np.asarray(cv2.warpAffine(pixels, x_and_y, (width, height), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP))
