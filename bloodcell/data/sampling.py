"""Sampling: which images an epoch is made of, so that what counts is photographs and not the copies of them."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Sampling = Literal["images", "photographs"]
"""``images``: every image once. ``photographs``: every class as often as every other, and within it every
photograph."""


def source_weights(labels: NDArray[np.int64], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weigh images so that classes weigh the same, within a class its photographs, and within a photograph its images.

    Parameters
    ----------
    labels
        Class indices, shape (n,).
    groups
        The photograph that each image was made from, as a number, shape (n,). Images of one photograph with different
        labels count as of one in each of their classes.

    Returns
    -------
    ndarray of shape (n,), float64
        Above 0; their sum is n.
    """
    pairs, photograph, copies = np.unique(
        np.column_stack([labels, groups]), axis=0, return_inverse=True, return_counts=True
    )
    classes, class_of_pair, photographs = np.unique(pairs[:, 0], return_inverse=True, return_counts=True)
    share = 1.0 / (len(classes) * photographs[class_of_pair] * copies)
    return np.asarray(len(labels) * share[photograph.ravel()], np.float64)


def equal_source_weights(groups: NDArray[np.generic]) -> NDArray[np.float64]:
    """Weigh images so that every photograph weighs 1, whatever its class, and its images the same.

    Parameters
    ----------
    groups
        The photograph that each image was made from, a number or a name, shape (n,).

    Returns
    -------
    ndarray of shape (n,), float64
    """
    _, photograph, copies = np.unique(groups, return_inverse=True, return_counts=True)
    return np.asarray(1 / copies[photograph.ravel()])


def sample_sources(labels: NDArray[np.int64], groups: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw as many images as there are, each as often as `source_weights` says on average, and shuffle them.

    Drawn systematically (Madow, "On the theory of systematic sampling, II", Annals of Mathematical Statistics 20,
    1949): images stand in a row, classes and in them photographs side by side, each as wide as its weight, and at equal
    distances one is taken. So every class comes as often as every other but for one image, and likewise every
    photograph of a class; where drawing one by one would leave out a third of all photographs with few images.

    Returns
    -------
    ndarray of shape (n,), int64
        Indices of images, some of them several times.
    """
    n = len(labels)
    _, numbered = np.unique(groups, return_inverse=True)
    rank = rng.permutation(n)[numbered.ravel()]
    row = np.lexsort([rng.random(n), rank, labels])
    ends = np.cumsum(source_weights(labels, groups)[row])
    places = np.searchsorted(ends, np.arange(n) + rng.random(), side="right")
    return np.asarray(rng.permutation(row[np.minimum(places, n - 1)]), np.int64)
