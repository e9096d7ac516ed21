"""What a split's predictions look like: figures, reports and pictures in a folder."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bloodcell.evaluation.abstaining import risk_coverage, threshold_for_error
from bloodcell.evaluation.baselines import majority_probabilities
from bloodcell.evaluation.calibration import CalibrationErrors, calibration_bins, calibration_errors
from bloodcell.evaluation.metrics import classification_report_text, confusion, evaluate, per_class
from bloodcell.evaluation.photographs import group_figures, one_photograph_of_each_group, photograph_figures
from bloodcell.evaluation.predictions import label_indices, most_confident_errors, predictions_table, probabilities_of
from bloodcell.evaluation.temperature import cross_calibrated, fit_temperature, with_temperature
from bloodcell.plots.confidence import reliability, risk_against_coverage
from bloodcell.plots.drawing import Pictures
from bloodcell.plots.gallery import error_gallery
from bloodcell.plots.training import confusion_matrix, per_class_bars

N_ERRORS = 16
CALIBRATED = ("log_loss", "brier", "ece")
"""Metrics that a temperature changes, beside those of `calibration_figures`."""
MAX_ERROR = 0.05
"""The share of wrong answers whose threshold is marked in pictures."""


def evaluate_table(table: pd.DataFrame, *, classes: Sequence[str], label_smoothing: float) -> dict[str, float]:
    """Return all metrics of a predictions table: by image, by photograph and as the mean of groups.

    See `bloodcell.evaluation.metrics.evaluate`, `calibration_figures`, and `photograph_figures` and `group_figures` of
    `bloodcell.evaluation.photographs`.
    """
    labels, probabilities = label_indices(table, classes), probabilities_of(table, classes)
    by_image = evaluate(labels=labels, probabilities=probabilities, classes=classes, label_smoothing=label_smoothing)
    errors = calibration_errors(labels=labels, probabilities=probabilities, groups=table["group"])
    by_photograph, by_group = (each(table, classes=classes) for each in (photograph_figures, group_figures))
    return by_image | calibration_figures(errors) | by_photograph | by_group


def calibration_figures(errors: CalibrationErrors) -> dict[str, float]:
    """Return as metrics what stands beside ``ece``: ``ece_by_chance``, and ``calibration_error``, debiased."""
    return {"ece_by_chance": errors.by_chance, "calibration_error": errors.debiased}


def evaluate_majority(
    table: pd.DataFrame, *, training: pd.DataFrame, classes: Sequence[str], label_smoothing: float
) -> dict[str, float]:
    """Return the metrics that the class frequencies in training would have had on the same images.

    By image it is the frequency among images that counts, by photograph that among photographs, and for the mean of
    groups that among groups.
    """

    def frequencies(labels: NDArray[np.int64]) -> pd.DataFrame:
        told = majority_probabilities(training_labels=labels, n_classes=len(classes), n_images=len(table))
        return predictions_table(manifest=table, probabilities=told, classes=classes)

    def of_level(level: str) -> pd.DataFrame:
        """Return what would be said if each photograph or group counted once in each of its classes."""
        return frequencies(label_indices(training.drop_duplicates([level, "label"]), classes))

    of_images = frequencies(label_indices(training, classes))
    by_image = evaluate_table(of_images, classes=classes, label_smoothing=label_smoothing)
    by_photograph = photograph_figures(of_level("source"), classes=classes)
    return by_image | by_photograph | group_figures(of_level("group"), classes=classes)


def temperature_of(table: pd.DataFrame, *, classes: Sequence[str]) -> float:
    """Return the temperature that suits a table's predictions; see `bloodcell.evaluation.temperature`."""
    labels, probabilities = label_indices(table, classes), probabilities_of(table, classes)
    return fit_temperature(labels=labels, probabilities=probabilities, groups=table["group"])


def calibrated_probabilities(
    table: pd.DataFrame, *, classes: Sequence[str], temperature: float, fitted_to: bool
) -> NDArray[np.float64]:
    """Return a predictions table's probabilities at a temperature, shape (n, k).

    Parameters
    ----------
    table
        A split's predictions.
    classes
        The class names, in order.
    temperature
        As was fitted to validation.
    fitted_to
        Whether this is the split that it was fitted to: then each photograph's is fitted to the others, or these would
        be figures of how well it fits.
    """
    labels, probabilities = label_indices(table, classes), probabilities_of(table, classes)
    if fitted_to:
        return cross_calibrated(labels=labels, probabilities=probabilities, groups=table["group"])
    return with_temperature(probabilities, temperature)


