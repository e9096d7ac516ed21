"""What came out of a training: measured, written into the run's folder, kept in MLflow, shown on the terminal."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bloodcell.cards.next_steps import Suggestion
from bloodcell.cards.run_report import (
    calibrated_probabilities,
    confusion_of,
    draw_confidence,
    evaluate_calibrated,
    evaluate_majority,
    evaluate_table,
    per_class_of,
    temperature_of,
    write_report,
)
from bloodcell.config.tracking import TrackingConfig
from bloodcell.config.training import TrainConfig
from bloodcell.console.confusion import confusion_on_terminal
from bloodcell.console.document import plain, tell
from bloodcell.console.logs import log_file
from bloodcell.data.leaks import Leakage
from bloodcell.data.manifest import ImageSet
from bloodcell.evaluation.intervals import accuracy_intervals
from bloodcell.evaluation.predictions import write_predictions
from bloodcell.experiment.images import Prepared
from bloodcell.files import replacing
from bloodcell.images.reading import read_image
from bloodcell.plots.drawing import Pictures
from bloodcell.tracking.run import TrackedRun
from bloodcell.tracking.store import Store
from bloodcell.wording import PHOTOGRAPH, counted, plural

FOLD_MEAN, FOLD_STD = "accuracy_fold_mean", "accuracy_fold_std"
FITTED_TO = "val"
"""The split that temperatures and thresholds are fitted to."""
SHOWN = {
    "accuracy": "accuracy",
    "photograph_accuracy": "accuracy by photograph",
    "group_mean_accuracy": "accuracy, mean of {groups}",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "auroc": "AUROC, one against the rest",
    "cohen_kappa": "Cohen's kappa",
    "log_loss": "log loss",
    "brier": "Brier score",
    "ece": "expected calibration error",
    "ece_by_chance": "  by chance, if calibrated",
    "calibration_error": "  debiased, root mean square",
}
SHOWN_OF_VIEWS = ("accuracy", "photograph_accuracy", "log_loss")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A training's predictions and figures.

    Attributes
    ----------
    predictions
        Every prediction for a held-out image; in a cross-validation with repeats an image has several.
    tables
        The predictions of each held-out split, every image once: what the figures are of.
    metrics
        By split, with intervals; by ``baseline/<split>`` those of the majority class on the same images; by
        ``calibrated/<split>`` those that change at the temperature that suits validation, of a validation photograph
        at the one that suits the others.
    leak
        What is known of leaks in the split.
    folds
        The metrics of each fold of a cross-validation.
    views
        As ``tables``, of the mean over several views of each image; empty where only the image as it is was looked at.
        Their metrics are by ``<split>_views``.
    calibrated
        By split the probabilities of ``tables``, shape (n, k), float64, at the temperature that ``metrics`` have.
    """

    predictions: pd.DataFrame
    tables: Mapping[str, pd.DataFrame]
    metrics: Mapping[str, Mapping[str, float]]
    leak: Leakage
    folds: Sequence[Mapping[str, Mapping[str, float]]] = ()
    views: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    calibrated: Mapping[str, NDArray[np.float64]]


