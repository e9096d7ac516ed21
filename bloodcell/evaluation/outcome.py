"""The evaluation of a training: its predictions, metrics with intervals, and the baseline on the same images."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bloodcell.data.leaks import Leakage
from bloodcell.evaluation import intervals
from bloodcell.evaluation.baselines import majority_probabilities
from bloodcell.evaluation.calibration import CalibrationErrors, calibration_errors
from bloodcell.evaluation.evidence import BELOW_BASELINE, FEW_GROUPS, of_leakage, ordered
from bloodcell.evaluation.intervals import accuracy_intervals, class_intervals, effective_number
from bloodcell.evaluation.metrics import confusion, evaluate, per_class
from bloodcell.evaluation.predictions import arrays_of, label_indices, predictions_table
from bloodcell.evaluation.probabilities import predicted_classes
from bloodcell.evaluation.sources import group_metrics, source_metrics
from bloodcell.evaluation.temperature import cross_calibrated, fit_temperature, with_temperature

FOLD_MEAN, FOLD_STD = "accuracy_fold_mean", "accuracy_fold_std"
FITTED_TO = "val"
"""The split that the temperature is fitted to."""
CALIBRATED = ("log_loss", "brier", "ece")
"""Metrics that a temperature changes, besides those of `calibration_metrics`."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The evaluation of one held-out split.

    Attributes
    ----------
    table, metrics
        Predictions table, every image once. Metrics by image, photograph and group; ``<name>_low`` and ``<name>_high``
        are the ends of 95 % intervals.
    baseline
        The metrics of the majority class on the same images.
    calibrated, calibrated_probabilities
        The metrics that change at ``temperature``, which is one of them, and the probabilities that they are computed
        from, shape (n, k), float64. The temperature is fitted to validation; the probabilities of a validation
        photograph are calibrated by the other photographs.
    views_table, views
        As ``table`` and ``metrics``, of the mean over several views of each image; None if there is only one view.
    parts
        The evaluation of each test set by its name, if there are several.
    """

    table: pd.DataFrame
    metrics: Mapping[str, float]
    baseline: Mapping[str, float]
    calibrated: Mapping[str, float]
    calibrated_probabilities: NDArray[np.float64]
    views_table: pd.DataFrame | None = None
    views: Mapping[str, float] | None = None
    parts: "Mapping[str, Evaluation]" = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of a training, or of a cross-validation.

    Attributes
    ----------
    classes
        The k class names, in order.
    predictions
        Every prediction of a held-out image; in a cross-validation with repeats an image has several.
    splits
        The evaluation of ``val`` and, if it was evaluated, ``test``.
    leakage
        Known leakage of the split.
    evidence
        The names of what limits it, see `bloodcell.evaluation.evidence`.
    folds
        The outcomes of the folds of a cross-validation.
    """

    classes: tuple[str, ...]
    predictions: pd.DataFrame
    splits: Mapping[str, Evaluation]
    leakage: Leakage
    evidence: tuple[str, ...] = ()
    folds: "tuple[Outcome, ...]" = ()

    @property
    def val(self) -> Evaluation:
        """The evaluation of validation."""
        return self.splits["val"]

    @property
    def metrics(self) -> dict[str, Mapping[str, float]]:
        """All metrics by their prefix, as in ``metrics.json`` and MLflow."""
        views = {f"{split}_views": each.views for split, each in self.splits.items() if each.views is not None}
        parts = {
            f"{split}/{metric_name(name)}": part.metrics
            for split, each in self.splits.items()
            for name, part in each.parts.items()
        }
        return {
            **{split: each.metrics for split, each in self.splits.items()},
            **views,
            **parts,
            **{f"{split}/majority_class": each.baseline for split, each in self.splits.items()},
            **{f"calibrated/{split}": each.calibrated for split, each in self.splits.items()},
        }


def evaluate_outcome(
    tables: Mapping[str, pd.DataFrame],
    *,
    classes: tuple[str, ...],
    training: pd.DataFrame,
    leakage: Leakage,
    evidence: Iterable[str] = (),
    label_smoothing: float = 0.0,
    views: Mapping[str, pd.DataFrame] | None = None,
    test_sets: Mapping[str, str] | None = None,
) -> Outcome:
    """Evaluate held-out predictions, and the majority class on the same images.

    Parameters
    ----------
    tables, views
        The predictions table of ``val`` and perhaps ``test``, every image once; the same of the mean over several
        views, None if there is one view only.
    training
        The manifest's rows of the training images.
    leakage
        Known leakage of the split.
    evidence
        The names of limits that are known before; those that the predictions and the leakage show are added.
    label_smoothing
        As the model was trained with; used by ``loss``.
    test_sets
        The test set of each test image by its path, if there are several.
    """
    labels, probabilities = arrays_of(tables[FITTED_TO], classes)
    temperature = fit_temperature(labels=labels, probabilities=probabilities, groups=tables[FITTED_TO]["group"])

    def measured(table: pd.DataFrame) -> dict[str, float]:
        metrics = evaluate_table(table, classes=classes, label_smoothing=label_smoothing)
        return metrics | accuracy_intervals(table, classes=classes)

    def evaluated(split: str, table: pd.DataFrame) -> Evaluation:
        labels, probabilities = arrays_of(table, classes)
        if split == FITTED_TO:  # metrics at a temperature that was fitted to the same groups would be optimistic
            calibrated = cross_calibrated(labels=labels, probabilities=probabilities, groups=table["group"])
        else:
            calibrated = with_temperature(probabilities, temperature)
        return Evaluation(
            table=table,
            metrics=measured(table),
            baseline=evaluate_majority(table, training=training, classes=classes, label_smoothing=label_smoothing),
            calibrated={"temperature": temperature}
            | evaluate_calibrated(table, classes=classes, calibrated=calibrated),
            calibrated_probabilities=calibrated,
        )

    splits = {}
    for split in [FITTED_TO, *(name for name in tables if name != FITTED_TO)]:
        table = tables[split]
        views_table = (views or {}).get(split)
        names = table["path"].map(test_sets or {}) if split == "test" else pd.Series(dtype=str)
        splits[split] = replace(
            evaluated(split, table),
            views_table=views_table,
            views=None if views_table is None else measured(views_table),
            parts={str(name): evaluated(split, part.reset_index(drop=True)) for name, part in table.groupby(names)}
            if len(names.dropna())
            else {},
        )
    predictions = pd.concat(tables.values(), ignore_index=True)
    return Outcome(
        classes=classes,
        predictions=predictions,
        splits=splits,
        leakage=leakage,
        evidence=ordered((*evidence, *_limits(splits[FITTED_TO], leakage))),
    )


