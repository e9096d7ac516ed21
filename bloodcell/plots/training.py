"""Plots of a run: learning curves, confusion matrix and metrics by class."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from bloodcell.console.confusion import most_confused
from bloodcell.plots.style import (
    BLUE,
    FAINT,
    INK,
    MUTED,
    ORANGE,
    PAPER,
    SKY,
    SMALL_SIZE,
    TEXT_SIZE,
    annotate,
    finish,
    fold,
    new_figure,
    shortened,
    text_colour_on,
    text_width,
    tidy,
    widest,
)
from bloodcell.wording import counted

MAX_CLASSES = 40
"""With more classes, plots have one size and show part of them by name."""
N_LISTED = 20
"""Confusions or classes that are then shown by name."""

Monitor = Literal["val_loss", "val_accuracy"]
"""The metric that selects the best epoch."""


def learning_curves(history: pd.DataFrame, *, monitor: Monitor = "val_loss") -> Figure:
    """Draw loss and accuracy over the epochs of all stages, each with its learning rate.

    Parameters
    ----------
    history
        One row per epoch, at least one: ``epoch`` (int from 0, counted through all stages), ``stage`` (str),
        ``train_loss, train_accuracy, val_loss, val_accuracy`` and ``learning_rate`` (float, NaN where not measured).
    monitor
        The column that selects the best epoch: the first with the lowest loss or the highest accuracy.
    """
    history = history.sort_values("epoch").reset_index(drop=True)
    best = _best_row(history, monitor=monitor)
    stages = _stage_spans(history)
    key = _packed([f"{number}  {name}" for number, (name, _, _) in enumerate(stages, 1)], inches=10.6, size=SMALL_SIZE)
    figure = new_figure(title="Learning curves", width=11, height=4.1 + 0.14 * key.count("\n"))
    loss, accuracy = figure.subplots(1, 2)
    _curves(loss, history, quantity="loss", best=best, stages=stages)
    _curves(accuracy, history, quantity="accuracy", best=best, stages=stages)
    accuracy.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    figure.supxlabel(key, fontsize=SMALL_SIZE, color=MUTED, x=0.01, ha="left")
    return finish(figure)


def confusion_matrix(matrix: NDArray[np.integer], *, classes: Sequence[str], title: str) -> Figure:
    """Draw a confusion matrix as counts and as row percentages; a class without images has dashes for shares.

    With more than `MAX_CLASSES` classes, draw shades only, in a picture of one size, and the most frequent confusions.

    Parameters
    ----------
    matrix
        Shape (k, k), counts at least 0: rows are true classes, columns predicted ones.
    classes
        The k class names.

    Raises
    ------
    ValueError
        If the matrix does not have the shape (k, k).
    """
    counts = np.asarray(matrix)
    k = len(classes)
    if counts.shape != (k, k):
        raise ValueError(f"the matrix has shape {counts.shape}, expected ({k}, {k})")
    images = counts.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        shares = counts / images
    if k > MAX_CLASSES:
        return _many_classes(counts, shares, classes=classes, title=title)
    size = TEXT_SIZE if k <= 8 else SMALL_SIZE
    labels = [fold(name, inches=2.2, size=size) for name in classes]
    cell_texts = [f"{count:,}" for count in counts.ravel()] + ["100%"]
    # A panel must be wide enough for its title.
    min_cell = max(0.65 if k <= 8 else 0.4, 1.9 / k)
    cell = max(widest(cell_texts, size=size, bold=True) + 0.1, min_cell)
    label_width = widest(labels, size=size)
    upright = label_width > cell - 0.08
    side = cell * k
    figure = new_figure(
        title=title,
        width=2 * (side + label_width + 0.75),
        height=side + (label_width if upright else 0.25) + 0.85,
        layout="compressed",
    )
    left, right = figure.subplots(1, 2)
    numbers = np.array([f"{count:,}" for count in counts.ravel()]).reshape(k, k)
    percents = np.array(["–" if np.isnan(share) else f"{share:.0%}" for share in shares.ravel()]).reshape(k, k)
    for axes, name, shades, texts in (
        (left, "Images", counts / max(int(counts.max()), 1), numbers),
        (right, "Row %", shares, percents),
    ):
        axes.set_title(name, loc="left", fontsize=TEXT_SIZE + 1, color=INK, pad=8)
        _draw_matrix(axes, shades=shades, texts=texts, size=size)
        _label_matrix(axes, labels, upright=upright, size=size)
    return finish(figure)


def per_class_bars(table: pd.DataFrame, *, title: str) -> Figure:
    """Draw precision, recall and F1 of each class as bars; "undefined" for a NaN.

    Parameters
    ----------
    table
        One row per class: ``class`` (str), ``precision, recall, f1`` (float in 0..1, NaN where undefined) and
        ``images`` (int), as `bloodcell.evaluation.metrics.per_class` returns it. With more than `MAX_CLASSES`, those
        with the lowest F1 are drawn.
    """
    if len(table) > MAX_CLASSES:
        title += f": the {N_LISTED} of {len(table)} classes with the lowest F1"
        table = table.sort_values("f1", kind="stable", na_position="first").head(N_LISTED)
    labels = [
        f"{fold(str(name), inches=3, size=TEXT_SIZE)}\n{counted(images, 'image')}"
        for name, images in zip(table["class"], table["images"], strict=True)
    ]
    n_classes, bars = len(table), {"precision": SKY, "recall": BLUE, "f1": ORANGE}
    lines = max(label.count("\n") + 1 for label in labels)
    class_height = max(0.2 * len(bars), 0.17 * lines) + 0.16
    figure = new_figure(title=title, width=widest(labels, size=TEXT_SIZE) + 6.5, height=n_classes * class_height + 0.95)
    axes = figure.subplots()
    tidy(axes, grid="x")
    bar_height = 0.8 / len(bars)
    for bar, (metric, colour) in enumerate(bars.items()):
        values = table[metric].to_numpy(dtype=np.float64)
        places = np.arange(n_classes) + (bar - (len(bars) - 1) / 2) * bar_height
        axes.barh(places, np.nan_to_num(values), bar_height * 0.92, color=colour, label=metric.capitalize())
        for place, value in zip(places, values, strict=True):
            style: dict[str, Any] = {"offset": (4, 0), "va": "center_baseline"}
            if np.isnan(value):
                annotate(axes, "undefined", (0, place), **style, fontstyle="italic")
            else:
                annotate(axes, f"{value:.1%}", (value, place), **style, color=INK)
    axes.set_yticks(np.arange(n_classes), labels)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(n_classes - 0.5, -0.5)
    axes.set_xlim(0, 1.12)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1))
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=len(bars),
        fontsize=SMALL_SIZE + 0.5,
        frameon=False,
        borderaxespad=0.2,
        handlelength=1.6,
    )
    return finish(figure)


def _best_row(history: pd.DataFrame, *, monitor: Monitor) -> int | None:
    values = history[monitor].to_numpy(dtype=np.float64)
    if np.isnan(values).all():
        return None
    return int(np.nanargmin(values) if monitor == "val_loss" else np.nanargmax(values))


def _stage_spans(history: pd.DataFrame) -> list[tuple[str, int, int]]:
    """Return each stage's description with its first and last epoch."""
    starts = history["stage"].ne(history["stage"].shift()).cumsum()
    return [
        (
            str(part["stage"].iloc[0]) + _rate_text(part["learning_rate"].to_numpy(dtype=np.float64)),
            int(part["epoch"].iloc[0]),
            int(part["epoch"].iloc[-1]),
        )
        for _, part in history.groupby(starts)
    ]


