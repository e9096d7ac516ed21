"""Find the white blood cell in an image of a stained smear.

Only nuclei take up the violet stain: blue is far above green in them, red cells are pink, and the background is grey
after illumination normalisation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bloodcell.images.normalisation import background_level, content_mask, normalise_illumination

SMOOTHING = 2.0
"""Standard deviation of the blur that removes noise, in pixels."""

FILL_MARGIN = 2
GAP = 17
"""Distance in pixels below which two parts are lobes of one nucleus."""

MIN_RELATIVE_AREA = 0.35
"""Smallest area of a second nucleus, relative to the first; platelets and stain are smaller."""

MIN_EXCESS = 24.0
"""Smallest `Cell.excess` of a nucleus, in grey levels.

Photographs of the Kaggle set have 57 or more, and 20 if almost no nucleus is in view.
"""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The white cell in an image.

    Attributes
    ----------
    nucleus
        Mask of the nucleus with all lobes: 255 inside, else 0, shape (height, width), uint8.
    content_mask
        Mask of the image without black fill: 255 or 0, shape (height, width), uint8.
    centre
        x and y of the nucleus's centre of mass, in pixels.
    area
        Area of the nucleus, in pixels.
    count
        Number of nuclei of similar size.
    excess
        Mean of blue minus green in the nucleus, less the mean around it, in grey levels after illumination
        normalisation.
    background
        Level of the background in each channel, see `bloodcell.images.normalisation.background_level`.
    """

    nucleus: NDArray[np.uint8]
    content_mask: NDArray[np.uint8]
    centre: tuple[float, float]
    area: int
    count: int
    excess: float
    background: Sequence[float]

    @property
    def found(self) -> bool:
        """Whether there is a nucleus; if not, ``nucleus`` is the most violet spot."""
        return self.excess >= MIN_EXCESS

    @property
    def at_border(self) -> bool:
        """Whether the nucleus touches the image's border or black fill, so part of it is missing."""
        inside = np.pad(self.content_mask, 1)
        # The margin of fill is in the mask, so touching it is enough.
        touching = cv2.erode(inside, np.ones((3, 3), np.uint8))[1:-1, 1:-1] == 0
        return bool((touching & (self.nucleus > 0)).any())


def find_cell(pixels: NDArray[np.uint8]) -> Cell:
    """Find the largest nucleus.

    A pixel is nucleus if blue minus green exceeds Otsu's threshold (1979) and half of the nucleus's own height above
    the background, where its blurred edge is. Otsu's threshold alone can include violet red cells, depending on the
    white balance.

    Parameters
    ----------
    pixels
        RGB at the size of `at_working_size`, shape (height, width, 3), uint8.
    """
    inside = content_mask(pixels, margin=FILL_MARGIN)
    background = background_level(pixels, inside)
    smooth = cv2.GaussianBlur(normalise_illumination(pixels, background), (0, 0), SMOOTHING)
    violet = cv2.bitwise_and(cv2.subtract(smooth[..., 2], smooth[..., 1]), inside)
    values = violet[inside > 0]
    if not values.size:
        return _none(inside, background)
    threshold, _ = cv2.threshold(values.reshape(1, -1), 0, 255, cv2.THRESH_OTSU)
    stained, nucleus, areas = _largest(violet, threshold)
    if areas.size:
        height = (float(np.median(violet[nucleus > 0])) + float(np.median(values))) / 2
        stained, nucleus, areas = _largest(violet, max(threshold, height))
    if not areas.size:
        return _none(inside, background)
    moments = cv2.moments(nucleus, binaryImage=True)
    around = cv2.mean(violet, mask=cv2.bitwise_and(inside, cv2.bitwise_not(stained)))[0]
    return Cell(
        nucleus=nucleus,
        content_mask=inside,
        centre=(moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]),
        area=int(areas.max()),
        count=int((areas > MIN_RELATIVE_AREA * areas.max()).sum()),
        excess=float(cv2.mean(violet, mask=nucleus)[0] - around),
        background=background,
    )


def _largest(
    violet: NDArray[np.uint8], threshold: float
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.intp]]:
    """Return the mask above a threshold, the mask of its largest part, and the area of every part."""
    stained = np.asarray((violet > threshold).astype(np.uint8) * 255)
    joined = cv2.morphologyEx(stained, cv2.MORPH_CLOSE, np.ones((GAP, GAP), np.uint8))
    n_parts, parts = cv2.connectedComponents(joined)
    areas = np.bincount(parts[stained > 0], minlength=n_parts)[1:]
    if not areas.any():
        return stained, np.zeros_like(stained), areas[:0]
    return stained, np.asarray(((parts == 1 + int(areas.argmax())) & (stained > 0)).astype(np.uint8) * 255), areas


def _none(mask: NDArray[np.uint8], background: Sequence[float]) -> Cell:
    height, width = mask.shape
    return Cell(
        nucleus=np.zeros_like(mask),
        content_mask=mask,
        centre=((width - 1) / 2, (height - 1) / 2),
        area=0,
        count=0,
        excess=0.0,
        background=background,
    )
