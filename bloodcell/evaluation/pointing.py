"""Whether a model looks at the cell: where the hottest place of its heat maps is (Zhang et al., 2016)."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bloodcell.cells.cytoplasm import CYTOPLASM
from bloodcell.cells.segmentation import find_cell
from bloodcell.images.normalisation import at_working_size

MARGIN = round(CYTOPLASM[1])
"""Pixels at the working size by which a nucleus is grown to its cell."""


@dataclass(frozen=True, kw_only=True)
class Pointing:
    """How often heat is on the white cell.

    Attributes
    ----------
    photographs
        How many were looked at: those in which a nucleus is found.
    without_nucleus
        How many were left out because none is.
    peak_on_nucleus, peak_on_cell
        The share of photographs whose hottest pixel is on the nucleus, or on the nucleus grown by `MARGIN`; without
        heat it is on neither.
    heat_on_cell
        The share of all heat that is on the nucleus so grown, the mean over the photographs.
    nucleus_area, cell_area
        The share of the photograph that these take, on the mean: what a peak at random would come to.
    """

    photographs: int
    without_nucleus: int
    peak_on_nucleus: float
    peak_on_cell: float
    heat_on_cell: float
    nucleus_area: float
    cell_area: float


def nucleus_in(pixels: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    """Return where a photograph's nucleus is, (height, width), bool; None where none is found.

    Parameters
    ----------
    pixels
        RGB, (height, width, 3), uint8.
    """
    both = nucleus_and_cell_in(pixels)
    return None if both is None else both[0]


def nucleus_and_cell_in(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    """Return where a photograph's nucleus is, and where that grown by `MARGIN` is; as `nucleus_in`."""
    cell = find_cell(at_working_size(pixels))
    if not cell.found:
        return None
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * MARGIN + 1, 2 * MARGIN + 1))
    return _to_size(cell.nucleus, pixels), _to_size(np.asarray(cv2.dilate(cell.nucleus, disc), np.uint8), pixels)


def measure_pointing(photographs: Sequence[NDArray[np.uint8]], heats: Sequence[NDArray[np.float32]]) -> Pointing:
    """Measure how often heat is on the cell.

    Parameters
    ----------
    photographs
        RGB, each (height, width, 3), uint8.
    heats
        One for each, (height, width), at least 0.

    Returns
    -------
    Pointing
        Its shares are not numbers where no photograph has a nucleus.
    """
    figures = []
    for pixels, heat in zip(photographs, heats, strict=True):
        both = nucleus_and_cell_in(pixels)
        if both is None:
            continue
        nucleus, cell = both
        peak = np.unravel_index(int(heat.argmax()), heat.shape)
        total = float(heat.sum())
        figures.append(
            (
                total > 0 and nucleus[peak],
                total > 0 and cell[peak],
                float(heat[cell].sum()) / total if total > 0 else 0.0,
                nucleus.mean(),
                cell.mean(),
            )
        )
    means = np.mean(np.asarray(figures, np.float64), axis=0).tolist() if figures else [float("nan")] * 5
    return Pointing(
        photographs=len(figures),
        without_nucleus=len(photographs) - len(figures),
        peak_on_nucleus=means[0],
        peak_on_cell=means[1],
        heat_on_cell=means[2],
        nucleus_area=means[3],
        cell_area=means[4],
    )


def _to_size(mask: NDArray[np.uint8], pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    height, width = pixels.shape[:2]
    return np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST) > 0)