def _rate_text(rates: NDArray[np.float64]) -> str:
    known = rates[~np.isnan(rates)]
    if not known.size:
        return ""
    first, last = f"{known[0]:.3g}", f"{known[-1]:.3g}"
    return f" (learning rate {first})" if first == last else f" (learning rate {first} → {last})"


def _packed(entries: Sequence[str], *, inches: float, size: float) -> str:
    """Join entries into lines of a maximal width, and fold longer entries."""
    lines: list[str] = []
    for entry in entries:
        longer = f"{lines[-1]}      {entry}" if lines else entry
        if lines and text_width(longer, size=size) <= inches:
            lines[-1] = longer
        else:
            lines += fold(entry, inches=inches, size=size).split("\n")
    return "\n".join(lines)


def _curves(
    axes: Axes,
    history: pd.DataFrame,
    *,
    quantity: Literal["loss", "accuracy"],
    best: int | None,
    stages: list[tuple[str, int, int]],
) -> None:
    tidy(axes, grid="y")
    epochs = history["epoch"].to_numpy(dtype=np.int64)
    train = history[f"train_{quantity}"].to_numpy(dtype=np.float64)
    validation = history[f"val_{quantity}"].to_numpy(dtype=np.float64)
    marker = "o" if epochs.size <= 30 else None
    for number, (_, first, last) in enumerate(stages, 1):
        axes.axvspan(first - 0.5, last + 0.5, color=FAINT, alpha=0.45 if number % 2 == 0 else 0, linewidth=0, zorder=0)
        if number > 1:
            axes.axvline(first - 0.5, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
        style = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "bottom"}
        annotate(axes, str(number), ((first + last) / 2, 1), offset=(0, 3), **style)
    measured = False
    for values, colour, label in ((train, ORANGE, "Training"), (validation, BLUE, "Validation")):
        if not np.isnan(values).all():
            measured = True
            axes.plot(epochs, values, color=colour, marker=marker, markersize=3.5, linewidth=1.8, label=label)
    headline = quantity.capitalize()
    if best is not None:
        axes.axvline(epochs[best], color=INK, linewidth=0.9, zorder=1.5, label=f"Best epoch ({epochs[best]})")
        if not np.isnan(validation[best]):
            axes.plot(epochs[best], validation[best], marker="*", markersize=13, color=INK, markeredgecolor=PAPER)
            value = f"{validation[best]:.3f}" if quantity == "loss" else f"{validation[best]:.1%}"
            headline += f": {value} in validation at epoch {epochs[best]}"
    axes.set_title(headline, loc="left", fontsize=TEXT_SIZE + 1, color=INK, pad=16)
    axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("Epoch (from 0)")
    axes.set_ylabel(quantity.capitalize())
    if measured:
        axes.legend(fontsize=SMALL_SIZE, framealpha=0.9, edgecolor="none", loc="best")
    else:
        axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", fontsize=TEXT_SIZE, color=MUTED)


