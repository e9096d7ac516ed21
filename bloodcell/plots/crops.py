"""A gallery of photographs and their crops."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from bloodcell.cells.crop import Crop
from bloodcell.plots.images import GAP, MIN_WIDTH, panel, show_picture
from bloodcell.plots.style import (
    BLUE,
    FAINT,
    INK,
    MUTED,
    PAPER,
    SMALL_SIZE,
    TEXT_SIZE,
    VERMILION,
    finish,
    fold,
    new_figure,
)

# In inches.
CROP_GAP = 0.04
NAME_WIDTH = 1.3
WIDTH = 1.7
HEIGHT = 1.28
CAPTION = 0.2


@dataclass(frozen=True, kw_only=True)
class Cropped:
    """A photograph, RGB, shape (height, width, 3), uint8, and its crop; the caption below them may be empty."""

    photograph: NDArray[np.uint8]
    crop: Crop
    caption: str = ""


def crop_gallery(rows: Mapping[str, Sequence[Cropped]], *, title: str = "Photographs and their crops") -> Figure:
    """Show photographs with the cropped square, and each crop; none of the rows, by their names, is empty.

    A photograph without a found nucleus has no square, and the whole image as its crop.
    """
    if not rows or not all(rows.values()):
        raise ValueError("each row needs a photograph")
    n_columns = max(map(len, rows.values()))
    column = WIDTH + CROP_GAP + HEIGHT + GAP
    row_height = HEIGHT + CAPTION + GAP
    figure = new_figure(
        title=title,
        width=max(GAP + NAME_WIDTH + GAP + n_columns * column, MIN_WIDTH),
        height=len(rows) * row_height + GAP,
        layout="none",
    )
    width, height = figure.get_size_inches()
    for number, (name, pairs) in enumerate(rows.items()):
        bottom = (len(rows) - number) * row_height - HEIGHT
        figure.text(
            (GAP + NAME_WIDTH) / width,
            (bottom + HEIGHT / 2) / height,
            fold(name, inches=NAME_WIDTH, size=TEXT_SIZE),
            fontsize=TEXT_SIZE,
            color=INK,
            ha="right",
            va="center",
            multialignment="right",
        )
        for place, pair in enumerate(pairs):
            left = GAP + NAME_WIDTH + GAP + place * column
            _photograph(panel(figure, left=left, bottom=bottom, width=WIDTH, height=HEIGHT), pair)
            cut = panel(figure, left=left + WIDTH + CROP_GAP, bottom=bottom, width=HEIGHT, height=HEIGHT)
            show_picture(cut, pair.crop.pixels, edge=BLUE if pair.crop.found else VERMILION, anchor="W")
            caption = fold(pair.caption, inches=column - GAP, size=SMALL_SIZE).partition("\n")[0]
            figure.text(left / width, (bottom - 0.05) / height, caption, fontsize=SMALL_SIZE, color=MUTED, va="top")
    return finish(figure)


def _photograph(axes: Axes, pair: Cropped) -> None:
    height, width = pair.photograph.shape[:2]
    show_picture(axes, pair.photograph, edge=FAINT, anchor="E")
    crop = pair.crop
    if crop.found:
        corner = (crop.left - 0.5, crop.top - 0.5)
        for colour, line in ((PAPER, 2.6), (BLUE, 1.4)):
            axes.add_patch(Rectangle(corner, crop.side, crop.side, fill=False, edgecolor=colour, linewidth=line))
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
