"""Crops: squares of an image that a model sees instead of the image.

`CROPS` has the methods by their name in the configuration. ``nucleus`` crops to the white blood cell, with a side in
proportion to its nucleus, after illumination normalisation.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bloodcell.cells.segmentation import find_cell
from bloodcell.images.normalisation import BACKGROUND_LEVEL, at_working_size, normalise_illumination

CropName = str
"""``none``, the whole image, or a name in `CROPS`."""

CROP_VERSION = 5
"""Increased when the nucleus crop of the same image changes."""

RADII = 1.9
"""Half the side of a crop, in radii of a disc with the nucleus's area: includes the cytoplasm and little else."""
MAX_HALF_SIDE = 160.0
"""Largest half side of a crop, in pixels at the working size."""
MIN_AT_BORDER = 30.0
"""Smallest half side if part of the nucleus is missing: that of a lymphocyte."""


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A crop and its position.

    Attributes
    ----------
    pixels
        RGB, shape (side, side, 3), uint8; the whole image, of any shape, if nothing was found.
    left, top, side
        Position in the image, in its pixels; a crop can extend beyond the image.
    found
        Whether an object to crop to, such as a cell, was found.
    count
        Number of white cells; the crop is of the one with the largest nucleus.
    at_border
        Whether the nucleus touches the image's border or black fill, so part of it is missing.
    """

    pixels: NDArray[np.uint8]
    left: int
    top: int
    side: int
    found: bool = True
    count: int = 1
    at_border: bool = False


CropFunction = Callable[[NDArray[np.uint8]], Crop]
"""Return the crop of an image, RGB, shape (height, width, 3), uint8; deterministic."""


@dataclass(frozen=True, kw_only=True)
class Cropping:
    """A crop method.

    Attributes
    ----------
    function
        The crop of an image.
    version
        Increased when the crop of the same image changes; caches of features of crops are keyed by it.
    finds_cells
        Whether it crops to a white cell; then images without one are counted.
    """

    function: CropFunction
    version: int
    finds_cells: bool


CROPS: dict[str, Cropping] = {}
"""Crop methods by name; ``conf/crop`` has a file for each."""


def register_crop(name: str, *, version: int, finds_cells: bool = False) -> Callable[[CropFunction], CropFunction]:
    """Register a crop method for the configuration.

    Parameters
    ----------
    name
        Its value of ``crop.name``.
    version, finds_cells
        See `Cropping`.
    """

    def register(function: CropFunction) -> CropFunction:
        CROPS[name] = Cropping(function=function, version=version, finds_cells=finds_cells)
        return function

    return register


def find_crop(pixels: NDArray[np.uint8], name: CropName) -> Crop | None:
    """Return the crop of an image; None if the name is ``none``."""
    return None if name == "none" else CROPS[name].function(pixels)


def crop(pixels: NDArray[np.uint8], name: CropName) -> NDArray[np.uint8]:
    """Return the image that a model sees: the whole one, or its crop."""
    found = find_crop(pixels, name)
    return pixels if found is None else found.pixels


def crop_recipe(name: CropName) -> dict[str, str] | None:
    """Return what a crop's pixels depend on besides the image; None if there is no crop."""
    if name == "none":
        return None
    return {"name": name, "version": str(CROPS[name].version), "opencv": cv2.__version__}


@register_crop("nucleus", version=CROP_VERSION, finds_cells=True)
def crop_to_nucleus(pixels: NDArray[np.uint8]) -> Crop:
    """Crop an image to its white blood cell.

    The illumination is normalised: each channel's background becomes `BACKGROUND_LEVEL`. Black fill and pixels beyond
    the image's border get that level too.

    Parameters
    ----------
    pixels
        RGB, shape (height, width, 3), uint8.
    """
    small = at_working_size(pixels)
    cell = find_cell(small)
    height, width = pixels.shape[:2]
    lit = normalise_illumination(pixels, cell.background)
    content_mask = cv2.resize(cell.content_mask, (width, height), interpolation=cv2.INTER_NEAREST)
    lit[content_mask == 0] = BACKGROUND_LEVEL
    if not cell.found:
        side = max(height, width)
        return Crop(pixels=lit, found=False, count=0, at_border=False, left=0, top=0, side=side)
    scale = width / small.shape[1]
    least = MIN_AT_BORDER if cell.at_border else 0.0
    half = round(scale * min(max(RADII * cell.radius, least), MAX_HALF_SIDE))
    left, top = (round(scale * centre) - half for centre in cell.centre)
    side = 2 * half + 1
    return Crop(
        pixels=window(lit, left=left, top=top, side=side),
        found=True,
        count=cell.count,
        at_border=cell.at_border,
        left=left,
        top=top,
        side=side,
    )


def window(
    pixels: NDArray[np.uint8], *, left: int, top: int, side: int, beyond: int = BACKGROUND_LEVEL
) -> NDArray[np.uint8]:
    """Cut a square out of an image with any number of channels; pixels beyond its border get one level."""
    square = np.full((side, side, *pixels.shape[2:]), beyond, np.uint8)
    height, width = pixels.shape[:2]
    rows, columns = slice(max(top, 0), min(top + side, height)), slice(max(left, 0), min(left + side, width))
    square[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = pixels[rows, columns]
    return square
