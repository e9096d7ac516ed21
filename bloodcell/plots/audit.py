"""The audit's figures: aligned pairs, galleries, sample sizes, and distributions of properties."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bloodcell.images.normalisation import content_mask
from bloodcell.plots.images import captioned
from bloodcell.plots.style import (
    BLUE,
    INK,
    ORANGE,
    SKY,
    SMALL_SIZE,
    TEXT_SIZE,
    VERMILION,
    annotate,
    finish,
    new_figure,
    tidy,
)

Pixels = NDArray[np.uint8]

JITTER = 0.3
SQUARE = 30
FILL_MARGIN = 3
"""In pixels."""


def aligned_pairs(
    pairs: Sequence[tuple[Pixels, Pixels, Pixels | None]], *, names: Sequence[tuple[str, str]], title: str
) -> Figure:
    """Draw pairs of images, and a checkerboard of the first and the aligned second.

    Parameters
    ----------
    pairs
        The first image, the second, and the second aligned with the first (None if unknown); each RGB, shape (height,
        width, 3), uint8.
    names
        Captions of the two images of each pair.
    """
    images: list[Pixels | None] = []
    captions: list[str] = []
    for (first, second, aligned), paths in zip(pairs, names, strict=True):
        images += [first, second, None if aligned is None else _checkerboard(first, aligned)]
        captions += [*paths, "" if aligned is None else "checkerboard of the two, aligned"]
    return captioned(images, captions=captions, title=title, columns=3)


def sample_sizes(table: pd.DataFrame, *, groups: str = "photographs") -> Figure:
    """Draw the number of groups of each class and split as bars, annotated with the number of images.

    The table has a row for each class and split: ``split, class, images``, and the number of groups in a column with
    their name.
    """
    title = f"{groups.capitalize()} and images of each class and split"
    figure = new_figure(title=title, width=7.5, height=0.5 + 0.3 * len(table))
    axes = figure.subplots()
    places = np.arange(len(table))[::-1]
    colours = dict(zip(table["split"].unique(), (BLUE, SKY, ORANGE), strict=False))
    axes.barh(places, table[groups], color=[colours[split] for split in table["split"]], height=0.7)
    axes.set_yticks(places, (table["split"] + "  " + table["class"]).tolist())
    for place, number, images in zip(places, table[groups], table["images"], strict=True):
        annotate(axes, f"{number:,} {groups}, {images:,} images", (number, place), offset=(4, 0))
    axes.set_xlim(0, 1.45 * table[groups].max())
    tidy(axes, grid="x")
    axes.tick_params(axis="y", length=0)
    return finish(figure)


def drift(
    values: NDArray[np.float64],
    in_second: NDArray[np.bool_],
    *,
    properties: Sequence[str],
    p_adjusted: NDArray[np.float64],
    splits: tuple[str, str],
) -> Figure:
    """Draw each property's distribution in two splits, one dot for each photograph.

    Parameters
    ----------
    values
        Shape (n, k), of n photographs and k properties.
    in_second
        Shape (n,), whether each is in the second split.
    p_adjusted
        Shape (k,), adjusted p-values.
    """
    rows = -(-len(properties) // 3)
    title = f"Properties of {splits[0]} and {splits[1]} photographs"
    figure = new_figure(title=title, width=7.5, height=1.15 * rows)
    panels = np.asarray(figure.subplots(rows, 3, squeeze=False)).ravel()
    for axes in panels[len(properties) :]:
        axes.set_visible(False)
    for axes, name, column, p in zip(panels, properties, values.T, p_adjusted, strict=False):
        for place, (chosen, colour) in enumerate(zip((~in_second, in_second), (BLUE, ORANGE), strict=True)):
            _dots(axes, column[chosen], 1 - place, colour)
        axes.set_yticks([1, 0], splits)
        axes.set_ylim(-0.6, 1.6)
        tidy(axes)
        axes.tick_params(labelsize=SMALL_SIZE)
        significant = p <= 0.01
        axes.set_title(
            f"{name}, adjusted p = {p:.2f}" if p >= 0.01 else f"{name}, adjusted p = {p:.3f}",
            fontsize=SMALL_SIZE,
            loc="left",
            color=VERMILION if significant else INK,
            fontweight="bold" if significant else "normal",
        )
    return finish(figure)


def by_class(values: NDArray[np.float64], labels: NDArray[np.str_], *, names: Sequence[str], title: str) -> Figure:
    """Draw the distributions of k numbers, shape (n, k), by class, labels of shape (n,): one dot per photograph."""
    classes = np.unique(labels)
    figure = new_figure(title=title, width=7.5, height=0.6 + 0.42 * len(classes))
    panels = np.asarray(figure.subplots(1, values.shape[1], sharey=True, squeeze=False)).ravel()
    for axes, name, column in zip(panels, names, values.T, strict=True):
        for place, label in enumerate(classes[::-1]):
            _dots(axes, column[labels == label], place, BLUE)
        axes.set_yticks(range(len(classes)), list(classes[::-1]))
        axes.set_title(name, fontsize=TEXT_SIZE, loc="left", color=INK)
        tidy(axes)
    return finish(figure)


def _dots(axes: Axes, values: NDArray[np.float64], place: int, colour: str) -> None:
    spread = np.random.default_rng(0).uniform(-JITTER, JITTER, len(values))
    axes.scatter(values, place + spread, s=7, color=colour, alpha=0.55, linewidths=0)
    axes.plot([np.median(values)] * 2, [place - JITTER, place + JITTER], color=INK, linewidth=1.6)


def _checkerboard(first: Pixels, second: Pixels) -> Pixels:
    """Show two images in alternating squares: continuous edges show a match."""
    rows, columns = np.mgrid[: first.shape[0], : first.shape[1]]
    from_first = (rows // SQUARE + columns // SQUARE) % 2 == 0
    empty_first, empty_second = (content_mask(image, margin=FILL_MARGIN) == 0 for image in (first, second))
    chosen = (from_first & ~empty_first) | empty_second
    return np.where(chosen[..., None], first, second).astype(np.uint8)
