"""A comparison for notebooks and Python's prompt: the decision, the ranking, the verdicts."""

from html import escape

from bloodcell.comparison.comparing import Comparison
from bloodcell.comparison.decision import decide
from bloodcell.comparison.ranked_table import metric_heading, ranked_rows

MAX_SENTENCES = 20
"""A notebook lists at most so many verdicts."""


def comparison_text(comparison: Comparison) -> str:
    """Return the decision and the ranking as text, a line each."""
    heading = f"By {metric_heading(comparison)}, {', '.join(comparison.units.values())}:"
    rows = ("  " + "  ".join(cells) for cells in ranked_rows(comparison))
    return "\n".join([*decide(comparison, costs=comparison.costs).sentences, heading, *rows])


def comparison_html(comparison: Comparison) -> str:
    """Return a fragment of HTML with what the terminal and the report show first.

    Names of runs, classes and groups are escaped.
    """
    headline, *others = decide(comparison, costs=comparison.costs).sentences
    head = "".join(f"<th>{escape(text)}</th>" for text in ("run", *comparison.units.values(), "the best?"))
    rows = "".join(
        f"<tr><th>{escape(name)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        for name, *cells in ranked_rows(comparison)
    )
    more = len(comparison.sentences) - MAX_SENTENCES
    items = [*comparison.sentences[:MAX_SENTENCES], *([f"{more:,} more in .sentences"] if more > 0 else [])]
    notes = [each for each in (*comparison.aligned.notes, comparison.left_out) if each]
    return (
        f"<p><b>{escape(headline)}</b> {escape(' '.join(others))}</p>"
        f"<table><caption>{escape(metric_heading(comparison))}, 95 % intervals</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        f"<details><summary>All verdicts</summary><ul>{''.join(f'<li>{escape(each)}</li>' for each in items)}</ul>"
        f"</details>" + "".join(f"<p>Warning: {escape(note)}</p>" for note in notes)
    )
