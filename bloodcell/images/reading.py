"""Read image files as 8-bit RGB, as an image viewer shows them."""

import io
import os
import stat
import threading
from contextlib import nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from bloodcell.images.address import address_of
from bloodcell.images.depth import UnusableDepth, bits_used, eight_bits, is_deep, values_of

FORMATS = {
    "AVIF": (".avif",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "JPEG": (".jpeg", ".jpg", ".jpe", ".jfif", ".mpo"),
    "JPEG2000": (".jp2", ".j2k", ".jpf", ".jpx"),
    "PNG": (".png",),
    "PPM": (".pbm", ".pgm", ".pnm", ".ppm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
"""The formats that are read, by Pillow's names, and their suffixes. Others can start programs, such as Ghostscript."""

PLUGINS = {"HEIF": (".heic", ".heif"), "JXL": (".jxl",)}
"""The same of formats that Pillow reads with the plug-ins of the extra ``formats``."""

SUFFIXES = frozenset(suffix for suffixes in (FORMATS | PLUGINS).values() for suffix in suffixes)
"""Suffixes of image files."""

WHOLE_SLIDES = frozenset({".svs", ".ndpi", ".mrxs", ".czi", ".scn", ".vms", ".bif", ".lif", ".vsi"})
"""Suffixes of whole-slide images, which have thousands of cells."""

MAX_PIXELS = 64_000_000
"""Most pixels of an image: decoded, 192 MB. A file of one kilobyte can claim gigabytes."""

MAX_BYTES = 500_000_000
"""Most bytes of a file: those of `MAX_PIXELS` pixels with 16 bits a channel, not compressed, are 384 MB."""

LARGE = 8_000_000
"""An image of more pixels is decoded while no other large one is: each takes up to half a gigabyte meanwhile."""

MAX_SHOWN = 2_000_000
"""Most pixels of an image in a plot, which holds several images at once."""

DECODER_VERSION = 2
"""Increased when the same file is decoded to other pixels; caches of decoded images are keyed by it."""


CAMERA = (0x010F, 0x0110)
"""EXIF's tags of the camera's make and model."""

STRIP = 1024
"""Rows that are copied at a time."""
_one_large = threading.Lock()


class UnreadableImage(Exception):  # noqa: N818
    """A file that cannot be read as an image; the message says why."""


def read_image(path: str | bytes | os.PathLike[str]) -> NDArray[np.uint8]:
    """Read an image file as RGB.

    Parameters
    ----------
    path
        A file in one of `FORMATS`, or an address of `bloodcell.images.address`.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
        Red, green, blue. See `decode_image` for the conversion of other modes.

    Raises
    ------
    UnreadableImage
        If the file is missing, empty, truncated or not an image.
    """
    address = address_of(path)
    return decode_image(read_file(address.file), page=address.page, bits=address.bits)


def read_file(path: str | bytes | os.PathLike[str]) -> bytes:
    """Return the content of an image file.

    Raises
    ------
    UnreadableImage
        If the file cannot be read, is a device or a pipe, or has more than `MAX_BYTES` bytes.
    """
    try:
        kind = os.stat(path).st_mode  # noqa: PTH116 - paths from TensorFlow are bytes
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):  # opening a pipe would wait forever
            raise UnreadableImage("not a file but a device or a pipe")
        with open(path, "rb") as file:  # noqa: PTH123
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UnreadableImage(error.strerror or str(error)) from error
    if len(content) > MAX_BYTES:
        raise UnreadableImage(f"has more than {MAX_BYTES:,} bytes")
    return content


def decode_image(data: bytes, *, page: int = 1, bits: int | None = None) -> NDArray[np.uint8]:
    """Decode the content of an image file to RGB.

    The EXIF orientation is applied. Greyscale, palette and CMYK images become RGB; transparent pixels become white.

    Parameters
    ----------
    data
        The bytes of the file.
    page
        The page or frame, from 1.
    bits
        Of an image with more than 8 bits a channel, the upper 8 of this many are kept; None: of those that it uses.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8

    Raises
    ------
    UnreadableImage
        If the bytes are not a whole image of one of `FORMATS`, it has more than `MAX_PIXELS` pixels, or no such page.
    """
    if not data:
        raise UnreadableImage("the file is empty")
    try:
        with _opened(io.BytesIO(data)) as image, _one_large if image.width * image.height > LARGE else nullcontext():
            if page > 1:
                _seek(image, page)
            if is_deep(image):
                values = values_of(image, data, page=page)
                image = eight_bits(image, values, bits or bits_used(values) or 8)
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return _pixels(_to_rgb(image))
    except (UnreadableImage, MemoryError):  # too little memory is not a fault of the image
        raise
    except UnidentifiedImageError as error:
        kind = _plugin_of(data)
        if kind is not None and kind not in _formats():
            raise UnreadableImage(f"{kind} needs pip install 'bloodcell[formats]'") from error
        raise UnreadableImage("not an image") from error
    except Exception as error:  # Pillow's plugins raise any error of their parsers
        raise UnreadableImage(str(error) or type(error).__name__) from error


def pages_and_bits(data: bytes) -> tuple[int, int]:
    """Return the number of pages or frames of a readable image, and the bits a channel that its first page uses.

    A second picture within a JPEG file, as phones make them, is no page. An image of at most 8 bits a channel has 0.
    """
    with _opened(io.BytesIO(data)) as image:
        pages = _pages_of(image)
        try:
            return pages, bits_used(values_of(image, data, page=1)) if is_deep(image) else 0
        except UnusableDepth:
            return pages, 0


def pages_of(path: Path) -> int:
    """Return the number of pages or frames of a file; 1 if it cannot be read."""
    try:
        with _opened(path) as image:
            return _pages_of(image)
    except Exception:  # Pillow's plugins raise any error of their parsers
        return 1


def read_image_to_show(path: str | bytes | os.PathLike[str]) -> NDArray[np.uint8]:
    """Read an image file as `read_image` does, and reduce it to `MAX_SHOWN` pixels if it has more."""
    pixels = read_image(path)
    height, width = pixels.shape[:2]
    scale = (MAX_SHOWN / (height * width)) ** 0.5
    if scale >= 1:
        return pixels
    size = max(int(width * scale), 1), max(int(height * scale), 1)
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))


