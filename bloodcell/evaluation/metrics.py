"""The metrics of a run's predictions, by image; for their intervals see `bloodcell.evaluation.intervals`."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn import metrics as sk

from bloodcell.evaluation.calibration import calibration_bins, expected_calibration_error
from bloodcell.evaluation.probabilities import checked_labels, checked_probabilities, predicted_classes
from bloodcell.evaluation.ranks import auroc_by_column
from bloodcell.evaluation.scores import SCORES

# `keras.config.epsilon()`, to which Keras's cross-entropy clips probabilities.
KERAS_EPSILON = 1e-7

LOWER_IS_BETTER = ("loss", "ece", "calibration_error")
"""Metrics, besides `bloodcell.evaluation.scores.SCORES`, that are better if smaller."""


def direction(metric: str) -> str:
    """Return ``max`` if larger values of a metric are better, else ``min``."""
    name = metric.rpartition("/")[2]
    lower_is_better = not SCORES[name].greater_is_better if name in SCORES else name in LOWER_IS_BETTER
    return "min" if lower_is_better else "max"


def evaluate(
    *,
    labels: npt.ArrayLike,
    probabilities: npt.NDArray[np.floating],
    classes: Sequence[str],
    label_smoothing: float = 0.0,
) -> dict[str, float]:
    """Compute the metrics of class probabilities.

    The predicted class is the most probable one; of equally probable ones, the first.

    Parameters
    ----------
    labels
        Shape (n,), integers in 0..k-1, the true classes; n is at least 1.
    probabilities
        Shape (n, k), each row a distribution over the classes; k is at least 2.
    classes
        The k class names.
    label_smoothing
        In 0..1, as in training; used by ``loss`` only.

    Returns
    -------
    dict
        - ``loss``: the cross-entropy of training, as `keras.losses.CategoricalCrossentropy` computes it;
        - ``accuracy``: in 0..1;
        - ``balanced_accuracy``: mean recall over the classes that occur in the labels, in 0..1;
        - ``macro_f1``: mean F1 over the classes that occur in the labels or predictions, in 0..1;
        - ``log_loss``: mean natural logarithm of 1 over the true class's probability, at least 0;
        - ``brier``: mean over images of the sum over classes of squared differences, in 0..2 (Brier 1950), for two
          classes too;
        - ``auroc``: one-vs-rest area under the ROC curve, the mean over the classes that have both positives and
          negatives, in 0..1; NaN if none has;
        - any other score of `bloodcell.evaluation.scores.SCORES`, by its name;
        - ``cohen_kappa``: agreement beyond chance (Cohen 1960), in -1..1; NaN if labels and predictions are all one
          class;
        - ``ece``: expected calibration error of the predicted class in 15 bins, in 0..1 (Guo et al. 2017). It is biased
          upwards: see `bloodcell.evaluation.calibration.calibration_errors`.

    Raises
    ------
    ValueError
        When there is no image or less than two classes, or the labels, probabilities or smoothing are out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from bloodcell.evaluation.metrics import evaluate
    >>> probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])
    >>> metrics = evaluate(labels=[0, 1, 1, 1], probabilities=probabilities, classes=["x", "y"])
    >>> round(metrics["accuracy"], 3), round(metrics["balanced_accuracy"], 3)
    (0.75, 0.833)
    """
    truth, checked = _checked(labels=labels, probabilities=probabilities, classes=classes)
    predicted = predicted_classes(checked)
    # Single precision sums to 1 only nearly.
    distribution = checked.astype(np.float64) / checked.sum(axis=1, keepdims=True, dtype=np.float64)
    one_class = np.union1d(truth, predicted).size == 1
    # Dividing by the sum could break or make ties, which AUROC counts.
    scores = {
        name: score.function(truth, checked.astype(np.float64) if name == "auroc" else distribution)
        for name, score in SCORES.items()
    }
    return {
        "loss": _training_loss(truth, checked, label_smoothing=label_smoothing),
        **scores,
        "cohen_kappa": float("nan") if one_class else float(sk.cohen_kappa_score(truth, predicted)),
        "ece": expected_calibration_error(calibration_bins(labels=truth, probabilities=checked)),
    }


def per_class(
    *, labels: npt.ArrayLike, probabilities: npt.NDArray[np.floating], classes: Sequence[str]
) -> pd.DataFrame:
    """Compute the metrics of each class; arguments and errors are those of `evaluate`.

    Returns
    -------
    pandas.DataFrame
        One row per class, in their order: ``class`` (str), ``precision, recall, f1, auroc`` (float64 in 0..1; NaN
        where undefined: precision of a class never predicted, recall of one that never occurs, F1 of one that neither
        occurs nor is predicted, AUROC without positives or negatives) and ``images`` (int64, their number).
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
            "auroc": auroc_by_column(checked, truth[:, None] == np.arange(len(classes))),
            "images": images.astype(np.int64),
        }
    )


def classification_report_text(
    *, labels: npt.ArrayLike, probabilities: npt.NDArray[np.floating], classes: Sequence[str]
) -> str:
    """Return scikit-learn's classification report, several lines for a fixed-width font.

    Undefined values are nan and left out of the means, so the macro averages of recall and F1 are the
    ``balanced_accuracy`` and ``macro_f1`` of `evaluate`, whose arguments and errors it has.
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

    True classes are in rows, predicted ones in columns: shape (k, k), int64. Arguments and errors are those of
    `evaluate`.

    Examples
    --------
    >>> import numpy as np
    >>> from bloodcell.evaluation.metrics import confusion
    >>> probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])
    >>> confusion(labels=[0, 1, 1, 1], probabilities=probabilities, classes=["x", "y"]).tolist()
    [[1, 0], [1, 2]]
    """
    truth, checked = _checked(labels=labels, probabilities=probabilities, classes=classes)
    matrix = sk.confusion_matrix(truth, predicted_classes(checked), labels=list(range(len(classes))))
    return np.asarray(matrix, dtype=np.int64)


def _training_loss(
    labels: npt.NDArray[np.int64], probabilities: npt.NDArray[np.floating], *, label_smoothing: float
) -> float:
    """Return the cross-entropy as `keras.losses.CategoricalCrossentropy` computes it.

    Each row is divided by its sum and clipped to 1e-7..1-1e-7; a smoothing s turns the one-hot truth y into
    y (1 - s) + s / k (Szegedy et al., "Rethinking the Inception Architecture", 2016, section 7). Where Keras finds
    the logits of a softmax it uses them instead of clipping, so the two differ for probabilities below 1e-7.
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing must be within 0..1, got {label_smoothing}")
    values = probabilities.astype(np.float64)
    clipped = np.clip(values / values.sum(axis=1, keepdims=True), KERAS_EPSILON, 1 - KERAS_EPSILON)
    n_classes = values.shape[1]
    target = np.eye(n_classes)[labels] * (1 - label_smoothing) + label_smoothing / n_classes
    return float(-(target * np.log(clipped)).sum(axis=1).mean())


def _checked(
    *, labels: npt.ArrayLike, probabilities: npt.NDArray[np.floating], classes: Sequence[str]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.floating]]:
    if len(classes) < 2:
        raise ValueError(f"at least two classes are needed, got {list(classes)}")
    truth = checked_labels(labels, n_classes=len(classes))
    if not truth.size:
        raise ValueError("there is no image to evaluate")
    return truth, checked_probabilities(probabilities, n_images=truth.size, n_classes=len(classes))
