"""Read image files as 8-bit RGB, as an image viewer shows them."""

import io
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""Suffixes of image files."""

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""The formats that are read, by Pillow's names. Others can start programs, such as Ghostscript for PostScript."""

MAX_PIXELS = 64_000_000
"""Most pixels of an image: decoded, 192 MB. A file of one kilobyte can claim gigabytes."""

DECODER_VERSION = 2
"""Increased when the same file is decoded to other pixels; caches of decoded images are keyed by it."""


class UnreadableImage(Exception):  # noqa: N818
    """A file that cannot be read as an image; the message says why."""


def read_image(path: str | bytes | os.PathLike[str]) -> NDArray[np.uint8]:
    """Read an image file as RGB.

    Parameters
    ----------
    path
        A file in one of `FORMATS`.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
        Red, green, blue. See `decode_image` for the conversion of other modes.

    Raises
    ------
    UnreadableImage
        If the file is missing, empty, truncated or not an image.
    """
    return decode_image(read_file(path))


def read_file(path: str | bytes | os.PathLike[str]) -> bytes:
    """Return the content of an image file.

    Raises
    ------
    UnreadableImage
        If the file cannot be read.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - paths from TensorFlow are bytes
            return file.read()
    except OSError as error:
        raise UnreadableImage(error.strerror or str(error)) from error


def decode_image(data: bytes) -> NDArray[np.uint8]:
    """Decode the content of an image file to RGB.

    The EXIF orientation is applied. Greyscale, palette and CMYK images become RGB; transparent pixels become white; of
    16 bits a channel, the upper 8 are kept; of an animation, the first frame.

    Parameters
    ----------
    data
        The bytes of the file.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8

    Raises
    ------
    UnreadableImage
        If the bytes are not a whole image of one of `FORMATS`, or it has more than `MAX_PIXELS` pixels.
    """
    if not data:
        raise UnreadableImage("the file is empty")
    try:
        with _opened(io.BytesIO(data)) as image:
            image.load()
            upright = ImageOps.exif_transpose(image)
        return np.asarray(_to_rgb(upright))
    except (UnreadableImage, MemoryError):  # too little memory is not a fault of the image
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImage("not an image") from error
    except Exception as error:  # Pillow's plugins raise any error of their parsers
        raise UnreadableImage(str(error) or type(error).__name__) from error


def read_header(path: Path) -> tuple[int, int, str]:
    """Return the width and height of a readable image in pixels, and its mode, without decoding it."""
    with _opened(path) as image:
        return image.width, image.height, image.mode


def _opened(source: io.BytesIO | Path) -> Image.Image:
    image = Image.open(source, formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise UnreadableImage(f"has {image.width} x {image.height} pixels; at most {MAX_PIXELS:,} are read")
    return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return Image.fromarray(_upper_byte(np.asarray(image))).convert("RGB")
    if image.mode == "F":
        raise UnreadableImage("pixels are floating-point numbers; save it with 8 or 16 bits a channel")
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured).convert("RGB")
    return image.convert("RGB")


def _upper_byte(grey: NDArray[np.generic]) -> NDArray[np.uint8]:
    wide = grey.astype(np.int64)
    if wide.min() < 0 or wide.max() > np.iinfo(np.uint16).max:
        raise UnreadableImage("pixels have more than 16 bits; save it with 8 or 16 bits a channel")
    return (wide >> 8).astype(np.uint8)