def evaluate_calibrated(
    table: pd.DataFrame, *, classes: Sequence[str], calibrated: NDArray[np.float64]
) -> dict[str, float]:
    """Return those metrics of a predictions table that a temperature changes; see `calibrated_probabilities`."""
    labels = label_indices(table, classes)
    figures = evaluate(labels=labels, probabilities=calibrated, classes=classes)
    errors = calibration_errors(labels=labels, probabilities=calibrated, groups=table["group"])
    return {name: figures[name] for name in CALIBRATED} | calibration_figures(errors)


def draw_confidence(
    table: pd.DataFrame,
    *,
    classes: Sequence[str],
    name: str,
    temperature: float,
    fitted_to: bool,
    calibrated: NDArray[np.float64],
    pictures: Pictures,
) -> None:
    """Have it drawn how far a model's confidence can be relied on.

    Parameters
    ----------
    table
        A split's predictions.
    classes
        The class names, in order.
    name
        The split, for titles and file names.
    temperature, fitted_to, calibrated
        What `calibrated_probabilities` was given, and returned. A threshold is marked where it is fitted, too.
    pictures
        Draws the pictures.
    """
    labels, raw = label_indices(table, classes), probabilities_of(table, classes)
    both = (raw, calibrated)
    before, after = (calibration_bins(labels=labels, probabilities=each) for each in both)
    errors = tuple(calibration_errors(labels=labels, probabilities=each, groups=table["group"]) for each in both)
    pictures.draw(
        f"calibration_{name}",
        reliability,
        before,
        after,
        errors=errors,
        temperature=temperature,
        cross_fitted=fitted_to,
        title=f"Confidence on {name}",
    )
    threshold = None
    if fitted_to:
        independent = one_photograph_of_each_group(table)
        threshold = threshold_for_error(
            labels=label_indices(independent, classes),
            probabilities=with_temperature(probabilities_of(independent, classes), temperature),
            groups=independent["source"],
            max_error=MAX_ERROR,
        )
    title = f"Errors against answers on {name}"
    curve = risk_coverage(labels=labels, probabilities=with_temperature(raw, temperature), sources=table["source"])
    pictures.draw(f"risk_coverage_{name}", risk_against_coverage, curve, threshold=threshold, title=title)


def per_class_of(table: pd.DataFrame, *, classes: Sequence[str]) -> pd.DataFrame:
    """Return the per-class report of a predictions table; see `bloodcell.evaluation.metrics.per_class`."""
    labels, probabilities = label_indices(table, classes), probabilities_of(table, classes)
    return per_class(labels=labels, probabilities=probabilities, classes=classes)


def confusion_of(table: pd.DataFrame, *, classes: Sequence[str]) -> NDArray[np.int64]:
    """Return the confusion matrix of a predictions table; see `bloodcell.evaluation.metrics.confusion`."""
    labels, probabilities = label_indices(table, classes), probabilities_of(table, classes)
    return confusion(labels=labels, probabilities=probabilities, classes=classes)


def write_report(
    table: pd.DataFrame,
    *,
    classes: Sequence[str],
    name: str,
    folder: Path,
    pictures: Pictures,
    read: Callable[[str], NDArray[np.uint8]] | None,
) -> None:
    """Write a split's classification report and its pictures.

    Parameters
    ----------
    table
        The split's predictions.
    classes
        The class names, in order.
    name
        The split, for titles and file names.
    folder
        Where ``report/`` is made.
    pictures
        Draws the pictures.
    read
        From a path of the table to its pixels, (height, width, 3), uint8; None: the files are not there, so that no
        errors are shown.
    """
    labels, probabilities = label_indices(table, classes), probabilities_of(table, classes)
    report = classification_report_text(labels=labels, probabilities=probabilities, classes=classes)
    (folder / "report").mkdir(parents=True, exist_ok=True)
    (folder / "report" / f"{name}.txt").write_text(report, encoding="utf-8")
    counts = confusion_of(table, classes=classes)
    pictures.draw(f"confusion_{name}", confusion_matrix, counts, classes=tuple(classes), title=f"Confusion on {name}")
    pictures.draw(f"per_class_{name}", per_class_bars, per_class_of(table, classes=classes), title=f"Classes on {name}")
    if read is None:
        return
    # Of every photograph the worst copy only: the others would fill the gallery with the same cell.
    errors = most_confident_errors(table, classes, len(table)).drop_duplicates("source").head(N_ERRORS)
    images = [read(path) for path in errors["path"]]
    pictures.draw(f"errors_{name}", error_gallery, images, errors=errors, title=f"Most confident errors on {name}")
