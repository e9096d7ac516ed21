"""Features of a white cell in a crop of fixed size, whatever the magnification and framing of the image.

Images of one laboratory are fields with a small cell, those of another show one cell only. Crops around the nucleus
that are scaled to one size are comparable.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bloodcell.cells.crop import RADII, window
from bloodcell.cells.measurements import colours_of, outline_of
from bloodcell.cells.segmentation import Cell, find_cell
from bloodcell.images.normalisation import BACKGROUND_LEVEL, at_working_size, normalise_illumination

SIDE = 120
"""Side of the scaled crop in pixels: about that of a crop of the Kaggle set."""
MIN_HALF_SIDE = 8
"""Smallest half side of a crop, in pixels at the working size."""
RING = (1.5, 10.0)
"""Distance from the nucleus that is mostly cytoplasm, in pixels of the scaled crop."""

N_MOMENTS = 6
N_NUMBERS = 5 + 2 * N_MOMENTS + 2


@dataclass(frozen=True, kw_only=True)
class NucleusFeatures:
    """Features of n images.

    Attributes
    ----------
    numbers
        Shape (n, 19), float32: the nucleus's size, raggedness, solidity, thickness and elongation (5); means and
        standard deviations of L*a*b* of the nucleus (6) and around it (6), after illumination normalisation; its
        `Cell.excess`; and the share of the variance of blue minus green between nucleus and surroundings, 0 to 1 (Otsu,
        1979). Lobes and nuclei are not counted: most cells have one, so others would dominate a distance.
    found
        Whether the image has a nucleus, shape (n,), bool.
    """

    numbers: NDArray[np.float32]
    found: NDArray[np.bool_]


def nucleus_features(images: Iterable[NDArray[np.uint8]]) -> NucleusFeatures:
    """Compute the features of images.

    Parameters
    ----------
    images
        RGB, each of shape (height, width, 3), uint8; sizes can differ.
    """
    rows, found = [], []
    for pixels in images:
        small = at_working_size(pixels)
        cell = find_cell(small)
        rows.append(_numbers(*_scaled_crop(small, cell)))
        found.append(cell.found)
    numbers = np.array(rows, np.float32).reshape(-1, N_NUMBERS)
    return NucleusFeatures(numbers=numbers, found=np.array(found, np.bool_))


def crop_to_fixed_size(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Crop an image to its most violet spot, normalise illumination, and scale the crop.

    Unlike those of `bloodcell.cells.crop.crop_to_nucleus`, its side is always in proportion to the nucleus.

    Parameters
    ----------
    pixels
        RGB, shape (height, width, 3), uint8.

    Returns
    -------
    ndarray of shape (120, 120, 3), uint8
    """
    small = at_working_size(pixels)
    return _scaled_crop(small, find_cell(small))[0]


def _scaled_crop(pixels: NDArray[np.uint8], cell: Cell) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the scaled crop, and the mask of its image content."""
    normalised = normalise_illumination(pixels, cell.background)
    normalised[cell.content_mask == 0] = BACKGROUND_LEVEL
    half = max(round(RADII * cell.radius), MIN_HALF_SIDE)
    left, top = (round(centre) - half for centre in cell.centre)
    side = 2 * half + 1
    content = window(cell.content_mask, left=left, top=top, side=side, beyond=0)
    interpolation = cv2.INTER_AREA if side > SIDE else cv2.INTER_LINEAR
    return (
        np.asarray(
            cv2.resize(window(normalised, left=left, top=top, side=side), (SIDE, SIDE), interpolation=interpolation)
        ),
        np.asarray(cv2.resize(content, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)),
    )


def _numbers(pixels: NDArray[np.uint8], content: NDArray[np.uint8]) -> list[float]:
    cell = find_cell(pixels)
    distance = cv2.distanceTransform(cv2.bitwise_not(cell.nucleus), cv2.DIST_L2, 3)
    ring = cv2.bitwise_and(cv2.inRange(distance, *RING), content)
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)
    size, raggedness, solidity, _, thickness, elongation, _ = outline_of(cell)
    return [
        *(size, raggedness, solidity, thickness, elongation),
        *colours_of(lab, cell.nucleus)[:N_MOMENTS],
        *colours_of(lab, ring)[:N_MOMENTS],
        cell.excess,
        _separation(pixels, cell),
    ]


def _separation(pixels: NDArray[np.uint8], cell: Cell) -> float:
    violet = cv2.subtract(pixels[..., 2], pixels[..., 1])
    nucleus = cell.nucleus > 0
    variance, share = float(violet.var()), float(nucleus.mean())
    if not variance or not 0 < share < 1:
        return 0.0
    return share * (1 - share) * float(violet[nucleus].mean() - violet[~nucleus].mean()) ** 2 / variance
