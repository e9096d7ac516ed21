"""Properties of a slide: thickness, stain and camera.

Colours are optical densities in the camera's red, green and blue relative to the background; densities of layers add up
(Beer-Lambert law). They were measured in photographs of the Kaggle set, whose nuclei have more blue than the
background, so their density of blue is negative.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Colour = NDArray[np.float32]

_THIN = {
    "red_cell": (0.087, 0.222, 0.143),
    "nucleus": (0.29, 0.63, -0.12),
    "pale_cytoplasm": (0.065, 0.145, 0.010),
    "blue_cytoplasm": (0.30, 0.30, 0.01),
    "eosin_granule": (0.14, 0.49, 0.34),
    "platelet": (0.24, 0.38, -0.07),
}
_THICK = {
    "red_cell": (0.069, 0.230, 0.256),
    "nucleus": (0.52, 0.74, -0.02),
    "pale_cytoplasm": (0.08, 0.18, 0.00),
    "blue_cytoplasm": (0.40, 0.36, 0.05),
    "eosin_granule": (0.11, 0.40, 0.24),
    "platelet": (0.36, 0.36, 0.00),
}


@dataclass(frozen=True, kw_only=True)
class Slide:
    """A slide.

    Attributes
    ----------
    thickness
        0: cells are spread and separate; 1: they are shrunken and in clumps.
    red_cell, nucleus, pale_cytoplasm, blue_cytoplasm, eosin_granule, platelet
        Optical densities of a layer of each, shape (3,), float32.
    red_radius
        Of red cells, in pixels.
    white_scale
        Relative size of white cells.
    pallor
        Share of the stain that is missing in the centre of a red cell.
    crowding
        Share of the background that red cells cover.
    clumping
        Share of red cells in rouleaux and clumps.
    platelets
        Mean number in a photograph.
    refraction
        Share of red cells with bright drops in them.
    light
        Level of the background in red, green and blue, of 255, shape (3,), float32.
    gradient
        Relative change of light across, down, and from the centre to the corners, shape (3,), float32.
    blur
        Standard deviation of the lens's blur, in pixels.
    fringe
        Shift of blue against red in pixels, across and down, shape (2,), float32.
    sharpening
        Strength of the camera's unsharp mask.
    grain, colour_grain
        Standard deviations of brightness and colour noise, in grey levels.
    quality
        JPEG quality, 1 to 100.
    dust
        x, y, radius and strength of specks on the camera, shape (n, 4), float32.
    """

    thickness: float
    red_cell: Colour
    nucleus: Colour
    pale_cytoplasm: Colour
    blue_cytoplasm: Colour
    eosin_granule: Colour
    platelet: Colour
    red_radius: float
    white_scale: float
    pallor: float
    crowding: float
    clumping: float
    platelets: float
    refraction: float
    light: Colour
    gradient: Colour
    blur: float
    fringe: Colour
    sharpening: float
    grain: float
    colour_grain: float
    quality: int
    dust: NDArray[np.float32]


def slide_from(rng: np.random.Generator, *, height: int, width: int) -> Slide:
    """Draw a random slide for photographs of a size in pixels."""
    thickness = float(rng.beta(0.6, 0.9))
    strength = np.exp(rng.normal(0, 0.08))
    tint = rng.normal(0, 0.025, 3)

    def colour(name: str, spread: float = 0.07) -> Colour:
        mean = (1 - thickness) * np.array(_THIN[name]) + thickness * np.array(_THICK[name])
        factor = strength * np.exp(rng.normal(0, spread, 3))
        return np.asarray(mean * factor + tint * np.abs(mean).max(), np.float32)

    n_specks = int(rng.integers(2, 8))
    return Slide(
        thickness=thickness,
        red_cell=colour("red_cell"),
        nucleus=colour("nucleus"),
        pale_cytoplasm=colour("pale_cytoplasm", 0.2),
        blue_cytoplasm=colour("blue_cytoplasm", 0.1),
        eosin_granule=colour("eosin_granule", 0.15),
        platelet=colour("platelet"),
        red_radius=float(rng.normal(23.5 + 2.0 * thickness, 1.5)),
        white_scale=float((1.04 - 0.22 * thickness) * np.exp(rng.normal(0, 0.05))),
        pallor=float(np.clip(rng.normal(0.95 - 0.35 * thickness, 0.12), 0.1, 0.97)),
        crowding=float(np.clip(rng.normal(0.60, 0.08), 0.35, 0.8)),
        clumping=float(np.clip(rng.normal(0.35 + 0.45 * thickness, 0.12), 0.05, 0.95)),
        platelets=float(rng.gamma(2.0, 1.6)),
        refraction=float(max(0.0, rng.normal(0.04 + 0.4 * thickness**2, 0.05))),
        light=np.asarray(rng.normal(208 + 5 * thickness, 7) + rng.normal([0, 1.2, -2.5], [2.0, 1.0, 2.0]), np.float32),
        gradient=np.asarray(rng.normal([0, 0, -0.035], [0.04, 0.03, 0.015]), np.float32),
        blur=float(np.clip(np.exp(rng.normal(-0.03, 0.25)), 0.7, 2.4)),
        fringe=np.asarray(rng.normal([-1.0, 1.0], 0.5), np.float32),
        sharpening=float(rng.uniform(0.1, 0.4)),
        grain=float(rng.uniform(0.8, 1.5)),
        colour_grain=float(rng.uniform(0.9, 2.0)),
        quality=int(rng.integers(70, 85)),
        dust=np.asarray(
            np.column_stack(
                [
                    rng.uniform(0, width, n_specks),
                    rng.uniform(0, height, n_specks),
                    rng.choice([1.2, 1.6, 5.0], n_specks, p=[0.5, 0.35, 0.15]),
                    rng.uniform(0.05, 0.25, n_specks),
                ]
            ),
            np.float32,
        ),
    )
