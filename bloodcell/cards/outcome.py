"""The outcome of a training as tables for the terminal and as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bloodcell.console.confusion import confusion_on_terminal
from bloodcell.data.leaks import SPLIT_NAMES
from bloodcell.evaluation.evidence import as_text
from bloodcell.evaluation.outcome import FOLD_MEAN, FOLD_STD, Outcome, confusion_of
from bloodcell.wording import PHOTOGRAPH, counted, plural

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


def metrics_table(outcome: Outcome, *, title: str) -> Table:
    """Return the metrics of each split with intervals, and of the majority class."""
    leakage, evaluations = outcome.leakage, list(outcome.splits.values())
    table = Table(title=title, title_justify="left")
    table.add_column("")
    headings = [f"{SPLIT_NAMES[split]}{leakage.mark(split)}" for split in outcome.splits]
    for heading in (*headings, f"majority class\non {SPLIT_NAMES[list(outcome.splits)[-1]]}"):
        table.add_column(heading, justify="right")
    columns = [*(each.metrics for each in evaluations), evaluations[-1].baseline]
    views = [each.views for each in evaluations if each.views is not None]
    groups = plural(leakage.group_name)
    for name, label in SHOWN.items():
        if name == "group_mean_accuracy" and leakage.group_name == PHOTOGRAPH:
            continue
        table.add_row(label.format(groups=groups), *(f"{column[name]:.3f}" for column in columns))
        _add_interval(table, name, columns[:-1])
        if views and name in SHOWN_OF_VIEWS:
            table.add_row("  mean of views", *(f"{column[name]:.3f}" for column in views), "")
            _add_interval(table, name, views)
    if FOLD_MEAN in outcome.val.metrics:
        mean, deviation = (outcome.val.metrics[name] for name in (FOLD_MEAN, FOLD_STD))
        table.add_row("folds' accuracy, mean ± SD", f"{mean:.3f} ± {deviation:.3f}", *[""] * len(evaluations))
    table.add_row("images", *(str(len(each.table)) for each in (*evaluations, evaluations[-1])))
    table.add_row("photographs", *(f"{column['photographs']:.0f}" for column in columns))
    if leakage.group_name != PHOTOGRAPH:
        table.add_row(groups, *(f"{column['groups']:.0f}" for column in columns))
    return table


def show_metrics(outcome: Outcome, *, title: str, console: Console) -> None:
    """Print the metrics of each split, and of each test set if there are several."""
    console.print(metrics_table(outcome, title=title))
    if outcome.evidence:
        console.print(f"Evidence: {as_text(outcome.evidence)}", markup=False)
    if (sets := test_sets_table(outcome)) is not None:
        console.print(sets)


def test_sets_table(outcome: Outcome) -> Table | None:
    """Return the metrics of each test set with intervals, and of the majority class; None if there are not several."""
    parts = outcome.splits["test"].parts if "test" in outcome.splits else {}
    if not parts:
        return None
    table = Table(title="Test sets", title_justify="left")
    table.add_column("")
    for heading in ("images", plural(outcome.leakage.group_name), "accuracy", "95 % interval", "macro F1"):
        table.add_column(heading, justify="right")
    table.add_column("accuracy of\nmajority class", justify="right")
    for name, part in parts.items():
        metrics, shown = part.metrics, [part.metrics["accuracy"], part.metrics["macro_f1"], part.baseline["accuracy"]]
        accuracy, macro_f1, majority = (f"{value:.3f}" for value in shown)
        counts = f"{len(part.table):,}", f"{metrics['groups']:.0f}"
        table.add_row(escape(name), *counts, accuracy, interval_text(metrics, "accuracy"), macro_f1, majority)
    return table


def _add_interval(table: Table, name: str, columns: Sequence[Mapping[str, float]]) -> None:
    if f"{name}_low" in columns[0]:
        table.add_row("  95 % interval", *(interval_text(column, name) for column in columns), "")


def interval_text(metrics: Mapping[Any, Any], name: str) -> str:
    """Return the ends of a metric's interval as text, or "too few groups"."""
    low, high = metrics[f"{name}_low"], metrics[f"{name}_high"]
    return f"{low:.2f} to {high:.2f}" if low == low else "too few groups"


def show_confusion(outcome: Outcome, *, console: Console) -> None:
    """Print the confusion matrix of each held-out split."""
    validation = "Validation, out of fold" if outcome.folds else "Validation"
    for split, evaluation in outcome.splits.items():
        name = {"val": validation, "test": "Test"}[split]
        counts = confusion_of(evaluation.table, classes=outcome.classes)
        console.print(confusion_on_terminal(counts, classes=outcome.classes, name=name, width=console.width))


def outcome_data(outcome: Outcome) -> dict[str, Any]:
    """Return the outcome for a JSON document."""
    return {
        "classes": outcome.classes,
        "images": {split: len(each.table) for split, each in outcome.splits.items()},
        "evidence": outcome.evidence,
        "leaky": outcome.leakage.leaky,
        "warning": outcome.leakage.sentence or None,
        "metrics": outcome.metrics,
        "confusion": {
            split: confusion_of(each.table, classes=outcome.classes) for split, each in outcome.splits.items()
        },
    }


def description(outcome: Outcome) -> str:
    """Return the description of an outcome in Markdown: the page of a run in MLflow begins with it."""
    lines, leakage = [], outcome.leakage
    for split, each in outcome.splits.items():
        metrics = each.metrics
        lines.append(
            f"- {split}{leakage.mark(split)}: accuracy {_value(metrics, 'accuracy')} on {len(each.table)} images, by "
            f"photograph {_value(metrics, 'photograph_accuracy')} on {metrics['photographs']:.0f}; majority class "
            f"{each.baseline['accuracy']:.3f}"
        )
        if leakage.group_name != PHOTOGRAPH:
            lines[-1] += (
                f"; mean of {counted(metrics['groups'], leakage.group_name)} {_value(metrics, 'group_mean_accuracy')}"
            )
        lines += [
            f"- {split} {name}: accuracy {_value(part.metrics, 'accuracy')} on {len(part.table)} images; majority "
            f"class {part.baseline['accuracy']:.3f}"
            for name, part in each.parts.items()
        ]
        if each.views is not None:
            lines.append(
                f"- {split}{leakage.mark(split)}, mean over several views of each image: "
                f"accuracy {_value(each.views, 'accuracy')}, by photograph {_value(each.views, 'photograph_accuracy')}"
            )
    lines.append(f"- In brackets: 95 % intervals, which count {plural(leakage.group_name)}, not images")
    if outcome.evidence:
        lines.append(f"- Evidence: {as_text(outcome.evidence)}")
    if leakage.sentence:
        lines.append(f"- **Warning:** {leakage.sentence}")
    lines.append("- Artifacts: `plots/`, `report/`, `predictions.parquet`, `manifest.parquet`, `config.yaml`")
    return "\n".join(lines)


def _value(metrics: Mapping[str, float], name: str) -> str:
    return f"{metrics[name]:.3f} ({interval_text(metrics, name)})"
