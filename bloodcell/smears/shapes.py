"""Smooth random shapes as distance fields: positive inside, in pixels, zero on the outline."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]

_HARMONICS = 6
_ANGLES = 128


def grid(reach: int) -> tuple[Field, Field]:
    """Return the x and the y of a square's pixels as seen from its centre, each of shape (2 * reach + 1,) * 2."""
    axis = np.arange(-reach, reach + 1, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    return x, y


def noise(rng: np.random.Generator, shape: tuple[int, int], *, scale: float) -> Field:
    """Return smooth noise of mean 0 and a standard deviation of about 1.

    Parameters
    ----------
    shape
        Of the result, (height, width).
    scale
        Pixels over which it changes.
    """
    height, width = shape
    knots = int(np.ceil(height / scale)) + 1, int(np.ceil(width / scale)) + 1
    values = rng.standard_normal(knots, dtype=np.float32) * 1.4  # interpolation takes variance away
    return np.asarray(cv2.resize(values, (width, height), interpolation=cv2.INTER_CUBIC))


def random_outline(rng: np.random.Generator, radius: float, *, elongation: float, roughness: float) -> Field:
    """Return the radii of a closed smooth outline at equally spaced angles, shape (129,); the last is the first.

    Parameters
    ----------
    radius
        Of the disc of about the same area, in pixels.
    elongation
        Standard deviation of the logarithm of long over short axis.
    roughness
        Standard deviation of the radius in parts of it, of what is no ellipse.
    """
    angles = np.linspace(0, 2 * np.pi, _ANGLES + 1)
    ratio = np.exp(abs(rng.normal(0, elongation)))
    turn = rng.uniform(0, np.pi)
    ellipse = (ratio * np.cos(angles - turn) ** 2 + np.sin(angles - turn) ** 2 / ratio) ** -0.5
    orders = np.arange(3, 3 + _HARMONICS)
    sizes = rng.normal(0, roughness, _HARMONICS) / (orders - 2)
    phases = rng.uniform(0, 2 * np.pi, _HARMONICS)
    waves = (sizes[:, None] * np.cos(orders[:, None] * angles + phases[:, None])).sum(axis=0)
    return np.asarray(radius * ellipse * (1 + waves), np.float32)


def inside_outline(x: Field, y: Field, outline: Field) -> tuple[Field, Field]:
    """Return how deep pixels lie inside an outline around (0, 0), in pixels, and how far out, 0 at the centre, 1 on it."""
    distance, angle = cv2.cartToPolar(x, y)
    position = angle * (_ANGLES / (2 * np.pi))
    low = np.minimum(position.astype(np.int32), _ANGLES - 1)
    radius = outline[low] + (outline[low + 1] - outline[low]) * (position - low)
    return radius - distance, distance / radius


def stroke(
    x: Field, y: Field, start: tuple[float, float], end: tuple[float, float], *, radii: tuple[float, float]
) -> Field:
    """Return the depth inside a stroke between two points, whose radius goes from one to the other."""
    across, down = end[0] - start[0], end[1] - start[1]
    length = max(across**2 + down**2, 1e-6)
    share = np.clip(((x - start[0]) * across + (y - start[1]) * down) / length, 0, 1)
    distance = np.sqrt((x - start[0] - share * across) ** 2 + (y - start[1] - share * down) ** 2)
    return np.asarray(radii[0] + share * (radii[1] - radii[0]) - distance, np.float32)


def union(fields: Sequence[Field], *, softness: float) -> Field:
    """Join shapes so that they flow into each other within ``softness`` pixels."""
    stack = np.stack(fields)
    deepest = stack.max(axis=0)
    return np.asarray(deepest + softness * (np.log(np.exp((stack - deepest) / softness).sum(axis=0))), np.float32)


def coverage(depth: Field, *, edge: float = 1.0) -> Field:
    """Return the share of each pixel that a shape covers, whose edge is ``edge`` pixels wide."""
    share = np.clip(0.5 + depth / edge, 0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float32)


def dots(
    rng: np.random.Generator, shape: tuple[int, int], *, spacing: float, radius: float, packing: float = 1.0
) -> Field:
    """Return soft round dots all over: 1 within a dot, 0 between.

    Parameters
    ----------
    spacing
        Mean distance of neighbours, in pixels.
    radius
        Of a dot, in pixels.
    packing
        Share of the places that have one.
    """
    height, width = shape
    points = np.zeros(shape, np.float32)
    rows, columns = np.meshgrid(np.arange(0, height, spacing), np.arange(0, width, spacing), indexing="ij")
    y = rows.ravel() + rng.uniform(0, spacing, rows.size)
    x = columns.ravel() + rng.uniform(0, spacing, rows.size)
    weight = rng.uniform(0.5, 1.3, rows.size) * (rng.random(rows.size) < packing)
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    for down in (0, 1):
        for across in (0, 1):
            share = np.abs(1 - down - (y - top)) * np.abs(1 - across - (x - left))
            inside = (top + down < height) & (left + across < width)
            np.add.at(points, (top[inside] + down, left[inside] + across), (weight * share)[inside])
    sigma = radius * 0.7
    blurred = cv2.GaussianBlur(points, (0, 0), sigma) * (2 * np.pi * sigma**2)
    return np.asarray(1 - np.exp(-1.6 * blurred), np.float32)
