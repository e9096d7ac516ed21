"""The plot of a study: a forest plot of all runs' validation and test accuracy."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bloodcell.plots.forest import BASELINES, MEASURES, OFFSET, UNKNOWN, Accuracy, accuracy_in, draw_accuracy, frame
from bloodcell.plots.style import (
    BLUE,
    FAINT,
    INK,
    MUTED,
    ORANGE,
    SMALL_SIZE,
    TEXT_SIZE,
    annotate,
    finish,
    fold,
    new_figure,
    shortened,
    widest,
)

SPLITS = {"val": ("Validation", ORANGE), "test": ("Test", BLUE)}
# In inches. Narrow, so that it can be read on a telephone: its 390 pixels show 8 points as 9 pixels.
WIDTH = 4.7
LINE = 0.36
NAME_LINE = 0.17
BETWEEN_RUNS = 0.14
COLUMN_GAP = 0.12

RULE = (
    "A winner is clear if its 95 % interval of validation accuracy by image overlaps no other; "
    "bloodcell compare tests the differences."
)


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
        One row per run: ``run`` (str, with any mark it has), ``can_win`` (bool), ``baseline_accuracy`` and
        ``baseline_photograph_accuracy`` (on test), and for ``val`` and ``test`` ``<split>_accuracy`` and
        ``<split>_photograph_accuracy``, each also with ``_low`` and ``_high``, the ends of its interval; all in 0..1,
        NaN if not evaluated.
    notes
        Paragraphs below it: the meaning of marks.

    Returns
    -------
    matplotlib.figure.Figure
        The title says whether a run leads. For each run, from the top in the order of the table, a line for each split
        that any run has: a dot and its interval by image, a diamond and its interval by photograph, and both in numbers
        at the right. The baseline is a dashed line by image and a dotted one by photograph.
    """
    splits = [split for split in SPLITS if table[f"{split}_accuracy"].notna().any()] or ["val"]
    names = [fold(str(run), inches=WIDTH - 0.3, size=TEXT_SIZE, bold=True) for run in table["run"]]
    # All positions are in lines.
    gap = BETWEEN_RUNS / LINE / 2
    of_names = np.array([(name.count("\n") + 1) * NAME_LINE / LINE for name in names])
    tops = np.concatenate([[0.0], np.cumsum(of_names + len(splits) + 2 * gap)])
    lines = list(_lines(table, splits=splits, starts=tops[:-1] + of_names + gap))
    accuracies = [accuracy for line in lines for accuracy in (line.by_image, line.by_source)]
    with_photographs = not all(np.isnan(line.by_source.value) for line in lines)
    if any(not (np.isnan(each.value) or each.has_interval) for each in accuracies):
        notes = [*notes, f"{UNKNOWN.capitalize()}: there are too few groups."]
    if len(table) > 1:
        notes = [*notes, RULE]
    figure = new_figure(title=_message(table), width=WIDTH, height=tops[-1] * LINE + 1.0, notes=notes)
    axes = figure.subplots()
    for top, bottom in list(pairwise(tops))[1::2]:
        axes.axhspan(top, bottom, color=FAINT, alpha=0.3, linewidth=0, zorder=0)
    for measure, look in BASELINES.items():
        values = table[f"baseline_{measure}"].to_numpy(dtype=np.float64)
        axes.vlines(values, tops[:-1] + of_names + gap, tops[1:], zorder=1, **look)
    for line in lines:
        _draw(axes, line)
        _write(axes, line, with_photographs=with_photographs)
    frame(axes, colours={"By image": MUTED}, with_photographs=with_photographs, columns=2)
    axes.set_yticks([line.middle for line in lines], [SPLITS[line.split][0] for line in lines])
    axes.tick_params(axis="y", labelsize=SMALL_SIZE)
    left = widest([SPLITS[split][0] for split in splits], size=SMALL_SIZE) + 0.05
    style = {"xycoords": axes.get_yaxis_transform(), "va": "top", "fontsize": TEXT_SIZE, "fontweight": "bold"}
    for name, top in zip(names, tops, strict=False):
        annotate(axes, name, (0, top + gap), offset=(-72 * left, 0), color=INK, **style)
    axes.set_ylim(tops[-1], 0)
    known = [end for each in accuracies for end in (each.value, each.low)]
    known += [value for measure in BASELINES for value in table[f"baseline_{measure}"]]
    lowest = np.floor(10 * float(np.nanmin([*known, 0.9]))) / 10
    axes.set_xlim(lowest - 0.015, 1.015)
    axes.set_xticks(np.arange(lowest, 1.01, 0.2 if lowest < 0.55 else 0.1))
    axes.set_xlabel("Accuracy, with 95 % intervals", fontsize=SMALL_SIZE, color=INK)
    axes.tick_params(axis="x", labelsize=SMALL_SIZE)
    return finish(figure)


def _message(table: pd.DataFrame) -> str:
    """Return what the accuracies in validation, by image, say of the runs: which leads, or how many may."""
    ranked = table[table["can_win"]].dropna(subset="val_accuracy").sort_values("val_accuracy", ascending=False)
    if not len(ranked):
        return "No run can win" if len(table) > 1 else "Accuracy of one run"
    accuracies = [accuracy_in(row, "val_accuracy") for row in ranked.to_dict("records")]
    best, name = accuracies[0], shortened(str(ranked["run"].iloc[0]), inches=3.4, size=TEXT_SIZE)
    if len(table) == 1:
        return f"{name}: validation accuracy {best.value:.1%}"
    if len(ranked) == 1:
        return f"Only {name} can win"
    close = [each for each in accuracies if not each.high < best.low]
    if len(close) == 1:
        return f"{name} leads by {100 * (best.value - accuracies[1].value):.1f} points in validation"
    reason = "intervals overlap" if all(each.has_interval for each in close) else "intervals are unknown"
    return f"No clear winner among {len(close)} of {len(table)} runs: {reason}"


def _lines(table: pd.DataFrame, *, splits: Sequence[str], starts: Sequence[float]) -> Iterator[_Line]:
    for row, start in zip(table.to_dict("records"), starts, strict=True):
        for number, split in enumerate(splits):
            by_image, by_source = (accuracy_in(row, f"{split}_{measure}") for measure in MEASURES)
            yield _Line(split=split, middle=start + number + 0.5, by_image=by_image, by_source=by_source)


def _draw(axes: Axes, line: _Line) -> None:
    draw_accuracy(axes, line.middle, by_image=line.by_image, by_source=line.by_source, colour=SPLITS[line.split][1])


def _write(axes: Axes, line: _Line, *, with_photographs: bool) -> None:
    """Write the numbers of a line at the right of the panel, each beside its interval."""
    # Offsets in points, because the layout can change the width of the panel.
    style = {"xycoords": axes.get_yaxis_transform(), "fontsize": SMALL_SIZE}
    both = with_photographs and not np.isnan(line.by_source.value)
    if np.isnan(line.by_image.value):
        annotate(axes, "not evaluated", (1, line.middle), offset=(72 * COLUMN_GAP, 0), fontstyle="italic", **style)
        return
    place = line.middle - (1.15 * OFFSET if both else 0)
    annotate(axes, str(line.by_image), (1, place), offset=(72 * COLUMN_GAP, 0), **style | {"color": INK})
    if both:
        place = line.middle + 1.15 * OFFSET
        annotate(axes, str(line.by_source), (1, place), offset=(72 * COLUMN_GAP, 0), **style)
