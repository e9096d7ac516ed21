"""How good predictions are: every number that a run reports of itself.

All are means over images. How sure such a number is depends on the groups behind the images: see
`bloodcell.evaluation.intervals`.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn import metrics as sk

from bloodcell.evaluation.calibration import calibration_bins, expected_calibration_error
from bloodcell.evaluation.probabilities import checked_labels, checked_probabilities, predicted_classes
from bloodcell.evaluation.scores import SCORES

# `keras.config.epsilon()`, to which Keras clips the probabilities that its cross-entropy is given.
KERAS_EPSILON = 1e-7

LESS_IS_BETTER = ("loss", "ece", "calibration_error")
"""Of the figures that are no score of `bloodcell.evaluation.scores.SCORES`."""


def direction(figure: str) -> str:
    """Say whether of a figure, such as ``val/accuracy``, more is better, ``max``, or less, ``min``."""
    name = figure.rpartition("/")[2]
    less_is_better = not SCORES[name].greater_is_better if name in SCORES else name in LESS_IS_BETTER
    return "min" if less_is_better else "max"


def evaluate(
    *,
    labels: npt.ArrayLike,
    probabilities: npt.NDArray[np.floating],
    classes: Sequence[str],
    label_smoothing: float = 0.0,
) -> dict[str, float]:
    """Measure class probabilities against the truth.

    The predicted class is the most probable one, of equally probable ones the first.

    Parameters
    ----------
    labels
        Shape (n,), integers in 0..k-1, the true classes; n is at least 1.
    probabilities
        Shape (n, k), each row a distribution over the classes; k is at least 2.
    classes
        The k class names.
    label_smoothing
        In 0..1, as the model was trained with; only ``loss`` knows of it.

    Returns
    -------
    dict
        In this order:

        - ``loss``: the categorical cross-entropy of training, see `training_loss`;
        - ``accuracy``: in 0..1;
        - ``balanced_accuracy``: mean recall over the classes that occur in the labels, in 0..1;
        - ``macro_f1``: mean F1 over the classes that occur in the labels or predictions, in 0..1;
        - ``auroc``: one-vs-rest area under the ROC curve, the mean over the classes that have both positives and
          negatives, in 0..1; NaN when none has;
        - ``cohen_kappa``: agreement beyond chance (Cohen 1960), in -1..1; NaN when labels and predictions are all one
          class;
        - ``log_loss``: mean natural logarithm of 1 over the true class's probability, at least 0;
        - ``brier``: mean over images of the sum over classes of squared differences, in 0..2 (Brier 1950), for two
          classes too;
        - ``ece``: expected calibration error of the predicted class in 15 bins, in 0..1 (Guo et al. 2017), which chance
          makes too large: see `bloodcell.evaluation.calibration.calibration_errors`, which knows groups;
        - what else is in `bloodcell.evaluation.scores.SCORES`, by its name.

    Raises
    ------
    ValueError
        When there is no image or less than two classes, or the labels, probabilities or smoothing are out of range.
    """
    truth, checked = _checked(labels=labels, probabilities=probabilities, classes=classes)
    predicted = predicted_classes(checked)
    # Single precision sums to 1 only nearly; what is a function of a distribution is given one.
    distribution = checked.astype(np.float64) / checked.sum(axis=1, keepdims=True, dtype=np.float64)
    indices = list(range(len(classes)))
    present = np.unique(truth)
    one_class = np.union1d(truth, predicted).size == 1
    figures = {
        "loss": training_loss(
            labels=truth, probabilities=checked, n_classes=len(classes), label_smoothing=label_smoothing
        ),
        "accuracy": float(sk.accuracy_score(truth, predicted)),
        # `balanced_accuracy_score` is this, and warns of each class that was predicted but never occurs.
        "balanced_accuracy": float(
            sk.recall_score(truth, predicted, labels=present, average="macro", zero_division=0.0)
        ),
        "macro_f1": float(sk.f1_score(truth, predicted, average="macro", zero_division=0.0)),
        "auroc": _mean_of_defined(_one_vs_rest_auroc(labels=truth, probabilities=checked)),
        "cohen_kappa": float("nan") if one_class else float(sk.cohen_kappa_score(truth, predicted)),
        "log_loss": float(sk.log_loss(truth, distribution, labels=indices)),
        "brier": float(sk.brier_score_loss(truth, distribution, labels=indices, scale_by_half=False)),
        "ece": expected_calibration_error(calibration_bins(labels=truth, probabilities=checked)),
    }
    others = {name: score.function(truth, distribution) for name, score in SCORES.items() if name not in figures}
    return figures | others


def training_loss(
    *, labels: npt.ArrayLike, probabilities: npt.NDArray[np.floating], n_classes: int, label_smoothing: float = 0.0
) -> float:
    """Return the categorical cross-entropy as `keras.losses.CategoricalCrossentropy` computes it from probabilities.

    Each row is divided by its sum and clipped to 1e-7..1-1e-7; a smoothing s turns the one-hot truth y into
    y (1 - s) + s / k (Szegedy et al., "Rethinking the Inception Architecture", 2016, section 7). Where Keras finds
    the logits of a softmax it uses them instead of clipping, so the two differ for probabilities below 1e-7.

    Parameters
    ----------
    labels
        Shape (n,), integers in 0..k-1.
    probabilities
        Shape (n, k), each row a distribution over the classes.
    n_classes
        k.
    label_smoothing
        In 0..1.

    Returns
    -------
    float
        The mean over the images, at least 0.

    Raises
    ------
    ValueError
        When the labels, probabilities or smoothing are out of range.
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing must be within 0..1, got {label_smoothing}")
    truth = checked_labels(labels, n_classes=n_classes)
    checked = checked_probabilities(probabilities, n_images=truth.size, n_classes=n_classes).astype(np.float64)
    clipped = np.clip(checked / checked.sum(axis=1, keepdims=True), KERAS_EPSILON, 1 - KERAS_EPSILON)
    target = np.eye(n_classes)[truth] * (1 - label_smoothing) + label_smoothing / n_classes
    return float(-(target * np.log(clipped)).sum(axis=1).mean())


