"""Augmented copies of photographs, for tests of what finds them."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def copy(
    pixels: Pixels,
    rng: np.random.Generator,
    *,
    rotation: float = 20,
    shift: float = 0.1,
    shear: float = 0.2,
    zoom: float = 0.0,
    perspective: float = 0.0,
    brightness: float = 0.0,
    fill: int = cv2.BORDER_CONSTANT,
) -> Pixels:
    """Make an augmented copy: a random change of each kind, up to the given strength, and either flip."""
    height, width = pixels.shape[:2]
    angle, lean = np.deg2rad(rng.uniform(-rotation, rotation)), rng.uniform(-shear, shear)
    scale = np.exp(rng.uniform(-1, 1) * np.log1p(zoom))
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    skew = np.array([[1, -np.sin(lean), 0], [0, np.cos(lean), 0], [0, 0, 1]])
    tilt = np.eye(3)
    tilt[2, :2] = rng.uniform(-perspective, perspective, 2) / width
    flips = np.diag([*rng.choice([-1, 1], 2), 1])
    centre = np.array([[1, 0, width / 2], [0, 1, height / 2], [0, 0, 1]])
    move = np.eye(3)
    move[:2, 2] = rng.uniform(-shift, shift, 2) * (width, height)
    matrix = move @ centre @ tilt @ turn @ skew @ np.diag([scale, scale, 1]) @ flips @ np.linalg.inv(centre)
    warped = cv2.warpPerspective(pixels, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=fill)
    return np.clip(warped * (1 + rng.uniform(-brightness, brightness)), 0, 255).astype(np.uint8)


def save(folder: Path, name: str, pixels: Pixels, *, quality: int = 90) -> Path:
    """Save an image as JPEG."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.jpeg"
    Image.fromarray(pixels).save(path, quality=quality)
    return path
