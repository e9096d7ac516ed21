"""The end of a study, in the store and on the terminal."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from bloodcell.comparison.leaderboard import MAX_SHOWN, Entry, marked_runs, notes
from bloodcell.console.json_output import set_json_result
from bloodcell.tracking.study import Study


def finish_study(
    study: Study,
    *,
    expected: int | None,
    interrupted: bool,
    status: str | None = None,
    objective: str | None = None,
    **more: Any,
) -> bool:
    """End a study and its runs, and show its leaderboard; return whether all runs finished.

    The arguments are those of `Study.close_runs`, `Study.end` and `show_study`.
    """
    entries = study.close_runs(expected=expected, interrupted=interrupted)
    table = study.end(entries, interrupted=interrupted, status=status, objective=objective)
    show_study(study, entries, table, objective=objective, **more)
    return all(entry.status == "FINISHED" for entry in entries)


def show_study(
    study: Study, entries: Sequence[Entry], table: pd.DataFrame, *, objective: str | None = None, **more: Any
) -> None:
    """Print a study's leaderboard, failed runs and next commands; set the JSON result, with ``more`` values."""
    console = Console(highlight=False, soft_wrap=True)
    if len(table):
        console.print(_leaderboard(table, objective))
        for note in notes(table):
            console.print(note, markup=False)
    failed = [entry for entry in entries if entry.status != "FINISHED"]
    for entry in failed:
        console.print(f"{entry.status}  {entry.run}: {entry.reason}", markup=False)
    console.print(f"{len(table)} of {len(entries)} runs finished.")
    where = study.store.label if study.store.is_server else "bloodcell ui"
    console.print(f"MLflow UI     {where}, parent run {study.run_id}")
    if len(table) > 1:
        console.print(f"Which is better?  bloodcell compare study={study.run_id}")
        gate = f"bloodcell gate incumbent=RUN_ID study={study.run_id} ledger=project.ledger"
        console.print(f"Is the first better than the model that you have?  {gate}")
    set_json_result(
        study=study.run_id,
        experiment_id=study.experiment_id,
        tracking=study.store.label,
        objective=objective or "val/accuracy",
        runs=table.to_dict("records"),
        not_finished=[
            {"run": entry.run, "run_id": entry.run_id, "status": entry.status, "reason": entry.reason}
            for entry in failed
        ],
        **more,
    )


def _leaderboard(table: pd.DataFrame, objective: str | None) -> Table:
    own = [objective] if objective is not None else []
    first = f"the best {objective} first" if own else "the best on validation first"
    drawn = Table(title=f"Accuracy, {first}", title_justify="left")
    drawn.add_column("run", overflow="fold", ratio=1)
    for heading in (*own, "validation", "test", "test, balanced", "time"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    shown = table.head(MAX_SHOWN)
    for name, row in zip(marked_runs(shown), shown.itertuples(), strict=True):
        drawn.add_row(
            name,
            *[_figure(row.objective) for _ in own],
            _figure(row.val_accuracy),
            _figure(row.test_accuracy),
            _figure(row.test_balanced_accuracy),
            f"{row.seconds:.0f} s",
        )
    drawn.add_section()
    baselines = table["baseline_accuracy"]
    drawn.add_row("the majority class", *("" for _ in own), "", _figure(baselines.max()), "", "")
    return drawn


def _figure(value: Any) -> str:
    return "–" if pd.isna(value) else f"{value:.3f}"
