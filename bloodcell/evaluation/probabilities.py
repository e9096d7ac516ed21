"""Checks of class probabilities and labels, and the predicted classes."""

from typing import Any

import numpy as np
import numpy.typing as npt

# Single precision sums to 1 within 1e-6; half precision needs about a thousandth.
ROW_SUM_TOLERANCE = 1e-3


def checked_probabilities(probabilities: npt.ArrayLike, *, n_images: int, n_classes: int) -> npt.NDArray[Any]:
    """Check class probabilities and return them as an array in their own floating-point type.

    Parameters
    ----------
    probabilities
        Shape (n_images, n_classes), floating point, each row a distribution over the classes.

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

    Shape (n,), integers in 0..n_classes-1.

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


def checked_predictions(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, *, groups: npt.ArrayLike | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    """Check labels, shape (n,), with probabilities, shape (n, k), and return both.

    Raises
    ------
    ValueError
        As `checked_labels` and `checked_probabilities`; with groups (or sources) also if there is no image, or not one
        group for each.
    """
    array = np.asarray(probabilities)
    truth = checked_labels(labels, n_classes=array.shape[-1])
    checked = checked_probabilities(array, n_images=truth.size, n_classes=array.shape[-1])
    if groups is not None and (not truth.size or np.shape(groups) != truth.shape):
        raise ValueError(f"{truth.size} images need a group each and at least one image, got {np.shape(groups)} groups")
    return truth, checked


def predicted_classes(probabilities: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the most probable class of each image, the first of equal ones.

    From shape (n, k) to (n,), int64.
    """
    return np.asarray(probabilities.argmax(axis=1), dtype=np.int64)


def confidence_and_correct(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, *, groups: npt.ArrayLike | None = None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return the probability of the predicted class, and whether that is right.

    Shape (n,) each; arguments and errors are those of `checked_predictions`.
    """
    truth, checked = checked_predictions(labels, probabilities, groups=groups)
    return checked.max(axis=1).astype(np.float64), predicted_classes(checked) == truth
