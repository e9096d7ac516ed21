"""The plots of a search: its course, trials, and importance of hyperparameters."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bloodcell.plots.style import (
    BLUE,
    FAINT,
    INK,
    MUTED,
    ORANGE,
    PAPER,
    SMALL_SIZE,
    TEXT_SIZE,
    VERMILION,
    annotate,
    finish,
    new_figure,
    shortened,
    tidy,
    widest,
)

MAX_LINEAR_RATIO = 20
"""Values with a larger ratio of maximum to minimum get a logarithmic scale."""
MISSING = -0.22
"""The height of hyperparameters that a trial does not use."""
AXIS_GAP = 1.35
"""Between axes, in inches."""
END_OFFSET = 11.0
"""Of the labels of an axis's ends, in points."""


def best_so_far(scores: pd.Series, *, objective: str, lower_is_better: bool) -> Figure:
    """Draw the objective of every trial, float64, NaN if it failed, and the best so far."""
    figure = new_figure(title=f"{objective} of every trial, and the best so far", width=7.5, height=3.4)
    axes = figure.subplots()
    numbers = np.arange(1, len(scores) + 1)
    best = scores.cummin() if lower_is_better else scores.cummax()
    axes.step(numbers, best.ffill(), where="post", color=ORANGE, linewidth=2, label="best so far")
    axes.plot(numbers, scores, "o", color=BLUE, markersize=4.5, label="trial")
    failed = numbers[scores.isna().to_numpy()]
    if len(failed):
        bottom = [0.03] * len(failed)
        axes.plot(failed, bottom, "x", color=VERMILION, transform=axes.get_xaxis_transform(), label="failed")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("trial")
    tidy(axes, grid="y")
    axes.legend(fontsize=SMALL_SIZE, frameon=False, loc="lower right")
    return finish(figure)


def parallel_coordinates(
    trials: pd.DataFrame, scores: pd.Series, *, objective: str, lower_is_better: bool = False
) -> Figure:
    """Draw each trial as a line through its hyperparameters, coloured by its score, the objective.

    ``trials`` has a row per trial and a column per hyperparameter, missing if inactive. Labels are over the lines, in
    boxes that hide them.
    """
    names = [str(name) for name in trials]
    width = max(7.5, AXIS_GAP * (len(names) + 1) + 1.2)
    figure = new_figure(title=f"Hyperparameters of the trials, coloured by {objective}", width=width, height=4.4)
    axes = figure.subplots()
    columns = [*(trials[name] for name in names), scores]
    placed = [_heights(column) for column in columns]
    places = np.column_stack([heights for heights, _ in placed])
    low, high = float(scores.min()), float(scores.max())
    scale = ScalarMappable(Normalize(low, high if high > low else low + 1), "viridis")
    order = np.argsort(scores.to_numpy())
    for row in order[::-1] if lower_is_better else order:  # the best are over the others
        axes.plot(range(len(columns)), places[row], color=scale.to_rgba(scores.iloc[row]), linewidth=1.3, alpha=0.8)
    for place, (heights, labels) in enumerate(placed):
        axes.axvline(place, color=FAINT, linewidth=1, zorder=0)
        if (heights == MISSING).any():
            _label(axes, "not used", (place, MISSING), offset=0, italic=True)
        for height, text, offset in labels:
            _label(axes, text, (place, height), offset=offset)
    texts = [name.rpartition(".")[2].replace("_", "\n") for name in names]
    axes.set_xticks(range(len(columns)), [*texts, objective.replace("_", "\n")], fontsize=SMALL_SIZE)
    axes.set_xlim(-0.4, len(columns) - 0.6)
    axes.set_ylim(MISSING - 0.08, 1.12)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(axis="x", length=0, labelcolor=INK)
    if high > low:
        bar = figure.colorbar(scale, ax=axes, fraction=0.03, pad=0.02)
        bar.set_label(
            f"{objective} ({'lower' if lower_is_better else 'higher'} is better)", fontsize=SMALL_SIZE, color=INK
        )
        bar.ax.tick_params(labelsize=SMALL_SIZE, labelcolor=INK, color=MUTED)
        bar.outline.set_visible(False)
    return finish(figure)


def _label(axes: Axes, text: str, point: tuple[float, float], *, offset: float, italic: bool = False) -> None:
    """Write a text on an axis, ``offset`` points above a point, in a box that hides the lines behind it."""
    axes.annotate(
        shortened(text, inches=AXIS_GAP - 0.2, size=SMALL_SIZE),
        point,
        xytext=(0, offset),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=SMALL_SIZE,
        fontstyle="italic" if italic else "normal",
        color=INK,
        bbox={"facecolor": PAPER, "edgecolor": FAINT, "linewidth": 0.6, "pad": 1.5},
        zorder=5,
    )


def importance_bars(importance: pd.Series, *, objective: str, n_trials: int) -> Figure:
    """Draw what `bloodcell.search.importance.hyperparameter_importance` returns."""
    title = f"Importance of hyperparameters for {objective}, from {n_trials} trials"
    label = widest(list(importance.index), size=TEXT_SIZE)
    figure = new_figure(title=title, width=label + 4.5, height=0.7 + 0.28 * len(importance))
    axes = figure.subplots()
    axes.barh(list(importance.index), importance, color=BLUE, height=0.62)
    for place, share in enumerate(importance):
        annotate(axes, f"{share:.0%}", (share, place), offset=(3, 0))
    axes.invert_yaxis()
    axes.set_xlim(0, max(importance.max() * 1.15, 0.1))
    axes.set_xticks([])
    tidy(axes)
    axes.spines["bottom"].set_visible(False)
    return finish(figure)


def _heights(values: pd.Series) -> tuple[np.ndarray, list[tuple[float, str, float]]]:
    """Return positions on an axis from 0 to 1, or `MISSING`, and its labels with their offsets in points."""
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        numbers = values.to_numpy(dtype=np.float64)
        known = numbers[np.isfinite(numbers)]
        if len(known) and known.max() > known.min():
            logarithmic = known.min() > 0 and known.max() / known.min() > MAX_LINEAR_RATIO
            scaled = np.log(numbers) if logarithmic else numbers
            ends = (np.nanmin(scaled), np.nanmax(scaled))
            heights = (scaled - ends[0]) / (ends[1] - ends[0])
            # Beyond the ends, which show where lines meet the axis.
            labels = [(0.0, f"{known.min():.3g}", -END_OFFSET), (1.0, f"{known.max():.3g}", END_OFFSET)]
        else:
            heights = np.where(np.isfinite(numbers), 0.5, np.nan)
            labels = [(0.5, f"{value:.3g}", 0.0) for value in known[:1]]
    else:
        kinds = sorted({str(value) for value in values.dropna()})
        where = {kind: number / (len(kinds) - 1) if len(kinds) > 1 else 0.5 for number, kind in enumerate(kinds)}
        heights = np.array([where[str(value)] if pd.notna(value) else np.nan for value in values])
        labels = [(height, kind, 0.0) for kind, height in where.items()]
    return np.where(np.isnan(heights), MISSING, heights), labels