def _draw_matrix(axes: Axes, *, shades: NDArray[np.float64], texts: NDArray[np.str_], size: float) -> None:
    """Draw the cells of a matrix: shades in 0..1 and texts, both of shape (k, k)."""
    colours = colormaps["Blues"](np.nan_to_num(shades))
    axes.imshow(colours, aspect="equal", interpolation="nearest")
    for row, column in np.ndindex(texts.shape):
        axes.text(
            column,
            row,
            str(texts[row, column]),
            ha="center",
            va="center",
            fontsize=size,
            fontweight="bold" if row == column else "normal",
            color=text_colour_on(tuple(colours[row, column])),
            # Cells are made as large as their texts, so the layout need not measure each.
            in_layout=False,
        )


def _many_classes(
    counts: NDArray[np.integer], shares: NDArray[np.float64], *, classes: Sequence[str], title: str
) -> Figure:
    """Draw row percentages as shades, and the most frequent confusions as bars."""
    pairs = most_confused(counts, most=N_LISTED)
    labels = [" → ".join(shortened(classes[index], inches=1.7, size=SMALL_SIZE) for index in pair) for pair in pairs]
    figure = new_figure(title=title, width=13, height=5.4)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1))
    left.set_title(f"Row %, {len(classes)} classes", loc="left", fontsize=TEXT_SIZE + 1, color=INK, pad=8)
    left.imshow(np.nan_to_num(shares), cmap="Blues", vmin=0, vmax=1, aspect="equal", interpolation="nearest")
    left.set_xticks([])
    left.set_yticks([])
    left.set_xlabel("Predicted", fontsize=TEXT_SIZE, color=MUTED)
    left.set_ylabel("True", fontsize=TEXT_SIZE, color=MUTED)
    right.set_title("Most frequent confusions: true → predicted", loc="left", fontsize=TEXT_SIZE + 1, color=INK, pad=8)
    tidy(right, grid="x")
    places = np.arange(len(pairs))
    right.barh(places, [counts[pair] for pair in pairs], color=ORANGE)
    for place, pair in zip(places, pairs, strict=True):
        annotate(right, f"{counts[pair]:,}", (float(counts[pair]), float(place)), offset=(4, 0), va="center_baseline")
    right.set_yticks(places, labels, fontsize=SMALL_SIZE)
    right.tick_params(axis="y", length=0)
    right.set_ylim(max(len(pairs), 1) - 0.5, -0.5)
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.set_xlabel("Images")
    return finish(figure)


def _label_matrix(axes: Axes, labels: Sequence[str], *, upright: bool, size: float) -> None:
    ticks = np.arange(len(labels))
    axes.set_xticks(ticks, labels, rotation=90 if upright else 0, multialignment="center")
    axes.set_yticks(ticks, labels)
    axes.set_xticks(ticks[1:] - 0.5, minor=True)
    axes.set_yticks(ticks[1:] - 0.5, minor=True)
    axes.grid(which="minor", color=PAPER, linewidth=1.5)
    axes.tick_params(labelsize=size, labelcolor=INK, length=0)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("Predicted", fontsize=TEXT_SIZE, color=MUTED)
    axes.set_ylabel("True", fontsize=TEXT_SIZE, color=MUTED)
