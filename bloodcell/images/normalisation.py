"""Normalise images for measuring: one size, no black fill, one illumination."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

WORKING_AREA = 320 * 240
"""Number of pixels to which images are scaled: more would only cost time."""

FILL = 24
"""Largest grey level of black fill after JPEG, of 255."""

BACKGROUND_LEVEL = 230
"""Grey level of the background after illumination normalisation."""

BACKGROUND_QUANTILE = 0.9
"""Quantile of a channel that defines its background."""


def at_working_size(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Scale an image to `WORKING_AREA` pixels, with its aspect ratio.

    Parameters
    ----------
    pixels
        RGB, shape (height, width, 3), uint8.
    """
    height, width = pixels.shape[:2]
    scale = (WORKING_AREA / (height * width)) ** 0.5
    size = max(round(width * scale), 8), max(round(height * scale), 8)
    if size == (width, height):
        return pixels
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR))


def content_mask(pixels: NDArray[np.uint8], *, margin: int) -> NDArray[np.uint8]:
    """Return 255 if a pixel is further than ``margin`` from black fill that touches the border, else 0.

    Parameters
    ----------
    pixels
        RGB, shape (height, width, 3), uint8.
    margin
        In pixels.

    Returns
    -------
    ndarray of shape (height, width), uint8
        A mask as OpenCV takes it.
    """
    dark = cv2.inRange(pixels, (0, 0, 0), (FILL, FILL, FILL)) // 255
    framed = np.ascontiguousarray(np.pad(dark, 1, constant_values=1))  # padding keeps a transposed layout
    cv2.floodFill(framed, None, (0, 0), 2)
    inside = (framed[1:-1, 1:-1] != 2).astype(np.uint8) * 255
    side = 2 * margin + 1
    return np.asarray(
        cv2.erode(inside, np.ones((side, side), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=255)
    )


def background_level(pixels: NDArray[np.uint8], mask: NDArray[np.uint8]) -> list[float]:
    """Return the level of the background in each channel.

    Parameters
    ----------
    pixels
        RGB, shape (height, width, 3), uint8.
    mask
        255 for pixels to use, else 0, shape (height, width), uint8.
    """
    return [quantiles(channel, mask, (BACKGROUND_QUANTILE,))[0] for channel in cv2.split(pixels)]


def normalise_illumination(pixels: NDArray[np.uint8], background: Sequence[float]) -> NDArray[np.uint8]:
    """Scale each channel so that the background becomes `BACKGROUND_LEVEL`."""
    scale = np.arange(256)[:, None] * (BACKGROUND_LEVEL / np.maximum(background, 1.0))
    return np.asarray(cv2.LUT(pixels, np.clip(scale, 0, 255).astype(np.uint8)[None]))


def quantiles(channel: NDArray[np.uint8], mask: NDArray[np.uint8], shares: Sequence[float]) -> list[float]:
    """Return quantiles of the masked pixels, interpolated within a grey level."""
    below = np.cumsum(cv2.calcHist([channel], [0], mask, [256], [0, 256]).ravel())
    if not below[-1]:
        return [0.0] * len(shares)
    levels = np.interp(np.asarray(shares) * below[-1], np.concatenate([[0], below]), np.arange(257) - 0.5)
    return [float(level) for level in levels]
