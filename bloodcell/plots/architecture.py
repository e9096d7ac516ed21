"""A diagram of a model's blocks, from image to probabilities."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Patch

from bloodcell.models.summary import Block
from bloodcell.plots.style import BLUE, INK, MUTED, PAPER, SMALL_SIZE, TEXT_SIZE, finish, fold, new_figure, widest

BOX_GAP = 0.24
LINE = 0.17
TRAINED_FILL = "#CFE6F5"
FROZEN_FILL = "#EDEDED"


def architecture(rows: Sequence[Block], *, title: str) -> Figure:
    """Draw a model's blocks, at least one, as a chain of boxes with the input at the top.

    Trained ones are blue, frozen ones grey with a dashed edge, those without parameters white; the legend has the
    numbers of parameters.
    """
    names = [fold(row.name, inches=3.6, size=TEXT_SIZE, bold=True) for row in rows]
    kinds = [fold(row.kind, inches=3.6, size=SMALL_SIZE) for row in rows]
    shapes = [fold(row.output_shape, inches=2.2, size=SMALL_SIZE) for row in rows]
    counts = [_parameters_text(row.parameters) for row in rows]
    left_width = max(widest(names, size=TEXT_SIZE, bold=True), widest(kinds, size=SMALL_SIZE))
    right_width = max(widest(shapes, size=SMALL_SIZE), widest(counts, size=SMALL_SIZE))
    width = max(left_width + right_width + 0.7, 4.4)
    heights = [
        LINE * max(name.count("\n") + kind.count("\n") + 2, shape.count("\n") + 2) + 0.16
        for name, kind, shape in zip(names, kinds, shapes, strict=True)
    ]
    total = sum(heights) + BOX_GAP * (len(rows) - 1)

    figure = new_figure(title=title, width=width + 0.4, height=total + 0.7)
    axes = figure.subplots()
    axes.set_axis_off()
    # One unit is one inch, so that boxes are as high as their lines.
    axes.set_xlim(-0.03, width + 0.03)
    axes.set_ylim(total + 0.03, -0.03)
    axes.set_aspect("equal")
    top = 0.0
    for position, (row, height) in enumerate(zip(rows, heights, strict=True)):
        axes.add_patch(_box(row, top=top, width=width, height=height))
        left, right, upper, lower = 0.16, width - 0.16, top + 0.09, top + height - 0.09
        axes.text(left, upper, names[position], va="top", fontsize=TEXT_SIZE, fontweight="bold", color=INK)
        axes.text(left, lower, kinds[position], va="bottom", fontsize=SMALL_SIZE, color=MUTED)
        axes.text(right, upper, shapes[position], va="top", ha="right", fontsize=SMALL_SIZE, color=INK)
        axes.text(right, lower, counts[position], va="bottom", ha="right", fontsize=SMALL_SIZE, color=INK)
        if position:
            axes.annotate(
                "",
                (width / 2, top),
                xytext=(width / 2, top - BOX_GAP),
                arrowprops={"arrowstyle": "-|>", "color": MUTED, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0},
            )
        top += height + BOX_GAP
    trained = sum(row.parameters for row in rows if row.trainable)
    frozen = sum(row.parameters for row in rows if not row.trainable)
    handles = [
        Patch(facecolor=TRAINED_FILL, edgecolor=BLUE, label=f"Trained: {_parameters_text(trained)}"),
        Patch(facecolor=FROZEN_FILL, edgecolor=MUTED, linestyle="--", label=f"Frozen: {_parameters_text(frozen)}"),
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=2, fontsize=SMALL_SIZE + 0.5, frameon=False)
    return finish(figure)


def format_count(count: int) -> str:
    """Format a count with three significant digits: ``950``, ``12.3 k``, ``2.26 M``."""
    for unit, size in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        # 999,950 is "1.00 M", not "1000 k".
        if float(f"{count:.3g}") >= size:
            scaled = count / size
            decimals = 2 if round(scaled, 2) < 10 else 1 if round(scaled, 1) < 100 else 0
            return f"{scaled:.{decimals}f} {unit}"
    return str(count)


def _parameters_text(count: int) -> str:
    return "no parameters" if count == 0 else "1 parameter" if count == 1 else f"{format_count(count)} parameters"


def _box(row: Block, *, top: float, width: float, height: float) -> FancyBboxPatch:
    frozen = row.parameters > 0 and not row.trainable
    trained = row.parameters > 0 and row.trainable
    return FancyBboxPatch(
        (0, top),
        width,
        height,
        boxstyle="round,pad=0,rounding_size=0.07",
        facecolor=TRAINED_FILL if trained else FROZEN_FILL if frozen else PAPER,
        edgecolor=BLUE if trained else MUTED,
        linewidth=1.4 if trained else 1.0,
        linestyle="--" if frozen else "-",
    )
