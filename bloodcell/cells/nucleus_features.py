"""What a white cell looks like close up: at one size, whatever the magnification and however much lies around it.

One laboratory's images are fields with a small cell in them, another's show one cell that fills them. Cropped around
the nucleus and brought to one size they are alike, so that what is measured there tells of the cell and little of how
it was framed.
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
"""Pixels that a crop's side is brought to: about as many as are cut out of an image of the Kaggle set."""
LEAST = 8
"""Half the side of the smallest crop, in pixels at the working size: less shows nothing."""
RING = (1.5, 10.0)
"""Pixels from the nucleus, at this size, that are mostly cytoplasm."""

N_MOMENTS = 6
N_NUMBERS = 5 + 2 * N_MOMENTS + 2


@dataclass(frozen=True, kw_only=True)
class NucleusFeatures:
    """What n images look like around their nucleus.

    Attributes
    ----------
    numbers
        Of each close-up, shape (n, 19), float32: the nucleus's size, raggedness, solidity, thickness and elongation as
        found again in the close-up (5); means and standard deviations of L*a*b* of the nucleus (6) and of what is
        around it (6), as under one light; by how many grey levels blue stands further above green in the nucleus than
        around it; and which share of the variance of that lies between the two, 0 to 1 (Otsu, 1979). Lobes and nuclei
        are not counted: most cells have one, so that a few in one cell would be all there is to a distance.
    found
        Whether there is a nucleus in the image, shape (n,), bool.
    """

    numbers: NDArray[np.float32]
    found: NDArray[np.bool_]


def nucleus_features(images: Iterable[NDArray[np.uint8]]) -> NucleusFeatures:
    """Measure what images look like around their nucleus.

    Parameters
    ----------
    images
        RGB, each of shape (height, width, 3), uint8, of any sizes.
    """
    rows, found = [], []
    for pixels in images:
        small = at_working_size(pixels)
        cell = find_cell(small)
        rows.append(_numbers(*_cut_out(small, cell)))
        found.append(cell.found)
    numbers = np.array(rows, np.float32).reshape(-1, N_NUMBERS)
    return NucleusFeatures(numbers=numbers, found=np.array(found, np.bool_))


def crop_to_fixed_size(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Crop an image to its most violet spot, as under one light, and bring the crop to one size.

    Otherwise than `bloodcell.cells.crop.crop_to_nucleus`, whose crops are neither very small nor very large, this keeps
    to the nucleus's size.

    Parameters
    ----------
    pixels
        RGB, shape (height, width, 3), uint8.

    Returns
    -------
    ndarray of shape (120, 120, 3), uint8
    """
    small = at_working_size(pixels)
    return _cut_out(small, find_cell(small))[0]


def _cut_out(pixels: NDArray[np.uint8], cell: Cell) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a close-up, and 255 where it shows image content."""
    lit = normalise_illumination(pixels, cell.background)
    lit[cell.content_mask == 0] = BACKGROUND_LEVEL
    half = max(round(RADII * (cell.area / np.pi) ** 0.5), LEAST)
    left, top = (round(centre) - half for centre in cell.centre)
    side = 2 * half + 1
    shown = window(cell.content_mask, left=left, top=top, side=side, beyond=0)
    interpolation = cv2.INTER_AREA if side > SIDE else cv2.INTER_LINEAR
    return (
        np.asarray(cv2.resize(window(lit, left=left, top=top, side=side), (SIDE, SIDE), interpolation=interpolation)),
        np.asarray(cv2.resize(shown, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)),
    )


def _numbers(pixels: NDArray[np.uint8], shown: NDArray[np.uint8]) -> list[float]:
    cell = find_cell(pixels)
    distance = cv2.distanceTransform(cv2.bitwise_not(cell.nucleus), cv2.DIST_L2, 3)
    ring = cv2.bitwise_and(cv2.inRange(distance, *RING), shown)
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