def measure(
    tables: Mapping[str, pd.DataFrame],
    *,
    prepared: Prepared,
    label_smoothing: float,
    views: Mapping[str, pd.DataFrame] | None = None,
) -> Outcome:
    """Measure the predictions with their intervals, and what the majority class of training would have had.

    Parameters
    ----------
    tables
        The predictions of each held-out split, every image once.
    prepared
        The images.
    label_smoothing
        As the model was trained with.
    views
        As of `Outcome`; None: none.
    """
    images = prepared.images
    metrics: dict[str, Mapping[str, float]] = {}
    by_views = {_of_views(split): table for split, table in (views or {}).items()}
    for name, table in {**tables, **by_views}.items():
        figures = evaluate_table(table, classes=images.classes, label_smoothing=label_smoothing)
        metrics[name] = figures | accuracy_intervals(table, classes=images.classes)
    for split, table in tables.items():
        metrics[f"baseline/{split}"] = evaluate_majority(
            table, training=images.part("train"), classes=images.classes, label_smoothing=label_smoothing
        )
    temperature = temperature_of(tables[FITTED_TO], classes=images.classes)
    calibrated = {
        split: calibrated_probabilities(
            table, classes=images.classes, temperature=temperature, fitted_to=split == FITTED_TO
        )
        for split, table in tables.items()
    }
    for split, table in tables.items():
        figures = evaluate_calibrated(table, classes=images.classes, calibrated=calibrated[split])
        metrics[f"calibrated/{split}"] = {"temperature": temperature} | figures
    predictions = pd.concat(tables.values(), ignore_index=True)
    return Outcome(
        predictions=predictions,
        tables=tables,
        metrics=metrics,
        leak=prepared.leak,
        views=views or {},
        calibrated=calibrated,
    )


def write_outcome(
    outcome: Outcome, *, images: ImageSet, folder: Path, pictures: Pictures, with_images: bool = True
) -> None:
    """Write predictions, metrics and reports into a folder, and have their pictures drawn.

    Parameters
    ----------
    outcome
        The predictions and figures.
    images
        What they are of.
    folder
        Where to.
    pictures
        Draws the pictures.
    with_images
        Whether the files are there to show those that are wrong.
    """
    write_predictions(outcome.predictions, folder / "predictions.parquet")
    if outcome.views:
        views = pd.concat(outcome.views.values(), ignore_index=True)
        write_predictions(views, folder / "predictions_views.parquet")
    with replacing(folder / "metrics.json") as partial:
        partial.write_text(json.dumps(plain(outcome.metrics), indent=2, allow_nan=False), encoding="utf-8")
    for split, table in outcome.tables.items():
        write_report(
            table,
            classes=images.classes,
            name=split,
            folder=folder,
            pictures=pictures,
            read=(lambda path: read_image(images.root / path)) if with_images else None,
        )
        draw_confidence(
            table,
            classes=images.classes,
            name=split,
            temperature=outcome.metrics[f"calibrated/{split}"]["temperature"],
            fitted_to=split == FITTED_TO,
            calibrated=outcome.calibrated[split],
            pictures=pictures,
        )


def keep_outcome(tracked: TrackedRun, outcome: Outcome, *, classes: Sequence[str]) -> None:
    """Keep figures, per-class tables and a description in MLflow."""
    for prefix, values in outcome.metrics.items():
        tracked.log_metrics(values, prefix=prefix)
    for split, table in outcome.tables.items():
        tracked.log_table(per_class_of(table, classes=classes), f"report/{split}.json")
    tracked.describe(_description(outcome))


def show_outcome(
    outcome: Outcome,
    *,
    config: TrainConfig,
    prepared: Prepared,
    tracked: TrackedRun,
    models: Sequence[str],
    features: str,
    try_next: Sequence[Suggestion],
) -> None:
    """Print the figures, what was taken for what, where to look and what to try next; tell it for machines, too.

    Parameters
    ----------
    outcome
        The predictions and figures.
    config, prepared
        What was asked for, and the images.
    tracked
        The run.
    models
        Where to load the model from, or that of each fold.
    features
        Where the stages' input came from.
    try_next
        Commands.
    """
    console = Console(highlight=False, soft_wrap=True)
    console.print(figures_table(outcome, title=f"{config.backbone.name}, {prepared.split} split"))
    console.print()
    show_confusion(outcome, classes=prepared.images.classes, console=console)
    for line in _left_out(prepared):
        console.print(line)
    if outcome.leak.sentence:
        console.print(f"Careful: {outcome.leak.sentence}", markup=False)
    console.print(f"Features    {features}", markup=False)
    console.print(f"Look at it  {where_to_look(config.tracking, tracked.store)}", markup=False)
    others = f" (fold 1; the other {len(models) - 1} are in folds.csv)" if len(models) > 1 else ""
    load = f"mlflow.tensorflow.load_model({models[0]!r}), from {tracked.store.label}{others}"
    if config.log_model:
        console.print(f"Load it     {load}", markup=False)
    show_files(tracked, console)
    if try_next:
        console.print("\nTry next")
        width = max(len(suggestion.why) for suggestion in try_next)
        for suggestion in try_next:
            console.print(f"  {suggestion.why:{width}}  {suggestion.command}", markup=False)
    tell(
        **run_data(tracked, config.tracking),
        **outcome_data(outcome, classes=prepared.images.classes),
        split=prepared.split,
        left_out=_left_out(prepared),
        features=features,
        models=list(models) if config.log_model else [],
        folds=outcome.folds,
        try_next=[asdict(suggestion) for suggestion in try_next],
    )


