"""The plots of a search: its course, trials, and importance of hyperparameters."""

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bloodcell.plots.style import (
    BLUE,
    FAINT,
    INK,
    ORANGE,
    SMALL_SIZE,
    TEXT_SIZE,
    VERMILION,
    annotate,
    finish,
    new_figure,
    tidy,
    widest,
)

MAX_LINEAR_RATIO = 20
"""Values with a larger ratio of maximum to minimum get a logarithmic scale."""


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


def parallel_coordinates(trials: pd.DataFrame, scores: pd.Series, *, objective: str) -> Figure:
    """Draw each trial as a line through its hyperparameters, coloured by its score, the objective.

    ``trials`` has a row per trial and a column per hyperparameter, missing if inactive.
    """
    names = [str(name) for name in trials]
    width = max(7.5, 1.35 * (len(names) + 1))
    figure = new_figure(title=f"Hyperparameters of the trials, coloured by {objective}", width=width, height=4.2)
    axes = figure.subplots()
    places = np.column_stack([*(_heights(trials[name])[0] for name in names), _heights(scores)[0]])
    low, high = float(scores.min()), float(scores.max())
    scale = ScalarMappable(Normalize(low, high if high > low else low + 1e-9), "viridis")
    for row in np.argsort(scores.to_numpy()):
        axes.plot(range(len(names) + 1), places[row], color=scale.to_rgba(scores.iloc[row]), linewidth=1.3, alpha=0.8)
    for place, name in enumerate([*names, objective]):
        axes.axvline(place, color=FAINT, linewidth=1, zorder=0)
        for height, text in _heights(scores if place == len(names) else trials[name])[1]:
            box = {"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.5}
            annotate(axes, text, (place, height), offset=(4, 0), color=INK, bbox=box)
    labels = [name.rpartition(".")[2].replace("_", "\n") for name in names]
    axes.set_xticks(range(len(names) + 1), [*labels, objective], fontsize=SMALL_SIZE)
    axes.set_ylim(-0.12, 1.05)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(axis="x", length=0, labelcolor=INK)
    return finish(figure)


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


def _heights(values: pd.Series) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Return positions on an axis from 0 to 1 (missing: below), and its labels."""
    if pd.api.types.is_numeric_dtype(values):
        numbers = values.to_numpy(dtype=np.float64)
        known = numbers[np.isfinite(numbers)]
        if len(known) and known.max() > known.min():
            logarithmic = known.min() > 0 and known.max() / known.min() > MAX_LINEAR_RATIO
            scaled = np.log(numbers) if logarithmic else numbers
            ends = (np.nanmin(scaled), np.nanmax(scaled))
            heights = (scaled - ends[0]) / (ends[1] - ends[0])
            labels = [(0.0, f"{known.min():.3g}"), (1.0, f"{known.max():.3g}")]
        else:
            heights = np.where(np.isfinite(numbers), 0.5, np.nan)
            labels = [(0.5, f"{value:.3g}") for value in known[:1]]
    else:
        kinds = sorted({str(value) for value in values.dropna()})
        where = {kind: number / max(len(kinds) - 1, 1) for number, kind in enumerate(kinds)}
        heights = np.array([where.get(str(value), np.nan) for value in values])
        labels = [(height, kind) for kind, height in where.items()]
    return np.where(np.isnan(heights), -0.1, heights), labels
