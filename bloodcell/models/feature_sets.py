"""Hand-made features, used instead of a network's or in addition."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bloodcell.cells.measurements import N_CHROMATICITY, as_measurements, measure, measure_files
from bloodcell.models.extractors import FeatureSet


def _shape_and_texture(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    measures = as_measurements(rows)
    return np.hstack([measures.cells[:, N_CHROMATICITY:], measures.cytoplasm])


MAJORITY = "majority"
"""The name of the features that are none."""

FEATURE_SETS = {
    each.name: each
    for each in (
        FeatureSet(
            name=MAJORITY,
            description="none: the class frequencies in training",
            n_features=1,
            compute=lambda _: np.zeros(1, np.float32),
            compute_files=lambda files, _: np.zeros((len(files), 1), np.float32),
        ),
        FeatureSet(
            name="colour_histogram",
            description="a colour histogram of the square around the nucleus",
            n_features=N_CHROMATICITY,
            compute=measure,
            compute_files=measure_files,
            select=lambda rows: as_measurements(rows).cells[:, :N_CHROMATICITY],
        ),
        FeatureSet(
            name="morphology",
            description="measurements of nucleus and cytoplasm",
            n_features=257,
            compute=measure,
            compute_files=measure_files,
            select=_shape_and_texture,
        ),
    )
}
"""Feature sets by name; add yours before a configuration is composed."""


def count_features(names: Sequence[str]) -> int:
    """Return the total number of features of feature sets."""
    return sum(FEATURE_SETS[name].n_features for name in names)


def compute_features(files: Sequence[Path], sha256s: Sequence[str], names: Sequence[str]) -> NDArray[np.float32]:
    """Return the features of image files, in the order of the feature sets' names.

    Parameters
    ----------
    files, sha256s
        n files and the SHA-256 of their contents.
    names
        Names in `FEATURE_SETS`, at least one.

    Returns
    -------
    ndarray of shape (n, k), float32
    """
    chosen = [FEATURE_SETS[name] for name in names]
    rows = {compute: compute(files, sha256s) for compute in {each.compute_files for each in chosen}}
    return np.hstack([each.select(rows[each.compute_files]) for each in chosen])


def image_features(pixels: NDArray[np.uint8], names: Sequence[str]) -> NDArray[np.float32]:
    """Return a row of `compute_features`, shape (k,), for one RGB image, shape (height, width, 3), uint8."""
    chosen = [FEATURE_SETS[name] for name in names]
    rows = {compute: compute(pixels)[None] for compute in {each.compute for each in chosen}}
    return np.asarray(np.hstack([each.select(rows[each.compute]) for each in chosen])[0])