def _limits(val: Evaluation, leakage: Leakage) -> Iterator[str]:
    """Yield the names of limits that validation and leakage show."""
    yield from of_leakage(leakage.leaky)
    if val.metrics["accuracy"] <= val.baseline["accuracy"]:
        yield BELOW_BASELINE
    if effective_number(val.table["group"].value_counts().to_numpy().astype(np.float64)) < intervals.FEW_GROUPS:
        yield FEW_GROUPS


def metric_name(name: str) -> str:
    """Return a name as part of a metric's name in MLflow, which has letters, digits and some other characters."""
    return re.sub(r"[^\w. -]|/", "_", name, flags=re.ASCII)


def evaluate_table(table: pd.DataFrame, *, classes: Sequence[str], label_smoothing: float) -> dict[str, float]:
    """Return all metrics of a table: by image, by photograph and by group.

    See `bloodcell.evaluation.metrics.evaluate`, `calibration_metrics`, and `source_metrics` and `group_metrics` of
    `bloodcell.evaluation.sources`.
    """
    labels, probabilities = arrays_of(table, classes)
    by_image = evaluate(labels=labels, probabilities=probabilities, classes=classes, label_smoothing=label_smoothing)
    errors = calibration_errors(labels=labels, probabilities=probabilities, groups=table["group"])
    by_photograph, by_group = (each(table, classes=classes) for each in (source_metrics, group_metrics))
    return by_image | calibration_metrics(errors) | by_photograph | by_group


def calibration_metrics(errors: CalibrationErrors) -> dict[str, float]:
    """Return ``ece_by_chance``, and ``calibration_error``, which is debiased."""
    return {"ece_by_chance": errors.by_chance, "calibration_error": errors.debiased}


def evaluate_majority(
    table: pd.DataFrame, *, training: pd.DataFrame, classes: Sequence[str], label_smoothing: float
) -> dict[str, float]:
    """Return the metrics of the class frequencies of training on the same images.

    Frequencies are counted among images, among photographs or among groups, as the metric counts.
    """

    def frequencies(labels: NDArray[np.int64]) -> pd.DataFrame:
        repeated = majority_probabilities(training_labels=labels, n_classes=len(classes), n_images=len(table))
        return predictions_table(manifest=table, probabilities=repeated, classes=classes)

    def of_level(level: str) -> pd.DataFrame:
        """Count each photograph or group once in each of its classes."""
        return frequencies(label_indices(training.drop_duplicates([level, "label"]), classes))

    of_images = frequencies(label_indices(training, classes))
    by_image = evaluate_table(of_images, classes=classes, label_smoothing=label_smoothing)
    by_photograph = source_metrics(of_level("source"), classes=classes)
    return by_image | by_photograph | group_metrics(of_level("group"), classes=classes)


def evaluate_calibrated(
    table: pd.DataFrame, *, classes: Sequence[str], calibrated: NDArray[np.float64]
) -> dict[str, float]:
    """Return the metrics of a predictions table that a temperature changes."""
    labels = label_indices(table, classes)
    metrics = evaluate(labels=labels, probabilities=calibrated, classes=classes)
    errors = calibration_errors(labels=labels, probabilities=calibrated, groups=table["group"])
    return {name: metrics[name] for name in CALIBRATED} | calibration_metrics(errors)


def per_class_of(table: pd.DataFrame, *, classes: Sequence[str]) -> pd.DataFrame:
    """Return the metrics by class of a predictions table, with their 95 % intervals."""
    labels, probabilities = arrays_of(table, classes)
    metrics = per_class(labels=labels, probabilities=probabilities, classes=classes)
    return pd.concat([metrics, class_intervals(table, classes=classes)], axis="columns")


def confusion_of(table: pd.DataFrame, *, classes: Sequence[str]) -> NDArray[np.int64]:
    """Return the confusion matrix of a predictions table."""
    labels, probabilities = arrays_of(table, classes)
    return confusion(labels=labels, probabilities=probabilities, classes=classes)


def group_confusion_of(table: pd.DataFrame, *, classes: Sequence[str]) -> NDArray[np.int64]:
    """Count the groups with an image of each true and predicted class, shape (k, k); one may count in several cells."""
    labels, probabilities = arrays_of(table, classes)
    groups = np.unique(table["group"].to_numpy(dtype=np.str_), return_inverse=True)[1]
    cells = np.unique(np.column_stack([groups, labels, predicted_classes(probabilities)]), axis=0)
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, (cells[:, 1], cells[:, 2]), 1)
    return counts
