"""When a model had better say nothing: errors against how much is answered, and a promise of few errors.

A model answers where its confidence, the probability of the class that it predicts, reaches a threshold. Risk is the
share of errors among what is answered, coverage the share that is answered (Geifman and El-Yaniv, "Selective
Classification for Deep Neural Networks", NeurIPS 2017).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit
from scipy.stats import beta

from bloodcell.evaluation.photographs import photographs_of
from bloodcell.evaluation.probabilities import checked_labels, checked_probabilities, predicted_classes

Unit = Literal["image", "photograph"]

GRID = (*(float(value) for value in expit(np.linspace(9.0, -2.0, 221))), 0.0)
"""Thresholds that are tried, from 0.9999 down, evenly spaced in their logits, and 0, which answers all.

They must be known before the predictions are, or what is promised for one of them would not hold.
"""

SPARE = 2
"""How many errors there may be among the first answers tried without the promise being lost.

Without any, one error among the most confident ends the search. In simulations of 277 photographs and an error of 5 %
the thresholds found answered 67 % with 0, 76 % with 1 and 79 % with 2 to spare, of what could be answered 80 %.
"""


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A confidence from which on answers are wrong rarely enough.

    Attributes
    ----------
    value
        To be answered is what has at least this confidence; 0 answers all.
    coverage
        The share of photographs that is answered, in 0..1.
    error
        The share of the answered ones that is wrong, in 0..1.
    upper_bound
        What the error of photographs not seen is at most, at the confidence asked for.
    answered, wrong, photographs
        How many photographs are answered, how many of those are wrong, and how many there are.
    max_error, confidence
        What was asked for.
    """

    value: float
    coverage: float
    error: float
    upper_bound: float
    answered: int
    wrong: int
    photographs: int
    max_error: float
    confidence: float


def risk_coverage(*, labels: npt.ArrayLike, probabilities: npt.ArrayLike, sources: npt.ArrayLike) -> pd.DataFrame:
    """Return risk and coverage at every threshold that changes one of them.

    Parameters
    ----------
    labels
        Shape (n,), integers, the true classes.
    probabilities
        Shape (n, k), each row a distribution over the classes.
    sources
        Shape (n,), the photograph of each image: strings or integers.

    Returns
    -------
    pandas.DataFrame
        One row per threshold, from the lowest, which answers all, to the highest: ``threshold, image_coverage,
        image_risk, photograph_coverage, photograph_risk`` (float64 in 0..1). A photograph's answer is the mean over its
        images, as `bloodcell.evaluation.photographs.by_photograph` takes it; a risk is NaN where nothing is answered.

    Raises
    ------
    ValueError
        When there is no image, the labels or probabilities are none, or there is not one photograph per image.
    """
    of_images = _images(labels, probabilities)
    of_photographs = _photographs(labels, probabilities, sources)
    thresholds = np.unique(np.concatenate([of_images[0], of_photographs[0]]))
    columns = {"threshold": thresholds}
    for unit, (confidence, wrong) in (("image", of_images), ("photograph", of_photographs)):
        answered, errors = _answered(thresholds, confidence=confidence, wrong=wrong)
        columns[f"{unit}_coverage"] = answered / confidence.size
        with np.errstate(invalid="ignore"):
            columns[f"{unit}_risk"] = errors / answered
    return pd.DataFrame(columns)


