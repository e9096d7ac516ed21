"""The ranking of a comparison as a table for the terminal."""

from rich.markup import escape
from rich.table import Table

from bloodcell.comparison.comparing import Comparison
from bloodcell.comparison.sentences import format_interval
from bloodcell.evaluation.evidence import barring


def comparison_table(comparison: Comparison, *, title: str) -> Table:
    """Return the leading runs, the best first, with their first score in every unit, and if they can be the best."""
    score, units = comparison.scores[0], comparison.units
    by = comparison.estimates_of(score)
    shown = Table(title=escape(f"{title}, by {score.label}{' in %' if score.is_share else ''}"), title_justify="left")
    shown.add_column("run", overflow="fold")
    for heading in units.values():
        shown.add_column(heading, justify="right", no_wrap=True)
    shown.add_column("the best?", no_wrap=True)
    for row in comparison.ranking[comparison.ranking["run"].isin(comparison.leading)].to_dict("records"):
        cells = [format_interval(by[unit].loc[row["run"]], score) for unit in units]
        if len(cells) > 2:  # or there is no room for names
            cells = [cell.replace(" (", "\n(") for cell in cells]
        standing = "can be" if row["can_be_best"] else f"no: {barring(row['evidence'])}" if row["barred"] else "no"
        shown.add_row(escape(str(row["run"])), *cells, standing)
    return shown
