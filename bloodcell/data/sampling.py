"""Sample and weight images by source, so that a source with many copies counts no more than others."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Sampling = Literal["images", "photographs"]
"""``images``: every image once. ``photographs``: classes equally often, and sources equally often within a class."""


def source_weights(labels: NDArray[np.int64], sources: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return weights that are equal for classes, for sources in a class, and for images of a source.

    Labels are class indices and sources numbers, shape (n,); a source with several labels counts once in each class.
    The weights, shape (n,), float64, are above 0 and sum to n.
    """
    pairs, source, copies = np.unique(
        np.column_stack([labels, sources]), axis=0, return_inverse=True, return_counts=True
    )
    classes, class_of_pair, n_sources = np.unique(pairs[:, 0], return_inverse=True, return_counts=True)
    share = 1.0 / (len(classes) * n_sources[class_of_pair] * copies)
    return np.asarray(len(labels) * share[source.ravel()], np.float64)


def equal_source_weights(sources: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return weights that sum to 1 for each source and are equal for its images.

    Sources are numbers or names, shape (n,); so are the weights, float64.
    """
    _, source, copies = np.unique(sources, return_inverse=True, return_counts=True)
    return np.asarray(1 / copies[source.ravel()])


def sample_sources(
    labels: NDArray[np.int64], sources: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw n of n images with the expected counts `source_weights`, and shuffle them.

    Systematic sampling (Madow, "On the theory of systematic sampling, II", Annals of Mathematical Statistics 20, 1949):
    images are ordered by class and source, each as wide as its weight, and one is taken at equal distances. Counts of
    classes, and of sources in a class, differ by at most one image; independent draws would miss a third of the sources
    with few images. The indices of images have the shape (n,), int64, some of them several times.
    """
    n = len(labels)
    _, numbered = np.unique(sources, return_inverse=True)
    rank = rng.permutation(n)[numbered.ravel()]
    row = np.lexsort([rng.random(n), rank, labels])
    ends = np.cumsum(source_weights(labels, sources)[row])
    places = np.searchsorted(ends, np.arange(n) + rng.random(), side="right")
    return np.asarray(rng.permutation(row[np.minimum(places, n - 1)]), np.int64)