class Header(NamedTuple):
    """What an image's header says: size in pixels, Pillow's mode and format, and the camera's make and model."""

    width: int
    height: int
    mode: str
    format: str
    camera: str

    @property
    def suffixes(self) -> tuple[str, ...]:
        """The suffixes of the format."""
        return (FORMATS | PLUGINS).get("JPEG" if self.format == "MPO" else self.format, ())


def read_header(source: Path | bytes) -> Header:
    """Return what an image's header says, without decoding the image.

    Raises
    ------
    UnreadableImage
        If the file, or its content, is not an image of one of `FORMATS`, or has more than `MAX_PIXELS` pixels.
    """
    try:
        with _opened(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            exif = image.getexif()
            camera = " ".join(str(exif[tag]).strip("\0 ") for tag in CAMERA if tag in exif)
            return Header(image.width, image.height, image.mode, str(image.format), camera)
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:  # Pillow's plugins raise any error of their parsers
        raise UnreadableImage(str(error) or type(error).__name__) from error


def require_image(path: Path) -> None:
    """Check that a file without an image suffix is an image, without reading it all.

    Raises
    ------
    UnreadableImage
        If it is not.
    """
    if path.suffix.lower() in WHOLE_SLIDES:
        raise UnreadableImage("a whole-slide image; export pictures of cells as PNG or TIFF, for example with QuPath")
    if not path.is_file():  # opening a pipe would wait forever
        raise UnreadableImage("not a file but a device or a pipe")
    try:
        read_header(path)
    except UnreadableImage as error:
        raise UnreadableImage("not an image") from error


@cache
def _formats() -> tuple[str, ...]:
    """Return the formats that can be read here."""
    found = [*FORMATS]
    with suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()
        found.append("HEIF")
    with suppress(ImportError):
        import pillow_jxl  # noqa: F401 - it registers itself

        found.append("JXL")
    return tuple(found)


def _plugin_of(data: bytes) -> str | None:
    """Return the name of a format that needs a plug-in, by the first bytes of a file (ISO/IEC 23008-12, 18181-2)."""
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"):
        return "HEIF"
    if data[:2] == b"\xff\x0a" or data[:12] == b"\0\0\0\x0cJXL \r\n\x87\n":
        return "JXL"
    return None


def _opened(source: io.BytesIO | Path) -> Image.Image:
    image = Image.open(source, formats=_formats())
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise UnreadableImage(f"has {image.width} x {image.height} pixels; at most {MAX_PIXELS:,} are read")
    return image


def _pages_of(image: Image.Image) -> int:
    pages = 1 if image.format in ("JPEG", "MPO") else getattr(image, "n_frames", 1)
    image.seek(0)
    return pages


def _seek(image: Image.Image, page: int) -> None:
    try:
        image.seek(page - 1)
    except EOFError as error:
        raise UnreadableImage(f"has no page {page}") from error
    if image.width * image.height > MAX_PIXELS:  # the pages of a file can have different sizes
        raise UnreadableImage(f"has {image.width} x {image.height} pixels; at most {MAX_PIXELS:,} are read")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    """Return an RGB image's pixels; strip after strip, as Pillow's own conversion copies an image several times."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, STRIP):
        bottom = min(top + STRIP, image.height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)))
    return pixels
