"""The map of images: features in two dimensions, distances from the training images, and nearest neighbours."""

import hashlib
import importlib.util
import logging
import warnings
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from sklearn.random_projection import GaussianRandomProjection

from bloodcell.cells.novelty import fit_novelty
from bloodcell.console.quiet import quiet_stderr
from bloodcell.explorer.cached import maps_dir
from bloodcell.files import atomic_write

log = logging.getLogger(__name__)

DIMENSIONS = 50
"""Principal components that distances, neighbours and UMAP use: others are mostly noise."""
WIDEST = 4096
"""Features are projected at random to so many numbers if there are more (Johnson and Lindenstrauss 1984)."""
CLIP = 4.0
"""Largest standardised feature, in standard deviations: one outlier would make the rest of a map a dot."""
N_NEIGHBOURS = 12
UMAP_NEIGHBOURS, UMAP_MIN_DIST = 15, 0.1
"""The defaults of McInnes, Healy and Melville, "UMAP", 2018."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Space:
    """The images as points.

    Attributes
    ----------
    points
        Principal components of the standardised features, shape (n, d), float64, d at most `DIMENSIONS`; rows of
        unknown images are NaN.
    name
        What the features are.
    """

    points: Floats
    name: str

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """Whether each image has features, shape (n,)."""
        return np.asarray(np.isfinite(self.points).all(axis=1))

    def nearest(self, row: int, *, sources: NDArray[np.int64], n: int = N_NEIGHBOURS) -> list[int]:
        """Return the rows of the nearest images of other photographs, one of each, the nearest first."""
        if not self.known[row]:
            return []
        distances = np.linalg.norm(self.points - self.points[row], axis=1)
        found: list[int] = []
        seen = {int(sources[row])}
        for place in np.argsort(distances, kind="stable"):  # NaN is last
            if not self.known[place] or len(found) == n:
                break
            if int(sources[place]) not in seen:
                seen.add(int(sources[place]))
                found.append(int(place))
        return found


def make_space(features: NDArray[Any], known: NDArray[np.bool_], *, name: str) -> Space:
    """Return the points of images.

    Parameters
    ----------
    features
        Shape (n, k), numbers; rows of unknown images are ignored.
    known
        Whether each image has features, shape (n,).
    name
        What the features are.
    """
    rows = np.asarray(features[known], np.float32)
    if rows.shape[1] > WIDEST:
        rows = GaussianRandomProjection(WIDEST // 4, random_state=0).fit_transform(rows)
    standardised = np.clip(StandardScaler().fit_transform(rows), -CLIP, CLIP)
    n = min(DIMENSIONS, *standardised.shape)
    points = np.full((len(features), n), np.nan)
    points[known] = PCA(n, random_state=0).fit_transform(standardised)
    return Space(points=points, name=name)


def has_umap() -> bool:
    """Return whether the package umap-learn is installed."""
    return importlib.util.find_spec("umap") is not None


def umap_points(space: Space) -> Floats:
    """Return two coordinates of each image by UMAP, shape (n, 2), NaN for unknown images; cached by content."""
    known = space.points[space.known]
    digest = hashlib.sha256(known.tobytes() + f"{UMAP_NEIGHBOURS} {UMAP_MIN_DIST}".encode()).hexdigest()[:32]
    path = maps_dir() / f"{digest}.npy"
    found = np.full((len(space.points), 2), np.nan)
    with suppress(OSError, ValueError):
        cached = np.load(path, allow_pickle=False)
        if cached.shape == (len(known), 2):
            found[space.known] = cached
            return found
    with quiet_stderr():  # it imports TensorFlow if it is there
        import umap  # the extra; it compiles for seconds

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a seed makes it use one thread
        reducer = umap.UMAP(
            n_neighbors=min(UMAP_NEIGHBOURS, len(known) - 1), min_dist=UMAP_MIN_DIST, random_state=0, init="pca"
        )
        computed = np.asarray(reducer.fit_transform(known), np.float64)
    found[space.known] = computed
    with suppress(OSError), atomic_write(path) as partial:
        np.save(partial, computed, allow_pickle=False)
    return found


def novelty_of(space: Space, *, sources: NDArray[np.int64], trained: NDArray[np.bool_]) -> Floats | None:
    """Return each image's distance from the training images, shape (n,), 1 at the limit of what is usual.

    By `bloodcell.cells.novelty.fit_novelty` on these features; None if training images are of fewer than two
    photographs.
    """
    fitted = trained & space.known
    if len(np.unique(sources[fitted])) < 2:
        return None
    novelty = fit_novelty(space.points[fitted], sources[fitted])
    distances = np.full(len(space.points), np.nan)
    distances[space.known] = novelty.distance(space.points[space.known]) / novelty.threshold
    return distances


def as_columns(points: Floats) -> dict[str, list[float | None]]:
    """Return two coordinates for JSON, each scaled to [0, 1] by the larger range, None for unknown images."""
    low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    scale = float((high - low).max()) or 1.0
    centred = (points - (low + high) / 2) / scale + 0.5
    rounded = np.round(centred, 4)
    return {name: [None if np.isnan(v) else float(v) for v in rounded[:, axis]] for axis, name in enumerate("xy")}
