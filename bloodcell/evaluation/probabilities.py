"""Checks of class probabilities and labels, and the predicted classes."""

from typing import Any

import numpy as np
import numpy.typing as npt

# Single precision sums to 1 within 1e-6; half precision needs about a thousandth.
ROW_SUM_TOLERANCE = 1e-3


def checked_probabilities(probabilities: npt.ArrayLike, *, n_images: int, n_classes: int) -> npt.NDArray[Any]:
    """Check class probabilities and return them as an array.

    Parameters
    ----------
    probabilities
        Shape (n_images, n_classes), floating point, each row a distribution over the classes.
    n_images, n_classes
        The expected shape.

    Returns
    -------
    numpy.ndarray
        The same values, shape (n_images, n_classes), in their own floating-point type.

    Raises
    ------
    ValueError
        When the shape differs, a value is not finite or below 0, or a row does not sum to 1 within 0.001.
    """
    array = np.asarray(probabilities)
    if not np.issubdtype(array.dtype, np.floating):
        array = array.astype(np.float64)
    if array.shape != (n_images, n_classes):
        raise ValueError(f"probabilities have shape {array.shape}, expected ({n_images}, {n_classes})")
    if not np.isfinite(array).all():
        rows = np.flatnonzero(~np.isfinite(array).all(axis=1))
        raise ValueError(f"probabilities are not finite in {rows.size} of {n_images} rows, the first is row {rows[0]}")
    if (array < 0).any():
        raise ValueError(f"probabilities must not be negative, the lowest is {array.min()}")
    sums = array.sum(axis=1, dtype=np.float64)
    wrong = np.flatnonzero(np.abs(sums - 1) > ROW_SUM_TOLERANCE)
    if wrong.size:
        raise ValueError(
            f"probabilities must sum to 1 in each row; {wrong.size} of {n_images} rows do not, "
            f"row {wrong[0]} sums to {sums[wrong[0]]:.6g}"
        )
    return array


def checked_labels(labels: npt.ArrayLike, *, n_classes: int) -> npt.NDArray[np.int64]:
    """Check class indices and return them as an int64 array.

    Parameters
    ----------
    labels
        Shape (n,), integers in 0..n_classes-1.
    n_classes
        The number of classes.

    Returns
    -------
    numpy.ndarray
        Shape (n,), int64.

    Raises
    ------
    ValueError
        When the labels are not a vector of integers, or one is outside 0..n_classes-1.
    """
    array = np.asarray(labels)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise ValueError(f"labels must be integers of shape (n,), got {array.dtype} of shape {array.shape}")
    if array.size and (array.min() < 0 or array.max() >= n_classes):
        raise ValueError(f"labels must be within 0..{n_classes - 1}, got {array.min()}..{array.max()}")
    return array.astype(np.int64)


def predicted_classes(probabilities: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the most probable class of each image, the first of equal ones.

    Parameters
    ----------
    probabilities
        Shape (n, k), each row a distribution over the classes.

    Returns
    -------
    numpy.ndarray
        Shape (n,), int64, class indices in 0..k-1.
    """
    return np.asarray(probabilities.argmax(axis=1), dtype=np.int64)
