"""What came out of a training: measured, written into the run's folder, kept in MLflow, shown on the terminal."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from bloodcell.config import TrackingConfig, TrainConfig
from bloodcell.data.images import read_image
from bloodcell.data.manifest import ImageSet
from bloodcell.evaluation.predictions import write_predictions
from bloodcell.evaluation.report import evaluate_majority, evaluate_table, per_class_of, write_report
from bloodcell.files import replacing
from bloodcell.tracking.run import TrackedRun
from bloodcell.tracking.store import Store

SHOWN = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "auroc": "AUROC, one against the rest",
    "cohen_kappa": "Cohen's kappa",
    "log_loss": "log loss",
    "brier": "Brier score",
    "ece": "expected calibration error",
}
LEAKY = "copies of one photograph may be on both sides of this split; if so, validation says too much."


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A training's predictions and figures.

    Attributes
    ----------
    tables
        The predictions of each held-out split.
    metrics
        By split, and by ``baseline/<split>`` those of the majority class on the same images.
    leaky
        Whether copies of one photograph may be on two sides of the split.
    """

    tables: Mapping[str, pd.DataFrame]
    metrics: Mapping[str, Mapping[str, float]]
    leaky: bool


def measure(tables: Mapping[str, pd.DataFrame], *, images: ImageSet, label_smoothing: float, leaky: bool) -> Outcome:
    """Measure the predictions, and what the majority class of training would have had."""
    training_labels = images.class_indices(images.part("train"))
    metrics: dict[str, Mapping[str, float]] = {}
    for split, table in tables.items():
        metrics[split] = evaluate_table(table, classes=images.classes, label_smoothing=label_smoothing)
        metrics[f"baseline/{split}"] = evaluate_majority(
            table, training_labels=training_labels, classes=images.classes, label_smoothing=label_smoothing
        )
    return Outcome(tables=tables, metrics=metrics, leaky=leaky)


def write_outcome(outcome: Outcome, *, images: ImageSet, folder: Path) -> None:
    """Write predictions, metrics, reports and pictures into a folder."""
    write_predictions(pd.concat(outcome.tables.values(), ignore_index=True), folder / "predictions.parquet")
    with replacing(folder / "metrics.json") as partial:
        partial.write_text(json.dumps(outcome.metrics, indent=2), encoding="utf-8")
    for split, table in outcome.tables.items():
        write_report(
            table,
            classes=images.classes,
            name=split,
            folder=folder,
            read=lambda path: read_image(images.root / path),
        )


def keep_outcome(tracked: TrackedRun, outcome: Outcome, *, images: ImageSet) -> None:
    """Keep figures, per-class tables and a description in MLflow."""
    for prefix, values in outcome.metrics.items():
        tracked.log_metrics(values, prefix=prefix)
    for split, table in outcome.tables.items():
        tracked.log_table(per_class_of(table, classes=images.classes), f"report/{split}.json")
    tracked.describe(_description(outcome))


def show_outcome(
    outcome: Outcome, *, config: TrainConfig, images: ImageSet, tracked: TrackedRun, model_uri: str
) -> None:
    """Print the figures and where to look next."""
    console = Console(highlight=False, soft_wrap=True)
    table = Table(title=f"{config.backbone.name}, {config.split.name} split", title_justify="left")
    table.add_column("")
    for heading in ("validation", "test", "majority class on test"):
        table.add_column(heading, justify="right")
    columns = [outcome.metrics[part] for part in ("val", "test", "baseline/test")]
    for name, label in SHOWN.items():
        table.add_row(label, *(f"{column[name]:.3f}" for column in columns))
    table.add_row("images", *(str(len(outcome.tables[split])) for split in ("val", "test", "test")))
    console.print(table)
    if len(images.unreadable):
        console.print(f"Left out because they cannot be read: {len(images.unreadable)}, listed in the run.")
    if images.other_files:
        console.print(f"Left out because their names are not images': {len(images.other_files)}, listed in the log.")
    if outcome.leaky:
        console.print(f"Careful: {LEAKY}")
    console.print(f"Look at it  {_ui(config.tracking, tracked.store)}", markup=False)
    console.print(f"Load it     mlflow.tensorflow.load_model({model_uri!r}), from {tracked.store.label}", markup=False)
    console.print(f"Its files   {tracked.folder}", markup=False)


def _description(outcome: Outcome) -> str:
    lines = [
        f"- {split}: accuracy {outcome.metrics[split]['accuracy']:.3f} on {len(table)} images "
        f"(majority class {outcome.metrics[f'baseline/{split}']['accuracy']:.3f})"
        for split, table in outcome.tables.items()
    ]
    if outcome.leaky:
        lines.append(f"- **Careful:** {LEAKY}")
    lines.append("- Artifacts: `plots/`, `report/`, `predictions.parquet`, `manifest.parquet`, `config.yaml`")
    return "\n".join(lines)


def _ui(tracking: TrackingConfig, store: Store) -> str:
    """Return where to look: a server's own address, or the command that serves the same store."""
    if store.is_server:
        return store.label
    default = "" if tracking.dir == "mlruns" else f" tracking.dir={tracking.dir}"
    return f"bloodcell ui{default if tracking.uri is None else f' tracking.uri={store.label}'}"
