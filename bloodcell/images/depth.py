"""Images of more than 8 bits a channel."""

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

DEPTHS = (8, 10, 12, 14, 16)
"""Bits of cameras, in files of 16 bits a channel."""
ORIENTATION = 0x0112
"""EXIF's tag of the orientation."""

Values = NDArray[np.uint16] | NDArray[np.int64] | NDArray[np.float32]


class UnusableDepth(Exception):  # noqa: N818
    """Pixels that cannot be brought to 8 bits; the message says why."""


def is_deep(image: Image.Image) -> bool:
    """Return whether an image that is open, but not loaded, has more than 8 bits a channel."""
    return image.mode == "F" or image.mode.startswith("I") or _is_deep_colour(image)


def values_of(image: Image.Image, data: bytes, *, page: int) -> Values:
    """Return the pixels of a deep image as they are in the file.

    Pillow keeps only the upper 8 bits of colours, so OpenCV decodes these.

    Parameters
    ----------
    image
        The open image at this page, not loaded.
    data
        The content of its file.
    page
        From 1.

    Returns
    -------
    ndarray of shape (height, width), or (height, width, 3 or 4) with red, green, blue and opacity
    """
    if not _is_deep_colour(image):
        image.load()
        values = np.asarray(image)
        return values if values.dtype.kind == "f" else values.astype(np.int64)
    found, pages = cv2.imdecodemulti(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED, range=(page - 1, page))
    if not found or pages[0].dtype != np.uint16:
        raise UnusableDepth("colours of 16 bits that cannot be decoded; save it with 8 bits a channel")
    order = cv2.COLOR_BGRA2RGBA if pages[0].shape[-1] == 4 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(pages[0], order), np.uint16)


def bits_used(values: Values) -> int:
    """Return the least of `DEPTHS` that holds all values; 0 if they are fractions of white, from 0 to 1."""
    values = _required(values)
    if _are_fractions(values):
        return 0
    most = values[..., :3].max() if values.ndim == 3 else values.max()
    return next(bits for bits in DEPTHS if most < 2**bits)


def eight_bits(image: Image.Image, values: Values, bits: int) -> Image.Image:
    """Return a deep image with the upper 8 of ``bits`` bits a channel, in its own orientation.

    Fractions of white, from 0 to 1, are multiplied by 255.
    """
    values = _required(values)
    if _are_fractions(values):
        reduced = Image.fromarray(np.rint(values * 255).astype(np.uint8))
    else:
        reduced = Image.fromarray(np.minimum(values.astype(np.int64) >> (bits - 8), 255).astype(np.uint8))
    orientation = image.getexif().get(ORIENTATION)
    if orientation is not None and not (image.format == "TIFF" and values.ndim == 3):  # OpenCV has turned these
        reduced.getexif()[ORIENTATION] = orientation
    return reduced


def _is_deep_colour(image: Image.Image) -> bool:
    """Return whether Pillow decodes the image by a raw mode such as ``RGB;16B``, so keeps the upper 8 bits only."""
    if image.mode.startswith("I"):
        return False
    return any(";16" in str(each) for tile in getattr(image, "tile", ()) for each in _listed(tile[3]))


def _listed(arguments: object) -> tuple[object, ...]:
    return arguments if isinstance(arguments, tuple) else (arguments,)


def _are_fractions(values: Values) -> bool:
    return values.dtype.kind == "f" and bool(values.max() <= 1)


def _required(values: Values) -> Values:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UnusableDepth("some pixels are not finite numbers")
    if values.min() < 0 or values.max() >= 2 ** DEPTHS[-1]:
        raise UnusableDepth("pixels are negative or have more than 16 bits; save it with 8 or 16 bits a channel")
    return values