def per_class(
    *, labels: npt.ArrayLike, probabilities: npt.NDArray[np.floating], classes: Sequence[str]
) -> pd.DataFrame:
    """Measure each class by itself.

    Parameters
    ----------
    labels
        Shape (n,), integers in 0..k-1, the true classes; n is at least 1.
    probabilities
        Shape (n, k), each row a distribution over the classes; k is at least 2.
    classes
        The k class names.

    Returns
    -------
    pandas.DataFrame
        One row per class, in their order: ``class`` (str), ``precision, recall, f1, auroc`` (float64 in 0..1; NaN
        where undefined: precision of a class never predicted, recall of one that never occurs, F1 of one that neither
        occurs nor is predicted, AUROC without positives or negatives) and ``images`` (int64, how many have the class).

    Raises
    ------
    ValueError
        When there is no image or less than two classes, or the labels or probabilities are none.
    """
    truth, checked = _checked(labels=labels, probabilities=probabilities, classes=classes)
    precision, recall, f1, images = sk.precision_recall_fscore_support(
        truth, predicted_classes(checked), labels=list(range(len(classes))), zero_division=np.nan
    )
    return pd.DataFrame(
        {
            "class": list(classes),
            "precision": precision,
            "recall": recall,
            "f1": f1,
            "auroc": _one_vs_rest_auroc(labels=truth, probabilities=checked),
            "images": images.astype(np.int64),
        }
    )


def classification_report_text(
    *, labels: npt.ArrayLike, probabilities: npt.NDArray[np.floating], classes: Sequence[str]
) -> str:
    """Return scikit-learn's classification report: precision, recall and F1 by class and their means.

    What is undefined stands there as nan and is left out of the means, so that the macro averages of recall and F1 are
    the ``balanced_accuracy`` and ``macro_f1`` of `evaluate`.

    Parameters
    ----------
    labels
        Shape (n,), integers in 0..k-1, the true classes; n is at least 1.
    probabilities
        Shape (n, k), each row a distribution over the classes; k is at least 2.
    classes
        The k class names.

    Returns
    -------
    str
        Several lines, for a fixed-width font.

    Raises
    ------
    ValueError
        When there is no image or less than two classes, or the labels or probabilities are none.
    """
    truth, checked = _checked(labels=labels, probabilities=probabilities, classes=classes)
    return str(
        sk.classification_report(
            truth,
            predicted_classes(checked),
            labels=list(range(len(classes))),
            target_names=list(classes),
            digits=4,
            zero_division=np.nan,
        )
    )


def confusion(
    *, labels: npt.ArrayLike, probabilities: npt.NDArray[np.floating], classes: Sequence[str]
) -> npt.NDArray[np.int64]:
    """Count the images by true and predicted class.

    Parameters
    ----------
    labels
        Shape (n,), integers in 0..k-1, the true classes; n is at least 1.
    probabilities
        Shape (n, k), each row a distribution over the classes; k is at least 2.
    classes
        The k class names.

    Returns
    -------
    numpy.ndarray
        Shape (k, k), int64: rows are true classes, columns predicted ones.

    Raises
    ------
    ValueError
        When there is no image or less than two classes, or the labels or probabilities are none.
    """
    truth, checked = _checked(labels=labels, probabilities=probabilities, classes=classes)
    matrix = sk.confusion_matrix(truth, predicted_classes(checked), labels=list(range(len(classes))))
    return np.asarray(matrix, dtype=np.int64)


def _checked(
    *, labels: npt.ArrayLike, probabilities: npt.NDArray[np.floating], classes: Sequence[str]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.floating]]:
    if len(classes) < 2:
        raise ValueError(f"at least two classes are needed, got {list(classes)}")
    truth = checked_labels(labels, n_classes=len(classes))
    if not truth.size:
        raise ValueError("there is no image to evaluate")
    return truth, checked_probabilities(probabilities, n_images=truth.size, n_classes=len(classes))


def _one_vs_rest_auroc(
    *, labels: npt.NDArray[np.int64], probabilities: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """Return each class's area under the ROC curve against all others, shape (k,), NaN where it is undefined."""
    positives = np.bincount(labels, minlength=probabilities.shape[1])
    return np.array(
        [
            sk.roc_auc_score(labels == index, probabilities[:, index]) if 0 < count < labels.size else np.nan
            for index, count in enumerate(positives)
        ],
        dtype=np.float64,
    )


def _mean_of_defined(values: npt.NDArray[np.float64]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")
