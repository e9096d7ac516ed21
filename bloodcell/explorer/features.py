"""Features of the explored images: those that trainings have stored, or measures of the cells."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bloodcell.cells.measurements import as_measurements, measure_files
from bloodcell.explorer.embedding import Space, make_space
from bloodcell.models.feature_sets import FEATURE_SETS, compute_features
from bloodcell.training.feature_store import FeatureStore

MIN_SHARE = 0.9
"""Share of the images that stored features must have to be used."""


def stored_space(sha256s: Sequence[str], *, backbones: Sequence[str], store: FeatureStore) -> Space | None:
    """Return the points of images by features that a network's training has stored; None if there are none.

    Of several tables, the one that was used last, of views without augmentation.

    Parameters
    ----------
    sha256s
        The digest of each image's content.
    backbones
        The names of networks, the preferred first.
    store
        The store.
    """
    digests = [bytes.fromhex(sha256) if _is_digest(sha256) else b"" for sha256 in sha256s]
    for backbone in backbones:
        for use in store.usage():
            recipe = dict(use.recipe)
            if recipe.get("backbone") != backbone or recipe.get("augmentation", 0) is not None:
                continue
            table = store.table(recipe, width=recipe["width"], dtype=recipe["dtype"])
            rows, places = table.find([(digest, 0) for digest in digests])
            known = places >= 0
            if known.mean() >= MIN_SHARE:
                features = np.zeros((len(places), rows.shape[1]), np.float32)
                features[known] = rows[places[known]]
                return make_space(features, known, name=f"stored features of {backbone}")
    return None


def measured_space(files: Sequence[tuple[Path, str] | None], *, sets: Sequence[str]) -> Space | None:
    """Return the points of images by hand-made features, which are cached; None if no image is there.

    Parameters
    ----------
    files
        The file of each image and the digest of its content; None: it is not there.
    sets
        Names of `FEATURE_SETS`, the preferred first; without one, measures of the cells are used.
    """
    known = np.array([file is not None for file in files], np.bool_)
    found = [each for each in files if each is not None]
    if len(found) < 3:
        return None
    there, digests = [file for file, _ in found], [sha256 for _, sha256 in found]
    if sets:
        rows: NDArray[np.float32] = compute_features(there, digests, sets[:1])
        name = FEATURE_SETS[sets[0]].description
    else:
        rows = as_measurements(measure_files(there, digests)).cells
        name = "measures of the cells"
    features = np.zeros((len(files), rows.shape[1]), np.float32)
    features[known] = rows
    return make_space(features, known, name=name)


def _is_digest(text: str) -> bool:
    return len(text) == 64 and all(letter in "0123456789abcdef" for letter in text)
