"""Differences between predictions tables that should agree, in words."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from bloodcell.data.leaks import same_partition

NOUNS = {
    "sha256": "the content",
    "label": "the label",
    "source": "the photograph",
    "group": "the group",
    "split": "the split",
}
"""The columns in which tables of images may differ."""


def describe_difference(one: pd.DataFrame, other: pd.DataFrame, *, columns: Sequence[str]) -> str:
    """Return how two tables of images, sorted by path, differ in images or columns; empty if they agree.

    Names of sources and of groups may differ if they are of the same images.
    """
    if not one["path"].equals(other["path"]) and (differs := describe_set_difference(other["path"], one["path"])):
        return f"images {differs}"
    for column in columns:
        if one[column].equals(other[column]):
            continue
        wrong = np.flatnonzero(one[column].to_numpy() != other[column].to_numpy())
        if wrong.size and not (column in ("source", "group") and same_partition(one[column], other[column])):
            row = wrong[0]
            digits = 12 if column == "sha256" else None
            this, that = (str(table[column][row])[:digits] for table in (one, other))
            more = f", and so for {wrong.size - 1} more" if wrong.size > 1 else ""
            return f"{NOUNS[column]} of {one['path'][row]} is {this} in one and {that} in the other{more}"
    return ""


def split_between_folds(val: pd.DataFrame, column: str) -> list[str]:
    """Return the sources or groups with images in several folds.

    Parameters
    ----------
    val
        Out-of-fold predictions, ``path, source, group, fold``; with repeats, an image is in one fold of each.
    column
        ``source`` or ``group``.
    """
    folds = val.groupby([column, "fold"])["path"].nunique()
    images = val.groupby(column)["path"].nunique()
    several = folds[folds != images.reindex(folds.index.get_level_values(column)).to_numpy()]
    return sorted(set(several.index.get_level_values(column)))


def describe_set_difference(other: Iterable[str], one: Iterable[str]) -> str:
    """Return the names that only one of two sets has; empty if there are none."""
    parts = [
        f"{len(names)} only in the {which} (such as {min(names)})"
        for which, names in (("first", set(one) - set(other)), ("second", set(other) - set(one)))
        if names
    ]
    return ", ".join(parts)
