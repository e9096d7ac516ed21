"""The way from a smear's optical density to a photograph: light, lens, sensor and JPEG."""

import cv2
import numpy as np
from numpy.typing import NDArray

from bloodcell.smears.shapes import Field, noise
from bloodcell.smears.slide import Slide


def take_photograph(rng: np.random.Generator, slide: Slide, density: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Photograph a smear.

    Parameters
    ----------
    density
        Optical density in red, green and blue, shape (height, width, 3), float32.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
        RGB.
    """
    shape = density.shape[0], density.shape[1]
    light = _illumination(slide, shape) * np.float32(np.exp(rng.normal(0, 0.01)))
    pixels = np.exp(-density) * slide.light * light[..., None]
    pixels = _through_lens(rng, slide, np.asarray(pixels, np.float32))
    fine = rng.standard_normal(density.shape, dtype=np.float32) * np.float32(slide.colour_grain)
    fine += rng.standard_normal(shape, dtype=np.float32)[..., None] * np.float32(slide.grain)
    pixels += cv2.GaussianBlur(fine, (0, 0), 0.6) * np.float32(1.6)
    pixels += np.dstack([noise(rng, shape, scale=9) for _ in range(3)]) * np.float32(0.6)
    return _through_jpeg(np.clip(np.rint(pixels), 0, 255).astype(np.uint8), slide.quality)


def _illumination(slide: Slide, shape: tuple[int, int]) -> Field:
    """Return the light in parts of the middle's, with specks of dust."""
    height, width = shape
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    across, down, corner = slide.gradient
    light = 1 + across * x + down * y + corner * (x**2 + y**2)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    for left, top, radius, strength in slide.dust:
        light = light * (1 - strength * np.exp(-((columns - left) ** 2 + (rows - top) ** 2) / (2 * radius**2)))
    return np.asarray(light, np.float32)


def _through_lens(rng: np.random.Generator, slide: Slide, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Blur, blue more than green and red elsewhere, and sharpen as cameras do."""
    height, width = pixels.shape[:2]
    blur = slide.blur * np.exp(rng.normal(0, 0.12))
    channels = []
    for channel, (shift, wider) in enumerate(((-0.5, 1.08), (0.0, 1.0), (0.5, 1.2))):
        move = np.array([[1, 0, shift * slide.fringe[0]], [0, 1, shift * slide.fringe[1]]], np.float32)
        plane = cv2.GaussianBlur(np.ascontiguousarray(pixels[..., channel]), (0, 0), blur * wider)
        channels.append(cv2.warpAffine(plane, move, (width, height), borderMode=cv2.BORDER_REFLECT))
    seen = np.dstack(channels)
    return np.asarray(seen + slide.sharpening * (seen - cv2.GaussianBlur(seen, (0, 0), 2.0)), np.float32)


def _through_jpeg(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    _, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])
