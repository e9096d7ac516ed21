"""Plots of a run: learning curves, confusion matrix and metrics by class."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, PercentFormatter
from matplotlib.transforms import offset_copy
from numpy.typing import NDArray

from bloodcell.console.confusion import most_confused
from bloodcell.plots.forest import UNKNOWN, WIDEST
from bloodcell.plots.style import (
    BLUE,
    FAINT,
    HALO,
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
from bloodcell.plots.svg import MAX_CLASSES
from bloodcell.wording import PHOTOGRAPH, counted, intervals_note, plural

N_LISTED = 20
"""Confusions or classes that are then shown by name."""

LEGEND_HEIGHT = 36
"""Of the legend of learning curves over the panel, in points: over the panel's title."""
WHY_ABOVE = (
    "Validation can be better than training: dropout and augmentation act in training only, and training is measured "
    "during the epoch, validation after it."
)

Monitor = Literal["val_loss", "val_accuracy"]
"""The metric that selects the best epoch."""


def learning_curves(history: pd.DataFrame, *, monitor: Monitor = "val_loss") -> Figure:
    """Draw loss and accuracy over the epochs of all stages, each with its learning rate.

    Epochs count from 1 over all stages; of the best one the legend also has the number within its stage, which the
    terminal shows.

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
    key = _packed([f"{number}  {name}" for number, (name, _, _) in enumerate(stages, 1)], inches=6.0, size=SMALL_SIZE)
    figure = new_figure(title="Learning curves", width=6.4, height=5.4, notes=[*key.split("\n"), WHY_ABOVE])
    loss, accuracy = figure.subplots(2, 1, sharex=True)
    _curves(loss, history, quantity="loss", best=best, stages=stages)
    _curves(accuracy, history, quantity="accuracy", best=best, stages=stages)
    accuracy.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    accuracy.set_xlabel("Epoch")
    _legend_over(loss, accuracy)
    return finish(figure)


def confusion_matrix(
    matrix: NDArray[np.integer],
    *,
    classes: Sequence[str],
    title: str,
    groups: NDArray[np.integer] | None = None,
    group_name: str = PHOTOGRAPH,
) -> Figure:
    """Draw a confusion matrix with row percentages and counts; a class without images has dashes for shares.

    With more than `MAX_CLASSES` classes, draw shades only, in a picture of one size, and the most frequent confusions.

    Parameters
    ----------
    matrix
        Shape (k, k), counts at least 0: rows are true classes, columns predicted ones.
    classes
        The k class names.
    groups
        Shape (k, k), the number of groups with an image in each cell, shown in brackets unless each is one image.
    group_name
        What output calls a group.

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
    notes: list[str] = []
    numbers, heading = [f"{count:,}" for count in counts.ravel()], "Row %, images"
    if groups is not None and (groups != counts).any():
        heading += f" ({plural(group_name)})"
        notes = [f"In brackets: {plural(group_name)} with such an image; one can be in several cells."]
        numbers = [f"{text} ({n:,})" for text, n in zip(numbers, groups.ravel(), strict=True)]
    percents = ["–" if np.isnan(share) else f"{share:.0%}" for share in shares.ravel()]
    texts = np.array([f"{share}\n{number}" for share, number in zip(percents, numbers, strict=True)]).reshape(k, k)
    # A panel must be wide enough for its heading.
    min_cell = max(0.65 if k <= 8 else 0.4, 1.9 / k)
    cell = max(widest([*numbers, "100%"], size=size, bold=True) + 0.1, min_cell)
    label_width = widest(labels, size=size)
    upright = label_width > cell - 0.08
    side = cell * k
    # One panel, so that it can be read on a telephone.
    figure = new_figure(
        title=title,
        width=side + label_width + 0.75,
        height=side + (label_width if upright else 0.25) + 1.05,
        layout="compressed",
        notes=notes,
    )
    if isinstance(engine := figure.get_layout_engine(), ConstrainedLayoutEngine):
        engine.set(h_pad=0.1)  # between the title and the heading
    axes = figure.subplots()
    axes.set_title(heading, loc="left", fontsize=TEXT_SIZE + 1, color=INK, pad=8)
    _draw_matrix(axes, shades=shares, texts=texts, size=size)
    _label_matrix(axes, labels, upright=upright, size=size)
    return finish(figure)