def show_confusion(outcome: Outcome, *, classes: Sequence[str], console: Console) -> None:
    """Print what each class was taken for, for each held-out split."""
    validation = "Validation, out of fold" if outcome.folds else "Validation"
    for split, table in outcome.tables.items():
        name = {"val": validation, "test": "Test"}[split]
        counts = confusion_of(table, classes=classes)
        console.print(confusion_on_terminal(counts, classes=classes, name=name, width=console.width))


def show_files(tracked: TrackedRun, console: Console) -> None:
    """Print where a run's files are, and its log."""
    console.print(f"Its files   {tracked.folder}", markup=False)
    if (log := log_file()) is not None:
        console.print(f"Its log     {log}", markup=False)


def run_data(tracked: TrackedRun, tracking: TrackingConfig) -> dict[str, Any]:
    """Return for machines which run it was, and where everything of it is."""
    return {
        "run_id": tracked.run_id,
        "experiment_id": tracked.experiment_id,
        "tracking": tracked.store.label,
        "look": where_to_look(tracking, tracked.store),
        "folder": tracked.folder.absolute(),
        "log": log_file(),
    }


def outcome_data(outcome: Outcome, *, classes: Sequence[str]) -> dict[str, Any]:
    """Return the figures for machines."""
    return {
        "classes": classes,
        "images": {split: len(table) for split, table in outcome.tables.items()},
        "leaky": outcome.leak.leaky,
        "careful": outcome.leak.sentence or None,
        "metrics": outcome.metrics,
        "confusion": {split: confusion_of(table, classes=classes) for split, table in outcome.tables.items()},
    }


def figures_table(outcome: Outcome, *, title: str) -> Table:
    """Return the figures of each split with their intervals, beside those of the majority class."""
    leak = outcome.leak
    table = Table(title=title, title_justify="left")
    table.add_column("")
    splits = list(outcome.tables)
    names = {"val": "validation", "test": "test"}
    headings = [f"{names[split]}{leak.mark(split)}" for split in splits]
    for heading in (*headings, f"majority class\non {names[splits[-1]]}"):
        table.add_column(heading, justify="right")
    columns = [outcome.metrics[part] for part in (*splits, f"baseline/{splits[-1]}")]
    groups = plural(leak.group_name)
    for name, label in SHOWN.items():
        if name == "group_mean_accuracy" and leak.group_name == PHOTOGRAPH:
            continue
        table.add_row(label.format(groups=groups), *(f"{column[name]:.3f}" for column in columns))
        _add_interval(table, name, [outcome.metrics[split] for split in splits])
        if outcome.views and name in SHOWN_OF_VIEWS:
            seen = [outcome.metrics[_of_views(split)] for split in splits]
            table.add_row("  mean of views", *(f"{column[name]:.3f}" for column in seen), "")
            _add_interval(table, name, seen)
    if FOLD_MEAN in outcome.metrics["val"]:
        mean, deviation = (outcome.metrics["val"][name] for name in (FOLD_MEAN, FOLD_STD))
        table.add_row("folds' accuracy, mean ± SD", f"{mean:.3f} ± {deviation:.3f}", *[""] * len(splits))
    table.add_row("images", *(str(len(outcome.tables[split])) for split in (*splits, splits[-1])))
    table.add_row("photographs", *(f"{column['photographs']:.0f}" for column in columns))
    if leak.group_name != PHOTOGRAPH:
        table.add_row(groups, *(f"{column['groups']:.0f}" for column in columns))
    return table


