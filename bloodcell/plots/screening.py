"""The plot of screened features: accuracy by the strength of regularisation."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, StrMethodFormatter

from bloodcell.plots.style import BLUE, INK, MUTED, ORANGE, SKY, SMALL_SIZE, VERMILION, finish, new_figure, tidy
from bloodcell.wording import plural

COLOURS = (BLUE, ORANGE, VERMILION, SKY, INK)
DASHES = ("-", "--", ":")
"""Of further features with the same colour."""
N_BANDS = 3
"""With more features, intervals would hide each other; the best has one."""


def accuracy_by_strength(
    curves: Mapping[str, pd.DataFrame], best: Mapping[str, int], *, majority: float, group: str
) -> Figure:
    """Draw accuracy by image over the strength of regularisation.

    Parameters
    ----------
    curves
        By the name of features, the best first, a table with ``l2``, ``accuracy``, ``accuracy_low``, ``accuracy_high``.
    best
        The row of the chosen strength of each, which gets a dot.
    majority
        The accuracy of the majority class.
    group
        The user's word for a group.
    """
    figure = new_figure(
        title=f"Accuracy of linear heads without each image's {group}",
        width=7.5,
        height=4.4,
        notes=[f"Bands are 95 % intervals that count {plural(group)}. Dots: the strength of the least log loss."],
    )
    axes = figure.subplots()
    for number, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        dashes = DASHES[number // len(COLOURS) % len(DASHES)]
        axes.plot(curve["l2"], curve["accuracy"], label=name, linewidth=1.8, color=colour, linestyle=dashes)
        row = curve.iloc[best[name]]
        axes.plot(row["l2"], row["accuracy"], "o", color=colour, markersize=6)
        if number == 0 or len(curves) <= N_BANDS:
            ends = curve["accuracy_low"], curve["accuracy_high"]
            axes.fill_between(curve["l2"], *ends, color=colour, alpha=0.15, linewidth=0)
    axes.axhline(majority, color=MUTED, linewidth=1.2, linestyle=(0, (4, 2)), label="majority class")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("strength of regularisation (head.l2, for features of variance 1)")
    axes.set_ylabel("accuracy by image")
    tidy(axes, grid="y")
    axes.legend(fontsize=SMALL_SIZE, frameon=False, loc="lower left", ncols=2)
    return finish(figure)
