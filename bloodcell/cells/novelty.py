"""Says whether an image shows a stained blood cell at all, whichever model is asked what kind it is.

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
from sklearn.model_selection import GroupKFold

from bloodcell.cells.crop import CROP_VERSION
from bloodcell.cells.measurements import MEASUREMENTS_VERSION
from bloodcell.cells.nucleus_features import N_NUMBERS, NucleusFeatures, crop_to_fixed_size, nucleus_features
from bloodcell.errors import UserError
from bloodcell.files import atomic_write
from bloodcell.images.feature_cache import cached_features

NOVELTY_VERSION = 3
"""Counted up when the same images would be measured or compared otherwise."""

IMAGES_PER_SOURCE = 2
"""How many images of one photograph are compared with: the others are copies that add nothing but time."""
MOST_IMAGES = 2000
"""How many are compared with in all, for the same reason."""
FRAMINGS = 2
"""How often each is measured: as it is, and cropped closely."""
ROWS_PER_SOURCE = IMAGES_PER_SOURCE * FRAMINGS
NEIGHBOURS = 20
"""The nearest image that counts: of a few photographs, so that one odd one is not the measure of all like it."""
NEIGHBOUR_SHARE = 0.1
"""Where there are few images, the nearest that counts is within so many of them."""
FOLDS = 5

LEAST_VARIANCE = 0.01
"""Of a direction, in parts of a number's own; what varies less is noise to be magnified no further."""

FLAGGED = 0.01
"""The share of held-out images that lies beyond the threshold, before `MARGIN`."""
MARGIN = 1.2
"""By how much further an image must lie: room for another laboratory's stain, light and camera.

On the training images of the Kaggle set, in five folds of photographs, 0.5 % of cells were then taken for none, and as
many of the same with other hue, saturation, light and sharpness, at 0.6 to 2.5 times the scale, cropped closely, or
alone on clear ground with a nucleus of a tenth to two thirds of the image; 97 % of fields of red cells alone were found
out, and all noise, plain fields, text and photographs of other things. Fields cut into tiles and shuffled are found out
three times in four: there are pieces of a cell in them.
"""


