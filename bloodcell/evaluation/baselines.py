"""Trivial baselines."""

import numpy as np
import numpy.typing as npt

from bloodcell.evaluation.probabilities import checked_labels


def majority_probabilities(*, training_labels: npt.ArrayLike, n_classes: int, n_images: int) -> npt.NDArray[np.float64]:
    """Return the class frequencies of training as probabilities of every image.

    ``training_labels`` are integers in 0..n_classes-1, shape (n,); n is at least 1. The probabilities have the shape
    (n_images, n_classes), float64. The predicted class is the most frequent one, of equally frequent ones the first.

    Raises
    ------
    ValueError
        When there are no training labels or one is outside 0..n_classes-1.
    """
    labels = checked_labels(training_labels, n_classes=n_classes)
    if not labels.size:
        raise ValueError("the majority baseline needs at least one training label")
    frequencies = np.bincount(labels, minlength=n_classes) / labels.size
    return np.tile(frequencies, (n_images, 1))
