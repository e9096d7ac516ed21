"""Images as they are looked at: at one size, and only where something was photographed."""

import cv2
import numpy as np
from numpy.typing import NDArray

WORKING_AREA = 320 * 240
"""Pixels that every image is brought to: more cost time and show no more of what is looked for."""

FILL = 24
"""The brightest that black fill is after JPEG, of 255."""


def at_working_size(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Scale an image to `WORKING_AREA` pixels, its shape kept.

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


def photographed(pixels: NDArray[np.uint8], *, margin: int) -> NDArray[np.uint8]:
    """Return 255 where a pixel is further than ``margin`` from black fill that touches the border, else 0.

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
