"""Augmented copies of synthetic photographs, with the augmentation of the Kaggle set."""

import cv2
import numpy as np
from numpy.typing import NDArray

from bloodcell.smears.photograph import CLASSES, Photograph

ROTATION = np.deg2rad(20)
SHIFT = 0.1
SHEAR = 0.2
"""Largest rotation (radians), shift (share of height and width) and shear (radians, as in Keras of 2017)."""

_COPY = 3


def augmented_copy(photograph: Photograph, *, seed: int) -> Photograph:
    """Rotate, shift, shear and flip a photograph and its masks at random; pixels beyond it become black.

    Parameters
    ----------
    photograph
        The photograph; the same seed changes different photographs differently.
    seed
        Number of the copy, 0 or more; the same number gives identical pixels.

    Notes
    -----
    The matrices and the nearest-neighbour interpolation are those of Keras's ImageDataGenerator of 2017, so copies are
    as sharp as the photograph.
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
        image=_transformed(photograph.image, source),
        nucleus=_transformed(photograph.nucleus.astype(np.uint8), source) > 0,
        cell=_transformed(photograph.cell.astype(np.uint8), source) > 0,
        label=photograph.label,
        slide=photograph.slide,
        seed=photograph.seed,
    )


def _transformed(pixels: NDArray[np.uint8], source: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Apply an affine transformation; the matrix maps an output row and column to the source."""
    height, width = pixels.shape[:2]
    x_and_y = source[[1, 0]][:, [1, 0, 2]]
    return np.asarray(cv2.warpAffine(pixels, x_and_y, (width, height), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP))
