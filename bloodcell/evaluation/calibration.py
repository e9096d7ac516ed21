"""Calibration: the distance between confidence and accuracy."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata

from bloodcell.evaluation.intervals import share_interval
from bloodcell.evaluation.probabilities import confidence_and_correct

# Guo et al. 2017 and most papers since report 15 bins; another number gives another error.
DEFAULT_BINS = 15
GROUPS_PER_BIN = 5
"""With few groups, the debiased error has fewer bins: one group does not determine a gap."""
N_SIGNS = 200
"""Random signs per group; they give the mean error by chance within about 2 %."""


def calibration_bins(
    *,
    labels: npt.ArrayLike,
    probabilities: npt.NDArray[np.floating],
    n_bins: int = DEFAULT_BINS,
    groups: npt.ArrayLike | None = None,
) -> pd.DataFrame:
    """Bin images by confidence, in bins of equal width.

    The confidence is the probability of the predicted class. Bin m of M holds the confidences in ((m-1)/M, m/M]
    (Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, section 2).

    Parameters
    ----------
    labels, probabilities
        Shape (n,), integers, the true classes; shape (n, k), each row a distribution over the classes.
    n_bins
        The number of bins between 0 and 1.
    groups
        Shape (n,), the group of each image, for intervals.

    Returns
    -------
    pandas.DataFrame
        One row per bin: ``lower`` and ``upper`` (float64, its borders), ``images`` (int64), ``confidence`` and
        ``accuracy`` (float64 in 0..1, means over its images, NaN in an empty bin). With groups also their number
        ``groups`` (int64), and ``accuracy_low`` and ``accuracy_high``, the ends of the 95 % interval (NaN if there are
        too few groups).

    Raises
    ------
    ValueError
        When the labels or probabilities are invalid, or ``n_bins`` is below 1.
    """
    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, got {n_bins}")
    confidence, correct = confidence_and_correct(labels, probabilities, groups=groups)
    edges = np.linspace(0, 1, n_bins + 1)
    index = _equal_widths(confidence, edges)
    images = np.bincount(index, minlength=n_bins)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(index, weights=confidence, minlength=n_bins) / images
        accuracy = np.bincount(index, weights=correct.astype(np.float64), minlength=n_bins) / images
    bins = pd.DataFrame(
        {
            "lower": edges[:-1],
            "upper": edges[1:],
            "images": images.astype(np.int64),
            "confidence": mean_confidence,
            "accuracy": accuracy,
        }
    )
    if groups is None:
        return bins
    of_images = np.asarray(groups)
    in_bins = [index == number for number in range(n_bins)]
    found = [share_interval(correct[inside], of_images[inside]) for inside in in_bins]
    return bins.assign(
        groups=[np.unique(of_images[inside]).size for inside in in_bins],
        accuracy_low=[each.low for each in found],
        accuracy_high=[each.high for each in found],
    )


def expected_calibration_error(bins: pd.DataFrame) -> float:
    """Return the mean distance of accuracy and confidence, weighted by images.

    Equation 3 of Guo et al. 2017, on the bins of `calibration_bins`: in 0..1, NaN without images. It is biased upwards,
    the more the fewer groups there are: see `CalibrationErrors`.
    """
    filled = bins[bins["images"] > 0]
    if filled.empty:
        return float("nan")
    gaps = (filled["accuracy"] - filled["confidence"]).abs().to_numpy(dtype=np.float64)
    return float(np.average(gaps, weights=filled["images"].to_numpy(dtype=np.float64)))


@dataclass(frozen=True, kw_only=True)
class CalibrationErrors:
    """Calibration errors with their expectation by chance.

    Attributes
    ----------
    expected
        The expected calibration error, in 0..1; biased upwards.
    by_chance
        An estimate of ``expected`` for a perfectly calibrated model on these groups, in 0..1.
    debiased
        The root-mean-square error without the part due to chance, in 0..1; 0 if chance explains all; NaN if no bin has
        two groups.
    """

    expected: float
    by_chance: float
    debiased: float


def calibration_errors(
    *, labels: npt.ArrayLike, probabilities: npt.NDArray[np.floating], groups: npt.ArrayLike
) -> CalibrationErrors:
    """Compute calibration errors that count groups, not images.

    Parameters
    ----------
    labels, probabilities
        Shape (n,), integers, the true classes; shape (n, k), each row a distribution over the classes.
    groups
        Shape (n,), the group of each image: strings or integers.

    Raises
    ------
    ValueError
        When there is no image, the labels or probabilities are invalid, or there is not one group per image.

    Notes
    -----
    Images of one group are correlated, so groups count. In a bin, let d be the confidence of an image, less 1 if it is
    classified correctly, S_g the sum of d over the n_g images of group g, S the sum of all S_g and n that of all n_g.

    By chance: if the model is calibrated, S_g has the mean 0 and a random sign. `N_SIGNS` times each group's
    S_g in the bins of `calibration_bins` are multiplied by 1 or -1 at random (with a fixed seed), and the mean expected
    error is returned (the wild bootstrap: Wu, "Jackknife, bootstrap and other resampling methods in regression
    analysis", Annals of Statistics 14, 1986). It is slightly too large for a model that is not calibrated.

    Debiased: Kumar, Liang and Ma ("Verified Uncertainty Calibration", NeurIPS 2019, section 4) subtract the
    variance of a bin's squared gap, for independent images. Here the squared gap is the mean product of d of two
    images of different groups, (S^2 - sum(S_g^2)) / (n^2 - sum(n_g^2)), a U-statistic (Hoeffding, Annals of
    Mathematical Statistics 19, 1948). It has no bias and may be below 0. The error is the root of its mean over bins,
    weighted by n, or 0 if that is below 0. The bins are 15 of about as many images, or one for every `GROUPS_PER_BIN`
    groups if that is fewer; equal confidences share a bin; bins of one group are left out.
    """
    confidence, correct = confidence_and_correct(labels, probabilities, groups=groups)
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    gap, one, random = confidence - correct, np.ones(confidence.size), np.random.default_rng(0)
    gaps = _sums(gap, group, _equal_widths(confidence, np.linspace(0, 1, DEFAULT_BINS + 1)), DEFAULT_BINS)
    n_bins = min(max(names.size // GROUPS_PER_BIN, 1), DEFAULT_BINS)
    index = _equal_counts(confidence, n_bins)
    by_chance = [np.abs(random.choice([-1.0, 1.0], names.size) @ gaps).sum() for _ in range(N_SIGNS)]
    return CalibrationErrors(
        expected=float(np.abs(gaps.sum(axis=0)).sum() / gap.size),
        by_chance=float(np.mean(by_chance) / gap.size),
        debiased=_debiased(*(_sums(each, group, index, n_bins) for each in (gap, one))),
    )


def _debiased(gaps: npt.NDArray[np.float64], images: npt.NDArray[np.float64]) -> float:
    """Return the debiased error from gaps and images by group and bin, (g, bins)."""
    products = gaps.sum(axis=0) ** 2 - (gaps**2).sum(axis=0)
    pairs = images.sum(axis=0) ** 2 - (images**2).sum(axis=0)
    known = pairs > 0
    if not known.any():
        return float("nan")
    square = np.average(products[known] / pairs[known], weights=images.sum(axis=0)[known])
    return float(np.sqrt(max(square, 0.0)))


def _sums(
    each: npt.NDArray[np.float64], group: npt.NDArray[np.int64], index: npt.NDArray[np.int64], n_bins: int
) -> npt.NDArray[np.float64]:
    """Return sums over images by group and bin, shape (g, n_bins)."""
    size = (int(group.max()) + 1) * n_bins
    sums = np.bincount(group * n_bins + index, weights=each, minlength=size)
    return np.asarray(sums.reshape(-1, n_bins), dtype=np.float64)


def _equal_widths(confidence: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the bin of each confidence; one on an edge belongs to the bin below."""
    return np.asarray(np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, edges.size - 2), dtype=np.int64)


def _equal_counts(confidence: npt.NDArray[np.float64], n_bins: int) -> npt.NDArray[np.int64]:
    """Return the bin of each confidence, with about equal counts; ties share one."""
    lower = rankdata(confidence, method="min").astype(np.int64) - 1
    return np.asarray(lower * n_bins // confidence.size)
