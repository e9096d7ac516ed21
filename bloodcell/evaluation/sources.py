"""Predictions by source: the mean over all images of a photograph."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from bloodcell.evaluation.predictions import PROBABILITY_PREFIX, label_indices, probabilities_of
from bloodcell.evaluation.probabilities import checked_labels, checked_probabilities, predicted_classes


@dataclass(frozen=True, kw_only=True)
class SourceMeans:
    """Predictions averaged by source.

    Attributes
    ----------
    labels
        Shape (s,), int64, the most frequent label of each source's images; the first of equally frequent ones.
    probabilities
        Shape (s, k), float64, the mean over its images.
    index
        Shape (n,), int64, the source of each image, in 0..s-1.
    images
        Shape (s,), int64, the number of images of each source.
    """

    labels: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]
    index: npt.NDArray[np.int64]
    images: npt.NDArray[np.int64]


def average_by_source(*, labels: npt.ArrayLike, probabilities: npt.ArrayLike, sources: npt.ArrayLike) -> SourceMeans:
    """Average arrays by source; `by_source` does the same with a table.

    Parameters
    ----------
    labels
        Shape (n,), integers, the true classes.
    probabilities
        Shape (n, k), each row a distribution over the classes.
    sources
        Shape (n,), the source of each image: strings or integers.

    Raises
    ------
    ValueError
        When there is no image, the labels or probabilities are invalid, or there is not one source per image.
    """
    n_classes = np.asarray(probabilities).shape[-1]
    truth = checked_labels(labels, n_classes=n_classes)
    checked = checked_probabilities(probabilities, n_images=truth.size, n_classes=n_classes)
    if not truth.size or np.shape(sources) != truth.shape:
        raise ValueError(
            f"{truth.size} images need a source each and at least one image, got shape {np.shape(sources)}"
        )
    index = np.unique(np.asarray(sources), return_inverse=True)[1].astype(np.int64)
    images = np.bincount(index)
    sums, votes = np.zeros((2, images.size, n_classes))
    np.add.at(sums, index, checked)
    np.add.at(votes, (index, truth), 1)
    return SourceMeans(
        labels=votes.argmax(axis=1).astype(np.int64),
        probabilities=sums / images[:, None],
        index=index,
        images=images.astype(np.int64),
    )


def by_source(table: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Average the probabilities of each source's images.

    Parameters
    ----------
    table
        A predictions table with one row per image.
    classes
        Its class names, in order.

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
    """Compute the number of sources and their accuracy.

    Parameters
    ----------
    table
        A predictions table with one row per image.
    classes
        Its class names, in order.

    Returns
    -------
    dict
        ``photographs``, their number, and ``photograph_accuracy``, in 0..1: the share that is classified correctly by
        the mean over its images.

    Raises
    ------
    ValueError
        When the table lacks a class or an image has a label that is none of the classes.
    """
    sources = by_source(table, classes)
    right = predicted_classes(probabilities_of(sources, classes)) == label_indices(sources, classes)
    return {"photographs": float(len(sources)), "photograph_accuracy": float(right.mean())}


def group_metrics(table: pd.DataFrame, *, classes: Sequence[str]) -> dict[str, float]:
    """Compute the number of groups and the mean of their accuracies by image.

    Parameters
    ----------
    table
        A predictions table with one row per image.
    classes
        Its class names, in order.

    Returns
    -------
    dict
        ``groups``, their number, and ``group_mean_accuracy``, in 0..1.

    Raises
    ------
    ValueError
        When the table lacks a class or an image has a label that is none of the classes.
    """
    right = predicted_classes(probabilities_of(table, classes)) == label_indices(table, classes)
    accuracies = pd.Series(right, index=table.index).groupby(table["group"]).mean()
    return {"groups": float(len(accuracies)), "group_mean_accuracy": float(accuracies.mean())}


def one_source_per_group(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of one source per group, so that sources are independent.

    A hash of the name selects it, as names may be sorted by class or copy.
    """
    drawn = pd.Series(pd.util.hash_array(table["source"].to_numpy(object)), index=table.index)
    return table[drawn == drawn.groupby(table["group"]).transform("min")]
