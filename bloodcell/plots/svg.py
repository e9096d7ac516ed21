"""Charts of the comparison report as SVG, in the page's colours, light or dark.

Every chart has a text alternative, and its marks have tooltips.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup, escape

from bloodcell.evaluation.calibration import CalibrationErrors

N_COLOURS = 8
"""The page's colours for runs, ``--run-0`` to ``--run-7``; more runs repeat them, dashed."""
MAX_CLASSES = 40
"""With more classes, pages have no confusion matrix, and plots have one size and show part of the classes by name."""
DASHES = ("", "6 3", "2 3", "8 3 2 3")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Maps the numbers ``low`` to ``high`` to the positions ``start`` to ``end``, in pixels, on an axis."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the position of a number."""
        low, high, value = (math.log10(each) if self.log else each for each in (self.low, self.high, value))
        return round(self.start + (self.end - self.start) * (value - low) / ((high - low) or 1.0), 1)

    def ticks(self, n: int = 5) -> list[float]:
        """Return about ``n`` round numbers between the ends."""
        if self.log:
            powers = range(math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9) + 1)
            return [10.0**power for power in powers]
        step = 10 ** math.floor(math.log10(max((self.high - self.low) / n, 1e-12)))
        step *= next(times for times in (1, 2, 5, 10) if (self.high - self.low) / (step * times) <= n)
        first = math.ceil(self.low / step - 1e-9)
        return [round(number * step, 10) for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def interval_bar(value: float, low: float, high: float, *, scale: Scale, baseline: float | None, label: str) -> Markup:
    """Return a dot with its interval for a table's row; a line marks the baseline."""
    height = 22
    marks = [
        f'<line class="grid" x1="{scale(tick)}" x2="{scale(tick)}" y1="0" y2="{height}"/>' for tick in scale.ticks()
    ]
    if baseline is not None and scale.low <= baseline <= scale.high:
        marks.append(f'<line class="baseline" x1="{scale(baseline)}" x2="{scale(baseline)}" y1="0" y2="{height}"/>')
    if math.isfinite(value) and scale.low <= value <= scale.high:
        low, high = max(low, scale.low), min(high, scale.high)
        marks.append(f'<line class="interval" x1="{scale(low)}" x2="{scale(high)}" y1="11" y2="11"/>')
        marks.append(f'<circle class="dot" cx="{scale(value)}" cy="11" r="4.5"/>')
    return _svg(marks, width=scale.start + scale.end, height=height, label=label, kind="bar")


def axis_bar(scale: Scale, *, unit: str, times: float) -> Markup:
    """Return the axis below a column of bars."""
    marks = [f'<text x="{scale(tick)}" y="12" text-anchor="middle">{times * tick:g}</text>' for tick in scale.ticks()]
    return _svg(marks, width=scale.start + scale.end, height=16, label=f"Axis in {unit}", kind="bar")


def cost_chart(points: pd.DataFrame, *, cost: str, score: str, times: float) -> Markup:
    """Return a scatter plot of a score against a cost, with the Pareto front.

    Parameters
    ----------
    points
        ``run, number, cost, value, low, high, front``: a row per run; ``front``: whether it is on the Pareto front.
    cost, score
        Their labels.
    times
        The factor of the score on its axis.
    """
    width, height = 420, 300
    costs = points["cost"]
    x = Scale(low=costs.min() * 0.7, high=costs.max() * 1.4, start=54, end=width - 14, log=True)
    if costs.max() / costs.min() < 12:
        margin = max(0.1 * (costs.max() - costs.min()), 0.05 * costs.max())  # no difference looks larger than it is
        x = Scale(low=max(costs.min() - margin, 0), high=costs.max() + margin, start=54, end=width - 14)
    low, high = points["low"].min(), points["high"].max()
    y = Scale(low=low - 0.03 * (high - low), high=high + 0.03 * (high - low), start=height - 44, end=14)
    marks = _axes(x, y, height=height, x_label=cost, y_label=score, times=times)
    front = points[points["front"]].sort_values("cost")
    steps = " ".join(f"{x(row.cost)},{y(row.value)}" for row in rows(front))
    marks.append(f'<polyline class="front" points="{steps}"/>')
    for row in rows(points):
        value, low, high = (f"{times * each:.4g}" for each in (row.value, row.low, row.high))
        text = f"{row.run}: {value} ({low} to {high}), {cost} {row.cost:,.4g}"
        position = x(row.cost)
        ends = f'x1="{position}" x2="{position}" y1="{y(row.low)}" y2="{y(row.high)}"'
        marks.append(f'<line class="whisker {_colour(row.number)}" {ends}/>')
        marks.append(
            f'<circle class="{_colour(row.number)} {"on-front" if row.front else "dot-open"}" cx="{position}" '
            f'cy="{y(row.value)}" r="5"><title>{escape(text)}</title></circle>'
        )
    best = ", ".join(front["run"])
    return _svg(marks, width=width, height=height, label=f"{score} against {cost}. On the Pareto front: {best}.")


def curves_chart(
    curves: Mapping[str, Sequence[tuple[float, float]]], *, numbers: Mapping[str, int], label: str
) -> Markup:
    """Return the learning curves of runs, pairs of epoch and value in 0..1; numbers choose their colours."""
    width, height = 760, 320
    points = [point for each in curves.values() for point in each]
    low, high = min(value for _, value in points), max(value for _, value in points)
    x = Scale(low=min(epoch for epoch, _ in points), high=max(epoch for epoch, _ in points), start=54, end=width - 14)
    y = Scale(low=max(low - 0.02, 0), high=min(high + 0.02, 1), start=height - 44, end=14)
    marks = _axes(x, y, height=height, x_label="epoch", y_label=label, times=100)
    for run, each in curves.items():
        line = " ".join(f"{x(epoch)},{y(value)}" for epoch, value in each)
        marks.append(
            f'<polyline class="curve {_colour(numbers[run])}" stroke-dasharray="{_dash(numbers[run])}" '
            f'points="{line}"><title>{escape(run)}</title></polyline>'
        )
    return _svg(marks, width=width, height=height, label=f"{label} by epoch of {', '.join(curves)}")


def calibration_chart(bins: pd.DataFrame, *, run: str, errors: CalibrationErrors) -> Markup:
    """Return a run's reliability diagram, of `bloodcell.evaluation.calibration.calibration_bins`."""
    size = 150
    place = Scale(low=0, high=1, start=8, end=size - 8)
    marks = [
        f'<rect class="frame" x="8" y="8" width="{size - 16}" height="{size - 16}"/>',
        f'<line class="baseline" x1="8" y1="{size - 8}" x2="{size - 8}" y2="8"/>',
    ]
    filled = bins[bins["images"] > 0]
    largest = filled["images"].max()
    for row in rows(filled):
        radius = 1.5 + 5 * math.sqrt(row.images / largest)
        text = f"confidence {row.confidence:.0%}, accuracy {row.accuracy:.0%}, {row.images} images"
        marks.append(
            f'<circle class="dot" cx="{place(row.confidence)}" cy="{size - place(row.accuracy)}" r="{radius:.1f}">'
            f"<title>{text}</title></circle>"
        )
    label = (
        f"Calibration of {run}: expected calibration error {100 * errors.expected:.1f} points, "
        f"debiased {100 * errors.debiased:.1f}"
    )
    return _svg(marks, width=size, height=size, label=label, kind="small")


def rows(table: pd.DataFrame) -> Iterator[Any]:
    """Return the rows of a table, with its columns as attributes."""
    return iter(table.itertuples())


def swatch(number: int) -> Markup:
    """Return a run's line for a legend."""
    line = f'<line class="curve {_colour(number)}" stroke-dasharray="{_dash(number)}" x1="0" x2="26" y1="6" y2="6"/>'
    return Markup(f'<svg class="swatch" viewBox="0 0 26 12" width="26" height="12" aria-hidden="true">{line}</svg>')


def _axes(x: Scale, y: Scale, *, height: float, x_label: str, y_label: str, times: float) -> list[str]:
    marks = []
    for tick in y.ticks():
        marks.append(f'<line class="grid" x1="{x.start}" x2="{x.end}" y1="{y(tick)}" y2="{y(tick)}"/>')
        marks.append(f'<text x="{x.start - 6}" y="{y(tick) + 4}" text-anchor="end">{times * tick:g}</text>')
    for tick in x.ticks():
        marks.append(f'<line class="grid" x1="{x(tick)}" x2="{x(tick)}" y1="{y.end}" y2="{y.start}"/>')
        marks.append(f'<text x="{x(tick)}" y="{y.start + 16}" text-anchor="middle">{_short(tick)}</text>')
    middle = (x.start + x.end) / 2
    marks.append(f'<text x="{middle}" y="{height - 6}" text-anchor="middle">{escape(x_label)}</text>')
    upright = (y.start + y.end) / 2
    marks.append(
        f'<text x="12" y="{upright}" text-anchor="middle" transform="rotate(-90 12 {upright})">{escape(y_label)}</text>'
    )
    return marks


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _colour(number: int) -> str:
    return f"run-{number % N_COLOURS}"


def _dash(number: int) -> str:
    return DASHES[number // N_COLOURS % len(DASHES)]


def _svg(marks: Sequence[str], *, width: float, height: float, label: str, kind: str = "chart") -> Markup:
    return Markup(
        f'<svg class="{kind}" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img" '
        f'aria-label="{escape(label)}">{"".join(marks)}</svg>'
    )