@dataclass(frozen=True, kw_only=True)
class Novelty:
    """What images are compared with, to say how far they lie from those trained on.

    Attributes
    ----------
    centre, scale
        Mean and standard deviation of each number, shape (k,), float64.
    directions
        From standardised numbers to coordinates in which distances are taken, shape (k, k), float64.
    points
        The images trained on, in these coordinates, shape (m, k), float64.
    neighbour
        Which nearest point's distance is taken, from 1.
    threshold
        The distance beyond which there is no cell like those trained on.
    needs_nucleus
        Whether an image without a nucleus shows no cell: not where those trained on often have none.
    """

    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    directions: NDArray[np.float64]
    points: NDArray[np.float64]
    neighbour: int
    threshold: float
    needs_nucleus: bool

    def distance(self, measured: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return how far images lie from those trained on, shape (n,), at least 0; infinite for what is not finite.

        Parameters
        ----------
        measured
            As `fit_novelty` takes them, shape (n, k).

        Raises
        ------
        ValueError
            When there are not k numbers of each image.
        """
        rows = np.asarray(measured, np.float64)
        if rows.ndim != 2 or rows.shape[1] != self.centre.size:
            raise ValueError(f"what was measured must have the shape (n, {self.centre.size}), got {rows.shape}")
        distances = np.full(len(rows), np.inf)
        finite = np.isfinite(rows).all(axis=1)
        coordinates = ((rows[finite] - self.centre) / self.scale) @ self.directions
        distances[finite] = KDTree(self.points).query(coordinates, k=[self.neighbour])[0][:, 0]
        return distances

    def no_cell(self, seen: NucleusFeatures) -> NDArray[np.bool_]:
        """Say of each image whether there is no cell: no nucleus where one is needed, or beyond the threshold.

        For a `Novelty` that was learnt from close-ups.

        Returns
        -------
        ndarray of shape (n,), bool
        """
        far = self.distance(seen.numbers) > self.threshold
        return np.asarray(far | ~seen.found if self.needs_nucleus else far)

    def save(self, path: Path) -> None:
        """Write it as ``.npz``, whole or not at all; the folder is made when it is not there."""
        arrays = {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}
        with atomic_write(path) as partial:
            np.savez(partial, allow_pickle=False, versions=np.array(_versions()), **arrays)


def learn_novelty(files: Sequence[Path], sha256s: Sequence[str], groups: NDArray[np.generic]) -> Novelty:
    """Learn from image files what cells look like, each as it is and cropped closely, as others' images may be.

    What a crop leaves out says where the light is, so that the same cell is measured a little otherwise in it.

    Parameters
    ----------
    files
        Readable image files; `IMAGES_PER_SOURCE` of each source are enough. Those after the first `MOST_IMAGES` are not
        read.
    sha256s
        The digest of each file's content.
    groups
        The photograph of each, shape (n,), strings or integers.

    Raises
    ------
    ValueError
        As `fit_novelty`.
    """
    names = np.asarray(groups)
    if names.shape != (len(files),):
        raise ValueError(f"each file needs a group, got {len(files)} files and shape {names.shape}")
    rows = cached_features(
        files[:MOST_IMAGES],
        sha256s[:MOST_IMAGES],
        measure=_framings,
        name="-".join(["framings", *map(str, _versions())]),
        description="looking at images closely",
    ).reshape(-1, N_NUMBERS + 1)
    return fit_novelty(rows[:, :-1], np.repeat(names[:MOST_IMAGES], FRAMINGS), found=rows[:, -1] > 0)


def fit_novelty(
    measured: NDArray[np.floating], groups: NDArray[np.generic], *, found: NDArray[np.bool_] | None = None
) -> Novelty:
    """Learn what images look like, and from which distance on one is not like them.

    Numbers are standardised and turned to their principal directions, each scaled by the square root of its standard
    deviation: half of what would whiten them, so that neither what varies most nor what varies least is all there is to
    a distance. The threshold is `MARGIN` times the distance that a share `FLAGGED` of images has, each photograph
    counting once, from images of other photographs: fitted in folds of a cross-validation, measured in the held-out.

    Parameters
    ----------
    measured
        What was measured in images trained on, shape (n, k): `NucleusFeatures.numbers`, or any other numbers.
    groups
        The photograph of each image, shape (n,), strings or integers.
    found
        Whether each image has a nucleus, shape (n,); None: unknown. If all but a share `FLAGGED` have one, an image
        without a nucleus counts as novel.

    Raises
    ------
    ValueError
        When there are fewer than two photographs, not one group per image, or numbers that are not finite.
    """
    rows, names = np.asarray(measured, np.float64), np.asarray(groups)
    if rows.ndim != 2 or names.shape != rows.shape[:1]:
        raise ValueError(f"each image needs a row and a group, got shapes {rows.shape} and {names.shape}")
    if not np.isfinite(rows).all():
        raise ValueError("what was measured must be finite")
    index = np.unique(names, return_inverse=True)[1]
    kept = _few_of_each(index)
    rows, index = rows[kept], index[kept]
    n_photographs = index.max(initial=-1) + 1
    if n_photographs < 2:
        raise ValueError(f"two photographs are the least to learn from, got {n_photographs}")
    needs_nucleus = found is not None and bool(np.mean(~np.asarray(found, np.bool_)) <= FLAGGED)
    distances = np.zeros(len(rows))
    for others, held_out in GroupKFold(min(FOLDS, n_photographs)).split(rows, groups=index):
        distances[held_out] = _fitted(rows[others]).distance(rows[held_out])
    farthest = np.quantile(distances, 1 - FLAGGED, weights=1 / np.bincount(index)[index], method="inverted_cdf")
    return replace(_fitted(rows), threshold=MARGIN * float(farthest), needs_nucleus=needs_nucleus)


def load_novelty(path: Path) -> Novelty:
    """Read what `Novelty.save` wrote.

    Raises
    ------
    UserError
        When the file is not there, is none, or was written by a version that measured or compared images otherwise.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            versions = arrays["versions"].tolist()
            found = {field.name: arrays[field.name] for field in fields(Novelty)}
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file; give the one that training wrote") from error
    except Exception as error:  # whatever a torn file makes the reader raise
        raise UserError(f"{path}: cannot be read ({error}); give the one that training wrote") from error
    if versions != _versions():
        raise UserError(f"{path}: was written by a version that measures images otherwise; train the model again")
    return Novelty(
        **{name: found[name] for name in ("centre", "scale", "directions", "points")},
        neighbour=int(found["neighbour"]),
        threshold=float(found["threshold"]),
        needs_nucleus=bool(found["needs_nucleus"]),
    )


def _fitted(rows: NDArray[np.float64]) -> Novelty:
    """Return what can tell distances and has no threshold yet."""
    centre, spread = rows.mean(axis=0), rows.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)  # what never varied says nothing of how much it may
    standardised = (rows - centre) / scale
    variances, axes = np.linalg.eigh(standardised.T @ standardised / len(rows))
    directions = axes / np.maximum(variances, LEAST_VARIANCE) ** 0.25
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
    """Measure an image as it is and cropped closely, one after the other, each with whether there is a nucleus."""
    seen = nucleus_features([pixels, crop_to_fixed_size(pixels)])
    return np.column_stack([seen.numbers, seen.found]).astype(np.float32).ravel()


def _few_of_each(index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return which rows are kept: at most `ROWS_PER_SOURCE` of one photograph, spread over its rows."""
    kept = []
    for photograph in range(index.max(initial=-1) + 1):
        rows = np.flatnonzero(index == photograph)
        spread = np.linspace(0, rows.size - 1, min(ROWS_PER_SOURCE, rows.size))
        kept.append(rows[spread.round().astype(np.int64)])
    return np.concatenate([np.zeros(0, np.int64), *kept])


def _versions() -> list[int]:
    return [NOVELTY_VERSION, MEASUREMENTS_VERSION, CROP_VERSION]
