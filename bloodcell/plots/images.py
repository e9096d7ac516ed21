"""Panels with a picture, and a figure with a sentence instead."""

from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bloodcell.plots.style import MUTED, TEXT_SIZE, finish, new_figure

Anchor = Literal["C", "N", "E", "S", "W"]
"""Centre, north, east, south or west."""

MIN_WIDTH = 4.8
"""Minimal width of a figure in inches, for its title."""
LONGEST_SIDE_RATIO = 1.5
"""Maximal ratio of height to width of a panel; longer pictures are scaled down."""


def show_picture(axes: Axes, image: NDArray[np.generic], *, edge: str, anchor: Anchor) -> None:
    """Show a picture in a panel.

    Parameters
    ----------
    axes
        The panel.
    image
        Shape (height, width, 3), uint8 or in [0, 1].
    edge
        Colour of the edge.
    anchor
        Position of the picture if it does not fill the panel.
    """
    axes.imshow(image, interpolation="antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_anchor(anchor)
    axes.spines[:].set_color(edge)
    axes.spines[:].set_linewidth(1.4)


def message(text: str, *, title: str) -> Figure:
    """Return a figure with a sentence instead of pictures."""
    figure = new_figure(title=title, width=MIN_WIDTH, height=1.0)
    axes = figure.subplots()
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=TEXT_SIZE + 1, color=MUTED)
    return finish(figure)
