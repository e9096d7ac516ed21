"""The leaderboard: the runs of a study, ranked by validation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bloodcell.comparison.run_tags import RunTags
from bloodcell.evaluation.evidence import as_text, barring, explained, from_text, marks_of
from bloodcell.evaluation.metrics import direction

METRICS = {
    "val_accuracy": "val/accuracy",
    "val_log_loss": "val/log_loss",
    "test_accuracy": "test/accuracy",
    "test_balanced_accuracy": "test/balanced_accuracy",
    "baseline_accuracy": "test/majority_class/accuracy",
    "baseline_photograph_accuracy": "test/majority_class/photograph_accuracy",
    "seconds": "cost/train_seconds",
    "parameters": "cost/parameters",
    **{
        f"{split}_{name}": f"{split}/{name}"
        for split in ("val", "test")
        for name in (
            *("accuracy_low", "accuracy_high"),
            *("photograph_accuracy", "photograph_accuracy_low", "photograph_accuracy_high"),
        )
    },
}
"""The metrics of runs by the leaderboard's columns."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One run of a study.

    Attributes
    ----------
    run
        Its name.
    status
        FINISHED, FAILED or KILLED.
    reason
        Why it did not finish; empty if it did.
    metrics
        Its final metrics by their names, such as ``val/accuracy``.
    """

    run: str
    run_id: str
    status: str
    reason: str
    metrics: Mapping[str, float]
    tags: RunTags


MAX_SHOWN = 50
"""Of a longer leaderboard only the best so many are printed and drawn; its files have all."""
OBJECTIVE = "objective"
"""The metric that a search optimised, and its column."""


def leaderboard(entries: Sequence[Entry], *, objective: str | None = None) -> pd.DataFrame:
    """Rank the finished runs by validation, those that cannot win last; the test set is not used.

    Parameters
    ----------
    entries
        The runs.
    objective
        The name of the objective of a search, such as ``val/macro_f1``; its values are the runs' metric
        ``objective``. None: validation accuracy, ties by validation log loss.

    Returns
    -------
    DataFrame
        One row for each finished run: ``run``, the columns of `METRICS` (float64, NaN if the run has no such
        metric; the ``baseline_…`` are of the majority class on test), ``evidence`` (see
        `bloodcell.evaluation.evidence`), ``leaky, groups, run_id``; with an objective also ``objective``, after
        ``run``.
    """
    columns = METRICS if objective is None else {OBJECTIVE: OBJECTIVE} | METRICS
    rows = [
        {
            "run": entry.run,
            **{column: entry.metrics.get(metric, np.nan) for column, metric in columns.items()},
            "evidence": as_text(entry.tags.evidence),
            "leaky": entry.tags.leaky == "true",
            "groups": entry.tags.groups or "",
            "run_id": entry.run_id,
        }
        for entry in entries
        if entry.status == "FINISHED"
    ]
    table = pd.DataFrame(rows, columns=["run", *columns, "evidence", "leaky", "groups", "run_id"])
    order = {"barred": True, "val_accuracy": False, "val_log_loss": True, "run": True}
    if objective is not None:
        order = {"barred": True, OBJECTIVE: direction(objective) == "min"} | order
    ranked = table.assign(barred=table["evidence"].map(barring) != "")
    ranked = ranked.sort_values(list(order), ascending=list(order.values()), ignore_index=True)
    return ranked.drop(columns="barred")


def marked_runs(table: pd.DataFrame) -> list[str]:
    """Return the name of each run of a leaderboard with its marks."""
    marks = [marks_of(from_text(text)) for text in table["evidence"]]
    return [f"{run} {mark}".strip() for run, mark in zip(table["run"], marks, strict=True)]


def notes(table: pd.DataFrame) -> list[str]:
    """Return what limits the runs of a leaderboard, after the mark, and how many runs `MAX_SHOWN` leaves out."""
    more = len(table) - MAX_SHOWN
    left_out = [f"The best {MAX_SHOWN} of {len(table):,} runs; leaderboard.csv has all."] if more > 0 else []
    evidence = {run: from_text(text) for run, text in zip(table["run"], table["evidence"], strict=True)}
    return [*explained(evidence), *left_out]
