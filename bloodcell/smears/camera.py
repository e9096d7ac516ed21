"""The way from a smear's optical density to a photograph: light, lens, sensor and JPEG."""

import cv2
import numpy as np
from numpy.typing import NDArray

from bloodcell.smears.shapes import Field
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
    pixels = _through_lens(rng, slide, cv2.exp(-density) * light[..., None] * slide.light)
    fine = rng.standard_normal(density.shape, dtype=np.float32) * np.float32(slide.colour_grain)
    fine += rng.standard_normal(shape, dtype=np.float32)[..., None] * np.float32(slide.grain)
    pixels += cv2.GaussianBlur(fine, (0, 0), 0.6) * np.float32(1.6)
    return _through_jpeg(np.clip(np.rint(pixels), 0, 255).astype(np.uint8), slide.quality)


def _illumination(slide: Slide, shape: tuple[int, int]) -> Field:
    """Return the light in parts of the middle's, with specks of dust."""
    height, width = shape
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    across, down, corner = slide.gradient
    light = 1 + across * x + down * y + corner * (x**2 + y**2)
    rows, columns = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None]
    for left, top, radius, strength in slide.dust:
        across_speck = np.exp(-((columns - left) ** 2) / (2 * radius**2))
        light *= 1 - strength * np.exp(-((rows - top) ** 2) / (2 * radius**2)) * across_speck
    return np.asarray(light, np.float32)


def _through_lens(rng: np.random.Generator, slide: Slide, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Blur, blue more than green and red elsewhere, and sharpen as cameras do."""
    height, width = pixels.shape[:2]
    blur = slide.blur * float(np.exp(rng.normal(0, 0.12)))
    planes = []
    for plane, shift, wider in zip(cv2.split(pixels), (-0.5, 0.0, 0.5), (1.08, 1.0, 1.2), strict=True):
        move = np.array([[1, 0, shift * slide.fringe[0]], [0, 1, shift * slide.fringe[1]]], np.float32)
        blurred = cv2.GaussianBlur(plane, (0, 0), blur * wider)
        planes.append(cv2.warpAffine(blurred, move, (width, height), borderMode=cv2.BORDER_REFLECT))
    seen = cv2.merge(planes)
    over = cv2.GaussianBlur(seen, (0, 0), 2.5)
    return np.asarray(cv2.addWeighted(seen, 1 + slide.sharpening, over, -slide.sharpening, 0))


def _through_jpeg(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    _, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])