def _add_interval(table: Table, name: str, columns: Sequence[Mapping[str, float]]) -> None:
    if f"{name}_low" in columns[0]:
        table.add_row("  95 % interval", *(ends_of(column, name) for column in columns), "")


def _left_out(prepared: Prepared) -> list[str]:
    images, parts = prepared.images, (prepared, *prepared.folds)
    lines = []
    if len(images.unreadable):
        lines.append(f"Left out because they cannot be read: {len(images.unreadable)}, listed in the run.")
    if images.other_files:
        lines.append(f"Left out because their names are not images': {len(images.other_files)}, listed in the log.")
    if count := sum(len(part.left_out) for part in parts):
        lines.append(
            f"Left out because another side has their photograph or group: {count}, listed in shared_images.csv."
        )
    return lines


def _description(outcome: Outcome) -> str:
    lines = []
    for split, table in outcome.tables.items():
        figures, majority = outcome.metrics[split], outcome.metrics[f"baseline/{split}"]["accuracy"]
        lines.append(
            f"- {split}{outcome.leak.mark(split)}: accuracy {figures['accuracy']:.3f} "
            f"({ends_of(figures, 'accuracy')}) on {len(table)} images, by photograph "
            f"{figures['photograph_accuracy']:.3f} ({ends_of(figures, 'photograph_accuracy')}) on "
            f"{figures['photographs']:.0f}; majority class {majority:.3f}"
        )
        if outcome.leak.group_name != PHOTOGRAPH:
            lines[-1] += (
                f"; mean of {counted(figures['groups'], outcome.leak.group_name)} "
                f"{figures['group_mean_accuracy']:.3f} ({ends_of(figures, 'group_mean_accuracy')})"
            )
        if split in outcome.views:
            seen = outcome.metrics[_of_views(split)]
            lines.append(
                f"- {split}{outcome.leak.mark(split)}, mean over several views of each image: accuracy "
                f"{seen['accuracy']:.3f} ({ends_of(seen, 'accuracy')}), by photograph "
                f"{seen['photograph_accuracy']:.3f} ({ends_of(seen, 'photograph_accuracy')})"
            )
    lines.append(f"- In brackets: 95 % intervals, which count {plural(outcome.leak.group_name)}, not images")
    if outcome.leak.sentence:
        lines.append(f"- **Careful:** {outcome.leak.sentence}")
    lines.append("- Artifacts: `plots/`, `report/`, `predictions.parquet`, `manifest.parquet`, `config.yaml`")
    return "\n".join(lines)


def _of_views(split: str) -> str:
    """Name the figures of a split that are of the mean over several views."""
    return f"{split}_views"


def ends_of(figures: Mapping[Any, Any], name: str) -> str:
    """Return the ends of a metric's interval, or that there is none."""
    low, high = figures[f"{name}_low"], figures[f"{name}_high"]
    return f"{low:.2f} to {high:.2f}" if low == low else "too few groups"


def where_to_look(tracking: TrackingConfig, store: Store) -> str:
    """Return where to look: a server's own address, or the command that serves the same store."""
    if store.is_server:
        return store.label
    default = "" if tracking.dir == "mlruns" else f" tracking.dir={tracking.dir}"
    return f"bloodcell ui{default if tracking.uri is None else f' tracking.uri={store.label}'}"
