"""Small pictures of images for the grid, cached by the content of the file."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bloodcell.files import atomic_write
from bloodcell.images.reading import DECODER_VERSION

SIZE = (208, 156)
"""Most pixels across and down: those of a tile on a screen with two pixels for each of CSS."""
QUALITY = 80
SHOWN = (1280, 960)
"""The same of the picture of one image."""

Pixels = NDArray[np.uint8]
"""RGB, shape (height, width, 3), uint8."""
ReadPixels = Callable[[int], Pixels]
"""From the row of an image to its pixels; `bloodcell.images.reading.UnreadableImage` if it is not there."""


@dataclass(frozen=True)
class Thumbnails:
    """Makes thumbnails when they are first asked for.

    Attributes
    ----------
    read
        See `ReadPixels`.
    sha256s
        The digest of each image; empty if it is unknown, then nothing is cached.
    folder
        Of the cache.
    """

    read: ReadPixels
    sha256s: tuple[str, ...]
    folder: Path

    def jpeg(self, row: int) -> bytes:
        """Return the thumbnail of an image as a JPEG file."""
        sha256 = self.sha256s[row]
        if not sha256:
            return as_jpeg(reduced(self.read(row), SIZE))
        # The digest is a text of a run, so it is no path.
        name = hashlib.sha256(f"{sha256} {SIZE} {QUALITY} {DECODER_VERSION}".encode()).hexdigest()
        path = self.folder / name[:2] / f"{name[2:]}.jpg"
        with suppress(OSError):
            return path.read_bytes()
        made = as_jpeg(reduced(self.read(row), SIZE))
        with suppress(OSError), atomic_write(path) as partial:  # a cache that cannot be written is not needed
            partial.write_bytes(made)
        return made


def reduced(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Return an image reduced to a size (width, height) that it fits into; a smaller one stays as it is."""
    height, width = pixels.shape[:2]
    scale = min(size[0] / width, size[1] / height)
    if scale >= 1:
        return pixels
    target = max(round(width * scale), 1), max(round(height * scale), 1)
    return np.asarray(cv2.resize(pixels, target, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def as_jpeg(pixels: Pixels, *, quality: int = QUALITY) -> bytes:
    """Return an image as a JPEG file."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError("OpenCV cannot write a JPEG file")
    return bytes(data)
