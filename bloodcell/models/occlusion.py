"""Occlusion: how a prediction changes if a part of the image is hidden (Zeiler & Fergus, 2014).

It needs only predictions, a few hundred per image, so it also explains models without a network.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

PATCH = 6
"""Number of patches along the shorter side of an image."""
BATCH = 32
MIN_PROBABILITY = 1e-7


def occlusion_heat(
    predict: Callable[[NDArray[np.uint8]], NDArray[np.float32]], pixels: NDArray[np.uint8], *, class_index: int
) -> NDArray[np.float32]:
    """Return how much the log-odds of a class decrease if a pixel is hidden.

    A square of the image's median colour, in a smear about that of the background, is moved over the image in steps of
    half its side. A pixel's heat is the mean over all squares that hide it.

    Parameters
    ----------
    predict
        From raw images (batch, height, width, 3), uint8, to probabilities (batch, n_classes).
    pixels
        The image, (height, width, 3), uint8.
    class_index
        The class.

    Returns
    -------
    ndarray of shape (height, width), float32
        Negative if hiding makes the class more probable.
    """
    height, width = pixels.shape[:2]
    side = max(min(height, width) // PATCH, 1)
    background = np.median(pixels.reshape(-1, 3), axis=0).astype(np.uint8)
    corners = [(top, left) for top in _starts(height, side) for left in _starts(width, side)]
    whole = _log_odds(predict(pixels[np.newaxis]), class_index)[0]
    total, count = np.zeros((height, width)), np.zeros((height, width))
    for start in range(0, len(corners), BATCH):
        chosen = corners[start : start + BATCH]
        hidden = np.repeat(pixels[np.newaxis], len(chosen), axis=0)
        for image, (top, left) in zip(hidden, chosen, strict=True):
            image[top : top + side, left : left + side] = background
        for (top, left), odds in zip(chosen, _log_odds(predict(hidden), class_index), strict=True):
            total[top : top + side, left : left + side] += whole - odds
            count[top : top + side, left : left + side] += 1
    return (total / count).astype(np.float32)


def _starts(length: int, side: int) -> Iterator[int]:
    yield from range(0, length - side, max(side // 2, 1))
    yield length - side


def _log_odds(probabilities: NDArray[np.float32], class_index: int) -> NDArray[np.float64]:
    chosen = np.clip(np.asarray(probabilities, np.float64)[:, class_index], MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    return np.asarray(np.log(chosen / (1 - chosen)))
