"""What a model has to beat to have learned anything."""

import numpy as np
import numpy.typing as npt

from bloodcell.evaluation.probabilities import checked_labels


def majority_probabilities(*, training_labels: npt.ArrayLike, n_classes: int, n_images: int) -> npt.NDArray[np.float64]:
    """Predict the class frequencies of the training images for every image, whatever it shows.

    The most frequent class is the one predicted. Of equally frequent ones it is the first, as it is for any
    probabilities here (`bloodcell.evaluation.probabilities.predicted_classes`).

    Parameters
    ----------
    training_labels
        Shape (n,), integers in 0..n_classes-1, the classes of the training images; n is at least 1.
    n_classes
        How many classes there are.
    n_images
        For how many images.

    Returns
    -------
    numpy.ndarray
        Shape (n_images, n_classes), float64, equal rows that sum to 1.

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
