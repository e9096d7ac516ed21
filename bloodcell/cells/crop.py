"""Crops images: squares of an image's own pixels, which a model sees instead of the image.

Every way to crop is in `CROPS`, by the name that the configuration knows it by. ``nucleus`` is the one around the white
blood cell, by its nucleus's size, as under one light; the nucleus is found at the size that images are looked at
(`bloodcell.images.normalisation`).
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

CROP_VERSION = 4
"""Counted up when the same image would be cropped to its nucleus otherwise."""

RADII = 1.9
"""Half a crop's side over the radius of a disc of the nucleus's area: the cytoplasm, and little around the cell."""
LIMITS = (16.0, 160.0)
"""Half a crop's side in pixels at the working size: fields of many small cells, and images that one cell fills."""
LEAST_AT_BORDER = 30.0
"""The same where a part of the nucleus is missing, and the cell is larger than it seems: what a lymphocyte takes."""


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A crop and what is known of it.

    Attributes
    ----------
    pixels
        RGB, shape (side, side, 3), uint8; the whole image, of any shape, where nothing to crop to was found.
    left, top, side
        Where the crop lies in the image, in its pixels; it may reach beyond. The whole image's where none was found.
    found
        Whether what is cropped to, such as a cell, was found.
    count
        How many white cells there seem to be; the crop is of the one with the largest nucleus.
    at_border
        Whether the nucleus touches the image's border or its black fill, so that a part of it is missing.
    """

    pixels: NDArray[np.uint8]
    left: int
    top: int
    side: int
    found: bool = True
    count: int = 1
    at_border: bool = False


CropFunction = Callable[[NDArray[np.uint8]], Crop]
"""From an image, RGB, shape (height, width, 3), uint8, to its crop: the same for the same pixels."""


@dataclass(frozen=True, kw_only=True)
class Cropping:
    """A way to crop.

    Attributes
    ----------
    function
        What crops an image.
    version
        Counted up when the same image would be cropped otherwise; caches of anything made of crops are keyed by it.
    finds_cells
        Whether it crops to a white cell; then images without one are counted.
    """

    function: CropFunction
    version: int
    finds_cells: bool


CROPS: dict[str, Cropping] = {}
"""The ways to crop, by name; ``conf/crop`` has a file for each. `register_crop` adds to them."""


def register_crop(name: str, *, version: int, finds_cells: bool = False) -> Callable[[CropFunction], CropFunction]:
    """Make a function a way to crop that the configuration can name.

    Parameters
    ----------
    name
        What ``crop.name`` calls it.
    version, finds_cells
        See `Cropping`.
    """

    def register(function: CropFunction) -> CropFunction:
        CROPS[name] = Cropping(function=function, version=version, finds_cells=finds_cells)
        return function

    return register


def find_crop(pixels: NDArray[np.uint8], name: CropName) -> Crop | None:
    """Crop an image and say what is known of the crop; None where the name is ``none``."""
    return None if name == "none" else CROPS[name].function(pixels)


def crop(pixels: NDArray[np.uint8], name: CropName) -> NDArray[np.uint8]:
    """Return what a model sees of an image: all of it, or its crop."""
    found = find_crop(pixels, name)
    return pixels if found is None else found.pixels


def crop_recipe(name: CropName) -> dict[str, str] | None:
    """Return all that a crop's pixels depend on, but the image; None where there is no crop."""
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
    least = LEAST_AT_BORDER if cell.at_border else LIMITS[0]
    half = round(scale * float(np.clip(RADII * (cell.area / np.pi) ** 0.5, least, LIMITS[1])))
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
    """Cut a square out of an image, of any number of channels; beyond its border everything has one level."""
    square = np.full((side, side, *pixels.shape[2:]), beyond, np.uint8)
    height, width = pixels.shape[:2]
    rows, columns = slice(max(top, 0), min(top + side, height)), slice(max(left, 0), min(left + side, width))
    square[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = pixels[rows, columns]
    return square
