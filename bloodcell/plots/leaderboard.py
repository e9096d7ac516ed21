"""The plot of a study: a forest plot of all runs' validation and test accuracy."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bloodcell.plots.forest import BASELINES, MEASURES, Accuracy, accuracy_in, draw_accuracy, frame
from bloodcell.plots.style import (
    BLUE,
    FAINT,
    INK,
    MUTED,
    ORANGE,
    PAPER,
    SMALL_SIZE,
    TEXT_SIZE,
    finish,
    fold,
    new_figure,
    widest,
)

SPLITS = {"val": ("Validation", ORANGE), "test": ("Test", BLUE)}
# In inches.
PANEL = 4.6
LABEL = 3.2
LINE = 0.27
BETWEEN_RUNS = 0.16
COLUMN_GAP = 0.2


@dataclass(frozen=True, kw_only=True)
class _Line:
    """One split of one run, drawn at ``middle``, in lines from the top."""

    split: str
    middle: float
    by_image: Accuracy
    by_source: Accuracy


def leaderboard_plot(table: pd.DataFrame, *, notes: Sequence[str] = ()) -> Figure:
    """Draw the accuracies of a study's runs, at least one, and of the majority class.

    Parameters
    ----------
    table
        One row per run: ``run`` (str, with any mark it has), ``baseline_accuracy`` and
        ``baseline_photograph_accuracy`` (on test), and for ``val`` and ``test`` ``<split>_accuracy`` and
        ``<split>_photograph_accuracy``, each also with ``_low`` and ``_high``, the ends of its interval; all in 0..1,
        NaN if not evaluated.
    notes
        Paragraphs below it: the meaning of marks.

    Returns
    -------
    matplotlib.figure.Figure
        For each run, from the top in the order of the table, a line for validation and one for test: a dot and its
        interval by image, a diamond and its interval by photograph, and both in numbers at the right. The baseline is
        a dashed line by image and a dotted one by photograph.
    """
    labels = [fold(str(run), inches=LABEL, size=TEXT_SIZE) for run in table["run"]]
    # All positions are in lines.
    gap = BETWEEN_RUNS / LINE
    heights = [max(len(SPLITS), (label.count("\n") + 1) * 0.17 / LINE) + gap for label in labels]
    tops = np.concatenate([[0.0], np.cumsum(heights)])
    lines = list(_lines(table, middles=(tops[:-1] + tops[1:]) / 2))
    written = {"": [SPLITS[line.split][0] for line in lines], "By image": [str(line.by_image) for line in lines]}
    if not all(np.isnan(line.by_source.value) for line in lines):
        written["By photograph"] = [str(line.by_source) for line in lines]
    widths = [widest([heading, *texts], size=SMALL_SIZE, bold=bool(heading)) for heading, texts in written.items()]
    width = widest(labels, size=TEXT_SIZE) + PANEL + sum(widths) + COLUMN_GAP * len(widths) + 0.4
    title = "Accuracy of every run, with 95 % intervals"
    figure = new_figure(title=title, width=width, height=tops[-1] * LINE + 0.95, notes=notes)
    axes = figure.subplots()
    for top, bottom in list(pairwise(tops))[1::2]:
        axes.axhspan(top, bottom, color=FAINT, alpha=0.3, linewidth=0, zorder=0)
    for measure, style in BASELINES.items():
        axes.vlines(table[f"baseline_{measure}"].to_numpy(dtype=np.float64), tops[:-1], tops[1:], zorder=1, **style)
    for line in lines:
        _draw(axes, line)
    right = COLUMN_GAP
    for (heading, texts), column in zip(written.items(), widths, strict=True):
        _write(axes, heading, texts, lines=lines, right=right)
        right += column + COLUMN_GAP
    axes.set_yticks((tops[:-1] + tops[1:]) / 2, labels)
    axes.set_ylim(tops[-1], 0)
    frame(axes, colours=dict(SPLITS.values()), with_photographs="By photograph" in written)
    return finish(figure)


def _lines(table: pd.DataFrame, *, middles: Sequence[float]) -> Iterator[_Line]:
    for row, middle in zip(table.to_dict("records"), middles, strict=True):
        for number, split in enumerate(SPLITS):
            by_image, by_source = (accuracy_in(row, f"{split}_{measure}") for measure in MEASURES)
            place = middle + number - (len(SPLITS) - 1) / 2
            yield _Line(split=split, middle=place, by_image=by_image, by_source=by_source)


def _draw(axes: Axes, line: _Line) -> None:
    name, colour = SPLITS[line.split]
    draw_accuracy(axes, line.middle, by_image=line.by_image, by_source=line.by_source, colour=colour)
    if np.isnan(line.by_image.value):
        axes.text(
            0,
            line.middle,
            f"{name.lower()} not evaluated",
            va="center",
            fontsize=SMALL_SIZE,
            color=MUTED,
            fontstyle="italic",
            bbox={"facecolor": PAPER, "alpha": 0.85, "linewidth": 0, "pad": 0.6},
        )


def _write(axes: Axes, heading: str, texts: Sequence[str], *, lines: Sequence[_Line], right: float) -> None:
    """Write a column of texts ``right`` inches to the right of the panel, each at its line."""
    # Offsets in points, because the layout can change the width of the panel.
    style: dict[str, Any] = {"textcoords": "offset points", "fontsize": SMALL_SIZE, "color": INK}
    axes.annotate(
        heading, (1, 1), xycoords="axes fraction", xytext=(72 * right, 3), va="bottom", fontweight="bold", **style
    )
    transform = axes.get_yaxis_transform()
    for text, line in zip(texts, lines, strict=True):
        axes.annotate(text, (1, line.middle), xycoords=transform, xytext=(72 * right, 0), va="center", **style)
