"""Pictures of one pixel, in place of those of a run: to draw these takes longer than a small training."""

import inspect
from base64 import b64decode
from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure

from bloodcell.plots.drawing import Pictures

PIXEL = b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNgYGAAAAAEAAH2FzhVAAAAAElFTkSuQmCC")
"""A picture (PNG) of one pixel."""


def one_pixel(pictures: Pictures, name: str, make: Callable[..., Figure], /, *arguments: Any, **settings: Any) -> None:
    """Write a picture of one pixel, if the function that makes the figure takes these arguments."""
    inspect.signature(make).bind(*arguments, **settings)
    folder = pictures._folder / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.png").write_bytes(PIXEL)
