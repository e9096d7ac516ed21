"""Novelty: whether an image differs from the training images, such as one without a blood cell.

A classifier gives every class a probability, for noise and for a holiday photograph too. Novelty is the distance of an
image's features (`bloodcell.cells.nucleus_features`) from its k-th nearest training image (Sun, Ming, Zhu and Li,
"Out-of-Distribution Detection with Deep Nearest Neighbors", ICML 2022). It uses neither a network nor the classifier.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from bloodcell.cells.crop import CROP_VERSION
from bloodcell.cells.measurements import MEASUREMENTS_VERSION
from bloodcell.cells.nucleus_features import N_NUMBERS, NucleusFeatures, crop_to_fixed_size, nucleus_features
from bloodcell.errors import UserError
from bloodcell.files import atomic_write
from bloodcell.images.feature_cache import cached_features

NOVELTY_VERSION = 4
"""Increased when the novelty of the same images changes."""

IMAGES_PER_SOURCE = 2
"""Images of a source that are used: more copies only cost time."""
MAX_IMAGES = 2000
"""Images that are used in all."""
FRAMINGS = 2
"""Feature vectors of each image: of the image itself, and of its crop."""
ROWS_PER_GROUP = IMAGES_PER_SOURCE * FRAMINGS
NEIGHBOURS = 20
"""Number k of the nearest neighbour: images of several sources, so a single outlier does not count."""
NEIGHBOUR_SHARE = 0.1
"""Largest k as a share of the images."""
FOLDS = 5

MIN_VARIANCE = 0.01
"""Smallest variance of a principal direction, relative to a feature's: less is noise."""

FLAGGED = 0.01
"""Share of held-out images beyond the threshold, before `MARGIN`."""
MARGIN = 1.2
"""Factor of the threshold that allows for another laboratory's stain, light and camera.

With it, in five folds of the Kaggle set's training sources, 0.2 % of 1,108 cells are novel, and 97 % of 185 fields from
which the cell was removed. Cells stay known after changes of hue, saturation, light, sharpness or scale (0.6 to 2.5),
cropped closely, or on a clear background. Noise, plain fields, text and photographs of other objects are novel, and so
are three in four fields of shuffled tiles, which contain parts of a cell. Nearly all cells of another laboratory (Zheng
et al. 2018) are novel, too.
"""


