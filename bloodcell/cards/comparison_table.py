"""The ranking of a comparison as a table for the terminal."""

from rich.markup import escape
from rich.table import Table

from bloodcell.comparison.comparing import Comparison
from bloodcell.comparison.ranked_table import metric_heading, ranked_rows


def comparison_table(comparison: Comparison, *, title: str) -> Table:
    """Return the leading runs, the best first, with their first score in every unit, and if they can be the best."""
    units = comparison.units
    shown = Table(title=escape(f"{title}, by {metric_heading(comparison)}"), title_justify="left")
    shown.add_column("run", overflow="fold")
    for heading in units.values():
        shown.add_column(heading, justify="right", no_wrap=True)
    shown.add_column("the best?", no_wrap=True)
    for name, *cells, standing in ranked_rows(comparison):
        if len(cells) > 2:  # or there is no room for names
            cells = [cell.replace(" (", "\n(") for cell in cells]
        shown.add_row(escape(name), *cells, standing)
    return shown
