"""The predictions of a cross-validation's folds as one."""

from collections.abc import Sequence

import pandas as pd

from bloodcell.evaluation.predictions import MANIFEST_COLUMNS, predictions_table, probabilities_of


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
