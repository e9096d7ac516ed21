"""The ranking of a comparison as texts, for the table of a terminal or a page."""

from bloodcell.comparison.comparing import Comparison
from bloodcell.comparison.sentences import format_interval
from bloodcell.evaluation.evidence import barring


def metric_heading(comparison: Comparison) -> str:
    """Return the name of the first metric with its unit."""
    score = comparison.scores[0]
    return f"{score.label}{' in %' if score.is_share else ''}"


def ranked_rows(comparison: Comparison) -> list[list[str]]:
    """Return a row for each leading run, the best first, with the first metric.

    Returns
    -------
    list of list of str
        The run's name, its value with the 95 % interval in every unit of `Comparison.units`, and if it can be the best.
    """
    score, units = comparison.scores[0], comparison.units
    by_unit = comparison.estimates_of(score)
    leading = comparison.ranking[comparison.ranking["run"].isin(comparison.leading)]
    return [
        [
            str(row["run"]),
            *(format_interval(by_unit[unit].loc[row["run"]], score) for unit in units),
            "can be" if row["can_be_best"] else f"no: {barring(row['evidence'])}" if row["barred"] else "no",
        ]
        for row in leading.to_dict("records")
    ]