@dataclass(frozen=True, kw_only=True)
class Novelty:
    """The training images' features, and the distance beyond which an image is novel.

    Attributes
    ----------
    centre, scale
        Mean and standard deviation of each feature, shape (k,), float64.
    directions
        Matrix from standardised features to the coordinates of distances, shape (k, k), float64.
    points
        The training images in these coordinates, shape (m, k), float64.
    neighbour
        Number of the nearest neighbour whose distance is used, from 1.
    threshold
        The distance beyond which an image is novel.
    needs_nucleus
        Whether an image without a nucleus is novel: not if training images often have none.
    """

    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    directions: NDArray[np.float64]
    points: NDArray[np.float64]
    neighbour: int
    threshold: float
    needs_nucleus: bool

    def distance(self, measured: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the distance of images from the training images, shape (n,); infinite if features are not finite.

        Parameters
        ----------
        measured
            Features as in `fit_novelty`, shape (n, k).

        Raises
        ------
        ValueError
            If the number of features is not k.
        """
        rows = np.asarray(measured, np.float64)
        if rows.ndim != 2 or rows.shape[1] != self.centre.size:
            raise ValueError(f"features must have the shape (n, {self.centre.size}), got {rows.shape}")
        distances = np.full(len(rows), np.inf)
        finite = np.isfinite(rows).all(axis=1)
        coordinates = ((rows[finite] - self.centre) / self.scale) @ self.directions
        distances[finite] = KDTree(self.points).query(coordinates, k=[self.neighbour])[0][:, 0]
        return distances

    def no_cell(self, seen: NucleusFeatures) -> NDArray[np.bool_]:
        """Return whether each image is novel: without a needed nucleus, or beyond the threshold.

        Returns
        -------
        ndarray of shape (n,), bool
        """
        far = self.distance(seen.numbers) > self.threshold
        return np.asarray(far | ~seen.found if self.needs_nucleus else far)

    def save(self, path: Path) -> None:
        """Write it as ``.npz``, atomically; create the folder if needed."""
        arrays = {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}
        with atomic_write(path) as partial:
            np.savez(partial, allow_pickle=False, versions=np.array(_versions()), **arrays)


def learn_novelty(files: Sequence[Path], sha256s: Sequence[str], groups: NDArray[np.generic]) -> Novelty:
    """Fit novelty on image files, each unchanged and closely cropped, as in other laboratories.

    A close crop lacks background, so its illumination normalisation and features differ a little.

    Parameters
    ----------
    files
        Readable image files; `IMAGES_PER_SOURCE` of each source are enough. Those after the first `MAX_IMAGES` are not
        read.
    sha256s
        The digest of each file's content.
    groups
        The group of each, shape (n,), strings or integers.

    Raises
    ------
    ValueError
        As `fit_novelty`.
    """
    names = np.asarray(groups)
    if names.shape != (len(files),):
        raise ValueError(f"each file needs a group, got {len(files)} files and shape {names.shape}")
    rows = cached_features(
        files[:MAX_IMAGES],
        sha256s[:MAX_IMAGES],
        measure=_framings,
        name="-".join(["framings", *map(str, _versions())]),
        description="measuring cells",
    ).reshape(-1, N_NUMBERS + 1)
    return fit_novelty(rows[:, :-1], np.repeat(names[:MAX_IMAGES], FRAMINGS), found=rows[:, -1] > 0)


def fit_novelty(
    measured: NDArray[np.floating], groups: NDArray[np.generic], *, found: NDArray[np.bool_] | None = None
) -> Novelty:
    """Fit the coordinates and the threshold of novelty.

    Features are standardised and rotated to their principal directions, each divided by the square root of its standard
    deviation: halfway to whitening, so that neither large nor small variances dominate a distance. The threshold is
    `MARGIN` times the quantile 1 - `FLAGGED` of the distances of held-out images in a cross-validation by group; each
    group counts once.

    Parameters
    ----------
    measured
        Features of the training images, shape (n, k): `NucleusFeatures.numbers`, or others.
    groups
        The group of each image, shape (n,), strings or integers.
    found
        Whether each image has a nucleus, shape (n,); None: unknown. If all but a share `FLAGGED` have one, an image
        without a nucleus counts as novel.

    Raises
    ------
    ValueError
        If there are fewer than two groups, not one group per image, or features that are not finite.
    """
    rows, names = np.asarray(measured, np.float64), np.asarray(groups)
    if rows.ndim != 2 or names.shape != rows.shape[:1]:
        raise ValueError(f"each image needs a row and a group, got shapes {rows.shape} and {names.shape}")
    if not np.isfinite(rows).all():
        raise ValueError("features must be finite")
    index = np.unique(names, return_inverse=True)[1]
    kept = _few_of_each(index)
    rows, index = rows[kept], index[kept]
    n_groups = index.max(initial=-1) + 1
    if n_groups < 2:
        raise ValueError(f"needs at least two groups, got {n_groups}")
    needs_nucleus = found is not None and bool(np.mean(~np.asarray(found, np.bool_)) <= FLAGGED)
    distances = np.zeros(len(rows))
    from sklearn.model_selection import GroupKFold  # takes a second, which a prediction does not need

    for others, held_out in GroupKFold(min(FOLDS, n_groups)).split(rows, groups=index):
        distances[held_out] = _fitted(rows[others]).distance(rows[held_out])
    farthest = np.quantile(distances, 1 - FLAGGED, weights=1 / np.bincount(index)[index], method="inverted_cdf")
    return replace(_fitted(rows), threshold=MARGIN * float(farthest), needs_nucleus=needs_nucleus)


def load_novelty(path: Path) -> Novelty:
    """Read what `Novelty.save` wrote.

    Raises
    ------
    UserError
        If the file is missing, damaged, or of a version with other features.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            versions = arrays["versions"].tolist()
            found = {field.name: arrays[field.name] for field in fields(Novelty)}
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; give the one that training wrote") from error
    except Exception as error:  # any error of reading a damaged file
        raise UserError(f"{path}: cannot be read ({error}); give the one that training wrote") from error
    if versions != _versions():
        raise UserError(f"{path}: was written by a version of bloodcell with other features; train the model again")
    return Novelty(
        **{name: found[name] for name in ("centre", "scale", "directions", "points")},
        neighbour=int(found["neighbour"]),
        threshold=float(found["threshold"]),
        needs_nucleus=bool(found["needs_nucleus"]),
    )


def _fitted(rows: NDArray[np.float64]) -> Novelty:
    """Return a novelty without a threshold."""
    centre, spread = rows.mean(axis=0), rows.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)  # a constant feature has no scale
    standardised = (rows - centre) / scale
    variances, axes = np.linalg.eigh(standardised.T @ standardised / len(rows))
    directions = axes / np.maximum(variances, MIN_VARIANCE) ** 0.25
    return Novelty(
        centre=centre,
        scale=scale,
        directions=directions,
        points=standardised @ directions,
        neighbour=min(NEIGHBOURS, int(np.ceil(NEIGHBOUR_SHARE * len(rows)))),
        threshold=np.inf,
        needs_nucleus=False,
    )


def _framings(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the features of an image and of its close crop, each with whether there is a nucleus, shape (2 * 20,)."""
    seen = nucleus_features([pixels, crop_to_fixed_size(pixels)])
    return np.column_stack([seen.numbers, seen.found]).astype(np.float32).ravel()


def _few_of_each(index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows to keep: at most `ROWS_PER_GROUP` of a group, equally spaced."""
    kept = []
    for group in range(index.max(initial=-1) + 1):
        rows = np.flatnonzero(index == group)
        spread = np.linspace(0, rows.size - 1, min(ROWS_PER_GROUP, rows.size))
        kept.append(rows[spread.round().astype(np.int64)])
    return np.concatenate([np.zeros(0, np.int64), *kept])


def _versions() -> list[int]:
    return [NOVELTY_VERSION, MEASUREMENTS_VERSION, CROP_VERSION]
