"""The plot of an ensemble: validation accuracy of members and ensemble, and weights."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bloodcell.plots.forest import BASELINES, MEASURES, OFFSET, Accuracy, accuracy_in, draw_accuracy, frame
from bloodcell.plots.style import (
    BLUE,
    FAINT,
    INK,
    MUTED,
    ORANGE,
    SMALL_SIZE,
    TEXT_SIZE,
    finish,
    fold,
    new_figure,
    tidy,
    widest,
)

# In inches.
PANEL = 4.4
WEIGHTS = 1.5
LABEL = 3.0
LINE = 0.42
NAME_LINE = 0.17


def ensemble_plot(
    table: pd.DataFrame, *, baseline: float, photograph_baseline: float, notes: Sequence[str] = ()
) -> Figure:
    """Draw the accuracies of an ensemble and its members, and their weights.

    Parameters
    ----------
    table
        One row per member and, last, one of the ensemble: ``name``; ``weight``, which may be below 0, NaN for the
        ensemble; ``accuracy`` and ``photograph_accuracy`` on validation, each also with ``_low`` and ``_high``, the
        ends of its interval; in 0..1.
    baseline, photograph_baseline
        The accuracy of the majority class, by image and by photograph.
    notes
        Paragraphs below the figure.
    """
    labels = [fold(str(name), inches=LABEL, size=TEXT_SIZE) for name in table["name"]]
    line = max(LINE, (max(label.count("\n") for label in labels) + 1.6) * NAME_LINE)
    rows = [[accuracy_in(row, measure) for measure in MEASURES] for row in table.to_dict("records")]
    texts = widest((str(accuracy) for row in rows for accuracy in row), size=SMALL_SIZE, bold=True)
    width = widest(labels, size=TEXT_SIZE, bold=True) + PANEL + texts + WEIGHTS + 1.1
    title = "Validation accuracy of the ensemble and its members, with 95 % intervals"
    figure = new_figure(title=title, width=width, height=len(table) * line + 1.0, notes=notes)
    accuracies, gap, weights = figure.subplots(1, 3, sharey=True, width_ratios=[PANEL, texts, WEIGHTS])
    _draw_accuracies(accuracies, rows, baselines={"accuracy": baseline, "photograph_accuracy": photograph_baseline})
    gap.set_axis_off()
    for place, row in enumerate(rows):
        for side, accuracy in zip((-OFFSET, OFFSET), row, strict=True):
            gap.text(0, place + 1.15 * side, str(accuracy), va="center", fontsize=SMALL_SIZE, color=INK)
    _draw_weights(weights, table["weight"].to_numpy(dtype=np.float64)[:-1])
    accuracies.set_yticks(range(len(table)), labels)
    accuracies.get_yticklabels()[-1].set_fontweight("bold")
    accuracies.set_ylim(len(table) - 0.5, -0.5)
    return finish(figure)


def _draw_accuracies(axes: Axes, rows: Sequence[Sequence[Accuracy]], *, baselines: dict[str, float]) -> None:
    last = len(rows) - 1
    axes.axhspan(last - 0.5, last + 0.5, color=FAINT, alpha=0.35, linewidth=0, zorder=0)
    for measure, value in baselines.items():
        axes.axvline(value, zorder=1, **BASELINES[measure])
    for place, (by_image, by_source) in enumerate(rows):
        colour = BLUE if place == last else ORANGE
        draw_accuracy(axes, place, by_image=by_image, by_source=by_source, colour=colour)
    legend = frame(axes, colours={"Members": ORANGE, "Ensemble": BLUE}, with_photographs=True)
    legend.set_in_layout(False)  # it may extend over the numbers


def _draw_weights(axes: Axes, weights: np.ndarray[Any, np.dtype[np.float64]]) -> None:
    axes.barh(range(len(weights)), weights, height=0.42, color=ORANGE)
    room = max(float(np.abs(weights).max()), 1e-3)
    for place, weight in enumerate(weights):
        axes.text(max(weight, 0) + 0.05 * room, place, f"{weight:.2f}", va="center", fontsize=SMALL_SIZE, color=INK)
    tidy(axes, grid="x")
    axes.tick_params(axis="y", length=0, labelleft=False)
    axes.spines["left"].set_visible(False)
    axes.axvline(0, color=MUTED, linewidth=0.8)
    axes.set_xlim(min(0.0, float(weights.min()) * 1.1), room * 1.35)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.set_title("Weight", fontsize=TEXT_SIZE, color=INK, loc="left", pad=4)
