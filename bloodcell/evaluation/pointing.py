"""The pointing game: whether the maximum of a heat map is on the cell (Zhang et al., 2016)."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bloodcell.cells.cytoplasm import CYTOPLASM
from bloodcell.cells.segmentation import find_cell
from bloodcell.images.normalisation import at_working_size

MARGIN = round(CYTOPLASM[1])
"""Dilation of the nucleus to the cell, in pixels at the working size."""


@dataclass(frozen=True)
class Pointing:
    """How much of the heat maps is on the white cell.

    Attributes
    ----------
    photographs
        The number of images with a nucleus.
    without_nucleus
        The number of images left out because no nucleus was found.
    peak_on_nucleus, peak_on_cell
        The share of images whose hottest pixel is on the nucleus, or on the nucleus dilated by `MARGIN`; without heat
        it is on neither.
    heat_on_cell
        The share of heat on the dilated nucleus, averaged over images.
    nucleus_area, cell_area
        The mean share of the image that these cover: the expectation of a random peak.
    """

    photographs: int
    without_nucleus: int
    peak_on_nucleus: float
    peak_on_cell: float
    heat_on_cell: float
    nucleus_area: float
    cell_area: float


def nucleus_in(pixels: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    """Return the mask of the nucleus, (height, width), bool; None if not found.

    Pixels are RGB, (height, width, 3), uint8.
    """
    masks = nucleus_and_cell_in(pixels)
    return None if masks is None else masks[0]


def nucleus_and_cell_in(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    """Return the masks of the nucleus and of the nucleus dilated by `MARGIN`, or None."""
    cell = find_cell(at_working_size(pixels))
    if not cell.found:
        return None
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * MARGIN + 1, 2 * MARGIN + 1))
    return _to_size(cell.nucleus, pixels), _to_size(np.asarray(cv2.dilate(cell.nucleus, disc), np.uint8), pixels)


def measure_pointing(photographs: Sequence[NDArray[np.uint8]], heats: Sequence[NDArray[np.float32]]) -> Pointing:
    """Measure how much of the heat maps is on the cell; shares are NaN if no image has a nucleus.

    Photographs are RGB, each (height, width, 3), uint8; heats are (height, width), at least 0, one for each.
    """
    measured = []
    for pixels, heat in zip(photographs, heats, strict=True):
        masks = nucleus_and_cell_in(pixels)
        if masks is None:
            continue
        nucleus, cell = masks
        peak = np.unravel_index(int(heat.argmax()), heat.shape)
        total = float(heat.sum())
        measured.append(
            (  # as the fields of `Pointing`
                total > 0 and nucleus[peak],
                total > 0 and cell[peak],
                float(heat[cell].sum()) / total if total > 0 else 0.0,
                nucleus.mean(),
                cell.mean(),
            )
        )
    means = np.mean(np.asarray(measured, np.float64), axis=0).tolist() if measured else [float("nan")] * 5
    return Pointing(len(measured), len(photographs) - len(measured), *means)


def _to_size(mask: NDArray[np.uint8], pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    height, width = pixels.shape[:2]
    return np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST) > 0)