def per_class_bars(table: pd.DataFrame, *, title: str, group_name: str = PHOTOGRAPH) -> Figure:
    """Draw precision, recall and F1 of each class as bars with 95 % intervals; "undefined" for a NaN.

    Parameters
    ----------
    table
        One row per class: ``class`` (str), ``precision, recall, f1`` (float in 0..1, NaN where undefined), each also
        with ``_low`` and ``_high``, the ends of its interval (NaN if unknown), ``images`` and ``groups`` (int), as
        `bloodcell.evaluation.outcome.per_class_of` returns it. With more than `MAX_CLASSES`, those
        with the lowest F1 are drawn.
    group_name
        What output calls a group.
    """
    if len(table) > MAX_CLASSES:
        title += f": the {N_LISTED} of {len(table)} classes with the lowest F1"
        table = table.sort_values("f1", kind="stable", na_position="first").head(N_LISTED)
    labels = [
        f"{fold(str(name), inches=2.4, size=TEXT_SIZE)}\n{counted(images, 'image')}"
        + (f"\n{counted(groups, group_name)}" if groups != images else "")
        for name, images, groups in zip(table["class"], table["images"], table["groups"], strict=True)
    ]
    n_classes, bars = len(table), {"precision": SKY, "recall": BLUE, "f1": ORANGE}
    lines = max(label.count("\n") + 1 for label in labels)
    class_height = max(0.2 * len(bars), 0.17 * lines) + 0.16
    values = table[[*bars]].to_numpy(dtype=np.float64)
    columns = table[[f"{name}_{end}" for name in bars for end in ("low", "high")]].to_numpy(dtype=np.float64)
    pairs = columns.reshape(n_classes, len(bars), 2)
    ends = np.where(np.diff(pairs, axis=2) < WIDEST, pairs, np.nan)
    unknown = bool((np.isnan(ends[..., 0]) & ~np.isnan(values)).any())
    notes = [f"Lines: {intervals_note(group_name)}"]
    notes += [f"{UNKNOWN.capitalize()}: there are too few {plural(group_name)}."] if unknown else []
    width = widest(labels, size=TEXT_SIZE) + 4.6
    figure = new_figure(title=title, width=width, height=n_classes * class_height + 0.95, notes=notes)
    axes = figure.subplots()
    tidy(axes, grid="x")
    bar_height = 0.8 / len(bars)
    for bar, (metric, colour) in enumerate(bars.items()):
        places = np.arange(n_classes) + (bar - (len(bars) - 1) / 2) * bar_height
        axes.barh(places, np.nan_to_num(values[:, bar]), bar_height * 0.92, color=colour, label=metric.capitalize())
        axes.hlines(places, ends[:, bar, 0], ends[:, bar, 1], color=INK, linewidth=1.2, path_effects=HALO)
        for place, value, (low, high) in zip(places, values[:, bar], ends[:, bar], strict=True):
            style: dict[str, Any] = {"offset": (4, 0), "va": "center_baseline"}
            if np.isnan(value):
                annotate(axes, "undefined", (0, place), **style, fontstyle="italic")
                continue
            interval = UNKNOWN if np.isnan(low) else f"{low:.0%} to {high:.0%}"
            # At the right of all bars, so that no line is behind the text.
            annotate(axes, f"{value:.1%} ({interval})", (1, place), **style, color=INK)
    axes.set_yticks(np.arange(n_classes), labels)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(n_classes - 0.5, -0.5)
    axes.set_xlim(0, 1.01)
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
    """Return each stage's description with its first and last epoch, from 1."""
    starts = history["stage"].ne(history["stage"].shift()).cumsum()
    return [
        (
            str(part["stage"].iloc[0]) + _rate_text(part["learning_rate"].to_numpy(dtype=np.float64)),
            int(part["epoch"].iloc[0]) + 1,
            int(part["epoch"].iloc[-1]) + 1,
        )
        for _, part in history.groupby(starts)
    ]


