"""Panels with pictures at places in inches, and a figure with a sentence instead of pictures.

Layout engines ignore the aspect ratio of pictures, so the places are computed.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bloodcell.plots.style import FAINT, INK, MUTED, TEXT_SIZE, finish, fold, new_figure

Pixels = NDArray[np.uint8]
"""RGB, shape (height, width, 3)."""

MIN_WIDTH = 4.8
"""Minimal width of a figure in inches, for its title."""
MAX_SIDE_RATIO = 1.5
"""Maximal ratio of height to width of a panel; longer pictures are scaled down."""
# In inches.
GAP = 0.12
LINE = 0.175
CAPTIONED_WIDTH = 2.4


def panel(figure: Figure, *, left: float, bottom: float, width: float, height: float) -> Axes:
    """Add a panel at a place in inches."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def show_picture(
    axes: Axes, image: NDArray[np.generic], *, edge: str, anchor: Literal["C", "N", "E", "S", "W"] = "C"
) -> None:
    """Show a picture, shape (height, width, 3), uint8 or in [0, 1], in a panel.

    ``edge`` is the colour of its edge, ``anchor`` its place in a panel that it does not fill: centre, north, ...
    """
    axes.imshow(image, interpolation="antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_anchor(anchor)
    axes.spines[:].set_color(edge)
    axes.spines[:].set_linewidth(1.4)


def side_ratio(images: Sequence[Pixels]) -> float:
    """Return the largest ratio of height to width of RGB images, at most `MAX_SIDE_RATIO`.

    Raises
    ------
    ValueError
        If an image is not uint8 of shape (height, width, 3).
    """
    for image in images:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"an image must be uint8 of shape (height, width, 3), got {image.dtype} of {image.shape}")
    return min(max(float(image.shape[0] / image.shape[1]) for image in images), MAX_SIDE_RATIO)


def grid(
    shape: tuple[int, int],
    *,
    size: tuple[float, float],
    title: str,
    left: float = 0.0,
    above: float = 0.0,
    below: float = 0.0,
) -> tuple[Figure, NDArray[np.object_]]:
    """Return a figure and its panels, an array of a shape (rows, columns).

    In inches: ``size`` (width, height) of a panel, and room at the left of all, above all, and below each.
    """
    (rows, columns), (width, height) = shape, size
    figure = new_figure(
        title=title,
        width=max(left + columns * (width + GAP) + GAP, MIN_WIDTH),
        height=GAP + above + rows * (height + below + GAP),
        layout="none",
    )
    panels = np.empty(shape, dtype=np.object_)
    for row, column in np.ndindex(shape):
        panels[row, column] = panel(
            figure,
            left=left + GAP + column * (width + GAP),
            bottom=(rows - row) * (height + below + GAP) - height,
            width=width,
            height=height,
        )
    return figure, panels


def captioned(
    images: Sequence[Pixels | None],
    *,
    captions: Sequence[str],
    title: str,
    edge: str = FAINT,
    columns: int = 4,
) -> Figure:
    """Show images in rows with captions; None leaves a place empty."""
    texts = [
        "\n".join(fold(line, inches=CAPTIONED_WIDTH, size=TEXT_SIZE) for line in text.split("\n")) for text in captions
    ]
    columns = min(columns, len(images))
    ratio = side_ratio([image for image in images if image is not None])
    figure, panels = grid(
        (-(-len(images) // columns), columns),
        size=(CAPTIONED_WIDTH, CAPTIONED_WIDTH * ratio),
        below=(max(text.count("\n") for text in texts) + 1) * LINE + 0.1,
        title=title,
    )
    for axes in panels.ravel()[len(images) :]:
        axes.remove()
    for axes, image, text in zip(panels.ravel(), images, texts, strict=False):
        if image is None:
            axes.remove()
        else:
            show_picture(axes, image, edge=edge, anchor="S")
            axes.set_xlabel(text, fontsize=TEXT_SIZE, color=INK)
    return finish(figure)


def message(text: str, *, title: str) -> Figure:
    """Return a figure with a sentence instead of pictures."""
    figure = new_figure(title=title, width=MIN_WIDTH, height=1.0)
    axes = figure.subplots()
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=TEXT_SIZE + 1, color=MUTED)
    return finish(figure)
