from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text


def _axes_texts(axes: Axes) -> list[Text]:
    texts = [*axes.texts]
    legend = axes.get_legend()
    if legend is not None:
        texts += legend.get_texts()
    texts += [axes.title, axes._left_title, axes._right_title]
    if axes.axison:
        for axis in (axes.xaxis, axes.yaxis):
            texts += [axis.label, *(tick.label1 for tick in axis._update_ticks())]
    return texts


def _drawn_texts(figure: Figure) -> list[Text]:
    figure.canvas.draw()
    # Laid out once.
    figure.set_layout_engine("none")
    texts = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        texts += _axes_texts(axes)
    return [text for text in texts if text.get_visible() and text.get_text().strip()]


@pytest.fixture
def texts_of() -> Callable[[Figure], list[str]]:
    """Return the texts of a figure, without line breaks."""
    return lambda figure: [text.get_text().replace("\n", "") for text in _drawn_texts(figure)]


@pytest.fixture
def check_legible() -> Callable[[Figure], None]:
    """Fails if a text exceeds the canvas or two texts overlap by more than a pixel."""

    def check(figure: Figure) -> None:
        texts = _drawn_texts(figure)
        boxes = np.array([text.get_window_extent().extents for text in texts])
        low, high = boxes[:, :2], boxes[:, 2:]
        size = np.array(figure.bbox.size)
        cut = (low < -1).any(axis=1) | (high > size + 1).any(axis=1)
        assert [text.get_text() for text, outside in zip(texts, cut, strict=True) if outside] == []
        shared = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)
        pairs = np.argwhere(np.triu((shared > 1).all(axis=2), k=1))
        assert [(texts[one].get_text(), texts[other].get_text()) for one, other in pairs] == []

    return check
