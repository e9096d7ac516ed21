"""Predictions by photograph: what a model thinks of all images that were made from one."""

from collections.abc import Sequence

import pandas as pd

from bloodcell.evaluation.predictions import PROBABILITY_PREFIX, label_indices, probabilities_of
from bloodcell.evaluation.probabilities import predicted_classes


def by_photograph(table: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Average the probabilities of the images of each group.

    Parameters
    ----------
    table
        A predictions table with each image once.
    classes
        Its class names, in order.

    Returns
    -------
    pandas.DataFrame
        One row per group, in the order of their names: ``group, label`` (str, the most frequent label of its images,
        of equally frequent ones the first by name), ``images`` (int64, how many) and one ``p_<class>`` (float64, the
        mean) per class.

    Raises
    ------
    ValueError
        When the table lacks a class.
    """
    columns = [PROBABILITY_PREFIX + name for name in classes]
    probabilities = pd.DataFrame(probabilities_of(table, classes), columns=columns, index=table.index)
    means = probabilities.groupby(table["group"]).mean()
    counts = table.groupby(["group", "label"]).size().rename("images").reset_index()
    ranked = counts.sort_values(["group", "images", "label"], ascending=[True, False, True])
    labels = ranked.drop_duplicates("group").set_index("group")["label"]
    images = counts.groupby("group")["images"].sum()
    return pd.concat([labels, images, means], axis="columns").rename_axis("group").reset_index()


def photograph_figures(table: pd.DataFrame, *, classes: Sequence[str]) -> dict[str, float]:
    """Count the photographs and measure how many of them are told right from the mean over their images.

    Parameters
    ----------
    table
        A predictions table with each image once.
    classes
        Its class names, in order.

    Returns
    -------
    dict
        ``photographs``, how many groups there are, and ``photograph_accuracy``, in 0..1: the share whose most probable
        class, by `by_photograph`, is their label.

    Raises
    ------
    ValueError
        When the table lacks a class or an image has a label that is none of the classes.
    """
    photographs = by_photograph(table, classes)
    right = predicted_classes(probabilities_of(photographs, classes)) == label_indices(photographs, classes)
    return {"photographs": float(len(photographs)), "photograph_accuracy": float(right.mean())}
