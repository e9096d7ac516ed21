"""Saliency plots: photographs with heat maps."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import Stroke
from numpy.typing import NDArray

from bloodcell.plots.images import LINE, MAX_SIDE_RATIO, message, panel, show_picture
from bloodcell.plots.style import INK, MUTED, PAPER, TEXT_SIZE, VERMILION, finish, fold, new_figure

COLOURS = "inferno"
"""A perceptually uniform colour map."""
MIN_OPACITY, MAX_OPACITY = 0.25, 0.85
"""Opacity of the colours without heat and with the most."""
# In inches.
PICTURE_WIDTH = 1.9
TEXT_WIDTH = 1.75
GAP = 0.1
KEY = (
    "Colour: evidence for the class, from none (dark) to most (bright). Line: the detected nucleus. Cross: the maximum."
)


@dataclass(frozen=True, kw_only=True)
class Heat:
    """The evidence for a class in a photograph, (height, width) as the photograph, in [0, 1], and its title."""

    name: str
    heat: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Explained:
    """A photograph with its heat maps.

    Attributes
    ----------
    pixels
        RGB, (height, width, 3), uint8.
    nucleus
        Its mask, (height, width), bool; None: not found.
    heats
        At least one.
    label
        Its class; None: unknown.
    probability
        Of the predicted class, in [0, 1].
    name
        Of its file.
    """

    pixels: NDArray[np.uint8]
    nucleus: NDArray[np.bool_] | None
    heats: Sequence[Heat]
    label: str | None
    predicted: str
    probability: float
    name: str


def explanation_gallery(explained: Sequence[Explained], *, title: str, nothing: str = "No image to explain.") -> Figure:
    """Show photographs, each with its heat maps; without a photograph, the text ``nothing``.

    Raises
    ------
    ValueError
        If the photographs do not have the same number of heat maps, or one of another size.
    """
    if not explained:
        return message(nothing, title=title)
    counts = {len(each.heats) for each in explained}
    if len(counts) != 1:
        raise ValueError(f"each photograph needs the same number of heat maps, got {sorted(counts)}")
    for each in explained:
        if any(heat.heat.shape != each.pixels.shape[:2] for heat in each.heats):
            raise ValueError(f"{each.name}: the size of its heat differs from that of its pixels")
    n_pictures = 1 + counts.pop()
    abreast = min(2 if n_pictures == 2 else 1, len(explained))
    ratio = min(max(each.pixels.shape[0] / each.pixels.shape[1] for each in explained), MAX_SIDE_RATIO)
    height = PICTURE_WIDTH * ratio
    entry = n_pictures * (PICTURE_WIDTH + GAP) + TEXT_WIDTH + GAP
    n_rows = -(-len(explained) // abreast)
    width = GAP + abreast * entry
    key = fold(KEY, inches=width - 2 * GAP, size=TEXT_SIZE)
    key_height = (key.count("\n") + 1) * LINE + GAP
    figure_height = n_rows * (LINE + height + GAP) + key_height + GAP
    figure = new_figure(title=title, width=width, height=figure_height, layout="none")
    total_width, total_height = figure.get_size_inches()
    for index, each in enumerate(explained):
        row, column = divmod(index, abreast)
        bottom = (n_rows - 1 - row) * (LINE + height + GAP) + key_height + GAP
        left = GAP + column * entry
        lefts = [left + number * (PICTURE_WIDTH + GAP) for number in range(n_pictures)]
        panels = [panel(figure, left=x, bottom=bottom, width=PICTURE_WIDTH, height=height) for x in lefts]
        _draw(panels, each)
        figure.text(
            (left + n_pictures * (PICTURE_WIDTH + GAP)) / total_width,
            (bottom + height) / total_height,
            _caption(each),
            fontsize=TEXT_SIZE,
            color=INK,
            va="top",
            linespacing=1.35,
        )
    figure.text(GAP / total_width, GAP / total_height, key, fontsize=TEXT_SIZE, color=MUTED, va="bottom")
    return finish(figure)


def heat_over(pixels: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.float64]:
    """Overlay a heat map, in [0, 1], on an RGB photograph in grey; return (height, width, 3), float64 in [0, 1]."""
    grey = np.repeat(pixels.mean(axis=2, keepdims=True) / 255, 3, axis=2)
    cover = (MIN_OPACITY + (MAX_OPACITY - MIN_OPACITY) * heat)[..., np.newaxis]
    return np.asarray((1 - cover) * grey + cover * matplotlib.colormaps[COLOURS](heat)[..., :3])


def _draw(panels: Sequence[Axes], each: Explained) -> None:
    right = each.label in (None, each.predicted)
    show_picture(panels[0], each.pixels, edge=INK if right else VERMILION, anchor="N")
    for axes, heat in zip(panels[1:], each.heats, strict=True):
        show_picture(axes, heat_over(each.pixels, heat.heat), edge=INK, anchor="N")
        title = fold(heat.name, inches=PICTURE_WIDTH, size=TEXT_SIZE).split("\n")[0]
        axes.set_title(title, fontsize=TEXT_SIZE, color=INK, pad=3)
        if each.nucleus is not None and each.nucleus.any() and not each.nucleus.all():
            axes.contour(each.nucleus.astype(float), levels=[0.5], colors=[PAPER], linewidths=[1.0])
        if heat.heat.any():
            y, x = np.unravel_index(int(heat.heat.argmax()), heat.heat.shape)
            (mark,) = axes.plot([x], [y], marker="+", markersize=10, markeredgewidth=1.4, color=INK)
            mark.set_path_effects([Stroke(linewidth=3.4, foreground=PAPER), Stroke(linewidth=1.4, foreground=INK)])


def _caption(each: Explained) -> str:
    prediction = "classified correctly" if each.label == each.predicted else f"predicted as {each.predicted}"
    lines = (*([] if each.label is None else [each.label]), prediction, f"confidence {each.probability:.1%}", each.name)
    return "\n".join(fold(line, inches=TEXT_WIDTH, size=TEXT_SIZE) for line in lines)
