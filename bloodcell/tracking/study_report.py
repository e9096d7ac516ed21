"""What a sweep's end looks like on the terminal."""

from collections.abc import Sequence

import pandas as pd
from rich.console import Console
from rich.table import Table

from bloodcell.comparison.leaderboard import Entry
from bloodcell.tracking.study import Study

MARKS = {
    "*": "Copies of one photograph can be on two sides of its split: its figures may say too much.",
    "?": "Groups were not looked for (data.groups=none): whether its split leaks is not known.",
}


def show_study(study: Study, entries: Sequence[Entry], table: pd.DataFrame) -> None:
    """Print a study's leaderboard, what failed, and where to look next."""
    console = Console(highlight=False, soft_wrap=True)
    if len(table):
        console.print(_leaderboard(table))
        marks = {_mark(bool(row.leaky), str(row.groups)) for row in table.itertuples()}
        for mark in sorted(marks & MARKS.keys()):
            console.print(f"{mark} {MARKS[mark]}")
    failed = [entry for entry in entries if entry.status != "FINISHED"]
    for entry in failed:
        console.print(f"{entry.status}  {entry.run}: {entry.reason}", markup=False)
    console.print(f"{len(table)} of {len(entries)} runs finished.")
    where = study.store.label if study.store.is_server else "bloodcell ui"
    console.print(f"Compare them  {where}, parent run {study.run_id}")


def _leaderboard(table: pd.DataFrame) -> Table:
    drawn = Table(title="Accuracy, the best on validation first", title_justify="left")
    drawn.add_column("run", overflow="fold", ratio=1)
    for heading in ("validation", "test", "test, balanced", "training"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    for row in table.itertuples():
        drawn.add_row(
            f"{row.run} {_mark(bool(row.leaky), str(row.groups))}".strip(),
            f"{row.val_accuracy:.3f}",
            f"{row.test_accuracy:.3f}",
            f"{row.test_balanced_accuracy:.3f}",
            f"{row.seconds:.0f} s",
        )
    drawn.add_section()
    baselines = table["baseline_accuracy"]
    drawn.add_row("the majority class", "", f"{baselines.max():.3f}", "", "")
    return drawn


def _mark(leaky: bool, groups: str) -> str:
    return "*" if leaky else "?" if groups == "none" else ""
