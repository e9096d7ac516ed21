"""Plots of calibration and selective prediction."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter

from bloodcell.evaluation.calibration import CalibrationErrors
from bloodcell.evaluation.selective_prediction import Threshold, Unit, area_under_risk_coverage
from bloodcell.plots.forest import is_unknown
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
    VERMILION,
    annotate,
    finish,
    new_figure,
    tidy,
)
from bloodcell.wording import PHOTOGRAPH, intervals_note, plural

MIN_COVERAGE = 0.1
"""Risks at a lower coverage are from few cases and may exceed the axis."""


def reliability(
    before: pd.DataFrame,
    after: pd.DataFrame,
    *,
    errors: tuple[CalibrationErrors, CalibrationErrors],
    temperature: float,
    cross_fitted: bool = False,
    group_name: str = PHOTOGRAPH,
    title: str,
) -> Figure:
    """Draw reliability diagrams before and after temperature scaling.

    Parameters
    ----------
    before, after
        The tables of `bloodcell.evaluation.calibration.calibration_bins`, with groups.
    errors
        The calibration errors before and after.
    temperature
        In the title of the second panel.
    cross_fitted
        Whether temperatures were fitted to other groups; ``temperature`` is then that of all.
    group_name
        What output calls a group.
    """
    notes = [
        "A bar is the accuracy of the images with this confidence (the probability of the predicted class). On the "
        "dashed line accuracy equals confidence: the model is neither too sure (orange) nor too unsure (light blue).",
        f"Black lines: {intervals_note(group_name)} Pale: interval unknown, there are too few {plural(group_name)}.",
        f"By chance: what a perfectly calibrated model would show with as few {plural(group_name)}. Debiased: the root "
        "mean square without that part.",
    ]
    figure = new_figure(title=title, width=9.4, height=5.8, notes=notes)
    panels = figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=(3.2, 1))
    names = ("Uncalibrated", f"Temperature {temperature:.2f}{', cross-fitted' if cross_fitted else ''}")
    for column, (bins, error, name) in enumerate(zip((before, after), errors, names, strict=True)):
        upper, lower = panels[:, column]
        _diagram(upper, bins, error=error, name=name)
        _counts(lower, bins)
    panels[0, 0].set_ylabel("Accuracy")
    panels[1, 0].set_ylabel("Images")
    _legend(panels[0, 0])
    panels[1, 0].set_ylim(0, 1.3 * max(int(before["images"].max()), int(after["images"].max())))
    return finish(figure)


def risk_against_coverage(curve: pd.DataFrame, *, threshold: Threshold | None, title: str) -> Figure:
    """Draw risk against coverage of selective prediction.

    Parameters
    ----------
    curve
        The table of `bloodcell.evaluation.selective_prediction.risk_coverage`.
    threshold
        The threshold to mark; None if there is none.
    """
    notes = [
        "Coverage: the share of images that get a prediction; people classify the others, the least certain ones. "
        "Risk: the share of errors among the predictions. Lower is better; mean risk: over all coverages.",
    ]
    figure = new_figure(title=title, width=6.8, height=4.6, notes=notes)
    axes = figure.subplots()
    tidy(axes, grid="y")
    highest = [0.02]
    units: tuple[Unit, ...] = ("image", "photograph")
    for unit, colour in zip(units, (SKY, BLUE), strict=True):
        coverage, risk = curve[f"{unit}_coverage"].to_numpy(np.float64), curve[f"{unit}_risk"].to_numpy(np.float64)
        covered, area = coverage > 0, area_under_risk_coverage(curve, unit=unit)
        # Predictions change at thresholds only: a risk holds down to the next lower coverage.
        axes.step(
            coverage[covered],
            risk[covered],
            where="post",
            color=colour,
            linewidth=2.0 if unit == "photograph" else 1.5,
            label=f"By {unit}: error {risk[0]:.1%} at full coverage, mean risk {area:.2%}",
        )
        highest.append(float(risk[covered & ((coverage >= MIN_COVERAGE) | (coverage == coverage[0]))].max()))
    if threshold is not None:
        _mark(axes, threshold)
        highest.append(max(threshold.upper_bound, threshold.max_error))
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, min(1.45 * max(highest), 1.02))
    axes.set_xlabel("Coverage (share with a prediction)")
    axes.set_ylabel("Risk (errors among predictions)")
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0 if max(highest) > 0.05 else 1))
    axes.legend(fontsize=SMALL_SIZE, framealpha=0.9, edgecolor="none", loc="upper left")
    return finish(figure)


def _diagram(axes: Axes, bins: pd.DataFrame, *, error: CalibrationErrors, name: str) -> None:
    tidy(axes, grid="y")
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1.0, linestyle=(0, (4, 3)), zorder=3)
    for row in bins[bins["images"] > 0].to_dict("records"):
        low, high = sorted((row["accuracy"], row["confidence"]))
        pale = is_unknown(row["accuracy_low"], row["accuracy_high"])
        place = {"x": row["lower"], "width": 0.94 * (row["upper"] - row["lower"]), "align": "edge", "zorder": 2}
        axes.bar(height=low, color=BLUE, alpha=0.35 if pale else 1, **place)
        colour = ORANGE if row["confidence"] > row["accuracy"] else SKY
        axes.bar(height=high - low, bottom=low, color=colour, alpha=0.35 if pale else 0.8, **place)
        if not pale:
            middle = row["lower"] + 0.47 * (row["upper"] - row["lower"])
            ends = row["accuracy_low"], row["accuracy_high"]
            axes.vlines(middle, *ends, color=INK, linewidth=1.3, zorder=4, path_effects=HALO)
            axes.plot(middle, row["accuracy"], marker="o", markersize=4, color=INK, markeredgecolor=PAPER, zorder=5)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axes.set_title(
        f"{name}\nAccuracy and confidence differ by {100 * error.expected:.1f} points on average\n"
        f"(by chance {100 * error.by_chance:.1f}; debiased {100 * error.debiased:.1f})",
        loc="left",
        fontsize=TEXT_SIZE,
        color=INK,
        pad=8,
    )


def _legend(axes: Axes) -> None:
    handles = [
        Patch(facecolor=BLUE, label="Accuracy"),
        Patch(facecolor=ORANGE, alpha=0.8, label="Too sure"),
        Patch(facecolor=SKY, alpha=0.8, label="Too unsure"),
        Line2D([], [], color=INK, linewidth=1.3, marker="o", markersize=4, label="Its 95 % interval"),
        Line2D([], [], color=INK, linewidth=1.0, linestyle=(0, (4, 3)), label="Accuracy = confidence"),
    ]
    # Of two classes or more, confidence is never low: there the panel is empty.
    axes.legend(handles=handles, loc="upper left", fontsize=SMALL_SIZE, frameon=False, handlelength=1.6)


def _counts(axes: Axes, bins: pd.DataFrame) -> None:
    tidy(axes)
    width = (bins["upper"] - bins["lower"]).to_numpy()
    axes.bar(bins["lower"], bins["images"], width * 0.94, align="edge", color=FAINT, zorder=2)
    images = int(bins["images"].sum())
    mean = float(np.average(bins["confidence"].fillna(0), weights=bins["images"]))
    right = float(np.average(bins["accuracy"].fillna(0), weights=bins["images"]))
    summary = f"{images:,} images, mean confidence {mean:.1%}, accuracy {right:.1%}"
    axes.set_title(summary, loc="left", fontsize=SMALL_SIZE + 0.5, color=MUTED, pad=4)
    for lower, share, count in zip(bins["lower"], width, bins["images"], strict=True):
        if count:
            style = {"ha": "center", "va": "baseline", "fontsize": SMALL_SIZE - 2}
            annotate(axes, f"{count:,}", (lower + share / 2, count), offset=(0, 2), **style)
    axes.set_xlabel("Confidence")
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))


def _mark(axes: Axes, threshold: Threshold) -> None:
    axes.axhline(threshold.max_error, color=VERMILION, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1.5)
    axes.plot(
        [threshold.coverage] * 2,
        [threshold.error, threshold.upper_bound],
        color=INK,
        linewidth=1.4,
        marker="_",
        markersize=8,
        zorder=4,
    )
    axes.plot(
        threshold.coverage,
        threshold.error,
        marker="o",
        markersize=7,
        color=INK,
        linestyle="none",
        zorder=5,
        label=(
            f"Threshold {threshold.value:.1%}: coverage {threshold.coverage:.0%} of photographs, "
            f"{threshold.wrong} of {threshold.covered} wrong ({threshold.error:.1%}),\n"
            f"at most {threshold.upper_bound:.1%} with {threshold.confidence:.0%} confidence; "
            f"dashed: maximal error {threshold.max_error:.1%}"
        ),
    )
