"""How far a model's confidence is from how often it is right."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from bloodcell.evaluation.probabilities import checked_labels, checked_probabilities, predicted_classes

# Guo et al. 2017 and most papers since report 15 bins; another number gives another error.
DEFAULT_BINS = 15


def calibration_bins(
    *, labels: npt.ArrayLike, probabilities: npt.NDArray[np.floating], n_bins: int = DEFAULT_BINS
) -> pd.DataFrame:
    """Sort images by the confidence of their prediction into bins of equal width.

    The confidence is the probability of the predicted class. Bin m of M holds the confidences in ((m-1)/M, m/M]
    (Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, section 2).

    Parameters
    ----------
    labels
        Shape (n,), integers, the true classes.
    probabilities
        Shape (n, k), each row a distribution over the classes.
    n_bins
        How many bins from 0 to 1.

    Returns
    -------
    pandas.DataFrame
        One row per bin: ``lower`` and ``upper`` (float64, its borders), ``images`` (int64), ``confidence`` and
        ``accuracy`` (float64 in 0..1, means over its images, NaN in an empty bin).

    Raises
    ------
    ValueError
        When the labels or probabilities are none, or there is less than one bin.
    """
    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, got {n_bins}")
    array = np.asarray(probabilities)
    truth = checked_labels(labels, n_classes=array.shape[-1])
    checked = checked_probabilities(array, n_images=truth.size, n_classes=array.shape[-1])
    confidence = checked.max(axis=1).astype(np.float64)
    correct = predicted_classes(checked) == truth

    edges = np.linspace(0, 1, n_bins + 1)
    index = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, n_bins - 1)
    images = np.bincount(index, minlength=n_bins)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(index, weights=confidence, minlength=n_bins) / images
        accuracy = np.bincount(index, weights=correct.astype(np.float64), minlength=n_bins) / images
    return pd.DataFrame(
        {
            "lower": edges[:-1],
            "upper": edges[1:],
            "images": images.astype(np.int64),
            "confidence": mean_confidence,
            "accuracy": accuracy,
        }
    )


def expected_calibration_error(bins: pd.DataFrame) -> float:
    """Return the mean distance of accuracy from confidence over bins, weighted by their images.

    Equation 3 of Guo et al. 2017, on the bins of `calibration_bins`.

    Parameters
    ----------
    bins
        The table that `calibration_bins` returns.

    Returns
    -------
    float
        In 0..1, 0 when every bin is right as often as it is sure; NaN without images.
    """
    filled = bins[bins["images"] > 0]
    if filled.empty:
        return float("nan")
    gaps = (filled["accuracy"] - filled["confidence"]).abs().to_numpy(dtype=np.float64)
    return float(np.average(gaps, weights=filled["images"].to_numpy(dtype=np.float64)))
