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
    fold,
    new_figure,
    shortened,
    tidy,
    widest,
)

MAX_LINEAR_RATIO = 20
"""Values with a larger ratio of maximum to minimum get a logarithmic scale."""
MISSING = -0.34
"""The place of hyperparameters that a trial does not use, left of all values, which are from 0 to 1."""
# In inches. Narrow, so that it can be read on a telephone: its 390 pixels show 8 points as 9 pixels.
WIDTH = 4.7
NAME_WIDTH = 0.95
AXIS_GAP = 0.62
"""Between axes."""
UNIT = 2.2
"""Of an axis from 0 to 1, about."""
END_OFFSET = 4.0
"""Of the labels of an axis's ends, in points."""
STAGGER = 9.0
"""Of every second label above the others, where they would meet, in points."""


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

    ``trials`` has a row per trial and a column per hyperparameter, missing if inactive. Each hyperparameter is a
    horizontal axis; labels are over the lines, in boxes that hide them.
    """
    names = [str(name) for name in trials]
    height = AXIS_GAP * (len(names) + 1) + 0.9
    figure = new_figure(title=f"Hyperparameters of the trials, coloured by {objective}", width=WIDTH, height=height)
    axes = figure.subplots()
    columns = [*(trials[name] for name in names), scores]
    placed = [_places(column) for column in columns]
    places = np.column_stack([found for found, _ in placed])
    low, high = float(scores.min()), float(scores.max())
    scale = ScalarMappable(Normalize(low, high if high > low else low + 1), "viridis")
    order = np.argsort(scores.to_numpy())
    for row in order[::-1] if lower_is_better else order:  # the best are over the others
        axes.plot(places[row], range(len(columns)), color=scale.to_rgba(scores.iloc[row]), linewidth=1.3, alpha=0.8)
    for level, (found, labels) in enumerate(placed):
        axes.axhline(level, color=FAINT, linewidth=1, zorder=0)
        if (found == MISSING).any():
            _label(axes, "not used", (MISSING, level), italic=True)
        room = UNIT / max(len(labels) - 1, 1) - 0.15
        crowded = len(labels) > 2 and widest([text for _, text, _ in labels], size=SMALL_SIZE) > room
        for number, (place, text, side) in enumerate(labels):
            above = STAGGER * (1 if number % 2 else -1) if crowded else 0
            _label(axes, text, (place, level), side=side, above=above, inches=(2 if crowded else 1) * room)
    texts = [name.removesuffix(".name").rpartition(".")[2].replace("_", " ") for name in [*names, objective]]
    axes.set_yticks(range(len(columns)), [fold(text, inches=NAME_WIDTH, size=SMALL_SIZE) for text in texts])
    axes.set_ylim(len(columns) - 0.6, -0.4)
    axes.set_xlim(MISSING - 0.18 if (places == MISSING).any() else -0.22, 1.22)
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(axis="y", length=0, labelcolor=INK, labelsize=SMALL_SIZE)
    if high > low:
        bar = figure.colorbar(scale, ax=axes, location="bottom", fraction=0.03, pad=0.02, aspect=40)
        bar.set_label(
            f"{objective} ({'lower' if lower_is_better else 'higher'} is better)", fontsize=SMALL_SIZE, color=INK
        )
        bar.ax.tick_params(labelsize=SMALL_SIZE, labelcolor=INK, color=MUTED)
        bar.outline.set_visible(False)
    return finish(figure)


def _label(
    axes: Axes,
    text: str,
    point: tuple[float, float],
    *,
    side: int = 0,
    above: float = 0,
    inches: float = UNIT,
    italic: bool = False,
) -> None:
    """Write a text on an axis, or left (-1) or right (1) of a point, in a box that hides the lines behind it."""
    axes.annotate(
        shortened(text, inches=inches, size=SMALL_SIZE),
        point,
        xytext=(side * END_OFFSET, above),
        textcoords="offset points",
        ha=("center", "left", "right")[side],
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


def _places(values: pd.Series) -> tuple[np.ndarray, list[tuple[float, str, int]]]:
    """Return positions on an axis from 0 to 1, or `MISSING`, and its labels: position, text, and side of the point."""
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        numbers = values.to_numpy(dtype=np.float64)
        known = numbers[np.isfinite(numbers)]
        if len(known) and known.max() > known.min():
            logarithmic = known.min() > 0 and known.max() / known.min() > MAX_LINEAR_RATIO
            scaled = np.log(numbers) if logarithmic else numbers
            ends = (np.nanmin(scaled), np.nanmax(scaled))
            places = (scaled - ends[0]) / (ends[1] - ends[0])
            # Beyond the ends, which show where lines meet the axis.
            labels = [(0.0, f"{known.min():.3g}", -1), (1.0, f"{known.max():.3g}", 1)]
        else:
            places = np.where(np.isfinite(numbers), 0.5, np.nan)
            labels = [(0.5, f"{value:.3g}", 0) for value in known[:1]]
    else:
        kinds = sorted({str(value) for value in values.dropna()})
        where = {kind: number / (len(kinds) - 1) if len(kinds) > 1 else 0.5 for number, kind in enumerate(kinds)}
        places = np.array([where[str(value)] if pd.notna(value) else np.nan for value in values])
        labels = [(place, kind, 0) for kind, place in where.items()]
    return np.where(np.isnan(places), MISSING, places), labels
