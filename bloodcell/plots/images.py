"""What figures made of pictures have in common: a panel with a picture, and a sentence where there is none."""

from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bloodcell.plots.style import MUTED, TEXT_SIZE, finish, new_figure

Side = Literal["C", "N", "E", "S", "W"]
"""The middle, or north, east, south, west."""

LEAST_WIDTH = 4.8
"""Of a figure, in inches: room for a title."""
LONGEST_SIDE_RATIO = 1.5
"""How high a picture's place may be for its width; a longer picture is made smaller to fit."""


def show_picture(axes: Axes, image: NDArray[np.generic], *, edge: str, anchor: Side) -> None:
    """Fill a panel with a picture, at the side of its place that the anchor names, and an edge of one colour.

    Parameters
    ----------
    axes
        The panel.
    image
        Shape (height, width, 3), uint8 or in [0, 1].
    edge
        The edge's colour.
    anchor
        Where the picture is when it does not fill its place.
    """
    axes.imshow(image, interpolation="antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_anchor(anchor)
    axes.spines[:].set_color(edge)
    axes.spines[:].set_linewidth(1.4)


def message(text: str, *, title: str) -> Figure:
    """Return a figure that says why there is nothing to show."""
    figure = new_figure(title=title, width=LEAST_WIDTH, height=1.0)
    axes = figure.subplots()
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=TEXT_SIZE + 1, color=MUTED)
    return finish(figure)
