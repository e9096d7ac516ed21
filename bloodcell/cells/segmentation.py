"""Finds the white blood cell in an image of a stained smear.

Nuclei take up the stain's violet, so that blue stands far above green in them and nowhere else: red cells are pink, the
ground is grey, once it is taken for the colour of the light.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bloodcell.images.normalisation import background_level, content_mask, normalise_illumination

SMOOTHING = 2.0
"""Standard deviation of the blur that takes grain away, in pixels."""

FILL_MARGIN = 2
GAP = 17
"""Parts of a nucleus that are nearer to each other than this many pixels are lobes of one."""

ANOTHER = 0.35
"""A second nucleus has at least this share of the first one's area; platelets and stain have less."""

LEAST_EXCESS = 24.0
"""Grey levels by which blue stands further above green in a nucleus than around it, as under one light.

In photographs of the Kaggle set 57 and more; 20 where next to nothing of a nucleus is in view, and red cells are the
most violet.
"""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What is known of the white cell in an image.

    Attributes
    ----------
    nucleus
        Its nucleus, with all lobes: 255 there, else 0, shape (height, width), uint8.
    content_mask
        255 where the image is no black fill, else 0, shape (height, width), uint8.
    centre
        x and y of the nucleus's centre of mass, in pixels.
    area
        Of the nucleus, in pixels.
    count
        How many nuclei of about that size there are.
    excess
        Mean of blue minus green in the nucleus, less the mean around it, in grey levels after illumination
        normalisation.
    background
        The clear ground's level in each channel, as of `bloodcell.images.normalisation.background_level`.
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
        """Whether there is a nucleus at all; where there is none, what is given is the most violet spot."""
        return self.excess >= LEAST_EXCESS

    @property
    def at_border(self) -> bool:
        """Whether the nucleus touches the image's border or its black fill, so that a part of it is missing."""
        inside = np.pad(self.content_mask, 1)
        # Fill's margin is taken for fill as well, so that to touch it is enough.
        touching = cv2.erode(inside, np.ones((3, 3), np.uint8))[1:-1, 1:-1] == 0
        return bool((touching & (self.nucleus > 0)).any())


def find_cell(pixels: NDArray[np.uint8]) -> Cell:
    """Find the largest nucleus.

    A pixel is nucleus where blue stands above green by more than Otsu's threshold (1979), and by more than half of
    what the nucleus itself reaches: there a blurred edge lies. Otsu's threshold alone may fall among violet red cells,
    and which of them it takes along then changes with the white balance.

    Parameters
    ----------
    pixels
        RGB at the size of `bloodcell.images.normalisation.at_working_size`, shape (height, width, 3), uint8.
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
        count=int((areas > ANOTHER * areas.max()).sum()),
        excess=float(cv2.mean(violet, mask=nucleus)[0] - around),
        background=background,
    )


def _largest(
    violet: NDArray[np.uint8], threshold: float
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.intp]]:
    """Return what is above a threshold, the largest part of it (255 there, else 0) and the area of every part."""
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
