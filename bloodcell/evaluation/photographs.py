"""Predictions by photograph: what a model thinks of all images that were made from one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from bloodcell.evaluation.predictions import PROBABILITY_PREFIX, label_indices, probabilities_of
from bloodcell.evaluation.probabilities import checked_labels, checked_probabilities, predicted_classes


@dataclass(frozen=True, kw_only=True)
class Photographs:
    """The images of a model's answers, put together by photograph.

    Attributes
    ----------
    labels
        Shape (g,), int64, the most frequent label of each photograph's images, of equally frequent ones the first.
    probabilities
        Shape (g, k), float64, the mean over its images.
    index
        Shape (n,), int64, the photograph of each image, in 0..g-1.
    images
        Shape (g,), int64, how many images each photograph has.
    """

    labels: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]
    index: npt.NDArray[np.int64]
    images: npt.NDArray[np.int64]


def photographs_of(*, labels: npt.ArrayLike, probabilities: npt.ArrayLike, sources: npt.ArrayLike) -> Photographs:
    """Put images together by photograph; the same as `by_photograph` does with a table.

    Parameters
    ----------
    labels
        Shape (n,), integers, the true classes.
    probabilities
        Shape (n, k), each row a distribution over the classes.
    sources
        Shape (n,), the photograph of each image: strings or integers.

    Raises
    ------
    ValueError
        When there is no image, the labels or probabilities are none, or there is not one photograph per image.
    """
    n_classes = np.asarray(probabilities).shape[-1]
    truth = checked_labels(labels, n_classes=n_classes)
    checked = checked_probabilities(probabilities, n_images=truth.size, n_classes=n_classes)
    if not truth.size or np.shape(sources) != truth.shape:
        raise ValueError(
            f"{truth.size} images need a photograph each and at least one image, got shape {np.shape(sources)}"
        )
    index = np.unique(np.asarray(sources), return_inverse=True)[1].astype(np.int64)
    images = np.bincount(index)
    sums, votes = np.zeros((2, images.size, n_classes))
    np.add.at(sums, index, checked)
    np.add.at(votes, (index, truth), 1)
    return Photographs(
        labels=votes.argmax(axis=1).astype(np.int64),
        probabilities=sums / images[:, None],
        index=index,
        images=images.astype(np.int64),
    )


def by_photograph(table: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Average the probabilities of the images of each photograph.

    Parameters
    ----------
    table
        A predictions table with each image once.
    classes
        Its class names, in order.

    Returns
    -------
    pandas.DataFrame
        One row per photograph, in the order of their names: ``source, label`` (str, the most frequent label of its
        images, of equally frequent ones the first by name), ``group`` (str), ``images`` (int64, how many) and one
        ``p_<class>`` (float64, the mean) per class.

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


def photograph_figures(table: pd.DataFrame, *, classes: Sequence[str]) -> dict[str, float]:
    """Count the photographs and measure how many of them are classified correctly from the mean over their images.

    Parameters
    ----------
    table
        A predictions table with each image once.
    classes
        Its class names, in order.

    Returns
    -------
    dict
        ``photographs``, how many there are, and ``photograph_accuracy``, in 0..1: the share whose most probable
        class, by `by_photograph`, is their label.

    Raises
    ------
    ValueError
        When the table lacks a class or an image has a label that is none of the classes.
    """
    photographs = by_photograph(table, classes)
    right = predicted_classes(probabilities_of(photographs, classes)) == label_indices(photographs, classes)
    return {"photographs": float(len(photographs)), "photograph_accuracy": float(right.mean())}


def group_figures(table: pd.DataFrame, *, classes: Sequence[str]) -> dict[str, float]:
    """Count the groups and take the mean of their accuracies by image, each group counting once.

    Parameters
    ----------
    table
        A predictions table with each image once.
    classes
        Its class names, in order.

    Returns
    -------
    dict
        ``groups``, how many there are, and ``group_mean_accuracy``, in 0..1.

    Raises
    ------
    ValueError
        When the table lacks a class or an image has a label that is none of the classes.
    """
    right = predicted_classes(probabilities_of(table, classes)) == label_indices(table, classes)
    of_groups = pd.Series(right, index=table.index).groupby(table["group"]).mean()
    return {"groups": float(len(of_groups)), "group_mean_accuracy": float(of_groups.mean())}


def one_photograph_of_each_group(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of one photograph of each group, so that photographs are independent of each other.

    Chosen by a hash of their names, in which classes or copies may be sorted.
    """
    drawn = pd.Series(pd.util.hash_array(table["source"].to_numpy(object)), index=table.index)
    return table[drawn == drawn.groupby(table["group"]).transform("min")]
