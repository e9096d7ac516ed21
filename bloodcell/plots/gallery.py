"""Galleries of misclassified images and of augmented views."""

from collections.abc import Sequence
from pathlib import PurePath

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bloodcell.plots.images import GAP, LINE, captioned, grid, message, show_picture, side_ratio
from bloodcell.plots.style import FAINT, INK, MUTED, TEXT_SIZE, VERMILION, finish, fold

# In inches.
VIEW_WIDTH = 1.5
NAME_WIDTH = 1.3


def error_gallery(
    images: Sequence[NDArray[np.uint8]], *, errors: pd.DataFrame, title: str = "Most confident errors"
) -> Figure:
    """Show misclassified images with true class, predicted class and confidence; a sentence if there is none.

    Parameters
    ----------
    images
        One array per error, shape (height, width, 3), uint8 RGB; sizes may differ.
    errors
        One row per image in the same order: ``path, label, predicted`` (str) and ``probability`` (float in 0..1, of
        the predicted class), as `bloodcell.evaluation.predictions.most_confident_errors` returns it.
    """
    if len(images) != len(errors):
        raise ValueError(f"each error needs its image: {len(errors)} errors, {len(images)} images")
    if not images:
        return message("No image was misclassified.", title=title)
    captions = [
        f"{error.label} → {error.predicted}\nconfidence {error.probability:.1%}\n{PurePath(str(error.path)).name}"
        for error in errors.itertuples(index=False)
    ]
    return captioned(images, captions=captions, title=title, edge=VERMILION)


def augmentation_samples(
    originals: Sequence[NDArray[np.uint8]],
    *,
    views: Sequence[Sequence[NDArray[np.uint8]]],
    names: Sequence[str],
    title: str = "Images and their augmented views",
) -> Figure:
    """Show images, shape (height, width, 3), uint8 RGB, each in a row with its name and its augmented views.

    ``views`` has for each image its views from view 1 on, arrays like the image's; every image has as many.
    """
    (n_views,) = {len(row) for row in views}
    figure, panels = grid(
        (len(originals), n_views + 1),
        size=(VIEW_WIDTH, VIEW_WIDTH * side_ratio([*originals, *(view for row in views for view in row)])),
        left=NAME_WIDTH + GAP,
        above=LINE + 0.1,
        title=title,
    )
    for row, original, its_views, name in zip(panels, originals, views, names, strict=True):
        show_picture(row[0], original, edge=INK)
        for axes, view in zip(row[1:], its_views, strict=True):
            show_picture(axes, view, edge=FAINT)
        text = fold(name, inches=NAME_WIDTH, size=TEXT_SIZE)
        row[0].set_ylabel(
            text, fontsize=TEXT_SIZE, color=INK, rotation=0, ha="right", va="center", multialignment="right"
        )
    panels[0, 0].set_title("image", fontsize=TEXT_SIZE, fontweight="bold", color=INK)
    for number in range(1, n_views + 1):
        panels[0, number].set_title(f"view {number}", fontsize=TEXT_SIZE, color=MUTED)
    return finish(figure)