def _best_label(epoch: int, stages: Sequence[tuple[str, int, int]]) -> str:
    """Return the label of the best epoch, with its number in its stage."""
    stage = next(number for number, (_, _, last) in enumerate(stages, 1) if epoch <= last)
    in_stage = f" (epoch {epoch - stages[stage - 1][1] + 1} of stage {stage})" if stage > 1 else ""
    return f"Best: epoch {epoch}{in_stage}"


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
    epochs = history["epoch"].to_numpy(dtype=np.int64) + 1
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
        axes.axvline(epochs[best], color=INK, linewidth=0.9, zorder=1.5, label=_best_label(epochs[best], stages))
        if not np.isnan(validation[best]):
            axes.plot(epochs[best], validation[best], marker="*", markersize=13, color=INK, markeredgecolor=PAPER)
            value = f"{validation[best]:.3f}" if quantity == "loss" else f"{validation[best]:.1%}"
            headline += f": {value} in validation at epoch {epochs[best]}"
    axes.set_title(headline, loc="left", fontsize=TEXT_SIZE + 1, color=INK, pad=16)
    axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_ylabel(quantity.capitalize())
    if not measured:
        axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", fontsize=TEXT_SIZE, color=MUTED)


def _legend_over(axes: Axes, other: Axes) -> None:
    """Draw one legend for two panels over the first, because in them it would hide curves."""
    both = [each.get_legend_handles_labels() for each in (other, axes)]
    handles = {label: handle for found in both for handle, label in zip(*found, strict=True)}
    if handles:
        axes.legend(
            handles=list(handles.values()),
            loc="lower left",
            bbox_to_anchor=(0, 1),
            bbox_transform=offset_copy(axes.transAxes, axes.get_figure(root=True), y=LEGEND_HEIGHT, units="points"),
            ncols=3,
            fontsize=SMALL_SIZE,
            frameon=False,
            borderaxespad=0,
            borderpad=0,
        )


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
    labels = [" → ".join(shortened(classes[index], inches=1.3, size=SMALL_SIZE) for index in pair) for pair in pairs]
    figure = new_figure(title=title, width=5.4, height=9.6)
    upper, lower = figure.subplots(2, 1, height_ratios=(1, 0.8))
    upper.set_title(f"Row %, {len(classes)} classes", loc="left", fontsize=TEXT_SIZE + 1, color=INK, pad=8)
    upper.imshow(np.nan_to_num(shares), cmap="Blues", vmin=0, vmax=1, aspect="equal", interpolation="nearest")
    upper.set_xticks([])
    upper.set_yticks([])
    upper.set_xlabel("Predicted", fontsize=TEXT_SIZE, color=MUTED)
    upper.set_ylabel("True", fontsize=TEXT_SIZE, color=MUTED)
    lower.set_title("Most frequent confusions: true → predicted", loc="left", fontsize=TEXT_SIZE + 1, color=INK, pad=8)
    tidy(lower, grid="x")
    places = np.arange(len(pairs))
    lower.barh(places, [counts[pair] for pair in pairs], color=ORANGE)
    for place, pair in zip(places, pairs, strict=True):
        annotate(lower, f"{counts[pair]:,}", (float(counts[pair]), float(place)), offset=(4, 0), va="center_baseline")
    lower.set_yticks(places, labels, fontsize=SMALL_SIZE)
    lower.tick_params(axis="y", length=0)
    lower.set_ylim(max(len(pairs), 1) - 0.5, -0.5)
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    lower.set_xlabel("Images")
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
