"""Measurements of an image, of its white cell and of its background; cached by the content of the file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bloodcell.cells.cytoplasm import N_NUMBERS as N_CYTOPLASM
from bloodcell.cells.cytoplasm import measure_cytoplasm
from bloodcell.cells.segmentation import Cell, find_cell_and_stained
from bloodcell.images.feature_cache import cached_features
from bloodcell.images.normalisation import at_working_size, normalise_illumination, quantiles

MEASUREMENTS_VERSION = 5
"""Increased when the measurements of the same image change."""

PROPERTIES = (
    *("brightness", "contrast", "sharpness", "red-green", "yellow-blue"),
    *("black border", "cell off centre, across", "cell off centre, down", "cell area"),
)
"""Names of the columns of `Measurements.properties`.

Brightness and contrast are the median and the standard deviation of the grey level; sharpness is the logarithm of the
mean absolute Laplacian; the colours are means of CIE L*a*b*'s a* and b* (8-bit); border and area are shares of the
image; the distances from its centre are shares of its width and height.
"""

GROUND_DISTANCE = 45
"""Distance from the nucleus beyond which there is no cell, in pixels."""

RING = 10
"""Width of the ring around the nucleus that is mostly cytoplasm, in pixels."""

BINS = 12
N_CHROMATICITY = BINS * BINS
RED_RANGE, GREEN_RANGE = (0.20, 0.50), (0.15, 0.40)
"""Ranges of the chromaticities r = R / (R + G + B) and g = G / (R + G + B) of stained cells."""

CROP_RADII = 1.9
CROP_LIMITS = (30, 80)
"""Half the side of the square whose colours are counted: in radii of the nucleus, and its limits in pixels."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
N_CELLS = N_CHROMATICITY + 7 + 2 * (6 + 3 * len(QUANTILES))


@dataclass(frozen=True)
class Measurements:
    """Measurements of n images.

    Attributes
    ----------
    properties
        By `PROPERTIES`, shape (n, 9), float32.
    cells
        The cell's chromaticity (a histogram around the stained part, square roots), this part's size, outline, lobes
        and colours, and the colours around it, after illumination normalisation, shape (n, 193), float32.
    cytoplasm
        By `bloodcell.cells.cytoplasm.measure_cytoplasm`, shape (n, 208), float32.
    ground
        Colours and sharpness further than 45 pixels from the nucleus, shape (n, 22), float32.
    counts
        Number of white cells, shape (n,), int64.
    found, at_border
        Whether there is a white cell, and whether its nucleus touches the border or black fill, shape (n,), bool.
    """

    properties: NDArray[np.float32]
    cells: NDArray[np.float32]
    cytoplasm: NDArray[np.float32]
    ground: NDArray[np.float32]
    counts: NDArray[np.int64]
    found: NDArray[np.bool_]
    at_border: NDArray[np.bool_]


def measure_images(files: Sequence[Path], sha256s: Sequence[str]) -> Measurements:
    """Return measurements of images; compute those that are not cached."""
    return as_measurements(measure_files(files, sha256s))


def measure_files(files: Sequence[Path], sha256s: Sequence[str]) -> NDArray[np.float32]:
    """Return a row of `measure` for each image, cached.

    Parameters
    ----------
    files, sha256s
        As for `bloodcell.images.feature_cache.cached_features`.
    """
    return cached_features(
        files, sha256s, measure=measure, name=f"measures-{MEASUREMENTS_VERSION}", description="measuring images"
    )


