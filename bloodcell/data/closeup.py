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

from bloodcell.data.cells import Cell, find_cell
from bloodcell.data.crop import crop_to_nucleus
from bloodcell.data.measures import colours_of, outline_of
from bloodcell.data.working import at_working_size

SIDE = 120
"""Pixels that a crop's side is brought to: about as many as are cut out of an image of the Kaggle set."""
RING = (1.5, 10.0)
"""Pixels from the nucleus, at this size, that are mostly cytoplasm."""

N_MOMENTS = 6
N_NUMBERS = 7 + 2 * N_MOMENTS + 2


@dataclass(frozen=True, kw_only=True)
class CloseUps:
    """What n images look like around their nucleus.

    Attributes
    ----------
    numbers
        Of each close-up, shape (n, 21), float32: the nucleus's size, outline, lobes and count, as found again in the
        close-up (7); means and standard deviations of L*a*b* of the nucleus (6) and of what is around it (6), as under
        one light; by how many grey levels blue stands further above green in the nucleus than around it; and which
        share of the variance of that lies between the two, 0 to 1 (Otsu, 1979).
    found
        Whether there is a nucleus in the image, shape (n,), bool.
    """

    numbers: NDArray[np.float32]
    found: NDArray[np.bool_]


def close_ups(images: Iterable[NDArray[np.uint8]]) -> CloseUps:
    """Measure what images look like around their nucleus.

    Parameters
    ----------
    images
        RGB, each of shape (height, width, 3), uint8, of any sizes.
    """
    crops = [crop_to_nucleus(at_working_size(pixels)) for pixels in images]
    numbers = np.array([_numbers(crop.pixels) for crop in crops], np.float32)
    return CloseUps(
        numbers=numbers.reshape(-1, N_NUMBERS), found=np.array([crop.found for crop in crops], dtype=np.bool_)
    )


def _numbers(pixels: NDArray[np.uint8]) -> list[float]:
    smaller = max(pixels.shape[:2]) > SIDE
    pixels = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    cell = find_cell(pixels)
    distance = cv2.distanceTransform(cv2.bitwise_not(cell.nucleus), cv2.DIST_L2, 3)
    ring = cv2.inRange(distance, *RING)
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)
    return [
        *outline_of(cell),
        *colours_of(lab, cell.nucleus)[:N_MOMENTS],
        *colours_of(lab, ring)[:N_MOMENTS],
        cell.excess,
        _separation(pixels, cell),
    ]


def _separation(pixels: NDArray[np.uint8], cell: Cell) -> float:
    violet = cv2.subtract(pixels[..., 2], pixels[..., 1]).astype(np.float64)
    nucleus = cell.nucleus > 0
    variance, share = float(violet.var()), float(nucleus.mean())
    if not variance or not 0 < share < 1:
        return 0.0
    return share * (1 - share) * float(violet[nucleus].mean() - violet[~nucleus].mean()) ** 2 / variance
