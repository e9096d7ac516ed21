"""Forest plots of accuracy by image and by photograph, with intervals."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from bloodcell.plots.style import MUTED, PAPER, SMALL_SIZE, VERMILION, tidy

MEASURES = ("accuracy", "photograph_accuracy")
ENDS = ("", "_low", "_high")
"""Suffixes of a metric's columns: its value and the ends of its interval."""
BASELINES: dict[str, dict[str, Any]] = {
    "accuracy": {"color": VERMILION, "linewidth": 1.4, "linestyle": (0, (4, 2))},
    "photograph_accuracy": {"color": VERMILION, "linewidth": 0.9, "linestyle": (0, (1, 2))},
}
"""Line styles of the majority class."""
OFFSET = 0.17
"""Distance of the two dots from the middle of a line, in lines."""

WIDEST = 0.99
"""An interval that is this wide is not drawn."""
UNKNOWN = "interval unknown"

_DOT: dict[str, Any] = {"marker": "o", "markersize": 6.5}
_DIAMOND: dict[str, Any] = {"marker": "D", "markersize": 4.6, "markerfacecolor": PAPER, "markeredgewidth": 1.3}
_THICK, _THIN = 2.6, 1.1


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """An accuracy in 0..1 and the ends of its interval; NaN if unknown."""

    value: float
    low: float
    high: float

    @property
    def has_interval(self) -> bool:
        """Whether the interval is known."""
        return not np.isnan([self.low, self.high]).any()

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "–"
        interval = f"{self.low:.0%} to {self.high:.0%}" if self.has_interval else UNKNOWN
        return f"{self.value:.1%} ({interval})"


def is_unknown(low: float, high: float) -> bool:
    """Return whether an interval says nothing: an end is NaN, or it is (nearly) from 0 to 1."""
    return not high - low < WIDEST


def accuracy_in(row: Mapping[Any, Any], name: str) -> Accuracy:
    """Return the accuracy of a table's row with its interval; one from 0 to 100 % says nothing, so it is unknown."""
    value, low, high = (float(row[name + end]) for end in ENDS)
    if is_unknown(low, high):
        low = high = float("nan")
    return Accuracy(value=value, low=low, high=high)


def draw_accuracy(axes: Axes, middle: float, *, by_image: Accuracy, by_source: Accuracy, colour: str) -> None:
    """Draw accuracy by image (dot) and by source (diamond) with intervals."""
    both = not np.isnan(by_source.value)
    place = middle - (OFFSET if both else 0)
    axes.hlines(place, by_image.low, by_image.high, color=colour, linewidth=_THICK, zorder=2)
    axes.plot(by_image.value, place, color=colour, markeredgecolor=PAPER, markeredgewidth=0.7, zorder=3, **_DOT)
    if both:
        place = middle + OFFSET
        axes.hlines(place, by_source.low, by_source.high, color=colour, linewidth=_THIN, zorder=2)
        axes.plot(by_source.value, place, markeredgecolor=colour, zorder=3, **_DIAMOND)


def frame(axes: Axes, *, colours: Mapping[str, str], with_photographs: bool, columns: int = 5) -> Legend:
    """Draw grid, scale and legend, with the colours of the dots by their label; return the legend."""
    tidy(axes, grid="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlim(-0.015, 1.015)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1))
    return axes.legend(
        handles=_legend(colours, with_photographs=with_photographs),
        loc="lower left",
        bbox_to_anchor=(-0.01, 1),
        ncols=columns,
        fontsize=SMALL_SIZE,
        frameon=False,
        borderaxespad=0.2,
        handlelength=1.3,
        handletextpad=0.4,
        columnspacing=1.0,
    )


def _legend(colours: Mapping[str, str], *, with_photographs: bool) -> list[Line2D]:
    handles = [Line2D([], [], color=colour, linewidth=_THICK, label=name, **_DOT) for name, colour in colours.items()]
    lines = {"accuracy": "Majority class, by image"}
    if with_photographs:
        style = _DIAMOND | {"color": MUTED, "linewidth": _THIN, "markeredgecolor": MUTED}
        handles.append(Line2D([], [], label="By photograph", **style))
        lines["photograph_accuracy"] = "by photograph"
    return [*handles, *(Line2D([], [], label=label, **BASELINES[measure]) for measure, label in lines.items())]