def measure(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the measurements of an image, RGB, shape (height, width, 3), uint8, as one row.

    What tells the classes is measured in and around the stained part, which has an eosinophil's granules, too.
    """
    pixels = at_working_size(pixels)
    cell, stained = find_cell_and_stained(pixels)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    detail = cv2.convertScaleAbs(cv2.Laplacian(cv2.GaussianBlur(grey, (0, 0), 1.0), cv2.CV_16S), alpha=8.0)
    distance = cv2.distanceTransform(cv2.bitwise_not(stained.nucleus), cv2.DIST_L2, 3)
    ground = cv2.bitwise_and(np.asarray((distance > GROUND_DISTANCE).astype(np.uint8) * 255), cell.content_mask)
    ring = cv2.bitwise_and(cv2.inRange(distance, 1.5, RING), cell.content_mask)
    normalised = normalise_illumination(pixels, cell.background)
    row = [
        *_properties(pixels, grey, detail, cell),
        *_cell(normalised, stained, ring),
        *measure_cytoplasm(normalised, stained, distance),
        *colours_of(pixels, ground),
        _log_mean(detail, ground),
        cell.count,
        cell.found,
        cell.at_border,
    ]
    return np.array(row, np.float32)


def as_measurements(rows: NDArray[np.float32]) -> Measurements:
    """Split rows of `measure`, shape (n, columns), into `Measurements`."""
    widths = [len(PROPERTIES), N_CELLS, N_CYTOPLASM, 6 + 3 * len(QUANTILES) + 1, 1, 1]
    properties, cells, cytoplasm, ground, counts, found, at_border = np.split(rows, np.cumsum(widths), axis=1)
    return Measurements(
        properties=properties,
        cells=cells,
        cytoplasm=cytoplasm,
        ground=ground,
        counts=counts[:, 0].astype(np.int64),
        found=found[:, 0] > 0,
        at_border=at_border[:, 0] > 0,
    )


def _properties(
    pixels: NDArray[np.uint8], grey: NDArray[np.uint8], detail: NDArray[np.uint8], cell: Cell
) -> list[float]:
    height, width = grey.shape
    shown = max(cv2.countNonZero(cell.content_mask), 1)
    lab = cv2.mean(cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB), mask=cell.content_mask)
    return [
        quantiles(grey, cell.content_mask, (0.5,))[0],
        _spread(grey, cell.content_mask)[0],
        _log_mean(detail, cell.content_mask),
        lab[1],
        lab[2],
        1 - shown / grey.size,
        abs(cell.centre[0] / (width - 1) - 0.5),
        abs(cell.centre[1] / (height - 1) - 0.5),
        cell.area / shown,
    ]


def _cell(pixels: NDArray[np.uint8], cell: Cell, ring: NDArray[np.uint8]) -> list[float]:
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)
    return [
        *_chromaticity(pixels, cell),
        *outline_of(cell),
        *colours_of(lab, cell.nucleus),
        *colours_of(lab, ring),
    ]


def _chromaticity(pixels: NDArray[np.uint8], cell: Cell) -> NDArray[np.float64]:
    """Return the square roots of the colour histogram around the nucleus (Hellinger distance)."""
    radius = round(float(np.clip(CROP_RADII * (cell.area / np.pi) ** 0.5, *CROP_LIMITS)))
    x, y = round(cell.centre[0]), round(cell.centre[1])
    window = slice(max(y - radius, 0), y + radius + 1), slice(max(x - radius, 0), x + radius + 1)
    colours = pixels[window][cell.content_mask[window] > 0].astype(np.float32)
    if not len(colours):
        return np.zeros(BINS * BINS)
    share = colours[:, :2] / np.maximum(colours.sum(axis=1, keepdims=True), 1)
    counts, _, _ = np.histogram2d(share[:, 0], share[:, 1], bins=BINS, range=(RED_RANGE, GREEN_RANGE))
    return np.asarray(np.sqrt(counts.ravel() / len(colours)))


def outline_of(cell: Cell) -> list[float]:
    """Return the nucleus's size, raggedness, solidity, lobes, thickness, elongation, and how many nuclei there are.

    Size is the root of its area, in pixels; raggedness and thickness are relative to it; zeros if there is no nucleus.
    """
    outlines, _ = cv2.findContours(cell.nucleus, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not outlines:
        return [0.0] * 7
    points = np.vstack(outlines)
    side = cell.area**0.5
    _, (width, height), _ = cv2.minAreaRect(points)
    return [
        side,
        sum(cv2.arcLength(outline, closed=True) for outline in outlines) / side,
        cell.area / max(cv2.contourArea(cv2.convexHull(points)), 1.0),
        sum(cv2.contourArea(outline) > 0.08 * cell.area for outline in outlines),
        float(cv2.distanceTransform(cell.nucleus, cv2.DIST_L2, 3).max()) / side,
        min(width, height) / max(width, height, 1.0),
        cell.count,
    ]


def colours_of(pixels: NDArray[np.uint8], mask: NDArray[np.uint8]) -> list[float]:
    """Return three channels' means, standard deviations and `QUANTILES`, 21 numbers, zeros if the mask is empty."""
    if not cv2.countNonZero(mask):
        return [0.0] * (6 + 3 * len(QUANTILES))
    mean, spread = cv2.meanStdDev(pixels, mask=mask)
    levels = [quantiles(channel, mask, QUANTILES) for channel in cv2.split(pixels)]
    return [*mean.ravel(), *spread.ravel(), *(level for row in levels for level in row)]


def _spread(channel: NDArray[np.uint8], mask: NDArray[np.uint8]) -> list[float]:
    return [float(value) for value in cv2.meanStdDev(channel, mask=mask)[1].ravel()]


def _log_mean(values: NDArray[np.uint8], mask: NDArray[np.uint8]) -> float:
    return float(np.log(cv2.mean(values, mask=mask)[0] + 1e-2))
