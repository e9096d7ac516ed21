"""Where the white cell is in an image, cached by the content of the file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bloodcell.cells.crop import CROP_VERSION
from bloodcell.cells.segmentation import find_cell
from bloodcell.images.feature_cache import cached_features
from bloodcell.images.normalisation import at_working_size

PLACES_VERSION = CROP_VERSION
"""Increased when the place of a cell in the same image changes, as that of a crop does."""

NOWHERE = (0.5, 0.5, 0.0, 0.0)
"""The place if there is no cell: the image's centre, without a size."""


def cell_places(files: Sequence[Path], sha256s: Sequence[str]) -> NDArray[np.float32]:
    """Return the centre of the nucleus in each image, and its radius.

    Parameters
    ----------
    files, sha256s
        As for `bloodcell.images.feature_cache.cached_features`.

    Returns
    -------
    ndarray of shape (n, 4), float32
        The centre's x and y as shares of the image's width and height, and the radius of a disc with the nucleus's area
        as a share of each; `NOWHERE` without a cell.
    """
    name = f"places-{PLACES_VERSION}"
    return cached_features(files, sha256s, measure=_place, name=name, description="finding cells").reshape(-1, 4)


def _place(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    pixels = at_working_size(pixels)
    cell = find_cell(pixels)
    if not cell.found:
        return np.array(NOWHERE, np.float32)
    height, width = pixels.shape[:2]
    x, y = ((centre + 0.5) / size for centre, size in zip(cell.centre, (width, height), strict=True))
    return np.array([x, y, cell.radius / width, cell.radius / height], np.float32)
