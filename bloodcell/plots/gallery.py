"""Galleries of misclassified images and of augmented views."""

from collections.abc import Sequence
from pathlib import PurePath

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from bloodcell.plots.images import LONGEST_SIDE_RATIO, MIN_WIDTH, message, show_picture
from bloodcell.plots.style import (
    FAINT,
    INK,
    MUTED,
    TEXT_SIZE,
    VERMILION,
    finish,
    fold,
    new_figure,
    require_columns,
)

ERROR_COLUMNS = ("path", "label", "predicted", "probability")
# In inches.
GAP = 0.12
LINE = 0.175
ERROR_WIDTH = 2.4
VIEW_WIDTH = 1.5
NAME_WIDTH = 1.3


def error_gallery(
    images: Sequence[npt.NDArray[np.uint8]], *, errors: pd.DataFrame, title: str = "Most confident errors"
) -> Figure:
    """Show misclassified images with true class, predicted class and confidence.

    Parameters
    ----------
    images
        One array per error, shape (height, width, 3), uint8 RGB; sizes may differ.
    errors
        One row per image in the same order: ``path, label, predicted`` (str) and ``probability`` (float in 0..1, of
        the predicted class), as `bloodcell.evaluation.predictions.most_confident_errors` returns it.
    title
        Of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        Four images a row; a sentence if there is no error.

    Raises
    ------
    ValueError
        If there is not one image per error, a column is missing, or an image is not uint8 RGB.
    """
    require_columns(errors, ERROR_COLUMNS)
    if len(images) != len(errors):
        raise ValueError(f"each error needs its image: {len(errors)} errors, {len(images)} images")
    if not images:
        return message("No image was misclassified.", title=title)
    captions = [
        "\n".join(
            fold(line, inches=ERROR_WIDTH, size=TEXT_SIZE)
            for line in (
                f"{error.label} → {error.predicted}",
                f"confidence {error.probability:.1%}",
                PurePath(str(error.path)).name,
            )
        )
        for error in errors.itertuples(index=False)
    ]
    columns = min(4, len(images))
    figure, panels = _grid(
        rows=-(-len(images) // columns),
        columns=columns,
        width=ERROR_WIDTH,
        height=ERROR_WIDTH * _side_ratio(images),
        below=(max(caption.count("\n") for caption in captions) + 1) * LINE + 0.1,
        title=title,
    )
    for axes in panels.ravel()[len(images) :]:
        axes.remove()
    for axes, image, caption in zip(panels.ravel(), images, captions, strict=False):
        show_picture(axes, image, edge=VERMILION, anchor="S")
        axes.set_xlabel(caption, fontsize=TEXT_SIZE, color=INK)
    return finish(figure)


def augmentation_samples(
    originals: Sequence[npt.NDArray[np.uint8]],
    *,
    views: Sequence[Sequence[npt.NDArray[np.uint8]]],
    names: Sequence[str] | None = None,
    title: str = "Images and their augmented views",
) -> Figure:
    """Show images with their augmented views.

    Parameters
    ----------
    originals
        One array per image, shape (height, width, 3), uint8 RGB.
    views
        For each image its views from view 1 on, arrays like the image's; every image has as many.
    names
        Captions of the rows, such as classes; optional.
    title
        Of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        One row per image: the image itself, then its views.

    Raises
    ------
    ValueError
        If there is no image, the numbers of views or names do not fit, or an image is not uint8 RGB.
    """
    if not originals:
        raise ValueError("there is no image to show")
    counts = {len(row) for row in views}
    if len(views) != len(originals) or len(counts) != 1:
        raise ValueError(f"each of the {len(originals)} images needs the same number of views")
    if names is not None and len(names) != len(originals):
        raise ValueError(f"{len(originals)} images have {len(names)} names")
    n_views = counts.pop()
    figure, panels = _grid(
        rows=len(originals),
        columns=n_views + 1,
        width=VIEW_WIDTH,
        height=VIEW_WIDTH * _side_ratio([*originals, *(view for row in views for view in row)]),
        left=0 if names is None else NAME_WIDTH + GAP,
        above=LINE + 0.1,
        title=title,
    )
    for row, (original, its_views) in enumerate(zip(originals, views, strict=True)):
        show_picture(panels[row, 0], original, edge=INK, anchor="C")
        for axes, view in zip(panels[row, 1:], its_views, strict=True):
            show_picture(axes, view, edge=FAINT, anchor="C")
        if names is not None:
            name = fold(names[row], inches=NAME_WIDTH, size=TEXT_SIZE)
            panels[row, 0].set_ylabel(
                name, fontsize=TEXT_SIZE, color=INK, rotation=0, ha="right", va="center", multialignment="right"
            )
    panels[0, 0].set_title("image", fontsize=TEXT_SIZE, fontweight="bold", color=INK)
    for number in range(1, n_views + 1):
        panels[0, number].set_title(f"view {number}", fontsize=TEXT_SIZE, color=MUTED)
    return finish(figure)


def _side_ratio(images: Sequence[npt.NDArray[np.uint8]]) -> float:
    """Check images, and return their largest ratio of height to width, limited."""
    for image in images:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"an image must be uint8 of shape (height, width, 3), got {image.dtype} of {image.shape}")
    return min(max(float(image.shape[0] / image.shape[1]) for image in images), LONGEST_SIDE_RATIO)


def _grid(
    *,
    rows: int,
    columns: int,
    width: float,
    height: float,
    title: str,
    left: float = 0.0,
    above: float = 0.0,
    below: float = 0.0,
) -> tuple[Figure, npt.NDArray[np.object_]]:
    """Return a figure and its panels, shape (rows, columns); sizes in inches.

    Layout engines ignore the aspect ratio of pictures, so positions are computed here.
    """
    figure = new_figure(
        title=title,
        width=max(left + columns * (width + GAP) + GAP, MIN_WIDTH),
        height=GAP + above + rows * (height + below + GAP),
        layout="none",
    )
    total_width, total_height = figure.get_size_inches()
    panels = np.empty((rows, columns), dtype=np.object_)
    for row in range(rows):
        for column in range(columns):
            x = left + GAP + column * (width + GAP)
            y = (rows - row) * (height + below + GAP) - height
            panels[row, column] = figure.add_axes(
                (x / total_width, y / total_height, width / total_width, height / total_height)
            )
    return figure, panels
