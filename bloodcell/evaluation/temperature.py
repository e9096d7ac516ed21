"""Temperature scaling: one number that calibrates a model.

Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, section 4.2: logits are
divided by T > 0, which changes the confidence, not the predicted class. Logits are defined up to a constant per image,
so log probabilities serve as logits.
"""

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from bloodcell.data.sampling import equal_source_weights
from bloodcell.evaluation.folds import group_folds
from bloodcell.evaluation.probabilities import checked_labels, checked_predictions, checked_probabilities

TEMPERATURES = (0.2, 20.0)
"""Bounds of the temperature. Predictions without errors would fit 0, without successes infinity. 0.2 turns 60 % into
88 %, so a few hundred sources without errors do not become certain."""

MIN_PROBABILITY = float(np.finfo(np.float32).tiny)
"""Replaces 0, whose logarithm is not finite: the smallest normal number in single precision."""

TOLERANCE = 1e-5
"""Of the temperature's logarithm."""

N_FOLDS = 5
"""Folds of groups for `cross_calibrated`."""


def fit_temperature(*, labels: npt.ArrayLike, probabilities: npt.ArrayLike, groups: npt.ArrayLike) -> float:
    """Fit the temperature with the lowest log loss, each group weighing the same.

    An image weighs one over the number of its group's images. The log loss is convex in 1 / T (a log-sum-exp of
    linear functions), so a bounded search over log T finds its minimum (Brent 1973).

    Fit it to images that the model was not trained on: out-of-fold predictions, or those of validation.

    Parameters
    ----------
    labels, probabilities
        Shape (n,), integers, the true classes; shape (n, k), each row a distribution over the classes with or without
        zeros.
    groups
        Shape (n,), the group of each image: strings or integers.

    Returns
    -------
    float
        Within `TEMPERATURES`; above 1 for an overconfident model, below 1 for an underconfident one.

    Raises
    ------
    ValueError
        When there is no image, the labels or probabilities are invalid, or there is not one group per image.
    """
    truth, checked = checked_predictions(labels, probabilities, groups=groups)
    logits, weights = _logits(checked), equal_source_weights(np.asarray(groups))
    rows = np.arange(truth.size)

    def log_loss(log_temperature: float) -> float:
        log_probabilities = log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-np.average(log_probabilities[rows, truth], weights=weights))

    low, high = np.log(TEMPERATURES)
    found = minimize_scalar(log_loss, bounds=(low, high), method="bounded", options={"xatol": TOLERANCE})
    return float(np.exp(found.x))


def cross_calibrated(
    *, labels: npt.ArrayLike, probabilities: npt.ArrayLike, groups: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    """Return each image's probabilities at a temperature fitted to other groups.

    On the images that a temperature was fitted to, calibration is optimistic.

    Parameters
    ----------
    labels, probabilities, groups
        As for `fit_temperature`.

    Returns
    -------
    numpy.ndarray
        Shape (n, k), float64; groups are in `N_FOLDS` folds, each with a temperature fitted to the others. A single
        group is returned unchanged.

    Raises
    ------
    ValueError
        As `fit_temperature`.
    """
    given, names = np.asarray(probabilities, np.float64), np.asarray(groups)
    if np.unique(names).size < 2:
        return given
    truth = checked_labels(labels, n_classes=given.shape[1])
    calibrated = np.empty_like(given)
    for fold in group_folds(labels=truth, groups=names, n_folds=N_FOLDS, seed=0):
        others = np.setdiff1d(np.arange(truth.size), fold)
        temperature = fit_temperature(labels=truth[others], probabilities=given[others], groups=names[others])
        calibrated[fold] = with_temperature(given[fold], temperature)
    return calibrated


def with_temperature(probabilities: npt.ArrayLike, temperature: float) -> npt.NDArray[np.float64]:
    """Return probabilities at a temperature: p to the power of 1 / T, normalised.

    Probabilities, shape (n, k), may have zeros; the result is float64, and its classes have the same order. A
    temperature is above 0; 1 changes nothing.

    Raises
    ------
    ValueError
        When the temperature is not above 0 and finite, or the probabilities are invalid.
    """
    if not (np.isfinite(temperature) and temperature > 0):
        raise ValueError(f"a temperature must be above 0 and finite, got {temperature}")
    array = np.asarray(probabilities)
    if array.ndim != 2:
        raise ValueError(f"probabilities must have the shape (n, k), got {array.shape}")
    checked = checked_probabilities(array, n_images=array.shape[0], n_classes=array.shape[1])
    return np.asarray(softmax(_logits(checked) / temperature, axis=1), dtype=np.float64)


def _logits(probabilities: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    return np.asarray(np.log(np.maximum(probabilities.astype(np.float64), MIN_PROBABILITY)))
