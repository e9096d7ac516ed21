"""The data flow of a study: files read, left out, images, groups, and splits by class."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from bloodcell.plots.style import (
    BLUE,
    FAINT,
    INK,
    MUTED,
    ORANGE,
    PAPER,
    TEXT_SIZE,
    finish,
    fold,
    new_figure,
)

WIDTH = 8.2
"""Of the figure, in inches; positions are in inches, too."""
MARGIN, GAP = 0.25, 0.42
LINE = 0.19
"""Height of a line of text."""
PADDING = 0.12


@dataclass(frozen=True, kw_only=True)
class Box:
    """A box of the diagram: its heading, and lines below it."""

    heading: str
    lines: Sequence[str] = ()


def data_flow(*, found: Box, left_out: Box, used: Box, splits: Sequence[Box], title: str) -> Figure:
    """Draw a diagram from top to bottom: found, left out (to the right), used, and a box for each split.

    Parameters
    ----------
    found, left_out, used
        The files found, those left out with reasons, and the images used.
    splits
        A box for each split, with a line for each class.
    title
        Of the figure.
    """
    inner = WIDTH - 2 * MARGIN
    column = 0.47 * inner
    width = (inner - GAP * (len(splits) - 1) / 2) / max(len(splits), 1)
    width = min(width, column)
    boxes = {
        "found": _folded(found, column),
        "left_out": _folded(left_out, column),
        "used": _folded(used, column),
    }
    sides = [_folded(each, width) for each in splits]
    tall = max((_height(each) for each in sides), default=0.0)
    heights = {name: _height(box) for name, box in boxes.items()}
    first = max(heights["found"], heights["left_out"])
    total = first + GAP + heights["used"] + GAP + tall + 2 * MARGIN
    figure = new_figure(title=title, width=WIDTH, height=total, layout="none")
    _, whole = figure.get_size_inches()
    axes = figure.add_axes((0, 0, 1, 1 - (whole - total) / whole))
    axes.set(xlim=(0, WIDTH), ylim=(0, total))
    axes.axis("off")
    top = total - MARGIN
    middle = MARGIN + column / 2
    right = WIDTH - MARGIN - column
    _draw(axes, boxes["found"], left=MARGIN, top=top, width=column, height=heights["found"], colour=BLUE)
    _draw(axes, boxes["left_out"], left=right, top=top, width=column, height=heights["left_out"], colour=ORANGE)
    level = top - min(heights["found"], heights["left_out"]) / 2
    _arrow(axes, (MARGIN + column, level), (right, level))
    next_top = top - first - GAP
    _arrow(axes, (middle, top - heights["found"]), (middle, next_top))
    _draw(axes, boxes["used"], left=MARGIN, top=next_top, width=column, height=heights["used"], colour=BLUE)
    last_top = next_top - heights["used"] - GAP
    step = (inner - width) / max(len(sides) - 1, 1)
    centres = [MARGIN + width / 2 + number * step for number in range(len(sides))]
    branch = last_top + GAP / 2
    if centres:
        axes.plot([middle, middle], [next_top - heights["used"], branch], color=MUTED, linewidth=1.2)
        axes.plot([min(*centres, middle), max(*centres, middle)], [branch, branch], color=MUTED, linewidth=1.2)
    for centre, side in zip(centres, sides, strict=True):
        _arrow(axes, (centre, branch), (centre, last_top))
        _draw(axes, side, left=centre - width / 2, top=last_top, width=width, height=tall, colour=BLUE)
    return finish(figure)


def _folded(box: Box, width: float) -> Box:
    """Return a box whose lines fit a width in inches."""
    inches = width - 2 * PADDING
    heading = fold(box.heading, inches=inches, size=TEXT_SIZE, bold=True)
    lines = [part for line in box.lines for part in fold(line, inches=inches, size=TEXT_SIZE).split("\n")]
    return Box(heading=heading, lines=lines)


def _height(box: Box) -> float:
    # The last line has no space below it.
    return (box.heading.count("\n") + 1 + len(box.lines)) * LINE + 2 * PADDING - 0.05


def _draw(axes: Axes, box: Box, *, left: float, top: float, width: float, height: float, colour: str) -> None:
    axes.add_patch(
        FancyBboxPatch(
            (left, top - height),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.06",
            facecolor=PAPER,
            edgecolor=FAINT,
            linewidth=1.2,
        )
    )
    axes.plot([left + 0.03, left + 0.03], [top - height + 0.06, top - 0.06], color=colour, linewidth=3.5)
    y = top - PADDING
    style = {"ha": "left", "va": "top", "fontsize": TEXT_SIZE}
    for line in box.heading.split("\n"):
        axes.text(left + PADDING, y, line, color=INK, fontweight="bold", **style)  # type: ignore[arg-type]
        y -= LINE
    for line in box.lines:
        axes.text(left + PADDING, y, line, color=INK, **style)  # type: ignore[arg-type]
        y -= LINE


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate(
        "",
        xy=end,
        xytext=start,
        arrowprops={"arrowstyle": "-|>", "color": MUTED, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0},
    )
