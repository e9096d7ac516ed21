"""The members of an ensemble as a table for the terminal, and notes on its metrics."""

from collections.abc import Sequence

import pandas as pd
from rich.markup import escape
from rich.table import Table

from bloodcell.cards.outcome import interval_text
from bloodcell.comparison.combination import Method
from bloodcell.evaluation.outcome import Outcome
from bloodcell.wording import intervals_note

ACCURACIES = ("accuracy", "photograph_accuracy")


def terminal_table(members: pd.DataFrame, outcome: Outcome, *, title: str) -> Table:
    """Return the table of `bloodcell.comparison.members.members_table`, and the majority class."""
    shown = Table(title=title, title_justify="left")
    shown.add_column("", overflow="fold")
    for heading in ("weight", f"validation{outcome.leakage.mark('val')}", "by photograph"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for row in members.to_dict("records"):
        if not row["run_id"]:
            shown.add_section()
        weight = f"{row['weight']:.2f}" if row["run_id"] else ""
        shown.add_row(
            escape(row["name"]), weight, *(f"{row[name]:.3f}\n{interval_text(row, name)}" for name in ACCURACIES)
        )
    shown.add_row("majority class", "", *(f"{outcome.val.baseline[name]:.3f}" for name in ACCURACIES))
    return shown


def notes_on(method: Method, outcome: Outcome, *, stopped: Sequence[str]) -> list[str]:
    """Return the notes on an ensemble's metrics; ``stopped``: the members whose epochs validation chose."""
    group, warning = outcome.leakage.group_name, outcome.leakage.sentence
    notes = [intervals_note(group)]
    if method != "soft":
        notes.append(
            f"The ensemble's metrics on validation are cross-fitted: no {group} is combined by weights that were "
            "fitted to it. The displayed weights were fitted to all."
        )
    if method == "stacking":
        notes.append(
            "A weight says by how much a member's log probability of a class raises that class above the others."
        )
    if warning:
        notes.append(f"Warning: {warning}")
    if method != "soft" and stopped:
        notes.append(
            f"Warning: the epochs of {'; '.join(stopped)} were chosen by the same images: their metrics are slightly "
            "optimistic."
        )
    return notes
