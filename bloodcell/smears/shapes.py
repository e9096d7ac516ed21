"""Smooth random shapes as distance fields: positive inside, in pixels, zero on the outline."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]

_ANGLES = 128
_ANGLES_AROUND = np.linspace(0, 2 * np.pi, _ANGLES + 1)
_ORDERS = np.arange(3, 9)
_COSINES, _SINES = np.cos(_ORDERS[:, None] * _ANGLES_AROUND), np.sin(_ORDERS[:, None] * _ANGLES_AROUND)


def grid(reach: int) -> tuple[Field, Field]:
    """Return x and y of a square's pixels relative to its centre, each of shape (2 * reach + 1,) * 2."""
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
        Distance over which it changes, in pixels.
    """
    height, width = shape
    knots = int(np.ceil(height / scale)) + 1, int(np.ceil(width / scale)) + 1
    values = rng.standard_normal(knots, dtype=np.float32) * 1.4  # interpolation reduces the variance
    return np.asarray(cv2.resize(values, (width, height), interpolation=cv2.INTER_CUBIC))


def random_outline(rng: np.random.Generator, radius: float, *, elongation: float, roughness: float) -> Field:
    """Return the radii of a closed smooth outline at equally spaced angles, shape (129,); the last is the first.

    Parameters
    ----------
    radius
        Of the disc of about the same area, in pixels.
    elongation
        Standard deviation of the logarithm of the ratio of the axes.
    roughness
        Standard deviation of the deviation from an ellipse, relative to the radius; finer waves are weaker.
    """
    ratio = np.exp(abs(rng.normal(0, elongation)))
    turned = _ANGLES_AROUND - rng.uniform(0, np.pi)
    ellipse = (ratio * np.cos(turned) ** 2 + np.sin(turned) ** 2 / ratio) ** -0.5
    sizes = rng.normal(0, roughness, (2, len(_ORDERS))) / (_ORDERS - 2) ** 1.5
    return np.asarray(radius * ellipse * (1 + sizes[0] @ _COSINES + sizes[1] @ _SINES), np.float32)


def inside_outline(x: Field, y: Field, outline: Field) -> tuple[Field, Field]:
    """Return the depth of pixels inside an outline around (0, 0), in pixels, and their distance, 1 on the outline."""
    distance, angle = cv2.cartToPolar(x, y)
    position = angle * np.float32(_ANGLES / (2 * np.pi))
    low = np.minimum(position.astype(np.int32), _ANGLES - 1)
    radius = outline[low] + np.diff(outline)[low] * (position - low.astype(np.float32))
    return radius - distance, distance / radius


def stroke(
    x: Field, y: Field, start: tuple[float, float], end: tuple[float, float], *, radii: tuple[float, float]
) -> Field:
    """Return the depth inside a stroke between two points with these radii."""
    across, down = float(end[0] - start[0]), float(end[1] - start[1])
    length = max(across**2 + down**2, 1e-6)
    u, v = x - np.float32(start[0]), y - np.float32(start[1])
    share = np.clip((u * across + v * down) / length, 0, 1)
    distance = cv2.magnitude(u - share * across, v - share * down)
    return np.asarray(radii[0] + share * (radii[1] - radii[0]) - distance, np.float32)


def union(fields: Sequence[Field], *, softness: float) -> Field:
    """Join shapes with a smooth transition of ``softness`` pixels."""
    stack = np.stack(fields)
    deepest = stack.max(axis=0)
    total = np.exp((stack - deepest) / np.float32(softness)).sum(axis=0)
    return np.asarray(deepest + np.float32(softness) * np.log(total), np.float32)


def coverage(depth: Field, *, edge: float = 1.0) -> Field:
    """Return the share of each pixel that a shape with an edge of ``edge`` pixels covers."""
    share = np.clip(np.float32(0.5) + depth / np.float32(edge), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float32)


def dots(
    rng: np.random.Generator, shape: tuple[int, int], *, spacing: float, radius: float, packing: float = 1.0
) -> Field:
    """Return a field of soft round dots: 1 inside, 0 between.

    Parameters
    ----------
    spacing
        Mean distance of neighbours, in pixels.
    radius
        Of a dot, in pixels.
    packing
        Share of the grid points that have a dot.
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
