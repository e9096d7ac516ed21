"""Predictions by source: the mean over all images of a photograph."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from bloodcell.evaluation.predictions import PROBABILITY_PREFIX, arrays_of, probabilities_of
from bloodcell.evaluation.probabilities import checked_predictions, predicted_classes


def average_by_source(
    *, labels: npt.ArrayLike, probabilities: npt.ArrayLike, sources: npt.ArrayLike
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Average arrays by source; `by_source` does the same with a table.

    Parameters
    ----------
    labels, probabilities
        Shape (n,), integers, the true classes; shape (n, k), each row a distribution over the classes.
    sources
        Shape (n,), the source of each image: strings or integers.

    Returns
    -------
    labels
        Shape (s,), int64, the most frequent label of each source's images; the first of equally frequent ones.
    probabilities
        Shape (s, k), float64, the mean over its images.

    Raises
    ------
    ValueError
        When there is no image, the labels or probabilities are invalid, or there is not one source per image.
    """
    truth, checked = checked_predictions(labels, probabilities, groups=sources)
    _, index, images = np.unique(np.asarray(sources), return_inverse=True, return_counts=True)
    sums, votes = np.zeros((2, images.size, checked.shape[1]))
    np.add.at(sums, index, checked)
    np.add.at(votes, (index, truth), 1)
    return votes.argmax(axis=1).astype(np.int64), sums / images[:, None]


def by_source(table: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Average the probabilities of each source's images in a predictions table.

    Returns
    -------
    pandas.DataFrame
        One row per source, sorted: ``source, label`` (str, the most frequent label of its images; the first by name of
        equally frequent ones), ``group`` (str), ``images`` (int64, their number) and one ``p_<class>`` (float64, the
        mean) per class.

    Raises
    ------
    ValueError
        When the table lacks a class.
    """
    columns = [PROBABILITY_PREFIX + name for name in classes]
    probabilities = pd.DataFrame(probabilities_of(table, classes), columns=columns, index=table.index)
    means = probabilities.groupby(table["source"]).mean()
    counts = table.groupby(["source", "label"]).size().rename("images").reset_index()
    ranked = counts.sort_values(["source", "images", "label"], ascending=[True, False, True])
    labels = ranked.drop_duplicates("source").set_index("source")["label"]
    groups = table.drop_duplicates("source").set_index("source")["group"]
    images = counts.groupby("source")["images"].sum()
    return pd.concat([labels, groups, images, means], axis="columns").rename_axis("source").reset_index()


def source_metrics(table: pd.DataFrame, *, classes: Sequence[str]) -> dict[str, float]:
    """Return ``photographs``, the number of sources, and ``photograph_accuracy``, in 0..1.

    A source is predicted by the mean over its images.

    Raises
    ------
    ValueError
        When the predictions table lacks a class or an image has a label that is none of the classes.
    """
    sources = by_source(table, classes)
    right = _is_right(sources, classes)
    return {"photographs": float(len(sources)), "photograph_accuracy": float(right.mean())}


def group_metrics(table: pd.DataFrame, *, classes: Sequence[str]) -> dict[str, float]:
    """Return ``groups``, their number, and ``group_mean_accuracy``, in 0..1.

    The latter is the mean of the groups' accuracies by image. Errors are those of `source_metrics`.
    """
    accuracies = pd.Series(_is_right(table, classes), index=table.index).groupby(table["group"]).mean()
    return {"groups": float(len(accuracies)), "group_mean_accuracy": float(accuracies.mean())}


def _is_right(table: pd.DataFrame, classes: Sequence[str]) -> npt.NDArray[np.bool_]:
    labels, probabilities = arrays_of(table, classes)
    return np.asarray(predicted_classes(probabilities) == labels)


def one_source_per_group(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of one source per group, so that sources are independent.

    A hash of the name selects it, as names may be sorted by class or copy.
    """
    drawn = pd.Series(pd.util.hash_array(table["source"].to_numpy(object)), index=table.index)
    return table[drawn == drawn.groupby(table["group"]).transform("min")]
