"""Folds of groups, and the mean predictions over folds or models."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bloodcell.evaluation.predictions import MANIFEST_COLUMNS, predictions_table, probabilities_of


def group_folds(
    *, labels: NDArray[np.int64], groups: NDArray[np.generic], n_folds: int, seed: int
) -> list[NDArray[np.int64]]:
    """Assign groups to at most ``n_folds`` folds at random, stratified by class.

    Labels are class indices and groups strings or integers, shape (n,). It returns the indices of each fold's images;
    every image is in one fold.
    """
    names, first, numbers = np.unique(groups, return_index=True, return_inverse=True)
    order = np.random.default_rng(seed).permutation(names.size)
    # Class by class, so that each fold has about as many groups of a class.
    dealt = order[np.argsort(labels[first][order], kind="stable")]
    folds = np.empty(names.size, dtype=np.int64)
    folds[dealt] = np.arange(names.size) % min(n_folds, names.size)
    return [np.flatnonzero(folds[numbers] == fold) for fold in np.unique(folds)]


def mean_by_image(tables: Sequence[pd.DataFrame], *, classes: Sequence[str]) -> pd.DataFrame:
    """Average the predictions of several models for each image.

    An image may be in several of the predictions tables, which are of one split. The result is a predictions table with
    one row per image, by path, and no fold.
    """
    table = pd.concat(tables, ignore_index=True)
    probabilities = pd.DataFrame(probabilities_of(table, classes)).groupby(table["path"]).mean()
    images = table.drop_duplicates("path").sort_values("path")[list(MANIFEST_COLUMNS)]
    return predictions_table(manifest=images, probabilities=probabilities.to_numpy(), classes=classes)
