"""One number that makes a model as sure as it is right: its temperature.

Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, section 4.2: logits are
divided by T > 0, which changes how sure a model is and never what it predicts. A logit is known up to what is added to
all of an image's, so the logarithm of a probability is one.
"""

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from bloodcell.evaluation.folds import photograph_parts
from bloodcell.evaluation.photographs import photographs_of
from bloodcell.evaluation.probabilities import checked_labels, checked_probabilities

TEMPERATURES = (0.2, 20.0)
"""What a temperature may be. Predictions that are all right would be best at 0, and such as are all wrong at infinity;
0.2 makes 88 % of 60 %, so that a lack of errors among a few hundred photographs is not taken for certainty."""

LEAST_PROBABILITY = float(np.finfo(np.float32).tiny)
"""Taken for 0, whose logarithm is not finite: the least that single precision has with all its digits."""

TOLERANCE = 1e-5
"""Of the temperature's logarithm."""

PARTS = 5
"""Into which photographs are put to measure a temperature on others than it was fitted to."""


def fit_temperature(*, labels: npt.ArrayLike, probabilities: npt.ArrayLike, groups: npt.ArrayLike) -> float:
    """Return the temperature with the lowest log loss, each photograph counting once.

    An image weighs one over the number of its photograph's images. The log loss is convex in 1 / T (a log-sum-exp of
    linear functions), so it has one lowest point, which a bounded search over log T finds (Brent 1973).

    To be fitted on images that the model was not trained on: out-of-fold predictions, or those of validation.

    Parameters
    ----------
    labels
        Shape (n,), integers, the true classes.
    probabilities
        Shape (n, k), each row a distribution over the classes; zeros are allowed.
    groups
        Shape (n,), the photograph of each image: strings or integers.

    Returns
    -------
    float
        Within `TEMPERATURES`; above 1 where the model is too sure, below 1 where it is not sure enough.

    Raises
    ------
    ValueError
        When there is no image, the labels or probabilities are none, or there is not one group per image.
    """
    photographs = photographs_of(labels=labels, probabilities=probabilities, sources=groups)
    n_classes = photographs.probabilities.shape[1]
    truth = checked_labels(labels, n_classes=n_classes)
    logits = _logits(checked_probabilities(probabilities, n_images=truth.size, n_classes=n_classes))
    weights = 1 / photographs.images[photographs.index]
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
    """Return each image's probabilities at the temperature that suits the other photographs' images.

    What `fit_temperature` returns was fitted to the labels of these images, so that it would be measured on them too
    well.

    Parameters
    ----------
    labels, probabilities, groups
        As of `fit_temperature`.

    Returns
    -------
    numpy.ndarray
        Shape (n, k), float64; photographs are in `PARTS` parts, each with a temperature fitted to the others. Of a
        single photograph as they are.

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
    for part in photograph_parts(labels=truth, groups=names, n_parts=PARTS, seed=0):
        others = np.setdiff1d(np.arange(truth.size), part)
        temperature = fit_temperature(labels=truth[others], probabilities=given[others], groups=names[others])
        calibrated[part] = with_temperature(given[part], temperature)
    return calibrated


def with_temperature(probabilities: npt.ArrayLike, temperature: float) -> npt.NDArray[np.float64]:
    """Return probabilities at another temperature: p to the power of 1 / T, scaled to sum to 1.

    Parameters
    ----------
    probabilities
        Shape (n, k), each row a distribution over the classes; zeros are allowed.
    temperature
        Above 0; 1 leaves all as it is.

    Returns
    -------
    numpy.ndarray
        Shape (n, k), float64, each row a distribution whose classes have the same order.

    Raises
    ------
    ValueError
        When the temperature is not above 0 and finite, or the probabilities are none.
    """
    if not (np.isfinite(temperature) and temperature > 0):
        raise ValueError(f"a temperature must be above 0 and finite, got {temperature}")
    array = np.asarray(probabilities)
    if array.ndim != 2:
        raise ValueError(f"probabilities must have the shape (n, k), got {array.shape}")
    checked = checked_probabilities(array, n_images=array.shape[0], n_classes=array.shape[1])
    return np.asarray(softmax(_logits(checked) / temperature, axis=1), dtype=np.float64)


def _logits(probabilities: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    return np.asarray(np.log(np.maximum(probabilities.astype(np.float64), LEAST_PROBABILITY)))
