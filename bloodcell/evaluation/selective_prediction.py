"""Selective prediction: risk against coverage, and thresholds with a guaranteed maximal risk.

A model predicts if its confidence, the probability of the predicted class, reaches a threshold. Coverage is the share
of cases with a prediction, risk the share of errors among them (Geifman and El-Yaniv, "Selective Classification for
Deep Neural Networks", NeurIPS 2017).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import betaincinv, expit

from bloodcell.evaluation.probabilities import confidence_and_correct
from bloodcell.evaluation.sources import average_by_source

Unit = Literal["image", "photograph"]

GRID = (*(float(value) for value in expit(np.linspace(9.0, -2.0, 221))), 0.0)
"""Candidate thresholds from 0.9999 down, evenly spaced in logits, and 0, which covers all.

They must not depend on the predictions, or the guarantee would not hold.
"""

TOLERATED_ERRORS = 2
"""Errors that the first tested threshold tolerates.

Without any, one error among the most confident cases ends the search. In simulations of 277 photographs and an error of
5 %, the thresholds covered 67 % with 0, 76 % with 1 and 79 % with 2 tolerated errors; the optimum was 80 %.
"""


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A threshold with a guaranteed maximal risk.

    Attributes
    ----------
    value
        Cases with at least this confidence are predicted; 0 covers all.
    coverage, error, upper_bound
        The share of sources that it covers, that of errors among them, and the upper confidence bound of the error on
        new sources, in 0..1.
    covered, wrong, sources
        The numbers of covered sources, of errors among them, and of all sources.
    max_error, confidence
        The arguments of `threshold_for_error`.
    """

    value: float
    coverage: float
    error: float
    upper_bound: float
    covered: int
    wrong: int
    sources: int
    max_error: float
    confidence: float


def risk_coverage(*, labels: npt.ArrayLike, probabilities: npt.ArrayLike, sources: npt.ArrayLike) -> pd.DataFrame:
    """Compute risk and coverage at every threshold that changes one of them.

    Parameters
    ----------
    labels, probabilities
        Shape (n,), integers, the true classes; shape (n, k), each row a distribution over the classes.
    sources
        Shape (n,), the source of each image: strings or integers.

    Returns
    -------
    pandas.DataFrame
        One row per threshold, from the lowest, which covers all, to the highest: ``threshold, image_coverage,
        image_risk, photograph_coverage, photograph_risk`` (float64 in 0..1). Sources are predicted from the mean over
        their images; a risk is NaN if nothing is covered.

    Raises
    ------
    ValueError
        When there is no image, the labels or probabilities are invalid, or there is not one source per image.
    """
    images = confidence_and_correct(labels, probabilities)
    by_source = _by_source(labels, probabilities, sources)
    thresholds = np.unique(np.concatenate([images[0], by_source[0]]))
    columns = {"threshold": thresholds}
    for unit, (confidence, correct) in (("image", images), ("photograph", by_source)):
        covered, errors = _covered(thresholds, confidence=confidence, correct=correct)
        columns[f"{unit}_coverage"] = covered / confidence.size
        with np.errstate(invalid="ignore"):
            columns[f"{unit}_risk"] = errors / covered
    return pd.DataFrame(columns)


def area_under_risk_coverage(curve: pd.DataFrame, *, unit: Unit) -> float:
    """Return the mean risk over all coverages, in 0..1; lower is better.

    Geifman, Uziel and El-Yaniv, "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers", ICLR 2019, section
    2: the mean risk of covering the 1, 2, ..., n most confident cases; equally confident ones are covered together.
    ``curve`` is the table that `risk_coverage` returns; ``unit`` counts images or sources.
    """
    coverage = curve[f"{unit}_coverage"].to_numpy(np.float64)
    steps = coverage - np.append(coverage[1:], 0.0)
    risk = curve[f"{unit}_risk"].to_numpy(np.float64)
    return float(steps[steps > 0] @ risk[steps > 0])


