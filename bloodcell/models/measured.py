"""What a classifier can take instead of a network's features, or beside them: numbers measured in an image."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeGuard, get_args

import numpy as np
from numpy.typing import NDArray

from bloodcell.cells.measurements import N_CHROMATICITY, Measurements, as_measurements, measure, measure_images

Kind = Literal["majority", "colour_histogram", "morphology"]
"""``majority``: nothing at all, so that only how frequent the classes are can be learnt. ``colour_histogram``: the
chromaticity of the square around the nucleus, 144 numbers. ``morphology``: nucleus and cytoplasm, 257 numbers."""

KINDS: tuple[Kind, ...] = get_args(Kind)

_WIDTHS: dict[Kind, int] = {"majority": 1, "colour_histogram": N_CHROMATICITY, "morphology": 257}


def is_kind(name: str) -> TypeGuard[Kind]:
    """Say whether a backbone's name is that of a kind of numbers."""
    return name in KINDS


def n_columns(kinds: Sequence[Kind]) -> int:
    """Return how many numbers kinds have together."""
    return sum(_WIDTHS[kind] for kind in kinds)


def measured_images(files: Sequence[Path], sha256s: Sequence[str], kinds: Sequence[Kind]) -> NDArray[np.float32]:
    """Measure images, or recall what was measured.

    Parameters
    ----------
    files, sha256s
        As for `bloodcell.cells.measurements.measure_images`.
    kinds
        What is asked for, in this order.

    Returns
    -------
    ndarray of shape (n, k), float32
    """
    if set(kinds) <= {"majority"}:
        return np.zeros((len(files), n_columns(kinds)), np.float32)
    return _columns(measure_images(files, sha256s), kinds)


def measured_in(pixels: NDArray[np.uint8], kinds: Sequence[Kind]) -> NDArray[np.float32]:
    """Measure one image, RGB, shape (height, width, 3), uint8; return a row of `measured_images`, shape (k,)."""
    (row,) = _columns(as_measurements(measure(pixels)[None]), kinds)
    return np.asarray(row)


def _columns(measures: Measurements, kinds: Sequence[Kind]) -> NDArray[np.float32]:
    parts = {
        "majority": np.zeros((len(measures.counts), 1), np.float32),
        "colour_histogram": measures.cells[:, :N_CHROMATICITY],
        "morphology": np.hstack([measures.cells[:, N_CHROMATICITY:], measures.cytoplasm]),
    }
    return np.hstack([parts[kind] for kind in kinds])
