"""Augmented copies of rendered photographs, made as those of the Kaggle set were."""

import cv2
import numpy as np
from numpy.typing import NDArray

from bloodcell.smears.photograph import Photograph

ROTATION = 20.0
"""Degrees to either side."""
SHIFT = 0.1
"""In parts of width and height, to either side."""
SHEAR = 0.2
"""Degrees to either side: what Keras's ImageDataGenerator(shear_range=0.2) means."""

_COPY = 3


def augmented_copy(photograph: Photograph, *, seed: int) -> Photograph:
    """Turn, shift, shear and flip a photograph by random amounts; the masks go with it, and what was beyond is black.

    Parameters
    ----------
    seed
        Number of the copy, 0 or more; the same one gives the same changes.

    Notes
    -----
    The matrices are those of Keras's ImageDataGenerator: rotation, then shift, then shear, about the middle.
    """
    height, width = photograph.image.shape[:2]
    rng = np.random.default_rng([_COPY, seed])
    angle, lean = np.deg2rad(rng.uniform(-ROTATION, ROTATION)), np.deg2rad(rng.uniform(-SHEAR, SHEAR))
    across, down = rng.uniform(-SHIFT, SHIFT) * width, rng.uniform(-SHIFT, SHIFT) * height
    flip = np.diag([rng.choice([-1.0, 1.0]), rng.choice([-1.0, 1.0]), 1.0])
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    shift = np.array([[1, 0, across], [0, 1, down], [0, 0, 1]])
    sheared = np.array([[1, -np.sin(lean), 0], [0, np.cos(lean), 0], [0, 0, 1]])
    middle = np.array([[1, 0, (width - 1) / 2], [0, 1, (height - 1) / 2], [0, 0, 1]])
    source = middle @ turn @ shift @ sheared @ flip @ np.linalg.inv(middle)
    return Photograph(
        image=_warped(photograph.image, source, cv2.INTER_LINEAR),
        nucleus=_warped(photograph.nucleus.astype(np.uint8), source, cv2.INTER_NEAREST) > 0,
        cell=_warped(photograph.cell.astype(np.uint8), source, cv2.INTER_NEAREST) > 0,
        label=photograph.label,
        slide=photograph.slide,
    )


def _warped(pixels: NDArray[np.uint8], source: NDArray[np.float64], interpolation: int) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    return np.asarray(
        cv2.warpAffine(
            pixels,
            source[:2],
            (width, height),
            flags=interpolation | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
        )
    )
