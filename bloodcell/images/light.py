"""Images as under one light: whatever lamp, exposure and white balance they were taken with."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

WHITE = 230
WHITE_QUANTILE = 0.9
"""The clear ground's grey level once light and exposure are evened out, and which quantile is taken for it."""


def light_of(pixels: NDArray[np.uint8], mask: NDArray[np.uint8]) -> list[float]:
    """Return the clear ground's level in each channel.

    Parameters
    ----------
    pixels
        RGB, shape (height, width, 3), uint8.
    mask
        255 where it is looked for, else 0, shape (height, width), uint8.
    """
    return [quantiles(channel, mask, (WHITE_QUANTILE,))[0] for channel in cv2.split(pixels)]


def under_light(pixels: NDArray[np.uint8], light: Sequence[float]) -> NDArray[np.uint8]:
    """Scale each channel so that ground of this colour becomes `WHITE`."""
    scale = np.arange(256)[:, None] * (WHITE / np.maximum(light, 1.0))
    return np.asarray(cv2.LUT(pixels, np.clip(scale, 0, 255).astype(np.uint8)[None]))


def quantiles(channel: NDArray[np.uint8], mask: NDArray[np.uint8], shares: Sequence[float]) -> list[float]:
    """Return grey levels below which a share of the masked pixels lies, interpolated within a level."""
    below = np.cumsum(cv2.calcHist([channel], [0], mask, [256], [0, 256]).ravel())
    if not below[-1]:
        return [0.0] * len(shares)
    levels = np.interp(np.asarray(shares) * below[-1], np.concatenate([[0], below]), np.arange(257) - 0.5)
    return [float(level) for level in levels]
