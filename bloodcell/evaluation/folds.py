"""Folds: predictions in parts of whole photographs, and the predictions of a cross-validation's folds as one."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bloodcell.evaluation.predictions import MANIFEST_COLUMNS, predictions_table, probabilities_of


def photograph_parts(
    *, labels: NDArray[np.int64], groups: NDArray[np.generic], n_parts: int, seed: int
) -> list[NDArray[np.int64]]:
    """Put photographs into parts at random, of each class about as many in each.

    Parameters
    ----------
    labels
        Class indices, shape (n,).
    groups
        The photograph of each image, shape (n,), strings or integers.
    n_parts
        How many parts there are to be; with fewer photographs there are as many parts.
    seed
        Of the draw.

    Returns
    -------
    list of numpy.ndarray
        The indices of each part's images; every image is in one part.
    """
    names, first, numbers = np.unique(groups, return_index=True, return_inverse=True)
    order = np.random.default_rng(seed).permutation(names.size)
    # Dealt out class by class, so that each part has about as many photographs of a class; images do not count.
    dealt = order[np.argsort(labels[first][order], kind="stable")]
    parts = np.empty(names.size, dtype=np.int64)
    parts[dealt] = np.arange(names.size) % min(n_parts, names.size)
    return [np.flatnonzero(parts[numbers] == part) for part in np.unique(parts)]


def mean_by_image(tables: Sequence[pd.DataFrame], *, classes: Sequence[str]) -> pd.DataFrame:
    """Average what several models thought of each image.

    Parameters
    ----------
    tables
        Predictions tables of one split; an image may be in any number of them.
    classes
        Their class names, in order.

    Returns
    -------
    pandas.DataFrame
        A predictions table with every image once, by path, and no fold.
    """
    table = pd.concat(tables, ignore_index=True)
    probabilities = pd.DataFrame(probabilities_of(table, classes)).groupby(table["path"]).mean()
    images = table.drop_duplicates("path").sort_values("path")[list(MANIFEST_COLUMNS)]
    return predictions_table(manifest=images, probabilities=probabilities.to_numpy(), classes=classes)
