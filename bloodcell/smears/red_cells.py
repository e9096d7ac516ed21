"""Red cells, single, in rouleaux and in clumps, with central pallor; and platelets."""

import cv2
import numpy as np
from numpy.typing import NDArray

from bloodcell.smears.shapes import Field, coverage, grid, inside_outline, noise, random_outline
from bloodcell.smears.slide import Slide

_STEP = (0.45, 1.5)
"""Distance of neighbours in a rouleau, in radii."""

MAX_LAYERS = 1.75
"""Largest density of overlapping red cells, in layers: they are thinner where they overlap."""

SLITS = 0.2
"""Share of pallors that are slits rather than discs."""

GHOSTS = 0.07
"""Share of red cells that have lost most of their stain."""


def red_cells(
    rng: np.random.Generator, slide: Slide, shape: tuple[int, int], *, keep_clear: tuple[float, float, float]
) -> Field:
    """Return the number of layers of red cells over each pixel, shape (height, width).

    Parameters
    ----------
    keep_clear
        x, y and radius of a white cell, which displaces red cells.
    """
    layers = np.zeros(shape, np.float32)
    for x, y in _places(rng, slide, shape, keep_clear):
        radius = float(slide.red_radius * np.exp(rng.normal(0, 0.10)))
        _add(layers, _red_cell(rng, slide, radius), x, y)
    # A single layer has its full density.
    return np.asarray(MAX_LAYERS * (1 - (1 - 1 / MAX_LAYERS) ** layers), np.float32)


def platelets(rng: np.random.Generator, slide: Slide, shape: tuple[int, int]) -> Field:
    """Return the number of layers of platelets over each pixel, shape (height, width)."""
    layers = np.zeros(shape, np.float32)
    for _ in range(rng.poisson(slide.platelets)):
        x, y = rng.uniform(0, shape[1]), rng.uniform(0, shape[0])
        for _ in range(1 + (rng.random() < 0.15) * int(rng.integers(1, 5))):
            radius = float(rng.gamma(9.0, 0.6))
            x, y = x + rng.normal(0, radius * 1.5), y + rng.normal(0, radius * 1.5)
            u, v = grid(int(radius * 2) + 4)
            depth, _ = inside_outline(u, v, random_outline(rng, radius, elongation=0.25, roughness=0.12))
            texture = 1 + np.float32(0.12) * noise(rng, u.shape, scale=3)
            _add(layers, rng.uniform(0.2, 1.0) * coverage(depth, edge=rng.uniform(3, 8)) * texture, x, y)
    return layers


def _places(
    rng: np.random.Generator, slide: Slide, shape: tuple[int, int], keep_clear: tuple[float, float, float]
) -> list[tuple[float, float]]:
    """Return the centres of red cells, some beyond the border."""
    height, width = shape
    radius = slide.red_radius
    target = int(slide.crowding * 1.12 * (height + 2 * radius) * (width + 2 * radius) / (np.pi * radius**2))
    places: list[tuple[float, float]] = []
    tries = 0
    while len(places) < target and tries < 6 * target:
        tries += 1
        x, y = rng.uniform(-radius, width + radius), rng.uniform(-radius, height + radius)
        if not _is_free(x, y, places, 1.75 * radius) or _under(x, y, radius, keep_clear, rng):
            continue
        places.append((x, y))
        if rng.random() < slide.clumping:
            heading = rng.uniform(0, 2 * np.pi)
            for _ in range(int(rng.geometric(0.4))):
                step = rng.uniform(*_STEP) * radius
                heading += rng.normal(0, 0.5)
                x, y = x + step * np.cos(heading), y + step * np.sin(heading)
                if _under(x, y, radius, keep_clear, rng) or not _is_free(x, y, places, 0.4 * radius):
                    break
                places.append((x, y))
    return places


def _is_free(x: float, y: float, places: list[tuple[float, float]], distance: float) -> bool:
    return all((x - u) ** 2 + (y - v) ** 2 > distance**2 for u, v in places)


def _under(x: float, y: float, radius: float, keep_clear: tuple[float, float, float], rng: np.random.Generator) -> bool:
    u, v, reach = keep_clear
    return bool((x - u) ** 2 + (y - v) ** 2 < (reach + radius * rng.uniform(0.45, 1.1)) ** 2)


def _red_cell(rng: np.random.Generator, slide: Slide, radius: float) -> Field:
    outline = random_outline(rng, radius, elongation=0.20, roughness=0.05)
    x, y = grid(int(outline.max()) + 5)
    depth, share = inside_outline(x, y, outline)
    body = coverage(depth, edge=2.5)
    body *= 1 + np.float32(0.18) * cv2.exp(-(((depth - 4.0) / 3.0) ** 2))
    if rng.random() > 0.03 + 0.3 * slide.thickness:
        # The pallor is slightly off centre; its outline is between a disc and that of the cell.
        u, v = x - np.float32(rng.normal(0, 0.08 * radius)), y - np.float32(rng.normal(0, 0.08 * radius))
        if rng.random() < SLITS:
            angle = rng.uniform(0, np.pi)
            cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
            u, v = cos * u + sin * v, np.float32(rng.uniform(1.4, 2.2)) * (cos * v - sin * u)
        hollow = 0.5 * cv2.magnitude(u, v) / np.float32(radius) + 0.5 * share
        width = float(np.clip(rng.normal(0.53, 0.10), 0.2, 0.78))
        deepness = float(np.clip(rng.normal(slide.pallor, 0.22), 0, 0.98))
        body *= 1 - np.float32(deepness) * coverage(width - hollow, edge=rng.uniform(0.15, 0.6))
    if rng.random() < slide.refraction:
        for _ in range(int(rng.integers(1, 3))):
            across, down = rng.normal(0, 0.35 * radius, 2)
            drop = cv2.magnitude(x - np.float32(across), (y - np.float32(down)) * np.float32(rng.uniform(0.6, 1.0)))
            size = rng.uniform(1.8, 4.5)
            body += rng.uniform(0.5, 1.8) * cv2.exp(-(((drop - size) / 1.3) ** 2))
            body -= rng.uniform(0.7, 1.5) * cv2.exp(-((drop / (0.55 * size)) ** 2))
    # Refraction at the edge: a bright line follows the outline, also over other cells.
    body -= np.float32(rng.uniform(0.02, 0.12)) * cv2.exp(-(((depth + 2.2) / 1.6) ** 2))
    ghost = rng.random() < GHOSTS
    return body * np.float32(rng.uniform(0.3, 0.7) if ghost else np.exp(rng.normal(0, 0.12)))


def _add(layers: Field, patch: NDArray[np.float32], x: float, y: float) -> None:
    """Add the visible part of a patch, centred at x and y, to layers in place."""
    reach = patch.shape[0] // 2
    height, width = layers.shape
    left, top = round(x) - reach, round(y) - reach
    columns, rows = (
        slice(max(left, 0), min(left + 2 * reach + 1, width)),
        slice(max(top, 0), min(top + 2 * reach + 1, height)),
    )
    if columns.start < columns.stop and rows.start < rows.stop:
        layers[rows, columns] += patch[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
