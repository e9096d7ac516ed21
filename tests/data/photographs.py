"""Copies of photographs as an augmentation makes them, for tests of what finds them."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from real import real_data

Pixels = NDArray[np.uint8]


def photographs(count: int) -> list[Pixels]:
    """Return different photographs of blood smears: real ones where they are, else drawn ones."""
    source = real_data()
    if source is None:
        return [drawn(seed) for seed in range(count)]
    files = sorted((source / "TEST_SIMPLE").glob("*/*"))
    step = len(files) // count
    return [np.asarray(Image.open(file).convert("RGB")) for file in files[::step][:count]]


def drawn(seed: int) -> Pixels:
    """Draw red cells of random shapes and places, with one dark nucleus."""
    rng = np.random.default_rng(seed)
    pixels = np.full((240, 320, 3), 225, np.uint8)
    for _ in range(30):
        x, y = rng.integers(0, 320), rng.integers(0, 240)
        axes = rng.integers(12, 26, 2)
        colour = rng.integers([170, 110, 110], [215, 160, 160])
        cv2.ellipse(
            pixels, (int(x), int(y)), (int(axes[0]), int(axes[1])), int(rng.integers(180)), 0, 360, colour.tolist(), -1
        )
        cv2.circle(
            pixels,
            (int(x + rng.integers(-4, 5)), int(y + rng.integers(-4, 5))),
            int(rng.integers(3, 8)),
            (colour + 25).tolist(),
            -1,
        )
    cv2.circle(pixels, (int(rng.integers(80, 240)), int(rng.integers(60, 180))), 26, (110, 60, 150), -1)
    return np.clip(cv2.GaussianBlur(pixels, (0, 0), 1.2) + rng.normal(0, 3, pixels.shape), 0, 255).astype(np.uint8)


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
