"""Features of a white cell's cytoplasm, relative to the red cells of the same image.

Eosin stains the granules of eosinophils and red cells alike, so the colour of the red cells corrects for differences
between slides.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from bloodcell.cells.segmentation import Cell

CYTOPLASM = (2.0, 14.0)
"""Distance of cytoplasm from the nucleus, in pixels."""
BODY = (1.0, 30.0)
"""Distance of the cell's body from the nucleus, in pixels: neither background nor coloured as red cells."""
FAR = 25.0
"""Distance from the nucleus beyond which red cells are used, in pixels."""
BACKGROUND = 200
"""Level in every channel above which a pixel is background, after illumination normalisation."""
MIN_DIFFERENCE = 14.0
"""Difference from red cells above which a pixel is not one, in units of CIE L*a*b* (8-bit)."""
BINS = 12
A_RANGE, B_RANGE = (-15.0, 45.0), (-60.0, 20.0)
"""Ranges of a* and b* (8-bit) of cytoplasm minus those of red cells."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BLUR = 0.8
RADII = (1, 2)
"""Radii of the local binary patterns, in pixels."""
PATTERNS = 10
MIN_PIXELS = 10

N_NUMBERS = BINS * BINS + 2 * PATTERNS * len(RADII) + 3 + 6 + 3 * len(QUANTILES)

_CIRCLE = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))


def measure_cytoplasm(pixels: NDArray[np.uint8], cell: Cell, distance: NDArray[np.float32]) -> NDArray[np.float64]:
    """Measure a cell's cytoplasm and texture.

    Parameters
    ----------
    pixels
        RGB at the working size after `normalise_illumination`, shape (height, width, 3), uint8.
    cell
        The white cell in it.
    distance
        Distance of each pixel from the nucleus, in pixels, shape (height, width), float32.

    Returns
    -------
    ndarray of shape (208,), float64
        The histogram of a* and b* of the cytoplasm less those of red cells (square roots of shares, 144); uniform local
        binary patterns of nucleus and cytoplasm at two radii (Ojala, Pietikäinen and Mäenpää, 2002; shares, 40); areas
        of cytoplasm and body in pixels and of the body over the nucleus (3); mean, standard deviation and quantiles of
        the body's colour less that of red cells (21).
    """
    inside = cell.content_mask > 0
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB).astype(np.float32)
    lab -= _red_cells(pixels, lab, far=inside & (distance > FAR))
    coloured = inside & (pixels.min(axis=2) <= BACKGROUND)
    cytoplasm = coloured & (distance > CYTOPLASM[0]) & (distance <= CYTOPLASM[1])
    body = coloured & (distance > BODY[0]) & (distance < BODY[1]) & (np.abs(lab).max(axis=2) >= MIN_DIFFERENCE)
    return np.concatenate(
        [
            _histogram(lab[cytoplasm]),
            _patterns(pixels[..., 1], cell.nucleus > 0, cytoplasm),
            [cytoplasm.sum(), body.sum(), body.sum() / max(cell.area, 1)],
            _colours(lab[body]),
        ]
    )


def _red_cells(pixels: NDArray[np.uint8], lab: NDArray[np.float32], *, far: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the median colour of red cells, which are darker in green than the background, shape (3,)."""
    green = pixels[..., 1]
    if not far.any():
        return np.zeros(3, np.float32)
    threshold, _ = cv2.threshold(green[far].reshape(1, -1), 0, 255, cv2.THRESH_OTSU)
    dark = cv2.erode((far & (green <= threshold)).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return np.median(lab[dark if dark.any() else far], axis=0).astype(np.float32)


def _histogram(colours: NDArray[np.float32]) -> NDArray[np.float64]:
    if len(colours) < MIN_PIXELS:
        return np.zeros(BINS * BINS)
    counts, _, _ = np.histogram2d(colours[:, 1], colours[:, 2], bins=BINS, range=(A_RANGE, B_RANGE))
    return np.asarray(np.sqrt(counts.ravel() / len(colours)))


def _patterns(
    green: NDArray[np.uint8], nucleus: NDArray[np.bool_], cytoplasm: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the shares of uniform local binary patterns in nucleus and cytoplasm."""
    measured = nucleus | cytoplasm
    if not measured.any():
        return np.zeros(2 * PATTERNS * len(RADII))
    margin = max(RADII)
    rows, columns = (np.flatnonzero(measured.any(axis=axis)) for axis in (1, 0))
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    framed = cv2.GaussianBlur(np.pad(green, margin, mode="reflect"), (0, 0), BLUR).astype(np.int16)
    framed = framed[window[0].start : window[0].stop + 2 * margin, window[1].start : window[1].stop + 2 * margin]
    height, width = framed.shape[0] - 2 * margin, framed.shape[1] - 2 * margin
    centre = framed[margin : margin + height, margin : margin + width]
    shares = []
    for radius in RADII:
        offsets = [(margin + radius * down, margin + radius * across) for down, across in _CIRCLE]
        brighter = np.stack([framed[top : top + height, left : left + width] >= centre for top, left in offsets])
        changes = (brighter != np.roll(brighter, 1, axis=0)).sum(axis=0)
        pattern = np.where(changes <= 2, brighter.sum(axis=0), PATTERNS - 1)
        for mask in (nucleus[window], cytoplasm[window]):
            shares.append(np.bincount(pattern[mask], minlength=PATTERNS) / max(mask.sum(), 1))
    return np.concatenate(shares)


def _colours(colours: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return means, standard deviations and quantiles of three channels; zeros if there are too few pixels."""
    if len(colours) < MIN_PIXELS:
        return np.zeros(6 + 3 * len(QUANTILES))
    return np.concatenate([colours.mean(axis=0), colours.std(axis=0), np.quantile(colours, QUANTILES, axis=0).ravel()])
