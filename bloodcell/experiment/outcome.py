"""Recording the outcome of a training: files, pictures, metrics and a description."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bloodcell.cards.outcome import description
from bloodcell.console.json_output import plain
from bloodcell.data.manifest import ImageSet
from bloodcell.evaluation import evidence
from bloodcell.evaluation.calibration import calibration_bins, calibration_errors
from bloodcell.evaluation.metrics import classification_report_text
from bloodcell.evaluation.outcome import (
    FITTED_TO,
    Evaluation,
    Outcome,
    confusion_of,
    group_confusion_of,
    metric_name,
    per_class_of,
)
from bloodcell.evaluation.predictions import arrays_of, most_confident_errors, write_predictions
from bloodcell.evaluation.selective_prediction import risk_coverage, threshold_for_error
from bloodcell.evaluation.sources import one_source_per_group
from bloodcell.evaluation.temperature import with_temperature
from bloodcell.experiment.recorder import Recorder
from bloodcell.files import atomic_write
from bloodcell.images.reading import read_image_to_show
from bloodcell.plots.confidence import reliability, risk_against_coverage
from bloodcell.plots.gallery import error_gallery
from bloodcell.plots.training import confusion_matrix, per_class_bars

SAME_LOSS = 1e-4
"""Losses that differ by less are the same: the training loss is computed with a smaller precision."""
N_ERRORS = 16
"""Number of errors in a gallery."""
MAX_ERROR = 0.05
"""The maximal error whose threshold is marked in plots."""


def keep_outcome(recorder: Recorder, outcome: Outcome, *, images: ImageSet, with_images: bool = True) -> None:
    """Write predictions, metrics and reports, draw plots, and record all metrics.

    Parameters
    ----------
    recorder
        Receives everything; files are written first.
    outcome
        The predictions and metrics.
    images
        The predicted images.
    with_images
        Whether their files exist, for the gallery of errors.
    """
    folder = recorder.artifacts
    folder.mkdir(parents=True, exist_ok=True)
    write_predictions(outcome.predictions, folder / "predictions.parquet")
    views = [each.views_table for each in outcome.splits.values() if each.views_table is not None]
    if views:
        write_predictions(pd.concat(views, ignore_index=True), folder / "predictions_views.parquet")
    with atomic_write(folder / "metrics.json") as partial:
        partial.write_text(json.dumps(plain(outcome.metrics), indent=2, allow_nan=False), encoding="utf-8")
    read = (lambda path: read_image_to_show(images.file(path))) if with_images and recorder.draws else None
    for split, evaluation in outcome.splits.items():
        settings: dict[str, Any] = {"classes": outcome.classes, "group_name": outcome.leakage.group_name}
        _keep_report(recorder, evaluation.table, split=split, read=read, **settings)
        _draw_confidence(recorder, evaluation, split=split, **settings)
        for name, part in evaluation.parts.items():
            _keep_report(recorder, part.table, split=f"{split}_{metric_name(name)}", read=read, **settings)
    for prefix, metrics in outcome.metrics.items():
        recorder.log_metrics(_without_repeated(metrics), prefix=prefix)
    for split, evaluation in outcome.splits.items():
        recorder.log_table(per_class_of(evaluation.table, classes=outcome.classes), f"report/{split}.json")
    recorder.tag(evidence.TAG, evidence.as_text(outcome.evidence))
    low, high = (outcome.val.metrics.get(f"accuracy_{end}", np.nan) for end in ("low", "high"))
    if np.isfinite([low, high]).all():
        recorder.tag(evidence.INTERVAL_TAG, f"{low:.2f} to {high:.2f}")
    recorder.describe(description(outcome))


def _without_repeated(metrics: Mapping[str, float]) -> dict[str, float]:
    """Leave out the training loss if it is the log loss: without label smoothing, it is."""
    same = abs(metrics.get("loss", np.nan) - metrics.get("log_loss", np.nan)) < SAME_LOSS
    return {name: value for name, value in metrics.items() if not (name == "loss" and same)}


def _keep_report(
    recorder: Recorder,
    table: pd.DataFrame,
    *,
    classes: Sequence[str],
    group_name: str,
    split: str,
    read: Callable[[str], NDArray[np.uint8]] | None,
) -> None:
    """Write the classification report of a split, and draw its confusion matrix, classes and errors."""
    labels, probabilities = arrays_of(table, classes)
    report = recorder.artifacts / "report" / f"{split}.txt"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(
        classification_report_text(labels=labels, probabilities=probabilities, classes=classes), encoding="utf-8"
    )
    if not recorder.draws:
        return
    counts = confusion_of(table, classes=classes)
    title = f"Confusion matrix ({split}): {counts.trace():,} of {counts.sum():,} images classified correctly"
    recorder.draw(
        f"confusion_{split}",
        confusion_matrix,
        counts,
        classes=tuple(classes),
        title=title,
        groups=group_confusion_of(table, classes=classes),
        group_name=group_name,
    )
    title = f"Precision, recall and F1 by class ({split})"
    per_class = per_class_of(table, classes=classes)
    recorder.draw(f"per_class_{split}", per_class_bars, per_class, title=title, group_name=group_name)
    if read is None:
        return
    # One copy of each photograph: otherwise the gallery would show the same cell many times.
    errors = most_confident_errors(table, classes, len(table)).drop_duplicates("source").head(N_ERRORS)
    pixels = [read(path) for path in errors["path"]]
    recorder.draw(f"errors_{split}", error_gallery, pixels, errors=errors, title=f"Most confident errors ({split})")


def _draw_confidence(
    recorder: Recorder, evaluation: Evaluation, *, classes: Sequence[str], group_name: str, split: str
) -> None:
    """Draw the reliability diagram, and risk against coverage with the threshold for `MAX_ERROR`."""
    if not recorder.draws:
        return
    table, temperature, fitted_to = evaluation.table, evaluation.calibrated["temperature"], split == FITTED_TO
    labels, raw = arrays_of(table, classes)
    both = (raw, evaluation.calibrated_probabilities)
    groups = table["group"]
    before, after = (calibration_bins(labels=labels, probabilities=each, groups=groups) for each in both)
    errors = tuple(calibration_errors(labels=labels, probabilities=each, groups=groups) for each in both)
    recorder.draw(
        f"calibration_{split}",
        reliability,
        before,
        after,
        errors=errors,
        temperature=temperature,
        cross_fitted=fitted_to,
        group_name=group_name,
        title=f"Calibration: how often is the model right when it is sure? ({split})",
    )
    threshold = None
    if fitted_to:
        independent = one_source_per_group(table)
        own_labels, own = arrays_of(independent, classes)
        threshold = threshold_for_error(
            labels=own_labels,
            probabilities=with_temperature(own, temperature),
            groups=independent["source"],
            max_error=MAX_ERROR,
        )
    curve = risk_coverage(labels=labels, probabilities=with_temperature(raw, temperature), sources=table["source"])
    title = f"Risk and coverage: errors if the model leaves unsure images to people ({split})"
    recorder.draw(f"risk_coverage_{split}", risk_against_coverage, curve, threshold=threshold, title=title)
