"""The leaderboard: the runs of a study, the best on validation first."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One run of a study.

    Attributes
    ----------
    run
        Its name.
    run_id
        MLflow's id.
    status
        FINISHED, FAILED or KILLED.
    reason
        Why it did not finish; empty where it did.
    metrics
        Its final figures by their names, such as ``val/accuracy``.
    leaky
        Whether copies of one photograph are, or can be, on two sides of its split.
    groups
        Where its groups came from; with ``none`` nobody looked for them, so that leaks are not known.
    """

    run: str
    run_id: str
    status: str
    reason: str
    metrics: dict[str, float]
    leaky: bool
    groups: str


def leaderboard(entries: Sequence[Entry]) -> pd.DataFrame:
    """Rank the finished runs by validation accuracy, ties by validation log loss; the test set chooses nothing.

    Returns
    -------
    DataFrame
        One row for each finished run: ``run, val_accuracy, val_log_loss, test_accuracy, test_balanced_accuracy,
        baseline_accuracy`` (the majority class on test), ``seconds, parameters, leaky, groups, run_id``.
    """
    rows = [
        {
            "run": entry.run,
            "val_accuracy": entry.metrics.get("val/accuracy"),
            "val_log_loss": entry.metrics.get("val/log_loss"),
            "test_accuracy": entry.metrics.get("test/accuracy"),
            "test_balanced_accuracy": entry.metrics.get("test/balanced_accuracy"),
            "baseline_accuracy": entry.metrics.get("baseline/test/accuracy"),
            "seconds": entry.metrics.get("cost/train_seconds"),
            "parameters": entry.metrics.get("cost/parameters"),
            "leaky": entry.leaky,
            "groups": entry.groups,
            "run_id": entry.run_id,
        }
        for entry in entries
        if entry.status == "FINISHED"
    ]
    columns = [
        *("run", "val_accuracy", "val_log_loss", "test_accuracy", "test_balanced_accuracy", "baseline_accuracy"),
        *("seconds", "parameters", "leaky", "groups", "run_id"),
    ]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values(["val_accuracy", "val_log_loss", "run"], ascending=[False, True, True], ignore_index=True)