def threshold_for_error(
    *,
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    groups: npt.ArrayLike,
    max_error: float,
    confidence: float = 0.95,
    grid: Sequence[float] = GRID,
) -> Threshold | None:
    """Return the lowest threshold that guarantees a maximal risk.

    With the probability ``confidence`` over the sources that choose the threshold, the risk on new sources is at most
    ``max_error``. This holds if new sources come from the same distribution (people, stain, microscope, camera) and the
    model was not trained on these.

    At one threshold errors are binomial, so the exact upper bound of Clopper and Pearson (1934) holds. Thresholds are
    tested from the highest on, each at the full level, up to the first whose bound is above ``max_error``
    (fixed-sequence testing: Angelopoulos, Bates, Candes, Jordan and Lei, "Learn then Test", 2021, section 2.3; cf.
    algorithm 1 of Geifman and El-Yaniv 2017). The first threshold covers enough sources to tolerate `TOLERATED_ERRORS`,
    or fewer if there are too few sources. This depends on coverage, not on errors, and keeps the level unless more
    confident predictions are more often wrong.

    Parameters
    ----------
    labels, probabilities
        Shape (n,), integers, the true classes; shape (n, k), each row a distribution over the classes, of a model that
        was not trained on these images.
    groups
        Shape (n,), the source of each image: strings or integers. The guarantee is for predictions from all images of
        a source; for single images, give one image of each.
    max_error, confidence
        The maximal risk and the probability of the guarantee, above 0 and below 1.
    grid
        Thresholds from the highest to the lowest, independent of these predictions.

    Returns
    -------
    Threshold or None
        None without a guarantee: too many errors, or too few sources (59 without an error for a risk of 5 % at a
        confidence of 95 %).

    Raises
    ------
    ValueError
        When `max_error` or `confidence` is not between 0 and 1, the grid does not fall, there is no image, the labels
        or probabilities are none, or there is not one group per image.
    """
    if not (0 < max_error < 1 and 0 < confidence < 1):
        raise ValueError(f"max_error and confidence must be between 0 and 1, got {max_error} and {confidence}")
    thresholds = np.asarray(grid, dtype=np.float64)
    if not thresholds.size or (np.diff(thresholds) >= 0).any():
        raise ValueError("the grid must be thresholds from the highest to the lowest")
    sure, correct = _by_source(labels, probabilities, groups)
    covered, errors = _covered(thresholds, confidence=sure, correct=correct)
    holds = upper_bound(errors=errors, covered=covered, confidence=confidence) <= max_error
    start = _start(covered, max_error=max_error, confidence=confidence)
    if start is None or not holds[start]:
        return None
    last = start + int(np.argmin(np.append(holds[start:], False))) - 1
    return Threshold(
        value=float(thresholds[last]),
        coverage=float(covered[last] / sure.size),
        error=float(errors[last] / covered[last]),
        upper_bound=float(upper_bound(errors=errors[last], covered=covered[last], confidence=confidence)),
        covered=int(covered[last]),
        wrong=int(errors[last]),
        sources=sure.size,
        max_error=max_error,
        confidence=confidence,
    )


def upper_bound(*, errors: npt.ArrayLike, covered: npt.ArrayLike, confidence: float) -> npt.NDArray[np.float64]:
    """Return the upper confidence bound of an error (Clopper and Pearson 1934).

    Parameters
    ----------
    errors, covered
        Counts of the same shape, 0 <= errors <= covered. The bounds have that shape, too, float64 in 0..1; 1 if nothing
        is right or covered.
    confidence
        The one-sided confidence, in 0..1.
    """
    wrong, total = np.asarray(errors), np.asarray(covered)
    right = total - wrong
    return np.where(right > 0, betaincinv(wrong + 1, np.maximum(right, 1), confidence), 1.0)


def _start(covered: npt.NDArray[np.int64], *, max_error: float, confidence: float) -> int | None:
    """Return the index of the first threshold that covers enough to tolerate errors."""
    for tolerated in range(TOLERATED_ERRORS, -1, -1):
        enough = upper_bound(errors=np.minimum(tolerated, covered), covered=covered, confidence=confidence) <= max_error
        if enough.any():
            return int(enough.argmax())
    return None


def _by_source(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, sources: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return each source's confidence and whether its prediction is correct, shape (s,) each."""
    return confidence_and_correct(*average_by_source(labels=labels, probabilities=probabilities, sources=sources))


def _covered(
    thresholds: npt.NDArray[np.float64], *, confidence: npt.NDArray[np.float64], correct: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the number covered at each threshold, and of errors among them."""
    order = np.argsort(confidence, kind="stable")
    below = np.searchsorted(confidence[order], thresholds, side="left")
    errors_below = np.concatenate([[0], np.cumsum(~correct[order])])[below]
    return (confidence.size - below).astype(np.int64), (int((~correct).sum()) - errors_below).astype(np.int64)
