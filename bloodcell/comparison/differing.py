"""How the predictions of two runs differ where they should not, in words."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from bloodcell.data.leaks import same_partition


def difference(one: pd.DataFrame, other: pd.DataFrame) -> str:
    """Say what differs between two predictions tables of the same split, each sorted by path; nothing if nothing."""
    if not one["path"].equals(other["path"]) and (differs := of_sets(other["path"], one["path"])):
        return f"images {differs}"
    for column, noun in (("label", "the label"), ("source", "the photograph"), ("group", "the group")):
        wrong = np.flatnonzero(one[column].to_numpy() != other[column].to_numpy())
        if wrong.size and not (column != "label" and same_partition(one[column], other[column])):
            row = wrong[0]
            return (
                f"{noun} of {one['path'][row]} is {one[column][row]} in one and {other[column][row]} in the other"
                + (f", and so for {wrong.size - 1} more" if wrong.size > 1 else "")
            )
    return ""


def torn_between_folds(val: pd.DataFrame, column: str) -> list[str]:
    """Return the photographs or groups whose images are in several folds of a cross-validation, so that it leaks.

    Parameters
    ----------
    val
        The out-of-fold predictions, ``path, source, group, fold``; with repeats an image is in one fold of each.
    column
        ``source`` or ``group``.
    """
    folds = val.groupby([column, "fold"])["path"].nunique()
    images = val.groupby(column)["path"].nunique()
    torn = folds[folds != images.reindex(folds.index.get_level_values(column)).to_numpy()]
    return sorted(set(torn.index.get_level_values(column)))


def of_sets(other: Iterable[str], one: Iterable[str]) -> str:
    """Say what only one of two sets of names has; nothing if they are the same."""
    parts = [
        f"{len(names)} only in the {which} (such as {min(names)})"
        for which, names in (("first", set(one) - set(other)), ("second", set(other) - set(one)))
        if names
    ]
    return ", ".join(parts)