def area_under_risk_coverage(curve: pd.DataFrame, *, unit: Unit) -> float:
    """Return the mean risk over all coverages: lower where errors are where the model is least sure.

    Geifman, Uziel and El-Yaniv, "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers", ICLR 2019, section
    2: the mean of the risks of answering the 1, 2, ..., n most confident; equally confident ones are answered together.

    Parameters
    ----------
    curve
        The table that `risk_coverage` returns.
    unit
        What is counted.

    Returns
    -------
    float
        In 0..1.
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
    """Return the lowest threshold with which at most a given share of answers is wrong, if that can be promised.

    The promise is about photographs not seen: with a probability of `confidence` over the photographs that the
    threshold is chosen on, the share of errors among those that it answers is at most `max_error`. It supposes that
    new photographs are drawn like these, by the same people with the same stain, microscope and camera, and that the
    model was not trained on these.

    At one threshold the errors among the answered are binomial, so the exact upper bound of Clopper and Pearson (1934)
    holds. To choose among thresholds, they are tested one after another from the highest, each at the full level, up to
    the first whose bound is above `max_error` (fixed-sequence testing: Angelopoulos, Bates, Candes, Jordan and Lei,
    "Learn then Test", 2021, section 2.3; the purpose is that of algorithm 1 of Geifman and El-Yaniv 2017). The first
    one tested is the highest that answers enough photographs for any promise, `SPARE` errors included where there are
    so many. That depends on how many are answered and not on which are wrong, and keeps the level as long as the more
    confident answers are not the more often wrong ones.

    Parameters
    ----------
    labels
        Shape (n,), integers, the true classes.
    probabilities
        Shape (n, k), each row a distribution over the classes, of a model that was not trained on these images.
    groups
        Shape (n,), the photograph of each image: strings or integers. The promise is for photographs that are shown as
        all of their images at once; for single images it takes one of each photograph.
    max_error
        The share of errors among answered photographs that is allowed, above 0 and below 1.
    confidence
        How sure the promise is, above 0 and below 1.
    grid
        Thresholds from the highest to the lowest, not chosen by these predictions.

    Returns
    -------
    Threshold or None
        None where the promise cannot be made: too many errors among the confident answers, or too few photographs (59
        without any error for 5 % at a confidence of 95 %).

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
    sure, wrong = _photographs(labels, probabilities, groups)
    answered, errors = _answered(thresholds, confidence=sure, wrong=wrong)
    holds = upper_bound(errors=errors, answered=answered, confidence=confidence) <= max_error
    start = _start(answered, max_error=max_error, confidence=confidence)
    if start is None or not holds[start]:
        return None
    last = start + int(np.argmin(np.append(holds[start:], False))) - 1
    return Threshold(
        value=float(thresholds[last]),
        coverage=float(answered[last] / sure.size),
        error=float(errors[last] / answered[last]),
        upper_bound=float(upper_bound(errors=errors[last], answered=answered[last], confidence=confidence)),
        answered=int(answered[last]),
        wrong=int(errors[last]),
        photographs=sure.size,
        max_error=max_error,
        confidence=confidence,
    )


def upper_bound(*, errors: npt.ArrayLike, answered: npt.ArrayLike, confidence: float) -> npt.NDArray[np.float64]:
    """Return what a share of errors is at most: the exact one-sided bound of Clopper and Pearson (1934).

    Parameters
    ----------
    errors, answered
        Counts of any one shape, 0 <= errors <= answered.
    confidence
        How sure the bound is, in 0..1.

    Returns
    -------
    numpy.ndarray
        The same shape, float64 in 0..1; 1 where none is right, as where nothing is answered.
    """
    wrong, total = np.asarray(errors), np.asarray(answered)
    right = total - wrong
    return np.where(right > 0, beta.ppf(confidence, wrong + 1, np.maximum(right, 1)), 1.0)


def _start(answered: npt.NDArray[np.int64], *, max_error: float, confidence: float) -> int | None:
    """Return the first threshold that answers enough for a promise despite `SPARE` errors, or else despite fewer."""
    for spare in range(SPARE, -1, -1):
        enough = upper_bound(errors=np.minimum(spare, answered), answered=answered, confidence=confidence) <= max_error
        if enough.any():
            return int(enough.argmax())
    return None


def _images(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return how confident the model is of each image, and whether it is wrong."""
    n_classes = np.asarray(probabilities).shape[-1]
    truth = checked_labels(labels, n_classes=n_classes)
    checked = checked_probabilities(probabilities, n_images=truth.size, n_classes=n_classes)
    return checked.max(axis=1).astype(np.float64), predicted_classes(checked) != truth


def _photographs(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, sources: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return how confident the model is of each photograph, and whether it is wrong."""
    photographs = photographs_of(labels=labels, probabilities=probabilities, sources=sources)
    return _images(photographs.labels, photographs.probabilities)


def _answered(
    thresholds: npt.NDArray[np.float64], *, confidence: npt.NDArray[np.float64], wrong: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return how many are answered at each threshold, and how many of those are wrong."""
    order = np.argsort(confidence, kind="stable")
    below = np.searchsorted(confidence[order], thresholds, side="left")
    errors_below = np.concatenate([[0], np.cumsum(wrong[order])])[below]
    return (confidence.size - below).astype(np.int64), (int(wrong.sum()) - errors_below).astype(np.int64)
