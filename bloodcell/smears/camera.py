"""From a smear's optical density to a photograph: light, lens, sensor and JPEG."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bloodcell.smears.shapes import Field
from bloodcell.smears.slide import Slide

_FINE, _COARSE = 0.75, 6
"""Scale of the brightness noise and of the colour noise, in pixels."""

_OUT_OF_FOCUS = 0.12
"""Share of photographs that are less sharp than others of their slide."""


@dataclass(frozen=True)
class _Lens:
    """The lens for one colour: share of stray light, its reach in pixels, shift relative to the fringe."""

    haze: float
    reach: float
    shift: float


_LENS = (_Lens(0.0, 2.0, -0.5), _Lens(0.18, 3.0, 0.0), _Lens(0.68, 4.5, 0.5))
"""Red, green, blue: as in the Kaggle set, red cells fade into the background."""


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
    pixels += _noise(rng, slide, shape)
    return _through_jpeg(np.clip(np.rint(pixels), 0, 255).astype(np.uint8), slide.quality)


def _illumination(slide: Slide, shape: tuple[int, int]) -> Field:
    """Return the light relative to the centre, with specks of dust."""
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
    """Blur, blue more than red (cells get a yellow fringe), and sharpen as cameras do."""
    height, width = pixels.shape[:2]
    blur = slide.blur * float(np.exp(rng.normal(0, 0.12))) + (rng.random() < _OUT_OF_FOCUS) * rng.uniform(0.3, 1.8)
    planes = []
    for plane, lens in zip(cv2.split(pixels), _LENS, strict=True):
        move = np.array([[1, 0, lens.shift * slide.fringe[0]], [0, 1, lens.shift * slide.fringe[1]]], np.float32)
        near = cv2.GaussianBlur(plane, (0, 0), blur)
        wide = cv2.GaussianBlur(plane, (0, 0), blur + lens.reach)
        haze = lens.haze - slide.sharpening
        blurred = cv2.addWeighted(near, 1 - haze, wide, haze, 0)
        planes.append(cv2.warpAffine(blurred, move, (width, height), borderMode=cv2.BORDER_REFLECT))
    return np.asarray(cv2.merge(planes))


def _noise(rng: np.random.Generator, slide: Slide, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return fine brightness noise and coarse colour noise, as of a sensor with a colour filter array."""
    height, width = shape
    fine = cv2.GaussianBlur(rng.standard_normal(shape, dtype=np.float32), (0, 0), _FINE)
    fine *= np.float32(slide.grain * 2 * np.pi**0.5 * _FINE)
    coarse = rng.standard_normal((height // _COARSE, width // _COARSE, 3), dtype=np.float32)
    coarse *= np.float32(slide.colour_grain) * np.array([1.0, 0.4, 1.8], np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) + fine[..., None])


def _through_jpeg(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    _, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])
